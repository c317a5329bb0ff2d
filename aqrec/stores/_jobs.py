"""Blocking work on the event loop's default executor: what cancelling and closing do to it."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from aqrec.errors import ClosedError, InvalidInputError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Jobs"]

T = TypeVar("T")


class Jobs:
    """The blocking work of one store.

    Parameters
    ----------
    owner
        Names the store in error messages, for example by its URL.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._closed = False
        self._running: set[asyncio.Future[None]] = set()

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._closed

    def check_open(self) -> None:
        """Raise `ClosedError` after `aclose`, and `InvalidInputError` where no loop of asyncio runs."""
        import asyncio  # noqa: PLC0415 - costs more than the rest of the package

        if self._closed:
            raise ClosedError(f"the store {self._owner} is closed; open it again with open_store")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidInputError(
                f"the store {self._owner} needs an event loop of asyncio; on trio record and read through a "
                "Recorder or an ExperimentManager, which reach their store from a thread of their own"
            ) from None

    async def run(
        self,
        function: Callable[[], T],
        *,
        on_cancel: Callable[[], None] | None = None,
        discard: Callable[[T], None] | None = None,
        wait: bool = True,
    ) -> T:
        """Call `function` on the loop's default executor, and return its result or raise its exception.

        Parameters
        ----------
        on_cancel
            Called on the loop when the caller is cancelled while `function` runs: should make it end soon.
        discard
            Gets the result that a cancelled caller does not take. Must not block.
        wait
            Whether a cancelled call returns only when `function` has, so that no effect comes late. A
            function that has not begun is never called then.

        Raises
        ------
        ClosedError
            The store is closed, or the loop takes no work any more.
        """
        import asyncio  # noqa: PLC0415 - see check_open

        self.check_open()
        job = _Job(function)
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(None, job)
        except RuntimeError as error:
            raise ClosedError(
                f"the event loop that uses {self._owner} shuts down and takes no work"
            ) from error
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            if job.claim():
                if future.cancelled():
                    raise ClosedError(
                        f"the event loop that uses {self._owner} has dropped its work"
                    ) from None
                future.cancel()
            elif wait:
                if on_cancel is not None:
                    on_cancel()
                await _ended(future)
                job.drop(discard)
            raise
        return job.result()

    def refuse(self) -> None:
        """Take no new work from now on."""
        self._closed = True

    async def aclose(self) -> None:
        """Refuse new work, and wait until what runs has ended."""
        self.refuse()
        if self._running:
            import asyncio  # noqa: PLC0415 - see check_open

            loop = asyncio.get_running_loop()
            if mine := [future for future in self._running if future.get_loop() is loop]:
                await asyncio.wait(mine)


class _Job(Generic[T]):
    """One call, begun by the worker or dropped by the caller, whoever claims it first.

    The outcome is kept here and not in the future: a future refuses some exceptions (StopIteration), and
    complains about one that nobody takes.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._claimed = threading.Lock()
        self._value: T | None = None
        self._error: BaseException | None = None

    def claim(self) -> bool:
        return self._claimed.acquire(blocking=False)

    def __call__(self) -> None:
        if self.claim():
            try:
                self._value = self._function()
            except BaseException as error:  # noqa: BLE001 - raised in the caller's task
                self._error = error

    def result(self) -> T:
        error = self._error
        if error is not None:
            try:
                raise error
            finally:
                self._error = None
                del error  # its traceback refers to this frame
        value, self._value = self._value, None
        return cast("T", value)

    def drop(self, discard: Callable[[T], None] | None) -> None:
        if self._error is None and discard is not None:
            discard(cast("T", self._value))
        self._error = None


async def _ended(future: asyncio.Future[None]) -> None:
    import asyncio  # noqa: PLC0415 - see Jobs.run

    from anyio import CancelScope  # noqa: PLC0415 - only a cancelled call needs it

    while not future.done():
        # a cancelled anyio scope cancels its tasks again and again until they leave it, hence the shield
        with CancelScope(shield=True), suppress(asyncio.CancelledError):
            await asyncio.wait((future,))
