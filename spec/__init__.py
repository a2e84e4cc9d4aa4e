"""The specification: rules (rope.md), golden vectors and their loader.

The loader needs the standard library alone. What it returns is parsed anew on each call, so that callers may change it.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files as _resources
from importlib.resources.abc import Traversable
from typing import Any, TypeAlias

__all__ = ["files", "manifest", "notes", "read", "vector", "vectors", "verify"]

Case: TypeAlias = dict[str, Any]
LARGEST_FILE = 64 * 2**20  # bytes

_SPEC = _resources(__package__ or __name__)


def vectors(topic: str | None = None) -> list[Case]:
    """Return the golden vectors, or those of one topic, as JSON objects in the order of the files; withdrawn ones are left out."""
    return [case for case in _all_cases(topic) if "withdrawn" not in case]


def vector(case_id: str) -> Case:
    """Return the golden vector of that id, a withdrawn one too; KeyError names ids that are close."""
    path = _file_of().get(case_id)
    if path is None:
        close = difflib.get_close_matches(case_id, _file_of(), n=3)
        raise KeyError(f"no vector {case_id!r}" + (f"; did you mean {', '.join(map(repr, close))}?" if close else ""))
    return next(case for case in _document(path)["cases"] if case["id"] == case_id)


def files() -> list[str]:
    """Return the vector files that the manifest lists, below the folder of this package, in order."""
    return [entry["path"] for entry in manifest()["files"]]


def notes() -> dict[str, dict[str, Any]]:
    """Return the note on every flag that a vector carries: {"M3": {"bug", "effect", "seen"}}."""
    found: dict[str, dict[str, Any]] = {}
    for path in files():
        found |= _document(path)["notes"]
    return dict(sorted(found.items(), key=lambda item: int(item[0][1:])))


def manifest() -> dict[str, Any]:
    """Return the manifest: every file with its SHA-256 and its number of cases, or of tensors."""
    parsed: dict[str, Any] = json.loads(read("manifest.json"))
    return parsed


def verify() -> list[str]:
    """Return what is wrong with the files on disk: missing, left over, changed, miscounted, ids used twice; nothing if all is well."""
    try:
        listed = manifest()
        entries = [*listed["files"], *listed["twins"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"manifest.json: cannot be read: {error!r}"]
    problems = [problem for entry in entries for problem in _problems_of(entry)]
    problems += [
        f"{path}: not in the manifest" for path in _on_disk() if path not in {entry["path"] for entry in entries}
    ]
    ids = [case_id for entry in listed["files"] for case_id in _ids(entry["path"])]
    problems += [f"{case_id}: the id is used twice" for case_id in sorted({one for one in ids if ids.count(one) > 1})]
    if len(ids) != listed["cases"]:
        problems.append(f"manifest.json: {listed['cases']} cases are listed, {len(ids)} are there")
    return problems if ids else [*problems, "there are no vectors"]


def read(path: str) -> bytes:
    """Return a file of the specification, such as "rope.md"; one of more than 64 MiB is refused."""
    source = _SPEC
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise ValueError(f"{path!r} is no path of the specification")
        source = source.joinpath(part)
    with source.open("rb") as stream:
        content: bytes = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{path}: more than {LARGEST_FILE} bytes")
    return content


def _document(path: str) -> dict[str, Any]:
    """Return a parsed vector file."""
    parsed: dict[str, Any] = json.loads(read(path))
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
        return [str(case["id"]) for case in _document(path)["cases"]]
    except (OSError, ValueError, KeyError, TypeError):
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
