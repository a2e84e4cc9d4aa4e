"""ropecore against other libraries, with new outputs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ropecore import RopeConfig

from . import peers
from .case import BASE, HEAD_DIM, HEADS, Pair, close, floats, plan_of, q_and_k, torch_adapter, torch_library


def onnxruntime_against(pairing: str) -> Callable[[int], Pair]:
    """onnxruntime's operator, q alone, against ropecore's NumPy adapter with a new output."""

    def make(tokens: int) -> Pair:
        rope, plan = peers.library("ropecore.backends.numpy"), plan_of(pairing)
        threads = torch_library().get_num_threads()
        theirs = peers.onnxruntime_rotary(HEADS, HEAD_DIM, pairing == "interleaved", threads)
        x = np.random.default_rng(0).standard_normal((1, HEADS, tokens, HEAD_DIM), np.float32)
        positions = np.arange(tokens)
        cos, sin = rope.cos_sin(plan, positions)
        other = lambda: theirs(x, positions[None], cos, sin)
        return Pair(
            "onnxruntime", "ropecore apply", other, lambda: rope.apply(plan, x),
            lambda: close([rope.apply(plan, x)], [other()], 1e-5),
        )  # fmt: skip

    return make


def complex_against(tokens: int) -> Pair:
    """The complex multiplication of Meta's Llama against ropecore with new outputs."""
    rope, torch, plan = torch_adapter(), torch_library(), plan_of("interleaved")
    q, k = q_and_k(tokens, "float32")
    turns = torch.complex(*rope.cos_sin(plan, torch.arange(tokens)))
    theirs = lambda: (peers.complex_product(q, turns), peers.complex_product(k, turns))
    return Pair(
        "complex product", "ropecore apply", theirs, lambda: rope.apply(plan, q, k),
        lambda: close(floats(*rope.apply(plan, q, k)), floats(*theirs()), 1e-6),
    )  # fmt: skip


def rotary_embedding_torch_against(tokens: int) -> Pair:
    """rotary-embedding-torch's module, q and k, against ropecore with new outputs."""
    module, rope = peers.rotary_embedding_torch(HEAD_DIM), torch_adapter()
    plan = RopeConfig(head_dim=HEAD_DIM, base=10_000.0, pairing="interleaved").plan()
    q, k = q_and_k(tokens, "float32")
    theirs = lambda: (module.rotate_queries_or_keys(q), module.rotate_queries_or_keys(k))
    return Pair(
        "rotary-embedding-torch", "ropecore apply", theirs, lambda: rope.apply(plan, q, k),
        lambda: close(floats(*rope.apply(plan, q, k)), floats(*(x.detach() for x in theirs())), 2e-3),
    )  # fmt: skip


def mlx_against(tokens: int) -> Pair:
    """MLX's fast.rope on its CPU against ropecore with new outputs."""
    mlx, rope, plan = peers.library("mlx.core"), torch_adapter(), plan_of("half_split")
    q, k = q_and_k(tokens, "float32")
    theirs_q, theirs_k = (mlx.array(x.numpy()) for x in (q, k))

    def rotated(x: Any) -> Any:
        return mlx.fast.rope(x, HEAD_DIM, traditional=False, base=BASE, scale=1.0, offset=0)

    def theirs() -> Any:
        results = rotated(theirs_q), rotated(theirs_k)
        mlx.eval(*results)
        return results

    return Pair(
        "MLX fast.rope", "ropecore apply", theirs, lambda: rope.apply(plan, q, k),
        lambda: close(floats(*rope.apply(plan, q, k)), [np.asarray(x) for x in theirs()], 5e-3),
    )  # fmt: skip


def jax_rotation(donated: bool) -> Callable[[int], Pair]:
    """ropecore's JAX adapter, jitted, against x + 1: with a new output, or in the memory of its
    argument.
    """

    def make(tokens: int) -> Pair:
        jax, rope, plan = peers.library("jax"), peers.library("ropecore.backends.jax"), plan_of("half_split")
        x = jax.random.normal(jax.random.key(0), (1, HEADS, tokens, HEAD_DIM))
        how: dict[str, Any] = {"donate_argnums": 0} if donated else {}
        ours, plus = jax.jit(lambda x: rope.apply(plan, x), **how), jax.jit(lambda x: x + 1, **how)
        given = {"ours": x + 0, "plus": x + 0}

        def call(name: str, function: Any) -> Any:
            y = jax.block_until_ready(function(given[name]))
            if donated:
                given[name] = y
            return y

        return Pair("JAX ropecore", "JAX x + 1", lambda: call("ours", ours), lambda: call("plus", plus))

    return make
