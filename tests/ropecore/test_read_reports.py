"""Configurations that strangers reported, reduced: each with the value that its model's own code
has.
"""

from typing import Any

import numpy as np
import pytest

from ropecore import RopeConfig, RopeError, YaRN, read_config, read_configs
from ropecore.scaling import Llama3

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


def one(source: dict[str, Any], **choice: Any) -> RopeConfig:
    config = read_config(source, **choice)
    assert config is not None
    return config


def layers(source: dict[str, Any]) -> dict[str, tuple[int, ...] | None]:
    return {name: report.layers for name, report in read_configs(source).reports.items()}


# one model_type, two models


def test_architectures_choose_between_models_of_one_model_type() -> None:
    found = read_configs(LING)
    linear, full = found["text/linear_attention"], found["text/full_attention"]

    assert (linear.head_dim, linear.rotary_dim, linear.pairing, linear.out_pairing) == (128, 64, "half_split", None)
    assert (full.head_dim, full.rotary_dim, full.pairing, full.out_pairing) == (64, 64, "interleaved", "half_split")
    assert linear.base == full.base == 6e6
    assert full.report.layers == (7, 15, 23, 31)
    assert linear.report.layers == tuple(i for i in range(32) if (i + 1) % 8)
    other = read_configs(LING | {"architectures": ["BailingHybridForCausalLM"]})
    assert list(other) == ["text"]


def test_keys_choose_between_models_of_one_model_type() -> None:
    glm = one({"model_type": "chatglm", "hidden_size": 4096, "num_attention_heads": 32, "position_encoding_2d": True})
    assert (glm.pairing, glm.axes, glm.sections, glm.axis_blocks) == (
        "half_split",
        ("position", "block"),
        (32, 32),
        True,
    )
    assert glm.plan().lanes[[0, 32]].tolist() == [[0, 32], [64, 96]]

    plain = one(
        {
            "model_type": "deepseek_v2",
            "hidden_size": 1280,
            "num_attention_heads": 10,
            "use_mla": False,
            "qk_rope_head_dim": 0,
        }
    )
    assert (plain.head_dim, plain.pairing, plain.out_pairing, plain.base) == (128, "half_split", None, 10000.0)


def test_architectures_stand_for_a_model_type_that_is_not_there_or_not_known() -> None:
    sizes = {"hidden_size": 2048, "num_attention_heads": 16, "rope_theta": 1e6}

    assert one({"architectures": ["Qwen2ForCausalLM"], **sizes}) == one({"model_type": "qwen2", **sizes})
    assert one({"architectures": ["CohereForCausalLM"], "model_type": "mine", **sizes}).pairing == "interleaved"
    renamed = V4 | {"model_type": "deepseek_ref", "architectures": ["DeepseekV4ForCausalLM"]}
    assert read_configs(renamed) == read_configs(V4)


def test_a_model_type_and_architectures_that_pair_otherwise_are_refused() -> None:
    both = {"model_type": "llama", "architectures": ["CohereForCausalLM"], "hidden_size": 64, "num_attention_heads": 4}

    with pytest.raises(RopeError, match=r"model_type='llama'.*CohereForCausalLM"):
        read_config(both)
    assert one(both, strict=False).pairing == "half_split"
    assert one(both, family="cohere").pairing == "interleaved"


# what a configuration class does in its constructor


def test_deepseek_v4_has_no_attention_factor_and_a_base_of_its_own() -> None:
    main, compress = one(V4, layer_type="main"), one(V4, layer_type="compress")

    assert (compress.base, compress.plan().attention_factor) == (160000.0, 1.0)
    assert (main.base, main.scaling) == (10000.0, None)
    assert (main.rotary_dim, main.lane_offset) == (compress.rotary_dim, compress.lane_offset) == (64, 448)
    assert layers(V4) == {"text/main": (0, 3), "text/compress": (1, 2)}
    own = one(V4 | {"rope_scaling": V4_YARN | {"attention_factor": 1.5}}, layer_type="compress")
    assert own.plan().attention_factor == 1.5
    assert one(V4 | {"qk_rope_head_dim": 32}, layer_type="main").rotary_dim == 32


def test_the_default_base_of_exaone() -> None:
    assert one({"model_type": "exaone", "hidden_size": 4096, "num_attention_heads": 32}).base == 500000.0


# scaling that holds for some layers, keys that hold a list


