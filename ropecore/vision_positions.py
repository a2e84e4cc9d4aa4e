"""Positions of vision-language models: (t, h, w) ids of text with images and videos, and 2-D ids of
vision towers (rope.md chapter 7).

A grid (t, h, w) counts patches, as image processors give it; `merge` x `merge` patches become one
token of the language model. Text has one position on the three axes.  The token of frame i, row j
and column k of a grid that starts at position p has (p + i step, p + j, p + k).  Families differ in
the step, in how videos are split, and programs in where the text after a grid goes on.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from ropecore.arguments import Count, Flag, InRange, ListOf, Natural, NotNegative, OneOf, Whole, checked
from ropecore.arrays import LARGEST_POSITION, integers, like
from ropecore.errors import RopeError, has
from ropecore.lanes import IntArray
from ropecore.positions import mask_of

TEXT, IMAGE, VIDEO = 0, 1, 2
NEXT_POSITIONS = ("longest_side", "largest_id")
MOST_PATCHES = 1 << 24  # of all grids of a call
NextPosition = Annotated[str, OneOf(NEXT_POSITIONS)]
Seconds = Annotated[Sequence[float], ListOf(InRange(at_least=0), "seconds", numbered=False)]
Span = Annotated[tuple[int, int], ListOf(Whole(), "tokens", 2, 2, numbered=False)]


class VisionPositions(NamedTuple):
    """Positions of text with images and videos.

    ids: (3, s) or (3, b, s), the axes t, h, w first, as plans take them; padding has 0. deltas: ()
    or (b,); the token that is generated at index i, padding not counted, has position i + delta on
    every axis.
    """

    ids: Any
    deltas: Any


class _Grid(NamedTuple):
    """The tokens of an image, a video or a frame of one: sizes in tokens, and positions from one
    frame to the next.
    """

    t: int
    h: int
    w: int
    step: np.float32 = np.float32(1)


@checked
def vision_token_types(
    ids: Any, image_token: Natural, video_token: Natural | None = None, video_span: Span | None = None
) -> Any:
    """Return for each token of ids (..) whether it is text (0), of an image (1) or of a video (2).

    image_token, video_token: ids of the placeholders.  video_span: ids of the tokens that open and
    close a video, where its frames are made of image tokens (GLM-4V).  The result is
    `mm_token_type_ids` in transformers.
    """
    tokens = integers("ids", ids)
    types = np.where(tokens == image_token, IMAGE, TEXT)
    if video_token is not None:
        types = np.where(tokens == video_token, VIDEO, types)
    if video_span is not None:
        if not tokens.ndim:
            raise RopeError("ids", ids, "must have a dimension of tokens", rule="R-12.5")
        start, end = video_span
        opened = np.cumsum(tokens == start, axis=-1) - np.cumsum(tokens == end, axis=-1)
        types = np.where((types == IMAGE) & (opened > 0), VIDEO, types)
    return like(ids)(types.astype(np.int64))


@checked
def qwen2_vl_positions(
    types: Any, image_grids: Any = (), video_grids: Any = (), *, merge: Count = 2,
    mask: Any = None, next_position: NextPosition = "longest_side",
) -> VisionPositions:  # fmt: skip
    """Return the positions of Qwen2-VL (and PaddleOCR-VL): a video is one grid, and its frames are
    one position apart.

    types: (s) or (b, s), 0 text, 1 image, 2 video; see `vision_token_types`.  A grid's tokens
    follow each other. image_grids, video_grids: (n, 3), patches (t, h, w), in the order of the
    tokens, row by row of the batch. merge: patches a side of a token.  mask: 0 at padding, in the
    shape of types. next_position: where text goes on after a grid at p: "longest_side": p + max(h,
    w) / merge (transformers); "largest_id": one after the largest id so far (vLLM, SGLang,
    Qwen2.5-Omni).  They differ where a video lasts longer than it is wide.  `deltas` go by the
    largest id in both, as in all these programs. RopeError if tokens and grids do not fit.  Rules
    R-7.6, R-7.7, R-7.9, R-7.10; `get_rope_index` of transformers' qwen2_vl.
    """
    images, videos = _grids("image_grids", image_grids, merge), _grids("video_grids", video_grids, merge)
    return _positions(types, images, videos, mask, next_position)


@checked
def qwen2_5_vl_positions(
    types: Any, image_grids: Any = (), video_grids: Any = (), *, tokens_per_second: NotNegative,
    second_per_grid: Seconds | None = None, merge: Count = 2, mask: Any = None,
    next_position: NextPosition = "longest_side",
) -> VisionPositions:  # fmt: skip
    """Return the positions of Qwen2.5-VL: frame i of a video is trunc(i tokens_per_second
    second_per_grid) after its start.

    tokens_per_second: of the vision configuration (2 in released models).  second_per_grid: seconds
    from frame to frame, one a video (None: 1 each).  The product is float32, as in transformers and
    vLLM, so that truncation meets the same integers; as there, images have no step.  Else as
    `qwen2_vl_positions`.  Rule R-7.9; `get_rope_index` of transformers' qwen2_5_vl.
    """
    images, videos = _grids("image_grids", image_grids, merge), _grids("video_grids", video_grids, merge)
    seconds = (1.0,) * len(videos) if second_per_grid is None else second_per_grid
    if len(seconds) != len(videos):
        raise RopeError("second_per_grid", len(seconds), f"must have one entry a video, {len(videos)}", rule="R-12.7")
    far = max((tokens_per_second * second for second in seconds), default=0.0)
    if not far <= LARGEST_POSITION:
        raise RopeError("second_per_grid", seconds, "makes positions beyond 2^31 - 1", rule="R-7.1")
    timed = [grid._replace(step=np.float32(tokens_per_second * s)) for grid, s in zip(videos, seconds, strict=True)]
    return _positions(types, images, timed, mask, next_position)


@checked
def qwen3_vl_positions(
    types: Any, image_grids: Any = (), video_grids: Any = (), *, merge: Count = 2,
    mask: Any = None, next_position: NextPosition = "longest_side",
) -> VisionPositions:  # fmt: skip
    """Return the positions of Qwen3-VL (also Qwen3.5 and Cohere Compass): each frame of a video is
    a grid of its own.

    Time is said by text between the frames, so a grid's t ids are all its start.  Else as
    `qwen2_vl_positions`. `get_rope_index` of transformers' qwen3_vl.
    """
    images, videos = _grids("image_grids", image_grids, merge), _grids("video_grids", video_grids, merge)
    frames = [grid._replace(t=1) for grid in videos for _ in range(grid.t)]
    return _positions(types, images, frames, mask, next_position)


@checked
def glm4v_positions(
    types: Any, image_grids: Any = (), video_grids: Any = (), *, merge: Count = 2,
    mask: Any = None, next_position: NextPosition = "longest_side",
) -> VisionPositions:  # fmt: skip
    """Return the positions of GLM-4V (also 4.5V, 4.6V and GLM-OCR): those of Qwen3-VL, by
    `get_rope_index` of transformers' glm4v.

    A video's frames are image tokens between two tokens that open and close it:
    `vision_token_types` with video_span tells them.
    """
    return qwen3_vl_positions(types, image_grids, video_grids, merge=merge, mask=mask, next_position=next_position)


@checked
def ernie4_5_vl_positions(
    types: Any, image_grids: Any = (), video_grids: Any = (), *, merge: Count = 2,
    temporal_merge: Count = 2, mask: Any = None, next_position: NextPosition = "longest_side",
) -> VisionPositions:  # fmt: skip
    """Return the positions of Ernie 4.5 VL: `temporal_merge` frames of a video become one; the ids
    are t, h, w as everywhere.

    (That its pairs go h, w, .., t is said by the plan's axis_order.)  Else as `qwen2_vl_positions`.
    `get_rope_index` of transformers' ernie4_5_vl_moe.
    """
    images = _grids("image_grids", image_grids, merge)
    videos = _grids("video_grids", video_grids, merge, temporal_merge)
    return _positions(types, images, videos, mask, next_position)


def _merges(argument: str, value: Any) -> int | tuple[int, ...]:
    """Return patches a side of a token: one number, or one a grid."""
    one = Whole(at_least=1)
    several = isinstance(value, (list, tuple)) or (has(value, "ndim") and bool(value.ndim))
    merges: int | tuple[int, ...] = (
        ListOf(one, "integers", numbered=False)(argument, value) if several else one(argument, value)
    )
    return merges


@checked
def vision_grid_positions(grids: Any, merge: Annotated[Any, _merges] = 1, *, temporal: Flag = False) -> Any:
    """Return the (h, w) ids of a vision tower's patches, (2, n), or with `temporal` the (t, h, w)
    ids, (3, n).

    grids: (m, 3), patches (t, h, w); n is the sum of t h w.  Patches come in merge order: the merge
    x merge patches of a token after each other, tokens in rows; merge 1 is raster order.  merge:
    one number, or one a grid.  Frames repeat the ids of the first. Axes come first, as plans take
    them: the transpose of `vision_utils.get_vision_position_ids` in transformers.  Rules R-7.3,
    R-7.11.
    """
    sizes = _sizes("grids", grids)
    merges = [merge] * len(sizes) if isinstance(merge, int) else merge
    if len(merges) != len(sizes):
        raise RopeError("merge", len(merges), f"must be one number, or one a grid, {len(sizes)}", rule="R-12.7")
    parts = [_tower_ids(grid, m) for grid, m in zip(sizes, merges, strict=True)]
    ids = np.concatenate(parts, axis=1) if parts else np.zeros((3, 0), np.int64)
    return like(grids)(ids if temporal else ids[1:])


def _tower_ids(grid: Sequence[int], merge: int) -> IntArray:
    """Return the (t, h, w) ids (3, t h w) of a grid of patches in merge order."""
    t, h, w = grid
    _check_merge("grids", grid, merge)
    blocks = (h // merge, merge, w // merge, merge)
    rows, columns = (ids.reshape(blocks).swapaxes(1, 2).ravel() for ids in np.indices((h, w)))
    return np.stack([np.repeat(np.arange(t), h * w), np.tile(rows, t), np.tile(columns, t)])


def _positions(types: Any, images: list[_Grid], videos: list[_Grid], mask: Any, next_position: str) -> VisionPositions:
    """Return the positions of tokens whose grids are known; the rows of a
    batch take grids in turn.
    """
    kinds = integers("types", types)
    if kinds.ndim not in (1, 2) or not np.isin(kinds, (TEXT, IMAGE, VIDEO)).all():
        raise RopeError(
            "types", kinds.shape, "must be 0 (text), 1 (image) and 2 (video), of shape (s) or (b, s)", rule="R-12.5"
        )
    kept = np.ones(kinds.shape, np.int64) if mask is None else mask_of("mask", mask)
    if kept.shape != kinds.shape:
        raise RopeError("mask", kept.shape, f"must have the shape of types, {kinds.shape}", rule="R-7.7")
    left = {IMAGE: iter(images), VIDEO: iter(videos)}
    ids = np.zeros((3, *np.atleast_2d(kinds).shape), np.int64)
    deltas = []
    for row, (row_kinds, row_kept) in enumerate(
        zip(np.atleast_2d(kinds), np.atleast_2d(kept).astype(bool), strict=True)
    ):
        of_row = _row_positions(row_kinds[row_kept], left, next_position)
        ids[:, row, row_kept] = of_row
        deltas.append(of_row.max(initial=-1) + 1 - of_row.shape[1])
    for argument, kind in (("image_grids", IMAGE), ("video_grids", VIDEO)):
        extra = sum(1 for _ in left[kind])
        if extra:
            raise RopeError(
                argument, f"{extra} of them", "have no tokens", "Is a token's type wrong, or text cut off?", "R-12.5"
            )
    own, shape = like(types), (3, *kinds.shape)
    within = integers("ids", ids.reshape(shape))  # refuses those that came to lie too far
    return VisionPositions(own(within), own(np.array(deltas, np.int64).reshape(kinds.shape[:-1])))


def _row_positions(kinds: IntArray, left: dict[int, Iterator[_Grid]], next_position: str) -> IntArray:
    """Return the ids (3, n) of one row without padding."""
    parts, index, position = [np.zeros((3, 0), np.int64)], 0, 0
    while index < len(kinds):
        kind = int(kinds[index])
        others = np.flatnonzero(kinds[index:] != kind)
        run = int(others[0]) if len(others) else len(kinds) - index  # tokens of this kind from here on
        if kind == TEXT:
            ids = np.broadcast_to(np.arange(run), (3, run))
            size, advance = run, run
        else:
            grid = _next_grid(left, kind, index, run)
            ids = _grid_ids(grid)
            size, advance = grid.t * grid.h * grid.w, max(grid.h, grid.w)
            if next_position == "largest_id":
                advance = int(ids.max()) + 1
        parts.append(ids + position)
        index, position = index + size, position + advance
    return np.concatenate(parts, axis=1)


def _next_grid(left: dict[int, Iterator[_Grid]], kind: int, index: int, run: int) -> _Grid:
    """Return the next grid of this kind, or refuse tokens that it does not fill."""
    grid = next(left[kind], None)
    argument = "image_grids" if kind == IMAGE else "video_grids"
    if grid is None:
        raise RopeError(argument, None, f"has no grid left for the tokens at index {index}", rule="R-12.5")
    if grid.t * grid.h * grid.w > run:
        reason = f"has {grid.t * grid.h * grid.w} tokens, and at index {index} there are {run}"
        cure = "Grids count patches; is merge right, and does a video need its own kind of model?"
        raise RopeError(argument, tuple(grid[:3]), reason, cure, "R-12.5")
    return grid


def _grid_ids(grid: _Grid) -> IntArray:
    """Return the ids (3, t h w) of a grid that starts at 0."""
    times = np.arange(grid.t, dtype=np.float32) * grid.step
    if times[-1] > LARGEST_POSITION:
        raise RopeError("second_per_grid", float(grid.step), "makes positions beyond 2^31 - 1", rule="R-7.1")
    axes = np.meshgrid(times.astype(np.int64), np.arange(grid.h), np.arange(grid.w), indexing="ij")
    return np.stack(axes).reshape(3, -1)


def _grids(argument: str, grids: Any, merge: int, temporal_merge: int = 1) -> list[_Grid]:
    """Return grids of patches as grids of tokens."""
    sizes = _sizes(argument, grids)
    for t, h, w in sizes:
        _check_merge(argument, (t, h, w), merge)
        if t % temporal_merge:
            raise RopeError(
                argument, (t, h, w), f"t is not a multiple of temporal_merge={temporal_merge}", rule="R-12.7"
            )
    return [_Grid(t // temporal_merge, h // merge, w // merge) for t, h, w in sizes]


def _sizes(argument: str, grids: Any) -> list[tuple[int, int, int]]:
    """Return grids as tuples (t, h, w) of sizes above 0."""
    sizes = integers(argument, grids)
    if sizes.size == 0:
        return []
    if sizes.ndim != 2 or sizes.shape[1] != 3 or sizes.min() < 1:
        raise RopeError(argument, grids, "must be sizes (t, h, w) above 0, one row a grid", rule="R-12.7")
    if sum(math.prod(grid) for grid in sizes.tolist()) > MOST_PATCHES:
        raise RopeError(argument, grids, f"have more than {MOST_PATCHES} patches", rule="R-12.7")
    return [(t, h, w) for t, h, w in sizes.tolist()]


def _check_merge(argument: str, grid: Sequence[int], merge: int) -> None:
    if grid[1] % merge or grid[2] % merge:
        cure = "Image processors make sizes that are; does the grid count tokens already?"
        raise RopeError(argument, tuple(grid), f"h and w are not multiples of merge={merge}", cure, "R-12.7")
