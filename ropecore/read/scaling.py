"""A rope dictionary (`rope_scaling`, `rope_parameters`) as a scaling rule: names, aliases and
parameters of chapter 5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from ropecore.errors import RopeError, choice, number
from ropecore.exact import sixty_digits
from ropecore.read.ledger import Section
from ropecore.scaling import (
    NTK,
    DynamicNTK,
    Linear,
    Llama3,
    LongRoPE,
    Proportional,
    ScalingRule,
    YaRN,
    yarn_temperature,
)

TRANSFORMERS = "transformers 5.23.0 modeling_rope_utils.py"
VLLM = "vLLM 0.33.0 transformers_utils/config.py"

# names that mean another one; `axial` and `mrope` speak of axes, which the family's row knows
ALIASES = {"su": "longrope", "mrope": "default", "axial": "default", "none": "default", "xdrope": "dynamic"}

# keys beside the rules' own, which the reader of the whole configuration takes
COMMON = (
    "rope_type", "type", "rope_theta", "partial_rotary_factor", "mrope_section", "xdrope_section", "mrope_interleaved",
)  # fmt: skip

# keys that take no part in the rotation, whatever the rule
SILENT = {
    "finetuned": "says that the model was trained so",
    "max_position_embeddings": "the configuration has its own",
    "llama_4_scaling_beta": "scales queries by position: not a rotation",
    "is_causal": "concerns the mask",
}


@dataclass(frozen=True)
class Lengths:
    """The lengths that rules read beside the rope dictionary: the configuration's longest and
    original context.
    """

    longest: Callable[[], int | None]  # called, and recorded as used, only where a rule needs it
    original: Callable[[], int | None]


def rule_name(rope: Section, strict: bool) -> str:
    """Return the rule that `rope_type` and `type` name, aliases resolved; two that differ are
    refused.
    """
    given = [rope.get(key, "names the rule") for key in ("rope_type", "type") if key in rope]
    names = [ALIASES.get(name, name) if isinstance(name, str) else name for name in given]
    for name in names:
        choice(rope.label("rope_type"), name, sorted({*RULES, *ALIASES}))
    if len(set(names)) > 1 and strict:
        cure = "transformers takes rope_type: pass strict=False to do so."
        raise RopeError(rope.label("rope_type"), given[0], f"type says {given[1]!r}", cure, "R-12.6")
    if not names and rope.mapping:
        rope.ledger.assume("rope_type", "default", f"{TRANSFORMERS}: a dictionary without a type is not scaled")
    return str(names[0]) if names else "default"


def read_rule(rope: Section, lengths: Lengths, strict: bool) -> ScalingRule | None:
    """Return the scaling rule of a rope dictionary, or None; keys that its rule does not know are
    refused (R-12.6).
    """
    name = rule_name(rope, strict)
    for key, why in SILENT.items():
        rope.ignore(key, why)
    rule, known = RULES[name]
    result: ScalingRule | None = rule(rope, lengths)
    known_here = (*COMMON, *known)
    rope.refuse_unread([key for key in rope.unread() if key not in COMMON], strict, known_here)
    return result


def _default(rope: Section, lengths: Lengths) -> None:
    rope.ignore("original_max_position_embeddings", "nothing is scaled")
    if rope.peek("factor") == 1:  # any other factor is a key that this rule does not know
        rope.ignore("factor", "nothing is scaled")


def _linear(rope: Section, lengths: Lengths) -> Linear:
    rope.ignore("original_max_position_embeddings", "the rule does not read it")
    return Linear(_need(rope, "factor"))


def _dynamic(rope: Section, lengths: Lengths) -> ScalingRule:
    if "alpha" in rope:  # Hunyuan: the other keys are leftovers
        for key in ("factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "original_max_position_embeddings"):
            rope.ignore(key, "with alpha the rule reads nothing else")
        return NTK(_need(rope, "alpha"))
    why = f"{TRANSFORMERS} reads max_position_embeddings"
    rope.ignore("original_max_position_embeddings", why)
    return DynamicNTK(_need(rope, "factor"), _length(lengths.longest(), "max_position_embeddings"))


def _yarn(rope: Section, lengths: Lengths) -> YaRN:
    original = _original(rope, lengths)
    factor = _factor(rope, lengths, original)
    given = {key: _number(rope, key, "of YaRN") for key in ("beta_fast", "beta_slow")}
    betas = {key: value for key, value in given.items() if value}  # transformers: `or` takes 0 as not given
    for key, default in (("beta_fast", 32.0), ("beta_slow", 1.0)):
        if key not in betas:
            rope.ledger.assume(key, default, TRANSFORMERS)
    truncate = rope.get("truncate", "rounds the range of pairs")
    if truncate is False and rope.path.count("."):
        rope.ledger.notes.append(
            "transformers 5.23.0 reads truncate at the top of rope_parameters alone, and so rounds here: its bug"
        )
    return YaRN(
        factor=factor,
        original_max_position=original,
        truncate=True if truncate is None else truncate,
        attention_factor=_yarn_attention(rope, factor),
        mscale=_number(rope, "mscale", "of the attention factor") or None,
        mscale_all_dim=_number(rope, "mscale_all_dim", "of the attention factor") or None,
        **betas,
    )


def _yarn_attention(rope: Section, factor: float) -> float | None:
    """Return A where a key gives it; vLLM's attn_factor multiplies YaRN's own, and its
    extrapolation_factor must be 1.
    """
    if rope.get("extrapolation_factor", "must be 1") not in (None, 1):
        cure = "Blend the frequencies yourself and pass inv_freq."
        raise RopeError(
            "extrapolation_factor", rope.peek("extrapolation_factor"), "has no counterpart here", cure, "R-5.6"
        )
    given = rope.get("attention_factor", "the attention factor")
    extra = rope.get("attn_factor", "multiplies YaRN's attention factor (vLLM)")
    if extra is None or extra == 1:
        return None if given is None else number("attention_factor", given, above=0)
    own = yarn_temperature(factor) if given is None else Decimal(number("attention_factor", given, above=0))
    return multiply(number("attn_factor", extra, above=0), own)


def _deepseek_yarn(rope: Section, lengths: Lengths) -> YaRN:
    """vLLM's deepseek_yarn: mscale 1 and mscale_all_dim 0 unless given, each alone (R-5.7)."""
    scale, all_dim = (rope.get(key, "of the attention factor") for key in ("mscale", "mscale_all_dim"))
    for key in ("attention_factor", "truncate"):
        rope.ignore(key, "deepseek_yarn does not read it (vLLM 0.33.0)")
    rule = _yarn(rope, lengths)
    up = yarn_temperature(rule.factor, 1 if scale is None else number("mscale", scale, at_least=0))
    down = yarn_temperature(rule.factor, 0 if all_dim is None else number("mscale_all_dim", all_dim, at_least=0))
    with sixty_digits():
        attention = float(up / down)
    return YaRN(rule.factor, rule.original_max_position, rule.beta_fast, rule.beta_slow, attention_factor=attention)


