"""SmolLM2-135M with a band of RoPE's frequencies removed (set to 0) or stretched (divided by 4),
and with all of them stretched (linear interpolation).

Bands by wavelength: high up to 128 tokens, middle up to the 8,192 tokens of training, low beyond.
Near: the loss of real text from the 16th token on in pieces of 64 tokens, where all context is
near. Far: from the 1,024th token on in pieces of 2,048. Both as differences from the model as
trained, on the same tokens. Induction: random tokens, then the same again; the loss in the copy, by
the distance to the original (to 1,024 tokens: over 4,096 this model copies nothing, as trained).
Intervals: 95 %, bootstrap over blocks of 64 tokens.

The verdict has three parts. High frequencies tell neighbours apart: without them the near loss
rises more than without either other band. Low ones carry the long range: without them the far loss
rises more than the near one, and copies over the longest distance lose more than those over 16
tokens (the same is asked of the middle band, in case the document means that). Linear interpolation
hurts near tokens: it raises the near loss more than stretching the low band alone. "More" means
that the intervals do not meet.
"""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import numpy as np

from ropecore import RotaryPlan

from .frame import Claim, Result

CLAIM = Claim(
    "bands",
    "High frequencies tell neighbours apart and low ones carry the long range; linear interpolation hurts near tokens.",
    "D3",
    "no figure",
)
BANDS = {"high": (0.0, 128.0), "middle": (128.0, 8192.0), "low": (8192.0, np.inf)}
STRETCH = 4.0
HIGH = "high frequencies tell neighbours apart"
LOW, MIDDLE = "low frequencies carry the long range", "middle frequencies carry the long range"
LINEAR = "linear interpolation hurts near tokens"
Figure = tuple[float, float, float]


def in_band(plan: RotaryPlan, name: str) -> Any:
    """Return which pairs have a wavelength above the band's lower end and up to its upper one."""
    wavelengths, (above, up_to) = 2 * np.pi / plan.frequencies[:, 0], BANDS[name]
    return (wavelengths > above) & (wavelengths <= up_to)


def variants(plan: RotaryPlan) -> dict[str, RotaryPlan]:
    """Return the plans by name: as trained, without each band, with each band stretched, with all
    stretched.
    """
    found = {"as trained": plan}
    for verb, factor in (("without {}", 0.0), ("{} stretched", 1 / STRETCH)):
        for name in BANDS:
            scale = np.where(in_band(plan, name), factor, 1.0)
            found[verb.format(name)] = plan.with_frequencies(plan.frequencies * scale[:, None])
    found["all stretched (linear)"] = plan.with_frequencies(plan.frequencies / STRETCH)
    return found


def copies(distance: int, rows: int, vocabulary: int, seed: int) -> Any:
    """Return token ids (rows, 2 * distance): random ones, then the same again."""
    ids = np.random.default_rng([seed, distance]).integers(100, vocabulary, (rows, distance))  # the first are special
    return np.concatenate([ids, ids], axis=1)


def parts(text: Mapping[str, Mapping[str, Figure]]) -> dict[str, bool]:
    """Return each statement, and whether the losses (mean, low, high) above those of the model as
    trained carry it.

    text: by variant, the losses "near" and "far", and those of copies by distance ("16", ..).
    """

    def more(one: Figure, *others: Figure) -> bool:
        return all(one[1] > other[2] for other in others)

    def far_rather_than_near(name: str) -> bool:
        copied = [text[name][d] for d in sorted((key for key in text[name] if key.isdigit()), key=int)]
        return more(text[name]["far"], text[name]["near"]) and more(copied[-1], copied[0])

    near = {name: found["near"] for name, found in text.items()}
    return {
        HIGH: more(near["without high"], near["without middle"], near["without low"]),
        LOW: far_rather_than_near("without low"),
        MIDDLE: far_rather_than_near("without middle"),
        LINEAR: more(near["all stretched (linear)"], near["low stretched"], (0, 0, 0)),
    }


def verdict(found: Mapping[str, bool]) -> str:
    """Return the verdict from the statements; that of the middle band is none of the document's,
    but may be what it means.
    """
    claimed = {name: ok for name, ok in found.items() if name != MIDDLE}
    right = [name for name, ok in claimed.items() if ok]
    if len(right) == len(claimed):
        return "holds"
    if found[MIDDLE] and [name for name in claimed if name not in right] == [LOW]:
        return "holds only if the low frequencies are those of 128 to 8,192 tokens a turn; those that make no turn in 8,192 carry no long range"
    wrong = [name for name in claimed if name not in right]
    return f"holds only if it is: {' and '.join(right)}; not: {' or '.join(wrong)}" if right else "does not hold"


