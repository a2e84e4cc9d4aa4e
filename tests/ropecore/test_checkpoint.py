"""Checkpoints are converted tensor by tensor, whole or not at all, and a run that was killed is
finished by the next.
"""

import argparse
import importlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import ropecore
from ropecore import RopeConfig, RopeError, convert_pairing
from ropecore.cli import main
from ropecore.cli.convert import config_sizes
from ropecore.weights import convert
from ropecore.weights.convert import VerificationError, convert_checkpoint
from ropecore.weights.safetensors_file import BITS, Header, Tensor, open_checkpoint, read_header

HEADS, KV_HEADS, HEAD_DIM, HIDDEN = 4, 2, 8, 12
INTERLEAVED, HALF_SPLIT = (
    RopeConfig(head_dim=HEAD_DIM, base=1e4, pairing=name).plan() for name in ("interleaved", "half_split")
)
SIZES = {"n_heads": HEADS, "n_kv_heads": KV_HEADS}
OPTIONS = ["--head-dim", str(HEAD_DIM), "--n-heads", str(HEADS), "--n-kv-heads", str(KV_HEADS)]


def layer(seed: int, prefix: str = "model.layers.0.", dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Tensors of a layer: what changes, and what does not."""
    rng = np.random.default_rng(seed)
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes = {
        "input_layernorm.weight": (HIDDEN,),
        "self_attn.q_proj.weight": (q, HIDDEN), "self_attn.q_proj.bias": (q,), "self_attn.q_norm.weight": (HEAD_DIM,),
        "self_attn.k_proj.weight": (kv, HIDDEN), "self_attn.k_proj.bias": (kv,), "self_attn.k_norm.weight": (KV_HEADS, HEAD_DIM),
        "self_attn.v_proj.weight": (kv, HIDDEN), "self_attn.o_proj.weight": (HIDDEN, q),
        "mlp.up_proj.weight": (20, HIDDEN), "self_attn.rotary_emb.inv_freq": (HEAD_DIM // 2,),
    }  # fmt: skip
    return {prefix + name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def expected(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same tensors in half-split, by convert_pairing."""
    result = dict(tensors)
    for name, tensor in tensors.items():
        for part, n_heads in (("q_proj", HEADS), ("k_proj", KV_HEADS), ("q_norm", 1), ("k_norm", KV_HEADS)):
            if f".{part}." in name:
                kind = "norm" if "norm" in part else "rows"
                flat = tensor.reshape(-1) if kind == "norm" else tensor
                new = convert_pairing(flat, INTERLEAVED, HALF_SPLIT, n_heads=n_heads, kind=kind)
                result[name] = new.reshape(tensor.shape)
    return result


def assert_same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert (tensor.dtype, tensor.shape) == (other[name].dtype, other[name].shape), name
        assert tensor.tobytes() == other[name].tobytes(), name


def to_half(source: Path, output: Path, **keywords: Any) -> convert.Conversion:
    return convert_checkpoint(source, output, INTERLEAVED, HALF_SPLIT, **{**SIZES, **keywords})


def raw_file(
    path: Path, tensors: list[tuple[str, str, tuple[int, ...], bytes]], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors of any dtype from their bytes."""
    entries, end = [], 0
    for name, dtype, shape, data in tensors:
        entries.append(Tensor(name, dtype, shape, end, end + len(data)))
        end += len(data)
    path.write_bytes(Header(tuple(entries), metadata or {}).to_bytes() + b"".join(data for *_, data in tensors))


def sharded(folder: Path, n_layers: int = 3) -> dict[str, np.ndarray]:
    """Write a folder with an index and a shard a layer; return all tensors."""
    folder.mkdir()
    weight_map, everything = {}, {}
    for i in range(n_layers):
        shard, tensors = f"model-{i + 1:05}-of-{n_layers:05}.safetensors", layer(i, f"model.layers.{i}.")
        save_file(tensors, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, shard)
        everything |= tensors
    index = {"metadata": {"total_size": sum(t.nbytes for t in everything.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (folder / "config.json").write_text(
        json.dumps({"hidden_size": HEADS * HEAD_DIM, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS})
    )
    return everything


def load_folder(folder: Path) -> dict[str, np.ndarray]:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_file(tmp_path: Path, dtype: Any) -> None:
    tensors = layer(0, dtype=dtype)
    save_file(tensors, tmp_path / "in.safetensors", metadata={"format": "pt"})
    before = (tmp_path / "in.safetensors").read_bytes()
    done = to_half(tmp_path / "in.safetensors", tmp_path / "out.safetensors")

    assert_same_bits(load_file(tmp_path / "out.safetensors"), expected(tensors))
    assert (tmp_path / "in.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.safetensors", "out.safetensors"]
    assert {name.removeprefix("model.layers.0.self_attn.") for name in done.converted} == {
        "q_proj.weight", "q_proj.bias", "q_norm.weight", "k_proj.weight", "k_proj.bias", "k_norm.weight",
    }  # fmt: skip
    with safe_open(tmp_path / "out.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt", "ropecore.pairing": "half_split"}


def test_there_and_back(tmp_path: Path) -> None:
    tensors = layer(0)
    save_file(tensors, tmp_path / "in.safetensors")
    to_half(tmp_path / "in.safetensors", tmp_path / "half.safetensors")
    convert_checkpoint(tmp_path / "half.safetensors", tmp_path / "back.safetensors", HALF_SPLIT, INTERLEAVED, **SIZES)

    assert_same_bits(load_file(tmp_path / "back.safetensors"), tensors)


def test_shards(tmp_path: Path) -> None:
    tensors = sharded(tmp_path / "in")
    before = snapshot(tmp_path / "in")
    done = to_half(tmp_path / "in", tmp_path / "out")

    assert_same_bits(load_folder(tmp_path / "out"), expected(tensors))
    assert snapshot(tmp_path / "in") == before
    index = "model.safetensors.index.json"
    assert (tmp_path / "out" / index).read_bytes() == (tmp_path / "in" / index).read_bytes()
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert (len(done.shards), done.tensors, len(done.converted)) == (3, 33, 18)


@pytest.mark.parametrize("name", ["", "model.safetensors.index.json"])
def test_an_empty_folder_is_filled(tmp_path: Path, name: str) -> None:
    sharded(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    to_half(tmp_path / "in" / name, tmp_path / "out")

    assert len(load_folder(tmp_path / "out")) == 11


def test_a_folder_with_one_file_and_a_file_into_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save_file(layer(0), tmp_path / "in" / "model.safetensors")
    to_half(tmp_path / "in", tmp_path / "out")
    (tmp_path / "other").mkdir()
    to_half(tmp_path / "in" / "model.safetensors", tmp_path / "other")

    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "other")


QUANTISED = [
    ("weight", "F8_E4M3", (32, 12), "rows"),
    ("weight_scale", "F32", (32, 1), "rows"),
    ("weight_packed", "I32", (32, 3), "rows"),
    ("weight", "U8", (32, 6), "rows"),
    ("weight", "F4", (32, 4), "rows"),
    ("scales", "BF16", (32, 2), "rows"),
    ("lora_A.weight", "F32", (3, 12), None),
    ("lora_B.weight", "F32", (32, 3), "rows"),
    ("lora_B.default.weight", "F32", (32, 3), "rows"),
    ("base_layer.weight", "F64", (32, 2), "rows"),
    ("lora_magnitude_vector", "F32", (32,), "rows"),
    ("weight_scale_inv", "F32", (4, 1), None),  # a block is a head
    ("weight_scale", "F32", (1,), None),
    ("input_scale", "F32", (), None),
    ("weight_shape", "I64", (2,), None),
    ("weight", "C64", (32, 1), "rows"),
]


@pytest.mark.parametrize(("suffix", "dtype", "shape", "moves"), QUANTISED)
def test_bytes_of_any_dtype(tmp_path: Path, suffix: str, dtype: str, shape: tuple[int, ...], moves: str | None) -> None:
    """What a query or key module of a quantised or adapted model holds moves by rows, or not at
    all, and keeps its bits.
    """
    size = int(np.prod(shape)) * BITS[dtype] // 8
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    name = f"layers.0.self_attn.q_proj.{suffix}"
    key = ("layers.0.self_attn.k_proj.weight", "F32", (16, 1), bytes(64))
    other = ("layers.0.self_attn.q_proj.bias", "F32", (32,), bytes(128))
    raw_file(tmp_path / "in.safetensors", [(name, dtype, shape, data.tobytes()), key, other])
    to_half(tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    header = read_header(tmp_path / "out.safetensors")
    written = (tmp_path / "out.safetensors").read_bytes()[header.length :][:size]

    new = data if moves is None else convert_pairing(data.reshape(32, -1), INTERLEAVED, HALF_SPLIT, n_heads=4)
    assert written == new.tobytes()
    assert header.tensors[0] == Tensor(name, dtype, shape, 0, size)


def test_scales_of_blocks_that_move_as_one(tmp_path: Path) -> None:
    """From the first four lanes to the last four: scales of four rows each change places."""
    before, after = (
        RopeConfig(head_dim=8, base=1e4, pairing="half_split", rotary_dim=4, lane_offset=offset).plan()
        for offset in (0, 4)
    )
    scales = np.arange(12, dtype=np.float32)
    tensors = {
        "q_proj.weight": np.zeros((32, 1)), "k_proj.weight": np.zeros((16, 1)),
        "q_proj.weight_scale": scales[:8], "k_proj.weight_scale": scales[8:],
    }  # fmt: skip
    save_file(tensors, tmp_path / "in.safetensors")
    convert_checkpoint(tmp_path / "in.safetensors", tmp_path / "out.safetensors", before, after, **SIZES)
    new = load_file(tmp_path / "out.safetensors")

    assert new["q_proj.weight_scale"].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert new["k_proj.weight_scale"].tolist() == [9, 8, 11, 10]


@pytest.mark.parametrize("fused", ["concat", "grouped"])
def test_fused_projections(tmp_path: Path, fused: str) -> None:
    rng = np.random.default_rng(0)
    heads = rng.normal(size=(HEADS + 2 * KV_HEADS, HEAD_DIM, HIDDEN)).astype(np.float32)
    name = "transformer.h.0.attn.query_key_value."
    tensors = {name + "weight": heads.reshape(-1, HIDDEN), name + "bias": heads[..., 0].ravel()}
    save_file(tensors, tmp_path / "in.safetensors")
    to_half(tmp_path / "in.safetensors", tmp_path / "out.safetensors", fused=fused)
    new = load_file(tmp_path / "out.safetensors")[name + "weight"].reshape(heads.shape)

    values = {"concat": {6, 7}, "grouped": {3, 7}}[fused]  # q q q q k k v v, or q q k v q q k v
    for i, head in enumerate(heads):
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        np.testing.assert_array_equal(new[i], head if i in values else head[order], err_msg=str(i))
    np.testing.assert_array_equal(load_file(tmp_path / "out.safetensors")[name + "bias"], new[..., 0].ravel())


def test_towers_are_left(tmp_path: Path) -> None:
    """A vision tower rotates in its own way; it is left, and reported."""
    tensors = (
        layer(0) | layer(1, "vision_tower.layers.0.") | {"visual.blocks.0.attn.qkv.weight": np.ones((5, 3), np.float32)}
    )
    save_file(tensors, tmp_path / "in.safetensors")
    done = to_half(tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    towers = {name: tensor for name, tensor in tensors.items() if not name.startswith("model.")}
    text = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}

    assert_same_bits(load_file(tmp_path / "out.safetensors"), expected(text) | towers)
    assert len(done.left) == 7


def test_patterns_name_other_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        f"encoder.{name}.kernel.weight": rng.normal(size=(heads * HEAD_DIM, 3))
        for name, heads in (("query", HEADS), ("key", KV_HEADS), ("q_proj", 1))
    }
    save_file(tensors, tmp_path / "in.safetensors")
    patterns = (("q", "*.query.*"), ("k", "encoder.key.*"))
    to_half(tmp_path / "in.safetensors", tmp_path / "out.safetensors", patterns=patterns)
    new = load_file(tmp_path / "out.safetensors")

    for name in ("query", "key"):
        full = f"encoder.{name}.kernel.weight"
        np.testing.assert_array_equal(new[full], convert_pairing(tensors[full], INTERLEAVED, HALF_SPLIT))
    np.testing.assert_array_equal(new["encoder.q_proj.kernel.weight"], tensors["encoder.q_proj.kernel.weight"])


def test_tensors_without_elements(tmp_path: Path) -> None:
    shapes = {"q_proj.weight": (32, 0), "k_proj.weight": (16, 0), "other": (0,), "more": (2,)}
    raw_file(tmp_path / "in.safetensors", [(n, "F32", s, bytes(4 * int(np.prod(s)))) for n, s in shapes.items()])
    to_half(tmp_path / "in.safetensors", tmp_path / "out.safetensors")

    assert {t.name: t.shape for t in read_header(tmp_path / "out.safetensors").tensors} == shapes


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    save_file(layer(0), tmp_path / "in.safetensors")
    done = to_half(tmp_path / "in.safetensors", tmp_path / "out.safetensors", dry_run=True)

    assert len(done.converted) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def test_progress_counts_every_byte_twice(tmp_path: Path) -> None:
    sharded(tmp_path / "in")
    seen: list[tuple[int, int]] = []
    done = to_half(tmp_path / "in", tmp_path / "out", progress=lambda *numbers: seen.append(numbers))

    assert seen[-1] == (2 * done.data_bytes, 2 * done.data_bytes)
    assert seen == sorted(seen)


# Refusals: nothing is written, and the reason is said.


def refused(tmp_path: Path, source: Path, match: str | None, **keywords: Any) -> RopeError:
    before = snapshot(tmp_path)
    with pytest.raises(RopeError, match=match) as refusal:
        to_half(source, keywords.pop("output", tmp_path / "out.safetensors"), **keywords)
    assert snapshot(tmp_path) == before
    return refusal.value


Q, K = "a.q_proj.weight", "a.k_proj.weight"


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"mlp.weight": (4, 4)}, "query or key projection"),
        ({Q: (32, 3)}, "no key projections"),
        ({K: (16, 3)}, "no query projections"),
        ({Q: (31, 3), K: (16, 3)}, r"must be 4 \* head_dim 8"),
        ({Q: (64, 3), K: (16, 3)}, "does it hold more"),  # a gate beside each head
        ({Q: (32, 3), K: (32, 3)}, "keys have n_kv_heads"),
        ({Q: (32, 3), K: (16, 3), "a.q_proj.qweight": (4, 4)}, "nobody knows how 'qweight'"),
        ({Q: (32, 3), K: (16, 3), "a.q_proj.weight_zero_point": (4, 4)}, "head_dim 8"),
        ({Q: (32, 3), K: (16, 3), "a.q_proj.weight_scale": (16, 1)}, "blocks of 2 rows cross lanes"),
        ({Q: (32, 3), K: (16, 3), "a.q_proj.weight_scale": (5, 1)}, "do not divide the 32 rows"),
        ({Q: (32, 3), K: (16, 3), "a.q_norm.weight": (12,)}, "head_dim 8"),
        ({"a.qkv_proj.weight": (64, 3)}, "must say how a.qkv_proj.weight holds"),
        ({Q: (32, 3), "a.kv_a_proj_with_mqa.weight": (24, 3)}, "projects keys with others"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, tensors: dict[str, tuple[int, ...]], match: str) -> None:
    source = tmp_path / "in.safetensors"
    save_file({name: np.zeros(shape, np.float32) for name, shape in tensors.items()}, source)

    assert refused(tmp_path, source, match).cure


def test_rows_that_end_within_a_byte_are_refused(tmp_path: Path) -> None:
    key = (K, "F4", (16, 2), bytes(16))
    raw_file(tmp_path / "in.safetensors", [(Q, "F4", (32, 1), bytes(16)), key])

    refused(tmp_path, tmp_path / "in.safetensors", "whole bytes")


def test_the_input_is_never_written_over(tmp_path: Path) -> None:
    sharded(tmp_path / "in")
    save_file(layer(0), tmp_path / "one.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "in")

    refused(tmp_path, tmp_path / "in", "is the input", output=tmp_path / "in")
    refused(tmp_path, tmp_path / "in", "is the input", output=tmp_path / "link")
    refused(tmp_path, tmp_path / "one.safetensors", "is the input", output=tmp_path / "one.safetensors")
    refused(tmp_path, tmp_path / "one.safetensors", "is the input", output=tmp_path)


def test_nothing_else_is_written_over(tmp_path: Path) -> None:
    sharded(tmp_path / "in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("kept")
    save_file(layer(0), tmp_path / "one.safetensors")
    (tmp_path / "out.safetensors").write_text("kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    refused(tmp_path, tmp_path / "in", "exists already", output=tmp_path / "full")
    refused(tmp_path, tmp_path / "in", "exists already", output=tmp_path / "dangling")
    refused(tmp_path, tmp_path / "one.safetensors", "exists already")
    refused(tmp_path, tmp_path / "one.safetensors", "must be a .safetensors file", output=tmp_path / "new")


def test_twice_is_refused(tmp_path: Path) -> None:
    save_file(layer(0), tmp_path / "in.safetensors")
    to_half(tmp_path / "in.safetensors", tmp_path / "half.safetensors")

    refused(tmp_path, tmp_path / "half.safetensors", "is half_split already")


@pytest.mark.parametrize(
    ("keywords", "argument"),
    [
        ({"n_heads": 0}, "n_heads"),
        ({"n_kv_heads": 3}, "n_kv_heads"),
        ({"fused": "mixed"}, "fused"),
        ({"patterns": (("query", "*"),)}, "patterns"),
        ({"patterns": (("q", "*q_proj*"), ("k", "*[qk]_proj*"))}, "patterns"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, keywords: dict[str, Any], argument: str) -> None:
    save_file(layer(0), tmp_path / "in.safetensors")

    assert refused(tmp_path, tmp_path / "in.safetensors", None, **keywords).argument == argument


def test_plans_that_need_the_same_weights_are_refused(tmp_path: Path) -> None:
    save_file(layer(0), tmp_path / "in.safetensors")
    with pytest.raises(RopeError, match="asks for the weights that plan_from has"):
        convert_checkpoint(tmp_path / "in.safetensors", tmp_path / "out.safetensors", INTERLEAVED, INTERLEAVED, **SIZES)


def entry(**change: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | change


def file_bytes(header: Any, data: int = 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "would have 0 bytes"),
        (b"\x02\x00\x00", "is no safetensors file"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "is no safetensors file"),
        ((100_000_001).to_bytes(8, "little") + b"{}", "is no safetensors file"),
        ((40).to_bytes(8, "little") + b"{}", "Is the download complete"),
        (file_bytes(b"[]"), "is not a JSON object"),
        (file_bytes(b"{]"), "is not valid JSON"),
        (file_bytes(b'{"a\xff": 1}'), "is not valid JSON"),
        (file_bytes(b"[" * 10_000 + b"]" * 10_000), "is not valid JSON"),
        (
            file_bytes(b'{"a": ' + json.dumps(entry()).encode() + b', "a": ' + json.dumps(entry()).encode() + b"}"),
            "twice",
        ),
        (file_bytes(b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'), "twice"),
        (file_bytes({"a": entry(dtype="F31")}), "unknown dtype"),
        (file_bytes({"a": entry(dtype=["F32"])}), "unknown dtype"),
        (file_bytes({"a": entry(shape=[3])}), "has 8 bytes"),
        (file_bytes({"a": entry(shape=2)}), "not sizes"),
        (file_bytes({"a": entry(shape=[2.0])}), "not sizes"),
        (file_bytes({"a": entry(shape=[True, 2])}), "not sizes"),
        (file_bytes({"a": entry(shape=[-1, -2])}), "not sizes"),
        (file_bytes({"a": entry(shape=[1 << 63, 0])}), "not sizes"),
        (file_bytes({"a": entry(data_offsets=[8, 0])}), "has -8 bytes"),
        (file_bytes({"a": entry(data_offsets=[0, 8, 16])}), "not sizes"),
        (file_bytes({"a": entry(more=1)}), "must have a dtype"),
        (file_bytes({"a": 1}), "must have a dtype"),
        (file_bytes({"a": entry(), "b": entry()}), "b overlaps"),
        (file_bytes({"a": entry(), "b": entry(data_offsets=[4, 12])}, 12), "b overlaps"),
        (file_bytes({"a": entry(), "b": entry(data_offsets=[12, 20])}, 20), "b leaves a gap"),
        (file_bytes({"a": entry(data_offsets=[4, 12])}, 12), "a leaves a gap"),
        (file_bytes({"a": entry()}, 9), "accounts for"),
        (file_bytes({"a": entry()}, 7), "accounts for"),
        (file_bytes({"__metadata__": {"a": 1}, "a": entry()}), "metadata that are not strings"),
        (file_bytes({"__metadata__": "a", "a": entry()}), "metadata that are not strings"),
    ],
)
def test_files_are_not_trusted(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)

    with pytest.raises(RopeError, match=match):
        read_header(tmp_path / "bad.safetensors")


def test_headers_are_read_and_written_as_by_the_library(tmp_path: Path) -> None:
    tensors = layer(0) | {'names with \u2603 and "quotes"': np.zeros(1)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"a": "b \u2603"})
    header = read_header(tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()[header.length :]
    (tmp_path / "b.safetensors").write_bytes(header.to_bytes() + data)

    assert_same_bits(load_file(tmp_path / "b.safetensors"), tensors)
    assert read_header(tmp_path / "b.safetensors").tensors == header.tensors
    assert len(header.to_bytes()) % 8 == 0
    with safe_open(tmp_path / "b.safetensors", "numpy") as file:
        assert file.metadata() == {"a": "b \u2603"}


@pytest.mark.parametrize(
    ("weight_map", "match"),
    [
        ({"a": "../in.safetensors"}, "not the name of a .safetensors file"),
        ({"a": "/etc/passwd"}, "not the name of a .safetensors file"),
        ({"a": "C:in.safetensors"}, "not the name of a .safetensors file"),
        ({"a": 1}, "not the name of a .safetensors file"),
        ({"a": "in.bin"}, "not the name of a .safetensors file"),
        ({"a": "absent.safetensors"}, "cannot be read: No such file"),
        ({"absent": "in.safetensors"}, "tensors that their files do not have"),
        ({}, "has no weight_map"),
        ([], "has no weight_map"),
    ],
)
def test_indexes_are_not_trusted(tmp_path: Path, weight_map: Any, match: str) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "in.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    with pytest.raises(RopeError, match=match):
        open_checkpoint(tmp_path)


def test_folders_must_say_which_file(tmp_path: Path) -> None:
    with pytest.raises(RopeError, match="has 0 safetensors files"):
        open_checkpoint(tmp_path)
    for name in "ab":
        save_file({"a": np.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(RopeError, match=r"Name one: a\.safetensors, b\.safetensors"):
        open_checkpoint(tmp_path)
    with pytest.raises(RopeError, match="No such file"):
        open_checkpoint(tmp_path / "absent.safetensors")


# Runs that end early.


class Crash(BaseException):
    """Stands for the end of the process."""


def crash_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Let the call-th of the steps that touch the disk for good raise, before it does anything."""
    count = 0

    def counted(step: Any) -> Any:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            nonlocal count
            count += 1
            if count == call:
                raise Crash
            return step(*arguments, **keywords)

        return wrapped

    steps = {os: ("fsync", "replace", "rename", "open"), shutil: ("rmtree",), Path: ("mkdir", "rmdir", "unlink")}
    for owner, name in ((owner, name) for owner, names in steps.items() for name in names):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_crash_before_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Every step that makes something lasting is once the last; the next
    run gives the same bytes.
    """
    sharded(tmp_path / "in")
    source, name = tmp_path / "in", "out"
    if kind == "file":
        source, name = tmp_path / "in" / "model-00001-of-00003.safetensors", "out.safetensors"
    to_half(source, tmp_path / f"reference-{name}")
    reference = (
        snapshot(tmp_path / f"reference-{name}") if kind == "folder" else (tmp_path / f"reference-{name}").read_bytes()
    )
    before, crashes, resumed = snapshot(tmp_path / "in"), 0, 0
    for call in range(1, 200):
        work = tmp_path / f"run-{call}"
        work.mkdir()
        with monkeypatch.context() as patch:
            crash_at(patch, call)
            try:
                to_half(source, work / name, commit_every=1000)
                break
            except Crash:
                crashes += 1
        if (work / name).exists():  # then it is whole
            assert (snapshot(work / name) if kind == "folder" else (work / name).read_bytes()) == reference
        done = to_half(source, work / name, commit_every=1000)
        resumed += done.resumed_bytes > 0
        result = snapshot(work / name) if kind == "folder" else (work / name).read_bytes()
        assert result == reference
        assert [path.name for path in work.iterdir()] == [name]
    else:
        pytest.fail("no run came to its end")

    assert crashes >= 15
    assert resumed >= crashes / 2
    assert snapshot(tmp_path / "in") == before


SLOW_RUN = textwrap.dedent(
    """
    import sys, time
    from ropecore import RopeConfig
    from ropecore.weights.convert import convert_checkpoint
    source, output, seconds = sys.argv[1:]
    before, after = (RopeConfig(head_dim=8, base=1e4, pairing=name).plan() for name in ("interleaved", "half_split"))
    print("ready", flush=True)
    done = convert_checkpoint(source, output, before, after, n_heads=4, n_kv_heads=2, commit_every=1,
                              progress=lambda done, total: time.sleep(float(seconds)))
    print(done.resumed_bytes)
    """
)


def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    """SIGKILL at ten moments of one conversion: each run goes on from the last, and the result has
    the bytes of a run in one go.
    """
    tensors = sharded(tmp_path / "in", 12)  # 3 seconds of pauses, of which ten runs take 1.2 at most
    to_half(tmp_path / "in", tmp_path / "reference")
    before, moments, kills, pauses = snapshot(tmp_path / "in"), random.Random(4), 0, 0
    command = [sys.executable, "-c", SLOW_RUN, str(tmp_path / "in"), str(tmp_path / "out")]
    while kills < 10:
        process = subprocess.Popen([*command, "0.008"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.0, 0.12))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, out
        assert not (tmp_path / "out").exists()
        kills += 1
        stage = tmp_path / ".out.ropecore-partial"
        pauses += stage.exists() and any(stage.rglob("*.partial"))
    last = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)

    assert int(last.stdout.split()[1]) > 0
    assert pauses > 0
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "reference")
    assert_same_bits(load_folder(tmp_path / "out"), expected(tensors))
    assert snapshot(tmp_path / "in") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "reference"]


def interrupted(source: Path, output: Path, after: int, **keywords: Any) -> None:
    """Begin a conversion and leave it when this many bytes are done."""

    def progress(done: int, total: int) -> None:
        if done >= after:
            raise Crash

    with pytest.raises(Crash):
        to_half(source, output, commit_every=1, progress=progress, **keywords)


def test_a_changed_source_is_begun_anew(tmp_path: Path) -> None:
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)
    interrupted(source, output, 2000)
    save_file(layer(1), source)
    os.utime(source, ns=(0, 0))
    done = to_half(source, output)

    assert done.resumed_bytes == 0
    assert_same_bits(load_file(output), expected(layer(1)))


def test_another_job_to_the_same_place_is_begun_anew(tmp_path: Path) -> None:
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)
    interrupted(source, output, 2000)
    convert_checkpoint(source, output, HALF_SPLIT, INTERLEAVED, **SIZES)

    with safe_open(output, "numpy") as file:
        assert file.metadata()["ropecore.pairing"] == "interleaved"


def test_files_that_another_job_finished_are_not_taken(tmp_path: Path) -> None:
    tensors = sharded(tmp_path / "in")
    one = sum(tensor.nbytes for tensor in layer(0).values())
    interrupted(tmp_path / "in", tmp_path / "out", 2 * one + 100)
    assert (tmp_path / ".out.ropecore-partial" / "files" / "model-00001-of-00003.safetensors").exists()
    convert_checkpoint(tmp_path / "in", tmp_path / "out", HALF_SPLIT, INTERLEAVED, **SIZES)
    to_half(tmp_path / "out", tmp_path / "back")

    assert_same_bits(load_folder(tmp_path / "back"), tensors)


def test_remains_beside_another_output_do_not_count(tmp_path: Path) -> None:
    """An empty folder of remains says nothing of a file that somebody else put where the output
    goes.
    """
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)
    (tmp_path / ".out.safetensors.ropecore-partial").mkdir()
    save_file({"other": np.zeros(2)}, output)

    with pytest.raises(RopeError, match="exists already"):
        to_half(source, output)
    assert load_file(output).keys() == {"other"}


@pytest.mark.parametrize("damage", ["cut", "cut journal", "no journal", "noise", "wrong bytes"])
def test_remains_of_any_kind(tmp_path: Path, damage: str) -> None:
    """Whatever a power cut leaves of the last run, the next gives the right bytes or says that it
    could not.
    """
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)
    interrupted(source, output, 2000)
    folder = tmp_path / ".out.safetensors.ropecore-partial"
    partial, journal = folder / "files" / "in.safetensors.partial", folder / "journal.jsonl"
    match damage:
        case "cut":
            partial.write_bytes(partial.read_bytes()[:1000])
        case "cut journal":
            journal.write_bytes(journal.read_bytes()[:-7])
        case "no journal":
            journal.unlink()
        case "noise":
            journal.write_bytes(journal.read_bytes() + b"\x00\xff\n")
        case "wrong bytes":
            content = bytearray(partial.read_bytes())
            content[1500] ^= 1
            partial.write_bytes(content)
            with pytest.raises(VerificationError, match="not what it should be; it will be written anew"):
                to_half(source, output)
            assert not output.exists()
    to_half(source, output)

    assert_same_bits(load_file(output), expected(layer(0)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.safetensors", "out.safetensors"]


def test_a_journal_that_was_cut_goes_on_in_a_new_line(tmp_path: Path) -> None:
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)
    interrupted(source, output, 2000)
    journal = tmp_path / ".out.safetensors.ropecore-partial" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    interrupted(source, output, 4500)

    assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    assert to_half(source, output).resumed_bytes > 2000


def test_what_is_written_wrongly_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads the file: it is no matter of trust in what was meant."""
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)
    pieces = convert._pieces

    def spoilt(file: Any, shard: Any, tensor: Tensor) -> Any:
        for piece in pieces(file, shard, tensor):
            yield bytes([piece[0] ^ 1]) + bytes(piece[1:]) if "k_proj.bias" in tensor.name else piece

    with monkeypatch.context() as patch:
        patch.setattr(convert, "_pieces", spoilt)
        with pytest.raises(VerificationError, match=r"k_proj\.bias"):
            to_half(source, output)
    assert not output.exists()
    to_half(source, output)

    assert_same_bits(load_file(output), expected(layer(0)))


def test_a_source_that_is_cut_meanwhile_is_seen(tmp_path: Path) -> None:
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)

    def cut(done: int, total: int) -> None:
        os.truncate(source, 2000)

    with pytest.raises(VerificationError, match="has become shorter"):
        to_half(source, output, progress=cut)
    assert not output.exists()


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    source, output = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(layer(0), source)
    interrupted(source, output, 2000)
    with open(tmp_path / ".out.safetensors.ropecore-partial" / "journal.jsonl", "ab") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        refused(tmp_path, source, "another process")
    to_half(source, output)

    assert output.exists()


