"""The models inside a Hugging Face configuration, and the layer types inside a model: which RoPEs there are to read."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ropecore.errors import RopeError, integer, number
from ropecore.read.families import Row, families, unknown_family

ABOUT_ROPE = re.compile("rope|rotary")  # keys that must not go unnoticed

NO_ROTATION: Row = {"rotates": False}  # of layer types that do not rotate


@dataclass(frozen=True)
class Part:
    """One model inside a configuration: its name, its keys, and the row of its family."""

    name: str
    config: Mapping[str, Any]
    family: str
    row: Row


@dataclass(frozen=True)
class LayerType:
    """One RoPE of a part: the layer type's name, what the row says of it alone, and the layers that have it."""

    name: str
    overrides: Row
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Request:
    """What the caller asked for: where it comes from, whether unknown keys are refused, and what is known beside it."""

    source: str
    strict: bool = True
    family: str | None = None
    known: Mapping[str, Any] | None = None


def parts(config: Mapping[str, Any], name: str, request: Request, notes: list[str], family: str = "") -> Iterator[Part]:
    """Yield the models of a configuration, sub-configurations first; notes gets those that say nothing about RoPE."""
    family = family or (not name and request.family) or str(config.get("model_type") or "")
    row = families().get(family, {})
    inner = 0
    for key, sub, child in _sub_configs(config, row):
        for part in parts(sub, f"{name}.{_short(key)}".lstrip("."), request, notes, child):
            inner += 1
            yield part
    if "pairing" in row or "refuse" in row or row.get("rotates") is False:
        yield Part(name or row.get("part", "text"), config, family, row)
    elif "text_config" in row.get("parts", {}) and "text_config" not in config and _has_rope(config):
        child = row["parts"]["text_config"]  # version 4 kept the language model's keys at the top
        yield Part(f"{name}.text".lstrip("."), config, child, families()[child])
    elif request.known and "pairing" in request.known and (_has_rope(config) or not inner):
        generic: Row = {"pairing": request.known["pairing"], "partial": True, "source": "the caller"}
        yield Part(name or "text", config, family, generic)
    elif _has_rope(config) or (not inner and not name):
        keys = [key for key in config if ABOUT_ROPE.search(key)] or ["no key about RoPE"]
        raise unknown_family(family, keys, "family" if not name and request.family else "model_type")
    elif not inner:
        notes.append(
            f"{name} ({family or 'no model_type'}) is not in the table of families and has no key about RoPE: left out"
        )


def text_keys(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of the language model of a configuration: its text_config's, or its own."""
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else config


def _sub_configs(config: Mapping[str, Any], row: Row) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the sub-configurations with their families; all of the row's where the source is a model type alone."""
    children = row.get("parts", {})
    if not set(config) - {"model_type"}:
        config = {**config, **{key: {} for key in children}}
    for key, sub in config.items():
        if children.get(key, key) is None or key == "quantization_config":
            continue  # settings, not a model
        if isinstance(sub, Mapping) and (key in children or key.endswith("_config") or "model_type" in sub):
            own = str(sub.get("model_type") or "")
            yield key, sub, own if "pairing" in families().get(own, {}) else children.get(key, own)


def _short(key: str) -> str:
    return key.removesuffix("_config")


def _has_rope(config: Mapping[str, Any]) -> bool:
    """Tell whether the configuration itself, without its parts, speaks of RoPE."""
    return any(ABOUT_ROPE.search(key) for key, value in config.items() if value is not None)


def rotates(part: Part, row: Row) -> bool:
    condition = row.get("rotates_if")
    if condition is None:
        return True
    return part.config.get(condition["key"], condition["default"]) in condition["values"]


def layer_types(part: Part) -> list[LayerType]:
    """Return the RoPEs of a part: one a layer type, if they differ."""
    config, row = part.config, part.row
    rope = config.get("rope_scaling") or config.get("rope_parameters")  # transformers takes rope_scaling first
    types = config.get("layer_types")
    types = list(types) if isinstance(types, (list, tuple)) else []
    if "per_layer" in row:
        return _per_layer(part)
    if isinstance(rope, Mapping) and any(isinstance(value, Mapping) for value in rope.values()):
        return _nested(part, rope, types)
    layers: dict[str, Row | None] = row.get("layers", {"": {}})
    if row.get("nope_unless_null") and config.get(row["nope_unless_null"]) is None:
        layers = {"": {}}
    return [
        LayerType(name, NO_ROTATION if own is None else own, _indices(types, name))
        for name, own in layers.items()
        if not types or not name or name in types or not set(types) & set(layers)
    ]


def _nested(part: Part, rope: Mapping[str, Any], types: list[str]) -> list[LayerType]:
    """Return version 5's layer types: those that a layer has, if the configuration lists its layers."""
    own: dict[str, Row | None] = part.row.get("layers", {})
    names = [name for name, value in rope.items() if value is None or isinstance(value, Mapping)]
    names += [name for name, value in own.items() if value is not None and name not in rope]
    listed = [name for name in names if name in types]
    return [
        LayerType(
            name, NO_ROTATION if name in rope and rope[name] is None else own.get(name) or {}, _indices(types, name)
        )
        for name in (listed or names)
    ]


def _per_layer(part: Part) -> list[LayerType]:
    """Return the RoPEs that a list with one entry a layer tells apart: 0 does not rotate, else 1 or the layer's base."""
    config, key = part.config, part.row["per_layer"]
    values = config.get(key)
    if not values:
        return _every_nth(part) if key == "no_rope_layers" else [LayerType("", {})]
    if not isinstance(values, (list, tuple)):
        raise RopeError(key, values, "must be a list with one entry a layer", rule="R-12.6")
    entries = [
        number(f"{key}[{i}]", value if not isinstance(value, bool) else int(value)) for i, value in enumerate(values)
    ]
    values = sorted(set(entries), reverse=True)
    bases = [value for value in values if value] if key == "layer_rope_theta" else [1.0]
    found = []
    for value in values:
        name = "nope" if not value else ("rope" if len(bases) == 1 else f"theta_{value:g}")
        own = NO_ROTATION if not value else ({"base": value} if key == "layer_rope_theta" else {})
        found.append(LayerType(name, own, tuple(i for i, entry in enumerate(entries) if entry == value)))
    return [replace(found[0], name="")] if len(found) == 1 and found[0].overrides is not NO_ROTATION else found


def _every_nth(part: Part) -> list[LayerType]:
    """Return transformers' default of no_rope_layers: every fourth layer, or every no_rope_layer_interval-th, stands still."""
    step = integer("no_rope_layer_interval", part.config.get("no_rope_layer_interval", 4), at_least=1)
    depth = part.config.get("num_hidden_layers")
    if depth is None:
        return [LayerType("rope", {}), LayerType("nope", NO_ROTATION)]
    depth = integer("num_hidden_layers", depth, at_least=1, at_most=1 << 16)
    still = tuple(i for i in range(depth) if (i + 1) % step == 0)
    turning = tuple(i for i in range(depth) if i not in set(still))
    found = [LayerType("rope", {}, turning), LayerType("nope", NO_ROTATION, still)]
    return [layer_type for layer_type in found if layer_type.layers]


def _indices(types: list[str], name: str) -> tuple[int, ...] | None:
    return tuple(i for i, layer in enumerate(types) if layer == name) or None
