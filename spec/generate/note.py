"""The note of a flag."""

from typing import TypedDict


class Note(TypedDict):
    """One wrong implementation."""

    bug: str
    effect: str
    seen: list[str]


def note(bug: str, effect: str, *seen: str) -> Note:
    """Return a note; seen: the threads in which it was met."""
    return {"bug": bug, "effect": effect, "seen": list(seen)}
