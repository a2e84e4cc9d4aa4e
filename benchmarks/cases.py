"""The cases: two calls each, that give the same numbers, and the ratio that is looked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ropecore import RopeConfig, RotaryPlan

from . import peers

HEADS, KV_HEADS, HEAD_DIM, BASE = 32, 8, 128, 500_000.0


@dataclass(frozen=True)
class Pair:
    """Two calls to compare.  ratio: of a's time to b's.  n_bytes: what a's memory alone must move, for a roofline."""

    a: str
    b: str
    call_a: Callable[[], object]
    call_b: Callable[[], object]
    check: Callable[[], None] = lambda: None
    n_bytes: int = 0
    calls: int = 1  # a sample is the mean of so many


@dataclass(frozen=True)
class Case:
    """A named comparison.  limit: the ratio wanted, at most or at least; None where it is only shown.

    make(tokens): returns the pair for a prefill of so many tokens, or raises `peers.Missing`.
    """

    name: str
    make: Callable[[int], Pair]
    limit: float | None = None
    at_least: bool = False

    def met(self, ratio: float) -> bool | None:
        """Return whether a ratio is what was wanted; None where nothing was."""
        if self.limit is None:
            return None
        return ratio >= self.limit if self.at_least else ratio <= self.limit


def plan_of(pairing: str, head_dim: int = HEAD_DIM, **how: Any) -> RotaryPlan:
    """Return the plan of a Llama 3-like model."""
    return RopeConfig(head_dim=head_dim, base=BASE, pairing=pairing, **how).plan()


def _torch() -> Any:
    return peers.library("torch")


def _adapter() -> Any:
    _torch()
    return peers.library("ropecore.backends.torch")


def _heads(shape: tuple[int, ...], dtype: str, heads: int) -> Any:
    """Return random numbers; a 0 in the shape stands for the heads."""
    torch = _torch()
    return torch.randn([heads if n == 0 else n for n in shape], generator=torch.Generator().manual_seed(heads)).to(
        getattr(torch, dtype)
    )


def _q_and_k(tokens: int, dtype: str, tensor_format: str = "bhsd", batch: int = 1) -> tuple[Any, Any]:
    shape = {"bhsd": (batch, 0, tokens, HEAD_DIM), "thd": (tokens, 0, HEAD_DIM)}[tensor_format]
    return _heads(shape, dtype, HEADS), _heads(shape, dtype, KV_HEADS)


def _close(got: Any, wanted: Any, within: float) -> None:
    """Refuse results that are further apart than so much of the largest number: the peers round more often."""
    for one, other in zip(got, wanted, strict=True):
        scale = float(np.abs(other).max())
        error = float(np.abs(one - other).max())
        if not error <= within * scale:
            raise AssertionError(f"the two sides differ by {error:g} of {scale:g}")


def _floats(*tensors: Any) -> list[Any]:
    return [tensor.detach().double().numpy() for tensor in tensors]


WITHIN = {
    "float32": 1e-4,
    "bfloat16": 3e-2,
    "float16": 4e-3,
    "float64": 1e-6,
}  # float32 angles of peers are off by more


def _hf_tables(tokens: int, dtype: str, pairing: str = "half_split") -> tuple[Any, Any]:
    """Return cos and sin as transformers' model makes them once a step: (1, s, d), in the dtype of the model."""
    torch = _torch()
    cos, sin = _adapter().cos_sin(plan_of(pairing), torch.arange(tokens))
    return tuple(torch.cat([table, table], -1)[None].to(getattr(torch, dtype)) for table in (cos, sin))


