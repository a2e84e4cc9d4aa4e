"""The one-pass kernels behind the torch adapter: the same bits as its operations, and what autograd
must know.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from ropecore import RopeConfig, RopeError  # noqa: E402
from ropecore.backends import _kernels  # noqa: E402
from ropecore.backends import torch as rope  # noqa: E402

PLANS = [
    RopeConfig(head_dim=80, base=1e4, pairing="half_split").plan(),
    RopeConfig(head_dim=64, base=1e4, pairing="interleaved", rotary_dim=24).plan(),
    RopeConfig(head_dim=32, base=1e4, pairing="interleaved", out_pairing="half_split", attention_factor=1.5).plan(),
    RopeConfig(head_dim=128, base=1e4, pairing="half_split").plan(),
    RopeConfig(head_dim=64, base=1e4, pairing="interleaved").plan(),
]
DTYPES = ["float32", "float64", "float16", "bfloat16"]


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A way to call without the kernels."""

    def call(function: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(_kernels, "available", lambda form="float32": False)
            return function()

    return call


def pair(plan: Any, dtype: str, length: int = 7, batch: int = 2) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(batch, 4, length, plan.head_dim, generator=generator)
    return q.to(getattr(torch, dtype)), q[:, :2].neg().to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "plan", PLANS, ids=["half_split", "partial", "deinterleaving", "whole rows", "whole interleaved rows"]
)
def test_the_bits_are_those_of_the_operations(plan: Any, dtype: str, operations: Any) -> None:
    q, k = pair(plan, dtype)
    ids = torch.tensor([[5, 0, 2**31 - 1, -7, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]])
    for where in (
        {},
        {"offset": 131_000},
        {"offset": 2**30},
        {"positions": ids},
        {"positions": ids[0]},
        {"positions": ids[:1]},
    ):
        want = operations(lambda where=where: rope.apply(plan, q, k, **where))
        copies = q.clone(), k.clone()
        for got in (rope.apply(plan, q, k, **where), rope.apply_(plan, *copies, **where)):
            assert all(torch.equal(one, other) for one, other in zip(got, want, strict=True))
    turned = operations(lambda: rope.apply(plan, q.transpose(1, 2), tensor_format="bshd"))
    assert torch.equal(rope.apply(plan, q.transpose(1, 2), tensor_format="bshd"), turned)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_tensors_in_blocks_without_the_kernels(dtype: str, operations: Any) -> None:
    for plan in PLANS:
        q, _ = pair(plan, dtype, length=2100, batch=8)
        want = rope.apply(plan, q)
        assert torch.equal(operations(lambda plan=plan, q=q: rope.apply(plan, q)), want)
        assert torch.equal(operations(lambda plan=plan, q=q: rope.apply_(plan, q.clone())), want)


def test_the_gradient_has_the_same_bits(operations: Any) -> None:
    for plan in PLANS:
        q = pair(plan, "float32")[0].requires_grad_()

        def gradient(plan: Any = plan, q: Any = q) -> Any:
            return torch.autograd.grad(rope.apply(plan, q, offset=9), q, torch.ones_like(q))[0]

        assert torch.equal(gradient(), operations(gradient))


def test_autograd_knows_of_a_change_in_place() -> None:
    weight = torch.ones(80, requires_grad=True)
    q, _ = pair(PLANS[0], "float32")
    product = q * weight  # keeps q
    rope.apply_(PLANS[0], q)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_what_is_wrong_is_still_refused() -> None:
    q, k = pair(PLANS[0], "float32")
    both = torch.cat([q, k], 1)
    for call in (
        lambda: rope.apply(PLANS[0], q, k, positions=torch.tensor([0, 1, 2**31, 3, 4, 5, 6])),
        lambda: rope.apply(PLANS[0], q, k, positions=torch.arange(6)),
        lambda: rope.apply(PLANS[0], q, k, offset=2**31 - 3),
        lambda: rope.apply(PLANS[0], q[..., :64], k),
        lambda: rope.apply_(PLANS[0], both[:, :4], both[:, 3:]),
        lambda: rope.apply_(PLANS[0], q[:1].expand(3, -1, -1, -1)),
    ):
        with pytest.raises(RopeError):
            call()
    parts = both[:, :4], both[:, 4:]
    want = rope.apply(PLANS[0], *parts)
    assert all(map(torch.equal, rope.apply_(PLANS[0], *parts), want))  # views of one tensor that do not overlap


def test_threads_do_not_change_bits() -> None:
    q, k = pair(PLANS[0], "bfloat16", length=900)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(rope.apply(PLANS[0], q, k))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for result in results for one, other in zip(result, results[0], strict=True))


