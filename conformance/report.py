"""Reports: what a run came to, as JSON (report.schema.json) and as text."""

import hashlib
import importlib
import json
import math
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

import ropecore

from .cases import Case
from .reach import Step, told
from .verdicts import VERDICTS, Outcome, Verdict, Worst

SCHEMA = "ropecore-report/1"
LIKELY = 5  # bugs named at the end of a report
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

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of results of each verdict."""
        found = Counter[str](result.verdict for result in self.results)
        return {verdict: found[verdict] for verdict in VERDICTS}

    @property
    def clean(self) -> bool:
        """Return whether something passed and nothing failed, however little was run."""
        counts = self.counts
        return not self.broken and counts["pass"] > 0 and not counts["fail"] and not counts["errored"]

    @property
    def ok(self) -> bool:
        """Return whether the target conforms: all that it declares was run, something passed, and nothing failed."""
        return self.clean and self.selection.whole

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
            "reach": [vars(step) for step in self.reach],
            "results": [_result(result) for result in self.results],
        }
        return json.dumps(whole, indent=1, allow_nan=False)

    def text(self) -> str:
        """Return the report as text: failures, the likely bugs, and the counts as the last line."""
        if self.broken:
            return f"{self.target}: broken harness, no case was judged\n  {self.broken}\n0 passed, 0 failed"
        notes = importlib.import_module("ropecore.spec").notes()
        wrong = [result for result in self.results if result.verdict in ("fail", "errored")]
        lines = [line for result in wrong for line in failure(result, notes)]
        lines += _likely(self.results, notes) if wrong else []
        selection = self.selection
        if not selection.whole:
            left_out = (
                f", without the variants {', '.join(selection.variants_left_out)}"
                if selection.variants_left_out
                else ""
            )
            lines.append(f"partial run: {selection.cases} of {selection.of} cases{left_out}")
        elif self.ok:
            lines.append(f"{self.target} conforms to ropecore {self.suite['version']}")
        if self.reach:
            lines.append(told(list(self.reach)))
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        """Return the counts in one line: passed and failed always, the others where there are any."""
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


def failure(result: Result, notes: Mapping[str, Any]) -> list[str]:
    """Return the lines about one failure: what, by which rules, how far off, and the bug that the case hunts."""
    case, outcome = result.case, result.outcome
    where = " ".join(filter(None, (result.variant and f"[{result.variant}]", str(outcome.way) if outcome.way else "")))
    lines = [
        f"{WORDS[outcome.verdict].upper()} {case.id}  {where}",
        f"  {case.comment}  ({', '.join(case.rules)})",
        f"  {outcome.reason}",
    ]
    if outcome.worst is not None:
        lines.append(f"  worst: {outcome.worst}")
    if outcome.verdict == "fail":
        lines += [f"  likely bug {flag}: {notes[flag]['bug']}" for flag in case.flags if flag in notes]
    return lines


def _likely(results: tuple[Result, ...], notes: Mapping[str, Any]) -> list[str]:
    """Return the bugs that explain the failures best: those of which every case failed, the most cases first."""
    judged = [result for result in results if result.verdict in ("pass", "fail", "errored")]
    wrong = [result for result in judged if result.verdict != "pass"]
    if 2 * len(wrong) > len(judged):
        return ["more than half of all cases failed: begin with the smallest, --case 'rotate/*/d8/*'"]
    ran = Counter(flag for result in judged for flag in result.case.flags)
    failed = Counter(flag for result in wrong for flag in result.case.flags)
    whole = [flag for flag, count in failed.most_common() if count == ran[flag] and flag in notes]
    return [
        f"likely bug {flag}: {notes[flag]['bug']} (all its cases failed, {failed[flag]})" for flag in whole[:LIKELY]
    ]
