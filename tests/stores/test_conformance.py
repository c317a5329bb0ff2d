"""Every store keeps the contract."""

import asyncio
from typing import Any

import pytest

from aqrec.stores import CountingStore, FaultyStore, LatencyStore, Store, WrapperStore
from tests.stores.support import LocalHooks, MemoryHooks


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what only a power loss would show, where the store below is tested with it elsewhere."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("os.fdatasync", lambda fd: None)


class TestLocalStore(LocalHooks):
    shared_between_processes = True


@pytest.mark.usefixtures("unsynced")
class TestLocalStoreWithNamedTemporaryFiles(LocalHooks):
    """As on file systems that know no nameless files."""

    shared_between_processes = True

    @pytest.fixture(autouse=True)
    def _no_nameless_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aqrec.stores._scratch._O_TMPFILE", 0)


class TestMemoryStore(MemoryHooks):
    pass


class TestMemoryStoreWithoutAppend(MemoryHooks):
    storage_options = {"append": False}


async def _turn(operation: str, key: str) -> None:
    await asyncio.sleep(0)


class _Plain:
    def wrap(self, inner: Store) -> Store:
        return WrapperStore(inner)


class _Late:
    def wrap(self, inner: Store) -> Store:
        return LatencyStore(inner, _turn)


class _Counted:
    def wrap(self, inner: Store) -> Store:
        return CountingStore(inner)


class _Faultless:
    def wrap(self, inner: Store) -> Store:
        return FaultyStore(inner, {})


@pytest.mark.usefixtures("unsynced")
class _Local(LocalHooks):
    race_rounds = 8


class TestWrappedLocalStore(_Plain, _Local):
    pass


class TestLateLocalStore(_Late, _Local):
    pass


class TestCountedLocalStore(_Counted, _Local):
    pass


class TestFaultlessLocalStore(_Faultless, _Local):
    pass


class TestWrappedMemoryStore(_Plain, MemoryHooks):
    pass


class TestLateMemoryStore(_Late, MemoryHooks):
    pass


class TestCountedMemoryStore(_Counted, MemoryHooks):
    pass


class TestFaultlessMemoryStore(_Faultless, MemoryHooks):
    pass


def test_the_suite_runs_on_every_store_and_wrapper() -> None:
    """A new wrapper in the package must get its class here."""
    from aqrec import stores

    wrappers = {
        value
        for value in vars(stores).values()
        if isinstance(value, type) and issubclass(value, WrapperStore)
    }
    made: set[Any] = {type(maker().wrap(None)) for maker in (_Plain, _Late, _Counted, _Faultless)}
    assert made == wrappers
