"""Targets: what is tested.  Loading one by name, and calling it by what it declares."""

import importlib
import importlib.util
import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

import numpy as np

from ropecore import RopeError
from ropecore.arguments import Flag, ListOf, Name, OneOf, Text, check_fields, checked, mapping, name, text
from ropecore.errors import known_keys, told
from ropecore.precision import numpy_dtype

from .arrays import DTYPES, Array
from .bounds import Words
from .verdicts import NotApplicable

FEATURES = (
    "half_split",
    "interleaved",
    "general_lanes",
    "partial",
    "attention_factor",
    "axes",
    "real_axes",
    "magnitude",
    "batched_positions",
    "offset",
    "tensor_format",
    "negative_positions",
    "large_positions",
)  # the words of a case's `needs`
NAMED = ("case", "inverse", "transpose")  # beyond the backends' apply, to which a wrapper hands its **options on
WORDS = ("angle", "table", "compute")  # of
NOTHING: Mapping[str, str] = MappingProxyType({})


def _features(argument: str, value: Any) -> frozenset[str]:
    """Return the words of a list or a set."""
    words = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
    found = ListOf(text, "words", longest=len(FEATURES), each_once=True)(argument, words)
    unknown = sorted(set(found) - set(FEATURES))
    if unknown:
        raise RopeError(argument, unknown, f"are none of {', '.join(FEATURES)}")
    return frozenset(found)


def _reasons(argument: str, value: Any) -> dict[str, str]:
    """Return a reason for each beginning of an id."""
    return {text(argument, key): name(f"{argument}[{key!r}]", why) for key, why in mapping(argument, value).items()}


Word: TypeAlias = str | Mapping[str, str]


def _word(*choices: str) -> Callable[[str, Any], Word]:
    """Return the check of a word of R-10.1: one for all dtypes, or one for each."""

    def check(argument: str, value: Any) -> Word:
        if not isinstance(value, Mapping):
            return OneOf(choices)(argument, value)
        by_dtype = {OneOf(DTYPES)(argument, key): word for key, word in mapping(argument, value).items()}
        return {dtype: OneOf(choices)(f"{argument}[{dtype!r}]", word) for dtype, word in by_dtype.items()}

    return check


