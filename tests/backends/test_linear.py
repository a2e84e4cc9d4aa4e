"""Linear attention against the quadratic form that it stands for (R-9.9)."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ropecore
from ropecore import RopeError

ADAPTERS = [
    name
    for name in ("array_api", "numpy", "torch", "jax")
    if name in ("array_api", "numpy") or importlib.util.find_spec(name)
]


def quadratic(q: Any, k: Any, v: Any, plan: Any, f: Callable[[Any], Any], q_at: Any, k_at: Any, causal: bool) -> Any:
    """The definition, term by term in float64, with matrices for the rotations."""
    (b, h, s, _), g = q.shape, k.shape[1]
    turn_q = np.stack([ropecore.rotation_matrix(plan, p) for p in q_at])
    turn_k = np.stack([ropecore.rotation_matrix(plan, p) for p in k_at])
    y = np.empty((b, h, s, v.shape[-1]))
    for row, head in np.ndindex(b, h):
        fq, fk = f(q[row, head]), f(k[row, head // (h // g)])
        weights = np.einsum("mij,mj->mi", turn_q, fq) @ np.einsum("nij,nj->ni", turn_k, fk).T
        plain = fq @ fk.T
        if causal:
            weights, plain = np.tril(weights), np.tril(plain)
        y[row, head] = weights @ v[row, head // (h // g)] / plain.sum(axis=1, keepdims=True)
    return y


def relu_plus(x: Any) -> Any:
    return (x + abs(x)) / 2 + 0.1  # in any library


def drawn(shape: tuple[int, ...], seed: int, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def plan_of(scaling: Any = None, head_dim: int = 8) -> ropecore.RotaryPlan:
    return ropecore.RopeConfig(head_dim=head_dim, base=100.0, pairing="half_split", scaling=scaling).plan()


@settings(max_examples=40, deadline=None)
@given(
    causal=st.booleans(),
    s=st.integers(1, 150),
    groups=st.sampled_from([(1, 1), (4, 2), (3, 1)]),
    start=st.integers(-1000, 10**6),
    scaling=st.sampled_from([None, ropecore.YaRN(factor=4.0, original_max_position=64)]),
)
def test_it_equals_its_quadratic_form(causal: bool, s: int, groups: tuple[int, int], start: int, scaling: Any) -> None:
    h, g = groups
    q, k, v, plan = drawn((2, h, s, 8), 0), drawn((2, g, s, 8), 1), drawn((2, g, s, 5), 2), plan_of(scaling)
    at = start + np.arange(s)
    y = ropecore.linear_attention(q, k, v, plan, relu_plus, positions=at, causal=causal)
    wanted = quadratic(q, k, v, plan, relu_plus, at, at, causal)
    assert np.abs(y - wanted).max() < 1e-12


def test_features_may_be_more_than_lanes_and_keys_fewer_than_queries() -> None:
    q, k, v, plan = drawn((1, 2, 9, 4), 0), drawn((1, 2, 30, 4), 1), drawn((1, 2, 30, 4), 2), plan_of(head_dim=16)
    projection = drawn((4, 16), 3)

    def performer(x: Any) -> Any:  # positive random features: Choromanski et al. 2021
        return np.exp(x @ projection - (x * x).sum(axis=-1, keepdims=True) / 2) / 4

    y = ropecore.linear_attention(q, k, v, plan, performer, positions=np.arange(21, 30), k_positions=np.arange(30))
    wanted = quadratic(q, k, v, plan, performer, np.arange(21, 30), np.arange(30), False)
    assert np.abs(y - wanted).max() < 1e-12


def test_the_rotation_is_in_the_numerator_alone() -> None:
    q, k, v = drawn((1, 1, 40, 8), 0), drawn((1, 1, 40, 8), 1), np.ones((1, 1, 40, 1))
    y = ropecore.linear_attention(q, k, v, plan_of(), relu_plus)
    assert np.abs(y - 1).max() > 0.1  # with the rotation in both, weights would add up to 1
    still = plan_of().with_frequencies(np.zeros(4))
    assert np.abs(ropecore.linear_attention(q, k, v, still, relu_plus) - 1).max() < 1e-14


def test_a_later_token_changes_nothing_before_it() -> None:
    q, k, v = (drawn((1, 2, 130, 8), seed) for seed in range(3))
    short = (x[:, :, :70] for x in (q, k, v))
    whole = ropecore.linear_attention(q, k, v, plan_of(), relu_plus, causal=True)
    np.testing.assert_allclose(
        whole[:, :, :70], ropecore.linear_attention(*short, plan_of(), relu_plus, causal=True), rtol=1e-12
    )


def test_rows_have_positions_of_their_own() -> None:
    q, k, v = (drawn((2, 2, 6, 8), seed) for seed in range(3))
    at = np.array([[0, 1, 2, 3, 4, 5], [7, 7, 9, 10, 30, 31]])
    y = ropecore.linear_attention(q, k, v, plan_of(), relu_plus, positions=at)
    for row in range(2):
        part = ropecore.linear_attention(
            *(x[row : row + 1] for x in (q, k, v)), plan_of(), relu_plus, positions=at[row]
        )
        np.testing.assert_allclose(y[row], part[0], rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in ADAPTERS for dtype in ("float32", "float64") if (name, dtype) != ("jax", "float64")],
)  # JAX has float64 only where x64 is switched on: see below
def test_each_adapter_runs_it(name: str, causal: bool, dtype: str) -> None:
    rope, target = (
        importlib.import_module(f"ropecore.backends.{name}"),
        importlib.import_module(f"ropecore.backends.{name}.target"),
    )
    q, k, v = drawn((2, 4, 100, 8), 0), drawn((2, 2, 100, 8), 1), drawn((2, 2, 100, 5), 2)
    asarray, to_numpy = getattr(target, "asarray", np.asarray), getattr(target, "to_numpy", np.asarray)
    arrays = [asarray(x, dtype) for x in (q, k, v)]
    q, k, v = (to_numpy(x).astype(np.float64) for x in arrays)
    y = to_numpy(ropecore.linear_attention(*arrays, plan_of(), relu_plus, causal=causal, apply=rope.apply))
    assert y.dtype == dtype
    wanted = quadratic(q, k, v, plan_of(), relu_plus, np.arange(100), np.arange(100), causal)
    # sums of 100 products of tables within 1.2e-7 (float64: 2^-52), at most 10 each, over sums
    # above 0.08
    assert np.abs(y - wanted).max() < (1e-12 if dtype == "float64" else 2e-4)


def test_jax_in_float64_and_under_jit() -> None:
    jax = pytest.importorskip("jax")
    rope = importlib.import_module("ropecore.backends.jax")
    q, k, v = (drawn((1, 2, 100, 8), seed) for seed in range(3))
    wanted = quadratic(q, k, v, plan_of(), relu_plus, np.arange(100), np.arange(100), True)
    with jax.enable_x64(True):
        call = jax.jit(lambda *x: ropecore.linear_attention(*x, plan_of(), relu_plus, causal=True, apply=rope.apply))
        y = np.asarray(call(*(jax.numpy.asarray(x) for x in (q, k, v))))
    assert y.dtype == np.float64
    assert np.abs(y - wanted).max() < 1e-12


def test_torch_has_gradients_and_sixteen_bits() -> None:
    torch = pytest.importorskip("torch")
    rope = importlib.import_module("ropecore.backends.torch")
    q, k, v = (torch.tensor(drawn((1, 2, 70, 8), seed), requires_grad=True) for seed in range(3))
    call = lambda *x: ropecore.linear_attention(*x, plan_of(), relu_plus, causal=True, apply=rope.apply)
    assert torch.autograd.gradcheck(call, tuple(x[:, :1, :4] for x in (q, k, v)), fast_mode=True)
    small = call(*(x.to(torch.bfloat16) for x in (q, k, v)))
    assert small.dtype == torch.bfloat16
    again = call(*(x.to(torch.bfloat16).double() for x in (q, k, v)))
    assert ((small.double() - again).abs() <= again.abs() * 2**-8 + 2e-4).all()  # rounded once, at the end


def test_refusals() -> None:
    q, k, v = (drawn((1, 2, 6, 8), seed) for seed in range(3))
    for call, argument in [
        (lambda: ropecore.linear_attention(q[0], k, v, plan_of(), relu_plus), "q"),
        (lambda: ropecore.linear_attention(q, k[:, :, :5], v, plan_of(), relu_plus), "k"),
        (lambda: ropecore.linear_attention(q[:, :1], k, v, plan_of(), relu_plus), "k"),
        (lambda: ropecore.linear_attention(q[:, :, :3], k, v, plan_of(), relu_plus, causal=True), "causal"),
        (lambda: ropecore.linear_attention(q, k, v, plan_of(head_dim=16), relu_plus), "feature_map"),
        (lambda: ropecore.linear_attention(q, k, v, plan_of(), relu_plus, positions=np.arange(5)), "positions"),
    ]:  # fmt: skip
        with pytest.raises(RopeError) as refusal:
            call()
        assert refusal.value.argument == argument
