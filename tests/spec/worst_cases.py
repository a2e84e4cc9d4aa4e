"""The search for the worst case of each derived bound of rope.md, `python tests/spec/worst_cases.py
[rounds]`.

Prints a line a bound: the largest error that was found, in units of the bound, and where.  Results
of the last run are in tests/spec/WORST_CASES.md; test_worst_cases.py repeats a short part of it.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

import ropecore
import ropecore.backends.numpy as rope
from ropecore import precision
from ropecore.conformance import bounds
from ropecore.exact import PI

TWO_PI = 2 * Fraction(PI)
Power = Callable[[float, float], float]
Found = tuple[float, str]  # units of the bound, and where


# frequencies


def by_pow(b: float, x: float) -> float:
    return math.pow(b, x)


def by_exp(b: float, x: float) -> float:
    return math.exp(x * math.log(b))


def in_doubles(config: dict[str, Any], power: Power) -> np.ndarray:
    """The frequencies of one axis, each formula of chapter 5 as it is printed, in binary64."""
    d = config.get("frequency_dim", config["head_dim"])
    rule = config.get("scaling", {"rule": "none"})
    pairs = range(config["head_dim"] // 2)
    f = [power(config["base"], -2 * j / d) for j in pairs]
    s = rule.get("factor", 1.0)
    match rule["rule"]:
        case "linear":
            return np.array([one / s for one in f])
        case "ntk":
            return np.array([power(config["base"] * power(rule["alpha"], d / (d - 2)), -2 * j / d) for j in pairs])
        case "dynamic_ntk":
            alpha = s * rule["max_position"] / rule["original_max_position"] - (s - 1)
            return np.array([power(config["base"] * power(alpha, d / (d - 2)), -2 * j / d) for j in pairs])
        case "llama3" | "ntk_by_parts":
            low, high = turns_of(rule)
            turns = [rule["original_max_position"] * one / (2 * math.pi) for one in f]
            keep = [min(max((t - low) / (high - low), 0.0), 1.0) for t in turns]
            return np.array([(1 - k) * one / s + k * one for k, one in zip(keep, f, strict=True)])
        case "yarn":
            low, high = yarn_range(rule, config["base"], d)
            ramp = [min(max((j - low) / (high - low), 0.0), 1.0) for j in pairs]
            return np.array([one / s * r + one * (1 - r) for r, one in zip(ramp, f, strict=True)])
    return np.array(f)


def turns_of(rule: dict[str, Any]) -> tuple[float, float]:
    if rule["rule"] == "llama3":
        return rule["low_freq_factor"], rule["high_freq_factor"]
    return rule["beta_slow"], rule["beta_fast"]


def yarn_range(rule: dict[str, Any], b: float, d: int) -> tuple[float, float]:
    low, high = (
        d * math.log(rule["original_max_position"] / (2 * math.pi * beta)) / (2 * math.log(b))
        for beta in (rule["beta_fast"], rule["beta_slow"])
    )
    if rule["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d - 1)
    return low, high + 0.001 if low == high else high


def config_of(rule: str, draw: random.Random) -> dict[str, Any]:
    """A configuration with odd sizes and odd parameters."""
    head_dim = 2 * draw.choice((2, 3, 4, 10, 16, 48, 64))
    config: dict[str, Any] = {"head_dim": head_dim, "pairing": "half_split", "base": math.exp(draw.uniform(0.7, 18))}
    if draw.random() < 0.3:
        config["frequency_dim"] = draw.choice((3, 5, 7, 20, 40, 96, 200))
    s, length = 1 + math.exp(draw.uniform(-3, 5)), draw.choice((64, 100, 4096, 8192, 10000, 131072))
    low = math.exp(draw.uniform(-1, 2))
    high = low * (1 + math.exp(draw.uniform(-2.5, 3.5)))
    trained = {"original_max_position": length}
    given: dict[str, Any] = {
        "none": None,
        "linear": {"factor": s},
        "ntk": {"alpha": math.exp(draw.uniform(0, 14))},
        "dynamic_ntk": {
            "factor": s,
            **trained,
            "policy": "static",
            "max_position": length + draw.randint(1, 3 * length),
        },
        "llama3": {"factor": s, **trained, "low_freq_factor": low, "high_freq_factor": high},
        "ntk_by_parts": {"factor": s, **trained, "beta_slow": low, "beta_fast": high},
        "yarn": {"factor": s, **trained, "beta_slow": low, "beta_fast": high, "truncate": True},
        "yarn, not truncated": {"factor": s, **trained, "beta_slow": low, "beta_fast": high, "truncate": False},
    }[rule]
    return config if given is None else {**config, "scaling": {"rule": rule.partition(",")[0], **given}}


FREQUENCY_RULES = ("none", "linear", "ntk", "dynamic_ntk", "llama3", "ntk_by_parts", "yarn", "yarn, not truncated")


def units_of_frequencies(config: dict[str, Any], power: Power) -> np.ndarray:
    """The error of each frequency in units of R-4.4: of what pow is granted, or of what exp(x ln b)
    needs.
    """
    plain = ropecore.RopeConfig.from_dict(config)
    exact, lanes = plain.rows().frequencies[:, 0], plain.rows().lanes
    granted = bounds.distance(config, lanes)
    if power is by_exp:
        granted = of_exp(config, lanes, granted)
    limit = granted * 2.0**-53 * np.abs(exact) + bounds.SUBNORMAL
    return np.abs(in_doubles(config, power) - exact) / limit


def of_exp(config: dict[str, Any], lanes: np.ndarray, granted: np.ndarray) -> np.ndarray:
    """The distance of exp(x ln b): 3 |ln b| 2j/d more, as ln, the product and x are rounded; under
    ntk 4 more of ln b'.
    """
    exponent, d = bounds.exponents(config, lanes)
    rule = config.get("scaling", {"rule": "none"})
    slope = abs(math.log(config["base"])) * exponent
    alpha = bounds._alpha(rule, None)
    if alpha is not None:
        growth = d / (d - 2) * math.log(alpha) * exponent
        return granted + 4 * slope + 5 * growth
    return granted + 3 * slope * bounds._blend(rule)


def search_frequencies(rule: str, power: Power, rounds: int) -> Found:
    draw, worst, where = random.Random(f"{rule} {power.__name__}"), 0.0, ""
    for _ in range(rounds):
        config = config_of(rule, draw)
        try:
            units = units_of_frequencies(config, power)
        except ropecore.RopeError:  # an empty range of YaRN
            continue
        if units.max() > worst:
            worst, j = float(units.max()), int(units.argmax())
            shown = {key: value for key, value in config.items() if key not in ("pairing", "scaling")}
            where = f"j = {j}, {shown}, {config.get('scaling', {})}"
    return worst, where


# A and m


def search_factors(rounds: int) -> Iterator[tuple[str, Found]]:
    """A of yarn and longrope, and m of xpos by log1p, each as the page prints it, in units of 8 *
    2^-53.
    """
    draw = random.Random("factors")
    worst: dict[str, Found] = {}

    def note(name: str, got: float, exact: float, where: object) -> None:
        units = abs(got - exact) / (8 * 2.0**-53 * abs(exact)) if exact else 0.0
        if units >= worst.get(name, (0.0, ""))[0]:
            worst[name] = units, str(where)

    def ms(s: float, m: float) -> float:
        return 1.0 if s <= 1 else 0.1 * m * math.log(s) + 1

    for _ in range(rounds):
        s, m, all_dim = math.exp(draw.uniform(0, 8)), draw.uniform(0.1, 3), draw.uniform(0.1, 3)
        rule: Any = ropecore.YaRN(s, 4096, mscale=m, mscale_all_dim=all_dim)
        note("A of yarn", ms(s, m) / ms(s, all_dim), float(exact_factor(rule)), (s, m, all_dim))
        length = draw.randint(2, 200000)
        rule = ropecore.LongRoPE((1.0, 1.0), (1.0, 1.0), length, s)
        note("A of longrope", math.sqrt(1 + math.log(s) / math.log(length)), float(exact_factor(rule)), (s, length))
        half, gamma, scale = draw.randint(1, 128), math.exp(draw.uniform(-3, 1)), math.exp(draw.uniform(0, 7))
        xpos = ropecore.RopeConfig(
            head_dim=2 * half, pairing="half_split", base=1e4, scaling=ropecore.XPos(scale, gamma)
        ).rows()
        assert xpos.log_magnitude is not None
        j = draw.randrange(half)
        note(
            "m of xpos, as R-4.4 says",
            xpos_m(j, half, gamma, scale),
            float(xpos.log_magnitude[j]),
            (j, half, gamma, scale),
        )
    yield from worst.items()


def xpos_m(j: int, half: int, gamma: float, scale: float) -> float:
    """m_j of xPos in doubles: by log1p where its argument is above 1/2, else by ln."""
    ratio = (j / half + gamma) / (1 + gamma)
    if ratio < 0.5:
        return math.log(ratio) / scale
    return math.log1p((j - half) / (half * (1 + gamma))) / scale


def exact_factor(rule: Any) -> float:
    pairs = 2
    config = ropecore.RopeConfig(head_dim=2 * pairs, pairing="half_split", base=1e4, scaling=rule)
    return config.rows(1).attention_factor


# tables


def true_tables(F: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of the sum over axes of F p, (places, rows), exact to 2^-53; F (rows, axes), p
    (axes, places).
    """
    quarter, angle = np.empty((p.shape[1], len(F)), np.int64), np.empty((p.shape[1], len(F)))
    for place, where in enumerate(p.T.tolist()):
        for row, frequency in enumerate(F.tolist()):
            phase = sum((Fraction(f) * Fraction(x) for f, x in zip(frequency, where, strict=True)), Fraction(0))
            turns = phase / TWO_PI
            nearest = round(4 * turns)
            quarter[place, row], angle[place, row] = nearest % 4, float((turns - Fraction(nearest, 4)) * TWO_PI)
    return precision.turn_by_quarters(np.cos(angle), np.sin(angle), quarter, np.where)


