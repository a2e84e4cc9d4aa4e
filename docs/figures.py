"""Make README's picture, docs/error.svg: the error of cosines and sines, by position.

    python docs/figures.py          needs matplotlib (the extra `cli`)

head_dim 128, base 10,000.  "float32 products" is what most libraries compute: float32(p) *
float32(F), then a cosine.  "module in bfloat16" is the same after `model.bfloat16()`, which casts
the frequencies too.  The truth is the reference in float64.
"""

from pathlib import Path

import matplotlib as mpl
import ml_dtypes
import numpy as np
from matplotlib.figure import Figure

import ropecore
import ropecore.backends.numpy as rope

POSITIONS = np.array([2**n - 1 for n in range(1, 32)])
PLAN = ropecore.RopeConfig(head_dim=128, base=10_000.0, pairing="half_split").plan()
BOUND = 1.2e-7
FILE = Path(__file__).with_name("error.svg")


def products(frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of float32(p) * float32(F)."""
    angles = POSITIONS.astype(np.float32)[:, None] * frequencies.astype(np.float32)
    return np.cos(angles), np.sin(angles)


def error(tables: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the largest error of both tables at each position."""
    truth = ropecore.cos_sin(PLAN, POSITIONS)
    return np.max([np.abs(got - want).max(axis=1) for got, want in zip(tables, truth, strict=True)], axis=0)


def main() -> None:
    """Write the picture."""
    mpl.rcParams.update({"svg.hashsalt": "ropecore", "svg.fonttype": "none"})
    frequencies = PLAN.frequencies[:, 0]
    curves = {
        "module in bfloat16": error(products(frequencies.astype(ml_dtypes.bfloat16))),
        "float32 products": error(products(frequencies)),
        "ropecore, float32": error(rope.cos_sin(PLAN, POSITIONS)),
    }
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), ("tab:red", "tab:orange", "tab:blue"), strict=True):
        axes.loglog(POSITIONS, curve, ".-", color=colour, label=name)
    axes.axhline(BOUND, linestyle="--", color="0.5", linewidth=1, label="promised: 1.2e-7")
    axes.set(xlabel="position", ylabel="error of cos and sin", ylim=(1e-8, 4))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.12), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FILE, metadata={"Date": None})


if __name__ == "__main__":
    main()
