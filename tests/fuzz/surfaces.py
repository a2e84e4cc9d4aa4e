"""Every public function and class, with right values for each of its arguments: what is tried is
these, with wrong ones among them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hostile import CONFIG, JSON, PLAN
from hypothesis import strategies as st

import ropecore
from ropecore import analysis, cache, conformance, spec, weights
from ropecore.analysis import explain
from ropecore.conformance import program, target
from ropecore.conformance.identify import cli as identify_cli
from ropecore.scaling import rule_from_dict

SCALING = {"rope_type": st.sampled_from(["linear", "dynamic", "yarn", "longrope", "llama3", "default", "x"])} | {
    key: JSON | st.floats(1, 64)
    for key in (
        "factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "original_max_position_embeddings", "low_freq_factor",
        "high_freq_factor", "short_factor", "long_factor", "rope_theta", "partial_rotary_factor", "mrope_section", "truncate", "full_attention", "type",
    )
}  # fmt: skip
HOSTILE_JSON = JSON | st.fixed_dictionaries({}, optional=SCALING)
AXES = ropecore.RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w"))
REAL = ropecore.RotaryPlan(4, [[0, 1], [2, 3]], [2.0, 0.5], axes=("x",), axis_kinds=("real",))
XPOS = CONFIG.replace(scaling=ropecore.XPos())
DE_INTERLEAVING = CONFIG.replace(pairing="interleaved", out_pairing="half_split")

just, one_of = st.just, st.sampled_from
floats, integers, flags = st.floats(0.1, 1e6), st.integers(1, 64), st.booleans()
factors, lengths = st.floats(1, 100), st.integers(1, 1 << 20)
plans = one_of(
    [PLAN, CONFIG.plan(), AXES.plan(), REAL, XPOS.plan(), DE_INTERLEAVING.plan(), ropecore.RotaryPlan(4, [], [])]
)
configs = one_of(
    [
        CONFIG,
        AXES,
        XPOS,
        CONFIG.replace(scaling=ropecore.YaRN(8.0, 512)),
        CONFIG.replace(scaling=ropecore.DynamicNTK(2.0, 16)),
    ]
)
positions = one_of(
    [
        5,
        0,
        [0, 1, 2],
        [],
        [[0, 1], [2, 3]],
        [2**31 - 1],
        [-1],
        [[1, 2, 3]] * 3,
        [1, 2, 3],
        np.arange(3),
        np.zeros((3, 2), np.int32),
    ]
)
x = one_of([np.ones((3, 8)), np.ones((2, 3, 8), np.float32), np.ones(8), [[1.0] * 8] * 3, np.ones((3, 4), np.float16)])
tables = one_of([np.ones((3, 3)), np.ones(3), np.ones((3, 4), np.float32), np.ones((3, 8)), np.ones((3, 0))])
pairings = one_of(["half_split", "interleaved"])
layouts = one_of([*cache.NAMES])
ids = one_of([[0, 1, 1, 0], [[0, 1, 1, 1, 1, 0]], np.array([0, 1, 1, 1, 1, 2]), [0, 0]])
grids = one_of([[], [[1, 4, 4]], np.array([[1, 2, 4]]), [[2, 4, 4], [1, 2, 2]]])
vectors8, matrices8 = one_of([np.ones(8), [0.5] * 8, np.zeros((2, 8))]), one_of([np.eye(8), np.zeros((8, 8))])
names = st.text(min_size=1, max_size=5)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def feature_map(v: Any) -> Any:
    return v * v


def box(v: Any, p: Any) -> Any:
    return v


RULES: dict[str, dict[str, Any]] = {
    "Linear": {"factor": factors},
    "NTK": {"alpha": factors},
    "DynamicNTK": {"factor": factors, "original_max_position": lengths, "policy": one_of(["static", "per_call"]), "max_position": optional(lengths)},
    "NTKByParts": {"factor": factors, "original_max_position": lengths, "beta_fast": floats, "beta_slow": floats},
    "YaRN": {
        "factor": factors, "original_max_position": lengths, "beta_fast": floats, "beta_slow": floats, "truncate": flags,
        "mscale": optional(floats), "mscale_all_dim": optional(floats), "attention_factor": optional(floats),
    },
    "LongRoPE": {
        "short_factor": st.lists(floats, min_size=3, max_size=4), "long_factor": st.lists(floats, min_size=3, max_size=4),
        "original_max_position": lengths, "factor": optional(floats), "attention_factor": optional(floats), "policy": just("static"), "max_position": lengths,
    },
    "Llama3": {"factor": factors, "low_freq_factor": floats, "high_freq_factor": floats, "original_max_position": lengths},
    "Proportional": {"partial_rotary_factor": st.floats(0.1, 1), "factor": factors},
    "XPos": {"scale_base": floats, "gamma": floats, "centre": floats},
    "Damped": {"rate": floats, "centre": floats},
}  # fmt: skip
rules = one_of(
    [
        ropecore.Linear(2.0),
        ropecore.NTK(2.0),
        ropecore.YaRN(4.0, 64),
        ropecore.XPos(),
        ropecore.Llama3(8.0, 1.0, 4.0, 64),
    ]
)
CONFIGURATION = {
    "head_dim": one_of([2, 8, 9, 64]), "pairing": pairings, "base": st.floats(1e-3, 1e9), "rotary_dim": optional(one_of([2, 4, 6])),
    "scaling": optional(rules), "frequency_dim": optional(integers), "lane_offset": st.integers(0, 4), "out_pairing": optional(pairings),
    "sections": optional(st.lists(st.integers(0, 4), max_size=3)), "axes": optional(st.lists(names, max_size=3)),
    "axis_order": one_of(["chunked", "interleaved", "alternating", [0, 1, 0, 1]]), "axis_frequencies": one_of(["shared", "per_axis"]),
    "axis_blocks": flags, "axis_kinds": optional(st.lists(one_of(["integer", "real"]), max_size=3)), "direction": one_of([1, -1]),
    "attention_factor": optional(floats), "inv_freq": optional(st.lists(floats, max_size=5)),
}  # fmt: skip
ROWS = {
    "head_dim": one_of([4, 8]), "lanes": one_of([[[0, 1]], [[0, 4], [1, 5]], [], np.array([[2, 3]])]), "frequencies": st.lists(floats, max_size=2),
    "out_lanes": optional(one_of([[[0, 1]], [[1, 0]]])), "attention_factor": floats, "axes": st.lists(names, max_size=2),
    "axis_kinds": optional(st.lists(one_of(["integer", "real"]), max_size=2)), "log_magnitude": optional(st.lists(floats, max_size=2)), "centre": floats,
}  # fmt: skip
VISION = {
    "types": ids,
    "image_grids": grids,
    "video_grids": grids,
    "merge": one_of([1, 2]),
    "mask": optional(ids),
    "next_position": one_of(["longest_side", "largest_id"]),
}
HEADS = {"n_heads": optional(integers), "kind": one_of(weights.KINDS), "axis": one_of([0, -1])}
NAMED_CASES = {
    "topic": optional(one_of(["rotate", "axes"])),
    "ids": optional(one_of(["rotate/*", ["axes/*"]])),
    "flags": optional(one_of(["M3"])),
}
CAPABILITIES = {
    "name": names, "version": names, "dtypes": one_of([["float32"], ("float64", "float32")]), "angle": just("exact"), "table": just("input"),
    "features": optional(st.lists(one_of(target.FEATURES), unique=True)), "reads_config": flags, "own_frequencies": flags,
    "not_applicable": st.dictionaries(names, names, max_size=2),
}  # fmt: skip


HUGGING_FACE = {
    "hidden_size": one_of([64, 128]), "num_attention_heads": one_of([4, 8]), "head_dim": one_of([16]), "rope_theta": floats, "partial_rotary_factor": st.floats(0.1, 1),
    "max_position_embeddings": lengths, "rope_scaling": optional(HOSTILE_JSON), "rope_parameters": optional(HOSTILE_JSON), "layer_types": HOSTILE_JSON,
    "text_config": HOSTILE_JSON, "num_hidden_layers": one_of([2]), "sliding_window": optional(lengths), "original_max_position_embeddings": HOSTILE_JSON,
}  # fmt: skip


def plan_of(**keywords: Any) -> Any:
    """Return the rows of a configuration, and its plan at a length."""
    config = ropecore.RopeConfig(**keywords)
    return config.plan(seq_len=16), config.rows(seq_len=16).periods, config.to_dict()


def ruled(name: str) -> Callable[..., Any]:
    """Return a function that makes a rule, and a plan by it."""
    return lambda **keywords: CONFIG.replace(scaling=getattr(ropecore, name)(**keywords)).plan(seq_len=32)


def whole_plan(**rows: Any) -> Any:
    plan = ropecore.RotaryPlan(**rows)
    assert ropecore.RotaryPlan.from_json(plan.to_json()) == plan
    return plan


SURFACES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "RopeConfig": (plan_of, CONFIGURATION),
    "RopeConfig.from_dict": (ropecore.RopeConfig.from_dict, {"given": st.fixed_dictionaries({}, optional=CONFIGURATION)}),
    "RopeConfig.replace": (CONFIG.replace, CONFIGURATION),
    "RopeConfig.plan": (CONFIG.plan, {"seq_len": optional(lengths)}),
    "RopeConfig.rows": (CONFIG.rows, {"seq_len": optional(lengths)}),
    "RotaryPlan": (whole_plan, ROWS),
    "RotaryPlan.from_dict": (ropecore.RotaryPlan.from_dict, {"given": just(PLAN.to_dict())}),
    "RotaryPlan.from_json": (ropecore.RotaryPlan.from_json, {"text": just(PLAN.to_json())}),
    "RotaryPlan.replace": (PLAN.replace, ROWS),
    "RotaryPlan.with_frequencies": (PLAN.with_frequencies, {"frequencies": st.lists(floats, min_size=3, max_size=3)}),
    "RotaryPlan.with_pairing": (PLAN.with_pairing, {"pairing": pairings}),
    **{name: (ruled(name), arguments) for name, arguments in RULES.items()},
    "rule_from_dict": (rule_from_dict, {"given": just({"rule": "linear", "factor": 2.0})}),
    "cos_sin": (ropecore.cos_sin, {"plan": plans, "positions": positions, "role": one_of(["q", "k"])}),
    "rotate": (ropecore.rotate, {"plan": plans, "x": x, "cos": tables, "sin": tables, "inverse": flags, "transpose": flags, "out": just(None)}),
    "angles": (ropecore.angles, {"plan": plans, "positions": positions}),
    "pack_cache": (ropecore.pack_cache, {"plan": plans, "cos": tables, "sin": tables, "layout": layouts, "rows": optional(just(CONFIG.rows()))}),
    "unpack_cache": (
        ropecore.unpack_cache,
        {"plan": plans, "cache": one_of([np.ones((2, 6)), (np.ones((2, 6)),) * 2, np.ones((2, 3, 2)), np.ones(3, complex)]), "layout": layouts, "rows": optional(just(CONFIG.rows()))},
    ),
    "rotation_matrix": (ropecore.rotation_matrix, {"plan": plans, "position": positions}),
    "sparse_rotation_matrix": (ropecore.sparse_rotation_matrix, {"plan": plans, "position": positions}),
    "rotate_complex": (ropecore.rotate_complex, {"plan": plans, "x": x, "positions": positions}),
    "rotate_additive": (ropecore.rotate_additive, {"plan": plans, "x": x, "positions": positions}),
    "sinusoidal_encoding": (ropecore.sinusoidal_encoding, {"positions": positions, "dim": one_of([2, 8, 9]), "base": floats}),
    "text_positions": (ropecore.text_positions, {"ids": positions, "n_axes": integers}),
    "axes_first": (ropecore.axes_first, {"ids": positions}),
    "packed_positions": (ropecore.packed_positions, {"cu_seqlens": one_of([[0, 3, 5], [0], np.array([0, 2, 2])])}),
    "mask_positions": (ropecore.mask_positions, {"mask": one_of([[[0, 1, 1]], [True, False], np.ones((2, 3), bool)])}),
    "dual_chunk_positions": (ropecore.dual_chunk_positions, {"positions": positions, "chunk_length": integers, "local_length": st.integers(0, 8)}),
    "vision_token_types": (
        ropecore.vision_token_types,
        {"ids": ids, "image_token": integers, "video_token": optional(integers), "video_span": optional(just((3, 4)))},
    ),
    "qwen2_vl_positions": (ropecore.qwen2_vl_positions, VISION),
    "qwen2_5_vl_positions": (
        ropecore.qwen2_5_vl_positions, VISION | {"tokens_per_second": floats, "second_per_grid": optional(st.lists(floats, max_size=2))},
    ),
    "qwen3_vl_positions": (ropecore.qwen3_vl_positions, VISION),
    "glm4v_positions": (ropecore.glm4v_positions, VISION),
    "ernie4_5_vl_positions": (ropecore.ernie4_5_vl_positions, VISION | {"temporal_merge": one_of([1, 2])}),
    "vision_grid_positions": (ropecore.vision_grid_positions, {"grids": grids, "merge": one_of([1, 2, [1, 2]]), "temporal": flags}),
    "yarn_softmax_scale": (ropecore.yarn_softmax_scale, {"factor": floats, "mscale_all_dim": floats}),
    "llama4_query_scale": (ropecore.llama4_query_scale, {"positions": positions, "attn_scale": floats, "floor_scale": lengths}),
    "ministral_query_scale": (ropecore.ministral_query_scale, {"positions": positions, "original_max_position": lengths, "beta": floats}),
    "log_n_query_scale": (ropecore.log_n_query_scale, {"positions": positions, "training_length": lengths}),
    "linear_attention": (
        ropecore.linear_attention,
        {
            "q": just(np.ones((1, 2, 3, 8))), "k": one_of([np.ones((1, 1, 3, 8)), np.ones((1, 2, 2, 8))]), "v": just(np.ones((1, 1, 3, 4))), "plan": plans,
            "feature_map": just(feature_map), "positions": optional(positions), "k_positions": optional(positions), "causal": flags, "apply": just(None),
        },
    ),
    "convert_pairing": (
        weights.convert_pairing,
        {"weight": one_of([np.ones((16, 2)), np.ones(8), np.ones((8, 8), np.int8)]), "plan_from": plans, "plan_to": plans} | HEADS,
    ),
    "lane_order": (weights.lane_order, {"plan_from": plans, "plan_to": plans}),
    "Projections": (
        lambda **keywords: weights.Projections(np.arange(8), **keywords).tensor_order("layers.0.q_proj.weight", (32, 4)),
        {"n_heads": integers, "n_kv_heads": integers, "fused": optional(one_of(weights.FUSED)), "patterns": optional(just([("q", "*.wq")]))},
    ),
    "turns": (analysis.turns, {"plan": plans, "context": lengths}),
    "stretches": (analysis.stretches, {"config": configs, "seq_len": optional(lengths)}),
    "bands": (analysis.bands, {"config": configs, "seq_len": optional(lengths)}),
    "score_mean": (
        analysis.score_mean,
        {"plan": plans, "distances": positions, "mean_q": vectors8, "mean_k": vectors8, "cross_covariance": optional(matrices8)},
    ),
    "score_variance": (
        analysis.score_variance,
        {"plan": plans, "distances": positions, "mean_q": vectors8, "mean_k": vectors8, "covariance_q": matrices8, "covariance_k": matrices8},
    ),
    "decay_bound": (analysis.decay_bound, {"plan": plans, "distances": positions}),
    "encoding_distance": (analysis.encoding_distance, {"plan": plans, "distances": positions}),
    "uniqueness": (analysis.uniqueness, {"plan": plans, "length": st.integers(1, 200), "at_least": st.integers(1, 9)}),
    "repeats": (analysis.repeats, {"plan": plans}),
    "resolution": (analysis.resolution, {"plan": plans, "position": st.integers(0, 99), "table": one_of(analysis.TABLES), "angle": one_of(analysis.ANGLES)}),
    "attention_entropy": (analysis.attention_entropy, {"scores": one_of([np.zeros((2, 3)), np.ones(3), np.zeros((2, 0))]), "axis": one_of([0, -1])}),
    "expected_entropy": (analysis.expected_entropy, {"mean": st.lists(floats, max_size=4), "variance": one_of([0.0, 1.0, [0.0, 0.5]])}),
    "explain": (
        lambda **keywords: explain.explain(**keywords).text(), {"config": configs, "context": st.integers(1, 5000), "seq_len": optional(lengths)},
    ),
    "identify": (
        ropecore.identify,
        {"fn": just(box), "head_dim": just(2), "n_axes": just(1), "dtype": one_of(["float32", "float64"]), "expected": optional(configs), "seq_len": optional(lengths)},
    ),
    "read_config": (
        ropecore.read_config,
        {
            "source": st.fixed_dictionaries({"model_type": one_of(["llama", "qwen2", "phi3", "gemma3_text"])}, optional=HUGGING_FACE),
            "part": optional(one_of(["text", "vision"])), "layer_type": optional(one_of(["full_attention"])), "strict": flags,
            "family": optional(one_of(["llama", "qwen3"])),
        },
    ),
    "read_configs, known": (lambda **known: ropecore.read_configs({"model_type": "llama"}, **known), CONFIGURATION),
    "identify.load": (identify_cli.load, {"name": one_of(["math:sqrt", "math", "math:pi", "no.such:f"])}),
    "conformance.cases": (conformance.cases, NAMED_CASES),
    "conformance.run": (conformance.run, {"target": just("no_such_target"), **NAMED_CASES, "variants": flags, "progress": just(None)}),
    "load_target": (target.load_target, {"name": one_of(["numpy", "no.such.module", "math", "math:pi"])}),
    "Target": (conformance.Target, {"subject": one_of([ropecore])}),
    "Capabilities": (lambda **declared: target.Capabilities.read(declared).to_dict(), CAPABILITIES),
    "Capabilities.read": (target.Capabilities.read, {"declared": just({})}),
    "Program": (
        program.Program,  # never one that is there
        {"command": one_of(["no-such-program-anywhere 'a'", "no-such-program-anywhere '", "", ["no-such-program-anywhere"]]), "timeout": floats},
    ),
    "spec.vector": (spec.vector, {"case_id": one_of(["rotate/half_split/d8/pos257"])}),
    "spec.vectors": (spec.vectors, {"topic": one_of(["rotate", "no topic"])}),
    "spec.read": (spec.read, {"path": one_of(["rope.md", "manifest.json", "vectors"])}),
}  # fmt: skip
