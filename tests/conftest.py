"""Which test files an environment can run: those of a framework need it installed (tox has an environment for each)."""

import importlib.util

FRAMEWORKS = ("torch", "jax", "cupy")

collect_ignore_glob = [f"test_{name}*.py" for name in FRAMEWORKS if importlib.util.find_spec(name) is None]
