"""The files: JSON, safetensors, the manifest; and the refusal to change what was released."""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .cases import Case
from .figures import FIGURES
from .flags import NOTES
from .listing import filled
from .schemas import SCHEMAS
from .withdrawn import WITHDRAWN

SPEC = Path(__file__).resolve().parent.parent
LICENSE = "CC0-1.0"
SPECIAL = {float("inf"): "Infinity", float("-inf"): "-Infinity"}


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NaN, infinities and integers beyond 2^53 become strings."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return SPECIAL.get(value, "NaN")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    return value


def inline(value: Any) -> str:
    """Return JSON on one line; Python writes the shortest decimals that give back a number."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def lines(value: Mapping[str, Any], depth: int, indent: str = "") -> str:
    """Return an object with one key a line, down to that depth; what lies deeper stands on its
    line.
    """
    deeper = indent + " "
    parts = [
        f"{deeper}{inline(key)}: {lines(item, depth - 1, deeper) if depth > 1 and isinstance(item, Mapping) else inline(item)}"
        for key, item in value.items()
    ]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def document(topic: str, cases: list[Case]) -> str:
    """Return the text of a vector file."""
    notes = sorted({flag for case in cases for flag in case["flags"]}, key=lambda flag: int(flag[1:]))
    head = {"schema": "ropecore-vectors/1", "topic": topic, "license": LICENSE}
    parts = [f" {inline(key)}: {inline(value)}" for key, value in head.items()]
    parts.append(f' "notes": {lines({flag: plain(NOTES[flag]) for flag in notes}, 1, " ") if notes else "{}"}')
    listed = ",\n  ".join(lines(plain(case), 2, "  ") for case in cases)
    return "{\n" + ",\n".join([*parts, f' "cases": [\n  {listed}\n ]']) + "\n}\n"


def file_name(case_id: str) -> str:
    """Return the file of a case: the path of its id without the last part."""
    return case_id.rpartition("/")[0].replace("/", "_") + ".json"


def arrays(value: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every array within a case with its path, and every bound as an array of its own."""
    if isinstance(value, Mapping) and {"shape", "data"} <= set(value):
        yield path, value
        if "bound" in value:
            yield f"{path}/bound", {"shape": value["shape"], "data": value["bound"]}
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from arrays(item, f"{path}/{key}")
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for number, item in enumerate(value):
            yield from arrays(item, f"{path}/{number}")


def tensor(data: list[Any]) -> tuple[str, bytes] | None:
    """Return dtype and bytes of an array's numbers; None where 64 bits cannot hold one, as some
    reject cases have it.
    """
    if any(isinstance(value, float) for value in data):
        return "F64", struct.pack(f"<{len(data)}d", *data)
    if all(isinstance(value, int) and abs(value) < 2**63 for value in data):
        return "I64", struct.pack(f"<{len(data)}q", *data)
    return None


