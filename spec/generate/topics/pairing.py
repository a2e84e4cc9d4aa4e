"""Which lanes are read and written: de-interleaving, offsets, direction, blocks of axes (chapter
3).
"""

from collections.abc import Iterator

from ..cases import Case, cache, plan_of_config, rotate, tables, vjp
from .common import PAIRINGS, RULE_OF, config, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from deinterleaving()
    yield from offsets()
    yield from direction()
    yield from blocks()
    yield from tables_of_lanes()


def deinterleaving() -> Iterator[Case]:
    """Yield R-3.3: lanes are read in one pairing and written in the other."""
    made = config("interleaved", out_pairing="half_split")
    for position, flags, comment in (
        (0, "M2 M4", "position 0 turns nothing, and still moves lanes"),
        (1, "M1 M3 M4 M13", "one step; in place, lanes are written before others are read"),
        (257, "M3 M4 M44", "far out"),
    ):
        yield rotate(
            f"pairing/deinterleave/pos{position}", made, ("R-3.3", flags, comment), x=[1, 2, 1, 8], positions=[position]
        )
    for head_dim in (4, 6, 16):
        about = (
            "R-3.3",
            "M4",
            f"{head_dim} lanes"
            + (": the smallest head whose permutation is not its own inverse" if head_dim == 6 else ""),
        )
        yield rotate(
            f"pairing/deinterleave/d{head_dim}",
            made | {"head_dim": head_dim},
            about,
            x=[1, 2, 3, head_dim],
            positions=[0, 1, 9],
        )
    about = ("R-3.3 R-3.4", "M4 M18", "4 of 8 lanes: the last four stay where they are")
    yield rotate("pairing/deinterleave/partial", made | {"rotary_dim": 4}, about, x=[1, 2, 3, 8], positions=[0, 1, 9])
    about = ("R-3.3 R-3.4", "M4 M18", "the last 6 of 8 lanes")
    last = made | {"rotary_dim": 6, "lane_offset": 2}
    yield rotate("pairing/deinterleave/last", last, about, x=[1, 2, 3, 8], positions=[0, 1, 9])
    about = ("R-3.3", "M4", "the other way: read half-split, written interleaved")
    yield rotate(
        "pairing/deinterleave/reverse",
        config("half_split", out_pairing="interleaved"),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 9],
    )
    about = ("R-3.3 R-9.1", "M4 M68", "with an attention factor")
    yield rotate(
        "pairing/deinterleave/stretched", made | {"attention_factor": 1.25}, about, x=[1, 2, 3, 8], positions=[0, 1, 9]
    )
    about = ("R-3.3", "M3 M4", "an out_pairing equal to the pairing changes nothing")
    yield rotate(
        "pairing/deinterleave/same",
        config("interleaved", out_pairing="interleaved"),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 9],
    )


def offsets() -> Iterator[Case]:
    """Yield lane_offset: rotated lanes that do not start at 0."""
    for pairing in PAIRINGS:
        for label, rotary_dim, start, flags, comment in (
            ("last4", 4, 4, "M18 M19", "the last 4 of 8 lanes"),
            ("middle4", 4, 2, "M19", "4 lanes in the middle"),
            ("last2", 2, 6, "M18 M19", "the last pair"),
            ("odd_start", 4, 3, "M18 M19", "a block that starts at an odd lane"),
            ("rest", None, 2, "M19", "no rotary_dim: all lanes from the offset on"),
        ):
            about = (f"{RULE_OF[pairing]} R-3.4 R-2.2", flags, comment)
            made = config(pairing, lane_offset=start) | ({} if rotary_dim is None else {"rotary_dim": rotary_dim})
            yield rotate(f"pairing/{pairing}_offset/{label}", made, about, x=[1, 2, 3, 8], positions=[0, 1, 9])
    about = ("R-3.1 R-3.4", "M18", "DeepSeek V4's sizes, by a quarter: the last 16 of 128 lanes")
    made = config("interleaved", 128, 1e4, rotary_dim=16, lane_offset=112)
    yield rotate("pairing/interleaved_offset/d128_last16", made, about, x=[1, 1, 1, 128], positions=[1000])


