"""Rotations that a case asks for, and how a target is called for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ropecore

from . import bounds
from .arrays import Array, Floats, decode, decode_floats
from .target import Target
from .verdicts import Mismatch, NotApplicable, Way

DEFAULT_FORMAT = "bhsd"


@dataclass(frozen=True)
class Call:
    """One rotation: the input of a case of kind rotate, or a part of one that has several."""

    plan: ropecore.RotaryPlan
    x: Floats
    positions: Array | None
    offset: int | list[int] | None
    tensor_format: str
    role: str
    mode: str
    question: Mapping[str, Any]  # the JSON object, for a target that reads it

    @classmethod
    def read(cls, data: Mapping[str, Any], x: str = "x", positions: str = "positions", role: str | None = None) -> "Call":
        """Return the call of a JSON object; x and positions name its keys."""
        plan = ropecore.RotaryPlan.from_dict(data["plan"])
        given = data.get(positions)
        return cls(
            plan=plan,
            x=decode_floats(data[x]),
            positions=None if given is None else on_axes(plan, decode(given)),
            offset=data.get("offset"),
            tensor_format=data.get("tensor_format", DEFAULT_FORMAT),
            role=role or data.get("role", "q"),
            mode=data.get("mode", "forward"),
            question={key: value for key, value in data.items() if key != "result"},
        )

    @property
    def places(self) -> Array:
        """Return the positions that are meant, also where the call leaves them to the offset (R-7.4)."""
        if self.positions is not None:
            return self.positions
        length = self.x.shape[self.tensor_format.index(self.token_letter)]
        starts = np.asarray(self.offset or 0)
        return np.asarray(np.arange(length) + starts[..., None] if starts.ndim else np.arange(length) + starts)

    @property
    def token_letter(self) -> str:
        """Return the letter along which positions run."""
        return "s" if "s" in self.tensor_format else "t"

    def fit(self, at: bounds.Turns) -> bounds.Turns:
        """Return what the error model reads, shaped to broadcast against this call's x (R-7.3)."""
        letters = self.tensor_format[:-1]
        own = [self.token_letter] if at.reach.ndim == 2 else ["b", self.token_letter]
        order = sorted(range(len(own)), key=lambda i: letters.index(own[i]))
        sizes = dict(zip(own, at.reach.shape[:-1], strict=True))
        return at.fitted(tuple(sizes.get(letter, 1) for letter in letters), tuple(order))

    def bound(self, y: Floats, target: Target, dtype: str) -> Floats:
        """Return B of R-10.6 for the exact result y, in the precision that the target declares."""
        words = target.capabilities.words
        config = self.question.get("config")
        own = words.own and config is not None
        k = bounds.own_frequencies(config, self.plan.lanes) if own and config else bounds.GIVEN
        at = self.fit(bounds.turns(self.plan, self.places, self.role))
        return bounds.rotation_bound(self.plan, at, self.x, y, dtype, words, self.mode, k)

    def untouched(self) -> list[int]:
        """Return the lanes in no row."""
        return sorted(set(range(self.plan.head_dim)) - set(self.plan.lanes.ravel().tolist()))


def on_axes(plan: ropecore.RotaryPlan, positions: Array) -> Array:
    """Return positions as floats for a plan with a real axis: JSON may write a whole coordinate without a point."""
    return positions.astype(np.float64) if any(plan.real_axes) else positions


def paths(target: Target, mode: str) -> list[str]:
    """Return the functions of the target by which a rotation of this mode can be had."""
    tables = target.has("cos_sin") and target.has("rotate")
    if mode != "forward":
        return ["rotate"] if tables else ["apply"] if target.takes("apply", "case") else []
    return ["apply", *(["apply_"] if target.has("apply_") else []), *(["rotate"] if tables else [])]


def positions_of(target: Target, positions: Array) -> Any:
    """Return positions as the target's own array: integers as int64, coordinates as the narrowest floats that hold them."""
    if positions.dtype.kind == "f" and np.array_equal(positions.astype(np.float32).astype(np.float64), positions):
        return target.asarray(positions, "float32")
    return target.asarray(positions, positions.dtype.name)


def table_dtype(target: Target, dtype: str) -> str:
    """Return the dtype of the tables that the target declares to use for x of that dtype."""
    match target.capabilities.table:
        case "input":
            return dtype
        case "float64":
            return "float64"
        case _:
            return "float64" if dtype == "float64" else "float32"


