"""The transformations of JAX, of the calls of the adapter: the parts of test_jax_pairs.py."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

import ropecore.backends.jax as rope
from ropecore import RotaryPlan

Array = Any
Places = Any  # arrays that begin with the dimensions b and s, or s alone where x has no b
Function = Callable[[Array, Places], Array]  # linear in the array
Call = Callable[[str], Function]  # of a tensor format
Word = tuple[str, ...]  # the rotations that a function of x comes to, in order: forward or transpose

MESH = jax.make_mesh((1,), ("m",), axis_types=(jax.sharding.AxisType.Auto,))


# ---- what is transformed: calls of the adapter


def by_positions(plan: RotaryPlan, role: str) -> Call:
    def call(letters: str) -> Function:
        return lambda x, at: rope.apply(plan, x, positions=own(at), tensor_format=letters, role=role)

    return call


def by_offset(plan: RotaryPlan, role: str) -> Call:
    return lambda letters: lambda x, at: rope.apply(plan, x, offset=_first(at), tensor_format=letters, role=role)


def by_tables(plan: RotaryPlan, role: str) -> Call:
    def call(letters: str) -> Function:
        return lambda x, at: rope.rotate(plan, x, *rope.cos_sin(plan, own(at), role=role), tensor_format=letters)

    return call


def by_given_tables(plan: RotaryPlan, role: str) -> Call:
    return lambda letters: lambda x, tables: rope.rotate(plan, x, *tables, tensor_format=letters)


def by_module(plan: RotaryPlan, role: str) -> Call:
    def call(letters: str) -> Function:
        return lambda x, at: rope.RotaryEmbedding(plan, letters)(x, positions=own(at), role=role)

    return call


def by_shift(plan: RotaryPlan, role: str) -> Call:
    return lambda letters: lambda x, at: rope.shift(plan, x, _first(at), tensor_format=letters, role=role)


def own(at: list[Array]) -> Any:
    return at[0] if len(at) == 1 else at


def _first(at: list[Array]) -> Array:
    """The position of the first token, one a batch row if there are rows; 5 where there is no
    token.
    """
    return at[0][..., 0] if at[0].shape[-1] else jnp.full(at[0].shape[:-1], 5, jnp.int32)


# ---- transformations


class Transformation(NamedTuple):
    """A function of calls: it gives that of the format `letters` by one without `removes`; both
    need the letter `needs`.
    """

    name: str
    of: Callable[[Call, str], Function]
    needs: str = ""
    removes: str = ""
    word: Callable[[Word], Word] = lambda word: word
    roundings: int = 0  # of the result, beside those of rotations


def transposed(word: Word) -> Word:
    return tuple("transpose" if mode == "forward" else "forward" for mode in reversed(word))


def squared(word: Word) -> Word:
    return word + transposed(word)


Mapper = Callable[
    [Function, int, "int | None"], Function
]  # one call for each index: of this axis of x, and of that of places


def over(letter: str, mapper: Mapper) -> Callable[[Call, str], Function]:
    """Return the transformation that maps over a letter; a token that is mapped over is a sequence
    of length 1.
    """

    def of(call: Call, letters: str) -> Function:
        axis, rows = letters.index(letter), "b" in letters
        if letter != "s":
            return mapper(call(letters.replace(letter, "")), axis, 0 if letter == "b" else None)

        def one(x: Array, at: Places) -> Array:
            at = jax.tree.map(lambda each: jnp.expand_dims(each, int(rows)), at)
            return call(letters)(jnp.expand_dims(x, axis), at).squeeze(axis)

        return mapper(one, axis, int(rows))

    return of


def vmap(f: Function, axis: int, places: "int | None") -> Function:
    return jax.vmap(f, (axis, places), axis)


def vmap_moved(f: Function, axis: int, places: "int | None") -> Function:
    """With the mapped axis last among those of x, and first among those of the result."""
    mapped = jax.vmap(f, (-1, places), 0)
    return lambda x, at: jnp.moveaxis(mapped(jnp.moveaxis(x, axis, -1), at), 0, axis)


def vmap_custom(f: Function, axis: int, places: "int | None") -> Function:
    custom = jax.custom_batching.custom_vmap(f)

    @custom.def_vmap
    def rule(size: int, batched: Any, x: Array, at: Places) -> Any:
        of_places = jax.tree.leaves(batched[1])
        return jax.vmap(f, (0 if batched[0] else None, 0 if of_places[0] else None))(x, at), True

    return vmap(custom, axis, places)


def vmap_sequential(f: Function, axis: int, places: "int | None") -> Function:
    return vmap(jax.custom_batching.sequential_vmap(f), axis, places)


def scan(f: Function, axis: int, places: "int | None") -> Function:
    def call(x: Array, at: Places) -> Array:
        def step(count: Array, one: Any) -> Any:
            return count + 1, f(one[0], at if places is None else one[1])

        several = None if places is None else jax.tree.map(lambda each: jnp.moveaxis(each, places, 0), at)
        return jnp.moveaxis(lax.scan(step, 0, (jnp.moveaxis(x, axis, 0), several))[1], 0, axis)

    return call


def map_in_batches(f: Function, axis: int, places: "int | None") -> Function:
    def call(x: Array, at: Places) -> Array:
        size = 2 if x.size else None  # lax.map divides by the size of an element
        y = lax.map(lambda one: f(one, at), jnp.moveaxis(x, axis, 0), batch_size=size)
        return jnp.moveaxis(y, 0, axis)

    return call


def loop(f: Function, axis: int, places: "int | None", whiles: bool = False) -> Function:
    """Write one result after the other into an array of the size of x."""

    def call(x: Array, at: Places) -> Array:
        def step(i: Array, y: Array) -> Array:
            here = at if places is None else jax.tree.map(lambda each: take(each, i, places), at)
            return lax.dynamic_update_index_in_dim(y, f(take(x, i, axis), here), i, axis)

        take = functools.partial(lax.dynamic_index_in_dim, keepdims=False)
        size, zero = x.shape[axis], jnp.zeros_like(x)
        if not whiles:
            return lax.fori_loop(0, size, step, zero)
        state = lax.while_loop(lambda state: state[0] < size, lambda state: (state[0] + 1, step(*state)), (0, zero))
        return state[1]

    return call


def over_rows(call: Call, letters: str) -> Function:
    """Vmap over places alone: of the results of all rows by the places of
    each, those by their own.
    """

    def f(x: Array, at: Places) -> Array:
        axis = letters.index("b")
        same = lambda row: jax.tree.map(lambda each: jnp.broadcast_to(each, (x.shape[axis], *each.shape)), row)
        several = jax.vmap(lambda x, row: call(letters)(x, same(row)), (None, 0))(x, at)
        return jnp.stack([jnp.take(y, i, axis) for i, y in enumerate(several)], axis)

    return f


def in_shards(letter: str) -> Callable[[Call, str], Function]:
    def of(call: Call, letters: str) -> Function:
        spec = PartitionSpec(*("m" if each == letter else None for each in letters))
        places = PartitionSpec(*("m" if each == letter else None for each in letters if each in "bs"))
        return jax.shard_map(call(letters), mesh=MESH, in_specs=(spec, places), out_specs=spec)

    return of


def on_devices(call: Call, letters: str) -> Function:
    one = lambda tree: jax.tree.map(lambda each: each[None], tree)
    return lambda x, at: jax.pmap(call(letters))(one(x), one(at))[0]


def whole(transform: Callable[[Function], Function]) -> Callable[[Call, str], Function]:
    return lambda call, letters: transform(call(letters))


def branches(f: Function) -> Function:
    return lambda x, at: lax.cond(x.sum() > 0, f, f, x, at)


def jvp(f: Function) -> Function:
    return lambda x, at: sum(jax.jvp(lambda x: f(x, at), (x,), (x,))) / 2  # the value and the tangent are equal


def vjp(f: Function) -> Function:
    return lambda x, at: jax.vjp(lambda x: f(x, at), x)[1](x)[0]


def grad(f: Function) -> Function:
    return lambda x, at: jax.grad(lambda x: (f(x, at).astype(jnp.float32) ** 2).sum() / 2)(x)


def linearize(f: Function) -> Function:
    return lambda x, at: jax.linearize(lambda x: f(x, at), x)[1](x)


def linear_transpose(f: Function) -> Function:
    return lambda x, at: jax.linear_transpose(lambda x: f(x, at), x)(x)[0]


def jacobian(f: Function) -> Function:
    def call(x: Array, at: Places) -> Array:
        matrix = jax.jacfwd(lambda x: f(x, at))(x).astype(jnp.float32)
        return (matrix * x.astype(jnp.float32)).sum(range(x.ndim, 2 * x.ndim)).astype(x.dtype)

    return call


def with_custom_vjp(f: Function) -> Function:
    def backward(kept: Any, g: Array) -> Any:
        x, at = kept
        return jax.vjp(lambda x: f(x, at), x)[1](g)[0], None

    custom = jax.custom_vjp(f)
    custom.defvjp(lambda x, at: (f(x, at), (x, at)), backward)
    return custom


def mapping(name: str, mapper: Mapper, letter: str) -> Transformation:
    return Transformation(name, over(letter, mapper), letter, letter.replace("s", ""))


ALL = [
    *(mapping(f"vmap over {letter}", vmap, letter) for letter in "bhs"),
    mapping("vmap over h, moved", vmap_moved, "h"),
    Transformation("vmap over places", over_rows, "b"),
    mapping("vmap by a rule", vmap_custom, "h"),
    mapping("vmap in sequence", vmap_sequential, "b"),
    *(mapping(f"scan over {letter}", scan, letter) for letter in "bhs"),
    mapping("map in batches", map_in_batches, "h"),
    mapping("fori_loop", loop, "h"),
    mapping("while_loop", functools.partial(loop, whiles=True), "b"),
    *(Transformation(f"shard_map along {letter}", in_shards(letter), letter) for letter in "bs"),
    Transformation("pmap", on_devices),
    Transformation("jit", whole(jax.jit)),
    Transformation("checkpoint", whole(jax.checkpoint)),
    Transformation("cond", whole(branches)),
    Transformation("jvp", whole(jvp), roundings=2),
    Transformation("vjp", whole(vjp), word=transposed),
    Transformation("grad", whole(grad), word=squared),
    Transformation("linearize", whole(linearize)),
    Transformation("linear_transpose", whole(linear_transpose), word=transposed),
    Transformation("jacobian", whole(jacobian), roundings=2),
    Transformation("custom_vjp", whole(with_custom_vjp)),
]
BY_NAME = {each.name: each for each in ALL}


def composed(names: tuple[str, ...], call: Call, letters: str = "bhsd") -> Function:
    """Return the first transformation of the next of .. of a call."""
    if not names:
        return call(letters)
    return BY_NAME[names[0]].of(functools.partial(composed, names[1:], call), letters)


def exists(names: tuple[str, ...]) -> bool:
    """Whether each transformation finds the letter that it needs."""
    letters = "bhsd"
    for name in names:
        if BY_NAME[name].needs not in letters:
            return False
        letters = letters.replace(BY_NAME[name].removes or " ", "")
    return True
