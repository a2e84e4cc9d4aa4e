"""Reports as one HTML page that needs nothing else: no network, no framework; the data stand in it
as JSON.
"""

import importlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from ..cases import all_cases
from ..judge.reach import Step, exact_up_to
from ..verdicts import VERDICTS
from .report import Report, replay, words_told


def entry(report: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """Return what the page says of one report, given as its JSON object.

    about: further keys; `explain`, a function of a case's id that returns (kind, reason), in place
    of the diagnosis; `asked`, the words of the command line that name the target, if its name does
    not.
    """
    cases = {case.id: case for case in all_cases()}
    explain = about.pop("explain", None)
    asked = about.pop("asked", None) or shlex.quote(report["target"]["target"])
    capabilities = report["target"]["capabilities"]
    steps = [Step(**step) for step in report["reach"]]
    wrong = [result for result in report["results"] if result["verdict"] in ("fail", "errored")]
    topics: dict[str, Counter[str]] = {}
    for result in report["results"]:
        topics.setdefault(cases[result["id"]].topic, Counter())[result["verdict"]] += 1
    return {
        "target": report["target"]["target"],
        "name": capabilities["name"] or report["target"]["target"],
        "version": capabilities["version"],
        "words": words_told(capabilities),
        "dtypes": capabilities["dtypes"],
        "topics": {topic: [found[verdict] for verdict in VERDICTS] for topic, found in topics.items()},
        "counts": report["counts"],
        "reach": [[step.position, step.error] for step in steps],
        "exact": exact_up_to(steps),
        "not_applicable": _reasons(report["results"]),
        "diagnosis": [] if explain else report["diagnosis"]["lines"],
        "failures": [_failure(result, asked, cases[result["id"]], explain) for result in wrong],
        "not_run": report["broken"],
        **about,
    }


def not_run(target: str, name: str, version: str, reason: str) -> dict[str, Any]:
    """Return what the page says of a target that was not run: nothing of it is counted."""
    empty: dict[str, Any] = {
        "words": "",
        "dtypes": [],
        "topics": {},
        "counts": {},
        "reach": [],
        "exact": None,
        "not_applicable": [],
        "diagnosis": [],
    }
    return {"target": target, "name": name, "version": version, "failures": [], "not_run": reason, **empty}


def _failure(result: Mapping[str, Any], asked: str, case: Any, explain: Any) -> dict[str, Any]:
    kind, reason = explain(result["id"]) if explain else ("", "")
    worst = result.get("worst")
    return {
        "id": result["id"],
        "topic": case.topic,
        "variant": result["variant"],
        "verdict": result["verdict"],
        "comment": case.comment,
        "rules": list(case.rules),
        "flags": list(case.flags),
        "way": result.get("way", ""),
        "reason": result.get("reason", ""),
        "worst": worst,
        "size": sum(len(part["x"]["data"]) for part in case.parts if "x" in part),
        "kind": kind,
        "because": reason,
        "command": replay(asked, result["id"]),
    }


def _reasons(results: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """Return why cases do not concern the target, the commonest reason first, with how many."""
    found = Counter(result.get("reason", "") for result in results if result["verdict"] == "not applicable")
    return [[reason, count] for reason, count in found.most_common()]


def html(report: Report) -> str:
    """Return the page of one report."""
    return page(
        [entry(json.loads(report.to_json()), asked=report.asked or None)],
        f"RoPE conformance of {report.target}",
        report.suite,
    )


def page(entries: Iterable[Mapping[str, Any]], title: str, suite: Mapping[str, str]) -> str:
    """Return the page.  suite: the name, version and manifest of what was judged by."""
    listed = list(entries)
    notes = importlib.import_module("ropecore.spec").notes()
    flags = sorted({flag for each in listed for failure in each["failures"] for flag in failure["flags"]})
    data = {
        "title": title,
        "suite": dict(suite),
        "verdicts": list(VERDICTS),
        "topics": list(dict.fromkeys(case.topic for case in all_cases())),
        "bugs": {flag: notes[flag]["bug"] for flag in flags if flag in notes},
        "entries": listed,
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    template = files("ropecore.conformance.reports").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("/*DATA*/", text.replace("<", "\\u003c"))  # no text of a library can end the script
