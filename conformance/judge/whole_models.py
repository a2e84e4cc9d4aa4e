"""Cases about whole models: projection weights that change their
pairing, and configuration files.
"""

import ropecore

from ..arrays import decode, decode_object
from ..cases import Case
from ..target import Target
from ..verdicts import Way
from . import compare, rules


def weights(case: Case, target: Target, way: Way) -> None:
    """A tensor of the query or key projection, on the lanes of another plan: the same numbers,
    permuted (chapter 3).
    """
    data, convert = case.data, target.rule("convert_pairing")
    plans = [ropecore.RotaryPlan.from_dict(data[name]) for name in ("plan_from", "plan_to")]
    got = convert(decode(data["weight"]), *plans, n_heads=data["n_heads"], kind=data["tensor"])
    compare.within(target.to_numpy(got), decode(data["result"]["weight"]), 0.0, data["tensor"])


def config(case: Case, target: Target, way: Way) -> None:
    """The plan that a model's configuration file describes; null: no rotation."""
    data, wanted = case.data, case.data["result"]["plan"]
    found = target.rule("read_config")(decode_object(data["source"]), layer_type=data["layer_type"])
    if found is None or wanted is None:
        compare.identical(found is None, wanted is None, "having no rotation")
        return
    rules.compare_plan(found.plan(data["seq_len"]), wanted, data["config"], data["seq_len"])
