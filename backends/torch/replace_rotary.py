"""Other people's models: their rotary module replaced by ropecore's tables, and put back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import ropecore
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan


class _Tables(nn.Module):  # type: ignore[misc]
    """A rotary module of transformers' kind: (x, position_ids) -> cos, sin in layout full_concat,
    in the dtype of x.
    """

    def __init__(self, plan: RotaryPlan, precision: str) -> None:
        super().__init__()
        self.plan, self.precision = plan, precision

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        from . import cos_sin

        tables = cos_sin(self.plan, position_ids, precision=self.precision)
        cos, sin = (torch.cat([table, table], dim=-1).to(x.dtype) for table in tables)
        return cos, sin


def replace_rotary(model: nn.Module, plan: RotaryPlan | None = None, precision: str = "exact") -> Callable[[], None]:
    """Give a transformers model ropecore's cos and sin, in place, and return the function that
    undoes it.

    plan: by default what `ropecore.read_config(model.config)` says; with precision "float32" the
    module's own inv_freq is used, and the logits keep their bits.  For models with one rotary
    module for all layers that returns cos and sin in layout full_concat (R-8.1), as Llama, Qwen and
    Mistral have; others are refused with a RopeError.
    """
    found = [(name, module) for name, module in model.named_modules() if hasattr(module, "inv_freq")]
    if len(found) != 1:
        names = [name for name, _ in found]
        cure = "Rotate in its attention with rope.apply instead."
        raise RopeError("model", names, "must have one rotary module with inv_freq", cure, "R-8.1")
    name, old = found[0]
    plan = _plan(model, old, precision) if plan is None else plan
    if 2 * len(old.inv_freq) != plan.rotary_dim or plan.n_axes != 1:
        reason = f"has {plan.n_pairs} pairs and {plan.n_axes} axes, and the module {len(old.inv_freq)} frequencies"
        raise RopeError("plan", plan, reason, rule="R-12.7")
    parent = model.get_submodule(name.rpartition(".")[0])
    last = name.rpartition(".")[2]
    setattr(parent, last, _Tables(plan, precision))
    return lambda: setattr(parent, last, old)


def _plan(model: nn.Module, module: Any, precision: str) -> RotaryPlan:
    """Return the plan that the model's configuration says, with the module's own bits in the
    float32 class.
    """

    config: Any = getattr(model, "config", None)
    if config is None:
        raise RopeError("model", type(model).__name__, "has no config to read", "Give plan=.", "R-12.6")
    if getattr(module, "rope_type", "default") in ("dynamic", "longrope"):
        cure = "Give plan=, made for one length."
        raise RopeError("model", module.rope_type, "its frequencies change with the length of the input", cure, "R-5.4")
    rope = ropecore.read_config(config)
    if rope is None:
        raise RopeError("model", type(model).__name__, "its layers do not rotate", rule="R-12.6")
    plan = rope.plan()
    return plan.with_frequencies(module.inv_freq.double().cpu().numpy()) if precision == "float32" else plan
