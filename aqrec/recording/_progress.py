"""How far a transfer of files is, told to a function or shown as a bar."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from aqrec.errors import InvalidInputError

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncGenerator

__all__ = ["Meter", "Progress", "Track", "as_progress", "metered"]

Progress: TypeAlias = bool | Callable[[int, int], object]
"""False: none. True: a bar on standard error, if that is a terminal. A function: ``(done bytes, total bytes)``."""

_INTERVAL = 0.05
_ENOUGH_TO_TELL = 1 << 20


class Meter:
    """Counts the bytes and files of one transfer, from any thread.

    Parameters
    ----------
    total, files
        How many there will be.
    tell
        Called with done and total bytes and done files, one call at a time, at most every 0.05 s. None: nobody listens.
    """

    def __init__(self, total: int, files: int, tell: Callable[[int, int, int], object] | None) -> None:
        self.total = total
        self.files = files
        self._tell = tell
        self._done = 0
        self._done_files = 0
        self._lock = threading.Lock()
        self._next = 0.0

    def add(self, count: int, files: int = 0) -> None:
        """Count, and tell if it is time."""
        with self._lock:
            self._done += count
            self._done_files += files
            if self._tell is not None and time.monotonic() >= self._next:
                self._tell(self._done, self.total, self._done_files)
                self._next = time.monotonic() + _INTERVAL

    def tell(self) -> None:
        """Tell now."""
        with self._lock:
            if self._tell is not None:
                self._tell(self._done, self.total, self._done_files)


class Track:
    """One file's share of a `Meter`; what is copied again counts once."""

    def __init__(self, meter: Meter, size: int) -> None:
        self._meter = meter
        self._size = size
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count bytes that were copied; never more than the file has."""
        with self._lock:
            count = min(count, self._size - self._done)
            self._done += count
        if count:
            self._meter.add(count)

    def again(self) -> None:
        """Begin anew."""
        with self._lock:
            count, self._done = self._done, 0
        self._meter.add(-count)

    def finish(self) -> None:
        """Count the file as done."""
        with self._lock:
            count, self._done = self._size - self._done, self._size
        self._meter.add(count, 1)

    def counted(self, file: BinaryIO) -> BinaryIO:
        """Return a file whose writes are counted and go on to `file`."""
        return cast("BinaryIO", _Counted(file, self))

    def counted_source(self, file: BinaryIO) -> BinaryIO:
        """Return a file of which what is read by `readinto` is counted."""
        return cast("BinaryIO", _CountedSource(file, self))


class _CountedSource:
    def __init__(self, file: BinaryIO, track: Track) -> None:
        self._file = cast("io.RawIOBase", file)
        self._track = track

    def readinto(self, buffer: memoryview) -> int | None:
        count = self._file.readinto(buffer)
        self._track.add(count or 0)
        return count


class _Counted:
    def __init__(self, file: BinaryIO, track: Track) -> None:
        self._file = file
        self._track = track

    def write(self, data: Any) -> int:
        view = memoryview(data)
        for start in range(0, len(view), _ENOUGH_TO_TELL):
            piece = view[start : start + _ENOUGH_TO_TELL]
            written = self._file.write(piece)
            self._track.add(written)
            if written < len(piece):
                return start + written
        return len(view)


def as_progress(given: object) -> Progress:
    """Return what was given as ``progress`` if it is such a thing, else raise `InvalidInputError`."""
    if isinstance(given, bool) or callable(given):
        return cast("Progress", given)
    raise InvalidInputError(f"progress is {given!r}: give True, False or a function of (done, total) bytes")


@asynccontextmanager
async def metered(progress: Progress, total: int, files: int) -> AsyncGenerator[Meter]:
    """Show or tell the progress of a transfer of so many bytes and files, from its begin to its end.

    A function is called in worker threads, never two calls at once, and at the end of a transfer that succeeds with
    all bytes done. What it raises ends the transfer.
    """
    if callable(progress):
        function = progress
        meter = Meter(total, files, lambda done, total, _: function(done, total))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, meter.tell)
        yield meter
        await loop.run_in_executor(None, meter.tell)
        return
    if not progress or (console := _terminal()) is None:
        yield Meter(total, files, None)
        return
    from rich.progress import (  # noqa: PLC0415 - see _terminal
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[files]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, files="")

        def show(done: int, total: int, done_files: int) -> None:
            bar.update(task, completed=done, total=total, files=f"{done_files:,}/{files:,} files")

        meter = Meter(total, files, show)
        meter.tell()
        yield meter
        meter.tell()


def _terminal() -> Any:
    """Return the console of standard error, or None where no bar can be drawn."""
    from rich.console import Console  # noqa: PLC0415 - keeps the import of aqrec light

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None
