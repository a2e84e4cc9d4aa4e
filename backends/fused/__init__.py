"""One pass over q and k on a CPU: the kernels behind the NumPy and torch adapters.  Needs the extra "fast" (Numba).

It knows no framework: a tensor is an address with shape, strides and a storage format, so NumPy arrays and torch tensors
are rotated where they lie, in place or into an output.  The bits are those of `ropecore.rotation.rotate` with the same
tables, whatever the number of threads.
"""

import ctypes
import importlib.util
import platform
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ropecore.plan import RotaryPlan
from ropecore.precision import limbs

from . import team
from .job import CHUNKS, COS, FLAG, HEADER, PAIRS, PART, SIN, Job, Part, Strides, X, Y
from .job import job as _job

__all__ = ["Job", "Part", "Strides", "Tensor", "available", "fill", "prepare", "rotate", "run"]

TABLE_COST = 32  # one cos and one sin take as long as moving that many bytes
FORMATS = ("float16", "bfloat16", "float32", "float64")


@lru_cache(maxsize=8)
def available(form: str = "float32") -> bool:
    """Return whether there are kernels for this storage format here.

    float16 needs a processor that converts it, since LLVM would otherwise call a function that is not there.
    """
    if form not in FORMATS or sys.byteorder != "little" or importlib.util.find_spec("numba") is None:
        return False
    if form != "float16" or platform.machine().lower() in ("arm64", "aarch64"):
        return True
    from llvmlite import binding

    return bool(binding.get_host_cpu_features().get("f16c"))


@lru_cache(maxsize=1)
def _kernels() -> Any:
    """Return the module of the kernels, which imports Numba."""
    from . import kernels

    return kernels


class Tensor(NamedTuple):
    """Where a tensor lies: the address of its first element, its shape, and its strides in elements."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def prepare(
    plan: RotaryPlan, form: str, parts: tuple[Part, ...], reads: str = "lanes", writes: str = "out_lanes"
) -> Job | None:
    """Return the job that rotates one or two tensors of a storage format, or None where the kernels cannot.

    It depends on shapes and strides alone and is kept.  reads, writes: which lanes of the plan; the transpose and the
    inverse exchange them, and their signs are the tables' (`ropecore.rotation.turned_tables`).  Rules R-2.1, R-9.2.
    """
    return _job(plan, form, parts, reads, writes) if available(form) else None


def run(job: Job, addresses: Sequence[tuple[int, int, int, int]], threads: int | None = None) -> None:
    """Rotate: addresses are those of x, y, cos and sin for each part of the job; y is x to rotate in place."""
    numbers = (ctypes.c_int64 * (HEADER + 2 * PART)).from_buffer_copy(job.numbers)
    for p, (x, y, cos, sin) in enumerate(addresses):
        at = HEADER + PART * p
        numbers[at + X], numbers[at + Y], numbers[at + COS], numbers[at + SIN] = x, y, cos, sin
    threads = team.size(job.n_bytes, threads)
    numbers[CHUNKS] = team.chunks(job.n_bytes, threads)
    kernel = _kernels().rotation(job.form, job.read, job.write)
    team.run(kernel.call, kernel.address, ctypes.addressof(numbers), threads)


def rotate(
    plan: RotaryPlan,
    form: str,
    tensors: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    reads: str = "lanes",
    writes: str = "out_lanes",
    threads: int | None = None,
) -> bool:
    """Rotate one or two tensors in one pass: each is (x, y, cos, sin); return False if nothing was done.

    y has the shape of x, and is x to rotate in place; otherwise they must not overlap.  cos and sin have a shape that
    broadcasts against x (.., n_pairs), the same strides, and are float32, or float64 for float64 tensors.
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
    run(job, [(x.address, y.address, cos.address, sin.address) for x, y, cos, sin in tensors], threads)
    return True


def fill(
    plan: RotaryPlan, positions: int, count: int, cos: int, sin: int, factor: float = 1.0, threads: int | None = None
) -> bool:
    """Write the float32 tables of `count` positions, (count, n_pairs) each; return False if a position is out of range.

    positions: the address of contiguous int64, (n_axes, count) where the plan has several axes.  cos, sin: addresses.
    The bits are those of `precision.cos_sin_of_phase`, times float32(factor).  For plans on integer axes.  Rule R-10.2.
    """
    at = _kernels()
    template, _ = _table_job(plan)
    numbers = (ctypes.c_int64 * (HEADER + PART)).from_buffer_copy(template)
    n_bytes = TABLE_COST * count * plan.n_pairs
    threads = team.size(n_bytes, threads)
    numbers[CHUNKS], numbers[at.COUNT] = team.chunks(n_bytes, threads), count
    numbers[at.POSITIONS], numbers[at.OUT_COS], numbers[at.OUT_SIN] = positions, cos, sin
    ctypes.c_float.from_buffer(numbers, 8 * at.FACTOR).value = factor
    kernel = at.tables()
    team.run(kernel.call, kernel.address, ctypes.addressof(numbers), threads)
    return not numbers[FLAG]


@lru_cache(maxsize=512)
def _table_job(plan: RotaryPlan) -> tuple[bytes, tuple[npt.NDArray[np.uint32], ...]]:
    """Return the bytes of a job that makes a plan's tables, without its addresses, and the arrays that it points to."""
    from .kernels import AXES, HIGH, LOW

    high, low = (np.ascontiguousarray(limb.T, np.uint32) for limb in limbs(plan, 64))  # (n_axes, n_pairs)
    numbers = np.zeros(HEADER + PART, np.int64)
    numbers[[AXES, HEADER + PAIRS]] = plan.n_axes, plan.n_pairs
    numbers[[HIGH, LOW]] = high.ctypes.data, low.ctypes.data
    return numbers.tobytes(), (high, low)
