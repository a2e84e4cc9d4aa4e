"""The rotation in a model, and as a matrix."""

from collections.abc import Callable
from typing import Any

from . import peers
from .case import (
    HEAD_DIM,
    HEADS,
    KV_HEADS,
    Pair,
    close,
    floats,
    hf_tables,
    plan_of,
    q_and_k,
    torch_adapter,
    torch_library,
)


def layer(fast: bool) -> Callable[[int], Pair]:
    """The rotation in a layer of Llama 3 8B, an eighth of the tokens: its time over that of the
    whole layer.
    """
    return lambda tokens: _share(fast, tokens // 8, heads=HEADS, kv_heads=KV_HEADS, inner=14_336, n_layers=1)


def layers(fast: bool) -> Callable[[int], Pair]:
    """The rotations in a model of 28 layers, 1,024 wide, a sixteenth of the tokens: their time over
    that of all layers.
    """
    return lambda tokens: _share(fast, tokens // 16, heads=8, kv_heads=2, inner=2816, n_layers=28)


def _share(fast: bool, tokens: int, heads: int, kv_heads: int, inner: int, n_layers: int) -> Pair:
    """Return the rotations alone, and Llama-like layers around them: all have the same weights."""
    torch, rope, plan = torch_library(), torch_adapter(), plan_of("half_split")
    theirs = None if fast else peers.transformers_rotary()
    width, narrow, functions = heads * HEAD_DIM, kv_heads * HEAD_DIM, torch.nn.functional
    sizes = [(width, width), (narrow, width), (narrow, width), (width, width)]
    sizes += [(inner, width), (inner, width), (width, inner)]
    wq, wk, wv, wo, gate, up, down = (torch.randn(size) * 0.02 for size in sizes)
    given, (cos, sin) = torch.randn(1, tokens, width), hf_tables(tokens, "float32")

    def split(x: Any, weight: Any) -> Any:
        return functions.linear(x, weight).unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)

    def rotation(q: Any, k: Any) -> Any:
        return rope.apply_(plan, q, k) if theirs is None else theirs(q, k, cos, sin)

    def one(hidden: Any) -> Any:
        x = functions.rms_norm(hidden, (width,))
        q, k, v = (split(x, weight) for weight in (wq, wk, wv))
        q, k = rotation(q, k)
        x = functions.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = hidden + functions.linear(x.transpose(1, 2).flatten(-2), wo)
        y = functions.rms_norm(x, (width,))
        return x + functions.linear(functions.silu(functions.linear(y, gate)) * functions.linear(y, up), down)

    def whole() -> Any:
        hidden = given
        for _ in range(n_layers):
            hidden = one(hidden)
        return hidden

    q, k = (split(given, weight) for weight in (wq, wk))
    name = f"{'ropecore apply_' if fast else 'transformers eager'}, {n_layers} times alone"
    layers = "the whole layer" if n_layers == 1 else f"all {n_layers} layers"
    return Pair(name, layers, lambda: [rotation(q, k) for _ in range(n_layers)], whole)


def matrix_form(tokens: int) -> Pair:
    """The rotation as a d x d matrix for each position against rotate_half, both in torch (a
    quarter of the tokens).
    """
    torch, theirs = torch_library(), peers.transformers_rotary()
    tokens //= 4
    q, k = q_and_k(tokens, "float32")
    cos, sin = hf_tables(tokens, "float32")
    half = HEAD_DIM // 2
    matrices = torch.diag_embed(cos[0])
    rows = torch.arange(half)
    matrices[:, rows, rows + half], matrices[:, rows + half, rows] = -sin[0, :, :half], sin[0, :, :half]
    product = lambda: [torch.einsum("sij,bhsj->bhsi", matrices, x) for x in (q, k)]
    return Pair(
        "d x d matrices", "transformers rotate_half", product, lambda: theirs(q, k, cos, sin),
        lambda: close(floats(*product()), floats(*theirs(q, k, cos, sin)), 1e-5),
    )  # fmt: skip
