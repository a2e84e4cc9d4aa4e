"""Which folders an environment can test: those of a framework need it installed (tox has an
environment for each).
"""

import importlib.util
import os

from hypothesis import Phase, settings

from ropecore.backends import LIBRARIES

NEEDS = {f"backends/{name}": library for name, library in LIBRARIES.items()} | {
    "backends/kernels": "numba",
    "benchmarks": "torch",
    "models": "transformers",
    "sweep": "transformers",
}
LEFT_OUT = {folder: name for folder, name in NEEDS.items() if importlib.util.find_spec(name) is None}

collect_ignore = sorted(LEFT_OUT)


def pytest_report_header() -> list[str]:
    return [f"left out: tests/{folder}, as {name} is not installed" for folder, name in LEFT_OUT.items()]


# no deadline: it would test the machine.  A mutation tester (tests/ropecore/MUTATION.md) gets the
# same few examples for each mutant, and no shrinking
settings.register_profile("any_machine", deadline=None)
settings.register_profile(
    "mutation", deadline=None, max_examples=20, derandomize=True, database=None, phases=[Phase.generate]
)
settings.load_profile("mutation" if "MUTANT_UNDER_TEST" in os.environ else "any_machine")
