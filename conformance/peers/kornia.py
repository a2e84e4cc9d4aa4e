"""kornia (LightGlue): a function that is given cos and sin, each for both lanes of a pair."""

from typing import Any

import torch
from kornia.feature.lightglue import apply_cached_rotary_emb

import ropecore

from ._common import Torch, declared


class Kornia(Torch):
    """apply_cached_rotary_emb(freqs, t), freqs (2, b, 1, n, d)."""

    capabilities = declared(
        "kornia",
        "interleaved attention_factor axes real_axes batched_positions offset negative_positions large_positions",
        dtypes=("float32",),
        angle="exact",
        reads_config=False,
        own_frequencies=False,
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Any = None) -> Any:
        """Rotate with exact tables: LightGlue's own are learned."""
        given = [each.numpy() for each in positions] if isinstance(positions, list) else positions.numpy()
        tables = (torch.from_numpy(a).to(x.dtype) for a in ropecore.cos_sin(plan, given))
        both = torch.stack([a.expand(x.shape[0], x.shape[2], -1) for a in tables])
        return apply_cached_rotary_emb(both.repeat_interleave(2, dim=-1)[:, :, None], x)


target = Kornia()
