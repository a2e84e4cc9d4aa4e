"""Refusals: one exception, and the checks that raise it (rope.md chapter 12)."""

import math
from collections.abc import Collection
from typing import Any


class RopeError(ValueError):
    """A refusal that names the argument, its value, the reason, the cure and the rule of rope.md."""

    def __init__(self, argument: str, value: object, reason: str, cure: str = "", rule: str = "") -> None:
        self.argument, self.value, self.reason, self.cure, self.rule = argument, value, reason, cure, rule
        super().__init__(argument, value, reason, cure, rule)  # all of them, so that the error can be pickled

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        cure = f" {self.cure}" if self.cure else ""
        rule = f" [{self.rule}]" if self.rule else ""
        return f"{self.argument}={shown}: {self.reason}.{cure}{rule}"


def number(
    argument: str, value: Any, *, at_least: float = -math.inf, above: float = -math.inf, cure: str = ""
) -> float:
    """Return value as a finite float within its range, or refuse it (R-12.3)."""
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        raise RopeError(argument, value, "must be a number", cure, "R-12.3")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RopeError(argument, value, "must be one finite number", cure, "R-12.3") from error
    if not math.isfinite(result):
        raise RopeError(argument, value, "must be finite", cure, "R-12.3")
    if result < at_least:
        raise RopeError(argument, value, f"must be at least {at_least:g}", cure, "R-12.3")
    if result <= above:
        raise RopeError(argument, value, f"must be above {above:g}", cure, "R-12.3")
    return result


def integer(argument: str, value: Any, *, at_least: int = 0, at_most: int = 2**31 - 1, rule: str = "R-12.3") -> int:
    """Return value as an integer within its range, or refuse it."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise RopeError(argument, value, "must be an integer", rule=rule)
    result = value.__index__()
    if not at_least <= result <= at_most:
        raise RopeError(argument, value, f"must be from {at_least} to {at_most}", rule=rule)
    return int(result)


def choice(argument: str, value: Any, choices: Collection[str]) -> str:
    """Return value if it is one of the names, or refuse it and list them (R-12.6)."""
    if not isinstance(value, str) or value not in choices:
        raise RopeError(argument, value, "is not a known name", f"Choose one of: {', '.join(choices)}.", "R-12.6")
    return value


def known_keys(argument: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse keys that nobody would read (R-12.6)."""
    unknown = sorted(str(key) for key in given if key not in known)
    if unknown:
        raise RopeError(argument, unknown, "unknown keys", f"Known are: {', '.join(known)}.", "R-12.6")
