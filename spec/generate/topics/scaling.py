"""Scaling rules of chapter 5: frequencies inside each band and on each side of its edges, and
rotations with them.
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, frequencies, rotate, tables
from .common import config, own, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from unscaled()
    yield from linear()
    yield from ntk()
    yield from dynamic_ntk()
    yield from ntk_by_parts()
    yield from yarn()
    yield from yarn_factors()
    yield from longrope()
    yield from llama3()
    yield from proportional()
    yield from xpos()
    yield from damped()


# The distance to the centre is small and exact, and neither the position nor the centre is a
# float32: label, centre, positions, role
FAR = (
    (
        "far_centre",
        2.0**31 - 1000,
        [2147482000, 2147482649, 2147483057, 2147483647],
        "q",
        "a centre near 2^31: the position minus the centre is what must be exact, before anything is rounded",
    ),
    (
        "far_back_centre",
        -(2.0**30),
        [-1073742525, -1073741823, -1073741747, -1073741001],
        "k",
        "a centre at -2^30, and odd positions beside it",
    ),
    (
        "far_half_centre",
        2.0**24 + 0.5,
        [16776997, 16777216, 16777217, 16777639],
        "q",
        "a centre between two positions above 2^24",
    ),
)


def with_rule(
    rule: str, parameters: dict[str, Any], head_dim: int = 8, base: float = 100.0, **more: Any
) -> dict[str, Any]:
    """Return a configuration with a rule."""
    return config("half_split", head_dim, base, scaling=scaled(rule, **parameters), **more)


def unscaled() -> Iterator[Case]:
    """Yield plain series, and frequencies that the caller gives (R-4.1, R-4.3)."""
    for label, head_dim, base, flags in (
        ("d8_base100", 8, 100.0, "M6 M7 M8 M9 M10"),
        ("d6_base1e4", 6, 1e4, "M6 M7 M8 M9"),
        ("d64_base1e4", 64, 1e4, "M6 M7 M9 M46"),
        ("d128_base1e4", 128, 1e4, "M6 M7 M9 M46 M47 M54"),
        ("d128_base5e5", 128, 5e5, "M10 M54"),
        ("d128_base1e6", 128, 1e6, "M10 M11 M54"),
        ("d128_base5e7", 128, 5e7, "M10 M11 M47"),
        ("d96_base1e4", 96, 1e4, "M6 M7"),
        ("d8_base1", 8, 1.0, "M10"),
    ):
        about = ("R-4.1 R-4.2", flags, "the plain series, rounded once to binary64")
        yield frequencies(f"scaling/none/{label}", config("half_split", head_dim, base), about)
    about = ("R-4.1 R-3.4", "M19 M20", "the exponent's denominator is rotary_dim")
    yield frequencies("scaling/none/d8_r4", config(rotary_dim=4), about)
    about = ("R-4.1", "M6 M7 M20", "a denominator of its own: frequency_dim 16 for 8 lanes")
    yield frequencies("scaling/none/d8_frequency_dim16", config(frequency_dim=16), about)
    about = ("R-4.1", "M7", "frequency_dim 12 for 6 of 12 lanes")
    yield frequencies("scaling/none/d12_r6_frequency_dim12", config(head_dim=12, rotary_dim=6, frequency_dim=12), about)
    about = ("R-4.3", "M9", "the caller's frequencies, bit for bit")
    yield frequencies("scaling/none/inv_freq", own([1.0, 0.1, 3.3333333333333335e-05, 0.7000000000000001]), about)


def linear() -> Iterator[Case]:
    """Yield R-5.1."""
    for label, factor, head_dim, base, comment in (
        ("s16_d128", 16.0, 128, 1e4, "trained on 2048, run at 32768"),
        ("s1", 1.0, 8, 100.0, "factor 1 changes nothing"),
        ("s3", 3.0, 8, 100.0, "a factor that is no power of two: the quotient is rounded once"),
        ("s2_5", 2.5, 64, 1e6, "a factor between integers"),
    ):
        about = ("R-5.1 R-4.2", "" if factor == 1 else "M55", comment)
        yield frequencies(f"scaling/linear/{label}", with_rule("linear", {"factor": factor}, head_dim, base), about)
    about = ("R-5.1 R-4.3", "M55", "the caller's frequencies are divided too")
    made = own([1.0, 0.7, 0.1, 0.003], scaling=scaled("linear", factor=7.0))
    yield frequencies("scaling/linear/inv_freq_s7", made, about)
    about = ("R-5.1", "M55", "a rotation with factor 4")
    yield rotate(
        "scaling/linear/rotate_s4",
        with_rule("linear", {"factor": 4.0}),
        about,
        x=[1, 2, 4, 8],
        positions=[0, 1, 6, 300],
    )


def ntk() -> Iterator[Case]:
    """Yield R-5.2."""
    for label, alpha, head_dim, base, comment in (
        ("alpha4_d8", 4.0, 8, 100.0, "pair 0 stays, the last pair is divided by exactly 4"),
        ("alpha1", 1.0, 8, 100.0, "alpha 1 changes nothing"),
        ("alpha1000_d128", 1000.0, 128, 1e4, "Hunyuan's: the base becomes 11158839.9"),
        ("alpha8_5_d64", 8.5, 64, 1e6, "an alpha between integers"),
        ("alpha2_d4", 2.0, 4, 1e4, "two pairs: the exponent d/(d-2) is 2"),
        ("alpha3_d6", 3.0, 6, 100.0, "three pairs"),
    ):
        about = ("R-5.2 R-4.2", "" if alpha == 1 else "M57 M58", comment)
        yield frequencies(f"scaling/ntk/{label}", with_rule("ntk", {"alpha": alpha}, head_dim, base), about)
    about = ("R-5.2", "M57 M58", "a rotation with alpha 4: pair 0 turns as without it")
    yield rotate(
        "scaling/ntk/rotate_alpha4", with_rule("ntk", {"alpha": 4.0}), about, x=[1, 2, 4, 8], positions=[0, 1, 6, 300]
    )


def dynamic_ntk() -> Iterator[Case]:
    """Yield R-5.3 and R-5.4."""
    rule: dict[str, Any] = {"factor": 2.0, "original_max_position": 16}
    for label, n, flags, comment in (
        ("n1", 1, "M56", "one token"),
        ("n8_below", 8, "M56", "below the trained length nothing changes; the formula would give the base 0"),
        ("n12_below", 12, "M56", "below the trained length nothing changes; the formula would shrink the base"),
        ("n16_at", 16, "", "at exactly the trained length nothing changes"),
        ("n17_above", 17, "M57 M58", "one token beyond"),
        ("n64_above", 64, "M57 M58", "four times the trained length: alpha is 7"),
    ):
        about = ("R-5.3 R-5.4", flags, comment)
        yield frequencies(f"scaling/dynamic_ntk/{label}", with_rule("dynamic_ntk", rule), about, seq_len=n)
    static: tuple[tuple[str, int, int | None, str], ...] = (
        ("static_at", 16, None, "static at the trained length: no scaling, as vLLM does"),
        ("static_double", 32, None, "static at factor times the trained length, as SGLang does"),
        ("static_short_input", 64, 3, "static: a short sequence does not matter"),
        ("static_long_input", 16, 1000, "static: a long sequence does not matter"),
    )
    for label, limit, length, comment in static:
        about = ("R-5.3 R-5.4", "M57 M58" if limit > 16 else "", comment)
        made = with_rule("dynamic_ntk", rule | {"policy": "static", "max_position": limit})
        yield frequencies(f"scaling/dynamic_ntk/{label}", made, about, seq_len=length)
    large = {"factor": 8.0, "original_max_position": 4096}
    for label, n in (("d128_n131072", 131072), ("d128_n4097", 4097)):
        about = ("R-5.3", "M57 M58", "a real size")
        yield frequencies(f"scaling/dynamic_ntk/{label}", with_rule("dynamic_ntk", large, 128, 1e4), about, seq_len=n)
    about = ("R-5.3", "M57 M58", "factor 1: alpha is n / L")
    yield frequencies("scaling/dynamic_ntk/s1_n40", with_rule("dynamic_ntk", rule | {"factor": 1.0}), about, seq_len=40)
    about = ("R-5.3 R-5.4", "M57 M58 M59", "a rotation of a sequence of 41")
    yield rotate(
        "scaling/dynamic_ntk/rotate_n41",
        with_rule("dynamic_ntk", rule),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 7, 40],
        seq_len=41,
    )
    about = ("R-5.3 R-5.4", "M56 M59", "a rotation of a sequence of 8")
    yield rotate(
        "scaling/dynamic_ntk/rotate_n8",
        with_rule("dynamic_ntk", rule),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 7],
        seq_len=8,
    )


def ntk_by_parts() -> Iterator[Case]:
    """Yield R-5.5."""
    given: tuple[tuple[str, dict[str, Any], int, float, str], ...] = (
        (
            "len64_d8",
            {"factor": 4.0, "original_max_position": 64},
            8,
            100.0,
            "turns 10.2, 3.2, 1.02, 0.3: only the last is fully divided",
        ),
        ("len4096_d64", {"factor": 8.0, "original_max_position": 4096}, 64, 1e4, "all three bands, default betas"),
        (
            "betas",
            {"factor": 4.0, "original_max_position": 64, "beta_fast": 4.0, "beta_slow": 0.5},
            8,
            100.0,
            "other betas: the first pair is kept",
        ),
        ("s1", {"factor": 1.0, "original_max_position": 64}, 8, 100.0, "factor 1 changes nothing"),
        ("len32768_d128", {"factor": 4.0, "original_max_position": 32768}, 128, 1e6, "a real size"),
    )
    for label, parameters, head_dim, base, comment in given:
        about = ("R-5.5 R-4.2", "" if label == "s1" else "M67", comment)
        yield frequencies(f"scaling/ntk_by_parts/{label}", with_rule("ntk_by_parts", parameters, head_dim, base), about)
    about = ("R-5.5 R-4.3", "M67", "the caller's frequencies are blended by their own turns, in any order")
    made = own([0.01, 1.0, 0.3, 0.05], scaling=scaled("ntk_by_parts", factor=4.0, original_max_position=64))
    yield frequencies("scaling/ntk_by_parts/inv_freq", made, about)
    about = ("R-5.5 R-4.3", "M67", "0 and negative frequencies make no turn: they are divided")
    made = own([1.0, -1.0, 0.0, -0.25], scaling=scaled("ntk_by_parts", factor=4.0, original_max_position=64))
    yield frequencies("scaling/ntk_by_parts/inv_freq_signs", made, about)
    about = ("R-5.5 R-9.1", "M67", "a rotation; A is 1, so position 0 is the identity")
    made = with_rule("ntk_by_parts", {"factor": 4.0, "original_max_position": 64, "beta_fast": 4.0, "beta_slow": 0.5})
    yield rotate("scaling/ntk_by_parts/rotate_len64", made, about, x=[1, 2, 4, 8], positions=[0, 1, 50, 255])


def yarn() -> Iterator[Case]:
    """Yield R-5.6: the ramp."""
    gpt_oss = {"factor": 32.0, "original_max_position": 4096}
    given: tuple[tuple[str, dict[str, Any], int, float, str, str], ...] = (
        (
            "gpt_oss_truncate_off",
            gpt_oss | {"truncate": False},
            64,
            150000.0,
            "M64 M68",
            "gpt-oss: the range is not rounded",
        ),
        (
            "gpt_oss_truncate_on",
            gpt_oss | {"truncate": True},
            64,
            150000.0,
            "M64 M68",
            "the same with the range rounded",
        ),
        ("gpt_oss_truncate_default", gpt_oss, 64, 150000.0, "M64", "rounded where nothing is said"),
        ("len64_d8", {"factor": 16.0, "original_max_position": 64}, 8, 1e4, "M66 M67", "pairs 0 and 1 are on the ramp"),
        (
            "len1024_d8",
            {"factor": 16.0, "original_max_position": 1024},
            8,
            1e4,
            "M66 M67",
            "one pair more is on the ramp",
        ),
        (
            "len64_d8_truncate_off",
            {"factor": 4.0, "original_max_position": 64, "truncate": False},
            8,
            100.0,
            "M64 M67",
            "the ramp ends between two pairs",
        ),
        (
            "len131072_d64",
            {"factor": 8.0, "original_max_position": 131072},
            64,
            1e4,
            "M65 M66",
            "so long that high exceeds d/2 - 1: the clamp is at d - 1",
        ),
        (
            "low_equals_high_first",
            {"factor": 4.0, "original_max_position": 4},
            8,
            1e4,
            "M67",
            "low = high = 0: pair 0 is kept and all others divided",
        ),
        (
            "low_equals_high_last",
            {"factor": 4.0, "original_max_position": 400, "beta_fast": 1.5},
            8,
            8.0,
            "M65 M67",
            "low = high = d - 1: no pair is divided",
        ),
        (
            "betas",
            {"factor": 4.0, "original_max_position": 64, "beta_fast": 8.0, "beta_slow": 2.0},
            8,
            100.0,
            "M67",
            "other betas",
        ),
        ("s1", {"factor": 1.0, "original_max_position": 64}, 8, 100.0, "", "factor 1 changes nothing"),
        ("s1_5", {"factor": 1.5, "original_max_position": 64}, 8, 100.0, "M67 M68", "a factor between integers"),
        (
            "deepseek_d64",
            {"factor": 40.0, "original_max_position": 4096, "mscale": 1.0, "mscale_all_dim": 1.0},
            64,
            1e4,
            "M67 M71",
            "DeepSeek's sizes",
        ),
        ("qwen_d128", {"factor": 4.0, "original_max_position": 32768}, 128, 1e6, "M66 M67 M68", "Qwen's sizes"),
        ("d6", {"factor": 4.0, "original_max_position": 64}, 6, 100.0, "M67", "three pairs"),
    )
    for label, parameters, head_dim, base, flags, comment in given:
        about = ("R-5.6 R-5.7 R-4.2", flags, comment)
        yield frequencies(f"scaling/yarn/{label}", with_rule("yarn", parameters, head_dim, base), about)
    rule = {"factor": 4.0, "original_max_position": 64}
    about = ("R-5.6 R-4.3", "M67", "the caller's frequencies; base gives the range alone")
    made = with_rule("yarn", rule, inv_freq=[1.0, 0.5, 0.125, 0.01])
    yield frequencies("scaling/yarn/inv_freq", made, about)
    about = ("R-5.6 R-3.4", "M20 M67", "partial: d of the range is rotary_dim")
    yield frequencies("scaling/yarn/d16_r8", with_rule("yarn", rule, 16, rotary_dim=8), about)
    about = ("R-5.6 R-4.1", "M20 M67", "d of series and range is frequency_dim")
    yield frequencies("scaling/yarn/d8_frequency_dim16", with_rule("yarn", rule, frequency_dim=16), about)
    long = {"factor": 32.0, "original_max_position": 4096, "truncate": False}
    about = ("R-5.6 R-5.7", "M64 M66 M68 M69", "gpt-oss, far enough out for its range to show")
    yield rotate(
        "scaling/yarn/rotate_gpt_oss",
        with_rule("yarn", long, 64, 150000.0),
        about,
        x=[1, 1, 2, 64],
        positions=[0, 1000],
    )
    for position, flags in ((0, "M2 M68"), (1, "M67 M68 M69"), (257, "M67 M68 M69")):
        about = (
            "R-5.6 R-5.7 R-9.1",
            flags,
            "A multiplies every rotated lane" + (", at position 0 too" if position == 0 else ""),
        )
        yield rotate(
            f"scaling/yarn/rotate_pos{position}", with_rule("yarn", rule), about, x=[1, 2, 1, 8], positions=[position]
        )
    about = ("R-5.7 R-2.2 R-3.4", "M23 M68 M69", "A does not touch lanes that pass through, at position 0 either")
    yield rotate(
        "scaling/yarn/rotate_partial",
        with_rule("yarn", rule, rotary_dim=4),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 40],
    )
    about = (
        "R-5.6 R-5.7 R-3.2 R-3.4",
        "M1 M64 M68",
        "interleaved lanes, two that pass through, and the stretched range in one case",
    )
    mixed = config("interleaved", 8, 100.0, scaling=scaled("yarn", **rule), rotary_dim=6)
    yield rotate("scaling/yarn/rotate_interleaved_partial", mixed, about, x=[1, 2, 3, 8], positions=[1, 40, 257])


def yarn_factors() -> Iterator[Case]:
    """Yield R-5.7: the attention factor."""
    given: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        ("plain", {"factor": 4.0}, "M68", "1 + 0.1 ln 4 = 1.1386"),
        ("s64", {"factor": 64.0}, "M68", "1 + 0.1 ln 64 = 1.4159"),
        ("explicit_one", {"factor": 64.0, "attention_factor": 1.0}, "M70", "an explicit 1 is not absent"),
        ("explicit", {"factor": 64.0, "attention_factor": 0.75}, "M68 M70", "an explicit factor below 1"),
        ("both_one", {"factor": 16.0, "mscale": 1.0, "mscale_all_dim": 1.0}, "M71", "the ratio is 1, not 1.277"),
        ("both_equal", {"factor": 40.0, "mscale": 0.707, "mscale_all_dim": 0.707}, "M71", "the ratio of equals is 1"),
        ("both_differ", {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.707}, "M71", "1.0857"),
        ("both_below_one", {"factor": 40.0, "mscale": 0.5, "mscale_all_dim": 2.0}, "M71", "a ratio below 1"),
        ("mscale_alone", {"factor": 40.0, "mscale": 0.707}, "M71", "both or neither: one alone counts as none"),
        (
            "all_dim_alone",
            {"factor": 40.0, "mscale_all_dim": 0.707},
            "M71",
            "both or neither: one alone counts as none",
        ),
        ("all_dim_zero", {"factor": 40.0, "mscale": 0.707, "mscale_all_dim": 0.0}, "M71", "0 counts as none"),
        ("mscale_zero", {"factor": 40.0, "mscale": 0.0, "mscale_all_dim": 0.707}, "M71", "0 counts as none"),
        (
            "explicit_beside_both",
            {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.707, "attention_factor": 1.5},
            "M70",
            "an explicit factor comes first",
        ),
    )
    for label, parameters, flags, comment in given:
        about = ("R-5.7", flags, comment)
        made = with_rule("yarn", {"original_max_position": 64} | parameters)
        yield frequencies(f"scaling/yarn_attention_factor/{label}", made, about)


def longrope() -> Iterator[Case]:
    """Yield R-5.8 and R-5.4."""
    lists = {"short_factor": [1.0, 1.1, 1.25, 1.5], "long_factor": [1.0, 2.0, 4.5, 8.0]}
    rule: dict[str, Any] = lists | {"original_max_position": 16, "factor": 4.0}
    for label, n, flags, comment in (
        ("n1", 1, "M74 M75 M76", "one token"),
        ("n10_below", 10, "M74 M75", "short, although the model could go further"),
        ("n16_at", 16, "M73 M74", "at exactly the trained length: short"),
        ("n17_above", 17, "M75", "one token beyond: long"),
        ("n64_above", 64, "M75 M76", "at the extended length: long"),
    ):
        about = ("R-5.8 R-5.4", flags, comment)
        yield frequencies(f"scaling/longrope/{label}", with_rule("longrope", rule), about, seq_len=n)
    static: tuple[tuple[str, int, int | None, str, str], ...] = (
        ("static_at", 16, None, "M73", "static at the trained length: short, whatever the sequence"),
        ("static_above", 17, None, "M75", "static one beyond: long"),
        ("static_short_input", 64, 3, "M75", "static: a short sequence does not matter"),
        ("static_long_input", 16, 64, "M73", "static: a long sequence does not matter"),
    )
    for label, limit, length, flags, comment in static:
        about = ("R-5.8 R-5.4", flags, comment)
        made = with_rule("longrope", rule | {"policy": "static", "max_position": limit})
        yield frequencies(f"scaling/longrope/{label}", made, about, seq_len=length)
    given: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        (
            "factor32_len4096",
            {"factor": 32.0, "original_max_position": 4096},
            "M68 M76",
            "sqrt(1 + ln 32 / ln 4096) = 1.190",
        ),
        ("factor1", {"factor": 1.0}, "", "factor 1: A is 1"),
        ("explicit", {"factor": 4.0, "attention_factor": 1.25}, "M70 M76", "an explicit factor comes first"),
        ("explicit_one", {"factor": 4.0, "attention_factor": 1.0}, "M70 M76", "an explicit 1 is not absent"),
    )
    for label, parameters, flags, comment in given:
        about = ("R-5.8", flags, comment)
        yield frequencies(
            f"scaling/longrope_attention_factor/{label}", with_rule("longrope", rule | parameters), about, seq_len=10
        )
    about = ("R-5.8", "M68 M70", "an explicit factor alone suffices")
    alone = lists | {"original_max_position": 16, "attention_factor": 1.125}
    yield frequencies(
        "scaling/longrope_attention_factor/without_factor", with_rule("longrope", alone), about, seq_len=10
    )
    about = ("R-5.8 R-4.3", "M75", "the caller's frequencies are divided")
    made = own([1.0, 0.5, 0.2, 0.01], scaling=scaled("longrope", **rule))
    yield frequencies("scaling/longrope/inv_freq", made, about, seq_len=17)
    about = ("R-5.8 R-9.1", "M68 M73 M74 M76", "a rotation of exactly the trained length")
    yield rotate(
        "scaling/longrope/rotate_n16",
        with_rule("longrope", rule),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 15],
        seq_len=16,
    )
    about = ("R-5.8 R-9.1", "M68 M69 M75 M76", "a rotation of one token more: every position changes")
    yield rotate(
        "scaling/longrope/rotate_n17",
        with_rule("longrope", rule),
        about,
        x=[1, 2, 3, 8],
        positions=[0, 1, 16],
        seq_len=17,
    )


def llama3() -> Iterator[Case]:
    """Yield R-5.9."""

    def rule(factor: float, low: float, high: float, length: int) -> dict[str, Any]:
        return {"factor": factor, "low_freq_factor": low, "high_freq_factor": high, "original_max_position": length}

    bands = "M60 M61 M62 M63"
    given: tuple[tuple[str, dict[str, Any], int, float, str, str], ...] = (
        (
            "llama_3_1_d128",
            rule(8.0, 1.0, 4.0, 8192),
            128,
            5e5,
            bands,
            "Llama 3.1: pairs 29 to 34 are in the middle band",
        ),
        ("llama_3_2_d64", rule(32.0, 1.0, 4.0, 8192), 64, 5e5, bands, "Llama 3.2: factor 32"),
        ("len64_d8", rule(8.0, 1.0, 4.0, 64), 8, 100.0, bands, "one pair kept, two in the middle, one divided"),
        ("all_kept", rule(8.0, 1.0, 4.0, 100000), 8, 100.0, "", "every wavelength is short"),
        ("all_divided", rule(8.0, 1.0, 4.0, 6), 8, 100.0, "M60", "every wavelength is long"),
        ("all_middle", rule(8.0, 0.01, 20.0, 64), 8, 100.0, bands, "every wavelength is between"),
        (
            "low_equals_high",
            rule(8.0, 1.0, 1.0, 8192),
            128,
            5e5,
            "M60",
            "Llama 4 Scout: no middle band, nothing divided by zero",
        ),
        ("s1", rule(1.0, 1.0, 4.0, 64), 8, 100.0, "", "factor 1 changes nothing"),
        ("other_factors", rule(4.0, 2.0, 8.0, 256), 8, 100.0, bands, "other ends of the middle band"),
    )
    for label, parameters, head_dim, base, flags, comment in given:
        about = ("R-5.9 R-4.2", flags, comment)
        yield frequencies(f"scaling/llama3/{label}", with_rule("llama3", parameters, head_dim, base), about)
    edges = [0.39269908, 0.39269909, 0.09817477, 0.09817478]  # wavelengths beside 16 and 64
    about = ("R-5.9 R-4.3", "M61 M62 M63", "the caller's frequencies on both sides of both edges")
    yield frequencies(
        "scaling/llama3/inv_freq_edges", own(edges, scaling=scaled("llama3", **rule(8.0, 1.0, 4.0, 64))), about
    )
    about = ("R-5.9 R-4.3", "M63", "0 and negative frequencies make no turn: they are divided")
    signs = own([1.0, -1.0, 0.0, -0.25], scaling=scaled("llama3", **rule(8.0, 1.0, 4.0, 64)))
    yield frequencies("scaling/llama3/inv_freq_signs", signs, about)
    about = ("R-5.9 R-4.3", "M60", "no middle band: a step at the wavelength 64")
    yield frequencies(
        "scaling/llama3/inv_freq_step", own(edges, scaling=scaled("llama3", **rule(8.0, 1.0, 1.0, 64))), about
    )
    about = ("R-5.9", bands, "a rotation far enough out for the middle band to show")
    yield rotate(
        "scaling/llama3/rotate_d128",
        with_rule("llama3", rule(8.0, 1.0, 4.0, 8192), 128, 5e5),
        about,
        x=[1, 1, 2, 128],
        positions=[100, 8192],
    )
    about = ("R-5.9", bands, "a rotation in which every band shows within a short prompt")
    yield rotate(
        "scaling/llama3/rotate_len64",
        with_rule("llama3", rule(8.0, 1.0, 4.0, 64)),
        about,
        x=[1, 2, 4, 8],
        positions=[0, 1, 30, 100],
    )


def proportional() -> Iterator[Case]:
    """Yield R-5.10."""
    for label, part, head_dim, base, more, comment in (
        ("half", 0.5, 8, 100.0, {}, "2 of 4 pairs; the exponent's denominator stays 8"),
        ("quarter", 0.25, 8, 100.0, {}, "1 of 4 pairs"),
        ("third", 0.334, 64, 1e4, {}, "10 of 32 pairs: rounded down"),
        ("all", 1.0, 8, 100.0, {}, "all pairs"),
        ("none", 0.125, 8, 100.0, {}, "less than one pair: nothing turns"),
        (
            "rounded_product",
            0.3,
            20,
            100.0,
            {},
            "0.3 * 20 is 6 in binary64: 3 pairs, though the parameter is below 0.3",
        ),
        ("factor8", 0.25, 16, 1e6, {"factor": 8.0}, "2 of 8 pairs, divided by 8"),
        ("gemma_d256", 0.25, 256, 1e6, {}, "Gemma 4's sizes, at half the head"),
    ):
        about = ("R-5.10 R-4.2", "", comment)
        made = with_rule("proportional", {"partial_rotary_factor": part, **more}, head_dim, base)
        yield frequencies(f"scaling/proportional/{label}", made, about)
    for label, part in (("half", 0.5), ("quarter", 0.25)):
        about = (
            "R-5.10 R-2.2",
            "M19 M21 M22",
            "lanes are paired over the whole head: the same frequencies as a series, other lanes than a partial rotation",
        )
        made = with_rule("proportional", {"partial_rotary_factor": part})
        yield rotate(f"scaling/proportional/rotate_{label}", made, about, x=[1, 2, 3, 8], positions=[0, 1, 13])
    about = ("R-5.10 R-3.2", "M3 M22", "the same, interleaved: the first lanes turn")
    made = made | {"pairing": "interleaved"}
    yield rotate("scaling/proportional/rotate_interleaved", made, about, x=[1, 2, 3, 8], positions=[0, 1, 13])
    about = ("R-5.10 R-3.4", "M20 M21 M22", "within rotary_dim 8 of 12 lanes")
    made = with_rule("proportional", {"partial_rotary_factor": 0.5}, 12, rotary_dim=8)
    yield rotate("scaling/proportional/rotate_within", made, about, x=[1, 2, 3, 12], positions=[0, 1, 13])
    about = (
        "R-5.10 R-5.13 R-2.5",
        "M22 M68",
        "with A not 1 the pairs that stand still are multiplied: they are rows too",
    )
    made = with_rule("proportional", {"partial_rotary_factor": 0.5}, attention_factor=1.25)
    yield rotate("scaling/proportional/rotate_stretched", made, about, x=[1, 2, 3, 8], positions=[0, 1, 13])


def xpos() -> Iterator[Case]:
    """Yield R-5.11."""
    given: tuple[tuple[str, dict[str, Any], int, str], ...] = (
        ("defaults", {}, 8, "scale_base 512, gamma 0.4"),
        ("scale_base16", {"scale_base": 16.0}, 8, "a smaller base: stronger"),
        ("gamma1", {"gamma": 1.0, "scale_base": 64.0}, 8, "another gamma"),
        ("defaults_d64", {}, 64, "32 pairs"),
        ("centre", {"centre": 100.0}, 6, "a centre: part of the plan"),
    )
    for label, parameters, head_dim, comment in given:
        yield frequencies(
            f"scaling/xpos/{label}", with_rule("xpos", parameters, head_dim), ("R-5.11 R-2.4", "", comment)
        )
    for role, sign in (("q", "shrink"), ("k", "grow")):
        about = ("R-5.11 R-2.4", "M1", f"role {role}: vectors {sign} with the position")
        yield rotate(
            f"scaling/xpos/rotate_{role}",
            with_rule("xpos", {"scale_base": 16.0}),
            about,
            x=[1, 2, 4, 8],
            positions=[0, 1, 40, 300],
            role=role,
        )
    about = ("R-5.11 R-2.4", "M1 M32", "before the centre and after it")
    made = with_rule("xpos", {"scale_base": 16.0, "centre": 20.0})
    yield rotate("scaling/xpos/rotate_centre_k", made, about, x=[1, 2, 4, 8], positions=[-30, 0, 20, 75], role="k")
    for label, centre, positions, role, comment in FAR:
        about = ("R-5.11 R-2.4 R-10.5 R-10.6", "M39", comment)
        made = with_rule("xpos", {"scale_base": 256.0, "centre": centre})
        yield rotate(f"scaling/xpos/rotate_{label}_{role}", made, about, x=[1, 2, 4, 8], positions=positions, role=role)
    about = ("R-5.11 R-2.2 R-3.4", "M19", "lanes that pass through have no magnitude")
    made = with_rule("xpos", {"scale_base": 16.0}, rotary_dim=4)
    yield rotate("scaling/xpos/rotate_partial", made, about, x=[1, 2, 3, 8], positions=[0, 3, 90])


def damped() -> Iterator[Case]:
    """Yield R-5.12."""
    for label, parameters, comment in (
        ("rate_001", {"rate": 0.01}, "one rate for all pairs"),
        ("centre", {"rate": 0.5, "centre": 16.0}, "with a centre"),
    ):
        yield frequencies(f"scaling/damped/{label}", with_rule("damped", parameters), ("R-5.12 R-2.4", "", comment))
    for role in ("q", "k"):
        about = ("R-5.12 R-2.4", "M1", f"role {role}: the magnitude's sign")
        yield rotate(
            f"scaling/damped/rotate_{role}",
            with_rule("damped", {"rate": 0.01}),
            about,
            x=[1, 2, 4, 8],
            positions=[0, 1, 40, 300],
            role=role,
        )
    for label, centre, positions, role, comment in FAR:
        about = ("R-5.12 R-2.4 R-10.5 R-10.6", "M39", comment)
        made = with_rule("damped", {"rate": 0.0078125, "centre": centre})
        yield rotate(
            f"scaling/damped/rotate_{label}_{role}", made, about, x=[1, 2, 4, 8], positions=positions, role=role
        )
        about = ("R-5.12 R-2.4 R-10.5 R-8.1", "M39", f"tables: {comment}")
        yield tables(f"scaling/damped/tables_{label}_{role}", made, about, positions, role=role)
    about = ("R-5.12 R-2.4 R-2.5", "", "a pair that stands still, but fades: the magnitude keeps its row")
    made = own([1.0, 0.0, 0.25, 0.0], scaling=scaled("damped", rate=0.125, centre=4.0))
    yield rotate("scaling/damped/rotate_still", made, about, x=[1, 2, 3, 8], positions=[0, 4, 20])
    about = ("R-2.4", "", "near the largest exponent that is allowed, 100 ln 2 = 69.31")
    yield rotate(
        "scaling/damped/rotate_strong", with_rule("damped", {"rate": 1.0}), about, x=[1, 2, 2, 8], positions=[69, -69]
    )
