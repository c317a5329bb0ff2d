"""Every store keeps the contract."""

import asyncio
from collections.abc import Callable
from typing import ClassVar

import pytest

from aqrec.stores import CountingStore, FaultyStore, LatencyStore, Store, WrapperStore
from tests.stores.support import LocalHooks, MemoryHooks


class TestLocalStore(LocalHooks):
    shared_between_processes = True


@pytest.mark.usefixtures("unsynced", "no_nameless_files")
class TestLocalStoreWithNamedTemporaryFiles(LocalHooks):
    """As on file systems that know no nameless files."""


class TestMemoryStore(MemoryHooks):
    pass


class TestMemoryStoreWithoutAppend(MemoryHooks):
    storage_options: ClassVar = {"append": False}


async def _turn(operation: str, key: str) -> None:
    await asyncio.sleep(0)


WRAPPERS: dict[type[WrapperStore], Callable[[Store], Store]] = {
    WrapperStore: WrapperStore,
    LatencyStore: lambda inner: LatencyStore(inner, _turn),
    CountingStore: CountingStore,
    FaultyStore: lambda inner: FaultyStore(inner, {}),
}


@pytest.mark.usefixtures("unsynced")
class TestLocalStoreInAllWrappers(LocalHooks):
    race_rounds = 8

    def wrap(self, inner: Store) -> Store:
        for wrap in WRAPPERS.values():
            inner = wrap(inner)
        return inner


class TestWrappedMemoryStore(MemoryHooks):
    def wrap(self, inner: Store) -> Store:
        return WRAPPERS[WrapperStore](inner)


class TestLateMemoryStore(MemoryHooks):
    def wrap(self, inner: Store) -> Store:
        return WRAPPERS[LatencyStore](inner)


class TestCountedMemoryStore(MemoryHooks):
    def wrap(self, inner: Store) -> Store:
        return WRAPPERS[CountingStore](inner)


class TestFaultlessMemoryStore(MemoryHooks):
    def wrap(self, inner: Store) -> Store:
        return WRAPPERS[FaultyStore](inner)


def test_the_suite_runs_on_every_wrapper() -> None:
    """A new wrapper in the package must get its class here."""
    from aqrec import stores

    found = {value for value in vars(stores).values() if isinstance(value, type)}
    assert {value for value in found if issubclass(value, WrapperStore)} == set(WRAPPERS)
