"""Reading GGUF files: the `rope.*` keys of an architecture, its freq-factor tensors, and
llama.cpp's pairing for it.

llama.cpp permutes q and k of some architectures when it converts them, so its pairing may differ
from the original's: `plan.with_pairing` gives the plan of the unpermuted weights.  What no key says
is in the table's `gguf`:

    half_split, interleaved, mrope, mrope_interleaved, none    architectures by their pairing or
      axes
    mrope_with_sections      those that have axes where rope.dimension_sections is there
    layers                   `sliding`: sliding layers have a RoPE of their own, unscaled, of this
                             base or of the same;
                             `still`: layers that do not rotate; every `period`-th layer is full (or
                               still), the last or the `first`;
                             `needs` a key (of these `values`), `unless` a key has a value
    no_rope_unless_finetuned, none_of_depth, last_lanes, reasons
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ropecore.config import RopeConfig
from ropecore.errors import RopeError, integer, number
from ropecore.exact import sixty_digits
from ropecore.read.axes import frequencies
from ropecore.read.families import Row, did_you_mean_of, table
from ropecore.read.gguf_file import load
from ropecore.read.ledger import Ledger, Section
from ropecore.read.parts import Request
from ropecore.read.ropes import Ropes
from ropecore.read.scaling import multiply, softmax_note
from ropecore.report import Report
from ropecore.scaling import NTK, Linear, LongRoPE, ScalingRule, YaRN, yarn_temperature

LLAMA_CPP = "llama.cpp src/llama-model.cpp"

# divisors of the frequencies, and which rule they belong to
FREQ_FACTORS, LONG, SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
TENSORS = (FREQ_FACTORS, LONG, SHORT)

SILENT = {
    "rope.scaling.finetuned": "says that the model was trained so",
    "rope.scaling.yarn_attn_factor": "llama.cpp overwrites it",
}

SWA = "_swa"  # suffix of the keys of layers with a sliding window
KINDS = ("half_split", "interleaved", "mrope", "mrope_interleaved", "none")


class _Layers(NamedTuple):
    """One RoPE of a file: its name in the result, the suffix of its keys, whether it rotates, is
    scaled, and its layers.
    """

    name: str
    suffix: str = ""
    rotates: bool = True
    is_scaled: bool = True
    layers: tuple[int, ...] | None = None


def read(path: Path, request: Request) -> Ropes:
    """Return the RoPEs of a GGUF file."""
    return read_fields(*load(path, _concerns_rope, TENSORS), request)


def _concerns_rope(name: str) -> bool:
    parts = (".rope.", ".attention.", ".embedding_length", ".context_length", ".block_count")
    return name == "general.architecture" or any(part in name for part in parts)


def read_fields(fields: Mapping[str, Any], tensors: Mapping[str, Sequence[float]], request: Request) -> Ropes:
    """Return the RoPEs that metadata and freq-factor tensors describe."""
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str):
        raise RopeError("general.architecture", architecture, "must be a name", rule="R-12.6")
    prefix = f"{architecture}."
    own = {name.removeprefix(prefix): _uniform(value) for name, value in fields.items() if name.startswith(prefix)}
    kind = _kind(architecture, own, request)
    found = Ropes()
    why = _why_none(architecture, own, kind)
    for layers in [_Layers("text", rotates=False)] if why else _layer_types(architecture, own, fields):
        if layers.rotates:
            _read_one(architecture, own, tensors, request, kind, layers, found)
        else:
            found.add(
                layers.name, None, _report(architecture, request, layers, notes=(why or "these layers have no RoPE",))
            )
    return found


def _kind(architecture: str, own: Mapping[str, Any], request: Request) -> str:
    """Return the pairing, or kind of axes, of an architecture."""
    rules = table()["gguf"]
    if own.get("rope.dimension_sections") is not None and architecture in rules["mrope_with_sections"]:
        return "mrope"
    for kind in KINDS:
        if architecture in rules[kind]:
            return kind
    if "pairing" in (request.known or {}):
        return str((request.known or {})["pairing"])
    cure = did_you_mean_of(architecture, [name for kind in KINDS for name in rules[kind]])
    cure += "Pass pairing='half_split' (GGML's NEOX) or 'interleaved' (NORM)."
    raise RopeError("general.architecture", architecture, "is not in the table of architectures", cure, "R-12.6")


def _why_none(architecture: str, own: Mapping[str, Any], kind: str) -> str:
    """Return why no layer rotates, or ""."""
    rules = table()["gguf"]
    if architecture in rules["no_rope_unless_finetuned"] and own.get("rope.scaling.finetuned") is False:
        return "rope.scaling.finetuned is False, by which llama.cpp switches this architecture's RoPE off"
    if kind == "none" or own.get("block_count") in rules["none_of_depth"].get(architecture, ()):
        return str(rules["reasons"].get(architecture, "llama.cpp has no RoPE for this architecture"))
    return "rope.dimension_count is 0" if own.get("rope.dimension_count") == 0 else ""


def _layer_types(architecture: str, own: Mapping[str, Any], fields: Mapping[str, Any]) -> list[_Layers]:
    """Return the RoPEs of an architecture: layers with a sliding window, or that stand still, may
    have others.
    """
    rule: Row = table()["gguf"]["layers"].get(architecture, {})
    if not _applies(rule, own):
        rule = {}
    every, others = _periodic(rule, own, fields.get(f"{architecture}.attention.sliding_window_pattern"))
    if rule.get("still") == "nope":
        return [_Layers("text/rope", layers=others), _Layers("text/nope", rotates=False, layers=every)]
    full, sliding = "text/full_attention", "text/sliding_attention"
    if "still" in rule:
        return [_Layers(sliding, layers=others), _Layers(full, rotates=False, layers=every)]
    if "sliding" in rule:
        return [_Layers(full, layers=every), _Layers(sliding, SWA, is_scaled=False, layers=others)]
    if any(f"{key}{SWA}" in own for key in ("rope.freq_base", "rope.dimension_count")):
        return [_Layers(full, layers=every), _Layers(sliding, SWA, layers=others)]
    return [_Layers("text")]


def _applies(rule: Row, own: Mapping[str, Any]) -> bool:
    needed = rule.get("needs")
    if needed is not None and (own.get(needed) not in rule["values"] if "values" in rule else not own.get(needed)):
        return False
    return not any(key in own and own[key] == value for key, value in rule.get("unless", {}).items())


def _periodic(rule: Row, own: Mapping[str, Any], pattern: Any) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return the layers that are full (or still) and the others, None where nothing tells."""
    depth = own.get("block_count")
    if isinstance(pattern, list) and rule.get("still") != "nope":
        marks = [bool(mark) for mark in pattern]
        return tuple(i for i, mark in enumerate(marks) if not mark), tuple(i for i, mark in enumerate(marks) if mark)
    period = pattern if type(pattern) is int else rule.get("period")
    if not period or type(depth) is not int or not 0 < depth <= 1 << 16:
        return None, None
    shift = 0 if rule.get("first") else 1
    every = tuple(i for i in range(depth) if (i + shift) % period == 0)
    return every, tuple(i for i in range(depth) if (i + shift) % period)


