"""The other forms of the same rotation, and the encoding that RoPE is compared with (R-8.3).

They are here to be read and tested against; the rotation that ropecore uses is `rotation.rotate`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ropecore.arguments import Floats, HeadDim, Positive, checked
from ropecore.cache import pack_cache
from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.forks import IMPORTS
from ropecore.plan import FloatArray, Plan, RotaryPlan
from ropecore.rotation import check_x, cos_sin, split_axes

if TYPE_CHECKING:
    from scipy.sparse import csr_array


LARGEST_MATRIX = 1 << 12  # lanes: 128 MiB


@checked
def rotation_matrix(plan: Plan, position: Any) -> FloatArray:
    """Return M (head_dim, head_dim) with y = M x at one position: 2 x 2 blocks, and 1 for lanes in
    no row.  Rule R-8.3.
    """
    if plan.head_dim > LARGEST_MATRIX:
        reason = f"makes a matrix of more than {LARGEST_MATRIX} rows"
        raise RopeError("plan", plan, reason, "Take sparse_rotation_matrix.", "R-8.3")
    cos, sin = _at_one(plan, position)
    matrix = np.eye(plan.head_dim)
    matrix[plan.lanes, plan.lanes] = 0.0
    (r0, r1), (w0, w1) = plan.lanes.T, plan.out.T
    matrix[w0, r0], matrix[w0, r1] = cos, -sin
    matrix[w1, r0], matrix[w1, r1] = sin, cos
    return matrix


@checked
def sparse_rotation_matrix(plan: Plan, position: Any) -> "csr_array":
    """Return `rotation_matrix` as a SciPy sparse array, with at most two numbers a row (needs
    SciPy).
    """
    try:
        with IMPORTS:
            from scipy.sparse import csr_array
    except ImportError as error:
        raise RopeError("sparse_rotation_matrix", "scipy", "is not installed", "pip install scipy") from error
    cos, sin = _at_one(plan, position)
    (r0, r1), (w0, w1) = plan.lanes.T, plan.out.T
    still = np.setdiff1d(np.arange(plan.head_dim), plan.lanes)
    data = np.concatenate([cos, -sin, sin, cos, np.ones(len(still))])
    rows, columns = np.concatenate([w0, w0, w1, w1, still]), np.concatenate([r0, r1, r0, r1, still])
    return csr_array((data, (rows, columns)), shape=(plan.head_dim, plan.head_dim))


@checked
def rotate_complex(plan: Plan, x: Floats, positions: Any) -> FloatArray:
    """Return x (.., s, head_dim) rotated as complex numbers: (x[r0] + i x[r1]) * A e^(i phi).  Rule
    R-8.3.
    """
    cos, sin = cos_sin(plan, positions)
    check_x(plan, x, cos.shape[:-1])
    y: FloatArray = x.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        z = (y[..., plan.lanes[:, 0]] + 1j * y[..., plan.lanes[:, 1]]) * (cos + 1j * sin)
    y[..., plan.out[:, 0]], y[..., plan.out[:, 1]] = z.real, z.imag
    return np.asarray(y)


@checked
def rotate_additive(plan: Plan, x: Floats, positions: Any) -> FloatArray:
    """Return x (.., s, head_dim) rotated as x * C + swap(x) * S, with sin negated on the first lane
    of each pair.  Rule R-8.3.
    """
    cos, signed_sin = pack_cache(plan, *cos_sin(plan, positions), "signed")
    check_x(plan, x, cos.shape[:-1])
    wide = x.astype(np.float64)
    swap = np.arange(plan.head_dim)
    swap[plan.lanes] = plan.lanes[:, ::-1]
    with np.errstate(invalid="ignore", over="ignore"):
        rotated: FloatArray = wide * cos + wide[..., swap] * signed_sin
    return rotated


@checked
def sinusoidal_encoding(positions: Any, dim: HeadDim, base: Positive = 10_000.0) -> FloatArray:
    """Return PE (s, dim): sin(p f_j) on even and cos(p f_j) on odd lanes, the encoding of the
    original Transformer.

    It is added to embeddings and is no RoPE: the baseline that RoPE is compared with.  Vaswani et
    al. 2017, section 3.5.
    """
    if dim % 2:
        raise RopeError("dim", dim, "must be even", f"Did you mean {dim - 1}?", "R-12.1")
    rows = RopeConfig(head_dim=dim, base=base, pairing="interleaved").plan()
    encoding: Any = pack_cache(rows, *cos_sin(rows, positions), "sinusoid")
    return np.asarray(encoding)


def _at_one(plan: RotaryPlan, position: Any) -> tuple[FloatArray, FloatArray]:
    if split_axes(plan, position)[0].ndim:
        raise RopeError(
            "position", position, "must be one position", "Stack the matrices of several yourself.", "R-7.3"
        )
    return cos_sin(plan, position)
