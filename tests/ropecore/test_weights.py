"""Weights of another pairing give the same scores: rows, biases, norms, scales and LoRA factors,
grouped heads, partial rotation.
"""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import plans, vectors

import ropecore
import ropecore.backends.numpy as rope
from ropecore import RopeConfig, RopeError, RotaryPlan, convert_pairing
from ropecore.weights import lane_order

HEADS = [
    (8, 2),
    (4, 1),
    (32, 4),
    (4, 4),
]  # Hq / Hk is Hk in none of the first three: field failure B2 hides where it is
POSITIONS = np.array([0, 1, 257, 2049, -3])
HIDDEN, RANK = 10, 3


def config(pairing: str, head_dim: int = 8, **keywords) -> RopeConfig:
    return RopeConfig(head_dim=head_dim, base=100.0, pairing=pairing, **keywords)


def both(head_dim: int, **keywords) -> tuple[RotaryPlan, RotaryPlan]:
    return config("interleaved", head_dim, **keywords).plan(), config("half_split", head_dim, **keywords).plan()


def small_integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers whose products and sums are exact in float64, so that no order of a sum shows."""
    return rng.integers(-8, 9, shape).astype(np.float64)


def attention(seed: int, head_dim: int, n_heads: int, n_kv_heads: int) -> dict[str, np.ndarray]:
    """Everything of q and k that has an entry a lane, all of it without symmetry."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, n in (("q", n_heads), ("k", n_kv_heads)):
        weights |= {
            f"{name}.rows": small_integers(rng, n * head_dim, HIDDEN),
            f"{name}.bias": small_integers(rng, n * head_dim),
            f"{name}.lora_b": small_integers(rng, n * head_dim, RANK),
            f"{name}.norm": rng.uniform(0.5, 2.0, head_dim),
            f"{name}.scale": 2.0 ** rng.integers(-2, 3, (n * head_dim, 1)),
        }
    return weights


def converted(
    weights: dict[str, np.ndarray], before: RotaryPlan, after: RotaryPlan, heads: dict[str, int], leave: str = ""
):
    """Convert all of the weights but those of one kind."""
    return {
        name: weight if name.endswith(leave or "-") else convert_pairing(
            weight, before, after, n_heads=heads[name[0]], kind=name[2:]
        )
        for name, weight in weights.items()
    }  # fmt: skip


def projected(
    weights: dict[str, np.ndarray], name: str, x: np.ndarray, lora_a: np.ndarray, head_dim: int
) -> np.ndarray:
    """Queries or keys (h, s, d): quantised weights, bias, LoRA, then a norm within each head."""
    y = x @ (weights[f"{name}.rows"] * weights[f"{name}.scale"]).T + weights[f"{name}.bias"]
    y = y + (x @ lora_a.T) @ weights[f"{name}.lora_b"].T
    y = y.reshape(len(x), -1, head_dim).swapaxes(0, 1)
    return y / np.sqrt(1 + (y**2).sum(-1, keepdims=True)) * weights[f"{name}.norm"]


