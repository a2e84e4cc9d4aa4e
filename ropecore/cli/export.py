"""Vectors as plain data: JSON, NumPy's npz, CSV and safetensors."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ropecore._version import __version__
from ropecore.weights.safetensors_file import Header, Tensor


def _arrays(case: Any, path: str) -> Iterable[tuple[str, np.ndarray[Any, Any]]]:
    """Yield every array of a case with its name, id/x, id/result/y and so on."""
    if isinstance(case, dict) and {"shape", "data"} <= case.keys():
        numbers = [
            float(n) if isinstance(n, str) and "n" in n.lower() else int(n) if isinstance(n, str) else n
            for n in case["data"]
        ]
        whole = bool(numbers) and all(isinstance(n, int) for n in numbers)
        yield path, np.array(numbers, np.int64 if whole else np.float64).reshape(case["shape"])
    elif isinstance(case, (dict, list)):
        for key, value in case.items() if isinstance(case, dict) else enumerate(case):
            yield from _arrays(value, f"{path}/{key}")


def _named_arrays(cases: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: array for case in cases for name, array in _arrays(case, case["id"])}


def _json(cases: list[dict[str, Any]]) -> bytes:
    return json.dumps(cases, indent=None).encode() + b"\n"


def _npz(cases: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **_named_arrays(cases))
    return file.getvalue()


def _csv(cases: list[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    rows = csv.writer(file)
    rows.writerow(["array", "index", "value"])
    for name, array in _named_arrays(cases).items():
        rows.writerows([name, " ".join(map(str, index)), repr(value.item())] for index, value in np.ndenumerate(array))
    return file.getvalue().encode()


def _safetensors(cases: list[dict[str, Any]]) -> bytes:
    tensors, blobs, start = [], [], 0
    for name, array in _named_arrays(cases).items():
        blob = array.astype(array.dtype.newbyteorder("<")).tobytes()
        dtype = "I64" if array.dtype.kind == "i" else "F64"
        tensors.append(Tensor(name, dtype, array.shape, start, start + len(blob)))
        blobs.append(blob)
        start += len(blob)
    header = Header(tuple(tensors), {"license": "CC0-1.0", "source": f"ropecore {__version__}"})
    return b"".join([header.to_bytes(), *blobs])


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "json": _json,
    "npz": _npz,
    "csv": _csv,
    "safetensors": _safetensors,
}
