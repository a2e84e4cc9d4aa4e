"""Pictures of what a configuration does; they need matplotlib (the extra `cli`)."""

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ropecore.analysis import LARGEST_STEP, TABLES, decay_bound, resolution
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import LARGEST_POSITION

from .explain import Explanation


def save_plot(explanations: Mapping[str, Explanation], path: Path) -> None:
    """Draw what each configuration does, in a row of three pictures; needs matplotlib (the extra
    `cli`).

    The wavelength of each pair before and after scaling; the relative strength over distance
    (`analysis.decay_bound`); and the smallest step that tables of each dtype tell apart at the
    context's end (`analysis.resolution`).  Real axes have the first alone.
    """
    try:
        drawing = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise RopeError("--plot", str(path), "needs matplotlib", "pip install 'ropecore[cli]'") from error
    figure = drawing.Figure(figsize=(16, 4.6 * len(explanations)), layout="constrained")
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
    """Return the plan over one axis along which text moves, where all axes have the same position;
    None for real axes.
    """
    if any(plan.real_axes) or not plan.n_pairs:
        return None
    one = {"axes": ("position",), "axis_kinds": None, "log_magnitude": None}
    return plan.replace(frequencies=plan.frequencies.sum(axis=1), **one)
