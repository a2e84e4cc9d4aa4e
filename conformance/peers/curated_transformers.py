"""curated-transformers: a module with tables that grow, called with positions."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from curated_transformers.layers import QueryKeyRotaryEmbeddings

from .common import Torch, config_of, declared


@lru_cache(maxsize=16)
def _module(head_dim: int, fraction: float, base: float) -> Any:
    return QueryKeyRotaryEmbeddings(base=base, fraction=fraction, head_width=head_dim)


class Curated(Torch):
    """QueryKeyRotaryEmbeddings(..)(query=x, key=x, positions=positions)."""

    capabilities = declared(
        "curated-transformers", "half_split partial batched_positions offset", dtypes=("float32", "bfloat16")
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with the module of the config."""
        config = config_of(case, "half_split", "rotary_dim")
        head_dim = config["head_dim"]
        module = _module(head_dim, config.get("rotary_dim", head_dim) / head_dim, config["base"])
        ids = positions.expand(x.shape[0], x.shape[2]).contiguous()
        return module(query=x, key=x, positions=ids)[0]


target = Curated()
