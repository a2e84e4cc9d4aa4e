"""A model of any size without its weights: each large one is a single zero that is seen in the
weight's shape.

The model's own constructor runs, so its rotary tables, its layers and their shapes are the real
ones; what a missing weight multiplies is zero.  Nothing is downloaded, and a model of any size fits
in a few megabytes.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

HUGE = 1 << 22  # numbers: a table of a RoPE has fewer
LARGE = 4096  # numbers: a parameter with more is left out
TABLE = re.compile(
    "rotary|rope|sinusoid|position", re.IGNORECASE
)  # modules whose parameters may be a table: they are kept


def build(make: Callable[[], Any]) -> Any:
    """Return what make() makes, a module or several, without large weights."""
    with ExitStack() as stack:
        for name in [name for name in vars(torch.nn.init) if name.endswith("_") and not name.startswith("_")]:
            stack.enter_context(patch.object(torch.nn.init, name, _as_it_is))
        stack.enter_context(Spared())
        hook = register_module_parameter_registration_hook(_emptied)
        stack.callback(hook.remove)
        stack.enter_context(_without_init_weights())
        return make()


def _as_it_is(tensor: Any = None, *_args: Any, **_keywords: Any) -> Any:
    return tensor


def _emptied(module: Any, _name: str, parameter: Any) -> Any:
    if parameter is None or parameter.numel() <= LARGE or TABLE.search(type(module).__name__):
        return parameter
    zero = torch.zeros((), dtype=parameter.dtype, device=parameter.device)
    return torch.nn.Parameter(zero.expand(parameter.shape), requires_grad=False)


@contextmanager
def _without_init_weights() -> Iterator[None]:
    """Leave out transformers' own filling of weights, where it is installed."""
    try:
        from transformers import PreTrainedModel
    except ImportError:
        yield
        return
    with patch.object(PreTrainedModel, "init_weights", lambda _model, *_args, **_keywords: None):
        yield


class Spared(TorchDispatchMode):  # type: ignore[misc]
    """While a model is made: take no memory for tensors as large as
    weights, and fill none of them.
    """

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket in FACTORIES and math.prod(args[0]) > HUGE:
            return torch.zeros((), dtype=kwargs.get("dtype")).expand(args[0])
        if function.overloadpacket.__name__.endswith("_") and args and _is_missing(args[0]):
            return args[0]
        return function(*args, **kwargs)


class Weightless(TorchDispatchMode):  # type: ignore[misc]
    """Run operations as they are, but those that multiply a missing weight: their result is zero,
    in its shape.
    """

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket in MULTIPLY and any(map(_is_missing, tree_leaves((args, kwargs)))):
            if function.overloadpacket.__name__ == "_grouped_mm":  # by experts; its own rules of shapes want 16 bits
                return args[0].new_zeros(*args[0].shape[:-1], args[1].shape[-1])
            shapes = function(*tree_map(_shape_alone, args), **tree_map(_shape_alone, kwargs))
            return tree_map(lambda x: torch.zeros(x.shape, dtype=x.dtype) if torch.is_tensor(x) else x, shapes)
        return function(*args, **kwargs)


ATEN = torch.ops.aten
FACTORIES = {ATEN.empty, ATEN.zeros, ATEN.ones, ATEN.randn, ATEN.rand, ATEN.full}
MULTIPLY = {ATEN.mm, ATEN.addmm, ATEN.bmm, ATEN.baddbmm, ATEN.mv, ATEN.addmv, ATEN.convolution} | {
    getattr(ATEN, name) for name in ("_grouped_mm",) if hasattr(ATEN, name)
}


def _is_missing(value: Any) -> bool:
    return bool(torch.is_tensor(value) and value.numel() > LARGE and value.untyped_storage().nbytes() <= 16)


def _shape_alone(value: Any) -> Any:
    if not torch.is_tensor(value):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
