"""The command line: one module a command.  argparse and the base installation are enough.

Exit status: 0 all is well, 1 something failed (a case, a vector file), 2 the call was wrong.
"""

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from contextlib import suppress

from ropecore._version import __version__
from ropecore.errors import RopeError

# the modules that add a command; the suite's are reached by name, as no module of ropecore imports
# it
COMMANDS = (
    "ropecore.conformance.cli",
    "ropecore.cli.convert",
    "ropecore.conformance.identify.cli",
    "ropecore.cli.vectors",
    "ropecore.cli.explain",
    "ropecore.cli.diff",
    "ropecore.cli.models",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):  # what is printed may hold any character, and a terminal may not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        status = int(options.main(options))
        sys.stdout.flush()  # now, while a full disk can still be told
    except RopeError as error:
        print(f"ropecore: {str(error).replace('strict=False', '--lenient')}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"ropecore: cannot read or write {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
        _give_up_output()
        return 2
    return status


def _give_up_output() -> None:
    """Close standard output if it cannot be written, so that the interpreter does not try again
    when it leaves.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ropecore",
        description="The definition of rotary position embedding: explain it, test against it, cite it.",
    )
    parser.add_argument("--version", action="version", version=f"ropecore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        importlib.import_module(module).add_parser(commands)
    return parser
