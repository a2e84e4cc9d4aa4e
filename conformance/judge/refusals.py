"""Cases that must be refused (rope.md chapter 12)."""

from collections.abc import Callable

import ropecore

from ..arrays import decode_object
from ..cases import Case
from ..target import Target
from ..verdicts import Mismatch, NotApplicable, Skip, Way
from . import question
from .question import Call


def reject(case: Case, target: Target, way: Way) -> None:
    """A call that must be refused, naming the argument (chapter 12)."""
    call = refused_call(case, target, way)
    try:
        call()
    except (NotApplicable, Skip):
        raise
    except Exception as error:
        if not target.refused(error):
            raise
        names = {"x": ("x", "q")}.get(case.data["argument"], (case.data["argument"],))  # apply(plan, q, ..) calls x q
        if isinstance(error, ropecore.RopeError) and not any(name in str(error) for name in names):
            raise Mismatch(f"the refusal does not name {case.data['argument']!r}: {error}") from error
        return
    raise Mismatch(f"accepted, and must be refused for its {case.data['argument']}")


def refused_call(case: Case, target: Target, way: Way) -> Callable[[], object]:
    """Return the call of a reject case; what it needs is made here, so that only the call itself
    can refuse.
    """
    data = case.data
    match data["call"]:
        case "config":
            config, given = target.rule("RopeConfig"), decode_object(data["config"])
            return lambda: config.from_dict(given).plan(data["seq_len"])
        case "plan":
            plan, rows = target.rule("RotaryPlan"), decode_object(data["plan"])
            return lambda: plan.from_dict(rows)
        case "source":
            read, source = target.rule("read_config"), decode_object(data["source"])
            return lambda: read(source)
        case "rotate":
            return refused_rotation(Call.of(case), data["dtype"] or way.dtype, target)
        case other:
            raise ValueError(f"this version of the suite knows no call {other}")


def refused_rotation(call: Call, dtype: str, target: Target) -> Callable[[], object]:
    """Return the rotation of a reject case, with its arrays made."""
    try:
        x = target.asarray(call.x, dtype)
    except Exception as error:
        raise NotApplicable(f"the target makes no {dtype} array ({error})") from error
    given = question.of_apply(target, call, Way(dtype, "apply"))
    return lambda: target.call("apply", call.plan, x, **given)
