"""Train short, run long: SmolLM2-135M (trained to 8,192 tokens) reads 16,384 tokens of real text
under each scaling rule.

A window's perplexity is that of its 2,048 tokens given all tokens before it. Texts differ in
difficulty from window to window, so each window is also read by the plain model with the 2,048
tokens before it alone (the reference). The ratio to the reference is 1 if the distant tokens
neither help nor harm. Intervals: 95 %, bootstrap over blocks of 64 tokens. Dynamic NTK is read as a
program with prompts of up to 8,192, of 12,288 and of 16,384 tokens would have it: one plan for each
length of prompt. Products of matrices are in bfloat16, as in the model's training, where the
processor has them; the first text's first window is read in float32 too, and must agree to 1 %.

The verdict: plain RoPE breaks if the interval of its ratio beyond the trained length lies above
1.05; a rule runs long if its own lies below 1.05. The claim holds if plain breaks and every rule
runs long, in each text.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ropecore import NTK, DynamicNTK, Linear, RopeConfig, RotaryPlan, YaRN

from .frame import Claim, Result

CLAIM = Claim(
    "extend",
    "A model trained on short texts runs on long ones by interpolation, NTK, dynamic NTK or YaRN, where plain RoPE breaks.",
    "D3",
    "no figure in D2 and D3; a first trial had 30.0 for plain, 12.6 for dynamic NTK and 12.3 for YaRN beyond 10,240 tokens",
)
LIMIT = 1.05
UNSETTLED = "not settled here: plain RoPE's interval holds the limit; it takes more or longer texts"
PLAIN, REFERENCE = "plain", "reference: 2,048 tokens before the window"
COLOURS = {"plain": "tab:red", "linear": "tab:orange", "NTK": "tab:olive", "dynamic NTK": "tab:green",
           "YaRN without temperature": "tab:cyan", "YaRN": "tab:blue", REFERENCE: "0.5"}  # fmt: skip
ALL = tuple(name for name in COLOURS if name != REFERENCE)
# of smollm2, the tokens read over those of training, the rules
TEXTS = (("python_docs", 2.0, ALL), ("licences", 1.5, (PLAIN, "dynamic NTK", "YaRN")))


def rules(factor: float, trained: int) -> dict[str, Any]:
    """Return the scaling rules by name; None is plain RoPE."""
    return {
        PLAIN: None,
        "linear": Linear(factor=factor),
        "NTK": NTK(alpha=factor),
        "dynamic NTK": DynamicNTK(factor=factor, original_max_position=trained),
        "YaRN without temperature": YaRN(factor=factor, original_max_position=trained, attention_factor=1.0),
        "YaRN": YaRN(factor=factor, original_max_position=trained),
    }


def plans(config: RopeConfig, rule: Any, prompts: Iterable[int]) -> dict[int, RotaryPlan]:
    """Return the plan for each length of prompt; only dynamic rules have several."""
    return {length: config.replace(scaling=rule).plan(seq_len=length) for length in prompts}


def read(ids: Any, by_prompt: Mapping[int, RotaryPlan], cache: dict[tuple[RotaryPlan, int], Any], loss: Any) -> Any:
    """Return each token's loss from the first prompt that is long enough for it; the first token
    has none (NaN).

    A run of n tokens holds that of every shorter prompt with the same plan, as no token sees later
    ones.
    """
    longest: dict[RotaryPlan, int] = {}
    for length, plan in by_prompt.items():
        longest[plan] = max(length, longest.get(plan, 0))
    found, start = np.full(max(by_prompt), np.nan), 0
    for length, plan in sorted(by_prompt.items()):
        at_hand = [run for (kept, n), run in cache.items() if kept == plan and n >= length]
        if not at_hand:
            at_hand = [np.concatenate([[np.nan], loss(ids[: longest[plan]], plan)])]
            cache[plan, longest[plan]] = at_hand[0]
        found[start:length] = at_hand[0][start:length]
        start = length
    return found


def reference(ids: Any, plan: RotaryPlan, window: int, loss: Any) -> Any:
    """Return each token's loss with the window before its own as the only context."""
    parts = [np.concatenate([[np.nan], loss(ids[:window], plan)])]
    parts += [
        loss(ids[start - window : start + window], plan, first=window) for start in range(window, len(ids), window)
    ]
    return np.concatenate(parts)


