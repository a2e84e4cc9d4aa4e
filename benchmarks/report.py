"""Results as a table, as JSON, as Markdown and as a picture."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .case import Case, Pair
from .timing import Timing

LIBRARIES = (
    "ropecore", "numpy", "numba", "torch", "transformers", "jax", "mlx", "onnxruntime", "rotary-embedding-torch",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What came of a case: a timing, or the reason why there is none."""

    case: Case
    pair: Pair | None
    timing: Timing | None
    reason: str = ""

    def words(self) -> dict[str, str]:
        """Return the cells of a row."""
        if self.pair is None or self.timing is None:
            return {"case": self.case.name, "ratio": "left out", "a": self.reason}
        low, high = self.timing.spread
        a, b = self.timing.medians
        return {
            "case": self.case.name,
            "ratio": f"{self.timing.ratio:.3g}",
            "quartiles": f"{low:.3g} to {high:.3g}",
            "wanted": _wanted(self.case),
            "reached": {None: "", True: "yes", False: "no"}[self.case.met(self.timing.ratio)],
            "a": f"{self.pair.a}: {_seconds(a)}",
            "b": f"{self.pair.b}: {_seconds(b)}",
            "speed": f"{self.pair.n_bytes / a / 1e9:.3g} GB/s" if self.pair.n_bytes else "",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON holds it."""
        found: dict[str, Any] = {"case": self.case.name, "limit": self.case.limit, "at_least": self.case.at_least}
        if self.pair is None or self.timing is None:
            return found | {"left_out": self.reason}
        measured = {
            "ratio": self.timing.ratio,
            "quartiles": self.timing.spread,
            "met": self.case.met(self.timing.ratio),
        }
        sides = {"a": self.pair.a, "b": self.pair.b, "seconds_a": self.timing.a, "seconds_b": self.timing.b}
        return found | measured | sides | {"n_bytes": self.pair.n_bytes}

    @staticmethod
    def from_dict(found: dict[str, Any]) -> "Result":
        """Return the result that JSON holds."""
        case = Case(found["case"], _not_made, found["limit"], found["at_least"])
        if "left_out" in found:
            return Result(case, None, None, found["left_out"])
        pair = Pair(found["a"], found["b"], _nothing, _nothing, n_bytes=found["n_bytes"])
        return Result(case, pair, Timing(tuple(found["seconds_a"]), tuple(found["seconds_b"])))


def _not_made(tokens: int) -> Pair:
    raise NotImplementedError(f"a result of an earlier run, and no case for {tokens} tokens")


def _nothing() -> None:
    """Do nothing: the calls of an earlier run are over."""


COLUMNS = {
    "case": "case", "ratio": "a / b", "quartiles": "quartiles", "wanted": "wanted", "reached": "reached", "a": "a", "b": "b",
    "speed": "memory moved by a",
}  # fmt: skip


def machine(threads: int) -> dict[str, str]:
    """Return what the figures were taken on."""
    names = [
        line.split(":")[1].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    found = {"processor": names[0] if names else platform.processor(), "cores": str(os.cpu_count())}
    found |= {"threads": str(threads), "system": platform.platform(), "python": platform.python_version()}
    if hasattr(os, "getloadavg"):
        found["load before"] = f"{os.getloadavg()[0]:.2f}"
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def table(results: Sequence[Result]) -> str:
    """Return the results as text in columns."""
    rows = [COLUMNS, *(result.words() for result in results)]
    widths = {key: max(len(row.get(key, "")) for row in rows if len(row) > 3) for key in COLUMNS}
    lines = ["  ".join(row.get(key, "").ljust(width) for key, width in widths.items()).rstrip() for row in rows]
    return "\n".join(lines)


def markdown(results: Sequence[Result], about: dict[str, str]) -> str:
    """Return the page of results."""
    pairs = min((len(result.timing.a) for result in results if result.timing), default=0)
    head = [
        "# Results", "",
        f"Made by `python -m benchmarks --markdown benchmarks/RESULTS.md`: medians of {pairs} pairs or more of calls A B A B in one",
        "process. A ratio below 1 means that a is the faster. Quartiles are those of the ratios of neighbouring calls.", "",
        *(f"* {name}: {value}" for name, value in about.items()), "",
    ]  # fmt: skip
    rows = [COLUMNS, dict.fromkeys(COLUMNS, "---"), *(result.words() for result in results)]
    body = ["| " + " | ".join(row.get(key, "") for key in COLUMNS) + " |" for row in rows]
    return "\n".join([*head, *body, ""])


def from_json(text: str) -> tuple[list[Result], dict[str, str]]:
    """Return the results that `as_json` wrote, and what they were taken on."""
    found = json.loads(text)
    return [Result.from_dict(each) for each in found["results"]], found["machine"]


def as_json(results: Sequence[Result], about: dict[str, str]) -> str:
    """Return the results with every single time."""
    return json.dumps({"machine": about, "results": [result.to_dict() for result in results]}, indent=1)


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw the ratios with their quartiles, and the limits, on a logarithmic axis."""
    from matplotlib.figure import Figure

    shown = [result for result in results if result.timing is not None]
    figure = Figure(figsize=(9, 1 + 0.25 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, result in enumerate(shown):
        assert result.timing is not None
        met, (low, high) = result.case.met(result.timing.ratio), result.timing.spread
        axes.plot([low, high], [row, row], color="0.6")
        axes.plot(result.timing.ratio, row, "o", color={None: "tab:blue", True: "tab:green", False: "tab:red"}[met])
        if result.case.limit is not None:
            axes.plot(result.case.limit, row, ">" if result.case.at_least else "<", color="0.3")
    axes.set_yticks(range(len(shown)), [f"{result.case.name}" for result in shown], fontsize=7)
    axes.set_xscale("log")
    axes.axvline(1, color="0.8", zorder=0)
    axes.invert_yaxis()
    axes.set_xlabel("time of a / time of b, with quartiles; triangles: the ratio wanted")
    figure.savefig(path, dpi=120)


def _wanted(case: Case) -> str:
    if case.limit is None:
        return ""
    return f"{'at least' if case.at_least else 'at most'} {case.limit:g}"


def _seconds(value: float) -> str:
    return f"{value * 1e6:.3g} us" if value < 1e-3 else f"{value * 1e3:.3g} ms"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
