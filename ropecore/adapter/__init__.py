"""The public functions of every adapter, written once: an adapter is a subclass that adds what is
particular to its library.

`Adapter` is for libraries whose arrays do not change, `MutableAdapter` for the others; both are
made from `check`, `tables`, `turn` and `turn_by`.  A module offers the bound methods as its
functions.  Nothing here depends on a library.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ropecore.adapter.call import FLOATS, OMITTED, Call
from ropecore.errors import RopeError, choice
from ropecore.plan import RotaryPlan
from ropecore.precision import signed_log_magnitude
from ropecore.tensor_format import check_pair

A = TypeVar("A")


class Part(NamedTuple):
    """One tensor of a call, and where its tokens are: at `positions`, or at start + step * token if
    these are None.
    """

    name: str
    x: Any
    role: str
    positions: Any = None
    start: Any = 0  # of R-7.4 (step 1), which does not go with positions; or the delta of R-9.5 (step 0)
    step: int = 1
    argument: str = "offset"  # what the user calls `start`


class Adapter(ABC, Generic[A]):
    """`cos_sin`, `rotate`, `apply` and `shift` for a library whose arrays do not change."""

    __slots__ = ()
    integers: ClassVar[tuple[type, ...]] = (int,)  # what may be the position of a single token

    @abstractmethod
    def check(self, call: Call, name: str, x: Any) -> A:
        """Return x as an array of the library, or refuse it.  Rule R-12.4."""

    @abstractmethod
    def tables(self, call: Call, positions: Any, role: str, dtype: str) -> tuple[A, A]:
        """Return cos and sin as `cos_sin` does; the plan, role, precision and dtype are checked."""

    @abstractmethod
    def turn(self, call: Call, parts: list[Part], in_place: bool) -> list[A]:
        """Return the x of each part, rotated to where its tokens are."""

    @abstractmethod
    def turn_by(self, call: Call, x: A, cos: Any, sin: Any, inverse: bool, transpose: bool, out: A | None = None) -> A:
        """Return x rotated by tables that are still to be checked; out, if given, is written."""

    @staticmethod
    def at_once(*arguments: Any) -> Any:
        """Return what `apply` returns, for right calls that a library has a quicker way for, or
        None for all others.

        arguments: those of `apply` in their order, unchecked, and whether it is to be done in
        place.
        """
        return None

    def moved(self, plan: RotaryPlan) -> RotaryPlan:
        """Return the plan that moves what is already rotated.  Rule R-9.5."""
        return plan.on_written_lanes()

    def cos_sin(
        self, plan: RotaryPlan, positions: Any, role: str = "q", precision: str = "exact", dtype: Any = "float32"
    ) -> tuple[A, A]:
        """Return cos and sin of the angles, times A and the magnitude, of shape positions +
        (n_pairs,).

        positions: integers (..), or (n_axes, ..), or a list of one array an axis; the tables are on
        their device. precision: "exact", within 1.2e-7 of the truth, or "float32" for
        cos(float32(p) * float32(F)).  dtype: "float32", "float64", "float16" or "bfloat16".  No
        gradient passes.  RopeError: positions of a wrong kind or shape, or out of range where they
        are read.  Rules R-2.1, R-2.4, R-7.1, R-10.2, R-10.3, R-11.2.
        """
        call = Call(plan, precision=precision)
        signed_log_magnitude(role)  # refuses what is no role
        return self.tables(call, positions, role, choice("dtype", str(dtype).rpartition(".")[2], FLOATS))

    def rotate(
        self,
        plan: RotaryPlan,
        x: A,
        cos: A,
        sin: A,
        tensor_format: str = "bhsd",
        inverse: bool = False,
        transpose: bool = False,
        compute: str = "float32",
    ) -> A:
        """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs); the
        dtype of x is kept.

        out[first'] = x[first] cos - x[second] sin, out[second'] = x[first] sin + x[second] cos;
        transpose: -sin; inverse: -sin, and both divided by M^2 (A times the magnitude, squared).
        compute: "float32" rounds once, on store; "input" rounds tables and every operation to the
        dtype of x.  Where the library differentiates, x gets its gradient, and so do tables of your
        own. Rules R-2.1, R-9.2, R-9.3, R-10.4, R-11.1, R-11.2.
        """
        call = Call(plan, tensor_format, compute=compute)
        return self.turn_by(call, self.check(call, "x", x), cos, sin, inverse, transpose)

    def apply(
        self,
        plan: RotaryPlan,
        q: A,
        k: Any = OMITTED,
        *,
        positions: Any = None,
        k_positions: Any = None,
        offset: Any = 0,
        tensor_format: str = "bhsd",
        precision: str = "exact",
        compute: str = "float32",
        role: str = "q",
    ) -> Any:
        """Return q, or (q, k) where k is given (even as None), rotated at their positions.

        q, k: arrays with the dimensions of tensor_format, of any number of heads.  positions:
        integers (s,), (b, s) or (t,), with (n_axes, ..) before for several axes, or an int for a
        single token; None is arange(s) + offset, offset an integer or one a batch row.
        k_positions: those of k, if they differ.  role: that of a tensor given alone (it matters to
        xPos).  Values are checked where the host has them; those of devices and of compiled code
        wrap modulo 2^32. Rules R-2.1, R-7.1, R-7.3, R-7.4, R-10.4.
        """
        how = tensor_format, precision, compute
        done = self.at_once(plan, q, k, positions, k_positions, offset, *how, role, False)
        if done is not None:
            return done
        call = Call(plan, *how)
        parts = self._parts(call, q, k, positions, k_positions, offset, role)
        return _as_given(q, k, self.turn(call, parts, in_place=False))

    def shift(
        self,
        plan: RotaryPlan,
        k: A,
        delta: Any,
        *,
        tensor_format: str = "bhsd",
        precision: str = "exact",
        compute: str = "float32",
        role: str = "k",
    ) -> A:
        """Return keys that were rotated at p as if rotated at p + delta; A is not applied again.

        delta: an integer, or one a batch row; with several axes it moves all of them.  Rule R-9.5.
        """
        call = Call(plan, tensor_format, precision, compute)
        signed_log_magnitude(role)  # refuses what is no role
        part = Part("k", self.check(call, "k", k), role, None, delta, step=0, argument="delta")
        return self.turn(Call(self.moved(plan), tensor_format, precision, compute), [part], in_place=False)[0]

    def _parts(
        self, call: Call, q: Any, k: Any, positions: Any, k_positions: Any, offset: Any, role: str
    ) -> list[Part]:
        """Return what is to be rotated, checked: k has positions of its own or those of q.  Rules
        R-7.3, R-7.4, R-12.5.
        """
        signed_log_magnitude(role)  # refuses what is no role, also where tables come from a store
        if k is OMITTED:
            if k_positions is not None:
                raise RopeError("k_positions", "given", "there is no k", "Pass k, or use positions.", "R-7.3")
            return [self._part(call, "q", q, role, positions, offset)]
        parts = []
        if q is not None:
            parts.append(self._part(call, "q", q, "q", positions, offset))
        if k is not None:
            parts.append(self._part(call, "k", k, "k", positions if k_positions is None else k_positions, offset))
        if len(parts) == 2:
            check_pair(call.letters, parts[0].x.shape, parts[1].x.shape, counted=positions is k_positions is None)
        return parts

    def _part(self, call: Call, name: str, x: Any, role: str, positions: Any, offset: Any) -> Part:
        x = self.check(call, name, x)
        if isinstance(positions, self.integers) and call.is_place_of_one_token(positions, offset, x.shape):
            return Part(name, x, role, None, positions, argument="positions")
        return Part(name, x, role, positions, offset)


class MutableAdapter(Adapter[A]):
    """The same, with `apply_` and the `out` of `rotate`, for a library
    whose arrays can be written.
    """

    __slots__ = ()

    @abstractmethod
    def check_writeable(self, name: str, x: A) -> None:
        """Refuse an array that must not be written, or in which writing one element changes
        another.  Rule R-2.8.
        """

    @abstractmethod
    def share_memory(self, a: A, b: A) -> bool:
        """Return whether an element of one array may be one of the other."""

    @abstractmethod
    def same_memory(self, a: A, b: A) -> bool:
        """Return whether two arrays of one shape are the same elements in the same order."""

    def rotate(
        self,
        plan: RotaryPlan,
        x: A,
        cos: A,
        sin: A,
        tensor_format: str = "bhsd",
        inverse: bool = False,
        transpose: bool = False,
        compute: str = "float32",
        out: A | None = None,
    ) -> A:
        """Return x rotated by tables of shape (s, n_pairs), (b, s, n_pairs) or (t, n_pairs); the
        dtype of x is kept.

        out[first'] = x[first] cos - x[second] sin, out[second'] = x[first] sin + x[second] cos;
        transpose: -sin; inverse: -sin, and both divided by M^2 (A times the magnitude, squared).
        compute: "float32" rounds once, on store; "input" rounds tables and every operation to the
        dtype of x.  Where the library differentiates, x gets its gradient, and so do tables of your
        own. out: where to write the result; x itself rotates in place.  Rules R-2.1, R-2.8, R-9.2,
        R-9.3, R-10.4, R-11.1, R-11.2.
        """
        call = Call(plan, tensor_format, compute=compute)
        x = self.check(call, "x", x)
        return self.turn_by(call, x, cos, sin, inverse, transpose, None if out is None else self._output(call, x, out))

    def apply_(
        self,
        plan: RotaryPlan,
        q: A,
        k: Any = OMITTED,
        *,
        positions: Any = None,
        k_positions: Any = None,
        offset: Any = 0,
        tensor_format: str = "bhsd",
        precision: str = "exact",
        compute: str = "float32",
        role: str = "q",
    ) -> Any:
        """Rotate q, or q and k, in place and return them; the arguments are those of `apply`.

        Refused: read-only arrays, leaves that require a gradient, arrays that overlap themselves or
        each other.  A refused call has changed neither.  Rule R-2.8.
        """
        how = tensor_format, precision, compute
        done = self.at_once(plan, q, k, positions, k_positions, offset, *how, role, True)
        if done is not None:
            return done
        call = Call(plan, *how)
        parts = self._parts(call, q, k, positions, k_positions, offset, role)
        for part in parts:
            self.check_writeable(part.name, q if part.name == "q" else k)
        if len(parts) == 2 and self.share_memory(q, k):
            raise RopeError("k", "a view of q's memory", "overlaps q", "Copy one of them, or use apply.", "R-2.8")
        return _as_given(q, k, self.turn(call, parts, in_place=True))

    def _output(self, call: Call, x: A, out: Any) -> A:
        """Return the array to write to, if it has the form of x and nothing in it is met twice.
        Rule R-2.8.
        """
        y: Any = self.check(call, "out", out)
        like: Any = x
        if y.shape != like.shape or y.dtype != like.dtype:
            reason = f"must be {like.dtype} {tuple(like.shape)}, as x is"
            raise RopeError("out", f"{y.dtype} {tuple(y.shape)}", reason, rule="R-2.8")
        self.check_writeable("out", out)
        if not self.same_memory(x, y) and self.share_memory(x, y):
            cure = "Give x itself, or another array."
            raise RopeError("out", "a view of x's memory", "overlaps x in part", cure, "R-2.8")
        return out  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Embedding:
    """A plan with the way it is called: `emb = RotaryEmbedding(plan, "bshd"); q, k = emb(q, k,
    positions=ids)`.
    """

    plan: RotaryPlan
    tensor_format: str = "bhsd"
    precision: str = "exact"
    compute: str = "float32"

    function: ClassVar[Callable[..., Any]]  # the `apply` of the library

    def __post_init__(self) -> None:
        Call(self.plan, self.tensor_format, self.precision, self.compute)  # refuses now, and not at the first call

    def __call__(
        self,
        q: Any,
        k: Any = OMITTED,
        positions: Any = None,
        k_positions: Any = None,
        offset: Any = 0,
        role: str = "q",
    ) -> Any:
        """Return `apply(plan, q, k, ..)`."""
        where = {"positions": positions, "k_positions": k_positions, "offset": offset, "role": role}
        how = {"tensor_format": self.tensor_format, "precision": self.precision, "compute": self.compute}
        return type(self).function(self.plan, q, k, **where, **how)


def _as_given(q: Any, k: Any, turned: list[Any]) -> Any:
    """Return what was rotated in the form of the call: one array, or a pair with None where None
    was given.
    """
    if k is OMITTED:
        return turned[0]
    return (None if q is None else turned[0]), (None if k is None else turned[-1])
