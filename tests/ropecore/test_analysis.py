"""The analysis against what it stands for: simulation, brute force, and
figures worked out by hand.
"""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import plans, vectors

import ropecore
from ropecore import RopeError, analysis

HALF = ropecore.RopeConfig(head_dim=128, base=1e4, pairing="half_split")
YARN = HALF.replace(scaling=ropecore.YaRN(factor=4.0, original_max_position=4096))


def score(plan: ropecore.RotaryPlan, q: np.ndarray, k: np.ndarray, i: int, j: int) -> np.ndarray:
    rotated = ropecore.rotate(plan, q, *ropecore.cos_sin(plan, i, "q"))
    return (rotated * ropecore.rotate(plan, k, *ropecore.cos_sin(plan, j, "k"))).sum(axis=-1)


def covariance(size: int, rng: np.random.Generator) -> np.ndarray:
    root = rng.normal(size=(size, size)) / size**0.5
    return root @ root.T


def test_turns_within_a_context() -> None:
    turns = analysis.turns(HALF.plan(), 10_000)
    assert turns[0] == pytest.approx(10_000 / (2 * math.pi))
    assert turns[-1] == pytest.approx(10_000 * 1e4 ** (-126 / 128) / (2 * math.pi))


def test_what_yarn_does_to_each_pair() -> None:
    bands = analysis.bands(YARN)
    assert [bands.count(name) for name in ("kept", "blended", "stretched")] == [21, 25, 18]
    assert bands == sorted(bands, key=["kept", "blended", "stretched"].index)
    assert analysis.stretches(YARN)[0] == 1
    assert analysis.stretches(YARN)[-1] == pytest.approx(4)
    assert set(analysis.bands(HALF.replace(scaling=ropecore.Linear(factor=8.0)))) == {"stretched"}
    assert set(analysis.bands(HALF)) == {"kept"}
    assert "stopped" in analysis.bands(HALF.replace(scaling=ropecore.Proportional(partial_rotary_factor=0.5)))


def test_ntk_stretches_by_the_exact_statement() -> None:
    """theta_j changes by s^(-2j/(d-2)): documents, D3."""
    stretch = analysis.stretches(HALF.replace(scaling=ropecore.NTK(alpha=8.0)))
    np.testing.assert_allclose(stretch, 8.0 ** (2 * np.arange(64) / 126), rtol=1e-13)


