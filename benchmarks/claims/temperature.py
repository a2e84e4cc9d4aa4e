"""The entropy of SmolLM2-135M's attention by length, on one real text: plain RoPE, YaRN for twice
the trained length without its temperature, and with it.

Entropy: -sum p ln p of one query's attention over the keys that it sees, the mean of 16 queries at
the end of each length; then the mean of all heads of all layers (270), with a 95 % interval of
Student's t over heads. Differences are taken head by head. Each length ends in other words of the
text, which moves all three curves alike; at one length they read the same words. YaRN's temperature
is A = 0.1 ln 2 + 1 on q and on k, so that scores are multiplied by A^2 = 1.14.

The verdict: extension flattens if the entropy without temperature at twice the trained length lies
above that of the plain model at the trained length; the temperature sharpens if the entropy with it
lies below that without it at twice the trained length. It holds if both differences' intervals
exclude 0, and so do those of the entropy divided by ln n; if only the latter fail, it holds only
for the entropy as it is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ropecore import RotaryPlan, YaRN

from .frame import Claim, Result, interval

CLAIM = Claim(
    "temperature",
    "Extending the context flattens attention, and YaRN's temperature sharpens it again.",
    "D3",
    "no figure",
)
QUERIES = 16
PLAIN, WITHOUT, WITH = "plain", "YaRN without temperature", "YaRN"


def entropy(q: Any, k: Any) -> Any:
    """Return the mean entropy (heads,) in nats of the last queries q (heads, m, d) over keys k
    (kv_heads, n, d), causal.
    """
    import torch

    heads, m, head_dim = q.shape
    k = k.repeat_interleave(heads // len(k), 0).float()
    scores = q.float() @ k.transpose(1, 2) * head_dim**-0.5  # (heads, m, n)
    later = torch.ones(m, k.shape[1], dtype=torch.bool).triu(k.shape[1] - m + 1)
    log_p = scores.masked_fill(later, -torch.inf).log_softmax(-1)
    return -(log_p.exp() * log_p.masked_fill(later, 0)).sum(-1).mean(-1)


def watcher(plan: RotaryPlan, lengths: list[int], found: dict[int, list[Any]]) -> Callable[[int, Any, Any], None]:
    """Return a function of (layer, q, k) that notes the entropies of
    each length, layer by layer.
    """
    import ropecore.backends.torch as rope

    def visit(layer: int, q: Any, k: Any) -> None:
        q, k = rope.apply(plan, q, k)
        for n in lengths:
            found.setdefault(n, []).append(entropy(q[0, :, n - QUERIES : n], k[0, :, :n]).double().numpy())

    return visit


def verdict(flatter: Any, sharper: Any, flatter_by_log: Any, sharper_by_log: Any) -> str:
    """Return the verdict from four differences (mean, low, high): at 2 L without temperature less
    plain at L, and with less without.
    """
    if not (flatter[1] > 0 and sharper[2] < 0):
        if flatter[1] > 0:
            return "holds only if it is: extension flattens; the temperature does not sharpen"
        if sharper[2] < 0:
            return "holds only if it is: the temperature sharpens; extension does not flatten"
        return "does not hold"
    if flatter_by_log[1] > 0 and sharper_by_log[2] < 0:
        return "holds"
    return "holds only if the entropy is not divided by ln n, which it is at most"


def run(quick: bool, seed: int) -> Result:
    """Read one text with each plan and note the entropies."""
    from . import smollm2

    model = smollm2.load(smollm2.fast_dtype())
    trained = 128 if quick else model.context
    text = smollm2.python_docs()
    ids = model.tokens(text.content)[None, : 2 * trained]
    lengths = (
        [trained // 4, trained // 2, trained, 2 * trained] if quick else [512, 1024, 2048, 4096, 8192, 12_288, 16_384]
    )
    rules = {
        PLAIN: None,
        WITHOUT: YaRN(factor=2.0, original_max_position=trained, attention_factor=1.0),
        WITH: YaRN(factor=2.0, original_max_position=trained),
    }
    found: dict[str, dict[int, Any]] = {}
    for name, rule in rules.items():
        noted: dict[int, list[Any]] = {}
        plan = model.config.replace(scaling=rule).plan()
        smollm2.hidden(model, ids, plan, watcher(plan, lengths, noted))
        found[name] = {n: np.concatenate(layers) for n, layers in noted.items()}  # (layers * heads,)
    logs, long = {n: float(np.log(n)) for n in lengths}, 2 * trained
    differences = [
        interval(found[WITHOUT][long] - found[PLAIN][trained]),
        interval(found[WITH][long] - found[WITHOUT][long]),
        interval(found[WITHOUT][long] / logs[long] - found[PLAIN][trained] / logs[trained]),
        interval(found[WITH][long] / logs[long] - found[WITHOUT][long] / logs[long]),
    ]
    curves = {name: {str(n): list(interval(by[n])) for n in lengths} for name, by in found.items()}
    shares = {name: {str(n): list(interval(by[n] / logs[n])) for n in lengths} for name, by in found.items()}
    failures = [
        f"{name}: an entropy at {n:,} tokens lies outside 0 and ln n"
        for name, by in found.items()
        for n in lengths
        if not (by[n].min() >= 0 and by[n].max() <= logs[n])
    ]
    at = {name: by[long].mean() for name, by in found.items()}
    return Result(
        ["rotation", *(f"entropy at {n:,} tokens, nats" for n in lengths), f"over ln n at {trained:,}", f"over ln n at {long:,}"],
        [[name, *curves[name].values(), shares[name][str(trained)], shares[name][str(long)]] for name in rules],
        f"from {trained:,} (plain) to {long:,} tokens (YaRN without temperature) the mean entropy rises by {differences[0][0]:.2f} nats to "
        f"{at[WITHOUT]:.2f}; the temperature moves it by {differences[1][0]:.2f} nats. Divided by ln n the first step is {differences[2][0]:+.3f}, "
        f"the second {differences[3][0]:+.3f}",
        verdict(*differences),
        {"curves": curves, "shares": shares, "trained": trained, "differences": differences, "text": text.about(), "dtype": str(model.dtype)},
        failures,
    )  # fmt: skip


def plot(result: Result, figure: Any) -> None:
    """Draw the entropy over the length, as it is and divided by ln n."""
    figure.set_size_inches(10, 5)
    for axes, what, label in zip(
        figure.subplots(1, 2), ("curves", "shares"),
        ("mean entropy of a head's attention (nats)", "entropy / ln n (1: all tokens alike)"), strict=True,
    ):  # fmt: skip
        for name, colour in ((PLAIN, "tab:red"), (WITHOUT, "tab:cyan"), (WITH, "tab:blue")):
            curve = result.data[what][name]
            lengths = np.array(list(map(int, curve)))
            middle, low, high = np.array(list(curve.values())).T
            axes.plot(lengths, middle, "o-", ms=4, color=colour, label=name)
            axes.fill_between(lengths, low, high, color=colour, alpha=0.08)
        axes.axvline(result.data["trained"], color="0.8", lw=4, zorder=0)
        axes.set(xscale="log", xlabel="length n (tokens)", ylabel=label)
        axes.set_xticks(lengths, [f"{n:,}" for n in lengths], rotation=45)
        axes.minorticks_off()
    flatter, sharper = result.data["differences"][:2]
    figure.suptitle(
        f"Attention's entropy moves by {flatter[0]:+.2f} nats from the trained length (grey line) to twice that;\n"
        f"YaRN's temperature moves it by {sharper[0]:+.2f} nats (bands: 95 % intervals over 270 heads)"
    )
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
