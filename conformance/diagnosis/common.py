"""What failures have in common: a property of the cases and of the ways to ask them, or of the
elements that are wrong.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Array
from ..cases import Case
from ..judge.compare import error_units
from ..judge.question import Call
from .bugs import Answer

PAIRINGS = ("half_split", "interleaved")
SHOWN = 3  # properties that are told
LISTED = 4  # values of a property that are told
PURE = 0.5  # a property is told if half of the answers that have it fail
TELLING = 3.0  # or if three times the share fails that fails of all
ROTATED = ("rotate", "ambient", "beside", "meta", "vjp")  # kinds with one x and one result in its shape
PLACES = {"b": "batch row", "h": "head", "s": "token", "t": "token"}

Mask = npt.NDArray[np.bool_]


def common(failed: list[Answer], passed: list[Answer], variants: Mapping[int, str]) -> list[str]:
    """Return what the failures have in common, and what passed has not, in words; the most telling
    first.

    variants: the name of the variant by the id of an answer's outcome, for those that are not the
    target's own.
    """
    if not failed:
        return []
    wrong = [_wrong(answer) for answer in failed if answer.case.kind in ROTATED]
    elements = [each for each in wrong if each is not None]
    return [
        *_properties(failed, passed, variants),
        *filter(None, (_places(elements, letters) for letters in ("b", "h", "st"))),
        *filter(None, (_lanes(elements), _positions(elements, passed), _sizes(failed))),
    ]


# ---- properties of cases and ways


def _properties(failed: list[Answer], passed: list[Answer], variants: Mapping[int, str]) -> list[str]:
    """Return properties that all failures have: the one that the fewest passes have, and what tells
    the rest of them apart.

    A sequence mixes calls, and is left aside where anything else failed.
    """
    single = [each for each in failed if each.case.kind != "sequence"]
    bad = [traits(each, variants) for each in single or failed]
    good = [traits(each, variants) for each in passed if not single or each.case.kind != "sequence"]
    found: list[str] = []
    while good and len(found) < SHOWN:
        share = len(bad) / (len(bad) + len(good))
        choices = [(name, *_values(name, bad, good)) for name in dict.fromkeys(key for row in bad for key in row)]
        told = [(sum(row.get(name) in bad_ for row in good), len(bad_), name, bad_, others) for name, bad_, others in choices if others]  # fmt: skip
        if not told:
            break
        left, _, name, values, others = min(told, key=lambda each: each[:2])
        if len(bad) / (len(bad) + left) < min(PURE, TELLING * share) or (found and left > len(good) / 2):
            break
        found.append(_told(name, values, others))
        good = [row for row in good if row.get(name) in values]
    return found


def _values(name: str, bad: list[dict[str, str]], good: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    """Return the values of a property that failed, and those that only passed; none where it tells
    nothing.
    """
    values = list(dict.fromkeys(row.get(name, "") for row in bad))
    others = sorted({row[name] for row in good if name in row} - set(values))
    return (values, others) if "" not in values and len(values) <= LISTED else ([], [])


def _told(name: str, values: list[str], others: list[str]) -> str:
    """Return a property in words."""
    if values in (["yes"], ["no"]):
        return f"only {'with' if values == ['yes'] else 'without'} {name}"
    label = "" if name == "dtype" else f"{name} "
    rest = others if len(others) <= LISTED else ["all others"]
    fail, are = "" if len(values) > 1 else "s", "" if len(others) > 1 else "es"
    return f"only {label}{_and(values)} fail{fail}; {_and(rest)} pass{are}"


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def traits(answer: Answer, variants: Mapping[int, str]) -> dict[str, str]:
    """Return the properties of a case and of the way in which it was asked."""
    case, part = answer.case, answer.case.parts[0]
    found = {
        "dtype": answer.way.dtype,
        "function": answer.way.path,
        "variant": variants.get(id(answer.outcome), "none"),
        "kind": case.kind,
        "pairing": _pairing(case),
        "mode": part.get("mode", ""),
        "role": part.get("role", ""),
        "tensor_format": part.get("tensor_format", ""),
        "rule": _rule(part),
    }
    flags = {
        "partial rotation": "partial" in case.needs,
        "an attention factor": "attention_factor" in case.needs,
        "several axes": "axes" in case.needs,
        "real axes": "real_axes" in case.needs,
        "a magnitude": "magnitude" in case.needs,
        "an offset": "offset" in case.needs,
        "negative positions": "negative_positions" in case.needs,
        "a position of its own for each row": "batched_positions" in case.needs,
        **_shapes(part),
    }
    return {name: value for name, value in found.items() if value} | {
        name: "yes" if value else "no" for name, value in flags.items()
    }


def _pairing(case: Case) -> str:
    if case.kind in ROTATED:
        return Call.of(case).plan.pairing
    return next((name for name in PAIRINGS if name in case.needs), "")


def _rule(part: Mapping[str, Any]) -> str:
    config = part.get("config")
    return str((config.get("scaling") or {}).get("rule", "none")) if config else ""


def _shapes(part: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether an input has several rows, heads and tokens."""
    if "x" not in part:
        return {}
    sizes = dict(zip(part.get("tensor_format", "bhsd"), part["x"]["shape"], strict=False))
    several = {"several batch rows": "b", "several heads": "h", "several tokens": "s" if "s" in sizes else "t"}
    return {name: sizes.get(letter, 1) > 1 for name, letter in several.items()}


