"""What every kind of upkeep needs: a store that counts, a catalog of its own, the store's time, and somebody to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from aqrec.engine import read_marker
from aqrec.errors import CorruptError, InvalidInputError, NotFoundError
from aqrec.format import _layout as layout
from aqrec.format._archive import ArchiveNote, encode_note
from aqrec.format._ids import new_id, now_ms
from aqrec.format._snapshot import LEVEL
from aqrec.reading import Catalog
from aqrec.stores import CountingStore, Store, redact_url
from aqrec.stores._archives import Archives
from aqrec.stores._place import target_of
from aqrec.upkeep._clock import store_time

if TYPE_CHECKING:
    from aqrec.format._document import RunDocument

__all__ = ["ALIVE", "Cost", "Progress", "Work", "check_seconds"]

ALIVE: Final = 900.0
"""Seconds after which a run that is going on and was not heard of counts as given up: three heartbeats are missing"""
_AT_ONCE: Final = 1000

Progress = Callable[[str, int, int], None]
"""Called with what is done now, how much of it is done, and how much there is (0: unknown), on aqrec's own thread"""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What some upkeep took.

    Attributes
    ----------
    requests
        Calls to the store; a listing is one, however long, and so is a deletion of up to 1000 objects.
    sent, received
        Bytes.
    """

    requests: int = 0
    sent: int = 0
    received: int = 0


class Work:
    """One piece of upkeep; coroutines run on the engine thread.

    Attributes
    ----------
    store
        The store; it counts.
    catalog
        Read through `store`.
    """

    def __init__(
        self, store: Store, url: str, progress: Progress | None = None, archives: Archives | None = None
    ) -> None:
        self.store = CountingStore(store)
        self.catalog = Catalog(self.store, url)
        self._progress = progress
        self._archives = archives if archives is not None else Archives(target_of(url))
        self._opened: dict[str, CountingStore] = {}

    def store_of(self, url: str) -> Store:
        """Return the store of a canonical URL, "" for the one that is worked on; it counts, too."""
        if not url:
            return self.store
        if url not in self._opened:
            self._opened[url] = CountingStore(self._archives.open(url))
        return self._opened[url]

    def tell(self, what: str, done: int, total: int = 0) -> None:
        """Say how far it is."""
        if self._progress is not None:
            self._progress(what, done, total)

    @property
    def cost(self) -> Cost:
        """What it has taken so far."""
        stores = [self.store, *self._opened.values()]
        return Cost(
            requests=sum(store.requests.total() for store in stores),
            sent=sum(store.sent.total() for store in stores),
            received=sum(store.received.total() for store in stores),
        )

    async def begin(self) -> None:
        """Read the catalog, or raise `NotFoundError` where there is no store."""
        if await read_marker(self.store) is None:
            raise NotFoundError(f"there is no aqrec store in {redact_url(self.catalog.store.url)}")
        self.tell("reading the catalog", 0)
        await self.catalog.refresh()

    def check_whole(self) -> None:
        """Refuse to go on where the catalog may refer to things that cannot be seen here."""
        catalog, url = self.catalog, redact_url(self.store.url)
        if catalog.damage or not catalog.whole:
            raise CorruptError(
                f"the catalog of {url} is damaged in {', '.join(sorted(catalog.damage)[:3])}: what it referred to is not "
                "known, so nothing is deleted. See aqrec verify"
            )
        if catalog.unknown or any(snapshot.summary.level > LEVEL for snapshot in catalog.runs.snapshots):
            raise CorruptError(
                f"a later version of aqrec has written in {url} what this one does not understand, so nothing is deleted. "
                "Upgrade aqrec"
            )

    async def time(self, *, dry_run: bool) -> int:
        """Return the time by the store's clock, ms since epoch; where nothing may be written, this machine's."""
        if dry_run:
            return now_ms()
        return await store_time(self.store)

    async def note(self, url: str, folders: Sequence[str], key: str = "") -> str:
        """Write, or renew, the note that objects in folders of another store may be without a reference; return its key."""
        key = key or layout.archive_note_key(new_id())
        await self.store.put(key, encode_note(ArchiveNote(url=url, folders=list(folders))))
        return key

    def documents(self) -> Iterator[RunDocument]:
        """Yield the documents of all runs, deleted and purged ones too."""
        yield from list(self.catalog.runs.documents.values())
        for snapshot, rows in self.catalog.runs.rows():
            yield from map(snapshot.document, rows.tolist())

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, telling how far it is."""
        for at in range(0, len(keys), _AT_ONCE):
            self.tell("deleting", at, len(keys))
            await self.store.delete(keys[at : at + _AT_ONCE])
        if keys:
            self.tell("deleting", len(keys), len(keys))


def check_seconds(name: str, value: float, least: float, why: str) -> float:
    """Return a number of seconds that is large enough, or raise `InvalidInputError`."""
    if not value >= least:
        raise InvalidInputError(f"{name}={value!r}: give at least {least:g} seconds; {why}")
    return value