def _read_one(
    architecture: str, own: Mapping[str, Any], tensors: Mapping[str, Sequence[float]], request: Request, kind: str,
    layers: _Layers, found: Ropes,
) -> None:  # fmt: skip
    ledger = Ledger()
    keys, known = Section(own, ledger), dict(request.known or {})
    head_dim, rotary_dim = _sizes(keys, layers.suffix, request)
    base = _base(keys, architecture, layers.suffix)
    keywords: dict[str, Any] = {
        "head_dim": head_dim,
        "base": base,
        "pairing": ledger.assume("pairing", "half_split" if kind.startswith("mrope") else kind, _source()),
    }
    if rotary_dim != head_dim:
        keywords["rotary_dim"] = rotary_dim
        if architecture in table()["gguf"]["last_lanes"]:
            keywords["lane_offset"] = ledger.assume("lane_offset", head_dim - rotary_dim, _source())
    keywords["scaling"] = known.pop("scaling") if "scaling" in known else _scaling(keys, tensors, architecture, layers)
    if FREQ_FACTORS in tensors and not layers.suffix:
        keywords["inv_freq"] = _divided(tensors[FREQ_FACTORS], base, rotary_dim, ledger)
    if kind.startswith("mrope"):
        keywords |= _sections(keys, kind, rotary_dim // 2)
    _finish(keys, request.strict)
    for name, value in (request.known or {}).items():
        ledger.assume(name, value, "the caller")
    length = keys.peek("context_length")
    context = length if isinstance(length, int) and length > 0 else None
    report = _report(architecture, request, layers, context=context, **ledger.report_fields())
    found.add(layers.name, RopeConfig(**(keywords | known), report=report), report)


def _report(architecture: str, request: Request, layers: _Layers, **fields: Any) -> Report:
    part, _, layer_type = layers.name.partition("/")
    return Report(
        request.source, f"gguf {architecture}", _source(), part, layer_type or None, layers=layers.layers, **fields
    )


def _uniform(value: Any) -> Any:
    """Return a value of a key that may have one entry a layer: the entry, if all are the same."""
    if isinstance(value, list) and value and all(item == value[0] for item in value) and not isinstance(value[0], list):
        return value[0] if len(value) > 4 else value
    return value


def _source() -> str:
    return str(table()["gguf"]["source"])


def _sizes(keys: Section, suffix: str, request: Request) -> tuple[int, int]:
    """Return the head's size and the lanes that rotate."""
    for key in ("rope.dimension_count", "attention.key_length"):
        if not suffix:
            keys.ignore(f"{key}{SWA}", "belongs to the other layers")
    rotary = keys.first(
        tuple(dict.fromkeys((f"rope.dimension_count{suffix}", "rope.dimension_count"))), "lanes that rotate"
    )
    if "attention.kv_lora_rank" in keys:  # MLA: keys hold the latent, and the plan is of the rotated slice
        keys.ledger.notes.append("head_dim is the rotated slice of queries and keys")
        rotary = integer("rope.dimension_count", rotary, at_least=2)
        return rotary, rotary
    head = (request.known or {}).get("head_dim")
    if head is None:
        head = keys.first((f"attention.key_length{suffix}", "attention.key_length"), "the head's size")
    if head is None:
        width = integer("embedding_length", keys.get("embedding_length", "of the head's size"), at_least=1)
        head = width // integer(
            "attention.head_count", keys.get("attention.head_count", "of the head's size"), at_least=1
        )
    head = integer("attention.key_length", head, at_least=2)
    if rotary is None:
        rotary = keys.ledger.assume("rope.dimension_count", head, LLAMA_CPP)
    return head, integer("rope.dimension_count", rotary, at_least=2)