@settings(deadline=None)
@given(plan=plans(), seed=st.integers(0, 99), i=st.integers(-9999, 9999), j=st.integers(-9999, 9999))
def test_without_spread_the_mean_is_the_score(plan: ropecore.RotaryPlan, seed: int, i: int, j: int) -> None:
    q, k = vectors(plan.head_dim, seed), vectors(plan.head_dim, seed + 100)
    assert analysis.score_mean(plan, [i - j], q, k)[0] == pytest.approx(score(plan, q, k, i, j), abs=1e-9)
    none = np.zeros((plan.head_dim, plan.head_dim))
    assert analysis.score_variance(plan, [i - j], q, k, none, none)[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scaling", [ropecore.XPos(), ropecore.Damped(rate=1e-3)])
def test_the_mean_has_the_magnitude(scaling: object) -> None:
    plan = HALF.replace(head_dim=16, rotary_dim=None, scaling=scaling).plan()
    q, k = vectors(16, 0), vectors(16, 1)
    found = analysis.score_mean(plan, [0, 7, 90], q, k)
    np.testing.assert_allclose(found, [score(plan, q, k, 100 + n, 100) for n in (0, 7, 90)], rtol=1e-12)


@pytest.mark.parametrize("config", [HALF, YARN, HALF.replace(rotary_dim=64)], ids=["plain", "yarn", "partial"])
def test_the_closed_form_equals_a_simulation_within_its_error(config: ropecore.RopeConfig) -> None:
    rng, plan, n = np.random.default_rng(1), config.plan(), 20_000
    mean_q, mean_k = rng.normal(size=(2, 128))
    cov_q, cov_k = covariance(128, rng), covariance(128, rng)
    q = rng.multivariate_normal(mean_q, cov_q, size=n, method="cholesky")
    k = rng.multivariate_normal(mean_k, cov_k, size=n, method="cholesky")
    distances = [0, 1, 5, 64, 1000, 30_000]
    mean = analysis.score_mean(plan, distances, mean_q, mean_k)
    variance = analysis.score_variance(plan, distances, mean_q, mean_k, cov_q, cov_k)
    for m, v, distance in zip(mean, variance, distances, strict=True):
        drawn = score(plan, q, k, 40_000, 40_000 - distance)
        assert abs(drawn.mean() - m) < 4.5 * (v / n) ** 0.5
        assert (
            abs(drawn.var() - v) < 4.5 * drawn.var() * (3 / n) ** 0.5
        )  # the kurtosis is below 4: Var(s^2) < 3 v^2 / n
    assert np.ptp(mean) > 20 * (variance.max() / n) ** 0.5  # the curve is no constant: the test could fail


def test_dependence_keeps_a_score_of_means_zero() -> None:
    rng, plan, n = np.random.default_rng(2), HALF.replace(head_dim=8, rotary_dim=None).plan(), 100_000
    mixing = rng.normal(size=(8, 8)) / 3
    q = rng.normal(size=(n, 8))
    k = q @ mixing.T + rng.normal(size=(n, 8))
    zero = np.zeros(8)
    for distance in (0, 3, 50):
        drawn = score(plan, q, k, distance, 0)
        (wanted,) = analysis.score_mean(plan, [distance], zero, zero, mixing.T)  # E[q k^T] = mixing^T
        assert abs(drawn.mean() - wanted) < 4.5 * drawn.std() / n**0.5
        assert analysis.score_mean(plan, [distance], zero, zero)[0] == 0


def test_the_bound_of_the_roformer_paper() -> None:
    plan, distances = HALF.plan(), np.array([0, 1, 10, 200])
    theta = 1e4 ** (-2 * np.arange(64) / 128)
    sums = [[abs(sum(np.exp(1j * m * theta[:i]))) for i in range(1, 65)] for m in distances]
    np.testing.assert_allclose(analysis.decay_bound(plan, distances), np.mean(sums, axis=1), rtol=1e-10)
    assert analysis.decay_bound(plan, 0) == 32.5  # the mean of 1 .. 64
    np.testing.assert_allclose(analysis.decay_bound(YARN.plan(), 0), 32.5)  # without A


@settings(max_examples=50, deadline=None)
@given(plan=plans(attention_factor=st.just(1.0)), p=st.integers(0, 9999), n=st.integers(-9999, 9999))
def test_encodings_differ_by_their_distance(plan: ropecore.RotaryPlan, p: int, n: int) -> None:
    here, there = (np.stack(ropecore.cos_sin(plan, at)) for at in (p, p + n))
    assert analysis.encoding_distance(plan, n) == pytest.approx(np.linalg.norm(here - there), abs=1e-9)


def test_the_closest_positions_are_found() -> None:
    plan = HALF.replace(head_dim=4, rotary_dim=None).plan()
    found = analysis.uniqueness(plan, 5000, at_least=2)
    distances = analysis.encoding_distance(plan, np.arange(2, 5000))
    assert (found.closest, found.encoding_distance) == (2 + distances.argmin(), distances.min())
    assert found.closest == 1885  # nearest to 300 turns of 2 pi, which are three of 200 pi
    assert found.margin == pytest.approx(200 * math.pi / 5000)


@pytest.mark.parametrize(("base", "margin"), [(1e4, 0.415), (5e5, 19.5), (1e6, 38.6)])
def test_the_margin_at_128k(base: float, margin: float) -> None:
    """D3: base 5e5, so that the slowest hand does not complete a turn within 128K; 1e4 does not."""
    found = analysis.uniqueness(HALF.replace(base=base).plan(), 1 << 17)
    assert found.margin == pytest.approx(margin, rel=2e-3)
    assert found.closest == 1  # neighbours are the most alike, also where the slowest hand has made a turn
    assert found.encoding_distance > 1.6


def test_where_a_pair_repeats() -> None:
    plan = ropecore.RotaryPlan(6, [[0, 1], [2, 3], [4, 5]], [1.0, -0.01, 2 * math.pi - 0.5])
    distances, missed = analysis.repeats(plan)
    assert distances.tolist() == [6, 628, 13]
    np.testing.assert_allclose(missed, [6 - 2 * math.pi, 6.28 - 2 * math.pi, 6.5 - 2 * math.pi], atol=1e-12)
    still = ropecore.RotaryPlan(2, [[0, 1]], [0.0], attention_factor=2.0)
    assert [array.tolist() for array in analysis.repeats(still)] == [[math.inf], [0.0]]


@pytest.mark.parametrize("table", analysis.TABLES)
@pytest.mark.parametrize("angle", ["exact", "float32"])
def test_resolution_is_the_first_step_that_shows(table: str, angle: str) -> None:
    dtype = {"float16": np.float16, "float32": np.float32}.get(table) or pytest.importorskip("ml_dtypes").bfloat16
    rope = pytest.importorskip("ropecore.backends.numpy")
    plan, p = HALF.replace(head_dim=32, rotary_dim=None, base=1e6).plan(), 100_000
    cos, sin = rope.cos_sin(plan, np.arange(p, p + 3000), precision=angle)
    kept = np.stack([cos, sin]).astype(dtype).astype(np.float32)
    differs = (kept[:, 1:] != kept[:, :1]).any(axis=0)
    assert differs.any(axis=0).all()
    assert analysis.resolution(plan, p, table, angle).tolist() == (differs.argmax(axis=0) + 1).tolist()


def test_positions_in_sixteen_bits_are_lost() -> None:
    plan = HALF.plan()
    assert np.isinf(analysis.resolution(plan, 100_000, "float16", "input")).all()  # 100,000 is infinity
    assert analysis.resolution(plan, 2048, "float16", "input").min() == 2  # 2,049 is 2,048, and 2,050 is itself
    assert (
        analysis.resolution(plan, 100_000, "bfloat16", "input").min() == 96
    )  # 99,840 for 100,000; 100,352 from 100,096
    assert (analysis.resolution(plan, 100_000) == 1).all()


def test_entropy() -> None:
    assert analysis.attention_entropy(np.zeros((2, 5))).tolist() == pytest.approx([math.log(5)] * 2)
    assert analysis.attention_entropy([0.0, -np.inf, 0.0]) == pytest.approx(math.log(2))
    assert analysis.attention_entropy([1e4, 0.0]) == 0
    p = np.array([0.5, 0.3, 0.2])
    assert analysis.attention_entropy(np.log(p) + 7) == pytest.approx(-(p * np.log(p)).sum())


def test_expected_entropy_without_spread_is_entropy() -> None:
    scores = np.random.default_rng(0).normal(size=50) * 3
    wanted = [analysis.attention_entropy(scores[: n + 1]) for n in range(50)]
    np.testing.assert_allclose(analysis.expected_entropy(scores), wanted, atol=1e-12)


def test_expected_entropy_equals_a_simulation_and_the_temperature_sharpens() -> None:
    rng, n, trials = np.random.default_rng(0), 4096, 100
    mean, variance = -0.3 * np.log1p(np.arange(n)), 1 + 0.5 * np.cos(np.arange(n) / 100)
    plain = analysis.attention_entropy(mean + variance**0.5 * rng.normal(size=(trials, n)))
    expected = analysis.expected_entropy(mean, variance)[-1]
    assert (
        abs(plain.mean() - expected) < 4.5 * plain.std() / trials**0.5 + 5 / n
    )  # sums are replaced by their means: O(1 / n)
    factor = YARN.plan().attention_factor
    sharper = analysis.expected_entropy(mean * factor**2, variance * factor**4)
    assert (sharper[1:] < analysis.expected_entropy(mean, variance)[1:]).all()


def test_refusals() -> None:
    plan = HALF.plan()
    axes = ropecore.RopeConfig(head_dim=8, base=1e4, pairing="half_split", sections=(2, 2), axes=("h", "w")).plan()
    for call, argument in [
        (lambda: analysis.score_mean(plan, [1], np.ones(64), np.ones(128)), "mean_q"),
        (lambda: analysis.score_mean(plan, 1, np.ones(128), np.ones(128)), "distances"),
        (lambda: analysis.score_variance(plan, [1], np.ones(128), np.ones(128), np.ones(128), np.eye(128)), "covariance_q"),
        (lambda: analysis.uniqueness(axes, 100), "plan"),
        (lambda: analysis.resolution(axes, 100), "plan"),
        (lambda: analysis.resolution(plan, -1), "position"),
        (lambda: analysis.resolution(plan, 1, "float8"), "table"),
        (lambda: analysis.resolution(plan, 1, angle="degrees"), "angle"),
        (lambda: analysis.turns(plan, 0), "context"),
        (lambda: analysis.uniqueness(plan, 1), "length"),
    ]:  # fmt: skip
        with pytest.raises(RopeError) as refusal:
            call()
        assert refusal.value.argument == argument


def test_what_is_not_needed_to_rotate_is_loaded_later() -> None:
    code = "import sys, ropecore; sys.exit(len({'ropecore.analysis', 'ropecore.linear'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
