"""Configuration files of models, as published ones write them in several versions, and the plans
that they describe.
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, read, reject_source
from .common import config, scaled

LLAMA: dict[str, Any] = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4}
LLAMA3: dict[str, Any] = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LENGTH = {"original_max_position_embeddings": 64}
STRETCHED = config(base=5e5, scaling=scaled("llama3", **LLAMA3, original_max_position=64))
YARN = config(base=1e6, scaling=scaled("yarn", factor=4.0, original_max_position=64))
LINEAR = config(base=1e4, scaling=scaled("linear", factor=2.0))


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from bases()
    yield from rules()
    yield from layers()
    yield from families()
    yield from refused()


def llama(**more: Any) -> dict[str, Any]:
    """Return the configuration of a small Llama."""
    return {**LLAMA, **more}


def bases() -> Iterator[Case]:
    """Yield the places where a base is written."""
    parameters = {"rope_type": "default", "rope_theta": 1e6}
    for label, source, base, comment in (
        ("flat", llama(rope_theta=5e5), 5e5, "rope_theta beside the sizes"),
        ("nested", llama(rope_parameters=parameters), 1e6, "rope_theta inside rope_parameters"),
        ("nested_untyped", llama(rope_parameters={"rope_theta": 5e5}), 5e5, "rope_parameters without a type"),
        ("null_rule", llama(rope_theta=5e5, rope_scaling=None), 5e5, "rope_scaling is null"),
    ):
        yield read(f"config/bases/{label}", source, config(base=base), ("R-4.1 R-12.6", "M10 M95", comment))


def rules() -> Iterator[Case]:
    """Yield the places and the names of a scaling rule."""
    old_llama3 = llama(rope_theta=5e5, rope_scaling={"rope_type": "llama3", **LLAMA3, **LENGTH})
    new_llama3 = llama(rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3, **LENGTH})
    new_linear = llama(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0})
    old_yarn = llama(rope_theta=1e6, rope_scaling={"type": "yarn", "factor": 4.0, **LENGTH})
    new_yarn = llama(rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, **LENGTH})
    one = llama(rope_theta=1e6, rope_scaling={"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.0, **LENGTH})
    for label, source, made, rule, flags, comment in (
        ("linear_type", llama(rope_theta=1e4, rope_scaling={"type": "linear", "factor": 2.0}), LINEAR, "R-5.1", "M95", "the key type"),
        ("linear_rope_type", llama(rope_theta=1e4, rope_scaling={"rope_type": "linear", "factor": 2.0}), LINEAR, "R-5.1", "M95", "the key rope_type"),
        ("linear_parameters", new_linear, LINEAR, "R-5.1", "M95", "the rule inside rope_parameters"),
        ("llama3", old_llama3, STRETCHED, "R-5.9", "M60 M95", "rope_scaling and rope_theta"),
        ("llama3_parameters", new_llama3, STRETCHED, "R-5.9", "M60 M95", "all inside rope_parameters"),
        ("yarn_type", old_yarn, YARN, "R-5.6 R-5.7", "M66 M95", "the key type"),
        ("yarn_parameters", new_yarn, YARN, "R-5.6 R-5.7", "M66 M95", "all inside rope_parameters"),
        ("yarn_factor_1", one, {**YARN, "scaling": {**YARN["scaling"], "attention_factor": 1.0}}, "R-5.7", "M70 M95", "an attention factor of 1 is one"),
    ):  # fmt: skip
        yield read(f"config/rules/{label}", source, made, (f"{rule} R-12.6", flags, comment))


def layers() -> Iterator[Case]:
    """Yield a model whose kinds of layers have bases of their own."""
    types = ["sliding_attention", "full_attention"]
    gemma = {
        "model_type": "gemma3_text",
        "head_dim": 8,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "layer_types": types,
    }
    nested = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    full = config(base=1e6, scaling=scaled("linear", factor=8.0))
    for layer_type, made in (("full_attention", full), ("sliding_attention", config(base=1e4))):
        about = ("R-4.1 R-12.6", "M10 M95", "rope_parameters hold an object for each kind of layer")
        source = {**gemma, "rope_parameters": nested}
        yield read(f"config/layers/{layer_type}", source, made, about, layer_type)


def families() -> Iterator[Case]:
    """Yield models that name things otherwise."""
    gpt_neox = {"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4, "rotary_pct": 0.25}
    for label, source, made, flags, comment in (
        ("gptj", {"model_type": "gptj", "n_embd": 64, "n_head": 4, "rotary_dim": 8}, config("interleaved", 16, 1e4, rotary_dim=8), "M3 M19", "interleaved, and 8 of 16 lanes"),
        ("gpt_neox", {**gpt_neox, "rotary_emb_base": 10000}, config("half_split", 16, 1e4, rotary_dim=4), "M19 M20", "a quarter of the lanes"),
        ("gpt_neox_base", {**gpt_neox, "rotary_emb_base": 25000}, config("half_split", 16, 25000.0, rotary_dim=4), "M10 M20", "the base by another name"),
    ):  # fmt: skip
        yield read(f"config/families/{label}", source, made, ("R-3.4 R-4.1", f"{flags} M95", comment))


def refused() -> Iterator[Case]:
    """Yield what no default may stand in for."""
    misspelt = llama(rope_theta=1e4, rope_scaling={"rope_type": "linear", "factor": 2.0, "facter": 3.0})
    unknown = llama(rope_theta=1e4, rope_scaling={"rope_type": "yarn2", "factor": 2.0})
    about = ("R-12.6", "M95", "a key that no reader knows")
    yield reject_source("config/refused/unknown_key", misspelt, about, "rope_scaling")
    yield reject_source(
        "config/refused/unknown_rule", unknown, ("R-12.6", "M95", "a rule of no known name"), "rope_type"
    )
