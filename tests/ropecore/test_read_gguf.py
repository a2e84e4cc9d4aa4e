"""GGUF files: their keys as llama.cpp reads them, and files that are
cut, swollen or made to hurt.
"""

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ropecore import Linear, LongRoPE, RopeError, YaRN, read_config, read_configs
from ropecore.read import gguf_file
from ropecore.read.families import table
from ropecore.read.gguf import read_fields
from ropecore.read.parts import Request
from ropecore.read.ropes import Ropes
from ropecore.scaling import yarn_temperature

YARN40 = {"rope.scaling.type": "yarn", "rope.scaling.factor": 40.0, "rope.scaling.original_context_length": 4096}
LINEAR8 = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}


def fields_of(architecture: str, **keys: Any) -> dict[str, Any]:
    own = {"embedding_length": 64, "attention.head_count": 4, "context_length": 64} | keys
    return {"general.architecture": architecture} | {f"{architecture}.{name}": value for name, value in own.items()}


def read(architecture: str, tensors: Any = (), strict: bool = True, **keys: Any) -> Ropes:
    return read_fields(fields_of(architecture, **keys), dict(tensors), Request("test", strict))


def text(array: str) -> bytes:
    return struct.pack("<Q", len(array.encode())) + array.encode()


def value(thing: Any) -> bytes:
    """Return a value with its type, as the format has it."""
    if isinstance(thing, bool):
        return struct.pack("<I?", 7, thing)
    if isinstance(thing, int):
        return struct.pack("<II", 4, thing)
    if isinstance(thing, float):
        return struct.pack("<If", 6, thing)
    if isinstance(thing, str):
        return struct.pack("<I", 8) + text(thing)
    items = [value(item) for item in thing]
    return struct.pack("<I", 9) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)


def gguf_bytes(fields: dict[str, Any], tensors: dict[str, np.ndarray] | None = None, version: int = 3) -> bytes:
    tensors = tensors or {}
    types = {"float32": 0, "float16": 1, "float64": 28, "uint16": 30}
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(fields))
    data += b"".join(text(name) + value(thing) for name, thing in fields.items())
    body = b""
    for name, tensor in tensors.items():
        data += text(name) + struct.pack("<IQIQ", 1, tensor.size, types[str(tensor.dtype)], len(body))
        body += tensor.tobytes() + bytes(-tensor.nbytes % 32)
    return data + bytes(-len(data) % 32) + body


def write(path: Path, data: bytes) -> Path:
    (path / "model.gguf").write_bytes(data)
    return path / "model.gguf"


# the file


def test_keys_and_tensors_are_read_from_a_file(tmp_path: Path) -> None:
    words = [f"word {i}" for i in range(1000)]
    fields = fields_of("llama", **{"rope.freq_base": 5e5, "rope.scaling.factor": 4.0})
    fields |= {"tokenizer.ggml.tokens": words, "tokenizer.ggml.scores": [0.5] * 1000, "other.nested": [[1, 2], [3]]}
    divisors = np.array([1, 1, 2, 2, 4, 4, 8, 8], np.float32)
    path = write(tmp_path, gguf_bytes(fields, {"rope_freqs.weight": divisors, "blk.0.x": np.zeros(3, np.float16)}))
    config = read_config(path)

    assert (config.base, config.scaling, config.pairing) == (5e5, Linear(4.0), "interleaved")
    assert np.allclose(np.array(config.inv_freq) * divisors, [5e5 ** (-j / 8) for j in range(8)], rtol=1e-12)
    assert read_config(tmp_path) == config


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, "bfloat16"])
def test_divisors_of_each_float_type(tmp_path: Path, dtype: Any) -> None:
    values = np.array([1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 0.5], np.float32)
    stored = (values.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else values.astype(dtype)
    path = write(tmp_path, gguf_bytes(fields_of("llama"), {"rope_freqs.weight": stored}))

    assert gguf_file.load(path, lambda name: False, ("rope_freqs.weight",)) == (
        {},
        {"rope_freqs.weight": tuple(values.tolist())},
    )


def test_a_file_of_the_other_byte_order(tmp_path: Path) -> None:
    data = b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + struct.pack(">Q", 3) + b"a.b" + struct.pack(">If", 6, 2.5)

    assert gguf_file.load(write(tmp_path, data), lambda name: True, ()) == ({"a.b": 2.5}, {})


WHOLE = gguf_bytes(fields_of("llama") | {"t.tokens": ["a", "b"]}, {"rope_freqs.weight": np.ones(8, np.float32)})


@pytest.mark.parametrize("end", [0, 3, 4, 7, 11, 20, 30, 60, 150, 200, len(WHOLE) - 1])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, end: int) -> None:
    with pytest.raises(RopeError, match=r"model\.gguf"):
        read_config(write(tmp_path, WHOLE[:end]))


