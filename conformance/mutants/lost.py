"""Mutants that lose a step of the rotation, or a part of the input: M96 to M107."""

from typing import Any

import numpy as np

from ropecore import RotaryPlan
from ropecore.config import Rows

from ..arrays import Array
from .base import Config, FromConfig, Right, Tables


class NotRotated(Right):
    """The input is not rotated at all."""

    flag = "M96"

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        return x.astype(np.float64)


class SinesLost(Right):
    """The sines are lost."""

    flag = "M97"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        cos, sin = super().tables(plan, positions, role)
        return cos, np.zeros_like(sin)


class CosinesForSines(Right):
    """The sines are cosines too."""

    flag = "M98"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        cos, _ = super().tables(plan, positions, role)
        return cos, cos


class PositionsDoubled(Right):
    """Positions are doubled."""

    flag = "M99"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return 2 * np.asarray(super().positions(positions, offset, length))


class TokensCountedTwice(Right):
    """The index of a token is added to its position."""

    flag = "M100"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return np.asarray(super().positions(positions, offset, length)) + np.arange(length)


class FirstHeadAlone(Right):
    """Only the first head is rotated."""

    flag = "M101"

    def rotated(
        self, plan: RotaryPlan, x: Array, positions: Any, offset: Any = None, form: str = "bhsd", role: str = "q"
    ) -> Array:
        y = super().rotated(plan, x, positions, offset, form, role)
        others = behind(form.index("h"), slice(1, None))
        y[others] = x[others]
        return y


class LastTokenLeftOut(Right):
    """The last of several tokens is not rotated."""

    flag = "M102"

    def rotated(
        self, plan: RotaryPlan, x: Array, positions: Any, offset: Any = None, form: str = "bhsd", role: str = "q"
    ) -> Array:
        y = super().rotated(plan, x, positions, offset, form, role)
        axis = form.index("s" if "s" in form else "t")
        last = behind(axis, slice(max(1, x.shape[axis] - 1), None))
        y[last] = x[last]
        return y


class FirstAxisForAll(Right):
    """The first axis of positions is used for all axes."""

    flag = "M103"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        if plan.n_axes > 1:
            positions = [positions[0].astype(float) if real else positions[0] for real in plan.real_axes]
        return super().tables(plan, positions, role)


class FirstTokenForAll(Right):
    """The position of the first token is used for all."""

    flag = "M104"

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        places = super().positions(positions, offset, length)
        return (
            [np.broadcast_to(row[..., :1], row.shape) for row in places]
            if isinstance(places, list)
            else (np.broadcast_to(places[..., :1], np.shape(places)))
        )


class FirstFrequencyForAll(Right):
    """Every pair turns with the frequency of the first."""

    flag = "M105"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        return plan.with_frequencies(np.broadcast_to(plan.frequencies[:1], plan.frequencies.shape))


class TablesOfAnotherLength(FromConfig):
    """A rule that depends on the length is given that of a longer table."""

    flag = "M106"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        return super().rows(config, None if seq_len is None else 1 << (seq_len - 1).bit_length())


class BatchChangesBits(Right):
    """The bits of a row change with the number of rows."""

    flag = "M107"

    def rotated(
        self, plan: RotaryPlan, x: Array, positions: Any, offset: Any = None, form: str = "bhsd", role: str = "q"
    ) -> Array:
        y = super().rotated(plan, x, positions, offset, form, role)
        if "b" in form and x.shape[form.index("b")] > 1 and y.dtype.itemsize > 2:
            with np.errstate(all="ignore"):
                y[..., plan.out] = np.nextafter(y[..., plan.out], 0, dtype=y.dtype)
        return y


def behind(axis: int, part: slice) -> tuple[slice, ...]:
    """Return the index of a part of one axis."""
    return (*[slice(None)] * axis, part)
