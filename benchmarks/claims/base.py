"""Small decoders are trained on pieces of 128 and of 512 bytes with RoPE of three bases, three
times each, and judged at the length that they were trained for. The wavelengths are those of
head_dim 128 in exact arithmetic.

The verdict: for each seed and length, a line is fitted to the loss over log10(base), and its slope
is an estimate (nats a byte for ten times the base). A smaller base is better for the short pieces
if the whole interval of the slope is above 0, a larger one for the long pieces if it is below 0.
D3's part holds if the slowest pair makes at most one turn in 131,072 positions. Both lengths are
short in D0's words (under 2K); where a small base is better for both, only that half is shown.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

import ropecore
from ropecore import analysis

from .frame import Claim, Result, interval
from .train import Job, draw_intervals, outcomes, rope_plan, untrained

CLAIM = Claim(
    "base",
    "A small base is better for short texts and a large one for long texts (D0); base 5e5 keeps the slowest pair within a turn at 128K (D3).",
    "D0",
    "1e4 under 2K, 1e6 over 8K; D3: 5e5 for 128K",
)
LENGTHS, BASES, STEPS = (128, 512), (1e2, 1e4, 1e6), 300
CONTEXT = 131_072
WIDE_BASES = (1e4, 1e5, 5e5, 1e6)


def run(quick: bool, seed: int) -> Result:
    """Train at both lengths with all bases from the same seeds, and count the turns of the slowest
    pair.
    """
    seeds, bases = range(seed, seed + (2 if quick else 3)), (1e2, 1e6) if quick else BASES
    jobs = [
        Job(rope_plan(base), length, 30 if quick else STEPS, each)
        for length in LENGTHS
        for base in bases
        for each in seeds
    ]
    found = outcomes(jobs)
    losses = np.array([each.held_out for each in found]).reshape(len(LENGTHS), len(bases), len(seeds))
    slopes = [interval(np.polyfit(np.log10(bases), each, 1)[0].tolist()) for each in losses]
    turns = {base: slowest_turns(base) for base in WIDE_BASES}
    rows = [
        [f"trained on {length} bytes, base {base:g}", interval(each.tolist())]
        for length, by_base in zip(LENGTHS, losses, strict=True)
        for base, each in zip(bases, by_base, strict=True)
    ]
    rows += [
        [f"{length} bytes: slope for ten times the base", slope] for length, slope in zip(LENGTHS, slopes, strict=True)
    ]
    rows += [
        [f"head_dim 128, base {base:g}: turns of the slowest pair in {CONTEXT:,}", each] for base, each in turns.items()
    ]
    best = [f"{bases[int(np.argmin(each.mean(axis=1)))]:g}" for each in losses]
    return Result(
        ["what", "held-out loss (nats a byte), slope (nats a byte), or turns"],
        rows,
        f"slope for ten times the base {slopes[0][0]:+.4f} ({slopes[0][1]:+.4f} to {slopes[0][2]:+.4f}) at 128 bytes and {slopes[1][0]:+.4f} "
        f"({slopes[1][1]:+.4f} to {slopes[1][2]:+.4f}) at 512; best of all {best[0]} and {best[1]}; base 5e5 makes {turns[5e5]:.3f} turns in 128K",
        verdict(slopes, turns[5e5]),
        {"bases": list(bases), "losses": losses.tolist(), "slopes": slopes},
        untrained(jobs, found),
    )


def slowest_turns(base: float) -> float:
    """Return the turns of the slowest pair of head_dim 128 within CONTEXT."""
    plan = ropecore.RopeConfig(head_dim=128, base=base, pairing="half_split").plan()
    return float(analysis.turns(plan, CONTEXT).min())


def verdict(slopes: Sequence[Sequence[float]], turns: float) -> str:
    """Return the verdict of the rule above, of the slopes at the short and at the long length, and
    the turns at base 5e5.
    """
    short, long = slopes
    if turns > 1 or (short[2] < 0 and long[1] > 0):
        return "does not hold"
    if short[1] > 0 and long[2] < 0:
        return "holds"
    beyond = "whether a large one is over 8K takes models trained on that"
    if short[1] > 0 and long[1] > 0:
        return f"holds only if texts are short, and of base 5e5: at {LENGTHS[1]} bytes a small base is better too, and {beyond}"
    return f"not settled here: base 5e5 is as said; at {LENGTHS[0]} and {LENGTHS[1]} bytes more seeds would tell the slopes from chance, and {beyond}"


def plot(result: Result, figure: Any) -> None:
    """Draw the loss over the base at both lengths, and the slowest wavelength over the base."""
    left, right = figure.subplots(1, 2)
    bases = result.data["bases"]
    for length, losses, mark in zip(LENGTHS, result.data["losses"], "os", strict=True):
        each = np.asarray(losses)
        several = [interval(row.tolist()) for row in each - each.mean(axis=0)]
        draw_intervals(left, bases, several, marker=mark, label=f"trained on {length} bytes")
    left.axhline(0, color="0.7", zorder=0)
    left.set(xscale="log", xlabel="base", ylabel="loss minus its mean over the bases (nats a byte)")
    left.set_title("Held-out loss at the trained length", fontsize="medium")
    left.legend()
    many = np.geomspace(1e3, 1e7, 50)
    right.loglog(many, [CONTEXT / slowest_turns(base) for base in many], label="slowest wavelength, head_dim 128")
    right.axhline(CONTEXT, color="tab:red", ls="--", label="128K positions")
    right.plot(5e5, CONTEXT / slowest_turns(5e5), "ko", label=f"base 5e5: {slowest_turns(5e5):.3f} turns in 128K")
    right.set(xlabel="base", ylabel="wavelength (positions)")
    right.set_title("The slowest pair", fontsize="medium")
    right.legend()
    short, long = (f"{slope[0]:+.3f} ({slope[1]:+.3f} to {slope[2]:+.3f})" for slope in result.data["slopes"])
    figure.suptitle(
        f"Ten times the base changes the loss by {short} at {LENGTHS[0]} bytes, {long} at {LENGTHS[1]}", fontsize=10
    )
