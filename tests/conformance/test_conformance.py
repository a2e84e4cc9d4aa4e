"""The conformance suite, tested: right targets pass, wrong ones fail for their own bug, and nothing
passes by not being run.
"""

import argparse
import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import ml_dtypes
import numpy as np
import pytest
from miniatures import Raises, SkipsAll, Zeros

import ropecore
from ropecore import RopeError, conformance
from ropecore.conformance import bounds, cli
from ropecore.conformance.arrays import decode, decode_floats, decode_object
from ropecore.conformance.cases import all_cases
from ropecore.conformance.judge import KINDS, compare, question
from ropecore.conformance.mutants import mutants
from ropecore.conformance.mutants.base import FromConfig, Ids, Right, WithEverything, WithGradient, WithTables
from ropecore.conformance.verdicts import Mismatch

SCHEMA = json.loads(files("ropecore.conformance").joinpath("report.schema.json").read_text())
EXACT = SimpleNamespace(
    capabilities=SimpleNamespace(words=lambda dtype: bounds.Words("exact", "float32", "float32"), own_frequencies=False)
)


def failures(report: conformance.Report, flag: str = "") -> list[str]:
    """Return the ids of cases with a wrong result, of those that carry the flag; a refusal is no
    wrong result.
    """
    wrong = [r.case for r in report.results if r.verdict == "fail" and not r.outcome.reason.startswith("refused")]
    return [case.id for case in wrong if not flag or flag in case.flags]


# ---- right targets


@pytest.mark.parametrize("right", [Right, WithGradient, WithTables, WithEverything, Ids, FromConfig])
def test_a_right_miniature_passes_all_that_it_declares(right: type[Right]) -> None:
    report = conformance.run(right())
    assert report.ok, report.text()


class Parity(Right):
    """What people use: cos(float32(p) * float32(F)), products in float32."""

    capabilities = {**Right.capabilities, "dtypes": ["float32", "bfloat16", "float16"], "angle": "float32"}  # noqa: RUF012

    def tables(self, plan: Any, positions: Any, role: str) -> Any:
        rows = positions if plan.n_axes > 1 else [positions]
        pairs = zip(rows, plan.frequencies.T, strict=True)
        angle = sum(p[..., None].astype(np.float32) * f.astype(np.float32) for p, f in pairs)
        scale = np.hypot(*ropecore.cos_sin(plan, positions, role)).astype(np.float32)
        return np.cos(angle) * scale, np.sin(angle) * scale

    def turn(self, plan: Any, x: Any, cos: Any, sin: Any) -> Any:
        return ropecore.rotate(plan, x.astype(np.float32), cos, sin)


def test_float32_angles_pass_as_float32_and_fail_as_exact() -> None:
    report = conformance.run(Parity())
    assert report.ok, report.text()
    Parity.capabilities, honest = {**Parity.capabilities, "angle": "exact"}, Parity.capabilities
    try:
        assert failures(conformance.run(Parity()))
    finally:
        Parity.capabilities = honest


FLOAT16_RANGE = "the magnitude leaves float16's range, and R-10.6 is silent about tables that do"
RANGE = {**Right.capabilities["not_applicable"], "scaling/xpos": FLOAT16_RANGE, "scaling/damped": FLOAT16_RANGE}


class InInput(Parity):
    """Hugging Face's Llama: tables rounded to the dtype of x, and every operation there."""

    capabilities = {**Parity.capabilities, "table": "input", "compute": "input", "not_applicable": RANGE}  # noqa: RUF012

    def turn(self, plan: Any, x: Any, cos: Any, sin: Any) -> Any:
        return ropecore.rotate(plan, x, cos.astype(x.dtype), sin.astype(x.dtype))


class TablesInInput(Parity):
    """Tables rounded to the dtype of x, products in float32."""

    capabilities = {**Parity.capabilities, "table": "input", "not_applicable": RANGE}  # noqa: RUF012

    def turn(self, plan: Any, x: Any, cos: Any, sin: Any) -> Any:
        return ropecore.rotate(plan, x.astype(np.float32), *(t.astype(x.dtype).astype(np.float32) for t in (cos, sin)))


