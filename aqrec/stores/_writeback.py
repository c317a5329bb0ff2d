"""Large files on their way to the disk while they are still being written."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

__all__ = ["Writeback"]

STEP: Final = 8 << 20
"""Bytes between two requests."""

_SYNC_FILE_RANGE_WRITE: Final = 2


class Writeback:
    """Has Linux write out a file as it grows, so that the sync at its end finds little to do.

    Left alone, the kernel keeps new pages for seconds, and a disk that could have been busy all the time begins at the
    sync. This takes nothing from it: what a write-out does not achieve, the sync does or reports.

    Parameters
    ----------
    fd
        Of a file written from its beginning on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun = 0
        self._size = 0

    def wrote(self, count: int) -> None:
        """Note that so many bytes more are in the file."""
        self._size += count
        waiting = self._size - self._begun
        if waiting >= STEP:
            if (write_out := _sync_file_range()) is not None:
                write_out(self._fd, self._begun, waiting, _SYNC_FILE_RANGE_WRITE)
            self._begun = self._size


@cache
def _sync_file_range() -> Any:
    import ctypes  # noqa: PLC0415 - only large objects need it

    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function
