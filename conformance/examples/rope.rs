// A RoPE in Rust that answers `ropecore conformance --command`: one file, the standard library
// alone, its parts in the order of rope.md's chapters. See README.md beside this file.
//
//     rustc -O -o rope rope.rs
//     ropecore conformance --command ./rope                 it starts from each case's plan
//     ropecore conformance --command "./rope --config"      it starts from the config
//
// With FLIP_SIGN in the environment it is wrong on purpose, to see what a failure looks like.

use std::collections::BTreeMap;
use std::convert::TryFrom;
use std::f64::consts::{FRAC_PI_2, LN_2, TAU};
use std::io::{self, BufRead, Read, Write};

/// What ends a run without a result.
enum Trouble {
    /// Chapter 12: the argument that is refused.
    Refused(String),
    /// A fault of the question, for people.
    Errored(String),
}

type Fallible<T> = Result<T, Trouble>;

fn refuse<T>(argument: &str) -> Fallible<T> {
    Err(Trouble::Refused(argument.to_string()))
}

fn require(holds: bool, argument: &str) -> Fallible<()> {
    if holds { Ok(()) } else { refuse(argument) }
}

fn errored(why: &str) -> Trouble {
    Trouble::Errored(why.to_string())
}

// ---------------------------------------------------------------------------------------------
// Chapter 2. The normal form

/// what a plan says about one pair.
struct Row {
    read: [usize; 2],
    written: [usize; 2],
    frequencies: Vec<f64>,
    log_magnitude: f64,
}

struct Plan {
    head_dim: usize,
    real: Vec<bool>, // one an axis
    attention_factor: f64,
    rows: Vec<Row>,
    decay: bool,
    centre: f64,
}

const LARGEST_FREQUENCY: f64 = (1u64 << 30) as f64;

const PLAN_KEYS: [&str; 10] = [
    "schema",
    "head_dim",
    "axes",
    "axis_kinds",
    "attention_factor",
    "lanes",
    "out_lanes",
    "frequencies",
    "log_magnitude",
    "centre",
];

/// Appendix B: a plan from its object.
fn plan_from_object(keys: &Keys) -> Fallible<Plan> {
    for key in keys.map.keys() {
        require(PLAN_KEYS.contains(&key.as_str()), key)?;
    }
    for key in PLAN_KEYS {
        require(keys.map.contains_key(key), key)?;
    }
    require(keys.text("schema")? == Some("ropecore-plan/1"), "schema")?;
    let head_dim = keys.integer("head_dim", 1, 1 << 20)?.ok_or_else(|| errored("no head_dim"))? as usize;
    let axes = keys.names("axes")?.unwrap_or_default();
    check_axis_names(&axes)?;
    let frequencies = keys.list("frequencies")?.unwrap_or_default();
    let lanes = lane_pairs(keys, "lanes")?;
    let out_lanes = lane_pairs(keys, "out_lanes")?;
    let magnitudes = keys.numbers("log_magnitude")?;
    require(frequencies.len() == lanes.len(), "frequencies")?;
    require(out_lanes.len() == lanes.len(), "out_lanes")?;
    if let Some(list) = &magnitudes {
        require(list.len() == lanes.len() && axes.len() == 1, "log_magnitude")?;
    }
    let mut rows = Vec::new();
    for (j, row) in frequencies.iter().enumerate() {
        rows.push(Row {
            read: lanes[j],
            written: out_lanes[j],
            frequencies: row.numbers().ok_or(Trouble::Refused("frequencies".into()))?,
            log_magnitude: magnitudes.as_ref().map_or(0.0, |list| list[j]),
        });
    }
    let plan = Plan {
        head_dim,
        real: axis_kinds(keys, axes.len())?,
        attention_factor: keys.number("attention_factor")?.unwrap_or(0.0),
        rows,
        decay: magnitudes.is_some(),
        centre: keys.number("centre")?.ok_or(Trouble::Refused("centre".into()))?,
    };
    check_plan(&plan)?;
    Ok(canonical(plan))
}

fn lane_pairs(keys: &Keys, name: &str) -> Fallible<Vec<[usize; 2]>> {
    let mut pairs = Vec::new();
    for pair in keys.list(name)?.unwrap_or_default() {
        let lanes: Option<Vec<i64>> = pair.list().and_then(|l| l.iter().map(Json::integer).collect());
        match lanes.as_deref() {
            Some(&[first, second]) if first >= 0 && second >= 0 => pairs.push([first as usize, second as usize]),
            _ => return refuse(name),
        }
    }
    Ok(pairs)
}

///
fn check_plan(plan: &Plan) -> Fallible<()> {
    let mut read = vec![false; plan.head_dim];
    let mut written = vec![false; plan.head_dim];
    for row in &plan.rows {
        for lane in row.read {
            require(lane < plan.head_dim && !read[lane], "lanes")?;
            read[lane] = true;
        }
    }
    for row in &plan.rows {
        for lane in row.written {
            require(lane < plan.head_dim && read[lane] && !written[lane], "out_lanes")?;
            written[lane] = true;
        }
        let fits = row.frequencies.len() == plan.real.len();
        require(fits && row.frequencies.iter().all(|f| f.abs() <= LARGEST_FREQUENCY), "frequencies")?;
        require(row.log_magnitude.is_finite(), "log_magnitude")?;
    }
    require(plan.attention_factor.is_finite() && plan.attention_factor > 0.0, "attention_factor")
}

/// Rows that turn nothing are dropped, and their lanes pass through bit for bit.
fn canonical(mut plan: Plan) -> Plan {
    for row in &mut plan.rows {
        if row.read[0] > row.read[1] {
            row.read.swap(0, 1);
            row.written.swap(0, 1);
            row.frequencies.iter_mut().for_each(|f| *f = -*f);
        }
        row.frequencies.iter_mut().for_each(|f| *f += 0.0); // -0.0 becomes 0.0
        row.log_magnitude += 0.0;
    }
    let scaled = plan.attention_factor != 1.0;
    plan.rows.retain(|row| {
        let turns = row.frequencies.iter().any(|&f| f != 0.0);
        turns || row.log_magnitude != 0.0 || row.written != row.read || scaled
    });
    plan.rows.sort_by_key(|row| row.read[0]);
    plan.decay = plan.decay && plan.rows.iter().any(|row| row.log_magnitude != 0.0);
    if !plan.decay {
        plan.centre = 0.0;
    }
    plan
}

// ---------------------------------------------------------------------------------------------
// Chapter 3. Pairings and lanes, and appendix A: the keys of a configuration

/// The keys, and whether their default is null.
const CONFIG_KEYS: [(&str, bool); 17] = [
    ("head_dim", false),
    ("pairing", false),
    ("base", true),
    ("rotary_dim", false),
    ("scaling", true),
    ("frequency_dim", false),
    ("lane_offset", false),
    ("out_pairing", false),
    ("sections", true),
    ("axes", false),
    ("axis_order", false),
    ("axis_frequencies", false),
    ("axis_blocks", false),
    ("axis_kinds", false),
    ("direction", false),
    ("attention_factor", false),
    ("inv_freq", true),
];

