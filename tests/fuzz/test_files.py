"""Every format that is read, from right files with bytes changed, and from JSON of every shape: it
is read or refused.
"""

import argparse
import contextlib
import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import CONFIG, EXAMPLES, JSON, PLAN
from hypothesis import given, settings
from hypothesis import strategies as st

from ropecore import RopeConfig, RotaryPlan, read_configs, spec
from ropecore.cli import main
from ropecore.cli.convert import config_sizes
from ropecore.conformance import program
from ropecore.conformance.expected import read_expectations
from ropecore.limits import parse_json, read_json
from ropecore.weights.convert import convert_checkpoint
from ropecore.weights.safetensors_file import open_checkpoint, read_header

FRAGMENTS = [
    b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"-", b"e999", b"0" * 40, b"1" * 5000, b"null", b"true", b"NaN", b"Infinity", b'"\\ud800"', b"\xff",
    b"\0", b"[" * 3000, b"[],", b'{"a":1,"a":2}', b"1e400", b"-0", b"18446744073709551616", b"\xef\xbb\xbf", b'"x":', b'"__metadata__":', b"\n",
]  # fmt: skip
BESIDE = RopeConfig(head_dim=8, base=100.0, pairing="interleaved", rotary_dim=6).plan()


def safetensors(tensors: dict[str, list[int]]) -> bytes:
    """A file of float32 tensors of zeros."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(at)


def gguf(fields: dict[str, Any]) -> bytes:
    """A GGUF file of texts, integers and floats, without tensors."""
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields))
    for name, value in fields.items():
        data += struct.pack("<Q", len(name)) + name.encode()
        if isinstance(value, str):
            data += struct.pack("<IQ", 8, len(value)) + value.encode()
        elif isinstance(value, list):
            data += struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)
        else:
            data += struct.pack("<II", 4, value) if isinstance(value, int) else struct.pack("<If", 6, value)
    return data


GGUF_KEYS = {
    "embedding_length": 64, "attention.head_count": 4, "context_length": 64, "rope.freq_base": 1e4, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 32, "rope.dimension_count": 16, "rope.dimension_sections": [4, 2, 2, 0],
}  # fmt: skip
ASKED = argparse.Namespace(head_dim=None, rotary_dim=None, lane_offset=None, lenient=True, to="interleaved")
MODEL = safetensors({"layers.0.q_proj.weight": [16, 2], "layers.0.k_proj.weight": [8, 2], "norm.weight": [2]})
STARTED = {
    "protocol": program.PROTOCOL, "name": "a", "version": "1", "language": "C",
    "capabilities": {"dtypes": ["float32"], "features": ["half_split"], "not_applicable": {"axes": "no"}},
}  # fmt: skip
ANSWER = {"id": 1, "y": {"shape": [1, 2], "data": [0.5, "NaN"]}}
INDEX = {"metadata": {}, "weight_map": {"layers.0.q_proj.weight": "model-1.safetensors"}}
MANIFEST = {
    "schema": "ropecore-manifest/1",
    "cases": 1,
    "files": [{"path": "vectors/a.json", "sha256": "0", "cases": 1}],
    "twins": [],
}
VECTORS = {"topic": "a", "notes": {"M1": {}}, "cases": [{"id": "a/b"}]}


@st.composite
def changed(draw: st.DrawFn, seed: bytes) -> bytes:
    """A file with a few bytes changed, cut, doubled or put in."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["put", "cut", "change", "double", "end"])):
            case "put":
                content[at:at] = draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=4))
            case "cut":
                del content[at : at + draw(st.integers(1, 16))]
            case "change" if at < len(content):
                content[at] = draw(st.integers(0, 255))
            case "double":
                content[at:at] = content[max(0, at - draw(st.integers(1, 32))) : at]
            case "end":
                del content[at:]
    return bytes(content)


def texts(right: Any) -> st.SearchStrategy[bytes]:
    """Texts near the JSON of a right value, JSON of the same keys with other values, any JSON, and
    any bytes.
    """
    seed = json.dumps(right).encode()
    keys = right if isinstance(right, dict) else {"a": right}
    values = st.fixed_dictionaries({}, optional={key: JSON | st.just(value) for key, value in keys.items()})
    other = (values | JSON).map(lambda value: json.dumps(value).encode())
    return changed(seed) | other | st.binary(max_size=64)


def ask(line: bytes) -> Any:
    reply = program.parse(line)
    program.check_answer(reply, 1)
    return program.result(reply, np.dtype(np.float32))


