"""Arrays of the vector files, and where their bits differ."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]

SPECIAL = ("NaN", "Infinity", "-Infinity")
DTYPES = ("float32", "float64", "bfloat16", "float16")


def decode(source: Mapping[str, Any]) -> Array:
    """Return a vector file's array: float64 where it holds a float, else int64."""
    numbers = [_number(value) for value in source["data"]]
    dtype = np.float64 if any(isinstance(value, float) for value in numbers) else None
    array = np.array(numbers, dtype=dtype) if numbers else np.zeros(0, np.int64)
    return array.reshape(source["shape"])


def decode_floats(source: Mapping[str, Any]) -> Floats:
    """Return a vector file's array as float64."""
    return decode(source).astype(np.float64)


def decode_object(value: Any) -> Any:
    """Return a config or a plan of a vector file with its numbers: those that are strings there, as
    `decode` reads them.
    """
    if isinstance(value, Mapping):
        return {key: decode_object(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode_object(item) for item in value]
    return _number(value) if isinstance(value, str) and _is_number(value) else value


def _is_number(text: str) -> bool:
    """Return whether a string stands for a number that JSON cannot hold; "8" stands for itself."""
    return text in SPECIAL or (text.removeprefix("-").isdecimal() and abs(int(text)) > 2**53)


def _number(value: float | str) -> float | int:
    """Return a number of a vector file: NaN, infinities and integers
    beyond 2^53 are strings there.
    """
    if not isinstance(value, str):
        return value
    return float(value) if value in SPECIAL else int(value)


def differing_bits(one: Array, other: Array) -> npt.NDArray[np.bool_]:
    """Return where two arrays of one shape and dtype differ in a bit."""
    width = np.dtype(f"u{one.dtype.itemsize}")
    return np.asarray(np.ascontiguousarray(one).view(width) != np.ascontiguousarray(other).view(width))
