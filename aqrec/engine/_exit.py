"""Ends of the process: none of them loses what was logged or leaves a run RUNNING that no longer runs.

- interpreter exit: open runs end FINISHED, or FAILED if an exception went uncaught;
- SIGTERM, SIGHUP (only where nobody else handles them): FAILED, then the signal takes its course;
- fork: the child is a writer of its own, flushes at its exit, and does not end its parent's runs.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Any

from aqrec.engine._engine import Engine
from aqrec.engine._registry import engines, reset_registry
from aqrec.engine._runtime import on_use, reset_runtime
from aqrec.format._records import STATUS_FA, STATUS_FI

__all__ = ["disown", "own", "shut_down"]

logger = logging.getLogger("aqrec")

Finish = Callable[[str, str], Awaitable[None]]
"""``await finish(status, reason)`` ends a run."""

_GRACE = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class _Exit:
    def __init__(self) -> None:
        self.owned: dict[tuple[int, str], tuple[Engine, Finish]] = {}
        self.installed = False
        self.uncaught = ""
        self.handlers: dict[int, Any] = {}
        self.finalizer_of = 0


_exit = _Exit()


def own(engine: Engine, run_id: str, finish: Finish) -> None:
    """Make this process end the run if nobody has by the time it exits."""
    _exit.owned[id(engine), run_id] = (engine, finish)


def disown(engine: Engine, run_id: str) -> None:
    """Give up the responsibility: the run has ended."""
    _exit.owned.pop((id(engine), run_id), None)


def _install() -> None:
    state = _exit
    if not state.installed:
        state.installed = True
        atexit.register(_at_exit)
        previous = sys.excepthook

        def note_uncaught(
            kind: type[BaseException], error: BaseException, trace: TracebackType | None
        ) -> None:
            state.uncaught = f"uncaught {kind.__name__}: {error}"
            previous(kind, error, trace)

        sys.excepthook = note_uncaught
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _on_signal)
    # A multiprocessing child skips atexit; whether this is one shows in what it has imported.
    util = sys.modules.get("multiprocessing.util")
    if util is not None and state.finalizer_of != os.getpid():
        state.finalizer_of = os.getpid()
        util.Finalize(None, shut_down, args=(STATUS_FI, "the child process ended"), exitpriority=10)


def shut_down(status: str, reason: str) -> None:
    """End all open runs with `status` and close all engines, bounded by their deadlines."""
    futures: list[tuple[Engine, Future[None], float]] = []
    for engine in engines():
        runtime = engine.runtime
        if runtime is None or engine.closed or engine.pid != os.getpid():
            continue
        finishers = [finish for other, finish in list(_exit.owned.values()) if other is engine]
        limit = engine.options.close_timeout
        futures.append((engine, runtime.submit(_finish(engine, finishers, status, reason, limit)), limit))
    for engine, future, limit in futures:
        try:
            future.result(limit + _GRACE)
        except Exception as error:  # noqa: BLE001 - the exit goes on
            logger.error("aqrec: %s: %s", engine.store.url, error or engine.unstored())
    _exit.owned.clear()


async def _finish(engine: Engine, finishers: list[Finish], status: str, reason: str, limit: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit * 0.8):
            results = await asyncio.gather(
                *(finish(status, reason) for finish in finishers), return_exceptions=True
            )
        for result in results:
            if isinstance(result, Exception):
                logger.error("aqrec: a run could not be ended: %s", result)
    await engine.close(max(end - loop.time(), 0.1))


def _at_exit() -> None:
    if _exit.uncaught:
        shut_down(STATUS_FA, _exit.uncaught)
    else:
        shut_down(STATUS_FI, "the interpreter exited")


def _on_signal(number: int, frame: FrameType | None) -> None:
    del frame
    shut_down(STATUS_FA, f"signal {signal.Signals(number).name}")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _after_fork() -> None:
    reset_registry()
    reset_runtime()
    _exit.owned.clear()
    _exit.uncaught = ""
    for engine in engines():
        engine.after_fork()


on_use.append(_install)
os.register_at_fork(after_in_child=_after_fork)
