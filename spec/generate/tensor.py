"""Where the vectors of a tensor lie, and which position each has: rope.md chapter 7."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from .numbers import Array, Number

Coordinates: TypeAlias = tuple[Number, ...]  # one an axis
Where: TypeAlias = Callable[[int, int], Coordinates]  # (batch row, token) -> coordinates
Offset: TypeAlias = int | Sequence[int]


class Vector(NamedTuple):
    """One vector of D lanes: where its lanes start in flat order, its batch row and its token."""

    start: int
    row: int
    token: int


def vectors(tensor_format: str, shape: Sequence[int]) -> Iterator[Vector]:
    """Yield every vector of a tensor whose dimensions have these
    letters, the last of which is d.
    """
    letters, sizes = tensor_format[:-1], shape[:-1]
    for index in range(math.prod(sizes)):
        rest, at = index, dict.fromkeys("bst", 0)
        for letter, size in reversed(list(zip(letters, sizes, strict=True))):
            rest, at[letter] = divmod(rest, size)
        yield Vector(index * shape[-1], at["b"], at["s"] + at["t"])


def positions_of(axes: int, positions: Array | None, offset: Offset | None) -> Where:
    """Return the coordinates of each token: those given (R-7.3), or offset + i (R-7.4)."""
    if positions is None:
        starts = [offset or 0] if isinstance(offset, int | None) else list(offset)
        return lambda row, token: (starts[row if len(starts) > 1 else 0] + token,)
    shape = positions["shape"] if axes == 1 else positions["shape"][1:]
    rows, tokens = (1, shape[0]) if len(shape) == 1 else shape
    data = positions["data"]

    def where(row: int, token: int) -> Coordinates:
        place = (row if rows > 1 else 0) * tokens + token
        return tuple(data[axis * rows * tokens + place] for axis in range(axes))

    return where


def every_coordinate(axes: int, positions: Array) -> tuple[list[int], list[Coordinates]]:
    """Return the shape of a positions array without its axes, and the coordinates of each place in
    C order.
    """
    shape = positions["shape"] if axes == 1 else positions["shape"][1:]
    count, data = math.prod(shape), positions["data"]
    return shape, [tuple(data[axis * count + place] for axis in range(axes)) for place in range(count)]
