"""Wrong calls of the CuPy adapter, each refused by a RopeError that names the argument and the
cure.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import cupy_stand_in as stand_in
import numpy as np
import pytest
import wrong_calls

from ropecore import Damped, RopeConfig, RopeError, RotaryPlan

X = (2, 3, 4, 8)
PLAN = RopeConfig(head_dim=8, base=100.0, pairing="half_split").plan()
THREE = RopeConfig(head_dim=8, base=100.0, pairing="half_split", sections=(2, 1, 1), axes=("t", "h", "w")).plan()
REAL = RotaryPlan(8, [[0, 4], [1, 5]], [[3.0], [0.7]], axis_kinds=("real",))
GROWING = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Damped(0.01)).plan()


@pytest.fixture(scope="module")
def rope() -> Iterator[Any]:
    """The adapter, on the stand-in."""
    if stand_in.COMPILER is None:
        pytest.skip("g++ is not on PATH")
    with stand_in.installed():
        yield importlib.import_module("ropecore.backends.cupy")


def _host(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def _q(dtype: str = "float32", shape: tuple[int, ...] = X) -> Any:
    return stand_in.asarray(_host(*shape).astype(dtype))


def _d(values: Any, dtype: str = "int64") -> Any:
    return stand_in.asarray(np.array(values, dtype))


def _tables(rope: Any, n: int = 4) -> Any:
    return rope.cos_sin(PLAN, np.arange(n))


def _broadcast() -> Any:
    return stand_in.ndarray(np.broadcast_to(_host(1, 1, 4, 8), X))


def _overlapping() -> tuple[Any, Any]:
    line = stand_in.asarray(_host(1, 1, 6, 8))
    return line[:, :, :4], line[:, :, 2:]


def _into_part_of_x(rope: Any) -> Any:
    x, out = _overlapping()
    return rope.rotate(PLAN, x, *_tables(rope), out=out)


# A wrong call, the argument that its refusal names, and a word of the reason or of the cure.
WRONG: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("plan", "Call .plan", lambda r: r.apply(RopeConfig(head_dim=8, base=1e4, pairing="half_split"), _q())),
    ("plan", "RopeConfig", lambda r: r.apply(None, _q())),
    ("plan", "RopeConfig", lambda r: r.shift("plan", _q(), 1)),
    ("plan", "RopeConfig", lambda r: r.RotaryEmbedding({})),
    ("q", "cupy.asarray", lambda r: r.apply(PLAN, _host(*X))),
    ("q", "cupy.asarray", lambda r: r.apply(PLAN, [1.0, 2.0])),
    ("q", "cupy.asarray", lambda r: r.apply(PLAN, None)),
    ("k", "cupy.asarray", lambda r: r.apply(PLAN, _q(), _host(*X))),
    ("q", "dtype", lambda r: r.apply(PLAN, _q("int32"))),
    ("q", "dtype", lambda r: r.apply(PLAN, _q("complex64"))),
    ("q", "dtype", lambda r: r.apply(PLAN, _q("bool"))),
    ("q", "head_dim 8", lambda r: r.apply(PLAN, _q(shape=(2, 3, 4, 6)))),
    ("q", "tensor_format", lambda r: r.apply(PLAN, _q(), tensor_format="thd", positions=_d([0, 1, 2, 3]))),
    ("k", "batch size", lambda r: r.apply(PLAN, _q(), _q(shape=(1, 3, 4, 8)))),
    ("k", "dtype", lambda r: r.apply_(PLAN, _q(), _q("int8"))),
    ("tensor_format", "bhsd", lambda r: r.apply(PLAN, _q(), tensor_format="bhds")),
    ("tensor_format", "bhsd", lambda r: r.apply(PLAN, _q(), tensor_format="bhtd")),
    ("tensor_format", "bhsd", lambda r: r.RotaryEmbedding(PLAN, "bsd_")),
    ("precision", "exact", lambda r: r.apply(PLAN, _q(), precision="float64")),
    ("precision", "exact", lambda r: r.cos_sin(PLAN, [1], precision="best")),
    ("compute", "float32", lambda r: r.apply(PLAN, _q(), compute="float16")),
    ("dtype", "float32", lambda r: r.cos_sin(PLAN, [1], dtype="int64")),
    ("role", "q, k", lambda r: r.apply(PLAN, _q(), role="query")),
    ("role", "q, k", lambda r: r.cos_sin(PLAN, _d([1]), role="v")),
    ("positions", "must be (4)", lambda r: r.apply(PLAN, _q(), positions=_d([0, 1, 2]))),
    ("positions", "must be (4)", lambda r: r.apply(PLAN, _q(), positions=_d(np.zeros((3, 4))))),
    ("positions", "must be (4)", lambda r: r.apply(PLAN, _q(), positions=5)),
    ("positions", "no array", lambda r: r.apply(PLAN, _q(), positions=[[1, 2], [3]])),
    ("positions", "Round them", lambda r: r.apply(PLAN, _q(), positions=_d([0.0, 1, 2, 3], "float32"))),
    ("positions", "Round them", lambda r: r.apply(PLAN, _q(), positions=[0.5, 1, 2, 3])),
    ("positions", "integers", lambda r: r.apply(PLAN, _q(), positions=_d([0, 1, 1, 0], "bool"))),
    ("positions", "2^31 - 1", lambda r: r.apply(PLAN, _q(), positions=[0, 1, 2, 2**31])),
    ("positions", "text_positions", lambda r: r.apply(THREE, _q())),
    ("positions", "text_positions", lambda r: r.apply(THREE, _q(), positions=_d([0, 1, 2, 3]))),
    ("positions", "axes_first", lambda r: r.apply(THREE, _q(shape=(2, 3, 5, 8)), positions=_d(np.zeros((5, 3))))),
    ("positions", "3 axes", lambda r: r.cos_sin(THREE, _d([1, 2]))),
    ("positions", "cupy.asarray", lambda r: r.cos_sin(THREE, [_d([1]), np.array([1]), _d([1])])),
    ("positions", "first axis", lambda r: r.cos_sin(THREE, [_d([1]), _d([1, 2]), _d([1])])),
    ("positions", "real numbers", lambda r: r.cos_sin(REAL, _d([1], "complex64"))),
    ("positions", "real axis", lambda r: r.apply(REAL, _q())),
    ("positions", "centre", lambda r: r.apply(GROWING, _q(), positions=[0, 1, 2, 7000])),
    ("positions", "centre", lambda r: r.apply(GROWING, _q(), offset=6930)),
    ("positions", "finite", lambda r: r.cos_sin(REAL, [np.nan])),
    ("k_positions", "no k", lambda r: r.apply(PLAN, _q(), k_positions=_d([0, 1, 2, 3]))),
    ("offset", "Add it", lambda r: r.apply(PLAN, _q(), positions=_d([0, 1, 2, 3]), offset=1)),
    ("offset", "batch of 2", lambda r: r.apply(PLAN, _q(), offset=[1, 2, 3])),
    ("offset", "batch of 2", lambda r: r.apply(PLAN, _q(), offset=_d([1, 2, 3]))),
    ("offset", "integer", lambda r: r.apply(PLAN, _q(), offset=_d(1.5, "float32"))),
    ("offset", "integer", lambda r: r.apply(PLAN, _q(), offset=1.5)),
    ("offset", "2^31 - 1", lambda r: r.apply(PLAN, _q(), offset=2**31 - 3)),
    ("delta", "integer", lambda r: r.shift(PLAN, _q(), 0.5)),
    ("delta", "batch of 2", lambda r: r.shift(PLAN, _q(), [1, 2, 3])),
    ("k", "cupy.asarray", lambda r: r.shift(PLAN, _host(*X), 1)),
    ("cos", "cos_sin", lambda r: r.rotate(PLAN, _q(), *_tables(r, 5))),
    ("cos", "cupy.asarray", lambda r: r.rotate(PLAN, _q(), *map(stand_in.asnumpy, _tables(r)))),
    ("cos", "dtype", lambda r: r.rotate(PLAN, _q(), _tables(r)[0].astype(np.int32), _tables(r)[1])),
    ("sin", "(4, 4)", lambda r: r.rotate(PLAN, _q(), _tables(r)[0], _tables(r, 5)[1])),
    ("inverse", "Ask for one", lambda r: r.rotate(PLAN, _q(), *_tables(r), inverse=True, transpose=True)),
    ("out", "float32", lambda r: r.rotate(PLAN, _q(), *_tables(r), out=_q("float64"))),
    ("out", "head_dim 8", lambda r: r.rotate(PLAN, _q(), *_tables(r), out=_q(shape=(2, 3, 4, 9))[..., :7])),
    ("out", "cupy.asarray", lambda r: r.rotate(PLAN, _q(), *_tables(r), out=_host(*X))),
    ("out", "x itself", _into_part_of_x),
    ("q", "broadcast", lambda r: r.apply_(PLAN, _broadcast())),
    ("k", "overlaps q", lambda r: r.apply_(PLAN, *_overlapping())),
]  # fmt: skip


@pytest.mark.parametrize("case", [*wrong_calls.WRONG, *wrong_calls.WRITING])
def test_wrong_calls_of_every_adapter(rope: Any, case: str) -> None:
    wrong_calls.check(rope, stand_in.asarray, case)


@pytest.mark.parametrize(("argument", "word", "call"), WRONG)
def test_wrong_calls_are_refused(rope: Any, argument: str, word: str, call: Callable[[Any], Any]) -> None:
    with pytest.raises(RopeError, match=re.escape(word)) as refusal:
        call(rope)

    assert refusal.value.argument == argument
    assert refusal.value.rule
    assert str(refusal.value).startswith(f"{argument}=")


def test_a_refused_call_has_changed_nothing(rope: Any) -> None:
    q, k = _q(), _q("int8")
    before = stand_in.asnumpy(q)
    with pytest.raises(RopeError, match="dtype"):
        rope.apply_(PLAN, q, k, offset=3)

    assert stand_in.asnumpy(q).tobytes() == before.tobytes()
