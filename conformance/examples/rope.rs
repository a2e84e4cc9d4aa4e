// A RoPE in Rust that answers `ropecore conformance --command`: one file, the standard library
// alone, its parts in the order of rope.md's chapters.
//
//     rustc -O -o rope rope.rs
//     ropecore conformance --command ./rope               it starts from each case's plan
//     ropecore conformance --command "./rope --config"    it starts from each case's config
//
// With FLIP_SIGN in the environment it is wrong on purpose, to see what a failure looks like.

use std::collections::BTreeMap;
use std::f64::consts::{FRAC_PI_2, LN_2, TAU};
use std::io::{self, BufRead, Read};

/// What a run ends with in place of a result: "refused" and the argument's name (chapter 12), or
/// "errored" and what is wrong with the question.
struct Fault(&'static str, String);

type Res<T> = Result<T, Fault>;

fn refuse<T>(argument: &str) -> Res<T> {
    Err(Fault("refused", argument.to_string()))
}

fn need(holds: bool, argument: &str) -> Res<()> {
    holds.then_some(()).ok_or_else(|| Fault("refused", argument.to_string()))
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
        need(known.is_some_and(|known| known.ends_with('?') || !value.is_null()), key)?;
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
    need(object.get("schema").text() == Some("ropecore-plan/1"), "schema")?;
    let n = check_axis_names(object)?;
    let m = object.given("log_magnitude", Json::numbers)?;
    let plan = Plan {
        head_dim: object.size_of("head_dim", 1, 1 << 20)?.unwrap_or(1),
        real: axis_kinds(object, n)?,
        attention_factor: object.finite("attention_factor")?.unwrap_or(1.0),
        decay: m.is_some(),
        centre: object.finite("centre")?.unwrap_or(0.0),
        rows: rows(
            object.given("lanes", lane_pairs)?.unwrap_or_default(),
            object.given("out_lanes", lane_pairs)?.unwrap_or_default(),
            object.given("frequencies", |value| value.all(Json::numbers))?.unwrap_or_default(),
            m,
        )?,
    };
    check_plan(&plan)?;
    Ok(canonical(plan))
}

fn lane_pairs(list: &Json) -> Option<Pairs> {
    list.all(|pair| match pair.sizes()?[..] {
        [first, second] => Some([first, second]),
        _ => None,
    })
}

type Pairs = Vec<[usize; 2]>;

fn rows(read: Pairs, written: Pairs, f: Vec<Vec<f64>>, m: Option<Vec<f64>>) -> Res<Vec<Row>> {
    let m = m.unwrap_or(vec![0.0; read.len()]);
    need(f.len() == read.len(), "frequencies")?;
    need(written.len() == read.len(), "out_lanes")?;
    need(m.len() == read.len(), "log_magnitude")?;
    let lanes = read.into_iter().zip(written);
    let row = |((read, written), (frequencies, m))| Row { read, written, frequencies, m };
    Ok(lanes.zip(f.into_iter().zip(m)).map(row).collect())
}

/// R-2.3, R-2.4 and R-2.6.
fn check_plan(plan: &Plan) -> Res<()> {
    let (mut read, mut written) = (vec![false; plan.head_dim], vec![false; plan.head_dim]);
    for lane in plan.rows.iter().flat_map(|row| row.read) {
        need(lane < plan.head_dim && !read[lane], "lanes")?;
        read[lane] = true;
    }
    for lane in plan.rows.iter().flat_map(|row| row.written) {
        need(lane < plan.head_dim && read[lane] && !written[lane], "out_lanes")?;
        written[lane] = true;
    }
    for row in &plan.rows {
        let fits = row.frequencies.iter().all(|f| f.abs() <= POW_2_30);
        need(fits && row.frequencies.len() == plan.real.len(), "frequencies")?;
        need(row.m.is_finite(), "log_magnitude")?;
    }
    need(!plan.decay || plan.real.len() == 1, "log_magnitude")?;
    need(plan.attention_factor > 0.0 && plan.attention_factor.is_finite(), "attention_factor")
}

/// R-2.5. Rows that change nothing are dropped: their lanes pass through bit for bit.
fn canonical(mut plan: Plan) -> Plan {
    for row in &mut plan.rows {
        if row.read[0] > row.read[1] {
            row.read.reverse();
            row.written.reverse();
            row.frequencies.iter_mut().for_each(|f| *f = -*f);
        }
        row.frequencies.iter_mut().for_each(|f| *f += 0.0); // -0.0 becomes 0.0
    }
    let plain = plan.attention_factor == 1.0;
    plan.rows.retain(|row| {
        let turns = row.frequencies.iter().any(|&f| f != 0.0);
        turns || row.m != 0.0 || row.written != row.read || !plain
    });
    plan.rows.sort_by_key(|row| row.read[0]);
    plan.decay = plan.rows.iter().any(|row| row.m != 0.0);
    plan
}

// ------------------------------------------------------------------------------------------------
// Chapter 3. Pairings and lanes

/// Appendix A, marked as in PLAN_KEYS.
const CONFIG_KEYS: &str = "head_dim pairing base? rotary_dim? scaling? frequency_dim? \
     lane_offset= out_pairing? sections? axes? axis_order= axis_frequencies= axis_blocks= \
     axis_kinds? direction= attention_factor? inv_freq?";

fn plan_from_config(config: &Json, seq_len: &Json) -> Res<Plan> {
    check_keys(config, CONFIG_KEYS, "")?;
    let head_dim = config.size_of("head_dim", 2, 1 << 20)?.unwrap_or(2);
    let lane_offset = config.size_of("lane_offset", 0, head_dim - 2)?.unwrap_or(0);
    let room = head_dim - lane_offset;
    let rotary_dim = config.size_of("rotary_dim", 2, room)?.unwrap_or(room);
    let name = if config.is_given("rotary_dim") { "rotary_dim" } else { "head_dim" };
    need(rotary_dim % 2 == 0, name)?;
    let rule = Rule::of(config.get("scaling"))?;
    let n = length(&rule, seq_len)?;
    let axes = axes(config, rotary_dim / 2)?;
    let lanes = |key: &str| -> Res<Pairs> {
        let pairing = config.choice(key, &["half_split", "interleaved"])?;
        Ok(lanes_of_pairs(pairing, lane_offset, &axes.blocks))
    };
    let out = if config.is_given("out_pairing") { "out_pairing" } else { "pairing" };
    let m = log_magnitudes(&rule, rotary_dim);
    let plan = Plan {
        head_dim,
        attention_factor: attention_factor(config, &rule)?,
        decay: m.is_some(),
        centre: rule.get("centre", 0.0),
        rows: rows(lanes("pairing")?, lanes(out)?, frequencies(config, &axes, &rule, n)?, m)?,
        real: axes.real,
    };
    check_plan(&plan)?;
    Ok(canonical(plan))
}

/// R-3.1 and R-3.2, in blocks of so many pairs (R-3.5).
fn lanes_of_pairs(pairing: &str, mut start: usize, blocks: &[usize]) -> Pairs {
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

/// R-4.1: within R-4.4 by `pow`.
fn powers(base: f64, d: f64, pairs: usize) -> Vec<f64> {
    (0..pairs).map(|j| base.powf(-2.0 * j as f64 / d)).collect()
}

/// F[j, a]: `inv_freq` as a matrix (R-4.3), a series for all axes (R-6.5), or one an axis (R-6.6).
fn frequencies(config: &Json, axes: &Axes, rule: &Rule, n: f64) -> Res<Vec<Vec<f64>>> {
    let base = config.finite("base")?;
    need(base.is_none_or(|b| b > 0.0), "base")?;
    let d = config.size_of("frequency_dim", 1, usize::MAX)?.map(|d| d as f64);
    let name = if config.is_given("inv_freq") { "inv_freq" } else { "frequencies" };
    need(rule.name.is_empty() || axes.matrix.is_none(), "scaling")?;
    need(d.is_none() || !axes.per_axis, "frequency_dim")?;
    need(!config.is_given("inv_freq") || !axes.per_axis, "inv_freq")?;
    need(rule.name != "longrope" || !axes.per_axis, "scaling")?;
    let mut rows = axes.matrix.clone().unwrap_or_default();
    if rows.is_empty() {
        let all = [axes.of_pair.len()];
        let sizes = if axes.per_axis { &axes.sections[..] } else { &all };
        let mut lists = Vec::new();
        for &pairs in sizes {
            let d = d.unwrap_or(2.0 * pairs as f64);
            lists.push(series(config, base, d, pairs, rule, n)?.into_iter());
        }
        for &axis in &axes.of_pair {
            let mut row = vec![0.0; axes.real.len()];
            row[axis] = lists[if axes.per_axis { axis } else { 0 }].next().unwrap_or(0.0);
            rows.push(row);
        }
    }
    let direction = config.given("direction", Json::whole)?.unwrap_or(1.0); // R-3.6
    need(direction.abs() == 1.0, "direction")?;
    rows.iter_mut().flatten().for_each(|f| *f *= direction);
    need(rows.iter().flatten().all(|f| f.abs() <= POW_2_30), name)?;
    Ok(rows)
}

/// g_j of one series; `inv_freq` takes the place of R-4.1.
fn series(
    config: &Json,
    base: Option<f64>,
    d: f64,
    pairs: usize,
    rule: &Rule,
    n: f64,
) -> Res<Vec<f64>> {
    let f = config.given("inv_freq", Json::numbers)?;
    let own = ["ntk", "dynamic_ntk", "proportional"].contains(&rule.name);
    need(f.as_ref().is_none_or(|f| f.len() == pairs && !own), "inv_freq")?;
    need(f.is_some() || base.is_some(), "base")?;
    let f = f.unwrap_or_else(|| powers(base.unwrap_or(1.0), d, pairs));
    match pairs {
        0 => Ok(f), // an axis without pairs
        _ => scaled(Series { f, base, d }, rule, n),
    }
}

// ------------------------------------------------------------------------------------------------
// Chapter 5. Scaling rules

/// A rule a line, with its parameters marked as in PLAN_KEYS.
const RULES: &str = "\
linear factor
ntk alpha
dynamic_ntk factor original_max_position policy= max_position?
ntk_by_parts factor original_max_position beta_fast= beta_slow=
yarn factor original_max_position beta_fast= beta_slow= truncate= mscale? mscale_all_dim? \
     attention_factor?
longrope short_factor long_factor original_max_position factor? attention_factor? policy= \
     max_position?
llama3 factor low_freq_factor high_freq_factor original_max_position
proportional partial_rotary_factor factor=
xpos scale_base= gamma= centre=
damped rate centre=";

/// A rule, all its parameters checked. Its name is empty where there is none.
struct Rule<'a> {
    name: &'a str,
    parameters: &'a Json,
}

impl<'a> Rule<'a> {
    fn of(scaling: &'a Json) -> Res<Rule<'a>> {
        let rule = Rule { name: scaling.get("rule").text().unwrap_or(""), parameters: scaling };
        if !scaling.is_null() {
            let known = RULES.lines().filter_map(|line| line.split_once(' '));
            let Some((_, keys)) = known.into_iter().find(|(name, _)| *name == rule.name) else {
                return refuse("scaling.rule");
            };
            check_keys(scaling, &format!("rule {keys}"), "scaling.")?;
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
        need(self.get("beta_fast", 32.0) > self.get("beta_slow", 1.0), "beta_fast")?;
        let (low, high) = (self.get("low_freq_factor", 0.0), self.get("high_freq_factor", 0.0));
        need(high >= low, "high_freq_factor")?;
        let has_factor = self.get("factor", 0.0) + self.get("attention_factor", 0.0) > 0.0;
        need(self.name != "longrope" || has_factor, "factor")
    }

    fn in_range(&self, parameter: &str, value: &Json) -> bool {
        let x = value.number().filter(|x| x.is_finite()).unwrap_or(f64::NAN); // in no range
        let longrope = self.name == "longrope";
        match parameter {
            "rule" => true,
            "policy" => matches!(value.text(), Some("per_call" | "static")),
            "truncate" => matches!(value, Json::Bool(_)),
            "short_factor" | "long_factor" => {
                value.numbers().is_some_and(|list| list.iter().all(|x| x.is_finite() && *x > 0.0))
            }
            "original_max_position" if longrope && x < 2.0 => false,
            "original_max_position" | "max_position" => {
                value.whole().is_some() && (1.0..POW_2_31).contains(&x)
            }
            "factor" | "alpha" if !longrope => x >= 1.0,
            "mscale" | "mscale_all_dim" => x >= 0.0,
            "partial_rotary_factor" => x > 0.0 && x <= 1.0,
            "centre" => !x.is_nan(),
            _ => x > 0.0,
        }
    }
}

/// R-5.4: the length n that the plan is for. Every rule checks `seq_len`.
fn length(rule: &Rule, seq_len: &Json) -> Res<f64> {
    let given = seq_len.whole().filter(|&n| n >= 1.0);
    need(given.is_some() || seq_len.is_null(), "seq_len")?;
    let (name, n) = match rule.parameters.get("policy").text() {
        Some("static") => ("max_position", rule.parameters.get("max_position").number()),
        _ => ("seq_len", given),
    };
    need(n.is_some() || !["dynamic_ntk", "longrope"].contains(&rule.name), name)?;
    Ok(n.unwrap_or(1.0))
}

/// g_j of one series.
fn scaled(series: Series, rule: &Rule, n: f64) -> Res<Vec<f64>> {
    let s = rule.get("factor", 1.0);
    let original = rule.get("original_max_position", 1.0);
    match rule.name {
        "" | "xpos" | "damped" => Ok(series.f),
        "ntk" => ntk(series, rule.get("alpha", 1.0)),
        "dynamic_ntk" if n > original => ntk(series, s * n / original - (s - 1.0)),
        "dynamic_ntk" => ntk(series, 1.0), // for its check: b times 1 is b
        "yarn" => yarn(series, rule, s, original),
        "longrope" => longrope(series, rule, n > original),
        _ => {
            let r = 2.0 * series.f.len() as f64;
            let kept = (rule.get("partial_rotary_factor", 1.0) * r / 2.0).floor(); // R-5.10
            let g = |(j, f): (usize, f64)| match rule.name {
                "ntk_by_parts" => ntk_by_parts(f, rule, s, original),
                "llama3" => llama3(f, rule, s, original),
                "proportional" if j as f64 >= kept => 0.0,
                _ => f / s, // R-5.1
            };
            Ok(series.f.into_iter().enumerate().map(g).collect())
        }
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
fn ntk_by_parts(f: f64, rule: &Rule, s: f64, original: f64) -> f64 {
    let (fast, slow) = (rule.get("beta_fast", 32.0), rule.get("beta_slow", 1.0));
    blend(f, s, ((original * f / TAU - slow) / (fast - slow)).clamp(0.0, 1.0))
}

/// R-5.6.
fn yarn(series: Series, rule: &Rule, s: f64, original: f64) -> Res<Vec<f64>> {
    let Some(base) = series.base.filter(|&b| b > 1.0) else {
        return refuse("base");
    };
    let cd = |beta: f64| series.d * (original / (TAU * beta)).ln() / (2.0 * base.ln());
    let (mut low, mut high) = (cd(rule.get("beta_fast", 32.0)), cd(rule.get("beta_slow", 1.0)));
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
    Ok(series.f.iter().zip(divisors).map(|(f, divisor)| f / divisor).collect())
}

/// R-5.9.
fn llama3(f: f64, rule: &Rule, s: f64, original: f64) -> f64 {
    let (low, high) = (rule.get("low_freq_factor", 1.0), rule.get("high_freq_factor", 1.0));
    let wavelength = TAU / f;
    if f <= 0.0 || wavelength > original / low {
        f / s
    } else if wavelength < original / high || high == low {
        f
    } else {
        blend(f, s, (original / wavelength - low) / (high - low))
    }
}

/// m_j of R-5.11 and R-5.12.
fn log_magnitudes(rule: &Rule, rotary_dim: usize) -> Option<Vec<f64>> {
    let (gamma, r) = (rule.get("gamma", 0.4), rotary_dim as f64);
    let xpos = |j: usize| {
        let part = (2.0 * j as f64 / r + gamma) / (1.0 + gamma);
        let behind = (2.0 * j as f64 - r) / (r * (1.0 + gamma));
        let log = if part < 0.5 { part.ln() } else { behind.ln_1p() }; // R-4.4
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
    let ms = |mscale: f64| 0.1 * mscale * s.max(1.0).ln() + 1.0; // 1 where s <= 1
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
    need(!config.is_given("attention_factor"), "attention_factor")?;
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
    let n = if config.is_given("axes") { check_axis_names(config)? } else { 1 };
    let is_list = |json: &Json| matches!(json, Json::List(_));
    let rows = config.get("inv_freq").list().unwrap_or_default();
    let has_matrix = rows.iter().any(is_list);
    let matrix =
        if has_matrix { config.given("inv_freq", |value| value.all(Json::numbers))? } else { None };
    let sections = config.given("sections", Json::sizes)?;
    if let Some(sections) = &sections {
        need(!has_matrix && sections.iter().sum::<usize>() == pairs, "sections")?;
        need(sections.len() == n || !config.is_given("axes"), "sections")?;
    }
    need(config.is_given("axes") || sections.is_none() && !has_matrix, "axes")?;
    if let Some(matrix) = &matrix {
        let even = matrix.iter().all(|row| row.len() == matrix[0].len());
        need(matrix.len() == pairs && even, "inv_freq")?;
        need(matrix[0].len() == n, "axes")?;
    }
    let blocks = config.given("axis_blocks", Json::boolean)?.unwrap_or(false);
    let per_axis = config.is_given("axis_frequencies")
        && config.choice("axis_frequencies", &["shared", "per_axis"])? == "per_axis";
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
        blocks: if blocks { sections.clone() } else { vec![pairs] },
        sections,
        matrix,
    })
}

/// Names are distinct and not empty. Their number is returned.
fn check_axis_names(object: &Json) -> Res<usize> {
    let names = object.given("axes", |value| value.all(Json::text))?.unwrap_or_default();
    let good = |(i, name): (usize, &&str)| !name.is_empty() && !names[..i].contains(name);
    need(!names.is_empty() && names.iter().enumerate().all(good), "axes")?;
    Ok(names.len())
}

/// R-6.1 to R-6.4.
fn axis_of_pairs(order: &Json, sections: &[usize], pairs: usize) -> Res<Vec<usize>> {
    let n = sections.len();
    let by_axis = sections.iter().enumerate();
    let list: Vec<usize> = match (order, order.text()) {
        (Json::List(_), _) => order.sizes().unwrap_or_default(),
        (Json::Null, _) | (_, Some("chunked")) => {
            by_axis.flat_map(|(axis, &count)| vec![axis; count]).collect()
        }
        (_, Some("interleaved")) => {
            (0..pairs).map(|j| if j < n * sections[j % n] { j % n } else { 0 }).collect()
        }
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
    let kinds =
        object.given("axis_kinds", |value| value.all(Json::text))?.unwrap_or(vec!["integer"; n]);
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
    need(good && has('s') != has('t') && !(has('b') && has('t')), "tensor_format")?;
    need(shape.len() == letters.len() && shape.last() == Some(&head_dim), "x")?;
    let size = |letter: char| letters.iter().position(|&c| c == letter).map(|i| shape[i]);
    let (batch, tokens) = (size('b'), size('s').or(size('t')).unwrap_or(0));
    Ok(Layout { letters, shape: shape.to_vec(), batch, tokens })
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
        need(offset.is_null() || offset.whole() == Some(0.0), "offset")?;
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
            offset.all(Json::whole)
        }
        single => single.whole().map(|start| vec![start]),
    };
    let last = layout.tokens.saturating_sub(1) as f64;
    let in_range = |start: &f64| *start > -POW_2_31 && start + last < POW_2_31;
    let Some(starts) = starts.filter(|starts| starts.iter().all(in_range)) else {
        return refuse("offset");
    };
    let tokens = |&start: &f64| (0..layout.tokens).map(move |i| start + i as f64);
    let list = starts.iter().flat_map(tokens).collect();
    Ok(Positions { rows: starts.len(), axes: vec![list] })
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
    let turns: Vec<(u128, f64)> = row.frequencies.iter().map(|&f| turns(f)).collect();
    let entry = |i: usize| {
        let p: Vec<f64> = call.positions.axes.iter().map(|axis| axis[i]).collect();
        let decay = if plan.decay { call.sign * row.m * (p[0] - plan.centre) } else { 0.0 };
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
        let (from, to) = if call.back { (row.written, row.read) } else { (row.read, row.written) };
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

/// F / (2 pi): 96 bits behind the point, for integer axes, and rounded, for real ones.
fn turns(frequency: f64) -> (u128, f64) {
    // |F| = mantissa * 2^exponent, and |F| / (2 pi) = product * 2^(exponent - 256)
    let biased = (frequency.to_bits() >> 52 & 0x7ff) as i32;
    let fraction = frequency.to_bits() & ((1 << 52) - 1);
    let mantissa = fraction | u64::from(biased > 0) << 52;
    let exponent = biased.max(1) - 1075;
    let (mut product, mut carry, mut rounded) = ([0u32; 10], 0u128, 0.0);
    for (i, limb) in product.iter_mut().enumerate() {
        let inverse = *INVERSE.get(i).unwrap_or(&0);
        carry += u128::from(inverse) * u128::from(mantissa);
        *limb = carry as u32;
        carry >>= 32;
        rounded += f64::from(*limb) * 2f64.powi(exponent - 256 + 32 * i as i32);
    }
    let shift = (160 - exponent) as usize;
    let fix = bits(&product, shift, 96) + bits(&product, shift - 1, 1);
    let fix = if frequency < 0.0 { fix.wrapping_neg() } else { fix };
    (fix & ((1 << 96) - 1), rounded.copysign(frequency))
}

/// `count` bits from bit `from` on; those beyond the end are 0.
fn bits(limbs: &[u32], from: usize, count: usize) -> u128 {
    let bit = |i: usize| limbs.get(i / 32).map_or(0, |limb| u128::from(limb >> (i % 32) & 1));
    (from..from + count).rev().fold(0, |bits, i| bits << 1 | bit(i))
}

/// R-10.2 for integer axes and R-10.7 for real ones, in the width of float64: 2^64 is one turn.
fn phase(turns: &[(u128, f64)], real: &[bool], position: &[f64]) -> u64 {
    let mut phase = 0u64;
    for (axis, &p) in position.iter().enumerate() {
        let part = if real[axis] {
            let turns = p * turns[axis].1;
            ((turns - turns.round()) * 2f64.powi(64)).round() as i128
        } else {
            (p as i128 * turns[axis].0 as i128) >> 32 // below 2^127
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
            "float16" => Ok(Dtype { digits: 11, least: -14 }),
            "bfloat16" => Ok(Dtype { digits: 8, least: -126 }),
            "float32" => Ok(Dtype { digits: 24, least: -126 }),
            "float64" => Ok(Dtype { digits: 53, least: -1022 }),
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
        match rounded.abs() < 2f64.powi(2 - self.least) {
            true => rounded,
            false => f64::INFINITY.copysign(value),
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

    fn is_given(&self, key: &str) -> bool {
        !self.get(key).is_null()
    }

    fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    /// What is no JSON number is a string: NaN, infinities, and integers beyond 2^53.
    fn number(&self) -> Option<f64> {
        match self {
            Json::Number(value, _) => Some(*value),
            Json::Text(text) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => {
                text.parse().ok()
            }
            _ => self.whole(),
        }
    }

    fn whole(&self) -> Option<f64> {
        match self {
            Json::Number(value, true) => Some(*value),
            Json::Text(text) => text.parse::<i128>().ok().map(|value| value as f64),
            _ => None,
        }
    }

    fn size(&self) -> Option<usize> {
        self.whole().filter(|size| (0.0..1e15).contains(size)).map(|size| size as usize)
    }

    fn boolean(&self) -> Option<bool> {
        match self {
            Json::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    fn list(&self) -> Option<&[Json]> {
        match self {
            Json::List(list) => Some(list),
            _ => None,
        }
    }

    fn all<'a, T>(&'a self, read: impl Fn(&'a Json) -> Option<T>) -> Option<Vec<T>> {
        self.list()?.iter().map(read).collect()
    }

    fn numbers(&self) -> Option<Vec<f64>> {
        self.all(Json::number)
    }

    fn sizes(&self) -> Option<Vec<usize>> {
        self.all(Json::size)
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

    fn size_of(&self, key: &str, least: usize, most: usize) -> Res<Option<usize>> {
        self.given(key, |value| value.size().filter(|&size| size >= least && size <= most))
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
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        match count == Some(data.len()) {
            true => Ok((shape, data)),
            false => errored("data unlike the shape"),
        }
    }
}

/// What is left of the text.
struct Parser<'a>(&'a str);

impl Parser<'_> {
    /// Passes over white space, and over `word` if it comes next.
    fn take(&mut self, word: &str) -> bool {
        self.0 = self.0.trim_start_matches([' ', '\t', '\r', '\n']);
        let rest = self.0.strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn must(&mut self, word: &str) -> Res<()> {
        match self.take(word) {
            true => Ok(()),
            false => errored(&format!("JSON: {word} is missing")),
        }
    }

    fn value(&mut self, depth: usize) -> Res<Json> {
        match () {
            _ if depth > MAX_DEPTH => errored("JSON: nested too deep"),
            _ if self.take("null") => Ok(Json::Null),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            _ if self.take("\"") => self.string().map(Json::Text),
            _ if self.take("[") => self.list(depth),
            _ if self.take("{") => self.object(depth),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth: usize) -> Res<Json> {
        let mut items = Vec::new();
        while !self.take("]") {
            if !items.is_empty() {
                self.must(",")?;
            }
            items.push(self.value(depth + 1)?);
        }
        Ok(Json::List(items))
    }

    fn object(&mut self, depth: usize) -> Res<Json> {
        let mut map = BTreeMap::new();
        while !self.take("}") {
            if !map.is_empty() {
                self.must(",")?;
            }
            self.must("\"")?;
            let key = self.string()?;
            self.must(":")?;
            if map.insert(key, self.value(depth + 1)?).is_some() {
                return errored("JSON: a key twice");
            }
        }
        Ok(Json::Object(map))
    }

    fn number(&mut self) -> Res<Json> {
        let in_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let end = self.0.find(|c: char| !in_number(c)).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        match text.parse() {
            Ok(value) => Ok(Json::Number(value, !text.contains(['.', 'e', 'E']))),
            Err(_) => errored("JSON: no value"),
        }
    }

    /// What follows the opening quotation mark, in UTF-16 as its escapes are.
    fn string(&mut self) -> Res<String> {
        let (mut units, mut chars) = (Vec::new(), self.0.chars());
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.0 = chars.as_str();
                    return String::from_utf16(&units).or_else(|_| errored("JSON: half a letter"));
                }
                '\\' => units.push(escape(&mut chars)?),
                _ => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
        errored("JSON: a string without an end")
    }
}

fn escape(chars: &mut std::str::Chars) -> Res<u16> {
    let c = chars.next().unwrap_or(' ');
    if c == 'u' {
        let digits: String = chars.take(4).collect();
        return u16::from_str_radix(&digits, 16).or_else(|_| errored("JSON: a wrong escape"));
    }
    match "\"\\/btnfr".find(c) {
        Some(i) => Ok(u16::from(b"\"\\/\x08\t\n\x0c\r"[i])),
        None => errored("JSON: an unknown escape"),
    }
}

fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        _ if c < ' ' => format!("\\u{:04x}", c as u32),
        _ => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
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
    let words = r#""angle": "exact", "table": "float32", "compute": "float32""#;
    let source = format!(r#""reads_config": {from_config}, "own_frequencies": {from_config}"#);
    let name = r#""name": "rope.rs", "version": "1", "language": "Rust""#;
    let capabilities = format!(r#"{{"dtypes": {dtypes}, {words}, {source}}}"#);
    format!(r#"{{"protocol": "ropecore-command/1", {name}, "capabilities": {capabilities}}}"#)
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
    let positions = positions(question.get("positions"), question.get("offset"), &plan, &layout)?;
    let sign = if question.choice("role", &["q", "k"])? == "q" { 1.0 } else { -1.0 };
    let (back, inverse) = match question.get("mode").text() {
        Some("forward") => (false, false),
        Some("transpose") => (true, false),
        Some("inverse") => (true, true),
        _ => return errored("an unknown mode"),
    };
    let x = data.iter().map(|item| Some(dtype.round(item.number()?))).collect();
    let Some(x): Option<Vec<f64>> = x else {
        return errored("x has something that is no number");
    };
    let call = Call { dtype, layout, positions, sign, inverse, back, flip };
    let y = rotate(&plan, &call, &x).into_iter().map(|value| printed(value, dtype));
    let y = y.collect::<Vec<String>>().join(", ");
    Ok(format!(r#"{{"shape": {shape:?}, "data": [{y}]}}"#))
}

/// The answer to one line, None to the last.
fn answer(line: &str, from_config: bool, flip: bool) -> Res<Option<String>> {
    let mut parser = Parser(line);
    let question = parser.value(0)?;
    parser.take("");
    match question.get("command").text() {
        _ if !parser.0.is_empty() => errored("JSON: text behind the value"),
        Some("start") => Ok(Some(started(from_config))),
        Some("stop") => Ok(None),
        Some("run") => {
            let id = question.get("id").size().unwrap_or(0);
            let result = match run(&question, from_config, flip) {
                Ok(y) => format!(r#""y": {y}"#),
                Err(Fault(kind, text)) => format!(r#""{kind}": {}"#, quoted(&text)),
            };
            Ok(Some(format!(r#"{{"id": {id}, {result}}}"#)))
        }
        _ => errored("an unknown command"),
    }
}

fn main() -> Result<(), String> {
    let from_config = std::env::args().any(|argument| argument == "--config");
    let flip = std::env::var_os("FLIP_SIGN").is_some();
    let mut input = io::stdin().lock();
    loop {
        let mut line = String::new();
        let read = input.by_ref().take(MAX_LINE).read_line(&mut line);
        match read.map_err(|error| error.to_string())? as u64 {
            0 => return Ok(()),
            MAX_LINE => return Err("a line that is too long".to_string()),
            _ => match answer(&line, from_config, flip).map_err(|Fault(_, why)| why)? {
                Some(text) => println!("{text}"), // and the line's end flushes it
                None => return Ok(()),
            },
        }
    }
}
