"""The report on libraries: the list, the runner, the report and the reported errors, with tiny
libraries made here.

Tests of a real library are skipped where it is not installed.
"""

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT

import ropecore
from ropecore import conformance
from ropecore.cli import main
from ropecore.conformance.cases import all_cases
from ropecore.conformance.peers import Known, Peer, known, peers, run_peers, summary, write
from ropecore.conformance.peers._common import Alone, by_rows, config_of, power_of_two, runs
from ropecore.conformance.peers._known import Answer, answer
from ropecore.conformance.verdicts import NotApplicable

SOURCE = """
import numpy as np
class Right:
    capabilities = {{"name": "tiny", "version": "1.0", "features": ["half_split", "negative_positions"]}}
    @staticmethod
    def apply(plan, x, positions):
        angle = (positions[:, None] * plan.frequencies[:, 0]).astype(np.float32)
        cos, sin = np.cos(angle), {sign}np.sin(angle)
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
target = Right()
"""
CASE = "rotate/half_split/d8/pos257"
RIGHT = Peer("right:target", "numpy", "1", call="apply(x)", words="float32")
WRONG = Peer("wrong:target", "numpy", "1", explained={"rotate/*": "bug: it turns the other way"})
ABSENT = Peer("no:target", "no-such-package-here", "3.1")
NEEDS = Peer("gpu", "numpy", "1", absent="needs a GPU")
REAL = [peer for peer in peers() if not peer.absent]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Judge a module of this test's folder, as a library is judged, by a few cases."""
    for name, sign in (("right", ""), ("wrong", "-")):
        (tmp_path / f"{name}.py").write_text(SOURCE.format(sign=sign), encoding="utf-8")

    def judge(peer: Peer, file: Path) -> "subprocess.CompletedProcess[str]":
        namespace: dict[str, Any] = {}
        exec((tmp_path / f"{peer.name.partition(':')[0]}.py").read_text(encoding="utf-8"), namespace)
        target = conformance.Target(namespace["target"], peer.target)
        report = conformance.run(target, ids=["rotate/half_split/d8/*", "pairing/*"])
        file.write_text(report.to_json(), encoding="utf-8")
        return subprocess.CompletedProcess([], 0, "", "")

    return judge


def test_the_list_is_sound() -> None:
    names = [peer.name for peer in peers()]
    assert len(names) == len(set(names))
    assert len({peer.package for peer in REAL}) >= 12
    for peer in REAL:
        assert (files("ropecore.conformance.peers") / f"{peer.name.partition(':')[0]}.py").is_file()
        assert peer.source, peer.name
        assert peer.call, peer.name
        assert peer.words, peer.name


def test_every_explanation_and_report_is_about_a_case() -> None:
    from fnmatch import fnmatchcase

    globs = [glob for peer in peers() for glob in peer.explained] + [each.case for each in known() if each.case]
    for glob in globs:
        assert any(fnmatchcase(case.id, glob) for case in all_cases()), glob


def test_pinned_versions_are_those_of_the_list() -> None:
    folder = ROOT / "conformance" / "peers"
    if not folder.is_dir():
        pytest.skip("the checkout's own files are not here")
    lines = [line for name in ("requirements.txt", "without_dependencies.txt") for line in (folder / name).read_text().splitlines()]  # fmt: skip
    pinned = dict(line.replace("[cpu]", "").split("==") for line in lines if "==" in line)
    for peer in REAL:
        assert pinned[peer.package] == peer.version


def test_a_name_is_a_library_or_one_of_its_targets() -> None:
    assert [peer.name for peer in peers(["litgpt"])] == ["litgpt:target", "litgpt:interleave"]
    assert [peer.name for peer in peers(["litgpt:interleave"])] == ["litgpt:interleave"]
    assert len(peers(["litgpt", "litgpt:target"])) == 2
    with pytest.raises(ropecore.RopeError, match=r"--peers.*is not in the list.*litgpt:target"):
        peers(["nothing"])


def test_what_is_absent_is_listed_and_not_counted(start: Any) -> None:
    judged = run_peers([RIGHT, ABSENT, NEEDS], start=start)
    assert judged[0].report is not None
    assert judged[1].not_run == "not installed: pip install no-such-package-here==3.1"
    assert judged[2].not_run == "needs a GPU"
    assert summary(judged).splitlines()[-1] == "1 of 3 targets were run"


