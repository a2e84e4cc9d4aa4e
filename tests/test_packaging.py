"""What is installed is what the source folders hold, and importing it stays light."""

import importlib.resources
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

SOURCES = {
    "ropecore": ROOT / "ropecore",
    "ropecore.backends": ROOT / "backends",
    "ropecore.conformance": ROOT / "conformance",
    "ropecore.spec": ROOT / "spec",
}
# the generator shares no code with the package and stays in the repository; so does a page that a
# command makes again
NOT_INSTALLED = {"generate", "__pycache__", "report.html"}


def _files(folder: Path, leave_out: set[str]) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if not leave_out & set(path.parts)}


@pytest.mark.parametrize("package", SOURCES)
def test_installed_files_are_the_source_files(package: str) -> None:
    mapped = {"backends", "conformance", "spec"} if package == "ropecore" else set()
    installed = Path(str(importlib.resources.files(package)))

    assert _files(SOURCES[package], NOT_INSTALLED) == _files(installed, NOT_INSTALLED | mapped)


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


LOADED = "import sys; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'jax', 'cupy', 'array_api_compat', 'mpmath'}))"


def test_importing_the_core_loads_no_framework() -> None:
    assert _run(f"import ropecore; {LOADED}") == "[]"


def test_the_check_for_frameworks_can_fail() -> None:
    assert _run(f"import mpmath, array_api_compat; {LOADED}") == "['array_api_compat', 'mpmath']"


def test_the_version_is_written_once() -> None:
    import ropecore

    assert f"version: {ropecore.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {ropecore.__version__} " in (ROOT / "CHANGELOG.md").read_text()
