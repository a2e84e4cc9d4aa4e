"""Weights that go from one pairing to another: the lanes of each head are permuted, and all that has an entry a lane (R-3.3)."""

from collections.abc import Iterator

from ..cases import Case, weights
from .common import PAIRINGS, config

OTHER: dict[str, str] = dict(zip(PAIRINGS, reversed(PAIRINGS), strict=True))


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from projections(pairing)
        yield from companions(pairing)


def projections(pairing: str) -> Iterator[Case]:
    """Yield projections; from head_dim 6 on, the way back is another permutation."""
    for label, head_dim, heads, flags in (
        ("d4", 4, 2, "M93"),
        ("d6", 6, 1, "M92"),
        ("d8", 8, 1, "M92"),
        ("d8_h2", 8, 2, "M92 M93"),
        ("d8_h4", 8, 4, "M92 M93"),
        ("d16_h2", 16, 2, "M92 M93"),
    ):
        made = [config(name, head_dim) for name in (pairing, OTHER[pairing])]
        about = ("R-3.1 R-3.2", flags, f"rows of {heads} heads of {head_dim} lanes, to {OTHER[pairing]}")
        yield weights(f"weights/{pairing}/{label}", (made[0], made[1]), about, "rows", heads, heads * head_dim)
    for label, more in (("partial", {"rotary_dim": 6}), ("last", {"rotary_dim": 6, "lane_offset": 2})):
        made = [config(name, **more) for name in (pairing, OTHER[pairing])]
        about = ("R-3.1 R-3.2 R-3.4", "M19 M92", "lanes that pass through keep their rows")
        yield weights(f"weights/{pairing}/{label}", (made[0], made[1]), about, "rows", 2, 16)
    both = config(pairing)
    about = ("R-3.1 R-3.2", "", "the same pairing: nothing moves")
    yield weights(f"weights/{pairing}/same", (both, both), about, "rows", 2, 16)


def companions(pairing: str) -> Iterator[Case]:
    """Yield what must be permuted with the rows."""
    for tensor, rows, comment in (
        ("bias", 16, "a bias, one entry a lane of each head"),
        ("norm", 8, "a norm's weight, shared by the heads"),
        ("norm", 16, "a norm's weight, with entries for each head"),
        ("scale", 16, "quantisation scales, one a row"),
        ("lora_b", 16, "LoRA's factor B has the rows of the projection"),
    ):
        made = [config(name) for name in (pairing, OTHER[pairing])]
        about = ("R-3.1 R-3.2", "M92 M94", comment)
        yield weights(f"weights/{pairing}_with/{tensor}_{rows}", (made[0], made[1]), about, tensor, 2, rows)
    made = [config(name) for name in (pairing, OTHER[pairing])]
    about = ("R-3.1 R-3.2", "", "one scale for each head stays with it")
    yield weights(f"weights/{pairing}_with/scale_2", (made[0], made[1]), about, "scale", 2, 2)
