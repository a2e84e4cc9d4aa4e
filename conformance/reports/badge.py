"""A report as a badge: an SVG picture, or the JSON that shields.io draws (its "endpoint" badge)."""

import json
from html import escape

from .report import Report

LABEL = "RoPE conformance"
GREEN, RED, GREY = "#257a35", "#c0392b", "#6e7681"  # white text on each has a contrast of 4.5 or more
HEIGHT, SIZE, MARGIN = 20, 11, 6
NARROW, WIDE = "fijlrtI.,:;'()[]|! ", "mwMW%@"  # characters much narrower or wider than others


def verdict(report: Report) -> tuple[str, str]:
    """Return a badge's message and colour: green only where the target conforms, never in a partial
    run.
    """
    counts, selection = report.counts, report.selection
    if report.broken:
        return "broken harness", RED
    wrong = counts["fail"] + counts["errored"]
    if wrong:
        return f"{wrong} of {wrong + counts['pass']} wrong", RED
    if report.inexact:
        return "less exact than declared", RED
    if not counts["pass"]:
        return "nothing passed", RED
    if not report.ok:
        return f"partial run, {selection.cases} of {selection.of}", GREY
    return f"ropecore {report.suite['version']}, {report.applied} of {selection.of}", GREEN


def shields(report: Report) -> str:
    """Return the badge as JSON for https://img.shields.io/endpoint."""
    message, color = verdict(report)
    badge = {"schemaVersion": 1, "label": LABEL, "message": message, "color": color, "isError": color == RED}
    return json.dumps(badge) + "\n"


def svg(report: Report) -> str:
    """Return the badge as an SVG picture, which needs no network and no font of its own."""
    message, color = verdict(report)
    left, right = _width(LABEL), _width(message)
    title = escape(f"{LABEL}: {message}", quote=True)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" aria-label="{title}">
 <title>{title}</title>
 <rect width="{left + right}" height="{HEIGHT}" rx="3" fill="{color}"/>
 <path d="M3 0h{left - 3}v{HEIGHT}h-{left - 3}a3 3 0 0 1 -3 -3v-{HEIGHT - 6}a3 3 0 0 1 3 -3z" fill="#444"/>
 <g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{SIZE}">
  <text x="{MARGIN}" y="14" textLength="{left - 2 * MARGIN}">{LABEL}</text>
  <text x="{left + MARGIN}" y="14" textLength="{right - 2 * MARGIN}">{escape(message)}</text>
 </g>
</svg>
"""


def _width(text: str) -> int:
    """Return about how many pixels a text takes, with its margins; textLength makes it exact."""
    advance = sum(0.38 if c in NARROW else 0.95 if c in WIDE else 0.6 for c in text)
    return round(advance * SIZE) + 2 * MARGIN
