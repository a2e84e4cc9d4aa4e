"""The one-pass kernels for eager tensors on a CPU; what they cannot take is left to torch's operations."""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ropecore.call import OMITTED, Call
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.tables import TableStore
from ropecore.tensors import check_pair, overlaps_itself

from .. import fused
from .constants import recording

SHORTEST_TABLE, LONGEST_TABLE = 1 << 9, 1 << 17  # positions
LARGE = 1 << 22  # bytes
_FORMS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


def turned_fast(
    x: Tensor, cos: Tensor, sin: Tensor, plan: RotaryPlan, reads: str, writes: str, in_place: bool = False
) -> Tensor | None:
    """Return x rotated by tables that broadcast against it, or None if nothing was done.

    reads, writes: "lanes" or "out_lanes" of the plan.  Left to torch's operations: graphs that are recorded,
    gradients that autograd must see, other devices and subclasses, and tables of another dtype than R-10.4 computes in.
    """
    wide = torch.float64 if x.dtype is torch.float64 else torch.float32
    if not _plain_call(x, cos, sin) or not fused.available() or not cos.dtype is sin.dtype is wide:
        return None
    y = x if in_place else torch.empty_like(x)
    found = (_of(x), _of(y), _of(cos), _of(sin))
    if not fused.rotate(plan, _FORMS[x.dtype], [found], reads, writes, torch.get_num_threads()):
        return None
    if in_place:
        _written([y])
    return y


def in_blocks(x: Tensor, cos: Tensor, sin: Tensor) -> bool:
    """Return whether torch's operations had better run on pieces of x: an eager call on a large tensor of the host's."""
    return _plain_call(x, cos, sin) and x.nbytes >= LARGE and x.ndim > 1


def _plain_call(*tensors: Tensor) -> bool:
    """Return whether a call is eager, and all its tensors are plain."""
    return not recording() and forward_ad._current_level < 0 and all(map(_plain, tensors))


def _of(x: Tensor) -> fused.Tensor:
    return fused.Tensor(x.data_ptr(), tuple(x.shape), x.stride())


class _Recipe(NamedTuple):
    """What shapes, strides and dtypes decide of a call.

    n_rows: rows of the table, one a position.  reaches: bytes from the first element of each tensor to the end of its last.
    """

    job: fused.Job
    n_rows: int
    reaches: tuple[int, ...]


def apply_fast(
    call: Call,
    store: TableStore,
    q: Any,
    k: Any,
    positions: Any,
    k_positions: Any,
    offset: Any,
    role: str,
    in_place: bool,
) -> Any:
    """Return what `apply` returns for the calls that models make most, or None for all others.

    It takes q and k of one dtype on a CPU, int64 positions there or none and one offset, exact angles, and no gradient.
    What is wrong with a call is for the other way to say.
    """
    given = (q,) if k is OMITTED else (q, k)
    if (
        type(offset) is not int
        or k_positions is not None
        or role not in ("q", "k")
        or not (positions is None or type(positions) is Tensor)
        or recording()
        or forward_ad._current_level >= 0
        or not all(_plain(x) for x in given)
        or not fused.available()
    ):
        return None
    results = given if in_place else tuple(torch.empty_like(x) for x in given)
    layouts = tuple((x.dtype, x.shape, x.stride(), y.stride()) for x, y in zip(given, results, strict=True))
    recipe = _recipe(call, in_place, layouts, getattr(positions, "shape", None))
    tables = None if recipe is None else _tables(call.plan, store, positions, offset, recipe.n_rows)
    if recipe is None or tables is None or (in_place and not _apart(given, recipe.reaches)):
        return None
    cos, sin, _ = tables
    addresses = [(x.data_ptr(), y.data_ptr(), cos, sin) for x, y in zip(given, results, strict=True)]
    fused.run(recipe.job, addresses, torch.get_num_threads())
    if in_place:
        _written(results)
    return results[0] if k is OMITTED else results


