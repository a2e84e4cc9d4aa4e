"""Rotations one after the other, and cached keys that are moved (R-9.4, R-9.5)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, Question, rotated, rotation, sequence, shift
from ..numbers import Array, array, double
from .common import PAIRINGS, RULE_OF, config, name, own, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from shifts(pairing)
    yield from shifts_of()
    yield from sequences()


def shifts(pairing: str) -> Iterator[Case]:
    """Yield R-9.5 for plain plans."""
    for delta, flags, comment in (
        (4, "M1 M12 M91", "four positions on"),
        (-5, "M1 M32 M33 M34 M91", "five positions back"),
        (0, "M31", "by 0: nothing turns"),
        (257, "M44 M48 M91", "beyond bfloat16's integers"),
        (-131071, "M35 M36 M38 M51 M91", "far back: no table holds it"),
        (16777217, "M39 M91", "beyond float32's integers"),
    ):
        about = (f"R-9.5 {RULE_OF[pairing]}", flags, comment)
        yield shift(f"composition/shift_{pairing}/by{name(delta)}", config(pairing), about, x=[1, 2, 3, 8], delta=delta)


def shifts_of() -> Iterator[Case]:
    """Yield R-9.5 where A, lanes or magnitudes matter."""
    moved = config("interleaved", out_pairing="half_split")
    given: tuple[tuple[str, dict[str, Any], int, str, str], ...] = (
        ("stretched", config(attention_factor=1.25), 4, "M12 M91", "A is in the key already, and is not applied again"),
        ("stretched_by_0", config(attention_factor=1.25), 0, "M31", "by 0 with A: nothing changes"),
        ("partial", config(rotary_dim=4), 4, "M18 M19 M20 M21", "lanes that pass through stay"),
        ("deinterleave", moved, 4, "M4 M91", "on the lanes written: they are not moved again"),
        ("deinterleave_by_0", moved, 0, "M4", "by 0: no lane moves"),
        ("deinterleave_partial", moved | {"rotary_dim": 6}, -3, "M4 M91", "6 of 8 lanes"),
        ("last_lanes", config(rotary_dim=4, lane_offset=4), 7, "M18", "the last lanes"),
        ("direction", config(direction=-1), 7, "M1", "the other way"),
        (
            "yarn",
            config(scaling=scaled("yarn", factor=4.0, original_max_position=64)),
            30,
            "M1",
            "YaRN: its frequencies, without its A",
        ),
        ("xpos", config(scaling=scaled("xpos", scale_base=16.0)), 30, "M1", "the magnitude of a key moves too"),
        (
            "xpos_centre",
            config(scaling=scaled("xpos", scale_base=16.0, centre=20.0)),
            -30,
            "M1",
            "the centre does not matter",
        ),
        (
            "damped_stretched",
            config(scaling=scaled("damped", rate=0.125), attention_factor=1.25),
            4,
            "M1",
            "A is not applied again, the magnitude is",
        ),
        (
            "axes",
            config(axes=["t", "h", "w"], sections=[2, 1, 1], axis_order="interleaved"),
            5,
            "M91",
            "three axes: every one moves by delta",
        ),
        ("mixed", own([[1.0, -0.5], [0.25, 0.75]], axes=["h", "w"]), -7, "M91", "mixed axes: F is summed over them"),
        ("d64", config("half_split", 64, 1e4), 1000, "M46 M91", "a real size"),
    )
    for label, made, delta, flags, comment in given:
        yield shift(
            f"composition/shift_of/{label}", made, ("R-9.5", flags, comment), x=[1, 2, 2, made["head_dim"]], delta=delta
        )


def coarse(question: Question) -> Array:
    """Return a rotated tensor rounded to sixteenths, so that it can be an input in every dtype."""
    return array(question["x"]["shape"], [round(16 * double(y)) / 16.0 for y in rotated(question).values])


def sequences() -> Iterator[Case]:
    """Yield rotations by a, then by b, beside the rotation by a + b (R-9.4)."""
    given: tuple[tuple[str, dict[str, Any], int, int, str, str], ...] = (
        ("half_split", config(), 3, 4, "M12 M91", "3, then 4, and 7 at once"),
        ("interleaved", config("interleaved"), 250, 7, "M44 M91", "250, then 7, and 257 at once"),
        ("back", config(), 9, -9, "M1 M32 M91", "there and back by a negative position"),
        (
            "stretched",
            config(attention_factor=1.25),
            3,
            4,
            "M12 M68 M91",
            "with A each rotation multiplies: A^2 after two",
        ),
    )
    for label, made, a, b, flags, comment in given:
        first = rotation(made, x=[1, 2, 1, 8], positions=[a])
        second = rotation(made, x=coarse(first), positions=[b])
        whole = rotation(made, x=[1, 2, 1, 8], positions=[a + b])
        calls = [(first, None), (second, None), (whole, None)]
        yield sequence(f"composition/sequence/{label}", ("R-9.4", flags, comment), calls)
    for mode, rule in (("inverse", "R-9.3"), ("transpose", "R-9.2")):
        first = rotation(config(attention_factor=1.25), x=[1, 2, 2, 8], positions=[3, 40])
        second = rotation(config(attention_factor=1.25), x=coarse(first), positions=[3, 40], mode=mode)
        about = (rule, "M1 M90", f"a rotation, then the {mode}: " + ("x again" if mode == "inverse" else "A^2 x"))
        yield sequence(f"composition/sequence/{mode}", about, [(first, None), (second, None)])
