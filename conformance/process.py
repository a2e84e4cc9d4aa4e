"""A process that answers each line with a line, within a time and a size, and that ends with all
its children.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

LEAVE = 2.0  # seconds to end after it was asked to, or after closing its output
QUOTED = 300  # characters of a program's own words in a reason
PIECE = 1 << 16  # bytes that are read at once


class ProgramError(Exception):
    """A crash, silence, garbage, or an error that the program reports: the case is errored, and not
    failed.
    """


class Process:
    """A running program, in a group of its own.

    A thread writes and reads, so that neither can hold the caller longer than it waits: a child of
    the program may keep its output open, and may have left its group.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe would fill up: nobody reads it)
        self._rest = b""
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                argv, bufsize=0, stdin=pipe, stdout=pipe, stderr=self._errors, start_new_session=True
            )
        except (OSError, ValueError) as error:  # ValueError: an argument holds what no argument can
            self._errors.close()
            raise ProgramError(str(error)) from error

    def ask(self, line: bytes, deadline: float, largest: int) -> bytes:
        """Return the line that answers a line, before a time of `time.monotonic`, and of at most so
        many bytes.
        """
        answers: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._exchange, args=(line, largest, answers), daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            self._signal()
            raise ProgramError("no answer in time") from None
        if len(answer) > largest:
            raise ProgramError(f"its answer has more than {largest} bytes")
        if not answer.endswith(b"\n"):
            raise ProgramError(f"{quoted(answer)} is no line" if answer else self._last_words())
        return answer

    def _exchange(self, line: bytes, largest: int, answers: "SimpleQueue[bytes]") -> None:
        try:
            self._write(line)
            answers.put(self._line(largest))
        except (OSError, ValueError):  # it has ended, or its files are closed: there is no answer
            answers.put(b"")

    def _write(self, line: bytes) -> None:
        stdin: Any = self._process.stdin
        left = memoryview(line)
        while left:
            left = left[stdin.write(left) :]

    def _line(self, largest: int) -> bytes:
        """Return the next line, or what there is of it when it is too long or the output ends."""
        output: Any = self._process.stdout
        pieces, size = [self._rest], len(self._rest)
        while b"\n" not in pieces[-1] and size <= largest:
            piece = output.read(PIECE)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        line, end, self._rest = b"".join(pieces).partition(b"\n")
        return line + end

    def _ended(self, wait: float) -> bool:
        """Return whether the program has ended, and wait for that; it is not reaped, so that its
        number stays its group's.
        """
        if not hasattr(os, "waitid"):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait)
            return self._process.returncode is not None
        deadline = time.monotonic() + wait
        how = os.WEXITED | os.WNOWAIT | os.WNOHANG
        while True:
            try:
                if os.waitid(os.P_PID, self._process.pid, how) is not None:
                    return True
            except ChildProcessError:  # somebody else has reaped it
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)

    def _signal(self) -> None:
        """End the program and its children; before it is reaped, while the number of the group is
        its own.
        """
        if self._process.returncode is None:
            with suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()

    def _last_words(self) -> str:
        """Return how a program that has no more to say has ended."""
        how = "it closed its output"
        if self._ended(LEAVE):
            self._signal()  # its children, if any are left
            status = self._process.wait(LEAVE)
            how = f"it was ended by {_signal_name(-status)}" if status < 0 else f"it ended with status {status}"
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4 * QUOTED))
        words = self._errors.read(4 * QUOTED).decode(errors="replace").strip()
        return f"{how}, saying {words[-QUOTED:]!r}" if words else how

    def stop(self, line: bytes) -> None:
        """Send a last line, and wait a little."""
        answers: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._exchange, args=(line, 0, answers), daemon=True).start()
        self._ended(LEAVE)

    def kill(self) -> None:
        """End the program and its children, and release its files."""
        self._signal()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(OSError):  # what was not written cannot be
                    stream.close()

    @property
    def returncode(self) -> int | None:
        """The exit status, once it has ended and was waited for."""
        return self._process.returncode


def quoted(text: bytes) -> str:
    """Return the beginning of what a program said, for a reason."""
    words = text[: 4 * QUOTED].decode(errors="replace")
    return repr(words if len(words) <= QUOTED and len(text) <= 4 * QUOTED else words[:QUOTED] + "..")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
