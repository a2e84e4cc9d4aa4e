"""The torch adapter as the conformance suite meets it: the adapter's names, what it declares, and
its other modes.
"""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import ropecore as rules  # the rules that every adapter shares

from . import apply, apply_, cos_sin, rotate, shift

RopeError = rules.RopeError
NOT_COMPILED = [
    "ambient", "attention_factor", "axes", "cache", "composition", "documents", "gradients", "inverse", "pairing", "partial",
    "plan", "positions", "refusals", "rotate", "scaling", "scores", "state",
]  # fmt: skip
HAS_BFLOAT16 = importlib.util.find_spec("ml_dtypes") is not None
capabilities = {
    "name": "ropecore.backends.torch",
    "version": f"{rules.__version__} with torch {torch.__version__}",
    "dtypes": ["float32", "float64", "float16", *(["bfloat16"] if HAS_BFLOAT16 else [])],
    "angle": "exact",
    "table": "float32",
    "compute": "float32",
}


def asarray(values: Any, dtype: str) -> Tensor:
    """Return host values as a tensor; through float64, since NumPy has no bfloat16 of its own."""
    return torch.from_numpy(np.array(values)).to(getattr(torch, dtype))


def to_numpy(x: Any) -> Any:
    """Return a tensor as NumPy's array of the same bits."""
    if isinstance(x, np.ndarray):  # the rules answer in NumPy
        return x
    x = x.detach().cpu()
    if x.dtype is not torch.bfloat16:
        return x.numpy()
    import ml_dtypes

    return x.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)


def vjp(plan: rules.RotaryPlan, x: Tensor, g: Tensor, **where: Any) -> Tensor:
    """Return the gradient for x that autograd finds (R-11.1)."""
    leaf = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(apply(plan, leaf, **where), leaf, g)
    return gradient


def ambient(name: str) -> AbstractContextManager[Any]:
    """Return a mode that must change nothing; KeyError for one that torch does not have."""
    modes: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        "tf32": lambda: _set(torch.set_float32_matmul_precision, "high", torch.get_float32_matmul_precision()),
        "default_dtype": lambda: _set(torch.set_default_dtype, torch.float64, torch.get_default_dtype()),
    }
    return modes[name]()


@contextmanager
def _set(change: Callable[[Any], None], value: Any, before: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(before)


class _Float32:
    """The float32 class, by the same functions."""

    capabilities: ClassVar = {**capabilities, "angle": "float32"}
    apply, apply_ = staticmethod(apply), staticmethod(apply_)
    cos_sin, rotate = staticmethod(cos_sin), staticmethod(rotate)


class _Views:
    """The same calls on transposed views: the memory of x has its dimensions in reverse order."""

    @staticmethod
    def apply(plan: rules.RotaryPlan, x: Tensor, **options: Any) -> Any:
        reverse = tuple(reversed(range(x.ndim)))
        return apply(plan, x.permute(reverse).contiguous().permute(reverse), **options)


class _Compiled:
    """The same calls through torch.compile with its C++ code, for the topic where a compiler could
    spoil most.
    """

    capabilities: ClassVar = {
        **capabilities,
        "dtypes": ["float32"],
        "not_applicable": dict.fromkeys(
            NOT_COMPILED, "compiling takes seconds a plan; the topic precision is compiled"
        ),
    }

    @staticmethod
    def apply(plan: rules.RotaryPlan, x: Tensor, **options: Any) -> Any:
        return _compiled(apply, plan)(x, **options)

    @staticmethod
    def cos_sin(plan: rules.RotaryPlan, positions: Tensor, **options: Any) -> Any:
        return _compiled(cos_sin, plan)(positions, **options)


@lru_cache(maxsize=1)
def _compiled(function: Any, plan: rules.RotaryPlan) -> Any:
    torch.compiler.reset()  # a compiler's own limit on plans a function is not what is tested
    return torch.compile(partial(function, plan), fullgraph=True, dynamic=True)


variants = {"views": _Views, "float32": _Float32, "compiled": _Compiled}
__all__ = [
    "RopeError",
    "ambient",
    "apply",
    "apply_",
    "asarray",
    "capabilities",
    "cos_sin",
    "rotate",
    "rules",
    "shift",
    "to_numpy",
    "variants",
    "vjp",
]
