"""`ropecore conformance TARGET`: run the golden vectors against an implementation."""

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ropecore import RopeError
from ropecore.cli.common import Show, progress

from .cases import Case, cases
from .mutants.run import MutantReport, run_mutants
from .program import TIMEOUT, Program
from .reports.badge import shields, svg
from .reports.junit import junit
from .reports.markdown import markdown
from .reports.page import html
from .reports.report import Report
from .runner import Progress, run
from .target import Target, backends, load_target

PASSED, FAILED, USAGE = 0, 1, 2
FILES = ("json", "junit", "markdown", "badge", "html")  # options that write a file
OPTIONS = {"topic": "--topic", "ids": "--case", "flags": "--flag", "topic, ids, flags": "--topic, --case, --flag"}
BADGES = {".svg": svg, ".json": shields}
EXAMPLES = """\
examples:
  ropecore conformance numpy                              the whole suite, against ropecore's own NumPy adapter
  ropecore conformance my_package.rope:target --json report.json
  ropecore conformance numpy --topic rotate --flag M3     the rotations that catch mistaken pairings
  ropecore conformance --list --case 'rotate/*'           what would be run
  ropecore conformance --mutants                          the suite itself: 107 wrong implementations must be caught
  ropecore conformance --peers                            well-known libraries, as far as they are installed
  ropecore conformance --command "node rope.js"           a program in any language: see conformance/examples/

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
    parser.add_argument(
        "--command", dest="program", metavar="PROGRAM", help="in place of TARGET: a program that speaks the protocol"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="S",
        help="seconds for each of its answers (default %(default)g)",
    )
    parser.add_argument("--topic", action="append", metavar="T", help="only this topic; may be repeated")
    parser.add_argument("--case", action="append", metavar="GLOB", help="only cases whose id matches; may be repeated")
    parser.add_argument("--flag", action="append", metavar="M3", help="only cases that hunt this bug; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the cases and run nothing")
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON, - for standard output instead of text"
    )
    parser.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")
    parser.add_argument("--markdown", metavar="FILE", help="write the report as Markdown")
    parser.add_argument(
        "--badge", metavar="FILE", help="write a badge: FILE.svg is a picture, FILE.json is for shields.io"
    )
    parser.add_argument("--html", metavar="FILE", help="write the report as a page that needs no network")
    parser.add_argument(
        "--peers", nargs="*", metavar="NAME", help="judge well-known libraries that are installed, all or the named"
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="FOLDER",
        help="with --peers: where REPORT.md and report.html go (default, for all of them: the current folder)",
    )
    parser.add_argument("--no-variants", action="store_true", help="leave out the target's other modes (a partial run)")
    parser.add_argument("--mutants", action="store_true", help="run the suite against wrong implementations instead")
    parser.add_argument(
        "--full", action="store_true", help="with --mutants: every case, and the bug that the failures show"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print the counts alone")
    parser.set_defaults(main=main)
    return parser


def main(args: argparse.Namespace) -> int:
    """Run the command with parsed arguments and return its exit status."""
    try:
        chosen = {"topic": args.topic, "ids": args.case, "flags": args.flag}
        _check_files(args)
        if args.list:
            return _list(cases(**chosen))
        if args.mutants:
            return _mutants(args)
        if args.peers is not None:
            return _peers(args)
        if args.badge and Path(args.badge).suffix not in BADGES:
            raise RopeError("--badge", args.badge, f"must end in {' or '.join(BADGES)}")
        cases(**chosen)  # a misspelt selection is refused before the target is loaded
        with _target(args) as target, progress() as show:
            report = run(target, **chosen, variants=not args.no_variants, progress=show and _by_id(show))
    except RopeError as error:
        error.argument = OPTIONS.get(error.argument, error.argument)  # as it was typed
        print(f"ropecore conformance: {error}", file=sys.stderr)
        return USAGE
    _show(report, args.json, args.quiet)
    _write(report, args)
    if report.broken:
        return USAGE
    return PASSED if report.clean else FAILED


def _check_files(args: argparse.Namespace) -> None:
    """Refuse a file that could not be written, before minutes are spent on what it would hold."""
    for option in FILES:
        name = getattr(args, option)
        if not name or (option == "json" and name == "-"):
            continue
        file = Path(name)
        if file.is_dir() or not file.parent.is_dir():
            why = "is a folder" if file.is_dir() else f"there is no folder {file.parent}"
            raise RopeError(f"--{option}", name, why, "Name a file in a folder that exists.")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise RopeError(f"--{option}", name, "may not be written", "Name a file in a folder of yours.")


def _alone(args: argparse.Namespace, mode: str, *beside: str) -> None:
    """Refuse what does not go with --mutants or --peers."""
    others = ("target", "program", "topic", "case", "flag", *FILES, "no_variants", "full", "out")
    taken = ", ".join(f"--{option}" for option in beside)
    for option in others:
        given = getattr(args, option)
        if given and option not in beside:
            name = {"target": "TARGET", "program": "--command"}.get(option, f"--{option.replace('_', '-')}")
            value = " ".join(given) if isinstance(given, list) else given
            raise RopeError(name, value, f"does not go with {mode}", f"Beside it: {taken}.")


def _mutants(args: argparse.Namespace) -> int:
    """Run the suite against the mutants and print the table."""
    _alone(args, "--mutants", "flag", "full", "json", "quiet")
    with progress() as show:
        report = run_mutants(args.flag, args.full, show and _by_id(show))
    _show(report, args.json, args.quiet)
    return PASSED if report.clean else FAILED


def _peers(args: argparse.Namespace) -> int:
    """Judge well-known libraries, print a line for each, and write the report: libraries that fail
    are no error here.
    """
    from .peers import peers, run_peers, summary, write

    _alone(args, "--peers", "out", "quiet")
    folder = Path(args.out or ".")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RopeError("--out", str(folder), "is no folder that may be written to", "Make it first, or name another.")
    with progress() as show:
        judged = run_peers(peers(args.peers), show)
    print(summary(judged) if not args.quiet else summary(judged).splitlines()[-1])
    if not any(each.report for each in judged):
        wanted = " ".join(args.peers) or "all"
        raise RopeError("--peers", wanted, "nothing was run, and nothing is written", "Install one of the libraries.")
    if args.out or not args.peers:
        for file in write(judged, folder):
            print(file)
    return PASSED


@contextlib.contextmanager
def _target(args: argparse.Namespace) -> Iterator[Target]:
    """Give the target that is named, or the program, which is ended afterwards."""
    if (args.target is None) == (args.program is None):
        cure = f"A backend: {', '.join(backends())}; or package.module[:object]; or --command PROGRAM."
        raise RopeError("target", args.target, "one must be given, and not beside --command", cure)
    if args.program is None:
        sys.path.append(os.getcwd())  # at the end: it hides nothing that is installed
        yield load_target(args.target)
    else:
        with Program(args.program, args.timeout) as program:
            target = Target(program)
            target.asked = shlex.join(["--command", args.program])
            yield target


def _list(selected: list[Case]) -> int:
    """Print one line a case: id, flags and comment."""
    for case in selected:
        print(f"{case.id}  [{' '.join(case.flags)}]  {case.comment}")
    print(f"{len(selected)} cases")
    return PASSED


def _show(report: Report | MutantReport, json_file: str | None, quiet: bool) -> None:
    """Print the report, and write it as JSON where that was asked."""
    if json_file == "-":
        print(report.to_json())
        return
    if json_file is not None:
        Path(json_file).write_text(report.to_json() + "\n", encoding="utf-8")
    print(report.text().splitlines()[-1] if quiet else report.text())


def _write(report: Report, args: argparse.Namespace) -> None:
    """Write the further files that were asked for."""
    badge = BADGES[Path(args.badge).suffix] if args.badge else svg
    forms = (
        (args.junit, junit),
        (args.markdown, markdown),
        (args.badge, badge),
        (args.html, html),
    )
    for name, write in forms:
        if name:
            Path(name).write_text(write(report), encoding="utf-8")


def _by_id(show: Show) -> Progress:
    """Return a function that shows the id of the case at work."""
    return lambda done, of, case: show(done, of, case.id)
