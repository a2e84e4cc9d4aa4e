"""Which lanes form which pair (rope.md chapter 3)."""

import numpy as np
import pytest

from ropecore import RopeError
from ropecore.lanes import as_index, block_lanes, check_lanes, pair_lanes, recognise


def test_pairs() -> None:
    assert pair_lanes("half_split", 6).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert pair_lanes("half_split", 4, 3).tolist() == [[3, 5], [4, 6]]
    assert pair_lanes("interleaved", 6).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert pair_lanes("interleaved", 4, 3).tolist() == [[3, 4], [5, 6]]
    assert pair_lanes("half_split", 0).shape == (0, 2)
    assert pair_lanes("half_split", 4).dtype == np.int64


def test_blocks() -> None:
    assert block_lanes("half_split", (2, 0, 1)).tolist() == [[0, 2], [1, 3], [4, 5]]
    assert block_lanes("interleaved", (1, 2), 2).tolist() == [[2, 3], [4, 5], [6, 7]]


def test_an_unknown_pairing_is_refused_by_the_name_of_the_argument() -> None:
    for make, argument in (
        (lambda: pair_lanes("neox", 4), "pairing"),
        (lambda: pair_lanes("neox", 4, argument="out_pairing"), "out_pairing"),
        (lambda: block_lanes("neox", (1,)), "pairing"),
        (lambda: block_lanes("neox", (1,), argument="out_pairing"), "out_pairing"),
    ):
        with pytest.raises(RopeError) as refusal:
            make()
        assert refusal.value.argument == argument


def test_pairings_are_recognised() -> None:
    for pairing in ("half_split", "interleaved"):
        lanes = pair_lanes(pairing, 6, 1)

        assert recognise(lanes, lanes) == pairing
        assert recognise(lanes, lanes[:, ::-1]) == "general"
    assert recognise(pair_lanes("half_split", 4), pair_lanes("interleaved", 4)) == "general"
    assert recognise(np.array([[0, 2], [1, 4]]), np.array([[0, 2], [1, 4]])) == "general"
    assert recognise(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)) == "general"


@pytest.mark.parametrize("lanes", [[], [3], [0, 1, 2], [1, 3, 5], [5, 3], [2, 2], [0, 1, 3], [4, 0, 2]])
def test_an_index_takes_the_same_lanes(lanes: list[int]) -> None:
    x = np.arange(10) * 10

    assert x[as_index(np.array(lanes, np.int64))].tolist() == [10 * lane for lane in lanes]


def test_a_regular_progression_is_a_view() -> None:
    assert as_index(np.array([], np.int64)) == slice(0, 0)
    assert as_index(np.array([3])) == slice(3, 4, 1)
    assert as_index(np.array([1, 3, 5])) == slice(1, 6, 2)
    assert as_index(np.array([1, 4])) == slice(1, 5, 3)
    assert isinstance(as_index(np.array([5, 3])), np.ndarray)


def test_lanes_must_exist_and_be_used_once() -> None:
    check_lanes("lanes", np.array([[0, 1], [2, 3]]), 4)
    check_lanes("lanes", np.zeros((0, 2), np.int64), 4)
    for lanes in ([[0, 4]], [[-1, 0]], [[1, 1]], [[0, 1], [1, 2]]):
        with pytest.raises(RopeError) as refusal:
            check_lanes("out_lanes", np.array(lanes), 4)
        assert (refusal.value.argument, refusal.value.rule) == ("out_lanes", "R-12.2")
