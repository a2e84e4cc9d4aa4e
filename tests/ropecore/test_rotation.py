"""The reference rotation: right at every position, and with the properties that make it a rotation
(rope.md 9 and 10).
"""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from strategies import plans, positions, unscaled_factors, vectors

import ropecore
from ropecore import (
    Damped,
    RopeConfig,
    RopeError,
    RotaryPlan,
    XPos,
    angles,
    cos_sin,
    rotate,
    rotate_additive,
    rotate_complex,
    rotation_matrix,
    sinusoidal_encoding,
    sparse_rotation_matrix,
)  # fmt: skip

LADDER = [0, 1, 2, 257, 2049, 4097, 8192, 131071, 2**20, 2**24 + 1, 2**31 - 1]
LADDER += [-p for p in LADDER if p]


class Unreadable:
    """What a library has that gives its numbers to nobody, such as a tensor of another device."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("move it to the host first")


AXES = RopeConfig(head_dim=8, base=100.0, pairing="half_split", axes=("t", "h"), sections=(2, 2)).plan()


@pytest.mark.parametrize(
    ("plan", "wrong", "says"),
    [
        (AXES, np.zeros((3, 5), int), "positions=[(5,), (5,), (5,)]: must have 2 axes of one shape first"),
        (AXES, [np.arange(4), np.arange(3)], "positions=[(4,), (3,)]: must have 2 axes of one shape first"),
        (AXES, [[0.5, 1.0], [1, 2]], "positions="),
        (AXES, np.array(3), "positions=[()]: must have 2 axes of one shape first"),
        (AXES, [[[1, 2], [3]], [[1, 2], [3]]], "positions='list': is no array of numbers"),
        (AXES, Unreadable(), "positions='Unreadable': is no array of numbers"),
        (RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan(), [0.5], "positions="),
    ],
)
def test_positions_that_fit_no_plan_are_refused_by_name(plan: RotaryPlan, wrong, says: str) -> None:
    with pytest.raises(RopeError, match=f"^{re.escape(says)}"):
        cos_sin(plan, wrong)


def at(plan: RotaryPlan, x: np.ndarray, position: int, **how) -> np.ndarray:
    return rotate(plan, x, *cos_sin(plan, position), **how)


@pytest.mark.parametrize("base", [100.0, 1e4, 5e5, 5e7])
def test_tables_are_right_to_the_float64_bound_everywhere(base: float) -> None:
    plan = RopeConfig(head_dim=64, base=base, pairing="half_split").plan()
    cos, sin = cos_sin(plan, LADDER)
    with mp.workdps(50):
        for i, p in enumerate(LADDER):
            for j, f in enumerate(plan.frequencies[:, 0]):
                phi = mpf(float(f)) * p
                assert abs(mpf(float(cos[i, j])) - mp.cos(phi)) <= mpf(2) ** -52
                assert abs(mpf(float(sin[i, j])) - mp.sin(phi)) <= mpf(2) ** -52


def test_a_float64_product_is_not_good_enough() -> None:
    """Why phases are fixed-point: the naive form is wrong by far more than the bound (R-10.2)."""
    plan = RopeConfig(head_dim=64, base=1e4, pairing="half_split").plan()
    naive = np.cos((2**31 - 1) * plan.frequencies[:, 0])

    assert np.abs(naive - cos_sin(plan, 2**31 - 1)[0]).max() > 1e-8


@given(plans(unscaled_factors), positions, st.integers(0, 99))
def test_the_norm_is_kept(plan: RotaryPlan, position: int, seed: int) -> None:
    x = vectors(plan.head_dim, seed)

    assert np.linalg.norm(at(plan, x, position)) == pytest.approx(np.linalg.norm(x), rel=1e-14)


small = st.integers(-(2**29), 2**29)


@given(plans(), small, small, small, st.integers(0, 99))
def test_scores_depend_on_distance_alone(plan: RotaryPlan, p: int, r: int, move: int, seed: int) -> None:
    q, k = vectors(plan.head_dim, seed), vectors(plan.head_dim, seed + 1000)
    still = sorted(set(range(plan.head_dim)) - set(plan.lanes.ravel().tolist()))
    q[still] = 0  # lanes in no row carry no A

    score = at(plan, q, p) @ at(plan, k, r)
    moved = at(plan, q, p + move) @ at(plan, k, r + move)

    size = plan.attention_factor**2 * np.linalg.norm(q) * np.linalg.norm(k)
    assert abs(score - moved) <= 1e-12 * max(size, 1e-300)


@given(plans(), positions, st.integers(0, 99))
def test_the_inverse_undoes_and_the_transpose_is_its_multiple(plan: RotaryPlan, position: int, seed: int) -> None:
    x = vectors(plan.head_dim, seed)
    tables = cos_sin(plan, position)
    y = rotate(plan, x, *tables)

    assert rotate(plan, y, *tables, inverse=True) == pytest.approx(x, rel=1e-13, abs=1e-13)
    turned = sorted(plan.lanes.ravel().tolist())
    back = rotate(plan, y, *tables, transpose=True)
    assert back[turned] == pytest.approx(plan.attention_factor**2 * x[turned], rel=1e-13, abs=1e-13)


@given(plans(unscaled_factors, same_lanes=True), small, small, st.integers(0, 99))
def test_rotations_compose_where_the_attention_factor_is_one(plan: RotaryPlan, a: int, b: int, seed: int) -> None:
    x = vectors(plan.head_dim, seed)

    assert at(plan, at(plan, x, a), b) == pytest.approx(at(plan, x, a + b), rel=1e-13, abs=1e-13)


def test_composition_carries_the_attention_factor_twice() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", attention_factor=1.5).plan()
    x = vectors(8, 0)

    assert at(plan, at(plan, x, 3), 4) == pytest.approx(1.5 * at(plan, x, 7), rel=1e-14)


@given(plans(), positions, st.integers(0, 99))
def test_other_forms_are_the_same_rotation(plan: RotaryPlan, position: int, seed: int) -> None:
    x = vectors(plan.head_dim, seed)
    y = at(plan, x, position)

    assert rotation_matrix(plan, position) @ x == pytest.approx(y, rel=1e-14, abs=1e-14)
    assert sparse_rotation_matrix(plan, position) @ x == pytest.approx(y, rel=1e-14, abs=1e-14)
    assert sparse_rotation_matrix(plan, position).nnz <= 2 * plan.head_dim
    assert rotate_complex(plan, x[None], [position])[0] == pytest.approx(y, rel=1e-14, abs=1e-14)


@given(plans(same_lanes=True), positions, st.integers(0, 99))
def test_the_additive_form_is_the_same_rotation(plan: RotaryPlan, position: int, seed: int) -> None:
    x = vectors(plan.head_dim, seed)

    assert rotate_additive(plan, x[None], [position])[0] == pytest.approx(at(plan, x, position), rel=1e-14, abs=1e-14)


def test_the_sinusoidal_encoding_of_the_first_document() -> None:
    p = np.arange(4)

    assert sinusoidal_encoding(p, 4) == pytest.approx(
        np.stack([np.sin(p), np.cos(p), np.sin(p / 100), np.cos(p / 100)], -1), rel=1e-15, abs=1e-16
    )


@given(plans(), positions)
def test_angles_are_reduced(plan: RotaryPlan, position: int) -> None:
    reduced = angles(plan, position)
    cos, sin = cos_sin(plan.replace(attention_factor=1.0), position)

    assert (np.abs(reduced) <= math.pi).all()
    if len(cos) == plan.n_pairs:
        assert np.cos(reduced) == pytest.approx(cos, abs=1e-15)
        assert np.sin(reduced) == pytest.approx(sin, abs=1e-15)


def test_infinities_and_nan_stay_in_their_pair() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan()
    for bad in (math.nan, math.inf, -math.inf):
        x = np.arange(1.0, 9.0)
        x[1] = bad
        y = at(plan, x, 5)

        assert np.flatnonzero(~np.isfinite(y)).tolist() == [1, 4]


def test_infinity_times_zero_and_overflow_give_no_warning() -> None:
    """Warnings are errors here: at position 0 the sine is 0, and A makes the largest numbers
    infinite.
    """
    plan = RopeConfig(head_dim=4, base=100.0, pairing="half_split", attention_factor=4.0).plan()

    assert np.isnan(at(plan, np.array([math.inf, 1.0, 2.0, 3.0]), 0)[2])
    assert np.isinf(at(plan, np.array([1e308, 1.0, 1e308, 3.0]), 0)[[0, 2]]).all()


def test_the_result_is_written_where_it_is_asked_for() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan()
    x = vectors(8, 3)
    tables = cos_sin(plan, 5)
    given, wanted = x.copy(), rotate(plan, x, *tables)
    assert given.tolist() == x.tolist()

    other = np.full(8, math.nan)
    assert rotate(plan, x, *tables, out=other) is other
    assert other.tolist() == wanted.tolist()
    assert x.tolist() == given.tolist()
    assert rotate(plan, x, *tables, out=x) is x
    assert x.tolist() == wanted.tolist()


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 3.0])
def test_the_inverse_divides_by_the_factor(factor: float) -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", attention_factor=factor).plan()
    x = vectors(8, 4)

    assert at(plan, at(plan, x, 9), 9, inverse=True) == pytest.approx(x, rel=1e-14)


def test_real_axes_take_coordinates() -> None:
    plan = RopeConfig(head_dim=4, base=None, inv_freq=[[2.0, 0.0], [0.0, 3.0]], axes=("x", "y"), pairing="half_split",
                      axis_kinds=("real", "real")).plan()  # fmt: skip
    cos, sin = cos_sin(plan, np.array([[0.25], [-0.5]]))

    assert cos[0] == pytest.approx([math.cos(0.5), math.cos(-1.5)], abs=1e-16)
    assert sin[0] == pytest.approx([math.sin(0.5), math.sin(-1.5)], abs=1e-16)


def test_real_coordinates_of_many_turns() -> None:
    plan = RotaryPlan(4, [[0, 1], [2, 3]], [2.0, -0.75], axes=("x",), axis_kinds=("real",))
    places = np.array([-1000.5, -3.25, 0.0, 100.25, 4096.125])
    cos, sin = cos_sin(plan, places)
    reduced = angles(plan, places)

    assert reduced.dtype == np.float64
    for i, x in enumerate(places):
        for j, f in enumerate((2.0, -0.75)):
            bound = 2.0**-52 * (1 + abs(f * x))
            assert abs(cos[i, j] - math.cos(f * x)) <= bound
            assert abs(sin[i, j] - math.sin(f * x)) <= bound
            assert abs(reduced[i, j] - math.remainder(f * x, math.tau)) <= 4 * bound


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        ([math.nan], "R-7.12"),
        ([math.inf], "R-7.12"),
        ([2.0**31], "R-7.12"),
        ([0.5, -(2.0**31)], "R-7.12"),
        (["1"], "R-12.5"),
        ([1j], "R-12.5"),
        ([True], "R-12.5"),
    ],
)
def test_what_is_no_coordinate_is_refused(bad, rule) -> None:
    plan = RotaryPlan(2, [[0, 1]], [2.0], axes=("x",), axis_kinds=("real",))

    with pytest.raises(RopeError, match="real axis") as refusal:
        cos_sin(plan, np.array(bad))
    assert (refusal.value.argument, refusal.value.rule) == ("positions", rule)
    assert cos_sin(plan, np.array([math.nextafter(2.0**31, 0)]))[0].shape == (1, 1)
    assert cos_sin(plan, np.array([1]))[0].shape == cos_sin(plan, np.array([1], np.uint8))[0].shape == (1, 1)


def test_integer_and_real_axes_together() -> None:
    plan = RotaryPlan(4, [[0, 1], [2, 3]], [[1.0, 0.5], [0.1, 2.0]], axes=("t", "x"), axis_kinds=("integer", "real"))
    cos, _ = cos_sin(plan, [np.array([3, 7]), np.array([0.5, 0.25])])

    assert cos == pytest.approx(np.cos([[3.25, 1.3], [7.125, 1.2]]), abs=1e-15)
    with pytest.raises(RopeError, match="integer axis"):
        cos_sin(plan, np.array([[3.0, 7.0], [0.5, 0.25]]))


def test_text_positions_give_the_bits_of_one_axis() -> None:
    keywords = {"head_dim": 8, "base": 1e4, "pairing": "half_split"}
    one = RopeConfig(**keywords).plan()
    three = RopeConfig(**keywords, sections=(2, 1, 1), axes=("t", "h", "w"), axis_order="interleaved").plan()
    ids = np.array(LADDER)

    for a, b in zip(cos_sin(one, ids), cos_sin(three, ropecore.text_positions(ids, 3)), strict=True):
        assert a.tobytes() == b.tobytes()


def test_magnitude_grows_for_queries_and_shrinks_for_keys() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Damped(0.01, centre=4.0)).plan()
    q, k = np.array(cos_sin(plan, 10, "q")), np.array(cos_sin(plan, 10, "k"))
    plain = np.array(cos_sin(plan.replace(log_magnitude=None), 10))

    assert q == pytest.approx(plain * math.exp(-0.06), rel=1e-14)
    assert k == pytest.approx(plain * math.exp(0.06), rel=1e-14)
    with pytest.raises(RopeError, match="magnitude"):
        cos_sin(plan, 100_000)
    with pytest.raises(RopeError, match="role"):
        cos_sin(plan, 10, "v")


def test_the_largest_magnitude_is_allowed_and_the_first_position_beyond_is_named() -> None:
    rule = Damped(100 * math.log(2))
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=rule).plan()

    assert np.hypot(*cos_sin(plan, [1, -1], "k"))[:, 0] == pytest.approx([2.0**100, 2.0**-100], rel=1e-12)
    with pytest.raises(RopeError) as refusal:
        cos_sin(plan, [[0, 1], [-3, 2]])
    assert (refusal.value.argument, refusal.value.value, refusal.value.rule) == ("positions", -3.0, "R-2.4")


def test_xpos_inverse_undoes() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=XPos()).plan()
    x = vectors(8, 1)
    tables = cos_sin(plan, 700, "k")

    assert rotate(plan, rotate(plan, x, *tables), *tables, inverse=True) == pytest.approx(x, rel=1e-13)
    with pytest.raises(RopeError, match="inverse"):
        rotate(plan, x, *tables, inverse=True, transpose=True)


@pytest.mark.parametrize("bad", [2**31, -(2**31), 2**40, 1.0, [1.0, 2.0], "1", None, True])
def test_positions_that_are_none_are_refused(bad) -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()

    with pytest.raises(RopeError, match="positions"):
        cos_sin(plan, bad)


def test_one_position_only_for_a_matrix() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()

    with pytest.raises(RopeError, match="position"):
        rotation_matrix(plan, [1, 2])
