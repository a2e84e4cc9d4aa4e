"""From a checked call to the kernel: what a plan is on a device, and how the work is dealt to
threads.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from types import SimpleNamespace
from typing import Any, NamedTuple

import cupy
import numpy as np
import numpy.typing as npt

from ropecore.adapter.call import Call
from ropecore.adapter.store import TableStore
from ropecore.plan import RotaryPlan
from ropecore.precision import limbs, real_turns, signed_log_magnitude

from .positions import Array, Places

SOURCE = resources.files("ropecore.backends.cupy").joinpath("kernel.cu").read_text("ascii")
OPTIONS = ("-std=c++17", "--fmad=false")
CONSTANTS = TableStore(max_bytes=1 << 26)  # frequencies and lanes of plans, on their devices
THREADS = 256  # of a block
BUSY = 1 << 18  # threads that fill a device: beyond them, one thread turns several heads by the same angles
LARGEST_GRID_Y = 65535
CHUNK = 16  # bytes that a thread moves at once


class Source(NamedTuple):
    """Where the kernel has cos and sin from: the ending of its name, and its last arguments."""

    ending: str
    arguments: tuple[Any, ...]


class Items(NamedTuple):
    """What the threads of one token do: the beginning of the kernel's name, and the first lanes of
    each item.
    """

    name: str
    lanes: npt.NDArray[np.int32]  # two read and two written for each that is rotated, then one for each that is copied
    rotated: int
    copied: int


def places_source(call: Call, places: Places, role: str, dtype: str) -> Source:
    """Return the angles of positions, made in the kernel for x of this dtype (R-10.2, R-10.3)."""
    plan, sign, double = call.plan, signed_log_magnitude(role), dtype == "float64"
    key = ("frequencies", plan, double, call.precision)
    frequencies, real, *log = _constants(key, lambda: _frequencies(plan, double, call.precision))
    where = (places.words, *places.strides, places.start, places.step)
    what = (frequencies, real, log[0] if log else 0, plan.n_axes, plan.n_pairs, int(call.precision == "float32"))
    return Source("at", (*where, *what, plan.attention_factor, plan.centre, sign))


def tables_source(cos: Array, sin: Array) -> Source:
    """Return the angles of given tables, (s, n_pairs) or (b, s, n_pairs)."""
    cos, sin = cupy.ascontiguousarray(cos), cupy.ascontiguousarray(sin)
    length, n_pairs = cos.shape[-2:]
    return Source("by", (cos, sin, length * n_pairs if cos.ndim == 3 and cos.shape[0] > 1 else 0, n_pairs))


def write_tables(source: Source, cos: Array, sin: Array) -> None:
    """Write the cos and sin of a source of positions, (.., n_pairs)."""
    if cos.size:
        n_pairs, block = cos.shape[-1], _block(cos.shape[-1])
        n_rows = cos.size // n_pairs
        _kernel("write_tables", cos.dtype.name)((-(-n_rows // block[1]),), block, (*source.arguments, n_rows, cos, sin))


def launch(call: Call, x: Array, y: Array, source: Source, backwards: bool = False) -> Array:
    """Rotate x into y, which may be x itself, and return y; backwards: from the lanes written to
    the lanes read.
    """
    plan, form, in_place = call.plan, call.tensor_format, same_memory(x, y)
    letters = ("b", call.letters.token_letter, "h", "g", "d")
    sizes = [x.shape[form.index(each)] if each in form else 1 for each in letters[:-1]]
    n_rows, n_heads = sizes[0] * sizes[1], sizes[2] * sizes[3]
    with x.device:
        if in_place and not np.array_equal(plan.lanes, plan.out):
            x = x.copy()  # one thread writes what another has still to read
        width = _width(x, y)
        items = _items(plan, backwards, in_place, width)
        n_items = items.rotated + items.copied
        if not x.size or not n_items:
            return y
        (lanes,) = _constants(("lanes", plan, backwards, in_place, width), lambda: [items.lanes])
        strides = [a.strides[form.index(each)] // a.itemsize if each in form else 0 for a in (x, y) for each in letters]
        heads_each = max(1, min(n_heads, n_rows * n_items * n_heads // BUSY), -(-n_heads // LARGEST_GRID_Y))
        block = _block(n_items)
        grid = (-(-n_rows // block[1]), -(-n_heads // heads_each))
        arguments = (x, y, *sizes, *strides, lanes, items.rotated, items.copied, heads_each, *source.arguments)
        _kernel(f"rotate_{items.name}_{source.ending}", x.dtype.name, call.compute)(grid, block, arguments)
    return y


def same_memory(x: Array, y: Array) -> bool:
    """Return whether two arrays of one shape and dtype are the same elements in the same order."""
    return bool(x.data.ptr == y.data.ptr and x.strides == y.strides)


def share_memory(x: Array, y: Array) -> bool:
    """Return whether two arrays have a byte in common, decided by NumPy from their addresses
    (CuPy's own reads them).
    """

    def shadow(a: Array) -> npt.NDArray[np.void]:
        form = {"shape": a.shape, "strides": a.strides, "typestr": f"|V{a.itemsize}", "version": 3}
        return np.asarray(SimpleNamespace(__array_interface__=form | {"data": (a.data.ptr, True)}))

    return np.shares_memory(shadow(x), shadow(y))


def _block(n_items: int) -> tuple[int, int]:
    """Return how many items, and how many tokens, the threads of a block have."""
    across = min(n_items, THREADS)
    return across, THREADS // across


@lru_cache(maxsize=256)
def _kernel(name: str, dtype: str, compute: str = "float32") -> Callable[..., None]:
    """Return a kernel, compiled for one dtype of x at its first launch; CuPy keeps it for each
    device, and on disk.
    """
    rounded = ("-DROPE_COMPUTE_INPUT",) if compute == "input" and dtype in ("float16", "bfloat16") else ()
    module = cupy.RawModule(code=SOURCE, options=(*OPTIONS, f"-DROPE_{dtype.upper()}", *rounded))
    kernel: Callable[..., None] = module.get_function(name)
    return kernel


def _width(x: Array, y: Array) -> int:
    """Return how many lanes are moved at once: as many as 16 bytes hold if each row begins at a
    multiple of 16, else one.
    """
    steps = [stride for a in (x, y) for stride, size in zip(a.strides[:-1], a.shape, strict=False) if size > 1]
    dense = x.strides[-1] == y.strides[-1] == x.itemsize
    aligned = not any(each % CHUNK for each in (x.data.ptr, y.data.ptr, *steps))
    return CHUNK // x.itemsize if dense and aligned else 1


@lru_cache(maxsize=1024)
def _items(plan: RotaryPlan, backwards: bool, in_place: bool, width: int) -> Items:
    """Return what the threads of one token do if they move `width` lanes at once, or one where the
    lanes do not lie so.

    An item is `width` rows each of whose columns is a run of lanes, or width / 2 rows of
    neighbours.
    """
    rows = np.hstack([plan.out, plan.lanes] if backwards else [plan.lanes, plan.out])  # (n_pairs, 4)
    still = np.setdiff1d(np.arange(plan.head_dim), rows)[: 0 if in_place else None]
    copied = _in_runs(still, width)
    if copied and all(_in_runs(column, width) for column in rows.T):
        name, n_rows = ("runs", width) if width > 1 else ("lanes", 1)
    elif copied and all(_in_runs(pairs.ravel(), width) for pairs in (rows[:, :2], rows[:, 2:])):
        name, n_rows = "interleaved", width // 2
    else:
        return _items(plan, backwards, in_place, 1)
    lanes = np.concatenate([rows[::n_rows].ravel(), still[::width]]).astype(np.int32)
    return Items(name, lanes, len(rows) // n_rows, len(still) // width)


def _in_runs(lanes: npt.NDArray[np.int64], width: int) -> bool:
    """Return whether lanes are contiguous, `width` at a time, from multiples of width on."""
    if len(lanes) % width:
        return False
    runs = lanes.reshape(-1, width)
    return bool((runs == runs[:, :1] + np.arange(width)).all() and not (runs[:, 0] % width).any())


def _frequencies(plan: RotaryPlan, double: bool, precision: str) -> list[npt.NDArray[Any]]:
    """Return what the kernel reads of a plan: words (n_axes, n_pairs, 1 or 2), kinds of axes, and
    the magnitude if it has one.

    A word is F / 2 pi modulo 1 in 2^-64 turns, with 32 bits more in a second one for double; on a
    real axis the bits of F / 2 pi, and for precision float32 those of F, as float64.
    """
    high, low, *finer = (part.astype(np.uint64) for part in limbs(plan, 96 if double else 64))
    words = np.where(plan.real_axes, real_turns(plan).view(np.uint64), high << np.uint64(32) | low)
    words = plan.frequencies.view(np.uint64) if precision == "float32" else words
    table = np.stack([words, *finer], axis=-1).swapaxes(0, 1)
    log = [] if plan.log_magnitude is None else [plan.log_magnitude]
    return [np.ascontiguousarray(table), np.array(plan.real_axes, np.int32), *log]


def _constants(key: tuple[Any, ...], build: Callable[[], list[npt.NDArray[Any]]]) -> list[Array]:
    """Return host arrays on the current device, kept for the next call, which may be on another
    stream.
    """

    def upload() -> list[Array]:
        arrays = [cupy.asarray(array) for array in build()]
        cupy.cuda.get_current_stream().synchronize()  # other streams may read them from now on
        return arrays

    device = cupy.cuda.Device().id
    arrays: list[Array] = CONSTANTS.get((device, *key), upload, lambda found: sum(array.nbytes for array in found))
    return arrays
