"""Three looks at head_dim 128 and at a real model: the RoFormer paper's curve; random queries and
keys (128 lanes, spread 1) whose means are 1 or 0, drawn and in closed form; and all heads of
SmolLM2-135M on Python's language reference, as they are and with each head's mean query and mean
key taken away. A head's fall is its mean logit at distances up to 16 less that from 256 on.

The verdict: if scores of means 1 fall, those of means 0 stay within four standard errors of 0 at
every distance, and taking SmolLM2's means away takes more than half of its heads' average fall
away, the claim holds only if means are not zero. If the scores of means 0 fall too, it holds.
Intervals: 95 %, over draws, and over windows of text.
"""

from typing import Any

import numpy as np

import ropecore
from ropecore.analysis import decay_bound, score_mean, score_variance

from .frame import Claim, Result, interval

CLAIM = Claim(
    "decay",
    "Scores fall with relative distance (D4); only because the means of q and k are not zero (D0).",
    "D4",
    "a curve that falls, for d = 128; D0: with zero means it disappears",
)
CONFIG = ropecore.RopeConfig(head_dim=128, base=1e4, pairing="half_split")
SHOWN = (1, 16, 128)
NEAR, FAR = 16, 256
SKIPPED = 4  # tokens at the beginning, which heads use as a place to look at when there is nothing to see


def run(quick: bool, seed: int) -> Result:
    """Take the three looks."""
    plan, rng = CONFIG.plan(), np.random.default_rng(seed)
    distances = np.unique(np.geomspace(1, 4096, 60 if quick else 400).astype(int))
    curves = {
        "bound": (decay_bound(plan, distances) / decay_bound(plan, 0)).tolist(),
        "ones": (score_mean(plan, distances, np.ones(128), np.ones(128)) / 128).tolist(),
    }
    at = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096])
    drawn = {mean: simulate(plan, mean, at, 2_000 if quick else 40_000, rng) for mean in (1.0, 0.0)}
    model = on_smollm2(2 if quick else 12, 300 if quick else 1100)

    rows: list[list[Any]] = [
        ["the RoFormer paper's bound, relative to distance 0", *(at_distance(plan, n) for n in SHOWN), ""]
    ]
    for mean, found in drawn.items():
        cells = [found["intervals"][at.tolist().index(n)] for n in SHOWN]
        rows.append(
            [
                f"scores of random q and k with means {mean:g}, drawn",
                *cells,
                _fall(at, [row[0] for row in found["intervals"]]),
            ]
        )
        exact = dict(zip(at.tolist(), found["closed_form"], strict=True))
        rows.append(["the same, closed form", *(float(exact[n]) for n in SHOWN), _fall(at, found["closed_form"])])
    for name in ("as it is", "means taken away", "closed form of the means"):
        windows = np.array(model["curves"][name])  # (windows, distances)
        cells = [interval(windows[:, model["distances"].index(n)]) for n in SHOWN]
        rows.append(
            [f"SmolLM2's logits, mean of {model['heads']} heads, {name}", *cells, interval(model["falls"][name])]
        )
    whole, centred = (interval(model["falls"][name]) for name in ("as it is", "means taken away"))
    lost = 1 - centred[0] / whole[0]
    falls = _fall(at, drawn[1.0]["closed_form"]) > 0
    flat = max(drawn[0.0]["off"]) < 4
    share = model["falling"]
    verdict = "does not hold" if not falls else "holds"
    if falls and flat:
        verdict = "holds only if the means of q and k are not zero"
        verdict = verdict if lost > 0.5 else "not settled here: random scores with zero means do not fall, SmolLM2's do"
    failures = [
        f"means {mean:g}: drawn and closed form differ" for mean, found in drawn.items() if max(found["off"]) > 5
    ]
    return Result(
        ["scores", *(f"at distance {n}" for n in SHOWN), f"fall, up to {NEAR} to {FAR} and more"],
        rows,
        f"the curve falls to {at_distance(plan, 128):.2f} at distance 128; with zero means the expected score is 0 at every distance; in SmolLM2 {share['as it is']:.0%} "
        f"of the heads fall as they are and {share['means taken away']:.0%} without their means, which carry {lost:.0%} of the average fall",
        verdict,
        {
            "distances": distances.tolist(),
            "at": at.tolist(),
            "curves": curves,
            "drawn": {f"{m:g}": v for m, v in drawn.items()},
            "model": model,
        },
        failures,
    )


