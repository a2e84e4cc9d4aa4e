"""A value of the wrong type is refused wherever it stands; nothing but a refusal comes of it."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from ropecore import RopeError, read_configs

LING = {
    "model_type": "bailing_hybrid", "architectures": ["BailingMoeV2_5ForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32,
    "head_dim": 128, "partial_rotary_factor": 0.5, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "kv_lora_rank": 512,
    "rope_theta": 6e6, "layer_group_size": 8, "num_hidden_layers": 32,
}  # fmt: skip
V4_YARN = {"type": "yarn", "factor": 16, "original_max_position_embeddings": 65536, "beta_fast": 32, "beta_slow": 1}
V4 = {
    "model_type": "deepseek_v4", "hidden_size": 4096, "num_attention_heads": 64, "head_dim": 512, "qk_rope_head_dim": 64,
    "rope_theta": 10000, "compress_rope_theta": 160000, "max_position_embeddings": 1048576, "num_hidden_layers": 4,
    "compress_ratios": [0, 4, 128, 0], "rope_scaling": V4_YARN,
}  # fmt: skip
STEP = {
    "model_type": "step3p5", "hidden_size": 4096, "num_attention_heads": 64, "head_dim": 128, "max_position_embeddings": 262144,
    "layer_types": ["full_attention", "sliding_attention"],
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 2.0, "original_max_position_embeddings": 131072, "low_freq_factor": 1.0, "high_freq_factor": 32.0,
}  # fmt: skip


SOURCES: list[dict[str, Any]] = [
    LING,
    V4,
    STEP
    | {
        "rope_scaling": LLAMA3,
        "rope_theta": [1e4, 1e4],
        "partial_rotary_factors": [0.5, 1.0],
        "use_rope_layers": [1, 1],
        "yarn_only_types": ["full_attention"],
    },
    {
        "model_type": "llama",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "head_dim": 16,
        "max_position_embeddings": 64,
        "rope_theta": 1e4,
        "rope_scaling": {
            "type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "truncate": True,
            "attention_factor": 1.0,
        },
    },
    {
        "model_type": "qwen2_vl",
        "text_config": {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        },
        "vision_config": {"embed_dim": 64, "num_heads": 4},
    },
    {
        "model_type": "phi3",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 8},
        "original_max_position_embeddings": 32,
        "max_position_embeddings": 64,
        "partial_rotary_factor": 1.0,
    },
    {
        "model_type": "gemma3_text",
        "head_dim": 16,
        "num_hidden_layers": 6,
        "sliding_window_pattern": 3,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
    },
    {
        "model_type": "exaone4",
        "head_dim": 16,
        "num_hidden_layers": 6,
        "sliding_window": 4,
        "sliding_window_pattern": "LLG",
    },
    {
        "model_type": "chatglm",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "rope_ratio": 2,
        "original_rope": True,
        "kv_channels": 16,
    },
    {"model_type": "smollm3", "num_hidden_layers": 4, "no_rope_layer_interval": 2},
    {"model_type": "granite_swa", "layer_rope_theta": [1e4, 0]},
    {"model_type": "lfm2", "num_hidden_layers": 4, "full_attn_idxs": [1]},
    {"model_type": "minimax", "attn_type_list": [1, 0]},
    {"model_type": "zamba2", "use_mem_rope": True, "layers_block_type": ["mamba", "hybrid"], "num_hidden_layers": 2},
    {"model_type": "deepseek_v3", "qk_rope_head_dim": 64, "rope_interleave": True},
    {
        "model_type": "nomic_bert",
        "n_embd": 64,
        "n_head": 4,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
    },
    {
        "dim": 64,
        "n_heads": 4,
        "rope_theta": 1e4,
        "use_scaled_rope": True,
        "nope_layer_interval": 2,
        "n_layers": 4,
        "vision_args": {"dim": 64, "n_heads": 4},
        "multimodal": {"whisper_model_args": {"encoder_args": {"dim": 64, "n_heads": 4, "rope_theta": 1e4}}},
    },
    {
        "dim": 64,
        "n_heads": 4,
        "yarn": {"factor": 4, "original_max_position_embeddings": 16, "beta": 32, "alpha": 1, "apply_scale": False},
    },
    {"dim": 64, "n_heads": 4, "qk_rope_head_dim": 16, "rope_factor": 40},
    {
        "model_type": "glm4_moe",
        "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    },
    {
        "model_type": "laguna",
        "head_dim": 16,
        "layer_types": ["full_attention"],
        "rope_parameters": {"full_attention": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    },
    {"model_type": "dbrx", "attn_config": {"rope_theta": 5e5}, "d_model": 64, "n_heads": 4},
]

WRONG = ["x", ["x"], {"a": 1}, True, [], {}, "", object(), [None], [[1]], float("nan"), 10**400, -1]


def places(source: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in source.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


def replaced(source: dict[str, Any], place: tuple[str, ...], value: Any) -> tuple[dict[str, Any], Any]:
    """Return the source with another value at a place, and the value that was there."""
    changed = inner = copy.deepcopy(source)
    for key in place[:-1]:
        inner = inner[key]
    old, inner[place[-1]] = inner[place[-1]], value
    return changed, old


def alike(value: Any, old: Any) -> bool:
    """Return whether a value could stand there: numbers for numbers, lists for lists, and so on."""
    if isinstance(value, (int, float)) and isinstance(old, (int, float)):
        return isinstance(value, bool) == isinstance(old, bool)
    return type(value) is type(old)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.get("model_type", "params.json"))
def test_values_of_the_wrong_type_are_refused_wherever_they_stand(source: dict[str, Any]) -> None:
    assert read_configs(source)
    for place in places(source):
        for value in WRONG:
            changed, old = replaced(source, place, value)
            for strict in (True, False):
                try:
                    read_configs(changed, strict)
                except RopeError:
                    continue
                assert not strict or alike(value, old), (place, value)


@pytest.mark.parametrize(
    "source", [{1: 2, "model_type": "llama"}, {None: 1}, {"model_type": "llama", "text_config": {3: 4}}]
)
def test_keys_that_are_no_names_are_refused(source: Any) -> None:
    with pytest.raises(RopeError, match="no names"):
        read_configs(source)


def test_configurations_within_each_other_have_a_limit() -> None:
    source: dict[str, Any] = {"model_type": "llama"}
    for _ in range(3000):
        source = {"text_config": source}

    with pytest.raises(RopeError, match="deep"):
        read_configs(source)