/// and null in place of a default that is not null.
fn check_keys(keys: &Keys) -> Fallible<()> {
    for (key, value) in keys.map {
        match CONFIG_KEYS.iter().find(|(known, _)| known == key) {
            Some((_, nullable)) => require(*nullable || !matches!(value, Json::Null), key)?,
            None => return refuse(key),
        }
    }
    Ok(())
}

/// Where the pairs of a configuration are.
struct Sizes {
    head_dim: usize,
    lane_offset: usize,
    rotary_dim: usize,
}

fn sizes(keys: &Keys) -> Fallible<Sizes> {
    let head_dim = match keys.integer("head_dim", 2, 1 << 20)? {
        Some(size) => size,
        None => return refuse("head_dim"),
    };
    let lane_offset = keys.integer("lane_offset", 0, head_dim - 2)?.unwrap_or(0);
    let room = head_dim - lane_offset;
    let rotary_dim = match keys.integer("rotary_dim", 2, room)? {
        Some(size) => {
            require(size % 2 == 0, "rotary_dim")?;
            size
        }
        None => {
            require(room % 2 == 0, "head_dim")?;
            room
        }
    };
    Ok(Sizes { head_dim: head_dim as usize, lane_offset: lane_offset as usize, rotary_dim: rotary_dim as usize })
}

/// the lanes of pair j among `pairs` pairs that start at lane `start`.
fn lanes_of_pair(pairing: &str, start: usize, pairs: usize, j: usize) -> [usize; 2] {
    match pairing {
        "half_split" => [start + j, start + j + pairs],
        _ => [start + 2 * j, start + 2 * j + 1],
    }
}

/// each axis has a block of lanes, or all of them together are one.
fn lanes_of_all(pairing: &str, sizes: &Sizes, blocks: Option<&[usize]>) -> Vec<[usize; 2]> {
    let whole = [sizes.rotary_dim / 2];
    let mut start = sizes.lane_offset;
    let mut lanes = Vec::new();
    for &pairs in blocks.unwrap_or(&whole) {
        lanes.extend((0..pairs).map(|j| lanes_of_pair(pairing, start, pairs, j)));
        start += 2 * pairs;
    }
    lanes
}

fn pairing<'a>(keys: &Keys<'a>, name: &str) -> Fallible<Option<&'a str>> {
    let value = keys.text(name)?;
    require(value.is_none_or(|v| v == "half_split" || v == "interleaved"), name)?;
    Ok(value)
}

// ---------------------------------------------------------------------------------------------
// Chapter 4. Frequencies

/// A plan from a configuration, with frequencies of its own.
fn plan_from_config(keys: &Keys, seq_len: &Json) -> Fallible<Plan> {
    check_keys(keys)?;
    let sizes = sizes(keys)?;
    let Some(read_pairing) = pairing(keys, "pairing")? else {
        return refuse("pairing");
    };
    let written_pairing = pairing(keys, "out_pairing")?.unwrap_or(read_pairing);
    let rule = rule(keys)?;
    let length = check_length(rule.as_ref(), seq_len)?;
    let matrix = inv_freq_matrix(keys)?;
    let axes = axes(keys, &sizes, matrix.as_deref())?;
    let frequencies = frequencies(keys, &sizes, &axes, matrix, rule.as_ref(), length)?;
    let decay = rule.as_ref().and_then(|rule| log_magnitudes(rule, sizes.rotary_dim));
    require(decay.is_none() || axes.real.len() == 1, "log_magnitude")?;
    let blocks = if axes.blocks { axes.sections.as_deref() } else { None };
    let read = lanes_of_all(read_pairing, &sizes, blocks);
    let written = lanes_of_all(written_pairing, &sizes, blocks);
    let mut rows = Vec::new();
    for (j, frequencies) in frequencies.into_iter().enumerate() {
        let log_magnitude = decay.as_ref().map_or(0.0, |m| m[j]);
        rows.push(Row { read: read[j], written: written[j], frequencies, log_magnitude });
    }
    let plan = Plan {
        head_dim: sizes.head_dim,
        real: axes.real,
        attention_factor: attention_factor(keys, rule.as_ref())?,
        rows,
        decay: decay.is_some(),
        centre: rule.as_ref().map_or(0.0, |rule| rule.number_or("centre", 0.0)),
    };
    check_plan(&plan)?;
    Ok(canonical(plan))
}

/// F of every pair: for the direction.
fn frequencies(
    keys: &Keys,
    sizes: &Sizes,
    axes: &Axes,
    matrix: Option<Vec<Vec<f64>>>,
    rule: Option<&Rule>,
    length: f64,
) -> Fallible<Vec<Vec<f64>>> {
    let direction = match keys.integer("direction", -1, 1)? {
        Some(0) => return refuse("direction"),
        value => value.unwrap_or(1) as f64,
    };
    let mut all = match matrix {
        Some(matrix) => {
            base(keys)?;
            keys.integer("frequency_dim", 1, i64::MAX)?;
            require(rule.is_none(), "scaling")?;
            matrix
        }
        None => {
            let scaled = scaled_by_pair(keys, sizes, axes, rule, length)?;
            let on_axis = |(j, g): (usize, f64)| {
                let mut row = vec![0.0; axes.real.len()];
                row[axes.of_pair[j]] = g;
                row
            };
            scaled.into_iter().enumerate().map(on_axis).collect()
        }
    };
    let name = if keys.is_given("inv_freq") { "inv_freq" } else { "base" };
    for f in all.iter_mut().flatten() {
        *f *= direction;
        require(f.abs() <= LARGEST_FREQUENCY, name)?;
    }
    Ok(all)
}

/// g_j in the order of pairs.
fn scaled_by_pair(keys: &Keys, sizes: &Sizes, axes: &Axes, rule: Option<&Rule>, length: f64) -> Fallible<Vec<f64>> {
    let base = base(keys)?;
    let denominator = keys.integer("frequency_dim", 1, i64::MAX)?;
    let given = match keys.is_given("inv_freq") {
        true => keys.numbers("inv_freq")?,
        false => None,
    };
    require(base.is_some() || given.is_some(), "base")?;
    if !axes.per_axis {
        let d = denominator.map_or(sizes.rotary_dim as f64, |d| d as f64);
        let series = Series::new(base, d, sizes.rotary_dim / 2, given)?;
        return scaled(series, rule, length);
    }
    require(denominator.is_none(), "frequency_dim")?;
    require(given.is_none(), "inv_freq")?;
    require(rule.is_none_or(|rule| rule.name != "longrope"), "scaling")?;
    let mut of_axes = Vec::new();
    for &pairs in axes.sections.as_deref().unwrap_or_default() {
        let series = Series::new(base, 2.0 * pairs as f64, pairs, None)?;
        let list = if pairs > 0 { scaled(series, rule, length)? } else { Vec::new() };
        of_axes.push(list.into_iter());
    }
    Ok(axes.of_pair.iter().filter_map(|&axis| of_axes[axis].next()).collect())
}

