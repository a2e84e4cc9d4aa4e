"""What is proven of the CuPy adapter's kernel without a GPU, and the one test that needs one.

(a) nvcc, and NVRTC as CuPy uses it, compile kernel.cu for devices, without spills; (b) the same
source compiled for the host by g++, with sanitizers, and (c) the Python around it, on a stand-in
for CuPy, pass the conformance suite.
"""

import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cupy_stand_in as stand_in
import pytest
from paths import ROOT

import ropecore.backends
import ropecore.conformance

SUPPORT = ROOT / "tests" / "support"
FOLDER = Path(next(iter(ropecore.backends.__path__)), "cupy")
KERNEL = FOLDER / "kernel.cu"
NVCC = shutil.which("nvcc")
DTYPES = ("float32", "float64", "float16", "bfloat16")
BUILDS = [*((dtype, "") for dtype in DTYPES), *((dtype, "-DROPE_COMPUTE_INPUT") for dtype in ("float16", "bfloat16"))]
LANES = ("lanes", "runs", "interleaved")
KERNELS = {f"rotate_{lanes}_{source}" for lanes in LANES for source in ("at", "by")} | {"write_tables"}

needs_compiler = pytest.mark.skipif(stand_in.COMPILER is None, reason="g++ is not on PATH")
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="nvcc is not on PATH")


# ---- (a) the kernel, compiled for devices


def options(dtype: str, more: str) -> list[str]:
    return ["-std=c++17", "--fmad=false", f"-DROPE_{dtype.upper()}", *more.split()]


def nvcc(dtype: str, more: str, *further: str) -> str:
    """Compile the kernel, and return what the compiler says."""
    command = [str(NVCC), *options(dtype, more), "-Werror", "all-warnings", *further, str(KERNEL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def resources(log: str) -> dict[str, tuple[int, int]]:
    """Return the registers of a thread, and the bytes spilled, of each kernel that `ptxas -v` tells
    of.
    """
    pattern = r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers"
    return {name: (int(used), int(out) + int(back)) for name, out, back, used in re.findall(pattern, log, re.DOTALL)}


def check_resources(found: dict[str, tuple[int, int]]) -> None:
    assert set(found) == KERNELS
    assert {spilled for _, spilled in found.values()} == {0}
    assert max(registers for registers, _ in found.values()) <= 128  # two blocks of 256 threads, at least


# ---- (a) compiled for devices


@needs_nvcc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("dtype", "more"), BUILDS)
def test_nvcc_compiles_every_kernel_without_spills(dtype: str, more: str, architecture: str, tmp_path: Path) -> None:
    log = nvcc(dtype, more, f"-arch={architecture}", "-cubin", "-Xptxas", "-v", "-o", str(tmp_path / "cubin"))

    check_resources(resources(log))


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize(("dtype", "more"), BUILDS)
def test_the_compiler_that_cupy_uses_agrees(dtype: str, more: str, architecture: str) -> None:
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="CuPy is not installed")
    try:
        program = nvrtc.createProgram(KERNEL.read_text(), KERNEL.name, (), ())
    except RuntimeError as error:
        pytest.skip(f"NVRTC is not installed: {error}")
    nvrtc.compileProgram(program, (*options(dtype, more), f"-arch={architecture}", "--ptxas-options=-v"))

    check_resources(resources(nvrtc.getProgramLog(program)))


@needs_nvcc
@pytest.mark.parametrize(("dtype", "more"), BUILDS)
def test_device_code_moves_each_element_once_by_16_bytes(dtype: str, more: str, tmp_path: Path) -> None:
    nvcc(dtype, more, "-arch=sm_80", "-ptx", "-o", str(tmp_path / "ptx"))
    kernels = {part.split("(")[0]: part for part in (tmp_path / "ptx").read_text().split(".entry ")[1:]}
    chunk = {"float32": "v4.f32", "float64": "v2.f64"}.get(dtype, "v4.u32")
    for name, chunks in (
        ("runs", 3),
        ("interleaved", 2),
    ):  # two that are rotated together, or one; and one that is copied
        for source in ("at", "by"):
            code = kernels[f"rotate_{name}_{source}"]

            assert re.findall(r"st\.global\.(\S+)", code) == [chunk] * chunks
            assert re.findall(r"ld\.global\.(v\S+)", code) == [chunk] * chunks


