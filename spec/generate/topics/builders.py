"""Builders of positions for images and videos: each family, and each of its arguments (R-7.9 to
R-7.11).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..cases import Case, positions

Part: TypeAlias = int | tuple[str, list[int]]  # so much text, or a grid of patches of a kind
KINDS = {"image": 1, "video": 2}
IMAGE, TALL, VIDEO, LONG = [1, 4, 6], [1, 8, 4], [3, 4, 4], [6, 2, 4]


@dataclass(frozen=True)
class Family:
    """How a family counts frames."""

    builder: str
    split: bool = False  # each frame is a grid of its own
    temporal_merge: int = 1
    tokens_per_second: float | None = None
    seconds: tuple[float, ...] | None = None

    def steps(self, videos: int) -> list[float]:
        """Return the positions from one frame to the next, of each video."""
        if self.tokens_per_second is None:
            return [1.0] * videos
        return [single(self.tokens_per_second * second) for second in self.seconds or [1.0] * videos]


def single(number: float) -> float:
    """Return a number rounded to float32."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


QWEN2, QWEN3, GLM = (
    Family("qwen2_vl_positions"),
    Family("qwen3_vl_positions", split=True),
    Family("glm4v_positions", split=True),
)
ERNIE = Family("ernie4_5_vl_positions", temporal_merge=2)


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from families()
    yield from timed()
    yield from batches()
    yield from merges()
    yield from others()


def families() -> Iterator[Case]:
    """Yield the same text with an image and a video, as each family counts it."""
    frames: list[Part] = [2, ("video", [1, 4, 4]), 1, ("video", [1, 4, 4]), 1, ("image", IMAGE), 2]
    whole: list[Part] = [2, ("video", VIDEO), 1, ("image", IMAGE), 2]
    for how in ("longest_side", "largest_id"):
        yield built(f"qwen2_vl/{how}", QWEN2, [whole], "a video is one grid", how=how)
        yield built(f"qwen3_vl/{how}", QWEN3, [frames], "text between two frames", {"video": [[2, 4, 4]]}, how=how)
        yield built(f"glm4v/{how}", GLM, [frames], "text between two frames", {"video": [[2, 4, 4]]}, how=how)
        yield built(
            f"ernie4_5_vl/{how}", ERNIE, [[2, ("video", LONG), 1, ("image", TALL), 2]], "6 frames are 3", how=how
        )
    yield built("qwen3_vl/touching", QWEN3, [[1, ("video", VIDEO), 2]], "three frames with nothing between them")
    one = Family("ernie4_5_vl_positions", temporal_merge=1)
    yield built("ernie4_5_vl/temporal_merge_1", one, [[2, ("video", LONG), 2]], "6 frames stay 6")
    three = Family("ernie4_5_vl_positions", temporal_merge=3)
    yield built("ernie4_5_vl/temporal_merge_3", three, [[2, ("video", LONG), 2]], "6 frames are 2")


def timed() -> Iterator[Case]:
    """Yield videos whose frames are so many seconds apart (R-7.9, 2)."""
    given: tuple[tuple[str, float, tuple[float, ...] | None, list[Part], str], ...] = (
        ("seconds", 2.0, (1.5,), [1, ("video", VIDEO), 2], "frames 3 apart"),
        ("truncated", 2.0, (0.625,), [1, ("video", LONG), 2], "frames 1.25 apart: 0, 1, 2, 3, 5, 6"),
        ("one_second", 3.0, None, [1, ("video", VIDEO), 2], "a second apart, where nothing is said"),
        ("still", 0.0, (2.0,), [1, ("video", VIDEO), 2], "no token a second: all frames at the start"),
        ("two", 4.0, (0.5, 0.25), [("video", VIDEO), 1, ("video", LONG), 1], "two videos, each with its own seconds"),
        ("image", 4.0, None, [1, ("image", IMAGE), 2], "an image has one frame"),
        (
            "float32",
            1.0,
            (0.29,),
            [1, ("video", [101, 2, 2]), 1],
            "100 times 0.29 is 29 in float32, and less in binary64",
        ),
    )
    for label, rate, seconds, parts, comment in given:
        family = Family("qwen2_5_vl_positions", tokens_per_second=rate, seconds=seconds)
        yield built(f"qwen2_5_vl/{label}", family, [parts], comment)
    family = Family("qwen2_5_vl_positions", tokens_per_second=2.0, seconds=(1.5,))
    yield built("qwen2_5_vl/largest_id", family, [[1, ("video", VIDEO), 2]], "text goes on behind", how="largest_id")


def batches() -> Iterator[Case]:
    """Yield rows of a batch, with padding and without (R-7.7, R-7.10)."""
    rows: list[list[Part]] = [[2, ("image", IMAGE), 1], [1, ("image", TALL)]]
    timely = Family("qwen2_5_vl_positions", tokens_per_second=2.0, seconds=None)
    for family in (QWEN2, timely, QWEN3, GLM, ERNIE):
        name = family.builder.removesuffix("_positions")
        yield built(f"{name}/rows", family, rows, "two rows take the grids in turn")
        yield built(f"{name}/padded", family, [*rows, [4]], "padding before and behind", pads=((1, 2), (3, 0), (0, 8)))
    yield built("qwen2_vl/text", QWEN2, [[5]], "text alone")


