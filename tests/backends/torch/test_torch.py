"""The torch adapter in eager mode: its numbers, shapes, gradients and
state, and what it refuses.
"""

import copy
import gc
import pickle
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import wrong_calls
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

import ropecore
import ropecore.backends.numpy as reference
import ropecore.backends.torch as rope
from ropecore import RopeConfig, RopeError, RotaryPlan, XPos, YaRN
from ropecore.backends.torch import TABLES
from ropecore.backends.torch.target import asarray, to_numpy

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own, in forward mode

PLAN = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan()
WHOLE = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()
AXES = RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w")).plan()
XPOS = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=XPos(scale_base=64.0)).plan()
PLANS = {
    "half_split": WHOLE,
    "half_split_partial": PLAN,
    "half_split_last": RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=4, lane_offset=4).plan(),
    "interleaved_yarn": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", scaling=YaRN(4.0, 64)).plan(),
    "interleaved_inside": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", rotary_dim=4, lane_offset=3).plan(),
    "deinterleaving": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", out_pairing="half_split").plan(),
    "apart": RotaryPlan(8, np.array([[0, 5], [1, 6]]), np.array([1.0, 0.1])),
    "scattered": RotaryPlan(8, np.array([[6, 1], [0, 3], [2, 7]]), np.array([1.0, -0.3, 0.1]), np.array([[1, 0], [7, 3], [2, 6]]), 1.5),
    "still": RotaryPlan(8, np.zeros((0, 2), int), np.zeros(0)),
    "xpos": XPOS,
}  # fmt: skip
SCATTERED = PLANS["scattered"]
DTYPES = ["float32", "float64", "float16", "bfloat16"]
LADDER = [0, 1, 257, 2049, 4097, 8192, 131071, 2**20, 2**24 + 1, 2**31 - 1]
LADDER += [-p for p in LADDER]


def tensor(*shape: int, dtype: str = "float32", seed: int = 0) -> torch.Tensor:
    return asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def bits(x: torch.Tensor) -> bytes:
    return to_numpy(x).tobytes()


# ---- numbers


@pytest.mark.parametrize("integers", [torch.int64, torch.int32])
@pytest.mark.parametrize("base", [100.0, 1e4, 5e5, 5e7])
def test_float32_tables_are_within_the_exact_class_and_have_numpys_bits(base: float, integers: torch.dtype) -> None:
    plan = RopeConfig(head_dim=128, base=base, pairing="half_split").plan()
    positions = np.concatenate([LADDER, np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 20_000)])
    truth, numpys = ropecore.cos_sin(plan, positions), reference.cos_sin(plan, positions)

    for exact, same, table in zip(
        truth, numpys, rope.cos_sin(plan, torch.tensor(positions, dtype=integers)), strict=True
    ):
        assert table.dtype == torch.float32
        assert np.abs(exact - table.numpy()).max() <= 1.2e-7
        assert bits(table) == same.tobytes()


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_float64_tables_are_within_two_to_the_minus_52(plan: RotaryPlan) -> None:
    positions = np.array([-900, -1, 0, 1, 257, 800]) if plan is XPOS else np.array(LADDER)
    for role in ("q", "k"):
        got, truth = rope.cos_sin(plan, positions, role, dtype=torch.float64), ropecore.cos_sin(plan, positions, role)
        size = np.hypot(*truth)  # A times the magnitude
        rounding = 2.0**-52 + (plan.attention_factor != 1) * 2.0**-53 + (plan is XPOS) * (3 * 70 + 4) * 2.0**-53
        for exact, table in zip(truth, got, strict=True):
            assert (np.abs(exact - table.numpy()) <= rounding * size * (1 + 1e-15)).all()


def test_real_axes_and_lists_of_columns() -> None:
    mixed = AXES.replace(axis_kinds=("integer", "real", "real"))
    columns = [np.array([2**31 - 1, -7]), np.array([0.25, -3.5]), np.array([1.75, 1e3])]
    truth = ropecore.cos_sin(mixed, columns)
    for name, u in (("float32", 2.0**-23), ("float64", 2.0**-52)):
        bound = (1.2e-7 if name == "float32" else 2.0**-52) + u * np.abs(columns[1:]).T @ np.abs(
            mixed.frequencies[:, 1:]
        ).T
        for exact, table in zip(
            truth, rope.cos_sin(mixed, [torch.from_numpy(c) for c in columns], dtype=name), strict=True
        ):
            assert (np.abs(exact - table.numpy()) <= bound).all()
    y = rope.apply(mixed, tensor(1, 1, 2, 8), positions=columns)

    assert np.array_equal(
        y.numpy(), reference.rotate(mixed, tensor(1, 1, 2, 8).numpy(), *reference.cos_sin(mixed, columns))
    )


