"""The truth: everything that follows from a plan, exactly, with the error model of R-10.6.

Nothing is rounded here but by the 60 digits: results are rounded once where they are stored.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mpmath import cos, fsum, isfinite, log, mpf, nint, pi, sin

from . import rules
from .numbers import ZERO, Array, Exact, exact
from .plan import Plan, Row, rows
from .tensor import Coordinates, Where, vectors

U = mpf(2) ** -24  # unit roundoff of float32
ETA = mpf(2) ** -149  # its smallest subnormal
TABLE = mpf("1.2e-7")
FEW_AXES, PHASE = 8, mpf(2) ** -29  # integer axes beyond these, and what each adds
SIGNS = {"q": 1, "k": -1}


@dataclass(frozen=True)
class Turn:
    """What one row does at one position: a cosine, a sine, the multiplier M, and the error t of a
    table (R-10.6).
    """

    cos: Exact
    sin: Exact
    scale: Exact
    error: Exact

    def back(self) -> "Turn":
        """Return the transpose (R-9.2)."""
        return replace(self, sin=-self.sin)

    def inverse(self, plain: bool) -> "Turn":
        """Return the inverse (R-9.3); plain: M is 1 for every row and position."""
        error = self.error / self.scale**2 + (0 if plain else 4 * U / self.scale)
        return Turn(self.cos, -self.sin, 1 / self.scale, error)


@dataclass(frozen=True)
class Values:
    """A tensor's exact values and the bound of each."""

    values: list[Exact]
    bounds: list[Exact]


def phase(row: Row, at: Coordinates) -> Exact:
    """Return phi_j, the sum over axes of F p (R-2.1)."""
    return fsum(exact(f) * exact(p) for f, p in zip(row.frequency, at, strict=True))


def of_axes(plan: Plan, row: Row, at: Coordinates) -> Exact:
    """Return what real axes (R-10.7) and integer axes beyond eight (R-10.9) add to the error of a
    table.

    On a real axis F / (2 pi) and its product with p are rounded, and p too where float32 does not
    hold it.
    """
    more = max(0, plan["axis_kinds"].count("integer") - FEW_AXES)
    return more * PHASE + real_phase(plan, row, at)


def real_phase(plan: Plan, row: Row, at: Coordinates) -> Exact:
    """Return what the roundings of real axes add (R-10.7)."""
    real = [
        (exact(f), exact(p)) for f, p, kind in zip(row.frequency, at, plan["axis_kinds"], strict=True) if kind == "real"
    ]
    return fsum((3 if lost(p) else 2) * U * abs(f * p) for f, p in real)


def turn(plan: Plan, row: Row, at: Coordinates, role: str = "q") -> Turn:
    """Return what a row does at a position (R-2.1, R-2.4)."""
    a, angle = exact(plan["attention_factor"]), phase(row, at)
    scale, stretch = a, ZERO
    if row.log_magnitude is not None:
        distance = exact(at[0]) - exact(plan["centre"])
        scale = a * rules.magnitude(row.log_magnitude, distance, SIGNS[role])
        stretch = (3 * abs(exact(row.log_magnitude) * distance) + 4) * U
    error = scale * (TABLE + of_axes(plan, row, at) + (2 * U if a != 1 else 0) + stretch)
    return Turn(cos(angle), sin(angle), scale, error)


def turn_pair(turn: Turn, x1: Exact, x2: Exact) -> list[tuple[Exact, Exact]]:
    """Return the two results of a pair, each with its bound (R-2.1, R-10.6)."""
    c, s, m = turn.cos, turn.sin, turn.scale

    def bound(result: Exact, one: Exact, other: Exact) -> Exact:
        if not isfinite(result):
            return ZERO
        tables, products = turn.error * (abs(x1) + abs(x2)), 2 * U * m * (abs(one) + abs(other))
        return tables + products + 2 * ETA + abs(result) / 2**53 + m * (lost(x1) + lost(x2))

    first, second = m * (x1 * c - x2 * s), m * (x1 * s + x2 * c)
    return [(first, bound(first, x1 * c, x2 * s)), (second, bound(second, x1 * s, x2 * c))]


def lost(x: Exact) -> Exact:
    """Return what a number loses when it is held in float32, such as 0.1: inputs of documents,
    coordinates of real axes.
    """
    return abs(x - exact(struct.unpack("f", struct.pack("f", float(x)))[0]))


def transform(
    x: Array, tensor_format: str, where: Where, table: list[Row], turns: Callable[[Coordinates], list[Turn]]
) -> Values:
    """Turn the pairs of every vector of x; lanes in no row pass through
    with the bound 0 (R-2.2).
    """
    values, bounds = [exact(number) for number in x["data"]], [ZERO] * len(x["data"])
    given, known = list(values), {}
    for vector in vectors(tensor_format, x["shape"]):
        at = where(vector.row, vector.token)
        if at not in known:
            known[at] = turns(at)
        for row, turned in zip(table, known[at], strict=True):
            pair = turn_pair(turned, *(given[vector.start + lane] for lane in row.read))
            for lane, (value, bound) in zip(row.written, pair, strict=True):
                values[vector.start + lane], bounds[vector.start + lane] = value, bound
    return Values(values, bounds)