def direction() -> Iterator[Case]:
    """Yield R-3.6."""
    for pairing in PAIRINGS:
        for position in (1, 257):
            about = (f"R-3.6 {RULE_OF[pairing]}", "M1 M2", "every frequency negated")
            yield rotate(
                f"pairing/{pairing}_direction/pos{position}",
                config(pairing, direction=-1),
                about,
                x=[1, 2, 1, 8],
                positions=[position],
            )
    about = ("R-3.6 R-5.1", "M1 M55", "negated after scaling")
    made = config(direction=-1, scaling=scaled("linear", factor=4.0))
    yield rotate("pairing/half_split_direction/linear", made, about, x=[1, 2, 2, 8], positions=[-3, 3])
    about = ("R-3.6 R-2.5", "", "0 is negated to 0, not to -0")
    made = config(direction=-1, scaling=scaled("proportional", partial_rotary_factor=0.5), attention_factor=1.5)
    yield plan_of_config("pairing/half_split_direction/zero_plan", made, about)


def blocks() -> Iterator[Case]:
    """Yield R-3.5: the pairing applies inside each axis's own lanes."""
    for pairing in PAIRINGS:
        for label, names, sections, positions in (
            ("hw", ["h", "w"], [2, 2], [[0, 0, 1, 3], [0, 1, 0, 7]]),
            ("thw", ["t", "h", "w"], [1, 1, 2], [[0, 5, 5, 5], [0, 0, 1, 2], [0, 1, 0, 7]]),
        ):
            made = config(pairing, axes=names, sections=sections, axis_blocks=True, axis_frequencies="per_axis")
            about = (f"R-3.5 R-6.6 {RULE_OF[pairing]}", "M3 M77 M80 M81", "one block of lanes an axis")
            yield rotate(f"pairing/{pairing}_blocks/{label}", made, about, x=[1, 2, 4, 8], positions=positions)
    made = config("half_split", 12, axes=["h", "w"], sections=[2, 3], axis_blocks=True, lane_offset=2, rotary_dim=10)
    about = ("R-3.5 R-6.5", "M3 M18 M77", "blocks of unequal size behind an offset, shared frequencies")
    yield rotate(
        "pairing/half_split_blocks/shared_offset", made, about, x=[1, 2, 3, 12], positions=[[0, 1, 4], [0, 3, 2]]
    )
    about = ("R-3.5 R-3.3", "M4", "blocks that are read interleaved and written half-split, each within itself")
    inside = config("interleaved", 12, axes=["h", "w"], sections=[4, 2], axis_blocks=True, out_pairing="half_split")
    yield rotate("pairing/interleaved_blocks/moved", inside, about, x=[1, 2, 3, 12], positions=[[0, 1, 4], [0, 3, 2]])
    about = ("R-3.5 R-2.5", "M3", "the plan of blocks")
    yield plan_of_config("pairing/half_split_blocks/plan", made, about)


def tables_of_lanes() -> Iterator[Case]:
    """Yield tables, a cache and a gradient where lanes matter."""
    made = config("interleaved", out_pairing="half_split")
    about = ("R-3.3 R-8.1", "M9", "rows are in the order of the lanes read")
    yield tables("pairing/deinterleave/tables", made, about, [0, 1, 9])
    about = ("R-8.1 R-3.4", "M18 M19", "the last lanes: 1 and 0 elsewhere")
    yield cache("pairing/half_split_offset/signed", config(rotary_dim=4, lane_offset=4), about, [0, 1, 9], "signed")
    about = ("R-11.1 R-3.3", "M4 M87", "the gradient is read where y was written")
    yield vjp("pairing/deinterleave/gradient", made | {"rotary_dim": 6}, about, x=[1, 2, 3, 8], positions=[0, 1, 9])
