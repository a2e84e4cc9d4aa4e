"""From frequencies to the rule that makes them: the base, the scaling rule and its parameters,
where one fits (rope.md chapter 5).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.lanes import PAIRINGS, pair_lanes
from ropecore.plan import FloatArray, RotaryPlan
from ropecore.scaling import Damped, Linear, Llama3, Proportional, ScalingRule, XPos, YaRN, rule_to_dict

CLOSE = 4e-6  # relative: a program that computes its frequencies in float32 is this close (R-10.8: 12 * 2^-24, times 1 + s/3)
LENGTHS = [3 << k for k in range(5, 18)] + [1 << k for k in range(5, 21)]  # trained lengths that are tried


@dataclass(frozen=True)
class Named:
    """The rule that frequencies follow: in words, as a configuration (None: no rule fits), and what
    could not be told apart.
    """

    text: str
    config: RopeConfig | None
    untold: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Series:
    """The frequencies of a plan with one axis, by pair j, and the configuration of its lanes."""

    f: FloatArray  # (n,), above 0
    j: FloatArray  # (n,)
    size: int  # R
    lanes: dict[str, Any]  # keywords of RopeConfig
    limit: FloatArray  # (n,) relative error that is allowed


def name_rule(plan: RotaryPlan, resolution: float) -> Named:
    """Return the rule of a plan with one axis; resolution: how well the frequencies are known, in
    radians per position.
    """
    if not plan.n_pairs or not plan.frequencies.any():
        return Named("none: nothing turns", None)
    lanes = _lanes(plan)
    if lanes is None:
        return Named("not by a rule: the lanes are no block of one pairing", None)
    keywords, index = lanes
    signs = np.sign(plan.frequencies[:, 0])
    turning = signs != 0
    if len(set(signs[turning].tolist())) > 1 or turning.sum() < 2:
        return _own(
            plan, keywords, index, "directions differ" if turning.sum() > 1 else "one pair turns, which shows no series"
        )
    keywords |= {"direction": -1} if signs[turning][0] < 0 else {}
    f = np.abs(plan.frequencies[turning, 0])
    series = _Series(f, index[turning], keywords["rotary_dim"], keywords, CLOSE + resolution / f)
    for named in _candidates(series, plan):
        if named.config is not None and _fits(named.config, plan, series):
            return named
    return _own(plan, keywords, index, "no rule fits: LongRoPE's lists, learned numbers, or a mistake")


def _lanes(plan: RotaryPlan) -> tuple[dict[str, Any], FloatArray] | None:
    """Return the configuration of a plan's lanes, and j of each row; None if they are no block of
    one pairing.
    """
    read = plan.lanes
    start, distance = int(read.min()), int(read[0, 1] - read[0, 0])
    if (read[:, 1] - read[:, 0] != distance).any():
        return None
    if distance == 1 and ((read[:, 0] - start) % 2 == 0).all() and plan.n_pairs > 1:
        pairing, j, size = "interleaved", (read[:, 0] - start) // 2, int(read.max()) + 1 - start
    elif (read[:, 0] - start < distance).all():
        pairing, j, size = "half_split", read[:, 0] - start, 2 * distance
    else:
        return None
    keywords: dict[str, Any] = {"head_dim": plan.head_dim, "pairing": pairing, "rotary_dim": size, "lane_offset": start}
    if not np.array_equal(plan.lanes, plan.out):
        other = next(name for name in PAIRINGS if name != pairing)
        if not np.array_equal(pair_lanes(other, size, start)[j], plan.out):
            return None
        keywords["out_pairing"] = other
    return keywords, np.asarray(j, np.float64)


def _candidates(series: _Series, plan: RotaryPlan) -> Iterator[Named]:
    """Yield the rules that may have made a series, the plainest first."""
    factor: dict[str, Any] = {} if plan.attention_factor == 1 else {"attention_factor": plan.attention_factor}
    plain = _geometric(series, len(series.f))
    if plain is not None:
        base, stretch = plain
        yield from _unscaled(series, plan, base, stretch, factor)
    length = next((n for n in range(len(series.f), 1, -1) if _geometric(series, n) is not None), 0)
    start = _geometric(series, length) if length else None
    if start is not None:
        yield from _blended(series, plan, start[0])


def _geometric(series: _Series, count: int) -> tuple[float, float] | None:
    """Return base and factor of the first `count` pairs, f_j = b^(-2j/R) / factor, or None if they
    are no such series.
    """
    j, log = series.j[:count], np.log(series.f[:count])
    slope = (log[-1] - log[0]) / (j[-1] - j[0])
    level = log[0] - slope * j[0]
    error = np.abs(level + slope * j - log)
    if (error > 4 * series.limit[:count]).any() or slope >= 0:
        return None
    level = 0.0 if abs(level) < 4 * series.limit[0] else level
    base = _shortest(
        math.exp(-slope * series.size / 2), 8 * float(series.limit[:count].max()) * series.size / 2 / (j[-1] - j[0])
    )
    return base, _shortest(math.exp(-level), 8 * series.limit[0])


def _shortest(number: float, relative: float) -> float:
    """Return the number with the fewest digits within a relative distance."""
    for digits in range(1, 17):
        short = float(f"{number:.{digits}g}")
        if abs(short - number) <= relative * abs(number):
            return short
    return number


def _unscaled(
    series: _Series, plan: RotaryPlan, base: float, stretch: float, factor: dict[str, Any]
) -> Iterator[Named]:
    """Yield a plain series, a stretched one, those with pairs that stand still, and those with a
    magnitude.
    """
    same = f"b^(-2j/d) with another base and frequency_dim: base {base:g} with d = {series.size} here"
    larger = f"a larger base from NTK: the same frequencies as base {base:g} alone"
    untold = (same, larger)
    if plan.log_magnitude is not None:
        for rule in _magnitudes(plan, series):
            parameters = ", ".join(f"{name} {value:g}" for name, value in rule_to_dict(rule).items() if name != "rule")
            text = f"base {base:g}, {rule.rule}" + (f" with {parameters}" if parameters else "")
            yield Named(text, _config(series, base, rule), untold)
        return
    if stretch == 1:
        yield Named(f"base {base:g}, no scaling", _config(series, base, None, **factor), untold)
    elif stretch > 1:
        yield Named(f"base {base:g}, linear by {stretch:g}", _config(series, base, Linear(stretch), **factor), untold)
    share = len(series.f) / (series.size / 2)
    if share < 1 and stretch >= 1:
        rule = Proportional(share, stretch)
        text = f"base {base:g}, proportional: {len(series.f)} of {series.size // 2} pairs turn" + (
            f", by {stretch:g}" if stretch > 1 else ""
        )
        yield Named(text, _config(series, base, rule, **factor), untold)


def _magnitudes(plan: RotaryPlan, series: _Series) -> Iterator[ScalingRule]:
    """Yield the rules with a magnitude that may have made a plan's."""
    logs = plan.log_magnitude
    assert logs is not None  # asked by the caller
    if np.ptp(logs) < 1e-6 * np.abs(logs).max() and logs[0] < 0:
        yield Damped(rate=_shortest(float(-logs.mean()), 1e-5), centre=plan.centre)
        return
    share = np.log((2 * series.j / series.size + 0.4) / 1.4)
    scale_base = float((share @ share) / (share @ logs)) if share @ logs else 0.0
    if scale_base > 0 and np.allclose(share / scale_base, logs, rtol=1e-3, atol=1e-7):
        yield XPos(scale_base=_shortest(scale_base, 1e-5), centre=plan.centre)


