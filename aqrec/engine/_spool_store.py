"""A store with a spool: what waits there is read as if it were stored, and artifacts go there while the store is away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from aqrec.engine._spool import Spool
from aqrec.errors import FlushTimeoutError, NotFoundError, StorageError
from aqrec.options import Options, SpoolOptions
from aqrec.stores import LocalStore, Store, WrapperStore, canonical_url, open_store
from aqrec.stores._files import SinkFile
from aqrec.stores._wrapper import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping

    from aqrec.stores import ObjectInfo

__all__ = ["SpoolingStore", "open_place"]

T = TypeVar("T")

_LOOK = 0.25
"""Seconds between two looks whether a store that is being written is away"""


class SpoolingStore(WrapperStore):
    """Hands every call on; artifacts that the inner store does not take wait in the spool until `drain`.

    An artifact's later versions follow the one that waits, so that an older never replaces a newer.

    Parameters
    ----------
    inner
        The store.
    spool
        Where artifacts wait, synced.
    away
        Says whether the store has been failing for so long that it need not be asked first.
    write_ahead
        Whether artifacts go to the spool first in any case.
    """

    def __init__(
        self, inner: Store, spool: Spool, away: Callable[[], bool], *, write_ahead: bool = False
    ) -> None:
        super().__init__(inner)
        self._spool = spool
        self._away = away
        self._write_ahead = write_ahead
        self._waiting: dict[str, int] = {}
        """key -> size, in the order in which they came"""
        self._versions = 0
        self._version: dict[str, int] = {}
        self._replacing: Counter[str] = Counter()
        self._replaces: set[str] = set()
        """Keys whose bytes in the store must stay until the reference to the new ones is there"""
        self._local: LocalStore | None = None

    @property
    def waiting(self) -> int:
        """How many artifacts wait in the spool."""
        return len(self._waiting)

    @property
    def spooled_bytes(self) -> int:
        """Bytes of artifacts that wait in the spool."""
        return sum(self._waiting.values())

    @contextmanager
    def replacing(self, key: str) -> Generator[None]:
        """Say that what is put meanwhile replaces what the store may have, and must not come before its reference."""
        if key not in self._waiting:
            self._replaces.add(key)
        try:
            yield
        finally:
            if key not in self._waiting:
                self._replaces.discard(key)

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Write an object to the store; an artifact that it does not take, to the spool."""
        if not _is_artifact(key):
            return await self._inner.put_stream(key, write)
        if key in self._waiting or self._away():
            return await self._keep_instead(key, write, StorageError(f"{self.url} is away"))
        if self._write_ahead:
            with suppress(StorageError):  # what the spool cannot take needs the store
                return await self._keep(key, write)
        try:
            return await self._put(key, write)
        except StorageError as error:
            return await self._keep_instead(key, write, error)

    async def _put(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Put an artifact; give up where none of it or all of it was handed over, and the store is found to be away meanwhile."""
        idle = [time.monotonic()]  # since when nothing has been handed over; empty while something is

        def noting(file: BinaryIO) -> T:
            idle.clear()
            result = write(file)
            if key in self._replaces and self._away() and file.tell() <= self._spool.options.artifact_bytes:
                raise StorageError(f"{self.url} is away")  # the reference may be nowhere but in the spool
            idle.append(time.monotonic())
            return result

        putting = asyncio.ensure_future(self._inner.put_stream(key, noting))
        try:
            while not putting.done():
                await asyncio.wait([putting], timeout=_LOOK)
                late = [since for since in idle if time.monotonic() - since >= self._spool.options.away_after]
                if late and self._away() and not putting.done():
                    raise StorageError(f"{self.url} is away")
            return putting.result()
        finally:
            if not putting.done():
                putting.cancel()
                await asyncio.wait([putting])

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Read what lies in the spool, or hand on `Store.get`."""
        return await self._read(key, lambda store: store.get(key, start=start, end=end))

    async def head(self, key: str) -> ObjectInfo:
        """Look at what lies in the spool, or hand on `Store.head`."""
        return await self._read(key, lambda store: store.head(key))

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Read what lies in the spool, or hand on `Store.get_stream`."""
        return await self._read(key, lambda store: store.get_stream(key, read))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield what the store has, and what lies in the spool."""
        # In this order: an object is in the store before it leaves the spool.
        here = self._spool.listing(prefix)
        async with closing(self._inner.list(prefix)) as items:
            async for info in items:
                yield here.pop(info.key, info)
        for info in here.values():
            yield info

    async def _read(self, key: str, read: Callable[[Store], Awaitable[T]]) -> T:
        if self._spool.holds(key):
            with suppress(NotFoundError):  # sent meanwhile
                return await read(self.here())
        return await read(self._inner)

    def here(self) -> LocalStore:
        """Return what lies in the spool, as a store to read from."""
        if self._local is None:
            self._local = LocalStore(self._spool.objects)
        return self._local

    def replacements(self) -> dict[str, int]:
        """Return the artifacts that wait and replace others: key -> version."""
        return {key: self._version[key] for key in self._waiting if key in self._replaces}

    async def drain(self, replacements: Mapping[str, int] | None = None) -> None:
        """Put the artifacts that wait, but for those that replace others; or put those, as far as they are still the same.

        Raises what the store raises.
        """
        for key in list(self._waiting):
            if key in self._replaces and (replacements is None or key in self._replacing):
                continue
            version, path = self._version[key], self._spool.path(key)
            if replacements is not None and replacements.get(key) != version:
                continue
            with path.open("rb", buffering=0) as file:
                await self._inner.put_stream(key, partial(_copy, file))
            # One that is being replaced stays until its replacement is sent: nothing may be removed in its place.
            if self._version[key] == version and key not in self._replacing:
                path.unlink(missing_ok=True)
                self._spool.forget(key)
                self._spool.release(self._waiting.pop(key))
                del self._version[key]
                self._replaces.discard(key)

    async def aclose(self) -> None:
        """Close the store; what waits stays in the spool."""
        if self._local is not None:
            await self._local.aclose()
        await self._inner.aclose()

    async def _keep_instead(self, key: str, write: Callable[[BinaryIO], T], failure: StorageError) -> T:
        """Keep what the store did not take; if that fails, too, tell both."""
        try:
            return await self._keep(key, write)
        except StorageError as error:
            kind = FlushTimeoutError if isinstance(error, FlushTimeoutError) else StorageError
            both = kind(f"{failure}; nor could it be kept on this machine: {error}")
            both.permanent = failure.permanent
            raise both from error

    async def _keep(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        size = 0
        limit = self._spool.options.artifact_bytes

        def bounded(file: BinaryIO) -> T:
            def take(data: memoryview) -> None:
                nonlocal size
                if size + len(data) > limit:
                    raise StorageError(f"it is larger than SpoolOptions.artifact_bytes={limit}")
                self._spool.charge(len(data))
                size += len(data)
                file.write(data)

            with SinkFile(take) as sink:
                result = write(cast("BinaryIO", sink))
            sink.check()
            return result

        self._replacing[key] += 1
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._spool.open_durably)
            result = await self.here().put_stream(key, bounded)
        except BaseException:
            self._spool.release(size)
            raise
        finally:
            self._replacing[key] -= 1
            if not self._replacing[key]:
                del self._replacing[key]
        self._spool.add(key)
        self._spool.release(self._waiting.get(key, 0))
        self._waiting[key] = size
        self._versions += 1
        self._version[key] = self._versions
        return result


def _is_artifact(key: str) -> bool:
    return "/artifacts/" in key or key.startswith("shared/")


def _copy(source: BinaryIO, out: BinaryIO) -> None:
    while block := source.read(1 << 20):
        out.write(block)


def open_place(
    url: str,
    storage_options: dict[str, Any] | None,
    options: Options,
    writer: str,
    away: Callable[[], bool],
) -> tuple[Store, Spool | None]:
    """Return where a writer writes, and its spool if it has one: offline, the spool stands in for the store."""
    named = canonical_url(url)  # a spool's files must not show what a URL may hold of credentials
    if options.offline:
        spool = Spool(options.spool or SpoolOptions(), named, writer, offline=True)
        return LocalStore(spool.objects), spool
    store = open_store(url, storage_options=storage_options)
    if store.supports_append or options.spool is None:
        return store, None
    spool = Spool(options.spool, named, writer)
    return SpoolingStore(store, spool, away, write_ahead=options.durability == "local"), spool
