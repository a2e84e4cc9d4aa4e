"""The CuPy adapter on a stand-in for CuPy: the bits of the NumPy adapter, views, in place, axes,
and what runs on the device.
"""

import importlib
import threading
from collections.abc import Iterator
from typing import Any

import cupy_stand_in as stand_in
import numpy as np
import pytest
from mpmath import mp, mpf

import ropecore
import ropecore.backends.numpy as numpy_rope
from ropecore import Damped, RopeConfig, RopeError, RotaryPlan, YaRN
from ropecore.precision import numpy_dtype

DTYPES = ["float32", "float64", "float16", "bfloat16"]
LADDER = [0, 1, 257, 2049, 4097, 8192, 131071, 2**20, 2**24 + 1, 2**31 - 1]
LADDER += [-p for p in LADDER]


def config(head_dim: int = 8, base: float = 100.0, pairing: str = "half_split", **more: Any) -> RopeConfig:
    return RopeConfig(head_dim=head_dim, base=base, pairing=pairing, **more)


PLANS: dict[str, RotaryPlan] = {
    "half_split": config(64).plan(),
    "interleaved": config(64, pairing="interleaved").plan(),
    "first lanes": config(64, rotary_dim=32).plan(),
    "last lanes, interleaved": config(64, pairing="interleaved", rotary_dim=32, lane_offset=32).plan(),
    "lanes that are no chunks": config(10, rotary_dim=6, lane_offset=3).plan(),
    "de-interleaving": config(64, pairing="interleaved", out_pairing="half_split").plan(),
    "de-interleaving in part": config(64, pairing="interleaved", out_pairing="half_split", rotary_dim=48).plan(),
    "half the pairs, a head apart": config(64, scaling=ropecore.Proportional(0.5)).plan(),
    "yarn": config(64, scaling=YaRN(4.0, 64)).plan(),
    "identity": RotaryPlan(8, np.array([[0, 1]]), np.array([0.0])),
}
AXES = config(64, sections=(16, 8, 8), axes=("t", "h", "w")).plan()
REAL = RotaryPlan(8, [[0, 4], [1, 5]], [[3.0], [0.7]], axis_kinds=("real",))
MIXED = RotaryPlan(8, [[0, 4], [1, 5]], [[3.0, 0.5], [0.7, 2.0]], axes=("t", "x"), axis_kinds=("integer", "real"))
GROWING = config(8, scaling=Damped(0.01)).plan()


def tensor(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(numpy_dtype(dtype))


@pytest.fixture(scope="module")
def rope() -> Iterator[Any]:
    """The adapter, on the stand-in."""
    if stand_in.COMPILER is None:
        pytest.skip("g++ is not on PATH")
    with stand_in.installed():
        yield importlib.import_module("ropecore.backends.cupy")


def bits(array: Any) -> bytes:
    host: np.ndarray = stand_in.asnumpy(array)
    return host.tobytes()


# ---- the same bits as the NumPy adapter, by the kernel that the lanes allow


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PLANS)
def test_the_bits_are_those_of_the_numpy_adapter(rope: Any, name: str, dtype: str) -> None:
    plan = PLANS[name]
    x = tensor(2, 3, 5, plan.head_dim, dtype=dtype)
    places = np.array([[7, 7, 2**31 - 1, -3, 0], [1, 2, 3, -(2**31) + 1, 9]])
    cos, sin = numpy_rope.cos_sin(plan, places, dtype="float64" if dtype == "float64" else "float32")
    expected = numpy_rope.rotate(plan, x, cos, sin)
    y = rope.rotate(plan, stand_in.asarray(x), stand_in.asarray(cos), stand_in.asarray(sin))

    assert bits(y) == expected.tobytes()
    z = rope.apply(plan, stand_in.asarray(x), positions=stand_in.asarray(places))
    if dtype == "float64":  # its polynomial is not NumPy's
        assert np.abs(stand_in.asnumpy(z) - expected).max() <= 2.0**-50
    else:
        assert bits(z) == expected.tobytes()


