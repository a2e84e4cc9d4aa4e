// A RoPE in Rust that answers `ropecore conformance --command`: one file, the standard library
// alone, its parts in the order of rope.md's chapters.
//
//     rustc -O -o rope rope.rs
//     ropecore conformance --command ./rope               it starts from each case's plan
//     ropecore conformance --command "./rope --config"    it starts from each case's config
//
// With FLIP_SIGN in the environment it is wrong on purpose, to see what a failure looks like.

use std::collections::BTreeMap;
use std::convert::TryFrom;
use std::f64::consts::{FRAC_PI_2, LN_2, TAU};
use std::io::{self, BufRead, Read, Write};

/// What a run ends with in place of a result: "refused" and the argument's name (chapter 12), or
/// "errored" and what is wrong with the question.
struct Fault(&'static str, String);

type Res<T> = Result<T, Fault>;

fn refuse<T>(argument: &str) -> Res<T> {
    Err(Fault("refused", argument.to_string()))
}

fn need(holds: bool, argument: &str) -> Res<()> {
    if holds { Ok(()) } else { refuse(argument) }
}

fn errored<T>(why: &str) -> Res<T> {
    Err(Fault("errored", why.to_string()))
}

// ------------------------------------------------------------------------------------------------
// Chapter 2. The normal form

const POW_2_30: f64 = 1073741824.0;
const POW_2_31: f64 = 2147483648.0;

/// R-2.1: what a plan says about one pair.
struct Row {
    read: [usize; 2],
    written: [usize; 2],
    frequencies: Vec<f64>, // one an axis
    m: f64,
}

struct Plan {
    head_dim: usize,
    real: Vec<bool>, // one an axis
    attention_factor: f64,
    rows: Vec<Row>,
    decay: bool,
    centre: f64,
}

/// Keys behind one another. `=` marks one that may be left out, `?` one that may also be null.
const PLAN_KEYS: &str = "schema head_dim axes axis_kinds attention_factor lanes out_lanes \
                         frequencies log_magnitude? centre";

/// R-12.6: an unknown key, a missing one, or null in the place of something else.
fn check_keys(object: &Json, keys: &str, prefix: &str) -> Res<()> {
    let Json::Object(map) = object else {
        return errored("no object where there must be one");
    };
    let bare = |key: &str| key.trim_end_matches(['=', '?']).to_string();
    for (key, value) in map {
        let known = keys.split(' ').find(|known| bare(known) == *key);
        need(
            known.is_some_and(|known| known.ends_with('?') || !value.is_null()),
            key,
        )?;
    }
    for key in keys.split(' ').filter(|key| !key.ends_with(['=', '?'])) {
        need(map.contains_key(key), &format!("{prefix}{key}"))?;
    }
    Ok(())
}

/// Appendix B.
fn plan_from_object(object: &Json) -> Res<Plan> {
    check_keys(object, PLAN_KEYS, "")?;
    need(object.has("log_magnitude"), "log_magnitude")?;
    need(
        object.get("schema").text() == Some("ropecore-plan/1"),
        "schema",
    )?;
    let head_dim = object.size("head_dim", 1, 1 << 20)?.unwrap_or(0);
    let n = check_axis_names(object)?;
    let m = object.given("log_magnitude", Json::numbers)?;
    let centre = object.finite("centre")?.unwrap_or(0.0);
    let lanes = object.given("lanes", lane_pairs)?.unwrap_or_default();
    let out_lanes = object.given("out_lanes", lane_pairs)?.unwrap_or_default();
    let frequencies = object
        .given("frequencies", Json::matrix)?
        .unwrap_or_default();
    let mut plan = Plan {
        head_dim,
        real: axis_kinds(object, n)?,
        attention_factor: object.finite("attention_factor")?.unwrap_or(1.0),
        rows: Vec::new(),
        decay: m.is_some(),
        centre,
    };
    add_rows(&mut plan, lanes, out_lanes, frequencies, m)?;
    Ok(plan)
}

fn lane_pairs(list: &Json) -> Option<Vec<[usize; 2]>> {
    let pair = |pair: &Json| match pair.integers()?.as_slice() {
        &[first, second] => Some([usize::try_from(first).ok()?, usize::try_from(second).ok()?]),
        _ => None,
    };
    list.list()?.iter().map(pair).collect()
}

/// Puts the rows into a plan, checks it and brings it to canonical form.
fn add_rows(
    plan: &mut Plan,
    read: Vec<[usize; 2]>,
    written: Vec<[usize; 2]>,
    frequencies: Vec<Vec<f64>>,
    m: Option<Vec<f64>>,
) -> Res<()> {
    let m = m.unwrap_or(vec![0.0; read.len()]);
    need(frequencies.len() == read.len(), "frequencies")?;
    need(written.len() == read.len(), "out_lanes")?;
    need(m.len() == read.len(), "log_magnitude")?;
    for (j, frequencies) in frequencies.into_iter().enumerate() {
        plan.rows.push(Row {
            read: read[j],
            written: written[j],
            frequencies,
            m: m[j],
        });
    }
    check_plan(plan)?;
    make_canonical(plan);
    Ok(())
}

/// R-2.3, R-2.4 and R-2.6.
fn check_plan(plan: &Plan) -> Res<()> {
    let (mut read, mut written) = (vec![false; plan.head_dim], vec![false; plan.head_dim]);
    for lane in plan.rows.iter().flat_map(|row| row.read) {
        need(lane < plan.head_dim && !read[lane], "lanes")?;
        read[lane] = true;
    }
    for lane in plan.rows.iter().flat_map(|row| row.written) {
        need(
            lane < plan.head_dim && read[lane] && !written[lane],
            "out_lanes",
        )?;
        written[lane] = true;
    }
    for row in &plan.rows {
        need(row.frequencies.len() == plan.real.len(), "frequencies")?;
        need(
            row.frequencies.iter().all(|f| f.abs() <= POW_2_30),
            "frequencies",
        )?;
        need(row.m.is_finite(), "log_magnitude")?;
    }
    need(!plan.decay || plan.real.len() == 1, "log_magnitude")?;
    let factor = plan.attention_factor;
    need(factor.is_finite() && factor > 0.0, "attention_factor")
}

/// R-2.5. Rows that change nothing are dropped: their lanes pass through bit for bit.
fn make_canonical(plan: &mut Plan) {
    for row in &mut plan.rows {
        let sign = if row.read[0] > row.read[1] { -1.0 } else { 1.0 };
        if sign < 0.0 {
            row.read.swap(0, 1);
            row.written.swap(0, 1);
        }
        row.frequencies
            .iter_mut()
            .for_each(|f| *f = *f * sign + 0.0); // -0.0 + 0.0 is 0.0
    }
    let plain = plan.attention_factor == 1.0;
    plan.rows.retain(|row| {
        let turns = row.frequencies.iter().any(|&f| f != 0.0);
        turns || row.m != 0.0 || row.written != row.read || !plain
    });
    plan.rows.sort_by_key(|row| row.read[0]);
    plan.decay = plan.rows.iter().any(|row| row.m != 0.0);
}

// ------------------------------------------------------------------------------------------------
// Chapter 3. Pairings and lanes

/// Appendix A, marked as in PLAN_KEYS.
const CONFIG_KEYS: &str = "head_dim pairing base? rotary_dim= scaling? frequency_dim= \
     lane_offset= out_pairing= sections? axes= axis_order= axis_frequencies= axis_blocks= \
     axis_kinds= direction= attention_factor= inv_freq?";

fn plan_from_config(config: &Json, seq_len: &Json) -> Res<Plan> {
    check_keys(config, CONFIG_KEYS, "")?;
    let head_dim = config.size("head_dim", 2, 1 << 20)?.unwrap_or(2);
    let lane_offset = config.size("lane_offset", 0, head_dim - 2)?.unwrap_or(0);
    let room = head_dim - lane_offset;
    let rotary_dim = config.size("rotary_dim", 2, room)?;
    let odd_name = if rotary_dim.is_some() {
        "rotary_dim"
    } else {
        "head_dim"
    };
    let rotary_dim = rotary_dim.unwrap_or(room);
    need(rotary_dim % 2 == 0, odd_name)?;
    let rule = Rule::of(config.get("scaling"))?;
    let axes = axes(config, rotary_dim / 2)?;
    let length = length(&rule, seq_len)?;
    let m = log_magnitudes(&rule, rotary_dim);
    let frequencies = frequencies(config, &axes, &rule, length)?;
    let pairing = config.choice("pairing", &["half_split", "interleaved"])?;
    let out_pairing = match config.has("out_pairing") {
        true => config.choice("out_pairing", &["half_split", "interleaved"])?,
        false => pairing,
    };
    let mut plan = Plan {
        head_dim,
        real: axes.real,
        attention_factor: attention_factor(config, &rule)?,
        rows: Vec::new(),
        decay: m.is_some(),
        centre: rule.get("centre", 0.0),
    };
    let read = lanes_of_pairs(pairing, lane_offset, &axes.blocks);
    let written = lanes_of_pairs(out_pairing, lane_offset, &axes.blocks);
    add_rows(&mut plan, read, written, frequencies, m)?;
    Ok(plan)
}

/// R-3.1 and R-3.2, in blocks of so many pairs (R-3.5).
fn lanes_of_pairs(pairing: &str, mut start: usize, blocks: &[usize]) -> Vec<[usize; 2]> {
    let mut lanes = Vec::new();
    for &pairs in blocks {
        lanes.extend((0..pairs).map(|j| match pairing {
            "half_split" => [start + j, start + j + pairs],
            _ => [start + 2 * j, start + 2 * j + 1],
        }));
        start += 2 * pairs;
    }
    lanes
}

// ------------------------------------------------------------------------------------------------
// Chapter 4. Frequencies, within the distances of R-4.4

/// Unscaled frequencies f_j, with the b and d that a rule may ask for.
struct Series {
    f: Vec<f64>,
    base: Option<f64>,
    d: f64,
}

/// R-4.1.
fn powers(base: f64, d: f64, pairs: usize) -> Vec<f64> {
    (0..pairs).map(|j| base.powf(-2.0 * j as f64 / d)).collect()
}

/// F[j, a], for the direction of R-3.6.
fn frequencies(config: &Json, axes: &Axes, rule: &Rule, length: f64) -> Res<Vec<Vec<f64>>> {
    let direction = config.finite("direction")?.unwrap_or(1.0);
    need(direction.abs() == 1.0, "direction")?;
    let base = config.finite("base")?;
    need(base.is_none_or(|b| b > 0.0), "base")?;
    let d = config
        .size("frequency_dim", 1, usize::MAX)?
        .map(|d| d as f64);
    let mut rows = match &axes.matrix {
        Some(matrix) => {
            need(rule.name.is_empty(), "scaling")?; // R-4.3 (3)
            matrix.clone()
        }
        None => {
            let mut rows = vec![vec![0.0; axes.real.len()]; axes.of_pair.len()];
            let g = if axes.per_axis {
                need(d.is_none(), "frequency_dim")?;
                of_axes_alone(config, axes, base, rule, length)?
            } else {
                of_axes_together(config, axes.of_pair.len(), base, d, rule, length)?
            };
            for (j, g) in g.into_iter().enumerate() {
                rows[j][axes.of_pair[j]] = g;
            }
            rows
        }
    };
    let name = if config.get("inv_freq").is_null() {
        "base"
    } else {
        "inv_freq"
    };
    for f in rows.iter_mut().flatten() {
        *f *= direction;
        need(f.abs() <= POW_2_30, name)?;
    }
    Ok(rows)
}

/// R-6.5: one series, whatever the axis of a pair. `inv_freq` takes its place (R-4.3).
fn of_axes_together(
    config: &Json,
    pairs: usize,
    base: Option<f64>,
    d: Option<f64>,
    rule: &Rule,
    length: f64,
) -> Res<Vec<f64>> {
    let d = d.unwrap_or(2.0 * pairs as f64);
    let f = match config.given("inv_freq", Json::numbers)? {
        Some(f) => {
            let refused = ["ntk", "dynamic_ntk", "proportional"].contains(&rule.name);
            need(f.len() == pairs && !refused, "inv_freq")?;
            f
        }
        None => {
            need(base.is_some(), "base")?;
            powers(base.unwrap_or(1.0), d, pairs)
        }
    };
    scaled(Series { f, base, d }, rule, length)
}

/// R-6.6: a series an axis, dealt to the pairs of that axis.
fn of_axes_alone(
    config: &Json,
    axes: &Axes,
    base: Option<f64>,
    rule: &Rule,
    length: f64,
) -> Res<Vec<f64>> {
    need(config.get("inv_freq").is_null(), "inv_freq")?;
    need(rule.name != "longrope", "scaling")?;
    need(base.is_some(), "base")?;
    let mut lists = Vec::new();
    for &pairs in &axes.sections {
        let d = 2.0 * pairs as f64;
        let f = powers(base.unwrap_or(1.0), d, pairs);
        let g = if pairs > 0 {
            scaled(Series { f, base, d }, rule, length)?
        } else {
            f
        };
        lists.push(g.into_iter());
    }
    Ok(axes
        .of_pair
        .iter()
        .filter_map(|&axis| lists[axis].next())
        .collect())
}

// ------------------------------------------------------------------------------------------------
// Chapter 5. Scaling rules

/// The parameters of each rule, marked as in PLAN_KEYS.
const RULES: [(&str, &str); 10] = [
    ("linear", "rule factor"),
    ("ntk", "rule alpha"),
    (
        "dynamic_ntk",
        "rule factor original_max_position policy= max_position?",
    ),
    (
        "ntk_by_parts",
        "rule factor original_max_position beta_fast= beta_slow=",
    ),
    (
        "yarn",
        "rule factor original_max_position beta_fast= beta_slow= truncate= mscale? \
         mscale_all_dim? attention_factor?",
    ),
    (
        "longrope",
        "rule short_factor long_factor original_max_position factor? attention_factor? policy= \
         max_position?",
    ),
    (
        "llama3",
        "rule factor low_freq_factor high_freq_factor original_max_position",
    ),
    ("proportional", "rule partial_rotary_factor factor="),
    ("xpos", "rule scale_base= gamma= centre="),
    ("damped", "rule rate centre="),
];

/// A rule, all its parameters checked. Its name is empty where there is none.
struct Rule<'a> {
    name: &'a str,
    parameters: &'a Json,
}

