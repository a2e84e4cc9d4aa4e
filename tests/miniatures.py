"""Wrong implementations, each made from a right one by changing one thing: the suite must fail every one of them.

A flag is the number of the bug in the vectors' notes.  `MINIATURES` lists the wrong targets; `Right` is the right one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

import ropecore
from ropecore.conformance import Skip

BFLOAT16 = ml_dtypes.bfloat16


class Right:
    """A right target in steps, each of which a wrong one replaces: plan, positions, tables, turning, rounding."""

    flag = ""
    RopeError = ropecore.RopeError
    capabilities: dict[str, Any] = {  # noqa: RUF012
        "dtypes": ["float32", "float64", "bfloat16", "float16"],
        "angle": "exact",
        "not_applicable": {"refusals": "a miniature reads no arguments"},
    }

    def apply(
        self, plan: Any, x: Any, positions: Any = None, offset: Any = None, tensor_format: str = "bhsd", role: str = "q"
    ) -> Any:
        length = x.shape[tensor_format.index("s" if "s" in tensor_format else "t")]
        with np.errstate(all="ignore"):  # NaN, infinities, and what a wrong step makes of them
            plan = self.plan(plan)
            places = self.positions(positions, offset, length)
            cos, sin = (fit(table, tensor_format) for table in self.tables(plan, places, role))
            return self.store(self.turn(plan, x, cos, sin), x)

    def plan(self, plan: Any) -> Any:
        return plan

    def positions(self, positions: Any, offset: Any, length: int) -> Any:
        return positions if positions is not None else np.arange(length) + np.asarray(offset or 0)[..., None]

    def tables(self, plan: Any, positions: Any, role: str) -> Any:
        return ropecore.cos_sin(plan, positions if np.ndim(positions) else np.array([positions]), role)

    def turn(self, plan: Any, x: Any, cos: Any, sin: Any) -> Any:
        return ropecore.rotate(plan, x.astype(np.float64), cos, sin)

    def store(self, y: Any, x: Any) -> Any:
        return y.astype(x.dtype)


def fit(table: Any, tensor_format: str) -> Any:
    """Return a table of (s, n), (b, s, n) or (t, n), shaped to broadcast against a tensor."""
    own = ["b", "s"] if table.ndim == 3 else ["s" if "s" in tensor_format else "t"]
    order = sorted(range(len(own)), key=lambda i: tensor_format.index(own[i]))
    sizes = {**dict(zip(own, table.shape, strict=False)), "d": table.shape[-1]}
    return table.transpose(*order, len(order)).reshape([sizes.get(letter, 1) for letter in tensor_format])


MINIATURES: list[type[Right]] = []


def wrong(flag: str, base: type[Right] = Right, **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the right target with one step replaced by the decorated function `step__what`, as the bug `flag`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        step, what = function.__name__.split("__")
        MINIATURES.append(type(f"{flag}_{what}", (base,), {"flag": flag, step: function, **more}))
        return function

    return register


# ---- the rotation


@wrong("M1")
def tables__sign_of_sine_flipped(self, plan, positions, role):
    cos, sin = ropecore.cos_sin(plan, positions, role)
    return cos, -sin


@wrong("M2")
def tables__cos_and_sin_swapped(self, plan, positions, role):
    cos, sin = ropecore.cos_sin(plan, positions, role)
    return sin, cos


@wrong("M3")
def plan__the_other_pairing(self, plan):
    if plan.pairing == "general":
        return plan
    return plan.with_pairing("half_split" if plan.pairing == "interleaved" else "interleaved")


@wrong("M4")
def plan__reads_interleaved_writes_half_split(self, plan):
    if plan.pairing != "interleaved":
        return plan
    return plan.replace(out_lanes=plan.with_pairing("half_split").lanes)


@wrong("M5")
def turn__half_split_table_on_neighbours(self, plan, x, cos, sin):
    if plan.pairing != "interleaved" or 2 * plan.n_pairs != plan.head_dim:
        return Right.turn(self, plan, x, cos, sin)
    swapped = np.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
    return x * np.concatenate([cos, cos], axis=-1) + swapped * np.concatenate([sin, sin], axis=-1)


@wrong("M12")
def turn__applied_twice(self, plan, x, cos, sin):
    return Right.turn(self, plan, Right.turn(self, plan, x, cos, sin), cos, sin)


@wrong("M13")
def turn__lane_overwritten_before_its_partner_is_read(self, plan, x, cos, sin):
    y = x.astype(np.float64)
    (r0, r1), (w0, w1) = plan.lanes.T, plan.out_lanes.T
    y[..., w0] = y[..., r0] * cos - y[..., r1] * sin
    y[..., w1] = y[..., r0] * sin + y[..., r1] * cos
    return y


@wrong("M14")
def turn__matrix_product_spreads_nan(self, plan, x, cos, sin):
    matrix = np.zeros((*np.broadcast_shapes(cos.shape[:-1], x.shape[:-1]), plan.head_dim, plan.head_dim))
    matrix[..., np.arange(plan.head_dim), np.arange(plan.head_dim)] = 1.0
    (r0, r1), (w0, w1) = plan.lanes.T, plan.out_lanes.T
    matrix[..., plan.lanes, plan.lanes] = 0.0
    matrix[..., w0, r0], matrix[..., w0, r1] = cos, -sin
    matrix[..., w1, r0], matrix[..., w1, r1] = sin, cos
    return np.einsum("...ij,...j->...i", matrix, x.astype(np.float64))


@wrong("M16")
def store__input_mutated(self, y, x):
    x[...] = y
    return x.copy()


@wrong("M17")
def store__promoted_dtype(self, y, x):
    return y.astype(np.float64 if x.dtype == np.float64 else np.float32)


@wrong("M28")
def turn__first_row_alone_with_one_token(self, plan, x, cos, sin):
    y = Right.turn(self, plan, x, cos, sin)
    if x.ndim == 4 and cos.shape[-2] == 1:  # in the format bhsd
        y[1:] = x[1:]
    return y


@wrong("M41")
def turn__tokens_and_heads_exchanged(self, plan, x, cos, sin):
    if cos.ndim != 4 or x.shape[1] != x.shape[2]:
        return Right.turn(self, plan, x, cos, sin)
    return Right.turn(self, plan, x.swapaxes(1, 2), cos, sin).swapaxes(1, 2)


def fortran_array(self, array, dtype):
    return np.asfortranarray(array.astype(BFLOAT16 if dtype == "bfloat16" else dtype))


@wrong("M42", asarray=fortran_array)
def turn__memory_read_in_its_own_order(self, plan, x, cos, sin):
    return Right.turn(self, plan, x.ravel(order="K").reshape(x.shape), cos, sin)


@wrong("M43")
def apply__keys_with_the_heads_of_queries(self, plan, q, k=None, positions=None, k_positions=None):
    rotated = Right.apply(self, plan, q, positions)
    if k is None:
        return rotated
    repeats = q.shape[1] // k.shape[1]
    return rotated, Right.apply(self, plan, k, np.repeat(k_positions, repeats)[: k.shape[2]])


# ---- partial rotation


@wrong("M18")
def plan__last_lanes_for_first(self, plan):
    if plan.pairing == "general":
        return plan
    moved = plan.lanes + plan.head_dim - plan.rotary_dim
    return plan.replace(lanes=moved, out_lanes=moved)


@wrong("M23")
def turn__other_lanes_scaled_too(self, plan, x, cos, sin):
    y = Right.turn(self, plan, x, cos, sin)
    y[..., np.setdiff1d(np.arange(plan.head_dim), plan.lanes)] *= plan.attention_factor
    return y


@wrong("M25")
def tables__sine_behind_a_padded_cosine(self, plan, positions, role):
    cos, sin = Right.tables(self, plan, positions, role)
    padded = 1 << (plan.n_pairs - 1).bit_length() if plan.n_pairs else 0
    joined = np.concatenate([cos, sin, np.zeros_like(sin)], axis=-1)
    return cos, joined[..., padded : padded + plan.n_pairs]


# ---- positions


@wrong("M26")
def positions__ignored(self, positions, offset, length):
    shape = np.shape(positions) or (length,)
    return np.broadcast_to(np.arange(length), shape)


@wrong("M27")
def positions__of_row_0_for_all(self, positions, offset, length):
    places = Right.positions(self, positions, offset, length)
    return np.broadcast_to(places[..., :1, :], places.shape) if places.ndim > 1 else places


@wrong("M29")
def positions__offset_of_the_row_added_along_the_sequence(self, positions, offset, length):
    if positions is None and np.ndim(offset) and len(offset) == length:
        return np.arange(length) + np.asarray(offset)
    return Right.positions(self, positions, offset, length)


@wrong("M30")
def positions__offset_ignored(self, positions, offset, length):
    return np.arange(length) if positions is None else positions


@wrong("M31")
def positions__counted_from_1(self, positions, offset, length):
    return Right.positions(self, positions, offset, length) + 1


@wrong("M32")
def positions__without_sign(self, positions, offset, length):
    return np.abs(Right.positions(self, positions, offset, length))


def negative_as(table_length: int) -> Callable[..., Any]:
    """Return a step that takes a negative position from the end of so many."""

    def positions(self: Right, positions: Any, offset: Any, length: int) -> Any:
        places = np.asarray(Right.positions(self, positions, offset, length))
        return np.where(places < 0, places + table_length, places)

    return positions


@wrong("M36")
def positions__modulo_a_table(self, positions, offset, length):
    return np.asarray(Right.positions(self, positions, offset, length)) % 4096


@wrong("M37")
def tables__of_another_content_when_longer(self, plan, positions, role):
    longer = np.float64(1 + 2.0**-30 * np.shape(positions)[-1])
    return ropecore.cos_sin(plan.with_frequencies(plan.frequencies * longer), positions, role)


class Ids(Right):
    """The right target with builders of positions."""

    rules = SimpleNamespace(
        **{name: getattr(ropecore, name) for name in ropecore.__dict__ if "position" in name or name == "axes_first"}
    )


@wrong("M40", Ids, rules=SimpleNamespace(packed_positions=lambda cu_seqlens: np.arange(cu_seqlens[-1])))
def plan__documents_counted_through(self, plan):
    return plan


@wrong("M35")
def positions__clamped_to_a_table(self, positions, offset, length):
    return np.minimum(Right.positions(self, positions, offset, length), 4095)


@wrong("M38")
def positions__of_16_bits(self, positions, offset, length):
    return Right.positions(self, positions, offset, length).astype(np.int16)


def through(dtype: Any) -> Callable[..., Any]:
    """Return a step that keeps positions in a floating dtype."""
    return lambda self, positions, offset, length: (
        Right.positions(self, positions, offset, length).astype(dtype).astype(np.float64).astype(np.int64)
    )


# ---- precision


@wrong("M46")
def plan__bfloat16_frequencies(self, plan):
    return plan.with_frequencies(plan.frequencies.astype(BFLOAT16).astype(np.float64))


@wrong("M47")
def plan__float16_frequencies(self, plan):
    return plan.with_frequencies(plan.frequencies.astype(np.float16).astype(np.float64))


def angles_by(product: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return tables of angles from another product of position and frequency."""

    def tables(self: Right, plan: Any, positions: Any, role: str) -> Any:
        rows = [np.asarray(row, np.float64) for row in (positions if plan.n_axes > 1 else [positions])]
        angle = sum(product(p[..., None], f).astype(np.float64) for p, f in zip(rows, plan.frequencies.T, strict=True))
        cos, sin = ropecore.cos_sin(plan, positions, role)
        scale = np.hypot(cos, sin)
        return np.cos(angle) * scale, np.sin(angle) * scale

    return tables


