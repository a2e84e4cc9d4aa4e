"""What is done by torch's own operations on pieces that fit a cache, for large tensors of the host
without the kernels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ropecore.precision import turn_bits_by_quarters, within_a_quarter

from .._kernels.tiles import blocks, part_of
from .fused import new

BLOCK_BYTES = 1 << 20  # of x, in the dtype that is computed in; what is computed on the way is up to twice as large
TABLE_NUMBERS = 1 << 17  # of a table that are made together

Slices = tuple[slice, slice]


def tables_in_blocks(
    phase: Callable[[Sequence[Tensor]], Tensor], columns: Sequence[Tensor], n_pairs: int
) -> tuple[Tensor, Tensor]:
    """Return float32 cos and sin of the exact class, without A.  Rule R-10.2.

    phase: of one tensor of positions an axis, in 2^-32 turns, int64 (.., n_pairs).  The bits are
    those of `precision.cos_sin_of_phase`; torch compares slowly, and is faster in int32, which
    wraps here but need not in a compiled graph.
    """
    n, rows = columns[0].numel(), max(1, TABLE_NUMBERS // max(n_pairs, 1))
    cos, sin = (new((*columns[0].shape, n_pairs), torch.float32) for _ in range(2))
    flat, targets = [column.reshape(-1) for column in columns], [table.view(n, n_pairs) for table in (cos, sin)]
    for start in range(0, n, rows):
        at = slice(start, start + rows)
        both = within_a_quarter(phase([column[at] for column in flat]).to(torch.int32), lambda r: r.to(torch.float32))
        bits = turn_bits_by_quarters(both[0].view(torch.int32), both[1].view(torch.int32), both[2])
        for target, part in zip(targets, bits, strict=True):
            target[at] = part.view(torch.float32)
    return cos, sin


def turn_in_blocks(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor, reads: Slices, writes: Slices) -> Tensor:
    """Write x with its pairs turned to y, which is x or shares no memory with it, and return y.

    reads, writes: where the first and the second lanes of all pairs lie.  cos and sin broadcast
    against x, and have the dtype that is computed in; the bits are those of x[first] cos -
    x[second] sin and x[first] sin + x[second] cos.  R-2.1, R-10.4.
    """
    if reads == writes and (block := _one_block(reads, x.shape[-1], cos.shape[-1])) is not None:
        return _turn_whole_rows(x, y, cos, sin, reads, block)
    whole = 2 * cos.shape[-1] == x.shape[-1]
    work: Any = None
    for at in blocks(tuple(x.shape), cos.element_size(), BLOCK_BYTES, tuple(cos.shape)):
        source, target, c, s = x[at], y[at], cos[part_of(cos.shape, at)], sin[part_of(sin.shape, at)]
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


def _one_block(lanes: Slices, head_dim: int, n_pairs: int) -> slice | None:
    """Return the lanes of all pairs as one slice, if they lie together."""
    first, second = (range(head_dim)[each] for each in lanes)
    start, stop = min(first[0], second[0]), max(first[-1], second[-1]) + 1
    return slice(start, stop) if stop - start == 2 * n_pairs else None


def _less(lanes: slice, start: int) -> slice:
    """Return lanes counted from `start`."""
    return slice(lanes.start - start, lanes.stop - start, lanes.step)


def _turn_whole_rows(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor, lanes: Slices, block: slice) -> Tensor:
    """Do it in four operations of whole rows: t = x sin and y = x cos for all lanes, then y[first]
    - t[second], y[second] + t[first].

    Another output is copied to first: a copy waits less for memory that is not in a cache than a
    product does.
    """
    lanes = _less(lanes[0], block.start), _less(lanes[1], block.start)
    cos, sin = _for_both_lanes(cos, lanes), _for_both_lanes(sin, lanes)
    product = turned = cos.new_empty(0)
    for at in blocks(tuple(x.shape), cos.element_size(), BLOCK_BYTES, tuple(cos.shape)):
        part = part_of(cos.shape, at)
        target = y[at] if y is x else y[at].copy_(x[at])
        target = target[..., block]
        if product.shape != target.shape:
            product, turned = (cos.new_empty(target.shape) for _ in range(2))
        turned = target if x.dtype == cos.dtype else turned.copy_(target)
        torch.mul(turned, sin[part], out=product)
        turned.mul_(cos[part])
        turned[..., lanes[0]].sub_(product[..., lanes[1]])
        turned[..., lanes[1]].add_(product[..., lanes[0]])
        if x.dtype != cos.dtype:
            target.copy_(turned)
    return y


def _for_both_lanes(table: Tensor, lanes: Slices) -> Tensor:
    """Return a table with each number in both lanes of its pair."""
    wide = table.new_empty((*table.shape[:-1], 2 * table.shape[-1]))
    wide[..., lanes[0]], wide[..., lanes[1]] = table, table
    return wide
