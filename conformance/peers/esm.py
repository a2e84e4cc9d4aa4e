"""esm (EvolutionaryScale): flash-attn's rotary module in torch, with tables that grow."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from esm.layers.rotary import RotaryEmbedding

from ._common import TORCH_DTYPES, Alone, Torch, by_rows, config_of, declared, runs, scaling_of

RULES = ("linear",)


@lru_cache(maxsize=16)
def _module(dim: int, base: float, interleaved: bool, factor: float) -> Any:
    return RotaryEmbedding(dim, base=base, interleaved=interleaved, scaling_factor=factor)


alone = Alone(_module.cache_clear)


class Esm(Torch):
    """RotaryEmbedding(..)(q, k, seqlen_offset); (b, s, h, d)."""

    capabilities = declared(
        "esm",
        "half_split interleaved partial batched_positions offset",
        dtypes=TORCH_DTYPES,
        table="input",
        compute="input",
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate stretches of consecutive positions, each with its offset."""
        alone(case)
        config = config_of(case, "half_split interleaved", "rotary_dim", rules=RULES)
        size, factor = config.get("rotary_dim", config["head_dim"]), scaling_of(config, RULES).get("factor", 1.0)
        module = _module(size, config["base"], config["pairing"] == "interleaved", factor)

        def row(x: Any, positions: Any) -> Any:
            y = x.transpose(1, 2)
            parts = [module(y[:, part], y[:, part], seqlen_offset=at)[0] for part, at in runs(positions.numpy())]
            return torch.cat(parts, dim=1).transpose(1, 2)

        return by_rows(x, positions, row, torch.cat)


target = Esm()
