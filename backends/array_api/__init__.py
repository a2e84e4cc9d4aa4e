"""The adapter for any array-API library: `import ropecore.backends.array_api as rope`.

Arrays of every namespace that array-api-compat knows are rotated by that library's own operations, on their own device, and
never changed in place.  The library needs 64-bit integers, and float32 or float64.
"""

import math
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

from ropecore.call import OMITTED, Call, rotate_pair
from ropecore.errors import RopeError, choice
from ropecore.plan import RotaryPlan
from ropecore.precision import (
    PRECISIONS,
    cos_sin_of_phase,
    limbs,
    phase_32,
    real_phase_32,
    real_turns,
    signed_log_magnitude,
)
from ropecore.rotation import cos_sin as reference_cos_sin
from ropecore.rotation import magnitude, split_axes, turned_tables

Array = Any  # of whatever namespace


def cos_sin(
    plan: RotaryPlan, positions: Array, role: str = "q", precision: str = "exact", dtype: str = "float32"
) -> tuple[Array, Array]:
    """Return cos and sin of the angles, times A and the magnitude, of shape positions + (n_pairs,), as positions' own arrays.

    positions: an integer array (..), or (n_axes, ..), or a list of one array an axis.  precision: "exact", or "float32" for cos(float32(p) * float32(F)).
    dtype: "float32", or "float64" for the reference's tables, made on the host.  Rules R-2.1, R-2.4, R-10.2, R-10.3.
    """
    split = positions if isinstance(positions, (list, tuple)) else _split(plan, positions)
    xp = array_api_compat.array_namespace(*split)
    choice("precision", precision, PRECISIONS)
    if dtype == "float64" and precision == "exact":
        host = [to_numpy(column) for column in split]
        tables = reference_cos_sin(plan, host if plan.n_axes > 1 else host[0], role)
        return tuple(_like(split[0], table, xp.float64) for table in tables)
    columns = _columns(plan, split, xp)
    _check_values(plan, split, role)

    def to_float32(a: Array) -> Array:
        return xp.astype(a, xp.float32)

    if precision == "exact":
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
        # the centre's near part first, in integers where positions are: float32 would round both, and not their difference
        distance = to_float32(columns[0] - near) - (plan.centre - near)
        grown = xp.exp(sign * log * distance[..., None])
        cos, sin = cos * grown, sin * grown
    return xp.astype(cos, getattr(xp, dtype)), xp.astype(sin, getattr(xp, dtype))


def rotate(
    plan: RotaryPlan,
    x: Array,
    cos: Array,
    sin: Array,
    tensor_format: str = "bhsd",
    inverse: bool = False,
    transpose: bool = False,
    compute: str = "float32",
) -> Array:
    """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs); the dtype of x is kept.

    compute: "float32" rounds once, on store; "input" rounds tables and every operation to the dtype of x.
    Rules R-2.1, R-9.2, R-9.3, R-10.4.
    """
    xp, call = array_api_compat.array_namespace(x, cos, sin), Call(plan, tensor_format, compute=compute)
    call.check_tensor("x", x.shape, _dtype_name(x))
    turned = turned_tables(plan, cos, sin, inverse, transpose)
    dtype = x.dtype if compute == "input" else getattr(xp, call.table_dtype(_dtype_name(x)))
    c, s = (xp.astype(_line_up(call, table, x, xp), dtype) for table in turned)
    lanes, out_lanes = (plan.out, plan.lanes) if inverse or transpose else (plan.lanes, plan.out)

    def take(array: Array, index: Any) -> Array:
        return xp.take(array, _like(x, index, xp.int64), axis=-1)

    first, second = (xp.astype(take(x, lanes[:, i]), dtype) for i in (0, 1))
    rotated = xp.concat([first * c - second * s, first * s + second * c], axis=-1)
    still = np.setdiff1d(np.arange(plan.head_dim), plan.lanes)  # lanes in no row keep their bits
    together = xp.concat([xp.astype(rotated, x.dtype), take(x, still)], axis=-1)
    return take(together, np.argsort(np.concatenate([out_lanes[:, 0], out_lanes[:, 1], still])))


def apply(
    plan: RotaryPlan,
    q: Array,
    k: Any = OMITTED,
    *,
    positions: Array | None = None,
    k_positions: Array | None = None,
    offset: Any = 0,
    tensor_format: str = "bhsd",
    precision: str = "exact",
    compute: str = "float32",
    role: str = "q",
) -> Any:
    """Return q, or (q, k) where k is given (even as None), rotated at their positions.

    q, k: arrays with the dimensions of tensor_format, of any number of heads.  positions: integers (s,), (b, s) or (t,), with
    (n_axes, ..) before for several axes; None is arange(s) + offset, offset an integer or one a batch row.  k_positions: those
    of k, if they differ.  role: that of a tensor given alone (it matters to xPos).  Rules R-2.1, R-7.3, R-7.4, R-10.4.
    """

    def one(name: str, x: Array, at: Any, role: str) -> Array:
        call = Call(plan, tensor_format, precision, compute)
        call.check_tensor(name, x.shape, _dtype_name(x))
        tables = cos_sin(plan, _positions(call, x, at, offset), role, precision, call.table_dtype(_dtype_name(x)))
        return rotate(plan, x, *tables, tensor_format, compute=compute)

    return rotate_pair(one, q, k, positions, k_positions, role)


