"""Whoever comes across a catalog of many small objects folds it, and nobody waits for that or suffers from it."""

import asyncio

import pytest

import aqrec
import aqrec.sync
from aqrec.errors import InvalidInputError, InvalidValueError, StorageError
from aqrec.format import _layout as layout
from aqrec.stores import FaultyStore, MemoryStore, Store, WrapperStore
from aqrec.upkeep import _schedule
from tests.engine.support import options, serve
from tests.upkeep.support import everything, record, shared


async def count(store: Store, folder: str = layout.EVENTS) -> int:
    return len([info async for info in store.list(folder)])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_schedule, "DUE_WHEN_READ", 3)
    monkeypatch.setattr(_schedule, "DUE_AT_CLOSE", 3)


async def test_a_writer_folds_when_it_closes(few: None) -> None:
    url, store = shared(append=False)
    for number in range(6):
        await record(url, number)
    assert await count(store, layout.HEADS) > 0
    assert await count(store) <= 4
    assert sorted((await everything(store))["runs"]) == [f"r{number}" for number in range(6)]


async def test_a_reader_folds_beside_its_search(few: None) -> None:
    url, store = shared(append=False)
    for number in range(6):
        await record(url, number, upkeep="never")
    before = await everything(store)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert len(await manager.list_recorders(experiment_name="alpha")) == 6
        heads = [0]

        async def look() -> None:
            heads[0] = await count(store, layout.HEADS)

        while not heads[0]:
            await look()
            await asyncio.sleep(0.01)
    assert await everything(store) == before


async def test_upkeep_may_be_turned_off(few: None) -> None:
    url, store = shared(append=False)
    for number in range(6):
        await record(url, number, upkeep="never")
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        assert len(await manager.list_recorders(experiment_name="alpha")) == 6
    assert await count(store, layout.HEADS) == 0
    with pytest.raises(InvalidValueError, match="upkeep"):
        aqrec.Options(upkeep="sometimes")  # type: ignore[arg-type]


async def test_where_nothing_may_be_written_reading_works(
    few: None, caplog: pytest.LogCaptureFixture
) -> None:
    url, store = shared(append=False)
    for number in range(6):
        await record(url, number, upkeep="never")
    name = store.url.removeprefix("memory://")
    writes = {"put", "create", "put_stream", "delete"}
    denied = serve(
        lambda: FaultyStore(
            MemoryStore(name, append=False),
            lambda operation, *_: StorageError("access denied") if operation in writes else None,
        )
    )
    async with aqrec.ExperimentManager(denied, options=options()) as manager:
        for _ in range(3):
            assert len(await manager.list_recorders(experiment_name="alpha")) == 6
    assert not caplog.records


async def test_where_conditions_are_ignored_only_compact_folds(
    few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ignored(self: Store) -> bool:
        return False

    monkeypatch.setattr(WrapperStore, "probe_create", ignored)
    url, store = shared(append=False)
    for number in range(6):
        await record(url, number)
    assert await count(store, layout.HEADS) == 0
    before = await everything(store)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        done = await manager.compact(grace=0)
        assert (done.snapshots, done.rows) == (1, 6)
    assert await count(store, layout.HEADS) > 0
    assert await everything(store) == before


def test_compact_on_the_blocking_face() -> None:
    url, _ = shared(append=True)
    asyncio.run(record(url, 1, 2))
    with aqrec.sync.ExperimentManager(url, options=options()) as manager:
        assert manager.compact().rows == 2
        assert manager.compact().folded == 0
        with pytest.raises(InvalidInputError, match="grace"):
            manager.compact(grace=-1)


async def test_a_fold_that_hangs_does_not_keep_a_store_from_closing(
    few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_schedule, "_AT_CLOSE", 0.05)
    begun = []

    async def hangs(*_: object, **__: object) -> None:
        begun.append(True)
        await asyncio.Event().wait()

    monkeypatch.setattr(_schedule, "fold", hangs)
    url, _ = shared(append=False)
    for number in range(6):
        await record(url, number)
    assert begun
