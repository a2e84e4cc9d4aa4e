"""28 layers, each with a `RotaryEmbedding` of its own, rotate 40,960 tokens in turn (head_dim 128,
theta 1e6: D0's model); what each leaves in memory is measured by tracemalloc after each layer,
where tables are shared and where each layer keeps its own. What a layer rotates is freed.

The verdict: with sharing, the 27 further layers must add less than a tenth of the table of one
(Python's own objects are counted too), and give the same bits as with tables of their own; else the
claim does not hold. Nothing is drawn by chance but q. (A shared table begins at 0 and grows by
doubling, so it holds 65,536 positions for 40,960.)
"""

import gc
import tracemalloc
from typing import Any

import numpy as np

import ropecore
import ropecore.backends.numpy as rope

from .frame import Claim, Result

CLAIM = Claim("share", "28 layers share one table.", "D0", "one cached instance for 28 layers")
LAYERS, TOKENS = 28, 40_960
PLAN = ropecore.RopeConfig(head_dim=128, base=1e6, pairing="half_split").plan()


def run(quick: bool, seed: int) -> Result:
    """Measure the memory after each layer, shared and not."""
    tokens = 4096 if quick else TOKENS
    q = np.random.default_rng(seed).normal(size=(1, 1, tokens, 128)).astype("float32")
    positions = np.arange(tokens)
    layers = [rope.RotaryEmbedding(PLAN) for _ in range(LAYERS)]
    own: list[Any] = []

    def with_own_tables(layer: int) -> Any:
        own.append(rope.cos_sin(PLAN, positions))
        return rope.rotate(PLAN, q, *own[-1])

    other = PLAN.with_frequencies(PLAN.frequencies * 2)  # loads and compiles what is not memory of tables
    rope.rotate(other, q, *rope.cos_sin(other, positions))
    rope.RotaryEmbedding(other)(q[:, :, :8])
    shared_bits, shared = _held(lambda layer: layers[layer](q))
    own_bits, separate = _held(with_own_tables)
    wide = 2 * sum(table.nbytes for table in own[0])  # cos and sin for every lane, as transformers stores them
    rows = [
        ["one table, shared by all layers", shared[0] / 2**20, shared[-1] / 2**20, shared[-1] / separate[-1]],
        ["a table in each layer, one number a pair", separate[0] / 2**20, separate[-1] / 2**20, 1.0],
        ["a table in each layer, one number a lane", wide / 2**20, LAYERS * wide / 2**20, LAYERS * wide / separate[-1]],
    ]
    same = np.array_equal(shared_bits, own_bits)
    holds = same and shared[-1] - shared[0] < 0.1 * separate[0]
    return Result(
        ["tables", "MiB after 1 layer", f"MiB after {LAYERS} layers", "times a table in each layer"],
        rows,
        f"{shared[-1] / 2**20:.1f} MiB for {LAYERS} layers with sharing, {separate[-1] / 2**20:.0f} MiB without, the same bits; "
        f"{LAYERS * wide / 2**20:.0f} MiB where each lane has its own cos and sin",
        "holds" if holds else "does not hold",
        {"shared": shared, "separate": separate, "tokens": tokens},
        [] if same else ["shared tables and tables of their own must give the same bits"],
    )


def _held(layer: Any) -> tuple[Any, list[int]]:
    """Call layers in turn; return the last result, and the bytes that are still held after each."""
    gc.collect()
    tracemalloc.start()
    held = []
    for number in range(LAYERS):
        y = layer(number)
        held.append(tracemalloc.get_traced_memory()[0] - y.nbytes)
    tracemalloc.stop()
    return y, held


def plot(result: Result, figure: Any) -> None:
    """Draw the bytes held after each layer."""
    axes, data = figure.subplots(), result.data
    layers = np.arange(1, LAYERS + 1)
    axes.plot(layers, np.array(data["separate"]) / 2**20, "o-", label="a table in each layer")
    axes.plot(layers, np.array(data["shared"]) / 2**20, "s-", label="one table, shared by all layers")
    axes.set(xlabel="layers that have run", ylabel="memory held for tables (MiB)", ylim=(0, None))
    axes.set_title(f"With sharing, 28 layers hold what one does (head_dim 128, {data['tokens']:,} positions, float32)")
    axes.legend()