impl<'a> Rule<'a> {
    fn of(scaling: &'a Json) -> Res<Rule<'a>> {
        let name = scaling.get("rule").text().unwrap_or("");
        let rule = Rule {
            name,
            parameters: scaling,
        };
        if !scaling.is_null() {
            let Some((_, keys)) = RULES.iter().find(|(known, _)| *known == name) else {
                return refuse("scaling.rule");
            };
            check_keys(scaling, keys, "scaling.")?;
            rule.check()?;
        }
        Ok(rule)
    }

    fn get(&self, parameter: &str, default: f64) -> f64 {
        self.parameters.get(parameter).number().unwrap_or(default)
    }

    /// R-12.3, and the conditions on two parameters.
    fn check(&self) -> Res<()> {
        if let Json::Object(map) = self.parameters {
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                need(self.in_range(key, value), key)?;
            }
        }
        let (fast, slow) = (self.get("beta_fast", 32.0), self.get("beta_slow", 1.0));
        need(fast > slow, "beta_fast")?;
        let (low, high) = (
            self.get("low_freq_factor", 0.0),
            self.get("high_freq_factor", 0.0),
        );
        need(high >= low, "high_freq_factor")?;
        let has_factor = self.get("factor", 0.0) + self.get("attention_factor", 0.0) > 0.0;
        need(self.name != "longrope" || has_factor, "factor")
    }

