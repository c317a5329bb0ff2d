"""A log for stores of immutable objects, whose objects grow in the spool before they are put.

What is handed over lies with the operating system at once, so that a killed process loses no more than on a local store. While the
store is away, what was synced to the spool leaves memory; `commit` reads it from there when the store is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aqrec.engine._log import AppendLog, Log, Segment, SegmentLog, failure_of
from aqrec.engine._spool import Spool, SpoolFile
from aqrec.errors import AqrecError
from aqrec.stores import Store

__all__ = ["SpooledLog", "make_log"]


class _Part:
    """One object on its way: first what only the spool's file has, then what memory has: header, frames, footer."""

    __slots__ = ("broken", "cut", "durable", "file", "handed", "held", "pieces", "segment", "spooled")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.pieces: list[bytes] = []
        self.held = 0
        self.handed = 0
        self.durable = 0
        self.spooled = 0
        self.file: SpoolFile | None = None
        self.broken = False
        self.cut = False

    def add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.held += len(piece)

    def drop(self, count: int) -> int:
        """Forget the first `count` pieces, which are durable in the file; return their bytes."""
        size = sum(map(len, self.pieces[:count]))
        del self.pieces[:count]
        self.handed -= count
        self.held -= size
        self.durable += size
        return size


class SpooledLog(Log):
    """Puts immutable objects of up to `rotate` bytes, one after the other.

    Where the spool fails, what it does not hold stays in memory until it is put.
    """

    def __init__(
        self,
        store: Store,
        writer: str,
        key: Callable[[int], str],
        rotate: int,
        spool: Spool,
        progressed: Callable[[], None],
    ) -> None:
        super().__init__(store, writer, key)
        self._rotate = rotate
        self._spool = spool
        self._progressed = progressed
        self._parts: deque[_Part] = deque()
        self._done = 0
        self._marked = 0
        self._held = 0
        self._committing = asyncio.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes in memory that the store has not confirmed."""
        return self._held

    @property
    def spooled_bytes(self) -> int:
        """Bytes in the spool that the store has not confirmed."""
        return sum(part.spooled for part in self._parts)

    def _add(self, part: _Part, piece: bytes) -> None:
        part.add(piece)
        self._held += len(piece)
        self.pending_bytes += len(piece)

    def write(self, seq: int, run_id: str, frame: bytes) -> None:
        """Take a frame."""
        if not self._parts or self._parts[-1].cut:
            self._begin(seq)
        part = self._parts[-1]
        self._add(part, frame)
        part.segment.note(run_id, len(frame))
        self.bytes_written += len(frame)
        if part.segment.size >= self._rotate:
            self._cut(part)

    def _begin(self, seq: int) -> None:
        segment = self._next_segment(seq)
        header = self.header(seq)
        segment.size = len(header)
        part = _Part(segment)
        self._parts.append(part)
        self._add(part, header)

    def _cut(self, part: _Part) -> None:
        if not part.cut:
            self._add(part, part.segment.footer())
            part.cut = True

    def hand_over(self) -> None:
        """Append what is new to the spool's files."""
        for part in self._parts:
            if part.broken or part.handed == len(part.pieces):
                continue
            fresh = b"".join(part.pieces[part.handed :])
            try:
                if part.file is None:
                    part.file = self._spool.create(part.segment.key)
                part.file.write(fresh)
            except AqrecError as error:
                part.broken = True
                self._spool.note_failure(error)
                continue
            part.handed = len(part.pieces)
            part.spooled += len(fresh)

    async def spill(self) -> bool:
        """Make what was written so far durable in the spool, and forget it in memory; return whether all of it is."""
        self.hand_over()
        loop = asyncio.get_running_loop()
        safe = True
        for part in list(self._parts):
            count = part.handed
            if part.pieces and (part.broken or part.file is None):
                safe = False
            elif count and part.file is not None:
                try:
                    await loop.run_in_executor(None, part.file.sync)
                except AqrecError as error:
                    if part.segment.closed:
                        continue  # the store has taken it meanwhile
                    part.broken, safe = True, False
                    self._spool.note_failure(error)
                else:
                    if not part.segment.closed:
                        self._held -= part.drop(count)
        return safe

    def mark(self) -> int:
        """End the growing object; return the number of objects that a commit has to reach.

        As long as an earlier mark was not reached, that one is returned: then a store fails, and objects grow instead
        of becoming many.
        """
        if self._marked <= self._done:
            if self._parts:
                self._cut(self._parts[-1])
            self._marked = self._done + len(self._parts)
        return self._marked

    async def commit(self, count: int | None = None) -> None:
        target = self._done + len(self._parts) if count is None else count
        async with self._committing:
            while self._done < target:
                part = self._parts[0]
                self._cut(part)
                self.hand_over()
                try:
                    data = await self._bytes(part)
                    await self._store.put(part.segment.key, data)
                except Exception as error:
                    self.failed = failure_of(error)
                    raise self.failed from error
                self.failed = None
                self._keep(part.segment, data)
                part.segment.written = True
                self._settle_part(part)
                self._progressed()
                if part.file is not None:  # a disk that is busy keeps who unlinks waiting, at times for long
                    await asyncio.get_running_loop().run_in_executor(None, part.file.remove)

    async def _bytes(self, part: _Part) -> bytes:
        rest = b"".join(part.pieces)
        if not part.durable:
            return rest
        assert part.file is not None
        # What is dropped from memory meanwhile is in `rest` already.
        return await asyncio.get_running_loop().run_in_executor(None, part.file.read, part.durable) + rest

    def _settle_part(self, part: _Part) -> None:
        part.segment.closed = True
        self._parts.popleft()
        self._done += 1
        self._held -= part.held
        self.pending_bytes -= part.durable + part.held

    async def waiting(self) -> list[tuple[int, bytes]] | None:
        if any(part.durable for part in self._parts):
            return None
        return [(part.segment.first, b"".join(part.pieces)) for part in self._parts]

    def spare(self, needed: Callable[[str], bool]) -> int:
        """Return how many objects wait of which no run is needed any more; 0 if one is, or was perhaps put already."""
        if self._committing.locked() or self._marked > self._done:
            return 0
        if any(needed(run_id) for part in self._parts for run_id in part.segment.runs):
            return 0
        if self._parts:
            self._cut(self._parts[-1])
        return len(self._parts)

    def drop(self, count: int) -> None:
        for _ in range(count):
            part = self._parts[0]
            self.segments.remove(part.segment)
            self._settle_part(part)
            if part.file is not None:
                part.file.remove()

    async def close(self, *, keep: Callable[[Segment], bool]) -> None:
        """Nothing: every object is finished when it is put."""
        del keep


def make_log(
    store: Store,
    spool: Spool | None,
    writer: str,
    segment_bytes: int,
    progressed: Callable[[], None],
    key: Callable[[int], str],
    file_bytes: int,
) -> Log:
    """Return the log that suits the store: one file of up to `file_bytes` after the other, or objects of up to `segment_bytes`."""
    if store.supports_append:
        return AppendLog(store, writer, key, file_bytes)
    if spool is None:
        return SegmentLog(store, writer, key)
    return SpooledLog(store, writer, key, segment_bytes, spool, progressed)
