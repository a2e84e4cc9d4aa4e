"""The JAX adapter: `import ropecore.backends.jax as rope`.

Pure functions for jit, grad, jvp, vmap, scan and sharded arrays: the plan is static, positions and offsets may be traced.
Tables are exact without 64-bit integers, so that x64 changes no bit; float64 x needs x64.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ropecore.call import FLOATS, OMITTED, Call, rotate_pair
from ropecore.errors import RopeError, choice
from ropecore.plan import RotaryPlan
from ropecore.rotation import magnitude, split_axes, turned_tables

from .rotation import Lanes, turn
from .tables import make, rows_of

Array = Any  # a jax.Array, traced or not, or a NumPy array


def cos_sin(
    plan: RotaryPlan, positions: Array, role: str = "q", precision: str = "exact", dtype: str = "float32"
) -> tuple[Array, Array]:
    """Return cos and sin of the angles, times A and the magnitude, of shape positions + (n_pairs,).

    positions: integers (..), or (n_axes, ..), or a list of one array an axis.  precision: "exact", or "float32" for
    cos(float32(p) * float32(F)).  No gradient passes.  Rules R-2.1, R-2.4, R-10.2, R-10.3, R-11.2.
    """
    Call(plan, precision=precision)
    wide, exact = choice("dtype", dtype, FLOATS) == "float64", precision == "exact"
    if wide:
        _check_x64("dtype")
    rows, columns = rows_of(plan, role, wide and exact), _columns(plan, _as_array(plan, positions))
    tables: tuple[Array, Array] = make(columns, rows, plan.real_axes, exact, dtype)
    return tables


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
    The gradient is the transpose, and keeps nothing of x; tables that are differentiated (your own: those of cos_sin have
    none) get theirs.  Rules R-2.1, R-9.2, R-9.3, R-10.4, R-11.1.
    """
    call = Call(plan, tensor_format, compute=compute)
    name = _check_tensor(call, "x", x)
    for argument, table in (("cos", cos), ("sin", sin)):
        if not isinstance(table, (jax.Array, np.ndarray)):
            raise RopeError(argument, type(table).__name__, "must be an array", "Make it with cos_sin.", "R-12.5")
    call.letters.check_table(plan.n_pairs, cos.shape, x.shape)
    if sin.shape != cos.shape:
        raise RopeError(
            "sin", sin.shape, f"its shape is not that of cos, {cos.shape}", "Make it with cos_sin.", "R-12.5"
        )
    cos, sin = turned_tables(plan, cos, sin, inverse, transpose)
    dtype = name if compute == "input" else call.table_dtype(name)
    lanes, out_lanes = _lanes(plan)
    reads, writes = (out_lanes, lanes) if inverse or transpose else (lanes, out_lanes)
    return turn(x, cos, sin, reads, writes, dtype, tensor_format)


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
    (n_axes, ..) before for several axes, or an int for a single token; None is arange(s) + offset, offset an integer or one
    a batch row.  k_positions: those of k, if they differ.  role: that of a tensor given alone (it matters to xPos).  Values
    are checked where the host has them; traced ones wrap modulo 2^32, and so do those of devices.  In shard_map, where s is
    that of a shard, give positions.  Rules R-2.1, R-7.1, R-7.3, R-7.4, R-10.4.
    """

    def one(name: str, x: Array, at: Any, role: str) -> Array:
        call = Call(plan, tensor_format, precision, compute)
        dtype = call.table_dtype(_check_tensor(call, name, x))
        if at is None:
            call.check_positions_given()
            at = _count(call, "offset", offset, x, step=1)
        else:
            at = _as_array(plan, [at] if isinstance(at, int) and plan.n_axes == 1 else at)
            call.check_positions(_shape(at), x.shape, offset)
        return rotate(plan, x, *cos_sin(plan, at, role, precision, dtype), tensor_format, compute=compute)

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
    moved = Call(plan, tensor_format, precision, compute).plan.on_written_lanes()
    call = Call(moved, tensor_format)
    dtype = call.table_dtype(_check_tensor(call, "k", k))
    by = _count(call, "delta", delta, k, step=0)
    tables = cos_sin(moved, by if moved.n_axes == 1 else [by] * moved.n_axes, role, precision, dtype)
    return rotate(moved, k, *tables, tensor_format, compute=compute)


@jax.tree_util.register_static
@dataclass(frozen=True)
class RotaryEmbedding:
    """A plan with the way it is called: `emb = RotaryEmbedding(plan, "bshd"); q, k = emb(q, k, positions=ids)`.

    A pytree without leaves: all of it is static under jit, and it can be a field of any module.
    """

    plan: RotaryPlan
    tensor_format: str = "bhsd"
    precision: str = "exact"
    compute: str = "float32"

    def __post_init__(self) -> None:
        Call(self.plan, self.tensor_format, self.precision, self.compute)  # refuses now, and not at the first call

    def __call__(self, q: Array, k: Any = OMITTED, **where: Any) -> Any:
        """Return `apply(plan, q, k, positions=.., k_positions=.., offset=..)`."""
        how = {"tensor_format": self.tensor_format, "precision": self.precision, "compute": self.compute}
        return apply(self.plan, q, k, **how, **where)


@lru_cache(maxsize=512)
def _lanes(plan: RotaryPlan) -> tuple[Lanes, Lanes]:
    """Return the lanes read and written of each row, in a form that is static under jit."""
    return tuple(map(tuple, plan.lanes.tolist())), tuple(map(tuple, plan.out.tolist()))


def _check_tensor(call: Call, argument: str, x: Any) -> str:
    """Return the name of a tensor's dtype, or refuse the tensor.  Rule R-12.4."""
    if not isinstance(x, (jax.Array, np.ndarray)):
        raise RopeError(argument, type(x).__name__, "must be a JAX or NumPy array", "Use jnp.asarray(..).", "R-12.4")
    call.check_tensor(argument, x.shape, x.dtype.name)
    if x.dtype == np.float64:
        _check_x64(argument)
    return str(x.dtype.name)


