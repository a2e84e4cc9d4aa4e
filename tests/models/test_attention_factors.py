"""Factors that go with a RoPE and are no rotation, against transformers' own code."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

import ropecore


@pytest.mark.parametrize("folder", ["deepseek_v3", "deepseek_v2"])
@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0, 40.0, 128.0])
@pytest.mark.parametrize("share", [0, 0.707, 1.0])
def test_yarn_is_that_of_transformers(folder: str, factor: float, share: float) -> None:
    theirs = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}").yarn_apply_mscale
    rope = {"rope_type": "yarn", "factor": factor, "mscale_all_dim": share}

    assert ropecore.yarn_softmax_scale(factor, share) == pytest.approx(theirs(rope, 1.0), rel=1e-15)


@pytest.mark.parametrize("folder", ["ministral3", "mistral4"])
@pytest.mark.parametrize(("length", "beta"), [(16384, 0.1), (8192, 0.25), (7, 1.0)])
def test_ministral_is_that_of_transformers(folder: str, length: int, beta: float) -> None:
    import torch

    theirs = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}").get_llama_4_attn_scale
    edges = length * np.arange(40)
    positions = np.unique(np.clip(np.concatenate([edges - 1, edges, edges + 1, [262143]]), 0, None))
    scale = theirs(torch.tensor(positions)[None], beta, length)[0, 0, :, 0]

    np.testing.assert_allclose(ropecore.ministral_query_scale(positions, length, beta), scale, rtol=3e-7)


@pytest.mark.parametrize(
    ("attn_scale", "floor_scale", "past"), [(0.1, 8192, 8180), (0.1, 8192, 81910), (0.5, 4, 0), (0.1, 3, 1_000_000)]
)
def test_llama4_is_that_of_transformers(attn_scale: float, floor_scale: int, past: int) -> None:
    """What a layer without RoPE hands to attention, over what it hands without tuning: transformers
    has no function of it.
    """
    import torch
    from transformers import AttentionInterface, Llama4TextConfig
    from transformers.models.llama4.modeling_llama4 import Llama4TextAttention

    queries = []

    def capture(module, query, key, value, mask, **keywords):
        queries.append(query.detach())
        return query.transpose(1, 2), None

    AttentionInterface.register("ropecore_capture", capture)
    cache = SimpleNamespace(get_seq_length=lambda layer: past, update=lambda key, value, layer: (key, value))
    config = Llama4TextConfig(
        hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8, num_hidden_layers=1, no_rope_layers=[0],
        attn_scale=attn_scale, floor_scale=floor_scale, pad_token_id=None,
    )  # fmt: skip
    config._attn_implementation = "ropecore_capture"
    torch.manual_seed(0)
    layer = Llama4TextAttention(config, 0)
    x = torch.randn(1, 24, 16)
    for tuning in (True, False):
        layer.attn_temperature_tuning = tuning
        layer(x, position_embeddings=None, attention_mask=None, past_key_values=cache)
    theirs = (queries[0] / queries[1])[0, 0]
    ours = ropecore.llama4_query_scale(past + np.arange(24), attn_scale, floor_scale)

    np.testing.assert_allclose(theirs, np.repeat(ours[:, None], 8, axis=1), rtol=5e-7)
    assert len(np.unique(ours)) > 1