def tables(target: Target, call: Call, dtype: str) -> tuple[Any, Any]:
    """Return cos and sin of a call, by the target."""
    usual = {"precision": target.capabilities.angle, "dtype": dtype}
    usual |= {"role": call.role} if call.plan.log_magnitude is not None else {}
    cos, sin = target.call("cos_sin", call.plan, positions_of(target, call.places), **keywords(target, "cos_sin", {}, **usual))
    return cos, sin


def once(target: Target, call: Call, x: Any, way: Way) -> Any:
    """Return the target's own result for its own input array: one call of the function `way.path`."""
    if way.path == "rotate":
        cos, sin = tables(target, call, table_dtype(target, way.dtype))
        asked: dict[str, Any] = {} if call.mode == "forward" else {call.mode: True}
        return target.call("rotate", call.plan, x, cos, sin, **keywords(target, way.path, asked, tensor_format=call.tensor_format))
    result = target.call(way.path, call.plan, x, **_of_apply(target, call, way))
    return x if way.path == "apply_" else result


def keywords(target: Target, name: str, asked: Mapping[str, Any], **usual: Any) -> dict[str, dict[str, Any]]:
    """Return the keywords of a call: needed are the asked, and those of the usual that are not at their default.

    A keyword at its default is only offered: a function need not know it.
    """
    default = {"tensor_format": DEFAULT_FORMAT, "offset": None, "role": "q"}
    needed = {key: value for key, value in usual.items() if key in default and value != default[key]}
    offered = {key: value for key, value in usual.items() if key not in needed}
    if target.takes(name, "case"):  # it reads there what it needs
        return {"needed": {**asked}, "offered": {**needed, **offered}}
    return {"needed": {**asked, **needed}, "offered": offered}


def _of_apply(target: Target, call: Call, way: Way) -> dict[str, dict[str, Any]]:
    """Return the keywords of apply and apply_; a target that knows no offset is told the positions that it would have (R-7.4)."""
    asked: dict[str, Any] = {}
    if call.positions is not None:
        asked = {"positions": positions_of(target, call.positions)}
    elif call.offset is None and not target.takes(way.path, "offset"):
        asked = {"positions": positions_of(target, call.places)}
    usual: dict[str, Any] = {"tensor_format": call.tensor_format, "precision": target.capabilities.angle}
    usual |= {} if call.offset is None else {"offset": call.offset}
    usual |= {"role": call.role} if call.plan.log_magnitude is not None else {}
    usual["case"] = {**call.question, "dtype": way.dtype, "precision": target.capabilities.angle}
    return keywords(target, way.path, asked, **usual)


def rotated(target: Target, call: Call, way: Way) -> Array:
    """Return the target's result, after the checks that hold for every rotation (R-2.2, R-2.8).

    dtype and shape are those of x; lanes in no row keep their bits; x is not changed unless that was asked; a second call
    gives the same bits, and does so with a read-only input too.
    """
    x = target.asarray(call.x, way.dtype)
    before = target.to_numpy(x).copy()
    y = target.to_numpy(once(target, call, x, way)).copy()
    if y.shape != before.shape:
        raise Mismatch(f"shape {y.shape} for an input of shape {before.shape} (R-2.8)")
    if y.dtype != before.dtype:
        raise Mismatch(f"dtype {y.dtype.name} for an input of {before.dtype.name} (R-2.8)")
    if way.path != "apply_" and target.to_numpy(x).tobytes() != before.tobytes():
        raise Mismatch("the input was changed (R-2.8)")
    for lane in call.untouched():
        if y[..., lane].tobytes() != before[..., lane].tobytes():
            raise Mismatch(f"lane {lane} is in no row of the plan and changed (R-2.2)")
    _again(target, call, way, y)
    return y


def _again(target: Target, call: Call, way: Way, y: Array) -> None:
    """Call a second time, with a fresh input that cannot be written to where the path allows it."""
    x = target.asarray(call.x, way.dtype)
    if isinstance(x, np.ndarray) and way.path != "apply_":
        x.flags.writeable = False
    if target.to_numpy(once(target, call, x, way)).tobytes() != y.tobytes():
        raise Mismatch("a second call gives other bits than the first (R-2.8)")


def require(condition: bool, reason: str) -> None:
    """Leave the case out as not applicable unless the condition holds."""
    if not condition:
        raise NotApplicable(reason)
