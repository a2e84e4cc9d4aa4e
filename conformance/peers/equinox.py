"""equinox: a module for one head, which counts its positions from 0."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .common import config_of, declared, only


class Equinox:
    """eqx.nn.RotaryPositionalEmbedding(embedding_size, theta), mapped over batch and heads."""

    capabilities = declared("equinox", "half_split offset", dtypes=("float32", "bfloat16"), table="input", compute="input")  # fmt: skip
    to_numpy = staticmethod(np.asarray)

    @staticmethod
    def asarray(values: npt.NDArray[Any], dtype: str) -> Any:
        """Return host values as JAX's array."""
        return jnp.asarray(values, dtype if values.dtype.kind == "f" else "int32")

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate each head; the positions must be those that it counts."""
        config = config_of(case, "half_split")
        counted = np.arange(x.shape[2])
        only(bool(np.array_equal(np.broadcast_to(positions, (len(x), x.shape[2])), np.broadcast_to(counted, (len(x), x.shape[2])))), "it counts positions from 0")  # fmt: skip
        rope = eqx.nn.RotaryPositionalEmbedding(config["head_dim"], theta=config["base"], dtype=x.dtype)
        return jax.vmap(jax.vmap(rope))(x)

    def vjp(self, plan: Any, x: Any, g: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Return the gradient for x, by JAX."""
        return jax.vjp(lambda leaf: self.apply(plan, leaf, positions, case=case), x)[1](g)[0]


target = Equinox()
