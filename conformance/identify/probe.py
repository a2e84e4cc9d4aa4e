"""Questions to a black box, and the plan that its answers show.

    unit vectors at a few positions -> lanes, A -> frequencies, at positions 1, 2, 4, .. ->
      precision, at odd positions
    -> the rule that gives these frequencies -> the known bug that behaves as the box does

Each head is a unit vector, so one call shows the whole matrix of the rotation at each of its
positions.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ropecore.arguments import AxisCount, Count, Function, OneOf, Whole, checked
from ropecore.config import Config
from ropecore.errors import RopeError, told
from ropecore.exact import PI, sixty_digits
from ropecore.plan import FloatArray, RotaryPlan
from ropecore.precision import LARGEST_LOG_MAGNITUDE

from .against import unexpected, unlike
from .bugs import Suspect, ask, suspects
from .rule import Named, name_rule

Pair: TypeAlias = tuple[tuple[int, int], tuple[int, int]]  # lanes read, lanes written
Turns: TypeAlias = dict[int, list[Decimal]]  # F / 2 pi on each axis, by the first lane of a row
Box: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[np.int64]], Any]

SHAPE_POSITIONS = (0, 1, 2, 3, 5, 7, 11, 1 << 10, 1 << 20)  # where lanes show: slow pairs far out, fast ones near
DOUBLINGS = 31  # positions 1, 2, .. 2^30
ODD_POSITIONS = (
    0, 1, 2, 3, 5, 255, 257, 1023, 2049, 4097, 8191, 32767, 40001, 65521, 131071, 1048575, (1 << 24) + 1, (1 << 30) + 1, (1 << 31) - 1,
)  # fmt: skip
NOTHING = 1e-12  # of an entry of the matrix: what a box leaves out is exactly zero, and what it rotates is not
LOST = 0.01  # turns by which a frequency may miss a doubled position before the box counts as wrong there
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}
LARGEST_BOX = 1 << 12  # lanes: the box is asked for matrices of their square
EXACT = {"float64": 2.0**-52, "float32": 1.2e-7}


@dataclass(frozen=True)
class Precision:
    """How exact the box is: its class, the position up to which it is exact, and what it loses
    where.

    name: "exact", "float32" (R-10.3) or "below float32".  errors: the worst of cos and sin at each
    position, in units of A. reached: the largest position that the box took.  table: "bfloat16" or
    "float16" where every cosine and sine is one, else "".
    """

    name: str
    exact_up_to: int
    reached: int
    errors: tuple[tuple[int, float], ...]
    table: str = ""


@dataclass(frozen=True)
class Identification:
    """What the answers of a black box tell.

    plan: in canonical form, F reduced to [-pi, pi], None if no plan explains the box.  named: the
    configuration that gives the same frequencies.  suspects: known bugs that behave as the box
    does.  problems: what no plan explains.  untold: what answers cannot show.
    """

    head_dim: int
    plan: RotaryPlan | None
    precision: Precision | None
    named: Named | None
    suspects: tuple[Suspect, ...]
    problems: tuple[str, ...]
    untold: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        precision = self.precision
        return {
            "schema": "ropecore-identification/1",
            "head_dim": self.head_dim,
            "plan": None if self.plan is None else self.plan.to_dict(),
            "pairing": None if self.plan is None else self.plan.pairing,
            "precision": precision and {**vars(precision), "errors": [list(pair) for pair in precision.errors]},
            "config": None if self.named is None or self.named.config is None else self.named.config.to_dict(),
            "rule": None if self.named is None else self.named.text,
            "suspects": [{"flag": suspect.flag, "bug": suspect.bug} for suspect in self.suspects],
            "problems": list(self.problems),
            "untold": list(self.untold),
        }

    def to_json(self) -> str:
        """Return all of it as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def text(self) -> str:
        """Return what was found, a line each."""
        lines = [] if self.plan is None else plan_lines(self.plan)
        if self.named is not None:
            lines.append(f"frequencies  {self.named.text}")
        if self.precision is not None:
            lines += _precision_lines(self.precision)
        lines += [f"problem      {problem}" for problem in self.problems]
        lines += [f"likely bug   {suspect.flag}: {suspect.bug}" for suspect in self.suspects]
        return "\n".join([*lines, *(f"not told     {what}" for what in self.untold)])