def test_step_3_5_scales_its_full_attention_alone() -> None:
    found = read_configs(STEP | {"rope_theta": 10000.0, "rope_scaling": LLAMA3})

    assert found["text/full_attention"].scaling == Llama3(2.0, 1.0, 32.0, 131072)
    assert found["text/sliding_attention"].scaling is None
    other = read_configs(STEP | {"rope_scaling": LLAMA3, "yarn_only_types": ["sliding_attention"]})
    assert [other[f"text/{name}_attention"].scaling is None for name in ("full", "sliding")] == [True, False]


@pytest.mark.parametrize("repeats", [1, 3])
def test_lists_have_a_value_a_layer(repeats: int) -> None:
    types, n = STEP["layer_types"], repeats
    source = STEP | {"layer_types": types * n, "rope_theta": [5e6, 1e4] * n, "partial_rotary_factors": [0.5, 1.0] * n}
    found = read_configs(source)
    full, sliding = found["text/full_attention"], found["text/sliding_attention"]

    assert (full.base, full.rotary_dim, sliding.base, sliding.rotary_dim) == (5e6, 64, 1e4, 128)
    assert full.report.layers == tuple(range(0, 2 * n, 2))
    assert read_configs(source | {"rope_theta": [*source["rope_theta"], 7.0]}) == found  # the next-token layer's
    with pytest.raises(RopeError, match="rope_theta"):
        read_configs(source | {"layer_types": types * (n + 1)})


def test_a_list_parts_the_layers_of_one_type() -> None:
    types = STEP["layer_types"] * 2
    found = read_configs(
        STEP | {"layer_types": types, "rope_theta": [5e6, 1e4, 6e6, 1e4], "use_rope_layers": [1, 0, 1, 1]}
    )

    assert {name: None if c is None else c.base for name, c in found.items()} == {
        "text/full_attention_theta_6e+06": 6e6, "text/full_attention_theta_5e+06": 5e6,
        "text/sliding_attention_rope": 1e4, "text/sliding_attention_nope": None,
    }  # fmt: skip
    assert [report.layers for report in found.reports.values()] == [(2,), (0,), (3,), (1,)]


def test_a_base_that_a_list_goes_before_is_ignored_with_its_reason() -> None:
    source = {"model_type": "granite_swa", "hidden_size": 1024, "num_attention_heads": 8, "num_hidden_layers": 4}
    found = read_configs(source | {"rope_theta": 1e4, "layer_rope_theta": [1e4, 0, 1e6, 1e4]})
    bases = {report.layers: found[name] and found[name].base for name, report in found.reports.items()}

    assert bases == {(2,): 1e6, (0, 3): 1e4, (1,): None}
    config = next(config for config in found.values() if config is not None)
    assert [(fact.key, fact.why) for fact in config.report.ignored] == [("rope_theta", "layer_rope_theta goes first")]


# parts


def test_a_vision_tower_with_a_fixed_rope_is_read() -> None:
    text = {"model_type": "qwen2", "hidden_size": 2048, "num_attention_heads": 16}
    vision = {"model_type": "moonvit", "hidden_size": 1152, "num_attention_heads": 16}
    found = read_configs({"model_type": "x", "text_config": text, "vision_config": vision})

    assert list(found) == ["text", "vision"]
    assert (found["vision"].pairing, found["vision"].axes, found["vision"].head_dim) == ("interleaved", ("h", "w"), 72)


@pytest.mark.parametrize("text", ["qwen2", "kimi_linear"])
def test_a_part_that_is_not_read_is_an_entry_in_every_report(text: str) -> None:
    inner = {"model_type": text, "hidden_size": 2048, "num_attention_heads": 16}
    found = read_configs({"model_type": "x", "text_config": inner, "vision_config": {"model_type": "new_tower"}})
    report = found.reports["text"]

    assert [(fact.key, fact.value) for fact in report.unread] == [("vision", "new_tower")]
    assert report.to_dict()["unread"][0]["key"] == "vision"
    assert "new_tower" in report.text()
    assert found["text"] is None or found["text"].report == report


