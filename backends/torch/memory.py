"""Whether a tensor may be changed in place: autograd, and memory that is used twice (R-2.8)."""

import numpy as np
import torch
from torch import Tensor

from ropecore.errors import RopeError
from ropecore.tensor_format import check_apart

from .tracing import recording


def check_writeable(name: str, x: Tensor) -> None:
    """Refuse a tensor that autograd or its own strides forbid to change.  Rule R-2.8."""
    if recording():  # there torch itself objects
        return
    owner = x if x._base is None else x._base
    if torch.is_grad_enabled() and owner.requires_grad and owner.is_leaf:
        raise RopeError(name, "a leaf", "requires a gradient, and would lose it", "Use apply.", "R-2.8")
    if x.is_inference() and not torch.is_inference_mode_enabled():
        raise RopeError(name, "a tensor of inference mode", "cannot be changed outside it", "Use apply.", "R-2.8")
    check_apart(name, x.shape, x.stride())


class _Memory:
    """Where a tensor lies, in the words of NumPy's array interface; nothing is read."""

    def __init__(self, x: Tensor) -> None:
        size = x.element_size()
        strides = tuple(size * stride for stride in x.stride())
        where = {"shape": tuple(x.shape), "strides": strides, "data": (x.data_ptr(), True), "typestr": f"|V{size}"}
        self.__array_interface__ = {"version": 3, **where}


def share_memory(q: Tensor, k: Tensor) -> bool:
    """Return whether an element of q may be one of k: views of one fused projection seldom do."""
    if recording() or q.numel() == 0 or k.numel() == 0 or q.device != k.device:
        return False
    try:
        return np.shares_memory(np.asarray(_Memory(q)), np.asarray(_Memory(k)), max_work=1_000_000)  # type: ignore[arg-type]  # NumPy's stubs know two of its values
    except np.exceptions.TooHardError:
        return True


def same_memory(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors of one shape are surely the same elements in the same order."""
    plain = not recording() and type(a) is type(b) is Tensor and a.device == b.device
    return a is b or (plain and a.data_ptr() == b.data_ptr() and a.stride() == b.stride())
