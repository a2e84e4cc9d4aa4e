"""ONNX's RotaryEmbedding (opset 23) by onnxruntime's CPU kernel; the caller's tables."""

from functools import lru_cache
from typing import Any

from onnxruntime import InferenceSession, SessionOptions

from ._common import declared
from .onnx import FEATURES, TABLES, Onnx


@lru_cache(maxsize=256)
def _session(made: bytes) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(made, options, providers=["CPUExecutionProvider"])


class OnnxRuntime(Onnx):
    """The same model, run by onnxruntime."""

    capabilities = declared(
        "onnxruntime", FEATURES, dtypes=("float32", "float16"), table="input", compute="input", **TABLES
    )

    def evaluate(self, made: bytes, given: dict[str, Any]) -> Any:
        """Return what a session gives."""
        return _session(made).run(None, given)[0]


target = OnnxRuntime()