def rotated_and_scores(weights: dict[str, np.ndarray], plan: RotaryPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotated q and k, and scores that are the exact sums of their products, rounded once."""
    rng = np.random.default_rng(1)
    x, lora_a = small_integers(rng, len(POSITIONS), HIDDEN), small_integers(rng, RANK, HIDDEN)
    q, k = (projected(weights, name, x, lora_a, plan.head_dim) for name in "qk")
    q, k = (rope.apply(plan, t, positions=POSITIONS, tensor_format="hsd") for t in (q, k))
    grouped = np.repeat(k, len(q) // len(k), axis=0)
    products = q[:, :, None, :] * grouped[:, None, :, :]
    exact = [math.fsum(lane) for lane in products.reshape(-1, plan.head_dim)]
    return q, k, np.array(exact).reshape(products.shape[:-1])


PAIRS = {
    "d8": both(8),
    "d6": both(6),
    "d64": both(64),
    "back": both(8)[::-1],
    "partial": both(8, rotary_dim=6),
    "last lanes": both(10, rotary_dim=6, lane_offset=4),
    "from first to last lanes": (
        config("interleaved", 10, rotary_dim=6).plan(),
        config("half_split", 10, rotary_dim=6, lane_offset=4).plan(),
    ),
    "proportional": both(12, scaling=ropecore.Proportional(0.5)),
    "yarn": both(8, scaling=ropecore.YaRN(4.0, 64)),
    "xpos": both(8, scaling=ropecore.XPos(scale_base=4096.0)),
}
BACKWARDS = {
    "all": (config("interleaved", 6).plan(), config("half_split", 6, direction=-1).plan()),
    "some": (both(6)[0], both(6)[1].replace(lanes=[[3, 0], [1, 4], [5, 2]], out_lanes=None)),
}  # fmt: skip


@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("pair", PAIRS)
def test_scores_do_not_change_by_a_bit(pair: str, heads: tuple[int, int]) -> None:
    before, after = PAIRS[pair]
    old = attention(0, before.head_dim, *heads)
    new = converted(old, before, after, dict(zip("qk", heads, strict=True)))
    order = lane_order(before, after)

    q_old, k_old, scores_old = rotated_and_scores(old, before)
    q_new, k_new, scores_new = rotated_and_scores(new, after)

    np.testing.assert_array_equal(q_new, q_old[..., order])
    np.testing.assert_array_equal(k_new, k_old[..., order])
    np.testing.assert_array_equal(scores_new, scores_old)
    assert np.abs(scores_old).max() > 0.1


@pytest.mark.parametrize("pair", BACKWARDS)
def test_pairs_that_turn_backwards_keep_scores_too(pair: str) -> None:
    """Their angles are rounded downwards in the other direction, so equal within the bound of exact
    tables, 2^-52.
    """
    before, after = BACKWARDS[pair]
    old = attention(0, 6, 8, 2)
    q_old, k_old, scores_old = rotated_and_scores(old, before)
    q_new, _, scores_new = rotated_and_scores(converted(old, before, after, {"q": 8, "k": 2}), after)

    bound = 2 * (2**-52 + 2 * 2**-53) * 2 * np.abs(q_old).max() * np.abs(k_old).max() * 2 * 6
    np.testing.assert_allclose(scores_new, scores_old, rtol=0, atol=bound)
    np.testing.assert_allclose(q_new, q_old[..., lane_order(before, after)], rtol=0, atol=2**-50 * np.abs(q_old).max())
    assert np.abs(scores_old).max() > 0.1


@pytest.mark.parametrize("leave", ["rows", "bias", "norm", "scale", "lora_b"])
def test_scores_change_if_anything_is_left_behind(leave: str) -> None:
    """Mutant M94: each kind alone would be seen by the test above."""
    before, after = both(8)
    old = attention(0, 8, 8, 2)
    new = converted(old, before, after, {"q": 8, "k": 2}, leave)

    assert np.abs(rotated_and_scores(new, after)[2] - rotated_and_scores(old, before)[2]).max() > 0.01


@pytest.mark.parametrize("head_dim", [6, 8, 64])
def test_the_inverse_is_another_permutation(head_dim: int) -> None:
    """Mutant M92: the forward permutation where the inverse is meant;
    head_dim 4 would not show it.
    """
    before, after = both(head_dim)
    old = attention(0, head_dim, 4, 1)
    wrong = converted(old, after, before, {"q": 4, "k": 1})

    assert np.abs(rotated_and_scores(wrong, after)[2] - rotated_and_scores(old, before)[2]).max() > 0.01
    assert not np.array_equal(lane_order(before, after), lane_order(after, before))
    assert np.array_equal(lane_order(*both(4)), lane_order(*both(4)[::-1]))


@pytest.mark.parametrize("heads", HEADS[:3], ids=str)
def test_keys_by_another_number_of_heads_are_another_permutation(heads: tuple[int, int]) -> None:
    """Mutant M93: k permuted as n_heads // n_kv_heads heads.  Here it is refused, and it would not
    give the same rows.
    """
    before, after = both(8)
    wrong_heads = heads[0] // heads[1]
    k = attention(0, 8, *heads)["k.rows"]

    with pytest.raises(RopeError, match="n_kv_heads"):
        convert_pairing(k, before, after, n_heads=wrong_heads)
    whole = np.arange(len(k)).reshape(wrong_heads, -1, 2).swapaxes(1, 2).ravel()
    assert not np.array_equal(convert_pairing(k, before, after, n_heads=heads[1]), k[whole])


@pytest.mark.parametrize(("head_dim", "n_heads"), [(6, 3), (8, 2), (64, 5), (128, 1)])
def test_the_permutation_is_the_one_of_other_converters(head_dim: int, n_heads: int) -> None:
    """The reshape that converters of Llama weights write: (heads, D/2, 2) to (heads, 2, D/2)."""
    before, after = both(head_dim)
    weight = np.random.default_rng(0).normal(size=(n_heads * head_dim, 7))
    half = weight.reshape(n_heads, head_dim // 2, 2, 7).swapaxes(1, 2).reshape(weight.shape)

    np.testing.assert_array_equal(convert_pairing(weight, before, after), half)
    np.testing.assert_array_equal(convert_pairing(half, after, before), weight)


def test_orders_written_out() -> None:
    assert lane_order(*both(6)).tolist() == [0, 2, 4, 1, 3, 5]
    assert lane_order(*both(6)[::-1]).tolist() == [0, 3, 1, 4, 2, 5]
    assert lane_order(*both(9, rotary_dim=6, lane_offset=2)).tolist() == [0, 1, 2, 4, 6, 3, 5, 7, 8]


def test_other_lanes_that_turn_backwards_are_exchanged() -> None:
    before = RotaryPlan(4, [[0, 1], [2, 3]], [1.0, 0.5])
    after = RotaryPlan(4, [[0, 2], [1, 3]], [-1.0, 0.5])

    assert lane_order(before, after).tolist() == [1, 2, 0, 3]


def test_lanes_written_are_free() -> None:
    """De-interleaving reads what interleaved weights write: nothing moves."""
    deinterleaving = config("interleaved", out_pairing="half_split").plan()

    assert lane_order(config("interleaved").plan(), deinterleaving).tolist() == list(range(8))
    assert lane_order(config("half_split").plan(), deinterleaving).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_rows_that_only_move_lanes_do_not_count() -> None:
    keywords = {"scaling": ropecore.Proportional(0.5)}
    deinterleaving = config("interleaved", out_pairing="half_split", **keywords).plan()

    assert deinterleaving.n_pairs == 4
    assert lane_order(config("half_split", **keywords).plan(), deinterleaving).tolist() == [0, 4, 1, 5, 2, 3, 6, 7]


@given(plans(same_lanes=True), st.randoms(use_true_random=False))
def test_any_renaming_of_lanes_is_found(plan: RotaryPlan, random) -> None:
    """A plan whose lanes have other names rotates converted vectors to the same vector with its
    lanes renamed.
    """
    names = list(range(plan.head_dim))
    random.shuffle(names)
    lanes = np.array(names)[plan.lanes]
    backwards = np.array([random.random() < 0.5 for _ in lanes], bool)[:, None]
    renamed = plan.replace(
        lanes=np.where(backwards, lanes[:, ::-1], lanes), out_lanes=None,
        frequencies=np.where(backwards, -plan.frequencies, plan.frequencies),
    )  # fmt: skip
    order = lane_order(plan, renamed)
    x = vectors(plan.head_dim, 0)[None]

    new = rope.apply(renamed, convert_pairing(x, plan, renamed, axis=1), positions=[7], tensor_format="sd")

    old = rope.apply(plan, x, positions=[7], tensor_format="sd")[:, order]
    bound = (
        2.0**-49 * plan.attention_factor * np.abs(x).max()
    )  # not equal bits: angles are rounded downwards, either way
    np.testing.assert_allclose(new, old, rtol=0, atol=bound)
    assert sorted(order) == list(range(plan.head_dim))


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_scales_of_blocks(size: int) -> None:
    """8 lanes a head, 4 heads: blocks of whole heads stay; smaller ones cross lanes that move
    apart, and are refused.
    """
    before, after = both(8)
    scales = np.arange(32.0 // size)

    if size == 1:
        new = convert_pairing(scales, before, after, n_heads=4, kind="scale")
        np.testing.assert_array_equal(new, convert_pairing(scales, before, after, n_heads=4))
    elif size < 8:
        with pytest.raises(RopeError, match=f"blocks of {size} rows cross lanes"):
            convert_pairing(scales, before, after, n_heads=4, kind="scale")
    else:
        np.testing.assert_array_equal(convert_pairing(scales, before, after, n_heads=4, kind="scale"), scales)


def test_scales_of_blocks_that_move_as_one() -> None:
    """Where two lanes move together, so does the scale that they share."""
    before = config("half_split", 8, rotary_dim=4).plan()
    after = config("half_split", 8, rotary_dim=4, lane_offset=4).plan()
    scales = np.array([[1.0], [2.0], [3.0], [4.0]])

    assert lane_order(before, after).tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert convert_pairing(scales, before, after, n_heads=1, kind="scale").ravel().tolist() == [3, 4, 1, 2]


def test_one_scale_for_all_stays() -> None:
    before, after = both(8)

    for scale in (np.float32(0.5), np.array([0.5]), np.array([[0.5]])):
        np.testing.assert_array_equal(convert_pairing(scale, before, after, kind="scale"), scale)


def test_norms_are_of_a_head_or_of_all() -> None:
    before, after = both(6)
    shared, each = np.arange(6.0), np.arange(12.0)

    assert convert_pairing(shared, before, after, n_heads=4, kind="norm").tolist() == [0, 2, 4, 1, 3, 5]
    assert convert_pairing(each, before, after, n_heads=2, kind="norm").tolist() == [
        0,
        2,
        4,
        1,
        3,
        5,
        6,
        8,
        10,
        7,
        9,
        11,
    ]


def test_rows_may_be_along_another_axis() -> None:
    before, after = both(6)
    weight = np.random.default_rng(0).normal(size=(3, 5, 12))

    for axis in (2, -1):
        new = convert_pairing(weight, before, after, axis=axis)
        np.testing.assert_array_equal(new, np.moveaxis(convert_pairing(np.moveaxis(weight, 2, 0), before, after), 0, 2))


@pytest.mark.parametrize(
    "dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16, np.int8, np.uint8, np.int32]
)
def test_numbers_of_any_kind_keep_their_bits(dtype) -> None:
    before, after = both(6)
    weight = np.random.default_rng(0).integers(0, 100, (12, 4)).astype(dtype)
    new = convert_pairing(weight, before, after)

    assert new.dtype == weight.dtype
    assert new[:6].tobytes() == weight[[0, 2, 4, 1, 3, 5]].tobytes()


def test_the_weight_is_not_changed() -> None:
    before, after = both(6)
    weight = np.arange(12.0)
    convert_pairing(weight, before, after)

    assert weight.tolist() == list(range(12))


def test_arrays_of_the_array_api() -> None:
    xp = pytest.importorskip("array_api_strict")
    before, after = both(6)
    new = convert_pairing(xp.asarray(np.arange(12.0)), before, after)

    assert isinstance(new, type(xp.asarray(0.0)))
    assert np.asarray(new).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


MROPE = {"axes": ("t", "h", "w"), "sections": (2, 1, 1)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base": 1000.0}, "other frequencies"),
        ({"rotary_dim": 6}, "3 pairs rotate"),
        ({"head_dim": 16}, "head_dim is 16"),
        ({"attention_factor": 1.5}, "attention_factor is 1.5"),
        ({"direction": -1}, None),
        ({"scaling": ropecore.Damped(0.01)}, "other frequencies"),
        ({"axis_kinds": ("real",)}, "axis_kinds is ('real',)"),
    ],
)
def test_two_rotations_are_refused(change, reason: str | None) -> None:
    before, after = config("interleaved").plan(), config("half_split").replace(**change).plan()
    if reason is None:  # turning backwards is exchanging the lanes of every pair
        assert lane_order(before, after).tolist() == [1, 3, 5, 7, 0, 2, 4, 6]
        return
    with pytest.raises(RopeError, match="is not plan_from's rotation") as refusal:
        convert_pairing(np.zeros(16), before, after)

    assert refusal.value.argument == "plan_to"
    assert reason in refusal.value.reason
    assert refusal.value.cure


def test_a_magnitude_about_another_centre_is_refused() -> None:
    """Scores would be the same, but cached keys of the two would not mix."""
    before, after = (config("interleaved", scaling=ropecore.XPos(centre=c)).plan() for c in (0.0, 64.0))

    with pytest.raises(RopeError, match=r"centre is 64\.0"):
        lane_order(before, after)


def test_chunked_and_interleaved_axes_are_two_rotations() -> None:
    """Field failure H12: pairs keep their frequency and change their axis, which no permutation of
    lanes does.
    """
    chunked = config("half_split", **MROPE).plan()
    interleaved = config("half_split", **MROPE, axis_order="interleaved").plan()

    with pytest.raises(RopeError, match="two rotations"):
        lane_order(chunked, interleaved)
    assert lane_order(config("interleaved", **MROPE).plan(), chunked).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda w, p: convert_pairing(w, *p, kind="columns"), "kind"),
        (lambda w, p: convert_pairing(w, *p, axis=2), "axis"),
        (lambda w, p: convert_pairing(w, *p, axis=1.0), "axis"),
        (lambda w, p: convert_pairing(w, *p, n_heads=0), "n_heads"),
        (lambda w, p: convert_pairing(w, *p, n_heads=True), "n_heads"),
        (lambda w, p: convert_pairing(w, *p, n_heads=3), "weight"),
        (lambda w, p: convert_pairing(w[:-1], *p), "weight"),
        (lambda w, p: convert_pairing(w[:0], *p), "weight"),
        (lambda w, p: convert_pairing(w[:8], *p, n_heads=2), "weight"),
        (lambda w, p: convert_pairing(w, *p, axis=1), "weight"),
        (lambda w, p: convert_pairing(w, *p, kind="scale"), "n_heads"),
        (lambda w, p: convert_pairing(w[:7], *p, kind="scale", n_heads=2), "scale"),
        (lambda w, p: convert_pairing(np.float32(1), *p), "weight"),
        (lambda w, p: convert_pairing(w.tolist(), *p), "weight"),
    ],
)
def test_what_does_not_fit_is_refused(call, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        call(np.zeros((16, 3)), both(8))

    assert refusal.value.argument == argument
