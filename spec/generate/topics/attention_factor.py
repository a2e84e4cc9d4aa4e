"""The attention factor A: on every rotated lane, at every position, and nowhere else (R-5.7,
R-5.13, R-9.1).
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, frequencies, plan_of_config, rotate, scores, tables, vjp
from .common import PAIRINGS, RULE_OF, config, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from factors(pairing)
    yield from rules()
    yield from uses()


def factors(pairing: str) -> Iterator[Case]:
    """Yield factors above and below 1."""
    for label, a in (("a1_25", 1.25), ("a0_5", 0.5), ("a1_1386", 1.1386294361119891)):
        for position, flags in ((0, "M2 M68 M69"), (5, "M68 M69 M1")):
            shown = flags.replace(" M69", "") if position == 0 else flags
            about = (
                f"R-5.13 R-9.1 {RULE_OF[pairing]}",
                shown,
                "at position 0 the rotation is A, not the identity" if position == 0 else "A on cosines and sines",
            )
            made = config(pairing, attention_factor=a)
            yield rotate(
                f"attention_factor/{pairing}/{label}_pos{position}", made, about, x=[1, 2, 1, 8], positions=[position]
            )
    about = (
        f"R-2.2 R-9.1 {RULE_OF[pairing]}",
        "M19 M23 M68",
        "lanes that pass through are not multiplied, at position 0 either",
    )
    yield rotate(
        f"attention_factor/{pairing}/partial",
        config(pairing, rotary_dim=4, attention_factor=1.25),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 40],
    )
    about = (f"R-2.2 R-9.1 {RULE_OF[pairing]}", "M18 M23 M68", "the last lanes")
    made = config(pairing, rotary_dim=4, lane_offset=4, attention_factor=1.25)
    yield rotate(f"attention_factor/{pairing}/last", made, about, x=[1, 2, 3, 8], positions=[0, 1, 40])
    about = (f"R-9.1 {RULE_OF[pairing]}", "M1", "A of exactly 1 changes no bit")
    yield rotate(
        f"attention_factor/{pairing}/one",
        config(pairing, attention_factor=1.0),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 40],
    )


def rules() -> Iterator[Case]:
    """Yield the configuration's own factor beside rules that have none (R-5.13)."""
    given: tuple[tuple[str, dict[str, Any]], ...] = (
        ("linear", {"factor": 4.0}),
        ("ntk", {"alpha": 4.0}),
        ("ntk_by_parts", {"factor": 4.0, "original_max_position": 64}),
        ("llama3", {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 64}),
        ("xpos", {"scale_base": 16.0}),
    )
    for rule, parameters in given:
        about = ("R-5.13", "M68 M70", f"{rule} has no factor of its own")
        made = config(scaling=scaled(rule, **parameters), attention_factor=1.1386294361119891)
        yield frequencies(f"attention_factor/rules/{rule}", made, about)
    made = config(scaling=scaled("xpos", scale_base=16.0), attention_factor=1.25)
    about = ("R-5.13 R-2.4", "M68", "A and a magnitude")
    yield rotate("attention_factor/rules/xpos_applied", made, about, x=[1, 2, 3, 8], positions=[0, 1, 40])


def uses() -> Iterator[Case]:
    """Yield tables, scores, gradients and plans."""
    made = config(attention_factor=1.25)
    about = ("R-5.7 R-8.1", "M68 M69", "tables carry A")
    yield tables("attention_factor/uses/tables", made, about, [0, 1, 257])
    about = ("R-9.6", "M68 M72", "scores at equal positions are A^2 times the product before the rotation")
    yield scores("attention_factor/uses/scores_equal", made, about, q=[1, 2, 1, 8], k=[1, 2, 1, 8], positions=[7])
    about = ("R-9.6", "M69 M72", "scores at unequal positions")
    yield scores(
        "attention_factor/uses/scores",
        made,
        about,
        q=[1, 2, 2, 8],
        k=[1, 2, 3, 8],
        positions=[7, 9],
        k_positions=[0, 3, 9],
    )
    about = ("R-11.1", "M87 M89", "the gradient carries A once")
    yield vjp("attention_factor/uses/gradient", made, about, x=[1, 2, 3, 8], positions=[0, 1, 40])
    about = ("R-2.5", "M68", "with A not 1 no row is dropped")
    still = config(scaling=scaled("proportional", partial_rotary_factor=0.25), attention_factor=1.25)
    yield plan_of_config("attention_factor/uses/plan", still, about)
