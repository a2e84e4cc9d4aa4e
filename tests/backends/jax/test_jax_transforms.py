"""The JAX adapter under jit, grad, jvp, vmap and scan, as a pytree, and as a part of Equinox and
Flax NNX models.
"""

import contextlib
import io
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import print_saved_residuals
from jax.test_util import check_grads
from jax_cases import PLAN, PLANS, XPOS, bits, positions_of, tensor, within, x64

import ropecore
import ropecore.backends.jax as rope
from ropecore import RopeConfig, RotaryPlan
from ropecore.backends.jax import rotation

NAMES = list(PLANS)


# ---- jit


def test_twenty_offsets_are_one_trace() -> None:
    traces = []

    @jax.jit
    def step(q: jax.Array, k: jax.Array, offset: jax.Array) -> Any:
        traces.append(offset)
        return rope.apply(PLAN, q, k, offset=offset)

    q, k = tensor(2, 4, 1, 8), tensor(2, 2, 1, 8, seed=1)
    for offset in range(0, 20 * 1000, 1000):
        results = step(q, k, offset)
        assert bits(*results) == bits(*rope.apply(PLAN, q, k, offset=offset))
    assert len(traces) == 1

    step(q[:1], k[:1], 0)
    assert len(traces) == 2  # the counter counts


def test_positions_are_no_part_of_what_is_compiled() -> None:
    traces = []

    @jax.jit
    def call(x: jax.Array, positions: jax.Array) -> Any:
        traces.append(positions)
        return rope.apply(PLAN, x, positions=positions)

    x = tensor(2, 3, 4, 8)
    for seed in range(20):
        positions = np.random.default_rng(seed).integers(-(2**31) + 1, 2**31, (2, 4))
        assert within(PLAN, x, call(x, positions), positions)
    assert len(traces) == 1


def test_a_plan_is_a_static_argument() -> None:
    traces = []

    def call(plan: RotaryPlan, x: jax.Array) -> Any:
        traces.append(plan)
        return rope.apply(plan, x)

    jitted, x = jax.jit(call, static_argnums=0), tensor(1, 2, 4, 8)
    same = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan().replace()
    other = RopeConfig(head_dim=8, base=101.0, pairing="half_split", rotary_dim=6).plan()
    results = [bits(jitted(plan, x)) for plan in (PLAN, same, RotaryPlan.from_json(PLAN.to_json()), other)]

    assert results[0] == results[1] == results[2] != results[3]
    assert len(traces) == 2


def test_offsets_make_no_constants_of_the_length_of_the_sequence() -> None:
    """XLA would fold tables that follow from constants, slowly, and keep them in the program."""
    x = jax.ShapeDtypeStruct((1, 1, 1 << 12, 8), jnp.float32)

    def constants(**where: Any) -> list[str]:
        lines = jax.jit(lambda x: rope.apply(PLAN, x, **where)).lower(x).as_text().splitlines()
        return [line for line in lines if "constant dense" in line and "4096" in line]

    assert constants(offset=3) == []
    assert constants(positions=np.arange(1 << 12) ** 2) != []  # what is looked for is so found


