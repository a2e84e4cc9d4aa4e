"""`ropecore conformance --mutants`: run the suite against wrong implementations, to see that it
catches each of them.

A mutant is caught by a case that gives a wrong result: a refusal or a crash does not count.  Each
case gets a fresh mutant, so that it is this case alone that catches it.  Cases that carry the
mutant's flag run first, the smallest first.
"""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ropecore import RopeError
from ropecore.arguments import Flag, Function, Names, checked

from ..cases import Case, all_cases, size
from ..diagnosis import diagnose
from ..judge import judge
from ..reports.report import environment, suite
from ..target import Target
from ..verdicts import Outcome
from . import Right, mutants

SCHEMA = "ropecore-mutants/1"
COLUMNS = ("flag", "caught", "own flag", "named", "smallest case", "mutant")

Status: TypeAlias = Literal["caught", "survived", "not run"]


@dataclass(frozen=True)
class Caught:
    """What the suite made of one mutant."""

    mutant: type[Right]
    ran: int  # cases that were judged
    by: tuple[str, ...]  # ids of those that caught it, the smallest first
    by_flag: bool  # one of them carries the mutant's flag
    reason: str = ""  # why it was not run
    named: tuple[str, ...] = ()  # flags of the bugs that the diagnosis of a full run names, the likeliest first

    @property
    def status(self) -> Status:
        """Return what became of it."""
        return "not run" if self.reason else "caught" if self.by else "survived"

    @property
    def ok(self) -> bool:
        """Return whether it was caught by a case that was made to catch it."""
        return bool(self.by) and self.by_flag

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        smallest = {"smallest": self.by[0]} if self.by else {}
        return {
            "flag": self.mutant.flag,
            "name": self.mutant.__name__,
            "bug": (self.mutant.__doc__ or "").strip(),
            "status": self.status,
            "by_flag": self.by_flag,
            "cases_run": self.ran,
            "caught_by": list(self.by),
            **smallest,
            **({"named": list(self.named)} if self.named else {}),
            **({"reason": self.reason} if self.reason else {}),
        }


@dataclass(frozen=True)
class MutantReport:
    """What the suite made of the mutants."""

    results: tuple[Caught, ...]
    full: bool
    of: int  # mutants that there are

    @property
    def clean(self) -> bool:
        """Return whether every mutant that was run was caught by a case with its flag."""
        ran = [result for result in self.results if result.status != "not run"]
        return bool(ran) and all(result.ok for result in ran)

    @property
    def ok(self) -> bool:
        """Return whether every mutant there is was run, and caught by a case with its flag."""
        return len(self.results) == self.of and all(result.ok for result in self.results)

    def to_json(self) -> str:
        """Return the report as JSON text of schema ropecore-mutants/1."""
        whole = {
            "schema": SCHEMA,
            "suite": suite(),
            "environment": environment(),
            "full": self.full,
            "ok": self.ok,
            "mutants": self.of,
            "results": [result.to_dict() for result in self.results],
        }
        return json.dumps(whole, indent=1, allow_nan=False)

    def text(self) -> str:
        """Return a table, a line a mutant, and the counts as the last line."""
        rows = [COLUMNS, *(_row(result, self.full) for result in self.results)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        """Return the counts in one line."""
        counts = {status: sum(result.status == status for result in self.results) for status in ("survived", "not run")}
        other = sum(result.status == "caught" and not result.by_flag for result in self.results)
        parts = [f"{sum(result.ok for result in self.results)} of {self.of} mutants caught by a case with their flag"]
        parts += [f"{other} by other cases alone"] if other else []
        parts += [f"{count} {status}" for status, count in counts.items() if count]
        if self.full:
            first = sum(result.named[:1] == (result.mutant.flag,) for result in self.results)
            parts.append(f"{first} named first by the diagnosis")
        left_out = self.of - len(self.results)
        return ", ".join([*parts, *([f"{left_out} not selected"] if left_out else [])])


def _row(result: Caught, full: bool) -> tuple[str, ...]:
    """Return the cells of a mutant's line."""
    bug = (result.mutant.__doc__ or "").strip().rstrip(".")
    if result.status != "caught":
        return result.mutant.flag, result.status.upper(), "-", "-", result.reason or "-", bug
    count = f"{len(result.by)} of {result.ran}" if full else f"by case {result.ran}"
    named = " ".join(result.named) or "-"
    return result.mutant.flag, count, "yes" if result.by_flag else "NO", named, result.by[0], bug


@checked
def run_mutants(flags: Names | None = None, full: Flag = False, progress: Function | None = None) -> MutantReport:
    """Run the suite against the mutants of these flags, all unless given; each stops at the first
    catch unless `full`, which also tells the bugs that the diagnosis names.

    RopeError for a flag that no mutant has, or without ml_dtypes, as several mutants are about
    bfloat16.
    """
    known = mutants()
    wanted = flags or ()
    unknown = sorted(set(wanted) - {mutant.flag for mutant in known})
    if unknown:
        raise RopeError("flags", unknown[0], "no mutant has it", f"They are M1 to {known[-1].flag}.")
    chosen = [mutant for mutant in known if not wanted or mutant.flag in wanted]
    results = []
    for number, mutant in enumerate(chosen):
        if progress is not None:
            progress(number, len(chosen), next(queue(mutant.flag)))
        results.append(hunt(mutant, full))
    return MutantReport(tuple(results), full, len(known))


def hunt(mutant: type[Right], full: bool) -> Caught:
    """Return which cases catch a mutant: the first in the order of `queue`, or all of them."""
    if mutant.needs_module and importlib.util.find_spec(mutant.needs_module) is None:
        return Caught(mutant, 0, (), False, f"needs {mutant.needs_module}")
    judged: list[tuple[Case, str, Outcome]] = []
    for case in queue(mutant.flag):
        judged.append((case, "", judge(case, Target(mutant()))))
        if not full and catches(judged[-1][-1]):
            break
    by = sorted((case for case, _, outcome in judged if catches(outcome)), key=size)
    named = [each.flag for each in diagnose(judged, Target(mutant()).capabilities.to_dict()).bugs] if full else []
    by_flag = any(mutant.flag in case.flags for case in by)
    return Caught(mutant, len(judged), tuple(case.id for case in by), by_flag, named=tuple(named))


def catches(outcome: Outcome) -> bool:
    """Return whether a case found a wrong result: a refusal or a crash is none."""
    return outcome.verdict == "fail" and not outcome.reason.startswith("refused")


def queue(flag: str) -> Iterator[Case]:
    """Yield the cases that carry the flag, then those of the same topics, then the others; the
    smallest of each first.
    """
    topics = {case.topic for case in all_cases() if flag in case.flags}
    yield from sorted(all_cases(), key=lambda case: (flag not in case.flags, case.topic not in topics, *size(case)))
