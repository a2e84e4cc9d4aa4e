"""Timing two calls in turn: A B A B, so that whatever slows the machine slows both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of each call, and what they say of a / b."""

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        """Return the median seconds of a and of b."""
        return statistics.median(self.a), statistics.median(self.b)

    @property
    def ratio(self) -> float:
        """Return the ratio of the medians, a / b."""
        a, b = self.medians
        return a / b

    @property
    def spread(self) -> tuple[float, float]:
        """Return the quartiles of the ratios of calls that followed one another."""
        ratios = [a / b for a, b in zip(self.a, self.b, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        return low, high


def compare(
    a: Callable[[], object],
    b: Callable[[], object],
    pairs: int,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Return the times of a and b, called in turn; each sample is the mean of `calls` calls.

    The result of a call is let go of before the clock stops: freeing an output is part of making
    it.
    """
    for side in (a, b, a, b):  # compiled, cached, and in the state that later calls find
        _seconds(side, calls, clock)
    times = [(_seconds(a, calls, clock), _seconds(b, calls, clock)) for _ in range(pairs)]
    return Timing(tuple(x for x, _ in times), tuple(y for _, y in times))


def _seconds(call: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        call()
    return (clock() - start) / calls
