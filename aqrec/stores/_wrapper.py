"""Stores around stores: delegation, delays, and counting."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import asynccontextmanager
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from ._abc import Appender, Children, ObjectInfo, Store
from ._files import SinkFile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

__all__ = ["CountingStore", "LatencyStore", "WrapperAppender", "WrapperStore", "closing"]

T = TypeVar("T")


class WrapperStore(Store):
    """A store that hands every call on; derive from it to change some.

    Parameters
    ----------
    inner
        Belongs to the wrapper from now on: closing the wrapper closes it.
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r})"

    @property
    def inner(self) -> Store:
        """The wrapped store."""
        return self._inner

    @property
    def url(self) -> str:
        """The wrapped store's URL."""
        return self._inner.url

    @property
    def supports_append(self) -> bool:
        """Whether the wrapped store can append."""
        return self._inner.supports_append

    def local_path(self, key: str) -> Path | None:
        """Hand on `Store.local_path`."""
        return self._inner.local_path(key)

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Hand on `Store.get`."""
        return await self._inner.get(key, start=start, end=end)

    async def put(self, key: str, data: bytes) -> None:
        """Hand on `Store.put`."""
        await self._inner.put(key, data)

    async def create(self, key: str, data: bytes) -> None:
        """Hand on `Store.create`."""
        await self._inner.create(key, data)

    async def head(self, key: str) -> ObjectInfo:
        """Hand on `Store.head`."""
        return await self._inner.head(key)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Hand on `Store.list`."""
        return self._inner.list(prefix)

    async def list_dir(self, prefix: str = "") -> Children:
        """Hand on `Store.list_dir`."""
        return await self._inner.list_dir(prefix)

    async def delete(self, keys: Iterable[str]) -> None:
        """Hand on `Store.delete`."""
        await self._inner.delete(keys)

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Hand on `Store.put_stream`."""
        return await self._inner.put_stream(key, write)

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Hand on `Store.get_stream`."""
        return await self._inner.get_stream(key, read)

    async def probe_create(self) -> bool:
        """Hand on `Store.probe_create`."""
        return await self._inner.probe_create()

    async def open_append(self, key: str) -> Appender:
        """Hand on `Store.open_append`."""
        return await self._inner.open_append(key)

    async def aclose(self) -> None:
        """Close the wrapped store."""
        await self._inner.aclose()


