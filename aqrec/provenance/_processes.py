"""Run a few short programs at once, with a deadline and bounded output.

Apart from its caller because it loads `subprocess`, which importing aqrec must not.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Outcome", "run_all"]

_CHUNK = 1 << 16
_ERROR_LIMIT = 1 << 14
_GRACE = 0.5


class Outcome(msgspec.Struct, frozen=True):
    """How one program ended, and what it wrote.

    Attributes
    ----------
    ended
        ``finished`` by itself (see `code`), killed because its output was ``too long`` or because the time
        was ``timed out``; ``not found``: there is no such program (or folder); ``not started`` for another
        reason.
    code
        Exit code; None unless it finished.
    output
        Standard output, at most the limit.
    errors
        Standard error, at most 16 KiB; the reason when it was not started.
    """

    ended: Literal["finished", "too long", "timed out", "not found", "not started"]
    code: int | None = None
    output: bytes = b""
    errors: bytes = b""


class _Program:
    """One running program and what it wrote so far."""

    def __init__(self, process: subprocess.Popen[bytes], limit: int, deadline: float) -> None:
        self.process = process
        self.deadline = deadline
        self.output = bytearray()
        self.errors = bytearray()
        self.limit = limit
        self.too_long = False

    def read(self, descriptor: int, *, is_output: bool) -> bool:
        """Read once; False at the end of the stream, or when no more is wanted."""
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return False
        if not is_output:
            self.errors += chunk[: _ERROR_LIMIT - len(self.errors)]
            return True
        room = self.limit - len(self.output)
        self.output += chunk[:room]
        self.too_long = len(chunk) > room
        return not self.too_long

    def kill(self) -> None:
        """End the program and what it started."""
        # Not poll(): as long as it is not reaped its group's id cannot have gone to others.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> int | None:
        """Release the pipes and collect the exit code; None if it cannot be killed (a hung file system)."""
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        try:
            return self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return None


def run_all(
    commands: Mapping[str, Sequence[str]],
    *,
    cwd: str,
    environment: Mapping[str, str],
    timeout: float,
    limits: Mapping[str, int],
    patience: Mapping[str, float],
) -> dict[str, Outcome]:
    """Run all `commands` side by side and return how each ended.

    Programs read nothing, own no terminal, and write nowhere but into the outcome. All end within `timeout`
    seconds together: what is still running then is killed with its descendants, and what it wrote by then is
    kept.

    Parameters
    ----------
    commands
        Argument lists by a name of the caller's.
    cwd
        Folder to run in.
    environment
        The complete environment.
    timeout
        Seconds for all of them.
    limits
        Bytes of standard output to keep, by name; a program that writes more is killed.
    patience
        Seconds by name, for those that get less than `timeout`.
    """
    begun = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    programs: dict[str, _Program] = {}
    try:
        for name, command in commands.items():
            try:
                process = _start(command, cwd, environment)
            except FileNotFoundError as error:
                outcomes[name] = Outcome("not found", errors=_message(error))
            except (OSError, RuntimeError) as error:  # RuntimeError: the interpreter is going down
                outcomes[name] = Outcome("not started", errors=_message(error))
            else:
                deadline = begun + min(timeout, patience.get(name, timeout))
                programs[name] = _Program(process, limits[name], deadline)
        unfinished = _read(programs)
    finally:
        for program in programs.values():
            program.kill()
        codes = {name: program.close() for name, program in programs.items()}
    for name, program in programs.items():
        ended: Literal["finished", "too long", "timed out"] = "finished"
        if program.too_long:
            ended = "too long"
        elif name in unfinished:
            ended = "timed out"
        outcomes[name] = Outcome(
            ended,
            codes[name] if ended == "finished" else None,
            bytes(program.output),
            bytes(program.errors),
        )
    return {name: outcomes[name] for name in commands}


def _start(command: Sequence[str], cwd: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 -- an argument list of ours, no shell
        list(command),
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        process_group=0,  # one signal reaches its descendants, and Ctrl-C in the terminal does not
    )


def _message(error: Exception) -> bytes:
    return str(error).encode("utf-8", "backslashreplace")


def _read(programs: Mapping[str, _Program]) -> set[str]:
    """Read all pipes until every program has ended; return the names of those that had not by their deadline."""
    unfinished: set[str] = set()
    with selectors.DefaultSelector() as selector:
        for name, program in programs.items():
            for stream, is_output in ((program.process.stdout, True), (program.process.stderr, False)):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ, (name, program, is_output))
        while waiting := list(selector.get_map().values()):
            now = time.monotonic()
            for key in waiting:
                name, program, _ = key.data
                if program.deadline <= now:
                    selector.unregister(key.fileobj)
                    program.kill()
                    unfinished.add(name)
            for key, _ in selector.select(max(min(key.data[1].deadline for key in waiting) - now, 0.0)):
                name, program, is_output = key.data
                if not program.read(key.fd, is_output=is_output):
                    selector.unregister(key.fileobj)
                if program.too_long:
                    program.kill()
    for name, program in programs.items():
        if name not in unfinished:
            try:
                # Its pipes are closed, so it is about to exit.
                program.process.wait(max(program.deadline - time.monotonic(), 0.05))
            except subprocess.TimeoutExpired:
                unfinished.add(name)
    return unfinished
