"""MLX: mx.fast.rope, which takes an offset for each row of a batch:
every token is given as a row.
"""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import numpy.typing as npt

from ._common import config_of, declared, scaling_of

FEATURES = "half_split interleaved partial batched_positions offset negative_positions large_positions"


class Mlx:
    """Arrays of MLX."""

    capabilities = declared("mlx", FEATURES, dtypes=("float32", "bfloat16", "float16"), table="input", compute="input")

    @staticmethod
    def asarray(values: npt.NDArray[Any], dtype: str) -> Any:
        """Return host values as MLX's array."""
        return mx.array(values).astype(getattr(mx, dtype))

    @staticmethod
    def to_numpy(x: Any) -> Any:
        """Return MLX's array as NumPy's, of the same bits."""
        return np.array(x.view(mx.uint16)).view(ml_dtypes.bfloat16) if x.dtype == mx.bfloat16 else np.array(x)

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate by mx.fast.rope: base, and scale for the linear rule."""
        config = config_of(case, "half_split interleaved", "rotary_dim", rules=("linear",))
        factor = scaling_of(config, ("linear",)).get("factor", 1.0)

        def rotate(x: Any, offset: Any) -> Any:
            return mx.fast.rope(
                x,
                config.get("rotary_dim", config["head_dim"]),
                traditional=config["pairing"] == "interleaved",
                base=config["base"],
                scale=1 / factor,
                offset=offset,
            )

        return by_tokens(x, positions, rotate)

    def vjp(self, plan: Any, x: Any, g: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Return the gradient for x, by MLX's own rule."""
        return mx.vjp(lambda leaf: self.apply(plan, leaf, positions, case=case), [x], [g])[1][0]


def by_tokens(x: Any, positions: Any, rotate: Any) -> Any:
    """Return rotate(tokens (b * s, h, 1, d), their offsets (b * s)), in
    x's own shape (b, h, s, d).
    """
    b, h, s, d = x.shape
    offsets = mx.broadcast_to(positions, (b, s)).reshape(-1).astype(mx.int32)
    tokens = mx.swapaxes(x, 1, 2).reshape(b * s, h, 1, d)
    return mx.swapaxes(rotate(tokens, offsets).reshape(b, s, h, d), 1, 2)


target = Mlx()
