"""Arrays that a caller gives: taken from every library, and refused where something of them would
be lost (R-12.5).

Builders work in NumPy on the host.  `like` takes their results back to the caller's library and
device.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ropecore.errors import RopeError, has, told
from ropecore.forks import IMPORTS

LARGEST_POSITION = 2**31 - 1  # of a position, and of a token's id
BEYOND_COORDINATES = 2.0**31  # coordinates of real axes are nearer to 0 
FLOATS = ("float16", "bfloat16", "float32", "float64")
_OWN_FLOATS = frozenset(np.dtype(name) for name in ("float16", "float32", "float64"))
MOST_OF_A_RANGE = 1 << 26
_MOST_DIMENSIONS = 64
_PLAIN = (np.ndarray, np.memmap)
_NUMBERS = frozenset((int, float))
_CURE = (
    "Give integers or real numbers, a list of them, or a plain array; "
    "of traced arrays in a list make one by your library's stack."
)


def array_api() -> Any:
    """Return array_api_compat, loaded when first asked for: `import ropecore` loads NumPy alone."""
    with IMPORTS:
        import array_api_compat.numpy

        return array_api_compat


def array_namespace(*arrays: Any) -> Any:
    """Return the library of arrays, in the words of the array API;
    TypeError if they are of none.
    """
    with IMPORTS:  # the library's part of array_api_compat may be loaded here
        return array_api().array_namespace(*arrays)


def host_array(argument: str, values: Any) -> npt.NDArray[Any]:
    """Return values as a NumPy array, or refuse what makes none, and what says more than its
    numbers: a mask, a unit, a subclass.

    Taken are numbers, lists and tuples of them, and arrays of every library, wherever they are; a
    gradient is no part of a value.
    """
    if type(values) is np.ndarray:
        return values
    if isinstance(values, (list, tuple)):
        return _of_list(argument, values, 0)
    if isinstance(values, range):
        return _of_range(argument, values)
    _refuse_what_says_more(argument, values)
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if isinstance(values, (int, float, complex, np.generic)):
        return _of_numbers(argument, values, {type(values)})
    if not (has(values, "__array__") or has(values, "__dlpack__")):
        cure = "Make a list of it." if isinstance(values, Iterable) and not isinstance(values, (str, bytes)) else _CURE
        raise RopeError(argument, values, "is no array of numbers", cure, "R-12.5")
    return _of_library(argument, values)


def _refuse_what_says_more(argument: str, values: Any) -> None:
    """Refuse subclasses of NumPy's array, and objects with a unit: their numbers alone are not what
    they say.
    """
    more, cure = "", ""
    if isinstance(values, np.ma.MaskedArray):
        more, cure = "has a mask, which would be lost", "Fill it: x.filled(..)."
    elif isinstance(values, np.ndarray) and type(values) not in _PLAIN:
        more, cure = f"is a {type(values).__name__}, and what that adds to its numbers would be lost", "numpy.array(x)"
    elif any(has(values, name) and not callable(getattr(values, name)) for name in ("unit", "units")):
        more, cure = "has a unit, which would be lost", "Give its numbers."
    if more:
        raise RopeError(argument, values, more, cure, "R-12.5")


def _of_list(argument: str, values: Any, depth: int) -> npt.NDArray[Any]:
    """Return the array of a list, its kinds looked at first: NumPy would take True for 1, and text
    for a number's name.
    """
    if depth >= _MOST_DIMENSIONS:
        raise RopeError(argument, type(values).__name__, f"nests deeper than {_MOST_DIMENSIONS} lists", rule="R-12.5")
    kinds = set(map(type, values))
    if kinds <= _NUMBERS or all(
        issubclass(kind, (int, float, complex, np.number)) and kind is not bool for kind in kinds
    ):
        return _of_numbers(argument, values, kinds)
    if kinds == {bool}:
        return np.array(values)
    if bool in kinds:
        raise RopeError(argument, values, "holds booleans beside other things", _CURE, "R-12.5")
    rows = [
        _of_list(argument, value, depth + 1) if isinstance(value, (list, tuple)) else host_array(argument, value)
        for value in values
    ]
    try:
        return np.stack(rows)
    except (TypeError, ValueError) as error:
        cure = "Rows must have one length; your library's stack makes one array of several."
        raise RopeError(argument, type(values).__name__, "is no array of numbers", cure, "R-12.5") from error


def _of_range(argument: str, values: range) -> npt.NDArray[Any]:
    """Return the array of a range, which can be longer than any memory."""
    try:
        if len(values) <= MOST_OF_A_RANGE:
            return np.arange(values.start, values.stop, values.step, dtype=np.int64)
    except OverflowError:
        pass
    raise RopeError(argument, values, f"has more than {MOST_OF_A_RANGE} numbers, or beyond 64 bits", rule="R-12.5")


def _of_numbers(argument: str, values: Any, kinds: set[type]) -> npt.NDArray[Any]:
    """Return the array of one number or a flat list; integers that no 64 bits hold are refused and
    never rounded.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise RopeError(argument, values, f"is no array of numbers ({told(error)})", _CURE, "R-12.5") from error
    held = array.dtype.kind in "iu" or not all(issubclass(kind, (int, np.integer)) for kind in kinds) or not kinds
    if array.dtype.kind == "O" or not held:
        raise RopeError(argument, values, "holds integers beyond 64 bits", rule="R-12.5")
    return array