def test_the_float32_class_is_a_float32_product() -> None:
    cos, sin = rope.cos_sin(PLAN, LADDER, precision="float32")
    angle = torch.tensor(LADDER).to(torch.float32)[:, None] * torch.tensor(PLAN.frequencies[:, 0], dtype=torch.float32)

    assert torch.equal(cos, angle.cos())
    assert torch.equal(sin, angle.sin())
    assert np.abs(cos.numpy() - ropecore.cos_sin(PLAN, LADDER)[0]).max() > 0.1  # what the exact class is there for


@pytest.mark.parametrize("length", [1, 7, 33, 2100])  # the last in blocks: 4 MiB of bfloat16
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_float32_class_has_the_bits_of_transformers_llama(dtype: torch.dtype, length: int) -> None:
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    parameters = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 8192}  # fmt: skip
    config = llama.LlamaConfig(
        hidden_size=512, num_attention_heads=8, num_key_value_heads=2, rope_parameters=parameters
    )
    module = llama.LlamaRotaryEmbedding(config)
    q, k = torch.randn(2, 8, length, 64, dtype=dtype), torch.randn(2, 2, length, 64, dtype=dtype)
    positions = torch.stack([torch.arange(length) + 100_000, torch.arange(length) * 3])
    wanted = llama.apply_rotary_pos_emb(q, k, *module(q, positions))
    plan = WHOLE.replace(head_dim=64, lanes=np.arange(64).reshape(2, 32).T, out_lanes=None, frequencies=module.inv_freq)
    got = rope.apply(plan, q, k, positions=positions, precision="float32", compute="input")

    assert torch.equal(got[0], wanted[0])
    assert torch.equal(got[1], wanted[1])
    assert not torch.equal(rope.apply(plan, q, positions=positions), wanted[0])  # the exact class is another one


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_plan_and_dtype_rotates_as_numpy_does(plan: RotaryPlan, dtype: str) -> None:
    """Bit for bit given the same tables, through apply, apply_, transpose, inverse and shift."""
    x, positions = tensor(2, 3, 5, 8, dtype=dtype), np.array([[3, 1, 4, 1, 5], [-9, 2, 6, 5, 3]])
    tables = reference.cos_sin(plan, positions, dtype="float64" if dtype == "float64" else "float32")
    given = [torch.from_numpy(table) for table in tables]
    ways: list[dict] = [{}, {"transpose": True}, {"inverse": True}, {"compute": "input"}]
    for way in ways:
        assert (
            bits(rope.rotate(plan, x, *given, **way)) == reference.rotate(plan, to_numpy(x), *tables, **way).tobytes()
        )
    y, in_place = rope.apply(plan, x, positions=positions), x.clone()

    assert y.dtype == x.dtype
    assert rope.apply_(plan, in_place, positions=torch.tensor(positions)) is in_place
    assert bits(in_place) == bits(y)
    if dtype != "float64" and plan is not XPOS:  # whose exponentials are each library's own
        assert bits(y) == reference.apply(plan, to_numpy(x), positions=positions).tobytes()
        assert bits(rope.shift(plan, x, [3, -4])) == reference.shift(plan, to_numpy(x), [3, -4]).tobytes()


@pytest.mark.parametrize("letters", ["bhsd", "bshd", "sbhd", "bsghd", "hbsd", "shd"])
def test_every_format_is_a_transpose_of_every_other(letters: str) -> None:
    sizes = {"b": 2, "g": 3, "h": 4, "s": 5, "d": 8}
    x = tensor(*(sizes[letter] for letter in letters))
    positions = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    positions = positions if "b" in letters else positions[0]
    y = rope.apply(PLAN, x, positions=positions, tensor_format=letters)
    order = [letters.index(letter) for letter in "bghsd" if letter in letters]
    heads = x.permute(order).reshape(sizes["b"] if "b" in letters else 1, -1, 5, 8)

    assert torch.equal(y.permute(order).reshape(heads.shape), rope.apply(PLAN, heads, positions=positions))


def test_packed_tokens() -> None:
    x, positions = tensor(5, 2, 8), ropecore.packed_positions([0, 2, 5])
    y = rope.apply(PLAN, x, positions=positions, tensor_format="thd")

    assert torch.equal(y[2:], rope.apply(PLAN, x[2:], tensor_format="thd"))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_strides_do_not_matter(plan: RotaryPlan) -> None:
    x = tensor(2, 3, 5, 8)
    y = rope.apply(plan, x)
    larger = torch.zeros(4, 6, 10, 16)
    strided = larger[::2, ::2, ::2, ::2].copy_(x)
    views = [
        strided,
        x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        x[:1].expand(2, 3, 5, 8),
        x.flip(2).flip(2),
    ]
    for view in views:
        assert torch.equal(rope.apply(plan, view), y if view is not views[2] else y[:1].expand(2, 3, 5, 8))
    assert torch.equal(rope.apply_(plan, strided), y)
    assert not larger[1::2].any()  # what lies between is not touched


