"""The Triton kernel on the golden vectors, by Triton's interpreter; nothing here was run on a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)

SUITE = """
import sys
sys.path.insert(0, ".")
TOPICS = ["attention_factor", "inverse", "pairing", "partial", "rotate"]  # all take minutes, interpreted
import triton_target
from ropecore.conformance import run
report = run(triton_target.target, topic=TOPICS, variants=False)
print(report.text())
assert sum(triton_target.calls) > 200, sum(triton_target.calls)
sys.exit(bool(report.counts['fail'] or report.counts['errored'] or not report.counts['pass']))
"""


def test_the_suite_by_the_interpreter() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", SUITE]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_it_is_off_by_default() -> None:
    from ropecore.backends.torch import rotation

    assert rotation.device_kernel is None