def test_a_library_that_takes_its_process_down_is_not_run() -> None:
    def start(peer: Peer, file: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess([], -11, "", "one\nSegmentation fault")

    (judged,) = run_peers([RIGHT], start=start)
    assert judged.report is None
    assert "ended with -11: one Segmentation fault" in judged.not_run


def test_a_library_that_does_not_end_is_not_run() -> None:
    def start(peer: Peer, file: Path) -> "subprocess.CompletedProcess[str]":
        raise subprocess.TimeoutExpired("ropecore", 900)

    (judged,) = run_peers([RIGHT], start=start)
    assert "no end within" in judged.not_run


def test_progress_tells_each_name(start: Any) -> None:
    told: list[tuple[int, int, str]] = []
    run_peers([RIGHT, WRONG], lambda *each: told.append(each), start)
    assert told == [(0, 2, "right:target"), (1, 2, "wrong:target")]


def test_the_report_is_written(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropecore.conformance.peers._report.known", lambda: [Known("x", "tiny", "turns back", "wrong:target", CASE)])  # fmt: skip
    made = write(run_peers([RIGHT, WRONG, ABSENT], start=start), tmp_path / "out")
    assert [file.name for file in made] == ["REPORT.md", "report.html"]
    text = made[0].read_text(encoding="utf-8")
    for words in (
        "1 library, 2 targets",
        "- **bug**: it turns the other way",
        "not yet explained",
        "$ ropecore conformance ropecore.conformance.peers.wrong:target --case rotate/half_split/d8/",
        f"| x | tiny | turns back | **confirmed** | `wrong:target` fails `{CASE}` |",
        "not installed: pip install no-such-package-here==3.1",
    ):
        assert words in text.replace("not yet explained", "not yet explained"), words
    page = made[1].read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [each["target"].split(".")[-1] for each in data["entries"]] == ["right:target", "wrong:target", "no:target"]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (Known("", "", "", "wrong:target", CASE), "confirmed"),
        (Known("", "", "", "right:target", CASE), "not seen"),
        (Known("", "", "", "right:target", "pairing/deinterleaving/*"), "not judged"),
        (Known("", "", "", "no:target", CASE), "not run"),
        (Known("", "", "", reason="needs a GPU"), "out of reach"),
        (Known("", "", "", check="hypot"), "confirmed"),
    ],
)
def test_a_reported_error_is_confirmed_by_what_was_run(start: Any, asked: Known, word: str) -> None:
    judged = run_peers([RIGHT, WRONG, ABSENT], start=start)
    assert answer(asked, judged, lambda name: Answer("confirmed", name)).word == word


def test_runs_are_stretches_of_consecutive_positions() -> None:
    assert list(runs(np.array([3, 4, 5, 9, 9, 10, 2]))) == [
        (slice(0, 3), 3),
        (slice(3, 4), 9),
        (slice(4, 6), 9),
        (slice(6, 7), 2),
    ]


def test_rows_have_positions_of_their_own() -> None:
    x = np.zeros((2, 1, 3, 4))
    add = lambda row, at: row + at[:, None]
    y = by_rows(x, np.array([[0, 1, 2], [5, 6, 7]]), add, np.concatenate)
    assert y[:, 0, :, 0].tolist() == [[0, 1, 2], [5, 6, 7]]
    assert by_rows(x, np.array([[5, 6, 7]]), add, np.concatenate)[:, 0, :, 0].tolist() == [[5, 6, 7]] * 2


def test_tables_have_few_sizes() -> None:
    assert [power_of_two(n) for n in (1, 64, 65, 257, 1024)] == [64, 64, 128, 512, 1024]


def test_a_config_that_a_library_has_no_word_for_does_not_concern_it() -> None:
    plain = {"head_dim": 8, "pairing": "half_split", "base": 100.0}
    assert config_of({"config": plain}, "half_split") == plain
    for other, why in (
        ({"pairing": "interleaved"}, "does not pair interleaved"),
        ({"rotary_dim": 4}, "no option for rotary_dim"),
        ({"scaling": {"rule": "yarn", "factor": 2.0}}, "no yarn scaling"),
        ({"scaling": {"rule": "linear", "factor": 2.0, "policy": "static"}}, "linear scaling has no option for policy"),
        ({"base": None, "inv_freq": [1.0]}, "no option for inv_freq"),
    ):
        with pytest.raises(NotApplicable, match=why):
            config_of({"config": {**plain, **other}}, "half_split", rules=("linear",))


