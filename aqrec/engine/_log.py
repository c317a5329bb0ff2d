"""Frames on their way into a store: written, made durable, and written again elsewhere when that fails.

Two kinds behind one face. `AppendLog` grows files (local, memory); `SegmentLog` puts immutable objects (buckets). Both keep every frame in
memory until it is durable, so a failed sync costs nothing but time; what is kept is bounded by the engine, which stops taking
records from the buffer meanwhile.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import platform
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable
from itertools import islice

import msgspec

from aqrec.errors import AqrecError, StorageError
from aqrec.format._frames import FOOTER, HEADER, encode_frame
from aqrec.format._ids import now_ms
from aqrec.format._records import LogHeader
from aqrec.stores import Appender, Store

__all__ = ["AppendLog", "Log", "Segment", "SegmentLog", "failure_of"]

_SMALL, _KEPT = 256 * 1024, 16 * 1024 * 1024
_REST = 600.0
"""Seconds after which a file that nobody has written is not grown any further: see `aqrec.upkeep`, which may delete old ones"""
_TRAILER = struct.Struct("<4sQI")
_encode = msgspec.msgpack.Encoder().encode


class Segment:
    """One object of a log, and which runs have frames in it: run id -> [frames, first offset, end offset]."""

    __slots__ = ("closed", "data", "first", "key", "level", "merging", "numbers", "runs", "size", "written")

    def __init__(self, key: str, first: int, numbers: tuple[int, int]) -> None:
        self.key = key
        self.first = first
        self.numbers = numbers
        """The first and the last number of what it holds: the same, unless it was merged"""
        self.level = 0
        """How often its frames were merged"""
        self.merging = False
        self.size = 0
        self.runs: dict[str, list[int]] = {}
        self.closed = False
        self.written = False
        self.data: bytes | None = None
        """The object's bytes, if it is small and was put, so that nobody need read them back"""

    def note(self, run_id: str, length: int) -> None:
        """Count a frame of `length` bytes at the end."""
        if run_id:
            span = self.runs.get(run_id)
            if span is None:
                self.runs[run_id] = [1, self.size, self.size + length]
            else:
                span[0] += 1
                span[2] = self.size + length
        self.size += length

    def adopt(self, other: Segment, start: int) -> None:
        """Count the frames of `other`, which begin there at `start`, at the end."""
        shift = self.size - start
        for run_id, (frames, first, end) in other.runs.items():
            span = self.runs.setdefault(run_id, [0, first + shift, 0])
            span[0] += frames
            span[2] = end + shift
        self.size = other.size + shift

    def footer(self) -> bytes:
        """Return the index frame and the trailer that finds it from the object's end."""
        frame = encode_frame(FOOTER, _encode({"runs": self.runs}))
        offset = struct.pack("<Q", self.size)
        return frame + _TRAILER.pack(b"AQe1", self.size, zlib.crc32(offset))


class _Pending(msgspec.Struct):
    seq: int
    run_id: str
    frame: bytes


