"""Mutants of weights and configuration files: M92 to M95."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

import ropecore
from ropecore import RopeConfig, RotaryPlan

from ..arrays import Array
from .base import Right

QUERY_HEADS = 8  # of the model whose keys M93 permutes


class Converter(Right):
    """The right target of a program that converts the weights of models."""

    @property
    def rules(self) -> SimpleNamespace:
        """Return the one rule that it offers."""
        return SimpleNamespace(convert_pairing=self.convert)

    def convert(
        self, weight: Array, plan_from: RotaryPlan, plan_to: RotaryPlan, *, n_heads: int, kind: str = "rows"
    ) -> Array:
        """Return a tensor on the lanes of another plan."""
        return np.asarray(ropecore.convert_pairing(weight, plan_from, plan_to, n_heads=n_heads, kind=kind))


class PermutedTheOtherWay(Converter):
    """Weights are permuted forward where the inverse is meant."""

    flag = "M92"

    def convert(
        self, weight: Array, plan_from: RotaryPlan, plan_to: RotaryPlan, *, n_heads: int, kind: str = "rows"
    ) -> Array:
        return super().convert(weight, plan_to, plan_from, n_heads=n_heads, kind=kind)


class KeysByAnotherNumberOfHeads(Converter):
    """Weights of k are permuted with a wrong number of heads."""

    flag = "M93"

    def convert(
        self, weight: Array, plan_from: RotaryPlan, plan_to: RotaryPlan, *, n_heads: int, kind: str = "rows"
    ) -> Array:
        whole = plan_from.rotary_dim == plan_from.head_dim and kind == "rows"
        heads = QUERY_HEADS // n_heads  # the size of a group, in place of the number of groups
        if not whole or len(weight) % (2 * heads):
            return super().convert(weight, plan_from, plan_to, n_heads=n_heads, kind=kind)
        pairs = {"half_split": (2, -1), "interleaved": (-1, 2)}[plan_from.pairing]
        cut = weight.reshape(heads, *pairs, *weight.shape[1:])
        return np.ascontiguousarray(cut.swapaxes(1, 2)).reshape(weight.shape)


class RowsAlone(Converter):
    """Biases, norms, scales or LoRA factors are not permuted with the weights."""

    flag = "M94"

    def convert(
        self, weight: Array, plan_from: RotaryPlan, plan_to: RotaryPlan, *, n_heads: int, kind: str = "rows"
    ) -> Array:
        if kind != "rows":
            return weight
        return super().convert(weight, plan_from, plan_to, n_heads=n_heads, kind=kind)


class ReadsTheOldKeys(Right):
    """A configuration is read by the keys of another version."""

    flag = "M95"

    @property
    def rules(self) -> SimpleNamespace:
        """Return the one rule that it offers."""
        return SimpleNamespace(read_config=self.read)

    def read(self, source: Mapping[str, Any], layer_type: str | None = None) -> RopeConfig | None:
        """Return the RoPE of a source without its rope_parameters: the default base stands in for
        them.
        """
        flat = {key: value for key, value in source.items() if key != "rope_parameters"}
        return ropecore.read_config(flat, strict=False)