@pytest.mark.parametrize(
    ("plan", "dtype", "kernel"),
    [
        ("half_split", "float32", "runs"), ("half_split", "float64", "runs"), ("half_split", "bfloat16", "runs"),
        ("interleaved", "float16", "interleaved"), ("interleaved", "float64", "interleaved"), ("first lanes", "float16", "runs"),
        ("last lanes, interleaved", "float32", "interleaved"), ("lanes that are no chunks", "float32", "lanes"),
        ("de-interleaving", "float32", "lanes"), ("half the pairs, a head apart", "bfloat16", "runs"),
    ],
)  # fmt: skip
def test_lanes_in_chunks_are_moved_in_chunks(rope: Any, plan: str, dtype: str, kernel: str) -> None:
    x = stand_in.asarray(tensor(1, 2, 3, PLANS[plan].head_dim, dtype=dtype))
    stand_in.launched.clear()
    rope.apply(PLANS[plan], x)

    assert stand_in.launched == [f"rotate_{kernel}_at"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["half_split", "interleaved", "first lanes"])
def test_a_view_that_is_not_aligned_has_the_same_bits(rope: Any, name: str, dtype: str) -> None:
    x = tensor(2, 3, 5, 64, dtype=dtype)
    larger = stand_in.zeros((2, 3, 5, 65), x.dtype)
    larger[..., 1:] = x
    stand_in.launched.clear()
    y = rope.apply(PLANS[name], larger[..., 1:], offset=9)

    assert stand_in.launched == ["rotate_lanes_at"]
    assert bits(y) == bits(rope.apply(PLANS[name], stand_in.asarray(x), offset=9))


@pytest.mark.parametrize("base", [100.0, 1e4, 5e5, 5e7])
def test_tables_are_within_the_exact_class_and_numpys(rope: Any, base: float) -> None:
    plan = config(128, base).plan()
    places = np.concatenate([LADDER, np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 20_000)])
    tables = rope.cos_sin(plan, stand_in.asarray(places))

    for table, exact, numpys in zip(
        tables, ropecore.cos_sin(plan, places), numpy_rope.cos_sin(plan, places), strict=True
    ):
        assert np.abs(stand_in.asnumpy(table) - exact).max() <= 1.2e-7
        assert bits(table) == numpys.tobytes()


def test_float64_tables_are_within_2_to_the_minus_52(rope: Any) -> None:
    eighth = np.pi / 4  # of a turn: there the remainder is largest
    plan = RotaryPlan(8, [[0, 4], [1, 5], [2, 6], [3, 7]], [eighth, eighth * (1 + 1e-6), 0.3, 1e-5])
    rng = np.random.default_rng(0)
    places = np.concatenate([LADDER, rng.integers(-5000, 5000, 1000), rng.integers(-(2**31) + 1, 2**31, 1000)])
    cos, sin = (stand_in.asnumpy(table) for table in rope.cos_sin(plan, stand_in.asarray(places), dtype="float64"))
    with mp.workdps(40):
        angles = [[mpf(int(p)) * mpf(float(f)) for f in plan.frequencies[:, 0]] for p in places]
        worst = max(abs(function(a) - mpf(float(t))) for function, table in ((mp.cos, cos), (mp.sin, sin))
                    for row, line in zip(angles, table, strict=True) for a, t in zip(row, line, strict=True))  # fmt: skip

    assert worst <= mpf(2) ** -52


