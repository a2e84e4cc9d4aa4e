"""The benchmarks run and agree on small tensors; no test looks at a time."""

import json
import sys
from pathlib import Path

import pytest
from paths import ROOT

sys.path.append(str(ROOT))  # the benchmarks are not installed

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.case import Case, Pair
from benchmarks.cases import all_cases
from benchmarks.timing import Timing, compare


def never(tokens: int) -> Pair:
    raise AssertionError(f"made for {tokens} tokens")


def test_calls_are_timed_in_turn() -> None:
    calls: list[str] = []
    timing = compare(lambda: calls.append("a"), lambda: calls.append("b"), pairs=3, calls=2)

    assert calls == list("aabb" * 5)  # two rounds are not counted
    assert len(timing.a) == len(timing.b) == 3


def test_ratios_are_of_medians() -> None:
    timing = Timing((2.0, 9.0, 4.0), (1.0, 2.0, 2.0))

    assert timing.medians == (4.0, 2.0)
    assert timing.ratio == 2.0
    assert timing.spread == (2.0, 4.5)


def test_limits_are_upper_or_lower() -> None:
    assert Case("x", never, 1.2).met(1.1)
    assert not Case("x", never, 10, at_least=True).met(9.0)
    assert Case("x", never).met(9.0) is None


def test_names_are_unique() -> None:
    names = [case.name for case in all_cases()]
    assert len(set(names)) == len(names)


def test_a_page_says_what_was_left_out() -> None:
    case = Case("peers/other", never, 1.5)
    pair = Pair("ours", "theirs", lambda: None, lambda: None)
    results = [
        report.Result(case, None, None, "other is not installed"),
        report.Result(case, pair, Timing((3e-6, 3e-6), (2e-6, 2e-6))),
    ]

    page = report.markdown(results, {"processor": "some"})
    assert "| peers/other | left out |" in page
    assert "| peers/other | 1.5 | 1.5 to 1.5 | at most 1.5 | yes | ours: 3 us | theirs: 2 us |" in page
    again, about = report.from_json(report.as_json(results, {"processor": "some"}))
    assert report.markdown(again, about) == page


def test_a_quick_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    words = ["in_place/mul/half_split", "numpy/naive", "training/float32", "limits"]
    assert main(["--quick", *words, "--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]) == 0
    found = json.loads((tmp_path / "r.json").read_text())["results"]
    assert len(found) == 12
    assert not [each for each in found if "left_out" in each]


def test_an_unknown_case() -> None:
    assert main(["no_such_case"]) == 2
