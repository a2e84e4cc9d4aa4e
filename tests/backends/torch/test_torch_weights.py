"""Weights of torch, in every dtype, permuted between pairings."""

import pytest
import torch

from ropecore import RopeConfig, convert_pairing

INTERLEAVED, HALF_SPLIT = (
    RopeConfig(head_dim=6, base=1e4, pairing=pairing).plan() for pairing in ("interleaved", "half_split")
)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float8_e4m3fn", "int8", "uint8"])
def test_tensors_of_torch(dtype: str) -> None:
    weight = torch.arange(24).reshape(12, 2).to(getattr(torch, dtype))
    new = convert_pairing(torch.nn.Parameter(weight, requires_grad=False), INTERLEAVED, HALF_SPLIT)

    assert new.dtype == weight.dtype
    assert new.view(torch.uint8)[:6].equal(weight.view(torch.uint8)[[0, 2, 4, 1, 3, 5]])