def in_place_against_mul(pairing: str, dtype: str, length: int | None = None) -> Callable[[int], Pair]:
    """ropecore in place against x.mul_(1), which reads and writes the same memory."""

    def make(tokens: int) -> Pair:
        rope, plan = _adapter(), plan_of(pairing)
        tokens = min(length, 64 * tokens) if length else tokens
        q, k = _q_and_k(tokens, dtype)
        return Pair(
            "ropecore apply_", "mul_(1)", lambda: rope.apply_(plan, q, k), lambda: (q.mul_(1), k.mul_(1)),
            n_bytes=2 * (q.nbytes + k.nbytes), calls=max(1, 4096 // tokens),
        )  # fmt: skip

    return make


def in_place_against_vllm(pairing: str, dtype: str) -> Callable[[int], Pair]:
    """ropecore in place against vLLM's operator, both with their tables at hand."""

    def make(tokens: int) -> Pair:
        operator, rope, torch, plan = peers.vllm_rotary(), _adapter(), _torch(), plan_of(pairing)
        positions = torch.arange(tokens)
        cache = torch.cat(rope.cos_sin(plan, positions), -1).to(getattr(torch, dtype))
        q, k = _q_and_k(tokens, dtype, "thd")

        def theirs(q: Any, k: Any) -> None:
            operator(positions, q.view(tokens, -1), k.view(tokens, -1), HEAD_DIM, cache, pairing == "half_split")

        def check() -> None:
            ours, other = (q.clone(), k.clone()), (q.clone(), k.clone())
            rope.apply_(plan, *ours, tensor_format="thd")
            theirs(*other)
            _close(_floats(*ours), _floats(*other), WITHIN[dtype])

        return Pair(
            "ropecore apply_", "vLLM rotary_embedding", lambda: rope.apply_(plan, q, k, tensor_format="thd"),
            lambda: theirs(q, k), check, n_bytes=2 * (q.nbytes + k.nbytes),
        )  # fmt: skip

    return make


def fresh_against_clone(pairing: str, dtype: str) -> Callable[[int], Pair]:
    """ropecore with new outputs against clone; outputs are freed between, so that both pay for new pages."""

    def make(tokens: int) -> Pair:
        rope, plan = _adapter(), plan_of(pairing)
        q, k = _q_and_k(tokens, dtype)
        return Pair(
            "ropecore apply", "clone", lambda: rope.apply(plan, q, k), lambda: (q.clone(), k.clone()),
            n_bytes=2 * (q.nbytes + k.nbytes),
        )  # fmt: skip

    return make


def transformers_against(what: str, dtype: str, compiled: bool = False) -> Callable[[int], Pair]:
    """transformers' apply_rotary_pos_emb, eager or compiled, against ropecore in place ("in_place") or new ("fresh")."""

    def make(tokens: int) -> Pair:
        theirs, rope, plan = peers.transformers_rotary(), _adapter(), plan_of("half_split")
        theirs = _torch().compile(theirs) if compiled else theirs
        q, k = _q_and_k(tokens, dtype)
        cos, sin = _hf_tables(tokens, dtype)
        ours = rope.apply_ if what == "in_place" else rope.apply

        def check() -> None:
            _close(_floats(*rope.apply(plan, q, k)), _floats(*theirs(q, k, cos, sin)), WITHIN[dtype])

        return Pair(
            f"transformers {'compiled' if compiled else 'eager'}", f"ropecore {what}", lambda: theirs(q, k, cos, sin),
            lambda: ours(plan, q, k), check,
        )  # fmt: skip

    return make


@contextmanager
def without_kernels() -> Iterator[None]:
    """The adapters as they are without the optional dependency."""
    fused = peers.library("ropecore.backends.fused")
    before, fused.available = fused.available, lambda form="float32": False
    try:
        yield
    finally:
        fused.available = before


def transformers_against_plain(tokens: int) -> Pair:
    """transformers eager against ropecore without its kernels, into memory that is there already: in place."""
    pair = transformers_against("in_place", "float32")(tokens)

    def ours() -> None:
        with without_kernels():
            pair.call_b()

    return Pair(pair.a, "ropecore without Numba", pair.call_a, ours)


def memory(dtype: str, length: int) -> Callable[[int], Pair]:
    """What memory allows: a copy into memory that is there against mul_(1), both of q and k."""

    def make(tokens: int) -> Pair:
        _torch()
        q, k = _q_and_k(min(length, 64 * tokens), dtype)
        to_q, to_k = q.clone(), k.clone()
        return Pair(
            "copy_", "mul_(1)", lambda: (to_q.copy_(q), to_k.copy_(k)), lambda: (q.mul_(1), k.mul_(1)),
            n_bytes=2 * (q.nbytes + k.nbytes),
        )  # fmt: skip

    return make


def numpy_naive(tokens: int) -> Pair:
    """rotate_half in NumPy against ropecore's NumPy adapter, into outputs."""
    rope, plan = peers.library("ropecore.backends.numpy"), plan_of("half_split")
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((1, heads, tokens, HEAD_DIM), np.float32) for heads in (HEADS, KV_HEADS))
    cos, sin = rope.cos_sin(plan, np.arange(tokens))
    wide = [np.concatenate([table, table], -1) for table in (cos, sin)]
    outputs = np.empty_like(q), np.empty_like(k)

    def ours() -> Any:
        return [rope.rotate(plan, x, cos, sin, out=out) for x, out in zip((q, k), outputs, strict=True)]

    def theirs() -> Any:
        return [peers.naive_numpy(x, *wide) for x in (q, k)]

    return Pair("NumPy rotate_half", "ropecore rotate(out=)", theirs, ours, lambda: _close(ours(), theirs(), 1e-6))


