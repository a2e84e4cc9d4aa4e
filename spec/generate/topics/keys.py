"""Keys of configuration files: each in each place where it may stand, with another value than the
one that is taken without it.
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, read, reject_source
from .common import config, scaled

Source = dict[str, Any]

ABOUT = ("R-12.6", "")
LENGTH, HEAD, BASE = 64, 32, 100.0  # a base at which short lengths show each band
RULES: dict[str, tuple[Source, Source]] = {  # what a file says, and what it means
    "linear": ({"factor": 3.0}, {"factor": 3.0}),
    "yarn": (
        {"factor": 4.0, "original_max_position_embeddings": LENGTH, "beta_fast": 8.0, "beta_slow": 2.0},
        {"factor": 4.0, "original_max_position": LENGTH, "beta_fast": 8.0, "beta_slow": 2.0},
    ),
    "llama3": (
        {"factor": 8.0, "low_freq_factor": 2.0, "high_freq_factor": 6.0, "original_max_position_embeddings": LENGTH},
        {"factor": 8.0, "low_freq_factor": 2.0, "high_freq_factor": 6.0, "original_max_position": LENGTH},
    ),
}
MORE_OF_YARN: tuple[tuple[str, Source, Source], ...] = (
    ("attention_factor", {"attention_factor": 1.5}, {"attention_factor": 1.5}),
    ("mscale", {"mscale": 0.5, "mscale_all_dim": 1.0}, {"mscale": 0.5, "mscale_all_dim": 1.0}),
    ("truncate", {"truncate": False}, {"truncate": False}),
    ("attn_factor", {"attention_factor": 1.25, "attn_factor": 1.5}, {"attention_factor": 1.875}),
)
PARTIAL = ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction", "rope_percent")
BASES = ("rope_theta", "rotary_emb_base", "rotary_embedding_base", "rope_base")
LENGTHS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "model_max_length",
)  # fmt: skip


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from sizes()
    yield from bases()
    yield from parts()
    yield from lengths()
    yield from rules()
    yield from axes()


def llama(**more: Any) -> Source:
    """Return the configuration of a small Llama with a base."""
    return {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "rope_theta": 5e5, **more}


def sizes() -> Iterator[Case]:
    """Yield the keys of the head's size, by each of their names."""
    for key in ("head_dim", "kv_channels"):
        source = llama(**{key: 12})
        yield read(f"keys/sizes/{key}", source, config(head_dim=12, base=5e5), (*ABOUT, "not hidden_size / heads"))
    for width in ("hidden_size", "n_embd", "d_model"):
        source = {"model_type": "llama", width: 24, "num_attention_heads": 2, "rope_theta": 5e5}
        yield read(f"keys/sizes/{width}", source, config(head_dim=12, base=5e5), (*ABOUT, "24 lanes of two heads"))
    for heads in ("num_attention_heads", "num_heads", "n_head", "n_heads"):
        source = {"model_type": "llama", "hidden_size": 24, heads: 2, "rope_theta": 5e5}
        yield read(f"keys/sizes/{heads}", source, config(head_dim=12, base=5e5), (*ABOUT, "24 lanes of two heads"))


def bases() -> Iterator[Case]:
    """Yield the keys of the base."""
    for key in BASES:
        source = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, key: 25000.0}
        yield read(f"keys/bases/{key}", source, config(base=25000.0), ("R-4.1 R-12.6", "", "the base"))
    for key, flags in (("rope_scaling", ""), ("rope_parameters", "M95")):
        source = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4}
        source[key] = {"rope_type": "default", "rope_theta": 25000.0}
        yield read(f"keys/bases/{key}", source, config(base=25000.0), ("R-4.1 R-12.6", flags, "the base inside"))


