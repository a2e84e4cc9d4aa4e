"""Reading the keys of a GGUF file, and the tensors that hold divisors of frequencies; nothing else
of it is decoded.

A file is a magic, a version, counts, key-value pairs and tensor infos, then data.  The package
`gguf` decodes every token of the vocabulary into objects of its own before it gives one key, which
takes half a minute for a small model; this reader steps over what it does not need.  A file is not
trusted: bytes, counts and depth are limited before anything is decoded.
"""

import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ropecore.errors import RopeError

VERSIONS = (2, 3)
LARGEST_COUNT = 1 << 17  # of keys and of tensors
LARGEST_NAME = (1 << 16) - 1  # bytes of a key, as the format says
LARGEST_TEXT = 1 << 16  # bytes of a string that is kept
LARGEST_ARRAY = 1 << 24  # entries that are stepped over
LARGEST_KEPT = 1 << 16  # entries of an array, or of a tensor, that is kept
DEEPEST = 4  # arrays in arrays

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TENSOR_TYPES = {0: "f4", 1: "f2", 28: "f8"}  # F32, F16, F64; BF16 is 30
BF16 = 30


class Truncated(ValueError):
    """The file ends, or would have to go on, where it does not."""


class _Cursor:
    """A place in the file, which only moves forward and never beyond the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.order = data, 4, "<"

    def number(self, kind: str) -> Any:
        size = struct.calcsize(kind)
        return struct.unpack(self.order + kind, self.data[self.skip(size) : self.at])[0]

    def skip(self, size: int) -> int:
        """Step over so many bytes; return where they begin."""
        start = self.at
        if size > len(self.data) - start:
            raise Truncated(f"ends within the {size} bytes from {start}")
        self.at = start + size
        return start

    def count(self, kind: str, what: str, limit: int) -> int:
        value = int(self.number(kind))
        if value > limit:
            raise Truncated(f"has {value} {what}, and at most {limit} are read")
        return value

    def text(self, limit: int) -> str:
        start = self.skip(self.count("Q", "bytes in a string", limit))
        return self.data[start : self.at].decode("utf-8")

    def skip_strings(self, n: int) -> None:
        """Step over n strings, as fast as Python can: a vocabulary has hundreds of thousands."""
        data, at, end = self.data, self.at, len(self.data)
        length = struct.Struct(self.order + "Q").unpack_from
        for _ in range(n):
            if at + 8 > end:
                raise Truncated("ends within an array of strings")
            at += 8 + length(data, at)[0]
        self.skip(at - self.at)


def load(path: Path, keeps: Callable[[str], bool], tensors: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys that `keeps` wants and the values of these tensors, as tuples of floats.
    RopeError for what is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise Truncated("does not begin with GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _load(_Cursor(data), keeps, tensors)
    except (OSError, ValueError, struct.error) as error:
        raise RopeError("source", str(path), f"is not a GGUF file that can be read: {error}", rule="R-12.6") from error


def _load(
    cursor: _Cursor, keeps: Callable[[str], bool], tensors: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    version = cursor.number("I")
    if version and version & 0xFFFF == 0:  # of a machine of the other byte order
        cursor.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in VERSIONS:
        raise Truncated(f"has version {version}, and {' and '.join(map(str, VERSIONS))} are read")
    n_tensors, n_keys = (cursor.count("Q", what, LARGEST_COUNT) for what in ("tensors", "keys"))
    fields: dict[str, Any] = {}
    for _ in range(n_keys):
        name = cursor.text(LARGEST_NAME)
        if name in fields:
            raise Truncated(f"has the key {name!r} twice")
        keep = keeps(name) or name == "general.alignment"
        value = _value(cursor, cursor.number("I"), keep, 0)
        if keep:
            fields[name] = value
    infos = dict(info for info in (_tensor_info(cursor) for _ in range(n_tensors)) if info[0] in tensors)
    alignment = fields.pop("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise Truncated(f"has an alignment of {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    return fields, {name: _tensor(cursor, start, name, *info) for name, info in infos.items()}


def _value(cursor: _Cursor, kind: int, keep: bool, depth: int) -> Any:
    """Return a value, or step over it."""
    if kind in SCALARS:
        return cursor.number(SCALARS[kind])
    if kind == STRING:
        if keep:
            return cursor.text(LARGEST_TEXT)
        return cursor.skip(cursor.number("Q"))
    if kind != ARRAY or depth == DEEPEST:
        raise Truncated(
            f"has a value of the unknown type {kind}" if kind != ARRAY else f"has arrays deeper than {DEEPEST}"
        )
    inner = cursor.number("I")
    n = cursor.count("Q", "entries in an array", LARGEST_KEPT if keep else LARGEST_ARRAY)
    if keep or inner == ARRAY:
        return [_value(cursor, inner, keep, depth + 1) for _ in range(n)]
    if inner == STRING:
        return cursor.skip_strings(n)
    if inner not in SCALARS:
        raise Truncated(f"has an array of the unknown type {inner}")
    return cursor.skip(n * struct.calcsize("<" + SCALARS[inner]))


def _tensor_info(cursor: _Cursor) -> tuple[str, tuple[int, int, int]]:
    """Return a tensor's name, and its type, number of entries and offset."""
    name = cursor.text(LARGEST_NAME)
    entries = 1
    for _ in range(cursor.count("I", "dimensions", 8)):
        entries *= cursor.number("Q")
    return name, (cursor.number("I"), entries, cursor.number("Q"))


def _tensor(cursor: _Cursor, start: int, name: str, kind: int, entries: int, offset: int) -> tuple[float, ...]:
    if kind not in TENSOR_TYPES and kind != BF16:
        raise Truncated(f"has {name} in the type {kind}, and only floats are read")
    if entries > LARGEST_KEPT:
        raise Truncated(f"has {entries} entries in {name}, and at most {LARGEST_KEPT} are read")
    dtype = np.dtype(cursor.order + ("u2" if kind == BF16 else TENSOR_TYPES[kind]))
    first = start + offset
    if first + entries * dtype.itemsize > len(cursor.data):
        raise Truncated(f"ends within {name}")
    values = np.frombuffer(cursor.data[first : first + entries * dtype.itemsize], dtype)
    if kind == BF16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return tuple(float(value) for value in values)
