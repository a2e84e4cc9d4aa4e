"""JSON that is not trusted: bytes, depth, counts and digits are limited
before anything is decoded.
"""

import json
import os
import re
import stat
from os import PathLike
from typing import Any, BinaryIO

from ropecore.arguments import path as checked_path
from ropecore.errors import RopeError, told

LARGEST_FILE = 1 << 24  # bytes
DEEPEST = 64  # objects and lists within each other
MOST_VALUES = 1 << 20
MOST_DIGITS = 1000  # of a number; a float64 in full has at most 767

_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _Unusable(ValueError):
    """Why a text is not decoded."""


def parse_json(
    argument: str,
    text: str | bytes,
    *,
    source: str = "",
    largest: int = LARGEST_FILE,
    most_values: int = MOST_VALUES,
    constants: bool = False,
) -> Any:
    """Return the value of a JSON text, or refuse it: too long, too deep, too many values or digits,
    a key twice, no JSON.

    source: what refusals show in place of the text.  largest: bytes.  constants: take NaN and
    Infinity, which Python writes, and which are no JSON.  A lone surrogate is none either.
    """
    if not isinstance(text, (str, bytes)):
        raise RopeError(argument, text, "must be JSON text", rule="R-12.6")
    value: Any = source or text[:80]
    try:
        return _decoded(text, largest, most_values, constants)
    except _Unusable as error:
        raise RopeError(argument, value, str(error), rule="R-12.6") from None
    except (ValueError, RecursionError) as error:
        raise RopeError(argument, value, f"is not valid JSON: {told(error)}", rule="R-12.6") from None


def read_json(
    argument: str, path: str | PathLike[str], *, largest: int = LARGEST_FILE, most_values: int = MOST_VALUES
) -> dict[str, Any]:
    """Return the object in a JSON file; no more is read than may be decoded.  See `parse_json`."""
    text = read_bytes(argument, path, largest)
    value = parse_json(
        argument, text, source=str(path), largest=largest, most_values=most_values, constants=True
    )  # configurations that Python wrote have Infinity in keys of other things
    if not isinstance(value, dict):
        raise RopeError(argument, str(path), "must hold an object", rule="R-12.6")
    return value


def read_bytes(argument: str, path: str | PathLike[str], largest: int) -> bytes:
    """Return the bytes of a file; one with more than `largest` is refused, and no more is read."""
    try:
        with open_file(argument, path) as file:
            content = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
    except OSError as error:
        raise RopeError(argument, str(path), f"cannot be read: {error.strerror}", rule="R-12.6") from error
    if len(content) > largest:
        raise RopeError(argument, str(path), f"is larger than {largest} bytes", rule="R-12.6")
    return content


def open_file(argument: str, path: str | PathLike[str]) -> BinaryIO:
    """Open a file to be read; a pipe or a device, which may never end, is refused before it is
    opened.  May raise OSError.
    """
    file = checked_path(argument, path)
    if not stat.S_ISREG(os.stat(file).st_mode) and not file.is_dir():  # a folder cannot be opened
        raise RopeError(
            argument, str(file), "is no file: a pipe or a device may never end", "Write it to a file first."
        )
    return open(file, "rb")


def _decoded(text: str | bytes, largest: int, most_values: int, constants: bool) -> Any:
    if len(text) > largest:
        raise _Unusable(f"is longer than {largest} bytes")
    data = text if isinstance(text, bytes) else text.encode()
    before = data.count(b",") + data.count(b"[") + data.count(b"{")  # each value has one of them before it
    if before > most_values or data.count(b'"') + data.count(b"\\") > 4 * most_values:
        raise _Unusable(f"has more than {most_values} values, or as many words")
    _check_depth(data)
    value = json.loads(
        data.decode("utf-8-sig"),
        object_pairs_hook=_once, parse_constant=float if constants else _no_constant, parse_int=_integer, parse_float=_float,
    )  # fmt: skip
    if b"\\u" in data:
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate can be written as an escape alone
    return value


def _check_depth(data: bytes) -> None:
    """Refuse what nests too deep: without text, `[]` and `{}` are taken away from the inside, once
    a level.
    """
    brackets = _TEXT.sub(b"", data).translate(None, _NO_BRACKETS)
    for _ in range(DEEPEST):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    if brackets:
        raise _Unusable(f"is not valid JSON, or nests deeper than {DEEPEST} levels")


def _integer(digits: str) -> int | float:
    return int(_counted(digits)) if digits != "-0" else -0.0


def _float(digits: str) -> float:
    return float(_counted(digits))


def _counted(digits: str) -> str:
    if len(digits) > MOST_DIGITS:
        raise _Unusable(f"has a number of more than {MOST_DIGITS} digits")
    return digits


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unusable("gives a key twice")
    return found


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")
