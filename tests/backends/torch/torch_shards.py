"""One of two processes that rotate DTensors: `python torch_shards.py RANK FILE`;
test_torch_sharded.py starts both.

Prints a line for each check that holds, and fails at the first that does not.
"""

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import distributed
from torch.distributed.tensor import DeviceMesh, DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

import ropecore.backends.torch as rope
from ropecore import RopeConfig, RopeError, RotaryPlan, YaRN, conformance
from ropecore.backends.torch import target as eager

PLANS = {
    "half_split_partial": RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan(),
    "interleaved_yarn": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", scaling=YaRN(4.0, 64)).plan(),
    "scattered": RotaryPlan(8, np.array([[6, 1], [0, 3]]), np.array([1.0, -0.3]), np.array([[1, 0], [3, 6]]), 1.5),
}
AXES = RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w")).plan()


class Sharded:
    """A target whose tensors are sharded along one letter of their format."""

    capabilities: ClassVar = {**eager.capabilities, "dtypes": ["float32", "bfloat16"]}
    asarray, to_numpy, RopeError = staticmethod(eager.asarray), staticmethod(eager.to_numpy), RopeError

    def __init__(self, mesh: DeviceMesh, letter: str) -> None:
        self.mesh, self.letter = mesh, letter

    def apply(
        self, plan: Any, x: torch.Tensor, positions: Any = None, tensor_format: str = "bhsd", role: str = "q"
    ) -> Any:
        if x.ndim != len(tensor_format) or self.letter not in tensor_format:
            return rope.apply(plan, x, positions=positions, tensor_format=tensor_format, role=role)
        whole = shards(self.mesh, x, tensor_format.index(self.letter))
        y = rope.apply(plan, whole, positions=positions, tensor_format=tensor_format, role=role)
        return y.full_tensor()


def shards(mesh: DeviceMesh, x: torch.Tensor, dim: int | None) -> DTensor:
    """Return x as a DTensor, each process keeping its own part of what all have."""
    return distribute_tensor(x, mesh, [Replicate() if dim is None else Shard(dim)], src_data_rank=None)


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def in_silence(call: Callable[[], Any]) -> Any:
    """Return call(), made by one process after the other, so that a collective would wait for ever,
    and counted.
    """
    for turn in range(2):
        if distributed.get_rank() == turn:
            result = call()
        distributed.barrier()
    with CommDebugMode() as seen:
        again = call()
    assert seen.get_total_counts() == 0, seen.get_comm_counts()
    assert torch.equal(again.to_local(), result.to_local())
    return result


def check_the_check(mesh: DeviceMesh) -> None:
    """What does send something is counted."""
    with CommDebugMode() as seen:
        shards(mesh, tensor(2, 4, 6, 8), 1).full_tensor()
    assert seen.get_total_counts() > 0
    print("counted")


def check_rotations(mesh: DeviceMesh) -> None:
    """apply, apply_, rotate and shift, sharded over batch, heads or sequence: also where the parts
    differ in size.
    """
    ids = torch.tensor([[5, 4, 100, 2, 1, 0, 7], [0, 1, 2, 3, 2**31 - 1, 4, 5], [9, 9, 9, 9, 9, 9, 9]])
    x = tensor(3, 4, 7, 8)
    for name, plan in PLANS.items():
        tables = rope.cos_sin(plan, ids)
        calls: dict[str, Callable[[Any], Any]] = {
            "positions": lambda x: rope.apply(plan, x, positions=ids),  # noqa: B023
            "positions of all rows": lambda x: rope.apply(plan, x, positions=ids[1]),  # noqa: B023
            "one row": lambda x: rope.apply(plan, x, positions=ids[1:2]),  # noqa: B023
            "in place": lambda x: rope.apply_(plan, x.clone(), positions=ids),  # noqa: B023
            "tables": lambda x: rope.rotate(plan, x, *tables, inverse=True),  # noqa: B023
            "shift": lambda x: rope.shift(plan, x, torch.tensor([3, -4, 70])),  # noqa: B023
        }
        for dim in (0, 1, 2, None):
            for what, call in calls.items():
                y = in_silence(lambda: call(shards(mesh, x, dim)))  # noqa: B023
                assert y.placements == shards(mesh, x, dim).placements
                assert y.shape == x.shape
                assert torch.equal(y.full_tensor(), call(x)), (name, what, dim)
        print("rotations", name)


