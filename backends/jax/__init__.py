"""The JAX adapter: `import ropecore.backends.jax as rope`.

Pure functions for jit, grad, jvp, vmap, scan and sharded arrays: the plan is static, positions and
offsets may be traced. Tables are exact without 64-bit integers, so that x64 changes no bit; float64
x needs x64.  In shard_map, where s is that of a shard, give positions.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ropecore.adapter import Adapter, Embedding, Part
from ropecore.adapter.call import Call
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import host_array
from ropecore.rotation import magnitude, split_axes, turned_tables

from .rotation import Lanes, turn
from .tables import make, rows_of

__all__ = ["RotaryEmbedding", "apply", "cos_sin", "rotate", "shift"]

Array = Any  # a jax.Array, traced or not, or a NumPy array


class _Adapter(Adapter[Array]):
    __slots__ = ()

    def check(self, call: Call, name: str, x: Any) -> Array:
        _check_array(name, x, "Use jnp.asarray(..).", "R-12.4")
        call.check_tensor(name, x.shape, x.dtype.name)
        _check_x64(name, x.dtype.name)
        return x

    def tables(self, call: Call, positions: Any, role: str, dtype: str) -> tuple[Array, Array]:
        return _tables(call, _as_array(call.plan, positions), role, dtype)

    def turn(self, call: Call, parts: list[Part], in_place: bool) -> list[Array]:
        made = [_tables(call, _positions(call, part), part.role, call.table_dtype(part.x.dtype.name)) for part in parts]
        return [_turned(call, part.x, *tables) for part, tables in zip(parts, made, strict=True)]

    def turn_by(
        self, call: Call, x: Array, cos: Any, sin: Any, inverse: bool, transpose: bool, out: None = None
    ) -> Array:
        for name, table in (("cos", cos), ("sin", sin)):
            _check_array(name, table, "Make it with cos_sin.", "R-12.5")
        call.check_tables(cos.shape, sin.shape, x.shape, call.plan.n_pairs)
        return _turned(call, x, cos, sin, inverse, transpose)


_adapter = _Adapter()
cos_sin, rotate, apply, shift = _adapter.cos_sin, _adapter.rotate, _adapter.apply, _adapter.shift


@jax.tree_util.register_static
class RotaryEmbedding(Embedding):
    """A plan with the way it is called: `emb = RotaryEmbedding(plan, "bshd"); q, k = emb(q, k,
    positions=ids)`.

    A pytree without leaves: all of it is static under jit, and it can be a field of any module.
    """

    function = apply


def _tables(call: Call, positions: Any, role: str, dtype: str) -> tuple[Array, Array]:
    """Return cos and sin of positions that are arrays, times A and the magnitude."""
    _check_x64("dtype", dtype)
    plan, exact = call.plan, call.precision == "exact"
    rows = rows_of(plan, role, exact and dtype == "float64")
    tables: tuple[Array, Array] = make(_columns(plan, positions), rows, plan.real_axes, exact, dtype)
    return tables


def _turned(call: Call, x: Array, cos: Array, sin: Array, inverse: bool = False, transpose: bool = False) -> Array:
    """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs)."""
    cos, sin = turned_tables(call.plan, cos, sin, inverse, transpose)
    dtype = x.dtype.name if call.compute == "input" else call.table_dtype(x.dtype.name)
    lanes, out_lanes = _lanes(call.plan)
    reads, writes = (out_lanes, lanes) if inverse or transpose else (lanes, out_lanes)
    return turn(x, cos, sin, reads, writes, dtype, call.tensor_format)


@lru_cache(maxsize=512)
def _lanes(plan: RotaryPlan) -> tuple[Lanes, Lanes]:
    """Return the lanes read and written of each row, in a form that is static under jit."""
    return tuple(map(tuple, plan.lanes.tolist())), tuple(map(tuple, plan.out.tolist()))


def _check_array(argument: str, x: Any, cure: str, rule: str) -> None:
    if not isinstance(x, (jax.Array, np.ndarray)):
        raise RopeError(argument, type(x).__name__, "must be a JAX or NumPy array", cure, rule)


def _check_x64(argument: str, dtype: str) -> None:
    """Refuse float64 where JAX would make float32 of it, silently."""
    if dtype == "float64" and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        cure = "Set jax.config.update('jax_enable_x64', True), or convert to float32."
        raise RopeError(argument, "float64", "JAX has 64-bit types under x64 only", cure, "R-12.4")


def _is_read(values: Any) -> bool:
    """Return whether the host sees values: they are not traced, and on no other device (R-7.1)."""
    if isinstance(values, list):
        return all(map(_is_read, values))
    traced = isinstance(values, jax.core.Tracer)
    return not traced and (not isinstance(values, jax.Array) or {each.platform for each in values.devices()} == {"cpu"})


def _positions(call: Call, part: Part) -> Any:
    """Return the positions of a part's tokens as arrays: those given, or those that are counted."""
    if part.positions is not None:
        at = _as_array(call.plan, part.positions)
        call.check_positions(_shape(at), part.x.shape, part.start)
        return at
    counted = _counted(call, part.argument, part.start, part.x, part.step)
    return counted if call.plan.n_axes == 1 else [counted] * call.plan.n_axes


def _as_array(plan: RotaryPlan, positions: Any) -> Any:
    """Return positions as an array, or as a list of arrays where each axis has its own."""
    if isinstance(positions, jax.Array):
        return positions
    if plan.n_axes > 1 and isinstance(positions, (list, tuple)) and any(hasattr(each, "shape") for each in positions):
        return [each if isinstance(each, jax.Array) else host_array("positions", each) for each in positions]
    return host_array("positions", positions)


def _shape(positions: Any) -> tuple[int, ...]:
    return (len(positions), *positions[0].shape) if isinstance(positions, list) else tuple(positions.shape)


def _columns(plan: RotaryPlan, positions: Any) -> tuple[Array, ...]:
    """Return the coordinates of each axis, int32 on integer axes; values that the host does not see
    wrap.

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


def _counted(call: Call, argument: str, start: Any, x: Array, step: int) -> Array:
    """Return start + 0, step, 2 step, ..: (s,), or (b, s) for one start a batch row.  Rules R-7.1,
    R-7.4, R-9.5.

    Where x is traced they are counted there: an array of the host's would be a constant of the
    compiled program.
    """
    if step:
        call.check_positions_given()
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
