"""The golden vectors inside pytest: as tests of their own, or inside a test of yours.

    pytest -p ropecore.conformance.pytest_plugin --rope-target my_package.rope:target

adds one test for each case, named by its id; `-m ropecore` runs them alone, `--rope-expected FILE`
names the known failures (see `expected`).  Inside your own test:

    from ropecore.conformance.pytest_plugin import check, with_cases

    @with_cases(topic="rotate", flags="M3")
    def test_pairing(case):
        check(case, my_package.rope)
"""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ropecore import RopeError
from ropecore.arguments import Names, checked

from .cases import Case, all_cases, cases
from .expected import Expectation, Expectations, read_expectations
from .judge import judge, left_out
from .reports.report import Result, failure
from .runner import check_reasons, smoke
from .target import Target, as_target, load_target

MARK = "ropecore"


class ConformanceError(AssertionError):
    """A case does not come out as it must; the message is what a report says."""


# ---- inside a test of one's own


@checked
def with_cases(
    topic: Names | None = None, ids: Names | None = None, flags: Names | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that runs a test once for each selected case, as its argument `case`; see
    `conformance.cases`.
    """
    selected = [pytest.param(case, id=case.id) for case in cases(topic, ids, flags)]
    decorator: Callable[[Callable[..., None]], Callable[..., None]] = pytest.mark.parametrize("case", selected)
    return decorator


def check(case: Case, target: Any) -> None:
    """Fail the running test where a target is wrong about a case; skip it where the case does not
    concern the target.

    target: a backend's name or `package.module:object`, or any object with a target's names.
    """
    judged = as_target(target)
    _settle(Result(case, "", judge(case, judged)), None, judged.asked)


def _settle(result: Result, expected: Expectation | None, asked: str) -> None:
    """Turn a verdict into pytest's: return, fail, skip or xfail."""
    outcome = result.outcome
    match outcome.verdict:
        case "skipped" | "not applicable":
            pytest.skip(f"{outcome.verdict}: {outcome.reason}")
        case "pass" if expected is not None:
            raise ConformanceError(
                f"{expected.place} expects it to fail ({expected.reason}), and it passes: remove the line"
            )
        case "fail" | "errored" if expected is not None:
            pytest.xfail(f"{expected.reason} ({expected.place})")
        case "fail" | "errored":
            raise ConformanceError("\n".join(failure(result, asked)))


# ---- tests of their own


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("ropecore", "golden vectors of rotary position embedding")
    group.addoption(
        "--rope-target", metavar="TARGET", help="test it by the golden vectors: a backend, or package.module[:object]"
    )
    group.addoption("--rope-topic", action="append", metavar="T", help="only this topic; may be repeated")
    group.addoption("--rope-case", action="append", metavar="GLOB", help="only cases whose id matches; may be repeated")
    group.addoption("--rope-flag", action="append", metavar="M3", help="only cases that hunt this bug; may be repeated")
    group.addoption("--rope-expected", metavar="FILE", help="cases that are known to fail: lines of an id and a reason")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", f"{MARK}: a golden vector of ropecore")


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add one test for each selected case, on the target and on each of its variants."""
    name = config.getoption("--rope-target")
    if name is None:
        return
    try:
        items.extend(_Cases.from_parent(session, name=MARK, target=_loaded(name)).collect())
    except RopeError as error:
        raise pytest.UsageError(str(error)) from error


def _loaded(name: str) -> Target:
    """Return the target; one that cannot be called at all is refused before any case is run."""
    sys.path.append(os.getcwd())  # at the end: it hides nothing that is installed
    target = load_target(name)
    for each in (target, *target.variants.values()):
        check_reasons(each)
    broken = smoke(target)
    if broken:
        raise RopeError("--rope-target", name, f"broken harness, no case was judged: {broken}")
    return target


class _Cases(pytest.Collector):
    """All cases of a target."""

    def __init__(self, target: Target, **other: Any) -> None:
        super().__init__(**other)
        self.target = target
        self.add_marker(MARK)

    def collect(self) -> Iterator["_CaseItem"]:
        """Yield the selected cases."""
        option = self.config.getoption
        chosen = cases(option("--rope-topic"), option("--rope-case"), option("--rope-flag"))
        targets = {"": self.target, **self.target.variants}
        expected = self._expected(option("--rope-expected"), targets)
        for variant, target in targets.items():
            for case in chosen:
                name = _name(case, variant)
                yield _CaseItem.from_parent(
                    self, name=name, case=case, variant=variant, target=target, expected=expected.of(name)
                )

    @staticmethod
    def _expected(path: str | None, targets: dict[str, Target]) -> Expectations:
        """Return the expected failures, checked against all cases, whatever is selected."""
        if path is None:
            return Expectations()
        expectations = read_expectations(path)
        pairs = [(case, variant) for variant in targets for case in all_cases()]
        concerning = [_name(case, variant) for case, variant in pairs if not left_out(case, targets[variant])]
        expectations.check([_name(*pair) for pair in pairs], concerning)
        return expectations


def _name(case: Case, variant: str) -> str:
    """Return a case's name in pytest and in the file of expected failures."""
    return f"{case.id}@{variant}" if variant else case.id


class _CaseItem(pytest.Item):
    """One case, on a target or a variant."""

    def __init__(self, case: Case, variant: str, target: Target, expected: Expectation | None, **other: Any) -> None:
        super().__init__(**other)
        self.case, self.variant, self.target, self.expected = case, variant, target, expected

    def runtest(self) -> None:
        """Judge the case."""
        outcome = judge(self.case, self.target)
        _settle(Result(self.case, self.variant, outcome), self.expected, self.target.asked)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show a verdict as its message alone: the traceback is that of the suite."""
        if isinstance(excinfo.value, ConformanceError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, int | None, str]:
        """Return where the case comes from, and its name."""
        return self.case.topic, None, f"{MARK}: {self.name}"
