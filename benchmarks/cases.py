"""The list of all cases: their names, and the ratios that are looked for."""

from collections.abc import Iterator

from . import libraries, model, prefill, steps, tables
from .case import Case

PAIRINGS, DTYPES = ("half_split", "interleaved"), ("float32", "bfloat16", "float16", "float64")
VLLM = {
    ("half_split", "float32"): 1.05, ("half_split", "bfloat16"): 0.7,
    ("interleaved", "float32"): 0.55, ("interleaved", "bfloat16"): 0.15,
}  # fmt: skip
MUL = {"float32": 1.2, "bfloat16": 1.1, "float16": 1.5}
LENGTHS = (256, 1024, 4096, 16384, 65536, 131072)


def all_cases() -> list[Case]:
    """Return every case, those with a figure to reach first."""
    return [*_wanted(), *_shown()]


def _wanted() -> Iterator[Case]:
    for (pairing, dtype), limit in VLLM.items():
        yield Case(f"in_place/vllm/{pairing}/{dtype}", prefill.in_place_against_vllm(pairing, dtype), limit)
    for pairing in PAIRINGS:
        for dtype, limit in MUL.items():
            yield Case(f"in_place/mul/{pairing}/{dtype}", prefill.in_place_against_mul(pairing, dtype), limit)
    for pairing in PAIRINGS:
        for dtype in DTYPES:
            yield Case(f"fresh/clone/{pairing}/{dtype}", prefill.fresh_against_clone(pairing, dtype), 1.3)
    for dtype, limit in (("float32", 25), ("bfloat16", 30)):
        yield Case(
            f"in_place/transformers/{dtype}", prefill.transformers_against("in_place", dtype), limit, at_least=True
        )
    yield Case("numpy/naive", prefill.numpy_naive, 10, at_least=True)
    for dtype in ("float32", "bfloat16"):
        yield Case(f"decode/32/{dtype}", steps.decode(32, dtype), 0.2)
    yield Case("tables/jax", tables.jax_tables, 0.5)
    for what, limit in (("fused", 1), ("inductor", 1), ("torch", 3), ("numpy", 6)):
        yield Case(f"tables/classes/{what}", tables.classes(what), limit)
    yield Case("jax/plus_one", libraries.jax_rotation(donated=False), 1.3)
    yield Case("training/float32", steps.training("float32"), 4, at_least=True)
    for what in ("output", "in_place"):
        yield Case(f"without_numba/{what}", prefill.transformers_against_plain(what), 8, at_least=True)
    for length in LENGTHS:
        yield Case(f"length/{length}", prefill.in_place_against_mul("half_split", "float32", length), 1.3)


def _shown() -> Iterator[Case]:
    for pairing in PAIRINGS:
        yield Case(f"in_place/mul/{pairing}/float64", prefill.in_place_against_mul(pairing, "float64"))
        for dtype in ("bfloat16", "float16"):
            yield Case(f"in_place/bytes/{pairing}/{dtype}", prefill.in_place_against_mul(pairing, dtype, by_bytes=True))
        for dtype in DTYPES:
            yield Case(f"output/copy/{pairing}/{dtype}", prefill.output_against_copy(pairing, dtype))
    for length in (1, 16):
        yield Case(f"length/{length}", prefill.in_place_against_mul("half_split", "float32", length))
    for length in (4096, 131072):
        for dtype in ("float32", "bfloat16"):
            yield Case(f"limits/{length}/{dtype}", prefill.memory(dtype, length))
    for dtype in ("float32", "bfloat16"):
        yield Case(f"limits/transformers/{dtype}", prefill.transformers_against_mul(dtype))
    for dtype in ("float32", "bfloat16"):
        yield Case(f"fresh/transformers_compiled/{dtype}", prefill.transformers_against("fresh", dtype, compiled=True))
        for batch in (1, 256):
            yield Case(f"decode/{batch}/{dtype}", steps.decode(batch, dtype))
    yield Case("training/bfloat16", steps.training("bfloat16"))
    for pairing in PAIRINGS:
        yield Case(f"partial/{pairing}", prefill.partial_rotation(pairing))
        yield Case(f"peers/onnxruntime/{pairing}", libraries.onnxruntime_against(pairing))
    yield Case("mrope/in_place", prefill.mrope)
    yield Case("jax/plus_one_donated", libraries.jax_rotation(donated=True))
    for what in ("numpy", "torch"):
        yield Case(f"tables/{what}", tables.tables(what))
    yield Case("tables/kernels", tables.kernels)
    yield Case("peers/complex", libraries.complex_against)
    yield Case("peers/rotary_embedding_torch", libraries.rotary_embedding_torch_against)
    yield Case("peers/mlx", libraries.mlx_against)
    for name in ("ropecore", "transformers"):
        yield Case(f"model/layer/{name}", model.layer(fast=name == "ropecore"))
        yield Case(f"model/28_layers/{name}", model.layers(fast=name == "ropecore"))
    yield Case("model/matrix_form", model.matrix_form)
