"""Weights: the permutation of query and key rows that takes a model from one pairing to another
(rope.md chapter 3).

A rotation acts on the lanes that the projections q and k write.  Two plans with the same rows on
other lanes give the same scores if the lanes of both projections are permuted alike; with them go
everything that has one entry a lane: biases, norm weights, quantisation scales, LoRA's B.  Values
and the output projection stay as they are.
"""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from ropecore.arguments import HeadCount, ListOf, OneOf, Whole, check_fields, checked
from ropecore.arguments import name as any_name
from ropecore.arrays import array_api, array_namespace, own_array
from ropecore.errors import RopeError, choice, has
from ropecore.lanes import IntArray
from ropecore.plan import Plan, RotaryPlan

KINDS = ("rows", "bias", "norm", "scale", "lora_b")

ROLES = ("q", "k", "q_norm", "k_norm", "qkv")
FUSED = ("concat", "grouped")
PATTERNS = (
    ("q", "*.q_proj.*"), ("q", "*.wq.*"), ("k", "*.k_proj.*"), ("k", "*.wk.*"),
    ("q_norm", "*.q_norm.*"), ("q_norm", "*.q_layernorm.*"), ("q_norm", "*.query_layernorm.*"),
    ("k_norm", "*.k_norm.*"), ("k_norm", "*.k_layernorm.*"), ("k_norm", "*.key_layernorm.*"),
    ("qkv", "*.qkv_proj.*"), ("qkv", "*.query_key_value.*"), ("qkv", "*.[wW]qkv.*"), ("qkv", "*.qkv.*"),
    ("qkv", "*.W_pack.*"), ("qkv", "*.c_attn.*"),
)  # fmt: skip
TOWERS = ("vision", "visual", "audio", "image")  # parts of multimodal models, whose rotation is another one, or none
LATENT = (
    "*.kv_a_proj*",
    "*.kv_b_proj*",
    "*.kv_proj.*",
    "*.wkv_[ab].*",
)  # keys that share a projection with latent values


def _pattern(argument: str, value: Any) -> tuple[str, str]:
    """Return a pair of a role and a glob."""
    role, glob = ListOf(any_name, "a role and a glob", 2, 2, numbered=False)(argument, value)
    return choice(argument, role, ROLES), glob


Fused = Annotated[str, OneOf(FUSED)]
Patterns = Annotated[tuple[tuple[str, str], ...], ListOf(_pattern, "pairs (role, glob)", longest=1000, numbered=False)]

KIND_OF_SUFFIX = {
    "weight": "rows", "weight_packed": "rows", "bias": "bias", "weight_zero_point": "bias",
    "weight_scale": "scale", "weight_scale_inv": "scale", "scale": "scale", "scales": "scale", "biases": "scale", "SCB": "scale",
}  # fmt: skip
NO_ENTRY_A_LANE = ("weight_shape", "weight_g_idx")


@checked
def convert_pairing(
    weight: Any,
    plan_from: Plan,
    plan_to: Plan,
    *,
    n_heads: HeadCount | None = None,
    kind: Annotated[str, OneOf(KINDS)] = "rows",
    axis: Annotated[int, Whole(at_least=-64, at_most=63, rule="R-12.7")] = 0,
) -> Any:
    """Return a tensor of the query or key projection, as a model that rotates by plan_to needs it.

    new[h D + i] = old[h D + order[i]] along `axis`, for each head h by itself, with order =
    `lane_order(plan_from, plan_to)`: grouped heads need nothing more than their own number.
    Convert q and k alike, and every tensor that has an entry a lane:

    kind "rows"    a projection (n_heads D, in); "bias" (n_heads D); "lora_b" (n_heads D, rank), the
                   A factor stays as it is
         "norm"    a q or k norm's weight: (D) shared by the heads, or (n_heads D)
         "scale"   quantisation scales: one a row, or one a block of n_heads D / size rows.  Blocks
                   must hold whole heads, or lanes
                   that move together; one scale for the whole tensor stays as it is.  Here n_heads
                     must be given

    weight: an array of NumPy (ml_dtypes included), torch, JAX, CuPy or any array-API library; it is
    not changed. n_heads: heads of *this* tensor (a key projection has n_kv_heads); None: as many as
    fit.  It tells a packed tensor from a plain one. RopeError if the plans are not one rotation on
    two sets of lanes, or the size does not fit.  Rules R-3.7, R-3.8.
    """
    order = lane_order(plan_from, plan_to)
    weight = _array(weight, scalar=kind == "scale")
    shape = tuple(weight.shape)
    if not shape:
        return weight
    if not -len(shape) <= axis < len(shape):
        raise RopeError("axis", axis, f"must be a dimension of shape {shape}", rule="R-12.7")
    rotates = None if n_heads is None else [True] * n_heads
    return _take(weight, entry_order(order, int(shape[axis]), rotates, kind), axis % len(shape))


