"""Write MUTATION.md from what mutmut found, and fail if a mutant survives without a reason: tox -e
mutation.

mutmut changes one thing in a function at a time and runs the tests that call it; pyproject.toml
names files and tests.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).with_name("MUTATION.md")
KILLED, SURVIVED = (1, 3, -24, 24, 152, 255, 36), 0  # exit codes of the tests: a mutant that never ends is killed too
REASONS = {  # what the changed line has: why nothing can see it
    r"strict=(None|False)|zip\(.*, \)": "`strict` guards lists that were made with equal lengths",
    r"arange\(rotary_dim // 2, (dtype=None)?\)": "int64 is NumPy's own integer on the 64-bit systems that are tested",
    r"arange\(rotary_dim / 2": "half of an even number is the same integer",
    r"axis=\+1": "axis 1 is the last of two",
    r"astype\(None\)": "float64 is NumPy's own float",
    r'"XXiufXX"': "no dtype has a kind X",
    r"limbs\(plan, 97\)": "one bit more, of which the lowest is dropped: less than 2^-64 turns, below the last bit of a result",
    r"self\.factor or 2": "without a factor attention_factor is given, and was returned before",
    r"Decimal\(1\) if (\(factor <= 1\) and False|factor < 1) else": "ln 1 is 0, and a factor below 1 is refused or handled before",
    r"if y is not x or": "what is there already is written once more",
    r"np\.asarray\(position, (None)?\)\[": "an integer less a float is a float64 all the same",
    r"if f\.init or": "the one field that is not an argument, the rule's name, is always at its default",
    r'"(high_freq_factor|beta_fast)", \S+, \)': "what is not above 0 is not above the lower limit either, and is refused by the same name",
}


def found() -> dict[str, dict[str, int | None]]:
    """Return the exit code of the tests for each mutant of each file, None where they have not run
    yet.
    """
    metas = sorted(Path("mutants").rglob("*.py.meta"))
    codes = {str(p.relative_to("mutants"))[:-5]: json.loads(p.read_text())["exit_code_by_key"] for p in metas}
    return {path: of for path, of in codes.items() if of}


def changed_lines(name: str) -> list[str]:
    """Return the lines that a mutant changes, old and new."""
    shown = subprocess.run(["mutmut", "show", name], check=True, capture_output=True, text=True).stdout
    return [line for line in shown.splitlines() if re.match(r"[+-](?![+-])", line)]


def reason(lines: list[str]) -> str | None:
    """Return why a change cannot be seen, or None."""
    new = " ".join(line[1:].strip() for line in lines if line[0] == "+")
    return next((why for pattern, why in REASONS.items() if re.search(pattern, new)), None)


def counts(codes: Iterable[int | None]) -> str:
    """Return the number of mutants, of those killed, that survive, and that were not run, as cells
    of a table.
    """
    of = list(codes)
    killed, waiting = sum(code in KILLED for code in of), of.count(None)
    return f"{len(of)} | {killed} | {len(of) - killed - waiting} | {waiting}"


def page(codes: dict[str, dict[str, int | None]], survivors: dict[str, list[str]]) -> str:
    """Return MUTATION.md."""
    rows = [f"| `{path}` | {counts(of.values())} |" for path, of in codes.items()]
    everything = [code for of in codes.values() for code in of.values()]
    lines = [
        "# Mutants of the reference", "",
        f"Written by `mutmut run` and `python tests/ropecore/mutation.py`, which `tox -e mutation` runs (mutmut {version('mutmut')}, {date.today()}): one change in a function at a time, and the tests that call it must fail.",
        "The wording of a refusal is not changed, nor are decorated functions and constants, which mutmut leaves alone (tests/ropecore/test_precision.py and tests/test_exact.py",
        "compare those with Python's integers and mpmath).", "",
        "| file | mutants | killed | survived | not run |", "|---|---|---|---|---|", *rows,
        f"| all | {counts(everything)} |", "",
        "Those that survive, and why nothing can see them:", "",
    ]  # fmt: skip
    for name, changed in survivors.items():
        new = " ".join(line[1:].strip() for line in changed if line[0] == "+")
        where = name.removeprefix("ropecore.").replace("ǁ", ".").replace("x_", "").replace(".x.", ".")
        lines.append(f"- {where.replace('__mutmut_', ' ')}: `{new}`: {reason(changed) or '**no reason is known**'}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, and return 1 if a mutant was not killed and has no reason."""
    codes = found()
    everything = {name: code for of in codes.values() for name, code in of.items()}
    survivors = {n: changed_lines(n) for n, code in everything.items() if code is not None and code not in KILLED}
    PAGE.write_text(page(codes, survivors))
    unexplained = [name for name, lines in survivors.items() if reason(lines) is None]
    waiting = list(everything.values()).count(None)
    print(*unexplained, f"{len(survivors)} of {len(everything)} mutants survive, {waiting} were not run", sep="\n")
    return 1 if unexplained or waiting or not codes else 0


if __name__ == "__main__":
    sys.exit(main())
