"""Runs expire by policy, come back when they are wanted, and once purged never do."""

import asyncio
from typing import Any

import numpy as np
import pytest

import aqrec
import aqrec.sync
from aqrec.errors import InvalidInputError, RecorderNotFoundError, StorageError
from aqrec.format import _layout as layout
from aqrec.stores import Store
from aqrec.upkeep import Removed
from tests.engine.support import options, read
from tests.upkeep.support import aged, elsewhere, everything, keys, record

DAY = 86_400.0
each_kind = pytest.mark.parametrize("append", [True, False], ids=["files", "objects"])
BIG = np.arange(60_000, dtype=np.float64)


async def call(url: str, what: str, **settings: Any) -> Removed:
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        found: Removed = await getattr(manager, what)(**settings)
        return found


async def living(url: str) -> list[str]:
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        return sorted((await manager.search_records())["run_id"])


def ids(found: Removed) -> list[str]:
    return [run.run_id for run in found.runs]


async def test_what_is_given_must_all_apply() -> None:
    url, _ = aged(append=False)
    for number in range(4):
        await record(url, number, experiment="ab"[number % 2])
    assert ids(await call(url, "retain", keep_last=1)) == ["r1", "r0"]
    assert ids(await call(url, "retain", keep_last=0, experiment_names=["a"])) == ["r2", "r0"]
    assert ids(await call(url, "retain", filter_string="params.number >= 2")) == ["r3", "r2"]
    assert ids(await call(url, "retain", filter_string="params.number >= 1", keep_last=1)) == ["r1"]
    assert ids(await call(url, "retain", status="FAILED")) == []
    assert ids(await call(url, "retain", older_than=DAY)) == []
    assert ids(await call(url, "retain", older_than=0, status="FINISHED")) == ["r3", "r2", "r1", "r0"]
    assert await living(url) == ["r0", "r1", "r2", "r3"], "these were dry runs"
    done = await call(url, "retain", keep_last=1, dry_run=False)
    assert ids(done) == ["r1", "r0"]
    assert await living(url) == ["r2", "r3"]
    assert ids(await call(url, "retain", keep_last=1)) == []


async def test_what_goes_on_never_expires() -> None:
    url, store = aged(append=False)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await (await manager.create_exp("alpha")).create_recorder(recorder_id="r")
        await recorder.start_run()
        await recorder.flush()
        assert ids(await call(elsewhere(store), "retain", keep_last=0, dry_run=False)) == []
        await manager.delete_recorder(recorder_id="r")
        found = await call(elsewhere(store), "purge", older_than=0, dry_run=False)
        assert (ids(found), found.kept) == ([], ["r"])


@pytest.mark.parametrize(
    "settings", [{}, {"older_than": -1}, {"keep_last": 1.5}, {"status": "RUNNING"}, {"filter_string": "x ="}]
)
async def test_what_cannot_be_meant_is_refused(settings: dict[str, Any]) -> None:
    url, _ = aged(append=False)
    await record(url, 1)
    with pytest.raises(InvalidInputError):
        await call(url, "retain", dry_run=False, **settings)
    assert await living(url) == ["r1"]


@each_kind
async def test_a_deleted_run_comes_back_and_a_purged_one_does_not(append: bool) -> None:
    url, store = aged(append=append)
    await record(url, 1, 2)
    async with aqrec.ExperimentManager(url, options=options(shard_bytes=100_000)) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await recorder.save_objects(**{"big.npy": BIG, "small.txt": "text"})
        await store.put("runs/r1/mine.txt", b"mine")
        await store.put("runs/r1/artifacts/mine.txt", b"mine")
        await manager.delete_recorder(recorder_id="r1")
        assert await living(url) == ["r2"]
        await manager.restore_recorder("r1")
        assert await living(url) == ["r1", "r2"]
        await manager.delete_recorder(recorder_id="r1")
    assert ids(await call(url, "purge")) == [], "it was deleted a moment ago"
    assert ids(await call(url, "purge", older_than=0)) == ["r1"]
    assert len(await keys(store, "runs/r1")) > 5
    done = await call(url, "purge", older_than=0, dry_run=False)
    assert ids(done) == ["r1"]
    assert done.objects > 5
    assert await keys(store, "runs/r1") == ["runs/r1/artifacts/mine.txt", "runs/r1/mine.txt"]
    await _is_gone(url, store)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        await manager.compact(grace=0)
    await _is_gone(url, store)
    assert ids(await call(url, "purge", older_than=0)) == []
    assert [value for _, value in await read(url, "r2", "loss")] == [2.0, 3.0, 4.0]


