"""Which lanes form which pair: rope.md chapter 3."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Lanes: TypeAlias = list[tuple[int, int]]


def rotary_dim(config: Mapping[str, Any]) -> int:
    """Return R, all lanes from the offset on unless given (chapter 3)."""
    return int(config.get("rotary_dim", config["head_dim"] - config.get("lane_offset", 0)))


def block(pairing: str, size: int, start: int) -> Lanes:
    """Return the pairs of `size` lanes from `start` on (R-3.1, R-3.2)."""
    half = size // 2
    if pairing == "half_split":
        return [(start + j, start + j + half) for j in range(half)]
    if pairing == "interleaved":
        return [(start + 2 * j, start + 2 * j + 1) for j in range(half)]
    raise ValueError(f"no pairing {pairing}")


def blocks(pairing: str, sections: Sequence[int], start: int) -> Lanes:
    """Return the pairs of one block of lanes an axis, one after the other (R-3.5)."""
    lanes: Lanes = []
    for size in sections:
        lanes += block(pairing, 2 * size, start + 2 * len(lanes))
    return lanes


def read_and_written(config: Mapping[str, Any]) -> tuple[Lanes, Lanes]:
    """Return the lanes read and the lanes written of each pair j of a configuration (R-3.1 to
    R-3.5).
    """
    start = config.get("lane_offset", 0)
    pairing = config["pairing"]
    out_pairing = config.get("out_pairing", pairing)
    if config.get("axis_blocks"):
        sections = config["sections"]
        return blocks(pairing, sections, start), blocks(out_pairing, sections, start)
    return block(pairing, rotary_dim(config), start), block(out_pairing, rotary_dim(config), start)


def new_order(config_from: Mapping[str, Any], config_to: Mapping[str, Any], entries: int, n_heads: int) -> list[int]:
    """Return for each new entry of a tensor the old one: pair j has other lanes, head by head;
    other lanes stay.

    Fewer entries than lanes stand for blocks of lanes: the block of a new entry's first lane is
    taken.  Exactly head_dim of them are shared by the heads.
    """
    head_dim = int(config_from["head_dim"])
    old, new = (read_and_written(config)[0] for config in (config_from, config_to))
    moved = dict(pair for at, to in zip(old, new, strict=True) for pair in zip(to, at, strict=True))
    if entries == head_dim:
        return [moved.get(lane, lane) for lane in range(head_dim)]
    size = n_heads * head_dim // entries
    firsts = [divmod(entry * size, head_dim) for entry in range(entries)]
    return [(head * head_dim + moved.get(lane, lane)) // size for head, lane in firsts]
