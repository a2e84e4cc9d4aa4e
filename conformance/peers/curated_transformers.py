"""curated-transformers: a module with tables that grow, called with positions."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from curated_transformers.layers import QueryKeyRotaryEmbeddings

from ._common import Alone, Torch, config_of, declared


@lru_cache(maxsize=16)
def _module(head_dim: int, fraction: float, base: float, dtype: torch.dtype) -> Any:
    """Return the module as a model holds it: cast with the model."""
    return QueryKeyRotaryEmbeddings(base=base, fraction=fraction, head_width=head_dim).to(dtype)


alone = Alone(_module.cache_clear)


class Curated(Torch):
    """QueryKeyRotaryEmbeddings(..)(query=x, key=x, positions=positions)."""

    capabilities = declared(
        "curated-transformers",
        "half_split partial batched_positions offset",
        dtypes=("float32", "bfloat16"),
        table="input",
        compute="input",
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with the module of the config."""
        alone(case)
        config = config_of(case, "half_split", "rotary_dim")
        head_dim = config["head_dim"]
        module = _module(head_dim, config.get("rotary_dim", head_dim) / head_dim, config["base"], x.dtype)
        ids = positions.expand(x.shape[0], x.shape[2]).contiguous()
        return module(query=x, key=x, positions=ids)[0]


target = Curated()
