"""Making cos and sin."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from . import peers
from .case import Pair, close, plan_of, torch_adapter, torch_library
from .prefill import without_kernels


def tables(what: str) -> Callable[[int], Pair]:
    """Tables of 256 times the tokens (1,048,576 in full): ropecore's exact class against cos and
    sin in `what`.
    """

    def make(tokens: int) -> Pair:
        rope, plan = peers.library("ropecore.backends.numpy"), plan_of("half_split")
        positions, frequencies = np.arange(256 * tokens), plan.frequencies[:, 0].astype(np.float32)

        def by_numpy() -> Any:
            angles = positions[:, None].astype(np.float32) * frequencies
            return np.cos(angles), np.sin(angles)

        def by_torch() -> Any:
            torch = torch_library()
            angles = torch.from_numpy(positions)[:, None].float() * torch.from_numpy(frequencies)
            return torch.cos(angles), torch.sin(angles)

        theirs = by_numpy if what == "numpy" else by_torch
        return Pair("ropecore exact", f"{what} float32", lambda: rope.cos_sin(plan, positions), theirs)

    return make


def jax_tables(tokens: int) -> Pair:
    """Tables of 32 times the tokens in jitted JAX: the exact class against the float32 class."""
    jax, rope, plan = peers.library("jax"), peers.library("ropecore.backends.jax"), plan_of("half_split")
    positions = jax.numpy.arange(32 * tokens)
    exact, plain = (
        jax.jit(lambda p, precision=precision: rope.cos_sin(plan, p, precision=precision))
        for precision in ("exact", "float32")
    )
    return Pair(
        "JAX exact", "JAX float32", lambda: jax.block_until_ready(exact(positions)),
        lambda: jax.block_until_ready(plain(positions)),
        lambda: close([np.asarray(t) for t in exact(positions)], [np.asarray(t) for t in plain(positions)], 2e-2),
    )  # fmt: skip


def classes(what: str) -> Callable[[int], Pair]:
    """Tables of 32 times the tokens: the exact class against the float32 class, both of ropecore.

    what: "numpy" and "torch", without the kernels; "inductor", compiled by torch.compile; "fused",
    the kernels against NumPy.
    """

    def make(tokens: int) -> Pair:
        plan, torch = plan_of("half_split"), None if what in ("numpy", "fused") else torch_library()
        rope = peers.library("ropecore.backends.numpy") if torch is None else torch_adapter()
        positions = np.arange(32 * tokens) if torch is None else torch.arange(32 * tokens)

        def of(precision: str) -> Callable[[], Any]:
            made = lambda p: rope.cos_sin(plan, p, precision=precision)
            compiled = torch.compile(made) if torch is not None and what == "inductor" else made

            def call() -> Any:
                with nullcontext() if what in ("inductor", "fused") else without_kernels():
                    return compiled(positions)

            return call

        exact, plain = of("exact"), of("float32")
        return Pair(
            f"{what} exact", f"{what} float32", exact, plain,
            lambda: close([np.asarray(t) for t in exact()], [np.asarray(t) for t in plain()], 2e-2),
        )  # fmt: skip

    return make


def kernels(tokens: int) -> Pair:
    """cos_sin of the torch adapter for 32 times the tokens: the kernels
    against torch's operations.
    """
    rope, plan, torch = torch_adapter(), plan_of("half_split"), torch_library()
    positions = torch.arange(32 * tokens)

    def plain() -> Any:
        with without_kernels():
            return rope.cos_sin(plan, positions)

    made = lambda: rope.cos_sin(plan, positions)
    return Pair("with Numba", "without Numba", made, plain, lambda: close(made(), plain(), 0.0))