    fn in_range(&self, parameter: &str, value: &Json) -> bool {
        let number = value.number().filter(|x| x.is_finite());
        let longrope = self.name == "longrope";
        match parameter {
            "rule" => true,
            "policy" => matches!(value.text(), Some("per_call" | "static")),
            "truncate" => matches!(value, Json::Bool(_)),
            "short_factor" | "long_factor" => value
                .numbers()
                .is_some_and(|list| list.iter().all(|x| x.is_finite() && *x > 0.0)),
            "original_max_position" | "max_position" => {
                let least = if longrope && parameter != "max_position" {
                    2
                } else {
                    1
                };
                value
                    .integer()
                    .is_some_and(|x| (least..1 << 31).contains(&x))
            }
            "factor" | "alpha" if !longrope => number.is_some_and(|x| x >= 1.0),
            "mscale" | "mscale_all_dim" => number.is_some_and(|x| x >= 0.0),
            "partial_rotary_factor" => number.is_some_and(|x| x > 0.0 && x <= 1.0),
            "centre" => number.is_some(),
            _ => number.is_some_and(|x| x > 0.0),
        }
    }
}

/// R-5.4: the length n that the plan is for. Every rule checks `seq_len`.
fn length(rule: &Rule, seq_len: &Json) -> Res<f64> {
    let given = seq_len.integer().filter(|&n| n >= 1).map(|n| n as f64);
    need(given.is_some() || seq_len.is_null(), "seq_len")?;
    let (name, n) = match rule.parameters.get("policy").text() {
        Some("static") => ("max_position", rule.parameters.get("max_position").number()),
        _ => ("seq_len", given),
    };
    need(
        n.is_some() || !["dynamic_ntk", "longrope"].contains(&rule.name),
        name,
    )?;
    Ok(n.unwrap_or(1.0))
}

/// g_j of one series.
fn scaled(series: Series, rule: &Rule, n: f64) -> Res<Vec<f64>> {
    let s = rule.get("factor", 1.0);
    let original = rule.get("original_max_position", 1.0);
    match rule.name {
        "linear" => Ok(series.f.iter().map(|f| f / s).collect()),
        "ntk" => ntk(series, rule.get("alpha", 1.0)),
        "dynamic_ntk" if n > original => ntk(series, s * n / original - (s - 1.0)),
        "dynamic_ntk" => ntk(series, 1.0), // only for its check: b * 1 is b
        "ntk_by_parts" => Ok(ntk_by_parts(series, rule, s, original)),
        "yarn" => yarn(series, rule, s, original),
        "longrope" => longrope(series, rule, n > original),
        "llama3" => Ok(llama3(series, rule, s, original)),
        "proportional" => Ok(proportional(series, rule, s)),
        _ => Ok(series.f),
    }
}

