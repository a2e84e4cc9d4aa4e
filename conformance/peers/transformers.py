"""transformers: each model family has its own rotary module and its own
function that applies it.
"""

import importlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from transformers.utils import logging

from ._common import TORCH_DTYPES, Alone, Torch, config_of, declared, only, scaling_of

HALF = "half_split batched_positions offset negative_positions large_positions attention_factor"
ILV = HALF.replace("half_split", "interleaved")
SCALING = ("linear", "dynamic_ntk", "yarn", "longrope", "llama3", "proportional")
logging.set_verbosity_error()
NAMES = {  # of ropecore, and of rope_parameters
    "rule": "rope_type",
    "dynamic_ntk": "dynamic",
    "original_max_position": "original_max_position_embeddings",
}


class Family(Torch):
    """A family of models: its config, its rotary module, and the function
    that applies cos and sin.
    """

    def __init__(self, family: str, prefix: str, features: str, apply: str = "apply_rotary_pos_emb", **words: Any):
        self.package, self.function = f"transformers.models.{family}", apply
        self.classes = words.pop("classes", (f"{prefix}Config", f"{prefix}RotaryEmbedding"))
        self.order = words.pop("order", "")  # of its axes
        self.scaling = words.pop("scaling", SCALING)
        self.keys = words.pop("keys", ())
        self.pairing = words.pop("pairing", "half_split" if "half_split" in features else "interleaved")
        usual = {"dtypes": TORCH_DTYPES, "angle": "float32", "table": "input", "compute": "input"}
        self.capabilities = declared("transformers", features, **{**usual, **words})

    def rotary(self, config: Mapping[str, Any]) -> Any:
        """Return the family's rotary module for a config of the vectors."""
        return _rotary(self.package, *self.classes, json.dumps(self.settings(config), sort_keys=True))

    def settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's config: head_dim, rope_parameters and the
        lengths that the rules need.
        """
        scaling = scaling_of(config, self.scaling)
        parameters = {NAMES.get(key, key): NAMES.get(str(value), value) for key, value in scaling.items()}
        parameters["rope_type"] = parameters["rope_type"] or "default"
        head_dim, length = config["head_dim"], scaling.get("original_max_position", 4096)
        if self.order:
            parameters["mrope_section"] = config.get("sections", [head_dim // 2, 0, 0])
        if scaling["rule"] != "proportional":
            parameters["partial_rotary_factor"] = config.get("rotary_dim", head_dim) / head_dim
        if scaling["rule"] == "dynamic_ntk":  # its length is max_position_embeddings
            del parameters["original_max_position_embeddings"]
        elif scaling["rule"] in ("yarn", "longrope"):
            length = int(length * scaling.get("factor", 1))
        parameters["rope_theta"] = config["base"]
        return {
            "hidden_size": head_dim,
            "num_attention_heads": 1,
            "head_dim": head_dim,
            "qk_rope_head_dim": head_dim,
            "max_position_embeddings": length,
            "rope_parameters": parameters,
        }

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate as the family's attention does: position_ids, the rotary module, the function."""
        alone(case)
        config = config_of(case, self.pairing, *self.keys, rules=self.scaling)
        axes = positions.ndim - (0 if plan.n_axes == 1 else 1)
        if "axes" in config:
            only(len(config["axes"]) == 3 and "sections" in config, "its axes are t, h and w, with sections")
            only(config.get("axis_order", "chunked") == self.order, f"its axes are {self.order}")
        only(config.get("out_pairing", "half_split") == "half_split", "it writes halves")
        ids = positions if axes == 2 else positions[..., None, :]
        cos, sin = self.rotary(config)(x, ids)
        modeling = importlib.import_module(f"{self.package}.modeling_{self.package.rsplit('.', 1)[1]}")
        return getattr(modeling, self.function)(x, x, cos, sin)[0]


class Llama(Family):
    """The family that has every scaling rule; its frequencies are judged too."""

    def frequencies(self, config: Mapping[str, Any], seq_len: int | None) -> tuple[Any, float]:
        """Return what ROPE_INIT_FUNCTIONS gives for a config."""
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        config = config_of(config, self.pairing, rules=self.scaling)
        rule = scaling_of(config, self.scaling)["rule"]
        only(rule != "longrope" or "factor" in config["scaling"], "its longrope takes the factor from two lengths")
        rotary = self.rotary(config)
        if rule in ("dynamic_ntk", "longrope"):
            made: tuple[Any, float] = ROPE_INIT_FUNCTIONS[rotary.rope_type](
                rotary.config, torch.device("cpu"), seq_len=seq_len
            )
            return made
        return rotary.original_inv_freq, rotary.attention_scaling


class SinusoidTable(Torch):
    """GPT-J: a table of base 10000, gathered, sin before cos, on the first rotary_dim lanes."""

    capabilities = declared(
        "transformers", ILV.replace("attention_factor", "partial").replace("negative_positions large_positions", ""),
        dtypes=("float32",), angle="float32",
    )  # fmt: skip

    def apply(self, plan: Any, x: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Rotate as GPTJAttention.forward does."""
        from transformers.models.gptj import modeling_gptj as gptj

        config = config_of(case, "interleaved", "rotary_dim")
        only(config["base"] == 10000, "GPT-J's base is 10000")
        size = config.get("rotary_dim", config["head_dim"])
        table = gptj.create_sinusoidal_positions(int(positions.max()) + 1, size)
        sin, cos = table[positions.reshape(-1, positions.shape[-1])].chunk(2, dim=-1)
        turned = gptj.apply_rotary_pos_emb(x[..., :size].transpose(1, 2), sin, cos).transpose(1, 2)
        return torch.cat([turned, x[..., size:]], dim=-1)


@lru_cache(maxsize=64)
def _rotary(package: str, config: str, rotary: str, settings: str) -> Any:
    """Return a rotary module, the same for the same settings: models keep theirs."""
    name = package.rsplit(".", 1)[1]
    made = getattr(importlib.import_module(f"{package}.configuration_{name}"), config)(**json.loads(settings))
    return getattr(importlib.import_module(f"{package}.modeling_{name}"), rotary)(made)


alone = Alone(_rotary.cache_clear)
llama = Llama("llama", "Llama", HALF + " partial")
gpt_neox = Family("gpt_neox", "GPTNeoX", HALF + " partial", keys=("rotary_dim",))
glm = Family("glm", "Glm", ILV + " partial", keys=("rotary_dim",))
cohere = Family("cohere", "Cohere", ILV, compute="float32")
deepseek_v3 = Family(
    "deepseek_v3",
    "DeepseekV3",
    HALF.replace("half_split", "general_lanes"),
    apply="apply_rotary_pos_emb_interleave",
    keys=("out_pairing",),
    pairing="interleaved",
)
qwen2_vl = Family(
    "qwen2_vl",
    "",
    HALF + " axes",
    keys=("axes", "sections", "axis_order"),
    order="chunked",
    classes=("Qwen2VLTextConfig", "Qwen2VLRotaryEmbedding"),
)
qwen3_vl = Family(
    "qwen3_vl",
    "",
    HALF + " axes",
    keys=("axes", "sections", "axis_order"),
    order="interleaved",
    classes=("Qwen3VLTextConfig", "Qwen3VLTextRotaryEmbedding"),
)
gptj = SinusoidTable()
