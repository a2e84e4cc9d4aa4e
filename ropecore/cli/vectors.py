"""`ropecore vectors`: list, show, export and verify the golden vectors."""

import argparse
import fnmatch
import json
import sys
from pathlib import Path
from typing import Any

from ropecore import spec
from ropecore.errors import RopeError

from .common import add_command, output_file
from .export import FORMATS


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of `ropecore`."""
    vectors = commands.add_parser("vectors", help="list, show, export and verify the golden vectors")
    actions = vectors.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = add_command(actions, "list", "list the ids of vectors", "ropecore vectors list 'rotate/*'", _vectors_list)
    show = add_command(
        actions, "show", "print one vector as JSON", "ropecore vectors show rotate/half_split/d8/pos257", _vectors_show
    )
    export = add_command(
        actions,
        "export",
        "write vectors as plain data",
        "ropecore vectors export --format npz -o vectors.npz",
        _vectors_export,
    )
    verify = add_command(
        actions, "verify", "check the vector files against the manifest", "ropecore vectors verify", _vectors_verify
    )
    show.add_argument("id", help="id of a vector")
    for action in (listing, export):
        action.add_argument("pattern", nargs="?", default="*", help="ids to take, with * and ? (default: all)")
    export.add_argument("--format", choices=tuple(FORMATS), default="json")
    export.add_argument("-o", "--output", type=output_file, required=True, help="file to write, - for standard output")
    for action in (listing, verify):
        action.add_argument("--json", action="store_true", help="print JSON")


def _selected(pattern: str) -> list[dict[str, Any]]:
    try:
        cases: list[dict[str, Any]] = spec.vectors()
    except spec.SpecError as error:
        raise RopeError("vectors", str(error), "cannot be read", "Install the package again.") from error
    chosen = [case for case in cases if fnmatch.fnmatchcase(case["id"], pattern)]
    if not chosen:
        raise RopeError("pattern", pattern, f"matches none of {len(cases)} vectors", "See: ropecore vectors list")
    return chosen


def _vectors_list(options: argparse.Namespace) -> int:
    cases = _selected(options.pattern)
    if options.json:
        keys = ("id", "kind", "rules", "flags", "comment")
        print(json.dumps([{key: case[key] for key in keys} for case in cases], indent=1))
    else:
        width = max(len(case["id"]) for case in cases)
        for case in cases:
            print(f"{case['id']:<{width}}  {case['kind']:<11}  {case['comment']}")
    return 0


def _vectors_show(options: argparse.Namespace) -> int:
    try:
        print(json.dumps(spec.vector(options.id), indent=1))
    except KeyError as error:
        print(f"ropecore: {error.args[0]}. See: ropecore vectors list", file=sys.stderr)
        return 2
    return 0


def _vectors_verify(options: argparse.Namespace) -> int:
    problems = spec.verify()
    if options.json:
        print(json.dumps({"problems": problems, "cases": len(spec.vectors())}))
    else:
        print("\n".join(problems) or f"{len(spec.vectors())} vectors: all files are as the manifest says")
    return 1 if problems else 0


def _vectors_export(options: argparse.Namespace) -> int:
    cases = _selected(options.pattern)
    data = FORMATS[options.format](cases)
    if options.output == Path("-"):
        sys.stdout.buffer.write(data)
        return 0
    options.output.write_bytes(data)
    print(f"{len(cases)} vectors written to {options.output}")
    return 0
