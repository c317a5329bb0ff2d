"""What an engine does while its store is away: whom the spool serves, when memory goes there, and what is done later."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from math import inf

import msgspec

from aqrec.engine._log import Log
from aqrec.engine._spool import Spool
from aqrec.engine._spool_store import SpoolingStore
from aqrec.errors import StorageError
from aqrec.options import Options
from aqrec.stores import Store

__all__ = ["Flush", "Outage"]

logger = logging.getLogger("aqrec")

_REMEMBERED = 4 * 1024 * 1024
"""Bytes of this writer's latest events that are kept for readers"""
_PATIENCE = 5.0


class Flush(msgspec.Struct):
    """Somebody waits until everything logged before `target` is durable (or, `durable` False, handed over).

    `spool`: or until the spool has it, if the store is away or the option `durability` says so. `encoded`: or until it is in the
    logs, wherever they are. `late`: for so long that a store with a spool counts as away. `reached`: it is all in the logs.
    """

    target: int
    durable: bool
    spool: bool
    done: asyncio.Future[None]
    encoded: bool = False
    late: bool = False
    reached: bool = False


class Outage:
    """All methods run on the engine thread, but for `away`.

    Parameters
    ----------
    store, spool
        Where the engine writes. `spool` is None if there is none: then the store is never taken for away.
    options
        How long a store has to fail until it is away, and when to sync.
    tell
        Called with a text when the spool begins to serve those who wait for the store.
    """

    def __init__(
        self, store: Store, spool: Spool | None, options: Options, tell: Callable[[str], None]
    ) -> None:
        self.spool = spool
        self._store = store if isinstance(store, SpoolingStore) else None
        self._options = options
        self._tell = tell
        self._since: float | None = None
        self._given_up = False
        self._told = False
        self._flushes: list[Flush] = []
        self._spilling: asyncio.Task[None] | None = None
        self._last_spill = 0.0
        self._later: list[Callable[[], Awaitable[None]]] = []
        self._working: asyncio.Task[None] | None = None
        self.end_by: float | None = None
        """When all must be over, by `time.monotonic`; None: nobody leaves"""
        self._events: deque[bytes] = deque()
        self._events_number = self._events_bytes = 0

    @property
    def patience(self) -> float:
        """Seconds that one waits for the store's first answer, where there is something else to do."""
        return max(self.spool.options.away_after if self.spool is not None else 0.0, _PATIENCE)

    @property
    def spare_time(self) -> float:
        """Seconds that the end of a run may spend on saving requests: a quarter of what is left of a deadline at most."""
        left = self.patience if self.end_by is None else (self.end_by - time.monotonic()) / 4
        return max(min(left, self.patience), 0.0)

    def missed(self, began: float) -> None:
        """Note that the store has not taken what it was asked to take since then; a commit that succeeds ends that."""
        if self._since is None:
            self._since = began

    def note(self, payload: bytes) -> None:
        """Remember encoded events, the latest of them, for readers that the store does not answer."""
        if self._store is None:
            return
        self._events.append(payload)
        self._events_number += 1
        self._events_bytes += len(payload)
        while self._events_bytes > _REMEMBERED:
            self._events_bytes -= len(self._events.popleft())

    def events_since(self, number: int) -> tuple[int, list[bytes]]:
        """Return what was noted after the first `number` times, as far as it is remembered, and the number by now."""
        skip = max(len(self._events) - (self._events_number - number), 0)
        return self._events_number, list(islice(self._events, skip, None))

    @property
    def kept(self) -> Store | None:
        """What lies in the spool, as a store to read from; None if nothing was put there."""
        if self._store is None or self.spool is None or not self.spool.opened:
            return None
        return self._store.here()

    @property
    def away(self) -> bool:
        """Whether the store has taken nothing for `SpoolOptions.away_after` seconds although it should, or kept somebody waiting too long."""
        since = self._since
        if self.spool is None:
            return False
        return self._given_up or (
            since is not None and time.monotonic() - since >= self.spool.options.away_after
        )

    @property
    def artifacts(self) -> int:
        """How many artifacts wait in the spool."""
        return self._store.waiting if self._store is not None else 0

    def spooled_bytes(self, logs: Iterable[Log]) -> int:
        """Return the bytes that lie in the spool; offline, all that was written."""
        if self._store is None:
            return sum(log.bytes_written for log in logs) if self.spool is not None else 0
        return self._store.spooled_bytes + sum(log.spooled_bytes for log in logs)

    async def look_back(self) -> None:
        """Say whether ended processes have left something for the store."""
        if self._store is None or self.spool is None:
            return
        left = await asyncio.get_running_loop().run_in_executor(None, self.spool.left_behind)
        if left:
            logger.warning(
                "aqrec: %d ended processes have left records in %s that the store has not got; "
                "send them by: aqrec sync --store %s",
                left,
                self.spool.folder.parent,
                self.spool.url,
            )

    def replacing(self, key: str) -> AbstractContextManager[None]:
        """Say that what is put meanwhile replaces other bytes; see `SpoolingStore.replacing`."""
        return self._store.replacing(key) if self._store is not None else nullcontext()

    def replacements(self) -> dict[str, int]:
        """Return the artifacts that wait and replace others."""
        return self._store.replacements() if self._store is not None else {}

    async def drain(self, replacements: Mapping[str, int] | None = None) -> None:
        """Put the artifacts that wait, or those that replace others; see `SpoolingStore.drain`."""
        if self._store is not None:
            await self._store.drain(replacements)

    def until_due(self, logs: Iterable[Log]) -> float | None:
        """Return seconds until the store counts as away, or until memory goes to the spool while it does, or None."""
        if self.spool is None or self._since is None:
            return None
        if not self.away:
            return self._since + self.spool.options.away_after - time.monotonic()
        if not any(log.held_bytes for log in logs):
            return None
        return self._last_spill + self._options.flush.sync_interval - time.monotonic()

    def attempt(self) -> bool:
        """Note that the store is asked to take something; return whether `until_due` changes by that."""
        if self._since is not None:
            return False
        self._since = time.monotonic()
        return self.spool is not None

    def progressed(self) -> None:
        """Note that it has taken something."""
        if self._since is not None:
            self._since = time.monotonic()

    def over(self) -> None:
        """Note that it has taken everything; what was put off is done now."""
        self._since = None
        if self._told:
            self._told = False
            logger.warning("aqrec: the store answers again; it has what was kept in the spool")
        self._work()

    def give_up(self) -> None:
        """Let the spool serve from now on: there is no more time for the store."""
        self._given_up = True

    def later(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something that needs the store: soon, or when it is back."""
        self._later.append(work)
        if not self.away:
            self._work()

    def _work(self) -> None:
        if self._later and self._working is None:
            self._working = asyncio.create_task(self._do_all(), name="aqrec-later")

    async def _do_all(self) -> None:
        try:
            while self._later and not self.away:
                work = self._later.pop(0)
                try:
                    await work()
                except Exception as error:  # noqa: BLE001 - nobody waits for it, and the next one has its turn
                    self._failed(work, error)
        finally:
            self._working = None

    def _failed(self, work: Callable[[], Awaitable[None]], error: Exception) -> None:
        if self.away and isinstance(error, StorageError):
            self._later.insert(0, work)
        else:
            logger.error("aqrec: %s", error or repr(error))

    async def finish(self) -> None:
        """Do what was put off."""
        while self._later and not self.away:
            self._work()
            await self._idle()
        await self._idle()

    async def _idle(self) -> None:
        if self._working is not None:
            await asyncio.wait([self._working])

    async def wait(self, flush: Flush, limit: float, hasten: Callable[[], None]) -> None:
        """Wait until a request is served; raises `TimeoutError` after `limit` seconds.

        Whom the spool may serve gets it when half of them are over. These are two waits, so that a machine that stands still
        for a while does not use up both. `hasten` wakes whoever serves.
        """
        hasten()
        if flush.spool and flush.durable and self.spool is not None:
            limit /= 2
            try:
                await asyncio.wait([flush.done], timeout=limit)
            except asyncio.CancelledError:
                flush.done.cancel()
                raise
            flush.late = True
            hasten()
        async with asyncio.timeout(limit):
            await flush.done

    def take(self, flushes: list[Flush]) -> list[Flush]:
        """Take over whom the spool serves now; return the others."""
        if self.spool is None or not flushes:
            return flushes
        if any(flush.late and flush.spool for flush in flushes):  # whatever they wait for takes too long
            self._since = min(self._since or inf, time.monotonic() - self.spool.options.away_after)
        serves = self._options.durability == "local" or self.away
        others: list[Flush] = []
        for flush in flushes:
            (self._flushes if flush.spool and serves else others).append(flush)
        return others

    def waiting(self) -> list[Flush]:
        """Return who waits for the spool."""
        return self._flushes

    def step(self, logs: Sequence[Log], back: Callable[[list[Flush]], None]) -> None:
        """Spill if somebody waits for it, if memory fills, or now and then while the store is away.

        `back` gets those whom the spool failed.
        """
        if self.spool is None or self._spilling is not None:
            return
        flush = self._options.flush
        held = sum(log.held_bytes for log in logs)
        idle = time.monotonic() - self._last_spill
        if self._flushes or (
            held and (held >= flush.segment_bytes or (self.away and idle >= flush.sync_interval))
        ):
            self._spilling = asyncio.create_task(self._spill(logs, back), name="aqrec-spill")

    async def _spill(self, logs: Sequence[Log], back: Callable[[list[Flush]], None]) -> None:
        flushes, self._flushes = self._flushes, []
        safe = False
        try:
            safe = all([await log.spill() for log in logs])
        finally:
            self._last_spill = time.monotonic()
            self._spilling = None
            if not safe:
                for flush in flushes:
                    flush.spool = False
                back(flushes)
        if not safe:
            return
        if any(flush.durable for flush in flushes) and self._options.durability == "store" and not self._told:
            self._told = True
            assert self.spool is not None
            self._tell(f"the store is away; what is recorded meanwhile is kept in {self.spool.folder}")
        for flush in flushes:
            if not flush.done.done():
                flush.done.set_result(None)

    def cancel(self) -> None:
        """End what is under way."""
        for task in (self._spilling, self._working):
            if task is not None:
                task.cancel()
