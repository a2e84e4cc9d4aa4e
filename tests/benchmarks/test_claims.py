"""The frame of the claims' experiments, by a tiny one of its own; and that each experiment states
what the frame needs.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from paths import ROOT

sys.path.append(str(ROOT))  # the benchmarks are not installed

from benchmarks.claims import __main__ as command
from benchmarks.claims import frame
from benchmarks.claims.frame import Claim, Result


def tiny(failures: tuple[str, ...] = (), verdict: str = "holds only if it is quick") -> Any:
    def run(quick: bool, seed: int) -> Result:
        rows = [["quick" if quick else "full", float(seed), (1.0, 0.5, 1.5)]]
        return Result(["size", "seed", "mean"], rows, "a | b", verdict, {"y": [1, 2, 3]}, failures)

    def plot(result: Result, figure: Any) -> None:
        figure.subplots().plot(result.data["y"])

    return SimpleNamespace(
        __doc__="How it is done.", CLAIM=Claim("tiny", "Small is fast.", "D0", "10 times"), run=run, plot=plot
    )


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(module: Any) -> None:
        monkeypatch.setattr(frame, "experiments", lambda: ["tiny"])
        monkeypatch.setattr(frame, "load", lambda name: module)

    return use


def test_a_run_is_kept_drawn_and_listed(only: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only(tiny())
    assert command.main(["tiny", "--seed", "7", "--out", str(tmp_path)]) == 0

    record = json.loads((tmp_path / "results/tiny.json").read_text())
    assert (record["seed"], record["quick"], record["result"]["rows"]) == (7, False, [["full", 7.0, [1.0, 0.5, 1.5]]])
    assert record["machine"]["cores"] >= 1
    assert {"numpy", "matplotlib", "ropecore"} <= record["machine"]["versions"].keys()
    assert (tmp_path / "results/tiny.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "README.md").read_text()
    wanted = [
        "D0: 10 times",
        "a \\| b",
        "How it is done.",
        "(results/tiny.png)",
        "claims tiny --seed 7",
        "1 (0.5 to 1.5)",
    ]
    assert [words for words in wanted if words not in page] == []
    assert "verdict: holds only if it is quick" in capsys.readouterr().out


def test_a_quick_run_leaves_the_kept_results_alone(only: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(tiny())
    monkeypatch.setattr(command, "HERE", tmp_path)
    assert command.main(["--all", "--quick"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert command.main(["--all"]) == 0
    assert (tmp_path / "README.md").exists()


def test_kept_results_are_drawn_again_without_a_run(only: Any, tmp_path: Path) -> None:
    module = tiny()
    only(module)
    assert command.main(["tiny", "--out", str(tmp_path)]) == 0
    (tmp_path / "results/tiny.png").unlink()
    module.run, module.__doc__ = None, "Told better."
    assert command.main(["tiny", "--redraw", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "results/tiny.png").exists()
    assert "Told better." in (tmp_path / "README.md").read_text()


def test_what_fails_is_said_in_the_exit_status(only: Any, capsys: pytest.CaptureFixture[str]) -> None:
    only(tiny(failures=("2 is above 1",)))
    assert command.main(["tiny", "--quick"]) == 1
    assert "FAILED: 2 is above 1" in capsys.readouterr().out

    module = tiny()
    module.run = lambda quick, seed: 1 / 0
    only(module)
    assert command.main(["tiny", "--quick"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["no_such"], ["invariance", "--all"]])
def test_a_wrong_call_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2


def test_a_result_is_checked() -> None:
    with pytest.raises(ValueError, match="verdict"):
        tiny(verdict="holds, mostly").run(True, 0)
    with pytest.raises(ValueError, match="cells"):
        Result(["a", "b"], [[1]], "", "holds")


def test_the_interval_is_students() -> None:
    mean, low, high = frame.interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t at 97.5 % with 2 degrees of freedom
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.parametrize("name", frame.experiments())
def test_each_experiment_says_what_it_is(name: str) -> None:
    module = frame.load(name)
    assert module.CLAIM.id == name
    assert module.CLAIM.document in {"D0", "D1", "D2", "D3", "D4"}
    assert "verdict" in module.__doc__.lower()  # the rule that the verdict is computed by
    assert callable(module.run)
    assert callable(module.plot)


def test_the_page_is_made_from_the_kept_results() -> None:
    assert (command.HERE / "README.md").read_text() == frame.readme(command.HERE)


def test_invariance_runs_quick(tmp_path: Path) -> None:
    assert command.main(["invariance", "--quick", "--out", str(tmp_path)]) == 0
