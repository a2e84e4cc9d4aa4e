"""Compiled kernels, kept in files of the user's cache folder; where that fails, one warning says
so.

A kernel has a file of its own, in a folder whose name holds a digest of all that its code depends
on.  So processes that write it at once write the same, and a file begins with the digest of its
rest.  Numba's own cache has one index for all kernels, which two processes can mix up.
"""

import ctypes
import hashlib
import os
import pickle
import sys
import uuid
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from ropecore import precision

SOURCES = ("code_files.py", "intrinsics.py", "job.py", "kernels.py")
DIGEST = hashlib.sha256().digest_size


class Kernel:
    """A compiled function of the address of a job, or of bytes that hold one.  address: of its
    code.
    """

    def __init__(self, name: str, work: Callable[[Any], Any], signature: Any, result: Any) -> None:
        """Compile a function, or read its code from the file of this name.  result: of ctypes."""
        self._compiled = CFunc(work, (signature.args, signature.return_type), {}, {"error_model": "numpy"})
        if (folder := cache_folder()) is not None:
            self._compiled._cache = CodeFile(folder / f"{name}.code")
        self._compiled.compile()
        self.address: int = self._compiled.address
        self.call: Callable[[Any], Any] = ctypes.CFUNCTYPE(result, ctypes.c_void_p)(self.address)  # lets go of the GIL


class CodeFile:
    """What Numba asks for compiled code, and gives it to.  It raises
    nothing: code can be compiled.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the code, or None if it is not there or not whole."""
        try:
            data = self.path.read_bytes()
            if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
                raise ValueError("is not what was written")
            context.refresh()
            return CompileResult._rebuild(context, *pickle.loads(data[DIGEST:]))
        except FileNotFoundError:
            return None
        except Exception as error:
            _warn(self.path, error)
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Write the code, all or nothing."""
        new = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        try:
            if compiled.library.has_dynamic_globals:
                raise ValueError("holds addresses of this process")
            data = dumps(compiled._reduce())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                new.write_bytes(hashlib.sha256(data).digest() + data)
                new.replace(self.path)
            finally:
                new.unlink(missing_ok=True)
        except Exception as error:
            _warn(self.path, error)


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Return where compiled code is kept: in NUMBA_CACHE_DIR, or else
    in the user's cache folder.
    """
    base = os.environ.get("NUMBA_CACHE_DIR")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif not base and os.path.isabs(os.environ.get("XDG_CACHE_HOME", "")):
        base = os.environ["XDG_CACHE_HOME"]
    try:
        folder = Path(base) if base else Path.home() / ".cache"
        here = Path(__file__).parent
        parts = [path.read_bytes() for path in (Path(precision.__file__), *map(here.joinpath, SOURCES))]
    except (OSError, RuntimeError) as error:  # there is no home, or the sources are in an archive
        _warn(base, error)
        return None
    versions = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag
    processor = cpu_target.target_context.codegen().magic_tuple()
    digest = hashlib.sha256(b"".join([*parts, repr((versions, processor)).encode()])).hexdigest()[:16]
    return folder / "ropecore" / digest


_warned: list[bool] = []


def _warn(path: Path | str | None, error: Exception) -> None:
    if not _warned:
        _warned.append(True)
        reason = f"{path}: {type(error).__name__}: {error}"
        warnings.warn(f"compiled kernels are not kept, or not found: {reason}", RuntimeWarning, stacklevel=2)
