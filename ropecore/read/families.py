"""The table of model families, families.json: what a configuration does not say, one row a family.

A row is keyed by `model_type`.  Its columns, all but `source` optional:

    source           where it was read
    part             the name of its part: "text" unless given
    pairing, out_pairing, direction
                     of RopeConfig (rope.md chapter 3)
    interleave_key   a key that, where false, makes it half_split
    head             the head's size: keys, or quotients of keys, the first that is there ("a/b")
    partial          partial_rotary_factor is read
    rotary           a rule of its own for rotary_dim
    offset           "last": the last rotary_dim lanes
    ratio_key        a key that multiplies the base
    axes, sections   an arrangement of the table's `axes`, and its sections where the configuration
                     has none
    theta_key, partial_key
                     keys of the base and the fraction that go before the usual ones
    flat_base_outside
                     a rope dictionary for all layers does not hold the base
    rope             the rope dictionary of a configuration without one
    layers           layer types: what each has of its own (`scaled`: the rope dictionary is
                     theirs); null: no rotation
    nope_unless_null a key without which every layer type rotates
    rotates_if       a key and the values with which it rotates
    rotates          false: it never does
    defaults         what keys are where they are missing
    ignored          keys that take no part, and why
    parts            the families of its sub-configurations
    refuse           why it cannot be read
    learned          why its frequencies are not in the configuration
    note             what a user should know
    as               a row whose columns it has, but for defaults
    must             keys and the values that its code has
    variants         rows that share the model_type, chosen by `architectures` or `keys`
    architectures    names of its classes that do not follow from its own
    schedule         which layers have which type: a period ("first", "last"), "values", "indices",
                     "cycle"
    types            layer types that share another's RoPE
    not_layers       entries of layer_types that are none
    lists            keys that may hold a value a layer, and what it is: base, rotary_fraction,
                     rotates
    still_every      a key with the period of layers that stand still
    rotary_key       a key with the lanes that rotate
    yarn             keys that its configuration class adds to a YaRN rule
    rule_names       rules that go by another name
    dropped          what transformers does not apply: a rope dictionary with `type`, a `flat` one,
                     a `theta` outside it
    interleaved_if   a key that says whether lanes are interleaved
    text             the family of its flat text keys
"""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from ropecore.errors import RopeError

Row = dict[str, Any]

SCHEMA = "ropecore-families/1"
NO_ROPE = "the model has no rotary embedding"


@cache
def table() -> dict[str, Any]:
    """Return families.json: its `axes`, `families` and `gguf`."""
    data: dict[str, Any] = json.loads(files("ropecore.read").joinpath("families.json").read_text("utf-8"))
    if data["schema"] != SCHEMA:
        raise RopeError("families.json", data["schema"], f"is not of schema {SCHEMA}", rule="R-12.6")
    return data


@cache
def families() -> dict[str, Row]:
    """Return the rows by family; one that is `as` another has that one's columns, but for its
    defaults and its note.
    """
    rows: dict[str, Row] = table()["families"]
    own = ("defaults", "note", "source", "variants", "architectures", "parts")
    resolved = {}
    for name, row in rows.items():
        borrowed = rows.get(row.get("as", ""), {})
        resolved[name] = {key: value for key, value in borrowed.items() if key not in own} | row
    still = {"rotates": False, "note": NO_ROPE, "source": table()["without_rope"]["source"]}
    return resolved | dict.fromkeys(table()["without_rope"]["names"], still)


SUFFIXES = re.compile(
    "(For[A-Z][A-Za-z]*|LMHeadModel|LMHead|HeadModel|Model|Causal|PreTrainedModel|Sequential)$"
)  # of architectures: what a class is for


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


@cache
def _architectures() -> dict[str, str]:
    """Return the families by the names of their classes, without case, punctuation and what a class
    is for.
    """
    found = {_plain(name): name for name in families()}
    found |= {_plain(a): name for name, row in families().items() for a in row.get("architectures", ())}
    return found


def by_architecture(config: Mapping[str, Any]) -> str:
    """Return the family that `architectures` names, or ""."""
    given = config.get("architectures")
    if given is not None and (not isinstance(given, (list, tuple)) or not all(isinstance(a, str) for a in given)):
        raise RopeError("architectures", given, "must be a list of names", rule="R-12.6")
    for name in given or ():
        family = _architectures().get(_plain(name)) or _architectures().get(_plain(SUFFIXES.sub("", name)))
        if family:
            return family
    return ""


def choose_family(config: Mapping[str, Any], asked: str | None, strict: bool) -> str:
    """Return the row's name for a configuration: by what was asked for, else model_type, else
    architectures; then its variants.

    A model_type and architectures whose rows pair lanes differently are refused, if strict.
    """
    named = config.get("model_type")
    if named is not None and not isinstance(named, str):
        raise RopeError("model_type", named, "must be a name", rule="R-12.6")
    by_class = by_architecture(config)
    family = asked or (named if named in families() else by_class or named) or ""
    family = _variant(config, family)
    rows = [families().get(name, {}) for name in (family, _variant(config, by_class))]
    if strict and not asked and all("pairing" in row for row in rows):
        pairings = [(row["pairing"], row.get("direction", 1)) for row in rows]
        if pairings[0] != pairings[1]:
            cure = f"Pass family={family!r} or family={by_class!r}."
            reason = f"is paired otherwise than architectures={config['architectures']} says"
            raise RopeError("model_type", named, reason, cure, "R-12.6")
    return family


def _variant(config: Mapping[str, Any], family: str) -> str:
    """Return the row that a configuration's classes or keys choose among
    models of one model_type.
    """
    for variant in families().get(family, {}).get("variants", ()):
        classes = [a for a in config.get("architectures") or () if a in variant.get("architectures", ())]
        keys = variant.get("keys", {})
        if classes or (keys and all(config.get(key) in values for key, values in keys.items())):
            return str(variant["family"])
    return family


def did_you_mean(name: str) -> str:
    """Return a question that names the families whose names are near, or nothing."""
    return did_you_mean_of(name, families())


def did_you_mean_of(name: str, known: Iterable[str]) -> str:
    near = [other for other in get_close_matches(name, known, n=6) if other != name][:5]
    return f"Did you mean {', '.join(near)}? " if near else ""


class UnknownFamily(RopeError):
    """A family that is not in the table: nothing says how its lanes are paired."""


def unknown_family(name: str, keys: list[str], argument: str = "model_type") -> UnknownFamily:
    """Return the refusal of a family that is not in the table, with near names and what the caller
    can pass (R-12.6).
    """
    cure = did_you_mean(name) + (
        "Pass what it does: pairing='half_split' or 'interleaved' (and any other keyword of RopeConfig), or family= a "
    )
    cure += "row of the table (see `ropecore models`)."
    reason = f"is not in the table of families, so nothing says how its lanes are paired (it has {', '.join(keys)})"
    return UnknownFamily(argument, name or None, reason, cure, "R-12.6")
