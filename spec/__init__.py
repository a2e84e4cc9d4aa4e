"""The specification: rules (rope.md), golden vectors and their loader.

The loader needs the standard library alone, and so its refusals are its own: SpecError, a
ValueError. What it returns is parsed anew on each call, so that callers may change it.
"""

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files as _resources
from importlib.resources.abc import Traversable
from typing import Any, TypeAlias

__all__ = ["SpecError", "files", "manifest", "notes", "read", "vector", "vectors", "verify"]

Case: TypeAlias = dict[str, Any]
LARGEST_FILE = 64 * 2**20  # bytes
LARGEST_MANIFEST = 2**20
MOST_VALUES = 2**22  # of a file
SHOWN = 80  # characters of a value in a refusal

_SPEC = _resources(__package__ or __name__)


class SpecError(ValueError):
    """A refusal: an argument of another kind, a topic that there is not, or a file that cannot be
    read as what it is.
    """


def vectors(topic: str | None = None) -> list[Case]:
    """Return the golden vectors, or those of one topic, as JSON objects in the order of the files;
    withdrawn ones are left out.
    """
    if topic is not None and not isinstance(topic, str):
        raise SpecError(f"topic={_shown(topic)}: must be text, or None for all")
    found = [case for case in _all_cases(topic) if "withdrawn" not in case]
    if topic is not None and not found:
        topics = sorted({_document(path)["topic"] for path in files()})
        raise SpecError(f"topic={_shown(topic)}: has no vectors. Choose one of: {', '.join(topics)}.")
    return found


def vector(case_id: str) -> Case:
    """Return the golden vector of that id, a withdrawn one too; KeyError
    names ids that are close.
    """
    if not isinstance(case_id, str):
        raise SpecError(f"case_id={_shown(case_id)}: must be text")
    path = _file_of().get(case_id)
    if path is None:
        close = difflib.get_close_matches(case_id, _file_of(), n=3) if len(case_id) <= SHOWN else []
        raise KeyError(
            f"no vector {_shown(case_id)}" + (f"; did you mean {', '.join(map(repr, close))}?" if close else "")
        )
    return next(case for case in _document(path)["cases"] if case["id"] == case_id)


def files() -> list[str]:
    """Return the vector files that the manifest lists, below the folder
    of this package, in order.
    """
    return [entry["path"] for entry in manifest()["files"]]


def notes() -> dict[str, dict[str, Any]]:
    """Return the note on every flag that a vector carries: {"M3": {"bug", "effect", "seen"}}."""
    found: dict[str, dict[str, Any]] = {}
    for path in files():
        found |= _document(path)["notes"]
    return dict(sorted(found.items(), key=lambda item: int(item[0][1:])))


def manifest() -> dict[str, Any]:
    """Return the manifest: every file with its SHA-256 and its number of cases, or of tensors."""
    parsed = _parsed("manifest.json", LARGEST_MANIFEST)
    counts = {"files": "cases", "twins": "tensors"}
    entries = [(entry, count) for name, count in counts.items() for entry in _list(parsed.get(name))]
    if not entries or type(parsed.get("cases")) is not int or not all(_is_entry(*each) for each in entries):
        raise SpecError("manifest.json: does not list files, each with path, sha256 and a count")
    return parsed


def verify() -> list[str]:
    """Return what is wrong with the files on disk: missing, left over, changed, miscounted, ids
    used twice; nothing if all is well.
    """
    try:
        listed = manifest()
    except (OSError, ValueError) as error:
        return [f"manifest.json: cannot be read: {error!r}"]
    entries = [*listed["files"], *listed["twins"]]
    problems = [problem for entry in entries for problem in _problems_of(entry)]
    problems += [
        f"{path}: not in the manifest" for path in _on_disk() if path not in {entry["path"] for entry in entries}
    ]
    ids = [case_id for entry in listed["files"] for case_id in _ids(entry["path"])]
    problems += [f"{case_id}: the id is used twice" for case_id, times in sorted(Counter(ids).items()) if times > 1]
    if len(ids) != listed["cases"]:
        problems.append(f"manifest.json: {listed['cases']} cases are listed, {len(ids)} are there")
    return problems if ids else [*problems, "there are no vectors"]


