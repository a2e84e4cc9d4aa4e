"""In what two configurations differ."""

import numpy as np

from ropecore.config import RopeConfig


def compare(one: RopeConfig, other: RopeConfig, seq_len: int) -> list[str]:
    """Return the keywords that differ and what that does to the frequencies; none if the plans are
    equal.

    seq_len: the length that length-dependent rules plan for (R-5.4).
    """
    plans = one.plan(seq_len), other.plan(seq_len)
    if plans[0] == plans[1]:
        return []
    mine, theirs = one.to_dict(), other.to_dict()
    lines = [
        f"{key}: {mine.get(key)} | {theirs.get(key)}"
        for key in sorted({*mine, *theirs})
        if mine.get(key) != theirs.get(key)
    ]
    if plans[0].attention_factor != plans[1].attention_factor:
        lines.append(f"attention factor: {plans[0].attention_factor:.6g} | {plans[1].attention_factor:.6g}")
    if plans[0].frequencies.shape != plans[1].frequencies.shape:
        return [*lines, f"pairs and axes: {plans[0].frequencies.shape} | {plans[1].frequencies.shape}"]
    moved = np.any(plans[0].frequencies != plans[1].frequencies, axis=1)
    return [*lines, f"frequencies: {int(moved.sum())} of {len(moved)} pairs differ"] if moved.any() else lines
