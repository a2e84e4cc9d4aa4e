"""What a fork must not tear.

A child of `os.fork` has the forking thread alone.  A lock that another thread held stays held there
for ever, and what that thread was changing stays half changed.
"""

import concurrent.futures.thread  # noqa: F401  # before our hooks, which then run before its own and logging's
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

import numpy.ma  # noqa: F401  # np.unique and what is made of it would import it in a call

T = TypeVar("T")


LONGEST = 10.0  # seconds that a fork waits for a lock


class ForkLock:
    """A reentrant lock that a fork waits for, so that a child finds it free, and what it guards
    whole.

    For what takes no long time: the whole process waits with the fork.  The wait has an end.  What
    the lock guards may ask for a lock that the forking thread holds: hooks before a fork take
    locks one after the other, the latest registered first.  The two modules of Python that have
    such hooks are loaded above, so only others' can be that late.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._wait, after_in_parent=self._go_on, after_in_child=self._begin)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        where: TracebackType | None = None,
    ) -> None:
        self._lock.release()

    def _wait(self) -> None:
        self._lock.acquire(timeout=LONGEST)

    def _go_on(self) -> None:
        with suppress(RuntimeError):  # the wait had ended without it
            self._lock.release()

    def _begin(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # the same, or a fork from C code, which does not wait
            self._lock = threading.RLock()


class cached_property(Generic[T]):
    """functools.cached_property without its lock, which Python 3.11 has, and which a fork would
    leave held.
    """

    def __init__(self, work: Callable[[Any], T]) -> None:
        self.work, self.name, self.__doc__ = work, work.__name__, work.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "cached_property[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self.name, self.work(instance))


class _Process:
    """forked: this process is a child of a fork, to which no thread and
    no OpenMP team came along.
    """

    def __init__(self) -> None:
        self.forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._fork)

    def _fork(self) -> None:
        self.forked = True


PROCESS = _Process()
IMPORTS = ForkLock()  # for modules that a call imports: Python's own locks of modules are not safe across a fork