fn base(keys: &Keys) -> Fallible<Option<f64>> {
    let base = keys.number("base")?;
    require(base.is_none_or(|b| b > 0.0), "base")?;
    Ok(base)
}

/// R-4.3 (3): `inv_freq` as rows of one number an axis.
fn inv_freq_matrix(keys: &Keys) -> Fallible<Option<Vec<Vec<f64>>>> {
    let Some(list) = keys.list("inv_freq")? else {
        return Ok(None);
    };
    if !list.iter().any(|row| matches!(row, Json::List(_))) {
        return Ok(None);
    }
    match list.iter().map(Json::numbers).collect() {
        Some(rows) => Ok(Some(rows)),
        None => refuse("inv_freq"),
    }
}

/// The unscaled frequencies f_j of one series, with its b and d.
struct Series {
    base: Option<f64>,
    given: bool,
    d: f64,
    f: Vec<f64>,
}

impl Series {
    fn new(base: Option<f64>, d: f64, pairs: usize, given: Option<Vec<f64>>) -> Fallible<Series> {
        let is_given = given.is_some();
        let f = given.unwrap_or_else(|| powers(base.unwrap_or(1.0), d, pairs));
        require(f.len() == pairs, "inv_freq")?;
        Ok(Series { base, given: is_given, d, f })
    }
}

/// as `pow(b, -2j/d)`: within.
fn powers(base: f64, d: f64, pairs: usize) -> Vec<f64> {
    (0..pairs).map(|j| base.powf(-2.0 * j as f64 / d)).collect()
}

// ---------------------------------------------------------------------------------------------
// Chapter 5. Scaling rules

/// Each rule and its parameters: `=` marks a default, `?` the default null, nothing a must.
const RULES: [(&str, &str); 10] = [
    ("linear", "factor"),
    ("ntk", "alpha"),
    ("dynamic_ntk", "factor original_max_position policy= max_position?"),
    ("ntk_by_parts", "factor original_max_position beta_fast= beta_slow="),
    (
        "yarn",
        "factor original_max_position beta_fast= beta_slow= truncate= mscale? mscale_all_dim? attention_factor?",
    ),
    (
        "longrope",
        "short_factor long_factor original_max_position factor? attention_factor? policy= max_position?",
    ),
    ("llama3", "factor low_freq_factor high_freq_factor original_max_position"),
    ("proportional", "partial_rotary_factor factor="),
    ("xpos", "scale_base= gamma= centre="),
    ("damped", "rate centre="),
];

struct Rule<'a> {
    name: &'a str,
    keys: Keys<'a>,
}

impl Rule<'_> {
    /// A parameter that was checked.
    fn number(&self, name: &str) -> Option<f64> {
        self.keys.map.get(name).and_then(Json::number)
    }

    fn number_or(&self, name: &str, default: f64) -> f64 {
        self.number(name).unwrap_or(default)
    }

    fn list(&self, name: &str) -> Vec<f64> {
        self.keys.map.get(name).and_then(Json::numbers).unwrap_or_default()
    }
}

/// The rule of a configuration, all its parameters checked.
fn rule<'a>(keys: &Keys<'a>) -> Fallible<Option<Rule<'a>>> {
    let keys = match keys.map.get("scaling") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Object(map)) => Keys { map },
        Some(_) => return refuse("scaling"),
    };
    let name = keys.map.get("rule").and_then(Json::text).unwrap_or("");
    let Some((_, parameters)) = RULES.iter().find(|(known, _)| *known == name) else {
        return refuse("scaling.rule");
    };
    let marks = ['=', '?'];
    let known: Vec<&str> = parameters.split(' ').collect();
    for key in keys.map.keys() {
        let is_known = |p: &&str| p.trim_end_matches(marks) == key;
        require(key == "rule" || known.iter().any(is_known), key)?;
    }
    for parameter in known {
        let key = parameter.trim_end_matches(marks);
        match keys.map.get(key) {
            None => require(parameter.ends_with(marks), &format!("scaling.{key}"))?,
            Some(Json::Null) if parameter.ends_with('?') => {}
            Some(value) => require(in_range(name, key, value), key)?,
        }
    }
    let rule = Rule { name, keys };
    check_together(&rule)?;
    Ok(Some(rule))
}

/// whether a parameter is in its rule's range.
fn in_range(rule: &str, parameter: &str, value: &Json) -> bool {
    let number = value.number().filter(|x| x.is_finite());
    match parameter {
        "factor" if rule == "longrope" => number.is_some_and(|x| x > 0.0),
        "factor" | "alpha" => number.is_some_and(|x| x >= 1.0),
        "original_max_position" | "max_position" => {
            let least = if rule == "longrope" && parameter != "max_position" { 2 } else { 1 };
            value.integer().is_some_and(|x| (least..1 << 31).contains(&x))
        }
        "mscale" | "mscale_all_dim" => number.is_some_and(|x| x >= 0.0),
        "partial_rotary_factor" => number.is_some_and(|x| x > 0.0 && x <= 1.0),
        "centre" => number.is_some(),
        "truncate" => matches!(value, Json::Bool(_)),
        "policy" => matches!(value.text(), Some("per_call" | "static")),
        "short_factor" | "long_factor" => {
            value.numbers().is_some_and(|list| list.iter().all(|&x| x.is_finite() && x > 0.0))
        }
        _ => number.is_some_and(|x| x > 0.0),
    }
}

/// The conditions on two parameters of a rule.
fn check_together(rule: &Rule) -> Fallible<()> {
    let faster = rule.number_or("beta_fast", 32.0) > rule.number_or("beta_slow", 1.0);
    require(faster, "beta_fast")?;
    let in_order = rule.number_or("high_freq_factor", 0.0) >= rule.number_or("low_freq_factor", 0.0);
    require(in_order, "high_freq_factor")?;
    let has_factor = rule.number("factor").is_some() || rule.number("attention_factor").is_some();
    require(rule.name != "longrope" || has_factor, "factor")
}

/// the length n that the plan is for. `seq_len` is checked under every rule.
fn check_length(rule: Option<&Rule>, seq_len: &Json) -> Fallible<f64> {
    let length = match seq_len {
        Json::Null => None,
        value => Some(value.integer().filter(|&n| n >= 1).ok_or(Trouble::Refused("seq_len".into()))?),
    };
    let Some(rule) = rule.filter(|rule| matches!(rule.name, "dynamic_ntk" | "longrope")) else {
        return Ok(0.0);
    };
    if rule.keys.text("policy")? == Some("static") {
        return rule.number("max_position").ok_or(Trouble::Refused("max_position".into()));
    }
    length.map(|n| n as f64).ok_or(Trouble::Refused("seq_len".into()))
}