/// R-5.2, and R-5.3 with its alpha.
fn ntk(series: Series, alpha: f64) -> Res<Vec<f64>> {
    let d = series.d;
    need(d > 2.0, "frequency_dim")?;
    let base = series.base.unwrap_or(1.0) * alpha.powf(d / (d - 2.0));
    Ok(powers(base, d, series.f.len()))
}

fn blend(f: f64, s: f64, keep: f64) -> f64 {
    (1.0 - keep) * f / s + keep * f
}

/// R-5.5.
fn ntk_by_parts(series: Series, rule: &Rule, s: f64, original: f64) -> Vec<f64> {
    let (fast, slow) = (rule.get("beta_fast", 32.0), rule.get("beta_slow", 1.0));
    let keep = |f: f64| ((original * f / TAU - slow) / (fast - slow)).clamp(0.0, 1.0);
    series.f.into_iter().map(|f| blend(f, s, keep(f))).collect()
}

/// R-5.6.
fn yarn(series: Series, rule: &Rule, s: f64, original: f64) -> Res<Vec<f64>> {
    let Some(base) = series.base.filter(|&b| b > 1.0) else {
        return refuse("base");
    };
    let cd = |beta: f64| series.d * (original / (TAU * beta)).ln() / (2.0 * base.ln());
    let (mut low, mut high) = (
        cd(rule.get("beta_fast", 32.0)),
        cd(rule.get("beta_slow", 1.0)),
    );
    if !matches!(rule.parameters.get("truncate"), Json::Bool(false)) {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(series.d - 1.0));
    need(low <= high, "original_max_position")?;
    if low == high {
        high += 0.001;
    }
    let g = |(j, f): (usize, &f64)| {
        let ramp = ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
        f / s * ramp + f * (1.0 - ramp)
    };
    Ok(series.f.iter().enumerate().map(g).collect())
}

/// R-5.8.
fn longrope(series: Series, rule: &Rule, long: bool) -> Res<Vec<f64>> {
    let list = |name: &str| rule.parameters.get(name).numbers().unwrap_or_default();
    need(list("short_factor").len() == series.f.len(), "short_factor")?;
    need(list("long_factor").len() == series.f.len(), "long_factor")?;
    let divisors = list(if long { "long_factor" } else { "short_factor" });
    Ok(series
        .f
        .iter()
        .zip(divisors)
        .map(|(f, divisor)| f / divisor)
        .collect())
}

/// R-5.9.
fn llama3(series: Series, rule: &Rule, s: f64, original: f64) -> Vec<f64> {
    let (low, high) = (
        rule.get("low_freq_factor", 1.0),
        rule.get("high_freq_factor", 1.0),
    );
    let g = |f: f64| {
        let wavelength = TAU / f;
        if f <= 0.0 || wavelength > original / low {
            f / s
        } else if wavelength < original / high || high == low {
            f
        } else {
            blend(f, s, (original / wavelength - low) / (high - low))
        }
    };
    series.f.into_iter().map(g).collect()
}

/// R-5.10.
fn proportional(series: Series, rule: &Rule, s: f64) -> Vec<f64> {
    let r = 2.0 * series.f.len() as f64;
    let kept = (rule.get("partial_rotary_factor", 1.0) * r / 2.0).floor();
    let g = |(j, f): (usize, &f64)| if (j as f64) < kept { f / s } else { 0.0 };
    series.f.iter().enumerate().map(g).collect()
}

/// m_j of R-5.11 and R-5.12.
fn log_magnitudes(rule: &Rule, rotary_dim: usize) -> Option<Vec<f64>> {
    let (gamma, r) = (rule.get("gamma", 0.4), rotary_dim as f64);
    let xpos = |j: usize| {
        let part = (2.0 * j as f64 / r + gamma) / (1.0 + gamma);
        let behind = (2.0 * j as f64 - r) / (r * (1.0 + gamma));
        let log = if part < 0.5 {
            part.ln()
        } else {
            behind.ln_1p()
        }; // R-4.4
        log / rule.get("scale_base", 512.0)
    };
    match rule.name {
        "xpos" => Some((0..rotary_dim / 2).map(xpos).collect()),
        "damped" => Some(vec![-rule.get("rate", 0.0); rotary_dim / 2]),
        _ => None,
    }
}

/// A: R-5.7, R-5.8 and R-5.13.
fn attention_factor(config: &Json, rule: &Rule) -> Res<f64> {
    let s = rule.get("factor", 1.0);
    let ms = |mscale: f64| {
        if s <= 1.0 {
            1.0
        } else {
            0.1 * mscale * s.ln() + 1.0
        }
    };
    let (mscale, all) = (rule.get("mscale", 0.0), rule.get("mscale_all_dim", 0.0));
    let of_rule = match rule.name {
        "yarn" if mscale != 0.0 && all != 0.0 => ms(mscale) / ms(all),
        "yarn" => ms(1.0),
        "longrope" if s <= 1.0 => 1.0,
        "longrope" => (1.0 + s.ln() / rule.get("original_max_position", 2.0).ln()).sqrt(),
        _ => {
            let own = config.finite("attention_factor")?.unwrap_or(1.0);
            need(own > 0.0, "attention_factor")?;
            return Ok(own);
        }
    };
    need(!config.has("attention_factor"), "attention_factor")?;
    Ok(rule.get("attention_factor", of_rule))
}

// ------------------------------------------------------------------------------------------------
// Chapter 6. Axes

struct Axes {
    real: Vec<bool>,
    sections: Vec<usize>,
    of_pair: Vec<usize>,
    per_axis: bool,
    blocks: Vec<usize>, // pairs of each block of lanes
    matrix: Option<Vec<Vec<f64>>>,
}

