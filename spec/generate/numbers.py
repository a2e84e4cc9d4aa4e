"""Exact numbers, their rounding to binary64, and arrays as the vector files hold them."""

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any, TypeAlias

from mpmath import mp, mpf

DIGITS = 60  # the README promises 50
mp.dps = DIGITS

Exact: TypeAlias = Any  # an mpf, where mpmath's own types allow for complex numbers
Number: TypeAlias = int | float
Array: TypeAlias = dict[str, Any]  # {"shape": [..], "data": [..]}, flat in C order

ZERO, ONE = mpf(0), mpf(1)
FINEST = 1100  # bits: finer than the smallest binary64 number
ROUND_UP_3 = Context(prec=3, rounding=ROUND_CEILING)


def exact(value: Number) -> Exact:
    """Return an integer or a binary64 number as it is, without rounding."""
    return mpf(value)


def double(value: Exact) -> float:
    """Return the nearest binary64 number, ties to even, and 0.0 for both zeros (R-4.2, R-2.5)."""
    return float(value) + 0.0


def rounded_up(value: Exact) -> float:
    """Return a bound rounded up to three significant digits; anything that is not finite has the
    bound 0.
    """
    if value == 0 or not mp.isfinite(value):
        return 0.0
    scaled: Exact = mp.ceil(value * mpf(2) ** FINEST)
    return float(ROUND_UP_3.divide(Decimal(int(scaled)), Decimal(2**FINEST)))  # Decimal takes integers exactly


def array(shape: Sequence[int], data: Iterable[Any]) -> Array:
    """Return an array of the vector files, after checking that its size fits its shape."""
    values = list(data)
    if math.prod(shape) != len(values):
        raise ValueError(f"shape {list(shape)} does not hold {len(values)} numbers")
    return {"shape": list(shape), "data": values}


def bounded(shape: Sequence[int], values: Iterable[Exact], bounds: Iterable[Exact]) -> Array:
    """Return a result array: exact values rounded once, and bounds rounded up."""
    result = array(shape, [double(value) for value in values])
    return result | {"bound": array(shape, [rounded_up(bound) for bound in bounds])["data"]}


def unchanging(shape: Sequence[int], data: Iterable[Any]) -> Array:
    """Return a result array that must be met bit for bit."""
    result = array(shape, data)
    return result | {"bound": [0.0] * len(result["data"])}


def shape_of(nested: Any) -> list[int]:
    """Return the shape of nested lists of equal lengths."""
    return [len(nested), *shape_of(nested[0])] if isinstance(nested, list) else []


def flat(nested: Any) -> list[Any]:
    """Return the numbers of nested lists in C order."""
    return [number for item in nested for number in flat(item)] if isinstance(nested, list) else [nested]


def from_nested(nested: Any) -> Array:
    """Return nested lists as an array."""
    return array(shape_of(nested), flat(nested))