def _telechat(rope: Section, lengths: Lengths) -> YaRN:
    """telechat3-yarn: YaRN with a temperature of 0.07 ln(factor) + 1."""
    rule = _yarn(rope, lengths)
    temperature = float(yarn_temperature(rule.factor, Decimal("0.7")))
    factor = rope.ledger.assume("attention_factor", temperature, f"{VLLM}: telechat3-yarn")
    return YaRN(rule.factor, rule.original_max_position, rule.beta_fast, rule.beta_slow, attention_factor=factor)


def _longrope(rope: Section, lengths: Lengths) -> LongRoPE:
    original = _original(rope, lengths)
    short, long = (rope.get(key, "divides the frequencies") for key in ("short_factor", "long_factor"))
    mscales = [rope.get(key, "the attention factor") for key in ("short_mscale", "long_mscale")]
    attention = rope.get("attention_factor", "the attention factor")
    if any(m is not None for m in mscales):
        if mscales[0] != mscales[1]:
            cure = "Choose one: pass scaling=ropecore.LongRoPE(.., attention_factor=..)."
            raise RopeError("short_mscale", mscales, "differs from long_mscale, and a plan has one A", cure, "R-5.8")
        attention = mscales[0]
    factor = None if attention is not None and "factor" not in rope else _factor(rope, lengths, original)
    rope.ledger.assume("policy", "per_call", f"{TRANSFORMERS}; vLLM and llama.cpp choose once (R-5.4)")
    return LongRoPE(short, long, original, factor=factor, attention_factor=attention)


