"""The files that streaming calls hand to their callback: thin, without copies, stopped by cancellation."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from aqrec.errors import ClosedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["SinkFile", "SourceFile"]

READ_BUFFER: Final = 128 * 1024


class SinkFile(io.BufferedIOBase):
    """What `Store.put_stream` hands to `write`: each write goes on whole and at once.

    Parameters
    ----------
    send
        Takes all of a flat view of bytes, or raises.
    stop
        Once set, every write raises `ClosedError`. None if the file behind `send` sees to that.
    """

    mode = "wb"

    def __init__(self, send: Callable[[memoryview], None], stop: threading.Event | None = None) -> None:
        super().__init__()
        self._send = send
        self._stop = stop
        self._position = 0
        self._failure: BaseException | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Take all of `data` (C-contiguous, any item type) and return its number of bytes."""
        self._check_usable()
        view = memoryview(data)
        size = view.nbytes
        if size:  # an empty view of several dimensions cannot be cast
            flat = view.cast("B")
            try:
                self._send(flat)
            except BaseException as error:
                self._failure = error
                raise
            self._position += size
        return size

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def check(self) -> None:
        """Raise what went wrong on the way, even if the callback swallowed it: the object is not whole."""
        if self._failure is not None:
            raise self._failure
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise ClosedError("the put_stream call that this file belongs to was cancelled")

    def _check_usable(self) -> None:
        self._check_stop()
        if self.closed:
            raise ClosedError("this file is closed; it can be written only inside the callback of put_stream")
        if self._failure is not None:
            raise ClosedError(
                "an earlier write to this file failed; the object will not be stored"
            ) from self._failure


class SourceFile(io.BufferedReader):
    """What `Store.get_stream` hands to `read`: a buffered reader whose large reads go straight to `raw`.

    Parameters
    ----------
    raw
        Seekable; its ``name`` and ``fileno()`` show through.
    stop
        Once set, every read raises `ClosedError`.
    """

    def __init__(self, raw: io.RawIOBase, stop: threading.Event) -> None:
        super().__init__(raw, READ_BUFFER)
        self._source = raw
        self._stop = stop

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the raw file, also if the callback has detached it."""
        self._source.close()

    def fileno(self) -> int:
        """Return the number of the open file, which belongs to this call."""
        self._check()
        return super().fileno()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, fewer only at the end."""
        self._check()
        return super().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes with at most one raw read."""
        self._check()
        return super().read1(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as bytes are left, and return how many came."""
        self._check()
        return super().readinto(buffer)

    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` with at most one raw read, and return how many bytes came."""
        self._check()
        return super().readinto1(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read one line, of at most `size` bytes."""
        self._check()
        return super().readline(size)

    def peek(self, size: int = 0, /) -> bytes:
        """Return buffered bytes without advancing."""
        self._check()
        return super().peek(size)

    def _check(self) -> None:
        if self._stop.is_set():
            raise ClosedError("the get_stream call that this file belongs to was cancelled")
