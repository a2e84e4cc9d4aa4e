"""How far an implementation's own frequencies may be from the exact ones: rope.md R-4.4, in units
of 2^-53.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mpmath import log, mpf

from .numbers import ONE, ZERO, Exact, exact
from .rules import Series, length, yarn_range

BLENDING = ("llama3", "yarn", "ntk_by_parts")
SUBNORMAL = mpf(2) ** -1073  # what a distance is at least, in absolute terms
Rule = Mapping[str, Any]


def relative(series: Series, scaling: Rule | None, of_r_4_2: bool = False) -> list[Exact]:
    """Return the relative distance of each frequency; of_r_4_2: by the rule that R-4.4 replaced,
    for withdrawn vectors.
    """
    units = former(series, scaling) if of_r_4_2 else distances(series, scaling or {"rule": "none"})
    return [unit / 2**53 for unit in units]


def distances(series: Series, scaling: Rule) -> list[Exact]:
    """Return the distance of each frequency in units of 2^-53 (R-4.4)."""
    stretch, ramp = blend(scaling), open_range(series, scaling)
    if series.own is not None:  # used as they are, or scaled
        return [ZERO if scaling["rule"] == "none" else 8 * stretch + ramp(j) for j in range(series.pairs)]
    b, d = exact(series.base or 0), mpf(series.dim)
    exponents = [2 * j / d for j in range(series.pairs)]
    alpha = enlarged(series, scaling)
    if alpha is not None:
        growth = d / (d - 2) * log(alpha)
        lost = (3 + 3 * (exact(scaling["factor"]) - 1) / alpha) * d / (d - 2) if scaling["rule"] == "dynamic_ntk" else 0
        return [4 + (abs(log(b) + growth) + 3 + growth + lost) * e for e in exponents]
    extra = rounded_length(scaling)
    return [(4 + abs(log(b)) * e + extra) * stretch + ramp(j) for j, e in enumerate(exponents)]


def enlarged(series: Series, scaling: Rule) -> Exact | None:
    """Return alpha of a rule that enlarges the base, None if it does not (R-5.2, R-5.3)."""
    if scaling["rule"] == "ntk":
        return exact(scaling["alpha"])
    if scaling["rule"] != "dynamic_ntk":
        return None
    n = length(series, scaling.get("policy", "per_call"), scaling.get("max_position"))
    s, trained = exact(scaling["factor"]), scaling["original_max_position"]
    return s * n / trained - (s - 1) if n > trained else None


def turns(scaling: Rule) -> tuple[Exact, Exact] | None:
    """Return the turns between which a rule blends, None for rules that do not blend by turns."""
    if scaling["rule"] == "llama3":
        return exact(scaling["low_freq_factor"]), exact(scaling["high_freq_factor"])
    if scaling["rule"] == "ntk_by_parts":
        return exact(scaling.get("beta_slow", 1.0)), exact(scaling.get("beta_fast", 32.0))
    return None


def blend(scaling: Rule) -> Exact:
    """Return 1 + s max(1/3, low / (high - low)) for rules that blend; a band that is empty, and
    YaRN's, count 1/3.
    """
    if scaling["rule"] not in BLENDING:
        return ONE
    low, high = turns(scaling) or (ZERO, ONE)
    steep = low / (high - low) if high > low else ZERO
    return 1 + exact(scaling["factor"]) * max(ONE / 3, steep)


def rounded_length(scaling: Rule) -> int:
    """Return 1 where the product of L and f is rounded, as L is no power of two."""
    trained = scaling.get("original_max_position", 1)
    return int(turns(scaling) is not None and trained & (trained - 1) != 0)


def open_range(series: Series, scaling: Rule) -> Callable[[int], Exact]:
    """Return what YaRN's range adds for each pair within it where it is not truncated (R-5.6)."""
    if scaling["rule"] != "yarn" or scaling.get("truncate", True):
        return lambda j: ZERO
    ln_b = log(exact(series.base or 0))
    betas = scaling.get("beta_fast", 32.0), scaling.get("beta_slow", 1.0)
    low, high = yarn_range(series, scaling["original_max_position"], *betas, truncate=False)
    added = 8 * exact(scaling["factor"]) * (high + series.dim / (5 * ln_b)) / (high - low)
    return lambda j: added if low <= j <= high else ZERO


def former(series: Series, scaling: Rule | None) -> list[Exact]:
    """Return the distances of R-4.2: (4 + |ln(b)| 2j/R), or 8 for the caller's own, times 1 + s/3
    under rules that blend.
    """
    if series.own is not None:
        units = [mpf(0 if scaling is None else 8)] * series.pairs
    else:
        units = [4 + abs(log(exact(series.base or 0))) * j / series.pairs for j in range(series.pairs)]
    stretch = 1 + exact(scaling["factor"]) / 3 if scaling is not None and scaling["rule"] in BLENDING else ONE
    return [unit * stretch for unit in units]
