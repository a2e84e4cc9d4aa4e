"""The suite, tested by wrong implementations: each of M1 to M107 is caught by a case that carries
its flag.
"""

import argparse
import importlib.util
import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from wrong_targets import WRONG

import ropecore.spec
from ropecore import RopeError, conformance
from ropecore.conformance import cli
from ropecore.conformance.cases import all_cases, size
from ropecore.conformance.judge import judge
from ropecore.conformance.mutants import mutants, run
from ropecore.conformance.mutants.base import Right
from ropecore.conformance.mutants.run import Caught, MutantReport, catches, hunt, queue, run_mutants

SCHEMA = json.loads(files("ropecore.conformance").joinpath("mutants.schema.json").read_text())
FLAGS = [f"M{number}" for number in range(1, 108)]
TORCH = importlib.util.find_spec("torch") is not None


def failures(report: conformance.Report, flag: str) -> list[str]:
    """Return the ids of the flag's cases with a wrong result; a refusal is no wrong result."""
    wrong = [r for r in report.results if r.verdict == "fail" and not r.outcome.reason.startswith("refused")]
    return [r.case.id for r in wrong if flag in r.case.flags]


def runs_here(mutant: type[Right]) -> bool:
    """Return whether what a mutant needs is installed."""
    return not mutant.needs_module or importlib.util.find_spec(mutant.needs_module) is not None


def test_every_flag_has_one_mutant_and_some_cases() -> None:
    assert [mutant.flag for mutant in mutants()] == FLAGS
    assert {flag for case in all_cases() for flag in case.flags} == set(FLAGS)


def test_a_mutant_is_described_by_the_note_of_its_flag() -> None:
    notes = ropecore.spec.notes()
    for mutant in mutants():
        assert (mutant.__doc__ or "").rstrip(".").lower() == notes[mutant.flag]["bug"].lower()


@pytest.mark.parametrize("wrong", mutants(), ids=lambda wrong: f"{wrong.flag}_{wrong.__name__}")
def test_a_wrong_implementation_is_failed_by_a_case_with_its_flag(wrong: type[Right]) -> None:
    if not runs_here(wrong):
        pytest.skip(f"needs {wrong.needs_module}")
    report = conformance.run(wrong(), flags=wrong.flag)
    assert failures(report, wrong.flag), report.text()
    assert report.counts["errored"] == 0, report.text()
    assert not report.ok
    assert wrong.flag in [bug.flag for bug in report.diagnosis.bugs], report.text()


# Those that the share of flagged cases named last, those that show in few cases, and those that
# remember.
WHOLE = ["M3", "M12", "M26", "M37", "M51", "M59", "M84", "M85", "M90", "M96", "M99", "M107"]


@pytest.mark.parametrize("flag", WHOLE)
def test_the_first_line_of_a_whole_run_names_the_mutants_own_bug_alone(flag: str) -> None:
    report = conformance.run(mutants()[int(flag[1:]) - 1]())
    assert [bug.flag for bug in report.diagnosis.bugs] == [flag]
    assert report.text().startswith(f"likely bug {flag}: {ropecore.spec.notes()[flag]['bug']} (its numbers in ")


ELSEWHERE = ["rotate", "pairing", "positions", "scaling", "inverse", "axes", "mistakes"]  # where those show


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_of_a_bug_that_is_not_known_it_is_said_where_it_shows(wrong: type[Right]) -> None:
    first = conformance.run(wrong(), topic=ELSEWHERE).text().splitlines()[0]
    assert first.startswith("no known bug fits: ")
    assert WRONG[wrong] in first


def test_nothing_is_named_where_nothing_fails() -> None:
    report = conformance.run(Right(), topic="rotate")
    assert report.diagnosis.lines() == []
    assert report.text().startswith("partial run: ")


@pytest.fixture(scope="module")
def report() -> MutantReport:
    """The report on all mutants."""
    return run_mutants()


