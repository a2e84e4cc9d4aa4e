"""What was tried, by surface: counted here, and told at the end."""

import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hostile import EXAMPLES
from hypothesis import HealthCheck, settings

from ropecore import RopeError
from ropecore.conformance.process import ProgramError
from ropecore.spec import SpecError

REFUSALS = (RopeError, SpecError, ProgramError)
TRIED: Counter[str] = Counter()
REFUSED: Counter[str] = Counter()
SLOWEST: dict[str, float] = {}

settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def attempt() -> Callable[..., Any]:
    """A function that makes a call, and lets nothing out of it but a refusal that can be written
    and understood.
    """

    def made(surface: str, call: Callable[[], Any], *others: type[BaseException]) -> Any:
        start = time.perf_counter()
        TRIED[surface] += 1
        try:
            return call()
        except (*REFUSALS, *others) as refusal:
            REFUSED[surface] += 1
            _check_words(refusal)
            return None
        finally:
            SLOWEST[surface] = max(SLOWEST.get(surface, 0.0), time.perf_counter() - start)

    return made


def _check_words(refusal: BaseException) -> None:
    assert len(str(refusal)) <= 2500
    assert str(refusal).encode("utf-8")
    assert not isinstance(refusal, RopeError) or (refusal.argument and refusal.reason)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not TRIED:
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    slowest = max(SLOWEST, key=lambda surface: SLOWEST[surface])
    total = f"fuzzed: {sum(TRIED.values()):,} inputs on {len(TRIED)} surfaces, {sum(REFUSED.values()):,} refused"
    terminalreporter.write_line(f"{total}; slowest {SLOWEST[slowest]:.2f} s ({slowest}); peak memory {peak:,.0f} MiB")
    if "FUZZ_EXAMPLES" in os.environ:
        for surface, tried in sorted(TRIED.items()):
            terminalreporter.write_line(
                f"  {surface:<28} {tried:>7,} tried {REFUSED[surface]:>7,} refused {SLOWEST[surface]:>7.3f} s at most"
            )