@checked
def identify(
    fn: Function,
    head_dim: Annotated[int, Whole(at_least=2, at_most=LARGEST_BOX)],
    *,
    n_axes: AxisCount = 1,
    dtype: Annotated[str, OneOf(tuple(UNIT))] = "float32",
    expected: Config | None = None,
    seq_len: Count | None = None,
) -> Identification:
    """Return the plan of a black box fn(x, positions) -> y, its precision, the rule that it follows
    and its likely bugs.

    x: NumPy (1, h, s, head_dim) of that dtype ("float32" or "float64").  positions: int64 (s,), or
    (n_axes, s) for several axes. It is also asked for several rows, and for (b, s) positions; a box
    may refuse those. F is told up to a multiple of 2 pi, and to the box's own precision.  expected,
    seq_len: what the box should be; known bugs are then tried on it (without: on the plan that was
    found).  Whatever the box answers otherwise than the plan that was found, in unsorted or
    repeated positions, several rows or heads, NaN and 16-bit inputs, and where that plan is not the
    expected one, is a problem. RopeError if the box fails at position 1, or answers in another
    shape.
    """
    probe = _Probe(fn, head_dim, n_axes, dtype)
    answers = ask(fn, head_dim, dtype, n_axes)  # first, while a box that keeps tables has kept none
    _check(probe)
    with sixty_digits():
        found = _plan(probe)
        precision = None if found.plan is None else _precision(probe, found)
    plan, untold = found.plan, list(found.untold)
    named = None if plan is None or n_axes > 1 else name_rule(plan, _resolution(dtype, found.farthest))
    untold += ["multiples of 2 pi in F: integer positions do not show them"] if plan is not None else []
    if plan is not None and plan.log_magnitude is not None:
        untold.append("the magnitude of keys: the box was asked for queries")
    untold += named.untold if named is not None else ()
    single = precision is not None and precision.name == "float32"
    likely = suspects(answers, plan, expected, seq_len, single)
    problems = list(found.problems)
    if plan is not None:
        unsure = 8 * _resolution(dtype, found.farthest)
        exact, table = precision is None or precision.name == "exact", "" if precision is None else precision.table
        problems += unlike(answers, plan, unsure, exact, table)
        problems += [] if expected is None else unexpected(plan, expected.plan(seq_len), unsure)
    return Identification(head_dim, plan, precision, named, likely, tuple(problems), tuple(untold))


@dataclass(frozen=True)
class _Probe:
    """A box, and how it is asked."""

    fn: Box
    head_dim: int
    n_axes: int
    dtype: str

    def matrices(self, places: Sequence[Sequence[int]]) -> FloatArray:
        """Return the matrix (s, written lanes, read lanes) at each place, a coordinate an axis."""
        d, s = self.head_dim, len(places)
        x = np.broadcast_to(np.eye(d, dtype=self.dtype)[None, :, None, :], (1, d, s, d)).copy()
        positions = np.array(places, np.int64).T
        y = np.asarray(self.fn(x, positions[0] if self.n_axes == 1 else positions)).astype(np.float64)
        if y.shape != x.shape:
            raise RopeError("fn", y.shape, f"answers in another shape than x, {x.shape}")
        return np.asarray(y[0].transpose(1, 2, 0))

    def on_axis(self, axis: int, positions: Sequence[int]) -> FloatArray:
        """Return the matrices at positions on one axis, 0 on the others."""
        return self.matrices([[p if a == axis else 0 for a in range(self.n_axes)] for p in positions])

    def alone(self, axis: int, positions: Sequence[int]) -> dict[int, FloatArray]:
        """Return the matrices of those positions that the box takes, each asked for alone."""
        found: dict[int, FloatArray] = {}
        for p in positions:
            try:
                found[p] = self.on_axis(axis, [p])[0]
            except Exception:  # beyond its table, or refused: that is an answer
                continue
        return found