def parts() -> Iterator[Case]:
    """Yield the keys of a partial rotation."""
    neox = {"model_type": "gpt_neox", "hidden_size": 32, "num_attention_heads": 2, "rotary_emb_base": 1e4}
    half = config(head_dim=16, base=1e4, rotary_dim=8)
    for key in PARTIAL:
        yield read(f"keys/parts/{key}", {**neox, key: 0.5}, half, ("R-3.4 R-12.6", "", "half of the lanes"))
    inside = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    for key, flags in (("rope_scaling", ""), ("rope_parameters", "M95")):
        about = ("R-3.4 R-12.6", flags, "the fraction inside")
        yield read(f"keys/parts/{key}", {**neox, key: inside}, half, about)
    quarter = config(head_dim=16, base=1e4, rotary_dim=4)
    layers = {
        "full_attention": {**inside, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    laguna = {"model_type": "laguna", "head_dim": 16, "hidden_size": 32, "num_attention_heads": 2}
    source = {**laguna, "layer_types": list(layers), "rope_parameters": layers}
    about = ("R-3.4 R-12.6", "M95", "the fraction of one kind of layers")
    yield read("keys/parts/by_layer", source, quarter, about, "full_attention")
    gptj = {"model_type": "gptj", "n_embd": 32, "n_head": 2}
    for key in ("rotary_dim", "rope_dim"):
        made = config("interleaved", 16, 1e4, rotary_dim=8)
        yield read(f"keys/parts/{key}", {**gptj, key: 8}, made, ("R-3.4 R-12.6", "", "8 of 16 lanes"))


def lengths() -> Iterator[Case]:
    """Yield the keys of the longest context, and of the one that a model was trained for."""
    dynamic = config(head_dim=HEAD, base=BASE, scaling=scaled("dynamic_ntk", factor=2.0, original_max_position=LENGTH))
    for key in LENGTHS:
        source = wide(rope_theta=BASE, rope_scaling={"rope_type": "dynamic", "factor": 2.0}, **{key: LENGTH})
        yield read(f"keys/lengths/{key}", source, dynamic, ("R-5.3 R-12.6", "", "the rule's length"), seq_len=100)
    said, meant = RULES["yarn"]
    made = config(head_dim=HEAD, base=BASE, scaling=scaled("yarn", **meant))
    rope = {"rope_type": "yarn", **said, "original_max_position_embeddings": None}
    lengths = {"max_position_embeddings": 256, "original_max_position_embeddings": LENGTH}
    about = ("R-5.6 R-12.6", "", "the length outside")
    yield read("keys/lengths/original_outside", wide(rope_theta=BASE, rope_scaling=rope, **lengths), made, about)
    rope = {"rope_type": "yarn", **said, "factor": None}
    about = ("R-5.6 R-12.6", "", "the factor is a ratio of lengths")
    source = wide(rope_theta=BASE, rope_scaling=rope, max_position_embeddings=4 * LENGTH)
    yield read("keys/lengths/no_factor", source, made, about)


def rules() -> Iterator[Case]:
    """Yield the keys of each rule, in each place of a rope dictionary, and by layer type."""
    for rule, (said, meant) in RULES.items():
        yield from placed(rule, {"rope_type": rule, **said}, scaled(rule, **meant))
        yield from placed(f"{rule}_type", {"type": rule, **said}, scaled(rule, **meant))
    said, meant = RULES["yarn"]
    for label, more, meaning in MORE_OF_YARN:
        yield from placed(
            f"yarn_{label}", {"rope_type": "yarn", **said, **more}, scaled("yarn", **{**meant, **meaning})
        )
    short, long = ([1.0 + step * j for j in range(HEAD // 2)] for step in (0.125, 1.0))
    said = {"short_factor": short, "long_factor": long, "original_max_position_embeddings": LENGTH, "factor": 4.0}
    meant = {"short_factor": short, "long_factor": long, "original_max_position": LENGTH, "factor": 4.0}
    for label, length in (("longrope_short", 40), ("longrope_long", 100)):
        yield from placed(label, {"rope_type": "longrope", **said}, scaled("longrope", **meant), length)
    meant["attention_factor"] = 1.5
    for label, more in (
        ("attention_factor", {"attention_factor": 1.5}),
        ("mscale", {"short_mscale": 1.5, "long_mscale": 1.5}),
    ):
        yield from placed(
            f"longrope_{label}", {"rope_type": "longrope", **said, **more}, scaled("longrope", **meant), 40
        )
    yield from placed("alpha", {"rope_type": "dynamic", "alpha": 16.0}, scaled("ntk", alpha=16.0), 100)
    refused = {"rope_type": "yarn", **RULES["yarn"][0], "extrapolation_factor": 0.5}
    for place, source in places(refused).items():
        about = ("R-12.6", "", "an extrapolation factor has no counterpart")
        yield reject_source(f"keys/refused/extrapolation_{place}", source, about, "extrapolation_factor")


def wide(**more: Any) -> Source:
    """Return the configuration of a Llama with heads of 32 lanes."""
    return {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 2, **more}


def places(rope: Source) -> dict[str, Source]:
    """Return a configuration for each place in which a rope dictionary may stand."""
    types = {
        "full_attention": {"rope_theta": BASE, **rope},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    gemma = {"model_type": "gemma3_text", "head_dim": HEAD, "hidden_size": 64, "num_attention_heads": 2}
    return {
        "rope_scaling": wide(rope_theta=BASE, rope_scaling=rope),
        "rope_parameters": wide(rope_parameters={"rope_theta": BASE, **rope}),
        "by_layer": {**gemma, "layer_types": list(types), "rope_parameters": types},
    }


def placed(label: str, rope: Source, rule: Source, seq_len: int | None = None) -> Iterator[Case]:
    """Yield one rope dictionary in each place where it may stand."""
    made = config(head_dim=HEAD, base=BASE, scaling=rule)
    for place, source in places(rope).items():
        layer_type = "full_attention" if place == "by_layer" else None
        about = ("R-12.6", "" if place == "rope_scaling" else "M95", "all keys of the rule")
        yield read(f"keys/{place}/{label}", source, made, about, layer_type, seq_len)


def axes() -> Iterator[Case]:
    """Yield the keys of several axes."""
    names = ["t", "h", "w"]
    qwen2 = {"model_type": "qwen2_vl_text", "hidden_size": 32, "num_attention_heads": 4}
    qwen3 = {"model_type": "qwen3_vl_text", "head_dim": 8, "hidden_size": 32, "num_attention_heads": 4}
    hunyuan = {"model_type": "hunyuan_vl_text", "hidden_size": 32, "num_attention_heads": 4}
    sections = {"rope_type": "default", "mrope_section": [1, 1, 2]}
    interleaved = {**sections, "mrope_section": [2, 1, 1], "mrope_interleaved": False}
    xdrope = {"rope_type": "xdrope", "alpha": 4.0, "xdrope_section": [2, 1, 1, 0]}
    made = config(base=BASE, axes=names, sections=[1, 1, 2])
    four = config(base=BASE, axes=["p", "w", "h", "image"], sections=[2, 1, 1, 0], scaling=scaled("ntk", alpha=4.0))
    for place in ("rope_scaling", "rope_parameters"):
        flags = "M95" if place == "rope_parameters" else ""
        about = ("R-6.1 R-12.6", flags, "pairs of each axis")
        yield read(f"keys/axes/{place}_mrope", based(qwen2, place, sections), made, about)
        yield read(f"keys/axes/{place}_xdrope", based(hunyuan, place, xdrope), four, about)
        about = ("R-6.2 R-12.6", "", "the family is interleaved")
        source = based(qwen3, place, interleaved)
        yield reject_source(f"keys/refused/{place}_mrope_interleaved", source, about, "mrope_interleaved")


def based(source: Source, place: str, rope: Source) -> Source:
    """Return a configuration with a rope dictionary and the base, each where it stands."""
    if place == "rope_parameters":
        return {**source, place: {"rope_theta": BASE, **rope}}
    return {**source, "rope_theta": BASE, place: rope}
