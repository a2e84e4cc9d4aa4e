"""Forked processes: what torch's operations need there."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from ropecore.forks import PROCESS

from .tracing import recording

F = TypeVar("F", bound=Callable[..., Any])


def alone_in_child(function: F) -> F:
    """Return a function whose operations use one thread in a forked process.

    There torch would wait for ever for the workers that its OpenMP team had in the parent.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        if not PROCESS.forked or recording():
            return function(*args, **options)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args, **options)
        finally:
            torch.set_num_threads(threads)

    return cast(F, wrapped)
