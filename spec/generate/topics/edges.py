"""What a wrong program could pass without: zeros with a sign, exponents above 1, coordinates of 53
bits, many axes.
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, pair, rotate, rotation, scores, sequence, tables
from ..numbers import Array, array
from .common import PAIRINGS, RULE_OF, config, own, scaled
from .composition import coarse

STEEPEST = 1.6608846521425429  # with the coordinate below it, at the worst of 100,000 that were tried
FARTHEST = 139.07041177938714


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from minus_zero()
    yield from exponents()
    yield from real_axes()
    yield from second_word()
    yield from many_axes()
    yield from same_map()
    yield from pairs_of_rotations()


def signed(shape: list[int], lanes: list[int]) -> Array:
    """Return numbers with -0.0 on some lanes of every vector, and 0.0 on the first of them in the
    second vector.
    """
    count, size = 1, shape[-1]
    for length in shape[:-1]:
        count *= length
    data = [0.125 * (index % 11 - 5) for index in range(count * size)]
    for vector in range(count):
        for lane in lanes:
            data[vector * size + lane] = 0.0 if vector == 1 and lane == lanes[0] else -0.0
    return array(shape, data)


def minus_zero() -> Iterator[Case]:
    """Yield -0.0 on lanes in no row (R-2.2)."""
    given: tuple[tuple[str, dict[str, Any], list[int], str], ...] = (
        ("last", {}, [4, 5, 7], "-0.0 on lanes in no row keeps its sign"),
        ("first", {"lane_offset": 4}, [0, 2, 3], "the same before the lanes that turn"),
        ("stretched", {"attention_factor": 1.25}, [4, 6], "A does not touch it"),
    )
    for pairing in PAIRINGS:
        for label, more, lanes, comment in given:
            made = config(pairing, rotary_dim=4, **more)
            about = (f"R-2.2 {RULE_OF[pairing]}", "", comment)
            x = signed([1, 2, 2, 8], lanes)
            yield rotate(f"edges/minus_zero/{pairing}_{label}", made, about, x=x, positions=[0, 5])


def exponents() -> Iterator[Case]:
    """Yield frequency_dim below rotary_dim (R-4.1)."""
    for pairing in PAIRINGS:
        about = (f"R-4.1 {RULE_OF[pairing]}", "M7 M19 M21", "frequency_dim 4 for 8 lanes: 2j/d is up to 1.5")
        made = config(pairing, frequency_dim=4)
        yield rotate(f"edges/exponents/{pairing}_d4_r8", made, about, x=[1, 2, 3, 8], positions=[1, 13, 257])
    about = ("R-4.1 R-10.2", "M19 M21 M38", "frequency_dim 20 for 128 lanes, at far positions")
    yield tables(
        "edges/exponents/d20_r128", config(head_dim=128, base=1e4, frequency_dim=20), about, [4097, 2147483647]
    )


def real_axes() -> Iterator[Case]:
    """Yield coordinates that float32 does not hold (R-10.7)."""
    line: dict[str, Any] = {"axes": ["x"], "axis_kinds": ["real"]}
    made = own([STEEPEST, 0.2070474435447126, 1.0, 7.3], **line)
    about = ("R-10.7 R-6.9", "M46", "three roundings in float32: of the coordinate, of F / (2 pi), of their product")
    yield tables("edges/real_axes/line", made, about, [FARTHEST, 60.96617126464844, 0.1, -33.3])
    about = ("R-10.7 R-6.9 R-10.6", "M46", "the same, applied")
    yield rotate(
        "edges/real_axes/line_applied", made, about, x=[1, 1, 4, 8], positions=[FARTHEST, 60.96617126464844, 0.1, -33.3]
    )
    grid: dict[str, Any] = {
        "axes": ["h", "w"],
        "axis_kinds": ["real", "real"],
        "sections": [2, 2],
        "axis_frequencies": "per_axis",
    }
    places = [[i / 7 * 2 - 1 for i in (0, 1, 2)], [i / 9 * 2 - 1 for i in (3, 4, 8)]]
    about = ("R-10.7 R-6.9 R-6.6", "M46", "a grid of sevenths and ninths in [-1, 1]")
    yield rotate("edges/real_axes/grid", config(**grid), about, x=[1, 2, 3, 8], positions=places)
    mixed = own([[1.0, 2.5], [0.1, 0.0], [0.0, 0.75], [0.01, 31.0]], axes=["t", "x"], axis_kinds=["integer", "real"])
    about = ("R-10.7 R-6.9", "M39", "an integer axis beside a real one, in one array")
    yield rotate(
        "edges/real_axes/mixed", mixed, about, x=[1, 2, 3, 8], positions=[[0, 5, 16777217], [0.1, -0.7, 123.456]]
    )


def second_word() -> Iterator[Case]:
    """Yield remainders where T0 counts most: without it a sine is at 0.89 of its bound, with it at
    0.75 at most.
    """
    unit = 6.283185307179586 / 2**32
    steps = (535159600, -535159600, 532708560, 530950417)
    about = ("R-10.2", "", "remainders close to 2^29, where the second word of pi/4 counts most")
    yield tables("edges/second_word/tables", own([r * unit for r in steps]), about, [1, -1])


def many_axes() -> Iterator[Case]:
    """Yield more axes than R-10.2 speaks of (R-10.9)."""
    count = 12
    frequencies = [[((7 * j + 3 * a + 1) % 13 + 0.3) / 4 for a in range(count)] for j in range(4)]
    made = own(frequencies, axes=[f"a{a}" for a in range(count)])
    places = [[2147483647 - 1000 * a, (-1) ** a * (16777217 + a), a] for a in range(count)]
    about = ("R-10.9 R-6.7", "M39", "twelve axes: each rounds its phase")
    yield rotate("edges/many_axes/twelve", made, about, x=[1, 1, 3, 8], positions=places)


def rows(lanes: list[list[int]], out_lanes: list[list[int]], frequencies: list[float], factor: float) -> dict[str, Any]:
    """Return a plan object with one axis."""
    return {
        "schema": "ropecore-plan/1",
        "head_dim": 8,
        "axes": ["position"],
        "axis_kinds": ["integer"],
        "attention_factor": factor,
        "lanes": lanes,
        "out_lanes": out_lanes,
        "frequencies": [[f] for f in frequencies],
        "log_magnitude": None,
        "centre": 0.0,
    }


def same_map() -> Iterator[Case]:
    """Yield two canonical plans of one map: rows that do not turn can be
    paired otherwise (R-2.9).
    """
    straight = rows([[0, 4], [1, 5]], [[1, 5], [0, 4]], [0.0, 0.0], 1.0)
    crossed = rows([[0, 5], [1, 4]], [[1, 4], [0, 5]], [0.0, 0.0], 1.0)
    stretched = [rows(lanes, lanes, [0.0, 0.0], 1.25) for lanes in ([[0, 1], [2, 3]], [[0, 2], [1, 3]])]
    for label, both, comment in (
        ("moved", (straight, crossed), "two rows that only move lanes"),
        ("stretched", tuple(stretched), "two rows that only multiply by A"),
    ):
        questions = [rotation(rows=one, x=[1, 2, 3, 8], positions=[0, 5, 257]) for one in both]
        yield pair(f"edges/same_map/{label}", ("R-2.9", "", comment), *questions)


def pairs_of_rotations() -> Iterator[Case]:
    """Yield R-9.10 and R-9.11 where A, a decay and lanes in no row all matter."""
    made = config("interleaved", rotary_dim=4, attention_factor=2.0, scaling=scaled("damped", rate=0.125, centre=3.0))
    about = ("R-9.10 R-2.4", "M1", "by 2 and then by 4 with A and a centre: not the rotation by 6")
    first = rotation(made, x=[1, 1, 2, 8], positions=[2, 2])
    second = rotation(made, x=coarse(first), positions=[4, 4])
    whole = rotation(made, x=first["x"], positions=[6, 6])
    yield sequence("edges/composition/decay_centre", about, [(first, None), (second, None), (whole, None)])
    about = ("R-9.11", "M23 M72", "A = 2 on two of four lanes: the others add their plain product")
    made = config(head_dim=4, rotary_dim=2, attention_factor=2.0)
    yield scores(
        "edges/scores/partial_stretched",
        made,
        about,
        q=[1, 1, 2, 4],
        k=[1, 1, 2, 4],
        positions=[5, 9],
        k_positions=[5, 9],
    )
    about = ("R-9.11 R-2.4", "M1", "a decay and A on four of eight lanes")
    made = config(rotary_dim=4, attention_factor=1.5, scaling=scaled("damped", rate=0.125, centre=3.0))
    yield scores(
        "edges/scores/partial_decay",
        made,
        about,
        q=[1, 2, 2, 8],
        k=[1, 1, 3, 8],
        positions=[7, 40],
        k_positions=[0, 7, 39],
    )