@dataclass(frozen=True)
class Found:
    """A plan with its unrounded turns and the position they are known from, or what speaks against
    any plan; and what is untold.
    """

    plan: RotaryPlan | None
    turns: Turns
    farthest: int
    problems: list[str]
    untold: list[str]


def _check(probe: _Probe) -> None:
    """Refuse a box that cannot be called, with its own reason."""
    try:
        probe.on_axis(0, [1])
    except RopeError:
        raise
    except Exception as error:
        cure = "It is called with x (1, h, s, head_dim) and positions (s,), or (n_axes, s): wrap one that takes other arguments."
        raise RopeError("fn", type(error).__name__, f"fails at position 1: {told(error)}", cure) from error


def _plan(probe: _Probe) -> Found:
    """Return the plan that explains the box, or what speaks against any."""
    seen = [probe.alone(axis, SHAPE_POSITIONS) for axis in range(probe.n_axes)]
    if any(0 not in each or len(each) < 2 for each in seen):
        return Found(None, {}, 1, ["the box takes no positions such as 0, 1, 2, 3"], [])
    start = seen[0][0]
    pairs, loose, problem = _pairs(start, np.array([matrix for each in seen for matrix in each.values()]))
    if problem:
        return Found(None, {}, 1, [problem], [])
    if len(loose) % 2:
        return Found(
            None, {}, 1, [f"lanes {loose} are scaled or moved alone, and an odd number of them forms no pairs"], []
        )
    pairs += _loose_pairs(loose, start, pairs)
    if not pairs:
        nothing = np.zeros((0, 2), np.int64), np.zeros((0, probe.n_axes))
        return Found(RotaryPlan(probe.head_dim, *nothing, axes=_axes(probe)), {}, 1, [], [])
    lanes, out = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    turned, farthest = zip(*(_turns(probe, axis, lanes, out) for axis in range(probe.n_axes)), strict=True)
    logs, factor, centre, untold = _magnitude(probe, lanes, out)
    frequencies = np.array([[float(2 * PI * t) for t in row] for row in turned]).T
    frequencies[np.abs(frequencies) < 1e-15] = 0.0  # below what any position shows
    plan = RotaryPlan(
        head_dim=probe.head_dim, lanes=lanes, out_lanes=out, frequencies=frequencies, attention_factor=factor,
        axes=_axes(probe), log_magnitude=logs, centre=centre,
    )  # fmt: skip
    turns = {int(lane): [row[i] for row in turned] for i, lane in enumerate(lanes[:, 0])}
    near = [error for axis, each in enumerate(seen) for p, error in _errors(plan, turns, each, axis) if p < 16]
    problems = [f"near position 0 the plan misses the box by {max(near):.2g}"] if max(near) > 0.02 else []
    if _differs_in_company(probe, seen[0]):
        problems.append(
            "several positions at once turn otherwise than each alone (which the plan is from): the box depends on the length, or "
            "on the largest position"
        )
    return Found(plan, turns, min(farthest), problems, untold)


def plan_of(matrices: Mapping[tuple[float, ...], FloatArray], head_dim: int, n_axes: int) -> Found:
    """Return the plan that explains the float32 matrices of a rotation at known places, or what
    speaks against any.
    """

    def box(x: npt.NDArray[Any], positions: npt.NDArray[np.int64]) -> Any:
        """Rotate at the places that are known; others are refused."""
        places = np.atleast_2d(positions).T.tolist()
        y = np.stack([x[0, :, t] @ matrices[tuple(place)].T for t, place in enumerate(places)], axis=1)
        return y[None]

    with sixty_digits():
        return _plan(_Probe(box, head_dim, n_axes, "float32"))