fn axes(config: &Json, pairs: usize) -> Res<Axes> {
    let n = if config.has("axes") {
        check_axis_names(config)?
    } else {
        1
    };
    let is_list = |json: &Json| matches!(json, Json::List(_));
    let rows = config.get("inv_freq").list().unwrap_or_default();
    let has_matrix = rows.iter().any(is_list);
    let matrix = if has_matrix {
        config.given("inv_freq", Json::matrix)?
    } else {
        None
    };
    let sections = config.given("sections", Json::sizes)?;
    if let Some(sections) = &sections {
        need(
            !has_matrix && sections.iter().sum::<usize>() == pairs,
            "sections",
        )?;
        need(sections.len() == n || !config.has("axes"), "sections")?;
    }
    need(
        config.has("axes") || sections.is_none() && !has_matrix,
        "axes",
    )?;
    if let Some(matrix) = &matrix {
        let even = matrix.iter().all(|row| row.len() == matrix[0].len());
        need(matrix.len() == pairs && even, "inv_freq")?;
        need(matrix[0].len() == n, "axes")?;
    }
    let blocks = config.given("axis_blocks", Json::boolean)?.unwrap_or(false);
    let way = config.get("axis_frequencies");
    let per_axis =
        !way.is_null() && config.choice("axis_frequencies", &["shared", "per_axis"])? == "per_axis";
    let order = config.get("axis_order");
    let chunked = order.is_null() || order.text() == Some("chunked");
    let plain = chunked && !per_axis && !blocks && (n == 1 || has_matrix);
    need(sections.is_some() || plain, "sections")?;
    need(chunked || !blocks, "axis_order")?;
    let sections = sections.unwrap_or(vec![pairs]);
    Ok(Axes {
        real: axis_kinds(config, n)?,
        of_pair: axis_of_pairs(order, &sections, pairs)?,
        per_axis,
        blocks: if blocks {
            sections.clone()
        } else {
            vec![pairs]
        },
        sections,
        matrix,
    })
}

/// Names are distinct and not empty. Their number is returned.
fn check_axis_names(object: &Json) -> Res<usize> {
    let names = object.given("axes", Json::texts)?.unwrap_or_default();
    let good = |(i, name): (usize, &&str)| !name.is_empty() && !names[..i].contains(name);
    need(
        !names.is_empty() && names.iter().enumerate().all(good),
        "axes",
    )?;
    Ok(names.len())
}

/// R-6.1 to R-6.4.
fn axis_of_pairs(order: &Json, sections: &[usize], pairs: usize) -> Res<Vec<usize>> {
    let n = sections.len();
    let by_axis = sections.iter().enumerate();
    let list: Vec<usize> = match (order, order.text()) {
        (Json::List(_), _) => order.sizes().unwrap_or_default(),
        (Json::Null, _) | (_, Some("chunked")) => by_axis
            .flat_map(|(axis, &count)| vec![axis; count])
            .collect(),
        (_, Some("interleaved")) => (0..pairs)
            .map(|j| if j < n * sections[j % n] { j % n } else { 0 })
            .collect(),
        (_, Some("alternating")) => {
            let round = |i: usize| (0..n).filter(move |&axis| i < sections[axis]);
            (0..pairs).flat_map(round).collect()
        }
        _ => return refuse("axis_order"),
    };
    let count = |axis: usize| list.iter().filter(|&&a| a == axis).count();
    let fits = (0..n).all(|axis| count(axis) == sections[axis]);
    need(list.len() == pairs && fits, "axis_order")?;
    Ok(list)
}

/// R-6.9: whether each axis is real.
fn axis_kinds(object: &Json, n: usize) -> Res<Vec<bool>> {
    let kinds = object
        .given("axis_kinds", Json::texts)?
        .unwrap_or(vec!["integer"; n]);
    let known = kinds.iter().all(|kind| ["integer", "real"].contains(kind));
    need(kinds.len() == n && known, "axis_kinds")?;
    Ok(kinds.iter().map(|kind| *kind == "real").collect())
}

// ------------------------------------------------------------------------------------------------
// Chapter 7. Positions

/// The dimensions of x.
struct Layout {
    letters: Vec<char>,
    shape: Vec<usize>,
    batch: Option<usize>,
    tokens: usize,
}

fn layout(format: &str, shape: &[usize], head_dim: usize) -> Res<Layout> {
    let letters: Vec<char> = format.chars().collect();
    let has = |letter: char| letters.contains(&letter);
    let good = |(i, c): (usize, &char)| "bhgstd".contains(*c) && !letters[..i].contains(c);
    let good = letters.iter().enumerate().all(good) && letters.last() == Some(&'d');
    need(
        good && has('s') != has('t') && !(has('b') && has('t')),
        "tensor_format",
    )?;
    need(
        shape.len() == letters.len() && shape.last() == Some(&head_dim),
        "x",
    )?;
    let size = |letter: char| letters.iter().position(|&c| c == letter).map(|i| shape[i]);
    let (batch, tokens) = (size('b'), size('s').or(size('t')).unwrap_or(0));
    Ok(Layout {
        letters,
        shape: shape.to_vec(),
        batch,
        tokens,
    })
}

