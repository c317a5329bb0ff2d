"""A file over an object in a bucket: fetched in blocks, several at once for who reads from front to back."""

from __future__ import annotations

import asyncio
import io
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from aqrec.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from _typeshed import WriteableBuffer

__all__ = ["Download", "RangeFile"]


class RangeFile(io.RawIOBase):
    """Raw, seekable, read-only; to be used in one thread, and made on the event loop that fetches.

    Parameters
    ----------
    name
        Shown as the file's name.
    size
        Of the object, bytes.
    first
        The object's first block, on its way.
    block
        Bytes of a block.
    ahead
        How many blocks are fetched beyond the one that is read, where it is the first read of all at the object's
        beginning, or follows on the one before.
    fetch
        Returns the bytes ``[start, end)``, all of one version of the object, or raises.
    """

    def __init__(
        self,
        name: str,
        size: int,
        first: Future[bytes | memoryview],
        block: int,
        ahead: int,
        fetch: Callable[[int, int], Coroutine[Any, Any, bytes | memoryview]],
    ) -> None:
        super().__init__()
        self.name = name
        self._size = size
        self._block = block
        self._ahead = ahead
        self._fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._position = 0
        self._current = -1
        self._view = memoryview(b"")
        self._pending: dict[int, Future[bytes | memoryview]] = {0: first}
        self._stopped = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move without fetching, also beyond the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Copy from the block at the position, and wait for it if it is not there yet."""
        target = memoryview(buffer).cast("B")
        if self._position >= self._size or not len(target):
            return 0
        number, offset = divmod(self._position, self._block)
        if number != self._current:
            self._move_to(number)
        piece = self._view[offset : offset + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def stop(self) -> None:
        """Fetch no more, and make a waiting read raise `ClosedError`."""
        self._stopped = True
        for future in list(self._pending.values()):
            future.cancel()

    def close(self) -> None:
        """Drop what is fetched."""
        if not self.closed:
            self.stop()
            self._pending.clear()
            self._view = memoryview(b"")
        super().close()

    def _move_to(self, number: int) -> None:
        """Make a block the current one, and keep and fetch only what comes after it."""
        ahead = self._ahead if number == self._current + 1 else 0
        wanted = range(number, min(number + ahead, (self._size - 1) // self._block) + 1)
        for other in [other for other in self._pending if other not in wanted]:
            self._pending.pop(other).cancel()
        self._view = memoryview(b"")  # the memory of the block before is free from here on
        for other in wanted:
            if other not in self._pending:
                start = other * self._block
                call = self._fetch(start, min(start + self._block, self._size))
                self._pending[other] = asyncio.run_coroutine_threadsafe(call, self._loop)
        future = self._pending[number]
        if self._stopped:  # it may have been set while the fetches were ordered
            self.stop()
        try:
            block = future.result()
        except CancelledError as error:
            raise ClosedError("the get_stream call that this file belongs to was cancelled") from error
        del self._pending[number]
        self._current = number
        self._view = memoryview(block)


class Download:
    """A stream that is read, and how to stop it: by ending the first request, or the file."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.first: Future[bytes | memoryview] | None = None
        self.raw: RangeFile | None = None

    def stop(self) -> None:
        """Make the call end soon."""
        self.stopped.set()
        if self.raw is not None:
            self.raw.stop()
        elif self.first is not None:
            self.first.cancel()
