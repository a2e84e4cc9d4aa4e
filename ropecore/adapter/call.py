"""What every adapter's call has in common: arguments checked, shapes lined up, positions counted
(R-7.3, R-7.4, R-12.4, R-12.5).

An adapter adds its own arrays; here is what does not depend on them, so that all refuse the same
calls in the same words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ropecore.errors import RopeError, choice
from ropecore.lanes import IntArray
from ropecore.plan import RotaryPlan
from ropecore.positions import LARGEST_POSITION
from ropecore.precision import COMPUTES, PRECISIONS
from ropecore.tensor_format import TensorFormat

FLOATS = ("float16", "bfloat16", "float32", "float64")


class _Omitted:
    """The k of a call that has none, which is not the same as k=None: that returns a pair."""

    def __repr__(self) -> str:
        return "OMITTED"


OMITTED: Any = _Omitted()


@dataclass(frozen=True)
class Call:
    """The plan, the tensor format and the precision of one call, checked."""

    plan: RotaryPlan
    tensor_format: str = "bhsd"
    precision: str = "exact"
    compute: str = "float32"

    def __post_init__(self) -> None:
        if not isinstance(self.plan, RotaryPlan):
            cure = "Call .plan() on it." if hasattr(self.plan, "plan") else "Make one with RopeConfig(..).plan()."
            raise RopeError("plan", type(self.plan).__name__, "must be a RotaryPlan", cure, "R-12.6")
        TensorFormat.parse(self.tensor_format)
        choice("precision", self.precision, PRECISIONS)
        choice("compute", self.compute, COMPUTES)

    @property
    def letters(self) -> TensorFormat:
        """The tensor format, parsed."""
        return TensorFormat.parse(self.tensor_format)

    def length(self, shape: Sequence[Any]) -> Any:
        """Return the number of positions along a tensor."""
        return self.letters.size(self.letters.token_letter, shape)

    def check_tensor(self, argument: str, shape: Sequence[Any], dtype: str) -> None:
        """Refuse a tensor of a dtype that is no real float, or of other
        dimensions.  Rule R-12.4.
        """
        if dtype not in FLOATS:
            raise RopeError(
                argument, dtype, f"its dtype must be one of {', '.join(FLOATS)}", "Convert it first.", "R-12.4"
            )
        self.letters.check_tensor(argument, shape, self.plan.head_dim)

    def check_positions(self, positions: Sequence[Any], tensor: Sequence[Any], offset: Any) -> None:
        """Refuse positions of another shape than the tensor asks for, or beside an offset.  Rules
        R-7.3, R-7.4.
        """
        if not (isinstance(offset, int) and offset == 0):
            raise RopeError("offset", offset, "cannot go with positions", "Add it to the positions.", "R-7.4")
        self.letters.check_positions(self.plan, positions, tensor)

    def check_tables(self, cos: Sequence[Any], sin: Sequence[Any], tensor: Sequence[Any], n_pairs: int) -> None:
        """Refuse cos and sin of other shapes than those of `cos_sin` at the tensor's positions.
        Rule R-12.5.
        """
        for name, shape in (("cos", cos), ("sin", sin)):
            if not shape or shape[-1] != n_pairs or not self.fits(shape[:-1], tensor):
                self.letters.refuse_table(name, n_pairs, shape, tensor)
        if len(cos) != len(sin) or cos[0] != sin[0]:
            cure = "Make both with one call of cos_sin."
            raise RopeError("sin", tuple(sin), f"its shape is not that of cos, {tuple(cos)}", cure, "R-12.5")

    def fits(self, positions: Sequence[Any], tensor: Sequence[Any]) -> bool:
        """Return whether positions on one axis have the shape that the tensor asks for.  Rule
        R-7.3.

        Sizes are compared one by one: those that torch.compile traces may be symbols, which `in`
        does not find in a list.
        """
        if not positions or positions[-1] != self.length(tensor):
            return False
        if len(positions) == 1:
            return True
        if len(positions) != 2 or "b" not in self.tensor_format:
            return False
        return bool(positions[0] == 1 or positions[0] == self.letters.size("b", tensor))

    def table_dtype(self, dtype: str) -> str:
        """Return the dtype that tables for a tensor of this dtype are made in.  Rule R-10.4."""
        return "float64" if dtype == "float64" else "float32"

    def counted(self, argument: str, start: Any, tensor: Sequence[Any], step: int) -> IntArray:
        """Return start + 0, step, 2 step, .. on every axis: (s,), or (b, s) for one start a batch
        row.  Rules R-7.4, R-9.5.
        """
        if step:
            self.check_positions_given()
        length = self.length(tensor)
        starts = np.asarray(self.host_offset(argument, start, tensor, reach=step * max(length - 1, 0)), np.int64)
        positions = starts[..., None] + step * np.arange(length)
        return positions if self.plan.n_axes == 1 else np.repeat(positions[None], self.plan.n_axes, axis=0)

    def is_place_of_one_token(self, position: Any, offset: Any, tensor: Sequence[Any]) -> bool:
        """Return whether an integer in place of positions is an offset: the tensor holds one token,
        on one integer axis.
        """
        known = isinstance(offset, int) and offset == 0 and not isinstance(position, bool)
        return bool(known and self.length(tensor) == 1 and self.plan.n_axes == 1 and not any(self.plan.real_axes))

    def check_positions_given(self) -> None:
        """Refuse a call without positions that needs them.  Rule R-7.4."""
        if self.plan.n_axes > 1:
            cure = "For text use ropecore.text_positions(ids, n_axes)."
            raise RopeError("positions", None, f"must be given for a plan with {self.plan.n_axes} axes", cure, "R-7.4")
        if any(self.plan.real_axes):
            raise RopeError("positions", None, "must be given for a plan with a real axis", rule="R-7.4")

    def host_offset(self, argument: str, offset: Any, tensor: Sequence[Any], reach: int) -> int | tuple[int, ...]:
        """Return an offset as an integer, or as one a batch row, with offset + reach in range.
        Rules R-7.1, R-7.4.
        """
        values = offset.tolist() if hasattr(offset, "tolist") else offset
        several = isinstance(values, (list, tuple))
        rows = list(values) if several else [values]
        for row in rows:
            if isinstance(row, bool) or not isinstance(row, int):
                raise RopeError(argument, offset, "must be an integer, or one a batch row", rule="R-7.4")
            if abs(row) > LARGEST_POSITION or row + reach > LARGEST_POSITION:
                raise RopeError(argument, row, "leads to positions beyond 2^31 - 1", rule="R-7.1")
        if several:
            self.check_offset_shape(argument, (len(rows),), tensor)
        return tuple(rows) if several else rows[0]

    def check_offset_shape(self, argument: str, shape: Sequence[Any], tensor: Sequence[Any]) -> None:
        """Refuse an offset that is neither one number nor one a batch row.  Rule R-7.4."""
        batch = self.letters.size("b", tensor) if "b" in self.tensor_format else None
        if len(shape) and (len(shape) > 1 or batch is None or shape[0] != batch):
            has = "is packed and has no batch" if batch is None else f"has a batch of {batch}"
            cure = "Give one integer, or one a batch row."
            raise RopeError(argument, tuple(shape), f"does not fit the tensor, which {has}", cure, "R-7.4")
