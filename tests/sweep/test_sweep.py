"""The sweep over transformers' rotary modules: at most 1 % are wrong, and each of those is
explained (issue 4).
"""

import importlib.util
import json

import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
    pytest.skip("transformers is not installed", allow_module_level=True)

import sweep as the_sweep
import transformers

from ropecore.read.families import families


@pytest.fixture(scope="module")
def done() -> the_sweep.Sweep:
    the_sweep.quiet()
    return the_sweep.sweep()


def test_at_most_one_in_a_hundred_is_wrong(done: the_sweep.Sweep) -> None:
    found = the_sweep.counts(done.classes)

    assert found["equal"] >= 250
    assert found["wrong"] <= 0.01 * (found["equal"] + found["wrong"])


def test_each_that_is_wrong_is_theirs_and_explained(done: the_sweep.Sweep) -> None:
    wrong = [outcome for outcome in done.classes + done.checkpoints if outcome.status == "wrong"]

    assert {outcome.name: outcome.why for outcome in wrong} == the_sweep.THEIRS


def test_what_is_outside_the_count_has_its_evidence(done: the_sweep.Sweep) -> None:
    outside = {outcome.name: outcome.why for outcome in done.classes if outcome.status not in ("equal", "wrong")}

    assert set(outside) == {f"{folder}:{name}" for folder, name in the_sweep.EXCLUDED} | {"blt:BltConfig"}
    assert all(outside.values())


def test_the_older_style_configurations_are_equal(done: the_sweep.Sweep) -> None:
    names = {outcome.name.split()[0] for outcome in done.checkpoints}

    assert names == set(json.loads(the_sweep.CHECKPOINTS.read_text()))
    assert the_sweep.counts(done.checkpoints)["equal"] >= 80


@pytest.mark.skipif(transformers.__version__ != "5.23.0", reason="the report is of transformers 5.23.0")
def test_the_report_lists_the_same_outcomes(done: the_sweep.Sweep) -> None:
    """Worst errors differ in the last digit between processors; names,
    verdicts and reasons do not.
    """
    lines = the_sweep.REPORT.read_text().splitlines()
    listed = {line.split("`")[1] for line in lines if line.startswith(("* `", "| `"))}

    assert listed == {outcome.name for outcome in done.classes + done.checkpoints}
    assert [line for line in lines if " wrong (" in line] == [
        line for line in the_sweep.report(done).splitlines() if " wrong (" in line
    ]


def test_defaults_of_the_table_are_those_of_the_configuration_classes() -> None:
    """The size of a head and the longest context of every row are transformers' own."""
    the_sweep.quiet()
    checked = 0
    for folder in the_sweep.folders():
        for name, kind in the_sweep.config_classes(folder).items():
            row = families().get(the_sweep.FAMILY.get(name, kind.model_type))
            for key in ("hidden_size", "num_attention_heads", "max_position_embeddings"):
                default = (row or {}).get("defaults", {}).get(key)
                if default is not None:
                    assert getattr(kind(), key) == default, (name, key)
                    checked += 1
    assert checked > 500
