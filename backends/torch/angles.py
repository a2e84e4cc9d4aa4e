"""Angles in torch: the formulas that every adapter shares, on int64 and float tensors (rope.md
chapters 7 and 10).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import BEYOND_COORDINATES, LARGEST_POSITION
from ropecore.precision import (
    LARGEST_LOG_MAGNITUDE,
    cos_sin_of_phase,
    phase_32,
    phase_words,
    real_phase_32,
    remainder_of_words,
    signed_log_magnitude,
    turn_by_quarters,
)

from .fused import tables_fast
from .tiled import tables_in_blocks
from .tracing import constant, facts, recording

_LOW_32 = 0xFFFFFFFF


def as_tensor(argument: str, values: Any) -> Tensor:
    """Return numbers of any kind as a tensor; those of the host keep their width, whatever the
    default dtype is.
    """
    if isinstance(values, torch.Tensor):
        return values
    try:
        array = np.array(values)  # a copy: torch warns of read-only memory
        return torch.as_tensor(array if array.size else array.astype(np.int64), device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise RopeError(argument, values, "is no array of numbers", "Give a tensor, or a list.", "R-12.5") from error


def coordinates(plan: RotaryPlan, positions: Any) -> list[Tensor]:
    """Return the coordinates of each axis: int64 on integer axes, floats on real ones.  Rules
    R-6.9, R-7.1, R-7.3.
    """
    if plan.n_axes == 1:
        columns = [as_tensor("positions", positions)]
    else:  # a list of tensors, one an axis, keeps integers beside reals
        given = positions if isinstance(positions, (list, tuple)) else as_tensor("positions", positions)
        columns = [as_tensor("positions", column) for column in given] if len(given) == plan.n_axes else []
    if not columns or any(column.shape != columns[0].shape for column in columns[1:]):
        cure = "For text use ropecore.text_positions(ids, n_axes); for axes last, ropecore.axes_first(ids)."
        shapes = [tuple(column.shape) for column in columns]
        raise RopeError("positions", shapes, f"must have {plan.n_axes} axes of one shape first", cure, "R-7.3")
    return [_real(p) if real else _integer(p) for p, real in zip(columns, plan.real_axes, strict=True)]


def _integer(p: Tensor) -> Tensor:
    if p.dtype.is_floating_point or p.dtype.is_complex or p.dtype is torch.bool:
        cure = "Round them, or give the plan a real axis."
        raise RopeError("positions", str(p.dtype), "positions on an integer axis must be integers", cure, "R-12.5")
    unsigned, p = not p.dtype.is_signed, p.to(torch.int64)
    if not _seen(p):
        return p.to(torch.int32).to(torch.int64)  # wraps modulo 2^32, so that no product below reaches 2^63
    low, high = (int(end) for end in p.aminmax()) if p.numel() else (0, 0)
    if max(high, -low) > LARGEST_POSITION or (unsigned and low < 0):
        cure = "Subtract the same from all: scores know only differences."
        worst = high if high > LARGEST_POSITION else low
        raise RopeError("positions", worst, "positions must be within +-(2^31 - 1)", cure, "R-7.1")
    return p


def _real(p: Tensor) -> Tensor:
    if p.dtype.is_complex or p.dtype is torch.bool:
        raise RopeError(
            "positions", str(p.dtype), "coordinates on a real axis must be numbers", "Give floats.", "R-12.5"
        )
    if _seen(p) and not (p.abs() < BEYOND_COORDINATES).all():  # nor is NaN
        reason = "coordinates on a real axis must be finite, and below 2^31"
        raise RopeError("positions", float(p.abs().max()), reason, rule="R-7.12")
    return p.detach()


def _seen(p: Tensor) -> bool:
    """Return whether the values can be read without waiting for a device or breaking a graph."""
    return not recording() and type(p) is torch.Tensor and p.is_cpu


def _cos_sin_32(plan: RotaryPlan, columns: Sequence[Tensor], precision: str) -> tuple[Tensor, Tensor]:
    """Return float32 cos and sin, without A, of shape positions + (n_pairs,).  Rules R-10.2,
    R-10.3.
    """
    device = columns[0].device
    if precision == "float32":
        frequencies = constant(plan, "frequencies", device, "float32")
        angles = [p[..., None].to(torch.float32) * frequencies[a] for a, p in enumerate(columns)]
        angle = sum(angles[1:], angles[0])
        return angle.cos(), angle.sin()
    if not all(map(_seen, columns)):
        return cos_sin_of_phase(_phase_32(plan, columns), lambda r: r.to(torch.float32), torch.where)
    return tables_fast(plan, columns) or tables_in_blocks(lambda part: _phase_32(plan, part), columns, facts(plan)[0])


def _phase_32(plan: RotaryPlan, columns: Sequence[Tensor]) -> Tensor:
    """Return the angle in 2^-32 turns, int64.  Rule R-10.2."""
    high, low = constant(plan, "limbs_64", columns[0].device)
    phases = [
        _real_phase(plan, a, p) if plan.real_axes[a] else phase_32(p[..., None], high[a], low[a])
        for a, p in enumerate(columns)
    ]
    phase: Tensor = sum(phases[1:], phases[0]) & _LOW_32
    return phase


def _real_phase(plan: RotaryPlan, a: int, p: Tensor) -> Tensor:
    turns = p[..., None].to(torch.float32) * constant(plan, "turns", p.device, "float32")[a]
    return real_phase_32(turns, torch.round, lambda t: t.to(torch.int64))


def _cos_sin_64(plan: RotaryPlan, columns: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return float64 cos and sin, without A, from phases in two words of 2^-32 and 2^-64 turns.
    Rule R-10.2.
    """
    parts = [_phase_words(plan, a, p[..., None]) for a, p in enumerate(columns)]
    low = sum(part[1] for part in parts[1:]) + parts[0][1]
    high = sum(part[0] for part in parts[1:]) + parts[0][0] + (low >> 32)
    quarter, left = remainder_of_words(high & _LOW_32, low & _LOW_32)
    angle = left.to(torch.float64) * (2.0**-62 * (math.pi / 2))
    return turn_by_quarters(angle.cos(), angle.sin(), quarter, torch.where)


