"""Scaling rules: each a frozen dataclass of parameters and one pure function of the spectrum
(rope.md chapter 5).

`rule.scale(spectrum)` works in decimals at 60 digits; whoever calls it rounds once to binary64
(R-4.2).
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

from ropecore.arguments import (
    Count,
    Flag,
    NotNegative,
    Number,
    OneOf,
    Positive,
    PositiveNumbers,
    Share,
    Stretch,
    Whole,
    check_fields,
    mapping,
)
from ropecore.errors import RopeError, choice, known_keys
from ropecore.exact import PI, sixty_digits
from ropecore.frequencies import Spectrum

POLICIES = ("per_call", "static")
Policy = Annotated[str, OneOf(POLICIES)]


class Scaled(NamedTuple):
    """What a rule makes of a spectrum: frequencies, the attention factor A, and a magnitude's log
    and centre (R-2.4).
    """

    frequencies: list[Decimal]
    attention_factor: Decimal = Decimal(1)
    log_magnitude: list[Decimal] | None = None
    centre: float = 0.0


@runtime_checkable
class ScalingRule(Protocol):
    """Anything with a name and a pure function from a spectrum to what the plan holds."""

    @property
    def rule(self) -> str: ...

    def scale(self, spectrum: Spectrum) -> Scaled: ...


@dataclass(frozen=True)
class Unscaled:
    """g_j = f_j: no scaling."""

    rule: str = field(default="default", init=False)

    def scale(self, spectrum: Spectrum) -> Scaled:
        return Scaled(spectrum.frequencies)


@dataclass(frozen=True)
class Linear:
    """Linear position interpolation: g_j = f_j / factor.  Rule R-5.1; Chen et al. 2023,
    arXiv:2306.15595.
    """

    factor: Stretch
    rule: str = field(default="linear", init=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        return Scaled([f / Decimal(self.factor) for f in spectrum.frequencies])


@dataclass(frozen=True)
class NTK:
    """NTK-aware scaling with a fixed alpha: g_j = (b * alpha^(d/(d-2)))^(-2j/d).  Rule R-5.2;
    bloc97 2023, Hunyuan.
    """

    alpha: Stretch
    rule: str = field(default="ntk", init=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        return Scaled(_larger_base(self.rule, spectrum, Decimal(self.alpha)))


@dataclass(frozen=True)
class DynamicNTK:
    """NTK-aware scaling by length: for n > L, NTK with alpha = factor * n / L - (factor - 1).
    Rules R-5.3, R-5.4.

    n is the sequence's length under policy "per_call" and max_position under "static"; L is
    original_max_position.
    """

    factor: Stretch
    original_max_position: Count
    policy: Policy = "per_call"
    max_position: Count | None = None
    rule: str = field(default="dynamic_ntk", init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        _check_length_policy(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        n, original = _length(self, spectrum), self.original_max_position
        if n <= original:
            return Scaled(spectrum.with_base(spectrum.log_base))
        factor = Decimal(self.factor)
        return Scaled(_larger_base(self.rule, spectrum, factor * n / original - (factor - 1)))


@dataclass(frozen=True)
class NTKByParts:
    """NTK-by-parts: a ramp linear in turns r_j = L f_j / (2 pi) between beta_slow and beta_fast.

    gamma_j = clip((r_j - beta_slow) / (beta_fast - beta_slow), 0, 1); g_j = (1 - gamma_j) f_j /
    factor + gamma_j f_j. Rule R-5.5; Peng et al. 2023, arXiv:2309.00071, section 3.2.
    """

    factor: Stretch
    original_max_position: Count
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    rule: str = field(default="ntk_by_parts", init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        _check_betas(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        fast, slow = Decimal(self.beta_fast), Decimal(self.beta_slow)

        def scaled(f: Decimal) -> Decimal:
            turns = self.original_max_position * f / (2 * PI)
            return _blend(f, Decimal(self.factor), keep=_clip((turns - slow) / (fast - slow)))

        return Scaled([scaled(f) for f in spectrum.frequencies])


@dataclass(frozen=True)
class YaRN:
    """YaRN: a ramp linear in j between the pairs that make beta_fast and beta_slow turns within L,
    and a temperature.

    cd(m) = d ln(L / (2 pi m)) / (2 ln b); low = cd(beta_fast), high = cd(beta_slow), rounded
    outwards if `truncate`, clamped to [0, d - 1]; ramp_j = clip((j - low) / (high - low), 0, 1);
    g_j = f_j / factor * ramp_j + f_j (1 - ramp_j). A is attention_factor, else ms(mscale) /
    ms(mscale_all_dim) if both are given and not 0, else ms(1), with ms(m) = 0.1 m ln(factor) + 1.
    With beta_fast = beta_slow the ramp is a step.  Rules R-5.6, R-5.7; Peng et al. 2023 and the
    programs that follow transformers.
    """

    factor: Stretch
    original_max_position: Count
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    truncate: Flag = True
    mscale: NotNegative | None = None
    mscale_all_dim: NotNegative | None = None
    attention_factor: Positive | None = None
    rule: str = field(default="yarn", init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        _check_betas(self, may_be_equal=True)

    def scale(self, spectrum: Spectrum) -> Scaled:
        low, high = self._range(spectrum)
        factor = Decimal(self.factor)
        ramp = [_clip((j - low) / (high - low)) for j in range(spectrum.n_pairs)]
        frequencies = [_blend(f, factor, keep=1 - r) for f, r in zip(spectrum.frequencies, ramp, strict=True)]
        return Scaled(frequencies, self._attention_factor())

    def _range(self, spectrum: Spectrum) -> tuple[Decimal, Decimal]:
        """Return the (fractional) pair indices between which frequencies are blended."""
        if spectrum.log_base <= 0:
            raise RopeError("base", float(spectrum.base or 0), "must be above 1 for yarn", rule="R-5.6")

        def correction_dim(turns: float) -> Decimal:
            return (
                spectrum.dim * (self.original_max_position / (2 * PI * Decimal(turns))).ln() / (2 * spectrum.log_base)
            )

        low, high = correction_dim(self.beta_fast), correction_dim(self.beta_slow)
        if self.truncate:
            low, high = low.to_integral_value(ROUND_FLOOR), high.to_integral_value(ROUND_CEILING)
        low, high = max(low, Decimal(0)), min(high, Decimal(spectrum.dim - 1))
        if low > high:
            raise RopeError(
                "original_max_position", self.original_max_position,
                f"no pair makes {self.beta_slow:g} to {self.beta_fast:g} turns within it", rule="R-5.6",
            )  # fmt: skip
        return low, high + Decimal("0.001") if low == high else high

    def _attention_factor(self) -> Decimal:
        if self.attention_factor is not None:
            return Decimal(self.attention_factor)
        if self.mscale and self.mscale_all_dim:
            return yarn_temperature(self.factor, self.mscale) / yarn_temperature(self.factor, self.mscale_all_dim)
        return yarn_temperature(self.factor)


@dataclass(frozen=True)
class LongRoPE:
    """LongRoPE: g_j = f_j / e_j, e = long_factor if n > L else short_factor (at exactly L: short).

    A is attention_factor, else 1 if factor <= 1, else sqrt(1 + ln(factor) / ln(L)).
    Rules R-5.4, R-5.8; Ding et al. 2024, arXiv:2402.13753, and Phi-3.
    """

    short_factor: PositiveNumbers
    long_factor: PositiveNumbers
    original_max_position: Annotated[int, Whole(at_least=2)]  # its logarithm divides
    factor: Positive | None = None
    attention_factor: Positive | None = None
    policy: Policy = "per_call"
    max_position: Count | None = None
    rule: str = field(default="longrope", init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.factor is None and self.attention_factor is None:
            cure = "Give factor (max_position / original_max_position) or attention_factor."
            raise RopeError("factor", None, "nothing says what the attention factor is", cure, "R-5.8")
        _check_length_policy(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        is_long = _length(self, spectrum) > self.original_max_position
        chosen = self.long_factor if is_long else self.short_factor
        frequencies = [f / Decimal(e) for f, e in zip(spectrum.frequencies, chosen, strict=True)]
        return Scaled(frequencies, self._attention_factor())

    def _attention_factor(self) -> Decimal:
        if self.attention_factor is not None:
            return Decimal(self.attention_factor)
        factor = Decimal(self.factor or 1)
        return Decimal(1) if factor <= 1 else (1 + factor.ln() / Decimal(self.original_max_position).ln()).sqrt()


@dataclass(frozen=True)
class Llama3:
    """Llama 3's rule: long wavelengths are stretched by factor, short ones kept, a band between
    them blended.

    w_j = 2 pi / f_j; kept if w_j < L / high_freq_factor, stretched if w_j > L / low_freq_factor,
    else blended with sigma = (L / w_j - low_freq_factor) / (high_freq_factor - low_freq_factor).
    Rule R-5.9; Meta's Llama 3.1.
    """

    factor: Stretch
    low_freq_factor: Positive
    high_freq_factor: Positive
    original_max_position: Count
    rule: str = field(default="llama3", init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        low, high = self.low_freq_factor, self.high_freq_factor
        if high < low:
            raise RopeError(
                "high_freq_factor", high, f"is below low_freq_factor={low:g}", "Were they swapped?", "R-5.9"
            )

    def scale(self, spectrum: Spectrum) -> Scaled:
        factor, low, high = Decimal(self.factor), Decimal(self.low_freq_factor), Decimal(self.high_freq_factor)

        def scaled(f: Decimal) -> Decimal:
            turns = self.original_max_position * f / (2 * PI)  # L / w_j
            if low == high:  # no band between: sigma would be 0 / 0
                return f if turns > high else f / factor
            return _blend(f, factor, keep=_clip((turns - low) / (high - low)))

        return Scaled([scaled(f) for f in spectrum.frequencies])


@dataclass(frozen=True)
class Proportional:
    """Proportional RoPE: g_j = f_j / factor for j < floor(partial_rotary_factor * R / 2), else 0.
    Rule R-5.10; Gemma 4.

    R is the whole head unless rotary_dim is given, so lanes are paired over the head and the
    exponent's denominator is head_dim.
    """

    partial_rotary_factor: Share
    factor: Stretch = 1.0
    rule: str = field(default="proportional", init=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        rotated = math.floor(self.partial_rotary_factor * (2 * spectrum.n_pairs) / 2)
        frequencies = spectrum.with_base(spectrum.log_base)
        return Scaled([f / Decimal(self.factor) if j < rotated else Decimal(0) for j, f in enumerate(frequencies)])


@dataclass(frozen=True)
class XPos:
    """xPos: f_j unchanged, and a magnitude ((2j/R + gamma) / (1 + gamma))^((p - centre) /
    scale_base), inverted for keys.

    Rules R-2.4, R-5.11; Sun et al. 2022, arXiv:2212.10554.
    """

    scale_base: Positive = 512.0
    gamma: Positive = 0.4
    centre: Number = 0.0
    rule: str = field(default="xpos", init=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        gamma, n = Decimal(self.gamma), spectrum.n_pairs
        logs = [((Decimal(j) / n + gamma) / (1 + gamma)).ln() / Decimal(self.scale_base) for j in range(n)]
        return Scaled(spectrum.frequencies, log_magnitude=logs, centre=self.centre)


@dataclass(frozen=True)
class Damped:
    """Damped RoPE: f_j unchanged, and scores that decay as exp(-rate * (p_q - p_k)).  Rules R-2.4,
    R-5.12.
    """

    rate: Positive
    centre: Number = 0.0
    rule: str = field(default="damped", init=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def scale(self, spectrum: Spectrum) -> Scaled:
        logs = [-Decimal(self.rate)] * spectrum.n_pairs
        return Scaled(spectrum.frequencies, log_magnitude=logs, centre=self.centre)


def yarn_temperature(factor: float, m: float | Decimal = 1) -> Decimal:
    """Return ms(m) = 0.1 m ln(factor) + 1, and 1 for factors up to 1, to 60 digits.  Rule R-5.7."""
    with sixty_digits():
        return Decimal(1) if factor <= 1 else Decimal("0.1") * Decimal(m) * Decimal(factor).ln() + 1


RULES: dict[str, Any] = {
    "linear": Linear, "ntk": NTK, "dynamic_ntk": DynamicNTK, "ntk_by_parts": NTKByParts, "yarn": YaRN, "longrope": LongRoPE,
    "llama3": Llama3, "proportional": Proportional, "xpos": XPos, "damped": Damped,
}  # fmt: skip


def rule_from_dict(given: Mapping[str, Any]) -> ScalingRule:
    """Return the rule that {"rule": name, parameter: value, ..} describes; unknown and missing keys
    are refused (R-12.6).
    """
    parameters = dict(mapping("scaling", given))
    name = choice("scaling.rule", parameters.pop("rule", None), RULES)
    kind = RULES[name]
    fields = [f for f in dataclasses.fields(kind) if f.init]
    known_keys("scaling", parameters, [f.name for f in fields])
    for f in fields:
        if f.default is dataclasses.MISSING and f.name not in parameters:
            raise RopeError(f"scaling.{f.name}", None, f"must be given for rule {name}", rule="R-12.6")
    rule: ScalingRule = kind(**parameters)
    return rule


def rule_to_dict(rule: ScalingRule) -> dict[str, Any]:
    """Return the rule's name and those parameters that are not at their default."""
    given = {
        f.name: getattr(rule, f.name)
        for f in dataclasses.fields(rule)  # type: ignore[arg-type]
        if f.init and (f.default is dataclasses.MISSING or getattr(rule, f.name) != f.default)
    }
    return {"rule": rule.rule} | {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}