def test_offsets_are_positions() -> None:
    x, rows = tensor(2, 3, 4, 8), torch.arange(4) + torch.tensor([[7], [1000]])
    for offset in (9, torch.tensor(9), np.int64(9), torch.tensor([9, 9], dtype=torch.int32)):
        assert torch.equal(rope.apply(PLAN, x, offset=offset), rope.apply(PLAN, x, positions=range(9, 13)))
    for offset in ([7, 1000], (7, 1000), torch.tensor([7, 1000]), np.array([7, 1000])):
        assert torch.equal(rope.apply(PLAN, x, offset=offset), rope.apply(PLAN, x, positions=rows))


def test_kinds_of_positions() -> None:
    x = tensor(2, 3, 4, 8)
    y = rope.apply(PLAN, x, positions=torch.tensor([5, 3, 0, 7]))
    for positions in (
        [5, 3, 0, 7],
        (5, 3, 0, 7),
        np.array([5, 3, 0, 7], np.uint8),
        [[5, 3, 0, 7]],
        torch.tensor([[5, 3, 0, 7]] * 2),
    ):
        assert torch.equal(rope.apply(PLAN, x, positions=positions), y)
    assert torch.equal(rope.apply(PLAN, x[:, :, 1:2], positions=3), y[:, :, 1:2])  # a single token
    ids = torch.tensor([[5, 6, 7, 8], [0, 1, 2, 3]])
    assert torch.equal(rope.apply(AXES, x, positions=ids.expand(3, 2, 4)), rope.apply(WHOLE, x, positions=ids))


def test_queries_and_keys_differ_in_heads_and_positions() -> None:
    q, k = tensor(2, 4, 3, 8), tensor(2, 1, 5, 8, seed=1)
    at, k_at = torch.tensor([5, 6, 7]), torch.arange(3, 8)
    y = rope.apply(PLAN, q, k, positions=at, k_positions=k_at)

    assert torch.equal(y[0], rope.apply(PLAN, q, positions=at))
    assert torch.equal(y[1], rope.apply(PLAN, k, positions=k_at))
    assert rope.apply(PLAN, q, None, positions=at)[1] is None
    assert rope.apply(PLAN, None, k, positions=k_at)[0] is None
    assert torch.equal(rope.apply(XPOS, q, q)[1], rope.apply(XPOS, q, role="k"))
    assert not torch.equal(rope.apply(XPOS, q, q)[1], rope.apply(XPOS, q))


def test_shift_moves_cached_keys() -> None:
    for plan in PLANS.values():
        k = tensor(2, 1, 4, 8, dtype="float64")
        there = rope.apply(plan, k, offset=[5, 13], role="k")
        moved = rope.shift(plan, rope.apply(plan, k, offset=[2, 9], role="k"), torch.tensor([3, 4]))
        torch.testing.assert_close(moved, there, rtol=1e-12, atol=1e-12)
    text = rope.apply(AXES, k, positions=torch.arange(4).expand(3, 4))
    torch.testing.assert_close(
        rope.shift(AXES, text, 6), rope.apply(AXES, k, positions=torch.arange(6, 10).expand(3, 4))
    )


def test_empty_sequences_and_batches() -> None:
    for shape in ((2, 3, 0, 8), (0, 3, 4, 8), (2, 0, 4, 8)):
        x = torch.zeros(shape)
        assert rope.apply(PLAN, x, x, positions=None)[0].shape == shape
        assert rope.apply_(PLAN, x.clone()).shape == rope.shift(PLAN, x, 3).shape == shape
    assert rope.cos_sin(PLAN, [])[0].shape == rope.cos_sin(PLAN, torch.zeros(0, dtype=torch.int64))[0].shape == (0, 3)


def test_context_parallel_shards_put_together_are_the_whole() -> None:
    """Zig-zag: rank r of n holds chunks r and 2n - 1 - r, and rotates
    them at their own positions.
    """
    x, ranks = tensor(1, 2, 16, 8, dtype="bfloat16"), 2
    whole, chunks = rope.apply(WHOLE, x, offset=4096), torch.arange(16).chunk(2 * ranks)
    together = torch.zeros_like(x)
    for rank in range(ranks):
        mine = torch.cat([chunks[rank], chunks[2 * ranks - 1 - rank]])
        together[:, :, mine] = rope.apply(WHOLE, x[:, :, mine], positions=mine + 4096)

    assert torch.equal(together, whole)
    assert not torch.equal(rope.apply(WHOLE, x[:, :, mine], offset=4096), whole[:, :, mine])  # a local arange is wrong


