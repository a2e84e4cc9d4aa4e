"""RopeConfig: what a model says about its RoPE, from which the plan follows (rope.md chapters 3 to 6)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ropecore.axes import KINDS, axis_of_pairs, check_sections
from ropecore.errors import RopeError, choice, integer, known_keys, number
from ropecore.exact import sixty_digits
from ropecore.frequencies import Spectrum
from ropecore.lanes import PAIRINGS, IntArray, block_lanes, pair_lanes
from ropecore.plan import LARGEST_FREQUENCY, LARGEST_HEAD_DIM, FloatArray, RotaryPlan
from ropecore.scaling import LongRoPE, Scaled, ScalingRule, Unscaled, check_lists, numbers, rule_from_dict, rule_to_dict

if TYPE_CHECKING:
    from ropecore.report import Report

AXIS_FREQUENCIES = ("shared", "per_axis")


class Rows(NamedTuple):
    """The rows of a plan in the order of pairs j, before the canonical form drops and sorts any."""

    lanes: IntArray  # (n_pairs, 2)
    out_lanes: IntArray  # (n_pairs, 2)
    frequencies: FloatArray  # (n_pairs, n_axes)
    attention_factor: float
    log_magnitude: FloatArray | None  # (n_pairs,)
    centre: float


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """A RoPE as configurations describe it; `plan()` is its normal form.

    head_dim: lanes of a head, D.  base: b of f_j = b^(-2j/d).  pairing, out_pairing: "half_split" or "interleaved" (chapter 3).
    rotary_dim: lanes that rotate, R, from lane_offset on (None: all from there).  frequency_dim: d (None: R).
    scaling: a rule of chapter 5, e.g. `Llama3(...)`.  attention_factor: A, for rules that have none of their own (R-5.13).
    inv_freq: the caller's frequencies, one a pair, or a matrix (pairs, axes) for mixed axes (R-4.3, R-6.7).
    direction: -1 turns the other way (R-3.6).
    axes, axis_kinds: names of the axes, and "integer" or "real" for each.  sections: pairs of each axis.
    axis_order: "chunked", "interleaved", "alternating" or the axis of each pair.  axis_frequencies: "shared" or "per_axis".
    axis_blocks: the pairing applies inside each axis's own block of lanes (chapter 6, R-3.5).
    report: how `read_config` read it; no part of equality, hash or JSON, and dropped by `replace`.
    RopeError names the argument that is wrong (chapter 12).
    """

    head_dim: int
    pairing: str = ""  # stands for none given: refused with the choices, as there is no default
    base: float | None = None
    rotary_dim: int | None = None
    scaling: ScalingRule | None = None
    frequency_dim: int | None = None
    lane_offset: int = 0
    out_pairing: str | None = None
    sections: tuple[int, ...] | None = None
    axes: tuple[str, ...] | None = None
    axis_order: str | tuple[int, ...] = "chunked"
    axis_frequencies: str = "shared"
    axis_blocks: bool = False
    axis_kinds: tuple[str, ...] | None = None
    direction: int = 1
    attention_factor: float | None = None
    inv_freq: tuple[float, ...] | tuple[tuple[float, ...], ...] | None = None
    report: "Report | None" = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._set(head_dim=integer("head_dim", self.head_dim, at_least=2, at_most=LARGEST_HEAD_DIM))
        self._check_lanes()
        self._check_frequencies()
        self._check_axes()
        if isinstance(self.direction, bool) or self.direction not in (1, -1):
            raise RopeError("direction", self.direction, "must be 1 or -1", rule="R-3.6")

    def rows(self, seq_len: int | None = None) -> Rows:
        """Return lanes and frequencies in the order of pairs j; seq_len is n of the length-dependent rules (R-5.4)."""
        if seq_len is not None:
            seq_len = integer("seq_len", seq_len, at_least=1)
        return _rows(self, seq_len)

    def plan(self, seq_len: int | None = None) -> RotaryPlan:
        """Return the normal form; seq_len is needed by length-dependent rules under policy "per_call" (R-5.4)."""
        if seq_len is not None:
            seq_len = integer("seq_len", seq_len, at_least=1)
        return _plan(self, seq_len)

    def replace(self, **changes: Any) -> "RopeConfig":
        """Return the configuration with these keywords changed."""
        return dataclasses.replace(self, **({"report": None} | changes))

    def to_dict(self) -> dict[str, Any]:
        """Return the keywords that are not at their default, as JSON can hold them."""
        given: dict[str, Any] = {}
        for keyword in KEYWORDS:
            value = getattr(self, keyword.name)
            if keyword.name == "scaling":
                value = None if value is None else rule_to_dict(value)
            if keyword.default is dataclasses.MISSING or value != keyword.default:
                given[keyword.name] = _as_list(value)
        return given

    @staticmethod
    def from_dict(mapping: Mapping[str, Any]) -> "RopeConfig":
        """Return the configuration of an object with these keywords; unknown keys are refused (R-12.6)."""
        if not isinstance(mapping, Mapping):
            raise RopeError("config", mapping, "must be an object", rule="R-12.6")
        known_keys("config", mapping, [keyword.name for keyword in KEYWORDS])
        if "head_dim" not in mapping:
            raise RopeError("head_dim", None, "must be given", rule="R-12.6")
        keywords = dict(mapping)
        if isinstance(keywords.get("scaling"), Mapping):
            keywords["scaling"] = rule_from_dict(keywords["scaling"])
        return RopeConfig(**keywords)

    @property
    def n_pairs(self) -> int:
        """R / 2."""
        assert self.rotary_dim is not None  # set by construction
        return self.rotary_dim // 2

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_lanes(self) -> None:
        choice("pairing", self.pairing or None, PAIRINGS)
        if self.out_pairing is not None:
            choice("out_pairing", self.out_pairing, PAIRINGS)
        offset = integer("lane_offset", self.lane_offset, at_most=self.head_dim - 2, rule="R-12.1")
        room = self.head_dim - offset
        rotary_dim = integer(
            "rotary_dim", room if self.rotary_dim is None else self.rotary_dim, at_least=2, rule="R-12.1"
        )
        if rotary_dim > room:
            raise RopeError("rotary_dim", rotary_dim, f"is above head_dim - lane_offset = {room}", rule="R-12.1")
        if rotary_dim % 2:
            cure = f"Did you mean {rotary_dim - 1}?"
            name = "head_dim" if self.rotary_dim is None else "rotary_dim"
            raise RopeError(name, rotary_dim, "pairs need an even number of lanes (rotary_dim)", cure, "R-12.1")
        self._set(lane_offset=offset, rotary_dim=rotary_dim)

    def _check_frequencies(self) -> None:
        if self.scaling is not None and not isinstance(self.scaling, ScalingRule):
            raise RopeError(
                "scaling", self.scaling, "must be a scaling rule", "For example ropecore.Linear(2.0).", "R-12.6"
            )
        if self.scaling is not None:
            check_lists(self.scaling, self.n_pairs)
        if self.base is not None:
            self._set(base=number("base", self.base, above=0))
        elif self.inv_freq is None:
            raise RopeError("base", None, "must be given", "It is rope_theta in many configurations.", "R-4.1")
        if self.frequency_dim is not None:
            self._set(frequency_dim=integer("frequency_dim", self.frequency_dim, at_least=1))
        if self.attention_factor is not None:
            self._set(attention_factor=number("attention_factor", self.attention_factor, above=0))
            if hasattr(self.scaling, "attention_factor"):
                cure = "Give it to the rule."
                raise RopeError(
                    "attention_factor", self.attention_factor, "the scaling rule has its own", cure, "R-5.13"
                )
        if self.inv_freq is not None:
            self._set(inv_freq=_inv_freq(self.inv_freq, self.n_pairs))

    def _check_axes(self) -> None:
        mixed = self.inv_freq is not None and isinstance(self.inv_freq[0], tuple)
        several = self.sections is not None or mixed
        if self.axes is None:
            if several:
                raise RopeError("axes", None, "must name each axis", "For example axes=('h', 'w').", "R-12.7")
            self._set(axes=("position",))
        assert self.axes is not None
        self._set(axes=(self.axes,) if isinstance(self.axes, str) else tuple(self.axes))
        if self.axis_kinds is not None:
            self._set(axis_kinds=tuple(choice("axis_kinds", kind, KINDS) for kind in self.axis_kinds))
        choice("axis_frequencies", self.axis_frequencies, AXIS_FREQUENCIES)
        if not isinstance(self.axis_order, str):
            self._set(axis_order=tuple(integer("axis_order", a, at_most=len(self.axes) - 1) for a in self.axis_order))
        if self.sections is not None:
            self._check_sections(mixed)
        elif len(self.axes) > 1 and not mixed:
            raise RopeError("sections", None, "must say how many pairs each axis has", rule="R-12.7")
        elif (self.axis_order, self.axis_frequencies, self.axis_blocks) != ("chunked", "shared", False):
            raise RopeError(
                "sections", None, "must be given with axis_order, axis_frequencies or axis_blocks", rule="R-12.7"
            )
        elif mixed and len(self.inv_freq[0]) != len(self.axes):  # type: ignore[index, arg-type]
            raise RopeError("axes", self.axes, "must have one name a column of inv_freq", rule="R-12.7")
        if mixed and self.scaling is not None:
            raise RopeError("scaling", self.scaling, "cannot go with a matrix of inv_freq", rule="R-4.3")

    def _check_sections(self, mixed: bool) -> None:
        assert self.sections is not None
        assert self.axes is not None
        self._set(sections=check_sections(self.sections, self.n_pairs))
        if len(self.sections) != len(self.axes):
            raise RopeError("sections", self.sections, f"must have one entry an axis, {len(self.axes)}", rule="R-12.7")
        if mixed:
            raise RopeError("sections", self.sections, "cannot go with a matrix of inv_freq", rule="R-6.7")
        axis_of_pairs(self.axis_order, self.sections)
        if self.axis_blocks and self.axis_order != "chunked":
            raise RopeError("axis_order", self.axis_order, "must be chunked with axis_blocks", rule="R-3.5")
        if self.axis_frequencies == "per_axis" and isinstance(self.scaling, LongRoPE):
            reason = "has one divisor a pair, and axis_frequencies per_axis makes a series for each axis"
            raise RopeError("scaling", self.scaling, reason, rule="R-6.6")
        if self.axis_frequencies == "per_axis" and (self.frequency_dim is not None or self.inv_freq is not None):
            name = "frequency_dim" if self.frequency_dim is not None else "inv_freq"
            raise RopeError(name, getattr(self, name), "cannot go with axis_frequencies per_axis", rule="R-6.6")


KEYWORDS = tuple(f for f in dataclasses.fields(RopeConfig) if f.name != "report")


def _inv_freq(values: Any, n_pairs: int) -> tuple[float, ...] | tuple[tuple[float, ...], ...]:
    """Return inv_freq as nested tuples, so that a configuration can be hashed."""
    rows = np.asarray(values).tolist() if hasattr(values, "__array__") else values
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)) or len(rows) != n_pairs:
        shown = len(rows) if isinstance(rows, Sequence) else rows
        raise RopeError("inv_freq", shown, f"must have one entry a pair, {n_pairs}", rule="R-12.7")
    flat = not isinstance(rows[0], Sequence)
    matrix = tuple(numbers("inv_freq", [row] if flat else row) for row in rows)
    if max((abs(f) for row in matrix for f in row), default=0.0) > LARGEST_FREQUENCY:
        raise RopeError("inv_freq", values, "must be at most 2^30 radians per position", rule="R-2.6")
    if flat:
        return tuple(row[0] for row in matrix)
    if len({len(row) for row in matrix}) != 1 or not matrix[0]:
        raise RopeError("inv_freq", [len(row) for row in matrix], "rows differ in length, or are empty", rule="R-12.7")
    return matrix


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=512)
def _plan(config: RopeConfig, seq_len: int | None) -> RotaryPlan:
    rows = _rows(config, seq_len)
    return RotaryPlan(head_dim=config.head_dim, axes=config.axes or (), axis_kinds=config.axis_kinds, **rows._asdict())


def _rows(config: RopeConfig, seq_len: int | None) -> Rows:
    with sixty_digits():
        frequencies, scaled = _frequencies(config, seq_len)
        factor = scaled.attention_factor if config.attention_factor is None else config.attention_factor
        logs = None if scaled.log_magnitude is None else np.array([float(m) for m in scaled.log_magnitude])
        lanes = _lanes(config, config.pairing, "pairing")
        out_lanes = _lanes(config, config.out_pairing or config.pairing, "out_pairing")
        return Rows(lanes, out_lanes, config.direction * frequencies, float(factor), logs, scaled.centre)


def _lanes(config: RopeConfig, pairing: str, argument: str) -> IntArray:
    if config.axis_blocks and config.sections is not None:
        return block_lanes(pairing, config.sections, config.lane_offset, argument)
    return pair_lanes(pairing, 2 * config.n_pairs, config.lane_offset, argument)


def _frequencies(config: RopeConfig, seq_len: int | None) -> tuple[FloatArray, Scaled]:
    """Return F (n_pairs, n_axes), rounded once, and what else the rule said."""
    assert config.axes is not None
    n_pairs, custom = config.n_pairs, None
    if config.inv_freq is not None and isinstance(config.inv_freq[0], tuple):
        return np.array(config.inv_freq, np.float64), Scaled([])
    if config.inv_freq is not None:
        custom = tuple(Decimal(f) for f in config.inv_freq if isinstance(f, float))
    rule = config.scaling or Unscaled()
    base = None if config.base is None else Decimal(config.base)

    def scale(size: int, dim: int) -> Scaled:
        return rule.scale(Spectrum(size, dim, base, custom, seq_len))

    matrix = np.zeros((n_pairs, len(config.axes)))
    if config.sections is None or config.axis_frequencies == "shared":
        scaled = scale(n_pairs, config.frequency_dim or 2 * n_pairs)
        order = [0] * n_pairs if config.sections is None else axis_of_pairs(config.axis_order, config.sections)
        matrix[np.arange(n_pairs), order] = [float(f) for f in scaled.frequencies]
        return matrix, scaled
    axis = np.array(axis_of_pairs(config.axis_order, config.sections))
    parts = {a: scale(size, 2 * size) for a, size in enumerate(config.sections) if size}
    for a, part in parts.items():
        matrix[axis == a, a] = [float(f) for f in part.frequencies]
    return matrix, next(iter(parts.values()))
