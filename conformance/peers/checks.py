"""Reported errors that no vector shows: each is a few calls of the library.  `python -m
ropecore.conformance.peers.checks NAME`.

Each returns whether the report is confirmed, and what was seen.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def hunyuan_vl() -> tuple[bool, str]:
    """Rotate at positions that differ by axis, and compare the lengths of pairs."""
    import torch
    from transformers.models.hunyuan_vl import modeling_hunyuan_vl as model
    from transformers.models.hunyuan_vl.configuration_hunyuan_vl import HunYuanVLTextConfig

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 4, 4, 4], "xdrope_section": [4, 4, 4, 4]}
    config = HunYuanVLTextConfig(hidden_size=32, num_attention_heads=1, head_dim=32, rope_parameters=rope)
    rotary = model.HunYuanVLRotaryEmbedding(config)
    x = torch.arange(1.0, 33.0).reshape(1, 1, 1, 32)
    cos, sin = rotary(x, torch.tensor([3, 5, 7, 11])[:, None, None])
    y = model.apply_rotary_pos_emb(x, x, cos, sin)[0]
    return _lengths(x, y)


def vjepa2() -> tuple[bool, str]:
    """The same for V-JEPA 2, whose pairs are neighbours."""
    import torch
    from transformers.models.vjepa2.modeling_vjepa2 import rotate_queries_or_keys

    x = torch.arange(1.0, 9.0).reshape(1, 1, 1, 8)
    y = rotate_queries_or_keys(x, torch.tensor([[[3]]]))
    pairs = [a.reshape(-1, 2).norm(dim=-1) for a in (x, y)]
    ratio = pairs[1] / pairs[0]
    return bool((ratio - 1).abs().max() > 1e-3), f"lengths of pairs change by {ratio.min():.3f} to {ratio.max():.3f}"


def _lengths(x: Any, y: Any) -> tuple[bool, str]:
    """Return whether a rotation of halves changes the length of a pair."""
    before, after = (a.reshape(2, -1).norm(dim=0) for a in (x, y))
    ratio = after / before
    return bool((ratio - 1).abs().max() > 1e-3), f"lengths of pairs change by {ratio.min():.3f} to {ratio.max():.3f}"


def yarn_truncate_of_a_layer_type() -> tuple[bool, str]:
    """Give truncate=False in the parameters of a layer type, and compare with truncate=True."""
    import torch
    from transformers.models.gemma3.configuration_gemma3 import Gemma3TextConfig
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

    def frequencies(truncate: bool) -> Any:
        yarn = {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "truncate": truncate}
        yarn["original_max_position_embeddings"] = 4096
        rope = {"full_attention": yarn, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
        config = Gemma3TextConfig(
            hidden_size=64, num_attention_heads=1, head_dim=64, max_position_embeddings=131072, rope_parameters=rope
        )
        return Gemma3RotaryEmbedding(config).full_attention_inv_freq

    same = torch.equal(frequencies(True), frequencies(False))
    return same, f"truncate=True and truncate=False give {'the same' if same else 'different'} frequencies"


def phimoe_long_factor() -> tuple[bool, str]:
    """Change long_factor, and rotate far beyond the trained length."""
    import torch
    from transformers.models.phimoe.configuration_phimoe import PhimoeConfig
    from transformers.models.phimoe.modeling_phimoe import PhimoeRotaryEmbedding

    def tables(long: float) -> Any:
        rope = {
            "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [long] * 4,
            "short_mscale": 1.0, "long_mscale": 1.0, "original_max_position_embeddings": 16,
        }  # fmt: skip
        config = PhimoeConfig(
            hidden_size=8, num_attention_heads=1, head_dim=8, max_position_embeddings=64, rope_parameters=rope
        )
        return PhimoeRotaryEmbedding(config)(torch.zeros(1), torch.tensor([[40]]))[0]

    same = torch.equal(tables(2.0), tables(8.0))
    return same, f"long_factor 2 and 8 give {'the same' if same else 'different'} tables at position 40 of 16"


def megatron_with_cos_sin() -> tuple[bool, str]:
    """Rotate at position 0, where nothing moves."""
    import torch
    from megatron.core.models.common.embeddings.rope_utils import apply_rotary_pos_emb_with_cos_sin

    x = torch.arange(1.0, 9.0).reshape(1, 1, 1, 8)
    y = apply_rotary_pos_emb_with_cos_sin(x, torch.ones(1, 4), torch.zeros(1, 4))
    error = float((y - x).abs().max())
    return error > 1e-3, f"with cos 1 and sin 0 its result is off by {error:.2g}"


def megatron_multimodal() -> tuple[bool, str]:
    """Build angles of interleaved pairs; the module puts its frequencies on a GPU, so here it is
    made without its __init__.
    """
    import torch
    from megatron.core.models.common.embeddings.rotary_pos_embedding import MultimodalRotaryEmbedding

    module = MultimodalRotaryEmbedding.__new__(MultimodalRotaryEmbedding)
    torch.nn.Module.__init__(module)
    module.rotary_interleaved, module.seq_len_interpolation_factor, module.cp_group = True, None, None
    module.inv_freq = 0.1 ** torch.arange(4.0)
    try:
        shape = tuple(module(torch.arange(5).expand(3, 1, 5), [2, 1, 1]).shape)
    except RuntimeError as error:
        return True, f"for 5 tokens: {error}"
    return shape != (5, 1, 1, 8), f"angles of shape {shape}"


def lucidrains_cache_of_a_dtype() -> tuple[bool, str]:
    """Call in bfloat16, then in float32, and compare with float32 alone."""
    import torch
    from rotary_embedding_torch import RotaryEmbedding

    x = torch.ones(1, 1, 300, 8)
    used, fresh = RotaryEmbedding(8), RotaryEmbedding(8)
    used.rotate_queries_or_keys(x.bfloat16())
    error = float((used.rotate_queries_or_keys(x) - fresh.rotate_queries_or_keys(x)).abs().max())
    return error > 1e-3, f"the float32 call is off by {error:.2g} after one in bfloat16"


def lucidrains_axial_offsets() -> tuple[bool, str]:
    """Ask for axial frequencies with an offset after those without."""
    import torch
    from rotary_embedding_torch import RotaryEmbedding

    used, fresh = RotaryEmbedding(8), RotaryEmbedding(8)
    used.get_axial_freqs(4, 4)
    late, first = used.get_axial_freqs(4, 4, offsets=(10, 20)), fresh.get_axial_freqs(4, 4, offsets=(10, 20))
    error = float((late - first).abs().max())
    return error > 0, f"angles with an offset are off by {error:.3g} after a call without: {torch.equal(late, used.get_axial_freqs(4, 4))} that they are those of offset 0"  # fmt: skip


def ggml_yarn_range() -> tuple[bool, str]:
    """Rotate with gpt-oss' yarn, and compare with a range that is rounded
    and with one that is not.
    """
    import ropecore

    from .llama_cpp import target

    yarn = {"rule": "yarn", "factor": 32.0, "original_max_position": 4096}
    config = {"head_dim": 64, "pairing": "half_split", "base": 150000.0, "scaling": yarn}
    x, at = np.ones((1, 1, 1, 64), np.float32), np.array([1000])
    errors = []
    for truncate in (True, False):
        plan = ropecore.RopeConfig.from_dict({**config, "scaling": {**yarn, "truncate": truncate}}).plan()
        wanted = ropecore.rotate(plan, x.astype(np.float64), *ropecore.cos_sin(plan, at))
        errors.append(float(np.abs(target.apply(plan, x, at, case=config) - wanted).max()))
    return errors[0] < errors[
        1
    ] / 10, f"off by {errors[0]:.2g} from the rounded range, {errors[1]:.2g} from gpt-oss' own"


def mlx_telechat3() -> tuple[bool, str]:
    """Read the attention factor."""
    from mlx_lm.models.rope_utils import initialize_rope

    scaling = {"rope_type": "telechat3-yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    factor = float(initialize_rope(8, 1e4, False, scaling, max_position_embeddings=256).mscale)
    wanted = 0.07 * float(np.log(4.0)) + 1
    return abs(factor - wanted) > 1e-6, f"its factor is {factor:.4f}, TeleChat3's {wanted:.4f}"


def mlx_mrope() -> tuple[bool, str]:
    """Compare the module of type mrope with that of no scaling."""
    from mlx_lm.models.rope_utils import initialize_rope

    sections = {"rope_type": "mrope", "mrope_section": [2, 1, 1]}
    made, plain = (initialize_rope(8, 1e4, False, scaling, 256) for scaling in (sections, None))
    same = type(made) is type(plain)
    return same, f"both are {type(made).__name__}, called with one offset" if same else "another module"


def onnx_node_tests() -> tuple[bool, str]:
    """Collect the operator's node tests, and look at their tables."""
    from onnx.backend.test.case.node import collect_testcases

    tests = [
        case
        for case in collect_testcases("RotaryEmbedding")
        if "rotary_embedding" in case.name and "expanded" not in case.name
    ]
    lengths = [np.abs(np.hypot(*case.data_sets[0][0][1:3]) - 1).max() for case in tests]
    off = sum(bool(length > 0.1) for length in lengths)
    return bool(
        off == len(tests) > 0
    ), f"in {off} of {len(tests)} tests cos and sin are off the circle by more than 0.1"


CHECKS: dict[str, Callable[[], tuple[bool, str]]] = {
    each.__name__: each
    for each in (
        hunyuan_vl,
        vjepa2,
        yarn_truncate_of_a_layer_type,
        phimoe_long_factor,
        megatron_with_cos_sin,
        megatron_multimodal,
        lucidrains_cache_of_a_dtype,
        lucidrains_axial_offsets,
        ggml_yarn_range,
        mlx_telechat3,
        mlx_mrope,
        onnx_node_tests,
    )
}

if __name__ == "__main__":
    confirmed, seen = CHECKS[sys.argv[1]]()
    print(f"{'confirmed' if confirmed else 'not seen'}: {seen}")