@asynccontextmanager
async def closing(items: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Close a listing, if it can be closed, when the listing around it ends early."""
    try:
        yield items
    finally:
        if isinstance(items, AsyncGeneratorType):
            await items.aclose()


class WrapperAppender(Appender):
    """An appender that hands every call on."""

    def __init__(self, inner: Appender) -> None:
        self._inner = inner

    def write(self, data: bytes) -> None:
        """Hand on `Appender.write`."""
        self._inner.write(data)

    def sync(self) -> None:
        """Hand on `Appender.sync`."""
        self._inner.sync()

    def close(self) -> None:
        """Hand on `Appender.close`."""
        self._inner.close()


class LatencyStore(WrapperStore):
    """A store that waits before each call.

    Appenders, which block, are not delayed.

    Parameters
    ----------
    inner
        The store to slow down.
    delay
        Awaited as ``delay(operation, key)`` with the method's name and its key or prefix (of `delete`, the
        first key), before the call goes on. May wait for time or for an event, or raise.
    """

    def __init__(self, inner: Store, delay: Callable[[str, str], Awaitable[object]]) -> None:
        super().__init__(inner)
        self._delay = delay

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Wait, then hand on `Store.get`."""
        await self._delay("get", key)
        return await self._inner.get(key, start=start, end=end)

    async def put(self, key: str, data: bytes) -> None:
        """Wait, then hand on `Store.put`."""
        await self._delay("put", key)
        await self._inner.put(key, data)

    async def create(self, key: str, data: bytes) -> None:
        """Wait, then hand on `Store.create`."""
        await self._delay("create", key)
        await self._inner.create(key, data)

    async def head(self, key: str) -> ObjectInfo:
        """Wait, then hand on `Store.head`."""
        await self._delay("head", key)
        return await self._inner.head(key)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Wait once, then hand on `Store.list`."""
        await self._delay("list", prefix)
        async with closing(self._inner.list(prefix)) as items:
            async for info in items:
                yield info

    async def list_dir(self, prefix: str = "") -> Children:
        """Wait, then hand on `Store.list_dir`."""
        await self._delay("list_dir", prefix)
        return await self._inner.list_dir(prefix)

    async def delete(self, keys: Iterable[str]) -> None:
        """Wait, then hand on `Store.delete`."""
        if not isinstance(keys, str):
            keys = tuple(keys)
            await self._delay("delete", keys[0] if keys else "")
        await self._inner.delete(keys)

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Wait, then hand on `Store.put_stream`."""
        await self._delay("put_stream", key)
        return await self._inner.put_stream(key, write)

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Wait, then hand on `Store.get_stream`."""
        await self._delay("get_stream", key)
        return await self._inner.get_stream(key, read)

    async def probe_create(self) -> bool:
        """Wait, then hand on `Store.probe_create`."""
        await self._delay("probe_create", "")
        return await self._inner.probe_create()

    async def open_append(self, key: str) -> Appender:
        """Wait, then hand on `Store.open_append`."""
        await self._delay("open_append", key)
        return await self._inner.open_append(key)


class CountingStore(WrapperStore):
    """A store that counts calls and bytes; any thread may read the counters.

    Attributes
    ----------
    requests
        Calls by method's name, failed ones included; of appenders as ``append.write`` and ``append.sync``.
        One listing is one call, however long.
    sent, received
        Bytes by method's name, of calls that succeeded. `get_stream` counts the object's size, whatever the
        callback reads of it.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()

    def reset(self) -> None:
        """Set all counters to zero."""
        with self._lock:
            for counter in (self.requests, self.sent, self.received):
                counter.clear()

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Count `Store.get`."""
        self._add(self.requests, "get")
        data = await self._inner.get(key, start=start, end=end)
        self._add(self.received, "get", len(data))
        return data

    async def put(self, key: str, data: bytes) -> None:
        """Count `Store.put`."""
        self._add(self.requests, "put")
        await self._inner.put(key, data)
        self._add(self.sent, "put", len(data))

    async def create(self, key: str, data: bytes) -> None:
        """Count `Store.create`."""
        self._add(self.requests, "create")
        await self._inner.create(key, data)
        self._add(self.sent, "create", len(data))

    async def head(self, key: str) -> ObjectInfo:
        """Count `Store.head`."""
        self._add(self.requests, "head")
        return await self._inner.head(key)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Count `Store.list`."""
        self._add(self.requests, "list")
        async with closing(self._inner.list(prefix)) as items:
            async for info in items:
                yield info

    async def list_dir(self, prefix: str = "") -> Children:
        """Count `Store.list_dir`."""
        self._add(self.requests, "list_dir")
        return await self._inner.list_dir(prefix)

    async def delete(self, keys: Iterable[str]) -> None:
        """Count `Store.delete`."""
        self._add(self.requests, "delete")
        await self._inner.delete(keys)

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Count `Store.put_stream`."""

        def counted(file: BinaryIO) -> tuple[T, int]:
            with SinkFile(lambda data: cast("None", file.write(data))) as sink:
                result = write(cast("BinaryIO", sink))
            sink.check()
            return result, sink.tell()

        self._add(self.requests, "put_stream")
        result, size = await self._inner.put_stream(key, counted)
        self._add(self.sent, "put_stream", size)
        return result

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Count `Store.get_stream`."""

        def counted(file: BinaryIO) -> T:
            size = file.seek(0, 2)
            file.seek(0)
            result = read(file)
            self._add(self.received, "get_stream", size)
            return result

        self._add(self.requests, "get_stream")
        return await self._inner.get_stream(key, counted)

    async def probe_create(self) -> bool:
        """Count `Store.probe_create`."""
        self._add(self.requests, "probe_create")
        return await self._inner.probe_create()

    async def open_append(self, key: str) -> Appender:
        """Count `Store.open_append` and what is done with the appender."""
        self._add(self.requests, "open_append")
        return _CountingAppender(await self._inner.open_append(key), self._add, self.requests, self.sent)

    def _add(self, counter: Counter[str], operation: str, number: int = 1) -> None:
        with self._lock:
            counter[operation] += number


class _CountingAppender(WrapperAppender):
    def __init__(
        self,
        inner: Appender,
        add: Callable[[Counter[str], str, int], None],
        requests: Counter[str],
        sent: Counter[str],
    ) -> None:
        super().__init__(inner)
        self._add = add
        self._requests = requests
        self._sent = sent

    def write(self, data: bytes) -> None:
        """Count `Appender.write`."""
        self._add(self._requests, "append.write", 1)
        self._inner.write(data)
        self._add(self._sent, "append.write", len(data))

    def sync(self) -> None:
        """Count `Appender.sync`."""
        self._add(self._requests, "append.sync", 1)
        self._inner.sync()
