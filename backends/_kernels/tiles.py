"""Cutting a tensor into pieces that fit a cache, for adapters that rotate by their library's own
operations.
"""

import math
from collections.abc import Iterator
from itertools import product


def blocks(shape: tuple[int, ...], itemsize: int, limit: int, table: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Return indices that cut an array into pieces of at most `limit` bytes, or of one row where a
    row is larger.

    table: the shape of what broadcasts against the array.  A piece needs as many rows of it as make
    an eighth of the limit in the array, or one.
    """
    steps, rows = [max(n, 1) for n in shape], limit // (8 * itemsize * max(shape[-1], 1))
    for axis in reversed([axis for axis in range(len(shape) - 1) if table[axis] != 1]):
        steps[axis] = max(1, min(steps[axis], rows))
        rows //= steps[axis]
    for axis in range(len(shape) - 1):
        n_bytes = itemsize * math.prod(steps)
        if n_bytes > limit:
            steps[axis] = max(1, steps[axis] * limit // n_bytes)
    for starts in product(*(range(0, n, step) for n, step in zip(shape[:-1], steps[:-1], strict=True))):
        yield tuple(slice(start, start + step) for start, step in zip(starts, steps[:-1], strict=True))


def part_of(table: tuple[int, ...], at: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return where a table of this shape has the part that broadcasts against such a part of a
    tensor.
    """
    return tuple(i if n != 1 else slice(None) for i, n in zip(at, table, strict=False))