@needs_nvcc
@pytest.mark.parametrize(("dtype", "more"), BUILDS)
def test_device_code_contracts_nothing_and_calls_no_sine(dtype: str, more: str, tmp_path: Path) -> None:
    nvcc(dtype, more, "-arch=sm_80", "-ptx", "-o", str(tmp_path / "ptx"))
    code = (tmp_path / "ptx").read_text()

    assert ".entry write_tables" in code
    assert not re.search(r"fma\.rn\.f32|mad\.rn|\b(sin|cos)\.|\bcall\b|\.local", code)
    for kernel in code.split(".entry ")[1:]:  # exp, of plans with a magnitude, is the only library function, in double
        assert ("fma.rn.f64" in kernel) == ("_by(" not in kernel.split("\n")[0])


# ---- (b) and (c) the suite, on the host build


def sanitized(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the sanitizers loaded before it, and with the kernel built with them."""
    ask = [["g++", f"-print-file-name=lib{name}.so"] for name in ("asan", "ubsan", "stdc++")]
    libraries = [subprocess.run(each, capture_output=True, text=True, check=True).stdout.strip() for each in ask]
    if not all(os.path.isabs(library) for library in libraries):
        pytest.skip("this g++ has no sanitizers")
    more = {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0", "ROPECORE_SANITIZE": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | more, cwd=SUPPORT, capture_output=True, text=True, check=False)


SUITE = (
    "import sys; from ropecore.cli import main; sys.exit(main(['conformance', 'cupy_stand_in_target:target', '-q']))"
)
BEYOND = """
import cupy_stand_in as stand_in
launch = stand_in.Kernel.__call__
stand_in.Kernel.__call__ = lambda kernel, grid, block, args: launch(kernel, grid, block, (*args[:3], args[3] + TOKENS, *args[4:]))
with stand_in.installed():
    import cupy, numpy, ropecore, ropecore.backends.cupy as rope
    plan = ropecore.RopeConfig(head_dim=64, base=100.0, pairing="half_split").plan()
    rope.apply(plan, cupy.asarray(numpy.ones((1, 1, 60, 64), numpy.float32)))
"""


@needs_compiler
def test_the_golden_vectors_under_sanitizers() -> None:
    done = sanitized(SUITE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d+ passed, 0 failed", done.stdout)


@needs_compiler
def test_the_sanitizers_would_tell() -> None:
    assert sanitized(BEYOND.replace("TOKENS", "0")).returncode == 0
    done = sanitized(BEYOND.replace("TOKENS", "1"))  # one token more than the arrays have

    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr


@needs_compiler
def test_the_golden_vectors_on_the_stand_in() -> None:
    report = ropecore.conformance.run(importlib.import_module("cupy_stand_in_target").target)

    assert report.clean, str(report)
    assert report.selection.cases == report.selection.of
    assert set(report.selection.variants) == {"views", "host positions", "float32"}


# ---- CuPy itself


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=SUPPORT, capture_output=True, text=True, check=False)


def devices() -> int:
    """Return how many devices CuPy sees."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    done = python("import cupy; print(cupy.cuda.runtime.getDeviceCount())")
    return int(done.stdout) if done.returncode == 0 else 0


def test_without_a_device_the_import_works_and_the_first_call_says_why() -> None:
    if devices():
        pytest.skip("there is a device")
    begin = "import ropecore, ropecore.backends.cupy as rope, ropecore.backends.cupy.target\n"
    plan = "plan = ropecore.RopeConfig(head_dim=8, base=100.0, pairing='half_split').plan()\n"

    assert python(begin + plan + "rope.RotaryEmbedding(plan)").returncode == 0
    done = python(begin + plan + "rope.cos_sin(plan, [1, 2])")
    assert done.returncode != 0
    assert "CUDARuntimeError: cudaError" in done.stderr


def test_on_a_device() -> None:
    """What the stand-in cannot show: `ropecore conformance cupy`, with CuPy itself."""
    if not devices():
        pytest.skip("CuPy sees no device")
    done = python("import sys; from ropecore.cli import main; sys.exit(main(['conformance', 'cupy', '-q']))")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_adapter_is_small_and_imports_its_own_library_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"cupy", "numpy", "ml_dtypes", "ropecore"}
    files = sorted(FOLDER.glob("*.py"))
    assert [file.name for file in files] == ["__init__.py", "kernel.py", "positions.py", "target.py"]
    for file in files:
        text = file.read_text()
        assert text.count("\n") < 300
        for node in ast.walk(ast.parse(text)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [str(node.module)]
            assert {module.split(".")[0] for module in modules} <= allowed
            assert not any(module.startswith("ropecore.backends") for module in modules)
