"""x-transformers (lucidrains): frequencies of given positions, applied by a function."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from x_transformers.x_transformers import RotaryEmbedding, apply_rotary_pos_emb

from ._common import TORCH_DTYPES, Torch, config_of, declared, scaling_of

RULES = ("linear", "ntk")


@lru_cache(maxsize=64)
def _module(dim: int, base: float, interpolation: float, rescale: float) -> RotaryEmbedding:
    return RotaryEmbedding(dim, base=base, interpolation_factor=interpolation, base_rescale_factor=rescale)


class XTransformers(Torch):
    """RotaryEmbedding(positions), apply_rotary_pos_emb."""

    capabilities = declared(
        "x-transformers",
        "interleaved partial batched_positions offset negative_positions large_positions",
        dtypes=TORCH_DTYPES,
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with the module of the config."""
        config = config_of(case, "interleaved", "rotary_dim", rules=RULES)
        scaling = scaling_of(config, RULES)
        size = config.get("rotary_dim", config["head_dim"])
        module = _module(size, config["base"], scaling.get("factor", 1.0), scaling.get("alpha", 1.0))
        freqs, scale = module(positions)
        return apply_rotary_pos_emb(x, freqs, scale)


target = XTransformers()
