"""The torch adapter: `import ropecore.backends.torch as rope`.

Tables are made where x is, by int64 and float operations that compile, export and vectorise; eager
calls without positions share them.  For the same positions in many layers: `cos, sin =
rope.cos_sin(plan, ids)` once, `rope.rotate` in each.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ropecore.adapter import MutableAdapter, Part
from ropecore.adapter.call import OMITTED, Call
from ropecore.adapter.store import TableStore
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan
from ropecore.rotation import turned_tables

from .angles import as_tensor, coordinates, tables
from .forked import alone_in_child
from .fused import apply_fast
from .memory import check_writeable, same_memory, share_memory
from .replace_rotary import replace_rotary
from .rotation import turn, turn_into
from .tracing import facts, may_keep, recording

__all__ = ["RotaryEmbedding", "apply", "apply_", "cos_sin", "replace_rotary", "rotate", "shift"]

TABLES = TableStore(max_bytes=1 << 28)


class _Adapter(MutableAdapter[Tensor]):
    __slots__ = ()
    integers = (int, torch.SymInt)

    def check(self, call: Call, name: str, x: Any) -> Tensor:
        if not isinstance(x, torch.Tensor) or x.layout is not torch.strided or x.is_nested:
            cure = "Use torch.as_tensor; of a nested tensor pass .values() as packed tokens, 'thd'."
            found = "a nested tensor" if getattr(x, "is_nested", False) else getattr(x, "layout", type(x).__name__)
            raise RopeError(name, found, "must be a dense torch.Tensor", cure, "R-12.4")
        call.check_tensor(name, x.shape, _name(x))
        return x

    def check_writeable(self, name: str, x: Tensor) -> None:
        check_writeable(name, x)

    def share_memory(self, a: Tensor, b: Tensor) -> bool:
        return share_memory(a, b)

    def same_memory(self, a: Tensor, b: Tensor) -> bool:
        return same_memory(a, b)

    @staticmethod
    def at_once(*arguments: Any) -> Any:
        return apply_fast(*arguments)

    def moved(self, plan: RotaryPlan) -> RotaryPlan:
        return plan  # a compiler cannot trace the making of one: parts with step 0 take the lanes written, and no A

    @alone_in_child
    def tables(self, call: Call, positions: Any, role: str, dtype: str) -> tuple[Tensor, Tensor]:
        return tables(call.plan, coordinates(call.plan, positions), role, call.precision, dtype)

    @alone_in_child
    def turn(self, call: Call, parts: list[Part], in_place: bool) -> list[Tensor]:
        ready = [_ready(call, part, in_place) for part in parts]  # both are checked before either is turned
        return [run() for run in ready]

    @alone_in_child
    def turn_by(
        self, call: Call, x: Tensor, cos: Any, sin: Any, inverse: bool, transpose: bool, out: Tensor | None = None
    ) -> Tensor:
        plan, tables = call.plan, (as_tensor("cos", cos), as_tensor("sin", sin))
        call.check_tables(tables[0].shape, tables[1].shape, x.shape, facts(plan)[0])
        reads, writes = ("out_lanes", "lanes") if inverse or transpose else ("lanes", "out_lanes")
        if out is not None and same_memory(x, out):
            x = out
        elif out is not None and hasattr(x, "device_mesh"):  # whose shards are rotated where they lie
            x = out.copy_(x)

        sharded = hasattr(x, "device_mesh")

        def one(x: Tensor, *tables: Tensor) -> Tensor:
            cos, sin = _lined_up(call, x, *tables)
            cos, sin = turned_tables(plan, cos, sin, inverse, transpose)
            if out is None:
                return turn(x, cos, sin, plan, reads, writes)
            return turn_into(x if sharded else out, x, cos, sin, plan, reads, writes)

        return _in_shards(call, "x", x, tables, one, out is not None, of_tables=True)


_adapter = _Adapter()
cos_sin, rotate, apply, apply_, shift = (
    _adapter.cos_sin, _adapter.rotate, _adapter.apply, _adapter.apply_, _adapter.shift,
)  # fmt: skip


class RotaryEmbedding(torch.nn.Module):  # type: ignore[misc]
    """A plan with the way it is called: `emb = RotaryEmbedding(plan, "bshd"); q, k = emb(q, k,
    positions=ids)`.

    It has no parameters and no buffers, so that no cast, device or checkpoint can change its
    numbers.
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
        return apply(
            self.plan, q, k, positions=positions, k_positions=k_positions, offset=offset, tensor_format=self.tensor_format,
            precision=self.precision, compute=self.compute, role=role,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return (
            f"{self.plan}, tensor_format={self.tensor_format!r}, precision={self.precision!r}, compute={self.compute!r}"
        )


def _ready(call: Call, part: Part, in_place: bool) -> Callable[[], Tensor]:
    """Return the function that rotates a part, whose tables are made, or at least its positions
    checked, already.
    """
    x, role, plan = part.x, part.role, call.plan
    dtype = call.table_dtype(_name(x))

    def made(*columns: Tensor) -> tuple[Tensor, Tensor]:
        return tables(plan, columns, role, call.precision, dtype, moved=not part.step)

    def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        cos, sin = _lined_up(call, x, cos, sin)
        lanes = "lanes" if part.step else "out_lanes", "out_lanes"
        return turn_into(x, x, cos, sin, plan, *lanes) if in_place else turn(x, cos, sin, plan, *lanes)

    if not (part.positions is None and part.step and type(part.start) is int and may_keep(x)):
        columns = _columns(call, part)  # which no later call could know again
        if hasattr(x, "device_mesh"):
            return lambda: _in_shards(call, part.name, x, columns, lambda x, *c: turned(x, *made(*c)), in_place)
        both = made(*columns)
        return lambda: turned(x, *both)
    length, damped = call.length(x.shape), plan.log_magnitude is not None
    start = call.host_offset(part.argument, part.start, x.shape, reach=max(length - 1, 0))
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else None  # another one would not wait
    key = plan, x.device, stream, dtype, call.precision, role if damped else "", start, length
    with torch.inference_mode(False):  # tables made in inference mode could not be used in training later
        kept = TABLES.get(key, lambda: made(*_columns(call, part)), lambda pair: 2 * pair[0].nbytes)
    return lambda: turned(x, *kept)


def _in_shards(
    call: Call, name: str, x: Any, values: Any, run: Any, in_place: bool = False, of_tables: bool = False
) -> Any:
    """Return run(x, *values), by shards if x is a DTensor."""
    if not hasattr(x, "device_mesh"):
        return run(x, *values)
    from .dtensor import on_shards

    return on_shards(call, name, x, values, run, in_place, of_tables)


def _columns(call: Call, part: Part) -> list[Tensor]:
    """Return the coordinates of each axis on the device of x: those given, or those that are
    counted.
    """
    x, positions = part.x, part.positions
    if positions is None:
        length = call.length(x.shape)
        if part.step:
            call.check_positions_given()
            _check_whole(call, part.name, x)
        places = _per_row(call, part.argument, part.start, x, part.step * max(length - 1, 0))
        return [places + part.step * torch.arange(length, device=x.device)] * call.plan.n_axes
    columns = coordinates(call.plan, positions)
    if not (isinstance(part.start, int) and part.start == 0 and call.fits(columns[0].shape, x.shape)):
        axes = (call.plan.n_axes,) if call.plan.n_axes > 1 else ()
        call.check_positions((*axes, *columns[0].shape), x.shape, part.start)
    return [column.to(x.device) for column in columns]


def _check_whole(call: Call, name: str, x: Any) -> None:
    """Refuse a DTensor that is sharded along the sequence: each shard would begin at the same
    offset.  Rule R-7.4.
    """
    token = call.tensor_format.index(call.letters.token_letter)
    if hasattr(x, "placements") and any(each.is_shard(token) for each in x.placements):
        cure = "Give the positions of the whole sequence, or positions that are sharded alike."
        raise RopeError("positions", None, f"{name} is sharded along the sequence", cure, "R-7.4")


def _per_row(call: Call, argument: str, value: Any, x: Tensor, reach: Any) -> Tensor:
    """Return an offset or delta as int64 (1,), or (b, 1) if there is one a batch row.  Rules R-7.1,
    R-7.4.
    """
    if recording() and isinstance(value, (int, torch.SymInt)):  # perhaps a symbol, which must not become a number
        return torch.full((1,), value, dtype=torch.int64, device=x.device)
    if isinstance(value, torch.Tensor) and (recording() or not value.is_cpu):
        if value.dtype.is_floating_point or value.dtype is torch.bool:
            raise RopeError(argument, value.dtype, "must be an integer, or one a batch row", rule="R-7.4")
        call.check_offset_shape(argument, value.shape, x.shape)
    else:
        value = torch.tensor(call.host_offset(argument, value, x.shape, reach), dtype=torch.int64, device="cpu")
    return value.to(x.device, torch.int64)[..., None]


def _lined_up(call: Call, x: Tensor, *tables: Tensor) -> list[Tensor]:
    """Return tables in the shape that broadcasts against x, and in the dtype of the arithmetic.
    Rule R-10.4.
    """
    dtype = x.dtype if call.compute == "input" else getattr(torch, call.table_dtype(_name(x)))
    return [
        call.letters.line_up(table, lambda t: t.transpose(0, 1), torch.reshape).to(x.device, dtype) for table in tables
    ]


def _name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
