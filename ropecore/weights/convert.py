"""Checkpoints: safetensors files converted to another pairing, a few megabytes at a time (rope.md
chapter 3).

Every tensor is copied as raw bytes, or with the rows of its heads in another order, so any dtype
passes and nothing is rounded. The result is written into a folder beside the output and moved into
place when each of its bytes has been read back.  That folder keeps a journal, so that a run that
was killed goes on where it stopped.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from ropecore.arguments import Count, Flag, Function, HeadCount, PathLike, checked, path
from ropecore.errors import RopeError
from ropecore.lanes import IntArray
from ropecore.plan import Plan, RotaryPlan
from ropecore.weights import Fused, Patterns, Projections, lane_order
from ropecore.weights.safetensors_file import Checkpoint, Header, Tensor, open_checkpoint, read_header
from ropecore.weights.stage import JOURNAL, Stage, open_stage, stage_folder, sync, sync_folder

CHUNK = 4 << 20  # bytes that are copied at once
COMMIT_EVERY = 64 << 20  # bytes after which the journal notes what is on the disk
PAIRING_KEY = "ropecore.pairing"  # in a file's metadata: what it was converted to

Progress = Callable[[int, int], None]  # bytes done, bytes in all
Moves = Mapping[str, IntArray]  # by tensor: where the entries of each window come from, (n_windows, entries)


class VerificationError(RuntimeError):
    """What was written is not what should have been: the disk failed, or the checkpoint changed
    meanwhile.
    """


@dataclass(frozen=True)
class Conversion:
    """What `convert_checkpoint` did: names of the tensors that changed, and of those that look
    alike and were left.
    """

    output: Path
    shards: tuple[str, ...]
    tensors: int
    data_bytes: int
    converted: tuple[str, ...]
    left: tuple[str, ...] = ()  # query and key projections of vision and audio towers
    resumed_bytes: int = field(default=0, compare=False)  # of an earlier run that was killed


def checkpoint_or_path(argument: str, value: Any) -> Any:
    """Return a checkpoint that is open already, or the path of one."""
    return value if isinstance(value, Checkpoint) else path(argument, value)


def layer_plans(argument: str, value: Any) -> Mapping[int, tuple[RotaryPlan, RotaryPlan]]:
    """Return pairs of plans by the number of their layer, or refuse what is none."""
    if not isinstance(value, Mapping) or not all(
        type(number) is int and isinstance(plans, tuple) and [type(plan) for plan in plans] == [RotaryPlan] * 2
        for number, plans in value.items()
    ):
        raise RopeError(argument, value, "must hold plan_from and plan_to by the number of a layer", rule="R-12.6")
    return value


LayerPlans = Annotated[Mapping[int, tuple[RotaryPlan, RotaryPlan]], layer_plans]
Source = Annotated["str | os.PathLike[str] | Checkpoint", checkpoint_or_path]


class _Shard(NamedTuple):
    """A file of the checkpoint: its name, its header before and after, and what moves in it."""

    name: str
    old: Header
    new: Header
    moves: Moves


@checked
def convert_checkpoint(
    source: Source,
    output: PathLike,
    plan_from: Plan,
    plan_to: Plan,
    *,
    n_heads: HeadCount,
    n_kv_heads: HeadCount,
    fused: Fused | None = None,
    patterns: Patterns | None = None,
    layers: LayerPlans | None = None,
    progress: Function | None = None,
    commit_every: Count = COMMIT_EVERY,
    dry_run: Flag = False,
) -> Conversion:
    """Convert a safetensors checkpoint that rotates by plan_from into one that rotates by plan_to.

    source: a .safetensors file, an index (*.safetensors.index.json), a folder with one of them, or
    what `open_checkpoint` made of it.  output: a file for a file, a folder for an index or a
    folder; it must not exist yet (an empty folder may). Configurations and tokenizers are not
    copied. n_heads, n_kv_heads, fused, patterns: which tensors change and how they hold heads; see
    `Projections`. layers: plan_from and plan_to of the layers that have others, by number.
    progress: called with bytes done and bytes in all; every byte counts twice, written and read
    back.  dry_run: write nothing.

    A run that was killed is finished by the same call, and gives the same bytes.  Memory: a few
    chunks, or one head's rows of a projection if those are more.  The files' metadata then say
    `ropecore.pairing`, and converting twice is refused. RopeError for what cannot be converted,
    before anything is written; VerificationError; OSError.  Rules R-2.5, R-3.1 to R-3.4.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    target = _target(checkpoint, Path(output))
    order = lane_order(plan_from, plan_to)
    orders = {number: lane_order(*plans) for number, plans in (layers or {}).items()}
    if all(np.array_equal(one, np.arange(len(one))) for one in (order, *orders.values())):
        reason, cure = "asks for the weights that plan_from has", "Use the checkpoint as it is."
        raise RopeError("plan_to", plan_to, reason, cure, "R-3.3")
    projections = Projections(order, n_heads, n_kv_heads, fused, patterns, orders)
    _check_not_converted(checkpoint, plan_to.pairing)
    shards = [_shard(name, header, projections, plan_to.pairing) for name, header in checkpoint.headers.items()]
    names = [tensor.name for shard in shards for tensor in shard.old.tensors]
    converted = tuple(name for shard in shards for name in shard.moves)
    _check_roles(projections, converted)
    if not stage_folder(target).exists():
        _check_free(target)
    resumed = 0
    if not dry_run:
        resumed = _run(checkpoint, shards, target, progress or _silent, commit_every)
    left = tuple(filter(projections.leaves, names))
    return Conversion(target, tuple(checkpoint.headers), len(names), checkpoint.data_bytes, converted, left, resumed)