def run(quick: bool, seed: int) -> Result:
    """Read texts and copies with each plan."""
    import torch

    from . import smollm2

    model = smollm2.load(smollm2.fast_dtype())
    ids = model.tokens(smollm2.python_docs().content)
    length, pieces, short = (128, 2, 8) if quick else (2048, 6, 96)
    starts = np.linspace(0, len(ids) - length, pieces).astype(int)
    long_rows = torch.stack([ids[start : start + length] for start in starts])
    starts = np.linspace(0, len(ids) - 64, short).astype(int)
    short_rows = torch.stack([ids[start : start + 64] for start in starts])
    distances = (16, 64) if quick else (16, 64, 256, 1024)
    copied = {
        d: torch.from_numpy(
            copies(d, max(1, (128 if quick else 1024) // d), len(model.weights["token_embd.weight"]), seed)
        )
        for d in distances
    }
    losses: dict[str, dict[str, Any]] = {}
    for name, plan in variants(model.config.plan()).items():
        losses[name] = {
            "near": smollm2.losses(model, short_rows, plan, first=16).ravel(),
            "far": smollm2.losses(model, long_rows, plan, first=length // 2).ravel(),
            **{str(d): smollm2.losses(model, rows, plan, first=d + 1).ravel() for d, rows in copied.items()},
        }
    base = losses["as trained"]
    above = {
        name: {what: smollm2.interval(values - base[what], seed) for what, values in found.items()}
        for name, found in losses.items()
    }
    copy_loss = {name: {d: smollm2.interval(found[str(d)], seed) for d in distances} for name, found in losses.items()}
    found = parts(above)
    wanted = ("without high", "without middle", "without low")
    return Result(
        ["frequencies", "near: loss above as trained, nats", "far: loss above as trained, nats",
         *(f"loss of copies over {d:,}, nats" for d in distances)],
        [[name, *(list(above[name][what]) for what in ("near", "far")), *(list(copy_loss[name][d]) for d in distances)]
         for name in losses],
        "the near loss rises by " + ", ".join(f"{above[name]['near'][0]:.2g} nats {name}" for name in wanted)
        + f" and {above['all stretched (linear)']['near'][0]:.2g} under linear interpolation ({above['low stretched']['near'][0]:.2g} with the "
        f"low band alone stretched); that of copies over {distances[-1]:,} tokens by "
        + ", ".join(f"{above[name][str(distances[-1])][0]:.2g} {name}" for name in wanted),
        verdict(found),
        {"above": above, "copies": copy_loss, "distances": distances, "parts": found, "dtype": str(model.dtype),
         "pairs": {name: int(in_band(model.config.plan(), name).sum()) for name in BANDS}, "text": smollm2.python_docs().about()},
        [] if base["near"].mean() < np.log(1000) and base[str(distances[-1])].mean() < 5 else ["the model as trained does not read or copy"],
    )  # fmt: skip


def plot(result: Result, figure: Any) -> None:
    """Draw the near and far losses by variant, and the loss of copies over the distance."""
    figure.set_size_inches(11, 6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    data, names = result.data, [name for name in result.data["above"] if name != "as trained"]
    for number, what in enumerate(("near", "far")):
        heights = np.arange(len(names)) + 0.35 * (number - 0.5)
        middle, low, high = (np.array([data["above"][name][what][i] for name in names]) for i in range(3))
        errors = np.maximum([middle - low, high - middle], 0)
        left.barh(
            heights, middle, 0.35, xerr=errors, label=f"{what} tokens", color=("tab:blue", "0.6")[number], ecolor="0.2"
        )
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xscale("symlog", linthresh=0.1)
    left.xaxis.set_major_formatter("{x:g}")
    left.axvline(0, color="0.5")
    left.set(xlabel="loss above the model as trained (nats a token)", title="real text")
    left.legend(fontsize=9)
    colours = {"high": "tab:red", "middle": "tab:orange", "low": "tab:blue"}
    for name, found in data["copies"].items():
        band = next((colour for key, colour in colours.items() if key in name), "tab:green" if "all" in name else "k")
        style = ":" if "stretched" in name else "-"
        right.plot(
            list(map(int, found)), [f[0] for f in found.values()], style, marker="o", ms=4, color=band, label=name
        )
    right.set(
        xscale="log",
        xlabel="distance of the copy (tokens)",
        ylabel="loss in the copy (nats a token)",
        title="random tokens, repeated",
    )
    right.set_xticks(data["distances"], [f"{d:,}" for d in data["distances"]])
    right.minorticks_off()
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    seen, not_seen = ([name for name, ok in data["parts"].items() if ok is wanted] for wanted in (True, False))
    says = [f"Seen: {'; '.join(seen)}"] * bool(seen) + [f"Not seen: {'; '.join(not_seen)}"] * bool(not_seen)
    figure.suptitle("\n".join(line for each in says for line in wrap(each, 110)), fontsize=11)
