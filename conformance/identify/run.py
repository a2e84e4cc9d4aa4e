"""A model run at known positions, and the plans that its rotations show, by part and layer."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from ropecore.plan import FloatArray

from . import feed
from .hollow import Weightless
from .model import FAR, NEAR, SHORT, MeasuredRope, Measurement
from .probe import EXACT, plan_of
from .tap import MAKES_TABLES, Call, Tap, functions

Where: TypeAlias = tuple[str, str]  # the path of the module that rotates, and the tensor's name
Matrices: TypeAlias = dict[tuple[float, ...], FloatArray]  # by place

LENGTHS = ("original_max_position_embeddings", "max_position_embeddings", "n_positions", "seq_length")


@dataclass
class Seen:
    """What one tensor's rotation showed: the matrix at each place, and whether the length changed
    any.
    """

    matrices: Matrices
    call: Call
    n_axes: int
    seq_len: int | None = None


@dataclass
class Survey:
    """What is known of a model so far."""

    tap: Tap
    seq_len: int | None
    users: set[str]  # paths of the modules whose code rotates
    ran: set[str] = field(default_factory=set)
    seen: dict[Where, Seen] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def survey(model: Any, seq_len: int | None) -> Measurement:
    """Return the RoPE of every layer: the whole model is run, then each part that did not run, then
    each layer alone.
    """
    tap = Tap(model)
    with torch.no_grad(), tap.on() as tapped:
        done = Survey(tapped, seq_len, set(users(model)))
        for path, run in _runs(model, tap):
            inside = {user for user in done.users - done.ran if user == path or user.startswith(path and f"{path}.")}
            if inside:
                _measure(done, model.get_submodule(path), path, run)
    left = done.users - done.ran
    problems = list(dict.fromkeys(done.problems)) if left else []
    problems += [f"{pattern(path)} could not be run" for path in sorted(left)][:4]
    return Measurement(type(model).__name__, tuple(_ropes(model, done)), tuple(problems))


def users(model: Any) -> Iterator[str]:
    """Yield the paths of the modules whose own code calls a function that rotates."""
    rotating = {name for _, name, _ in functions(model)}
    for path, module in model.named_modules():
        for kind in type(module).__mro__:
            if kind.__module__.startswith("torch."):
                break
            named = {name for value in vars(kind).values() for name in _names(value)}
            if named & rotating:
                yield path
                break


def _names(function: Any) -> tuple[str, ...]:
    function = inspect.unwrap(function) if callable(function) else function
    code = getattr(function, "__code__", None)
    return () if code is None else tuple(code.co_names)


Run: TypeAlias = Callable[[Any], None]  # of positions


def _runs(model: Any, tap: Tap) -> Iterator[tuple[str, Run]]:
    """Yield ways to run a model: whole, each model inside, each layer alone; with the path of what
    is run.
    """
    inner = [
        (path, module)
        for path, module in model.named_modules()
        if hasattr(module, "config") and hasattr(module, "main_input_name")
    ]
    for path, module in inner:
        yield path, partial(_whole, module)
    for path in list(users(model)):
        yield path, partial(_alone, model, path)


def _whole(module: Any, positions: Any) -> None:
    error: Exception = feed.Cannot("no inputs")
    for given in feed.inputs(module, positions):
        try:
            module(**given)
            return
        except Exception as failed:
            error = failed
    raise error


def _alone(model: Any, path: str, positions: Any) -> None:
    """Run one attention, with the tables of the nearest module that makes some."""
    module = model.get_submodule(path)
    tables = None
    steps = path.split(".")
    for depth in range(len(steps), -1, -1):
        owner = model.get_submodule(".".join(steps[:depth]))
        makers = [child for child in owner.children() if MAKES_TABLES.search(type(child).__name__)]
        if makers:
            tables = _tables(makers[0], positions, getattr(module, "layer_type", None))
            break
    given = feed.layer(module, tables, positions)
    module(**given)


def _tables(maker: Any, positions: Any, layer_type: Any) -> Any:
    """Return what a module that makes tables gives for positions."""
    names = inspect.signature(maker.forward).parameters
    x = torch.zeros(1, feed.TOKENS, 4)
    extra = {"layer_type": layer_type} if "layer_type" in names and layer_type else {}
    shapes = (positions, positions[0], positions.expand(3, *positions.shape), torch.stack([positions[0]] * 2, dim=-1))
    error: Exception = feed.Cannot("positions")
    for shaped in shapes:
        for args in ((x, shaped), (shaped,), (x,)):
            try:
                return maker(*args, **extra)
            except Exception as failed:
                error = failed
    raise error


def _measure(done: Survey, module: Any, path: str, run: Run) -> None:
    """Run a part at near places, then at far ones; add what was seen."""
    trained = _trained_length(module) if done.seq_len is None else done.seq_len
    near = _collect(done, path, run, trained - 1)
    if near is None and done.seq_len is None and trained > 512:
        near = _collect(done, path, run, 511)
    if near is None:
        return
    far = _collect(done, path, run, FAR, quiet=True) if done.seq_len is None and near else None
    for where, seen in near.items():
        if where in done.seen:
            continue
        more = (far or {}).get(where)
        if done.seq_len is not None:
            seen.seq_len = done.seq_len
        elif more is not None and more.n_axes == seen.n_axes:
            common = seen.matrices.keys() & more.matrices.keys()
            if all(np.allclose(seen.matrices[p], more.matrices[p], rtol=0, atol=1e-6) for p in common):
                seen.matrices |= more.matrices
            else:
                seen.seq_len = trained
        done.seen[where] = seen


def _collect(done: Survey, path: str, run: Run, limit: int, quiet: bool = False) -> dict[Where, Seen] | None:
    """Return the matrices at places up to a limit on each axis, or None where the run fails."""
    tap, found = done.tap, dict[Where, Seen]()
    tap.n_axes, axis, controlled = 0, 0, True
    while axis < max(tap.n_axes, 1):
        for places in _places(limit, axis, tap.tokens):
            tap.fresh(places)
            try:
                with Weightless():
                    run(_ids(places))
            except Exception as error:
                if not quiet:
                    done.problems.append(f"{path or 'the model'}: {type(error).__name__}: {str(error)[:200]}")
                return None
            if axis == 0 and not tap.n_axes:
                controlled = controlled and _controlled(tap, run)
            done.ran |= {user for user in done.users if user in tap.entered}
            done.problems += tap.problems
            _add(found, tap, places if controlled else None)
        axis += 1
    return found


def _controlled(tap: Tap, run: Run) -> bool:
    """Return whether the positions that were given to the model are those that it turns by."""
    before, problems, entered = tap.calls, tap.problems, set(tap.entered)
    tap.fresh([(0.0,)])
    with Weightless():
        run(_ids([(0.0,)]))
    still = all(
        np.array_equal(call.matrices, np.broadcast_to(call.matrices[:1], call.matrices.shape)) for call in tap.calls
    )
    tap.calls, tap.problems, tap.entered = before, problems, entered
    return still


def _places(limit: int, axis: int, tokens: int) -> list[list[tuple[float, ...]]]:
    """Return lists of places, as many as there are tokens: near 0, powers of two, and the limit in
    each list.
    """
    ones = sorted({p for p in (*NEAR, *(1 << power for power in range(31)), limit) if p <= limit})
    size = max(2, tokens or feed.TOKENS) - 1
    lists = [[*ones[i : i + size], limit] for i in range(0, len(ones), size)]
    return [[tuple(float(p) if a == axis else 0.0 for a in range(4)) for p in each] for each in lists]


def _ids(places: Any) -> Any:
    return torch.tensor([int(places[t % len(places)][0]) for t in range(feed.TOKENS)])[None]


def _add(found: dict[Where, Seen], tap: Tap, places: Any) -> None:
    """Add a run's matrices at its places; None: tokens stand at 0, 1, 2, .."""
    n_axes = max(tap.n_axes, 1)
    for call in tap.calls:
        seen = found.setdefault((call.path, call.tensor), Seen({}, call, n_axes))
        for t, matrix in enumerate(call.matrices):
            place = (float(t),) if places is None else places[t % len(places)][:n_axes]
            seen.matrices[place] = matrix


