"""`ropecore conformance TARGET`: run the golden vectors against an implementation."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ropecore import RopeError

from .cases import Case, cases
from .report import Report
from .runner import Progress, run
from .target import backends, load_target

PASSED, FAILED, USAGE = 0, 1, 2
EXAMPLES = """\
examples:
  ropecore conformance numpy                              the whole suite, against ropecore's own NumPy adapter
  ropecore conformance my_package.rope:target --json report.json
  ropecore conformance numpy --topic rotate --flag M3     the rotations that catch mistaken pairings
  ropecore conformance --list --case 'rotate/*'           what would be run

exit status: 0 nothing failed, 1 something failed or nothing passed, 2 the target or the selection cannot be used
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the subparsers of `ropecore`, and return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "conformance",
        help="run the golden vectors against an implementation",
        description="Run the golden vectors against an implementation and report where it differs from the rules of rope.md.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target", nargs="?", metavar="TARGET", help=f"a backend ({', '.join(backends())}) or package.module[:object]"
    )
    parser.add_argument("--topic", action="append", metavar="T", help="only this topic; may be repeated")
    parser.add_argument("--case", action="append", metavar="GLOB", help="only cases whose id matches; may be repeated")
    parser.add_argument("--flag", action="append", metavar="M3", help="only cases that hunt this bug; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the cases and run nothing")
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON, - for standard output instead of text"
    )
    parser.add_argument("--no-variants", action="store_true", help="leave out the target's other modes (a partial run)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the counts alone")
    parser.set_defaults(main=main)
    return parser


def main(args: argparse.Namespace) -> int:
    """Run the command with parsed arguments and return its exit status."""
    try:
        chosen = {"topic": args.topic, "ids": args.case, "flags": args.flag}
        if args.list:
            return _list(cases(**chosen))
        if args.target is None:
            raise RopeError(
                "target", None, "must be given", f"A backend: {', '.join(backends())}; or package.module[:object]."
            )
        sys.path.append(
            os.getcwd()
        )  # at the end: a module of the current folder is found, and hides none that is installed
        target = load_target(args.target)
        with _progress() as progress:
            report = run(target, **chosen, variants=not args.no_variants, progress=progress)
    except RopeError as error:
        print(f"ropecore conformance: {error}", file=sys.stderr)
        return USAGE
    _show(report, args.json, args.quiet)
    if report.broken:
        return USAGE
    return PASSED if report.clean else FAILED


def _list(selected: list[Case]) -> int:
    """Print one line a case: id, flags and comment."""
    for case in selected:
        print(f"{case.id}  [{' '.join(case.flags)}]  {case.comment}")
    print(f"{len(selected)} cases")
    return PASSED


def _show(report: Report, json_file: str | None, quiet: bool) -> None:
    """Print the report, and write it as JSON where that was asked."""
    if json_file == "-":
        print(report.to_json())
        return
    if json_file is not None:
        Path(json_file).write_text(report.to_json() + "\n", encoding="utf-8")
    print(report.text().splitlines()[-1] if quiet else report.text())


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show a progress bar where rich is installed and standard error is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress as Bar
    except ImportError:
        yield None
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, of: int, case: Case) -> None:
            bar.update(task, completed=done, total=of, description=case.id)

        yield show