def test_all_mutants_are_caught(report: MutantReport) -> None:
    assert report.clean, report.text()
    assert report.ok == TORCH
    assert [r.mutant.flag for r in report.results if r.status == "not run"] == ([] if TORCH else ["M86"])
    counted = "107 of 107 mutants caught by a case with their flag" if TORCH else "106 of 107 mutants caught"
    assert report.text().splitlines()[-1].startswith(counted)


def test_the_report_fits_its_schema(report: MutantReport) -> None:
    parsed = json.loads(report.to_json())
    jsonschema.validate(parsed, SCHEMA)
    assert [result["flag"] for result in parsed["results"]] == FLAGS
    assert all(result["smallest"] == result["caught_by"][0] for result in parsed["results"] if result["caught_by"])


def test_a_mutant_meets_the_cases_of_its_own_flag_first_and_stops() -> None:
    ordered = list(queue("M3"))
    assert len(ordered) == len(all_cases())
    own = sum("M3" in case.flags for case in ordered)
    assert all("M3" in case.flags for case in ordered[:own])
    caught = hunt(mutants()[2], full=False)
    assert len(caught.by) == 1
    assert caught.by == (ordered[caught.ran - 1].id,)


def test_a_full_run_meets_every_case_and_names_the_smallest_first() -> None:
    m24 = mutants()[23]  # it offers configurations alone, which makes this fast
    caught = hunt(m24, full=True)
    assert caught.ran == len(all_cases())
    assert len(caught.by) > 1
    assert caught.by == tuple(sorted(caught.by, key=lambda case: size(conformance.cases(ids=case)[0])))
    assert caught.named == ("M24",)
    full = MutantReport((caught,), full=True, of=107)
    assert full.summary().endswith("1 named first by the diagnosis, 106 not selected")
    jsonschema.validate(json.loads(full.to_json()), SCHEMA)


def test_a_right_target_survives_and_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = type("Harmless", (Right,), {"flag": "M1", "__doc__": "Nothing is wrong."})
    monkeypatch.setattr(run, "mutants", lambda: (right,))
    monkeypatch.setattr(run, "all_cases", lambda: tuple(conformance.cases(ids="rotate/half_split/d8/*")))
    survived = run_mutants()
    assert not survived.clean
    assert "SURVIVED" in survived.text()
    assert survived.summary() == "0 of 1 mutants caught by a case with their flag, 1 survived"


def test_a_catch_by_other_cases_alone_is_not_enough() -> None:
    report = MutantReport((Caught(mutants()[0], 9, ("rotate/half_split/d8/pos5",), by_flag=False),), full=False, of=1)
    assert not report.clean
    assert report.summary().endswith("1 by other cases alone")


def test_a_refusal_catches_nothing() -> None:
    class Refuses(Right):
        def plan(self, plan: Any) -> Any:
            raise RopeError("plan", 1, "is refused")

    case = conformance.cases(ids="rotate/half_split/d8/pos5")[0]
    assert not catches(judge(case, conformance.Target(Refuses())))


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants()[85], "needs_module", "no_such_module")
    report = run_mutants("M86")
    assert report.results[0].status == "not run"
    assert "needs no_such_module" in report.text()
    assert not report.clean
    assert not report.ok


def test_a_partial_run_is_no_pass() -> None:
    report = run_mutants(["M1", "M2"])
    assert report.clean
    assert not report.ok
    assert report.summary() == "2 of 107 mutants caught by a case with their flag, 105 not selected"


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(RopeError, match="M108"):
        run_mutants("M108")


def call(*arguments: str) -> int:
    """Run the command with these arguments and return its exit status."""
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    return cli.main(parser.parse_args(["conformance", *arguments]))


def test_the_command_prints_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--mutants", "--flag", "M1", "--flag", "M92") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("M1 ")
    assert "weights/" in lines[2]
    assert call("--mutants", "--flag", "M1", "--json", "-") == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--mutants", "numpy"), "TARGET"),
        (("--mutants", "--topic", "rotate"), "--topic"),
        (("--mutants", "--html", "page.html"), "--html"),
        (("--mutants", "--flag", "M108"), "--flag"),
    ],
)
def test_the_command_refuses_what_it_does_not_understand(
    arguments: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert f"{option}=" in capsys.readouterr().err
