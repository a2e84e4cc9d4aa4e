"""Which test files an environment can run: those of a framework need it installed (tox has an environment for each)."""

import importlib.util
import os

from hypothesis import Phase, settings

NEEDS = {
    "test_torch*.py": "torch",
    "test_jax*.py": "jax",
    "test_cupy*.py": "cupy",
    "test_fused*.py": "numba",
    "test_mlx.py": "mlx",
    "test_claims.py": "matplotlib",
    "test_read_sweep.py": "transformers",
    "test_vision_positions_transformers.py": "transformers",
}

collect_ignore_glob = [files for files, package in NEEDS.items() if importlib.util.find_spec(package) is None]

# no deadline: it would test the machine.  A mutation tester (tests/MUTATION.md) gets the same few examples for each mutant, and no shrinking
settings.register_profile("any_machine", deadline=None)
settings.register_profile(
    "mutation", deadline=None, max_examples=20, derandomize=True, database=None, phases=[Phase.generate]
)
settings.load_profile("mutation" if "MUTANT_UNDER_TEST" in os.environ else "any_machine")
