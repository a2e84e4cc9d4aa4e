"""Known bugs as hypotheses: each mutant of the conformance suite predicts what a black box answers,
and is compared with it.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ropecore.config import RopeConfig
from ropecore.plan import RotaryPlan

from ..mutants import Right, axes, mutants
from ..mutants.base import FromConfig

Box: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[np.int64]], Any]
CLOSE = {"float32": 4e-6, "float64": 4e-6, "bfloat16": 0.04}  # of numbers below 4; 16-bit results may round apart
LOST_IN_FLOAT32 = 16 * 2.0**-24  # k of for frequencies that are made in float32, and its rules
SAME = 0.95  # of the elements of a 16-bit result: arithmetic in 16 bits changes a third of them
LISTS: tuple[tuple[str, tuple[int, int, int], Any], ...] = (  # batch, heads, tokens, and the positions
    ("several heads, positions 0, 1, 2", (1, 2, 3), [0, 1, 2]),
    ("unsorted positions 5, 3, 4", (1, 2, 3), [5, 3, 4]),  # as many, other values
    ("one token in each of two rows", (2, 1, 1), [7]),
    ("rows with positions of their own", (2, 3, 2), [[0, 1], [7, 8]]),
    ("as many heads as tokens", (1, 3, 3), [0, 1, 7]),
    ("positions from 257 to 40001", (1, 1, 5), [257, 2049, 4097, 8193, 40001]),
    ("positions 131071 and 1048575", (1, 1, 2), [131071, 1048575]),
    ("positions above 2^24", (1, 1, 2), [(1 << 24) + 1, (1 << 30) + 1]),
    ("negative positions", (1, 1, 2), [-1, -5]),
    ("repeated positions", (1, 4, 5), [3, 3, 8, 1, 3]),
    ("three rows with the same positions", (3, 2, 4), [2, 9, 4, 30]),
    ("eleven tokens", (1, 1, 11), list(range(11))),
)
NOT_A_NUMBER, SHORT = "one NaN", "bfloat16"


@dataclass(frozen=True)
class Suspect:
    """A known bug, by its flag, that behaves as the black box does."""

    flag: str
    bug: str


@dataclass(frozen=True)
class Answer:
    """What one call came to: numbers and their dtype, whether x was changed, or the refusal."""

    y: npt.NDArray[np.float64] | None
    dtype: str
    changed: bool


@dataclass(frozen=True)
class Probed:
    """A question and the box's answer."""

    words: str
    x: npt.NDArray[Any]
    positions: npt.NDArray[np.int64]
    answer: Answer


def ask(fn: Box, head_dim: int, dtype: str, n_axes: int) -> list[Probed]:
    """Return what a box answers to the questions in which known bugs show, asked in this order."""
    asked = [(words, x, on_axes(places, n_axes)) for words, x, places in _questions(head_dim, dtype)]
    if n_axes > 1:
        asked = [(words, x, places) for words, x, places in asked if places.ndim == 2]  # (n_axes, s)
    return [Probed(words, x, places, answer_of(fn, x, places)) for words, x, places in asked]


def on_axes(places: npt.NDArray[np.int64], n_axes: int) -> npt.NDArray[np.int64]:
    """Return positions with a coordinate an axis, of which no two agree;
    as they are for one axis.
    """
    if n_axes == 1:
        return places
    return np.array([np.roll(places, axis, axis=-1) + axis for axis in range(n_axes)])


def suspects(
    probed: list[Probed], plan: RotaryPlan | None, expected: RopeConfig | None, seq_len: int | None, single: bool
) -> tuple[Suspect, ...]:
    """Return the known bugs that explain every answer of a box, if the right rotation does not.

    They are tried on the expected configuration, else on the plan that was found.  single: the box
    is of the class float32, which is a policy and no bug: where nothing explains it to the last
    digit, what that class loses is allowed (R-10.6).
    """
    wanted = plan if expected is None else expected.plan(seq_len)
    if wanted is None or not probed or wanted.n_axes > 1 or wanted.head_dim != probed[0].x.shape[-1]:
        return ()
    config = None if expected is None else expected.to_dict()
    found = _fitting(probed, wanted, config, seq_len, 0.0)
    if found is None and single:
        lost = LOST_IN_FLOAT32 * float(np.abs(wanted.frequencies).max(initial=0.0))
        found = _fitting(probed, wanted, config, seq_len, lost)
    return found or ()


