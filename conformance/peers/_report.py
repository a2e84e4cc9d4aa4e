"""What was found, as REPORT.md, as report.html, and as lines for a terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..reports.page import entry, not_run, page
from ..reports.report import suite
from ._catalogue import KINDS, Known, known
from ._known import Answer, answers
from ._runs import Judged

TITLE = "RoPE in well-known libraries"
COMMAND = "ropecore conformance --peers"


def write(judged: Sequence[Judged], folder: Path) -> list[Path]:
    """Write REPORT.md and report.html into a folder, and return their paths."""
    entries = [entry_of(each) for each in judged]
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "REPORT.md": markdown(entries, answers(known(), judged)),
        "report.html": page(entries, TITLE, suite()),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def entry_of(judged: Judged) -> dict[str, Any]:
    """Return a library's entry of the page."""
    peer = judged.peer
    if judged.report is None:
        return not_run(peer.target, peer.package, peer.installed or peer.version, judged.not_run)
    return entry(judged.report, call=peer.call, source=peer.source, shown=peer.words, explain=peer.explanation)


def summary(judged: Iterable[Judged]) -> str:
    """Return a line for each library, and the counts as the last."""
    listed = list(judged)
    lines = []
    for each in listed:
        counts = each.report["counts"] if each.report else None
        told = f"{counts['pass']} passed, {counts['fail']} failed, {counts['errored']} errored" if counts else None
        lines.append(f"{each.peer.name:40} {told or 'not run: ' + each.not_run}")
    ran = sum(each.report is not None for each in listed)
    return "\n".join([*lines, f"{ran} of {len(listed)} targets were run"])


def markdown(entries: Sequence[dict[str, Any]], reported: Sequence[tuple[Known, Answer]]) -> str:
    """Return REPORT.md."""
    ran = [each for each in entries if not each["not_run"]]
    left = [each for each in entries if each["not_run"]]
    libraries = len({each["name"] for each in ran})
    about = suite()
    lines = [
        f"# {TITLE}",
        "",
        f"{libraries} librar{'y' if libraries == 1 else 'ies'}, {len(ran)} targets, judged by ropecore {about['version']} (golden vectors `{about['manifest_sha256'][:12]}`) on a CPU.",
        f"Made by `{COMMAND}`; [README.md](README.md) says how to make it again. [report.html](report.html) is the same with every failure.",
        "",
        "A library is judged by the precision that its source shows (angle, table, compute: [rope.md](../../spec/rope.md), R-10.1), and only by what it offers:",
        "a pairing, rule or option that it does not have is not applicable. A failure is one of three things:",
        "",
        *(f"- **{kind}**: {meaning}" for kind, meaning in KINDS.items()),
        "",
        "M59 and the like are the wrong implementations that all these cases hunt: `ropecore conformance --mutants` lists them.",
        "",
        "## Summary",
        "",
        *_summary(ran),
        "",
        "*Exact to*: the last of the positions 1, 3, 7, .. 2^31 - 1 before the error of a cosine or sine first exceeds 1.2e-7 (head_dim 128, base 10,000). The error is that at position 65,535.",
        "",
        "## By topic",
        "",
        *_topics(ran),
        "",
        "Passed of judged; empty where nothing of the topic concerns the library.",
        "",
        "## What failed, and why",
        "",
        *_failures(ran),
        "## Known reports",
        "",
        "Errors that were reported of these libraries, or read in their source, and what running them shows. C n is entry n of the census of",
        "implementations that ropecore was designed from, F its list of defects that were read and not run.",
        "",
        *_reported(reported),
        "",
        "## Not run",
        "",
        *_table(["library", "reason"], [[each["name"], each["not_run"]] for each in left]),
    ]
    return "\n".join(lines) + "\n"


def short(target: str) -> str:
    """Return a target's name without the package that all share."""
    return target.removeprefix("ropecore.conformance.peers.")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in escaped)]


