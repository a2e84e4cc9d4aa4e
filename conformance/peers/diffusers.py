"""diffusers: tables of given positions, in float32 or in float64, applied in either pairing."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb, get_1d_rotary_pos_embed

from ._common import TORCH_DTYPES, Torch, by_rows, config_of, declared, scaling_of

FEATURES = "half_split interleaved batched_positions offset negative_positions"
RULES = ("linear", "ntk")


class Diffusers(Torch):
    """get_1d_rotary_pos_embed with freqs_dtype, apply_rotary_emb with use_real_unbind_dim."""

    def __init__(self, dtype: torch.dtype, **words: Any) -> None:
        self.dtype = dtype
        self.capabilities = declared("diffusers", FEATURES, dtypes=TORCH_DTYPES, **words)

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with tables of the positions."""
        config = config_of(case, "half_split interleaved", rules=RULES)
        scaling, interleaved = scaling_of(config, RULES), config["pairing"] == "interleaved"

        def row(x: Any, positions: Any) -> Any:
            table = get_1d_rotary_pos_embed(
                config["head_dim"],
                positions,
                theta=config["base"],
                use_real=True,
                linear_factor=scaling.get("factor", 1.0),
                ntk_factor=scaling.get("alpha", 1.0),
                repeat_interleave_real=interleaved,
                freqs_dtype=self.dtype,
            )
            return apply_rotary_emb(x, table, use_real_unbind_dim=-1 if interleaved else -2)

        return by_rows(x, positions, row, torch.cat)


single = Diffusers(torch.float32)
double = Diffusers(torch.float64, angle="exact")
