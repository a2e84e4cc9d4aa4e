"""Comparison of a result with the exact one, element by element."""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Array, Floats, decode, decode_floats, differing_bits
from ..verdicts import Mismatch, Numbers, Worst

# What rounds to infinity: half a unit beyond the largest finite number.
OVERFLOW = {"float16": 65520.0, "bfloat16": 2.0**128 - 2.0**119, "float32": 2.0**128 - 2.0**103}


def within(got: Array, wanted: Array, bound: npt.ArrayLike, what: str = "") -> None:
    """Refuse a result with an element further from the wanted one than its bound, or NaN and
    infinity in other places.

    A wanted value that its bound takes beyond the range of the result's dtype may be rounded to
    infinity, as IEEE 754 says.
    """
    label = f"{what}: " if what else ""
    if got.shape != wanted.shape:
        raise Mismatch(f"{label}shape {got.shape}, wanted {wanted.shape}")
    values = got.astype(np.float64)
    limits = np.broadcast_to(np.asarray(bound, np.float64), wanted.shape)
    units = error_units(values, wanted.astype(np.float64), limits)
    overflow = np.isinf(values) & (np.abs(wanted) + limits >= OVERFLOW.get(got.dtype.name, np.inf))
    units = np.where(overflow & (np.sign(values) == np.sign(wanted)), 0.0, units)
    if (units > 1).any():
        worst, numbers = _worst(values, wanted, limits, units), Numbers(values, wanted.astype(np.float64), limits)
        raise Mismatch(f"{label}outside the error model (R-10.6)", worst, numbers)


def error_units(got: Floats, wanted: Floats, bound: Floats) -> Floats:
    """Return each element's error in units of its bound: infinite where NaN, infinity or exact
    equality is missed.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.abs(got - wanted)
        units = np.where(error == 0, 0.0, error / bound)
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    units = np.where(np.isfinite(wanted) & np.isfinite(got), units, np.where(same, 0.0, np.inf))
    return np.asarray(np.where(np.isnan(units), np.inf, units))


def _worst(got: Floats, wanted: Array, bound: Floats, units: Floats) -> Worst:
    """Return the element with the largest error."""
    at = np.unravel_index(int(np.argmax(units)), units.shape)
    index = tuple(int(i) for i in at)
    return Worst(index, float(got[at]), float(wanted[at]), float(bound[at]), float(units[at]))


def equal_bits(first: Array, second: Array, what: str) -> None:
    """Refuse two results whose elements, in C order, differ in a bit."""
    one, other = first.ravel(), second.ravel()
    if one.dtype != other.dtype or one.shape != other.shape:
        raise Mismatch(f"{what}: {first.dtype.name} {first.shape} and {second.dtype.name} {second.shape}")
    differ = differing_bits(one, other)
    if differ.any():
        at = np.unravel_index(int(np.argmax(differ)), first.shape)
        got, wanted = float(second.ravel()[differ][0]), float(one[differ][0])
        worst = Worst(tuple(int(i) for i in at), got, wanted, 0.0, math.inf)
        raise Mismatch(f"{what}: bits differ", worst, Numbers(second.astype(np.float64)))


def identical(got: object, wanted: object, what: str) -> None:
    """Refuse a value that must be met exactly."""
    if got != wanted:
        raise Mismatch(f"{what} is {got!r}, wanted {wanted!r}")


def relative(got: Array, source: Mapping[str, Any], what: str) -> None:
    """Refuse numbers outside a result array's own relative bound (R-4.4)."""
    wanted = decode_floats(source)
    bound = np.reshape(np.array(source["bound"], np.float64), wanted.shape) * np.abs(wanted)
    within(got, wanted, bound, what)


def exactly(got: Array, source: Mapping[str, Any], what: str) -> None:
    """Refuse an array that does not hold exactly these integers."""
    wanted = decode(source)
    if got.dtype.kind not in "iu":
        raise Mismatch(f"{what}: dtype {got.dtype.name}, wanted integers")
    within(got, wanted, 0.0, what)


def printed_interval(text: str, how: str) -> tuple[float, float]:
    """Return the smallest and the largest number that is printed as this text, rounded or truncated
    to its digits.
    """
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    step = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    if how == "rounded":
        return float(number - step / 2), float(number + step / 2)
    if number == 0 and not number.is_signed():
        return float(-step), float(step)  # a zero without a sign may be cut from either side
    return (float(number - step), float(number)) if number.is_signed() else (float(number), float(number + step))


def printed(got: Floats, bound: Callable[[float], Floats], result: Mapping[str, Any]) -> None:
    """Refuse elements that cannot have been printed as a document prints them, with their bound
    allowed on both sides.

    bound: of each element, for the largest size that an exact value printed so can have.
    """
    for text, at in zip(result["values"], result["indices"], strict=True):
        index = tuple(at)
        low, high = printed_interval(text, result["how"])
        value, limit = float(got[index]), float(bound(max(abs(low), abs(high)))[index])
        if not low - limit <= value <= high + limit:
            away = max(low - value, value - high)
            worst = Worst(index, value, float(text), limit, away / limit if limit else math.inf)
            raise Mismatch(f"not what the document prints, {text} ({result['how']})", worst, Numbers(got))
