"""Forks among busy threads, interrupted calls and long runs.  tests/support/threads.py has the
programs, and runs them longer.
"""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ropecore.adapter.store import TableStore
from ropecore.forks import ForkLock, cached_property

FOLDER = Path(__file__).parents[2] / "support"

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # Python 3.12 and later
]


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


# which adapter, and further arguments of a program: without and with the kernels, and beside an
# OpenMP runtime
WAYS = {
    "numpy": ("numpy", "--without", "numba"),
    "array_api": ("array_api", "--without", "numba"),
    **({"numpy, kernels": ("numpy",)} if has("numba") else {}),
    **({"torch": ("torch", "--without", "numba")} if has("torch") else {}),
    **({"torch, kernels": ("torch",)} if has("torch") and has("numba") else {}),
    **({"numpy, kernels, OpenMP": ("numpy", "--beside", "torch")} if has("torch") and has("numba") else {}),
}
KERNELS = [way for way in WAYS if "kernels" in way]


def run(program: str, way: str, n: int, threads: int = 4, **environment: str) -> dict[str, int]:
    """Run a program of tests/support/threads.py in a process of its own, and return what it
    counted.
    """
    command = [sys.executable, "-P", "-W", "ignore", str(FOLDER / "threads.py"), program, *WAYS[way]]
    done = subprocess.run(
        [*command, "--n", str(n), "--threads", str(threads)],
        env=os.environ | {"OMP_NUM_THREADS": "4"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def in_child(work: Callable[[], bool]) -> bool:
    """Return whether a forked child does its work within some seconds, and it returns true."""
    child = os.fork()
    if not child:
        os._exit(0 if work() else 1)
    timer = threading.Timer(20, os.kill, (child, 9))
    timer.start()
    status = os.waitpid(child, 0)[1]
    timer.cancel()
    return status == 0


@contextmanager
def another_thread(enter: Callable[[], Any]) -> Iterator[None]:
    """Run the body while another thread is inside a context."""
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with enter():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    try:
        yield
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_forks_among_busy_threads(way: str, tmp_path: Path) -> None:
    counts = run("forks", way, 40, NUMBA_CACHE_DIR=str(tmp_path))  # the first forks come while kernels are compiled
    assert (counts["forked"], counts["hung"], counts["wrong"]) == (40, 0, 0)


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_call_writes_nothing_afterwards(way: str) -> None:
    if "array_api" not in way:
        counts = run("interrupts", way, 20)
        assert (counts["interrupted"], counts["other"], counts["written_after"]) == (20, 0, 0)


def test_a_fork_waits_for_a_lock() -> None:
    lock, done = ForkLock(), []

    @contextmanager
    def half_done() -> Iterator[None]:
        with lock:
            yield
            done.append("whole")

    def finds_it_whole() -> bool:
        with lock:
            return done == ["whole"]

    with another_thread(half_done):
        forker = threading.Thread(target=lambda: done.append(in_child(finds_it_whole)))
        forker.start()
        forker.join(0.3)  # it would have forked by now
    forker.join()
    assert done == ["whole", True]


def test_a_fork_inside_its_own_lock() -> None:
    lock = ForkLock()

    def again() -> bool:
        with lock:
            return True

    with lock:
        assert in_child(again)
    with lock:
        pass


def test_a_fork_that_does_not_wait() -> None:
    lock = ForkLock()
    with another_thread(lambda: lock._lock):
        lock._begin()  # all that a fork from C code calls
        with lock:
            pass


@pytest.mark.parametrize("method", ["get", "clear"])
def test_a_store_in_a_child(method: str) -> None:
    store: TableStore = TableStore(1 << 20)
    size: Callable[[Any], int] = lambda value: 8
    store.get("key", lambda: 1, size)

    def uses() -> bool:
        if method == "clear":
            store.clear()
        return bool(store.get("key", lambda: 1, size) == 1)

    class Key(str):
        def __hash__(self) -> int:  # the lock is held
            entered.set()
            left.wait(0.5)
            return hash("other")

    entered, left = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: store.get(Key("other"), lambda: 2, size))
    thread.start()
    entered.wait()
    assert in_child(uses)
    left.set()
    thread.join()


def test_a_property_that_another_thread_works_out() -> None:
    class Slow:
        @cached_property
        def number(self) -> int:
            """It takes long."""
            inside.set()
            leave.wait()
            return 7

    inside, leave, one, other = threading.Event(), threading.Event(), Slow(), Slow()
    thread = threading.Thread(target=lambda: one.number)
    thread.start()
    inside.wait()

    def works() -> bool:
        leave.set()
        return one.number == other.number == 7 and vars(one) == {"number": 7}

    assert in_child(works)
    leave.set()
    thread.join()
    assert Slow.number.__doc__ == "It takes long."
    with pytest.raises(AttributeError):
        Slow().letter  # type: ignore[attr-defined]  # noqa: B018


IMPORTED = """
import sys
if "{without}":
    sys.modules["{without}"] = None
import numpy as np, ropecore
import threads
from ropecore.forks import IMPORTS
from ropecore.backends._kernels import compiled
adapter = threads.Adapter("{name}")
x = adapter.asarray(threads.numbers(600))
late, held = [], []
IMPORTS._lock, lock = type("Lock", (), dict(
    acquire=lambda self: held.append(1) or lock.acquire(), release=lambda self: held.pop() and lock.release()))(), IMPORTS._lock
asked = compiled._asked
compiled._asked = lambda work: (held.append(1), asked(work), held.pop())[1]
sys.addaudithook(lambda event, names: event == "import" and not held and late.append(names[0]))
for config in (
    dict(rotary_dim=20), dict(scaling=ropecore.YaRN(factor=4.0, original_max_position=64)), dict(scaling=ropecore.XPos()),
    dict(axes=("t", "h", "w"), sections=(16, 8, 8)), dict(out_pairing="interleaved"), dict(inv_freq=[0.5] * 32, base=None),
):
    plan = ropecore.RopeConfig(**(dict(head_dim=64, base=1e4, pairing="half_split") | config)).plan()
    hash(plan), repr(plan)
    positions = np.arange(600) if plan.n_axes == 1 else np.stack([np.arange(600)] * 3)
    for precision in ("exact", "float32"):
        adapter.rope.apply(plan, x, positions=adapter.asarray(positions), precision=precision)
    adapter.rope.rotate(plan, x, *adapter.rope.cos_sin(plan, adapter.asarray(positions)), inverse=True)
    if plan.n_axes == 1:
        adapter.rope.apply(plan, x, x, offset=3)
        adapter.rope.shift(plan, x, 5)
print(sorted(set(late)))
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_call_imports_nothing_that_a_fork_could_leave_half_done(way: str) -> None:
    script = IMPORTED.format(name=WAYS[way][0], without="numba" if "kernels" not in way else "")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    }
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr
