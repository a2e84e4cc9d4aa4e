"""mlx-lm: the scaling rules on top of MLX, by initialize_rope."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import mlx.core as mx
from mlx_lm.models.rope_utils import initialize_rope

from ._common import config_of, declared, only, scaling_of
from .mlx import Mlx, by_tokens

RULES = ("linear", "dynamic_ntk", "yarn", "longrope", "llama3", "proportional")
NAMES = {
    "rule": "rope_type",
    "dynamic_ntk": "dynamic",
    "original_max_position": "original_max_position_embeddings",
}


@lru_cache(maxsize=64)
def _module(dims: int, base: float, traditional: bool, scaling: str, length: int) -> Any:
    return initialize_rope(dims, base, traditional, json.loads(scaling), max_position_embeddings=length)


class MlxLM(Mlx):
    """initialize_rope(..)(x, offset)."""

    capabilities = declared(
        "mlx-lm",
        "half_split interleaved partial attention_factor batched_positions offset negative_positions",
        dtypes=("float32",),
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate by the module of the config; one that depends on the length is given the whole
        sequence.
        """
        config = config_of(case, "half_split interleaved", "rotary_dim", rules=RULES)
        scaling = scaling_of(config, RULES)
        settings = {NAMES.get(key, key): NAMES.get(str(value), value) for key, value in scaling.items()}
        if scaling["rule"] in ("yarn", "longrope"):
            only("attention_factor" not in scaling, f"its {scaling['rule']} has no option for attention_factor")
            only(scaling.get("truncate", True), "its yarn has no option for truncate")
        dims = config.get("rotary_dim", config["head_dim"])
        original = scaling.get("original_max_position", 2048)
        longer = scaling.get("factor", 1) if scaling["rule"] in ("yarn", "longrope") else 1
        settings = {**settings, "rope_type": settings["rope_type"] or "default"}
        rope = _module(dims, config["base"], config["pairing"] == "interleaved", json.dumps(settings, sort_keys=True), int(original * longer))  # fmt: skip
        if scaling["rule"] == "dynamic_ntk":
            only(bool(mx.all(positions == mx.arange(positions.shape[-1]))), "it counts the length from its offset")
            return rope(x)
        return by_tokens(x, positions, rope)


target = MlxLM()
