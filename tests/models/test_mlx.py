"""The backend in 30 lines of docs/backend.md, run where MLX is installed."""

import re
from typing import Any

import pytest
from paths import ROOT

pytest.importorskip("mlx.core", reason="no mlx", exc_type=ImportError)

PAGE = (ROOT / "docs" / "backend.md").read_text()


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """The names that the example defines; its last line asserts that the backend conforms."""
    code = re.search(r"```py\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code[1], "docs/backend.md", "exec"), names)
    return names


def test_the_backend_conforms(example: dict[str, Any]) -> None:
    report = example["report"]

    assert report.ok
    assert report.counts["pass"] > 200
    assert report.capabilities["dtypes"] == ["float32", "float16", "bfloat16"]


def test_it_is_30_lines() -> None:
    """The class itself, without blank lines."""
    code = re.search(r"\nclass Mlx:\n.*?\n\n\n", PAGE, re.DOTALL)
    assert code is not None
    assert len([line for line in code[0].splitlines() if line.strip()]) <= 31  # and its name


def test_the_backend_with_a_flipped_sign_fails(example: dict[str, Any]) -> None:
    class Flipped(example["Mlx"]):  # type: ignore[misc]
        @staticmethod
        def apply(plan: Any, x: Any, positions: Any) -> Any:
            return Flipped.rotate(plan, x, *Flipped.cos_sin(plan, -positions))

    report = example["run"](Flipped, topic="rotate")

    assert report.counts["fail"] > report.counts["pass"]
