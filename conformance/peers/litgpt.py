"""litgpt: a table for all positions, rows of it, and a function for each pairing."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from litgpt.model import apply_rope, apply_rope_interleave, build_rope_cache

from ._common import TORCH_DTYPES, Torch, config_of, declared, only, power_of_two, scaling_of

RULES = ("linear", "yarn", "llama3")


@lru_cache(maxsize=4)
def _table(rows: int, dim: int, base: float, extra: str) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = build_rope_cache(rows, dim, base=base, extra_config=json.loads(extra))
    return cos, sin


def _extra(scaling: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return litgpt's rope_adjustments for a rule."""
    match scaling["rule"]:
        case None:
            return None
        case "yarn":
            only("attention_factor" not in scaling, "its yarn has no option for attention_factor")
            extra = {"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, **scaling}
        case _:
            extra = dict(scaling)
    if "original_max_position" in extra:
        extra["original_max_seq_len"] = extra.pop("original_max_position")
    return {key: value for key, value in extra.items() if key != "rule"}


class LitGPT(Torch):
    """build_rope_cache, apply_rope or apply_rope_interleave."""

    def __init__(self, pairing: str, function: Any) -> None:
        self.pairing, self.function = pairing, function
        features = "half_split" if pairing == "half_split" else "general_lanes"
        self.capabilities = declared(
            "litgpt", f"{features} attention_factor batched_positions offset", dtypes=TORCH_DTYPES
        )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with rows of the table, as GPT.forward does with input_pos."""
        config = config_of(case, self.pairing, "out_pairing", rules=RULES)
        only(config.get("out_pairing", "half_split") == "half_split", "it writes halves")
        extra = json.dumps(_extra(scaling_of(config, RULES)))
        cos, sin = _table(power_of_two(int(positions.max()) + 1), config["head_dim"], config["base"], extra)
        rows = positions if positions.ndim == 2 else positions[None]
        return self.function(x, cos[rows], sin[rows])


target = LitGPT("half_split", apply_rope)
interleave = LitGPT("interleaved", apply_rope_interleave)
