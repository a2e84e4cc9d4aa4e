"""`ropecore.measure`: the RoPE of each layer of a model, from its own code.

hollow.py   the model as its constructor makes it, without its weights
feed.py     something for it to run on
tap.py      the matrix of each rotation, while it runs at known positions
probe.py    the plan that these matrices show
compare.py  the plan beside what the table of families says
"""

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ropecore.errors import RopeError, integer
from ropecore.limits import read_json
from ropecore.plan import RotaryPlan

from .probe import plan_lines
from .rule import Named, name_rule

FAR = 1 << 20  # the farthest position that is asked, where the model takes it
SHORT = 4096  # the length that is asked where the configuration names none
NEAR = (0, 1, 2, 3, 5, 7, 11)


@dataclass(frozen=True)
class MeasuredRope:
    """One RoPE that a model's layers have, as their own code turns queries and keys.

    part: the sub-configuration that the layers are made from ("text", "vision", ..; "" the model's
    own). module: who rotates, with * for the number of the layer.  tensors: what is rotated, by the
    names of the function's arguments. layers: their indices.  plan: None where nothing turns; its
    lanes count from the first that the function is given. head_dim, lane_offset: the whole head,
    and where those lanes are in it. resolution: how well frequencies are known, radians per
    position.  seq_len: the length that it holds for, None for any.
    """

    part: str
    module: str
    tensors: tuple[str, ...]
    layers: tuple[int, ...]
    plan: RotaryPlan | None
    head_dim: int = 0
    lane_offset: int = 0
    resolution: float = 0.0
    seq_len: int | None = None
    problems: tuple[str, ...] = ()

    @property
    def named(self) -> Named | None:
        """The rule that the frequencies follow, and the configuration that gives them."""
        return None if self.plan is None or self.plan.n_axes > 1 else name_rule(self.plan, self.resolution)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        names = ("part", "module", "head_dim", "lane_offset", "resolution", "seq_len")
        named = self.named
        return {name: getattr(self, name) for name in names} | {
            "tensors": list(self.tensors),
            "layers": list(self.layers),
            "plan": None if self.plan is None else self.plan.to_dict(),
            "rule": None if named is None else named.text,
            "config": None if named is None or named.config is None else named.config.to_dict(),
            "problems": list(self.problems),
        }

    def text(self) -> str:
        """Return it as lines for a terminal."""
        where = (
            f"{self.part or 'model'}: {self.module} ({', '.join(self.tensors)})"
            if self.tensors
            else f"{self.part or 'model'}: {self.module}"
        )
        lines = [where, f"  layers       {ranges(self.layers)}"] if self.layers else [where]
        if self.plan is None:
            lines.append("  does not rotate" if not self.problems else "  not a plan")
        else:
            lines += [f"  {line}" for line in plan_lines(self.plan)]
            if (self.head_dim, self.lane_offset) != (self.plan.head_dim, 0):
                lines.append(
                    f"  slice        lanes {self.lane_offset} to {self.lane_offset + self.plan.head_dim - 1} of a head of {self.head_dim}"
                )
            if self.named is not None:
                lines.append(f"  frequencies  {self.named.text}")
            if self.seq_len is not None:
                lines.append(f"  length       as measured at {self.seq_len} positions; at others it differs")
        return "\n".join([*lines, *(f"  problem      {problem}" for problem in self.problems)])


@dataclass(frozen=True)
class Measurement:
    """Every RoPE of a model, as its own code has it, and what could not be run."""

    model: str  # the class
    ropes: tuple[MeasuredRope, ...]
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        ropes = [rope.to_dict() for rope in self.ropes]
        return {
            "schema": "ropecore-measurement/1",
            "model": self.model,
            "ropes": ropes,
            "problems": list(self.problems),
        }

    def text(self) -> str:
        """Return it as lines for a terminal."""
        lines = [f"{self.model}: measured from its own code", *(rope.text() for rope in self.ropes)]
        return "\n\n".join([*lines, *(f"problem: {problem}" for problem in self.problems)])