async def _is_gone(url: str, store: Store) -> None:
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert list((await manager.search_records(view="all"))["run_id"]) == ["r2"]
        with pytest.raises(RecorderNotFoundError):
            await manager.get_recorder(recorder_id="r1")
        with pytest.raises(RecorderNotFoundError):
            await manager.restore_recorder("r1")
        for resume in (True, False):
            with pytest.raises(InvalidInputError, match="purged"):
                await manager.start_exp(experiment_name="alpha", recorder_id="r1", resume=resume)
    doc = (await everything(store))["runs"]["r1"]
    assert doc["purged"]
    assert not doc["params"]
    assert not doc["tags"]
    assert not doc["metrics"]


async def test_who_still_records_a_purged_run_does_not_bring_it_back() -> None:
    url, store = aged(append=False)
    other = elsewhere(store)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await (await manager.create_exp("alpha")).create_recorder(recorder_id="r1")
        await recorder.start_run()
        await recorder.log_metrics(step=0, loss=1.0)
        await recorder.flush()
        await store.age(DAY)
        async with aqrec.ExperimentManager(other, options=options(upkeep="never")) as elder:
            await elder.delete_recorder(recorder_id="r1")
            assert ids(await elder.purge(older_than=0, dry_run=False)) == ["r1"]
        await recorder.log_metrics(step=1, loss=2.0)
        await recorder.log_params(late=1)
        await recorder.save_objects(**{"late.txt": "text"})
        await recorder.flush()
        assert await living(other) == []
    assert await living(other) == []
    await store.age(30 * DAY)
    async with aqrec.ExperimentManager(other, options=options(upkeep="never")) as elder:
        await elder.gc(dry_run=False)
    assert await keys(store, "runs") == []
    assert await keys(store, layout.JOURNAL) == []


async def test_what_an_interrupted_purge_leaves_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    from aqrec.upkeep import _retention

    async def nothing(*_: object) -> int:
        raise StorageError("the network is gone")

    url, store = aged(append=False)
    await record(url, 1, 2)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await manager.delete_recorder(recorder_id="r1")
    with monkeypatch.context() as patch:
        patch.setattr(_retention, "_delete_objects", nothing)
        with pytest.raises(StorageError):
            await call(url, "purge", older_than=0, dry_run=False)
    assert await keys(store, "runs/r1")
    await store.age(30 * DAY)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await manager.gc(dry_run=False)
    assert await keys(store, "runs/r1") == []
    assert await keys(store, "runs/r2")


async def test_a_bulk_file_goes_with_the_last_of_its_runs() -> None:
    url, store = aged(append=False)
    await record(url, 1, 2, seal="bulk")
    assert len(await keys(store, layout.SEALED)) == 1
    for number, left in ((1, 1), (2, 0)):
        async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
            await manager.delete_recorder(recorder_id=f"r{number}")
            await manager.purge(older_than=0, dry_run=False)
        await store.age(30 * DAY)
        async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
            await manager.gc(dry_run=False)
        assert len(await keys(store, layout.SEALED)) == left


def test_retention_on_the_blocking_face() -> None:
    url, _ = aged(append=True)
    asyncio.run(record(url, 1, 2))
    with aqrec.sync.ExperimentManager(url, options=options(upkeep="never")) as manager:
        assert ids(manager.retain(keep_last=1, dry_run=False)) == ["r1"]
        done = manager.purge(older_than=0, dry_run=False)
        assert ids(done) == ["r1"]
        # The marker, two listings, two logs; the time (3); a listing and a deletion for the run.
        assert done.cost.requests <= 10
