"""The long test of tests/backends/remainders.py for the CuPy adapter's kernel, as g++ builds it:
`python tests/support/cupy_stand_in_remainders.py`.
"""

import importlib
import sys

import cupy_stand_in
import numpy as np
import remainders

import ropecore


def of_cupy() -> tuple[remainders.Evaluate, str]:
    """Return the kernel's cos and sin of a phase: with F = 2 pi / 2^32 the phase is the position
    itself.
    """
    plan = ropecore.RotaryPlan(2, [[0, 1]], [2 * np.pi * 2.0**-32])

    def evaluate(phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with cupy_stand_in.installed():
            rope = importlib.import_module("ropecore.backends.cupy")
            cos, sin = rope.cos_sin(plan, cupy_stand_in.asarray(phase))
        return cos.host[:, 0], sin.host[:, 0]

    return evaluate, "kernel.cu by g++"


if __name__ == "__main__":
    remainders.BACKENDS["cupy"] = of_cupy
    sys.exit(remainders.main("cupy"))
