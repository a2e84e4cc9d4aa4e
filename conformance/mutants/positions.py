"""Mutants of positions and shapes: M26 to M43."""

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

import ropecore
from ropecore import RotaryPlan
from ropecore.precision import numpy_dtype

from ..arrays import Array
from .base import Ids, Right, Tables, through


class PositionsIgnored(Right):
    """The values of the positions are ignored, only their number counts."""

    flag = "M26"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        shape = np.shape(positions) or (length,)
        return np.broadcast_to(np.arange(length), shape)


class FirstRowForAll(Right):
    """The positions of the first batch row are used for all."""

    flag = "M27"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        places = super().positions(positions, offset, length)
        return np.broadcast_to(places[..., :1, :], places.shape) if places.ndim > 1 else places


class FirstRowAloneWithOneToken(Right):
    """With one token a row, only the first row is rotated."""

    flag = "M28"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        y = super().turn(plan, x, cos, sin)
        if x.ndim == 4 and cos.shape[-2] == 1:  # in the format bhsd
            y[1:] = x[1:]
        return y


class OffsetsAlongTheTokens(Right):
    """Offsets of rows are added along the tokens."""

    flag = "M29"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        if positions is None and np.ndim(offset) and len(offset) == length:
            return np.arange(length) + np.asarray(offset)
        return super().positions(positions, offset, length)


class OffsetIgnored(Right):
    """The offset is ignored, or counted twice."""

    flag = "M30"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return np.arange(length) if positions is None else positions


class CountedFrom1(Right):
    """Positions are counted from 1."""

    flag = "M31"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return super().positions(positions, offset, length) + 1


class SizeWithoutSign(Right):
    """The size of a position is used without its sign."""

    flag = "M32"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return np.abs(super().positions(positions, offset, length))


class MinusOneIsLargest(Right):
    """-1 wraps to the largest unsigned integer."""

    flag = "M33"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        places = np.asarray(super().positions(positions, offset, length))
        return np.where(places < 0, places + 2**16, places)


class MinusOneIsLastRow(Right):
    """A negative position indexes a table from its end."""

    flag = "M34"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        places = np.asarray(super().positions(positions, offset, length))
        return np.where(places < 0, places + 4096, places)


class ClampedToTable(Right):
    """Positions beyond a table are clamped to its end."""

    flag = "M35"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return np.minimum(super().positions(positions, offset, length), 4095)


class ModuloTable(Right):
    """Positions beyond a table start again at its front."""

    flag = "M36"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return np.asarray(super().positions(positions, offset, length)) % 4096


class LengthChangesContent(Right):
    """The length of a table changes its content."""

    flag = "M37"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        longer = np.float64(1 + 2.0**-30 * np.shape(positions)[-1])
        return ropecore.cos_sin(plan.with_frequencies(plan.frequencies * longer), positions, role)


class SixteenBitPositions(Right):
    """Positions are held in 16 bits."""

    flag = "M38"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return np.asarray(super().positions(positions, offset, length)).astype(np.int16)


class Float32Positions(Right):
    """Positions pass through float32."""

    flag = "M39"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return through(super().positions(positions, offset, length), np.float32)


class DocumentsCountedThrough(Ids):
    """Positions do not start again at each packed document."""

    flag = "M40"
    rules: ClassVar[Any] = SimpleNamespace(packed_positions=lambda cu_seqlens: np.arange(cu_seqlens[-1]))


class TokensAndHeadsExchanged(Right):
    """Sequence and heads are exchanged."""

    flag = "M41"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        if cos.ndim != 4 or x.shape[1] != x.shape[2]:
            return super().turn(plan, x, cos, sin)
        return super().turn(plan, x.swapaxes(1, 2), cos, sin).swapaxes(1, 2)


class ReadAsContiguous(Right):
    """An input that is not contiguous is read as if it were."""

    flag = "M42"

    def asarray(self, array: Array, dtype: str) -> Array:
        """Return an array whose memory runs in the reverse order."""
        return np.asfortranarray(array.astype(numpy_dtype(dtype)))

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        return super().turn(plan, x.ravel(order="K").reshape(x.shape), cos, sin)


class HeadsOfQueriesForKeys(Right):
    """Keys are rotated with the number of query heads."""

    flag = "M43"

    def apply(  # type: ignore[override]  # a pair of tensors, as the backends take them
        self, plan: RotaryPlan, q: Array, k: Array | None = None, positions: Any = None, k_positions: Any = None
    ) -> Any:
        rotated = self.rotated(plan, q, positions)
        if k is None:
            return rotated
        repeats = q.shape[1] // k.shape[1]
        return rotated, self.rotated(plan, k, np.repeat(k_positions, repeats)[: k.shape[2]])
