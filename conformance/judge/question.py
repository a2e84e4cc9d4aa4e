"""Rotations that a case asks for, and how a target is called for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

import ropecore
from ropecore.precision import numpy_dtype

from .. import bounds
from ..arrays import Array, Floats, decode, decode_floats
from ..cases import Case
from ..target import Target
from ..verdicts import Mismatch, NotApplicable, Numbers, Way
from . import compare

DEFAULT_FORMAT = "bhsd"
USUAL = {"config": None, "offset": None, "tensor_format": DEFAULT_FORMAT, "mode": "forward", "seq_len": None}


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
    memo: dict[Any, tuple[Floats, Floats]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, case: Case, *part: str | int, **names: str) -> "Call":
        """Return the call of a case, or of a part of it; it is read once for all ways in which the
        case is judged.
        """
        key = (part, tuple(names.items()))
        if key not in case.memo:
            data: Any = case.data
            for step in part:
                data = data[step]
            case.memo[key] = cls.read({**data, "id": case.id}, **names)
        call: Call = case.memo[key]
        return call

    @classmethod
    def read(
        cls, data: Mapping[str, Any], x: str = "x", positions: str = "positions", role: str | None = None
    ) -> "Call":
        """Return the call of a JSON object; x and positions name its keys."""
        own = {"x": data[x], "positions": data.get(positions), "role": role or data.get("role", "q")}
        question = {**USUAL, **data, **own}
        question.pop("result", None)  # a target may read the question, not the answer
        plan, given = ropecore.RotaryPlan.from_dict(data["plan"]), own["positions"]
        return cls(
            plan=plan,
            x=decode_floats(own["x"]),
            positions=None if given is None else on_axes(plan, decode(given)),
            offset=question["offset"],
            tensor_format=question["tensor_format"],
            role=question["role"],
            mode=question["mode"],
            question=question,
        )

    @cached_property
    def places(self) -> Array:
        """Return the positions that are meant, also where the call leaves them to the offset
        (R-7.4).
        """
        if self.positions is not None:
            return self.positions
        length = self.x.shape[self.tensor_format.index(self.token_letter)]
        starts = np.asarray(self.offset or 0)
        return np.asarray(np.arange(length) + starts[..., None] if starts.ndim else np.arange(length) + starts)

    @property
    def token_letter(self) -> str:
        """Return the letter along which positions run."""
        return "s" if "s" in self.tensor_format else "t"

    @cached_property
    def at(self) -> bounds.Turns:
        """What the error model reads, at the positions of this call."""
        return self.fit(bounds.turns(self.plan, self.places, self.role))

    def fit(self, at: bounds.Turns) -> bounds.Turns:
        """Return what the error model reads, shaped to broadcast against this call's x (R-7.3)."""
        letters = self.tensor_format[:-1]
        own = [self.token_letter] if at.reach.ndim == 2 else ["b", self.token_letter]
        order = sorted(range(len(own)), key=lambda i: letters.index(own[i]))
        sizes = dict(zip(own, at.reach.shape[:-1], strict=True))
        return at.fitted(tuple(sizes.get(letter, 1) for letter in letters), tuple(order))

    def bound(self, y: Floats, target: Target, dtype: str) -> Floats:
        """Return B of R-10.6 for the exact result y, in the precision that the target declares."""
        words = target.capabilities.words(dtype)
        return bounds.rotation_bound(self.plan, self.at, self.x, y, dtype, words, self.mode, self.own(target))

    def own(self, target: Target) -> bounds.Own:
        """Return what R-10.8 grants a target."""
        config, declared = self.question.get("config"), target.capabilities.own_frequencies
        if not declared or not config:
            return bounds.GIVEN
        return bounds.own_frequencies(config, self.plan.lanes, self.question.get("seq_len"))

    def wanted(self, source: Mapping[str, Any], target: Target, dtype: str) -> tuple[Floats, Floats]:
        """Return the exact result for x in a dtype, from a vector's, and its bound."""
        key = (id(source), dtype, target.capabilities.words(dtype))
        if key not in self.memo:
            y = decode_floats(source) + self.moved_by_rounding(dtype)
            self.memo[key] = y, self.bound(y, target, dtype)
        return self.memo[key]

    def wrapped(self) -> "Call":
        """Return the call with its positions modulo 2^32: what is promised where they are not read
        (R-7.1).
        """
        return replace(self, positions=(self.places + 2**31) % 2**32 - 2**31)

    def moved_by_rounding(self, dtype: str) -> Floats | float:
        """Return how far the exact result moves when x is rounded to a dtype that does not hold it:
        0 for most vectors.
        """
        finite = np.where(np.isfinite(self.x), self.x, 0.0)
        lost = finite.astype(numpy_dtype(dtype)).astype(np.float64) - finite
        return self.rotation(lost) if lost.any() else 0.0

    def rotation(self, x: Floats) -> Floats:
        """Return ropecore's own float64 rotation of x at the positions of this call."""
        at = self.at
        inverse, transpose = self.mode == "inverse", self.mode == "transpose"
        y = ropecore.rotate(self.plan, x, at.cos * at.scale, at.sin * at.scale, inverse=inverse, transpose=transpose)
        return np.asarray(y, np.float64)

    @cached_property
    def untouched(self) -> list[int]:
        """Return the lanes in no row."""
        return sorted(set(range(self.plan.head_dim)) - set(self.plan.lanes.ravel().tolist()))


