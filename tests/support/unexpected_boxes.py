"""Black boxes that differ from an expected configuration in one respect each, and the words that
`identify` must have for it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import ropecore
from ropecore import RopeConfig, RotaryPlan

EXPECTED = RopeConfig(head_dim=16, pairing="half_split", base=1e4)
AXES = RopeConfig(
    head_dim=16, pairing="half_split", base=1e4, axes=("t", "h", "w"), sections=(4, 2, 2), axis_order="chunked"
)
Box = Callable[[Any, Any], Any]


def turned(plan: RotaryPlan, x: Any, positions: Any) -> Any:
    """The rotation, also of rows with positions of their own, in the dtype of x."""
    cos, sin = ropecore.cos_sin(plan, positions)
    if cos.ndim == 3:
        cos, sin = cos[:, None], sin[:, None]
    return ropecore.rotate(plan, x.astype(np.float64), cos, sin).astype(x.dtype)


def of(config: RopeConfig) -> Box:
    """The right box of a configuration."""
    return lambda x, positions: turned(config.plan(), x, positions)


def sines_lost(x: Any, positions: Any) -> Any:
    plan = EXPECTED.plan()
    cos, sin = ropecore.cos_sin(plan, positions)
    return ropecore.rotate(plan, x, cos.astype("f4"), 0 * sin.astype("f4"))


def last_token_left_out(x: Any, positions: Any) -> Any:
    y = of(EXPECTED)(x, positions)
    if x.shape[2] > 1:
        y[:, :, -1] = x[:, :, -1]
    return y


def first_row_alone(x: Any, positions: Any) -> Any:
    y = of(EXPECTED)(x, positions)
    y[1:] = x[1:]
    return y


def first_two_heads(x: Any, positions: Any) -> Any:
    """Heads beyond two are left out, in calls of three or more that are no probe of 16."""
    y = of(EXPECTED)(x, positions)
    if x.shape[1] < 16:
        y[:, 2:] = x[:, 2:]
    return y


UNEXPECTED: dict[str, tuple[Box, str]] = {
    "not rotated": (lambda x, p: x.copy(), "nothing is rotated, and 16 lanes are expected to be"),
    "sines lost": (sines_lost, "the plan misses the box by"),
    "pairing": (of(EXPECTED.replace(pairing="interleaved")), "the pairing is interleaved, and half_split is expected"),
    "rotary_dim": (of(EXPECTED.replace(rotary_dim=8)), "8 lanes are rotated, and 16 are expected"),
    "lane_offset": (of(EXPECTED.replace(rotary_dim=8, lane_offset=8)), "8 lanes are rotated, and 16 are expected"),
    "base": (of(EXPECTED.replace(base=10_500.0)), "7 frequencies of 8 differ: lanes [1, 9] turn by"),
    "direction": (of(EXPECTED.replace(direction=-1)), "it turns backwards"),
    "out_pairing": (of(EXPECTED.replace(pairing="interleaved", out_pairing="half_split")), "the pairing is general"),
    "factor": (of(EXPECTED.replace(attention_factor=1.01)), "the factor A is 1.01, and 1 is expected"),
    "magnitude": (of(EXPECTED.replace(scaling=ropecore.XPos())), "changes with the position, and is not expected to"),
    "clamped": (lambda x, p: of(EXPECTED)(x, np.minimum(p, 20_000)), "(positions from 257 to 40001)"),
    "size of a position": (lambda x, p: of(EXPECTED)(x, np.abs(p)), "(negative positions)"),
    "sorted": (lambda x, p: of(EXPECTED)(x, np.sort(p)), "(unsorted positions 5, 3, 4)"),
    "repeated": (
        lambda x, p: of(EXPECTED)(x, p if len(np.unique(p)) == p.size else np.arange(p.size).reshape(p.shape)),
        "(repeated positions)",
    ),
    "last token": (last_token_left_out, "(several heads, positions 0, 1, 2)"),
    "rows": (first_row_alone, "(one token in each of two rows)"),
    "heads": (first_two_heads, "(as many heads as tokens)"),
    "length": (lambda x, p: of(EXPECTED)(x, p if p.shape[-1] < 10 else p + 1), "(eleven tokens)"),
    "input": (lambda x, p: np.copyto(x, of(EXPECTED)(x, p)) or x, "its input is changed by the call"),
}
