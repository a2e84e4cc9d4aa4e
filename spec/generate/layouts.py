"""How cos and sin are stored: rope.md chapter 8."""

from collections.abc import Callable
from typing import TypeAlias

from .numbers import ZERO, Exact
from .plan import Plan

Entry: TypeAlias = tuple[Exact, Exact]  # a value and its bound
Stored: TypeAlias = list[tuple[list[int], list[Entry]]]  # shape and entries of one position, one or two arrays
Layout: TypeAlias = Callable[[Plan, list[Entry], list[Entry]], Stored]

ONE, NIL = (ZERO + 1, ZERO), (ZERO, ZERO)


def negative(entry: Entry) -> Entry:
    """Return a value of the other sign with the same bound."""
    return -entry[0], entry[1]


def twice(entries: list[Entry]) -> list[Entry]:
    """Return each entry two times in a row."""
    return [entry for entry in entries for _ in range(2)]


def one(*entries: list[Entry]) -> Stored:
    """Return a layout of one array: its parts one after the other."""
    joined = [entry for part in entries for entry in part]
    return [([len(joined)], joined)]


def two(cos: list[Entry], sin: list[Entry]) -> Stored:
    """Return a layout of two arrays."""
    return one(cos) + one(sin)


def zipped(first: list[Entry], second: list[Entry]) -> list[Entry]:
    """Return the entries of two lists in turn."""
    return [entry for pair in zip(first, second, strict=True) for entry in pair]


def matrix(plan: Plan, cos: list[Entry], sin: list[Entry]) -> Stored:
    """Store ((cos, -sin), (sin, cos)) for each row."""
    rows = [(c, negative(s), s, c) for c, s in zip(cos, sin, strict=True)]
    return [([len(rows), 2, 2], [entry for row in rows for entry in row])]


def signed(plan: Plan, cos: list[Entry], sin: list[Entry]) -> Stored:
    """Store one number a lane: sin negated on the first lane of each pair, 1 and 0 on lanes in no
    row (R-8.3).
    """
    by_lane = [[ONE] * plan["head_dim"], [NIL] * plan["head_dim"]]
    for (first, second), c, s in zip(plan["lanes"], cos, sin, strict=True):
        by_lane[0][first] = by_lane[0][second] = c
        by_lane[1][first], by_lane[1][second] = negative(s), s
    return two(*by_lane)


LAYOUTS: dict[str, Layout] = {
    "half": lambda plan, cos, sin: two(cos, sin),
    "concat": lambda plan, cos, sin: one(cos, sin),
    "sin_first": lambda plan, cos, sin: one(sin, cos),
    "full_concat": lambda plan, cos, sin: two(cos + cos, sin + sin),
    "full_repeat": lambda plan, cos, sin: two(twice(cos), twice(sin)),
    "concat_full": lambda plan, cos, sin: one(cos, cos, sin, sin),
    "sin_first_repeat": lambda plan, cos, sin: one(twice(sin), twice(cos)),
    "stacked": lambda plan, cos, sin: [([len(cos), 2], zipped(cos, sin))],
    "sinusoid": lambda plan, cos, sin: one(zipped(sin, cos)),
    "complex": lambda plan, cos, sin: [([len(cos), 2], zipped(cos, sin))],
    "matrix": matrix,
    "signed": signed,
}