def plan_of(F: np.ndarray, kind: str) -> ropecore.RotaryPlan:
    rows, axes = F.shape
    lanes = np.arange(2 * rows).reshape(-1, 2)
    names = tuple(f"a{i}" for i in range(axes))
    return ropecore.RotaryPlan(2 * rows, lanes, F, axes=names, axis_kinds=(kind,) * axes)


def units_of_tables(F: np.ndarray, p: np.ndarray, kind: str, dtype: str) -> np.ndarray:
    """The error of cos or sin, the larger, in units of t; (places, rows)."""
    plan = plan_of(F, kind)
    given: Any = p if plan.n_axes > 1 else p[0]
    found = rope.cos_sin(plan, given, dtype=dtype)
    truth = true_tables(plan.frequencies, p)
    t = bounds.table_bound(bounds.turns(plan, given), dtype, bounds.Words("exact"))
    error = np.maximum(*(np.abs(a - b) for a, b in zip(found, truth, strict=True)))
    return np.asarray(error / t)


def search_tables(kind: str, dtype: str, axes: int, held: bool, rounds: int) -> Found:
    """The worst of random frequencies at random positions."""
    draw, rows, places = np.random.default_rng(7), 16, 16
    worst, where = 0.0, ""
    for _ in range(rounds):
        if kind == "integer":
            F = draw.uniform(0, 2 * np.pi, (rows, axes))
            p = draw.integers(2**31 - 2**20, 2**31 - 1, (axes, places))
        else:
            F = np.exp2(draw.uniform(-2, 3, (rows, axes)))
            p = np.exp2(draw.uniform(2, 14, (axes, places)))
            p = p.astype(np.float32).astype(np.float64) if held else p
        units = units_of_tables(F, p, kind, dtype)
        if units.max() > worst:
            at = np.unravel_index(int(units.argmax()), units.shape)
            worst, where = float(units.max()), f"F = {F[at[1]].tolist()}, p = {p[:, at[0]].tolist()}"
    return worst, where


