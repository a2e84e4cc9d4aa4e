"""The list of libraries, peers.toml: read and checked."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import metadata
from importlib.resources import files
from typing import Any

from ropecore import RopeError

KINDS = {
    "bug": "a wrong result, by what the library itself says",
    "policy": "another choice than ropecore's, which the library makes on purpose",
    "precision": "right, and further from the exact result than the library's declared precision allows",
}


@dataclass(frozen=True)
class Peer:
    """A target of the list.  `absent`: why it cannot be run here, for one that is listed without a
    target.
    """

    name: str  # module:object
    package: str  # on PyPI
    version: str  # that the report was made with
    source: str = ""  # file:line of its RoPE
    call: str = ""  # how the target calls it
    words: str = ""  # the source lines that show angle, table and compute
    absent: str = ""
    explained: Mapping[str, str] = field(default_factory=dict)  # glob of ids: "kind: reason"

    @property
    def target(self) -> str:
        """Return the name by which `ropecore conformance` knows it."""
        return f"ropecore.conformance.peers.{self.name}"

    @property
    def installed(self) -> str | None:
        """Return the version that is installed."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None

    @property
    def pip(self) -> str:
        """Return the command that installs it."""
        return f"pip install {self.package}=={self.version}"

    def explanation(self, case: str) -> tuple[str, str]:
        """Return the kind and the reason of a failure, ("", "") for one
        that nobody has looked at.
        """
        for glob, text in self.explained.items():
            if fnmatchcase(case, glob):
                kind, _, reason = text.partition(": ")
                return kind, reason
        return "", ""


@dataclass(frozen=True)
class Known:
    """An error that was reported of a library, or read in its source, and how it can be seen here.

    target and case: a case that must fail where the report is true.  check: a function of
    checks.py.  Neither: `reason` says why it is out of reach.
    """

    where: str  # C n: entry n of the census of implementations; F: the list of defects read in sources
    library: str
    report: str
    target: str = ""
    case: str = ""
    check: str = ""
    reason: str = ""


@cache
def _listed() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("peers.toml").read_text(encoding="utf-8"))


def peers(names: Iterable[str] = ()) -> list[Peer]:
    """Return the list, or those of it that are named: "litgpt", which is all of its targets, or
    "litgpt:target".
    """
    every = [Peer(**each) for each in _listed()["peer"]]
    for peer in every:
        for glob, text in peer.explained.items():
            if text.partition(": ")[0] not in KINDS:
                raise RopeError("peers.toml", f"{peer.name}: {glob}", f"must begin with one of {', '.join(KINDS)}")
    chosen: list[Peer] = []
    for name in names:
        found = [peer for peer in every if name in (peer.name, peer.name.partition(":")[0], peer.package)]
        if not found:
            listed = ", ".join(dict.fromkeys(peer.name for peer in every))
            raise RopeError("--peers", name, "is not in the list", f"Listed are: {listed}.")
        chosen += [peer for peer in found if peer not in chosen]
    return chosen or every


def known() -> list[Known]:
    """Return the reported errors."""
    return [Known(**each) for each in _listed()["known"]]
