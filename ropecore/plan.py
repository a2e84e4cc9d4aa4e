"""RotaryPlan: the normal form, a table with one row for each rotated pair of lanes (rope.md chapter 2)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from ropecore.axes import KINDS
from ropecore.errors import RopeError, choice, integer, known_keys, number
from ropecore.forks import cached_property
from ropecore.lanes import IntArray, as_index, check_lanes, pair_lanes, recognise

FloatArray = npt.NDArray[np.float64]

SCHEMA = "ropecore-plan/1"
LARGEST_FREQUENCY = 2.0**30
LARGEST_HEAD_DIM = 1 << 20
LARGEST_TEXT = 1 << 24  # characters of a plan's JSON; plans are untrusted files


@dataclass(frozen=True, eq=False)
class RotaryPlan:
    """One rotary position embedding: pairs of lanes, their frequencies, and the attention factor A.

    For a row with lanes read (r0, r1), lanes written (w0, w1) and phi = sum over axes of F * position:
    y[w0] = A (x[r0] cos phi - x[r1] sin phi), y[w1] = A (x[r0] sin phi + x[r1] cos phi); lanes in no row pass through.
    Construction brings it to canonical form (R-2.5), so equal plans are the same rotation; arrays are read-only.

    lanes, out_lanes: integers (n_pairs, 2).  frequencies: float64 (n_pairs, n_axes), radians per unit of position; (n_pairs,)
    is taken for one axis.  log_magnitude: float64 (n_pairs,) or None, natural log per unit of position - centre (R-2.4).
    Rules R-2.1 to R-2.6; RopeError for anything else (R-12.2, R-12.3).
    """

    head_dim: int
    lanes: IntArray
    frequencies: FloatArray
    out_lanes: IntArray | None = None  # None: the lanes read.  A plan's own is never None
    attention_factor: float = 1.0
    axes: tuple[str, ...] = ("position",)
    axis_kinds: tuple[str, ...] | None = None  # None: all integer.  A plan's own is never None
    log_magnitude: FloatArray | None = None
    centre: float = 0.0

    def __post_init__(self) -> None:
        head_dim = integer("head_dim", self.head_dim, at_least=1, at_most=LARGEST_HEAD_DIM)
        lanes = _lanes("lanes", self.lanes, head_dim)
        out_lanes = lanes if self.out_lanes is None else _lanes("out_lanes", self.out_lanes, head_dim)
        if out_lanes.shape != lanes.shape or not np.array_equal(np.sort(out_lanes, None), np.sort(lanes, None)):
            raise RopeError("out_lanes", out_lanes.tolist(), "must be the lanes read, in another order", rule="R-2.3")
        axes, kinds = _axes(self.axes, self.axis_kinds)
        frequencies = _frequencies(self.frequencies, len(lanes), len(axes))
        factor = number("attention_factor", self.attention_factor, above=0)
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
        """1 / F, float64 (n_pairs,) or (n_pairs, n_axes): units of position per radian, infinite where F is 0 (R-8.2)."""
        with np.errstate(divide="ignore"):
            periods: FloatArray = 1.0 / self.frequencies
        return periods[:, 0] if self.n_axes == 1 else periods

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
        """SHA-256 of the canonical bytes, in hex: the identity of the rotation (the names of axes are labels)."""
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
        return RotaryPlan(**{name: changes.get(name, getattr(self, name)) for name in self.__dataclass_fields__})

    def with_frequencies(self, frequencies: npt.ArrayLike) -> "RotaryPlan":
        """Return the plan with other frequencies, (n_pairs,) or (n_pairs, n_axes), e.g. a module's own inv_freq (R-10.3)."""
        return self.replace(frequencies=frequencies)

    def with_pairing(self, pairing: str) -> "RotaryPlan":
        """Return the same frequencies on the lanes of another pairing, over the same contiguous block of lanes (chapter 3)."""
        if self.pairing == "general":
            cure = "Make it from its RopeConfig."
            raise RopeError(
                "pairing", pairing, "this plan's lanes are no half_split or interleaved block", cure, "R-3.1"
            )
        lanes = pair_lanes(pairing, self.rotary_dim, int(self.lanes[0, 0]))
        return self.replace(lanes=lanes, out_lanes=lanes)

    def on_written_lanes(self) -> "RotaryPlan":
        """Return the plan that moves an already rotated vector: lanes written, no A, centre 0 (R-9.5)."""
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
        """Return the plan as JSON text; numbers are the shortest decimals that give back the same bits."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_dict(mapping: Mapping[str, Any]) -> "RotaryPlan":
        """Return the plan of an object of schema ropecore-plan/1; unknown and missing keys are refused (R-12.6)."""
        names = tuple(RotaryPlan.__dataclass_fields__)
        if not isinstance(mapping, Mapping) or mapping.get("schema") != SCHEMA:
            raise RopeError("plan", mapping, f"is not an object of schema {SCHEMA}", rule="R-12.6")
        known_keys("plan", mapping, ("schema", *names))
        for name in names:
            if name not in mapping:
                raise RopeError(f"plan.{name}", None, "is missing", rule="R-12.6")
        return RotaryPlan(**{name: mapping[name] for name in names})

    @staticmethod
    def from_json(text: str) -> "RotaryPlan":
        """Return the plan of a JSON text of schema ropecore-plan/1."""
        if len(text) > LARGEST_TEXT:
            raise RopeError("text", f"{len(text)} characters", f"is longer than {LARGEST_TEXT}", rule="R-12.6")
        try:
            mapping = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RopeError("text", text, f"is not JSON: {error}", rule="R-12.6") from error
        return RotaryPlan.from_dict(mapping)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def _array(argument: str, values: object, dtype: type, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
    """Return values as an array of this shape (None: any length), or refuse them (R-12.7)."""
    try:
        array = np.asarray(values)
        numeric: npt.NDArray[Any] = (
            array.astype(dtype) if array.size else np.zeros([size or 0 for size in shape], dtype)
        )
        exact = array.dtype.kind in "iu" if dtype is np.int64 else array.dtype.kind in "iuf"
    except (TypeError, ValueError, OverflowError) as error:
        raise RopeError(argument, values, "is not an array of numbers", rule="R-12.7") from error
    if array.size and not exact:
        raise RopeError(
            argument, values, f"must hold {'integers' if dtype is np.int64 else 'real numbers'}", rule="R-12.7"
        )
    if numeric.ndim != len(shape) or any(
        size not in (None, got) for size, got in zip(shape, numeric.shape, strict=True)
    ):
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        raise RopeError(argument, numeric.shape, f"has the wrong shape; wanted ({wanted})", rule="R-12.7")
    return numeric


def _lanes(argument: str, values: object, head_dim: int) -> IntArray:
    lanes = _array(argument, values, np.int64, (None, 2))
    check_lanes(argument, lanes, head_dim)
    return lanes


def _axes(names: Sequence[str], kinds: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list or not names or not all(isinstance(name, str) and name for name in names):
        raise RopeError("axes", names, "must be a list of names, one an axis", rule="R-12.7")
    if len(set(names)) != len(names):
        raise RopeError("axes", names, "names an axis twice", rule="R-12.7")
    kinds = ("integer",) * len(names) if kinds is None else kinds
    if not isinstance(kinds, Sequence) or len(kinds) != len(names):
        raise RopeError("axis_kinds", kinds, f"must have one entry an axis, {len(names)}", rule="R-12.7")
    return tuple(names), tuple(choice("axis_kinds", kind, KINDS) for kind in kinds)


def _frequencies(values: object, n_pairs: int, n_axes: int) -> FloatArray:
    flat = n_axes == 1 and np.ndim(values) == 1  # type: ignore[arg-type]
    frequencies = _array("frequencies", values, np.float64, (n_pairs,) if flat else (n_pairs, n_axes))
    if not (np.abs(frequencies) <= LARGEST_FREQUENCY).all():
        raise RopeError("frequencies", values, "must be finite and at most 2^30 radians per position", rule="R-2.6")
    return frequencies.reshape(n_pairs, n_axes)


def _magnitude(values: object, centre: object, n_pairs: int, n_axes: int) -> tuple[FloatArray | None, float]:
    centre = number("centre", centre)
    if values is None:
        return None, centre
    if n_axes != 1:
        raise RopeError("log_magnitude", values, f"needs a plan with one axis, and this one has {n_axes}", rule="R-2.4")
    magnitude = _array("log_magnitude", values, np.float64, (n_pairs,))
    if not np.isfinite(magnitude).all():
        raise RopeError("log_magnitude", values, "must be finite", rule="R-2.4")
    return magnitude + 0.0, centre
