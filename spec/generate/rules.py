"""Frequencies and scaling rules: rope.md chapters 4 and 5, exactly."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mpmath import ceil, exp, floor, log, mpf, pi, sqrt

from .numbers import ONE, Exact, exact


@dataclass(frozen=True)
class Series:
    """What a rule starts from: n frequencies of a series, or the caller's own."""

    pairs: int  # R / 2
    dim: int  # d, the denominator of the exponent
    base: float | None
    own: tuple[float, ...] | None = None  # inv_freq
    seq_len: int | None = None  # n of the length-dependent rules, as it was asked for


@dataclass(frozen=True)
class Scaled:
    """What a rule gives: frequencies g_j, the attention factor, and magnitudes m_j where there are
    any.
    """

    frequencies: list[Exact]
    attention_factor: Exact = ONE
    log_magnitude: list[Exact] | None = None
    centre: float = 0.0


def powers(base: Exact, series: Series) -> list[Exact]:
    """Return b^(-2j/d) for each pair (R-4.1)."""
    return [base ** (-mpf(2 * j) / series.dim) for j in range(series.pairs)]


def unscaled(series: Series) -> list[Exact]:
    """Return f_j: the series of R-4.1, or the caller's frequencies as they are (R-4.3)."""
    if series.own is not None:
        return [exact(frequency) for frequency in series.own]
    assert series.base is not None
    return powers(exact(series.base), series)


def temperature(factor: Exact, mscale: Exact) -> Exact:
    """Return ms(s, m) = 1 if s <= 1, else 0.1 m ln(s) + 1 (chapter 5); 0.1 is the decimal."""
    return mpf(1) if factor <= 1 else mpf("0.1") * mscale * log(factor) + 1


def clip(value: Exact) -> Exact:
    """Return the value limited to [0, 1]."""
    return min(max(value, mpf(0)), mpf(1))


def length(series: Series, policy: str, max_position: int | None) -> int:
    """Return n: the length asked for, or max_position under the policy "static" (R-5.4)."""
    n = max_position if policy == "static" else series.seq_len
    if n is None:
        raise ValueError(f"policy {policy} was given no length")
    return n


def none(series: Series) -> Scaled:
    """Leave the frequencies as they are."""
    return Scaled(unscaled(series))


def linear(series: Series, *, factor: float) -> Scaled:
    """Divide every frequency by s (R-5.1)."""
    return Scaled([f / exact(factor) for f in unscaled(series)])


def stretched(series: Series, alpha: Exact) -> list[Exact]:
    """Return the series of the base b alpha^(d/(d-2)) (R-5.2)."""
    assert series.own is None
    assert series.base is not None
    return powers(exact(series.base) * alpha ** (mpf(series.dim) / (series.dim - 2)), series)


def ntk(series: Series, *, alpha: float) -> Scaled:
    """Enlarge the base (R-5.2)."""
    return Scaled(stretched(series, exact(alpha)))


def dynamic_ntk(
    series: Series,
    *,
    factor: float,
    original_max_position: int,
    policy: str = "per_call",
    max_position: int | None = None,
) -> Scaled:
    """Enlarge the base by the length, beyond the trained one (R-5.3)."""
    n, s = length(series, policy, max_position), exact(factor)
    if n <= original_max_position:
        return none(series)
    return Scaled(stretched(series, s * n / original_max_position - (s - 1)))


def ntk_by_parts(
    series: Series, *, factor: float, original_max_position: int, beta_fast: float = 32.0, beta_slow: float = 1.0
) -> Scaled:
    """Blend by the number of turns within the trained length (R-5.5)."""
    fast, slow = exact(beta_fast), exact(beta_slow)

    def blend(f: Exact) -> Exact:
        gamma = clip((original_max_position * f / (2 * pi) - slow) / (fast - slow))
        return (1 - gamma) * f / exact(factor) + gamma * f

    return Scaled([blend(f) for f in unscaled(series)])


def yarn_range(series: Series, length: int, fast: float, slow: float, truncate: bool) -> tuple[Exact, Exact]:
    """Return low and high, the first and last pair of YaRN's ramp (R-5.6)."""
    assert series.base is not None

    def pair_of(turns: float) -> Exact:
        return series.dim * log(length / (2 * pi * exact(turns))) / (2 * log(exact(series.base or 0)))

    low: Exact = floor(pair_of(fast)) if truncate else pair_of(fast)
    high: Exact = ceil(pair_of(slow)) if truncate else pair_of(slow)
    low, high = max(low, mpf(0)), min(high, mpf(series.dim - 1))
    if low > high:
        raise ValueError(f"low {low} is above high {high}")
    return low, high + mpf("0.001") if low == high else high


