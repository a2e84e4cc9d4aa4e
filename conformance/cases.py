"""The golden vectors as cases, and their selection."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any

from ropecore import RopeError
from ropecore.arguments import Names, checked


@dataclass(frozen=True)
class Case:
    """One golden vector: `data` is its JSON object, the other fields are read from it."""

    id: str
    kind: str
    rules: tuple[str, ...]
    flags: tuple[str, ...]
    needs: tuple[str, ...]
    comment: str
    data: Mapping[str, Any] = field(repr=False, compare=False)
    memo: dict[Any, Any] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )  # what judging it made of its data

    @property
    def topic(self) -> str:
        """Return the first part of the id."""
        return self.id.split("/", 1)[0]

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """Return the rotate inputs that the case is made of: itself, or those of a sequence or a
        pair.
        """
        inner = [self.data[name] for name in ("first", "second") if name in self.data]
        return inner or self.data.get("calls") or [self.data]


@checked
def cases(topic: Names | None = None, ids: Names | None = None, flags: Names | None = None) -> list[Case]:
    """Return the cases of the given topics, ids (globs such as "rotate/*") and flags ("M3"), in the
    order of the files.

    A case is selected if it matches one of each argument that is given.  A name that matches no
    case is refused, and so is an empty selection: nothing must pass because it was not run.
    """
    topics = ", ".join(dict.fromkeys(case.topic for case in all_cases()))
    newest = max(int(flag[1:]) for case in all_cases() for flag in case.flags)
    wanted: list[tuple[str, tuple[str, ...], Callable[[Case, str], bool], str]] = [
        ("topic", topic or (), lambda case, name: case.topic == name, f"Topics are: {topics}."),
        ("ids", ids or (), lambda case, name: fnmatchcase(case.id, name), "`ropecore vectors list` shows all ids."),
        ("flags", flags or (), lambda case, name: name in case.flags, f"Flags are M1 to M{newest}."),
    ]
    selected = list(all_cases())
    for argument, given, matches, cure in wanted:
        for name in given:
            if not any(matches(case, name) for case in all_cases()):
                raise RopeError(argument, name, "matches no case", cure)
        selected = [case for case in selected if not given or any(matches(case, name) for name in given)]
    if not selected:
        raise RopeError("topic, ids, flags", (topic, ids, flags), "select no case together", "Give fewer of them.")
    return selected


@cache
def all_cases() -> tuple[Case, ...]:
    """Return every case that is not withdrawn; vector files that are not those of the manifest are
    refused.
    """
    spec = importlib.import_module("ropecore.spec")
    problems = spec.verify()
    if problems:
        raise RopeError("vectors", problems, "are not those of this version", "Install the package again.")
    return tuple(read(data) for data in spec.vectors())


def read(data: Mapping[str, Any]) -> Case:
    """Return a vector's JSON object as a case."""
    lists: dict[str, Any] = {name: tuple(data[name]) for name in ("rules", "flags", "needs")}
    return Case(id=data["id"], kind=data["kind"], comment=data["comment"], data=MappingProxyType(dict(data)), **lists)


@cache
def sizes() -> Mapping[str, int]:
    """Return how many numbers each case holds, by its id."""
    return {case.id: _numbers(case.data) for case in all_cases()}


def size(case: Case) -> tuple[int, int, str]:
    """Return by what cases are ordered: numbers, features, and the id."""
    return sizes()[case.id], len(case.needs), case.id


def _numbers(value: Any) -> int:
    """Return how many numbers a part of a case holds."""
    if isinstance(value, Mapping):
        return sum(map(_numbers, value.values()))
    if isinstance(value, list):
        return sum(map(_numbers, value))
    return int(isinstance(value, int | float) and not isinstance(value, bool))
