"""The JSON Schemas of the vector files, the plan and the manifest (draft 2020-12).

Every object is closed (additionalProperties false) and names what is required. Only what a reject
case hands over is left open: it is wrong on purpose.
"""

from typing import Any, TypeAlias

from .layouts import LAYOUTS
from .needs import FEATURES

Schema: TypeAlias = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
BASE = "urn:ropecore:schema:"

TEXT: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 1}
NATURAL: Schema = {"type": "integer", "minimum": 0}
FINITE: Schema = {"type": "number"}
ABOVE_ZERO: Schema = {"type": "number", "exclusiveMinimum": 0}
ANYTHING: Schema = {"type": "object"}
NULL: Schema = {"type": "null"}
NUMBER: Schema = {
    "anyOf": [FINITE, {"enum": ["NaN", "Infinity", "-Infinity"]}, {"type": "string", "pattern": "^-?[0-9]{16,}$"}]
}


def closed(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object with these keys and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def several(item: Schema, **limits: int) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item} | limits


def exactly(*values: Any) -> Schema:
    """Return the schema of a value, or of one of a closed list."""
    return {"const": values[0]} if len(values) == 1 else {"enum": list(values)}


def or_null(schema: Schema) -> Schema:
    """Return a schema that allows null too."""
    return {"anyOf": [schema, NULL]}


def ref(name: str) -> Schema:
    """Return a reference to a definition of the same file."""
    return {"$ref": f"#/$defs/{name}"}


def plan() -> Schema:
    """Return the schema of a plan."""
    pair = several(NATURAL, minItems=2, maxItems=2)
    return {
        "$schema": DRAFT,
        "$id": f"{BASE}plan:1",
        "title": "A plan: the normal form of a RoPE (rope.md chapter 2)",
    } | closed(
        {
            "schema": exactly("ropecore-plan/1"),
            "head_dim": COUNT,
            "axes": several(TEXT, minItems=1),
            "axis_kinds": several(exactly("integer", "real"), minItems=1),
            "attention_factor": ABOVE_ZERO,
            "lanes": several(pair),
            "out_lanes": several(pair),
            "frequencies": several(several({"type": "number", "minimum": -(2**30), "maximum": 2**30}, minItems=1)),
            "log_magnitude": or_null(several(FINITE)),
            "centre": FINITE,
        }
    )


def manifest() -> Schema:
    """Return the schema of the manifest."""
    path = {"type": "string", "pattern": r"^vectors/[a-z0-9_]+\.(json|safetensors)$"}
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    return {"$schema": DRAFT, "$id": f"{BASE}manifest:1", "title": "The manifest of the golden vectors"} | closed(
        {
            "schema": exactly("ropecore-manifest/1"),
            "cases": COUNT,
            "files": several(closed({"path": path, "sha256": digest, "cases": COUNT}), minItems=1),
            "twins": several(closed({"path": path, "sha256": digest, "tensors": NATURAL})),
        }
    )


def scaling() -> Schema:
    """Return the schema of a scaling rule: one closed object for each rule of chapter 5."""
    factor, length, divisors = {"factor": ABOVE_ZERO}, {"original_max_position": COUNT}, several(ABOVE_ZERO, minItems=1)
    policy = {"policy": exactly("per_call", "static"), "max_position": COUNT}
    betas = {"beta_fast": ABOVE_ZERO, "beta_slow": ABOVE_ZERO}
    yarn = betas | {"truncate": FLAG, "mscale": FINITE, "mscale_all_dim": FINITE, "attention_factor": ABOVE_ZERO}
    rules: dict[str, tuple[Schema, Schema]] = {  # required, optional
        "linear": (factor, {}),
        "ntk": ({"alpha": ABOVE_ZERO}, {}),
        "dynamic_ntk": (factor | length, policy),
        "ntk_by_parts": (factor | length, betas),
        "yarn": (factor | length, yarn),
        "longrope": (
            {"short_factor": divisors, "long_factor": divisors} | length,
            factor | {"attention_factor": ABOVE_ZERO} | policy,
        ),
        "llama3": (factor | {"low_freq_factor": ABOVE_ZERO, "high_freq_factor": ABOVE_ZERO} | length, {}),
        "proportional": ({"partial_rotary_factor": ABOVE_ZERO}, factor),
        "xpos": ({}, {"scale_base": ABOVE_ZERO, "gamma": ABOVE_ZERO, "centre": FINITE}),
        "damped": ({"rate": ABOVE_ZERO}, {"centre": FINITE}),
    }
    return {
        "oneOf": [
            closed({"rule": exactly(name)} | required | optional, tuple(optional))
            for name, (required, optional) in rules.items()
        ]
    }


