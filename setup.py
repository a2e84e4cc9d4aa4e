"""The packages are the folders: none is listed by hand.  All else is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = {"ropecore.backends": "backends", "ropecore.conformance": "conformance", "ropecore.spec": "spec"}
NOT_INSTALLED = ["generate", "generate.*"]  # the generator shares no code with the package

packages = ["ropecore", *(f"ropecore.{name}" for name in find_packages("ropecore"))]
for package, folder in FOLDERS.items():
    packages += [package, *(f"{package}.{name}" for name in find_packages(folder, exclude=NOT_INSTALLED))]

setup(packages=packages, package_dir={"ropecore": "ropecore", **FOLDERS})
