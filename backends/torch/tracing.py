"""What a plan is to torch: tensors and facts that a compiler takes for constants, and when tables
may be kept.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ropecore.adapter.store import TableStore
from ropecore.plan import RotaryPlan
from ropecore.precision import limbs, real_turns

CONSTANTS = TableStore(max_bytes=1 << 26)  # a few KiB a plan and device: a copy to a GPU in each call would wait for it

IN_GRAPHS: dict[str, Tensor] = {}

_ON_HOST: dict[str, Callable[[RotaryPlan], Any]] = {
    "limbs_64": lambda plan: np.stack(limbs(plan, 64)).swapaxes(1, 2),  # (limbs, n_axes, n_pairs), high first
    "limbs_96": lambda plan: np.stack(limbs(plan, 96)).swapaxes(1, 2),
    "turns": lambda plan: real_turns(plan).T,  # (n_axes, n_pairs)
    "frequencies": lambda plan: plan.frequencies.T,
    "log_magnitude": lambda plan: plan.log_magnitude,  # (n_pairs,)
    "lanes": lambda plan: plan.lanes.T,  # (2, n_pairs)
    "out_lanes": lambda plan: plan.out.T,
}


def constant(plan: RotaryPlan, name: str, device: Any, dtype: str = "int64") -> Tensor:
    """Return an array of the plan as a tensor."""
    if torch.compiler.is_dynamo_compiling():
        in_graphs = _for_graphs(plan, name, device, dtype)  # before _in_graph is looked up, which it marks
        return _in_graph(in_graphs)
    if recording():
        return _tensor(plan, name, device, dtype)
    key = plan, name, device, dtype
    with torch.inference_mode(False):  # one made in inference mode could not be used in training later
        return CONSTANTS.get(key, lambda: _tensor(plan, name, device, dtype), lambda tensor: tensor.nbytes)


def _tensor(plan: RotaryPlan, name: str, device: Any, dtype: str) -> Tensor:
    return torch.tensor(np.ascontiguousarray(_ON_HOST[name](plan), dtype), device=device)


def _for_graphs(plan: RotaryPlan, name: str, device: Any, dtype: str) -> str:
    """Return the key of a constant that compiled graphs keep, as long as the process lives."""
    key = f"{plan.digest} {name} {device} {dtype}"
    IN_GRAPHS.setdefault(key, _tensor(plan, name, device, dtype))
    torch.compiler.allow_in_graph(_in_graph)  # not as a decorator, which would load the compiler with this module
    return key


def _in_graph(key: str) -> Tensor:
    """Return the constant as an operation of the graph: as an input of it, it could get a length
    that varies with x's.
    """
    return torch.ops.aten.lift_fresh.default(IN_GRAPHS[key])


def facts(plan: RotaryPlan) -> tuple[int, float, float | None]:
    """Return the number of pairs, A, and the centre of the magnitude if there is one: read here,
    they are no inputs.
    """
    return plan.n_pairs, plan.attention_factor, None if plan.log_magnitude is None else plan.centre


def regular_lanes(plan: RotaryPlan, lanes: str) -> tuple[slice, slice, str] | None:
    """Return "lanes" or "out_lanes" as two slices, and how they make up a block; None where they
    are not regular.
    """
    first, second = plan.read_index if lanes == "lanes" else plan.write_index
    if not (isinstance(first, slice) and isinstance(second, slice)):
        return None
    halves, steps = first.stop == second.start, (first.start + 1, first.step) == (second.start, 2)
    return first, second, "halves" if halves else "steps" if steps else "apart"


# Compiled graphs keep what these return, and guard on the identity of the plan.
# `torch.compiler.assume_constant_result` sets the same mark, but loads torch._dynamo, which takes
# seconds.
for _function in (_for_graphs, facts, regular_lanes):
    _function.__dict__["_dynamo_marked_constant"] = True


def recording() -> bool:
    """Return whether operations are compiled, traced, faked or transformed, and not simply run.

    No value can be read then, and what is made belongs to that graph: it must not be kept for other
    calls.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # torch.onnx traces or exports, too
        return True
    # FakeTensorMode, make_fx and other dispatch modes; torch.func's grad, vmap and jvp
    return bool(torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active())


def may_keep(x: Tensor) -> bool:
    """Return whether a call on x may use tables that other calls made,
    and leave its own to them.
    """
    if recording() or x.is_meta or hasattr(x, "device_mesh"):
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())
