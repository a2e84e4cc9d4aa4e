"""Forks among busy threads, interrupted calls, and long runs: programs that
tests/backends/kernels/test_threads.py runs short.

    python tests/support/threads.py forks numpy --n 2000
    python tests/support/threads.py interrupts numpy --n 200
    python tests/support/threads.py plans numpy --n 2000
    python tests/support/threads.py endurance numpy --n 200000

Each prints one JSON object of what it counted.  --without numba: as where it is not installed.
"""

import argparse
import ctypes
import faulthandler
import importlib
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LONGEST = 20  # seconds that a child may take: then it hangs


class Adapter:
    """An adapter with what takes NumPy's arrays to its own and back."""

    def __init__(self, name: str) -> None:
        self.rope: Any = importlib.import_module(f"ropecore.backends.{name}")
        self.in_place = hasattr(self.rope, "apply_")
        self.asarray: Callable[[Array], Any] = lambda x: x
        self.to_numpy: Callable[[Any], Array] = np.asarray
        if name == "torch":
            self.asarray = importlib.import_module("torch").from_numpy
            self.to_numpy = lambda x: x.numpy()
        elif name == "jax":
            self.asarray = importlib.import_module("jax.numpy").asarray
        elif name == "array_api":
            xp: Any = importlib.import_module("array_api_strict")
            self.asarray, self.to_numpy = xp.asarray, self.rope.to_numpy


def plan(number: int = 0, head_dim: int = 64) -> Any:
    """Return a plan; each number has its own."""
    from ropecore import RopeConfig

    pairing = ("half_split", "interleaved")[number % 2]
    return RopeConfig(head_dim=head_dim, base=1e4 + number, pairing=pairing).plan()


def numbers(length: int, head_dim: int = 64, heads: int = 8) -> Array:
    """Return x, (1, heads, length, head_dim)."""
    return np.random.default_rng(length).standard_normal((1, heads, length, head_dim)).astype(np.float32)


def right(y: Array, number: int, x: Array, offset: int) -> bool:
    """Return whether y is x rotated, within the bound of the exact class."""
    import ropecore

    which = plan(number, x.shape[-1])
    cos, sin = ropecore.cos_sin(which, np.arange(x.shape[2]) + offset)
    want = ropecore.rotate(which, x.astype(np.float64), cos, sin)
    return bool((np.abs(y - want) <= 4e-7 * np.abs(x).max()).all())


def start(work: Callable[[int], None], n: int) -> None:
    """Run work(0) .. work(n - 1) in threads that end with the process."""
    for i in range(n):
        threading.Thread(target=work, args=(i,), daemon=True).start()


def forks(adapter: Adapter, n: int, threads: int) -> Counter[str]:
    """Fork among threads that call; each child calls with an old plan and a new one.

    The thread that forks calls, too, after half of the forks: from then on it has a team of its
    own.
    """
    x, counts = numbers(300), Counter(forked=0, hung=0, wrong=0)

    def busy(i: int) -> None:
        for k in range(1 << 60):
            length = 1 + (37 * k + i) % 300
            adapter.rope.apply(plan(k % 50), adapter.asarray(x[:, :, :length].copy()), offset=k % 1000)

    start(busy, threads)
    chance = random.Random(n)
    for k in range(n):
        time.sleep(chance.uniform(0, 0.02))
        if k >= n // 2:
            adapter.rope.apply(plan(k % 50), adapter.asarray(x))
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            for number in (k % 50, 100 + k):
                y = adapter.rope.apply(plan(number), adapter.asarray(x), offset=k)
                if not right(adapter.to_numpy(y), number, x, k):
                    os._exit(3)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        counts.update(forked=1, hung=int(ended == 1), wrong=int(ended not in (0, 1)))
    return counts


