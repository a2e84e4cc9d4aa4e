"""cos and sin of angles, compiled: float32 tables need no 64-bit integers, so that x64 changes no
bit (rope.md chapter 10).
"""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ropecore import precision
from ropecore.plan import RotaryPlan

Array = Any
Phase = Callable[..., Array]  # of positions on one axis

_bits = lax.bitcast_convert_type


class Rows(NamedTuple):
    """The rows of a plan as host arrays, (n_axes, n_pairs), in the types of float32 tables or of
    float64 ones.

    They are arguments of the compiled function, and not constants in it: plans of one size share
    it.
    """

    limbs: tuple[Array, ...]  # turns in fixed point, high limb first: two of uint32, or three of int64
    turns: Array  # the same on real axes, as floats
    frequencies: Array
    factor: Array
    log: Array | None  # (n_pairs,), with the sign of the role
    centre: tuple[Array, Array]  # the nearest integer, and what is left


@lru_cache(maxsize=512)
def rows_of(plan: RotaryPlan, role: str, wide: bool) -> Rows:
    """Return the rows of a plan for this role; wide: for tables that are computed in float64."""
    sign = precision.signed_log_magnitude(role)
    real: Any = np.float64 if wide else np.float32
    whole = min(max(round(plan.centre), -(2**31)), 2**31 - 1)
    return Rows(
        limbs=tuple(a.T.astype(np.int64 if wide else np.uint32) for a in precision.limbs(plan, 96 if wide else 64)),
        turns=precision.real_turns(plan).T.astype(real),
        frequencies=plan.frequencies.T.astype(real),
        factor=real(plan.attention_factor),
        log=None if plan.log_magnitude is None else (sign * plan.log_magnitude).astype(real),
        centre=(np.int32(whole), real(plan.centre - whole)),
    )


@partial(jax.jit, static_argnames=("real_axes", "exact", "dtype"))
def make(columns: tuple[Array, ...], rows: Rows, real_axes: tuple[bool, ...], exact: bool, dtype: str) -> Any:
    """Return (cos, sin) of shape (.., n_pairs) for one column (..) an axis: int32, or floats on
    real axes.

    Rules R-2.1, R-2.4, R-10.2, R-10.3, R-11.2.
    """
    real = rows.frequencies.dtype
    columns = tuple(lax.stop_gradient(column)[..., None] for column in columns)
    if not exact:
        angle = _sum(p.astype(real) * f for p, f in zip(columns, rows.frequencies, strict=True))
        cos, sin = jnp.cos(angle), jnp.sin(angle)
    elif real == jnp.float64:
        quarter, angle = precision.remainder_of_phase(_phase(columns, rows, real_axes, _integer_64, _real_64))
        cos, sin = precision.turn_by_quarters(jnp.cos(angle), jnp.sin(angle), quarter, jnp.where)
    else:
        phase = _phase(columns, rows, real_axes, _integer_32, _real_32)
        cos, sin = precision.cos_sin_of_phase(phase, lambda r: _bits(r, jnp.int32).astype(jnp.float32), jnp.where)
    factor = rows.factor
    if rows.log is not None:
        factor = factor * jnp.exp(rows.log * _from_centre(columns[0], *rows.centre))
    return (cos * factor).astype(dtype), (sin * factor).astype(dtype)


def _phase(columns: tuple[Array, ...], rows: Rows, real_axes: tuple[bool, ...], integer: Phase, real: Phase) -> Array:
    """Return the angle in turns of 2^-32 (uint32) or 2^-64 (uint64): axes add modulo one turn.
    R-10.2
    """
    each = zip(columns, real_axes, rows.turns, *rows.limbs, strict=True)
    return _sum(real(p, turns) if is_real else integer(p, *limbs) for p, is_real, turns, *limbs in each)


def _integer_32(p: Array, high: Array, low: Array) -> Array:
    return precision.wrapping_phase_32(_bits(p, jnp.uint32), high, low)


def _real_32(p: Array, turns: Array) -> Array:
    """Half of the phase is converted: half a turn is 2^31, which int32 does not hold."""
    t = p.astype(jnp.float32) * turns
    return precision.real_phase_32(t, jnp.rint, lambda units: _bits((units * 0.5).astype(jnp.int32), jnp.uint32) << 1)


def _integer_64(p: Array, *limbs: Array) -> Array:
    return precision.phase_64(p.astype(jnp.int64), limbs)


def _real_64(p: Array, turns: Array) -> Array:
    t = p.astype(jnp.float64) * turns
    return _bits(jnp.rint((t - jnp.rint(t)) * 2.0**63).astype(jnp.int64), jnp.uint64) << 1


def _from_centre(p: Array, whole: Array, rest: Array) -> Array:
    """Return p - centre as a float; halves of integers are subtracted exactly, so that a large p is
    not rounded first.
    """
    if jnp.issubdtype(p.dtype, jnp.floating):
        return p.astype(rest.dtype) - whole.astype(rest.dtype) - rest
    high, low = (p >> 16) - (whole >> 16), (p & 0xFFFF) - (whole & 0xFFFF)
    return high.astype(rest.dtype) * 65536.0 + low.astype(rest.dtype) - rest


def _sum(terms: Iterable[Array]) -> Array:
    first, *others = terms  # and not from a 0, whose type would have a say
    return sum(others, first)