def _phase_words(plan: RotaryPlan, a: int, p: Tensor) -> tuple[Tensor, Tensor]:
    if not plan.real_axes[a]:
        return phase_words(p, constant(plan, "limbs_96", p.device)[:, a])
    turns = p.to(torch.float64) * constant(plan, "turns", p.device, "float64")[a]
    units = ((turns - turns.round()) * 2.0**62).round().to(torch.int64)
    return units >> 30, (units & (2**30 - 1)) << 2


def tables(
    plan: RotaryPlan, columns: Sequence[Tensor], role: str, precision: str, dtype: str, moved: bool = False
) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the coordinates, times A and the magnitude; moved: by a distance,
    without A (R-9.5).
    """
    by = _factor(plan, columns[0], role, moved)
    wide = precision == "exact" and dtype == "float64"
    cos, sin = _cos_sin_64(plan, columns) if wide else _cos_sin_32(plan, columns, precision)
    if isinstance(by, torch.Tensor):
        by = by.to(cos.dtype)  # A is rounded once
    if by is not None:
        cos, sin = cos * by, sin * by
    return cos.to(getattr(torch, dtype)), sin.to(getattr(torch, dtype))


def _factor(plan: RotaryPlan, p: Tensor, role: str, moved: bool) -> Any:
    """Return A times the magnitude, a tensor of shape positions + (n_pairs,) or a number, or None
    for 1.  Rule R-2.4.
    """
    sign, (_, attention_factor, centre) = signed_log_magnitude(role), facts(plan)
    if centre is None:
        return None if moved or attention_factor == 1 else attention_factor
    rates = constant(plan, "log_magnitude", p.device, "float32" if p.device.type == "mps" else "float64")
    log = rates * (p[..., None].to(rates.dtype) - (0.0 if moved else centre))
    if _seen(log) and log.numel() and log.abs().max() > LARGEST_LOG_MAGNITUDE:
        cure = "Choose a centre nearer to the positions, or a larger scale_base."
        far = p.flatten()[log.abs().flatten(0, -2).amax(-1).argmax()].item()
        raise RopeError("positions", far, "the magnitude leaves [2^-100, 2^100]", cure, "R-2.4")
    grown = (sign * log).exp()
    return grown if moved else grown * attention_factor
