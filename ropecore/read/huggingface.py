"""Reading Hugging Face configurations: version 4's flat keys, version 5's rope_parameters,
composite ones.

The order in which keys are looked at is transformers'; what they do not say is in the table of
families.
"""

from collections.abc import Mapping
from typing import Any

from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.read.axes import read_axes
from ropecore.read.families import unknown_family
from ropecore.read.keys import Reader
from ropecore.read.layers import NO_ROTATION, LayerType, layer_types
from ropecore.read.parts import Part, Request, parts, rotates, truth, words_of_rope
from ropecore.read.ropes import Ropes
from ropecore.read.scaling import read_rule, softmax_note
from ropecore.report import Fact, Report
from ropecore.scaling import YaRN


def read(config: Mapping[str, Any], request: Request) -> Ropes:
    """Return every RoPE of a configuration by name, "part" or "part/layer_type"; None where a layer
    does not rotate.
    """
    found = Ropes()
    unread: list[Fact] = []
    for part in parts(config, "", request, unread):
        _read_part(part, request, found)
    if not found:
        raise unknown_family(str(config.get("model_type") or ""), words_of_rope(config))
    found.leave_out(unread)
    return found


def _read_part(part: Part, request: Request, found: Ropes) -> None:
    row = part.row
    if "refuse" in row:
        raise RopeError("model_type", part.family, row["refuse"], f"Source: {row['source']}.", "R-12.6")
    if "learned" in row and request.strict:
        cure = "Use plan.with_frequencies(..); strict=False gives what they start from."
        raise RopeError("model_type", part.family, row["learned"], cure, "R-12.6")
    still = rotates(part)
    if still:
        found.add(part.name, None, _still(part, LayerType("", {}), request, still))
        return
    types = layer_types(part)
    for layer_type in types:
        key = part.name if len(types) == 1 and not layer_type.name else f"{part.name}/{layer_type.name}"
        if layer_type.overrides is NO_ROTATION:
            found.add(key, None, _still(part, layer_type, request, "these layers have no RoPE"))
        else:
            _read_one(part, layer_type, request, found, key)


def _still(part: Part, layer_type: LayerType, request: Request, why: str) -> Report:
    """Return the report of layers that do not rotate."""
    return Report(
        request.source,
        part.family,
        part.row["source"],
        part.name,
        layer_type.name or None,
        notes=(why,),
        layers=layer_type.layers,
    )


def _read_one(part: Part, layer_type: LayerType, request: Request, found: Ropes, key: str) -> None:
    """Add the configuration of one RoPE, with its report."""
    reader = Reader(part, layer_type, request)
    row, known = reader.row, dict(request.known or {})
    why = reader.why_no_lanes()
    if why:
        found.add(key, None, _still(part, layer_type, request, why))
        return
    if "qk_rope_head_dim" in row.get("head", ()):
        reader.ledger.notes.append(
            "head_dim is the rotated slice of queries and keys; for whole heads give lane_offset and the whole head_dim"
        )
    reader.overrule(known)
    rule = known.pop("scaling") if "scaling" in known else read_rule(reader.rope, reader.lengths(), request.strict)
    if "qk_rope_head_dim" in row.get("head", ()) and isinstance(rule, YaRN) and rule.mscale_all_dim:
        reader.ledger.notes.append(softmax_note(rule.factor, rule.mscale_all_dim))
    head_dim = known.pop("head_dim") if "head_dim" in known else reader.head_dim()
    base = known.pop("base") if "base" in known else reader.base()
    lanes = _lanes(reader, head_dim, rule is not None and rule.rule == "proportional")
    keywords = {"head_dim": head_dim, "base": base, "scaling": rule, **_pairing(reader), **lanes}
    keywords |= read_axes(reader, keywords)
    keywords |= known
    for name in request.known or {}:
        reader.ledger.assume(name, (request.known or {})[name], "the caller")
    reader.finish(keywords["pairing"])
    if "note" in row:
        reader.ledger.notes.append(row["note"])
    report = Report(
        source=request.source,
        family=part.family,
        evidence=row["source"],
        part=part.name,
        layer_type=layer_type.name or None,
        layers=layer_type.layers,
        context=reader.context(),
        **reader.ledger.report_fields(),
    )
    found.add(key, RopeConfig(**keywords, report=report), report)


def _pairing(reader: Reader) -> dict[str, Any]:
    row = reader.row
    found: dict[str, Any] = {key: row[key] for key in ("pairing", "out_pairing", "direction") if key in row}
    key = str(row.get("interleave_key", ""))
    said = reader.config.get(key, "whether lanes are de-interleaved") if key else None
    if said is not None and not truth(key, said):
        return {"pairing": "half_split"}
    key = str(row.get("interleaved_if", ""))
    said = reader.config.get(key, "how lanes are paired") if key else None
    if said is not None:
        return {"pairing": "interleaved" if truth(key, said) else "half_split"}
    for name, value in found.items():
        reader.ledger.assume(name, value, row["source"])
    return found


def _lanes(reader: Reader, head_dim: int, proportional: bool) -> dict[str, Any]:
    if "rotary_dim" in (reader.request.known or {}):
        return {}
    rotary_dim = reader.rotary_dim(head_dim, proportional)
    if rotary_dim % 2:  # transformers: arange(0, dim, 2) / dim has one frequency more
        return {"rotary_dim": rotary_dim + 1, "frequency_dim": rotary_dim}
    found = {} if rotary_dim == head_dim else {"rotary_dim": rotary_dim}
    if reader.row.get("offset") == "last":
        reader.ledger.assume("lane_offset", head_dim - rotary_dim, f"the last lanes: {reader.row['source']}")
        found["lane_offset"] = head_dim - rotary_dim
    return found
