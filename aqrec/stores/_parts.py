"""From a callback that writes in a thread to an upload in parts: few of them in memory, all of one size."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar, cast

from aqrec.errors import ClosedError

from ._files import SinkFile

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Parts"]

T = TypeVar("T")


class Parts:
    """What a thread writes, as an asynchronous iterator of parts.

    Made on the event loop that iterates.

    Parameters
    ----------
    size
        Bytes of each part but the last.
    waiting
        How many full parts may wait for the iterator; then the writing thread does.
    """

    def __init__(self, size: int, waiting: int) -> None:
        self._size = size
        self._limit = waiting
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._lock = threading.Condition()
        self._ready: deque[bytes] = deque()
        self._filling, self._filled = io.BytesIO(), 0
        self._ended = False
        self._failed = False
        self._stop = threading.Event()
        self._refusal: BaseException | None = None

    def check(self) -> None:
        """Raise `ClosedError` after `stop`."""
        if self._stop.is_set():
            raise ClosedError("the put_stream call was cancelled")

    def write_with(self, write: Callable[[BinaryIO], T]) -> tuple[T, bytes | None]:
        """Run `write` in this thread; return its result, and all bytes if they make no more than one part.

        The iterator raises if `write` does: what came before must not be stored.
        """
        begun = False

        def send(data: memoryview) -> None:
            nonlocal begun
            while self._filled + len(data) > self._size:
                room = self._size - self._filled
                self._filling.write(data[:room])
                data = data[room:]
                self._put()
                begun = True
            self._filled += self._filling.write(data)

        try:
            with SinkFile(send, self._stop) as sink:
                result = write(cast("BinaryIO", sink))
            sink.check()
            if begun and self._filled:
                self._put()
        except BaseException:
            self._end(failed=True)
            raise
        self._end(failed=False)
        return result, None if begun else self._filling.getvalue()

    def stop(self) -> None:
        """Make the callback's next write raise `ClosedError`, also one that waits."""
        self._stop.set()
        self.refuse(ClosedError("the put_stream call that this file belongs to was cancelled"))

    def refuse(self, error: BaseException) -> None:
        """Make the callback's next write raise `error`: nobody takes the parts any more."""
        with self._lock:
            self._refusal = self._refusal or error
            self._ready.clear()
            self._lock.notify_all()

    async def arrived(self) -> bool:
        """Wait for a part or the end, and tell whether there is a part."""
        while True:
            self._changed.clear()
            with self._lock:
                if self._ready or self._ended:
                    return bool(self._ready)
            await self._changed.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not await self.arrived():
            if self._failed:
                raise ClosedError("the callback of put_stream has failed")
            raise StopAsyncIteration
        with self._lock:
            part = self._ready.popleft()
            self._lock.notify_all()
        return part

    def _put(self) -> None:
        part = (
            self._filling.getvalue()
        )  # the buffer itself, since nobody else refers to it: clients send it uncopied
        self._filling, self._filled = io.BytesIO(), 0
        with self._lock:
            while len(self._ready) >= self._limit and self._refusal is None:
                self._lock.wait()
            if self._refusal is not None:
                raise self._refusal
            self._ready.append(part)
        self._loop.call_soon_threadsafe(self._changed.set)

    def _end(self, *, failed: bool) -> None:
        with self._lock:
            self._ended = True
            self._failed = failed
            if failed:
                self._ready.clear()
        self._loop.call_soon_threadsafe(self._changed.set)
