"""The sweep: every rotary module of transformers against the plan that `read_configs` gives for its
configuration.

    python tests/sweep/sweep.py            writes tests/sweep/SWEEP.md

For each configuration class a rotary module is built from a default configuration, and the model's
own functions rotate q at positions 0, 1, 5, 257 and 8191 (where several axes differ, each axis has
them in another order); so for the older-style configurations of checkpoints in
sweep_checkpoints.json.  The rotated values are judged by rope.md's error model for the float32
class (R-10.6), with k = 2 + c since the module makes its own frequencies; frequencies and A are
judged by themselves.
"""

import importlib
import inspect
import json
import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from sweep_special import EXCLUDED, POSITIONS, SPECIAL, Theirs, queries

import ropecore
from ropecore.conformance.bounds import Own, Words, by_axis, own_frequencies, rotation_bound, turns

WORDS = Words(angle="float32", table="float32", compute="float32", own=True)
CHECKPOINTS = Path(__file__).with_name("sweep_checkpoints.json")
REPORT = Path(__file__).with_name("SWEEP.md")

# configuration classes without a rotary module in their own folder (census 6: "config-only")
BORROWED = {"internlm3": "llama", "iquestcoder": "llama"}

# a second name of the same class
ALIASES = ("Ernie4_5_VL_MoeTextConfig", "Ernie4_5_VL_MoeVisionConfig")

# configuration classes with rope_parameters of which no rotary module is ever made
NO_MODULE = {"BltConfig": "BltModel makes its rotary modules from the configurations of its four parts"}

# classes with a rotary module that do not declare rope_parameters
UNDECLARED = ("EsmConfig", "SaProtConfig")

# the row of a class whose configuration has no model_type
FAMILY = {
    "SaProtConfig": "evolla_saprot",
    "Qwen3OmniMoeCode2WavConfig": "qwen3_omni_moe_code2wav",
    "EsmFold2AtomEncoderConfig": "esmfold2_atom_encoder",
}

HALF = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}

