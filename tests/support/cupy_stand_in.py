"""A stand-in for CuPy, for machines without a GPU: arrays in host memory, and kernels compiled for
the host by g++.

It has exactly what the adapter uses, and is as strict as CuPy: an array is not converted to NumPy's
unless asnumpy is asked, kernels get pointers, integers of 8 bytes and doubles, and their number and
kinds are compared with the kernel's own.
"""

import ctypes
import functools
import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SHIM = HERE / "cupy_stand_in.cpp"
COMPILER = shutil.which("g++")
FLAGS = (
    "-std=c++17",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Werror",
)
SANITIZE = (
    "-g",
    "-O1",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
FAST = ("-O2",)

launched: list[str] = []  # the names of kernels, in the order of their launches
events: list[str] = []  # what costs time on a device: "synchronize", "to host", "to device", "empty"


class Device:
    """One of two devices, current inside a `with`."""

    _current = threading.local()

    def __init__(self, number: int | None = None) -> None:
        self.id = self._stack()[-1] if number is None else number

    def _stack(self) -> list[int]:
        if not hasattr(self._current, "numbers"):
            self._current.numbers = [0]
        numbers: list[int] = self._current.numbers
        return numbers

    def __enter__(self) -> "Device":
        self._stack().append(self.id)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack().pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Stream:
    """The current stream."""

    @staticmethod
    def synchronize() -> None:
        events.append("synchronize")


class ndarray:
    """An array on a device: the current one, unless it is a view or a result of another."""

    def __init__(self, host: Any, device: Device | None = None) -> None:
        self.host = np.asarray(host)
        self.device = device or Device()

    shape = property(lambda self: self.host.shape)
    strides = property(lambda self: self.host.strides)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    data = property(lambda self: types.SimpleNamespace(ptr=self.host.ctypes.data))

    def __array__(self, *_: Any, **__: Any) -> None:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __repr__(self) -> str:
        return repr(self.host)

    def __len__(self) -> int:
        return len(self.host)

    def __getitem__(self, index: Any) -> "ndarray":
        return ndarray(self.host[index], self.device)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[index] = _host(value)

    def reshape(self, *shape: int) -> "ndarray":
        return ndarray(self.host.reshape(*shape), self.device)

    def view(self, dtype: Any) -> "ndarray":
        return ndarray(self.host.view(dtype), self.device)

    def astype(self, dtype: Any, copy: bool = True) -> "ndarray":
        return self._computed(self.host.astype(dtype, copy=copy))

    def copy(self) -> "ndarray":
        return self._computed(self.host.copy())

    def __neg__(self) -> "ndarray":
        return self._computed(-self.host)

    def __add__(self, other: Any) -> "ndarray":
        return self._computed(self.host + _host(other))

    def __mul__(self, other: Any) -> "ndarray":
        return self._computed(self.host * _host(other))

    def __truediv__(self, other: Any) -> "ndarray":
        return self._computed(self.host / _host(other))

    def _computed(self, host: Any) -> "ndarray":
        assert self.device == Device(), "CuPy computes on the current device"
        return ndarray(host)


def _host(value: Any) -> Any:
    return value.host if isinstance(value, ndarray) else value


def asarray(values: Any) -> ndarray:
    if isinstance(values, ndarray):
        return values
    events.append("to device")
    return ndarray(np.array(values))


def asnumpy(array: Any) -> Any:
    if not isinstance(array, ndarray):
        return np.asarray(array)
    events.append("to host")
    return array.host.copy()


def empty(shape: Any, dtype: Any) -> ndarray:
    events.append("empty")
    return ndarray(_spoiled(np.empty(shape, dtype)))


def empty_like(array: ndarray) -> ndarray:
    events.append("empty")
    return ndarray(_spoiled(np.empty_like(array.host)))


def _spoiled(host: Any) -> Any:
    """Return memory that nobody has written: every bit is set, which is NaN in each dtype."""
    host.view(f"u{host.itemsize}")[...] = np.iinfo(f"u{host.itemsize}").max
    return host


def zeros(shape: Any, dtype: Any, order: str = "C") -> ndarray:
    return ndarray(np.zeros(shape, dtype, order))  # type: ignore[call-overload]


def stack(arrays: Sequence[ndarray]) -> ndarray:
    return ndarray(np.stack([array.host for array in arrays]))


def ascontiguousarray(array: ndarray) -> ndarray:
    return ndarray(np.ascontiguousarray(array.host), array.device)


class RawModule:
    """kernel.cu, compiled for the host with the options that the device's compiler would get."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        defines = tuple(option for option in options if option.startswith("-D"))
        assert {*options} == {"--fmad=false", "-std=c++17", *defines}, options
        self.serve = library(code, defines)

    def get_function(self, name: str) -> "Kernel":
        return Kernel(self.serve, name)


class Kernel:
    """One kernel, launched as CuPy launches it."""

    def __init__(self, serve: Any, name: str) -> None:
        self.serve, self.name = serve, name
        letters = ctypes.create_string_buffer(256)
        if not serve(name.encode(), None, None, letters):
            raise ValueError(f"no kernel {name}")
        self.letters = letters.value.decode()

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
        size = [*grid, *[1] * (3 - len(grid)), *block, *[1] * (3 - len(block))]
        limits = (2**31 - 1, 65535, 65535, 1024, 1024, 64)
        assert all(0 < n <= limit for n, limit in zip(size, limits, strict=True)), size
        assert math.prod(size[3:]) <= 1024, size
        assert len(args) == len(self.letters), (
            f"{self.name} has {len(self.letters)} parameters, and {len(args)} are given"
        )
        held = [_argument(value, letter) for value, letter in zip(args, self.letters, strict=True)]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(each) for each in held))
        launched.append(self.name)
        self.serve(self.name.encode(), (ctypes.c_uint * 6)(*size), pointers, None)


def _argument(value: Any, letter: str) -> Any:
    """Return a kernel's argument as CuPy passes it: an array as its pointer, int as 8 bytes, float
    as a double.
    """
    match value:
        case ndarray():
            assert letter == "p", f"an array for a parameter of kind {letter}"
            assert value.device == Device(), f"an array of {value.device}, launched on {Device()}"
            return ctypes.c_void_p(value.data.ptr)
        case int() if type(value) is int and (letter == "i" or (letter == "p" and value == 0)):
            return ctypes.c_int64(value)
        case float() if letter == "d":
            return ctypes.c_double(value)
    raise TypeError(f"{value!r} for a parameter of kind {letter}")


@functools.cache
def library(code: str, defines: tuple[str, ...]) -> Any:
    """Return the entry of kernel.cu compiled by g++; ROPECORE_SANITIZE=1 adds the address and
    undefined-behaviour sanitizers.
    """
    flags = (*FLAGS, *(SANITIZE if os.environ.get("ROPECORE_SANITIZE") else FAST), *defines)
    serve = ctypes.CDLL(str(built(code, flags))).stand_in
    serve.restype = ctypes.c_bool
    return serve


def built(code: str, flags: tuple[str, ...]) -> Path:
    """Return the shared library of this source and these flags, compiled once."""
    assert COMPILER is not None, "g++ is not on PATH"
    digest = hashlib.sha256(repr((code, SHIM.read_text(), flags)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"ropecore-cupy-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} is somebody else's"
    target = folder / f"{digest}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            Path(scratch, "kernel.cu").write_text(code)
            command = [COMPILER, *flags, "-shared", "-fPIC", f"-I{scratch}", str(SHIM), "-o", f"{scratch}/kernel.so"]
            subprocess.run(command, check=True)
            os.replace(f"{scratch}/kernel.so", target)
    return target


def module() -> types.ModuleType:
    """Return the stand-in as a module named cupy."""
    cupy: Any = types.ModuleType("cupy")
    cupy.__version__ = "14.0.0"
    names = (ndarray, asarray, asnumpy, empty, empty_like, zeros, stack, ascontiguousarray, RawModule)
    for each in names:
        setattr(cupy, each.__name__, each)
    cupy.cuda = types.SimpleNamespace(Device=Device, get_current_stream=Stream)
    return cupy  # type: ignore[no-any-return]


@contextmanager
def installed() -> Iterator[None]:
    """Let `import cupy` and the adapter mean the stand-in, and forget both afterwards."""
    ours = [name for name in sys.modules if name == "cupy" or name.startswith(("cupy.", "ropecore.backends.cupy"))]
    kept = {name: sys.modules.pop(name) for name in ours}
    sys.modules["cupy"] = module()
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == "cupy" or name.startswith("ropecore.backends.cupy")]:
            del sys.modules[name]
        sys.modules.update(kept)
