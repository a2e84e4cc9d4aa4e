"""The table of model families: what a configuration does not say, one row a family, in families.json.

A row is keyed by `model_type`.  Its columns, all but `source` optional:

    source           where it was read                part          the name of its part: "text" unless given
    pairing, out_pairing, direction                   of RopeConfig (rope.md chapter 3)
    interleave_key   a key that, where false, makes it half_split
    head             the head's size: keys, or quotients of keys, the first that is there ("a/b")
    partial          partial_rotary_factor is read    rotary        a rule of its own for rotary_dim
    offset           "last": the last rotary_dim lanes                ratio_key     a key that multiplies the base
    axes, sections   an arrangement of the table's `axes`, and its sections where the configuration has none
    theta_key        where the base is, if elsewhere  rope          the rope dictionary of a configuration without one
    layers           layer types: what each has of its own; null where it does not rotate
    per_layer        a key with one entry a layer     nope_unless_null  a key without which every layer type rotates
    rotates_if       a key and the values with which it rotates       rotates       false: it never does
    defaults         what keys are where they are missing             ignored       keys that take no part, and why
    parts            the families of its sub-configurations           refuse        why it cannot be read
    learned          why its frequencies are not in the configuration note          what a user should know
"""

import json
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from ropecore.errors import RopeError

Row = dict[str, Any]

SCHEMA = "ropecore-families/1"


@cache
def table() -> dict[str, Any]:
    """Return families.json: its `axes`, `families` and `gguf`."""
    data: dict[str, Any] = json.loads(files("ropecore.read").joinpath("families.json").read_text("utf-8"))
    if data["schema"] != SCHEMA:
        raise RopeError("families.json", data["schema"], f"is not of schema {SCHEMA}", rule="R-12.6")
    return data


def families() -> dict[str, Row]:
    """Return the rows by family."""
    rows: dict[str, Row] = table()["families"]
    return rows


def did_you_mean(name: str) -> str:
    """Return a question that names the families whose names are near, or nothing."""
    near = get_close_matches(name, families(), n=5)
    return f"Did you mean {', '.join(near)}? " if near else ""


class UnknownFamily(RopeError):
    """A family that is not in the table: nothing says how its lanes are paired."""


def unknown_family(name: str, keys: list[str], argument: str = "model_type") -> UnknownFamily:
    """Return the refusal of a family that is not in the table, with near names and what the caller can pass (R-12.6)."""
    cure = did_you_mean(name) + (
        "Pass what it does: pairing='half_split' or 'interleaved' (and any other keyword of RopeConfig), or family= a "
    )
    cure += "row of the table (see `ropecore models`)."
    reason = f"is not in the table of families, so nothing says how its lanes are paired (it has {', '.join(keys)})"
    return UnknownFamily(argument, name or None, reason, cure, "R-12.6")
