"""One bounded store for tables that many layers share (R-2.8).

The tables of a plan depend on nothing but their key, so a hit and a miss give the same bits; the store only saves time.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class TableStore:
    """A thread-safe store of (cos, sin) by complete key, which forgets the least recently used beyond a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._tables: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, build: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """Return the tables of this key; build them if they are not held.  Builders run outside the lock."""
        with self._lock:
            if key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key][0]
        tables = build()
        n_bytes = size(tables)
        with self._lock:
            if key in self._tables:  # another thread was faster: all layers share its tables
                return self._tables[key][0]
            if n_bytes <= self.max_bytes:
                self._tables[key] = tables, n_bytes
                self._bytes += n_bytes
                while self._bytes > self.max_bytes:
                    self._bytes -= self._tables.popitem(last=False)[1][1]
        return tables

    def clear(self) -> None:
        """Forget all tables."""
        with self._lock:
            self._tables.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def n_bytes(self) -> int:
        """Bytes that are held."""
        return self._bytes