def merges() -> Iterator[Case]:
    """Yield other sizes of a token than 2 x 2 patches."""
    timely = Family("qwen2_5_vl_positions", tokens_per_second=2.0, seconds=None)
    for family in (QWEN2, timely, QWEN3, GLM, ERNIE):
        name = family.builder.removesuffix("_positions")
        parts: list[Part] = [1, ("image", [1, 3, 6]), 1]
        yield built(f"{name}/merge_1", family, [parts], "a patch is a token", merge=1)
        yield built(f"{name}/merge_3", family, [parts], "3 x 3 patches are a token", merge=3)


def others() -> Iterator[Case]:
    """Yield towers with a merge of its own for each grid."""
    grids, sizes = [[1, 4, 6], [2, 3, 3]], [2, 3]
    ids = [place for grid, merge in zip(grids, sizes, strict=True) for place in tower(grid, merge)]
    arguments = {"grids": grids, "merge": sizes, "temporal": True}
    about = ("R-7.11", "M77", "blocks of 2 x 2 patches, then of 3 x 3")
    result = [[place[axis] for place in ids] for axis in range(3)]
    yield positions("builders/vision_grid/merges", "vision_grid_positions", arguments, about, result)


def built(
    label: str,
    family: Family,
    rows: list[list[Part]],
    comment: str,
    given: dict[str, list[list[int]]] | None = None,
    how: str = "longest_side",
    merge: int = 2,
    pads: tuple[tuple[int, int], ...] | None = None,
) -> Case:
    """Return a case: the rows of a batch, of which one alone has no dimension."""
    found = {
        kind: [part[1] for row in rows for part in row if not isinstance(part, int) and part[0] == kind]
        for kind in KINDS
    }
    steps = iter(family.steps(len(found["video"])))
    made = [row_of(family, row, how, merge, steps) for row in rows]
    padded = pads or ((0, 0),) * len(rows)
    types, mask, places = [], [], []
    for (kinds, ids), (before, behind) in zip(made, padded, strict=True):
        types.append([0] * before + kinds + [0] * behind)
        mask.append([0] * before + [1] * len(kinds) + [0] * behind)
        places.append([[0] * 3] * before + ids + [[0] * 3] * behind)
    deltas = [1 + max(max(place) for place in ids) - len(ids) for _, ids in made]
    found |= given or {}
    arguments: dict[str, Any] = {"types": types, "image_grids": found["image"], "video_grids": found["video"]}
    axes = [[[place[axis] for place in row] for row in places] for axis in range(3)]
    result: dict[str, Any] = {"ids": axes, "deltas": deltas}
    if len(rows) == 1:
        arguments["types"], result = types[0], {"ids": [axis[0] for axis in axes], "deltas": deltas[0]}
    arguments |= {"merge": merge, "next_position": how}
    if pads:
        arguments["mask"] = mask
    if family.tokens_per_second is not None:
        arguments["tokens_per_second"] = family.tokens_per_second
    if family.seconds is not None:
        arguments["second_per_grid"] = list(family.seconds)
    if family.builder == ERNIE.builder:
        arguments["temporal_merge"] = family.temporal_merge
    rules = "R-7.6 R-7.7 R-7.9 R-7.10" if pads else "R-7.6 R-7.9 R-7.10"
    return positions(f"builders/{label}", family.builder, arguments, (rules, "M77", comment), result)


def row_of(
    family: Family, parts: list[Part], how: str, merge: int, steps: Iterator[float]
) -> tuple[list[int], list[list[int]]]:
    """Return the kind and the place of each token of a row (R-7.9, R-7.10)."""
    kinds: list[int] = []
    places: list[list[int]] = []
    p = 0
    for part in parts:
        if isinstance(part, int):
            kinds += [0] * part
            places += [[p + i] * 3 for i in range(part)]
            p += part
            continue
        kind, (frames, rows, columns) = part[0], part[1]
        step = next(steps) if kind == "video" else 1.0
        frames //= family.temporal_merge if kind == "video" else 1
        for count in [1] * frames if family.split and kind == "video" else [frames]:
            grid = [
                [p + int(single(frame * step)), p + row, p + column]
                for frame in range(count)
                for row in range(rows // merge)
                for column in range(columns // merge)
            ]
            kinds += [KINDS[kind]] * len(grid)
            places += grid
            p = p + max(rows, columns) // merge if how == "longest_side" else 1 + max(max(place) for place in grid)
    return kinds, places


def tower(grid: list[int], merge: int) -> list[list[int]]:
    """Return the place (t, h, w) of each patch, block by block (R-7.11)."""
    frames, rows, columns = grid
    blocks = [(frame, i, k) for frame in range(frames) for i in range(rows // merge) for k in range(columns // merge)]
    inside = [(i, k) for i in range(merge) for k in range(merge)]
    return [[frame, merge * i + row, merge * k + column] for frame, i, k in blocks for row, column in inside]
