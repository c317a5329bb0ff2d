"""Runs whose writers died end FAILED with all their points; one that lives after all loses nothing."""

import asyncio
import json
from typing import Any

import pytest

import aqrec
import aqrec.sync
from aqrec.errors import InvalidInputError
from aqrec.format import _layout as layout
from aqrec.stores import Store
from aqrec.upkeep import Reaped
from tests.engine.support import on_engine, options, read
from tests.upkeep.support import aged, as_it_is, elsewhere, everything, keys, record

HOUR = 3600.0
each_kind = pytest.mark.parametrize("append", [True, False], ids=["files", "objects"])


async def reap(url: str, **settings: Any) -> Reaped:
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        return await manager.reap(**settings)


async def state(store: Store, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await everything(store))["runs"][run_id]
    return found


async def begin(manager: aqrec.ExperimentManager, run_id: str = "r", points: int = 3) -> aqrec.Recorder:
    recorder = await (await manager.get_exp(experiment_name="alpha")).create_recorder(
        "one", recorder_id=run_id
    )
    await recorder.start_run()
    for step in range(points):
        await recorder.log_metrics(step=step, loss=float(step))
        await recorder.flush()
    return recorder


EXPECTED = [(step, float(step)) for step in range(3)]


@each_kind
async def test_a_run_whose_process_died_fails_and_keeps_its_points(append: bool) -> None:
    url, living = aged(append=append)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        await begin(manager)
        await record(url, 7)
        url, store = await as_it_is(living)
    assert (await reap(url, dry_run=False)).runs == [], "it was heard of a moment ago"
    await store.age(2 * HOUR)
    before = await keys(store)
    found = await reap(url)
    (run,) = found.runs
    assert (run.run_id, run.name, run.experiment_name, run.ended, run.points) == (
        "r",
        "one",
        "alpha",
        True,
        0,
    )
    assert await keys(store) == before, "it was only a dry run"
    (done,) = (await reap(url, dry_run=False)).runs
    assert done.points == 3
    doc = await state(store, "r")
    assert doc["status"] == "FAILED"
    assert "not heard of since" in doc["status_reason"]
    assert "not heard of since" in doc["tags"]["aqrec.reaped"]
    assert abs(doc["end_time"] - doc["start_time"]) < 3 * HOUR * 1000
    assert sum(part["points"] for part in doc["sealed"]) == 3
    assert json.loads(await store.get(layout.run_document_key("r")))["status"] == "FAILED"
    await store.delete(await keys(store, layout.JOURNAL))
    assert await read(url, "r", "loss") == EXPECTED
    assert (await reap(url, dry_run=False)).runs == []


async def test_points_that_no_event_tells_of_are_sealed_and_counted() -> None:
    url, living = aged(append=True)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await begin(manager, points=1)
        log = (await keys(living, layout.EVENTS))[0]
        events = await living.get(log)
        for step in range(1, 3):
            await recorder.log_metrics(step=step, loss=float(step))
        await recorder.flush()
        url, store = await as_it_is(living)
    await store.put(log, events)  # they had not come so far
    await store.age(2 * HOUR)
    (run,) = (await reap(url, dry_run=False)).runs
    assert run.points == 3
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        doc = await (await manager.get_recorder(recorder_id="r"))._run.session.run(
            (await manager.get_recorder(recorder_id="r"))._run.document()
        )
        ((summary,),) = (rows.values() for rows in doc.metrics.values())
        assert (summary.count, summary.value, summary.maximum) == (3, 2.0, 2.0)


async def test_an_ended_run_whose_points_were_not_sealed_is_sealed() -> None:
    url, living = aged(append=False)
    await record(url, 1, seal="never")
    url, store = await as_it_is(living)
    assert await keys(store, layout.JOURNAL)
    await store.age(2 * HOUR)
    (run,) = (await reap(url, dry_run=False)).runs
    assert (run.run_id, run.ended, run.points) == ("r1", False, 3)
    assert (await state(store, "r1"))["status"] == "FINISHED"
    await store.delete(await keys(store, layout.JOURNAL))
    assert [value for _, value in await read(url, "r1", "loss")] == [1.0, 2.0, 3.0]


