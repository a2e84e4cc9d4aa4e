"""The torch adapter compiled, exported and traced: the same numbers, from graphs that fit every
length and offset.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ropecore
import ropecore.backends.numpy as reference
import ropecore.backends.torch as rope
from ropecore import RopeConfig, RopeError, RotaryPlan, XPos, YaRN
from ropecore.backends.torch import TABLES
from ropecore.conformance import bounds

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # inductor's own

PLAN = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan()
WHOLE = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()
AXES = RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w")).plan()
SCALED = RopeConfig(head_dim=8, base=100.0, pairing="interleaved", scaling=YaRN(4.0, 64)).plan()
PLANS = {
    "half_split_partial": PLAN,
    "interleaved_yarn": SCALED,
    "deinterleaving": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", out_pairing="half_split").plan(),
    "scattered": RotaryPlan(8, np.array([[6, 1], [0, 3], [2, 7]]), np.array([1.0, -0.3, 0.1]), np.array([[1, 0], [7, 3], [2, 6]]), 1.5),
    "still": RotaryPlan(8, np.zeros((0, 2), int), np.zeros(0)),
    "xpos": RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=XPos(scale_base=64.0)).plan(),
}  # fmt: skip
LADDER = [0, 1, 257, 2049, 4097, 8192, 131071, 2**20, 2**24 + 1, 2**31 - 1]
LADDER += [-p for p in LADDER]
LENGTHS = [9, 5, 17, 8, 12, 31, 6, 3, 25, 14, 7, 11, 22, 19, 4, 28, 13, 10, 16, 15]
OFFSETS = [3, 1000, 17, 2, 77, 131071, 5, 4096, 9, 640, 8, 33, 71, 1024, 6, 99, 12, 2047, 50, 300]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    """Each test starts without compiled code, and with an empty store that no graph may fill."""
    torch.compiler.reset()
    TABLES.clear()
    yield
    torch.compiler.reset()


def tensor(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(dtype)


class Counter:
    """A backend that counts the graphs it is given, and runs them as they are."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, examples: list[Any]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


# ---- numbers


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("scaling", [None, YaRN(4.0, 4096)], ids=["plain", "yarn"])
def test_inductor_makes_numpys_float32_tables(scaling: YaRN | None, dynamic: bool | None) -> None:
    """Bit for bit, for A = 1 and another, with constants in the code or as arguments (dynamic)."""
    plan = RopeConfig(head_dim=128, base=5e5, pairing="half_split", scaling=scaling).plan()
    positions = np.concatenate([LADDER, np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 20_000)])
    compiled = torch.compile(lambda p: rope.cos_sin(plan, p), fullgraph=True, dynamic=dynamic)
    truth, numpys = ropecore.cos_sin(plan, positions), reference.cos_sin(plan, positions)

    for table, same, exact in zip(compiled(torch.from_numpy(positions)), numpys, truth, strict=True):
        assert table.numpy().tobytes() == same.tobytes()
        rounding = 0.0 if scaling is None else 2.0**-23
        assert np.abs(table.numpy() - exact).max() <= plan.attention_factor * (1.2e-7 + rounding)


