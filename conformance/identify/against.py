"""What speaks against a plan: answers of the box that are not the plan's, and where the plan is not
the expected one.
"""

from collections.abc import Iterator

import numpy as np

from ropecore.plan import FloatArray, RotaryPlan

from ..bounds import STORE
from ..mutants import Right
from .bugs import CLOSE, LOST_IN_FLOAT32, Box, Probed, answer_of

TOLD = 3  # problems of one kind that are told


def unlike(probed: list[Probed], plan: RotaryPlan, unsure: float, exact: bool, table: str) -> list[str]:
    """Return in words what the box answers otherwise than its plan; what it refused says nothing.

    unsure: of a frequency, in radians a position.  exact: angles of the class float32 are not
    allowed for.  table: the 16-bit format that holds its tables, or "".
    """
    rounded = STORE[table] if table else 0.0
    fastest = float(np.abs(plan.frequencies).max(initial=0.0))
    lost = unsure + (0.0 if exact else LOST_IN_FLOAT32 * fastest)
    found: list[str] = []
    right: Box = lambda x, positions: Right().apply(plan, x, positions)
    for each in probed:
        if each.answer.y is None:
            continue
        predicted = answer_of(right, each.x, each.positions)
        if predicted.y is not None:
            found += [f"{words} ({each.words})" for words in _unlike(each, predicted.y, rounded, lost)]
    rest = [f"and {len(found) - TOLD} more questions are answered otherwise"] if len(found) > TOLD else []
    return found[:TOLD] + rest


def _unlike(each: Probed, predicted: FloatArray, rounded: float, lost: float) -> Iterator[str]:
    """Yield how an answer differs from the predicted one."""
    answer = each.answer
    assert answer.y is not None  # asked by the caller
    if answer.changed:
        yield "its input is changed by the call"
    if answer.y.shape != predicted.shape:
        yield f"it answers shape {answer.y.shape} for {predicted.shape}"
        return
    if not np.array_equal(np.isnan(answer.y), np.isnan(predicted)):
        yield "NaN is in other places than in the plan's rotation"
        return
    size = max(1.0, float(np.nanmax(np.abs(predicted), initial=0.0)))
    limit = size * min(
        2.0, CLOSE[each.x.dtype.name] + 2 * rounded + lost * float(np.abs(each.positions).max(initial=0))
    )
    miss = float(np.nanmax(np.abs(answer.y - predicted), initial=0.0))
    if not miss <= limit:
        yield f"the plan misses the box by {miss:.2g}"


def unexpected(found: RotaryPlan, wanted: RotaryPlan, unsure: float) -> list[str]:
    """Return in words where a plan is not the expected one, one property after the other.

    unsure: of a frequency, in radians a position.
    """
    if found.head_dim != wanted.head_dim:
        return [f"head_dim is {found.head_dim}, and {wanted.head_dim} is expected"]
    if found.n_axes != wanted.n_axes:
        return [f"positions have {_count(found.n_axes, 'coordinate')}, and {wanted.n_axes} are expected"]
    told = [*_lanes(found, wanted)] or [*_frequencies(found, wanted, unsure)]
    if abs(found.attention_factor - wanted.attention_factor) > CLOSE["float32"] * wanted.attention_factor:
        told.append(f"the factor A is {found.attention_factor:.7g}, and {wanted.attention_factor:.7g} is expected")
    return [*told, *_magnitude(found, wanted)]


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _lanes(found: RotaryPlan, wanted: RotaryPlan) -> Iterator[str]:
    """Yield how the lanes differ."""
    if found.n_pairs != wanted.n_pairs:
        if not found.n_pairs:
            yield f"nothing is rotated, and {wanted.rotary_dim} lanes are expected to be"
            return
        yield f"{found.rotary_dim} lanes are rotated, and {wanted.rotary_dim} are expected"
    elif found.pairing != wanted.pairing:
        yield f"the pairing is {found.pairing}, and {wanted.pairing} is expected"
    elif not np.array_equal(found.lanes, wanted.lanes):
        at = int(np.flatnonzero((found.lanes != wanted.lanes).any(axis=1))[0])
        yield f"lanes {found.lanes[at].tolist()} are a pair, and {wanted.lanes[at].tolist()} are expected"
    elif not np.array_equal(found.out, wanted.out):
        at = int(np.flatnonzero((found.out != wanted.out).any(axis=1))[0])
        yield (
            f"lanes {found.lanes[at].tolist()} are written to {found.out[at].tolist()}, and "
            f"{wanted.out[at].tolist()} is expected"
        )


def _frequencies(found: RotaryPlan, wanted: RotaryPlan, unsure: float) -> Iterator[str]:
    """Yield how the frequencies differ; integer positions tell them up to multiples of 2 pi."""
    limit = CLOSE["float32"] * np.minimum(np.abs(wanted.frequencies), 1.0) + unsure
    apart = _reduced(found.frequencies - wanted.frequencies)
    if (np.abs(apart) <= limit).all():
        return
    if (np.abs(_reduced(found.frequencies + wanted.frequencies)) <= limit).all():
        yield "it turns backwards: the direction is the opposite of the expected one"
        return
    row, axis = (int(i) for i in np.argwhere(np.abs(apart) > limit)[0])
    wrong = int((np.abs(apart) > limit).any(axis=1).sum())
    where = f" on axis {axis}" if found.n_axes > 1 else ""
    yield (
        f"{_count(wrong, 'frequency').replace('frequencys', 'frequencies')} of {found.n_pairs} differ: lanes "
        f"{found.lanes[row].tolist()} turn by {found.frequencies[row, axis]:.9g} a position{where}, and "
        f"{_reduced(wanted.frequencies)[row, axis]:.9g} is expected"
    )


def _reduced(angles: FloatArray) -> FloatArray:
    return np.asarray(angles - 2 * np.pi * np.rint(angles / (2 * np.pi)))


def _magnitude(found: RotaryPlan, wanted: RotaryPlan) -> Iterator[str]:
    """Yield how the magnitudes differ."""
    one, other = found.log_magnitude, wanted.log_magnitude
    if (one is None) != (other is None):
        yield "the size of a result " + (
            "does not change with the position, and is expected to"
            if one is None
            else "changes with the position, and is not expected to"
        )
    elif one is not None and other is not None and one.shape == other.shape:
        if not np.allclose(one, other, rtol=1e-3, atol=1e-6):
            yield f"the magnitude's log a position is {one[0]:.4g}, and {other[0]:.4g} is expected"
        elif np.ptp(one) >= 1e-9 and abs(found.centre - wanted.centre) > 0.5:
            yield f"the magnitude's centre is {found.centre:g}, and {wanted.centre:g} is expected"
