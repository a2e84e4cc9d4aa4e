"""`ropecore convert CHECKPOINT --to PAIRING -o OUT`: convert a safetensors checkpoint to the other
pairing.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.lanes import PAIRINGS
from ropecore.limits import read_json
from ropecore.plan import RotaryPlan
from ropecore.read import read_configs
from ropecore.read.families import UnknownFamily
from ropecore.read.keys import head_counts
from ropecore.read.parts import text_keys
from ropecore.weights import FUSED, ROLES
from ropecore.weights.convert import PAIRING_KEY, Conversion, VerificationError, convert_checkpoint
from ropecore.weights.safetensors_file import Checkpoint, open_checkpoint

from .common import progress

CONVERTED, FAILED = 0, 1
LANES = ("head_dim", "rotary_dim", "lane_offset")
LayerLanes = dict[int, dict[str, int]]
ANY_BASE = 10_000.0  # it does not show in a permutation of lanes
GIVE_SIZES = "Give --head-dim, --n-heads, --n-kv-heads and --rotary-dim."
EXAMPLES = """\
examples:
  ropecore convert Llama-3.2-1B/ --to interleaved -o Llama-3.2-1B-interleaved/       reads the folder's config.json
  ropecore convert model.safetensors --to half_split -o new.safetensors --head-dim 64 --n-heads 32 --n-kv-heads 8
  ropecore convert gpt-neox/ --to interleaved -o out/ --fused grouped --dry-run      says what would change

