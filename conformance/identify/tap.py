"""Where a model turns its queries and keys: its own functions, tapped while it runs.

    a module that makes tables      is given known positions instead of its own
    a function that rotates         is called once more with unit vectors for x, and with the tables
                                    the model gave it

so what is seen is the matrix of the rotation at each of the known positions, of each call and of
each layer.
"""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from ropecore.plan import FloatArray

Places: TypeAlias = Sequence[tuple[float, ...]]  # coordinates of each token

ROTATES = re.compile(
    "rotary|rope|rotate_queries|rotate_keys|rot_(?:pos_)?emb"
)  # functions; their helpers turn nothing alone
HELPS = re.compile(
    "rotate_half|rotate_every|pairwise|interleaved?$|param|_index|config|init|compute|create|update|load|^get_"
)
MAKES_TABLES = re.compile("rotary|rope|rotembed|sinusoid", re.IGNORECASE)  # modules
POSITIONS = re.compile("pos|ids|coord|index|idx|time|seq|offset|cache")  # arguments of such a module
TABLES = re.compile(
    "cos|sin|freq|pos|rot|emb|table|ids|mask|coord|grid|offset|dim|cache|unsqueeze|start|scal|inv"
)  # of such a function
HEAD_SIZE = re.compile("^(?!.*(?:rope|rot|nope|^v_|_v_)).*head_(?:dim|size)")  # attributes of an attention


@dataclass(frozen=True)
class Call:
    """One tensor rotated by one call: who called, what was rotated, and the matrix at each of the
    call's tokens.
    """

    path: str  # of the module that called
    function: str
    tensor: str  # the name of the argument
    matrices: FloatArray  # (s, written lanes, read lanes)
    size: int  # lanes of the whole head
    offset: int  # of its lanes, the first that the function was given


@dataclass
class Tap:
    """The taps on a model while it runs, with the places that its tokens are given, and what was
    seen.
    """

    model: Any
    places: Places = ()
    n_axes: int = 0  # of the tables' positions, once a module was asked for them; 0: none was
    tokens: int = 0  # of the tables' positions
    entered: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _stack: list[str] = field(default_factory=list)
    _depth: int = 0
    _seen: dict[Any, Any] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)  # tensors of a run: so that no address is used twice

    def fresh(self, places: Places) -> None:
        """Forget what was seen, and give tokens these places."""
        self.places, self.calls, self.problems = places, [], []
        self.entered.clear()
        self._stack.clear()
        self._seen.clear()
        self._kept.clear()

    @contextmanager
    def on(self) -> Iterator["Tap"]:
        """Tap the model's functions, and leave them as they were."""
        undo: list[Callable[[], None]] = []
        try:
            for owner, name, function in list(functions(self.model)):
                self._replace(owner, name, function, undo)
            for path, module in self.model.named_modules():
                undo.append(module.register_forward_pre_hook(functools.partial(self._enter, path)).remove)
                undo.append(module.register_forward_hook(self._leave, always_call=True).remove)
                if MAKES_TABLES.search(type(module).__name__) and "forward" not in vars(module):
                    module.forward = self._placed(module.forward)
                    undo.append(functools.partial(delattr, module, "forward"))
            yield self
        finally:
            for each in reversed(undo):
                each()

    def _enter(self, path: str, _module: Any, _args: Any) -> None:
        self._stack.append(path)
        self.entered.add(path)

    def _leave(self, _module: Any, _args: Any, _result: Any) -> None:
        if self._stack:
            self._stack.pop()

    def _replace(self, owner: Any, name: str, function: Any, undo: list[Callable[[], None]]) -> None:
        plain = function.__func__ if isinstance(function, staticmethod) else function
        tapped: Any = self._tapped(plain, inspect.isclass(owner) and not isinstance(function, staticmethod))
        setattr(owner, name, staticmethod(tapped) if isinstance(function, staticmethod) else tapped)
        undo.append(functools.partial(setattr, owner, name, function))

    # tables

    def _placed(self, forward: Any) -> Any:
        """Return a module's forward with its positions replaced."""
        signature = inspect.signature(forward)

        @functools.wraps(forward)
        def placed(*args: Any, **keywords: Any) -> Any:
            try:
                bound = signature.bind(*args, **keywords)
            except TypeError:
                return forward(*args, **keywords)
            for name, value in bound.arguments.items():
                if torch.is_tensor(value) and (POSITIONS.search(name) or not value.is_floating_point()):
                    bound.arguments[name] = self._positions(value)
            return forward(*bound.args, **bound.kwargs)

        return placed

    def _positions(self, given: Any) -> Any:
        """Return positions in the shape of those given: one axis, or several, first or last."""
        shape, axis = list(given.shape), _axis_of_coordinates(given.shape)
        n_axes = 1 if axis is None else shape[axis]
        rest = [size for i, size in enumerate(shape) if i != axis]
        self.n_axes, self.tokens = max(self.n_axes, n_axes), max(rest, default=1)
        if not rest or not self.places:
            return given
        tokens = rest.index(max(rest))
        grid = np.array([self.places[t % len(self.places)] for t in range(rest[tokens])], np.float64)
        grid = np.pad(grid, ((0, 0), (0, max(0, n_axes - grid.shape[1]))))
        columns = [torch.tensor(grid[:, a]).to(given.dtype) for a in range(n_axes)]
        shaped = [
            column.reshape([-1 if i == tokens else 1 for i in range(len(rest))]).expand(rest) for column in columns
        ]
        return shaped[0].clone() if axis is None else torch.stack(shaped, dim=axis)

    # rotations

    def _tapped(self, function: Any, method: bool) -> Any:
        """Return a function that does the same, and is seen."""
        names = _parameters(function)

        @functools.wraps(function)
        def tapped(*args: Any, **keywords: Any) -> Any:
            if self._depth:
                return function(*args, **keywords)
            self._depth += 1
            try:
                with torch.no_grad():
                    self._see(function, names, args, keywords, method)
                return function(*args, **keywords)
            finally:
                self._depth -= 1

        return tapped

    def _see(
        self, function: Any, names: Sequence[str], args: tuple[Any, ...], keywords: dict[str, Any], method: bool
    ) -> None:
        given = dict(zip(names, args, strict=False)) | keywords
        rotated = [name for name, value in given.items() if _is_x(name, value) and not (method and name == names[0])]
        if not rotated:
            return
        tables = tuple(_identity(value) for name, value in given.items() if name not in rotated)
        shapes = tuple(tuple(given[name].shape) for name in rotated)
        key = (function, tables, shapes)
        self._kept.extend(given.values())
        if key not in self._seen:
            with _disable_current_modes():
                self._seen[key] = _matrices(function, given, rotated)
        path = self._stack[-1] if self._stack else ""
        for name, matrices in zip(rotated, self._seen[key], strict=True):
            if isinstance(matrices, str):
                self.problems.append(f"{path}: {function.__name__}: {matrices}")
            elif matrices is not None:
                size, offset = self._whole(path, given[name])
                self.calls.append(Call(path, function.__name__, name, matrices, size, offset))

    def _whole(self, path: str, x: Any) -> tuple[int, int]:
        """Return the lanes of the head that x is a slice of, and its first lane there: x is a view
        of whole heads.
        """
        size = x.shape[-1]
        module = self.model.get_submodule(path) if path else self.model
        known = {value for name, value in vars(module).items() if HEAD_SIZE.search(name) and isinstance(value, int)}
        strides = {x.stride(a) for a in range(x.ndim - 1) if x.shape[a] > 1}
        for whole in sorted(known):
            if whole > size and strides and min(strides) >= whole and all(stride % whole == 0 for stride in strides):
                offset = x.storage_offset() % whole
                if offset + size <= whole:
                    return whole, offset
        return size, 0


