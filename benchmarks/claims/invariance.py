"""Random queries and keys, rotated at i and at j, in float64 tables: how far the score moves from
q.k, and from itself when i and j move together.

The verdict: the scores at i = j must equal q.k, and scores must move by less than 1e-12 |q| |k|
when both positions move by the same amount (up to 2^31); if some i and j that differ give another
score than q.k, "rotated q.k equals q.k" holds only if i = j.
"""

from typing import Any

import numpy as np

import ropecore

from .frame import Claim, Result

CLAIM = Claim(
    "invariance",
    "Rotating q at i and k at j leaves q.k unchanged (D2); the score depends on i - j alone (D3).",
    "D2",
    "q.k is unchanged, for all i and j",
)
PLANS = {
    "half-split, base 1e4": ropecore.RopeConfig(head_dim=128, base=1e4, pairing="half_split"),
    "interleaved, base 1e6": ropecore.RopeConfig(head_dim=128, base=1e6, pairing="interleaved"),
    "YaRN x 4": ropecore.RopeConfig(
        head_dim=128, base=1e4, pairing="half_split", scaling=ropecore.YaRN(factor=4.0, original_max_position=4096)
    ),
}


def run(quick: bool, seed: int) -> Result:
    """Measure both statements for each plan, and take the curve of one q and k for the picture."""
    rng, n = np.random.default_rng(seed), 500 if quick else 20_000
    rows, failures = [], []
    for name, config in PLANS.items():
        plan = config.plan()
        q, k = rng.normal(size=(2, n, plan.head_dim))
        norm = np.linalg.norm(q, axis=1) * np.linalg.norm(k, axis=1)
        before = (q * k).sum(axis=1) * plan.attention_factor**2
        i, j = rng.integers(0, 2**17, (2, n))
        move = rng.integers(0, 2**31 - 2**17, n)
        found = scores(plan, q, k, i, j)
        same, unequal, moved = (
            float((np.abs(score - reference) / norm).max())
            for score, reference in (
                (scores(plan, q, k, i, i), before),
                (found, before),
                (scores(plan, q, k, i + move, j + move), found),
            )
        )
        rows.append([name, same, unequal, moved])
        if not (same < 1e-12 and moved < 1e-12):
            failures.append(f"{name}: scores must depend on i - j alone to 1e-12 |q| |k|")
    q = k = np.array([1.0, 0.0, 1.0, 0.0])  # D1's first key, in D2's half-split code
    plan = ropecore.RopeConfig(head_dim=4, base=1e4, pairing="half_split").plan()
    distance = np.arange(-20, 21)
    starts = [20, 1_000, 1_000_000]
    curves = [scores(plan, q, k, start + distance, np.full(41, start)).tolist() for start in starts]
    counter = curves[0][21]
    rows.append(["q = k = (1, 0, 1, 0), i = 1, j = 0", 0.0, abs(counter - 2) / 2, float(np.ptp(curves, axis=0).max())])
    wrong = max(row[2] for row in rows) > 1e-12
    return Result(
        ["rotation", "largest change of q.k at i = j", "at i not equal to j", "when i and j move together"],
        rows,
        f"(1, 0, 1, 0) with itself scores 2 at i = j and {counter:.4f} at i - j = 1; moved together by up to 2^31, scores stay "
        f"within {max(row[3] for row in rows):.0e} |q| |k|",
        "holds only if i = j; that the score depends on i - j alone holds" if wrong else "holds",
        {"distance": distance.tolist(), "starts": starts, "curves": curves},
        failures,
    )


def scores(plan: ropecore.RotaryPlan, q: Any, k: Any, i: Any, j: Any) -> Any:
    """Return the products of q rotated at i and k rotated at j."""
    rotated = ropecore.rotate(plan, q + 0 * i[:, None], *ropecore.cos_sin(plan, i))
    return (rotated * ropecore.rotate(plan, k + 0 * j[:, None], *ropecore.cos_sin(plan, j))).sum(axis=1)


def plot(result: Result, figure: Any) -> None:
    """Draw the score over i - j, at three places in the sequence, against q.k."""
    axes, data = figure.subplots(), result.data
    for start, curve, mark in zip(data["starts"], data["curves"], ("o", "x", "+"), strict=True):
        axes.plot(data["distance"], curve, mark, ms=8, mfc="none", label=f"key at position {start:,}")
    axes.plot(data["distance"], data["curves"][0], color="0.8", zorder=0)
    axes.axhline(2, color="tab:red", ls="--", label="q.k before the rotation")
    axes.set(xlabel="distance i - j (positions)", ylabel="score of q at i with k at j")
    axes.set_title(
        "The score equals q.k only at distance 0, and depends on the distance alone\nq = k = (1, 0, 1, 0), head_dim 4"
    )
    figure.legend(loc="outside lower center", ncols=4)
