"""Artifacts in parts: what cuts a stream into them, and what shows them as one file."""

from __future__ import annotations

import bisect
import io
from collections import deque
from concurrent.futures import CancelledError
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, Protocol

from aqrec.artifacts._digest import Digest
from aqrec.artifacts._hashing import HashingWriter
from aqrec.errors import ClosedError, CorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from typing_extensions import Buffer

__all__ = ["CuttingWriter", "LimitedWriter", "OpenPart", "PartsReader", "TooLargeError"]

BLOCK = 8 << 20
"""Bytes fetched at once, of one part"""
AHEAD = 7
"""Blocks fetched beyond the one that is read, once two in a row were"""


class TooLargeError(Exception):
    """An artifact has more bytes than one object is to hold."""


class LimitedWriter(io.RawIOBase):
    """Passes writes on to a file, up to a number of bytes in all; beyond, raises `TooLargeError`."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        super().__init__()
        self._file = file
        self._left = limit

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        size = memoryview(data).nbytes
        if size > self._left:
            self._left = -1
        self.check()
        self._left -= size
        return self._file.write(data)

    def check(self) -> None:
        """Raise if the limit was passed, also where an encoder has swallowed that."""
        if self._left < 0:
            raise TooLargeError


class OpenPart(Protocol):
    """A part being written by `CuttingWriter`."""

    file: BinaryIO

    def finish(self, digest: Digest) -> None:
        """Store the part; return when that is done."""

    def abandon(self) -> None:
        """Store nothing of it; return when nothing goes on."""


class CuttingWriter(io.RawIOBase):
    """Passes writes on to one part after the other.

    Parameters
    ----------
    size
        Bytes of every part but the last.
    begin
        Called with the part's number, from 0.
    """

    def __init__(self, size: int, begin: Callable[[int], OpenPart]) -> None:
        super().__init__()
        self._size = size
        self._begin = begin
        self._part: OpenPart | None = None
        self._number = 0
        self._failed = False

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        """Take all of the bytes; after a failure nothing of the artifact may be used."""
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while view:
                if self._part is None:
                    self._open()
                room = self._size - self._filled
                self._hashing.write(view[:room])
                self._filled += min(room, len(view))
                view = view[room:]
                if self._filled == self._size:
                    self._finish()
        except BaseException:
            self._failed = True
            raise
        return size

    def finish(self) -> None:
        """Store the last part. An artifact without bytes gets one without bytes."""
        if self._failed:
            raise ValueError("a write has failed, and the artifact is not whole")
        if self._part is None and not self._number:
            self._open()
        if self._part is not None:
            self._finish()

    def abandon(self) -> None:
        """Give up the part that is not finished."""
        part, self._part = self._part, None
        if part is not None:
            part.abandon()

    def _open(self) -> None:
        self._part = self._begin(self._number)
        self._number += 1
        self._hashing = HashingWriter(self._part.file)
        self._filled = 0

    def _finish(self) -> None:
        part = self._part
        assert part is not None
        part.finish(self._hashing.digest())
        self._part = None


class PartsReader(io.RawIOBase):
    """Objects one after the other as one raw, seekable, read-only file, fetched in blocks; for one thread.

    Parameters
    ----------
    sizes
        Bytes of each part.
    fetch
        Begins to get the bytes ``[start, end)`` of a part, given by its number.
    name
        What error messages call the file.
    """

    def __init__(
        self, sizes: Sequence[int], fetch: Callable[[int, int, int], Future[bytes]], name: str
    ) -> None:
        super().__init__()
        self._blocks = [
            (part, start, min(start + BLOCK, size))
            for part, size in enumerate(sizes)
            for start in range(0, size, BLOCK)
        ]
        self._ends = list(accumulate(end - start for _, start, end in self._blocks))
        self._size = sum(sizes)
        self._fetch = fetch
        self._name = name
        self._position = 0
        self._current = -1
        self._view = memoryview(b"")
        self._pending: deque[tuple[int, Future[bytes]]] = deque()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move without fetching, also beyond the end."""
        position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        if position < 0:
            raise ValueError(f"cannot seek to {position}, before the beginning")
        self._position = position
        return position

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill the buffer as far as bytes are left."""
        target = memoryview(buffer).cast("B")
        done = 0
        while done < len(target) and self._position < self._size:
            number = bisect.bisect_right(self._ends, self._position)
            if number != self._current:
                self._move_to(number)
            offset = self._position - (self._ends[number] - len(self._view))
            piece = self._view[offset : offset + len(target) - done]
            target[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def close(self) -> None:
        """Drop what is fetched."""
        while self._pending:
            self._pending.popleft()[1].cancel()
        self._view = memoryview(b"")
        super().close()

    def _move_to(self, number: int) -> None:
        """Make a block the current one, and keep and fetch only what comes after it."""
        ahead = AHEAD if number == self._current + 1 else 0
        self._view = memoryview(b"")  # the memory of the block before is free from here on
        self._current = -1
        while self._pending and self._pending[0][0] != number:
            self._pending.popleft()[1].cancel()
        following = self._pending[-1][0] + 1 if self._pending else number
        for other in range(following, min(number + ahead, len(self._blocks) - 1) + 1):
            self._pending.append((other, self._fetch(*self._blocks[other])))
        part, start, end = self._blocks[number]
        try:
            data = self._pending.popleft()[1].result()
        except CancelledError as error:
            raise ClosedError(f"reading {self._name} was cancelled") from error
        if len(data) != end - start:
            raise CorruptError(
                f"part {part} of {self._name} ends after {start + len(data)} bytes, before its recorded size"
            )
        self._view = memoryview(data)
        self._current = number
