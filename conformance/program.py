"""Targets that are programs, in any language: one JSON object a line on stdin and stdout.

    with ropecore.conformance.program.Program("./rope") as program:
        print(ropecore.conformance.run(program).text())

The protocol is described in examples/README.md, and by protocol.schema.json.
"""

import json
import math
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import numpy as np

from ropecore import RopeError
from ropecore.arguments import InRange, ListOf, checked, path
from ropecore.errors import shown, told
from ropecore.limits import parse_json

from .arrays import SPECIAL, Array
from .process import LEAVE as LEAVE  # noqa: PLC0414
from .process import QUOTED, Process, ProgramError, quoted
from .target import Capabilities
from .verdicts import NotApplicable, Skip

PROTOCOL = "ropecore-command/1"
TIMEOUT = 10.0  # seconds for each answer
LONGEST_TIMEOUT = 86_400.0
WORDS = 1 << 16  # bytes of an answer beside its numbers
OF_A_NUMBER = 64  # bytes, with what stands between two
MOST_DIMENSIONS = 64
LARGEST_DIMENSION = 1 << 40
QUESTION = ("plan", "config", "positions", "offset", "tensor_format", "role", "mode", "seq_len")  # of a vector
ANSWERS = ("y", "skipped", "refused", "errored")


class Refused(RopeError):
    """The program refuses an argument (rope.md chapter 12)."""

    def __str__(self) -> str:
        return f"it refuses {quoted_name(self.argument)}"


def quoted_name(name: str) -> str:
    return f"`{_cut(name)}`"


def _argv(argument: str, value: Any) -> tuple[str, ...]:
    """Return a command as the program and its arguments."""
    try:
        words = shlex.split(value, posix=os.name == "posix") if isinstance(value, str) else value
    except ValueError as error:
        raise RopeError(argument, value, f"is no command: {told(error)}", "Close its quotes.") from error
    return ListOf(_word, "words", shortest=1, longest=1 << 16)(argument, words)


def _word(argument: str, value: Any) -> str:
    return value if isinstance(value, str) else str(path(argument, value))


Timeout = Annotated[float, InRange(above=0, at_most=LONGEST_TIMEOUT)]


