"""The JAX adapter as the conformance suite meets it: eager, under jit with positions traced, and under x64."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ropecore as rules  # the rules that every adapter shares

from . import Array, apply, cos_sin, rotate, shift

RopeError = rules.RopeError
capabilities = {
    "name": "ropecore.backends.jax",
    "version": f"{rules.__version__} with jax {jax.__version__}",
    "dtypes": ["float32", "bfloat16", "float16"],
    "angle": "exact",
    "table": "float32",
    "compute": "float32",
}


def asarray(values: Any, dtype: str) -> Array:
    """Return host values as a JAX array; those of 64 bits stay NumPy's without x64, where JAX has no such type."""
    values = np.asarray(values, jnp.dtype(dtype))
    return jnp.asarray(values) if jax.dtypes.canonicalize_dtype(values.dtype) == values.dtype else values


def vjp(plan: rules.RotaryPlan, x: Array, g: Array, **options: Any) -> Array:
    """Return the gradient with respect to x, for the output's gradient g."""
    return jax.vjp(lambda x: apply(plan, x, **options), x)[1](g)[0]


def ambient(name: str) -> AbstractContextManager[Any]:
    """Return a mode that must change nothing; KeyError for one that JAX does not have."""
    modes: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "x64": partial(_x64, True),
        "tf32": partial(jax.default_matmul_precision, "tensorfloat32"),
    }
    return modes[name]()


def _x64(enabled: bool) -> AbstractContextManager[Any]:
    manager = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # its name before jax 0.8
    mode: AbstractContextManager[Any] = manager(enabled)
    return mode


def _compiled(function: Callable[..., Array]) -> Any:
    """Return the function under jit, where positions and offsets are traced and the rest is static."""
    jitted = jax.jit(function, static_argnames=("plan", "tensor_format", "precision", "compute", "role"))

    @wraps(function)
    def call(*args: Any, offset: Any = None, **options: Any) -> Array:
        counted = {} if offset is None else {"offset": np.asarray(offset)}
        y: Array = jitted(*args, **counted, **options)
        return y

    return staticmethod(call)


NOT_READ = "the values of positions are not read while they are traced"
TO_SAVE_TIME = "compiled for each plan; the eager target compiles the same functions"


class _Jit:
    """The same calls, compiled for a plan, with positions and offsets traced."""

    capabilities = capabilities | {
        "dtypes": ["float32"],
        "not_applicable": dict.fromkeys(
            (
                "refusals/coordinates",
                "refusals/positions/magnitude",
                "refusals/positions/real_nan",
                "refusals/positions/real_infinite",
            ),
            NOT_READ,
        )
        | dict.fromkeys(
            (
                "attention_factor",
                "cache",
                "composition",
                "documents",
                "pairing",
                "partial",
                "scaling",
                "scores",
                "state",
            ),
            TO_SAVE_TIME,
        ),
    }

    apply, vjp = _compiled(apply), _compiled(vjp)


def _under_x64(function: Callable[..., Any]) -> Any:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        with _x64(True):
            return function(*args, **options)

    return staticmethod(call)


class _X64:
    """The same calls under x64, which gives float64; float32 under x64 is a case of the topic ambient, and in every table."""

    capabilities = capabilities | {"dtypes": ["float64"]}
    asarray, apply, cos_sin = _under_x64(asarray), _under_x64(apply), _under_x64(cos_sin)
    rotate, shift, vjp = _under_x64(rotate), _under_x64(shift), _under_x64(vjp)


variants = {"jit": _Jit, "x64": _X64}
to_numpy = np.asarray
__all__ = [
    "RopeError", "ambient", "apply", "asarray", "capabilities", "cos_sin", "rotate", "rules", "shift", "to_numpy", "variants",
    "vjp",
]  # fmt: skip
