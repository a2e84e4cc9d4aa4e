"""The few operations that the kernels are made of, as LLVM instructions: what Numba's own types
cannot say.

Numba has no float16, no bfloat16 and no vectors that are loaded whole before anything is stored.
Each function below is an *intrinsic*: called inside a compiled kernel, it writes its instructions
there.  Addresses are integers, in bytes; literal arguments (a storage format, a width) choose the
instructions.  No multiplication is contracted with an addition, so a kernel gives the bits of
`ropecore.rotation.rotate`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from ropecore import precision

from .job import PARTED

_FLOAT, _DOUBLE, _HALF = ir.FloatType(), ir.DoubleType(), ir.HalfType()
_INT16, _INT32, _INT64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)

STORED = {"float32": _FLOAT, "float64": _DOUBLE, "float16": _HALF, "bfloat16": _INT16}  # as elements lie in memory


@cache
def has(*features: str) -> bool:
    """Return whether Numba compiles for a processor with these features, in LLVM's words."""
    chosen = numba.config.CPU_FEATURES
    known = (get_host_cpu_features() if chosen is None else chosen).split(",")
    return all(f"+{feature}" in known for feature in features)


def computed(form: str) -> Any:
    """Return the type that a format is computed in, which is that of its tables.  Rule R-10.4."""
    return _DOUBLE if form == "float64" else _FLOAT


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def turn(
    _: Any, form: Any, width: Any, read: Any, write: Any, tables: Any,
    x0: Any, x1: Any, y0: Any, y1: Any, cos: Any, sin: Any,
) -> Any:  # fmt: skip
    """Turn `width` pairs: y0 = x0 cos - x1 sin, y1 = x0 sin + x1 cos; a pair is loaded before
    either of its lanes is stored.

    read, write: "halves", the first lanes lie together at x0 and the second at x1; or "steps", they
    alternate from x0 on (x1 is ignored).  x0 .. y1 are addresses of elements of `form`, cos and sin
    of the type it is computed in. tables: "given", in the order of the pairs; or "made", where
    `job.parted` tells their order, and they hold no NaN. Rules R-2.1, R-10.4.
    """
    name, n, made = form.literal_value, width.literal_value, tables.literal_value == "made"
    how_read, how_write = read.literal_value, write.literal_value

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        x0, x1, y0, y1, c, s = args[5:]
        if name == "bfloat16" and how_read == how_write == "halves" and n % 4 == 0:
            step = PARTED if n % PARTED == 0 else n
            for i in range(0, n, step):
                x, y = ([_moved(b, at, 2 * i) for at in each] for each in ((x0, x1), (y0, y1)))
                _turn_words(b, step, x, y, _moved(b, c, 4 * i), _moved(b, s, 4 * i), made)
            return context.get_dummy_value()
        cos, sin = _load(b, c, computed(name), n), _load(b, s, computed(name), n)
        if how_read == "steps":
            first, second = _load_pairs(b, x0, name, n)
        else:
            first, second = (widened(b, _load(b, x, STORED[name], n), name) for x in (x0, x1))
        turned_first = b.fsub(b.fmul(first, cos), b.fmul(second, sin))
        turned_second = b.fadd(b.fmul(first, sin), b.fmul(second, cos))
        if how_write == "steps":
            _store_pairs(b, turned_first, turned_second, y0, name, made)
        else:
            _store(b, narrowed(b, turned_first, name), y0)
            _store(b, narrowed(b, turned_second, name), y1)
        return context.get_dummy_value()

    return types.void(form, width, read, write, tables, *[types.int64] * 6), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def copy(_: Any, size: Any, source: Any, target: Any) -> Any:
    """Copy `size` bytes, bit for bit, from one address to another.  Rule R-2.2."""
    n_bytes = size.literal_value

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _store(b, _load(b, args[1], ir.IntType(8), n_bytes), args[2])
        return context.get_dummy_value()

    return types.void(size, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def fetch(_: Any, purpose: Any, address: Any) -> Any:
    """Ask for the cache line at an address, to "read" or to "write"; any address will do, and
    nothing happens to what is there.
    """
    write = int(purpose.literal_value == "write")

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        pointer, integer = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, integer, integer, integer])
        function = b.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        b.call(function, [b.inttoptr(args[1], pointer), integer(write), integer(3), integer(1)])
        return context.get_dummy_value()

    return types.void(purpose, types.int64), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def add_phase(_: Any, width: Any, p: Any, high: Any, low: Any, before: Any, after: Any) -> Any:
    """Add to `width` phases in 2^-32 turns those of a position: p high + floor(p low / 2^32),
    modulo 2^32.

    p: an int32.  high, low, before, after: addresses of uint32.  The formula is that of
    `precision.wrapping_phase_32`.  Rule R-10.2.
    """
    n = width.literal_value

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        wide = ir.VectorType(_INT64, n)
        p, high, low = _spread(b, args[1], n), _load(b, args[2], _INT32, n), _load(b, args[3], _INT32, n)
        above = b.lshr(b.mul(b.zext(p, wide), b.zext(low, wide)), ir.Constant(wide, [32] * n))
        negative = b.and_(b.ashr(p, _all(n, 31)), low)  # the bits of a negative p stand for p + 2^32
        turned = b.sub(b.add(b.mul(p, high), b.trunc(above, p.type)), negative)
        _store(b, b.add(_load(b, args[4], _INT32, n), turned), args[5])
        return context.get_dummy_value()

    return types.void(width, types.int32, *[types.int64] * 4), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def cos_sin(_: Any, width: Any, phase: Any, cos: Any, sin: Any, factor: Any) -> Any:
    """Store the float32 cos and sin of `width` phases, times a factor:
    `precision.cos_sin_of_phase`.  Rule R-10.2.

    phase, cos, sin: addresses of uint32 and of float32.
    """
    n = width.literal_value

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        phase, factor = _load(b, args[1], _INT32, n), _spread(b, args[4], n)
        quarter = b.lshr(b.add(phase, _all(n, 1 << 29)), _all(n, 30))
        x = b.sitofp(b.sub(phase, b.shl(quarter, _all(n, 30))), ir.VectorType(_FLOAT, n))
        x = b.fmul(x, _numbers(n, 2.0**-29))
        z = b.fmul(x, x)
        sin = b.fmul(
            x, _horner(b, z, [precision._S4, precision._S3, precision._S2, precision._S1, precision._T0], precision._S0)
        )
        cos = b.fadd(
            _numbers(n, 1.0), b.fmul(z, _horner(b, z, [precision._C4, precision._C3, precision._C2, precision._C1]))
        )
        odd = b.icmp_unsigned("!=", b.and_(quarter, _all(n, 1)), _all(n, 0))
        below = (
            b.and_(b.add(quarter, _all(n, 1)), _all(n, 2)),
            b.and_(quarter, _all(n, 2)),
        )  # 2 where cos, sin change sign
        for value, sign, address in zip(
            (b.select(odd, sin, cos), b.select(odd, cos, sin)), below, args[2:4], strict=True
        ):
            flipped = b.xor(b.bitcast(value, phase.type), b.shl(sign, _all(n, 30)))
            _store(b, b.fmul(b.bitcast(flipped, x.type), factor), address)
        return context.get_dummy_value()

    return types.void(width, *[types.int64] * 3, types.float32), codegen


