"""Plans of every kind of lanes, and what the tests of the JAX adapter share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ropecore
from ropecore import Damped, Proportional, RopeConfig, RotaryPlan, XPos, YaRN
from ropecore.conformance import bounds

PLAN = RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan()
AXES = RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w")).plan()
MIXED = AXES.replace(axis_kinds=("integer", "real", "real"))
XPOS = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=XPos(scale_base=64.0)).plan()
PLANS = {
    "half_split": RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan(),
    "half_split_first": PLAN,
    "half_split_last": RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=4, lane_offset=4).plan(),
    "proportional": RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Proportional(0.5)).plan(),
    "interleaved_yarn": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", scaling=YaRN(4.0, 64)).plan(),
    "interleaved_inside": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", rotary_dim=4, lane_offset=3).plan(),
    "deinterleaving": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", out_pairing="half_split").plan(),
    "interleaving_inside": RopeConfig(
        head_dim=12, base=100.0, pairing="half_split", out_pairing="interleaved", rotary_dim=8, lane_offset=2
    ).plan(),
    "blocks": RopeConfig(
        head_dim=8, pairing="half_split", axis_blocks=True, sections=(2, 2), axes=("h", "w"), base=100.0
    ).plan(),
    "blocks_of_two_sizes": RopeConfig(
        head_dim=12, pairing="half_split", axis_blocks=True, sections=(2, 4), axes=("h", "w"), base=100.0
    ).plan(),
    "apart": RotaryPlan(9, np.array([[0, 7], [1, 8]]), np.array([1.0, 0.1])),
    "scattered": RotaryPlan(
        8, np.array([[6, 1], [0, 3], [2, 7]]), np.array([1.0, -0.3, 0.1]), np.array([[1, 0], [7, 3], [2, 6]]), 1.5
    ),
    "still": RotaryPlan(8, np.zeros((0, 2), int), np.zeros(0)),
    "axes": AXES,
    "xpos": XPOS,
    "damped": RopeConfig(head_dim=8, base=100.0, pairing="interleaved", scaling=Damped(0.01, centre=2.5)).plan(),
}
DTYPES = ["float32", "bfloat16", "float16", "float64"]
LADDER = [0, 1, 257, 2049, 4097, 8192, 131071, 2**20, 2**24 + 1, 2**31 - 1]
LADDER += [-p for p in LADDER]


@contextmanager
def x64(enabled: bool = True) -> Iterator[None]:
    with jax.enable_x64(enabled):
        yield


def tensor(*shape: int, dtype: str = "float32", seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.dtype(dtype))


def bits(*arrays: Any) -> list[bytes]:
    return [np.asarray(array).tobytes() for array in arrays]


def within(plan: RotaryPlan, x: Any, y: Any, positions: Any, mode: str = "forward", compute: str = "float32") -> bool:
    """Whether y is x (b, h, s, d), rotated at these positions, within the error model R-10.6; lanes
    in no row keep their bits.
    """
    x, y, positions = np.asarray(x), np.asarray(y), np.asarray(positions)
    at = bounds.turns(plan, positions)
    rows = at.reach.ndim == 3
    lead = (at.reach.shape[0], 1, at.reach.shape[1]) if rows else (1, 1, at.reach.shape[0])
    at = at.fitted(lead, (0, 1) if rows else (0,))
    cos, sin = (table.reshape(*lead, -1) for table in ropecore.cos_sin(plan, positions))
    exact = ropecore.rotate(plan, x.astype(float), cos, sin, transpose=mode == "transpose", inverse=mode == "inverse")
    words = bounds.Words("exact", "float32", compute)
    limit = bounds.rotation_bound(plan, at, x.astype(float), exact, x.dtype.name, words, mode)
    return x.dtype == y.dtype and x.shape == y.shape and bool((np.abs(y.astype(float) - exact) <= limit).all())


def positions_of(plan: RotaryPlan, *shape: int, largest: int = 100) -> np.ndarray:
    axes = (plan.n_axes, *shape) if plan.n_axes > 1 else shape
    return np.random.default_rng(1).integers(-largest, largest, axes)
