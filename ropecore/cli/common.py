"""What the commands share: a parser with an example, files to write, and a progress bar."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Show = Callable[[int, int, str], None]  # done, of how many, what is at work


def add_command(commands: Any, name: str, summary: str, example: str, run: Any) -> argparse.ArgumentParser:
    """Add a command whose help ends with an example; run takes the options and returns the exit
    status.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(main=run)
    return parser


def output_file(text: str) -> Path:
    """Return the path of a file to write, refused where it cannot be one: a type of argparse, so
    before any work.
    """
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise argparse.ArgumentTypeError(f"cannot write {text}: {reason}")
    return path


@contextmanager
def progress(unit: str = "") -> Iterator[Show | None]:
    """Show a progress bar where rich is installed and standard error is a terminal; unit "bytes"
    shows sizes.
    """
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield None
        return
    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of, what: bar.update(task, completed=done, total=of, description=what)
