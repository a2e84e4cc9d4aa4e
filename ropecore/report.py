"""How a configuration was read: the keys that were used, ignored and not known, and what was
assumed.
"""

from dataclasses import dataclass
from typing import Any

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


FACTS = ("used", "assumptions", "ignored", "unknown", "unread")


@dataclass(frozen=True)
class Report:
    """How a configuration was read: nothing that took part in it is left unsaid.

    used, ignored, unknown: keys of the source, with dots for nested ones.  assumptions: what the
    source does not say, with where it was taken from.  layers: indices of the layers that rotate
    so, None where the source does not tell or all do. unread: parts of the source that nothing here
    can read.  context: the longest context that the source names.
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
    unread: tuple[Fact, ...] = ()
    layers: tuple[int, ...] | None = None
    context: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        facts = {n: [{"key": f.key, "value": _plain(f.value), "why": f.why} for f in getattr(self, n)] for n in FACTS}
        layers = None if self.layers is None else list(self.layers)
        head = {n: getattr(self, n) for n in ("source", "family", "evidence", "part", "layer_type", "context")}
        return head | facts | {"notes": list(self.notes), "layers": layers}

    def text(self) -> str:
        """Return the report as lines for a terminal."""
        where = self.part if self.layer_type is None else f"{self.part}/{self.layer_type}"
        lines = [f"{self.source}: {where}, family {self.family or 'unknown'}", f"  evidence: {self.evidence}"]
        if self.layers is not None:
            lines.append(f"  layers: {', '.join(map(str, self.layers))}")
        for name in FACTS:
            lines += [f"  {name}:", *(f"    {fact}" for fact in getattr(self, name))] if getattr(self, name) else []
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _plain(value: Any) -> Any:
    return rule_to_dict(value) if isinstance(value, ScalingRule) else value
