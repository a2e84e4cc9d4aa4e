"""Every feature of a rotation: where a case has it, and the rotation of a program that drops it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

import ropecore
from ropecore import RopeConfig, RotaryPlan
from ropecore.conformance.mutants.base import fit

Array: TypeAlias = np.ndarray[Any, Any]
Config: TypeAlias = dict[str, Any]
RULES = (
    "linear", "ntk", "dynamic_ntk", "ntk_by_parts", "yarn", "llama3", "longrope", "proportional", "xpos", "damped",
)  # fmt: skip
ORDERS = ("interleaved", "alternating")
FORMATS = ("bshd", "sbhd", "thd")


@dataclass(frozen=True)
class Question:
    """One rotation, as a case asks for it."""

    config: Config
    x: Array
    positions: Any  # an array, or one an axis
    offset: Any
    form: str
    role: str
    mode: str
    seq_len: int | None

    @property
    def rule(self) -> str | None:
        """The name of the scaling rule."""
        return (self.config.get("scaling") or {}).get("rule")

    @property
    def n_axes(self) -> int:
        """The number of axes."""
        return len(self.config.get("axes", [0]))

    @property
    def columns(self) -> list[Array]:
        """The positions on each axis, (tokens) or (batch, tokens)."""
        if self.positions is None:
            starts = np.asarray(self.offset or 0)
            return [np.arange(self.x.shape[self.form.index(self.token)]) + starts[..., None]]
        return [np.asarray(c) for c in (self.positions if self.n_axes > 1 else [self.positions])]

    @property
    def token(self) -> str:
        """The letter of the tokens."""
        return "s" if "s" in self.form else "t"

    @property
    def plan(self) -> RotaryPlan:
        """The plan of the configuration."""
        return RopeConfig.from_dict(self.config).plan(self.seq_len)

    def told(self, **changes: Any) -> "Question":
        """Return the question with other keywords of its configuration; None takes one out."""
        changed = {key: value for key, value in {**self.config, **changes}.items() if value is not None}
        return replace(self, config=changed)

    def ruled(self, **changes: Any) -> "Question":
        """Return the question with other parameters of its rule."""
        return self.told(scaling={**self.config["scaling"], **changes})

    def at(self, columns: list[Array]) -> "Question":
        """Return the question at other positions."""
        return replace(self, offset=None, positions=columns if self.n_axes > 1 else columns[0])


def rotation(asked: Question, plan: RotaryPlan | None = None) -> Array:
    """Return x, rotated in float64."""
    plan, columns = plan or asked.plan, asked.columns
    cos, sin = ropecore.cos_sin(plan, columns if plan.n_axes > 1 else columns[0], asked.role)
    modes = {"inverse": asked.mode == "inverse", "transpose": asked.mode == "transpose"}
    y = ropecore.rotate(plan, asked.x.astype(np.float64), fit(cos, asked.form), fit(sin, asked.form), **modes)
    return np.asarray(y)


@dataclass(frozen=True)
class Feature:
    """What a question may have, and the rotation without it."""

    name: str
    there: Callable[[Question], bool]
    dropped: Callable[[Question], Array]


def turned_too(asked: Question) -> Array:
    """Rotate the lanes that are in no row by the frequencies of the first row."""
    plan = asked.plan
    still = sorted(set(range(plan.head_dim)) - set(plan.lanes.ravel().tolist()))
    pairs = np.array(still).reshape(-1, 2)
    more = np.repeat(plan.frequencies[:1], len(pairs), axis=0)
    logs = plan.log_magnitude
    every = RotaryPlan(
        head_dim=plan.head_dim,
        axes=plan.axes,
        axis_kinds=plan.axis_kinds,
        lanes=np.concatenate([plan.lanes, pairs]),
        out_lanes=np.concatenate([plan.out_lanes, pairs]),
        frequencies=np.concatenate([plan.frequencies, more]),
        attention_factor=plan.attention_factor,
        log_magnitude=None if logs is None else np.concatenate([logs, np.repeat(logs[:1], len(pairs))]),
        centre=plan.centre,
    )
    return rotation(asked, every)


def without_factor(asked: Question) -> Array:
    """Rotate with A = 1."""
    plan = asked.plan
    bare = RotaryPlan(
        head_dim=plan.head_dim,
        axes=plan.axes,
        axis_kinds=plan.axis_kinds,
        lanes=plan.lanes,
        out_lanes=plan.out_lanes,
        frequencies=plan.frequencies,
        log_magnitude=plan.log_magnitude,
        centre=plan.centre,
    )
    return rotation(asked, bare)


def heads_for_tokens(asked: Question) -> Array:
    """Take the axis of heads for that of tokens."""
    exchanged = asked.form.translate(str.maketrans({"h": asked.token, asked.token: "h"}))
    columns = [column[..., : asked.x.shape[asked.form.index("h")]] for column in asked.columns]
    return rotation(replace(asked.at(columns), form=exchanged))


def has(key: str, *values: Any) -> Callable[[Question], bool]:
    """Return whether a keyword of the configuration has one of these values."""
    return lambda asked: asked.config.get(key) in values


def telling(**changes: Any) -> Callable[[Question], Array]:
    """Return the rotation by a changed configuration."""
    return lambda asked: rotation(asked.told(**changes))


def asking(**changes: Any) -> Callable[[Question], Array]:
    """Return the rotation by a changed call."""
    return lambda asked: rotation(replace(asked, **changes))


def at(change: Callable[[Array], Array]) -> Callable[[Question], Array]:
    """Return the rotation at changed positions."""
    return lambda asked: rotation(asked.at([change(column) for column in asked.columns]))


def own(asked: Question, columns: int) -> bool:
    """Return whether the frequencies are the caller's, a list or a matrix."""
    given = asked.config.get("inv_freq")
    return bool(given) and isinstance(given[0], list) == (columns > 1)


