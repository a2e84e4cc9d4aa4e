"""The ladder of positions at which a narrow type, a rounded product or a fast sine begins to show
(chapter 10).
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, rotate, tables
from .common import config, name, own

LADDER = {  # position: flags
    1: "M52",
    255: "M46 M48 M52",
    257: "M44 M46 M48",
    1023: "M44 M46 M47 M48",
    2049: "M45 M46 M48 M49",
    4097: "M44 M45 M47 M48 M49",
    32769: "M38 M45 M49",
    65535: "M38 M45 M49",
    131071: "M45 M47 M49 M51 M54",
    1048575: "M49 M51 M54",
    16777217: "M39 M51 M54",
    2147483647: "M39 M51 M54",
}
SIZES = (
    ("d8_base100", 8, 100.0),
    ("d64_base1e4", 64, 1e4),
    ("d128_base5e5", 128, 5e5),
    ("d128_base1e6", 128, 1e6),
)


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from ladder()
    yield from applied()
    yield from turns()
    yield from real()


def ladder() -> Iterator[Case]:
    """Yield tables of one position and of its negative (R-10.2)."""
    for label, head_dim, base in SIZES:
        steps = LADDER if head_dim == 8 else dict(list(LADDER.items())[4 if head_dim == 64 else 5 :])
        for position, flags in steps.items():
            about = ("R-10.2 R-10.5 R-8.1", flags, f"cos and sin at {position} and at its negative")
            yield tables(
                f"precision/{label}/pos{position}", config("half_split", head_dim, base), about, [position, -position]
            )
    about = ("R-10.2", "M10 M11 M47", "base 5e7: the last frequency is below float16's smallest number")
    yield tables("precision/d128_base5e7/tables", config("half_split", 128, 5e7), about, [4096, 16777217])


def applied() -> Iterator[Case]:
    """Yield rotations: a table may be right and its use may not (R-10.4, R-10.6)."""
    for position in (2049, 4097, 131071, 1048576, 16777217):
        for sign in (1, -1):
            flags = LADDER.get(position, "M49 M51") + " M53" + (" M32" if sign < 0 else "")
            about = ("R-10.4 R-10.6 R-7.2", flags, "products and sum in float32, rounded once")
            case_id = f"precision/applied_d64/pos{name(sign * position)}"
            yield rotate(case_id, config("interleaved", 64, 1e4), about, x=[1, 1, 1, 64], positions=[sign * position])
    for position in (131071, 1048575):
        about = ("R-10.2 R-10.6", "M10 M49 M51 M54", "the error of float32 angles at this position is 3.7e-3 and more")
        yield rotate(
            f"precision/applied_d128/base5e5_pos{position}",
            config("half_split", 128, 5e5),
            about,
            x=[1, 1, 1, 128],
            positions=[position],
        )
    about = (
        "R-10.4 R-10.6",
        "M53",
        "many elements: rounding tables, products or sums to 16 bits changes a third of them",
    )
    yield rotate(
        "precision/applied_d64/many", config("half_split", 64, 1e4), about, x=[1, 2, 4, 64], positions=[1, 2, 3, 100]
    )


def turns() -> Iterator[Case]:
    """Yield angles close to multiples of a quarter turn, where one of the two results is tiny
    (R-10.2).
    """
    quarter = 1.5707963267948966
    for label, frequencies, positions, flags, comment in (
        (
            "quarters",
            [quarter, 2 * quarter, 3 * quarter, 4 * quarter],
            [1, 2, 3, 4, 1000001],
            "M51",
            "multiples of pi/2, as near as binary64 comes",
        ),
        (
            "eighths",
            [quarter / 2, 3 * quarter / 2, 5 * quarter / 2, 7 * quarter / 2],
            [1, 3, 5, 1000001],
            "M51 M52",
            "where a reduction changes from one quarter to the next",
        ),
        (
            "convergents",
            [1.0, 355.0, 103993.0, 0.5],
            [1, 355, 710, 103993],
            "M51 M52",
            "integers close to multiples of pi",
        ),
    ):
        about = ("R-10.2 R-4.3", flags, comment)
        yield tables(f"precision/quarter_turns/{label}", own(frequencies), about, positions)
        about = ("R-10.2 R-10.6 R-4.3", flags, comment)
        yield rotate(
            f"precision/quarter_turns/{label}_applied",
            own(frequencies),
            about,
            x=[1, 1, len(positions), 8],
            positions=positions,
        )


def real() -> Iterator[Case]:
    """Yield real axes: coordinates are floats, and the bound grows with
    the angle (R-6.9, R-10.2).
    """
    kinds: dict[str, Any] = {
        "axis_kinds": ["real", "real"],
        "axes": ["h", "w"],
        "sections": [2, 2],
        "axis_frequencies": "per_axis",
    }
    for label, positions, flags, comment in (
        (
            "unit",
            [
                [-0.857177734375, -0.285888671875, 0.142822265625, 0.714111328125],
                [0.666748046875, -0.333251953125, 0.89990234375, -0.10009765625],
            ],
            "M44 M45 M46",
            "coordinates in [-1, 1] that 16 bits do not hold",
        ),
        ("fractions", [[0.5, 1.25, 7.75, -3.5], [0.0, 2.0, -0.125, 100.5]], "M26 M46", "halves and eighths"),
        ("large", [[1000.5, 65536.25, -4097.0], [3.0, 257.5, 1048576.0]], "M44 M45 M46", "large coordinates"),
    ):
        about = ("R-10.2 R-6.9", flags, comment)
        yield tables(f"precision/real_axes/{label}", config(**kinds), about, positions)
    about = ("R-10.2 R-6.9 R-10.6", "M44 M46", "one real axis, steep frequencies")
    made = own([62.83185307179586, 6.283185307179586, 20.5, 3.0], axes=["x"], axis_kinds=["real"])
    yield rotate(
        "precision/real_axes/steep", made, about, x=[1, 2, 4, 8], positions=[-0.9375, 0.0, 0.3126220703125, 1.0]
    )
    about = ("R-10.2 R-6.9 R-10.6", "M39 M44", "an integer axis beside a real one")
    made = own([[1.0, 2.5], [0.1, 0.0], [0.0, 0.75], [0.01, 31.0]], axes=["t", "x"], axis_kinds=["integer", "real"])
    places = [[0, 5, 16777217], [0.25, -0.5, 0.8751220703125]]
    yield rotate("precision/real_axes/mixed_kinds", made, about, x=[1, 2, 3, 8], positions=places)