def config() -> Schema:
    """Return the schema of a configuration."""
    pairings, frequencies = exactly("half_split", "interleaved"), several(FINITE, minItems=1)
    properties: Schema = {
        "head_dim": COUNT,
        "pairing": pairings,
        "base": ABOVE_ZERO,
        "rotary_dim": COUNT,
        "frequency_dim": COUNT,
        "lane_offset": NATURAL,
        "out_pairing": pairings,
        "sections": several(NATURAL, minItems=1),
        "axes": several(TEXT, minItems=1),
        "axis_order": {"anyOf": [exactly("chunked", "interleaved", "alternating"), several(NATURAL, minItems=1)]},
        "axis_frequencies": exactly("shared", "per_axis"),
        "axis_blocks": FLAG,
        "axis_kinds": several(exactly("integer", "real"), minItems=1),
        "direction": exactly(1, -1),
        "attention_factor": ABOVE_ZERO,
        "inv_freq": {"anyOf": [frequencies, several(frequencies, minItems=1)]},
        "scaling": ref("scaling"),
    }
    return closed(properties, tuple(name for name in properties if name not in ("head_dim", "pairing")))


def arrays() -> dict[str, Schema]:
    """Return the schemas of arrays."""
    shape, data = several(NATURAL), several(NUMBER)
    bound = several({"type": "number", "minimum": 0})
    return {
        "array": closed({"shape": shape, "data": data}),
        "integers": closed(
            {"shape": shape, "data": several({"anyOf": [INTEGER, {"type": "string", "pattern": "^-?[0-9]{16,}$"}]})}
        ),
        "bounded": closed({"shape": shape, "data": data, "bound": bound}),
        "any_array": closed({"shape": shape, "data": several({"anyOf": [NUMBER, FLAG]})}),
    }


def rotation(open_input: bool = False) -> Schema:
    """Return the keys of a rotate input; an open one is that of a reject case."""
    array = ref("any_array" if open_input else "array")
    offset = {"anyOf": [FINITE if open_input else INTEGER, several(INTEGER, minItems=1), NULL]}
    return {
        "plan": {"$ref": f"{BASE}plan:1"},
        "config": or_null(ref("config")),
        "x": array,
        "positions": or_null(array),
        "offset": offset,
        "tensor_format": {"type": "string", "pattern": "^[a-z]*d$"},
        "role": TEXT if open_input else exactly("q", "k"),
        "mode": exactly("forward", "inverse", "transpose"),
        "seq_len": or_null(COUNT),
    }


def builders() -> dict[str, Schema]:
    """Return the arguments of each builder of positions; their arrays are nested lists."""
    row = several(FINITE)
    ids: Schema = {"anyOf": [row, several(row), several(several(row))]}
    grids, mask, kinds = (
        several(several(COUNT, minItems=3, maxItems=3)),
        several(several(exactly(0, 1))),
        exactly(0, 1, 2),
    )
    vision = {
        "types": {"anyOf": [several(kinds), several(several(kinds))]},
        "image_grids": grids,
        "video_grids": grids,
        "mask": mask,
        "merge": COUNT,
        "next_position": exactly("longest_side", "largest_id"),
    }
    return {
        "text_positions": closed({"ids": ids, "n_axes": COUNT}),
        "axes_first": closed({"ids": ids}),
        "packed_positions": closed({"cu_seqlens": several(NATURAL)}),
        "mask_positions": closed({"mask": mask}),
        "dual_chunk_positions": closed({"positions": several(INTEGER), "chunk_length": COUNT, "local_length": NATURAL}),
        "vision_grid_positions": closed(
            {"grids": grids, "merge": {"anyOf": [COUNT, several(COUNT)]}, "temporal": exactly(True, False)}
        ),
        **{f"{name}_positions": closed(vision, ("mask",)) for name in ("qwen2_vl", "qwen3_vl", "glm4v")},
        "qwen2_5_vl_positions": closed(
            vision | {"tokens_per_second": FINITE, "second_per_grid": several(FINITE)}, ("mask", "second_per_grid")
        ),
        "ernie4_5_vl_positions": closed(vision | {"temporal_merge": COUNT}, ("mask",)),
    }