impl Layout {
    /// The row of the batch and the token that the vector with this number belongs to.
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

/// Coordinates by axis, and in an axis by row and token. Where `rows` is 1, all rows share them.
struct Positions {
    rows: usize,
    axes: Vec<Vec<f64>>,
}

fn positions(given: &Json, offset: &Json, plan: &Plan, layout: &Layout) -> Res<Positions> {
    let positions = if given.is_null() {
        behind_offset(offset, plan, layout)?
    } else {
        need(offset.is_null() || offset.integer() == Some(0), "offset")?;
        from_array(given, plan, layout)?
    };
    for p in positions.axes.iter().flatten() {
        need(p.abs() < POW_2_31, "positions")?; // R-7.1 and R-7.12
        let fits = |row: &Row| (row.m * (p - plan.centre)).abs() <= 100.0 * LN_2; // R-2.4
        need(!plan.decay || plan.rows.iter().all(fits), "positions")?;
    }
    Ok(positions)
}

/// R-7.3.
fn from_array(given: &Json, plan: &Plan, layout: &Layout) -> Res<Positions> {
    let (shape, data) = given.array()?;
    let (n, tokens) = (plan.real.len(), layout.tokens);
    let leading = if n > 1 { 1 } else { 0 };
    need(leading == 0 || shape.first() == Some(&n), "positions")?;
    let rows = match (&shape[leading..], layout.batch) {
        (&[count], _) if count == tokens => 1,
        (&[rows, count], Some(batch)) if count == tokens && (rows == 1 || rows == batch) => rows,
        _ => return refuse("positions"),
    };
    let mut axes = Vec::new();
    for (axis, &real) in plan.real.iter().enumerate() {
        // R-6.9: 5.0 is no position on an integer axis
        let read = |item: &Json| if real { item.number() } else { item.whole() };
        let items = &data[axis * rows * tokens..(axis + 1) * rows * tokens];
        let Some(list) = items.iter().map(read).collect() else {
            return refuse("positions");
        };
        axes.push(list);
    }
    Ok(Positions { rows, axes })
}

/// R-7.4.
fn behind_offset(offset: &Json, plan: &Plan, layout: &Layout) -> Res<Positions> {
    need(plan.real == [false], "positions")?;
    let starts = match offset {
        Json::Null => Some(vec![0.0]),
        Json::List(list) => {
            need(layout.batch == Some(list.len()), "offset")?;
            list.iter().map(Json::whole).collect()
        }
        single => single.whole().map(|start| vec![start]),
    };
    let Some(starts) = starts else {
        return refuse("offset");
    };
    let tokens = |&start: &f64| (0..layout.tokens).map(move |i| start + i as f64);
    let list = starts.iter().flat_map(tokens).collect();
    Ok(Positions {
        rows: starts.len(),
        axes: vec![list],
    })
}

// ------------------------------------------------------------------------------------------------
// Chapter 9. The rotation, its transpose and its inverse

struct Call {
    dtype: Dtype,
    layout: Layout,
    positions: Positions,
    sign: f64, // of the decay: +1 for queries, -1 for keys
    inverse: bool,
    back: bool, // the inverse or the transpose
    flip: bool, // wrong on purpose
}

/// M cos phi and M sin phi of one row, for each position (R-9.2, R-9.3).
fn tables(plan: &Plan, row: &Row, call: &Call) -> Vec<(f64, f64)> {
    let turns: Vec<Turns> = row.frequencies.iter().map(|&f| Turns::of(f)).collect();
    let entry = |i: usize| {
        let p: Vec<f64> = call.positions.axes.iter().map(|axis| axis[i]).collect();
        let decay = if plan.decay {
            call.sign * row.m * (p[0] - plan.centre)
        } else {
            0.0
        };
        let mut multiplier = plan.attention_factor * decay.exp();
        if call.inverse {
            multiplier = 1.0 / multiplier;
        }
        let (cos, sin) = cos_sin(phase(&turns, &plan.real, &p));
        let direction = if call.back != call.flip { -1.0 } else { 1.0 };
        (cos * multiplier, direction * sin * multiplier)
    };
    (0..call.positions.axes[0].len()).map(entry).collect()
}

/// R-2.1. Lanes in no row keep their bits (R-2.2).
fn rotate(plan: &Plan, call: &Call, x: &[f64]) -> Vec<f64> {
    let mut y = x.to_vec();
    for row in &plan.rows {
        let tables = tables(plan, row, call);
        let (from, to) = if call.back {
            (row.written, row.read)
        } else {
            (row.read, row.written)
        };
        for vector in 0..x.len() / plan.head_dim {
            let (batch, token) = call.layout.place(vector);
            let batch = if call.positions.rows == 1 { 0 } else { batch };
            let (cos, sin) = tables[batch * call.layout.tokens + token];
            let lane = vector * plan.head_dim;
            let pair = from.map(|i| x[lane + i]);
            [y[lane + to[0]], y[lane + to[1]]] = turn(call.dtype, pair, cos, sin);
        }
    }
    y
}

// ------------------------------------------------------------------------------------------------
// Chapter 10. Precision: angle exact, table float32, compute float32

/// floor(2^256 / (2 pi)) of R-10.2, its lowest 32 bits first.
const INVERSE: [u32; 8] = [
    0xf7aef158, 0x7f9458ea, 0x4f10e410, 0x36d8a566, 0x7d4d3770, 0x7f09d5f4, 0x9391054a, 0x28be60db,
];

/// F / (2 pi): 96 bits behind the point, for integer axes, and a double, for real ones.
struct Turns {
    fix: u128,
    rounded: f64,
}

impl Turns {
    fn of(frequency: f64) -> Turns {
        // |F| = mantissa * 2^exponent
        let biased = (frequency.to_bits() >> 52 & 0x7ff) as i32;
        let fraction = frequency.to_bits() & ((1 << 52) - 1);
        let mantissa = fraction | u64::from(biased > 0) << 52;
        let exponent = biased.max(1) - 1075;
        // |F| / (2 pi) = product * 2^(exponent - 256)
        let mut product = [0u32; 10];
        let mut carry = 0u128;
        for (i, limb) in product.iter_mut().enumerate() {
            carry += INVERSE
                .get(i)
                .map_or(0, |&inverse| u128::from(inverse) * u128::from(mantissa));
            *limb = carry as u32;
            carry >>= 32;
        }
        let shift = (160 - exponent) as usize;
        let fix = bits(&product, shift, 96) + bits(&product, shift - 1, 1);
        // its top 64 bits, of which the last says that more follow: so it is rounded once
        let low = (64..320)
            .rev()
            .find(|&i| bits(&product, i, 1) == 1)
            .unwrap_or(63)
            - 63;
        let top = (bits(&product, low, 64) as u64 | u64::from(mantissa > 0)) as f64;
        let rounded = top * 2f64.powi(exponent - 256 + low as i32);
        let negative = frequency < 0.0;
        Turns {
            fix: if negative { fix.wrapping_neg() } else { fix } & ((1 << 96) - 1),
            rounded: if negative { -rounded } else { rounded },
        }
    }
}

/// `count` bits from bit `from` on; those beyond the end are 0.
fn bits(limbs: &[u32], from: usize, count: usize) -> u128 {
    let bit = |i: usize| {
        limbs
            .get(i / 32)
            .map_or(0, |limb| u128::from(limb >> (i % 32) & 1))
    };
    (from..from + count)
        .rev()
        .fold(0, |bits, i| bits << 1 | bit(i))
}

/// R-10.2 for integer axes and R-10.7 for real ones, in the width of float64: 2^64 is one turn.
fn phase(turns: &[Turns], real: &[bool], position: &[f64]) -> u64 {
    let mut phase = 0u64;
    for (axis, &p) in position.iter().enumerate() {
        let part = if real[axis] {
            let turns = p * turns[axis].rounded;
            ((turns - turns.round()) * 2f64.powi(64)).round() as i128
        } else {
            (p as i128 * turns[axis].fix as i128) >> 32 // below 2^127
        };
        phase = phase.wrapping_add(part as u64);
    }
    phase
}

fn cos_sin(phase: u64) -> (f64, f64) {
    let quarter = phase.wrapping_add(1 << 61) >> 62;
    let rest = phase.wrapping_sub(quarter << 62) as i64;
    let (sin, cos) = (rest as f64 * 2f64.powi(-62) * FRAC_PI_2).sin_cos();
    match quarter {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}

/// Binary digits, and the exponent of the smallest normal number.
#[derive(Clone, Copy, PartialEq)]
struct Dtype {
    digits: i32,
    least: i32,
}

impl Dtype {
    fn named(name: &str) -> Res<Dtype> {
        match name {
            "float16" => Ok(Dtype {
                digits: 11,
                least: -14,
            }),
            "bfloat16" => Ok(Dtype {
                digits: 8,
                least: -126,
            }),
            "float32" => Ok(Dtype {
                digits: 24,
                least: -126,
            }),
            "float64" => Ok(Dtype {
                digits: 53,
                least: -1022,
            }),
            _ => refuse("x"),
        }
    }

    fn is_float64(self) -> bool {
        self.digits == 53
    }

    /// To nearest, ties to even.
    fn round(self, value: f64) -> f64 {
        if self.is_float64() || value == 0.0 || !value.is_finite() {
            return value;
        }
        let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
        let step = 2f64.powi(exponent.max(self.least) - self.digits + 1);
        let rounded = (value / step).round_ties_even() * step;
        let fits = rounded.abs() < 2f64.powi(2 - self.least);
        if fits {
            rounded
        } else {
            f64::INFINITY.copysign(value)
        }
    }
}

/// R-2.1 with R-10.4: two products and a sum, in float32 unless x is of float64.
fn turn(dtype: Dtype, x: [f64; 2], cos: f64, sin: f64) -> [f64; 2] {
    if dtype.is_float64() {
        return [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos];
    }
    let ([a, b], cos, sin) = (x.map(|lane| lane as f32), cos as f32, sin as f32);
    [a * cos - b * sin, a * sin + b * cos].map(|y| dtype.round(f64::from(y)))
}

// ------------------------------------------------------------------------------------------------
// JSON

const MAX_DEPTH: usize = 32;
const MAX_LINE: u64 = 64 << 20;

enum Json {
    Null,
    Bool(bool),
    Number(f64, bool), // true: written without a point and an exponent
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    fn get(&self, key: &str) -> &Json {
        match self {
            Json::Object(map) => map.get(key).unwrap_or(&Json::Null),
            _ => &Json::Null,
        }
    }

    fn has(&self, key: &str) -> bool {
        matches!(self, Json::Object(map) if map.contains_key(key))
    }

    fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    /// What is no JSON number is a string: NaN, infinities, and integers beyond 2^53.
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

    fn whole(&self) -> Option<f64> {
        match self {
            Json::Number(value, true) => Some(*value),
            Json::Text(text) => text.parse::<i128>().ok().map(|value| value as f64),
            _ => None,
        }
    }

    fn integer(&self) -> Option<i64> {
        self.whole().map(|value| value as i64)
    }

    fn boolean(&self) -> Option<bool> {
        if let Json::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    fn list(&self) -> Option<&[Json]> {
        if let Json::List(list) = self {
            Some(list)
        } else {
            None
        }
    }

    fn numbers(&self) -> Option<Vec<f64>> {
        self.list()?.iter().map(Json::number).collect()
    }

    fn matrix(&self) -> Option<Vec<Vec<f64>>> {
        self.list()?.iter().map(Json::numbers).collect()
    }

    fn integers(&self) -> Option<Vec<i64>> {
        self.list()?.iter().map(Json::integer).collect()
    }

    fn sizes(&self) -> Option<Vec<usize>> {
        self.integers()?
            .into_iter()
            .map(|size| usize::try_from(size).ok())
            .collect()
    }

    fn texts(&self) -> Option<Vec<&str>> {
        self.list()?.iter().map(Json::text).collect()
    }

    /// The value of a key, None where there is none. One of another type is refused.
    fn given<'a, T>(&'a self, key: &str, read: impl Fn(&'a Json) -> Option<T>) -> Res<Option<T>> {
        let value = self.get(key);
        let result = if value.is_null() { None } else { read(value) };
        need(result.is_some() || value.is_null(), key)?;
        Ok(result)
    }

    fn finite(&self, key: &str) -> Res<Option<f64>> {
        self.given(key, |value| value.number().filter(|x| x.is_finite()))
    }

    fn size(&self, key: &str, least: usize, most: usize) -> Res<Option<usize>> {
        let read = |value: &Json| value.integer().and_then(|size| usize::try_from(size).ok());
        self.given(key, |value| {
            read(value).filter(|&size| size >= least && size <= most)
        })
    }

    fn choice(&self, key: &str, names: &[&str]) -> Res<&str> {
        let text = self.get(key).text().unwrap_or("");
        need(names.contains(&text), key)?;
        Ok(text)
    }

    /// `{"shape", "data"}`, with as many data as the shape says.
    fn array(&self) -> Res<(Vec<usize>, &[Json])> {
        let shape = self.get("shape").sizes();
        let (Some(shape), Some(data)) = (shape, self.get("data").list()) else {
            return errored("an array without a shape or data");
        };
        let count = shape
            .iter()
            .try_fold(1usize, |count, &size| count.checked_mul(size));
        if count == Some(data.len()) {
            Ok((shape, data))
        } else {
            errored("data unlike the shape")
        }
    }
}

type Parsed<T> = Result<T, String>;

struct Parser<'a> {
    text: &'a str, // what is left
}

impl Parser<'_> {
    /// Passes over white space and `word`, if it comes next.
    fn take(&mut self, word: &str) -> bool {
        self.text = self.text.trim_start_matches([' ', '\t', '\r', '\n']);
        let rest = self.text.strip_prefix(word);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn must(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) {
            Ok(())
        } else {
            Err(format!("JSON: no {word} before {:.20}", self.text))
        }
    }

    fn value(&mut self, depth: usize) -> Parsed<Json> {
        match () {
            _ if depth > MAX_DEPTH => Err("JSON: nested too deep".to_string()),
            _ if self.take("null") => Ok(Json::Null),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            _ if self.take("\"") => self.string().map(Json::Text),
            _ if self.take("[") => self.list(depth),
            _ if self.take("{") => self.object(depth),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Json> {
        let mut items = Vec::new();
        while !self.take("]") {
            if !items.is_empty() {
                self.must(",")?;
            }
            items.push(self.value(depth + 1)?);
        }
        Ok(Json::List(items))
    }

    fn object(&mut self, depth: usize) -> Parsed<Json> {
        let mut map = BTreeMap::new();
        while !self.take("}") {
            if !map.is_empty() {
                self.must(",")?;
            }
            self.must("\"")?;
            let key = self.string()?;
            self.must(":")?;
            if map.insert(key, self.value(depth + 1)?).is_some() {
                return Err("JSON: a key twice".to_string());
            }
        }
        Ok(Json::Object(map))
    }

    fn number(&mut self) -> Parsed<Json> {
        let in_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let end = self
            .text
            .find(|c: char| !in_number(c))
            .unwrap_or(self.text.len());
        let (text, rest) = self.text.split_at(end);
        self.text = rest;
        let value = text
            .parse()
            .map_err(|_| format!("JSON: {text:?} is no number"))?;
        Ok(Json::Number(value, !text.contains(['.', 'e', 'E'])))
    }

    /// What follows the opening quotation mark.
    fn string(&mut self) -> Parsed<String> {
        let mut units = Vec::new(); // of UTF-16, as the escapes are
        let mut chars = self.text.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.text = chars.as_str();
                    return String::from_utf16(&units)
                        .map_err(|_| "JSON: half a letter".to_string());
                }
                '\\' => units.push(escape(&mut chars)?),
                _ => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
        Err("JSON: a string without an end".to_string())
    }
}

fn escape(chars: &mut std::str::Chars) -> Parsed<u16> {
    match chars.next() {
        Some(c @ ('"' | '\\' | '/')) => Ok(c as u16),
        Some('b') => Ok(8),
        Some('t') => Ok(9),
        Some('n') => Ok(10),
        Some('f') => Ok(12),
        Some('r') => Ok(13),
        Some('u') => {
            let digits: String = chars.by_ref().take(4).collect();
            u16::from_str_radix(&digits, 16).map_err(|_| "JSON: a wrong escape".to_string())
        }
        _ => Err("JSON: an unknown escape".to_string()),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            _ => out.push(c),
        }
    }
    out + "\""
}

/// The shortest decimals that give the number back.
fn printed(value: f64, dtype: Dtype) -> String {
    match value {
        _ if value.is_nan() => quoted("NaN"),
        _ if value.is_infinite() => quoted(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        _ if dtype.is_float64() => format!("{value:?}"),
        _ => format!("{:?}", value as f32),
    }
}

// ------------------------------------------------------------------------------------------------
// The protocol

fn started(from_config: bool) -> String {
    let dtypes = r#"["float32", "float64", "bfloat16", "float16"]"#;
    format!(
        r#"{{"protocol": "ropecore-command/1", "name": "rope.rs", "version": "1", "language": "Rust",
            "capabilities": {{"dtypes": {dtypes}, "angle": "exact", "table": "float32", "compute": "float32",
            "reads_config": {from_config}, "own_frequencies": {from_config}}}}}"#
    )
    .replace('\n', "")
}