def tf32(x: Any) -> Any:
    """Return numbers with the 11 significant bits of TF32."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.rint(fraction * 2**11) / 2**11, exponent)


def float32_reduced(p: Any, f: Any) -> Any:
    """Return the angle less a multiple of a rounded 2 pi, all in float32."""
    angle, turn = (p * f).astype(np.float32), np.float32(2 * np.pi)
    return angle - np.rint(angle / turn) * turn


@wrong("M52")
def tables__of_bfloat16(self, plan, positions, role):
    return tuple(table.astype(BFLOAT16).astype(np.float64) for table in ropecore.cos_sin(plan, positions, role))


@wrong("M53")
def turn__in_16_bits(self, plan, x, cos, sin):
    if x.dtype.itemsize > 2:
        return Right.turn(self, plan, x, cos, sin)
    return ropecore.rotate(plan, x, cos.astype(x.dtype), sin.astype(x.dtype))


MODES: list[str] = []  # the ambient modes that are on


@contextmanager
def mode(self: Right, name: str) -> Iterator[None]:
    """Turn on a mode of a framework."""
    MODES.append(name)
    try:
        yield
    finally:
        MODES.pop()


@wrong("M50", ambient=mode)
def turn__under_a_mode_in_other_precision(self, plan, x, cos, sin):
    y = Right.turn(self, plan, x, cos, sin)
    return y.astype(BFLOAT16).astype(np.float64) if MODES else y


# ---- attention factor, state


@wrong("M68")
def plan__without_attention_factor(self, plan):
    return plan.replace(attention_factor=1.0)


@wrong("M69")
def tables__attention_factor_on_cos_alone(self, plan, positions, role):
    cos, sin = ropecore.cos_sin(plan, positions, role)
    return cos, sin / plan.attention_factor


@wrong("M72")
def plan__half_of_the_attention_factor_in_each(self, plan):
    return plan.replace(attention_factor=plan.attention_factor**0.5)


def cached_by(key: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return a step that keeps its tables under an incomplete key."""
    kept: dict[Any, Any] = {}

    def tables(self: Right, plan: Any, positions: Any, role: str) -> Any:
        return kept.setdefault(key(plan, positions), ropecore.cos_sin(plan, positions, role))

    return tables


