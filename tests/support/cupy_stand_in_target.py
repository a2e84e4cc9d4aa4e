"""The CuPy adapter on the stand-in, as the conformance suite meets it: `ropecore conformance
cupy_stand_in_target:target`.

Run it with tests/ on the path of modules.  With ROPECORE_SANITIZE=1 the kernel is the sanitized
host build.
"""

import importlib
from typing import Any

import cupy_stand_in

with cupy_stand_in.installed():
    target: Any = importlib.import_module("ropecore.backends.cupy.target")

__all__ = ["target"]
