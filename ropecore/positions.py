"""Positions: builders of the position ids that models use (rope.md chapter 7).

Each takes lists and the arrays of every library, and returns arrays of the same library on the same
device.
"""

from typing import Annotated, Any

import numpy as np

from ropecore.arguments import AxisCount, Count, Natural, checked
from ropecore.arrays import BEYOND_COORDINATES as BEYOND_COORDINATES  # noqa: PLC0414
from ropecore.arrays import LARGEST_POSITION as LARGEST_POSITION  # noqa: PLC0414
from ropecore.arrays import host_array as host_array  # noqa: PLC0414
from ropecore.arrays import integers as integer_positions
from ropecore.arrays import kind_name, like, own_array
from ropecore.errors import RopeError
from ropecore.lanes import IntArray

MOST_TOKENS = 1 << 26  # of a packed batch: 512 MiB of positions


def mask_of(argument: str, values: Any) -> IntArray:
    """Return a mask as 0 and 1, or refuse other numbers.  Rule R-7.7."""
    kept = host_array(argument, values)
    if kept.dtype.kind not in "biu" or not np.isin(kept, (0, 1)).all():
        raise RopeError(argument, values, "must hold 0 and 1", rule="R-7.7")
    return kept.astype(np.int64)


Mask = Annotated[Any, mask_of]


@checked
def text_positions(ids: Any, n_axes: AxisCount) -> Any:
    """Return ids (..) for a plan with several axes, (n_axes, ..): text has the same position on
    each.  Rule R-7.6.
    """
    xp, own = own_array("ids", ids)
    if xp is np:
        own = integer_positions("ids", own)
    elif kind_name(xp, own) != "integer":
        raise RopeError("ids", str(own.dtype), "positions on an integer axis must be integers", rule="R-12.5")
    return xp.stack([own] * n_axes)


def axes_first(ids: Any) -> Any:
    """Return ids (.., n_axes), as vision towers give them, as (n_axes, ..), as plans with several
    axes take them.  Rule R-7.3.
    """
    xp, positions = own_array("ids", ids)
    if positions.ndim < 2 or kind_name(xp, positions) not in ("integer", "real"):
        raise RopeError("ids", ids, "must be numbers of shape (.., n_axes)", rule="R-7.3")
    return xp.moveaxis(positions, -1, 0)


def packed_positions(cu_seqlens: Any) -> Any:
    """Return positions (t,) of packed documents, each from 0, for cumulative lengths 0 = c_0 < c_1
    < .. < c_n = t.  Rule R-7.5.
    """
    bounds = integer_positions("cu_seqlens", cu_seqlens)
    if bounds.ndim != 1 or not len(bounds) or bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise RopeError(
            "cu_seqlens", cu_seqlens, "must be cumulative lengths that start at 0 and do not fall", rule="R-7.5"
        )
    if bounds[-1] > MOST_TOKENS:
        raise RopeError("cu_seqlens", int(bounds[-1]), f"has more than {MOST_TOKENS} tokens", rule="R-7.5")
    return like(cu_seqlens)(np.arange(bounds[-1], dtype=np.int64) - np.repeat(bounds[:-1], np.diff(bounds)))


def mask_positions(mask: Any) -> Any:
    """Return positions (b, s) for a mask (b, s) that is 0 at padding: the first token has 0, and so
    has padding.  Rule R-7.7.
    """
    kept = mask_of("mask", mask)
    if not kept.ndim:
        raise RopeError("mask", mask, "must have a dimension of tokens", rule="R-7.7")
    return like(mask)(np.maximum(np.cumsum(kept, axis=-1) - 1, 0) * kept)


@checked
def dual_chunk_positions(positions: Any, chunk_length: Count, local_length: Natural) -> dict[str, Any]:
    """Return the position lists of dual chunk attention: "key" and the five of queries.  Rule
    R-7.8; An et al. 2024.
    """
    p = integer_positions("positions", positions)
    if local_length >= chunk_length:
        raise RopeError("local_length", local_length, f"must be below chunk_length={chunk_length}", rule="R-12.3")
    period = chunk_length - local_length
    intra = p % period
    lists = {
        "key": intra,
        "intra": intra,
        "succ": np.minimum(intra + period, chunk_length),
        "inter": np.full_like(intra, min(2 * period - 1, chunk_length)),
        "succ_critical": intra + period,
        "inter_critical": intra + chunk_length,
    }
    return {name: like(positions)(ids) for name, ids in lists.items()}
