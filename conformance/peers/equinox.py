"""equinox: a module for one head, which counts its positions from 0."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from equinox.nn._embedding import internal_rope_embedding_cache

from ._common import Alone, config_of, declared, only

LONGEST = 4096
alone = Alone(internal_rope_embedding_cache.clear)


class Equinox:
    """eqx.nn.RotaryPositionalEmbedding(embedding_size, theta), mapped over batch and heads."""

    capabilities = declared("equinox", "half_split batched_positions offset")
    to_numpy = staticmethod(np.asarray)

    @staticmethod
    def asarray(values: npt.NDArray[Any], dtype: str) -> Any:
        """Return host values as JAX's array."""
        return jnp.asarray(values, dtype if values.dtype.kind == "f" else "int32")

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate each head; it counts positions from 0, so tokens are put in their places in a
        longer sequence.
        """
        alone(case)
        config = config_of(case, "half_split")
        length = int(positions.max()) + 1
        only(length <= LONGEST, "it counts positions from 0, and this one is far")
        rope = eqx.nn.RotaryPositionalEmbedding(config["head_dim"], theta=config["base"], dtype=x.dtype)
        only(all(len(set(row)) == len(row) for row in np.atleast_2d(positions).tolist()), "it has one token a position")
        rows = jnp.broadcast_to(positions, (x.shape[0], x.shape[2]))

        def head(x: Any, places: Any) -> Any:
            return rope(jnp.zeros((length, x.shape[-1]), x.dtype).at[places].set(x))[places]

        return jax.vmap(jax.vmap(head, in_axes=(0, None)))(x, rows)

    def vjp(self, plan: Any, x: Any, g: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Return the gradient for x, by JAX."""
        return jax.vjp(lambda leaf: self.apply(plan, leaf, positions, case=case), x)[1](g)[0]


target = Equinox()
