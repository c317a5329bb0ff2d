"""Calling code of the user's, which may be plain or async, from either face; never on the engine thread."""

from __future__ import annotations

import asyncio
import functools
import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
import anyio.from_thread
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["call", "call_blocking", "slots"]

T = TypeVar("T")

slots: ContextVar[anyio.CapacityLimiter | None] = ContextVar("aqrec_template_slots", default=None)
"""How many threads may compute at once; None: as many as the loop allows"""


async def call(function: Callable[..., Awaitable[T] | T], /, *args: Any, **kwargs: Any) -> T:
    """Call a function: a coroutine function on this loop, a plain one in a worker thread.

    The thread has this task's context. Cancelling ends the wait, but a thread cannot be stopped: it runs to
    its end and the result is dropped.
    """
    if inspect.iscoroutinefunction(function):
        return await cast("Awaitable[T]", function(*args, **kwargs))
    work = functools.partial(function, *args, **kwargs)
    result: Any = await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=slots.get())
    return cast("T", await result if inspect.isawaitable(result) else result)


def call_blocking(function: Callable[..., Awaitable[T] | T], /, *args: Any, **kwargs: Any) -> T:
    """Call a function in this thread, and wait for what it returns if that can be awaited.

    It is awaited on a loop of its own: in this thread, or in another one if a loop runs here already, as
    in a notebook.
    """
    result: Any = function(*args, **kwargs)
    if not inspect.isawaitable(result):
        return cast("T", result)

    async def wait() -> T:
        return cast("T", await result)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    with anyio.from_thread.start_blocking_portal() as portal:
        return portal.call(wait)
