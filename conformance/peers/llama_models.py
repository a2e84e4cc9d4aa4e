"""llama-models (Meta): a complex table, whose rows multiply pairs of neighbours."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from llama_models.llama3.model import apply_rotary_emb, precompute_freqs_cis

from ._common import TORCH_DTYPES, Torch, by_rows, config_of, declared, only, power_of_two, scaling_of

RULES = ("llama3",)
FIXED = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8192}


@lru_cache(maxsize=4)
def _table(dim: int, rows: int, base: float, scaled: bool) -> torch.Tensor:
    table: torch.Tensor = precompute_freqs_cis(dim, rows, base, scaled)
    return table


class LlamaModels(Torch):
    """precompute_freqs_cis, apply_rotary_emb; (b, s, h, d)."""

    capabilities = declared("llama-models", "interleaved batched_positions offset", dtypes=TORCH_DTYPES)

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with rows of the table, as Transformer.forward slices it."""
        config = config_of(case, "interleaved", rules=RULES)
        scaling = scaling_of(config, RULES)
        scaled = scaling["rule"] == "llama3"
        only(not scaled or all(scaling[key] == value for key, value in FIXED.items()), "its llama3 is 8, 1, 4, 8192")
        table = _table(config["head_dim"], power_of_two(int(positions.max()) + 1), config["base"], scaled)

        def row(x: Any, positions: Any) -> Any:
            y = x.transpose(1, 2)
            return apply_rotary_emb(y, y, table[positions])[0].transpose(1, 2)

        return by_rows(x, positions, row, torch.cat)


target = LlamaModels()
