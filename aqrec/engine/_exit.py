"""Ends of the process: none of them loses what was logged or leaves a run RUNNING that no longer runs.

- interpreter exit: open runs end FINISHED, or FAILED if an exception went uncaught;
- SIGTERM, SIGHUP (only where nobody else handles them): FAILED, then the signal takes its course;
- fork: the child is a writer of its own, flushes at its exit, and does not end its parent's runs; while it records nothing, signals take it
  as if nobody watched.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import FrameType
from typing import Any

from aqrec.engine._engine import Engine
from aqrec.engine._leaving import leaving
from aqrec.engine._registry import engines, reset_registry
from aqrec.engine._runtime import on_use, reset_runtime
from aqrec.format._records import STATUS_FA, STATUS_FI

__all__ = ["disown", "own", "shut_down"]

logger = logging.getLogger("aqrec")

Finish = Callable[[str, str], Awaitable[None]]
"""``await finish(status, reason)`` ends a run."""

_GRACE = 1.0
_AGAIN = 0.002
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_PACKAGE = __name__.partition(".")[0]


class _Ending:
    """An engine on its way to its end."""

    def __init__(self, engine: Engine, future: Future[None]) -> None:
        self.engine = engine
        self.future = future
        self.deadline = time.monotonic() + engine.options.close_timeout + _GRACE

    @property
    def over(self) -> bool:
        return self.future.done() or time.monotonic() > self.deadline

    def wait(self) -> None:
        """Wait for the end, bounded, and say what was not stored."""
        engine = self.engine
        try:
            self.future.result(max(self.deadline - time.monotonic(), 0))
        except FutureTimeoutError:
            what = engine.unstored() or "the store did not answer"
            limit = engine.options.close_timeout
            logger.error("aqrec: gave up on %s after %g s: %s", engine.store.url, limit, what)
        except Exception as error:  # noqa: BLE001 - the exit goes on
            logger.error("aqrec: %s: %r", engine.store.url, error)


class _Exit:
    def __init__(self) -> None:
        self.owned: dict[tuple[int, str], tuple[Engine, Finish]] = {}
        self.endings: dict[Engine, _Ending] = {}
        self.signal = 0
        self.handled = 0
        """How many signals were handled"""
        self.finalizer_of = 0


class _Forking(threading.local):
    """What a thread that forks must have back."""

    mask: set[int | signal.Signals] | None = None
    """Its blocked signals, if more are blocked meanwhile"""


_exit = _Exit()
_forking = _Forking()


def own(engine: Engine, run_id: str, finish: Finish) -> None:
    """Make this process end the run if nobody has by the time it exits."""
    _exit.owned[id(engine), run_id] = (engine, finish)


def disown(engine: Engine, run_id: str) -> None:
    """Give up the responsibility: the run has ended."""
    _exit.owned.pop((id(engine), run_id), None)


def _watch() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _on_signal)
    # A multiprocessing child skips atexit; whether this is one shows in what it has imported.
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is None or process is None or process.parent_process() is None:
        return
    if _exit.finalizer_of != os.getpid():
        _exit.finalizer_of = os.getpid()
        util.Finalize(None, _at_child_end, exitpriority=10)


def shut_down(status: str, reason: str) -> None:
    """End all open runs with `status` and close all engines, bounded by their deadlines."""
    _begin_end(status, reason)
    for ending in list(_exit.endings.values()):
        ending.wait()
    _exit.owned.clear()


def _begin_end(status: str, reason: str) -> None:
    for engine in engines():
        runtime = engine.runtime
        if runtime is None or engine.closed or engine.pid != os.getpid() or engine in _exit.endings:
            continue
        finishers = [finish for other, finish in list(_exit.owned.values()) if other is engine]
        work = _finish(engine, finishers, status, reason, engine.options.close_timeout)
        _exit.endings[engine] = _Ending(engine, runtime.submit(work))


async def _finish(engine: Engine, finishers: list[Finish], status: str, reason: str, limit: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    engine.outage.end_by = time.monotonic() + limit * 0.8
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit * 0.8):
            results = await asyncio.gather(
                *(finish(status, reason) for finish in finishers), return_exceptions=True
            )
        for result in results:
            if isinstance(result, Exception):
                logger.error("aqrec: a run could not be ended: %s", result)
    await engine.close(max(end - loop.time(), 0.1))


def _outcome(error: BaseException | None, otherwise: str) -> tuple[str, str]:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return STATUS_FI, otherwise
    return STATUS_FA, f"uncaught {type(error).__name__}: {error}"


def _at_exit() -> None:
    # At a prompt every mistake typed leaves its exception there.
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    _leave(*_outcome(error, "the interpreter exited"))
    if isinstance(error, KeyboardInterrupt):
        # Python ends by SIGINT then, unless source code was run meanwhile, as some modules do when they are imported.
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102


def _at_child_end() -> None:
    # Python 3.13 has handled the exception by now, and shows nothing of it.
    _leave(*_outcome(sys.exception(), "the child process ended"))


def _leave(status: str, reason: str) -> None:
    leaving.at_exit = True
    shut_down(status, reason)
    if _exit.signal:
        _die(_exit.signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """End the runs, then let the signal take its course.

    The main thread, which runs this, may hold a lock that the engine thread needs. If it is in our code, it goes on there,
    and the signal comes again.
    """
    _exit.signal = number
    _exit.handled += 1
    if leaving.at_exit:
        return  # `_leave` has the last word
    leaving.by_signal = True
    reason = f"signal {signal.Signals(number).name}"
    _begin_end(STATUS_FA, reason)
    if _is_ours(frame) and not all(ending.over for ending in _exit.endings.values()):
        _thread.start_new_thread(_signal_again, (number, _exit.handled))  # a `Thread` takes locks to start
        return
    shut_down(STATUS_FA, reason)
    _die(number)


def _signal_again(number: int, handled: int) -> None:
    while (
        _exit.handled == handled
    ):  # one that comes just before the main thread begins to wait does not wake it
        time.sleep(_AGAIN)
        os.kill(os.getpid(), number)


def _is_ours(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
            return True
        frame = frame.f_back
    return False


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _before_fork() -> None:
    # Python forgets in the child what was caught and not handled yet, so what comes before the child is itself has to wait.
    ours = {number for number in _SIGNALS if signal.getsignal(number) is _on_signal}
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ours) if ours else None


def _after_fork_in_parent() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork() -> None:
    reset_registry()
    reset_runtime()
    _exit.owned.clear()
    _exit.endings.clear()
    _exit.signal = 0
    leaving.at_exit = leaving.by_signal = False
    for engine in engines():
        engine.after_fork()
    if _forking.mask is not None:
        # A child that records nothing has nothing to end: `_watch` returns when it does.
        for number in _SIGNALS:
            if signal.getsignal(number) is _on_signal:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


on_use.append(_watch)
# Now and not at first use: handlers that are registered after the import run before this one, and may still log.
atexit.register(_at_exit)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
