"""Large reads from plain files: by two threads, and hashed in order as the bytes come."""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fill_hashed"]

SMALLEST: Final = 16 << 20
"""Bytes below which another thread is not worth its start."""
CHUNK: Final = 4 << 20
"""Bytes read at once: what a processor's cache still holds when they are hashed."""


def fill_hashed(file: BinaryIO, target: memoryview, update: Callable[[memoryview], None]) -> int:
    """Fill a large buffer from a plain file, and move the file's position behind what was read.

    Copying from the operating system's cache, and the page faults of fresh memory, keep one processor busy; a second
    one helps with that, and between chunks whichever is there hashes what is complete.

    Parameters
    ----------
    file
        Only what is known to be no more than an open file of the operating system is read this way.
    target
        Of bytes.
    update
        Takes the bytes in their order, chunk by chunk; never called by two threads at once.

    Returns
    -------
    int
        How many bytes came: fewer than asked for at the end of the file, none if the buffer is not large or the file
        not plain.
    """
    if len(target) < SMALLEST or not _is_plain(file):
        return 0
    position = file.tell()
    count = _Filling(file, position, target, update).run()
    file.seek(position + count)
    return count


def _is_plain(file: BinaryIO) -> bool:
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    return type(raw) is io.FileIO and file.seekable()


class _Filling:
    def __init__(
        self, file: BinaryIO, position: int, target: memoryview, update: Callable[[memoryview], None]
    ) -> None:
        self._file = file
        self._position = position
        self._target = target
        self._update = update
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._end = len(target)
        self._begun = 0
        self._hashed = 0
        self._read: set[int] = set()
        self._error: BaseException | None = None

    def run(self) -> int:
        helper = threading.Thread(target=self._work, name="aqrec-read", daemon=True)
        try:
            helper.start()
        except RuntimeError:  # the interpreter is exiting and starts no threads
            started = False
        else:
            started = True
        self._work()
        while started:  # whatever interrupts this thread: the other one writes into the caller's memory
            try:
                helper.join()
            except BaseException as error:  # noqa: BLE001 - raised below
                self._fail(error)
            else:
                break
        if self._error is not None:
            raise self._error
        self._hash()
        return self._end

    def _work(self) -> None:
        try:
            while (start := self._next()) is not None:
                part = self._target[start : start + CHUNK]
                count = self._fill(part, self._position + start)
                with self._lock:
                    if count < len(part):
                        self._end = min(self._end, start + count)
                    self._read.add(start)
                self._hash()
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._fail(error)

    def _next(self) -> int | None:
        with self._lock:
            start = self._begun
            if start >= self._end or self._error is not None:
                return None
            self._begun += CHUNK
            return start

    def _fill(self, part: memoryview, position: int) -> int:
        done = 0
        # the number is asked for anew: a file that was closed or stopped meanwhile raises then
        while done < len(part) and (count := os.preadv(self._file.fileno(), [part[done:]], position + done)):
            done += count
        return done

    def _hash(self) -> None:
        """Hash what is complete, unless the other thread is at it."""
        if not self._hashing.acquire(blocking=False):
            return
        try:
            while self._hashed in self._read and self._hashed < self._end:
                self._update(self._target[self._hashed : min(self._hashed + CHUNK, self._end)])
                self._hashed += CHUNK
        finally:
            self._hashing.release()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