HEAD = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
MUCH = (1 << 64) - 1


@pytest.mark.parametrize(
    "data",
    [
        b"GGML" + WHOLE[4:],
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0) + bytes(64),
        b"GGUF" + struct.pack("<IQQ", 4, 0, 0) + bytes(64),
        b"GGUF" + struct.pack("<IQQ", 3, 0, MUCH) + bytes(64),
        b"GGUF" + struct.pack("<IQQ", 3, MUCH, 0) + bytes(64),
        HEAD + struct.pack("<Q", MUCH) + bytes(64),
        HEAD + text("a.rope.x") + struct.pack("<I", 99) + bytes(64),
        HEAD + text("a.rope.x") + struct.pack("<IQ", 8, MUCH) + bytes(64),
        HEAD + text("a.b") + struct.pack("<IQ", 8, MUCH) + bytes(64),
        HEAD + text("a.b") + struct.pack("<IIQ", 9, 8, MUCH) + bytes(64),
        HEAD + text("a.b") + struct.pack("<IIQ", 9, 8, 1 << 24) + bytes(64),
        HEAD + text("a.b") + struct.pack("<IIQ", 9, 0, 1 << 24) + bytes(64),
        HEAD + text("a.rope.x") + struct.pack("<IIQ", 9, 0, 1 << 17) + bytes(1 << 18),
        HEAD + text("a.b") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9 + bytes(64),
        HEAD + text("a.b") + struct.pack("<IIQ", 9, 77, 1) + bytes(64),
        HEAD + struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<If", 6, 1.0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (text("a.rope.x") + struct.pack("<If", 6, 1.0)),
        gguf_bytes(fields_of("llama") | {"general.alignment": 7}),
        gguf_bytes(fields_of("llama") | {"general.alignment": "x"}),
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + text("rope_freqs.weight")
        + struct.pack("<IQIQ", 1, 8, 2, 0)
        + bytes(256),
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + text("rope_freqs.weight")
        + struct.pack("<IQIQ", 1, 8, 0, MUCH)
        + bytes(256),
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + text("rope_freqs.weight")
        + struct.pack("<IQIQ", 1, 1 << 40, 0, 0)
        + bytes(256),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("x") + struct.pack("<I", 1 << 30) + bytes(256),
        gguf_bytes({"general.architecture": 3}),
        gguf_bytes({"general.architecture": ["llama"]}),
    ],
)
def test_files_that_are_made_to_hurt_are_refused_before_they_are_decoded(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(RopeError):
            read_config(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF" + struct.pack("<IQQ", 3, 0, (1 << 17) + 1),
        b"GGUF" + struct.pack("<IQQ", 3, (1 << 17) + 1, 0),
        HEAD + struct.pack("<Q", 1 << 16),
        HEAD + text("a.b") + struct.pack("<IIQ", 9, 0, (1 << 24) + 1),
        HEAD + text("a.rope.x") + struct.pack("<IIQ", 9, 0, (1 << 16) + 1),
        HEAD + text("a.rope.x") + struct.pack("<IQ", 8, (1 << 16) + 1),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("x") + struct.pack("<I", 9),
    ],
)
def test_counts_are_limited_where_the_bytes_are_there(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    with path.open("r+b") as file:
        file.truncate(1 << 26)  # zeros, which take no room

    with pytest.raises(RopeError, match="at most"):
        read_config(path)


def test_what_is_not_wanted_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path, gguf_bytes(fields_of("llama") | {"t.tokens": ["a word of text"] * 300_000}))
    tracemalloc.start()
    try:
        assert read_config(path).head_dim == 16
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# architectures


def test_each_architecture_stands_in_one_list() -> None:
    rules = table()["gguf"]
    names = [
        name for kind in ("half_split", "interleaved", "mrope", "mrope_interleaved", "none") for name in rules[kind]
    ]

    assert len(names) == len(set(names)) >= 150
    lists = ("mrope_with_sections", "no_rope_unless_finetuned", "last_lanes")
    assert {*rules["layers"], *rules["none_of_depth"], *(name for key in lists for name in rules[key])} <= set(names)


