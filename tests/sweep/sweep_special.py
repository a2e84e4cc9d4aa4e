"""Models of the sweep whose rotary module does not take positions, or whose rotation is no module
at all.

Each function takes a configuration, or builds the model's default, calls the model's own code, and
returns the configuration beside what the code made; the functions are in SPECIAL, by folder and
configuration class.  EXCLUDED are those outside the count, each with a function that measures the
evidence.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

POSITIONS = np.array([0, 1, 5, 257, 8191])


@dataclass(frozen=True)
class Theirs:
    """What a model's own module and functions make of q, float32, and what went in."""

    q: np.ndarray  # (heads, s, head_dim)
    y: np.ndarray
    positions: np.ndarray  # (s,), or (n_axes, s)
    frequencies: np.ndarray | None = None
    attention_factor: float = 1.0


def model(folder: str) -> Any:
    """Return the module of a model's code."""
    return importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")


def config_class(folder: str, name: str) -> Any:
    """Return a configuration class."""
    return getattr(importlib.import_module(f"transformers.models.{folder}.configuration_{folder}"), name)


def queries(length: int, head_dim: int, heads: int = 2) -> np.ndarray:
    """Return random q, (heads, length, head_dim), the same in every run."""
    return np.random.default_rng(length + head_dim).standard_normal((heads, length, head_dim)).astype(np.float32)


