"""Positions as the kernel takes them: 64-bit words on the device, with strides, and a start and
step for what is counted.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple

import cupy
import numpy as np

from ropecore.adapter import Part
from ropecore.adapter.call import Call
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import host_array
from ropecore.rotation import magnitude, split_axes

Array = Any  # a cupy.ndarray


class Places(NamedTuple):
    """Where tokens are on each axis: words[axis, batch, token] + start + step * token."""

    words: Array | int  # int64: integers, or the bits of a float64 on a real axis; 0 for none
    strides: tuple[int, int, int] = (0, 0, 0)  # of words, in words, by axis, batch row and token
    start: int = 0
    step: int = 0


def listed(plan: RotaryPlan, positions: Any, role: str) -> tuple[Places, tuple[int, ...]]:
    """Return positions of any shape, (..) or (n_axes, ..), as one row of tokens, and that shape
    without the axes.
    """
    words = _words(plan, positions, role)
    row = words.reshape(plan.n_axes, -1)
    axis, token = (stride // 8 for stride in row.strides)
    return Places(row, (axis, 0, token)), words.shape[1:]


def places_of(call: Call, part: Part) -> Places:
    """Return the places of a part's tokens: positions that are given (R-7.3), or counted on every
    axis (R-7.4, R-9.5).
    """
    if part.positions is None:
        return _counted(call, part.argument, part.start, part.x, part.step, part.role)
    call.check_positions(_shape(part.positions), part.x.shape, part.start)
    words = _words(call.plan, part.positions, part.role)
    axis, *batch, token = (stride // 8 for stride in words.strides)
    return Places(words, (axis, batch[0] if batch and words.shape[1] > 1 else 0, token))


def _counted(call: Call, argument: str, value: Any, x: Array, step: int, role: str) -> Places:
    """Return value + step * token, value an integer or one a batch row."""
    n_axes, reach = call.plan.n_axes, step * max(call.length(x.shape) - 1, 0)
    if step:
        call.check_positions_given()
    if isinstance(value, cupy.ndarray):
        call.check_offset_shape(argument, value.shape, x.shape)
    else:
        starts = call.host_offset(argument, value, x.shape, reach)
        magnitude(call.plan, np.add.outer(starts, [0, reach]), role)  # refuses what is too far from the centre
        if isinstance(starts, int):
            return Places(0, start=starts, step=step)
        value = cupy.asarray(np.asarray(starts, np.int64))
    words = _words(call.plan, value if n_axes == 1 else [value] * n_axes, role, argument)
    axis, *batch = (stride // 8 for stride in words.strides)
    return Places(words, (axis, batch[0] if batch else 0, 0), step=step)


def device_of(positions: Any) -> Any:
    """Return the device of positions as a context; for those on the host it is the current one."""
    arrays = _device_arrays(positions)
    return arrays[0].device if arrays else nullcontext()


def check_array(name: str, x: Any, device: Any = None) -> None:
    """Refuse what is no array of CuPy, or is on another device than the rest of a call."""
    if not isinstance(x, cupy.ndarray):
        raise RopeError(name, type(x).__name__, "must be a cupy.ndarray", "Move it with cupy.asarray first.", "R-12.4")
    if device is not None and x.device != device:
        raise RopeError(name, x.device, f"is on another device than the rest, {device}", "Copy it there.", "R-12.4")


def _device_arrays(positions: Any) -> list[Array]:
    """Return what of positions is on a device: an array, or one an axis in a list."""
    columns = positions if isinstance(positions, (list, tuple)) else [positions]
    return [column for column in columns if isinstance(column, cupy.ndarray)]


def _shape(positions: Any) -> tuple[int, ...]:
    arrays = _device_arrays(positions)
    if arrays and not isinstance(positions, cupy.ndarray):
        return (len(positions), *arrays[0].shape)
    return tuple(positions.shape if arrays else host_array("positions", positions).shape)


def _words(plan: RotaryPlan, positions: Any, role: str, argument: str = "positions") -> Array:
    """Return coordinates as int64 on the current device, (n_axes, ..): integers, or the bits of a
    float64 on a real axis.

    What is on the host is checked there; what is on a device is not read (R-6.9, R-7.1).
    """
    shape = _shape(positions)
    if not _device_arrays(positions):
        host = split_axes(plan, positions)
        magnitude(plan, host[0], role)  # refuses what is too far from the centre
        return cupy.asarray(np.stack([column.view(np.int64) for column in host]))
    if plan.n_axes > 1 and shape[:1] != (plan.n_axes,):
        cure = "For text use ropecore.text_positions(ids, n_axes)."
        raise RopeError("positions", shape, f"must have {plan.n_axes} axes first", cure, "R-7.3")
    columns = [positions] if plan.n_axes == 1 else [positions[a] for a in range(plan.n_axes)]
    for column, real in zip(columns, plan.real_axes, strict=True):
        _check_column(argument, column, real, columns[0])
    if plan.n_axes > 1 and isinstance(positions, cupy.ndarray) and not any(plan.real_axes):
        return positions.astype(np.int64, copy=False)
    bits = [
        column.astype(np.float64).view(np.int64) if real else column.astype(np.int64, copy=False)
        for column, real in zip(columns, plan.real_axes, strict=True)
    ]
    return bits[0][None] if plan.n_axes == 1 else cupy.stack(bits)


def _check_column(argument: str, column: Any, real: bool, first: Any) -> None:
    """Refuse the coordinates of an axis that are not of its kind, or not of the shape of the first
    axis.
    """
    check_array(argument, column, cupy.cuda.Device())
    if column.dtype.kind not in ("iuf" if real else "iu"):
        cure = "Round them, or give the plan a real axis." if column.dtype.kind == "f" else ""
        reason = f"must be {'real numbers' if real else 'integers on an integer axis'}"
        raise RopeError(argument, column.dtype.name, reason, cure, "R-12.5")
    if column.shape != first.shape:
        raise RopeError(argument, column.shape, f"has another shape than the first axis, {first.shape}", rule="R-7.3")
