"""The JAX adapter on arrays that are sharded over eight devices of the host, which a process of its own has to ask for."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

DEVICES = 8
COLLECTIVES = ["all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute", "reduce-scatter"]
DIMENSIONS = ["batch", "heads", "sequence"]
PLANS = ["half_split", "interleaved", "partial", "proportional", "scattered"]
WHERE = ["offset", "rows", "given", "given in shards"]
SHAPE = (8, 8, 256, 8)  # large enough for tables to be written to memory (rotation.SMALL)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the process with eight devices saw."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    run = subprocess.run(
        [sys.executable, "-W", "error", __file__],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
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
    assert found["shard_map"] == {"collectives": [], "right": True}


def test_meshes_with_explicit_axes(found: dict[str, Any]) -> None:
    assert found["explicit"] == {"kept": True, "right": True}


def test_results_stay_on_the_device_of_x(found: dict[str, Any]) -> None:
    assert found["third device"] == {name: [3] for name in ("list", "numpy", "array of another device", "offset")}


# ---- in the process with eight devices


def main() -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, NamedSharding, PartitionSpec
    from test_jax import within

    import ropecore.backends.jax as rope
    from ropecore import Proportional, RopeConfig, RotaryPlan

    plans = {
        "half_split": RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan(),
        "interleaved": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", out_pairing="half_split").plan(),
        "partial": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", rotary_dim=4, lane_offset=4).plan(),
        "proportional": RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Proportional(0.5)).plan(),
        "scattered": RotaryPlan(8, np.array([[6, 1], [0, 3], [2, 7]]), np.array([1.0, -0.3, 0.1])),
    }
    mesh = jax.make_mesh((DEVICES,), ("m",), axis_types=(AxisType.Auto,))
    whole = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    p = np.random.default_rng(1).integers(-(2**31) + 1, 2**31, SHAPE[2]).astype(np.int32)

    def placed(dimension: str, mesh: Any = mesh) -> Any:
        spec = [None] * 4
        spec[DIMENSIONS.index(dimension)] = "m"
        return jax.device_put(whole, NamedSharding(mesh, PartitionSpec(*spec)))

    def arguments(where: str, dimension: str) -> tuple[dict[str, Any], Any]:
        """The arguments of apply, and the positions that they mean."""
        rows, count = np.arange(SHAPE[0]) * 1000, np.arange(SHAPE[2])
        if where == "offset":
            return {"offset": jnp.int32(1000)}, 1000 + count
        if where == "rows":
            return {"offset": jnp.asarray(rows)}, rows[:, None] + count
        spec = PartitionSpec("m" if dimension == "sequence" and where == "given in shards" else None)
        return {"positions": jax.device_put(p, NamedSharding(mesh, spec))}, p

    def compiled(function: Callable[..., Any], x: Any, plan: RotaryPlan, at: Any, **given: Any) -> dict[str, Any]:
        program = jax.jit(function).lower(x, **given).compile()
        y, text = program(x, **given), program.as_text()
        return {
            "collectives": [name for name in COLLECTIVES if name in text],
            "kept": y.sharding.is_equivalent_to(x.sharding, y.ndim),
            "right": within(plan, whole, y, at),
        }

    seen: dict[str, Any] = {"devices": jax.device_count(), "compiled": {}, "gradient": {}, "eager": {}}
    for dimension in DIMENSIONS:
        x = placed(dimension)
        for name, plan in plans.items():

            def call(x: Any, plan: RotaryPlan = plan, **given: Any) -> Any:
                return rope.apply(plan, x, **given)

            for where in WHERE:
                given, at = arguments(where, dimension)
                seen["compiled"][f"{dimension} {name} {where}"] = compiled(call, x, plan, at, **given)

            def gradient(g: Any, plan: RotaryPlan = plan) -> Any:
                return jax.vjp(lambda x: rope.apply(plan, x, positions=-p), g)[1](g)[0]

            back = plan.replace(lanes=plan.out, out_lanes=plan.lanes)  # at -p; A is 1
            seen["gradient"][f"{dimension} {name}"] = compiled(gradient, x, back, p)
        y = rope.apply(plans["half_split"], x, positions=p)
        right = within(plans["half_split"], whole, y, p)
        seen["eager"][dimension] = {"kept": y.sharding.is_equivalent_to(x.sharding, 4), "right": right}

    x, plan, spec = placed("sequence"), plans["half_split"], PartitionSpec(None, None, "m", None)
    rolled = jax.jit(lambda x: jnp.roll(x, 1, axis=2)).lower(x).compile().as_text()
    seen["a roll along the shards"] = [name for name in COLLECTIVES if name in rolled]

    def shard(x: Any, at: Any) -> Any:
        return rope.apply(plan, x, positions=at)

    local = jax.shard_map(shard, mesh=mesh, in_specs=(spec, PartitionSpec("m")), out_specs=spec)
    seen["shard_map"] = compiled(lambda x, at: local(x, at), x, plan, p, at=p)
    seen["shard_map"].pop("kept")

    explicit = jax.make_mesh((DEVICES,), ("m",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(explicit):
        x = placed("batch", explicit)
        y = jax.jit(shard)(x, p)
        kept = jax.typeof(y).sharding.spec == jax.typeof(x).sharding.spec
        seen["explicit"] = {"kept": kept, "right": within(plan, whole, y, p)}

    third = jax.device_put(whole, jax.devices()[3])
    elsewhere = jax.device_put(p, jax.devices()[5])
    given = {"list": {"positions": p.tolist()}, "numpy": {"positions": p}, "offset": {"offset": 4}}
    given["array of another device"] = {"positions": elsewhere}
    seen["third device"] = {
        name: [device.id for device in rope.apply(plan, third, **where).devices()] for name, where in given.items()
    }
    return seen


if __name__ == "__main__":
    print(json.dumps(main()))
