"""What RoPE costs in torch: q and k rotated by rotate_half and by ropecore, against an additive
encoding, and against the layer that it stands in.

Additive: a table is added to tensors of the same sizes as q and k (in a model it is added once,
RoPE turns q and k in every layer). Every call makes new tensors on one thread, tables are at hand,
and the two calls of a ratio are timed in turn (A B A B; the median and quartiles of neighbouring
calls' ratios). The layer: norm, q, k, v, rotation, causal attention, output, norm, SwiGLU, with
random weights and the sizes of Llama 3 8B and of SmolLM2-135M. A share is the rotation's time alone
over that of the whole layer. ropecore's loop is fused where Numba is installed.

The verdict, three parts: rotate_half / additive within 4 to 5, fused / additive within 2 to 3
(either with a quarter to spare, as on other machines), and the share of either form in either layer
within 1 to 3 % (rounded to whole per cents). It holds if all figures do.
"""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import ropecore

from ..timing import compare
from .frame import Claim, Result
from .matrix import Ratio, neighbours, one_thread, rotate_half

CLAIM = Claim(
    "cost",
    "Naive RoPE takes 4 to 5 times as long as an additive encoding, fused RoPE 2 to 3 times, and 1 to 3 % of a whole model.",
    "D4",
    "4 to 5 times, 2 to 3 times, 1 to 3 %",
)
CLAIMED = {"rotate_half": (4.0, 5.0), "ropecore": (2.0, 3.0)}
SPARE = 1.25
SHARE = (0.005, 0.035)
FUSED = importlib.util.find_spec("numba") is not None
# width, inner width, heads, heads of k and v, head_dim, tokens
LAYERS = {"Llama 3 8B": (4096, 14_336, 32, 8, 128, 256), "SmolLM2-135M": (576, 1536, 9, 3, 64, 1024)}
QUICK = {"SmolLM2-135M": (576, 1536, 9, 3, 64, 64)}
Rotation = Callable[[Any, Any], tuple[Any, Any]]


def rotations(plan: ropecore.RotaryPlan, tokens: int, dtype: Any) -> dict[str, Rotation]:
    """Return the two ways to rotate q and k (1, heads, tokens, head_dim)."""
    import torch

    import ropecore.backends.torch as rope

    cos, sin = (torch.cat([table, table], -1).to(dtype) for table in rope.cos_sin(plan, torch.arange(tokens)))
    return {
        "rotate_half": lambda q, k: (rotate_half(q, cos, sin), rotate_half(k, cos, sin)),
        "ropecore": lambda q, k: rope.apply(plan, q, k),
    }


def added(q: Any, k: Any, table: Any) -> tuple[Any, Any]:
    """Return q and k with an additive encoding."""
    return q + table, k + table


