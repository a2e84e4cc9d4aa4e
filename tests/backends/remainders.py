"""The long test: the polynomial of R-10.2 at all 2^30 + 1 remainders, `python
tests/backends/remainders.py numpy|torch|inductor|jax`.

It takes minutes, so it is run by hand; the results of the last runs are in
tests/backends/REMAINDERS.md.  The remainder is the whole input of the polynomial: any phase is a
quarter turn and one of these.
"""

import platform
import sys
import time
from collections.abc import Callable

import numpy as np

from ropecore.precision import cos_sin_of_phase

STEP = 1 << 22
BOUND = 1.2e-7
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def of_numpy() -> tuple[Evaluate, str]:
    return lambda phase: cos_sin_of_phase(phase, lambda r: r.astype(np.float32), np.where), f"numpy {np.__version__}"


def of_torch(compiled: bool = False) -> tuple[Evaluate, str]:
    import torch

    def function(phase: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return cos_sin_of_phase(phase, lambda r: r.to(torch.float32), torch.where)

    call = torch.compile(function, fullgraph=True) if compiled else function
    name = f"torch {torch.__version__}{', inductor' if compiled else ''}"
    return lambda phase: tuple(t.numpy() for t in call(torch.from_numpy(phase))), name  # type: ignore[return-value]


def of_jax() -> tuple[Evaluate, str]:
    import jax
    import jax.numpy as jnp

    @jax.jit
    def function(phase: jax.Array) -> tuple[jax.Array, jax.Array]:
        return cos_sin_of_phase(phase, lambda r: r.astype(jnp.int32).astype(jnp.float32), jnp.where)

    return lambda phase: tuple(np.asarray(t) for t in function(phase.astype(np.uint32))), f"jax {jax.__version__}, jit"  # type: ignore[return-value]


BACKENDS = {"numpy": of_numpy, "torch": of_torch, "inductor": lambda: of_torch(compiled=True), "jax": of_jax}


def main(name: str) -> int:
    """Compare with float64 sine and cosine, which are accurate to 1e-16; print the worst error and
    return an exit status.
    """
    evaluate, version = BACKENDS[name]()
    worst, where, same, began = 0.0, 0, True, time.time()
    exact_bits = of_numpy()[0]
    for start in range(-(1 << 29), (1 << 29) + 1, STEP):
        r = np.arange(start, min(start + STEP, (1 << 29) + 1), dtype=np.int64)
        cos, sin = evaluate(r & 0xFFFFFFFF)
        angle = r * (np.pi / 2 * 2.0**-30)
        error = np.maximum(np.abs(cos - np.cos(angle)), np.abs(sin - np.sin(angle)))
        if error.max() > worst:
            worst, where = float(error.max()), int(r[error.argmax()])
        ours = exact_bits(r & 0xFFFFFFFF)
        same = same and cos.tobytes() == ours[0].tobytes() and sin.tobytes() == ours[1].tobytes()
    verdict = "within" if worst <= BOUND else "NOT within"
    print(
        f"| {version} | {platform.machine()} | {(1 << 30) + 1} | {worst:.3e} at {where} | {verdict} {BOUND} | "
        f"{'same bits as NumPy' if same else 'other bits than NumPy'} | {time.time() - began:.0f} s |"
    )
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
