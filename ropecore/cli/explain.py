"""`ropecore explain`: what a RoPE does, pair by pair."""

import argparse
import json
from pathlib import Path
from typing import Any

from ropecore.analysis.explain import Explanation, explain
from ropecore.analysis.plot import save_plot
from ropecore.axes import ORDERS
from ropecore.config import AXIS_FREQUENCIES, KEYWORDS, RopeConfig
from ropecore.errors import RopeError
from ropecore.lanes import PAIRINGS
from ropecore.limits import parse_json, read_json
from ropecore.read import select
from ropecore.scaling import RULES, rule_from_dict

from .common import add_command, output_file
from .source import CONTEXT, read_source


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of `ropecore`."""
    parser = add_command(
        commands,
        "explain",
        "print what a RoPE does, pair by pair",
        "ropecore explain path/to/config.json --plot rope.png\n"
        "         ropecore explain --head-dim 128 --base 500000 --pairing half_split --context 131072\n"
        "           --scaling llama3 factor=8 low_freq_factor=1 high_freq_factor=4 original_max_position=8192",
        _explain,
    )
    parser.add_argument("source", nargs="?", help="a configuration file, a folder, a .gguf, or a model type")
    parser.add_argument("--part", help="of a source with several models: text, vision, ..")
    parser.add_argument("--layer-type", help="of a source with several RoPEs: sliding_attention, ..")
    parser.add_argument("--lenient", action="store_true", help="leave out keys that are not known")
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
        return _explain_source(options, given)
    config = RopeConfig.from_dict(given if options.config is None else read_json("--config", options.config))
    explanation = explain(config, CONTEXT if options.context is None else options.context, options.seq_len)
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


def _explain_source(options: argparse.Namespace, known: dict[str, Any]) -> int:
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
