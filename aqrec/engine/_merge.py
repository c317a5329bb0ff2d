"""A writer's small journal segments become few: every `FANOUT` of a level are written again as one of the next.

The objects of a bucket cannot grow, so a process that runs for a day puts about a thousand of them, and whoever reads its points asks for
each. Levelled, the number that lives grows with the logarithm, and so does how often a byte is written again. The merged object is durable
before its originals are deleted, and its key sorts behind theirs: a reader's listing shows the one or the others, or both, and points
have numbers. A reader whose segment is deleted before it was read lists again.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from itertools import groupby

from aqrec.engine._log import Log, Segment
from aqrec.errors import ObjectNotFoundError
from aqrec.format import _layout as layout
from aqrec.format._frames import HEAD_SIZE, Damage, scan
from aqrec.stores import Store

__all__ = ["Merger"]

logger = logging.getLogger("aqrec")

FANOUT = 16
_MOST = 16 * 1024 * 1024
"""Bytes of a merged segment, which is in memory twice while it is made"""
_LARGE = _MOST // 4
"""A segment of this size is not written again: that would cost more than it saves"""


class Merger:
    """Merges the segments of one writer, one merge at a time; all methods run on the engine thread.

    Parameters
    ----------
    store, writer, journal
        Whose segments are merged.
    sealing
        Held by whoever reads the segments that `journal` names; originals are deleted under it.
    needed, free
        Whether a segment still has to be kept; deletes those that have not.
    """

    def __init__(
        self,
        store: Store,
        writer: str,
        journal: Log,
        sealing: asyncio.Lock,
        needed: Callable[[Segment], bool],
        free: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._writer = writer
        self._journal = journal
        self._sealing = sealing
        self._needed = needed
        self._free = free
        self._task: asyncio.Task[None] | None = None
        self._group: list[Segment] = []
        """What is being merged: kept after a failure, because the merged object may be there all the same"""
        self._in_doubt = ""
        """The merged object's key, if its PUT has begun"""
        self._gone: list[str] = []
        """Keys to delete"""
        self._told = self._closed = False

    def step(self) -> None:
        """Begin to merge if there is enough; call it when the store has just taken something."""
        if (
            self._task is None
            and not self._closed
            and self._journal.immutable
            and (self._group or self._choose())
        ):
            self._task = asyncio.create_task(self._run(), name="aqrec-merge")

    async def finish(self) -> None:
        """Wait for what is under way, and merge no more; what failed is not tried again, and leaves nothing."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])
        self._give_up()
        try:
            await self._delete()
        except Exception as error:  # noqa: BLE001 - what stays is in another object, too
            self._tell(error)

    def cancel(self) -> None:
        """Stop, wherever it is: at worst both an object and its originals stay, which readers know to be the same."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while not self._closed and (self._group or self._choose()):
                await self._delete()
                await self._merge()
                await self._free()
        except Exception as error:  # noqa: BLE001 - nothing is lost: it is tried again when the store takes something
            self._tell(error)
        finally:
            self._task = None

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "aqrec: journal segments in %s could not be merged: %s; nothing is lost, and it is tried again with the next commit",
                self._store.url,
                error,
            )

    def _choose(self) -> bool:
        """Find segments to merge, the oldest of a level that is full: levels only fall from the oldest to the newest."""
        while True:
            usable = [segment for segment in self._journal.segments if segment.written and segment.closed]
            for _, same in groupby(usable, key=lambda segment: segment.level):
                level = list(same)
                if len(level) >= FANOUT:
                    break
            else:
                return False
            group: list[Segment] = []
            size = 0
            for segment in level[:FANOUT]:
                if segment.size >= _LARGE or size + segment.size > _MOST:
                    break
                group.append(segment)
                size += segment.size
            if len(group) > 1:
                self._group = group
                for segment in group:
                    segment.merging = True
                return True
            level[0].level += 1

    def _merged(self) -> Segment:
        first, last = self._group[0], self._group[-1]
        numbers = first.numbers[0], last.numbers[1]
        merged = Segment(layout.merged_journal_key(self._writer, *numbers), first.first, numbers)
        merged.level = first.level + 1
        return merged

    async def _merge(self) -> None:
        group = self._group
        if not any(map(self._needed, group)):
            self._give_up()
            return
        merged = self._merged()
        parts = [self._journal.header(merged.first)]
        merged.size = len(parts[0])
        kept = all(segment.data is not None for segment in group)
        for segment in group:
            data = segment.data
            if data is None:
                try:
                    data = await self._store.get(segment.key, end=segment.size)
                except ObjectNotFoundError:
                    data = b""
                if not await asyncio.get_running_loop().run_in_executor(None, _whole, data, segment.size):
                    # It stays as it is, where readers report what is damaged.
                    self._give_up()
                    for other in group[: group.index(segment) + 1]:
                        other.level += 1
                    return
            start = HEAD_SIZE + int.from_bytes(data[4:8], "little")
            parts.append(data[start : segment.size])
            merged.adopt(segment, start)
        parts.append(merged.footer())
        data = b"".join(parts)
        del parts
        self._in_doubt = merged.key
        await self._store.put(merged.key, data)
        self._in_doubt = ""
        merged.written = merged.closed = True
        merged.data = data if kept else None
        segments = self._journal.segments
        at = segments.index(group[0])
        segments[at : at + len(group)] = [merged]
        self._group = []
        self._gone += [segment.key for segment in group]
        await self._delete()

    async def _delete(self) -> None:
        if not self._gone:
            return
        async with (
            self._sealing
        ):  # who began to seal before the merged one took their place reads the originals
            await self._store.delete(self._gone)
        self._gone = []

    def _give_up(self) -> None:
        """Leave the originals in place."""
        if self._in_doubt:
            self._gone.append(self._in_doubt)
        self._in_doubt = ""
        for segment in self._group:
            segment.merging = False
        self._group = []


def _whole(data: bytes, size: int) -> bool:
    return len(data) == size and not any(
        isinstance(frame, Damage) for frame in scan(io.BytesIO(data), len(data))
    )