def _array(weight: Any, scalar: bool) -> Any:
    """Return an array of any library as it is; a list is none, as its dtype would be a guess."""
    if not (isinstance(weight, (int, float)) and scalar):
        cure = "Pass an array, for example numpy.asarray(weight)."
        if not has(weight, "dtype") or not has(weight, "shape"):
            raise RopeError("weight", type(weight).__name__, "is not an array", cure, "R-12.4")
        _, weight = own_array("weight", weight)
        if not tuple(weight.shape) and not scalar:
            raise RopeError("weight", weight, "must be an array with at least one dimension", rule="R-12.4")
        if str(weight.dtype) == "object" or getattr(weight.dtype, "names", None):
            raise RopeError("weight", str(weight.dtype), "must hold numbers", cure, "R-12.4")
    return np.asarray(weight) if isinstance(weight, (int, float)) else weight


@checked
def lane_order(plan_from: Plan, plan_to: Plan) -> IntArray:
    """Return order (head_dim,): lane i of a head under plan_to is lane order[i] of the head under
    plan_from.

    Rows are matched by the bits of their frequencies and magnitudes; a row that turns the other way
    is the same row with its lanes exchanged.  Rows of equal frequency, and lanes in no row, keep
    their order.  Lanes written are free, as scores do not show them.  RopeError if the rows do not
    match.  Rule R-3.7.
    """
    same = (
        ("head_dim", plan_from.head_dim, plan_to.head_dim),
        ("axis_kinds", plan_from.axis_kinds, plan_to.axis_kinds),
        ("attention_factor", plan_from.attention_factor, plan_to.attention_factor),
        ("centre", plan_from.centre, plan_to.centre),
    )
    for which, old, new in same:
        if old != new:
            _refuse(f"{which} is {new}, and plan_from's is {old}", plan_to)
    (keys_from, lanes_from), (keys_to, lanes_to) = _sorted_rows(plan_from), _sorted_rows(plan_to)
    if keys_from.shape != keys_to.shape:
        _refuse(f"{len(keys_to)} pairs rotate, and {len(keys_from)} of plan_from", plan_to)
    differs = (keys_from != keys_to).any(axis=1)
    if differs.any():
        cure = "Chunked and interleaved axes, or two bases, are two rotations." if plan_to.n_axes > 1 else ""
        _refuse(f"{int(differs.sum())} of {len(differs)} pairs turn with other frequencies", plan_to, cure)
    order = np.empty(plan_to.head_dim, np.int64)
    order[lanes_to.ravel()] = lanes_from.ravel()
    order[_outside(plan_to.head_dim, lanes_to)] = _outside(plan_from.head_dim, lanes_from)
    return order


