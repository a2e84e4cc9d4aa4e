"""Mutants of several axes: M77 to M83."""

from typing import Any

import numpy as np

import ropecore
from ropecore import RotaryPlan
from ropecore.config import Rows

from ..arrays import Array
from .base import Config, FromConfig, Right, Tables, rotary_dim
from .precision import tables_by


class LastTwoAxesExchanged(Right):
    """Height and width are exchanged."""

    flag = "M77"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        if plan.n_axes < 2 or any(plan.real_axes):
            return ropecore.cos_sin(plan, positions, role)
        order = [*range(plan.n_axes - 2), plan.n_axes - 1, plan.n_axes - 2]
        return ropecore.cos_sin(plan, np.asarray(positions)[order], role)


class AxesChunked(FromConfig):
    """Axes are chunked where they are interleaved."""

    flag = "M78"

    def config(self, config: Config) -> Config:
        return {**config, "axis_order": "chunked"} if config.get("axis_order") == "interleaved" else config


class InterleavedToTheEnd(FromConfig):
    """The interleaving of axes does not end with their sections."""

    flag = "M79"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows = super().rows(config, seq_len)
        if config.get("axis_order") != "interleaved":
            return rows
        count, axes = rows.frequencies.shape
        matrix = np.zeros_like(rows.frequencies)
        matrix[np.arange(count), np.arange(count) % axes] = rows.frequencies.sum(axis=1)
        return rows._replace(frequencies=matrix)


class SectionsNotRepeated(Right):
    """Sections are not repeated for the second half of the lanes."""

    flag = "M80"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        y = super().turn(plan, x, cos, sin)
        if plan.n_axes > 1 and plan.pairing == "half_split":
            other = super().turn(plan, x, *(np.repeat(table[..., -1:], plan.n_pairs, axis=-1) for table in (cos, sin)))
            y[..., plan.lanes[:, 1]] = other[..., plan.lanes[:, 1]]
        return y


class AxesOverTheWholeHead(FromConfig):
    """The exponent of an axis has the whole head as its denominator."""

    flag = "M81"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows = super().rows(config, seq_len)
        if config.get("axis_frequencies") != "per_axis":
            return rows
        size = 2 * (rows.frequencies != 0).sum(axis=0)
        return rows._replace(
            frequencies=np.where(rows.frequencies != 0, rows.frequencies ** (size / rotary_dim(config)), 0.0)
        )


class AxesOfEqualSize(FromConfig):
    """The sizes of the axes come from another formula."""

    flag = "M82"

    def config(self, config: Config) -> Config:
        if config.get("axis_frequencies") != "per_axis" or not isinstance(config.get("axis_order", ""), str):
            return config
        each, rest = divmod(sum(config["sections"]), len(config["sections"]))
        return {**config, "sections": [each + (a < rest) for a in range(len(config["sections"]))]}


class SeveralAxesInFloat32(Right):
    """Text in a plan with several axes differs from text in a plan with one."""

    flag = "M83"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        return tables_by(lambda p, f: p.astype(np.float32) * f.astype(np.float32), plan, positions, role)