/// g_j of one series under a rule.
fn scaled(series: Series, rule: Option<&Rule>, length: f64) -> Fallible<Vec<f64>> {
    let Some(rule) = rule else {
        return Ok(series.f);
    };
    let s = rule.number_or("factor", 1.0);
    let original = rule.number_or("original_max_position", 1.0);
    let makes_its_own = matches!(rule.name, "ntk" | "dynamic_ntk" | "proportional");
    require(!(makes_its_own && series.given), "inv_freq")?;
    match rule.name {
        "linear" => Ok(series.f.iter().map(|f| f / s).collect()),
        "ntk" => ntk(&series, rule.number_or("alpha", 1.0)),
        "dynamic_ntk" if length > original => ntk(&series, s * length / original - (s - 1.0)),
        "dynamic_ntk" => ntk(&series, 1.0).map(|_| series.f),
        "ntk_by_parts" => Ok(ntk_by_parts(&series, rule, s, original)),
        "yarn" => yarn(&series, rule, s, original),
        "longrope" => longrope(&series, rule, length > original),
        "llama3" => Ok(llama3(&series, rule, s, original)),
        "proportional" => Ok(proportional(&series, rule, s)),
        _ => Ok(series.f),
    }
}

///
fn ntk(series: &Series, alpha: f64) -> Fallible<Vec<f64>> {
    let d = series.d;
    require(d > 2.0, "frequency_dim")?;
    let base = series.base.unwrap_or(1.0) * alpha.powf(d / (d - 2.0));
    Ok(powers(base, d, series.f.len()))
}

///
fn ntk_by_parts(series: &Series, rule: &Rule, s: f64, original: f64) -> Vec<f64> {
    let (fast, slow) = (rule.number_or("beta_fast", 32.0), rule.number_or("beta_slow", 1.0));
    let blend = |&f: &f64| {
        let keep = ((original * f / TAU - slow) / (fast - slow)).clamp(0.0, 1.0);
        (1.0 - keep) * f / s + keep * f
    };
    series.f.iter().map(blend).collect()
}

///
fn yarn(series: &Series, rule: &Rule, s: f64, original: f64) -> Fallible<Vec<f64>> {
    let Some(base) = series.base.filter(|&b| b > 1.0) else {
        return refuse("base");
    };
    let turns_at = |beta: f64| series.d * (original / (TAU * beta)).ln() / (2.0 * base.ln());
    let mut low = turns_at(rule.number_or("beta_fast", 32.0));
    let mut high = turns_at(rule.number_or("beta_slow", 1.0));
    if !matches!(rule.keys.map.get("truncate"), Some(Json::Bool(false))) {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(series.d - 1.0));
    require(low <= high, "original_max_position")?;
    if low == high {
        high += 0.001;
    }
    let blend = |(j, f): (usize, &f64)| {
        let ramp = ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
        f / s * ramp + f * (1.0 - ramp)
    };
    Ok(series.f.iter().enumerate().map(blend).collect())
}

///
fn longrope(series: &Series, rule: &Rule, long: bool) -> Fallible<Vec<f64>> {
    for name in ["short_factor", "long_factor"] {
        require(rule.list(name).len() == series.f.len(), name)?;
    }
    let divisors = rule.list(if long { "long_factor" } else { "short_factor" });
    Ok(series.f.iter().zip(divisors).map(|(f, divisor)| f / divisor).collect())
}

///
fn llama3(series: &Series, rule: &Rule, s: f64, original: f64) -> Vec<f64> {
    let (low, high) = (rule.number_or("low_freq_factor", 1.0), rule.number_or("high_freq_factor", 1.0));
    let blend = |&f: &f64| {
        let wavelength = TAU / f;
        if f <= 0.0 || wavelength > original / low {
            return f / s;
        }
        if wavelength < original / high || low == high {
            return f;
        }
        let keep = (original / wavelength - low) / (high - low);
        (1.0 - keep) * f / s + keep * f
    };
    series.f.iter().map(blend).collect()
}

///
fn proportional(series: &Series, rule: &Rule, s: f64) -> Vec<f64> {
    let rotary_dim = 2.0 * series.f.len() as f64;
    let kept = (rule.number_or("partial_rotary_factor", 1.0) * rotary_dim / 2.0).floor();
    let keep = |(j, f): (usize, &f64)| if (j as f64) < kept { f / s } else { 0.0 };
    series.f.iter().enumerate().map(keep).collect()
}

/// m_j.
fn log_magnitudes(rule: &Rule, rotary_dim: usize) -> Option<Vec<f64>> {
    let r = rotary_dim as f64;
    let of_pair = |j: usize| match rule.name {
        "damped" => -rule.number_or("rate", 0.0),
        _ => {
            let gamma = rule.number_or("gamma", 0.4);
            let part = (2.0 * j as f64 / r + gamma) / (1.0 + gamma);
            let rest = (2.0 * j as f64 - r) / (r * (1.0 + gamma));
            let log = if part < 0.5 { part.ln() } else { rest.ln_1p() };
            log / rule.number_or("scale_base", 512.0)
        }
    };
    matches!(rule.name, "xpos" | "damped").then(|| (0..rotary_dim / 2).map(of_pair).collect())
}

/// A.
fn attention_factor(keys: &Keys, rule: Option<&Rule>) -> Fallible<f64> {
    let own = keys.number("attention_factor")?;
    require(own.is_none_or(|a| a > 0.0), "attention_factor")?;
    let Some(rule) = rule.filter(|rule| matches!(rule.name, "yarn" | "longrope")) else {
        return Ok(own.unwrap_or(1.0));
    };
    require(own.is_none(), "attention_factor")?;
    let s = rule.number_or("factor", 1.0);
    let of_rule = if rule.name == "yarn" { yarn_attention(rule, s) } else { longrope_attention(rule, s) };
    Ok(rule.number("attention_factor").unwrap_or(of_rule))
}

fn yarn_attention(rule: &Rule, s: f64) -> f64 {
    let ms = |mscale: f64| if s <= 1.0 { 1.0 } else { 0.1 * mscale * s.ln() + 1.0 };
    let (mscale, all) = (rule.number_or("mscale", 0.0), rule.number_or("mscale_all_dim", 0.0));
    if mscale != 0.0 && all != 0.0 { ms(mscale) / ms(all) } else { ms(1.0) }
}

fn longrope_attention(rule: &Rule, s: f64) -> f64 {
    let original = rule.number_or("original_max_position", 2.0);
    if s <= 1.0 { 1.0 } else { (1.0 + s.ln() / original.ln()).sqrt() }
}

// ---------------------------------------------------------------------------------------------
// Chapter 6. Axes

struct Axes {
    real: Vec<bool>,
    sections: Option<Vec<usize>>,
    of_pair: Vec<usize>,
    per_axis: bool,
    blocks: bool,
}

