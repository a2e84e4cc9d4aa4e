"""Shapes: which dimension of a tensor is which, and how positions and tables line up with it (R-7.3, R-7.4).

Everything here is about shapes and strides, so that every adapter asks the same questions and refuses the same things.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan

LETTERS = "bhgstd"


@dataclass(frozen=True)
class TensorFormat:
    """The letters of a tensor's dimensions: b batch, h heads, g groups, s sequence or t packed tokens, d head_dim last."""

    letters: str

    @staticmethod
    def parse(letters: str) -> "TensorFormat":
        """Return the format, or refuse letters that do not make one."""
        problem = ""
        if not isinstance(letters, str) or not letters or set(letters) - set(LETTERS):
            problem = f"must be letters of {LETTERS}"
        elif len(set(letters)) != len(letters):
            problem = "names a dimension twice"
        elif letters[-1] != "d":
            problem = "must end in d"
        elif ("s" in letters) == ("t" in letters):
            problem = "must have one of s (sequence) and t (packed tokens)"
        elif "t" in letters and "b" in letters:
            problem = "packed tokens (t) have no batch (b)"
        if problem:
            raise RopeError("tensor_format", letters, problem, "For example 'bhsd', 'bshd', 'sbhd' or 'thd'.", "R-12.6")
        return TensorFormat(letters)

    @property
    def token_letter(self) -> str:
        """The letter along which positions run: "s" or "t"."""
        return "s" if "s" in self.letters else "t"

    def size(self, letter: str, shape: Sequence[Any]) -> Any:
        """Return the size of the dimension of this letter."""
        return shape[self.letters.index(letter)]

    def check_tensor(self, argument: str, shape: Sequence[int], head_dim: int) -> None:
        """Refuse a tensor with other dimensions than the letters, or another head_dim.  Rule R-12.4."""
        if len(shape) != len(self.letters):
            cure = f"'{self.letters}' has {len(self.letters)} dimensions; pass the tensor_format of yours."
            raise RopeError(argument, tuple(shape), f"has {len(shape)} dimensions", cure, "R-12.4")
        if shape[-1] != head_dim:
            cure = "Rotate each head: split the last dimension first."
            raise RopeError(
                argument, tuple(shape), f"its last dimension is not the plan's head_dim {head_dim}", cure, "R-12.4"
            )

    def check_positions(self, plan: RotaryPlan, positions: Sequence[int], tensor: Sequence[int]) -> None:
        """Refuse positions whose shape is not exactly (s), (b, s) or (t), with (n_axes, ..) before for several axes.  R-7.3, R-12.5."""
        n = plan.n_axes
        lead = () if n == 1 else (n,)
        length = self.size(self.token_letter, tensor)
        wanted: list[tuple[Any, ...]] = [(*lead, length)]
        if "b" in self.letters:
            wanted += [(*lead, self.size("b", tensor), length), (*lead, 1, length)]
        if tuple(positions) not in wanted:
            names = [f"({', '.join(map(str, shape))})" for shape in wanted]
            cure = ""
            if n > 1 and tuple(positions) in [shape[1:] for shape in wanted]:
                cure = "For text use ropecore.text_positions(ids, n_axes)."
            elif n > 1 and positions and positions[-1] == n:
                cure = "For ids with the axes last use ropecore.axes_first(ids)."
            reason = f"shape of positions for '{self.letters}' must be {' or '.join(dict.fromkeys(names))}"
            raise RopeError("positions", tuple(positions), reason, cure, "R-12.5")

    def check_table(self, n_pairs: int, table: Sequence[int], tensor: Sequence[int]) -> None:
        """Refuse cos and sin whose shape is not positions + (n_pairs) for this tensor."""
        length = self.size(self.token_letter, tensor)
        wanted: list[tuple[Any, ...]] = [(length, n_pairs)]
        if "b" in self.letters:
            wanted += [(self.size("b", tensor), length, n_pairs), (1, length, n_pairs)]
        if tuple(table) not in wanted:
            reason = f"shape must be one of {', '.join(map(str, wanted))}"
            raise RopeError("cos", tuple(table), reason, "Make it with cos_sin for this tensor's positions.", "R-12.5")

    def table_shape(self, table: Sequence[Any]) -> tuple[Any, ...]:
        """Return the shape in which a table (.., s, n) or (.., b, s, n) broadcasts against the tensor.

        If `sequence_before_batch`, a table with a batch is to be transposed (1, 0, 2) first.
        """
        *leading, pairs = table
        sizes = {self.token_letter: leading[-1], "b": leading[0] if len(leading) == 2 else 1, "d": pairs}
        return tuple(sizes.get(letter, 1) for letter in self.letters)

    @property
    def sequence_before_batch(self) -> bool:
        """Whether the tensor has s before b ("sbhd"), while positions are always (b, s)."""
        return "b" in self.letters and self.letters.index("s") < self.letters.index("b")


def check_pair(letters: TensorFormat, q: Sequence[int], k: Sequence[int]) -> None:
    """Refuse q and k that differ in anything but heads, groups and (with positions of their own) length."""
    for letter in "b":
        if letter in letters.letters and letters.size(letter, q) != letters.size(letter, k):
            raise RopeError("k", tuple(k), f"its batch size differs from q's, {tuple(q)}", rule="R-12.5")


def overlaps_itself(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether two indices of a strided array may be the same element (strides in elements)."""
    if 0 in shape:
        return False
    reach = 1
    for stride, size in sorted((abs(stride), size) for stride, size in zip(strides, shape, strict=True) if size > 1):
        if stride < reach:
            return True
        reach += stride * (size - 1)
    return False
