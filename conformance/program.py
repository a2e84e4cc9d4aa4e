"""Targets that are programs, in any language: one JSON object a line on stdin and stdout.

    with ropecore.conformance.program.Program("./rope") as program:
        print(ropecore.conformance.run(program).text())

The protocol is described in examples/README.md, and by protocol.schema.json.
"""

import json
import math
import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ropecore import RopeError

from .arrays import SPECIAL, Array
from .verdicts import NotApplicable, Skip

PROTOCOL = "ropecore-command/1"
TIMEOUT = 10.0  # seconds for each answer
LEAVE = 2.0  # seconds to end after `stop`, or after closing its output
LONGEST = 2**26  # bytes of an answer
QUOTED = 300  # characters of a program's own words in a reason
QUESTION = ("plan", "config", "positions", "offset", "tensor_format", "role", "mode", "seq_len")  # of a vector
ANSWERS = ("y", "skipped", "refused", "errored")


class ProgramError(Exception):
    """A crash, silence, garbage, or an error that the program reports: the case is errored, and not failed."""


class Refused(RopeError):
    """The program refuses an argument (rope.md chapter 12)."""


class Program:
    """A program as a target: started once, and again after a crash or an answer that came too late.

    command: the program and its arguments, as in a shell, or as a list.  timeout: seconds for each answer.
    Raises RopeError where it cannot be started, or does not answer `start` as the protocol says.
    """

    RopeError = Refused

    def __init__(self, command: str | Sequence[str], timeout: float = TIMEOUT) -> None:
        self.argv = shlex.split(command, posix=os.name == "posix") if isinstance(command, str) else list(command)
        self.timeout = timeout
        self._number = 0
        self._running: _Running | None = None
        if not self.argv or not timeout > 0:
            raise RopeError("command", (command, timeout), "must be a program, and a timeout above 0")
        try:
            self.capabilities = capabilities(self._process().ready)
        except ProgramError as error:
            self._end()
            cure = "It must answer {'command': 'start'} on its standard output: see conformance/examples/README.md."
            raise RopeError("command", command, f"cannot be used: {error}", cure) from error

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
        """Return the program's rotation of x; the case has the plan, the positions and the mode as the vector writes them."""
        self._number += 1
        question = {key: case[key] for key in QUESTION}
        vector = str(case.get("id", ""))
        reply = self._ask(
            {"command": "run", "id": self._number, "vector": vector, "dtype": case["dtype"], "x": encode(x), **question}
        )
        return result(reply, x.dtype)

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a message; a program that gave none is ended, and started again for the next."""
        try:
            reply = self._process().ask(message, self.timeout)
            if reply.get("id") != message["id"] or isinstance(reply["id"], bool):
                raise ProgramError(f"it answers id {reply.get('id')!r}, asked was {message['id']}")
            if sum(key in reply for key in ANSWERS) != 1:
                raise ProgramError(f"its answer has not one of {', '.join(ANSWERS)}: {_cut(json.dumps(reply))}")
        except ProgramError:
            self._end()
            raise
        return reply

    def _process(self) -> "_Running":
        if self._running is None:
            self._running = _Running(self.argv, self.timeout)
        return self._running

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.kill()

    def close(self) -> None:
        """Ask the program to stop, and end it if it does not."""
        if self._running is not None:
            self._running.stop()
        self._end()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Running:
    """One process of the program, which has answered `start` with `ready`."""

    def __init__(self, argv: Sequence[str], timeout: float) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe would fill up: nobody reads it)
        self._late = False
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=self._errors, start_new_session=True)
        except OSError as error:
            self._errors.close()
            raise ProgramError(str(error)) from error
        try:
            self.ready = self.ask({"command": "start", "protocol": PROTOCOL}, timeout)
        except ProgramError:
            self.kill()
            raise

    def ask(self, message: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Return the answer to a message.  The timer ends the process, so that neither writing nor reading can hang."""
        timer = threading.Timer(timeout, self._too_late)
        timer.daemon = True
        timer.start()
        answer = b""
        try:
            self._send(message)
            answer = self._output.readline(LONGEST)
        except OSError:
            pass  # it has ended: there is no answer
        finally:
            timer.cancel()
        if self._late:
            raise ProgramError(f"no answer within {timeout:g} s")
        if not answer.endswith(b"\n"):
            raise ProgramError(
                f"{_cut(answer.decode(errors='replace'))!r} is no line" if answer else self._last_words()
            )
        return parse(answer)

    @property
    def _output(self) -> Any:
        return self._process.stdout

    def _send(self, message: Mapping[str, Any]) -> None:
        stdin: Any = self._process.stdin
        stdin.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        stdin.flush()

    def _too_late(self) -> None:
        self._late = True
        self._signal()

    def _signal(self) -> None:
        """End the process and its children, which may hold its output open; before `wait`, while its number is its own."""
        if self._process.returncode is not None:
            return
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def _last_words(self) -> str:
        """Return how a process that has no more to say has ended."""
        try:
            status = self._process.wait(LEAVE)
        except subprocess.TimeoutExpired:
            how = "it closed its output"
        else:
            how = f"it was ended by {_signal_name(-status)}" if status < 0 else f"it ended with status {status}"
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4 * QUOTED))
        words = self._errors.read().decode(errors="replace").strip()
        return f"{how}, saying {words[-QUOTED:]!r}" if words else how

    def stop(self) -> None:
        """Say `stop`, and wait a little."""
        with suppress(OSError, subprocess.TimeoutExpired):
            self._send({"command": "stop"})
            self._process.wait(LEAVE)

    def kill(self) -> None:
        """End the process and release its files."""
        self._signal()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(OSError):  # what was not written cannot be
                    stream.close()


def capabilities(ready: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the answer to `start` declares, as a target's mapping; its values are checked there."""
    if ready.get("protocol") != PROTOCOL:
        raise ProgramError(f"it speaks {ready.get('protocol')!r}, wanted {PROTOCOL!r}")
    about = {key: ready.get(key) for key in ("name", "version", "language")}
    for key, value in about.items():
        if not isinstance(value, str):
            raise ProgramError(f"its answer to start has no {key}")
    declared = ready.get("capabilities", {})
    if not isinstance(declared, dict):
        raise ProgramError("its capabilities are no object")
    return {**declared, **about}


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
    """Return the array of an answer as float64; anything but {"shape", "data"} with so many numbers is garbage."""
    if not isinstance(source, dict) or not {"shape", "data"} <= set(source):
        raise ProgramError("its y is no object with shape and data")
    shape, data = source["shape"], source["data"]
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ProgramError(f"its y has the shape {_cut(repr(shape))}")
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise ProgramError(f"its y has not the {math.prod(shape)} numbers of its shape")
    for value in data:
        if type(value) not in (int, float) and value not in SPECIAL:
            raise ProgramError(f"its y holds {_cut(repr(value))}, which is no number")
    try:
        return np.array([float(value) for value in data], np.float64).reshape(shape)
    except OverflowError as error:
        raise ProgramError("its y holds an integer beyond float64") from error


def parse(line: bytes) -> dict[str, Any]:
    """Return a line as a JSON object; "-0", as C prints it, keeps its sign."""
    try:
        value = json.loads(line, parse_int=lambda text: -0.0 if text == "-0" else int(text), parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"{_cut(line.decode(errors='replace'))!r} is no JSON object") from error
    if not isinstance(value, dict):
        raise ProgramError(f"{_cut(line.decode(errors='replace'))!r} is no JSON object")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _cut(text: str) -> str:
    return text if len(text) <= QUOTED else text[:QUOTED] + ".."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
