"""How the suite reaches the backends past the stores, and stores that the tests share."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from aqrec.stores import LocalStore, MemoryStore, Store, WrapperStore
from aqrec.stores._memory import _Object, _spaces
from aqrec.testing import StoreTests


class LocalHooks(StoreTests):
    """A store in a folder that does not exist yet."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = self.wrap(LocalStore(tmp_path / "a lab"))
        yield store
        await store.aclose()
        assert [p for p in tmp_path.rglob("*") if ".aqrec-tmp" in p.parts and "sub" not in p.parts] == []

    def wrap(self, inner: Store) -> Store:
        return inner

    async def reopen(self, store: Store) -> Store:
        return self.wrap(LocalStore(store.url))

    async def failing_store(self, store: Store) -> Store:
        """A file stands where the folder should be."""
        await self.raw_put(store, "file", b"")
        return self.wrap(LocalStore(self._root(store) / "file"))

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        try:
            return (self._root(store) / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    async def raw_put(self, store: Store, key: str, data: bytes) -> None:
        path = self._root(store) / key
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        path.write_bytes(data)

    async def raw_list(self, store: Store) -> set[str]:
        root = str(self._root(store))
        return {f"{folder}/{name}"[len(root) + 1 :] for folder, _, names in os.walk(root) for name in names}

    def _root(self, store: Store) -> Path:
        while isinstance(store, WrapperStore):
            store = store.inner
        assert isinstance(store, LocalStore)
        return store._root


class MemoryHooks(StoreTests):
    """A store in memory."""

    bounded_streams = False

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        name = f"test/{uuid4().hex}"
        store = self.wrap(MemoryStore(name, **self.storage_options))
        yield store
        await store.aclose()
        MemoryStore.forget(name)

    def wrap(self, inner: Store) -> Store:
        return inner

    async def reopen(self, store: Store) -> Store:
        return self.wrap(await super().reopen(store))

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        found = self._objects(store).get(key)
        return None if found is None else bytes(found.data)

    async def raw_put(self, store: Store, key: str, data: bytes) -> None:
        self._objects(store)[key] = _Object(data)

    async def raw_list(self, store: Store) -> set[str]:
        return set(self._objects(store))

    def _objects(self, store: Store) -> dict[str, _Object]:
        return _spaces[store.url.removeprefix("memory://")].objects
