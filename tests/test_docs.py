"""The examples of README and of docs/ run, each as a stranger would paste it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from ropecore.cli import main

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("$ ropecore")
    and not line.startswith("$ ropecore conformance numpy")  # test_cli.py: the main job
]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "spec" / "README.md"], ids=lambda page: page.name
)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link


def test_there_are_examples() -> None:
    assert len(PYTHON) >= 7
    assert len(COMMANDS) >= 2


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_examples_run(code: str) -> None:
    exec(compile(code, "a page", "exec"), {"__name__": "readme"})


def test_examples_run_in_the_folder_of_the_clone() -> None:
    """There Python finds the folder ropecore/ before an installed package; the folders beside it
    are found all the same.
    """
    for code in PYTHON:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str) -> None:
    differs = 1 if command.startswith("ropecore diff") else 0  # like diff's, its status says so

    assert main(shlex.split(command, comments=True)[1:]) == differs
