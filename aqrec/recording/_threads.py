"""What copies bytes: how much at once, so that the engine's few worker threads stay free for the journal, and to which end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from aqrec.errors import ClosedError

__all__ = ["LARGE", "all_of", "gates", "in_own_thread", "to_its_end"]

T = TypeVar("T")

LARGE = 8 << 20
"""From this size on, bytes, a copy takes long enough to be counted"""
_LARGE_AT_ONCE = 4
_REPLACED_AT_ONCE = 2


class Gates(NamedTuple):
    """What must be passed by work that keeps a worker thread."""

    large: asyncio.Semaphore
    """A large copy; taken before `replacing`"""
    replacing: asyncio.Semaphore
    """A write that waits in a worker thread for another one"""


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, Gates] = WeakKeyDictionary()


def gates() -> Gates:
    """Return the running loop's gates."""
    loop = asyncio.get_running_loop()
    found = _gates.get(loop)
    if found is None:
        found = _gates[loop] = Gates(asyncio.Semaphore(_LARGE_AT_ONCE), asyncio.Semaphore(_REPLACED_AT_ONCE))
    return found


async def in_own_thread(function: Callable[[], T], stop: Callable[[], None]) -> T:
    """Call a function that takes long or waits for worker threads, in a thread of its own.

    Cancelling calls `stop`, which must make the function end, and waits for that.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's task
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="aqrec-parts", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ClosedError("the interpreter is exiting; copy large artifacts before") from error
    waiting = asyncio.wrap_future(outcome)
    try:
        await asyncio.shield(waiting)
    except asyncio.CancelledError:
        stop()
        await _done(waiting)
        if not waiting.cancelled():
            waiting.exception()
        raise
    except BaseException:  # noqa: BLE001, S110 - raised below, once the thread is joined
        pass
    thread.join()
    return waiting.result()


async def all_of(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them; after a failure the others are cancelled and waited for, and the first is raised."""
    coroutines = list(work)
    try:
        async with asyncio.TaskGroup() as tasks:
            for coroutine in coroutines:
                tasks.create_task(coroutine)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that goes on to its end even if the caller is cancelled, who then waits all the same."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await _done(task)
        if not task.cancelled():
            task.exception()
        raise


async def _done(future: asyncio.Future[Any]) -> None:
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