def is_partial(asked: Question) -> bool:
    """Return whether lanes of the pairing's own part are passed over."""
    return len(asked.plan.lanes) * 2 < asked.config["head_dim"]


def sectioned(asked: Question) -> Question:
    """Return the question with its pairs in sections in place of a matrix."""
    count = len(asked.config["inv_freq"])
    sections = [count - asked.n_axes + 1] + [1] * (asked.n_axes - 1)
    return asked.told(inv_freq=None, sections=sections)


def shortened(asked: Question) -> Array:
    """Forget the length that the call was made for."""
    return rotation(replace(asked, seq_len=asked.config["scaling"]["original_max_position"]))


FEATURES = (
    *(
        Feature(rule, lambda asked, rule=rule: asked.rule == rule, telling(scaling=None))  # type: ignore[misc]
        for rule in RULES
    ),
    Feature("own frequencies", lambda asked: own(asked, 1), telling(inv_freq=None)),
    Feature("matrix", lambda asked: own(asked, 2), lambda asked: rotation(sectioned(asked))),
    Feature("frequency_dim", lambda asked: "frequency_dim" in asked.config, telling(frequency_dim=None)),
    Feature("seq_len", lambda asked: asked.seq_len is not None, shortened),
    Feature("attention_factor", lambda asked: asked.plan.attention_factor != 1, without_factor),
    Feature("interleaved", has("pairing", "interleaved"), telling(pairing="half_split")),
    Feature("out_pairing", lambda asked: "out_pairing" in asked.config, telling(out_pairing=None)),
    Feature("partial", is_partial, turned_too),
    Feature("lane_offset", lambda asked: "lane_offset" in asked.config,
            lambda asked: rotation(asked.told(lane_offset=None, rotary_dim=8))),
    Feature("direction", has("direction", -1), telling(direction=None)),
    Feature("two axes", lambda asked: asked.n_axes == 2, lambda asked: rotation(first_axis(asked))),
    Feature("three axes", lambda asked: asked.n_axes == 3, lambda asked: rotation(first_axis(asked))),
    *(Feature(f"{order} axes", has("axis_order", order), telling(axis_order=None)) for order in ORDERS),
    Feature("axes listed", lambda asked: isinstance(asked.config.get("axis_order"), list), telling(axis_order=None)),
    Feature("axis_blocks", has("axis_blocks", True), telling(axis_blocks=None)),
    Feature("per_axis", has("axis_frequencies", "per_axis"), telling(axis_frequencies=None)),
    Feature("real axis", lambda asked: "real" in asked.config.get("axis_kinds", []), at(np.floor)),
    Feature("rows", lambda asked: asked.columns[0].ndim == 2 and asked.offset is None, at(lambda column: column[0])),
    Feature("offset", lambda asked: isinstance(asked.offset, int), asking(offset=0)),
    Feature("offsets", lambda asked: isinstance(asked.offset, list), at(lambda column: column[0])),
    Feature("negative", lambda asked: min(float(c.min()) for c in asked.columns) < 0, at(np.abs)),
    Feature("large", lambda asked: max(float(np.abs(c).max()) for c in asked.columns) > 2**24,
            at(lambda column: column.astype(np.float32).astype(np.float64).astype(column.dtype))),
    *(Feature(form, lambda asked, form=form: asked.form == form, heads_for_tokens)  # type: ignore[misc]
      for form in FORMATS),
    Feature("key", lambda asked: asked.role == "k", asking(role="q")),
    Feature("centre", lambda asked: "centre" in (asked.config.get("scaling") or {}),
            lambda asked: rotation(asked.ruled(centre=0.0))),
    Feature("transpose", lambda asked: asked.mode == "transpose", asking(mode="forward")),
    Feature("inverse", lambda asked: asked.mode == "inverse", asking(mode="forward")),
)  # fmt: skip


def first_axis(asked: Question) -> Question:
    """Return the question with the first axis of its positions for all."""
    first, kinds = asked.columns[0], asked.config.get("axis_kinds", ["integer"] * asked.n_axes)
    return asked.at([first.astype(np.float64) if kind == "real" else first for kind in kinds])


def named(question: Mapping[str, Any], x: Array, positions: Any) -> Question:
    """Return the question of a case, its arrays decoded."""
    return Question(
        dict(question["config"]), x, positions, question.get("offset"), question.get("tensor_format", "bhsd"),
        question.get("role", "q"), question.get("mode", "forward"), question.get("seq_len"),
    )  # fmt: skip
