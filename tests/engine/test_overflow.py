"""The buffer is bounded, and whatever it cannot take is waited for, refused or counted."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

import aqrec
import aqrec.sync
from aqrec.errors import BufferFullError, ClosedError, StorageError
from aqrec.options import Options
from aqrec.stores import FaultyStore, MemoryStore, Store
from tests.engine.support import history, options, read, serve

CAPACITY = 50
JOURNAL = 4 * 4096
"""Bytes that may wait outside the buffer, with the segments of `small`."""
SLACK = JOURNAL // 24 + 16_384
"""Rows of one metric that may have left the buffer when the store goes down."""


def small(overflow: str, **others: Any) -> Options:
    made = options(capacity=CAPACITY, overflow=overflow, close_timeout=2.0, **others)
    return msgspec.structs.replace(made, flush=msgspec.structs.replace(made.flush, segment_bytes=4096))


class Gate:
    """A store that refuses to write while `down`."""

    def __init__(self) -> None:
        self.down = False
        writes = {"put", "open_append", "append.write", "append.sync"}
        inner = MemoryStore(f"gate-{id(self)}-{time.monotonic_ns()}")

        def make() -> Store:
            return FaultyStore(
                inner, lambda op, _key, _n: StorageError("down") if self.down and op in writes else None
            )

        self.url = serve(make)
        self.clean = serve(lambda: MemoryStore(inner.url.removeprefix("memory://")))


@asynccontextmanager
async def recording(gate: Gate, chosen: Options) -> AsyncIterator[aqrec.Recorder]:
    """Start a run, take the store down and fill what may wait outside the buffer."""
    async with aqrec.ExperimentManager(gate.url, options=chosen) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        await recorder.flush()
        gate.down = True
        while (await recorder.statistics()).buffered < CAPACITY // 2:
            for _ in range(CAPACITY // 5):
                recorder.log_metrics(fill=0.0)
            await asyncio.sleep(0.015)  # longer than the engine takes to fetch them, if it does
        while (await recorder.statistics()).buffered < CAPACITY:
            recorder.log_metrics(fill=0.0)
        assert (await recorder.statistics()).dropped == 0
        yield recorder
        gate.down = False
        await recorder.end_run()


def never_suspends(awaitable: Awaitable[None]) -> bool:
    async def run() -> None:
        await awaitable

    coroutine = run()
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    coroutine.close()
    return False


async def test_a_call_with_room_does_not_suspend() -> None:
    async with aqrec.open_recorder("memory://fast", options=options()) as recorder:
        for _ in range(3):
            assert never_suspends(recorder.log_metrics(loss=1.0))
            assert never_suspends(recorder.log_params(a=1))
            assert never_suspends(recorder.set_tags(a=1))
            assert never_suspends(recorder.log_batch({"x": 1.0}, {"b": 2}, {"c": 3}))


async def test_an_awaited_call_waits_until_there_is_room_and_loses_nothing() -> None:
    gate = Gate()
    async with recording(gate, small("wait")) as recorder:

        async def job() -> None:
            for step in range(300):
                await recorder.log_metrics(step=step, loss=step)

        task = asyncio.create_task(job())
        await asyncio.sleep(0.05)
        assert not task.done()
        statistics = await recorder.statistics()
        assert statistics.buffered <= CAPACITY + 1
        assert statistics.waits > 0
        gate.down = False
        await task
        assert (await recorder.statistics()).dropped == 0
    assert await read(gate.clean, recorder.id, "loss") == [(step, float(step)) for step in range(300)]


async def test_calls_that_are_not_awaited_are_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    async with recording(gate, small("wait")) as recorder:
        for step in range(1_000):
            recorder.log_metrics(step=step, loss=step)
        statistics = await recorder.statistics()
        assert CAPACITY <= statistics.buffered <= 2 * CAPACITY
        assert statistics.dropped == 1_000 - CAPACITY
    assert sum("points dropped" in record.getMessage() for record in caplog.records) == 1
    assert await read(gate.clean, recorder.id, "loss") == [(step, float(step)) for step in range(CAPACITY)]


async def test_the_runs_own_document_tells_how_many_points_were_dropped() -> None:
    gate = Gate()
    async with recording(gate, small("wait")) as recorder:
        for step in range(500):
            recorder.log_metrics(step=step, a=1, b=2)
        dropped = (await recorder.statistics()).dropped
        assert dropped == 2 * (500 - CAPACITY)
    async with aqrec.ExperimentManager(gate.clean, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        document = await again._call(again._run.document())
        assert sum(document.dropped.values()) == dropped
        stored = await again._call(again._run.engine.store.get(f"runs/{recorder.id}/run.json"))
        assert sum(json.loads(stored)["dropped"].values()) == dropped


async def test_waiting_has_an_end_and_is_not_repeated_while_nothing_changes() -> None:
    gate = Gate()
    async with recording(gate, small("wait", wait_timeout=0.1)) as recorder:
        began = time.monotonic()
        for step in range(300):
            await recorder.log_metrics(step=step, loss=step)
        assert 0.1 <= time.monotonic() - began < 1.0
        statistics = await recorder.statistics()
        assert statistics.buffered <= 2 * CAPACITY
        assert statistics.dropped >= 300 - 2 * CAPACITY
        gate.down = False
        await recorder.flush()
        await recorder.log_metrics(step=1_000, loss=1_000)
        assert statistics.dropped == (await recorder.statistics()).dropped
    points = await read(gate.clean, recorder.id, "loss")
    assert len(points) == 301 - statistics.dropped
    assert points[-1] == (1_000, 1_000.0)


async def test_the_oldest_points_make_room() -> None:
    gate = Gate()
    async with recording(gate, small("drop_oldest")) as recorder:
        for step in range(1_000):
            assert never_suspends(recorder.log_metrics(step=step, loss=step))
        statistics = await recorder.statistics()
        assert statistics.buffered == CAPACITY
        assert statistics.dropped == 1_000
        assert statistics.waits == 0
    kept = [(step, float(step)) for step in range(1_000 - CAPACITY, 1_000)]
    assert await read(gate.clean, recorder.id, "loss") == kept


async def test_a_full_buffer_may_be_an_error() -> None:
    gate = Gate()
    async with recording(gate, small("error")) as recorder:
        for _ in range(3):
            with pytest.raises(BufferFullError, match=r"capacity 50.*await flush\(\)"):
                recorder.log_metrics(loss=1.0)
        await recorder.log_params(still="taken")
        await recorder.set_tags(and_this=1)
        assert (await recorder.statistics()).dropped == 0
    assert await read(gate.clean, recorder.id, "loss") == []
    async with aqrec.ExperimentManager(gate.clean, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert await again.list_params() == {"still": "taken"}
        assert (await again.list_tags())["and_this"] == 1


async def test_only_points_are_ever_dropped() -> None:
    gate = Gate()
    async with recording(gate, small("wait")) as recorder:
        for number in range(500):
            recorder.log_params(**{f"p{number}": number})
            recorder.set_tags(last=number)
            recorder.log_metrics(loss=1.0)
    async with aqrec.ExperimentManager(gate.clean, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert await again.list_params() == {f"p{number}": number for number in range(500)}
        assert (await again.list_tags())["last"] == 499


async def test_a_call_of_many_keys_waits_for_all_of_them() -> None:
    gate = Gate()
    wide = {f"k{number:04}": float(number) for number in range(64 * CAPACITY * 3)}
    async with recording(gate, small("wait")) as recorder:
        task = asyncio.ensure_future(_wait(recorder.log_metrics(step=1, **wide)))
        await asyncio.sleep(0.03)
        assert not task.done()
        gate.down = False
        await task
        assert (await recorder.statistics()).dropped == 0
        assert {k: v for k, v in (await recorder.list_metrics()).items() if k != "fill"} == wide


async def test_a_batch_larger_than_the_buffer_waits_for_all_of_it() -> None:
    gate = Gate()
    async with recording(gate, small("wait")) as recorder:
        batch = [("loss", float(step), step, None) for step in range(CAPACITY * 20)]
        task = asyncio.ensure_future(_wait(recorder.log_batch(batch)))
        await asyncio.sleep(0.03)
        assert not task.done()
        gate.down = False
        await task
        assert (await recorder.statistics()).dropped == 0
    assert sorted(await read(gate.clean, recorder.id, "loss")) == [
        (s, float(s)) for s in range(CAPACITY * 20)
    ]


async def _wait(awaitable: Awaitable[None]) -> None:
    await awaitable


async def test_hundreds_of_tasks_share_the_buffer_and_lose_nothing() -> None:
    gate = Gate()
    async with recording(gate, small("wait")) as recorder:

        async def job(number: int) -> None:
            for step in range(20):
                await recorder.log_metrics(step=step, **{f"t{number}": step})

        tasks = [asyncio.create_task(job(number)) for number in range(300)]
        await asyncio.sleep(0.05)
        assert (await recorder.statistics()).buffered <= 2 * CAPACITY
        gate.down = False
        await asyncio.gather(*tasks)
        statistics = await recorder.statistics()
        assert statistics.dropped == 0
        for number in (0, 150, 299):
            assert await history(recorder, f"t{number}") == [(step, float(step)) for step in range(20)]
        assert len(await recorder.list_metrics()) == 301


def test_many_threads_share_the_buffer_and_lose_nothing() -> None:
    gate = Gate()
    with aqrec.sync.ExperimentManager(gate.url, options=small("wait")) as manager:
        recorder = manager.get_exp(experiment_name="e").create_recorder("r")
        with recorder:

            def job(number: int) -> None:
                for step in range(400):
                    recorder.log_metrics(step=step, **{f"t{number}": step})

            threads = [threading.Thread(target=job, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for _ in range(5):
                gate.down = not gate.down
                time.sleep(0.01)
            gate.down = False
            for thread in threads:
                thread.join()
            statistics = recorder.statistics()
            assert (statistics.dropped, statistics.buffered <= 2 * CAPACITY) == (0, True)
            for number in range(8):
                frame = recorder.metric_history(f"t{number}")
                assert frame["step"].tolist() == list(range(400))
                assert frame["value"].tolist() == list(range(400))


async def test_cancelling_a_call_that_waits_drops_its_point_and_counts_it() -> None:
    gate = Gate()
    async with recording(gate, small("wait")) as recorder:
        for step in range(CAPACITY):
            recorder.log_metrics(step=step, loss=step)
        task = asyncio.ensure_future(_wait(recorder.log_metrics(step=-1, loss=-1)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await recorder.statistics()).dropped == 1
    assert await read(gate.clean, recorder.id, "loss") == [(step, float(step)) for step in range(CAPACITY)]


async def test_those_who_wait_for_room_are_let_go_when_the_store_is_closed() -> None:
    gate = Gate()
    waiting = []
    chosen = msgspec.structs.replace(small("wait", wait_timeout=60.0), close_timeout=0.1)
    async with aqrec.ExperimentManager(gate.url, options=chosen) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        await recorder.flush()
        gate.down = True

        async def job() -> None:
            while True:
                await recorder.log_metrics(loss=1.0)

        waiting = [asyncio.create_task(job()) for _ in range(3)]
        await asyncio.sleep(0.2)
    for task in waiting:
        with pytest.raises(ClosedError):
            await asyncio.wait_for(task, 2)


async def test_strict_recording_raises_for_dropped_points_once() -> None:
    gate = Gate()
    async with recording(gate, small("wait", strict=True)) as recorder:
        for _ in range(200):
            recorder.log_metrics(loss=1.0)
        gate.down = False
        with pytest.raises(StorageError, match="150 points were dropped"):
            await recorder.flush()
        await recorder.flush()
