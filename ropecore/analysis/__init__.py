"""What a RoPE does: its clock hands, its scores over distance, and what its tables tell apart.

Pure functions of a plan (or a configuration).  Distances are whole positions along the plan's axis;
a plan with several axes takes them as it takes positions, (n_axes, ..).  Nothing here is needed to
rotate, and `import ropecore` does not load it.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from ropecore.arguments import Count, Floats, OneOf, Reals, Whole, checked
from ropecore.arrays import LARGEST_POSITION, reals
from ropecore.config import Config
from ropecore.errors import RopeError, integer
from ropecore.plan import FloatArray, Plan, RotaryPlan
from ropecore.precision import cos_sin_of_phase, limbs, phase_32
from ropecore.rotation import angles, cos_sin

ANGLES = ("exact", "float32", "input")
TABLES = ("float32", "bfloat16", "float16")
LARGEST_STEP = 1 << 17
LARGEST_MOMENTS = 512  # lanes of score_variance: its matrices have their cube in numbers
MOST_TERMS = 1 << 28  # of uniqueness, pairs times distances: seconds of work
_BLOCK = 1 << 12


@checked
def turns(plan: Plan, context: Count) -> FloatArray:
    """Return the turns that each pair makes within a context, context * |F| / (2 pi), in the shape
    of `plan.wavelengths`.
    """
    return context / plan.wavelengths


@checked
def stretches(config: Config, seq_len: Count | None = None) -> FloatArray:
    """Return by how much the scaling rule makes the wavelength of each pair longer, |f_j| / |F_j|,
    (n_pairs,).

    f: the frequencies without the rule, F: with it.  Infinite where the rule stops a pair, 1 where
    it keeps it.  seq_len: the length that length-dependent rules plan for (R-5.4).  Chapter 5 of
    rope.md; D3.
    """
    scaled = np.abs(config.rows(seq_len).frequencies.sum(axis=1))
    if config.scaling is None or (config.base is None and config.inv_freq is None):
        return np.ones_like(scaled)
    plain = np.abs(config.replace(scaling=None).rows().frequencies.sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(plain == scaled, 1.0, plain / scaled)


@checked
def bands(config: Config, seq_len: Count | None = None) -> list[str]:
    """Return what the scaling rule did to each pair: "kept", "blended", "stretched" (by its whole
    factor), "sped up" or "stopped".

    By `stretches`: 1; between 1 and the factor; the factor (within 1e-12, as F is rounded); below
    1; infinite.
    """
    factor = getattr(config.scaling, "factor", None) or math.nan
    stretch = stretches(config, seq_len)
    conditions = [stretch == 1, np.isinf(stretch), np.isclose(stretch, factor, rtol=1e-12, atol=0), stretch < 1]
    names: list[str] = np.select(conditions, ["kept", "stopped", "stretched", "sped up"], "blended").tolist()
    return names


@checked
@np.errstate(over="ignore", invalid="ignore")
def score_mean(plan: Plan, distances: Any, mean_q: Any, mean_k: Any, cross_covariance: Any = None) -> FloatArray:
    """Return the expected score of a query with a key at each distance, (.., n), n = i - j: no
    softmax scale.

    E[(R_i q).(R_j k)] = A^2 (c + sum_j M_j(n) (a_j cos(n F_j) + b_j sin(n F_j))), with for lanes
    (r0, r1) of pair j a = E[q_r0 k_r0 + q_r1 k_r1], b = E[q_r0 k_r1 - q_r1 k_r0], and c the rest of
    E[q.k], without A^2, on lanes in no pair. E[q k^T] = mean_q mean_k^T + cross_covariance, which
    is 0 unless given (independent q and k): then, with a mean of zero, there is nothing left to
    decay.  mean_q, mean_k: (.., head_dim); cross_covariance: (head_dim, head_dim), E of (q -
    mean_q)(k - mean_k)^T. Rule R-9.11; D0, D4.
    """
    relative, cos, sin = _relative(plan, distances)
    q, k = _vector("mean_q", plan, mean_q), _vector("mean_k", plan, mean_k)
    r0, r1 = relative.lanes.T
    still = np.setdiff1d(np.arange(plan.head_dim), relative.lanes)
    try:
        np.broadcast_shapes(q.shape, k.shape)
    except ValueError as error:
        raise RopeError("mean_k", k.shape, f"does not broadcast against mean_q, {q.shape}", rule="R-12.4") from error
    a, b = q[..., r0] * k[..., r0] + q[..., r1] * k[..., r1], q[..., r0] * k[..., r1] - q[..., r1] * k[..., r0]
    c = (q[..., still] * k[..., still]).sum(axis=-1)
    if cross_covariance is not None:
        cross = _matrix("cross_covariance", plan, cross_covariance)
        a, b = a + cross[r0, r0] + cross[r1, r1], b + cross[r0, r1] - cross[r1, r0]
        c = c + cross[still, still].sum()
    mean: FloatArray = a @ np.moveaxis(cos, -1, 0) + b @ np.moveaxis(sin, -1, 0) + c[..., None]
    return mean


@checked
@np.errstate(over="ignore", invalid="ignore")
def score_variance(
    plan: Plan, distances: Any, mean_q: Any, mean_k: Any, covariance_q: Any, covariance_k: Any
) -> FloatArray:
    """Return the variance of the score of an independent query and key at each distance, (n,): no
    softmax scale.

    E[((R q).k)^2] - E[(R q).k]^2, R the rotation by n = i - j with A^2 in it.  R is a sum of
    constant matrices B_f times z = (cos, sin, 1), so the first term is z^T K z with K_fg = tr(S_q
    B_f^T S_k B_g), S = C + mean mean^T.  True of every distribution with these means (head_dim,)
    and covariances (head_dim, head_dim).  Rule R-9.11.
    """
    if plan.head_dim > LARGEST_MOMENTS:
        raise RopeError("plan", plan, f"must have at most {LARGEST_MOMENTS} lanes here", rule="R-9.6")
    relative, cos, sin = _relative(plan, distances)
    q, k = _vector("mean_q", plan, mean_q), _vector("mean_k", plan, mean_k)
    if q.ndim != 1 or k.ndim != 1:
        raise RopeError("mean_q", (q.shape, k.shape), f"means must be ({plan.head_dim},)", rule="R-12.4")
    square_q = _matrix("covariance_q", plan, covariance_q) + np.outer(q, q)
    square_k = _matrix("covariance_k", plan, covariance_k) + np.outer(k, k)
    j, (r0, r1) = np.arange(relative.n_pairs), relative.lanes.T
    still = np.setdiff1d(np.arange(plan.head_dim), relative.lanes)
    parts = np.zeros((2 * len(j) + 1, plan.head_dim, plan.head_dim))
    parts[j, r0, r0] = parts[j, r1, r1] = 1
    parts[len(j) + j, r1, r0], parts[len(j) + j, r0, r1] = 1, -1
    parts[-1, still, still] = 1
    form = np.tensordot(parts, square_k @ parts @ square_q, axes=((1, 2), (1, 2)))
    z = np.concatenate([cos, sin, np.ones((len(cos), 1))], axis=1)
    variance: FloatArray = (z @ form * z).sum(axis=1) - score_mean(plan, distances, q, k) ** 2
    return variance


@checked
def decay_bound(plan: Plan, distances: Any) -> FloatArray:
    """Return the relative strength over relative distance that the RoFormer paper draws, (..): (2 /
    R) sum_i |S_i|.

    S_i = sum over j < i of e^(i n F_j), i = 1 .. R/2, pairs in the order of their first lanes: by
    Abel's summation, the score is at most max_j |h_j+1 - h_j| times sum_i |S_i|, h_j being a pair
    of q times the conjugate of one of k.  A bound, not the score. Su et al. 2021, section 3.4.3 and
    figure 2; D4.
    """
    _some_pairs(plan)
    cos, sin = (table / plan.attention_factor for table in cos_sin(plan.replace(log_magnitude=None), distances))
    bound: FloatArray = np.abs(np.cumsum(cos + 1j * sin, axis=-1)).mean(axis=-1)
    return bound


@checked
def encoding_distance(plan: Plan, distances: Any) -> FloatArray:
    """Return how far the encodings of two positions n apart lie from each other, (..): sqrt(sum_j 4
    sin^2(n F_j / 2)).

    The encoding of p is the vector of cos(p F_j) and sin(p F_j) of all pairs, so the distance
    depends on n alone; at most 2 sqrt(n_pairs).
    """
    distance: FloatArray = np.sqrt((4 * np.sin(angles(plan, distances) / 2) ** 2).sum(axis=-1))
    return distance


@dataclass(frozen=True)
class Uniqueness:
    """How well all pairs together, and the slowest alone, tell positions of a context apart."""

    length: int
    closest: int  # the distance whose two positions are encoded most alike
    encoding_distance: float  # how far these encodings lie from each other
    slowest_wavelength: float
    margin: float  # slowest wavelength / length: below 1 no pair by itself tells the two ends apart


@checked
def uniqueness(plan: Plan, length: Annotated[int, Whole(at_least=2)], at_least: Count = 1) -> Uniqueness:
    """Return which two positions of a context are most alike, at_least apart: min over n < length
    of `encoding_distance`.

    Positions can be told apart as long as this is above what the arithmetic rounds off.  D3 asks
    for the slowest wavelength to be above the context (margin > 1), which is sufficient and not
    necessary.
    """
    _one_axis(plan)
    _some_pairs(plan)
    first = integer("at_least", at_least, at_least=1, at_most=length - 1)
    if (length - first) * plan.n_pairs > MOST_TERMS:
        raise RopeError("length", length, "has more distances than can be looked at", "Give a smaller one.", "R-12.3")
    best = (math.inf, 0)
    for start in range(first, length, _BLOCK):
        n = np.arange(start, min(start + _BLOCK, length))
        found = encoding_distance(plan, n)
        best = min(best, (float(found.min()), int(n[found.argmin()])))
    slowest = float(plan.wavelengths.max())
    return Uniqueness(length, best[1], best[0], slowest, slowest / length)


@checked
def repeats(plan: Plan) -> tuple[FloatArray, FloatArray]:
    """Return where each pair by itself comes back to its start, and by how much it misses:
    distances and radians, (n_pairs,).

    n_j = round(2 pi / |F_j|), the whole distance nearest to a turn, and n_j |F_j| - 2 pi, at most
    |F_j| / 2; F_j taken within half a turn, as positions are whole.  Infinite and 0 for a pair that
    does not turn.  D3.
    """
    _one_axis(plan)
    with np.errstate(divide="ignore", invalid="ignore"):
        f = np.abs(angles(plan, 1))
        n = np.round(2 * math.pi / f)
        return n, np.where(f == 0, 0.0, n * f - 2 * math.pi)


@checked
def resolution(
    plan: Plan,
    position: Annotated[int, Whole(at_most=LARGEST_POSITION - LARGEST_STEP)],
    table: Annotated[str, OneOf(TABLES)] = "float32",
    angle: Annotated[str, OneOf(ANGLES)] = "exact",
) -> FloatArray:
    """Return the smallest step from a position at which the table of each pair changes in any bit,
    (n_pairs,), in positions.

    table: the dtype that cos and sin are kept in, "float32", "bfloat16" or "float16".  angle:
    "exact" (R-10.2), "float32" for cos(float32(p) * float32(F)) (R-10.3), or "input" for position,
    frequency and product in the table's dtype, as where a whole module was cast. Infinite where no
    step up to 2^17 changes it.  1 means that neighbours are told apart.  D3.
    """
    _one_axis(plan)
    p = position
    here = _table(plan, np.array([p]), table, angle)
    steps, start, size = np.full(plan.n_pairs, math.inf), 1, 64
    while start <= LARGEST_STEP and np.isinf(steps).any():
        step = np.arange(start, min(start + size, LARGEST_STEP + 1))
        differs = (_table(plan, p + step, table, angle) != here).any(axis=0)
        steps = np.minimum(steps, np.where(differs.any(axis=0), step[differs.argmax(axis=0)], math.inf))
        start, size = start + size, min(2 * size, _BLOCK)
    return steps


@checked
def attention_entropy(scores: Floats, axis: Annotated[int, Whole(at_least=-64, at_most=63)] = -1) -> FloatArray:
    """Return the entropy of softmax(scores) along an axis, in nats: -sum p ln p; ln n where
    attention is even.

    scores: with the softmax scale, and with A^2, which is YaRN's temperature, if there is one; -inf
    where masked.
    """
    s = scores.astype(np.float64)
    if not -s.ndim <= axis < s.ndim:
        raise RopeError("axis", axis, f"must be a dimension of shape {s.shape}", rule="R-12.7")
    best = s.max(axis=axis, keepdims=True, initial=-math.inf)
    if not np.isfinite(best).all():
        reason = "must be numbers, and -inf where masked, with one or more tokens to attend to"
        raise RopeError("scores", scores, reason, rule="R-12.4")
    weights = np.exp(s - best)
    p = weights / weights.sum(axis=axis, keepdims=True)
    entropy: FloatArray = -(p * np.log(np.where(p == 0, 1, p))).sum(axis=axis)
    return entropy


@checked
@np.errstate(over="ignore", invalid="ignore")
def expected_entropy(mean: Reals, variance: Reals = 0.0) -> FloatArray:
    """Return the entropy of attention at each length, in nats, for normal scores whose mean and
    variance depend on the distance.

    For n = 1, 2, ..: ln Z_n - sum over d < n of (m_d + v_d) e^(m_d + v_d / 2) / Z_n, Z_n = sum over
    d < n of e^(m_d + v_d / 2); with m = 0 and one v it is ln n - v / 2.  Exact for v = 0; else sums
    over many tokens are taken for their means, which is right while v < 2 ln n (Derrida 1981, the
    random energy model). mean, variance: (n,) of the scores at distance 0, 1, .., with the softmax
    scale: `score_mean / sqrt(D)` and `score_variance / D` of a plan with YaRN's attention factor,
    and of one without, give entropy with its temperature and without.  Peng et al. 2023, section
    3.4.
    """
    if mean.ndim > 1 or np.ndim(variance) > 1 or (np.size(variance) != 1 and mean.size not in (1, np.size(variance))):
        reason = "mean and variance must be (n,), or one number"
        raise RopeError("mean", (mean.shape, np.shape(variance)), reason, rule="R-12.7")
    m, v = np.broadcast_arrays(np.atleast_1d(mean), variance)
    log_weight = m + v / 2
    log_total = np.logaddexp.accumulate(log_weight)
    top = log_weight.max(initial=0.0)
    energy = np.cumsum((m + v) * np.exp(log_weight - top)) / np.exp(log_total - top)
    entropy: FloatArray = log_total - energy
    return entropy


def _relative(plan: RotaryPlan, distances: Any) -> tuple[RotaryPlan, FloatArray, FloatArray]:
    """Return the rotation of q by its distance from k, with A of both, (n, n_pairs): lanes written
    are the same in q and k, so they cancel.
    """
    relative = plan.replace(out_lanes=plan.lanes, centre=0.0)
    cos, sin = cos_sin(relative, distances)
    if cos.ndim != 2:
        raise RopeError("distances", cos.shape[:-1], "must be a list of distances", "Flatten them.", "R-7.3")
    return relative, cos * plan.attention_factor, sin * plan.attention_factor


def _vector(argument: str, plan: RotaryPlan, values: Any) -> FloatArray:
    vector = reals(argument, values, rule="R-12.4")
    if vector.shape[-1:] != (plan.head_dim,):
        raise RopeError(argument, vector.shape, f"must end in head_dim, {plan.head_dim}", rule="R-12.4")
    return vector


def _matrix(argument: str, plan: RotaryPlan, values: Any) -> FloatArray:
    matrix = _vector(argument, plan, values)
    if matrix.ndim != 2 or len(matrix) != plan.head_dim:
        raise RopeError(argument, matrix.shape, f"must be ({plan.head_dim}, {plan.head_dim})", rule="R-12.4")
    return matrix


def _one_axis(plan: RotaryPlan) -> None:
    """Refuse a plan that is not over whole positions along one axis."""
    if plan.n_axes > 1 or any(plan.real_axes):
        cure = "Take one axis: RotaryPlan(head_dim, lanes, plan.frequencies[:, a])."
        raise RopeError("plan", plan, "must have one integer axis", cure, "R-7.1")


def _some_pairs(plan: RotaryPlan) -> None:
    if not plan.n_pairs:
        raise RopeError("plan", plan, "has no pair that turns", rule="R-2.5")


def _table(plan: RotaryPlan, positions: npt.NDArray[np.int64], table: str, angle: str) -> npt.NDArray[np.float32]:
    """Return cos and sin at positions as programs keep them, without A: float32 numbers (2, n,
    n_pairs), rounded to the table's dtype.
    """
    p, f = positions[:, None], plan.frequencies[:, 0]
    if angle == "exact":
        high, low = limbs(plan, 64)
        tables = cos_sin_of_phase(phase_32(p, high[:, 0], low[:, 0]), lambda r: r.astype(np.float32), np.where)
    else:
        kept = table if angle == "input" else "float32"
        phi = _rounded(_rounded(p, kept) * _rounded(f, kept), kept)
        with np.errstate(invalid="ignore"):  # float16 holds no position above 65,504: the cosine of infinity is NaN
            tables = np.nan_to_num(np.cos(phi), nan=9.0), np.nan_to_num(np.sin(phi), nan=9.0)
    return _rounded(np.stack(tables), table)


def _rounded(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.float32]:
    """Return values rounded to float32 and then to a dtype, as float32 numbers; bfloat16 is the
    upper half of a float32.
    """
    single = values.astype(np.float32)
    if dtype == "bfloat16":
        bits = single.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    with np.errstate(over="ignore"):
        return single.astype(dtype).astype(np.float32)
