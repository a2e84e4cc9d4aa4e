"""Angles without floating-point phases: fixed-point turns and one polynomial (rope.md chapter 10).

The functions below use only operators, so that NumPy, torch, JAX and any array-API library run the
same lines on their own arrays and get the same bits.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np

from ropecore.arguments import OneOf
from ropecore.errors import RopeError, choice
from ropecore.exact import fixed_point, turns
from ropecore.forks import IMPORTS
from ropecore.lanes import IntArray
from ropecore.plan import FloatArray, RotaryPlan

PRECISIONS = ("exact", "float32")
COMPUTES = ("float32", "input")
ROLES = ("q", "k")
Role = Annotated[str, OneOf(ROLES, "R-2.4")]
LARGEST_LOG_MAGNITUDE = 100 * math.log(2)

# sin(pi/2 x) and cos(pi/2 x) for |x| <= 1/2, fitted for float32 arithmetic; every number is a
# float32. 
_S0, _T0 = float.fromhex("0x1.921fb6p-1"), float.fromhex("-0x1.77895p-26")
_S1, _S2 = float.fromhex("-0x1.4abbcep-4"), float.fromhex("0x1.466bbap-9")
_S3, _S4 = float.fromhex("-0x1.32ca9ep-15"), float.fromhex("0x1.4bc85cp-22")
_C1, _C2 = float.fromhex("-0x1.3bd3ccp-2"), float.fromhex("0x1.03c1dcp-6")
_C3, _C4 = float.fromhex("-0x1.55c57ap-12"), float.fromhex("0x1.d9c2e8p-19")

_LOW_32 = 0xFFFFFFFF


@lru_cache(maxsize=512)
def limbs(plan: RotaryPlan, bits: int) -> tuple[IntArray, ...]:
    """Return round(F / 2 pi * 2^bits) mod 2^bits in 32-bit limbs, high first: int64 arrays
    (n_pairs, n_axes), 0 on real axes.
    """
    whole = [
        [0 if real else fixed_point(float(f), bits) for f, real in zip(row, plan.real_axes, strict=True)]
        for row in plan.frequencies
    ]
    shifts = range(bits - 32, -1, -32)
    return tuple(
        np.array([[(g >> shift) & _LOW_32 for g in row] for row in whole], np.int64).reshape(plan.frequencies.shape)
        for shift in shifts
    )


@lru_cache(maxsize=512)
def real_turns(plan: RotaryPlan) -> FloatArray:
    """Return F / 2 pi rounded once to float64, (n_pairs, n_axes), 0 on integer axes."""
    rows = [
        [float(turns(float(f))) if real else 0.0 for f, real in zip(row, plan.real_axes, strict=True)]
        for row in plan.frequencies
    ]
    return np.array(rows, np.float64).reshape(plan.frequencies.shape)


def phase_32(p: Any, high: Any, low: Any) -> Any:
    """Return the phase of positions p in 2^-32 turns, for f = high * 2^32 + low: all int64, no
    product reaches 2^63.  R-10.2
    """
    return (p * high + ((p * low) >> 32)) & _LOW_32


def wrapping_phase_32(p: Any, high: Any, low: Any) -> Any:
    """Return the same phase without 64-bit integers: all uint32 that wraps, p the bits of positions
    in int32.  R-10.2
    """
    p0, p1, low0, low1 = p & 0xFFFF, p >> 16, low & 0xFFFF, low >> 16  # halves, whose products fit
    middle = p1 * low0 + ((p0 * low0) >> 16)
    above = p1 * low1 + (middle >> 16) + ((p0 * low1 + (middle & 0xFFFF)) >> 16)  # floor(p * low / 2^32)
    return p * high + above - (p >> 31) * low  # the bits of a negative p stand for p + 2^32


def real_phase_32(t: Any, rint: Callable[[Any], Any], to_integer: Callable[[Any], Any]) -> Any:
    """Return the phase in 2^-32 turns of a real axis, signed, for t = float32(position) * float32(F
    / 2 pi).  R-10.2
    """
    return to_integer(rint((t - rint(t)) * 2.0**32))


def cos_sin_of_phase(
    phase: Any, to_float32: Callable[[Any], Any], where: Callable[[Any, Any, Any], Any]
) -> tuple[Any, Any]:
    """Return float32 (cos, sin) of a phase in 2^-32 turns (int64, or uint32 that wraps), within
    1.2e-7.  R-10.2

    to_float32 converts the signed remainder, which lies in [-2^29, 2^29).
    """
    return turn_by_quarters(*within_a_quarter(phase, to_float32), where)


def within_a_quarter(phase: Any, to_float32: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """Return float32 (cos, sin) of what is left of a phase beside the nearest number of quarter
    turns, and that number.  R-10.2
    """
    quarter = (phase + (1 << 29)) >> 30
    x = to_float32(phase - (quarter << 30)) * 2.0**-29
    z = x * x
    sin = x * (_S0 + (_T0 + z * (_S1 + z * (_S2 + z * (_S3 + z * _S4)))))
    cos = 1.0 + z * (_C1 + z * (_C2 + z * (_C3 + z * _C4)))
    return cos, sin, quarter


def turn_by_quarters(cos: Any, sin: Any, quarter: Any, where: Callable[[Any, Any, Any], Any]) -> tuple[Any, Any]:
    """Return cos and sin of an angle plus a number of quarter turns, from those of the angle.
    R-10.2
    """
    odd = (quarter & 1) == 1
    cos, sin = where(odd, sin, cos), where(odd, cos, sin)
    return where(((quarter + 1) & 2) == 2, -cos, cos), where((quarter & 2) == 2, -sin, sin)


def turn_bits_by_quarters(cos: Any, sin: Any, quarter: Any) -> tuple[Any, Any]:
    """Return the same of the bits of float32 numbers, all int32 that wraps: for libraries that
    compare slowly.  R-10.2
    """
    swap = (cos ^ sin) & -(quarter & 1)
    return cos ^ swap ^ (((quarter + 1) & 2) << 30), sin ^ swap ^ ((quarter & 2) << 30)


def phase_64(p: IntArray, g: tuple[IntArray, ...]) -> Any:
    """Return the phase of positions p in 2^-64 turns (uint64), for limbs of 96 bits.  R-10.2"""
    g2, g1, g0 = g
    t = p * g1 + ((p * g0) >> 32)
    high = (p * g2 + (t >> 32)) & _LOW_32
    return (high.astype(np.uint64) << np.uint64(32)) | (t & _LOW_32).astype(np.uint64)


def phase_words(p: Any, g: Sequence[Any]) -> tuple[Any, Any]:
    """Return the same phase where int64 is the widest integer: in 2^-32 turns, and what is left in
    2^-64 turns.  R-10.2
    """
    g2, g1, g0 = g
    t = p * g1 + ((p * g0) >> 32)
    return (p * g2 + (t >> 32)) & _LOW_32, t & _LOW_32


def remainder_of_words(high: Any, low: Any) -> tuple[Any, Any]:
    """Return the nearest quarter turn (0 .. 4) of a phase in two words, and what is left over,
    int64 in 2^-64 turns.  R-10.2
    """
    quarter = (high + (1 << 29)) >> 30
    return quarter, (high - (quarter << 30)) * (1 << 32) + low


def remainder_of_phase(phase: Any) -> tuple[Any, FloatArray]:
    """Return the nearest quarter turn (0 .. 3) and the angle left over, float64 in [-pi/4, pi/4].
    R-10.2
    """
    quarter = (phase + np.uint64(1 << 61)) >> np.uint64(62)
    left = (phase - (quarter << np.uint64(62))).view(np.int64)
    return quarter & np.uint64(3), left.astype(np.float64) * 2.0**-62 * (math.pi / 2)


def signed_log_magnitude(role: str) -> float:
    """Return the sign of the log magnitude: +1 for role "q", -1 for "k".  R-2.4"""
    choice("role", role, ROLES, "R-2.4")
    return 1.0 if role == "q" else -1.0


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return NumPy's dtype of this name; bfloat16 is that of ml_dtypes.  R-10.4"""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        with IMPORTS:
            import ml_dtypes
    except ImportError as error:
        raise RopeError("dtype", name, "needs ml_dtypes", "pip install ropecore[bf16]", "R-10.4") from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
