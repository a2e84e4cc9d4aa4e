"""Products of rotated queries and keys: what attention sees (R-9.6)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, scores
from .common import PAIRINGS, RULE_OF, config, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from distances(pairing)
    yield from heads()
    yield from others()


def distances(pairing: str) -> Iterator[Case]:
    """Yield one distance at several places: the scores are the same, the vectors are not."""
    made = config(pairing)
    for label, q_at, k_at, flags in (
        ("near", [5, 6], [3, 4], "M1 M3"),
        ("moved_by_100", [105, 106], [103, 104], "M1 M3 M35 M36"),
        ("far", [131071, 131072], [131069, 131070], "M1 M35 M36 M49 M51"),
        ("below_zero", [-95, -94], [-97, -96], "M1 M32"),
    ):
        about = (
            f"R-9.6 {RULE_OF[pairing]}",
            flags,
            "distances 2, 1, 3 and 2: the numbers of every case of this group are equal",
        )
        yield scores(
            f"scores/{pairing}/{label}", made, about, q=[1, 2, 2, 8], k=[1, 2, 2, 8], positions=q_at, k_positions=k_at
        )
    about = (f"R-9.6 {RULE_OF[pairing]}", "M1", "the key behind the query: the other sign of the distance")
    yield scores(
        f"scores/{pairing}/reversed", made, about, q=[1, 2, 2, 8], k=[1, 2, 2, 8], positions=[3, 4], k_positions=[5, 6]
    )
    about = (f"R-9.6 {RULE_OF[pairing]}", "M19 M21", "partial rotation")
    yield scores(
        f"scores/{pairing}/partial",
        config(pairing, rotary_dim=4),
        about,
        q=[1, 2, 2, 8],
        k=[1, 2, 3, 8],
        positions=[5, 6],
        k_positions=[0, 3, 6],
    )
    about = (f"R-9.6 {RULE_OF[pairing]}", "M6 M7 M9", "a whole causal block, and batch rows")
    yield scores(f"scores/{pairing}/block", made, about, q=[2, 1, 4, 8], k=[2, 1, 4, 8], positions=[0, 1, 2, 3])


def heads() -> Iterator[Case]:
    """Yield keys with fewer heads than queries."""
    for groups, comment in (
        (1, "one head of k for all"),
        (2, "two heads of q share one of k"),
        (4, "as many heads as queries"),
    ):
        about = ("R-9.6", "M43" if groups < 4 else "", comment)
        yield scores(
            f"scores/heads/q4_k{groups}",
            config(),
            about,
            q=[2, 4, 2, 8],
            k=[2, groups, 3, 8],
            positions=[4, 5],
            k_positions=[0, 2, 5],
        )
    about = ("R-9.6", "M43", "8 heads of q for 2 of k")
    yield scores(
        "scores/heads/q8_k2",
        config("interleaved"),
        about,
        q=[1, 8, 1, 8],
        k=[1, 2, 2, 8],
        positions=[9],
        k_positions=[1, 8],
    )


def others() -> Iterator[Case]:
    """Yield rules that change scores."""
    given: tuple[tuple[str, dict[str, Any], str, str, str], ...] = (
        (
            "yarn",
            config(scaling=scaled("yarn", factor=4.0, original_max_position=64)),
            "R-5.7",
            "M68 M72",
            "A^2 = 1.2965 at equal positions",
        ),
        (
            "yarn_partial",
            config(rotary_dim=4, scaling=scaled("yarn", factor=4.0, original_max_position=64)),
            "R-5.7",
            "M23 M72",
            "A^2 on the rotated part alone",
        ),
        (
            "xpos",
            config(scaling=scaled("xpos", scale_base=16.0)),
            "R-5.11",
            "M1",
            "magnitudes of q and k: only the distance is left",
        ),
        (
            "xpos_centre",
            config(scaling=scaled("xpos", scale_base=16.0, centre=50.0)),
            "R-5.11",
            "M1",
            "the centre cancels: the same numbers as without it",
        ),
        ("damped", config(scaling=scaled("damped", rate=0.125)), "R-5.12", "M1", "scores gain exp(-rate * distance)"),
        (
            "deinterleave",
            config("interleaved", out_pairing="half_split"),
            "R-3.3",
            "M3",
            "de-interleaving does not show in scores",
        ),
        (
            "llama3",
            config(
                scaling=scaled(
                    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=64
                )
            ),
            "R-5.9",
            "M60 M61 M62 M63",
            "all three bands",
        ),
    )
    for label, made, rule, flags, comment in given:
        yield scores(
            f"scores/rules/{label}",
            made,
            (f"R-9.6 {rule}", flags, comment),
            q=[1, 2, 2, 8],
            k=[1, 1, 3, 8],
            positions=[7, 40],
            k_positions=[0, 7, 39],
        )