def on_axes(plan: ropecore.RotaryPlan, positions: Array) -> Array:
    """Return positions as floats for a plan with a real axis: JSON may write a whole coordinate
    without a point.
    """
    return positions.astype(np.float64) if any(plan.real_axes) else positions


def paths(target: Target, mode: str) -> list[str]:
    """Return the functions of the target by which a rotation of this mode can be had."""
    tables = target.has("cos_sin") and target.has("rotate")
    if mode != "forward":
        return ["rotate"] if tables else ["apply"] if target.takes("apply", mode) else []
    return ["apply", *(["apply_"] if target.has("apply_") else []), *(["rotate"] if tables else [])]


def way_of(target: Target, call: Call, way: Way) -> Way:
    """Return the way of a call among several: its mode may ask for another function than the way
    that the case is judged by.
    """
    able = paths(target, call.mode)
    if not able:
        raise NotApplicable(f"the target has no function for the {call.mode}")
    return way if way.path in able else replace(way, path=able[0])


def positions_of(target: Target, plan: ropecore.RotaryPlan, positions: Array) -> Any:
    """Return positions as the target's own array, or as a list of one an axis where integer axes
    stand beside real ones.

    Integers are int64, coordinates the narrowest floats that hold them.
    """
    columns = bounds.by_axis(plan, positions)
    if isinstance(columns, list):
        return [_own(target, column) for column in columns]
    return _own(target, columns)


def _own(target: Target, positions: Array) -> Any:
    if positions.dtype.kind == "f" and np.array_equal(positions.astype(np.float32).astype(np.float64), positions):
        return target.asarray(positions, "float32")
    return target.asarray(positions, positions.dtype.name)


def table_dtype(target: Target, dtype: str) -> str:
    """Return the dtype of the tables that the target declares to use for x of that dtype."""
    match target.capabilities.words(dtype).table:
        case "input":
            return dtype
        case "float64":
            return "float64"
        case _:
            return "float64" if dtype == "float64" else "float32"


def tables(target: Target, plan: ropecore.RotaryPlan, positions: Array, role: str, dtype: str) -> tuple[Any, Any]:
    """Return cos and sin, by the target's own function."""
    usual = {"precision": target.capabilities.words(dtype).angle, "dtype": dtype}
    usual |= {"role": role} if plan.log_magnitude is not None else {}
    cos, sin = target.call(
        "cos_sin", plan, positions_of(target, plan, positions), **keywords(target, "cos_sin", {}, **usual)
    )
    return cos, sin


def once(target: Target, call: Call, x: Any, way: Way) -> Any:
    """Return the target's own result for its own input array: one call
    of the function `way.path`.
    """
    check_held(call, target, way.dtype)
    if way.path == "rotate":
        cos, sin = tables(target, call.plan, call.places, call.role, table_dtype(target, way.dtype))
        asked: dict[str, Any] = {} if call.mode == "forward" else {call.mode: True}
        return target.call(
            "rotate", call.plan, x, cos, sin, **keywords(target, way.path, asked, tensor_format=call.tensor_format)
        )
    result = target.call(way.path, call.plan, x, **of_apply(target, call, way))
    return x if way.path == "apply_" else result


def check_held(call: Call, target: Target, dtype: str) -> None:
    """Leave out a decay that a table of 16 bits cannot hold (R-10.6, 4)."""
    words, largest = target.capabilities.words(dtype), compare.OVERFLOW.get(dtype, np.inf)
    if call.plan.log_magnitude is None or dtype not in bounds.STORE or "input" not in (words.table, words.compute):
        return
    factor = float(np.max(1 / call.at.scale if call.mode == "inverse" else call.at.scale, initial=0.0))
    if factor >= largest:
        raise NotApplicable(f"a decay factor of {factor:.2g} is outside {dtype} tables (R-10.6)")


