"""`ropecore models`: the families of models that can be read."""

import argparse
import fnmatch
import json
from typing import Any

from ropecore.errors import RopeError
from ropecore.read.families import families

from .common import add_command


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of `ropecore`."""
    models = add_command(
        commands, "models", "list the families of models that can be read", "ropecore models 'qwen*'", _models
    )
    models.add_argument("pattern", nargs="?", default="*", help="families to list, with * and ? (default: all)")
    models.add_argument("--json", action="store_true", help="print JSON")


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
