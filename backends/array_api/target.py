"""The array-API adapter as the conformance suite meets it: on the arrays of array-api-strict, or of
NumPy without it.
"""

import importlib
import importlib.util
from typing import Any

import numpy as np

import ropecore as rules  # the rules that every adapter shares

from . import Array, apply, cos_sin, rotate, shift, to_numpy

NAMESPACE = "array_api_strict" if importlib.util.find_spec("array_api_strict") else "numpy"
_xp = importlib.import_module(NAMESPACE)

RopeError = rules.RopeError
capabilities = {
    "name": f"ropecore.backends.array_api on {NAMESPACE}",
    "version": rules.__version__,
    "dtypes": ["float32", "float64"],
    "angle": "exact",
    "table": "float32",
    "compute": "float32",
}


def asarray(values: Any, dtype: str) -> Array:
    """Return host values as an array of the namespace."""
    return _xp.asarray(np.asarray(values), dtype=getattr(_xp, dtype))


__all__ = ["RopeError", "apply", "asarray", "capabilities", "cos_sin", "rotate", "rules", "shift", "to_numpy"]
