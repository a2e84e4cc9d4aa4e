"""The NumPy adapter as the conformance suite meets it: the adapter's
names, and what it declares.
"""

import importlib.util
from typing import Any

import numpy as np

import ropecore as rules  # the rules that every adapter shares

from . import Array, apply, apply_, cos_sin, rotate, shift

RopeError = rules.RopeError
capabilities = {
    "name": "ropecore.backends.numpy",
    "version": rules.__version__,
    "dtypes": ["float32", "float64", "float16", *(["bfloat16"] if importlib.util.find_spec("ml_dtypes") else [])],
    "angle": "exact",
    "table": "float32",
    "compute": "float32",
}


def vjp(
    plan: rules.RotaryPlan,
    x: Array,
    g: Array,
    *,
    positions: Any = None,
    offset: Any = None,
    tensor_format: str = "bhsd",
) -> Array:
    """Return the gradient for x: NumPy has no autograd, and it is the transpose of g (R-11.1)."""
    if positions is None:
        length = x.shape[tensor_format.replace("t", "s").index("s")]
        positions = np.asarray(offset or 0)[..., None] + np.arange(length)
    dtype = "float64" if x.dtype == np.float64 else "float32"
    return rotate(plan, g, *cos_sin(plan, positions, dtype=dtype), tensor_format, transpose=True)


class _Views:
    """The same calls on views that are not contiguous: every second element of a larger,
    Fortran-ordered array.
    """

    @staticmethod
    def apply(plan: rules.RotaryPlan, x: Array, **options: Any) -> Array:
        larger = np.zeros([2 * size for size in x.shape], x.dtype, order="F")
        view = larger[tuple(slice(None, None, 2) for _ in x.shape)]
        view[...] = x
        y: Array = apply(plan, view, **options)
        return y


variants = {"views": _Views}
__all__ = ["RopeError", "apply", "apply_", "capabilities", "cos_sin", "rotate", "rules", "shift", "variants", "vjp"]
