"""What a model's configuration was read as, beside what its own code does: `differences`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.plan import RotaryPlan

from ..bounds import EXACT, own_frequencies
from .model import FAR, MeasuredRope, Measurement, ranges

UNIT = 2.0**-24  # float32, in which models make their tables


@dataclass(frozen=True)
class Difference:
    """One RoPE that was read and measured otherwise, or in one of the two alone: what each says, in
    words.
    """

    part: str
    read: str
    measured: str
    why: str

    def text(self) -> str:
        """Return it as lines for a terminal."""
        return f"{self.part or 'model'}: {self.why}\n  read      {self.read}\n  measured  {self.measured}"


def differences(found: Mapping[str, RopeConfig | None], measured: Measurement) -> tuple[Difference, ...]:
    """Return where the RoPEs of `read_configs` and of `measure` are not the same rotation of the
    same layers.

    Frequencies may be as far apart as R-10.6 allows a program that makes them in float32, and as
    they are known.
    """
    names = _names(found, measured)
    different: list[Difference] = []
    for part in dict.fromkeys([*(key.partition("/")[0] for key in found), *names.values()]):
        read = {key: config for key, config in found.items() if key.partition("/")[0] == part}
        ropes = [rope for rope in measured.ropes if names[rope.part] == part]
        different += _of_part(part, read, ropes)
    return tuple(different)


def _names(found: Mapping[str, RopeConfig | None], measured: Measurement) -> dict[str, str]:
    """Return the reader's name of each measured part: the configuration's own is the one that no
    sub-configuration has.
    """
    own = list(dict.fromkeys(key.partition("/")[0] for key in found))
    parts = dict.fromkeys(rope.part for rope in measured.ropes)
    left = [name for name in own if name not in parts]
    return {part: part if part in own else (left[-1] if left and not part else part or "text") for part in parts}


def _of_part(part: str, read: Mapping[str, RopeConfig | None], ropes: Sequence[MeasuredRope]) -> list[Difference]:
    """Return the differences of one part: each RoPE of either side needs its like on the other."""
    different: list[Difference] = []
    turning = {key: config for key, config in read.items() if config is not None}
    met: dict[str, set[int]] = {key: set() for key in turning}
    matched: set[str] = set()
    for rope in ropes:
        if rope.plan is None and not rope.problems:
            continue
        reasons = {key: unlike(config, rope) for key, config in turning.items()}
        like = [key for key, reason in reasons.items() if not reason]
        if not like:
            nearest = next(iter(reasons), None)
            why = (
                f"{rope.module}: {reasons[nearest]}"
                if nearest
                else f"{rope.module} rotates, and nothing that was read says so"
            )
            different.append(Difference(part, _config_text(nearest, turning.get(nearest or "")), _rope_text(rope), why))
            matched |= {nearest} if nearest else set()
        for key in like:
            met[key] |= set(rope.layers)
            matched.add(key)
    for key, config in turning.items():
        layers = config.report.layers if config.report is not None else None
        if key not in matched:
            seen = "no layer rotates" if ropes else "nothing of this part could be run"
            different.append(
                Difference(
                    part, _config_text(key, config), seen, "is not in the model" if ropes else "was not measured"
                )
            )
        elif layers is not None and met[key] and not set(layers) <= met[key]:
            why = "other layers rotate so"
            different.append(
                Difference(part, f"{key}: layers {ranges(layers)}", f"layers {ranges(tuple(met[key]))}", why)
            )
    return different


def unlike(config: RopeConfig, rope: MeasuredRope) -> str:
    """Return why a measured RoPE is not what a configuration says, or "" where it is."""
    if rope.plan is None:
        return "; ".join(rope.problems) or "does not rotate"
    try:
        plan = config.plan(rope.seq_len)
    except RopeError:  # it depends on the length, and the model does not
        plan = config.plan(FAR + 1)
    own = rope.plan if plan.head_dim == rope.plan.head_dim else _in_whole_head(rope)
    if own.head_dim != plan.head_dim:
        return f"heads of {own.head_dim} lanes, not {plan.head_dim}"
    if not (np.array_equal(own.lanes, plan.lanes) and np.array_equal(own.out, plan.out)):
        return "other lanes rotate together"
    if own.n_axes != plan.n_axes:
        return f"positions have {own.n_axes} axes, not {plan.n_axes}"
    known = own_frequencies(config.to_dict(), plan.lanes)
    limit = np.reshape(known.k, (-1, 1)) * UNIT * np.abs(plan.frequencies) + 4 * rope.resolution
    apart = np.abs(np.remainder(own.frequencies - plan.frequencies + math.pi, 2 * math.pi) - math.pi)
    if (apart > limit).any():
        row = int((apart - limit).max(axis=1).argmax())
        return f"pair {row} turns by {own.frequencies[row].tolist()}, not {plan.frequencies[row].tolist()}"
    if abs(own.attention_factor - plan.attention_factor) > 4 * EXACT["float32"] * plan.attention_factor:
        return f"the attention factor is {own.attention_factor:.8g}, not {plan.attention_factor:.8g}"
    return ""


def _in_whole_head(rope: MeasuredRope) -> RotaryPlan:
    """Return the plan on the lanes of the whole head."""
    plan = rope.plan
    assert plan is not None  # asked by the caller
    return plan.replace(
        head_dim=rope.head_dim, lanes=plan.lanes + rope.lane_offset, out_lanes=plan.out + rope.lane_offset
    )


def _config_text(key: str | None, config: RopeConfig | None) -> str:
    if config is None:
        return "nothing"
    given = ", ".join(f"{name}={value!r}" for name, value in config.to_dict().items())
    return f"{key}: {given if len(given) < 400 else given[:397] + '...'}"


def _rope_text(rope: MeasuredRope) -> str:
    return " ".join(rope.text().split())
