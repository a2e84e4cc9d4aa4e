"""The reference rotation: float64, right to 2^-52 in the table at every position (rope.md chapters
2, 9 and 10).

Written for clarity: it is what the adapters are judged against, and `backends.numpy` is the fast
way to run it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ropecore.arguments import Flag, Floats, checked
from ropecore.arrays import FLOATS, coordinates, host_array, integers, is_float
from ropecore.errors import RopeError
from ropecore.plan import FloatArray, Plan, RotaryPlan
from ropecore.precision import (
    LARGEST_LOG_MAGNITUDE,
    Role,
    limbs,
    phase_64,
    real_turns,
    remainder_of_phase,
    signed_log_magnitude,
)
from ropecore.tensor_format import check_apart


@checked
def cos_sin(plan: Plan, positions: Any, role: Role = "q") -> tuple[FloatArray, FloatArray]:
    """Return float64 cos and sin of the angles, times A and the magnitude, each of shape positions
    + (n_pairs,).

    A cos(phi_j), A sin(phi_j) with phi_j = sum over a of F[j, a] p[a]; within 2^-52 A.  positions:
    integers (..), or (n_axes, ..) for several axes, floats on real axes only.  role: "q" or "k",
    the sign of the magnitude. Rules R-2.1, R-2.4, R-10.2.
    """
    coordinates = split_axes(plan, positions)
    quarter, angle = remainder_of_phase(_phase(plan, coordinates))
    cos, sin = np.cos(angle), np.sin(angle)
    odd = (quarter & np.uint64(1)) == 1
    cos, sin = np.where(odd, sin, cos), np.where(odd, cos, sin)
    cos = np.where((quarter == 1) | (quarter == 2), -cos, cos)
    sin = np.where(quarter >= 2, -sin, sin)
    factor = plan.attention_factor * magnitude(plan, coordinates[0], role)
    return cos * factor, sin * factor


@checked
def rotate(
    plan: Plan,
    x: Floats,
    cos: Any,
    sin: Any,
    inverse: Flag = False,
    transpose: Flag = False,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Return x (.., head_dim) rotated by tables that broadcast against it (.., n_pairs), in the
    arithmetic of their dtype.

    y[w0] = x[r0] cos - x[r1] sin, y[w1] = x[r0] sin + x[r1] cos; transpose: -sin; inverse: -sin,
    and both divided by A^2 (and by the square of the magnitude).  Transpose and inverse read the
    lanes written.  Sums are rounded once more if x has a smaller dtype.  out: where to write, a
    copy of x or x itself.  Rules R-2.1, R-2.2, R-9.2, R-9.3, R-10.4.
    """
    cos, sin = _fitting(plan, x, cos, sin)
    if out is not None:
        _check_output(x, out)
    cos, sin = turned_tables(plan, cos, sin, inverse, transpose)
    reads, writes = (plan.write_index, plan.read_index) if inverse or transpose else (plan.read_index, plan.write_index)
    first, second = x[..., reads[0]], x[..., reads[1]]
    with np.errstate(invalid="ignore", over="ignore"):  # inf * 0 is NaN, and stays in its pair
        rotated = first * cos - second * sin, first * sin + second * cos  # both before either is written
        y = x.copy() if out is None else out
        if y is not x and out is not None:
            y[...] = x
        y[..., writes[0]], y[..., writes[1]] = rotated
    return y


def check_x(plan: RotaryPlan, x: npt.NDArray[Any], leading: tuple[int, ...]) -> None:
    """Refuse x of another head_dim, or against which tables of positions (leading) do not
    broadcast.  Rules R-12.4, R-12.5.
    """
    if x.shape[-1:] != (plan.head_dim,):
        reason = f"its last dimension is not the plan's head_dim {plan.head_dim}"
        raise RopeError("x", x.shape, reason, "Rotate each head: split the last dimension first.", "R-12.4")
    own = x.shape[:-1]
    if leading == own[len(own) - len(leading) :]:
        return
    extra = len(own) - len(leading)
    if extra < 0 or any(size not in (1, wanted) for size, wanted in zip(leading, own[extra:], strict=True)):
        cure = "Give one position a token, in the dimensions before the last; or insert dimensions of 1."
        raise RopeError(
            "positions", leading, f"their shape does not broadcast against that of x, {own}", cure, "R-12.5"
        )


def check_table(argument: str, table: Any, n_pairs: int) -> None:
    """Refuse what is no cos or sin with one entry a pair, and say what it may be instead.  Rules
    R-8.1, R-12.5.

    table: an array of any library.  Every adapter asks here, so that all say the same.
    """
    shape, dtype = tuple(table.shape), str(table.dtype).rpartition(".")[2]
    if dtype not in FLOATS:
        cure = "unpack_cache(plan, table, 'complex') makes cos and sin of it." if "complex" in dtype else "Convert it."
        raise RopeError(argument, dtype, f"its dtype must be one of {', '.join(FLOATS)}", cure, "R-12.5")
    if not shape or shape[-1] != n_pairs:
        cure = "Make it with cos_sin for this tensor's positions."
        if shape and n_pairs and shape[-1] == 2 * n_pairs:
            cure = "It has a number a lane: take the first half if halves repeat (unpack_cache(.., 'full_concat')), or every second column if columns do ('full_repeat')."
        raise RopeError(argument, shape, f"must end in one entry a pair, {n_pairs}", cure, "R-12.5")


