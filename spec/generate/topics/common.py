"""What the topics share."""

from typing import Any

from ..numbers import Array, array

PAIRINGS = ("half_split", "interleaved")
RULE_OF = {"half_split": "R-3.1", "interleaved": "R-3.2"}
BASES = {"100": 100.0, "1e4": 1e4, "5e5": 5e5, "1e6": 1e6, "5e7": 5e7}


def config(pairing: str = "half_split", head_dim: int = 8, base: float = 100.0, **more: Any) -> dict[str, Any]:
    """Return a configuration.

    Base 100 is the default because low pairs of a small head then move early: wavelengths 6, 20,
    63, 199 at head_dim 8.
    """
    return {"head_dim": head_dim, "pairing": pairing, "base": base, **more}


def own(frequencies: list[Any], pairing: str = "half_split", **more: Any) -> dict[str, Any]:
    """Return a configuration with the caller's frequencies and without a base."""
    given = {"head_dim": 2 * len(frequencies), "pairing": pairing, "inv_freq": frequencies}
    return given | more


def scaled(rule: str, /, **parameters: Any) -> dict[str, Any]:
    """Return a scaling rule of a configuration."""
    return {"rule": rule, **parameters}


def ones(*shape: int) -> Array:
    """Return an array of ones."""
    size = 1
    for number in shape:
        size *= number
    return array(shape, [1.0] * size)


def name(number: int) -> str:
    """Return a position as a part of an id: 257, or minus5."""
    return f"minus{-number}" if number < 0 else str(number)
