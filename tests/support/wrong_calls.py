"""Wrong calls that every adapter refuses in the same words: the tests of each run them on its own
arrays.

A call takes the adapter and the function that makes an array of its library; beside it stand the
argument that the refusal names, and words of the reason or of the cure.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ropecore import RopeConfig, RopeError

X = np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype(np.float32)
CONFIG = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6)
PLAN = CONFIG.plan()
AXES = RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w")).plan()
Call = Callable[[Any, Callable[[Any], Any]], Any]


def tables(rope: Any, new: Callable[[Any], Any], length: int = 4) -> tuple[Any, Any]:
    cos, sin = rope.cos_sin(PLAN, new(np.arange(length)))
    return cos, sin


WRONG: dict[str, tuple[Call, str, str]] = {
    "a config for a plan": (lambda r, new: r.apply(CONFIG, new(X)), "plan", ".plan()"),
    "no plan": (lambda r, new: r.apply(None, new(X)), "plan", "RopeConfig"),
    "no plan for the module": (lambda r, new: r.RotaryEmbedding(8), "plan", "RopeConfig"),
    "no plan for tables": (lambda r, new: r.cos_sin("llama", new([1])), "plan", "RopeConfig"),
    "no plan for a shift": (lambda r, new: r.shift(None, new(X), 1), "plan", "RopeConfig"),
    "no plan for given tables": (lambda r, new: r.rotate(None, new(X), *tables(r, new)), "plan", "RopeConfig"),
    "no q": (lambda r, new: r.apply(PLAN, None), "q", "R-12.4"),
    "integer x": (lambda r, new: r.apply(PLAN, new(X.astype(np.int32))), "q", "Convert"),
    "boolean x": (lambda r, new: r.apply(PLAN, new(X > 0)), "q", "Convert"),
    "complex x": (lambda r, new: r.apply(PLAN, new(X.astype(np.complex64))), "q", "Convert"),
    "three dimensions": (lambda r, new: r.apply(PLAN, new(X[0])), "q", "tensor_format"),
    "heads not split": (lambda r, new: r.apply(PLAN, new(X.reshape(2, 1, 4, 24))), "q", "each head"),
    "heads not split, for k": (lambda r, new: r.apply(PLAN, new(X), new(X.reshape(2, 1, 4, 24))), "k", "each head"),
    "heads not split, for a shift": (lambda r, new: r.shift(PLAN, new(X.reshape(2, 1, 4, 24)), 1), "k", "each head"),
    "k of another batch": (lambda r, new: r.apply(PLAN, new(X), new(X[:1])), "k", "two calls"),
    "k of another length without positions": (lambda r, new: r.apply(PLAN, new(X[:, :, :1]), new(X), offset=3), "k", "k_positions"),
    "k of another length at the same positions": (
        lambda r, new: r.apply(PLAN, new(X), new(X[:, :, :3]), positions=[0, 1, 2, 3]), "positions", "(3)",
    ),
    "letters unknown": (lambda r, new: r.apply(PLAN, new(X), tensor_format="bhnd"), "tensor_format", "bshd"),
    "letters twice": (lambda r, new: r.apply(PLAN, new(X), tensor_format="bssd"), "tensor_format", "bshd"),
    "letters without sequence": (lambda r, new: r.apply(PLAN, new(X), tensor_format="bhgd"), "tensor_format", "bshd"),
    "letters not ending in d": (lambda r, new: r.apply(PLAN, new(X), tensor_format="bdhs"), "tensor_format", "bshd"),
    "letters of packed tokens with a batch": (lambda r, new: r.apply(PLAN, new(X), tensor_format="bthd"), "tensor_format", "thd"),
    "letters unknown to the module": (lambda r, new: r.RotaryEmbedding(PLAN, "bhsx"), "tensor_format", "bshd"),
    "float positions": (lambda r, new: r.apply(PLAN, new(X), positions=new(np.arange(4.0))), "positions", "Round"),
    "boolean positions": (lambda r, new: r.apply(PLAN, new(X), positions=new(np.ones(4, bool))), "positions", "integers"),
    "ragged positions": (lambda r, new: r.apply(PLAN, new(X), positions=[[0, 1], [2]]), "positions", "no array of numbers"),
    "no positions in the list": (lambda r, new: r.apply(PLAN, new(X), positions=[]), "positions", "(4)"),
    "positions of another length": (lambda r, new: r.apply(PLAN, new(X), positions=[0, 1, 2]), "positions", "(4)"),
    "positions of another batch": (lambda r, new: r.apply(PLAN, new(X), positions=new(np.zeros((3, 4), int))), "positions", "(2, 4)"),
    "positions by batch alone": (lambda r, new: r.apply(PLAN, new(X), positions=new(np.zeros((2, 1), int))), "positions", "(2, 4)"),
    "positions with a third dimension": (
        lambda r, new: r.apply(PLAN, new(X), positions=new(np.zeros((1, 2, 4), int))), "positions", "(2, 4)",
    ),
    "one position for four tokens": (lambda r, new: r.apply(PLAN, new(X), positions=7), "positions", "(4)"),
    "a position beyond 2^31": (lambda r, new: r.apply(PLAN, new(X), positions=[0, 1, 2, 2**31]), "positions", "2^31"),
    "a position below -2^31": (lambda r, new: r.apply(PLAN, new(X), positions=[0, 1, 2, -(2**31)]), "positions", "2^31"),
    "the position of one token beyond 2^31": (lambda r, new: r.apply(PLAN, new(X[:, :, :1]), positions=2**31), "positions", "2^31"),
    "the position of one token beside an offset": (
        lambda r, new: r.apply(PLAN, new(X[:, :, :1]), positions=3, offset=1), "offset", "Add it",
    ),
    "positions with the axes last": (lambda r, new: r.apply(AXES, new(X), positions=new(np.zeros((2, 4, 3), int))), "positions", "axes_first"),
    "text positions for axes": (lambda r, new: r.apply(AXES, new(X), positions=new(np.zeros((2, 4), int))), "positions", "text_positions"),
    "axes of different shapes": (
        lambda r, new: r.cos_sin(AXES, [new(np.arange(4)), new(np.arange(4)), new(np.arange(3))]), "positions", "R-7.3",
    ),
    "axes without positions": (lambda r, new: r.apply(AXES, new(X)), "positions", "text_positions"),
    "batched positions for packed tokens": (
        lambda r, new: r.apply(PLAN, new(X[0]), positions=np.zeros((1, 3), int), tensor_format="thd"), "positions", "(3)",
    ),
    "offset beside positions": (lambda r, new: r.apply(PLAN, new(X), positions=[0, 1, 2, 3], offset=2), "offset", "Add it"),
    "offset as a float": (lambda r, new: r.apply(PLAN, new(X), offset=1.5), "offset", "integer"),
    "offset for another batch": (lambda r, new: r.apply(PLAN, new(X), offset=[1, 2, 3]), "offset", "one a batch row"),
    "offset that leads too far": (lambda r, new: r.apply(PLAN, new(X), offset=2**31 - 2), "offset", "2^31"),
    "offset by row for packed tokens": (
        lambda r, new: r.apply(PLAN, new(X[0]), offset=[1, 2], tensor_format="thd"), "offset", "no batch",
    ),
    "k positions without k": (lambda r, new: r.apply(PLAN, new(X), k_positions=[0, 1, 2, 3]), "k_positions", "Pass k"),
    "a precision unknown": (lambda r, new: r.apply(PLAN, new(X), precision="float64"), "precision", "exact"),
    "a compute unknown": (lambda r, new: r.apply(PLAN, new(X), compute="bfloat16"), "compute", "input"),
    "a role unknown": (lambda r, new: r.apply(PLAN, new(X), role="v"), "role", "q, k"),
    "a role unknown, for tables": (lambda r, new: r.cos_sin(PLAN, new([1]), role="v"), "role", "q, k"),
    "a role unknown, for a shift": (lambda r, new: r.shift(PLAN, new(X), 1, role="v"), "role", "q, k"),
    "a dtype unknown": (lambda r, new: r.cos_sin(PLAN, new([1]), dtype="float8"), "dtype", "float32"),
    "tables of another length": (lambda r, new: r.rotate(PLAN, new(X[:, :, :3]), *tables(r, new)), "cos", "cos_sin"),
    "tables in full width": (lambda r, new: r.rotate(PLAN, new(X), new(np.ones((4, 6))), new(np.ones((4, 6)))), "cos", "cos_sin"),
    "a sine of another length": (
        lambda r, new: r.rotate(PLAN, new(X), tables(r, new)[0], tables(r, new, 3)[1]), "sin", "cos_sin",
    ),
    "a sine with a batch, and a cosine without": (
        lambda r, new: r.rotate(PLAN, new(X), tables(r, new)[0], tables(r, new)[1][None, ...]), "sin", "that of cos",
    ),
    "inverse and transpose": (lambda r, new: r.rotate(PLAN, new(X), *tables(r, new), inverse=True, transpose=True), "inverse", "one"),
    "delta as a float": (lambda r, new: r.shift(PLAN, new(X), 0.5), "delta", "integer"),
    "delta for another batch": (lambda r, new: r.shift(PLAN, new(X), [1, 2, 3]), "delta", "one a batch row"),
}  # fmt: skip


def same(r: Any, new: Callable[[Any], Any]) -> Any:
    x = new(X)
    return r.apply_(PLAN, x, x)


WRITING: dict[str, tuple[Call, str, str]] = {  # for libraries whose arrays can be written
    "the same tensor twice in place": (same, "k", "Copy"),
    "k of another batch in place": (lambda r, new: r.apply_(PLAN, new(X), new(X[:1])), "k", "two calls"),
    "an output of another shape": (lambda r, new: r.rotate(PLAN, new(X), *tables(r, new), out=new(X[:1])), "out", "as x is"),
    "an output of another dtype": (
        lambda r, new: r.rotate(PLAN, new(X), *tables(r, new), out=new(X.astype(np.float16))), "out", "as x is",
    ),
}  # fmt: skip


def check(rope: Any, new: Callable[[Any], Any], case: str) -> None:
    """Make the call, and look at its refusal."""
    call, argument, words = (WRONG | WRITING)[case]
    with pytest.raises(RopeError) as refusal:
        call(rope, new)

    assert refusal.value.argument == argument
    assert words in str(refusal.value)
    assert refusal.value.rule
