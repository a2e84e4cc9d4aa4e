"""Running the suite over the libraries: each in a process of its own, so that none disturbs another
or takes it down.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._catalogue import Peer

TIMEOUT = 900.0  # seconds for a library
LINES = 4  # of what a process that ended early wrote

Progress = Callable[[int, int, str], None]  # done, of, and the name that is next
Start = Callable[[Peer, Path], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Judged:
    """A library's report as JSON gives it, or why there is none."""

    peer: Peer
    report: dict[str, Any] | None = None
    not_run: str = ""


def run_peers(chosen: Iterable[Peer], progress: Progress | None = None, start: Start | None = None) -> list[Judged]:
    """Judge each library that is installed; the others are listed with the reason, and never
    counted as passed.
    """
    listed = list(chosen)
    done: list[Judged] = []
    for number, peer in enumerate(listed):
        if progress is not None:
            progress(number, len(listed), peer.name)
        done.append(judged(peer, start or in_process))
    return done


def judged(peer: Peer, start: Start) -> Judged:
    """Return what a process says of one library."""
    if peer.absent:
        return Judged(peer, not_run=peer.absent)
    if peer.installed is None:
        return Judged(peer, not_run=f"not installed: {peer.pip}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        try:
            process = start(peer, file)
        except subprocess.TimeoutExpired:
            return Judged(peer, not_run=f"no end within {TIMEOUT:g} s")
        if not file.exists():
            said = " ".join(process.stderr.strip().splitlines()[-LINES:])
            return Judged(peer, not_run=f"its process ended with {process.returncode}: {said}")
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if report["broken"]:
        return Judged(peer, not_run=f"cannot be called: {report['broken']}")
    return Judged(peer, report)


def in_process(peer: Peer, file: Path) -> "subprocess.CompletedProcess[str]":
    """Run `ropecore conformance` on a library, in Python without the
    caller's folder on its path.
    """
    command = [sys.executable, "-m", "ropecore", "conformance", peer.target, "--quiet", "--json", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=file.parent)
