"""Inputs without symmetry, exact in bfloat16 and in float16 (field rule: nothing symmetric, never
only ones).
"""

import math
from collections.abc import Sequence

from .numbers import Array, array

SALTS = {"x": 0, "q": 1, "k": 2, "g": 3, "y": 4, "v": 5, "w": 6}
LEVELS = 128


def number(index: int, salt: int) -> float:
    """Return an odd multiple of 1/32 below 4 in size: seven significant bits, so it is exact in
    every dtype.

    A quadratic permutation of the 128 levels: 128 numbers in a row are distinct, and no two lanes,
    heads or tokens differ by a constant, which a linear rule would give.
    """
    block, place = divmod(index, LEVELS)
    level = (37 * place + 34 * place * place + 53 * block * block + 29 * block + 41 * salt + 19) % LEVELS
    return (2 * level - (LEVELS - 1)) / 32.0


def numbers(shape: Sequence[int], name: str = "x", shift: int = 0) -> Array:
    """Return an input array of that shape; arrays of different names (q and k, x and g) differ."""
    return array(shape, [number(index + 17 * shift, SALTS[name] + shift) for index in range(math.prod(shape))])
