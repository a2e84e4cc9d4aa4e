"""Every transformation of JAX, and every two of them, of every kind of lanes, by 0, 1 and 2 tokens,
against the reference.

`python tests/backends/jax/test_jax_pairs.py 600` tries more combinations of pairs, lanes, sizes and
dtypes, for 600 seconds.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax_cases import MIXED, PLANS, XPOS
from jax_transformations import (
    BY_NAME,
    Call,
    Word,
    by_given_tables,
    by_module,
    by_offset,
    by_positions,
    by_shift,
    by_tables,
    composed,
    exists,
    own,
)  # fmt: skip

import ropecore
import ropecore.backends.jax as rope
from ropecore import RopeConfig, RotaryPlan
from ropecore.backends.jax import rotation
from ropecore.conformance import bounds

KINDS = PLANS | {
    "xpos_k": XPOS,
    "one_pair": RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=2).plan(),
    "odd_head": RopeConfig(head_dim=9, base=100.0, pairing="interleaved", rotary_dim=4, attention_factor=1.5).plan(),
    "real_axes": MIXED,
    "backwards": RopeConfig(head_dim=8, base=100.0, pairing="half_split", rotary_dim=4, direction=-1).plan(),
}
EXACT = bounds.Words("exact")
ROLES = {"xpos_k": "k"}
DTYPES = ("float32", "bfloat16")
SIZES = (
    (1, 3, 1),
    (2, 3, 2),
    (2, 1, 1),
    (1, 3, 2),
    (2, 3, 1),
    (1, 2, 0),
    (1, 1, 1),
)  # of b, h, s: compilers move 1s about
MESHES = {"shard_map along b", "shard_map along s", "pmap"}
NOT_IN_JAX = {  # a transformation, and those that it cannot be applied to
    **dict.fromkeys(MESHES, MESHES),
    "jvp": {"custom_vjp"},
    "linearize": {"custom_vjp", "vmap in sequence"},
    "jacobian": {"custom_vjp", "vmap in sequence"},
    "vjp": {"while_loop", "vmap in sequence"},
    "grad": {"while_loop", "vmap in sequence"},
    "linear_transpose": {"while_loop", "vmap in sequence", "custom_vjp", "cond"},
}
PAIRS = [pair for pair in itertools.product(BY_NAME, BY_NAME) if exists(pair)]
IN_JAX = [pair for pair in PAIRS if pair[1] not in NOT_IN_JAX.get(pair[0], ())]


# ---- what is right


def places_of(plan: RotaryPlan, batch: int, length: int) -> list[np.ndarray]:
    """Consecutive positions in each row, (b, s) for each axis."""
    count = 3 + 997 * np.arange(batch)[:, None] + np.arange(length)
    return [count + 0.25 if real else count for real in plan.real_axes]


def right(plan: RotaryPlan, x: np.ndarray, at: list[np.ndarray], word: Word, roundings: int, role: str = "q") -> Any:
    """Return the rotations of a word of x (b, h, s, d), one after the other, and how far R-10.6
    lets them be from exact.
    """
    turns = bounds.turns(plan, np.stack(at) if plan.n_axes > 1 else at[0], role).fitted(
        (x.shape[0], 1, x.shape[2]), (0, 1)
    )
    cos, sin = turns.cos * turns.scale, turns.sin * turns.scale
    y, error, size, dtype = x.astype(float), np.zeros(x.shape), np.abs(x.astype(float)), x.dtype.name
    for mode in word:
        reads, writes = (plan.lanes, plan.out) if mode == "forward" else (plan.out, plan.lanes)

        def spread(z: np.ndarray, reads: Any = reads, writes: Any = writes) -> np.ndarray:
            """Return |the matrix of the rotation| z."""
            y, (first, second) = z.copy(), (z[..., reads[:, i]] for i in range(2))
            y[..., writes[:, 0]] = np.abs(cos) * first + np.abs(sin) * second
            y[..., writes[:, 1]] = np.abs(sin) * first + np.abs(cos) * second
            return y

        z, carried = ropecore.rotate(plan, y, cos, sin, transpose=mode == "transpose"), spread(error)
        error = carried + bounds.rotation_bound(plan, turns, np.abs(y) + error, np.abs(z) + carried, dtype, EXACT, mode)
        y, size = z, spread(size)
    return y, error + roundings * (2 * bounds.UNIT[dtype] + bounds.STORE.get(dtype, 0)) * (size + error)


def is_right(
    call: Call, names: tuple[str, ...], plan: RotaryPlan, role: str, sizes: Any, dtype: str, at: Any = None
) -> bool:
    """Whether these transformations of a call rotate all x by the plan; at: what the call takes for
    positions.
    """
    x = np.random.default_rng(0).normal(size=(*sizes, plan.head_dim)).astype(jnp.dtype(dtype))
    places = places_of(plan, sizes[0], sizes[2])
    given = [jnp.asarray(each) for each in places] if at is None else at
    y = np.asarray(composed(names, call)(jnp.asarray(x), given))
    if not x.size or (y.shape, y.dtype) != (x.shape, x.dtype):
        return (y.shape, y.dtype) == (x.shape, x.dtype)
    word, roundings = ("forward",), sum(BY_NAME[name].roundings for name in names)
    for name in reversed(names):
        word = BY_NAME[name].word(word)
    exact, limit = right(plan, x, places, word, roundings, role)
    return bool((np.abs(y.astype(float) - exact) <= limit).all())


@contextmanager
def always_alone(wanted: bool) -> Iterator[None]:
    """Small tensors are turned as large ones are: in a branch of a cond
    that nothing is fused into.
    """
    usual = rotation._among_others
    if wanted:
        rotation._among_others = rotation._alone
        rotation.turn.clear_cache()
    yield
    if wanted:
        rotation._among_others = usual
        rotation.turn.clear_cache()


def mixed(number: int) -> tuple[str, Any, str, bool]:
    """Return a kind of lanes, sizes, a dtype, and whether it is turned alone: all combinations in
    turn.
    """
    choices = len(KINDS), len(SIZES), len(DTYPES), 3
    kind, sizes, dtype, alone = np.unravel_index(number * 389 % math.prod(choices), choices)
    return list(KINDS)[kind], SIZES[sizes], DTYPES[dtype], bool(alone == 0)


def try_kind(names: tuple[str, ...], kind: str, sizes: Any, dtype: str, alone: bool) -> bool:
    plan, role = KINDS[kind], ROLES.get(kind, "q")
    with always_alone(alone):
        return is_right(by_positions(plan, role), names, plan, role, sizes, dtype)


# ---- tests


@pytest.mark.parametrize("number", range(len(IN_JAX)), ids=["-".join(pair).replace(" ", "_") for pair in IN_JAX])
def test_pairs(number: int) -> None:
    case = mixed(number)
    assert try_kind(("jit", *IN_JAX[number]), *case), case


def test_other_pairs_are_none_of_jax() -> None:
    """What cannot be done to twice x says nothing about a rotation."""
    x, at = jnp.ones((2, 3, 1, 8)), [jnp.ones((2, 1))]
    for pair in set(PAIRS) - set(IN_JAX):
        with pytest.raises((ValueError, TypeError, NotImplementedError, AssertionError)):
            composed(pair, lambda letters: lambda x, at: x * 2)(x, at)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("number", range(2))
def test_eager_calls(name: str, number: int) -> None:
    case = mixed(2 * list(BY_NAME).index(name) + number)
    assert try_kind((name,), *case), case


@pytest.mark.parametrize("name", ["vmap over b", "vmap over h", "vmap over h, moved", "vmap over s"])
@pytest.mark.parametrize("kind", KINDS)
def test_eager_vmap_of_one_token(kind: str, name: str) -> None:
    """XLA's CPU compiler updates part of the lanes in place although it still reads them, where
    sizes of 1 are moved about.
    """
    assert try_kind((name,), kind, (1, 3, 1), "float32", False)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("by", [by_offset, by_tables, by_given_tables, by_module, by_shift])
def test_other_calls(name: str, by: Callable[[RotaryPlan, str], Call]) -> None:
    kind, sizes, dtype, alone = mixed(list(BY_NAME).index(name))
    if by in (by_offset, by_shift) and KINDS[kind].n_axes > 1:  # which take no offset, or one for all axes
        kind = "half_split_first"
    plan, role = KINDS[kind], ROLES.get(kind, "q")
    call, wanted, at = by(plan, role), plan, None
    if by is by_given_tables:
        at = rope.cos_sin(plan, own(places_of(plan, sizes[0], sizes[2])), role=role)
    elif by is by_shift:  # by one number for all tokens
        sizes, wanted = (*sizes[:2], min(sizes[2], 1)), plan.on_written_lanes()
    with always_alone(alone):
        assert is_right(call, ("jit", name), wanted, role, sizes, dtype, at), (kind, sizes, dtype, alone)


TABLES: dict[str, Callable[[Callable[[Any], Any]], Callable[[Any], Any]]] = {
    "vmap over rows": jax.vmap,
    "vmap over tokens": lambda f: jax.vmap(f, 1, 1),
    "vmap of vmap": lambda f: jax.vmap(jax.vmap(f)),
    "scan of vmap": lambda f: lambda at: lax.scan(lambda count, row: (count, jax.vmap(f)(row)), 0, at)[1],
    "map": lambda f: lambda at: lax.map(f, at),
    "vmap of checkpoint": lambda f: jax.vmap(jax.checkpoint(f)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_tables(kind: str) -> None:
    plan, role = KINDS[kind], ROLES.get(kind, "q")
    at = places_of(plan, 2, 3)
    f = lambda at: rope.cos_sin(plan, own(at), role=role)
    exact = ropecore.cos_sin(plan, own(at), role=role)
    limit = bounds.table_bound(bounds.turns(plan, np.stack(at) if plan.n_axes > 1 else at[0], role), "float32", EXACT)
    by_name = jax.jit(lambda at: {name: each(f)(at) for name, each in TABLES.items()})(at)
    for name, made in by_name.items():
        for table, wanted in zip(made, exact, strict=True):
            assert table.shape == wanted.shape, name
            assert (np.abs(np.asarray(table) - wanted) <= limit).all(), name


def main(seconds: float) -> int:
    """Try combinations in an order that chance gives; print how many, and each that is wrong."""
    rng, end, tried, wrong = np.random.default_rng(0), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        names = IN_JAX[rng.integers(len(IN_JAX))]
        names, case = ("jit", *names) if rng.integers(2) else names, mixed(int(rng.integers(2**31)))
        right, tried = try_kind(names, *case), tried + 1
        if not right:
            wrong += 1
            print("wrong:", names, case, flush=True)
    print(f"tried {tried}, wrong {wrong}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
