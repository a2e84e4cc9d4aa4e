"""Reading configurations: what each key means, what a family decides, and what is refused (issue
4).
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ropecore
from ropecore import NTK, DynamicNTK, Linear, Llama3, LongRoPE, Proportional, RopeError, YaRN, read_config, read_configs
from ropecore.exact import sixty_digits
from ropecore.read.families import families, table
from ropecore.read.gguf import read_fields
from ropecore.read.parts import Request

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def llama(**keys: Any) -> dict[str, Any]:
    return {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 64} | keys


def values(facts: Any) -> dict[str, Any]:
    return {fact.key: fact.value for fact in facts}


# the traps of field-failures, C33 to C47


@pytest.mark.parametrize("stale", [10000.0, 500000.0])
def test_c33_the_base_in_rope_parameters_goes_before_a_stale_attribute(stale: float) -> None:
    config = read_config(llama(rope_theta=stale, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}))

    assert config.base == 500000.0
    assert values(config.report.ignored)["rope_theta"] == stale


def test_c34_a_base_is_read_and_a_missing_one_is_said() -> None:
    assert read_config(llama(rope_theta=500000.0)).base == 500000.0

    assumed = read_config(llama())
    assert assumed.base == 10000.0
    assert values(assumed.report.assumptions)["rope_theta"] == 10000.0
    with pytest.raises(RopeError, match="base"):
        read_config({"model_type": "new", "head_dim": 16}, pairing="half_split")


def test_c35_versions_4_and_5_and_their_mixture_are_one_configuration() -> None:
    v4 = llama(rope_theta=500000.0, rope_scaling={"rope_type": "llama3"} | LLAMA3)
    older = llama(rope_theta=500000.0, rope_scaling={"type": "llama3"} | LLAMA3)
    v5 = llama(rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0} | LLAMA3)

    assert read_config(v4) == read_config(older) == read_config(v5)
    assert read_config(v5).scaling == Llama3(8.0, 1.0, 4.0, 8192)


def test_c36_a_filled_dictionary_is_not_scaling() -> None:
    config = read_config(llama(rope_parameters={"rope_type": "default", "rope_theta": 10000.0}))

    assert config.scaling is None
    with pytest.raises(RopeError, match="factor"):
        read_config(llama(rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "factor": 4.0}))


def test_c37_type_is_rope_type_and_two_that_differ_are_refused() -> None:
    assert read_config(llama(rope_scaling={"type": "linear", "factor": 2.0})).scaling == Linear(2.0)
    with pytest.raises(RopeError, match="rope_type"):
        read_config(llama(rope_scaling={"type": "linear", "rope_type": "dynamic", "factor": 2.0}))

    followed = read_config(llama(rope_scaling={"type": "linear", "rope_type": "dynamic", "factor": 2.0}), strict=False)
    assert followed.scaling == DynamicNTK(2.0, 64)


def test_c37_mrope_is_the_unscaled_rule_with_sections() -> None:
    rope = {"type": "mrope", "mrope_section": [16, 24, 24]}
    source = {"model_type": "qwen2_vl", "hidden_size": 3584, "num_attention_heads": 28, "rope_scaling": rope}
    config = read_config(source, part="text")

    assert (config.scaling, config.axes, config.sections) == (None, ("t", "h", "w"), (16, 24, 24))


def test_c38_every_default_of_the_base_is_that_of_the_family() -> None:
    bases = {name: read_config({"model_type": name}).base for name in ("llama", "mixtral", "qwen2", "nomic_bert")}

    assert bases == {"llama": 10000.0, "mixtral": 1000000.0, "qwen2": 10000.0, "nomic_bert": 1000.0}


def test_c39_each_layer_type_has_its_own_base() -> None:
    found = read_configs({"model_type": "gemma3_text", "rope_theta": 2e6, "rope_local_base_freq": 5000.0})

    assert {name: config.base for name, config in found.items()} == {
        "text/full_attention": 2e6,
        "text/sliding_attention": 5000.0,
    }


def test_c30_scaling_of_gemma_3_belongs_to_the_global_layers() -> None:
    found = read_configs({"model_type": "gemma3_text", "rope_scaling": {"rope_type": "linear", "factor": 8.0}})

    assert found["text/full_attention"].scaling == Linear(8.0)
    assert found["text/sliding_attention"].scaling is None


def test_c40_head_dim_is_not_hidden_size_over_heads() -> None:
    nemo = {"model_type": "mistral", "hidden_size": 5120, "num_attention_heads": 32, "head_dim": 128}

    assert read_config(nemo).head_dim == 128
    assert read_config({key: value for key, value in nemo.items() if key != "head_dim"}).head_dim == 160


def test_c41_a_part_of_the_head_has_its_own_denominator() -> None:
    qwen = {"model_type": "qwen3_next", "head_dim": 16, "partial_rotary_factor": 0.25, "rope_theta": 100.0}
    rows = read_config(qwen).rows()

    assert rows.lanes.tolist() == [[0, 2], [1, 3]]  # not [0, 8]: pairs stay inside the rotated part
    assert rows.frequencies[:, 0].tolist() == [1.0, 0.1]  # 100^(-2/4), not 100^(-2/16)


def gemma4(**keys: Any) -> dict[str, Any]:
    rope = {"rope_type": "proportional", "rope_theta": 100.0, "partial_rotary_factor": 0.25}
    own = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 10.0}}
    return {"model_type": "gemma4_text", "head_dim": 8, "global_head_dim": 16, "rope_parameters": own} | keys


def test_c42_c45_proportional_rotation_pairs_lanes_over_the_whole_head() -> None:
    config = read_config(gemma4(), layer_type="full_attention")

    assert config.scaling == Proportional(0.25)
    assert config.rows().lanes[:2].tolist() == [[0, 8], [1, 9]]
    assert config.rows().frequencies[:3, 0].tolist() == [1.0, pytest.approx(100 ** (-2 / 16)), 0.0]
    assert config.plan().n_pairs == 2


def test_c43_extent_and_denominator_are_two_parameters() -> None:
    partial = read_config({"model_type": "phi", "head_dim": 16, "partial_rotary_factor": 0.5})
    whole = read_config(gemma4(), layer_type="full_attention")

    assert (partial.rotary_dim, partial.frequency_dim) == (8, None)  # the denominator is rotary_dim
    assert (whole.rotary_dim, whole.head_dim) == (16, 16)  # zero frequencies, not fewer lanes


def test_c44_the_rule_of_gemma_4_is_not_that_of_other_partial_models() -> None:
    rope = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.25}
    prefix = read_config({"model_type": "glm4_moe", "head_dim": 16, "rope_parameters": rope}).plan()
    spread = read_config(gemma4(), layer_type="full_attention").plan()

    assert prefix.lanes.tolist() == [[0, 2], [1, 3]]
    assert spread.lanes.tolist() == [[0, 8], [1, 9]]


def test_c46_the_factor_holds_under_several_axes_and_for_each_layer_alike() -> None:
    rope = {"rope_type": "default", "mrope_section": [8, 12, 12]}
    text = {"model_type": "glm4v_text", "hidden_size": 4096, "num_attention_heads": 32, "partial_rotary_factor": 0.5}
    config = read_config(text | {"rope_scaling": rope})

    assert (config.head_dim, config.rotary_dim, config.sections) == (128, 64, (8, 12, 12))
    types = ["full_attention", "sliding_attention"]
    rope = {name: {"rope_theta": 10000.0, "partial_rotary_factor": 0.5, "rope_type": "default"} for name in types}
    laguna = {"model_type": "laguna", "head_dim": 16, "layer_types": types * 2, "rope_parameters": rope}
    assert [config.rotary_dim for config in read_configs(laguna).values()] == [8, 8]


def test_c47_a_factor_that_the_family_does_not_read_is_refused_and_never_dropped() -> None:
    with pytest.raises(RopeError, match="partial_rotary_factor"):
        read_config(llama(partial_rotary_factor=0.5))

    assert read_config(llama(partial_rotary_factor=0.5), strict=False).rotary_dim == 16
    assert read_config(llama(partial_rotary_factor=0.5), rotary_dim=8).rotary_dim == 8
    assert read_config({"model_type": "glm", "head_dim": 16, "partial_rotary_factor": 0.25}).rotary_dim == 4


def test_c32_layers_that_do_not_rotate_are_none() -> None:
    smol = {"model_type": "smollm3", "num_hidden_layers": 8}
    found = read_configs(smol)

    assert found["text/nope"] is None
    assert found["text/rope"].report.layers == (0, 1, 2, 4, 5, 6)
    assert read_config(smol) == found["text/rope"]  # one RoPE: the layers that stand still are no second one
    assert read_config(smol, layer_type="nope") is None
    assert list(read_configs(smol | {"no_rope_layers": [1] * 8})) == ["text"]
    assert read_configs({"model_type": "falcon", "alibi": True}) == {"text": None}


# rules and aliases


@pytest.mark.parametrize(
    ("rope", "rule"),
    [
        ({"type": "linear", "factor": 4.0}, Linear(4.0)),
        ({"type": "dynamic", "factor": 4.0}, DynamicNTK(4.0, 64)),
        ({"type": "dynamic", "alpha": 1000.0, "factor": 1.0, "mscale": 1.0}, NTK(1000.0)),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}, YaRN(4.0, 16)),
        ({"type": "yarn", "original_max_position_embeddings": 16}, YaRN(4.0, 16)),
        ({"type": "yarn", "factor": 4.0, "beta_fast": None, "truncate": False}, YaRN(4.0, 64, truncate=False)),
        ({"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0}, YaRN(4.0, 64, mscale=0.7)),
        ({"type": "yarn", "factor": 4.0, "attention_factor": 1.0}, YaRN(4.0, 64, attention_factor=1.0)),
        ({"type": "yarn", "factor": 1.0, "attn_factor": 1.5}, YaRN(1.0, 64, attention_factor=1.5)),
        ({"rope_type": "llama3"} | LLAMA3, Llama3(8.0, 1.0, 4.0, 8192)),
        (
            {"type": "su", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "original_max_position_embeddings": 16},
            LongRoPE((1.0,) * 8, (2.0,) * 8, 16, factor=4.0),
        ),
        (
            {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "short_mscale": 1.2, "long_mscale": 1.2},
            LongRoPE((1.0,) * 8, (2.0,) * 8, 64, attention_factor=1.2),
        ),
    ],
)  # fmt: skip
def test_scaling_rules(rope: dict[str, Any], rule: Any) -> None:
    assert read_config(llama(rope_scaling=rope)).scaling == rule


def test_deepseek_yarn_takes_each_mscale_alone() -> None:
    rope = {"type": "deepseek_yarn", "factor": 40.0, "mscale": 0.707, "original_max_position_embeddings": 16}
    factor = read_config(llama(rope_scaling=rope)).plan().attention_factor

    assert factor == pytest.approx(0.1 * 0.707 * np.log(40.0) + 1.0, rel=1e-15)


TEMPERATURES = [factor / 4 for factor in range(5, 516)]  # 511 factors


def test_one_temperature_gives_one_plan_in_every_spelling() -> None:
    """libm's logarithm differs from the rule's in the last bit for one factor in ten."""
    for factor in TEMPERATURES:
        yarn = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": 16}
        spellings = [
            yarn,
            yarn | {"mscale": 1, "mscale_all_dim": 0},
            yarn | {"rope_type": "deepseek_yarn", "mscale": 1, "mscale_all_dim": 0},
        ]
        plans = {read_config(llama(rope_scaling=rope)).plan().digest for rope in spellings}
        halves = [
            read_config(llama(rope_scaling=yarn | {"attn_factor": 2.0})),
            gguf(**GGUF_YARN, **{"rope.scaling.factor": factor, "rope.scaling.attn_factor": 2.0})["text"],
        ]

        assert len(plans) == 1, factor
        assert {half.plan().attention_factor / 2 for half in halves} == {
            read_config(llama(rope_scaling=yarn)).plan().attention_factor
        }


def test_telechat_has_its_own_coefficient() -> None:
    rope = {"type": "telechat3-yarn", "factor": 40.0}

    with sixty_digits():
        exact = float(Decimal("0.07") * Decimal(40).ln() + 1)
    assert read_config(llama(rope_scaling=rope)).plan().attention_factor == exact


def test_a_nested_truncate_is_followed_and_transformers_bug_is_named() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "truncate": False, "rope_theta": 100.0}
    source = {"model_type": "olmo3", "rope_parameters": {"full_attention": rope}, "layer_types": ["full_attention"]}
    config = read_config(source)

    assert config.scaling.truncate is False
    assert any("its bug" in note for note in config.report.notes)


def test_the_configurations_own_original_length_goes_first() -> None:
    rope = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

    assert read_config(llama(rope_scaling=rope, original_max_position_embeddings=16)).scaling == YaRN(4.0, 16)


@pytest.mark.parametrize(
    "rope",
    [
        {"type": "yarn", "factor": 4.0, "beta_fst": 32},
        {"type": "linear", "factor": 4.0, "low_freq_factor": 1.0},
        {"type": "linear"},
        {"type": "linear", "factor": "4"},
        {"type": "linear", "factor": 0.5},
        {"type": "ntk-by-magic", "factor": 2.0},
        {"type": ["linear"], "factor": 2.0},
        {"type": "yarn", "factor": 2.0, "extrapolation_factor": 0.5},
        {"type": "longrope", "short_factor": [1.0] * 7, "long_factor": [1.0] * 8, "factor": 2.0},
        {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 8, "short_mscale": 1.0, "long_mscale": 1.2},
        {"type": "default", "mrope_section": [2, 3, 3]},
        "linear",
    ],
)  # fmt: skip
def test_rope_dictionaries_that_are_refused(rope: Any) -> None:
    with pytest.raises(RopeError):
        read_config(llama(rope_scaling=rope))


def test_unknown_keys_are_reported_where_they_are_not_refused() -> None:
    config = read_config(llama(rope_scaling={"type": "linear", "factor": 4.0, "new": 1}, rope_trick=2), strict=False)

    assert values(config.report.unknown) == {"rope_scaling.new": 1, "rope_trick": 2}
    with pytest.raises(RopeError, match="rope_trick"):
        read_config(llama(rope_trick=2))


@pytest.mark.parametrize("name", ["rope_scalling", "rope_parameter", "rope_sclaing", "rope_foo", "rope_scaling_factor"])
def test_a_dictionary_about_rope_under_an_unknown_key_is_not_left_out_in_silence(name: str) -> None:
    source = llama(rope_theta=1e6, **{name: {"rope_type": "linear", "factor": 2}})

    with pytest.raises(RopeError, match=name):
        read_config(source)
    assert set(values(read_config(source, strict=False).report.unknown)) == {name}


def test_an_empty_rope_dictionary_says_nothing() -> None:
    assert read_config(llama(rope_theta=1e6, rope_scaling={})).scaling is None


def test_two_rope_dictionaries_that_differ_are_refused() -> None:
    both = llama(rope_scaling={"type": "linear", "factor": 2.0}, rope_parameters={"rope_type": "default"})

    with pytest.raises(RopeError, match="rope_parameters"):
        read_config(both)
    assert read_config(both, strict=False).scaling == Linear(2.0)


# families


UNUSABLE_DEFAULTS = {  # transformers' own defaults do not fit together: see the sweep's repairs
    "glm4v", "glm4v_text", "glm4v_moe", "glm4v_moe_text", "glm46v", "glmga", "glm_image", "glm_image_text", "qwen3_omni_moe", "qwen3_omni_moe_text",
    "qwen3_omni_moe_thinker",
}  # fmt: skip
LEARNED = {"lightglue", "mistral_large4", "mistral_large4_text", "vjepa2"}


def test_every_family_reads_from_its_name_alone_or_says_why_not() -> None:
    """Families of other people's code have no defaults of one model, and so no sizes."""
    refused, sizes = set(), set()
    for name in families():
        try:
            found = read_configs({"model_type": name})
        except RopeError as error:
            (sizes if (error.argument, error.value) == ("head_dim", None) else refused).add(name)
        else:
            assert found
            assert all(report.evidence for report in found.reports.values())

    assert not [name for name in sizes if families()[name]["source"].startswith("transformers")]
    assert refused == UNUSABLE_DEFAULTS | LEARNED
    assert {"chatglm", "qwen", "bailing_moe", "openelm"} < sizes


