"""Axes: which axis each pair turns with (rope.md chapter 6)."""

from collections.abc import Sequence

from ropecore.errors import RopeError, choice

ORDERS = ("chunked", "interleaved", "alternating")
KINDS = ("integer", "real")


def axis_of_pairs(order: str | Sequence[int], sections: Sequence[int]) -> list[int]:
    """Return the axis index of each pair, for sections[a] pairs of axis
    a.  Rules R-6.1 to R-6.4.
    """
    axes = _by_name(order, sections) if isinstance(order, str) else [int(a) for a in order]
    counts = [axes.count(a) for a in range(len(sections))]
    if counts != list(sections) or len(axes) != sum(sections):
        reason = f"gives the axes {counts} pairs, and sections say {list(sections)}"
        raise RopeError("axis_order", order, reason, "Check that sections are pairs, not lanes.", "R-6.2")
    return axes


def _by_name(order: str, sections: Sequence[int]) -> list[int]:
    n_axes = len(sections)
    match choice("axis_order", order, ORDERS):
        case "chunked":
            return [a for a, size in enumerate(sections) for _ in range(size)]
        case "interleaved":
            return [j % n_axes if j < n_axes * sections[j % n_axes] else 0 for j in range(sum(sections))]
        case _:
            return _alternate(sections)


def _alternate(sections: Sequence[int]) -> list[int]:
    """Deal pairs to the axes in turn, passing over those that have enough (R-6.3)."""
    dealt = [(turn, a) for a, size in enumerate(sections) for turn in range(size)]
    return [a for _, a in sorted(dealt)]