# defaults that transformers' own model cannot run with, and what checkpoints have instead
REPAIRS: dict[str, tuple[dict[str, Any], str]] = {
    "Glm4vTextConfig": (
        {"rope_parameters": HALF},
        "the default sections 8, 12, 12 need half the head, as checkpoints have",
    ),
    "GlmImageTextConfig": (
        {"rope_parameters": HALF},
        "the default sections 8, 12, 12 need half the head, as checkpoints have",
    ),
    "Glm4vMoeTextConfig": (
        {"head_dim": 128},
        "the default head has 42 lanes, and the sections 8, 12, 12 need 64, as checkpoints have",
    ),
    "Qwen3OmniMoeTextConfig": ({"head_dim": 128}, "the default head has 73 lanes, an odd number; checkpoints have 128"),
    "CohereCompassTextConfig": (
        {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
        "its default rope_parameters are empty",
    ),
}

# wrong, and theirs: what differs, and where it can be seen
THEIRS = {
    "minimax_m3_vl:MiniMaxM3VLTextConfig": (
        "configuration_minimax_m3_vl.py documents rotary_dim (default 64) as the number of lanes that rotate; the module "
        "reads rope_parameters.partial_rotary_factor alone, which the default lacks, and so rotates all 128"
    ),
    "DBRX": (
        "modeling_dbrx.py takes the base from rope_parameters (default 10000); attn_config.rope_theta, where the checkpoint has "
        "500000, is stored in the attention and never read"
    ),
}

# models whose attention takes the first lanes and leaves the others, around the function
SLICED_BY_ATTENTION = ("phi", "persimmon", "stablelm", "gpt_neox_japanese")


@dataclass(frozen=True)
class Outcome:
    """What the sweep found for one RoPE."""

    name: str  # folder:ConfigClass or the checkpoint, and the part or layer type where there are several
    status: str  # "equal", "not a rotation", "learned", "wrong" or "not built"
    worst: float = math.nan  # error over bound, of rotated q
    why: str = ""


@dataclass
class Sweep:
    """All outcomes, of classes and of checkpoints."""

    classes: list[Outcome] = field(default_factory=list)
    checkpoints: list[Outcome] = field(default_factory=list)


def counts(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.status for outcome in outcomes)


def quiet() -> None:
    """Silence transformers' warnings about the models that it imports."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)


# what there is to sweep


def folders() -> list[str]:
    import transformers

    root = Path(transformers.__file__).parent / "models"
    return sorted(path.name for path in root.iterdir() if any(path.glob("modeling_*.py")) or path.name in BORROWED)


def config_classes(folder: str) -> dict[str, type]:
    """Return the configuration classes of a folder that speak of RoPE."""
    from transformers.configuration_utils import PreTrainedConfig

    found = {}
    for module in _modules(folder, "configuration_"):
        for name, kind in vars(module).items():
            own = inspect.isclass(kind) and issubclass(kind, PreTrainedConfig) and kind.__module__ == module.__name__
            if own and name not in ALIASES and (_declares_rope(kind) or name in UNDECLARED):
                found[name] = kind
    return found


def _declares_rope(kind: type) -> bool:
    return any("rope_parameters" in getattr(base, "__annotations__", {}) for base in kind.__mro__)


def _modules(folder: str, prefix: str) -> list[ModuleType]:
    import transformers

    root = Path(transformers.__file__).parent / "models" / folder
    names = [f"transformers.models.{folder}.{path.stem}" for path in sorted(root.glob(f"{prefix}*.py"))]
    return [importlib.import_module(name) for name in names]


def rotary_class(folder: str, config_name: str) -> tuple[Any, ModuleType] | None:
    """Return the rotary module of a configuration class: by annotation, else the one whose name is
    nearest.
    """
    candidates = []
    for module in _modules(BORROWED.get(folder, folder), "modeling_"):
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and kind.__module__ == module.__name__ and "RotaryEmbedding" in name:
                candidates.append((kind, module))
    annotated = [pair for pair in candidates if _annotation(pair[0]) == config_name]
    if annotated:
        return annotated[0]
    vision = bool(re.search("Vision|ViT", config_name))
    same = [pair for pair in candidates if bool(re.search("Vision|ViT", pair[0].__name__)) == vision]
    return max(same, key=lambda pair: _shared(pair[0].__name__, config_name), default=None)


def _shared(first: str, second: str) -> int:
    """Return how many letters two names begin with together."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _annotation(kind: type) -> str:
    for parameter in inspect.signature(kind.__init__).parameters.values():
        if "Config" in str(parameter.annotation):
            return getattr(parameter.annotation, "__name__", str(parameter.annotation)).split(".")[-1]
    return ""


# what transformers does


def transformers_rotates(module: ModuleType, rotary: Any, config: Any, ours: ropecore.RopeConfig) -> Theirs:
    """Return what the model's own module and function make of random q at the sweep's positions."""
    import torch

    parameters = inspect.signature(rotary.forward).parameters
    layer_type = ours.report.layer_type if ours.report and "layer_type" in parameters else None
    keywords = {"layer_type": layer_type} if layer_type else {}
    n_axes = len(ours.axes or ())
    grid = np.stack([np.roll(POSITIONS, a) for a in range(n_axes)])
    q, x = queries(len(POSITIONS), ours.head_dim), torch.zeros(1, 1, 4)
    if getattr(config, "default_rope_type", "default") == "axial":
        function, ids = _function(module, VISION_FUNCTIONS), torch.tensor(grid.T)
        tables = rotary(x, ids[None] if "multidimensional" in function.__name__ else ids)
        y = _vision_apply(function, q, tables, ids)
    else:
        ids = torch.tensor(grid)[:, None, :] if n_axes > 1 else torch.tensor(POSITIONS)[None]
        function = _function(module, _text_functions(config))
        y = _text_apply(function, q, rotary(x, ids, **keywords))
    prefix = f"{layer_type}_" if layer_type else ""
    frequencies = getattr(rotary, f"{prefix}inv_freq", None)
    return Theirs(
        q=q,
        y=y,
        positions=grid if n_axes > 1 else POSITIONS,
        frequencies=None if frequencies is None or n_axes > 1 else frequencies.double().numpy(),
        attention_factor=float(getattr(rotary, f"{prefix}attention_scaling", 1.0)),
    )


VISION_FUNCTIONS = (
    "apply_rotary_pos_emb_vision", "apply_rotary_pos_emb_2d", "apply_rotary_pos_emb_2d_self_attn",
    "apply_multidimensional_rope", "apply_rotary_pos_emb",
)  # fmt: skip


def _text_functions(config: Any) -> tuple[str, ...]:
    """Return the names under which a language model's attention may rotate, in the order of its own
    `if`.
    """
    latent = getattr(config, "qk_rope_head_dim", None) and getattr(config, "rope_interleave", True) is not False
    return (*(("apply_rotary_pos_emb_interleave",) if latent else ()), "apply_rotary_pos_emb", "apply_rotary_emb")


def _function(module: ModuleType, names: tuple[str, ...]) -> Any:
    found = [getattr(module, name) for name in names if hasattr(module, name)]
    if not found:
        raise LookupError(f"{module.__name__} has none of {names}")
    return found[0]


def _same(rotated: Any) -> Any:
    """Return the rotated q of a function that was given q as k too, and
    so must rotate both alike.
    """
    import torch

    q, k = rotated
    assert torch.equal(q, k)
    return q


def _text_apply(function: Any, q: np.ndarray, tables: Any) -> np.ndarray:
    """Rotate (heads, s, d) with a language model's function, whatever its arguments are."""
    import torch

    x = torch.from_numpy(q)[None]  # (1, heads, s, d)
    folder = function.__module__.split(".")[-2]
    if isinstance(tables, torch.Tensor):  # complex numbers; Llama 4 has the sequence before the heads
        flipped = folder == "llama4"
        x = x.transpose(1, 2) if flipped else x
        y = _same(function(x, x, tables))
        return (y.transpose(1, 2) if flipped else y)[0].numpy()
    cos, sin = tables
    if next(iter(inspect.signature(function).parameters)) == "x":
        return function(x, cos, sin)[0].numpy()
    width = cos.shape[-1]
    if width < x.shape[-1] and folder in SLICED_BY_ATTENTION:
        turned = _same(function(x[..., :width], x[..., :width], cos, sin))
        return torch.cat([turned, x[..., width:]], dim=-1)[0].numpy()
    return _same(function(x, x, cos, sin))[0].numpy()


def _vision_apply(function: Any, q: np.ndarray, tables: Any, ids: Any) -> np.ndarray:
    """Rotate (heads, s, d) with a vision tower's function."""
    import torch

    x, (cos, sin) = torch.from_numpy(q), tables
    match function.__name__:
        case "apply_multidimensional_rope":
            return function(x.transpose(0, 1)[None], cos, sin, ids[None])[0].transpose(0, 1).numpy()
        case "apply_rotary_pos_emb_vision":  # (s, heads, d)
            return _same(function(x.transpose(0, 1), x.transpose(0, 1), cos, sin)).transpose(0, 1).numpy()
        case "apply_rotary_pos_emb":
            return _same(function(x[None], x[None], cos[None], sin[None]))[0].numpy()
        case _:
            return _same(function(x[None], x[None], cos, sin))[0].numpy()


# the judgement


def judge(config: ropecore.RopeConfig, theirs: Theirs) -> tuple[float, str]:
    """Return the worst error over its bound, and what else is wrong ("" if nothing is)."""
    length = math.ceil(np.max(theirs.positions)) + 1
    plan = config.plan(length)
    x = theirs.q.astype(np.float64)
    y = ropecore.rotate(plan, x, *ropecore.cos_sin(plan, by_axis(plan, theirs.positions)))
    bound = rotation_bound(
        plan, turns(plan, theirs.positions), x, y, "float32", WORDS, own=growth(config, plan, length)
    )
    error = np.abs(theirs.y - y)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / bound)
    return float(np.max(ratio)), _other_facts(config, plan, theirs)


