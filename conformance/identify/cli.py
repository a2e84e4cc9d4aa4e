"""`ropecore identify`: find the plan of a function from its answers."""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ropecore.arguments import Name, checked
from ropecore.config import RopeConfig
from ropecore.errors import RopeError, told
from ropecore.limits import read_json

from . import UNIT, Box, identify

LIBRARIES = ("numpy", "torch", "jax", "mlx")
EPILOG = """\
The function is f(x, positions) -> y: x is (1, h, s, head_dim), positions are integers (s,), or (n_axes, s).
Wrap one whose arguments differ, in a file of the current folder; it must give the rotated x, in x's shape:

  # my_box.py: a library that takes q, k, cos and sin        # or one that counts positions from an offset
  def box(x, positions):                                     def box(x, positions):
      cos, sin = tables(positions[None])                         tokens = [rope(x[:, :, i:i+1], offset=int(p))
      return apply_rotary(x, x, cos, sin)[0]                               for i, p in enumerate(positions)]
                                                                 return concatenate(tokens, 2)

examples:
  ropecore identify my_package.rope:rotate --head-dim 64
  ropecore identify my_box:box --head-dim 64 --arrays torch
  ropecore identify my_package.rope:rotate --head-dim 64 --arrays torch --expect rope.json    which known bug it has

exit status: 0 a plan explains the function and no known bug does better, 1 it does not, 2 the call was wrong
"""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of `ropecore`."""
    summary = "find the plan of a function from its answers, and its likely bug"
    parser: argparse.ArgumentParser = commands.add_parser(
        "identify",
        help=summary,
        description=summary,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("function", metavar="PACKAGE.MODULE:FUNCTION")
    parser.add_argument("--head-dim", type=int, required=True)
    parser.add_argument("--axes", type=int, default=1, help="coordinates of a position (default: 1)")
    parser.add_argument("--dtype", choices=tuple(UNIT), default="float32", help="of x (default: float32)")
    parser.add_argument("--arrays", choices=LIBRARIES, default="numpy", help="what the function takes and gives")
    parser.add_argument(
        "--expect", type=Path, metavar="FILE", help="a JSON file with the keywords of RopeConfig that it should follow"
    )
    parser.add_argument("--seq-len", type=int, help="of the expected plan, for length-dependent rules")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    sys.path.append(os.getcwd())  # at the end: it hides nothing that is installed
    box = with_arrays(load(options.function), options.arrays)
    expected = None if options.expect is None else RopeConfig.from_dict(read_json("--expect", options.expect))
    found = identify(
        box, options.head_dim, n_axes=options.axes, dtype=options.dtype, expected=expected, seq_len=options.seq_len
    )
    print(found.to_json() if options.json else found.text())
    return 0 if found.plan is not None and not found.problems and not found.suspects else 1


@checked
def load(name: Name) -> Box:
    """Return the function that is named package.module:function."""
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise RopeError("function", name, "must be named package.module:function")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the caller's module does
        raise RopeError("function", name, f"cannot be imported ({told(error)})") from error
    if not callable(found):
        raise RopeError("function", name, "is not callable")
    box: Box = found
    return box


def with_arrays(fn: Box, library: str) -> Box:
    """Return a function of NumPy arrays for one that takes those of a library."""
    if library == "numpy":
        return fn
    try:
        module: Any = importlib.import_module({"torch": "torch", "jax": "jax.numpy", "mlx": "mlx.core"}[library])
    except ImportError as error:
        raise RopeError("--arrays", library, f"is not installed ({told(error)})") from error
    make = {"torch": "from_numpy", "jax": "asarray", "mlx": "array"}[library]

    def box(x: Any, positions: Any) -> Any:
        y = fn(getattr(module, make)(x), getattr(module, make)(positions))
        return np.asarray(y.detach().cpu() if library == "torch" else y)

    return box
