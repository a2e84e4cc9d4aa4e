"""The CuPy adapter: `import ropecore.backends.cupy as rope`.

One kernel makes phases, cos, sin and the rotation, on the device of x and on its current stream, without a table.  In float32
its numbers are the NumPy adapter's, bit for bit.  Positions on a device are not read: outside +-(2^31 - 1) they wrap, and a
coordinate that is not finite, or a magnitude out of range (R-2.4), gives NaN.  The first call compiles the kernel and uploads
the plan's frequencies, so make one before a CUDA graph is captured.  bfloat16 needs CuPy 14 and ml_dtypes.
"""

from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from ropecore.call import FLOATS, OMITTED, Call, rotate_pair
from ropecore.errors import RopeError, choice
from ropecore.plan import RotaryPlan
from ropecore.rotation import turned_tables
from ropecore.tensors import check_pair, overlaps_itself

from .kernel import launch, places_source, same_memory, share_memory, tables_source, write_tables
from .places import Array, check_array, counted, device_of, given, listed


def cos_sin(
    plan: RotaryPlan, positions: Any, role: str = "q", precision: str = "exact", dtype: str = "float32"
) -> tuple[Array, Array]:
    """Return cos and sin of the angles, times A and the magnitude, of shape positions + (n_pairs,).

    positions: integers (..), or (n_axes, ..), on a device or on the host.  precision: "exact", or "float32" for
    cos(float32(p) * float32(F)).  Rules R-2.1, R-2.4, R-10.2, R-10.3.
    """
    call, wanted = Call(plan, precision=precision), float_dtype(dtype)
    with device_of(positions):
        places, shape = listed(plan, positions, role)
        cos, sin = (cupy.empty((*shape, plan.n_pairs), wanted) for _ in range(2))
        write_tables(places_source(call, places, role, dtype), cos, sin)
    return cos, sin


def rotate(
    plan: RotaryPlan,
    x: Array,
    cos: Array,
    sin: Array,
    tensor_format: str = "bhsd",
    inverse: bool = False,
    transpose: bool = False,
    compute: str = "float32",
    out: Array | None = None,
) -> Array:
    """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs); the dtype of x is kept.

    compute: "float32" rounds once, on store; "input" rounds tables and every operation to the dtype of x.
    out: where to write the result; x itself rotates in place.  Rules R-2.1, R-9.2, R-9.3, R-10.4.
    """
    call = Call(plan, tensor_format, compute=compute)
    _check_tensor(call, "x", x)
    _check_tables(call, cos, sin, x)
    y = _output("out", x, out)
    with x.device:
        dtype = call.table_dtype(x.dtype.name)
        turned = turned_tables(plan, cos.astype(dtype, copy=False), sin.astype(dtype, copy=False), inverse, transpose)
        return launch(call, x, y, tables_source(*turned), backwards=inverse or transpose)


def apply(
    plan: RotaryPlan,
    q: Array,
    k: Any = OMITTED,
    *,
    positions: Any = None,
    k_positions: Any = None,
    offset: Any = 0,
    tensor_format: str = "bhsd",
    precision: str = "exact",
    compute: str = "float32",
    role: str = "q",
) -> Any:
    """Return q, or (q, k) where k is given (even as None), rotated at their positions.

    q, k: arrays with the dimensions of tensor_format, of any number of heads.  positions: integers (s,), (b, s) or (t,), with
    (n_axes, ..) before for several axes; None is arange(s) + offset, offset an integer or one a batch row.  k_positions: those
    of k, if they differ.  role: that of a tensor given alone (it matters to xPos).  Rules R-2.1, R-7.3, R-7.4, R-10.4.
    """
    return _apply(plan, q, k, positions, k_positions, offset, tensor_format, precision, compute, role, in_place=False)


def apply_(
    plan: RotaryPlan,
    q: Array,
    k: Any = OMITTED,
    *,
    positions: Any = None,
    k_positions: Any = None,
    offset: Any = 0,
    tensor_format: str = "bhsd",
    precision: str = "exact",
    compute: str = "float32",
    role: str = "q",
) -> Any:
    """Rotate q, or q and k, in place and return them; the arguments are those of `apply`.

    Refused: arrays that overlap themselves or each other.  A refused call has changed neither.  Rule R-2.8.
    """
    return _apply(plan, q, k, positions, k_positions, offset, tensor_format, precision, compute, role, in_place=True)


