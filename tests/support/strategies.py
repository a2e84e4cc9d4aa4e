"""Hypothesis strategies: plans of every arrangement, and vectors and positions for them."""

import math

import numpy as np
from hypothesis import strategies as st

import ropecore

positions = st.integers(-(2**31) + 1, 2**31 - 1)
unscaled_factors = st.just(1.0)
factors = st.one_of(unscaled_factors, st.floats(0.25, 4.0))


@st.composite
def plans(
    draw: st.DrawFn, attention_factor: st.SearchStrategy[float] = factors, same_lanes: bool = False
) -> ropecore.RotaryPlan:
    """Plans with one axis: any lanes, any direction, frequencies up to one turn a position."""
    head_dim = draw(st.integers(2, 12))
    n_pairs = draw(st.integers(1, head_dim // 2))
    lanes = np.array(draw(st.permutations(range(head_dim)))[: 2 * n_pairs]).reshape(n_pairs, 2)
    out = lanes if same_lanes else np.array(draw(st.permutations(lanes.ravel().tolist()))).reshape(n_pairs, 2)
    frequencies = draw(st.lists(st.floats(-math.pi, math.pi), min_size=n_pairs, max_size=n_pairs))
    return ropecore.RotaryPlan(head_dim, lanes, np.array(frequencies), out, draw(attention_factor))


def vectors(head_dim: int, seed: int) -> np.ndarray:
    """A vector without symmetry."""
    return np.random.default_rng(seed).normal(size=head_dim)
