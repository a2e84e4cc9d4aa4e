"""The NumPy adapter: its dtypes, its shapes, in place, shared tables, and what it refuses."""

import threading

import ml_dtypes
import numpy as np
import pytest
import wrong_calls

import ropecore
import ropecore.backends.numpy as rope
from ropecore import RopeConfig, RopeError, YaRN
from ropecore.backends.numpy import TABLES

PLAN = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan()
SCALED = RopeConfig(head_dim=8, base=100.0, pairing="interleaved", scaling=YaRN(4.0, 64)).plan()
AXES = RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w")).plan()
LADDER = [0, 1, 257, 2049, 4097, 8192, 131071, 2**20, 2**24 + 1, 2**31 - 1]
LADDER += [-p for p in LADDER]


def tensor(*shape: int, dtype="float32", seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("base", [100.0, 1e4, 5e5, 5e7])
def test_float32_tables_are_within_the_exact_class(base: float) -> None:
    plan = RopeConfig(head_dim=128, base=base, pairing="half_split").plan()
    positions = np.concatenate([LADDER, np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 20_000)])
    truth, tables = ropecore.cos_sin(plan, positions), rope.cos_sin(plan, positions)

    for exact, table in zip(truth, tables, strict=True):
        assert table.dtype == np.float32
        assert np.abs(exact - table).max() <= 1.2e-7


def test_float64_is_the_reference() -> None:
    for table, exact in zip(
        rope.cos_sin(SCALED, LADDER, dtype="float64"), ropecore.cos_sin(SCALED, LADDER), strict=True
    ):
        assert table.tobytes() == exact.tobytes()


def test_the_float32_class_multiplies_in_float32() -> None:
    cos, sin = rope.cos_sin(PLAN, LADDER, precision="float32")
    angle = np.array(LADDER, np.float32)[:, None] * PLAN.frequencies[:, 0].astype(np.float32)

    assert cos.tobytes() == np.cos(angle).tobytes()
    assert sin.tobytes() == np.sin(angle).tobytes()
    assert np.abs(cos - ropecore.cos_sin(PLAN, LADDER)[0]).max() > 0.1  # what the exact class is there for


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
@pytest.mark.parametrize("letters", ["bhsd", "bshd", "sbhd", "bsghd"])
def test_every_format_is_a_transpose_of_every_other(dtype, letters: str) -> None:
    sizes = {"b": 2, "g": 3, "h": 4, "s": 5, "d": 8}
    x = tensor(*(sizes[letter] for letter in letters), dtype=dtype)
    positions = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    order = [letters.index(letter) for letter in ("bghsd" if "g" in letters else "bhsd")]
    y = rope.apply(PLAN, x, positions=positions, tensor_format=letters).transpose(order)
    heads = x.transpose(order).reshape(2, -1, 5, 8)

    assert y.dtype == x.dtype
    assert np.array_equal(y.reshape(heads.shape), rope.apply(PLAN, heads, positions=positions))


def test_packed_tokens() -> None:
    x = tensor(5, 2, 8)
    positions = ropecore.packed_positions([0, 2, 5])
    y = rope.apply(PLAN, x, positions=positions, tensor_format="thd")

    assert np.array_equal(y[2:], rope.apply(PLAN, x[2:], tensor_format="thd"))


def test_offsets_are_positions() -> None:
    x = tensor(2, 3, 4, 8)
    rows = np.arange(4) + np.array([[7], [1000]])

    assert np.array_equal(rope.apply(PLAN, x, offset=9), rope.apply(PLAN, x, positions=np.arange(9, 13)))
    assert np.array_equal(rope.apply(PLAN, x, offset=[7, 1000]), rope.apply(PLAN, x, positions=rows))
    assert np.array_equal(rope.apply(PLAN, x, offset=np.array([7, 1000])), rope.apply(PLAN, x, positions=rows))


def test_queries_and_keys_differ_in_heads_and_positions() -> None:
    q, k = tensor(2, 4, 3, 8), tensor(2, 1, 5, 8, seed=1)
    at, k_at = np.array([5, 6, 7]), np.arange(3, 8)
    y = rope.apply(PLAN, q, k, positions=at, k_positions=k_at)

    assert np.array_equal(y[0], rope.apply(PLAN, q, positions=at))
    assert np.array_equal(y[1], rope.apply(PLAN, k, positions=k_at))
    assert rope.apply(PLAN, q, None, positions=at)[1] is None


def test_in_place_gives_the_same_bits_also_in_a_view() -> None:
    fused = tensor(2, 5, 6, 8)
    q, k, v = fused[:, :, :3], fused[:, :, 3:5], fused[:, :, 5:].copy()
    expected = rope.apply(SCALED, q, k, tensor_format="bshd", offset=3)
    result = rope.apply_(SCALED, q, k, tensor_format="bshd", offset=3)

    assert result[0] is q
    assert np.array_equal(q, expected[0])
    assert np.array_equal(k, expected[1])
    assert np.array_equal(fused[:, :, 5:], v)


def test_out_receives_lanes_in_no_row_too() -> None:
    x, out = tensor(1, 1, 3, 8), np.zeros((1, 1, 3, 8), np.float32)
    tables = rope.cos_sin(PLAN, np.arange(3))

    assert rope.rotate(PLAN, x, *tables, out=out) is out
    assert np.array_equal(out, rope.rotate(PLAN, x, *tables))


def test_shift_moves_cached_keys() -> None:
    k = tensor(2, 1, 4, 8, dtype="float64")
    there = rope.apply(SCALED, k, offset=[5, 13])

    assert rope.shift(SCALED, rope.apply(SCALED, k, offset=[2, 9]), [3, 4]) == pytest.approx(there, rel=1e-13)
    assert rope.shift(SCALED, there, -5) == pytest.approx(rope.apply(SCALED, k, offset=[0, 8]), rel=1e-13)


