"""Mutants of state, construction, gradients and inverse: M84 to M91."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import ropecore
from ropecore import RotaryPlan

from ..arrays import Array
from .base import Right, Tables, WithEverything, WithGradient, WithTables

NEVER_WRITTEN = 2.0**-7  # what the memory held before: any number does, and tests want the same one each time


class CachedTables(Right):
    """A target that keeps its tables under an incomplete key."""

    remembers = True

    def __init__(self) -> None:
        self.kept: dict[Any, Tables] = {}

    def key(self, plan: RotaryPlan, positions: Any) -> Any:
        """Return what tables are kept by."""
        raise NotImplementedError

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        return self.kept.setdefault(self.key(plan, positions), ropecore.cos_sin(plan, positions, role))


class CacheWithoutBase(CachedTables):
    """A cache of tables does not know the base."""

    flag = "M84"

    def key(self, plan: RotaryPlan, positions: Any) -> Any:
        return plan.head_dim, plan.lanes.tobytes(), np.asarray(positions).tobytes()


class CacheWithoutPositions(CachedTables):
    """A cache of tables does not know offset, dtype, device or layout."""

    flag = "M85"

    def key(self, plan: RotaryPlan, positions: Any) -> Any:
        return plan, np.shape(positions)


class UninitialisedTables(Right):
    """Tables are uninitialised after construction on the meta device."""

    flag = "M86"
    needs_module = "torch"

    def from_meta(self, plan: RotaryPlan) -> Callable[..., Array]:
        """Return a module whose frequencies were a buffer on the meta device, and got memory
        without being made again.
        """
        torch: Any = importlib.import_module("torch")
        buffer = torch.empty(plan.frequencies.shape, dtype=torch.float64, device="meta")
        held = torch.empty_like(buffer, device="cpu").fill_(NEVER_WRITTEN).numpy()
        return lambda x, positions: self.rotated(plan.with_frequencies(held), x, positions)


class GradientTurnsForward(WithGradient):
    """The gradient turns forward."""

    flag = "M87"
    transposed = False


class NoGradient(WithGradient):
    """There is no gradient."""

    flag = "M88"

    def vjp(self, *args: Any, **options: Any) -> Any:
        return None


class GradientWithoutOffset(WithGradient):
    """The gradient ignores the offset or the attention factor."""

    flag = "M89"

    def vjp(
        self,
        plan: RotaryPlan,
        x: Array,
        g: Array,
        positions: Any = None,
        offset: Any = None,
        tensor_format: str = "bhsd",
    ) -> Any:
        return super().vjp(plan.replace(attention_factor=1.0), x, g, positions, None, tensor_format)


class InverseWithoutDivision(WithTables):
    """The inverse does not divide by A squared."""

    flag = "M90"

    def rotate(
        self,
        plan: RotaryPlan,
        x: Array,
        cos: Array,
        sin: Array,
        tensor_format: str = "bhsd",
        inverse: bool = False,
        transpose: bool = False,
    ) -> Array:
        return super().rotate(plan, x, cos, sin, tensor_format, transpose=transpose or inverse)


class ShiftMultipliesAgain(WithEverything):
    """Two rotations are not the rotation by the sum."""

    flag = "M91"

    def shift(self, plan: RotaryPlan, x: Array, delta: int) -> Array:
        places = np.full((plan.n_axes, x.shape[-2]), delta)
        return self.rotated(plan, x, places if plan.n_axes > 1 else places[0], role="k")