def test_every_row_has_its_source_and_a_pairing_or_a_reason() -> None:
    for name, row in families().items():
        assert row["source"], name
        assert row.get("as", "llama") in families(), name
        assert {"pairing", "parts", "refuse"} & set(row) or row.get("rotates") is False, name
        assert row.get("axes", "hw") in table()["axes"], name


def test_an_unknown_family_names_the_choices() -> None:
    source = {"model_type": "llamoid", "head_dim": 16, "rope_theta": 100.0}

    with pytest.raises(RopeError, match=r"llama.*pairing="):
        read_config(source)
    assert read_config(source, pairing="interleaved").plan().pairing == "interleaved"
    assert read_config(source, family="cohere").plan().pairing == "interleaved"
    assert values(read_config(source, pairing="interleaved").report.assumptions)["pairing"] == "interleaved"


def test_an_unknown_family_is_answered_with_near_ones() -> None:
    with pytest.raises(RopeError, match=r"^model_type='lama': .*Did you mean llama[,?]"):
        read_config({"model_type": "lama", "head_dim": 16, "rope_theta": 100.0})
    with pytest.raises(RopeError, match=r"^family='qwen33': .*Did you mean qwen3[,?]"):
        read_config(llama(rope_theta=100.0), family="qwen33")
    with pytest.raises(RopeError, match=r"^model_type='zzzzzz': (?!.*Did you mean)"):
        read_config({"model_type": "zzzzzz", "head_dim": 16, "rope_theta": 100.0})


