"""A step of decoding, and a step of training."""

from collections.abc import Callable
from typing import Any

from . import peers
from .case import WITHIN, Pair, close, floats, hf_tables, plan_of, q_and_k, torch_adapter, torch_library


def decode(batch: int, dtype: str) -> Callable[[int], Pair]:
    """A decode step of a batch, one token each: ropecore, angles and all, against transformers with
    its tables at hand.
    """

    def make(tokens: int) -> Pair:
        theirs, rope, torch, plan = peers.transformers_rotary(), torch_adapter(), torch_library(), plan_of("half_split")
        q, k = q_and_k(1, dtype, batch=batch)
        positions = torch.arange(batch)[:, None] * 17 + tokens
        cos, sin = rope.cos_sin(plan, positions)
        wide = [torch.cat([table, table], -1).to(q.dtype) for table in (cos, sin)]

        def check() -> None:
            close(floats(*rope.apply(plan, q, k, positions=positions)), floats(*theirs(q, k, *wide)), WITHIN[dtype])

        return Pair(
            "ropecore apply_", "transformers eager", lambda: rope.apply_(plan, q, k, positions=positions),
            lambda: theirs(q, k, *wide), check, calls=50,
        )  # fmt: skip

    return make


def training(dtype: str) -> Callable[[int], Pair]:
    """Forward and backward of half the tokens: transformers eager against ropecore."""

    def make(tokens: int) -> Pair:
        theirs, rope, torch, plan = peers.transformers_rotary(), torch_adapter(), torch_library(), plan_of("half_split")
        tokens //= 2
        q, k = (x.requires_grad_() for x in q_and_k(tokens, dtype))
        cos, sin = hf_tables(tokens, dtype)
        gradients = [torch.ones_like(x) for x in (q, k)]

        def step(call: Callable[[], Any]) -> Any:
            return torch.autograd.grad(call(), (q, k), gradients)

        def ours() -> Any:
            return step(lambda: rope.apply(plan, q, k))

        def other() -> Any:
            return step(lambda: theirs(q, k, cos, sin))

        return Pair(
            "transformers eager", "ropecore apply", other, ours,
            lambda: close(floats(*ours()), floats(*other()), WITHIN[dtype]),
        )  # fmt: skip

    return make
