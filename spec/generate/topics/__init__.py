"""The cases: one module a topic, and the first part of every id is its topic."""

from collections.abc import Callable, Iterable

from ..cases import Case
from . import (
    ambient,
    attention_factor,
    axes,
    builders,
    cache,
    combinations,
    composition,
    configs,
    documents,
    edges,
    frequencies,
    gradients,
    inverse,
    keys,
    mistakes,
    pairing,
    partial,
    plan,
    positions,
    precision,
    refusals,
    rotate,
    scaling,
    scores,
    state,
    weights,
)

TOPICS: tuple[Callable[[], Iterable[Case]], ...] = (
    documents.cases,
    rotate.cases,
    pairing.cases,
    partial.cases,
    positions.cases,
    precision.cases,
    scaling.cases,
    attention_factor.cases,
    cache.cases,
    axes.cases,
    inverse.cases,
    composition.cases,
    gradients.cases,
    scores.cases,
    state.cases,
    ambient.cases,
    plan.cases,
    refusals.cases,
    weights.cases,
    configs.cases,
    frequencies.cases,
    edges.cases,
    mistakes.cases,
    combinations.cases,
    builders.cases,
    keys.cases,
)


def cases() -> list[Case]:
    """Return all cases in the order of the topics."""
    return [case for topic in TOPICS for case in topic()]
