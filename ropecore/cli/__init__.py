"""The command line: `ropecore conformance | vectors | explain`.  argparse and the base installation are enough.

Exit status: 0 all is well, 1 something failed (a case, a vector file), 2 the call was wrong.
"""

import argparse
import csv
import fnmatch
import importlib
import io
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ropecore._version import __version__
from ropecore.analysis.explain import explain, save_plot
from ropecore.axes import ORDERS
from ropecore.cli import source
from ropecore.config import AXIS_FREQUENCIES, KEYWORDS, RopeConfig
from ropecore.errors import RopeError
from ropecore.lanes import PAIRINGS
from ropecore.limits import parse_json, read_json
from ropecore.scaling import RULES, rule_from_dict


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
        print(f"ropecore: {error}", file=sys.stderr)
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
    """Close standard output if it cannot be written, so that the interpreter does not try again when it leaves."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()


def output_file(text: str) -> Path:
    """Return the path of a file to write, refused where it cannot be one: a type of argparse, so before any work."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise argparse.ArgumentTypeError(f"cannot write {text}: {reason}")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ropecore",
        description="The definition of rotary position embedding: explain it, test against it, cite it.",
    )
    parser.add_argument("--version", action="version", version=f"ropecore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    importlib.import_module("ropecore.conformance.cli").add_parser(commands)
    importlib.import_module("ropecore.cli.convert").add_parser(commands)
    importlib.import_module("ropecore.conformance.identify.cli").add_parser(commands)
    _add_vectors(commands)
    _add_explain(commands)
    source.add_parsers(commands, _command)
    return parser


def _command(commands: Any, name: str, summary: str, example: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(main=run)
    return parser


def _add_vectors(commands: Any) -> None:
    vectors = commands.add_parser("vectors", help="list, show, export and verify the golden vectors")
    actions = vectors.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = _command(actions, "list", "list the ids of vectors", "ropecore vectors list 'rotate/*'", _vectors_list)
    show = _command(
        actions, "show", "print one vector as JSON", "ropecore vectors show rotate/half_split/d8/pos257", _vectors_show
    )
    export = _command(
        actions,
        "export",
        "write vectors as plain data",
        "ropecore vectors export --format npz -o vectors.npz",
        _vectors_export,
    )
    verify = _command(
        actions, "verify", "check the vector files against the manifest", "ropecore vectors verify", _vectors_verify
    )
    show.add_argument("id", help="id of a vector")
    for action in (listing, export):
        action.add_argument("pattern", nargs="?", default="*", help="ids to take, with * and ? (default: all)")
    export.add_argument("--format", choices=("json", "npz", "csv", "safetensors"), default="json")
    export.add_argument("-o", "--output", type=output_file, required=True, help="file to write, - for standard output")
    for action in (listing, verify):
        action.add_argument("--json", action="store_true", help="print JSON")


def _selected(pattern: str) -> list[dict[str, Any]]:
    spec = importlib.import_module("ropecore.spec")
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
        print(json.dumps(importlib.import_module("ropecore.spec").vector(options.id), indent=1))
    except KeyError as error:
        print(f"ropecore: {error.args[0]}. See: ropecore vectors list", file=sys.stderr)
        return 2
    return 0


def _vectors_verify(options: argparse.Namespace) -> int:
    spec = importlib.import_module("ropecore.spec")
    problems = spec.verify()
    if options.json:
        print(json.dumps({"problems": problems, "cases": len(spec.vectors())}))
    else:
        print("\n".join(problems) or f"{len(spec.vectors())} vectors: all files are as the manifest says")
    return 1 if problems else 0


def _vectors_export(options: argparse.Namespace) -> int:
    cases = _selected(options.pattern)
    data = {"json": _json, "npz": _npz, "csv": _csv, "safetensors": _safetensors}[options.format](cases)
    if options.output == Path("-"):
        sys.stdout.buffer.write(data)
        return 0
    options.output.write_bytes(data)
    print(f"{len(cases)} vectors written to {options.output}")
    return 0


def _arrays(case: Any, path: str) -> Iterable[tuple[str, np.ndarray[Any, Any]]]:
    """Yield every array of a case with its name, id/x, id/result/y and so on."""
    if isinstance(case, dict) and {"shape", "data"} <= case.keys():
        numbers = [
            float(n) if isinstance(n, str) and "n" in n.lower() else int(n) if isinstance(n, str) else n
            for n in case["data"]
        ]
        whole = bool(numbers) and all(isinstance(n, int) for n in numbers)
        yield path, np.array(numbers, np.int64 if whole else np.float64).reshape(case["shape"])
    elif isinstance(case, (dict, list)):
        for key, value in case.items() if isinstance(case, dict) else enumerate(case):
            yield from _arrays(value, f"{path}/{key}")


def _named_arrays(cases: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: array for case in cases for name, array in _arrays(case, case["id"])}


def _json(cases: list[dict[str, Any]]) -> bytes:
    return json.dumps(cases, indent=None).encode() + b"\n"


def _npz(cases: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **_named_arrays(cases))
    return file.getvalue()


def _csv(cases: list[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    rows = csv.writer(file)
    rows.writerow(["array", "index", "value"])
    for name, array in _named_arrays(cases).items():
        rows.writerows([name, " ".join(map(str, index)), repr(value.item())] for index, value in np.ndenumerate(array))
    return file.getvalue().encode()


def _safetensors(cases: list[dict[str, Any]]) -> bytes:
    """Write the format by hand, as it is short: a length, a JSON header, and the bytes."""
    header: dict[str, Any] = {"__metadata__": {"license": "CC0-1.0", "source": f"ropecore {__version__}"}}
    blobs, start = [], 0
    for name, array in _named_arrays(cases).items():
        blob = array.astype(array.dtype.newbyteorder("<")).tobytes()
        kind = "I64" if array.dtype.kind == "i" else "F64"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, start + len(blob)]}
        blobs.append(blob)
        start += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the bytes start at a multiple of 8
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs])


