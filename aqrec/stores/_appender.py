"""A growing file."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from typing import TYPE_CHECKING

from aqrec.errors import AqrecError, ClosedError, StorageError

from ._abc import Appender

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._tree import Unsettled

__all__ = ["LocalAppender", "write_all"]


_DELETED = "it was deleted while it was written, and what it held is gone"


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
    name
        The file's name, if it is not durable yet; the first sync settles it. Owned from now on.
    """

    def __init__(
        self,
        fd: int,
        failure: Callable[[OSError], AqrecError],
        on_close: Callable[[LocalAppender], None],
        name: Unsettled | None = None,
    ) -> None:
        self._fd = fd
        self._pid = os.getpid()
        self._failure = failure
        self._on_close = on_close
        self._broken = False
        self._linked = os.fstat(fd).st_nlink > 0  # some file systems do not count names
        self._name = name
        self._named = name is None
        self._naming = threading.Lock()  # a second sync must not return before the name is durable either
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
        """Call fdatasync, and at first settle the file's name. Writing goes on meanwhile.

        A file that somebody has deleted keeps nothing: that is a failure.
        """
        with self._lock:
            self._check()
            # A descriptor of its own: a slow disk must hold up neither `write` nor `close`.
            fd = os.dup(self._fd)
        try:
            os.fdatasync(fd)
            if not self._named:
                self._settle_name()
            if self._linked and os.fstat(fd).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, _DELETED)
        except AqrecError:  # it was closed or has failed meanwhile
            raise
        except OSError as error:
            with self._lock:
                self._broken = True
            raise self._failure(error) from error
        finally:
            os.close(fd)

    def _settle_name(self) -> None:
        with self._naming:
            with self._lock:
                if self._named:
                    return
                self._check()
                name, self._name = self._name, None
            if name is not None:
                try:
                    name.settle()
                finally:
                    name.close()
            self._named = True

    def close(self) -> None:
        """Close the file without syncing."""
        with self._lock:
            fd, self._fd = self._fd, -1
            name, self._name = self._name, None
        if name is not None:
            name.close()
        if fd >= 0:
            self._on_close(self)
            os.close(fd)

    def _check(self) -> None:
        if self._fd < 0:
            raise ClosedError("this appender is closed; begin a new object with open_append")
        if self._broken:
            raise StorageError("an earlier call of this appender failed; close it and begin a new object")

    def __del__(self) -> None:
        if self._fd >= 0 and self._pid != os.getpid():
            # A forked child's copy of what its parent goes on with; the lock may be held for ever.
            os.close(self._fd)
            if self._name is not None:
                self._name.close()
        elif self._fd >= 0:
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
