"""keras-hub: one layer for each config, on Keras' torch backend."""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

from keras_hub.layers import RotaryEmbedding

from ._common import TORCH_DTYPES, Torch, config_of, declared, only, scaling_of

RULES = ("linear", "dynamic_ntk", "yarn")
NAMES = {
    "factor": "scaling_factor",
    "original_max_position": "original_max_position_embeddings",
    "rule": "rope_type",
    "dynamic_ntk": "dynamic",
}


@lru_cache(maxsize=64)
def _layer(base: float, dtype: str, options: tuple[tuple[str, Any], ...]) -> RotaryEmbedding:
    return RotaryEmbedding(max_wavelength=base, sequence_axis=2, dtype=dtype, **dict(options))


class KerasHub(Torch):
    """RotaryEmbedding(..)(x, positions=positions)."""

    capabilities = declared(
        "keras-hub",
        "half_split attention_factor batched_positions offset negative_positions large_positions",
        dtypes=TORCH_DTYPES,
        table="input",
        compute="input",
    )

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate with the layer of the config; its length-dependent rule is static."""
        config = config_of(case, "half_split", "frequency_dim", rules=RULES)
        scaling = {key: value for key, value in scaling_of(config, RULES).items() if value is not None}
        only(not {"mscale", "mscale_all_dim", "attention_factor"} & set(scaling), "its yarn has no attention factor")
        if scaling.get("rule") == "dynamic_ntk":
            del scaling["original_max_position"]
        options = {NAMES.get(key, key): NAMES.get(str(value), value) for key, value in scaling.items()}
        if "frequency_dim" in config:
            options["denominator_dim"] = config["frequency_dim"]
        dtype = str(x.dtype).removeprefix("torch.")
        return _layer(config["base"], dtype, tuple(sorted(options.items())))(x, positions=positions)


target = KerasHub()