def shift(
    plan: RotaryPlan,
    k: Array,
    delta: Any,
    *,
    tensor_format: str = "bhsd",
    precision: str = "exact",
    compute: str = "float32",
    role: str = "k",
) -> Array:
    """Return keys that were rotated at p as if rotated at p + delta; A is not applied again.

    delta: an integer, or one a batch row; with several axes it moves all of them.  Rule R-9.5.
    """
    call = Call(Call(plan).plan.on_written_lanes(), tensor_format, precision, compute)
    _check_tensor(call, "k", k)
    with k.device:
        places = counted(call, "delta", delta, k, 0, role)
        return launch(call, k, _output("out", k, None), places_source(call, places, role, k.dtype.name))


class RotaryEmbedding:
    """A plan with the way it is called: `emb = RotaryEmbedding(plan, "bshd"); q, k = emb(q, k, positions=ids)`."""

    def __init__(
        self, plan: RotaryPlan, tensor_format: str = "bhsd", precision: str = "exact", compute: str = "float32"
    ) -> None:
        Call(plan, tensor_format, precision, compute)  # refuses what is wrong now, and not at the first call
        self.plan, self.tensor_format, self.precision, self.compute = plan, tensor_format, precision, compute

    def __call__(self, q: Array, k: Any = OMITTED, **where: Any) -> Any:
        """Return `apply(plan, q, k, positions=.., k_positions=.., offset=..)`."""
        how = {"tensor_format": self.tensor_format, "precision": self.precision, "compute": self.compute}
        return apply(self.plan, q, k, **how, **where)


def _apply(
    plan: RotaryPlan, q: Array, k: Any, positions: Any, k_positions: Any, offset: Any,
    tensor_format: str, precision: str, compute: str, role: str, in_place: bool,
) -> Any:  # fmt: skip
    call = Call(plan, tensor_format, precision, compute)

    def one(name: str, x: Array, at: Any, role: str) -> Callable[[], Array]:
        _check_tensor(call, name, x)
        y = _output(name, x, x if in_place else None)
        with x.device:
            places = counted(call, "offset", offset, x, 1, role) if at is None else given(call, at, x, offset, role)
            source = places_source(call, places, role, x.dtype.name)
        return lambda: launch(call, x, y, source)

    turns = rotate_pair(one, q, k, positions, k_positions, role)  # both are checked before either is turned
    if not isinstance(turns, tuple):
        return turns()
    if None not in turns:
        check_pair(call.letters, q.shape, k.shape)
        if in_place and share_memory(q, k):
            raise RopeError("k", "a view of q's memory", "overlaps q", "Copy one of them, or use apply.", "R-2.8")
    return tuple(None if turn is None else turn() for turn in turns)


def _check_tensor(call: Call, name: str, x: Any) -> None:
    check_array(name, x)
    call.check_tensor(name, x.shape, x.dtype.name)


def _check_tables(call: Call, cos: Any, sin: Any, x: Array) -> None:
    for name, table in (("cos", cos), ("sin", sin)):
        check_array(name, table, x.device)
        if table.dtype.name not in FLOATS:
            raise RopeError(name, table.dtype.name, f"its dtype must be one of {', '.join(FLOATS)}", rule="R-12.4")
    call.letters.check_table(call.plan.n_pairs, cos.shape, x.shape)
    if sin.shape != cos.shape:
        raise RopeError("sin", sin.shape, f"has another shape than cos, {cos.shape}", rule="R-12.5")


def _output(name: str, x: Array, out: Any) -> Array:
    """Return the array to write to: a new one, or `out` if it has the form of x and nothing in it is met twice (R-2.8)."""
    if out is None:
        with x.device:
            return cupy.empty_like(x)
    check_array(name, out, x.device)
    if out.shape != x.shape or out.dtype != x.dtype:
        raise RopeError(name, f"{out.dtype} {out.shape}", f"must be {x.dtype} {x.shape}, as x is", rule="R-2.8")
    if overlaps_itself(out.shape, [stride // out.itemsize for stride in out.strides]):
        raise RopeError(name, out.strides, "overlaps itself (a broadcast view)", "Copy it, or use apply.", "R-2.8")
    if not same_memory(x, out) and share_memory(x, out):
        raise RopeError(name, "a view of x's memory", "overlaps x in part", "Give x itself, or another array.", "R-2.8")
    return out


def float_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of this name; bfloat16 is ml_dtypes' and needs the extra "bf16"."""
    if choice("dtype", name, FLOATS) == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)