def _base(keys: Section, architecture: str, suffix: str) -> float:
    """Return the base; sliding layers have a base of their own, llama.cpp's default of it, or that
    of all layers.
    """
    value = keys.get(f"rope.freq_base{suffix}", "the base")
    if not suffix:
        keys.ignore(f"rope.freq_base{SWA}", "belongs to the other layers")
    elif value is not None:
        keys.ignore("rope.freq_base", "belongs to the other layers")
    else:
        default = table()["gguf"]["layers"].get(architecture, {}).get("sliding", {}).get("base")
        if default is None:
            value = keys.get("rope.freq_base", "the base")
        else:
            keys.ignore("rope.freq_base", "belongs to the other layers")
            value = keys.ledger.assume(f"rope.freq_base{suffix}", default, LLAMA_CPP)
    if value is None:
        value = keys.ledger.assume("rope.freq_base", 10000.0, LLAMA_CPP)
    return number("rope.freq_base", value, above=0)


def _scaling(
    keys: Section, tensors: Mapping[str, Sequence[float]], architecture: str, layers: _Layers
) -> ScalingRule | None:
    if not layers.is_scaled:
        scaling = [name for name in keys if name.startswith(("rope.scaling.", "rope.scale_linear"))]
        for name in scaling:
            keys.ignore(name, "llama.cpp does not scale these layers")
        if scaling:
            keys.ledger.notes.append("scaling belongs to the layers without a window")
        return None
    name = keys.get("rope.scaling.type", "names the rule")
    factor = keys.first(("rope.scaling.factor", "rope.scale_linear"), "stretches the context") or 1.0
    factor = number("rope.scaling.factor", factor, at_least=1)
    alpha = keys.get("rope.scaling.alpha", "of the NTK rule")
    if alpha:
        return NTK(alpha)
    if LONG in tensors or name == "longrope":
        return _longrope(keys, tensors)
    if name == "yarn":
        return _yarn(keys, factor, architecture)
    if name not in (None, "none", "linear"):
        cure = "Pass scaling= a rule."
        raise RopeError("rope.scaling.type", name, "is none of none, linear, yarn, longrope", cure, "R-12.6")
    for key in (
        "original_context_length",
        "yarn_log_multiplier",
        "yarn_ext_factor",
        "yarn_beta_fast",
        "yarn_beta_slow",
    ):
        keys.ignore(f"rope.scaling.{key}", "belongs to yarn and longrope, and the rule is another")
    if name is None and factor != 1:
        keys.ledger.assume("rope.scaling.type", "linear", LLAMA_CPP)
    return None if name == "none" or factor == 1 else Linear(factor)


