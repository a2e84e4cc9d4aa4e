"""Programs as targets: the examples conform, and a program that misbehaves is errored, never passed
and never failed.
"""

import functools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from paths import ROOT

from ropecore import RopeError, conformance, spec
from ropecore.cli import main
from ropecore.conformance.cases import all_cases
from ropecore.conformance.process import Process
from ropecore.conformance.program import Program, ProgramError, decode_answer, encode, parse
from ropecore.conformance.target import FEATURES

EXAMPLES = ROOT / "conformance" / "examples"
SCHEMA = json.loads(files("ropecore.conformance").joinpath("protocol.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
WITHOUT_CONFIG = "the target starts from a config, and this case has none"
FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror")
CONVERSES = "import json, sys, time, os\nfor line in sys.stdin:\n    message = json.loads(line)\n    if message['command'] == 'stop':\n        break\n"
STARTED = {"protocol": "ropecore-command/1", "name": "test", "version": "1", "language": "Python"}
ONE = "rotate/half_split/d8/pos257"
SMALL = {"topic": "rotate"}

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node")


@functools.cache
def rustc_version() -> tuple[int, ...]:
    """Return the version of rustc, (0,) where there is none: rope.rs needs 1.82."""
    if shutil.which("rustc") is None:
        return (0,)
    said = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"rustc (\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else (0,)


needs_rustc = pytest.mark.skipif(rustc_version() < (1, 82), reason="no rustc of 1.82 or newer")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that compiles the C example."""
    folder = tmp_path_factory.mktemp("rope_c")

    @functools.cache
    def compiled_with(*options: str) -> list[str]:
        program = folder / ("wrong" if "-DFLIP_SIGN" in options else "rope")
        subprocess.run(["gcc", *FLAGS, *options, "-o", program, EXAMPLES / "rope.c", "-lm"], check=True)
        return [str(program)]

    return compiled_with


@pytest.fixture(scope="module")
def rust(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Rust example, compiled."""
    program = tmp_path_factory.mktemp("rope_rs") / "rope"
    subprocess.run(["rustc", "-O", "-D", "warnings", "-o", program, EXAMPLES / "rope.rs"], check=True)
    return str(program)


@pytest.fixture(
    params=[
        pytest.param("c", marks=needs_gcc),
        pytest.param("js", marks=needs_node),
        pytest.param("rs", marks=needs_rustc),
        pytest.param("rs --config", marks=needs_rustc),
    ]
)
def example(request: pytest.FixtureRequest) -> Any:
    """A function that gives an example's command, right or with a flipped sign."""

    def command(monkeypatch: pytest.MonkeyPatch, wrong: bool = False) -> list[str]:
        if request.param == "c":
            compiled = request.getfixturevalue("compiled")
            return list(compiled("-DFLIP_SIGN") if wrong else compiled())
        if wrong:
            monkeypatch.setenv("FLIP_SIGN", "1")
        if request.param == "js":
            return ["node", str(EXAMPLES / "rope.js")]
        return [request.getfixturevalue("rust"), *request.param.split()[1:]]

    return command


def program_of(tmp_path: Path, body: str, started: Any = None) -> list[str]:
    """The command of a Python program: `body` is what it does with a `message`, after it has
    answered start.
    """
    lines = [
        f"    if message['command'] == 'start':\n        print({json.dumps(started or STARTED)!r}, flush=True)\n        continue"
    ]
    lines += [f"    {line}" for line in body.splitlines()]
    file = tmp_path / "program.py"
    file.write_text(CONVERSES + "\n".join(lines) + "\n")
    return [sys.executable, str(file)]


def answer(fields: str) -> str:
    """A body that answers every question with these fields beside the id."""
    return f"print(json.dumps({{'id': message['id'], {fields}}}), flush=True)"


ECHO = answer("'y': message['x']")


def verdicts(program: list[str], timeout: float = 10.0, **selection: Any) -> conformance.Report:
    with Program(program, timeout) as target:
        return conformance.run(target, **(selection or SMALL))


# ---- the examples


def test_an_example_passes_every_case_that_it_declares(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rotations = {case.id for case in all_cases() if case.kind == "rotate"}
    with Program(example(monkeypatch)) as program:
        report = conformance.run(program)
    passed = {result.case.id for result in report.results if result.verdict == "pass"}
    if report.capabilities["reads_config"]:
        passed |= {result.case.id for result in report.results if result.outcome.reason == WITHOUT_CONFIG}

    assert report.ok, report.text()
    assert rotations <= passed
    assert report.counts["skipped"] == 0
    assert report.capabilities["features"] is None


def test_an_example_with_a_flipped_sign_fails(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    report = verdicts(example(monkeypatch, wrong=True))

    assert report.counts["fail"] > 0.9 * report.selection.cases
    assert report.counts["errored"] == 0
    assert not report.clean


@needs_rustc
def test_the_rust_example_refuses_plans_and_configurations(rust: str) -> None:
    """The tables of chapter 12 that the protocol does not ask for: it names the argument that the
    vectors name.
    """
    shown_in_place_of_named = {"scaling.rule": {"su"}, "frequency_dim": {"ntk", "dynamic_ntk"}}
    asked = {call: [case.data for case in all_cases() if case.data.get("call") == call] for call in ("plan", "config")}
    for call, vectors in asked.items():
        questions = [{**vector, "command": "run", "id": i} for i, vector in enumerate(vectors)]
        command = [rust, "--config"] if call == "config" else [rust]
        lines = "\n".join(json.dumps(question) for question in questions)
        out = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
        answers = [json.loads(line).get("refused") for line in out.splitlines()]

        assert len(answers) == len(vectors) > 10
        for vector, refused in zip(vectors, answers, strict=True):
            assert vector["argument"] in {refused, *shown_in_place_of_named.get(refused, ())}, vector["id"]


@needs_rustc
@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"a": 1, "a": 2}', '{"command": "run"', '{"command": "go"}', "1 2", '"\\ud800"']
)
def test_the_rust_example_ends_at_what_is_no_question(rust: str, line: str) -> None:
    done = subprocess.run([rust], input=line, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@needs_gcc
def test_the_c_example_is_sound(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error of memory and no undefined behaviour in a few hundred questions: a sanitizer would
    end the program.
    """
    options = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")
    probe = subprocess.run(
        ["gcc", *options, "-x", "c", "-", "-o", os.devnull], input="int main(void){return 0;}", text=True, check=False
    )
    if probe.returncode:
        pytest.skip("gcc has no sanitizers")
    with Program(compiled(*options)) as program:
        report = conformance.run(program, topic=["rotate", "axes", "positions", "inverse"])
        status = leave(program)

    assert report.clean, report.text()
    assert status == 0


def leave(program: Program) -> int:
    """Stop a program and return its exit status."""
    process = program._process
    assert process is not None
    program.close()
    return int(process.returncode or 0)


@needs_gcc
def test_the_transcript_of_the_readme_is_what_happens(compiled: Any) -> None:
    text = (EXAMPLES / "README.md").read_text()
    block = re.search(r"```\n(> .*?)```", text, re.DOTALL)
    assert block is not None
    lines = re.sub(r"\n +", " ", block[1]).splitlines()
    asked = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    out = subprocess.run(compiled(), input="\n".join(asked), capture_output=True, text=True, check=True).stdout

    assert out.splitlines() == [line.removeprefix("< ") for line in lines if line.startswith("< ")]
    question = json.loads(asked[1])
    vector = spec.vector(question["vector"])
    shared = vector.keys() & question.keys() - {"id"}
    assert {"plan", "x", "positions"} <= shared
    assert {key: vector[key] for key in shared} == {key: question[key] for key in shared}


# ---- the protocol


def test_every_line_of_a_conversation_is_as_the_schema_says(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = jsonschema.Draft202012Validator(
        json.loads(files("ropecore.spec").joinpath("schema/plan.schema.json").read_text())
    )
    lines: list[Any] = []
    ask = Process.ask

    def heard(self: Process, line: bytes, deadline: float, largest: int) -> bytes:
        answer = ask(self, line, deadline, largest)
        lines.extend([json.loads(line), json.loads(answer)])
        return answer

    monkeypatch.setattr(Process, "ask", heard)
    with Program(example(monkeypatch)) as program:
        assert VALIDATOR.is_valid(lines.pop())
        assert lines.pop()["command"] == "start"
        conformance.run(program, ids=["rotate/*/d8/*", "axes/*", "positions/*", "state/*", "scores/*"])
    kinds = {line.get("command", "answer") for line in lines}
    problems = [error.message for line in lines[:600] for error in VALIDATOR.iter_errors(line)]

    assert kinds == {"run", "answer"}
    assert not problems
    assert all(plans.is_valid(line["plan"]) for line in lines[:600] if "plan" in line)


def test_the_schema_refuses_what_the_suite_refuses() -> None:
    right = {"id": 1, "y": {"shape": [1], "data": ["NaN"]}}
    wrong: list[Any] = [
        {"id": 1},
        {"y": right["y"]},
        {**right, "skipped": "why"},
        {"id": 1, "y": {"shape": [1], "data": [None]}},
        {"id": 1, "y": {"shape": [-1], "data": []}},
        {**STARTED, "protocol": "ropecore-command/2"},
        {**STARTED, "capabilities": {"dtype": ["float32"]}},
        {"command": "run", "id": 1},
        {"command": "end"},
    ]

    assert VALIDATOR.is_valid(right)
    assert [line for line in wrong if VALIDATOR.is_valid(line)] == []
    features = SCHEMA["$defs"]["capabilities"]["properties"]["features"]["items"]["enum"]
    assert features == list(FEATURES)


def test_numbers_keep_their_bits() -> None:
    x = np.array([[0.1, -0.0, np.inf, -np.inf, np.nan, 2.0**-149]], np.float32)
    there = json.loads(json.dumps(encode(x), allow_nan=False))

    assert decode_answer(there).astype(np.float32).tobytes() == x.tobytes()
    assert np.signbit(decode_answer(parse(b'{"shape": [1], "data": [-0]}'))).all()


@pytest.mark.parametrize(
    "y",
    [
        "[1]",
        '{"shape": [2], "data": [1]}',
        '{"shape": [true], "data": [1]}',
        '{"shape": [-1], "data": []}',
        '{"shape": [1], "data": ["one"]}',
        '{"shape": [1], "data": [null]}',
        '{"shape": [1], "data": [[1]]}',
        '{"shape": [1], "data": [1' + "0" * 400 + "]}",
        '{"data": [1]}',
    ],
)
def test_an_array_that_is_none_is_garbage(y: str) -> None:
    with pytest.raises(ProgramError, match=r"^its y "):
        decode_answer(json.loads(y))


# ---- verdicts on programs that do something else


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os._exit(3)", "it ended with status 3"),
        ("print('no memory', file=sys.stderr, flush=True)\nos._exit(3)", "saying 'no memory'"),
        ("os.abort()", "it was ended by SIGABRT"),
        ("print('debug', flush=True)", "'debug\\n' is no JSON object"),
        ("print('[1]', flush=True)", "is no JSON object"),
        (answer("'y': {'shape': [1], 'data': [float('nan')]}"), "is no JSON object"),
        ('print(\'{"id": 0, "y": null}\', flush=True)', "it answers id 0"),
        (answer("'z': 1"), "has not one of y, skipped, refused, errored"),
        (answer("'y': 1, 'skipped': 'why'"), "has not one of"),
        (answer("'y': {'shape': [2], 'data': [1]}"), "has not the 2 numbers"),
        (answer("'errored': 'no such kernel'"), "no such kernel"),
        ("sys.stdout.write('{')\nsys.stdout.flush()\nos._exit(0)", "'{' is no line"),
        ("os.close(1)\ntime.sleep(60)", "it closed its output"),
    ],
    ids=range(13),
)
def test_a_program_that_misbehaves_is_errored(tmp_path: Path, body: str, reason: str) -> None:
    """Only for one vector, so that the harness is not broken: before and after it the program is as
    it should be.
    """
    guarded = f"if message['vector'] == '{ONE}':\n" + "\n".join(f"    {line}" for line in body.splitlines())
    report = verdicts(program_of(tmp_path, f"{guarded}\nelse:\n    {ECHO}"), ids="rotate/half_split/d8/*")
    errored = [result for result in report.results if result.verdict == "errored"]

    assert [result.case.id for result in errored] == [ONE]
    assert reason in errored[0].outcome.reason
    assert report.counts["fail"] > 5  # the others were judged: the program was started again
    assert not report.clean


def test_a_program_that_is_late_is_errored_and_started_again(tmp_path: Path) -> None:
    guarded = f"if message['vector'] == '{ONE}':\n    time.sleep(60)\nelse:\n    {ECHO}"
    start = time.monotonic()
    report = verdicts(program_of(tmp_path, guarded), timeout=1.0, ids="rotate/half_split/d8/*")
    errored = [result.outcome.reason for result in report.results if result.verdict == "errored"]

    assert errored == ["ProgramError: no answer within 1 s"]
    assert report.counts["fail"] > 5
    assert time.monotonic() - start < 30


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_child_of_the_program_does_not_outlive_it() -> None:
    """A shell's child holds the output open: it is ended too, or reading would wait for it."""
    start = time.monotonic()
    with pytest.raises(RopeError, match=r"no answer within 0\.5 s"):
        Program("sh -c 'sleep 60; true'", timeout=0.5)
    assert time.monotonic() - start < 10


def test_skipped_has_its_reason_and_link(tmp_path: Path) -> None:
    body = answer("'skipped': 'not yet', 'link': 'https://example.org/7'")
    report = verdicts(program_of(tmp_path, body))

    assert report.counts["skipped"] == report.selection.cases
    assert {result.outcome.reason for result in report.results} == {"not yet https://example.org/7"}
    assert not report.clean


def test_a_refusal_passes_where_the_argument_must_be_refused_and_fails_elsewhere(tmp_path: Path) -> None:
    refuse = answer("'refused': 'positions'")
    body = f"if message['vector'].startswith('refusals/positions/'):\n    {refuse}\nelse:\n    {ECHO}"
    report = verdicts(program_of(tmp_path, body), ids="refusals/positions/*")
    outcomes = {result.case.id.rsplit("/", 1)[1]: result.outcome for result in report.results}

    assert outcomes["too_few"].verdict == "pass"
    assert outcomes["beside_offset"].verdict == "fail"
    assert "does not name 'offset'" in outcomes["beside_offset"].reason


def test_a_refusal_of_a_right_call_fails(tmp_path: Path) -> None:
    refuse = answer("'refused': 'plan'")
    body = f"if message['vector'] == '{ONE}':\n    {refuse}\nelse:\n    {ECHO}"
    report = verdicts(program_of(tmp_path, body), ids=ONE)

    assert report.counts["fail"] == 1
    assert "it refuses `plan`" in report.results[0].outcome.reason


def test_a_wrong_shape_fails(tmp_path: Path) -> None:
    body = f"if message['vector'] == '{ONE}':\n    message['x']['shape'] = [1, 1, 2, 8]\n{ECHO}"
    report = verdicts(program_of(tmp_path, body), ids=ONE)

    assert report.counts["fail"] == 1
    assert "shape (1, 1, 2, 8) for an input of shape (1, 2, 1, 8)" in report.results[0].outcome.reason


def test_a_second_answer_with_other_bits_fails(tmp_path: Path) -> None:
    """Position 0 with A = 1 is the identity, and one unit more is within the bound: the answer
    alone would pass (R-2.8).
    """
    still = "rotate/half_split/d8/pos0"
    body = "message['x']['data'][0] *= 1 + message['id'] % 2 * 2.0**-23\n" + ECHO
    right, wrong = verdicts(program_of(tmp_path, ECHO), ids=still), verdicts(program_of(tmp_path, body), ids=still)

    assert right.counts["pass"] == 1
    assert wrong.counts["fail"] == 1
    assert "a second call gives other bits" in wrong.results[0].outcome.reason


# ---- the harness


def test_a_program_that_computes_nothing_is_a_broken_harness(tmp_path: Path) -> None:
    report = verdicts(program_of(tmp_path, answer("'errored': 'no GPU'")))

    assert "no GPU" in report.broken
    assert report.results == ()
    assert "broken harness" in report.text()


@pytest.mark.parametrize(
    ("started", "reason"),
    [
        ({**STARTED, "protocol": "ropecore-command/9"}, "it speaks 'ropecore-command/9'"),
        ({"protocol": "ropecore-command/1"}, "has no name"),
        ({**STARTED, "version": 1}, "has no version"),
        ({**STARTED, "capabilities": []}, "are no object"),
    ],
)
def test_a_wrong_answer_to_start_is_refused(tmp_path: Path, started: Any, reason: str) -> None:
    with pytest.raises(RopeError, match=reason):
        Program(program_of(tmp_path, ECHO, started))


@pytest.mark.parametrize("capabilities", [{"dtypes": ["int8"]}, {"angle": "right"}, {"speed": 1}])
def test_wrong_capabilities_are_refused(tmp_path: Path, capabilities: Any) -> None:
    command = program_of(tmp_path, ECHO, {**STARTED, "capabilities": capabilities})
    with pytest.raises(RopeError, match=f"capabilities.*{next(iter(capabilities))}"):
        Program(command)


@pytest.mark.parametrize("command", ["", "no-such-program-anywhere", "sh -c 'echo", ["a\0b"], [5], [], None, b"true"])
def test_what_cannot_be_started_is_refused(command: Any) -> None:
    with pytest.raises(RopeError, match="command"):
        Program(command)


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan, math.inf, 1e300, "1", None])
def test_a_time_that_never_comes_is_refused(timeout: Any) -> None:
    with pytest.raises(RopeError, match="timeout="):
        Program("true", timeout)


def test_a_program_is_stopped_and_not_killed(tmp_path: Path) -> None:
    with Program(program_of(tmp_path, ECHO)) as program:
        assert leave(program) == 0


# ---- the command line


def test_the_command_line_runs_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    echo = " ".join(program_of(tmp_path, ECHO))
    asked = ["conformance", "--topic", "rotate", "-q", "--command"]

    assert main([*asked, echo]) == 1
    assert " failed" in capsys.readouterr().out
    assert main([*asked, " ".join(program_of(tmp_path, "os._exit(1)"))]) == 2  # broken harness
    assert main([*asked, "no-such-program-anywhere"]) == 2
    assert main([*asked, echo, "numpy"]) == 2
    assert "not beside --command" in capsys.readouterr().err


@needs_gcc
def test_the_command_line_passes_a_right_program(compiled: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--topic", "rotate", "-q", "--timeout", "20", "--command", *compiled()]) == 0
    assert ", 0 failed" in capsys.readouterr().out