fn axes(keys: &Keys, sizes: &Sizes, matrix: Option<&[Vec<f64>]>) -> Fallible<Axes> {
    let pairs = sizes.rotary_dim / 2;
    let names = keys.names("axes")?;
    if let Some(names) = &names {
        check_axis_names(names)?;
    }
    let n = names.as_ref().map_or(1, Vec::len);
    let sections = sections(keys, n, pairs)?;
    require(names.is_some() || (sections.is_none() && matrix.is_none()), "axes")?;
    if let Some(matrix) = matrix {
        require(sections.is_none(), "sections")?;
        require(matrix.len() == pairs && matrix.iter().all(|row| row.len() == matrix[0].len()), "inv_freq")?;
        require(matrix[0].len() == n, "axes")?;
    }
    require(n == 1 || sections.is_some() || matrix.is_some(), "sections")?;
    let per_axis = match keys.text("axis_frequencies")? {
        None | Some("shared") => false,
        Some("per_axis") => true,
        Some(_) => return refuse("axis_frequencies"),
    };
    let blocks = keys.boolean("axis_blocks")?.unwrap_or(false);
    let chunked = matches!(keys.map.get("axis_order").map(Json::text), None | Some(Some("chunked")));
    require(sections.is_some() || (chunked && !per_axis && !blocks), "sections")?;
    require(chunked || !blocks, "axis_order")?;
    let of_pair = match &sections {
        Some(sections) => axis_of_pairs(keys, sections, pairs)?,
        None => vec![0; pairs],
    };
    Ok(Axes { real: axis_kinds(keys, n)?, sections, of_pair, per_axis, blocks })
}

fn check_axis_names(names: &[&str]) -> Fallible<()> {
    let is_good = |(i, name): (usize, &&str)| !name.is_empty() && !names[..i].contains(name);
    require(!names.is_empty() && names.iter().enumerate().all(is_good), "axes")
}

fn sections(keys: &Keys, n: usize, pairs: usize) -> Fallible<Option<Vec<usize>>> {
    let Some(list) = keys.list("sections")? else {
        return Ok(None);
    };
    let counts: Option<Vec<i64>> = list.iter().map(Json::integer).collect();
    let counts = counts.unwrap_or_default();
    let in_range = counts.iter().all(|&count| (0..=pairs as i64).contains(&count));
    require(in_range && counts.iter().sum::<i64>() == pairs as i64, "sections")?;
    require(counts.len() == n || keys.map.get("axes").is_none(), "sections")?;
    Ok(Some(counts.into_iter().map(|count| count as usize).collect()))
}

///
fn axis_of_pairs(keys: &Keys, sections: &[usize], pairs: usize) -> Fallible<Vec<usize>> {
    let n = sections.len();
    let order: Vec<usize> = match keys.map.get("axis_order") {
        Some(Json::List(list)) => {
            let index = |item: &Json| item.integer().filter(|&a| a >= 0 && a < n as i64).map(|a| a as usize);
            match list.iter().map(index).collect() {
                Some(order) => order,
                None => return refuse("axis_order"),
            }
        }
        Some(Json::Text(name)) if name == "interleaved" => {
            let axis = |j: usize| if j < n * sections[j % n] { j % n } else { 0 };
            (0..pairs).map(axis).collect()
        }
        Some(Json::Text(name)) if name == "alternating" => {
            let most = sections.iter().copied().max().unwrap_or(0);
            let round = |i: usize| (0..n).filter(move |&axis| i < sections[axis]);
            (0..most).flat_map(round).collect()
        }
        None => sections.iter().enumerate().flat_map(|(axis, &count)| vec![axis; count]).collect(),
        Some(Json::Text(name)) if name == "chunked" => {
            sections.iter().enumerate().flat_map(|(axis, &count)| vec![axis; count]).collect()
        }
        Some(_) => return refuse("axis_order"),
    };
    let counted = |axis: usize| order.iter().filter(|&&a| a == axis).count() == sections[axis];
    require(order.len() == pairs && (0..n).all(counted), "axis_order")?;
    Ok(order)
}

/// whether each axis is real.
fn axis_kinds(keys: &Keys, n: usize) -> Fallible<Vec<bool>> {
    let Some(kinds) = keys.names("axis_kinds")? else {
        return Ok(vec![false; n]);
    };
    require(kinds.len() == n && kinds.iter().all(|kind| ["integer", "real"].contains(kind)), "axis_kinds")?;
    Ok(kinds.iter().map(|kind| *kind == "real").collect())
}

// ---------------------------------------------------------------------------------------------
// Chapter 7. Positions

/// The dimensions of x that positions depend on, from its `tensor_format`.
struct Layout {
    letters: Vec<char>,
    shape: Vec<usize>,
    batch: Option<usize>,
    tokens: usize,
}

fn layout(format: &str, shape: &[usize], head_dim: usize) -> Fallible<Layout> {
    let letters: Vec<char> = format.chars().collect();
    let has = |letter: char| letters.contains(&letter);
    let once = |(i, letter): (usize, &char)| "bhgstd".contains(*letter) && !letters[..i].contains(letter);
    let good = letters.iter().enumerate().all(once) && letters.last() == Some(&'d');
    require(good && has('s') != has('t') && !(has('b') && has('t')), "tensor_format")?;
    require(shape.len() == letters.len() && shape.last() == Some(&head_dim), "x")?;
    let size = |wanted: char| letters.iter().position(|&letter| letter == wanted).map(|i| shape[i]);
    let tokens = size('s').or(size('t')).unwrap_or(0);
    let batch = size('b');
    Ok(Layout { letters, shape: shape.to_vec(), batch, tokens })
}

impl Layout {
    /// Which row of the batch and which token the vector of this number belongs to.
    fn place(&self, mut vector: usize) -> (usize, usize) {
        let (mut row, mut token) = (0, 0);
        for (letter, size) in self.letters.iter().zip(&self.shape).rev().skip(1) {
            match letter {
                'b' => row = vector % size,
                's' | 't' => token = vector % size,
                _ => {}
            }
            vector /= size;
        }
        (row, token)
    }
}

/// Coordinates by axis, and in an axis by row and token; `rows` is 1 where rows share them.
struct Positions {
    rows: usize,
    axes: Vec<Vec<f64>>,
}

fn positions(given: &Json, offset: &Json, plan: &Plan, layout: &Layout) -> Fallible<Positions> {
    let positions = match given {
        Json::Null => positions_behind(offset, plan, layout)?,
        array => {
            require(matches!(offset, Json::Null) || offset.integer() == Some(0), "offset")?;
            positions_given(&Array::read(array)?, plan, layout)?
        }
    };
    for (axis, &real) in positions.axes.iter().zip(&plan.real) {
        // both are |p| < 2^31
        let limit = (1u64 << 31) as f64;
        require(axis.iter().all(|p| p.abs() < limit && (real || p.fract() == 0.0)), "positions")?;
    }
    check_decay(plan, &positions)?;
    Ok(positions)
}

