"""A report as Markdown: for a pull request, or a page of a project."""

from collections import Counter

from ..verdicts import VERDICTS
from .junit import left_out
from .report import WORDS, Report, failure, words_told

SHOWN = 20  # failures told in full


def markdown(report: Report) -> str:
    """Return a report as Markdown: the verdict, a table of topics, and the failures."""
    capabilities = report.capabilities
    about = " ".join(filter(None, (capabilities.get("name"), capabilities.get("version"))))
    words = words_told(capabilities)
    lines = [
        f"# RoPE conformance of {_inline(report.target)}",
        "",
        f"**{_verdict(report)}** {report.summary()}.",
        "",
        f"- target: {_inline(about or report.target)}, {_inline(str(capabilities['language']))}",
        f"- judged in {', '.join(capabilities['dtypes'])} ({words})",
        f"- by {report.suite['name']} {report.suite['version']}, manifest `{report.suite['manifest_sha256'][:12]}`",
    ]
    if report.broken:
        return "\n".join([*lines, "", *_block([report.broken]), ""])
    return "\n".join([*lines, "", *_topics(report), *_failures(report), ""])


def _verdict(report: Report) -> str:
    """Return the verdict in a sentence: a partial run has none, unless something failed."""
    if report.broken:
        return "Broken harness: no case was judged."
    if not report.clean:
        return "Does not conform." if report.counts["pass"] or report.counts["fail"] else "Nothing passed."
    if not report.ok:
        return f"Partial run, no verdict: {left_out(report)}."
    return f"{report.scope().capitalize()}."


def _topics(report: Report) -> list[str]:
    """Return a table: a line for each topic, a column for each verdict."""
    found = Counter((result.case.topic, result.verdict) for result in report.results)
    topics = dict.fromkeys(result.case.topic for result in report.results)
    return [
        f"| topic | {' | '.join(WORDS[verdict] for verdict in VERDICTS)} |",
        f"|---|{'---:|' * len(VERDICTS)}",
        *(f"| {topic} | {' | '.join(str(found[topic, verdict]) for verdict in VERDICTS)} |" for topic in topics),
    ]


def _failures(report: Report) -> list[str]:
    """Return the failures, the first ones in full."""
    wrong = [result for result in report.results if result.verdict in ("fail", "errored")]
    if not wrong:
        return []
    told = [line for result in wrong[:SHOWN] for line in failure(result, report.asked)]
    rest = [f".. and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
    return [
        "",
        f"## {len(wrong)} failure{'s' if len(wrong) > 1 else ''}",
        "",
        *_block([*report.first_lines(), *told, *rest]),
    ]


def _block(lines: list[str]) -> list[str]:
    """Return lines as a block that shows them as they are: its fence is longer than any in them."""
    text = "\n".join(lines)
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, text, fence]


def _inline(text: str) -> str:
    """Return text without what Markdown and HTML would read."""
    return "".join(f"&#{ord(c)};" if c in "\\`*_[]<>|&#" else c for c in " ".join(text.split()))
