"""Running a selection of cases against a target."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ropecore import RopeError
from ropecore.arguments import Flag, Function, Names, checked
from ropecore.errors import told

from .arrays import decode_floats
from .cases import Case, all_cases, cases
from .judge import concerns, judge, left_out, question
from .judge.question import Call
from .judge.reach import reach
from .reports.report import Report, Result, Selection
from .target import Target, as_target
from .verdicts import NotApplicable, Skip, Way

SMOKE = 3  # easy cases that tell a broken harness from wrong arithmetic
AGAIN = 8  # cases that are judged again when all have run

Progress = Callable[[int, int, Case], None]  # done, of, and the case that is next


@checked
def run(
    target: Any,
    topic: Names | None = None,
    ids: Names | None = None,
    flags: Names | None = None,
    variants: Flag = True,
    progress: Function | None = None,
) -> Report:
    """Judge a target, and its variants, by the selected cases.  What a variant lacks is not
    counted.

    target: a name that `load_target` knows, what it returns, or any object with a target's names.
    topic, ids, flags: as in `cases`. Raises RopeError if the selection is empty or the object is no
    target.
    """
    target = as_target(target)
    wanted = {"topic": topic or (), "ids": ids or (), "flags": flags or ()}
    selected = cases(**wanted)
    modes = target.variants if variants else {}
    selection = Selection(
        **wanted,
        variants=tuple(modes),
        variants_left_out=() if variants else tuple(target.variants),
        cases=len(selected),
        of=len(all_cases()),
    )
    for each in (target, *modes.values()):
        check_reasons(each)
    broken = smoke(target)
    jobs = (
        [] if broken else [_Job(case, name, mode) for name, mode in {"": target, **modes}.items() for case in selected]
    )
    results = _judged(jobs, progress)
    counted = tuple(result for result in results if not (result.variant and result.verdict == "not applicable"))
    measured = tuple(reach(target)) if selection.whole and not broken else ()
    return Report(target.name, target.capabilities.to_dict(), selection, counted, broken, measured, asked=target.asked)


def check_reasons(target: Target) -> None:
    """Refuse a declaration `not_applicable` that concerns no case: it is
    misspelt, or out of date.
    """
    for beginning in target.capabilities.not_applicable:
        if not any(concerns(beginning, case) for case in all_cases()):
            raise RopeError("capabilities['not_applicable']", beginning, "is no topic, and no case's id begins so")


@dataclass(frozen=True)
class _Job:
    """One case to be judged on the target or on one of its variants."""

    case: Case
    variant: str
    target: Target

    def done(self) -> Result:
        return Result(self.case, self.variant, judge(self.case, self.target, every=True))


def _judged(jobs: list[_Job], progress: Progress | None) -> list[Result]:
    """Return the results of all jobs; a few are judged again at the end, to see that the other
    cases left no trace.
    """
    results: list[Result] = []
    for number, job in enumerate(jobs):
        if progress is not None:
            progress(number, len(jobs), job.case)
        results.append(job.done())
    passed = [i for i, result in enumerate(results) if result.verdict == "pass" and result.case.kind == "rotate"]
    for i in passed[:: max(1, len(passed) // AGAIN)]:
        again = jobs[i].done()
        if again.verdict != "pass":
            reason = f"passed at first, and not after the other cases: {again.outcome.reason} (R-2.8)"
            results[i] = replace(again, outcome=replace(again.outcome, verdict="fail", reason=reason))
    return results


def smoke(target: Target) -> str:
    """Return why the target cannot be called at all, or nothing: on a few easy cases, any finite
    result of the right shape will do.
    """
    problems: list[str] = []
    easy = sorted(
        (case for case in all_cases() if _easy(case, target)),
        key=lambda case: (len(case.needs), len(case.data["x"]["data"])),
    )
    for case in easy[:SMOKE]:
        problem = _problem(Call.of(case), target)
        if not problem:
            return ""
        problems.append(f"{case.id}: {problem}")
    return "; ".join(problems) or "no easy case concerns the target: see its features"


def _easy(case: Case, target: Target) -> bool:
    """Return whether a case is a plain rotation that concerns the target."""
    data = case.data
    if case.kind != "rotate" or left_out(case, target) or data["result"]["kind"] != "value":
        return False
    plain = data["mode"] == "forward" and data["tensor_format"] == "bhsd" and data["positions"] is not None
    return plain and bool(np.isfinite(decode_floats(data["x"])).all())


def _problem(call: Call, target: Target) -> str:
    """Return what keeps the target from rotating at all, or nothing."""
    way = Way(target.capabilities.dtypes[0], "apply")
    try:
        y = target.to_numpy(question.once(target, call, target.asarray(call.x, way.dtype), way))
        finite = bool(np.isfinite(y.astype(np.float64)).all())
    except (Skip, NotApplicable):
        return ""  # it answers
    except Exception as error:
        return "" if target.refuses and target.refused(error) else told(error)  # a refusal is an answer
    if y.shape != call.x.shape:
        return f"shape {y.shape} for an input of shape {call.x.shape}"
    return "" if finite else "NaN or infinity from finite numbers"
