"""Making cos and sin."""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import peers
from .case import Pair, close, plan_of, torch_library


def tables(what: str) -> Callable[[int], Pair]:
    """Tables of 256 times the tokens (1,048,576 in full): ropecore's exact class against cos and sin in `what`."""

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
