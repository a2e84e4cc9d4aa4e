"""README's examples run, one after the other, each as a stranger would paste it."""

import re
import shlex
import subprocess
import sys

import pytest
from paths import ROOT

from ropecore.cli import main

README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("$ ropecore")
    and not line.startswith("$ ropecore conformance numpy")  # test_cli.py: the main job
]


def test_there_are_examples() -> None:
    assert len(PYTHON) >= 3
    assert len(COMMANDS) >= 2


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_examples_run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_examples_run_in_the_folder_of_the_clone() -> None:
    """There Python finds the folder ropecore/ before an installed package; the folders beside it are found all the same."""
    for code in PYTHON:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str) -> None:
    differs = 1 if command.startswith("ropecore diff") else 0  # like diff's, its status says so

    assert main(shlex.split(command, comments=True)[1:]) == differs
