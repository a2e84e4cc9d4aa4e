"""Errors that were reported of libraries: confirmed, not seen, or out of reach."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from tempfile import gettempdir

from ._catalogue import Known
from ._runs import Judged

TIMEOUT = 300.0  # seconds for a check
WRONG = ("fail", "errored")
Check = Callable[[str], "Answer"]


@dataclass(frozen=True)
class Answer:
    """What running a report shows: confirmed, not seen, not run or out of reach; and how."""

    word: str
    how: str


def answers(
    listed: Iterable[Known], judged: Sequence[Judged], check: Check | None = None
) -> list[tuple[Known, Answer]]:
    """Return what is found of each reported error."""
    return [(each, answer(each, judged, check or in_process)) for each in listed]


def answer(known: Known, judged: Sequence[Judged], check: Check) -> Answer:
    """Return what is found of one."""
    if known.check:
        return check(known.check)
    if not known.target:
        return Answer("out of reach", known.reason)
    report = next((each.report for each in judged if each.peer.name == known.target), None)
    if report is None:
        return Answer("not run", f"`{known.target}` was not run")
    found = {each["id"]: each["verdict"] for each in report["results"] if fnmatchcase(each["id"], known.case)}
    wrong = [case for case, verdict in found.items() if verdict in WRONG]
    if wrong:
        return Answer("confirmed", f"`{known.target}` fails `{wrong[0]}`{_more(len(wrong) - 1)}")
    if "pass" in found.values():
        return Answer("not seen", f"`{known.target}` passes `{known.case}`")
    return Answer("not judged", f"`{known.case}` does not concern `{known.target}`")


def _more(count: int) -> str:
    return f" and {count} more" if count else ""


def in_process(name: str) -> Answer:
    """Run a function of checks.py in a process of its own; its last line is the answer."""
    command = [sys.executable, "-W", "ignore", "-m", "ropecore.conformance.peers.checks", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=gettempdir())
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        return Answer("not run", f"`{name}`: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
    word, _, how = said[-1].partition(": ")
    return Answer(word, f"{how} (`python -m ropecore.conformance.peers.checks {name}`)")