@each_kind
async def test_a_process_that_wakes_up_goes_on(append: bool) -> None:
    url, store = aged(append=append)
    other = elsewhere(store)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await begin(manager)
        await store.age(2 * HOUR)
        assert [run.run_id for run in (await reap(other, dry_run=False)).runs] == ["r"]
        assert (await state(store, "r"))["status"] == "FAILED"
        alive = recorder._run.engine.alive
        await on_engine(recorder, lambda: setattr(alive, "_heard", 0))
        await recorder.log_metrics(step=3, loss=3.0)
        await recorder.flush()
        await recorder.flush()
        doc = await state(store, "r")
        assert doc["status"] == "RUNNING"
        assert "aqrec.reaped" not in doc["tags"]
        assert (await reap(other, dry_run=False)).runs == []
        assert await read(other, "r", "loss") == [*EXPECTED, (3, 3.0)]
        await recorder.end_run()
    doc = await state(store, "r")
    assert (doc["status"], doc["status_reason"]) == ("FINISHED", "")
    assert await read(other, "r", "loss") == [*EXPECTED, (3, 3.0)]


async def test_an_end_that_a_writer_recorded_itself_stands() -> None:
    """It was stored late: after somebody had given the run up."""
    url, living = aged(append=False)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await begin(manager)
        cut, store = await as_it_is(living)
        await recorder.end_run()
    await store.age(2 * HOUR)
    assert [run.run_id for run in (await reap(cut, dry_run=False)).runs] == ["r"]
    for key in await keys(living):
        await store.put(key, await living.get(key))
    doc = await state(store, "r")
    assert (doc["status"], doc["status_reason"]) == ("FINISHED", "")
    assert len(doc["sealed"]) == 2
    assert await read(cut, "r", "loss") == EXPECTED


@each_kind
async def test_what_was_heard_outlives_the_logs_that_told_it(append: bool) -> None:
    url, store = aged(append=append)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await begin(manager)
        async with aqrec.ExperimentManager(elsewhere(store), options=options()) as other:
            await other.compact(grace=0)
        await store.age(2 * HOUR)
        found = await reap(elsewhere(store), dry_run=False)
        assert (found.runs, found.running) == ([], 1)


async def test_several_may_reap_at_once() -> None:
    url, living = aged(append=False)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        await begin(manager)
        _, store = await as_it_is(living)
    await store.age(2 * HOUR)
    await asyncio.gather(*(reap(elsewhere(store), dry_run=False) for _ in range(3)))
    assert (await state(store, "r"))["status"] == "FAILED"
    assert await read(elsewhere(store), "r", "loss") == EXPECTED


async def test_after_reaping_the_journal_is_litter() -> None:
    url, living = aged(append=False)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        await begin(manager)
        url, store = await as_it_is(living)
    await store.age(2 * HOUR)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        assert (await manager.gc(dry_run=False, grace=HOUR)).orphans == []
        await manager.reap(dry_run=False)
    await store.age(30 * 86_400)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        assert "journal" in (await manager.gc(dry_run=False)).kinds
    assert await keys(store, layout.JOURNAL) == []
    assert await read(url, "r", "loss") == EXPECTED


async def test_a_run_of_this_process_is_never_given_up() -> None:
    url, store = aged(append=False)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await begin(manager)
        await store.age(30 * HOUR)
        assert (await manager.reap(dry_run=False)).runs == []


def test_reap_on_the_blocking_face() -> None:
    url, _ = aged(append=True)
    asyncio.run(record(url, 1))
    with aqrec.sync.ExperimentManager(url, options=options()) as manager:
        found = manager.reap()
        assert (found.runs, found.running) == ([], 0)
        # The marker; the events, the heads and one log; the journals; events and heads again.
        assert found.cost.requests == 7
        with pytest.raises(InvalidInputError, match="horizon"):
            manager.reap(horizon=60)


def test_an_aged_store_is_what_it_says() -> None:
    async def look() -> None:
        _, store = aged(append=False)
        await store.put("a", b"")
        now = (await store.head("a")).modified
        await store.age(5)
        await store.age(5)
        assert (await store.head("a")).modified == now - 10_000
        await store.put("b", b"")
        assert (await store.head("b")).modified >= now

    asyncio.run(look())
