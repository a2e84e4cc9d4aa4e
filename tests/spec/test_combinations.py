"""Every feature beside every other: a program that drops the one where the other is there fails."""

from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
from dropped_features import FEATURES, Array, Feature, Question, named, rotation

from ropecore import RopeError
from ropecore.conformance.cases import Case, all_cases
from ropecore.conformance.judge import judge
from ropecore.conformance.target import as_target

CASES = [case for case in all_cases() if case.id.startswith("combinations/")]
NAMES = [feature.name for feature in FEATURES]
# Of each of these a rotation has one at most.
RULES = {
    "linear", "ntk", "dynamic_ntk", "ntk_by_parts", "yarn", "llama3", "longrope", "proportional", "xpos", "damped",
}  # fmt: skip
ORDERS = {"interleaved axes", "alternating axes", "axes listed", "axis_blocks"}
ALTERNATIVES = (
    RULES | {"matrix"},
    ORDERS | {"matrix"},
    {"own frequencies", "matrix"},
    {"two axes", "three axes"},
    {"bshd", "sbhd", "thd"},
    {"transpose", "inverse"},
    {"rows", "offset", "offsets"},
)
DECAYS, SEVERAL = {"xpos", "damped"}, {"two axes", "three axes", "per_axis", "matrix"} | ORDERS
# No rotation has one of the left and one of the right, for this reason.
NEVER: tuple[tuple[set[str], set[str], str], ...] = (
    ({"key", "centre"}, (RULES - DECAYS) | {"matrix", "seq_len"}, "role and centre matter to a decay alone (R-2.4)"),
    (DECAYS | {"key", "centre"}, SEVERAL, "a decay has one axis (R-2.4)"),
    (DECAYS | {"key", "centre"}, {"large"}, "the decay would overflow (R-2.4)"),
    ({"offset", "offsets"}, SEVERAL | {"real axis"}, "an offset has one integer axis (R-7.4)"),
    ({"thd"}, {"rows", "offsets"}, "packed tokens have no rows (R-7.3)"),
    ({"seq_len"}, RULES - {"dynamic_ntk", "longrope"} | {"matrix"}, "other rules have no length (R-5.4)"),
    ({"frequency_dim"}, {"own frequencies", "matrix", "per_axis"}, "the caller's frequencies have no d (R-4.3)"),
    ({"per_axis"}, {"own frequencies", "matrix", "longrope"}, "a series for each axis is made (R-6.6)"),
    ({"own frequencies"}, {"ntk", "dynamic_ntk", "proportional"}, "these rules change the base or need it (R-4.3)"),
)
TRIPLES = (
    ("yarn", "interleaved axes", "partial"),
    ("yarn", "interleaved", "partial"),
    ("yarn", "attention_factor", "three axes"),
    ("dynamic_ntk", "interleaved axes", "three axes"),
    ("longrope", "attention_factor", "partial"),
    ("axis_blocks", "interleaved", "real axis"),
)  # that models have


class Dropping:
    """A right target, but for the feature that it drops."""

    capabilities: ClassVar = {"dtypes": ["float32"], "angle": "exact"}
    RopeError = RopeError

    def __init__(self, feature: Feature | None) -> None:
        self.feature = feature

    def apply(
        self, plan: Any, x: Array, positions: Any = None, offset: Any = None, tensor_format: str = "bhsd",
        role: str = "q", inverse: bool = False, transpose: bool = False, case: Any = None,
    ) -> Array:  # fmt: skip
        asked = named(case, x, positions if case["offset"] is None else None)
        change = self.feature and self.feature.there(asked) and self.feature.dropped
        return np.asarray((change or rotation)(asked)).astype(np.float32)


def asked_by(case: Case) -> Question:
    """Return the question of a case."""
    x, positions = (np.array(case.data[key]["data"]).reshape(case.data[key]["shape"]) if case.data[key] else None
                    for key in ("x", "positions"))  # fmt: skip
    assert x is not None
    return named(case.data, x, positions)


@cache
def there(name: str) -> frozenset[str]:
    """Return the ids of the cases that have a feature."""
    feature = FEATURES[NAMES.index(name)]
    return frozenset(case.id for case in CASES if feature.there(asked_by(case)))


@cache
def failed(name: str) -> frozenset[str]:
    """Return the ids of the cases that fail where a feature is dropped."""
    target = as_target(Dropping(FEATURES[NAMES.index(name)]))
    return frozenset(case.id for case in CASES if case.id in there(name) and judge(case, target).verdict == "fail")


def never(one: str, other: str) -> bool:
    """Return whether no rotation has both."""
    if any({one, other} <= group for group in ALTERNATIVES):
        return True
    return any({one, other} <= left | right and {one, other} & left and {one, other} & right
               and not {one, other} <= left and not {one, other} <= right for left, right, _ in NEVER)  # fmt: skip


def test_a_target_that_drops_nothing_passes() -> None:
    target = as_target(Dropping(None))
    assert {case.id: judge(case, target).reason for case in CASES if judge(case, target).verdict != "pass"} == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_that_is_lost_beside_another_fails(name: str) -> None:
    unseen = [other for other in NAMES if other != name and not never(name, other) and not failed(name) & there(other)]
    assert unseen == [], f"no case fails where {name} is dropped beside these"


@pytest.mark.parametrize("name", NAMES)
def test_what_never_stands_together_does_not(name: str) -> None:
    assert [other for other in NAMES if other != name and never(name, other) and there(name) & there(other)] == []


@pytest.mark.parametrize("triple", TRIPLES, ids=" + ".join)
def test_three_features_of_models_are_seen_together(triple: tuple[str, str, str]) -> None:
    together = frozenset.intersection(*(there(name) for name in triple))
    assert [name for name in triple if not failed(name) & together] == []
