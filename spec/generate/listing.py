"""The lists of vectors below each rule of rope.md."""

import re
from collections.abc import Iterable, Mapping, Sequence

from .cases import Case

RULE = re.compile(r"^\*\*(R-\d+\.\d+)\*\*", re.MULTILINE)
MARKER = re.compile(r"<!-- vectors (R-\d+\.\d+) -->\n(?:(?:(?!<!-- ).*\n)*<!-- end -->\n)?")
NONE = "> No vector: an exact rotation does not show this rule."


def rules(page: str) -> list[str]:
    """Return the rules that the page defines."""
    return RULE.findall(page)


def compressed(ids: Iterable[str]) -> list[str]:
    """Return ids with those of one parent path in braces: `a/{b,c}`."""
    by_parent: dict[str, list[str]] = {}
    for case_id in ids:
        parent, _, name = case_id.rpartition("/")
        by_parent.setdefault(parent, []).append(name)
    return [
        f"{parent}/{names[0]}" if len(names) == 1 else f"{parent}/{{{','.join(names)}}}"
        for parent, names in by_parent.items()
    ]


def block(ids: Sequence[str]) -> str:
    """Return the generated lines for a rule with these vectors: folded, so that the page reads as rules."""
    if not ids:
        return NONE
    count = f"{len(ids)} vector{'s' if len(ids) > 1 else ''}"
    names = ", ".join(f"`{name}`" for name in compressed(ids))
    return f"<details><summary>{count}</summary>\n\n{names}\n\n</details>"


def filled(page: str, cases: Iterable[Case]) -> str:
    """Return rope.md with each marker followed by its list; doing so twice changes nothing."""
    by_rule: Mapping[str, list[str]] = {rule: [] for rule in rules(page)}
    for case in cases:
        for rule in case["rules"]:
            if rule not in by_rule:
                raise ValueError(f"{case['id']} names {rule}, which rope.md does not have")
            if "withdrawn" not in case:
                by_rule[rule].append(case["id"])
    return MARKER.sub(lambda found: f"{found[0].splitlines()[0]}\n{block(by_rule[found[1]])}\n<!-- end -->\n", page)
