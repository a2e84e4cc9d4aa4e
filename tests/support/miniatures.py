"""Small targets for the tests of the suite: the right one, and some that are wrong everywhere."""

from typing import Any

import numpy as np

from ropecore.conformance import Skip
from ropecore.conformance.mutants.base import Right


class Zeros(Right):
    """Returns zeros."""

    def store(self, y: Any, x: Any) -> Any:
        return np.zeros_like(x)


class Raises(Right):
    """Cannot be called at all."""

    def plan(self, plan: Any) -> Any:
        raise RuntimeError("no accelerator")


class SkipsAll(Right):
    """Leaves every case out."""

    def plan(self, plan: Any) -> Any:
        raise Skip("not today")


RIGHT, ZEROS, RAISES, SKIPS_ALL = Right(), Zeros(), Raises(), SkipsAll()
