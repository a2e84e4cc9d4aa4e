"""Reading Hugging Face configurations: version 4's flat keys, version 5's rope_parameters, composite ones.

The order in which keys are looked at is transformers'; what they do not say is in the table of families.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.read.axes import read_axes
from ropecore.read.families import unknown_family
from ropecore.read.keys import Reader
from ropecore.read.parts import NO_ROTATION, LayerType, Part, Request, layer_types, parts, rotates
from ropecore.read.scaling import read_rule
from ropecore.report import Report


def read(config: Mapping[str, Any], request: Request) -> dict[str, RopeConfig | None]:
    """Return every RoPE of a configuration by name, "part" or "part/layer_type"; None where a layer does not rotate."""
    found: dict[str, RopeConfig | None] = {}
    notes: list[str] = []
    for part in parts(config, "", request, notes):
        found |= dict(_read_part(part, request))
    if not found:
        raise unknown_family(str(config.get("model_type") or ""), sorted(config)[:8])
    return {name: _with_notes(rope, notes) for name, rope in found.items()}


def _with_notes(config: RopeConfig | None, notes: list[str]) -> RopeConfig | None:
    """Return the configuration with notes on the whole source added to its report."""
    if config is None or config.report is None or not notes:
        return config
    return config.replace(report=replace(config.report, notes=(*config.report.notes, *notes)))


def _read_part(part: Part, request: Request) -> Iterator[tuple[str, RopeConfig | None]]:
    row = part.row
    if "refuse" in row:
        raise RopeError("model_type", part.family, row["refuse"], f"Source: {row['source']}.", "R-12.6")
    if "learned" in row and request.strict:
        cure = "Use plan.with_frequencies(..); strict=False gives what they start from."
        raise RopeError("model_type", part.family, row["learned"], cure, "R-12.6")
    if row.get("rotates") is False or not rotates(part, row):
        yield part.name, None
        return
    found = layer_types(part)
    for layer_type in found:
        key = part.name if len(found) == 1 and not layer_type.name else f"{part.name}/{layer_type.name}"
        yield key, None if layer_type.overrides is NO_ROTATION else _read_one(part, layer_type, request)


def _read_one(part: Part, layer_type: LayerType, request: Request) -> RopeConfig:
    """Return the configuration of one RoPE, with its report."""
    reader = Reader(part, layer_type, request)
    row, known = part.row, dict(request.known or {})
    if "qk_rope_head_dim" in row.get("head", ()):
        reader.ledger.notes.append(
            "head_dim is the rotated slice of queries and keys; for whole heads give lane_offset and the whole head_dim"
        )
    reader.overrule(known)
    rule = known.pop("scaling") if "scaling" in known else read_rule(reader.rope, reader.lengths(), request.strict)
    head_dim = known.pop("head_dim") if "head_dim" in known else reader.head_dim()
    base = known.pop("base") if "base" in known else reader.base()
    lanes = _lanes(reader, head_dim, rule is not None and rule.rule == "proportional")
    keywords = {"head_dim": head_dim, "base": base, "scaling": rule, **_pairing(reader), **lanes}
    keywords |= read_axes(reader, keywords)
    keywords |= known
    for name in request.known or {}:
        reader.ledger.assume(name, (request.known or {})[name], "the caller")
    reader.finish()
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
    return RopeConfig(**keywords, report=report)


def _pairing(reader: Reader) -> dict[str, Any]:
    row = reader.row
    found: dict[str, Any] = {key: row[key] for key in ("pairing", "out_pairing", "direction") if key in row}
    key = row.get("interleave_key")
    if key and reader.config.get(key, "whether lanes are de-interleaved") is False:
        return {"pairing": "half_split"}
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
