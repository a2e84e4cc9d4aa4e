"""The error model of rope.md, R-10.6: how far a right result may be from the exact one.

Everything is float64.  The model weighs magnitudes, so cos, sin and M may be off by a few 2^-53
without changing a verdict; they come from `ropecore.cos_sin`, which is accurate to 2^-52 at every
position.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ropecore

from .arrays import Array, Floats

UNIT = {"float32": 2.0**-24, "float16": 2.0**-24, "bfloat16": 2.0**-24, "float64": 2.0**-53}  # u: what is computed in
STORE = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # u_s: what 16-bit results are rounded to
SMALLEST = {"float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133, "float64": 2.0**-1074}  # eta, eta_s
EXACT = {"float32": 1.2e-7, "float16": 1.2e-7, "bfloat16": 1.2e-7, "float64": 2.0**-52}
REAL = {"float32": 2.0**-23, "float16": 2.0**-23, "bfloat16": 2.0**-23, "float64": 2.0**-52}
LOST = {
    "float32": 2.0**-24,
    "float16": 2.0**-24,
    "bfloat16": 2.0**-24,
    "float64": 0.0,
}  # a coordinate rounded to float32
PHASE = {
    "float32": 2.0**-29,
    "float16": 2.0**-29,
    "bfloat16": 2.0**-29,
    "float64": 2.0**-61,
}  # each further axis
FEW_AXES = 8  # integer axes whose phases the bound of holds
GOLDEN = 2.0**-53  # a golden value is itself rounded to float64
SUBNORMAL = 2.0**-1073  # what a distance is at least, in absolute terms


@dataclass(frozen=True)
class Words:
    """The precision that a target declares (R-10.1); `own`: it makes its
    own frequencies (R-10.8).
    """

    angle: str = "float32"
    table: str = "float32"
    compute: str = "float32"
    own: bool = False


@dataclass(frozen=True)
class Own:
    """What a target's own numbers may be off by (R-10.8); rows of `k` and `distance` are those of
    its plan.
    """

    k: float | Floats = 4.0  # of, angle float32
    distance: float | Floats = 0.0  # relative, of F
    rest: float = 0.0  # relative, of A and of m


GIVEN = Own()  # the plan gives the frequencies


@dataclass(frozen=True)
class Turns:
    """What the model reads of a plan at its positions; arrays are (..,
    n_pairs) or broadcast to it.
    """

    cos: Floats  # cos phi and sin phi, without M
    sin: Floats
    scale: Floats  # M = A * exp(s m (p - c))
    reach: Floats  # sum over axes of |F p|
    real_reach: Floats  # the same over real axes alone
    lost_reach: Floats  # the same over real axes whose coordinate float32 does not hold
    tilt: Floats  # |m (p - c)|
    factor: bool  # A is not 1
    magnitude: bool  # the plan has a magnitude
    more_axes: int  # integer axes beyond FEW_AXES

    def fitted(self, shape: tuple[int, ...], order: tuple[int, ...]) -> "Turns":
        """Return the arrays with their position axes in this order and shape, to broadcast against
        a tensor's pairs.
        """
        names = ("cos", "sin", "scale", "reach", "real_reach", "lost_reach", "tilt")
        arrays = {name: getattr(self, name).transpose(*order, len(order)).reshape(*shape, -1) for name in names}
        return dataclasses.replace(self, **arrays)


def turns(plan: ropecore.RotaryPlan, positions: Array, role: str = "q") -> Turns:
    """Return what the error model reads of a plan at positions, (..) for one axis and (n_axes, ..)
    for several.
    """
    cos, sin = ropecore.cos_sin(plan, by_axis(plan, positions), role=role)  # with M
    grid = np.asarray(positions, np.float64)
    grid = grid if plan.n_axes > 1 else grid[None]
    each = np.abs(grid[..., None] * plan.frequencies.T.reshape(plan.n_axes, *[1] * (grid.ndim - 1), -1))
    real = np.array(plan.real_axes)
    lost = grid.astype(np.float32).astype(np.float64) != grid
    exponent = _exponent(plan, grid[0], role)
    scale = plan.attention_factor * np.exp(exponent)
    return Turns(
        cos=cos / scale,
        sin=sin / scale,
        scale=scale,
        reach=each.sum(axis=0),
        real_reach=each[real].sum(axis=0),
        lost_reach=(each * lost[..., None])[real].sum(axis=0),
        tilt=np.abs(exponent),
        factor=plan.attention_factor != 1,
        magnitude=plan.log_magnitude is not None,
        more_axes=max(0, plan.n_axes - int(real.sum()) - FEW_AXES),
    )


def by_axis(plan: ropecore.RotaryPlan, positions: Array) -> Array | list[Array]:
    """Return positions as they are, or by axis where integer axes stand beside real ones: one array
    has one dtype.
    """
    if len(set(plan.real_axes)) < 2 or positions.ndim < 1:
        return positions
    return [
        column if real else column.astype(np.int64) for column, real in zip(positions, plan.real_axes, strict=False)
    ]


def _exponent(plan: ropecore.RotaryPlan, positions: Floats, role: str) -> Floats:
    """Return s m (p - c), zero without a magnitude (R-2.4)."""
    if plan.log_magnitude is None:
        return np.zeros((*positions.shape, plan.n_pairs))
    sign = 1.0 if role == "q" else -1.0
    return sign * plan.log_magnitude * (positions[..., None] - plan.centre)


def table_bound(at: Turns, dtype: str, words: Words, own: Own = GIVEN) -> Floats:
    """Return t of R-10.6 to R-10.9: the error of cos and of sin, M
    included, for x of that dtype.
    """
    u, k = UNIT[dtype], own.k
    if words.angle == "exact":
        t = at.scale * (EXACT[dtype] + PHASE[dtype] * at.more_axes)  # angle exact
        t = t + at.scale * (REAL[dtype] * at.real_reach + LOST[dtype] * at.lost_reach)  # angle exact, real axes
        t = t + at.scale * (own.distance * at.reach + own.rest * (at.factor + at.tilt))  # own frequencies, A and m
    else:
        t = at.scale * (np.minimum(2.0, k * 2.0**-24 * at.reach) + 2.0**-23)  # angle float32
    if at.factor:
        t = t + (u if dtype == "float64" else 2 * u) * at.scale  # A is not 1: A is rounded, and the product
    if at.magnitude:
        t = t + (3 * at.tilt + 4) * u * at.scale  # a magnitude: m, p - c, their product, exp and the product
    if words.table == "input" and words.compute == "float32" and dtype in STORE:
        t = t + STORE[dtype] * at.scale  # table input with compute float32
    if "input" in (words.table, words.compute) and dtype in STORE:
        t = t + SMALLEST[dtype] / 2  # tables of 16 bits may underflow
    return np.asarray(t)


def rotation_bound(
    plan: ropecore.RotaryPlan,
    at: Turns,
    x: Floats,
    y: Floats,
    dtype: str,
    words: Words,
    mode: str = "forward",
    own: Own = GIVEN,
) -> Floats:
    """Return B of R-10.6 for each element of the exact result y, (.., head_dim); zero on lanes in
    no row.

    x is the input (for a gradient: the output's gradient), `mode` forward, inverse or transpose,
    and the arrays of `at` broadcast against (.., n_pairs).  Elements whose inputs are not finite
    get NaN or infinity: they are compared as such.
    """
    read, write = (plan.lanes, plan.out) if mode == "forward" else (plan.out, plan.lanes)
    t, scale = table_bound(at, dtype, words, own), at.scale
    if mode == "inverse":
        t, scale = _inverted(t, scale, UNIT[dtype])
    bound = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    with np.errstate(invalid="ignore"):  # infinity times a zero
        x1, x2 = np.abs(x[..., read[:, 0]]), np.abs(x[..., read[:, 1]])
        cos, sin = np.abs(at.cos), np.abs(at.sin)
        for lanes, products in ((write[:, 0], x1 * cos + x2 * sin), (write[:, 1], x1 * sin + x2 * cos)):
            exact = np.abs(y[..., lanes])
            b = t * (x1 + x2)  # the tables
            b = b + 2 * UNIT[dtype] * scale * products  # two products and a sum
            b = b + 2 * SMALLEST[dtype if dtype == "float64" else "float32"]  # underflow
            if dtype in STORE:
                b = b + STORE[dtype] * (exact + b) + SMALLEST[dtype] / 2  # a 16-bit result
                if words.compute == "input":
                    b = b + 3 * STORE[dtype] * scale * (x1 + x2)  # tables, products and sum in 16 bits
            bound[..., lanes] = b + GOLDEN * exact
    return bound


def _inverted(t: Floats, scale: Floats, u: float) -> tuple[Floats, Floats]:
    """Return t and M of the inverse, from those of the forward rotation (R-10.6, last lines)."""
    extra = 0.0 if np.all(scale == 1) else 4 * u / scale
    return t / scale**2 + extra, 1 / scale


def score_bound(q: Floats, k: Floats, q_bound: Floats, k_bound: Floats) -> Floats:
    """Return the bound of the products q.k, (.., s_q, s_k), from rotated q and k (.., s, d) and
    their bounds.

    (q + dq).(k + dk) - q.k is at most the sum over lanes of |dq k| + |q dk| + |dq dk|.  The last
    term is the judge's own float64 product: n products and sums of at most 2^-53 each.
    """
    q, k = np.abs(q), np.abs(k)
    moved = q_bound @ _turned(k) + q @ _turned(k_bound) + q_bound @ _turned(k_bound)
    rounded: Floats = (q.shape[-1] + 1) * 2.0**-53 * ((q + q_bound) @ _turned(k + k_bound))
    return np.asarray(moved + rounded)


def _turned(array: Floats) -> Floats:
    return np.swapaxes(array, -1, -2)


def sinusoid_bound(positions: Array, dim: int, base: float) -> Floats:
    """Return the bound of the sinusoidal encoding, (s, dim): float32 tables of frequencies that are
    within R-4.4 (and R-10.2).
    """
    j = np.repeat(np.arange(dim // 2), 2)
    slope = abs(math.log(base)) * 2 * j / dim
    phase = np.abs(np.asarray(positions, np.float64)[..., None]) * base ** (-2 * j / dim)
    return np.asarray(EXACT["float32"] + phase * (4 + slope) * 2.0**-53)


def own_frequencies(config: Mapping[str, Any], lanes: Array, seq_len: int | None = None) -> Own:
    """Return what R-10.8 grants a target that makes the numbers of a config's plan itself, for each
    row of the plan.

    Under angle float32 it makes them in float32, and k = 2 + c: c is the distance of R-4.4 in units
    of 2^-24, without the rounding of 2j/d where d is a power of two.
    """
    if config.get("inv_freq") is not None and config.get("scaling") is None:
        return GIVEN
    c = distance(config, lanes, seq_len, rounded_exponents=False)
    return Own(2 + c, frequency_bound(config, lanes, seq_len), 8 * 2.0**-53)


def frequency_bound(config: Mapping[str, Any], lanes: Array, seq_len: int | None = None) -> Floats:
    """Return the relative bound of R-4.4 for each row of a config's plan."""
    return distance(config, lanes, seq_len) * 2.0**-53


def distance(
    config: Mapping[str, Any], lanes: Array, seq_len: int | None = None, rounded_exponents: bool = True
) -> Floats:
    """Return the distance of R-4.4 for each row of a config's plan, in units of 2^-53.

    rounded_exponents: 2j/d is rounded; else only where d is no power of two.  seq_len: n of the
    rules that ask for it.
    """
    scaling: Mapping[str, Any] = config.get("scaling") or {"rule": "none"}
    given = config.get("inv_freq") is not None
    if given and scaling["rule"] == "none":
        return np.zeros(len(lanes))
    exponent, d = exponents(config, lanes)  # 2j/d
    if given:
        return np.asarray(8 * _blend(scaling) + _open_range(scaling, config, exponent, d) + np.zeros(len(lanes)))
    slope, extra = np.full(len(lanes), math.log(config["base"])), np.zeros(len(lanes))
    if (alpha := _alpha(scaling, seq_len)) is not None:  # the base b alpha^(d/(d - 2)), and what it is off by
        growth = d / (d - 2) * math.log(alpha)
        slope, extra = slope + growth, (3 + growth) * exponent
        if scaling["rule"] == "dynamic_ntk":  # alpha is a difference
            extra = extra + (3 + 3 * (scaling["factor"] - 1) / alpha) * exponent * d / (d - 2)
    x = np.abs(slope) * exponent
    x = x if rounded_exponents else np.where(np.log2(d) % 1 == 0, 0.0, x)
    return np.asarray(
        (4 + x + _odd_length(scaling)) * _blend(scaling) + extra + _open_range(scaling, config, exponent, d)
    )


def exponents(config: Mapping[str, Any], lanes: Array) -> tuple[Floats, Floats]:
    """Return 2j/d and d of each row of a plan; with per_axis frequencies, j and d of its own axis
    (R-6.6).

    Rows are found by their first lane: the canonical form sorts pairs, and drops some.
    """
    plain = {key: value for key, value in config.items() if key not in ("scaling", "attention_factor")}
    rows = ropecore.RopeConfig.from_dict(plain).rows()
    of_axis = rows.frequencies != 0  # unscaled, each is above zero on the pair's axis, and there alone
    if config.get("axis_frequencies") != "per_axis":
        of_axis = np.ones((len(of_axis), 1), bool)
    index = (np.cumsum(of_axis, axis=0) - 1)[of_axis]  # j
    size = (2.0 * of_axis.sum(axis=0) * of_axis).sum(axis=1)  # R
    size = np.full(size.shape, float(config.get("frequency_dim") or 0)) if config.get("frequency_dim") else size
    order = np.argsort(rows.lanes.min(axis=1))
    found = order[np.searchsorted(rows.lanes.min(axis=1)[order], lanes.min(axis=1))]
    return (2 * index / size)[found], size[found]


def _alpha(scaling: Mapping[str, Any], seq_len: int | None) -> float | None:
    """Return alpha of a rule that enlarges the base (R-5.2, R-5.3), None if it does not."""
    if scaling["rule"] == "ntk":
        return float(scaling["alpha"])
    if scaling["rule"] != "dynamic_ntk":
        return None
    n = scaling["max_position"] if scaling.get("policy") == "static" else seq_len
    ratio = (n or 0) / scaling["original_max_position"]
    return float(scaling["factor"] * ratio - (scaling["factor"] - 1)) if ratio > 1 else None


def _turns_of_blend(scaling: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the turns between which a rule blends by turns (R-5.5,
    R-5.9), None for other rules.
    """
    match scaling["rule"]:
        case "llama3":
            return float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
        case "ntk_by_parts":
            return float(scaling.get("beta_slow", 1.0)), float(scaling.get("beta_fast", 32.0))
    return None


def _blend(scaling: Mapping[str, Any]) -> float:
    """Return 1 + s max(1/3, low / (high - low)) for the rules that mix f and f / s, else 1."""
    turns = _turns_of_blend(scaling)
    if turns is None:
        return 1.0 + float(scaling["factor"]) / 3 if scaling["rule"] == "yarn" else 1.0
    low, high = turns
    return 1.0 + float(scaling["factor"]) * max(1 / 3, low / (high - low) if high > low else 0.0)


def _odd_length(scaling: Mapping[str, Any]) -> float:
    """Return 1 where the product of L and f is rounded, as L is no power of two."""
    length = scaling.get("original_max_position", 1)
    return 0.0 if _turns_of_blend(scaling) is None or length & (length - 1) == 0 else 1.0


def _open_range(scaling: Mapping[str, Any], config: Mapping[str, Any], exponent: Floats, d: Floats) -> Floats | float:
    """Return 8 s (high + d / (5 ln b)) / (high - low) for pairs within YaRN's range that is not
    truncated (R-5.6), else 0.
    """
    if scaling["rule"] != "yarn" or scaling.get("truncate", True):
        return 0.0
    log_b, length, j = math.log(config["base"]), scaling["original_max_position"], exponent * d / 2
    betas = scaling.get("beta_fast", 32.0), scaling.get("beta_slow", 1.0)
    low, high = (d * math.log(length / (2 * math.pi * beta)) / (2 * log_b) for beta in betas)
    low, high = np.maximum(low, 0.0), np.minimum(high, d - 1)
    high = np.where(high == low, high + 0.001, high)
    added = 8 * scaling["factor"] * (high + d / (5 * log_b)) / (high - low)
    return np.where((low <= j) & (j <= high), added, 0.0)
