"""The models inside a Hugging Face configuration: which have a RoPE to read, and which row each
goes by.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ropecore.errors import RopeError
from ropecore.read.families import NO_ROPE, Row, choose_family, families, unknown_family
from ropecore.read.key_types import check_names
from ropecore.report import Fact

ABOUT_ROPE = re.compile("rope|rotary")  # keys that must not go unnoticed
ROPE_KEYS = ("rope_scaling", "rope_parameters")  # rope dictionaries, in transformers' order

# keys of rope dictionaries, none of which is a layer type
RULE_KEYS = (
    "rope_type", "type", "rope_theta", "partial_rotary_factor", "mrope_section", "xdrope_section", "mrope_interleaved", "factor",
    "alpha", "original_max_position_embeddings", "max_position_embeddings", "beta_fast", "beta_slow", "truncate", "mscale",
    "mscale_all_dim", "attention_factor", "attn_factor", "extrapolation_factor", "short_factor", "long_factor", "short_mscale",
    "long_mscale", "low_freq_factor", "high_freq_factor", "finetuned", "llama_4_scaling_beta", "is_causal",
)  # fmt: skip

# keys under which a file of another program (MLC) keeps the whole configuration, while its family
# stands outside
WRAPPERS = ("model_config", "config", "hf_config")

SIZES = (
    "head_dim",
    "hidden_size",
    "n_embd",
    "d_model",
    "kv_channels",
    "num_attention_heads",
    "n_head",
    "qk_rope_head_dim",
)

# dictionaries that are no models
SETTINGS = (
    "quantization_config",
    "compression_config",
    "generation_config",
    "tokenizer_config",
    "attention_other_setting",
)

DEEPEST = 16  # configurations within each other

TEXT = ("llm_config", "language_config", "language_model_config", "text_model_config")  # other names of text_config


@dataclass(frozen=True)
class Part:
    """One model inside a configuration: its name, its keys, the row of its family, and keys outside
    that it repeats.
    """

    name: str
    config: Mapping[str, Any]
    family: str
    row: Row
    outside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What the caller asked for: where it comes from, whether unknown keys are refused, and what is
    known beside it.
    """

    source: str
    strict: bool = True
    family: str | None = None
    known: Mapping[str, Any] | None = None


def parts(
    config: Mapping[str, Any], name: str, request: Request, unread: list[Fact], family: str = ""
) -> Iterator[Part]:
    """Yield the models of a configuration, sub-configurations first; unread gets those that nothing
    can read.
    """
    if name.count(".") > DEEPEST:
        raise RopeError("source", name[:40], f"holds configurations more than {DEEPEST} deep", rule="R-12.6")
    config = _unwrapped(config)
    check_names(config)
    family = choose_family(config, family or (not name and request.family) or None, request.strict)
    row = families().get(family, {})
    found: set[str] = set()
    for key, sub, child in _sub_configs(config, row):
        outside = _rope_keys(config) if _short(key) == "text" and "pairing" not in row else {}
        for part in parts(sub, f"{name}.{_short(key)}".lstrip("."), request, unread, child):
            found.add(_short(key))
            yield replace(part, outside=outside) if outside else part
    text = row.get("text", row.get("parts", {}).get("text_config"))
    if name and not name.endswith("text") and row.get("note") == NO_ROPE:
        unread.append(Fact(name, family, NO_ROPE))
    elif "pairing" in row or "refuse" in row or row.get("rotates") is False:
        yield Part(name or row.get("part", "text"), config, family, row)
    elif text and "text" not in found and _is_model(config):
        text = choose_family({**config, "model_type": text, "architectures": None}, text, strict=False)
        yield Part(f"{name}.text".lstrip("."), config, text, families()[text])  # version 4: all keys at the top
    elif "text" in found:
        return  # keys outside text_config are compared with those inside
    elif request.known and "pairing" in request.known and (_rope_keys(config) or not found):
        generic: Row = {"pairing": request.known["pairing"], "partial": True, "source": "the caller"}
        yield Part(name or "text", config, family, generic)
    elif _rope_keys(config) or (not found and not name):
        argument = "family" if not name and request.family else "model_type"
        raise unknown_family(family, words_of_rope(config), argument)
    elif not found:
        unread.append(Fact(name, family or None, "is not in the table of families, and has no key about RoPE"))


