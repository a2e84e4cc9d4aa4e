"""Values of every kind, as right arguments and as wrong ones: what a caller, a file or a program
may give.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

import ropecore

EXAMPLES = int(
    os.environ.get("FUZZ_EXAMPLES", "4")
)  # of each surface, with some fifteen calls each; tox -e fuzz asks for more


class Raising:
    """Fails at whatever is asked of it."""

    def __repr__(self) -> str:
        raise KeyError("no repr")

    def __float__(self) -> float:
        raise KeyError("no number")

    def __index__(self) -> int:
        raise KeyError("no integer")

    def __array__(self, *args: object, **keywords: object) -> Any:
        raise KeyError("no array")

    def __eq__(self, other: object) -> bool:
        raise KeyError("no comparison")

    def __hash__(self) -> int:
        raise KeyError("no hash")

    def __len__(self) -> int:
        raise KeyError("no length")

    def __iter__(self) -> Iterator[object]:
        raise KeyError("no iteration")

    def __fspath__(self) -> str:
        raise KeyError("no path")


class Closed:
    """Fails at every attribute, with an error that is no AttributeError."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Quantity:
    """A number with a unit, as several libraries have it."""

    unit = "m"

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array__(self, *args: object, **keywords: object) -> Any:
        return np.asarray(self.value)

    def __float__(self) -> float:
        return float(np.asarray(self.value).flat[0])


class Text(str):
    """A subclass of str."""


class Wide(np.ndarray):
    """A subclass of NumPy's array."""


def masked() -> Any:
    return np.ma.array([1, 2, 3], mask=[0, 1, 0])


def within_itself() -> list[Any]:
    one: list[Any] = []
    one.append(one)
    return one


def nested(depth: int) -> Any:
    one: Any = 1
    for _ in range(depth):
        one = [one]
    return one


PLAN = ropecore.RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=6).plan()
CONFIG = ropecore.RopeConfig(head_dim=8, base=100.0, pairing="half_split")
# made when drawn, as some can be used up
MADE: list[Callable[[], Any]] = [
    Raising, Closed, masked, within_itself, object, lambda: (i for i in range(3)), lambda: iter([1]),
    lambda: Quantity(2.0), lambda: Quantity([1, 2]), lambda: [Quantity(1)], lambda: [Raising()], lambda: nested(70), lambda: nested(1000),
    lambda: np.arange(3).view(Wide), lambda: np.rec.array([(1, 2)], dtype=[("a", int), ("b", int)]),
    lambda: np.array([1, None, "a"], object), lambda: np.array(["1", "2"]), lambda: np.array([1 + 2j]), lambda: np.array(5),
    lambda: np.array(0.5), lambda: np.array([True, False]), lambda: np.zeros((0, 3)), lambda: np.zeros((2, 3, 4)), lambda: np.array([np.nan, 1.0]),
    lambda: np.array([np.inf]), lambda: np.array(["2020-01-01"], "datetime64[D]"), lambda: np.arange(3, dtype=">i4"), lambda: np.ones(4, ">f8"),
    lambda: np.array([2**63], np.uint64), lambda: np.array([-(2**63)]), lambda: np.ones((2, 8), np.float16), lambda: np.longdouble(1),
    lambda: np.ones(3, np.longdouble), lambda: np.broadcast_to(np.float64(1), (3, 8)), lambda: np.void(b"abc"), lambda: np.str_("half_split"),
    lambda: memoryview(b"abc"), lambda: bytearray(b"abc"), lambda: PLAN, lambda: CONFIG, lambda: ropecore.Linear(2.0), lambda: ropecore.RopeConfig,
    lambda: print, lambda: ropecore, lambda: {"a": 1}, lambda: {1: 2}, lambda: {1, 2}, lambda: frozenset("ab"), lambda: range(3), lambda: range(10**30),
    lambda: ValueError("x"), lambda: NotImplemented, lambda: ..., lambda: slice(3), lambda: Text("half_split"), CONFIG.rows,
]  # fmt: skip
if importlib.util.find_spec("torch"):
    import torch

    MADE += [
        lambda: torch.arange(3), lambda: torch.ones(3, 8, requires_grad=True), lambda: torch.ones(2, dtype=torch.bfloat16),
        lambda: torch.ones(3, device="meta"), lambda: torch.tensor(2), lambda: torch.ones(2, dtype=torch.complex64),
        lambda: torch.ones(3).to_sparse(), lambda: torch.ones(0),
        lambda: torch.tensor(0.5, requires_grad=True), lambda: torch.tensor([True]),
    ]  # fmt: skip
if importlib.util.find_spec("jax"):
    import jax.numpy as jnp

    MADE += [lambda: jnp.arange(3), lambda: jnp.ones((2, 8), jnp.bfloat16), lambda: jnp.float32(2)]
if importlib.util.find_spec("array_api_strict"):
    import array_api_strict as strict

    MADE += [lambda: strict.ones(3), lambda: strict.asarray([1, 2]), lambda: strict.asarray(2)]
if importlib.util.find_spec("ml_dtypes"):
    import ml_dtypes

    MADE += [
        lambda: np.ones(8, ml_dtypes.bfloat16),
        lambda: ml_dtypes.bfloat16(1),
        lambda: np.ones(3, ml_dtypes.float8_e4m3fn),
    ]

NUMBERS = st.sampled_from([
    None, True, False, 0, 1, 2, 3, 7, 8, -1, 64, 2**16, 2**20, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 10**5000, -(10**5000),
    0.0, -0.0, 0.5, 1.0, 2.0, 1e-320, 5e-324, 1e-9, 1e30, 1.7e308, -1.5, float("nan"), float("inf"), float("-inf"), 1j,
    Decimal("1.5"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+999999"), Decimal("1E-999999"), Fraction(1, 3), Fraction(10**400, 3),
    np.float32(0.5), np.float64("nan"), np.float16(2), np.int8(-1), np.uint64(2**64 - 1), np.int32(3), np.bool_(True), np.complex64(1),
    np.datetime64("2020-01-01"), np.timedelta64(3, "s"),
])  # fmt: skip
WORDS = st.sampled_from([
    "", "a", "1", "nan", "half_split", "interleaved", "position", "chunked", "float32", "exact", "q", "k", "bhsd", "\ud800", "a\udcffb", "\0", "x" * 5000,
    "../x", "*", "[", "é", "\u202e", b"abc", b"", "None",
]) | st.text(max_size=8)  # fmt: skip
FLAT = NUMBERS | WORDS
LISTS = (
    st.lists(FLAT, max_size=6)
    | st.lists(st.integers(-3, 9), max_size=9)
    | st.lists(st.floats(allow_nan=True), max_size=5)
)
TREES = (
    LISTS | st.lists(LISTS, max_size=4) | st.tuples(FLAT, FLAT) | st.dictionaries(st.text(max_size=5), FLAT, max_size=3)
)
THINGS = st.sampled_from(MADE).map(lambda make: make())
ANYTHING = NUMBERS | WORDS | TREES | THINGS
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
