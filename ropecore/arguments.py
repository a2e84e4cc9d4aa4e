"""Arguments: what each may be is declared once, in the signature, and checked in one place.

    @checked
    def text_positions(ids: Integers, n_axes: AxisCount) -> IntArray: ...

An annotation names a kind: a type, and the function that returns a value of that type or refuses
what was given.  `checked` calls it before the function's own lines see the argument; `check_fields`
does the same for the fields of a dataclass. A kind that belongs to one module, such as the names of
its layouts, is declared there.
"""

import functools
import inspect
import os
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np
import numpy.typing as npt

from ropecore.arrays import FLOATS, host_array, integers, is_float, reals
from ropecore.errors import RopeError, choice, has, integer, known_keys, number

Check = Callable[[str, Any], Any]
F = TypeVar("F", bound=Callable[..., Any])

LARGEST_HEAD_DIM = 1 << 15  # a plan of more is slow to make: its frequencies are decimals
LARGEST_HEADS = 1 << 16
LARGEST_AXES = 64  # coordinates of a position
LARGEST_LIST = 1 << 20


@dataclass(frozen=True)
class InRange:
    """A finite real number within a range."""

    at_least: float = -inf
    above: float = -inf
    at_most: float = inf
    cure: str = ""
    rule: str = "R-12.3"

    def __call__(self, argument: str, value: Any) -> float:
        return number(argument, value, **vars(self))


@dataclass(frozen=True)
class Whole:
    """An integer within a range."""

    at_least: int = 0
    at_most: int = 2**31 - 1
    cure: str = ""
    rule: str = "R-12.3"

    def __call__(self, argument: str, value: Any) -> int:
        return integer(argument, value, **vars(self))


@dataclass(frozen=True)
class OneOf:
    """One of some names."""

    names: Collection[str]
    rule: str = "R-12.6"

    def __call__(self, argument: str, value: Any) -> str:
        return choice(argument, value, self.names, self.rule)


@dataclass(frozen=True)
class Instance:
    """An object of a class."""

    kind: Any
    wanted: str
    cure: Callable[[Any], str] = lambda value: ""
    rule: str = "R-12.6"

    def __call__(self, argument: str, value: Any) -> Any:
        if not isinstance(value, self.kind):
            raise RopeError(argument, value, f"must be {self.wanted}", self.cure(value), self.rule)
        return value


@dataclass(frozen=True)
class ListOf:
    """A list of one kind, as a tuple; what has no order, or gives its items once, is none."""

    kind: Check
    wanted: str
    shortest: int = 0
    longest: int = LARGEST_LIST
    rule: str = "R-12.7"
    numbered: bool = True  # a refusal names the entry, as sections[2], and not the list
    each_once: bool = False

    def __call__(self, argument: str, value: Any) -> tuple[Any, ...]:
        items = value
        if isinstance(value, range) or has(value, "__array__"):
            items = host_array(argument, value).tolist()
        if not isinstance(items, (list, tuple)):
            raise RopeError(argument, value, f"must be a list of {self.wanted}", rule=self.rule)
        if not self.shortest <= len(items) <= self.longest:
            reason = f"must have {self.shortest} to {self.longest} entries, and has {len(items)}"
            raise RopeError(argument, value, reason, rule=self.rule)
        found = tuple(
            self.kind(f"{argument}[{i}]" if self.numbered else argument, item) for i, item in enumerate(items)
        )
        if self.each_once and len(set(found)) != len(found):
            raise RopeError(argument, found, "names one of them twice", rule=self.rule)
        return found


def flag(argument: str, value: Any) -> bool:
    """Return a boolean, or refuse what is none: the truth of anything else is a guess."""
    if value is True or value is False:
        return bool(value)
    if not isinstance(value, np.bool_):
        raise RopeError(argument, value, "must be True or False", rule="R-12.3")
    return bool(value)


def text(argument: str, value: Any) -> str:
    """Return text that can be written to any file: no lone surrogates."""
    if not isinstance(value, str):
        raise RopeError(argument, value, "must be text", rule="R-12.6")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RopeError(argument, value, "holds a lone surrogate, which no text is", rule="R-12.6") from error
    return str(value)


def name(argument: str, value: Any) -> str:
    """Return text that is not empty."""
    if not text(argument, value):
        raise RopeError(argument, value, "must not be empty", rule="R-12.6")
    return str(value)


def names(argument: str, value: Any) -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
    return (name(argument, value),) if isinstance(value, str) else ListOf(name, "names")(argument, value)


def axis_names(argument: str, value: Any) -> tuple[str, ...]:
    """Return the names of axes, each once."""
    found = (value,) if isinstance(value, str) else value
    return ListOf(name, "names, one an axis", shortest=1, longest=LARGEST_AXES, each_once=True)(argument, found)