def test_a_full_disk_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.safetensors"
    save_file(layer(0), source)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))

    with pytest.raises(RopeError, match="and the disk has 100"):
        to_half(source, tmp_path / "out.safetensors")


MEASURED_RUN = textwrap.dedent(
    """
    import json, sys, tracemalloc
    from ropecore.cli import main

    def peak():  # of resident memory, in bytes; this process alone
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

    import ropecore.weights.convert
    before = peak() if sys.platform == "linux" else 0
    if sys.argv[1] == "traced":
        tracemalloc.start()
    status = main(sys.argv[2:])
    traced = tracemalloc.get_traced_memory()[1] if sys.argv[1] == "traced" else 0
    print(json.dumps({"status": status, "traced": traced, "resident": peak() - before if sys.platform == "linux" else 0}))
    """
)


def test_memory_stays_far_below_the_largest_tensor(tmp_path: Path) -> None:
    """200 MB with a largest tensor of 64 MiB: the promise is under twice that, and it is a few
    chunks.
    """
    largest = 64 << 20
    shapes = {
        "model.embed_tokens.weight": (16384, 2048),
        "model.layers.0.self_attn.q_proj.weight": (8192, 4096),
        "model.layers.0.self_attn.k_proj.weight": (8192, 4096),
    }
    header = Header(
        tuple(Tensor(n, "BF16", s, i * largest, (i + 1) * largest) for i, (n, s) in enumerate(shapes.items())), {}
    )
    with open(tmp_path / "in.safetensors", "wb") as file:
        file.write(header.to_bytes())
        file.truncate(len(header.to_bytes()) + header.data_bytes)  # zeros, which take no room
    for way in ("resident", "traced"):
        arguments = [
            "convert",
            "in.safetensors",
            "--to",
            "half_split",
            "-o",
            f"{way}.safetensors",
            "--head-dim",
            "128",
            "--n-heads",
            "64",
        ]
        out = subprocess.run(
            [sys.executable, "-c", MEASURED_RUN, way, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        measured = json.loads(out.splitlines()[-1])

        assert measured["status"] == 0
        assert measured[way] < largest / 2
        assert measured[way] > 0 or sys.platform != "linux"


# The command line.


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(["convert", *arguments])
    except SystemExit as leave:
        status = int(leave.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(layer(0), tmp_path / "in.safetensors")
    status, out, err = run(
        capsys,
        str(tmp_path / "in.safetensors"),
        "--to",
        "half_split",
        "-o",
        str(tmp_path / "out.safetensors"),
        *OPTIONS,
    )

    assert (status, err) == (0, "")
    assert "converted 6 of 11 tensors from interleaved to half_split" in out
    assert "4 query and 2 key heads of 8 lanes, of which 8 rotate" in out
    assert_same_bits(load_file(tmp_path / "out.safetensors"), expected(layer(0)))


def test_the_command_reads_the_configuration_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = sharded(tmp_path / "in")
    status, out, _ = run(capsys, str(tmp_path / "in"), "--to", "half_split", "-o", str(tmp_path / "out"), "--json")
    said = json.loads(out)

    assert status == 0
    assert_same_bits(load_folder(tmp_path / "out"), expected(tensors))
    assert (said["head_dim"], said["n_heads"], said["n_kv_heads"], said["to"]) == (8, 4, 2, "half_split")
    assert (len(said["converted"]), said["tensors"], len(said["shards"])) == (18, 33, 3)
    assert said["output"] == str(tmp_path / "out")


def test_the_command_knows_how_models_rotate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Llama rotates half_split: asked for that, its weights are left in peace, unless they are
    said to be another program's.
    """
    (tmp_path / "in").mkdir()
    save_file(layer(0), tmp_path / "in" / "model.safetensors")
    config = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_theta": 1e4,
    }
    (tmp_path / "in" / "config.json").write_text(json.dumps(config))
    arguments = [str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--to"]
    status, out, err = run(capsys, *arguments, "half_split")

    assert (status, out) == (2, "")
    assert "is how this model rotates already" in err
    assert run(capsys, *arguments, "half_split", *OPTIONS, "--rotary-dim", "8", "--dry-run")[0] == 0
    assert run(capsys, *arguments, "interleaved")[0] == 0

    shutil.copy(tmp_path / "in" / "config.json", tmp_path / "out")
    status, out, _ = run(capsys, str(tmp_path / "out"), "-o", str(tmp_path / "back"), "--to", "half_split")
    assert status == 0, "the checkpoint's own metadata go before the model's family"
    assert_same_bits(load_folder(tmp_path / "back"), layer(0))


def test_the_command_converts_the_lanes_that_rotate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """GPT-NeoX rotates a quarter of each head unless its configuration says otherwise."""
    (tmp_path / "in").mkdir()
    rows = np.arange(3 * 64, dtype=np.float32)[:, None]
    save_file({"gpt_neox.layers.0.attention.query_key_value.weight": rows}, tmp_path / "in" / "model.safetensors")
    config = {
        "model_type": "gpt_neox",
        "hidden_size": 64,
        "num_attention_heads": 2,
        "rotary_pct": 0.25,
        "rotary_emb_base": 10000,
    }
    (tmp_path / "in" / "config.json").write_text(json.dumps(config))
    arguments = [str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--to", "interleaved", "--fused", "grouped"]
    status, out, _ = run(capsys, *arguments)
    new = load_folder(tmp_path / "out")["gpt_neox.layers.0.attention.query_key_value.weight"].ravel()

    assert status == 0
    assert "of which 8 rotate" in out
    assert new[:10].tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 9]
    assert new[64:96].tolist() == list(range(64, 96))


def test_the_command_converts_some_lanes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(layer(0), tmp_path / "in.safetensors")
    output = tmp_path / "out.safetensors"
    lanes = ["--rotary-dim", "6", "--lane-offset", "2"]
    status, out, _ = run(
        capsys, str(tmp_path / "in.safetensors"), "--to", "half_split", "-o", str(output), *OPTIONS, *lanes
    )
    name = "model.layers.0.self_attn.k_proj.bias"

    assert status == 0
    assert "of which 6 rotate" in out
    assert (
        load_file(output)[name].tolist()
        == layer(0)[name][[*[0, 1, 2, 4, 6, 3, 5, 7], *[8, 9, 10, 12, 14, 11, 13, 15]]].tolist()
    )


def test_the_command_says_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(layer(0) | layer(1, "vision_model."), tmp_path / "in.safetensors")
    arguments = [
        str(tmp_path / "in.safetensors"),
        "--to",
        "interleaved",
        "-o",
        str(tmp_path / "out.safetensors"),
        *OPTIONS,
    ]
    status, out, _ = run(capsys, *arguments, "--dry-run")

    assert status == 0
    assert "would convert 6 of 22 tensors from half_split to interleaved" in out
    assert "model.layers.0.self_attn.q_proj.weight" in out
    assert "left as they are: 6 tensors of vision and audio towers" in out
    assert not (tmp_path / "out.safetensors").exists()


def test_the_command_takes_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"query.weight": np.ones((32, 2)), "key.weight": np.ones((16, 2))}, tmp_path / "in.safetensors")
    arguments = [
        str(tmp_path / "in.safetensors"),
        "--to",
        "interleaved",
        "-o",
        str(tmp_path / "out.safetensors"),
        *OPTIONS,
    ]
    patterns = ["--pattern", "q=query.*", "--pattern", "k=key.*"]

    assert run(capsys, *arguments)[0] == 2
    assert run(capsys, *arguments, "--pattern", "value=*")[0] == 2
    assert run(capsys, *arguments, *patterns)[0] == 0


def test_statuses_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 converted, 1 failed on the way, 2 the call was wrong."""
    source, output = str(tmp_path / "in.safetensors"), str(tmp_path / "out.safetensors")
    save_file(layer(0), source)
    arguments = [source, "--to", "half_split", "-o", output, *OPTIONS]

    for wrong in (
        [source, "-o", output], [source, "--to", "half_split"], [source, "--to", "neox", "-o", output],
        [source, "--to", "half_split", "-o", output], [source, "--to", "half_split", "-o", source, *OPTIONS],
        [*arguments, "--rotary-dim", "5"], [*arguments, "--fused", "mixed"], [str(tmp_path / "absent"), *arguments[1:]],
    ):  # fmt: skip
        status, out, err = run(capsys, *wrong)
        assert (status, out) == (2, ""), wrong
        assert err

    def broken(*arguments: Any) -> None:
        raise VerificationError("in.safetensors: wrong")

    with monkeypatch.context() as patch:
        patch.setattr(convert, "_verify_shard", broken)
        status, out, err = run(capsys, *arguments)
        assert (status, out, err) == (1, "", "ropecore: in.safetensors: wrong\n")
    (tmp_path / "plain").write_text("")
    assert run(capsys, *arguments[:4], str(tmp_path / "plain" / "out.safetensors"), *OPTIONS)[0] == 1
    assert run(capsys, *arguments)[0] == 0


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")

    assert status == 0
    assert "ropecore convert " in out.split("examples:")[1]


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "glm"])
def test_a_model_gives_the_same_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Models of transformers, with biases (Qwen 2), norms (Qwen 3) and partial rotation (GLM 4,
    which is interleaved).

    The whole way: save_pretrained, `ropecore convert` with nothing but the folder, load, and rotate
    in the other pairing.
    """
    import torch
    import transformers

    names = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "glm": "Glm"}
    config = getattr(transformers, f"{names[family]}Config")(
        hidden_size=48, intermediate_size=32, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2, head_dim=12,
        vocab_size=50, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    kind = getattr(transformers, f"{names[family]}ForCausalLM")
    model = kind(config).to(torch.float64).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases of 0 and norms of 1 would hide what they are for
            parameter.copy_(torch.empty_like(parameter).uniform_(-0.5, 1.0))
    model.save_pretrained(tmp_path / "in")
    tokens = torch.randint(1, 50, (2, 9))
    to = "half_split" if family == "glm" else "interleaved"
    assert main(["convert", str(tmp_path / "in"), "--to", to, "-o", str(tmp_path / "out")]) == 0
    other = kind(config).to(torch.float64).eval()
    missing = other.load_state_dict(
        {k: torch.from_numpy(v) for k, v in load_folder(tmp_path / "out").items()}, strict=False
    )
    assert not missing.unexpected_keys

    def rotate_other(q: Any, k: Any, cos: Any, sin: Any, *rest: Any) -> Any:
        """The same angles on lanes of the other pairing; lanes behind them pass."""
        n = cos.shape[-1] // 2
        c, s = cos[:, None, :, :n], sin[:, None, :, :n]
        first, second = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if to == "interleaved" else (slice(n), slice(n, 2 * n))
        turned = []
        for x in (q, k):
            y = x.clone()
            y[..., first] = x[..., first] * c - x[..., second] * s
            y[..., second] = x[..., first] * s + x[..., second] * c
            turned.append(y)
        return tuple(turned)

    with torch.no_grad():
        wanted, unconverted = model(tokens).logits, other(tokens).logits
        monkeypatch.setattr(importlib.import_module(kind.__module__), "apply_rotary_pos_emb", rotate_other)
        got = other(tokens).logits

    close = (
        1e-6 if family == "qwen3" else 1e-12
    )  # its norm sums the lanes in float32, and these are in another order now
    scale = wanted.abs().max().item()
    torch.testing.assert_close(got, wanted, rtol=0, atol=close * scale)
    assert (unconverted - wanted).abs().max().item() > 1e-4 * scale


@pytest.mark.skipif(
    importlib.util.find_spec("rich") is None or importlib.util.find_spec("pty") is None, reason="rich or pty is missing"
)
def test_a_bar_where_somebody_looks_on(tmp_path: Path) -> None:
    import pty

    save_file(layer(0), tmp_path / "in.safetensors")
    command = [sys.executable, "-m", "ropecore", "convert", "in.safetensors", "--to", "half_split", *OPTIONS, "-o"]
    master, slave = pty.openpty()
    out = subprocess.run(
        [*command, "a.safetensors"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave, check=True
    ).stdout
    os.close(slave)
    shown = os.read(master, 1 << 16)
    os.close(master)

    assert b"write and verify" in shown
    assert b"write and verify" not in out
    quiet = subprocess.run([*command, "b.safetensors"], cwd=tmp_path, capture_output=True, check=True)
    assert quiet.stderr == b""


def sizes_of(config: Any, to: str = "interleaved", **options: Any) -> tuple[Any, ...]:
    given = dict.fromkeys(("head_dim", "rotary_dim", "lane_offset")) | {"to": to, "lenient": False} | options
    said, _ = config_sizes(config, argparse.Namespace(**given), converted=False)
    return tuple(said.get(name) for name in ("head_dim", "n_heads", "n_kv_heads", "rotary_dim"))


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}, (128, 32, 8, 128)),
        ({"hidden_size": 2560, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}, (128, 32, 8, 128)),
        ({"n_embd": 4096, "n_head": 16, "rotary_dim": 64}, (256, 16, None, 64)),
        ({"hidden_size": 6144, "num_attention_heads": 64, "rotary_pct": 0.25}, (96, 64, None, 24)),
        ({"hidden_size": 2560, "num_attention_heads": 32, "rope_pct": 0.25}, (80, 32, None, 20)),
        ({"hidden_size": 4096, "num_attention_heads": 32, "multi_query_group_num": 2, "kv_channels": 128}, (128, 32, 2, 128)),
        ({"text_config": {"hidden_size": 64, "num_attention_heads": 4, "rope_theta": 1e4}}, (16, 4, None, 16)),
        ({"head_dim": 8, "num_attention_heads": 4, "rope_parameters": {"partial_rotary_factor": 0.5}}, (8, 4, None, 4)),
        (
            {
                "head_dim": 8, "num_attention_heads": 4,
                "rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 0.25},
            },
            (8, 4, None, 8),
        ),
        (
            {
                "head_dim": 8, "num_attention_heads": 4,
                "rope_parameters": {
                    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                },
            },
            (8, 4, None, 8),
        ),
    ],
)  # fmt: skip
def test_sizes_of_configurations_of_no_known_family_are_those_that_the_reader_reads(
    config: dict[str, Any], sizes: tuple[int | None, ...]
) -> None:
    assert sizes_of(config) == sizes


def test_sizes_of_params_json() -> None:
    assert sizes_of({"dim": 4096, "n_heads": 32, "n_kv_heads": 8}, to="half_split") == (128, 32, 8, 128)


@pytest.mark.parametrize(
    "config",
    [
        {"text_config": 3},
        {"num_attention_heads": "32", "head_dim": 8},
        {"num_attention_heads": True, "head_dim": 8},
        {"num_attention_heads": 0, "head_dim": 8},
        {"head_dim": 8, "rotary_pct": 2},
        {"head_dim": 8, "rope_parameters": {"a": {"partial_rotary_factor": 0.25}, "b": {"partial_rotary_factor": 0.5}}},
        {"model_type": "llama", "head_dim": 8, "num_attention_heads": 4, "partial_rotary_factor": 0.5},
        {"model_type": "llama", "head_dim": 8, "num_attention_heads": 4, "rope_sclaing": {"factor": 2}},
        {"model_type": "gpt2", "n_embd": 768, "n_head": 12},
        {},
    ],
)
def test_what_the_reader_refuses_is_not_converted(config: Any) -> None:
    with pytest.raises(RopeError):
        sizes_of(config)


def test_layers_that_rotate_different_lanes_are_converted_each_as_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of layer 0, where 8 of 16 lanes rotate, and of layer 1, where all do, stay what they
    were.
    """
    config = {
        "model_type": "step3p5", "head_dim": 16, "hidden_size": 12, "num_attention_heads": 4, "num_attention_groups": 2,
        "num_key_value_heads": 2, "layer_types": ["full_attention", "sliding_attention"], "rope_theta": [5e6, 1e4],
        "partial_rotary_factors": [0.5, 1.0],
    }  # fmt: skip
    rng = np.random.default_rng(3)
    tensors = {
        f"model.layers.{i}.self_attn.{name}_proj.weight": rng.normal(size=(16 * heads, 12))
        for i in range(2)
        for name, heads in (("q", 4), ("k", 2))
    }
    (tmp_path / "in").mkdir()
    save_file(tensors, tmp_path / "in" / "model.safetensors")
    (tmp_path / "in" / "config.json").write_text(json.dumps(config))
    assert run(capsys, str(tmp_path / "in"), "--to", "interleaved", "-o", str(tmp_path / "out"))[0] == 0
    new = load_folder(tmp_path / "out")
    ropes = ropecore.read_configs(config)

    for i, rope in enumerate(ropes[f"text/{name}"] for name in config["layer_types"]):
        scores = []
        for weights, plan in ((tensors, rope.plan()), (new, rope.replace(pairing="interleaved").plan())):
            x = np.random.default_rng(4).normal(size=(5, 12))
            q, k = (x @ weights[f"model.layers.{i}.self_attn.{name}_proj.weight"].T for name in "qk")
            q, k = (t.reshape(5, -1, 16).transpose(1, 0, 2) for t in (q, k))
            q, k = (ropecore.rotate(plan, t, *ropecore.cos_sin(plan, np.arange(5))) for t in (q, k))
            scores.append(q @ np.repeat(k, 2, axis=0).transpose(0, 2, 1))
        assert np.allclose(*scores, rtol=1e-12, atol=1e-12)
        name = f"model.layers.{i}.self_attn.k_proj.weight"
        assert not np.array_equal(new[name], tensors[name])


def test_layers_that_differ_and_are_not_told_are_refused() -> None:
    with pytest.raises(RopeError, match="does not say which"):
        sizes_of({"model_type": "gemma4_text"})


def test_the_command_reads_each_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sharded(tmp_path / "in")
    opened: list[str] = []

    def note(event: str, arguments: Any) -> None:
        if event == "open" and str(arguments[0]).startswith(str(tmp_path / "in")):
            opened.append(Path(arguments[0]).name)

    sys.addaudithook(note)
    status, _, _ = run(capsys, str(tmp_path / "in"), "--to", "half_split", "-o", str(tmp_path / "out"), "--dry-run")

    assert status == 0
    assert sorted(opened) == sorted(path.name for path in (tmp_path / "in").iterdir() if path.is_file())


def test_the_core_needs_no_safetensors() -> None:
    code = "import sys, ropecore.weights.convert, ropecore.cli.convert; print('safetensors' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    assert ropecore.convert_pairing is convert_pairing