def test_deepseek_reads_one_pairing_and_writes_another_unless_its_key_says_no() -> None:
    config = read_config({"model_type": "deepseek_v3"})

    assert (config.pairing, config.out_pairing, config.head_dim) == ("interleaved", "half_split", 64)
    plain = read_config({"model_type": "deepseek_v3", "rope_interleave": False})
    assert (plain.pairing, plain.out_pairing) == ("half_split", None)


def test_deepseek_v4_rotates_the_last_lanes() -> None:
    config = read_config({"model_type": "deepseek_v4"}, layer_type="main")

    assert (config.head_dim, config.rotary_dim, config.lane_offset) == (512, 64, 448)


def test_nanochat_turns_the_other_way() -> None:
    assert read_config({"model_type": "nanochat"}).direction == -1


def test_vision_towers_have_axes() -> None:
    pixtral = read_config({"model_type": "pixtral", "head_dim": 16, "rope_theta": 100.0})
    f = [100 ** (-2 * j / 16) for j in range(8)]

    assert pixtral.axes == ("h", "w")
    assert np.allclose(pixtral.inv_freq, f[0::2] + f[1::2], rtol=1e-15)
    kimi = read_config({"model_type": "kimi_k25_vision", "hidden_size": 16, "num_attention_heads": 1})
    assert kimi.axis_order == (1, 0, 1, 0, 1, 0, 1, 0)
    step = read_config({"model_type": "step3p5_vision", "hidden_size": 16, "num_attention_heads": 1})
    assert step.axis_order == (1, 1, 1, 1, 0, 0, 0, 0)