def growth(config: ropecore.RopeConfig, plan: ropecore.RotaryPlan, length: int) -> Own:
    """Return what R-10.8 grants a program that makes its own frequencies.

    Where the plan was given inv_freq, the program made the same numbers as b^(-2j/R), R a power of
    two: c = 4.
    """
    return Own(6.0) if config.inv_freq is not None else own_frequencies(config.to_dict(), plan.lanes, length)


def _other_facts(config: ropecore.RopeConfig, plan: ropecore.RotaryPlan, theirs: Theirs) -> str:
    """Return what differs in A and, for one axis, in the frequencies, or ""."""
    if abs(plan.attention_factor - theirs.attention_factor) > 2.0**-50 * plan.attention_factor:
        return f"attention factor {plan.attention_factor}, theirs {theirs.attention_factor}"
    by_length = config.scaling is not None and config.scaling.rule in ("dynamic_ntk", "longrope")
    if theirs.frequencies is None or plan.n_axes > 1 or by_length:  # then q tells
        return ""
    order = np.argsort(config.rows().lanes.min(axis=1))
    ours = np.abs(config.rows().frequencies[order, 0])
    if theirs.frequencies.shape != ours.shape:
        return f"{len(ours)} frequencies, theirs {len(theirs.frequencies)}"
    c = np.zeros(len(ours))
    c[ours != 0] = np.asarray(growth(config, plan, 1).k) - 2
    return "" if (np.abs(theirs.frequencies - ours) <= c * 2.0**-24 * ours).all() else "frequencies differ"


