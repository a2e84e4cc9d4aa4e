"""The pytest plugin: cases as tests, expected failures that must stay failures, and cases inside a
test of one's own.
"""

from pathlib import Path

import pytest

from ropecore import RopeError
from ropecore.conformance.cases import all_cases
from ropecore.conformance.expected import parse_expectations, read_expectations

pytest_plugins = ["pytester"]

RIGHT = """
import numpy as np, ropecore
import ropecore.backends.numpy as rope

capabilities = {"features": ["half_split"], "angle": "exact"}

def apply(plan, x, positions):
    return rope.apply(plan, x, positions=positions)
"""
WRONG = RIGHT.replace(
    "return rope.apply(plan, x, positions=positions)", "return rope.apply(plan, x, positions=positions + 1)"
)
TWO = (
    RIGHT
    + """
class Off:
    @staticmethod
    def apply(plan, x, positions):
        return rope.apply(plan, x, positions=positions + 1)

variants = {"off": Off}
"""
)
FEW = ("--rope-case", "rotate/half_split/d8/pos*")
N_FEW = sum(case.id.startswith("rotate/half_split/d8/pos") for case in all_cases())
ONE = "rotate/half_split/d8/pos257"
FLAG_M3 = [case for case in all_cases() if case.topic == "rotate" and "M3" in case.flags]
HALF_SPLIT_M3 = [case for case in FLAG_M3 if set(case.needs) <= {"half_split"}]


@pytest.fixture
def run(pytester: pytest.Pytester):
    """A function that runs pytest with the plugin on a target's source, and gives its result."""

    def run_with(source: str, *options: str, tests: str = "", expected: str | None = None) -> pytest.RunResult:
        pytester.makepyfile(mine=source)
        if tests:
            pytester.makepyfile(test_own=tests)
        if expected is not None:
            pytester.path.joinpath("expected.txt").write_text(expected)
            options = (*options, "--rope-expected", "expected.txt")
        plugin = ("-p", "ropecore.conformance.pytest_plugin", "-p", "no:cacheprovider")
        return pytester.runpytest_subprocess(*plugin, *options)

    return run_with


# ---- cases as tests


def test_each_case_is_a_test(run) -> None:
    result = run(RIGHT, "--rope-target", "mine", "-v", *FEW)

    result.assert_outcomes(passed=N_FEW)
    result.stdout.fnmatch_lines([f"*{ONE}*PASSED*"])
    assert N_FEW > 5


def test_a_wrong_target_fails_with_the_words_of_a_report(run) -> None:
    result = run(WRONG, "--rope-target", "mine", "--rope-case", ONE)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"FAILED {ONE}*", "*bfloat16 holds integers up to 256*", "*outside the error model*", "*worst: element*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_cases_that_do_not_concern_the_target_are_skipped_with_the_reason(run) -> None:
    result = run(RIGHT, "--rope-target", "mine", "--rope-case", "rotate/interleaved/d8/pos*", "-rs")

    assert set(result.parseoutcomes()) == {"skipped"}
    result.stdout.fnmatch_lines(["*needs interleaved*"])


def test_an_object_of_a_module_is_a_target(run) -> None:
    run(TWO, "--rope-target", "mine:Off", "--rope-case", ONE).assert_outcomes(failed=1)


def test_variants_are_named_after_the_id(run) -> None:
    result = run(TWO, "--rope-target", "mine", "-v", "--rope-case", ONE)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"*{ONE}@off*FAILED*"])


def test_topics_and_flags_select(run) -> None:
    result = run(RIGHT, "--rope-target", "mine", "--rope-topic", "rotate", "--rope-flag", "M3")
    counts = result.parseoutcomes()

    assert counts["passed"] == len(HALF_SPLIT_M3)
    assert counts["passed"] + counts["skipped"] == len(FLAG_M3)


