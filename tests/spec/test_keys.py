"""Every key of a configuration file in each place where it may stand: a reader that ignores it
fails.
"""

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

import ropecore
from ropecore.conformance.cases import all_cases
from ropecore.conformance.judge import judge
from ropecore.conformance.target import as_target
from ropecore.read.keys import NAMES
from ropecore.read.scaling import COMMON, RULES

CASES = [case for case in all_cases() if case.kind == "config" or case.data.get("call") == "source"]
PLACES = ("", "rope_scaling", "rope_parameters", "by_layer")
OUTSIDE = (*(key for names in NAMES.values() for key in names), "original_max_position_embeddings")
INSIDE = (*COMMON, *dict.fromkeys(key for _, keys in RULES.values() for key in keys))
NO_ROTATION = {
    "num_key_value_heads": "heads of keys turn as those of queries do",
    "n_kv_heads": "heads of keys turn as those of queries do",
    "num_kv_heads": "heads of keys turn as those of queries do",
    "multi_query_group_num": "heads of keys turn as those of queries do",
}
# Keys of axes, which no family has beside layer types.
ALIKE_IN_ALL_LAYERS = ("mrope_section", "mrope_interleaved", "xdrope_section")


def without(source: Any, key: str, place: str, at: str = "") -> Any:
    """Return a configuration without a key in a place, at whatever depth that lies."""
    if not isinstance(source, Mapping):
        return source
    inner = {"": {"rope_scaling": "rope_scaling", "rope_parameters": "rope_parameters"}}.get(at, {})
    deeper = lambda name: inner.get(name, "by_layer" if at == "rope_parameters" else at)
    return {
        name: without(value, key, place, deeper(name))
        for name, value in source.items()
        if not (name == key and at == place)
    }


@cache
def caught(key: str, place: str) -> bool:
    """Return whether a reader that does not know a key in a place fails a case."""

    def read(source: Mapping[str, Any], **given: Any) -> Any:
        return ropecore.read_config(without(source, key, place), **given)

    rules = SimpleNamespace(read_config=read)
    target = as_target(SimpleNamespace(apply=ropecore.rotate, rules=rules, capabilities={}))
    touched = [case for case in CASES if without(case.data["source"], key, place) != case.data["source"]]
    return any(judge(case, target).verdict == "fail" for case in touched)


@pytest.mark.parametrize("key", [key for key in OUTSIDE if key not in NO_ROTATION])
def test_a_key_outside_that_is_ignored_fails_a_case(key: str) -> None:
    assert caught(key, "")


@pytest.mark.parametrize(
    ("place", "key"),
    [(p, key) for p in PLACES[1:] for key in INSIDE if p != "by_layer" or key not in ALIKE_IN_ALL_LAYERS],
)
def test_a_key_of_a_rope_dictionary_that_is_ignored_fails_a_case(place: str, key: str) -> None:
    assert caught(key, place)


def test_a_reader_that_ignores_nothing_fails_none() -> None:
    rules = SimpleNamespace(read_config=ropecore.read_config)
    target = as_target(SimpleNamespace(apply=ropecore.rotate, rules=rules, capabilities={}))
    assert [case.id for case in CASES if judge(case, target).verdict != "pass"] == []