def result(**found: Schema) -> Schema:
    """Return the schema of a result of the kind `value`."""
    return closed({"kind": exactly("value")} | found)


def kinds() -> dict[str, Schema]:
    """Return the keys that each kind of case adds to the common ones."""
    array, bounded, the_plan = ref("array"), ref("bounded"), {"$ref": f"{BASE}plan:1"}
    configured = {"plan": the_plan, "config": or_null(ref("config"))}
    role, length = {"role": exactly("q", "k")}, {"seq_len": or_null(COUNT)}
    input_of_call = ref("rotation")
    y = closed({"y": bounded})
    printed = closed(
        {
            "kind": exactly("printed"),
            "values": several({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}, minItems=1),
            "indices": several(several(NATURAL), minItems=1),
            "how": exactly("rounded", "truncated"),
        }
    )
    policies = several(
        {"oneOf": [closed({"policy": exactly("refused")}), closed({"policy": TEXT, "y": bounded})]}, minItems=2
    )
    either = closed({"kind": exactly("either"), "results": policies})
    rotated = {"oneOf": [result(y=bounded), printed, either]}
    bounded_or_null = or_null(bounded)
    return {
        "rotate": rotation() | {"result": rotated},
        "tables": configured | {"positions": array} | role | {"result": result(cos=bounded, sin=bounded)},
        "vjp": rotation() | {"g": array, "result": result(gx=bounded)},
        "scores": configured
        | {"q": array, "k": array, "positions": array, "k_positions": array, "result": result(scores=bounded)},
        "shift": {"plan": the_plan, "x": array, "delta": INTEGER, "result": result(y=bounded)},
        "frequencies": {"config": ref("config")}
        | length
        | {"result": result(frequencies=bounded, attention_factor=bounded, log_magnitude=bounded_or_null)},
        "cache": {"plan": the_plan, "positions": array, "layout": exactly(*LAYOUTS)}
        | {"result": result(arrays=several(bounded, minItems=1, maxItems=2))},
        "angles": {"plan": the_plan, "positions": array, "result": result(angles=bounded)},
        "positions": {
            "builder": exactly(*builders()),
            "arguments": {"anyOf": list(builders().values())},
            "result": result(
                positions={"anyOf": [bounded, {"type": "object", "additionalProperties": bounded, "minProperties": 2}]}
            ),
        },
        "sinusoid": {"positions": ref("integers"), "dim": COUNT, "base": ABOVE_ZERO}
        | {"result": {"oneOf": [result(encoding=bounded), printed]}},
        "sequence": {"calls": several(ref("call"), minItems=2), "result": result(calls=several(y, minItems=2))},
        "pair": {"first": input_of_call, "second": input_of_call, "result": result(first=y, second=y)},
        "beside": rotation() | {"others": array, "result": result(y=bounded)},
        "meta": rotation() | {"result": result(y=bounded)},
        "weights": {"plan_from": the_plan, "plan_to": the_plan, "n_heads": COUNT, "weight": array}
        | {"tensor": exactly("rows", "bias", "norm", "scale", "lora_b"), "result": result(weight=bounded)},
        "config": {"source": ANYTHING, "layer_type": or_null(TEXT), "config": or_null(ref("config"))}
        | length
        | {"result": result(plan=or_null(the_plan))},
        "ambient": rotation() | {"ambient": TEXT, "result": result(y=bounded)},
    }


