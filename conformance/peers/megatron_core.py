"""megatron-core: angles of consecutive positions, and the unfused function that needs no GPU."""

from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from megatron.core.models.common.embeddings import RotaryEmbedding, apply_rotary_pos_emb

from ._common import TORCH_DTYPES, Torch, by_rows, config_of, declared, only, runs, scaling_of

RULES = ("linear", "llama3")
FIXED = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8192}
ALONE = object()  # its group of one rank: nothing is asked of it here


@lru_cache(maxsize=64)
def _module(
    dim: int, percent: float, interleaved: bool, base: float, linear: float | None, llama3: float | None
) -> Any:
    return RotaryEmbedding(
        dim,
        percent,
        rotary_interleaved=interleaved,
        seq_len_interpolation_factor=linear,
        rotary_base=base,
        rope_scaling=llama3 is not None,
        rope_scaling_factor=llama3 or 8.0,
        use_cpu_initialization=True,
        cp_group=ALONE,
    )


class Megatron(Torch):
    """RotaryEmbedding.get_freqs_non_repeated, apply_rotary_pos_emb; (s, b, h, d)."""

    def __init__(self, features: str, latent: bool = False) -> None:
        self.latent = latent
        features += " batched_positions offset negative_positions large_positions"
        self.capabilities = declared("megatron-core", features, dtypes=TORCH_DTYPES, table="input", compute="input")

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with angles of each stretch of consecutive positions."""
        config = config_of(case, "interleaved" if self.latent else "half_split interleaved", "rotary_dim", "out_pairing", rules=RULES)  # fmt: skip
        wanted = "half_split" if self.latent else config["pairing"]
        only(config.get("out_pairing", config["pairing"]) == wanted, f"it writes {wanted}")
        interleaved = config["pairing"] == "interleaved" and not self.latent
        module = self._module(config, interleaved)
        settings = SimpleNamespace(
            apply_rope_fusion=False, rotary_interleaved=interleaved, multi_latent_attention=self.latent
        )

        def row(x: Any, positions: Any) -> Any:
            steps = [module.get_freqs_non_repeated(part.stop - part.start, at) for part, at in runs(positions.numpy())]
            half = torch.cat(steps)
            # get_emb does the same, and moves to a GPU
            full = half.repeat_interleave(2, dim=-1) if interleaved else torch.cat([half, half], dim=-1)
            turned = apply_rotary_pos_emb(x.permute(2, 0, 1, 3), full[:, None, None], settings, cp_group=ALONE)
            return turned.permute(1, 2, 0, 3)

        return by_rows(x, positions, row, torch.cat)

    def _module(self, config: Mapping[str, Any], interleaved: bool) -> Any:
        scaling, head_dim = scaling_of(config, RULES), config["head_dim"]
        llama3 = scaling["rule"] == "llama3"
        only(not llama3 or all(scaling[key] == value for key, value in FIXED.items()), "its llama3 is 1, 4, 8192")
        percent = config.get("rotary_dim", head_dim) / head_dim
        factor = scaling.get("factor")
        return _module(head_dim, percent, interleaved, config["base"], None if llama3 else factor, factor if llama3 else None)  # fmt: skip


target = Megatron("half_split interleaved partial")
latent = Megatron("general_lanes", latent=True)