def _check_x64(argument: str) -> None:
    """Refuse float64 where JAX would make float32 of it, silently."""
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        cure = "Set jax.config.update('jax_enable_x64', True), or convert to float32."
        raise RopeError(argument, "float64", "JAX has 64-bit types under x64 only", cure, "R-12.4")


def _is_read(values: Any) -> bool:
    """Return whether the host sees values: they are not traced, and on no other device (R-7.1)."""
    if isinstance(values, list):
        return all(map(_is_read, values))
    traced = isinstance(values, jax.core.Tracer)
    return not traced and (not isinstance(values, jax.Array) or {each.platform for each in values.devices()} == {"cpu"})


def _as_array(plan: RotaryPlan, positions: Any) -> Any:
    """Return positions as an array, or as a list of arrays where each axis has its own."""
    if isinstance(positions, jax.Array):
        return positions
    several = plan.n_axes > 1 and isinstance(positions, (list, tuple))
    try:
        if several and any(hasattr(each, "shape") for each in positions):
            return [each if isinstance(each, jax.Array) else np.asarray(each) for each in positions]
        return np.asarray(positions)
    except (TypeError, ValueError) as error:
        cure = "Rows must have one length; jnp.stack makes one array of several."
        raise RopeError("positions", type(positions).__name__, "is not an array of numbers", cure, "R-12.5") from error


def _shape(positions: Any) -> tuple[int, ...]:
    return (len(positions), *positions[0].shape) if isinstance(positions, list) else tuple(positions.shape)


def _columns(plan: RotaryPlan, positions: Any) -> tuple[Array, ...]:
    """Return the coordinates of each axis, int32 on integer axes; values that the host does not see wrap.

    Rules R-6.9, R-7.1, R-7.3, R-12.5.
    """
    columns = [positions]
    if plan.n_axes > 1:
        columns = list(positions) if _shape(positions)[:1] == (plan.n_axes,) else []
    if len({column.shape for column in columns}) != 1:
        cure = "For text use ropecore.text_positions(ids, n_axes)."
        raise RopeError("positions", _shape(positions), f"needs {plan.n_axes} axes of one shape first", cure, "R-7.3")
    if not _is_read(columns):
        return tuple(_column(p, real) for p, real in zip(columns, plan.real_axes, strict=True))
    seen = split_axes(plan, columns if plan.n_axes > 1 else positions)
    magnitude(plan, seen[0], "q")  # refuses positions that are too far from the centre
    return tuple(p if real else p.astype(np.int32) for p, real in zip(seen, plan.real_axes, strict=True))


def _column(p: Array, real: bool) -> Array:
    """Return a traced column in the type of its axis, or refuse another kind.  Rule R-12.5."""
    if not jnp.issubdtype(p.dtype, jnp.integer) and not (real and jnp.issubdtype(p.dtype, jnp.floating)):
        kind, cure = ("numbers", "") if real else ("integers", "Round them, or give the plan a real axis.")
        raise RopeError("positions", p.dtype.name, f"positions on this axis must be {kind}", cure, "R-12.5")
    return p if real else p.astype(jnp.int32)


def _count(call: Call, argument: str, start: Any, x: Array, step: int) -> Array:
    """Return start + 0, step, 2 step, ..: (s,), or (b, s) for one start a batch row.  Rules R-7.1, R-7.4.

    Where x is traced they are counted there: an array of the host's would be a constant of the compiled program.
    """
    length = call.length(x.shape)
    if _is_read(start):
        start = np.asarray(call.host_offset(argument, start, x.shape, reach=step * max(length - 1, 0)))
        positions = start[..., None] + step * np.arange(length)
        if not isinstance(x, jax.core.Tracer):
            return positions
        magnitude(call.plan, positions, "q")  # refuses, as it does where positions are given
    elif not jnp.issubdtype(start.dtype, jnp.integer):
        raise RopeError(argument, start.dtype.name, "must be an integer, or one a batch row", rule="R-7.4")
    call.check_offset_shape(argument, start.shape, x.shape)
    return jnp.asarray(start, jnp.int32)[..., None] + step * jnp.arange(length, dtype=jnp.int32)
