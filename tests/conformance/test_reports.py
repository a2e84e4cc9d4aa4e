"""Reports for other programs and for people: JUnit XML, badge and Markdown say the same as the run,
and a partial run has no pass.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import ropecore
from ropecore import conformance
from ropecore.backends import numpy as rope
from ropecore.cli import main
from ropecore.conformance.cases import all_cases
from ropecore.conformance.reports.badge import GREEN, GREY, LABEL, RED, shields, svg
from ropecore.conformance.reports.junit import WHOLE, junit
from ropecore.conformance.reports.markdown import SHOWN, markdown
from ropecore.conformance.reports.report import Report, Result, Selection
from ropecore.conformance.verdicts import Outcome, Verdict, Way, Worst

SVG = "{http://www.w3.org/2000/svg}"
WRITERS: list[Callable[[Report], str]] = [junit, svg, shields, markdown]


def right(plan, x, positions):
    return rope.apply(plan, x, positions=positions)


def wrong(plan, x, positions):
    return rope.apply(plan, x, positions=positions + 1)


def target(apply: Callable[..., object], **capabilities: object) -> SimpleNamespace:
    """A target that has half-split plans."""
    return SimpleNamespace(
        apply=apply, capabilities={"name": "mine", "features": ["half_split"], "angle": "exact", **capabilities}
    )


@pytest.fixture(scope="module")
def conforms() -> Report:
    return conformance.run(target(right))


@pytest.fixture(scope="module")
def fails() -> Report:
    return conformance.run(target(wrong))


@pytest.fixture(scope="module")
def partial() -> Report:
    return conformance.run(target(right), topic="rotate")


@pytest.fixture(scope="module")
def broken() -> Report:
    return conformance.run(target(lambda plan, x, positions: x[..., :1]))


@pytest.fixture(scope="module")
def without_variants() -> Report:
    return conformance.run(SimpleNamespace(**vars(target(right)), variants={"<odd>": target(wrong)}), variants=False)


def made(*outcomes: Outcome, variant: str = "") -> Report:
    """A report on the first cases, with these outcomes, as a whole run."""
    results = tuple(Result(case, variant, outcome) for case, outcome in zip(all_cases(), outcomes, strict=False))
    capabilities = conformance.Capabilities(name="<b>`mine`</b>|").to_dict()
    return Report("mine", capabilities, Selection(cases=len(all_cases()), of=len(all_cases())), results)


def verdict_of(text: str) -> ET.Element | None:
    """What JUnit's last test case, that of the whole suite, has inside: None is a pass."""
    last = ET.fromstring(text).findall(".//testcase")[-1]
    assert last.get("name") == WHOLE
    return next(iter(last), None)


# ---- a pass is shown where the target conforms, and there alone


def test_a_target_that_conforms_shows_it(conforms: Report) -> None:
    scope = f"{conforms.counts['pass']} of {len(all_cases())}"

    assert conforms.ok, conforms.text()
    assert verdict_of(junit(conforms)) is None
    assert json.loads(shields(conforms))["color"] == GREEN
    assert json.loads(shields(conforms))["message"].endswith(f", {scope}")
    assert GREEN in svg(conforms)
    verdict = (
        f"onforms to ropecore {ropecore.__version__} as far as it declares: {scope} cases apply (half_split, float32)"
    )
    assert f"**C{verdict}.**" in markdown(conforms)
    assert conforms.text().splitlines()[0] == f"mine c{verdict}"


def test_a_partial_run_never_shows_a_pass(partial: Report, without_variants: Report) -> None:
    for report, words in ((partial, "partial run"), (without_variants, "without the variants")):
        inside = verdict_of(junit(report))

        assert report.clean
        assert inside is not None
        assert inside.tag == "skipped"
        assert words in str(inside.get("message"))
        assert json.loads(shields(report))["color"] == GREY
        assert json.loads(shields(report))["message"].startswith("partial run")
        assert GREEN not in svg(report)
        assert "Conforms" not in markdown(report)
        assert "Partial run, no verdict" in markdown(report)


def test_a_failure_is_shown_also_in_a_partial_run(fails: Report) -> None:
    for report in (fails, conformance.run(target(wrong), ids="rotate/half_split/d8/*")):
        inside, counts = verdict_of(junit(report)), report.counts

        assert inside is not None
        assert inside.tag == "failure"
        assert json.loads(shields(report))["message"] == f"{counts['fail']} of {counts['fail'] + counts['pass']} wrong"
        assert RED in svg(report)
        assert "**Does not conform.**" in markdown(report)


def test_a_broken_harness_is_an_error(broken: Report) -> None:
    inside = verdict_of(junit(broken))

    assert broken.broken
    assert inside is not None
    assert inside.tag == "error"
    assert json.loads(shields(broken)) | {"label": LABEL} == json.loads(shields(broken))
    assert json.loads(shields(broken))["message"] == "broken harness"
    assert "Broken harness: no case was judged." in markdown(broken)


@pytest.mark.parametrize("verdict", ["skipped", "not applicable"])
def test_nothing_that_passed_is_no_pass(verdict: Verdict) -> None:
    report = made(Outcome(verdict, "later"))
    inside = verdict_of(junit(report))

    assert inside is not None
    assert inside.tag == "failure"
    assert json.loads(shields(report))["color"] == RED
    assert "**Nothing passed.**" in markdown(report)


# ---- the contents


