"""Adapters: the same names for each framework.

A new backend is a folder here and a row of LIBRARIES: CONTRIBUTING.md says how to write one.
"""

LIBRARIES = {
    "array_api": "array_api_compat",
    "cupy": "cupy",
    "jax": "jax",
    "numpy": "numpy",
    "torch": "torch",
}  # the folder, and the one library that it imports
