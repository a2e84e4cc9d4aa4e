"""The command line: python -m benchmarks.claims [NAME .. | --all] [--quick] [--list] [--redraw]
[--seed N] [--out FOLDER].
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __doc__ as description
from . import frame

HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiments that were asked for; return 1 if one failed,
    or a check of sanity in it.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    there = frame.experiments()
    if unknown := sorted(set(options.names) - set(there)):
        parser.error(f"no such experiment: {', '.join(unknown)}; there are {', '.join(there)}")
    if options.list:
        seconds = {record["claim"]["id"]: f"{record['seconds']:.0f} s" for record in frame.kept(HERE)}
        for name in there:
            print(f"{name:12} {seconds.get(name, 'not run'):>8}  {frame.load(name).CLAIM.text}")
        return 0
    if bool(options.names) == options.all:
        parser.error("name experiments, or say --all")
    with tempfile.TemporaryDirectory() as passing:
        folder = options.out or (Path(passing) if options.quick else HERE)
        failed = [name for name in (options.names or there) if not _one(name, options, folder)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _one(name: str, options: argparse.Namespace, folder: Path) -> bool:
    try:
        module = frame.load(name)
        if options.redraw:
            record = frame.described(module, next(r for r in frame.kept(folder) if r["claim"]["id"] == name))
        else:
            record = frame.execute(module, options.quick, options.seed)
        frame.keep(module, record, folder)
    except Exception:  # one experiment that fails does not keep the others from being run
        traceback.print_exc()
        return False
    _show(record)
    return not record["result"]["failures"]


def _show(record: dict[str, Any]) -> None:
    """Print a record: by rich where it is installed and somebody watches, as plain text else."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        Console = None
    if Console is None or not sys.stdout.isatty():
        print(_text(record), end="\n\n", flush=True)
        return
    above, below = _around(record)
    table = Table(*record["result"]["columns"])
    for row in record["result"]["rows"]:
        table.add_row(*map(frame.shown, row))
    console = Console()
    for part in ("\n".join(above), table, "\n".join(below)):
        console.print(part, markup=False, highlight=False) if isinstance(part, str) else console.print(part)


def _text(record: dict[str, Any]) -> str:
    """Return a record as a table for a terminal, with the claim above it and the verdict below."""
    result, (above, below) = record["result"], _around(record)
    rows = [list(result["columns"]), *([frame.shown(cell) for cell in row] for row in result["rows"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*above, "", lines[0], "-" * max(map(len, lines)), *lines[1:], "", *below])


def _around(record: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the lines above a record's table, and those below."""
    claim, result = record["claim"], record["result"]
    above = [f"{claim['id']}: {claim['text']}", f"{claim['document']} says: {claim['figure']}"]
    failures = [f"FAILED: {failure}" for failure in result["failures"]]
    return above, [
        f"found: {result['ours']}",
        f"verdict: {result['verdict']}",
        f"{record['seconds']} seconds",
        *failures,
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.claims", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments to run")
    parser.add_argument("--all", action="store_true", help="run all of them")
    parser.add_argument(
        "--quick", action="store_true", help="small: to see that it runs; results go to --out or nowhere"
    )
    parser.add_argument("--list", action="store_true", help="list the claims and stop")
    parser.add_argument("--redraw", action="store_true", help="draw and list the kept results again, without running")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn by chance (default 0)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results/ and README.md go (default: here)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
