"""The JAX adapter as the conformance suite meets it: eager, under jit, vmap, scan and shard_map,
and under x64.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

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
    """Return host values as a JAX array; those of 64 bits stay NumPy's without x64, where JAX has
    no such type.
    """
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
    """Return the function under jit, where positions and offsets are
    traced and the rest is static.
    """
    jitted = jax.jit(function, static_argnames=("plan", "tensor_format", "precision", "compute", "role"))

    @wraps(function)
    def call(*args: Any, offset: Any = None, **options: Any) -> Array:
        counted = {} if offset is None else {"offset": np.asarray(offset)}
        y: Array = jitted(*args, **counted, **options)
        return y

    return staticmethod(call)


NOT_READ = "the values of positions are not read while they are traced"
TO_SAVE_TIME = "compiled for each plan; the eager target compiles the same functions"
EAGER = (
    "attention_factor",
    "cache",
    "combinations",
    "composition",
    "documents",
    "scaling",
    "scores",
    "state",
)  # topics that are that alone
LANES = ("pairing", "partial")
OTHERS = ("ambient", "axes", "gradients", "inverse", "positions", "precision", "refusals", "rotate")


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
        | dict.fromkeys(EAGER + LANES, TO_SAVE_TIME),
    }

    apply, vjp = _compiled(apply), _compiled(vjp)


def _under_x64(function: Callable[..., Any]) -> Any:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        with _x64(True):
            return function(*args, **options)

    return staticmethod(call)


class _X64:
    """The same calls under x64, which gives float64; float32 under x64 is a case of the topic
    ambient, and in every table.
    """

    capabilities = capabilities | {"dtypes": ["float64"]}
    asarray, apply, cos_sin = _under_x64(asarray), _under_x64(apply), _under_x64(cos_sin)
    rotate, shift, vjp = _under_x64(rotate), _under_x64(shift), _under_x64(vjp)


Apply = Callable[..., Array]  # (plan, x, *, positions, tensor_format, role)
Axes = tuple[int | None, ...]  # of each argument, None where all indices share it


def _vmap(function: Callable[..., Array], axes: Axes) -> Callable[..., Array]:
    mapped: Callable[..., Array] = jax.vmap(function, axes, axes[0])
    return mapped


def _scan(function: Callable[..., Array], axes: Axes) -> Callable[..., Array]:
    def call(*arrays: Array) -> Array:
        def step(count: int, several: list[Array | None]) -> Any:
            return count + 1, function(*(a if b is None else b for a, b in zip(arrays, several, strict=True)))

        several = [None if at is None else jnp.moveaxis(a, at, 0) for a, at in zip(arrays, axes, strict=True)]
        return jnp.moveaxis(jax.lax.scan(step, 0, several)[1], 0, axes[0])

    return call


def _by_each(letter: str, mapper: Callable[[Callable[..., Array], Axes], Callable[..., Array]]) -> Apply:
    """Return apply by one call for each row b, head h or token s, which
    is a sequence of length 1.
    """

    def mapped(
        plan: rules.RotaryPlan, x: Array, *, positions: Any, tensor_format: str = "bhsd", role: str = "q"
    ) -> Array:
        columns, rows = _columns(plan, positions)
        token = letter == "s"
        axis = _token_axis(tensor_format) if token else tensor_format.index(letter)

        def one(x: Array, *columns: Array) -> Array:
            if not token:
                return _apply(plan, x, columns, tensor_format.replace(letter, ""), role)
            columns = tuple(column[..., None] for column in columns)
            return _apply(plan, jnp.expand_dims(x, axis), columns, tensor_format, role).squeeze(axis)

        along = {"b": 0 if rows else None, "h": None, "s": int(rows)}[letter]
        return mapper(one, (axis, *[along] * plan.n_axes))(x, *columns)

    return mapped


def _in_shards(
    plan: rules.RotaryPlan, x: Array, *, positions: Any, tensor_format: str = "bhsd", role: str = "q"
) -> Array:
    """Return apply by shards along the sequence, on as many devices as
    there are equal shards for.
    """
    axis, (columns, rows) = _token_axis(tensor_format), _columns(plan, positions)
    mesh = Mesh(np.array(jax.devices()[: math.gcd(jax.device_count(), x.shape[axis])]), ("shards",))
    shard_map = jax.shard_map if hasattr(jax, "shard_map") else _old_shard_map()
    along, of_columns = PartitionSpec(*[None] * axis, "shards"), PartitionSpec(*[None] * rows, "shards")
    call = lambda x, *columns: _apply(plan, x, columns, tensor_format, role)
    y: Array = shard_map(call, mesh=mesh, in_specs=(along, *[of_columns] * plan.n_axes), out_specs=along)(x, *columns)
    return y


def _old_shard_map() -> Any:
    from jax.experimental.shard_map import shard_map  # its place before jax 0.6

    return shard_map


def _token_axis(tensor_format: str) -> int:
    """Return where the tokens are: s, or t where documents are packed."""
    return tensor_format.index("s" if "s" in tensor_format else "t")


def _columns(plan: rules.RotaryPlan, positions: Any) -> tuple[list[Array], bool]:
    """Return the positions on each axis, and whether they have rows; one row is that of all."""
    columns = [jnp.asarray(column) for column in (positions if plan.n_axes > 1 else [positions])]
    columns = [column[0] if column.ndim == 2 and len(column) == 1 else column for column in columns]
    return columns, columns[0].ndim == 2


def _apply(plan: rules.RotaryPlan, x: Array, columns: Sequence[Array], tensor_format: str, role: str) -> Array:
    positions = columns[0] if plan.n_axes == 1 else list(columns)
    y: Array = apply(plan, x, positions=positions, tensor_format=tensor_format, role=role)
    return y


def _transformed(function: Apply, not_applicable: Mapping[str, str] | None = None) -> Any:
    """Return the target of a function that is apply, transformed, for the topics of lanes."""
    left_out = dict.fromkeys(EAGER + OTHERS, TO_SAVE_TIME) | dict(not_applicable or {})
    declared = {"dtypes": ["float32"], "not_applicable": left_out}
    return SimpleNamespace(capabilities=capabilities | declared, apply=function)


def _static(function: Apply) -> Apply:
    jitted: Apply = jax.jit(function, static_argnames=("plan", "tensor_format", "role"))
    return jitted


variants = {
    "jit": _Jit,
    "x64": _X64,
    "vmap_b": _transformed(_by_each("b", _vmap), {"mistakes/tokens/thd": "packed documents have no batch"}),
    **{f"vmap_{letter}": _transformed(_by_each(letter, _vmap)) for letter in "hs"},
    "scan": _transformed(_static(_by_each("s", _scan))),
    "shard_map": _transformed(_static(_in_shards)),
}
to_numpy = np.asarray
__all__ = [
    "RopeError", "ambient", "apply", "asarray", "capabilities", "cos_sin", "rotate", "rules", "shift", "to_numpy", "variants",
    "vjp",
]  # fmt: skip
