"""The NumPy adapter: `import ropecore.backends.numpy as rope`.

float32 tables are within 1.2e-7 of the truth at every position, float64 ones are the reference's.  bfloat16 needs ml_dtypes.
With Numba (the extra "fast") q and k are rotated in one pass by `backends.fused`, and without it block by block: the same bits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import ropecore
from ropecore.call import FLOATS, OMITTED, Call, rotate_pair
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
from ropecore.rotation import magnitude, split_axes, turned_tables
from ropecore.tables import TableStore
from ropecore.tensors import overlaps_itself

from ..fused.arrays import make_tables, rotate_arrays
from .blocks import rotate_in_blocks

Array = npt.NDArray[Any]

TABLES = TableStore(max_bytes=1 << 28)
SHORTEST_TABLE, LONGEST_TABLE = 1 << 9, 1 << 17  # positions; tables that begin at 0 are shared, and grow by doubling


def cos_sin(
    plan: RotaryPlan, positions: npt.ArrayLike, role: str = "q", precision: str = "exact", dtype: str = "float32"
) -> tuple[Array, Array]:
    """Return cos and sin of the angles, times A and the magnitude, of shape positions + (n_pairs,).

    positions: integers (..), or (n_axes, ..).  precision: "exact", or "float32" for cos(float32(p) * float32(F)).
    Rules R-2.1, R-2.4, R-10.2, R-10.3.
    """
    wanted = float_dtype(dtype)
    if choice("precision", precision, PRECISIONS) == "exact" and dtype == "float64":
        return ropecore.cos_sin(plan, positions, role)
    coordinates = split_axes(plan, positions)
    signed_log_magnitude(role)  # refuses what is no role
    if precision == "exact" and (made := make_tables(plan, coordinates)):
        return made[0].astype(wanted, copy=False), made[1].astype(wanted, copy=False)
    if precision == "exact":
        cos, sin = cos_sin_of_phase(_phase(plan, coordinates), lambda r: r.astype(np.float32), np.where)
    else:
        angle = sum(
            p[..., None].astype(np.float32) * plan.frequencies[:, a].astype(np.float32)
            for a, p in enumerate(coordinates)
        )
        cos, sin = np.cos(angle), np.sin(angle)
    factor = np.float32(plan.attention_factor * magnitude(plan, coordinates[0], role))
    return (cos * factor).astype(wanted), (sin * factor).astype(wanted)


def rotate(
    plan: RotaryPlan,
    x: Array,
    cos: Array,
    sin: Array,
    tensor_format: str = "bhsd",
    inverse: bool = False,
    transpose: bool = False,
    compute: str = "float32",
    out: Array | None = None,
) -> Array:
    """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs); the dtype of x is kept.

    compute: "float32" rounds once, on store; "input" rounds tables and every operation to the dtype of x.
    out: where to write the result; x itself rotates in place.  Rules R-2.1, R-9.2, R-9.3, R-10.4.
    """
    call, x = Call(plan, tensor_format, compute=compute), np.asarray(x)
    call.check_tensor("x", x.shape, x.dtype.name)
    return _turned(call, [(x, out, np.asarray(cos), np.asarray(sin))], inverse, transpose)[0]


def apply(
    plan: RotaryPlan,
    q: Array,
    k: Any = OMITTED,
    *,
    positions: npt.ArrayLike | None = None,
    k_positions: npt.ArrayLike | None = None,
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
    return _apply(plan, q, k, positions, k_positions, offset, tensor_format, precision, compute, role, in_place=False)


def apply_(
    plan: RotaryPlan,
    q: Array,
    k: Any = OMITTED,
    *,
    positions: npt.ArrayLike | None = None,
    k_positions: npt.ArrayLike | None = None,
    offset: Any = 0,
    tensor_format: str = "bhsd",
    precision: str = "exact",
    compute: str = "float32",
    role: str = "q",
) -> Any:
    """Rotate q, or q and k, in place and return them; the arguments are those of `apply`.

    Refused: read-only arrays, arrays that overlap themselves or each other.  Rule R-2.8.
    """
    given = [(name, x) for name, x in (("q", q), ("k", k)) if x is not None and x is not OMITTED]
    for name, x in given:
        if not isinstance(x, np.ndarray) or not x.flags.writeable:
            raise RopeError(
                name, type(x).__name__, "must be a writeable array to be rotated in place", "Use apply.", "R-2.8"
            )
        if overlaps_itself(x.shape, [stride // x.itemsize for stride in x.strides]):
            raise RopeError(name, x.strides, "overlaps itself (a broadcast view)", "Copy it, or use apply.", "R-2.8")
    if len(given) == 2 and np.shares_memory(q, k):
        raise RopeError("k", "a view of q's memory", "overlaps q", "Copy one of them, or use apply.", "R-2.8")
    return _apply(plan, q, k, positions, k_positions, offset, tensor_format, precision, compute, role, in_place=True)


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
    moved, k = plan.on_written_lanes(), np.asarray(k)
    call = Call(moved, tensor_format, precision, compute)
    call.check_tensor("k", k.shape, k.dtype.name)
    cos, sin = cos_sin(moved, call.shifted(delta, k.shape), role, precision, call.table_dtype(k.dtype.name))
    return rotate(moved, k, cos, sin, tensor_format, compute=compute)


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


def float_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of this name; bfloat16 is ml_dtypes' and needs the extra "bf16"."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(choice("dtype", name, FLOATS))


def _apply(
    plan: RotaryPlan, q: Array, k: Any, positions: Any, k_positions: Any, offset: Any,
    tensor_format: str, precision: str, compute: str, role: str, in_place: bool,
) -> Any:  # fmt: skip
    call = Call(plan, tensor_format, precision, compute)

    def part(name: str, x: Array, at: Any, role: str) -> tuple[Any, ...]:
        x = np.asarray(x)
        call.check_tensor(name, x.shape, x.dtype.name)
        return x, x if in_place else None, *_tables(call, x, at, offset, role)

    found = rotate_pair(part, q, k, positions, k_positions, role)
    if k is OMITTED:
        return _turned(call, [found])[0]
    turned = iter(_turned(call, [each for each in found if each is not None]))
    return tuple(None if each is None else next(turned) for each in found)


def _turned(
    call: Call, parts: Sequence[tuple[Any, ...]], inverse: bool = False, transpose: bool = False
) -> list[Array]:
    """Return the y of each part (x, y, cos, sin), or a new array where it is None: x rotated, all in one pass."""
    found = []
    for x, y, *tables in parts:
        dtype = x.dtype if call.compute == "input" else float_dtype(call.table_dtype(x.dtype.name))
        lined_up = [call.line_up(table, x.shape, lambda a: a.swapaxes(0, 1), np.reshape) for table in tables]
        cos, sin = (table.astype(dtype, copy=False) for table in lined_up)
        found.append((x, np.empty_like(x) if y is None else y, cos, sin))
    turned = [(x, y, *turned_tables(call.plan, cos, sin, inverse, transpose)) for x, y, cos, sin in found]
    if len({x.dtype for x, *_ in found}) != 1 or not rotate_arrays(call.plan, turned, back=inverse or transpose):
        for x, y, cos, sin in found:
            rotate_in_blocks(call.plan, x, y, cos, sin, inverse, transpose)
    return [y for _, y, *_ in found]


def _tables(call: Call, x: Array, positions: Any, offset: Any, role: str) -> tuple[Array, Array]:
    """Return cos and sin for x; those of positions that follow one another are shared between calls."""
    dtype = call.table_dtype(x.dtype.name)
    if positions is not None:
        call.check_positions(np.shape(positions), x.shape, offset)
        return cos_sin(call.plan, positions, role, call.precision, dtype)
    length = call.length(x.shape)
    start = call.host_offset("offset", offset, x.shape, reach=length - 1)
    if call.plan.log_magnitude is None and isinstance(start, int) and 0 <= start <= LONGEST_TABLE - length:
        size = max(SHORTEST_TABLE, 1 << (start + length - 1).bit_length()) if length else 0
        key: tuple[Any, ...] = (call.plan, dtype, call.precision, size)
        cos, sin = _kept(key, lambda: cos_sin(call.plan, np.arange(size), role, call.precision, dtype))
        return cos[start : start + length], sin[start : start + length]
    key = (call.plan, dtype, call.precision, role, start, length)
    return _kept(key, lambda: cos_sin(call.plan, call.following(offset, x.shape), role, call.precision, dtype))


def _kept(key: tuple[Any, ...], build: Callable[[], tuple[Array, Array]]) -> tuple[Array, Array]:
    cos, sin = TABLES.get(key, build, lambda tables: tables[0].nbytes + tables[1].nbytes)
    return cos, sin


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