# ---- elements


@dataclass(frozen=True)
class _Wrong:
    """Where a result is wrong, in the shape and the format of x, and the size of each token's
    position.
    """

    mask: Mask
    call: Call

    def along(self, letters: str) -> Mask | None:
        """Return which of an axis are wrong somewhere, None where there are fewer than two."""
        axis = next((self.call.tensor_format.find(each) for each in letters if each in self.call.tensor_format), -1)
        if axis < 0 or self.mask.shape[axis] < 2:
            return None
        return np.asarray(self.mask.any(axis=tuple(i for i in range(self.mask.ndim) if i != axis)))


def _wrong(answer: Answer) -> _Wrong | None:
    """Return where a result is wrong, None where it was not compared element by element."""
    numbers = answer.outcome.numbers
    if numbers is None or numbers.wanted is None or numbers.bound is None:
        return None
    call = Call.of(answer.case)
    mask = error_units(numbers.got, numbers.wanted, numbers.bound) > 1
    return _Wrong(mask, call) if mask.shape == call.x.shape else None


def _places(wrong: list[_Wrong], letters: str) -> str:
    """Return which rows, heads or tokens are wrong wherever there are several of them."""
    found = [each for each in (one.along(letters) for one in wrong) if each is not None]
    name = PLACES[letters[0]]
    tests: list[tuple[str, Callable[[Mask], bool]]] = [
        (f"only the last {name} is wrong", lambda each: not each[:-1].any()),
        (f"only the first {name} is wrong", lambda each: not each[1:].any()),
        (f"the first {name} is right", lambda each: not each[0]),
        (f"the last {name} is right", lambda each: not each[-1]),
    ]
    return next((text for text, holds in tests if found and all(map(holds, found))), "")


def _lanes(wrong: list[_Wrong]) -> str:
    """Return which lanes are wrong, if not all."""
    tests: list[tuple[str, Callable[[Call], Iterable[int]]]] = [
        ("only lanes that pass through are wrong", lambda call: call.untouched),
        ("only the first lanes of pairs are wrong", lambda call: call.plan.out[:, 0].tolist()),
        ("only the second lanes of pairs are wrong", lambda call: call.plan.out[:, 1].tolist()),
        ("only the first pair is wrong", lambda call: call.plan.out[:1].ravel().tolist()),
        ("only the last pair is wrong", lambda call: call.plan.out[-1:].ravel().tolist()),
    ]
    for text, lanes in tests:
        if len(wrong) > 1 and all(not np.delete(each.mask, list(lanes(each.call)), axis=-1).any() for each in wrong):
            return text
    return ""


def _positions(wrong: list[_Wrong], passed: Iterable[Answer]) -> str:
    """Return from which position on results are wrong, if smaller ones are right."""
    bad: list[float] = []
    good: list[float] = []
    for each in wrong:
        sizes = _sizes_of_positions(each.call)
        turned = _by_token(each)
        if sizes.shape == turned.shape:
            bad += sizes[turned].tolist()
            good += sizes[~turned].tolist()
    if not bad or min(bad) < 2:
        return ""
    for case in {id(answer.case): answer.case for answer in passed if answer.case.kind in ROTATED}.values():
        good += _sizes_of_positions(Call.of(case)).ravel().tolist()
    first = min(bad)
    above = sum(size >= first for size in good)
    if above > len(bad) or not any(size < first for size in good):
        return ""
    last = max(size for size in good if size < first)
    return f"only positions from {first:g} on are wrong; those up to {last:g} are right"


def _by_token(each: _Wrong) -> Mask:
    """Return which tokens are wrong: (tokens), or (rows, tokens) where each row has its own
    positions.
    """
    letters = each.call.tensor_format
    own = ("b", each.call.token_letter) if _sizes_of_positions(each.call).ndim == 2 else (each.call.token_letter,)
    return np.asarray(each.mask.any(axis=tuple(i for i, letter in enumerate(letters) if letter not in own)))


def _sizes_of_positions(call: Call) -> Array:
    """Return the size of each token's position, the largest of its axes."""
    sizes = np.abs(np.asarray(call.places, np.float64))
    return sizes.max(axis=0) if call.plan.n_axes > 1 else sizes


def _sizes(failed: list[Answer]) -> str:
    """Return how far off the results are, in units of their bounds."""
    units = [answer.outcome.worst.units for answer in failed if answer.outcome.worst is not None]
    finite = [each for each in units if np.isfinite(each)]
    if not finite or len(finite) < len(units):
        return ""
    low, high = min(finite), max(finite)
    return f"errors of {low:.2g} bounds" if low == high else f"errors of {low:.2g} to {high:.2g} bounds"


def answers(
    outcomes: Iterable[tuple[Case, str, Any]],
) -> Iterator[tuple[Answer, bool, str]]:
    """Yield an answer for each way of each case: itself, whether it is right, and the variant."""
    for case, variant, outcome in outcomes:
        ways = outcome.judged or ((outcome.way,) if outcome.way else ())
        bad = outcome.failed or (ways[-1:] if outcome.verdict in ("fail", "errored") else ())
        for way in ways:
            yield Answer(case, way, outcome), way not in bad, variant