def test_text_in_a_plan_with_axes_is_the_same_as_one_axis() -> None:
    x, ids = tensor(2, 3, 4, 8), np.array([[5, 6, 7, 8], [0, 1, 2, 3]])
    one = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()

    assert np.array_equal(
        rope.apply(AXES, x, positions=ropecore.text_positions(ids, 3)), rope.apply(one, x, positions=ids)
    )
    assert rope.shift(AXES, x, 4).shape == x.shape


def test_compute_input_rounds_every_step() -> None:
    """As Hugging Face's Llama does in bfloat16: tables, products and sum."""
    x, bf = tensor(1, 1, 4, 8, dtype=ml_dtypes.bfloat16), ml_dtypes.bfloat16
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()
    cos, sin = (t.astype(bf) for t in rope.cos_sin(plan, np.arange(4), precision="float32"))
    first, second = x[..., :4], x[..., 4:]
    expected = np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    assert np.array_equal(rope.apply(plan, x, precision="float32", compute="input"), expected)
    assert not np.array_equal(rope.apply(plan, x), expected)


def test_empty_sequences() -> None:
    assert rope.apply(PLAN, tensor(2, 3, 0, 8)).shape == (2, 3, 0, 8)
    assert rope.apply(PLAN, tensor(0, 3, 4, 8)).shape == (0, 3, 4, 8)
    for shape in ((0, 3, 4, 8), (2, 0, 4, 8), (2, 3, 0, 8)):  # by pieces, too
        assert rope.apply(PLAN, tensor(*shape).astype(np.float16), compute="input").shape == shape


def test_read_only_inputs_are_rotated_and_not_changed() -> None:
    x = tensor(1, 2, 3, 8)
    x.flags.writeable = False
    before = x.copy()
    rope.apply(PLAN, x)

    assert np.array_equal(x, before)
    with pytest.raises(RopeError, match="writeable"):
        rope.apply_(PLAN, x)


def test_layers_share_one_table_and_threads_do_too() -> None:
    TABLES.clear()
    x = tensor(1, 2, 64, 8)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(rope.apply(PLAN, x, offset=5))) for _ in range(28)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 28
    assert all(np.array_equal(result, results[0]) for result in results)
    assert len(TABLES) == 1


def test_the_store_knows_everything_that_changes_a_table() -> None:
    TABLES.clear()
    xpos = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=ropecore.XPos(scale_base=8.0)).plan()
    calls = [
        lambda: rope.apply(PLAN, tensor(1, 1, 4, 8)),
        lambda: rope.apply(SCALED, tensor(1, 1, 4, 8)),
        lambda: rope.apply(PLAN, tensor(1, 1, 4, 8), offset=[1]),
        lambda: rope.apply(PLAN, tensor(1, 1, 4, 8), offset=-1),
        lambda: rope.apply(PLAN, tensor(1, 1, 4, 8), offset=2**20),
        lambda: rope.apply(PLAN, tensor(1, 1, 4, 8, dtype="float64")),
        lambda: rope.apply(PLAN, tensor(1, 1, 4, 8), precision="float32"),
        lambda: rope.apply(xpos, tensor(1, 1, 4, 8)),
        lambda: rope.apply(xpos, tensor(1, 1, 4, 8), role="k"),
    ]
    for number, call in enumerate(calls, start=1):
        call()
        assert len(TABLES) == number
    rope.apply(PLAN, tensor(1, 1, 5, 8), offset=7)  # other places of a table that begins at 0
    assert len(TABLES) == len(calls)


def test_the_store_is_bounded() -> None:
    from ropecore.adapter.store import TableStore

    store = TableStore(max_bytes=100)
    for key in range(10):
        store.get(key, lambda: "table", lambda _: 30)

    assert len(store) == 3
    assert store.n_bytes == 90
    assert store.get("large", lambda: "large", lambda _: 101) == "large"
    assert len(store) == 3


def test_the_module_form() -> None:
    emb = rope.RotaryEmbedding(PLAN, tensor_format="bshd")
    q, k = tensor(1, 4, 2, 8), tensor(1, 4, 1, 8)

    assert np.array_equal(emb(q, k, offset=2)[1], rope.apply(PLAN, k, offset=2, tensor_format="bshd"))
    assert np.array_equal(emb(q, positions=[4, 5, 6, 7]), rope.apply(PLAN, q, offset=4, tensor_format="bshd"))


X = tensor(2, 3, 4, 8)
TABLE = rope.cos_sin(PLAN, np.arange(4))
WRONG_CALLS = {
    "long double x": (lambda: rope.apply(PLAN, X.astype(np.longdouble)), "q", "Convert"),
    "text": (lambda: rope.apply(PLAN, "abc"), "q", "Convert"),
    "a broadcast view in place": (lambda: rope.apply_(PLAN, np.lib.stride_tricks.as_strided(X.copy(), X.shape, (0, 96, 32, 4))), "q", "Copy"),
    "a list in place": (lambda: rope.apply_(PLAN, X.tolist()), "q", "Use apply"),
}  # fmt: skip


@pytest.mark.parametrize("case", [*wrong_calls.WRONG, *wrong_calls.WRITING])
def test_wrong_calls_of_every_adapter(case: str) -> None:
    wrong_calls.check(rope, np.array, case)


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls_are_refused_with_the_cure(case: str) -> None:
    call, argument, cure = WRONG_CALLS[case]
    before = X.copy()
    with pytest.raises(RopeError) as refusal:
        call()

    assert refusal.value.argument == argument
    assert cure in str(refusal.value)
    assert np.array_equal(X, before)
