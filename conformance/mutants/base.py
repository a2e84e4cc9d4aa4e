"""Right targets in steps: a mutant is one of them with a single step changed."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, TypeAlias

import numpy as np

import ropecore
from ropecore import RotaryPlan
from ropecore.config import Rows
from ropecore.precision import numpy_dtype

from ..arrays import Array

Config: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = tuple[Array, Array]
DTYPES = ("float32", "float64", "bfloat16", "float16")
USUAL = {"dtypes": DTYPES, "angle": "exact", "not_applicable": {"refusals": "a miniature reads no arguments"}}


class Right:
    """A right target in steps, each of which a mutant replaces: plan, positions, tables, turning,
    rounding.
    """

    flag: ClassVar[str] = ""
    remembers: ClassVar[bool] = False  # what it answers depends on what it was asked before
    needs_module: ClassVar[str] = ""  # what must be installed beside ml_dtypes
    RopeError = ropecore.RopeError
    capabilities: ClassVar[Mapping[str, Any]] = USUAL

    def apply(
        self,
        plan: RotaryPlan,
        x: Array,
        positions: Any = None,
        offset: Any = None,
        tensor_format: str = "bhsd",
        role: str = "q",
    ) -> Any:
        """Return x rotated."""
        return self.rotated(plan, x, positions, offset, tensor_format, role)

    def rotated(
        self, plan: RotaryPlan, x: Array, positions: Any, offset: Any = None, form: str = "bhsd", role: str = "q"
    ) -> Array:
        """Return x after all the steps."""
        length = x.shape[form.index("s" if "s" in form else "t")]
        with np.errstate(all="ignore"):  # NaN, infinities, and what a wrong step makes of them
            plan = self.plan(plan)
            places = self.positions(positions, offset, length)
            cos, sin = (fit(table, form) for table in self.tables(plan, places, role))
            return self.store(self.turn(plan, x, cos, sin), x)

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        """Return the plan that is used."""
        return plan

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        """Return the positions of the tokens."""
        return positions if positions is not None else np.arange(length) + np.asarray(offset or 0)[..., None]

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        """Return cos and sin, with A."""
        return ropecore.cos_sin(plan, positions if np.ndim(positions) else np.array([positions]), role)

    def turn(self, plan: RotaryPlan, x: Array, cos: Array, sin: Array) -> Array:
        """Return the rotated numbers, before they are rounded."""
        return ropecore.rotate(plan, x.astype(np.float64), cos, sin)

    def store(self, y: Array, x: Array) -> Array:
        """Return the result in the dtype of x."""
        return y.astype(x.dtype)


def fit(table: Array, tensor_format: str) -> Array:
    """Return a table of (s, n), (b, s, n) or (t, n), shaped to broadcast against a tensor."""
    own = ["b", "s"] if table.ndim == 3 else ["s" if "s" in tensor_format else "t"]
    order = sorted(range(len(own)), key=lambda i: tensor_format.index(own[i]))
    sizes = {**dict(zip(own, table.shape, strict=False)), "d": table.shape[-1]}
    return table.transpose(*order, len(order)).reshape([sizes.get(letter, 1) for letter in tensor_format])


class WithGradient(Right):
    """The right target with its gradient: the transpose."""

    transposed = True

    def vjp(
        self,
        plan: RotaryPlan,
        x: Array,
        g: Array,
        positions: Any = None,
        offset: Any = None,
        tensor_format: str = "bhsd",
    ) -> Any:
        """Return the gradient with respect to x."""
        length = x.shape[tensor_format.index("s" if "s" in tensor_format else "t")]
        places = Right.positions(self, positions, offset, length)
        cos, sin = (fit(table, tensor_format) for table in ropecore.cos_sin(plan, places))
        return ropecore.rotate(plan, g.astype(np.float64), cos, sin, transpose=self.transposed).astype(g.dtype)


class WithTables(Right):
    """The right target with its two halves: tables, and their rotation, forward and back."""

    def cos_sin(self, plan: RotaryPlan, positions: Any, role: str = "q", dtype: str = "float32") -> Tables:
        """Return cos and sin in that dtype."""
        cos, sin = ropecore.cos_sin(plan, positions, role)
        return cos.astype(dtype), sin.astype(dtype)

    def rotate(
        self,
        plan: RotaryPlan,
        x: Array,
        cos: Array,
        sin: Array,
        tensor_format: str = "bhsd",
        inverse: bool = False,
        transpose: bool = False,
    ) -> Array:
        """Return x rotated by tables."""
        wide_cos, wide_sin = (fit(table, tensor_format).astype(np.float64) for table in (cos, sin))
        with np.errstate(all="ignore"):
            y = ropecore.rotate(plan, x.astype(np.float64), wide_cos, wide_sin, inverse, transpose)
            return y.astype(x.dtype)


class WithEverything(WithGradient, WithTables):
    """The right target with all that a target may have."""

    rules: ClassVar[Any] = ropecore

    def apply_(
        self,
        plan: RotaryPlan,
        x: Array,
        positions: Any = None,
        offset: Any = None,
        tensor_format: str = "bhsd",
        role: str = "q",
    ) -> None:
        """Rotate x in place."""
        x[...] = self.rotated(plan, x.copy(), positions, offset, tensor_format, role)

    def from_meta(self, plan: RotaryPlan) -> Callable[..., Array]:
        """Return a module that holds no memory: its tables are made at each call."""
        return lambda x, positions: self.rotated(plan, x, positions)

    def shift(self, plan: RotaryPlan, x: Array, delta: int) -> Array:
        """Return rotated keys, moved."""
        everywhere = delta if plan.n_axes == 1 else np.full(plan.n_axes, delta)
        cos, sin = ropecore.cos_sin(plan.on_written_lanes(), everywhere, "k")
        return ropecore.rotate(plan.on_written_lanes(), x.astype(np.float64), cos, sin).astype(x.dtype)


class Ids(Right):
    """The right target with builders of positions."""

    rules: ClassVar[Any] = SimpleNamespace(
        **{name: getattr(ropecore, name) for name in vars(ropecore) if "position" in name or name == "axes_first"}
    )


class FromConfig(Right):
    """The right target of a program that makes its plan from the configuration: `config` and `rows`
    are its steps.
    """

    capabilities: ClassVar[Mapping[str, Any]] = {**USUAL, "reads_config": True}

    def apply(
        self,
        plan: RotaryPlan,
        x: Array,
        positions: Any = None,
        offset: Any = None,
        tensor_format: str = "bhsd",
        role: str = "q",
        case: Any = None,
    ) -> Any:
        """Return x rotated by the plan of the case's configuration."""
        own = ropecore.RopeConfig.from_dict(self.config(case["config"]))
        rows = self.made(case["config"], case["seq_len"])
        made = RotaryPlan(
            head_dim=own.head_dim, axes=own.axes or ("position",), axis_kinds=own.axis_kinds, **rows._asdict()
        )
        return self.rotated(made, x, positions, offset, tensor_format, role)

    def frequencies(self, config: Config, seq_len: int | None) -> tuple[Array, float, Array | None]:
        """Return the frequencies of a configuration, A, and the magnitude's log."""
        rows = self.made(config, seq_len)
        return rows.frequencies, rows.attention_factor, rows.log_magnitude

    def made(self, config: Config, seq_len: int | None) -> Rows:
        """Return the rows of the configuration that is used."""
        with np.errstate(all="ignore"):  # what a wrong rule makes of its parameters
            return self.rows(self.config(config), seq_len)

    def config(self, config: Config) -> Config:
        """Return the configuration that is used."""
        return config

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        """Return the rows of a configuration."""
        return ropecore.RopeConfig.from_dict(config).rows(seq_len)


def bfloat16() -> np.dtype[Any]:
    """Return ml_dtypes's bfloat16."""
    return numpy_dtype("bfloat16")


def through(places: Any, dtype: Any) -> Array:
    """Return positions that were held in a floating dtype."""
    return np.asarray(places).astype(dtype).astype(np.float64).astype(np.int64)


def series(config: Config) -> bool:
    """Return whether a configuration has one plain series of frequencies, made from its base."""
    return config.get("inv_freq") is None and config.get("axis_frequencies") != "per_axis"


def rotary_dim(config: Config) -> int:
    """Return R."""
    return int(config.get("rotary_dim", config["head_dim"]))


def rule(config: Config) -> Any:
    """Return the name of the scaling rule, or None."""
    return (config.get("scaling") or {}).get("rule")


def scaling(config: Config, **changes: Any) -> Config:
    """Return a configuration with other parameters of its rule; None takes one out."""
    changed = {key: value for key, value in {**config["scaling"], **changes}.items() if value is not None}
    return {**config, "scaling": changed}


def unscaled(config: Config) -> Config:
    """Return a configuration without its rule."""
    return {key: value for key, value in config.items() if key != "scaling"}