def test_keys_outside_text_config_are_compared_with_those_inside() -> None:
    inner = {"model_type": "qwen2_5_vl_text", "hidden_size": 3584, "num_attention_heads": 28, "rope_theta": 1e6}
    rope = {"type": "mrope", "mrope_section": [16, 24, 24]}
    both = {
        "model_type": "qwen2_5_vl",
        "rope_theta": 1e6,
        "rope_scaling": rope,
        "text_config": inner | {"rope_scaling": rope},
    }
    config = one(both)

    assert (config.base, config.head_dim, config.sections) == (1e6, 128, (16, 24, 24))
    v5 = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
    inner_v5 = {key: value for key, value in inner.items() if key != "rope_theta"} | {"rope_parameters": v5}
    assert one(both | {"text_config": inner_v5}) == config
    assert one(both | {"rope_scaling": None}) == config
    with pytest.raises(RopeError, match=r"^rope_scaling=.*stands outside text_config"):
        read_config(both | {"rope_scaling": {"type": "yarn", "factor": 4.0}})
    with pytest.raises(RopeError, match=r"^rope_theta=.*stands outside text_config"):
        read_config(both | {"rope_theta": 5e5})
    assert one(both | {"rope_theta": 5e5}, strict=False) == config


def test_a_wrapped_configuration_has_the_family_that_stands_outside() -> None:
    inner = {"hidden_size": 1536, "num_attention_heads": 12, "rope_theta": 1e6}

    assert one({"model_type": "qwen2", "model_config": inner}) == one({"model_type": "qwen2", **inner})


# values that were refused