def test_the_float32_class_is_the_cosine_of_a_rounded_angle(rope: Any) -> None:
    plan = RotaryPlan(8, [[0, 4], [1, 5], [2, 6]], [1.0, 0.3, 2.0**20 + 0.5])
    places = np.array([*LADDER, 12345, -99])
    cos, sin = (stand_in.asnumpy(t) for t in rope.cos_sin(plan, stand_in.asarray(places), precision="float32"))
    angles = places.astype(np.float32)[:, None] * plan.frequencies[:, 0].astype(np.float32)  # up to 2^51
    with mp.workdps(40):
        truth = [[(float(mp.cos(mpf(float(a)))), float(mp.sin(mpf(float(a))))) for a in row] for row in angles]

    assert np.abs(np.stack([cos, sin], -1) - truth).max() <= 1.2e-7
    assert np.abs(cos - ropecore.cos_sin(plan, places)[0]).max() > 0.1  # what the exact class is there for


def first_lane(rope: Any, x: np.ndarray, cos: np.ndarray) -> np.ndarray:
    """Return x * cos of numbers (n,) in the dtype of x, by a rotation of the pairs (x, 0) with sin
    = 0.
    """
    pairs = np.stack([x, np.zeros_like(x)], -1)[None, None]
    tables = (stand_in.asarray(table[:, None]) for table in (cos, np.zeros_like(cos)))
    rotated: np.ndarray = stand_in.asnumpy(rope.rotate(config(2).plan(), stand_in.asarray(pairs), *tables))
    return rotated[0, 0, :, 0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_number_is_read_and_written(rope: Any, dtype: str) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(numpy_dtype(dtype))
    got = first_lane(rope, every, np.ones(1 << 16, np.float32))
    nan = np.isnan(every.astype(np.float32))

    assert np.isnan(got[nan].astype(np.float32)).all()
    assert got[~nan].tobytes() == every[~nan].tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_results_are_rounded_to_the_nearest_16_bit_number(rope: Any, dtype: str) -> None:
    kind = numpy_dtype(dtype)
    numbers = np.arange(1 << 15, dtype=np.uint16).view(kind).astype(np.float32)
    numbers = numbers[np.isfinite(numbers)]  # from 0 on, in order
    halfway = np.float32(0.5) * numbers[1:] + np.float32(0.5) * numbers[:-1]
    anything = np.random.default_rng(0).integers(0, 0x7F800000, 200_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate(
        [halfway, np.nextafter(halfway, np.float32(0)), np.nextafter(halfway, np.float32(1e9)), anything]
    )
    values = np.concatenate([values, -values]).astype(np.float32)
    with np.errstate(over="ignore"):
        wanted = values.astype(kind)

    assert first_lane(rope, np.ones(len(values), kind), values).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["half_split", "interleaved", "de-interleaving in part"])
def test_compute_input_rounds_every_step(rope: Any, name: str, dtype: str) -> None:
    x = tensor(1, 2, 5, 64, dtype=dtype)
    y = rope.apply(PLANS[name], stand_in.asarray(x), offset=3, compute="input")

    assert bits(y) == numpy_rope.apply(PLANS[name], x, offset=3, compute="input").tobytes()
    assert dtype == "float32" or bits(y) != bits(rope.apply(PLANS[name], stand_in.asarray(x), offset=3))


# ---- shapes, views, and where the result goes


@pytest.mark.parametrize("letters", ["bhsd", "bshd", "sbhd", "hsbd", "bsghd", "gbshd", "thd", "sd", "htd"])
def test_every_format(rope: Any, letters: str) -> None:
    sizes = {"b": 2, "g": 3, "h": 4, "s": 5, "t": 5, "d": 64}
    x = tensor(*(sizes[letter] for letter in letters))
    places = [
        np.array([3, 1, 4, 1, 5]),
        *([np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]), np.array([[2, 7, 1, 8, 2]])] if "b" in letters else []),
    ]
    for at in places:
        y = rope.apply(PLANS["half_split"], stand_in.asarray(x), positions=stand_in.asarray(at), tensor_format=letters)

        assert bits(y) == numpy_rope.apply(PLANS["half_split"], x, positions=at, tensor_format=letters).tobytes()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_strided_views(rope: Any, order: tuple[int, ...]) -> None:
    larger = tensor(6, 6, 128, 10, seed=1).transpose(order)[::-2, ::2, 1:]
    plan = RotaryPlan(larger.shape[-1], [[0, 3], [4, 1]], [0.5, 0.25])
    view = stand_in.ndarray(larger)

    assert bits(rope.apply(plan, view)) == numpy_rope.apply(plan, larger).tobytes()