def test_a_case_begins_with_nothing_kept_and_its_calls_share_a_process() -> None:
    forgotten: list[str] = []
    alone = Alone(lambda: forgotten.append("once"))
    for case in ({"id": "a", "dtype": "float32", "kind": "rotate"}, {"id": "a", "dtype": "float32", "kind": "rotate"}):
        alone(case)
    assert len(forgotten) == 1
    alone({"id": "a", "dtype": "bfloat16", "kind": "rotate"})
    alone({"id": "b", "dtype": "float32"})
    alone({"id": "b", "dtype": "bfloat16"})
    assert len(forgotten) == 3


def test_the_command_refuses_what_it_does_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--peers", "nothing"]) == 2
    assert "is not in the list" in capsys.readouterr().err
    assert main(["conformance", "--peers", "litgpt", "--topic", "rotate"]) == 2


def test_the_command_refuses_when_nothing_ran(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ropecore.conformance.peers.peers", lambda names: [ABSENT, NEEDS])
    for arguments in ((), ("--out", "."), ("flash_attn", "-o", ".")):
        assert main(["conformance", "--peers", *arguments]) == 2
        out, err = capsys.readouterr()
        assert "0 of 2 targets were run" in out
        assert "nothing was run, and nothing is written" in err
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_to_the_folder_that_is_named_or_the_current(
    start: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = run_peers([RIGHT], start=start)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ropecore.conformance.peers.run_peers", lambda chosen, progress: judged)
    monkeypatch.setattr("ropecore.conformance.peers._report.known", list)
    for arguments, folder in (((), tmp_path), (("--out", "out"), tmp_path / "out")):
        assert main(["conformance", "--peers", *arguments]) == 0
        assert (folder / "REPORT.md").is_file()
        assert (folder / "report.html").is_file()
    assert not (tmp_path / "conformance").exists()
    assert main(["conformance", "--peers", "--out", "none"]) == 2
    assert "--out='none'" in capsys.readouterr().err


def test_the_links_of_the_committed_report_are_right() -> None:
    folder = ROOT / "conformance" / "peers"
    if not folder.is_dir():
        pytest.skip("the checkout's own files are not here")
    links = re.findall(r"\]\(([^)#:]+)\)", (folder / "REPORT.md").read_text(encoding="utf-8"))
    assert "README.md" in links
    for link in links:
        assert (folder / link).is_file(), link


@pytest.mark.parametrize("peer", REAL, ids=lambda peer: peer.name)
def test_a_library_passes_a_plain_case_and_fails_none_that_is_not_explained(peer: Peer, tmp_path: Path) -> None:
    if peer.installed is None:
        pytest.skip(peer.pip)
    code = (
        "from ropecore.conformance import load_target, run\n"
        f"report = run(load_target({peer.target!r}), ids=['rotate/half_split/d8/pos1', 'rotate/interleaved/d8/pos1', 'pairing/*', 'partial/*'])\n"
        "assert report.counts['pass'] and not report.broken, report.text()\n"
        "print(*sorted({result.case.id for result in report.results if result.verdict in ('fail', 'errored')}))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    if "cannot be imported" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert [case for case in done.stdout.split() if not peer.explanation(case)[0]] == []


@pytest.mark.filterwarnings("ignore")  # of the other operators' tests, which are collected too
def test_onnx_own_node_tests_hold_for_ropecore() -> None:
    node = pytest.importorskip("onnx.backend.test.case.node", reason="the operator's own node tests")
    tests = [case for case in node.collect_testcases("RotaryEmbedding") if "rotary_embedding" in case.name and "expanded" not in case.name]  # fmt: skip
    assert len(tests) == 8
    for case in tests:
        (inputs, (wanted,)), attributes = case.data_sets[0], _attributes(case.model.graph.node[0])
        got = _by_ropecore(inputs, attributes)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def _attributes(node: Any) -> dict[str, int]:
    return {each.name: each.i for each in node.attribute}


def _by_ropecore(inputs: Any, attributes: dict[str, int]) -> Any:
    """Return the operator's result by ropecore.rotate with the operator's own tables."""
    x, cos, sin = inputs[:3]
    heads = attributes.get("num_heads", 0)
    four = x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2) if x.ndim == 3 else x
    if len(inputs) == 4:
        cos, sin = cos[inputs[3]], sin[inputs[3]]
    config = ropecore.RopeConfig(
        head_dim=four.shape[-1],
        base=10000.0,
        pairing="interleaved" if attributes.get("interleaved") else "half_split",
        rotary_dim=attributes.get("rotary_embedding_dim") or None,
    )
    y = ropecore.rotate(config.plan(), four, cos[:, None], sin[:, None])
    return y.swapaxes(1, 2).reshape(x.shape) if x.ndim == 3 else y