# classes


def sweep_class(folder: str, name: str, kind: Any) -> Iterator[Outcome]:
    """Yield the outcomes of one configuration class."""
    label = f"{folder}:{name}"
    if name in NO_MODULE:
        yield Outcome(label, "not built", why=NO_MODULE[name])
        return
    changes, reason = REPAIRS.get(name, ({}, ""))
    config = kind(**changes)
    pair = rotary_class(folder, name)
    if pair is None:
        yield Outcome(label, "not built", why="no rotary module takes it")
        return
    try:
        found = ropecore.read_configs(config, family=FAMILY.get(name))
    except ropecore.RopeError as error:
        yield Outcome(label, "wrong", why=f"not read: {error}")
        return
    for key, outcome in compare(label, pair, config, found):
        known = THEIRS.get(label, "") if outcome.status == "wrong" else ""
        yield replace(outcome, name=key, why=known or outcome.why or reason)


def compare(
    label: str, pair: tuple[Any, ModuleType], config: Any, found: dict[str, Any]
) -> Iterator[tuple[str, Outcome]]:
    """Yield a name and an outcome for each RoPE that a configuration has itself, its parts left
    out.
    """
    own = list(found)[-1].partition("/")[0]  # a configuration's parts are read before itself
    ropes = {key: rope for key, rope in found.items() if rope is not None and key.partition("/")[0] == own}
    rotary = pair[0](config)
    for key, rope in ropes.items():
        name = label if len(ropes) == 1 else f"{label} {key}"
        yield name, outcome_of(name, rope, transformers_rotates(pair[1], rotary, config, rope))


def outcome_of(name: str, rope: ropecore.RopeConfig, theirs: Theirs) -> Outcome:
    worst, problem = judge(rope, theirs)
    equal = worst <= 1 and not problem
    return Outcome(name, "equal" if equal else "wrong", worst, "" if equal else problem or "rotated values differ")


def sweep_special(folder: str, name: str) -> Outcome:
    """Return the outcome of a model whose rotation is called by hand."""
    config, theirs = SPECIAL[folder, name](folder, name)
    found = ropecore.read_configs(config, family=FAMILY.get(name))
    return outcome_of(f"{folder}:{name}", list(found.values())[-1], theirs)


