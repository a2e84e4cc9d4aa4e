"""Adapters are thin and alike: few lines of code, imports of ropecore and their own library alone,
one public front.
"""

import ast
import copy
import importlib
import importlib.util
import inspect
import io
import pickle
import pydoc
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wrong_calls
from paths import ROOT

import ropecore.conformance.target
from ropecore import RopeConfig
from ropecore.backends import LIBRARIES

BACKENDS = ROOT / "backends"
# modules of torch that are no glue: autograd's function, operations in blocks, q and k on raw
# memory; and other people's models
KERNEL_MODULES = {"torch": {"rotation", "tiled", "fused", "replace_rotary"}}
ADAPTERS = sorted(LIBRARIES)
LIMIT = 300  # lines of code of an adapter; that of cupy holds its launches, too
LIMITS = {"torch": 425}  # compilers, DTensors, forked processes and autograd's rules for memory come on top


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
    folders = {path.parent.name for path in BACKENDS.glob("[!_]*/__init__.py")}

    assert set(ADAPTERS) == folders


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_stays_small(name: str) -> None:
    lines = {path.stem: lines_of_code(path.read_text()) for path in modules(name)}
    kernels = KERNEL_MODULES.get(name, set())

    assert kernels <= set(lines)
    assert 0 < sum(count for module, count in lines.items() if module not in kernels) <= LIMITS.get(name, LIMIT)
    assert max(lines.values()) <= LIMIT


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_imports_ropecore_and_its_own_library(name: str) -> None:
    allowed = {"ropecore", "numpy", "ml_dtypes"} | {LIBRARIES[name]} | set(sys.stdlib_module_names)
    for path in modules(name):
        assert imported(path.read_text()) <= allowed, path.name


NEEDLESS = {
    *("cupy", "jax", "matplotlib", "numba", "torch", "torch._dynamo", "transformers"),
    *("ropecore.conformance", "ropecore.read", "ropecore.weights"),
}


def loaded_by(module: str, library: str) -> set[str]:
    """The modules that importing one loads in a new process, where its
    library is loaded already.
    """
    code = f"import sys, {library}; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_loads_what_its_calls_need(name: str) -> None:
    """Compilers, readers, plots and kernels are loaded by the calls that use them."""
    adapter(name)
    loaded = loaded_by(f"ropecore.backends.{name}", LIBRARIES[name])

    assert f"ropecore.backends.{name}" in loaded
    assert not loaded & NEEDLESS


def test_what_a_module_loads_is_seen() -> None:
    assert loaded_by("ropecore.read", "numpy") & NEEDLESS == {"ropecore.read"}


def test_lines_are_counted() -> None:
    assert (
        lines_of_code(
            '"""Doc."""\n\nimport os  # why\n\n\ndef f():\n    """Doc\n    more."""\n    # no\n    return (\n        1\n    )\n'
        )
        == 5
    )


# ---- the public front


def adapter(name: str) -> Any:
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{name} is not installed")
    return importlib.import_module(f"ropecore.backends.{name}")


@pytest.mark.parametrize("name", ADAPTERS)
def test_signatures_and_help_are_those_of_every_adapter(name: str) -> None:
    rope, numpy_rope = adapter(name), adapter("numpy")
    public = {"RotaryEmbedding", "apply", "cos_sin", "rotate", "shift"}

    assert public <= set(rope.__all__) <= public | {"apply_", "replace_rotary"}
    for function in public - {"RotaryEmbedding"} | {"apply_"} & set(rope.__all__):
        parameters = dict(inspect.signature(getattr(rope, function)).parameters)
        wanted = dict(inspect.signature(getattr(numpy_rope, function)).parameters)
        if function == "rotate" and "apply_" not in rope.__all__:
            del wanted["out"]  # arrays that cannot be written
        assert [(each.name, each.kind, each.default) for each in parameters.values()] == [
            (each.name, each.kind, each.default) for each in wanted.values()
        ]
        assert "R-2." in inspect.getdoc(getattr(rope, function)) or function == "shift"
        assert re.search(rf"{function}\(\s*plan", pydoc.plain(pydoc.render_doc(rope)))  # 3.13 breaks the line


@pytest.mark.parametrize("name", ADAPTERS)
def test_functions_and_modules_can_be_copied_and_pickled(name: str) -> None:
    rope = adapter(name)
    emb = rope.RotaryEmbedding(wrong_calls.PLAN, "bshd")
    for again in (copy.deepcopy(emb), pickle.loads(pickle.dumps(emb))):
        assert (again.plan, again.tensor_format, again.precision) == (wrong_calls.PLAN, "bshd", "exact")
    for again in (copy.deepcopy(rope.apply), pickle.loads(pickle.dumps(rope.apply))):
        assert inspect.signature(again) == inspect.signature(rope.apply)


def test_there_are_forty_wrong_calls_of_each_adapter() -> None:
    assert len(wrong_calls.WRONG) >= 40


@pytest.mark.parametrize("name", ["numpy", "array_api"])
def test_one_token_has_an_integer_for_its_position(name: str) -> None:
    """The others are held to it by their own tests."""
    rope, x = adapter(name), np.random.default_rng(0).normal(size=(1, 2, 1, 8)).astype(np.float32)
    for options in ({}, {"k_positions": 9}):
        q, k = rope.apply(wrong_calls.PLAN, x, x, positions=70_000, **options)

        assert np.array_equal(q, rope.apply(wrong_calls.PLAN, x, positions=[70_000]))
        assert np.array_equal(k, rope.apply(wrong_calls.PLAN, x, positions=[options.get("k_positions", 70_000)]))


def test_a_shift_is_not_taken_for_an_offset() -> None:
    """Tables of a shift are not kept: with A = 1 and the same lanes, its plan is that of the
    offset.
    """
    rope, plan = adapter("numpy"), RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 8)).astype(np.float32)
    rope.apply(plan, x, offset=[5])

    assert np.array_equal(rope.shift(plan, x, [5]), rope.apply(plan, x, positions=[5] * 4))


def test_backends_are_the_folders_with_a_target() -> None:
    assert ropecore.conformance.target.backends() == ADAPTERS