def simulate(plan: ropecore.RotaryPlan, mean: float, at: Any, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return mean scores of random q and k over distance with their intervals, the closed form, and
    how many standard errors these are apart.
    """
    q, k = rng.normal(mean, 1, size=(2, n, plan.head_dim))
    scores = [(ropecore.rotate(plan, q, *ropecore.cos_sin(plan, int(d))) * k).sum(axis=1) for d in at]
    means, eye = np.full(plan.head_dim, mean), np.eye(plan.head_dim)
    exact = score_mean(plan, at, means, means)
    error = (score_variance(plan, at, means, means, eye, eye) / n) ** 0.5
    off = np.abs([score.mean() for score in scores] - exact) / error
    return {"intervals": [interval(score) for score in scores], "closed_form": exact.tolist(), "off": off.tolist()}


def on_smollm2(windows: int, length: int) -> dict[str, Any]:
    """Return mean logits over distance in windows of text, averaged over heads, and the share of
    heads that fall.
    """
    import torch

    import ropecore.backends.torch as rope

    from . import smollm2

    model = smollm2.load(smollm2.fast_dtype())
    plan = model.config.plan()
    ids = model.tokens(smollm2.python_docs().content)
    at = np.unique(np.geomspace(1, length - SKIPPED - 20, 40).astype(int))
    at = np.unique([*SHOWN, *at])
    found: dict[str, list[Any]] = {"as it is": [], "means taken away": [], "closed form of the means": []}

    def visit(layer: int, q: Any, k: Any) -> None:
        q, k = q[0].float(), k[0].float().repeat_interleave(len(q[0]) // len(k[0]), dim=0)  # (heads, n, head_dim)
        mean_q, mean_k = (x[:, SKIPPED:].mean(dim=1, keepdim=True) for x in (q, k))
        for name, pair in (("as it is", (q, k)), ("means taken away", (q - mean_q, k - mean_k))):
            a, b = (x[0, :, SKIPPED:] for x in rope.apply(plan, *(x[None] for x in pair)))
            logits = [(a[:, n:] * b[:, : b.shape[1] - n]).sum(dim=-1).mean(dim=-1) for n in at.tolist()]
            found[name][-1].append(torch.stack(logits, dim=-1).double().numpy() / plan.head_dim**0.5)
        means = (x[:, 0].double().numpy() for x in (mean_q, mean_k))
        found["closed form of the means"][-1].append(score_mean(plan, at, *means) / plan.head_dim**0.5)

    for start in np.linspace(0, len(ids) - length, windows).astype(int):
        for each in found.values():
            each.append([])
        smollm2.hidden(model, ids[None, start : start + length], plan, visit)
    heads = {name: np.array(each).reshape(windows, -1, len(at)) for name, each in found.items()}
    far = min(FAR, length // 2)
    fall = {
        name: each[:, :, at <= NEAR].mean(axis=2) - each[:, :, at >= far].mean(axis=2) for name, each in heads.items()
    }
    return {
        "distances": at.tolist(),
        "heads": heads["as it is"].shape[1],
        "curves": {name: each.mean(axis=1).tolist() for name, each in heads.items()},
        "falls": {name: each.mean(axis=1).tolist() for name, each in fall.items()},
        "falling": {name: float((each.mean(axis=0) > 0).mean()) for name, each in fall.items()},
    }


def at_distance(plan: ropecore.RotaryPlan, n: int) -> float:
    """Return the paper's bound, relative to distance 0."""
    return float(decay_bound(plan, n) / decay_bound(plan, 0))


def _fall(at: Any, values: Any) -> float:
    values = np.asarray(values)
    return float(values[at <= NEAR].mean() - values[at >= FAR].mean())


def plot(result: Result, figure: Any) -> None:
    """Draw the paper's curve, the random scores, and SmolLM2's."""
    data = result.data
    figure.set_size_inches(15, 5)
    paper, random, model = figure.subplots(1, 3)
    paper.semilogx(data["distances"], data["curves"]["bound"], label="bound of the RoFormer paper")
    paper.semilogx(data["distances"], data["curves"]["ones"], color="0.6", lw=0.8, label="score of q = k = (1, 1, ..)")
    paper.set(title="D4's curve for d = 128 falls", ylabel="relative to distance 0")
    for mean, color in (("1", "tab:blue"), ("0", "tab:red")):
        drawn = data["drawn"][mean]
        value, low, high = np.array(drawn["intervals"]).T
        random.errorbar(
            data["at"],
            value,
            [value - low, high - value],
            fmt="o",
            ms=4,
            capsize=3,
            color=color,
            label=f"drawn, means {mean}",
        )
        random.plot(data["at"], drawn["closed_form"], color=color, lw=0.8, label=f"closed form, means {mean}")
    random.set(xscale="log", title="With means of zero nothing falls", ylabel="mean score q.k, 95 % intervals")
    styles = {"as it is": "tab:blue", "means taken away": "tab:red", "closed form of the means": "0.5"}
    for name, color in styles.items():
        windows = np.array(data["model"]["curves"][name])
        mean, error = windows.mean(axis=0), 2 * windows.std(axis=0, ddof=1) / len(windows) ** 0.5
        model.plot(data["model"]["distances"], mean, "--" if color == "0.5" else "-", color=color, label=name)
        model.fill_between(data["model"]["distances"], mean - error, mean + error, color=color, alpha=0.2)
    whole, centred = (np.mean(data["model"]["falls"][name]) for name in ("as it is", "means taken away"))
    title = f"SmolLM2: the means carry {1 - centred / whole:.0%} of the fall"
    model.set(xscale="log", title=title, ylabel=f"mean logit, {data['model']['heads']} heads")
    for axes in (paper, random, model):
        axes.set_xlabel("distance (positions)")
        axes.axhline(0, color="0.85", zorder=0)
        axes.legend()