def _differs_in_company(probe: _Probe, alone: dict[int, FloatArray]) -> bool:
    """Return whether a position's matrix changes with the other positions of a call."""
    places = list(alone)
    try:
        together = probe.on_axis(0, places)
    except Exception:  # it takes one at a time
        return False
    return any(
        not np.allclose(one, alone[p], rtol=0.0, atol=1e-4) for p, one in zip(places, together, strict=True) if p < 16
    )


def _axes(probe: _Probe) -> tuple[str, ...]:
    return ("position",) if probe.n_axes == 1 else tuple(f"axis{a}" for a in range(probe.n_axes))


def _pairs(start: FloatArray, matrices: FloatArray) -> tuple[list[Pair], list[int], str]:
    """Return pairs (lanes read, lanes written), lanes that only one lane writes from but that are
    scaled or moved, and a problem.
    """
    touched = np.asarray(
        (np.abs(matrices) > NOTHING).any(axis=0) | ~np.isfinite(matrices).all(axis=0)
    )  # (written, read)
    still = [
        i
        for i in range(len(start))
        if np.array_equal(matrices[:, :, i], np.broadcast_to(np.eye(len(start))[i], matrices.shape[:2]))
    ]
    groups: dict[tuple[int, ...], list[int]] = {}
    for lane in sorted(set(range(len(start))) - set(still)):
        groups.setdefault(tuple(np.flatnonzero(touched[:, lane]).tolist()), []).append(lane)
    pairs: list[Pair] = []
    loose: list[int] = []
    for written, read in groups.items():
        if len(written) == 1 and len(read) == 1:
            loose += read
        elif len(written) == 2 and len(read) == 2:
            first = written[0] if abs(start[written[0], read[0]]) > abs(start[written[1], read[0]]) else written[1]
            pairs.append(((read[0], read[1]), (first, sum(written) - first)))
        else:
            return [], [], f"lanes {read} are mixed into lanes {list(written)}: that is no rotation of pairs"
    return pairs, loose, ""


