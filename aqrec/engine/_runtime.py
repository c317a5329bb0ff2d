"""The engine thread: one event loop of our own, on which all of this process's store I/O runs.

It makes the faces simple and alike: the caller's loop (asyncio or trio), plain threads, a notebook's running loop and the
interpreter's exit all hand over a coroutine and wait. A caller that is cancelled stops waiting; what is being written is not torn.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from aqrec.engine._executor import ExitSafeExecutor
from aqrec.engine._leaving import leaving
from aqrec.errors import ClosedError

__all__ = ["THREAD_NAME", "Runtime", "bridge", "current_runtime", "follow", "reset_runtime"]

T = TypeVar("T")

THREAD_NAME = "aqrec-engine"
_WORKERS = 6
_GRACE = 5.0

on_use: list[Callable[[], None]] = []
"""Called on the caller's thread whenever somebody begins to use the runtime: signals can only be watched from the main one."""


class Runtime:
    """Event loop, its thread and its worker threads; started on first use, stopped when the last user leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._executor: ExitSafeExecutor | None = None
        self._users = 0

    def acquire(self) -> None:
        """Count one more user; starts the thread. Raises `ClosedError` once the interpreter is finalizing."""
        _refuse_when_finalizing()
        for hook in on_use:
            hook()
        with self._lock:
            self._users += 1
            self._start()

    def release(self) -> None:
        """Count one user less; the last one stops the thread and waits for its end (unless called on it)."""
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None:
                return
            loop, thread, executor = self._loop, self._thread, self._executor
            self._loop = self._thread = self._executor = None
        if leaving.finalizing:
            return  # the threads stand still for ever
        loop.call_soon_threadsafe(loop.stop)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_GRACE)
        if executor is not None:
            executor.shutdown()

    async def arelease(self) -> None:
        """Do as `release`, from any event loop: joining threads takes microseconds, but not on the caller's loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.release()
        else:
            await asyncio.shield(loop.run_in_executor(None, self.release))

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._executor = ExitSafeExecutor(_WORKERS, "aqrec-io")
            self._loop.set_default_executor(self._executor)
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name=THREAD_NAME, daemon=True
            )
            self._thread.start()
        return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    @property
    def on_engine_thread(self) -> bool:
        """Whether the caller runs on the engine thread."""
        return threading.current_thread() is self._thread

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function` on the engine thread; safe in signal handlers."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile: nobody is left to be told
                loop.call_soon_threadsafe(function, *args)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the engine thread. Raises `ClosedError` when that has ended, or can run no more."""
        loop = self._loop
        try:
            _refuse_when_finalizing()
        except ClosedError:
            work.close()
            raise
        if loop is None:
            work.close()
            raise ClosedError("the recorder's engine is closed; open the store again")
        return asyncio.run_coroutine_threadsafe(work, loop)

    async def run(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T:
        """Run a coroutine on the engine thread and wait for it on the caller's loop.

        Cancelling cancels it there, or with `shield` only ends the wait.
        """
        if self.on_engine_thread:
            return await work
        future = self.submit(work)
        return await bridge(follow(future) if shield else future)

    def call(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T:
        """Run a coroutine on the engine thread and block for it.

        Ctrl-C cancels it there, or with `shield` only ends the wait.
        """
        if self.on_engine_thread:
            work.close()
            raise RuntimeError("a blocking call on aqrec's own engine thread would wait for itself for ever")
        future = self.submit(work)
        try:
            return follow(future).result()
        except BaseException:  # KeyboardInterrupt too: nobody waits for it any more
            if not shield:
                future.cancel()
            raise


def _refuse_when_finalizing() -> None:
    if leaving.finalizing:
        raise ClosedError(
            "the interpreter is finalizing, and what was recorded has been stored; close generators and blocks before the script ends"
        )


def follow(future: Future[T]) -> Future[T]:
    """Return a future with the same outcome, whose cancelling leaves the other alone."""
    follower: Future[T] = Future()

    def copy(done: Future[T]) -> None:
        if not follower.set_running_or_notify_cancel():
            return
        if done.cancelled():
            follower.set_exception(ClosedError("the operation was cancelled on the engine thread"))
        elif (error := done.exception()) is not None:
            follower.set_exception(error)
        else:
            follower.set_result(done.result())

    future.add_done_callback(copy)
    return follower


async def bridge(future: Future[T]) -> T:
    """Wait for a thread's future on whichever loop is running: asyncio or trio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return await _bridge_trio(future)
    waiting = asyncio.wrap_future(future)
    try:
        return await waiting
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if (
            waiting.cancelled() and task is not None and not task.cancelling()
        ):  # it was not the caller who cancelled
            raise ClosedError("the operation was cancelled on the engine thread") from None
        raise


async def _bridge_trio(future: Future[T]) -> T:
    trio: Any = sys.modules.get("trio")
    if trio is None:
        future.cancel()
        raise RuntimeError(
            "aqrec's async face needs a running asyncio or trio loop; use aqrec.sync in blocking code"
        )
    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(wake)
    try:
        await done.wait()
    except BaseException:
        future.cancel()
        raise
    try:
        return future.result()
    except CancelledError:
        raise ClosedError("the operation was cancelled on the engine thread") from None


_runtime = Runtime()


def current_runtime() -> Runtime:
    """Return this process's runtime."""
    return _runtime


def reset_runtime() -> None:
    """Forget the parent's thread after a fork; it does not exist here."""
    global _runtime  # noqa: PLW0603 - one runtime a process
    _runtime = Runtime()
