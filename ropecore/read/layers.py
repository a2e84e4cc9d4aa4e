"""The layer types inside a model: which RoPEs a part has, and which layers have each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ropecore.errors import RopeError, integer, number
from ropecore.read.families import Row
from ropecore.read.parts import ROPE_KEYS, RULE_KEYS, Part, is_nested

NO_ROTATION: Row = {"rotates": False}  # of layer types that do not rotate
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
LARGEST_DEPTH = 1 << 16

SCALARS = ("rope_theta", "partial_rotary_factor")  # keys that hold a list in some files only

# layer types without attention, so without a rotation unless their family's row says so
NO_ATTENTION = ("linear_attention", "mamba", "mamba2", "conv", "recurrent", "mlp", "moe", "sparse", "dense", "no_op")


@dataclass(frozen=True)
class LayerType:
    """One RoPE of a part: its name, what the row says of it alone, its layers, and its key in a
    rope dictionary.
    """

    name: str
    overrides: Row
    layers: tuple[int, ...] | None = None
    key: str = ""


def layer_types(part: Part) -> list[LayerType]:
    """Return the RoPEs of a part: one a layer type, and one a value where a key holds a list with a
    value a layer.
    """
    listed = listed_types(part)
    return _by_value(part, _by_type(part, listed), len(listed) or None)


def listed_types(part: Part) -> list[str]:
    """Return the type of each layer, by the part's own list or by its row's schedule; empty where
    nothing tells.
    """
    config, row = part.config, part.row
    types = config.get("layer_types")
    if types is not None:
        if not isinstance(types, (list, tuple)) or not all(isinstance(name, str) for name in types):
            raise RopeError("layer_types", types, "must be a list with one name a layer", rule="R-12.6")
        types = list(types)
    else:
        types = _scheduled(config, row.get("schedule", {}))
    same: dict[str, str] = row.get("types", {})
    return [same.get(name, name) for name in types if name not in row.get("not_layers", ())]


def _scheduled(config: Mapping[str, Any], schedule: Row) -> list[str]:
    """Return the types that a schedule gives: by a list of values, a
    list of indices, or a period.
    """
    depth = next((integer(key, config[key], at_most=LARGEST_DEPTH) for key in DEPTHS if config.get(key) is not None), 0)
    keys = schedule.get("keys", ())
    key = next((name for name in keys if config.get(name) is not None), None)
    value = schedule.get("default") if key is None else config[key]
    if value is None or not (depth or schedule["kind"] == "values"):
        return []
    if schedule["kind"] in ("values", "indices", "cycle") and not (isinstance(value, (list, tuple)) and value):
        raise RopeError(str(key), value, "must be a list", rule="R-12.6")
    if schedule["kind"] == "cycle":
        return [str(value[i % len(value)]) for i in range(depth)]
    this, other = schedule["this"], schedule["other"]
    if schedule["kind"] == "indices":
        return [this if i in value else other for i in range(depth)]
    if schedule["kind"] == "values":
        return [this if entry in schedule["values"] else other for entry in value][: depth or None]
    if (
        isinstance(value, str) and value and not set(value) - {"L", "G"}
    ):  # EXAONE 4: "LLLG", and the last layer is global
        return [other if value[i % len(value)] == "L" and i < depth - 1 else this for i in range(depth)]
    period = integer(str(key), value)
    shift = 1 if schedule["kind"] == "last" else 0
    return [this if period and (i + shift) % period == 0 else other for i in range(depth)]


def rope_dictionary(config: Mapping[str, Any]) -> Any:
    """Return the configuration's rope dictionary, in transformers' order."""
    return next((config[key] for key in ROPE_KEYS if config.get(key)), None)


def _by_type(part: Part, listed: list[str]) -> list[LayerType]:
    rope = rope_dictionary(part.config)
    own: dict[str, Row | None] = part.row.get("layers", {})
    nested = is_nested(rope)
    if nested:
        names = [
            name
            for name, value in rope.items()
            if (value is None or isinstance(value, Mapping)) and name not in RULE_KEYS
        ]
        names += [name for name, value in own.items() if value is not None and name not in rope]
    elif part.row.get("nope_unless_null") and part.config.get(part.row["nope_unless_null"]) is None:
        names = []
    else:
        names = list(own)
    if not names:
        return [LayerType("", {}, _turning(listed, []))]
    chosen = [
        name for name in names if name in listed or "types" in part.row
    ] or names  # RoPEs that no layer type names
    told = listed if set(listed) & set(chosen) else []
    return [
        LayerType(name, _overrides(own, rope if nested else {}, name), _indices(told, name), name) for name in chosen
    ]


def _overrides(own: dict[str, Row | None], nested: Mapping[str, Any], name: str) -> Row:
    """Return what the row says of a layer type, or NO_ROTATION: a null of the rope dictionary or of
    the row.
    """
    if name in nested:
        return NO_ROTATION if nested[name] is None else own.get(name) or {}
    overrides = own[name]
    return NO_ROTATION if overrides is None else overrides


def _turning(listed: list[str], rotating: list[str]) -> tuple[int, ...] | None:
    """Return the layers with attention, None if all have."""
    layers = tuple(i for i, name in enumerate(listed) if name in rotating or name not in NO_ATTENTION)
    return None if len(layers) == len(listed) else layers


def _indices(listed: list[str], name: str) -> tuple[int, ...] | None:
    """Return the layers of a type; None where the list says nothing of
    the types that have a RoPE.
    """
    return tuple(i for i, layer in enumerate(listed) if layer == name) if listed else None


# keys that hold a value a layer


def _by_value(part: Part, types: list[LayerType], depth: int | None) -> list[LayerType]:
    """Return the layer types, parted where a list gives their layers different values."""
    lists = _lists(part, depth)
    if not lists:
        return _unlisted(part, types)
    length = min(len(values) for values in lists.values())
    found: list[LayerType] = []
    for layer_type in types:
        layers = [i for i in (range(length) if layer_type.layers is None else layer_type.layers) if i < length]
        values = {i: {name: entries[i] for name, entries in lists.items()} for i in layers}
        distinct = sorted({_sort_key(value) for value in values.values()}, reverse=True)
        for key in distinct:
            members = tuple(i for i in layers if _sort_key(values[i]) == key)
            overrides = _valued(layer_type.overrides, values[members[0]])
            name = _name(layer_type.name, values[members[0]], [values[i] for i in layers])
            found.append(LayerType(name, overrides, members, layer_type.key))
    if len(found) == 1 and found[0].overrides is not NO_ROTATION:
        return [LayerType(types[0].name, found[0].overrides, types[0].layers, types[0].key)]
    return found


def _lists(part: Part, depth: int | None) -> dict[str, list[float]]:
    """Return the row's lists by what they give: "rotates" (1 or 0), "base" (0 stands still) or
    "rotary_fraction".
    """
    found: dict[str, list[float]] = {}
    for key, meaning in part.row.get("lists", {}).items():
        values = part.config.get(key)
        if not isinstance(values, (list, tuple)):
            if values is not None and not (meaning != "rotates" and key in SCALARS):
                raise RopeError(key, values, "must be a list with one entry a layer", rule="R-12.6")
            continue
        if not values:
            continue
        if depth is not None and len(values) < depth:
            reason = f"must have one entry a layer, {depth}"
            raise RopeError(key, list(values), reason, rule="R-12.7")
        entries = [number(f"{key}[{i}]", int(v) if isinstance(v, bool) else v) for i, v in enumerate(values)]
        found[meaning] = entries[:depth]
    return found


def _sort_key(values: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(values.values()) if values.get("rotates", 1) and values.get("base", 1) else (0.0,) * len(values)


def _valued(overrides: Row, values: Mapping[str, float]) -> Row:
    """Return a layer type's overrides with the values of a list."""
    if overrides is NO_ROTATION or not values.get("rotates", 1) or not values.get("base", 1):
        return NO_ROTATION
    return {**overrides, **{name: value for name, value in values.items() if name != "rotates"}}


