"""Pairings: which lanes form pair j (rope.md chapter 3)."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt

from ropecore.arguments import OneOf
from ropecore.errors import RopeError, choice

IntArray = npt.NDArray[np.int64]

PAIRINGS = ("half_split", "interleaved")
Pairing = Annotated[str, OneOf(PAIRINGS)]


def pair_lanes(pairing: str, rotary_dim: int, lane_offset: int = 0, argument: str = "pairing") -> IntArray:
    """Return the lanes of each pair, shape (rotary_dim / 2, 2).

    half_split: (o + j, o + j + R/2); interleaved: (o + 2j, o + 2j + 1).  Rules R-3.1, R-3.2.
    """
    j = np.arange(rotary_dim // 2, dtype=np.int64)
    if choice(argument, pairing, PAIRINGS) == "half_split":
        return lane_offset + np.stack([j, j + rotary_dim // 2], axis=-1)
    return lane_offset + np.stack([2 * j, 2 * j + 1], axis=-1)


def block_lanes(pairing: str, sections: Sequence[int], lane_offset: int = 0, argument: str = "pairing") -> IntArray:
    """Return the lanes of each pair where every axis owns a contiguous block, shape (sum of
    sections, 2).  Rule R-3.5.
    """
    starts = lane_offset + 2 * np.cumsum([0, *sections[:-1]])
    blocks = [pair_lanes(pairing, 2 * size, int(start), argument) for size, start in zip(sections, starts, strict=True)]
    return np.concatenate(blocks)


def recognise(lanes: IntArray, out_lanes: IntArray) -> str:
    """Return the pairing that the lanes of a plan have: a name of PAIRINGS, or "general"."""
    if len(lanes) and np.array_equal(lanes, out_lanes):
        for pairing in PAIRINGS:
            if np.array_equal(lanes, pair_lanes(pairing, 2 * len(lanes), int(lanes[0, 0]))):
                return pairing
    return "general"


def as_index(lanes: IntArray) -> slice | IntArray:
    """Return a column of lanes as a slice where it is a regular progression, so that arrays are
    viewed and not gathered.
    """
    if not len(lanes):
        return slice(0, 0)
    step = int(lanes[1] - lanes[0]) if len(lanes) > 1 else 1
    if step > 0 and np.array_equal(lanes, lanes[0] + step * np.arange(len(lanes))):
        return slice(int(lanes[0]), int(lanes[-1]) + 1, step)
    return lanes


def check_lanes(argument: str, lanes: IntArray, head_dim: int) -> None:
    """Refuse lanes out of range or used twice.  Rules R-2.3, R-12.2."""
    if lanes.size and not (lanes.min() >= 0 and lanes.max() < head_dim):
        raise RopeError(argument, lanes.tolist(), f"lanes must be from 0 to {head_dim - 1}", rule="R-12.2")
    if len(np.unique(lanes)) != lanes.size:
        raise RopeError(argument, lanes.tolist(), "a lane is used twice", rule="R-12.2")
