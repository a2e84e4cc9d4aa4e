"""The one-pass kernels: the bits of the reference, whatever the dtype, the lanes, the memory and
the threads.
"""

import ctypes
import errno
import math
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import ropecore
from ropecore import RopeConfig, RotaryPlan
from ropecore.backends import _kernels
from ropecore.backends import numpy as rope
from ropecore.backends._kernels import thread_pool
from ropecore.backends._kernels.job import MOST_CHUNKS, Strides, lanes_of, walk
from ropecore.backends._kernels.tiles import blocks
from ropecore.backends.numpy import fused
from ropecore.backends.numpy.fused import make_tables, of_array, rotate_arrays

pytest.importorskip("numba")
ml_dtypes = pytest.importorskip("ml_dtypes")
has = pytest.importorskip("ropecore.backends._kernels.intrinsics").has

Array = npt.NDArray[Any]
DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def plan(pairing: str, head_dim: int = 80, **how: Any) -> RotaryPlan:
    return RopeConfig(head_dim=head_dim, base=1e4, pairing=pairing, **how).plan()


PLANS = {
    "half_split": plan("half_split"),
    "interleaved": plan("interleaved"),
    "one_block": plan("half_split", 128),
    "one_block_interleaved": plan("interleaved", 128),
    "tiny": plan("interleaved", 2),
    "partial": plan("half_split", 96, rotary_dim=22),
    "partial_interleaved": plan("interleaved", 96, rotary_dim=42),
    "last": plan("half_split", 24, rotary_dim=10, lane_offset=14),
    "deinterleaving": plan("interleaved", 64, out_pairing="half_split", attention_factor=1.25),
    "interleaving": plan("half_split", 40, rotary_dim=36, out_pairing="interleaved"),
    "scattered": RotaryPlan(9, [[0, 5], [7, 2], [3, 8]], [1.0, 0.5, 0.25], [[7, 2], [0, 5], [8, 3]]),
}
SHAPES = [(2, 3, 70, "d"), (1, 1, 1, "d"), (2, 0, 5, "d"), (3, 5, 1, "d"), (1, 40, 300, "d")]


def bits(array: Array) -> Array:
    """The bits of an array, with one NaN for all NaNs: which of two a processor returns is its own
    affair.
    """
    array = np.where(np.isnan(array.astype(np.float64)), np.array(np.nan, array.dtype), array)
    return array.view(f"u{array.itemsize}")


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * 10.0 ** rng.uniform(-7, 4, shape)).astype(DTYPES[dtype])


def tables(plan: RotaryPlan, length: int, dtype: str, ndim: int = 4) -> tuple[Array, Array]:
    cos, sin = rope.cos_sin(plan, np.arange(length) + 1000, dtype="float64" if dtype == "float64" else "float32")
    return cos.reshape(*(1,) * (ndim - 2), *cos.shape), sin.reshape(*(1,) * (ndim - 2), *sin.shape)


def expected(plan: RotaryPlan, x: Array, cos: Array, sin: Array, transpose: bool = False) -> Array:
    with np.errstate(all="ignore"):
        return ropecore.rotate(plan, x, cos, sin, transpose=transpose)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PLANS)
def test_the_bits_are_the_reference_s(name: str, dtype: str) -> None:
    for *lead, _ in SHAPES:
        x = numbers((*lead, PLANS[name].head_dim), dtype)
        cos, sin = tables(PLANS[name], lead[-1], dtype)
        for transpose in (False, True):
            want = bits(expected(PLANS[name], x, cos, sin, transpose))
            turned = -sin if transpose else sin
            for threads in (1, 2, 3):
                y, z = np.full_like(x, 7), x.copy()
                assert rotate_arrays(PLANS[name], [(x, y, cos, turned)], transpose, threads)
                assert rotate_arrays(PLANS[name], [(z, z, cos, turned)], transpose, threads)
                assert np.array_equal(bits(y), want)
                assert np.array_equal(bits(z), want)


