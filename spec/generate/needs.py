"""Which features an implementation must have for a case to apply (README, `needs`)."""

from collections.abc import Iterable, Mapping
from typing import Any

from .numbers import Array
from .plan import Plan
from .tensor import Offset

FEATURES = (
    "half_split",
    "interleaved",
    "general_lanes",
    "partial",
    "attention_factor",
    "axes",
    "real_axes",
    "magnitude",
    "batched_positions",
    "offset",
    "tensor_format",
    "negative_positions",
    "large_positions",
)


def of_lanes(plan: Plan) -> set[str]:
    """Return the pairing that the lanes of a plan show; one pair of two lanes shows none."""
    pairs, count = plan["lanes"], len(plan["lanes"])
    found = {"partial"} if 2 * count < plan["head_dim"] else set()
    if pairs != plan["out_lanes"]:
        return found | {"general_lanes"}
    patterns = {
        "half_split": [[j, j + count] for j in range(count)],
        "interleaved": [[2 * j, 2 * j + 1] for j in range(count)],
    }
    fitting = {name for name, lanes in patterns.items() if lanes == pairs}
    if len(fitting) > 1:
        return found
    return found | (fitting or {"general_lanes"})


def of_plan(plan: Plan, lanes: bool = True) -> set[str]:
    """Return what a plan asks for; lanes: also how it pairs them."""
    shown = {
        "attention_factor": plan["attention_factor"] != 1,
        "axes": len(plan["axes"]) > 1,
        "real_axes": "real" in plan["axis_kinds"],
        "magnitude": plan["log_magnitude"] is not None,
    }
    return {name for name, is_shown in shown.items() if is_shown} | (of_lanes(plan) if lanes else set())


def of_numbers(positions: Iterable[float]) -> set[str]:
    """Return what the size and the sign of positions ask for."""
    values = list(positions)
    large = any(abs(p) > 2**24 for p in values)
    return ({"negative_positions"} if any(p < 0 for p in values) else set()) | ({"large_positions"} if large else set())


def of_positions(plan: Plan, positions: Array | None, offset: Offset | None, tokens: int = 1) -> set[str]:
    """Return what positions, or an offset in their place, ask for."""
    if positions is None:
        starts = [offset or 0] if isinstance(offset, int | None) else list(offset)
        found = {"offset"} | of_numbers([*starts, *(start + tokens - 1 for start in starts)])
        return found | (set() if isinstance(offset, int | None) else {"batched_positions"})
    dimensions = len(positions["shape"]) - (len(plan["axes"]) > 1)
    return of_numbers(positions["data"]) | ({"batched_positions"} if dimensions == 2 else set())


def of_rotation(question: Mapping[str, Any]) -> set[str]:
    """Return what a rotate input asks for."""
    tensor_format, shape = question["tensor_format"], question["x"]["shape"]
    tokens = shape[tensor_format.index("t" if "t" in tensor_format else "s")]
    found = of_plan(question["plan"]) | of_positions(
        question["plan"], question["positions"], question["offset"], tokens
    )
    return found | ({"tensor_format"} if tensor_format != "bhsd" else set())


def listed(features: Iterable[str]) -> list[str]:
    """Return features in the order of the README."""
    wanted = set(features)
    return [name for name in FEATURES if name in wanted]
