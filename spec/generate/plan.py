"""From a configuration to the normal form: rope.md chapter 2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import axes, lanes, rules
from .numbers import ZERO, Exact, double

Config: TypeAlias = Mapping[str, Any]
Plan: TypeAlias = dict[str, Any]

SCHEMA = "ropecore-plan/1"
ONE_AXIS = ["position"]


@dataclass(frozen=True)
class Row:
    """One pair: lanes read, lanes written, a frequency an axis, a magnitude."""

    read: tuple[int, int]
    written: tuple[int, int]
    frequency: tuple[float, ...]
    log_magnitude: float | None

    def ordered(self) -> "Row":
        """Return the row with r0 < r1; exchanging the two lanes turns the sign of F (R-2.5)."""
        if self.read[0] < self.read[1]:
            return self
        turned = tuple(-f + 0.0 for f in self.frequency)
        return Row(self.read[::-1], self.written[::-1], turned, self.log_magnitude)

    def is_identity(self, attention_factor: float) -> bool:
        """Return whether the row changes nothing, so that the canonical form drops it (R-2.5)."""
        turns = any(f != 0 for f in self.frequency) or bool(self.log_magnitude)
        return attention_factor == 1 and not turns and self.read == self.written


@dataclass(frozen=True)
class Frequencies:
    """What a configuration says about each pair j, nothing dropped; `relative` is the bound of R-4.2."""

    matrix: list[list[float]]  # (pairs, axes)
    relative: list[list[Exact]]
    attention_factor: float
    log_magnitude: list[float] | None
    centre: float


def axis_names(config: Config) -> list[str]:
    """Return the names of the axes: labels, which no rule uses."""
    return list(config.get("axes", ONE_AXIS))


def pair_count(config: Config) -> int:
    """Return R / 2."""
    return int(config.get("rotary_dim", config["head_dim"])) // 2


def frequencies(config: Config, seq_len: int | None = None) -> Frequencies:
    """Return F of a configuration in the order of pairs, each number rounded once (R-4.2, chapter 6)."""
    pairs, names, own = pair_count(config), axis_names(config), config.get("inv_freq")
    if own is not None and isinstance(own[0], list):  # mixed: the matrix is F
        matrix = [[float(f) for f in row] for row in own]
        a = float(config.get("attention_factor", 1.0))
        return Frequencies(turned(config, matrix), [[ZERO] * len(names) for _ in own], a, None, 0.0)

    def scaled(count: int, dim: int) -> tuple[rules.Scaled, list[Exact]]:
        series = rules.Series(count, dim, config.get("base"), None if own is None else tuple(own), seq_len)
        rule, a = config.get("scaling"), config.get("attention_factor")
        return rules.scale(series, rule, a), rules.ulps(series, rule)

    axis_of = axes.of_pairs(config) if "sections" in config else [0] * pairs
    if config.get("axis_frequencies", "shared") == "shared":
        result, relative = scaled(pairs, config.get("frequency_dim", 2 * pairs))
        values = list(zip(result.frequencies, relative, strict=True))
    else:  # each axis has a series of its own, dealt to its pairs in order
        series = []
        for size in config["sections"]:
            result, relative = scaled(size, 2 * size)
            series.append(iter(zip(result.frequencies, relative, strict=True)))
        values = [next(series[axis]) for axis in axis_of]
    matrix = [[double(f) if a == axis else 0.0 for a in range(len(names))] for (f, _), axis in zip(values, axis_of, strict=True)]
    bound = [[e if a == axis else ZERO for a in range(len(names))] for (_, e), axis in zip(values, axis_of, strict=True)]
    logs = None if result.log_magnitude is None else [double(m) for m in result.log_magnitude]
    return Frequencies(turned(config, matrix), bound, double(result.attention_factor), logs, result.centre)


def turned(config: Config, matrix: list[list[float]]) -> list[list[float]]:
    """Negate every frequency under direction -1 (R-3.6)."""
    return [[config.get("direction", 1) * f + 0.0 for f in row] for row in matrix]


def of_config(config: Config, seq_len: int | None = None) -> Plan:
    """Return the canonical plan of a configuration."""
    read, written = lanes.read_and_written(config)
    found = frequencies(config, seq_len)
    names = axis_names(config)
    return canonical(
        {
            "schema": SCHEMA,
            "head_dim": config["head_dim"],
            "axes": names,
            "axis_kinds": list(config.get("axis_kinds", ["integer"] * len(names))),
            "attention_factor": found.attention_factor,
            "lanes": [list(pair) for pair in read],
            "out_lanes": [list(pair) for pair in written],
            "frequencies": found.matrix,
            "log_magnitude": found.log_magnitude,
            "centre": float(found.centre),
        }
    )


def rows(plan: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a plan object."""
    logs: Sequence[float | None] = plan["log_magnitude"] or [None] * len(plan["lanes"])
    return [
        Row((r0, r1), (w0, w1), tuple(f), m)
        for (r0, r1), (w0, w1), f, m in zip(plan["lanes"], plan["out_lanes"], plan["frequencies"], logs, strict=True)
    ]


def canonical(plan: Mapping[str, Any]) -> Plan:
    """Return the canonical form of a plan object (R-2.5)."""
    a = plan["attention_factor"]
    kept = sorted((row.ordered() for row in rows(plan) if not row.is_identity(a)), key=lambda row: row.read)
    has_magnitude = plan["log_magnitude"] is not None
    return {
        "schema": SCHEMA,
        "head_dim": plan["head_dim"],
        "axes": list(plan["axes"]),
        "axis_kinds": list(plan["axis_kinds"]),
        "attention_factor": float(a),
        "lanes": [list(row.read) for row in kept],
        "out_lanes": [list(row.written) for row in kept],
        "frequencies": [[f + 0.0 for f in row.frequency] for row in kept],
        "log_magnitude": [(row.log_magnitude or 0.0) + 0.0 for row in kept] if has_magnitude else None,
        "centre": float(plan["centre"]) + 0.0,
    }
