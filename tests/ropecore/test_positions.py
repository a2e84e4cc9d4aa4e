"""Builders of positions, and shapes of tensors (rope.md chapter 7)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropecore import RopeError, axes_first, dual_chunk_positions, mask_positions, packed_positions, text_positions
from ropecore.tensor_format import TensorFormat, overlaps_itself


def test_text_is_the_same_on_every_axis() -> None:
    assert text_positions([[4, 5], [0, 1]], 3).tolist() == [[[4, 5], [0, 1]]] * 3


def test_axes_come_first() -> None:
    assert axes_first([[1, 10], [2, 20], [3, 30]]).tolist() == [[1, 2, 3], [10, 20, 30]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_packed_documents_restart(lengths: list[int]) -> None:
    expected = [i for length in lengths for i in range(length)]

    assert packed_positions(np.cumsum([0, *lengths])).tolist() == expected


def test_left_padding_starts_at_the_first_token() -> None:
    assert mask_positions([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).tolist() == [
        [0, 0, 0, 1, 2],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 0, 0],
    ]


def test_dual_chunk_lists() -> None:
    lists = dual_chunk_positions([0, 5, 6, 13, 20], chunk_length=8, local_length=2)

    assert {name: value.tolist() for name, value in lists.items()} == {
        "key": [0, 5, 0, 1, 2],
        "intra": [0, 5, 0, 1, 2],
        "succ": [6, 8, 6, 7, 8],
        "inter": [8, 8, 8, 8, 8],
        "succ_critical": [6, 11, 6, 7, 8],
        "inter_critical": [8, 13, 8, 9, 10],
    }


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: text_positions([0.5], 3), "ids"),
        (lambda: text_positions([1], 0), "n_axes"),
        (lambda: axes_first([1, 2]), "ids"),
        (lambda: axes_first([["a"]]), "ids"),
        (lambda: packed_positions([1, 2]), "cu_seqlens"),
        (lambda: packed_positions([0, 5, 3]), "cu_seqlens"),
        (lambda: packed_positions([]), "cu_seqlens"),
        (lambda: packed_positions([[0, 1]]), "cu_seqlens"),
        (lambda: mask_positions([[0, 2]]), "mask"),
        (lambda: mask_positions([[0.0, 1.0]]), "mask"),
        (lambda: dual_chunk_positions([1], 8, 8), "local_length"),
        (lambda: dual_chunk_positions([1], 0, 0), "chunk_length"),
    ],
)
def test_wrong_input_is_refused(call, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        call()

    assert refusal.value.argument == argument


@pytest.mark.parametrize("letters", ["", "bhs", "bhsx", "bhssd", "bhd", "bstd", "btd", "dhsb", None, 4])
def test_letters_that_make_no_format_are_refused(letters) -> None:
    with pytest.raises(RopeError, match="tensor_format"):
        TensorFormat.parse(letters)


@pytest.mark.parametrize(
    ("letters", "table", "wanted"),
    [
        ("bhsd", (5, 4), (1, 1, 5, 4)),
        ("bshd", (2, 5, 4), (2, 5, 1, 4)),
        ("sbhd", (2, 5, 4), (5, 2, 1, 4)),
        ("thd", (5, 4), (5, 1, 4)),
        ("bsghd", (5, 4), (1, 5, 1, 1, 4)),
    ],
)
def test_tables_line_up_with_tensors(letters: str, table: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(table)).reshape(table)
    lined_up = TensorFormat.parse(letters).line_up(numbers, lambda t: t.swapaxes(0, 1), np.reshape)

    assert lined_up.shape == wanted
    assert np.array_equal(lined_up.ravel(), (numbers.swapaxes(0, 1) if letters == "sbhd" else numbers).ravel())


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 12)), min_size=1, max_size=3))
def test_overlap_is_never_missed(dims: list[tuple[int, int]]) -> None:
    """Two indices of one address are always reported; some arrays
    without any may be reported too.
    """
    shape, strides = zip(*dims, strict=True)
    addresses = [sum(i * s for i, s in zip(index, strides, strict=True)) for index in np.ndindex(*shape)]

    if len(set(addresses)) < len(addresses):
        assert overlaps_itself(shape, strides)


def test_usual_views_do_not_overlap() -> None:
    fused = np.zeros((2, 5, 6, 8))
    for view in (fused, fused.transpose(0, 2, 1, 3), fused[:, ::2], fused[..., ::-1], fused[:, :, :4], fused[:0]):
        assert not overlaps_itself(view.shape, [s // 8 for s in view.strides])
    assert overlaps_itself((2, 3), (0, 1))
