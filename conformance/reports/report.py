"""Reports: what a run came to, as JSON (report.schema.json) and as text."""

import hashlib
import json
import math
import platform
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np

import ropecore

from ..cases import Case
from ..diagnosis import Diagnosis, diagnose
from ..judge.reach import Step, missed, told
from ..target import WORDS as OF_PRECISION
from ..target import word_of
from ..verdicts import VERDICTS, Outcome, Verdict, Worst

SCHEMA = "ropecore-report/1"
SMALLEST = "rotate/*/d8/*"  # cases to begin with
SHORT = 3  # features named in the verdict, more are counted
WORDS: dict[str, str] = {
    "pass": "passed",
    "fail": "failed",
    "errored": "errored",
    "skipped": "skipped",
    "not applicable": "not applicable",
}


def suite() -> dict[str, str]:
    """Return what the run was judged by: the version, and the SHA-256 of the vectors' manifest."""
    manifest = files("ropecore.spec").joinpath("manifest.json").read_bytes()
    return {
        "name": "ropecore",
        "version": ropecore.__version__,
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }


def environment() -> dict[str, str]:
    """Return where the run took place."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
    }


@dataclass(frozen=True)
class Result:
    """The outcome of one case on the target, or on one of its variants."""

    case: Case
    variant: str
    outcome: Outcome

    @property
    def verdict(self) -> Verdict:
        """Return the verdict."""
        return self.outcome.verdict


@dataclass(frozen=True)
class Selection:
    """What was run, of what there is."""

    topic: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    variants_left_out: tuple[str, ...] = ()
    cases: int = 0
    of: int = 0

    @property
    def whole(self) -> bool:
        """Return whether nothing that the target declares was left out."""
        return self.cases == self.of and not self.variants_left_out


@dataclass(frozen=True)
class Report:
    """What a run came to.  `ok` is the only pass mark there is."""

    target: str
    capabilities: Mapping[str, Any]
    selection: Selection
    results: tuple[Result, ...]
    broken: str = ""  # why no case could be judged
    reach: tuple[Step, ...] = ()  # the error by position, of a whole run
    suite: Mapping[str, str] = field(default_factory=suite)
    environment: Mapping[str, str] = field(default_factory=environment)
    asked: str = ""  # the words of the command line that name the target; none for an object

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of results of each verdict."""
        found = Counter[str](result.verdict for result in self.results)
        return {verdict: found[verdict] for verdict in VERDICTS}

    @property
    def clean(self) -> bool:
        """Return whether something passed, nothing failed, and the measured reach is the declared
        one.
        """
        counts = self.counts
        wrong = counts["fail"] or counts["errored"] or self.inexact
        return not self.broken and counts["pass"] > 0 and not wrong

    @property
    def inexact(self) -> str:
        """Return where a target that was measured is less exact than it declares, or nothing."""
        step = missed(self.reach)
        if step is None:
            return ""
        angle = word_of(self.capabilities["angle"], "float32")
        return (
            f"angle {angle} is declared, and at position {step.position:,} cosines and sines are off by {step.error:.2g}, "
            f"{step.units:.3g} times the bound (R-10.6)"
        )

    @property
    def ok(self) -> bool:
        """Return whether the target conforms: all that it declares was run, something passed, and
        nothing failed.
        """
        return self.clean and self.selection.whole

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """Return the known bug that gives the wrong numbers, and what
        the failures have in common.
        """
        return diagnose(((each.case, each.variant, each.outcome) for each in self.results), self.capabilities)

    def first_lines(self) -> list[str]:
        """Return the diagnosis in lines, and where to begin if most cases failed."""
        counts, lines = self.counts, self.diagnosis.lines()
        most = counts["fail"] + counts["errored"] > counts["pass"]
        if most and not all(fnmatchcase(each.case.id, SMALLEST) for each in self.results):
            lines.append(f"more than half of all cases failed: begin with the smallest, --case '{SMALLEST}'")
        return lines or ([f"FAILED reach: {self.inexact}"] if self.inexact else [])

    def to_json(self) -> str:
        """Return the report as JSON text of schema ropecore-report/1."""
        whole = {
            "schema": SCHEMA,
            "suite": dict(self.suite),
            "environment": dict(self.environment),
            "target": {"target": self.target, "capabilities": dict(self.capabilities)},
            "selection": {key: _plain(value) for key, value in vars(self.selection).items()}
            | {"whole": self.selection.whole},
            "broken": self.broken,
            "ok": self.ok,
            "counts": self.counts,
            "diagnosis": self.diagnosis.to_dict(),
            "reach": [vars(step) for step in self.reach],
            "results": [_result(result) for result in self.results],
        }
        return json.dumps(whole, indent=1, allow_nan=False)

    def text(self) -> str:
        """Return the report as text: the diagnosis, the failures, and
        the counts as the last line.
        """
        if self.broken:
            return f"{self.target}: broken harness, no case was judged\n  {self.broken}\n0 passed, 0 failed"
        wrong = [result for result in self.results if result.verdict in ("fail", "errored")]
        lines = self.first_lines() + [line for result in wrong for line in failure(result, self.asked)]
        selection = self.selection
        if not selection.whole:
            left_out = (
                f", without the variants {', '.join(selection.variants_left_out)}"
                if selection.variants_left_out
                else ""
            )
            lines.append(f"partial run: {selection.cases} of {selection.of} cases{left_out}")
        elif self.ok:
            lines.append(f"{self.target} {self.scope()}")
        if self.reach:
            lines.append(told(list(self.reach)))
        return "\n".join([*lines, self.summary()])

    @property
    def applied(self) -> int:
        """Return how many cases the target itself passed, its variants aside."""
        return sum(result.verdict == "pass" and not result.variant for result in self.results)

    def scope(self) -> str:
        """Return what a target that conforms conforms to: as far as it declares, and how far that
        is.
        """
        features, dtypes = self.capabilities["features"], self.capabilities["dtypes"]
        short = features if features and len(features) <= SHORT else [f"{len(features)} features"] if features else []
        what = f"conforms to ropecore {self.suite['version']} as far as it declares"
        return f"{what}: {self.applied} of {self.selection.of} cases apply ({', '.join([*short, *dtypes])})"

    def summary(self) -> str:
        """Return the counts in one line: passed and failed always, the
        others where there are any.
        """
        counts = self.counts
        shown = [verdict for verdict in VERDICTS if counts[verdict] or verdict in ("pass", "fail")]
        return ", ".join(f"{counts[verdict]} {WORDS[verdict]}" for verdict in shown)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _result(result: Result) -> dict[str, Any]:
    """Return a result as JSON can hold it."""
    outcome = result.outcome
    plain: dict[str, Any] = {
        "id": result.case.id,
        "kind": result.case.kind,
        "variant": result.variant,
        "verdict": outcome.verdict,
    }
    if outcome.judged:
        plain["judged"] = [str(way) for way in outcome.judged]
    if outcome.reason:
        plain["reason"] = outcome.reason
    if outcome.way is not None:
        plain["way"] = str(outcome.way)
    if outcome.worst is not None:
        plain["worst"] = _worst(outcome.worst)
    if outcome.verdict in ("fail", "errored"):
        plain |= {"rules": list(result.case.rules), "flags": list(result.case.flags)}
    return plain