def is_nested(rope: Any) -> bool:
    """Return whether a rope dictionary holds one a layer type."""
    return isinstance(rope, Mapping) and any(
        isinstance(value, Mapping) and key not in RULE_KEYS for key, value in rope.items()
    )


def _unwrapped(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration that another program's file wraps, with the family that stands
    outside.
    """
    for key in WRAPPERS:
        inner = config.get(key)
        if isinstance(inner, Mapping) and _is_model(inner) and not _is_model(config):
            above = {name: config[name] for name in ("model_type", "architectures") if name in config}
            return {**above, **inner}
    return config


def text_keys(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of the language model of a configuration: its text_config's, or its own."""
    config = _unwrapped(config)
    for key in ("text_config", *TEXT):
        if isinstance(config.get(key), Mapping):
            inner: Mapping[str, Any] = config[key]
            return inner
    return config


def _sub_configs(config: Mapping[str, Any], row: Row) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the sub-configurations with their families; all of the row's where the source is a
    model type alone.
    """
    children = row.get("parts", {})
    if not set(config) - {"model_type"}:
        config = {**config, **{key: {} for key in children}}
    for key, sub in config.items():
        if children.get(key, key) is None or key in SETTINGS:
            if key in children and sub is not None and not isinstance(sub, Mapping):
                raise RopeError(key, sub, "must be an object", rule="R-12.6")
            continue  # settings, not a model
        if not isinstance(sub, Mapping):
            if sub is not None and (key in children or key in ("text_config", "vision_config", "audio_config")):
                raise RopeError(key, sub, "must be an object", rule="R-12.6")
            continue
        if key in children or key.endswith("_config") or "model_type" in sub:
            own = choose_family(sub, None, strict=False)
            row = families().get(own, {})
            says = "pairing" in row or "rotates" in row or "refuse" in row
            yield key, sub, own if says else children.get(key, own)


def _short(key: str) -> str:
    return "text" if key in TEXT else key.removesuffix("_config")


def _rope_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys about RoPE that the configuration itself has, without its parts; a null is no
    key.
    """
    return {key: value for key, value in config.items() if ABOUT_ROPE.search(key) and value is not None}


def _is_model(config: Mapping[str, Any]) -> bool:
    """Return whether the configuration itself speaks of RoPE or of the size of a head."""
    return bool(_rope_keys(config)) or any(config.get(key) is not None for key in SIZES)


def words_of_rope(config: Mapping[str, Any]) -> list[str]:
    """Return what a configuration says about RoPE, by keys or by values, for a message."""
    said = [f"{key}={value!r}" for key, value in config.items() if isinstance(value, str) and ABOUT_ROPE.search(value)]
    return [*_rope_keys(config), *said] or ["no key about RoPE"]


def truth(argument: str, value: Any) -> bool:
    """Return a value that must be true or false; 1 and 0 are taken too."""
    if isinstance(value, bool) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise RopeError(argument, value, "must be true or false", rule="R-12.6")


def rotates(part: Part) -> str:
    """Return why a part does not rotate, or "" where it does."""
    row = part.row
    if row.get("rotates") is False:
        return str(row.get("note", "the family has no RoPE"))
    condition = row.get("rotates_if")
    if condition is None:
        return ""
    key, values = condition["key"], condition["values"]
    value = part.config.get(key)
    value = condition["default"] if value is None else value
    if isinstance(values[0], bool):
        value = truth(key, value)
    elif value is not None and not isinstance(value, type(values[0])):
        raise RopeError(key, value, f"must be of the kind of {values[0]!r}", rule="R-12.6")
    return "" if value in values else f"{key} is {value!r}"