def read_spec(content: bytes) -> Any:
    """Read files of the specification that are all these bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec, "read", lambda path: content if path == "manifest.json" else json.dumps(VECTORS).encode())
        assert isinstance(spec.verify(), list)
        return spec.vectors()


def read_vectors(content: bytes) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec, "read", lambda path: content if path != "manifest.json" else json.dumps(MANIFEST).encode())
        assert isinstance(spec.verify(), list)
        return spec.vectors(), spec.notes()


def journal(folder: Path, content: bytes) -> Any:
    """Go on with a conversion whose journal is these bytes."""
    source, output = folder / "in.safetensors", folder / "out.safetensors"
    source.write_bytes(MODEL)
    output.unlink(missing_ok=True)
    stage = folder / ".out.safetensors.ropecore-partial"
    stage.mkdir(exist_ok=True)
    (stage / "journal.jsonl").write_bytes(content)
    convert_checkpoint(source, output, PLAN, BESIDE, n_heads=2, n_kv_heads=1)
    return output.unlink()


def shards(folder: Path, content: bytes) -> Any:
    (folder / "model-1.safetensors").write_bytes(MODEL)
    (folder / "model.safetensors.index.json").write_bytes(content)
    return open_checkpoint(folder / "model.safetensors.index.json")


def converted(folder: Path, content: bytes) -> Any:
    (folder / "m.safetensors").write_bytes(content)
    return convert_checkpoint(
        folder / "m.safetensors", folder / "n.safetensors", PLAN, BESIDE, n_heads=2, n_kv_heads=1, dry_run=True
    )


def of_file(read: Callable[[Path], Any]) -> Callable[[Path, bytes], Any]:
    """Return a function of bytes for one of a file."""

    def written(folder: Path, content: bytes) -> Any:
        (folder / "file").write_bytes(content)
        return read(folder / "file")

    return written


FORMATS: dict[str, tuple[Callable[[Path, bytes], Any], st.SearchStrategy[bytes]]] = {
    "plan JSON": (lambda folder, content: RotaryPlan.from_json(content), texts(PLAN.to_dict())),  # type: ignore[arg-type]
    "config JSON": (of_file(lambda file: RopeConfig.from_dict(read_json("source", file))), texts(CONFIG.to_dict())),
    "JSON": (lambda folder, content: parse_json("text", content), texts({"a": [1, {"b": "c"}]})),
    "sizes of a config": (
        of_file(lambda file: config_sizes(read_json("source", file), ASKED, converted=False)),
        texts({"model_type": "llama", "num_attention_heads": 4, "hidden_size": 64, "rope_scaling": {"partial_rotary_factor": 0.5}, "rotary_pct": 0.5, "text_config": {}}),
    ),
    "safetensors": (of_file(read_header), changed(MODEL)),
    "safetensors, converted": (converted, changed(MODEL)),
    "index": (shards, texts(INDEX)),
    "journal": (journal, changed(b'{"journal": "ropecore-convert/1", "job": "x"}\n{"shard": "in.safetensors", "bytes": 8}\n')),
    "answer": (lambda folder, content: ask(content), texts(ANSWER)),
    "started": (lambda folder, content: program.capabilities(program.parse(content)), texts(STARTED)),
    "capabilities": (lambda folder, content: program.capabilities({**STARTED, "capabilities": program.parse(content)}), texts(STARTED["capabilities"])),
    "manifest": (lambda folder, content: read_spec(content), texts(MANIFEST)),
    "vectors": (lambda folder, content: read_vectors(content), texts(VECTORS)),
    "GGUF": (
        lambda folder, content: [(folder / "m.gguf").write_bytes(content), read_configs(folder / "m.gguf", strict=False)],
        changed(gguf({"general.architecture": "llama"} | {f"llama.{key}": value for key, value in GGUF_KEYS.items()})),
    ),
    "model configuration": (
        lambda folder, content: [(folder / "config.json").write_bytes(content), read_configs(folder, strict=False)],
        texts({"model_type": "llama", "head_dim": 16, "rope_theta": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    ),
    "expected failures": (of_file(read_expectations), changed(b"# a\nrotate/*  why\n") | st.binary(max_size=40)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_files_are_read_or_refused(name: str, attempt: Callable[..., Any], tmp_path: Path) -> None:
    read, contents = FORMATS[name]

    @settings(settings.get_profile("fuzz"), max_examples=4 * EXAMPLES)
    @given(contents)
    def tried(content: bytes) -> None:
        attempt(name, lambda: read(tmp_path, content))

    tried()


NUMBERS = [
    "1",
    "8",
    "64",
    "0",
    "-1",
    "1e308",
    "nan",
    "inf",
    "9" * 5000,
    "x",
    "",
    "half_split",
    "interleaved",
    "1.5",
    "\udcff",
]
OPTIONS = {
    "explain": ["--head-dim", "--base", "--pairing", "--rotary-dim", "--scaling", "--context", "--axes", "--sections", "--lane-offset", "--direction", "--seq-len"],
    "convert": ["--to", "--head-dim", "--n-heads", "--n-kv-heads", "--config", "--output", "--pattern", "--fused"],
    "vectors": ["show", "list", "rotate/half_split/d8/pos257", "[", "*"],
    "conformance": ["--list", "--topic", "--case", "--flag", "--timeout", "--command", "--badge", "--json"],
    "models": ["llama*", "[", "--json"],
    "identify": ["math:sqrt", "--head-dim", "--axes", "--dtype", "--expect"],
}  # fmt: skip


@st.composite
def commands(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(OPTIONS)))
    words = st.sampled_from(OPTIONS[name]) | st.sampled_from(NUMBERS)
    return [name, *draw(st.lists(words, max_size=8)), *(["--list"] if name == "conformance" else [])]


def test_the_command_line_answers_with_a_status(attempt: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)

    @contextlib.contextmanager
    def quiet() -> Iterator[None]:
        out = io.TextIOWrapper(io.BytesIO(), "utf-8")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO(), "utf-8")):
            yield

    @settings(settings.get_profile("fuzz"), max_examples=4 * EXAMPLES)
    @given(commands())
    def tried(words: list[str]) -> None:
        with quiet():
            assert attempt("command line", lambda: main(words), SystemExit) in (0, 1, 2, None)

    tried()
