"""A prefill: many tokens of one sequence, in place, into an output and with new outputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ropecore.precision import numpy_dtype

from . import peers
from .case import (
    HEAD_DIM,
    HEADS,
    KV_HEADS,
    WITHIN,
    Pair,
    close,
    floats,
    hf_tables,
    plan_of,
    q_and_k,
    torch_adapter,
    torch_library,
)


def in_place_against_mul(
    pairing: str, dtype: str, length: int | None = None, by_bytes: bool = False
) -> Callable[[int], Pair]:
    """ropecore in place against x.mul_(1), which reads and writes the same memory; by_bytes:
    whatever numbers they are.
    """

    def make(tokens: int) -> Pair:
        rope, plan = torch_adapter(), plan_of(pairing)
        tokens = min(length, 64 * tokens) if length else tokens
        q, k = q_and_k(tokens, dtype)
        other = _in_place(q, k) if by_bytes else lambda: (q.mul_(1), k.mul_(1))
        return Pair(
            "ropecore apply_", "mul_(1) of the bytes" if by_bytes else "mul_(1)", lambda: rope.apply_(plan, q, k), other,
            n_bytes=2 * (q.nbytes + k.nbytes), calls=max(1, 4096 // tokens),
        )  # fmt: skip

    return make


def in_place_against_vllm(pairing: str, dtype: str) -> Callable[[int], Pair]:
    """ropecore in place against vLLM's operator, both with their tables at hand."""

    def make(tokens: int) -> Pair:
        operator, rope, torch, plan = peers.vllm_rotary(), torch_adapter(), torch_library(), plan_of(pairing)
        positions = torch.arange(tokens)
        cache = torch.cat(rope.cos_sin(plan, positions), -1).to(getattr(torch, dtype))
        q, k = q_and_k(tokens, dtype, "thd")

        def theirs(q: Any, k: Any) -> None:
            operator(positions, q.view(tokens, -1), k.view(tokens, -1), HEAD_DIM, cache, pairing == "half_split")

        def check() -> None:
            ours, other = (q.clone(), k.clone()), (q.clone(), k.clone())
            rope.apply_(plan, *ours, tensor_format="thd")
            theirs(*other)
            close(floats(*ours), floats(*other), WITHIN[dtype])

        return Pair(
            "ropecore apply_", "vLLM rotary_embedding", lambda: rope.apply_(plan, q, k, tensor_format="thd"),
            lambda: theirs(q, k), check, n_bytes=2 * (q.nbytes + k.nbytes),
        )  # fmt: skip

    return make


def fresh_against_clone(pairing: str, dtype: str) -> Callable[[int], Pair]:
    """ropecore with new outputs against clone; outputs are freed between, so that both pay for new
    pages.
    """

    def make(tokens: int) -> Pair:
        rope, plan = torch_adapter(), plan_of(pairing)
        q, k = q_and_k(tokens, dtype)
        return Pair(
            "ropecore apply", "clone", lambda: rope.apply(plan, q, k), lambda: (q.clone(), k.clone()),
            n_bytes=2 * (q.nbytes + k.nbytes),
        )  # fmt: skip

    return make


def transformers_against(what: str, dtype: str, compiled: bool = False) -> Callable[[int], Pair]:
    """transformers' apply_rotary_pos_emb, eager or compiled, against ropecore in place ("in_place")
    or new ("fresh").
    """

    def make(tokens: int) -> Pair:
        theirs, rope, plan = peers.transformers_rotary(), torch_adapter(), plan_of("half_split")
        theirs = torch_library().compile(theirs) if compiled else theirs
        q, k = q_and_k(tokens, dtype)
        cos, sin = hf_tables(tokens, dtype)
        ours = rope.apply_ if what == "in_place" else rope.apply

        def check() -> None:
            close(floats(*rope.apply(plan, q, k)), floats(*theirs(q, k, cos, sin)), WITHIN[dtype])

        return Pair(
            f"transformers {'compiled' if compiled else 'eager'}", f"ropecore {what}", lambda: theirs(q, k, cos, sin),
            lambda: ours(plan, q, k), check,
        )  # fmt: skip

    return make


@contextmanager
def without_kernels() -> Iterator[None]:
    """The adapters as they are without the optional dependency."""
    modules = [peers.library(f"ropecore.backends.{name}") for name in ("_kernels", "numpy.fused")]
    before = modules[0].available
    for module in modules:
        module.available = lambda form="float32": False
    try:
        yield
    finally:
        for module in modules:
            module.available = before


def transformers_against_plain(what: str) -> Callable[[int], Pair]:
    """transformers eager against ropecore without its kernels, in place or into an output; both
    have their tables at hand.
    """

    def make(tokens: int) -> Pair:
        theirs, rope, torch, plan = peers.transformers_rotary(), torch_adapter(), torch_library(), plan_of("half_split")
        (q, k), wide = q_and_k(tokens, "float32"), hf_tables(tokens, "float32")
        cos, sin = rope.cos_sin(plan, torch.arange(tokens))
        outputs = (q, k) if what == "in_place" else (torch.empty_like(q), torch.empty_like(k))

        def ours() -> Any:
            with without_kernels():
                return [rope.rotate(plan, x, cos, sin, out=out) for x, out in zip((q, k), outputs, strict=True)]

        def check() -> None:
            before = floats(*theirs(q, k, *wide))
            close(floats(*ours()), before, WITHIN["float32"])

        return Pair(
            "transformers eager", f"ropecore without Numba, {what}", lambda: theirs(q, k, *wide), ours, check
        )  # fmt: skip

    return make