A run that was killed goes on where it stopped when it is started again. The input is never changed.
exit status: 0 converted, 1 failed while reading or writing, 2 the call or the checkpoint cannot be used
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the subparsers of `ropecore`, and return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "convert",
        help="convert a checkpoint's query and key weights to the other pairing",
        description="Permute the query and key rows of a safetensors checkpoint, with their biases, norms, scales and LoRA factors, "
        "so that a model that rotates in the other pairing computes the same scores.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .safetensors file, an index, or a folder with one of them"
    )
    parser.add_argument(
        "--to", choices=PAIRINGS, required=True, help="the pairing of the result; the checkpoint has the other one"
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="file for a file, else folder; must not exist yet"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a config.json that says the sizes (default: the checkpoint's own)"
    )
    parser.add_argument("--head-dim", type=int, help="lanes of a head")
    parser.add_argument("--n-heads", type=int, help="query heads")
    parser.add_argument("--n-kv-heads", type=int, help="key heads (default: n_heads)")
    parser.add_argument(
        "--rotary-dim", type=int, help="lanes that rotate (default: what the configuration says, else all)"
    )
    parser.add_argument("--lane-offset", type=int, help="first lane that rotates (default: 0)")
    parser.add_argument("--fused", choices=FUSED, help="order of the heads in a fused q, k, v projection")
    parser.add_argument(
        "--pattern", action="append", type=_pattern, metavar="ROLE=GLOB",
        help=f"tensors to convert instead of the usual names; roles: {', '.join(ROLES)}; may be repeated",
    )  # fmt: skip
    parser.add_argument("--lenient", action="store_true", help="leave out keys of the configuration that are not known")
    parser.add_argument("--dry-run", action="store_true", help="check everything and write nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(main=main)
    return parser


def main(options: argparse.Namespace) -> int:
    """Run the command with parsed arguments and return its exit status."""
    checkpoint = open_checkpoint(options.checkpoint)  # before sizes are asked for: it may not be there
    sizes, by_layer = _sizes(options, checkpoint)
    before, after = _plans({name: sizes[name] for name in LANES}, options.to)
    layers = {number: _plans(lanes, options.to) for number, lanes in by_layer.items()}
    try:
        with progress("bytes") as show:
            done = convert_checkpoint(
                checkpoint, options.output, before, after, n_heads=sizes["n_heads"], n_kv_heads=sizes["n_kv_heads"],
                fused=options.fused, patterns=None if options.pattern is None else tuple(options.pattern),
                layers=layers, dry_run=options.dry_run,
                progress=show and (lambda done, of: show(done, of, "write and verify")),
            )  # fmt: skip
    except (OSError, VerificationError) as error:
        print(f"ropecore: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("ropecore: stopped; the same command goes on from here", file=sys.stderr)
        return FAILED
    print(_json(options, sizes, done) if options.json else _text(options, sizes, done))
    return CONVERTED


def _plans(lanes: Mapping[str, Any], to: str) -> tuple[RotaryPlan, RotaryPlan]:
    """Return the plans of a head before and after."""
    other = next(name for name in PAIRINGS if name != to)
    return RopeConfig(base=ANY_BASE, pairing=other, **lanes).plan(), RopeConfig(
        base=ANY_BASE, pairing=to, **lanes
    ).plan()


def _pattern(text: str) -> tuple[str, str]:
    role, equals, glob = text.partition("=")
    if not equals or not glob or role not in ROLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROLE=GLOB with a role of {', '.join(ROLES)}")
    return role, glob


def _sizes(options: argparse.Namespace, checkpoint: Checkpoint) -> tuple[dict[str, Any], LayerLanes]:
    """Return head_dim, n_heads, n_kv_heads, rotary_dim and lane_offset, and the lanes of layers
    that have others.

    They are those of the options, else of a configuration, else refused.
    """
    names = ("head_dim", "n_heads", "n_kv_heads", "rotary_dim")
    sizes = {name: getattr(options, name) for name in (*names, "lane_offset")}
    by_layer: LayerLanes = {}
    path = options.config or _config_beside(Path(options.checkpoint))
    if path is not None and None in (sizes[name] for name in names):
        said, by_layer = config_sizes(read_json("--config", path), options, is_converted(checkpoint))
        sizes = {name: said.get(name) if size is None else size for name, size in sizes.items()}
    for name in ("head_dim", "n_heads"):
        if sizes[name] is None:
            option = "--" + name.replace("_", "-")
            raise RopeError(
                option, None, "nothing says it", f"Give {option}, or a configuration by --config.", "R-12.6"
            )
    if sizes["n_kv_heads"] is None:
        sizes["n_kv_heads"] = sizes["n_heads"]
    return {**sizes, "lane_offset": sizes["lane_offset"] or 0}, by_layer


def is_converted(checkpoint: Checkpoint) -> bool:
    """Return whether the checkpoint's own metadata say that it was converted; they go before its
    model's family.
    """
    return any(PAIRING_KEY in header.metadata for header in checkpoint.headers.values())


def config_sizes(
    config: Mapping[str, Any], options: argparse.Namespace, converted: bool
) -> tuple[dict[str, int], LayerLanes]:
    """Return head_dim, rotary_dim, lane_offset and the heads of a model's text part, as
    `read_configs` reads it.

    Where its layers rotate different lanes, also those of each layer.

    What the reader refuses is refused, and a model that rotates already as it shall rotate after.
    """
    known = {name: getattr(options, name) for name in LANES if getattr(options, name) is not None}
    try:
        found = read_configs(config, strict=not options.lenient, **known)
        told = True
    except UnknownFamily:  # then it is the caller who says how it is paired
        other = next(name for name in PAIRINGS if name != options.to)
        found = read_configs(config, strict=not options.lenient, pairing=other, base=ANY_BASE, **known)
        told = False
    ropes = [rope for name, rope in found.items() if name.startswith("text") and rope is not None]
    if not ropes:
        raise RopeError("--config", ", ".join(found), "has no text part that rotates", GIVE_SIZES, "R-12.6")
    if told and not converted and all(rope.pairing == options.to for rope in ropes):
        cure = f"If its weights are another program's: {GIVE_SIZES}"
        raise RopeError(
            "--to", options.to, "is how this model rotates already, as its configuration says", cure, "R-3.1"
        )
    lanes = {
        rope: {"head_dim": rope.head_dim, "rotary_dim": 2 * rope.n_pairs, "lane_offset": rope.lane_offset}
        for rope in ropes
    }
    first = lanes[ropes[0]]
    by_layer: LayerLanes = {}
    if any(own != first for own in lanes.values()):
        if any(rope.report is None or rope.report.layers is None for rope in ropes):
            reason = "has layers that rotate different lanes, and does not say which"
            raise RopeError("--config", list(found), reason, "Convert them by ropecore.convert_pairing.", "R-3.7")
        by_layer = {i: lanes[rope] for rope in ropes if rope.report for i in rope.report.layers or ()}
    return first | head_counts(text_keys(config)), by_layer


def _config_beside(checkpoint: Path) -> Path | None:
    """Return the config.json or params.json that belongs to a checkpoint, if there is one."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    return next((folder / name for name in ("config.json", "params.json") if (folder / name).is_file()), None)


def _json(options: argparse.Namespace, sizes: Mapping[str, Any], done: Conversion) -> str:
    result = dataclasses.asdict(done) | {"output": str(done.output), "to": options.to, "dry_run": options.dry_run}
    return json.dumps(result | {name: size for name, size in sizes.items() if size is not None}, indent=1)


def _text(options: argparse.Namespace, sizes: Mapping[str, Any], done: Conversion) -> str:
    other = next(name for name in PAIRINGS if name != options.to)
    verb = "would convert" if options.dry_run else "converted"
    rotary = sizes["rotary_dim"] or sizes["head_dim"] - sizes["lane_offset"]
    lines = [
        f"{verb} {len(done.converted)} of {done.tensors} tensors from {other} to {options.to}: {done.output}",
        f"{sizes['n_heads']} query and {sizes['n_kv_heads']} key heads of {sizes['head_dim']} lanes, of which {rotary} rotate; "
        f"{done.data_bytes:,} bytes in {len(done.shards)} file{'s' * (len(done.shards) > 1)}",
    ]
    if done.resumed_bytes:
        lines.append(f"went on from {done.resumed_bytes:,} bytes of an earlier run")
    if done.left:
        lines.append(f"left as they are: {len(done.left)} tensors of vision and audio towers, such as {done.left[0]}")
    if options.dry_run:
        lines += [f"  {name}" for name in done.converted]
    else:
        lines.append(
            f"every byte was read back; a model that loads it must rotate {options.to} (configurations are not copied)"
        )
    return "\n".join(lines)
