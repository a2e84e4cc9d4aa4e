"""How a model in torch uses the adapter: with SDPA, with FlexAttention,
and with a cache of keys.
"""

import itertools

import pytest
import torch
from torch.nn import functional

import ropecore.backends.torch as rope
from ropecore import Llama3, RopeConfig, packed_positions

SCALING = Llama3(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=8192)
PLAN = RopeConfig(head_dim=16, base=500_000.0, pairing="half_split", scaling=SCALING).plan()


class Attention(torch.nn.Module):
    """Grouped-query attention with a cache: queries and keys are rotated once, as they come in."""

    def __init__(self, width: int = 64, heads: int = 4, key_heads: int = 2) -> None:
        super().__init__()
        self.heads, self.key_heads = heads, key_heads
        self.project = torch.nn.Linear(width, (heads + 2 * key_heads) * PLAN.head_dim, bias=False)
        self.rotary = rope.RotaryEmbedding(PLAN)

    def forward(self, x: torch.Tensor, cache: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        q, k, v = self.split(x)
        start = cache["k"].shape[2] if cache else 0
        q, k = self.rotary(q, k, offset=start)
        if cache is not None:
            k, v = (torch.cat([cache[name], new], 2) if start else new for name, new in (("k", k), ("v", v)))
            cache.update(k=k, v=v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(start)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return y.transpose(1, 2).flatten(2)

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        heads = self.project(x).unflatten(-1, (-1, PLAN.head_dim)).transpose(1, 2)
        return heads.split([self.heads, self.key_heads, self.key_heads], dim=1)


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention().double()  # so that what is equal is equal to 1e-7, the default of assert_close


def test_decoding_with_a_cache_gives_what_one_pass_gives(attention: Attention) -> None:
    """A prompt of 5 tokens, and then one token at a time."""
    x, cache = torch.randn(2, 9, 64, dtype=torch.float64), {}
    with torch.inference_mode():
        whole = attention(x)
        steps = [attention(x[:, :5], cache), *(attention(x[:, i : i + 1], cache) for i in range(5, 9))]

    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_training_compiled(attention: Attention) -> None:
    x = torch.randn(2, 9, 64, dtype=torch.float64)
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    attention(x).square().sum().backward()
    wanted, attention.project.weight.grad = attention.project.weight.grad, None
    compiled(x).square().sum().backward()

    torch.testing.assert_close(attention.project.weight.grad, wanted)


def test_a_cache_that_drops_its_oldest_keys_is_shifted(attention: Attention) -> None:
    """The keys that stay move down by the number that went, so that positions stay small: scores do
    not change.
    """
    q, k, _ = attention.split(torch.randn(1, 12, 64, dtype=torch.float64))
    query, keys = rope.apply(PLAN, q[:, :, 11:], offset=11), rope.apply(PLAN, k, role="k")
    scores = query @ keys[:, :, 4:].repeat_interleave(2, 1).mT
    moved = rope.shift(PLAN, query, -4, role="q") @ rope.shift(PLAN, keys[:, :, 4:], -4).repeat_interleave(2, 1).mT

    torch.testing.assert_close(moved, scores)
    torch.testing.assert_close(
        rope.shift(PLAN, keys[:, :, 4:], -4), rope.apply(PLAN, k[:, :, 4:]), rtol=1e-5, atol=1e-5
    )


def test_one_table_for_all_layers_at_positions_of_their_own(attention: Attention) -> None:
    """Left padding, documents or chunks: positions are made once, tables are made once, and each
    layer rotates.
    """
    q, k, _ = attention.split(torch.randn(2, 6, 64, dtype=torch.float64))
    ids = torch.tensor([[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5]])
    cos, sin = rope.cos_sin(PLAN, ids, dtype=q.dtype)
    for _layer in range(3):
        rotated = rope.rotate(PLAN, q, cos, sin), rope.rotate(PLAN, k, cos, sin)
        for got, wanted in zip(rotated, rope.apply(PLAN, q, k, positions=ids), strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_flex_attention_over_packed_documents(attention: Attention) -> None:
    """Each document starts at position 0 and sees itself alone: the same as one call a document."""
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    bounds, x = [0, 3, 8, 12], torch.randn(1, 12, 64, dtype=torch.float64)
    with torch.no_grad():  # on a CPU FlexAttention has no gradient
        q, k, v = attention.split(x)
    q, k = rope.apply(PLAN, q, k, positions=packed_positions(bounds))
    document = torch.repeat_interleave(torch.arange(3), torch.tensor(bounds).diff())

    def same_document(_b: torch.Tensor, _h: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return (document[i] == document[j]) & (i >= j)

    mask = flex.create_block_mask(same_document, None, None, 12, 12, device="cpu")
    packed = flex.flex_attention(q, k, v, block_mask=mask, enable_gqa=True).transpose(1, 2).flatten(2)
    alone = [attention(x[:, start:end]) for start, end in itertools.pairwise(bounds)]

    torch.testing.assert_close(packed, torch.cat(alone, 1))
