"""llama-cpp-python: ggml's operators ggml_rope_ext and ggml_rope_multi on the CPU, called through
ctypes.
"""

import ctypes
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._common import config_of, declared, only, scaling_of

NORMAL, NEOX, MROPE, IMROPE = 0, 2, 8, 40
TYPES = {"float32": 0, "float16": 1, "int32": 26}
ARENA = 1 << 26  # bytes for the tensors of one call
RULES = ("linear", "yarn")
Pointer, Int, Float = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
SCALARS: list[Any] = [
    Float,
    Float,
    Float,
    Float,
    Float,
    Float,
]  # base, scale, ext_factor, attn_factor, beta_fast, beta_slow


class Arena(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", Pointer), ("no_alloc", ctypes.c_bool)]


@lru_cache(maxsize=1)
def _libraries() -> tuple[Any, Any]:
    """Return ggml's base and CPU libraries, with the types of what is called."""
    spec = importlib.util.find_spec("llama_cpp")
    folder = Path(next(iter(spec.submodule_search_locations or []))) / "lib" if spec else Path()
    base, cpu = (ctypes.CDLL(str(folder / f"libggml-{part}.so")) for part in ("base", "cpu"))
    base.ggml_init.argtypes = [Arena]
    base.ggml_free.argtypes = base.ggml_get_data.argtypes = base.ggml_new_graph.argtypes = [Pointer]
    base.ggml_new_tensor.argtypes = [Pointer, Int, Int, ctypes.POINTER(ctypes.c_int64)]
    base.ggml_rope_ext.argtypes = [*[Pointer] * 4, *[Int] * 3, *SCALARS]
    base.ggml_rope_multi.argtypes = [Pointer] * 4 + [Int, Int * 4, Int, Int, *SCALARS]
    base.ggml_build_forward_expand.argtypes = [Pointer, Pointer]
    for name in ("init", "get_data", "new_graph", "new_tensor", "rope_ext", "rope_multi"):
        getattr(base, f"ggml_{name}").restype = Pointer
    cpu.ggml_graph_compute_with_ctx.argtypes = [Pointer, Pointer, Int]
    return base, cpu


class Ggml:
    """ggml_rope_ext and ggml_rope_multi, one batch row at a time; (b, t, h, d) in memory."""

    capabilities = declared(
        "llama-cpp-python",
        "half_split interleaved partial attention_factor axes batched_positions offset negative_positions large_positions",
        dtypes=("float32", "float16"),
    )

    def apply(self, plan: Any, x: npt.NDArray[Any], positions: npt.NDArray[Any], *, case: Mapping[str, Any]) -> Any:
        """Rotate each batch row at its positions; M-RoPE for three axes with sections."""
        config = config_of(case, "half_split interleaved", "rotary_dim", "attention_factor", "axes", "sections", "axis_order", rules=RULES)  # fmt: skip
        axes = plan.n_axes > 1
        if axes:
            only(plan.n_axes == 3 and "sections" in config, "its operator has axes t, h, w with sections")
            only(config["pairing"] == "half_split", "its M-RoPE pairs halves")
            only(
                config.get("axis_order", "chunked") in ("chunked", "interleaved"),
                "its M-RoPE is chunked or interleaved",
            )
        places = positions[:, None] if axes and positions.ndim == 2 else positions
        shape = (3, len(x), x.shape[2]) if axes else (len(x), x.shape[2])
        rows = np.array(np.broadcast_to(places, shape), np.int32, order="C")
        y = np.empty_like(x)
        for i in range(len(x)):
            at = (
                np.append(rows[:, i], rows[0, i]) if axes else rows[i]
            )  # t again behind w, for pairs beyond the sections
            y[i] = _rotate(np.ascontiguousarray(x[i].swapaxes(0, 1)), at, config).swapaxes(0, 1)
        return y


def _mode(config: Mapping[str, Any]) -> int:
    if "axes" in config:
        return IMROPE if config.get("axis_order") == "interleaved" else MROPE
    return NEOX if config["pairing"] == "half_split" else NORMAL


def _rotate(x: npt.NDArray[Any], positions: npt.NDArray[Any], config: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Return (t, h, d) rotated: one graph of one node."""
    base, cpu = _libraries()
    context = base.ggml_init(Arena(ARENA, None, False))
    try:
        tensor, where = (_tensor(base, context, a) for a in (x, positions))
        size, scalars = config.get("rotary_dim", config["head_dim"]), _scalars(config)
        length = int((config.get("scaling") or {}).get("original_max_position", 0))
        if "axes" in config:
            sections = (Int * 4)(*config["sections"], 0)
            turned = base.ggml_rope_multi(context, tensor, where, None, size, sections, _mode(config), length, *scalars)
        else:
            turned = base.ggml_rope_ext(context, tensor, where, None, size, _mode(config), length, *scalars)
        graph = base.ggml_new_graph(context)
        base.ggml_build_forward_expand(graph, turned)
        cpu.ggml_graph_compute_with_ctx(context, graph, 1)
        data = ctypes.string_at(base.ggml_get_data(turned), x.nbytes)
        return np.frombuffer(data, x.dtype).reshape(x.shape)
    finally:
        base.ggml_free(context)


def _tensor(base: Any, context: Any, array: npt.NDArray[Any]) -> Any:
    """Return an array as ggml's tensor: its sizes run from the fastest."""
    sizes = (ctypes.c_int64 * array.ndim)(*reversed(array.shape))
    tensor = base.ggml_new_tensor(context, TYPES[array.dtype.name], array.ndim, sizes)
    ctypes.memmove(base.ggml_get_data(tensor), array.ctypes.data, array.nbytes)
    return tensor


def _scalars(config: Mapping[str, Any]) -> list[float]:
    """Return base, scale, ext_factor, attn_factor, beta_fast and beta_slow."""
    scaling = scaling_of(config, RULES)
    only(scaling.get("truncate", True), "its yarn always rounds the range")
    only(not {"mscale", "mscale_all_dim", "attention_factor"} & set(scaling), "the operator's yarn has no such option")
    yarn = scaling["rule"] == "yarn"
    factor, betas = scaling.get("factor", 1.0), (scaling.get("beta_fast", 32.0), scaling.get("beta_slow", 1.0))
    return [config["base"], 1 / factor, float(yarn), config.get("attention_factor", 1.0), *betas]


target = Ggml()