def test_many_heads_share_the_angles_of_a_thread(rope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = tensor(2, 3, 7, 5, 64)
    expected = numpy_rope.apply(PLANS["first lanes"], x, offset=4, tensor_format="bghsd")
    kernel = importlib.import_module("ropecore.backends.cupy.kernel")
    for busy in (1 << 18, 1 << 9, 1):  # one head a thread, some, all
        monkeypatch.setattr(kernel, "BUSY", busy)

        assert (
            bits(rope.apply(PLANS["first lanes"], stand_in.asarray(x), offset=4, tensor_format="bghsd"))
            == expected.tobytes()
        )
    monkeypatch.setattr(kernel, "LARGEST_GRID_Y", 2)

    assert (
        bits(rope.apply(PLANS["first lanes"], stand_in.asarray(x), offset=4, tensor_format="bghsd"))
        == expected.tobytes()
    )


def test_heads_that_are_wider_than_a_block(rope: Any) -> None:
    plan, x = config(2050, 1e4).plan(), tensor(1, 2, 3, 2050)

    assert bits(rope.apply(plan, stand_in.asarray(x), offset=5)) == numpy_rope.apply(plan, x, offset=5).tobytes()


def test_queries_and_keys_differ_in_heads_and_positions(rope: Any) -> None:
    q, k, plan = tensor(2, 4, 3, 64), tensor(2, 1, 5, 64, seed=1), PLANS["yarn"]
    at, k_at = np.array([5, 6, 7]), np.arange(3, 8)
    y = rope.apply(plan, stand_in.asarray(q), stand_in.asarray(k), positions=at, k_positions=stand_in.asarray(k_at))

    assert bits(y[0]) == numpy_rope.apply(plan, q, positions=at).tobytes()
    assert bits(y[1]) == numpy_rope.apply(plan, k, positions=k_at).tobytes()
    only = rope.apply(plan, None, stand_in.asarray(k), positions=k_at)
    assert only[0] is None
    assert bits(only[1]) == bits(y[1])
    assert rope.apply(plan, stand_in.asarray(q), None, positions=at)[1] is None


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_place_in_one_fused_array(rope: Any, name: str, dtype: str) -> None:
    plan = PLANS[name]
    fused = stand_in.asarray(tensor(2, 5, 6, plan.head_dim, dtype=dtype))
    q, k, v = fused[:, :, :3], fused[:, :, 3:5], bits(fused[:, :, 5:])
    expected = [bits(y) for y in rope.apply(plan, q, k, tensor_format="bshd", offset=3)]
    result = rope.apply_(plan, q, k, tensor_format="bshd", offset=3)

    assert result[0] is q
    assert result[1] is k
    assert [bits(q), bits(k), bits(fused[:, :, 5:])] == [*expected, v]


@pytest.mark.parametrize("name", PLANS)
def test_out_receives_lanes_in_no_row_too(rope: Any, name: str) -> None:
    plan = PLANS[name]
    x = stand_in.asarray(tensor(1, 2, 3, plan.head_dim))
    tables = rope.cos_sin(plan, np.arange(3))
    before, expected = bits(x), bits(rope.rotate(plan, x, *tables))
    frame = stand_in.zeros((1, 2, 5, plan.head_dim + 2), np.float32)
    out = frame[:, :, 1:4, 1:-1]

    assert rope.rotate(plan, x, *tables, out=out) is out
    assert bits(out) == expected
    out[...] = 0
    assert not stand_in.asnumpy(frame).any()  # nothing was written around it
    assert bits(x) == before
    assert rope.rotate(plan, x, *tables, out=x) is x
    assert bits(x) == expected


@pytest.mark.parametrize("mode", ["inverse", "transpose"])
@pytest.mark.parametrize("name", [*PLANS, "growing"])
def test_inverse_and_transpose(rope: Any, name: str, mode: str) -> None:
    plan = GROWING if name == "growing" else PLANS[name]
    x = tensor(2, 2, 5, plan.head_dim)
    tables = numpy_rope.cos_sin(plan, np.arange(3, 8))
    y = rope.rotate(plan, stand_in.asarray(x), *map(stand_in.asarray, tables), **{mode: True})

    assert bits(y) == numpy_rope.rotate(plan, x, *tables, **{mode: True}).tobytes()


def test_shift_moves_cached_keys(rope: Any) -> None:
    for plan in (PLANS["yarn"], PLANS["de-interleaving"], AXES, GROWING, REAL, MIXED):
        k = tensor(2, 1, 4, plan.head_dim)
        for delta in (-5, [3, 2**20]):
            moved = rope.shift(plan, stand_in.asarray(k), delta if plan is not GROWING else 7)
            expected = numpy_rope.shift(plan, k, delta if plan is not GROWING else 7)

            assert bits(moved) == expected.tobytes()
        device = rope.shift(plan, stand_in.asarray(k), stand_in.asarray(np.array([3, 9])))
        assert bits(device) == numpy_rope.shift(plan, k, [3, 9]).tobytes()


@pytest.mark.parametrize("plan", [AXES, REAL, MIXED], ids=["integer axes", "a real axis", "both"])
def test_axes(rope: Any, plan: RotaryPlan) -> None:
    x, rng = tensor(2, 3, 5, plan.head_dim), np.random.default_rng(3)
    for shape in ((5,), (2, 5), (1, 5)):
        columns = [rng.normal(size=shape) * 50 if real else rng.integers(-9999, 9999, shape) for real in plan.real_axes]
        host = columns if plan is MIXED else columns[0] if plan is REAL else np.stack(columns)
        device = [stand_in.asarray(c) for c in host] if plan is MIXED else stand_in.asarray(host)
        expected = numpy_rope.apply(plan, x, positions=host).tobytes()

        assert bits(rope.apply(plan, stand_in.asarray(x), positions=host)) == expected
        assert bits(rope.apply(plan, stand_in.asarray(x), positions=device)) == expected
        cos, exact = rope.cos_sin(plan, device)[0], numpy_rope.cos_sin(plan, host)[0]
        assert bits(cos) == exact.tobytes()


def test_offsets_are_positions(rope: Any) -> None:
    x, plan = stand_in.asarray(tensor(2, 3, 4, 64)), PLANS["half_split"]
    rows = stand_in.asarray(np.arange(4) + np.array([[7], [1000]]))

    assert bits(rope.apply(plan, x, offset=9)) == bits(rope.apply(plan, x, positions=np.arange(9, 13)))
    assert bits(rope.apply(plan, x, offset=stand_in.asarray(np.array(9)))) == bits(rope.apply(plan, x, offset=9))
    for offset in ([7, 1000], np.array([7, 1000]), stand_in.asarray(np.array([7, 1000], np.int32))):
        assert bits(rope.apply(plan, x, offset=offset)) == bits(rope.apply(plan, x, positions=rows))


def test_more_pairs_than_a_block_has_threads(rope: Any) -> None:
    plan = config(1030, 1e4).plan()

    assert bits(rope.cos_sin(plan, [3, 5])[1]) == numpy_rope.cos_sin(plan, [3, 5])[1].tobytes()


def test_positions_of_any_shape_and_kind(rope: Any) -> None:
    plan, places = PLANS["half_split"], np.arange(24).reshape(2, 3, 4)
    expected = numpy_rope.cos_sin(plan, places)[1].tobytes()
    for at in (
        places,
        places.tolist(),
        stand_in.asarray(places.astype(np.uint8)),
        stand_in.asarray(np.asfortranarray(places)),
    ):
        assert bits(rope.cos_sin(plan, at)[1]) == expected
    assert rope.cos_sin(plan, 5)[0].shape == (32,)


def test_empty_and_nothing_to_turn(rope: Any) -> None:
    for shape in ((2, 3, 0, 64), (0, 3, 4, 64), (2, 0, 4, 64)):
        assert rope.apply(PLANS["half_split"], stand_in.zeros(shape, np.float32)).shape == shape
    assert rope.cos_sin(PLANS["half_split"], [])[0].shape == (0, 32)
    x = stand_in.asarray(tensor(1, 2, 3, 8))
    assert bits(rope.apply(PLANS["identity"], x)) == bits(x)
    assert rope.cos_sin(PLANS["identity"], [1, 2])[0].shape == (2, 0)


def test_a_module(rope: Any) -> None:
    emb = rope.RotaryEmbedding(PLANS["yarn"], tensor_format="bshd")
    q, k = stand_in.asarray(tensor(2, 3, 4, 64)), stand_in.asarray(tensor(2, 3, 1, 64))
    expected = rope.apply(PLANS["yarn"], q, k, offset=3, tensor_format="bshd")

    assert [bits(y) for y in emb(q, k, offset=3)] == [bits(y) for y in expected]
    assert bits(emb(q, offset=3)) == bits(expected[0])


# ---- what happens on the device


def test_a_call_is_one_launch_and_one_array(rope: Any) -> None:
    q, k = stand_in.asarray(tensor(2, 4, 16, 64)), stand_in.asarray(tensor(2, 1, 16, 64))
    places = stand_in.asarray(np.arange(100, 116))
    rope.apply(PLANS["half_split"], q, k, positions=places)  # compiles, and uploads the plan
    for call, allocated in ((rope.apply, ["empty", "empty"]), (rope.apply_, [])):
        stand_in.launched.clear()
        stand_in.events.clear()
        call(PLANS["half_split"], q, k, positions=places)
        call(PLANS["half_split"], q, k, offset=7)

        assert stand_in.launched == ["rotate_runs_at"] * 4  # no table
        assert stand_in.events == allocated * 2  # nothing is read back, waited for or uploaded


def test_positions_on_a_device_wrap_and_never_raise(rope: Any) -> None:
    x = stand_in.asarray(tensor(1, 1, 4, 64))
    far = np.array([2**31, 2**32 + 5, -(2**31) - 1, 2**40 + 3])
    near = np.array([-(2**31), 5, 2**31 - 1, 3])
    for dtype in ("float32", "float64"):
        for there, here in zip(rope.cos_sin(PLANS["yarn"], stand_in.asarray(far), dtype=dtype),
                               rope.cos_sin(PLANS["yarn"], stand_in.asarray(near), dtype=dtype), strict=True):  # fmt: skip
            assert bits(there) == bits(here)
    inside = rope.apply(PLANS["yarn"], x, positions=stand_in.asarray(near))
    assert bits(rope.apply(PLANS["yarn"], x, positions=stand_in.asarray(far))) == bits(inside)
    assert bits(rope.apply(PLANS["yarn"], x, positions=stand_in.asarray(near.astype(np.uint32)))) == bits(inside)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_device_cannot_refuse_is_nan(rope: Any, dtype: str) -> None:
    x = tensor(1, 1, 4, 8, dtype=dtype)
    places = np.array([0.5, np.nan, np.inf, -1.0])
    y = stand_in.asnumpy(rope.apply(REAL, stand_in.asarray(x), positions=stand_in.asarray(places)))
    lanes, still = REAL.lanes.ravel(), [2, 3, 6, 7]

    assert np.isnan(y[0, 0, 1:3][:, lanes]).all()
    assert np.isfinite(y[0, 0, [0, 3]]).all()
    assert np.array_equal(y[..., still], x[..., still])
    far = np.array([0, 6931, 6932, -6932])  # 0.01 * 6931.4 = 100 ln 2
    y = stand_in.asnumpy(rope.apply(GROWING, stand_in.asarray(x), positions=stand_in.asarray(far)))
    assert np.isfinite(y[0, 0, :2]).all()
    assert np.isnan(y[0, 0, 2:]).all()


def test_magnitudes_are_within_the_model(rope: Any) -> None:
    places = np.array([0, 100, -250, 900])
    for role in ("q", "k"):
        exact = ropecore.cos_sin(GROWING, places, role)
        for dtype, u in (("float32", 2.0**-24), ("float64", 2.0**-53)):
            scale = np.exp((1 if role == "q" else -1) * -0.01 * places)[:, None]
            bound = scale * (
                (1.2e-7 if dtype == "float32" else 2.0**-52) + (3 * np.abs(0.01 * places)[:, None] + 4) * u
            )
            for table, truth in zip(
                rope.cos_sin(GROWING, stand_in.asarray(places), role, dtype=dtype), exact, strict=True
            ):
                assert (np.abs(stand_in.asnumpy(table) - truth) <= bound).all()


def test_everything_stays_on_the_device_of_x(rope: Any) -> None:
    x, plan = tensor(2, 3, 5, 64), PLANS["yarn"]
    with stand_in.Device(1):
        q, k, places = stand_in.asarray(x), stand_in.asarray(x), stand_in.asarray(np.arange(5))
    results = [
        *rope.apply(plan, q, k, positions=places),
        *rope.apply(plan, q, k, positions=np.arange(5)),
        rope.shift(plan, q, [1, 2]),
    ]
    results += [*rope.cos_sin(plan, places), rope.rotate(plan, q, *rope.cos_sin(plan, places), inverse=True)]
    results += [*rope.apply_(plan, q, k, offset=stand_in.ndarray(np.array(0), stand_in.Device(1)))]

    assert {result.device.id for result in results} == {1}
    assert bits(results[-1]) == numpy_rope.apply(plan, x).tobytes()
    for argument, wrong in {
        "positions": lambda: rope.apply(plan, q, positions=stand_in.asarray(np.arange(5))),
        "offset": lambda: rope.apply(plan, q, offset=stand_in.asarray(np.array(3))),
        "cos": lambda: rope.rotate(plan, q, *rope.cos_sin(plan, np.arange(5))),
    }.items():
        with pytest.raises(RopeError, match="another device") as refusal:
            wrong()
        assert refusal.value.argument == argument


def test_threads_share_what_is_uploaded(rope: Any) -> None:
    plan, x = config(64, 777.0).plan(), stand_in.asarray(tensor(2, 3, 5, 64))
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(bits(rope.apply(plan, x, offset=5)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stand_in.events.clear()
    results.append(bits(rope.apply(plan, x, offset=5)))

    assert len(results) == 9
    assert len(set(results)) == 1
    assert stand_in.events == ["empty", "to host"]


def test_memory_is_compared_by_address_alone(rope: Any) -> None:
    """The addresses of a device mean nothing to the host: reading one would end the process."""
    kernel = importlib.import_module("ropecore.backends.cupy.kernel")

    def on_a_device(address: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
        return type(
            "Array",
            (),
            {"shape": shape, "strides": strides, "itemsize": 2, "data": type("Memory", (), {"ptr": address})},
        )

    whole = on_a_device(0x7F00_0000_0000, (4, 8), (32, 2))
    assert kernel.share_memory(whole, on_a_device(0x7F00_0000_000E, (4, 8), (32, 2)))
    assert not kernel.share_memory(whole, on_a_device(0x7F00_0000_0010, (4, 8), (32, 2)))  # the other half of each row
