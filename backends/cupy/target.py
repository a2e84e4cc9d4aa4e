"""The CuPy adapter as the conformance suite meets it, on the device that is at hand."""

import importlib.util
from typing import Any, ClassVar

import cupy
import numpy as np

import ropecore as rules  # the rules that every adapter shares
from ropecore.precision import numpy_dtype

from . import apply, apply_, cos_sin, rotate, shift
from .positions import Array

BFLOAT16 = int(cupy.__version__.split(".")[0]) >= 14 and importlib.util.find_spec("ml_dtypes") is not None

RopeError = rules.RopeError
declared = {
    "name": "ropecore.backends.cupy",
    "version": rules.__version__,
    "dtypes": ["float32", "float64", "float16", *(["bfloat16"] if BFLOAT16 else [])],
    "angle": "exact",
    "table": "float32",
    "compute": "float32",
}
# Positions on a device are not read: out of range for a magnitude, or not finite, they make the
# result NaN.
UNREAD = [
    "refusals/coordinates",
    *(f"refusals/positions/{case}" for case in ("magnitude", "real_nan", "real_infinite")),
]
capabilities = {
    **declared,
    "not_applicable": dict.fromkeys(UNREAD, "positions on a device are not read; the result is NaN"),
}


def asarray(values: Any, dtype: str) -> Array:
    """Return host values as an array on the current device."""
    return cupy.asarray(np.asarray(values).astype(numpy_dtype(dtype)))


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Return a device array on the host."""
    copy: np.ndarray[Any, Any] = cupy.asnumpy(array)
    return copy


def vjp(
    plan: rules.RotaryPlan,
    x: Array,
    g: Array,
    *,
    positions: Any = None,
    offset: Any = None,
    tensor_format: str = "bhsd",
    role: str = "q",
) -> Array:
    """Return the gradient for x: CuPy has no autograd, and it is the transpose of g (R-11.1)."""
    if positions is None:
        length = x.shape[tensor_format.replace("t", "s").index("s")]
        positions = np.asarray(offset or 0)[..., None] + np.arange(length)
    dtype = "float64" if x.dtype == np.float64 else "float32"
    return rotate(plan, g, *cos_sin(plan, positions, role, dtype=dtype), tensor_format, transpose=True)


class _Views:
    """The same calls on views that are not contiguous: every second element of a larger,
    Fortran-ordered array.
    """

    @staticmethod
    def apply(plan: rules.RotaryPlan, x: Array, **options: Any) -> Any:
        larger = cupy.zeros([2 * size for size in x.shape], x.dtype, order="F")
        view = larger[tuple(slice(None, None, 2) for _ in x.shape)]
        view[...] = x
        return apply(plan, view, **options)


class _Host:
    """The same calls with positions on the host: they are read, and refused where they must be."""

    capabilities: ClassVar = declared

    @staticmethod
    def apply(plan: rules.RotaryPlan, x: Array, *, positions: Any = None, **options: Any) -> Any:
        several = isinstance(positions, list)  # one array an axis
        host = [cupy.asnumpy(axis) for axis in positions] if several else positions
        return apply(plan, x, positions=host if several or host is None else cupy.asnumpy(host), **options)


class _Float32:
    """The float32 class, by the same functions."""

    capabilities: ClassVar = {**capabilities, "angle": "float32"}
    apply = staticmethod(apply)
    cos_sin = staticmethod(cos_sin)
    rotate = staticmethod(rotate)


variants = {"views": _Views, "host positions": _Host, "float32": _Float32}
__all__ = [
    "RopeError", "apply", "apply_", "asarray", "capabilities", "cos_sin", "rotate", "rules", "shift", "to_numpy", "variants", "vjp",
]  # fmt: skip
