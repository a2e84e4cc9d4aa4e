"""What a configuration says twice: with its family's row, in two rope dictionaries, or outside and
inside text_config.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ropecore.errors import RopeError
from ropecore.read.ledger import Section
from ropecore.read.parts import ROPE_KEYS, is_nested, truth
from ropecore.read.scaling import ALIASES

if TYPE_CHECKING:
    from ropecore.read.keys import Reader

# keys that say whether lanes are interleaved
SAYS_INTERLEAVED = ("rope_interleaved", "rope_interleave", "rotary_emb_interleaved", "rotary_interleaved")

DROPS = "transformers 5.24.0 silently drops"


def note_dropped(reader: "Reader", key: str, rope: Mapping[str, Any]) -> None:
    """Note a rope dictionary that says what its author meant, and that
    transformers does not apply.
    """
    dropped = reader.row.get("dropped", ())
    if is_nested(rope):
        return
    if "flat" in dropped and key == "rope_parameters":
        reader.ledger.notes.append(f"{DROPS} a flat rope_parameters in this family")
    elif "type" in dropped and rope.get("rope_type") is None and rope.get("type") not in (None, "default"):
        reader.ledger.notes.append(f"{DROPS} a {key} that has type and no rope_type in this family")


def check_agreement(reader: "Reader", pairing: str) -> None:
    """Check the keys that say what the row says too: they must agree,
    and take no part beside it.
    """
    said: dict[str, tuple[Any, ...]] = dict.fromkeys(SAYS_INTERLEAVED, (pairing == "interleaved",))
    said |= {"use_mrope": (str(reader.row.get("axes", "")).startswith("mrope"),)}
    said |= {key: tuple(values) for key, values in reader.row.get("must", {}).items()}
    for key, values in said.items():
        value = reader.config.peek(key)
        if value is None or key == reader.row.get("interleave_key") or key == reader.row.get("interleaved_if"):
            continue
        if isinstance(values[0], bool):
            value = truth(key, value)
        if value not in values and reader.request.strict:
            reason = f"does not agree with the family, whose code has {' or '.join(map(str, values))} ({reader.row['source']})"
            raise RopeError(
                key, value, reason, "Pass pairing= and the like, or strict=False to go by the family.", "R-12.6"
            )
        reader.config.ignore(
            key, "says what the family's row says" if value in values else "the family's code has another"
        )


def check_outside(reader: "Reader") -> None:
    """Ignore the keys outside text_config that say what those inside say; refuse others, which the
    model does not read.
    """
    outer = Section(reader.part.outside, reader.ledger)
    differs = []
    for name, value in reader.part.outside.items():
        if not _says_the_same(reader, name, value):
            differs.append(name)
        outer.ignore(name, "stands outside text_config, which says it already")
    if differs and reader.request.strict:
        reason = "stands outside text_config, which the model reads and which does not say so"
        cure = "Move it into text_config, or pass strict=False to leave it out."
        raise RopeError(differs[0], reader.part.outside[differs[0]], reason, cure, "R-12.6")


def _says_the_same(reader: "Reader", name: str, value: Any) -> bool:
    inside = reader.config.peek(name)
    if name in ROPE_KEYS:
        ropes = [reader.config.peek(key) for key in ROPE_KEYS]
        return any(isinstance(rope, Mapping) and same_rope(value, rope) for rope in ropes) or not value
    if inside is not None:
        return bool(inside == value)
    if name in ("rope_theta", "rotary_emb_base", "rope_base"):
        return any(fact.key.endswith("rope_theta") and fact.value == value for fact in reader.ledger.facts())
    return False


def same_rope(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two rope dictionaries say the same: a rule has two keys and several names, and
    a base may stand outside.
    """

    def plain(rope: Mapping[str, Any]) -> dict[str, Any]:
        name = rope.get("rope_type", rope.get("type"))
        rest = {key: value for key, value in rope.items() if key not in ("rope_type", "type") and value is not None}
        return {"rope_type": ALIASES.get(name, name) if isinstance(name, str) else name or "default"} | rest

    if not isinstance(one, Mapping):
        return False
    first, second = plain(one), plain(other)
    shared = {"rope_theta", "partial_rotary_factor"}  # may stand outside
    return all(first.get(key) == second.get(key) for key in (first.keys() | second.keys()) - shared) and all(
        first[key] == second[key] for key in shared if key in first and key in second
    )
