"""The kernels for NumPy arrays: what they can do is done, and for the rest the caller keeps its own
way.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ropecore.plan import RotaryPlan

from .._kernels import Tensor, available, fill, rotate

Array = npt.NDArray[Any]


def rotate_arrays(
    plan: RotaryPlan,
    parts: Sequence[tuple[Array, Array, Array, Array]],
    back: bool = False,
    threads: int | None = None,
) -> bool:
    """Rotate one or two arrays of one dtype: each part is (x, y, cos, sin); return False if nothing
    was done.

    back: read the lanes written and write the lanes read (R-9.2).  y is x to rotate in place, cos
    and sin have the dimensions of x and broadcast against it.  Left to the caller: arrays of
    another byte order, tables of another dtype than x is computed in, and an output that overlaps
    its input.
    """
    form = parts[0][0].dtype.name
    if not available(form) or any(x.dtype.name != form or not _fits(x, y, cos, sin) for x, y, cos, sin in parts):
        return False
    reads, writes = ("out_lanes", "lanes") if back else ("lanes", "out_lanes")
    found = [(of_array(x), of_array(y), of_array(cos), of_array(sin)) for x, y, cos, sin in parts]
    return rotate(plan, form, found, reads, writes, threads)


def make_tables(
    plan: RotaryPlan, coordinates: Sequence[npt.NDArray[np.int64]], threads: int | None = None
) -> tuple[Array, Array] | None:
    """Return float32 cos and sin times A of integer coordinates, positions + (n_pairs,), or None
    without the kernels.

    The coordinates are in range already (R-7.1), one array an axis.  Rule R-10.2.
    """
    if not available() or plan.log_magnitude is not None or any(plan.real_axes):
        return None
    positions = np.ascontiguousarray(np.stack(coordinates), np.int64)
    cos, sin = (np.empty((*coordinates[0].shape, plan.n_pairs), np.float32) for _ in range(2))
    at, count = [array.ctypes.data for array in (positions, cos, sin)], coordinates[0].size
    return (cos, sin) if fill(plan, at[0], count, at[1], at[2], plan.attention_factor, threads) else None


def of_array(array: Array) -> Tensor:
    """Return where an array lies."""
    address: int = array.__array_interface__["data"][0]
    return Tensor(address, array.shape, tuple(stride // array.itemsize for stride in array.strides))


def _fits(x: Array, y: Array, cos: Array, sin: Array) -> bool:
    wide = np.float64 if x.dtype == np.float64 else np.float32
    return (
        (x.shape, x.dtype) == (y.shape, y.dtype)
        and y.flags.writeable
        and cos.dtype == sin.dtype == wide
        and cos.strides == sin.strides
        and all(array.dtype.isnative and _whole(array) for array in (x, y, cos, sin))
        and (_same_place(x, y) or not np.may_share_memory(x, y))
    )


def _whole(array: Array) -> bool:
    """Return whether strides are whole numbers of elements, as those of a field of a structured
    array may not be.
    """
    return not any(stride % array.itemsize for stride in array.strides)


def _same_place(x: Array, y: Array) -> bool:
    return x is y or (x.strides == y.strides and x.__array_interface__["data"] == y.__array_interface__["data"])
