"""Rotation block by block, for arrays that are larger than a cache: the reference, with temporaries
that stay in it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

import ropecore
from ropecore.plan import RotaryPlan

from .._kernels.tiles import blocks, part_of

Array = npt.NDArray[Any]

BLOCK_BYTES = 1 << 18  # of x; the reference makes six temporaries of half its size


def rotate_in_blocks(
    plan: RotaryPlan, x: Array, y: Array, cos: Array, sin: Array, inverse: bool = False, transpose: bool = False
) -> None:
    """Write to y what `ropecore.rotate` returns for x; y is x itself, or any array of its shape.

    cos and sin have the dimensions of x and broadcast against it.  The bits are the same as in one
    piece.
    """
    overlap = y is not x and np.may_share_memory(x, y)
    if overlap or x.ndim < 2:
        ropecore.rotate(plan, x, cos, sin, inverse, transpose, y)
        return
    for at in blocks(x.shape, x.itemsize, BLOCK_BYTES, cos.shape):
        part = x[at]
        out = part if y is x else y[at]
        ropecore.rotate(plan, part, cos[part_of(cos.shape, at)], sin[part_of(sin.shape, at)], inverse, transpose, out)
