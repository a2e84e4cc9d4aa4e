"""Features together: for every two, a case that fails where the one loses the other.

A row lists the features of one case.  The rows are written down, since vectors never change:
tests/spec/test_combinations.py tells which two features still miss a case.
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, rotate
from .combination_rows import ROWS
from .common import scaled

HEAD_DIM, LENGTH, LONG = 12, 64, 100
RULES: dict[str, dict[str, Any]] = {
    "linear": {"factor": 4.0},
    "ntk": {"alpha": 8.0},
    "dynamic_ntk": {"factor": 2.0, "original_max_position": LENGTH},
    "ntk_by_parts": {"factor": 4.0, "original_max_position": LENGTH, "beta_fast": 8.0},
    "yarn": {"factor": 4.0, "original_max_position": LENGTH, "beta_fast": 8.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": LENGTH},
    "longrope": {"original_max_position": LENGTH, "factor": 2.0},
    "proportional": {"partial_rotary_factor": 0.5, "factor": 2.0},
    "xpos": {"scale_base": 64.0},
    "damped": {"rate": 0.0078125},
}
RULE_OF = {
    "linear": "R-5.1",
    "ntk": "R-5.2",
    "dynamic_ntk": "R-5.3 R-5.4",
    "ntk_by_parts": "R-5.5",
    "yarn": "R-5.6",
    "longrope": "R-5.4 R-5.8",
    "llama3": "R-5.9",
    "proportional": "R-5.10",
    "xpos": "R-5.11",
    "damped": "R-5.12",
    "factor": "R-5.13",
    "interleaved": "R-3.2",
    "permuted": "R-3.3",
    "partial": "R-3.4",
    "lane_offset": "R-3.1",
    "axis_blocks": "R-3.5",
    "backwards": "R-3.6",
    "frequency_dim": "R-4.1",
    "own": "R-4.3",
    "matrix": "R-6.7",
    "two_axes": "R-6.1",
    "three_axes": "R-6.1",
    "order_interleaved": "R-6.2",
    "order_alternating": "R-6.3",
    "order_list": "R-6.4",
    "per_axis": "R-6.6",
    "real": "R-6.9",
    "rows": "R-7.3",
    "offset": "R-7.4",
    "offsets": "R-7.4",
    "negative": "R-7.1",
    "large": "R-7.1",
    "bshd": "R-7.3",
    "sbhd": "R-7.3",
    "thd": "R-7.3",
    "key": "R-2.4",
    "transpose": "R-9.2",
    "inverse": "R-9.3",
}  # fmt: skip


def cases() -> Iterator[Case]:
    """Yield one case a row."""
    for number, row in enumerate(ROWS, 1):
        words: list[str] = [*row.split()]
        found = {rule for word in words for rule in RULE_OF.get(word, "R-2.1").split()}
        rules = " ".join(sorted(found, key=lambda rule: [int(part) for part in rule[2:].split(".")]))
        comment = "together: " + ", ".join(word.replace("_", " ") for word in words)
        yield rotate(f"combinations/pairs/{number}", configuration(words), (rules, "", comment), **call(words))


def configuration(words: list[str]) -> dict[str, Any]:
    """Return the configuration that has these features."""
    made: dict[str, Any] = {"head_dim": HEAD_DIM, "pairing": "half_split", "base": 100.0}
    if "interleaved" in words:
        made["pairing"] = "interleaved"
    if "permuted" in words:
        made["out_pairing"] = "half_split" if "interleaved" in words else "interleaved"
    if "lane_offset" in words:
        made["lane_offset"] = 2 if "partial" in words else 4
    if "partial" in words:
        made["rotary_dim"] = 8
    if "frequency_dim" in words:
        made["frequency_dim"] = 16
    if "backwards" in words:
        made["direction"] = -1
    return made | of_axes(words) | of_frequencies(words)


def pairs(words: list[str]) -> int:
    """Return R / 2."""
    return 4 if {"partial", "lane_offset"} & set(words) else 6


def axis_count(words: list[str]) -> int:
    """Return the number of axes."""
    return 3 if "three_axes" in words else 2 if "two_axes" in words else 1


def of_axes(words: list[str]) -> dict[str, Any]:
    """Return the keywords of axes."""
    count, made = axis_count(words), dict[str, Any]()
    if count > 1:
        made["axes"] = ["t", "h", "w"][:count]
    if count > 1 and "matrix" not in words:
        made["sections"] = {(4, 2): [3, 1], (6, 2): [4, 2], (4, 3): [2, 1, 1], (6, 3): [3, 2, 1]}[pairs(words), count]
        if "per_axis" in words and "lane_offset" not in words and "partial" not in words:
            made["sections"] = [6 // count] * count
    if "real" in words:
        made["axis_kinds"] = ["integer"] * (count - 1) + ["real"]
    for order in ("interleaved", "alternating"):
        if f"order_{order}" in words:
            made["axis_order"] = order
    if "order_list" in words:
        made["axis_order"] = [a for a in reversed(range(count)) for _ in range(made["sections"][a])]
    if "axis_blocks" in words:
        made["axis_blocks"] = True
    if "per_axis" in words:
        made["axis_frequencies"] = "per_axis"
    return made


def of_frequencies(words: list[str]) -> dict[str, Any]:
    """Return the keywords of frequencies: a rule, or the caller's own, and the factor A."""
    made: dict[str, Any] = {}
    count = pairs(words)
    if "own" in words:
        made["inv_freq"] = [1.25 / 2**j for j in range(count)]
    if "matrix" in words:
        made["inv_freq"] = [[(1.0 + j + 2 * a) / 16 for a in range(axis_count(words))] for j in range(count)]
    for rule in set(RULES) & set(words):
        parameters = dict(RULES[rule])
        if rule == "longrope":
            parameters |= {"short_factor": [1.0 + j / 4 for j in range(count)]}
            parameters |= {"long_factor": [2.0 + j for j in range(count)]}
        if "factor" in words and rule in ("yarn", "longrope"):
            parameters["attention_factor"] = 1.25
        if "factor" not in words and rule in ("yarn", "longrope"):
            parameters["attention_factor"] = 1.0
        if "centre" in words:
            parameters["centre"] = 16.0
        made["scaling"] = scaled(rule, **parameters)
    if "factor" in words and not {"yarn", "longrope"} & set(words):
        made["attention_factor"] = 1.25
    return made


def call(words: list[str]) -> dict[str, Any]:
    """Return the input that has these features: two heads where their place matters."""
    form = next((form for form in ("bshd", "sbhd", "thd") if form in words), "bhsd")
    sizes = {"b": 2 if {"rows", "offsets"} & set(words) else 1, "h": 1 if form == "bhsd" else 2, "s": 2, "t": 2}
    made: dict[str, Any] = {"x": [*(sizes[letter] for letter in form[:-1]), HEAD_DIM]}
    if form != "bhsd":
        made["tensor_format"] = form
    if "key" in words:
        made["role"] = "k"
    for mode in ("transpose", "inverse"):
        if mode in words:
            made["mode"] = mode
    if {"dynamic_ntk", "longrope"} & set(words):
        made["seq_len"] = LONG
    if "offset" in words:
        return made | {"offset": start(words)}
    if "offsets" in words:
        return made | {"offset": [start(words), start(words) + 23]}
    return made | {"positions": places(words)}


def start(words: list[str], real: bool = False) -> int:
    """Return the first position; those of real axes are never large (R-7.12)."""
    size = 2**30 + 5 if "large" in words and not real else 19 if "negative" in words else 7
    return -size if "negative" in words else size


def places(words: list[str]) -> Any:
    """Return positions of which no two rows, axes or tokens agree."""
    count, columns = axis_count(words), list[Any]()
    for a in range(count):
        real = "real" in words and a == count - 1
        first, part = start(words, real) + 3 * a, 0.375 if real else 0
        rows = [[first + 11 * b + part, first + 29 - 11 * a + 5 * b + part] for b in range(2)]
        columns.append(rows if "rows" in words else rows[0])
    return columns if count > 1 else columns[0]
