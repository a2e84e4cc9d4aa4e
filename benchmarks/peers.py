"""What ropecore is compared with.  Each function imports its library, so that a peer that is
missing leaves out its cases.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Missing(Exception):
    """A peer that is not installed, with the reason."""


def library(name: str) -> Any:
    """Return an imported library, or say that it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"{name} is not installed ({error})") from error


def transformers_rotary() -> Callable[..., Any]:
    """Return transformers' apply_rotary_pos_emb(q, k, cos, sin), of its Llama."""
    library("transformers")
    function: Callable[..., Any] = library("transformers.models.llama.modeling_llama").apply_rotary_pos_emb
    return function


def vllm_rotary() -> Callable[..., Any]:
    """Return vLLM's CPU operator rotary_embedding(positions, q, k, head_size, cos_sin_cache,
    is_neox), in place.

    Its library is looked for where vllm is installed, or in the folder VLLM_LIBRARIES (an unpacked
    wheel's `vllm`).
    """
    torch = library("torch")
    spec = importlib.util.find_spec("vllm")
    folders = [os.environ.get("VLLM_LIBRARIES", ""), *(spec.submodule_search_locations or [] if spec else [])]
    names = ["_C_AVX512*.so", "_C_AVX2*.so", "_C.*.so"]
    if not torch.cpu._is_avx512_supported():
        names = names[1:]
    for path in [path for folder in folders if folder for name in names for path in Path(folder).glob(name)]:
        try:
            torch.ops.load_library(str(path))
            function: Callable[..., Any] = torch.ops._C.rotary_embedding
        except (OSError, AttributeError):
            continue
        return function
    raise Missing("vLLM's CPU library is not installed (set VLLM_LIBRARIES to the folder that holds it)")


def rotary_embedding_torch(head_dim: int) -> Any:
    """Return rotary-embedding-torch's module (interleaved pairs)."""
    return library("rotary_embedding_torch").RotaryEmbedding(dim=head_dim)


def complex_product(x: Any, turns: Any) -> Any:
    """Return x rotated as Meta's Llama does it: interleaved pairs as
    complex numbers, in float32.
    """
    torch = library("torch")
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).type_as(x)


def onnxruntime_rotary(heads: int, head_dim: int, interleaved: bool, threads: int) -> Callable[..., Any]:
    """Return onnxruntime's RotaryEmbedding(x (b, h, s, d), positions, cos, sin), an operator of its
    own domain.
    """
    onnx, runtime = library("onnx"), library("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    node = helper.make_node(
        "RotaryEmbedding", ["x", "positions", "cos", "sin"], ["y"], domain="com.microsoft", interleaved=int(interleaved)
    )
    names = {"x": (kinds.FLOAT, 4), "positions": (kinds.INT64, 2), "cos": (kinds.FLOAT, 2), "sin": (kinds.FLOAT, 2)}
    inputs = [
        helper.make_tensor_value_info(name, kind, [f"{name}{i}" for i in range(n)]) for name, (kind, n) in names.items()
    ]
    output = helper.make_tensor_value_info("y", kinds.FLOAT, ["b", "h", "s", "d"])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "g", inputs, [output]), opset_imports=opsets, ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or they would slow what runs between
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda *values: session.run(None, dict(zip(names, values, strict=True)))[0]


def naive_numpy(x: Any, cos: Any, sin: Any) -> Any:
    """Return x rotated in half-split pairs as most programs write it: x cos + rotate_half(x) sin,
    tables of head_dim.
    """
    half = x.shape[-1] // 2
    rotated: Any = x * cos + np.concatenate([-x[..., half:], x[..., :half]], axis=-1) * sin
    return rotated