def interrupts(adapter: Adapter, n: int, threads: int) -> Counter[str]:
    """Interrupt calls on large arrays, by a signal or from another thread, and look whether memory
    is written afterwards.
    """
    x, which, counts = numbers(8192, 128, 16), plan(0, 128), Counter(interrupted=0, other=0, written_after=0)
    own, positions = adapter.asarray(x), adapter.asarray(np.arange(8192))
    usual, chance = 60.0, random.Random(n)
    for _ in range(5):
        began = time.perf_counter()
        adapter.rope.apply_(which, own, positions=positions)
        usual = min(usual, time.perf_counter() - began)
    main = ctypes.c_ulong(threading.get_ident())

    def raised() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(KeyboardInterrupt))

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    while counts["interrupted"] < n:
        at = chance.uniform(1e-4, usual)
        other_thread = threading.Timer(at, raised)
        try:
            if counts["interrupted"] % 2:
                other_thread.start()
            else:
                signal.setitimer(signal.ITIMER_REAL, at)
            adapter.rope.apply_(which, own, positions=positions)
            for _ in range(600):  # it comes late where the machine is busy
                time.sleep(0.1)
            counts["other"] += 1
        except KeyboardInterrupt:
            before = x[:, :, ::64, :2].copy()  # at once: few numbers of many rows
            counts["interrupted"] += 1
        except Exception:
            traceback.print_exc()
            counts["other"] += 1
        time.sleep(0.05)
        counts["written_after"] += int(not np.array_equal(before, x[:, :, ::64, :2]))
    return counts


def plans(adapter: Adapter, n: int, threads: int) -> Counter[str]:
    """Call with ever new plans and sizes in many threads at once."""
    counts, lock, left = Counter(called=0, wrong=0), threading.Lock(), iter(range(n))

    def work(i: int) -> None:
        while (k := next_one()) is not None:
            length, heads, offset = 1 + 997 * k % 500, 1 + k % 9, 31 * k % 5000
            x = numbers(length, 2 * (1 + k % 70), heads)
            y = adapter.to_numpy(adapter.rope.apply(plan(k, x.shape[-1]), adapter.asarray(x), offset=offset))
            with lock:
                counts.update(called=1, wrong=int(not right(y, k, x, offset)))

    def next_one() -> int | None:
        with lock:
            return next(left, None)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return counts


def endurance(adapter: Adapter, n: int, threads: int) -> Counter[str]:
    """Call with a new plan each time, and see how much is used after a fifth of the calls and after
    all of them.
    """
    from ropecore import RotaryPlan

    x, frequencies, counts = adapter.asarray(numbers(16, 8)), np.array([1.0, 0.1, 0.01, 0.001]), Counter(called=0)
    large, lanes = adapter.asarray(numbers(4096, 8)), np.arange(8).reshape(4, 2)

    def work(i: int) -> None:
        for k in range(i, n, threads):
            which = RotaryPlan(8, lanes, frequencies * (1 + k / n))
            adapter.rope.apply(which, large if k % 100 == 0 else x, offset=k % 100)
            counts["called"] += 1
            if k == n // 5:
                counts.update({f"{what}_before": number for what, number in used().items()})

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    counts.update(used())
    return counts


def used() -> dict[str, int]:
    """Return the memory of this process in KiB, its open files and its threads."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "kib": int(status["VmRSS"].split()[0]),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": int(status["Threads"]),
    }


PROGRAMS = {"forks": forks, "interrupts": interrupts, "plans": plans, "endurance": endurance}


def main() -> None:
    """Run a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("adapter", choices=("numpy", "torch", "array_api", "jax"))
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--without", default="", help="a package that is then not there")
    parser.add_argument("--beside", default="", help="a package that is imported first")
    options = parser.parse_args()
    if options.without:
        sys.modules[options.without] = None  # type: ignore[assignment]
    if options.beside:
        importlib.import_module(options.beside)
    began = time.perf_counter()
    counts = PROGRAMS[options.program](Adapter(options.adapter), options.n, options.threads)
    print(json.dumps({**counts, "seconds": round(time.perf_counter() - began)}), flush=True)
    os._exit(0)  # threads are still at work


if __name__ == "__main__":
    main()
