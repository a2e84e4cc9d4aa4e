"""What rope.md says about names, numbers and figures is what the code and the vectors have."""

import ast
import dataclasses
import inspect
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT

import ropecore
import ropecore.backends.numpy as rope
from ropecore import spec
from ropecore.config import KEYWORDS
from ropecore.scaling import RULES

PATH = ROOT / "spec/rope.md"
PAGE = PATH.read_text()
LARGEST = 60_000  # bytes without the list of vectors
FLOAT = re.compile(r"`(-?0x1\.[0-9a-f]+p-\d+)` \| `([0-9a-f]{8})`")


def section(head: str) -> str:
    """The text below a heading, up to the next."""
    return re.split(r"^## ", PAGE.partition(f"## {head}")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of all tables, without heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_prose_is_in_short_lines_and_the_page_is_not_long() -> None:
    body = PAGE.partition("## Appendix F")[0]

    assert [line for line in body.splitlines() if len(line) > 100 and not line.startswith("|")] == []
    assert len(body.encode()) <= LARGEST


def test_rules_that_are_named_exist_and_replaced_ones_say_by_what() -> None:
    defined = re.findall(r"^\*\*(R-\d+\.\d+)\*\*", PAGE, re.MULTILINE)

    assert len(set(defined)) == len(defined)
    assert set(re.findall(r"R-\d+\.\d+", PAGE)) <= set(defined)
    for old, new in re.findall(r"(R-\d+\.\d+) -> (R-\d+\.\d+)", section("Appendix E. Versions")):
        assert {old, new} <= set(defined)
    for old in re.findall(r"^\*\*(R-\d+\.\d+)\*\* Replaced", PAGE, re.MULTILINE):
        assert f"{old} -> " in section("Appendix E. Versions")


def test_figures_that_are_shown_exist() -> None:
    shown = re.findall(r"\]\((figures/[a-z]+\.svg)\)", PAGE)

    assert sorted(shown) == sorted(f"figures/{path.name}" for path in (PATH.parent / "figures").glob("*.svg"))
    for path in shown:
        assert spec.read(path).startswith(b"<svg ")


def test_the_script_gives_the_same_bytes_for_figures() -> None:
    script = (
        "from spec.generate.figures import FIGURES as F; print({name: draw().decode() for name, draw in F.items()})"
    )
    made = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    drawn = ast.literal_eval(made.stdout)

    assert set(drawn) == {"pairings", "scaling", "circle"}
    for name, text in drawn.items():
        assert (PATH.parent / f"figures/{name}.svg").read_bytes() == text.encode()


def test_the_constants_are_the_same_in_both_forms_and_those_of_the_code() -> None:
    from ropecore import precision

    found = FLOAT.findall(PAGE)
    ours = {getattr(precision, f"_{name}") for name in ("S0", "T0", "S1", "S2", "S3", "S4", "C1", "C2", "C3", "C4")}

    assert {float.fromhex(number) for number, _ in found} == ours
    for number, bits in found:
        assert struct.pack(">f", float.fromhex(number)).hex() == bits


def test_the_worked_phases_are_what_an_adapter_gives() -> None:
    head, *table = [row for row in rows(section("Appendix C. Three worked phases")) if row[0] != "float64"][:12]
    cells = {row[0]: [names(cell)[0] for cell in row[1:]] for row in table}
    for column, title in enumerate(head[1:]):
        F, p = re.fullmatch(r"F = (\S+), p = (-?\d+)", title).groups()
        plan = ropecore.RotaryPlan(2, [[0, 1]], [float(F)])
        for name, got in zip(("cos", "sin"), rope.cos_sin(plan, [int(p)]), strict=True):
            assert f"{got.view(np.uint32).item():08x}" == cells[name][column].split()[0]
        fh, fl = (int(cells[name][column], 16) for name in ("fh", "fl"))
        assert ropecore.precision.limbs(plan, 64)[0].item() == fh
        assert ropecore.precision.limbs(plan, 64)[1].item() == fl


def test_the_keys_of_a_configuration_are_those_of_ropeconfig() -> None:
    table = rows(section("Appendix A. Keys of a configuration"))
    keys = [names(row[0])[0] for row in table if len(row) == 4 and names(row[0])]

    assert sorted(keys) == sorted(keyword.name for keyword in KEYWORDS)
    rules = {names(row[0])[0]: row[1] for row in table if len(row) == 2 and names(row[0])}
    assert set(rules) == set(RULES)
    for name, rule in RULES.items():
        assert rules[name] == ", ".join(parameter(f) for f in dataclasses.fields(rule) if f.init)


def parameter(f: dataclasses.Field) -> str:
    """A parameter as the page writes it."""
    if f.default is dataclasses.MISSING:
        return f.name
    if isinstance(f.default, str):
        return f'{f.name} = `"{f.default}"`'
    shown = {None: "null", True: "true"}.get(f.default) if f.default is None or f.default is True else f"{f.default:g}"
    return f"{f.name} = {shown}"


def test_the_keys_of_a_plan_are_those_of_its_schema() -> None:
    keys = [names(row[0])[0] for row in rows(section("Appendix B. Keys of a plan"))[1:]]

    assert sorted(keys) == sorted(ropecore.RotaryPlan(2, [[0, 1]], [1.0]).to_dict())


def test_the_builders_have_the_signatures_that_the_page_gives() -> None:
    cells = [name for row in rows(section("Appendix D. Builders of positions"))[1:] for name in names(row[0])]

    assert len(cells) == 11
    for cell in cells:
        name, given = re.fullmatch(r"(\w+)\((.*)\)", cell).groups()
        parameters = inspect.signature(getattr(ropecore, name)).parameters
        shown = [part for part in re.split(r", (?![^(]*\))", given) if part not in ("..", "*")]
        for part in shown:
            argument, _, default = part.partition("=")
            assert argument in parameters, cell
            if default:
                assert repr(parameters[argument].default).replace("'", '"') == default, cell
        if ".." not in given:
            assert len(shown) == len(parameters), cell


def refusals(call: str) -> set[str]:
    """What a table of chapter 12 names."""
    tables = section("12. Refusals").split("\n\nA ")
    text = next(t for t in tables if t.startswith({"rotate": "call", "config": "config", "plan": "plan"}[call]))
    return {name for row in rows(text)[1:] for cell in row for name in names(cell)}


@pytest.mark.parametrize("call", ["rotate", "config", "plan"])
def test_every_argument_that_a_vector_wants_refused_is_in_the_tables(call) -> None:
    anything = {  # parameters of a rule outside their range; unknown keys, and the names of rules
        *(f.name for rule in RULES.values() for f in dataclasses.fields(rule)),
        *RULES, "su", "rope_theta", "rotary_dims", "type",
    }  # fmt: skip
    wanted = {case["argument"] for case in spec.vectors() if case["kind"] == "reject" and case["call"] == call}

    assert wanted - anything <= refusals(call)
    assert wanted & refusals(call)