@dataclass(frozen=True)
class Capabilities:
    """What a target declares: its mapping `capabilities`, or these defaults.

    dtypes: of x.  angle, table, compute: the words of R-10.1, each for all dtypes or as {dtype:
    word}.  features: words of a case's `needs`, None for all. reads_config: it starts from a case's
    `config`, not from its plan.  own_frequencies: it makes its frequencies itself. not_applicable:
    a reason for each topic, or beginning of an id, that is left out.
    """

    name: Text = ""
    version: Text = ""
    language: Text = "python"
    dtypes: Annotated[
        tuple[str, ...], ListOf(OneOf(DTYPES), "dtypes", shortest=1, longest=len(DTYPES), each_once=True)
    ] = ("float32",)
    angle: Annotated[Word, _word("exact", "float32")] = "float32"
    table: Annotated[Word, _word("float32", "float64", "input")] = "float32"
    compute: Annotated[Word, _word("float32", "input")] = "float32"
    features: Annotated[frozenset[str], _features] | None = None
    reads_config: Flag = False
    own_frequencies: Flag = False
    not_applicable: Annotated[Mapping[str, str], _reasons] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "capabilities['{}']")
        for dtype in self.dtypes:
            numpy_dtype(dtype)  # refuses one that could not be judged
        for which in WORDS:
            word = getattr(self, which)
            if isinstance(word, Mapping) and set(word) != set(self.dtypes):
                why = f"must have a word for each of {', '.join(self.dtypes)}"
                raise RopeError(f"capabilities[{which!r}]", word, why)

    @classmethod
    def read(cls, declared: Mapping[str, Any]) -> "Capabilities":
        """Return a target's mapping as Capabilities; unknown keys are refused."""
        values = mapping("capabilities", declared)
        known_keys("capabilities", values, [each.name for each in fields(cls)])
        return cls(**values)

    def words(self, dtype: str) -> Words:
        """Return the precision that is declared for x of a dtype; for one that is not declared,
        that of the first.
        """
        angle, table, compute = (word_of(getattr(self, name), dtype) for name in WORDS)
        return Words(angle, table, compute, self.own_frequencies)

    def to_dict(self) -> dict[str, Any]:
        """Return the capabilities as JSON can hold them."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {
            **{name: plain(getattr(self, name)) for name in WORDS},
            "dtypes": list(self.dtypes),
            "features": None if self.features is None else sorted(self.features),
            "not_applicable": dict(self.not_applicable),
        }


def word_of(word: Word, dtype: str) -> str:
    """Return a word for x of a dtype."""
    return word if isinstance(word, str) else word.get(dtype, next(iter(word.values())))


def plain(word: Word) -> str | dict[str, str]:
    """Return a word, or words by dtype, as JSON can hold them."""
    return word if isinstance(word, str) else dict(word)


class Target:
    """A target's object, called by the names and the keywords that it has.

    Only `apply(plan, x, positions=positions) -> y` is required, x and y of shape (b, h, s, d); the
    package's docstring lists the other names.  RopeError: the object has no apply, or its
    capabilities are not as described.
    """

    def __init__(self, subject: Any, name: str = "", parent: "Target | None" = None) -> None:
        self.subject = subject
        self.parent = parent
        self.capabilities = Capabilities.read(self._inherited("capabilities", {}))
        self.name = name or self.capabilities.name or str(getattr(subject, "__name__", type(subject).__name__))
        if not self.has("apply"):
            raise RopeError("target", name or subject, "has no function apply(plan, x, positions=positions)", _cure())
        self.asked: str = "" if parent is None else parent.asked  # the words of the command line that name it
        self.rules: Any = getattr(subject, "rules", None)
        self._keywords: dict[str, frozenset[str] | None] = {}
        error = self._inherited("RopeError", None)
        self.refuses = error is not None  # by an error of its own
        self.refusals: tuple[type[BaseException], ...] = (ValueError, TypeError) if error is None else (error,)

    def _inherited(self, name: str, default: Any) -> Any:
        """Return an attribute; a variant takes from its target what it lacks of dtypes, conversions
        and the like.
        """
        if self.parent is not None:
            default = self.parent._inherited(name, default)
        return getattr(self.subject, name, default)

    @property
    def variants(self) -> dict[str, "Target"]:
        """Return the same backend in its other modes, by name."""
        declared = mapping("variants", getattr(self.subject, "variants", {}))
        return {name: Target(subject, f"{self.name}[{name}]", self) for name, subject in declared.items()}

    def has(self, name: str) -> bool:
        """Return whether the target has a function of that name."""
        return callable(getattr(self.subject, name, None))

    def keywords(self, name: str) -> frozenset[str] | None:
        """Return the keywords that a function of the target takes, None for any."""
        if name not in self._keywords:
            self._keywords[name] = self._keywords_of(name)
        return self._keywords[name]

    def _keywords_of(self, name: str) -> frozenset[str] | None:
        try:
            parameters = inspect.signature(getattr(self.subject, name)).parameters.values()
        except (TypeError, ValueError):  # a function of a compiled module may not tell
            return frozenset()
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
            return None
        return frozenset(each.name for each in parameters if each.kind is not inspect.Parameter.POSITIONAL_ONLY)

    def takes(self, name: str, keyword: str) -> bool:
        """Return whether a function of the target takes that keyword: `**options` counts, except
        for those in NAMED.
        """
        known = self.keywords(name)
        return keyword not in NAMED if known is None else keyword in known

    def call(self, name: str, *args: Any, needed: Mapping[str, Any], offered: Mapping[str, Any] = NOTHING) -> Any:
        """Call a function of the target with the keywords it needs, and with those of the offered
        that it takes.
        """
        if not self.has(name):
            raise NotApplicable(self.lacks(name))
        missing = [keyword for keyword in needed if not self.takes(name, keyword)]
        if missing:
            raise NotApplicable(f"its {name} takes no {missing[0]}")
        extra = {keyword: value for keyword, value in offered.items() if self.takes(name, keyword)}
        return getattr(self.subject, name)(*args, **extra, **needed)

    def rule(self, name: str) -> Any:
        """Return one of ropecore's own names, where the target offers them as `rules`."""
        if not hasattr(self.rules, name):
            raise NotApplicable(self.lacks(f"rules.{name}"))
        return getattr(self.rules, name)

    def lacks(self, name: str) -> str:
        """Return why a case that needs a name does not concern the target: what it would have to
        offer.
        """
        said: str | None = self._inherited("lacks", None)
        return said or f"the target has no {name}"

    def asarray(self, array: Array, dtype: str) -> Any:
        """Return a fresh array of the target's own kind."""
        convert: Callable[[Array, str], Any] | None = self._inherited("asarray", None)
        if convert is not None:
            return convert(array.copy(), dtype)
        return np.array(array, dtype=numpy_dtype(dtype))

    def to_numpy(self, array: Any) -> Array:
        """Return the target's array as NumPy's, with the same bits."""
        convert: Callable[[Any], Array] | None = self._inherited("to_numpy", None)
        return np.asarray(array if convert is None else convert(array))

    def refused(self, error: BaseException) -> bool:
        """Return whether an exception is a refusal (chapter 12), and not a crash."""
        return isinstance(error, self.refusals)


def as_target(given: Any) -> Target:
    """Return a target's name, a Target, or any object with a target's names, as a Target."""
    if isinstance(given, str):
        return load_target(given)
    return given if isinstance(given, Target) else Target(given)


@checked
def load_target(name: Name) -> Target:
    """Return the target of a backend's name ("numpy"), or of `package.module` or
    `package.module:object`.
    """
    if name in backends():
        return _named(Target(_backend(name), name))
    module, _, attribute = name.partition(":")
    subject = _imported(name, module)
    for part in filter(None, attribute.split(".")):
        if not hasattr(subject, part):
            raise RopeError("target", name, f"{module} has no {attribute}")
        subject = getattr(subject, part)
    return _named(Target(subject, name))


def _named(target: Target) -> Target:
    target.asked = shlex.quote(target.name)
    return target


def _backend(name: str) -> Any:
    """Return a backend's own target: its object of that name, or else the module."""
    module = _imported(name, f"ropecore.backends.{name}.target")
    return getattr(module, "target", module)


def _imported(name: str, module: str) -> Any:
    """Import a module, or refuse the target's name with the reason."""
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module's own code runs here, and may raise anything
        why = f"cannot be imported ({told(error)})"
        raise RopeError("target", name, why, _cure()) from error


def _cure() -> str:
    """Return what a target may be."""
    return f"Give a backend ({', '.join(backends())}), or package.module[:object] that has apply and can be imported."


def backends() -> list[str]:
    """Return the names of the backends that come with ropecore: its folders with a target, which is
    not imported.
    """
    spec = importlib.util.find_spec("ropecore.backends")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    return sorted(path.parent.name for folder in folders for path in Path(folder).glob("*/target.py"))
