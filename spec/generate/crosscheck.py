"""A second, shorter computation of every rotation: complex numbers, from the case object alone.

It shares nothing with `truth` and `tensor` but mpmath, so that a slip there does not reach a
vector.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from mpmath import exp, expjpi, fsum, mpc, mpf, pi

from .cases import Case

Index: TypeAlias = tuple[int, ...]
Object: TypeAlias = Mapping[str, Any]


def entries(array: Object) -> dict[Index, Any]:
    """Return an array as a map from index to number."""
    return dict(zip(itertools.product(*map(range, array["shape"])), array["data"], strict=True))


def position(question: Object, axis: int, row: int, token: int) -> Any:
    """Return the coordinate of a token on one axis."""
    if question["positions"] is None:
        offset = question["offset"] or 0
        return token + (offset[row % len(offset)] if isinstance(offset, list) else offset)
    shape, ids = question["positions"]["shape"], entries(question["positions"])
    index: Index = (axis,) if len(question["plan"]["axes"]) > 1 else ()
    if len(shape) - len(index) == 1:
        return ids[(*index, token)]
    return ids[(*index, row % shape[len(index)], token)]


def growth(question: Object, j: int, first: Any) -> Any:
    """Return A and the magnitude of row j."""
    plan, sign = question["plan"], {"q": 1, "k": -1}[question["role"]]
    logs = plan["log_magnitude"] or [0] * (j + 1)
    return mpf(plan["attention_factor"]) * exp(sign * mpf(logs[j]) * (mpf(first) - mpf(plan["centre"])))


def spun(question: Object, x: Object, mode: str) -> list[Any]:
    """Return the rotated tensor in C order, as complex products."""
    plan, given = question["plan"], entries(x)
    out = {index: mpf(number) for index, number in given.items()}
    known: dict[Any, Any] = {}
    for head in itertools.product(*map(range, x["shape"][:-1])):
        at = {"b": 0, "s": 0, "t": 0} | dict(zip(question["tensor_format"], head, strict=False))
        where = tuple(position(question, a, at["b"], at["s"] + at["t"]) for a in range(len(plan["axes"])))
        for j, frequency in enumerate(plan["frequencies"]):
            read, write = plan["lanes"][j], plan["out_lanes"][j]
            if (where, j) not in known:
                turns = fsum(mpf(f) * mpf(p) for f, p in zip(frequency, where, strict=True)) / pi
                size = growth(question, j, where[0])
                known[where, j] = {
                    "forward": expjpi(turns) * size,
                    "transpose": expjpi(-turns) * size,
                    "inverse": expjpi(-turns) / size,
                }[mode]
            if mode != "forward":
                read, write = write, read
            z = mpc(given[(*head, read[0])], given[(*head, read[1])]) * known[where, j]
            out[(*head, write[0])], out[(*head, write[1])] = z.real, z.imag
    return list(out.values())


def as_rotation(
    plan: Object, x: Object, positions: Object | None, role: str, offset: int | None = None
) -> dict[str, Any]:
    """Return a rotate input for the other kinds."""
    return {"plan": plan, "x": x, "positions": positions, "offset": offset, "tensor_format": "bhsd", "role": role}


def rotations(case: Case) -> Iterator[tuple[list[Any], Object]]:
    """Yield what was computed here and the result array it belongs to,
    for every kind that rotates.
    """
    result = case.get("result", {})
    match case["kind"]:
        case "rotate" | "ambient" | "beside" | "meta" if result["kind"] == "value":
            yield spun(case, case["x"], case["mode"]), result["y"]
        case "vjp":
            yield spun(case, case["g"], "transpose" if case["mode"] == "forward" else "forward"), result["gx"]
        case "sequence":
            for call, found in zip(case["calls"], result["calls"], strict=True):
                yield spun(call, call["x"], call["mode"]), found["y"]
        case "pair":
            for name in ("first", "second"):
                yield spun(case[name], case[name]["x"], case[name]["mode"]), result[name]["y"]
        case "shift":
            plan = case["plan"] | {"lanes": case["plan"]["out_lanes"], "attention_factor": 1, "centre": 0}
            axes, tokens = len(plan["axes"]), case["x"]["shape"][-2]
            here = {"shape": [axes, tokens] if axes > 1 else [tokens], "data": [case["delta"]] * axes * tokens}
            yield spun(as_rotation(plan, case["x"], here, "k"), case["x"], "forward"), result["y"]
        case "scores":
            yield products(case), result["scores"]


def products(case: Case) -> list[Any]:
    """Return the scores of a case."""
    q, k = (
        dict(
            zip(itertools.product(*map(range, case[name]["shape"])), spun(question, case[name], "forward"), strict=True)
        )
        for name, question in (
            ("q", as_rotation(case["plan"], case["q"], case["positions"], "q")),
            ("k", as_rotation(case["plan"], case["k"], case["k_positions"], "k")),
        )
    )
    (batch, heads, queries, dim), (_, groups, keys, _) = case["q"]["shape"], case["k"]["shape"]
    return [
        fsum(q[b, h, i, n] * k[b, h // (heads // groups), j, n] for n in range(dim))
        for b, h, i, j in itertools.product(range(batch), range(heads), range(queries), range(keys))
    ]


def problems(cases: Iterable[Case]) -> list[str]:
    """Return the cases whose numbers this module does not find again, to the last bit."""
    found = []
    for case in cases:
        for computed, array in rotations(case):
            pairs = zip(computed, array["data"], strict=True)
            if any(float(here) != there for here, there in pairs if math.isfinite(there)):
                found.append(f"{case['id']}: the cross-check finds other numbers")
    return found