class Log(abc.ABC):
    """A writer's stream of frames; all methods run on the engine thread."""

    immutable = True
    """Whether an object is put once and is finished"""

    def __init__(self, store: Store, writer: str, key: Callable[[int], str]) -> None:
        self._store = store
        self._writer = writer
        self._key = key
        self._number = 0
        self._pending: deque[_Pending] = deque()
        self.pending_bytes = 0
        self.bytes_written = 0
        self.segments: list[Segment] = []
        self.failed: AqrecError | None = None

    def header(self, first: int) -> bytes:
        """Return the first frame of an object whose points begin with number `first`."""
        header = LogHeader(
            writer=self._writer, created=now_ms(), first=first, host=platform.node(), pid=os.getpid()
        )
        return encode_frame(HEADER, _encode(header))

    def _next_segment(self, first: int) -> Segment:
        segment = Segment(self._key(self._number), first, (self._number, self._number))
        self._number += 1
        self.segments.append(segment)
        return segment

    def _settle(self, count: int) -> None:
        for _ in range(count):
            self.pending_bytes -= len(self._pending.popleft().frame)

    def write(self, seq: int, run_id: str, frame: bytes) -> None:
        """Take a frame; hand it to the store where that is cheap. Never raises for the store's sake: `commit` does."""
        self._pending.append(_Pending(seq, run_id, frame))
        self.pending_bytes += len(frame)
        self.bytes_written += len(frame)

    @abc.abstractmethod
    def hand_over(self) -> None:
        """Give what was written to the operating system, if the store appends."""

    @property
    def held_bytes(self) -> int:
        """Of the bytes that wait to be durable, those in memory."""
        return self.pending_bytes

    @property
    def spooled_bytes(self) -> int:
        """Of the bytes that wait to be durable, those in a spool."""
        return 0

    async def spill(self) -> bool:
        """Make what was written so far durable on this machine meanwhile, if there is a spool; return whether it is."""
        return False

    @property
    def ready(self) -> bool:
        """Whether `hand_over` has somewhere to go; else a commit is needed to open it."""
        return True

    def mark(self) -> int:
        """Return how many frames wait to be durable."""
        return len(self._pending)

    @abc.abstractmethod
    async def commit(self, count: int | None = None) -> None:
        """Make (at least) the first `count` waiting frames durable, or all; on `StorageError` they are kept."""

    async def waiting(self) -> list[tuple[int, bytes]] | None:
        """Return the frames that no object has yet, each block with its first number; None if they cannot be told."""
        return None

    def spare(self, needed: Callable[[str], bool]) -> int:
        """Return how much waits to be durable (as `mark` counts) of which no run is needed any more; 0 if one is."""
        del needed
        return 0

    def drop(self, count: int) -> None:
        """Forget what `spare` found."""
        raise NotImplementedError(count)

    def _keep(self, segment: Segment, data: bytes) -> None:
        """Remember the bytes of a small object, within bounds."""
        if len(data) <= _SMALL and sum(len(other.data or b"") for other in self.segments) <= _KEPT:
            segment.data = data

    @abc.abstractmethod
    async def close(self, *, keep: Callable[[Segment], bool]) -> None:
        """Finish the last segment; one that `keep` refuses is deleted instead."""


