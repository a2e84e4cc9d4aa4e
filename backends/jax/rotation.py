"""The rotation, compiled, as XLA fuses it best: one loop over a view of the lanes, or gathers where lanes make no view."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ropecore.tensors import TensorFormat

Array = Any
Lanes = tuple[tuple[int, int], ...]  # the two lanes of each row

SMALL = 1 << 16  # elements of a tensor that is rotated faster than a loop for its tables begins


@partial(jax.jit, static_argnames=("reads", "writes", "dtype", "tensor_format"))
def turn(x: Array, cos: Array, sin: Array, reads: Lanes, writes: Lanes, dtype: str, tensor_format: str) -> Array:
    """Return x with rows read from and written to these lanes, by tables (s, n_pairs), (b, s, n_pairs) or (t, n_pairs).

    Computed in dtype, rounded once to that of x.  It is linear in x, so that autodiff makes the transpose of it and keeps
    nothing but the tables.  Rules R-2.1, R-2.2, R-10.4, R-11.1.
    """
    if not reads:
        return x
    letters = TensorFormat.parse(tensor_format)
    cos, sin = (letters.line_up(table, lambda t: t.swapaxes(0, 1), jnp.reshape) for table in (cos, sin))
    if x.size > max(2 * cos.size, SMALL):  # tables are read more than once, and it matters
        cos, sin = lax.platform_dependent(cos, sin, cpu=_in_memory, default=lambda *both: both)
    cos, sin = cos.astype(dtype), sin.astype(dtype)
    read, write = (Grid.of(np.array(lanes), x.shape[-1]) for lanes in (reads, writes))
    if read is not None and write is not None and (read == write or read.used == read.reach):
        return _by_view(x, cos, sin, read, write)
    return _by_gather(x, cos, sin, np.array(reads), np.array(writes))


def _in_memory(cos: Array, sin: Array) -> tuple[Array, Array]:
    """Return the tables, written to memory by a loop of two turns.

    XLA's CPU compiler fuses whatever makes a table into the loop that reads it, and makes it anew for each head (1.2 times as
    slow in the exact class, 2.3 times in the float32 class); it drops optimization_barrier before it fuses.
    """
    cos, sin = lax.map(lambda second: jnp.where(second, sin, cos), np.array([False, True]))
    return cos, sin


class Grid(NamedTuple):
    """Rows (g, i) with the lanes offset + 2 reach g + i and reach further, for g < groups and i < used <= reach.

    half_split is one group; interleaved has reach 1; blocks of axes are groups; rows that stand still leave used < reach.
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


def _by_view(x: Array, cos: Array, sin: Array, read: Grid, write: Grid) -> Array:
    """Return the rotation on a view (.., groups, 2, reach) of the lanes.

    Halves are split, stacked and rounded in this order, since then the transpose that autodiff makes is as fast.
    """
    lead, end, n = x.shape[:-1], read.offset + 2 * read.groups * read.reach, read.groups * read.used
    view = x[..., read.offset : end].reshape(*lead, read.groups, 2, read.reach)
    halves = jnp.split(view[..., : read.used].astype(cos.dtype), 2, axis=-2)
    first, second = (half.reshape(*lead, n) for half in halves)
    turned = first * cos - second * sin, first * sin + second * cos
    rows = [half.reshape(*lead, write.groups, 1, write.used) for half in turned]
    y = _stacked(rows[0], rows[1], x.dtype)
    if read.used < read.reach:
        y = lax.dynamic_update_slice_in_dim(view, y, 0, axis=-1)
    y = y.reshape(*lead, end - read.offset)
    return y if y.shape == x.shape else lax.dynamic_update_slice_in_dim(x, y, read.offset, axis=-1)


def _stacked(first: Array, second: Array, dtype: Any) -> Array:
    """Return both in this dtype, one after the other along the last axis but one, where each has one row.

    As a sum of what is padded by -0.0, which changes no number: XLA's CPU compiler makes one loop of it, where it copies what
    jnp.concatenate joins (1.3 times the time of x + 1, and not 1.5 to 1.7).  Where numbers are rounded it does not (2.2, not 1.5).
    """
    if first.dtype != dtype:
        return jnp.concatenate([first, second], axis=-2).astype(dtype)
    zero, axes = jnp.array(-0.0, dtype), [(0, 0, 0)] * (first.ndim - 2)
    return lax.pad(first, zero, [*axes, (0, 1, 0), (0, 0, 0)]) + lax.pad(second, zero, [*axes, (1, 0, 0), (0, 0, 0)])


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