def shift(
    plan: RotaryPlan,
    k: Array,
    delta: Any,
    *,
    tensor_format: str = "bhsd",
    precision: str = "exact",
    compute: str = "float32",
    role: str = "k",
) -> Array:
    """Return keys that were rotated at p as if rotated at p + delta; A is not applied again.

    delta: an integer, or one a batch row; with several axes it moves all of them.  Rule R-9.5.
    """
    moved = plan.on_written_lanes()
    call = Call(moved, tensor_format, precision, compute)
    call.check_tensor("k", k.shape, _dtype_name(k))
    positions = call.shifted(delta, k.shape)
    tables = cos_sin(moved, _like(k, positions, None), role, precision, call.table_dtype(_dtype_name(k)))
    return rotate(moved, k, *tables, tensor_format, compute=compute)


class RotaryEmbedding:
    """A plan with the way it is called: `emb = RotaryEmbedding(plan, "bshd"); q, k = emb(q, k, positions=ids)`."""

    def __init__(
        self, plan: RotaryPlan, tensor_format: str = "bhsd", precision: str = "exact", compute: str = "float32"
    ) -> None:
        Call(plan, tensor_format, precision, compute)  # refuses what is wrong now, and not at the first call
        self.plan, self.tensor_format, self.precision, self.compute = plan, tensor_format, precision, compute

    def __call__(self, q: Array, k: Any = OMITTED, **where: Any) -> Any:
        """Return `apply(plan, q, k, positions=.., k_positions=.., offset=..)`."""
        how = {"tensor_format": self.tensor_format, "precision": self.precision, "compute": self.compute}
        return apply(self.plan, q, k, **how, **where)


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Return an array of any namespace as NumPy's, through DLPack where the library has no quicker way."""
    return np.asarray(array) if hasattr(array, "__array__") else np.from_dlpack(array)


def _like(example: Array, values: Any, dtype: Any) -> Array:
    """Return host values as an array of the example's namespace and device."""
    xp = array_api_compat.array_namespace(example)
    array = xp.asarray(values, device=array_api_compat.device(example))
    return array if dtype is None else xp.astype(array, dtype)


def _dtype_name(x: Array) -> str:
    """Return "float32" for numpy's float32, torch.float32, and every other spelling."""
    return str(x.dtype).rsplit(".", 1)[-1]


def _line_up(call: Call, table: Array, x: Array, xp: Any) -> Array:
    return call.line_up(table, x.shape, lambda t: xp.permute_dims(t, (1, 0, 2)), xp.reshape)


def _split(plan: RotaryPlan, positions: Array) -> list[Array]:
    return [positions[a, ...] for a in range(plan.n_axes)] if plan.n_axes > 1 else [positions]


def _columns(plan: RotaryPlan, columns: Sequence[Array], xp: Any) -> list[Array]:
    """Return the coordinates of each axis, int64 on integer axes and float32 on real ones (R-6.9, R-7.1)."""
    for column, real in zip(columns, plan.real_axes, strict=True):
        if not real and not xp.isdtype(column.dtype, "integral"):
            cure = "Round them, or give the plan a real axis."
            raise RopeError(
                "positions", _dtype_name(column), "positions on an integer axis must be integers", cure, "R-12.5"
            )
    return [xp.astype(p, xp.float32 if real else xp.int64) for p, real in zip(columns, plan.real_axes, strict=True)]


def _check_values(plan: RotaryPlan, columns: Sequence[Array], role: str) -> None:
    """Refuse positions out of range where they can be read at once: arrays of the host that are not lazy.  Rules R-2.4, R-7.1."""
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


def _positions(call: Call, x: Array, positions: Any, offset: Any) -> Array:
    """Return the positions given, checked for their shape, or those that follow an offset."""
    if positions is None:
        return _like(x, call.following(offset, x.shape), None)
    if isinstance(positions, (list, tuple)) and all(hasattr(column, "dtype") for column in positions):
        call.check_positions((len(positions), *positions[0].shape), x.shape, offset)
        return positions
    positions = positions if hasattr(positions, "dtype") else np.asarray(positions)
    call.check_positions(positions.shape, x.shape, offset)
    return _like(x, positions, None) if isinstance(positions, np.ndarray) else positions
