"""Positions of text with images and videos, worked out by hand;
test_vision_positions_transformers.py asks the models themselves.
"""

import numpy as np
import pytest

import ropecore
from ropecore import RopeError
from ropecore.vision_positions import NEXT_POSITIONS

BUILDERS = {
    "qwen2": ropecore.qwen2_vl_positions,
    "qwen2.5": lambda *arguments, **keywords: ropecore.qwen2_5_vl_positions(
        *arguments, tokens_per_second=2, **keywords
    ),
    "qwen3": ropecore.qwen3_vl_positions,
    "glm4v": ropecore.glm4v_positions,
    "ernie": ropecore.ernie4_5_vl_positions,
}


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("next_position", NEXT_POSITIONS)
def test_an_image_between_words(family: str, next_position: str) -> None:
    """A grid of 4 x 6 patches is 2 x 3 tokens: text goes on 3 positions after its start, whichever
    way that is said.
    """
    ids, delta = BUILDERS[family]([0, 0, *[1] * 6, 0], [[1, 4, 6]], next_position=next_position)

    assert ids.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5],
        [0, 1, 2, 2, 2, 3, 3, 3, 5],
        [0, 1, 2, 3, 4, 2, 3, 4, 5],
    ]
    assert delta == -3
    assert ids.dtype == np.int64


VIDEO = [0, *[2] * 8, 0, 0]  # four frames of 2 x 4 patches: 1 x 2 tokens each


def test_a_video_that_lasts_longer_than_it_is_wide() -> None:
    """The two policies: transformers goes on after the longer side, vLLM and SGLang after the
    largest id.
    """
    side = ropecore.qwen2_vl_positions(VIDEO, [], [[4, 2, 4]])
    largest = ropecore.qwen2_vl_positions(VIDEO, [], [[4, 2, 4]], next_position="largest_id")

    for ids in (side.ids, largest.ids):
        assert ids[:, :9].tolist() == [[0, 1, 1, 2, 2, 3, 3, 4, 4], [0, *[1] * 8], [0, 1, 2, 1, 2, 1, 2, 1, 2]]
    assert side.ids[:, 9:].tolist() == [[3, 4]] * 3
    assert largest.ids[:, 9:].tolist() == [[5, 6]] * 3
    assert (side.deltas, largest.deltas) == (4 + 1 - 11, 6 + 1 - 11)


def test_time_goes_by_seconds() -> None:
    """Steps of 2 * 1.3 positions: 0, 2.6, 5.2, 7.8, each cut off."""
    ids, _ = ropecore.qwen2_5_vl_positions(VIDEO, [], [[4, 2, 4]], tokens_per_second=2, second_per_grid=[1.3])

    assert ids[0].tolist() == [0, 1, 1, 3, 3, 6, 6, 8, 8, 3, 4]
    assert ids[1, 1:9].tolist() == [1] * 8


def test_each_video_has_its_own_seconds() -> None:
    types = [2, 2, 0, 2, 2]
    ids, _ = ropecore.qwen2_5_vl_positions(
        types, [], [[2, 2, 2], [2, 2, 2]], tokens_per_second=4, second_per_grid=[0.5, 2.0]
    )

    assert ids[0].tolist() == [0, 2, 1, 2, 10]


def test_steps_are_float32_as_in_the_models() -> None:
    """3 * 0.7 is 2.0999999999999996 in float64 and 2.1 in float32: at frame 10 one is 20 and the
    other 21.
    """
    ids, _ = ropecore.qwen2_5_vl_positions([2] * 11, [], [[11, 2, 2]], tokens_per_second=3, second_per_grid=[0.7])

    assert int(10 * (3 * 0.7)) == 20
    assert ids[0, 10] == 21


def test_frames_between_timestamps() -> None:
    """Qwen3-VL and GLM-4V: each frame is a grid, and the text between tells the time."""
    types = [0, 2, 2, 0, 0, 2, 2, 0]
    for builder in (ropecore.qwen3_vl_positions, ropecore.glm4v_positions):
        ids, delta = builder(types, [], [[2, 2, 4]])
        assert ids.tolist() == [[0, 1, 1, 3, 4, 5, 5, 7], [0, 1, 1, 3, 4, 5, 5, 7], [0, 1, 2, 3, 4, 5, 6, 7]]
        assert delta == 0


def test_ernie_merges_frames_of_videos_alone() -> None:
    ids, _ = ropecore.ernie4_5_vl_positions([2, 2, 0, 1, 1], [[2, 2, 2]], [[4, 2, 2]])

    assert ids[0].tolist() == [0, 1, 1, 2, 3]


def test_images_side_by_side() -> None:
    ids, _ = ropecore.qwen2_vl_positions([1] * 6, [[1, 4, 4], [1, 2, 4]])

    assert ids.tolist() == [[0, 0, 0, 0, 2, 2], [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 2, 3]]


def test_rows_of_a_batch_take_grids_in_turn_and_padding_has_0() -> None:
    types = [[0, 0, 0, 1, 0], [1, 1, 0, 0, 0]]
    mask = [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]
    ids, deltas = ropecore.qwen2_vl_positions(types, [[1, 2, 2], [1, 4, 2]], mask=mask)

    assert ids.shape == (3, 2, 5)
    assert ids[1].tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 0]]
    assert deltas.tolist() == [0, 0]