def test_junit_has_every_result(fails: Report) -> None:
    root = ET.fromstring(junit(fails))
    cases = root.findall(".//testcase")
    kinds = Counter(child.tag for case in cases[:-1] for child in case)
    counts = fails.counts

    assert [case.get("name") for case in cases[:-1]] == [result.case.id for result in fails.results]
    assert kinds == {"failure": counts["fail"], "skipped": counts["skipped"] + counts["not applicable"]}
    for element in (root, root[0]):
        assert element.get("tests") == str(len(cases))
        assert element.get("failures") == str(counts["fail"] + 1)  # and the whole suite
        assert element.get("errors") == "0"
        assert element.get("skipped") == str(kinds["skipped"])
    properties = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert (properties["ok"], properties["whole"]) == ("false", "true")
    told = next(case for case in cases if case.get("name") == "rotate/half_split/d8/pos257").find("failure")
    assert told is not None
    assert "times the bound" in str(told.get("message"))
    assert "this case catches M44, M46, M48" in str(told.text)
    assert "likely" not in str(told.text)
    suite = verdict_of(junit(fails))
    assert suite is not None
    assert "likely bug M" in str(suite.text)


def test_junit_holds_any_text() -> None:
    """A control character, a lone surrogate and markup: XML has no place for the first two."""
    reason = "\x00\x1b[31m \ud800 <&> ]]> \N{GREEK SMALL LETTER PHI}"
    report = made(Outcome("errored", reason, Way("float32", "apply")), variant="a<b")
    text = junit(report)
    case = ET.fromstring(text.encode()).find(".//testcase")
    assert case is not None

    assert case.get("classname") == f"ropecore.{all_cases()[0].topic}.a<b"
    error = case.find("error")
    assert error is not None
    assert error.get("message") == "\ufffd\ufffd[31m \ufffd <&> ]]> \N{GREEK SMALL LETTER PHI}"
    assert "ERRORED" in str(error.text)


def test_a_number_that_is_not_finite_is_told() -> None:
    worst = Worst((0, 1), np.nan, np.inf, 1e-7, np.inf)
    report = made(Outcome("fail", "outside", Way("float32", "apply"), worst))

    for write in (junit, markdown):
        assert "element [0, 1] is nan, wanted inf" in write(report)


def test_the_svg_is_a_picture_without_a_network(conforms: Report) -> None:
    root = ET.fromstring(svg(conforms))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    title = root.find(f"{SVG}title")
    assert title is not None

    assert texts == [LABEL, json.loads(shields(conforms))["message"]]
    assert title.text == root.get("aria-label") == ": ".join(map(str, texts))
    assert "href" not in svg(conforms)
    assert "url(" not in svg(conforms)


def test_shields_has_the_fields_of_its_endpoint(conforms: Report) -> None:
    assert json.loads(shields(conforms)).keys() == {"schemaVersion", "label", "message", "color", "isError"}
    assert json.loads(shields(conforms))["schemaVersion"] == 1


def test_markdown_counts_by_topic_and_tells_the_first_failures(fails: Report) -> None:
    text = markdown(fails)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    sums = [sum(int(row[column]) for row in rows[1:]) for column in range(1, 6)]

    assert rows[0] == ["topic", "passed", "failed", "errored", "skipped", "not applicable"]
    assert sums == list(fails.counts.values())
    assert text.count("\nFAILED ") == text.count("  this case catches ") == SHOWN
    assert text.count("likely bug M") == 1
    assert text.index("likely bug M31: positions are counted from 1") < text.index("\nFAILED ")
    assert f".. and {fails.counts['fail'] - SHOWN} more" in text


def test_markdown_shows_text_as_it_is() -> None:
    text = markdown(made(Outcome("errored", "```\n<b>")))

    assert "<b>`mine`" not in text  # the target's name, in a line
    assert "````\nno known bug fits\n" in text  # the fence is longer than what it holds


@pytest.mark.parametrize("write", WRITERS)
def test_a_report_is_the_same_again(write: Callable[[Report], str], conforms: Report) -> None:
    assert write(conforms) == write(conforms)
    assert write(conforms).endswith("\n")


# ---- the command line


def test_the_command_line_writes_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {f"--{kind.split('.')[0]}": str(tmp_path / kind) for kind in ("junit.xml", "markdown.md", "badge.svg")}
    few = ["conformance", "numpy", "--topic", "documents", "-q"]

    assert main([*few, *(word for pair in names.items() for word in pair)]) == 0
    assert verdict_of(Path(names["--junit"]).read_text()) is not None
    assert "Partial run" in Path(names["--markdown"]).read_text()
    assert GREY in Path(names["--badge"]).read_text()
    assert main([*few, "--badge", str(tmp_path / "badge.json")]) == 0
    assert json.loads((tmp_path / "badge.json").read_text())["color"] == GREY
    capsys.readouterr()


def test_a_badge_of_another_kind_is_refused_before_anything_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "numpy", "--badge", "badge.png"]) == 2
    out, err = capsys.readouterr()

    assert out == ""
    assert "must end in .svg or .json" in err


@pytest.mark.parametrize("option", ["--json", "--junit", "--markdown", "--badge", "--html"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_run(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.svg").mkdir()
    for file, why in ((tmp_path / "none" / "it.svg", "there is no folder"), (tmp_path / "folder.svg", "is a folder")):
        assert main(["conformance", "no_such_module", option, str(file)]) == 2
        error = capsys.readouterr().err
        assert f"{option}='" in error
        assert why in error


@pytest.mark.parametrize(
    ("option", "value", "cure"),
    [
        ("--topic", "rotation", "Topics are: ambient, "),
        ("--flag", "M108", "Flags are M1 to M107"),
        ("--case", "rotation/*", "`ropecore vectors list` shows all ids"),
    ],
)
def test_a_selection_that_matches_nothing_names_its_option(
    option: str, value: str, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", "numpy", option, value]) == 2
    error = capsys.readouterr().err
    assert f"{option}='{value}': matches no case. {cure}" in error