class Program:
    """A program as a target: started once, and again after a crash or an answer that came too late.

    command: the program and its arguments, as in a shell, or as a list.  timeout: seconds for each
    answer, a day at most; the clock runs until the answer is read and understood. Raises RopeError
    where it cannot be started, or does not answer `start` as the protocol says.
    """

    RopeError = Refused
    lacks = "the protocol has no question for this kind of case"

    @checked
    def __init__(self, command: Annotated[str | Sequence[str], _argv], timeout: Timeout = TIMEOUT) -> None:
        self.argv: Sequence[str] = command
        self.timeout = timeout
        self._number = 0
        self._process: Process | None = None
        self._ready: dict[str, Any] = {}
        try:
            self._running()
            self.capabilities = capabilities(self._ready)
            Capabilities.read(self.capabilities)  # refuses now what the suite would refuse later
        except ProgramError as error:
            self._end()
            cure = "It must answer {'command': 'start'} on its standard output: see conformance/examples/README.md."
            raise RopeError("command", shlex.join(command), f"cannot be used: {error}", cure) from error
        except RopeError:
            self._end()
            raise

    def apply(
        self,
        plan: Any,
        x: Array,
        *,
        case: Mapping[str, Any],
        positions: Any = None,
        inverse: bool = False,
        transpose: bool = False,
    ) -> Array:
        """Return the program's rotation of x; the case has the plan, the positions and the mode as
        the vector writes them.
        """
        self._number += 1
        question = {key: case[key] for key in QUESTION}
        vector = str(case.get("id", ""))
        message = {"command": "run", "id": self._number, "vector": vector, "dtype": case["dtype"], "x": encode(x)}
        return self._ask(message | question, x.dtype, x.size)

    def _ask(self, message: Mapping[str, Any], dtype: np.dtype[Any], size: int) -> Array:
        """Return the array that answers a message, or raise what is said instead; a program that
        gave no answer is ended.

        size: how many numbers the answer has if it is right: there may be no more.
        """
        try:
            process, deadline = self._running(), time.monotonic() + self.timeout
            reply = self._exchange(process, message, deadline, size)
            check_answer(reply, message["id"])
            try:
                return result(reply, dtype)
            finally:
                self._in_time(deadline)
        except ProgramError:
            self._end()
            raise

    def _exchange(self, process: Process, message: Mapping[str, Any], deadline: float, size: int) -> dict[str, Any]:
        """Return the object that answers a message."""
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        try:
            answer = process.ask(line, deadline, WORDS + OF_A_NUMBER * size)
        except ProgramError:
            self._in_time(deadline)
            raise
        reply = parse(answer, WORDS + size)
        self._in_time(deadline)
        return reply

    def _in_time(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise ProgramError(f"no answer within {self.timeout:g} s")

    def _running(self) -> Process:
        """Return the process, which has answered `start`."""
        if self._process is None:
            self._process = Process(self.argv)
            deadline = time.monotonic() + self.timeout
            self._ready = self._exchange(self._process, {"command": "start", "protocol": PROTOCOL}, deadline, 0)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Ask the program to stop, and end it if it does not."""
        if self._process is not None:
            self._process.stop(b'{"command": "stop"}\n')
        self._end()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def capabilities(ready: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the answer to `start` declares, as a target's mapping; its values are checked
    there.
    """
    if ready.get("protocol") != PROTOCOL:
        raise ProgramError(f"it speaks {ready.get('protocol')!r}, wanted {PROTOCOL!r}")
    about = {key: ready.get(key) for key in ("name", "version", "language")}
    for key, value in about.items():
        if not isinstance(value, str):
            raise ProgramError(f"its answer to start has no {key}")
    declared = ready.get("capabilities", {})
    if not isinstance(declared, dict):
        raise ProgramError("its capabilities are no object")
    found = {**declared, **about}
    Capabilities.read(found)
    _check_schema("started", ready)
    return found


def check_answer(reply: Mapping[str, Any], number: int) -> None:
    """Refuse what is no answer to the question of that number."""
    if type(reply.get("id")) is not int or reply["id"] != number:
        raise ProgramError(f"it answers id {_cut(repr(reply.get('id')))}, asked was {number}")
    if sum(key in reply for key in ANSWERS) != 1:
        raise ProgramError(f"its answer has not one of {', '.join(ANSWERS)}: {_cut(json.dumps(reply))}")
    for key in ("skipped", "link", "refused", "errored"):
        if not isinstance(reply.get(key, ""), str):
            raise ProgramError(f"its {key} is no text: {_cut(repr(reply[key]))}")
    y = reply.get("y")
    if isinstance(y, dict) and isinstance(y.get("data"), list):
        reply = {**reply, "y": {**y, "data": []}}  # `decode_answer` looks at the numbers, faster
    _check_schema("answer", reply)


def _check_schema(kind: str, line: Mapping[str, Any]) -> None:
    """Refuse a line that protocol.schema.json has something against, where jsonschema is installed
    (the extra `schema`).
    """
    validator = _validator(kind)
    if validator is not None:
        from jsonschema.exceptions import best_match

        problem = best_match(validator.iter_errors(line))
        if problem is not None:
            place = "".join(f"[{step!r}]" for step in problem.absolute_path)
            raise ProgramError(f"its line is not as the protocol's schema says: {kind}{place}: {_cut(problem.message)}")


@cache
def _validator(kind: str) -> Any:
    """Return the validator of one kind of line, or None without jsonschema."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return None
    schema = json.loads(files("ropecore.conformance").joinpath("protocol.schema.json").read_bytes())
    return Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]})


def encode(x: Array) -> dict[str, Any]:
    """Return an array as a vector file writes it: NaN and infinities are strings."""
    if x.dtype.kind == "c":
        raise NotApplicable("the protocol has no complex numbers")
    numbers = x.astype(np.float64).ravel().tolist()
    return {"shape": list(x.shape), "data": [v if math.isfinite(v) else _special(v) for v in numbers]}


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def result(reply: Mapping[str, Any], dtype: np.dtype[Any]) -> Array:
    """Return the array of an answer, or raise what it says instead."""
    if "skipped" in reply:
        raise Skip(" ".join(filter(None, (str(reply["skipped"]), str(reply.get("link", ""))))))
    if "refused" in reply:
        raise Refused(str(reply["refused"]), "as given", "refused by the program")
    if "errored" in reply:
        raise ProgramError(str(reply["errored"]))
    with np.errstate(over="ignore"):
        return decode_answer(reply["y"]).astype(dtype)


def decode_answer(source: Any) -> Array:
    """Return the array of an answer as float64; anything but {"shape", "data"} with so many numbers
    is garbage.
    """
    if not isinstance(source, dict) or not {"shape", "data"} <= set(source):
        raise ProgramError("its y is no object with shape and data")
    shape, data = source["shape"], source["data"]
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(map(_is_size, shape)):
        raise ProgramError(f"its y has the shape {_cut(shown(shape))}")
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise ProgramError(f"its y has not the {math.prod(shape)} numbers of its shape")
    for value in data:
        if type(value) not in (int, float) and not (isinstance(value, str) and value in SPECIAL):
            raise ProgramError(f"its y holds {_cut(shown(value))}, which is no number")
    try:
        return np.array([float(value) for value in data], np.float64).reshape(shape)
    except OverflowError as error:
        raise ProgramError("its y holds an integer beyond float64") from error


def _is_size(size: Any) -> bool:
    return type(size) is int and 0 <= size <= LARGEST_DIMENSION


def parse(line: bytes, most_values: int = 1 << 20) -> dict[str, Any]:
    """Return a line as a JSON object; "-0", as C prints it, keeps its sign."""
    try:
        value = parse_json("answer", line, largest=len(line), most_values=most_values)
    except RopeError as error:
        raise ProgramError(f"{quoted(line)} is no JSON object: {error.reason}") from error
    if not isinstance(value, dict):
        raise ProgramError(f"{quoted(line)} is no JSON object")
    return value


def _cut(text: str) -> str:
    return text if len(text) <= QUOTED else text[:QUOTED] + ".."
