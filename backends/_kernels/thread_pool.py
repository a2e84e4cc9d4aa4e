"""Threads: who runs a kernel on a job.

A job is run by the caller alone, by the caller and the workers of the OpenMP runtime that is in the
process already (torch brings one, and its workers are awake after its own operations), or by the
caller and POSIX threads that live as long as the job.  Numba's own threads are not used: two of
their layers end the process, one in a forked child and one under two Python threads.

The threads begin and end inside one call of compiled code.  So no interrupt and no exception can
come between, after which they would go on to write to memory that is no longer the caller's.

After a fork, everything runs in the caller alone: no thread and no OpenMP runtime survives a fork.
"""

import ctypes
import os
import sys
from functools import lru_cache
from typing import Any, NamedTuple

from ropecore.forks import PROCESS

from .job import MOST_CHUNKS

WORTH_WAKING = 1 << 17  # bytes read and written: below, a team takes longer to wake than the work
WORTH_STARTING = 1 << 20  # the same for each thread that is started
CHUNK_BYTES = 1 << 23  # of large work
CHUNKS_A_THREAD = 16

Address = int


class Team(NamedTuple):
    """Addresses of what runs a job by many threads; 0 for what is not here.

    run, number: GOMP_parallel(code, data, threads, flags) and omp_get_thread_num() of an OpenMP
    runtime.  The first is the entry that GCC compiles `#pragma omp parallel` to; LLVM's and Intel's
    runtimes have it as well. start, join: pthread_create and pthread_join.
    """

    run: Address = 0
    number: Address = 0
    start: Address = 0
    join: Address = 0


ALONE = Team()


class _State:
    """openmp: run and number, once they are found."""

    openmp: tuple[Address, Address] = 0, 0


_state = _State()


def usable_threads() -> int:
    """Return OMP_NUM_THREADS, as numerical libraries do, or else the number of cores that this
    process may use.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def assemble(n_bytes: int, threads: int | None) -> tuple[int, Team]:
    """Return how many threads shall do work that moves this many bytes, and what runs them.

    threads: the most; None for all that there are.
    """
    if n_bytes < WORTH_WAKING or threads == 1 or PROCESS.forked:
        return 1, ALONE
    openmp, most = _openmp(), usable_threads() if threads is None else threads
    if openmp[0]:
        return most, Team(*openmp)
    most = min(most, n_bytes // WORTH_STARTING + 1) if _posix_threads()[0] else 1
    return (most, Team(0, 0, *_posix_threads())) if most > 1 else (1, ALONE)


def chunks(n_bytes: int, threads: int) -> int:
    """Return how many chunks the work is cut into.

    Small work gets one a thread, so that each finds in its cache what it wrote there; large work
    gets several, so that one that is held up holds up nobody else.
    """
    each = max(1, min(CHUNKS_A_THREAD, n_bytes // (threads * CHUNK_BYTES)))
    return 1 if threads == 1 else min(threads * each, MOST_CHUNKS)


def _openmp() -> tuple[Address, Address]:
    """Return the addresses of the OpenMP runtime that all can see here, or 0 and 0.

    One that is not loaded is not looked for: a second runtime's threads would fight with those of
    the first.
    """
    if not _state.openmp[0]:  # looked for anew, since torch may be imported later than this
        _state.openmp = _found("GOMP_parallel", "omp_get_thread_num")
    return _state.openmp


@lru_cache(maxsize=1)
def _posix_threads() -> tuple[Address, Address]:
    # handles are 8 bytes
    return _found("pthread_create", "pthread_join") if os.name == "posix" and sys.maxsize > 1 << 32 else (0, 0)


def _found(first: str, second: str) -> tuple[Address, Address]:
    """Return the addresses of two functions that all can see in this process, or 0 and 0."""
    functions: list[Any] = [getattr(_process(), name, None) for name in (first, second)]
    if None in functions:
        return 0, 0
    one, other = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return one, other


@lru_cache(maxsize=1)
def _process() -> Any:
    return ctypes.CDLL(None) if os.name == "posix" else None
