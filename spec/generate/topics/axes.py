"""Several axes: orders, per-axis frequencies, blocks, mixed and real axes, text (chapter 6)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, frequencies, pair, plan_of_config, rotate, rotation, tables, vjp
from .common import PAIRINGS, RULE_OF, config, own, scaled

THW = ["t", "h", "w"]
HW = ["h", "w"]
GRID = [[0, 1, 1, 1], [0, 2, 5, 0], [0, 3, 2, 7]]  # a corner, the smallest unequal triple, and two more


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from orders(pairing)
        yield from two(pairing)
    yield from sizes()
    yield from mixed()
    yield from real()
    yield from text()
    yield from scalings()
    yield from uses()


def orders(pairing: str) -> Iterator[Case]:
    """Yield R-6.1 to R-6.4 at small sizes, with shared frequencies."""
    given: tuple[tuple[str, int, list[int], Any, str, str, str], ...] = (
        ("chunked_211", 8, [2, 1, 1], "chunked", "R-6.1", "M77 M80", "two pairs t, one h, one w"),
        ("interleaved_211", 8, [2, 1, 1], "interleaved", "R-6.2", "M77 M78 M80", "t h w t"),
        (
            "interleaved_311",
            10,
            [3, 1, 1],
            "interleaved",
            "R-6.2",
            "M78 M79",
            "t h w t t: the pattern ends with the sections",
        ),
        ("interleaved_422", 16, [4, 2, 2], "interleaved", "R-6.2", "M78 M79", "t h w t h w t t"),
        ("chunked_311", 10, [3, 1, 1], "chunked", "R-6.1", "M77 M78 M80", "t t t h w"),
        ("alternating_211", 8, [2, 1, 1], "alternating", "R-6.3", "M77 M78", "t h w t"),
        (
            "alternating_132",
            12,
            [1, 3, 2],
            "alternating",
            "R-6.3",
            "M77 M78 M79",
            "t h w h w h: axes that are full are passed over",
        ),
        ("explicit", 8, [1, 2, 1], [1, 2, 1, 0], "R-6.4", "M77 M78", "h w h t"),
        ("chunked_121", 8, [1, 2, 1], "chunked", "R-6.1", "M77 M80", "unequal sections in the middle"),
        ("empty_section", 8, [2, 0, 2], "chunked", "R-6.1", "M77", "an axis without pairs has no effect"),
    )
    for label, head_dim, sections, order, rule, flags, comment in given:
        made = config(pairing, head_dim, axes=THW, sections=sections, axis_order=order)
        about = (f"{rule} R-6.5 {RULE_OF[pairing]}", flags, comment)
        yield rotate(f"axes/{pairing}/{label}", made, about, x=[1, 2, 4, head_dim], positions=GRID)
    about = (f"R-6.1 R-7.3 {RULE_OF[pairing]}", "M27 M77", "positions by batch row: (N, b, s)")
    made = config(pairing, axes=THW, sections=[2, 1, 1])
    ids = [[[0, 1], [2, 2]], [[0, 5], [1, 3]], [[0, 4], [7, 6]]]
    yield rotate(f"axes/{pairing}/rows", made, about, x=[2, 3, 2, 8], positions=ids)
    about = (f"R-6.1 R-7.3 {RULE_OF[pairing]}", "M77", "one row of positions for a batch of 2: (N, 1, s)")
    yield rotate(f"axes/{pairing}/one_row", made, about, x=[2, 1, 2, 8], positions=[[[0, 1]], [[4, 5]], [[2, 6]]])
    about = (
        f"R-6.1 R-7.3 {RULE_OF[pairing]}",
        "M41 M42 M77",
        "three tokens, three heads, three axes, tokens before heads",
    )
    yield rotate(
        f"axes/{pairing}/bshd",
        made,
        about,
        x=[1, 3, 3, 8],
        positions=[[0, 1, 2], [4, 5, 0], [2, 6, 9]],
        tensor_format="bshd",
    )
    about = (f"R-6.1 R-7.2 {RULE_OF[pairing]}", "M32 M33 M77", "negative coordinates")
    yield rotate(f"axes/{pairing}/negative", made, about, x=[1, 1, 2, 8], positions=[[-1, 3], [2, -5], [-7, -2]])


def two(pairing: str) -> Iterator[Case]:
    """Yield height and width with frequencies of their own (R-6.6)."""
    grid = [[0, 0, 1, 5], [0, 1, 0, 3]]
    for names in (HW, HW[::-1]):
        for head_dim in (8, 16):
            made = config(pairing, head_dim, axes=names, sections=[head_dim // 4] * 2, axis_frequencies="per_axis")
            about = (f"R-6.6 R-6.1 {RULE_OF[pairing]}", "M77 M81", f"{names[0]} first, d is {head_dim // 2}")
            yield rotate(
                f"axes/{pairing}/per_axis_{''.join(names)}_d{head_dim}",
                made,
                about,
                x=[1, 2, 4, head_dim],
                positions=grid,
            )
    made = config(pairing, 10, axes=HW, sections=[3, 2], axis_frequencies="per_axis")
    about = (f"R-6.6 R-6.1 {RULE_OF[pairing]}", "M77 M81", "axes of unequal size: d is 6 and 4")
    yield rotate(f"axes/{pairing}/per_axis_unequal", made, about, x=[1, 2, 4, 10], positions=grid)
    made = config(pairing, 12, axes=HW, sections=[3, 3], axis_frequencies="per_axis", axis_order="alternating")
    about = (f"R-6.6 R-6.3 {RULE_OF[pairing]}", "M77 M78 M81", "x and y in turn, as MoonViT has them")
    yield rotate(f"axes/{pairing}/per_axis_alternating", made, about, x=[1, 2, 4, 12], positions=grid)


def sizes() -> Iterator[Case]:
    """Yield arrangements of real models."""
    given: tuple[tuple[str, dict[str, Any], str, str, str], ...] = (
        (
            "qwen2_vl",
            config("half_split", 128, 1e6, axes=THW, sections=[16, 24, 24]),
            "R-6.1 R-6.5",
            "M77 M80",
            "Qwen2-VL: chunked",
        ),
        (
            "qwen3_vl",
            config("half_split", 128, 5e6, axes=THW, sections=[24, 20, 20], axis_order="interleaved"),
            "R-6.2 R-6.5",
            "M78 M79",
            "Qwen3-VL: interleaved, 24, 20, 20",
        ),
        (
            "flux",
            config("interleaved", 128, 1e4, axes=["i", "h", "w"], sections=[8, 28, 28], axis_frequencies="per_axis"),
            "R-6.6 R-6.1",
            "M77 M81 M82",
            "Flux: 16, 56, 56 lanes",
        ),
        (
            "video_d64",
            config("interleaved", 64, 1e4, axes=THW, sections=[12, 10, 10], axis_frequencies="per_axis"),
            "R-6.6 R-6.1",
            "M81 M82",
            "24, 20, 20 lanes of 64: another formula gives 22, 21, 21",
        ),
        (
            "ernie",
            config("interleaved", 128, 5e5, axes=THW, sections=[20, 22, 22], axis_order=[1, 2] * 22 + [0] * 20),
            "R-6.4 R-6.5",
            "M77 M78",
            "Ernie 4.5 VL: h and w in turn, then t",
        ),
        (
            "vision_blocks",
            config("half_split", 64, 100.0, axes=HW, sections=[16, 16], axis_blocks=True, axis_frequencies="per_axis"),
            "R-3.5 R-6.6",
            "M3 M77 M80",
            "Gemma 4's vision tower: half-split inside each block",
        ),
        (
            "blocks_3d",
            config(
                "half_split", 128, 1e4, axes=THW, sections=[8, 28, 28], axis_blocks=True, axis_frequencies="per_axis"
            ),
            "R-3.5 R-6.6",
            "M3 M80 M81",
            "blocks of 16, 56, 56 lanes",
        ),
        (
            "pixtral",
            own([1.0, 0.1, 0.31622776601683794, 0.03162277660168379], axes=HW, sections=[2, 2]),
            "R-4.3 R-6.1",
            "M9 M77",
            "Pixtral: even frequencies for h, odd ones for w",
        ),
    )
    for label, made, rules, flags, comment in given:
        positions = [[3, 1], [17, 2], [5, 40]] if len(made["axes"]) == 3 else [[17, 2], [5, 40]]
        yield rotate(
            f"axes/models/{label}", made, (rules, flags, comment), x=[1, 1, 2, made["head_dim"]], positions=positions
        )
        shown = " ".join(flag for flag in flags.split() if flag in ("M78", "M79", "M81", "M82"))
        yield frequencies(f"axes/models/{label}_frequencies", made, (rules + " R-4.2", shown, comment))


def mixed() -> Iterator[Case]:
    """Yield R-6.7: every pair turns with every axis."""
    matrix = [[1.0, 0.5], [-0.25, 0.75], [0.1, 0.0], [0.0, -0.3]]
    about = ("R-6.7 R-2.1", "M77", "angles are sums over both axes")
    for pairing in PAIRINGS:
        yield rotate(
            f"axes/mixed/{pairing}",
            own(matrix, pairing, axes=HW),
            about,
            x=[1, 2, 4, 8],
            positions=[[0, 1, 0, 5], [0, 0, 1, -3]],
        )
    about = ("R-6.7 R-10.2", "M39 M77", "two large angles whose sum is small")
    opposite = own([[1.0, -1.0], [0.7, -0.7], [0.1, 0.3], [0.0, 0.01]], axes=HW)
    yield rotate(
        "axes/mixed/opposite",
        opposite,
        about,
        x=[1, 1, 2, 8],
        positions=[[2147483647, 16777217], [2147483646, 16777219]],
    )
    about = ("R-6.7", "M77", "three axes")
    yield rotate(
        "axes/mixed/three",
        own([[1.0, 0.5, 0.25], [0.1, 0.2, 0.4]], axes=THW),
        about,
        x=[1, 2, 3, 4],
        positions=[[1, 0, 2], [0, 3, 5], [4, 1, 1]],
    )
    about = ("R-6.7 R-2.5", "", "the matrix is F, bit for bit")
    yield plan_of_config("axes/mixed/plan", own(matrix, "interleaved", axes=HW), about)
    yield frequencies(
        "axes/mixed/frequencies", own(matrix, axes=HW), ("R-6.7 R-4.3", "", "the matrix is F, bit for bit")
    )


def real() -> Iterator[Case]:
    """Yield R-6.9: coordinates."""
    kinds: dict[str, Any] = {"axis_kinds": ["real", "real"]}
    patches = [
        [-0.857177734375, -0.857177734375, 0.285888671875, 0.857177734375],
        [-0.666748046875, 0.666748046875, -0.666748046875, 0.333251953125],
    ]
    for pairing in PAIRINGS:
        made = config(pairing, 8, 100.0, axes=["y", "x"], sections=[2, 2], axis_frequencies="per_axis", **kinds)
        about = (f"R-6.9 R-6.6 {RULE_OF[pairing]}", "M26 M44 M77 M81", "coordinates in [-1, 1], as DINOv3 has them")
        yield rotate(f"axes/real/{pairing}", made, about, x=[1, 2, 4, 8], positions=patches)
    about = ("R-6.9 R-6.7", "M77", "points of an image, mixed frequencies, as LightGlue has them")
    made = own([[3.7, -1.3], [0.4, 2.9], [-5.1, 0.6], [1.1, 1.7]], axes=["x", "y"], **kinds)
    yield rotate(
        "axes/real/mixed",
        made,
        about,
        x=[1, 2, 4, 8],
        positions=[
            [0.125, 0.300048828125, -0.89990234375, 0.71875],
            [0.550048828125, -0.2001953125, 0.800048828125, 0.40625],
        ],
    )
    about = ("R-6.9 R-7.3", "M27 M77", "coordinates by batch row")
    ids = [
        [[0.10009765625, 0.2001953125], [0.89990234375, -0.39990234375]],
        [[0.300048828125, 0.699951171875], [-0.800048828125, 0.599853515625]],
    ]
    yield rotate("axes/real/rows", made, about, x=[2, 1, 2, 8], positions=ids)
    about = ("R-6.9", "M26", "whole numbers on a real axis are coordinates like others")
    line = own([1.0, 0.5, 0.25, 0.125], axes=["x"], axis_kinds=["real"])
    yield rotate("axes/real/whole", line, about, x=[1, 2, 3, 8], positions=[0.0, 2.0, -3.0])
    about = ("R-6.9 R-2.5", "", "the kind of an axis is part of the plan")
    yield plan_of_config("axes/real/plan", line, about)


def text() -> Iterator[Case]:
    """Yield R-6.8: text has the same bits as in a plan with one axis."""
    ids = [0, 1, 5, 257]
    for pairing in PAIRINGS:
        for order in ("chunked", "interleaved", "alternating"):
            several = config(pairing, axes=THW, sections=[2, 1, 1], axis_order=order)
            about = (f"R-6.8 R-7.6 {RULE_OF[pairing]}", "M83", "three equal positions, and one")
            first = rotation(several, x=[1, 2, 4, 8], positions=[ids] * 3)
            yield pair(
                f"axes/text/{pairing}_{order}", about, first, rotation(config(pairing), x=[1, 2, 4, 8], positions=ids)
            )
    large = config("half_split", 128, 1e6, axes=THW, sections=[24, 20, 20], axis_order="interleaved")
    about = ("R-6.8", "M83", "a real size, far out")
    first = rotation(large, x=[1, 1, 2, 128], positions=[[4097, 131071]] * 3)
    yield pair(
        "axes/text/d128",
        about,
        first,
        rotation(config("half_split", 128, 1e6), x=[1, 1, 2, 128], positions=[4097, 131071]),
    )
    rows = [[0, 1, 2], [40, 41, 42]]
    about = ("R-6.8 R-7.3", "M27 M83", "by batch row")
    first = rotation(config(axes=THW, sections=[2, 1, 1]), x=[2, 1, 3, 8], positions=[rows] * 3)
    yield pair("axes/text/rows", about, first, rotation(config(), x=[2, 1, 3, 8], positions=rows))
    rule: dict[str, Any] = {"scaling": scaled("yarn", factor=4.0, original_max_position=64)}
    about = ("R-6.8 R-5.7", "M68 M83", "with a rule and its attention factor")
    first = rotation(config(axes=THW, sections=[1, 1, 2], **rule), x=[1, 2, 3, 8], positions=[[0, 7, 300]] * 3)
    yield pair("axes/text/yarn", about, first, rotation(config(**rule), x=[1, 2, 3, 8], positions=[0, 7, 300]))


def scalings() -> Iterator[Case]:
    """Yield scaling rules and partial rotation on several axes."""
    about = ("R-6.5 R-5.6", "M67 M68 M77", "a rule acts on the shared series, then pairs get their axes")
    made = config(axes=THW, sections=[2, 1, 1], scaling=scaled("yarn", factor=4.0, original_max_position=64))
    yield rotate("axes/scaled/yarn_shared", made, about, x=[1, 2, 4, 8], positions=GRID)
    about = ("R-6.6 R-5.2", "M57 M58 M81", "a rule acts on each axis's own series: d is 4")
    made = config(axes=HW, sections=[2, 2], axis_frequencies="per_axis", scaling=scaled("ntk", alpha=4.0))
    yield frequencies("axes/scaled/ntk_per_axis", made, about)
    about = ("R-6.6 R-5.1 R-5.13", "M55 M68", "unequal sections, a rule and a factor")
    made = config(
        "interleaved",
        12,
        axes=THW,
        sections=[1, 2, 3],
        axis_frequencies="per_axis",
        scaling=scaled("linear", factor=3.0),
        attention_factor=1.25,
    )
    yield frequencies("axes/scaled/linear_per_axis", made, about)
    yield rotate("axes/scaled/linear_per_axis_applied", made, about, x=[1, 1, 4, 12], positions=GRID)
    about = ("R-6.1 R-3.4 R-2.2", "M19 M20 M21 M77", "partial rotation and axes: sections add up to rotary_dim / 2")
    made = config(head_dim=16, rotary_dim=8, axes=THW, sections=[2, 1, 1])
    yield rotate("axes/scaled/partial", made, about, x=[1, 2, 4, 16], positions=GRID)
    about = ("R-6.2 R-3.6 R-3.3", "M1 M4 M78", "interleaved axes, de-interleaved lanes, turned the other way")
    made = config(
        "interleaved", axes=THW, sections=[2, 1, 1], axis_order="interleaved", out_pairing="half_split", direction=-1
    )
    yield rotate("axes/scaled/deinterleave", made, about, x=[1, 2, 4, 8], positions=GRID)


def uses() -> Iterator[Case]:
    """Yield tables, gradients and the inverse with several axes."""
    made = config(axes=THW, sections=[2, 1, 1], axis_order="interleaved")
    about = ("R-6.2 R-8.1", "M77 M78", "tables: one column a pair, whatever its axis")
    yield tables("axes/uses/tables", made, about, GRID)
    about = ("R-6.2 R-8.1 R-7.3", "M27 M77 M78", "tables by batch row")
    yield tables("axes/uses/tables_rows", made, about, [[[0, 1], [2, 2]], [[0, 5], [1, 3]], [[0, 4], [7, 6]]])
    about = ("R-11.1 R-6.2", "M77 M78 M87", "the gradient at the same positions on each axis")
    yield vjp("axes/uses/gradient", made, about, x=[1, 2, 4, 8], positions=GRID)
    about = ("R-9.3 R-6.2", "M1 M77 M78", "the inverse")
    yield rotate("axes/uses/inverse", made, about, x=[1, 2, 4, 8], positions=GRID, mode="inverse")