# ---- gradients, inverse


class WithGradient(Right):
    """The right target with its gradient: the transpose."""

    transposed = True

    def vjp(
        self, plan: Any, x: Any, g: Any, positions: Any = None, offset: Any = None, tensor_format: str = "bhsd"
    ) -> Any:
        places = Right.positions(
            self, positions, offset, x.shape[tensor_format.index("s" if "s" in tensor_format else "t")]
        )
        cos, sin = (fit(table, tensor_format) for table in ropecore.cos_sin(plan, places))
        return ropecore.rotate(plan, g.astype(np.float64), cos, sin, transpose=self.transposed).astype(g.dtype)


class WithTables(Right):
    """The right target with its two halves: tables, and their rotation, forward and back."""

    def cos_sin(self, plan: Any, positions: Any, role: str = "q", dtype: str = "float32") -> Any:
        return tuple(table.astype(dtype) for table in ropecore.cos_sin(plan, positions, role))

    def rotate(
        self,
        plan: Any,
        x: Any,
        cos: Any,
        sin: Any,
        tensor_format: str = "bhsd",
        inverse: bool = False,
        transpose: bool = False,
    ) -> Any:
        wide = (fit(table, tensor_format).astype(np.float64) for table in (cos, sin))
        with np.errstate(all="ignore"):
            return ropecore.rotate(plan, x.astype(np.float64), *wide, inverse, transpose).astype(x.dtype)