VIEWS = {
    "fortran": np.asfortranarray,
    "reversed": lambda x: x[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
    "lanes_backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "heads_inside": lambda x: x.swapaxes(1, 2).copy().swapaxes(1, 2),
    "part_of_a_projection": lambda x: np.concatenate([x, x, x], axis=-1)[..., x.shape[-1] : 2 * x.shape[-1]],
    "every_second_lane": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", VIEWS)
def test_any_strides(view: str, dtype: str) -> None:
    for plan in PLANS.values():
        x = numbers((2, 3, 70, plan.head_dim), dtype)
        cos, sin = tables(plan, 70, dtype)
        want, strided, target = bits(expected(plan, x, cos, sin)), VIEWS[view](x), VIEWS[view](np.zeros_like(x))
        y = np.zeros_like(x)

        assert rotate_arrays(plan, [(strided, y, cos, sin)])
        assert rotate_arrays(plan, [(x, target, cos, sin)])
        assert rotate_arrays(plan, [(strided, strided, cos, sin)])
        assert all(np.array_equal(bits(got), want) for got in (y, target, strided))


def test_q_and_k_in_one_pass_with_tables_of_their_own() -> None:
    q, k = numbers((2, 8, 33, 80), "bfloat16"), numbers((2, 1, 70, 80), "bfloat16", seed=1)
    tables_q, tables_k = tables(PLANS["interleaved"], 33, "bfloat16"), tables(PLANS["interleaved"], 70, "bfloat16")
    got_q, got_k = np.zeros_like(q), np.zeros_like(k)

    assert rotate_arrays(PLANS["interleaved"], [(q, got_q, *tables_q), (k, got_k, *tables_k)], threads=2)
    assert np.array_equal(bits(got_q), bits(expected(PLANS["interleaved"], q, *tables_q)))
    assert np.array_equal(bits(got_k), bits(expected(PLANS["interleaved"], k, *tables_k)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["half_split", "interleaved", "scattered", "partial"])
def test_special_values(name: str, dtype: str) -> None:
    largest, tiny = float(ml_dtypes.finfo(DTYPES[dtype]).max), float(ml_dtypes.finfo(DTYPES[dtype]).smallest_subnormal)
    special = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, largest, -largest, tiny, -tiny, 3 * tiny, 1.0, -1.0]
    plan = PLANS[name]
    size = -(-(len(special) ** 2) // plan.n_pairs)
    x = np.zeros((1, 1, size, plan.head_dim), DTYPES[dtype])
    pairs = np.resize(np.stack(np.meshgrid(special, special), -1).reshape(-1, 2), (size, plan.n_pairs, 2))
    x[0, 0][:, plan.lanes] = pairs
    for angle in (0.0, 0.5, np.pi / 4, 3.0):
        wide = np.float64 if dtype == "float64" else np.float32
        cos, sin = (np.full((1, 1, size, plan.n_pairs), 1.5 * f(angle), wide) for f in (np.cos, np.sin))
        y = np.zeros_like(x)
        assert rotate_arrays(plan, [(x, y, cos, sin)])
        assert np.array_equal(bits(y), bits(expected(plan, x, cos, sin)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["half_split", "interleaved", "one_block", "deinterleaving"])
def test_a_nan_with_all_its_bits_set_stays_one(name: str, dtype: str) -> None:
    plan, wide = PLANS[name], np.float64 if dtype == "float64" else np.float32
    x, ones = np.ones((1, 1, 4, plan.head_dim), DTYPES[dtype]), np.array(-1, f"i{wide().itemsize}")
    for nan in (ones, ones & np.iinfo(ones.dtype).max):  # with either sign
        table = np.full((1, 1, 4, plan.n_pairs), nan.view(wide))
        y = np.zeros_like(x)
        assert rotate_arrays(plan, [(x, y, table, table)])
        assert np.isnan(y.astype(np.float64)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_number_rounds_as_the_reference_does(dtype: str) -> None:
    everything = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[dtype]).reshape(1, 1, -1, 2)
    plan = RopeConfig(head_dim=2, base=1e4, pairing="half_split").plan()
    cos, sin = tables(plan, everything.shape[2], dtype)
    y = np.empty_like(everything)

    assert rotate_arrays(plan, [(everything, y, cos, sin)], threads=2)
    assert np.array_equal(bits(y), bits(expected(plan, everything, cos, sin)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("pairing", ["half_split", "interleaved"])
def test_every_16_bit_number_in_rows_that_are_turned_at_once(pairing: str, dtype: str) -> None:
    plan = RopeConfig(head_dim=128, base=1e4, pairing=pairing).plan()
    lanes = np.arange(1 << 16, dtype=np.uint16), np.random.default_rng(0).permutation(1 << 16).astype(np.uint16)
    x = np.empty((1, 1, 1 << 10, 128), DTYPES[dtype])
    for column, values in zip(plan.lanes.T, lanes, strict=True):
        x[..., column] = values.view(DTYPES[dtype]).reshape(1, 1, -1, 64)
    small = np.abs(x.astype(np.float32)) < 2.0**-126
    still = np.ones((1, 1, 1, 64), np.float32), np.zeros((1, 1, 1, 64), np.float32)
    turned = tables(plan, x.shape[2], dtype)

    for cos, sin in (still, turned, (turned[0] * np.float32(1e-30), turned[1])):  # and so tiny results
        for one in (x, np.where(small, DTYPES[dtype](1), x), np.where(small, DTYPES[dtype](0), x)):
            y = np.empty_like(one)
            assert rotate_arrays(
                plan,
                [(one, y, np.broadcast_to(cos, turned[0].shape).copy(), np.broadcast_to(sin, turned[0].shape).copy())],
            )
            assert np.array_equal(bits(y), bits(expected(plan, one, cos, sin)))


@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="this is such a run")
@pytest.mark.skipif(not has("avx2", "f16c"), reason="this processor has no AVX2")
def test_a_processor_without_wide_vectors(tmp_path: Any) -> None:
    features = ",".join(
        f"+{name}" for name in ("sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "avx", "avx2", "f16c", "fma")
    )
    lesser = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-P", "-m", "pytest", "-q", __file__, "-k", "every_16_bit or q_and_k"]
    subprocess.run(command, env=os.environ | lesser, check=True, timeout=600)


def test_lanes_in_no_row_keep_their_bits() -> None:
    x = np.random.default_rng(0).integers(0, 1 << 16, (1, 2, 40, 96)).astype(np.uint16).view(np.float16)
    y = np.zeros_like(x)
    cos, sin = tables(PLANS["partial"], 40, "float16")

    assert rotate_arrays(PLANS["partial"], [(x, y, cos, sin)])
    assert np.array_equal(y[..., 22:].view(np.uint16), x[..., 22:].view(np.uint16))


def test_what_the_kernels_leave_alone() -> None:
    plan, x = PLANS["half_split"], numbers((1, 2, 5, 80), "float32")
    cos, sin = tables(plan, 5, "float32")
    row = np.zeros(800 + 40, np.float32)
    left, right = row[:800].reshape(1, 2, 5, 80), row[40:].reshape(1, 2, 5, 80)
    field = np.zeros((1, 2, 5, 80), [("flag", "u1"), ("x", "f4")])["x"]
    fixed = x.copy()
    fixed.flags.writeable = False
    for y in (np.zeros_like(x, np.float64), fixed, field, np.zeros_like(x, ">f4"), np.zeros((1, 2, 6, 80), np.float32)):
        assert not rotate_arrays(plan, [(x, y, cos, sin)])
    assert not rotate_arrays(plan, [(left, right, cos, sin)])
    assert not rotate_arrays(plan, [(x, x, cos.astype(np.float64), sin.astype(np.float64))])
    assert not rotate_arrays(plan, [(x, x, np.asfortranarray(cos), np.asfortranarray(sin))])
    assert not _kernels.available("float8")


@pytest.mark.parametrize("n_axes", [1, 3])
def test_tables_have_the_bits_of_the_formula(n_axes: int) -> None:
    rng = np.random.default_rng(n_axes)
    frequencies = rng.uniform(-3, 3, (37, n_axes)) * 10.0 ** rng.uniform(-6, 0, (37, 1))
    lanes = np.arange(74).reshape(37, 2)
    plan = RotaryPlan(74, lanes, frequencies, attention_factor=1.3, axes=("t", "h", "w")[:n_axes])
    edge = [0, 1, -1, 2**31 - 1, 1 - 2**31, 2**30]
    positions = np.concatenate([np.tile(edge, (n_axes, 1)), rng.integers(-(2**31) + 1, 2**31, (n_axes, 500))], axis=1)
    high, low = ropecore.precision.limbs(plan, 64)
    phase = sum(ropecore.precision.phase_32(p[:, None], high[:, a], low[:, a]) for a, p in enumerate(positions))
    want = ropecore.precision.cos_sin_of_phase(phase & 0xFFFFFFFF, lambda r: r.astype(np.float32), np.where)
    for threads in (1, 2):
        made = make_tables(plan, list(positions), threads)
        assert made is not None
        assert all(np.array_equal(got, table * np.float32(1.3)) for got, table in zip(made, want, strict=True))


def test_a_position_out_of_range_is_told() -> None:
    plan, positions = PLANS["half_split"], np.array([0, 2**31, 1])
    cos, sin = np.zeros((2, 3, plan.n_pairs), np.float32)
    assert not _kernels.fill(plan, positions.ctypes.data, 3, cos.ctypes.data, sin.ctypes.data)


def test_rows_are_walked_in_the_order_of_memory() -> None:
    heads_outside = Strides((2, 8, 4096, 128), (8 * 4096 * 128, 4096 * 128, 128, 1))
    heads_inside = Strides((2, 8, 4096, 128), (4096 * 8 * 128, 128, 8 * 128, 1))
    table = Strides((1, 1, 4096, 64), (0, 0, 64, 1))

    for far, block in ((False, 32), (True, 1024)):  # large tensors are walked in longer runs
        outside, inside = (walk(x, x, table, 4, 4, far=far) for x in (heads_outside, heads_inside))
        assert outside is not None
        assert outside[:2] == ((1, 1, 16, 4096), (0, 0, 4096 * 512, 512))  # batch and heads are one loop
        assert (outside.tokens, outside.block, outside.units) == (3, block, 4096 // block * 16)
        assert inside is not None
        assert (inside.sizes, inside.tokens, inside.block) == ((1, 2, 4096, 8), 2, 32)  # a run is long as it is


def test_regular_lanes_are_recognised() -> None:
    assert lanes_of(PLANS["half_split"], "lanes", "out_lanes")[:2] == ("halves", "halves")
    assert lanes_of(PLANS["deinterleaving"], "lanes", "out_lanes")[:2] == ("steps", "halves")
    assert lanes_of(PLANS["deinterleaving"], "out_lanes", "lanes")[:2] == ("halves", "steps")
    assert lanes_of(PLANS["deinterleaving"], "lanes", "out_lanes").moved
    assert lanes_of(PLANS["scattered"], "lanes", "out_lanes")[:2] == ("scattered", "scattered")


def large() -> tuple[RotaryPlan, Array, Array, Array]:
    plan = PLANS["one_block"]
    return plan, numbers((1, 16, 512, 128), "float32"), *tables(plan, 512, "float32")


def test_many_python_threads_at_once() -> None:
    plan, x, cos, sin = large()
    want, wrong = expected(plan, x, cos, sin), []

    def work() -> None:
        for _ in range(5):
            y = np.empty_like(x)
            if not (rotate_arrays(plan, [(x, y, cos, sin)], threads=3) and np.array_equal(y, want)):
                wrong.append(y)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FORKED = """
import os, sys, numpy as np
if "torch" in sys.argv:
    import torch
    torch.set_num_threads(2)
    torch.ones(1 << 20).mul_(2)
from ropecore import RopeConfig
from ropecore.backends import numpy as rope
plan = RopeConfig(head_dim=128, base=1e4, pairing="half_split").plan()
x = np.random.default_rng(0).standard_normal((1, 16, 512, 128), np.float32)
want = rope.apply(plan, x)
for _ in range(3):
    child = os.fork()
    if child == 0:
        again = all(np.array_equal(rope.apply(plan, x), want) for _ in range(3))
        os._exit(0 if again else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(rope.apply(plan, x), want)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("beside", ["", "torch"])
def test_a_forked_child(beside: str) -> None:
    if beside:
        pytest.importorskip(beside)
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", FORKED, beside],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_threads_that_live_as_long_as_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "_openmp", lambda: (0, 0))
    plan, x, cos, sin = large()
    y = np.empty_like(x)

    assert thread_pool.assemble(1 << 30, 4)[0] == 4
    assert rotate_arrays(plan, [(x, y, cos, sin)], threads=4)
    assert np.array_equal(y, expected(plan, x, cos, sin))


REFUSALS: list[int] = []


@ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)
def refuse(*_: Any) -> int:
    REFUSALS.append(errno.EAGAIN)
    return errno.EAGAIN


def test_a_system_that_starts_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, x, cos, sin = large()
    y, members = np.empty_like(x), thread_pool.Team(0, 0, ctypes.cast(refuse, ctypes.c_void_p).value or 0, 1)
    monkeypatch.setattr(thread_pool, "assemble", lambda n_bytes, threads: (4, members))

    assert rotate_arrays(plan, [(x, y, cos, sin)])
    assert np.array_equal(y, expected(plan, x, cos, sin))
    assert len(REFUSALS) == 1


def test_pieces_are_runs_of_tokens() -> None:
    for shape, table, first in (
        ((1, 32, 4096, 128), (1, 1, 4096, 64), (1, 8, 256)),
        ((64, 2, 4096, 128), (64, 1, 4096, 64), (1, 2, 256)),
        ((1, 4096, 32, 128), (1, 4096, 1, 64), (1, 64, 32)),
    ):
        pieces = list(blocks(shape, 4, 1 << 20, table))
        assert tuple(piece.stop for piece in pieces[0]) == first
        assert sum(
            math.prod(min(i.stop, n) - i.start for i, n in zip(at, shape, strict=False)) for at in pieces
        ) == math.prod(shape[:-1])


def test_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert thread_pool.usable_threads() == 5
    assert thread_pool.assemble(1 << 30, None)[0] == 5
    assert thread_pool.assemble(1 << 10, None) == thread_pool.assemble(1 << 30, 1) == (1, thread_pool.ALONE)
    monkeypatch.setattr(thread_pool, "_openmp", lambda: (0, 0))
    assert thread_pool.assemble(3 << 20, None)[0] == 4  # no thread is started for less than WORTH_STARTING
    monkeypatch.setattr(thread_pool, "_posix_threads", lambda: (0, 0))
    assert thread_pool.assemble(1 << 30, None) == (1, thread_pool.ALONE)
    assert thread_pool.chunks(1 << 30, 1) == 1
    assert thread_pool.chunks(1 << 18, 2) == 2
    assert thread_pool.chunks(1 << 44, 4096) == MOST_CHUNKS
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert thread_pool.usable_threads() >= 1


def test_the_adapter_takes_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(rope, "rotate_arrays", lambda *a, **k: calls.append(a) or fused.rotate_arrays(*a, **k))
    q, k = numbers((1, 4, 6, 80), "float32"), numbers((1, 2, 6, 80), "float32")
    for compute, n in (("float32", 1), ("input", 2)):
        rope.apply(PLANS["half_split"], q, k, compute=compute)
        assert len(calls) == n
        assert len(calls[-1][1]) == 2  # q and k together


def test_of_array_counts_strides_in_elements() -> None:
    x = np.zeros((2, 3, 4), np.float16)
    assert of_array(x[:, ::-1]).strides == (12, -4, 1)