def yarn(
    series: Series,
    *,
    factor: float,
    original_max_position: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    mscale: float | None = None,
    mscale_all_dim: float | None = None,
    attention_factor: float | None = None,
) -> Scaled:
    """Blend by a ramp over the pairs, with a temperature (R-5.6, R-5.7)."""
    s = exact(factor)
    low, high = yarn_range(series, original_max_position, beta_fast, beta_slow, truncate)

    def blend(j: int, f: Exact) -> Exact:
        ramp = clip((j - low) / (high - low))
        return f / s * ramp + f * (1 - ramp)

    if attention_factor is not None:
        a = exact(attention_factor)
    elif mscale and mscale_all_dim:
        a = temperature(s, exact(mscale)) / temperature(s, exact(mscale_all_dim))
    else:
        a = temperature(s, mpf(1))
    return Scaled([blend(j, f) for j, f in enumerate(unscaled(series))], a)


def longrope(
    series: Series,
    *,
    short_factor: list[float],
    long_factor: list[float],
    original_max_position: int,
    factor: float | None = None,
    attention_factor: float | None = None,
    policy: str = "per_call",
    max_position: int | None = None,
) -> Scaled:
    """Divide each frequency by its own factor, chosen by the length (R-5.8)."""
    is_long = length(series, policy, max_position) > original_max_position
    divisors = long_factor if is_long else short_factor
    if attention_factor is not None:
        a = exact(attention_factor)
    elif factor is None:
        raise ValueError("longrope was given neither factor nor attention_factor")
    else:
        a = mpf(1) if factor <= 1 else sqrt(1 + log(exact(factor)) / log(mpf(original_max_position)))
    return Scaled([f / exact(e) for f, e in zip(unscaled(series), divisors, strict=True)], a)


def llama3(
    series: Series, *, factor: float, low_freq_factor: float, high_freq_factor: float, original_max_position: int
) -> Scaled:
    """Keep short wavelengths, divide long ones, blend between (R-5.9)."""
    s, low, high = exact(factor), exact(low_freq_factor), exact(high_freq_factor)

    def scale(f: Exact) -> Exact:
        if f <= 0:  # it makes no turn (chapter 5)
            return f / s
        wavelength = 2 * pi / f
        if wavelength < original_max_position / high:
            return f
        if wavelength > original_max_position / low or low == high:
            return f / s
        sigma = (original_max_position / wavelength - low) / (high - low)
        return (1 - sigma) * f / s + sigma * f

    return Scaled([scale(f) for f in unscaled(series)])


def proportional(series: Series, *, partial_rotary_factor: float, factor: float = 1.0) -> Scaled:
    """Keep the first part of the series over the whole head, and turn the rest off (R-5.10)."""
    assert series.own is None
    kept = math.floor(partial_rotary_factor * (2 * series.pairs) / 2)  # the product in binary64, as programs have it
    return Scaled([f / exact(factor) if j < kept else mpf(0) for j, f in enumerate(unscaled(series))])


def xpos(series: Series, *, scale_base: float = 512.0, gamma: float = 0.4, centre: float = 0.0) -> Scaled:
    """Give each pair a magnitude that grows with its index (R-5.11)."""
    g = exact(gamma)
    logs = [log((mpf(2 * j) / (2 * series.pairs) + g) / (1 + g)) / exact(scale_base) for j in range(series.pairs)]
    return Scaled(unscaled(series), log_magnitude=logs, centre=centre)


def damped(series: Series, *, rate: float, centre: float = 0.0) -> Scaled:
    """Give every pair the same decay (R-5.12)."""
    return Scaled(unscaled(series), log_magnitude=[-exact(rate)] * series.pairs, centre=centre)


RULES: dict[str, Callable[..., Scaled]] = {
    "linear": linear,
    "ntk": ntk,
    "dynamic_ntk": dynamic_ntk,
    "ntk_by_parts": ntk_by_parts,
    "yarn": yarn,
    "longrope": longrope,
    "llama3": llama3,
    "proportional": proportional,
    "xpos": xpos,
    "damped": damped,
}


def scale(series: Series, scaling: Mapping[str, Any] | None, attention_factor: float | None = None) -> Scaled:
    """Apply the rule of a configuration, or none, and the configuration's own attention factor
    (R-5.13).
    """
    if scaling is None:
        result = none(series)
    else:
        parameters = {name: value for name, value in scaling.items() if name != "rule"}
        result = RULES[scaling["rule"]](series, **parameters)
    return result if attention_factor is None else replace(result, attention_factor=exact(attention_factor))


def magnitude(log_magnitude: float, distance: Exact, sign: int) -> Exact:
    """Return exp(s m_j (p - c)) (R-2.4)."""
    return exp(sign * exact(log_magnitude) * distance)
