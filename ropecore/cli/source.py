"""A source as it is named on the command line: a file of a model, or a family."""

from pathlib import Path
from typing import Any

from ropecore.errors import RopeError
from ropecore.read import read_configs
from ropecore.read.families import did_you_mean, families
from ropecore.read.ropes import Ropes

CONTEXT = 8192  # where the source names none


def read_source(name: str, lenient: bool, known: dict[str, Any]) -> Ropes:
    """Return the RoPEs of a path, or of a family's defaults."""
    source: Any = Path(name) if Path(name).exists() else {"model_type": name}
    if not Path(name).exists() and name not in families():
        raise RopeError("source", name, "is neither a file nor a family", f"{did_you_mean(name)}See: ropecore models")
    return read_configs(source, strict=not lenient, **known)
