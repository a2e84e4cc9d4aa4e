"""Weights that go from one pairing to another: the lanes of each head are permuted, and all that
has an entry a lane (R-3.7, R-3.8).
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, weights
from .common import PAIRINGS, config, scaled

OTHER: dict[str, str] = dict(zip(PAIRINGS, reversed(PAIRINGS), strict=True))


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from projections(pairing)
        yield from companions(pairing)
        yield from plans(pairing)


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


def plans(pairing: str) -> Iterator[Case]:
    """Yield plans whose rows are matched by what they do, and tensors of fewer heads."""
    llama3 = scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=64)
    video: dict[str, Any] = {"axes": ["t", "h", "w"], "sections": [2, 1, 1]}
    cases: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        ("llama3", {"scaling": llama3}, "M92", "rows are matched by their frequencies, whatever rule made them"),
        ("magnitude", {"scaling": scaled("xpos")}, "M92", "and by their magnitudes"),
        ("stretched", {"attention_factor": 1.25}, "M92", "A is the same in both, and no weight is multiplied"),
        ("axes", video, "M92", "by their frequencies on every axis"),
        ("offset", {"rotary_dim": 6, "lane_offset": 1}, "M19 M92", "lanes before and after keep their rows"),
    )
    for label, more, flags, comment in cases:
        made = [config(name, **more) for name in (pairing, OTHER[pairing])]
        about = ("R-3.7 R-3.8", flags, comment)
        yield weights(f"weights/{pairing}_plans/{label}", (made[0], made[1]), about, "rows", 2, 16)
    made = [config(name) for name in (pairing, OTHER[pairing])]
    for tensor, heads, rows, comment in (
        ("rows", 1, 8, "a key projection under grouped heads: its own number of heads"),
        ("bias", 3, 24, "a bias of three heads"),
        ("scale", 4, 4, "one scale a head stays"),
    ):
        about = ("R-3.7 R-3.8", "M92 M93" if heads > 1 and rows > heads else "", comment)
        yield weights(f"weights/{pairing}_plans/{tensor}_{heads}", (made[0], made[1]), about, tensor, heads, rows)
