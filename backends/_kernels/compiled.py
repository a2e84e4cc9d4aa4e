"""Kernels, compiled when they are first needed; where they cannot be, one warning says why, and
callers go their own way.

A compilation takes a second, and a fork does not wait for it.  In the child, Numba is then as
another thread left it: half imported, or its locks held for ever.  So it is not asked for anything
there; kernels that were compiled before still run.
"""

import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")

LIBRARIES = ("numba", "llvmlite")


class _State:
    """kernels: by name and words.  torn: Numba cannot be asked in this process.  broken: no kernels
    are used.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.kernels: dict[tuple[Any, ...], Any] = {}
        self.torn = self.broken = False

    def forked(self) -> None:
        """Find out whether another thread of the parent was importing
        Numba, or compiling with it.
        """
        self.torn = self.torn or _half_imported() or any(map(_held, (self.lock, *_locks())))
        self.lock = threading.RLock()


_state = _State()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.forked)


def usable() -> bool:
    """Return whether kernels are used: until the first that cannot be compiled."""
    return not _state.broken


def kernel(name: str, *words: Any) -> Any:
    """Return the `kernels.Kernel` that the function of this name in `kernels` makes, or None if it
    cannot be compiled.
    """
    key = name, *words
    found = _state.kernels.get(key)
    if found is None:
        with _state.lock:
            found = _state.kernels.get(key) or _asked(lambda: getattr(_kernels(), name)(*words))
            if found is not None:
                _state.kernels[key] = found
    return found


@lru_cache(maxsize=1)
def converts_float16() -> bool:
    """Return whether Numba compiles for an x86 processor that converts float16."""
    with _state.lock:
        return bool(_asked(_has_f16c))


def _asked(numba: Callable[[], T]) -> T | None:
    """Return what Numba gives, or None if it cannot."""
    if _state.broken:
        return None
    try:
        if _state.torn:
            raise RuntimeError("this process was forked while another thread used Numba's compiler")
        return numba()
    except Exception as error:  # whatever Numba, LLVM or the system has: there is another way to the same bits
        _state.broken = True
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"the kernels are not used, the same bits take longer: {reason}", RuntimeWarning, stacklevel=2)
        return None


def _kernels() -> Any:
    from . import kernels  # which imports Numba

    return kernels


def _has_f16c() -> bool:
    from .intrinsics import has

    return has("f16c")


def _half_imported() -> bool:
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in LIBRARIES]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in modules)


def _locks() -> list[Any]:
    """Return the locks of Numba's compiler and of LLVM's functions, if they are loaded."""
    compiler, functions = (sys.modules.get(name) for name in ("numba.core.compiler_lock", "llvmlite.binding.ffi"))
    owners: list[Any] = [getattr(compiler, "global_compiler_lock", None)]
    owners += [getattr(getattr(functions, "lib", None), "_lock", None)]
    return [owner._lock for owner in owners if hasattr(owner, "_lock")]


def _held(lock: Any) -> bool:
    """Return whether another thread holds a lock."""
    if free := lock.acquire(blocking=False):
        lock.release()
    return not free
