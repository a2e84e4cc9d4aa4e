"""The files of compiled kernels: whatever happens to them, the bits are right, and one warning says
what.
"""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

CALLS = """
import sys, warnings
import numpy as np
warnings.simplefilter("always")
from ropecore import RopeConfig
from ropecore.backends import _kernels
from ropecore.backends import numpy as rope
plan = RopeConfig(head_dim=8, base=1e4, pairing="half_split").plan()
x = np.arange(64, dtype=np.float32).reshape(1, 2, 4, 8)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    y = rope.apply(plan, x)
used = _kernels.available()
_kernels.available = rope.fused.available = lambda form="float32": False
rope.TABLES.clear()
assert np.array_equal(y, rope.apply(plan, x))
print(used, len(told), *[str(each.message) for each in told])
"""


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    return kept | changes


def start(script: str = CALLS, **changes: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-c", script]
    return subprocess.Popen(command, env=environment(**changes), stdout=subprocess.PIPE, text=True)


def told(process: "subprocess.Popen[str]") -> str:
    """Return whether kernels were used, how many warnings there were, and what they say."""
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return out.strip()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled code."""
    folder = tmp_path_factory.mktemp("compiled")
    assert told(start(XDG_CACHE_HOME=str(folder))) == "True 0"
    return folder


@pytest.fixture
def full(compiled: Path, tmp_path: Path) -> Path:
    """A folder of compiled code, to be broken."""
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted((folder / "ropecore").rglob("*.code"))


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_code_is_found_again(variable: str, full: Path) -> None:
    kept = {path: path.read_bytes() for path in files(full)}
    assert [path.name.split("-")[0] for path in kept] == ["launch.code", "rotation", "tables.code"]
    assert told(start(**{variable: str(full)})) == "True 0"
    assert {path: path.read_bytes() for path in files(full)} == kept  # nothing was compiled anew


def test_without_a_variable_it_lies_in_the_home(tmp_path: Path) -> None:
    assert told(start(HOME=str(tmp_path), XDG_CACHE_HOME="relative")) == "True 0"
    assert len(files(tmp_path / ".cache")) == 3


@pytest.mark.parametrize("where", ["/proc/ropecore", "/dev/null", "/dev/full/ropecore"])
def test_a_home_that_cannot_be_written(where: str) -> None:
    used, n, *text = told(start(XDG_CACHE_HOME=where)).split(" ", 2)
    assert (used, n) == ("True", "1")
    assert where in text[0]


def test_a_full_folder_that_can_only_be_read(full: Path) -> None:
    for path in full.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert told(start(XDG_CACHE_HOME=str(full))) == "True 0"


def test_no_home_at_all() -> None:
    script = "import pathlib\n" + "def home(*_): raise RuntimeError('no home')\n" + "pathlib.Path.home = home\n" + CALLS
    assert told(start(script)).startswith("True 1 ")


@pytest.mark.parametrize("harm", ["empty", "half", "one bit", "text", "folder"])
def test_a_broken_file(harm: str, full: Path) -> None:
    for path in files(full):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        parts = {"empty": b"", "half": bytes(data[: len(data) // 2]), "one bit": bytes(data), "text": b"no code"}
        if harm == "folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(parts[harm])
    assert told(start(XDG_CACHE_HOME=str(full))).startswith("True 1 ")
    if harm != "folder":
        assert told(start(XDG_CACHE_HOME=str(full))) == "True 0"  # it was written anew


def test_code_of_another_version_that_has_the_right_digest(full: Path) -> None:
    for path, value in zip(files(full), ((), "code", range(9)), strict=True):
        data = pickle.dumps(value)
        path.write_bytes(hashlib.sha256(data).digest() + data)
    assert told(start(XDG_CACHE_HOME=str(full))).startswith("True 1 ")


def test_processes_at_one_folder(tmp_path: Path) -> None:
    scripts = [CALLS.replace("head_dim=8", f"head_dim=8, lane_offset={i}, rotary_dim=6") for i in range(2)]
    together = [start(script, XDG_CACHE_HOME=str(tmp_path)) for script in scripts]
    assert [told(each) for each in together] == ["True 0"] * 2
    assert told(start(scripts[0], XDG_CACHE_HOME=str(tmp_path))) == "True 0"
    assert all(path.suffix == ".code" for path in tmp_path.rglob("*") if path.is_file())


NUMBA = {
    "that raises": "raise ImportError('Numba needs NumPy 1.0 or less')",
    "without its compiler": "",
    "that cannot compile": "def njit(**_): raise TypeError('no such option')",
}


@pytest.mark.parametrize("numba", NUMBA)
def test_a_numba_that_does_not_work(numba: str, tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text(NUMBA[numba])
    (tmp_path / "cache").mkdir()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert told(start(PYTHONPATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))).startswith("False 1 ")


def test_a_numba_that_compiles_nothing(tmp_path: Path) -> None:
    """Nothing is in the cache folder, so nothing can be had without a compiler."""
    assert told(start(NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(tmp_path))).startswith("False 1 ")