def test_own_tests_run_beside_the_cases_and_a_mark_selects(run) -> None:
    own = "def test_own():\n    pass\n"

    run(RIGHT, tests=own).assert_outcomes(passed=1)  # no target: nothing is added
    run(RIGHT, "--rope-target", "mine", *FEW, tests=own).assert_outcomes(passed=N_FEW + 1)
    run(RIGHT, "--rope-target", "mine", *FEW, "-m", "ropecore", tests=own).assert_outcomes(passed=N_FEW, deselected=1)
    run(RIGHT, "--rope-target", "mine", *FEW, "-k", "pos257").assert_outcomes(passed=1, deselected=N_FEW)


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ("def apply(plan, x, positions):\n    raise RuntimeError('no GPU')\n", (), "*broken harness*no GPU*"),
        ("", (), "*has no function apply*"),
        (RIGHT, ("--rope-case", "no/such/*"), "*matches no case*"),
        (RIGHT + "\ncapabilities['not_applicable'] = {'no_topic': 'why'}\n", (), "*is no topic*"),
    ],
)
def test_what_cannot_be_run_is_a_wrong_call_and_not_a_pass(
    run, source: str, options: tuple[str, ...], reason: str
) -> None:
    result = run(source, "--rope-target", "mine", *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([reason])


# ---- expected failures


def test_an_expected_failure_is_no_failure(run) -> None:
    result = run(
        WRONG,
        "--rope-target",
        "mine",
        "-rx",
        *FEW,
        expected="# known\n\nrotate/half_split/d8/pos*   off by one, issue 7\n",
    )

    result.assert_outcomes(xfailed=N_FEW)
    result.stdout.fnmatch_lines(["*off by one, issue 7 (expected.txt:3)*"])
    assert result.ret == 0


def test_an_expected_failure_that_passes_is_a_failure(run) -> None:
    result = run(RIGHT, "--rope-target", "mine", *FEW, expected=f"{ONE} off by one\n")

    result.assert_outcomes(passed=N_FEW - 1, failed=1)
    result.stdout.fnmatch_lines(["*expected.txt:1 expects it to fail (off by one), and it passes: remove the line*"])


def test_a_line_is_about_the_target_or_about_a_variant(run) -> None:
    run(TWO, "--rope-target", "mine", "--rope-case", ONE, expected=f"{ONE}@off  known\n").assert_outcomes(
        passed=1, xfailed=1
    )
    run(TWO, "--rope-target", "mine", "--rope-case", ONE, expected=f"{ONE}  known\n").assert_outcomes(failed=2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no/such/case  known", "*no/such/case*matches no case (expected.txt:2)*"),
        (f"{ONE}@twice  known", "*matches no case (expected.txt:2)*"),
        ("rotate/interleaved/d8/pos*  known", "*do not concern the target (expected.txt:2)*"),
        ("rotate/half_split/d8/pos257  said again", "*lines above say it already (expected.txt:2)*"),
        (ONE, "*has no reason (expected.txt:2)*"),
    ],
)
def test_a_line_that_says_nothing_is_an_error(run, line: str, reason: str) -> None:
    """Also where the selection leaves the line's cases out: the file is wrong in any case."""
    result = run(
        WRONG, "--rope-target", "mine", "--rope-case", ONE, expected=f"rotate/half_split/d8/pos*  off by one\n{line}\n"
    )

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([reason])


def test_a_line_outside_the_selection_is_no_error(run) -> None:
    result = run(WRONG, "--rope-target", "mine", "--rope-case", ONE, expected="rotate/half_split/d8/pos*  off by one\n")

    result.assert_outcomes(xfailed=1)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RopeError, match="cannot be read"):
        read_expectations(tmp_path / "none.txt")


def test_the_first_line_about_a_case_counts() -> None:
    lines = parse_expectations([f"{ONE}  one", "rotate/*   the rest of them "], "file")
    first, second = lines.of(ONE), lines.of("rotate/half_split/d8/pos0")

    assert (first and first.reason, second and second.reason) == ("one", "the rest of them")
    assert lines.of("axes/real/rows") is None


# ---- inside a test of one's own

OWN = f"""
import mine
import pytest
from ropecore.conformance.pytest_plugin import check, with_cases

@with_cases(topic="rotate", flags="M3")
def test_pairing(case):
    check(case, mine)

@pytest.mark.parametrize("again", [1, 2])
@with_cases(ids="{ONE}")
def test_by_name(case, again):
    check(case, "mine")
"""


@pytest.mark.parametrize("source", [RIGHT, WRONG], ids=["right", "wrong"])
def test_cases_inside_a_test(pytester: pytest.Pytester, source: str) -> None:
    """The plugin need not be loaded for it."""
    pytester.makepyfile(mine=source, test_own=OWN)
    counts = pytester.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes()

    assert counts["passed" if source == RIGHT else "failed"] == len(HALF_SPLIT_M3) + 2
    assert counts["skipped"] == len(FLAG_M3) - len(HALF_SPLIT_M3)
    assert set(counts) <= {"passed" if source == RIGHT else "failed", "skipped"}