LAYOUTS = {
    "many_tokens": ("bhsd", (2, 3, 200, 80), (200,)),
    "own_positions": ("bhsd", (3, 2, 130, 80), (3, 130)),
    "heads_inside": ("bshd", (2, 150, 4, 80), (2, 150)),
    "sequence_first": ("sbhd", (90, 3, 2, 80), (3, 90)),
    "packed": ("thd", (170, 4, 80), (170,)),
    "a_step": ("bhsd", (37, 4, 1, 80), (37, 1)),
    "one_token": ("bhsd", (1, 40, 1, 80), (1,)),
    "groups": ("bghsd", (2, 2, 3, 70, 80), (2, 70)),
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n_axes", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_angles_made_in_the_kernel(layout: str, n_axes: int, threads: int, operations: Any) -> None:
    tensor_format, shape, places = LAYOUTS[layout]
    axes = {"axes": ("t", "h", "w"), "sections": (20, 12, 8)} if n_axes == 3 else {}
    plan = RopeConfig(head_dim=80, base=1e4, pairing="half_split", **axes).plan()
    generator = torch.Generator().manual_seed(len(layout))
    q = torch.randn(shape, generator=generator)
    ids = torch.randint(-(2**31) + 1, 2**31, (*((n_axes,) if n_axes > 1 else ()), *places), generator=generator)
    want = operations(lambda: rope.apply(plan, q, positions=ids, tensor_format=tensor_format))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        got = rope.apply(plan, q, positions=ids, tensor_format=tensor_format)
        rope.apply_(plan, q, positions=ids, tensor_format=tensor_format)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(got, want)
    assert torch.equal(q, want)


def test_no_table_is_made_at_any_position(operations: Any) -> None:
    q, k = pair(PLANS[0], "float32")
    for offset in (0, 3, 2**20, 2**31 - 7, 1 - 2**31):
        want = operations(lambda offset=offset: rope.apply(PLANS[0], q, k, offset=offset))
        rope.TABLES.clear()
        assert all(map(torch.equal, rope.apply(PLANS[0], q, k, offset=offset), want))
        assert len(rope.TABLES) == 0


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_tables_have_the_bits_of_the_operations(mode: Any, operations: Any) -> None:
    several = RopeConfig(
        head_dim=80, base=1e4, pairing="half_split", sections=(16, 12, 12), axes=("t", "h", "w")
    ).plan()
    ids = torch.randint(-(2**31) + 1, 2**31, (3, 5, 700), generator=torch.Generator().manual_seed(0))
    calls = [(plan, ids[0]) for plan in PLANS]
    calls += [(several, ids), (PLANS[0], ids[0, 0, ::7]), (PLANS[0], ids[0, 0, :0]), (PLANS[0], ids[0, 0, 0])]
    with mode():
        for plan, where in calls:
            got, want = rope.cos_sin(plan, where), operations(lambda plan=plan, ids=where: rope.cos_sin(plan, ids))
            assert all(
                one.dtype is other.dtype and torch.equal(one, other) for one, other in zip(got, want, strict=True)
            )


@pytest.mark.parametrize("factor", [1.0, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [40, 128, 160])
@pytest.mark.parametrize("pairing", ["half_split", "interleaved"])
def test_every_16_bit_number_by_angles_made_in_the_kernel(
    pairing: str, head_dim: int, dtype: Any, factor: float, operations: Any
) -> None:
    plan = RopeConfig(head_dim=head_dim, base=1e4, pairing=pairing, attention_factor=factor).plan()
    generator, rows = torch.Generator().manual_seed(0), -(-(1 << 16) // plan.n_pairs)
    x = torch.empty(1, 1, rows, head_dim, dtype=dtype)
    for lanes in plan.lanes.T:
        everything = torch.randperm(1 << 16, generator=generator).to(torch.int16).view(dtype)
        x[..., torch.tensor(lanes)] = everything.repeat(2)[: rows * plan.n_pairs].reshape(1, 1, rows, -1)
    got, want = rope.apply(plan, x), operations(lambda: rope.apply(plan, x))

    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got.nan_to_num().view(torch.int16), want.nan_to_num().view(torch.int16))


def flags_of_memory(address: int) -> list[str]:
    """What Linux says of the memory at an address: the flags of its mapping."""
    found, inside = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            start, end = (int(each, 16) for each in first.split("-"))
            inside = start <= address < end
        elif inside and first == "VmFlags:":
            found = rest
    return found


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="needs Linux with huge pages")
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "operations"])
def test_large_outputs_are_asked_to_lie_in_huge_pages(kernels: bool, operations: Any) -> None:
    x = torch.ones(1, 1, 1 << 18, 8)
    plan = RopeConfig(head_dim=8, base=1e4, pairing="half_split").plan()
    calls = [
        lambda x: rope.apply(plan, x),
        lambda x: rope.rotate(plan, x, *rope.cos_sin(plan, torch.arange(x.shape[2]))),
    ]
    for call in calls:
        y = call(x) if kernels else operations(lambda call=call: call(x))
        assert "hg" in flags_of_memory(y.data_ptr() + (1 << 20))
