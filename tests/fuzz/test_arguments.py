"""Every public function, with values of every kind: it answers or it refuses, and nothing else
comes out.
"""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hostile import ANYTHING, EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import SURFACES

SLOW = ("conformance.cases", "conformance.run", "spec.vectors")  # the right call reads every vector


@pytest.mark.parametrize("surface", SURFACES)
def test_nothing_but_refusals_comes_out(surface: str, attempt: Callable[..., Any]) -> None:
    """The right call; each argument of it exchanged for anything; and two of them at once."""
    function, arguments = SURFACES[surface]
    missing = {
        "spec.vector": KeyError,
        "spec.read": FileNotFoundError,
    }  # the loader stands on the standard library alone
    others = [missing[surface]] if surface in missing else []
    examples = max(3, EXAMPLES // 20) if surface in SLOW else EXAMPLES
    names = sorted(arguments)

    def call(keywords: dict[str, Any]) -> None:
        attempt(surface, lambda: function(**keywords), *others)

    @settings(settings.get_profile("fuzz"), max_examples=examples)
    @given(
        st.fixed_dictionaries(arguments),
        st.lists(ANYTHING, min_size=3, max_size=3),
        st.tuples(*[st.sampled_from(names)] * 2),
    )
    def tried(right: dict[str, Any], wrong: list[Any], two: tuple[str, str]) -> None:
        call(right)
        for value in wrong:
            for name in names:
                call(right | {name: value})
        call(right | dict(zip(two, wrong, strict=False)))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*(numpy\.core|to_sparse|Sparse).*")
        tried()