/// of shape (tokens) or (batch, tokens), behind the number of axes where there are several.
fn positions_given(array: &Array, plan: &Plan, layout: &Layout) -> Fallible<Positions> {
    let n = plan.real.len();
    let shape = match array.shape.as_slice() {
        [first, rest @ ..] if n > 1 => {
            require(*first == n, "positions")?;
            rest
        }
        shape => shape,
    };
    let rows = match (shape, layout.batch) {
        (&[tokens], _) if tokens == layout.tokens => 1,
        (&[rows, tokens], Some(batch)) if tokens == layout.tokens && (rows == 1 || rows == batch) => rows,
        _ => return refuse("positions"),
    };
    let count = rows * layout.tokens;
    let mut axes = Vec::new();
    for (axis, &real) in plan.real.iter().enumerate() {
        let items = &array.data[axis * count..(axis + 1) * count];
        // 5.0 is no position on an integer axis
        let read = |item: &Json| if real { item.number() } else { item.whole() };
        match items.iter().map(read).collect() {
            Some(list) => axes.push(list),
            None => return refuse("positions"),
        }
    }
    Ok(Positions { rows, axes })
}

/// positions from an offset.
fn positions_behind(offset: &Json, plan: &Plan, layout: &Layout) -> Fallible<Positions> {
    require(plan.real == [false], "positions")?;
    let starts = match offset {
        Json::Null => vec![0],
        Json::List(list) => match list.iter().map(Json::integer).collect::<Option<Vec<i64>>>() {
            Some(starts) if layout.batch == Some(starts.len()) => starts,
            _ => return refuse("offset"),
        },
        single => match single.integer() {
            Some(start) => vec![start],
            None => return refuse("offset"),
        },
    };
    let tokens = |&start: &i64| (0..layout.tokens).map(move |i| start as f64 + i as f64);
    Ok(Positions { rows: starts.len(), axes: vec![starts.iter().flat_map(tokens).collect()] })
}

