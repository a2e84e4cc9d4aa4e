"""Factors that go with a RoPE and are no rotation, by hand."""

import math

import numpy as np
import pytest

import ropecore
from ropecore import RopeError
from ropecore.analysis.explain import explain


def test_yarn_of_deepseek() -> None:
    """DeepSeek-V3: factor 40, mscale_all_dim 1."""
    assert ropecore.yarn_softmax_scale(40.0, 1.0) == pytest.approx(1.8738542070926265, rel=1e-15)
    assert ropecore.yarn_softmax_scale(40.0, 0.707) == pytest.approx((0.0707 * math.log(40) + 1) ** 2, rel=1e-15)


@pytest.mark.parametrize(("factor", "mscale_all_dim"), [(1.0, 1.0), (0.5, 1.0), (40.0, 0.0)])
def test_yarn_leaves_scores_alone(factor: float, mscale_all_dim: float) -> None:
    assert ropecore.yarn_softmax_scale(factor, mscale_all_dim) == 1.0


def test_scores_are_the_same_whether_the_factor_acts_on_tables_or_on_the_softmax() -> None:
    """A^2 on scores by the plan equals DeepSeek's square beside an A of 1."""
    on_tables = ropecore.YaRN(40.0, 4096, mscale=1.0)
    factor = (
        ropecore.RopeConfig(head_dim=64, base=1e4, pairing="interleaved", scaling=on_tables).plan().attention_factor
    )

    assert ropecore.yarn_softmax_scale(40.0, 1.0) == pytest.approx(factor**2, rel=1e-15)


def test_llama4_counts_from_one() -> None:
    scale = ropecore.llama4_query_scale([0, 8190, 8191, 16382, 16383])
    steps = [1.0, 1.0, 1 + 0.1 * math.log(2), 1 + 0.1 * math.log(2), 1 + 0.1 * math.log(3)]

    np.testing.assert_allclose(scale, steps, rtol=1e-15)
    assert scale.dtype == np.float64


def test_ministral_counts_from_zero() -> None:
    scale = ropecore.ministral_query_scale([[0, 16383], [16384, 40000]], 16384, 0.1)

    np.testing.assert_allclose(scale, [[1.0, 1.0], [1 + 0.1 * math.log(2), 1 + 0.1 * math.log(3)]], rtol=1e-15)


def test_log_n_begins_where_training_ended() -> None:
    """Qwen 1 writes log(i, length) for i > length, and i counts from 1."""
    length = 2048
    positions = np.array([0, 1, 2046, 2047, 2048, 2049, 32767])
    by_hand = [math.log(i, length) if i > length else 1 for i in positions + 1]

    np.testing.assert_allclose(ropecore.log_n_query_scale(positions, length), by_hand, rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: ropecore.yarn_softmax_scale(0.0, 1.0), "factor"),
        (lambda: ropecore.yarn_softmax_scale(float("nan"), 1.0), "factor"),
        (lambda: ropecore.yarn_softmax_scale(40.0, -1.0), "mscale_all_dim"),
        (lambda: ropecore.llama4_query_scale([-1]), "positions"),
        (lambda: ropecore.llama4_query_scale([0.0]), "positions"),
        (lambda: ropecore.llama4_query_scale([2**31]), "positions"),
        (lambda: ropecore.llama4_query_scale([0], floor_scale=0), "floor_scale"),
        (lambda: ropecore.llama4_query_scale([0], attn_scale=float("inf")), "attn_scale"),
        (lambda: ropecore.ministral_query_scale([0], 0, 0.1), "original_max_position"),
        (lambda: ropecore.ministral_query_scale([0], 16384, None), "beta"),
        (lambda: ropecore.ministral_query_scale([-5], 16384, 0.1), "positions"),
        (lambda: ropecore.log_n_query_scale([0], 1), "training_length"),
        (lambda: ropecore.log_n_query_scale([-1], 2048), "positions"),
    ],
)
def test_wrong_input_is_refused(call, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        call()

    assert refusal.value.argument == argument


def test_explain_names_the_factors_that_no_plan_holds() -> None:
    """DeepSeek's softmax scale and Ministral's query scale, from the keys of a configuration."""
    deepseek = {
        "model_type": "deepseek_v3",
        "rope_scaling": {
            "type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096,
            "beta_fast": 32, "beta_slow": 1,
        },
    }  # fmt: skip
    notes = explain(ropecore.read_config(deepseek), 8192).warnings
    assert any(f"{ropecore.yarn_softmax_scale(40.0, 1.0):.6g}" in note for note in notes)

    rope = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384}
    ministral = {"model_type": "ministral3", "rope_parameters": rope | {"llama_4_scaling_beta": 0.1}}
    notes = explain(ropecore.read_config(ministral), 8192).warnings
    assert any("ministral_query_scale" in note for note in notes)
    plain = ropecore.RopeConfig(head_dim=8, base=1e4, pairing="half_split")
    assert not any("multiplied" in note for note in explain(plain, 8192).warnings)