def _summary(ran: Iterable[dict[str, Any]]) -> list[str]:
    rows = []
    for each in ran:
        counts, far = each["counts"], dict(each["reach"]).get(65535)
        units = [failure["worst"]["units"] for failure in each["failures"] if failure["worst"]]
        worst = max((unit for unit in units if isinstance(unit, float)), default=None)
        exact = f"{each['exact']:,}" if each["exact"] is not None else "none"
        wrong = [f"{counts['fail']} failed"] * bool(counts["fail"]) + [f"{counts['errored']} errored"] * bool(counts["errored"])  # fmt: skip
        rows.append(
            [
                f"`{short(each['target'])}`",
                f"{each['name']} {each['version']}",
                each["words"],
                str(counts["pass"]),
                ", ".join(wrong) or "0",
                f"{worst:.2g}" if worst else "",
                exact,
                f"{far:.1e}" if far is not None else "",
            ]
        )
    head = ["target", "library", "judged as", "passed", "wrong", "worst, in bounds", "exact to", "error"]
    return _table(head, rows)


def _topics(ran: Sequence[dict[str, Any]]) -> list[str]:
    topics = [topic for topic in _all(ran) if any(_judged(each, topic) for each in ran)]
    rows = [[f"`{short(each['target'])}`", *(_cell(each, topic) for topic in topics)] for each in ran]
    return _table(["target", *topics], rows)


def _all(ran: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(topic for each in ran for topic in each["topics"]))


def _judged(each: dict[str, Any], topic: str) -> int:
    return sum(each["topics"].get(topic, [0])[:3])


def _cell(each: dict[str, Any], topic: str) -> str:
    judged = _judged(each, topic)
    if not judged:
        return ""
    passed = each["topics"][topic][0]
    return str(passed) if passed == judged else f"**{passed}/{judged}**"


def _failures(ran: Iterable[dict[str, Any]]) -> list[str]:
    """Return, for each target, one line a cause: how many cases, the smallest, and the command that
    replays it.
    """
    lines: list[str] = []
    for each in ran:
        causes: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for failure in each["failures"]:
            causes.setdefault((failure["kind"], failure["because"]), []).append(failure)
        if causes:
            lines += [f"### {each['name']} {each['version']}: `{short(each['target'])}`", ""]
        for (kind, because), failures in causes.items():
            smallest = min(failures, key=lambda failure: (failure["size"], failure["id"]))
            topics = ", ".join(dict.fromkeys(failure["topic"] for failure in failures))
            flags = [] if kind in ("policy", "precision") else _shared(failures)
            hunts = f" ({', '.join(flags)})" if flags else ""
            lines += [f"- **{kind or 'not yet explained'}**{hunts}: {because or smallest['reason']}  "]
            lines += [f"  {len(failures)} case{'s' if len(failures) > 1 else ''} of {topics}; the smallest: {_worst(smallest)}", ""]  # fmt: skip
            lines += ["  ```console", f"  $ {smallest['command']}", "  ```", ""]
    return lines


def _shared(failures: list[dict[str, Any]]) -> list[str]:
    """Return the bugs that every one of these cases hunts."""
    first, *others = [failure["flags"] for failure in failures]
    return [flag for flag in first if all(flag in flags for flags in others)]


def _worst(failure: dict[str, Any]) -> str:
    worst = failure["worst"]
    if not worst or not isinstance(worst["units"], float):
        return " ".join(failure["reason"].split())
    return f"{failure['way']}, element {worst['index']} is {worst['got']:.7g}, wanted {worst['wanted']:.7g} ({worst['units']:.3g} times the bound)"


def _reported(reported: Iterable[tuple[Known, Answer]]) -> list[str]:
    rows = [[each.where, each.library, each.report, f"**{answer.word}**", answer.how] for each, answer in reported]
    return _table(["source", "library", "report", "found", "how"], rows)
