"""From a configuration to the normal form: rope.md chapter 2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import axes, distances, lanes, rules
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
        (r0, r1), (w0, w1) = self.read, self.written
        return Row((r1, r0), (w1, w0), tuple(-f + 0.0 for f in self.frequency), self.log_magnitude)

    def is_identity(self, attention_factor: float) -> bool:
        """Return whether the row changes nothing, so that the canonical form drops it (R-2.5)."""
        turns = any(f != 0 for f in self.frequency) or bool(self.log_magnitude)
        return attention_factor == 1 and not turns and self.read == self.written


@dataclass(frozen=True)
class Frequencies:
    """What a configuration says about each pair j, nothing dropped; `relative` is the distance of
    R-4.4.
    """

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
    return lanes.rotary_dim(config) // 2


def frequencies(config: Config, seq_len: int | None = None, of_r_4_2: bool = False) -> Frequencies:
    """Return F of a configuration in the order of pairs, each number rounded once (R-4.2, chapter
    6).
    """
    own = config.get("inv_freq")
    if own is not None and isinstance(own[0], list):
        return mixed(config, own)
    axis_of = axes.of_pairs(config) if "sections" in config else [0] * pair_count(config)
    all_series = series_of(config, seq_len)
    rule, a = config.get("scaling"), config.get("attention_factor")
    scaled = [rules.scale(series, rule, a) for series in all_series]
    bounds = [distances.relative(series, rule, of_r_4_2) for series in all_series]
    # each series is dealt in order to its pairs: to all of them where it is shared, else to those
    # of its axis
    dealers = [iter(zip(one.frequencies, bound, strict=True)) for one, bound in zip(scaled, bounds, strict=True)]
    dealt = [next(dealers[axis if len(dealers) > 1 else 0]) for axis in axis_of]
    count, first = len(axis_names(config)), scaled[0]
    logs = first.log_magnitude
    return Frequencies(
        matrix=turned(config, [on_axis(double(f), axis, count) for (f, _), axis in zip(dealt, axis_of, strict=True)]),
        relative=[on_axis(bound, axis, count) for (_, bound), axis in zip(dealt, axis_of, strict=True)],
        attention_factor=double(first.attention_factor),
        log_magnitude=None if logs is None else [double(m) for m in logs],
        centre=first.centre,
    )


def series_of(config: Config, seq_len: int | None) -> list[rules.Series]:
    """Return the one series that all axes share (R-6.5), or one an axis
    with R = d = 2 S_a (R-6.6).
    """
    pairs, own = pair_count(config), config.get("inv_freq")
    sizes = [(pairs, config.get("frequency_dim", 2 * pairs))]
    if config.get("axis_frequencies", "shared") == "per_axis":
        sizes = [(size, 2 * size) for size in config["sections"]]
    given = None if own is None else tuple(own)
    return [rules.Series(count, dim, config.get("base"), given, seq_len) for count, dim in sizes]


def on_axis(value: Any, axis: int, count: int) -> list[Any]:
    """Return a row with one value on its axis and 0 on the others."""
    return [value if a == axis else 0.0 for a in range(count)]


def mixed(config: Config, own: list[list[float]]) -> Frequencies:
    """Return the frequencies of a matrix, which is F (R-6.7): bits must be equal."""
    matrix = turned(config, [[float(f) for f in row] for row in own])
    nothing = [[ZERO for _ in row] for row in own]
    return Frequencies(matrix, nothing, float(config.get("attention_factor", 1.0)), None, 0.0)


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
    has_magnitude = any(row.log_magnitude for row in kept)  # one that is 0 in every row is none
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
        "centre": float(plan["centre"]) + 0.0 if has_magnitude else 0.0,
    }
