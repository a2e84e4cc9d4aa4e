"""`ropecore diff`: in what two models' RoPEs differ."""

import argparse
import json
from typing import Any

from ropecore.analysis.compare import compare
from ropecore.config import RopeConfig

from .common import add_command
from .source import CONTEXT, read_source


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of `ropecore`."""
    diff = add_command(commands, "diff", "say in what two models' RoPEs differ", "ropecore diff llama qwen3", _diff)
    diff.add_argument("first", help="a configuration file, a folder, a .gguf, or a model type")
    diff.add_argument("second")
    diff.add_argument("--lenient", action="store_true", help="leave out keys that are not known")
    diff.add_argument("--json", action="store_true", help="print JSON")


def _diff(options: argparse.Namespace) -> int:
    """Print the differences; exit status 1 if there are any."""
    first, second = (read_source(name, options.lenient, {}) for name in (options.first, options.second))
    heads = [_head(name, found) for name, found in ((options.first, first), (options.second, second))]
    one = len(first) == len(second) == 1  # the only RoPE of each, whatever they are called
    renamed = dict(zip(first if one else second, second.values(), strict=True))
    names = list(dict.fromkeys([*first, *renamed]))
    found = {name: _differences(first, renamed, name) for name in names}
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print(*heads, sep="\n")
        for name, differences in found.items():
            print(f"{name}:", *(differences or ["the same rotation"]), sep="\n  ")
    return 1 if any(found.values()) else 0


def _head(name: str, found: dict[str, RopeConfig | None]) -> str:
    """Return a line that says of what a source's RoPEs were read, and their bases."""
    configs = [config for config in found.values() if config is not None]
    evidence = dict.fromkeys(f"{config.report.source}; {config.report.evidence}" for config in configs if config.report)
    bases = dict.fromkeys("none" if config.base is None else f"{config.base:.12g}" for config in configs)
    return f"{name} ({'; '.join(evidence)}): base {', '.join(bases)}" if configs else f"{name}: does not rotate"


def _differences(first: dict[str, Any], second: dict[str, Any], name: str) -> list[str]:
    """Return what differs between two sources' RoPEs of one name, as lines."""
    if name not in first or name not in second:
        return [f"only the {'first' if name in first else 'second'} has it"]
    one, other = first[name], second[name]
    if one is None or other is None:
        return [] if one is other else [f"the {'first' if one is None else 'second'} does not rotate"]
    context = max(config.report.context or CONTEXT if config.report else CONTEXT for config in (one, other))
    return compare(one, other, context)
