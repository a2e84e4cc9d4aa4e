"""Distances of frequencies (R-4.4): vectors in the place of those that R-4.2 gave a wrong bound,
and sizes they did not have.
"""

from collections.abc import Iterator

from ..cases import Case, frequencies
from ..withdrawn import WITHDRAWN, anew
from . import attention_factor, axes, documents, scaling
from .common import config, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for topic in (documents, scaling, attention_factor, axes):
        yield from (again(case) for case in topic.cases() if case["id"] in WITHDRAWN)
    yield from sizes()


def again(case: Case) -> Case:
    """Return a withdrawn case with the bound of R-4.4."""
    rules = " ".join(rule for rule in case["rules"] if rule not in ("R-4.2", "R-4.4"))
    about = (f"{rules} R-4.4".strip(), " ".join(case["flags"]), case["comment"])
    return frequencies(anew(case["id"]), case["config"], about, case["seq_len"])


def sizes() -> Iterator[Case]:
    """Yield exponents above 1, bands that are narrow, and numbers below binary64's normal ones."""
    for label, made, comment in (
        ("d20_r128", config(head_dim=128, base=1e4, frequency_dim=20), "2j/d is up to 6.3"),
        ("d3_r8", config(base=5e5, frequency_dim=3), "an odd denominator, below R"),
        ("d3_r128_base5e7", config(head_dim=128, base=5e7, frequency_dim=3), "the last frequencies are subnormal or 0"),
    ):
        yield frequencies(f"frequencies/dim_below_r/{label}", made, ("R-4.1 R-4.4", "M7 M19 M21", comment))
    narrow = scaled("llama3", factor=64.0, low_freq_factor=3.0, high_freq_factor=3.5, original_max_position=10000)
    about = ("R-5.9 R-4.4", "", "a narrow band enlarges the error of f: low / (high - low) is 6, and L no power of two")
    yield frequencies("frequencies/narrow/llama3", config(head_dim=128, base=1e4, scaling=narrow), about)
    narrow = scaled("ntk_by_parts", factor=64.0, original_max_position=10000, beta_fast=3.5, beta_slow=3.0)
    about = ("R-5.5 R-4.4", "", "the same of turns")
    yield frequencies("frequencies/narrow/ntk_by_parts", config(head_dim=128, base=1e4, scaling=narrow), about)
