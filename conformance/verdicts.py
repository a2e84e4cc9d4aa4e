"""What judging a case can come to."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .arrays import Floats

Verdict: TypeAlias = Literal["pass", "fail", "errored", "skipped", "not applicable"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "errored", "skipped", "not applicable")


class NotApplicable(Exception):
    """The case asks for a capability that the target does not declare."""


class Skip(Exception):
    """A target raises this, with the reason, to leave out a case that it could have been asked."""


@dataclass(frozen=True)
class Worst:
    """The worst element of a result: its error in units of the bound."""

    index: tuple[int, ...]
    got: float
    wanted: float
    bound: float
    units: float

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return f"element [{place}] is {self.got!r}, wanted {self.wanted!r}: {self.units:.4g} times the bound {self.bound:.3g}"


@dataclass(frozen=True, eq=False)
class Numbers:
    """A wrong result: what came out, what was wanted, and the bound of each element; None: it was
    not compared so.
    """

    got: Floats
    wanted: Floats | None = None
    bound: Floats | None = None


class Mismatch(Exception):
    """A result is not what the rules say."""

    def __init__(self, message: str, worst: Worst | None = None, numbers: Numbers | None = None) -> None:
        super().__init__(message)
        self.message, self.worst, self.numbers = message, worst, numbers


@dataclass(frozen=True)
class Way:
    """One way to judge a case: the dtype of its input, and the function of the target that is
    called.
    """

    dtype: str = ""
    path: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.path, self.dtype))) or "as it is"


@dataclass(frozen=True)
class Outcome:
    """The verdict on one case, with the reason, and for a failure the way, the worst element and
    the numbers.

    judged: the ways that were asked.  failed: those of them that failed.
    """

    verdict: Verdict
    reason: str = ""
    way: Way | None = None
    worst: Worst | None = None
    judged: tuple[Way, ...] = ()
    failed: tuple[Way, ...] = ()
    numbers: Numbers | None = field(default=None, repr=False, compare=False)