def test_a_yarn_whose_betas_are_equal_is_a_step() -> None:
    rope = {
        "type": "yarn", "factor": 32, "original_max_position_embeddings": 4096, "beta_fast": 1.0, "beta_slow": 1.0, "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }  # fmt: skip
    config = one({"model_type": "kimi_k2", "qk_rope_head_dim": 64, "rope_theta": 50000, "rope_scaling": rope})
    plain = config.replace(scaling=None).plan().frequencies[:, 0]
    ratio = plain / config.plan().frequencies[:, 0]

    assert config.plan().attention_factor == 1.0
    assert ratio[:20].tolist() == [1.0] * 20
    assert np.allclose(ratio[20:], 32.0, rtol=1e-15)
    with pytest.raises(RopeError, match="beta_fast"):
        YaRN(32.0, 4096, beta_fast=1.0, beta_slow=1.5)


@pytest.mark.parametrize(
    "source",
    [
        {"model_type": "nomic_bert", "n_embd": 768, "n_head": 12, "rotary_emb_fraction": 0},
        {"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4, "rotary_pct": 0.0},
        {"model_type": "gptj", "n_embd": 64, "n_head": 4, "rotary_dim": 0},
        {"model_type": "gptj", "n_embd": 64, "n_head": 4, "rotary": False},
        {"model_type": "deepseek_v3", "qk_rope_head_dim": 0},
        {"model_type": "glm", "head_dim": 16, "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.0}},
    ],
)
def test_no_lanes_are_no_rotation_with_the_reason(source: dict[str, Any]) -> None:
    found = read_configs(source)

    assert found == {"text": None}
    assert any(" is 0" in note or " is False" in note for note in found.reports["text"].notes)


# keys that published files carry


@pytest.mark.parametrize(
    ("model_type", "keys", "wrong"),
    [
        ("qwen2", {"use_mrope": False}, {"use_mrope": True}),
        ("llama", {"rope_interleaved": False}, {"rope_interleaved": True}),
        ("cohere", {"rope_interleaved": True}, {"rope_interleaved": False}),
        ("chatglm", {"original_rope": True}, {"original_rope": False}),
        ("chatglm", {"rotary_percent": 0.5}, {"rotary_percent": 1.0}),
        ("stablelm_epoch", {"rotary_scaling_factor": 1.0}, {"rotary_scaling_factor": 2.0}),
        ("glm_moe_dsa", {"indexer_rope_interleave": True}, {"rope_interleaved": False}),
        ("gptj", {"rotary": True}, {"rotary": "yes"}),
    ],
)
def test_keys_that_say_what_the_row_says_are_checked_against_it(
    model_type: str, keys: dict[str, Any], wrong: dict[str, Any]
) -> None:
    source = {"model_type": model_type, "hidden_size": 256, "num_attention_heads": 4}

    assert one(source | keys) == one(source)
    with pytest.raises(RopeError, match=next(iter(wrong))):
        read_config(source | wrong)


def test_a_key_that_says_the_pairing_is_read_where_the_code_reads_it() -> None:
    nomic = {
        "model_type": "nomic_bert",
        "n_embd": 768,
        "n_head": 12,
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
    }

    assert one(nomic | {"rotary_emb_interleaved": False}).pairing == "half_split"
    assert one(nomic | {"rotary_emb_interleaved": True}).pairing == "interleaved"


@pytest.mark.parametrize(
    "keys",
    [
        {"text_config": 3, "model_type": "gemma3"}, {"vision_config": [1], "model_type": "gemma3"}, {"layer_types": "full"},
        {"layer_types": [1, 2]}, {"architectures": "LlamaForCausalLM"}, {"rope_scaling": []}, {"rope_scaling": False},
        {"rope_parameters": 0}, {"rope_interleaved": "no"}, {"use_mrope": 2}, {"num_hidden_layers": "8", "model_type": "gemma3_text"},
        {"model_type": "falcon", "alibi": "true"}, {"model_type": "deepseek_v3", "rope_interleave": "false"},
        {"model_type": "granite_swa", "layer_rope_theta": "1e4"}, {"model_type": "granite_swa", "layer_rope_theta": [1e4, "x"]},
        {"model_type": "smollm3", "no_rope_layers": 3.5}, {"model_type": ["llama"]}, {"rope_scaling": {"mrope_section": "a"}},
        {"model_type": "esm", "position_embedding_type": 1},
    ],
)  # fmt: skip
def test_keys_of_the_wrong_type_are_refused(keys: dict[str, Any]) -> None:
    source = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4} | keys

    with pytest.raises(RopeError):
        read_configs(source)


# params.json


def test_a_factor_of_llama_3_is_told_by_its_model() -> None:
    meta = {"n_heads": 32, "rope_theta": 500000.0, "use_scaled_rope": True}
    factors = {dim: one(meta | {"dim": dim}).scaling.factor for dim in (2048, 3072, 4096, 8192, 16384)}

    assert factors == {2048: 32.0, 3072: 32.0, 4096: 8.0, 8192: 8.0, 16384: 8.0}
    assert one(meta | {"dim": 2048, "rope_scaling_factor": 8.0}).scaling.factor == 8.0
    assert any("32 in 1B and 3B" in note for note in one(meta | {"dim": 5120}).report.notes)
    with pytest.raises(RopeError, match="use_scaled_rope"):
        read_config(meta | {"dim": 2048, "use_scaled_rope": "yes"})


def test_llama_4_has_its_own_constants_layers_and_vision() -> None:
    vision = {"dim": 1408, "n_heads": 16, "n_layers": 34, "patch_size": {"height": 14, "width": 14}}
    source = {
        "dim": 5120, "n_layers": 48, "n_heads": 40, "rope_theta": 500000.0, "use_scaled_rope": True, "nope_layer_interval": 4,
        "moe_args": {"num_experts": 16}, "vision_args": vision,
    }  # fmt: skip
    found = read_configs(source)

    assert found["text/rope"].scaling == Llama3(16.0, 1.0, 1.0, 8192)
    assert found["text/nope"] is None
    assert found.reports["text/nope"].layers == tuple(range(3, 48, 4))
    assert found["vision"] == read_config(
        {"model_type": "llama4_vision_model", "hidden_size": 1408, "num_attention_heads": 16}
    )
    assert read_configs(source | {"use_scaled_rope": False})["text/rope"].scaling is None


def test_deepseeks_inference_files_have_yarn_whatever_they_say() -> None:
    config = one({"dim": 7168, "n_heads": 128, "qk_rope_head_dim": 64})

    assert (config.head_dim, config.base, config.pairing) == (64, 10000.0, "interleaved")
    assert config.scaling == YaRN(40.0, 4096, 32.0, 1.0, attention_factor=1.0)
    assert any("1.87385" in note for note in config.report.notes)
    mistral = {"dim": 7168, "n_heads": 128, "qk_rope_head_dim": 64, "norm_eps": 1e-6}
    assert one(mistral).scaling is None


def test_the_audio_encoder_of_voxtral() -> None:
    encoder = {"dim": 1280, "n_heads": 32, "head_dim": 64, "rope_theta": 1e6}
    source = {
        "dim": 3072, "n_heads": 32, "head_dim": 128, "rope_theta": 1e6,
        "multimodal": {"whisper_model_args": {"encoder_args": encoder}},
    }  # fmt: skip
    audio = read_configs(source)["audio"]

    assert (audio.pairing, audio.head_dim, audio.base) == ("interleaved", 64, 1e6)
    still = {key: value for key, value in encoder.items() if key != "rope_theta"}
    found = read_configs(source | {"multimodal": {"whisper_model_args": {"encoder_args": still}}})
    assert found["audio"] is None
    assert found.reports["audio"].notes == ("the encoder has no rope_theta",)


def test_an_unknown_encoder_of_params_json_is_an_entry() -> None:
    found = read_configs(
        {"dim": 64, "n_heads": 4, "multimodal": {"new": {"dim": 8}}, "tower": {"dim": 8, "n_heads": 2}}
    )

    assert [fact.key for fact in found["text"].report.unread] == ["multimodal", "tower"]


# families that were not in the table


@pytest.mark.parametrize(
    ("model_type", "keys", "expected"),
    [
        ("bailing_moe", {"rope_theta": 6e5, "head_dim": 128}, {"base": 6e5, "rotary_dim": 128}),
        ("bailing_moe", {"architectures": ["BailingMoeV2ForCausalLM"], "partial_rotary_factor": 0.5}, {"rotary_dim": 8}),
        ("mimo", {"use_mrope": False, "rope_theta": 640000}, {"base": 640000.0}),
        ("phi-msft", {"rotary_dim": 8}, {"rotary_dim": 8, "pairing": "half_split"}),
        ("phi3small", {"rope_embedding_base": 1000000, "rope_position_scale": 1.0}, {"base": 1e6}),
        ("openelm", {"head_dim": 64, "rope_freq_constant": 10000, "rope_max_length": 4096}, {"head_dim": 64}),
        ("hf_olmo", {"rope": True, "rope_full_precision": True, "rope_theta": 5e5}, {"base": 5e5}),
        ("llada", {"rope": True, "rope_full_precision": True, "rope_theta": 5e5}, {"pairing": "half_split"}),
        ("minimax_text_01", {"rotary_dim": 8, "attn_type_list": [0, 1, 0]}, {"rotary_dim": 8}),
        ("xlm-roberta", {"position_embedding_type": "rotary", "rotary_emb_base": 20000.0}, {"base": 20000.0}),
        ("sarvam_mla", {"qk_rope_head_dim": 64}, {"pairing": "interleaved", "out_pairing": "half_split"}),
        ("sarvam_moe", {}, {"base": 8e6, "rotary_dim": 64}),
        ("llava", {"rope_scaling": None}, {"pairing": "half_split", "base": 1e4}),
    ],
)  # fmt: skip
def test_families_of_other_code(model_type: str, keys: dict[str, Any], expected: dict[str, Any]) -> None:
    config = one({"model_type": model_type, "hidden_size": 64, "num_attention_heads": 4} | keys)

    assert {name: getattr(config, name) for name in expected} == expected


def test_composites_of_other_code() -> None:
    deepseek = {
        "model_type": "deepseek_v2",
        "use_mla": False,
        "qk_rope_head_dim": 0,
        "hidden_size": 1280,
        "num_attention_heads": 10,
    }
    ocr = {"model_type": "deepseek_vl_v2", "language_config": deepseek, "use_mla": False, "qk_rope_head_dim": 0}
    assert one(ocr | {"hidden_size": 1280}).head_dim == 128
    chat = {
        "model_type": "internvl_chat",
        "llm_config": {"model_type": "qwen2", "hidden_size": 64, "num_attention_heads": 4},
    }
    assert list(read_configs(chat)) == ["text"]
    exaone = {
        "model_type": "exaone4_5_text",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "sliding_window": 8,
        "rope_theta": 1e6,
    }
    found = read_configs({"model_type": "exaone4_5", "text_config": exaone})
    assert (found["text/sliding_attention"].base, found["text/full_attention"]) == (1e6, None)
    assert list(read_configs({"model_type": "kimi_vl"})) == ["text", "vision"]


@pytest.mark.parametrize(
    "name", ["bert", "t5", "whisper", "clip", "clip_text_model", "gpt_bigcode", "git", "gpt2", "xlm-roberta"]
)
def test_models_without_rope_are_none_with_the_reason(name: str) -> None:
    found = read_configs({"model_type": name, "hidden_size": 64})

    assert found == {"text": None}
    assert read_config({"model_type": name}) is None
    assert found.reports["text"].notes


@pytest.mark.parametrize(
    "name", ["llava", "llava_next", "idefics3", "smolvlm", "paligemma", "internvl", "mistral3", "qwen2_audio"]
)
def test_composites_are_read_by_their_name_alone(name: str) -> None:
    assert read_configs({"model_type": name})["text"] is not None


# which layers


FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"


def every(step: int, depth: int, first: bool = False) -> tuple[int, ...]:
    return tuple(range(0 if first else step - 1, depth, step))


@pytest.mark.parametrize(
    ("model_type", "keys", "name", "layers"),
    [
        ("gemma3_text", {"sliding_window_pattern": 6}, f"text/{FULL}", every(6, 12)),
        ("gemma3_text", {}, f"text/{FULL}", every(6, 12)),
        ("gemma3_text", {"sliding_window_pattern": 4}, f"text/{FULL}", every(4, 12)),
        ("cohere2", {"sliding_window_pattern": 4}, f"text/{FULL}", every(4, 12)),
        ("modernbert", {"global_attn_every_n_layers": 3}, f"text/{FULL}", every(3, 12, first=True)),
        ("afmoe", {"global_attn_every_n_layers": 4}, f"text/{FULL}", every(4, 12)),
        ("exaone4", {"sliding_window": 8, "sliding_window_pattern": "LLLG"}, f"text/{FULL}", every(4, 12)),
        (
            "exaone4",
            {"sliding_window": 8, "sliding_window_pattern": "LLG", "num_hidden_layers": 10},
            f"text/{FULL}",
            (2, 5, 8, 9),
        ),
        ("mimo_v2_flash", {"hybrid_layer_pattern": [0, 1, 1, 0]}, f"text/{FULL}", (0, 3)),
        ("deepseek_v4", {"compress_ratios": [0, 4, 128, 0]}, "text/main", (0, 3)),
        ("deepseek_v4", {"layer_types": [SLIDING, "compressed_sparse_attention"]}, "text/compress", (1,)),
        ("qwen3_next", {"full_attention_interval": 4}, "text", every(4, 12)),
        ("qwen3_next", {}, "text", every(4, 12)),
        ("qwen3_next", {"layer_types": [LINEAR, FULL, LINEAR]}, "text", (1,)),
        ("llama", {"layer_types": [LINEAR, FULL, "mamba"]}, "text", (1,)),
        ("lfm2", {"full_attn_idxs": [2, 5]}, "text", (2, 5)),
        ("recurrent_gemma", {"block_types": ["recurrent", "recurrent", "attention"]}, "text", every(3, 12)),
        ("zamba2", {"layers_block_type": ["mamba", "mamba", "hybrid"], "use_mem_rope": True}, "text", every(3, 12)),
        ("minimax", {"attn_type_list": [0, 1, 0]}, "text", (1,)),
        ("dory", {"layer_types": [SLIDING, "mlp", FULL, "mlp"]}, f"text/{FULL}", (1,)),
        ("granitemoehybrid", {"layer_types": ["mamba", "attention"], "position_embedding_type": "rope"}, "text", (1,)),
    ],
)
def test_the_report_says_which_layers(
    model_type: str, keys: dict[str, Any], name: str, layers: tuple[int, ...]
) -> None:
    found = read_configs({"model_type": model_type, "num_hidden_layers": 12} | keys)

    assert found.reports[name].layers == layers
    several = [set(report.layers or ()) for report in found.reports.values()]
    assert sum(map(len, several)) == len(set().union(*several))


# notes


def test_a_softmax_factor_that_the_plan_does_not_hold_is_mentioned() -> None:
    rope = {
        "type": "yarn",
        "factor": 40,
        "original_max_position_embeddings": 4096,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }
    config = one({"model_type": "deepseek_v3", "rope_scaling": rope})

    assert config.plan().attention_factor == 1.0
    assert any("1.87385" in note and "yarn_softmax_scale(40, 1)" in note for note in config.report.notes)
    assert (
        one({"model_type": "deepseek_v3"}).report.notes
        == one({"model_type": "deepseek_v3", "rope_scaling": {}}).report.notes
    )


@pytest.mark.parametrize(
    ("model_type", "keys", "noted"),
    [
        ("gemma3_text", {"rope_scaling": {"type": "linear", "factor": 8.0}}, True),
        ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, False),
        ("olmo3", {"rope_parameters": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4}}, True),
        ("modernbert", {"rope_scaling": {"type": "linear", "factor": 8.0}}, True),
        ("step3p5", {"rope_scaling": {"type": "linear", "factor": 8.0}}, True),
        ("laguna", {"rope_theta": 1e4}, True),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 8.0}}, False),
    ],
)
def test_what_transformers_drops_is_applied_and_noted(model_type: str, keys: dict[str, Any], noted: bool) -> None:
    config = next(config for config in read_configs({"model_type": model_type} | keys).values() if config is not None)

    assert any("silently drops" in note for note in config.report.notes) == noted
    if "rope_theta" not in keys:
        assert config.scaling is not None
        assert config.scaling.rule == "linear"
