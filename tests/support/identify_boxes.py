"""Rotations of public libraries as black boxes box(x, positions) -> y, for `ropecore identify`: how
each is wrapped.

x is NumPy, (1, h, s, head_dim) in float32; positions are int64, (s,).  Each calls only what its
library documents.
"""

import functools
from typing import Any

import numpy as np

LENGTH = 4096  # of tables that are made before


@functools.cache
def _llama(head_dim: int) -> Any:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rope = {"rope_type": "default", "rope_theta": 500_000.0}
    return LlamaRotaryEmbedding(LlamaConfig(hidden_size=2 * head_dim, num_attention_heads=2, rope_parameters=rope))


def transformers_llama(x: Any, positions: Any, dtype: str = "float32") -> Any:
    """transformers: cos and sin in the dtype of the hidden states, two halves."""
    import torch
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q = torch.from_numpy(x)
    cos, sin = _llama(x.shape[-1])(q.to(getattr(torch, dtype)), torch.from_numpy(positions)[None])
    return apply_rotary_pos_emb(q, q, cos.to(q.dtype), sin.to(q.dtype))[0].numpy()


def transformers_llama_bfloat16(x: Any, positions: Any) -> Any:
    """The same with tables in bfloat16, as in a model of that dtype."""
    return transformers_llama(x, positions, "bfloat16")


def transformers_gptj(x: Any, positions: Any) -> Any:
    """transformers' GPT-J: the first half of the lanes, in neighbours, from a table; heads after
    the sequence.
    """
    import torch
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb, create_sinusoidal_positions

    rotary_dim = x.shape[-1] // 2
    rows = torch.from_numpy(positions)[:, None].repeat(
        1, rotary_dim
    )  # gathered, as the model does: no row before the first
    table = torch.gather(create_sinusoidal_positions(LENGTH, rotary_dim), 0, rows)[None]
    sin, cos = torch.split(table, rotary_dim // 2, dim=-1)
    q = torch.from_numpy(x).transpose(1, 2)
    turned = apply_rotary_pos_emb(q[..., :rotary_dim], sin, cos)
    return torch.cat([turned, q[..., rotary_dim:]], dim=-1).transpose(1, 2).numpy()


def lucidrains(x: Any, positions: Any, share: int = 1) -> Any:
    """rotary-embedding-torch: it counts positions itself, from an
    offset, so each token is a call.
    """
    import torch
    from rotary_embedding_torch import RotaryEmbedding

    rotary = RotaryEmbedding(dim=x.shape[-1] // share, cache_if_possible=False)
    q = torch.from_numpy(x)
    tokens = [rotary.rotate_queries_or_keys(q[:, :, i : i + 1], offset=int(p)) for i, p in enumerate(positions)]
    return torch.cat(tokens, dim=2).detach().numpy()


def lucidrains_partial(x: Any, positions: Any) -> Any:
    """The same for half of the lanes."""
    return lucidrains(x, positions, 2)


def mlx(x: Any, positions: Any, traditional: bool = False) -> Any:
    """MLX's fused kernel, which counts from an offset as well."""
    import mlx.core as mx

    how = {"traditional": traditional, "base": 10_000.0, "scale": 0.25}
    tokens = [mx.array(x[:, :, i : i + 1]) for i in range(x.shape[2])]
    turned = [mx.fast.rope(q, x.shape[-1], offset=int(p), **how) for q, p in zip(tokens, positions, strict=True)]
    return np.asarray(mx.concatenate(turned, axis=2))


def mlx_traditional(x: Any, positions: Any) -> Any:
    """The same in neighbours."""
    return mlx(x, positions, traditional=True)


def x_transformers(x: Any, positions: Any) -> Any:
    """x-transformers, which rotates half of the lanes by default."""
    import torch
    from x_transformers.x_transformers import RotaryEmbedding, apply_rotary_pos_emb

    freqs, scale = RotaryEmbedding(x.shape[-1] // 2)(torch.from_numpy(positions))
    return apply_rotary_pos_emb(torch.from_numpy(x), freqs, scale).detach().numpy()


def x_transformers_xpos(x: Any, positions: Any) -> Any:
    """Its xPos, whose centre is half the largest position of the call."""
    import torch
    from x_transformers.x_transformers import RotaryEmbedding, apply_rotary_pos_emb

    freqs, scale = RotaryEmbedding(x.shape[-1], use_xpos=True)(torch.from_numpy(positions))
    return apply_rotary_pos_emb(torch.from_numpy(x), freqs, scale).detach().numpy()


@functools.cache
def _onnx_session(head_dim: int) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper

    names = {"x": ["b", "h", "s", head_dim], "cos": [LENGTH, head_dim // 2], "sin": [LENGTH, head_dim // 2]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in names.items()]
    inputs.append(helper.make_tensor_value_info("positions", TensorProto.INT64, ["b", "s"]))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, names["x"])
    node = helper.make_node("RotaryEmbedding", ["x", "positions", "cos", "sin"], ["y"], domain="com.microsoft")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "rope", inputs, [output]), opset_imports=imports, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it logs each position that it refuses
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnxruntime_rotary(x: Any, positions: Any) -> Any:
    """onnxruntime's operator, with caches that were made in float64 and rounded once."""
    angle = np.arange(LENGTH)[:, None] * 10_000.0 ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    caches = {"cos": np.cos(angle).astype(np.float32), "sin": np.sin(angle).astype(np.float32)}
    rows = np.broadcast_to(positions, (len(x), len(positions)))
    return _onnx_session(x.shape[-1]).run(None, {"x": x, "positions": rows, **caches})[0]
