"""Mutants of precision: M44 to M54."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import ropecore
from ropecore import RotaryPlan
from ropecore.config import Rows

from ..arrays import Array
from .base import Config, FromConfig, Right, Tables, bfloat16, rotary_dim, rule, series, through


def tables_by(product: Callable[[Array, Array], Array], plan: RotaryPlan, positions: Any, role: str) -> Tables:
    """Return tables of angles from another product of position and frequency; A and the magnitude
    are right.
    """
    rows = [np.asarray(row, np.float64) for row in (positions if plan.n_axes > 1 else [positions])]
    angle = sum(product(p[..., None], f).astype(np.float64) for p, f in zip(rows, plan.frequencies.T, strict=True))
    scale = np.hypot(*ropecore.cos_sin(plan, positions, role))
    return np.cos(angle) * scale, np.sin(angle) * scale


def tf32(x: Array) -> Array:
    """Return numbers with the 11 significant bits of TF32."""
    fraction, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.rint(fraction * 2**11) / 2**11, exponent))


def float32_reduced(p: Array, f: Array) -> Array:
    """Return the angle less a multiple of a rounded 2 pi, all in float32."""
    angle, turn = (p * f).astype(np.float32), np.float32(2 * np.pi)
    return np.asarray(angle - np.rint(angle / turn) * turn)


class Bfloat16Positions(Right):
    """Positions are held in bfloat16."""

    flag = "M44"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return through(super().positions(positions, offset, length), bfloat16())


class Float16Positions(Right):
    """Positions are held in float16."""

    flag = "M45"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return through(super().positions(positions, offset, length), np.float16)


class Bfloat16Frequencies(Right):
    """Frequencies are held in bfloat16."""

    flag = "M46"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        return plan.with_frequencies(plan.frequencies.astype(bfloat16()).astype(np.float64))


class Float16Frequencies(Right):
    """Frequencies are held in float16."""

    flag = "M47"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        return plan.with_frequencies(plan.frequencies.astype(np.float16).astype(np.float64))


class Bfloat16Product(Right):
    """The product of position and frequency is held in bfloat16."""

    flag = "M48"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        return tables_by(lambda p, f: (p * f).astype(bfloat16()), plan, positions, role)


class FactorsInTf32(Right):
    """Angles come from a matrix product that rounds its factors (TF32, bfloat16)."""

    flag = "M49"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        return tables_by(lambda p, f: tf32(p) * tf32(f), plan, positions, role)


class ModeChangesPrecision(Right):
    """An ambient mode (autocast, default dtype, TF32, x64) changes the result."""

    flag = "M50"

    def __init__(self) -> None:
        self.modes: list[str] = []  # those that are on

    @contextmanager
    def ambient(self, name: str) -> Iterator[None]:
        """Turn on a mode of a framework."""
        self.modes.append(name)
        try:
            yield
        finally:
            self.modes.pop()

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        y = super().turn(plan, x, cos, sin)
        return y.astype(bfloat16()).astype(np.float64) if self.modes else y


class ReducedInFloat32(Right):
    """Fast-math sines, or a reduction by a rounded 2 pi."""

    flag = "M51"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        return tables_by(float32_reduced, plan, positions, role)


class Bfloat16Tables(Right):
    """Tables are bfloat16 where float32 is declared."""

    flag = "M52"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        cos, sin = ropecore.cos_sin(plan, positions, role)
        return cos.astype(bfloat16()).astype(np.float64), sin.astype(bfloat16()).astype(np.float64)


class SixteenBitArithmetic(Right):
    """Products and sums are bfloat16 where float32 is declared."""

    flag = "M53"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        if x.dtype.itemsize > 2:
            return super().turn(plan, x, cos, sin)
        return ropecore.rotate(plan, x, cos.astype(x.dtype), sin.astype(x.dtype))


class Float32Exponential(FromConfig):
    """Frequencies come from exp(-j ln b) in float32."""

    flag = "M54"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows = super().rows(config, seq_len)
        if not series(config) or rule(config) or "sections" in config:
            return rows
        dim = np.float32(config.get("frequency_dim", rotary_dim(config)))
        exponent = np.arange(0, rotary_dim(config), 2, dtype=np.float32) / dim * np.log(np.float32(config["base"]))
        return rows._replace(frequencies=np.exp(-exponent).astype(np.float64)[:, None] * config.get("direction", 1))
