"""The golden vectors as data, and the reference beside them: two implementations that share no code
(spec/README.md).
"""

import ast
import json
import re
import shutil
from collections import Counter
from importlib import util

import jsonschema
import numpy as np
import pytest
from paths import ROOT
from referencing import Registry, Resource
from safetensors.numpy import load_file

import ropecore
from ropecore import spec
from ropecore.conformance import bounds
from ropecore.scaling import RULES

CASES = spec.vectors()
RULE_IDS = set(re.findall(r"^\*\*(R-\d+\.\d+)\*\*", (ROOT / "spec/rope.md").read_text(), re.MULTILINE))


def schema(name: str) -> dict:
    return json.loads(spec.read(f"schema/{name}.schema.json"))


def every_case() -> list[dict]:
    return [case for path in spec.files() for case in json.loads(spec.read(path))["cases"]]


def array(source: dict) -> np.ndarray:
    return np.array([float(n) for n in source["data"]]).reshape(source["shape"])


def test_there_are_enough_and_every_topic_has_some() -> None:
    topics = Counter(case["id"].split("/")[0] for case in CASES)

    withdrawn = [case for case in every_case() if "withdrawn" in case]
    assert len(CASES) + len(withdrawn) == spec.manifest()["cases"]
    assert len(CASES) >= 500
    assert set(topics) >= {
        "documents", "rotate", "pairing", "partial", "positions", "precision", "scaling", "attention_factor", "cache", "axes",
        "inverse", "composition", "gradients", "refusals", "state", "scores",
    }  # fmt: skip


def test_every_file_is_as_its_schema_says() -> None:
    schemas = {name: schema(name) for name in ("vectors", "plan", "manifest")}
    registry = Registry().with_resources([(s["$id"], Resource.from_contents(s)) for s in schemas.values()])
    jsonschema.Draft202012Validator(schemas["manifest"], registry=registry).validate(spec.manifest())
    validator = jsonschema.Draft202012Validator(schemas["vectors"], registry=registry)
    for path in spec.files():
        validator.validate(json.loads(spec.read(path)))


def test_the_schema_refuses_a_key_that_it_does_not_know() -> None:
    schemas = [schema(name) for name in ("vectors", "plan")]
    registry = Registry().with_resources([(s["$id"], Resource.from_contents(s)) for s in schemas])
    file = json.loads(spec.read(spec.files()[0]))
    file["cases"][0]["surprise"] = 1

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schemas[0], registry=registry).validate(file)


def test_ids_rules_and_flags_are_known() -> None:
    assert max(Counter(case["id"] for case in CASES).values()) == 1
    assert {rule for case in CASES for rule in case["rules"]} <= RULE_IDS
    assert {flag for case in CASES for flag in case["flags"]} <= set(spec.notes())
    assert all(case["comment"] and "\n" not in case["comment"] for case in CASES)


def test_almost_every_rule_has_a_vector() -> None:
    """Those without are declarations (precision, the float32 class, what gets no gradient), and
    factors that are no rotation.
    """
    assert RULE_IDS - {rule for case in CASES for rule in case["rules"]} == {
        "R-9.7", "R-9.8", "R-9.9", "R-10.1", "R-10.3", "R-10.8", "R-11.2",
    }  # fmt: skip


def test_a_withdrawn_vector_says_why_and_another_has_its_place() -> None:
    ids = {case["id"] for case in CASES}
    withdrawn = {case["id"]: case["withdrawn"] for case in every_case() if "withdrawn" in case}

    assert withdrawn
    for case_id, reason in withdrawn.items():
        assert case_id not in ids
        assert reason.rpartition("see ")[2] in ids, case_id


def test_the_files_are_what_the_manifest_says_and_damage_is_noticed(tmp_path, monkeypatch) -> None:
    assert spec.verify() == []
    copy = tmp_path / "spec"
    shutil.copytree(ROOT / "spec", copy, ignore=shutil.ignore_patterns("__pycache__", "generate"))
    loader = util.spec_from_file_location("spec_copy", copy / "__init__.py", submodule_search_locations=[str(copy)])
    module = util.module_from_spec(loader)
    monkeypatch.setitem(__import__("sys").modules, "spec_copy", module)
    loader.loader.exec_module(module)
    assert module.verify() == []

    victim = copy / spec.files()[3]
    text = victim.read_text()
    victim.write_text(text.replace("0", "1", 1))
    assert any(spec.files()[3] in problem for problem in module.verify())
    victim.unlink()
    assert any(spec.files()[3] in problem for problem in module.verify())
    victim.write_text(text)
    (copy / "vectors/extra.json").write_text("{}")
    assert any("extra.json" in problem for problem in module.verify())


