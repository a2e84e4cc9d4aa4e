"""The derived bounds of rope.md hold for plain doubles and for the page's own recipes (R-4.4,
R-10.7, R-10.9).
"""

import math

import numpy as np
import pytest
import worst_cases

from ropecore.conformance import bounds

STEEPEST, FARTHEST = 1.6608846521425429, 139.07041177938714  # 1.284 of the bound before


@pytest.mark.parametrize("rule", worst_cases.FREQUENCY_RULES)
@pytest.mark.parametrize("power", [worst_cases.by_pow, worst_cases.by_exp], ids=["pow", "exp"])
def test_frequencies_in_plain_doubles_are_within_their_distance(rule, power) -> None:
    units, where = worst_cases.search_frequencies(rule, power, rounds=60)

    assert 0.05 < units <= 1, where


def test_the_exponents_denominator_and_the_base_that_acts_count() -> None:
    """R-4.2 had 2j/R and ln(b): pow in doubles was up to 20 times over it."""
    lanes = np.array([[j, j + 64] for j in range(64)])
    config = {"head_dim": 128, "pairing": "half_split", "base": 1e4, "frequency_dim": 3}
    ntk = {"head_dim": 6, "pairing": "half_split", "base": 2.0, "scaling": {"rule": "ntk", "alpha": 1e6}}

    assert bounds.distance(config, lanes)[63] == pytest.approx(4 + math.log(1e4) * 126 / 3)
    assert worst_cases.units_of_frequencies(config, worst_cases.by_pow).max() <= 1
    assert worst_cases.units_of_frequencies(ntk, worst_cases.by_pow).max() <= 1


def test_a_frequency_that_is_off_by_more_than_its_distance_is_found() -> None:
    config = {"head_dim": 128, "pairing": "half_split", "base": 1e4}

    def careless(b: float, x: float) -> float:
        return math.pow(b, x) * (1 + 2.0**-47)

    assert worst_cases.units_of_frequencies(config, careless).max() > 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("held", [True, False])
def test_real_axes_are_within_their_bound(dtype, held) -> None:
    units, where = worst_cases.search_tables("real", dtype, 1, held, rounds=3)

    assert units <= 1, where


def test_a_rounded_coordinate_has_a_term_of_its_own() -> None:
    F, p = np.array([[STEEPEST]]), np.array([[FARTHEST]])
    plan = worst_cases.plan_of(F, "real")
    t = {
        name: bounds.table_bound(bounds.turns(plan, at), "float32", bounds.Words("exact")).item()
        for name, at in (("lost", p[0]), ("held", p[0].astype(np.float32).astype(np.float64)))
    }

    assert t["lost"] - t["held"] == pytest.approx(2.0**-24 * STEEPEST * FARTHEST, rel=1e-6)
    assert 0.7 < worst_cases.units_of_tables(F, p, "real", "float32").max() <= 1


@pytest.mark.parametrize(("axes", "more"), [(1, 0), (8, 0), (9, 1), (32, 24)])
def test_each_integer_axis_beyond_the_eighth_adds_its_rounding(axes, more) -> None:
    plan = worst_cases.plan_of(np.ones((1, axes)), "integer")
    at = np.ones((axes, 1), np.int64) if axes > 1 else np.ones(1, np.int64)
    t = bounds.table_bound(bounds.turns(plan, at), "float32", bounds.Words("exact")).item()

    assert t == pytest.approx(1.2e-7 + more * 2.0**-29, rel=1e-12)
    assert worst_cases.search_tables("integer", "float32", axes, True, rounds=1)[0] <= 1


def test_own_frequencies_have_a_term_under_exact_angles() -> None:
    """What pow loses grows with the position: a config reader with x of
    float64 has R-10.8 for it.
    """
    config = {"head_dim": 96, "pairing": "half_split", "base": 1e6}
    plan = worst_cases.ropecore.RopeConfig.from_dict(config).plan()
    own = bounds.own_frequencies(config, plan.lanes)
    places = np.array([2**31 - 1, 131071, 5])
    at, words = bounds.turns(plan, places), bounds.Words("exact", own=True)
    t = bounds.table_bound(at, "float64", words, own)
    made = worst_cases.in_doubles(config, worst_cases.by_pow)
    error = np.abs(
        np.array([[float(f) - g for f, g in zip(made, plan.frequencies[:, 0], strict=True)]]) * places[:, None]
    )

    assert (error <= t).all()
    assert (error > bounds.table_bound(at, "float64", words)).any()  # without the term


def test_the_second_word_of_pi_4_is_within_the_bound_and_so_cannot_be_tested() -> None:
    with_it, without = (worst_cases.search_remainders(4, second_word) for second_word in (True, False))

    assert with_it[0] < without[0] <= 1


def test_factors_in_plain_doubles_are_within_their_distance() -> None:
    for name, (units, where) in worst_cases.search_factors(200):
        assert units <= 1, (name, where)