def test_rows_do_not_inherit_from_another_row() -> None:
    """Field failure H8: each row's ids and delta are those it has alone."""
    first, second = [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]
    ids, deltas = ropecore.qwen2_vl_positions([first, second], [[1, 4, 4]])

    for row, types in enumerate((first, second)):
        alone = ropecore.qwen2_vl_positions(types, [[1, 4, 4]] if 1 in types else [])
        np.testing.assert_array_equal(ids[:, row], alone.ids)
        assert deltas[row] == alone.deltas
    assert deltas.tolist() == [-2, 0]


@pytest.mark.parametrize("family", BUILDERS)
def test_text_alone_is_text(family: str) -> None:
    ids, delta = BUILDERS[family]([0, 0, 0])

    np.testing.assert_array_equal(ids, ropecore.text_positions([0, 1, 2], 3))
    assert delta == 0
    assert BUILDERS[family]([]).ids.shape == (3, 0)


def test_types_of_tokens() -> None:
    tokens = [7, 50, 50, 7, 51, 8, 50, 9, 50]

    assert ropecore.vision_token_types(tokens, 50).tolist() == [0, 1, 1, 0, 0, 0, 1, 0, 1]
    assert ropecore.vision_token_types(tokens, 50, 51).tolist() == [0, 1, 1, 0, 2, 0, 1, 0, 1]
    assert ropecore.vision_token_types([tokens], 50, video_span=(8, 9)).tolist() == [[0, 1, 1, 0, 0, 0, 2, 0, 1]]


def test_patches_in_merge_order() -> None:
    """2 x 4 patches, merged 2 x 2: the four of the left token, then the four of the right one."""
    assert ropecore.vision_grid_positions([[1, 2, 4]], 2).tolist() == [
        [0, 0, 1, 1, 0, 0, 1, 1],
        [0, 1, 0, 1, 2, 3, 2, 3],
    ]
    assert ropecore.vision_grid_positions([[1, 2, 3]]).tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]


def test_patches_of_several_frames_and_grids() -> None:
    ids = ropecore.vision_grid_positions([[2, 1, 2], [1, 2, 2]], [1, 2], temporal=True)

    assert ids.tolist() == [[0, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]]
    assert ropecore.vision_grid_positions([]).shape == (2, 0)


def test_plans_take_them() -> None:
    plan = ropecore.RopeConfig(
        head_dim=16, base=100.0, pairing="half_split", axes=("t", "h", "w"), sections=(2, 3, 3)
    ).plan()
    tower = ropecore.RopeConfig(head_dim=8, base=100.0, pairing="half_split", axes=("h", "w"), sections=(2, 2)).plan()

    assert ropecore.angles(plan, ropecore.qwen2_vl_positions([0, 1, 0], [[1, 2, 2]]).ids).shape == (3, 8)
    assert ropecore.angles(tower, ropecore.vision_grid_positions([[1, 2, 4]], 2)).shape == (8, 4)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: ropecore.qwen2_vl_positions([1, 1], [[1, 4, 4]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([1] * 5, [[1, 4, 4]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([0], [[1, 4, 4]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([1] * 4, [], [[1, 4, 4]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([2] * 4), "video_grids"),
        (lambda: ropecore.qwen2_vl_positions([0, 2], [], [[2, 2, 2]]), "video_grids"),
        (lambda: ropecore.qwen2_vl_positions([1], [[1, 3, 2]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([1], [[1, 0, 2]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([1], [[1, 2]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([1], [[1.0, 2.0, 2.0]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([1], [[2**20, 2**20, 2**20]]), "image_grids"),
        (lambda: ropecore.qwen2_vl_positions([1], [[1, 2, 2]], merge=0), "merge"),
        (lambda: ropecore.qwen2_vl_positions([3]), "types"),
        (lambda: ropecore.qwen2_vl_positions([[[0]]]), "types"),
        (lambda: ropecore.qwen2_vl_positions([0.0]), "types"),
        (lambda: ropecore.qwen2_vl_positions([0, 0], mask=[1]), "mask"),
        (lambda: ropecore.qwen2_vl_positions([0, 0], mask=[1, 2]), "mask"),
        (lambda: ropecore.qwen2_vl_positions([0], next_position="grid"), "next_position"),
        (lambda: ropecore.qwen2_5_vl_positions([0], tokens_per_second=-1), "tokens_per_second"),
        (lambda: ropecore.qwen2_5_vl_positions([0], tokens_per_second=2, second_per_grid=[1.0]), "second_per_grid"),
        (lambda: timed(float("nan")), "second_per_grid"),
        (lambda: timed(-1.0), "second_per_grid"),
        (lambda: timed(2.0**40), "second_per_grid"),
        (lambda: ropecore.ernie4_5_vl_positions([2], [], [[3, 2, 2]]), "video_grids"),
        (lambda: ropecore.ernie4_5_vl_positions([2], [], [[2, 2, 2]], temporal_merge=0), "temporal_merge"),
        (lambda: ropecore.vision_token_types([0.5], 1), "ids"),
        (lambda: ropecore.vision_token_types([1], "image"), "image_token"),
        (lambda: ropecore.vision_grid_positions([[1, 3, 4]], 2), "grids"),
        (lambda: ropecore.vision_grid_positions([[1, 4, 4]], [2, 2]), "merge"),
        (lambda: ropecore.vision_grid_positions([[1, 4, 4]], 0), "merge"),
    ],
)
def test_wrong_input_is_refused(call, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        call()

    assert refusal.value.argument == argument


def timed(seconds: float) -> None:
    ropecore.qwen2_5_vl_positions([2, 2], [], [[2, 2, 2]], tokens_per_second=2, second_per_grid=[seconds])