def test_ernie_writes_its_sections_as_h_w_t() -> None:
    rope = {"rope_type": "default", "mrope_section": [3, 3, 2]}
    config = read_config({"model_type": "ernie4_5_vl_moe_text", "head_dim": 16, "rope_parameters": rope})

    assert (config.axes, config.sections, config.axis_order) == (("t", "h", "w"), (2, 3, 3), (1, 2, 1, 2, 1, 2, 0, 0))


def test_mrope_interleaved_must_agree_with_the_family() -> None:
    rope = {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": False}

    with pytest.raises(RopeError, match="mrope_interleaved"):
        read_config({"model_type": "qwen3_vl_text", "rope_scaling": rope})


def test_learned_frequencies_and_what_is_no_rotation_are_refused() -> None:
    for name in ("lightglue", "vjepa2", "mistral_large4_text"):
        with pytest.raises(RopeError):
            read_config({"model_type": name})


# parts, and several RoPEs


def test_several_ropes_are_refused_with_the_choices() -> None:
    source = {"model_type": "qwen2_vl"}

    with pytest.raises(RopeError, match=r"vision.*text"):
        read_config(source)
    assert read_config(source, part="vision").axes == ("h", "w")
    with pytest.raises(RopeError, match="audio"):
        read_config(source, part="audio")


def test_equal_layer_types_are_one_rope() -> None:
    assert read_config({"model_type": "olmo3"}).base == 500000.0


def test_a_part_without_a_word_about_rope_is_named() -> None:
    vision = {"model_type": "siglip_vision_model", "hidden_size": 64}
    found = read_configs(
        {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}, "vision_config": vision}
    )

    assert list(found) == ["text/full_attention", "text/sliding_attention"]
    assert any("vision" in note for note in found["text/full_attention"].report.notes)


