"""The folder in which a checkpoint is written, and its journal: a run that was killed goes on where
it stopped.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ropecore.errors import RopeError
from ropecore.limits import parse_json

LARGEST_JOURNAL = 1 << 26  # bytes
JOURNAL = "ropecore-convert/1"


def stage_folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.ropecore-partial")


@contextmanager
def open_stage(target: Path, job: str) -> Iterator["Stage"]:
    """Open the folder beside the target, as an earlier run of the same job left it or empty, for
    this process alone.
    """
    folder = stage_folder(target)
    folder.mkdir(parents=True, exist_ok=True)
    was_empty = not any(folder.iterdir())
    with open(folder / "journal.jsonl", "a+b") as journal:
        _lock(journal, target)
        journal.seek(0)
        entries, length = _complete_lines(journal.read(min(LARGEST_JOURNAL, os.fstat(journal.fileno()).st_size)))
        if entries[:1] == [{"journal": JOURNAL, "job": job}]:
            journal.truncate(length)
        else:  # a new job, or the remains of another one
            shutil.rmtree(folder / "files", ignore_errors=True)
            journal.truncate(0)
            entries = []
        stage = Stage(target, folder, journal, entries, was_empty)
        if not entries:
            stage.note({"journal": JOURNAL, "job": job})
        yield stage


def _complete_lines(journal: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the journal's entries and their length in bytes; the last
    line may have been cut off.
    """
    length = journal.rfind(b"\n") + 1
    try:
        entries = [parse_json("journal", line) for line in journal[:length].splitlines()]
    except RopeError:
        return [], 0
    known = all(isinstance(entry, dict) and type(entry.get("bytes", 0)) is int for entry in entries)
    return (entries, length) if known else ([], 0)


class Stage:
    """The folder in which a result is written, and the journal of what of it is on the disk.

    folder/journal.jsonl holds the job, then a line {"shard", "bytes"} a commit, and {"published"}
    before the last step; folder/files holds complete and verified files by their names, and the one
    that is being written as NAME.partial.
    """

    def __init__(
        self, target: Path, folder: Path, journal: BinaryIO, entries: list[dict[str, Any]], was_empty: bool
    ) -> None:
        self.target, self.folder, self.files, self._journal = target, folder, folder / "files", journal
        self._bytes = {entry["shard"]: entry["bytes"] for entry in entries if "shard" in entry}
        self._published = was_empty or any("published" in entry for entry in entries)

    def partial(self, shard: str) -> Path:
        """Return where a shard is written before it is verified."""
        return self.files / f"{shard}.partial"

    def bytes_of(self, shard: str) -> int:
        """Return how many bytes of a shard are there, as far as the
        journal says and the file has.
        """
        if (self.files / shard).exists():
            return (self.files / shard).stat().st_size
        noted = self._bytes.get(shard, 0)
        return noted if noted and self.partial(shard).exists() and self.partial(shard).stat().st_size >= noted else 0

    def note(self, entry: dict[str, Any]) -> None:
        """Append a line to the journal, and wait until it is on the disk."""
        self._journal.write(json.dumps(entry).encode() + b"\n")
        sync(self._journal)

    def commit(self, shard: str, out: BinaryIO) -> None:
        """Wait until what was written of a shard is on the disk, then note it."""
        sync(out)
        self.note({"shard": shard, "bytes": out.tell()})

    def forget(self, shard: str) -> None:
        """Drop a shard that turned out wrong."""
        self.note({"shard": shard, "bytes": 0})
        self.partial(shard).unlink(missing_ok=True)

    def may_be_published(self) -> bool:
        """Return whether an earlier run may have been killed after its result was in place: nothing
        of it is here any more.
        """
        moved_away = not self.files.exists() or not any(self.files.iterdir())
        return moved_away and self._published and self.target.exists()

    def publish(self, name: str | None) -> None:
        """Move the file of this name, or the whole folder, to the target."""
        self.note({"published": True})
        if self.target.is_dir():  # empty, or it would have been refused
            self.target.rmdir()
        os.rename(self.files if name is None else self.files / name, self.target)
        sync_folder(self.target.parent)

    def remove(self) -> None:
        """Remove the folder, the journal last: what it says is true to the end."""
        shutil.rmtree(self.files, ignore_errors=True)
        (self.folder / "journal.jsonl").unlink()
        self.folder.rmdir()


def _lock(journal: BinaryIO, target: Path) -> None:
    """Keep other processes out; the lock goes with the process, however that ends."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RopeError("output", str(target), "is being written by another process", "Wait for it.") from error


def sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until renames within a folder are on the disk, where folders can be opened for that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
