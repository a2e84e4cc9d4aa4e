"""The adapter for any array-API library: `import ropecore.backends.array_api as rope`.

Arrays of every namespace that array-api-compat knows are rotated by that library's own operations,
on their own device, and never changed in place.  The library needs 64-bit integers, and float32 or
float64.
"""

import math
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

from ropecore.adapter import Adapter, Embedding, Part
from ropecore.adapter.call import Call
from ropecore.arrays import array_namespace
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import host_array
from ropecore.precision import cos_sin_of_phase, limbs, phase_32, real_phase_32, real_turns, signed_log_magnitude
from ropecore.rotation import cos_sin as reference_cos_sin
from ropecore.rotation import magnitude, split_axes, turned_tables

__all__ = ["RotaryEmbedding", "apply", "cos_sin", "rotate", "shift"]

Array = Any  # of whatever namespace


class _Adapter(Adapter[Array]):
    __slots__ = ()

    def check(self, call: Call, name: str, x: Any) -> Array:
        if not _is_array(x):
            cure = "Convert it with the asarray of your library."
            raise RopeError(name, type(x).__name__, "is no array of an array-API library", cure, "R-12.4")
        call.check_tensor(name, x.shape, _dtype_name(x))
        return x

    def tables(self, call: Call, positions: Any, role: str, dtype: str) -> tuple[Array, Array]:
        return _tables(call, positions, role, dtype)

    def turn(self, call: Call, parts: list[Part], in_place: bool) -> list[Array]:
        made = [
            _tables(call, _positions(call, part), part.role, call.table_dtype(_dtype_name(part.x))) for part in parts
        ]
        return [_turned(call, part.x, *tables) for part, tables in zip(parts, made, strict=True)]

    def turn_by(
        self, call: Call, x: Array, cos: Any, sin: Any, inverse: bool, transpose: bool, out: None = None
    ) -> Array:
        call.check_tables(cos.shape, sin.shape, x.shape, call.plan.n_pairs)
        return _turned(call, x, cos, sin, inverse, transpose)


_adapter = _Adapter()
cos_sin, rotate, apply, shift = _adapter.cos_sin, _adapter.rotate, _adapter.apply, _adapter.shift


class RotaryEmbedding(Embedding):
    __doc__ = Embedding.__doc__
    function = apply


def _tables(call: Call, positions: Any, role: str, dtype: str) -> tuple[Array, Array]:
    """Return cos and sin, times A and the magnitude, as arrays of the positions' own library and
    device.

    float64 tables of the exact class are the reference's, made on the host.  Rules R-2.1, R-2.4,
    R-10.2, R-10.3.
    """
    plan = call.plan
    split = _split(plan, positions)
    xp = array_namespace(*split)
    if dtype == "float64" and call.precision == "exact":
        host = [to_numpy(column) for column in split]
        cos, sin = reference_cos_sin(plan, host if plan.n_axes > 1 else host[0], role)
        return _like(split[0], cos, xp.float64), _like(split[0], sin, xp.float64)
    columns = _columns(plan, split, xp)
    _check_values(plan, split, role)

    def to_float32(a: Array) -> Array:
        return xp.astype(a, xp.float32)

    if call.precision == "exact":
        cos, sin = cos_sin_of_phase(_phase(plan, columns, xp), to_float32, xp.where)
    else:
        angles = [
            to_float32(p)[..., None] * _like(p, plan.frequencies[:, a], xp.float32) for a, p in enumerate(columns)
        ]
        cos, sin = xp.cos(sum(angles[1:], angles[0])), xp.sin(sum(angles[1:], angles[0]))
    sign = signed_log_magnitude(role)
    if plan.attention_factor != 1:
        cos, sin = cos * plan.attention_factor, sin * plan.attention_factor
    if plan.log_magnitude is not None:
        log = _like(columns[0], plan.log_magnitude, xp.float32)
        near = float(np.float32(plan.centre)) if plan.real_axes[0] else math.floor(plan.centre)
        # the centre's near part first, in integers where positions are: float32 would round both,
        # and not their difference
        distance = to_float32(columns[0] - near) - (plan.centre - near)
        grown = xp.exp(sign * log * distance[..., None])
        cos, sin = cos * grown, sin * grown
    return xp.astype(cos, getattr(xp, dtype)), xp.astype(sin, getattr(xp, dtype))