def decode(batch: int, dtype: str) -> Callable[[int], Pair]:
    """A decode step of a batch, one token each: ropecore, angles and all, against transformers with its tables at hand."""

    def make(tokens: int) -> Pair:
        theirs, rope, torch, plan = peers.transformers_rotary(), _adapter(), _torch(), plan_of("half_split")
        q, k = _q_and_k(1, dtype, batch=batch)
        positions = torch.arange(batch)[:, None] * 17 + tokens
        cos, sin = rope.cos_sin(plan, positions)
        wide = [torch.cat([table, table], -1).to(q.dtype) for table in (cos, sin)]

        def check() -> None:
            _close(_floats(*rope.apply(plan, q, k, positions=positions)), _floats(*theirs(q, k, *wide)), WITHIN[dtype])

        return Pair(
            "ropecore apply_", "transformers eager", lambda: rope.apply_(plan, q, k, positions=positions),
            lambda: theirs(q, k, *wide), check, calls=50,
        )  # fmt: skip

    return make


def training(dtype: str) -> Callable[[int], Pair]:
    """Forward and backward of half the tokens: transformers eager against ropecore."""

    def make(tokens: int) -> Pair:
        theirs, rope, torch, plan = peers.transformers_rotary(), _adapter(), _torch(), plan_of("half_split")
        tokens //= 2
        q, k = (x.requires_grad_() for x in _q_and_k(tokens, dtype))
        cos, sin = _hf_tables(tokens, dtype)
        gradients = [torch.ones_like(x) for x in (q, k)]

        def step(call: Callable[[], Any]) -> Any:
            return torch.autograd.grad(call(), (q, k), gradients)

        def ours() -> Any:
            return step(lambda: rope.apply(plan, q, k))

        def other() -> Any:
            return step(lambda: theirs(q, k, cos, sin))

        return Pair(
            "transformers eager", "ropecore apply", other, ours,
            lambda: _close(_floats(*ours()), _floats(*other()), WITHIN[dtype]),
        )  # fmt: skip

    return make


def jax_tables(tokens: int) -> Pair:
    """Tables of 32 times the tokens in jitted JAX: the exact class against the float32 class."""
    jax, rope, plan = peers.library("jax"), peers.library("ropecore.backends.jax"), plan_of("half_split")
    positions = jax.numpy.arange(32 * tokens)
    exact, plain = (
        jax.jit(lambda p, precision=precision: rope.cos_sin(plan, p, precision=precision))
        for precision in ("exact", "float32")
    )
    return Pair(
        "JAX exact", "JAX float32", lambda: jax.block_until_ready(exact(positions)),
        lambda: jax.block_until_ready(plain(positions)),
        lambda: _close([np.asarray(t) for t in exact(positions)], [np.asarray(t) for t in plain(positions)], 2e-2),
    )  # fmt: skip


