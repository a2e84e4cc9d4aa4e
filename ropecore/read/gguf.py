"""Reading GGUF files: the `rope.*` keys of an architecture, its freq-factor tensors, and llama.cpp's pairing for it.

llama.cpp permutes q and k of some architectures when it converts them, so its pairing may differ from the original's:
`plan.with_pairing` gives the plan of the unpermuted weights.  Needs the package `gguf`, imported when a file is read.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ropecore.config import RopeConfig
from ropecore.errors import RopeError, integer, number
from ropecore.forks import IMPORTS
from ropecore.read.axes import frequencies
from ropecore.read.families import table
from ropecore.read.ledger import Ledger, Section
from ropecore.read.parts import Request
from ropecore.read.scaling import multiply
from ropecore.report import Report
from ropecore.scaling import NTK, Linear, LongRoPE, ScalingRule, YaRN, yarn_temperature

LLAMA_CPP = "llama.cpp src/llama-model.cpp"

# divisors of the frequencies, and which rule they belong to
FREQ_FACTORS, LONG, SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
TENSORS = (FREQ_FACTORS, LONG, SHORT)

SILENT = {
    "rope.scaling.finetuned": "says that the model was trained so",
    "rope.scaling.yarn_attn_factor": "llama.cpp overwrites it (census 2b)",
}

# what the caller can say for a layer type: suffix of the keys
SWA = "_swa"


def read(path: Path, request: Request) -> dict[str, RopeConfig | None]:
    """Return the RoPEs of a GGUF file."""
    fields, tensors = load(path)
    return read_fields(fields, tensors, request)


def load(path: Path) -> tuple[dict[str, Any], dict[str, tuple[float, ...]]]:
    """Return the metadata that concern RoPE, and the freq-factor tensors; nothing else of the file is decoded."""
    try:
        with IMPORTS:
            gguf = importlib.import_module("gguf")
    except ImportError as error:
        raise RopeError("source", str(path), "needs the package gguf", "pip install gguf", "R-12.6") from error
    try:
        reader = gguf.GGUFReader(path)
        kept = {name: value for name, value in reader.fields.items() if _concerns_rope(name)}
        fields = {name: value.contents() for name, value in kept.items()}
        tensors = {t.name: tuple(float(v) for v in t.data.ravel()) for t in reader.tensors if t.name in TENSORS}
    except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise RopeError("source", str(path), f"is not a GGUF file that can be read: {error}", rule="R-12.6") from error
    return fields, tensors


def _concerns_rope(name: str) -> bool:
    parts = (".rope.", ".attention.", ".embedding_length", ".context_length", ".block_count")
    return name == "general.architecture" or any(part in name for part in parts)


def read_fields(
    fields: Mapping[str, Any], tensors: Mapping[str, Sequence[float]], request: Request
) -> dict[str, RopeConfig | None]:
    """Return the RoPEs that metadata and freq-factor tensors describe."""
    architecture = fields.get("general.architecture")
    kind = _kind(architecture, request)
    if kind == "none":
        return {"text": None}
    rules = table()["gguf"]
    windows = rules["sliding_window_base"].get(architecture, fields.get(f"{architecture}.rope.freq_base_swa"))
    if architecture in rules["rotates_in_sliding_window_only"]:
        return {"text/sliding_attention": _read_one(fields, tensors, request, kind, ""), "text/full_attention": None}
    if windows is not None:
        sliding = _read_one(fields, tensors, request, kind, SWA)
        return {"text/full_attention": _read_one(fields, tensors, request, kind, ""), "text/sliding_attention": sliding}
    if architecture in rules["every_fourth_stands_still"]:
        return {"text/rope": _read_one(fields, tensors, request, kind, ""), "text/nope": None}
    return {"text": _read_one(fields, tensors, request, kind, "")}


def _kind(architecture: Any, request: Request) -> str:
    """Return the pairing, or kind of axes, of an architecture."""
    kinds = ("half_split", "interleaved", "mrope", "mrope_interleaved", "none")
    for kind in kinds:
        if architecture in table()["gguf"][kind]:
            return kind
    if "pairing" in (request.known or {}):
        return str((request.known or {})["pairing"])
    cure = "Pass pairing='half_split' (GGML's NEOX) or 'interleaved' (NORM)."
    raise RopeError("general.architecture", architecture, "is not in the table of architectures", cure, "R-12.6")


def _read_one(
    fields: Mapping[str, Any], tensors: Mapping[str, Sequence[float]], request: Request, kind: str, suffix: str
) -> RopeConfig:
    ledger = Ledger()
    prefix = f"{fields['general.architecture']}."
    own = {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}
    keys, known = Section({name: _uniform(value) for name, value in own.items()}, ledger), dict(request.known or {})
    head_dim, rotary_dim = _sizes(keys, suffix, request)
    base = _base(keys, fields["general.architecture"], suffix)
    pairing = "half_split" if kind.startswith("mrope") else kind
    keywords: dict[str, Any] = {
        "head_dim": head_dim,
        "base": base,
        "pairing": ledger.assume("pairing", pairing, _source()),
    }
    if rotary_dim != head_dim:
        keywords["rotary_dim"] = rotary_dim
    keywords["scaling"] = known.pop("scaling") if "scaling" in known else _scaling(keys, tensors, suffix)
    if FREQ_FACTORS in tensors and not suffix:
        keywords["inv_freq"] = _divided(tensors[FREQ_FACTORS], base, rotary_dim, ledger)
    if kind.startswith("mrope"):
        keywords |= _sections(keys, kind, rotary_dim // 2)
    _finish(keys, request.strict)
    for name, value in (request.known or {}).items():
        ledger.assume(name, value, "the caller")
    layer_type = "sliding_attention" if suffix else None
    family = f"gguf {fields['general.architecture']}"
    length = keys.peek("context_length")
    context = length if isinstance(length, int) and length > 0 else None
    report = Report(request.source, family, _source(), "text", layer_type, context=context, **ledger.report_fields())
    return RopeConfig(**(keywords | known), report=report)


def _uniform(value: Any) -> Any:
    """Return a value of a key that may have one entry a layer: the entry, if all are the same."""
    if isinstance(value, list) and value and all(item == value[0] for item in value) and not isinstance(value[0], list):
        return value[0] if len(value) > 4 else value
    return value


def _source() -> str:
    return str(table()["gguf"]["source"])


def _sizes(keys: Section, suffix: str, request: Request) -> tuple[int, int]:
    """Return the head's size and the lanes that rotate."""
    rotary = keys.first((f"rope.dimension_count{suffix}", "rope.dimension_count"), "lanes that rotate")
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
    value = keys.get(f"rope.freq_base{suffix}", "the base")
    if suffix:
        keys.ignore("rope.freq_base", "belongs to the other layers")
    else:
        keys.ignore("rope.freq_base_swa", "belongs to the other layers")
    if value is None:
        default = table()["gguf"]["sliding_window_base"].get(architecture, 10000.0) if suffix else 10000.0
        value = keys.ledger.assume(f"rope.freq_base{suffix}", default, LLAMA_CPP)
    return number("rope.freq_base", value, above=0)


