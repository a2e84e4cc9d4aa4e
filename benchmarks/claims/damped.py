"""Small decoders are trained on pieces of 128 bytes, three times each, with plain RoPE and with
damped RoPE (`ropecore.Damped`: scores times exp(-rate * distance)) of two rates, and read pieces of
2,048 bytes of a text that was held out: 16 times the trained length, as 32K is of 2K. "Damped when
run" is the plain model with damping added after training. "Cut": the same bytes by the plain model
that sees no more before them than half to all of its trained length.

The verdict: damping helps if the whole interval of its loss minus plain's, paired by seed, is below
0 from 8 to 16 trained lengths on, for both rates; "only if" names the rates for which it does.
Where both do worse than the cut, over the whole interval, it helps only if the text cannot be cut.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import ropecore

from .frame import Claim, Result, interval
from .train import REACH, Evaluation, Job, draw_intervals, outcomes, rope_plan, untrained

CLAIM = Claim(
    "damped",
    "An exponential decay of the scores (Damped RoPE) helps with texts beyond 32K.",
    "D0",
    "use it over 32K; no figure",
)
LENGTH, STEPS = 128, 400
RATES = {"damped 1/128": 1 / 128, "damped 1/512": 1 / 512}
PLAIN, CUT = rope_plan(), "plain, text cut"
PLANS = {"plain": PLAIN} | {name: rope_plan(scaling=ropecore.Damped(rate)) for name, rate in RATES.items()}


def run(quick: bool, seed: int) -> Result:
    """Train plain and damped from the same seeds, and compare their losses by distance from the
    start.
    """
    seeds = range(seed, seed + (2 if quick else 3))
    later = tuple(Evaluation(f"{name} when run", REACH, PLANS[name]) for name in RATES)
    jobs = [
        Job(
            plan,
            LENGTH,
            30 if quick else STEPS,
            each,
            (Evaluation(name, REACH, plan), *(later if name == "plain" else ())),
        )
        for name, plan in PLANS.items()
        for each in seeds
    ]
    losses: dict[str, list[list[float]]] = {}
    found = outcomes(jobs)
    for outcome in found:
        for name, each in outcome.evaluations.items():
            losses.setdefault(name, []).append(each.whole)
            if name == "plain":
                losses.setdefault(CUT, []).append(each.cut)
    leads, over_cut = (
        {
            name: interval([a[-1] - b[-1] for a, b in zip(runs, losses[other], strict=True)])
            for name, runs in losses.items()
            if name != other
        }
        for other in ("plain", CUT)
    )
    whole = {name: [interval(values) for values in zip(*runs, strict=True)] for name, runs in losses.items()}
    return Result(
        ["model", *(f"loss at {label}" for label in windows()), "last minus plain's", "last minus the cut's"],
        [[name, *several, leads.get(name, "-"), over_cut.get(name, "-")] for name, several in whole.items()],
        "loss minus plain RoPE's at 8 to 16 trained lengths, nats a byte: "
        + ", ".join(f"{name} {leads[name][0]:+.3f} ({leads[name][1]:+.3f} to {leads[name][2]:+.3f})" for name in RATES)
        + f"; of plain with the text cut {leads[CUT][0]:+.3f}",
        verdict({name: leads[name] for name in RATES}, {name: over_cut[name] for name in RATES}),
        {"whole": whole},
        untrained(jobs, found),
    )


def windows() -> list[str]:
    """Return the names of the windows: bytes from the start."""
    ends = [LENGTH * 2**i for i in range(REACH.bit_length())]
    return [f"{0 if end == LENGTH else end // 2} to {end}" for end in ends]


def verdict(leads: Mapping[str, Sequence[float]], over_cut: Mapping[str, Sequence[float]]) -> str:
    """Return the verdict of the rule above, of the damped losses minus plain's, and minus the
    cut's.
    """
    below = [name for name, lead in leads.items() if lead[2] < 0]
    if len(below) == len(leads):
        worse = all(each[1] > 0 for each in over_cut.values())
        return (
            "holds only if the text cannot be cut: plain RoPE does better where it sees no more than it was trained on"
            if worse
            else "holds"
        )
    if below:
        return f"holds only if the rate suits: {' and '.join(below)} did"
    if all(lead[1] > 0 for lead in leads.values()):
        return "does not hold"
    return "not settled here: more seeds and longer training, as the difference is no larger than chance"


def plot(result: Result, figure: Any) -> None:
    """Draw the loss by distance from the start."""
    axes = figure.subplots()
    for i, (name, several) in enumerate(result.data["whole"].items()):
        at = [place + 0.05 * (i - 2) for place in range(len(several))]
        dashed = "run" in name or "cut" in name
        draw_intervals(axes, at, several, label=name, marker="os^Dvx"[i], ls="--" if dashed else "-")
    axes.set_xticks(range(len(windows())), windows())
    axes.set(xlabel="bytes from the start of the text", ylabel="loss (nats a byte)")
    last = ", ".join(f"{name} {result.data['whole'][name][-1][0]:.2f}" for name in PLANS)
    axes.set_title(
        f"Trained on {LENGTH} bytes\nLoss at {windows()[-1]} bytes from the start: {last}", fontsize="medium"
    )
    figure.legend(loc="outside lower center", ncols=3)