def measure(source: Any, seq_len: int | None = None) -> Measurement:
    """Return the plan of each layer of a model, measured from its own code run at known positions.

    source: a model (a torch.nn.Module with a config), its class's configuration, or a path or a
    dictionary of one that the installed transformers has a class for.  No file's code is run
    (trust_remote_code stays off): import the model's own code and give the model.  Weights are not
    needed.  seq_len: the length of the sequence, for rules that depend on it (default: the length
    of training, and longer ones where that changes nothing). RopeError where torch or transformers
    is missing, or the model cannot be built.
    """
    if seq_len is not None:
        integer("seq_len", seq_len, at_least=16, at_most=FAR)
    _needs("torch")
    from .run import survey

    model = _hollow(source)
    return survey(model, seq_len)


def _needs(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RopeError("measure", name, "is not installed", f"Install it: pip install {name}", "R-12.6") from error


def _hollow(source: Any) -> Any:
    """Return the model without its weights."""
    torch = _needs("torch")
    from . import hollow

    if isinstance(source, torch.nn.Module):
        config = getattr(source, "config", None)
        if config is None:
            raise RopeError(
                "model",
                type(source).__name__,
                "has no config, from which it could be built again",
                "Give a model of transformers' kind.",
            )
        kind = type(source)
        return _built(lambda: hollow.build(lambda: kind(config)), kind.__name__)
    config = _config(source)
    return _built(lambda: hollow.build(lambda: _from_config(config)), type(config).__name__)


def _built(make: Any, name: str) -> Any:
    try:
        return make().eval()
    except RopeError:
        raise
    except Exception as error:
        raise RopeError(
            "model", name, f"cannot be built: {type(error).__name__}: {error}", "Give the model itself."
        ) from error


def _config(source: Any) -> Any:
    """Return a configuration object of transformers."""
    transformers = _needs("transformers")
    if isinstance(source, transformers.PretrainedConfig):
        return source
    raw = source
    if isinstance(source, (str, os.PathLike)):
        from pathlib import Path

        path = Path(source)
        raw = read_json("model", path / "config.json" if path.is_dir() else path)
    if not isinstance(raw, Mapping):
        raise RopeError("model", source, "must be a model, a configuration, a path or a dictionary")
    family = raw.get("model_type")
    if family not in transformers.CONFIG_MAPPING:
        cure = "Import the model's own code and call ropecore.measure(model)."
        raise RopeError(
            "model_type", family, f"has no class in transformers {transformers.__version__}", cure, "R-12.6"
        )
    try:
        return transformers.CONFIG_MAPPING[family].from_dict(dict(raw))
    except Exception as error:
        raise RopeError(
            "model", family, f"transformers refuses its configuration: {type(error).__name__}: {error}"
        ) from error


def _from_config(config: Any) -> Any:
    """Return the model of a configuration: the class that transformers has for it, else one that
    names it in its code.
    """
    config._attn_implementation = "eager"
    kind = next(model_classes(config), None)
    if kind is None:
        raise RopeError("model", type(config).__name__, "has no class of a model", "Give the model itself.", "R-12.6")
    return kind(config)


def model_classes(config: Any) -> Iterator[Any]:
    """Yield the classes of models that a configuration is for, the plainest first."""
    transformers = _needs("transformers")
    mapped = transformers.MODEL_MAPPING.get(type(config), None)
    if mapped is not None:
        yield from mapped if isinstance(mapped, tuple) else (mapped,)
    package = type(config).__module__.rpartition(".")[0]
    folder = importlib.import_module(package)
    found = []
    for path in sorted(p for root in getattr(folder, "__path__", []) for p in os.listdir(root)):
        if re.fullmatch(r"modeling_\w+\.py", path) and package.startswith("transformers."):
            found += list(vars(importlib.import_module(f"{package}.{path[:-3]}")).values())
    for kind in found:
        if (
            isinstance(kind, type)
            and issubclass(kind, transformers.PreTrainedModel)
            and _config_class(kind) is type(config)
            and "forward" in vars(kind)
        ):
            yield kind


def _config_class(kind: Any) -> Any:
    """Return the configuration class that a model's constructor names."""
    named = getattr(kind.__init__, "__annotations__", {}).get("config", None)
    return named if isinstance(named, type) else kind.config_class


def ranges(numbers: tuple[int, ...]) -> str:
    """Return 0-3, 5 for 0, 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
