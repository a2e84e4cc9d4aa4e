"""Scaling rules: the exact value, rounded once (rope.md chapters 4 and 5)."""

import dataclasses
import decimal
import math
from decimal import Decimal

import numpy as np
import pytest
from mpmath import mp, mpf

import ropecore
from ropecore import (
    NTK,
    Damped,
    DynamicNTK,
    Linear,
    Llama3,
    LongRoPE,
    NTKByParts,
    Proportional,
    RopeConfig,
    RopeError,
    XPos,
    YaRN,
)  # fmt: skip
from ropecore.exact import PI, sixty_digits
from ropecore.frequencies import Spectrum
from ropecore.scaling import RULES, rule_from_dict, rule_to_dict

LONG = LongRoPE(tuple([1.0] * 64), tuple(2.0 + j for j in range(64)), 4096, factor=32.0)
EXAMPLES = [
    Linear(4.0), NTK(8.0), DynamicNTK(2.0, 2048), NTKByParts(4.0, 4096), YaRN(32.0, 4096, truncate=False), YaRN(16.0, 1024, mscale=0.707),
    LONG, Llama3(8.0, 1.0, 4.0, 8192), Proportional(0.25), XPos(), Damped(1e-4),
]  # fmt: skip


def config(rule=None, head_dim=128, base=500_000.0, **changes) -> RopeConfig:
    return RopeConfig(head_dim=head_dim, base=base, pairing="half_split", scaling=rule, **changes)


def frequencies(rule, seq_len=None, **changes) -> np.ndarray:
    return config(rule, **changes).rows(seq_len).frequencies[:, 0]


def test_pi_is_pi() -> None:
    with mp.workdps(100):
        assert abs(mpf(str(PI)) - mp.pi) < mpf(10) ** -98


