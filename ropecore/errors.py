"""Refusals: one exception, and the checks that raise it (rope.md chapter 12)."""

import builtins
import math
import reprlib
from collections.abc import Collection
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

LONGEST_VALUE = 80  # characters of a value in a refusal
LONGEST_WORDS = 1000  # of another exception
LONGEST_MESSAGE = 2000


class RopeError(ValueError):
    """A refusal that names the argument, its value, the reason, the
    cure and the rule of rope.md.
    """

    def __init__(self, argument: str, value: object, reason: str, cure: str = "", rule: str = "") -> None:
        self.argument, self.value, self.reason, self.cure, self.rule = argument, value, reason, cure, rule
        super().__init__(argument, value, reason, cure, rule)  # all of them, so that the error can be pickled

    def __str__(self) -> str:
        cure = f" {self.cure}" if self.cure else ""
        rule = f" [{self.rule}]" if self.rule else ""
        return printable(f"{self.argument}={shown(self.value)}: {self.reason}.{cure}{rule}")


class _Shown(reprlib.Repr):
    """A repr that stays short, whatever the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxtuple, self.maxlist, self.maxdict = 4, 12, 12, 8
        self.maxstring = self.maxlong = self.maxother = LONGEST_VALUE

    def repr_int(self, x: int, level: int) -> str:
        return builtins.repr(x) if x.bit_length() < 256 else f"an integer of {x.bit_length()} bits"

    def repr_instance(self, x: Any, level: int) -> str:
        if getattr(x, "shape", ()) and hasattr(x, "dtype"):  # the numbers of an array may be many, or on a device
            return f"<{type(x).__name__} {x.dtype} {tuple(x.shape)}>"
        return super().repr_instance(x, level)


_SHOWN = _Shown()


def shown(value: object) -> str:
    """Return a value in a few characters: also a huge one, an array, and
    one whose own repr fails.
    """
    try:
        text = _SHOWN.repr(value)
    except Exception:  # the value's own code runs here
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def has(value: object, attribute: str) -> bool:
    """Return whether a value has an attribute; asking runs the value's own code, which may fail."""
    try:
        return hasattr(value, attribute)
    except Exception:
        return False


def printable(text: str) -> str:
    """Return text that every file can hold: lone surrogates are written as escapes, and it is cut
    where it is too long.
    """
    text = text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def told(error: BaseException) -> str:
    """Return an exception as its type and its words, for another's message: its own `__str__` may
    fail, or never end.
    """
    try:
        words = str(error).strip().partition("\n")[0]
    except Exception:
        words = "its message cannot be read"
    words = words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 3] + "..."
    return printable(f"{type(error).__name__}: {words}" if words else type(error).__name__)


def number(
    argument: str,
    value: Any,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    cure: str = "",
    rule: str = "R-12.3",
) -> float:
    """Return value as a finite float within its range, or refuse it (R-12.3)."""
    if type(value) is not float:
        value = _scalar(argument, value, "a number", cure, rule)
        if not isinstance(value, (Real, Decimal)):
            raise RopeError(argument, value, "must be a number", cure, rule)
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RopeError(argument, value, "must be one finite number", cure, rule) from error
    if not math.isfinite(result):
        raise RopeError(argument, value, "must be finite", cure, rule)
    if result < at_least:
        raise RopeError(argument, value, f"must be at least {at_least:g}", cure, rule)
    if result <= above:
        raise RopeError(argument, value, f"must be above {above:g}", cure, rule)
    if result > at_most:
        raise RopeError(argument, value, f"must be at most {at_most:g}", cure, rule)
    return result


def integer(
    argument: str, value: Any, *, at_least: int = 0, at_most: int = 2**31 - 1, cure: str = "", rule: str = "R-12.3"
) -> int:
    """Return value as an integer within its range, or refuse it."""
    if type(value) is not int:
        value = _scalar(argument, value, "an integer", cure, rule)
        if not isinstance(value, Integral):
            raise RopeError(argument, value, "must be an integer", cure, rule)
    result: int = value.__index__()
    if not at_least <= result <= at_most:
        raise RopeError(argument, value, f"must be from {at_least} to {at_most}", cure, rule)
    return result


def _scalar(argument: str, value: Any, kind: str, cure: str, rule: str) -> Any:
    """Return a number as it is, or that of an array of no dimension; booleans are none, and what
    has a unit is refused.
    """
    if isinstance(value, (bool, np.timedelta64)):  # which is a number to NumPy, and has a unit
        raise RopeError(argument, value, f"must be {kind}", cure, rule)
    if isinstance(value, (int, float)):
        return value
    if has(value, "__array__") and not isinstance(value, Real):
        from ropecore.arrays import host_array

        array = host_array(argument, value)
        if array.ndim:
            raise RopeError(argument, value, f"must be {kind}, and is an array of shape {array.shape}", cure, rule)
        return _scalar(argument, array.item(), kind, cure, rule)
    return value


def choice(argument: str, value: Any, choices: Collection[str], rule: str = "R-12.6") -> str:
    """Return value if it is one of the names, or refuse it and list them (R-12.6)."""
    if not isinstance(value, str) or value not in choices:
        raise RopeError(argument, value, "is not a known name", f"Choose one of: {', '.join(choices)}.", rule)
    return value


def known_keys(argument: str, given: Collection[Any], known: Collection[str]) -> None:
    """Refuse keys that nobody would read (R-12.6)."""
    unknown = sorted(key if isinstance(key, str) else shown(key) for key in given if key not in known)
    if unknown:
        raise RopeError(argument, unknown, "unknown keys", f"Known are: {', '.join(known)}.", "R-12.6")
