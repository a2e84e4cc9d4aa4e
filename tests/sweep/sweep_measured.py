"""The sweep of `measure`: every configuration class of transformers, measured from the model's code
and read from the table.

    python tests/sweep/sweep_measured.py [folder ..]      prints the counts, and each difference
                                                          with its reason

Where a class's model is built, what `read_configs` gives for the same configuration must be the
same rotation of the same layers.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import sweep as the_sweep

import ropecore
from ropecore.conformance.identify.compare import differences
from ropecore.conformance.identify.model import measure


@dataclass(frozen=True)
class Measured:
    """One class: "equal", "differs", "not built" or "not read", why, and the seconds of the
    measurement.
    """

    name: str
    status: str
    why: str
    seconds: float


def sweep(only: tuple[str, ...] = ()) -> Iterator[Measured]:
    for folder in the_sweep.folders():
        if only and folder not in only:
            continue
        for name, kind in the_sweep.config_classes(folder).items():
            yield sweep_class(folder, name, kind)


def sweep_class(folder: str, name: str, kind: type) -> Measured:
    label, start = f"{folder}:{name}", time.process_time()
    try:
        config = kind(**the_sweep.REPAIRS.get(name, ({}, ""))[0])
        measured = measure(config)
    except Exception as error:
        return Measured(label, "not built", f"{type(error).__name__}: {error}"[:600], time.process_time() - start)
    seconds = time.process_time() - start
    try:
        found = ropecore.read_configs(config, family=the_sweep.FAMILY.get(name))
    except ropecore.RopeError as error:
        return Measured(label, "not read", str(error)[:300], seconds)
    different = differences(found, measured)
    why = (
        "\n".join([*(each.text() for each in different), *measured.problems])
        if different
        else "; ".join(measured.problems)
    )
    return Measured(label, "differs" if different else "equal", why, seconds)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    the_sweep.quiet()
    done = []
    for each in sweep(tuple(sys.argv[1:])):
        done.append(each)
        print(f"{each.status:9} {each.seconds:5.1f} {each.name}" + (f"\n{each.why}" if each.why else ""), flush=True)
    print(dict(Counter(each.status for each in done)), f"longest {max(each.seconds for each in done):.1f} s")
