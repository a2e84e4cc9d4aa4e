"""Identification of public libraries' rotations, each where its library is installed
(identify_boxes.py wraps them).
"""

import importlib.util
import re
from typing import Any

import identify_boxes
import pytest
from paths import ROOT

from ropecore import Linear, RopeConfig, cli, identify


def config(pairing: str, base: float = 10_000.0, **more: Any) -> RopeConfig:
    return RopeConfig(head_dim=16, base=base, pairing=pairing, **more)


LINEAR = Linear(4.0)
LIBRARIES = {  # box: its packages, its plan, its precision class, and what else is said of it
    "transformers_llama": ("transformers torch", config("half_split", 500_000.0), "float32", ""),
    "transformers_llama_bfloat16": ("transformers torch", config("half_split", 500_000.0), "below float32", "bfloat16"),
    "transformers_gptj": ("transformers torch", config("interleaved", rotary_dim=8), "float32", "2049, the largest"),
    "lucidrains": ("rotary_embedding_torch torch", config("interleaved"), "float32", ""),
    "lucidrains_partial": ("rotary_embedding_torch torch", config("interleaved", rotary_dim=8), "float32", "8 of 16"),
    "mlx": ("mlx", config("half_split", scaling=LINEAR), "float32", "linear by 4"),
    "mlx_traditional": ("mlx", config("interleaved", scaling=LINEAR), "float32", "linear by 4"),
    "x_transformers": ("x_transformers torch", config("interleaved", rotary_dim=8), "float32", ""),
    "onnxruntime_rotary": ("onnxruntime onnx", config("half_split"), "exact", ""),
}


def needs(packages: str) -> None:
    """Skip where a package is absent."""
    for package in packages.split():
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("name", LIBRARIES)
def test_pairing_base_and_precision_are_named(name: str) -> None:
    packages, expected, precision, said = LIBRARIES[name]
    needs(packages)

    found = identify(getattr(identify_boxes, name), 16)

    assert found.plan is not None
    assert found.named is not None
    assert found.named.config == expected
    assert found.precision is not None
    assert found.precision.name == precision
    assert found.precision.table == ("bfloat16" if "bfloat16" in name else "")
    assert (found.problems, found.suspects) == ((), ())
    assert said in found.text()


@pytest.mark.filterwarnings("ignore")
def test_a_box_that_depends_on_the_other_positions_is_no_plan() -> None:
    """x-transformers' xPos: alone a position seems to have half the magnitude, as the centre moves
    with it.
    """
    needs("x_transformers torch")

    found = identify(identify_boxes.x_transformers_xpos, 16)

    assert any("several positions at once" in problem for problem in found.problems)


def _example() -> tuple[str, str]:
    """Return the page's wrapper, and its command."""
    text = (ROOT / "docs" / "models.md").read_text()
    code = re.search(r"```py\n(# llama_box\.py.*?)```", text, re.DOTALL)
    command = re.search(r"ropecore identify (llama_box:\S+ .*)\n", text)
    assert code is not None
    assert command is not None
    return code[1], command[1]


@pytest.mark.filterwarnings("ignore")
def test_the_wrapper_of_the_readme_is_identified_by_the_command(tmp_path, monkeypatch, capsys) -> None:
    needs("transformers torch")
    code, command = _example()
    (tmp_path / "llama_box.py").write_text(code)
    monkeypatch.chdir(tmp_path)

    assert cli.main(["identify", *command.split()]) == 0
    text = capsys.readouterr().out
    assert "half_split, 64 of 64 lanes" in text
    assert "base 500000, no scaling" in text
    assert "precision    float32" in text


def test_the_help_says_how_a_library_is_wrapped(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["identify", "--help"])
    text = capsys.readouterr().out

    assert "Wrap one whose arguments differ" in text
    assert "def box(x, positions):" in text
