"""Which test files an environment can run: those of a framework need it installed (tox has an environment for each)."""

import importlib.util

NEEDS = {
    "test_torch*.py": "torch",
    "test_jax*.py": "jax",
    "test_cupy*.py": "cupy",
    "test_fused*.py": "numba",
    "test_mlx.py": "mlx",
    "test_read_sweep.py": "transformers",
    "test_vision_positions_transformers.py": "transformers",
}

collect_ignore_glob = [files for files, package in NEEDS.items() if importlib.util.find_spec(package) is None]
