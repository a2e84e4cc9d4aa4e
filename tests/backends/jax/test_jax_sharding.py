"""The JAX adapter on arrays that are sharded over eight devices of the host, which a process of its
own has to ask for.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax_cases import within

import ropecore.backends.jax as rope
from ropecore import Proportional, RopeConfig, RotaryPlan

DEVICES = 8
COLLECTIVES = ["all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute", "reduce-scatter"]
DIMENSIONS = ["batch", "heads", "sequence"]
PLANS = {
    "half_split": RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan(),
    "deinterleaving": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", out_pairing="half_split").plan(),
    "partial": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", rotary_dim=4, lane_offset=4).plan(),
    "proportional": RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Proportional(0.5)).plan(),
    "scattered": RotaryPlan(8, np.array([[6, 1], [0, 3], [2, 7]]), np.array([1.0, -0.3, 0.1])),
}
WHERE = ["offset", "rows", "given", "given in shards"]
SHAPE = (8, 8, 256, 8)  # large enough for tables to be written to memory (rotation.SMALL)
X = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
P = np.random.default_rng(1).integers(-(2**31) + 1, 2**31, SHAPE[2]).astype(np.int32)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the process with eight devices saw."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    run = subprocess.run(
        [sys.executable, "-W", "error", __file__],
        env=os.environ
        | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def test_the_process_has_eight_devices(found: dict[str, Any]) -> None:
    assert found["devices"] == DEVICES


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_no_collective_is_compiled_and_the_sharding_is_kept(
    found: dict[str, Any], dimension: str, plan: str, where: str
) -> None:
    seen = found["compiled"][f"{dimension} {plan} {where}"]

    assert seen == {"collectives": [], "kept": True, "right": True}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_neither_is_in_the_gradient(found: dict[str, Any], dimension: str, plan: str) -> None:
    assert found["gradient"][f"{dimension} {plan}"] == {"collectives": [], "kept": True, "right": True}


def test_a_collective_would_be_found(found: dict[str, Any]) -> None:
    assert found["a roll along the shards"] == ["collective-permute"]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_eager_calls_keep_the_sharding(found: dict[str, Any], dimension: str) -> None:
    assert found["eager"][dimension] == {"kept": True, "right": True}


def test_shards_with_positions_of_their_own_make_the_whole(found: dict[str, Any]) -> None:
    assert found["shard_map"] == {"collectives": [], "kept": True, "right": True}


def test_meshes_with_explicit_axes(found: dict[str, Any]) -> None:
    assert found["explicit"] == {"kept": True, "right": True}


def test_results_stay_on_the_device_of_x(found: dict[str, Any]) -> None:
    assert found["third device"] == {name: [3] for name in ("list", "numpy", "array of another device", "offset")}


# ---- in the process with eight devices


def placed(mesh: Mesh, dimension: str) -> jax.Array:
    """X with one dimension in shards."""
    spec = ["m" if name == dimension else None for name in (*DIMENSIONS, "lanes")]
    return jax.device_put(X, NamedSharding(mesh, PartitionSpec(*spec)))


def arguments(mesh: Mesh, where: str, dimension: str) -> tuple[dict[str, Any], np.ndarray]:
    """The arguments of apply, and the positions that they mean."""
    rows, count = np.arange(SHAPE[0]) * 1000, np.arange(SHAPE[2])
    if where == "offset":
        return {"offset": jnp.int32(1000)}, 1000 + count
    if where == "rows":
        return {"offset": jnp.asarray(rows)}, rows[:, None] + count
    spec = PartitionSpec("m" if dimension == "sequence" and where == "given in shards" else None)
    return {"positions": jax.device_put(P, NamedSharding(mesh, spec))}, P


def compiled(
    function: Callable[..., Any], x: jax.Array, plan: RotaryPlan, at: np.ndarray, **given: Any
) -> dict[str, Any]:
    """What is compiled for x, and whether it is the plan's rotation at these positions."""
    program = jax.jit(function).lower(x, **given).compile()
    return {"collectives": collectives(program)} | judged(program(x, **given), x, plan, at)


def collectives(program: Any) -> list[str]:
    return [name for name in COLLECTIVES if name in program.as_text()]


def judged(y: jax.Array, x: jax.Array, plan: RotaryPlan, at: np.ndarray) -> dict[str, bool]:
    return {"kept": y.sharding.is_equivalent_to(x.sharding, y.ndim), "right": within(plan, X, y, at)}


def apply(plan: RotaryPlan) -> Callable[..., Any]:
    return lambda x, **given: rope.apply(plan, x, **given)


def gradient(plan: RotaryPlan) -> Callable[..., Any]:
    """The gradient at -P: where A is 1, it is the rotation at P back from the lanes written."""
    return lambda g: jax.vjp(lambda x: rope.apply(plan, x, positions=-P), g)[1](g)[0]


def on_a_mesh() -> dict[str, Any]:
    mesh = jax.make_mesh((DEVICES,), ("m",), axis_types=(AxisType.Auto,))
    seen: dict[str, Any] = {"compiled": {}, "gradient": {}, "eager": {}}
    for dimension in DIMENSIONS:
        x = placed(mesh, dimension)
        for name, plan in PLANS.items():
            for where in WHERE:
                given, at = arguments(mesh, where, dimension)
                seen["compiled"][f"{dimension} {name} {where}"] = compiled(apply(plan), x, plan, at, **given)
            back = plan.replace(lanes=plan.out, out_lanes=plan.lanes)
            seen["gradient"][f"{dimension} {name}"] = compiled(gradient(plan), x, back, P)
        plan = PLANS["half_split"]
        seen["eager"][dimension] = judged(rope.apply(plan, x, positions=P), x, plan, P)
    x, spec = placed(mesh, "sequence"), PartitionSpec(None, None, "m", None)
    seen["a roll along the shards"] = collectives(jax.jit(lambda x: jnp.roll(x, 1, axis=2)).lower(x).compile())
    local = jax.shard_map(
        lambda x, positions: rope.apply(plan, x, positions=positions),
        mesh=mesh,
        in_specs=(spec, PartitionSpec("m")),
        out_specs=spec,
    )
    seen["shard_map"] = compiled(lambda x, **given: local(x, given["positions"]), x, plan, P, positions=P)
    return seen


def on_an_explicit_mesh() -> dict[str, bool]:
    mesh, plan = jax.make_mesh((DEVICES,), ("m",), axis_types=(AxisType.Explicit,)), PLANS["half_split"]
    with jax.set_mesh(mesh):
        x = placed(mesh, "batch")
        return judged(jax.jit(apply(plan))(x, positions=P), x, plan, P)


def on_the_third_device() -> dict[str, list[int]]:
    x = jax.device_put(X, jax.devices()[3])
    given: dict[str, dict[str, Any]] = {
        "list": {"positions": P.tolist()},
        "numpy": {"positions": P},
        "array of another device": {"positions": jax.device_put(P, jax.devices()[5])},
        "offset": {"offset": 4},
    }
    return {
        name: [device.id for device in rope.apply(PLANS["half_split"], x, **where).devices()]
        for name, where in given.items()
    }


if __name__ == "__main__":
    seen = {"devices": jax.device_count(), **on_a_mesh()}
    print(json.dumps({**seen, "explicit": on_an_explicit_mesh(), "third device": on_the_third_device()}))
