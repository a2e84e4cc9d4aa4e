"""The NumPy adapter: `import ropecore.backends.numpy as rope`.

float32 tables are within 1.2e-7 of the truth at every position, float64 ones are the reference's.
bfloat16 needs ml_dtypes. With Numba (the extra "fast") q and k are rotated in one pass by
`backends._kernels`, and without it block by block: the same bits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import ropecore
from ropecore.adapter import Embedding, MutableAdapter, Part
from ropecore.adapter.call import Call
from ropecore.adapter.store import TableStore
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import host_array
from ropecore.precision import cos_sin_of_phase, limbs, numpy_dtype, phase_32, real_phase_32, real_turns
from ropecore.rotation import magnitude, split_axes, turned_tables
from ropecore.tensor_format import check_apart

from .fused import make_tables, rotate_arrays
from .tiled import rotate_in_blocks

__all__ = ["RotaryEmbedding", "apply", "apply_", "cos_sin", "rotate", "shift"]

Array = npt.NDArray[Any]
Tables = tuple[Array, Array]

TABLES = TableStore(max_bytes=1 << 28)
PIECE = (
    1 << 15
)  # numbers of a table that are made together without the kernels: what is computed on the way stays in a cache
SHORTEST_TABLE, LONGEST_TABLE = 1 << 9, 1 << 17  # positions; tables that begin at 0 are shared, and grow by doubling


class _Adapter(MutableAdapter[Array]):
    __slots__ = ()

    def check(self, call: Call, name: str, x: Any) -> Array:
        array = np.asarray(x)
        call.check_tensor(name, array.shape, array.dtype.name)
        return array

    def check_writeable(self, name: str, x: Any) -> None:
        if not isinstance(x, np.ndarray) or not x.flags.writeable:
            raise RopeError(name, type(x).__name__, "must be a writeable array", "Use apply.", "R-2.8")
        check_apart(name, x.shape, [stride // x.itemsize for stride in x.strides])

    def share_memory(self, a: Array, b: Array) -> bool:
        return np.shares_memory(a, b)

    def same_memory(self, a: Array, b: Array) -> bool:
        return a.ctypes.data == b.ctypes.data and a.strides == b.strides

    def tables(self, call: Call, positions: npt.ArrayLike, role: str, dtype: str) -> Tables:
        return _tables(call, positions, role, dtype)

    def turn(self, call: Call, parts: list[Part], in_place: bool) -> list[Array]:
        return _turned(call, [(p.x, p.x if in_place else None, *_tables_of(call, p)) for p in parts])

    def turn_by(
        self, call: Call, x: Array, cos: Any, sin: Any, inverse: bool, transpose: bool, out: Array | None = None
    ) -> Array:
        cos, sin = np.asarray(cos), np.asarray(sin)
        call.check_tables(cos.shape, sin.shape, x.shape, call.plan.n_pairs)
        return _turned(call, [(x, out, cos, sin)], inverse, transpose)[0]


_adapter = _Adapter()
cos_sin, rotate, apply, apply_, shift = (
    _adapter.cos_sin, _adapter.rotate, _adapter.apply, _adapter.apply_, _adapter.shift,
)  # fmt: skip


class RotaryEmbedding(Embedding):
    __doc__ = Embedding.__doc__
    function = apply


def _tables(call: Call, positions: npt.ArrayLike, role: str, dtype: str) -> Tables:
    """Return cos and sin, times A and the magnitude, of shape positions + (n_pairs,)."""
    plan, exact, wanted = call.plan, call.precision == "exact", numpy_dtype(dtype)
    if exact and dtype == "float64":
        return ropecore.cos_sin(plan, positions, role)
    coordinates = split_axes(plan, positions)
    if exact and (made := make_tables(plan, coordinates)):
        return made[0].astype(wanted, copy=False), made[1].astype(wanted, copy=False)
    if exact:
        cos, sin = _exact(plan, coordinates)
    else:
        angle = sum(
            p[..., None].astype(np.float32) * plan.frequencies[:, a].astype(np.float32)
            for a, p in enumerate(coordinates)
        )
        cos, sin = np.cos(angle), np.sin(angle)
    factor = np.float32(plan.attention_factor * magnitude(plan, coordinates[0], role))
    cos *= factor
    sin *= factor
    return cos.astype(wanted, copy=False), sin.astype(wanted, copy=False)


def _exact(plan: RotaryPlan, coordinates: list[Array]) -> Tables:
    """Return float32 cos and sin of the exact class, without A, a piece at a time.  Rule R-10.2."""
    shape, size, rows = coordinates[0].shape, coordinates[0].size, max(1, PIECE // max(plan.n_pairs, 1))
    cos, sin = (np.empty((size, plan.n_pairs), np.float32) for _ in range(2))
    flat = [p.reshape(-1) for p in coordinates]
    for start in range(0, size, rows):
        at = slice(start, start + rows)
        phase = _phase(plan, [p[at] for p in flat])
        cos[at], sin[at] = cos_sin_of_phase(phase, lambda r: r.astype(np.float32), np.where)
    return cos.reshape(*shape, plan.n_pairs), sin.reshape(*shape, plan.n_pairs)


def _tables_of(call: Call, part: Part) -> Tables:
    """Return cos and sin for a part of a call; those of positions that follow one another are
    shared between calls.
    """
    plan, shape = call.plan, part.x.shape
    dtype = call.table_dtype(part.x.dtype.name)

    def made(positions: npt.ArrayLike) -> Tables:
        return _tables(call, positions, part.role, dtype)

    if part.positions is not None:
        call.check_positions(host_array("positions", part.positions).shape, shape, part.start)
        return made(part.positions)
    if not part.step:
        return made(call.counted(part.argument, part.start, shape, step=0))
    call.check_positions_given()
    length = call.length(shape)
    start = call.host_offset(part.argument, part.start, shape, reach=max(length - 1, 0))
    if plan.log_magnitude is None and isinstance(start, int) and 0 <= start <= LONGEST_TABLE - length:
        size = max(SHORTEST_TABLE, 1 << (start + length - 1).bit_length()) if length else 0
        key: tuple[Any, ...] = (plan, dtype, call.precision, size)
        cos, sin = TABLES.get(key, lambda: made(np.arange(size)), _n_bytes)
        return cos[start : start + length], sin[start : start + length]
    key = (plan, dtype, call.precision, part.role, start, length)
    tables: Tables = TABLES.get(key, lambda: made(call.counted(part.argument, part.start, shape, step=1)), _n_bytes)
    return tables


def _n_bytes(tables: Tables) -> int:
    return tables[0].nbytes + tables[1].nbytes


def _turned(
    call: Call, parts: Sequence[tuple[Any, ...]], inverse: bool = False, transpose: bool = False
) -> list[Array]:
    """Return the y of each part (x, y, cos, sin), or a new array where it is None: x rotated, all
    in one pass.
    """
    found = []
    for x, y, *tables in parts:
        dtype = x.dtype if call.compute == "input" else numpy_dtype(call.table_dtype(x.dtype.name))
        lined_up = [call.letters.line_up(table, lambda a: a.swapaxes(0, 1), np.reshape) for table in tables]
        cos, sin = (table.astype(dtype, copy=False) for table in lined_up)
        found.append((x, np.empty_like(x) if y is None else y, cos, sin))
    turned = [(x, y, *turned_tables(call.plan, cos, sin, inverse, transpose)) for x, y, cos, sin in found]
    if len({x.dtype for x, *_ in found}) != 1 or not rotate_arrays(call.plan, turned, back=inverse or transpose):
        for x, y, cos, sin in found:
            rotate_in_blocks(call.plan, x, y, cos, sin, inverse, transpose)
    return [y for _, y, *_ in found]


def _phase(plan: RotaryPlan, coordinates: list[Array]) -> Array:
    """Return the angle in 2^-32 turns, int64 of shape positions + (n_pairs,)."""
    (high, low), real = limbs(plan, 64), real_turns(plan).astype(np.float32)
    phase = np.zeros((*coordinates[0].shape, plan.n_pairs), np.int64)
    for a, p in enumerate(coordinates):
        if plan.real_axes[a]:
            phase += real_phase_32(p[..., None].astype(np.float32) * real[:, a], np.rint, lambda t: t.astype(np.int64))
        else:
            phase += phase_32(p[..., None], high[:, a], low[:, a])
    return phase & 0xFFFFFFFF
