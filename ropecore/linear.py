"""Linear attention with RoPE (R-9.9): one function for the reference and, through their own
`apply`, for every adapter.
"""

from typing import Any

import numpy as np

from ropecore.arguments import Flag, Function, checked
from ropecore.arrays import array_api, kind_name, own_array
from ropecore.errors import RopeError, known_keys
from ropecore.plan import Plan, RotaryPlan
from ropecore.rotation import cos_sin, rotate
from ropecore.tensor_format import TensorFormat

Array = Any  # of whatever namespace

_BLOCK = 64  # tokens whose scores are written out at a time, where attention is causal


@checked
def linear_attention(
    q: Array,
    k: Array,
    v: Array,
    plan: Plan,
    feature_map: Function,
    *,
    positions: Array | None = None,
    k_positions: Array | None = None,
    causal: Flag = False,
    apply: Function | None = None,
    **how: Any,
) -> Array:
    """Return linear attention with RoPE on the features in the numerator only, (b, h, s, e), in
    time and memory linear in s.

    y_m = sum_n (R_m f(q_m)).(R_n f(k_n)) v_n / sum_n f(q_m).f(k_n), over n <= m if causal; f is
    feature_map.  It is not attention with weights that add up to 1, nor are they all positive.  No
    softmax scale.

    q: (b, h, s, c), k: (b, g, r, c), v: (b, g, r, e), h a multiple of g.  feature_map: (.., c) to
    (.., plan.head_dim), its values not negative, or the sum below may vanish; it is given at least
    float32, and sums are kept in that.  positions, k_positions: as `apply` takes them; 0, 1, ..
    unless given.  apply: that of the adapter whose arrays these are, e.g.
    `ropecore.backends.torch.apply`; none for NumPy's and the reference. how: its precision or
    compute.  Rule R-9.9; Su et al. 2021, section 3.3; D4.
    """
    xp, (q, k, v) = _checked(q, k, v, causal)
    if apply is None:
        known_keys("how", how, ())
    wide, dtype = (xp.float64 if v.dtype == xp.float64 else xp.float32), v.dtype
    fq, fk = (_features(plan, x, feature_map(xp.astype(x, wide))) for x in (q, k))
    rq, rk = (apply or _apply)(plan, fq, fk, positions=positions, k_positions=k_positions, **how)

    b, h, s, _ = q.shape
    groups = k.shape[1]

    def summed(left: Array, right: Array, values: Array) -> Array:  # grouped heads share keys and values
        left = xp.reshape(left, (b, groups, h // groups, s, left.shape[-1]))
        total = _weighted_sum(xp, left, right[:, :, None, :, :], values[:, :, None, :, :], causal)
        return xp.reshape(total, (b, h, s, values.shape[-1]))

    numerator = summed(rq, rk, xp.astype(v, wide))
    return xp.astype(numerator / summed(fq, fk, xp.ones_like(fk[..., :1])), dtype)


def _weighted_sum(xp: Any, q: Array, k: Array, v: Array, causal: bool) -> Array:
    """Return sum_n (q_m.k_n) v_n, over n <= m if causal, without all s x s products."""
    if not causal:
        return xp.matmul(q, xp.matmul(xp.matrix_transpose(k), v))
    parts, before = [], None  # before: sum of k_n v_n^T over all earlier blocks
    for start in range(0, q.shape[-2], _BLOCK):
        stop = min(start + _BLOCK, q.shape[-2])
        a, b, c = (x[..., start:stop, :] for x in (q, k, v))
        inside = xp.matmul(xp.tril(xp.matmul(a, xp.matrix_transpose(b))), c)
        parts.append(inside if before is None else inside + xp.matmul(a, before))
        added = xp.matmul(xp.matrix_transpose(b), c)
        before = added if before is None else before + added
    return xp.concat(parts, axis=-2) if parts else v


def _apply(plan: RotaryPlan, q: Array, k: Array, positions: Any, k_positions: Any) -> tuple[Array, Array]:
    """Return q and k (b, h, s, d) rotated by the reference."""

    def one(x: Array, at: Any, role: str) -> Array:
        at = np.arange(x.shape[-2]) if at is None else np.asarray(at)
        TensorFormat.parse("bhsd").check_positions(plan, at.shape, x.shape)
        cos, sin = (table[:, None] if table.ndim == 3 else table for table in cos_sin(plan, at, role))
        return rotate(plan, x, cos, sin)

    return one(q, positions, "q"), one(k, positions if k_positions is None else k_positions, "k")


def _features(plan: RotaryPlan, x: Array, features: Any) -> Array:
    """Return what feature_map made of x, or refuse what the plan does not turn."""
    shape = getattr(features, "shape", None)
    if shape is None or tuple(shape) != (*x.shape[:-1], plan.head_dim):
        last = shape[-1] if shape else None
        cure = f"Make the plan with head_dim={last}." if shape is not None and len(shape) == x.ndim else ""
        reason = f"features must be head_dim numbers, {plan.head_dim}, for each token"
        raise RopeError("feature_map", last if cure else shape, reason, cure, "R-9.9")
    return features


def _checked(q: Any, k: Any, v: Any, causal: bool) -> tuple[Any, list[Array]]:
    """Return q, k and v as arrays with their namespace, or refuse them."""
    spaces, arrays = zip(*(own_array(name, x) for name, x in (("q", q), ("k", k), ("v", v))), strict=True)
    for name, xp, x in zip(("q", "k", "v"), spaces, arrays, strict=True):
        if xp is not spaces[0]:
            raise RopeError(name, x, "is of another library than q", rule="R-9.9")
        if kind_name(xp, x) != "real":
            raise RopeError(name, str(x.dtype), "its dtype must be a real float", "Convert it first.", "R-12.4")
    shapes = [tuple(x.shape) for x in arrays]
    _check(shapes[0], shapes[1], shapes[2], causal)
    if spaces[0] is np:
        return array_api().numpy, list(arrays)
    return spaces[0], list(arrays)


def _check(q: Any, k: Any, v: Any, causal: bool) -> None:
    if len(q) != 4 or len(k) != 4 or len(v) != 4:
        raise RopeError("q", tuple(q), "q, k and v must be (b, heads, s, d)", rule="R-9.9")
    if tuple(k[:3]) != tuple(v[:3]) or k[0] != q[0] or k[3] != q[3]:
        raise RopeError("k", tuple(k), f"does not go with q {tuple(q)} and v {tuple(v)}", rule="R-9.9")
    if k[1] == 0 or q[1] % k[1]:
        raise RopeError("k", k[1], f"its heads must divide those of q, {q[1]}", rule="R-9.9")
    if causal and q[2] != k[2]:
        raise RopeError("causal", True, f"needs as many keys ({k[2]}) as queries ({q[2]})", rule="R-9.9")
