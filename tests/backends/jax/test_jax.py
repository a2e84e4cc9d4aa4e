"""The JAX adapter called eagerly and under jit: its numbers, shapes, dtypes and positions, and what
it refuses.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import wrong_calls
from jax_cases import AXES, DTYPES, LADDER, MIXED, PLAN, PLANS, XPOS, bits, positions_of, tensor, within, x64

import ropecore
import ropecore.backends.jax as rope
from ropecore import RopeConfig, RopeError, RotaryPlan
from ropecore.backends.jax import rotation
from ropecore.conformance import bounds

# ---- tables


def of_every_kind(plan: RotaryPlan, positions: Any, **how: Any) -> list[tuple[Any, Any]]:
    """Tables made eagerly, under jit with positions traced, and both under x64."""
    made: list[tuple[Any, Any]] = []
    for enabled in (False, True):
        with x64(enabled):
            made.append(rope.cos_sin(plan, positions, **how))
            made.append(jax.jit(lambda p: rope.cos_sin(plan, p, **how))(np.asarray(positions)))
    return made


@pytest.mark.parametrize("base", [100.0, 1e4, 5e5, 5e7])
def test_float32_tables_are_exact_eagerly_and_under_jit_with_and_without_x64(base: float) -> None:
    plan = RopeConfig(head_dim=128, base=base, pairing="half_split").plan()
    positions = np.concatenate([LADDER, np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 5000)])
    made = of_every_kind(plan, positions)

    for exact, table in zip(ropecore.cos_sin(plan, positions), made[0], strict=True):
        assert table.dtype == np.float32
        assert np.abs(exact - table).max() <= 1.2e-7
    assert [bits(*tables) for tables in made] == [bits(*made[0])] * 4  # x64 changes nothing, and nor does jit here


def test_float64_tables_are_within_two_to_the_minus_52() -> None:
    plan = RopeConfig(head_dim=128, base=5e5, pairing="half_split").plan()
    positions = np.concatenate([LADDER, np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 5000)])
    with x64():
        for tables in (
            rope.cos_sin(plan, positions, dtype="float64"),
            jax.jit(lambda p: rope.cos_sin(plan, p, dtype="float64"))(positions),
        ):
            for exact, table in zip(ropecore.cos_sin(plan, positions), tables, strict=True):
                assert table.dtype == np.float64
                assert np.abs(exact - table).max() <= 2**-52


def test_the_float32_class_is_a_float32_product() -> None:
    plan = RopeConfig(head_dim=128, base=5e5, pairing="half_split").plan()
    angle = np.array(LADDER, np.float32)[:, None] * plan.frequencies[:, 0].astype(np.float32)
    made = of_every_kind(plan, LADDER, precision="float32")

    for tables in made:
        assert np.abs(np.asarray(tables[0]) - np.cos(angle.astype(float))).max() <= 1.2e-7
        assert np.abs(np.asarray(tables[1]) - np.sin(angle.astype(float))).max() <= 1.2e-7
    assert (
        np.abs(np.asarray(made[0][0]) - ropecore.cos_sin(plan, LADDER)[0]).max() > 0.1
    )  # what the exact class is there for


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_tables_are_float32_tables_rounded_once(dtype: str) -> None:
    for table, wide in zip(rope.cos_sin(PLAN, LADDER, dtype=dtype), rope.cos_sin(PLAN, LADDER), strict=True):
        assert bits(table) == bits(wide.astype(dtype))


@pytest.mark.parametrize("centre", [0.0, 2.5, 2.0**31 - 100.25, -(2.0**30), 1e12])
@pytest.mark.parametrize("role", ["q", "k"])
def test_magnitudes_grow_from_their_centre(centre: float, role: str) -> None:
    """float32(p) - centre would be off by up to 64 positions at 2^31."""
    near = min(centre, 2.0**31 - 1)
    plan = XPOS.replace(
        centre=centre, log_magnitude=XPOS.log_magnitude if near == centre else XPOS.log_magnitude * 1e-12
    )
    positions = np.clip(round(near) + np.arange(-40, 40), -(2**31) + 1, 2**31 - 1)
    at = bounds.turns(plan, positions, role)

    for tables in of_every_kind(plan, positions, role=role):
        for exact, table in zip(ropecore.cos_sin(plan, positions, role), tables, strict=True):
            limit = bounds.table_bound(at, "float32", bounds.Words("exact"))
            assert (np.abs(exact - table) <= limit).all()


def test_real_axes_beside_integer_ones() -> None:
    columns = [np.array([0, 7, -(2**31) + 1]), np.array([0.0, 1.25, -3.5]), np.array([0.5, -0.125, 1000.0])]
    exact, at = ropecore.cos_sin(MIXED, columns), bounds.turns(MIXED, np.array(columns))
    for dtype in ("float32", "float64"):
        with x64(dtype == "float64"):
            limit = bounds.table_bound(at, dtype, bounds.Words("exact"))
            eager = rope.cos_sin(MIXED, columns, dtype=dtype)
            traced = jax.jit(lambda p, dtype=dtype: rope.cos_sin(MIXED, p, dtype=dtype))(columns)
        for tables in (eager, traced):
            assert all((np.abs(e - np.asarray(t)) <= limit).all() for e, t in zip(exact, tables, strict=True))


def test_half_a_turn_on_a_real_axis() -> None:
    """Half a turn is 2^31 of its units, which int32 does not hold."""
    plan = RotaryPlan(2, [[0, 1]], [np.pi], axis_kinds=("real",))
    cos, sin = rope.cos_sin(plan, np.array([1.0, -1.0, 3.0, 1001.0]))

    assert np.abs(np.asarray(cos)[:3] + 1).max() <= 1.2e-7
    assert np.abs(np.asarray(sin)[:3]).max() <= 1.2e-7 + 2**-23 * np.pi * 3
    assert np.asarray(cos)[3] < -0.999


def test_equal_positions_on_all_axes_are_one_position() -> None:
    one = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()
    assert bits(*rope.cos_sin(AXES, np.array([LADDER] * 3))) == bits(*rope.cos_sin(one, LADDER))


# ---- rotations


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PLANS)
def test_every_plan_in_every_dtype(name: str, dtype: str) -> None:
    plan = PLANS[name]
    with x64(dtype == "float64"):
        x, positions = tensor(2, 3, 5, plan.head_dim, dtype=dtype), positions_of(plan, 2, 5)
        tables = rope.cos_sin(plan, positions, dtype="float64" if dtype == "float64" else "float32")

        assert within(plan, x, rope.apply(plan, x, positions=positions), positions)
        assert within(plan, x, rope.rotate(plan, x, *tables, transpose=True), positions, mode="transpose")
        assert within(plan, x, rope.rotate(plan, x, *tables, inverse=True), positions, mode="inverse")
        assert within(plan, x, rope.apply(plan, x, positions=positions, compute="input"), positions, compute="input")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["half_split", "proportional", "deinterleaving", "scattered"])
def test_large_tensors_whose_tables_are_written_to_memory(name: str, dtype: str) -> None:
    plan, shape = PLANS[name], (2, 4, 1100, 8)
    x, positions = tensor(*shape, dtype=dtype), positions_of(PLANS[name], 1100, largest=2**31)

    assert x.size > rotation.SMALL
    assert within(plan, x, rope.apply(plan, x, positions=positions), positions)
    assert within(plan, x, jax.jit(lambda x, p: rope.apply(plan, x, positions=p))(x, positions), positions)


@pytest.mark.parametrize("name", PLANS)
def test_jit_gives_the_same_numbers_within_the_model(name: str) -> None:
    plan, positions = PLANS[name], positions_of(PLANS[name], 5, largest=99)
    x = tensor(2, 3, 5, plan.head_dim)

    assert within(plan, x, jax.jit(lambda x, p: rope.apply(plan, x, positions=p))(x, positions), positions)


@pytest.mark.parametrize("name", PLANS)
def test_lanes_in_no_row_keep_their_bits_and_nan_stays_in_its_pair(name: str) -> None:
    plan = PLANS[name]
    positions = positions_of(plan, plan.head_dim)
    odd = np.array([0x7FC01234, 0xFF800000, 0x80000000, 0x00000001], np.uint32).view(np.float32)  # NaN, -inf, -0, tiny
    x = np.random.default_rng(0).normal(size=(1, 1, plan.head_dim, plan.head_dim)).astype(np.float32)
    still = sorted(set(range(plan.head_dim)) - set(plan.lanes.ravel().tolist()))
    x[0, 0, : len(still), still] = odd[np.arange(len(still)) % 4, None]
    x[0, 0, range(plan.head_dim), range(plan.head_dim)] = np.nan  # token i has one in lane i
    y = np.asarray(rope.apply(plan, x, positions=positions))

    assert bits(y[..., still]) == bits(x[..., still])
    of = {int(lane): set(out) for pair, out in zip(plan.lanes, plan.out.tolist(), strict=True) for lane in pair}
    for lane in range(plan.head_dim):
        spoilt = set(np.flatnonzero(np.isnan(y[0, 0, lane]))) - set(still)
        assert spoilt == of.get(lane, set())


@pytest.mark.parametrize("letters", ["bhsd", "bshd", "sbhd", "bsghd", "hbsd"])
def test_every_format_is_a_transpose_of_every_other(letters: str) -> None:
    sizes = {"b": 2, "g": 3, "h": 4, "s": 5, "d": 8}
    x = np.asarray(tensor(*(sizes[letter] for letter in letters)))
    positions = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    order = [letters.index(letter) for letter in ("bghsd" if "g" in letters else "bhsd")]
    y = np.asarray(rope.apply(PLAN, x, positions=positions, tensor_format=letters)).transpose(order)
    heads = x.transpose(order).reshape(2, -1, 5, 8)

    assert bits(y.reshape(heads.shape)) == bits(rope.apply(PLAN, heads, positions=positions))


def test_packed_tokens() -> None:
    x = tensor(5, 2, 8)
    y = rope.apply(PLAN, x, positions=ropecore.packed_positions([0, 2, 5]), tensor_format="thd")

    assert bits(y[2:]) == bits(rope.apply(PLAN, x[2:], tensor_format="thd"))


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_positions_of_every_integer_dtype(dtype: str) -> None:
    x, positions = tensor(2, 3, 4, 8), [3, 1, 127, 5]
    expected = bits(rope.apply(PLAN, x, positions=positions))

    assert bits(rope.apply(PLAN, x, positions=np.array(positions, dtype))) == expected
    with x64():
        array = jnp.asarray(positions, dtype)
        assert array.dtype == dtype
        assert bits(rope.apply(PLAN, x, positions=array)) == expected
        assert bits(jax.jit(lambda x, p: rope.apply(PLAN, x, positions=p))(x, array)) == expected


def test_int64_positions_of_numpy_keep_their_range_without_x64() -> None:
    x, positions = tensor(1, 1, 2, 8), np.array([2**31 - 1, -(2**31) + 1])
    assert within(PLAN, x, rope.apply(PLAN, x, positions=positions), positions)


def test_values_that_are_not_read_wrap() -> None:
    far, near = np.array([2**32 + 5, -(2**32) + 7, 2**31, 3]), np.array([5, 7, -(2**31), 3])
    with x64():
        wrapped = jax.jit(lambda p: rope.cos_sin(PLAN, p))(jnp.asarray(far))
        assert bits(*wrapped) == bits(*jax.jit(lambda p: rope.cos_sin(PLAN, p))(jnp.asarray(near)))
    unsigned = jax.jit(lambda p: rope.cos_sin(PLAN, p))(jnp.asarray([2**32 - 5], jnp.uint32))
    assert bits(*unsigned) == bits(*rope.cos_sin(PLAN, [-5]))


def test_offsets_are_positions() -> None:
    x, rows = tensor(2, 3, 4, 8), np.arange(4) + np.array([[7], [1000]])

    for nine in (9, np.int64(9), np.array(9), jnp.int32(9)):
        assert bits(rope.apply(PLAN, x, offset=nine)) == bits(rope.apply(PLAN, x, positions=np.arange(9, 13)))
    for both in ([7, 1000], (7, 1000), np.array([7, 1000]), jnp.array([7, 1000])):
        assert bits(rope.apply(PLAN, x, offset=both)) == bits(rope.apply(PLAN, x, positions=rows))


def test_offsets_may_be_traced() -> None:
    x, jitted = tensor(2, 3, 4, 8), jax.jit(lambda x, offset: rope.apply(PLAN, x, offset=offset))

    for offset in (9, np.array([7, 1000])):
        assert bits(jitted(x, offset)) == bits(rope.apply(PLAN, x, offset=offset))
    assert bits(jax.jit(lambda x: rope.apply(PLAN, x, offset=9))(x)) == bits(rope.apply(PLAN, x, offset=9))


def test_one_token_takes_an_int() -> None:
    x = tensor(2, 3, 1, 8)
    assert bits(rope.apply(PLAN, x, positions=7)) == bits(rope.apply(PLAN, x, offset=7))


def test_queries_and_keys_differ_in_heads_and_positions() -> None:
    q, k = tensor(2, 4, 3, 8), tensor(2, 1, 5, 8, seed=1)
    at, k_at = np.array([5, 6, 7]), np.arange(3, 8)
    y = rope.apply(XPOS, q, k, positions=at, k_positions=k_at)

    assert bits(y[0]) == bits(rope.apply(XPOS, q, positions=at))
    assert bits(y[1]) == bits(rope.apply(XPOS, k, positions=k_at, role="k"))
    assert rope.apply(XPOS, q, None, positions=at)[1] is None
    assert bits(rope.apply(XPOS, None, k, positions=k_at)[1]) == bits(y[1])


def test_shift_moves_cached_keys() -> None:
    plan = PLANS["interleaved_yarn"]
    with x64():
        k = tensor(2, 1, 4, 8, dtype="float64")
        there = rope.apply(plan, k, offset=[5, 13])
        here = rope.apply(plan, k, offset=[2, 9])
        moved = rope.shift(plan, here, [3, 4])
        traced = jax.jit(lambda k, by: rope.shift(plan, k, by))(here, np.array([3, 4]))

        assert np.asarray(moved) == pytest.approx(np.asarray(there), rel=1e-13)
        assert bits(traced) == bits(moved)
        flat = rope.shift(AXES, rope.apply(AXES, k, positions=np.full((3, 4), 2)), 5)
        assert np.asarray(flat) == pytest.approx(
            np.asarray(rope.apply(AXES, k, positions=np.full((3, 4), 7))), rel=1e-13
        )


@pytest.mark.parametrize("name", PLANS)
def test_empty_sequences_and_batches(name: str) -> None:
    plan = PLANS[name]
    for shape in ((2, 3, 0, plan.head_dim), (0, 3, 4, plan.head_dim), (2, 0, 4, plan.head_dim)):
        x = tensor(*shape, dtype="bfloat16")
        y = rope.apply(plan, x, positions=positions_of(plan, shape[2]))

        assert (y.shape, y.dtype) == (x.shape, x.dtype)


def test_calls_leave_nothing_behind_that_a_plan_could_spoil() -> None:
    """Plans of one size share what is compiled; their frequencies, factors and roles are arguments
    of it.
    """
    x, positions = tensor(1, 2, 4, 8), np.arange(50, 54)
    plans = [RopeConfig(head_dim=8, base=b, pairing="half_split").plan() for b in (1e4, 5e5)]
    plans += [plans[0].replace(attention_factor=1.5)]
    for plan in plans * 2:
        assert within(plan, x, rope.apply(plan, x, positions=positions), positions)


def test_eager_calls_compile_once_for_all_offsets_and_plans_of_a_size() -> None:
    x = tensor(1, 2, 7, 8)
    rope.apply(PLAN, x, offset=0)
    before = rotation.turn._cache_size()
    for offset in range(20):
        rope.apply(PLAN.with_frequencies(PLAN.frequencies * 0.5), x, offset=offset)
    assert rotation.turn._cache_size() == before

    rope.apply(PLAN, tensor(1, 2, 11, 8))
    assert rotation.turn._cache_size() == before + 1  # the counter counts


@pytest.mark.parametrize("mode", ["x64", "matmul precision", "strict promotion"])
def test_ambient_modes_change_nothing(mode: str) -> None:
    modes = {"x64": x64, "matmul precision": lambda: jax.default_matmul_precision("bfloat16")}
    modes["strict promotion"] = lambda: jax.numpy_dtype_promotion("strict")

    def results() -> list[bytes]:
        return bits(*(rope.apply(plan, x, positions=positions_of(plan, 4)) for plan, x in tensors))

    tensors = [(plan, tensor(2, 3, 4, plan.head_dim, dtype="bfloat16")) for plan in PLANS.values()]
    outside = results()
    with modes[mode]():
        assert results() == outside


def test_without_jit_results_stay_within_the_model() -> None:
    """XLA contracts products and sums when it fuses them: R-10.6 holds all the same, bits may
    differ.
    """
    x, positions = tensor(2, 3, 4, 8), positions_of(PLAN, 4)
    with jax.disable_jit():
        assert within(PLAN, x, rope.apply(PLAN, x, positions=positions), positions)


# ---- refusals

X = tensor(2, 3, 4, 8)
TABLE = rope.cos_sin(PLAN, range(4))


def traced(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """The call under jit, where shapes and kinds are seen, and values are not."""
    return lambda: jax.jit(function)(*arguments)


WRONG_CALLS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "float8 x": (lambda: rope.apply(PLAN, X.astype(jnp.float8_e4m3fn)), "q", "Convert"),
    "float64 x without x64": (lambda: rope.apply(PLAN, np.zeros((2, 3, 4, 8))), "q", "jax_enable_x64"),
    "float64 tables without x64": (lambda: rope.cos_sin(PLAN, [1], dtype="float64"), "dtype", "jax_enable_x64"),
    "a list": (lambda: rope.apply(PLAN, X, X.tolist()), "k", "jnp.asarray"),
    "heads not split, under jit": (traced(lambda x: rope.apply(PLAN, x), X.reshape(2, 1, 4, 24)), "q", "each head"),
    "k of another length": (lambda: rope.apply(PLAN, X, X[:, :, :3], positions=range(4)), "positions", "(3)"),
    "float positions under jit": (traced(lambda p: rope.apply(PLAN, X, positions=p), jnp.arange(4.0)), "positions", "Round"),
    "boolean positions on a real axis": (traced(lambda p: rope.cos_sin(MIXED, [p, p > 0, p > 0]), jnp.arange(4)), "positions", "numbers"),
    "positions as text": (lambda: rope.apply(PLAN, X[:, :, :1], positions=["0"]), "positions", "integers"),
    "a list of traced positions": (traced(lambda p: rope.apply(PLAN, X, positions=[p, p, p, p]), 1), "positions", "stack"),
    "huge positions": (lambda: rope.apply(PLAN, X, positions=[0, 1, 2, 10**30]), "positions", "integers"),
    "positions of another length under jit": (traced(lambda p: rope.apply(PLAN, X, positions=p), jnp.arange(3)), "positions", "(4)"),
    "a position without a dimension": (lambda: rope.apply(PLAN, X, positions=jnp.int32(7)), "positions", "(4)"),
    "a position that wraps to -5": (lambda: rope.apply(PLAN, X, positions=np.array([0, 1, 2, 2**64 - 5], np.uint64)), "positions", "2^31"),
    "the lowest int32 of an array on the host": (lambda: rope.apply(PLAN, X, positions=jnp.array([0, 1, 2, -(2**31)])), "positions", "2^31"),
    "one position for tables of axes": (lambda: rope.cos_sin(AXES, 5), "positions", "text_positions"),
    "too few axes under jit": (traced(lambda p: rope.cos_sin(AXES, p), np.zeros((2, 4), int)), "positions", "text_positions"),
    "NaN on a real axis": (lambda: rope.cos_sin(MIXED, [np.arange(1), np.zeros(1), np.array([np.nan])]), "positions", "finite"),
    "xPos too far from its centre": (lambda: rope.apply(XPOS, X, offset=10_000), "positions", "centre"),
    "xPos too far from its centre, under jit": (traced(lambda x: rope.apply(XPOS, x, offset=10_000), X), "positions", "centre"),
    "offset as a float under jit": (traced(lambda o: rope.apply(PLAN, X, offset=o), 1.0), "offset", "integer"),
    "offset for another batch under jit": (traced(lambda o: rope.apply(PLAN, X, offset=o), np.arange(3)), "offset", "one a batch row"),
    "offset that leads too far, under jit": (traced(lambda x: rope.apply(PLAN, x, offset=2**31 - 2), X), "offset", "2^31"),
    "a sine of another shape": (lambda: rope.rotate(PLAN, X, TABLE[0], TABLE[1][:3]), "sin", "cos_sin"),
    "no sine": (lambda: rope.rotate(PLAN, X, TABLE[0], None), "sin", "cos_sin"),
}  # fmt: skip


@pytest.mark.parametrize("case", wrong_calls.WRONG)
def test_wrong_calls_of_every_adapter(case: str) -> None:
    wrong_calls.check(rope, jnp.asarray, case)


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls_are_refused_with_the_cure(case: str) -> None:
    call, argument, cure = WRONG_CALLS[case]
    with pytest.raises(RopeError) as refusal:
        call()

    assert refusal.value.argument == argument
    assert cure in str(refusal.value)