def entry_order(order: IntArray, size: int, rotates: Sequence[bool] | None, kind: str) -> IntArray:
    """Return the order of the `size` entries of a tensor of this kind; see `convert_pairing`.

    order: of the lanes of a head.  rotates: for each head of the tensor, whether it is a query or
    key head (those of v in a fused projection are not); None: as many heads as fit, and all rotate.
    """
    head_dim = len(order)
    if kind == "scale":
        return _scale_order(order, size, rotates)
    if kind == "norm" and size == head_dim:  # one weight for all heads
        return order
    if rotates is None and size and size % head_dim == 0:
        rotates = [True] * (size // head_dim)
    if rotates is None or size != len(rotates) * head_dim:
        wanted = "a multiple of" if rotates is None else f"{len(rotates)} *"
        cure = "Is it packed, or along another axis?"
        if size and size % head_dim == 0:
            cure = f"That is {size // head_dim} heads: keys have n_kv_heads of them; does it hold more (v, a gate)?"
        raise RopeError("weight", size, f"its size must be {wanted} head_dim {head_dim}", cure, "R-12.7")
    return row_order(order, rotates)


def row_order(order: IntArray, rotates: Sequence[bool]) -> IntArray:
    """Return the order of the rows of a tensor of whole heads, (n_heads D,): `order` in heads that
    rotate, others as they are.
    """
    lanes = np.where(np.asarray(rotates, bool)[:, None], order, np.arange(len(order)))
    return np.asarray(lanes + len(order) * np.arange(len(rotates))[:, None], np.int64).ravel()


def block_order(rows: IntArray, n_blocks: int) -> IntArray:
    """Return the order of scales that each stand for a block of len(rows) / n_blocks rows.

    New block b is old block order[b] if all its rows come from that one; RopeError where a block
    would mix rows of several.
    """
    if n_blocks < 1 or len(rows) % n_blocks:
        reason = f"do not divide the {len(rows)} rows evenly"
        raise RopeError("scale", f"{n_blocks} scales", reason, "Is n_heads the number of this tensor?", "R-12.7")
    size = len(rows) // n_blocks
    blocks = (rows // size).reshape(n_blocks, size)
    if (blocks != blocks[:, :1]).any():
        reason = f"blocks of {size} rows cross lanes that move apart, so the scales would mix"
        cure = "Dequantise, convert, and quantise again; or rotate by plan_from."
        raise RopeError("scale", f"{n_blocks} scales", reason, cure, "R-12.7")
    return np.ascontiguousarray(blocks[:, 0])


def _scale_order(order: IntArray, size: int, rotates: Sequence[bool] | None) -> IntArray:
    if size == 1:
        return np.zeros(1, np.int64)
    if rotates is None:
        cure = "A scale stands for n_heads * head_dim / size rows."
        raise RopeError("n_heads", None, "must be given for scales", cure, "R-12.7")
    return block_order(row_order(order, rotates), size)


def _sorted_rows(plan: RotaryPlan) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Return keys (n, n_axes + 1) and lanes (n, 2) of the rows that do something, turned to a
    positive frequency and sorted by key.
    """
    rows = np.arange(plan.n_pairs)
    leading = plan.frequencies[rows, np.argmax(plan.frequencies != 0, axis=1)]  # first that is not 0, if any
    backwards = (leading < 0)[:, None]
    frequencies = np.where(backwards, -plan.frequencies, plan.frequencies) + 0.0  # + 0.0 turns -0.0 into 0.0
    lanes = np.where(backwards, plan.lanes[:, ::-1], plan.lanes)
    magnitude = np.zeros(plan.n_pairs) if plan.log_magnitude is None else plan.log_magnitude
    keys = np.column_stack([frequencies, magnitude])
    if plan.attention_factor == 1:  # rows that only move lanes: the canonical form keeps them, scores do not show them
        moving = keys.any(axis=1)
        keys, lanes = keys[moving], lanes[moving]
    order = np.lexsort(keys.T[::-1])
    return keys[order], lanes[order]


def _outside(head_dim: int, lanes: IntArray) -> IntArray:
    return np.setdiff1d(np.arange(head_dim), lanes)


def _refuse(difference: str, plan_to: RotaryPlan, cure: str = "") -> None:
    cure = cure or "Convert between pairings of one plan, for example plan_from.with_pairing('half_split')."
    reason = f"is not plan_from's rotation on other lanes: {difference}"
    raise RopeError("plan_to", plan_to, reason, cure, "R-3.7")


def _take(weight: Any, order: IntArray, axis: int) -> Any:
    """Return weight[order] along an axis, by the array's own library and on its own device."""
    try:
        xp = array_namespace(weight)
    except TypeError as error:
        cure = "Pass an array, for example numpy.asarray(weight)."
        raise RopeError("weight", type(weight).__name__, "is not an array", cure, "R-12.4") from error
    return xp.take(weight, xp.asarray(order, device=array_api().device(weight)), axis=axis)


@dataclass(frozen=True)
class Projections:
    """Which tensors of a checkpoint have an entry a query or key lane, by their names, and how
    their entries move.

    order: of the lanes of a head, from `lane_order`.  n_heads, n_kv_heads: by which packed and
    gated projections are told from plain ones. fused: how a fused q, k, v projection is laid out:
    "concat" (all q heads, all k heads, all v heads) or "grouped" (for each key head: its query
    heads, itself, its value head; GPT-NeoX, InternLM 2). patterns: pairs (role, glob of tensor
    names), with roles of ROLES; None: the usual names, outside vision and audio towers. layers: the
    order of the layers that have another one, by their number in a tensor's name.
    """

    order: IntArray
    n_heads: HeadCount
    n_kv_heads: HeadCount
    fused: Fused | None = None
    patterns: Patterns | None = None
    layers: Mapping[int, IntArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.n_heads % self.n_kv_heads:
            raise RopeError("n_kv_heads", self.n_kv_heads, f"does not divide n_heads={self.n_heads}", rule="R-12.7")

    def lane_order(self, name: str) -> IntArray:
        """Return the order of the lanes of a head in this tensor: its layer's."""
        if not self.layers:
            return self.order
        number = next((int(part) for part in name.split(".") if part.isdecimal()), None)
        return self.order if number is None else self.layers.get(number, self.order)

    def role(self, name: str) -> str | None:
        """Return which of ROLES a tensor of this name has, or None."""
        roles = {role for role, glob in self.patterns or PATTERNS if _matches(name, glob)}
        if not roles or (self.patterns is None and in_tower(name)):
            return None
        if len(roles) > 1:
            raise RopeError("patterns", name, f"is taken for each of {', '.join(sorted(roles))}", rule="R-12.6")
        return roles.pop()

    def leaves(self, name: str) -> bool:
        """Return whether a tensor is left as it is although it is named like a query or key
        projection: a vision or audio tower's.
        """
        return self.patterns is None and in_tower(name) and any(_matches(name, glob) for _, glob in PATTERNS)

    def tensor_order(self, name: str, shape: Sequence[int]) -> IntArray | None:
        """Return the order of a tensor's entries along its first axis (a norm: of all its
        elements), or None where it stays.

        RopeError for a tensor that must change and cannot be understood.
        """
        role, size = self.role(name), math.prod(shape)
        if role is None:
            self._check_not_latent(name)
            return None
        kind = _kind(role, name) if size != 1 else None  # one number cannot have an entry a lane
        if kind is None:
            return None
        entries = size if kind == "norm" else int(shape[0])
        try:
            order = entry_order(self.lane_order(name), entries, self._rotates(role, name), kind)
        except RopeError as error:
            raise RopeError(name, tuple(shape), error.reason, error.cure, error.rule) from error
        return None if np.array_equal(order, np.arange(len(order))) else order

    def _rotates(self, role: str, name: str) -> list[bool]:
        """Return for each head of a tensor whether it rotates."""
        q, kv = self.n_heads, self.n_kv_heads
        if role != "qkv":
            return [True] * (q if role.startswith("q") else kv)
        if self.fused is None:
            cure = "Give fused: 'concat' (q heads, k heads, v heads) or 'grouped' (by key head, as in GPT-NeoX)."
            raise RopeError("fused", None, f"must say how {name} holds q, k and v", cure, "R-12.7")
        return [True] * (q + kv) + [False] * kv if self.fused == "concat" else ([True] * (q // kv + 1) + [False]) * kv

    def _check_not_latent(self, name: str) -> None:
        if self.patterns is None and not in_tower(name) and any(_matches(name, glob) for glob in LATENT):
            cure = "Convert it by convert_pairing, with a plan of its lane_offset and head_dim; or name tensors by patterns."
            raise RopeError("checkpoint", name, "projects keys with others, and its name does not tell the rows", cure)


def in_tower(name: str) -> bool:
    """Return whether a tensor's name is that of a vision or audio tower."""
    return any(part.startswith(TOWERS) for part in name.split("."))


def _matches(name: str, glob: str) -> bool:
    return fnmatch.fnmatchcase(f".{name}", glob) or fnmatch.fnmatchcase(name, glob)


def _kind(role: str, name: str) -> str | None:
    """Return which of KINDS a tensor of a query or key module is, or None where it has no entry a
    lane.
    """
    parts = name.split(".")
    if role.endswith("norm"):
        return "norm"
    for part in parts:
        if part.lower().startswith("lora_a"):
            return None
        if part.lower().startswith("lora_b"):
            return "lora_b"
        if part.startswith("lora_magnitude"):
            return "bias"
    suffix = parts[-1]
    if suffix in NO_ENTRY_A_LANE:
        return None
    if suffix not in KIND_OF_SUFFIX:
        cure = "Packed and unknown tensors: dequantise first, or leave them out by patterns."
        raise RopeError("checkpoint", name, f"nobody knows how {suffix!r} holds its rows", cure, "R-12.6")
    return KIND_OF_SUFFIX[suffix]
