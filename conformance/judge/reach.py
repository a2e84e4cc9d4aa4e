"""How far a target is exact: the error of its cosines and sines, position by position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import ropecore

from .. import bounds
from ..arrays import Floats
from ..target import Target
from ..verdicts import Way
from . import question
from .question import Call

POSITIONS = tuple(2**n - 1 for n in range(1, 32))  # of full mantissas
TABLE = 2**20  # positions that a target without the feature large_positions is asked for
EXACT = 1.2e-7
CONFIG = {"head_dim": 128, "base": 10000.0}


@dataclass(frozen=True)
class Step:
    """The largest error of a cosine or a sine at one position."""

    position: int
    error: float
    units: float = 0.0  # of the bound that the declared words give


def reach(target: Target) -> list[Step]:
    """Return the error at each of POSITIONS, up to the first that the target does not answer:
    head_dim 128, base 10,000.

    x is 1 on the first lane of each pair and 0 on the second, so the rotated pair is the cosine and
    the sine.
    """
    steps: list[Step] = []
    features = target.capabilities.features
    if "float32" not in target.capabilities.dtypes:
        return steps
    for position in POSITIONS:
        if features is not None and "large_positions" not in features and position >= TABLE:
            break
        try:
            error, units = error_at(target, position)
        except Exception:  # a refusal, or a table that ends here: the cases say so
            break
        if not np.isfinite(error):
            break
        steps.append(Step(position, error, units))
    return steps


def exact_up_to(steps: list[Step]) -> int | None:
    """Return the last position before the first error above 1.2e-7, None if there is none."""
    last = None
    for step in steps:
        if not step.error <= EXACT:
            break
        last = step.position
    return last


def missed(steps: Sequence[Step]) -> Step | None:
    """Return the first position at which a target is less exact than it declares, None if there is
    none.
    """
    return next((step for step in steps if step.units > 1), None)


def told(steps: list[Step]) -> str:
    """Return in a line how far a target is exact, and what it loses at the last position that was
    asked.
    """
    last, exact = steps[-1], exact_up_to(steps)
    where = "at no position that was asked" if exact is None else f"up to position {exact:,}"
    return f"exact (1.2e-7) {where}; error {last.error:.2g} at {last.position:,}"


def error_at(target: Target, position: int) -> tuple[float, float]:
    """Return the largest error of the target's cosines and sines at a position, and the largest in
    units of its bound.

    The bound is that of a table (R-10.6, 2): a product with 1 and a sum with 0 are exact.
    """
    call = call_at(target, position)
    way = Way("float32", "apply")
    y = target.to_numpy(question.once(target, call, target.asarray(call.x, way.dtype), way)).astype(np.float64)
    error = np.abs(y - call.rotation(call.x))
    bound = bounds.table_bound(call.at, way.dtype, target.capabilities.words(way.dtype), call.own(target))
    pairs = np.maximum(error[..., call.plan.out[:, 0]], error[..., call.plan.out[:, 1]])
    return float(error.max()), float((pairs / bound).max())


def call_at(target: Target, position: int) -> Call:
    """Return a call at one position, in a pairing that the target declares."""
    config = {**CONFIG, **_pairing(target.capabilities.features)}
    plan = ropecore.RopeConfig.from_dict(config).plan()
    x: Floats = np.zeros((1, 1, 1, plan.head_dim))
    x[..., plan.lanes[:, 0]] = 1
    arrays: dict[str, Any] = {
        "x": {"shape": list(x.shape), "data": x.ravel().tolist()},
        "positions": {"shape": [1], "data": [position]},
    }
    about = {"id": f"reach/{position}", "kind": "rotate", "plan": plan.to_dict(), "config": config, "role": "q"}
    return Call.read({**about, **arrays})


def _pairing(features: frozenset[str] | None) -> dict[str, str]:
    """Return the pairing to ask for."""
    for pairing in ("half_split", "interleaved"):
        if features is None or pairing in features:
            return {"pairing": pairing}
    return {"pairing": "interleaved", "out_pairing": "half_split"}