def rotate(
    plan: Plan, x: Array, where: Where, tensor_format: str = "bhsd", role: str = "q", mode: str = "forward"
) -> Values:
    """Rotate x: forward (R-2.1), transpose (R-9.2) or inverse (R-9.3)."""
    table = rows(plan)
    plain = plan["attention_factor"] == 1 and plan["log_magnitude"] is None
    change: dict[str, Callable[[Turn], Turn]] = {
        "forward": lambda turn: turn,
        "transpose": Turn.back,
        "inverse": lambda turn: turn.inverse(plain),
    }

    def turns(at: Coordinates) -> list[Turn]:
        return [change[mode](turn(plan, row, at, role)) for row in table]

    moves = table if mode == "forward" else [replace(row, read=row.written, written=row.read) for row in table]
    return transform(x, tensor_format, where, moves, turns)


def shift(plan: Plan, x: Array, delta: int) -> Values:
    """Move rotated keys by delta on every axis: R(delta F) on the lanes
    written, without A (R-9.5).
    """
    moved = plan | {"attention_factor": 1.0, "centre": 0.0, "lanes": plan["out_lanes"]}
    return rotate(moved, x, lambda row, token: (delta,) * len(plan["axes"]), role="k")


def tables(plan: Plan, places: Iterable[Coordinates], role: str = "q") -> tuple[Values, Values]:
    """Return cos and sin of each place and row, with A and the magnitude (chapter 8), and their
    bounds.
    """
    turns = [turn(plan, row, at, role) for at in places for row in rows(plan)]

    def table(values: list[Exact]) -> Values:
        return Values(values, [t.error + abs(v) / 2**53 for t, v in zip(turns, values, strict=True)])

    return table([t.scale * t.cos for t in turns]), table([t.scale * t.sin for t in turns])


def angles(plan: Plan, places: Iterable[Coordinates]) -> Values:
    """Return the angles, reduced to [-pi, pi] (R-8.2).

    The bound is pi 2^-22: an angle below pi rounded to float32, after a product of two factors that
    are rounded too.
    """
    found = [(row, at, phase(row, at)) for at in places for row in rows(plan)]
    reduced = [angle - 2 * pi * nint(angle / (2 * pi)) for _, _, angle in found]
    return Values(reduced, [4 * U * pi + real_phase(plan, row, at) for row, at, _ in found])


def scores(q: tuple[Array, Values], k: tuple[Array, Values]) -> tuple[list[int], Values]:
    """Return q.k of rotated q (b, h, s, d) and k (b, g, t, d), heads of k shared by groups.

    The bound is that of the rotated lanes carried through, and of a sum of D products in float32.
    """
    (batch, heads, queries, dim), (_, groups, keys, _) = q[0]["shape"], k[0]["shape"]
    values, bounds = [], []
    for b, h, i, j in product(batch, heads, queries, keys):
        group = h * groups // heads
        at = ((b * heads + h) * queries + i) * dim
        to = ((b * groups + group) * keys + j) * dim
        lanes = [
            (q[1].values[at + n], q[1].bounds[at + n], k[1].values[to + n], k[1].bounds[to + n]) for n in range(dim)
        ]
        total = fsum(y * z for y, _, z, _ in lanes)
        carried = fsum(abs(y) * bz + abs(z) * by + by * bz for y, by, z, bz in lanes)
        size = fsum((abs(y) + by) * (abs(z) + bz) for y, by, z, bz in lanes)
        values.append(total)
        bounds.append(carried + (dim + 1) * U * size + abs(total) / 2**53)
    return [batch, heads, queries, keys], Values(values, bounds)


def product(*sizes: int) -> Iterable[tuple[int, ...]]:
    """Yield every index of an array of these sizes in C order."""
    if not sizes:
        yield ()
        return
    for first in range(sizes[0]):
        for rest in product(*sizes[1:]):
            yield (first, *rest)


def sinusoid(places: Iterable[int], dim: int, base: float) -> Values:
    """Return the sinusoidal encoding of the original Transformer, sin
    and cos in turn (chapter 8).
    """
    series = rules.powers(exact(base), rules.Series(dim // 2, dim, base))
    values, bounds = [], []
    for p in places:
        for j, f in enumerate(series):
            values += [sin(p * f), cos(p * f)]
            relative = (4 + abs(log(exact(base))) * 2 * j / dim) / 2**53
            bounds += [TABLE + abs(p * f) * relative] * 2
    return Values(values, bounds)
