"""A report as JUnit XML, for the pages of continuous integration."""

import re
from xml.etree import ElementTree as ET

from ..verdicts import Verdict
from .report import Report, Result, failure

TAGS: dict[Verdict, str] = {
    "fail": "failure",
    "errored": "error",
    "skipped": "skipped",
    "not applicable": "skipped",
}
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 cannot hold
WHOLE = "the whole suite"


def junit(report: Report) -> str:
    """Return a report as JUnit XML: a test case for each result, and last one for the verdict on
    the whole suite.

    That last one passes where the target conforms, and there alone: it is skipped in a partial run.
    """
    suite = ET.Element("testsuite", name=_clean(f"ropecore conformance: {report.target}"))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report).items():
        ET.SubElement(properties, "property", name=name, value=_clean(value))
    for result in report.results:
        _add_result(suite, result, report.asked)
    _add_verdict(suite, report)
    tags = [child.tag for case in suite.iter("testcase") for child in case]
    counts = {"tests": len(report.results) + 1, "failures": tags.count("failure"), "errors": tags.count("error")}
    counts["skipped"] = tags.count("skipped")
    for name, count in counts.items():
        suite.set(name, str(count))
    whole = ET.Element("testsuites", {name: str(count) for name, count in counts.items()})
    whole.append(suite)
    ET.indent(whole)
    return ET.tostring(whole, encoding="unicode", xml_declaration=True) + "\n"


def _properties(report: Report) -> dict[str, str]:
    """Return what was judged by what, and how much of it."""
    return {
        "suite": f"{report.suite['name']} {report.suite['version']}",
        "manifest_sha256": report.suite["manifest_sha256"],
        "cases": f"{report.selection.cases} of {report.selection.of}",
        "whole": str(report.selection.whole).lower(),
        "ok": str(report.ok).lower(),
        "summary": report.summary(),
        **report.environment,
    }


def _add_result(suite: ET.Element, result: Result, asked: str) -> None:
    """Add the test case of one result: its class is the topic, and the variant if there is one."""
    case, outcome = result.case, result.outcome
    classname = ".".join(filter(None, ("ropecore", case.topic, result.variant)))
    element = ET.SubElement(suite, "testcase", classname=_clean(classname), name=_clean(case.id))
    if outcome.verdict == "pass":
        return
    told = ET.SubElement(element, TAGS[outcome.verdict], message=_clean(_message(result)))
    if outcome.verdict in ("fail", "errored"):
        told.set("type", outcome.verdict)
        told.text = _clean("\n".join(failure(result, asked)))


def _message(result: Result) -> str:
    """Return a verdict in one line."""
    outcome = result.outcome
    if outcome.verdict in ("skipped", "not applicable"):
        return f"{outcome.verdict}: {outcome.reason}"
    return f"{outcome.reason}; {outcome.worst}" if outcome.worst else outcome.reason


def _add_verdict(suite: ET.Element, report: Report) -> None:
    """Add the test case of the whole suite."""
    element = ET.SubElement(suite, "testcase", classname="ropecore", name=WHOLE)
    if report.broken:
        ET.SubElement(element, "error", message=_clean(f"broken harness, no case was judged: {report.broken}"))
    elif not report.clean:
        told = ET.SubElement(element, "failure", message=_clean(report.inexact or report.summary()))
        told.text = _clean("\n".join(report.first_lines()))
    elif not report.ok:
        ET.SubElement(element, "skipped", message=_clean(f"partial run, no verdict: {left_out(report)}"))


def left_out(report: Report) -> str:
    """Return how much of the suite a partial run was."""
    selection = report.selection
    without = f", without the variants {', '.join(selection.variants_left_out)}" if selection.variants_left_out else ""
    return f"{selection.cases} of {selection.of} cases{without}"


def _clean(text: str) -> str:
    """Return text without what XML cannot hold."""
    return NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
