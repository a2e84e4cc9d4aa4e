"""The generated parts of rope.md: the vectors of each rule, and the worked phases."""

import re
from collections.abc import Iterable, Mapping

from . import worked
from .cases import Case

RULE = re.compile(r"^\*\*(R-\d+\.\d+)\*\*( Replaced by R-\d+\.\d+)?", re.MULTILINE)
PART = r"(<!-- {} -->\n)(?:.*\n)*?(<!-- end -->)"
NONE = "no vector: an exact rotation does not show this rule"


def rules(page: str) -> dict[str, str]:
    """Return the rules that the page defines, in order, each with the words that say what has its
    place.
    """
    return dict(RULE.findall(page))


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


def entry(rule: str, replaced: str, ids: list[str]) -> str:
    """Return the line of a rule."""
    names = ", ".join(f"`{name}`" for name in compressed(ids)) or NONE
    return f"- {rule}{replaced.lower() and f' ({replaced.strip().lower()})'.replace(' r-', ' R-')}, {len(ids)}: {names}"


def listed(page: str, cases: Iterable[Case]) -> str:
    """Return the list of the vectors of each rule; withdrawn ones are left out."""
    known = rules(page)
    by_rule: Mapping[str, list[str]] = {rule: [] for rule in known}
    for case in cases:
        for rule in case["rules"]:
            if rule not in by_rule:
                raise ValueError(f"{case['id']} names {rule}, which rope.md does not have")
            if "withdrawn" not in case:
                by_rule[rule].append(case["id"])
    return "\n".join(entry(rule, known[rule], by_rule[rule]) for rule in sorted(known, key=number))


def number(rule: str) -> tuple[int, ...]:
    """Return the numbers of a rule's id, to sort by."""
    return tuple(int(part) for part in rule[2:].split("."))


def filled(page: str, cases: Iterable[Case]) -> str:
    """Return rope.md with its generated parts; doing so twice changes nothing."""
    parts = {"worked": f"{worked.table(32)}\n\n{worked.table(64)}", "vectors": listed(page, cases)}
    for name, text in parts.items():
        page, count = re.subn(PART.format(name), lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", page)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"rope.md has {count} places for the {name}")
    return page
