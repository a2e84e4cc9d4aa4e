"""One function a kind of case: each takes the input, works out the result, and returns the case
object (README, Format).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from . import inputs, lanes, layouts, needs, plan, tensor, truth
from .distances import SUBNORMAL
from .numbers import Array, bounded, exact, flat, from_nested, shape_of, unchanging
from .withdrawn import WITHDRAWN

Case: TypeAlias = dict[str, Any]
Question: TypeAlias = dict[str, Any]
Result: TypeAlias = dict[str, Any]
About: TypeAlias = tuple[str, str, str]  # rules and flags, each a list in one string, and the comment
Data: TypeAlias = Array | Sequence[int]  # an array, or the shape of one to be made

EIGHT_ULPS = exact(8) / 2**53  # of A and of m


def case(case_id: str, kind: str, about: About, features: set[str], question: Question, result: Result | None) -> Case:
    """Return a case with the common keys first."""
    rules, flags, comment = about
    head = {
        "id": case_id,
        "kind": kind,
        "rules": rules.split(),
        "flags": sorted(flags.split(), key=lambda flag: int(flag[1:])),
        "comment": comment,
        "needs": needs.listed(features),
    }
    return head | question | ({} if result is None else {"result": result})


def value(**arrays: Any) -> Result:
    """Return a result of the kind `value`."""
    return {"kind": "value", **arrays}


def data(given: Data, name: str) -> Array:
    """Return an array, made from its shape where only that is given."""
    return given if isinstance(given, dict) else inputs.numbers(given, name)


def positions_array(positions: Any) -> Array | None:
    """Return nested lists of positions as an array."""
    return positions if positions is None or isinstance(positions, dict) else from_nested(positions)


def rotation(
    config: Mapping[str, Any] | None = None,
    *,
    x: Data,
    positions: Any = None,
    offset: tensor.Offset | None = None,
    tensor_format: str = "bhsd",
    role: str = "q",
    mode: str = "forward",
    seq_len: int | None = None,
    rows: plan.Plan | None = None,
) -> Question:
    """Return a rotate input; rows: a plan, where there is no configuration."""
    canonical = plan.of_config(config, seq_len) if config is not None else plan.canonical(rows or {})
    return {
        "plan": canonical,
        "config": None if config is None else dict(config),
        "x": data(x, "x"),
        "positions": positions_array(positions),
        "offset": offset,
        "tensor_format": tensor_format,
        "role": role,
        "mode": mode,
        "seq_len": seq_len,
    }


def where(question: Question) -> tensor.Where:
    """Return the coordinates of each token of a rotate input."""
    return tensor.positions_of(len(question["plan"]["axes"]), question["positions"], question["offset"])


def rotated(question: Question) -> truth.Values:
    """Return the exact result of a rotate input."""
    form, role, mode = question["tensor_format"], question["role"], question["mode"]
    return truth.rotate(question["plan"], question["x"], where(question), form, role, mode)


def y_of(question: Question) -> Array:
    """Return the result array of a rotate input; lanes in no row keep
    the sign of a zero (R-2.2).
    """
    found, x = rotated(question), question["x"]
    result = bounded(x["shape"], found.values, found.bounds)
    turned, size = {lane for pair in question["plan"]["lanes"] for lane in pair}, x["shape"][-1]
    for place, number in enumerate(x["data"]):
        if number == 0 and place % size not in turned:
            result["data"][place] = float(number)
    return result


def rotate(case_id: str, config: Mapping[str, Any] | None, about: About, **given: Any) -> Case:
    """A tensor, rotated."""
    question = rotation(config, **given)
    return case(case_id, "rotate", about, needs.of_rotation(question), question, value(y=y_of(question)))


def printed(
    case_id: str,
    config: Mapping[str, Any],
    about: About,
    values: list[str],
    indices: list[list[int]],
    how: str,
    **given: Any,
) -> Case:
    """A tensor, rotated, of which a document prints some elements."""
    question = rotation(config, **given)
    result = {"kind": "printed", "values": values, "indices": indices, "how": how}
    return case(case_id, "rotate", about, needs.of_rotation(question), question, result)


def wrapped(case_id: str, config: Mapping[str, Any], about: About, instead: Any, **given: Any) -> Case:
    """A position outside R-7.1: refused where positions are read, else that of `instead`."""
    question = rotation(config, **given)
    inside = y_of(question | {"positions": positions_array(instead)})
    result = {"kind": "either", "results": [{"policy": "refused"}, {"policy": "wrapped", "y": inside}]}
    return case(case_id, "rotate", about, needs.of_rotation(question), question, result)


def tables(
    case_id: str,
    config: Mapping[str, Any],
    about: About,
    positions: Any,
    role: str = "q",
    seq_len: int | None = None,
) -> Case:
    """cos and sin of each position and row."""
    canonical, places = plan.of_config(config, seq_len), from_nested(positions)
    shape, coordinates = tensor.every_coordinate(len(canonical["axes"]), places)
    shape = [*shape, len(canonical["lanes"])]
    cos, sin = (bounded(shape, part.values, part.bounds) for part in truth.tables(canonical, coordinates, role))
    question = {"plan": canonical, "config": dict(config), "positions": places, "role": role}
    features = needs.of_plan(canonical) | needs.of_positions(canonical, places, None)
    return case(case_id, "tables", about, features, question, value(cos=cos, sin=sin))


def vjp(case_id: str, config: Mapping[str, Any], about: About, **given: Any) -> Case:
    """The gradient with respect to x (R-11.1)."""
    question = rotation(config, **given)
    g = inputs.numbers(question["x"]["shape"], "g")
    form, role = question["tensor_format"], question["role"]
    mode = {"forward": "transpose", "transpose": "forward"}[question["mode"]]
    found = truth.rotate(question["plan"], g, where(question), form, role, mode)
    gx = bounded(g["shape"], found.values, found.bounds)
    return case(case_id, "vjp", about, needs.of_rotation(question), question | {"g": g}, value(gx=gx))


def scores(
    case_id: str,
    config: Mapping[str, Any],
    about: About,
    *,
    q: Data,
    k: Data,
    positions: list[int],
    k_positions: list[int] | None = None,
) -> Case:
    """Products of rotated queries and keys (R-9.11)."""
    canonical = plan.of_config(config)
    sides = {"q": (data(q, "q"), from_nested(positions)), "k": (data(k, "k"), from_nested(k_positions or positions))}
    turned = {
        role: (x, truth.rotate(canonical, x, tensor.positions_of(len(canonical["axes"]), at, None), role=role))
        for role, (x, at) in sides.items()
    }
    shape, found = truth.scores(turned["q"], turned["k"])
    question = {
        "plan": canonical,
        "config": dict(config),
        "q": sides["q"][0],
        "k": sides["k"][0],
        "positions": sides["q"][1],
        "k_positions": sides["k"][1],
    }
    features = needs.of_plan(canonical).union(*(needs.of_positions(canonical, at, None) for _, at in sides.values()))
    return case(case_id, "scores", about, features, question, value(scores=bounded(shape, found.values, found.bounds)))


def shift(case_id: str, config: Mapping[str, Any], about: About, *, x: Data, delta: int) -> Case:
    """Rotated keys, moved (R-9.5)."""
    canonical, keys = plan.of_config(config), data(x, "k")
    found = truth.shift(canonical, keys, delta)
    question = {"plan": canonical, "x": keys, "delta": delta}
    features = needs.of_plan(canonical) | needs.of_numbers([delta])
    return case(
        case_id, "shift", about, features, question, value(y=bounded(keys["shape"], found.values, found.bounds))
    )


def frequencies(case_id: str, config: Mapping[str, Any], about: About, seq_len: int | None = None) -> Case:
    """The frequencies of a configuration, in the order of pairs (R-4.4; withdrawn ones keep the
    bounds of R-4.2).
    """
    found = plan.frequencies(config, seq_len, of_r_4_2=case_id in WITHDRAWN)
    matrix, relative = flat(found.matrix), flat(found.relative)
    result = value(
        frequencies=within(shape_of(found.matrix), matrix, relative),
        attention_factor=within([], [found.attention_factor], [EIGHT_ULPS]),
        log_magnitude=found.log_magnitude
        and within([len(found.log_magnitude)], found.log_magnitude, [EIGHT_ULPS] * len(found.log_magnitude)),
    )
    features = needs.of_plan(plan.of_config(config, seq_len), lanes=False)
    return case(case_id, "frequencies", about, features, {"config": dict(config), "seq_len": seq_len}, result)


def within(shape: Sequence[int], values: Sequence[float], relative: Sequence[Any]) -> Array:
    """Return a result array with the bounds that relative ones come to."""
    given = [exact(number) for number in values]
    least = [SUBNORMAL if number and bound else 0 for number, bound in zip(given, relative, strict=True)]
    return bounded(
        shape,
        given,
        [abs(number) * bound + floor for number, bound, floor in zip(given, relative, least, strict=True)],
    )


def plan_of_config(case_id: str, config: Mapping[str, Any], about: About, seq_len: int | None = None) -> Case:
    """The canonical plan of a configuration (R-2.5)."""
    canonical = plan.of_config(config, seq_len)
    return case(
        case_id,
        "plan",
        about,
        needs.of_plan(canonical),
        {"config": dict(config), "seq_len": seq_len},
        value(plan=canonical),
    )


def plan_of_rows(case_id: str, rows: plan.Plan, about: About) -> Case:
    """The canonical plan of a plan object (R-2.5)."""
    canonical = plan.canonical(rows)
    return case(case_id, "plan", about, needs.of_plan(canonical), {"rows": rows}, value(plan=canonical))


def cache(case_id: str, config: Mapping[str, Any], about: About, positions: Any, layout: str) -> Case:
    """cos and sin in a layout of chapter 8."""
    canonical, places = plan.of_config(config), from_nested(positions)
    shape, coordinates = tensor.every_coordinate(len(canonical["axes"]), places)
    cos, sin = truth.tables(canonical, coordinates)
    count = len(canonical["lanes"])
    entries = [list(zip(part.values, part.bounds, strict=True)) for part in (cos, sin)]
    stored = [
        layouts.LAYOUTS[layout](canonical, *(part[at : at + count] for part in entries))
        for at in range(0, count * math.prod(shape), count)
    ]
    arrays = []
    for number, (tail, _) in enumerate(stored[0]):
        joined = [entry for place in stored for entry in place[number][1]]
        arrays.append(bounded([*shape, *tail], *zip(*joined, strict=True)))
    question = {"plan": canonical, "positions": places, "layout": layout}
    features = needs.of_plan(canonical) | needs.of_positions(canonical, places, None)
    return case(case_id, "cache", about, features, question, value(arrays=arrays))


def angles(case_id: str, config: Mapping[str, Any], about: About, positions: Any) -> Case:
    """Angles, to be compared modulo 2 pi (R-8.2)."""
    canonical, places = plan.of_config(config), from_nested(positions)
    shape, coordinates = tensor.every_coordinate(len(canonical["axes"]), places)
    found = truth.angles(canonical, coordinates)
    features = needs.of_plan(canonical) | needs.of_positions(canonical, places, None)
    result = value(angles=bounded([*shape, len(canonical["lanes"])], found.values, found.bounds))
    return case(case_id, "angles", about, features, {"plan": canonical, "positions": places}, result)


def positions(case_id: str, builder: str, arguments: Mapping[str, Any], about: About, result: Any) -> Case:
    """Positions that a builder makes; several arrays as an object of arrays."""
    question = {"builder": builder, "arguments": dict(arguments)}
    if isinstance(result, dict):
        found = {name: unchanging(**from_nested(part)) for name, part in result.items()}
        return case(case_id, "positions", about, set(), question, value(positions=found))
    return case(case_id, "positions", about, set(), question, value(positions=unchanging(**from_nested(result))))


def sinusoid(case_id: str, about: About, positions: list[int], dim: int, base: float) -> Case:
    """The sinusoidal encoding of the original Transformer."""
    found = truth.sinusoid(positions, dim, base)
    question = {"positions": from_nested(positions), "dim": dim, "base": base}
    result = value(encoding=bounded([len(positions), dim], found.values, found.bounds))
    return case(case_id, "sinusoid", about, needs.of_numbers(positions), question, result)


def sequence(case_id: str, about: About, calls: Sequence[tuple[Question, str | None]]) -> Case:
    """Rotate inputs, run in order in one process; each with the dtype of its x, or None."""
    features = set[str]().union(*(needs.of_rotation(question) for question, _ in calls))
    asked = {"calls": [question | {"dtype": dtype} for question, dtype in calls]}
    return case(
        case_id, "sequence", about, features, asked, value(calls=[{"y": y_of(question)} for question, _ in calls])
    )


def pair(case_id: str, about: About, first: Question, second: Question) -> Case:
    """Two rotate inputs whose results have the same bits in C order."""
    features = needs.of_rotation(first) | needs.of_rotation(second)
    results = [y_of(question) for question in (first, second)]
    if results[0]["data"] != results[1]["data"]:
        raise ValueError(f"{case_id}: the two results differ")
    question = {"first": first, "second": second}
    return case(case_id, "pair", about, features, question, value(first={"y": results[0]}, second={"y": results[1]}))


def ambient(case_id: str, config: Mapping[str, Any], about: About, mode: str, **given: Any) -> Case:
    """A rotate input, run under a mode of the framework that must change nothing (R-2.8)."""
    question = rotation(config, **given)
    return case(
        case_id, "ambient", about, needs.of_rotation(question), question | {"ambient": mode}, value(y=y_of(question))
    )


def beside(case_id: str, config: Mapping[str, Any], about: About, heads: int, **given: Any) -> Case:
    """A rotate input that is a part of a larger array: so many heads behind those of x are not
    passed (R-2.8).
    """
    question = rotation(config, **given)
    shape, at = list(question["x"]["shape"]), question["tensor_format"].index("h")
    others = inputs.numbers([*shape[:at], heads, *shape[at + 1 :]], "v")
    features = needs.of_rotation(question)
    return case(case_id, "beside", about, features, question | {"others": others}, value(y=y_of(question)))


def meta(case_id: str, config: Mapping[str, Any], about: About, **given: Any) -> Case:
    """A rotate input for a module that was built without memory, and got it later."""
    question = rotation(config, **given)
    return case(case_id, "meta", about, needs.of_rotation(question), question, value(y=y_of(question)))


def weights(
    case_id: str,
    configs: tuple[Mapping[str, Any], Mapping[str, Any]],
    about: About,
    tensor: str,
    n_heads: int,
    rows: int,
) -> Case:
    """A tensor of the query or key projection, from the lanes of one configuration to those of
    another (R-3.3).

    tensor: rows, bias, norm, scale or lora_b.  rows: entries that have an entry a lane; a matrix
    has two columns.
    """
    made = [plan.of_config(config) for config in configs]
    weight = inputs.numbers([rows, 2] if tensor in ("rows", "lora_b") else [rows], "w")
    width = len(weight["data"]) // rows
    order = lanes.new_order(configs[0], configs[1], rows, n_heads)
    moved = [weight["data"][width * row + column] for row in order for column in range(width)]
    names = ("plan_from", "plan_to")
    question = dict(zip(names, made, strict=True)) | {"tensor": tensor, "n_heads": n_heads, "weight": weight}
    result = value(weight=unchanging(weight["shape"], moved))
    return case(case_id, "weights", about, needs.of_plan(made[0]) | needs.of_plan(made[1]), question, result)


def read(
    case_id: str,
    source: Mapping[str, Any],
    config: Mapping[str, Any] | None,
    about: About,
    layer_type: str | None = None,
    seq_len: int | None = None,
) -> Case:
    """A model's configuration file, and the plan that it describes; config None: it describes no
    rotation.
    """
    canonical = None if config is None else plan.of_config(config, seq_len)
    asked = {"source": dict(source), "layer_type": layer_type, "seq_len": seq_len}
    question = asked | {"config": None if config is None else dict(config)}
    features = set() if canonical is None else needs.of_plan(canonical)
    return case(case_id, "config", about, features, question, value(plan=canonical))


def reject_source(case_id: str, source: Mapping[str, Any], about: About, argument: str) -> Case:
    """A model's configuration file that must be refused (R-12.6)."""
    return case(case_id, "reject", about, set(), {"call": "source", "source": dict(source), "argument": argument}, None)


def reject_config(
    case_id: str, config: Mapping[str, Any], about: About, argument: str, seq_len: int | None = None
) -> Case:
    """A configuration that must be refused (chapter 12)."""
    question = {"call": "config", "config": dict(config), "seq_len": seq_len, "argument": argument}
    return case(case_id, "reject", about, set(), question, None)


def reject_plan(case_id: str, rows: Mapping[str, Any], about: About, argument: str) -> Case:
    """A plan object that must be refused (chapter 12)."""
    return case(case_id, "reject", about, set(), {"call": "plan", "plan": dict(rows), "argument": argument}, None)


def reject_rotate(
    case_id: str,
    config: Mapping[str, Any],
    about: About,
    argument: str,
    dtype: str | None = None,
    **given: Any,
) -> Case:
    """A call that must be refused (chapter 12); dtype: that of x, where it is not a float."""
    question = rotation(config, **given)
    features = needs.of_plan(question["plan"]) | ({"offset"} if question["offset"] is not None else set())
    asked = {"call": "rotate"} | question | {"dtype": dtype, "argument": argument}
    return case(case_id, "reject", about, features, asked, None)
