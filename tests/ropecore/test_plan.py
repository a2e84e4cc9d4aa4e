"""The normal form: canonical, equal if and only if the rotation is, safe to read from a file
(rope.md chapter 2).
"""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import plans, positions, vectors

from ropecore import RopeConfig, RopeError, RotaryPlan, cos_sin, rotate


def rotated(plan: RotaryPlan, x: np.ndarray, position: int) -> np.ndarray:
    return rotate(plan, x, *cos_sin(plan, position))


@given(plans(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_lanes_in_a_row_does_not_matter(plan: RotaryPlan, random) -> None:
    order = list(range(plan.n_pairs))
    random.shuffle(order)
    swap = np.array([random.random() < 0.5 for _ in order])
    lanes, out = (np.where(swap[:, None], a[order][:, ::-1], a[order]) for a in (plan.lanes, plan.out))
    frequencies = np.where(swap[:, None], -plan.frequencies[order], plan.frequencies[order])

    again = RotaryPlan(plan.head_dim, lanes, frequencies, out, plan.attention_factor)

    assert again == plan
    assert hash(again) == hash(plan)


@given(plans(), positions, st.integers(0, 99))
def test_swapping_the_lanes_of_a_row_turns_the_sign(plan: RotaryPlan, position: int, seed: int) -> None:
    """The canonical form is the same rotation as the row-by-row formula of R-2.1 on uncanonical
    rows.
    """
    x = vectors(plan.head_dim, seed)
    y = x.copy()
    cos, sin = cos_sin(plan, position)
    for j, ((r0, r1), (w0, w1)) in enumerate(zip(plan.lanes, plan.out, strict=True)):
        y[w1] = x[r1] * cos[j] - x[r0] * -sin[j]
        y[w0] = x[r1] * -sin[j] + x[r0] * cos[j]

    assert np.array_equal(rotated(plan, x, position), y)


def test_rows_that_do_nothing_are_dropped_and_others_are_not() -> None:
    lanes = [[0, 1], [2, 3]]

    assert RotaryPlan(4, lanes, [1.0, 0.0]).n_pairs == 1
    assert RotaryPlan(4, lanes, [1.0, -0.0], attention_factor=2.0).n_pairs == 2
    assert RotaryPlan(4, lanes, [1.0, 0.0], out_lanes=[[0, 1], [3, 2]]).n_pairs == 2
    assert RotaryPlan(4, lanes, [1.0, 0.0], log_magnitude=[0.0, 0.1]).n_pairs == 2
    assert not np.signbit(RotaryPlan(4, lanes, [1.0, -0.0], attention_factor=2.0).frequencies).any()


def test_plans_differ_by_everything_that_changes_the_rotation() -> None:
    plan = RotaryPlan(6, [[0, 1], [2, 3]], [1.0, 0.5])
    others = [
        plan.replace(head_dim=8),
        plan.replace(lanes=np.array([[0, 2], [1, 3]]), out_lanes=None),
        plan.replace(out_lanes=np.array([[2, 3], [0, 1]])),
        plan.with_frequencies([1.0, np.nextafter(0.5, 1)]),
        plan.replace(attention_factor=1.5),
        plan.replace(axis_kinds=("real",)),
        plan.replace(log_magnitude=np.array([0.0, -0.1])),
        plan.replace(log_magnitude=np.array([0.0, -0.1]), centre=1.0),
    ]

    assert len({plan, *others}) == len(others) + 1
    assert plan.replace(axes=("t",)) == plan  # a label


@given(plans())
def test_json_gives_back_the_same_bits(plan: RotaryPlan) -> None:
    for again in (RotaryPlan.from_json(plan.to_json()), pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert again == plan
        assert again.axes == plan.axes
        assert again.frequencies.tobytes() == plan.frequencies.tobytes()


def test_a_plan_cannot_be_changed() -> None:
    plan = RotaryPlan(4, [[0, 1]], [1.0])

    with pytest.raises(ValueError, match="read-only"):
        plan.frequencies[0] = 2.0
    with pytest.raises(AttributeError):
        plan.head_dim = 8  # type: ignore[misc]


def test_the_caller_keeps_its_arrays() -> None:
    frequencies = np.array([1.0, 2.0])
    plan = RotaryPlan(4, [[0, 1], [2, 3]], frequencies)
    frequencies[0] = 9.0

    assert plan.frequencies[0, 0] == 1.0


def test_pairing_is_recognised_and_exchanged() -> None:
    half = RopeConfig(head_dim=12, rotary_dim=8, lane_offset=2, base=100.0, pairing="half_split").plan()
    interleaved = RopeConfig(head_dim=12, rotary_dim=8, lane_offset=2, base=100.0, pairing="interleaved").plan()
    proportional = half.replace(lanes=half.lanes[:2], out_lanes=half.lanes[:2], frequencies=half.frequencies[:2])

    assert (half.pairing, interleaved.pairing, proportional.pairing) == ("half_split", "interleaved", "general")
    assert half.with_pairing("interleaved") == interleaved
    assert interleaved.with_pairing("half_split") == half
    with pytest.raises(RopeError, match="pairing"):
        proportional.with_pairing("interleaved")


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"schema": "ropecore-plan/2"}, "plan"),
        ({"surprise": 1}, "plan"),
        ({"lanes": [[0, 4]]}, "lanes"),
        ({"lanes": [[0, 0]]}, "lanes"),
        ({"lanes": [[0, -1]]}, "lanes"),
        ({"lanes": [[0.0, 1.0]]}, "lanes"),
        ({"lanes": [0, 1]}, "lanes"),
        ({"lanes": "ab"}, "lanes"),
        ({"out_lanes": [[0, 2]]}, "out_lanes"),
        ({"frequencies": [[float("nan")]]}, "frequencies"),
        ({"frequencies": [[2.0**31]]}, "frequencies"),
        ({"frequencies": [[1.0, 2.0]]}, "frequencies"),
        ({"frequencies": [["1"]]}, "frequencies"),
        ({"attention_factor": 0}, "attention_factor"),
        ({"attention_factor": float("inf")}, "attention_factor"),
        ({"head_dim": 10**9}, "head_dim"),
        ({"head_dim": 4.0}, "head_dim"),
        ({"head_dim": True}, "head_dim"),
        ({"axes": []}, "axes"),
        ({"axes": 3}, "axes"),
        ({"axes": ["a", "a"]}, "axes"),
        ({"axis_kinds": ["whole"]}, "axis_kinds"),
        ({"axis_kinds": []}, "axis_kinds"),
        ({"log_magnitude": [float("nan")]}, "log_magnitude"),
        ({"log_magnitude": [0.1, 0.2]}, "log_magnitude"),
        ({"centre": "0"}, "centre"),
    ],
)
def test_a_plan_from_a_file_is_checked(change: dict, argument: str) -> None:
    plan = RotaryPlan(4, [[0, 1]], [1.0]).to_dict()

    with pytest.raises(RopeError) as refusal:
        RotaryPlan.from_dict(plan | change)

    assert argument in str(refusal.value)


def test_text_that_is_no_plan_is_refused() -> None:
    for text in ("", "[]", "{", "null", '{"schema": "ropecore-plan/1"}', "[" * 100_000):
        with pytest.raises(RopeError):
            RotaryPlan.from_json(text)


def test_a_plan_names_its_periods_and_wavelengths() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()

    assert np.allclose(plan.periods, 100.0 ** (np.arange(4) / 4), rtol=1e-15)
    assert np.allclose(plan.wavelengths, 2 * np.pi * plan.periods, rtol=1e-15)
    assert json.loads(plan.to_json())["frequencies"][0] == [1.0]
