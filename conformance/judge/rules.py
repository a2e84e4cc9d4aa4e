"""Cases about rules alone: frequencies, plans, positions (rope.md chapters 2 to 7)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import ropecore

from .. import bounds
from ..arrays import Floats, decode, decode_floats, decode_object
from ..cases import Case
from ..target import Target
from ..verdicts import Way
from . import compare


def frequencies(case: Case, target: Target, way: Way) -> None:
    """The frequencies of a configuration, in the order of pairs (R-4.2, R-4.4)."""
    config, result = case.data["config"], case.data["result"]
    found, factor, logs = frequencies_of(target, config, case.data["seq_len"])
    wanted = decode_floats(result["frequencies"])
    found = found.reshape(wanted.shape) if found.size == wanted.size else found
    words = target.capabilities.words(way.dtype)
    if target.has("frequencies") and words.own and words.angle == "float32":
        limit = single_precision(config, case.data["seq_len"]) * np.abs(wanted)
        compare.within(found, wanted, limit, "frequencies")
    else:
        compare.relative(found, result["frequencies"], "frequencies")
    compare.relative(np.asarray(factor, np.float64), result["attention_factor"], "attention_factor")
    if logs is None or result["log_magnitude"] is None:
        compare.identical(logs is None, result["log_magnitude"] is None, "having no log_magnitude")
    else:
        compare.relative(np.asarray(logs, np.float64), result["log_magnitude"], "log_magnitude")


def single_precision(config: Mapping[str, Any], seq_len: int | None) -> Floats:
    """Return the relative bound of frequencies that were made in float32: c_j units, R-10.8."""
    lanes = ropecore.RopeConfig.from_dict({**config, "scaling": None}).rows().lanes
    k = bounds.own_frequencies(config, lanes, seq_len).k
    return np.broadcast_to(np.asarray(k) - 2, len(lanes))[:, None] * 2.0**-24


def frequencies_of(target: Target, config: Mapping[str, Any], seq_len: int | None) -> tuple[Floats, Any, Any]:
    """Return frequencies, attention factor and log magnitude, by the target's own function or by
    its rules.
    """
    if not target.has("frequencies"):
        rows = target.rule("RopeConfig").from_dict(config).rows(seq_len)
        return rows.frequencies, rows.attention_factor, rows.log_magnitude
    found, factor, *logs = target.subject.frequencies(dict(config), seq_len)
    return target.to_numpy(found).astype(np.float64), factor, logs[0] if logs else None


def plan(case: Case, target: Target, way: Way) -> None:
    """The canonical plan of a configuration, or of a plan object (R-2.5)."""
    wanted, config = case.data["result"]["plan"], case.data.get("config")
    if config is None:
        got = target.rule("RotaryPlan").from_dict(decode_object(case.data["rows"]))
    else:
        got = target.rule("RopeConfig").from_dict(config).plan(case.data["seq_len"])
    compare_plan(got, wanted, config, case.data.get("seq_len"))


def compare_plan(
    got: Any, wanted: Mapping[str, Any], config: Mapping[str, Any] | None, seq_len: int | None = None
) -> None:
    """Compare a plan with a plan object: bit for bit, or within R-4.4 where it was made from a
    configuration.
    """
    limit: Floats | float = (
        0.0 if config is None else bounds.frequency_bound(config, np.array(wanted["lanes"]), seq_len)[:, None]
    )
    for name in ("head_dim", "axes", "axis_kinds"):
        found = getattr(got, name)
        compare.identical(list(found) if isinstance(found, tuple) else found, wanted[name], name)
    for name in ("lanes", "out_lanes"):
        compare.identical(np.asarray(getattr(got, name)).tolist(), wanted[name], name)
    matrix = np.array(wanted["frequencies"], np.float64).reshape(len(wanted["lanes"]), len(wanted["axes"]))
    allowed = limit * np.abs(matrix) + np.where((matrix == 0) | (np.asarray(limit) == 0), 0.0, bounds.SUBNORMAL)
    compare.within(np.asarray(got.frequencies), matrix, allowed, "frequencies")
    rounding = 0.0 if config is None else 8 * 2.0**-53
    scalars = [("attention_factor", got.attention_factor), ("centre", got.centre), ("log_magnitude", got.log_magnitude)]
    for name, value in scalars:
        if value is None or wanted[name] is None:
            compare.identical(value is None, wanted[name] is None, f"having no {name}")
            continue
        given = np.asarray(wanted[name], np.float64)
        compare.within(np.asarray(value, np.float64), given, rounding * np.abs(given), name)


def positions(case: Case, target: Target, way: Way) -> None:
    """Positions that a builder makes, exactly (chapter 7)."""
    found = target.rule(case.data["builder"])(
        **{name: argument(value) for name, value in case.data["arguments"].items()}
    )
    wanted = case.data["result"]["positions"]
    if "data" in wanted:
        compare.exactly(np.asarray(found), wanted, case.data["builder"])
        return
    parts = found if isinstance(found, Mapping) else found._asdict()
    for name, source in wanted.items():
        compare.exactly(np.asarray(parts[name]), source, name)


def argument(value: Any) -> Any:
    """Return a builder's argument: an array of the vector files as one, anything else as it is."""
    return decode(value) if isinstance(value, dict) and "data" in value else value


def sinusoid(case: Case, target: Target, way: Way) -> None:
    """The sinusoidal encoding of the original Transformer."""
    encode = target.rule("sinusoidal_encoding")
    got = target.to_numpy(encode(decode(case.data["positions"]), case.data["dim"], case.data["base"]))
    result = case.data["result"]
    limit = bounds.sinusoid_bound(decode(case.data["positions"]), case.data["dim"], case.data["base"])
    if result["kind"] == "printed":
        compare.printed(got, lambda largest: limit, result)
        return
    wanted = decode_floats(result["encoding"])
    compare.within(got, wanted, limit, "encoding")
