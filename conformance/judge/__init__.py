"""Judging one case: the kinds of cases, the ways in which a target can be asked, and the verdict
that follows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ropecore.errors import RopeError, told

from ..cases import Case
from ..target import Target
from ..verdicts import Mismatch, NotApplicable, Outcome, Skip, Verdict, Way
from . import question, refusals, rotations, rules, tables, whole_models

RULES_ALONE = Way("float64")  # ropecore's own rules are float64


@dataclass(frozen=True)
class Kind:
    """How a kind of case is judged: `check` raises where the target is wrong, in each of the
    `ways`.
    """

    check: Callable[[Case, Target, Way], None]
    ways: Callable[[Case, Target], list[Way]]


def judge(case: Case, target: Target, every: bool = False) -> Outcome:
    """Return the verdict on a case: the first way that does not pass, or pass with all the ways
    that were judged.

    every: after a failure the other ways are judged too, to tell which of them fail.
    """
    reason = left_out(case, target)
    if reason:
        return Outcome("not applicable", reason)
    kind = KINDS[case.kind]
    judged: list[Way] = []
    outcomes: list[Outcome] = []
    wrong: list[tuple[Way, Outcome]] = []
    for way in kind.ways(case, target):
        outcome = attempt(case, target, way)
        outcomes.append(outcome)
        judged += [way] if outcome.verdict in ("pass", "fail", "errored") else []
        wrong += [(way, outcome)] if outcome.verdict in ("fail", "errored") else []
        if outcome.verdict == "errored" or (wrong and not every):
            break
    if wrong:
        return replace(wrong[0][1], judged=tuple(judged), failed=tuple(way for way, _ in wrong))
    skipped = [outcome for outcome in outcomes if outcome.verdict == "skipped"]
    if judged and not skipped:
        return Outcome("pass", judged=tuple(judged))
    rest = skipped or outcomes or [Outcome("not applicable", target.lacks(f"function for {case.kind}"))]
    return replace(rest[0], judged=tuple(judged))


def left_out(case: Case, target: Target) -> str:
    """Return why a case does not concern the target, or nothing."""
    declared = target.capabilities
    for beginning, reason in declared.not_applicable.items():
        if concerns(beginning, case):
            return reason
    if declared.features is not None and not set(case.needs) <= declared.features:
        return f"needs {', '.join(sorted(set(case.needs) - declared.features))}"
    if declared.reads_config and any("config" in part and part["config"] is None for part in case.parts):
        return "the target starts from a config, and this case has none"
    return ""


def concerns(beginning: str, case: Case) -> bool:
    """Return whether a declaration about a topic, or about ids that begin so, concerns a case."""
    return case.topic == beginning or case.id.startswith(beginning)


def attempt(case: Case, target: Target, way: Way) -> Outcome:
    """Return the verdict of one way; anything that a target raises is caught here."""
    try:
        KINDS[case.kind].check(case, target, way)
    except Mismatch as wrong:
        return Outcome("fail", wrong.message, way, wrong.worst, numbers=wrong.numbers)
    except NotApplicable as why:
        return Outcome("not applicable", str(why))
    except Skip as why:
        return Outcome("skipped", str(why) or "without a reason")
    except Exception as error:
        verdict: Verdict = "fail" if target.refused(error) else "errored"
        words = str(error) if isinstance(error, RopeError) else told(error)
        return Outcome(verdict, f"refused: {words}" if verdict == "fail" else told(error), way)
    return Outcome("pass")


def rotation_ways(case: Case, target: Target) -> list[Way]:
    """Return each dtype with each function of the target that rotates."""
    mode = case.data.get("mode", "forward")
    return [Way(dtype, path) for dtype in target.capabilities.dtypes for path in question.paths(target, mode)]


def apply_ways(case: Case, target: Target) -> list[Way]:
    """Return each dtype with apply."""
    return [Way(dtype, "apply") for dtype in target.capabilities.dtypes]


def beside_ways(case: Case, target: Target) -> list[Way]:
    """Return each dtype with apply, and with apply_ where the target has it."""
    paths = ["apply", "apply_"] if target.has("apply_") else ["apply"]
    return [Way(dtype, path) for dtype in target.capabilities.dtypes for path in paths]


def meta_ways(case: Case, target: Target) -> list[Way]:
    """Return each dtype, where the target has modules that can be built without memory."""
    return [Way(dtype, "from_meta") for dtype in target.capabilities.dtypes if target.has("from_meta")]


def vjp_ways(case: Case, target: Target) -> list[Way]:
    """Return each dtype with vjp."""
    return [Way(dtype, "vjp") for dtype in target.capabilities.dtypes if target.has("vjp")]


def shift_ways(case: Case, target: Target) -> list[Way]:
    """Return each dtype with shift."""
    return [Way(dtype, "shift") for dtype in target.capabilities.dtypes if target.has("shift")]


def table_ways(case: Case, target: Target) -> list[Way]:
    """Return the dtypes of tables that the error model bounds: float32,
    and float64 where x may be.
    """
    dtypes = [dtype for dtype in ("float32", "float64") if dtype == "float32" or dtype in target.capabilities.dtypes]
    return [Way(dtype, "cos_sin") for dtype in dtypes if target.has("cos_sin")]


def rule_ways(case: Case, target: Target) -> list[Way]:
    """Return the one way to judge a rule, where the target offers rules."""
    return [RULES_ALONE]


def cache_ways(case: Case, target: Target) -> list[Way]:
    """Return the one way to judge a layout: it stores the numbers that it is given."""
    return [Way("float32")]


def refusal_ways(case: Case, target: Target) -> list[Way]:
    """Return one way: the first dtype, since refusals do not depend on it."""
    return [Way(target.capabilities.dtypes[0], "apply" if case.data["call"] == "rotate" else "")]


KINDS: dict[str, Kind] = {
    "rotate": Kind(rotations.rotate, rotation_ways),
    "sequence": Kind(rotations.sequence, rotation_ways),
    "pair": Kind(rotations.pair, rotation_ways),
    "ambient": Kind(rotations.ambient, rotation_ways),
    "beside": Kind(rotations.beside, beside_ways),
    "meta": Kind(rotations.meta, meta_ways),
    "scores": Kind(rotations.scores, apply_ways),
    "shift": Kind(rotations.shift, shift_ways),
    "vjp": Kind(rotations.vjp, vjp_ways),
    "tables": Kind(tables.tables, table_ways),
    "cache": Kind(tables.cache, cache_ways),
    "angles": Kind(tables.angles, rule_ways),
    "frequencies": Kind(rules.frequencies, rule_ways),
    "plan": Kind(rules.plan, rule_ways),
    "positions": Kind(rules.positions, rule_ways),
    "sinusoid": Kind(rules.sinusoid, rule_ways),
    "weights": Kind(whole_models.weights, rule_ways),
    "config": Kind(whole_models.config, rule_ways),
    "reject": Kind(refusals.reject, refusal_ways),
}
