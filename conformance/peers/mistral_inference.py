"""mistral-inference: a complex table, whose rows are gathered for packed tokens."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from mistral_inference.rope import apply_rotary_emb, precompute_freqs_cis

from ._common import TORCH_DTYPES, Torch, config_of, declared, power_of_two


@lru_cache(maxsize=4)
def _table(dim: int, rows: int, theta: float) -> torch.Tensor:
    return precompute_freqs_cis(dim, rows, theta)


class Mistral(Torch):
    """precompute_freqs_cis, apply_rotary_emb; (t, h, d)."""

    capabilities = declared("mistral-inference", "interleaved batched_positions offset", dtypes=TORCH_DTYPES)

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate all rows as one stretch of packed tokens."""
        config = config_of(case, "interleaved")
        table = _table(config["head_dim"], power_of_two(int(positions.max()) + 1), config["base"])
        b, h, s, d = x.shape
        tokens = x.transpose(1, 2).reshape(b * s, h, d)
        turned, _ = apply_rotary_emb(tokens, tokens, table[positions.expand(b, s).reshape(-1)])
        return turned.reshape(b, s, h, d).transpose(1, 2)


target = Mistral()
