"""Targets that are wrong in a way that is no mutant of the suite, each with the words that tell
where it is wrong.
"""

from typing import Any

import numpy as np

from ropecore.conformance.mutants.base import FromConfig, Right, WithEverything, WithTables, rule

OFF = 1.01  # a result this much too large is that of no known bug


class Float64(Right):
    """Only float64 is wrong, by a little."""

    def store(self, y: Any, x: Any) -> Any:
        return (y * (1 + 1e-9) if x.dtype == np.float64 else y).astype(x.dtype)


class Inverse(WithTables):
    """Only the inverse is wrong."""

    def rotate(self, plan: Any, x: Any, cos: Any, sin: Any, tensor_format: str = "bhsd", inverse: bool = False, transpose: bool = False) -> Any:  # fmt: skip
        y = super().rotate(plan, x, cos, sin, tensor_format, inverse, transpose)
        return (y * OFF).astype(x.dtype) if inverse else y


class Keys(Right):
    """Only keys are wrong."""

    def tables(self, plan: Any, positions: Any, role: str) -> Any:
        cos, sin = super().tables(plan, positions, role)
        return (cos, sin * OFF) if role == "k" else (cos, sin)


class Interleaved(Right):
    """Only one pairing is wrong."""

    def plan(self, plan: Any) -> Any:
        return plan.with_frequencies(plan.frequencies * OFF) if plan.pairing == "interleaved" else plan


class FarPositions(Right):
    """Only positions from 1000 on are wrong."""

    def tables(self, plan: Any, positions: Any, role: str) -> Any:
        cos, sin = super().tables(plan, positions, role)
        far = np.abs(np.asarray(positions, np.float64)).reshape(plan.n_axes, *cos.shape[:-1]).max(axis=0) >= 1000
        return cos, np.where(far[..., None], sin * OFF, sin)


class Part(Right):
    """Only a part along one axis is wrong."""

    letters, part = "h", slice(-1, None)

    def rotated(self, plan: Any, x: Any, positions: Any, offset: Any = None, form: str = "bhsd", role: str = "q") -> Any:  # fmt: skip
        y = super().rotated(plan, x, positions, offset, form, role)
        axis = max(form.find(letter) for letter in self.letters)
        if axis >= 0:
            rows = y[(*[slice(None)] * axis, self.part)]
            rows[..., plan.out] = (rows[..., plan.out] * OFF).astype(x.dtype)
        return y


class LastHead(Part):
    """Only the last head is wrong."""


class LastToken(Part):
    """Only the last token is wrong."""

    letters = "st"


class LaterRows(Part):
    """Only batch rows after the first are wrong."""

    letters, part = "b", slice(1, None)


class SecondLanes(Right):
    """Only the second lane of each pair is wrong."""

    def turn(self, plan: Any, x: Any, cos: Any, sin: Any) -> Any:
        y = super().turn(plan, x, cos, sin)
        y[..., plan.out[:, 1]] *= OFF
        return y


class InPlace(WithEverything):
    """Only the rotation in place is wrong."""

    def apply_(self, plan: Any, x: Any, positions: Any = None, offset: Any = None, tensor_format: str = "bhsd", role: str = "q") -> None:  # fmt: skip
        y = self.rotated(plan, x.copy(), positions, offset, tensor_format, role)
        x[...] = y
        x[..., plan.out] = (y[..., plan.out] * OFF).astype(x.dtype)


class Linear(FromConfig):
    """Only one scaling rule is wrong."""

    def rows(self, config: Any, seq_len: Any) -> Any:
        rows = super().rows(config, seq_len)
        return rows._replace(frequencies=rows.frequencies * (OFF if rule(config) == "linear" else 1.0))


class SeveralAxes(Right):
    """Only plans with several axes are wrong."""

    def plan(self, plan: Any) -> Any:
        return plan.with_frequencies(plan.frequencies * OFF) if plan.n_axes > 1 else plan


WRONG: dict[type[Right], str] = {
    Float64: "only float64 fails; bfloat16, float16 and float32 pass",
    Inverse: "only mode inverse fails",
    Keys: "only role k fails; q passes",
    Interleaved: "only pairing interleaved fails",
    FarPositions: "only positions from 1000 on are wrong",
    LastHead: "only the last head is wrong",
    LastToken: "only the last token is wrong",
    LaterRows: "the first batch row is right",
    SecondLanes: "only the second lanes of pairs are wrong",
    InPlace: "only function apply_ fails",
    Linear: "only rule linear fails",
    SeveralAxes: "only with several axes",
}
