"""Shapes: which dimension of a tensor is which, and how positions and tables line up with it
(R-7.3, R-7.4).

Everything here is about shapes and strides, so that every adapter asks the same questions and
refuses the same things.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan

LETTERS = "bhgstd"


@dataclass(frozen=True)
class TensorFormat:
    """The letters of a tensor's dimensions: b batch, h heads, g groups, s sequence or t packed
    tokens, d head_dim last.
    """

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
        """Refuse a tensor with other dimensions than the letters, or another head_dim.  Rule
        R-12.4.
        """
        if len(shape) != len(self.letters):
            cure = f"'{self.letters}' has {len(self.letters)} dimensions; pass the tensor_format of yours."
            raise RopeError(argument, tuple(shape), f"has {len(shape)} dimensions", cure, "R-12.4")
        if shape[-1] != head_dim:
            cure = "Rotate each head: split the last dimension first."
            raise RopeError(
                argument, tuple(shape), f"its last dimension is not the plan's head_dim {head_dim}", cure, "R-12.4"
            )

    def check_positions(self, plan: RotaryPlan, positions: Sequence[int], tensor: Sequence[int]) -> None:
        """Refuse positions whose shape is not exactly (s), (b, s) or (t), with (n_axes, ..) before
        for several axes.  R-7.3, R-12.5.
        """
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

    def refuse_table(self, argument: str, n_pairs: int, table: Sequence[int], tensor: Sequence[int]) -> NoReturn:
        """Refuse cos or sin, and say which shapes it may have for this tensor.  Rule R-12.5."""
        length = self.size(self.token_letter, tensor)
        wanted: list[tuple[Any, ...]] = [(length, n_pairs)]
        if "b" in self.letters:
            wanted += [(self.size("b", tensor), length, n_pairs), (1, length, n_pairs)]
        reason = f"shape must be one of {', '.join(map(str, wanted))}"
        raise RopeError(argument, tuple(table), reason, "Make it with cos_sin for this tensor's positions.", "R-12.5")

    def line_up(self, table: Any, batch_second: Callable[[Any], Any], reshape: Callable[..., Any]) -> Any:
        """Return a table (.., s, n) or (.., b, s, n) in a shape that broadcasts against the tensor.

        batch_second exchanges the first two dimensions: the positions of an "sbhd" tensor are (b,
        s) all the same (R-7.3).
        """
        *leading, pairs = table.shape
        sizes = {self.token_letter: leading[-1], "b": leading[0] if len(leading) == 2 else 1, "d": pairs}
        swapped = len(leading) == 2 and self.sequence_before_batch
        return reshape(batch_second(table) if swapped else table, tuple(sizes.get(each, 1) for each in self.letters))

    @property
    def sequence_before_batch(self) -> bool:
        """Whether the tensor has s before b ("sbhd"), while positions are always (b, s)."""
        return "b" in self.letters and self.letters.index("s") < self.letters.index("b")


def check_pair(letters: TensorFormat, q: Sequence[int], k: Sequence[int], counted: bool = False) -> None:
    """Refuse q and k that differ in batch, or, where their positions are counted from one offset,
    in length.  R-7.4, R-12.5.
    """
    if "b" in letters.letters and letters.size("b", q) != letters.size("b", k):
        cure = "Rotate them in two calls, or expand one of them."
        raise RopeError("k", tuple(k), f"its batch size differs from q's, {tuple(q)}", cure, "R-12.5")
    if counted and letters.size(letters.token_letter, q) != letters.size(letters.token_letter, k):
        reason = f"its length differs from q's, {tuple(q)}: one offset does not say where both begin"
        raise RopeError("k", tuple(k), reason, "Give positions and k_positions, or make two calls.", "R-7.4")


def check_apart(argument: str, shape: Sequence[int], strides: Sequence[int]) -> None:
    """Refuse an array to be written in which two indices may be the same element (strides in
    elements).  Rule R-2.8.
    """
    if overlaps_itself(shape, strides):
        cure = "Copy it, or use apply."
        raise RopeError(argument, tuple(strides), "overlaps itself (a broadcast or expanded view)", cure, "R-2.8")


def overlaps_itself(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether two indices of a strided array may be the same
    element (strides in elements).
    """
    if 0 in shape:
        return False
    reach = 1
    for stride, size in sorted((abs(stride), size) for stride, size in zip(strides, shape, strict=True) if size > 1):
        if stride < reach:
            return True
        reach += stride * (size - 1)
    return False
