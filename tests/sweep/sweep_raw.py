"""The sweep of raw dictionaries: what `read_configs` makes of a file against what it makes of the
object that transformers builds.

    python tests/sweep/sweep_raw.py        prints what differs, by family and spelling

A configuration class may do more in its constructor than its defaults show.  So each class is built
from raw dictionaries too, in every spelling: version 4's flat keys, version 5's, `type` and
`rope_type`, one rope dictionary a layer type.  The object is read by its own `rope_parameters`,
which the sweep proper compares with the model's rotary module.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import sweep as the_sweep

import ropecore
from ropecore.read import read_configs
from ropecore.read.families import families

YARN = {"factor": 8.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0, "beta_slow": 1.0}
LLAMA3 = {"factor": 8.0, "original_max_position_embeddings": 4096, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
BASE = 123456.0

# what differs, and is theirs: a rope dictionary for all layers makes the configuration class forget
# the bases of layer types
THEIRS = ("dory", "dots3_note_text", "lfm3", "ultrabert")

# spellings of the same few rules
SPELLINGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "rope_theta": {"rope_theta": BASE},
    "scaling, type": {"rope_theta": BASE, "rope_scaling": {"type": "linear", "factor": 8.0}},
    "scaling, rope_type": {"rope_theta": BASE, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "yarn, type": {"rope_theta": BASE, "rope_scaling": {"type": "yarn", **YARN}},
    "yarn, rope_type": {"rope_theta": BASE, "rope_scaling": {"rope_type": "yarn", **YARN}},
    "llama3": {"rope_theta": BASE, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "scaling alone": {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "version 5": {"rope_parameters": {"rope_type": "default", "rope_theta": BASE}},
    "version 5, yarn": {"rope_parameters": {"rope_type": "yarn", "rope_theta": BASE, **YARN}},
}


def sources(kind: type) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield raw dictionaries of a configuration class, by spelling."""
    name = kind.model_type
    for spelling, keys in SPELLINGS.items():
        yield spelling, {"model_type": name, **copy.deepcopy(keys)}
    layers = [layer for layer, own in families().get(name, {}).get("layers", {}).items() if own is not None]
    if layers:
        nested = {layer: {"rope_type": "default", "rope_theta": BASE + i} for i, layer in enumerate(layers)}
        yield "version 5, by layer type", {"model_type": name, "rope_parameters": nested}


def outcome(kind: type, source: dict[str, Any]) -> tuple[str, str]:
    """Return "equal", "differs", "refused here" or "refused there", and why."""
    try:
        theirs = read_configs(kind.from_dict(copy.deepcopy(source)), strict=False)
    except Exception as error:  # their constructor's own refusals are of every kind
        return "refused there", str(error).split("\n")[0]
    try:
        ours = read_configs(source)
    except ropecore.RopeError as error:
        return "refused here", str(error)
    for name in set(ours) & set(theirs):
        one, other = ours[name], theirs[name]
        if (one is None) != (other is None) or (
            one is not None and other is not None and one.plan(64) != other.plan(64)
        ):
            noted = any("silently drops" in note for note in ours.reports[name].notes)
            return ("noted" if noted else "differs"), f"{name}: {one} | {other}"
    return "equal", ""


def sweep_raw() -> Iterator[tuple[str, str, str, str]]:
    """Yield family, spelling, outcome and reason, for every class of the sweep that has a row."""
    for folder in the_sweep.folders():
        for kind in the_sweep.config_classes(folder).values():
            if "pairing" in families().get(kind.model_type, {}):
                for spelling, source in sources(kind):
                    yield kind.model_type, spelling, *outcome(kind, source)


if __name__ == "__main__":
    the_sweep.quiet()
    counts: Counter[str] = Counter()
    for family, spelling, status, why in sweep_raw():
        counts[status] += 1
        if status in ("differs", "refused here"):
            print(f"{family:28} {spelling:24} {status}: {why[:300]}")
    print(dict(counts))