def _scaling(keys: Section, tensors: Mapping[str, Sequence[float]], suffix: str) -> ScalingRule | None:
    name = keys.get("rope.scaling.type", "names the rule")
    factor = keys.first(("rope.scaling.factor", "rope.scale_linear"), "stretches the context") or 1.0
    alpha = keys.get("rope.scaling.alpha", "of the NTK rule")
    if alpha:
        return NTK(alpha)
    if suffix and keys.peek("rope.freq_base_swa") is None:  # llama.cpp: the window's layers are not scaled then
        keys.ledger.notes.append("scaling belongs to the layers without a window")
        return None
    if LONG in tensors or name == "longrope":
        return _longrope(keys, tensors)
    if name == "yarn":
        return _yarn(keys, number("rope.scaling.factor", factor, at_least=1))
    if name not in (None, "none", "linear"):
        cure = "Pass scaling= a rule."
        raise RopeError("rope.scaling.type", name, "is none of none, linear, yarn, longrope", cure, "R-12.6")
    if name is None and factor != 1:
        keys.ledger.assume("rope.scaling.type", "linear", LLAMA_CPP)
    return None if name == "none" or factor == 1 else Linear(factor)


def _yarn(keys: Section, factor: float) -> YaRN:
    if keys.get("rope.scaling.yarn_ext_factor", "must be 1") not in (None, 1.0):
        value = keys.peek("rope.scaling.yarn_ext_factor")
        raise RopeError("rope.scaling.yarn_ext_factor", value, "has no counterpart here", "Pass scaling=.", "R-5.6")
    if keys.get("rope.scaling.yarn_log_multiplier", "of the attention factor"):
        value = keys.peek("rope.scaling.yarn_log_multiplier")
        reason = "means different things in different versions of llama.cpp"
        raise RopeError(
            "rope.scaling.yarn_log_multiplier", value, reason, "Pass scaling= with its attention_factor.", "R-5.7"
        )
    extra = keys.get("rope.scaling.attn_factor", "multiplies the attention factor")
    given = {"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow"}
    betas = {name: keys.get(key, "of YaRN") for name, key in given.items() if key in keys}
    return YaRN(
        factor=factor,
        original_max_position=_original(keys),
        attention_factor=None if extra in (None, 1.0) else multiply(extra, yarn_temperature(factor)),
        **betas,
    )


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
    """Return f_j / e_j of the tensor rope_freqs (Llama 3's rule and others, made by the converter)."""
    if len(divisors) != rotary_dim // 2:
        raise RopeError(FREQ_FACTORS, len(divisors), f"must have one entry a pair, {rotary_dim // 2}", rule="R-12.7")
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
