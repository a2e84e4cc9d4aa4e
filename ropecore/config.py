"""RopeConfig: what a model says about its RoPE, from which the plan follows (rope.md chapters 3 to
6).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from ropecore.arguments import (
    AxisNames,
    Count,
    Flag,
    HeadDim,
    Instance,
    ListOf,
    OneOf,
    Positive,
    Whole,
    check_fields,
    checked,
    mapping,
)
from ropecore.arrays import reals
from ropecore.axes import KINDS, ORDERS, axis_of_pairs
from ropecore.errors import RopeError, choice, integer, known_keys
from ropecore.exact import sixty_digits
from ropecore.frequencies import Spectrum
from ropecore.lanes import IntArray, Pairing, block_lanes, pair_lanes
from ropecore.plan import LARGEST_FREQUENCY, FloatArray, RotaryPlan, periods
from ropecore.scaling import LongRoPE, Scaled, ScalingRule, Unscaled, check_lists, rule_from_dict, rule_to_dict

if TYPE_CHECKING:
    from ropecore.report import Report

AXIS_FREQUENCIES = ("shared", "per_axis")


def _order(argument: str, value: Any) -> str | tuple[int, ...]:
    """Return the name of an order, or the axis of each pair."""
    return (
        choice(argument, value, ORDERS)
        if isinstance(value, str)
        else ListOf(Whole(), "axes", numbered=False)(argument, value)
    )


def _inv_freq(argument: str, value: Any) -> tuple[float, ...] | tuple[tuple[float, ...], ...]:
    """Return one frequency a pair, or a matrix (pairs, axes), as tuples, so that a configuration
    can be hashed.
    """
    array = reals(argument, value, rule="R-12.7")
    if array.ndim not in (1, 2) or not array.size:
        raise RopeError(argument, array.shape, "must be (pairs) or (pairs, axes)", rule="R-12.7")
    if np.abs(array).max() > LARGEST_FREQUENCY:
        raise RopeError(argument, value, "must be at most 2^30 radians per position", rule="R-2.6")
    rows = array.tolist()
    return tuple(map(tuple, rows)) if array.ndim == 2 else tuple(rows)


def _direction(argument: str, value: Any) -> int:
    if integer(argument, value, at_least=-1, at_most=1, rule="R-3.6") == 0:
        raise RopeError(argument, value, "must be 1 or -1", rule="R-3.6")
    return int(value)


_RULE = Instance(ScalingRule, "a scaling rule", lambda value: "For example ropecore.Linear(2.0).")


class Rows(NamedTuple):
    """The rows of a plan in the order of pairs j, before the canonical form drops and sorts any:
    pairs that stand still too.
    """

    lanes: IntArray  # (n_pairs, 2)
    out_lanes: IntArray  # (n_pairs, 2)
    frequencies: FloatArray  # (n_pairs, n_axes)
    attention_factor: float
    log_magnitude: FloatArray | None  # (n_pairs,)
    centre: float

    @property
    def periods(self) -> FloatArray:
        """1 / F as `RotaryPlan.periods` has it, of every pair: infinite where it stands still
        (R-8.2).
        """
        return periods(self.frequencies)


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """A RoPE as configurations describe it; `plan()` is its normal form.

    head_dim: lanes of a head, D.  base: b of f_j = b^(-2j/d).  pairing, out_pairing: "half_split"
    or "interleaved" (chapter 3). rotary_dim: lanes that rotate, R, from lane_offset on (None: all
    from there).  frequency_dim: d (None: R). scaling: a rule of chapter 5, e.g. `Llama3(...)`.
    attention_factor: A, for rules that have none of their own (R-5.13). inv_freq: the caller's
    frequencies, one a pair, or a matrix (pairs, axes) for mixed axes (R-4.3, R-6.7). direction: -1
    turns the other way (R-3.6). axes, axis_kinds: names of the axes, and "integer" or "real" for
    each.  sections: pairs of each axis. axis_order: "chunked", "interleaved", "alternating" or the
    axis of each pair.  axis_frequencies: "shared" or "per_axis". axis_blocks: the pairing applies
    inside each axis's own block of lanes (chapter 6, R-3.5). report: how `read_config` read it; no
    part of equality, hash or JSON, and dropped by `replace`. RopeError names the argument that is
    wrong (chapter 12).
    """

    head_dim: HeadDim
    pairing: Pairing = None  # type: ignore[assignment]  # refused with the choices: there is no default
    base: Positive | None = None
    rotary_dim: Annotated[int, Whole(at_least=2, rule="R-12.1")] | None = None
    scaling: Annotated[ScalingRule, _RULE] | None = None
    frequency_dim: Count | None = None
    lane_offset: Annotated[int, Whole(rule="R-12.1")] = 0
    out_pairing: Pairing | None = None
    sections: Annotated[tuple[int, ...], ListOf(Whole(rule="R-12.7"), "sizes")] | None = None
    axes: AxisNames | None = None
    axis_order: Annotated[str | tuple[int, ...], _order] = "chunked"
    axis_frequencies: Annotated[str, OneOf(AXIS_FREQUENCIES)] = "shared"
    axis_blocks: Flag = False
    axis_kinds: Annotated[tuple[str, ...], ListOf(OneOf(KINDS), "kinds", numbered=False)] | None = None
    direction: Annotated[int, _direction] = 1
    attention_factor: Positive | None = None
    inv_freq: Annotated[tuple[float, ...] | tuple[tuple[float, ...], ...], _inv_freq] | None = None
    report: "Report | None" = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_lanes()
        self._check_frequencies()
        self._check_axes()

    @checked
    def rows(self, seq_len: Count | None = None) -> Rows:
        """Return lanes and frequencies in the order of pairs j; seq_len is n of the
        length-dependent rules (R-5.4).
        """
        return _rows(self, seq_len)

    @checked
    def plan(self, seq_len: Count | None = None) -> RotaryPlan:
        """Return the normal form; seq_len is needed by length-dependent rules under policy
        "per_call" (R-5.4).
        """
        return _plan(self, seq_len)

    def replace(self, **changes: Any) -> "RopeConfig":
        """Return the configuration with these keywords changed."""
        known_keys("replace", changes, [each.name for each in dataclasses.fields(self)])
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
    def from_dict(given: Mapping[str, Any]) -> "RopeConfig":
        """Return the configuration of an object with these keywords; unknown keys are refused
        (R-12.6).
        """
        keywords = dict(mapping("config", given))
        known_keys("config", keywords, [keyword.name for keyword in KEYWORDS])
        if "head_dim" not in keywords:
            raise RopeError("head_dim", None, "must be given", rule="R-12.6")
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
        room = self.head_dim - self.lane_offset
        if room < 2:
            raise RopeError("lane_offset", self.lane_offset, f"must be from 0 to {self.head_dim - 2}", rule="R-12.1")
        rotary_dim = room if self.rotary_dim is None else self.rotary_dim
        if rotary_dim > room:
            raise RopeError("rotary_dim", rotary_dim, f"is above head_dim - lane_offset = {room}", rule="R-12.1")
        if rotary_dim % 2:
            cure = f"Did you mean {rotary_dim - 1}?"
            name = "head_dim" if self.rotary_dim is None else "rotary_dim"
            raise RopeError(name, rotary_dim, "pairs need an even number of lanes (rotary_dim)", cure, "R-12.1")
        self._set(rotary_dim=rotary_dim)

    def _check_frequencies(self) -> None:
        if self.scaling is not None:
            check_lists(self.scaling, self.n_pairs)
        if self.base is None and self.inv_freq is None:
            raise RopeError("base", None, "must be given", "It is rope_theta in many configurations.", "R-4.1")
        if self.attention_factor is not None and hasattr(self.scaling, "attention_factor"):
            cure = "Give it to the rule."
            raise RopeError("attention_factor", self.attention_factor, "the scaling rule has its own", cure, "R-5.13")
        if self.inv_freq is not None and len(self.inv_freq) != self.n_pairs:
            reason = f"must have one entry a pair, {self.n_pairs}"
            raise RopeError("inv_freq", len(self.inv_freq), reason, rule="R-12.7")

    def _check_axes(self) -> None:
        mixed = self.inv_freq is not None and isinstance(self.inv_freq[0], tuple)
        several = self.sections is not None or mixed
        if self.axes is None:
            if several:
                raise RopeError("axes", None, "must name each axis", "For example axes=('h', 'w').", "R-12.7")
            self._set(axes=("position",))
        assert self.axes is not None
        if self.axis_kinds is not None and len(self.axis_kinds) != len(self.axes):
            reason = f"must have one entry an axis, {len(self.axes)}"
            raise RopeError("axis_kinds", self.axis_kinds, reason, rule="R-12.7")
        if not isinstance(self.axis_order, str) and max(self.axis_order, default=0) >= len(self.axes):
            reason = f"must hold axes from 0 to {len(self.axes) - 1}"
            raise RopeError("axis_order", self.axis_order, reason, rule="R-12.3")
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
        if sum(self.sections) != self.n_pairs:
            cure = "Sections count pairs." if sum(self.sections) == 2 * self.n_pairs else ""
            reason = f"must add up to the number of pairs, {self.n_pairs}"
            raise RopeError("sections", self.sections, reason, cure, "R-12.7")
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


Config = Annotated[RopeConfig, Instance(RopeConfig, "a RopeConfig", lambda value: "Make one with RopeConfig(..).")]
KEYWORDS = tuple(f for f in dataclasses.fields(RopeConfig) if f.name != "report")


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=512)
def _plan(config: RopeConfig, seq_len: int | None) -> RotaryPlan:
    rows = _rows(config, seq_len)
    return RotaryPlan(head_dim=config.head_dim, axes=config.axes or (), axis_kinds=config.axis_kinds, **rows._asdict())


def _rows(config: RopeConfig, seq_len: int | None) -> Rows:
    with sixty_digits():
        try:
            frequencies, scaled = _frequencies(config, seq_len)
        except DecimalException as error:
            reason = "makes frequencies beyond every number, with its frequency_dim and scaling"
            raise RopeError("base", config.base, reason, rule="R-2.6") from error
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
