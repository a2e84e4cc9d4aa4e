"""Rotation block by block, for arrays that are larger than a cache: the reference, with temporaries that stay in it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import ropecore
from ropecore.plan import RotaryPlan

Array = npt.NDArray[Any]

BLOCK_BYTES = 1 << 18  # of x; the reference makes six temporaries of half its size


def rotate_in_blocks(
    plan: RotaryPlan, x: Array, y: Array, cos: Array, sin: Array, inverse: bool = False, transpose: bool = False
) -> None:
    """Write to y what `ropecore.rotate` returns for x; y is x itself, or any array of its shape.

    cos and sin have the dimensions of x and broadcast against it.  The bits are the same as in one piece.
    """
    overlap = y is not x and np.may_share_memory(x, y)
    for at in [(...,)] if overlap or x.ndim < 2 else blocks(x.shape, x.itemsize):
        part = x[at]
        out = part if y is x else y[at]
        ropecore.rotate(plan, part, _part(cos, at), _part(sin, at), inverse, transpose, out)


def blocks(shape: tuple[int, ...], itemsize: int, limit: int = BLOCK_BYTES) -> Iterator[tuple[Any, ...]]:
    """Return indices that cut an array into pieces of at most `limit` bytes, or of one row where a row is larger."""
    axis, inner = 0, itemsize * int(np.prod(shape[1:]))  # bytes of one index along the axis that is cut
    while inner > limit and axis < len(shape) - 2:
        axis += 1
        inner //= max(shape[axis], 1)
    step = max(1, limit // max(inner, 1))
    for outer in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*(slice(i, i + 1) for i in outer), slice(start, start + step))


def _part(table: Array, at: tuple[Any, ...]) -> Array:
    """Return the part of a table that broadcasts against the same part of x."""
    part: Array = table[tuple(i if n != 1 or i is ... else slice(None) for i, n in zip(at, table.shape, strict=False))]
    return part
