"""For head_dim 128 and three bases: at position 100,000, the smallest step at which each pair's cos
or sin changes in any bit, for tables in float32, float16 and bfloat16, with angles of the exact
class, and where position, frequency and angle themselves are held in 16 bits.

The verdict: if no pair changes from 100,000 to 100,001 in any float16 table, the claim holds; if
one does where angles are exact and none where the position is held in float16, it holds only if the
position is; else it does not hold. Nothing is drawn by chance.
"""

from typing import Any

import numpy as np

import ropecore
from ropecore.analysis import resolution

from .frame import Claim, Result

CLAIM = Claim(
    "resolution",
    "Position 100,000 and 100,001 cannot be told apart in float16.",
    "D3",
    "the two need not differ",
)
POSITION = 100_000
BASES = (1e4, 5e5, 1e6)
KINDS = {
    "float32 table, exact angle": ("float32", "exact"),
    "float32 table, float32 angle": ("float32", "float32"),
    "float16 table, exact angle": ("float16", "exact"),
    "bfloat16 table, exact angle": ("bfloat16", "exact"),
    "all in float16": ("float16", "input"),
    "all in bfloat16": ("bfloat16", "input"),
}


def run(quick: bool, seed: int) -> Result:
    """Find the steps at 100,000, and the number of pairs that tell neighbours apart at other
    positions.
    """
    plans = {base: ropecore.RopeConfig(head_dim=128, base=base, pairing="half_split").plan() for base in BASES}
    steps = {
        kind: {base: resolution(plan, POSITION, *how) for base, plan in plans.items()} for kind, how in KINDS.items()
    }
    rows = [
        [
            kind,
            *(f"{(found[base] == 1).sum()} of 64" for base in BASES),
            *(_step(found[1e4][pair]) for pair in (0, 32, 63)),
        ]
        for kind, found in steps.items()
    ]
    positions = [m * 2**n for n in range(0, 20, 4 if quick else 1) for m in (2, 3)]
    counts = {
        kind: [int((resolution(plans[1e4], p, *how) == 1).sum()) for p in positions] for kind, how in KINDS.items()
    }
    exact, held = (
        max(int((s == 1).sum()) for s in steps[kind].values())
        for kind in ("float16 table, exact angle", "all in float16")
    )
    verdict = (
        "holds"
        if exact == 0
        else "holds only if the position itself is held in float16"
        if held == 0
        else "does not hold"
    )
    found = steps["float16 table, exact angle"].values()
    told, slow = [int((s == 1).sum()) for s in found], max(s.max() for s in found)
    full = all((steps["float32 table, exact angle"][base] == 1).all() for base in BASES)
    return Result(
        ["what is kept", *(f"told apart, base {base:.0e}".replace("e+0", "e") for base in BASES), *(f"step of pair {p}, base 1e4" for p in (0, 32, 63))],
        rows,
        f"float16 tables of exact angles tell them apart by {', '.join(map(str, told))} of 64 pairs (base 1e4, 5e5, 1e6), by all within {slow:.0f} positions; "
        "a position held in float16 is infinite beyond 65,504, and in bfloat16 a multiple of 512; the exact class in float32 tells them apart by all 64",
        verdict,
        {
            "steps": {kind: [None if np.isinf(s) else s for s in found[1e4].tolist()] for kind, found in steps.items()},
            "positions": positions,
            "counts": counts,
        },
        [] if full else ["float32 tables of exact angles must tell neighbours apart in every pair"],
    )  # fmt: skip


def _step(step: float) -> str:
    return "never" if np.isinf(step) else f"{step:.0f}"


def plot(result: Result, figure: Any) -> None:
    """Draw the step of each pair at 100,000, and the pairs that tell neighbours apart at other
    positions.
    """
    figure.set_size_inches(13, 5)
    pairs, positions = figure.subplots(1, 2)
    styles = dict(zip(KINDS, ("C0s", "C4+", "C2o", "C1x", "C3v", "C5^"), strict=True))
    for kind, style in styles.items():
        steps = [np.nan if step is None else step for step in result.data["steps"][kind]]
        if not np.isnan(steps).all():
            pairs.semilogy(range(64), steps, style, mfc="none", ms=5)
        positions.semilogx(
            result.data["positions"], result.data["counts"][kind], style + "-", mfc="none", ms=5, label=kind
        )
    pairs.set(title=f"Slow pairs blur in 16-bit tables (position {POSITION:,})", xlabel="pair (0 is the fastest)")
    pairs.set_ylabel("smallest step that changes the table (positions)")
    pairs.text(2, 300, "all in float16: never", color="C3")
    positions.axvline(POSITION, color="0.8", zorder=0)
    positions.set(title="A position held in 16 bits loses every pair at once", xlabel="position", ylim=(-2, 66))
    positions.set_ylabel("pairs of 64 that tell it from the next")
    figure.suptitle("head_dim 128, base 1e4")
    figure.legend(loc="outside lower center", ncols=3)
