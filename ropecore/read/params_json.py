"""Reading params.json, as Meta and Mistral publish it beside their own weights: complex numbers,
that is interleaved pairs.
"""

from collections.abc import Mapping
from typing import Any

from ropecore.config import RopeConfig
from ropecore.errors import RopeError, integer, number
from ropecore.read.axes import INV_FREQS, axis_order
from ropecore.read.key_types import check_names, check_types
from ropecore.read.ledger import Ledger, Section
from ropecore.read.parts import Request, truth
from ropecore.read.ropes import Ropes
from ropecore.read.scaling import softmax_note
from ropecore.report import Fact, Report
from ropecore.scaling import Llama3, ScalingRule, YaRN

META = "meta-llama/llama-models models/llama3/reference_impl/model.py"
MISTRAL = "vLLM 0.33.0 transformers_utils/configs/mistral.py"

LLAMA_4 = "meta-llama/llama-models models/llama4/args.py"

# keys of Mistral's own files, beside which qk_rope_head_dim does not mean DeepSeek's inference code
MISTRAL_KEYS = ("norm_eps", "hidden_dim", "moe", "rope_scaling_factor")

# dim of Llama 3.2's text models, and of Llama 3.1's, 3.2's with vision and 3.3's
LLAMA_32 = {2048: "1B", 3072: "3B"}
LLAMA_31 = (4096, 8192, 16384)

META_KEYS = {
    "factor": "rope_scaling_factor", "low_freq_factor": "rope_low_freq_factor", "high_freq_factor": "rope_high_freq_factor",
}  # fmt: skip

DEEPSEEK_SOURCE = "deepseek-ai/DeepSeek-V3 inference/model.py: a default of ModelArgs"
DEEPSEEK = {
    "factor": ("rope_factor", 40.0), "original_max_position": ("original_seq_len", 4096), "beta_fast": ("beta_fast", 32.0),
    "beta_slow": ("beta_slow", 1.0),
}  # fmt: skip

# of Meta's apply_scaling, where they are constants
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8192}


def is_params(config: Mapping[str, Any]) -> bool:
    """Tell whether a dictionary is a params.json: its width is called dim, and it names no
    model_type.
    """
    return "dim" in config and "n_heads" in config and "model_type" not in config


def read(config: Mapping[str, Any], request: Request) -> Ropes:
    """Return the text's RoPE, and those of the vision and audio encoders that rotate."""
    check_names(config)
    check_types(config)
    found = Ropes()
    _text(config, request, found)
    whole = Section(config, Ledger())
    read = set()
    for path, (part, read_part) in ENCODERS.items():
        steps = path.split(".")
        for above in (".".join(steps[: n + 1]) for n in range(len(steps))):
            if whole.peek(above) is not None and not isinstance(whole.peek(above), Mapping):
                raise RopeError(above, whole.peek(above), "must be an object", rule="R-12.6")
        keys = whole.peek(path)
        if keys is not None:
            read_part(Section(keys, Ledger(), path), part, request, found)
            read.add(path.split(".")[0])
    roots = {path.split(".")[0] for path in ENCODERS}
    models = [
        key for key, value in config.items() if isinstance(value, Mapping) and (key in roots or "n_heads" in value)
    ]
    found.leave_out(Fact(key, None, "is a model that this reader does not know") for key in models if key not in read)
    return found