def safetensors(cases: Iterable[Case]) -> tuple[bytes, int]:
    """Return the arrays of the cases in the safetensors format, and how many there are; names are
    in order, so bytes are too.
    """
    named = {case["id"] + path: array for case in cases for path, array in arrays(case)}
    header: dict[str, Any] = {"__metadata__": {"schema": "ropecore-vectors/1", "license": LICENSE}}
    body = b""
    for name in sorted(named):
        packed = tensor(named[name]["data"])
        if packed is not None:
            end = len(body) + len(packed[1])
            header[name] = {"dtype": packed[0], "shape": named[name]["shape"], "data_offsets": [len(body), end]}
            body += packed[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body, len(header) - 1


def checked(cases: Iterable[Case]) -> list[Case]:
    """Return the cases, with the reasons of withdrawn ones, after checking ids and flags."""
    known: dict[str, Case] = {}
    for case in cases:
        if case["id"] in known:
            raise ValueError(f"the id {case['id']} is used twice")
        unknown = set(case["flags"]) - set(NOTES)
        if unknown or not case["rules"]:
            raise ValueError(f"{case['id']}: no rules, or unknown flags {unknown}")
        reason = WITHDRAWN.get(case["id"])
        known[case["id"]] = case if reason is None else case | {"withdrawn": reason}
    if lost := set(WITHDRAWN) - set(known):
        raise ValueError(f"withdrawn, but not there: {sorted(lost)}")
    return list(known.values())


def generated(cases: Iterable[Case]) -> dict[str, bytes]:
    """Return every generated file: its path below spec/ and its bytes."""
    whole = checked(cases)
    by_file: dict[str, list[Case]] = {}
    by_topic: dict[str, list[Case]] = {}
    for case in whole:
        by_file.setdefault(file_name(case["id"]), []).append(case)
        by_topic.setdefault(case["id"].partition("/")[0], []).append(case)
    out, files, twins = {}, [], []
    for name, members in sorted(by_file.items()):
        text = document(members[0]["id"].partition("/")[0], members).encode()
        files.append(entry(f"vectors/{name}", text, cases=len(members)))
        out[f"vectors/{name}"] = text
    for topic, members in sorted(by_topic.items()):
        twin, count = safetensors(members)
        twins.append(entry(f"vectors/{topic}.safetensors", twin, tensors=count))
        out[f"vectors/{topic}.safetensors"] = twin
    out["manifest.json"] = manifest(len(whole), files, twins).encode()
    for name, schema in SCHEMAS.items():
        out[f"schema/{name}.schema.json"] = (json.dumps(schema(), indent=1) + "\n").encode()
    out |= {f"figures/{name}.svg": draw() for name, draw in FIGURES.items()}
    out["rope.md"] = filled((SPEC / "rope.md").read_text(encoding="utf-8"), whole).encode()
    return out


def entry(path: str, content: bytes, **counts: int) -> dict[str, Any]:
    """Return a file's entry in the manifest."""
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), **counts}


def manifest(cases: int, files: list[dict[str, Any]], twins: list[dict[str, Any]]) -> str:
    """Return the text of the manifest."""
    lists = {"files": files, "twins": twins}
    parts = [f' "{name}": [\n  ' + ",\n  ".join(map(inline, members)) + "\n ]" for name, members in lists.items()]
    return "{\n" + ",\n".join([' "schema": "ropecore-manifest/1"', f' "cases": {cases}', *parts]) + "\n}\n"


def existing() -> dict[str, Case]:
    """Return the cases on disk by id."""
    found: dict[str, Case] = {}
    for path in sorted((SPEC / "vectors").glob("*.json")):
        found |= {case["id"]: case for case in json.loads(path.read_text(encoding="utf-8"))["cases"]}
    return found


def changed(cases: Iterable[Case]) -> list[str]:
    """Return what would change a case that exists; withdrawing one is no change."""
    new = {case["id"]: {key: item for key, item in plain(case).items() if key != "withdrawn"} for case in cases}
    problems = []
    for case_id, case in existing().items():
        case.pop("withdrawn", None)
        if case_id not in new:
            problems.append(f"{case_id}: would be lost")
        elif inline(new[case_id]) != inline(case):
            problems.append(f"{case_id}: would change")
    return problems


def differences(files: Mapping[str, bytes]) -> list[str]:
    """Return how the files on disk differ from those generated."""
    found = []
    for path, content in files.items():
        on_disk = SPEC / path
        if not on_disk.is_file():
            found.append(f"{path}: missing")
        elif on_disk.read_bytes() != content:
            found.append(f"{path}: differs")
    return found + [f"{path}: not generated" for path in stale(files)]


def stale(files: Mapping[str, bytes]) -> list[str]:
    """Return vector files on disk that no case belongs to."""
    on_disk = [path for suffix in ("json", "safetensors") for path in (SPEC / "vectors").glob(f"*.{suffix}")]
    return sorted(name for name in (f"vectors/{path.name}" for path in on_disk) if name not in files)


def write(files: Mapping[str, bytes]) -> None:
    """Write the files that differ, and remove vector files that are left over."""
    for path, content in files.items():
        target = SPEC / path
        target.parent.mkdir(exist_ok=True)
        if not target.is_file() or target.read_bytes() != content:
            target.write_bytes(content)
    for path in stale(files):
        (SPEC / path).unlink()
