"""Wrong implementations, one for each flag M1 to M107: a right one with one thing changed.  The
suite must catch them all.

A mutant is a class: `flag`, a sentence, and the step that it gets wrong.  `mutants()` lists them,
and an instance is a target.
"""

from functools import cache
from types import ModuleType

from . import axes, core, lost, partial, positions, precision, scaling, state, weights
from .base import Right as Right

TOPICS: tuple[ModuleType, ...] = (core, partial, positions, precision, scaling, axes, state, weights, lost)


@cache
def mutants() -> tuple[type[Right], ...]:
    """Return the mutants in the order of their flags."""
    found = [each for module in TOPICS for each in vars(module).values() if _is_mutant(each, module)]
    return tuple(sorted(found, key=lambda each: int(each.flag[1:])))


def _is_mutant(value: object, module: ModuleType) -> bool:
    """Return whether a name of a module is a mutant of its own."""
    return (
        isinstance(value, type)
        and issubclass(value, Right)
        and value.__module__ == module.__name__
        and bool(value.flag)
    )