/// The y of one question, as JSON.
fn run(question: &Json, from_config: bool, flip: bool) -> Res<String> {
    let plan = match from_config {
        true => plan_from_config(question.get("config"), question.get("seq_len"))?,
        false => plan_from_object(question.get("plan"))?,
    };
    let dtype = Dtype::named(question.get("dtype").text().unwrap_or(""))?;
    let (shape, data) = question.get("x").array()?;
    let format = question.get("tensor_format").text().unwrap_or("");
    let layout = layout(format, &shape, plan.head_dim)?;
    let positions = positions(
        question.get("positions"),
        question.get("offset"),
        &plan,
        &layout,
    )?;
    let sign = if question.choice("role", &["q", "k"])? == "q" {
        1.0
    } else {
        -1.0
    };
    let (back, inverse) = match question.get("mode").text() {
        Some("forward") => (false, false),
        Some("transpose") => (true, false),
        Some("inverse") => (true, true),
        _ => return errored("an unknown mode"),
    };
    let Some(x) = data
        .iter()
        .map(|item| Some(dtype.round(item.number()?)))
        .collect()
    else {
        return errored("x has something that is no number");
    };
    let x: Vec<f64> = x;
    let call = Call {
        dtype,
        layout,
        positions,
        sign,
        inverse,
        back,
        flip,
    };
    let y = rotate(&plan, &call, &x);
    let y: Vec<String> = y.into_iter().map(|value| printed(value, dtype)).collect();
    Ok(format!(
        r#"{{"shape": {shape:?}, "data": [{}]}}"#,
        y.join(", ")
    ))
}