def test_rotate_writes_where_it_is_told() -> None:
    tables, x = rope.cos_sin(SCATTERED, torch.arange(4)), tensor(2, 3, 4, 8)
    for way in ({}, {"inverse": True}, {"transpose": True}):
        wanted, out, same = rope.rotate(SCATTERED, x, *tables, **way), torch.empty_like(x), x.clone()

        assert rope.rotate(SCATTERED, x, *tables, out=out, **way) is out
        assert rope.rotate(SCATTERED, same, *tables, out=same, **way) is same
        assert torch.equal(out, wanted)
        assert torch.equal(same, wanted)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_tensors_are_written_where_it_is_told(kernels: bool, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setattr("ropecore.backends._kernels.available", lambda form="float32": False)
    for plan in (plan for name, plan in PLANS.items() if name != "xpos"):  # whose powers have an end
        x = tensor(2, 40, 8192, 8, dtype=dtype)
        tables, wanted = rope.cos_sin(plan, torch.arange(8192)), rope.apply(plan, x)
        for out in (torch.empty_like(x), torch.empty(2, 8192, 40, 8, dtype=x.dtype).transpose(1, 2)):
            version = out._version
            assert rope.rotate(plan, x, *tables, out=out) is out
            assert torch.equal(out, wanted)
            assert out._version > version


def test_large_tables_are_made_in_pieces_with_the_same_bits() -> None:
    ids = torch.arange(3 * 16384).view(3, 16384) * 43_691 - 2**30
    for plan, positions in ((WHOLE, ids), (AXES, torch.stack([ids, ids.flip(0), ids.neg()]))):
        whole = rope.cos_sin(plan, positions)  # 196,608 numbers, more than a piece
        parts = [rope.cos_sin(plan, positions[..., at : at + 2048]) for at in range(0, 16384, 2048)]
        for table, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            assert table.shape == (3, 16384, 4)
            assert torch.equal(table, torch.cat(pieces, 1))


def test_an_output_on_another_device() -> None:
    x, tables = tensor(1, 2, 4, 8), rope.cos_sin(WHOLE, torch.arange(4))
    out = torch.empty(1, 2, 4, 8, device="meta")
    assert rope.rotate(WHOLE, x, *tables, out=out) is out


def test_a_view_of_a_leaf_is_refused_in_place_as_torch_would() -> None:
    leaf = torch.nn.Parameter(tensor(1, 2, 4, 8))
    with torch.no_grad():
        view = leaf[:]
    with pytest.raises(RopeError, match="gradient"):
        rope.apply_(WHOLE, view)
    with torch.no_grad():
        assert rope.apply_(WHOLE, view) is view


def test_an_output_is_seen_by_autograd() -> None:
    x, tables = tensor(1, 2, 4, 8).requires_grad_(), rope.cos_sin(WHOLE, torch.arange(4))
    out = rope.rotate(WHOLE, x, *tables, out=torch.empty(1, 2, 4, 8))
    (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out))
    (wanted,) = torch.autograd.grad(rope.rotate(WHOLE, x, *tables), x, torch.ones_like(out))

    assert torch.equal(gradient, wanted)


def test_a_refused_call_in_place_has_changed_nothing() -> None:
    q, k = tensor(2, 3, 4, 8), tensor(2, 3, 4, 8)
    before = q.clone()
    with pytest.raises(RopeError, match=r"2\^31"):
        rope.apply_(PLAN, q, k, positions=torch.arange(4), k_positions=torch.arange(4) + 2**31)

    assert torch.equal(q, before)


# ---- gradients


