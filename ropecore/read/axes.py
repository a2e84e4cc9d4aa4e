"""Families with several axes: which pairs turn with which axis, and with which frequencies (rope.md
chapter 6).
"""

import math
from typing import Any

from ropecore.axes import axis_of_pairs
from ropecore.config import RopeConfig
from ropecore.errors import RopeError, integer, number
from ropecore.read.families import Row, table
from ropecore.read.keys import Reader


def read_axes(reader: Reader, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of a family with several axes (chapter 6)."""
    if "axes" not in reader.row:
        _no_sections(reader)
        return {}
    arrangement: Row = table()["axes"][reader.row["axes"]]
    names = tuple(arrangement["names"])
    reader.ledger.assume("axes", names, reader.row["source"])
    if arrangement.get("inv_freq") == "esmfold2":
        return _esmfold2(reader, arrangement)
    lanes = keywords.get("rotary_dim", keywords["head_dim"])
    if reader.row["axes"] == "thw":  # each axis gets an even number of lanes, the remainder passes
        lanes = 3 * 2 * (lanes // 3 // 2)
    sections = _sections(reader, arrangement, lanes // 2)
    if sections is None:
        return {}
    found: dict[str, Any] = {
        "axes": names,
        "sections": sections,
        "axis_order": axis_order(arrangement["order"], sections),
    }
    found |= {"rotary_dim": lanes} if lanes != keywords["head_dim"] else {}
    found |= {"axis_kinds": tuple(arrangement["kinds"])} if "kinds" in arrangement else {}
    found |= {"axis_frequencies": arrangement["frequencies"]} if "frequencies" in arrangement else {}
    found |= {"axis_blocks": True} if arrangement.get("blocks") else {}
    if "inv_freq" in arrangement:
        found |= {"base": None, "inv_freq": INV_FREQS[arrangement["inv_freq"]](keywords["base"], lanes)}
    return found


def _no_sections(reader: Reader) -> None:
    for key in ("mrope_section", "mrope_interleaved"):
        if key in reader.rope and reader.request.strict and "axes" not in (reader.request.known or {}):
            cure = "Pass axes, sections and axis_order, or strict=False for one axis."
            raise RopeError(key, reader.rope.peek(key), "belongs to a family with several axes", cure, "R-6.1")
        reader.rope.ignore(key, "the family has one axis")


def _sections(reader: Reader, arrangement: Row, n_pairs: int) -> tuple[int, ...] | None:
    n_axes, key = len(arrangement["names"]), arrangement.get("key")
    if key is None:
        return (n_pairs // n_axes,) * n_axes
    given = reader.rope.first((key, "mrope_section"), "pairs of each axis")
    flag = reader.rope.get("mrope_interleaved", "must agree with the family")
    if flag is not None and bool(flag) != (arrangement["order"] == "interleaved") and reader.request.strict:
        cure = "transformers goes by the family: pass strict=False to do so."
        raise RopeError("mrope_interleaved", flag, f"the family's order is {arrangement['order']}", cure, "R-6.2")
    if given is None:
        given = reader.row.get("sections")
        if given is None:
            return None  # a model without sections reads text alone
        reader.ledger.assume(key, given, f"the family's default: {reader.row['source']}")
    if not isinstance(given, (list, tuple)) or len(given) != n_axes:
        raise RopeError(key, given, f"must have {n_axes} entries", rule="R-12.7")
    sizes = [integer(f"{key}[{a}]", size) for a, size in enumerate(given)]
    if arrangement["order"] == "hw_then_t":  # written as h, w, t
        sizes = [sizes[2], sizes[0], sizes[1]]
    if arrangement["order"] == "interleaved" and sum(sizes) != n_pairs:
        sizes = reader.ledger.assume(
            key, _fitted(sizes, n_pairs), "transformers: what fits, and the rest to the first axis"
        )
    return tuple(sizes)


def _fitted(sizes: list[int], n_pairs: int) -> list[int]:
    """Return the sections that transformers' slices [a : N * S_a : N] leave of these, where they do
    not add up.
    """
    n_axes = len(sizes)
    taken = [len(range(a, min(n_axes * size, n_pairs), n_axes)) for a, size in enumerate(sizes)][1:]
    return [n_pairs - sum(taken), *taken]


def axis_order(order: str, sections: tuple[int, ...]) -> str | tuple[int, ...]:
    """Return an order of RopeConfig for the table's; "reversed" ones begin with the last axis
    (R-6.4).
    """
    last = len(sections) - 1
    match order:
        case "reversed":
            return tuple(last - a for a in axis_of_pairs("chunked", sections[::-1]))
        case "reversed_alternating":
            return tuple(last - a for a in axis_of_pairs("alternating", sections[::-1]))
        case "hw_then_t":
            return tuple(a + 1 for a in axis_of_pairs("alternating", sections[1:])) + (0,) * sections[0]
        case _:
            return order


def frequencies(base: float, rotary_dim: int) -> list[float]:
    """Return b^(-2j/R), rounded once (R-4.1)."""
    rows = RopeConfig(head_dim=rotary_dim, pairing="half_split", base=base).rows()
    return [float(f) for f in rows.frequencies[:, 0]]


def _strided(base: float, lanes: int) -> tuple[float, ...]:
    """Pixtral: the rows take f_0, f_2, .. and the columns f_1, f_3, .. of the whole head's
    frequencies.
    """
    f = frequencies(base, lanes)
    return tuple(f[0::2] + f[1::2])


def _two_pi(base: float, lanes: int) -> tuple[float, ...]:
    """DINOv3: coordinates from -1 to 1 in turns, each axis with the
    frequencies of half the head.
    """
    return tuple(2 * math.pi * f for f in frequencies(base, lanes // 2)) * 2


INV_FREQS = {"strided": _strided, "two_pi": _two_pi}


def _esmfold2(reader: Reader, arrangement: Row) -> dict[str, Any]:
    """ESMFold 2: three real axes of one base, an identifier of another,
    and lanes that stand still.
    """
    spatial, uid = (
        integer(n, reader.quantity(n, "pairs of an axis"))
        for n in ("num_spatial_rope_pairs_per_axis", "num_uid_rope_pairs")
    )
    bases = (
        number(n, reader.quantity(n, "the base of an axis"), above=0)
        for n in ("spatial_rope_base_frequency", "uid_rope_base_frequency")
    )
    near, far = (frequencies(base, 2 * size) for base, size in zip(bases, (spatial, uid), strict=True))
    idle = reader.head_dim() // 2 - 3 * spatial - uid
    sections = (spatial, spatial, spatial, uid + idle)
    found = {"axes": tuple(arrangement["names"]), "axis_kinds": tuple(arrangement["kinds"]), "sections": sections}
    return found | {"base": None, "inv_freq": tuple(near * 3 + far + [0.0] * idle)}
