"""What hostile arguments, files and programs did once, row by row: each is refused, bounded, or
decided.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import Closed, Quantity, Raising, Wide, masked, within_itself

import ropecore
from ropecore import RopeConfig, RopeError, RotaryPlan, analysis, cache, conformance
from ropecore.cli import main
from ropecore.conformance import program
from ropecore.conformance.process import ProgramError
from ropecore.conformance.program import Program
from ropecore.limits import DEEPEST, MOST_DIGITS, parse_json, read_json
from ropecore.weights.safetensors_file import read_header

CONFIG = RopeConfig(head_dim=8, base=100.0, pairing="half_split")
PLAN = CONFIG.plan()
STARTED = {"protocol": "ropecore-command/1", "name": "test", "version": "1", "language": "Python"}


def refusal(call: Callable[[], Any], argument: str = "") -> RopeError:
    """The refusal of a call, which can be written whatever was given."""
    with pytest.raises(RopeError) as caught:
        call()
    text = str(caught.value)
    assert len(text) <= 2000
    assert text.encode()
    assert caught.value.argument.startswith(argument)
    return caught.value


# ---- values


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), [10**5000], within_itself(), "\ud800", "x" * 10**6, Raising(), Closed(), np.zeros(10**6), [Raising()], {"a": 10**5000}],
    ids=range(11),
)  # fmt: skip
def test_every_value_can_be_shown(value: Any) -> None:
    error = RopeError("x", value, "is wrong \udcff", "Give another.", "R-12.3")

    assert len(str(error)) < 300
    assert str(error).encode()
    assert "Give another. [R-12.3]" in str(error)


NO_NUMBERS = [
    np.ones(3), np.array([None]), 1j, np.complex64(1), Decimal("NaN"), Decimal("sNaN"), Decimal("1E+9999"), Fraction(10**400), (i for i in range(2)),
    np.rec.array([(1, 2)], dtype=[("a", int), ("b", int)]), 10**5000, True, np.bool_(True), "2", b"2", None, [2], {2}, Raising(), Closed(), Quantity(2.0), masked(),
    float("nan"), float("inf"), np.float32("nan"), np.datetime64("2020-01-01"), np.timedelta64(3, "s"), object(),
]  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_what_is_no_number_is_refused_by_every_field(value: Any) -> None:
    rules = {
        ropecore.Linear: {"factor": 2.0}, ropecore.NTK: {"alpha": 2.0}, ropecore.DynamicNTK: {"factor": 2.0, "original_max_position": 8},
        ropecore.NTKByParts: {"factor": 2.0, "original_max_position": 8, "beta_fast": 9.0, "beta_slow": 1.0},
        ropecore.Llama3: {"factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8},
        ropecore.XPos: {"scale_base": 512.0, "gamma": 0.4, "centre": 0.0}, ropecore.Damped: {"rate": 0.1, "centre": 0.0},
        ropecore.Proportional: {"partial_rotary_factor": 0.5, "factor": 1.0},
    }  # fmt: skip
    for rule, right in rules.items():
        for name in right:
            assert refusal(lambda rule=rule, right=right, name=name: rule(**(right | {name: value}))).argument == name
    for name in ("head_dim", "base", "rotary_dim", "frequency_dim", "lane_offset", "attention_factor", "direction"):
        if value is not None:
            refusal(lambda name=name: CONFIG.replace(**{name: value}), name)
    for name in ("head_dim", "attention_factor", "centre"):
        refusal(lambda name=name: PLAN.replace(**{name: value}), name)


def test_numbers_of_every_library_are_taken() -> None:
    for two in (2, 2.0, np.float32(2), np.float16(2), np.int8(2), Fraction(2), Decimal(2), np.array(2.0), np.array(2)):
        assert ropecore.Linear(two) == ropecore.Linear(2.0)
        assert type(ropecore.Linear(two).factor) is float


def test_a_field_that_makes_numbers_beyond_all_is_refused() -> None:
    refusal(lambda: RopeConfig(head_dim=8, base=1e-300, pairing="half_split", frequency_dim=1).plan())
    refusal(lambda: RopeConfig(head_dim=1 << 20, base=1e4, pairing="half_split"), "head_dim")
    refusal(lambda: RopeConfig(head_dim=8, base=1.0, pairing="half_split", axes=[str(i) for i in range(99)]), "axes")


def test_unknown_changes_are_refused() -> None:
    refusal(lambda: PLAN.replace(lane=1), "replace")
    refusal(lambda: CONFIG.replace(theta=1), "replace")


@pytest.mark.parametrize(
    "text", [5, None, [], Raising(), b"\xff", "\ud800", "", "[" * 10**6, '{"schema": NaN}'], ids=range(9)
)
def test_a_plan_of_no_text_is_refused(text: Any) -> None:
    refusal(lambda: RotaryPlan.from_json(text), "text")


# ---- positions and arrays


NO_POSITIONS = [
    [2**64], [2**70], 10**400, [-(2**63) - 1], [1, 2**63], np.array([2**63], np.uint64), [2**31], -(2**31), [1, True], [True], 0.5, [0.5], ["1"], "1",
    [1j], [None], [[1], [2, 3]], (i for i in range(3)), {1, 2}, {"a": 1}, range(10**30), masked(), Quantity([1, 2]), [Quantity(1)], Raising(), Closed(),
    [Raising()], within_itself(), np.arange(3).view(Wide), np.array([1, None]), np.rec.array([(1, 2)], dtype=[("a", int), ("b", int)]),
    np.array(["2020-01-01"], "datetime64[D]"), [Decimal(1)], [Fraction(1)], [0, np.datetime64("2020-01-01")], [np.timedelta64(3, "s")], b"abc", memoryview(b"abc"), object(),
]  # fmt: skip


@pytest.mark.parametrize("value", NO_POSITIONS, ids=range(len(NO_POSITIONS)))
def test_what_is_no_position_is_refused_by_all_alike(value: Any) -> None:
    x = np.ones((3, 8))
    for call in (
        lambda: ropecore.cos_sin(PLAN, value), lambda: ropecore.angles(PLAN, value), lambda: ropecore.rotation_matrix(PLAN, value),
        lambda: ropecore.rotate_complex(PLAN, x, value), lambda: ropecore.text_positions(value, 3), lambda: ropecore.packed_positions(value),
        lambda: ropecore.dual_chunk_positions(value, 8, 2), lambda: ropecore.log_n_query_scale(value, 64), lambda: ropecore.qwen2_vl_positions(value),
        lambda: ropecore.sinusoidal_encoding(value, 8), lambda: analysis.decay_bound(PLAN, value),
    ):  # fmt: skip
        refusal(call)


def test_positions_of_every_kind_are_taken() -> None:
    wanted = ropecore.cos_sin(PLAN, np.array([5]))[0]
    for value in ([5], (5,), range(5, 6), np.array([5], np.uint8), np.array([5], ">i4"), [np.int64(5)], [np.array(5)]):
        assert np.array_equal(ropecore.cos_sin(PLAN, value)[0], wanted)
    for value in (5, np.int32(5), np.array(5)):
        assert np.array_equal(ropecore.cos_sin(PLAN, value)[0], wanted[0])


def test_an_integer_x_and_a_table_of_another_kind_are_refused_with_the_cure() -> None:
    x, (cos, sin) = np.ones((3, 8), np.float32), ropecore.cos_sin(PLAN, [0, 1, 2])
    refusal(lambda: ropecore.rotate(PLAN, x.astype(int), cos, sin), "x")
    refusal(lambda: ropecore.rotate(PLAN, x[:, :6], cos, sin), "x")
    refusal(lambda: ropecore.rotate(PLAN, x, cos[:2], sin[:2]), "positions")
    refusal(lambda: ropecore.rotate(PLAN, x, cos, sin, out=np.broadcast_to(x[0], x.shape)), "out")
    for call in (lambda c, s: ropecore.rotate(PLAN, x, c, s), lambda c, s: ropecore.pack_cache(PLAN, c, s, "half")):
        assert "unpack_cache(plan, table, 'complex')" in str(
            refusal(lambda call=call: call(cos + 1j * sin, sin), "cos")
        )
        refusal(lambda call=call: call(cos > 0, sin > 0), "cos")
        refusal(lambda call=call: call(cos.astype(int), sin.astype(int)), "cos")
        wide = np.concatenate([cos, cos], -1)
        assert "take the first half" in str(refusal(lambda call=call, wide=wide: call(wide, wide), "cos"))
        assert "every second column" in str(refusal(lambda call=call, wide=wide: call(wide, wide), "cos"))


def test_layouts_and_periods_have_the_pairs_that_stand_still() -> None:
    config = CONFIG.replace(scaling=ropecore.Proportional(0.5))
    plan, rows = config.plan(), config.rows()
    cos, sin = ropecore.cos_sin(plan, [0, 3])

    assert rows.periods.tolist() == [*plan.periods, np.inf, np.inf]
    packed = ropecore.pack_cache(plan, cos, sin, "half", rows=rows)
    assert packed[0].tolist() == [[*row, 1.0, 1.0] for row in cos.tolist()]
    assert packed[1].tolist() == [[*row, 0.0, 0.0] for row in sin.tolist()]
    for layout in cache.LAYOUTS:
        again = ropecore.unpack_cache(plan, ropecore.pack_cache(plan, cos, sin, layout, rows=rows), layout, rows=rows)
        assert np.array_equal(again, (cos, sin))
    refusal(lambda: ropecore.pack_cache(plan, cos, sin, "half", rows=CONFIG.rows()), "rows")


# ---- JSON and files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 2 * 10**6, "values"), ("[],[]," * 10**6, "values"), ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "deeper"), ("9" * (MOST_DIGITS + 1), "digits"),
        ("0." + "1" * MOST_DIGITS, "digits"), ('{"a": 1, "a": 2}', "twice"), ("[NaN]", "valid"), ("[Infinity]", "valid"), (b"\xff", "valid"), ('"\\ud800"', "valid"),
        (" " * (2**24 + 1), "longer"), ('"' * 10**7, "words"), ("[}", "valid"), ("", "valid"),
    ],
    ids=range(14),
)  # fmt: skip
def test_json_is_limited_before_it_is_decoded(text: Any, reason: str) -> None:
    assert reason in refusal(lambda: parse_json("text", text), "text").reason


def test_json_within_the_limits_is_read() -> None:
    depth = "[" * DEEPEST + "]" * DEEPEST
    assert parse_json("text", depth) == json.loads(depth)
    assert parse_json("text", '{"a": ["[[[[", "\\ud83d\\ude00", 1e5, -0]}')["a"][1] == "\U0001f600"
    assert str(parse_json("text", "-0")) == "-0.0"


def test_files_that_may_never_end_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for call in (
        lambda: read_json("--config", tmp_path / "pipe.safetensors"), lambda: read_json("--config", "/dev/zero"),
        lambda: read_header(tmp_path / "pipe.safetensors"), lambda: read_header("/dev/zero"),
    ):  # fmt: skip
        refusal(call)


def test_a_header_with_a_shape_of_many_sizes_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**62] * 100_000, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    refusal(lambda: read_header(tmp_path / "a.safetensors"), "checkpoint")


# ---- programs


def answered(line: bytes) -> Any:
    reply = program.parse(line)
    program.check_answer(reply, 1)
    return program.result(reply, np.dtype(np.float32))


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1, "y": {"shape": [' + b",".join([b"9" * 1000] * 1000) + b'], "data": []}}',
        b'{"id": 1, "y": {"shape": [' + b",".join([b"9" * 18] * 100_000) + b'], "data": []}}',
        b'{"id": 1, "y": ' + b"[],[]," * 10**6 + b"}", b'{"id": 1, "y": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", b'{"id": 1, "errored": "\\ud800"}',
        b'{"id": 1, "errored": 5}', b'{"id": 1, "skipped": ["a"]}', b'{"id": 1, "refused": null}', b'{"id": true, "errored": "a"}', b'{"id": 1.0, "errored": "a"}',
        b'{"id": 1, "y": {"shape": [1], "data": [[]]}}', b'{"id": 1, "y": {"shape": [1], "data": [{}]}}', b'{"id": 1, "y": {"shape": {}, "data": []}}',
    ],
    ids=range(13),
)  # fmt: skip
def test_an_answer_that_is_none_is_garbage(line: bytes) -> None:
    with pytest.raises(ProgramError) as garbage:
        answered(line)
    assert len(str(garbage.value)) < 1500


@pytest.mark.parametrize(
    "capabilities",
    [
        {"dtypes": 5}, {"dtypes": "float32"}, {"dtypes": []}, {"dtypes": ["float32"] * 2}, {"dtypes": ["float32"] * 10**5}, {"dtypes": [["float32"]]},
        {"features": 5}, {"features": [["a"]]}, {"features": {"axes": 1}}, {"features": ["axes", "axes"]}, {"not_applicable": [1]}, {"not_applicable": {"a": ""}},
        {"not_applicable": {"a": 1}}, {"own_frequencies": "no"}, {"own_frequencies": 0}, {"reads_config": [1]}, {"angle": ["exact"]}, {"table": None},
        {"name": 5}, {"version": None}, {"surprise": 1},
    ],
    ids=range(21),
)  # fmt: skip
def test_capabilities_of_a_wrong_kind_are_refused(capabilities: dict[str, Any]) -> None:
    refusal(lambda: conformance.Capabilities.read(capabilities), "capabilities")


def test_the_name_of_a_program_is_text_that_can_be_written() -> None:
    for name in ("\ud800", 5, None):
        with pytest.raises((RopeError, ProgramError)):
            program.capabilities({**STARTED, "name": name})


def script(tmp_path: Path, body: str) -> list[str]:
    """The command of a Python program of these lines."""
    (tmp_path / "program.py").write_text(body)
    return [sys.executable, str(tmp_path / "program.py")]


HELLO = f"import json, os, subprocess, sys, time\nprint({json.dumps(STARTED)!r}, flush=True)\n"
ASK = {
    "plan": {},
    "config": None,
    "positions": None,
    "offset": None,
    "tensor_format": "bhsd",
    "role": "q",
    "mode": "forward",
    "seq_len": None,
    "dtype": "float32",
}


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    """Whether a process ends soon."""
    for _ in range(200):
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_a_grandchild_that_holds_the_output_is_ended_with_the_program(tmp_path: Path) -> None:
    body = (
        HELLO
        + "child = subprocess.Popen(['sleep', '600'])\nopen(sys.argv[0] + '.pid', 'w').write(str(child.pid))\nsys.stdin.readline()\nos._exit(0)\n"
    )
    with Program(script(tmp_path, body), 2.0) as target, pytest.raises(ProgramError, match="no answer within 2 s"):
        target.apply(None, np.ones(2, np.float32), case=ASK)
    assert gone(int((tmp_path / "program.py.pid").read_text()))


def test_a_grandchild_that_left_the_group_holds_nobody(tmp_path: Path) -> None:
    body = (
        HELLO
        + "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\nopen(sys.argv[0] + '.pid', 'w').write(str(child.pid))\nsys.stdin.readline()\nos._exit(0)\n"
    )
    try:
        with Program(script(tmp_path, body), 1.0) as target, pytest.raises(ProgramError, match="no answer within 1 s"):
            target.apply(None, np.ones(2, np.float32), case=ASK)
    finally:
        os.kill(int((tmp_path / "program.py.pid").read_text()), signal.SIGKILL)


def test_children_end_with_a_program_that_leaves_in_peace(tmp_path: Path) -> None:
    body = (
        HELLO
        + "child = subprocess.Popen(['sleep', '600'])\nopen(sys.argv[0] + '.pid', 'w').write(str(child.pid))\nsys.stdin.read(1)\n"
    )
    with Program(script(tmp_path, body)):
        while not (tmp_path / "program.py.pid").is_file() or not (tmp_path / "program.py.pid").read_text():
            time.sleep(0.02)
    assert gone(int((tmp_path / "program.py.pid").read_text()))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("sys.stdout.write('[],' * 10**7)", "bytes"), ("sys.stdout.write('x' * 10**8)", "bytes"), ("while True: sys.stdout.write(' ' * 1000)", "bytes"),
        ("time.sleep(60)", "no answer within"), ("os.close(1); time.sleep(60)", "closed its output"),
    ],
    ids=range(5),
)  # fmt: skip
def test_an_answer_is_no_longer_than_the_question_asks_for(tmp_path: Path, answer: str, reason: str) -> None:
    body = f"{HELLO}sys.stdin.readline(); sys.stdin.readline()\n{answer}\n"
    with Program(script(tmp_path, body), 5.0) as target, pytest.raises(ProgramError, match=reason):
        target.apply(None, np.ones(2, np.float32), case=ASK)


def test_a_program_that_reads_nothing_holds_nobody(tmp_path: Path) -> None:
    with (
        Program(script(tmp_path, HELLO + "time.sleep(600)\n"), 1.0) as target,
        pytest.raises(ProgramError, match="no answer within"),
    ):
        target.apply(None, np.ones(10**6, np.float32), case=ASK)


# ---- the command line


@pytest.mark.parametrize(
    "words",
    [
        ["conformance", "--command", "sh -c 'echo"], ["conformance", "--command", "true", "--timeout", "inf"], ["conformance", "--command", "true", "--timeout", "1e300"],
        ["conformance", "--command", "true", "--timeout", "nan"], ["vectors", "show", "\udcff"], ["explain", "--config", "\udcff.json"], ["conformance", "\udcff"],
        ["explain", "--head-dim", "8", "--base", "1", "--pairing", "half_split", "--scaling", "linear", "factor=" + "[" * 5000],
    ],
    ids=range(8),
)  # fmt: skip
def test_the_command_line_refuses_and_shows_no_traceback(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("ropecore")


def test_what_is_printed_can_hold_any_character() -> None:
    """Under a locale that has no Greek, too."""
    words = [
        sys.executable,
        "-m",
        "ropecore",
        "explain",
        "--head-dim",
        "4",
        "--base",
        "9",
        "--pairing",
        "half_split",
        "--axes",
        "\udcff\u03b8",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
