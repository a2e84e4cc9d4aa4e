"""Something for a model to run on: inputs of the shapes that its forward asks for, by the names of
its arguments.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

TOKENS = 32


class Cannot(Exception):
    """Nothing is known to give for an argument."""


def inputs(model: Any, positions: Any = None) -> Iterator[dict[str, Any]]:
    """Yield inputs that a model's forward may take, the likeliest first."""
    parameters = inspect.signature(model.forward).parameters
    for grid in (8, 4):
        try:
            yield _inputs(model, parameters, grid, positions)
        except Cannot:
            return


def _inputs(model: Any, parameters: Mapping[str, Any], side: int, positions: Any) -> dict[str, Any]:
    config = model.config
    given: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = _value(name, config, model, side, positions, parameters)
        if value is not None:
            given[name] = value
        elif parameter.default is parameter.empty:
            raise Cannot(name)
    return given


def _value(name: str, config: Any, model: Any, side: int, positions: Any, parameters: Mapping[str, Any]) -> Any:
    flat = "cu_seqlens" in parameters or any("grid" in each for each in parameters)
    match name:
        case "input_ids" | "decoder_input_ids":
            return _tokens(config, name)
        case "inputs_embeds" if "input_ids" not in parameters:
            return torch.zeros(1, TOKENS, _width(config))
        case "position_ids":
            return positions
        case "hidden_states" if flat:
            return torch.zeros(side * side, _patch(config))
        case "hidden_states" | "hidden_state" | "x" | "inputs" | "embeddings":
            return torch.zeros(1, TOKENS, _width(config))
        case "pixel_values" if flat:
            return torch.zeros(side * side, _patch(config))
        case "pixel_values" | "pixel_values_videos":
            return _image(config)
        case "grid_thw" | "image_grid_thw":
            return torch.tensor([[1, side, side]])
        case "cu_seqlens":
            return torch.tensor([0, side * side], dtype=torch.int32)
        case "input_features" | "input_values" | "audio_values":
            return _sound(config, name)
        case "use_cache":
            return False
        case "return_dict":
            return True
    return None


def _tokens(config: Any, name: str) -> Any:
    size = int(getattr(config, "vocab_size", 64) or 64)
    ids = torch.arange(3, 3 + TOKENS) % max(2, min(size, 64))
    return ids[None]


def _width(config: Any) -> int:
    for name in ("hidden_size", "d_model", "embed_dim", "n_embd", "dim"):
        if isinstance(getattr(config, name, None), int):
            return int(getattr(config, name))
    raise Cannot("hidden_states")


def _patch(config: Any) -> int:
    size = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    channels = (
        getattr(config, "in_channels", None) or getattr(config, "num_channels", None) or getattr(config, "in_chans", 3)
    )
    frames = getattr(config, "temporal_patch_size", 1) or 1
    return int((channels or 3) * frames * size * size)


def _image(config: Any) -> Any:
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    if size is None:
        size = 8 * (config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0])
    high, wide = (size, size) if isinstance(size, int) else size[:2]
    channels = getattr(config, "num_channels", None) or getattr(config, "in_channels", None) or 3
    return torch.zeros(1, channels, high, wide)


def _sound(config: Any, name: str) -> Any:
    if name == "input_values":
        return torch.zeros(1, 16000)
    bins = next(
        (
            getattr(config, key)
            for key in ("num_mel_bins", "feature_size", "feature_projection_input_dim")
            if getattr(config, key, None)
        ),
        80,
    )
    return torch.zeros(1, 128, bins)


def layer(module: Any, tables: Any, positions: Any) -> dict[str, Any]:
    """Return the arguments of one attention, by their names."""
    parameters = inspect.signature(module.forward).parameters
    width = next((each.in_features for each in module.modules() if isinstance(each, torch.nn.Linear)), 0)
    flat = "cu_seqlens" in parameters
    given: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in ("hidden_states", "x", "hidden_state", "query", "key", "value"):
            given[name] = torch.zeros(TOKENS, width) if flat else torch.zeros(1, TOKENS, width)
        elif re.search("rotary|rope|position_emb|freqs|pos_emb", name):
            given[name] = tables
        elif name == "position_ids":
            given[name] = positions
        elif name == "cu_seqlens":
            given[name] = torch.tensor([0, TOKENS], dtype=torch.int32)
        elif name == "max_seqlen":
            given[name] = TOKENS
        elif parameter.default is parameter.empty:
            given[name] = None
    return given