class WithEverything(WithGradient, WithTables):
    """The right target with all that a target may have."""

    rules = ropecore

    def apply_(
        self, plan: Any, x: Any, positions: Any = None, offset: Any = None, tensor_format: str = "bhsd", role: str = "q"
    ) -> None:
        x[...] = self.apply(plan, x.copy(), positions, offset, tensor_format, role)

    def shift(self, plan: Any, x: Any, delta: int) -> Any:
        everywhere = delta if plan.n_axes == 1 else np.full(plan.n_axes, delta)
        cos, sin = ropecore.cos_sin(plan.on_written_lanes(), everywhere, "k")
        return ropecore.rotate(plan.on_written_lanes(), x.astype(np.float64), cos, sin).astype(x.dtype)


@wrong("M87", WithGradient, transposed=False)
def plan__gradient_turns_forward(self, plan):
    return plan


@wrong("M90", WithTables)
def rotate__inverse_without_its_division(self, plan, x, cos, sin, tensor_format="bhsd", inverse=False, transpose=False):
    return WithTables.rotate(self, plan, x, cos, sin, tensor_format, transpose=transpose or inverse)


@wrong("M88", WithGradient)
def vjp__absent(self, plan, x, g, positions=None, offset=None, tensor_format="bhsd"):
    return None


@wrong("M89", WithGradient)
def vjp__without_offset_and_attention_factor(self, plan, x, g, positions=None, offset=None, tensor_format="bhsd"):
    return WithGradient.vjp(self, plan.replace(attention_factor=1.0), x, g, positions, None, tensor_format)


@wrong("M91", WithEverything)
def shift__multiplies_by_the_attention_factor_again(self, plan, x, delta):
    return Right.apply(self, plan, x, np.full(x.shape[-2], delta), role="k")


