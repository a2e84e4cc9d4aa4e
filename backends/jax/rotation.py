"""The rotation, compiled, as XLA fuses it best: one loop over a view of the lanes, or gathers where
lanes make no view.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ropecore.tensor_format import TensorFormat

Array = Any
Lanes = tuple[tuple[int, int], ...]  # the two lanes of each row
Function = Callable[..., Array]

SMALL = 1 << 16  # elements of a tensor that is rotated faster than a loop for its tables begins


@partial(jax.jit, static_argnames=("reads", "writes", "dtype", "tensor_format"))
def turn(x: Array, cos: Array, sin: Array, reads: Lanes, writes: Lanes, dtype: str, tensor_format: str) -> Array:
    """Return x with rows read from and written to these lanes, by tables (s, n_pairs), (b, s,
    n_pairs) or (t, n_pairs).

    Computed in dtype, rounded once to that of x.  It is linear in x, so that autodiff makes the
    transpose of it and keeps nothing but the tables.  Rules R-2.1, R-2.2, R-10.4, R-11.1.
    """
    if not reads:
        return x
    letters = TensorFormat.parse(tensor_format)
    cos, sin = (letters.line_up(table, lambda t: t.swapaxes(0, 1), jnp.reshape).astype(dtype) for table in (cos, sin))
    large = x.size > max(2 * cos.size, SMALL)  # tables are read more than once, and it matters
    alone = _alone if large else _among_others
    read, write = (Grid.of(np.array(lanes), x.shape[-1]) for lanes in (reads, writes))
    if read is not None and write is not None and (read == write or read.used == read.reach):
        return _by_view(x, cos, sin, read, write, alone)
    return alone(partial(_by_gather, reads=np.array(reads), writes=np.array(writes)), x, cos, sin)


def _alone(function: Function, *arrays: Array) -> Array:
    """Return function(*arrays), on a CPU as loops that nothing before or after is fused into.

    XLA's CPU compiler would make a table anew for each head (1.2 times as slow in the exact class,
    2.3 times in the float32 class), and compute lanes of a result by i // reach and i % reach, one
    by one and not a vector at a time.  It drops optimization_barrier before it fuses, but not
    before it knows which branch is taken.  Both branches are the same.
    """
    branch = lambda *arrays: lax.cond(lax.optimization_barrier(np.True_), function, function, *arrays)
    return lax.platform_dependent(*arrays, cpu=branch, default=function)


def _among_others(function: Function, *arrays: Array) -> Array:
    return function(*arrays)


class Grid(NamedTuple):
    """Rows (g, i) with the lanes offset + 2 reach g + i and reach further, for g < groups and i <
    used <= reach.

    half_split is one group; interleaved has reach 1; blocks of axes are groups; rows that stand
    still leave used < reach.
    """

    offset: int
    groups: int
    reach: int
    used: int

    @staticmethod
    def of(lanes: Any, head_dim: int) -> "Grid | None":
        """Return the grid of these lanes, if they make one inside head_dim."""
        (offset, second), n = lanes[0], len(lanes)
        runs = np.flatnonzero(lanes[:, 0] - np.arange(n) != offset)
        reach, used = second - offset, runs[0] if len(runs) else n
        group, i = np.divmod(np.arange(n), used)
        fits = n % used == 0 and used <= reach and offset + 2 * reach * (n // used) <= head_dim
        if not fits or not np.array_equal(lanes, (offset + 2 * reach * group + i)[:, None] + [0, reach]):
            return None
        return Grid(int(offset), n // used, int(reach), int(used))

    @property
    def axis(self) -> int:
        """Return which dimension of a view has the two lanes of a pair."""
        return -2 if self.reach > 1 else -1

    def shape(self, lanes: int, reach: int) -> tuple[int, ...]:
        """Return (groups, lanes, reach) without groups or reach where there is one."""
        groups = (self.groups,) if self.groups > 1 else ()
        return (*groups, lanes, reach) if self.reach > 1 else (*groups, lanes)


def _by_view(x: Array, cos: Array, sin: Array, read: Grid, write: Grid, alone: Function) -> Array:
    """Return the rotation on a view (.., groups, 2, reach) of the lanes, less dimensions of size 1,
    which XLA would move.

    The views are made outside what is computed alone, both here and in the transpose that autodiff
    makes of it.
    """
    lead, end = x.shape[:-1], read.offset + 2 * read.groups * read.reach
    view = x[..., read.offset : end].reshape(*lead, *read.shape(2, read.reach))
    cos, sin = (table.reshape(*table.shape[:-1], *read.shape(1, read.used)) for table in (cos, sin))

    def rotated(view: Array, cos: Array, sin: Array) -> Array:
        used = view[..., : read.used] if read.reach > 1 else view
        first, second = (lax.slice_in_dim(used, i, i + 1, axis=read.axis) for i in range(2))
        first, second = first.astype(cos.dtype), second.astype(cos.dtype)
        turned = first * cos - second * sin, first * sin + second * cos
        rows = [half.reshape(*lead, *write.shape(1, write.used)) for half in turned]
        return _joined(rows[0], rows[1], write.axis).astype(x.dtype)

    y = alone(rotated, view, cos, sin)
    if read.used < read.reach:
        y = _within(view, y, 0)
    y = y.reshape(*lead, end - read.offset)
    return y if y.shape == x.shape else _within(x, y, read.offset)


def _within(x: Array, y: Array, offset: int) -> Array:
    """Return x with y in place of its lanes from offset on.

    Joined, and not updated: XLA's CPU compiler does an update in place although the loop still
    reads what it overwrites (openxla/xla issue 49176; vmap over one token led there).  Joined as
    blocks of equal size: XLA's CPU compiler makes one loop of it, with vectors of a block.
    """
    end = offset + y.shape[-1]
    block = math.gcd(offset, end, x.shape[-1])
    parts = x[..., :offset], y, x[..., end:]
    blocks = [part.reshape(*part.shape[:-1], part.shape[-1] // block, block) for part in parts]
    return lax.concatenate(blocks, x.ndim - 1).reshape(x.shape)


def _joined(first: Array, second: Array, axis: int) -> Array:
    """Return both, one after the other along an axis where each has size 1.

    As a sum of what is padded by -0.0, which changes no number: XLA's CPU compiler makes one loop
    of it, and of jnp.concatenate several.
    """
    none = [(0, 0, 0)] * first.ndim
    before, after = none.copy(), none.copy()
    before[axis], after[axis] = (1, 0, 0), (0, 1, 0)
    zero = jnp.array(-0.0, first.dtype)
    return lax.pad(first, zero, after) + lax.pad(second, zero, before)


def _by_gather(x: Array, cos: Array, sin: Array, reads: Any, writes: Any) -> Array:
    """x[own] cos + x[other] (-sin, sin) for each lane that is written; the rest keep their bits."""
    lanes = np.arange(x.shape[-1])
    own, other, row, sign = lanes.copy(), lanes.copy(), np.zeros_like(lanes), np.ones(len(lanes), cos.dtype)
    own[writes], other[writes], row[writes], sign[writes] = reads, reads[:, ::-1], lanes[: len(reads), None], (-1, 1)
    wide = x.astype(cos.dtype)  # before the gather: autodiff then sums what it scatters in this type, and rounds once
    given = (wide, own), (wide, other), (cos, row), (sin, row)
    first, second, c, s = (jnp.take(array, index, axis=-1, mode="clip") for array, index in given)
    y = first * c + second * (s * sign)
    return jnp.where(np.isin(lanes, writes), y.astype(x.dtype), x)
