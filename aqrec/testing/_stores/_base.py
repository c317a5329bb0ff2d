"""What the parts of the suite share: the hooks a driver fills in, and small helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from aqrec.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aqrec.stores import ObjectInfo, Store

__all__ = ["StoreHooks", "collect", "error_of", "keys_below"]


class StoreHooks:
    """What a driver's test class provides; see `StoreTests`."""

    bounded_streams: ClassVar[bool] = True
    shared_between_processes: ClassVar[bool] = False
    honours_create: ClassVar[bool] = True
    keeps_replaced: ClassVar[bool] = True
    stream_memory: ClassVar[int] = 12 * 1024 * 1024
    key_room: ClassVar[int] = 1024
    many: ClassVar[int] = 1200
    storage_options: ClassVar[Mapping[str, Any]] = {}
    race_rounds: ClassVar[int] = 20

    @pytest.fixture
    def store(self) -> Store:
        """Return an empty store; to be overridden."""
        raise NotImplementedError("override the fixture 'store'")

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        """Return an object's bytes, or None, without using `store` beyond its URL."""
        raise NotImplementedError

    async def raw_put(self, store: Store, key: str, data: bytes) -> None:
        """Write an object as another program would; need not be durable."""
        raise NotImplementedError

    async def raw_put_many(self, store: Store, objects: Mapping[str, bytes]) -> None:
        """Write many objects; to be overridden where one after the other takes long."""
        for key, data in objects.items():
            await self.raw_put(store, key, data)

    async def raw_list(self, store: Store) -> set[str]:
        """Return every key there is, those of temporary objects included."""
        raise NotImplementedError

    async def reopen(self, store: Store) -> Store:
        """Return another store object on the same objects; the caller closes it."""
        return open_store(store.url, storage_options=self.storage_options)

    async def failing_store(self, store: Store) -> Store | None:
        """Return a store whose backend refuses every request, or None if that cannot be had.

        It may use a part of `store`, and is closed by the caller.
        """
        del store
        return None


async def collect(store: Store, prefix: str = "") -> list[ObjectInfo]:
    """Return what a listing yields, sorted."""
    return sorted([info async for info in store.list(prefix)], key=lambda info: info.key)


async def keys_below(store: Store, prefix: str = "") -> list[str]:
    """Return the keys a listing yields, sorted, with repetitions."""
    return [info.key for info in await collect(store, prefix)]


async def error_of(call: Awaitable[object]) -> Exception | None:
    """Return what a call raises, or None."""
    try:
        await call
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
    return None
