"""Vectors that were wrong: they stay in their files with the reason, and the suite does not run
them.
"""

ENLARGED = "its bound is that of R-4.2, which counted ln(b) where R-4.4 counts the base that acts; see {}"
EXPONENT = "its bound is that of R-4.2, which had 2j/R where R-4.4 has 2j/d; see {}"
LENGTH = "its bound is that of R-4.2, without the rounding of L f that R-4.4 counts; see {}"
RANGE = "its bound is that of R-4.2, without the errors of a range that is not truncated, which R-4.4 counts; see {}"

OF_R_4_2: dict[str, tuple[str, ...]] = {  # cases of kind frequencies; topics/frequencies.py has each anew
    ENLARGED: (
        "documents/scaling/ntk",
        "scaling/ntk/alpha4_d8",
        "scaling/ntk/alpha1",
        "scaling/ntk/alpha1000_d128",
        "scaling/ntk/alpha8_5_d64",
        "scaling/ntk/alpha2_d4",
        "scaling/ntk/alpha3_d6",
        "scaling/dynamic_ntk/n17_above",
        "scaling/dynamic_ntk/n64_above",
        "scaling/dynamic_ntk/static_double",
        "scaling/dynamic_ntk/static_short_input",
        "scaling/dynamic_ntk/d128_n131072",
        "scaling/dynamic_ntk/d128_n4097",
        "scaling/dynamic_ntk/s1_n40",
        "attention_factor/rules/ntk",
        "axes/scaled/ntk_per_axis",
    ),
    EXPONENT: (
        "scaling/none/d8_frequency_dim16",
        "scaling/none/d12_r6_frequency_dim12",
        "scaling/yarn/d8_frequency_dim16",
    ),
    LENGTH: ("scaling/llama3/all_kept", "scaling/llama3/all_divided"),
    RANGE: ("scaling/yarn/gpt_oss_truncate_off", "scaling/yarn/len64_d8_truncate_off"),
}


def anew(case_id: str) -> str:
    """Return the id of the case that has a withdrawn one's place."""
    return f"frequencies/{case_id}"


WITHDRAWN: dict[str, str] = {
    case_id: reason.format(anew(case_id)) for reason, ids in OF_R_4_2.items() for case_id in ids
}
