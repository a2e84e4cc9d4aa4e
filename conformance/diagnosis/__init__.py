"""Diagnosis: the known bug that gives the wrong numbers of a run, and what its failures have in
common.

bugs.py    each mutant is judged by the cases that failed, and its numbers are compared
common.py  dtype, function, mode, role, pairing, rows, heads, tokens, lanes, positions, and the size
of the error
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..cases import Case
from ..verdicts import Outcome
from .bugs import Known, known
from .common import answers, common


@dataclass(frozen=True)
class Diagnosis:
    """Why a target fails.  bugs: several only where the cases do not tell them apart, none where no
    known bug fits.
    """

    failures: int
    bugs: tuple[Known, ...] = ()
    common: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the diagnosis as lines of a report; there are none where nothing failed."""
        if not self.failures:
            return []
        shared = "; ".join(self.common)
        if not self.bugs:
            return [f"no known bug fits{': ' if shared else ''}{shared}"]
        lines = [_told(self.bugs[0])]
        lines += [f"or {each.flag}: {each.bug}; these cases do not tell them apart" for each in self.bugs[1:]]
        return [*lines, *([f"in common: {shared}"] if shared else [])]

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON can hold it."""
        bugs = [dict(vars(each)) for each in self.bugs]
        return {"bugs": bugs, "common": list(self.common), "lines": self.lines()}


def _told(bug: Known) -> str:
    """Return a bug in a line."""
    spared = f"; {bug.spared} cases pass that it would fail" if bug.spared else ""
    return f"likely bug {bug.flag}: {bug.bug} (its numbers in {bug.explained} of {bug.compared} failures{spared})"


def diagnose(outcomes: Iterable[tuple[Case, str, Outcome]], capabilities: Mapping[str, Any]) -> Diagnosis:
    """Return the diagnosis of a run, from (case, variant, outcome) in the order in which they were
    judged.
    """
    judged = list(outcomes)
    wrong = [outcome for _, _, outcome in judged if outcome.verdict in ("fail", "errored")]
    if not wrong:
        return Diagnosis(0)
    every = list(answers(judged))
    variants = {id(answer.outcome): variant for answer, _, variant in every if variant}
    failed, passed = ([answer for answer, right, _ in every if right is wanted] for wanted in (False, True))
    shown = [each for each in failed if each.way == each.outcome.way]  # whose numbers are there
    comparable = [each for each in shown if _comparable(each.outcome)]
    bugs = known(comparable, passed, [answer for answer, _, _ in every], capabilities)
    return Diagnosis(len(wrong), tuple(bugs), tuple(common(failed, passed, variants)))


def _comparable(outcome: Outcome) -> bool:
    """Return whether a failure says more than that the target refused or crashed."""
    return outcome.verdict == "fail" and not outcome.reason.startswith(("refused", "passed at first"))