def verdict(ratios: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> str:
    """Return the verdict from each text's ratios (mean, low, high) beyond the trained length, by
    rule.
    """
    if not all(text[PLAIN][1] > LIMIT for text in ratios.values()):
        return "does not hold" if all(text[PLAIN][2] < LIMIT for text in ratios.values()) else UNSETTLED
    names = dict.fromkeys(name for text in ratios.values() for name in text if name != PLAIN)
    long = [name for name in names if all(text[name][2] < LIMIT for text in ratios.values() if name in text)]
    if not long:
        return "does not hold"
    return "holds" if len(long) == len(names) else f"holds only if the rule is {' or '.join(long)}"


def run(quick: bool, seed: int) -> Result:
    """Read the texts under each rule."""
    from . import smollm2

    model = smollm2.load(smollm2.fast_dtype())
    window, trained = (128, 256) if quick else (2048, model.context)
    rows, data, ratios, failures = [], {}, {}, []
    for source, share, names in TEXTS[:1] if quick else TEXTS:
        text, n = getattr(smollm2, source)(), round(trained * share)
        ids, cache = model.tokens(text.content)[:n], {}

        def loss(ids: Any, plan: RotaryPlan, first: int = 1) -> Any:
            return smollm2.losses(model, ids, plan, first)

        by_rule = {
            name: read(ids, plans(model.config, rule, range(trained, n + 1, trained // 2)), cache, loss)
            for name, rule in rules(2.0, trained).items()
            if name in names
        }
        base = reference(ids, model.config.plan(), window, loss)
        ratios[text.name] = {
            name: tuple(map(float, np.exp(smollm2.interval((found - base)[trained:], seed))))
            for name, found in by_rule.items()
        }
        for name, found in {**by_rule, REFERENCE: base}.items():
            means = [np.nanmean(found[start : start + window]) for start in range(0, n, window)]
            data.setdefault(text.name, {})[name] = [float(np.exp(mean)) for mean in means]
            beyond = float(np.exp(found[trained:].mean()))
            ratio = ratios[text.name].get(name, "")
            rows.append(
                [text.name, name, *(data[text.name][name][w] for w in (0, trained // window - 1, -1)), beyond, ratio]
            )
            if not np.isfinite(found[1:]).all() or not 0 < base[1:].mean() < np.log(100):
                failures.append(f"{text.name}, {name}: the losses are not those of a language model")
        data[text.name]["about"] = text.about() | {"tokens": n}
    data |= {"dtype": str(model.dtype), "window": window, "trained": trained, "ratios": ratios}
    text = getattr(smollm2, TEXTS[0][0])()
    ids = model.tokens(text.content)[:window]
    exact = float(np.exp(smollm2.losses(smollm2.load(), ids, model.config.plan()).mean()))
    data["first window in float32"] = exact
    if abs(data[text.name][PLAIN][0] / exact - 1) > 0.01:
        failures.append(f"{model.dtype} moves the perplexity of the first window by over 1 %")
    first = next(iter(ratios.values()))
    best = min((name for name in first if name != PLAIN), key=lambda name: first[name][0])
    return Result(
        ["text", "rule", "perplexity in the first window", "in the last trained one", "in the last", f"beyond {trained:,} tokens", "over the reference"],
        rows,
        f"beyond {trained:,} tokens plain RoPE has {first[PLAIN][0]:.3g} times the perplexity that the same tokens have after a short context; "
        + ", ".join(f"{name} {ratio[0]:.3g}" for name, ratio in first.items() if name != PLAIN) + f"; {best} is the lowest",
        verdict(ratios),
        data,
        failures,
    )  # fmt: skip


def plot(result: Result, figure: Any) -> None:
    """Draw the perplexity of each window over its place in the text, a panel for each text."""
    from matplotlib.ticker import LogLocator

    figure.set_size_inches(10, 7.5)
    data, window = result.data, result.data["window"]
    panels = figure.subplots(2, len(data["ratios"]), squeeze=False, sharex="col", height_ratios=(3, 2))
    for (axes, below), text in zip(panels.T, data["ratios"], strict=True):
        for name, colour in COLOURS.items():
            if name in data[text]:
                ends = window * np.arange(1, len(data[text][name]) + 1)
                style = "--" if name == REFERENCE else "-"
                over = np.array(data[text][name]) / data[text][REFERENCE]
                axes.plot(ends, data[text][name], style, marker="o", ms=4, color=colour, label=name)
                below.plot(ends, over, style, marker="o", ms=4, color=colour)
        axes.set(yscale="log", ylabel="perplexity of the window")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{text}: {data[text]['about']['origin'].split(':')[0]}", fontsize=9)
        below.set(ylim=(0.65, 1.35), ylabel="over the reference")
        below.set_xlabel(f"tokens read, at the end of each window of {window:,}")
        below.set_xticks(ends[(1 if len(ends) > 4 else 0) :: 2])
        below.xaxis.set_major_formatter("{x:,.0f}")
        for each in (axes, below):
            each.axvline(data["trained"], color="0.8", lw=4, zorder=0)
    ratio = next(iter(data["ratios"].values()))
    figure.suptitle(
        f"Beyond its {data['trained']:,} trained tokens (grey line) SmolLM2 has {ratio[PLAIN][0]:.2g} times the perplexity "
        f"of a short context with plain RoPE,\n{ratio['dynamic NTK'][0]:.2f} times with dynamic NTK and {ratio['YaRN'][0]:.2f} times with YaRN",
        fontsize=10,
    )
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