@pytest.mark.parametrize(
    ("architecture", "pairing"),
    [
        ("deepseek32", "interleaved"), ("hy_v4", "interleaved"), ("nanbeige", "interleaved"), ("granite_swa", "interleaved"),
        ("hy_v3", "half_split"), ("mellum", "half_split"), ("minimax-m3", "half_split"), ("glm4moe", "half_split"),
        ("bailingmoe3", "interleaved"), ("glm4", "interleaved"),
    ],
)  # fmt: skip
def test_pairings_of_architectures(architecture: str, pairing: str) -> None:
    configs = [config for config in read(architecture).values() if config is not None]

    assert {config.pairing for config in configs} == {pairing}


@pytest.mark.parametrize(
    ("architecture", "keys", "why"),
    [
        ("kimi-k3", {}, "no RoPE"), ("glm5-next", {}, "no RoPE"), ("bert", {}, "learned"), ("starcoder", {}, "learned"),
        ("baichuan", {"block_count": 40}, "ALiBi"), ("granite", {"rope.scaling.finetuned": False}, "switches"),
        ("granitehybrid", {"rope.scaling.finetuned": False}, "switches"), ("mamba", {}, "no RoPE"),
        ("llama", {"rope.dimension_count": 0}, "is 0"),
    ],
)  # fmt: skip
def test_what_does_not_rotate_is_none_with_the_reason(architecture: str, keys: dict[str, Any], why: str) -> None:
    found = read(architecture, **keys)

    assert found == {"text": None}
    assert why in found.reports["text"].notes[0]


def test_what_is_near_to_not_rotating_rotates() -> None:
    assert read("baichuan", block_count=32)["text"] is not None
    assert read("granite", **{"rope.scaling.finetuned": True})["text"] is not None
    assert read("llama", **{"rope.scaling.finetuned": False})["text"] is not None


def test_sections_make_axes_where_llama_cpp_takes_them() -> None:
    for name in ("glm4", "glm4moe", "hunyuan_vl", "bailingmoe3"):
        config = read(name, **{"rope.dimension_sections": [2, 3, 3, 0]})["text"]
        assert (config.axes, config.axis_order, config.pairing) == (("t", "h", "w"), "chunked", "half_split")
    assert read("qwen3tts", **{"rope.dimension_sections": [4, 2, 2, 0]})["text"].axis_order == "interleaved"
    with pytest.raises(RopeError, match="dimension_sections"):
        read("llama", **{"rope.dimension_sections": [2, 3, 3, 0]})


def test_an_unknown_architecture_names_near_ones() -> None:
    with pytest.raises(RopeError, match=r"Did you mean .*qwen3vl.*pairing="):
        read("qwen3vll")


# layers


@pytest.mark.parametrize("base", [{"rope.freq_base_swa": 10000.0}, {}])
@pytest.mark.parametrize(
    "architecture", ["gemma3", "gemma3n", "gemma4", "gemma-embedding", "modern-bert", "mimo2", "plamo3", "step35"]
)
def test_sliding_layers_have_their_own_base_and_no_scaling(architecture: str, base: dict[str, float]) -> None:
    found = read(architecture, **{"rope.freq_base": 1e6, **LINEAR8, **base})
    full, sliding = found["text/full_attention"], found["text/sliding_attention"]

    assert (full.base, full.scaling, sliding.base, sliding.scaling) == (1e6, Linear(8.0), 1e4, None)


def test_sliding_layers_of_olmo2_share_the_base_and_not_the_scaling() -> None:
    found = read("olmo2", **{"rope.freq_base": 5e5, "attention.sliding_window": 8, "block_count": 8, **YARN40})

    assert found["text/sliding_attention"].plan().attention_factor == 1.0
    assert (found["text/sliding_attention"].base, found["text/sliding_attention"].scaling) == (5e5, None)
    assert found["text/full_attention"].scaling == YaRN(40.0, 4096)
    assert found.reports["text/full_attention"].layers == (3, 7)
    assert list(read("olmo2", **YARN40)) == ["text"]


def test_sliding_layers_of_others_follow_the_full_ones() -> None:
    found = read("gpt-oss", **{"rope.freq_base_swa": 1e4, "rope.freq_base": 2e5, **LINEAR8})

    assert [
        (found[f"text/{name}_attention"].base, found[f"text/{name}_attention"].scaling) for name in ("full", "sliding")
    ] == [
        (2e5, Linear(8.0)),
        (1e4, Linear(8.0)),
    ]
    assert list(read("gpt-oss", **YARN40)) == ["text"]