@pytest.mark.parametrize("target", [InInput, TablesInInput])
def test_precision_of_the_input_passes_as_declared_and_fails_as_float32(target: type[Right]) -> None:
    report = conformance.run(target())
    assert report.ok, report.text()
    words = {"table": "float32", "compute": "float32"}
    promising = type("Promising", (target,), {"capabilities": {**target.capabilities, **words}})
    assert failures(conformance.run(promising()))


# ---- wrong targets


def test_zeros_pass_only_where_zero_is_right() -> None:
    report = conformance.run(Zeros(), topic="rotate")
    assert report.counts["pass"] == 0
    assert report.counts["fail"] == report.selection.cases


def test_a_target_that_cannot_be_called_is_a_broken_harness_and_no_wrong_arithmetic() -> None:
    report = conformance.run(Raises())
    assert "RuntimeError: no accelerator" in report.broken
    assert report.results == ()
    assert not report.ok
    assert "broken harness" in report.text()


def test_skipping_everything_is_no_pass() -> None:
    report = conformance.run(SkipsAll())
    assert report.counts["pass"] == 0
    assert report.counts["skipped"] > 0
    assert not report.ok
    assert "conforms" not in report.text()
    assert {r.outcome.reason for r in report.results if r.verdict == "skipped"} == {"not today"}


def test_a_skip_in_one_dtype_is_not_hidden_by_the_others() -> None:
    class SkipsFloat16(Right):
        def store(self, y: Any, x: Any) -> Any:
            if x.dtype == np.float16:
                raise conformance.Skip("no float16 today")
            return Right.store(self, y, x)

    report = conformance.run(SkipsFloat16(), ids="rotate/half_split/d8/pos5")
    assert report.counts["skipped"] == 1
    assert report.results[0].outcome.reason == "no float16 today"


def test_a_crash_in_one_case_is_errored() -> None:
    class Crashes(Right):
        def positions(self, positions: Any, offset: Any, length: int) -> Any:
            if length == 3:
                raise KeyError("three")
            return Right.positions(self, positions, offset, length)

    report = conformance.run(Crashes(), topic="rotate")
    assert report.counts["errored"] > 0
    assert not report.ok
    assert "ERRORED" in report.text()


def test_a_refusal_of_a_valid_call_is_a_failure() -> None:
    class Refuses(Right):
        def positions(self, positions: Any, offset: Any, length: int) -> Any:
            if length == 3:
                raise RopeError("positions", 3, "unlucky")
            return Right.positions(self, positions, offset, length)

    report = conformance.run(Refuses(), topic="rotate")
    assert any(r.outcome.reason.startswith("refused: positions=") for r in report.results)
    assert report.counts["errored"] == 0


def test_state_left_by_other_cases_is_seen() -> None:
    class Tires(Right):
        calls = 0

        def store(self, y: Any, x: Any) -> Any:
            Tires.calls += 1
            return (y * (1.0 if Tires.calls < 40 else 1.5)).astype(x.dtype)

    report = conformance.run(Tires(), ids="rotate/half_split/d8/pos[025]")
    assert len(failures(report)) > 0
    assert "passed at first, and not after the other cases" in report.text()


# ---- nothing passes by not being run


@pytest.mark.parametrize(
    "nothing",
    [{"topic": "rotation"}, {"ids": "rotate/none/*"}, {"flags": "M108"}, {"topic": "refusals", "flags": "M1"}],
)
def test_an_empty_selection_is_an_error(nothing: dict[str, str]) -> None:
    with pytest.raises(RopeError):
        conformance.cases(**nothing)
    with pytest.raises(RopeError):
        conformance.run(Right(), **nothing)


def test_a_name_that_matches_nothing_is_an_error_beside_one_that_does() -> None:
    with pytest.raises(RopeError, match="rotatoes"):
        conformance.cases(topic=["rotate", "rotatoes"])


def test_a_selection_meets_all_its_conditions() -> None:
    chosen = conformance.cases(topic="rotate", ids="rotate/*/d8/*", flags=["M44", "M45"])
    assert chosen
    assert all(c.topic == "rotate" and "/d8/" in c.id and {"M44", "M45"} & set(c.flags) for c in chosen)
    assert len(chosen) == sum(
        "/d8/" in c.id and c.topic == "rotate" and bool({"M44", "M45"} & set(c.flags)) for c in all_cases()
    )