@pytest.mark.parametrize("base", [100.0, 10_000.0, 500_000.0, 1e6, 5e7, 1.5])
@pytest.mark.parametrize("head_dim", [2, 6, 64, 80, 128])
def test_unscaled_frequencies_are_rounded_correctly(base: float, head_dim: int) -> None:
    with mp.workdps(60):
        truth = [float(mpf(base) ** (mpf(-2 * j) / head_dim)) for j in range(head_dim // 2)]

    assert frequencies(None, head_dim=head_dim, base=base).tolist() == truth


def test_the_callers_decimal_context_does_not_matter() -> None:
    with decimal.localcontext(decimal.Context(prec=5)):
        rounded = config(Llama3(8.0, 1.0, 4.0, 8192)).replace(lane_offset=0)
        few = ropecore.config._rows(rounded, None).frequencies
    many = ropecore.config._rows(rounded, None).frequencies

    assert few.tobytes() == many.tobytes()


def test_linear_divides_every_frequency() -> None:
    assert np.array_equal(frequencies(Linear(4.0)), frequencies(None) / 4)


def test_ntk_keeps_the_first_pair_and_stretches_the_last_by_alpha() -> None:
    ratio = frequencies(None) / frequencies(NTK(8.0))

    assert ratio[0] == 1
    assert ratio[-1] == pytest.approx(8.0, rel=1e-14)
    assert ratio == pytest.approx(8.0 ** (2 * np.arange(64) / 126), rel=1e-13)


def test_dynamic_ntk_by_length_and_without_memory() -> None:
    rule = DynamicNTK(2.0, 2048)
    short, long = frequencies(rule, 2048), frequencies(rule, 6144)

    assert np.array_equal(short, frequencies(None))
    assert np.array_equal(long, frequencies(NTK(5.0)))  # 2 * 3 - 1
    assert np.array_equal(frequencies(rule, 100), short)


def test_length_policies() -> None:
    static = DynamicNTK(2.0, 2048, policy="static", max_position=6144)

    assert np.array_equal(frequencies(static), frequencies(DynamicNTK(2.0, 2048), 6144))
    assert np.array_equal(frequencies(static, 100), frequencies(static))
    with pytest.raises(RopeError, match="seq_len"):
        config(DynamicNTK(2.0, 2048)).plan()
    with pytest.raises(RopeError, match="max_position"):
        DynamicNTK(2.0, 2048, policy="static")


def test_longrope_switches_beyond_the_original_length() -> None:
    short, long = frequencies(LONG, 4096), frequencies(LONG, 4097)

    assert np.array_equal(short, frequencies(None))
    assert long / short == pytest.approx(1 / (2.0 + np.arange(64)), rel=1e-15)
    assert config(LONG).plan(1).attention_factor == pytest.approx(
        math.sqrt(1 + math.log(32) / math.log(4096)), rel=1e-15
    )
    assert config(dataclasses.replace(LONG, factor=0.5)).plan(1).attention_factor == 1
    assert config(dataclasses.replace(LONG, attention_factor=1.25)).plan(1).attention_factor == 1.25


def test_llama3_bands() -> None:
    ratio = frequencies(None) / frequencies(Llama3(8.0, 1.0, 4.0, 8192))
    wavelength = 2 * np.pi / frequencies(None)

    assert (ratio[wavelength < 2048] == 1).all()
    assert (ratio[wavelength > 8192] == 8).all()
    assert np.flatnonzero((ratio > 1) & (ratio < 8)).tolist() == [29, 30, 31, 32, 33, 34]


def test_llama3_without_a_middle_band() -> None:
    ratio = frequencies(None) / frequencies(Llama3(8.0, 1.0, 1.0, 8192))

    assert sorted(set(ratio.tolist())) == [1.0, 8.0]


def test_yarn_ramps_between_two_pairs() -> None:
    """gpt-oss: 64 lanes, base 150,000, 4,096 positions, factor 32, range not rounded."""
    rule = YaRN(32.0, 4096, truncate=False)
    ratio = frequencies(None, head_dim=64, base=150_000.0) / frequencies(rule, head_dim=64, base=150_000.0)
    kept, stretched = np.flatnonzero(ratio == 1), np.flatnonzero(np.isclose(ratio, 32, rtol=1e-14))

    assert kept.tolist() == list(range(9))
    assert stretched.tolist() == list(range(18, 32))
    assert config(rule).plan().attention_factor == pytest.approx(0.1 * math.log(32) + 1, rel=1e-15)


@pytest.mark.parametrize(
    ("parameters", "factor"),
    [
        ({}, 0.1 * math.log(40) + 1),
        ({"attention_factor": 1.0}, 1.0),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0),
        ({"mscale": 1.0, "mscale_all_dim": 0.707}, (0.1 * math.log(40) + 1) / (0.0707 * math.log(40) + 1)),
        ({"mscale": 0.707}, 0.1 * math.log(40) + 1),
        ({"mscale": 1.0, "mscale_all_dim": 0.0}, 0.1 * math.log(40) + 1),
    ],
)
def test_yarn_attention_factor(parameters: dict, factor: float) -> None:
    assert config(YaRN(40.0, 4096, **parameters)).plan().attention_factor == pytest.approx(factor, rel=1e-15)


def test_ntk_by_parts_ramps_in_turns() -> None:
    turns = 4096 * frequencies(None) / (2 * np.pi)
    gamma = np.clip((turns - 1) / 31, 0, 1)

    assert frequencies(NTKByParts(4.0, 4096)) == pytest.approx(frequencies(None) * ((1 - gamma) / 4 + gamma), rel=1e-13)


def test_proportional_pairs_lanes_over_the_whole_head() -> None:
    plan = config(Proportional(0.25), head_dim=8).plan()

    assert plan.lanes.tolist() == [[0, 4]]
    assert frequencies(Proportional(0.5), head_dim=8).tolist()[:2] == frequencies(None, head_dim=8).tolist()[:2]
    assert frequencies(Proportional(0.5), head_dim=8).tolist()[2:] == [0, 0]


def test_magnitudes() -> None:
    xpos = config(XPos(), head_dim=8).plan()

    assert xpos.log_magnitude == pytest.approx(np.log((np.arange(4) / 4 + 0.4) / 1.4) / 512, rel=1e-15)
    assert config(Damped(0.01), head_dim=8).plan().log_magnitude.tolist() == [-0.01] * 4


def test_own_frequencies_go_through_rules_that_use_only_them() -> None:
    own = tuple(float(f) for f in frequencies(None) * 0.5)

    for rule in (Linear(2.0), Llama3(8.0, 1.0, 4.0, 8192), NTKByParts(2.0, 4096), YaRN(2.0, 4096), XPos(), Damped(0.1)):
        assert config(rule, inv_freq=own).rows().frequencies[0, 0] == pytest.approx(0.5, rel=0.6)
    for rule in (NTK(2.0), DynamicNTK(2.0, 1, policy="static", max_position=9), Proportional(0.5)):
        with pytest.raises(RopeError, match="inv_freq"):
            config(rule, inv_freq=own).plan()


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.rule)
def test_rules_go_through_json(rule) -> None:
    assert rule_from_dict(rule_to_dict(rule)) == rule


