"""Positions of vision-language models against transformers' own functions; runs where transformers
is installed.
"""

import functools
import importlib
import importlib.util
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ropecore

if importlib.util.find_spec("transformers") is None or importlib.util.find_spec("torch") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)

import torch
from transformers.vision_utils import get_vision_position_ids

QWEN2 = ("qwen2_vl", "paddleocr_vl")
QWEN3 = (
    "qwen3_vl",
    "qwen3_vl_moe",
    "qwen3_5",
    "qwen3_5_moe",
    "qwen4_exp",
    "cohere_compass",
    "cosmos3_edge",
    "cosmos3_omni",
)
GLM = ("glm4v", "glm4v_moe", "glm46v", "glm_ocr")
TOKENS_PER_SECOND = 2
MERGE = 2
IMAGE, VIDEO, AUDIO, VISION_START, VISION_END, AUDIO_START = 100, 101, 102, 103, 104, 105


def model_class(folder: str, method: str = "get_rope_index") -> Any:
    """The class of a model's file that has the method, so that it can be called without building a
    model.
    """
    module = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
    return next(c for c in vars(module).values() if isinstance(c, type) and method in vars(c))


def their_positions(folder: str, types: np.ndarray, **arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    """ids and deltas of a model's own get_rope_index, with no more of the model than it reads."""
    owner = model_class(folder)
    vision = SimpleNamespace(spatial_merge_size=MERGE, tokens_per_second=TOKENS_PER_SECOND, temporal_merge_size=2)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    model.get_vision_position_ids = functools.partial(owner.get_vision_position_ids, model)
    tokens = torch.zeros(types.shape, dtype=torch.long)
    arguments = {name: torch.tensor(np.array(value)) for name, value in arguments.items() if len(value)}
    ids, deltas = owner.get_rope_index(model, tokens, torch.tensor(types), **arguments)
    return ids.numpy(), deltas.numpy()[:, 0]


class Batch:
    """Rows of text with images and videos in random places, padded to one length."""

    def __init__(self, seed: int, split_frames: bool, temporal_merge: int = 1) -> None:
        self.random = random.Random(seed)
        self.images: list[tuple[int, int, int]] = []
        self.videos: list[tuple[int, int, int]] = []
        rows = [self._row(split_frames, temporal_merge) for _ in range(3)]
        length = max(map(len, rows)) + 1
        left = self.random.random() < 0.5
        pads = [[0] * (length - len(row)) for row in rows]
        self.types = np.array([pad + row if left else row + pad for row, pad in zip(rows, pads, strict=True)])
        kept = [[1] * len(row) for row in rows]
        self.mask = np.array([pad + row if left else row + pad for row, pad in zip(kept, pads, strict=True)])

    def _row(self, split_frames: bool, temporal_merge: int) -> list[int]:
        row = self._text()
        for _ in range(self.random.randrange(4)):
            h, w = (MERGE * self.random.randint(1, 4) for _ in "hw")
            tokens = h * w // MERGE**2
            if self.random.random() < 0.5:
                self.images.append((1, h, w))
                row += [1] * tokens
            else:
                t = temporal_merge * self.random.randint(1, 5)
                self.videos.append((t, h, w))
                for _ in range(t if split_frames else 1):
                    row += [2] * (tokens if split_frames else tokens * t // temporal_merge) + self._text()
            row += self._text()
        return row

    def _text(self) -> list[int]:
        return [0] * self.random.randint(1, 5)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"image_grid_thw": self.images, "video_grid_thw": self.videos, "attention_mask": self.mask}


def check(folder: str, batch: Batch, ours: ropecore.vision_positions.VisionPositions, **arguments: Any) -> None:
    ids, deltas = their_positions(folder, batch.types, **batch.arguments, **arguments)

    np.testing.assert_array_equal(ours.ids, ids)
    np.testing.assert_array_equal(ours.deltas, deltas)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("folder", QWEN2)
def test_qwen2_vl(folder: str, seed: int) -> None:
    batch = Batch(seed, split_frames=False)

    check(folder, batch, ropecore.qwen2_vl_positions(batch.types, batch.images, batch.videos, mask=batch.mask))


@pytest.mark.parametrize("kind", [np.float32, float])
@pytest.mark.parametrize("seed", range(20))
def test_qwen2_5_vl(seed: int, kind: type) -> None:
    """Seconds as processors give them: float32 tensors, or lists of floats."""
    batch = Batch(seed, split_frames=False)
    seconds = np.random.default_rng(seed).uniform(0.02, 3.0, len(batch.videos)).astype(kind)
    ours = ropecore.qwen2_5_vl_positions(
        batch.types,
        batch.images,
        batch.videos,
        mask=batch.mask,
        tokens_per_second=TOKENS_PER_SECOND,
        second_per_grid=seconds,
    )

    check("qwen2_5_vl", batch, ours, second_per_grid_ts=seconds)


@pytest.mark.parametrize("seed", range(5))
def test_qwen2_5_vl_without_seconds(seed: int) -> None:
    batch = Batch(seed, split_frames=False)

    check(
        "qwen2_5_vl",
        batch,
        ropecore.qwen2_5_vl_positions(
            batch.types, batch.images, batch.videos, mask=batch.mask, tokens_per_second=TOKENS_PER_SECOND
        ),
    )


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("folder", [*QWEN3, *GLM])
def test_models_that_split_videos_by_timestamps(folder: str, seed: int) -> None:
    batch = Batch(seed, split_frames=True)
    builder = ropecore.glm4v_positions if folder in GLM else ropecore.qwen3_vl_positions

    check(folder, batch, builder(batch.types, batch.images, batch.videos, mask=batch.mask))


@pytest.mark.parametrize("seed", range(20))
def test_ernie(seed: int) -> None:
    batch = Batch(seed, split_frames=False, temporal_merge=2)

    check(
        "ernie4_5_vl_moe",
        batch,
        ropecore.ernie4_5_vl_positions(batch.types, batch.images, batch.videos, mask=batch.mask),
    )


@pytest.mark.parametrize("seed", range(20))
def test_largest_id_is_the_policy_of_qwen2_5_omni(seed: int) -> None:
    """Omni goes on after the largest id, as vLLM does for all models; each of its grids stands
    between two marks.
    """
    rng = random.Random(seed)
    tokens, images, videos, seconds = [1], [], [], []
    for _ in range(rng.randint(1, 4)):
        h, w = (MERGE * rng.randint(1, 4) for _ in "hw")
        is_video = rng.random() < 0.6
        t = rng.randint(1, 6) if is_video else 1
        (videos if is_video else images).append((t, h, w))
        seconds += [rng.choice([0.25, 0.5, 1.0, 2.0])] * is_video
        grid = [VIDEO if is_video else IMAGE] * (t * h * w // MERGE**2)
        tokens += [1] * rng.randint(0, 3) + [VISION_START, *grid, VISION_END]
    tokens += [1] * rng.randint(0, 3)

    config = SimpleNamespace(
        image_token_id=IMAGE, video_token_id=VIDEO, audio_token_id=AUDIO, vision_start_token_id=VISION_START,
        audio_start_token_id=AUDIO_START, position_id_per_seconds=TOKENS_PER_SECOND, seconds_per_chunk=2,
    )  # fmt: skip
    owner = model_class("qwen2_5_omni")
    model = SimpleNamespace(config=config, spatial_merge_size=MERGE)
    model.get_llm_pos_ids_for_vision = functools.partial(owner.get_llm_pos_ids_for_vision, model)
    grids = {"image_grid_thw": images, "video_grid_thw": videos}
    theirs, deltas = owner.get_rope_index(
        model, torch.tensor([tokens]), second_per_grids=torch.tensor(seconds),
        **{name: torch.tensor(grid) for name, grid in grids.items() if grid},
    )  # fmt: skip
    ours = ropecore.qwen2_5_vl_positions(
        ropecore.vision_token_types(tokens, IMAGE, VIDEO), images, videos, tokens_per_second=TOKENS_PER_SECOND,
        second_per_grid=seconds, next_position="largest_id",
    )  # fmt: skip

    np.testing.assert_array_equal(ours.ids, theirs[:, 0].numpy())
    assert ours.deltas == deltas.item()


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_ids_of_vision_towers(seed: int, temporal: bool) -> None:
    rng = np.random.default_rng(seed)
    merges = rng.integers(1, 4, 5)
    grids = np.column_stack([rng.integers(1, 4, 5), *(merges * rng.integers(1, 5, 5) for _ in "hw")])

    theirs = get_vision_position_ids(torch.tensor(grids), torch.tensor(merges), include_temporal=temporal)
    np.testing.assert_array_equal(ropecore.vision_grid_positions(grids, merges, temporal=temporal), theirs.T)

    same = np.column_stack([grids[:, 0], grids[:, 1:] * 2])
    np.testing.assert_array_equal(
        ropecore.vision_grid_positions(same, 2, temporal=temporal),
        get_vision_position_ids(torch.tensor(same), 2, include_temporal=temporal).T,
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_batches_can_tell_the_policies_apart(seed: int) -> None:
    """Otherwise the tests above would prove little: among these batches, some videos last longer
    than they are wide.
    """
    batches = [Batch(20 * seed + i, split_frames=False) for i in range(20)]
    differ = [
        not np.array_equal(
            *(
                ropecore.qwen2_vl_positions(b.types, b.images, b.videos, mask=b.mask, next_position=policy).ids
                for policy in ropecore.vision_positions.NEXT_POSITIONS
            )
        )
        for b in batches
    ]

    assert any(differ)