def test_every_kind_of_case_is_judged() -> None:
    assert {case.kind for case in all_cases()} == set(KINDS)


def test_a_partial_run_never_says_that_the_target_conforms() -> None:
    report = conformance.run(Right(), topic="rotate")
    assert report.clean
    assert not report.ok
    assert f"partial run: {report.selection.cases} of {len(all_cases())} cases" in report.text()
    assert "conforms" not in report.text()


def test_leaving_variants_out_is_a_partial_run() -> None:
    target = SimpleNamespace(apply=Right().apply, capabilities=Right.capabilities, variants={"wrong": Zeros()})
    with_them, without = conformance.run(target), conformance.run(target, variants=False)
    assert {r.variant for r in with_them.results} == {"", "wrong"}
    assert all(r.variant == "wrong" for r in with_them.results if r.verdict == "fail")
    assert failures(with_them)
    assert "[wrong]" in with_them.text()
    assert without.clean
    assert not without.ok
    assert "without the variants wrong" in without.text()


@pytest.fixture
def copied_spec(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """A copy of ropecore.spec that may be spoiled: its folder, and its loader."""
    source = importlib.util.find_spec("ropecore.spec")
    assert source is not None
    assert source.origin is not None
    folder = tmp_path / "copied_spec"
    shutil.copytree(Path(source.origin).parent, folder, ignore=shutil.ignore_patterns("__pycache__", "generate"))
    sys.path.insert(0, str(tmp_path))
    try:
        yield folder, importlib.import_module("copied_spec")
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["copied_spec"]


def test_a_deleted_vector_file_is_noticed(copied_spec: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spec = copied_spec
    assert spec.verify() == []
    lost = sorted((folder / "vectors").glob("*.json"))[0]
    lost.unlink()
    assert any(lost.name in problem for problem in spec.verify())
    monkeypatch.setitem(sys.modules, "ropecore.spec", spec)
    with pytest.raises(RopeError, match="vectors"):
        all_cases.__wrapped__()


# ---- the error model


def bounded_rotations() -> list[Any]:
    """Return the cases whose vectors carry the bound of each element."""
    return [case for case in all_cases() if case.kind == "rotate" and case.data["result"]["kind"] == "value"]


def test_the_error_model_agrees_with_the_bounds_of_the_vectors() -> None:
    """Two implementations of R-10.6: the generator rounds its bounds up to three digits."""
    for case in bounded_rotations():
        call, source = question.Call.read(case.data), case.data["result"]["y"]
        y, theirs = decode_floats(source), np.reshape(source["bound"], source["shape"])
        ours = call.bound(y, EXACT, "float32")
        finite = np.isfinite(y)
        if np.any(call.moved_by_rounding("float32")):  # a document's numbers: their bound has the rounding of x, too
            assert (theirs >= ours)[finite].all(), case.id
            continue
        assert ((ours == 0) == (theirs == 0))[finite].all(), case.id
        ratio = theirs[finite & (theirs > 0)] / ours[finite & (theirs > 0)]
        assert ((ratio > 1 - 1e-12) & (ratio < 1.0101)).all(), (case.id, ratio.min(), ratio.max())


def test_the_error_model_of_tables_agrees_with_the_bounds_of_the_vectors() -> None:
    for case in all_cases():
        if case.kind == "tables":
            plan = ropecore.RotaryPlan.from_dict(case.data["plan"])
            positions = question.on_axes(plan, decode(case.data["positions"]))
            at = bounds.turns(plan, positions, case.data["role"])
            t = bounds.table_bound(at, "float32", EXACT.capabilities.words("float32"))
            for name in ("cos", "sin"):
                source = case.data["result"][name]
                ours = t + bounds.GOLDEN * np.abs(decode_floats(source))
                ratio = np.reshape(source["bound"], source["shape"]) / ours
                assert ((ratio > 1 - 1e-12) & (ratio < 1.0101)).all(), (case.id, ratio.min(), ratio.max())


@pytest.mark.parametrize("sign", [1, -1])
def test_a_lane_beyond_its_bound_fails_and_one_inside_passes(sign: int) -> None:
    case = conformance.cases(ids="rotate/half_split/d8/pos5")[0]
    call, y = question.Call.read(case.data), decode_floats(case.data["result"]["y"])
    limit = call.bound(y, EXACT, "float32")
    compare.within(y + sign * 0.99 * limit, y, limit)
    beyond = y.copy()
    beyond[0, 1, 0, 6] += sign * 1.01 * limit[0, 1, 0, 6]
    with pytest.raises(Mismatch) as caught:
        compare.within(beyond, y, limit)
    assert caught.value.worst is not None
    assert caught.value.worst.index == (0, 1, 0, 6)
    assert caught.value.worst.units == pytest.approx(1.01, rel=1e-3)


def test_a_target_that_makes_its_own_frequencies_gets_their_error() -> None:
    lanes = np.array([[j, j + 64] for j in range(64)])
    plain = {"head_dim": 128, "pairing": "half_split", "base": 1e4}
    assert (bounds.own_frequencies(plain, lanes).k == 6).all()  # k = 2 + 4
    turns = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8192}
    llama = {**plain, "scaling": {"rule": "llama3", "factor": 8.0, **turns}}
    assert bounds.own_frequencies(llama, lanes).k == pytest.approx(2 + 4 * (1 + 8 / 3))
    odd = {"head_dim": 96, "pairing": "interleaved", "base": 1e4}
    k = bounds.own_frequencies(odd, np.array([[2 * j, 2 * j + 1] for j in range(48)])).k
    assert k == pytest.approx(6 + np.log(1e4) * 2 * np.arange(48) / 96)
    assert bounds.own_frequencies({**plain, "inv_freq": [1.0] * 64}, lanes) == bounds.GIVEN


@pytest.mark.parametrize(
    ("got", "wanted", "units"),
    [
        (1.0, 1.0, 0.0),
        (1.5, 1.0, 0.5),
        (np.nan, np.nan, 0.0),
        (np.inf, np.inf, 0.0),
        (-np.inf, np.inf, np.inf),
        (np.inf, 1.0, np.inf),
        (1.0, np.nan, np.inf),
        (np.nan, 1.0, np.inf),
    ],
)
def test_nan_and_infinity_must_stand_where_they_belong(got: float, wanted: float, units: float) -> None:
    assert compare.error_units(np.array([got]), np.array([wanted]), np.array([1.0]))[0] == units


def test_a_bound_of_zero_asks_for_equality() -> None:
    units = compare.error_units(np.array([1.0, 1.0, 0.0]), np.array([1.0, 1.0 + 2**-52, -0.0]), np.zeros(3))
    assert units.tolist() == [0.0, np.inf, 0.0]


def test_what_overflows_the_dtype_may_be_infinite_and_nothing_else() -> None:
    compare.within(np.array([np.inf], np.float16), np.array([65536.0]), 1.0)
    for got, wanted in ((np.inf, 65000.0), (-np.inf, 65536.0)):
        with pytest.raises(Mismatch):
            compare.within(np.array([got], np.float16), np.array([wanted]), 1.0)


@pytest.mark.parametrize(
    ("text", "how", "low", "high"),
    [
        ("0.659", "truncated", 0.659, 0.660),
        ("-1.251", "truncated", -1.252, -1.251),
        ("1.251", "rounded", 1.2505, 1.2515),
    ],
)
def test_printed_digits_stand_for_an_interval(text: str, how: str, low: float, high: float) -> None:
    assert compare.printed_interval(text, how) == (low, high)


def test_numbers_that_json_cannot_hold_are_strings() -> None:
    assert decode({"shape": [2], "data": ["9007199254740993", 1]}).tolist() == [9007199254740993, 1]
    assert np.isnan(decode({"shape": [1], "data": ["NaN"]})[0])
    assert decode_object({"base": "Infinity", "pairing": "half_split", "n": "8"}) == {
        "base": np.inf,
        "pairing": "half_split",
        "n": "8",
    }


# ---- targets


def test_a_target_sees_the_question_and_not_the_answer() -> None:
    seen: list[dict[str, Any]] = []

    class Reads(Right):
        capabilities = {**Right.capabilities, "reads_config": True}  # noqa: RUF012

        def apply(self, plan: Any, x: Any, positions: Any = None, *, case: Any) -> Any:
            seen.append(case)
            own = ropecore.RopeConfig.from_dict(case["config"]).plan(case["seq_len"])
            offset = None if positions is not None else case["offset"]
            return Right.apply(self, own, x, positions, offset, case["tensor_format"], case["role"])

    report = conformance.run(Reads())
    assert report.ok, report.text()
    assert seen
    assert all("result" not in case and case["config"] is not None for case in seen)
    assert {"dtype", "precision", "plan", "tensor_format"} <= set(seen[0])
    left_out = [r for r in report.results if r.case.kind == "rotate" and r.case.data["config"] is None]
    assert left_out
    assert all(r.verdict == "not applicable" for r in left_out)


def test_the_least_target_is_judged_by_what_it_can_do() -> None:
    def apply(plan: Any, x: Any, positions: Any) -> Any:
        return Right().apply(plan, x, positions)

    report = conformance.run(SimpleNamespace(apply=apply, capabilities={**Right.capabilities, "dtypes": ["float32"]}))
    assert report.clean
    reasons = {r.case.id: r.outcome.reason for r in report.results if r.verdict == "not applicable"}
    assert reasons["rotate/half_split/formats/bshd_square"] == "its apply takes no tensor_format"
    assert "rotate/half_split/d8/arange" not in reasons, "positions are told to a target that knows no offset"


def test_features_and_reasons_leave_cases_out() -> None:
    declared = {
        **Right.capabilities,
        "features": ["half_split"],
        "not_applicable": {"rotate/half_split/d6": "six is too few"},
    }
    target = SimpleNamespace(apply=Right().apply, capabilities=declared)
    report = conformance.run(target, topic="rotate")
    by_id = {r.case.id: r for r in report.results}
    assert by_id["rotate/half_split/d6/pos1"].outcome.reason == "six is too few"
    assert by_id["rotate/interleaved/d8/pos1"].outcome.reason == "needs interleaved"
    assert by_id["rotate/half_split/d8/pos1"].verdict == "pass"


@pytest.mark.parametrize(
    "declared",
    [
        {"angle": "fast"},
        {"dtypes": []},
        {"dtypes": ["int8"]},
        {"precision": "exact"},
        {"table": "half"},
        {"features": ["neox"]},
    ],
)
def test_capabilities_that_are_not_understood_are_refused(declared: dict[str, Any]) -> None:
    with pytest.raises(RopeError, match="capabilities"):
        conformance.Target(SimpleNamespace(apply=Right().apply, capabilities=declared))


def test_a_reason_that_concerns_no_case_is_refused() -> None:
    declared = {**Right.capabilities, "not_applicable": {"rotates/": "misspelt"}}
    with pytest.raises(RopeError, match="rotates/"):
        conformance.run(SimpleNamespace(apply=Right().apply, capabilities=declared))


def test_targets_are_found_by_name() -> None:
    assert conformance.load_target("numpy").capabilities.angle == "exact"
    assert conformance.load_target("ropecore.backends.numpy").name == "ropecore.backends.numpy"
    assert conformance.load_target("miniatures:RIGHT").has("apply")
    for unknown in ("miniatures:Wrong", "no_such_module", "ropecore.backends.cuda", "no_such_module:target", "json"):
        with pytest.raises(RopeError, match="target"):
            conformance.load_target(unknown)


def test_a_run_takes_a_name_and_says_what_else_it_takes() -> None:
    assert conformance.run("numpy", ids="rotate/half_split/d8/pos5").clean
    with pytest.raises(RopeError, match=r"target=5: has no function apply.*Give a backend \(.*numpy"):
        conformance.run(5)


@pytest.mark.parametrize("raised", ["ValueError('no device')", "SystemExit('usage')"])
def test_a_module_that_raises_when_imported_is_refused_with_its_words(
    raised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raises_here.py").write_text(f"raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert call("raises_here") == 2
    error = capsys.readouterr().err
    assert f"cannot be imported ({raised.replace('(', ': ').replace(chr(39), '')}." in error
    assert "Traceback" not in error


def test_an_input_that_cannot_be_written_to_is_enough() -> None:
    class Scratches(Right):
        """Writes to its input, and puts back what was there."""

        def store(self, y: Any, x: Any) -> Any:
            kept = x.copy()
            x[...] = 0
            x[...] = kept
            return y.astype(x.dtype)

    report = conformance.run(Scratches(), ids="rotate/half_split/d8/pos5")
    assert "read-only" in report.results[0].outcome.reason


def test_a_second_call_must_give_the_same_bits() -> None:
    class Wavers(Right):
        last = 0.0

        def store(self, y: Any, x: Any) -> Any:
            Wavers.last = 2.0**-53 - Wavers.last
            return (y.astype(np.float64) * (1 + 2 * Wavers.last)).astype(x.dtype)

    target = Wavers()
    target.capabilities = {**Right.capabilities, "dtypes": ["float64"]}
    report = conformance.run(target, ids="rotate/half_split/d8/pos5")
    assert "second call" in report.results[0].outcome.reason


def test_the_likely_bug_is_named_with_its_note() -> None:
    wrong = next(mutant for mutant in mutants() if mutant.flag == "M1")
    text = conformance.run(wrong(), ids="rotate/half_split/d8/*").text()
    note = importlib.import_module("ropecore.spec").notes()["M1"]["bug"]
    lines = text.splitlines()
    assert next(line for line in lines if line.startswith("likely")).startswith(f"likely bug M1: {note}")
    assert "begin with the smallest" not in text, "these are the smallest"
    assert not any("likely" in line for line in lines if line.startswith(" "))
    assert "times the bound" in text
    assert "R-2.1" in text


def test_the_advice_to_begin_with_the_smallest_stands_beside_the_likely_bug() -> None:
    lines = conformance.run(mutants()[0]()).text().splitlines()
    told = [line for line in lines if not line.startswith((" ", "FAILED"))]
    assert told[0].startswith("likely bug M1: ")
    assert "more than half of all cases failed: begin with the smallest, --case 'rotate/*/d8/*'" in told


# ---- reports and the command line


@pytest.mark.parametrize("target", [Right, Zeros, Raises, SkipsAll])
def test_a_report_fits_its_schema(target: type[Right]) -> None:
    report = conformance.run(target(), topic=["rotate", "refusals"])
    parsed = json.loads(report.to_json())
    jsonschema.validate(parsed, SCHEMA)
    assert parsed["ok"] is False
    assert sum(parsed["counts"].values()) == len(parsed["results"])
    assert parsed["suite"]["version"] == ropecore.__version__


def test_the_last_line_counts() -> None:
    report = conformance.run(Right(), topic=["rotate", "refusals"])
    counts = report.counts
    assert (
        report.text().splitlines()[-1]
        == f"{counts['pass']} passed, 0 failed, {counts['not applicable']} not applicable"
    )


def call(*arguments: str) -> int:
    """Run the command with these arguments and return its exit status."""
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    args = parser.parse_args(["conformance", *arguments])
    return cli.main(args)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("miniatures:RIGHT", "--topic", "rotate"), 0),
        (("miniatures:ZEROS", "--topic", "rotate"), 1),
        (("miniatures:SKIPS_ALL", "--topic", "rotate"), 1),
        (("miniatures:RAISES", "--topic", "rotate"), 2),
        (("miniatures:RIGHT", "--topic", "nothing"), 2),
        (("no_such_module",), 2),
        ((), 2),
        (("--list",), 0),
    ],
)
def test_the_exit_status_tells_what_happened(
    arguments: tuple[str, ...], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == status
    printed = capsys.readouterr()
    assert printed.err if status == 2 and arguments[:1] != ("miniatures:RAISES",) else printed.out


def test_the_command_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    assert call("miniatures:RIGHT", "--case", "rotate/half_split/d8/*", "--json", str(file), "-q") == 0
    assert capsys.readouterr().out.count("\n") == 1
    jsonschema.validate(json.loads(file.read_text()), SCHEMA)
    assert call("miniatures:RIGHT", "--case", "rotate/half_split/d8/*", "--json", "-") == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


def test_bfloat16_is_that_of_ml_dtypes() -> None:
    assert conformance.Target(Right()).asarray(np.ones(2), "bfloat16").dtype == ml_dtypes.bfloat16
