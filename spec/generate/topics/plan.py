"""Plans: the canonical form, and the plan of a configuration for every arrangement of lanes and
axes (chapter 2).
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, plan_of_config, plan_of_rows
from .common import PAIRINGS, RULE_OF, config, own, scaled

ROWS: dict[str, Any] = {
    "schema": "ropecore-plan/1",
    "head_dim": 8,
    "axes": ["position"],
    "axis_kinds": ["integer"],
    "attention_factor": 1.0,
    "lanes": [[0, 4], [1, 5], [2, 6]],
    "out_lanes": [[0, 4], [1, 5], [2, 6]],
    "frequencies": [[1.0], [0.1], [0.01]],
    "log_magnitude": None,
    "centre": 0.0,
}


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from canonical()
    for pairing in PAIRINGS:
        yield from of_lanes(pairing)
    yield from of_axes()
    yield from of_rules()


def canonical() -> Iterator[Case]:
    """Yield plan objects that are not canonical (R-2.5)."""
    given: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        ("already", {}, "", "canonical already"),
        (
            "unsorted",
            {
                "lanes": [[2, 6], [0, 4], [1, 5]],
                "out_lanes": [[2, 6], [0, 4], [1, 5]],
                "frequencies": [[0.01], [1.0], [0.1]],
            },
            "",
            "rows are sorted by their first lane",
        ),
        (
            "swapped",
            {"lanes": [[4, 0], [1, 5], [6, 2]], "out_lanes": [[4, 0], [1, 5], [6, 2]]},
            "",
            "lanes exchanged: the sign of F turns",
        ),
        (
            "swapped_moved",
            {"lanes": [[4, 0], [1, 5], [6, 2]], "out_lanes": [[0, 4], [5, 1], [2, 6]]},
            "",
            "lanes written are exchanged with those read",
        ),
        (
            "swapped_zero",
            {
                "lanes": [[4, 0], [1, 5], [2, 6]],
                "frequencies": [[0.0], [0.1], [0.01]],
                "out_lanes": [[4, 0], [1, 5], [2, 6]],
                "attention_factor": 1.5,
            },
            "",
            "0 stays 0 when its sign turns",
        ),
        (
            "minus_zero",
            {"frequencies": [[1.0], [-0.0], [0.01]], "attention_factor": 1.25},
            "",
            "-0 is stored as 0; the row stays, since A is not 1",
        ),
        ("dropped", {"frequencies": [[1.0], [0.0], [0.01]]}, "", "a row that does nothing is dropped"),
        ("dropped_minus_zero", {"frequencies": [[1.0], [-0.0], [0.01]]}, "", "-0 does nothing either"),
        (
            "kept_moved",
            {"frequencies": [[0.0], [0.1], [0.0]], "out_lanes": [[0, 5], [1, 4], [2, 6]]},
            "",
            "a row that moves lanes stays, without turning",
        ),
        (
            "kept_exchanged",
            {"frequencies": [[0.0], [0.1], [0.01]], "out_lanes": [[4, 0], [1, 5], [2, 6]]},
            "",
            "a row that exchanges its two lanes stays",
        ),
        (
            "kept_stretched",
            {"frequencies": [[0.0], [0.0], [0.0]], "attention_factor": 2.0},
            "",
            "rows that stand still stay where A is not 1",
        ),
        (
            "kept_magnitude",
            {"frequencies": [[0.0], [0.1], [0.01]], "log_magnitude": [-0.125, -0.25, -0.5], "centre": 16.0},
            "",
            "a row that stands still and fades stays; magnitudes are sorted with their rows",
        ),
        (
            "magnitude_zero",
            {"log_magnitude": [0.0, -0.0, 0.0], "centre": 16.0},
            "",
            "a magnitude that is 0 in every row is none, and the centre is 0 then",
        ),
        (
            "magnitude_zero_row",
            {"frequencies": [[0.0], [0.1], [0.01]], "log_magnitude": [0.0, 0.0, -0.5], "centre": 16.0},
            "",
            "a row without frequency and magnitude is dropped, beside one that has both",
        ),
        ("centre_alone", {"centre": 16.0}, "", "a centre without a magnitude is 0"),
        (
            "magnitude_sorted",
            {
                "lanes": [[6, 2], [4, 0], [1, 5]],
                "out_lanes": [[6, 2], [4, 0], [1, 5]],
                "log_magnitude": [0.5, -0.125, 0.25],
            },
            "",
            "a magnitude keeps its sign where lanes are exchanged",
        ),
        (
            "two_axes",
            {
                "axes": ["h", "w"],
                "axis_kinds": ["integer", "real"],
                "lanes": [[4, 0], [5, 1], [6, 2]],
                "out_lanes": [[4, 0], [5, 1], [6, 2]],
                "frequencies": [[1.0, 0.0], [0.0, -0.5], [0.0, 0.0]],
            },
            "",
            "every axis's F turns its sign; a row of zeros is dropped",
        ),
    )
    for label, changes, flags, comment in given:
        yield plan_of_rows(f"plan/canonical/{label}", ROWS | changes, ("R-2.5", flags, comment))
    shuffled = {
        "lanes": [[7, 3], [0, 5], [6, 1]],
        "out_lanes": [[3, 0], [7, 6], [1, 5]],
        "frequencies": [[0.3], [-2.0], [5.0]],
    }
    yield plan_of_rows(
        "plan/canonical/general", ROWS | shuffled, ("R-2.5 R-2.3", "", "any lanes, written anywhere among those read")
    )


def of_lanes(pairing: str) -> Iterator[Case]:
    """Yield the lanes of each arrangement of one axis (chapter 3)."""
    other = PAIRINGS[1 - PAIRINGS.index(pairing)]
    given: tuple[tuple[str, dict[str, Any], str, str, str], ...] = (
        ("d8", {}, RULE_OF[pairing], "M3", "the whole head"),
        ("d6", {"head_dim": 6}, RULE_OF[pairing], "M3", "6 lanes"),
        ("partial", {"rotary_dim": 4}, f"{RULE_OF[pairing]} R-3.4", "M18 M20 M21", "the first 4 of 8"),
        ("last", {"rotary_dim": 4, "lane_offset": 4}, f"{RULE_OF[pairing]} R-3.4", "M18", "the last 4 of 8"),
        ("written_as_other", {"out_pairing": other}, "R-3.3", "M4", "read and written in different pairings"),
        ("direction", {"direction": -1}, "R-3.6", "", "every F negated"),
        (
            "proportional",
            {"scaling": scaled("proportional", partial_rotary_factor=0.5)},
            "R-5.10",
            "M22",
            "pairs that stand still are dropped",
        ),
        ("stretched", {"attention_factor": 1.25, "rotary_dim": 6}, "R-5.13", "M68", "A is part of the plan"),
    )
    for label, more, rule, flags, comment in given:
        made = config(pairing) | more
        yield plan_of_config(f"plan/{pairing}/{label}", made, (f"R-2.5 {rule}", flags, comment))


def of_axes() -> Iterator[Case]:
    """Yield the axis of each pair in each arrangement (chapter 6)."""
    thw: dict[str, Any] = {"axes": ["t", "h", "w"]}
    hw: dict[str, Any] = {"axes": ["h", "w"], "sections": [2, 2]}
    given: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        ("chunked", config(**thw, sections=[2, 1, 1]), "R-6.1", "M78"),
        ("interleaved", config(head_dim=10, **thw, sections=[3, 1, 1], axis_order="interleaved"), "R-6.2", "M78 M79"),
        (
            "interleaved_24_20_20",
            config("half_split", 128, 5e6, **thw, sections=[24, 20, 20], axis_order="interleaved"),
            "R-6.2",
            "M78 M79",
        ),
        ("alternating", config(head_dim=12, **thw, sections=[1, 3, 2], axis_order="alternating"), "R-6.3", "M78"),
        ("explicit", config(**thw, sections=[1, 2, 1], axis_order=[1, 2, 1, 0]), "R-6.4", "M78"),
        ("per_axis", config("interleaved", **hw, axis_frequencies="per_axis"), "R-6.6", "M81"),
        (
            "per_axis_alternating",
            config(**hw, axis_frequencies="per_axis", axis_order="alternating"),
            "R-6.6 R-6.3",
            "M78 M81",
        ),
        ("blocks", config(**hw, axis_blocks=True, axis_frequencies="per_axis"), "R-3.5", "M3"),
        ("mixed", own([[1.0, 0.5], [-0.25, 0.75]], axes=["h", "w"]), "R-6.7", ""),
        ("real", config(**hw, axis_kinds=["real", "real"]), "R-6.9", ""),
        (
            "proportional",
            config(**thw, sections=[2, 1, 1], scaling=scaled("proportional", partial_rotary_factor=0.5)),
            "R-5.10 R-6.1",
            "M22",
        ),
    )
    for label, made, rule, flags in given:
        yield plan_of_config(
            f"plan/axes/{label}", made, (f"R-2.5 {rule}", flags, "which axis each pair has, and its frequency")
        )


def of_rules() -> Iterator[Case]:
    """Yield plans of scaling rules: F rounded once, A, magnitudes (R-4.2)."""
    given: tuple[tuple[str, dict[str, Any], int | None, str, str], ...] = (
        ("yarn", scaled("yarn", factor=4.0, original_max_position=64), None, "R-5.6 R-5.7", "M67 M68"),
        (
            "llama3",
            scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=64),
            None,
            "R-5.9",
            "M60",
        ),
        ("dynamic_ntk", scaled("dynamic_ntk", factor=2.0, original_max_position=16), 40, "R-5.3", "M57 M58"),
        (
            "longrope",
            scaled(
                "longrope",
                short_factor=[1.0] * 4,
                long_factor=[1.0, 2.0, 4.5, 8.0],
                original_max_position=16,
                factor=4.0,
            ),
            17,
            "R-5.8",
            "M75 M76",
        ),
        ("xpos", scaled("xpos", centre=32.0), None, "R-5.11 R-2.4", ""),
        ("damped", scaled("damped", rate=0.01), None, "R-5.12 R-2.4", ""),
    )
    for label, rule, seq_len, rules, flags in given:
        made = config("interleaved", scaling=rule)
        yield plan_of_config(
            f"plan/rules/{label}", made, (f"R-2.5 R-4.2 {rules}", flags, "every number rounded once"), seq_len=seq_len
        )
