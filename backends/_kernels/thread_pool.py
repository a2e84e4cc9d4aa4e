"""Threads: who runs a kernel on a job.

A job is run by the caller alone, by the caller and the workers of the OpenMP runtime that is in the process already (torch
brings one, and its workers are awake after its own operations), or by the caller and a pool of Python threads.  Numba's
own threads are not used: two of their layers end the process, one in a forked child and one under two Python threads.

After a fork, everything runs in the caller alone: no thread and no OpenMP runtime survives a fork.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from .job import MOST_CHUNKS

WORTH_WAKING = 1 << 17  # bytes read and written: below, a team takes longer to wake than the work
WORTH_STARTING = 1 << 20  # the same for Python threads, which take some 30 microseconds
CHUNK_BYTES = 1 << 23  # of large work
CHUNKS_A_THREAD = 16

Address = int


class _State:
    """What a fork changes.  child: this process is a forked one."""

    def __init__(self) -> None:
        self.child = False
        self.openmp: tuple[Address, Address] = 0, 0
        self.renew()

    def renew(self) -> None:
        """Begin anew, without threads."""
        self.lock = threading.Lock()
        self.pool: ThreadPoolExecutor | None = None
        self.workers = 0

    def lose(self, pool: ThreadPoolExecutor) -> None:
        """Give a pool to nobody any more."""
        with self.lock:
            if self.pool is pool:
                self.pool, self.workers = None, 0

    def forked(self) -> None:
        """Know that no thread is left but the one that runs this, and that it may not start a team."""
        self.child = True
        self.renew()


_state = _State()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.forked)


def usable_threads() -> int:
    """Return OMP_NUM_THREADS, as numerical libraries do, or else the number of cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def size(n_bytes: int, threads: int | None) -> int:
    """Return how many threads shall do work that moves this many bytes: at most so many, None for all that there are."""
    if n_bytes < WORTH_WAKING or threads == 1 or _state.child:
        return 1
    if n_bytes < WORTH_STARTING and not openmp()[0]:
        return 1
    return usable_threads() if threads is None else threads


def chunks(n_bytes: int, threads: int) -> int:
    """Return how many chunks the work is cut into.

    Small work gets one a thread, so that each finds in its cache what it wrote there; large work gets several, so that one
    that is held up holds up nobody else.
    """
    each = max(1, min(CHUNKS_A_THREAD, n_bytes // (threads * CHUNK_BYTES)))
    return 1 if threads == 1 else min(threads * each, MOST_CHUNKS)


def with_pool(call: Callable[[Any], None], job: Any, threads: int) -> None:
    """Run a job until no chunk is left, with the pool's help; nobody waits for a helper that has not begun.

    job: the array of its numbers, which a helper keeps as long as it may run.
    """
    pool, helpers = _pool(threads - 1), []
    try:
        for _ in range(threads - 1):
            helpers.append(pool.submit(call, job))
    except (
        RuntimeError
    ):  # the interpreter is closing down, or can start no more threads: one that is queued may yet begin
        _state.lose(pool)
        call(job)
        pool.shutdown()
        return
    call(job)
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return the pool that all callers share, with at least this many threads."""
    with _state.lock:
        if _state.pool is None or _state.workers < workers:
            _state.pool, _state.workers = ThreadPoolExecutor(workers, "ropecore"), workers  # an old one ends when idle
        return _state.pool


def openmp() -> tuple[Address, Address]:
    """Return the addresses of GOMP_parallel(code, data, threads, flags) and omp_get_thread_num(), or 0 and 0.

    They are those of the OpenMP runtime that all can see here.  The first is the entry that GCC compiles `#pragma omp parallel`
    to; LLVM's and Intel's runtimes have it as well.  One that is not loaded is not looked for: a second runtime's threads would
    fight with those of the first.
    """
    if not _state.openmp[0]:  # looked for anew, since torch may be imported later than this
        found = [getattr(_process(), name, 0) for name in ("GOMP_parallel", "omp_get_thread_num")]
        if all(found):
            start, number = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found)
            _state.openmp = start, number
    return _state.openmp


@lru_cache(maxsize=1)
def _process() -> Any:
    return ctypes.CDLL(None) if os.name == "posix" else None