def _trained_length(module: Any) -> int:
    """Return the length that a configuration names, the one that it was first trained at if there
    are two.
    """
    config = getattr(module, "config", None)
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for name in LENGTHS:
        value = (rope.get(name) if isinstance(rope, dict) else None) or getattr(config, name, None)
        if isinstance(value, int) and value >= 16:
            return min(value, FAR)
    return SHORT


# what was seen, as ropes


def _ropes(model: Any, done: Survey) -> Iterator[MeasuredRope]:
    """Yield the RoPEs: layers whose matrices are the same are one."""
    groups: dict[Any, list[tuple[Where, Seen]]] = {}
    for where, seen in done.seen.items():
        path = where[0]
        held = b"".join(
            np.array(place, np.float64).tobytes() + matrix.tobytes() for place, matrix in sorted(seen.matrices.items())
        )
        groups.setdefault(
            (part_of(model, path), pattern(path), hash(held), seen.call.size, seen.call.offset), []
        ).append((where, seen))
    for (part, module, *_), members in groups.items():
        seen = members[0][1]
        size = seen.call.matrices.shape[-1]
        found = plan_of(seen.matrices, size, seen.n_axes)
        plan = found.plan if found.plan is None or found.plan.n_pairs else None
        yield MeasuredRope(
            part=part, module=module, tensors=tuple(dict.fromkeys(where[1] for where, _ in members)),
            layers=tuple(sorted({layer for where, _ in members for layer in layer_of(where[0])})),
            plan=plan, head_dim=seen.call.size, lane_offset=seen.call.offset,
            resolution=EXACT["float32"] / found.farthest, seq_len=seen.seq_len, problems=tuple(found.problems),
        )  # fmt: skip
    turned = {path for path, _ in done.seen}
    still: dict[tuple[str, str], list[int]] = {}
    for path in sorted(done.ran - turned):
        if not any(other.startswith(f"{path}.") for other in turned):
            still.setdefault((part_of(model, path), pattern(path)), []).extend(layer_of(path))
    for (part, module), layers in still.items():
        yield MeasuredRope(part, module, (), tuple(sorted(layers)), None)


def pattern(path: str) -> str:
    """Return the path of a module with * for numbers."""
    return re.sub(r"\b\d+\b", "*", path)


def layer_of(path: str) -> tuple[int, ...]:
    """Return the first number of a path."""
    found = re.search(r"\b\d+\b", path)
    return (int(found[0]),) if found else ()


def part_of(model: Any, path: str) -> str:
    """Return the name of the sub-configuration that a module is made from, by keys without _config;
    "" for the model's own.
    """
    steps = path.split(".")
    config = model.config
    for depth in range(len(steps), -1, -1):
        module = model.get_submodule(".".join(steps[:depth]))
        if getattr(module, "config", None) is not None:
            config = module.config
            break
    named = list(_sub_configs(model.config, ""))
    same = [name for name, each in named if each is config] or [
        name for name, each in named if type(each) is type(config)
    ]
    return same[0] if same else ""


def _sub_configs(config: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, config
    for key, value in vars(config).items():
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            yield from _sub_configs(value, f"{name}.{key.removesuffix('_config')}".lstrip("."))