def test_the_caller_goes_before_the_source() -> None:
    config = read_config(llama(rope_theta=100.0), base=7.0, scaling=Linear(2.0), head_dim=32)

    assert (config.base, config.scaling, config.head_dim) == (7.0, Linear(2.0), 32)
    assert values(config.report.assumptions)["base"] == 7.0


# the report


def test_the_report_is_no_part_of_the_configuration() -> None:
    config = read_config(llama(rope_theta=100.0))
    plain = ropecore.RopeConfig(head_dim=16, base=100.0, pairing="half_split")

    assert config == plain
    assert hash(config) == hash(plain)
    assert "report" not in config.to_dict()
    assert ropecore.RopeConfig.from_dict(config.to_dict()) == config
    assert config.replace(base=2.0).report is None
    with pytest.raises(RopeError, match="report"):
        ropecore.RopeConfig.from_dict(config.to_dict() | {"report": None})


def test_the_report_says_what_was_used_and_assumed() -> None:
    report = read_config(llama(rope_scaling={"type": "yarn", "factor": 4.0, "finetuned": True})).report

    assert values(report.used)["rope_scaling.factor"] == 4.0
    assert values(report.ignored)["rope_scaling.finetuned"] is True
    assert values(report.assumptions)["original_max_position_embeddings"] == 64
    assert {"pairing", "beta_fast", "rope_theta"} <= set(values(report.assumptions))
    assert json.loads(json.dumps(report.to_dict()))["family"] == "llama"
    assert "rope_scaling.factor = 4.0" in report.text()