def sweep_classes() -> list[Outcome]:
    """Return the outcomes of every configuration class of transformers that speaks of RoPE."""
    outcomes = []
    for folder in folders():
        for name, kind in config_classes(folder).items():
            if (folder, name) not in SPECIAL and (folder, name) not in EXCLUDED:
                outcomes += sweep_class(folder, name, kind)
    outcomes += [sweep_special(*key) for key in SPECIAL]
    for (folder, name), evidence in EXCLUDED.items():
        status, why = evidence()
        outcomes.append(Outcome(f"{folder}:{name}", status, why=why))
    return sorted(outcomes, key=lambda outcome: outcome.name)


# checkpoints


def sweep_checkpoints() -> list[Outcome]:
    """Return the outcomes of the older-style configurations of well-known checkpoints."""
    outcomes: list[Outcome] = []
    for name, entry in json.loads(CHECKPOINTS.read_text()).items():
        found = ropecore.read_configs(entry["config"])
        still = [key for key, rope in found.items() if rope is None]
        if still != entry.get("still", []):
            outcomes.append(Outcome(name, "wrong", why=f"does not rotate: {still}"))
        for outcome in _checkpoint(name, entry.get("as", entry["config"]), found):
            known = THEIRS.get(name, "") if outcome.status == "wrong" else ""
            outcomes.append(replace(outcome, why=known or outcome.why))
    return outcomes


def _checkpoint(name: str, raw: dict[str, Any], found: dict[str, Any]) -> Iterator[Outcome]:
    """Yield an outcome for each RoPE of a checkpoint, against the class that transformers makes of
    its configuration.
    """
    from transformers import CONFIG_MAPPING

    if not any(found.values()):
        yield Outcome(name, "equal", 0.0, "does not rotate")
        return
    config = CONFIG_MAPPING[raw["model_type"]].from_dict(json.loads(json.dumps(raw)))
    for key, rope in found.items():
        if rope is None:
            continue
        part = getattr(config, f"{key.partition('/')[0]}_config", config)
        yield _part_outcome(name if len(found) == 1 else f"{name} {key}", part, rope)


def _part_outcome(name: str, config: Any, rope: ropecore.RopeConfig) -> Outcome:
    folder, kind = type(config).__module__.split(".")[-2], type(config).__name__
    if (folder, kind) in SPECIAL:
        return outcome_of(name, rope, SPECIAL[folder, kind](folder, kind, config)[1])
    pair = rotary_class(folder, kind)
    if pair is None:
        return Outcome(name, "not built", why="no rotary module takes it")
    return outcome_of(name, rope, transformers_rotates(pair[1], pair[0](config), config, rope))


# the report


def sweep() -> Sweep:
    """Return everything."""
    quiet()
    return Sweep(sweep_classes(), sweep_checkpoints())


def report(done: Sweep) -> str:
    """Return the report as Markdown."""
    import torch
    import transformers

    lines = [
        "# The sweep", "",
        f"Made by `python tests/sweep/sweep.py` with transformers {transformers.__version__} and torch {torch.__version__}; `tests/sweep/sweep.py` says how.", "",
        *_table("Configuration classes", done.classes), *_table("Checkpoints, older style", done.checkpoints),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(title: str, outcomes: list[Outcome]) -> list[str]:
    found = counts(outcomes)
    judged = found["equal"] + found["wrong"]
    share = f"{found['wrong']} of {judged} wrong ({found['wrong'] / judged:.1%})"
    lines = [
        f"## {title}",
        "",
        f"{share}; " + ", ".join(f"{status}: {n}" for status, n in sorted(found.items())) + ".",
        "",
    ]
    for status in ("wrong", "not a rotation", "learned", "not built"):
        rows = [o for o in outcomes if o.status == status]
        lines += [f"### {status}", "", *(f"* `{o.name}`: {o.why}" for o in rows), ""] if rows else []
    lines += ["### equal", "", "| RoPE | error / bound | note |", "|---|---|---|"]
    return [*lines, *(f"| `{o.name}` | {o.worst:.2f} | {o.why} |" for o in outcomes if o.status == "equal"), ""]


if __name__ == "__main__":
    REPORT.write_text(report(sweep()))
    print(REPORT.read_text().split("### equal", maxsplit=1)[0])