def test_every_rule_has_an_example_here() -> None:
    assert {rule.rule for rule in EXAMPLES} == set(RULES)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Linear(0.5), "factor"),
        (lambda: Linear(math.nan), "factor"),
        (lambda: Linear("2"), "factor"),
        (lambda: NTK(0.9), "alpha"),
        (lambda: config(NTK(2.0), head_dim=2).plan(), "frequency_dim"),
        (lambda: DynamicNTK(2.0, 0), "original_max_position"),
        (lambda: DynamicNTK(2.0, 2048, policy="grow"), "policy"),
        (lambda: YaRN(0.5, 4096), "factor"),
        (lambda: YaRN(2.0, 4096, beta_fast=1.0, beta_slow=32.0), "beta_fast"),
        (lambda: YaRN(2.0, 4096.5), "original_max_position"),
        (lambda: YaRN(2.0, 4096, truncate=1), "truncate"),
        (lambda: YaRN(2.0, 4096, attention_factor=-1.0), "attention_factor"),
        (lambda: config(YaRN(2.0, 4)).plan(), "original_max_position"),
        (lambda: config(YaRN(2.0, 4096), base=1.0).plan(), "base"),
        (lambda: LongRoPE((1.0,), (1.0,), 4096), "factor"),
        (lambda: LongRoPE((0.0,), (1.0,), 4096, factor=2.0), "short_factor"),
        (lambda: config(LongRoPE((1.0,), (1.0,), 4096, factor=2.0)).plan(10), "short_factor"),
        (lambda: Llama3(8.0, 4.0, 1.0, 8192), "high_freq_factor"),
        (lambda: Llama3(8.0, 0.0, 1.0, 8192), "low_freq_factor"),
        (lambda: Proportional(1.5), "partial_rotary_factor"),
        (lambda: Proportional(0.0), "partial_rotary_factor"),
        (lambda: XPos(scale_base=0.0), "scale_base"),
        (lambda: Damped(0.0), "rate"),
        (lambda: rule_from_dict({"rule": "su"}), "scaling.rule"),
        (lambda: rule_from_dict({"rule": "linear"}), "scaling.factor"),
        (lambda: rule_from_dict({"rule": "linear", "factor": 2, "type": "linear"}), "scaling"),
        (lambda: rule_from_dict("linear"), "scaling"),
        (lambda: config(YaRN(2.0, 4096), attention_factor=1.0), "attention_factor"),
    ],
)
def test_parameters_out_of_range_are_refused(make, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        make()

    assert refusal.value.argument.startswith(argument)


NUMBERS = {  # parameters that are numbers: a rule that has one, the least value, and whether it is allowed itself
    "factor": [(Linear, 1, True), (DynamicNTK, 1, True), (NTKByParts, 1, True), (YaRN, 1, True), (Llama3, 1, True), (Proportional, 1, True), (LongRoPE, 0, False)],
    "alpha": [(NTK, 1, True)],
    "beta_fast": [(NTKByParts, 0, False), (YaRN, 0, False)],
    "beta_slow": [(NTKByParts, 0, False), (YaRN, 0, False)],
    "mscale": [(YaRN, 0, True)],
    "mscale_all_dim": [(YaRN, 0, True)],
    "attention_factor": [(YaRN, 0, False), (LongRoPE, 0, False)],
    "low_freq_factor": [(Llama3, 0, False)],
    "high_freq_factor": [(Llama3, 0, False)],
    "partial_rotary_factor": [(Proportional, 0, False)],
    "scale_base": [(XPos, 0, False)],
    "gamma": [(XPos, 0, False)],
    "centre": [(XPos, None, False), (Damped, None, False)],
    "rate": [(Damped, 0, False)],
}  # fmt: skip
WITHIN = {
    DynamicNTK: {"factor": 2.0, "original_max_position": 2048},
    NTKByParts: {"factor": 4.0, "original_max_position": 4096, "beta_fast": 1.0, "beta_slow": 0.25},
    YaRN: {"factor": 4.0, "original_max_position": 4096, "beta_fast": 1.0, "beta_slow": 0.25},
    LongRoPE: {"short_factor": (1.0,), "long_factor": (2.0,), "original_max_position": 2, "factor": 2.0},
    Llama3: {"factor": 8.0, "low_freq_factor": 0.25, "high_freq_factor": 1.0, "original_max_position": 8192},
    Proportional: {"partial_rotary_factor": 0.5},
    Damped: {"rate": 0.5},
}
PARAMETERS = [(kind, name, least, allowed) for name, kinds in NUMBERS.items() for kind, least, allowed in kinds]


@pytest.mark.parametrize(("kind", "name", "least", "allowed"), PARAMETERS)
def test_every_number_is_checked_and_stored_as_a_float(kind, name: str, least: int | None, allowed: bool) -> None:
    def made(value):
        return kind(**WITHIN.get(kind, {}) | {name: value})

    def refused(value) -> None:
        with pytest.raises(RopeError) as refusal:
            made(value)
        assert refusal.value.argument == name

    for bad in (math.nan, math.inf, "2", True):
        refused(bad)
    if least is not None:
        refused(least - 0.125)
        if not allowed:
            refused(least)
    small = (least or 0) + (0.5 if name != "beta_slow" else 0.125)  # within the range, and below the next whole number
    small = 0.75 if name in ("beta_fast", "high_freq_factor") else small
    assert getattr(made(small), name) == small
    if allowed:
        assert getattr(made(least), name) == least
    whole = getattr(made(np.float32(small)), name)
    assert (type(whole), whole) == (float, small)


def test_lengths_are_checked() -> None:
    for make in (
        lambda n: DynamicNTK(2.0, n), lambda n: NTKByParts(2.0, n), lambda n: YaRN(2.0, n), lambda n: Llama3(2.0, 1.0, 4.0, n),
        lambda n: LongRoPE((1.0,), (1.0,), n, factor=2.0),
    ):  # fmt: skip
        for bad in (0, -1, 2.5, True, None):
            with pytest.raises(RopeError) as refusal:
                make(bad)
            assert refusal.value.argument == "original_max_position"
    for bad in (0, -1, 2.5, True):
        with pytest.raises(RopeError) as refusal:
            DynamicNTK(2.0, 4, max_position=bad)
        assert refusal.value.argument == "max_position"
    assert DynamicNTK(2.0, 1, max_position=1).max_position == 1
    assert LongRoPE((1.0,), (1.0,), 2, factor=2.0).original_max_position == 2


def test_the_rule_is_named_where_a_base_cannot_change() -> None:
    for rule in (NTK(2.0), DynamicNTK(2.0, 1, policy="static", max_position=2)):
        with pytest.raises(RopeError, match=f"for the rule {rule.rule}."):
            config(rule, head_dim=4, frequency_dim=2).plan()
    assert frequencies(NTK(2.0), head_dim=4, frequency_dim=3)[1] < frequencies(None, head_dim=4, frequency_dim=3)[1]


def test_betas_in_the_wrong_order_are_refused() -> None:
    for kind, slow in ((YaRN, 4.5), (NTKByParts, 4.5), (NTKByParts, 4.0)):
        with pytest.raises(RopeError, match="beta_fast"):
            kind(2.0, 4096, beta_fast=4.0, beta_slow=slow)


@pytest.mark.parametrize("truncate", [True, False])
def test_a_yarn_of_equal_betas_is_a_step(truncate: bool) -> None:
    rule = YaRN(8.0, 4096, beta_fast=1.0, beta_slow=1.0, truncate=truncate)
    ratio = frequencies(None, head_dim=64, base=5e4) / frequencies(rule, head_dim=64, base=5e4)
    end = math.floor(64 * math.log(4096 / (2 * math.pi)) / (2 * math.log(5e4)))

    assert ratio == pytest.approx([1.0] * (end + 1) + [8.0] * (31 - end), rel=1e-13)


def test_dynamic_ntk_at_its_length_is_unscaled_even_where_no_base_could_change() -> None:
    assert np.array_equal(frequencies(DynamicNTK(2.0, 8), 8, head_dim=2), frequencies(None, head_dim=2))


def test_yarn_with_a_small_base_and_a_range_that_ends_at_the_last_pair() -> None:
    small = frequencies(YaRN(2.0, 64), head_dim=8, base=2.0)
    assert np.isfinite(small).all()

    long = 10**9  # the slow end lies beyond d - 1, to which it is clamped: 10 d of ramp would stretch less
    ratio = frequencies(None, head_dim=8, base=1e4) / frequencies(YaRN(4.0, long, beta_fast=1e6), head_dim=8, base=1e4)
    low = math.floor(8 * math.log(long / (2 * math.pi * 1e6)) / (2 * math.log(1e4)))
    keep = 1 - np.clip((np.arange(4) - low) / (7 - low), 0, 1)
    assert ratio == pytest.approx(1 / ((1 - keep) / 4 + keep), rel=1e-13)


def test_longrope_has_no_temperature_up_to_factor_1() -> None:
    short = dataclasses.replace(LONG, factor=1.5)

    assert config(dataclasses.replace(LONG, factor=1.0)).plan(1).attention_factor == 1
    assert config(short).plan(1).attention_factor == pytest.approx(
        math.sqrt(1 + math.log(1.5) / math.log(4096)), rel=1e-15
    )


def test_llama3_without_a_middle_band_stretches_at_the_edge() -> None:
    """w_j = L / low_freq_factor is scaled: one pair turns exactly once (R-5.9)."""
    with sixty_digits():
        once = 2 * PI / 8
        kept = Llama3(4.0, 1.0, 1.0, 8).scale(Spectrum(2, 4, custom=(once, once * 2))).frequencies

        assert 8 * once / (2 * PI) == 1
        assert kept == [once / 4, once * 2]
        assert isinstance(kept[0], Decimal)


def test_centres_are_carried_to_the_plan() -> None:
    for rule in (XPos(centre=100.0), Damped(0.5, centre=-3.5)):
        assert config(rule, head_dim=8).plan().centre == rule.centre


def test_a_dictionary_holds_what_was_given_and_json_can_hold_it() -> None:
    assert rule_to_dict(YaRN(2.0, 64, truncate=False)) == {
        "rule": "yarn", "factor": 2.0, "original_max_position": 64, "truncate": False,
    }  # fmt: skip
    assert rule_to_dict(LongRoPE((1.0,), (2.0,), 64, factor=2.0)) == {
        "rule": "longrope", "short_factor": [1.0], "long_factor": [2.0], "original_max_position": 64, "factor": 2.0,
    }  # fmt: skip


def test_lists_must_be_lists_of_numbers() -> None:
    for bad in ("12", b"12", 1.0, None):
        with pytest.raises(RopeError) as refusal:
            LongRoPE(bad, (1.0,), 4096, factor=2.0)
        assert (refusal.value.argument, refusal.value.rule) == ("short_factor", "R-12.7")


def test_a_stretch_below_1_is_told_how_to_be_said() -> None:
    with pytest.raises(RopeError) as refusal:
        Linear(0.5)
    assert refusal.value.cure == "It stretches the context; its reciprocal is a frequency scale."