def _fitting(
    probed: list[Probed], plan: RotaryPlan, config: Mapping[str, Any] | None, seq_len: int | None, lost: float
) -> tuple[Suspect, ...] | None:
    """Return the bugs that explain the answers: () if there is none as the right rotation does,
    None if nothing does.

    lost: what an angle may miss, a position.
    """
    if _explains(_box(Right(), plan, config, seq_len), probed, lost):
        return ()
    single = [each for each in mutants() if each.__module__ != axes.__name__]  # those are about several axes
    usable = [each for each in single if config is not None or not issubclass(each, FromConfig)]
    fitting = [each for each in usable if _explains(_box(each(), plan, config, seq_len), probed, lost)]
    return tuple(Suspect(each.flag, (each.__doc__ or "").strip().rstrip(".")) for each in fitting) or None


def _questions(head_dim: int, dtype: str) -> Iterator[tuple[str, npt.NDArray[Any], npt.NDArray[np.int64]]]:
    """Yield inputs in which no two lanes, tokens or heads agree, one with NaN, and one of 16 bits
    where that can be made.
    """
    for words, shape, places in LISTS:
        yield words, _numbers((*shape, head_dim)).astype(dtype), np.array(places)
    spoilt = _numbers((1, 1, 2, head_dim)).astype(dtype)
    spoilt[0, 0, 1, 0] = np.nan
    yield NOT_A_NUMBER, spoilt, np.array([1, 3])
    try:
        short = importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        return
    yield SHORT, _numbers((1, 2, 3, head_dim)).astype(short), np.array([5, 100, 300])


def _numbers(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return numbers below 4 that are exact in 16 bits."""
    index = np.arange(int(np.prod(shape)))
    return ((2 * ((37 * index + 34 * index * index + 19) % 128) - 127) / 32.0).reshape(shape)


def answer_of(fn: Box, x: npt.NDArray[Any], places: npt.NDArray[np.int64]) -> Answer:
    """Return what a call comes to; the box gets a copy."""
    given = x.copy()
    try:
        y = np.asarray(fn(given, places.copy()))
        return Answer(y.astype(np.float64), y.dtype.name, given.tobytes() != x.tobytes())
    except Exception:
        return Answer(None, "", False)


def _box(target: Any, plan: RotaryPlan, config: Mapping[str, Any] | None, seq_len: int | None) -> Box:
    """Return a target of the suite as a black box."""
    if isinstance(target, FromConfig):
        case = {"config": config, "seq_len": seq_len}
        return lambda x, places: target.apply(plan, x, places, case=case)
    return lambda x, places: target.apply(plan, x, positions=places)


def _explains(hypothesis: Box, probed: list[Probed], lost: float) -> bool:
    """Return whether a hypothesis gives every answer that the box gave; what the box refused says
    nothing.
    """
    for each in probed:
        if each.answer.y is None:
            continue
        predicted = answer_of(hypothesis, each.x, each.positions)
        if predicted.y is None or (predicted.dtype, predicted.changed) != (each.answer.dtype, each.answer.changed):
            return False
        limit = min(2.0, CLOSE[each.x.dtype.name] + lost * float(np.abs(each.positions).max()))
        if not _close(predicted.y, each.answer.y, limit):
            return False
        if not lost and each.x.dtype.itemsize == 2 and (predicted.y == each.answer.y).mean() < SAME:
            return False
    return True


def _close(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], limit: float) -> bool:
    """Return whether two results agree, with NaN in the same places."""
    if one.shape != other.shape:
        return False
    size = max(1.0, float(np.nanmax(np.abs(one), initial=0.0)))
    return bool(np.allclose(one, other, rtol=0.0, atol=limit * size, equal_nan=True))