def search_remainders(rounds: int, second_word: bool = True) -> Found:
    """The polynomial of R-10.2 where its error is largest, near +-2^29; second_word: with T0, or
    without it.
    """
    kept = precision._T0
    worst, where = 0.0, ""
    draw = np.random.default_rng(11)
    try:
        precision._T0 = kept if second_word else 0.0
        for attempt in range(rounds):
            r = draw.integers(-(2**29), 2**29, 1 << 16) if attempt % 2 else 2**29 - 1 - draw.integers(0, 2**25, 1 << 16)
            cos, sin = precision.cos_sin_of_phase(r & 0xFFFFFFFF, lambda x: x.astype(np.float32), np.where)
            angle = r * (2 * np.pi / 2**32)
            error = np.maximum(np.abs(cos - np.cos(angle)), np.abs(sin - np.sin(angle)))
            if error.max() > worst:
                worst, where = float(error.max()), f"remainder {int(r[error.argmax()])}"
    finally:
        precision._T0 = kept
    return worst / bounds.EXACT["float32"], where


def results(rounds: int) -> Iterator[tuple[str, Found]]:
    """Every bound that is searched, with the worst case found."""
    for power, name in ((by_pow, "pow"), (by_exp, "exp(x ln b)")):
        for rule in FREQUENCY_RULES:
            yield f"F, {rule}, by {name}", search_frequencies(rule, power, rounds)
    yield from search_factors(rounds)
    few = max(1, rounds // 20)
    for dtype in ("float32", "float64"):
        yield f"one real axis, {dtype}, coordinates that float32 holds", search_tables("real", dtype, 1, True, few)
        yield f"one real axis, {dtype}, coordinates that it does not hold", search_tables("real", dtype, 1, False, few)
    for axes in (1, 8, 32):
        yield f"integer axes: {axes}, float32", search_tables("integer", "float32", axes, True, few)
    yield "integer axes: 32, float64", search_tables("integer", "float64", 32, True, few)
    yield "remainders, float32", search_remainders(few)
    yield "remainders without T0, float32", search_remainders(few, second_word=False)


def main(arguments: list[str]) -> int:
    rounds, worst = int(arguments[0]) if arguments else 4000, 0.0
    print("| bound | worst error, in units of it | where |\n|---|---|---|")
    for name, (units, where) in results(rounds):
        print(f"| {name} | {units:.3f} | {where} |", flush=True)
        worst = max(worst, units)
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
