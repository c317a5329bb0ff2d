"""Large artifacts in parts: written one after the other or side by side, and read as one file. On the engine thread.

A part is an object like any other: whole or not there. What makes the parts an artifact is the reference, which comes last.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import xxhash

from aqrec.artifacts import Digest, copy_file
from aqrec.artifacts._digest import ALGORITHM
from aqrec.artifacts._parts import CuttingWriter, PartsReader
from aqrec.errors import AqrecError, ClosedError, ConflictError
from aqrec.format import _layout as layout
from aqrec.format._records import ArtifactPart
from aqrec.recording._threads import gates, in_own_thread, to_its_end
from aqrec.stores._files import SourceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from pathlib import Path

    from aqrec.format._records import ArtifactRef
    from aqrec.recording._progress import Track
    from aqrec.stores import Store

__all__ = ["are_there", "get_stream", "left_over", "put_file", "put_stream"]

T = TypeVar("T")

_SCRATCH = 1 << 20

LeftOver = dict[tuple[int, str], tuple[str, int]]
"""Parts of interrupted saves: (number, digits of the checksum) → (key, size)"""


# -- streams ---------------------------------------------------------------------------------------------------------


async def put_stream(
    store: Store, folder: str, write: Callable[[BinaryIO], Digest], size: int
) -> tuple[Digest, list[ArtifactPart]]:
    """Store what `write` writes in parts of `size` bytes, one after the other; if it fails, nothing stays."""
    loop = asyncio.get_running_loop()
    stored: list[ArtifactPart] = []
    begun: list[str] = []
    under_way: set[asyncio.Task[Any]] = set()
    stopped = threading.Event()

    async def begin(part: _StreamPart) -> None:
        task = asyncio.create_task(store.put_stream(part.key, part.hand_over))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        task.add_done_callback(part.ended)
        if stopped.is_set():
            task.cancel()

    def open_part(number: int) -> _StreamPart:
        begun.append(layout.artifact_part_key(folder, number))
        part = _StreamPart(begun[-1], stored)
        asyncio.run_coroutine_threadsafe(begin(part), loop).result()
        part.wait_for_file()
        return part

    def cut() -> Digest:
        writer = CuttingWriter(size, open_part)
        try:
            digest = write(cast("BinaryIO", writer))
            writer.finish()
        except BaseException:
            writer.abandon()
            raise
        return digest

    def stop() -> None:
        stopped.set()
        for task in under_way:
            task.cancel()

    try:
        digest = await in_own_thread(cut, stop)
    except BaseException:
        with contextlib.suppress(AqrecError):  # what went wrong first is what matters
            await to_its_end(store.delete(begun))
        raise
    return digest, stored


class _StreamPart:
    """One part, whose file the store opens in a worker thread and `CuttingWriter` fills in another."""

    file: BinaryIO

    def __init__(self, key: str, stored: list[ArtifactPart]) -> None:
        self.key = key
        self._stored = stored
        self._opened: Future[BinaryIO] = Future()
        self._written: Future[None] = Future()
        self._ended: Future[None] = Future()

    def hand_over(self, file: BinaryIO) -> None:
        """Be the callback of `Store.put_stream`: give the file away until it is written."""
        self._opened.set_result(file)
        self._written.result()

    def ended(self, task: asyncio.Task[Any]) -> None:
        """Take note of what became of the call."""
        if task.cancelled():
            self._ended.set_exception(ClosedError("the save that this part belongs to was cancelled"))
        elif (error := task.exception()) is not None:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)
        if not self._opened.done():
            self._opened.cancel()

    def wait_for_file(self) -> None:
        """Wait until the store has opened the file; raise why it does not."""
        try:
            self.file = self._opened.result()
        except BaseException:
            self._ended.result()
            raise

    def finish(self, digest: Digest) -> None:
        """See `OpenPart`."""
        self._written.set_result(None)
        self._ended.result()
        self._stored.append(ArtifactPart(key=self.key, size=digest.size, checksum=digest.checksum))

    def abandon(self) -> None:
        """See `OpenPart`."""
        if not self._written.done():
            self._written.set_exception(_AbandonedError())
        with contextlib.suppress(BaseException):
            self._ended.result()


class _AbandonedError(Exception):
    """Makes a store drop a part."""


# -- files -----------------------------------------------------------------------------------------------------------


async def left_over(store: Store, base: str, used: set[str]) -> LeftOver:
    """Return the parts below the folder `base` that belong to no known save and tell their checksums."""
    found: LeftOver = {}
    async for info in store.list(base):
        number, dash, digits = info.key.rpartition("/")[2].partition("-")
        if dash and number.isdecimal() and info.key not in used:
            found[int(number), digits] = info.key, info.size
    return found


async def are_there(store: Store, base: str, wanted: Iterable[ArtifactPart]) -> bool:
    """Whether the store still has these parts."""
    there = {(info.key, info.size) async for info in store.list(base)}
    return all((part.key, part.size) in there for part in wanted)


async def put_file(
    store: Store, folder: str, source: Path, size: int, known: LeftOver, at_once: int, track: Track
) -> tuple[Digest, list[ArtifactPart]]:
    """Store a file in parts of `size` bytes, several at once, except those that are `known` already.

    One thread goes ahead and computes checksums; what is sent is the same bytes again, mostly out of the page cache.
    Cancelled or failed, it leaves the parts that are stored.
    """
    scan = _Scan(source, size)
    slots = asyncio.Semaphore(at_once)
    stored: dict[int, ArtifactPart] = {}

    async def send(number: int, digest: Digest) -> None:
        digits = digest.checksum.rpartition(":")[2]
        key, there = known.get((number, digits), ("", -1))
        if there == digest.size:
            track.add(digest.size)
        else:
            key = layout.artifact_part_key(folder, number, digest.checksum)
            async with gates().large:
                await store.put_stream(
                    key, lambda file: _copy_part(source, number * size, digest, file, track)
                )
        stored[number] = ArtifactPart(key=key, size=digest.size, checksum=digest.checksum)

    async def send_then_leave(number: int, digest: Digest) -> None:
        try:
            await send(number, digest)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            while (part := await in_own_thread(scan.next, scan.close)) is not None:
                await slots.acquire()
                tasks.create_task(send_then_leave(*part))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return scan.digest, [part for _, part in sorted(stored.items())]


class _Scan:
    """Computes the checksums of a file and of its parts, one part a call."""

    def __init__(self, source: Path, size: int) -> None:
        self._source = source
        self._size = size
        self._whole = xxhash.xxh3_128()
        self._number = 0
        self._read = 0
        self._closed = False

    def next(self) -> tuple[int, Digest] | None:
        """Return number and digest of the next part, or None at the end."""
        hashing, left = xxhash.xxh3_128(), self._size
        scratch = memoryview(bytearray(_SCRATCH))
        with self._source.open("rb", buffering=0) as file:
            file.seek(self._number * self._size)
            while left and not self._closed and (count := file.readinto(scratch[: min(left, _SCRATCH)])):
                hashing.update(scratch[:count])
                self._whole.update(scratch[:count])
                left -= count
        size = self._size - left
        if not size:
            return None
        self._number += 1
        self._read += size
        return self._number - 1, Digest(size, f"{ALGORITHM}:{hashing.hexdigest()}")

    @property
    def digest(self) -> Digest:
        """Of all that was read."""
        return Digest(self._read, f"{ALGORITHM}:{self._whole.hexdigest()}")

    def close(self) -> None:
        """Make a call under way return soon."""
        self._closed = True


def _copy_part(source: Path, start: int, digest: Digest, target: BinaryIO, track: Track) -> None:
    left = digest.size
    with source.open("rb", buffering=0) as file:
        file.seek(start)
        found = copy_file(cast("BinaryIO", _Slice(file, left)), track.counted(target))
    if found != digest:
        raise ConflictError(f"{source} changed while it was recorded; record it when nothing writes to it")


class _Slice:
    """The next bytes of a file, up to a number."""

    def __init__(self, file: Any, left: int) -> None:
        self._file = file
        self._left = left

    def readinto(self, buffer: memoryview) -> int:
        count: int = self._file.readinto(buffer[: self._left])
        self._left -= count
        return count


# -- reading ---------------------------------------------------------------------------------------------------------


async def get_stream(store: Store, ref: ArtifactRef, read: Callable[[BinaryIO], T]) -> T:
    """Call `read` with the parts as one blocking, seekable, buffered file, like `Store.get_stream`."""
    loop = asyncio.get_running_loop()
    stopped = threading.Event()
    fetching: set[Future[bytes]] = set()
    keys: Sequence[str] = [part.key for part in ref.parts]

    def fetch(part: int, start: int, end: int) -> Future[bytes]:
        call: Coroutine[Any, Any, bytes] = store.get(keys[part], start=start, end=end)
        future = asyncio.run_coroutine_threadsafe(call, loop)
        fetching.add(future)
        future.add_done_callback(fetching.discard)
        if stopped.is_set():
            future.cancel()
        return future

    def use() -> T:
        raw = PartsReader([part.size for part in ref.parts], fetch, f"artifact {ref.path!r}")
        with SourceFile(raw, stopped) as file:
            return read(cast("BinaryIO", file))

    def stop() -> None:
        stopped.set()
        for future in list(fetching):
            future.cancel()

    return await in_own_thread(use, stop)
