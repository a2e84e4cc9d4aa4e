"""The torch adapter, rotating by its Triton kernel, as the suite meets it: `ropecore conformance triton_target:target`.

Run it with TRITON_INTERPRET=1, which takes tensors of the host, and with tests/ on the path of modules.
"""

from typing import Any

from ropecore.backends import fused
from ropecore.backends.torch import rotation, target, triton_kernel

fused.available = lambda form="float32": False  # type: ignore[assignment]  # its kernels would be asked first
triton_kernel.use(True)
calls: list[Any] = []


def counted(*arguments: Any, **how: Any) -> Any:
    done = triton_kernel.turned(*arguments, **how)
    calls.append(done is not None)
    return done


rotation.device_kernel = counted

__all__ = ["target"]