def jax_rotation(tokens: int) -> Pair:
    """ropecore's JAX adapter, jitted, with a new output, against x + 1."""
    jax, rope, plan = peers.library("jax"), peers.library("ropecore.backends.jax"), plan_of("half_split")
    x = jax.random.normal(jax.random.key(0), (1, HEADS, tokens, HEAD_DIM))
    ours, plus = jax.jit(lambda x: rope.apply(plan, x)), jax.jit(lambda x: x + 1)
    return Pair(
        "JAX ropecore", "JAX x + 1", lambda: jax.block_until_ready(ours(x)), lambda: jax.block_until_ready(plus(x))
    )


def tables(what: str) -> Callable[[int], Pair]:
    """Tables of 256 times the tokens (1,048,576 in full): ropecore's exact class against cos and sin in `what`."""

    def make(tokens: int) -> Pair:
        rope, plan, torch = _adapter(), plan_of("half_split"), _torch()
        numpy_rope = peers.library("ropecore.backends.numpy")
        positions = np.arange(256 * tokens)
        if what == "numpy":
            frequencies = plan.frequencies[:, 0].astype(np.float32)
            angles = lambda: positions[:, None].astype(np.float32) * frequencies
            theirs = lambda: [f(angle) for angle in [angles()] for f in (np.cos, np.sin)]
        else:
            p, inv_freq = torch.from_numpy(positions), torch.from_numpy(plan.frequencies[:, 0].astype(np.float32))
            theirs = lambda: [f(angle) for angle in [p[:, None].float() * inv_freq] for f in (torch.cos, torch.sin)]
        _ = rope
        return Pair("ropecore exact", f"{what} float32", lambda: numpy_rope.cos_sin(plan, positions), theirs)

    return make


