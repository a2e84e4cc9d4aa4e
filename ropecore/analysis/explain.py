"""What a configuration does, pair by pair: the table behind `ropecore explain`."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ropecore.analysis import bands, stretches
from ropecore.arguments import Count, checked
from ropecore.attention import attention_rules
from ropecore.config import Config, RopeConfig
from ropecore.plan import RotaryPlan


@dataclass(frozen=True)
class PairRow:
    """One pair: frequency in radians a position, wavelength in positions, and turns within the
    context.
    """

    pair: int
    lanes: tuple[int, int]
    axis: str
    frequency: float
    wavelength: float
    turns: float
    stretch: float  # wavelength after scaling / before: 1 where the rule kept the pair
    effect: str


@dataclass(frozen=True)
class Explanation:
    """A configuration's pairs, its plan, and what a reader should know."""

    config: RopeConfig
    plan: RotaryPlan
    context: int
    rows: tuple[PairRow, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON can hold it; an infinite wavelength is the string
        "Infinity".
        """
        rows: list[dict[str, Any]] = [asdict(row) | {"lanes": list(row.lanes)} for row in self.rows]
        for row in rows:
            row.update({key: "Infinity" for key in ("wavelength", "stretch") if row[key] == math.inf})
        return {
            "schema": "ropecore-explanation/1",
            "config": self.config.to_dict(),
            "plan": self.plan.to_dict(),
            "digest": self.plan.digest,
            "context": self.context,
            "pairs": rows,
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """Return the explanation as a table for a terminal."""
        plan = self.plan
        rule = "none" if self.config.scaling is None else self.config.scaling.rule
        head = [
            f"head_dim {plan.head_dim}, {plan.rotary_dim} lanes rotate, pairing {plan.pairing}, axes {', '.join(plan.axes)}",
            f"scaling {rule}, attention factor {plan.attention_factor:.6g}, context {self.context} positions",
            "",
            f"{'pair':>4}  {'lanes':>9}  {'axis':>8}  {'frequency':>12}  {'wavelength':>12}  {'turns':>10}  effect",
        ]
        body = [
            f"{r.pair:>4}  {r.lanes[0]:>4},{r.lanes[1]:>4}  {r.axis:>8}  {r.frequency:>12.6g}  {r.wavelength:>12.6g}  "
            f"{r.turns:>10.4g}  {r.effect}"
            for r in self.rows
        ]
        notes = ["", *(f"note: {warning}" for warning in self.warnings)] if self.warnings else []
        return "\n".join([*head, *body, *notes])


@checked
def explain(config: Config, context: Count, seq_len: Count | None = None) -> Explanation:
    """Return what a configuration does to each pair within a context of that many positions.

    turns_j = context * |F_j| / 2 pi; stretch_j = |f_j| / |F_j|, F scaled and f not.  seq_len: the
    length that length-dependent rules plan for, the context unless given (R-5.4).
    """
    seq_len = context if seq_len is None else seq_len
    rows = config.rows(seq_len)
    frequency = rows.frequencies.sum(axis=1)
    axes = config.axes or ("position",)
    table = []
    effects = zip(bands(config, seq_len), stretches(config, seq_len).tolist(), strict=True)
    for j, (f, (band, stretch)) in enumerate(zip(np.abs(frequency).tolist(), effects, strict=True)):
        on = [name for name, value in zip(axes, rows.frequencies[j].tolist(), strict=True) if value]
        table.append(
            PairRow(
                pair=j,
                lanes=(int(rows.lanes[j, 0]), int(rows.lanes[j, 1])),
                axis="+".join(on) or "-",
                frequency=float(frequency[j]),
                wavelength=2 * math.pi / f if f else math.inf,
                turns=context * f / (2 * math.pi),
                stretch=stretch,
                effect=_effect(band, stretch),
            )
        )
    plan = config.plan(seq_len)
    return Explanation(
        config, plan, context, tuple(table), (*_warnings(plan, table, context), *attention_rules(config))
    )


def _effect(band: str, stretch: float) -> str:
    if band in ("kept", "stopped"):
        return {"kept": "kept", "stopped": "does not rotate"}[band]
    return f"{band} x {1 / stretch if band == 'sped up' else stretch:.6g}"


def _warnings(plan: RotaryPlan, rows: list[PairRow], context: int) -> list[str]:
    """Return what a reader might not expect."""
    notes = []
    slow = [row.pair for row in rows if 0 < row.turns < 1]
    if slow:
        notes.append(
            f"{len(slow)} of {len(rows)} pairs have a wavelength longer than the context ({_ranges(slow)}): they make no full "
            "turn in it, and carry position by their slope alone"
        )
    elif rows and max(row.turns for row in rows) > 0:
        notes.append(
            "every pair makes a full turn within the context: no pair tells the two ends of it apart by itself"
        )
    if plan.attention_factor != 1:
        notes.append(f"scores carry the attention factor squared, {plan.attention_factor**2:.6g}, at every distance")
    if plan.log_magnitude is not None:
        notes.append("the magnitude differs for queries and keys: pass role='k' where keys are rotated alone")
    fastest = max((abs(row.frequency) for row in rows), default=0.0)
    error = min(2.0, 4 * 2.0**-24 * fastest * (context - 1))
    notes.append(
        f"programs that multiply positions in float32 may be off by {error:.1e} in cos and sin at position {context - 1}"
    )
    return notes


def _ranges(numbers: list[int]) -> str:
    """Return 1, 2, 3, 7 as "1-3, 7"."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