def check_positions_of_their_own(mesh: DeviceMesh) -> None:
    """Positions as DTensors, sharded like x or whole; several axes; offsets, where the sequence is
    whole.
    """
    x, ids, plan = tensor(2, 4, 6, 8), torch.arange(12).reshape(2, 6) * 3, PLANS["interleaved_yarn"]
    wanted = rope.apply(plan, x, positions=ids)
    for dim, of_ids in ((0, 0), (2, 1), (1, None), (0, None), (2, None)):
        y = in_silence(lambda: rope.apply(plan, shards(mesh, x, dim), positions=shards(mesh, ids, of_ids)))  # noqa: B023
        assert torch.equal(y.full_tensor(), wanted)
    axes = ids.expand(3, 2, 6)
    for dim in (0, 1, 2):
        y = in_silence(lambda: rope.apply(AXES, shards(mesh, x, dim), positions=axes))  # noqa: B023
        assert torch.equal(y.full_tensor(), rope.apply(AXES, x, positions=axes))
    for dim in (0, 1):
        for offset in (0, 5, [5, 300], torch.tensor([5, 300])):
            y = in_silence(lambda: rope.apply(plan, shards(mesh, x, dim), offset=offset))  # noqa: B023
            assert torch.equal(y.full_tensor(), rope.apply(plan, x, offset=offset))
    print("positions")


def check_gradients(mesh: DeviceMesh) -> None:
    """The gradient is sharded as x is, and nothing is sent for it either."""
    x, g, plan = tensor(2, 4, 6, 8), tensor(2, 4, 6, 8, seed=1), PLANS["half_split_partial"]
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(rope.apply(plan, leaf, positions=range(6)), leaf, g)

    def gradient(dim: int) -> Any:
        part = shards(mesh, x, dim).requires_grad_()
        return torch.autograd.grad(rope.apply(plan, part, positions=range(6)), part, shards(mesh, g, dim))[0]

    for dim in (0, 1, 2):
        got = in_silence(lambda: gradient(dim))  # noqa: B023
        assert got.placements == (Shard(dim),)
        assert torch.equal(got.full_tensor(), wanted)
    print("gradients")


def check_refusals(mesh: DeviceMesh) -> None:
    """What would be wrong, or would need something to be sent."""
    x, plan, ids = tensor(2, 4, 6, 8), PLANS["half_split_partial"], torch.arange(12).reshape(2, 6)
    whole, parts = shards(mesh, x, None), shards(mesh, x, 2)
    rope.apply(plan, whole)  # a table in the store must not answer for a sharded sequence
    wrong: dict[str, tuple[Callable[[], Any], str, str]] = {
        "no positions": (lambda: rope.apply(plan, parts), "positions", "whole sequence"),
        "no positions for k": (lambda: rope.apply(plan, whole, parts, offset=3), "positions", "whole sequence"),
        "local positions": (lambda: rope.apply(plan, parts, positions=range(3)), "positions", "(6)"),
        "positions sharded by row": (
            lambda: rope.apply(plan, parts, positions=shards(mesh, ids, 0)),
            "positions",
            "Shard them",
        ),
        "head_dim": (lambda: rope.apply(plan, shards(mesh, x, 3), positions=range(6)), "q", "Redistribute"),
        "offset": (lambda: rope.apply(plan, shards(mesh, x, 0), offset=[1, 2, 3]), "offset", "one a batch row"),
    }
    for name, (call, argument, cure) in wrong.items():
        with pytest.raises(RopeError) as refusal:
            call()
        assert refusal.value.argument == argument, (name, str(refusal.value))
        assert cure in str(refusal.value), (name, str(refusal.value))
    print("refusals")


def check_compiled(mesh: DeviceMesh) -> None:
    """In a graph, too."""
    x, plan = tensor(2, 4, 6, 8), PLANS["interleaved_yarn"]
    compiled = torch.compile(lambda x, p: rope.apply(plan, x, positions=p), backend="aot_eager", fullgraph=True)
    for dim in (1, 2):
        y = compiled(shards(mesh, x, dim), torch.arange(6) + 70)
        assert torch.equal(y.full_tensor(), rope.apply(plan, x, offset=70))
    print("compiled")


def check_conformance(mesh: DeviceMesh) -> None:
    """The golden vectors, each sharded where its shape has that letter."""
    for letter in "bhs":
        target = conformance.Target(Sharded(mesh, letter), f"sharded along {letter}")
        report = conformance.run(target, topic=["rotate", "positions", "axes", "pairing"])
        assert report.clean, report.text()
        assert report.counts["pass"] > 200
        print("conformance", letter)


def main(rank: int, file: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    mesh = DeviceMesh("cpu", [0, 1])
    for check in (
        check_the_check,
        check_rotations,
        check_positions_of_their_own,
        check_gradients,
        check_refusals,
        check_compiled,
        check_conformance,
    ):
        check(mesh)
    distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), sys.argv[2])