def _gptj(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
    """GPT-J and CodeGen: a table of sines and cosines, and the first rotary_dim lanes, as in their
    attention.
    """
    import torch

    config, code = config or config_class(folder, name)(), model(folder)
    positions = POSITIONS[config.n_positions > POSITIONS]
    table = code.create_sinusoidal_positions(config.n_positions, config.rotary_dim)[positions]
    sin, cos = torch.split(table[None], config.rotary_dim // 2, dim=-1)
    q = queries(len(positions), config.n_embd // config.n_head)
    x = torch.from_numpy(q).transpose(0, 1)[None]  # batch, sequence, heads, head_dim
    turned = code.apply_rotary_pos_emb(x[..., : config.rotary_dim], sin, cos)
    y = torch.cat([turned, x[..., config.rotary_dim :]], dim=-1)
    return config, Theirs(q, y[0].transpose(0, 1).numpy(), positions)


def _roformer(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
    import torch

    config, code = config or config_class(folder, name)(), model(folder)
    head_dim = config.hidden_size // config.num_attention_heads
    positions = POSITIONS[config.max_position_embeddings > POSITIONS]
    table = code.RoFormerSinusoidalPositionalEmbedding(config.max_position_embeddings, head_dim)
    table.weight.data = table.create_weight()
    q = queries(len(positions), head_dim)
    x = torch.from_numpy(q)[None]
    rows = table.weight[torch.tensor(positions)][None, None]
    y, _ = code.RoFormerSelfAttention.apply_rotary_position_embeddings(rows, x, x)
    return config, Theirs(q, y[0].numpy(), positions)


def _hidden_states(rotary: str, attention: str, heads: str, **keywords: Any) -> Callable[..., tuple[Any, Theirs]]:
    """wav2vec2-conformer and its kin: hidden states are split into heads and rotated before the
    projections.
    """

    def run(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
        import torch

        config, code = config or config_class(folder, name)(**keywords), model(folder)
        size = getattr(config, heads)
        head_dim, length = config.hidden_size // size, int(POSITIONS[-1]) + 1
        table = getattr(code, rotary)(config)(torch.zeros(1, length, 1))
        q = queries(length, head_dim, size)
        owner = type("Owner", (), {"num_heads": size, "head_size": head_dim})()
        flat = torch.from_numpy(q).transpose(0, 1).reshape(1, length, -1)
        y = getattr(code, attention)._apply_rotary_embedding(owner, flat, table)
        y = y.view(length, size, head_dim).transpose(0, 1)[:, POSITIONS]
        frequencies = getattr(code, rotary)(config).inv_freq.double().numpy()
        return config, Theirs(q[:, POSITIONS], y.numpy(), POSITIONS, frequencies)

    return run


def _clvp(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
    """CLVP: the first lanes, as in its attention."""
    import torch

    config, code = config or config_class(folder, name)(), model(folder)
    module = code.ClvpRotaryPositionalEmbedding(config)
    table = module(torch.zeros(1, int(POSITIONS[-1]) + 1, 1))
    width = table.shape[-1]
    q = queries(len(POSITIONS), config.hidden_size // config.num_attention_heads)
    x, ids = torch.from_numpy(q)[None], torch.tensor(POSITIONS)[None]
    cos, sin = table.cos().squeeze(0), table.sin().squeeze(0)
    turned = code.apply_rotary_pos_emb(*[x[..., :width]] * 3, cos, sin, ids)[0]
    y = torch.cat([turned, x[..., width:]], dim=-1)
    return config, Theirs(q, y[0].numpy(), POSITIONS, module.inv_freq.double().numpy())


def _patches(rotary: str) -> Callable[..., tuple[Any, Theirs]]:
    """DINOv3 and its kin: the centres of patches, in [-1, 1]."""

    def run(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
        import torch

        config, code = config or config_class(folder, name)(), model(folder)
        size = config.patch_size
        high, wide = (size, size) if isinstance(size, int) else size
        tables = getattr(code, rotary)(config).eval()(torch.zeros(1, 3, 7 * high, 12 * wide))
        centres = code.get_patches_center_coordinates(7, 12, torch.float32, torch.device("cpu"))
        q = queries(84, config.hidden_size // config.num_attention_heads)
        x = torch.from_numpy(q)[None]
        y = code.apply_rotary_pos_emb(x, x, *tables)[0]
        return config, Theirs(q, y[0].numpy(), centres.double().numpy().T)

    return run


def _llama4_vision(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
    """Llama 4's vision tower: a table for one grid whose positions start at 1; the class token,
    last, stands at 0.
    """
    import torch

    config, code = config or config_class(folder, name)(), model(folder)
    side = config.image_size // config.patch_size
    table = code.Llama4VisionRotaryEmbedding(config)(torch.zeros(1))
    q = queries(side * side + 1, config.hidden_size // config.num_attention_heads)
    x = torch.from_numpy(q).transpose(0, 1)[None]
    y = code.vision_apply_rotary_emb(x, x, table)[0][0].transpose(0, 1).numpy()
    row, column = (part.ravel() + 1 for part in np.indices((side, side)))
    return config, Theirs(q, y, np.stack([np.append(row, 0), np.append(column, 0)]))


def _efficientloftr(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
    """EfficientLoFTR: the whole hidden size is rotated, before it is split into heads; positions
    start at 1.
    """
    import torch

    config, code = config or config_class(folder, name)(), model(folder)
    kernel, stride = config.q_aggregation_kernel_size, config.q_aggregation_stride
    high, wide = 7, 12
    image = torch.zeros(1, 1, (high - 1) * stride + kernel, (wide - 1) * stride + kernel)
    cos, sin = (t.reshape(1, high * wide, -1) for t in code.EfficientLoFTRRotaryEmbedding(config)(image))
    q = queries(high * wide, config.hidden_size, heads=1)
    x = torch.from_numpy(q).transpose(0, 1)[None]  # batch, sequence, one head of the hidden size
    y = code.apply_rotary_pos_emb(x, x, cos, sin, unsqueeze_dim=2)[0][0].transpose(0, 1).numpy()
    return config, Theirs(q, y, np.stack([part.ravel() + 1 for part in np.indices((high, wide))]))


def _musicflamingo(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
    """MusicFlamingo: angles are -2 pi t times the window's position and the frame's."""
    import torch

    config, code = config or config_class(folder, name)(), model(folder)
    module = code.MusicFlamingoRotaryEmbedding(config)
    length = 40
    times = torch.arange(length)[None] * config.audio_frame_step * 4 + 2 * length * config.audio_frame_step * 4
    cos, sin = module(times, length)
    q = queries(length, config.audio_config.hidden_size, heads=1)
    y = code.apply_rotary_time_emb(torch.from_numpy(q), cos, sin).numpy()
    longest = module.max_seq_len_cached
    window = torch.round(times[:, :1] / (config.audio_frame_step * 4 * length)) / longest
    frame = torch.arange(length)[None] / longest * (2 * torch.pi)
    turn = -times * 2 * torch.pi
    positions = np.stack([(turn.double() * window.double())[0].numpy(), (turn.double() * frame.double())[0].numpy()])
    return config, Theirs(q, y, positions)


def _esmfold2(folder: str, name: str, config: Any = None) -> tuple[Any, Theirs]:
    import torch

    config, code = config or config_class(folder, name)(), model(folder)
    rng = np.random.default_rng(2)
    places = rng.uniform(-50, 50, (1, 5, 3)).astype(np.float32)
    tables = code.EsmFold2RotaryEmbedding(config)(
        torch.from_numpy(places), torch.tensor(POSITIONS)[None], torch.float32
    )
    q = queries(5, config.head_dim)
    x = torch.from_numpy(q)[None]
    y = code.apply_rotary_pos_emb(x, x, *tables)[0]
    return config, Theirs(q, y[0].numpy(), np.concatenate([places[0].T.astype(np.float64), POSITIONS[None]]))


SPECIAL: dict[tuple[str, str], Callable[..., tuple[Any, Theirs]]] = {
    ("gptj", "GPTJConfig"): _gptj,
    ("codegen", "CodeGenConfig"): _gptj,
    ("roformer", "RoFormerConfig"): _roformer,
    ("wav2vec2_conformer", "Wav2Vec2ConformerConfig"): _hidden_states(
        "Wav2Vec2ConformerRotaryPositionalEmbedding", "Wav2Vec2ConformerSelfAttention", "num_attention_heads",
        position_embeddings_type="rotary",
    ),
    ("wav2vec2_bert", "Wav2Vec2BertConfig"): _hidden_states(
        "Wav2Vec2BertRotaryPositionalEmbedding", "Wav2Vec2BertSelfAttention", "num_attention_heads",
        position_embeddings_type="rotary",
    ),
    ("seamless_m4t", "SeamlessM4TConfig"): _hidden_states(
        "SeamlessM4TConformerRotaryPositionalEmbedding", "SeamlessM4TConformerSelfAttention",
        "speech_encoder_attention_heads", position_embeddings_type="rotary",
    ),
    ("clvp", "ClvpEncoderConfig"): _clvp,
    ("dinov3_vit", "DINOv3ViTConfig"): _patches("DINOv3ViTRopePositionEmbedding"),
    ("sapiens2", "Sapiens2Config"): _patches("Sapiens2RopePositionEmbedding"),
    ("eomt_dinov3", "EomtDinov3Config"): _patches("EomtDinov3RotaryEmbedding"),
    ("llama4", "Llama4VisionConfig"): _llama4_vision,
    ("efficientloftr", "EfficientLoFTRConfig"): _efficientloftr,
    ("musicflamingo", "MusicFlamingoConfig"): _musicflamingo,
    ("esmfold2", "EsmFold2AtomEncoderConfig"): _esmfold2,
}  # fmt: skip


# outside the count


def _pair_ratios(x: np.ndarray, y: np.ndarray, lanes: np.ndarray) -> str:
    """Return how the length of pairs changes: a rotation leaves it as it is."""
    before, after = (np.hypot(z[..., lanes[:, 0]], z[..., lanes[:, 1]]) for z in (x, y))
    ratio = after / before
    return f"lengths of pairs change by {ratio.min():.3f} to {ratio.max():.3f}"


def _vjepa2() -> tuple[str, str]:
    import torch

    code, q = model("vjepa2"), queries(5, 8)
    y = code.rotate_queries_or_keys(torch.from_numpy(q)[None], torch.tensor(POSITIONS, dtype=torch.float32))[0].numpy()
    lanes = np.arange(8).reshape(4, 2)
    return (
        "not a rotation",
        f"{_pair_ratios(q, y, lanes)}: the table is tiled in one pairing, lanes are swapped in the other",
    )


def _hunyuan_vl() -> tuple[str, str]:
    """Text agrees with the plan; where axes differ, the two lanes of a pair turn with different
    axes.
    """
    import torch

    code = model("hunyuan_vl")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [16, 16, 16, 16]}
    config = config_class("hunyuan_vl", "HunYuanVLTextConfig")(rope_parameters=rope)
    q = queries(5, 128)
    grid = torch.tensor(np.stack([np.roll(POSITIONS, a) for a in range(4)]))[:, None]
    x = torch.from_numpy(q)[None]
    y = code.apply_rotary_pos_emb(x, x, *code.HunYuanVLRotaryEmbedding(config)(x, grid))[0][0].numpy()
    lanes = np.stack([np.arange(64), np.arange(64) + 64], axis=1)
    why = f"{_pair_ratios(q, y, lanes)} where the axes differ: sections are doubled, not repeated (census 7, entry 1)"
    return "not a rotation", why


def _lightglue() -> tuple[str, str]:
    import torch

    config = config_class("lightglue", "LightGlueConfig")()
    weight = model("lightglue").LightGluePositionalEncoder(config).projector.weight
    assert isinstance(weight, torch.nn.Parameter)
    return "learned", f"the frequencies are a parameter, projector.weight {tuple(weight.shape)}"


def _mistral_large4() -> tuple[str, str]:
    config = config_class("mistral_large4", "MistralLarge4TextConfig")()
    module = model("mistral_large4").MistralLarge4TextRotaryEmbedding(config)
    assert "alpha" in module.state_dict()
    return (
        "learned",
        f"inv_freq is multiplied by exp(alpha), and alpha {tuple(module.alpha.shape)} is saved with the weights",
    )


EXCLUDED: dict[tuple[str, str], Callable[[], tuple[str, str]]] = {
    ("vjepa2", "VJEPA2Config"): _vjepa2,
    ("hunyuan_vl", "HunYuanVLTextConfig"): _hunyuan_vl,
    ("lightglue", "LightGlueConfig"): _lightglue,
    ("mistral_large4", "MistralLarge4TextConfig"): _mistral_large4,
}
