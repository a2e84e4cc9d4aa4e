"""Cases about tables: cos and sin, cache layouts, angles (rope.md chapters 8 and 10)."""

from typing import Any

import numpy as np

import ropecore

from .. import bounds
from ..arrays import Array, decode, decode_floats
from ..cases import Case
from ..target import Target
from ..verdicts import Mismatch, Way
from . import compare, question


def tables(case: Case, target: Target, way: Way) -> None:
    """cos and sin of each position and row."""
    plan = ropecore.RotaryPlan.from_dict(case.data["plan"])
    positions, role = question.on_axes(plan, decode(case.data["positions"])), case.data["role"]
    both = [target.to_numpy(table).copy() for table in question.tables(target, plan, positions, role, way.dtype)]
    limit = bounds.table_bound(
        bounds.turns(plan, positions, role), way.dtype, target.capabilities.words(way.dtype), own_of(case, plan, target)
    )
    for name, got in zip(("cos", "sin"), both, strict=True):
        if got.dtype.name != way.dtype:
            raise Mismatch(f"{name}: dtype {got.dtype.name}, wanted {way.dtype}")
        wanted = decode_floats(case.data["result"][name])
        compare.within(got, wanted, limit + bounds.GOLDEN * np.abs(wanted), name)
    again = question.tables(target, plan, positions, role, way.dtype)
    for name, one, other in zip(("cos", "sin"), both, again, strict=True):
        compare.equal_bits(one, target.to_numpy(other), f"{name}, first and second call")


def own_of(case: Case, plan: ropecore.RotaryPlan, target: Target) -> bounds.Own:
    """Return what R-10.8 grants the target for a case's plan."""
    config, own = case.data.get("config"), target.capabilities.own_frequencies
    return bounds.own_frequencies(config, plan.lanes, case.data.get("seq_len")) if config and own else bounds.GIVEN


def cache(case: Case, target: Target, way: Way) -> None:
    """cos and sin in a layout of chapter 8, from the target's own tables where it makes them."""
    plan = ropecore.RotaryPlan.from_dict(case.data["plan"])
    positions, layout = question.on_axes(plan, decode(case.data["positions"])), case.data["layout"]
    pack = target.rule("pack_cache")
    if target.has("cos_sin"):
        cos, sin = (target.to_numpy(table) for table in question.tables(target, plan, positions, "q", way.dtype))
        t = bounds.table_bound(bounds.turns(plan, positions), way.dtype, target.capabilities.words(way.dtype))
    else:
        cos, sin = ropecore.cos_sin(plan, positions)
        t = bounds.table_bound(bounds.turns(plan, positions), "float64", bounds.Words(angle="exact"))
    got = as_reals(pack(plan, cos, sin, layout))
    # Each layout is an affine map of the tables: its linear part carries their error, and leaves
    # out the ones and zeros.
    once, twice = (as_reals(ropecore.pack_cache(plan, scale * t, scale * t, layout)) for scale in (1.0, 2.0))
    compare.identical(len(got), len(case.data["result"]["arrays"]), "the number of arrays")
    for number, (array, source) in enumerate(zip(got, case.data["result"]["arrays"], strict=True)):
        wanted = decode_floats(source)
        limit = np.abs(twice[number] - once[number]) + bounds.GOLDEN * np.abs(wanted)
        compare.within(array, wanted, limit, f"{layout}[{number}]")


def as_reals(packed: Any) -> list[Array]:
    """Return a packed cache as a list of real arrays; complex numbers become (.., 2)."""
    arrays = [np.asarray(array) for array in (packed if isinstance(packed, (tuple, list)) else [packed])]
    return [np.stack([np.real(a), np.imag(a)], axis=-1) if a.dtype.kind == "c" else a for a in arrays]


def angles(case: Case, target: Target, way: Way) -> None:
    """Angles, reduced to [-pi, pi] before they are rounded, compared modulo 2 pi (R-8.2)."""
    plan = ropecore.RotaryPlan.from_dict(case.data["plan"])
    positions = question.on_axes(plan, decode(case.data["positions"]))
    got = target.to_numpy(target.rule("angles")(plan, positions))
    wanted = decode_floats(case.data["result"]["angles"])
    if np.abs(got).max(initial=0.0) > np.asarray(np.pi, got.dtype):
        raise Mismatch(f"angles are not in [-pi, pi]: {float(np.abs(got).max())!r} (R-8.2)")
    # Below pi: the remainder as a float, pi as a float, their product, and the golden value are
    # each rounded.  On a real axis F / 2 pi and its product with the coordinate are, too.
    u = 2.0**-24 if got.dtype == np.float32 else 2.0**-53
    at = bounds.turns(plan, positions)
    limit = 4 * u * np.pi + 2 * u * at.real_reach + (u * at.lost_reach if got.dtype == np.float32 else 0.0)
    near = wanted + 2 * np.pi * np.rint((got.astype(np.float64) - wanted) / (2 * np.pi))
    compare.within(got, near, limit, "angles modulo 2 pi")