def _worst(worst: Worst) -> dict[str, Any]:
    numbers = {name: _number(getattr(worst, name)) for name in ("got", "wanted", "bound", "units")}
    return {"index": list(worst.index), **numbers}


def _number(value: float) -> float | str:
    """Return a number as the vector files write it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def words_told(capabilities: Mapping[str, Any]) -> str:
    """Return the declared precision in words."""
    return ", ".join(f"{name} {_word_told(capabilities[name])}" for name in OF_PRECISION)


def _word_told(word: Any) -> str:
    return word if isinstance(word, str) else " and ".join(f"{each} for {dtype}" for dtype, each in word.items())


def replay(asked: str, case: str) -> str:
    """Return the shortest call that runs one case again; asked: a target's name, --command and a
    program, or "" for an object.
    """
    return f"ropecore conformance {asked} --case {shlex.quote(case)}" if asked else f"run(target, ids={case!r})"


def failure(result: Result, asked: str) -> list[str]:
    """Return the lines about one failure: what, by which rules, how far off, what the case catches,
    and how to run it again.
    """
    case, outcome = result.case, result.outcome
    where = " ".join(filter(None, (result.variant and f"[{result.variant}]", str(outcome.way) if outcome.way else "")))
    lines = [
        f"{WORDS[outcome.verdict].upper()} {case.id}  {where}",
        f"  {case.comment}  ({', '.join(case.rules)})",
        f"  {outcome.reason}",
    ]
    if outcome.worst is not None:
        lines.append(f"  worst: {outcome.worst}")
    if case.flags:
        lines.append(f"  this case catches {', '.join(case.flags)}")
    return [*lines, f"  again: {replay(asked, case.id)}"]