def _turned(call: Call, x: Array, cos: Array, sin: Array, inverse: bool = False, transpose: bool = False) -> Array:
    """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs)."""
    plan, xp = call.plan, array_namespace(x, cos, sin)
    turned = turned_tables(plan, cos, sin, inverse, transpose)
    dtype = x.dtype if call.compute == "input" else getattr(xp, call.table_dtype(_dtype_name(x)))
    lined_up = [call.letters.line_up(t, lambda t: xp.permute_dims(t, (1, 0, 2)), xp.reshape) for t in turned]
    c, s = (xp.astype(table, dtype) for table in lined_up)
    lanes, out_lanes = (plan.out, plan.lanes) if inverse or transpose else (plan.lanes, plan.out)

    def take(array: Array, index: Any) -> Array:
        return xp.take(array, _like(x, index, xp.int64), axis=-1)

    first, second = (xp.astype(take(x, lanes[:, i]), dtype) for i in (0, 1))
    rotated = xp.concat([first * c - second * s, first * s + second * c], axis=-1)
    still = np.setdiff1d(np.arange(plan.head_dim), plan.lanes)  # lanes in no row keep their bits
    together = xp.concat([xp.astype(rotated, x.dtype), take(x, still)], axis=-1)
    return take(together, np.argsort(np.concatenate([out_lanes[:, 0], out_lanes[:, 1], still])))


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Return an array of any namespace as NumPy's, through DLPack where the library has no quicker
    way.
    """
    return np.asarray(array) if hasattr(array, "__array__") else np.from_dlpack(array)


def _is_array(x: Any) -> bool:
    return bool(array_api_compat.is_array_api_obj(x))


def _like(example: Array, values: Any, dtype: Any) -> Array:
    """Return host values as an array of the example's namespace and device."""
    xp = array_namespace(example)
    array = xp.asarray(values, device=array_api_compat.device(example))
    return array if dtype is None else xp.astype(array, dtype)


def _dtype_name(x: Array) -> str:
    """Return "float32" for numpy's float32, torch.float32, and every other spelling."""
    return str(x.dtype).rsplit(".", 1)[-1]


def _split(plan: RotaryPlan, positions: Any) -> list[Array]:
    """Return one array an axis, of one shape.  Rule R-7.3."""
    if isinstance(positions, (list, tuple)):
        columns = list(positions)
    elif plan.n_axes == 1 or not _is_array(positions):
        columns = [positions]
    else:
        columns = [positions[a, ...] for a in range(positions.shape[0])] if positions.ndim else []
    if not all(map(_is_array, columns)):
        cure = "Convert them with the asarray of your library."
        raise RopeError("positions", type(positions).__name__, "are no array of an array-API library", cure, "R-12.5")
    shapes = [tuple(column.shape) for column in columns]
    if len(columns) != plan.n_axes or len(set(shapes)) != 1:
        cure = "For text use ropecore.text_positions(ids, n_axes)."
        raise RopeError("positions", shapes, f"must have {plan.n_axes} axes of one shape first", cure, "R-7.3")
    return columns


def _columns(plan: RotaryPlan, columns: Sequence[Array], xp: Any) -> list[Array]:
    """Return the coordinates of each axis, int64 on integer axes and float32 on real ones (R-6.9,
    R-7.1).
    """
    for column, real in zip(columns, plan.real_axes, strict=True):
        if not real and not xp.isdtype(column.dtype, "integral"):
            cure = "Round them, or give the plan a real axis."
            raise RopeError(
                "positions", _dtype_name(column), "positions on an integer axis must be integers", cure, "R-12.5"
            )
    return [xp.astype(p, xp.float32 if real else xp.int64) for p, real in zip(columns, plan.real_axes, strict=True)]


def _check_values(plan: RotaryPlan, columns: Sequence[Array], role: str) -> None:
    """Refuse positions out of range where they can be read at once: arrays of the host that are not
    lazy.  Rules R-2.4, R-7.1.
    """
    if not any(
        array_api_compat.is_lazy_array(p) or "cpu" not in str(array_api_compat.device(p)).lower() for p in columns
    ):
        host = [to_numpy(column) for column in columns]
        magnitude(plan, split_axes(plan, host if plan.n_axes > 1 else host[0])[0], role)


def _phase(plan: RotaryPlan, columns: list[Array], xp: Any) -> Array:
    """Return the angle in 2^-32 turns, int64 of shape positions + (n_pairs,)."""
    (high, low), real = limbs(plan, 64), real_turns(plan)
    phases = [
        real_phase_32(p[..., None] * _like(p, real[:, a], xp.float32), xp.round, lambda t: xp.astype(t, xp.int64))
        if plan.real_axes[a]
        else phase_32(p[..., None], _like(p, high[:, a], None), _like(p, low[:, a], None))
        for a, p in enumerate(columns)
    ]
    return sum(phases[1:], phases[0]) & 0xFFFFFFFF


def _positions(call: Call, part: Part) -> Array:
    """Return the positions given, checked for their shape, or those that are counted."""
    x, positions = part.x, part.positions
    if positions is None:
        return _like(x, call.counted(part.argument, part.start, x.shape, part.step), None)
    if isinstance(positions, (list, tuple)) and positions and all(hasattr(column, "dtype") for column in positions):
        call.check_positions((len(positions), *positions[0].shape), x.shape, part.start)
        return positions
    given: Any = positions if hasattr(positions, "dtype") else host_array("positions", positions)
    call.check_positions(given.shape, x.shape, part.start)
    return _like(x, given, None) if isinstance(given, np.ndarray) else given