def _in_place(q: Any, k: Any) -> Callable[[], Any]:
    """mul_(1) of the bytes of q and k; 16-bit numbers as float32, since torch's own arithmetic on
    them costs more than memory.
    """
    wide = [x.view(torch_library().float32) if x.itemsize == 2 else x for x in (q, k)]
    return lambda: [x.mul_(1) for x in wide]


def transformers_against_mul(dtype: str) -> Callable[[int], Pair]:
    """transformers eager against mul_(1): what memory would allow to one that follows transformers,
    which empties the caches.
    """

    def make(tokens: int) -> Pair:
        theirs, (q, k), tables = peers.transformers_rotary(), q_and_k(tokens, dtype), hf_tables(tokens, dtype)
        return Pair("transformers eager", "mul_(1) of the bytes", lambda: theirs(q, k, *tables), _in_place(q, k))

    return make


def memory(dtype: str, length: int) -> Callable[[int], Pair]:
    """What memory allows: a copy into memory that is there against mul_(1), both of q and k."""

    def make(tokens: int) -> Pair:
        torch_library()
        q, k = q_and_k(min(length, 64 * tokens), dtype)
        to_q, to_k = q.clone(), k.clone()
        return Pair(
            "copy_", "mul_(1) of the bytes", lambda: (to_q.copy_(q), to_k.copy_(k)), _in_place(q, k),
            n_bytes=2 * (q.nbytes + k.nbytes),
        )  # fmt: skip

    return make


def numpy_outputs(pairing: str, dtype: str, tokens: int) -> tuple[Any, Any]:
    """Return q and k of NumPy, and a call that rotates them into outputs that are there already."""
    rope, plan = peers.library("ropecore.backends.numpy"), plan_of(pairing)
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((1, heads, tokens, HEAD_DIM), np.float32) for heads in (HEADS, KV_HEADS))
    q, k = (x.astype(numpy_dtype(dtype)) for x in (q, k))
    cos, sin = rope.cos_sin(plan, np.arange(tokens), dtype="float64" if dtype == "float64" else "float32")
    outputs = np.empty_like(q), np.empty_like(k)

    def ours() -> Any:
        return [rope.rotate(plan, x, cos, sin, out=out) for x, out in zip((q, k), outputs, strict=True)]

    return (q, k), ours


def numpy_naive(tokens: int) -> Pair:
    """rotate_half in NumPy, with its tables at hand, against ropecore's NumPy adapter, into
    outputs.
    """
    (q, k), ours = numpy_outputs("half_split", "float32", tokens)
    cos, sin = peers.library("ropecore.backends.numpy").cos_sin(plan_of("half_split"), np.arange(tokens))
    wide = [np.concatenate([table, table], -1) for table in (cos, sin)]

    def theirs() -> Any:
        return [peers.naive_numpy(x, *wide) for x in (q, k)]

    return Pair("NumPy rotate_half", "ropecore rotate(out=)", theirs, ours, lambda: close(ours(), theirs(), 1e-6))


def output_against_copy(pairing: str, dtype: str) -> Callable[[int], Pair]:
    """ropecore into an output against a copy into it, by torch and its threads."""

    def make(tokens: int) -> Pair:
        (q, k), ours = numpy_outputs(pairing, dtype, tokens)
        torch = torch_library()
        bits = {2: np.int16, 4: np.int32, 8: np.int64}[q.itemsize]  # torch knows no bfloat16 of NumPy
        sources = [torch.from_numpy(x.view(bits)) for x in (q, k)]
        targets = [source.clone() for source in sources]
        copy = lambda: [target.copy_(source) for target, source in zip(targets, sources, strict=True)]
        return Pair("ropecore rotate(out=)", "copy_", ours, copy, n_bytes=2 * (q.nbytes + k.nbytes))

    return make


def partial_rotation(pairing: str) -> Callable[[int], Pair]:
    """A quarter of the lanes, new outputs, against clone."""

    def make(tokens: int) -> Pair:
        rope, plan = torch_adapter(), plan_of(pairing, rotary_dim=HEAD_DIM // 4)
        q, k = q_and_k(tokens, "float32")
        return Pair("ropecore apply", "clone", lambda: rope.apply(plan, q, k), lambda: (q.clone(), k.clone()))

    return make


def mrope(tokens: int) -> Pair:
    """Three axes (Qwen2-VL's sections) with positions of their own each call, in place, against
    mul_(1).
    """
    rope, torch = torch_adapter(), torch_library()
    plan = plan_of("half_split", sections=(16, 24, 24), axes=("t", "h", "w"))
    positions = torch.stack([torch.arange(tokens) // divisor for divisor in (1, 7, 3)])
    q, k = q_and_k(tokens, "float32")
    return Pair(
        "ropecore apply_", "mul_(1)", lambda: rope.apply_(plan, q, k, positions=positions),
        lambda: (q.mul_(1), k.mul_(1)),
    )  # fmt: skip
