"""Known bugs as hypotheses: each mutant is judged by the cases that failed, and its wrong numbers
are compared.
"""

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from ..arrays import Array
from ..cases import Case, size
from ..judge import KINDS, attempt, left_out
from ..judge.compare import error_units
from ..mutants import Right, mutants
from ..target import WORDS, Target, word_of
from ..verdicts import Numbers, Outcome, Way

COMPARED = 40  # failures that known bugs are tried on, at most
Words: TypeAlias = tuple[tuple[str, str], ...]
Declared: TypeAlias = Mapping[str, Any]  # capabilities

TOLD_APART = 12  # cases of a flag by which bugs are told apart that explain the same failures
LEFT = 0.25  # of an error that a bug may leave unexplained
ROUNDED = 4.0  # bounds that two programs with one bug may be apart
CLOSE = 2.0**-7  # relative, of results that are compared by their bits


@dataclass(frozen=True)
class Answer:
    """What a target came to in one way of one case."""

    case: Case
    way: Way
    outcome: Outcome


@dataclass(frozen=True)
class Known:
    """A known bug that gives the wrong numbers of `explained` failures out of `compared`.

    spared: cases that it would fail and that passed.
    """

    flag: str
    bug: str
    explained: int
    compared: int
    spared: int


@dataclass
class _Hypothesis:
    """A mutant, and how many failures it gives: to the number, or not."""

    mutant: type[Right]
    asked: int = 0
    explained: int = 0
    missed: int = 0
    spared: int = 0
    same: int = 0  # explained to the last bit


def known(failed: list[Answer], passed: list[Answer], asked: list[Answer], declared: Declared) -> list[Known]:
    """Return the known bugs that explain most of the failures, the likeliest first; several where
    cases do not tell them apart.

    failed: with numbers or a message that a mutant can give too.  passed: what speaks against a
    bug.  asked: all of them, in the order in which they were judged.  declared: the capabilities of
    the target.
    """
    best = _best(smallest(failed), declared)
    if failed and (not best or best[0].missed):
        best = _remembering(failed[:COMPARED], asked, declared) or best
    if len(best) > 1:
        flags = {each.mutant.flag for each in best}
        _tell_apart(best, _flagged(failed, flags), _flagged(passed, flags), declared)
    best.sort(key=lambda each: (*_rank(each), -each.same, int(each.mutant.flag[1:])))
    return [_named(each) for each in best if _rank(each) == _rank(best[0])]


def _rank(each: _Hypothesis) -> tuple[int, int]:
    return each.missed + each.spared, -each.explained


def _named(each: _Hypothesis) -> Known:
    bug = (each.mutant.__doc__ or "").strip().rstrip(".")
    return Known(each.mutant.flag, bug[:1].lower() + bug[1:], each.explained, each.explained + each.missed, each.spared)


def smallest(answers: Iterable[Answer], count: int = COMPARED) -> list[Answer]:
    """Return so many of the answers: the smallest cases of each kind and topic in turn."""
    groups: dict[tuple[str, str], list[Answer]] = {}
    for answer in sorted(answers, key=lambda each: size(each.case)):
        groups.setdefault((answer.case.kind, answer.case.topic), []).append(answer)
    turns = max(map(len, groups.values()), default=0)
    return [group[turn] for turn in range(turns) for group in groups.values() if turn < len(group)][:count]


def _best(sample: list[Answer], declared: Declared) -> list[_Hypothesis]:
    """Return the mutants with the fewest failures that they do not give, if they give most of those
    that they can be asked.

    The one that has missed the fewest so far is always asked on, so that most are asked once or
    twice.
    """
    open_ = [_Hypothesis(mutant) for mutant in mutants() if _runs(mutant)]
    done: list[_Hypothesis] = []
    while open_:
        now = min(open_, key=lambda each: (each.missed, -each.asked))
        if done and now.missed > done[0].missed:
            break
        if now.asked == len(sample) or 2 * now.missed > len(sample):
            open_.remove(now)
            done += [now] if now.explained > now.missed else []
            continue
        _ask(now, sample[now.asked], declared)
        now.asked += 1
    most = max((each.explained for each in done), default=0)
    return [each for each in done if each.explained == most]


def _ask(each: _Hypothesis, answer: Answer, declared: Declared) -> None:
    """Count whether a mutant gives a failure."""
    outcome = predicted(each.mutant.flag, answer.case, answer.way, _words(declared, answer.way.dtype))
    if outcome is not None:
        _count(each, outcome, answer.outcome)


