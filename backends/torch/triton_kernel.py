"""One pass over a tensor of a GPU, by Triton: off until `use(True)`, because no run on a GPU has proved it yet.

    from ropecore.backends.torch import triton_kernel
    triton_kernel.use(True)

It was checked against the golden vectors under Triton's interpreter (TRITON_INTERPRET=1), which also takes tensors of the
host.  Triton may contract a product and a sum, so that its results are held to the bound of the error model and not to bits.
"""

# mypy: disable-error-code="no-untyped-def"
# (Triton reads the annotations of its functions: they are its own)

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ropecore.plan import RotaryPlan

from . import rotation
from .constants import constant

LEADING = 3  # dimensions before the last
ELEMENTS = 1024  # pairs that a program turns
INTERPRETED = bool(triton.knobs.runtime.interpret)


def use(wanted: bool) -> None:
    """Rotate tensors of a CUDA device by this kernel from now on, or no longer."""
    rotation.device_kernel = turned if wanted else None


@triton.jit  # type: ignore[untyped-decorator]
def _narrowed(value, kind: tl.constexpr):
    """Return float32 numbers rounded to nearest, ties to even: bfloat16 by its bits, since the interpreter cuts it off."""
    if kind == tl.bfloat16:
        bits = value.to(tl.uint32, bitcast=True)
        rounded = tl.where(value != value, bits | 0x400000, bits + 0x7FFF + ((bits >> 16) & 1))  # noqa: PLR0124
        return (rounded >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return value.to(kind)


@triton.jit  # type: ignore[untyped-decorator]
def _turn(
    x, y, cos, sin, lanes, out_lanes, n_rows, n1, n2, n_pairs,
    x0, x1, x2, x_lane, y0, y1, y2, y_lane, t0, t1, t2, t_lane, ROWS: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Turn the pairs of ROWS rows: both lanes are read, in the type of the tables, before either is written."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    pair = tl.arange(0, PAIRS)
    inside = (row < n_rows)[:, None] & (pair < n_pairs)[None, :]
    i0, i1, i2 = row // (n1 * n2), row // n2 % n1, row % n2
    at_x, at_y = i0 * x0 + i1 * x1 + i2 * x2, i0 * y0 + i1 * y1 + i2 * y2
    at_table = (i0 * t0 + i1 * t1 + i2 * t2)[:, None] + (pair * t_lane)[None, :]
    some = pair < n_pairs
    first, second = tl.load(lanes + pair, some, 0), tl.load(lanes + n_pairs + pair, some, 0)
    to_first, to_second = tl.load(out_lanes + pair, some, 0), tl.load(out_lanes + n_pairs + pair, some, 0)
    c, s = tl.load(cos + at_table, inside, 0.0), tl.load(sin + at_table, inside, 0.0)
    a = tl.load(x + at_x[:, None] + (first * x_lane)[None, :], inside, 0.0).to(c.dtype)
    b = tl.load(x + at_x[:, None] + (second * x_lane)[None, :], inside, 0.0).to(c.dtype)
    turned_first = _narrowed(a * c - b * s, y.dtype.element_ty)
    turned_second = _narrowed(a * s + b * c, y.dtype.element_ty)
    tl.store(y + at_y[:, None] + (to_first * y_lane)[None, :], turned_first, inside)
    tl.store(y + at_y[:, None] + (to_second * y_lane)[None, :], turned_second, inside)


def turned(
    x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str, in_place: bool = False
) -> Tensor | None:
    """Return x rotated by tables of its dimensions that broadcast against it, or None where that is for torch's operations.

    reads, writes: "lanes" or "out_lanes" of the plan.  In place, where each pair is written to its own lanes: no thread then
    writes what another reads.  Rules R-2.1, R-10.4.
    """
    regular = x.dtype != torch.float64 and cos.dtype == sin.dtype == torch.float32 and x.ndim <= LEADING + 1
    moved = not np.array_equal(plan.lanes, plan.out)
    if not regular or not (x.is_cuda or INTERPRETED) or (in_place and moved) or not x.numel() or not plan.n_pairs:
        return None
    y = x if in_place else torch.empty_like(x) if 2 * plan.n_pairs == x.shape[-1] else x.clone()
    lead = (1,) * (LEADING + 1 - x.ndim)
    sizes, steps = (*lead, *x.shape[:-1]), [(*(0 for _ in lead), *tensor.stride()) for tensor in (x, y)]
    tables = [table.expand(*x.shape[:-1], plan.n_pairs) for table in (cos, sin)]
    if tables[0].stride() != tables[1].stride():
        tables = [table.contiguous() for table in tables]
    steps.append((*(0 for _ in lead), *tables[0].stride()))
    n_rows, pairs = sizes[0] * sizes[1] * sizes[2], triton.next_power_of_2(plan.n_pairs)
    rows = max(1, min(ELEMENTS // pairs, triton.next_power_of_2(n_rows)))
    read, write = (constant(plan, name, x.device) for name in (reads, writes))  # (2, n_pairs)
    strides = [step for each in steps for step in each]
    launch: Any = _turn
    launch[(triton.cdiv(n_rows, rows),)](
        x, y, *tables, read, write, n_rows, *sizes[1:], plan.n_pairs, *strides, rows, pairs
    )
    return y
