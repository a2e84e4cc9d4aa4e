"""DTensors: each process rotates its own shard at its own positions, and nothing is sent."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from ropecore.adapter.call import Call
from ropecore.errors import RopeError


def on_shards(
    call: Call, name: str, x: Any, values: Sequence[Any], run: Callable[..., Tensor], in_place: bool, of_tables: bool
) -> Any:
    """Return the DTensor x with run(shard, *parts of values) for its shards; values are whole, or
    sharded like x.
    """
    dims = ("b" if "b" in call.tensor_format else "") + call.letters.token_letter + ("." if of_tables else "")
    local = run(x.to_local(), *[_part(call, name, x, value, dims[-value.ndim :]) for value in values])
    if in_place:
        return x
    strides = torch.empty(x.shape, device="meta").stride()
    return DTensor.from_local(local, x.device_mesh, x.placements, run_check=False, shape=x.shape, stride=strides)


def _part(call: Call, name: str, x: Any, value: Any, dims: str) -> Tensor:
    """Return the part of a whole value, with dimensions of these letters, that goes with this
    process's shard of x.
    """
    wanted = [_placement(call, name, x, each, value.shape, dims) for each in x.placements]
    if not isinstance(value, DTensor):
        value = DTensor.from_local(value, x.device_mesh, [Replicate()] * len(wanted), run_check=False)
    for given, each in zip(value.placements, wanted, strict=True):
        if given != each and not given.is_replicate():
            cure = "Shard them like the tensor, or give whole positions."
            raise RopeError("positions", value.placements, f"must be sharded as {wanted} here", cure, "R-7.3")
    part: Tensor = value.redistribute(x.device_mesh, wanted).to_local()  # from replicas: a slice, without communication
    return part


def _placement(call: Call, name: str, x: Any, placement: Any, shape: Sequence[int], dims: str) -> Any:
    """Return the placement of values with these dims that goes with one of x's placements."""
    if placement.is_replicate():
        return Replicate()
    sharded = [dim for dim in range(x.ndim - 1) if placement.is_shard(dim)]
    if not sharded:  # along head_dim, or no shards of x but parts of a sum
        cure = "Redistribute it over batch, sequence or heads first."
        raise RopeError(name, placement, "pairs of lanes must be whole in each process", cure, "R-2.1")
    alike = [at for at, letter in enumerate(dims) if letter == list(call.tensor_format)[sharded[0]]]
    return Shard(alike[0]) if alike and shape[alike[0]] == x.shape[sharded[0]] else Replicate()