def _count(each: _Hypothesis, predicted: Outcome, seen: Outcome) -> None:
    fits = explains(predicted, seen)
    each.explained += fits
    each.missed += not fits
    one, other = predicted.numbers, seen.numbers
    each.same += bool(fits and one and other and np.array_equal(one.got, other.got, equal_nan=True))


def _tell_apart(best: list[_Hypothesis], failed: list[Answer], passed: list[Answer], declared: Declared) -> None:
    """Ask mutants that explain the same failures about further cases: failures, and those that
    passed.
    """
    for each in best:
        for answer in failed:
            _ask(each, answer, declared)
        for answer in passed:
            outcome = predicted(each.mutant.flag, answer.case, answer.way, _words(declared, answer.way.dtype))
            each.spared += outcome is not None and outcome.verdict != "pass"


def _flagged(answers: list[Answer], flags: Iterable[str]) -> list[Answer]:
    """Return the smallest cases of each flag."""
    found: dict[tuple[str, Way], Answer] = {}
    for flag in flags:
        of_flag = [each for each in answers if flag in each.case.flags]
        found |= {(each.case.id, each.way): each for each in smallest(of_flag, TOLD_APART)}
    return list(found.values())


def _remembering(failed: list[Answer], asked: list[Answer], declared: Declared) -> list[_Hypothesis]:
    """Return mutants that give the first failures where they are asked all that was asked before,
    in that order.
    """
    found = []
    last = next(i for i in reversed(range(len(asked))) if asked[i].outcome is failed[-1].outcome)
    wanted = {id(each.outcome) for each in failed}
    history = {id(each.outcome): each for each in asked[: last + 1]}  # each case once
    for mutant in mutants():
        if not mutant.remembers:
            continue
        each, target = _Hypothesis(mutant), _asked_as(mutant, declared)
        for answer in history.values():
            outcome = _attempted(target, answer.case, answer.outcome.way or answer.way)
            if id(answer.outcome) in wanted and outcome is not None:
                _count(each, outcome, answer.outcome)
        found += [each] if each.explained > 2 * each.missed else []
    most = max((each.explained for each in found), default=0)
    return [each for each in found if each.explained == most]


def _runs(mutant: type[Right]) -> bool:
    """Return whether what a mutant needs is installed."""
    return not mutant.needs_module or importlib.util.find_spec(mutant.needs_module) is not None


@lru_cache(maxsize=1 << 14)
def predicted(flag: str, case: Case, way: Way, words: Words) -> Outcome | None:
    """Return what a case comes to on a flag's mutant with these words, None where it cannot be
    asked so.
    """
    mutant = next(each for each in mutants() if each.flag == flag)
    return _attempted(_asked_as(mutant, {**dict(words), "dtypes": [way.dtype or "float32"]}), case, way)


def _words(declared: Declared, dtype: str) -> Words:
    """Return the words that a target declares for a dtype."""
    return tuple((name, word_of(declared[name], dtype)) for name in WORDS)


def _asked_as(mutant: type[Right], declared: Declared) -> Target:
    """Return a fresh mutant as a target with the words and the dtypes of another."""
    subject: Any = mutant()
    subject.capabilities = {**mutant.capabilities, **{name: declared[name] for name in (*WORDS, "dtypes")}}
    return Target(subject)


def _attempted(target: Target, case: Case, way: Way) -> Outcome | None:
    """Return what a case comes to in a way, or in another of the same dtype where the target has
    not that function.
    """
    if left_out(case, target):
        return None
    ways = [each for each in KINDS[case.kind].ways(case, target) if each.dtype == way.dtype]
    ways.sort(key=lambda each: each.path != way.path)
    outcome = attempt(case, target, ways[0]) if ways else None
    return None if outcome is None or outcome.verdict in ("not applicable", "skipped") else outcome


def explains(predicted: Outcome, seen: Outcome) -> bool:
    """Return whether a mutant's failure is that of the target: the same words, and the same numbers
    where there are any.
    """
    if predicted.verdict != "fail" or predicted.reason != seen.reason or predicted.reason.startswith("refused"):
        return False
    if predicted.numbers is None or seen.numbers is None:
        return predicted.numbers is seen.numbers
    return _near(predicted.numbers.got, seen.numbers)


def _near(predicted: Array, seen: Numbers) -> bool:
    """Return whether a prediction leaves little of an error."""
    if predicted.shape != seen.got.shape:
        return False
    if seen.wanted is None or seen.bound is None:
        return bool(np.allclose(predicted, seen.got, rtol=CLOSE, atol=CLOSE, equal_nan=True))
    error = error_units(seen.got, seen.wanted, seen.bound).max(initial=0.0)
    left = error_units(seen.got, predicted, seen.bound).max(initial=0.0)
    return bool(left <= min(ROUNDED, LEFT * error))
