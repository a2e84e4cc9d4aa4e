"""Reading a model's RoPE from its configuration: `read_config` and `read_configs`.

    source -> read_huggingface | read_params | read_gguf -> {"text": RopeConfig,
      "text/sliding_attention": .., ..}

Sources are untrusted files: their size is limited, nothing in them is run, and no default is silent
(`RopeConfig.report`).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropecore.arguments import Flag, Name, checked, checked_keywords
from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.forks import IMPORTS
from ropecore.limits import read_json
from ropecore.read import huggingface, params_json
from ropecore.read.parts import Request
from ropecore.read.ropes import Ropes

NAMES = ("config.json", "params.json")  # of a folder, the first that is there


@checked
def read_config(
    source: Any,
    part: Name | None = None,
    layer_type: Name | None = None,
    strict: Flag = True,
    *,
    family: Name | None = None,
    **known: Any,
) -> RopeConfig | None:
    """Return the RoPE of a model, as its configuration and the table of families say, with a
    `report`; None: no rotation.

    source: a path (config.json, params.json, a .gguf, a folder with one of them), a dict, or a
    transformers configuration. part, layer_type: which one, where there are several ("vision",
    "sliding_attention").  strict: refuse keys about RoPE that are not known.  family: a row of the
    table to go by.  known: keywords of RopeConfig that go before the source. RopeError for several
    RoPEs (it names them), unknown families and keys.  Rules R-12.3, R-12.6.
    """
    wanted = select(read_configs(source, strict, family=family, **known), part, layer_type)
    rotating = {config: name for name, config in reversed(wanted.items()) if config is not None}
    if len(rotating) > 1:
        cure = f"Choose part= and layer_type= from: {', '.join(wanted)}, or call read_configs."
        raise RopeError("source", list(wanted), "has several RoPEs", cure, "R-12.6")
    return next(iter(rotating), None)


@checked
def read_configs(source: Any, strict: Flag = True, *, family: Name | None = None, **known: Any) -> Ropes:
    """Return every RoPE of a model by name, "part" or "part/layer_type"; None for layers that do
    not rotate.

    Arguments as in `read_config`.
    """
    mapping, name = _load(source)
    request = Request(name, strict, family, checked_keywords(RopeConfig, known))
    if isinstance(mapping, Path):
        with IMPORTS:
            from ropecore.read import gguf

        return gguf.read(mapping, request)
    if params_json.is_params(mapping) and family is None:
        return params_json.read(mapping, request)
    return huggingface.read(mapping, request)


def select(
    found: Mapping[str, RopeConfig | None],
    part: str | None,
    layer_type: str | None,
    names: tuple[str, str] = ("part", "layer_type"),
) -> dict[str, RopeConfig | None]:
    """Return the RoPEs of a part and a layer type, each None for any; names are what refusals call
    the two.
    """
    wanted = {name: config for name, config in found.items() if _matches(name, part, layer_type)}
    if not wanted:
        asked = {name: value for name, value in zip(names, (part, layer_type), strict=True) if value is not None}
        cure = f"It has: {', '.join(found)}."
        raise RopeError(", ".join(asked), "/".join(asked.values()), "is not in the source", cure, "R-12.6")
    return wanted


def _matches(name: str, part: str | None, layer_type: str | None) -> bool:
    own_part, _, own_type = name.partition("/")
    return (part is None or part in (own_part, name)) and (layer_type is None or layer_type == own_type)


def _load(source: Any) -> tuple[Any, str]:
    """Return the source as a dictionary, or the path of a GGUF file, and its name."""
    if isinstance(source, (str, os.PathLike)):
        path = _file(Path(source))
        return (path, path.name) if path.suffix == ".gguf" else (read_json("source", path), path.name)
    if hasattr(source, "to_dict") and not isinstance(source, type):
        return source.to_dict(), type(source).__name__
    if isinstance(source, Mapping):
        return dict(source), "the family's defaults" if set(source) == {"model_type"} else "a dictionary"
    reason = "must be a path, a dictionary or a configuration object with to_dict()"
    raise RopeError("source", source, reason, rule="R-12.6")


def _file(path: Path) -> Path:
    """Return the file itself, or the one that a folder has."""
    if not path.is_dir():
        return path
    found = [path / name for name in NAMES if (path / name).is_file()] or sorted(path.glob("*.gguf"))
    if not found or (found[0].suffix == ".gguf" and len(found) > 1):
        reason = "has several .gguf files" if found else "is a folder without config.json, params.json or .gguf"
        raise RopeError("source", str(path), reason, "Name the file.", "R-12.6")
    return found[0]
