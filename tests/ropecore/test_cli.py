"""The command line: what it prints, and its exit status."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import ropecore
from ropecore import spec
from ropecore.cli import main

EXPLAIN = ["explain", "--head-dim", "8", "--base", "100", "--pairing", "half_split"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(arguments)
    except SystemExit as leave:
        status = int(leave.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_main_job(capsys) -> None:
    status, out, _ = run(capsys, "conformance", "numpy")

    assert status == 0
    head, *_, counts = out.splitlines()
    assert head.startswith("numpy conforms")
    passed, failed = (int(word.split()[0]) for word in counts.split(", ")[:2])
    assert passed >= 500
    assert failed == 0
    assert "skipped" not in counts


@pytest.mark.parametrize("command", [[], ["conformance"], ["vectors"], ["vectors", "export"], ["explain"]])
def test_help_has_an_example(capsys, command: list[str]) -> None:
    status, out, _ = run(capsys, *command, "--help")

    assert status == 0
    if command and command != ["vectors"]:
        assert f"ropecore {' '.join(command)} " in out.split("example")[1]


def test_the_module_is_the_command() -> None:
    call = [sys.executable, "-P", "-m", "ropecore", "--version"]  # -P: the installed package, not the folder at hand
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout

    assert out == f"ropecore {ropecore.__version__}\n"


def test_vectors_are_listed_and_shown(capsys) -> None:
    status, out, _ = run(capsys, "vectors", "list", "rotate/*", "--json")
    listed = json.loads(out)

    assert status == 0
    assert len(listed) > 20
    status, out, _ = run(capsys, "vectors", "show", listed[0]["id"])
    assert status == 0
    assert json.loads(out) == spec.vector(listed[0]["id"])


def test_a_wrong_id_is_answered_with_near_ones(capsys) -> None:
    one = spec.vectors()[0]["id"]
    status, _, err = run(capsys, "vectors", "show", one + "x")

    assert status == 2
    assert one in err
    assert run(capsys, "vectors", "list", "nothing/*")[0] == 2


def test_vectors_are_verified(capsys, monkeypatch) -> None:
    status, out, _ = run(capsys, "vectors", "verify")
    assert status == 0
    assert "all files" in out

    monkeypatch.setattr(spec, "verify", lambda: ["a file is missing"])
    status, out, _ = run(capsys, "vectors", "verify", "--json")
    assert status == 1
    assert json.loads(out)["problems"] == ["a file is missing"]


def test_exports_hold_the_same_numbers(capsys, tmp_path) -> None:
    paths = {kind: tmp_path / f"vectors.{kind}" for kind in ("json", "npz", "csv", "safetensors")}
    for kind, path in paths.items():
        assert run(capsys, "vectors", "export", "rotate/*", "--format", kind, "-o", str(path))[0] == 0
    case = next(
        c for c in json.loads(paths["json"].read_text()) if c["kind"] == "rotate" and c["result"]["kind"] == "value"
    )
    name = f"{case['id']}/result/y"
    wanted = np.array(case["result"]["y"]["data"], float).reshape(case["result"]["y"]["shape"])

    assert np.array_equal(np.load(paths["npz"])[name], wanted)
    assert np.array_equal(load_file(paths["safetensors"])[name], wanted)
    with paths["csv"].open() as file:
        values = [float(row["value"]) for row in csv.DictReader(file) if row["array"] == name]
    assert values == wanted.ravel().tolist()


def test_an_export_goes_to_standard_output(capsysbinary) -> None:
    assert main(["vectors", "export", "rotate/*", "--format", "npz", "-o", "-"]) == 0

    assert "rotate/half_split/d8/pos257/x" in np.load(io.BytesIO(capsysbinary.readouterr().out))


@pytest.mark.parametrize("call", [("vectors", "export", "-o"), (*EXPLAIN, "--plot")])
@pytest.mark.parametrize(("place", "reason"), [("", "is a folder"), ("none/x.png", "there is no folder")])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(capsys, tmp_path, call, place, reason) -> None:
    status, _, err = run(capsys, *call, str(tmp_path / place))

    assert status == 2
    assert f"cannot write {tmp_path / place}: {reason}" in err


def test_a_picture_of_no_known_kind_is_refused(capsys, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    status, _, err = run(capsys, *EXPLAIN, "--plot", str(tmp_path / "x.xyz"))

    assert status == 2
    assert "--plot=" in err
    assert "png" in err


def test_a_module_that_raises_when_it_is_imported_is_refused(capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "raises_on_import.py").write_text("raise RuntimeError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    status, _, err = run(capsys, "identify", "raises_on_import:f", "--head-dim", "8")

    assert status == 2
    assert "cannot be imported (RuntimeError: boom)" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("call", [("explain", "llama"), ("vectors", "list", "rotate/*")])
def test_a_full_disk_is_told_in_one_line(call: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        arguments = [sys.executable, "-P", "-m", "ropecore", *call]
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False)

    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        f"ropecore: cannot read or write the output: {os.strerror(errno.ENOSPC)}"
    ]


def test_explain_prints_a_row_a_pair(capsys) -> None:
    status, out, _ = run(capsys, *EXPLAIN, "--context", "50", "--scaling", "linear", "factor=4")

    assert status == 0
    assert [line.split()[0] for line in out.splitlines() if line[:4].strip().isdigit()] == ["0", "1", "2", "3"]
    assert "stretched x 4" in out
    assert "wavelength longer than the context" in out


def test_explain_as_json_holds_the_plan(capsys) -> None:
    status, out, _ = run(
        capsys, *EXPLAIN, "--scaling", "yarn", "factor=4", "original_max_position=64", "truncate=false", "--json"
    )
    explanation = json.loads(out)
    config = ropecore.RopeConfig(
        head_dim=8, base=100.0, pairing="half_split", scaling=ropecore.YaRN(4, 64, truncate=False)
    )

    assert status == 0
    assert ropecore.RotaryPlan.from_dict(explanation["plan"]) == config.plan()
    assert ropecore.RopeConfig.from_dict(explanation["config"]) == config
    assert {row["effect"].split()[0] for row in explanation["pairs"]} <= {"kept", "blended", "stretched"}


def test_explain_reads_a_file(capsys, tmp_path) -> None:
    path = tmp_path / "rope.json"
    path.write_text(
        json.dumps(
            {
                "head_dim": 8,
                "base": 100.0,
                "pairing": "interleaved",
                "scaling": {"rule": "proportional", "partial_rotary_factor": 0.5},
            }
        )
    )
    status, out, _ = run(capsys, "explain", "--config", str(path))

    assert status == 0
    assert out.count("does not rotate") == 2


def test_convert_looks_for_the_checkpoint_before_it_asks_for_sizes(capsys, tmp_path) -> None:
    status, _, err = run(capsys, "convert", str(tmp_path), "--to", "interleaved", "-o", str(tmp_path / "out"))

    assert status == 2
    assert f"checkpoint='{tmp_path}': has 0 safetensors files" in err


@pytest.mark.parametrize(
    ("option", "call"),
    [
        ("--config", ("explain",)),
        ("--config", ("convert", "model.safetensors", "--to", "interleaved", "-o", "out")),
        ("--expect", ("identify", "math:sin", "--head-dim", "8")),
    ],
)
@pytest.mark.parametrize("text", ["[1]", "{", " " * (1 << 24) + "{}"])
def test_every_command_refuses_a_file_that_holds_no_object(capsys, tmp_path, option, call, text: str) -> None:
    path, weights = tmp_path / "rope.json", tmp_path / "model.safetensors"
    path.write_text(text)
    weights.write_bytes((2).to_bytes(8, "little") + b"{}")  # without a tensor
    status, _, err = run(capsys, *(part.replace(weights.name, str(weights)) for part in call), option, str(path))

    assert status == 2
    assert f"{option}='{path}" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((*EXPLAIN, "--rotary-dim", "5"), "rotary_dim"),
        ((*EXPLAIN, "--scaling", "yarn"), "scaling.factor"),
        ((*EXPLAIN, "--scaling", "su", "factor=2"), "scaling.rule"),
        ((*EXPLAIN, "--scaling", "linear", "2"), "--scaling"),
        ((*EXPLAIN, "--context", "0"), "context"),
        ((*EXPLAIN, "--config", "nowhere.json"), "--config"),
        (("explain", "--config", "nowhere.json"), "--config"),
        (("explain", "--config", "rope.json", "--scaling", "linear", "factor=2"), "--scaling"),
        (("explain", "llama", "--config", "nowhere.json"), "a source"),
        (("explain", "llama", "--scaling", "nonsense", "x=1"), "nonsense"),
        (("convert", "nowhere", "--to", "interleaved", "-o", "out"), "checkpoint='nowhere': cannot be read"),
        (("vectors", "show", "nope"), "ropecore vectors list"),
        ((*EXPLAIN, "--part", "text"), "--part"),
        ((*EXPLAIN, "--layer-type", "sliding_attention"), "--layer-type"),
        ((*EXPLAIN, "--lenient"), "--lenient"),
        (("explain", "--head-dim", "8"), "pairing"),
        (("conformance", "no_such_module"), "target"),
        (("conformance", "numpy", "--case", "nothing/*"), "nothing/*"),
        (("conformance", "numpy", "--flag", "M999"), "M999"),
    ],
)
def test_wrong_calls_leave_with_status_2_and_a_reason(capsys, arguments, named: str) -> None:
    status, _, err = run(capsys, *arguments)

    assert status == 2
    assert named in err
