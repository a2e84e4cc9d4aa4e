"""What a verdict stands on: words by dtype, what is outside of them, the measured reach, reasons,
and the call that replays a case.
"""

import json
import sys
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

import ropecore
from ropecore import RopeError, conformance
from ropecore.conformance.mutants.base import Right, WithTables
from ropecore.conformance.program import Refused
from ropecore.conformance.reports.badge import shields
from ropecore.conformance.reports.junit import junit
from ropecore.conformance.reports.markdown import markdown

SCHEMA = json.loads(files("ropecore.conformance").joinpath("report.schema.json").read_text())

# ---- words by dtype


class Single(Right):
    """Angles of the class float32, but for x of float64."""

    def rotated(self, plan: Any, x: Any, *args: Any, **options: Any) -> Any:
        held = plan if x.dtype == np.float64 else plan.with_frequencies(plan.frequencies.astype("f4").astype("f8"))
        return super().rotated(held, x, *args, **options)


def declared(**words: Any) -> Any:
    target = Single()
    target.capabilities = {**Right.capabilities, "dtypes": ["float32", "float64"], **words}  # type: ignore[misc]
    return target


def test_a_word_may_differ_by_dtype() -> None:
    by_dtype = {"float32": "float32", "float64": "exact"}
    right = conformance.run(declared(angle=by_dtype), topic=["precision", "rotate"])
    assert right.clean, right.text()
    assert not conformance.run(declared(angle="exact"), topic="precision").clean
    too_much = conformance.run(declared(angle={"float32": "exact", "float64": "exact"}), topic="precision")
    assert too_much.diagnosis.common[0] == "only float32 fails; float64 passes"
    jsonschema.validate(json.loads(right.to_json()), SCHEMA)
    assert "angle float32 for float32 and exact for float64" in markdown(right)


@pytest.mark.parametrize(
    "angle", [{"float32": "exact"}, {"float32": "exact", "int8": "exact"}, {"float32": "exact", "float64": "fast"}, {}]
)
def test_words_by_dtype_are_checked(angle: dict[str, str]) -> None:
    with pytest.raises(RopeError, match="angle"):
        conformance.Target(declared(angle=angle))


# ---- outside of the words


@pytest.mark.parametrize(("table", "compute"), [("input", "input"), ("input", "float32"), ("float32", "float32")])
def test_a_decay_that_16_bits_cannot_hold_is_outside_of_their_tables(table: str, compute: str) -> None:
    class Held(WithTables):
        def turn(self, plan: Any, x: Any, cos: Any, sin: Any) -> Any:
            kept = [part.astype(x.dtype if table == "input" else "f8").astype("f8") for part in (cos, sin)]
            return ropecore.rotate(plan, x.astype("f8"), *kept)

    target = Held()
    words = {"table": table, "compute": compute, "dtypes": ["float16", "bfloat16"]}
    target.capabilities = {**Right.capabilities, **words}  # type: ignore[misc]
    report = conformance.run(target, ids=["scaling/xpos/rotate_k", "scaling/damped/rotate_strong"])
    judged = {str(way) for result in report.results for way in result.outcome.judged}
    assert report.counts["pass"] == 2, report.text()
    assert ("apply float16" in judged) == (table == "float32")
    assert "apply bfloat16" in judged


# ---- reach


class Late(Right):
    """Right in every case, and off by little at positions that only the reach asks for."""

    def tables(self, plan: Any, positions: Any, role: str) -> Any:
        cos, sin = super().tables(plan, positions, role)
        if plan.head_dim == 128 and np.size(positions) == 1 and np.max(positions) == 4095:
            sin[..., 0] += 3e-7
        return cos, sin


def late(**words: Any) -> Any:
    target = Late()
    target.capabilities = {**Right.capabilities, "dtypes": ["float32"], **words}  # type: ignore[misc]
    return target


def test_what_is_measured_is_never_beside_a_verdict_that_it_contradicts() -> None:
    report = conformance.run(late())
    assert report.counts["fail"] == report.counts["errored"] == 0
    assert not report.clean
    assert not report.ok
    text = report.text()
    assert text.startswith(
        "FAILED reach: angle exact is declared, and at position 4,095 cosines and sines are off by 3"
    )
    for said in (text, markdown(report), junit(report), shields(report)):
        assert "onforms" not in said
    assert "**Does not conform.**" in markdown(report)
    assert "less exact than declared" in shields(report)
    assert "at position 4,095" in junit(report)
    jsonschema.validate(json.loads(report.to_json()), SCHEMA)


def test_what_the_words_allow_is_no_miss() -> None:
    report = conformance.run(late(angle="float32"))
    assert report.ok, report.text()
    assert max(step.units for step in report.reach) < 1


# ---- reasons, refusals, replay


def test_a_reason_says_what_would_have_to_be_offered() -> None:
    reasons = {
        r.case.kind: r.outcome.reason for r in conformance.run(Right(), topic=["plan", "gradients", "cache"]).results
    }
    assert reasons["plan"].startswith("the target has no rules.R")
    assert reasons["vjp"] == "the target has no function for vjp"
    asked = SimpleNamespace(apply=Right().apply, lacks="no question for it", capabilities=Right.capabilities)
    said = {r.outcome.reason for r in conformance.run(asked, topic=["plan", "gradients"]).results}
    assert said == {"no question for it"}


def test_a_program_that_refuses_everything_is_no_broken_harness() -> None:
    class Refuses(Right):
        RopeError = Refused

        def plan(self, plan: Any) -> Any:
            raise Refused("banana", "as given", "refused by the program")

    report = conformance.run(Refuses(), ids="rotate/half_split/d8/*")
    assert not report.broken
    assert {r.outcome.reason for r in report.results} == {"refused: it refuses `banana`"}
    assert report.text().startswith("no known bug fits")


def test_a_failure_shows_index_got_wanted_error_and_the_call_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Off(Right):
        def store(self, y: Any, x: Any) -> Any:
            return (y * 1.5).astype(x.dtype)

    named = SimpleNamespace(off=Off())
    monkeypatch.setitem(sys.modules, "my_rope", named)  # type: ignore[arg-type]
    lines = conformance.run("my_rope:off", ids="rotate/half_split/d8/pos5").text().splitlines()
    worst = next(line for line in lines if line.startswith("  worst: element [0, "))
    assert " is " in worst
    assert ", wanted " in worst
    assert " times the bound " in worst
    assert "  again: ropecore conformance my_rope:off --case rotate/half_split/d8/pos5" in lines
    assert (
        "  again: run(target, ids='rotate/half_split/d8/pos5')"
        in conformance.run(Off(), ids="rotate/half_split/d8/pos5").text()
    )