@pytest.mark.parametrize(("precision", "operation"), [("exact", "shift-right-logical("), ("float32", "cosine(")])
def test_tables_are_made_once_for_all_heads(precision: str, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA's CPU compiler would fuse them into the loop over x, and make them anew for each head."""
    x, positions = tensor(1, 32, 1024, 8), np.arange(1024, dtype=np.int32)

    def loops_that_make_tables() -> int:
        program = (
            jax.jit(lambda x, p: rope.apply(PLAN, x, positions=p, precision=precision)).lower(x, positions).compile()
        )
        loops = program.as_text().split("\n\n")
        return sum(f"f32[{','.join(map(str, x.shape))}]" in loop and operation in loop for loop in loops)

    assert loops_that_make_tables() == 0
    monkeypatch.setattr(rotation, "SMALL", x.size)
    rotation.turn.clear_cache()
    assert loops_that_make_tables() > 0  # what is looked for is so found
    rotation.turn.clear_cache()


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("name", "view"), [("half_split", "2,4"), ("interleaved", "4,2")])
def test_loops_run_over_a_view_of_the_pairs(
    name: str, view: str, gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the lanes of x, XLA's CPU compiler would compute i % reach for each number, and no
    vector of them.
    """
    plan = RopeConfig(head_dim=8, base=100.0, pairing=name).plan()
    x = tensor(1, 32, 1024, 8)

    def loops_over(shape: str) -> int:
        call = lambda x: rope.apply(plan, x)
        call = (lambda x, forward=call: jax.vjp(forward, x)[1](x)[0]) if gradient else call
        program = jax.jit(call).lower(x).compile().as_text()
        return sum(f"f32[1,32,1024,{shape}]" in line and "kind=kLoop" in line for line in program.splitlines())

    assert loops_over("8") == 0
    assert loops_over(view) > 0
    monkeypatch.setattr(rotation, "SMALL", x.size)
    rotation.turn.clear_cache()
    assert loops_over("8") > 0
    rotation.turn.clear_cache()


@pytest.mark.parametrize("name", ["half_split", "interleaved_yarn", "half_split_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_donated_input_is_reused(name: str, dtype: str) -> None:
    x = tensor(2, 4, 1100, 8, dtype=dtype)
    call = jax.jit(lambda x, offset: rope.apply(PLANS[name], x, offset=offset), donate_argnums=0)
    kept = jax.jit(lambda x, offset: rope.apply(PLANS[name], x, offset=offset))
    expected, program = bits(kept(x, 3)), call.lower(x, 3).compile()

    assert "input_output_alias={ {}: (0, {}, may-alias) }" in program.as_text()
    assert program.memory_analysis().alias_size_in_bytes == x.nbytes
    assert kept.lower(x, 3).compile().memory_analysis().alias_size_in_bytes == 0
    address = x.unsafe_buffer_pointer()
    y = call(x, 3)
    assert x.is_deleted()
    assert y.unsafe_buffer_pointer() == address
    assert bits(y) == expected


# ---- derivatives


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_transpose(name: str, dtype: str) -> None:
    plan = PLANS[name]
    with x64(dtype == "float64"):
        positions = positions_of(plan, 2, 5)
        x, g = (tensor(2, 3, 5, plan.head_dim, dtype=dtype, seed=seed) for seed in (0, 1))
        eager = jax.vjp(lambda x: rope.apply(plan, x, positions=positions), x)[1](g)[0]
        traced = jax.jit(lambda x, g, p: jax.vjp(lambda x: rope.apply(plan, x, positions=p), x)[1](g)[0])(
            x, g, positions
        )

        assert within(plan, g, eager, positions, mode="transpose")
        assert within(plan, g, traced, positions, mode="transpose")


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_both_modes_and_orders(name: str) -> None:
    plan = PLANS[name]
    with x64():
        x, positions = tensor(1, 2, 3, plan.head_dim, dtype="float64"), positions_of(plan, 3)
        check_grads(lambda x: rope.apply(plan, x, positions=positions) ** 2, (x,), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("name", NAMES)
def test_the_tangent_is_the_rotation_of_the_tangent(name: str) -> None:
    plan, positions = PLANS[name], positions_of(PLANS[name], 5)
    x, t = (tensor(2, 3, 5, plan.head_dim, seed=seed) for seed in (0, 1))
    y, tangent = jax.jvp(lambda x: rope.apply(plan, x, positions=positions), (x,), (t,))

    assert within(plan, x, y, positions)
    assert within(plan, t, tangent, positions)


def residuals(function: Any, *arguments: Any) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_saved_residuals(function, *arguments)
    return printed.getvalue()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_x_is_kept_for_the_gradient(name: str, dtype: str) -> None:
    """Kept are tables, and lists of lanes: nothing with the 7 heads of
    x, and nothing that x was.
    """
    plan, x = PLANS[name], tensor(2, 7, 5, PLANS[name].head_dim, dtype=dtype)
    positions = positions_of(plan, 5)
    kept = residuals(lambda x: rope.apply(plan, x, positions=positions), x)

    assert ",7," not in kept.replace(f"bool[2,7,5,{plan.head_dim}]", "")
    assert "argument x" not in kept
    squared = residuals(lambda x: rope.apply(plan, x, positions=positions) ** 2, x)
    assert f"[2,7,5,{plan.head_dim}]" in squared  # what is looked for is so found


def test_learned_tables_get_a_gradient() -> None:
    """Those of cos_sin have none (R-11.2); those of the caller's own frequencies do, also where
    they are written to memory.
    """
    with x64():
        for heads, length in ((1, 4), (8, 1100)):
            x, p = tensor(1, heads, length, 8, dtype="float64"), jnp.arange(length) / length

            def own(x: jax.Array, f: jax.Array, p: jax.Array = p) -> jax.Array:
                angle = p[:, None] * f
                return rope.rotate(PLAN, x, jnp.cos(angle), jnp.sin(angle))

            check_grads(own, (x, jnp.array([1.0, 0.5, 0.1])), order=1, modes=("fwd", "rev"))


@pytest.mark.parametrize("compiled", [False, True])
def test_given_tables_get_the_gradient_of_the_rule(compiled: bool) -> None:
    """R-11.2: sums over batch and heads, which share an entry."""
    with x64():
        plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()
        tables = rope.cos_sin(plan, jnp.arange(4), dtype="float64")
        x, g = tensor(2, 3, 4, 8, dtype="float64"), tensor(2, 3, 4, 8, dtype="float64", seed=1)

        def gradients(cos: jax.Array, sin: jax.Array) -> Any:
            return jax.vjp(lambda cos, sin: rope.rotate(plan, x, cos, sin), cos, sin)[1](g)

        cos, sin = (jax.jit(gradients) if compiled else gradients)(*tables)
        (x1, x2), (g1, g2) = jnp.split(x, 2, -1), jnp.split(g, 2, -1)
        np.testing.assert_allclose(cos, (g1 * x1 + g2 * x2).sum((0, 1)), rtol=1e-12)
        np.testing.assert_allclose(sin, (g2 * x1 - g1 * x2).sum((0, 1)), rtol=1e-12)


@pytest.mark.parametrize("precision", ["exact", "float32"])
def test_coordinates_get_no_gradient(precision: str) -> None:
    real, x, p = PLAN.replace(axis_kinds=("real",)), tensor(1, 1, 4, 8), jnp.arange(4.0)

    def loss(p: jax.Array) -> jax.Array:
        return rope.apply(real, x, positions=p, precision=precision).sum()

    assert not jax.grad(loss)(p).any()
    assert not jax.jvp(loss, (p,), (p + 1,))[1].any()


def test_checkpointed_layers() -> None:
    x = tensor(1, 2, 4, 8)
    layer = jax.checkpoint(lambda x: rope.apply(PLAN, x, offset=3) ** 2)

    plain = jax.grad(lambda x: (rope.apply(PLAN, x, offset=3) ** 2).sum())(x)
    assert np.asarray(jax.grad(lambda x: layer(x).sum())(x)) == pytest.approx(np.asarray(plain), rel=1e-6)


# ---- vmap and scan


@pytest.mark.parametrize("name", NAMES)
def test_vmap_over_x_and_positions(name: str) -> None:
    plan = PLANS[name]
    x, positions = tensor(4, 2, 3, 5, plan.head_dim), positions_of(plan, 5)
    several = np.stack([positions + i for i in range(4)])
    over_x = jax.vmap(lambda x: rope.apply(plan, x, positions=positions))(x)
    over_both = jax.vmap(lambda x, p: rope.apply(plan, x, positions=p))(x, several)
    over_positions = jax.vmap(lambda p: rope.apply(plan, x[0], positions=p))(several)
    inside = jax.jit(jax.vmap(jax.grad(lambda x, p: (rope.apply(plan, x, positions=p) ** 2).sum())))(x, several)

    assert inside.shape == x.shape
    for i in range(4):
        assert within(plan, x[i], over_x[i], positions)
        assert within(plan, x[i], over_both[i], positions + i)
        assert within(plan, x[0], over_positions[i], positions + i)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("out_axis", [0, 1])
def test_vmap_over_the_heads_of_one_token(axis: int, out_axis: int) -> None:
    """XLA's CPU compiler updates part of the lanes in place although it still reads them, where a 1
    moves among the sizes.
    """
    plan, x = RopeConfig(head_dim=8, base=1e4, pairing="half_split", rotary_dim=4).plan(), tensor(1, 2, 8)
    call = jax.vmap(lambda x: rope.apply(plan, x, offset=1, tensor_format="sd"), in_axes=axis, out_axes=out_axis)
    expected = rope.apply(plan, x, offset=1, tensor_format="shd")

    for function in (call, jax.jit(call)):
        y = jnp.moveaxis(function(jnp.moveaxis(x, 1, axis)), out_axis, 1)
        np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_vmap_over_offsets() -> None:
    x, offsets = tensor(3, 2, 4, 8), np.array([5, 1000, -7])
    y = jax.vmap(lambda x, offset: rope.apply(PLAN, x, offset=offset, tensor_format="hsd"))(x, offsets)

    assert bits(y) == bits(rope.apply(PLAN, x, offset=offsets))


@pytest.mark.parametrize("start", [0, 2**24 + 1, 2**31 - 20])
def test_a_scan_that_decodes_token_by_token(start: int) -> None:
    """Each step rotates one query and one key at the next position, and
    writes the key to a cache.
    """
    tokens, heads = 16, 3
    q, k = tensor(tokens, 1, heads, 1, 8), tensor(tokens, 1, heads, 1, 8, seed=1)

    def step(state: tuple[jax.Array, jax.Array], token: tuple[jax.Array, jax.Array]) -> Any:
        cache, count = state
        q, k = rope.apply(PLAN, *token, offset=start + count)
        cache = jax.lax.dynamic_update_slice(cache, k, (0, 0, count, 0))
        return (cache, count + 1), q

    (cache, count), queries = jax.lax.scan(step, (jnp.zeros((1, heads, tokens, 8)), jnp.int32(0)), (q, k))
    whole_q, whole_k = (jnp.moveaxis(x[:, :, :, 0], 0, 2) for x in (q, k))

    assert count == tokens
    assert within(PLAN, whole_k, cache, start + np.arange(tokens))
    assert within(PLAN, whole_q, jnp.moveaxis(queries[:, :, :, 0], 0, 2), start + np.arange(tokens))


# ---- modules


def test_the_module_is_a_pytree_without_leaves() -> None:
    emb = rope.RotaryEmbedding(PLAN, "bshd")
    leaves, tree = jax.tree.flatten({"rope": emb, "w": 1.0})

    assert leaves == [1.0]
    assert jax.tree.unflatten(tree, leaves)["rope"] == emb
    assert emb == rope.RotaryEmbedding(PLAN.replace(), "bshd")
    assert emb != rope.RotaryEmbedding(PLAN, "bhsd")
    assert hash(emb) == hash(rope.RotaryEmbedding(PLAN.replace(), "bshd"))


def test_the_module_calls_apply_and_is_an_argument_of_jit() -> None:
    q, k = tensor(2, 5, 4, 8), tensor(2, 5, 1, 8, seed=1)
    jitted = jax.jit(lambda emb, q, k, offset: emb(q, k, offset=offset))
    for emb in (rope.RotaryEmbedding(PLAN, "bshd"), rope.RotaryEmbedding(XPOS, "bshd", "float32", "input")):
        how = {"tensor_format": "bshd", "precision": emb.precision, "compute": emb.compute}
        expected = rope.apply(emb.plan, q, k, offset=3, **how)

        assert bits(*emb(q, k, offset=3)) == bits(*expected)
        assert bits(*jitted(emb, q, k, 3)) == bits(
            *jax.jit(lambda q, k, e=emb, h=how: rope.apply(e.plan, q, k, offset=3, **h))(q, k)
        )


class EquinoxAttention(eqx.Module):
    """Self-attention of one sequence (s, d): queries and keys turn, values do not."""

    qkv: eqx.nn.Linear
    rope: rope.RotaryEmbedding
    heads: int = eqx.field(static=True)

    def __init__(self, plan: RotaryPlan, heads: int, key: jax.Array) -> None:
        width = heads * plan.head_dim
        self.qkv = eqx.nn.Linear(width, 3 * width, use_bias=False, key=key)
        self.rope, self.heads = rope.RotaryEmbedding(plan, "shd"), heads

    def __call__(self, x: jax.Array, offset: jax.Array) -> jax.Array:
        q, k, v = jnp.moveaxis(jax.vmap(self.qkv)(x).reshape(len(x), 3, self.heads, -1), 1, 0)
        q, k = self.rope(q, k, offset=offset)
        return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)


def test_equinox() -> None:
    model, x = EquinoxAttention(PLAN, 3, jax.random.key(0)), tensor(5, 24)
    here, there = (eqx.filter_jit(model)(x, jnp.int32(offset)) for offset in (0, 1_000_000))
    gradient = eqx.filter_grad(lambda model: (model(x, jnp.int32(7)) ** 2).sum())(model)

    assert [leaf.shape for leaf in jax.tree.leaves(model)] == [(72, 24)]  # the embedding has none
    assert np.asarray(here) == pytest.approx(np.asarray(there), abs=1e-5)  # only distances count
    assert np.abs(here - eqx.tree_at(lambda m: m.rope, model, rope.RotaryEmbedding(XPOS, "shd"))(x, 0)).max() > 1e-3
    assert gradient.qkv.weight.shape == (72, 24)
    assert np.isfinite(gradient.qkv.weight).all()


class NnxAttention(nnx.Module):
    """Self-attention of a batch (b, s, d): queries and keys turn, values do not."""

    def __init__(self, plan: RotaryPlan, heads: int, rngs: nnx.Rngs) -> None:
        width = heads * plan.head_dim
        self.qkv = nnx.Linear(width, 3 * width, use_bias=False, rngs=rngs)
        self.rope, self.heads = rope.RotaryEmbedding(plan, "bshd"), heads

    def __call__(self, x: jax.Array, positions: jax.Array) -> jax.Array:
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1), 2, 0)
        q, k = self.rope(q, k, positions=positions)
        return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)


def test_flax_nnx() -> None:
    model, x = NnxAttention(PLAN, 3, nnx.Rngs(0)), tensor(2, 5, 24)
    call = nnx.jit(lambda model, x, p: model(x, p))
    here, there = (call(model, x, jnp.arange(5) + offset) for offset in (0, 1_000_000))
    gradient = nnx.grad(lambda model: (model(x, jnp.arange(5)) ** 2).sum())(model)
    graph, state = nnx.split(model)

    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [(24, 72)]  # the embedding has none
    assert nnx.merge(graph, state).rope == model.rope
    assert np.asarray(here) == pytest.approx(np.asarray(there), abs=1e-5)  # only distances count
    model.rope = rope.RotaryEmbedding(XPOS, "bshd")
    assert np.abs(here - call(model, x, jnp.arange(5))).max() > 1e-3
    assert np.isfinite(jax.tree.leaves(gradient)[0]).all()


def test_the_same_table_for_many_layers() -> None:
    """For the same positions in many layers: cos_sin once, rotate in each."""
    plan, layers = PLANS["half_split"], tensor(28, 1, 2, 4, 8)

    @jax.jit
    def model(layers: jax.Array, positions: jax.Array) -> jax.Array:
        cos, sin = rope.cos_sin(plan, positions)
        return jnp.stack([rope.rotate(plan, x, cos, sin) for x in layers])

    positions = ropecore.packed_positions([0, 1, 4])
    for x, y in zip(layers, model(layers, positions), strict=True):
        assert within(plan, x, y, positions)
