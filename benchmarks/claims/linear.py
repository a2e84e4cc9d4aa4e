"""Small decoders with causal linear attention (feature map elu + 1) are trained on pieces of 128
bytes, three times each: with RoPE on the feature maps, in the numerator only
(`ropecore.linear_attention`, R-9.7); with no position encoding; and with learned absolute
positions. Losses are of a text that was held out.

The verdict: RoPE lowers the loss if the whole interval of its difference from another, paired by
seed, is below 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .frame import Claim, Result, interval
from .train import Job, outcomes, rope_plan, untrained

CLAIM = Claim(
    "linear",
    "RoPE lowers the loss of linear attention (Performer), where relative encodings that change the scores cannot be used.",
    "D4",
    "the loss of a Performer falls faster and further with RoPE than without (a curve, no figure)",
)
LENGTH, STEPS = 128, 400
ENCODINGS = {"RoPE": rope_plan(), "none": "none", "learned": "learned"}


def run(quick: bool, seed: int) -> Result:
    """Train with RoPE and without from the same seeds, and compare the losses."""
    seeds = range(seed, seed + (2 if quick else 3))
    steps = 30 if quick else STEPS
    jobs = [Job(position, LENGTH, steps, each, (), "linear") for position in ENCODINGS.values() for each in seeds]
    found = dict(zip([(job.position, job.seed) for job in jobs], outcomes(jobs), strict=True))
    runs = {name: [found[position, each] for each in seeds] for name, position in ENCODINGS.items()}
    held_out = {name: [each.held_out for each in several] for name, several in runs.items()}
    leads = {
        name: interval([a - b for a, b in zip(held_out["RoPE"], held_out[name], strict=True)])
        for name in ("none", "learned")
    }
    return Result(
        ["position encoding", "held-out loss (nats a byte)", "RoPE's minus this", "training loss, last twentieth"],
        [
            [name, interval(held_out[name]), leads.get(name, "-"), interval([each.training[-1] for each in several])]
            for name, several in runs.items()
        ],
        "RoPE's loss minus another's, nats a byte: "
        + ", ".join(f"{name} {lead[0]:+.3f} ({lead[1]:+.3f} to {lead[2]:+.3f})" for name, lead in leads.items()),
        verdict(leads),
        {"steps": steps, "curves": {name: [each.training for each in several] for name, several in runs.items()}},
        untrained(jobs, found.values()),
    )


def verdict(leads: Mapping[str, Sequence[float]]) -> str:
    """Return the verdict of the rule above, of RoPE's loss minus that without ("none") and minus
    that of learned positions.
    """
    below = {name for name, lead in leads.items() if lead[2] < 0}
    if below == {"none", "learned"}:
        return "holds"
    if below == {"none"}:
        return (
            "holds only if the other model has no positions at all; against learned ones it made no difference or harm"
        )
    if leads["none"][1] > 0:
        return "does not hold"
    return "not settled here: more steps and seeds, as the difference is no larger than chance"


def plot(result: Result, figure: Any) -> None:
    """Draw the training loss over the steps, each run a line."""
    axes = figure.subplots()
    for i, (name, curves) in enumerate(result.data["curves"].items()):
        for j, curve in enumerate(curves):
            steps = [(k + 0.5) * result.data["steps"] / len(curve) for k in range(len(curve))]
            axes.plot(steps, curve, color=f"C{i}", ls=("-", "--", ":")[i], label=None if j else name)
    axes.set(xlabel="training step", ylabel="training loss (nats a byte)")
    axes.set_title(
        f"Linear attention of {LENGTH} bytes with RoPE and without, a line for each seed\n{result.ours}",
        fontsize="medium",
    )
    figure.legend(loc="outside lower center", ncols=3)