def partial_rotation(pairing: str) -> Callable[[int], Pair]:
    """A quarter of the lanes, new outputs, against clone."""

    def make(tokens: int) -> Pair:
        rope, plan = _adapter(), plan_of(pairing, rotary_dim=HEAD_DIM // 4)
        q, k = _q_and_k(tokens, "float32")
        return Pair("ropecore apply", "clone", lambda: rope.apply(plan, q, k), lambda: (q.clone(), k.clone()))

    return make


def mrope(tokens: int) -> Pair:
    """Three axes (Qwen2-VL's sections) with positions of their own each call, in place, against mul_(1)."""
    rope, torch = _adapter(), _torch()
    plan = plan_of("half_split", sections=(16, 24, 24), axes=("t", "h", "w"))
    positions = torch.stack([torch.arange(tokens) // divisor for divisor in (1, 7, 3)])
    q, k = _q_and_k(tokens, "float32")
    return Pair(
        "ropecore apply_", "mul_(1)", lambda: rope.apply_(plan, q, k, positions=positions),
        lambda: (q.mul_(1), k.mul_(1)),
    )  # fmt: skip


def onnxruntime_against(pairing: str) -> Callable[[int], Pair]:
    """onnxruntime's operator, q alone, against ropecore's NumPy adapter with a new output."""

    def make(tokens: int) -> Pair:
        rope, plan = peers.library("ropecore.backends.numpy"), plan_of(pairing)
        threads = _torch().get_num_threads()
        theirs = peers.onnxruntime_rotary(HEADS, HEAD_DIM, pairing == "interleaved", threads)
        x = np.random.default_rng(0).standard_normal((1, HEADS, tokens, HEAD_DIM), np.float32)
        positions = np.arange(tokens)
        cos, sin = rope.cos_sin(plan, positions)
        other = lambda: theirs(x, positions[None], cos, sin)
        return Pair(
            "onnxruntime", "ropecore apply", other, lambda: rope.apply(plan, x),
            lambda: _close([rope.apply(plan, x)], [other()], 1e-5),
        )  # fmt: skip

    return make


def complex_against(tokens: int) -> Pair:
    """The complex multiplication of Meta's Llama against ropecore with new outputs."""
    rope, torch, plan = _adapter(), _torch(), plan_of("interleaved")
    q, k = _q_and_k(tokens, "float32")
    turns = torch.complex(*rope.cos_sin(plan, torch.arange(tokens)))
    theirs = lambda: (peers.complex_product(q, turns), peers.complex_product(k, turns))
    return Pair(
        "complex product", "ropecore apply", theirs, lambda: rope.apply(plan, q, k),
        lambda: _close(_floats(*rope.apply(plan, q, k)), _floats(*theirs()), 1e-6),
    )  # fmt: skip


def rotary_embedding_torch_against(tokens: int) -> Pair:
    """rotary-embedding-torch's module, q and k, against ropecore with new outputs."""
    module, rope = peers.rotary_embedding_torch(HEAD_DIM), _adapter()
    plan = RopeConfig(head_dim=HEAD_DIM, base=10_000.0, pairing="interleaved").plan()
    q, k = _q_and_k(tokens, "float32")
    theirs = lambda: (module.rotate_queries_or_keys(q), module.rotate_queries_or_keys(k))
    return Pair(
        "rotary-embedding-torch", "ropecore apply", theirs, lambda: rope.apply(plan, q, k),
        lambda: _close(_floats(*rope.apply(plan, q, k)), _floats(*(x.detach() for x in theirs())), 2e-3),
    )  # fmt: skip


def mlx_against(tokens: int) -> Pair:
    """MLX's fast.rope on its CPU against ropecore with new outputs."""
    mlx, rope, plan = peers.library("mlx.core"), _adapter(), plan_of("half_split")
    q, k = _q_and_k(tokens, "float32")
    theirs_q, theirs_k = (mlx.array(x.numpy()) for x in (q, k))

    def rotated(x: Any) -> Any:
        return mlx.fast.rope(x, HEAD_DIM, traditional=False, base=BASE, scale=1.0, offset=0)

    def theirs() -> Any:
        results = rotated(theirs_q), rotated(theirs_k)
        mlx.eval(*results)
        return results

    return Pair(
        "MLX fast.rope", "ropecore apply", theirs, lambda: rope.apply(plan, q, k),
        lambda: _close(_floats(*rope.apply(plan, q, k)), [np.asarray(x) for x in theirs()], 5e-3),
    )  # fmt: skip


def layer(fast: bool) -> Callable[[int], Pair]:
    """The rotation in a Llama-like layer (4,096 wide, an eighth of the tokens): its time over that of the whole layer."""

    def make(tokens: int) -> Pair:
        torch, rope, plan = _torch(), _adapter(), plan_of("half_split")
        theirs = None if fast else peers.transformers_rotary()
        tokens //= 8
        width, inner = HEADS * HEAD_DIM, 14_336
        sizes = [(width, width), (KV_HEADS * HEAD_DIM, width), (KV_HEADS * HEAD_DIM, width), (width, width)]
        sizes += [(inner, width), (inner, width), (width, inner)]
        wq, wk, wv, wo, gate, up, down = (torch.randn(size) * 0.02 for size in sizes)
        hidden, (cos, sin) = torch.randn(1, tokens, width), _hf_tables(tokens, "float32")
        functions = torch.nn.functional

        def heads(x: Any, weight: Any) -> Any:
            return functions.linear(x, weight).unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)

        def rotation(q: Any, k: Any) -> Any:
            return rope.apply_(plan, q, k) if theirs is None else theirs(q, k, cos, sin)

        def whole() -> Any:
            x = functions.rms_norm(hidden, (width,))
            q, k, v = (heads(x, weight) for weight in (wq, wk, wv))
            q, k = rotation(q, k)
            x = functions.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = hidden + functions.linear(x.transpose(1, 2).flatten(-2), wo)
            y = functions.rms_norm(x, (width,))
            return x + functions.linear(functions.silu(functions.linear(y, gate)) * functions.linear(y, up), down)

        q, k = (heads(hidden, weight) for weight in (wq, wk))
        name = "ropecore apply_" if fast else "transformers eager"
        return Pair(f"{name}, alone", "the whole layer", lambda: rotation(q, k), whole)

    return make


def matrix_form(tokens: int) -> Pair:
    """The rotation as a d x d matrix for each position against rotate_half, both in torch (a quarter of the tokens)."""
    torch, theirs, plan = _torch(), peers.transformers_rotary(), plan_of("half_split")
    tokens //= 4
    q, k = _q_and_k(tokens, "float32")
    cos, sin = _hf_tables(tokens, "float32")
    half = HEAD_DIM // 2
    matrices = torch.diag_embed(cos[0])
    rows = torch.arange(half)
    matrices[:, rows, rows + half], matrices[:, rows + half, rows] = -sin[0, :, :half], sin[0, :, :half]
    _ = plan
    product = lambda: [torch.einsum("sij,bhsj->bhsi", matrices, x) for x in (q, k)]
    return Pair(
        "d x d matrices", "transformers rotate_half", product, lambda: theirs(q, k, cos, sin),
        lambda: _close(_floats(*product()), _floats(*theirs(q, k, cos, sin)), 1e-5),
    )  # fmt: skip


def all_cases() -> list[Case]:
    """Return every case, those with a figure to reach first."""
    cases = []
    for pairing, limits in (("half_split", (1.05, 0.7)), ("interleaved", (0.55, 0.15))):
        for dtype, limit in zip(("float32", "bfloat16"), limits, strict=True):
            cases.append(Case(f"in_place/vllm/{pairing}/{dtype}", in_place_against_vllm(pairing, dtype), limit))
    for pairing in ("half_split", "interleaved"):
        for dtype, wanted in (("float32", 1.2), ("bfloat16", 1.1), ("float16", 1.5), ("float64", None)):
            cases.append(Case(f"in_place/mul/{pairing}/{dtype}", in_place_against_mul(pairing, dtype), wanted))
    for pairing in ("half_split", "interleaved"):
        for dtype in ("float32", "bfloat16"):
            cases.append(Case(f"fresh/clone/{pairing}/{dtype}", fresh_against_clone(pairing, dtype), 1.3))
    cases += [
        Case("in_place/transformers/float32", transformers_against("in_place", "float32"), 25, at_least=True),
        Case("in_place/transformers/bfloat16", transformers_against("in_place", "bfloat16"), 30, at_least=True),
        Case("fresh/transformers_compiled/float32", transformers_against("fresh", "float32", compiled=True)),
        Case("numpy/naive", numpy_naive, 10, at_least=True),
        *(Case(f"decode/{batch}/{dtype}", decode(batch, dtype), 0.2 if batch == 32 else None)
          for batch in (1, 32, 256) for dtype in ("float32", "bfloat16")),
        Case("tables/jax", jax_tables, 0.5),
        Case("jax/plus_one", jax_rotation, 1.3),
        Case("training/float32", training("float32"), 4, at_least=True),
        Case("training/bfloat16", training("bfloat16")),
        Case("without_numba/transformers", transformers_against_plain, 8, at_least=True),
        *(Case(f"length/{n}", in_place_against_mul("half_split", "float32", n), 1.3)
          for n in (256, 1024, 4096, 16384, 65536, 131072)),
        *(Case(f"length/{n}", in_place_against_mul("half_split", "float32", n)) for n in (1, 16)),
        *(Case(f"limits/{n}/{dtype}", memory(dtype, n)) for n in (4096, 131072) for dtype in ("float32", "bfloat16")),
        Case("tables/numpy", tables("numpy")),
        Case("tables/torch", tables("torch")),
        Case("partial/half_split", partial_rotation("half_split")),
        Case("partial/interleaved", partial_rotation("interleaved")),
        Case("mrope/in_place", mrope),
        Case("peers/onnxruntime/half_split", onnxruntime_against("half_split")),
        Case("peers/onnxruntime/interleaved", onnxruntime_against("interleaved")),
        Case("peers/complex", complex_against),
        Case("peers/rotary_embedding_torch", rotary_embedding_torch_against),
        Case("peers/mlx", mlx_against),
        Case("layer/ropecore", layer(fast=True)),
        Case("layer/transformers", layer(fast=False)),
        Case("layer/matrix_form", matrix_form),
    ]  # fmt: skip
    return cases