def _loose_pairs(loose: Sequence[int], start: FloatArray, pairs: Sequence[Pair]) -> list[Pair]:
    """Return pairs of lanes that are scaled, moved or negated alone; how they pair does not show,
    so the others' distance is taken.
    """
    left, found = list(loose), []
    distances = {pair[0][1] - pair[0][0] for pair in pairs}
    while left:
        lane = left.pop(0)
        near = [other for other in left if other - lane in distances]
        partner = near[0] if near else left[len(left) // 2] if not pairs else left[0]
        left.remove(partner)
        found.append(((lane, partner), (int(np.abs(start[:, lane]).argmax()), int(np.abs(start[:, partner]).argmax()))))
    return found


def _entries(matrix: FloatArray, lanes: npt.NDArray[Any], out: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Return what the two lanes of each pair say of A cos and of A sin, averaged."""
    (r0, r1), (w0, w1) = lanes.T, out.T
    return (matrix[w0, r0] + matrix[w1, r1]) / 2, (matrix[w1, r0] - matrix[w0, r1]) / 2


def _turns(probe: _Probe, axis: int, lanes: npt.NDArray[Any], out: npt.NDArray[Any]) -> tuple[list[Decimal], int]:
    """Return F / 2 pi of each pair on an axis, in (-1/2, 1/2], and the farthest position it is
    from.

    It is refined at each doubled position, until the box misses one: from there on its positions
    are other ones.
    """
    turns, farthest = [Decimal(0)] * len(lanes), 1
    for power, matrix in enumerate(_doubled(probe, axis)):
        cos, sin = _entries(matrix, lanes, out)
        angles = np.arctan2(sin, cos).tolist()
        if not all(map(math.isfinite, angles)):
            break
        missed = [Decimal(angle) / (2 * PI) - turn * 2**power for angle, turn in zip(angles, turns, strict=True)]
        missed = [miss - miss.to_integral_value() for miss in missed]
        if power and any(abs(miss) >= LOST for miss in missed):
            break
        turns, farthest = [turn + miss / 2**power for turn, miss in zip(turns, missed, strict=True)], 1 << power
    return turns, farthest


def _doubled(probe: _Probe, axis: int) -> list[FloatArray]:
    """Return the matrices at positions 1, 2, 4, .. as far as the box goes."""
    found = probe.alone(axis, [1 << power for power in range(DOUBLINGS)])
    kept = []
    for power in range(DOUBLINGS):
        if 1 << power not in found:
            break
        kept.append(found[1 << power])
    return kept


def _magnitude(
    probe: _Probe, lanes: npt.NDArray[Any], out: npt.NDArray[Any]
) -> tuple[FloatArray | None, float, float, list[str]]:
    """Return the magnitude's log (None: there is none), A, the centre, and what of them could not
    be told.
    """
    sizes = {
        p: np.hypot(*_entries(matrix, lanes, out)) for p, matrix in probe.alone(0, (0, 1, 2, 4, 8, 16, 32)).items()
    }
    near = sizes[0]
    if near.min() <= 0 or not all(np.isfinite(size).all() and size.min() > 0 for size in sizes.values()):
        return None, 1.0, 0.0, []
    places = np.array([p for p in sizes if p], np.float64)
    growth = np.array([np.log(sizes[p]) - np.log(near) for p in sizes if p]).reshape(len(places), len(lanes))
    logs = np.asarray(places @ growth / max(places @ places, 1.0))  # a magnitude's log is a line through 0
    noise = np.abs(growth - np.outer(places, logs)).max(initial=0.0) + 8 * UNIT[probe.dtype]
    if probe.n_axes > 1 or np.abs(logs).max() * places.max(initial=0.0) < 8 * noise:
        return None, _round_number(float(np.median(near)), probe.dtype), 0.0, []
    if np.ptp(logs) < 1e-9:
        return logs, float(np.median(near)), 0.0, ["A and the centre apart: all pairs grow alike"]
    slope, level = np.polyfit(-logs, np.log(near), 1)
    return logs, _round_number(float(np.exp(level)), probe.dtype), float(np.round(slope, 6)), []


def _round_number(factor: float, dtype: str) -> float:
    """Return 1 for what cannot be told from it."""
    return 1.0 if abs(factor - 1) < 16 * UNIT[dtype] else factor


def _errors(plan: RotaryPlan, turns: Turns, matrices: dict[int, FloatArray], axis: int = 0) -> list[tuple[int, float]]:
    """Return for each position the worst difference of cos and sin from the truth, in units of A.

    The truth is that of the unrounded turns: a frequency rounded to float64 is off by 2e-7 at
    position 2^31.
    """
    found = []
    for p, matrix in matrices.items():
        got = np.array(_entries(matrix, plan.lanes, plan.out))
        size = plan.attention_factor if plan.log_magnitude is None else np.hypot(*got)
        angles = [_angle(turns[lane][axis] * p) for lane in plan.lanes[:, 0].tolist()]
        with np.errstate(invalid="ignore"):
            worst = np.abs(got / size - [np.cos(angles), np.sin(angles)]).max(initial=0.0)
        found.append((p, float(worst) if math.isfinite(worst) else math.inf))
    return found


def _angle(turns: Decimal) -> float:
    """Return an angle in [-pi, pi]."""
    reduced = turns - turns.to_integral_value()
    return float(2 * PI * reduced)


def _precision(probe: _Probe, found: Found) -> Precision:
    """Return the class of the box, from odd positions: powers of two are exact in every format."""
    plan, worst = found.plan, dict[int, float]()
    assert plan is not None  # asked by the caller
    places = [p for p in ODD_POSITIONS if _is_near(plan, p)]
    matrices = [probe.alone(axis, places) for axis in range(probe.n_axes)]
    for axis, each in enumerate(matrices):
        for p, error in _errors(plan, found.turns, each, axis):
            worst[p] = min(max(worst.get(p, 0.0), error), 2.0)
    fastest = float(np.abs(plan.frequencies).max(initial=0.0))
    # A is rounded and multiplied, the result is rounded, and F is known as well as its farthest
    # position
    exact = {
        p: EXACT[probe.dtype] + 6 * UNIT[probe.dtype] + 4 * _resolution(probe.dtype, found.farthest) * p for p in worst
    }
    single = {p: min(2.0, 4 * 2.0**-24 * fastest * p) + 2.0**-23 + exact[p] for p in worst}
    wrong = [p for p in sorted(worst) if worst[p] > exact[p]]
    reached = max(worst, default=0)
    up_to = max((p for p in worst if p < wrong[0]), default=-1) if wrong else reached
    name = "exact" if not wrong else "float32" if all(worst[p] <= single[p] for p in worst) else "below float32"
    entries = np.array([_entries(matrix, plan.lanes, plan.out) for each in matrices for matrix in each.values()])
    return Precision(name, up_to, reached, tuple(sorted(worst.items())), _held_in(entries))


def _is_near(plan: RotaryPlan, position: int) -> bool:
    """Return whether a plan's magnitude, if it has one, can be told from 0 and infinity at a
    position (R-2.4).
    """
    logs = 0.0 if plan.log_magnitude is None else np.abs(plan.log_magnitude * (position - plan.centre)).max(initial=0.0)
    return bool(logs <= LARGEST_LOG_MAGNITUDE)


def _held_in(numbers: FloatArray) -> str:
    """Return the 16-bit format that holds each of some numbers, or ""; those that are 0, 1 or -1
    say nothing.
    """
    telling = numbers[np.isfinite(numbers) & (numbers != np.rint(numbers))]
    significand, _ = np.frexp(telling)
    for name, bits in (("bfloat16", 8), ("float16", 11)):
        if telling.size and (significand * 2**bits == np.rint(significand * 2**bits)).all():
            return name
    return ""


def _resolution(dtype: str, farthest: int) -> float:
    """Return how well a frequency is known: the table's error at the
    farthest position it is from.
    """
    return EXACT[dtype] / farthest


def plan_lines(plan: RotaryPlan) -> list[str]:
    """Return what a plan says, in words."""
    rotary = f"{plan.rotary_dim} of {plan.head_dim} lanes"
    span = f", from lane {int(plan.lanes.min())} to {int(plan.lanes.max())}" if plan.n_pairs else ""
    moved = "" if np.array_equal(plan.lanes, plan.out) else ", written to other lanes than those read"
    lines = [f"lanes        {plan.pairing}, {rotary}{span}{moved}", f"axes         {plan.n_axes}"]
    directions = {bool(f < 0) for row in plan.frequencies for f in row if f}
    if directions:
        lines.append(
            f"direction    {'mixed' if len(directions) > 1 else 'backwards (-1)' if True in directions else 'forwards (1)'}"
        )
    lines.append(f"factor A     {plan.attention_factor:.9g}")
    if plan.log_magnitude is not None:
        lines.append(
            f"magnitude    log a position {plan.log_magnitude.min():.3g} to {plan.log_magnitude.max():.3g}, centre {plan.centre:g}"
        )
    return lines


def _precision_lines(precision: Precision) -> list[str]:
    """Return how exact a box is, in words."""
    reached = f"{precision.reached}, the largest of those asked that it takes"
    first = f"precision    {precision.name}, exact up to position {precision.exact_up_to} of {reached}"
    first += f"; its tables are held in {precision.table}" if precision.table else ""
    losses = [f"{error:.2g} at {p}" for p, error in precision.errors if p > precision.exact_up_to]
    return [first, *([f"loses        {', '.join(losses)}"] if losses else [])]