def _yarn(keys: Section, factor: float, architecture: str) -> YaRN:
    if keys.get("rope.scaling.yarn_ext_factor", "must be 1") not in (None, 1.0):
        value = keys.peek("rope.scaling.yarn_ext_factor")
        raise RopeError("rope.scaling.yarn_ext_factor", value, "has no counterpart here", "Pass scaling=.", "R-5.6")
    given = {"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow"}
    betas = {name: keys.get(key, "of YaRN") for name, key in given.items() if key in keys}
    return YaRN(
        factor=factor,
        original_max_position=_original(keys),
        attention_factor=_attention_factor(keys, factor, architecture),
        **betas,
    )


def _attention_factor(keys: Section, factor: float, architecture: str) -> float | None:
    """Return A as llama-context.cpp has it: ms(1) / ms(m) with the log multiplier's m, times
    attn_factor; None for YaRN's own.

    The converter writes 0.1 m for models with MLA, and llama.cpp divides by 0.1; deepseek2 takes m
    for both, so its A is 1.
    """
    extra = keys.get("rope.scaling.attn_factor", "multiplies the attention factor")
    extra = 1.0 if extra is None else number("rope.scaling.attn_factor", extra, above=0)
    given = keys.get("rope.scaling.yarn_log_multiplier", "of the attention factor")
    if not given:
        return None if extra == 1 else multiply(extra, yarn_temperature(factor))
    m = number("rope.scaling.yarn_log_multiplier", given, above=0)
    if "attention.kv_lora_rank" in keys:
        m = float(np.float32(m) / np.float32(0.1))
        keys.ledger.notes.append(softmax_note(factor, m))
    own = m if architecture == "deepseek2" and m != 1 else 1.0
    with sixty_digits():
        return multiply(extra, yarn_temperature(factor, own) / yarn_temperature(factor, m))


def _longrope(keys: Section, tensors: Mapping[str, Sequence[float]]) -> LongRoPE:
    missing = [name for name in (SHORT, LONG) if name not in tensors]
    if missing:
        raise RopeError("tensors", missing, "must be there for longrope", rule="R-5.8")
    keys.ledger.assume("policy", "per_call", "llama.cpp chooses once, by the length of its context (R-5.4)")
    attention = keys.get("rope.scaling.attn_factor", "the attention factor")
    attention = keys.ledger.assume("attention_factor", 1.0, LLAMA_CPP) if attention is None else attention
    return LongRoPE(tuple(tensors[SHORT]), tuple(tensors[LONG]), _original(keys), attention_factor=attention)


def _original(keys: Section) -> int:
    given = keys.get("rope.scaling.original_context_length", "the length that the model was trained for")
    if given is None:
        given = keys.get("context_length", "the length that the model was trained for")
    return integer("rope.scaling.original_context_length", given, at_least=1)


def _divided(divisors: Sequence[float], base: float, rotary_dim: int, ledger: Ledger) -> tuple[float, ...]:
    """Return f_j / e_j of the tensor rope_freqs (Llama 3's rule and
    others, made by the converter).
    """
    if len(divisors) < rotary_dim // 2:
        raise RopeError(FREQ_FACTORS, len(divisors), f"must have one entry a pair, {rotary_dim // 2}", rule="R-12.7")
    if len(divisors) > rotary_dim // 2:
        ledger.notes.append(
            f"{FREQ_FACTORS} has {len(divisors)} entries, of which llama.cpp takes the first {rotary_dim // 2}"
        )
        divisors = divisors[: rotary_dim // 2]
    checked = [number(f"{FREQ_FACTORS}[{j}]", e, above=0) for j, e in enumerate(divisors)]
    ledger.notes.append(f"frequencies are divided by the tensor {FREQ_FACTORS}, which holds the scaling rule")
    return tuple(f / e for f, e in zip(frequencies(base, rotary_dim), checked, strict=True))


def _sections(keys: Section, kind: str, n_pairs: int) -> dict[str, Any]:
    given = keys.get("rope.dimension_sections", "pairs of each axis")
    if not isinstance(given, list) or not 3 <= len(given) <= 4:
        raise RopeError("rope.dimension_sections", given, "must have three or four entries", rule="R-12.7")
    sizes = tuple(integer(f"rope.dimension_sections[{a}]", size) for a, size in enumerate(given))
    sizes = sizes[:3] if len(sizes) == 4 and not sizes[3] else sizes
    names = ("t", "h", "w", "e")[: len(sizes)]
    order = "interleaved" if kind == "mrope_interleaved" else "chunked"
    return {"axes": names, "sections": sizes, "axis_order": order}


def _finish(keys: Section, strict: bool) -> None:
    for name, why in SILENT.items():
        keys.ignore(name, why)
    keys.refuse_unread([name for name in keys.unread() if name.startswith("rope.")], strict)
