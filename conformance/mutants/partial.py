"""Mutants of partial and proportional rotation: M18 to M25."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ropecore import RopeConfig, RotaryPlan
from ropecore.config import Rows

from ..arrays import Array
from .base import Config, FromConfig, Right, Tables, rotary_dim, rule, series, unscaled


class LastLanesForFirst(Right):
    """The last lanes are rotated in place of the first."""

    flag = "M18"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        if plan.pairing == "general":
            return plan
        moved = plan.lanes + plan.head_dim - plan.rotary_dim
        return plan.replace(lanes=moved, out_lanes=moved)


class AllLanes(FromConfig):
    """rotary_dim is ignored: all lanes are rotated."""

    flag = "M19"

    def config(self, config: Config) -> Config:
        if "sections" in config or "inv_freq" in config:
            return config
        return {**config, "rotary_dim": config["head_dim"], "lane_offset": 0}


class DenominatorHeadDim(FromConfig):
    """The exponent's denominator is head_dim in a partial rotation."""

    flag = "M20"

    def config(self, config: Config) -> Config:
        return {**config, "frequency_dim": config["head_dim"]} if series(config) else config


class PairsAcrossTheHead(FromConfig):
    """Lanes are paired at head_dim / 2 in a partial rotation."""

    flag = "M21"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows = super().rows(config, seq_len)
        one_block = config["pairing"] == "half_split" and len(set(np.diff(rows.lanes, axis=1).ravel())) == 1
        if not one_block or config.get("lane_offset") or config.get("out_pairing"):
            return rows
        lanes = rows.lanes[:, :1] + np.array([0, config["head_dim"] // 2])
        return rows._replace(lanes=lanes, out_lanes=lanes)


class ProportionalAsPartial(FromConfig):
    """A proportional rotation is done as a partial one, or the reverse."""

    flag = "M22"

    def config(self, config: Config) -> Config:
        if rule(config) != "proportional":
            return config
        part = int(config["scaling"]["partial_rotary_factor"] * rotary_dim(config) / 2) * 2
        return {**unscaled(config), "rotary_dim": max(part, 2)}


class OtherLanesScaledToo(Right):
    """The attention factor multiplies lanes that pass through."""

    flag = "M23"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        y = super().turn(plan, x, cos, sin)
        y[..., np.setdiff1d(np.arange(plan.head_dim), plan.lanes)] *= plan.attention_factor
        return y


class RoundsDown:
    """A configuration that rounds an odd rotary_dim down without a word."""

    def __init__(self, config: Config) -> None:
        self.inner = RopeConfig.from_dict({**config, "rotary_dim": rotary_dim(config) // 2 * 2})

    def plan(self, seq_len: int | None = None) -> RotaryPlan:
        """Return the plan of the rounded configuration."""
        return self.inner.plan(seq_len)


class OddRotaryDimAccepted(Right):
    """An odd rotary_dim is accepted."""

    flag = "M24"
    capabilities: ClassVar[Mapping[str, Any]] = {"angle": "exact"}  # it is judged by its refusals
    rules: ClassVar[Any] = SimpleNamespace(RopeConfig=SimpleNamespace(from_dict=RoundsDown))


class SineBehindAPaddedCosine(Right):
    """The sine is looked up behind a size padded to a power of two."""

    flag = "M25"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        cos, sin = super().tables(plan, positions, role)
        padded = 1 << (plan.n_pairs - 1).bit_length() if plan.n_pairs else 0
        joined = np.concatenate([cos, sin, np.zeros_like(sin)], axis=-1)
        return cos, joined[..., padded : padded + plan.n_pairs]