def read(path: str) -> bytes:
    """Return a file of the specification, such as "rope.md"; one of more than 64 MiB is refused."""
    source = _SPEC
    parts = path.split("/") if isinstance(path, str) else [""]
    if any(part in ("", ".", "..") or set(part) & set("\\:\0") for part in parts):
        raise SpecError(f"path={_shown(path)}: is no path of the specification")
    for part in parts:
        source = source.joinpath(part)
    if not source.is_file():  # a pipe may never end
        raise FileNotFoundError(f"{_shown(path)} is no file of the specification")
    with source.open("rb") as stream:
        content: bytes = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise SpecError(f"{path}: more than {LARGEST_FILE} bytes")
    return content


def _parsed(path: str, largest: int) -> dict[str, Any]:
    """Return the object in a file, whose size and number of values are limited before it is
    decoded.
    """
    content = read(path)
    if len(content) > largest or content.count(b",") + content.count(b"[") + content.count(b"{") > MOST_VALUES:
        raise SpecError(f"{path}: more than {largest} bytes or {MOST_VALUES} values")
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise SpecError(f"{path}: is no JSON object")
    return parsed


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _is_entry(entry: Any, count: str) -> bool:
    texts = isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("path", "sha256"))
    return texts and type(entry.get(count)) is int


def _shown(value: object) -> str:
    """Return a value in a few characters, whatever it is."""
    if not isinstance(value, str):
        return f"<{type(value).__name__}>"
    return ascii(value if len(value) <= SHOWN else value[:SHOWN] + "..")


def _document(path: str) -> dict[str, Any]:
    """Return a parsed vector file."""
    parsed = _parsed(path, LARGEST_FILE)
    notes = parsed.get("notes")
    flags = isinstance(notes, dict) and all(
        flag[:1] == "M" and flag[1:].isdecimal() and len(flag) < 8 for flag in notes
    )
    whole = isinstance(parsed.get("topic"), str) and flags
    cases = _list(parsed.get("cases"))
    if not whole or not all(isinstance(case, dict) and isinstance(case.get("id"), str) for case in cases):
        raise SpecError(f"{path}: holds no vectors")
    return parsed


def _all_cases(topic: str | None = None) -> Iterator[Case]:
    """Yield the cases of all files, or of those of one topic."""
    for path in files():
        document = _document(path)
        if topic is None or document["topic"] == topic:
            yield from document["cases"]


@lru_cache(maxsize=1)
def _file_of() -> dict[str, str]:
    """Return the file of each id; files do not change while a program runs."""
    return {case_id: path for path in files() for case_id in _ids(path)}


def _ids(path: str) -> list[str]:
    """Return the ids of a file, none if it cannot be read."""
    try:
        return [case["id"] for case in _document(path)["cases"]]
    except (OSError, ValueError):
        return []


def _on_disk() -> list[str]:
    """Return the vector files that are there."""
    folder: Traversable = _SPEC.joinpath("vectors")
    names = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
    return [f"vectors/{name}" for name in names if name.endswith((".json", ".safetensors"))]


def _problems_of(entry: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one file of the manifest."""
    path = entry["path"]
    try:
        content = read(path)
    except FileNotFoundError:
        yield f"{path}: missing"
        return
    except (OSError, ValueError) as error:
        yield f"{path}: cannot be read: {error!r}"
        return
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        yield f"{path}: the SHA-256 is not that of the manifest"
    if "cases" in entry and len(_ids(path)) != entry["cases"]:
        yield f"{path}: {entry['cases']} cases are listed, {len(_ids(path))} are there"