def _target(checkpoint: Checkpoint, output: Path) -> Path:
    """Return where the result goes, or refuse a place that is the input."""
    if checkpoint.is_folder:
        taken, target = checkpoint.folder, output
    else:
        name = next(iter(checkpoint.headers))
        taken, target = checkpoint.folder / name, output / name if output.is_dir() else output
        if target.suffix != ".safetensors":
            raise RopeError("output", str(output), "must be a .safetensors file, or a folder that exists")
    if target.exists() and target.samefile(taken):
        raise RopeError("output", str(output), "is the input, which is never written over", "Name another output.")
    return Path(os.path.abspath(target))


def _check_free(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise RopeError("output", str(target), "exists already", "Remove it, or name another output.")


def _check_not_converted(checkpoint: Checkpoint, pairing: str) -> None:
    for shard, header in checkpoint.headers.items():
        if header.metadata.get(PAIRING_KEY) == pairing != "general":
            reason = f"is {pairing} already, as its own metadata say ({PAIRING_KEY})"
            raise RopeError("checkpoint", shard, reason, "A second permutation would spoil it.")


def _check_roles(projections: Projections, converted: Sequence[str]) -> None:
    """Refuse to convert nothing, or queries without keys: scores would
    be of lanes in two orders.
    """
    if not converted:
        cure = "Name them by patterns, for example q=*.query.* and k=*.key.*."
        raise RopeError("checkpoint", "no tensor", "has the name of a query or key projection", cure)
    roles = {projections.role(name) for name in converted if "lora_" not in name}  # an adapter may be of queries alone
    if ("q" in roles) != ("k" in roles):
        found, other = ("query", "key") if "q" in roles else ("key", "query")
        cure = f"Name the {other} projections by patterns."
        raise RopeError("checkpoint", converted[0], f"there are {found} projections and no {other} projections", cure)


def _shard(name: str, header: Header, projections: Projections, pairing: str) -> _Shard:
    new = Header(header.tensors, {**header.metadata, PAIRING_KEY: pairing})
    return _Shard(name, header, new, _moves(header, projections))


def _moves(header: Header, projections: Projections) -> dict[str, IntArray]:
    """Return for each tensor that changes how entries move within its windows, (n_windows,
    entries): mostly, a window is a head.
    """
    moves = {}
    for tensor in header.tensors:
        order = projections.tensor_order(tensor.name, tensor.shape)
        if order is None:
            continue
        if tensor.n_bytes % len(order):
            reason = f"the rows of {tensor.dtype} do not end at whole bytes"
            raise RopeError(tensor.name, tensor.shape, reason, "Convert it before it is packed.", "R-12.7")
        head_dim, entries = len(projections.lane_order(tensor.name)), len(order)
        by_head = entries % head_dim == 0 and (order // head_dim == np.arange(entries) // head_dim).all()
        window = head_dim if by_head else entries
        moves[tensor.name] = order.reshape(-1, window) - window * np.arange(entries // window)[:, None]
    return moves


def _run(checkpoint: Checkpoint, shards: Sequence[_Shard], target: Path, progress: Progress, commit_every: int) -> int:
    """Write, verify and move into place; return how many bytes an earlier run had left."""
    with open_stage(target, _fingerprint(checkpoint, shards)) as stage:
        if stage.may_be_published() and _is_result(target, checkpoint, shards):  # only the cleaning up was left
            stage.remove()
            return checkpoint.data_bytes
        _check_free(target)
        stage.files.mkdir(exist_ok=True)
        resumed = sum(stage.bytes_of(shard.name) for shard in shards)
        _check_room(stage.files, checkpoint.data_bytes - resumed)
        counter = _Counter(progress, 2 * checkpoint.data_bytes)
        for shard in shards:
            if (stage.files / shard.name).exists():
                counter.add(2 * shard.old.data_bytes)
                continue
            with open(checkpoint.folder / shard.name, "rb", buffering=0) as source:
                _write_shard(source, stage, shard, commit_every, counter)
                _verify_shard(source, stage, shard, counter)
            os.replace(stage.partial(shard.name), stage.files / shard.name)
            sync_folder(stage.files)
        if checkpoint.index is not None:  # as it is: names and offsets are the same
            with open(stage.files / checkpoint.index, "wb") as index:
                index.write((checkpoint.folder / checkpoint.index).read_bytes())
                sync(index)
        stage.publish(None if checkpoint.is_folder else shards[0].name)
        stage.remove()
    return resumed


def _is_result(target: Path, checkpoint: Checkpoint, shards: Sequence[_Shard]) -> bool:
    """Return whether the files at the target have the headers that the result has."""
    try:
        found = [read_header(target / shard.name if checkpoint.is_folder else target) for shard in shards]
    except RopeError:
        return False
    wanted = [(shard.new.tensors, shard.new.metadata) for shard in shards]
    return [(header.tensors, header.metadata) for header in found] == wanted


def _write_shard(source: FileIO, stage: Stage, shard: _Shard, commit_every: int, counter: "_Counter") -> None:
    """Write a shard's tensors from where the journal says that the last run came to."""
    head = shard.new.to_bytes()
    done = stage.bytes_of(shard.name)
    with open(stage.partial(shard.name), "r+b" if done else "wb") as out:
        if done:
            out.truncate(done)
            out.seek(done)
            counter.add(done - len(head))
        else:
            out.write(head)
        pending = 0
        for tensor in shard.old.tensors:
            if done and len(head) + tensor.stop <= done:
                continue
            for piece in _pieces(source, shard, tensor):
                out.write(piece)
                counter.add(len(piece))
            pending += tensor.n_bytes
            if pending >= commit_every:
                stage.commit(shard.name, out)
                pending = 0
        stage.commit(shard.name, out)


def _pieces(source: FileIO, shard: _Shard, tensor: Tensor) -> Iterator[memoryview]:
    """Yield the bytes of a tensor, with the entries of each window in their new order; a piece is
    valid until the next.
    """
    moves = shard.moves.get(tensor.name)
    windows = _windows(source, shard.old, tensor, moves)
    if moves is None:
        yield from windows
        return
    for order, window in zip(moves, windows, strict=False):  # a tensor without elements has no window
        yield np.frombuffer(window, np.uint8).reshape(len(order), -1)[order].reshape(-1).data


def _verify_shard(source: FileIO, stage: Stage, shard: _Shard, counter: "_Counter") -> None:
    """Read the written shard back, undo the permutation and compare every byte with the source."""
    path = stage.partial(shard.name)
    try:
        written = read_header(path)
        if (written.tensors, written.metadata) != (shard.new.tensors, shard.new.metadata):
            raise VerificationError("the header is not what it should be")
        with open(path, "rb", buffering=0) as result:
            for tensor in shard.old.tensors:
                moves = shard.moves.get(tensor.name)
                old_windows = _windows(source, shard.old, tensor, moves)
                new_windows = _windows(result, written, tensor, moves)
                for k, (old, new) in enumerate(zip(old_windows, new_windows, strict=True)):
                    if not _restores(old, new, None if moves is None else moves[k]):
                        raise VerificationError(f"{tensor.name} is not what it should be")
                    counter.add(len(old))
    except (VerificationError, RopeError) as error:
        stage.forget(shard.name)
        raise VerificationError(f"{shard.name}: {error}; it will be written anew by the next run") from error


def _restores(old: memoryview, new: memoryview, order: IntArray | None) -> bool:
    """Return whether the window `new`, put back in order, has the bytes of `old`."""
    entries = np.frombuffer(new, np.uint8).reshape(1 if order is None else len(order), -1)
    restored = np.empty_like(entries)
    restored[slice(None) if order is None else order] = entries
    return np.array_equal(restored.reshape(-1), np.frombuffer(old, np.uint8))


def _windows(file: FileIO, header: Header, tensor: Tensor, moves: IntArray | None) -> Iterator[memoryview]:
    """Yield the bytes of a tensor by windows of its moves, or by chunks; each view is valid until
    the next.
    """
    left = tensor.n_bytes
    step = CHUNK if moves is None else left // len(moves)
    buffer = memoryview(bytearray(min(step, left)))
    file.seek(header.length + tensor.start)
    while left > 0:
        view = buffer[: min(step, left)]
        filled = 0
        while filled < len(view):
            count = file.readinto(view[filled:])
            if not count:
                raise VerificationError(f"{tensor.name}: the file has become shorter")
            filled += count
        yield view
        left -= len(view)


class _Counter:
    """Counts bytes for a progress bar."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        self.done += count
        self.progress(self.done, self.total)


def _silent(done: int, total: int) -> None:
    """Show no progress."""


def _fingerprint(checkpoint: Checkpoint, shards: Sequence[_Shard]) -> str:
    """Return a digest of all that decides the result's bytes; sources are told by size and time, as
    hashing them takes long.
    """
    digest = hashlib.sha256(JOURNAL.encode())
    for shard in shards:
        stat = (checkpoint.folder / shard.name).stat()
        digest.update(json.dumps([shard.name, stat.st_size, stat.st_mtime_ns]).encode())
        digest.update(shard.new.to_bytes())
        for name, moves in shard.moves.items():
            digest.update(json.dumps(name).encode() + moves.astype("<i8").tobytes())
    return digest.hexdigest()


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RopeError(
            "output", str(folder), f"needs {needed} more bytes, and the disk has {free}", "Name another disk."
        )
