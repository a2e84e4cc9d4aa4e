"""Adapters are thin: few lines of code, and imports of ropecore and their own library alone."""

import ast
import io
import sys
import tokenize
from pathlib import Path

import pytest

BACKENDS = Path(__file__).parent.parent / "backends"
KERNELS = {"fused"}  # what this holds is kernels, and not an adapter
WITH_KERNELS = {"cupy", "torch"}  # CUDA; autograd, compiled and sharded calls, and the fused kernels on raw memory
ADAPTERS = sorted(
    path.name for path in BACKENDS.iterdir() if (path / "__init__.py").exists() and path.name not in KERNELS
)
OWN = {"array_api": {"array_api_compat"}, "cupy": {"cupy"}, "jax": {"jax"}, "numpy": set(), "torch": {"torch"}}
LIMIT = 300  # lines of code: of an adapter, and of each module of those with kernels


def modules(name: str) -> list[Path]:
    """The adapter's modules; target.py speaks to the conformance suite and no user loads it."""
    return [path for path in sorted((BACKENDS / name).glob("*.py")) if path.name != "target.py"]


def lines_of_code(source: str) -> int:
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    tree = ast.parse(source)
    holders = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    strings = [
        node.body[0] for node in ast.walk(tree) if isinstance(node, holders) and ast.get_docstring(node) is not None
    ]
    documented = {line for node in strings for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    held = {line for t in tokens if t.type not in ignored for line in range(t.start[0], t.end[0] + 1)}
    return len(held - documented)


def imported(source: str) -> set[str]:
    """The top-level names of what a module imports, relative imports left out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def test_every_adapter_is_looked_at() -> None:
    assert set(ADAPTERS) == set(OWN)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_stays_small(name: str) -> None:
    lines = [lines_of_code(path.read_text()) for path in modules(name)]

    assert 0 < (max(lines) if name in WITH_KERNELS else sum(lines)) <= LIMIT


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_imports_ropecore_and_its_own_library(name: str) -> None:
    allowed = {"ropecore", "numpy", "ml_dtypes"} | OWN[name] | set(sys.stdlib_module_names)
    for path in modules(name):
        assert imported(path.read_text()) <= allowed, path.name


def test_lines_are_counted() -> None:
    assert (
        lines_of_code(
            '"""Doc."""\n\nimport os  # why\n\n\ndef f():\n    """Doc\n    more."""\n    # no\n    return (\n        1\n    )\n'
        )
        == 5
    )
