"""Huge pages: memory that the system clears 2 MiB at a time."""

import ctypes
import mmap
import sys
from functools import lru_cache
from typing import Any


def ask_for_huge_pages(address: int, n_bytes: int) -> None:
    """Ask the system for huge pages wherever they fit into new memory, as NumPy does for its own
    arrays.

    Clearing 2 MiB at the first touch takes less time than clearing 4 KiB 512 times, which takes
    longer than a rotation.  The system may refuse, and nothing is lost.  Linux alone.
    """
    if sys.platform == "linux" and hasattr(mmap, "MADV_HUGEPAGE"):
        start, end = -(-address // mmap.PAGESIZE), (address + n_bytes) // mmap.PAGESIZE
        _madvise()(start * mmap.PAGESIZE, (end - start) * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)


@lru_cache(maxsize=1)
def _madvise() -> Any:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
