"""The records of one reading: which keys of the source were read, and for what."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ropecore.errors import RopeError
from ropecore.report import Fact


@dataclass
class Ledger:
    """The facts of one configuration while it is read."""

    used: dict[str, Fact] = field(default_factory=dict)
    ignored: dict[str, Fact] = field(default_factory=dict)
    unknown: dict[str, Fact] = field(default_factory=dict)
    assumptions: dict[str, Fact] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def assume(self, name: str, value: Any, why: str) -> Any:
        """Record what the source does not say, and return it."""
        self.assumptions[name] = Fact(name, value, why)
        return value

    def facts(self) -> list[Fact]:
        """Return what was read and what was assumed."""
        return [*self.used.values(), *self.assumptions.values()]

    def report_fields(self) -> dict[str, Any]:
        """Return the keywords of Report."""
        names = ("used", "ignored", "unknown", "assumptions")
        return {n: tuple(getattr(self, n).values()) for n in names} | {"notes": tuple(self.notes)}


class Section:
    """A dictionary of the source that records which of its keys were read; a null is as good as no
    key.
    """

    def __init__(self, mapping: Mapping[str, Any], ledger: Ledger, path: str = "") -> None:
        if not isinstance(mapping, Mapping):
            raise RopeError(path or "source", mapping, "must be an object", rule="R-12.6")
        self.mapping, self.ledger, self.path = mapping, ledger, path
        self._seen: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self.peek(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.mapping)

    def label(self, name: str) -> str:
        """Return the key with the path to it."""
        return f"{self.path}.{name}" if self.path else name

    def peek(self, name: str) -> Any:
        """Return a value, or None, without recording that it was read; dots go down into
        dictionaries.
        """
        if name in self.mapping:
            return self.mapping[name]
        value: Any = self.mapping
        for step in name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        return value

    def get(self, name: str, why: str) -> Any:
        """Return a value, or None, and record what it was used for."""
        value = self.peek(name)
        self._seen.add(name)
        if value is not None:
            self.ledger.used[self.label(name)] = Fact(self.label(name), value, why)
        return value

    def first(self, names: tuple[str, ...], why: str) -> Any:
        """Return the value of the first of these names that is there; the others are recorded as
        ignored.
        """
        found = [name for name in dict.fromkeys(names) if name in self]
        for other in found[1:]:
            self.ignore(other, f"{found[0]} says it already")
        return self.get(found[0], why) if found else None

    def ignore(self, name: str, why: str) -> None:
        """Record a key that is there and takes no part."""
        self._seen.add(name)
        if name in self:
            self.ledger.ignored[self.label(name)] = Fact(self.label(name), self.peek(name), why)

    def unread(self) -> list[str]:
        """Return the keys that nobody asked for."""
        return [name for name, value in self.mapping.items() if name not in self._seen and value is not None]

    def refuse_unread(self, names: list[str], strict: bool, known: tuple[str, ...] = ()) -> None:
        """Record keys as unknown and, if strict, refuse them (R-12.6)."""
        for name in names:
            self.ledger.unknown[self.label(name)] = Fact(self.label(name), self.mapping[name], "not known")
        if names and strict:
            cure = f"Known here are: {', '.join(known)}. " if known else ""
            cure += "Pass strict=False to leave them out."
            raise RopeError(self.path or "source", names, "has keys that this reader does not know", cure, "R-12.6")