def _text(config: Mapping[str, Any], request: Request, found: Ropes) -> None:
    ledger = Ledger()
    keys = Section(config, ledger)
    keywords: dict[str, Any] = {"pairing": ledger.assume("pairing", "interleaved", META), "head_dim": _head_dim(keys)}
    theta = keys.get("rope_theta", "the base")
    if theta is None:
        theta = ledger.assume("rope_theta", 10000.0, "meta-llama/llama llama/model.py: the default of theta")
    keywords |= {"base": number("rope_theta", theta, above=0), "scaling": _scaling(keys, request.strict)}
    keys.ignore("llama_4_scaling", "scales queries by position: not a rotation")
    rope, nope = _layers(keys)
    _refuse_left(keys, request.strict)
    if nope is None:
        _add(found, "text", keywords, ledger, request)
        return
    ledger.notes.append("layers without RoPE may multiply queries by ropecore.llama4_query_scale(positions)")
    _add(found, "text/rope", keywords, ledger, request, rope)
    still = ("every nope_layer_interval-th layer has no RoPE",)
    found.add(
        "text/nope", None, Report(request.source, "params.json", LLAMA_4, "text", "nope", notes=still, layers=nope)
    )


def _layers(keys: Section) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return the layers that rotate and those that do not (Llama 4), None where all do."""
    given = keys.get("nope_layer_interval", "every so many layers stand still")
    if given is None:
        return (), None
    step = integer("nope_layer_interval", given, at_least=1)
    depth = integer("n_layers", keys.get("n_layers", "the number of layers"), at_least=1, at_most=1 << 16)
    nope = tuple(i for i in range(depth) if (i + 1) % step == 0)
    return tuple(i for i in range(depth) if (i + 1) % step), nope


def _head_dim(keys: Section) -> int:
    check_types(keys.mapping)
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
    if "qk_rope_head_dim" in keys and not any(key in keys for key in MISTRAL_KEYS):
        return _deepseek(keys)
    scaled = keys.get("use_scaled_rope", "Llama 3's rule")
    if scaled is None or not truth("use_scaled_rope", scaled):
        return None
    given = {name: keys.get(key, "of Llama 3's rule") for name, key in META_KEYS.items()}
    values = {name: value for name, value in given.items() if value is not None}
    defaults, why = _llama_defaults(keys)
    for name, value in defaults.items():
        if name not in values:
            keys.ledger.assume(name, value, why)
    return Llama3(**(defaults | values))


def _llama_defaults(keys: Section) -> tuple[dict[str, Any], str]:
    """Return what Meta's code has where the file says nothing: Llama 4, Llama 3.2 of 1B and 3B, and
    all others differ.
    """
    if "nope_layer_interval" in keys or "moe_args" in keys:
        return LLAMA3 | {"factor": 16.0, "high_freq_factor": 1.0}, f"{LLAMA_4}: validate"
    dim = keys.peek("dim")
    if dim in LLAMA_32:
        return LLAMA3 | {"factor": 32.0}, f"Llama 3.2 {LLAMA_32[dim]}, told by dim; Meta's model.py of 3.1 has 8"
    if dim not in LLAMA_31:
        note = (
            "factor 8 is that of Llama 3.1 and 3.3; Llama 3.2 has 32 in 1B and 3B, and no model of Meta's has this dim"
        )
        keys.ledger.notes.append(note)
    return LLAMA3, f"{META}: a constant of apply_scaling"


def _deepseek(keys: Section) -> YaRN:
    """Return the YaRN of DeepSeek's own inference code, which has it whatever the file says; its A
    is 1.
    """
    given = {name: keys.get(key, "of YaRN") for name, (key, _) in DEEPSEEK.items()}
    for name, (key, default) in DEEPSEEK.items():
        if given[name] is None:
            given[name] = keys.ledger.assume(key, default, DEEPSEEK_SOURCE)
    keys.ledger.assume("attention_factor", 1.0, DEEPSEEK_SOURCE)
    scale = keys.get("mscale", "of the softmax scale")
    scale = 1.0 if scale is None else number("mscale", scale, at_least=0)
    given["factor"] = number("rope_factor", given["factor"], at_least=1)
    keys.ledger.notes.append(softmax_note(given["factor"], scale))
    return YaRN(**given, attention_factor=1.0)


def _yarn(yarn: Section, strict: bool) -> YaRN:
    """Return Mistral's YaRN: beta and alpha are beta_fast and beta_slow; without apply_scale, A is
    1.
    """
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
    applies = scale is None or truth("yarn.apply_scale", scale)
    return YaRN(**values, attention_factor=None if applies else 1.0)


def _pixtral(keys: Section, part: str, request: Request, found: Ropes) -> None:
    """Pixtral: rows take the even frequencies and columns the odd ones, in interleaved pairs."""
    size, heads = (
        integer(n, keys.get(n, "of the head's size"), at_least=1) for n in ("hidden_size", "num_attention_heads")
    )
    source = "mistral-inference vision_encoder.py"
    head_dim, base = size // heads, number("rope_theta", keys.get("rope_theta", "the base"), above=0)
    keywords = {
        "pairing": keys.ledger.assume("pairing", "interleaved", source),
        "head_dim": head_dim,
        "axes": keys.ledger.assume("axes", ("h", "w"), source),
        "sections": (head_dim // 4, head_dim // 4),
        "inv_freq": INV_FREQS["strided"](base, head_dim),
    }
    _refuse_left(keys, request.strict)
    _add(found, part, keywords, keys.ledger, request)


def _llama4_vision(keys: Section, part: str, request: Request, found: Ropes) -> None:
    """Llama 4: the first half of the pairs turns with the column, the second with the row;
    positions start at 1.
    """
    head_dim = _head_dim(keys)
    source = "meta-llama/llama-models models/llama4/vision/encoder.py"
    keywords = {
        "pairing": keys.ledger.assume("pairing", "interleaved", source),
        "head_dim": head_dim,
        "axes": keys.ledger.assume("axes", ("h", "w"), source),
        "sections": (head_dim // 4, head_dim // 4),
        "axis_order": axis_order("reversed", (head_dim // 4, head_dim // 4)),
        "axis_frequencies": "per_axis",
        "base": keys.ledger.assume("rope_theta", 10000.0, source),
    }
    keys.ledger.notes.append("positions start at 1; the class token stands at 0")
    _refuse_left(keys, request.strict)
    _add(found, part, keywords, keys.ledger, request)


def _whisper(keys: Section, part: str, request: Request, found: Ropes) -> None:
    """Voxtral: the encoder of the realtime models rotates interleaved; the others have sinusoidal
    positions.
    """
    source = "executorch examples/models/voxtral_realtime/model.py"
    kind = keys.get("pos_embed", "the kind of positions")
    theta = keys.get("rope_theta", "the base")
    if (kind if kind is not None else ("rope" if theta is not None else "")) != "rope":
        why = ("the encoder has no rope_theta" if kind is None else f"pos_embed is {kind!r}",)
        found.add(part, None, Report(request.source, "params.json", source, part, notes=why))
        return
    keywords = {
        "pairing": keys.ledger.assume("pairing", "interleaved", source),
        "head_dim": _head_dim(keys),
        "base": number("rope_theta", theta, above=0),
    }
    _refuse_left(keys, request.strict)
    _add(found, part, keywords, keys.ledger, request)


ENCODERS = {
    "vision_encoder": ("vision", _pixtral),
    "vision_args": ("vision", _llama4_vision),
    "multimodal.whisper_model_args.encoder_args": ("audio", _whisper),
}


def _refuse_left(keys: Section, strict: bool) -> None:
    keys.refuse_unread([name for name in keys.unread() if "rope" in name or "yarn" in name], strict)


def _add(
    found: Ropes,
    name: str,
    keywords: dict[str, Any],
    ledger: Ledger,
    request: Request,
    layers: tuple[int, ...] | None = None,
) -> None:
    for keyword, value in (request.known or {}).items():
        ledger.assume(keyword, value, "the caller")
    part, _, layer_type = name.partition("/")
    report = Report(
        request.source, "params.json", META, part, layer_type or None, layers=layers, **ledger.report_fields()
    )
    found.add(name, RopeConfig(**(keywords | dict(request.known or {})), report=report), report)