# files


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(llama(rope_theta=100.0)))
    (tmp_path / "params.json").write_text(json.dumps({"dim": 64, "n_heads": 4}))

    assert read_config(tmp_path) == read_config(str(tmp_path / "config.json")) == read_config(llama(rope_theta=100.0))
    assert read_config(tmp_path / "params.json").plan().pairing == "interleaved"


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": ' * 100_000, '"text"'])
def test_files_that_are_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(RopeError):
        read_config(tmp_path)


def test_files_have_a_limit(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate((1 << 24) + 1)

    with pytest.raises(RopeError, match="larger"):
        read_config(tmp_path)


@pytest.mark.parametrize("source", [None, 7, [], object(), {}, {"model_type": 3}])
def test_other_sources_are_refused(source: Any) -> None:
    with pytest.raises(RopeError):
        read_config(source)


@pytest.mark.parametrize(
    "keys",
    [
        {"hidden_size": "64"}, {"num_attention_heads": 0}, {"head_dim": 15}, {"rope_theta": "NaN"}, {"rope_theta": float("nan")},
        {"rope_theta": [1.0, 2.0]}, {"rope_theta": -1.0}, {"head_dim": 10**9},
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(RopeError):
        read_config(llama(**keys))


def test_an_object_is_read_by_its_to_dict() -> None:
    class Anything:
        def to_dict(self) -> dict[str, Any]:
            return llama(rope_theta=100.0)

    assert read_config(Anything()) == read_config(llama(rope_theta=100.0))
    assert read_config(Anything()).report.source == "Anything"


# params.json


def test_meta_and_mistral_params() -> None:
    meta = read_config({"dim": 64, "n_heads": 4, "rope_theta": 500000.0, "use_scaled_rope": True})
    assert (meta.pairing, meta.head_dim, meta.scaling) == ("interleaved", 16, Llama3(8.0, 1.0, 4.0, 8192))
    assert values(meta.report.assumptions)["factor"] == 8.0

    yarn = {"factor": 4, "original_max_position_embeddings": 16, "beta": 32, "alpha": 1, "apply_scale": False}
    mistral = read_config({"dim": 64, "n_heads": 4, "head_dim": 32, "rope_theta": 1e6, "yarn": yarn})
    assert (mistral.head_dim, mistral.scaling) == (32, YaRN(4.0, 16, attention_factor=1.0))
    with pytest.raises(RopeError, match="rope_new"):
        read_config({"dim": 64, "n_heads": 4, "rope_new": 1})


def test_the_vision_encoder_of_pixtral() -> None:
    vision = {"hidden_size": 64, "num_attention_heads": 4, "rope_theta": 100.0}
    found = read_configs({"dim": 64, "n_heads": 4, "vision_encoder": vision})
    theirs = read_config({"model_type": "pixtral", "head_dim": 16, "rope_theta": 100.0})

    assert found["vision"].inv_freq == theirs.inv_freq
    assert found["vision"].pairing == "interleaved"


# GGUF


GGUF_YARN = {"rope.scaling.type": "yarn", "rope.scaling.original_context_length": 16}


def gguf(architecture: str = "llama", tensors: Any = (), strict: bool = True, **keys: Any) -> dict[str, Any]:
    own = {"embedding_length": 64, "attention.head_count": 4, "context_length": 64} | keys
    fields = {"general.architecture": architecture} | {f"{architecture}.{name}": value for name, value in own.items()}
    return read_fields(fields, dict(tensors), Request("test", strict))


def test_gguf_architectures_have_llama_cpps_pairing() -> None:
    pairings = {name: gguf(name)["text"].pairing for name in ("llama", "qwen2", "phi3", "deepseek2", "gpt-oss")}

    assert pairings == {
        "llama": "interleaved", "qwen2": "half_split", "phi3": "half_split", "deepseek2": "interleaved", "gpt-oss": "half_split",
    }  # fmt: skip
    assert gguf("mamba") == {"text": None}
    with pytest.raises(RopeError, match="pairing="):
        gguf("unheard-of")


def test_gguf_sizes_and_scaling() -> None:
    config = gguf("qwen2", **{"attention.key_length": 32, "rope.dimension_count": 16, "rope.freq_base": 100.0})["text"]
    assert (config.head_dim, config.rotary_dim, config.base) == (32, 16, 100.0)

    scaled = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}
    assert gguf(**scaled)["text"].scaling == YaRN(4.0, 16)
    assert gguf(**{"rope.scaling.factor": 4.0})["text"].scaling == Linear(4.0)
    assert gguf(**{"rope.scale_linear": 4.0})["text"].scaling == Linear(4.0)
    assert gguf()["text"].scaling is None
    with pytest.raises(RopeError, match=r"rope\.new"):
        gguf(**{"rope.new": 1})


def test_gguf_tensors_of_divisors() -> None:
    divided = gguf(tensors={"rope_freqs.weight": [1.0] * 4 + [8.0] * 4})["text"]
    plain = gguf()["text"].rows().frequencies[:, 0]
    assert np.allclose(divided.rows().frequencies[:, 0], plain / ([1.0] * 4 + [8.0] * 4), rtol=1e-15)

    tensors = {"rope_factors_short.weight": [1.0] * 8, "rope_factors_long.weight": [2.0] * 8}
    keys = {"rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.2}
    assert gguf("phi3", tensors, **keys)["text"].scaling == LongRoPE((1.0,) * 8, (2.0,) * 8, 16, attention_factor=1.2)
    with pytest.raises(RopeError, match="one entry a pair"):
        gguf(tensors={"rope_freqs.weight": [1.0] * 3})


def test_gguf_layers() -> None:
    gemma = gguf("gemma3", **{"rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0})
    assert (gemma["text/full_attention"].base, gemma["text/full_attention"].scaling) == (1e6, Linear(8.0))
    assert (gemma["text/sliding_attention"].base, gemma["text/sliding_attention"].scaling) == (1e4, None)
    assert gguf("smollm3")["text/nope"] is None
    assert gguf("cohere2")["text/full_attention"] is None


def test_gguf_axes() -> None:
    sections = {"rope.dimension_sections": [2, 3, 3, 0]}

    assert gguf("qwen2vl", **sections)["text"].axis_order == "chunked"
    assert gguf("qwen3vl", **{"rope.dimension_sections": [4, 2, 2, 0]})["text"].axis_order == "interleaved"
    with pytest.raises(RopeError, match="dimension_sections"):
        gguf("qwen2vl")


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(3))

    with pytest.raises(RopeError):
        read_config(tmp_path)