class AppendLog(Log):
    """Grows one file, begins another at `rotate` bytes or after a failure."""

    immutable = False

    def __init__(self, store: Store, writer: str, key: Callable[[int], str], rotate: int) -> None:
        super().__init__(store, writer, key)
        self._rotate = rotate
        self._appender: Appender | None = None
        self._segment: Segment | None = None
        self._handed = 0
        self._committing = asyncio.Lock()
        self._beginning = asyncio.Lock()
        self._syncing = False
        self._written = time.time()

    def hand_over(self) -> None:
        appender, segment = self._appender, self._segment
        if appender is None or segment is None or self._handed == len(self._pending):
            return
        if self._rested and not self._committing.locked():
            self._retire()
            return
        self._append(appender, segment, list(islice(self._pending, self._handed, None)))

    def _append(self, appender: Appender, segment: Segment, items: list[_Pending]) -> None:
        try:
            appender.write(items[0].frame if len(items) == 1 else b"".join(item.frame for item in items))
        except Exception as error:  # noqa: BLE001 - a driver's own exception is a failure like any other
            self._abandon(failure_of(error))
            return
        for item in items:
            segment.note(item.run_id, len(item.frame))
        self._handed += len(items)
        self._written = time.time()

    @property
    def _rested(self) -> bool:
        return self._appender is not None and time.time() - self._written > _REST

    def _retire(self) -> None:
        """Leave a file that has rested; what was handed over and is not durable goes to the next one again."""
        if self._segment is not None:
            self._segment.closed = True
        if self._appender is not None:
            _close(self._appender)
        self._appender = self._segment = None
        self._handed = 0

    def _abandon(self, error: AqrecError) -> None:
        """Give up a file that failed: what is not durable goes to a new one, whose header says from where on."""
        self.failed = error
        if self._segment is not None:
            self._segment.closed = True
        if self._appender is not None and not self._syncing:
            _close(self._appender)
        self._appender = self._segment = None
        self._handed = 0

    async def begin(self) -> None:
        """Begin a file for what waits, if there is none; raises why it cannot be."""
        async with self._beginning:
            if self._appender is None and self._pending:
                await self._begin()

    async def _begin(self) -> None:
        # A number serves once: a file whose opening has failed may be there all the same.
        segment: Segment | None = None
        appender: Appender | None = None
        try:
            segment = self._next_segment(self._pending[0].seq)
            segment.closed = segment.written = True
            header = self.header(segment.first)
            appender = await self._store.open_append(segment.key)
            appender.write(header)
        except Exception as error:
            if appender is not None:
                _close(appender)
            self.failed = failure_of(error)
            if segment is not None:
                await self._remove(segment)
            raise self.failed from error
        segment.size = len(header)
        segment.closed = False
        self._appender, self._segment, self._handed, self.failed = appender, segment, 0, None
        self._written = time.time()

    async def _remove(self, segment: Segment) -> None:
        """Leave no file behind that could not be begun, as far as the store lets."""
        with contextlib.suppress(Exception):
            await self._store.delete([segment.key])
            self.segments.remove(segment)

    @property
    def ready(self) -> bool:
        return self._appender is not None

    async def commit(self, count: int | None = None) -> None:
        del count  # a sync reaches all that was written
        async with self._committing:
            await self._commit_alone()

    async def commit_before(self, other: AppendLog) -> None:
        """Commit, then `other`; a worker thread is asked once where both files are open."""
        async with self._committing, other._committing:
            begun = time.time()
            await self._hand_on()
            try:
                await other._prepare()
                # What came while the other's file was begun: its events may speak of it.
                await self._hand_on()
                other._give()
            except Exception:
                if self.failed is None:
                    await self._commit_alone()
                raise
            await self._sync(begun, self, other)

    async def _commit_alone(self) -> None:
        begun = time.time()
        await self._hand_on()
        await self._sync(begun, self)

    async def _hand_on(self) -> None:
        """Hand everything over, to a file that is begun for it if need be."""
        await self._prepare()
        self._give()

    async def _prepare(self) -> None:
        if self._pending:
            if self._rested:
                self._retire()
            await self.begin()

    def _give(self) -> None:
        self.hand_over()
        if self._pending and self._appender is None and self.failed is not None:
            raise self.failed

    @staticmethod
    async def _sync(begun: float, *logs: AppendLog) -> None:
        """Make durable what was handed over since `begun`, in the order of the logs; their locks are held and their files open."""
        work = [
            (log, log._appender, log._handed) for log in logs if log._appender is not None and log._pending
        ]
        if not work:
            return
        for log, _, _ in work:
            log._syncing = True
        try:
            appenders = [appender for _, appender, _ in work]
            done, error = await asyncio.get_running_loop().run_in_executor(None, _sync_in_order, appenders)
        finally:
            for log, _, _ in work:
                log._syncing = False
        for log, appender, _ in work[done:]:
            if error is not None and log is work[done][0]:
                _close(appender)
                log._abandon(failure_of(error))
            elif log._appender is not appender:  # a write failed meanwhile
                _close(appender)
        for log, appender, handed in work[:done]:
            await log._synced(appender, handed, begun)
        if error is not None:
            raise failure_of(error) from error

    async def _synced(self, appender: Appender, handed: int, begun: float) -> None:
        """Count the first `handed` frames as durable."""
        if time.time() - begun > _REST and self._appender is appender:
            self._abandon(StorageError("the machine slept while a file was written; it is written again"))
        if self._appender is not appender:  # a write failed meanwhile; all of it goes to the next file
            _close(appender)
            raise self.failed or StorageError("the journal could not be written")
        self._settle(handed)
        self._handed -= handed
        if self._segment is not None and self._segment.size >= self._rotate:
            await self._turn(self._segment, appender)

    async def _turn(self, segment: Segment, appender: Appender) -> None:
        """Finish a file of which all that matters is durable; what was logged meanwhile goes to the next one at once."""
        segment.closed = True
        self._appender = self._segment = None
        self._handed = 0
        try:
            with contextlib.suppress(AqrecError):  # the next commit tries again, and tells
                await self.begin()
                self.hand_over()
            with contextlib.suppress(Exception):  # only the index is lost
                appender.write(segment.footer())
                await asyncio.get_running_loop().run_in_executor(None, appender.sync)
        finally:
            _close(appender)

    async def _finish(self, segment: Segment, appender: Appender) -> None:
        handed, self._handed = self._handed, 0
        self._appender = self._segment = None
        segment.closed = True
        try:
            appender.write(segment.footer())
            await asyncio.get_running_loop().run_in_executor(None, appender.sync)
        except Exception as error:  # noqa: BLE001 - what is not durable goes to the next file, only the index is lost
            self.failed = failure_of(error)
        else:
            self._settle(handed)
        finally:
            _close(appender)

    async def close(self, *, keep: Callable[[Segment], bool]) -> None:
        async with self._committing, self._beginning:
            segment, appender = self._segment, self._appender
            if segment is None or appender is None:
                return
            if keep(segment):
                await self._finish(segment, appender)
            else:
                _close(appender)
                self._appender = self._segment = None
                segment.closed = True


