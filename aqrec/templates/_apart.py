"""Work in a process of its own, for what would keep this one's loop waiting however it is run here.

Drawing is thousands of short calls into libraries which give the interpreter's lock away and take it back at once, so that a loop
in another thread hardly gets it. The process is an interpreter of its own that knows nothing of the script which is running: no
guard is needed there.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from aqrec.errors import WorkerLostError
from aqrec.templates._calls import call

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["apart", "nobody_waits"]

T = TypeVar("T")

nobody_waits: ContextVar[bool] = ContextVar("aqrec_nobody_waits", default=False)
"""Whether this process has no loop but ours, as a worker has none: then nothing needs to be done apart"""

_CHILD = """\
import pickle, sys
sys.path[:], packed = pickle.load(sys.stdin.buffer)
from aqrec.templates._apart import answer
answer(packed)
"""


async def apart(function: Callable[..., T], *args: Any) -> T:
    """Return what a function of a module returns, called in a process of its own; in a thread where there can be none.

    Waits for the process to end; cancelling kills it.
    """
    if nobody_waits.get() or not sys.executable or getattr(sys, "frozen", False):
        return await call(function, *args)
    child = _Child()
    try:
        return await call(child.run, function, args)
    finally:
        child.stop()


class _Child:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Start the process, hand the call over, and wait for its result."""
        packed = pickle.dumps((sys.path, pickle.dumps((function, args), protocol=5)), protocol=5)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError:  # this system lets us start none
            return function(*args)
        with process:
            self._process = process
            if self._stopped:
                process.kill()
            output, said = process.communicate(packed)
        if not output:
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise WorkerLostError(
                f"the process that was to run {function.__name__} ended with {process.returncode} and no result"
                f"{': ' if last else ''}{last}"
            )
        done, result = pickle.loads(output)
        if not done:
            raise result
        return result

    def stop(self) -> None:
        """End the process, if it has not ended."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()


def answer(packed: bytes) -> None:
    """Make a call and write its result to standard output; in the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who waits
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # what anybody prints is no result
        try:
            function, args = pickle.loads(packed)
            result: tuple[bool, Any] = True, function(*args)
        except Exception as error:  # noqa: BLE001 - raised where the call came from
            result = False, error
        output.write(pickle.dumps(result, protocol=5))