/// the decay factor stays within 2^-100 and 2^100.
fn check_decay(plan: &Plan, positions: &Positions) -> Fallible<()> {
    if plan.decay {
        for row in &plan.rows {
            let fits = |p: &f64| (row.log_magnitude * (p - plan.centre)).abs() <= 100.0 * LN_2;
            require(positions.axes[0].iter().all(fits), "positions")?;
        }
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// Chapter 10. Precision: angle exact, table float32, compute float32

/// floor(2^256 / (2 pi)), R-10.2, the lowest 32 bits first.
const INVERSE_OF_TAU: [u32; 8] = [
    0xf7aef158, 0x7f9458ea, 0x4f10e410, 0x36d8a566, 0x7d4d3770, 0x7f09d5f4, 0x9391054a, 0x28be60db,
];

/// F / (2 pi): as 96 bits behind the point modulo 1, for integer axes, and rounded, for real ones.
#[derive(Clone, Copy)]
struct Turns {
    fix: u128,
    rounded: f64,
}

fn turns(frequency: f64) -> Turns {
    if frequency == 0.0 {
        return Turns { fix: 0, rounded: 0.0 };
    }
    // |F| = mantissa * 2^exponent, and |F| / (2 pi) = product * 2^(exponent - 256)
    let bits = frequency.to_bits();
    let biased = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let mantissa = if biased == 0 { fraction } else { fraction | 1 << 52 };
    let exponent = biased.max(1) - 1075;
    let product = times_inverse_of_tau(mantissa);
    let shift = (160 - exponent) as usize;
    let mask = (1u128 << 96) - 1;
    let fix = bits_of(&product, shift, 96) + bits_of(&product, shift - 1, 1);
    // the top 64 bits, the last one set as more bits follow: one rounding when it becomes a double
    let low = (0..320).rev().find(|&i| bits_of(&product, i, 1) == 1).unwrap_or(63) - 63;
    let top = bits_of(&product, low, 64) as u64 | 1;
    let rounded = top as f64 * 2f64.powi(exponent - 256 + low as i32);
    if frequency < 0.0 {
        return Turns { fix: fix.wrapping_neg() & mask, rounded: -rounded };
    }
    Turns { fix: fix & mask, rounded }
}

fn times_inverse_of_tau(mantissa: u64) -> [u32; 10] {
    let mut product = [0; 10];
    let mut carry = 0u128;
    for (i, limb) in product.iter_mut().enumerate() {
        carry += u128::from(*INVERSE_OF_TAU.get(i).unwrap_or(&0)) * u128::from(mantissa);
        *limb = carry as u32;
        carry >>= 32;
    }
    product
}

/// `count` bits from bit `from` on; those beyond the end are 0.
fn bits_of(limbs: &[u32], from: usize, count: usize) -> u128 {
    let bit = |i: usize| limbs.get(i / 32).map_or(0, |limb| u128::from(limb >> (i % 32) & 1));
    (from..from + count).rev().fold(0, |bits, i| bits << 1 | bit(i))
}

/// the recipe of float64: turns times 2^64, modulo 2^64.
fn phase(turns: &[Turns], real: &[bool], position: &[f64]) -> u64 {
    let mut phase = 0u64;
    for (axis, &p) in position.iter().enumerate() {
        let part = if real[axis] {
            let turns = p * turns[axis].rounded;
            let fraction = turns - turns.round();
            (fraction * 2f64.powi(64)).round() as i128
        } else {
            (p as i128 * turns[axis].fix as i128) >> 32
        };
        phase = phase.wrapping_add(part as u64);
    }
    phase
}

fn cos_sin(phase: u64) -> (f64, f64) {
    let quarter = phase.wrapping_add(1 << 61) >> 62;
    let rest = phase.wrapping_sub(quarter << 62) as i64;
    let angle = rest as f64 * 2f64.powi(-62) * FRAC_PI_2;
    let (sin, cos) = angle.sin_cos();
    match quarter {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Dtype {
    Float16,
    Bfloat16,
    Float32,
    Float64,
}

impl Dtype {
    fn named(name: &str) -> Option<Dtype> {
        match name {
            "float16" => Some(Dtype::Float16),
            "bfloat16" => Some(Dtype::Bfloat16),
            "float32" => Some(Dtype::Float32),
            "float64" => Some(Dtype::Float64),
            _ => None,
        }
    }

    /// To nearest, ties to even.
    fn round(self, value: f64) -> f64 {
        match self {
            Dtype::Float64 => value,
            Dtype::Float32 => f64::from(value as f32),
            Dtype::Bfloat16 => round_to_16_bits(value, 8, -126, 3.3895313892515355e38),
            Dtype::Float16 => round_to_16_bits(value, 11, -14, 65504.0),
        }
    }
}

/// To `digits` binary digits, with subnormal numbers below 2^least and infinity above `largest`.
fn round_to_16_bits(value: f64, digits: i32, least: i32, largest: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let step = 2f64.powi(exponent.max(least) - digits + 1);
    let rounded = (value / step).round_ties_even() * step;
    if rounded.abs() > largest { f64::INFINITY.copysign(value) } else { rounded }
}

/// two products and one sum, in float32 but for x of float64.
fn turn(dtype: Dtype, x: [f64; 2], cos: f64, sin: f64) -> [f64; 2] {
    if dtype == Dtype::Float64 {
        return [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos];
    }
    let (x0, x1, cos, sin) = (x[0] as f32, x[1] as f32, cos as f32, sin as f32);
    [x0 * cos - x1 * sin, x0 * sin + x1 * cos].map(|y| dtype.round(f64::from(y)))
}

// ---------------------------------------------------------------------------------------------
// Chapters 2 and 9: the rotation, its inverse and its transpose

/// One question: what a rotation is given beside the plan.
struct Call {
    dtype: Dtype,
    layout: Layout,
    positions: Positions,
    key: bool, // the role "k"
    inverse: bool,
    transpose: bool,
    flip: bool, // wrong on purpose
}

/// The tables M cos phi and M sin phi of one row at each position, R-9.2 and included.
fn tables(plan: &Plan, row: &Row, call: &Call) -> Vec<(f64, f64)> {
    let turns: Vec<Turns> = row.frequencies.iter().map(|&f| turns(f)).collect();
    let entry = |i: usize| {
        let position: Vec<f64> = call.positions.axes.iter().map(|axis| axis[i]).collect();
        let (cos, mut sin) = cos_sin(phase(&turns, &plan.real, &position));
        if (call.inverse || call.transpose) != call.flip {
            sin = -sin;
        }
        let mut multiplier = plan.attention_factor;
        if plan.decay {
            let sign = if call.key { -1.0 } else { 1.0 };
            multiplier *= (sign * row.log_magnitude * (position[0] - plan.centre)).exp();
        }
        match call.inverse {
            true => (cos / multiplier, sin / multiplier),
            false => (cos * multiplier, sin * multiplier),
        }
    };
    (0..call.positions.axes[0].len()).map(entry).collect()
}

/// lanes in no row keep their bits.
fn rotate(plan: &Plan, call: &Call, x: &[f64]) -> Vec<f64> {
    let mut y = x.to_vec();
    for row in &plan.rows {
        let tables = tables(plan, row, call);
        let (from, to) = match call.inverse || call.transpose {
            true => (row.written, row.read),
            false => (row.read, row.written),
        };
        for vector in 0..x.len() / plan.head_dim {
            let (batch, token) = call.layout.place(vector);
            let batch = if call.positions.rows == 1 { 0 } else { batch };
            let (cos, sin) = tables[batch * call.layout.tokens + token];
            let lane = vector * plan.head_dim;
            let pair = turn(call.dtype, from.map(|i| x[lane + i]), cos, sin);
            (y[lane + to[0]], y[lane + to[1]]) = (pair[0], pair[1]);
        }
    }
    y
}

// ---------------------------------------------------------------------------------------------
// JSON

const MAX_DEPTH: usize = 32;
const MAX_LINE: u64 = 64 << 20;

enum Json {
    Null,
    Bool(bool),
    /// Its value, and whether it is written without a point and an exponent.
    Number(f64, bool),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// A number; those that JSON has not, and integers beyond 2^53, are strings.
    fn number(&self) -> Option<f64> {
        match self {
            Json::Number(value, _) => Some(*value),
            Json::Text(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                _ => self.whole(),
            },
            _ => None,
        }
    }

    /// A number that is written as an integer.
    fn whole(&self) -> Option<f64> {
        match self {
            Json::Number(value, true) => Some(*value),
            Json::Text(text) if text.trim_start_matches('-').bytes().all(|c| c.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        }
    }

    fn integer(&self) -> Option<i64> {
        self.whole().map(|value| value as i64)
    }

    fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    fn list(&self) -> Option<&[Json]> {
        if let Json::List(list) = self { Some(list) } else { None }
    }

    fn numbers(&self) -> Option<Vec<f64>> {
        self.list()?.iter().map(Json::number).collect()
    }
}

/// The keys of an object. A value of another type is refused by the name of its key.
#[derive(Clone, Copy)]
struct Keys<'a> {
    map: &'a BTreeMap<String, Json>,
}

impl<'a> Keys<'a> {
    fn of(json: &'a Json, name: &str) -> Fallible<Keys<'a>> {
        match json {
            Json::Object(map) => Ok(Keys { map }),
            _ => Err(errored(&format!("{name} is no object"))),
        }
    }

    fn is_given(&self, name: &str) -> bool {
        !matches!(self.map.get(name), None | Some(Json::Null))
    }

    fn read<T>(&self, name: &str, reader: impl Fn(&'a Json) -> Option<T>) -> Fallible<Option<T>> {
        match self.map.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => match reader(value) {
                Some(value) => Ok(Some(value)),
                None => refuse(name),
            },
        }
    }

    fn integer(&self, name: &str, least: i64, most: i64) -> Fallible<Option<i64>> {
        self.read(name, |value| value.integer().filter(|&i| i >= least && i <= most))
    }

    fn number(&self, name: &str) -> Fallible<Option<f64>> {
        self.read(name, |value| value.number().filter(|x| x.is_finite()))
    }

    fn numbers(&self, name: &str) -> Fallible<Option<Vec<f64>>> {
        self.read(name, Json::numbers)
    }

    fn text(&self, name: &str) -> Fallible<Option<&'a str>> {
        self.read(name, Json::text)
    }

    fn boolean(&self, name: &str) -> Fallible<Option<bool>> {
        self.read(name, |value| if let Json::Bool(b) = value { Some(*b) } else { None })
    }

    fn list(&self, name: &str) -> Fallible<Option<&'a [Json]>> {
        self.read(name, Json::list)
    }

    fn names(&self, name: &str) -> Fallible<Option<Vec<&'a str>>> {
        self.read(name, |value| value.list()?.iter().map(Json::text).collect())
    }
}

/// `{"shape", "data"}`, as many data as the shape says.
struct Array<'a> {
    shape: Vec<usize>,
    data: &'a [Json],
}

impl<'a> Array<'a> {
    fn read(json: &'a Json) -> Fallible<Array<'a>> {
        let keys = Keys::of(json, "an array")?;
        let dims = keys.list("shape")?.ok_or_else(|| errored("an array without a shape"))?;
        let data = keys.list("data")?.ok_or_else(|| errored("an array without data"))?;
        let size = |dim: &Json| dim.integer().and_then(|size| usize::try_from(size).ok());
        let shape: Option<Vec<usize>> = dims.iter().map(size).collect();
        let shape = shape.ok_or_else(|| errored("a shape that is none"))?;
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        match count == Some(data.len()) {
            true => Ok(Array { shape, data }),
            false => Err(errored("data of another length than the shape says")),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

type Parsed<T> = Result<T, String>;

fn parse(text: &str) -> Parsed<Json> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at < text.len() { parser.wrong("text behind the value") } else { Ok(value) }
}

impl Parser<'_> {
    fn wrong<T>(&self, what: &str) -> Parsed<T> {
        Err(format!("JSON, byte {}: {what}", self.at))
    }

    fn peek(&self) -> u8 {
        *self.text.as_bytes().get(self.at).unwrap_or(&0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// Passes over white space and the word, if it is there.
    fn take(&mut self, word: &str) -> bool {
        self.space();
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: usize) -> Parsed<Json> {
        self.space();
        match self.peek() {
            _ if depth > MAX_DEPTH => self.wrong("nested too deep"),
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number(),
            _ if self.take("null") => Ok(Json::Null),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            _ => self.wrong("no value"),
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<Json> {
        let mut map = BTreeMap::new();
        self.take("{");
        if self.take("}") {
            return Ok(Json::Object(map));
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.take(":") {
                return self.wrong("no colon");
            }
            let value = self.value(depth + 1)?;
            if map.insert(key, value).is_some() {
                return self.wrong("a key twice");
            }
            if self.take("}") {
                return Ok(Json::Object(map));
            }
            if !self.take(",") {
                return self.wrong("no comma");
            }
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Json> {
        let mut items = Vec::new();
        self.take("[");
        if self.take("]") {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take("]") {
                return Ok(Json::List(items));
            }
            if !self.take(",") {
                return self.wrong("no comma");
            }
        }
    }

    fn number(&mut self) -> Parsed<Json> {
        let start = self.at;
        while matches!(self.peek(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        match text.parse() {
            Ok(value) => Ok(Json::Number(value, !text.contains(['.', 'e', 'E']))),
            Err(_) => self.wrong("no number"),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        let mut out = String::new();
        if self.peek() != b'"' {
            return self.wrong("no string");
        }
        self.at += 1;
        loop {
            let Some(c) = self.text[self.at..].chars().next() else {
                return self.wrong("a string without an end");
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                _ => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let c = self.peek();
        self.at += 1;
        Ok(match c {
            b'"' | b'\\' | b'/' => char::from(c),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.utf16()?,
            _ => return self.wrong("an unknown escape"),
        })
    }

    fn utf16(&mut self) -> Parsed<char> {
        let mut units = vec![self.hex()?];
        if (0xd800..0xdc00).contains(&units[0]) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            units.push(self.hex()?);
        }
        match String::from_utf16(&units).ok().and_then(|text| text.chars().next()) {
            Some(c) => Ok(c),
            None => self.wrong("half a character"),
        }
    }

    fn hex(&mut self) -> Parsed<u16> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or("");
        self.at += digits.len();
        u16::from_str_radix(digits, 16).or_else(|_| self.wrong("no hexadecimal digits"))
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// The shortest decimals that give the number back.
fn printed(value: f64, dtype: Dtype) -> String {
    match dtype {
        _ if value.is_nan() => quoted("NaN"),
        _ if value.is_infinite() => quoted(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        Dtype::Float64 => format!("{value:?}"),
        _ => format!("{:?}", value as f32),
    }
}

// ---------------------------------------------------------------------------------------------
// The protocol

const PROTOCOL: &str = "ropecore-command/1";

fn started(from_config: bool) -> String {
    format!(
        "{{\"protocol\": \"{PROTOCOL}\", \"name\": \"rope.rs\", \"version\": \"1\", \"language\": \"Rust\", \
         \"capabilities\": {{\"dtypes\": [\"float32\", \"float64\", \"bfloat16\", \"float16\"], \
         \"angle\": \"exact\", \"table\": \"float32\", \"compute\": \"float32\", \
         \"reads_config\": {from_config}, \"own_frequencies\": {from_config}}}}}"
    )
}

/// Answers one `run`: the shape and the data of y, as JSON.
fn run(question: &Keys, from_config: bool, flip: bool) -> Fallible<String> {
    let key = |name: &str| question.map.get(name).unwrap_or(&Json::Null);
    let plan = match from_config {
        true => plan_from_config(&Keys::of(key("config"), "config")?, key("seq_len"))?,
        false => plan_from_object(&Keys::of(key("plan"), "plan")?)?,
    };
    let Some(dtype) = key("dtype").text().and_then(Dtype::named) else {
        return refuse("x");
    };
    let array = Array::read(key("x"))?;
    let layout = layout(question.text("tensor_format")?.unwrap_or(""), &array.shape, plan.head_dim)?;
    let positions = positions(key("positions"), key("offset"), &plan, &layout)?;
    let role = question.text("role")?.unwrap_or("");
    require(role == "q" || role == "k", "role")?;
    let mode = question.text("mode")?.unwrap_or("");
    if !["forward", "inverse", "transpose"].contains(&mode) {
        return Err(errored("an unknown mode"));
    }
    let numbers: Option<Vec<f64>> = array.data.iter().map(Json::number).collect();
    let numbers = numbers.ok_or_else(|| errored("x has something that is no number"))?;
    let x: Vec<f64> = numbers.into_iter().map(|value| dtype.round(value)).collect();
    let (inverse, transpose) = (mode == "inverse", mode == "transpose");
    let call = Call { dtype, layout, positions, key: role == "k", inverse, transpose, flip };
    let y: Vec<String> = rotate(&plan, &call, &x).into_iter().map(|value| printed(value, dtype)).collect();
    Ok(format!("{{\"shape\": {:?}, \"data\": [{}]}}", array.shape, y.join(", ")))
}

/// The answer to one line, or None where the conversation ends.
fn answer(line: &str, from_config: bool, flip: bool) -> Parsed<Option<String>> {
    let json = parse(line)?;
    let Json::Object(map) = &json else {
        return Err("a line that is no object".to_string());
    };
    let question = Keys { map };
    match map.get("command").and_then(Json::text) {
        Some("start") => Ok(Some(started(from_config))),
        Some("stop") => Ok(None),
        Some("run") => {
            let id = map.get("id").and_then(Json::integer).ok_or("a run without an id")?;
            let result = match run(&question, from_config, flip) {
                Ok(y) => format!("\"y\": {y}"),
                Err(Trouble::Refused(argument)) => format!("\"refused\": {}", quoted(&argument)),
                Err(Trouble::Errored(why)) => format!("\"errored\": {}", quoted(&why)),
            };
            Ok(Some(format!("{{\"id\": {id}, {result}}}")))
        }
        _ => Err("an unknown command".to_string()),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let from_config = std::env::args().any(|argument| argument == "--config");
    let flip = std::env::var_os("FLIP_SIGN").is_some();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut line = Vec::new();
        input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 == MAX_LINE {
            return Err("a line that is too long".into());
        }
        match answer(std::str::from_utf8(&line)?, from_config, flip)? {
            Some(text) => writeln!(output, "{text}")?,
            None => return Ok(()),
        }
        output.flush()?;
    }
}
