"""The rotation in torch: plain operations, and the autograd function that keeps nothing of x
(rope.md chapters 2 and 11).
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ropecore.plan import RotaryPlan

from .forked import alone_in_child
from .fused import in_blocks, new_like, turned_fast
from .tiled import turn_in_blocks
from .tracing import constant, regular_lanes

F = TypeVar("F", bound=Callable[..., Any])


def turn(x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str) -> Tensor:
    """Return x rotated by tables that broadcast against it, in the arithmetic of their dtype.

    reads, writes: "lanes" or "out_lanes" of the plan.  Where x is trained, eager calls take one
    step in its graph, that keeps nothing of x; recorded graphs take plain operations, since
    torch.compile cannot trace a Function with a jvp; and so do tables that learn, whose gradient
    needs x.
    """
    trained = x.requires_grad and torch.is_grad_enabled() and not (cos.requires_grad or sin.requires_grad)
    if trained and not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        result: Tensor = _Rotation.apply(x, cos, sin, plan, reads, writes)
        return result
    return _turned(x, cos, sin, plan, reads, writes)


def _without_autocast(function: F) -> F:
    """Return a function that autocast does not reach: it refuses to join float16 tensors on a CPU,
    for one.
    """

    @functools.wraps(function)
    def wrapped(x: Tensor, *args: Any) -> Any:
        device = x.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return function(x, *args)
        with torch.autocast(device, enabled=False):
            return function(x, *args)

    return cast(F, wrapped)


@_without_autocast
def turn_into(y: Tensor, x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str) -> Tensor:
    """Write x rotated to y, which is x or shares no memory with it, and return y."""
    if (done := turned_fast(x, cos, sin, plan, reads, writes, y)) is not None:
        return done
    if (regular := _regular(x, cos, sin, plan, reads, writes, y)) is not None:
        return turn_in_blocks(x, y, cos, sin, *regular)
    if y is not x:  # which may lie on another device
        x, cos, sin = y.copy_(x), cos.to(y.device), sin.to(y.device)
    turned, lanes = _pairs(x, cos, sin, plan, reads), _lanes(plan, writes, x)
    x[..., lanes[0]], x[..., lanes[1]] = turned
    return x


class _Rotation(torch.autograd.Function):  # type: ignore[misc]
    """The gradient for x is the transpose of the output's: sin negated, lanes exchanged, the same
    A.  Rule R-11.1.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str) -> Tensor:
        return _turned(x, cos, sin, plan, reads, writes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, cos, sin, ctx.plan, ctx.reads, ctx.writes = inputs
        ctx.save_for_backward(cos, sin)
        ctx.save_for_forward(cos, sin)

    @staticmethod
    @alone_in_child
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        cos, sin = ctx.saved_tensors
        return turn(gradient, cos, -sin, ctx.plan, ctx.writes, ctx.reads), None, None, None, None, None

    @staticmethod
    @alone_in_child
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        cos, sin = ctx.saved_tensors
        return turn(tangent, cos, sin, ctx.plan, ctx.reads, ctx.writes)


@_without_autocast
def _turned(x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str) -> Tensor:
    """Return x with its pairs turned; recorded graphs take operations without side effects, which
    vmap and export can take.
    """
    if (done := turned_fast(x, cos, sin, plan, reads, writes)) is not None:
        return done
    if (regular := _regular(x, cos, sin, plan, reads, writes)) is not None:
        return turn_in_blocks(x, new_like(x), cos, sin, *regular)
    turned, lanes = _pairs(x, cos, sin, plan, reads), regular_lanes(plan, writes)
    if lanes is None or lanes[2] == "apart":
        return x.index_copy(-1, constant(plan, writes, x.device).flatten(), torch.cat(turned, -1))
    start, stop = lanes[0].start, lanes[1].stop
    if start == stop:
        return x.clone()  # a plan without pairs
    halves = lanes[2] == "halves"
    block = torch.cat(turned, -1) if halves else torch.stack(turned, -1).reshape(*x.shape[:-1], stop - start)
    if block.shape[-1] == x.shape[-1]:
        return block
    return torch.cat([x[..., :start], block, x[..., stop:]], -1)


def _regular(
    x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str, y: Tensor | None = None
) -> Any:
    """Return the lanes read and written, as pairs of slices, of a call that had better run on
    pieces of x; else None.
    """
    if not in_blocks(x, x if y is None else y, cos, sin):
        return None
    found = regular_lanes(plan, reads), regular_lanes(plan, writes)
    return None if None in found or not plan.n_pairs else tuple(lanes[:2] for lanes in found if lanes)


def _pairs(x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str) -> tuple[Tensor, Tensor]:
    """Return the two lanes of every pair, turned, in the dtype of x.  Rules R-2.1, R-10.4."""
    lanes = _lanes(plan, reads, x)
    first, second = x[..., lanes[0]], x[..., lanes[1]]
    first, second = first.to(cos.dtype), second.to(cos.dtype)
    return (first * cos - second * sin).to(x.dtype), (first * sin + second * cos).to(x.dtype)


def _lanes(plan: RotaryPlan, name: str, x: Tensor) -> Any:
    """Return the first and the second lanes, as slices where they are regular: of slices x has
    views.
    """
    regular = regular_lanes(plan, name)
    return constant(plan, name, x.device) if regular is None else regular
