"""Cache layouts: how cos and sin are stored by the programs that exist (rope.md chapter 8)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ropecore.errors import RopeError, choice
from ropecore.plan import RotaryPlan

Array = npt.NDArray[Any]
Cache = Array | tuple[Array, Array]


class _Layout(NamedTuple):
    """A layout by its two directions; n is the number of pairs."""

    pack: Callable[[Array, Array], Cache]
    unpack: Callable[[Any, int], tuple[Array, Array]]
    tail: Callable[[int], tuple[int, ...]]  # the shape behind the positions, of each array
    arrays: int = 1


def _repeat(a: Array) -> Array:
    return np.repeat(a, 2, axis=-1)


def _twice(a: Array) -> Array:
    return np.concatenate([a, a], axis=-1)


def _matrix(cos: Array, sin: Array) -> Array:
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


LAYOUTS: dict[str, _Layout] = {
    "half": _Layout(lambda c, s: (c, s), lambda t, n: t, lambda n: (n,), 2),
    "concat": _Layout(lambda c, s: np.concatenate([c, s], -1), lambda t, n: (t[..., :n], t[..., n:]), lambda n: (2 * n,)),
    "sin_first": _Layout(lambda c, s: np.concatenate([s, c], -1), lambda t, n: (t[..., n:], t[..., :n]), lambda n: (2 * n,)),
    "full_concat": _Layout(
        lambda c, s: (_twice(c), _twice(s)), lambda t, n: (t[0][..., :n], t[1][..., :n]), lambda n: (2 * n,), 2
    ),
    "full_repeat": _Layout(
        lambda c, s: (_repeat(c), _repeat(s)), lambda t, n: (t[0][..., ::2], t[1][..., ::2]), lambda n: (2 * n,), 2
    ),
    "concat_full": _Layout(
        lambda c, s: np.concatenate([c, c, s, s], -1), lambda t, n: (t[..., :n], t[..., 2 * n : 3 * n]), lambda n: (4 * n,)
    ),
    "sin_first_repeat": _Layout(
        lambda c, s: np.concatenate([_repeat(s), _repeat(c)], -1),
        lambda t, n: (t[..., 2 * n :: 2], t[..., : 2 * n : 2]),
        lambda n: (4 * n,),
    ),
    "stacked": _Layout(lambda c, s: np.stack([c, s], -1), lambda t, n: (t[..., 0], t[..., 1]), lambda n: (n, 2)),
    "sinusoid": _Layout(
        lambda c, s: np.stack([s, c], -1).reshape(*c.shape[:-1], 2 * c.shape[-1]),
        lambda t, n: (t[..., 1::2], t[..., ::2]),
        lambda n: (2 * n,),
    ),
    "complex": _Layout(lambda c, s: c + 1j * s, lambda t, n: (t.real, t.imag), lambda n: (n,)),
    "matrix": _Layout(_matrix, lambda t, n: (t[..., 0, 0], t[..., 1, 0]), lambda n: (n, 2, 2)),
}  # fmt: skip
NAMES = (*LAYOUTS, "signed")


def pack_cache(plan: RotaryPlan, cos: npt.ArrayLike, sin: npt.ArrayLike, layout: str) -> Cache:
    """Return cos and sin (.., n_pairs) in a layout of rope.md chapter 8: one array, or two.

    Layouts: half concat sin_first full_concat full_repeat concat_full sin_first_repeat stacked sinusoid complex matrix signed.
    Rule R-8.1.
    """
    choice("layout", layout, NAMES)
    c, s = np.asarray(cos), np.asarray(sin)
    for name, table in (("cos", c), ("sin", s)):
        if table.shape[-1:] != (plan.n_pairs,) or c.shape != s.shape:
            raise RopeError(name, table.shape, f"must be (.., {plan.n_pairs}), and cos and sin alike", rule="R-8.1")
    return _signed(plan, c, s) if layout == "signed" else LAYOUTS[layout].pack(c, s)


def unpack_cache(plan: RotaryPlan, cache: Any, layout: str) -> tuple[Array, Array]:
    """Return the cos and sin (.., n_pairs) that a layout holds: `pack_cache` undone.  Rule R-8.1."""
    choice("layout", layout, NAMES)
    n, pair = plan.n_pairs, layout == "signed" or LAYOUTS[layout].arrays == 2
    tail = (plan.head_dim,) if layout == "signed" else LAYOUTS[layout].tail(n)
    if pair and not (isinstance(cache, (tuple, list)) and len(cache) == 2):
        raise RopeError("cache", type(cache).__name__, f"layout {layout} is two arrays, cos and sin", rule="R-8.1")
    arrays = [np.asarray(array) for array in (cache if pair else [cache])]
    for array in arrays:
        if array.shape[-len(tail) :] != tail:
            raise RopeError("cache", array.shape, f"layout {layout} of this plan ends in {tail}", rule="R-8.1")
    if layout == "signed":
        return arrays[0][..., plan.lanes[:, 1]], arrays[1][..., plan.lanes[:, 1]]
    return LAYOUTS[layout].unpack(tuple(arrays) if pair else arrays[0], n)


def _signed(plan: RotaryPlan, cos: Array, sin: Array) -> tuple[Array, Array]:
    """Return cos and signed sin by lane, for y = x * C + swap(x) * S: sin is negated on the first lane of a pair (R-8.3)."""
    if not np.array_equal(plan.lanes, plan.out):
        raise RopeError("layout", "signed", "needs a plan that writes the lanes it reads", rule="R-8.3")
    by_lane = (
        np.ones((*cos.shape[:-1], plan.head_dim), cos.dtype),
        np.zeros((*cos.shape[:-1], plan.head_dim), cos.dtype),
    )
    for column, sign in ((0, -1), (1, 1)):
        by_lane[0][..., plan.lanes[:, column]] = cos
        by_lane[1][..., plan.lanes[:, column]] = sign * sin
    return by_lane
