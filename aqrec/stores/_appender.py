"""A growing file."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from typing import TYPE_CHECKING

from aqrec.errors import ClosedError, StorageError

from ._abc import Appender

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.errors import AqrecError

__all__ = ["LocalAppender", "write_all"]


class LocalAppender(Appender):
    """Appends to an open file, and takes nothing more once a call has failed.

    After a failed write the end of the file is unknown, and after a failed sync the kernel forgets what it
    could not write: going on would look like success.

    Parameters
    ----------
    fd
        Owned from now on.
    failure
        Makes our error of the operating system's.
    on_close
        Called once with this appender.
    """

    def __init__(
        self, fd: int, failure: Callable[[OSError], AqrecError], on_close: Callable[[LocalAppender], None]
    ) -> None:
        self._fd = fd
        self._failure = failure
        self._on_close = on_close
        self._broken = False
        self._lock = (
            threading.Lock()
        )  # the store may close it, and a worker sync it, while another thread writes

    def write(self, data: bytes) -> None:
        """Write all of `data` behind what is there."""
        with self._lock:
            self._check()
            self._broken = True
            try:
                write_all(self._fd, memoryview(data).cast("B"))
            except OSError as error:
                raise self._failure(error) from error
            self._broken = False

    def sync(self) -> None:
        """Call fdatasync; the file's name is durable since it was opened. Writing goes on meanwhile."""
        with self._lock:
            self._check()
            # A descriptor of its own: a slow disk must hold up neither `write` nor `close`.
            fd = os.dup(self._fd)
        try:
            os.fdatasync(fd)
        except OSError as error:
            with self._lock:
                self._broken = True
            raise self._failure(error) from error
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the file without syncing."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            self._on_close(self)
            os.close(fd)

    def _check(self) -> None:
        if self._fd < 0:
            raise ClosedError("this appender is closed; begin a new object with open_append")
        if self._broken:
            raise StorageError("an earlier call of this appender failed; close it and begin a new object")

    def __del__(self) -> None:
        if self._fd >= 0:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=1)
            self.close()


def write_all(fd: int, data: memoryview) -> None:
    """Write all of a flat view of bytes."""
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)
        if not written:
            raise OSError(errno.EIO, "the system takes no more bytes")
