"""Positions: lists in any order, rows, offsets, packed tokens, and the builders (chapter 7)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, positions, rotate, wrapped
from .common import PAIRINGS, config, name


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from lists(pairing)
        yield from rows(pairing)
        yield from offsets(pairing)
    yield from single()
    yield from packed()
    yield from outside()
    yield from builders()


def lists(pairing: str) -> Iterator[Case]:
    """Yield lists that are used as they are given (R-7.2)."""
    given: tuple[tuple[str, list[int], str, str], ...] = (
        ("falling", [5, 3], "M26", "not rising"),
        ("repeated", [4, 4, 0, 4, 1], "M26", "the same position several times"),
        ("gaps", [0, 1, 7, 8, 100], "M26 M35 M36", "not contiguous: a cache with evicted tokens"),
        ("negative", [-1, -5, 2, -257], "M32 M33 M34", "before the start"),
        ("far", [40000, 65535, 65536, 8191], "M35 M36 M38", "beyond 15 and 16 bits, and beyond common tables"),
        ("farther", [131071, 1048576, 3, 33554433], "M35 M36 M38 M39", "beyond any table"),
        ("ends", [2147483647, -2147483647], "M32 M33 M39", "the largest and the smallest position"),
    )
    for label, ids, flags, comment in given:
        about = ("R-7.2" + (" R-7.1" if label == "ends" else ""), flags, comment)
        yield rotate(f"positions/{pairing}_lists/{label}", config(pairing), about, x=[1, 2, len(ids), 8], positions=ids)


def rows(pairing: str) -> Iterator[Case]:
    """Yield positions by batch row (R-7.3)."""
    given: tuple[tuple[str, list[int], Any, str, str], ...] = (
        ("two", [2, 1, 2, 8], [[0, 1], [7, 8]], "M27", "each row its own"),
        ("unsorted", [3, 2, 2, 8], [[5, 3], [0, 9], [-4, 70]], "M26 M27", "each row its own, in no order"),
        ("one_row", [3, 2, 2, 8], [[6, 2]], "M29", "one row for a batch of 3"),
        ("one_token", [2, 3, 1, 8], [[4], [11]], "M27 M28", "a decode step: one token a row, each at its place"),
        (
            "square",
            [2, 2, 2, 8],
            [[1, 6], [3, 2]],
            "M27 M29 M41",
            "as many rows as heads and tokens: nothing but the values shows which is which",
        ),
        (
            "left_padded",
            [2, 1, 4, 8],
            [[0, 0, 0, 1], [0, 1, 2, 3]],
            "M26 M27",
            "the first row has two tokens of padding",
        ),
    )
    for label, shape, ids, flags, comment in given:
        yield rotate(
            f"positions/{pairing}_rows/{label}", config(pairing), ("R-7.3", flags, comment), x=shape, positions=ids
        )


def offsets(pairing: str) -> Iterator[Case]:
    """Yield offsets in place of positions (R-7.4)."""
    given: tuple[tuple[str, list[int], Any, str, str], ...] = (
        ("token_5", [1, 2, 1, 8], 5, "M30 M31", "a decode step behind 5 tokens"),
        ("tokens_5", [1, 2, 3, 8], 5, "M30 M31", "three tokens behind 5"),
        ("batch_of_one_token", [2, 3, 1, 8], 5, "M28 M30", "one token a row, one offset: every row turns"),
        ("rows", [3, 1, 2, 8], [0, 5, 70], "M27 M30", "an offset a row"),
        ("rows_square", [2, 1, 2, 8], [0, 5], "M29 M30", "as many rows as tokens: the offset belongs to the row"),
        ("rows_of_one_token", [2, 3, 1, 8], [9, 4], "M27 M28 M30", "a decode step with rows of unequal length"),
        ("negative", [1, 2, 3, 8], -2, "M30 M32 M33 M34", "from before the start to 0"),
        ("zero", [1, 2, 3, 8], 0, "M31", "an offset of 0 is no offset"),
        ("far", [1, 2, 2, 8], 131070, "M30 M35 M36 M38", "a long cache"),
    )
    for label, shape, offset, flags, comment in given:
        yield rotate(
            f"positions/{pairing}_offsets/{label}", config(pairing), ("R-7.4", flags, comment), x=shape, offset=offset
        )
    about = ("R-7.4 R-7.3", "M30 M42", "an offset where tokens come before heads")
    yield rotate(
        f"positions/{pairing}_offsets/bshd", config(pairing), about, x=[2, 3, 2, 8], offset=[3, 8], tensor_format="bshd"
    )


def single() -> Iterator[Case]:
    """Yield one position a case, each at an edge of some type or table."""
    given = (
        (-1, "M32 M33 M34", "the last row of a table, if a sign is lost"),
        (-5, "M1 M32 M33 M34", "a negative position turns backwards"),
        (4096, "M35 M36", "one beyond a table of 4096"),
        (8192, "M35 M36", "one beyond a table of 8192"),
        (32768, "M38", "one beyond 15 bits"),
        (40000, "M38", "beyond 15 bits"),
        (65536, "M38 M45", "one beyond 16 bits, infinite in float16"),
        (131071, "M35 M36 M49 M51", "the last of 128K"),
        (16777217, "M39", "2^24 + 1, which float32 cannot hold"),
        (-16777217, "M32 M39", "-(2^24 + 1)"),
        (1073741825, "M39", "2^30 + 1"),
        (2147483647, "M38 M39", "2^31 - 1, the largest"),
        (-2147483647, "M32 M33 M39", "the smallest"),
    )
    for position, flags, comment in given:
        about = ("R-7.2" if abs(position) < 2**31 - 1 else "R-7.1 R-7.2", flags, comment)
        yield rotate(f"positions/single/pos{name(position)}", config(), about, x=[1, 2, 1, 8], positions=[position])


def packed() -> Iterator[Case]:
    """Yield packed documents (R-7.5)."""
    restarting = [0, 1, 0, 1, 2, 0]
    for pairing in PAIRINGS:
        about = ("R-7.5 R-7.3", "M26 M40", "three documents of 2, 3 and 1 tokens; each starts at 0")
        yield rotate(
            f"positions/packed/{pairing}",
            config(pairing),
            about,
            x=[6, 2, 8],
            positions=restarting,
            tensor_format="thd",
        )
    about = ("R-7.5", "M26 M40", "the same, as one row of a batch")
    yield rotate("positions/packed/row", config(), about, x=[1, 2, 6, 8], positions=[restarting])
    about = ("R-7.4 R-7.3", "M30", "packed tokens without positions are one document")
    yield rotate("positions/packed/offset", config(), about, x=[4, 3, 8], offset=2, tensor_format="thd")
    about = ("R-7.5 R-7.3 R-7.6", "M40 M77", "packed, with three axes: (N, t)")
    made = config(axes=["t", "h", "w"], sections=[2, 1, 1])
    ids = [[0, 1, 1, 0, 1], [0, 1, 2, 0, 1], [0, 4, 1, 0, 1]]
    yield rotate("positions/packed/axes", made, about, x=[5, 2, 8], positions=ids, tensor_format="thd")


def outside() -> Iterator[Case]:
    """Yield positions that R-7.1 excludes: refused where they are read,
    else they wrap modulo 2^32.
    """
    for label, position, instead in (
        ("above", 2**32 + 5, 5),
        ("below", -(2**32) - 3, -3),
        ("twice", 2**33 + 1000003, 1000003),
    ):
        about = ("R-7.1 R-12.5", "M35 M39", f"refused, or the same as {instead}")
        yield wrapped(f"positions/outside/{label}", config(), about, [instead], x=[1, 2, 1, 8], positions=[position])


def builders() -> Iterator[Case]:
    """Yield what makes positions (R-7.3, R-7.5 to R-7.8)."""
    for label, ids, axes, result in (
        ("tokens", [0, 1, 2, 5], 3, [[0, 1, 2, 5]] * 3),
        ("rows", [[0, 1], [7, 8]], 2, [[[0, 1], [7, 8]]] * 2),
        ("one_axis", [3, 4], 1, [[3, 4]]),
    ):
        about = ("R-7.6 R-7.3", "M83", "the same position on each axis")
        yield positions(
            f"positions/builders/text_{label}", "text_positions", {"ids": ids, "n_axes": axes}, about, result
        )
    for label, bounds, flat in (
        ("two", [0, 2, 4], [0, 1, 0, 1]),
        ("unequal", [0, 1, 4, 9], [0, 0, 1, 2, 0, 1, 2, 3, 4]),
        ("one", [0, 3], [0, 1, 2]),
        ("empty_document", [0, 2, 2, 4], [0, 1, 0, 1]),
    ):
        about = ("R-7.5", "M40", "each document starts again at 0")
        yield positions(f"positions/builders/packed_{label}", "packed_positions", {"cu_seqlens": bounds}, about, flat)
    for label, mask, padded in (
        ("left", [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]),
        ("all", [[0, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]),
        ("none", [[1, 1, 1]], [[0, 1, 2]]),
        ("right", [[1, 1, 1, 0, 0], [0, 1, 1, 0, 0]], [[0, 1, 2, 0, 0], [0, 0, 1, 0, 0]]),
    ):
        about = ("R-7.7", "M26 M27", "the first token that is not padding has position 0, and so has padding")
        yield positions(f"positions/builders/mask_{label}", "mask_positions", {"mask": mask}, about, padded)
    for label, ids, chunk, local in (
        ("small", [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13], 8, 2),
        ("clamped", [0, 5, 9, 10, 11, 31], 12, 7),
        ("no_local", [0, 3, 4, 9], 4, 0),
        ("real", [0, 6143, 6144, 8191, 8192, 131071], 8192, 2048),
    ):
        about = ("R-7.8", "M36", "the position of keys, and five of queries")
        given = {"positions": ids, "chunk_length": chunk, "local_length": local}
        yield positions(
            f"positions/builders/dual_chunk_{label}",
            "dual_chunk_positions",
            given,
            about,
            dual_chunk(ids, chunk, local),
        )
    for label, last in (("grid", [[0, 0], [0, 1], [1, 0]]), ("rows", [[[0, 5, 1], [0, 5, 2]], [[3, 0, 0], [3, 0, 9]]])):
        about = ("R-7.3", "M77", "coordinates of each token, axes last, as vision towers have them")
        yield positions(f"positions/builders/axes_first_{label}", "axes_first", {"ids": last}, about, first(last))
    yield from vision()


def vision() -> Iterator[Case]:
    """Yield positions on the axes t, h, w of images and videos (R-7.9 to R-7.11)."""
    image, tall, video = [1, 4, 6], [1, 8, 4], [3, 4, 4]
    given: tuple[tuple[str, list[tuple[int, list[int]] | int], str, str], ...] = (
        ("image", [3, (1, image), 2], "longest_side", "text, an image of 2 x 3 tokens, text"),
        ("image_first", [(1, tall), 2], "longest_side", "an image higher than wide, at position 0"),
        ("images", [1, (1, image), (1, tall), 1], "longest_side", "two images with nothing between them"),
        ("long_video", [2, (2, [5, 4, 4]), 3], "longest_side", "5 frames of 2 x 2: text goes on 2 after the start"),
        ("long_video_largest", [2, (2, [5, 4, 4]), 3], "largest_id", "the same by the largest position: 5 after it"),
        ("both", [1, (2, video), 1, (1, image), 1], "largest_id", "a video and an image"),
    )
    for label, parts, how, comment in given:
        types = [kind for part in parts for kind in ([0] * part if isinstance(part, int) else [part[0]] * tokens(part))]
        grids = {kind: [part[1] for part in parts if not isinstance(part, int) and part[0] == kind] for kind in (1, 2)}
        arguments = {"types": types, "image_grids": grids[1], "video_grids": grids[2], "merge": 2, "next_position": how}
        about = ("R-7.9 R-7.10 R-7.6", "M77 M83", comment)
        yield positions(f"positions/vision/{label}", "qwen2_vl_positions", arguments, about, text_and_grids(parts, how))
    for label, towers, merge, temporal, comment in (
        ("tower_rows", [[1, 2, 3]], 1, False, "h and w, row by row"),
        ("tower_merged", [[1, 4, 6]], 2, False, "blocks of 2 x 2 patches"),
        ("tower_frames", [[2, 2, 4], [1, 4, 2]], 2, True, "t, h and w of a video and an image"),
    ):
        arguments = {"grids": towers, "merge": merge, "temporal": temporal}
        patches = [place for grid in towers for place in tower(grid, merge)]
        ids = [[place[axis] for place in patches] for axis in ((0, 1, 2) if temporal else (1, 2))]
        about = ("R-7.11", "M77", comment)
        yield positions(f"positions/vision/{label}", "vision_grid_positions", arguments, about, ids)


def tokens(part: tuple[int, list[int]], merge: int = 2) -> int:
    """Return the number of tokens of a grid of patches."""
    t, h, w = part[1]
    return t * (h // merge) * (w // merge)


def text_and_grids(parts: list[tuple[int, list[int]] | int], how: str) -> dict[str, Any]:
    """Return the positions of lengths of text and of grids of patches,
    and delta (R-7.9, R-7.10).
    """
    places: list[list[int]] = []
    p = 0
    for part in parts:
        if isinstance(part, int):
            places += [[p + i] * 3 for i in range(part)]
            p += part
            continue
        t, h, w = part[1][0], part[1][1] // 2, part[1][2] // 2
        places += [[p + i, p + j, p + k] for i in range(t) for j in range(h) for k in range(w)]
        p = p + max(h, w) if how == "longest_side" else 1 + max(max(place) for place in places)
    largest = max(max(place) for place in places)
    return {"ids": [[place[axis] for place in places] for axis in range(3)], "deltas": 1 + largest - len(places)}


def tower(grid: list[int], merge: int) -> list[list[int]]:
    """Return the place (t, h, w) of each patch of a grid (R-7.11)."""
    t, h, w = grid
    return [
        [frame, row + i, column + k]
        for frame in range(t)
        for row in range(0, h, merge)
        for column in range(0, w, merge)
        for i in range(merge)
        for k in range(merge)
    ]


def dual_chunk(ids: list[int], chunk: int, local: int) -> dict[str, list[int]]:
    """Return the lists of R-7.8, with m = c - l."""
    m = chunk - local
    return {
        "key": [p % m for p in ids],
        "intra": [p % m for p in ids],
        "succ": [min(p % m + m, chunk) for p in ids],
        "inter": [min(2 * m - 1, chunk) for _ in ids],
        "succ_critical": [p % m + m for p in ids],
        "inter_critical": [p % m + chunk for p in ids],
    }


def first(nested: Any) -> Any:
    """Return nested lists with their last dimension moved to the front."""
    if not isinstance(nested[0], list):
        return nested
    return [[first(item)[axis] for item in nested] for axis in range(len(first(nested[0])))]
