"""Cache layouts hold exactly the numbers of rope.md chapter 8, and give them back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import plans

from ropecore import RopeConfig, RopeError, RotaryPlan, cos_sin, pack_cache, unpack_cache
from ropecore.cache import NAMES

C, S = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
PLAN = RopeConfig(head_dim=6, rotary_dim=4, base=100.0, pairing="half_split").plan()
PACKED = {
    "half": ([[1, 2]], [[3, 4]]),
    "concat": [[1, 2, 3, 4]],
    "sin_first": [[3, 4, 1, 2]],
    "full_concat": ([[1, 2, 1, 2]], [[3, 4, 3, 4]]),
    "full_repeat": ([[1, 1, 2, 2]], [[3, 3, 4, 4]]),
    "concat_full": [[1, 2, 1, 2, 3, 4, 3, 4]],
    "sin_first_repeat": [[3, 3, 4, 4, 1, 1, 2, 2]],
    "stacked": [[[1, 3], [2, 4]]],
    "sinusoid": [[3, 1, 4, 2]],
    "complex": [[1 + 3j, 2 + 4j]],
    "matrix": [[[[1, -3], [3, 1]], [[2, -4], [4, 2]]]],
    "signed": ([[1, 2, 1, 2, 1, 1]], [[-3, -4, 3, 4, 0, 0]]),
}


def as_lists(cache) -> object:
    return tuple(a.tolist() for a in cache) if isinstance(cache, tuple) else cache.tolist()


@pytest.mark.parametrize("layout", NAMES)
def test_layouts(layout: str) -> None:
    assert as_lists(pack_cache(PLAN, C, S, layout)) == PACKED[layout]


@given(plans(same_lanes=True), st.sampled_from(NAMES))
def test_unpacking_gives_back_the_bits(plan: RotaryPlan, layout: str) -> None:
    cos, sin = cos_sin(plan, [[0, 5, 70_000]])
    again = unpack_cache(plan, pack_cache(plan, cos, sin, layout), layout)

    assert np.array_equal(again[0], cos)
    assert np.array_equal(again[1], sin)


TWICE = {"full_concat": 0, "full_repeat": 1, "concat_full": 0, "sin_first_repeat": 0, "matrix": 0, "signed": 1}


@pytest.mark.parametrize("layout", TWICE)
def test_a_number_that_is_held_twice_must_be_the_same_twice(layout: str) -> None:
    cache = pack_cache(PLAN, *cos_sin(PLAN, [3, 5]), layout)
    arrays = [a.copy() for a in (cache if isinstance(cache, tuple) else [cache])]
    arrays[TWICE[layout]][-1].flat[-1] += 1.0  # the last number is a copy, or that of a lane that passes through
    given = tuple(arrays) if isinstance(cache, tuple) else arrays[0]

    with pytest.raises(RopeError, match=r"cache='element \[1, .*holds this number twice, and the copies differ"):
        unpack_cache(PLAN, given, layout)


def test_a_table_whose_second_half_is_of_another_position_is_refused() -> None:
    cos, sin = (np.concatenate([a, b], -1) for a, b in zip(cos_sin(PLAN, [3]), cos_sin(PLAN, [4]), strict=True))
    with pytest.raises(RopeError, match="copies differ"):
        unpack_cache(PLAN, (cos, sin), "full_concat")


def test_nan_is_the_same_as_nan() -> None:
    cos, sin = cos_sin(PLAN, [3])
    cos[0, 0] = np.nan
    again, _ = unpack_cache(PLAN, pack_cache(PLAN, cos, sin, "full_repeat"), "full_repeat")
    assert np.array_equal(again, cos, equal_nan=True)


def test_wrong_caches_are_refused() -> None:
    with pytest.raises(RopeError, match="layout"):
        pack_cache(PLAN, C, S, "neox")
    with pytest.raises(RopeError, match="cos"):
        pack_cache(PLAN, C[:, :1], S[:, :1], "half")
    with pytest.raises(RopeError, match="cache"):
        unpack_cache(PLAN, C, "half")
    with pytest.raises(RopeError, match="cache"):
        unpack_cache(PLAN, np.zeros((3, 5)), "concat")
    de_interleaving = RopeConfig(head_dim=8, base=100.0, pairing="interleaved", out_pairing="half_split").plan()
    with pytest.raises(RopeError, match="layout"):
        pack_cache(de_interleaving, *cos_sin(de_interleaving, [1]), "signed")
