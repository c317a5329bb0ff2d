"""Requests of one store on the event loop: what cancelling and closing do to them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CancelScope

from ._jobs import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Calls"]

T = TypeVar("T")


class Calls:
    """The calls of one store that are made of requests.

    Parameters
    ----------
    owner
        Names the store in error messages, for example by its URL.

    Attributes
    ----------
    jobs
        The blocking work of the same store; it closes with the calls.
    """

    def __init__(self, owner: str) -> None:
        self.jobs = Jobs(owner)
        self._running: set[asyncio.Task[Any]] = set()

    async def read(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call that changes nothing; cancelling the caller cancels it.

        Raises
        ------
        ClosedError
            The store is closed.
        """
        task = self._start(call)
        try:
            return await task
        finally:
            task.cancel()

    async def write(self, call: Coroutine[Any, Any, T], *, on_cancel: Callable[[], None] | None = None) -> T:
        """Await a call whose effect must not come late: a cancelled caller gets its turn when it has ended.

        Parameters
        ----------
        on_cancel
            Called when the caller is cancelled, should make the call end soon.

        Raises
        ------
        ClosedError
            The store is closed.
        """
        task = self._start(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            await _ended(task)
            raise

    async def aclose(self) -> None:
        """Refuse new calls, and wait for those under way."""
        self.jobs.refuse()
        if self._running:
            loop = asyncio.get_running_loop()
            if mine := [task for task in self._running if task.get_loop() is loop]:
                await asyncio.wait(mine)
        await self.jobs.aclose()

    def _start(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        try:
            self.jobs.check_open()
        except BaseException:
            call.close()
            raise
        task = asyncio.get_running_loop().create_task(call)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


async def _ended(task: asyncio.Task[Any]) -> None:
    while not task.done():
        # a cancelled anyio scope cancels its tasks again and again until they leave it, hence the shield
        with CancelScope(shield=True), suppress(asyncio.CancelledError):
            await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # taken, so that the loop does not complain
