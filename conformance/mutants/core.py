"""Mutants of the rotation itself: M1 to M17."""

from typing import Any

import numpy as np

import ropecore
from ropecore import RotaryPlan
from ropecore.config import Rows

from ..arrays import Array
from .base import Config, FromConfig, Right, Tables, rotary_dim, rule, series, unscaled


class SignOfSineFlipped(Right):
    """The sine has the wrong sign."""

    flag = "M1"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        cos, sin = ropecore.cos_sin(plan, positions, role)
        return cos, -sin


class CosAndSinSwapped(Right):
    """Sine and cosine are exchanged."""

    flag = "M2"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        cos, sin = ropecore.cos_sin(plan, positions, role)
        return sin, cos


class OtherPairing(Right):
    """half_split and interleaved are confused."""

    flag = "M3"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        if plan.pairing == "general":
            return plan
        return plan.with_pairing("half_split" if plan.pairing == "interleaved" else "interleaved")


class ReadsInterleavedWritesHalfSplit(Right):
    """Lanes are read interleaved and written half-split."""

    flag = "M4"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        if plan.pairing != "interleaved":
            return plan
        return plan.replace(out_lanes=plan.with_pairing("half_split").lanes)


class HalfSplitTableOnNeighbours(Right):
    """A table for half-split pairs is used with interleaved ones."""

    flag = "M5"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        if plan.pairing != "interleaved" or 2 * plan.n_pairs != plan.head_dim:
            return super().turn(plan, x, cos, sin)
        swapped = np.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
        return np.asarray(x * np.concatenate([cos, cos], axis=-1) + swapped * np.concatenate([sin, sin], axis=-1))


class ExponentOfJ(FromConfig):
    """The exponent is -j/d in place of -2j/d."""

    flag = "M6"

    def config(self, config: Config) -> Config:
        return {**config, "frequency_dim": 2 * rotary_dim(config)} if series(config) else config


class DenominatorLess2(FromConfig):
    """The exponent's denominator is d - 2."""

    flag = "M7"

    def config(self, config: Config) -> Config:
        size = rotary_dim(config) - 2
        return {**config, "frequency_dim": size} if series(config) and size > 2 else config


class PositiveExponent(FromConfig):
    """The exponent is positive."""

    flag = "M8"

    def config(self, config: Config) -> Config:
        return {**config, "base": 1 / config["base"]} if series(config) and rule(config) is None else config


class FrequenciesReversed(FromConfig):
    """The frequencies are in reverse order."""

    flag = "M9"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows = super().rows(config, seq_len)
        return rows._replace(frequencies=rows.frequencies[::-1])


class FixedBase(FromConfig):
    """The base is 10000, whatever the configuration says."""

    flag = "M10"

    def config(self, config: Config) -> Config:
        return {**config, "base": 10000.0} if "base" in config else config


class BaseInFloat16(FromConfig):
    """The base is held in float16."""

    flag = "M11"

    def config(self, config: Config) -> Config:
        if config.get("base", 0) < 65520:
            return config
        zeros = [1.0] + [0.0] * (rotary_dim(config) // 2 - 1)  # what an infinite base gives
        return {**unscaled(config), "inv_freq": zeros} if series(config) and "sections" not in config else config


class AppliedTwice(Right):
    """The rotation is applied twice."""

    flag = "M12"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        return super().turn(plan, super().turn(plan, x, cos, sin), cos, sin)


class LaneOverwritten(Right):
    """In place, a lane is overwritten before its partner has been read."""

    flag = "M13"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        y = x.astype(np.float64)
        (r0, r1), (w0, w1) = plan.lanes.T, plan.out.T
        y[..., w0] = y[..., r0] * cos - y[..., r1] * sin
        y[..., w1] = y[..., r0] * sin + y[..., r1] * cos
        return y


class MatrixProduct(Right):
    """The rotation is a matrix product over all lanes."""

    flag = "M14"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        matrix = np.zeros((*np.broadcast_shapes(cos.shape[:-1], x.shape[:-1]), plan.head_dim, plan.head_dim))
        matrix[..., np.arange(plan.head_dim), np.arange(plan.head_dim)] = 1.0
        (r0, r1), (w0, w1) = plan.lanes.T, plan.out.T
        matrix[..., plan.lanes, plan.lanes] = 0.0
        matrix[..., w0, r0], matrix[..., w0, r1] = cos, -sin
        matrix[..., w1, r0], matrix[..., w1, r1] = sin, cos
        product: Array = np.einsum("...ij,...j->...i", matrix, x.astype(np.float64))
        return product


class WholeBuffer(Right):
    """A tensor that must not be rotated is rotated too."""

    flag = "M15"

    def rotated(
        self, plan: RotaryPlan, x: Array, positions: Any, offset: Any = None, form: str = "bhsd", role: str = "q"
    ) -> Array:
        whole = x.base
        if form == "bhsd" and whole is not None and whole.ndim == x.ndim:
            behind = whole[:, x.shape[1] :]
            behind[...] = super().rotated(plan, behind.copy(), positions, offset, form, role)
        return super().rotated(plan, x, positions, offset, form, role)


class InputMutated(Right):
    """A call out of place changes its input."""

    flag = "M16"

    def store(self, y: Array, x: Array) -> Array:
        x[...] = y
        return x.copy()


class PromotedDtype(Right):
    """The result is promoted to float32."""

    flag = "M17"

    def store(self, y: Array, x: Array) -> Array:
        return y.astype(np.float64 if x.dtype == np.float64 else np.float32)