def _tables(
    plan: RotaryPlan, store: TableStore, positions: Any, offset: int, count: int
) -> tuple[int, int, Any] | None:
    """Return the addresses of cos and sin, (count, n_pairs) each, and what owns them; None for positions out of range.

    Those of positions that are given are made for this call and not kept.  Others are rows of a table that begins at 0, is
    shared and grows by doubling, so that a decode step makes nothing.  Beyond the longest, they are made for the call.
    """
    end = offset + count
    if positions is None and offset >= 0 and end <= LONGEST_TABLE:
        size = max(SHORTEST_TABLE, 1 << max(end - 1, 0).bit_length())
        with torch.inference_mode(False):
            owner = store.get(
                (plan, size), lambda: _made(plan, torch.arange(size), size), lambda table: table[2].nbytes
            )
        return owner[0] + 4 * plan.n_pairs * offset, owner[1] + 4 * plan.n_pairs * offset, owner
    if positions is None:
        positions = torch.arange(offset, end)  # whose range the kernel checks
    elif offset or positions.dtype is not torch.int64 or not _plain(positions) or not positions.is_contiguous():
        return None
    return _made(plan, positions, count)


def _made(plan: RotaryPlan, positions: Tensor, count: int) -> tuple[int, int, Any] | None:
    table = torch.empty(2 * count * plan.n_pairs, dtype=torch.float32, device="cpu")
    cos = table.data_ptr()
    sin = cos + 4 * count * plan.n_pairs
    threads = torch.get_num_threads()
    in_range = fused.fill(plan, positions.data_ptr(), count, cos, sin, plan.attention_factor, threads)
    return (cos, sin, table) if in_range else None


@lru_cache(maxsize=4096)
def _recipe(call: Call, in_place: bool, layouts: tuple[Any, ...], positions: tuple[int, ...] | None) -> _Recipe | None:
    """Return how to run a call, or None if it is wrong, or not one for the kernels."""
    plan, letters, dtypes = call.plan, call.letters, {dtype for dtype, *_ in layouts}
    if call.precision != "exact" or plan.log_magnitude is not None or any(plan.real_axes) or len(dtypes) != 1:
        return None
    (dtype,) = dtypes
    form = _FORMS.get(dtype, "")
    if form not in ("float32", "float16", "bfloat16") or (call.compute == "input" and form != "float32"):
        return None
    parts = []
    try:
        if positions is None:
            call.check_positions_given()
            positions = (call.length(layouts[0][1]),)
        places: tuple[Any, ...] = tuple(positions[1:] if plan.n_axes > 1 else positions)
        rows = {letters.token_letter: places[-1], "b": places[0] if len(places) == 2 else 1}
        for _, shape, strides, y_strides in layouts:
            call.check_tensor("x", shape, form)
            call.check_positions(positions, shape, 0)
            sizes = tuple(rows.get(letter, 1) for letter in call.tensor_format[:-1])
            steps = {letters.token_letter: plan.n_pairs, "b": plan.n_pairs * places[-1]}
            table = fused.Strides(
                (*sizes, plan.n_pairs), (*(steps.get(each, 0) for each in call.tensor_format[:-1]), 1)
            )
            x = fused.Strides(tuple(shape), strides)
            parts.append(fused.Part(x, fused.Strides(tuple(shape), y_strides), table, in_place))
            if in_place and overlaps_itself(shape, strides):
                return None
        if len(layouts) == 2:
            check_pair(letters, layouts[0][1], layouts[1][1])
    except (RopeError, IndexError):
        return None
    job = fused.prepare(plan, form, tuple(parts))
    if job is None:
        return None
    reaches = [1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) for _, shape, steps, _ in layouts]
    return _Recipe(job, math.prod(places), tuple(dtype.itemsize * reach for reach in reaches))


def _apart(tensors: Sequence[Tensor], reaches: Sequence[int]) -> bool:
    """Return whether tensors may be written: none is of an inference mode that is over, and they surely do not overlap."""
    if any(x.is_inference() for x in tensors) and not torch.is_inference_mode_enabled():
        return False
    spans = sorted((x.data_ptr(), reach) for x, reach in zip(tensors, reaches, strict=True))
    return all(start + reach <= after for (start, reach), (after, _) in pairwise(spans))


def _plain(x: Any) -> bool:
    """Return whether x is a dense tensor of the host's memory that no gradient is asked of."""
    try:
        x.data_ptr()
    except (AttributeError, RuntimeError):  # no tensor; or one that stands for others, as in a batched gradient
        return False
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.is_cpu
        and x.layout is torch.strided
        and not x.is_neg()
        and not (x.requires_grad and torch.is_grad_enabled())
    )


def _written(tensors: Sequence[Tensor]) -> None:
    """Tell autograd that these tensors were changed in place, as an operation of torch's own would."""
    torch.autograd.graph.increment_version(tensors)  # those of an inference mode have none