def _llama3(rope: Section, lengths: Lengths) -> Llama3:
    names = ("factor", "low_freq_factor", "high_freq_factor")
    factor, low, high = (_need(rope, name) for name in names)
    return Llama3(factor, low, high, _original(rope, lengths))


def _proportional(rope: Section, lengths: Lengths) -> Proportional:
    share = rope.get("partial_rotary_factor", "of the proportional rule")
    factor = rope.get("factor", "divides the frequencies")
    if share is None:
        share = rope.ledger.assume("partial_rotary_factor", 1.0, TRANSFORMERS)
    return Proportional(share, 1.0 if factor is None else factor)


_YARN = (
    "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "truncate", "attention_factor", "mscale",
    "mscale_all_dim", "attn_factor", "extrapolation_factor",
)  # fmt: skip

RULES: dict[str, tuple[Callable[[Section, Lengths], Any], tuple[str, ...]]] = {
    "default": (_default, ()),
    "linear": (_linear, ("factor",)),
    "dynamic": (_dynamic, ("factor", "alpha")),
    "yarn": (_yarn, _YARN),
    "deepseek_yarn": (_deepseek_yarn, _YARN),
    "telechat3-yarn": (_telechat, _YARN),
    "longrope": (
        _longrope,
        (
            "factor", "original_max_position_embeddings", "short_factor", "long_factor", "attention_factor",
            "short_mscale", "long_mscale",
        ),
    ),
    "llama3": (_llama3, ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")),
    "proportional": (_proportional, ("factor",)),
}  # fmt: skip


def multiply(factor: float, temperature: Decimal) -> float:
    """Return the product, rounded once."""
    with sixty_digits():
        return float(Decimal(factor) * temperature)


def softmax_note(factor: float, mscale_all_dim: float) -> str:
    """Return the note on the factor of scores that goes with a YaRN whose own A does not hold it
    (R-9.8).
    """
    with sixty_digits():
        scale = float(yarn_temperature(factor, mscale_all_dim) ** 2)
    return f"scores are multiplied by {scale:.6g}, yarn_softmax_scale({factor:g}, {mscale_all_dim:g}), beside the attention factor"


def _number(rope: Section, name: str, why: str) -> float | None:
    value = rope.get(name, why)
    return None if value is None else number(rope.label(name), value, at_least=0)


def _need(rope: Section, name: str) -> Any:
    value = rope.get(name, "of the scaling rule")
    if value is None:
        raise RopeError(
            rope.label(name), None, f"must be given for rope_type {rope.peek('rope_type')!r}", rule="R-12.6"
        )
    return value


def _length(value: int | None, name: str) -> int:
    if value is None:
        raise RopeError(name, None, "must be given for this scaling rule", rule="R-12.6")
    return value


def _original(rope: Section, lengths: Lengths) -> int:
    """Return L: the configuration's own original length, else the dictionary's, else the longest
    (transformers' order).
    """
    own = lengths.original()
    if own is not None:
        rope.ignore("original_max_position_embeddings", "the configuration's own goes first (transformers)")
        return own
    inside = rope.get("original_max_position_embeddings", "the length that the model was trained for")
    if inside is not None:
        return cast(int, int(inside) if isinstance(inside, float) and inside.is_integer() else inside)
    longest = _length(lengths.longest(), "original_max_position_embeddings")
    return int(rope.ledger.assume("original_max_position_embeddings", longest, f"{TRANSFORMERS}: the longest length"))


def _factor(rope: Section, lengths: Lengths, original: int) -> float:
    """Return the factor, or the ratio of the longest and the original
    length where it is not given.
    """
    given = rope.get("factor", "stretches the context")
    if given is not None:
        return number(rope.label("factor"), given)
    ratio = _length(lengths.longest(), "factor") / original
    return float(rope.ledger.assume("factor", ratio, f"{TRANSFORMERS}: max_position / original_max_position"))
