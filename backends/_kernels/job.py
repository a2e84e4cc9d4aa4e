"""A job: everything that a kernel reads, as one row of integers (addresses, sizes, strides in
bytes).

A job says where q (and k) lie, in which order their rows are walked, and which lanes form a pair.
It is worked out once for each combination of shapes and strides; a call fills in the addresses and
nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ropecore.plan import RotaryPlan
from ropecore.precision import limbs

SIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}  # bytes an element
LOOPS = 4  # nested loops over rows: batch, heads, groups and tokens
BLOCK_BYTES = 1 << 14  # of rows of cos and sin: they stay in a core's first cache while the heads go by
FAR = 1 << 26  # bytes read and written: beyond, memory wants long runs more than the first cache wants short blocks ..
FAR_BLOCK_BYTES = 1 << 19  # .. and these stay in a core's second cache
COMMON = 32, 64  # numbers of pairs, those of head_dim 64 and 128: kernels of their own turn whole rows
PARTED = 32  # pairs of bfloat16 that one vector of 32-bit words holds half of
SHARES = 8  # of the tokens: with fewer, there is no work for all threads ..
SHORTEST = 16  # .. but no share is shorter, where rows lie together token after token

# A job's places.  First a bit for each chunk that is taken, away from the others: every thread
# writes to them. A chunk is what a thread takes at a time; it is walked in pieces, first of q and
# then of k.
CLAIMS, CHUNKS, PARTS, THREADS, NUMBER, PIECES, HEADER = 0, 16, 17, 18, 19, 28, 32
MOST_CHUNKS = 64 * CHUNKS
POSITIONS, START, COUNT, AXES, HIGH, LOW, FACTOR = range(20, 27)  # of a job that makes its rows of cos and sin
X, Y, COS, SIN, UNITS, BLOCK, TOKENS = range(7)
SIZE, X_STEP, Y_STEP, TABLE_STEP = 7, 7 + LOOPS, 7 + 2 * LOOPS, 7 + 3 * LOOPS
PAIRS, LANES, READ_0, READ_1, WRITE_0, WRITE_1, X_LANE, Y_LANE, COPIES, BOUNCES = range(7 + 4 * LOOPS, 17 + 4 * LOOPS)
PART = 40  # integers for each of q and k


class Strides(NamedTuple):
    """How a tensor lies in memory: its shape, and its strides in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Walk(NamedTuple):
    """Loops over the rows of a tensor, outermost first, and the loop over tokens, which is cut into
    blocks.

    sizes, x, y, table: LOOPS integers each, strides in bytes.  tokens: which of the loops.  block:
    tokens in a block.
    """

    sizes: tuple[int, ...]
    x: tuple[int, ...]
    y: tuple[int, ...]
    table: tuple[int, ...]
    tokens: int
    block: int

    @property
    def blocks(self) -> int:
        """Return the number of blocks of tokens, in all batch rows that have positions of their
        own.
        """
        others = [size for loop, size in enumerate(self.sizes) if self.table[loop] and loop != self.tokens]
        return -(-self.sizes[self.tokens] // self.block) * prod(others)

    @property
    def units(self) -> int:
        """Return the number of runs along the innermost loop."""
        blocks = -(-self.sizes[self.tokens] // self.block)
        lengths = [self.block if loop == self.tokens else size for loop, size in enumerate(self.sizes)]
        return blocks * prod(lengths[:-1])


class Lanes(NamedTuple):
    """Which lanes form a pair, in the words of a kernel.

    read, write: "halves", "steps" or "scattered" (see `vectors.turn`).  numbers: the first lane of
    the four columns, or, scattered, the columns themselves.  moved: lanes written differ from lanes
    read, so that in place a row bounces.
    """

    read: str
    write: str
    columns: tuple[tuple[int, ...], ...]
    moved: bool


@lru_cache(maxsize=512)
def lanes_of(plan: RotaryPlan, reads: str, writes: str) -> Lanes:
    """Return the lanes of a plan.  reads, writes: "lanes" or "out_lanes", which the transpose
    exchanges (R-9.2).
    """
    read, write = (plan.out if name == "out_lanes" else plan.lanes for name in (reads, writes))
    columns = tuple(tuple(int(lane) for lane in column) for column in (*read.T, *write.T))
    ways = _way(*columns[:2]), _way(*columns[2:])
    if "scattered" in ways:
        ways = "scattered", "scattered"
    return Lanes(*ways, columns, moved=not np.array_equal(np.sort(read, axis=1), np.sort(write, axis=1)))


def _way(first: Sequence[int], second: Sequence[int]) -> str:
    if all(b == a + 1 for a, b in zip(first, second, strict=True)) and _steps(first, 2):
        return "steps" if len(first) > 1 else "halves"  # one pair is both
    return "halves" if _steps(first, 1) and _steps(second, 1) else "scattered"


def _steps(lanes: Sequence[int], by: int) -> bool:
    return all(b - a == by for a, b in pairwise(lanes))


def walk(
    x: Strides, y: Strides, table: Strides, size: int, wide: int, makes: bool = False, far: bool = False
) -> Walk | None:
    """Return the loops over the rows of x, whose last dimension is a row; None if they need more
    than LOOPS.

    table broadcasts against x: its dimensions of size 1 have no stride.  size, wide: bytes of an
    element of x and of table. makes: there is no table, and its strides, in rows, tell the
    positions.  far: x does not lie in a cache.  The loops run in the order in which x lies in
    memory, and those that can be walked as one are one.
    """
    steps = [
        (n, size * a, size * b, (1 if makes else wide) * c if m > 1 else 0)
        for n, m, a, b, c in zip(x.shape, table.shape, x.strides, y.strides, table.strides, strict=True)
    ][:-1]
    loops: list[tuple[int, ...]] = []
    for loop in sorted((loop for loop in steps if loop[0] != 1), key=lambda loop: -abs(loop[1])):
        if loops and all(outer == loop[0] * inner for outer, inner in zip(loops[-1][1:], loop[1:], strict=True)):
            loops[-1] = (loops[-1][0] * loop[0], *loop[1:])
        else:
            loops.append(loop)
    if len(loops) > LOOPS:
        return None
    loops = [(1, 0, 0, 0)] * (LOOPS - len(loops)) + loops
    moving = [loop for loop in range(LOOPS) if loops[loop][3]]
    tokens = min(moving, key=lambda loop: abs(loops[loop][3])) if moving else LOOPS - 1
    sizes, xs, ys, ts = zip(*loops, strict=True)
    rows = (FAR_BLOCK_BYTES if far and tokens == LOOPS - 1 else BLOCK_BYTES) // (2 * wide * max(table.shape[-1], 1))
    if makes and moving:
        rows = min(rows, max(sizes[tokens] // SHARES, SHORTEST if tokens == LOOPS - 1 else 1))
        if moving[-1] > tokens:  # positions change faster than tokens go by: rows are made one by one
            if ts[-1]:
                return None
            rows = 1
    return Walk(sizes, xs, ys, ts, tokens, max(1, min(rows, sizes[tokens])))


class Part(NamedTuple):
    """How one tensor is rotated: everything but addresses.  table: that of cos and of sin alike."""

    x: Strides
    y: Strides
    table: Strides
    in_place: bool


@dataclass(frozen=True, eq=False)
class Job:
    """A job without addresses.  numbers: its bytes, and their address.  n_bytes: what is read and
    written.

    plain: every row is read where it lies, and nothing of it is copied.  in_place: it is written
    there, too.  far: the tensors do not lie in a core's cache.  whole: how many pairs a row has,
    where it is turned at once, or 0.  makes: it makes its rows of cos and sin. blocks: of tokens,
    into which the work is best cut; 0 where that does not matter.
    """

    form: str
    read: str
    write: str
    plain: bool
    in_place: bool
    far: bool
    whole: int
    makes: bool
    numbers: npt.NDArray[np.int64]
    address: int
    n_bytes: int
    blocks: int
    keep: tuple[Any, ...]  # arrays that the numbers point to


@lru_cache(maxsize=4096)
def job(plan: RotaryPlan, form: str, parts: tuple[Part, ...], reads: str, writes: str, makes: bool) -> Job | None:
    """Return the job that rotates these parts, or None for what the kernels do not do (the caller
    has another way).
    """
    lanes, size, wide = lanes_of(plan, reads, writes), SIZES[form], 8 if form == "float64" else 4
    apart = any(tensor.strides[-1] != 1 for part in parts for tensor in (part.x, part.y))
    scattered = apart or lanes.read == "scattered"
    numbers = np.zeros(HEADER + PART * len(parts), np.int64)
    keep: list[Any] = []
    n_bytes = sum(2 * size * prod(part.x.shape) for part in parts)
    blocks, plain, far = 0, True, n_bytes > FAR
    for p, part in enumerate(parts):
        at = walk(part.x, part.y, part.table, size, wide, makes, far)
        if at is None or (plan.n_pairs > 1 and part.table.strides[-1] != 1):
            return None
        bounces = part.in_place and lanes.moved
        x_lane, y_lane = size * part.x.strides[-1], size * part.y.strides[-1]
        read_lane = size if bounces else x_lane  # a row that bounced lies lane by lane
        columns = [
            [step * lane for lane in column]
            for step, column in zip((read_lane, read_lane, y_lane, y_lane), lanes.columns, strict=True)
        ]
        if scattered:
            arrays = [np.array(column, np.int64) for column in columns]
            keep += arrays
            offsets = [array.ctypes.data for array in arrays]
        else:
            offsets = [column[0] if column else 0 for column in columns]
        copies = not part.in_place and plan.rotary_dim < plan.head_dim
        plain = plain and not (copies or bounces)
        row = numbers[HEADER + PART * p : HEADER + PART * (p + 1)]
        row[[UNITS, BLOCK, TOKENS]] = at.units, at.block, at.tokens
        row[SIZE : SIZE + 4 * LOOPS] = [*at.sizes, *at.x, *at.y, *at.table]
        row[[PAIRS, LANES]] = plan.n_pairs, plan.head_dim
        row[[READ_0, READ_1, WRITE_0, WRITE_1]] = offsets
        row[[X_LANE, Y_LANE, COPIES, BOUNCES]] = x_lane, y_lane, copies, bounces
        blocks = max(blocks, at.blocks) if makes else 0
    numbers[PARTS] = len(parts)
    ways = ("scattered", "scattered") if scattered else (lanes.read, lanes.write)
    words = form == "bfloat16" and ways == ("halves", "halves")
    if makes:
        keep += put_angles(plan, numbers, plan.attention_factor, parted(plan.n_pairs) if words else slice(None))
    return Job(
        form,
        *ways,
        plain,
        all(part.in_place for part in parts),
        far,
        plan.n_pairs if plan.n_pairs in COMMON and not scattered and form != "float64" else 0,
        makes,
        numbers,
        numbers.ctypes.data,
        n_bytes,
        blocks,
        tuple(keep),
    )


def put_angles(
    plan: RotaryPlan, numbers: npt.NDArray[np.int64], factor: float, order: npt.NDArray[np.intp] | slice = slice(None)
) -> list[Any]:
    """Write to a job what rows of cos and sin, times a factor, are made from; return the arrays
    that it now points to.

    order: that of the pairs in a row.
    """
    high, low = (np.ascontiguousarray(limb.T[:, order], np.uint32) for limb in limbs(plan, 64))  # (n_axes, n_pairs)
    numbers[[AXES, HIGH, LOW]] = plan.n_axes, high.ctypes.data, low.ctypes.data
    numbers[FACTOR : FACTOR + 1].view(np.float32)[0] = factor
    return [high, low]


def parted(n_pairs: int) -> npt.NDArray[np.intp]:
    """Return the order of rows that are made for halves of bfloat16: of each PARTED pairs, the even
    ones first and then the odd ones.

    Two bfloat16 of one 32-bit word are an even lane and an odd one, which no shuffle then has to
    bring to their numbers.
    """
    order, n = np.arange(n_pairs), n_pairs // PARTED * PARTED
    order[:n] = order[:n].reshape(-1, PARTED // 2, 2).swapaxes(1, 2).ravel()
    return order
