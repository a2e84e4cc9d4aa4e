"""Expected failures: a file of lines, each with the cases that are known to fail and the reason.

    # our kernel keeps positions in float32
    positions/*/far          float32 positions, issue 12
    rotate/half_split/*@views   views are copied with a wrong stride, issue 31

A line is a glob of ids, white space, and a reason.  `id@variant` is a case on a variant of the
target; without @ it is the target itself.  `#` begins a comment line.  A line that matches no case
is refused, and so is one whose cases do not concern the target; a case that passes although a line
expects it to fail is an error where it is run.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ropecore import RopeError
from ropecore.limits import LARGEST_FILE, read_bytes


@dataclass(frozen=True)
class Expectation:
    """One line of the file: the cases whose names match `glob` fail, because of `reason`."""

    glob: str
    reason: str
    place: str  # file:line

    def matches(self, name: str) -> bool:
        """Return whether the line is about that case: `id`, or `id@variant`."""
        return fnmatchcase(name, self.glob)


@dataclass(frozen=True)
class Expectations:
    """The lines of a file."""

    lines: tuple[Expectation, ...] = ()

    def of(self, name: str) -> Expectation | None:
        """Return the first line about a case."""
        return next((line for line in self.lines if line.matches(name)), None)

    def check(self, names: Collection[str], concerning: Collection[str]) -> None:
        """Refuse lines that match none of all names, lines that match none that concerns the
        target, and repeated ones.
        """
        for line in self.lines:
            if not any(line.matches(name) for name in names):
                raise RopeError("expected failures", line.glob, f"matches no case ({line.place})")
            if not any(line.matches(name) for name in concerning):
                raise RopeError("expected failures", line.glob, f"its cases do not concern the target ({line.place})")
            if not any(self.of(name) is line for name in concerning):
                raise RopeError("expected failures", line.glob, f"lines above say it already ({line.place})")


def read_expectations(path: str | Path) -> Expectations:
    """Return the lines of a file; one without a reason is refused, and so is a file that cannot be
    read.
    """
    try:
        text = read_bytes("expected failures", path, LARGEST_FILE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RopeError("expected failures", str(path), f"cannot be read: {error}") from error
    return parse_expectations(text.splitlines(), str(path))


def parse_expectations(lines: Iterable[str], name: str) -> Expectations:
    """Return lines as expectations; `name` is that of their file."""
    found: list[Expectation] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        glob, *reason = line.split(maxsplit=1)
        if not reason:
            cure = "Write why it fails, and where that is tracked."
            raise RopeError("expected failures", glob, f"has no reason ({name}:{number})", cure)
        found.append(Expectation(glob, reason[0].strip(), f"{name}:{number}"))
    return Expectations(tuple(found))