def test_lanes_of_sliding_layers() -> None:
    keys = {
        "attention.key_length": 512, "attention.key_length_swa": 256, "rope.dimension_count": 512, "rope.dimension_count_swa": 256,
        "rope.freq_base": 1e6, "attention.sliding_window_pattern": [True, True, False],
    }  # fmt: skip
    found = read("gemma4", {"rope_freqs.weight": [1.0] * 64 + [1e30] * 192}, **keys)
    full, sliding = found["text/full_attention"], found["text/sliding_attention"]

    assert (full.head_dim, full.rotary_dim, sliding.head_dim, sliding.rotary_dim) == (512, 512, 256, 256)
    assert sliding.inv_freq is None
    assert (full.report.layers, sliding.report.layers) == ((2,), (0, 1))


@pytest.mark.parametrize(
    ("architecture", "keys", "still", "layers"),
    [
        ("exaone4", {"block_count": 64}, "text/full_attention", tuple(range(3, 64, 4))),
        ("exaone-moe", {"block_count": 8}, "text/full_attention", (3, 7)),
        ("cohere2", {"block_count": 8}, "text/full_attention", (3, 7)),
        ("smallthinker", {"block_count": 8, "attention.sliding_window": 16}, "text/nope", (0, 4)),
        ("smollm3", {"block_count": 8}, "text/nope", (3, 7)),
        ("llama4", {"block_count": 8}, "text/nope", (3, 7)),
    ],
)
def test_layers_that_stand_still(architecture: str, keys: dict[str, Any], still: str, layers: tuple[int, ...]) -> None:
    found = read(architecture, **keys)
    other = next(name for name in found if name != still)

    assert found[still] is None
    assert found.reports[still].layers == layers
    assert set(found.reports[other].layers or ()) == set(range(keys["block_count"])) - set(layers)


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("exaone4", {"block_count": 30}),
        ("smallthinker", {"block_count": 8}),
        ("llama4", {"attention.sliding_window": 0}),
    ],
)
def test_models_without_a_window_rotate_everywhere(architecture: str, keys: dict[str, Any]) -> None:
    assert list(read(architecture, **keys)) == ["text"]


# scaling


@pytest.mark.parametrize(
    ("architecture", "latent", "log_multiplier", "ratio"),
    [
        ("deepseek2", True, 0.1, (1.0, 1.0)), ("deepseek2", True, 0.0707, (1.0, 1.0)), ("mistral4", True, 0.1, (1.0, 1.0)),
        ("deepseek32", True, 0.05, (1.0, 0.5)), ("mistral3", False, 1.0, (1.0, 1.0)), ("mistral3", False, 0.5, (1.0, 0.5)),
    ],
)  # fmt: skip
def test_the_log_multiplier_of_yarn(
    architecture: str, latent: bool, log_multiplier: float, ratio: tuple[float, float]
) -> None:
    keys = {"attention.kv_lora_rank": 512, "rope.dimension_count": 16} if latent else {}
    config = read(architecture, **YARN40, **keys, **{"rope.scaling.yarn_log_multiplier": log_multiplier})["text"]
    up, down = (yarn_temperature(40.0, m) for m in ratio)

    assert config.plan().attention_factor == pytest.approx(float(up / down), rel=1e-7)
    assert any("yarn_softmax_scale" in note for note in config.report.notes) == latent


def test_a_length_without_a_rule_is_no_scaling() -> None:
    config = read("phi3", **{"rope.scaling.original_context_length": 4096})["text"]

    assert config.scaling is None
    assert [fact.key for fact in config.report.ignored] == ["rope.scaling.original_context_length"]


def test_divisors_are_cut_to_the_pairs_that_rotate() -> None:
    keys = {"attention.key_length": 128, "rope.dimension_count": 64, "rope.dimension_count_swa": 128}
    found = read("step35", {"rope_freqs.weight": [2.0] * 32 + [9.0] * 32}, **keys)
    full = found["text/full_attention"]

    assert len(full.inv_freq) == 32
    assert full.inv_freq[0] == 0.5
    assert found["text/sliding_attention"].rotary_dim == 128
    with pytest.raises(RopeError, match="one entry a pair"):
        read("step35", {"rope_freqs.weight": [1.0] * 31}, **keys)


def test_longrope_of_a_file(tmp_path: Path) -> None:
    factors = {
        name: np.full(8, f, np.float32)
        for name, f in (("rope_factors_short.weight", 1), ("rope_factors_long.weight", 2))
    }
    fields = fields_of("phi3", **{"rope.scaling.attn_factor": 1.25, "rope.scaling.original_context_length": 16})
    config = read_configs(write(tmp_path, gguf_bytes(fields, factors)))["text"]

    assert config.scaling == LongRoPE((1.0,) * 8, (2.0,) * 8, 16, attention_factor=1.25)
