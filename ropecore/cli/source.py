"""The commands that read a model's configuration: `ropecore explain SOURCE`, `diff` and `models`."""

import argparse
import fnmatch
import json
from pathlib import Path
from typing import Any

import numpy as np

from ropecore.analysis.explain import Explanation, explain, save_plot
from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.read import read_configs, select
from ropecore.read.families import did_you_mean, families
from ropecore.read.ropes import Ropes

CONTEXT = 8192  # where the source names none


def add_parsers(commands: Any, command: Any) -> None:
    """Add `diff` and `models`; command makes a parser with an example."""
    diff = command(commands, "diff", "say in what two models' RoPEs differ", "ropecore diff llama qwen3", _diff)
    diff.add_argument("first", help="a configuration file, a folder, a .gguf, or a model type")
    diff.add_argument("second")
    diff.add_argument("--lenient", action="store_true", help="leave out keys that are not known")
    diff.add_argument("--json", action="store_true", help="print JSON")
    models = command(
        commands, "models", "list the families of models that can be read", "ropecore models 'qwen*'", _models
    )
    models.add_argument("pattern", nargs="?", default="*", help="families to list, with * and ? (default: all)")
    models.add_argument("--json", action="store_true", help="print JSON")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what `explain` needs to read a source."""
    parser.add_argument("source", nargs="?", help="a configuration file, a folder, a .gguf, or a model type")
    parser.add_argument("--part", help="of a source with several models: text, vision, ..")
    parser.add_argument("--layer-type", help="of a source with several RoPEs: sliding_attention, ..")
    parser.add_argument("--lenient", action="store_true", help="leave out keys that are not known")


def read_source(name: str, lenient: bool, known: dict[str, Any]) -> Ropes:
    """Return the RoPEs of a path, or of a family's defaults."""
    source: Any = Path(name) if Path(name).exists() else {"model_type": name}
    if not Path(name).exists() and name not in families():
        raise RopeError("source", name, "is neither a file nor a family", f"{did_you_mean(name)}See: ropecore models")
    return read_configs(source, strict=not lenient, **known)


def explain_source(options: argparse.Namespace, known: dict[str, Any]) -> int:
    """Print what the RoPEs of a source do, with the reports of how they were read."""
    found = read_source(options.source, options.lenient, known)
    chosen = select(found, options.part, options.layer_type, ("--part", "--layer-type"))
    explained = {name: _explained(config, options) for name, config in chosen.items() if config is not None}
    if options.plot is not None:
        save_plot(explained, options.plot)
    if options.json:
        entries = {name: None if config is None else _entry(config, explained[name]) for name, config in chosen.items()}
        print(json.dumps(entries, indent=1))
        return 0
    for name, config in chosen.items():
        if config is None or config.report is None:
            print(f"{name}: does not rotate", *found.reports[name].notes, sep=": ", end="\n\n")
        else:
            print(config.report.text(), explained[name].text(), sep="\n\n", end="\n\n")
    return 0


def _explained(config: RopeConfig, options: argparse.Namespace) -> Explanation:
    named = config.report.context if config.report is not None else None
    return explain(config, named or CONTEXT if options.context is None else options.context, options.seq_len)


def _entry(config: RopeConfig, explanation: Explanation) -> dict[str, Any]:
    assert config.report is not None
    return explanation.to_dict() | {"report": config.report.to_dict()}


# diff


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
    return compare(one, other)


def compare(one: RopeConfig, other: RopeConfig) -> list[str]:
    """Return in what two configurations differ: their keywords, and what that does to the frequencies; none if plans are equal."""
    length = max(config.report.context or CONTEXT if config.report else CONTEXT for config in (one, other))
    plans = one.plan(length), other.plan(length)
    if plans[0] == plans[1]:
        return []
    mine, theirs = one.to_dict(), other.to_dict()
    lines = [
        f"{key}: {mine.get(key)} | {theirs.get(key)}"
        for key in sorted({*mine, *theirs})
        if mine.get(key) != theirs.get(key)
    ]
    if plans[0].attention_factor != plans[1].attention_factor:
        lines.append(f"attention factor: {plans[0].attention_factor:.6g} | {plans[1].attention_factor:.6g}")
    if plans[0].frequencies.shape != plans[1].frequencies.shape:
        return [*lines, f"pairs and axes: {plans[0].frequencies.shape} | {plans[1].frequencies.shape}"]
    moved = np.any(plans[0].frequencies != plans[1].frequencies, axis=1)
    return [*lines, f"frequencies: {int(moved.sum())} of {len(moved)} pairs differ"] if moved.any() else lines


# models


def _models(options: argparse.Namespace) -> int:
    rows = {name: row for name, row in sorted(families().items()) if fnmatch.fnmatchcase(name, options.pattern)}
    if not rows:
        raise RopeError("pattern", options.pattern, f"matches none of {len(families())} families")
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        width = max(map(len, rows))
        for name, row in rows.items():
            print(f"{name:<{width}}  {_kind(row):<34}  {row['source']}")
    return 0


def _kind(row: dict[str, Any]) -> str:
    """Return a row in a few words."""
    if "pairing" not in row:
        return (
            "parts: " + ", ".join(key for key, part in row["parts"].items() if part)
            if "parts" in row
            else "does not rotate"
        )
    words = [row["pairing"], f"to {row['out_pairing']}" if "out_pairing" in row else "", row.get("axes", "")]
    return " ".join(word for word in words if word)
