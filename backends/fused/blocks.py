"""Cutting a tensor into pieces that fit a cache, for adapters that rotate by their library's own operations."""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any


def blocks(shape: tuple[int, ...], itemsize: int, limit: int) -> Iterator[tuple[slice, ...]]:
    """Return indices that cut an array into pieces of at most `limit` bytes, or of one row where a row is larger."""
    axis, inner = 0, itemsize * math.prod(shape[1:])  # bytes of one index along the axis that is cut
    while inner > limit and axis < len(shape) - 2:
        axis += 1
        inner //= max(shape[axis], 1)
    step = max(1, limit // max(inner, 1))
    for outer in product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*(slice(i, i + 1) for i in outer), slice(start, start + step))


def part_of(table: Any, at: tuple[slice, ...]) -> Any:
    """Return the part of a table that broadcasts against the same part of a tensor of as many dimensions."""
    return table[tuple(i if n != 1 else slice(None) for i, n in zip(at, table.shape, strict=False))]
