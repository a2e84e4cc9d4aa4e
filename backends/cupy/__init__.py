"""The CuPy adapter: `import ropecore.backends.cupy as rope`.

One kernel makes phases, cos, sin and the rotation, on the device of x and on its current stream,
without a table.  In float32 its numbers are the NumPy adapter's, bit for bit.  Positions on a
device are not read: outside +-(2^31 - 1) they wrap, and a coordinate that is not finite, or a
magnitude out of range (R-2.4), gives NaN.  The first call compiles the kernel and uploads the
plan's frequencies, so make one before a CUDA graph is captured.  bfloat16 needs CuPy 14 and
ml_dtypes.
"""

from typing import Any

import cupy

from ropecore.adapter import Embedding, MutableAdapter, Part
from ropecore.adapter.call import FLOATS, Call
from ropecore.errors import RopeError
from ropecore.precision import numpy_dtype
from ropecore.rotation import turned_tables
from ropecore.tensor_format import check_apart

from .kernel import Source, launch, places_source, same_memory, share_memory, tables_source, write_tables
from .positions import Array, check_array, device_of, listed, places_of

__all__ = ["RotaryEmbedding", "apply", "apply_", "cos_sin", "rotate", "shift"]


class _Adapter(MutableAdapter[Array]):
    __slots__ = ()

    def check(self, call: Call, name: str, x: Any) -> Array:
        check_array(name, x)
        call.check_tensor(name, x.shape, x.dtype.name)
        return x

    def check_writeable(self, name: str, x: Array) -> None:
        check_apart(name, x.shape, [stride // x.itemsize for stride in x.strides])

    def share_memory(self, a: Array, b: Array) -> bool:
        return share_memory(a, b)

    def same_memory(self, a: Array, b: Array) -> bool:
        return same_memory(a, b)

    def tables(self, call: Call, positions: Any, role: str, dtype: str) -> tuple[Array, Array]:
        with device_of(positions):
            places, shape = listed(call.plan, positions, role)
            cos, sin = (cupy.empty((*shape, call.plan.n_pairs), numpy_dtype(dtype)) for _ in range(2))
            write_tables(places_source(call, places, role, dtype), cos, sin)
        return cos, sin

    def turn(self, call: Call, parts: list[Part], in_place: bool) -> list[Array]:
        sources = [_source(call, part) for part in parts]  # both are checked before either is turned
        return [
            launch(call, part.x, part.x if in_place else _like(part.x), source)
            for part, source in zip(parts, sources, strict=True)
        ]

    def turn_by(
        self, call: Call, x: Array, cos: Any, sin: Any, inverse: bool, transpose: bool, out: Array | None = None
    ) -> Array:
        for name, table in (("cos", cos), ("sin", sin)):
            check_array(name, table, x.device)
            if table.dtype.name not in FLOATS:
                raise RopeError(name, table.dtype.name, f"its dtype must be one of {', '.join(FLOATS)}", rule="R-12.4")
        call.check_tables(cos.shape, sin.shape, x.shape, call.plan.n_pairs)
        if out is not None:
            check_array("out", out, x.device)
        with x.device:
            dtype = call.table_dtype(x.dtype.name)
            cos, sin = (table.astype(dtype, copy=False) for table in (cos, sin))
            source = tables_source(*turned_tables(call.plan, cos, sin, inverse, transpose))
        return launch(call, x, _like(x) if out is None else out, source, backwards=inverse or transpose)


_adapter = _Adapter()
cos_sin, rotate, apply, apply_, shift = (
    _adapter.cos_sin, _adapter.rotate, _adapter.apply, _adapter.apply_, _adapter.shift,
)  # fmt: skip


class RotaryEmbedding(Embedding):
    __doc__ = Embedding.__doc__
    function = apply


def _source(call: Call, part: Part) -> Source:
    with part.x.device:
        return places_source(call, places_of(call, part), part.role, part.x.dtype.name)


def _like(x: Array) -> Array:
    with x.device:
        return cupy.empty_like(x)
