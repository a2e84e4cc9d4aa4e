"""The rotation by torch's own operations on pieces that fit a cache, for large tensors of the host without the kernels."""

from typing import Any

import torch
from torch import Tensor

from ..fused.blocks import blocks, part_of

BLOCK_BYTES = 1 << 19  # of x; what is computed on the way is three times as large

Slices = tuple[slice, slice]


def turn_in_blocks(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor, reads: Slices, writes: Slices) -> Tensor:
    """Write x with its pairs turned to y, which is x or shares no memory with it, and return y.

    reads, writes: where the first and the second lanes of all pairs lie.  cos and sin broadcast against x, and have the dtype
    that is computed in; the bits are those of x[first] cos - x[second] sin and x[first] sin + x[second] cos.  R-2.1, R-10.4.
    """
    whole = 2 * cos.shape[-1] == x.shape[-1]
    work: Any = None
    for at in blocks(tuple(x.shape), x.element_size(), BLOCK_BYTES):
        source, target, c, s = x[at], y[at], part_of(cos, at), part_of(sin, at)
        first, second = source[..., reads[0]].to(cos.dtype), source[..., reads[1]].to(cos.dtype)
        if work is None or work.shape[1:] != first.shape:
            work = torch.empty((3, *first.shape), dtype=cos.dtype, device=x.device)
        turned_first, turned_second, product = work
        torch.mul(first, c, out=turned_first).sub_(torch.mul(second, s, out=product))
        torch.mul(first, s, out=turned_second).add_(torch.mul(second, c, out=product))
        if y is not x and not whole:
            target.copy_(source)
        target[..., writes[0]].copy_(turned_first)
        target[..., writes[1]].copy_(turned_second)
    return y
