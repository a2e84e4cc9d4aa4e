"""What a configuration does, pair by pair: the table behind `ropecore explain`."""

import importlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ropecore.analysis import LARGEST_STEP, TABLES, bands, decay_bound, resolution, stretches
from ropecore.arguments import Count, checked
from ropecore.attention import attention_rules
from ropecore.config import Config, RopeConfig
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import LARGEST_POSITION


@dataclass(frozen=True)
class PairRow:
    """One pair: frequency in radians a position, wavelength in positions, and turns within the context."""

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
        """Return the explanation as JSON can hold it; an infinite wavelength is the string "Infinity"."""
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

    turns_j = context * |F_j| / 2 pi; stretch_j = |f_j| / |F_j|, F scaled and f not.  seq_len: the length that length-dependent
    rules plan for, the context unless given (R-5.4).
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


def save_plot(explanations: Mapping[str, Explanation], path: Path) -> None:
    """Draw what each configuration does, in a row of three pictures; needs matplotlib (the extra `cli`).

    The wavelength of each pair before and after scaling; the relative strength over distance (`analysis.decay_bound`); and the smallest step
    that tables of each dtype tell apart at the context's end (`analysis.resolution`).  Real axes have the first alone.
    """
    try:
        pyplot = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise RopeError("--plot", str(path), "needs matplotlib", "pip install 'ropecore[cli]'") from error
    figure = pyplot.Figure(figsize=(16, 4.6 * len(explanations)), layout="constrained")
    kinds = figure.canvas.get_supported_filetypes()
    if path.suffix.lower()[1:] not in kinds:
        raise RopeError(
            "--plot", str(path), "is of no kind that can be drawn", f"Choose one of: {', '.join(sorted(kinds))}."
        )
    parts = figure.subfigures(len(explanations), squeeze=False)[:, 0]
    for part, (name, explanation) in zip(parts, explanations.items(), strict=True):
        part.suptitle(name)
        along = _along_text(explanation.plan)
        panels = part.subplots(1, 3 if along else 1, squeeze=False)[0]
        _draw_wavelengths(explanation, panels[0])
        if along:
            _draw_strength(explanation, along, panels[1])
            _draw_resolution(explanation, along, panels[2])
    figure.savefig(path, dpi=110)


def _draw_wavelengths(explanation: Explanation, axes: Any) -> None:
    rows = [row for row in explanation.rows if math.isfinite(row.wavelength)]
    before = [row.wavelength / row.stretch for row in rows]
    axes.semilogy([row.pair for row in rows], before, "_", color="0.5", label="before scaling")
    for band in dict.fromkeys(row.effect.partition(" x ")[0] for row in rows):
        those = [row for row in rows if row.effect.partition(" x ")[0] == band]
        label = f"{band}: {len(those)} pairs"
        axes.semilogy([row.pair for row in those], [row.wavelength for row in those], ".", label=label)
    axes.axhline(explanation.context, linestyle="--", color="grey", label=f"context, {explanation.context:,}")
    longer = sum(row.wavelength > explanation.context for row in rows)
    axes.set(title=f"{longer} of {len(rows)} pairs make no full turn in the context", xlabel="pair")
    axes.set_ylabel("wavelength (positions)")
    axes.legend()


def _draw_strength(explanation: Explanation, plan: RotaryPlan, axes: Any) -> None:
    distances = np.unique(np.geomspace(1, explanation.context, 1000).astype(np.int64))
    before = _along_text(explanation.config.replace(scaling=None).plan()) if explanation.config.scaling else None
    for label, drawn in (("before scaling", before), ("after scaling" if before else None, plan)):
        if drawn is not None:
            strength = decay_bound(drawn, distances) / decay_bound(drawn, 0)
            axes.semilogx(distances, strength, color="0.7" if drawn is before else "tab:blue", label=label)
    axes.set(
        title="How strong a score can be, by distance",
        xlabel="distance (positions)",
        ylabel="bound, relative to distance 0",
    )
    axes.set_ylim(0, 1.05)
    if before:
        axes.legend()


def _draw_resolution(explanation: Explanation, plan: RotaryPlan, axes: Any) -> None:
    end = min(explanation.context - 1, LARGEST_POSITION - LARGEST_STEP)
    for table, mark in zip(TABLES, ("s", "x", "."), strict=True):
        steps = resolution(plan, end, table)
        label = f"{table}: {(steps == 1).sum()} of {len(steps)} pairs"
        axes.semilogy(np.arange(len(steps)), steps, mark, markerfacecolor="none", label=label)
    axes.set(title=f"Pairs that tell position {end:,} from the next", xlabel="pair", ylabel="smallest step (positions)")
    axes.legend(title="tables in")


def _along_text(plan: RotaryPlan) -> RotaryPlan | None:
    """Return the plan over one axis along which text moves, where all axes have the same position; None for real axes."""
    if any(plan.real_axes) or not plan.n_pairs:
        return None
    one = {"axes": ("position",), "axis_kinds": None, "log_magnitude": None}
    return plan.replace(frequencies=plan.frequencies.sum(axis=1), **one)


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