def _axis_of_coordinates(shape: Sequence[int]) -> int | None:
    """Return the axis along which a position has several coordinates: the last or the first, of 2
    to 4.
    """
    if len(shape) >= 2 and shape[-1] in (2, 3, 4) and max(shape[:-1]) > 4:
        return len(shape) - 1
    if len(shape) == 3 and shape[0] in (2, 3, 4):
        return 0
    return None


def functions(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """Yield the functions and methods that may rotate: of the modules of code that the model's
    classes are from.
    """
    kinds = {kind for module in model.modules() for kind in type(module).__mro__}
    kinds = {kind for kind in kinds if kind.__module__.partition(".")[0] not in ("torch", "builtins")}
    for code in {id(sys.modules[kind.__module__]): sys.modules[kind.__module__] for kind in kinds}.values():
        for name, value in list(vars(code).items()):
            if _may_rotate(name) and callable(value) and not inspect.isclass(value):
                yield code, name, value
    for kind in kinds:
        for name, value in list(vars(kind).items()):
            if _may_rotate(name) and (inspect.isfunction(value) or isinstance(value, staticmethod)):
                yield kind, name, value


def _may_rotate(name: str) -> bool:
    return bool(ROTATES.search(name)) and not (HELPS.search(name) and not name.startswith("apply"))


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # TorchScript
        return [argument.name for argument in function.schema.arguments]


def _is_x(name: str, value: Any) -> bool:
    return torch.is_tensor(value) and value.is_floating_point() and value.ndim >= 3 and not TABLES.search(name)


def _identity(value: Any) -> Any:
    if torch.is_tensor(value):
        return (value.data_ptr(), value.storage_offset(), tuple(value.shape), tuple(value.stride()))
    if isinstance(value, (tuple, list)):
        return tuple(_identity(each) for each in value)
    return value if isinstance(value, (int, float, str, bool, type(None))) else id(value)


def _matrices(function: Any, given: dict[str, Any], rotated: Sequence[str]) -> list[FloatArray | str | None]:
    """Return the matrices at each token for each tensor that is rotated; None for one that is not,
    a string says why not.
    """

    def turned(lane: int | slice) -> list[Any]:
        units = {name: torch.zeros(given[name].shape, dtype=torch.float32) for name in rotated}
        for unit in units.values():
            unit[..., lane] = 1.0
        answer = function(**(given | units))
        return list(answer) if isinstance(answer, (tuple, list)) else [answer]

    whole = turned(slice(None))
    if len(whole) < len(rotated) or any(y.shape != given[n].shape for n, y in zip(rotated, whole, strict=False)):
        return ["it answers in other shapes than it is given"] * len(rotated)
    axes = [_axis_of_tokens(y) for y, _ in zip(whole, rotated, strict=False)]
    columns: list[list[FloatArray]] = [[] for _ in rotated]
    for lane in range(given[rotated[0]].shape[-1]):
        for column, y, axis in zip(columns, turned(lane), axes, strict=False):
            heads = y.detach().movedim(axis, 0).flatten(1, -2)  # (tokens, batch and heads, lanes)
            column.append(heads[:, [0, -1]].double().numpy())
    found = [np.stack(column, axis=-1) for column in columns]
    return ["heads turn by different angles" if (y[:, 0] != y[:, 1]).any() else y[:, 0] for y in found]


def _axis_of_tokens(y: Any) -> int:
    """Return the axis along which an answer changes most: its heads are alike; the longest where
    none does.
    """
    changes = [float(y.diff(dim=a).abs().max()) if y.shape[a] > 1 else 0.0 for a in range(y.ndim - 1)]
    return int(np.argmax(changes if max(changes) else y.shape[:-1]))