def keywords(target: Target, name: str, asked: Mapping[str, Any], **usual: Any) -> dict[str, dict[str, Any]]:
    """Return the keywords of a call: needed are the asked, and those of the usual that are not at
    their default.

    A keyword at its default is only offered: a function need not know it.
    """
    default = {"tensor_format": DEFAULT_FORMAT, "offset": None, "role": "q"}
    needed = {key: value for key, value in usual.items() if key in default and value != default[key]}
    offered = {key: value for key, value in usual.items() if key not in needed}
    if target.takes(name, "case"):  # it reads there what it needs
        return {"needed": {**asked}, "offered": {**needed, **offered}}
    return {"needed": {**asked, **needed}, "offered": offered}


def of_apply(target: Target, call: Call, way: Way) -> dict[str, dict[str, Any]]:
    """Return the keywords of apply and apply_; a target that knows no offset is told the positions
    that it would have (R-7.4).
    """
    asked: dict[str, Any] = {} if call.mode == "forward" else {call.mode: True}
    if call.positions is not None:
        asked["positions"] = positions_of(target, call.plan, call.positions)
    elif not target.takes(way.path, "offset") and (call.offset is None or target.takes(way.path, "case")):
        asked["positions"] = positions_of(target, call.plan, call.places)
    angle = target.capabilities.words(way.dtype).angle
    usual: dict[str, Any] = {"tensor_format": call.tensor_format, "precision": angle}
    usual |= {} if call.offset is None else {"offset": call.offset}
    usual |= {"role": call.role} if call.plan.log_magnitude is not None else {}
    usual["case"] = {**call.question, "dtype": way.dtype, "precision": angle}
    return keywords(target, way.path, asked, **usual)


def rotated(target: Target, call: Call, way: Way) -> Array:
    """Return the target's result, after the checks that hold for every rotation (R-2.2, R-2.8).

    dtype and shape are those of x; lanes in no row keep their bits; x is not changed unless that
    was asked; a second call gives the same bits, and does so with a read-only input too.
    """
    way = way_of(target, call, way)
    x = target.asarray(call.x, way.dtype)
    before = target.to_numpy(x).copy()
    y = target.to_numpy(once(target, call, x, way)).copy()
    same_kind(y, before, None if way.path == "apply_" else target.to_numpy(x))
    for lane in call.untouched:
        if y[..., lane].tobytes() != before[..., lane].tobytes():
            raise Mismatch(
                f"lane {lane} is in no row of the plan and changed (R-2.2)", None, Numbers(y.astype(np.float64))
            )
    _again(target, call, way, y)
    return y


def same_kind(got: Array, before: Array, after: Array | None) -> None:
    """Refuse a result of another shape or dtype than its input had, and an input that was changed
    (R-2.8).
    """
    if got.shape != before.shape:
        raise Mismatch(f"shape {got.shape} for an input of shape {before.shape} (R-2.8)")
    if got.dtype != before.dtype:
        raise Mismatch(f"dtype {got.dtype.name} for an input of {before.dtype.name} (R-2.8)")
    if after is not None and after.tobytes() != before.tobytes():
        raise Mismatch("the input was changed (R-2.8)")


def _again(target: Target, call: Call, way: Way, y: Array) -> None:
    """Call a second time, with a fresh input that cannot be written to where the path allows it."""
    x = target.asarray(call.x, way.dtype)
    if isinstance(x, np.ndarray) and way.path != "apply_":
        x.flags.writeable = False
    if target.to_numpy(once(target, call, x, way)).tobytes() != y.tobytes():
        raise Mismatch("a second call gives other bits than the first (R-2.8)")


def takes_pair(target: Target) -> bool:
    """Return whether apply also rotates a query and a key in one call."""
    known = target.keywords("apply")
    return known is not None and {"k", "k_positions"} <= known


def rotated_pair(target: Target, q: Call, k: Call, way: Way) -> list[Array]:
    """Return q and k, rotated by one call of apply."""
    both = [target.asarray(call.x, way.dtype) for call in (q, k)]
    places = {
        "positions": positions_of(target, q.plan, q.places),
        "k_positions": positions_of(target, k.plan, k.places),
    }
    given = keywords(
        target, "apply", places, tensor_format=q.tensor_format, precision=target.capabilities.words(way.dtype).angle
    )
    result = target.call("apply", q.plan, *both, **given)
    if not isinstance(result, tuple) or len(result) != len(both):
        raise Mismatch("apply of a query and a key did not return a pair")
    return [target.to_numpy(array) for array in result]
