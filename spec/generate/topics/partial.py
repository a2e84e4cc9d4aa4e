"""Partial rotation (R-3.4): the exponent's denominator is rotary_dim, and the other lanes pass
through.
"""

from collections.abc import Iterator

from ..cases import Case, plan_of_config, rotate, tables
from .common import PAIRINGS, RULE_OF, config, scaled

FLAGS = "M18 M19 M20 M21"


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        for label, head_dim, rotary_dim, flags, comment in (
            ("d8_r4", 8, 4, FLAGS + " M22", "half of the head"),
            ("d8_r2", 8, 2, "M18 M19", "one pair: no exponent shows"),
            ("d8_r6", 8, 6, FLAGS + " M25", "three quarters: not a power of two"),
            ("d10_r6", 10, 6, FLAGS + " M25", "neither size is a power of two"),
            ("d16_r4", 16, 4, FLAGS + " M22", "a quarter, as GPT-NeoX and GLM have it"),
            ("d9_r6", 9, 6, "M25", "an odd head with an even rotary_dim"),
        ):
            for position in (1, 5, 257) if label == "d8_r4" else (1, 5):
                made = config(pairing, head_dim, rotary_dim=rotary_dim)
                about = (f"R-3.4 {RULE_OF[pairing]} R-2.2", flags, comment)
                case_id = f"partial/{pairing}/{label}_pos{position}"
                yield rotate(case_id, made, about, x=[1, 2, 1, head_dim], positions=[position])
        for label, head_dim, rotary_dim, base, position in (
            ("d128_r32", 128, 32, 1e4, 700),
            ("d64_r16", 64, 16, 1e6, 3000),
            ("d128_r96", 128, 96, 1e4, 50),
        ):
            about = (f"R-3.4 {RULE_OF[pairing]}", FLAGS + (" M25" if rotary_dim == 96 else ""), "a real size")
            made = config(pairing, head_dim, base, rotary_dim=rotary_dim)
            yield rotate(f"partial/{pairing}/{label}", made, about, x=[1, 1, 1, head_dim], positions=[position])
        about = (f"R-3.4 {RULE_OF[pairing]} R-2.2", "M19 M27", "rows with positions of their own")
        made = config(pairing, rotary_dim=4)
        yield rotate(f"partial/{pairing}/rows", made, about, x=[2, 1, 3, 8], positions=[[0, 1, 2], [9, 8, 30]])
        about = (
            f"R-4.1 {RULE_OF[pairing]}",
            "M7 M19 M21",
            "frequency_dim 8 for 4 of 8 lanes: the first pairs of the whole head's series",
        )
        made = config(pairing, rotary_dim=4, frequency_dim=8)
        yield rotate(f"partial/{pairing}/frequency_dim", made, about, x=[1, 2, 3, 8], positions=[0, 1, 13])
    about = ("R-3.4 R-2.5", FLAGS, "the plan of a partial rotation")
    yield plan_of_config("partial/plans/d8_r4", config(rotary_dim=4), about)
    about = (
        "R-5.10 R-2.5",
        "M20 M21 M22",
        "a proportional rotation with the same factor: other lanes, other frequencies",
    )
    made = config(scaling=scaled("proportional", partial_rotary_factor=0.5))
    yield plan_of_config("partial/plans/proportional", made, about)
    about = ("R-3.4 R-8.1", "M19 M20 M25", "tables have one column a pair that turns")
    yield tables("partial/plans/tables", config(rotary_dim=6), about, [0, 1, 5, 40])