def check_lists(rule: ScalingRule, n_pairs: int) -> None:
    """Refuse a rule whose lists do not have one entry a pair.  Rule R-12.7."""
    for name, value in vars(rule).items():
        if isinstance(value, tuple) and len(value) != n_pairs:
            raise RopeError(name, len(value), f"must have one entry a pair, {n_pairs}", rule="R-12.7")


def _check_betas(rule: Any, *, may_be_equal: bool = False) -> None:
    fast, slow = rule.beta_fast, rule.beta_slow
    if fast < slow or (fast == slow and not may_be_equal):
        raise RopeError("beta_fast", fast, f"must be above beta_slow={slow:g}", "Were they swapped?", "R-12.3")


def _check_length_policy(rule: Any) -> None:
    if rule.policy == "static" and rule.max_position is None:
        raise RopeError(
            "max_position", None, "must be given under policy static", "It is the length to plan for.", "R-5.4"
        )


def _length(rule: Any, spectrum: Spectrum) -> int:
    """Return n of a length-dependent rule (R-5.4)."""
    n = rule.max_position if rule.policy == "static" else spectrum.seq_len
    if n is None:
        cure = "Call plan(seq_len=...), or use policy='static' with max_position."
        raise RopeError(
            "seq_len", None, f"{rule.rule} with policy per_call needs the length of the sequence", cure, "R-5.4"
        )
    return int(n)


def _larger_base(rule: str, spectrum: Spectrum, alpha: Decimal) -> list[Decimal]:
    """Return the frequencies of base * alpha^(d / (d - 2)) (R-5.2)."""
    d = spectrum.dim
    if d <= 2:
        raise RopeError("frequency_dim", d, f"must be above 2 for the rule {rule}", rule="R-5.2")
    return spectrum.with_base(spectrum.log_base + Decimal(d) / (d - 2) * alpha.ln())


def _blend(f: Decimal, factor: Decimal, keep: Decimal) -> Decimal:
    """Return f / factor and f mixed: all f where keep is 1."""
    return (1 - keep) * f / factor + keep * f


def _clip(value: Decimal) -> Decimal:
    return min(max(value, Decimal(0)), Decimal(1))