def _horner(b: Any, z: Any, coefficients: Sequence[float], last: float | None = None) -> Any:
    """Return c[n] + z (c[n-1] + z (.. + z c[0])), every operation
    rounded, and `last` added to it.
    """
    n = z.type.count
    total = _numbers(n, coefficients[0])
    for coefficient in coefficients[1:]:
        total = b.fadd(_numbers(n, coefficient), b.fmul(z, total))
    return total if last is None else b.fadd(_numbers(n, last), total)


@intrinsic  # type: ignore[untyped-decorator]
def claim(_: Any, address: Any, bit: Any) -> Any:
    """Set a bit of the integer at an address, and return what was there: of many threads, one finds
    it unset.
    """

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.atomic_rmw("or", b.inttoptr(args[0], _INT64.as_pointer()), args[1], "monotonic")

    return types.int64(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def invoke_number(_: Any, code: Any) -> Any:
    """Return what the function int(void) gives whose code is at an address."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        number = b.call(b.inttoptr(args[0], ir.FunctionType(_INT32, []).as_pointer()), [])
        return b.sext(number, _INT64)

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def invoke(_: Any, code: Any, job: Any) -> Any:
    """Call the function void(int64 *job) whose code is at an address."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        b.call(b.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [_INT64]).as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def invoke_team(_: Any, team: Any, code: Any, job: Any, threads: Any) -> Any:
    """Call void team(code, job, unsigned threads, unsigned flags), the entry of an OpenMP runtime,
    at an address.
    """

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_INT64, _INT64, _INT32, _INT32])
        b.call(b.inttoptr(args[0], kind.as_pointer()), [args[1], args[2], b.trunc(args[3], _INT32), _INT32(0)])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic  # type: ignore[untyped-decorator]
