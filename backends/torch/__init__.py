"""The torch adapter: `import ropecore.backends.torch as rope`.

Tables are made where x is, by int64 and float operations that compile, export and vectorise; eager calls without positions
share them.  For the same positions in many layers: `cos, sin = rope.cos_sin(plan, ids)` once, `rope.rotate` in each.
"""

from typing import Any

import torch
from torch import Tensor

from ropecore.call import FLOATS, OMITTED, Call, rotate_pair
from ropecore.errors import RopeError, choice
from ropecore.plan import RotaryPlan
from ropecore.precision import signed_log_magnitude
from ropecore.rotation import turned_tables
from ropecore.tables import TableStore

from .angles import as_tensor, coordinates, tables
from .constants import facts, may_keep, recording
from .fast import apply_fast
from .memory import check_writeable, share_memory
from .models import replace_rotary as replace_rotary
from .rotation import turn, turn_

TABLES = TableStore(max_bytes=1 << 28)


def cos_sin(
    plan: RotaryPlan, positions: Any, role: str = "q", precision: str = "exact", dtype: Any = "float32"
) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the angles, times A and the magnitude, of shape positions + (n_pairs,).

    positions: integers (..), or (n_axes, ..): a tensor, whose device the tables have, or a list.  precision: "exact", or
    "float32" for cos(float32(p) * float32(F)).  Rules R-2.1, R-2.4, R-10.2, R-10.3.
    """
    Call(plan, precision=precision)
    name = choice("dtype", str(dtype).removeprefix("torch."), FLOATS)
    return tables(plan, coordinates(plan, positions), role, precision, name)


def rotate(
    plan: RotaryPlan,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    tensor_format: str = "bhsd",
    inverse: bool = False,
    transpose: bool = False,
    compute: str = "float32",
) -> Tensor:
    """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs); the dtype of x is kept.

    compute: "float32" rounds once, on store; "input" rounds tables and every operation to the dtype of x.  Tables that
    require a gradient get one.  Rules R-2.1, R-9.2, R-9.3, R-10.4.
    """
    call = Call(plan, tensor_format, compute=compute)
    _check(call, "x", x)
    reads, writes = ("out_lanes", "lanes") if inverse or transpose else ("lanes", "out_lanes")

    def one(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        cos, sin = turned_tables(plan, *_lined_up(call, x, cos, sin), inverse, transpose)
        return turn(x, cos, sin, plan, reads, writes)

    return _in_shards(call, "x", x, (cos, sin), one, of_tables=True)


def apply(
    plan: RotaryPlan,
    q: Tensor,
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

    q, k: tensors with the dimensions of tensor_format, of any number of heads.  positions: integers (s,), (b, s) or (t,), with
    (n_axes, ..) before for several axes, or an int for a single token; None is arange(s) + offset, offset an integer or one
    a batch row.  k_positions: those of k, if they differ.  role: that of a tensor given alone (it matters to xPos).  Values
    are checked on a CPU, and wrap modulo 2^32 on devices and in graphs.  Rules R-2.1, R-7.1, R-7.3, R-7.4, R-10.4.
    """
    done = apply_fast(
        plan, q, k, positions, k_positions, offset, tensor_format, precision, compute, role, in_place=False
    )
    if done is not None:
        return done
    call = Call(plan, tensor_format, precision, compute)
    return _apply(call, q, k, positions, k_positions, offset, role, in_place=False)


