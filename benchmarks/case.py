"""What a case is, and what the cases share: a plan, tensors, and the comparison of two results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ropecore import RopeConfig, RotaryPlan

from . import peers

HEADS, KV_HEADS, HEAD_DIM, BASE = 32, 8, 128, 500_000.0


@dataclass(frozen=True)
class Pair:
    """Two calls to compare.  ratio: of a's time to b's.  n_bytes: what a's memory alone must move,
    for a roofline.
    """

    a: str
    b: str
    call_a: Callable[[], object]
    call_b: Callable[[], object]
    check: Callable[[], None] = lambda: None
    n_bytes: int = 0
    calls: int = 1  # a sample is the mean of so many


@dataclass(frozen=True)
class Case:
    """A named comparison.  limit: the ratio wanted, at most or at least; None where it is only
    shown.

    make(tokens): returns the pair for a prefill of so many tokens, or raises `peers.Missing`.
    """

    name: str
    make: Callable[[int], Pair]
    limit: float | None = None
    at_least: bool = False

    def met(self, ratio: float) -> bool | None:
        """Return whether a ratio is what was wanted; None where nothing was."""
        if self.limit is None:
            return None
        return ratio >= self.limit if self.at_least else ratio <= self.limit


def plan_of(pairing: str, head_dim: int = HEAD_DIM, **how: Any) -> RotaryPlan:
    """Return the plan of a Llama 3-like model."""
    return RopeConfig(head_dim=head_dim, base=BASE, pairing=pairing, **how).plan()


def torch_library() -> Any:
    return peers.library("torch")


def torch_adapter() -> Any:
    torch_library()
    return peers.library("ropecore.backends.torch")


def _heads(shape: tuple[int, ...], dtype: str, heads: int) -> Any:
    """Return random numbers; a 0 in the shape stands for the heads."""
    torch = torch_library()
    return torch.randn([heads if n == 0 else n for n in shape], generator=torch.Generator().manual_seed(heads)).to(
        getattr(torch, dtype)
    )


def q_and_k(tokens: int, dtype: str, tensor_format: str = "bhsd", batch: int = 1) -> tuple[Any, Any]:
    shape = {"bhsd": (batch, 0, tokens, HEAD_DIM), "thd": (tokens, 0, HEAD_DIM)}[tensor_format]
    return _heads(shape, dtype, HEADS), _heads(shape, dtype, KV_HEADS)


def close(got: Any, wanted: Any, within: float) -> None:
    """Refuse results that are further apart than so much of the largest number: the peers round
    more often.
    """
    for one, other in zip(got, wanted, strict=True):
        scale = float(np.abs(other).max())
        error = float(np.abs(one - other).max())
        if not error <= within * scale:
            raise AssertionError(f"the two sides differ by {error:g} of {scale:g}")


def floats(*tensors: Any) -> list[Any]:
    return [tensor.detach().double().numpy() for tensor in tensors]


WITHIN = {
    "float32": 1e-4,
    "bfloat16": 3e-2,
    "float16": 4e-3,
    "float64": 1e-6,
}  # float32 angles of peers are off by more


def hf_tables(tokens: int, dtype: str, pairing: str = "half_split") -> tuple[Any, Any]:
    """Return cos and sin as transformers' model makes them once a step: (1, s, d), in the dtype of
    the model.
    """
    torch = torch_library()
    cos, sin = torch_adapter().cos_sin(plan_of(pairing), torch.arange(tokens))
    return tuple(torch.cat([table, table], -1)[None].to(getattr(torch, dtype)) for table in (cos, sin))
