"""Reading params.json, as Meta and Mistral publish it beside their own weights: complex numbers, that is interleaved pairs."""

from collections.abc import Mapping
from typing import Any

from ropecore.config import RopeConfig
from ropecore.errors import RopeError, integer, number
from ropecore.read.axes import INV_FREQS
from ropecore.read.ledger import Ledger, Section
from ropecore.read.parts import Request
from ropecore.report import Report
from ropecore.scaling import Llama3, ScalingRule, YaRN

META = "meta-llama/llama-models models/llama3/reference_impl/model.py"
MISTRAL = "vLLM 0.33.0 transformers_utils/configs/mistral.py"

# of Meta's apply_scaling, where they are constants
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8192}


def is_params(config: Mapping[str, Any]) -> bool:
    """Tell whether a dictionary is a params.json: its width is called dim, and it names no model_type."""
    return "dim" in config and "n_heads" in config and "model_type" not in config


def read(config: Mapping[str, Any], request: Request) -> dict[str, RopeConfig | None]:
    """Return the text's RoPE, and the vision encoder's if there is one."""
    found: dict[str, RopeConfig | None] = {"text": _text(config, request)}
    vision = config.get("vision_encoder")
    if isinstance(vision, Mapping):
        found["vision"] = _vision(vision, request)
    return found


def _text(config: Mapping[str, Any], request: Request) -> RopeConfig:
    ledger = Ledger()
    keys = Section(config, ledger)
    keywords: dict[str, Any] = {"pairing": ledger.assume("pairing", "interleaved", META), "head_dim": _head_dim(keys)}
    theta = keys.get("rope_theta", "the base")
    if theta is None:
        theta = ledger.assume("rope_theta", 10000.0, "meta-llama/llama llama/model.py: the default of theta")
    keywords |= {"base": number("rope_theta", theta, above=0), "scaling": _scaling(keys, request.strict)}
    keys.ignore("llama_4_scaling", "scales queries by position: not a rotation")
    _refuse_left(keys, request.strict)
    return _config("text", keywords, ledger, request)


def _head_dim(keys: Section) -> int:
    slice_dim = keys.get("qk_rope_head_dim", "the rotated slice of the head")
    given = slice_dim if slice_dim is not None else keys.get("head_dim", "the head's size")
    if given is not None:
        return integer("head_dim", given, at_least=2)
    dim, heads = (integer(name, keys.get(name, "of the head's size"), at_least=1) for name in ("dim", "n_heads"))
    return dim // heads


def _scaling(keys: Section, strict: bool) -> ScalingRule | None:
    yarn = keys.get("yarn", "the rope dictionary")
    if yarn is not None:
        return _yarn(Section(yarn, keys.ledger, "yarn"), strict)
    if not keys.get("use_scaled_rope", "Llama 3's rule"):
        return None
    given = {
        "factor": keys.get("rope_scaling_factor", "of Llama 3's rule"),
        "high_freq_factor": keys.get("rope_high_freq_factor", "of Llama 3's rule"),
    }
    values = {name: value for name, value in given.items() if value is not None}
    for name, value in LLAMA3.items():
        if name not in values:
            keys.ledger.assume(name, value, f"{META}: a constant of apply_scaling")
    return Llama3(**(LLAMA3 | values))


def _yarn(yarn: Section, strict: bool) -> YaRN:
    """Return Mistral's YaRN: beta and alpha are beta_fast and beta_slow; without apply_scale, A is 1."""
    names = {
        "factor": "factor",
        "original_max_position": "original_max_position_embeddings",
        "beta_fast": "beta",
        "beta_slow": "alpha",
    }
    values = {name: yarn.get(key, f"{name} of YaRN") for name, key in names.items()}
    missing = [names[name] for name, value in values.items() if value is None]
    if missing:
        raise RopeError("yarn", missing, "must be given", rule="R-12.6")
    scale = yarn.get("apply_scale", "whether YaRN's attention factor applies")
    yarn.refuse_unread(yarn.unread(), strict, (*names.values(), "apply_scale"))
    if scale is None:
        yarn.ledger.assume("yarn.apply_scale", True, MISTRAL)
    return YaRN(**values, attention_factor=1.0 if scale is False else None)


def _vision(config: Mapping[str, Any], request: Request) -> RopeConfig:
    """Return Pixtral's: rows take the even frequencies and columns the odd ones, in interleaved pairs."""
    ledger = Ledger()
    keys = Section(config, ledger, "vision_encoder")
    size, heads = (
        integer(n, keys.get(n, "of the head's size"), at_least=1) for n in ("hidden_size", "num_attention_heads")
    )
    head_dim, base = size // heads, number("rope_theta", keys.get("rope_theta", "the base"), above=0)
    keywords = {
        "pairing": ledger.assume("pairing", "interleaved", "mistral-inference vision_encoder.py"),
        "head_dim": head_dim,
        "axes": ledger.assume("axes", ("h", "w"), "mistral-inference vision_encoder.py"),
        "sections": (head_dim // 4, head_dim // 4),
        "inv_freq": INV_FREQS["strided"](base, head_dim),
    }
    _refuse_left(keys, request.strict)
    return _config("vision", keywords, ledger, request)


def _refuse_left(keys: Section, strict: bool) -> None:
    keys.refuse_unread([name for name in keys.unread() if "rope" in name or "yarn" in name], strict)


def _config(part: str, keywords: dict[str, Any], ledger: Ledger, request: Request) -> RopeConfig:
    for name, value in (request.known or {}).items():
        ledger.assume(name, value, "the caller")
    report = Report(request.source, "params.json", META, part, **ledger.report_fields())
    return RopeConfig(**(keywords | dict(request.known or {})), report=report)
