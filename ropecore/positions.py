"""Positions: builders of the position ids that models use (rope.md chapter 7)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ropecore.errors import RopeError, integer
from ropecore.lanes import IntArray

LARGEST_POSITION = 2**31 - 1
BEYOND_COORDINATES = 2.0**31  # coordinates of real axes are nearer to 0 


def text_positions(ids: npt.ArrayLike, n_axes: int) -> IntArray:
    """Return ids (..) for a plan with several axes, (n_axes, ..): text has the same position on each.  Rule R-7.6."""
    positions = integer_positions("ids", ids)
    return np.repeat(positions[None], integer("n_axes", n_axes, at_least=1, at_most=64), axis=0)


def axes_first(ids: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return ids (.., n_axes), as vision towers give them, as (n_axes, ..), as plans with several axes take them.  Rule R-7.3."""
    positions = np.asarray(ids)
    if positions.ndim < 2 or positions.dtype.kind not in "iuf":
        raise RopeError("ids", ids, "must be numbers of shape (.., n_axes)", rule="R-7.3")
    return np.moveaxis(positions, -1, 0)


def packed_positions(cu_seqlens: npt.ArrayLike) -> IntArray:
    """Return positions (t,) of packed documents, each from 0, for cumulative lengths 0 = c_0 < c_1 < .. < c_n = t.  Rule R-7.5."""
    bounds = integer_positions("cu_seqlens", cu_seqlens)
    if bounds.ndim != 1 or not len(bounds) or bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise RopeError(
            "cu_seqlens", cu_seqlens, "must be cumulative lengths that start at 0 and do not fall", rule="R-7.5"
        )
    return np.arange(bounds[-1], dtype=np.int64) - np.repeat(bounds[:-1], np.diff(bounds))


def mask_positions(mask: npt.ArrayLike) -> IntArray:
    """Return positions (b, s) for a mask (b, s) that is 0 at padding: the first token has 0, and so has padding.  Rule R-7.7."""
    kept = np.asarray(mask)
    if kept.dtype.kind not in "biu" or not np.isin(kept, (0, 1)).all():
        raise RopeError("mask", mask, "must hold 0 and 1", rule="R-7.7")
    return np.maximum(np.cumsum(kept.astype(np.int64), axis=-1) - 1, 0) * kept.astype(np.int64)


def dual_chunk_positions(positions: npt.ArrayLike, chunk_length: int, local_length: int) -> dict[str, IntArray]:
    """Return the position lists of dual chunk attention: "key" and the five of queries.  Rule R-7.8; An et al. 2024."""
    p = integer_positions("positions", positions)
    chunk = integer("chunk_length", chunk_length, at_least=1)
    period = chunk - integer("local_length", local_length, at_most=chunk - 1)
    intra = p % period
    return {
        "key": intra,
        "intra": intra,
        "succ": np.minimum(intra + period, chunk),
        "inter": np.full_like(intra, min(2 * period - 1, chunk)),
        "succ_critical": intra + period,
        "inter_critical": intra + chunk,
    }


def integer_positions(argument: str, values: npt.ArrayLike) -> IntArray:
    """Return integer positions as int64, or refuse another kind and values beyond 2^31 - 1.  Rules R-7.1, R-12.5."""
    array = host_array(argument, values)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)  # np.asarray([]) is float
    if array.dtype.kind not in "iu":
        cure = "Round them, or give the plan a real axis." if array.dtype.kind == "f" else ""
        raise RopeError(argument, array.dtype.name, "positions on an integer axis must be integers", cure, "R-12.5")
    if array.size and (array.max() > LARGEST_POSITION or array.min() < -LARGEST_POSITION):
        worst = int(array.max()) if array.max() > LARGEST_POSITION else int(array.min())
        raise RopeError(argument, worst, "positions must be within +-(2^31 - 1)", rule="R-7.1")
    return array.astype(np.int64)


def host_array(argument: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return values as an array, or refuse what makes none, such as rows of different lengths.  Rule R-12.5."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        cure = "Rows must have one length; your library's stack makes one array of several."
        raise RopeError(argument, type(values).__name__, "is no array of numbers", cure, "R-12.5") from error
