"""Cache layouts and angles (chapter 8)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, angles, cache, plan_of_config, rotate, sinusoid
from ..layouts import LAYOUTS
from .common import PAIRINGS, config, own, scaled

PLACES = [0, 1, 5, 257]
VIDEO: dict[str, Any] = {"axes": ["t", "h", "w"], "sections": [2, 1, 1]}


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for layout in LAYOUTS:
        yield from of_layout(layout)
    yield from signed()
    yield from of_angles()
    yield from equal_forms()
    yield from baseline()


def of_layout(layout: str) -> Iterator[Case]:
    """Yield one layout: plain, with A, with rows of positions, with axes."""
    about = ("R-8.1", "M2", "four pairs: as many as positions, so that a transposed table shows in its values alone")
    yield cache(f"cache/{layout}/d8", config(), about, PLACES, layout)
    about = ("R-8.1 R-5.7", "M68 M69", "three of four pairs, with A: 3 rows for 5 positions")
    made = config("interleaved", rotary_dim=6, attention_factor=1.25)
    yield cache(f"cache/{layout}/partial_stretched", made, about, [0, 1, 5, 257, -1], layout)
    about = ("R-8.1 R-7.3", "M27", "positions by batch row")
    yield cache(f"cache/{layout}/rows", config(head_dim=6), about, [[0, 1], [7, 8]], layout)
    about = ("R-8.1 R-6.1", "M77 M78", "three axes")
    yield cache(f"cache/{layout}/axes", config(**VIDEO), about, [[0, 1, 2], [0, 3, 1], [0, 7, 4]], layout)


def signed() -> Iterator[Case]:
    """Yield the layout that goes by lanes, where lanes matter."""
    for pairing in PAIRINGS:
        about = ("R-8.1 R-8.3", "M3 M18 M23", "the last 4 of 8 lanes: 1 and 0 on the others, without A")
        made = config(pairing, rotary_dim=4, lane_offset=4, attention_factor=1.25)
        yield cache(f"cache/signed_lanes/{pairing}_last", made, about, PLACES, "signed")
        about = ("R-8.1 R-8.3", "M1 M3", "which of the two lanes of a pair has the negated sine")
        yield cache(f"cache/signed_lanes/{pairing}", config(pairing), about, PLACES, "signed")
    about = ("R-8.1 R-3.6", "M1", "turning the other way")
    yield cache("cache/signed_lanes/direction", config("interleaved", direction=-1), about, PLACES, "signed")
    about = ("R-8.1 R-5.10", "M21 M22", "a proportional rotation: lanes 0, 4 of 8")
    made = config(scaling=scaled("proportional", partial_rotary_factor=0.25))
    yield cache("cache/signed_lanes/proportional", made, about, PLACES, "signed")


def of_angles() -> Iterator[Case]:
    """Yield angles, reduced before they are rounded (R-8.2)."""
    for label, made, positions, comment in (
        ("d8", config(), [0, 1, 5, 257, -257], "small positions of both signs"),
        (
            "far",
            config(),
            [131071, 16777217, 2147483647, -2147483647],
            "an angle that is not reduced has few digits left here",
        ),
        ("d128", config("half_split", 128, 5e5), [1048575], "a real size"),
        ("axes", config(**VIDEO), [[0, 1, 2], [0, 3, 1], [0, 7, 4]], "three axes"),
        ("rows", config(head_dim=6), [[0, 1], [700, 8]], "positions by batch row"),
        ("stretched", config(attention_factor=1.25), [0, 1, 40], "angles carry no A"),
    ):
        flags = "M39 M51" if label == "far" else "M49 M51" if label == "d128" else "M6 M8"
        yield angles(f"cache/angles/{label}", made, ("R-8.2", flags, comment), positions)
    made = own([31.41592653589793, 3.0], axes=["x"], axis_kinds=["real"])
    about = ("R-8.2 R-6.9", "M44", "a real axis")
    yield angles("cache/angles/real", made, about, [-0.714111328125, 0.285888671875, 1.0])


def equal_forms() -> Iterator[Case]:
    """Yield rotations at which the equal forms may be checked (R-8.3)."""
    for pairing in PAIRINGS:
        about = ("R-8.3 R-2.1", "M1 M13", "the additive, the complex and the matrix form give this")
        yield rotate(
            f"cache/equal_forms/{pairing}",
            config(pairing, rotary_dim=6, attention_factor=1.25),
            about,
            x=[1, 2, 3, 8],
            positions=[0, 3, 11],
        )
    about = ("R-8.3 R-3.3", "M4", "lanes written are not those read: the matrix form alone")
    yield rotate(
        "cache/equal_forms/moved",
        config("interleaved", out_pairing="half_split"),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 3, 11],
    )
    about = ("R-8.3 R-2.5", "", "the plan of the matrix form's blocks")
    yield plan_of_config("cache/equal_forms/moved_plan", config("interleaved", out_pairing="half_split"), about)


def baseline() -> Iterator[Case]:
    """Yield the sinusoidal encoding, which is added and no RoPE."""
    for label, positions, dim, base in (
        ("d8", [0, 1, 5, 257], 8, 100.0),
        ("d6", [3, 2, 131071], 6, 1e4),
        ("d64", [50], 64, 1e4),
    ):
        about = ("R-4.1", "M6", "sin on even, cos on odd lanes")
        yield sinusoid(f"cache/baseline/{label}", about, positions, dim, base)