def _name(name: str, own: Mapping[str, float], others: list[dict[str, float]]) -> str:
    """Return a layer type's name, with what tells its layers apart."""
    if len({_sort_key(values) for values in others}) == 1 and name:
        return name
    if not own.get("rotates", 1) or not own.get("base", 1):
        suffix = "nope"
    else:
        turning = [values for values in others if values.get("rotates", 1) and values.get("base", 1)]
        telling = [key for key in own if len({values[key] for values in turning}) > 1]
        words = {"base": "theta", "rotary_fraction": "fraction"}
        suffix = "_".join(f"{words[key]}_{own[key]:g}" for key in telling if key in words) or "rope"
    return f"{name}_{suffix}".lstrip("_")


def _unlisted(part: Part, types: list[LayerType]) -> list[LayerType]:
    """Return the layer types where no list parts them, but every n-th layer may stand still
    (no_rope_layers of transformers).
    """
    still = part.row.get("still_every")
    if still is None:
        return types
    step = integer(still["key"], part.config.get(still["key"], still["default"]), at_least=1)
    depth = part.config.get("num_hidden_layers")
    if depth is None:
        return [LayerType("rope", {}), LayerType("nope", NO_ROTATION)]
    depth = integer("num_hidden_layers", depth, at_least=1, at_most=LARGEST_DEPTH)
    nope = tuple(i for i in range(depth) if (i + 1) % step == 0)
    rope = tuple(i for i in range(depth) if (i + 1) % step)
    found = [LayerType("rope", {}, rope), LayerType("nope", NO_ROTATION, nope)]
    return [layer_type for layer_type in found if layer_type.layers]