@pytest.mark.parametrize("plan", [*PLANS.values(), AXES], ids=[*PLANS, "axes"])
def test_gradcheck(plan: RotaryPlan) -> None:
    """First and second derivatives, forwards and backwards, of apply, rotate and shift."""
    x = tensor(2, 1, 2, 8, dtype="float64").requires_grad_()
    positions = torch.tensor([[4, 1], [-3, 2]])
    positions = positions.expand(3, 2, 2) if plan is AXES else positions
    tables = rope.cos_sin(plan, positions, dtype="float64")
    functions = [
        lambda x: rope.apply(plan, x, positions=positions),
        lambda x: rope.rotate(plan, x, *tables, inverse=True),
        lambda x: rope.shift(plan, x, 5),
        lambda x: rope.apply_(plan, x * 1.0, positions=positions),
    ]
    for function in functions:
        assert torch.autograd.gradcheck(function, x, check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(function, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_is_the_transpose_and_nothing_of_x_is_kept(dtype: str) -> None:
    kept: list[torch.Tensor] = []
    for plan in PLANS.values():
        x, g = tensor(2, 3, 5, 8, dtype=dtype).requires_grad_(), tensor(2, 3, 5, 8, dtype=dtype, seed=1)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            y = rope.apply(plan, x, offset=70)
        (gradient,) = torch.autograd.grad(y, x, g)
        tables = rope.cos_sin(plan, range(70, 75), dtype="float64" if dtype == "float64" else "float32")

        assert bits(gradient) == bits(rope.rotate(plan, g, *tables, transpose=True))
        assert kept
        assert all(t.numel() == 5 * plan.n_pairs for t in kept)  # tables: no heads, no batch


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_torch_func(plan: RotaryPlan) -> None:
    x = tensor(4, 2, 3, 5, 8)
    positions = torch.tensor([[0, 1, 2, 3, 4], [5, 5, 5, 5, 5], [9, 8, 7, 6, 5], [2**31 - 1, 0, -1, 3, 2]])
    positions = positions % 50 if plan is XPOS else positions

    def rotate(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return rope.apply(plan, x, positions=p)

    vmap, each = torch.func.vmap, torch.stack([rotate(a, p) for a, p in zip(x, positions, strict=True)])
    assert torch.equal(vmap(rotate)(x, positions), each)
    assert torch.equal(vmap(rotate, (None, 0))(x[0], positions), torch.stack([rotate(x[0], p) for p in positions]))
    offsets = vmap(lambda a, o: rope.apply(plan, a, offset=o))(x, torch.tensor([3, 1, 4, 1]))
    assert torch.equal(offsets[2], rope.apply(plan, x[2], offset=4))
    _, tangent = torch.func.jvp(lambda a: rotate(a, positions[1]), (x[0],), (x[1],))
    assert torch.equal(tangent, rotate(x[1], positions[1]))
    gradients = vmap(torch.func.grad(lambda a, p: rotate(a, p).square().sum()))(x, positions)
    for a, p, gradient in zip(x, positions, gradients, strict=True):
        leaf = a.clone().requires_grad_()
        (plain,) = torch.autograd.grad(rotate(leaf, p).square().sum(), leaf)
        torch.testing.assert_close(gradient, plain)
    in_place = vmap(lambda a, p: rope.apply_(plan, a.clone(), positions=p))(x, positions)
    assert torch.equal(in_place, each)


def test_a_hessian() -> None:
    hessian = torch.func.hessian(lambda a: rope.apply(PLAN, a, offset=3).square().sum())(tensor(1, 1, 1, 8))

    torch.testing.assert_close(hessian.reshape(8, 8), 2 * torch.eye(8))  # a rotation keeps lengths


def test_forward_mode() -> None:
    x, t = tensor(1, 2, 3, 8), tensor(1, 2, 3, 8, seed=1)
    with forward_ad.dual_level():
        _, tangent = forward_ad.unpack_dual(rope.apply(PLAN, forward_ad.make_dual(x, t), offset=4))

    assert torch.equal(tangent, rope.apply(PLAN, t, offset=4))


def test_learned_tables_get_a_gradient() -> None:
    """Tables of cos_sin have none (R-11.2); those of the caller's own frequencies do."""
    frequencies = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    x, p = tensor(1, 1, 4, 8, dtype="float64").requires_grad_(), torch.arange(4)

    def loss(x: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        angle = p[:, None] * f
        return rope.rotate(PLAN, x, angle.cos(), angle.sin())

    assert torch.autograd.gradcheck(loss, (x, frequencies))
    assert not any(table.requires_grad for table in rope.cos_sin(PLAN, p))


@pytest.mark.parametrize("compiled", [False, True])
def test_given_tables_get_the_gradient_of_the_rule(compiled: bool) -> None:
    """R-11.2: sums over batch and heads, which share an entry; x needs no gradient for it."""
    cos, sin = (table.requires_grad_() for table in rope.cos_sin(WHOLE, torch.arange(4), dtype="float64"))
    x, g = tensor(2, 3, 4, 8, dtype="float64"), tensor(2, 3, 4, 8, dtype="float64", seed=1)
    rotate = torch.compile(rope.rotate, backend="aot_eager", fullgraph=True) if compiled else rope.rotate
    rotate(WHOLE, x, cos, sin).backward(g)

    (x1, x2), (g1, g2) = x.chunk(2, -1), g.chunk(2, -1)
    torch.testing.assert_close(cos.grad, (g1 * x1 + g2 * x2).sum((0, 1)))
    torch.testing.assert_close(sin.grad, (g2 * x1 - g1 * x2).sum((0, 1)))


def test_positions_get_no_gradient() -> None:
    at = torch.tensor([[0.5, 1.5]] * 3, requires_grad=True)
    y = rope.apply(AXES.replace(axis_kinds=("real",) * 3), tensor(1, 1, 2, 8).requires_grad_(), positions=at)
    y.sum().backward()

    assert at.grad is None


def test_in_place_in_a_graph_of_gradients() -> None:
    for plan in PLANS.values():
        x = tensor(1, 2, 3, 8).requires_grad_()
        (one,) = torch.autograd.grad(rope.apply(plan, x * 2, offset=3).square().sum(), x)
        (other,) = torch.autograd.grad(rope.apply_(plan, x * 2, offset=3).square().sum(), x)
        torch.testing.assert_close(one, other)


# ---- state


@pytest.fixture
def torchs_own_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the kernels of the extra "fast", which share a table of their own kind
    (tests/backends/kernels/test_fused.py).
    """
    monkeypatch.setattr("ropecore.backends._kernels.available", lambda form="float32": False)


class _Watch(TorchDispatchMode):
    """A mode of somebody's own: torch calls it for each operation."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class _Attention(torch.nn.Module):
    def __init__(self, plan: RotaryPlan) -> None:
        super().__init__()
        self.rotary = rope.RotaryEmbedding(plan)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = self.rotary(x, x[:, :1])
        return q + k


@pytest.mark.usefixtures("torchs_own_operations")
def test_a_model_of_28_layers_holds_one_table() -> None:
    TABLES.clear()
    config = RopeConfig(head_dim=8, base=100.0, pairing="half_split")
    model = torch.nn.Sequential(*[_Attention(copy.deepcopy(config).plan()) for _ in range(28)])
    model(tensor(1, 2, 4321, 8))
    gc.collect()
    tables = [t for t in gc.get_objects() if type(t) is torch.Tensor and t.shape == (4321, 4)]

    assert len(tables) == 2  # cos and sin
    assert len(TABLES) == 1
    TABLES.clear()
    del tables
    gc.collect()
    assert not [t for t in gc.get_objects() if type(t) is torch.Tensor and t.shape == (4321, 4)]


@pytest.mark.usefixtures("torchs_own_operations")
def test_the_store_knows_everything_that_changes_a_table() -> None:
    TABLES.clear()
    x = tensor(1, 1, 4, 8)
    calls = [
        lambda: rope.apply(PLAN, x),
        lambda: rope.apply(WHOLE, x),
        lambda: rope.apply(PLAN, tensor(1, 1, 5, 8)),
        lambda: rope.apply(PLAN, x, offset=1),
        lambda: rope.apply(PLAN, x.to(torch.float64)),
        lambda: rope.apply(PLAN, x, precision="float32"),
        lambda: rope.apply(XPOS, x),
        lambda: rope.apply(XPOS, x, role="k"),
    ]
    for number, call in enumerate(calls, start=1):
        call()
        assert len(TABLES) == number
    rope.apply(PLAN, x, role="k")  # the role matters to xPos alone
    rope.apply(PLAN, x.to(torch.bfloat16), offset=1)
    assert len(TABLES) == len(calls)


@pytest.mark.usefixtures("torchs_own_operations")
def test_threads_share_one_table() -> None:
    TABLES.clear()
    x, results = tensor(1, 2, 64, 8), []
    threads = [threading.Thread(target=lambda: results.append(rope.apply(PLAN, x, offset=5))) for _ in range(28)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 28
    assert all(torch.equal(result, results[0]) for result in results)
    assert len(TABLES) == 1


@pytest.mark.usefixtures("torchs_own_operations")
def test_a_table_made_in_inference_mode_serves_training() -> None:
    TABLES.clear()
    x = tensor(1, 2, 6, 8)
    with torch.inference_mode():
        y = rope.apply(PLAN, x, offset=77)
    assert len(TABLES) == 1
    leaf = x.clone().requires_grad_()
    trained = rope.apply(PLAN, leaf, offset=77)
    trained.sum().backward()

    assert torch.equal(trained, y)
    assert leaf.grad is not None


@pytest.mark.usefixtures("torchs_own_operations")
def test_graphs_neither_read_nor_write_the_store() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    TABLES.clear()
    x = tensor(1, 2, 6, 8)
    for held in (0, 1):  # an empty store, and one that holds the very table
        with FakeTensorMode() as mode:
            assert type(rope.apply(PLAN, mode.from_tensor(x))) is type(mode.from_tensor(x))
        assert rope.apply(PLAN, x.to("meta")).is_meta
        torch.func.vmap(lambda a: rope.apply(PLAN, a))(x[None])
        torch.func.grad(lambda a: rope.apply(PLAN, a).sum())(x)
        graph = make_fx(lambda a: rope.apply(PLAN, a, offset=3))(x)
        with _Watch():
            rope.apply(PLAN, x)
        assert len(TABLES) == held
        y = rope.apply(PLAN, x)

    assert torch.equal(graph(x), rope.apply(PLAN, x, offset=3))
    assert type(y) is torch.Tensor


def _default_device(name: str):
    return torch.device(name)  # a context manager


AMBIENT = {
    "autocast_bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast_float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default_device": lambda: _default_device("meta"),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "default_dtype": lambda: _set(torch.set_default_dtype, torch.float64, torch.float32),
    "default_dtype_narrow": lambda: _set(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "tf32": lambda: _set(torch.set_float32_matmul_precision, "high", "highest"),
    "deterministic": lambda: _set(torch.use_deterministic_algorithms, True, False),
    "one_thread": lambda: _set(torch.set_num_threads, 1, torch.get_num_threads()),
    "a_mode": _Watch,
}


class _set(nullcontext):
    def __init__(self, change, value, before) -> None:
        self.change, self.value, self.before = change, value, before

    def __enter__(self) -> None:
        self.change(self.value)

    def __exit__(self, *_: object) -> None:
        self.change(self.before)


@pytest.mark.parametrize("mode", AMBIENT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ambient_state_changes_nothing(mode: str, dtype: str) -> None:
    """In tables, rotation, shift and gradients; tables made within serve outside, and the other way
    round.
    """
    x, g, real = (
        tensor(2, 2, 3, 8, dtype=dtype),
        tensor(2, 2, 3, 8, dtype=dtype, seed=1),
        AXES.replace(axis_kinds=("real",) * 3),
    )

    def results() -> list[bytes]:
        found = []
        for plan in PLANS.values():
            leaf = x.clone().requires_grad_()
            y = rope.apply(plan, leaf, offset=260)
            found += [y, rope.shift(plan, x, -5), rope.apply_(plan, x.clone(), positions=[2, 259, 70])]
            found += rope.cos_sin(plan, [2, 259, 70], dtype=dtype)
            if y.requires_grad:
                found += torch.autograd.grad(y, leaf, g)
        found += [*rope.cos_sin(real, [[0.1, 0.7]] * 3), *rope.cos_sin(PLAN, LADDER, precision="float32")]
        found += rope.apply(PLAN, x, x, precision="float32", compute="input")
        return [bits(t) for t in found]

    TABLES.clear()
    outside = results()
    with AMBIENT[mode]():
        inside = results()
    if mode in ("inference", "no_grad"):  # there are no gradients there
        with torch.no_grad():
            outside = results()
    assert inside == outside
    TABLES.clear()
    with AMBIENT[mode]():
        assert results() == outside
    if mode not in ("inference", "no_grad"):
        assert results() == outside


# ---- the module


def test_the_module_has_no_state_that_could_spoil() -> None:
    """Neither a cast, nor a checkpoint, nor initialisation on the meta device changes its numbers
    (field failures A and F).
    """
    q, k = tensor(1, 4, 300, 8), tensor(1, 1, 300, 8, seed=1)
    emb = rope.RotaryEmbedding(PLANS["interleaved_yarn"])
    wanted = rope.apply(emb.plan, q, k, offset=257)
    with torch.device("meta"):
        born_on_meta = rope.RotaryEmbedding(PLANS["interleaved_yarn"])
    ways = {
        "cast": copy.deepcopy(emb).to(torch.bfloat16),
        "half": copy.deepcopy(emb).half(),
        "double": copy.deepcopy(emb).double(),
        "meta": born_on_meta.to_empty(device="cpu"),
        "copy": copy.deepcopy(emb),
        "pickle": pickle.loads(pickle.dumps(emb)),
    }
    for module in ways.values():
        got = module(q, k, offset=257)
        assert torch.equal(got[0], wanted[0])
        assert torch.equal(got[1], wanted[1])
    assert emb.state_dict() == {}
    assert [*emb.parameters(), *emb.buffers()] == []
    emb.load_state_dict({}, strict=True)
    assert "interleaved" in repr(emb)


def test_a_model_born_on_meta_gives_the_same_output() -> None:
    """And the module neither adds to the checkpoint nor asks anything of it."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj, self.rotary = torch.nn.Linear(8, 8), rope.RotaryEmbedding(WHOLE)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rotary(self.proj(x), offset=300)

    block, x = Block(), tensor(1, 2, 5, 8)
    with torch.device("meta"):
        other = Block()
        other(torch.zeros(1, 2, 5, 8))  # a dry run, as some loaders make
    other = other.to_empty(device="cpu")
    other.load_state_dict(block.state_dict(), strict=True)

    assert torch.equal(other(x), block(x))
    assert set(block.state_dict()) == {"proj.weight", "proj.bias"}


# ---- positions that nobody reads


def test_positions_beyond_the_range_wrap_where_they_are_not_read() -> None:
    x = tensor(1, 3, 2, 8)
    far, near = torch.tensor([[2**32 + 5, -(2**31) - 7]]), torch.tensor([[5, 2**31 - 7]])
    rotate = torch.func.vmap(lambda a, p: rope.apply(WHOLE, a, positions=p), (None, 0))

    assert torch.equal(rotate(x, far), rotate(x, near))
    with pytest.raises(RopeError, match="2\\^31"):
        rope.apply(WHOLE, x, positions=far[0])


# ---- in place


def test_in_place_on_views_of_one_fused_projection() -> None:
    fused = tensor(2, 5, 6, 8, dtype="bfloat16")
    q, k, v = fused[:, :, :3], fused[:, :, 3:5], fused[:, :, 5:].clone()
    expected = rope.apply(PLAN, q, k, tensor_format="bshd", offset=3)
    result = rope.apply_(PLAN, q, k, tensor_format="bshd", offset=3)

    assert result[0] is q
    assert torch.equal(q, expected[0])
    assert torch.equal(k, expected[1])
    assert torch.equal(fused[:, :, 5:], v)
    assert rope.apply_(PLAN, q, None, tensor_format="bshd")[1] is None


# ---- refusals

X = tensor(2, 3, 4, 8)
TABLE = rope.cos_sin(PLAN, range(4))
LEAF = torch.nn.Parameter(tensor(2, 3, 4, 8))
with torch.inference_mode():
    INFERRED = tensor(2, 3, 4, 8) * 1
WRONG_CALLS = {
    "float8 x": (lambda: rope.apply(PLAN, X.to(torch.float8_e4m3fn)), "q", "Convert"),
    "a NumPy array": (lambda: rope.apply(PLAN, X.numpy()), "q", "torch.as_tensor"),
    "a list": (lambda: rope.apply(PLAN, X, X.tolist()), "k", "torch.as_tensor"),
    "a sparse tensor": (lambda: rope.apply(PLAN, X.to_sparse()), "q", "torch.as_tensor"),
    "a nested tensor": (lambda: rope.apply(PLAN, torch.nested.nested_tensor([X[0], X[0]], layout=torch.jagged)), "q", "thd"),
    "a nested tensor of blocks": (lambda: rope.apply(PLAN, torch.nested.nested_tensor([X[0], X[0]])), "q", "nested"),
    "k of another length": (lambda: rope.apply(PLAN, X, X[:, :, :3], positions=range(4)), "positions", "(3)"),
    "bfloat16 positions": (lambda: rope.apply(PLAN, X, positions=torch.arange(4, dtype=torch.bfloat16)), "positions", "Round"),
    "positions as text": (lambda: rope.apply(PLAN, X, positions="0123"), "positions", "tensor, or a list"),
    "huge positions": (lambda: rope.apply(PLAN, X, positions=[0, 1, 2, 10**30]), "positions", "tensor, or a list"),
    "a position without a dimension": (lambda: rope.apply(PLAN, X, positions=torch.tensor(7)), "positions", "(4)"),
    "a position that wraps to -5": (lambda: rope.apply(PLAN, X, positions=np.array([0, 1, 2, 2**64 - 5], np.uint64)), "positions", "2^31"),
    "the lowest int64": (lambda: rope.apply(PLAN, X, positions=[0, 1, 2, -(2**63)]), "positions", "2^31"),
    "NaN on a real axis": (lambda: rope.cos_sin(AXES.replace(axis_kinds=("real",) * 3), [[0.0], [1.0], [float("nan")]]), "positions", "finite"),
    "xPos too far from its centre": (lambda: rope.apply(XPOS, X, offset=10_000), "positions", "centre"),
    "offset as a float tensor": (lambda: rope.apply(PLAN, X, offset=torch.tensor(1.0)), "offset", "integer"),
    "an expanded view in place": (lambda: rope.apply_(PLAN, X[:1].expand(2, 3, 4, 8)), "q", "Copy"),
    "overlapping windows in place": (lambda: rope.apply_(PLAN, X.clone().flatten().unfold(0, 8, 4)[None, None, :4]), "q", "Copy"),
    "q and k that share heads, in place": (lambda: rope.apply_(PLAN, X[:, :2], X[:, 1:]), "k", "Copy"),
    "a parameter in place": (lambda: rope.apply_(PLAN, LEAF), "q", "Use apply"),
    "a view of a parameter in place": (lambda: rope.apply_(PLAN, X, LEAF[:, :1]), "k", "Use apply"),
    "a tensor of inference mode in place": (lambda: rope.apply_(PLAN, INFERRED), "q", "Use apply"),
    "an array in place": (lambda: rope.apply_(PLAN, X.numpy()), "q", "torch.as_tensor"),
}  # fmt: skip


@pytest.mark.parametrize("case", [*wrong_calls.WRONG, *wrong_calls.WRITING])
def test_wrong_calls_of_every_adapter(case: str) -> None:
    wrong_calls.check(rope, torch.as_tensor, case)


@pytest.mark.parametrize("case", WRONG_CALLS)
@pytest.mark.filterwarnings("ignore:.*nested tensors.*:UserWarning")
def test_wrong_calls_are_refused_with_the_cure(case: str) -> None:
    call, argument, cure = WRONG_CALLS[case]
    before = X.clone()
    with pytest.raises(RopeError) as refusal:
        call()

    assert refusal.value.argument == argument
    assert cure in str(refusal.value)
    assert torch.equal(X, before)
