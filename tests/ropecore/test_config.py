"""Configurations: lanes, axes, and what they refuse (rope.md chapters 3 and 6)."""

import numpy as np
import pytest

from ropecore import Linear, LongRoPE, Proportional, RopeConfig, RopeError, YaRN


def make(**keywords) -> RopeConfig:
    return RopeConfig(**({"head_dim": 8, "base": 100.0, "pairing": "half_split"} | keywords))


@pytest.mark.parametrize(
    ("keywords", "lanes"),
    [
        ({}, [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ({"pairing": "interleaved"}, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        ({"rotary_dim": 4}, [[0, 2], [1, 3]]),
        ({"rotary_dim": 4, "lane_offset": 4}, [[4, 6], [5, 7]]),
        ({"rotary_dim": 4, "lane_offset": 1, "pairing": "interleaved"}, [[1, 2], [3, 4]]),
        ({"sections": (2, 2), "axes": ("h", "w"), "axis_blocks": True}, [[0, 2], [1, 3], [4, 6], [5, 7]]),
    ],
)
def test_lanes(keywords: dict, lanes: list) -> None:
    assert make(**keywords).plan().lanes.tolist() == lanes


def test_de_interleaving_reads_one_pairing_and_writes_another() -> None:
    plan = make(pairing="interleaved", out_pairing="half_split").plan()

    assert plan.lanes.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert plan.out.tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_the_exponent_has_its_own_denominator() -> None:
    assert make(rotary_dim=4).plan().frequencies[1, 0] == 0.1
    assert make(rotary_dim=4, frequency_dim=8).plan().frequencies[1, 0] == pytest.approx(100**-0.25, rel=1e-15)


def test_direction_negates() -> None:
    assert np.array_equal(make(direction=-1).plan().frequencies, -make().plan().frequencies)


@pytest.mark.parametrize(
    ("order", "sections", "axes"),
    [
        ("chunked", (2, 1, 1), [0, 0, 1, 2]),
        ("interleaved", (2, 1, 1), [0, 1, 2, 0]),
        ("interleaved", (3, 1, 1), [0, 1, 2, 0, 0]),
        ("alternating", (2, 2), [0, 1, 0, 1]),
        ("alternating", (3, 1), [0, 1, 0, 0]),
        ((1, 2, 1, 2, 0), (1, 2, 2), [1, 2, 1, 2, 0]),
    ],
)
def test_axis_orders(order, sections, axes) -> None:
    n_pairs, names = sum(sections), ("t", "h", "w")[: len(sections)]
    rows = make(head_dim=2 * n_pairs, sections=sections, axes=names, axis_order=order).rows()
    one_axis = make(head_dim=2 * n_pairs).rows()

    assert np.argmax(rows.frequencies != 0, axis=1).tolist() == axes
    assert np.array_equal(rows.frequencies.sum(axis=1), one_axis.frequencies[:, 0])


def test_per_axis_frequencies_start_again_on_each_axis() -> None:
    rows = make(head_dim=16, sections=(2, 6), axes=("h", "w"), axis_frequencies="per_axis").rows()

    assert np.array_equal(rows.frequencies[:2, 0], make(head_dim=4).rows().frequencies[:, 0])
    assert np.array_equal(rows.frequencies[2:, 1], make(head_dim=12).rows().frequencies[:, 0])


def test_mixed_frequencies_are_a_matrix() -> None:
    matrix = [[1.0, 0.5], [0.25, -0.5], [0.0, 1.0], [0.1, 0.2]]
    plan = make(base=None, inv_freq=np.array(matrix), axes=("x", "y"), axis_kinds=("real", "real")).plan()

    assert plan.frequencies.tolist() == matrix
    assert plan.real_axes == (True, True)


def test_scaling_goes_with_axes() -> None:
    keywords = {"sections": (2, 1, 1), "axes": ("t", "h", "w")}
    scaled, plain = make(scaling=Linear(4.0), **keywords).plan(), make(**keywords).plan()

    assert np.array_equal(scaled.frequencies, plain.frequencies / 4)


def test_configurations_go_through_json() -> None:
    for config in (
        make(),
        make(scaling=YaRN(4.0, 64, mscale=0.5), rotary_dim=6),
        make(scaling=LongRoPE((1.0,) * 4, (2.0,) * 4, 64, factor=4.0)),
        make(sections=(2, 1, 1), axes=("t", "h", "w"), axis_order=(0, 1, 2, 0), axis_kinds=("integer",) * 3),
        make(base=None, inv_freq=[[1.0, 0.5]] * 4, axes=("x", "y")),
    ):
        assert RopeConfig.from_dict(config.to_dict()) == config
        assert hash(RopeConfig.from_dict(config.to_dict())) == hash(config)


def test_a_configuration_without_a_pairing_is_refused_with_the_choices() -> None:
    for make_one in (lambda given: RopeConfig(**given), RopeConfig.from_dict):
        with pytest.raises(RopeError, match=r"pairing=None: .*half_split, interleaved"):
            make_one({"head_dim": 8, "base": 1e4})


def test_the_plan_is_made_once() -> None:
    assert make(scaling=Proportional(0.5)).plan() is make(scaling=Proportional(0.5)).plan()


@pytest.mark.parametrize(
    ("keywords", "argument"),
    [
        ({"head_dim": 7}, "head_dim"),
        ({"head_dim": 0}, "head_dim"),
        ({"head_dim": 8.0}, "head_dim"),
        ({"rotary_dim": 5}, "rotary_dim"),
        ({"rotary_dim": 0}, "rotary_dim"),
        ({"rotary_dim": 10}, "rotary_dim"),
        ({"rotary_dim": 8, "lane_offset": 2}, "rotary_dim"),
        ({"lane_offset": -1}, "lane_offset"),
        ({"base": None}, "base"),
        ({"base": 0.0}, "base"),
        ({"base": float("nan")}, "base"),
        ({"base": "1e4"}, "base"),
        ({"base": True}, "base"),
        ({"pairing": "neox"}, "pairing"),
        ({"pairing": None}, "pairing"),
        ({"out_pairing": "half"}, "out_pairing"),
        ({"direction": 0}, "direction"),
        ({"frequency_dim": 0}, "frequency_dim"),
        ({"attention_factor": 0.0}, "attention_factor"),
        ({"scaling": "yarn"}, "scaling"),
        ({"inv_freq": [1.0]}, "inv_freq"),
        ({"inv_freq": 1.0}, "inv_freq"),
        ({"inv_freq": [1.0, 2.0, 3.0, float("inf")]}, "inv_freq"),
        ({"inv_freq": [[1.0], [1.0, 2.0], [1.0], [1.0]], "axes": ("x",)}, "inv_freq"),
        ({"inv_freq": [[1.0, 2.0]] * 4}, "axes"),
        ({"inv_freq": [[1.0, 2.0]] * 4, "axes": ("x",)}, "axes"),
        ({"inv_freq": [[1.0, 2.0]] * 4, "axes": ("x", "y"), "scaling": Linear(2.0)}, "scaling"),
        ({"sections": (2, 2)}, "axes"),
        ({"sections": (4, 4), "axes": ("h", "w")}, "sections"),
        ({"sections": (2, 1), "axes": ("h", "w")}, "sections"),
        ({"sections": (2, 2), "axes": ("t", "h", "w")}, "sections"),
        ({"axes": ("h", "w")}, "sections"),
        ({"axis_order": "alternating"}, "sections"),
        ({"sections": (2, 2), "axes": ("h", "w"), "axis_order": "zigzag"}, "axis_order"),
        ({"sections": (1, 2, 1), "axes": ("t", "h", "w"), "axis_order": "interleaved"}, "axis_order"),
        ({"sections": (2, 2), "axes": ("h", "w"), "axis_order": (0, 0, 0, 1)}, "axis_order"),
        ({"sections": (2, 2), "axes": ("h", "w"), "axis_order": (0, 0, 1, 2)}, "axis_order"),
        ({"sections": (2, 2), "axes": ("h", "w"), "axis_order": "alternating", "axis_blocks": True}, "axis_order"),
        ({"sections": (2, 2), "axes": ("h", "w"), "axis_frequencies": "own"}, "axis_frequencies"),
        ({"sections": (2, 2), "axes": ("h", "w"), "axis_frequencies": "per_axis", "frequency_dim": 8}, "frequency_dim"),
        ({"axis_kinds": ("float",)}, "axis_kinds"),
        ({"rope_theta": 1e4}, "config"),
    ],
)
def test_what_is_wrong_is_refused_by_name(keywords: dict, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        RopeConfig.from_dict({"head_dim": 8, "base": 100.0, "pairing": "half_split"} | keywords).plan()

    assert refusal.value.argument.startswith(argument)