def _blended(series: _Series, plan: RotaryPlan, start: float) -> Iterator[Named]:
    """Yield rules that keep fast pairs, stretch slow ones and blend those between; A tells YaRN's
    factor, the last pair any other.
    """
    plain = start ** (-2 * series.j / series.size)
    last = _shortest(float(plain[-1] / series.f[-1]), 8 * float(series.limit[-1]) * len(series.f))
    of_yarn = _shortest(math.exp(10 * min(plan.attention_factor - 1, 2.0)), 1e-5)
    of_last = _shortest(float(series.f[-1] * of_yarn) ** (-series.size / (2 * series.j[-1])), 1e-5)
    for base, stretch in dict.fromkeys(((start, last), (start, of_yarn), (of_last, of_yarn))):
        if not (1 < stretch < 1e6 and base > 1):
            continue
        plain = base ** (-2 * series.j / series.size)
        keep = (series.f / plain - 1 / stretch) / (1 - 1 / stretch)
        middle = (keep > 1e-4) & (keep < 1 - 1e-4)
        yield from _yarn(series, plan, base, stretch)
        if middle.sum() >= 2:
            slope, level = np.polyfit(plain[middle], keep[middle], 1)
            yield from _llama3(series, plan, (base, stretch), float(slope), float(level))


def _yarn(series: _Series, plan: RotaryPlan, base: float, stretch: float) -> Iterator[Named]:
    """Yield YaRN with the usual betas, for each trained length that is tried."""
    usual = 0.1 * math.log(stretch) + 1
    own = None if abs(plan.attention_factor - usual) < 1e-6 else plan.attention_factor
    untold = ("the trained length: others give the same range of pairs", "beta_fast and beta_slow: taken as 32 and 1")
    for truncate in (True, False):
        for length in sorted(LENGTHS):
            text = f"base {base:g}, yarn by {stretch:g} with trained length {length}" + (
                "" if truncate else ", not truncated"
            )
            rule = YaRN(stretch, length, truncate=truncate, attention_factor=own)
            yield Named(text, _config(series, base, rule), untold)


