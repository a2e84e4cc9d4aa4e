"""What a reader did with a source: the keys that it used, ignored and did not know, and what it assumed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ropecore.errors import RopeError
from ropecore.scaling import ScalingRule, rule_to_dict


@dataclass(frozen=True)
class Fact:
    """A key or a keyword, its value, and the reason or the source."""

    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return f"{self.key} = {shown}" + (f"  ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Report:
    """How a configuration was read: nothing that took part in it is left unsaid.

    used, ignored, unknown: keys of the source, with dots for nested ones.  assumptions: what the source does not say, with
    where it was taken from.  layers: indices of the layers that rotate so, None where the source does not tell or all do.
    context: the longest context that the source names.
    """

    source: str
    family: str
    evidence: str  # where the row of the family table was read
    part: str
    layer_type: str | None = None
    used: tuple[Fact, ...] = ()
    ignored: tuple[Fact, ...] = ()
    unknown: tuple[Fact, ...] = ()
    assumptions: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    context: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        names = ("used", "ignored", "unknown", "assumptions")
        facts = {n: [{"key": f.key, "value": _plain(f.value), "why": f.why} for f in getattr(self, n)] for n in names}
        layers = None if self.layers is None else list(self.layers)
        head = {n: getattr(self, n) for n in ("source", "family", "evidence", "part", "layer_type", "context")}
        return head | facts | {"notes": list(self.notes), "layers": layers}

    def text(self) -> str:
        """Return the report as lines for a terminal."""
        where = self.part if self.layer_type is None else f"{self.part}/{self.layer_type}"
        lines = [f"{self.source}: {where}, family {self.family or 'unknown'}", f"  evidence: {self.evidence}"]
        if self.layers is not None:
            lines.append(f"  layers: {', '.join(map(str, self.layers))}")
        for name in ("used", "assumptions", "ignored", "unknown"):
            lines += [f"  {name}:", *(f"    {fact}" for fact in getattr(self, name))] if getattr(self, name) else []
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _plain(value: Any) -> Any:
    return rule_to_dict(value) if isinstance(value, ScalingRule) else value


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

    def facts(self) -> dict[str, Any]:
        """Return the keywords of Report."""
        names = ("used", "ignored", "unknown", "assumptions")
        return {n: tuple(getattr(self, n).values()) for n in names} | {"notes": tuple(self.notes)}


class Section:
    """A dictionary of the source that records which of its keys were read; a null is as good as no key."""

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
        """Return a value, or None, without recording that it was read; dots go down into dictionaries."""
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
        """Return the value of the first of these names that is there; the others are recorded as ignored."""
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
