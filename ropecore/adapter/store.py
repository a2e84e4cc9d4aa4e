"""One bounded store for tables that many layers share (R-2.8).

The tables of a plan depend on nothing but their key, so a hit and a miss give the same bits; the
store only saves time.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from ropecore.forks import ForkLock

_LOCK = ForkLock()  # of all stores: nobody holds it for long


class TableStore:
    """A thread-safe store of (cos, sin) by complete key, which forgets the least recently used
    beyond a number of bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._tables: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, build: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """Return the tables of this key; build them if they are not held.  Builders run outside the
        lock.
        """
        with _LOCK:
            held = self._tables.get(key)
            if held is not None:
                with suppress(KeyError):  # a signal handler's call may have been in between, and forgotten it
                    self._tables.move_to_end(key)
                return held[0]
        tables = build()
        n_bytes = size(tables)
        with _LOCK:
            held = self._tables.get(key)
            if held is not None:  # another thread was faster: all layers share its tables
                return held[0]
            if n_bytes <= self.max_bytes:
                self._tables[key] = tables, n_bytes
                self._bytes += n_bytes
                while self._bytes > self.max_bytes and self._tables:
                    self._bytes -= self._tables.popitem(last=False)[1][1]
                if not self._tables:  # an interrupt came between the two
                    self._bytes = 0
        return tables

    def clear(self) -> None:
        """Forget all tables."""
        with _LOCK:
            self._tables.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def n_bytes(self) -> int:
        """Bytes that are held."""
        return self._bytes