def _llama3(
    series: _Series, plan: RotaryPlan, plain: tuple[float, float], slope: float, level: float
) -> Iterator[Named]:
    """Yield llama3 with low_freq_factor 1, from keep = (L f / 2 pi - low) / (high - low)."""
    base, stretch = plain
    if not (level < 0 < slope):
        return
    high = _shortest(1 - 1 / level, 1e-4)
    length = round(2 * math.pi * slope * (high - 1))
    factor: dict[str, Any] = {} if plan.attention_factor == 1 else {"attention_factor": plan.attention_factor}
    if length >= 1 and high > 1:
        untold = (
            "low_freq_factor: taken as 1; high_freq_factor and the trained length are in proportion to it",
            f"ntk_by_parts with beta_fast {high:g} and beta_slow 1: the same frequencies",
        )
        text = f"base {base:g}, llama3 by {stretch:g} with low 1, high {high:g}, trained length {length}"
        yield Named(text, _config(series, base, Llama3(stretch, 1.0, high, length), **factor), untold)


def _config(series: _Series, base: float, rule: ScalingRule | None, **more: Any) -> RopeConfig | None:
    """Return a configuration with the lanes of the series, or None where it is refused."""
    try:
        return RopeConfig(base=base, scaling=rule, **series.lanes, **more)
    except RopeError:
        return None


def _fits(config: RopeConfig, plan: RotaryPlan, series: _Series) -> bool:
    """Return whether a configuration gives the plan: lanes, and frequencies and A as far as they
    are known.
    """
    try:
        own = config.plan()
    except RopeError:
        return False
    if not (np.array_equal(own.lanes, plan.lanes) and np.array_equal(own.out, plan.out)):
        return False
    limit = np.full((plan.n_pairs, 1), 0.0)
    limit[plan.frequencies[:, 0] != 0, 0] = 4 * series.limit
    near = (np.abs(own.frequencies - plan.frequencies) <= limit * np.abs(plan.frequencies)).all()
    return bool(near) and abs(own.attention_factor - plan.attention_factor) < 1e-6


def _own(plan: RotaryPlan, keywords: dict[str, Any], index: FloatArray, why: str) -> Named:
    """Return the frequencies as a list of the caller's own."""
    listed = np.zeros(keywords["rotary_dim"] // 2)
    listed[index.astype(int)] = plan.frequencies[:, 0]
    direction = {key: value for key, value in keywords.items() if key != "direction"}
    factor: dict[str, Any] = {} if plan.attention_factor == 1 else {"attention_factor": plan.attention_factor}
    try:
        return Named(f"not by a rule: {why}", RopeConfig(inv_freq=tuple(listed.tolist()), **direction, **factor))
    except RopeError:
        return Named(f"not by a rule: {why}", None)