class SegmentLog(Log):
    """Puts one immutable object a commit."""

    def __init__(self, store: Store, writer: str, key: Callable[[int], str]) -> None:
        super().__init__(store, writer, key)
        self._committing = asyncio.Lock()
        self._frozen: tuple[Segment, bytes, int] | None = None

    def hand_over(self) -> None:
        """Nothing: there is no operating system to hand over to."""

    async def commit(self, count: int | None = None) -> None:
        async with self._committing:
            target = len(self._pending) if count is None else count
            while target > 0:
                # A PUT whose answer was lost may have landed: it is repeated with the same bytes, never with more.
                segment, data, frozen = self._frozen or self._freeze(target)
                try:
                    await self._store.put(segment.key, data)
                except Exception as error:
                    self.failed = failure_of(error)
                    raise self.failed from error
                self.failed, self._frozen = None, None
                segment.written = segment.closed = True
                self._keep(segment, data)
                self._settle(frozen)
                target -= frozen

    def _freeze(self, count: int) -> tuple[Segment, bytes, int]:
        segment = self._next_segment(self._pending[0].seq)
        header = self.header(segment.first)
        segment.size = len(header)
        parts = [header]
        for item in islice(self._pending, count):
            segment.note(item.run_id, len(item.frame))
            parts.append(item.frame)
        parts.append(segment.footer())
        self._frozen = segment, b"".join(parts), count
        return self._frozen

    async def waiting(self) -> list[tuple[int, bytes]] | None:
        pending = self._pending
        return [(pending[0].seq, b"".join(item.frame for item in pending))] if pending else []

    def spare(self, needed: Callable[[str], bool]) -> int:
        if self._committing.locked() or self._frozen or any(needed(item.run_id) for item in self._pending):
            return 0
        return len(self._pending)

    def drop(self, count: int) -> None:
        self._settle(count)

    async def close(self, *, keep: Callable[[Segment], bool]) -> None:
        """Nothing: every segment is finished when it is put."""
        del keep


def _sync_in_order(appenders: list[Appender]) -> tuple[int, Exception | None]:
    """Sync until one fails; return how many were, and why the next was not."""
    for at, appender in enumerate(appenders):
        try:
            appender.sync()
        except Exception as error:  # noqa: BLE001 - a driver's own exception is a failure like any other
            return at, error
    return len(appenders), None


def failure_of(error: Exception) -> AqrecError:
    """Return an error of ours for one of a driver's."""
    return error if isinstance(error, AqrecError) else StorageError(f"{type(error).__name__}: {error}")


def _close(appender: Appender) -> None:
    with contextlib.suppress(Exception):  # given up or finished: its bytes are where they are
        appender.close()
