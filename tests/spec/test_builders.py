"""Every builder of positions with every argument: a program that ignores one fails."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ropecore
from ropecore.conformance.cases import Case, all_cases
from ropecore.conformance.judge import judge
from ropecore.conformance.target import as_target

CASES = [case for case in all_cases() if case.kind == "positions"]
BUILDERS = sorted(
    name
    for name in dir(ropecore)
    if (name.endswith("_positions") or name == "axes_first") and callable(getattr(ropecore, name))
)
# What a program would take for an argument that has no default and that it does not read.
INSTEAD: dict[str, Callable[[Any], Any]] = {
    "types": np.zeros_like,
    "ids": np.zeros_like,
    "grids": lambda given: [[1, 2, 2]] * len(given),
    "cu_seqlens": lambda given: [0, given[-1]],
    "mask": np.ones_like,
    "positions": lambda given: np.arange(len(given)),
    "chunk_length": lambda given: 8,
    "local_length": lambda given: 0,
    "n_axes": lambda given: 3,
    "tokens_per_second": lambda given: 1.0,
}
# Each frame is a grid of its own, and behind one frame both ways go on at the same place.
SAME_EITHER_WAY = {("qwen3_vl_positions", "next_position"), ("glm4v_positions", "next_position")}


def arguments(builder: str) -> list[str]:
    """Return the names of a builder's arguments that change what it gives."""
    names = inspect.signature(getattr(ropecore, builder)).parameters
    return [name for name in names if (builder, name) not in SAME_EITHER_WAY]


def ignoring(builder: str, argument: str) -> Any:
    """Return a target whose builder does not read an argument."""
    right = getattr(ropecore, builder)
    default = inspect.signature(right).parameters[argument].default

    def wrong(**given: Any) -> Any:
        if argument in given:
            unread = given[argument]
            given[argument] = INSTEAD[argument](unread) if default is inspect.Parameter.empty else default
        return right(**given)

    rules = SimpleNamespace(**{name: getattr(ropecore, name) for name in BUILDERS} | {builder: wrong})
    return as_target(SimpleNamespace(apply=ropecore.rotate, rules=rules, capabilities={}))


def failed(builder: str, target: Any) -> list[Case]:
    """Return the cases of a builder that do not pass."""
    own = [case for case in CASES if case.data["builder"] == builder]
    assert own, f"no case asks for {builder}"
    return [case for case in own if judge(case, target).verdict == "fail"]


@pytest.mark.parametrize(
    ("builder", "argument"), [(builder, argument) for builder in BUILDERS for argument in arguments(builder)]
)
def test_an_argument_that_is_ignored_fails_a_case(builder: str, argument: str) -> None:
    assert failed(builder, ignoring(builder, argument))


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_right_builder_fails_none(builder: str) -> None:
    rules = SimpleNamespace(**{builder: getattr(ropecore, builder)})
    assert failed(builder, as_target(SimpleNamespace(apply=ropecore.rotate, rules=rules, capabilities={}))) == []