def test_the_generator_and_the_reference_share_no_code() -> None:
    for path in (ROOT / "spec").rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = [n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names]
        names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [name for name in names if name.split(".")[0] == "ropecore"], path


def test_safetensors_hold_the_same_numbers() -> None:
    case = next(c for c in CASES if c["id"] == "rotate/half_split/d8/pos257")
    tensors = load_file(ROOT / "spec/vectors/rotate.safetensors")
    names = [name for name in tensors if name.startswith(case["id"] + "/")]

    assert any(np.array_equal(tensors[name], array(case["result"]["y"])) for name in names)
    assert any(np.array_equal(tensors[name], array(case["x"])) for name in names)


FREQUENCIES = [case for case in CASES if case["kind"] == "frequencies"]


@pytest.mark.parametrize("case", FREQUENCIES, ids=[case["id"] for case in FREQUENCIES])
def test_frequencies_are_correctly_rounded_bit_for_bit(case: dict) -> None:
    rows = ropecore.RopeConfig.from_dict(case["config"]).rows(case["seq_len"])
    result = case["result"]

    assert rows.frequencies.tobytes() == array(result["frequencies"]).tobytes()
    assert rows.attention_factor == array(result["attention_factor"]).item()
    if result["log_magnitude"] is None:
        assert rows.log_magnitude is None
    else:
        assert rows.log_magnitude.tobytes() == array(result["log_magnitude"]).tobytes()


@pytest.mark.parametrize("case", FREQUENCIES, ids=[case["id"] for case in FREQUENCIES])
def test_bounds_of_frequencies_are_those_of_the_suite(case: dict) -> None:
    """R-4.4, worked out twice: by the generator, and by the suite for plans and for frequencies of
    a target's own.
    """
    result, config = case["result"]["frequencies"], case["config"]
    F = np.abs(array(result))
    lanes = ropecore.RopeConfig.from_dict({**config, "scaling": None}).rows().lanes
    stored = np.reshape(result["bound"], F.shape)
    relative = bounds.frequency_bound(config, lanes, case["seq_len"])[:, None]
    ours = relative * F + np.where((relative > 0) & (F > 0), bounds.SUBNORMAL, 0.0)

    assert (stored >= ours * (1 - 1e-12)).all()
    assert (stored <= ours * 1.0101 + 2.0**-1074).all()


def test_every_rule_has_frequencies() -> None:
    tested = {case["config"].get("scaling", {}).get("rule") for case in FREQUENCIES}

    assert tested == {None, *RULES}


TABLES = [case for case in CASES if case["kind"] == "tables" and "real" not in case["plan"]["axis_kinds"]]


@pytest.mark.parametrize("case", TABLES, ids=[case["id"] for case in TABLES])
def test_tables_are_within_the_float64_bound(case: dict) -> None:
    """R-10.2 on integer axes; A and a magnitude add their terms of R-10.6."""
    plan = ropecore.RotaryPlan.from_dict(case["plan"])
    positions = array(case["positions"]).astype(np.int64)
    tables = ropecore.cos_sin(plan, positions, case["role"])
    grown = np.hypot(*tables)
    log = np.abs(np.log(grown / plan.attention_factor)) if plan.log_magnitude is not None else np.zeros_like(grown)
    bound = grown * (
        2.0**-52 + 2.0**-53 * ((plan.attention_factor != 1) + (plan.log_magnitude is not None) * (3 * log + 4))
    )
    for table, name in zip(tables, ("cos", "sin"), strict=True):
        wanted = array(case["result"][name])
        assert (np.abs(table - wanted) <= bound + 2.0**-53 * np.abs(wanted)).all()


def test_the_first_document_in_both_readings() -> None:
    """D1's printed table is base 1e8; its own formula is base 1e4."""
    k = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5]])

    def rotated(base: float) -> list[float]:
        plan = ropecore.RopeConfig(head_dim=4, base=base, pairing="interleaved").plan()
        return ropecore.rotate(plan, k, *ropecore.cos_sin(plan, np.arange(4)))[3]

    assert rotated(1e8) == pytest.approx([-0.56555625233, -0.42443624427, 0.499849977502, 0.500149977498], abs=1e-12)
    assert rotated(1e4) == pytest.approx([-0.56555625233, -0.42443624427, 0.484777266773, 0.514772766976], abs=1e-12)
