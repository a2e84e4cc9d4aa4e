"""One pass over q and k on a CPU: the kernels behind the NumPy and torch adapters.  Needs the extra
"fast" (Numba).

It knows no framework: a tensor is an address with shape, strides and a storage format, so NumPy
arrays and torch tensors are rotated where they lie, in place or into an output.  The bits are those
of `ropecore.rotation.rotate` with the same tables, whatever the number of threads.
"""

import importlib.util
import platform
import struct
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ropecore.plan import RotaryPlan

from . import compiled, thread_pool
from .job import HEADER, MOST_CHUNKS, PAIRS, PART, Job, Part, Strides, put_angles
from .job import job as _job

__all__ = ["Job", "Part", "Strides", "Tensor", "available", "fill", "prepare", "rotate", "run"]

TABLE_COST = 32  # one cos and one sin take as long as moving that many bytes
FORMATS = ("float16", "bfloat16", "float32", "float64")


# A request: the words that all launches of a job have in common, and the rest
_WORDS, _REST = struct.Struct("10q"), struct.Struct("11q")


def available(form: str = "float32") -> bool:
    """Return whether there are kernels for this storage format here."""
    return _possible(form) and compiled.usable()


@lru_cache(maxsize=8)
def _possible(form: str) -> bool:
    """Return whether kernels for a storage format can be compiled here.

    float16 needs a processor that converts it, since LLVM would otherwise call a function that is
    not there.
    """
    if form not in FORMATS or sys.byteorder != "little" or importlib.util.find_spec("numba") is None:
        return False
    return form != "float16" or platform.machine().lower() in ("arm64", "aarch64") or compiled.converts_float16()


class Tensor(NamedTuple):
    """Where a tensor lies: the address of its first element, its shape, and its strides in
    elements.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def prepare(
    plan: RotaryPlan,
    form: str,
    parts: tuple[Part, ...],
    reads: str = "lanes",
    writes: str = "out_lanes",
    makes: bool = False,
) -> Job | None:
    """Return the job that rotates one or two tensors of a storage format, or None where the kernels
    cannot.

    It depends on shapes and strides alone and is kept.  reads, writes: which lanes of the plan; the
    transpose and the inverse exchange them, and their signs are the tables'
    (`ropecore.rotation.turned_tables`).  makes: there are no tables, whose strides then count rows;
    the kernel makes the angles of positions as it needs them.  Rules R-2.1, R-9.2, R-10.2.
    """
    return _job(plan, form, parts, reads, writes, makes) if available(form) else None


def run(
    job: Job, addresses: Sequence[int], threads: int | None = None, ids: int = 0, n_ids: int = 0, first: int = 0
) -> bool:
    """Rotate; addresses are x, y, cos and sin of the first part and of the second, 8 in all; y is x
    to rotate in place.

    Of a job that makes its angles: ids is the address of contiguous int64 positions, (n_axes,
    n_ids), or 0 for those that follow `first`, which are in range.  Return False if a position is
    out of range (R-7.1), or the kernel cannot be compiled; nothing was done then.
    """
    launch, words = _ready(job, *thread_pool.assemble(job.n_bytes, threads))
    return bool(launch(words + _REST.pack(first, ids, n_ids, *addresses)))


@lru_cache(maxsize=4096)
def _ready(job: Job, threads: int, members: thread_pool.Team) -> tuple[Callable[[bytes], int], bytes]:
    """Return what launches a job, and the words that all its launches have in common.

    In small work each thread begins with the chunks of its last call, parts of which lie in its
    cache; in large work all take the next chunk, so that they work on memory side by side.
    """
    launch = compiled.kernel("launch")
    kernel = compiled.kernel("rotation", job.form, job.read, job.write, job.plain, job.in_place, job.whole, job.makes)
    if launch is None or kernel is None:
        return _not_launched, b""
    chunks, pieces = thread_pool.chunks(job.n_bytes, threads), job.blocks
    if pieces and (pieces % threads == 0 or pieces >= 4 * threads):  # whole blocks of tokens: each row is made once
        chunks = min(pieces, MOST_CHUNKS if job.far and threads > 1 else chunks)
    else:
        pieces = chunks
    if job.far:
        members = members._replace(number=0)
    return launch.call, _WORDS.pack(job.address, len(job.numbers), kernel.address, *members, threads, chunks, pieces)


def _not_launched(_: bytes) -> int:
    return 0


def rotate(
    plan: RotaryPlan,
    form: str,
    tensors: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    reads: str = "lanes",
    writes: str = "out_lanes",
    threads: int | None = None,
) -> bool:
    """Rotate one or two tensors in one pass: each is (x, y, cos, sin); return False if nothing was
    done.

    y has the shape of x, and is x to rotate in place; otherwise they must not overlap.  cos and sin
    have a shape that broadcasts against x (.., n_pairs), the same strides, and are float32, or
    float64 for float64 tensors.
    """
    parts = tuple(
        Part(Strides(*x[1:]), Strides(*y[1:]), Strides(*cos[1:]), in_place=x.address == y.address)
        for x, y, cos, _ in tensors
    )
    if any(cos[1:] != sin[1:] for _, _, cos, sin in tensors):
        return False
    job = prepare(plan, form, parts, reads, writes)
    if job is None:
        return False
    addresses = [tensor.address for part in tensors for tensor in part]
    return run(job, addresses if len(tensors) == 2 else [*addresses, 0, 0, 0, 0], threads)


def fill(
    plan: RotaryPlan, positions: int, count: int, cos: int, sin: int, factor: float = 1.0, threads: int | None = None
) -> bool:
    """Write the float32 tables of `count` positions, (count, n_pairs) each; return False as `run`
    does.

    positions: the address of contiguous int64, (n_axes, count) where the plan has several axes.
    cos, sin: addresses. The bits are those of `precision.cos_sin_of_phase`, times float32(factor).
    For plans on integer axes.  Rule R-10.2.
    """
    template, _keep = _table_job(plan, factor)  # held: other threads' plans may push this one out of the cache
    n_bytes = TABLE_COST * count * plan.n_pairs
    threads, members = thread_pool.assemble(n_bytes, threads)
    launch, kernel, chunks = compiled.kernel("launch"), compiled.kernel("tables"), thread_pool.chunks(n_bytes, threads)
    if launch is None or kernel is None:
        return False
    words = template.ctypes.data, len(template), kernel.address, *members, threads, chunks, chunks
    rest = _REST.pack(0, positions, count, 0, 0, cos, sin, 0, 0, 0, 0)
    return bool(launch.call(_WORDS.pack(*words) + rest))


@lru_cache(maxsize=512)
def _table_job(plan: RotaryPlan, factor: float) -> tuple[Any, list[Any]]:
    """Return a job that makes a plan's tables, without its addresses, and the arrays that it points
    to.
    """
    numbers = np.zeros(HEADER + PART, np.int64)
    keep = put_angles(plan, numbers, factor)
    numbers[HEADER + PAIRS] = plan.n_pairs
    return numbers, keep