def layer(size: tuple[int, ...], dtype: Any) -> Callable[[Rotation], tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return a function of a rotation: the calls of the rotation alone and of the whole layer."""
    import torch

    width, inner, heads, kv_heads, head_dim, tokens = size
    functions = torch.nn.functional
    rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim, width, inner, inner]
    columns = [width, width, width, heads * head_dim, width, width]
    wq, wk, wv, wo, gate, up = (torch.randn(pair, dtype=dtype) * 0.02 for pair in zip(rows, columns, strict=True))
    down, hidden = torch.randn(width, inner, dtype=dtype) * 0.02, torch.randn(1, tokens, width, dtype=dtype)

    def split(x: Any, weight: Any) -> Any:
        return functions.linear(x, weight).unflatten(-1, (-1, head_dim)).transpose(1, 2)

    def calls(rotate: Rotation) -> tuple[Callable[[], Any], Callable[[], Any]]:
        q, k = split(hidden, wq), split(hidden, wk)

        def whole() -> Any:
            x = functions.rms_norm(hidden, (width,))
            q, k = rotate(split(x, wq), split(x, wk))
            k, v = (each.repeat_interleave(heads // kv_heads, 1) for each in (k, split(x, wv)))
            x = functions.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = hidden + functions.linear(x.transpose(1, 2).flatten(-2), wo)
            y = functions.rms_norm(x, (width,))
            return x + functions.linear(functions.silu(functions.linear(y, gate)) * functions.linear(y, up), down)

        return lambda: rotate(q, k), whole

    return calls


def verdict(additive: dict[str, list[Ratio]], shares: dict[str, list[Ratio]], fused: bool = FUSED) -> str:
    """Return the verdict from the ratios (median, quartiles) of each rotation to the additive
    encoding and to a layer.
    """
    parts = []
    for name, (low, high) in CLAIMED.items():
        if name != "ropecore" or fused:
            right = all(low / SPARE <= ratio[0] <= high * SPARE for ratio in additive[name])
            parts.append((f"{name}'s time over the additive encoding's", right))
    parts += [
        (f"{name}'s share of a layer", all(SHARE[0] <= ratio[0] < SHARE[1] for ratio in ratios))
        for name, ratios in shares.items()
    ]
    right = [name for name, ok in parts if ok]
    if not right:
        return "does not hold"
    if len(right) < len(parts):
        return f"holds only if what is meant is {' and '.join(right)}; not the rest"
    return "holds" if fused else "not settled here: without Numba there is no fused form"


def run(quick: bool, seed: int) -> Result:
    """Time the rotations against the additive encoding, and alone against the whole layer."""
    with one_thread():
        return _timed(QUICK if quick else LAYERS, (3, 3) if quick else (31, 7), seed)


def _timed(layers: dict[str, tuple[int, ...]], pairs: tuple[int, int], seed: int) -> Result:
    import torch

    torch.manual_seed(seed)
    rows, failures = [], []
    additive: dict[str, list[Ratio]] = {name: [] for name in CLAIMED}
    shares: dict[str, list[Ratio]] = {name: [] for name in CLAIMED}
    bars = []
    for kind, size in layers.items():
        _, _, heads, kv_heads, head_dim, tokens = size
        plan = ropecore.RopeConfig(head_dim=head_dim, base=500_000.0, pairing="half_split").plan()
        for name in ("float32", "bfloat16"):
            dtype = getattr(torch, name)
            q, k = (torch.randn(1, h, tokens, head_dim).to(dtype) for h in (heads, kv_heads))
            table = torch.randn(tokens, head_dim).to(dtype)
            turns, parts = rotations(plan, tokens, dtype), layer(size, dtype)
            one, other = (turns[rotation](q, k)[0].double() for rotation in CLAIMED)
            if not float((one - other).abs().max()) < {"float32": 1e-4, "bfloat16": 0.1}[name]:
                failures.append(f"{kind}, {name}: the two rotations differ")
            for rotation, turn in turns.items():
                to_add = compare(partial(turn, q, k), partial(added, q, k, table), pairs[0], calls=5)
                to_layer = compare(*parts(turn), pairs[1])
                ratios = [neighbours(timing) for timing in (to_add, to_layer)]
                additive[rotation].append(ratios[0])
                shares[rotation].append(ratios[1])
                setting = f"{kind}, {tokens:,} tokens, {name}"
                percent = tuple(100 * x for x in ratios[1])
                bars.append([setting, rotation, *ratios])
                rows.append(
                    [
                        setting,
                        rotation,
                        list(ratios[0]),
                        list(percent),
                        1e3 * to_add.medians[0],
                        1e3 * to_layer.medians[1],
                    ]
                )

    def span(ratios: list[Ratio], scale: float = 1.0) -> str:
        return f"{scale * min(ratios)[0]:.2g} to {scale * max(ratios)[0]:.2g}"

    return Result(
        [
            "layer",
            "rotation",
            "time over the additive encoding's",
            "share of the layer, %",
            "rotation, ms",
            "layer, ms",
        ],
        rows,
        f"rotate_half takes {span(additive['rotate_half'])} times as long as an addition to q and k, ropecore"
        f"{'' if FUSED else ' without its fused loop'} {span(additive['ropecore'])} times; "
        f"{span(shares['rotate_half'], 100)} % and {span(shares['ropecore'], 100)} % of a layer",
        verdict(additive, shares),
        {"bars": bars, "fused": FUSED},
        failures,
    )


def plot(result: Result, figure: Any) -> None:
    """Draw both ratios by layer and dtype, with what the document claims as bands."""
    from matplotlib.ticker import LogLocator

    figure.set_size_inches(10, 5)
    left, right = figure.subplots(1, 2, sharey=True)
    bars = result.data["bars"]
    settings = list(dict.fromkeys(bar[0] for bar in bars))
    for axes, column, scale in ((left, 2, 1), (right, 3, 100)):
        for number, name in enumerate(CLAIMED):
            mine = [bar for bar in bars if bar[1] == name]
            heights = np.array([settings.index(bar[0]) for bar in mine]) + (number - 0.5) * 0.25
            middle, low, high = (scale * np.array([bar[column][i] for bar in mine]) for i in range(3))
            axes.hlines(heights, low, high, color=f"C{number}", lw=2)
            axes.plot(middle, heights, "o", color=f"C{number}", label=name if axes is left else None)
    for number, (low, high) in enumerate(CLAIMED.values()):
        left.axvspan(
            low, high, color=f"C{number}", alpha=0.15, label=f"the document, {'naive' if number == 0 else 'fused'}"
        )
    right.axvspan(1, 3, color="0.85", label="the document: 1 to 3 % of a model")
    left.set_yticks(range(len(settings)), [setting.replace(", ", "\n", 1) for setting in settings], fontsize=8)
    left.invert_yaxis()
    left.set(xlabel="time over that of adding a table to q and k", xlim=(0, None))
    right.set(xlabel="share of the layer's time (%)", xscale="log")
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_major_formatter("{x:g}")
    right.minorticks_off()
    figure.suptitle(result.ours.replace("; ", ";\n"), fontsize=10)
    figure.legend(loc="outside lower center", ncols=5, fontsize=9)
