"""Sharded tensors: two processes rotate their own shards, and nothing is sent between them."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

WORKER = Path(__file__).parent / "torch_shards.py"
CHECKS = [
    "counted",
    *(f"rotations {name}" for name in ("half_split_partial", "interleaved_yarn", "scattered")),
    "positions", "gradients", "refusals", "compiled", *(f"conformance {letter}" for letter in "bhs"),
]  # fmt: skip


@pytest.mark.skipif(not distributed.is_available(), reason="this build of torch has no torch.distributed")
def test_two_processes_rotate_their_shards(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        ended = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (printed, complaints) in zip(started, ended, strict=True):
        assert process.returncode == 0, complaints
        assert printed.splitlines() == CHECKS