def apply_(
    plan: RotaryPlan,
    q: Tensor,
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

    Refused: leaves that require a gradient, tensors that overlap themselves or each other.  Rule R-2.8.
    """
    done = apply_fast(
        plan, q, k, positions, k_positions, offset, tensor_format, precision, compute, role, in_place=True
    )
    if done is not None:
        return done
    call = Call(plan, tensor_format, precision, compute)
    given = {name: x for name, x in (("q", q), ("k", k)) if x is not None and x is not OMITTED}
    for name, x in given.items():
        _check(call, name, x)
        check_writeable(name, x)
    if len(given) == 2 and share_memory(q, k):
        raise RopeError("k", "a view of q's memory", "overlaps q", "Copy one of them, or use apply.", "R-2.8")
    return _apply(call, q, k, positions, k_positions, offset, role, in_place=True)


def shift(
    plan: RotaryPlan,
    k: Tensor,
    delta: Any,
    *,
    tensor_format: str = "bhsd",
    precision: str = "exact",
    compute: str = "float32",
    role: str = "k",
) -> Tensor:
    """Return keys that were rotated at p as if rotated at p + delta; A is not applied again.

    delta: an integer, or one a batch row; with several axes it moves all of them.  Rule R-9.5.
    """
    call = Call(plan, tensor_format, precision, compute)
    _check(call, "k", k)
    by = _per_row(call, "delta", delta, k, reach=0)

    def one(k: Tensor, *columns: Tensor) -> Tensor:
        made = tables(plan, columns, role, precision, call.table_dtype(_name(k)), moved=True)
        return turn(k, *_lined_up(call, k, *made), plan, "out_lanes", "out_lanes")

    return _in_shards(call, "k", k, [by.expand(*by.shape[:-1], call.length(k.shape))] * plan.n_axes, one)


class RotaryEmbedding(torch.nn.Module):  # type: ignore[misc]
    """A plan with the way it is called: `emb = RotaryEmbedding(plan, "bshd"); q, k = emb(q, k, positions=ids)`.

    It has no parameters and no buffers, so that no cast, device or checkpoint can change its numbers.
    """

    def __init__(
        self, plan: RotaryPlan, tensor_format: str = "bhsd", precision: str = "exact", compute: str = "float32"
    ) -> None:
        super().__init__()
        Call(plan, tensor_format, precision, compute)  # refuses what is wrong now, and not at the first call
        self.plan, self.tensor_format, self.precision, self.compute = plan, tensor_format, precision, compute

    def forward(
        self,
        q: Tensor,
        k: Any = OMITTED,
        positions: Any = None,
        k_positions: Any = None,
        offset: Any = 0,
        role: str = "q",
    ) -> Any:
        """Return `apply(plan, q, k, ..)`."""
        how = self.tensor_format, self.precision, self.compute
        done = apply_fast(self.plan, q, k, positions, k_positions, offset, *how, role, in_place=False)
        if done is not None:
            return done
        return _apply(Call(self.plan, *how), q, k, positions, k_positions, offset, role, in_place=False)

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return (
            f"{self.plan}, tensor_format={self.tensor_format!r}, precision={self.precision!r}, compute={self.compute!r}"
        )


def _apply(call: Call, q: Any, k: Any, positions: Any, k_positions: Any, offset: Any, role: str, in_place: bool) -> Any:
    def one(name: str, x: Tensor, at: Any, role: str) -> Any:
        _check(call, name, x)
        dtype = call.table_dtype(_name(x))

        def made(*columns: Tensor) -> tuple[Tensor, Tensor]:
            return tables(call.plan, columns, role, call.precision, dtype)

        def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            cos, sin = _lined_up(call, x, cos, sin)
            return turn_(x, cos, sin, call.plan) if in_place else turn(x, cos, sin, call.plan, "lanes", "out_lanes")

        if at is not None or type(offset) is not int or not may_keep(x):  # nothing that a later call could know again
            columns = _columns(call, name, x, at, offset)
            return _in_shards(call, name, x, columns, lambda x, *columns: turned(x, *made(*columns)), in_place)
        length, damped = call.length(x.shape), call.plan.log_magnitude is not None
        start = call.host_offset("offset", offset, x.shape, reach=max(length - 1, 0))
        stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else None  # another one would not wait
        key = call.plan, x.device, stream, dtype, call.precision, role if damped else "", start, length
        with torch.inference_mode(False):  # tables made in inference mode could not be used in training later
            both = TABLES.get(key, lambda: made(*_columns(call, name, x, at, offset)), lambda pair: 2 * pair[0].nbytes)
        return turned(x, *both)

    signed_log_magnitude(role)  # refuses another role, also where the tables are at hand
    return rotate_pair(one, q, k, positions, k_positions, role)


def _in_shards(
    call: Call, name: str, x: Any, values: Any, run: Any, in_place: bool = False, of_tables: bool = False
) -> Any:
    """Return run(x, *values), by shards if x is a DTensor."""
    if not hasattr(x, "device_mesh"):
        return run(x, *values)
    from .sharded import on_shards  # torch.distributed.tensor is imported for nobody else

    return on_shards(call, name, x, values, run, in_place, of_tables)


def _columns(call: Call, name: str, x: Tensor, positions: Any, offset: Any) -> list[Tensor]:
    """Return the coordinates of each axis on the device of x: those given, or those that follow the offset."""
    if positions is None:
        call.check_positions_given()
        token = call.tensor_format.index(call.letters.token_letter)
        if hasattr(x, "placements") and any(each.is_shard(token) for each in x.placements):
            cure = "Give the positions of the whole sequence, or positions that are sharded alike."
            raise RopeError("positions", None, f"{name} is sharded along the sequence", cure, "R-7.4")
        length = call.length(x.shape)
        return [_per_row(call, "offset", offset, x, max(length - 1, 0)) + torch.arange(length, device=x.device)]
    if isinstance(positions, (int, torch.SymInt)) and not isinstance(positions, bool):  # a single token
        positions = torch.full((1,), positions, dtype=torch.int64, device=x.device)
    columns = coordinates(call.plan, positions)
    if not (isinstance(offset, int) and offset == 0 and call.fits(columns[0].shape, x.shape)):
        axes = (call.plan.n_axes,) if call.plan.n_axes > 1 else ()
        call.check_positions((*axes, *columns[0].shape), x.shape, offset)
    return [column.to(x.device) for column in columns]


def _per_row(call: Call, argument: str, value: Any, x: Tensor, reach: Any) -> Tensor:
    """Return an offset or delta as int64 (1,), or (b, 1) if there is one a batch row.  Rules R-7.1, R-7.4."""
    if recording() and isinstance(value, (int, torch.SymInt)):  # perhaps a symbol, which must not become a number
        return torch.full((1,), value, dtype=torch.int64, device=x.device)
    if isinstance(value, torch.Tensor) and (recording() or not value.is_cpu):
        if value.dtype.is_floating_point or value.dtype is torch.bool:
            raise RopeError(argument, value.dtype, "must be an integer, or one a batch row", rule="R-7.4")
        call.check_offset_shape(argument, value.shape, x.shape)
    else:
        value = torch.tensor(call.host_offset(argument, value, x.shape, reach), dtype=torch.int64, device="cpu")
    return value.to(x.device, torch.int64)[..., None]


def _lined_up(call: Call, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Return tables in the shape that broadcasts against x, and in the dtype of the arithmetic.  Rule R-10.4."""
    dtype = x.dtype if call.compute == "input" else getattr(torch, call.table_dtype(_name(x)))
    n_pairs = facts(call.plan)[0]

    def one(table: Tensor) -> Tensor:
        if table.shape[-1:] != (n_pairs,) or not call.fits(table.shape[:-1], x.shape):
            call.letters.check_table(n_pairs, table.shape, x.shape)
        shape = call.letters.table_shape(table.shape)
        swapped = table.ndim == 3 and call.letters.sequence_before_batch  # positions are (b, s) all the same
        return (table.transpose(0, 1) if swapped else table).reshape(shape).to(x.device, dtype)

    return one(as_tensor("cos", cos)), one(as_tensor("sin", sin))


def _name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _check(call: Call, argument: str, x: Any) -> None:
    """Refuse what is no dense tensor with the dimensions of the format.  Rule R-12.4."""
    if not isinstance(x, torch.Tensor) or x.layout is not torch.strided:
        cure = "Use torch.as_tensor; of a nested tensor pass .values() as packed tokens, 'thd'."
        raise RopeError(
            argument, getattr(x, "layout", type(x).__name__), "must be a dense torch.Tensor", cure, "R-12.4"
        )
    call.check_tensor(argument, x.shape, _name(x))
