"""Keys of the wrong type are refused wherever they stand, used or not."""

from collections.abc import Mapping
from typing import Any

from ropecore.errors import RopeError

# sizes, counts and lengths
WHOLE = (
    "head_dim", "kv_channels", "hidden_size", "n_embd", "d_model", "dim", "num_attention_heads", "num_heads", "n_head", "n_heads",
    "num_key_value_heads", "n_kv_heads", "num_kv_heads", "multi_query_group_num", "max_position_embeddings", "n_positions",
    "max_seq_len", "seq_length", "max_sequence_length", "model_max_length", "original_max_position_embeddings", "rotary_dim",
    "rope_dim", "qk_rope_head_dim", "num_hidden_layers", "n_layer", "num_layers", "n_layers", "global_head_dim", "swa_head_dim", "sliding_window", "qk_nope_head_dim", "kv_lora_rank",
)  # fmt: skip

# bases and fractions, which some families list by layer
NUMBERS = (
    "rope_theta", "rotary_emb_base", "rotary_embedding_base", "rope_base", "rope_local_base_freq", "compress_rope_theta",
    "swa_rope_theta", "local_rope_theta", "global_rope_theta", "partial_rotary_factor", "rotary_pct", "rope_pct", "rope_percent",
    "rotary_emb_fraction", "rope_ratio",
)  # fmt: skip


def check_types(config: Mapping[str, Any]) -> None:
    """Refuse keys whose values are of another type than their name says; a null is no key."""
    for key, value in config.items():
        if value is None:
            continue
        if key in WHOLE and not _all(value, _is_whole):
            raise RopeError(key, value, "must be an integer, or a list of them", rule="R-12.6")
        if key in NUMBERS and not _all(value, _is_number):
            raise RopeError(key, value, "must be a number, or a list of them", rule="R-12.6")


def check_names(config: Mapping[Any, Any]) -> None:
    """Refuse an object whose keys are not names."""
    wrong = [key for key in config if not isinstance(key, str)]
    if wrong:
        raise RopeError("source", wrong[:3], "has keys that are no names", rule="R-12.6")


def _all(value: Any, fits: Any) -> bool:
    return bool(value) and all(map(fits, value)) if isinstance(value, (list, tuple)) else bool(fits(value))


def _is_number(value: Any) -> bool:
    return not isinstance(value, (bool, str, bytes)) and hasattr(value, "__float__")


def _is_whole(value: Any) -> bool:
    return _is_number(value) and (hasattr(value, "__index__") or float(value).is_integer())
