"""Every public function, with values of every kind: it answers or it refuses, and nothing else comes out."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hostile import ANYTHING
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import SURFACES


@st.composite
def calls(draw: st.DrawFn, arguments: dict[str, Any]) -> dict[str, Any]:
    """Right values for the arguments, and for one or two of them, mostly, anything."""
    wrong = draw(st.lists(st.sampled_from(sorted(arguments)), max_size=2))
    return {name: draw(ANYTHING if name in wrong else right) for name, right in arguments.items()}


@pytest.mark.parametrize("surface", SURFACES)
def test_nothing_but_refusals_comes_out(surface: str, attempt: Callable[..., Any]) -> None:
    function, arguments = SURFACES[surface]
    missing = {
        "spec.vector": KeyError,
        "spec.read": FileNotFoundError,
    }  # the loader stands on the standard library alone
    others = [missing[surface]] if surface in missing else []

    @settings(settings.get_profile("fuzz"))
    @given(calls(arguments))
    def tried(keywords: dict[str, Any]) -> None:
        attempt(surface, lambda: function(**keywords), *others)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*(numpy\.core|to_sparse|Sparse).*")
        tried()
