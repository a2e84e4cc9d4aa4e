"""What every adapter's call has in common: arguments checked, shapes lined up, q and k dispatched (R-7.3, R-7.4, R-12.4, R-12.5).

An adapter adds its own arrays; here is what does not depend on them, so that all refuse the same calls in the same words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ropecore.errors import RopeError, choice
from ropecore.lanes import IntArray
from ropecore.plan import RotaryPlan
from ropecore.positions import LARGEST_POSITION
from ropecore.precision import COMPUTES, PRECISIONS, signed_log_magnitude
from ropecore.tensors import TensorFormat

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
        """Refuse a tensor of a dtype that is no real float, or of other dimensions.  Rule R-12.4."""
        if dtype not in FLOATS:
            raise RopeError(
                argument, dtype, f"its dtype must be one of {', '.join(FLOATS)}", "Convert it first.", "R-12.4"
            )
        self.letters.check_tensor(argument, shape, self.plan.head_dim)

    def check_positions(self, positions: Sequence[Any], tensor: Sequence[Any], offset: Any) -> None:
        """Refuse positions of another shape than the tensor asks for, or beside an offset.  Rules R-7.3, R-7.4."""
        if not (isinstance(offset, int) and offset == 0):
            raise RopeError("offset", offset, "cannot go with positions", "Add it to the positions.", "R-7.4")
        self.letters.check_positions(self.plan, positions, tensor)

    def fits(self, positions: Sequence[Any], tensor: Sequence[Any]) -> bool:
        """Return whether positions on one axis have the shape that the tensor asks for.  Rule R-7.3.

        Sizes are compared one by one: those that torch.compile traces may be symbols, which `in` does not find in a list.
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

    def line_up(
        self, table: Any, tensor: Sequence[Any], batch_second: Callable[[Any], Any], reshape: Callable[..., Any]
    ) -> Any:
        """Return a table (.., n_pairs) in a shape that broadcasts against the tensor.

        batch_second exchanges the first two dimensions: the positions of an "sbhd" tensor are (b, s) all the same (R-7.3).
        """
        self.letters.check_table(self.plan.n_pairs, table.shape, tensor)
        shape = self.letters.table_shape(table.shape)
        return reshape(
            batch_second(table) if len(table.shape) == 3 and self.letters.sequence_before_batch else table, shape
        )

    def following(self, offset: Any, tensor: Sequence[Any]) -> IntArray:
        """Return offset + 0, 1, 2, ..: (s,), or (b, s) for one offset a batch row.  Rule R-7.4."""
        self.check_positions_given()
        length = self.length(tensor)
        start = self.host_offset("offset", offset, tensor, reach=max(length - 1, 0))
        return np.asarray(start, np.int64)[..., None] + np.arange(length)

    def shifted(self, delta: Any, tensor: Sequence[Any]) -> IntArray:
        """Return delta for each token, (s,) or (b, s), on every axis.  Rule R-9.5."""
        by = np.asarray(self.host_offset("delta", delta, tensor, reach=0), np.int64)
        positions = np.repeat(by[..., None], self.length(tensor), axis=-1)
        return positions if self.plan.n_axes == 1 else np.repeat(positions[None], self.plan.n_axes, axis=0)

    def check_positions_given(self) -> None:
        """Refuse a call without positions that needs them.  Rule R-7.4."""
        if self.plan.n_axes > 1:
            cure = "For text use ropecore.text_positions(ids, n_axes)."
            raise RopeError("positions", None, f"must be given for a plan with {self.plan.n_axes} axes", cure, "R-7.4")
        if any(self.plan.real_axes):
            raise RopeError("positions", None, "must be given for a plan with a real axis", rule="R-7.4")

    def host_offset(self, argument: str, offset: Any, tensor: Sequence[Any], reach: int) -> int | tuple[int, ...]:
        """Return an offset as an integer, or as one a batch row, with offset + reach in range.  Rules R-7.1, R-7.4."""
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


def rotate_pair(
    one: Callable[[str, Any, Any, str], Any], q: Any, k: Any, positions: Any, k_positions: Any, role: str
) -> Any:
    """Return one("q", q, ..) if k was omitted, else a pair; k has positions of its own or those of q."""
    signed_log_magnitude(role)  # refuses what is no role, also where tables come from a store
    if k is OMITTED:
        if k_positions is not None:
            raise RopeError("k_positions", "given", "there is no k", "Pass k, or use positions.", "R-7.3")
        return one("q", q, positions, role)
    rotated_q = None if q is None else one("q", q, positions, "q")
    return rotated_q, None if k is None else one("k", k, positions if k_positions is None else k_positions, "k")
