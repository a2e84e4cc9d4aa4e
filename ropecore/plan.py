"""RotaryPlan: the normal form, a table with one row for each rotated pair of lanes (rope.md chapter
2).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from ropecore.arguments import (
    LARGEST_HEAD_DIM,
    AxisNames,
    Instance,
    ListOf,
    Number,
    OneOf,
    Positive,
    Whole,
    check_fields,
    checked,
    mapping,
)
from ropecore.arrays import host_array, is_float
from ropecore.axes import KINDS
from ropecore.errors import RopeError, has, known_keys
from ropecore.forks import cached_property
from ropecore.lanes import IntArray, Pairing, as_index, check_lanes, pair_lanes, recognise
from ropecore.limits import LARGEST_FILE, parse_json

FloatArray = npt.NDArray[np.float64]

SCHEMA = "ropecore-plan/1"
LARGEST_FREQUENCY = 2.0**30


@dataclass(frozen=True, eq=False)
class RotaryPlan:
    """One rotary position embedding: pairs of lanes, their frequencies, and the attention factor A.

    For a row with lanes read (r0, r1), lanes written (w0, w1) and phi = sum over axes of F *
    position: y[w0] = A (x[r0] cos phi - x[r1] sin phi), y[w1] = A (x[r0] sin phi + x[r1] cos phi);
    lanes in no row pass through. Construction brings it to canonical form (R-2.5), so equal plans
    are the same rotation; arrays are read-only.

    lanes, out_lanes: integers (n_pairs, 2).  frequencies: float64 (n_pairs, n_axes), radians per
    unit of position; (n_pairs,) is taken for one axis.  log_magnitude: float64 (n_pairs,) or None,
    natural log per unit of position - centre (R-2.4). Rules R-2.1 to R-2.6; RopeError for anything
    else (R-12.2, R-12.3).
    """

    head_dim: Annotated[int, Whole(at_least=1, at_most=LARGEST_HEAD_DIM)]
    lanes: IntArray
    frequencies: FloatArray
    out_lanes: IntArray | None = None  # None: the lanes read.  A plan's own is never None
    attention_factor: Positive = 1.0
    axes: AxisNames = ("position",)
    axis_kinds: Annotated[tuple[str, ...], ListOf(OneOf(KINDS), "kinds", numbered=False)] | None = (
        None  # None: all integer
    )
    log_magnitude: FloatArray | None = None
    centre: Number = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        head_dim, axes, factor = self.head_dim, self.axes, self.attention_factor
        lanes = _lanes("lanes", self.lanes, head_dim)
        out_lanes = lanes if self.out_lanes is None else _lanes("out_lanes", self.out_lanes, head_dim)
        if out_lanes.shape != lanes.shape or not np.array_equal(np.sort(out_lanes, None), np.sort(lanes, None)):
            raise RopeError("out_lanes", out_lanes.tolist(), "must be the lanes read, in another order", rule="R-2.3")
        kinds = ("integer",) * len(axes) if self.axis_kinds is None else self.axis_kinds
        if len(kinds) != len(axes):
            raise RopeError("axis_kinds", kinds, f"must have one entry an axis, {len(axes)}", rule="R-12.7")
        frequencies = _frequencies(self.frequencies, len(lanes), len(axes))
        magnitude, centre = _magnitude(self.log_magnitude, self.centre, len(lanes), len(axes))

        swapped = lanes[:, 0] > lanes[:, 1]
        lanes, out_lanes = (np.where(swapped[:, None], pair[:, ::-1], pair) for pair in (lanes, out_lanes))
        frequencies = np.where(swapped[:, None], -frequencies, frequencies) + 0.0  # + 0.0 turns -0.0 into 0.0
        still = (frequencies == 0).all(axis=1) & (lanes == out_lanes).all(axis=1) & (factor == 1)
        if magnitude is not None:
            still &= magnitude == 0
        order = np.argsort(lanes[:, 0], kind="stable")
        order = order[~still[order]]
        if magnitude is not None:
            magnitude = magnitude[order] if magnitude[order].any() else None

        values = {
            "head_dim": head_dim, "lanes": _frozen(lanes[order]), "out_lanes": _frozen(out_lanes[order]),
            "frequencies": _frozen(frequencies[order]), "attention_factor": factor, "axes": axes, "axis_kinds": kinds,
            "log_magnitude": None if magnitude is None else _frozen(magnitude), "centre": 0.0 if magnitude is None else centre,
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def n_pairs(self) -> int:
        """Number of rows."""
        return len(self.lanes)

    @property
    def n_axes(self) -> int:
        """Number of coordinates that a position has."""
        return len(self.axes)

    @property
    def rotary_dim(self) -> int:
        """Number of lanes that are in a row."""
        return 2 * self.n_pairs

    @property
    def real_axes(self) -> tuple[bool, ...]:
        """Whether each axis takes real coordinates."""
        return tuple(kind == "real" for kind in self.axis_kinds or ())

    @cached_property
    def pairing(self) -> str:
        """ "half_split", "interleaved" or "general"; where both fit (two lanes), half_split."""
        return recognise(self.lanes, self.out)

    @property
    def out(self) -> IntArray:
        """The lanes written, (n_pairs, 2)."""
        assert self.out_lanes is not None  # set by construction
        return self.out_lanes

    @property
    def periods(self) -> FloatArray:
        """1 / F, float64 (n_pairs,) or (n_pairs, n_axes): units of position per radian, infinite
        where F is 0 (R-8.2).

        Pairs that stand still are in no row (R-2.5): `config.rows().periods` has theirs too.
        """
        return periods(self.frequencies)

    @property
    def wavelengths(self) -> FloatArray:
        """2 pi / |F|: units of position for a full turn, in the shape of `periods`."""
        return 2 * math.pi * np.abs(self.periods)

    @cached_property
    def read_index(self) -> tuple[slice | IntArray, slice | IntArray]:
        """Index of the first and of the second lanes read, as slices where they are regular."""
        return as_index(self.lanes[:, 0]), as_index(self.lanes[:, 1])

    @cached_property
    def write_index(self) -> tuple[slice | IntArray, slice | IntArray]:
        """Index of the first and of the second lanes written, as slices where they are regular."""
        return as_index(self.out[:, 0]), as_index(self.out[:, 1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hex: the identity of the rotation (the names of axes
        are labels).
        """
        parts = [
            json.dumps([SCHEMA, self.head_dim, self.axis_kinds, self.n_pairs, self.log_magnitude is not None]).encode(),
            np.array([self.attention_factor, self.centre], "<f8").tobytes(),
            self.lanes.astype("<i8").tobytes(),
            self.out.astype("<i8").tobytes(),
            self.frequencies.astype("<f8").tobytes(),
            b"" if self.log_magnitude is None else self.log_magnitude.astype("<f8").tobytes(),
        ]
        return sha256(b"".join(parts)).hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, RotaryPlan) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return (
            f"RotaryPlan(head_dim={self.head_dim}, pairing={self.pairing!r}, rotary_dim={self.rotary_dim}, "
            f"axes={self.axes}, attention_factor={self.attention_factor:g}, digest={self.digest[:12]!r})"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "RotaryPlan":
        return self  # immutable

    def __reduce__(self) -> tuple[Any, ...]:
        return RotaryPlan.from_json, (self.to_json(),)

    def replace(self, **changes: Any) -> "RotaryPlan":
        """Return the plan with these fields changed."""
        known_keys("replace", changes, tuple(self.__dataclass_fields__))
        return RotaryPlan(**{name: changes.get(name, getattr(self, name)) for name in self.__dataclass_fields__})

    def with_frequencies(self, frequencies: npt.ArrayLike) -> "RotaryPlan":
        """Return the plan with other frequencies, (n_pairs,) or (n_pairs, n_axes), e.g. a module's
        own inv_freq (R-10.3).
        """
        return self.replace(frequencies=frequencies)

    @checked
    def with_pairing(self, pairing: Pairing) -> "RotaryPlan":
        """Return the same frequencies on the lanes of another pairing, over the same contiguous
        block of lanes (chapter 3).
        """
        if self.pairing == "general" or not self.n_pairs:
            cure = "Make it from its RopeConfig."
            raise RopeError(
                "pairing", pairing, "this plan's lanes are no half_split or interleaved block", cure, "R-3.1"
            )
        lanes = pair_lanes(pairing, self.rotary_dim, int(self.lanes[0, 0]))
        return self.replace(lanes=lanes, out_lanes=lanes)

    def on_written_lanes(self) -> "RotaryPlan":
        """Return the plan that moves an already rotated vector: lanes written, no A, centre 0
        (R-9.5).
        """
        return self._moved

    @cached_property
    def _moved(self) -> "RotaryPlan":
        return self.replace(lanes=self.out, out_lanes=self.out, attention_factor=1.0, centre=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an object of schema ropecore-plan/1."""
        return {
            "schema": SCHEMA, "head_dim": self.head_dim, "axes": list(self.axes), "axis_kinds": list(self.axis_kinds or ()),
            "attention_factor": self.attention_factor, "lanes": self.lanes.tolist(), "out_lanes": self.out.tolist(),
            "frequencies": self.frequencies.tolist(),
            "log_magnitude": None if self.log_magnitude is None else self.log_magnitude.tolist(), "centre": self.centre,
        }  # fmt: skip

    def to_json(self) -> str:
        """Return the plan as JSON text; numbers are the shortest decimals that give back the same
        bits.
        """
        return json.dumps(self.to_dict())

    @staticmethod
    def from_dict(given: Mapping[str, Any]) -> "RotaryPlan":
        """Return the plan of an object of schema ropecore-plan/1; unknown and missing keys are
        refused (R-12.6).
        """
        names, fields = tuple(RotaryPlan.__dataclass_fields__), dict(mapping("plan", given))
        if fields.pop("schema", None) != SCHEMA:
            raise RopeError("plan", given, f"is not an object of schema {SCHEMA}", rule="R-12.6")
        known_keys("plan", fields, names)
        for name in names:
            if name not in fields:
                raise RopeError(f"plan.{name}", None, "is missing", rule="R-12.6")
        return RotaryPlan(**fields)

    @staticmethod
    def from_json(text: str) -> "RotaryPlan":
        """Return the plan of a JSON text of schema ropecore-plan/1, of at most 16 MiB and a million
        values.
        """
        return RotaryPlan.from_dict(parse_json("text", text, largest=LARGEST_FILE))


def _cure(value: Any) -> str:
    return "Call .plan() on it." if has(value, "plan") else "Make one with RopeConfig(..).plan()."


Plan = Annotated[RotaryPlan, Instance(RotaryPlan, "a RotaryPlan", _cure)]


def periods(frequencies: FloatArray) -> FloatArray:
    """Return 1 / F, (n_pairs,) for one axis, else (n_pairs, n_axes)."""
    with np.errstate(divide="ignore"):
        inverse: FloatArray = 1.0 / frequencies
    return inverse[:, 0] if frequencies.shape[1] == 1 else inverse


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def _array(argument: str, values: object, dtype: type, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
    """Return values as an array of this shape (None: any length), or refuse them (R-12.7)."""
    array = host_array(argument, values)
    nothing: npt.NDArray[Any] = np.zeros([size or 0 for size in shape], dtype)
    if not array.size and not nothing.size:  # an empty list has one dimension, and is float
        array = nothing
    if array.dtype.kind not in "iu" and (dtype is np.int64 or not is_float(array.dtype)):
        wanted = "integers" if dtype is np.int64 else "real numbers"
        raise RopeError(argument, values, f"must hold {wanted}", rule="R-12.7")
    if array.ndim != len(shape) or any(size not in (None, got) for size, got in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        raise RopeError(argument, array.shape, f"has the wrong shape; wanted ({wanted})", rule="R-12.7")
    return array.astype(dtype)


def _lanes(argument: str, values: object, head_dim: int) -> IntArray:
    lanes = _array(argument, values, np.int64, (None, 2))
    check_lanes(argument, lanes, head_dim)
    return lanes


def _frequencies(values: object, n_pairs: int, n_axes: int) -> FloatArray:
    given = host_array("frequencies", values)
    flat = n_axes == 1 and given.ndim == 1
    frequencies = _array("frequencies", given, np.float64, (n_pairs,) if flat else (n_pairs, n_axes))
    if not (np.abs(frequencies) <= LARGEST_FREQUENCY).all():
        raise RopeError("frequencies", values, "must be finite and at most 2^30 radians per position", rule="R-2.6")
    return frequencies.reshape(n_pairs, n_axes)


def _magnitude(values: object, centre: float, n_pairs: int, n_axes: int) -> tuple[FloatArray | None, float]:
    if values is None:
        return None, centre
    if n_axes != 1:
        raise RopeError("log_magnitude", values, f"needs a plan with one axis, and this one has {n_axes}", rule="R-2.4")
    magnitude = _array("log_magnitude", values, np.float64, (n_pairs,))
    if not np.isfinite(magnitude).all():
        raise RopeError("log_magnitude", values, "must be finite", rule="R-2.4")
    return magnitude + 0.0, centre
