"""What the targets of several libraries share: what they declare, arrays of torch, and reading a
case's config.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..verdicts import NotApplicable

TORCH_DTYPES = ("float32", "bfloat16", "float16")
CALLERS = {
    "refusals": "what is refused is a choice of each library",
    "positions/outside": "positions beyond 2^31 are not what the library promises",
}
USUAL = ("head_dim", "pairing", "base")  # keys that every config may have
RULES = {  # the keys of a scaling rule that say what nothing else does
    "linear": "factor",
    "ntk": "alpha",
    "dynamic_ntk": "factor original_max_position",
    "yarn": "factor original_max_position beta_fast beta_slow truncate attention_factor mscale mscale_all_dim",
    "longrope": "short_factor long_factor original_max_position factor attention_factor",
    "llama3": "factor low_freq_factor high_freq_factor original_max_position",
    "proportional": "partial_rotary_factor factor",
    "xpos": "scale_base centre gamma",
}


def declared(package: str, features: str, **words: Any) -> dict[str, Any]:
    """Return a target's capabilities: the library's version, and the features that it has."""
    known = {"name": package, "version": metadata.version(package), "features": features.split()}
    return {"reads_config": True, "own_frequencies": True, "not_applicable": CALLERS, **known, **words}


def config_of(case: Mapping[str, Any], pairing: str, *keys: str, rules: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Return a case's config; not applicable where it has a pairing, key or scaling rule that the
    library has no word for.
    """
    config: Mapping[str, Any] = case.get("config", case)
    only(config["pairing"] in pairing, f"the library does not pair {config['pairing']}")
    other = sorted(set(config) - {*USUAL, *keys, "scaling"})
    if other or config.get("base") is None:
        raise NotApplicable(f"the library has no option for {', '.join(other) or 'a RoPE without a base'}")
    scaling_of(config, rules)
    return config


def scaling_of(config: Mapping[str, Any], rules: tuple[str, ...]) -> Mapping[str, Any]:
    """Return a config's scaling rule, {"rule": None} without; not applicable where the library does
    not have it.
    """
    scaling: Mapping[str, Any] = config.get("scaling") or {"rule": None}
    rule = scaling["rule"]
    if rule is not None and rule not in rules:
        raise NotApplicable(f"the library has no {rule} scaling")
    other = sorted(set(scaling) - {"rule", *RULES.get(rule, "").split()}) if rule else []
    if other:
        raise NotApplicable(f"its {rule} scaling has no option for {', '.join(other)}")
    return scaling


def only(allowed: bool, why: str) -> None:
    """Refuse a case, as one that does not concern the library, unless `allowed`."""
    if not allowed:
        raise NotApplicable(why)


def runs(positions: npt.NDArray[Any]) -> Iterator[tuple[slice, int]]:
    """Return the stretches of consecutive positions, each with its first: for a library that takes
    an offset alone.
    """
    cuts = [0, *(np.flatnonzero(np.diff(positions) != 1) + 1).tolist(), len(positions)]
    for start, end in pairwise(cuts):
        yield slice(start, end), int(positions[start])


def power_of_two(n: int, least: int = 64) -> int:
    """Return the size of a table that has n rows: tables of a few sizes serve all cases."""
    return max(least, 1 << (n - 1).bit_length())


def by_rows(x: Any, positions: Any, rotate: Callable[[Any, Any], Any], join: Callable[[list[Any]], Any]) -> Any:
    """Return rotate(row, its positions) of each batch row, x (b, .., s, d), positions (s,) or (b,
    s), joined.
    """
    if positions.ndim == 1:
        return rotate(x, positions)
    rows = [positions[i] for i in range(positions.shape[0])]
    rows = rows * x.shape[0] if len(rows) == 1 else rows
    return join([rotate(x[i : i + 1], row) for i, row in enumerate(rows)])


class Alone:
    """Forget what a library keeps between calls when a case begins, so that each is judged as in a
    process of its own.

    The calls of one case of several share it, as they share a process.
    """

    def __init__(self, *forget: Callable[[], object]) -> None:
        self.forget, self.last = forget, (None, None)

    def __call__(self, case: Mapping[str, Any]) -> None:
        """Call this first, with the case."""
        now = (case.get("id"), case["dtype"] if "kind" in case else None)
        if now != self.last:
            for each in self.forget:
                each()
        self.last = now


class Tensors:
    """Arrays of torch."""

    @staticmethod
    def asarray(values: npt.NDArray[Any], dtype: str) -> Any:
        """Return host values as a tensor; through float64, since NumPy
        has no bfloat16 of its own.
        """
        import torch

        return torch.from_numpy(np.array(values)).to(getattr(torch, dtype))

    @staticmethod
    def to_numpy(x: Any) -> Any:
        """Return a tensor as NumPy's array of the same bits."""
        import ml_dtypes
        import torch

        x = x.detach().contiguous()
        return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if x.dtype is torch.bfloat16 else x.numpy()


class Torch(Tensors):
    """Arrays of torch, and autograd's gradient, for a target that has `apply`."""

    apply: Callable[..., Any]

    def vjp(self, plan: Any, x: Any, g: Any, positions: Any, *, case: Mapping[str, Any]) -> Any:
        """Return the gradient for x that autograd finds."""
        import torch

        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(self.apply(plan, leaf, positions, case=case), leaf, g)[0]
