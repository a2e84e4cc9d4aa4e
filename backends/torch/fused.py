"""The one-pass kernels for eager tensors on a CPU; what they cannot take is left to torch's
operations.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ropecore.adapter.call import OMITTED, Call
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.positions import LARGEST_POSITION
from ropecore.precision import signed_log_magnitude
from ropecore.tensor_format import check_pair, overlaps_itself

from .. import _kernels
from .._kernels.huge_pages import ask_for_huge_pages
from .tracing import recording

LARGE = 1 << 22  # bytes
_KINDS = Tensor, torch.nn.Parameter
_FORMS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


def new_like(x: Tensor) -> Tensor:
    """Return a tensor for the output of a call on x, a dense tensor of the host's memory."""
    return _in_huge_pages(torch.empty_like(x))


def new(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor of the host's memory."""
    return _in_huge_pages(torch.empty(shape, dtype=dtype, device="cpu"))


def _in_huge_pages(y: Tensor) -> Tensor:
    if y.nbytes >= LARGE:
        ask_for_huge_pages(y.data_ptr(), y.nbytes)
    return y


def tables_fast(plan: RotaryPlan, columns: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return float32 cos and sin of the exact class, without A, or None without the kernels.  Rule
    R-10.2.

    columns: int64 positions on the host that are in range, one tensor an axis; real axes are left
    to torch's operations.
    """
    if any(plan.real_axes) or not columns[0].numel() or not _kernels.available():
        return None
    positions = columns[0].contiguous() if len(columns) == 1 else torch.stack(list(columns))
    cos, sin = (new((*columns[0].shape, plan.n_pairs), torch.float32) for _ in range(2))
    at = [tensor.data_ptr() for tensor in (positions, cos, sin)]
    done = _kernels.fill(plan, at[0], columns[0].numel(), at[1], at[2], threads=torch.get_num_threads())
    return (cos, sin) if done else None


def turned_fast(
    x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str, into: Tensor | None = None
) -> Tensor | None:
    """Return x rotated by tables that broadcast against it, or None if nothing was done.  into:
    where to write it.

    reads, writes: "lanes" or "out_lanes" of the plan.  Left to torch's operations: graphs that are
    recorded, gradients that autograd must see, other devices and subclasses, and tables of another
    dtype than R-10.4 computes in.
    """
    wide = torch.float64 if x.dtype is torch.float64 else torch.float32
    if not _plain_call(x, cos, sin) or not _kernels.available() or not cos.dtype is sin.dtype is wide:
        return None
    if into is not None and not _plain(into):
        return None
    y = new_like(x) if into is None else into
    found = (_of(x), _of(y), _of(cos), _of(sin))
    if not _kernels.rotate(plan, _FORMS[x.dtype], [found], reads, writes, torch.get_num_threads()):
        return None
    if into is not None:
        torch.autograd.graph.increment_version([y])  # as an operation of torch's own would
    return y


def in_blocks(x: Tensor, *others: Tensor) -> bool:
    """Return whether torch's operations had better run on pieces of x: an eager call on a large
    tensor of the host's.
    """
    return _plain_call(x, *others) and x.nbytes >= LARGE and x.ndim > 1


def _plain_call(*tensors: Tensor) -> bool:
    """Return whether a call is eager, and all its tensors are plain."""
    return not recording() and forward_ad._current_level < 0 and all(map(_plain, tensors))


def _of(x: Tensor) -> _kernels.Tensor:
    return _kernels.Tensor(x.data_ptr(), tuple(x.shape), x.stride())


class _Recipe(NamedTuple):
    """What everything about a call but addresses and numbers decides, and that it is no wrong call.

    last_offset: the largest that leads to no position out of range.  ids: how many positions are
    given, on each axis; 0 for none.  reaches: bytes from the first element of each tensor to the
    end of its last.
    """

    job: _kernels.Job
    last_offset: int
    ids: int
    reaches: tuple[int, ...]


def apply_fast(
    plan: Any, q: Any, k: Any, positions: Any, k_positions: Any, offset: Any,
    tensor_format: Any, precision: Any, compute: Any, role: Any, in_place: bool,
) -> Any:  # fmt: skip
    """Return what `apply` returns for the calls that models make most, or None for all others,
    which may be wrong ones.

    It takes q and k of one dtype on a CPU, int64 positions there or none and one offset, exact
    angles, and no gradient. Angles are made in the kernel, a block of tokens at a time, so that
    nothing is kept or allocated but the output.
    """
    if k_positions is not None or type(offset) is not int or recording() or forward_ad._current_level >= 0:
        return None
    at = _address(q)
    alone = k is OMITTED
    k_at = 0 if alone else _address(k)
    if not at or not (alone or k_at) or not _kernels.available():
        return None
    ids = 0
    if positions is not None:
        if type(positions) is not Tensor or positions.dtype is not torch.int64 or not positions.is_cpu or offset:
            return None
        ids = 0 if positions.is_nested else _data(positions)
        if not ids:
            return None
    out: Any = q
    k_out: Any = k
    out_at, k_out_at, strides, k_strides = at, k_at, q.stride(), None if alone else k.stride()
    out_strides, k_out_strides = strides, k_strides
    if not in_place:
        out, k_out = new_like(q), None if alone else new_like(k)
        out_at, k_out_at = out.data_ptr(), 0 if alone else k_out.data_ptr()
        out_strides, k_out_strides = out.stride(), None if alone else k_out.stride()
    elif not _writeable(q):
        return None
    try:
        recipe = _recipe(
            plan, tensor_format, precision, compute, role, in_place,
            None if positions is None else positions.shape if positions.is_contiguous() else (),
            q.dtype, q.shape, strides, out_strides,
            *(() if alone else (k.dtype, k.shape, k_strides, k_out_strides)),
        )  # fmt: skip
    except TypeError:  # an argument that cannot be hashed
        return None
    if recipe is None or (positions is None and not -LARGEST_POSITION <= offset <= recipe.last_offset):
        return None
    if in_place and not alone:
        if not _writeable(k):
            return None
        if at < k_at + recipe.reaches[1] and k_at < at + recipe.reaches[0]:  # they may overlap
            return None
    if not _kernels.run(
        recipe.job, (at, out_at, 0, 0, k_at, k_out_at, 0, 0), torch.get_num_threads(), ids, recipe.ids, offset
    ):
        return None
    if in_place:
        torch.autograd.graph.increment_version(q if alone else (q, k))  # as an operation of torch's own would
    return out if alone else (out, k_out)


@lru_cache(maxsize=4096)
def _recipe(
    plan: Any, tensor_format: Any, precision: Any, compute: Any, role: Any, in_place: bool,
    ids_shape: tuple[int, ...] | None, *tensors: Any,
) -> _Recipe | None:  # fmt: skip
    """Return how to run a call, or None if it is wrong, or not one for the kernels.

    tensors: the dtype, shape, strides and the output's strides of q, and those of k if there is
    one.
    """
    layouts: list[Any] = [tensors[:4], tensors[4:]] if len(tensors) > 4 else [tensors]
    try:
        call, form = Call(plan, tensor_format, precision, compute), _FORMS.get(layouts[0][0], "")
        signed_log_magnitude(role)
        if ids_shape is None:
            call.check_positions_given()
        for dtype, shape, *_ in layouts:
            call.check_tensor("x", shape, _FORMS.get(dtype, ""))
            if ids_shape is not None:
                call.check_positions(ids_shape, shape, 0)
        if len(layouts) == 2:
            check_pair(call.letters, layouts[0][1], layouts[1][1])
    except RopeError:
        return None
    shape, length = layouts[0][1], call.length(layouts[0][1])
    if precision != "exact" or plan.log_magnitude is not None or any(plan.real_axes) or not plan.n_pairs:
        return None
    if len({dtype for dtype, *_ in layouts}) != 1 or length != call.length(layouts[-1][1]):
        return None
    if form not in ("float32", "float16", "bfloat16") or (compute == "input" and form != "float32"):
        return None
    places = (length,) if ids_shape is None else ids_shape[1:] if plan.n_axes > 1 else ids_shape
    rows = {call.letters.token_letter: places[-1], "b": places[0] if len(places) == 2 else 1}
    steps = {call.letters.token_letter: 1, "b": places[-1]}
    letters = tensor_format[:-1]
    table = _kernels.Strides(
        (*(rows.get(each, 1) for each in letters), plan.n_pairs), (*(steps.get(each, 0) for each in letters), 1)
    )
    parts = []
    for _, shape, strides, y_strides in layouts:
        if in_place and overlaps_itself(shape, strides):
            return None
        x, y = _kernels.Strides(tuple(shape), strides), _kernels.Strides(tuple(shape), y_strides)
        parts.append(_kernels.Part(x, y, table, in_place))
    job = _kernels.prepare(plan, form, tuple(parts), makes=True)
    if job is None:
        return None
    reaches = [1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) for _, shape, steps, _ in layouts]
    size = layouts[0][0].itemsize
    return _Recipe(
        job,
        LARGEST_POSITION + 1 - length,
        0 if ids_shape is None else math.prod(places),
        tuple(size * reach for reach in reaches),
    )


def _writeable(x: Tensor) -> bool:
    """Return whether torch lets x be written: an inference tensor only in that mode."""
    return bool(not x.is_inference() or torch.is_inference_mode_enabled())


def _plain(x: Any) -> bool:
    """Return whether x is a dense tensor of the host's memory that no gradient is asked of."""
    return bool(_address(x)) or (type(x) in _KINDS and x.is_cpu and x.numel() == 0)


def _address(x: Any) -> int:
    """Return the address of a dense tensor of the host's memory that no gradient is asked of and
    that is not empty, or 0.
    """
    if type(x) not in _KINDS or not x.is_cpu or x.is_nested or x.is_neg():
        return 0
    if x.requires_grad and torch.is_grad_enabled():
        return 0
    return _data(x)


def _data(x: Tensor) -> int:
    """Return the address of a tensor's memory, or 0 if it has none."""
    try:
        address: int = x.data_ptr()
    except RuntimeError:  # a sparse one, or one that stands for others, as in a batched gradient
        return 0
    return address