/// The answer to one line, None to the last.
fn answer(line: &str, from_config: bool, flip: bool) -> Parsed<Option<String>> {
    let mut parser = Parser { text: line };
    let question = parser.value(0)?;
    parser.take("");
    if !parser.text.is_empty() {
        return Err("JSON: text behind the value".to_string());
    }
    match question.get("command").text() {
        Some("start") => Ok(Some(started(from_config))),
        Some("run") => {
            let id = question.get("id").integer().ok_or("a run without an id")?;
            let result = match run(&question, from_config, flip) {
                Ok(y) => format!(r#""y": {y}"#),
                Err(Fault(kind, text)) => format!(r#""{kind}": {}"#, quoted(&text)),
            };
            Ok(Some(format!(r#"{{"id": {id}, {result}}}"#)))
        }
        Some("stop") => Ok(None),
        _ => Err("an unknown command".to_string()),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let from_config = std::env::args().any(|argument| argument == "--config");
    let flip = std::env::var_os("FLIP_SIGN").is_some();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut line = String::new();
        input.by_ref().take(MAX_LINE).read_line(&mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 == MAX_LINE {
            return Err("a line that is too long".into());
        }
        let Some(text) = answer(&line, from_config, flip)? else {
            return Ok(());
        };
        writeln!(output, "{text}")?;
        output.flush()?;
    }
}
