"""The array-API adapter, under the strict namespace: the same bits as the NumPy adapter, by that
library's operations.
"""

import array_api_strict as xp
import numpy as np
import pytest
import wrong_calls

import ropecore
import ropecore.backends.array_api as rope
import ropecore.backends.numpy as numpy_rope
from ropecore import Damped, RopeConfig, RopeError, YaRN

PLANS = {
    "half_split": RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan(),
    "interleaved": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", rotary_dim=4).plan(),
    "de-interleaving": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", out_pairing="half_split").plan(),
    "yarn": RopeConfig(
        head_dim=8, base=100.0, pairing="half_split", rotary_dim=6, lane_offset=1, scaling=YaRN(4.0, 64)
    ).plan(),
}


def tensor(dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype(dtype)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_are_those_of_the_numpy_adapter(name: str, dtype: str) -> None:
    x, plan = tensor(dtype), PLANS[name]
    for options in ({"offset": 3}, {"offset": [5, 1000]}, {"positions": np.array([7, 7, 2**31 - 1, -3])}):
        given = {key: xp.asarray(value) if key == "positions" else value for key, value in options.items()}
        y = rope.apply(plan, xp.asarray(x), **given)

        assert y.__array_namespace__() is xp
        assert rope.to_numpy(y).tobytes() == numpy_rope.apply(plan, x, **options).tobytes()


def test_inverse_shift_and_module() -> None:
    plan, x = PLANS["yarn"], xp.asarray(tensor("float64"))
    tables = rope.cos_sin(plan, xp.asarray([4, 5, 6, 7]), dtype="float64")
    y = rope.rotate(plan, x, *tables)

    assert np.allclose(rope.to_numpy(rope.rotate(plan, y, *tables, inverse=True)), tensor("float64"), rtol=1e-13)
    assert np.allclose(rope.to_numpy(rope.shift(plan, rope.apply(plan, x), 4)), rope.to_numpy(y), rtol=1e-13)
    emb = rope.RotaryEmbedding(plan)
    assert rope.to_numpy(emb(x, offset=4)).tobytes() == rope.to_numpy(y).tobytes()


def test_other_namespaces_of_the_compatibility_layer() -> None:
    x, plan = tensor(), PLANS["interleaved"]

    assert isinstance(rope.apply(plan, x), np.ndarray)
    assert rope.apply(plan, x).tobytes() == numpy_rope.apply(plan, x).tobytes()


def test_a_magnitude_is_within_the_model() -> None:
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Damped(0.01)).plan()
    x = tensor()
    y, exact = rope.apply(plan, xp.asarray(x), role="k"), numpy_rope.apply(plan, x.astype(float), role="k")

    assert np.allclose(rope.to_numpy(y), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("centre", [0.5, 2.0**24 + 1, 2.0**31 - 100.25, -(2.0**31) + 100])
def test_a_magnitude_far_from_0_is_within_the_model(centre: float) -> None:
    """The distance to the centre is what float32 must hold, and not the position (R-10.6)."""
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Damped(0.1, centre=centre)).plan()
    positions = int(centre) + np.array([-40, 0, 7, 39])
    exact = ropecore.cos_sin(plan, positions, "k")
    grown, tilt = np.hypot(*exact), 0.1 * np.abs(positions - centre)[:, None]
    bound = grown * (1.2e-7 + (3 * tilt + 4) * 2.0**-24)

    for table, truth in zip(rope.cos_sin(plan, xp.asarray(positions), "k"), exact, strict=True):
        assert (np.abs(rope.to_numpy(table) - truth) <= bound).all()


@pytest.mark.parametrize("case", wrong_calls.WRONG)
def test_wrong_calls_of_every_adapter(case: str) -> None:
    wrong_calls.check(rope, xp.asarray, case)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda x: rope.apply(PLANS["yarn"], [[[[0.0] * 8]]]), "q"),
        (lambda x: rope.apply(PLANS["yarn"], x, positions=xp.asarray([0, 1, 2, 2**31])), "positions"),
        (lambda x: rope.cos_sin(PLANS["yarn"], [1, 2]), "positions"),
    ],
)
def test_wrong_calls_are_refused(call, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        call(xp.asarray(tensor()))

    assert refusal.value.argument == argument