def invoke_start(_: Any, start: Any, handle: Any, code: Any, job: Any) -> Any:
    """Return what pthread_create, at an address, gives for a thread that calls code(job): 0 if it
    was started.

    handle: the address of 8 bytes that will tell which one it is.
    """

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_INT32, [_INT64] * 4)
        start, handle, code, job = args
        return b.sext(b.call(b.inttoptr(start, kind.as_pointer()), [handle, _INT64(0), code, job]), _INT64)

    return types.int64(*[types.int64] * 4), codegen


@intrinsic  # type: ignore[untyped-decorator]
def invoke_join(_: Any, join: Any, handle: Any) -> Any:
    """Wait for the end of a thread by pthread_join, at an address; no signal ends it before."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        b.call(b.inttoptr(args[0], ir.FunctionType(_INT32, [_INT64] * 2).as_pointer()), [args[1], _INT64(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def integers(_: Any, address: Any) -> Any:
    """Return a pointer to the int64 at an address."""
    return _pointer(types.int64)


@intrinsic  # type: ignore[untyped-decorator]
def floats(_: Any, address: Any) -> Any:
    """Return a pointer to the float32 at an address."""
    return _pointer(types.float32)


def _pointer(element: Any) -> Any:
    pointer = types.CPointer(element)

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64), codegen


def widened(b: Any, stored: Any, form: str) -> Any:
    """Return a vector of a storage format as numbers to compute with; nothing is lost."""
    n = stored.type.count
    if form == "float16":
        return b.fpext(stored, ir.VectorType(_FLOAT, n))
    if form == "bfloat16":  # the upper half of a float32
        bits = b.shl(b.zext(stored, ir.VectorType(_INT32, n)), _all(n, 16))
        return b.bitcast(bits, ir.VectorType(_FLOAT, n))
    return stored


def narrowed(b: Any, value: Any, form: str) -> Any:
    """Return a vector of computed numbers in their storage format, rounded to nearest, ties to
    even.  Rule R-10.4.
    """
    n = value.type.count
    if form == "float16":
        return b.fptrunc(value, ir.VectorType(_HALF, n))
    if form == "bfloat16":
        return b.trunc(b.lshr(_rounded_to_bfloat16(b, value), _all(n, 16)), ir.VectorType(_INT16, n))
    return value


def _turn_words(b: Any, n: int, x: Sequence[Any], y: Sequence[Any], cos: Any, sin: Any, made: bool) -> None:
    """Turn n pairs of bfloat16 whose halves lie together, two lanes a 32-bit word: nothing is
    widened or packed by shuffles.
    """
    words = [_halves(b, _load(b, address, _INT32, n // 2)) for address in x]  # the even lanes, and the odd ones
    turned = []
    for parity, (first, second) in enumerate(zip(*words, strict=True)):
        if made and n == PARTED:  # in the order of `job.parted`
            c, s = (_load(b, _moved(b, table, 2 * n * parity), _FLOAT, n // 2) for table in (cos, sin))
        else:
            tables = (_load(b, table, _FLOAT, n) for table in (cos, sin))
            c, s = (_shuffled(b, table, table, range(parity, n, 2)) for table in tables)
        turned.append((b.fsub(b.fmul(first, c), b.fmul(second, s)), b.fadd(b.fmul(first, s), b.fmul(second, c))))
    for (even, odd), address in zip(zip(*turned, strict=True), y, strict=True):
        _store(b, _packed(b, even, odd, made), address)


def _halves(b: Any, words: Any) -> tuple[Any, Any]:
    """Return the lower and the upper bfloat16 of 32-bit words as numbers to compute with."""
    n = words.type.count
    halves = b.shl(words, _all(n, 16)), b.and_(words, _all(n, 0xFFFF0000))
    low, high = (b.bitcast(half, ir.VectorType(_FLOAT, n)) for half in halves)
    return low, high


def _packed(b: Any, low: Any, high: Any, made: bool) -> Any:
    """Return numbers rounded to bfloat16, to nearest, ties to even, as the lower and the upper
    halves of 32-bit words.

    A 16-bit half is rounded up if what it loses is more than half of its unit, or just half where
    it is odd: if the bits that it loses, joined by its own last one, are above 0x8000.  A NaN must
    not become a 0 so.  Of bfloat16 and numbers that are finite, made: tables without a NaN, it
    loses nothing; of others it may have all bits set.  Rule R-10.4.
    """
    n = 2 * low.type.count
    short, lanes = ir.VectorType(_INT16, n), range(n)
    low, high = (b.bitcast(value, ir.VectorType(_INT32, n // 2)) for value in (low, high))
    crossed = b.or_(b.shl(high, _all(n // 2, 16)), b.lshr(low, _all(n // 2, 16)))  # what low keeps, and what high loses
    low, high, crossed = (b.bitcast(each, short) for each in (low, high, crossed))
    kept = _shuffled(b, crossed, high, [lane + n * (lane % 2) for lane in lanes])
    lost = _shuffled(b, low, crossed, [lane + n * (lane % 2) for lane in lanes])
    one, half, most = (ir.Constant(short, [value] * n) for value in (1, 0x8000, 0x7FFF))
    up = b.icmp_unsigned(">", b.or_(lost, b.and_(kept, one)), half)
    if not made:
        up = b.and_(up, b.icmp_unsigned("!=", b.and_(kept, most), most))
    add = b.module.declare_intrinsic(f"llvm.uadd.sat.v{n}i16", (), ir.FunctionType(short, [short, short]))
    return b.select(up, b.call(add, [kept, one]), kept)  # of a plain sum LLVM would make a difference, and take longer


def _rounded_to_bfloat16(b: Any, value: Any) -> Any:
    """Return the bits of float32 numbers, whose upper halves are the numbers rounded to bfloat16.

    The carry may go up to infinity.  A NaN keeps its bits: it is the result of an operation, and so
    a quiet one, which its upper half alone tells.
    """
    n = value.type.count
    bits = b.bitcast(value, ir.VectorType(_INT32, n))
    odd = b.and_(b.lshr(bits, _all(n, 16)), _all(n, 1))
    rounded = b.add(b.add(bits, _all(n, 0x7FFF)), odd)
    return b.select(b.fcmp_ordered("ord", value, value), rounded, bits)


def _load_pairs(b: Any, address: Any, form: str, n: int) -> tuple[Any, Any]:
    """Return n pairs that alternate in memory as two vectors to compute with."""
    if form == "bfloat16":  # a pair is one word, and its halves need no shuffle
        return _halves(b, _load(b, address, _INT32, n))
    both = widened(b, _load(b, address, STORED[form], 2 * n), form)
    return _shuffled(b, both, both, range(0, 2 * n, 2)), _shuffled(b, both, both, range(1, 2 * n, 2))


def _store_pairs(b: Any, first: Any, second: Any, address: Any, form: str, made: bool) -> None:
    """Store two vectors of n computed numbers as n pairs that alternate in memory; made: see
    `_packed`.
    """
    if form == "bfloat16":
        _store(b, _packed(b, first, second, made), address)
    else:
        _store(b, narrowed(b, _shuffled(b, first, second, _alternating(first.type.count)), form), address)


def _alternating(n: int) -> list[int]:
    """Return the order in which two vectors of n numbers alternate."""
    return [lane // 2 + n * (lane % 2) for lane in range(2 * n)]


def _all(n: int, value: int) -> Any:
    return ir.Constant(ir.VectorType(_INT32, n), [value] * n)


def _numbers(n: int, value: float) -> Any:
    return ir.Constant(ir.VectorType(_FLOAT, n), [value] * n)


def _spread(b: Any, value: Any, n: int) -> Any:
    """Return a vector of one value."""
    vector = ir.VectorType(value.type, n)
    return _shuffled(
        b,
        b.insert_element(ir.Constant(vector, ir.Undefined), value, _INT32(0)),
        ir.Constant(vector, ir.Undefined),
        [0] * n,
    )


def _moved(b: Any, address: Any, n_bytes: int) -> Any:
    return b.add(address, _INT64(n_bytes))


def _load(b: Any, address: Any, element: Any, n: int) -> Any:
    return b.load(b.inttoptr(address, ir.VectorType(element, n).as_pointer()), align=1)


def _store(b: Any, vector: Any, address: Any) -> None:
    b.store(vector, b.inttoptr(address, vector.type.as_pointer()), align=1)


def _shuffled(b: Any, left: Any, right: Any, lanes: Any) -> Any:
    lanes = list(lanes)
    return b.shuffle_vector(left, right, ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes))