for _flag, _what, _step, _function in (
    ("M33", "minus_1_is_the_largest_of_16_bits", "positions", negative_as(2**16)),
    ("M34", "minus_1_is_the_last_row_of_a_table", "positions", negative_as(4096)),
    ("M39", "positions_through_float32", "positions", through(np.float32)),
    ("M44", "positions_through_bfloat16", "positions", through(BFLOAT16)),
    ("M45", "positions_through_float16", "positions", through(np.float16)),
    ("M48", "product_in_bfloat16", "tables", angles_by(lambda p, f: (p * f).astype(BFLOAT16))),
    ("M49", "factors_in_tf32", "tables", angles_by(lambda p, f: tf32(p) * tf32(f))),
    ("M51", "reduced_in_float32", "tables", angles_by(float32_reduced)),
    ("M83", "several_axes_in_float32", "tables", angles_by(lambda p, f: p.astype(np.float32) * f.astype(np.float32))),
    (
        "M84",
        "cache_without_the_base",
        "tables",
        cached_by(lambda plan, p: (plan.head_dim, plan.lanes.tobytes(), np.asarray(p).tobytes())),
    ),
    ("M85", "cache_without_the_positions", "tables", cached_by(lambda plan, p: (plan, np.shape(p)))),
):
    MINIATURES.append(type(f"{_flag}_{_what}", (Right,), {"flag": _flag, _step: _function}))


# ---- configurations


class FromConfig(Right):
    """The right target of a program that makes its plan from the configuration: `config` and `rows` are its steps."""

    capabilities = {**Right.capabilities, "reads_config": True}  # noqa: RUF012

    def apply(
        self,
        plan: Any,
        x: Any,
        positions: Any = None,
        offset: Any = None,
        tensor_format: str = "bhsd",
        role: str = "q",
        case: Any = None,
    ) -> Any:
        own = ropecore.RopeConfig.from_dict(self.config(case["config"]))
        rows = self.made(case["config"], case["seq_len"])
        made = ropecore.RotaryPlan(head_dim=own.head_dim, axes=own.axes, axis_kinds=own.axis_kinds, **rows._asdict())
        return Right.apply(self, made, x, positions, offset, tensor_format, role)

    def frequencies(self, config: Any, seq_len: Any) -> Any:
        rows = self.made(config, seq_len)
        return rows.frequencies, rows.attention_factor, rows.log_magnitude

    def made(self, config: Any, seq_len: Any) -> Any:
        with np.errstate(all="ignore"):  # what a wrong rule makes of its parameters
            return self.rows(self.config(config), seq_len)

    def config(self, config: Any) -> Any:
        return config

    def rows(self, config: Any, seq_len: Any) -> Any:
        return ropecore.RopeConfig.from_dict(config).rows(seq_len)


def series(config: Any) -> bool:
    """Return whether a configuration has one plain series of frequencies, made from its base."""
    return config.get("inv_freq") is None and config.get("axis_frequencies") != "per_axis"


def rotary_dim(config: Any) -> int:
    return int(config.get("rotary_dim", config["head_dim"]))


def rule(config: Any) -> Any:
    return (config.get("scaling") or {}).get("rule")


def scaling(config: Any, **changes: Any) -> Any:
    """Return a configuration with other parameters of its rule; None takes one out."""
    changed = {key: value for key, value in {**config["scaling"], **changes}.items() if value is not None}
    return {**config, "scaling": changed}


def unscaled(config: Any) -> Any:
    return {key: value for key, value in config.items() if key != "scaling"}


@wrong("M6", FromConfig)
def config__exponent_of_j(self, config):
    return {**config, "frequency_dim": 2 * rotary_dim(config)} if series(config) else config


@wrong("M7", FromConfig)
def config__denominator_less_2(self, config):
    return {**config, "frequency_dim": rotary_dim(config) - 2} if series(config) and rotary_dim(config) > 4 else config


@wrong("M8", FromConfig)
def config__positive_exponent(self, config):
    return {**config, "base": 1 / config["base"]} if series(config) and rule(config) is None else config


@wrong("M9", FromConfig)
def rows__frequencies_reversed(self, config, seq_len):
    rows = FromConfig.rows(self, config, seq_len)
    return rows._replace(frequencies=rows.frequencies[::-1])


@wrong("M10", FromConfig)
def config__base_10000(self, config):
    return {**config, "base": 10000.0} if "base" in config else config


