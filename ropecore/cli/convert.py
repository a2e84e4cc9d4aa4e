"""`ropecore convert CHECKPOINT --to PAIRING -o OUT`: convert a safetensors checkpoint to the other pairing."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ropecore.config import RopeConfig
from ropecore.errors import RopeError, integer, number
from ropecore.lanes import PAIRINGS
from ropecore.limits import read_json
from ropecore.read import read_configs
from ropecore.weights import FUSED, ROLES
from ropecore.weights.convert import (
    PAIRING_KEY,
    Checkpoint,
    Conversion,
    Progress,
    VerificationError,
    convert_checkpoint,
    open_checkpoint,
)

CONVERTED, FAILED = 0, 1
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
    parser.add_argument("--dry-run", action="store_true", help="check everything and write nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(main=main)
    return parser


def main(options: argparse.Namespace) -> int:
    """Run the command with parsed arguments and return its exit status."""
    checkpoint = open_checkpoint(options.checkpoint)  # before sizes are asked for: it may not be there
    sizes = _sizes(options, checkpoint)
    lanes = {name: sizes[name] for name in ("head_dim", "rotary_dim", "lane_offset")}
    before, after = (
        RopeConfig(base=10_000.0, pairing=pairing, **lanes).plan()  # the base does not show in a permutation of lanes
        for pairing in (*(name for name in PAIRINGS if name != options.to), options.to)
    )
    try:
        with _progress() as progress:
            done = convert_checkpoint(
                options.checkpoint, options.output, before, after, n_heads=sizes["n_heads"], n_kv_heads=sizes["n_kv_heads"],
                fused=options.fused, patterns=None if options.pattern is None else tuple(options.pattern),
                progress=progress, dry_run=options.dry_run,
            )  # fmt: skip
    except (OSError, VerificationError) as error:
        print(f"ropecore: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("ropecore: stopped; the same command goes on from here", file=sys.stderr)
        return FAILED
    print(_json(options, sizes, done) if options.json else _text(options, sizes, done))
    return CONVERTED


def _pattern(text: str) -> tuple[str, str]:
    role, equals, glob = text.partition("=")
    if not equals or not glob or role not in ROLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROLE=GLOB with a role of {', '.join(ROLES)}")
    return role, glob


def _sizes(options: argparse.Namespace, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return head_dim, n_heads, n_kv_heads, rotary_dim and lane_offset: of the options, else of a configuration, else refused."""
    names = ("head_dim", "n_heads", "n_kv_heads", "rotary_dim")
    sizes = {name: getattr(options, name) for name in (*names, "lane_offset")}
    path = options.config or _config_beside(Path(options.checkpoint))
    if path is not None and None in (sizes[name] for name in names):
        said = config_sizes(read_json("--config", path))
        said |= _check_pairing(path, options, checkpoint, said.get("head_dim"))
        sizes = {name: said.get(name) if size is None else size for name, size in sizes.items()}
    for name in ("head_dim", "n_heads"):
        if sizes[name] is None:
            option = "--" + name.replace("_", "-")
            raise RopeError(
                option, None, "nothing says it", f"Give {option}, or a configuration by --config.", "R-12.6"
            )
    if sizes["n_kv_heads"] is None:
        sizes["n_kv_heads"] = sizes["n_heads"]
    return {**sizes, "lane_offset": sizes["lane_offset"] or 0}


def _check_pairing(
    path: Path, options: argparse.Namespace, checkpoint: Checkpoint, head_dim: int | None
) -> dict[str, int]:
    """Refuse a checkpoint whose model rotates as it shall rotate after; else return which lanes of it rotate, if that is known.

    What the checkpoint's own metadata say of an earlier conversion goes before its model's family.
    """
    try:
        ropes = [rope for name, rope in read_configs(path, strict=False).items() if name.startswith("text") and rope]
    except RopeError:  # of a family that is not known: then the caller knows what the weights are
        return {}
    converted = any(PAIRING_KEY in header.metadata for header in checkpoint.headers.values())
    if not converted and ropes and all(rope.pairing == options.to for rope in ropes):
        cure = "If its weights are another program's, give --head-dim, --n-heads, --n-kv-heads and --rotary-dim."
        raise RopeError("--to", options.to, f"is how this model rotates already, as {path} says", cure, "R-3.1")
    lanes = {(2 * rope.n_pairs, rope.lane_offset) for rope in ropes if rope.head_dim == head_dim}
    return dict(zip(("rotary_dim", "lane_offset"), lanes.pop(), strict=True)) if len(lanes) == 1 else {}


def _config_beside(checkpoint: Path) -> Path | None:
    """Return the config.json or params.json that belongs to a checkpoint, if there is one."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    return next((folder / name for name in ("config.json", "params.json") if (folder / name).is_file()), None)


def config_sizes(config: Any) -> dict[str, int]:
    """Return those of head_dim, n_heads, n_kv_heads and rotary_dim that a model's configuration says, by any of their usual names.

    The text part of a composite configuration is meant.  Which RoPE the model has is no question here: a permutation needs sizes.
    """
    if not isinstance(config, Mapping):
        raise RopeError("--config", config, "must be an object", rule="R-12.6")
    text = config.get("text_config", config)
    if not isinstance(text, Mapping):
        raise RopeError("--config", text, "its text_config must be an object", rule="R-12.6")
    n_heads = _first(text, "num_attention_heads", "n_head", "n_heads", "num_heads")
    hidden = _first(text, "hidden_size", "n_embd", "dim", "d_model")
    head_dim = _first(text, "head_dim", "kv_channels")
    if head_dim is None and hidden is not None and n_heads is not None:
        head_dim = hidden // n_heads
    sizes = {
        "head_dim": head_dim,
        "n_heads": n_heads,
        "n_kv_heads": _first(text, "num_key_value_heads", "n_kv_heads", "num_kv_heads", "multi_query_group_num"),
        "rotary_dim": _first(text, "rotary_dim") or _partial(text, head_dim),
    }
    return {name: size for name, size in sizes.items() if size is not None}


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if value is not None:
            return integer(f"--config {name}", value, at_least=1)
    return None


def _partial(config: Mapping[str, Any], head_dim: int | None) -> int | None:
    """Return the rotary_dim that a fraction of the head says, or None.

    Under rope_type "proportional" lanes are paired over the whole head, and the fraction says how many pairs turn (R-5.10).
    """
    ropes = [rope for key in ("rope_parameters", "rope_scaling") for rope in _dictionaries(config.get(key))]
    proportional = [rope.get("rope_type") == "proportional" for rope in ropes]
    found = []
    for place, whole in [(config, any(proportional)), *zip(ropes, proportional, strict=True)]:
        for name in ("partial_rotary_factor", "rotary_pct", "rotary_emb_fraction"):
            if place.get(name) is not None:
                found.append(1.0 if whole else number(f"--config {name}", place[name], above=0, at_most=1))
    if not found or head_dim is None:
        return None
    if len(set(found)) > 1:
        cure = "Give --rotary-dim."
        raise RopeError(
            "--config", sorted(map(str, found)), "does not say one fraction of the head that rotates", cure, "R-3.4"
        )
    return int(head_dim * found.pop())


def _dictionaries(rope: Any) -> list[Mapping[str, Any]]:
    """Return a rope dictionary and those it nests by layer type."""
    if not isinstance(rope, Mapping):
        return []
    return [rope, *(inner for inner in rope.values() if isinstance(inner, Mapping))]


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show a bar where somebody looks on and rich is installed."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("write and verify", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