def function(argument: str, value: Any) -> Callable[..., Any]:
    """Return what can be called."""
    if not callable(value):
        raise RopeError(argument, value, "must be a function", rule="R-12.6")
    return value  # type: ignore[no-any-return]


def path(argument: str, value: Any) -> Path:
    """Return a path."""
    try:
        words = os.fspath(value)
    except Exception:  # the value's own code runs here
        words = None
    if not isinstance(words, str) or "\0" in words:
        raise RopeError(argument, value, "must be a path", rule="R-12.6")
    return Path(words)


def mapping(argument: str, value: Any) -> Mapping[str, Any]:
    """Return an object with names for keys, as JSON has them."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise RopeError(argument, value, "must be an object with names for keys", rule="R-12.6")
    return value


def floats(argument: str, value: Any) -> npt.NDArray[Any]:
    """Return a NumPy array of real floats as it is: x of R-12.4, and tables."""
    array = host_array(argument, value)
    if is_float(array.dtype):
        return array
    raise RopeError(
        argument, array.dtype.name, f"its dtype must be one of {', '.join(FLOATS)}", "Convert it first.", "R-12.4"
    )


Number = Annotated[float, InRange()]
Positive = Annotated[float, InRange(above=0)]
NotNegative = Annotated[float, InRange(at_least=0)]
Share = Annotated[float, InRange(above=0, at_most=1)]
Stretch = Annotated[
    float, InRange(at_least=1, cure="It stretches the context; its reciprocal is a frequency scale.")
]  # fmt: skip
Natural = Annotated[int, Whole()]
Count = Annotated[int, Whole(at_least=1)]
HeadDim = Annotated[int, Whole(at_least=2, at_most=LARGEST_HEAD_DIM)]
HeadCount = Annotated[int, Whole(at_least=1, at_most=LARGEST_HEADS)]
AxisCount = Annotated[int, Whole(at_least=1, at_most=LARGEST_AXES)]
Flag = Annotated[bool, flag]
Text = Annotated[str, text]
Name = Annotated[str, name]
Names = Annotated[tuple[str, ...], names]
AxisNames = Annotated[tuple[str, ...], axis_names]
Function = Annotated[Callable[..., Any], function]
PathLike = Annotated["str | os.PathLike[str]", path]
Object = Annotated[Mapping[str, Any], mapping]
Numbers = Annotated[tuple[float, ...], ListOf(InRange(rule="R-12.7"), "numbers")]
PositiveNumbers = Annotated[tuple[float, ...], ListOf(InRange(above=0), "numbers")]
Integers = Annotated[Any, integers]  # arrays, lists and numbers: what `host_array` takes
Reals = Annotated[Any, reals]
Floats = Annotated[Any, floats]


def kind_of(annotation: Any) -> Check | None:
    """Return the check that an annotation names, for `X | None` one that lets None pass; None where
    it names no kind.
    """
    if get_origin(annotation) is Annotated:
        return next((each for each in annotation.__metadata__ if callable(each)), None)
    if get_origin(annotation) not in (Union, types.UnionType):
        return None
    arms = get_args(annotation)
    check = next(filter(None, map(kind_of, arms)), None)
    if check is None or type(None) not in arms:
        return check
    return lambda argument, value: None if value is None else check(argument, value)


def checked(function: F) -> F:
    """Return the function with each argument checked whose annotation names a kind; those left out
    keep their default.
    """
    code = inspect.unwrap(function).__code__
    order = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    kinds = {each: kind_of(function.__annotations__.get(each)) for each in order}
    by_name = {each: kind for each, kind in kinds.items() if kind is not None}
    by_place = tuple((i, each, by_name[each]) for i, each in enumerate(order[: code.co_argcount]) if each in by_name)

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        places, given = list(args), len(args)
        for i, each, kind in by_place:
            if i >= given:
                break
            places[i] = kind(each, places[i])
        for each, value in keywords.items():
            if each in by_name:
                keywords[each] = by_name[each](each, value)
        return function(*places, **keywords)

    return call  # type: ignore[return-value]


def check_fields(record: Any, called: str = "{}") -> None:
    """Check the fields of a frozen dataclass whose annotations name kinds, and set what the checks
    return.

    called: what refusals call a field.
    """
    for each, kind in _kinds_of_fields(record.__class__):
        object.__setattr__(record, each, kind(called.format(each), getattr(record, each)))


def checked_keywords(record: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of a dataclass, some of them, as its fields would have them; those it has not
    are refused.
    """
    kinds = dict(_kinds_of_fields(record))
    known_keys(record.__name__, given, tuple(kinds))
    return {each: kinds[each](each, value) for each, value in given.items()}


@functools.cache
def _kinds_of_fields(record: Any) -> tuple[tuple[str, Check], ...]:
    classes = reversed(record.__mro__)
    found = {each: kind_of(a) for cls in classes for each, a in vars(cls).get("__annotations__", {}).items()}
    return tuple((each, kind) for each, kind in found.items() if kind is not None)