def test_inductor_makes_float64_tables_within_two_to_the_minus_52() -> None:
    plan = RopeConfig(head_dim=128, base=5e5, pairing="half_split").plan()
    positions = np.concatenate([LADDER, np.random.default_rng(0).integers(-(2**31) + 1, 2**31, 5_000)])
    compiled = torch.compile(lambda p: rope.cos_sin(plan, p, dtype="float64"), fullgraph=True)

    for table, exact in zip(compiled(torch.from_numpy(positions)), ropecore.cos_sin(plan, positions), strict=True):
        assert np.abs(table.numpy() - exact).max() <= 2.0**-52


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_inductor_rotates_as_eager_does(dtype: torch.dtype) -> None:
    plan = RopeConfig(head_dim=64, base=1e4, pairing="interleaved", rotary_dim=32, scaling=YaRN(4.0, 64)).plan()
    q, k, positions = tensor(2, 4, 33, 64, dtype=dtype), tensor(2, 1, 33, 64, dtype=dtype), torch.arange(33) * 65_537
    compiled = torch.compile(lambda q, k, p: rope.apply(plan, q, k, positions=p), fullgraph=True)

    for got, wanted in zip(compiled(q, k, positions), rope.apply(plan, q, k, positions=positions), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize(("name", "dynamic"), [*((name, None) for name in PLANS), ("scattered", True), ("xpos", True)])
def test_every_plan_and_call_compiles(name: str, dynamic: bool | None) -> None:
    plan = PLANS[name]
    x, ids = tensor(2, 3, 5, 8), torch.tensor([[3, 1, 4, 1, 5], [9, -2, 6, 5, 3]])
    tables = rope.cos_sin(plan, range(5))
    calls: list[Callable[..., Any]] = [
        lambda x: rope.apply(plan, x, x[:, :1]),
        lambda x: rope.apply(plan, x, positions=ids),
        lambda x: rope.apply(plan, x, positions=[5, 4, 3, 2, 1]),
        lambda x: rope.apply(plan, x[:, :, :1], positions=7),
        lambda x: rope.apply(plan, x, offset=[3, 70]),
        lambda x: rope.apply(plan, x.to(torch.float64), offset=torch.tensor([3, 70])),
        lambda x: rope.apply(plan, x, precision="float32", compute="input"),
        lambda x: rope.apply_(plan, x.clone(), offset=3),
        lambda x: rope.shift(plan, x, -3),
        lambda x: rope.rotate(plan, x, *tables, inverse=True),
        lambda x: rope.rotate(plan, x, *tables, transpose=True),
    ]
    wanted = [call(x) for call in calls]
    got = torch.compile(lambda x: [call(x) for call in calls], backend="aot_eager", fullgraph=True, dynamic=dynamic)(x)

    for one, other in zip(got, wanted, strict=True):
        for a, b in zip(
            one if isinstance(one, tuple) else [one], other if isinstance(other, tuple) else [other], strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_compiled_gradients(plan: RotaryPlan) -> None:
    x, g = tensor(2, 3, 5, 8).requires_grad_(), tensor(2, 3, 5, 8, seed=1)
    compiled = torch.compile(lambda x: rope.apply(plan, x, offset=70), backend="aot_eager", fullgraph=True)
    (got,), (wanted,) = (
        torch.autograd.grad(compiled(x), x, g),
        torch.autograd.grad(rope.apply(plan, x, offset=70), x, g),
    )
    torch.testing.assert_close(got, wanted, rtol=2e-7, atol=1e-7)  # two products and a sum, in another order

    batched = torch.compile(
        torch.func.vmap(torch.func.grad(lambda a: rope.apply(plan, a, offset=70).square().sum())), backend="aot_eager"
    )
    torch.testing.assert_close(
        batched(x.detach()[None]),
        torch.func.grad(lambda a: rope.apply(plan, a, offset=70).square().sum())(x.detach())[None],
    )


# ---- graphs that fit


class Layers(torch.nn.Module):
    """Some layers, as in a model."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(rope.RotaryEmbedding(SCALED) for _ in range(4))

    def forward(self, q: torch.Tensor, k: torch.Tensor, offset: Any) -> tuple[torch.Tensor, torch.Tensor]:
        for layer in self.layers:
            q, k = layer(q, k, offset=offset)
        return q, k


VARYING = {
    "length": lambda s, o: (lambda q, k, _: rope.apply(SCALED, q, k), s, None),
    "length and offset": lambda s, o: (lambda q, k, o: rope.apply(SCALED, q, k, offset=o), s, o),
    "length and a tensor of an offset": lambda s, o: (lambda q, k, o: rope.apply(SCALED, q, k, offset=o), s, torch.tensor(o)),
    "length and offsets by row": lambda s, o: (lambda q, k, o: rope.apply(SCALED, q, k, offset=o), s, torch.tensor([o, s])),
    "length and positions": lambda s, o: (lambda q, k, p: rope.apply(SCALED, q, k, positions=p), s, torch.arange(s) + o),
    "length and positions by row": lambda s, o: (
        lambda q, k, p: rope.apply(SCALED, q, k, positions=p), s, torch.arange(s) + torch.tensor([[o], [2 * o]]),
    ),
    "length and axes": lambda s, o: (lambda q, k, p: rope.apply(AXES, q, k, positions=p), s, torch.arange(3 * s).reshape(3, s) + o),
    "decoding by int": lambda s, o: (lambda q, k, o: rope.apply(SCALED, q, k, offset=o), 1, o),
    "decoding by position": lambda s, o: (lambda q, k, p: rope.apply(SCALED, q, k, positions=p), 1, o),
    "length and shift": lambda s, o: (lambda q, k, o: (rope.shift(SCALED, q, o), rope.shift(SCALED, k, o)), s, o),
    "layers": lambda s, o: (MODEL, s, o),
}  # fmt: skip
MODEL = Layers()


@pytest.mark.parametrize("case", VARYING)
def test_twenty_lengths_and_offsets_compile_at_most_twice(case: str) -> None:
    counter = Counter()
    function = VARYING[case](0, 0)[0]
    compiled = torch.compile(function, backend=counter, fullgraph=True)
    for length, offset in zip(LENGTHS, OFFSETS, strict=True):
        _, size, where = VARYING[case](length, offset)
        q, k = tensor(2, 4, size, 8), tensor(2, 2, size, 8, seed=1)
        for got, wanted in zip(compiled(q, k, where), function(q, k, where), strict=True):
            assert torch.equal(got, wanted)
    assert 1 <= counter.graphs <= 2


def test_the_counter_counts_what_does_recompile() -> None:
    counter = Counter()
    compiled = torch.compile(lambda q: rope.apply(SCALED, q), backend=counter, fullgraph=True, dynamic=False)
    for length in LENGTHS[:4]:
        compiled(tensor(1, 1, length, 8))

    assert counter.graphs == 4


@pytest.mark.parametrize("dynamic", [None, True])
def test_a_length_that_equals_the_number_of_pairs_binds_nothing(dynamic: bool | None) -> None:
    """A compiler that took the plan's constants for inputs would believe that their length varies
    with the sequence's.
    """
    compiled = torch.compile(lambda p: rope.cos_sin(WHOLE, p), fullgraph=True, dynamic=dynamic)
    wide = RopeConfig(head_dim=12, base=100.0, pairing="half_split").plan()
    for length in (4, 3, 6, 5):
        assert torch.equal(compiled(torch.arange(length))[0], rope.cos_sin(WHOLE, range(length))[0])
    by_plan = torch.compile(rope.apply, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for plan in (WHOLE, wide, SCALED, PLAN):
        for length in (4, 6, 3):
            x = tensor(1, 2, length, plan.head_dim)
            assert torch.equal(by_plan(plan, x), rope.apply(plan, x))


def test_wrong_shapes_are_refused_when_a_graph_is_made() -> None:
    compiled = torch.compile(lambda x, p: rope.apply(PLAN, x, positions=p), backend="eager")
    with pytest.raises(RopeError, match="positions"):
        compiled(tensor(1, 2, 4, 8), torch.arange(3))


def test_compiled_positions_wrap_beyond_the_range() -> None:
    far, near = torch.tensor([2**32 + 5, -(2**31) - 7]), torch.tensor([5, 2**31 - 7])
    compiled = torch.compile(lambda p: rope.cos_sin(WHOLE, p)[0], fullgraph=True)

    assert torch.equal(compiled(far), compiled(near))


def test_graphs_leave_the_store_alone(tmp_path: Path) -> None:
    x = tensor(2, 3, 5, 8)
    torch.compile(lambda x: rope.apply(PLAN, x, offset=3), backend="eager", fullgraph=True)(x)
    for strict in (True, False):
        torch.export.export(rope.RotaryEmbedding(PLAN), (x,), strict=strict)
    assert len(TABLES) == 0


def test_autocast_around_a_graph_changes_nothing() -> None:
    x = tensor(1, 2, 5, 8, dtype=torch.float16)
    compiled = torch.compile(lambda x: rope.apply(SCALED, x, offset=260), backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = compiled(x)

    assert torch.equal(inside, compiled(x))
    assert torch.equal(inside, rope.apply(SCALED, x, offset=260))


# ---- export


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "name", [name for name in PLANS if name != "still"]
)  # torch.export.save fails on empty constants
def test_export(name: str, strict: bool) -> None:
    plan = PLANS[name]
    dynamic = torch.export.Dim.DYNAMIC
    example = {"q": tensor(2, 4, 7, 8), "k": tensor(2, 2, 7, 8), "positions": torch.arange(14).reshape(2, 7)}
    shapes = {"q": {0: dynamic, 2: dynamic}, "k": {0: dynamic, 2: dynamic}, "positions": {0: dynamic, 1: dynamic}}
    program = torch.export.export(rope.RotaryEmbedding(plan), (), kwargs=example, dynamic_shapes=shapes, strict=strict)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    q, k = tensor(3, 4, 9, 8), tensor(3, 2, 9, 8, seed=1)
    ids = torch.randint(-400, 400, (3, 9)) if plan is PLANS["xpos"] else torch.randint(-(2**31) + 1, 2**31, (3, 9))

    assert not program.state_dict
    for got, wanted in zip(loaded(q=q, k=k, positions=ids), rope.apply(plan, q, k, positions=ids), strict=True):
        assert torch.equal(got, wanted)


class Positioned(torch.nn.Module):
    """What a model exports: tensors in, tensors out."""

    def __init__(self, plan: RotaryPlan) -> None:
        super().__init__()
        self.rotary = rope.RotaryEmbedding(plan)

    def forward(self, q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rotary(q, k, positions=positions)


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:Exporting a model:UserWarning"
)
@pytest.mark.parametrize("plan", [PLANS["interleaved_yarn"], PLANS["scattered"]], ids=["interleaved_yarn", "scattered"])
def test_onnx_runtime_agrees_within_the_error_model(plan: RotaryPlan, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    dynamic = torch.export.Dim.DYNAMIC
    example = tensor(2, 4, 7, 8), tensor(2, 2, 7, 8), torch.arange(14).reshape(2, 7)
    shapes = {"q": {0: dynamic, 2: dynamic}, "k": {0: dynamic, 2: dynamic}, "positions": {0: dynamic, 1: dynamic}}
    torch.onnx.export(
        Positioned(plan), example, tmp_path / "rope.onnx", dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    session = onnxruntime.InferenceSession(tmp_path / "rope.onnx")
    ids = np.array([LADDER[:9], LADDER[11:]])
    inputs = {"q": tensor(2, 4, 9, 8).numpy(), "k": tensor(2, 2, 9, 8, seed=1).numpy(), "positions": ids}
    tables = [table[:, None] for table in ropecore.cos_sin(plan, ids)]

    for x, got in zip((inputs["q"], inputs["k"]), session.run(None, inputs), strict=True):
        exact = ropecore.rotate(plan, x.astype(np.float64), *tables)
        at = bounds.turns(plan, ids).fitted((2, 1, 9), (0, 1))
        limit = bounds.rotation_bound(
            plan, at, x, exact, "float32", bounds.Words(angle="exact"), "forward", bounds.GIVEN
        )
        assert (np.abs(got - exact) <= limit).all()
        assert got.dtype == np.float32


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_jit_trace() -> None:
    traced = torch.jit.trace(lambda x, p: rope.apply(SCALED, x, positions=p), (tensor(1, 2, 4, 8), torch.arange(4)))
    x, positions = tensor(3, 2, 9, 8), torch.tensor(LADDER[:9])

    assert torch.equal(traced(x, positions), rope.apply(SCALED, x, positions=positions))
    assert len(TABLES) == 0
