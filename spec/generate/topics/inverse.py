"""The inverse and the transpose (R-9.2, R-9.3)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, rotate
from .common import PAIRINGS, RULE_OF, config, scaled

RULES = {"inverse": "R-9.3", "transpose": "R-9.2"}


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for mode, rule in RULES.items():
        for pairing in PAIRINGS:
            about = (f"{rule} {RULE_OF[pairing]}", "M1 M3", f"with A = 1 the {mode} turns back")
            yield rotate(
                f"inverse/{mode}/{pairing}", config(pairing), about, x=[1, 2, 4, 8], positions=[0, 1, 5, 257], mode=mode
            )
            about = (
                f"{rule} {RULE_OF[pairing]}",
                "M68 M90",
                "A = 1.25: the inverse divides by it, the transpose multiplies",
            )
            made = config(pairing, attention_factor=1.25)
            yield rotate(
                f"inverse/{mode}/{pairing}_stretched", made, about, x=[1, 2, 4, 8], positions=[0, 1, 5, 257], mode=mode
            )
        yield from others(mode, rule)


def others(mode: str, rule: str) -> Iterator[Case]:
    """Yield one mode with partial rotation, moved lanes, magnitudes, axes, offsets and formats."""
    half: dict[str, Any] = {"attention_factor": 0.5}
    given: tuple[tuple[str, dict[str, Any], dict[str, Any], str, str], ...] = (
        (
            "partial",
            config(rotary_dim=4, **half),
            {},
            "M19 M23 M90",
            "lanes that pass through are neither multiplied nor divided",
        ),
        (
            "deinterleave",
            config("interleaved", out_pairing="half_split"),
            {},
            "M1 M4",
            "reads the lanes written, writes the lanes read",
        ),
        (
            "deinterleave_stretched",
            config("interleaved", out_pairing="half_split", rotary_dim=6, **half),
            {},
            "M4 M90",
            "the same with A, on 6 of 8 lanes",
        ),
        ("last_lanes", config(rotary_dim=4, lane_offset=4), {}, "M1 M18", "the last lanes"),
        ("direction", config(direction=-1), {}, "M1", "of a rotation that turns the other way"),
        ("yarn", config(scaling=scaled("yarn", factor=4.0, original_max_position=64)), {}, "M68 M90", "A of YaRN"),
        (
            "xpos_q",
            config(scaling=scaled("xpos", scale_base=16.0)),
            {"role": "q"},
            "M1 M90",
            "the inverse divides by the magnitude, the transpose multiplies",
        ),
        (
            "xpos_k",
            config(scaling=scaled("xpos", scale_base=16.0, centre=20.0)),
            {"role": "k"},
            "M1 M90",
            "role k, with a centre",
        ),
        (
            "damped_stretched",
            config(scaling=scaled("damped", rate=0.125), attention_factor=1.25),
            {"role": "q"},
            "M90",
            "A and a magnitude",
        ),
        ("negative", config(), {"positions": [-1, -40]}, "M1 M32 M33", "negative positions"),
        ("far", config("half_split", 8, 1e4), {"positions": [131071, 16777217]}, "M39 M49 M51", "far out"),
    )
    for label, made, call, flags, comment in given:
        places: dict[str, Any] = {"positions": [0, 5, 40]} | call
        x = [1, 2, len(places["positions"]), 8]
        yield rotate(f"inverse/{mode}_of/{label}", made, (rule, flags, comment), x=x, mode=mode, **places)
    about = (f"{rule} R-7.4", "M30", "behind an offset")
    yield rotate(
        f"inverse/{mode}_of/offset", config(attention_factor=1.25), about, x=[2, 1, 2, 8], offset=[5, 9], mode=mode
    )
    about = (f"{rule} R-7.3", "M27 M41", "rows, tokens before heads")
    yield rotate(
        f"inverse/{mode}_of/bshd_rows",
        config(),
        about,
        x=[2, 2, 2, 8],
        positions=[[3, 4], [9, 1]],
        tensor_format="bshd",
        mode=mode,
    )