def _add_explain(commands: Any) -> None:
    parser = _command(
        commands,
        "explain",
        "print what a RoPE does, pair by pair",
        "ropecore explain path/to/config.json --plot rope.png\n"
        "         ropecore explain --head-dim 128 --base 500000 --pairing half_split --context 131072\n"
        "           --scaling llama3 factor=8 low_freq_factor=1 high_freq_factor=4 original_max_position=8192",
        _explain,
    )
    source.add_source(parser)
    parser.add_argument(
        "--config", type=Path, help="a JSON file with the keywords of RopeConfig, instead of the options"
    )
    parser.add_argument("--head-dim", type=int)
    parser.add_argument("--base", type=float, help="of the frequencies base^(-2j/rotary_dim); rope_theta elsewhere")
    parser.add_argument("--pairing", choices=PAIRINGS)
    parser.add_argument("--out-pairing", choices=PAIRINGS, help="lanes written, if not those read")
    parser.add_argument("--rotary-dim", type=int, help="lanes that rotate (default: all)")
    parser.add_argument("--frequency-dim", type=int, help="denominator of the exponent (default: rotary_dim)")
    parser.add_argument("--lane-offset", type=int, help="first lane that rotates (default: 0)")
    parser.add_argument("--direction", type=int, choices=(1, -1))
    parser.add_argument("--attention-factor", type=float)
    parser.add_argument("--sections", type=int, nargs="+", help="pairs of each axis")
    parser.add_argument("--axes", nargs="+", help="names of the axes")
    parser.add_argument("--axis-order", choices=ORDERS)
    parser.add_argument("--axis-frequencies", choices=AXIS_FREQUENCIES)
    parser.add_argument(
        "--scaling", nargs="+", metavar=("RULE", "NAME=VALUE"), help=f"a rule ({', '.join(RULES)}) and its parameters"
    )
    parser.add_argument(
        "--context", type=int, help="length of the context in positions (default: the source's, or 8192)"
    )
    parser.add_argument(
        "--seq-len", type=int, help="length that length-dependent rules plan for (default: the context)"
    )
    parser.add_argument(
        "--plot",
        type=output_file,
        metavar="FILE",
        help="draw wavelengths, strength over distance and resolution (matplotlib)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, the plan included")


def _explain(options: argparse.Namespace) -> int:
    given = _given(options)
    _check_together(options, given)
    if options.source is not None:
        return source.explain_source(options, given)
    config = RopeConfig.from_dict(given if options.config is None else read_json("--config", options.config))
    explanation = explain(config, 8192 if options.context is None else options.context, options.seq_len)
    if options.plot is not None:
        save_plot({"": explanation}, options.plot)
    print(json.dumps(explanation.to_dict(), indent=1) if options.json else explanation.text())
    return 0


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that are keywords of RopeConfig."""
    names = [keyword.name for keyword in KEYWORDS]
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    if "scaling" in given:
        rule, *parameters = given["scaling"]
        given["scaling"] = rule_from_dict({"rule": rule} | dict(map(_parameter, parameters)))
    return given


def _check_together(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Refuse options that nobody would read beside the others."""
    of_source = {"--part": options.part, "--layer-type": options.layer_type, "--lenient": options.lenient or None}
    for name, value in of_source.items():
        if options.source is None and value is not None:
            raise RopeError(name, value, "goes with a source alone", "For example: ropecore explain llama")
    others = [*(["a source"] if options.source is not None else []), *("--" + name.replace("_", "-") for name in given)]
    if options.config is not None and others:
        raise RopeError("--config", str(options.config), f"cannot go with {', '.join(others)}", "Give one of them.")


def _parameter(text: str) -> tuple[str, Any]:
    """Return factor=8 as a name and a JSON value; words that are no JSON are strings."""
    name, equals, value = text.partition("=")
    if not equals:
        raise RopeError("--scaling", text, "parameters are NAME=VALUE", "For example factor=8.")
    try:
        return name, parse_json("--scaling", value)
    except RopeError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