def _fitting(plan: RotaryPlan, x: npt.NDArray[Any], cos: Any, sin: Any) -> tuple[Any, Any]:
    """Return the tables of a rotation as arrays, or refuse them.  Rule R-12.5."""
    cos, sin = host_array("cos", cos), host_array("sin", sin)
    shape, n_pairs = cos.shape, len(plan.lanes)
    if not (shape == sin.shape and shape[-1:] == (n_pairs,) and is_float(cos.dtype) and is_float(sin.dtype)):
        check_table("cos", cos, n_pairs)
        check_table("sin", sin, n_pairs)
        cure = "Make both with one call of cos_sin."
        raise RopeError("sin", sin.shape, f"its shape is not that of cos, {cos.shape}", cure, "R-12.5")
    check_x(plan, x, shape[:-1])
    return cos, sin


def _check_output(x: npt.NDArray[Any], out: Any) -> None:
    """Refuse an output that is no array as x is, or in which writing one element changes another.
    Rule R-2.8.
    """
    if type(out) is not np.ndarray or out.shape != x.shape or out.dtype != x.dtype or not out.flags.writeable:
        raise RopeError("out", out, f"must be an array that can be written, {x.dtype} {x.shape}, as x is", rule="R-2.8")
    check_apart("out", out.shape, [stride // out.itemsize for stride in out.strides])


def turned_tables(plan: RotaryPlan, cos: Any, sin: Any, inverse: bool, transpose: bool) -> tuple[Any, Any]:
    """Return the tables of the rotation that was asked for: forward, transpose (R-9.2) or inverse
    (R-9.3).
    """
    if inverse and transpose:
        raise RopeError("inverse", True, "inverse and transpose are two different rotations", "Ask for one.", "R-9.3")
    if inverse and plan.log_magnitude is not None:
        square = cos * cos + sin * sin  # (A times the magnitude)^2, which differs by position
        return cos / square, -sin / square
    if inverse and plan.attention_factor != 1:
        square = plan.attention_factor**2
        return cos / square, -sin / square
    return (cos, -sin) if inverse or transpose else (cos, sin)


@checked
def angles(plan: Plan, positions: Any) -> FloatArray:
    """Return phi_j modulo 2 pi, float64 in [-pi, pi], of shape positions
    + (n_pairs,).  Rule R-8.2.
    """
    phase = _phase(plan, split_axes(plan, positions))
    reduced: FloatArray = phase.view(np.int64).astype(np.float64) * (2.0**-63 * np.pi)
    return reduced


def magnitude(plan: RotaryPlan, position: npt.NDArray[Any], role: str) -> Any:
    """Return exp(+-log_magnitude * (position - centre)), position + (n_pairs,), or 1.0 for a plan
    without.  Rule R-2.4.
    """
    if plan.log_magnitude is None:
        return 1.0
    sign = signed_log_magnitude(role)
    log = plan.log_magnitude * (np.asarray(position, np.float64)[..., None] - plan.centre)
    if log.size and np.abs(log).max() > LARGEST_LOG_MAGNITUDE:
        far = float(np.asarray(position).flat[int(np.abs(log).max(axis=-1).argmax())])
        reason = "the magnitude leaves [2^-100, 2^100]"
        raise RopeError(
            "positions", far, reason, "Choose a centre nearer to the positions, or a larger scale_base.", "R-2.4"
        )
    return np.exp(sign * log)


def split_axes(plan: RotaryPlan, positions: npt.ArrayLike) -> list[npt.NDArray[Any]]:
    """Return the coordinates of each axis: int64 on integer axes, float64 on real ones.  Rules
    R-6.9, R-7.1, R-7.3.
    """
    given: Any = [positions]
    if plan.n_axes > 1:
        # a list of arrays, one an axis, keeps integers beside reals
        given = positions if isinstance(positions, Sequence) else np.atleast_1d(host_array("positions", positions))
    columns = [host_array("positions", column) for column in given]
    if len(columns) != plan.n_axes or len({column.shape for column in columns}) != 1:
        cure = "For text use ropecore.text_positions; for ids with the axes last, ropecore.axes_first."
        shape = [column.shape for column in columns]
        raise RopeError("positions", shape, f"must have {plan.n_axes} axes of one shape first", cure, "R-7.3")
    return [
        coordinates("positions", column) if real else integers("positions", column)
        for column, real in zip(columns, plan.real_axes, strict=True)
    ]


def _phase(plan: RotaryPlan, coordinates: list[npt.NDArray[Any]]) -> Any:
    """Return the angle in 2^-64 turns, uint64 of shape positions + (n_pairs,): axes add modulo one
    turn.
    """
    g = limbs(plan, 96)
    phase = np.zeros((*coordinates[0].shape, plan.n_pairs), np.uint64)
    for a, (column, real) in enumerate(zip(coordinates, plan.real_axes, strict=True)):
        p = column[..., None]
        if real:
            part = p * real_turns(plan)[:, a]
            half_units = np.rint((part - np.rint(part)) * 2.0**63).astype(np.int64)  # 2^-63 turns: [-1/2, 1/2] fits
            phase += half_units.view(np.uint64) << np.uint64(1)
        else:
            phase += phase_64(p, (g[0][:, a], g[1][:, a], g[2][:, a]))
    return phase
