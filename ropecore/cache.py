"""Cache layouts: how cos and sin are stored by the programs that exist (rope.md chapter 8).

Arrays of every library are taken and given, on their device; in NumPy the lines below are the
definition.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from ropecore.arguments import Instance, OneOf, checked
from ropecore.arrays import array_api, host_array, own_array
from ropecore.config import Rows
from ropecore.errors import RopeError
from ropecore.lanes import IntArray
from ropecore.plan import Plan, RotaryPlan
from ropecore.rotation import check_table

Array = Any  # of any library, whose namespace is xp


class _Layout(NamedTuple):
    """A layout by its two directions; n is the number of pairs."""

    pack: Callable[[Any, Array, Array], Any]
    unpack: Callable[[Any, Any, int], tuple[Array, Array]]
    tail: Callable[[int], tuple[int, ...]]  # the shape behind the positions, of each array
    arrays: int = 1


def _repeat(xp: Any, a: Array) -> Array:
    return _flat(xp, xp.stack([a, a], axis=-1))


def _twice(xp: Any, a: Array) -> Array:
    return xp.concat([a, a], axis=-1)


def _flat(xp: Any, a: Array) -> Array:
    """Return an array with its last two dimensions as one."""
    return xp.reshape(a, (*a.shape[:-2], a.shape[-2] * a.shape[-1]))


def _matrix(xp: Any, cos: Array, sin: Array) -> Array:
    return xp.stack([xp.stack([cos, -sin], axis=-1), xp.stack([sin, cos], axis=-1)], axis=-2)


def _complex(xp: Any, cos: Array, sin: Array) -> Array:
    if "16" in str(cos.dtype):  # no library has complex numbers of 16 bits that all others read
        cos, sin = xp.astype(cos, xp.float32), xp.astype(sin, xp.float32)
    return cos + 1j * sin


LAYOUTS: dict[str, _Layout] = {
    "half": _Layout(lambda xp, c, s: (c, s), lambda xp, t, n: t, lambda n: (n,), 2),
    "concat": _Layout(
        lambda xp, c, s: xp.concat([c, s], axis=-1), lambda xp, t, n: (t[..., :n], t[..., n:]), lambda n: (2 * n,)
    ),
    "sin_first": _Layout(
        lambda xp, c, s: xp.concat([s, c], axis=-1), lambda xp, t, n: (t[..., n:], t[..., :n]), lambda n: (2 * n,)
    ),
    "full_concat": _Layout(
        lambda xp, c, s: (_twice(xp, c), _twice(xp, s)), lambda xp, t, n: (t[0][..., :n], t[1][..., :n]), lambda n: (2 * n,), 2
    ),
    "full_repeat": _Layout(
        lambda xp, c, s: (_repeat(xp, c), _repeat(xp, s)), lambda xp, t, n: (t[0][..., ::2], t[1][..., ::2]), lambda n: (2 * n,), 2
    ),
    "concat_full": _Layout(
        lambda xp, c, s: xp.concat([c, c, s, s], axis=-1), lambda xp, t, n: (t[..., :n], t[..., 2 * n : 3 * n]), lambda n: (4 * n,)
    ),
    "sin_first_repeat": _Layout(
        lambda xp, c, s: xp.concat([_repeat(xp, s), _repeat(xp, c)], axis=-1),
        lambda xp, t, n: (t[..., 2 * n :: 2], t[..., : 2 * n : 2]),
        lambda n: (4 * n,),
    ),
    "stacked": _Layout(
        lambda xp, c, s: xp.stack([c, s], axis=-1), lambda xp, t, n: (t[..., 0], t[..., 1]), lambda n: (n, 2)
    ),
    "sinusoid": _Layout(
        lambda xp, c, s: _flat(xp, xp.stack([s, c], axis=-1)),
        lambda xp, t, n: (t[..., 1::2], t[..., ::2]),
        lambda n: (2 * n,),
    ),
    "complex": _Layout(_complex, lambda xp, t, n: (xp.real(t), xp.imag(t)), lambda n: (n,)),
    "matrix": _Layout(_matrix, lambda xp, t, n: (t[..., 0, 0], t[..., 1, 0]), lambda n: (n, 2, 2)),
}  # fmt: skip
NAMES = (*LAYOUTS, "signed")
Layout = Annotated[str, OneOf(NAMES)]
AllRows = Annotated[Rows, Instance(Rows, "the rows of a configuration", lambda value: "Give config.rows().")]


@checked
def pack_cache(plan: Plan, cos: Any, sin: Any, layout: Layout, *, rows: AllRows | None = None) -> Any:
    """Return cos and sin (.., n_pairs) in a layout of rope.md chapter 8: one array, or two.

    Layouts: half concat sin_first full_concat full_repeat concat_full sin_first_repeat stacked
    sinusoid complex matrix signed. rows: `config.rows()` of the plan, for a layout with all pairs j
    in their order, those that stand still too (cos 1, sin 0). Arrays are those of the caller's
    library and device.  Rule R-8.1.
    """
    xp, cos = own_array("cos", cos)
    other, sin = own_array("sin", sin)
    for name, table in (("cos", cos), ("sin", sin)):
        check_table(name, table, plan.n_pairs)
    if tuple(cos.shape) != tuple(sin.shape) or xp is not other or cos.dtype != sin.dtype:
        raise RopeError("sin", sin, "must have the shape, dtype and library of cos", rule="R-8.1")
    if layout == "signed":
        return _signed(xp, plan, cos, sin)
    if rows is not None:
        at = _rows_of(plan, rows)
        cos, sin = _taken(xp, _with_still(xp, cos, 1), at), _taken(xp, _with_still(xp, sin, 0), at)
    return LAYOUTS[layout].pack(xp, cos, sin)


@checked
def unpack_cache(plan: Plan, cache: Any, layout: Layout, *, rows: AllRows | None = None) -> tuple[Array, Array]:
    """Return the cos and sin (.., n_pairs) that a layout holds: `pack_cache` undone.  Rule R-8.1.

    rows: as there, for a cache with all pairs; those that stand still are in no row of the plan,
    and left out. A number that a layout holds twice must be the same in both places, where values
    can be read.
    """
    n = plan.n_pairs if rows is None else len(rows.lanes)
    pair = layout == "signed" or LAYOUTS[layout].arrays == 2
    tail = (plan.head_dim,) if layout == "signed" else LAYOUTS[layout].tail(n)
    if pair and not (isinstance(cache, (tuple, list)) and len(cache) == 2):
        raise RopeError("cache", type(cache).__name__, f"layout {layout} is two arrays, cos and sin", rule="R-8.1")
    spaces, arrays = zip(*(own_array("cache", array) for array in (cache if pair else [cache])), strict=True)
    for array in arrays:
        _check_cache(array, layout, tail)
    if pair and (tuple(arrays[0].shape) != tuple(arrays[1].shape) or spaces[0] is not spaces[1]):
        raise RopeError("cache", [tuple(array.shape) for array in arrays], "cos and sin must be alike", rule="R-8.1")
    if layout == "signed":
        cos, sin = (_taken(spaces[0], array, plan.lanes[:, 1]) for array in arrays)
        _check_copies(spaces[0], arrays, _signed(spaces[0], plan, cos, sin), layout)
        return cos, sin
    cos, sin = LAYOUTS[layout].unpack(spaces[0], arrays if pair else arrays[0], n)
    again = LAYOUTS[layout].pack(spaces[0], cos, sin)
    _check_copies(spaces[0], arrays, again if pair else (again,), layout)
    if rows is None:
        return cos, sin
    at = _rows_of(plan, rows)
    order = np.argsort(at, kind="stable")[: plan.n_pairs]
    return _taken(spaces[0], cos, order), _taken(spaces[0], sin, order)


def _check_cache(array: Array, layout: str, tail: tuple[int, ...]) -> None:
    """Refuse a cache of another shape or kind than its layout has."""
    shape, dtype = tuple(array.shape), str(array.dtype).rpartition(".")[2]
    if shape[-len(tail) :] != tail:
        cure = "For a table with all pairs, those that stand still too, give rows=config.rows()."
        raise RopeError("cache", shape, f"layout {layout} of this plan ends in {tail}", cure, "R-8.1")
    if ("complex" in dtype) != (layout == "complex") or not ("complex" in dtype or "float" in dtype):
        wanted = "complex numbers" if layout == "complex" else "real floats"
        raise RopeError("cache", dtype, f"layout {layout} holds {wanted}", rule="R-8.1")


def _check_copies(xp: Any, arrays: Sequence[Array], again: Sequence[Array], layout: str) -> None:
    """Refuse arrays that differ from what their own cos and sin come to: a number that is held
    twice differs from itself.
    """
    for array, packed in zip(arrays, again, strict=True):
        same = (array == packed) | (xp.isnan(array) & xp.isnan(packed))
        try:
            differ = not bool(xp.all(same))
        except Exception:  # traced: values cannot be read
            return
        if differ:
            at = np.argwhere(~np.asarray(host_array("cache", same)))[0].tolist()
            why = f"layout {layout} holds this number twice, and the copies differ"
            raise RopeError("cache", f"element {at}", why, "It is another layout, or of another plan.", "R-8.1")


def _rows_of(plan: RotaryPlan, rows: Rows) -> IntArray:
    """Return for each pair j its row in the plan, or n_pairs where it stands still; rows that are
    not the plan's are refused.
    """
    of_lane = np.full(plan.head_dim, plan.n_pairs)
    of_lane[plan.lanes[:, 0]] = np.arange(plan.n_pairs)
    fits = rows.lanes.size == 0 or int(rows.lanes.max()) < plan.head_dim
    at: IntArray = of_lane[rows.lanes[:, 0]] if fits else np.zeros(0, np.int64)
    turns = at < plan.n_pairs
    if (
        int(turns.sum()) != plan.n_pairs
        or not np.array_equal(rows.lanes[turns], plan.lanes[at[turns]])
        or not np.array_equal(rows.frequencies[turns], plan.frequencies[at[turns]])
        or rows.frequencies[~turns].any()
    ):
        raise RopeError(
            "rows", f"{len(rows.lanes)} rows", "are not those of the plan", "Give config.rows(..).", "R-8.1"
        )
    return at


def _with_still(xp: Any, table: Array, value: int) -> Array:
    """Return a table with one more column, of a pair that stands still."""
    column = xp.zeros_like(table[..., :1]) if table.shape[-1] else xp.zeros((*table.shape[:-1], 1), dtype=table.dtype)
    return xp.concat([table, column + value], axis=-1)


def _taken(xp: Any, table: Array, index: IntArray) -> Array:
    """Return columns of a table, by its own library and on its device."""
    if xp is np:
        return table[..., index]
    return xp.take(table, xp.asarray(index.copy(), device=array_api().device(table)), axis=-1)


def _signed(xp: Any, plan: RotaryPlan, cos: Array, sin: Array) -> tuple[Array, Array]:
    """Return cos and signed sin by lane, for y = x * C + swap(x) * S: sin is negated on the first
    lane of a pair (R-8.3).
    """
    if not np.array_equal(plan.lanes, plan.out):
        raise RopeError("layout", "signed", "needs a plan that writes the lanes it reads", rule="R-8.3")
    n, column = plan.n_pairs, np.full(plan.head_dim, 2 * plan.n_pairs)
    column[plan.lanes] = [[j, n + j] for j in range(n)] if n else column[plan.lanes]
    both = _with_still(xp, xp.concat([cos, cos], axis=-1), 1), _with_still(xp, xp.concat([-sin, sin], axis=-1), 0)
    return _taken(xp, both[0], column), _taken(xp, both[1], column)
