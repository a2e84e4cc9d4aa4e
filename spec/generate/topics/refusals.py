"""What must be refused (chapter 12, and the ranges of each rule)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, reject_config, reject_plan, reject_rotate
from ..numbers import array
from .common import config, name, own, scaled

INF, NAN = float("inf"), float("nan")
LLAMA3: dict[str, Any] = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 64}
YARN: dict[str, Any] = {"factor": 4.0, "original_max_position": 64}
DYNAMIC: dict[str, Any] = {"factor": 2.0, "original_max_position": 16}
LONGROPE: dict[str, Any] = {
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "original_max_position": 16,
    "factor": 4.0,
}
VIDEO: dict[str, Any] = {"axes": ["t", "h", "w"], "sections": [2, 1, 1]}
ROWS: dict[str, Any] = {
    "schema": "ropecore-plan/1",
    "head_dim": 8,
    "axes": ["position"],
    "axis_kinds": ["integer"],
    "attention_factor": 1.0,
    "lanes": [[0, 4], [1, 5]],
    "out_lanes": [[0, 4], [1, 5]],
    "frequencies": [[1.0], [0.1]],
    "log_magnitude": None,
    "centre": 0.0,
}


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from of_configs("sizes", sizes())
    yield from of_configs("parameters", parameters())
    yield from of_configs("rules", rules())
    yield from of_configs("names", names())
    yield from of_configs("lists", lists())
    yield from lengths()
    yield from plans()
    yield from tensors()
    yield from positions()
    yield from coordinates()
    yield from of_configs("per_axis", per_axis())


Given = Iterator[tuple[str, str, dict[str, Any], str, str]]  # name, rules, configuration, argument, comment


def of_configs(group: str, given: Given) -> Iterator[Case]:
    """Yield one case a configuration."""
    for label, rule, made, argument, comment in given:
        flags = "M24" if "odd" in label else ""
        yield reject_config(f"refusals/{group}/{label}", made, (rule, flags, comment), argument, seq_len=40)


def sizes() -> Given:
    """Yield R-12.1."""
    yield "odd_rotary_dim", "R-12.1", config(head_dim=10, rotary_dim=5), "rotary_dim", "half of 10 lanes is odd"
    yield "odd_rotary_dim_interleaved", "R-12.1", config("interleaved", rotary_dim=3), "rotary_dim", "3 lanes"
    yield "odd_head_dim", "R-12.1", config(head_dim=7), "head_dim", "all 7 lanes cannot pair"
    yield "rotary_dim_0", "R-12.1", config(rotary_dim=0), "rotary_dim", "no pair"
    yield "rotary_dim_negative", "R-12.1", config(rotary_dim=-2), "rotary_dim", "a negative size"
    yield "rotary_dim_above_head", "R-12.1", config(rotary_dim=10), "rotary_dim", "more lanes than the head has"
    yield (
        "rotary_dim_above_room",
        "R-12.1",
        config(rotary_dim=6, lane_offset=4),
        "rotary_dim",
        "more lanes than follow the offset",
    )
    yield (
        "lane_offset_negative",
        "R-12.1 R-12.2",
        config(rotary_dim=4, lane_offset=-2),
        "lane_offset",
        "lanes before the first",
    )
    yield "pairing_missing", "R-3.1 R-3.2", {"head_dim": 8, "base": 100.0}, "pairing", "pairing has no default"


def parameters() -> Given:
    """Yield R-12.3 outside the scaling rules."""
    for label, base in (("nan", NAN), ("infinite", INF), ("zero", 0.0), ("negative", -10000.0)):
        yield f"base_{label}", "R-12.3", config(base=base), "base", "a base must be a finite number above 0"
    for label, a in (("nan", NAN), ("infinite", INF), ("zero", 0.0), ("negative", -1.0)):
        yield (
            f"attention_factor_{label}",
            "R-12.3 R-2.6",
            config(attention_factor=a),
            "attention_factor",
            "A must be finite and above 0",
        )
    for label, f in (("nan", NAN), ("infinite", INF), ("above_2_30", 1073741825.0)):
        yield (
            f"inv_freq_{label}",
            "R-12.3 R-2.6",
            own([1.0, f, 0.1, 0.01]),
            "inv_freq",
            "F must be finite, and at most 2^30",
        )
    yield "base_missing", "R-4.1", {"head_dim": 8, "pairing": "half_split"}, "base", "base has no default"
    yield "direction_0", "R-12.3 R-3.6", config(direction=0), "direction", "neither way"
    yield "frequency_dim_0", "R-12.3", config(frequency_dim=0), "frequency_dim", "a denominator of 0"


def rules() -> Given:
    """Yield the ranges of each scaling rule (R-12.3, chapter 5)."""

    def made(rule: str, **parameters: Any) -> dict[str, Any]:
        return config(scaling=scaled(rule, **parameters))

    below = "a factor below 1"
    yield "linear_factor_below_1", "R-12.3 R-5.1", made("linear", factor=0.5), "factor", below
    yield "linear_factor_nan", "R-12.3 R-5.1", made("linear", factor=NAN), "factor", "not a number"
    yield "linear_factor_infinite", "R-12.3 R-5.1", made("linear", factor=INF), "factor", "not finite"
    yield "linear_factor_negative", "R-12.3 R-5.1", made("linear", factor=-2.0), "factor", below
    yield "ntk_alpha_below_1", "R-12.3 R-5.2", made("ntk", alpha=0.5), "alpha", "alpha below 1"
    yield (
        "dynamic_ntk_factor_below_1",
        "R-12.3 R-5.3",
        made("dynamic_ntk", **DYNAMIC | {"factor": 0.5}),
        "factor",
        below,
    )
    yield (
        "dynamic_ntk_length_0",
        "R-12.3 R-5.3",
        made("dynamic_ntk", **DYNAMIC | {"original_max_position": 0}),
        "original_max_position",
        "no trained length",
    )
    yield "ntk_by_parts_factor_below_1", "R-12.3 R-5.5", made("ntk_by_parts", **YARN | {"factor": 0.5}), "factor", below
    yield (
        "ntk_by_parts_betas",
        "R-12.3 R-5.5",
        made("ntk_by_parts", **YARN, beta_fast=1.0, beta_slow=1.0),
        "beta_fast",
        "beta_fast must be above beta_slow",
    )
    yield "yarn_factor_below_1", "R-12.3 R-5.6", made("yarn", **YARN | {"factor": 0.99}), "factor", below
    yield (
        "yarn_betas_exchanged",
        "R-12.3 R-5.6",
        made("yarn", **YARN, beta_fast=1.0, beta_slow=32.0),
        "beta_fast",
        "beta_fast must be above beta_slow",
    )
    yield "yarn_beta_slow_0", "R-12.3 R-5.6", made("yarn", **YARN, beta_slow=0.0), "beta_slow", "turns must be above 0"
    yield (
        "yarn_length_negative",
        "R-12.3 R-5.6",
        made("yarn", **YARN | {"original_max_position": -64}),
        "original_max_position",
        "no trained length",
    )
    yield (
        "yarn_empty_range",
        "R-12.3 R-5.6",
        made("yarn", **YARN | {"original_max_position": 1}),
        "original_max_position",
        "low is above high after the clamps",
    )
    yield (
        "yarn_base_1",
        "R-12.3 R-5.6",
        config(base=1.0, scaling=scaled("yarn", **YARN)),
        "base",
        "ln b must be above 0",
    )
    yield (
        "yarn_attention_factor_0",
        "R-12.3 R-5.7 R-2.6",
        made("yarn", **YARN, attention_factor=0.0),
        "attention_factor",
        "0 is given, not absent",
    )
    yield (
        "longrope_divisor_0",
        "R-12.3 R-5.8",
        made("longrope", **LONGROPE | {"long_factor": [1.0, 0.0, 1.0, 1.0]}),
        "long_factor",
        "a divisor must be above 0",
    )
    yield (
        "longrope_divisor_negative",
        "R-12.3 R-5.8",
        made("longrope", **LONGROPE | {"short_factor": [1.0, -1.0, 1.0, 1.0]}),
        "short_factor",
        "a divisor must be above 0",
    )
    without = {key: value for key, value in LONGROPE.items() if key != "factor"}
    yield (
        "longrope_no_factor",
        "R-5.8",
        made("longrope", **without),
        "factor",
        "factor or attention_factor must be given",
    )
    yield "llama3_factor_below_1", "R-12.3 R-5.9", made("llama3", **LLAMA3 | {"factor": 0.5}), "factor", below
    yield (
        "llama3_factors_exchanged",
        "R-12.3 R-5.9",
        made("llama3", **LLAMA3 | {"low_freq_factor": 4.0, "high_freq_factor": 1.0}),
        "high_freq_factor",
        "high must not be below low",
    )
    yield (
        "llama3_low_0",
        "R-12.3 R-5.9",
        made("llama3", **LLAMA3 | {"low_freq_factor": 0.0}),
        "low_freq_factor",
        "low must be above 0",
    )
    for label, part in (("0", 0.0), ("above_1", 1.5), ("negative", -0.5), ("nan", NAN)):
        yield (
            f"proportional_{label}",
            "R-12.3 R-5.10",
            made("proportional", partial_rotary_factor=part),
            "partial_rotary_factor",
            "a part must be above 0 and at most 1",
        )
    yield (
        "proportional_factor_below_1",
        "R-12.3 R-5.10",
        made("proportional", partial_rotary_factor=0.5, factor=0.5),
        "factor",
        below,
    )
    for label, rate in (("0", 0.0), ("negative", -0.1), ("infinite", INF)):
        yield (
            f"damped_rate_{label}",
            "R-12.3 R-5.12",
            made("damped", rate=rate),
            "rate",
            "a rate must be finite and above 0",
        )
    one = made("longrope", **LONGROPE | {"original_max_position": 1})
    yield "longrope_length_1", "R-12.3 R-5.8", one, "original_max_position", "ln L must be above 0"
    half = made("dynamic_ntk", **DYNAMIC | {"original_max_position": 16.5})
    yield "dynamic_ntk_length_fraction", "R-12.3 R-5.3", half, "original_max_position", "a length is an integer"
    yield "xpos_scale_base_0", "R-12.3 R-5.11", made("xpos", scale_base=0.0), "scale_base", "a divisor of 0"
    yield "xpos_gamma_0", "R-12.3 R-5.11", made("xpos", gamma=0.0), "gamma", "the first pair's logarithm is not finite"
    yield "xpos_gamma_negative", "R-12.3 R-5.11", made("xpos", gamma=-0.5), "gamma", "gamma must be above 0"
    yield (
        "ntk_d2",
        "R-12.3 R-5.2",
        config(head_dim=2, scaling=scaled("ntk", alpha=2.0)),
        "ntk",
        "d/(d - 2) needs d above 2",
    )
    yield (
        "dynamic_ntk_d2",
        "R-12.3 R-5.3",
        config(rotary_dim=2, scaling=scaled("dynamic_ntk", **DYNAMIC)),
        "dynamic_ntk",
        "d/(d - 2) needs d above 2",
    )
    for rule, parameters in (
        ("ntk", {"alpha": 2.0}),
        ("dynamic_ntk", DYNAMIC),
        ("proportional", {"partial_rotary_factor": 0.5}),
    ):
        given = own([1.0, 0.5, 0.1, 0.01], base=100.0, scaling=scaled(rule, **parameters))
        yield (
            f"{rule}_with_inv_freq",
            "R-4.3",
            given,
            "inv_freq",
            "a rule that changes the base cannot act on frequencies that are given",
        )
    matrix = own([[1.0, 0.5], [0.25, 0.125]], axes=["h", "w"], scaling=scaled("linear", factor=2.0))
    yield "linear_with_matrix", "R-4.3 R-6.7", matrix, "scaling", "a matrix is F itself"
    both = config(attention_factor=1.5, scaling=scaled("yarn", **YARN, attention_factor=1.25))
    yield "attention_factor_twice", "R-5.13", both, "attention_factor", "the rule's and the configuration's own"


def names() -> Given:
    """Yield R-12.6."""
    yield "config_key", "R-12.6", config(rope_theta=10000.0), "rope_theta", "a key of another program"
    yield "config_key_misspelt", "R-12.6", config(rotary_dims=4), "rotary_dims", "a misspelt key is not ignored"
    yield (
        "scaling_key",
        "R-12.6",
        config(scaling=scaled("linear", factor=2.0, type="linear")),
        "type",
        "a key that the rule does not have",
    )
    yield (
        "scaling_key_of_another_rule",
        "R-12.6",
        config(scaling=scaled("linear", factor=2.0, truncate=False)),
        "truncate",
        "a key of another rule",
    )
    yield "rule", "R-12.6", config(scaling=scaled("su", factor=2.0)), "su", "a rule under another name"
    yield "pairing", "R-12.6", config("neox"), "pairing", "a synonym is not a name"
    yield "out_pairing", "R-12.6", config(out_pairing="gptj"), "out_pairing", "a synonym is not a name"
    yield "axis_order", "R-12.6", config(**VIDEO, axis_order="cyclic"), "axis_order", "an unknown order"
    yield "axis_frequencies", "R-12.6", config(**VIDEO, axis_frequencies="each"), "axis_frequencies", "an unknown way"
    yield (
        "axis_kinds",
        "R-12.6 R-6.9",
        config(**VIDEO, axis_kinds=["integer", "float", "float"]),
        "axis_kinds",
        "an axis is integer or real",
    )
    yield (
        "policy",
        "R-12.6 R-5.4",
        config(scaling=scaled("dynamic_ntk", **DYNAMIC, policy="grow")),
        "policy",
        "an unknown policy",
    )


def lists() -> Given:
    """Yield R-12.7."""
    yield "sections_sum", "R-12.7", config(axes=["t", "h", "w"], sections=[2, 1, 2]), "sections", "5 pairs of 4"
    yield (
        "sections_in_lanes",
        "R-12.7",
        config(axes=["t", "h", "w"], sections=[4, 2, 2]),
        "sections",
        "lanes where pairs are meant",
    )
    yield "sections_and_axes", "R-12.7", config(axes=["t", "h", "w"], sections=[2, 2]), "sections", "2 sections, 3 axes"
    yield "axes_missing", "R-12.7", config(sections=[2, 2]), "axes", "sections of axes without names"
    blocks = config(**VIDEO, axis_blocks=True, axis_order="alternating")
    yield "blocks_alternating", "R-3.5", blocks, "axis_order", "blocks of lanes in an order that is not chunked"
    each = config(**VIDEO, axis_frequencies="per_axis", frequency_dim=8)
    yield "per_axis_frequency_dim", "R-6.6", each, "frequency_dim", "each axis has a denominator of its own"
    each = config(**VIDEO, axis_frequencies="per_axis", inv_freq=[1.0, 0.1, 1.0, 1.0])
    yield "per_axis_inv_freq", "R-6.6", each, "inv_freq", "each axis has a series of its own"
    yield "sections_missing", "R-12.7", config(axes=["h", "w"]), "sections", "several axes without sections"
    yield (
        "sections_negative",
        "R-12.7",
        config(axes=["t", "h", "w"], sections=[5, -2, 1]),
        "sections",
        "a negative count",
    )
    yield (
        "short_factor",
        "R-12.7 R-5.8",
        config(scaling=scaled("longrope", **LONGROPE | {"short_factor": [1.0] * 3})),
        "short_factor",
        "3 divisors for 4 pairs",
    )
    yield (
        "long_factor",
        "R-12.7 R-5.8",
        config(scaling=scaled("longrope", **LONGROPE | {"long_factor": [1.0] * 8})),
        "long_factor",
        "one a lane in place of one a pair",
    )
    yield "inv_freq", "R-12.7", config(inv_freq=[1.0, 0.1, 0.01]), "inv_freq", "3 frequencies for 4 pairs"
    yield (
        "inv_freq_of_lanes",
        "R-12.7",
        config(inv_freq=[1.0, 0.1, 0.01, 0.001] * 2),
        "inv_freq",
        "one a lane in place of one a pair",
    )
    yield "inv_freq_ragged", "R-12.7", own([[1.0, 0.5], [0.25]], axes=["h", "w"]), "inv_freq", "rows of unequal length"
    yield (
        "inv_freq_columns",
        "R-12.7 R-6.7",
        own([[1.0, 0.5], [0.25, 0.1]], axes=["t", "h", "w"]),
        "axes",
        "2 columns, 3 axes",
    )
    yield (
        "axis_order_length",
        "R-12.7 R-6.4",
        config(**VIDEO, axis_order=[0, 1, 2]),
        "axis_order",
        "3 indices for 4 pairs",
    )
    yield (
        "axis_order_counts",
        "R-6.4",
        config(**VIDEO, axis_order=[0, 1, 1, 2]),
        "axis_order",
        "the counts are not those of sections",
    )
    yield (
        "axis_order_index",
        "R-6.4",
        config(**VIDEO, axis_order=[0, 0, 1, 3]),
        "axis_order",
        "an axis that is not there",
    )
    yield (
        "axis_order_interleaved",
        "R-6.2",
        config(axes=["t", "h", "w"], sections=[1, 2, 1], axis_order="interleaved"),
        "axis_order",
        "the rule would give 2, 1, 1",
    )
    yield "axis_kinds", "R-12.7 R-6.9", config(**VIDEO, axis_kinds=["integer", "real"]), "axis_kinds", "2 kinds, 3 axes"


def lengths() -> Iterator[Case]:
    """Yield length-dependent rules without a length (R-5.4)."""
    for rule, parameters in (("dynamic_ntk", DYNAMIC), ("longrope", LONGROPE)):
        about = ("R-5.4", "", "per_call, and no length is asked for")
        yield reject_config(
            f"refusals/lengths/{rule}_per_call", config(scaling=scaled(rule, **parameters)), about, "seq_len"
        )
        about = ("R-5.4", "", "static, and no max_position is given")
        made = config(scaling=scaled(rule, **parameters, policy="static"))
        yield reject_config(f"refusals/lengths/{rule}_static", made, about, "max_position", seq_len=40)
    for n in (0, -5):
        about = ("R-5.4 R-12.3", "", "a sequence has at least one token")
        made = config(scaling=scaled("dynamic_ntk", **DYNAMIC))
        yield reject_config(f"refusals/lengths/seq_len_{name(n)}", made, about, "seq_len", seq_len=n)


def plans() -> Iterator[Case]:
    """Yield plan objects (R-12.2, R-2.3 to R-2.6)."""
    given: tuple[tuple[str, str, dict[str, Any], str, str], ...] = (
        ("lane_above", "R-12.2", {"lanes": [[0, 8], [1, 5]], "out_lanes": [[0, 8], [1, 5]]}, "lanes", "lane 8 of 8"),
        (
            "lane_negative",
            "R-12.2",
            {"lanes": [[0, -1], [1, 5]], "out_lanes": [[0, -1], [1, 5]]},
            "lanes",
            "a lane counted from the end",
        ),
        (
            "lane_twice_in_row",
            "R-12.2 R-2.3",
            {"lanes": [[0, 0], [1, 5]], "out_lanes": [[0, 0], [1, 5]]},
            "lanes",
            "a pair of one lane",
        ),
        (
            "lane_in_two_rows",
            "R-12.2 R-2.3",
            {"lanes": [[0, 4], [1, 4]], "out_lanes": [[0, 4], [1, 4]]},
            "lanes",
            "lane 4 is read by two rows",
        ),
        (
            "written_twice",
            "R-12.2 R-2.3",
            {"out_lanes": [[0, 4], [1, 4]]},
            "out_lanes",
            "lane 4 is written by two rows",
        ),
        (
            "written_not_read",
            "R-12.2 R-2.3",
            {"out_lanes": [[0, 4], [1, 6]]},
            "out_lanes",
            "lane 6 is written and not read",
        ),
        ("frequency_nan", "R-2.6", {"frequencies": [[1.0], [NAN]]}, "frequencies", "not a number"),
        ("frequency_infinite", "R-2.6", {"frequencies": [[-INF], [0.1]]}, "frequencies", "not finite"),
        (
            "frequency_above_2_30",
            "R-2.6",
            {"frequencies": [[1.0], [-1073741825.0]]},
            "frequencies",
            "beyond 2^30 in size",
        ),
        ("attention_factor_0", "R-2.6", {"attention_factor": 0.0}, "attention_factor", "A must be above 0"),
        ("attention_factor_nan", "R-2.6", {"attention_factor": NAN}, "attention_factor", "A must be finite"),
        (
            "frequencies_short",
            "R-12.7",
            {"frequencies": [[1.0]]},
            "frequencies",
            "one row of frequencies for two pairs",
        ),
        (
            "frequencies_columns",
            "R-12.7",
            {"frequencies": [[1.0, 0.5], [0.1, 0.2]]},
            "frequencies",
            "two columns for one axis",
        ),
        ("out_lanes_short", "R-12.7", {"out_lanes": [[0, 4]]}, "out_lanes", "one pair written for two read"),
        ("magnitude_short", "R-12.7 R-2.4", {"log_magnitude": [0.1]}, "log_magnitude", "one magnitude for two pairs"),
        ("magnitude_nan", "R-12.3 R-2.4", {"log_magnitude": [0.1, NAN]}, "log_magnitude", "not a number"),
        (
            "magnitude_two_axes",
            "R-2.4",
            {
                "axes": ["h", "w"],
                "axis_kinds": ["integer"] * 2,
                "frequencies": [[1.0, 0.0], [0.0, 1.0]],
                "log_magnitude": [0.1, 0.1],
            },
            "log_magnitude",
            "a magnitude needs a plan with one axis",
        ),
        ("axis_kind", "R-12.6 R-6.9", {"axis_kinds": ["float"]}, "axis_kinds", "an axis is integer or real"),
        ("key", "R-12.6", {"rope_theta": 10000.0}, "rope_theta", "a key that a plan does not have"),
        ("schema", "R-12.6", {"schema": "ropecore-plan/99"}, "schema", "a version that does not exist"),
    )
    for label, rule, changes, argument, comment in given:
        yield reject_plan(f"refusals/plans/{label}", ROWS | changes, (rule, "", comment), argument)


def tensors() -> Iterator[Case]:
    """Yield R-12.4, and names and roles of a call (R-12.6)."""
    for dtype, one in (("int32", 1), ("int64", 2), ("uint8", 3), ("bool", True), ("complex64", 0.5)):
        about = ("R-12.4", "", f"x of dtype {dtype}")
        x = array([1, 1, 2, 8], [one] * 16)
        yield reject_rotate(f"refusals/tensors/{dtype}", config(), about, "x", dtype=dtype, x=x, positions=[0, 1])
    for head_dim in (4, 7, 16):
        about = ("R-12.4", "", f"{head_dim} lanes for a plan of 8")
        yield reject_rotate(
            f"refusals/tensors/last_dimension_{head_dim}",
            config(),
            about,
            "x",
            x=[1, 2, 3, head_dim],
            positions=[0, 1, 2],
        )
    about = ("R-12.6", "", "letters that are no dimension")
    yield reject_rotate(
        "refusals/tensors/tensor_format",
        config(),
        about,
        "tensor_format",
        x=[1, 2, 3, 8],
        positions=[0, 1, 2],
        tensor_format="bhqd",
    )
    about = ("R-12.6", "", "a role that is none of the two")
    made = config(scaling=scaled("damped", rate=0.01))
    yield reject_rotate("refusals/tensors/role", made, about, "role", x=[1, 2, 3, 8], positions=[0, 1, 2], role="v")


def positions() -> Iterator[Case]:
    """Yield R-12.5, R-7.3, R-7.4 and R-2.4."""
    x = [2, 3, 4, 8]
    given: tuple[tuple[str, str, str, dict[str, Any], str], ...] = (
        ("too_few", "R-12.5 R-7.3", "positions", {"positions": [0, 1, 2]}, "3 positions for 4 tokens"),
        ("too_many", "R-12.5 R-7.3", "positions", {"positions": [0, 1, 2, 3, 4]}, "5 positions for 4 tokens"),
        ("one_for_all", "R-12.5 R-7.3", "positions", {"positions": [7]}, "one position is not spread over 4 tokens"),
        ("rows", "R-12.5 R-7.3", "positions", {"positions": [[0, 1, 2, 3]] * 3}, "3 rows for a batch of 2"),
        (
            "sequence_first",
            "R-12.5 R-7.3",
            "positions",
            {"positions": [[0, 0], [1, 1], [2, 2], [3, 3]]},
            "(s, b) in place of (b, s)",
        ),
        (
            "three_dimensions",
            "R-12.5 R-7.3",
            "positions",
            {"positions": [[[0, 1, 2, 3]]]},
            "a leading dimension for a plan with one axis",
        ),
        ("scalar", "R-12.5 R-7.3", "positions", {"positions": array([], [3])}, "a single number"),
        ("floats", "R-12.5 R-6.9", "positions", {"positions": [0.0, 0.5, 1.0, 1.5]}, "fractions on an integer axis"),
        (
            "whole_floats",
            "R-12.5 R-6.9",
            "positions",
            {"positions": [0.0, 1.0, 2.0, 3.0]},
            "floats on an integer axis, though whole",
        ),
        (
            "booleans",
            "R-12.5 R-7.1",
            "positions",
            {"positions": [True, False, True, True]},
            "a mask in place of positions",
        ),
        ("beside_offset", "R-7.4", "offset", {"positions": [0, 1, 2, 3], "offset": 5}, "positions and an offset"),
        (
            "beside_offset_0",
            "R-7.4",
            "offset",
            {"positions": [0, 1, 2, 3], "offset": [0, 5]},
            "positions and offsets of rows",
        ),
        ("offsets", "R-7.4", "offset", {"offset": [0, 5, 9]}, "3 offsets for a batch of 2"),
        ("offset_float", "R-7.4", "offset", {"offset": 1.5}, "an offset that is no integer"),
    )
    for label, rule, argument, call, comment in given:
        yield reject_rotate(f"refusals/positions/{label}", config(), (rule, "", comment), argument, x=x, **call)
    video = config(**VIDEO)
    several: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("axes_missing", "R-12.5 R-7.3", {"positions": [0, 1, 2, 3]}, "one list for three axes"),
        (
            "axes_last",
            "R-12.5 R-7.3",
            {"positions": [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]},
            "(s, N) in place of (N, s)",
        ),
        ("axes_two", "R-12.5 R-7.3", {"positions": [[0, 1, 2, 3]] * 2}, "two lists for three axes"),
        ("axes_left_out", "R-7.4", {}, "positions left out with three axes"),
        ("axes_offset", "R-7.4", {"offset": 3}, "an offset with three axes"),
    )
    for label, rule, call, comment in several:
        yield reject_rotate(f"refusals/positions/{label}", video, (rule, "", comment), "positions", x=x, **call)
    made = config(scaling=scaled("damped", rate=1.0))
    about = ("R-2.4", "", "exp(-70) is below 2^-100")
    yield reject_rotate("refusals/positions/magnitude", made, about, "positions", x=[1, 2, 2, 8], positions=[3, 70])
    about = ("R-2.4", "", "exp(70) is above 2^100")
    yield reject_rotate(
        "refusals/positions/magnitude_k", made, about, "positions", x=[1, 2, 2, 8], positions=[3, 70], role="k"
    )
    about = ("R-12.5 R-7.3", "", "packed tokens have no rows")
    yield reject_rotate(
        "refusals/positions/packed_rows",
        config(),
        about,
        "positions",
        x=[4, 3, 8],
        positions=[[0, 1, 2, 3]],
        tensor_format="thd",
    )
    about = ("R-7.4", "", "packed tokens have no rows, and so no offsets of rows")
    yield reject_rotate(
        "refusals/positions/packed_offsets", config(), about, "offset", x=[4, 3, 8], offset=[0, 5], tensor_format="thd"
    )
    line = own([1.0, 0.5, 0.25, 0.125], axes=["x"], axis_kinds=["real"])
    for label, coordinate in (("nan", NAN), ("infinite", INF)):
        about = ("R-6.9 R-12.5", "", "coordinates are finite")
        yield reject_rotate(
            f"refusals/positions/real_{label}", line, about, "positions", x=[1, 1, 2, 8], positions=[0.5, coordinate]
        )


def coordinates() -> Iterator[Case]:
    """Yield R-7.12: coordinates of real axes are below 2^31, as positions are."""
    line = own([1.0, 0.5, 0.25, 0.125], axes=["x"], axis_kinds=["real"])
    for label, coordinate in (("above", 2147483648.0), ("below", -2147483648.0), ("overflow", 3e38)):
        about = ("R-7.12 R-12.5", "", "a coordinate of 2^31 or more")
        yield reject_rotate(
            f"refusals/coordinates/{label}", line, about, "positions", x=[1, 1, 2, 8], positions=[0.5, coordinate]
        )


def per_axis() -> Given:
    """Yield R-6.6 beside a rule with one entry a pair."""
    made = config(**VIDEO, axis_frequencies="per_axis", scaling=scaled("longrope", **LONGROPE))
    yield "longrope", "R-6.6 R-5.8", made, "scaling", "divisors of all pairs, and a series for each axis"