def _of_library(argument: str, values: Any) -> npt.NDArray[Any]:
    """Return another library's array on the host."""
    plain = values
    try:
        plain = values.detach() if has(values, "detach") else values  # a gradient is no part of a value
        return _read(plain)
    except Exception as error:  # the library's own code runs here
        try:
            return _moved(plain)
        except Exception:
            reason = f"is no array of numbers that can be read ({told(error)})"
            raise RopeError(argument, type(values).__name__, reason, _CURE, "R-12.5") from error


def _moved(values: Any) -> npt.NDArray[Any]:
    """Return an array that is on a device, or of a dtype that NumPy lacks and float32 holds."""
    compat = array_api()
    plain, xp = compat.to_device(values, "cpu"), array_namespace(values)
    return _read(xp.astype(plain, xp.float32) if "bfloat16" in str(values.dtype) else plain)


def _read(values: Any) -> npt.NDArray[Any]:
    array = np.asarray(values) if has(values, "__array__") else np.from_dlpack(values)
    if array.dtype.kind == "O":
        raise TypeError(f"a {type(values).__name__} holds no numbers")
    return array


def own_array(argument: str, values: Any) -> tuple[Any, Any]:
    """Return another library's array as it is, traced or on a device, and what else is given as
    NumPy's; the namespace first.
    """
    if not isinstance(values, (np.ndarray, np.generic, list, tuple, range, int, float)) and has(values, "dtype"):
        compat = array_api()
        if compat.is_array_api_obj(values):
            return array_namespace(values), values
    return np, host_array(argument, values)


def kind_name(xp: Any, array: Any) -> str:
    """Return "bool", "integer", "real" or "other": what the dtype of an
    array of any library holds.
    """
    if xp is np:
        kind = array.dtype.kind
        return "real" if is_float(array.dtype) else {"b": "bool", "i": "integer", "u": "integer"}.get(kind, "other")
    kinds = {"bool": "bool", "integral": "integer", "real floating": "real"}
    return next((name for kind, name in kinds.items() if xp.isdtype(array.dtype, kind)), "other")


def like(given: Any) -> Callable[[npt.NDArray[Any]], Any]:
    """Return the function that takes a NumPy array to the library and device of what was given;
    lists and numbers give NumPy's.
    """
    if isinstance(given, (np.ndarray, np.generic, list, tuple, range, int, float)) or not has(given, "dtype"):
        return lambda array: array
    compat = array_api()
    if not compat.is_array_api_obj(given):
        return lambda array: array
    xp, where = array_namespace(given), compat.device(given)
    return lambda array: xp.asarray(array, device=where)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype of NumPy's is one of FLOATS: bfloat16 is that of ml_dtypes."""
    return dtype in _OWN_FLOATS or dtype.name in FLOATS


def integers(argument: str, values: Any) -> npt.NDArray[np.int64]:
    """Return integers as int64, or refuse another kind and values beyond 2^31 - 1.  Rules R-7.1,
    R-12.5.
    """
    array = host_array(argument, values)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)  # np.asarray([]) is float
    if array.dtype.kind not in "iu":
        cure = "Round them, or give the plan a real axis." if array.dtype.kind == "f" else ""
        raise RopeError(argument, array.dtype.name, "positions on an integer axis must be integers", cure, "R-12.5")
    if array.size and (array.max() > LARGEST_POSITION or array.min() < -LARGEST_POSITION):
        worst = int(array.max()) if array.max() > LARGEST_POSITION else int(array.min())
        raise RopeError(argument, worst, "positions must be within +-(2^31 - 1)", rule="R-7.1")
    return array.astype(np.int64)


def coordinates(argument: str, values: Any) -> npt.NDArray[np.float64]:
    """Return coordinates on a real axis as float64, or refuse another kind and values from 2^31 on.
    Rules R-7.12, R-12.5.
    """
    array = host_array(argument, values)
    if array.dtype.kind not in "iu" and not is_float(array.dtype):
        raise RopeError(argument, array.dtype.name, "coordinates on a real axis must be numbers", rule="R-12.5")
    wide = array.astype(np.float64)
    near = np.abs(wide) < BEYOND_COORDINATES  # not of NaN
    if not near.all():
        reason = "coordinates on a real axis must be finite, and below 2^31"
        raise RopeError(argument, float(wide[~near].flat[0]), reason, rule="R-7.12")
    return wide


def reals(argument: str, values: Any, *, which: str = "", rule: str = "R-12.5") -> npt.NDArray[np.float64]:
    """Return finite real numbers as float64, or refuse another kind.  which: what a refusal calls
    them.  Rule R-12.5.
    """
    array = host_array(argument, values)
    if array.dtype.kind not in "iu" and not is_float(array.dtype):
        raise RopeError(argument, array.dtype.name, f"{which}must be finite real numbers", rule=rule)
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise RopeError(argument, array.dtype.name, f"{which}must be finite real numbers", rule=rule)
    return wide
