"""Which axis each pair turns with: rope.md chapter 6."""

from collections.abc import Mapping, Sequence
from typing import Any


def chunked(sections: Sequence[int]) -> list[int]:
    """Give the first S_0 pairs to axis 0, the next S_1 to axis 1, and so on (R-6.1)."""
    return [axis for axis, size in enumerate(sections) for _ in range(size)]


def interleaved(sections: Sequence[int]) -> list[int]:
    """Give pair j to axis j mod N while j < N S_a, and all others to axis 0 (R-6.2)."""
    count = len(sections)

    def axis(j: int) -> int:
        a = j % count
        return a if a > 0 and j < count * sections[a] else 0

    return [axis(j) for j in range(sum(sections))]


def alternating(sections: Sequence[int]) -> list[int]:
    """Deal pairs to the axes in turn, passing over an axis that has its S_a already (R-6.3)."""
    left, dealt, axis = list(sections), [], 0
    while any(left):
        if left[axis]:
            left[axis] -= 1
            dealt.append(axis)
        axis = (axis + 1) % len(left)
    return dealt


ORDERS = {"chunked": chunked, "interleaved": interleaved, "alternating": alternating}


def of_pairs(config: Mapping[str, Any]) -> list[int]:
    """Return the axis of each pair j of a configuration with sections (R-6.1 to R-6.4)."""
    sections, order = config["sections"], config.get("axis_order", "chunked")
    dealt = ORDERS[order](sections) if isinstance(order, str) else list(order)
    if [dealt.count(axis) for axis in range(len(sections))] != list(sections):
        raise ValueError(f"the order {order} does not give {sections}")
    return dealt
