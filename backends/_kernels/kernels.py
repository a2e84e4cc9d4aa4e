"""The compiled kernels.  A kernel is given the address of a job, and takes chunks of it until none
is left.

So one thread or many may run it on the same job: which of them takes a chunk changes no bit.  A
kernel holds no lock, calls nothing of Python and cannot raise.  It is compiled for one storage
format and one way of pairing when it is first needed.
"""

# pyright: reportCallIssue=false, reportIndexIssue=false
# (an intrinsic is called without the typing context that its definition takes)

import ctypes
from typing import Any

import numba
import numpy as np
from numba import carray, types

from . import job as place
from .code_files import Kernel
from .intrinsics import (
    add_phase,
    claim,
    copy,
    cos_sin,
    fetch,
    floats,
    integers,
    invoke,
    invoke_join,
    invoke_number,
    invoke_start,
    invoke_team,
    turn,
)  # fmt: skip

WIDTH = 16  # pairs at a time: a cache line of float32
AHEAD = 4096  # bytes before x is needed, it is asked for: processors do not foresee two lines of a row at once
CACHE_LINE = 64
ROWS = 32  # of a table, made together: they stay in the first cache
_SIGNATURE = types.void(types.CPointer(types.int64))


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def address_of(array: Any) -> Any:
    """Return the address of an array as int64; Numba's own is a uint64, and becomes a float64 when
    an int64 joins it.
    """
    return np.int64(array.ctypes.data)


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def line_of(array: Any) -> Any:
    """Return where the first cache line begins in an array: a vector that crosses lines is loaded
    twice.
    """
    return -(-address_of(array) // CACHE_LINE) * CACHE_LINE


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def make_rows(
    positions: Any, start: Any, first: Any, last: Any, step: Any, count: Any, axes: Any, n: Any,
    high: Any, low: Any, cos: Any, sin: Any, factor: Any, zeros: Any,
) -> None:  # fmt: skip
    """Write the float32 cos and sin of positions first, first + step, .. before last, n numbers
    each.  R-10.2

    Position t is that of each axis in `positions`, or start + t where it is 0.  zeros: the address
    of n zeros.  Phases come first, where cos is written afterwards: two short loops keep a
    processor busier than one long one.
    """
    size = 0
    for t in range(first, last, step):
        for a in range(axes):
            p = np.int32(integers(positions)[a * count + t] if positions else start + t)
            at, to, k = 4 * n * a, cos + 4 * size, 0
            before = to if a else zeros
            while k + WIDTH <= n:
                add_phase(WIDTH, p, high + at + 4 * k, low + at + 4 * k, before + 4 * k, to + 4 * k)
                k += WIDTH
            while k < n:
                add_phase(1, p, high + at + 4 * k, low + at + 4 * k, before + 4 * k, to + 4 * k)
                k += 1
        size += n
    k = 0
    while k + WIDTH <= size:
        cos_sin(WIDTH, cos + 4 * k, cos + 4 * k, sin + 4 * k, factor)
        k += WIDTH
    while k < size:
        cos_sin(1, cos + 4 * k, cos + 4 * k, sin + 4 * k, factor)
        k += 1


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def first_chunk(j: Any) -> Any:
    """Return the chunk that this thread begins with: in small work that of its last call, part of
    which its cache still holds.
    """
    return (invoke_number(j[place.NUMBER]) if j[place.NUMBER] else 0) * j[place.CHUNKS] // j[place.THREADS]


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def taken(claims: Any, chunk: Any) -> Any:
    """Return whether another thread has taken a chunk, and take it if none has."""
    word, bit = claims + 8 * (chunk >> 6), 1 << (chunk & 63)
    return integers(word)[0] & bit or claim(word, bit) & bit


def rotation(  # noqa: PLR0915
    form: str, read: str, write: str, plain: bool, in_place: bool, whole: int, makes: bool
) -> Kernel:
    """Return the kernel for tensors of a storage format whose pairs are read and written in these
    ways.

    It computes R-2.1 for every row of a job's parts; the words are those of `job.Lanes`, `job.Job`
    and `intrinsics.turn`. whole: 0, or how many pairs every row has, which are then turned at once.
    makes: it makes its rows of cos and sin.
    """
    words = "rotation", form, read, write, int(plain), int(in_place), whole, int(makes)
    size, wide = place.SIZES[form], 8 if form == "float64" else 4
    scattered = read == "scattered"
    way_in, way_out = ("halves", "halves") if scattered else (read, write)
    next_in, next_out = size * (2 if way_in == "steps" else 1), size * (2 if way_out == "steps" else 1)
    broad, width, few = CACHE_LINE // size, min(CACHE_LINE // size, WIDTH), 32 // wide // 2
    kind = "made" if makes else "given"
    row, span_in, span_out = whole or 1, whole * next_in, whole * next_out

    def work(job: Any) -> None:  # noqa: PLR0915  # one piece: a call would cost more than a row
        j = carray(job, (place.HEADER + 2 * place.PART,))
        claims, chunks, pieces, begins = address_of(j), j[place.CHUNKS], j[place.PIECES], first_chunk(j)
        bounced = np.empty(size * max(j[place.HEADER + place.LANES], 1), np.uint8)
        positions, start, count = j[place.POSITIONS], j[place.START], j[place.COUNT]
        axes, high, low = j[place.AXES], j[place.HIGH], j[place.LOW]
        factor = floats(address_of(j) + 8 * place.FACTOR)[0]
        longest = 1  # block of tokens
        for part in range(j[place.PARTS]):
            p = place.HEADER + part * place.PART
            if j[p + place.TABLE_STEP + j[p + place.TOKENS]]:
                longest = max(longest, j[p + place.BLOCK])
        rows = np.empty(2 * longest * j[place.HEADER + place.PAIRS] + CACHE_LINE if makes else 0, np.float32)
        zeros = np.zeros(max(j[place.HEADER + place.PAIRS], 1) if makes else 0, np.uint32)
        all_cos = 4 * longest * j[place.HEADER + place.PAIRS]
        made, made_step, made_end = -1, -1, -1  # which rows are in `rows`
        for after in range(chunks):
            chunk = (begins + after) % chunks
            if taken(claims, chunk):
                continue
            for piece in range(pieces * chunk // chunks, pieces * (chunk + 1) // chunks):
                for part in range(j[place.PARTS]):  # a piece holds the same share of q and of k: all weigh the same
                    p = place.HEADER + part * place.PART
                    units, block, tokens = j[p + place.UNITS], j[p + place.BLOCK], j[p + place.TOKENS]
                    s = p + place.SIZE
                    n0, n1, n2, n3 = j[s], j[s + 1], j[s + 2], j[s + 3]
                    s = p + place.X_STEP
                    x_step0, x_step1, x_step2, x_step = j[s], j[s + 1], j[s + 2], j[s + 3]
                    s = p + place.Y_STEP
                    y_step0, y_step1, y_step2, y_step = j[s], j[s + 1], j[s + 2], j[s + 3]
                    s = p + place.TABLE_STEP
                    t_step0, t_step1, t_step2, t_step = j[s], j[s + 1], j[s + 2], j[s + 3]
                    pairs, lanes, x_lane, y_lane = (
                        j[p + place.PAIRS],
                        j[p + place.LANES],
                        j[p + place.X_LANE],
                        j[p + place.Y_LANE],
                    )
                    r0, r1, w0, w1 = (
                        j[p + place.READ_0],
                        j[p + place.READ_1],
                        j[p + place.WRITE_0],
                        j[p + place.WRITE_1],
                    )
                    copies, bounces = j[p + place.COPIES], j[p + place.BOUNCES]
                    length0 = block if tokens == 0 else n0
                    length1 = block if tokens == 1 else n1
                    length2 = block if tokens == 2 else n2
                    soon, most = max(AHEAD // (lanes * size), 1), 0 if scattered else pairs // broad * broad
                    n_tokens, along = j[p + place.SIZE + tokens], j[p + place.TABLE_STEP + tokens]

                    for number in range(units * piece // pieces, units * (piece + 1) // pieces):
                        # the block of tokens and the place in the three outer loops of this unit
                        unit = number
                        i2, unit = unit % length2, unit // length2
                        i1, unit = unit % length1, unit // length1
                        i0, unit = unit % length0, unit // length0
                        first, inside, begin, end = unit * block, 0, 0, n3
                        if tokens == 0:
                            i0, inside = i0 + first, i0
                        elif tokens == 1:
                            i1, inside = i1 + first, i1
                        elif tokens == 2:
                            i2, inside = i2 + first, i2
                        else:
                            begin, end = first, min(first + block, n3)
                        if i0 >= n0 or i1 >= n1 or i2 >= n2:  # beyond the end of the last block
                            continue
                        at = i0 * t_step0 + i1 * t_step1 + i2 * t_step2 + begin * t_step
                        if makes:
                            at -= inside * along
                            last = at + (min(block, n_tokens - first) * along if along else 1)
                            if at != made or along != made_step or last != made_end:
                                made, made_step, made_end = at, along, last
                                make_rows(
                                    positions, start, at, last, along if along else 1, count, axes, pairs, high, low,
                                    line_of(rows), line_of(rows) + all_cos, factor, address_of(zeros),
                                )  # fmt: skip
                            pc = line_of(rows) + (inside * 4 * pairs if along else 0)
                            ps = pc + all_cos
                            next_row = 4 * pairs if t_step else 0
                        else:
                            pc, ps, next_row = j[p + place.COS] + at, j[p + place.SIN] + at, t_step
                        x = j[p + place.X] + i0 * x_step0 + i1 * x_step1 + i2 * x_step2 + begin * x_step
                        py = j[p + place.Y] + i0 * y_step0 + i1 * y_step1 + i2 * y_step2 + begin * y_step

                        to_next_x, to_next_y = x_step2 - (end - begin) * x_step, y_step2 - (end - begin) * y_step
                        for left in range(end - begin, 0, -1):
                            px, ahead, y_ahead = x, soon * x_step, soon * y_step
                            if left <= soon:
                                ahead, y_ahead = ahead + to_next_x, y_ahead + to_next_y
                            if not plain and copies:
                                for lane in range(lanes):
                                    copy(size, px + lane * x_lane, py + lane * y_lane)
                            if not plain and bounces:  # in place, and a lane may be written before its pair reads it
                                for lane in range(lanes):
                                    copy(size, px + lane * x_lane, address_of(bounced) + lane * size)
                                px, ahead = address_of(bounced), 0
                            if scattered:
                                for k in range(pairs):
                                    x0, x1 = px + integers(r0)[k], px + integers(r1)[k]
                                    y0, y1 = py + integers(w0)[k], py + integers(w1)[k]
                                    turn(form, 1, way_in, way_out, kind, x0, x1, y0, y1, pc + wide * k, ps + wide * k)
                            x0, x1, y0, y1 = px + r0, px + r1, py + w0, py + w1
                            if whole:
                                for at in range(0, span_in, CACHE_LINE):
                                    fetch("read", x0 + at + ahead)
                                    if way_in != "steps":
                                        fetch("read", x1 + at + ahead)
                                if not in_place:
                                    for at in range(0, span_out, CACHE_LINE):
                                        fetch("write", y0 + at + y_ahead)
                                        if way_out != "steps":
                                            fetch("write", y1 + at + y_ahead)
                                turn(form, row, way_in, way_out, kind, x0, x1, y0, y1, pc, ps)
                                x, py, pc, ps = x + x_step, py + y_step, pc + next_row, ps + next_row
                                continue
                            for k in range(0, most, broad):
                                i, o, t = k * next_in, k * next_out, k * wide
                                fetch("read", x0 + i + ahead)
                                fetch("read", (x0 + CACHE_LINE if way_in == "steps" else x1) + i + ahead)
                                if not in_place:
                                    fetch("write", y0 + o + y_ahead)
                                    fetch("write", (y0 + CACHE_LINE if way_out == "steps" else y1) + o + y_ahead)
                                turn(form, broad, way_in, way_out, kind, x0 + i, x1 + i, y0 + o, y1 + o, pc + t, ps + t)
                            k = pairs if scattered else most
                            while k + width <= pairs:
                                i, o, t = k * next_in, k * next_out, k * wide
                                turn(form, width, way_in, way_out, kind, x0 + i, x1 + i, y0 + o, y1 + o, pc + t, ps + t)
                                k += width
                            while k + few <= pairs:
                                i, o, t = k * next_in, k * next_out, k * wide
                                turn(form, few, way_in, way_out, kind, x0 + i, x1 + i, y0 + o, y1 + o, pc + t, ps + t)
                                k += few
                            while k < pairs:
                                i, o, t = k * next_in, k * next_out, k * wide
                                turn(form, 1, way_in, way_out, kind, x0 + i, x1 + i, y0 + o, y1 + o, pc + t, ps + t)
                                k += 1
                            x, py, pc, ps = x + x_step, py + y_step, pc + next_row, ps + next_row

    return Kernel("-".join(map(str, words)), work, _SIGNATURE, None)


def tables() -> Kernel:
    """Return the kernel that makes float32 cos and sin from integer positions, with the bits of
    R-10.2.

    The job's part tells where they go, (count, pairs) each; their positions are those of
    `make_rows`.
    """

    def work(job: Any) -> None:
        j = carray(job, (place.HEADER + place.PART,))
        claims, chunks, begins, count = address_of(j), j[place.CHUNKS], first_chunk(j), j[place.COUNT]
        n, factor = j[place.HEADER + place.PAIRS], floats(address_of(j) + 8 * place.FACTOR)[0]
        cos, sin = j[place.HEADER + place.COS], j[place.HEADER + place.SIN]
        zeros = np.zeros(max(n, 1), np.uint32)
        for after in range(chunks):
            chunk = (begins + after) % chunks
            if taken(claims, chunk):
                continue
            end = count * (chunk + 1) // chunks
            for t in range(count * chunk // chunks, end, ROWS):
                make_rows(
                    j[place.POSITIONS], j[place.START], t, min(t + ROWS, end), 1, count, j[place.AXES], n,
                    j[place.HIGH], j[place.LOW], cos + 4 * n * t, sin + 4 * n * t, factor, address_of(zeros),
                )  # fmt: skip

    return Kernel("tables", work, _SIGNATURE, None)


# What a launch is given: where the job lies that it copies and fills in, the code that runs it, the
# addresses of a `thread_pool.Team`, and how many threads run it
TEMPLATE, LENGTH, CODE, RUN, NUMBER, START, JOIN, THREADS, CHUNKS, PIECES, FIRST, IDS, N_IDS, PLACES = range(14)
REQUEST = PLACES + 8
REACH = (1 << 31) - 1


def launch() -> Kernel:
    """Return the function that runs a job: all that is left to do of a call, in one call.

    It copies the job, so that a job can be run by many at once, and runs it in its caller alone, by
    an OpenMP runtime, or with threads that it starts.  When it returns, all have ended.  If a
    position is out of range (R-7.1) it has done nothing and returns 0.
    """

    def work(request: Any) -> Any:
        r = carray(request, (REQUEST,))
        length, template = r[LENGTH], integers(r[TEMPLATE])
        own = np.empty(place.HEADER + 2 * place.PART, np.int64)
        address = address_of(own)
        j = integers(address)
        for i in range(length):
            j[i] = template[i]
        if r[IDS]:
            positions, wrong = integers(r[IDS]), 0
            for i in range(r[N_IDS] * template[place.AXES]):
                wrong |= (positions[i] > REACH) | (positions[i] < -REACH)
            if wrong:
                return 0
        j[place.THREADS], j[place.NUMBER] = r[THREADS], r[NUMBER]
        j[place.CHUNKS], j[place.PIECES] = r[CHUNKS], r[PIECES]
        j[place.POSITIONS], j[place.START], j[place.COUNT] = r[IDS], r[FIRST], r[N_IDS]
        at = PLACES
        for p in range(place.HEADER, length, place.PART):
            for i in (place.X, place.Y, place.COS, place.SIN):
                j[p + i] = r[at]
                at += 1
        if r[RUN]:
            invoke_team(r[RUN], r[CODE], address, r[THREADS])
        else:
            handles, started = np.empty(r[THREADS], np.int64), 0
            while started < min(r[THREADS], r[CHUNKS]) - 1:
                if invoke_start(r[START], address_of(handles) + 8 * started, r[CODE], address):
                    break  # the system has no more threads: those that there are take all chunks
                started += 1
            invoke(r[CODE], address)
            for i in range(started):
                invoke_join(r[JOIN], handles[i])
        own[place.CLAIMS] = 0  # Numba frees an array after its last use, and does not see that of its address
        return 1

    return Kernel("launch", work, types.int64(types.CPointer(types.int64)), ctypes.c_int64)