def case(kind: Schema, keys: Schema) -> Schema:
    """Return the schema of a case: the common keys and its own."""
    common: Schema = {
        "id": ref("id"),
        "kind": kind,
        "rules": several({"type": "string", "pattern": r"^R-[0-9]+\.[0-9]+$"}, minItems=1) | {"uniqueItems": True},
        "flags": several({"type": "string", "pattern": "^M[1-9][0-9]{0,2}$"}) | {"uniqueItems": True},
        "comment": TEXT,
        "needs": several(exactly(*FEATURES)) | {"uniqueItems": True},
        "withdrawn": TEXT,
    }
    return closed(common | keys, ("withdrawn",))


def definitions() -> dict[str, Schema]:
    """Return the definitions of the vector file's schema, one a kind of case among them."""
    cases = {f"case_{kind}": case(exactly(kind), keys) for kind, keys in kinds().items()}
    the_plan: Schema = {"$ref": f"{BASE}plan:1"}
    inputs: tuple[Schema, ...] = ({"config": ref("config"), "seq_len": or_null(COUNT)}, {"rows": the_plan})
    cases["case_plan"] = {
        "oneOf": [case(exactly("plan"), given | {"result": result(plan=the_plan)}) for given in inputs]
    }
    reject, argument = exactly("reject"), {"argument": TEXT}
    cases["case_reject_config"] = case(
        reject, {"call": exactly("config"), "config": ANYTHING, "seq_len": or_null(INTEGER)} | argument
    )
    cases["case_reject_plan"] = case(reject, {"call": exactly("plan"), "plan": ANYTHING} | argument)
    cases["case_reject_source"] = case(reject, {"call": exactly("source"), "source": ANYTHING} | argument)
    cases["case_reject_rotate"] = case(
        reject, {"call": exactly("rotate")} | rotation(open_input=True) | {"dtype": or_null(TEXT)} | argument
    )
    return {
        "id": {"type": "string", "pattern": "^[a-z0-9_]+(/[a-z0-9_]+)+$"},
        "note": closed({"bug": TEXT, "effect": TEXT, "seen": several(TEXT)}),
        **arrays(),
        "scaling": scaling(),
        "config": config(),
        "rotation": closed(rotation()),
        "call": closed(rotation() | {"dtype": or_null(exactly("bfloat16", "float16", "float32", "float64"))}),
        **cases,
    }


def vectors() -> Schema:
    """Return the schema of a vector file; which sub-schema a case has follows from its kind, and
    for reject from its call.
    """
    defined = definitions()
    branches: list[Schema] = []
    for name in (name for name in defined if name.startswith("case_")):
        words = name.split("_")
        chosen: Schema = {"kind": exactly(words[1])} | ({"call": exactly(words[2])} if len(words) > 2 else {})
        branches.append({"if": {"properties": chosen, "required": list(chosen)}, "then": ref(name)})
    listed = [name.split("_")[1] for name in defined if name.startswith("case_")]
    calls = {
        "if": {"properties": {"kind": exactly("reject")}},
        "then": {"properties": {"call": exactly("config", "plan", "rotate", "source")}, "required": ["call"]},
    }
    head = {"type": "object", "properties": {"kind": exactly(*dict.fromkeys(listed))}, "required": ["kind"]}
    body = closed(
        {
            "schema": exactly("ropecore-vectors/1"),
            "topic": {"type": "string", "pattern": "^[a-z0-9_]+$"},
            "license": exactly("CC0-1.0"),
            "notes": {
                "type": "object",
                "propertyNames": {"pattern": "^M[1-9][0-9]{0,2}$"},
                "additionalProperties": ref("note"),
            },
            "cases": several(head | {"allOf": [calls, *branches]}, minItems=1),
        }
    )
    title = {"$schema": DRAFT, "$id": f"{BASE}vectors:1", "title": "A file of golden vectors (README, Format)"}
    return title | body | {"$defs": defined}


SCHEMAS = {"vectors": vectors, "plan": plan, "manifest": manifest}
