"""Safetensors files: their headers, and the files of a checkpoint that belong together.

Source: github.com/huggingface/safetensors.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ropecore.arguments import PathLike, checked
from ropecore.errors import RopeError
from ropecore.limits import open_file, parse_json, read_json

LARGEST_HEADER = 100_000_000  # bytes; the limit of the format's own reader, and ours for an index
MOST_VALUES = 1 << 22  # of a header or an index: ten a tensor
MOST_DIMENSIONS = 64
INDEX_SUFFIX = ".safetensors.index.json"

BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


class Tensor(NamedTuple):
    """One tensor of a file: its bytes are [start, stop) after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensor."""
        return self.stop - self.start


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself: its tensors in the order of their bytes, and its
    metadata.
    """

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    length: int = 0  # bytes before the first tensor

    @property
    def data_bytes(self) -> int:
        """Bytes of all tensors."""
        return self.tensors[-1].stop if self.tensors else 0

    def to_bytes(self) -> bytes:
        """Return the header as the format has it: a length, and JSON that is padded to a multiple
        of 8.
        """
        mapping: dict[str, Any] = {"__metadata__": dict(self.metadata)} if self.metadata else {}
        for tensor in self.tensors:
            offsets = [tensor.start, tensor.stop]
            mapping[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        text = json.dumps(mapping, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


@dataclass(frozen=True)
class Checkpoint:
    """Safetensors files that belong together: one, or the shards that an index lists."""

    folder: Path
    headers: Mapping[str, Header]  # by file name
    index: str | None = None  # file name
    is_folder: bool = False

    @property
    def data_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(header.data_bytes for header in self.headers.values())


@checked
def open_checkpoint(path: PathLike) -> Checkpoint:
    """Return the files of a checkpoint with their headers: of a .safetensors file, an index, or a
    folder that has one of them.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob(f"*{INDEX_SUFFIX}")) or sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            cure = f"Name one: {', '.join(file.name for file in found)}." if found else ""
            raise RopeError("checkpoint", str(path), f"has {len(found)} safetensors files and no index of them", cure)
        return replace(open_checkpoint(found[0]), is_folder=True)
    if not path.name.endswith(INDEX_SUFFIX):
        return Checkpoint(path.parent, {path.name: read_header(path)})
    weight_map = _read_index(path)
    shards = sorted(set(weight_map.values()))
    headers = {shard: read_header(path.parent / shard) for shard in shards}
    names = {shard: {tensor.name for tensor in header.tensors} for shard, header in headers.items()}
    missing = sorted(name for name, shard in weight_map.items() if name not in names[shard])
    if missing:
        raise RopeError("index", missing, "names tensors that their files do not have", "Is a download incomplete?")
    return Checkpoint(path.parent, headers, path.name, is_folder=True)


@checked
def read_header(path: PathLike) -> Header:
    """Return the header of a safetensors file, checked against the file: sizes, offsets, overlaps,
    gaps, keys given twice.

    A file is a 64-bit little-endian length, that many bytes of JSON, and the tensors' bytes without
    gaps. RopeError for anything else, as a file is not trusted.  Source:
    github.com/huggingface/safetensors.
    """
    try:
        with open_file("checkpoint", path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
                reason = f"is no safetensors file: its header would have {length} bytes"
                raise RopeError("checkpoint", str(path), reason, "Is the download complete?")
            text = file.read(length)
    except OSError as error:
        raise RopeError("checkpoint", str(path), f"cannot be read: {error.strerror}") from error
    mapping = parse_json("checkpoint", text, source=str(path), largest=LARGEST_HEADER, most_values=MOST_VALUES)
    if not isinstance(mapping, dict):
        raise RopeError("checkpoint", str(path), "is not a JSON object")
    metadata = mapping.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise RopeError("checkpoint", str(path), "has metadata that are not strings")
    tensors = sorted((_tensor(path, name, entry) for name, entry in mapping.items()), key=lambda t: (t.start, t.stop))
    end = 0
    for tensor in tensors:
        if tensor.start != end:
            problem = "overlaps the tensor before it" if tensor.start < end else "leaves a gap before it"
            raise RopeError("checkpoint", str(path), f"{tensor.name} {problem}")
        end = tensor.stop
    if 8 + length + end != size:
        reason = f"has {size} bytes, and its header accounts for {8 + length + end}"
        raise RopeError("checkpoint", str(path), reason, "Is the download complete?")
    return Header(tuple(tensors), metadata, 8 + length)


def _tensor(path: Any, name: str, entry: Any) -> Tensor:
    """Return a header's entry as a tensor, or refuse it."""

    def sizes(values: Any) -> bool:
        short = isinstance(values, list) and len(values) <= MOST_DIMENSIONS
        return short and all(type(n) is int and 0 <= n < 1 << 63 for n in values)

    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise RopeError("checkpoint", str(path), f"{name!r} must have a dtype, a shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise RopeError(
            "checkpoint", str(path), f"{name!r} has the unknown dtype {dtype!r}", f"Known: {', '.join(BITS)}."
        )
    if not sizes(shape) or not sizes(offsets) or len(offsets) != 2:
        raise RopeError("checkpoint", str(path), f"the shape or the offsets of {name!r} are not sizes")
    start, stop = offsets
    if 8 * (stop - start) != math.prod(shape) * BITS[dtype]:
        raise RopeError("checkpoint", str(path), f"{name!r} has {stop - start} bytes, which {dtype} {shape} has not")
    return Tensor(name, dtype, tuple(shape), start, stop)


def _read_index(path: Path) -> dict[str, str]:
    """Return which file has each tensor; only plain names of files beside the index are taken."""
    weight_map = read_json("index", path, largest=LARGEST_HEADER, most_values=MOST_VALUES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise RopeError("index", str(path), "has no weight_map")
    for shard in weight_map.values():
        if not isinstance(shard, str) or not shard.endswith(".safetensors") or set(shard) & set("/\\:\0"):
            raise RopeError("index", shard, "is not the name of a .safetensors file beside the index")
    return weight_map
