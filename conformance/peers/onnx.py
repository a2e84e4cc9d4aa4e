"""ONNX's RotaryEmbedding (opset 23), by onnx' reference evaluator; the caller's tables."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import ropecore

from ._common import declared

FEATURES = "half_split interleaved partial attention_factor axes real_axes batched_positions offset negative_positions large_positions"
TABLES = {"angle": "exact", "reads_config": False, "own_frequencies": False}
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}


@lru_cache(maxsize=256)
def model(dtype: str, interleaved: bool, rotary_dim: int) -> bytes:
    """Return a model of the one node, X (b, h, s, d), caches (rows, R / 2), position_ids (b, s)."""
    names = ["X", "cos_cache", "sin_cache", "position_ids"]
    node = helper.make_node("RotaryEmbedding", names, ["Y"], interleaved=int(interleaved), rotary_embedding_dim=rotary_dim)  # fmt: skip
    kinds = [TYPES[dtype]] * 3 + [TensorProto.INT64]
    inputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds, strict=True)]
    graph = helper.make_graph([node], "rope", inputs, [helper.make_tensor_value_info("Y", TYPES[dtype], None)])
    opsets = [helper.make_opsetid("", 23)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return made


class Onnx:
    """The operator, called with a table of the positions that occur: token t reads row t."""

    capabilities = declared("onnx", FEATURES, dtypes=("float32", "float16"), table="input", compute="input", **TABLES)

    def apply(self, plan: Any, x: npt.NDArray[Any], positions: Any) -> Any:
        """Rotate by a model of the one node."""
        b, _, s, d = x.shape
        half = plan.rotary_dim // 2
        tables = [np.broadcast_to(a, (b, s, half)).reshape(b * s, half) for a in ropecore.cos_sin(plan, positions)]
        cos, sin = (np.ascontiguousarray(a, dtype=x.dtype) for a in tables)
        given = {"X": x, "cos_cache": cos, "sin_cache": sin, "position_ids": np.arange(b * s).reshape(b, s)}
        size = 0 if plan.rotary_dim == d else plan.rotary_dim
        return self.evaluate(model(x.dtype.name, plan.pairing == "interleaved", size), given)

    def evaluate(self, made: bytes, given: dict[str, Any]) -> Any:
        """Return what the reference evaluator gives."""
        import onnx

        return ReferenceEvaluator(onnx.load_from_string(made)).run(None, given)[0]


target = Onnx()
