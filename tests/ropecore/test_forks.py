"""A fork never waits for ever for what another thread does under a lock of ours."""

import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = """
import os, threading, time
from ropecore import forks
{before}
inside = threading.Event()

def work():
    with forks.IMPORTS:
        inside.set()
        time.sleep(0.3)  # the fork begins meanwhile
        {asks}

threading.Thread(target=work, daemon=True).start()
inside.wait()
child = os.fork()
if not child:
    with forks.IMPORTS:  # which is free in the child
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0
with forks.IMPORTS:  # and in the parent
    print("forked")
"""
LATER = """
forks.LONGEST = 0.5
theirs = threading.Lock()  # a hook that is registered after ours runs before it
os.register_at_fork(before=theirs.acquire, after_in_parent=theirs.release, after_in_child=theirs.release)
"""
ASKS = {
    "logging": ("import logging", "logging.getLogger('made in an import')"),
    "a pool": (
        "from concurrent.futures import ThreadPoolExecutor",
        "ThreadPoolExecutor(1).submit(int).result()",
    ),
    "a lock of others": (LATER, "theirs.acquire(); theirs.release()"),
}


@pytest.mark.parametrize("asks", ASKS)
def test_a_fork_comes_back_while_a_thread_imports(asks: str) -> None:
    before, line = ASKS[asks]
    program = PROGRAM.format(before=before, asks=line)
    command = [sys.executable, "-P", "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout) == (0, "forked\n"), done.stderr


def test_a_lock_that_is_never_free_only_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads may wait at once, and only the one that has the lock gives it back."""
    import threading

    from ropecore import forks

    monkeypatch.setattr(forks, "LONGEST", 0.1)
    lock, held, leave = forks.ForkLock(), threading.Event(), threading.Event()

    def holder() -> None:
        with lock:
            held.set()
            leave.wait()

    thread = threading.Thread(target=holder)
    thread.start()
    held.wait()
    began = time.monotonic()
    lock._wait()
    lock._go_on()
    assert time.monotonic() - began < 20
    leave.set()
    thread.join()
    with lock:  # it was given back once, by its holder
        pass
