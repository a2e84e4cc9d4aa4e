"""Cases that rotate: what a target returns, compared with the exact result (rope.md chapters 2, 7,
9 and 11).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

import ropecore

from .. import bounds
from ..arrays import Array, decode_floats
from ..cases import Case
from ..target import Target
from ..verdicts import Mismatch, NotApplicable, Way
from . import compare, question
from .question import Call


def rotate(case: Case, target: Target, way: Way) -> None:
    """A tensor, rotated."""
    expect(Call.of(case), case.data["result"], target, way)


def expect(call: Call, result: Mapping[str, Any], target: Target, way: Way) -> Array:
    """Return the target's rotation after comparing it with a result of any kind."""
    match result.get("kind", "value"):
        case "value":
            got = question.rotated(target, call, way)
            compare_rotation(got, call, result["y"], target, way)
        case "printed":
            got = question.rotated(target, call, way)
            compare_printed(got, call, result, target, way)
        case "either":
            got = expect_either(call, result["results"], target, way)
        case other:
            raise ValueError(f"this version of the suite knows no result of kind {other}")
    return got


def compare_rotation(got: Array, call: Call, source: Mapping[str, Any], target: Target, way: Way) -> None:
    """Compare a rotation with the exact one, within the error model (R-10.6)."""
    compare.within(got, *call.wanted(source, target, way.dtype))


def compare_printed(got: Array, call: Call, result: Mapping[str, Any], target: Target, way: Way) -> None:
    """Compare elements with what a document prints of them; the bound is that of the largest value
    printed so.
    """
    values = got.astype(np.float64) - call.moved_by_rounding(way.dtype)
    compare.printed(values, lambda largest: call.bound(np.full(call.x.shape, largest), target, way.dtype), result)


def expect_either(call: Call, results: list[Mapping[str, Any]], target: Target, way: Way) -> Array:
    """Return the target's rotation if it is one of a closed list: refused, which is an exception,
    or wrapped (R-7.1).
    """
    allowed = [result for result in results if "y" in result]
    try:
        got = question.rotated(target, call, way)
    except Exception as error:
        if target.refused(error) and len(allowed) < len(results):
            return call.x
        raise
    wrong: list[Mismatch] = []
    for result in allowed:
        try:
            compare_rotation(got, call.wrapped(), result["y"], target, way)
        except Mismatch as mismatch:
            wrong.append(mismatch)
        else:
            return got
    nearest = wrong[0] if wrong else Mismatch("refused")
    raise Mismatch(f"none of the {len(results)} results that are allowed", nearest.worst, nearest.numbers)


def sequence(case: Case, target: Target, way: Way) -> None:
    """Calls in order, in one process: none may disturb the next (R-2.8)."""
    for number, (data, result) in enumerate(zip(case.data["calls"], case.data["result"]["calls"], strict=True)):
        dtype = data.get("dtype") or way.dtype
        if dtype not in target.capabilities.dtypes:
            raise NotApplicable(f"needs dtype {dtype}")
        try:
            expect(Call.of(case, "calls", number), result, target, Way(dtype, way.path))
        except Mismatch as wrong:
            raise Mismatch(f"call {number + 1} ({dtype}): {wrong.message}", wrong.worst, wrong.numbers) from wrong


def pair(case: Case, target: Target, way: Way) -> None:
    """Two rotations that must have the same bits, in C order."""
    both = [expect(Call.of(case, part), case.data["result"][part], target, way) for part in ("first", "second")]
    compare.equal_bits(both[0], both[1], "first and second")


def beside(case: Case, target: Target, way: Way) -> None:
    """Heads at the front of a larger array: those behind them were not passed, and keep their bits
    (R-2.8).
    """
    call, others = Call.of(case), decode_floats(case.data["others"])
    axis = call.tensor_format.index("h")
    whole = target.asarray(np.concatenate([call.x, others], axis=axis), way.dtype)
    front = tuple(slice(0, size) if i == axis else slice(None) for i, size in enumerate(call.x.shape))
    before = target.to_numpy(whole).copy()
    got = target.to_numpy(question.once(target, call, whole[front], way)).copy()
    after = target.to_numpy(whole).copy()
    if way.path == "apply_":
        after[front] = before[front]  # what was asked for
    compare.equal_bits(before, after, "numbers that were not passed, before and after (R-2.8)")
    compare_rotation(got, call, case.data["result"]["y"], target, way)


def meta(case: Case, target: Target, way: Way) -> None:
    """A module that was built without memory, and got it later: what it holds is made, and not what
    the memory held.
    """
    call = Call.of(case)
    module = target.call("from_meta", call.plan, needed={})
    got = module(target.asarray(call.x, way.dtype), positions=question.positions_of(target, call.plan, call.places))
    compare_rotation(target.to_numpy(got), call, case.data["result"]["y"], target, way)


def ambient(case: Case, target: Target, way: Way) -> None:
    """A mode of the framework that must change nothing: the same bits
    inside it as outside (R-2.8).
    """
    call, mode = Call.of(case), mode_of(target, case.data["ambient"])
    outside = expect(call, case.data["result"], target, way)
    with mode:
        inside = expect(call, case.data["result"], target, way)
    compare.equal_bits(outside, inside, f"outside and inside {case.data['ambient']}")


def mode_of(target: Target, name: str) -> AbstractContextManager[Any]:
    """Return the target's context manager of that name; None, or a refusal, says that its framework
    has no such mode.
    """
    if not target.has("ambient"):
        raise NotApplicable("the target has no ambient modes")
    try:
        manager: AbstractContextManager[Any] | None = target.subject.ambient(name)
    except Exception as error:
        if isinstance(error, LookupError) or target.refused(error):
            raise NotApplicable(f"its framework has no mode {name}") from error
        raise
    if manager is None:
        raise NotApplicable(f"its framework has no mode {name}")
    return manager


def shift(case: Case, target: Target, way: Way) -> None:
    """Cached keys moved by delta: a rotation by delta F on the lanes written, without A (R-9.5)."""
    plan = ropecore.RotaryPlan.from_dict(case.data["plan"])
    call = Call.read({**case.data, "plan": plan.on_written_lanes().to_dict(), "role": "k"})
    delta = case.data["delta"]
    x = target.asarray(call.x, way.dtype)
    before = target.to_numpy(x).copy()
    keywords = question.keywords(target, "shift", {}, tensor_format=call.tensor_format)
    got = target.to_numpy(target.call("shift", plan, x, delta, **keywords))
    question.same_kind(got, before, target.to_numpy(x))
    wanted = decode_floats(case.data["result"]["y"])
    length = call.x.shape[call.tensor_format.index(call.token_letter)]
    places = np.full((plan.n_axes, length) if plan.n_axes > 1 else length, delta)  # every axis moves by delta
    compare.within(got, wanted, replace(call, positions=places).bound(wanted, target, way.dtype))


def vjp(case: Case, target: Target, way: Way) -> None:
    """The gradient with respect to x: the transpose of the output's gradient (R-11.1)."""
    call, back = Call.of(case), replace(Call.of(case, x="g"), mode="transpose")
    if call.mode != "forward":
        raise NotApplicable("vjp is that of the forward rotation")
    x, g = target.asarray(call.x, way.dtype), target.asarray(back.x, way.dtype)
    before = target.to_numpy(g).copy()
    got = target.call("vjp", call.plan, x, g, **question.of_apply(target, call, way))
    if got is None:
        raise Mismatch("there is no gradient (R-11.1)")
    gx = target.to_numpy(got)
    question.same_kind(gx, before, target.to_numpy(g))
    wanted = decode_floats(case.data["result"]["gx"])
    compare.within(gx, wanted, back.bound(wanted, target, way.dtype))


def scores(case: Case, target: Target, way: Way) -> None:
    """Products of rotated queries and keys (R-9.11): the target rotates, float64 multiplies."""
    q = Call.of(case, x="q", role="q")
    k = Call.of(case, x="k", positions="k_positions", role="k")
    turned = [question.rotated(target, call, way) for call in (q, k)]
    if question.takes_pair(target):
        for one, other, name in zip(turned, question.rotated_pair(target, q, k, way), "qk", strict=True):
            compare.equal_bits(one, other, f"{name} alone, and {name} in a pair")
    groups = q.x.shape[1] // k.x.shape[1]
    ours = [call.rotation(call.x) for call in (q, k)]  # their cases give scores alone
    limits = [call.bound(y, target, way.dtype) for call, y in zip((q, k), ours, strict=True)]
    shared = [np.repeat(array.astype(np.float64), groups, axis=1) for array in (turned[1], ours[1], limits[1])]
    got = turned[0].astype(np.float64) @ np.swapaxes(shared[0], -1, -2)
    wanted = decode_floats(case.data["result"]["scores"])
    limit = bounds.score_bound(ours[0], shared[1], limits[0], shared[2])
    compare.within(got, wanted, limit + bounds.GOLDEN * np.abs(wanted), "scores")
