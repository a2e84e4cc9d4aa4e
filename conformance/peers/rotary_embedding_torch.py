"""rotary-embedding-torch (lucidrains): one module for each config, called with an offset."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from rotary_embedding_torch import RotaryEmbedding

from ._common import TORCH_DTYPES, Alone, Torch, by_rows, config_of, declared, runs, scaling_of

RULES = ("linear", "ntk")


@lru_cache(maxsize=64)
def _module(dim: int, theta: float, interpolate: float, rescale: float) -> RotaryEmbedding:
    return RotaryEmbedding(dim, theta=theta, interpolate_factor=interpolate, theta_rescale_factor=rescale)


alone = Alone(_module.cache_clear)


class Lucidrains(Torch):
    """rotate_queries_or_keys: stretches of consecutive positions, each with its offset."""

    capabilities = declared(
        "rotary-embedding-torch",
        "interleaved partial batched_positions offset large_positions",
        dtypes=TORCH_DTYPES,
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with the module of the config."""
        alone(case)
        config = config_of(case, "interleaved", "rotary_dim", rules=RULES)
        scaling = scaling_of(config, RULES)
        size = config.get("rotary_dim", config["head_dim"])
        module = _module(size, config["base"], scaling.get("factor", 1.0), scaling.get("alpha", 1.0))

        def row(x: Any, positions: Any) -> Any:
            parts = [
                module.rotate_queries_or_keys(x[:, :, part], offset=first) for part, first in runs(positions.numpy())
            ]
            return torch.cat(parts, dim=2)

        return by_rows(x, positions, row, torch.cat)


target = Lucidrains()
