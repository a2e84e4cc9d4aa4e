"""Every configuration class, built from raw dictionaries in every spelling, is read as its object
is.
"""

import importlib.util

import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
    pytest.skip("transformers is not installed", allow_module_level=True)

import sweep as the_sweep
import sweep_raw

from ropecore.read.families import families


def test_a_file_is_read_as_the_object_that_transformers_makes_of_it() -> None:
    the_sweep.quiet()
    outcomes = list(sweep_raw.sweep_raw())
    statuses = [status for _, _, status, _ in outcomes]

    assert statuses.count("equal") >= 1900
    assert {family for family, _, status, _ in outcomes if status == "differs"} <= set(sweep_raw.THEIRS)
    refused = {family for family, spelling, status, _ in outcomes if status == "refused here" and spelling == "nothing"}
    assert all("learned" in families()[family] for family in refused)