@wrong("M11", FromConfig)
def config__base_in_float16(self, config):
    if config.get("base", 0) < 65520:
        return config
    zeros = [1.0] + [0.0] * (rotary_dim(config) // 2 - 1)  # what an infinite base gives
    return {**unscaled(config), "inv_freq": zeros} if series(config) and "sections" not in config else config


@wrong("M19", FromConfig)
def config__all_lanes(self, config):
    return (
        config
        if "sections" in config or "inv_freq" in config
        else {**config, "rotary_dim": config["head_dim"], "lane_offset": 0}
    )


@wrong("M20", FromConfig)
def config__denominator_head_dim(self, config):
    return {**config, "frequency_dim": config["head_dim"]} if series(config) else config


@wrong("M21", FromConfig)
def rows__pairs_across_the_head(self, config, seq_len):
    rows = FromConfig.rows(self, config, seq_len)
    if (
        config["pairing"] != "half_split"
        or len(set(np.diff(rows.lanes, axis=1).ravel())) != 1
        or config.get("lane_offset")
    ):
        return rows
    lanes = rows.lanes[:, :1] + np.array([0, config["head_dim"] // 2])
    return rows._replace(lanes=lanes, out_lanes=lanes) if config.get("out_pairing") is None else rows


@wrong("M22", FromConfig)
def config__proportional_as_partial(self, config):
    if rule(config) != "proportional":
        return config
    part = int(config["scaling"]["partial_rotary_factor"] * rotary_dim(config) / 2) * 2
    return {**unscaled(config), "rotary_dim": max(part, 2)}


class OddRotaryDim:
    """A configuration that rounds an odd rotary_dim down without a word."""

    def __init__(self, config: Any) -> None:
        self.inner = ropecore.RopeConfig.from_dict({**config, "rotary_dim": rotary_dim(config) // 2 * 2})

    def plan(self, seq_len: Any = None) -> Any:
        return self.inner.plan(seq_len)


@wrong(
    "M24", capabilities={"angle": "exact"}, rules=SimpleNamespace(RopeConfig=SimpleNamespace(from_dict=OddRotaryDim))
)
def plan__odd_rotary_dim_accepted(self, plan):
    return plan


@wrong("M54", FromConfig)
def rows__exponential_in_float32(self, config, seq_len):
    rows = FromConfig.rows(self, config, seq_len)
    if not series(config) or rule(config) or "sections" in config:
        return rows
    dim = np.float32(config.get("frequency_dim", rotary_dim(config)))
    exponent = np.arange(0, rotary_dim(config), 2, dtype=np.float32) / dim * np.log(np.float32(config["base"]))
    return rows._replace(frequencies=np.exp(-exponent).astype(np.float64)[:, None] * config.get("direction", 1))


# ---- scaling rules


@wrong("M55", FromConfig)
def rows__linear_multiplies(self, config, seq_len):
    rows = FromConfig.rows(self, config, seq_len)
    factor = config["scaling"]["factor"] ** 2 if rule(config) == "linear" else 1.0
    return rows._replace(frequencies=rows.frequencies * factor)


@wrong("M56", FromConfig)
def rows__dynamic_ntk_below_the_trained_length(self, config, seq_len):
    if rule(config) != "dynamic_ntk" or config["scaling"].get("policy") == "static":
        return FromConfig.rows(self, config, seq_len)
    s, trained, d = config["scaling"]["factor"], config["scaling"]["original_max_position"], rotary_dim(config)
    rows = FromConfig.rows(self, unscaled(config), None)
    alpha = s * seq_len / trained - (s - 1)
    return rows._replace(
        frequencies=rows.frequencies * np.float64(alpha) ** (-np.arange(d // 2) * 2 / (d - 2))[:, None]
    )


@wrong("M57", FromConfig)
def rows__ntk_divides_alike(self, config, seq_len):
    plain, rows = FromConfig.rows(self, unscaled(config), None), FromConfig.rows(self, config, seq_len)
    if rule(config) not in ("ntk", "dynamic_ntk"):
        return rows
    return rows._replace(frequencies=plain.frequencies * (rows.frequencies / plain.frequencies)[-1])


@wrong("M58", FromConfig)
def rows__ntk_of_another_exponent(self, config, seq_len):
    plain, rows = FromConfig.rows(self, unscaled(config), None), FromConfig.rows(self, config, seq_len)
    d = rotary_dim(config)
    power = (d - 2) / (d - 1) if rule(config) in ("ntk", "dynamic_ntk") else 1.0
    return (
        rows._replace(frequencies=plain.frequencies * (rows.frequencies / plain.frequencies) ** power)
        if power != 1
        else rows
    )


@wrong("M59", FromConfig)
def rows__of_the_longest_so_far(self, config, seq_len):
    if seq_len is None:
        return FromConfig.rows(self, config, seq_len)
    self.longest = max(getattr(self, "longest", 0), seq_len)
    return FromConfig.rows(self, config, self.longest)


@wrong("M60", FromConfig)
def config__llama3_ignored(self, config):
    return unscaled(config) if rule(config) == "llama3" else config


def llama3_blend(blend: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step that blends llama3's middle band otherwise: blend(f, s, sigma, wavelength, its lower and upper end)."""

    def rows(self: FromConfig, config: Any, seq_len: Any) -> Any:
        right, plain = FromConfig.rows(self, config, seq_len), FromConfig.rows(self, unscaled(config), None)
        if rule(config) != "llama3":
            return right
        f, g, given = plain.frequencies, right.frequencies, config["scaling"]
        s, low, high = given["factor"], given["low_freq_factor"], given["high_freq_factor"]
        wavelength, length = 2 * np.pi / np.where(f == 0, 1, np.abs(f)), given["original_max_position"]
        middle = (g != f) & (g != f / s)
        sigma = (length / wavelength - low) / (high - low) if high != low else 0.0 * f
        return right._replace(
            frequencies=np.where(middle, blend(f, s, sigma, wavelength, length / high, length / low), g)
        )

    return rows


@wrong("M64", FromConfig)
def config__yarn_rounded_otherwise(self, config):
    return scaling(config, truncate=not config["scaling"].get("truncate", True)) if rule(config) == "yarn" else config


@wrong("M65", FromConfig)
def rows__yarn_clamped_at_half(self, config, seq_len):
    rows, plain = FromConfig.rows(self, config, seq_len), FromConfig.rows(self, unscaled(config), None)
    if rule(config) != "yarn":
        return rows
    given, d = config["scaling"], rotary_dim(config)
    at = [
        d
        * np.log(given["original_max_position"] / (2 * np.pi * given.get(name, default)))
        / (2 * np.log(config["base"]))
        for name, default in (("beta_fast", 32.0), ("beta_slow", 1.0))
    ]
    low, high = (np.floor(at[0]), np.ceil(at[1])) if given.get("truncate", True) else at
    low, high = max(low, 0), min(high, d // 2 - 1)
    ramp = np.clip((np.arange(d // 2) - low) / (high - low or 0.001), 0, 1)[:, None]
    return rows._replace(frequencies=plain.frequencies / given["factor"] * ramp + plain.frequencies * (1 - ramp))


@wrong("M66", FromConfig)
def config__yarn_range_of_the_extended_length(self, config):
    if rule(config) != "yarn":
        return config
    return scaling(
        config, original_max_position=int(config["scaling"]["original_max_position"] * config["scaling"]["factor"])
    )


@wrong("M67", FromConfig)
def rows__yarn_ramp_inverted(self, config, seq_len):
    rows, plain = FromConfig.rows(self, config, seq_len), FromConfig.rows(self, unscaled(config), None)
    if rule(config) not in ("yarn", "ntk_by_parts"):
        return rows
    return rows._replace(
        frequencies=plain.frequencies / config["scaling"]["factor"] + plain.frequencies - rows.frequencies
    )


@wrong("M70", FromConfig)
def config__attention_factor_1_counts_as_absent(self, config):
    given = config.get("scaling") or {}
    without = {"attention_factor": None} if rule(config) == "yarn" or given.get("factor") else {}
    return scaling(config, **without) if given.get("attention_factor") == 1 else config


@wrong("M71", FromConfig)
def config__mscale_ignored(self, config):
    return scaling(config, mscale=None, mscale_all_dim=None) if rule(config) == "yarn" else config


@wrong("M73", FromConfig)
def rows__longrope_long_at_the_trained_length(self, config, seq_len):
    at = rule(config) == "longrope" and seq_len == config["scaling"]["original_max_position"]
    return FromConfig.rows(self, config, seq_len + 1 if at else seq_len)


@wrong("M74", FromConfig)
def rows__longrope_by_capacity(self, config, seq_len):
    return FromConfig.rows(self, config, 1 << 20 if rule(config) == "longrope" and seq_len else seq_len)


@wrong("M75", FromConfig)
def config__longrope_factors_multiply(self, config):
    if rule(config) != "longrope":
        return config
    return scaling(
        config, **{name: [1 / e for e in config["scaling"][name]] for name in ("short_factor", "long_factor")}
    )


@wrong("M76", FromConfig)
def rows__longrope_with_the_factor_of_yarn(self, config, seq_len):
    rows = FromConfig.rows(self, config, seq_len)
    if rule(config) != "longrope" or config["scaling"].get("attention_factor") or not config["scaling"].get("factor"):
        return rows
    return rows._replace(attention_factor=0.1 * np.log(config["scaling"]["factor"]) + 1)


# ---- axes


@wrong("M77")
def tables__last_two_axes_exchanged(self, plan, positions, role):
    if plan.n_axes < 2 or any(plan.real_axes):
        return ropecore.cos_sin(plan, positions, role)
    order = [*range(plan.n_axes - 2), plan.n_axes - 1, plan.n_axes - 2]
    return ropecore.cos_sin(plan, np.asarray(positions)[order], role)


@wrong("M78", FromConfig)
def config__axes_chunked(self, config):
    return {**config, "axis_order": "chunked"} if config.get("axis_order") == "interleaved" else config


@wrong("M79", FromConfig)
def rows__interleaved_to_the_end(self, config, seq_len):
    rows = FromConfig.rows(self, config, seq_len)
    if config.get("axis_order") != "interleaved":
        return rows
    count, axes = rows.frequencies.shape
    matrix = np.zeros_like(rows.frequencies)
    matrix[np.arange(count), np.arange(count) % axes] = rows.frequencies.sum(axis=1)
    return rows._replace(frequencies=matrix)


@wrong("M80")
def turn__sections_not_repeated_for_the_second_half(self, plan, x, cos, sin):
    y = Right.turn(self, plan, x, cos, sin)
    if plan.n_axes > 1 and plan.pairing == "half_split":
        other = Right.turn(self, plan, x, *(np.repeat(table[..., -1:], plan.n_pairs, axis=-1) for table in (cos, sin)))
        y[..., plan.lanes[:, 1]] = other[..., plan.lanes[:, 1]]
    return y


@wrong("M81", FromConfig)
def rows__axes_over_the_whole_head(self, config, seq_len):
    rows = FromConfig.rows(self, config, seq_len)
    if config.get("axis_frequencies") != "per_axis":
        return rows
    size = 2 * (rows.frequencies != 0).sum(axis=0)
    return rows._replace(
        frequencies=np.where(rows.frequencies != 0, rows.frequencies ** (size / rotary_dim(config)), 0.0)
    )


@wrong("M82", FromConfig)
def config__axes_of_equal_size(self, config):
    if config.get("axis_frequencies") != "per_axis" or not isinstance(config.get("axis_order", ""), str):
        return config
    each, rest = divmod(sum(config["sections"]), len(config["sections"]))
    return {**config, "sections": [each + (a < rest) for a in range(len(config["sections"]))]}


for _flag, _what, _blend in (
    ("M61", "linear_in_the_wavelength", lambda f, s, sigma, w, low, high: f + (f / s - f) * (w - low) / (high - low)),
    ("M62", "a_pair_of_parentheses_missing", lambda f, s, sigma, w, low, high: (1 - sigma) * f / (s + sigma * f)),
    ("M63", "ends_exchanged", lambda f, s, sigma, w, low, high: sigma * f / s + (1 - sigma) * f),
):
    MINIATURES.append(type(f"{_flag}_llama3_{_what}", (FromConfig,), {"flag": _flag, "rows": llama3_blend(_blend)}))


# ---- targets that are wrong everywhere


class Zeros(Right):
    """Returns zeros."""

    def store(self, y: Any, x: Any) -> Any:
        return np.zeros_like(x)


class Raises(Right):
    """Cannot be called at all."""

    def plan(self, plan: Any) -> Any:
        raise RuntimeError("no accelerator")


class SkipsAll(Right):
    """Leaves every case out."""

    def plan(self, plan: Any) -> Any:
        raise Skip("not today")


RIGHT, ZEROS, RAISES, SKIPS_ALL = Right(), Zeros(), Raises(), SkipsAll()
