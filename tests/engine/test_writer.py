"""What the engine makes of what was logged: files, requests, numbers; and what it leaves behind."""

import asyncio
import gc
import io
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

import aqrec
from aqrec.engine import _sealer
from aqrec.engine._engine import Engine
from aqrec.errors import ClosedError, CorruptError
from aqrec.format._frames import EVENTS, FOOTER, HEADER, POINTS, Frame, decode_frames
from aqrec.options import Options
from aqrec.stores import (
    CountingStore,
    LatencyStore,
    MemoryStore,
    Store,
    WrapperAppender,
    WrapperStore,
    open_store,
)
from tests.engine.support import history, options, read, serve


class Counted:
    """A store whose requests are counted; `kind` as in `kinds`."""

    def __init__(self, kind: str, tmp_path: Path) -> None:
        name = uuid.uuid4().hex
        self.stores: list[CountingStore] = []

        def inner() -> Store:
            return (
                open_store(tmp_path / "s") if kind == "local" else MemoryStore(name, append=kind == "memory")
            )

        def make() -> Store:
            self.stores.append(CountingStore(inner()))
            return self.stores[-1]

        self.url = serve(make)
        self.plain = inner()

    def reset(self) -> None:
        for store in self.stores:
            store.reset()

    def total(self, *operations: str) -> int:
        return sum(store.requests[operation] for store in self.stores for operation in operations)

    async def keys(self, prefix: str = "") -> list[str]:
        return sorted([info.key async for info in self.plain.list(prefix)])


@pytest.fixture(params=["local", "memory", "segments"])
def counted(request: pytest.FixtureRequest, tmp_path: Path) -> Counted:
    return Counted(request.param, tmp_path)


async def start(manager: aqrec.ExperimentManager, name: str = "r") -> aqrec.Recorder:
    recorder = await (await manager.get_exp(experiment_name="e")).create_recorder(name)
    return await recorder.start_run()


# --- commits


async def test_all_who_flush_at_once_share_one_commit(counted: Counted) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options(sync=60, segment=60)) as manager:
        recorders = [await start(manager, f"r{number}") for number in range(30)]
        await recorders[0].flush()
        before = await recorders[0].statistics()
        counted.reset()
        for recorder in recorders:
            recorder.log_metrics(loss=1.0)
        await asyncio.gather(*(recorder.flush() for recorder in recorders))
        after = await recorders[0].statistics()
        assert after.commits - before.commits <= 2
        assert counted.total("append.sync", "put") <= 4  # a journal and an event log each time
        for recorder in recorders:
            await recorder.end_run()


async def test_what_nobody_flushes_becomes_durable_by_itself(counted: Counted) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options(sync=0.02, segment=0.02)) as manager:
        recorder = await start(manager)
        recorder.log_metrics(loss=1.0)
        async with asyncio.timeout(10):
            while (await recorder.statistics()).commits == 0 or (await recorder.statistics()).unsynced_bytes:
                await asyncio.sleep(0.01)
        assert await read(counted.url, recorder.id, "loss") == [(None, 1.0)]


async def test_an_idle_recorder_makes_no_requests(counted: Counted) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options()) as manager:
        recorder = await start(manager)
        recorder.log_metrics(loss=1.0)
        await recorder.flush()
        counted.reset()
        await asyncio.sleep(0.2)
        assert counted.stores[0].requests.total() == 0
        await recorder.flush()
        assert counted.total("append.sync", "put", "append.write") == 0


async def test_records_reach_the_operating_system_without_a_flush(tmp_path: Path) -> None:
    async with aqrec.ExperimentManager(str(tmp_path), options=options(sync=60)) as manager:
        recorder = await start(manager)
        await recorder.flush()
        (log,) = tmp_path.glob("catalog/events/*.ev")
        size = log.stat().st_size
        recorder.log_params(a=1)
        async with asyncio.timeout(5):
            while log.stat().st_size == size:
                await asyncio.sleep(0.001)
        assert b"params" in log.read_bytes()[size:]


# --- statistics


async def test_statistics_tell_the_truth(counted: Counted) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options()) as manager:
        recorder = await start(manager)
        for step in range(100):
            recorder.log_metrics(step=step, a=1.0, b=2.0)
        await recorder.flush()
        statistics = await recorder.statistics()
        assert statistics.points == 200
        assert (statistics.buffered, statistics.unsynced_bytes, statistics.dropped) == (0, 0, 0)
        assert (statistics.retries, statistics.last_error, statistics.storing) == (0, "", True)
        assert statistics.commits >= 1
        assert statistics.events >= 3
        sizes = {
            info.key: info.size
            async for info in counted.plain.list()
            if info.key[:7] in ("journal", "catalog")
        }
        assert 0 < statistics.bytes_written <= sum(sizes.values())
        await recorder.end_run()
        assert (await recorder.statistics()).sealed_points == 200


# --- journals


async def test_a_journal_that_grew_large_is_finished_and_a_new_one_begun(tmp_path: Path) -> None:
    async with aqrec.ExperimentManager(
        str(tmp_path), options=options(journal_bytes=8192, seal="never")
    ) as manager:
        recorder = await start(manager)
        for batch in range(10):
            for step in range(100):
                recorder.log_metrics(step=100 * batch + step, loss=step)
            await recorder.flush()
        segments = sorted(tmp_path.glob("journal/*/*.seg"))
        assert len(segments) >= 3
        await recorder.end_run()
    for segment in segments[:-1]:
        data = segment.read_bytes()
        read_frames = [frame for frame in decode_frames(data) if isinstance(frame, Frame)]
        assert [frame.kind for frame in read_frames] == [HEADER, *[POINTS] * (len(read_frames) - 2), FOOTER]
        assert data[-16:-12] == b"AQe1"
        assert int.from_bytes(data[-12:-4], "little") == read_frames[-1].offset
    assert await read(str(tmp_path), recorder.id, "loss") == [(n, float(n % 100)) for n in range(1000)]


class _SlowSync(WrapperStore):
    async def open_append(self, key: str) -> Any:
        return _SlowAppender(await super().open_append(key))


class _SlowAppender(WrapperAppender):
    def sync(self) -> None:
        time.sleep(0.03)
        super().sync()


async def test_journals_rotate_under_a_load_that_never_pauses(tmp_path: Path) -> None:
    """Records arrive during every sync, so there is always something that is not durable yet."""
    url = serve(lambda: _SlowSync(open_store(tmp_path)))
    chosen = options(journal_bytes=8192, sync=0.01, seal="never")
    async with aqrec.ExperimentManager(url, options=chosen) as manager:
        recorder = await start(manager)
        step = 0
        async with asyncio.timeout(20):
            while len(list(tmp_path.glob("journal/*/*.seg"))) < 3:
                for _ in range(20):
                    recorder.log_metrics(step=step, loss=step)
                    step += 1
                await asyncio.sleep(0.002)
        await recorder.end_run()
    assert await read(str(tmp_path), recorder.id, "loss") == [(n, float(n)) for n in range(step)]


async def test_what_is_logged_reaches_the_operating_system_while_the_disk_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of new files and folders wait for the disk, the calls do not, and `flush` waits for both."""
    async with aqrec.ExperimentManager(str(tmp_path), options=options()) as manager:
        await manager.create_exp("e")
    answers = threading.Event()

    def held(real: Callable[[int], None]) -> Callable[[int], None]:
        def call(fd: int) -> None:
            assert answers.wait(60)
            real(fd)

        return call

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, held(getattr(os, name)))
    async with aqrec.ExperimentManager(str(tmp_path), options=options(journal_bytes=4096)) as manager:
        recorder = await start(manager)
        flushed = None
        try:
            for step in range(400):
                recorder.log_metrics(step=step, loss=step)
                if step == 200:
                    flushed = asyncio.create_task(recorder.flush())
                await asyncio.sleep(0)
            async with asyncio.timeout(60):
                while [n for n, _ in await read(str(tmp_path), recorder.id, "loss")] != list(range(400)):
                    await asyncio.sleep(0.02)
            assert flushed is not None
            assert not flushed.done()
        finally:
            answers.set()
        await flushed


async def test_the_journal_is_freed_when_its_runs_are_sealed(counted: Counted) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options(segment=0.01)) as manager:
        first, second = await start(manager, "1"), await start(manager, "2")
        first.log_metrics(loss=1.0)
        second.log_metrics(loss=2.0)
        await first.end_run()
        assert await counted.keys("journal")
        assert await history(second, "loss") == [(None, 2.0)]
        await second.end_run()
    assert await counted.keys("journal") == []
    for recorder, value in ((first, 1.0), (second, 2.0)):
        assert await read(counted.url, recorder.id, "loss") == [(None, value)]


async def test_a_run_that_did_not_end_keeps_its_journal(counted: Counted) -> None:
    """The manager ends what was begun in it, so this takes a run that nobody began."""
    async with aqrec.ExperimentManager(counted.url, options=options()) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        recorder.log_metrics(loss=1.0)
    assert await counted.keys("journal")
    assert await read(counted.url, recorder.id, "loss") == [(None, 1.0)]


@pytest.mark.parametrize("seal", ["run", "bulk", "never"])
async def test_every_way_of_sealing_reads_the_same(counted: Counted, seal: Any) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options(seal=seal)) as manager:
        recorders = [await start(manager, f"r{number}") for number in range(4)]
        for number, recorder in enumerate(recorders):
            for step in range(number):
                recorder.log_metrics(step=step, loss=number * step)
                recorder.log_metrics(stepless=step)
            await recorder.end_run()
    keys = await counted.keys()
    sealed = [key for key in keys if key.endswith(".parquet")]
    assert len(sealed) == {"run": 3, "bulk": 1, "never": 0}[seal]
    assert bool([key for key in keys if key.startswith("journal")]) == (seal == "never")
    assert len([key for key in keys if key.endswith("run.json")]) == (4 if seal == "run" else 0)
    for number, recorder in enumerate(recorders):
        assert await read(counted.url, recorder.id, "loss") == [(s, float(number * s)) for s in range(number)]
        assert await read(counted.url, recorder.id, "stepless") == [(None, float(s)) for s in range(number)]


async def test_bulk_sealing_goes_on_while_runs_end(monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    monkeypatch.setattr(_sealer, "BULK_RUNS", 5)
    async with aqrec.ExperimentManager(counted.url, options=options(seal="bulk", segment=0.01)) as manager:
        ids = []
        for number in range(17):
            recorder = await start(manager, f"r{number}")
            recorder.log_metrics(step=number, loss=number)
            ids.append(recorder.id)
            await recorder.end_run()
        async with asyncio.timeout(10):
            while len(await counted.keys("sealed")) < 2:
                await asyncio.sleep(0.01)
    assert 2 <= len(await counted.keys("sealed")) <= 5
    assert await counted.keys("journal") == []
    async with aqrec.ExperimentManager(counted.url, options=options()) as manager:
        for number, run_id in enumerate(ids):
            recorder = await manager.get_recorder(recorder_id=run_id)
            assert await history(recorder, "loss") == [(number, float(number))]


async def test_bulk_sealing_by_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_sealer, "BULK_POINTS", 30)
    counted = Counted("memory", tmp_path)
    async with aqrec.ExperimentManager(counted.url, options=options(seal="bulk")) as manager:
        for number in range(4):
            recorder = await start(manager, f"r{number}")
            for step in range(15):
                recorder.log_metrics(step=step, loss=step)
            await recorder.end_run()
    assert len(await counted.keys("sealed")) == 2


async def test_a_bulk_file_names_its_runs(tmp_path: Path) -> None:
    counted = Counted("memory", tmp_path)
    async with aqrec.ExperimentManager(counted.url, options=options(seal="bulk")) as manager:
        recorders = [await start(manager, f"r{number}") for number in range(2)]
        for recorder in recorders:
            recorder.log_metrics(step=1, loss=2.0)
            await recorder.end_run()
    (key,) = await counted.keys("sealed")
    table = pq.read_table(io.BytesIO(await counted.plain.get(key)))
    assert sorted(table["run_id"].to_pylist()) == sorted(recorder.id for recorder in recorders)


# --- resumed runs


@pytest.mark.parametrize("forgotten", [False, True], ids=["handle kept", "handle dropped"])
async def test_a_run_resumed_again_and_again_in_one_process_keeps_everything(
    counted: Counted, forgotten: bool
) -> None:
    """Each session's points are sealed into an object of their own; the latest value is the latest."""
    async with aqrec.ExperimentManager(counted.url, options=options(segment=0.01)) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        run_id, kept = None, []
        for session in range(4):
            recorder = await experiment.start(recorder_id=run_id, resume=run_id is not None)
            run_id = recorder.id
            for step in range(3):
                recorder.log_metrics(step=10 * session + step, loss=session)
            assert (await recorder.list_metrics())["loss"] == session
            await experiment.end()
            assert (await recorder.list_metrics())["loss"] == session
            assert len(await history(recorder, "loss")) == 3 * (session + 1)
            kept.append(None if forgotten else recorder)
            del recorder
            gc.collect()
    points = await read(counted.url, str(run_id), "loss")
    assert points == [(10 * session + step, float(session)) for session in range(4) for step in range(3)]
    assert len([key for key in await counted.keys("runs") if key.endswith(".parquet")]) == 4
    assert await counted.keys("journal") == []


async def test_logging_to_an_ended_run_only_adds(counted: Counted) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options(segment=0.01)) as manager:
        recorder = await start(manager)
        recorder.log_metrics(step=1, loss=1.0)
        await recorder.end_run()
        recorder.log_metrics(step=2, loss=2.0)
        await recorder.flush()
        assert await history(recorder, "loss") == [(1, 1.0), (2, 2.0)]
    assert await read(counted.url, recorder.id, "loss") == [(1, 1.0), (2, 2.0)]


# --- what is left behind


async def test_nothing_is_left_behind(counted: Counted, no_threads_left: None, tmp_path: Path) -> None:
    for _ in range(3):
        async with aqrec.ExperimentManager(counted.url, options=options()) as manager:
            recorder = await start(manager)
            recorder.log_metrics(loss=1.0)
            await recorder.save_objects(**{"a.pkl": [1]})
            await recorder.end_run()
    assert not list(tmp_path.rglob(".aqrec-tmp/*"))
    folders = {key.partition("/")[0] for key in await counted.keys()}
    assert folders == {"aqrec.json", "catalog", "runs"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("aqrec")]


async def test_opening_and_looking_writes_nothing(counted: Counted, no_threads_left: None) -> None:
    async with aqrec.ExperimentManager(counted.url, options=options()) as manager:
        assert await manager.list_experiments() == {}
        with pytest.raises(aqrec.errors.ExperimentNotFoundError):
            await manager.list_recorders(experiment_name="e")
        assert len(await manager.search_records()) == 0
    assert await counted.keys() == []


async def test_a_closed_recorder_says_so(tmp_path: Path) -> None:
    async with aqrec.ExperimentManager(str(tmp_path), options=options()) as manager:
        recorder = await start(manager)
        await recorder.end_run()
    for call in (
        lambda: recorder.log_metrics(loss=1.0),
        lambda: recorder.log_params(a=1),
        lambda: recorder.set_tags(a=1),
    ):
        with pytest.raises(ClosedError, match="clos"):
            call()
    for method in (recorder.flush, recorder.end_run, recorder.start_run, recorder.list_params):
        with pytest.raises(ClosedError, match="clos"):
            await method()


async def test_a_store_of_the_future_is_refused_before_anything_is_written(counted: Counted) -> None:
    text = b'{"format": 2, "store_id": "x", "created": 1}'
    await counted.plain.put("aqrec.json", text)
    with pytest.raises(CorruptError, match=r"format 2.*Upgrade"):
        async with aqrec.ExperimentManager(counted.url, options=options()):
            pass
    assert await counted.keys() == ["aqrec.json"]


async def test_engines_of_one_store_and_options_are_shared(tmp_path: Path) -> None:
    chosen = options()
    async with (
        aqrec.ExperimentManager(str(tmp_path), options=chosen) as one,
        aqrec.ExperimentManager((tmp_path / "." / ".." / tmp_path.name).as_uri(), options=chosen) as other,
    ):
        first, second = await start(one), await start(other)
        assert _engine(first) is _engine(second)
        await first.end_run()
        await one.aclose()
        second.log_metrics(loss=1.0)
        await second.end_run()
    assert await read(str(tmp_path), second.id, "loss") == [(None, 1.0)]


def _engine(recorder: aqrec.Recorder) -> Engine:
    return recorder._run.engine


async def test_a_heartbeat_names_the_running_runs(monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    import aqrec.engine._pace as module
    from aqrec.format._records import Heartbeat, decode_events

    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    async with aqrec.ExperimentManager(counted.url, options=options(segment=0.01)) as manager:
        running, ended = await start(manager, "running"), await start(manager, "ended")
        await ended.end_run()
        await asyncio.sleep(0.3)
        await running.end_run()
    beats = []
    for key in await counted.keys("catalog"):
        for frame in decode_frames(await counted.plain.get(key)):
            if isinstance(frame, Frame) and frame.kind == EVENTS:
                beats += [event for event in decode_events(frame.payload) if isinstance(event, Heartbeat)]
    assert 2 <= len(beats) <= 8
    assert beats[-1].runs == [running.id]


def test_options_of_tests_are_the_defaults_but_for_what_they_name() -> None:
    assert (
        msgspec.structs.replace(Options(), provenance=False, retry=options().retry, flush=options().flush)
        == options()
    )


async def test_values_keep_their_keys_whatever_the_order_and_company_they_are_logged_in(
    local_url: str,
) -> None:
    """Calls with other keys, as many keys, the same keys in another order, or keys that were not there before."""
    calls: list[dict[str, float]] = [
        {"a": 1, "b": 2},
        {"b": 3, "a": 4},
        {"a": 5, "c": 6},
        {"c": 7, "a": 8},
        {"a": 9},
        {"b": 10, "c": 11, "a": 12},
        {"b": 13, "a": True},
    ]
    async with aqrec.open_recorder(local_url, experiment="e", options=options()) as recorder:
        for step, metrics in enumerate(calls * 2):
            if step % 2:
                await recorder.log_batch(metrics, step=step)
            else:
                await recorder.log_metrics(step=step, **metrics)
        for key in "abc":
            expected = [(step, float(call[key])) for step, call in enumerate(calls * 2) if key in call]
            assert await history(recorder, key) == expected


async def test_runs_that_end_at_once_are_all_sealed_whole(caplog: pytest.LogCaptureFixture) -> None:
    """On a store where reading the journal back takes a while, and others free theirs meanwhile."""
    name = uuid.uuid4().hex

    async def delay(operation: str, key: str) -> None:
        if operation == "get" and key.endswith(".seg"):
            await asyncio.sleep(0.002)

    url = serve(lambda: LatencyStore(MemoryStore(name, append=False), delay))
    async with aqrec.ExperimentManager(url, options=options(segment=0.002)) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorders = [await experiment.create_recorder(recorder_id=f"r{number}") for number in range(6)]
        for number, recorder in enumerate(recorders):  # every run has segments of its own
            for step in range(40):
                recorder.log_metrics(step=step, x=number)
                if step % 5 == 4:
                    await recorder.flush()
        await asyncio.gather(*(recorder.end_run() for recorder in recorders))
        for number in range(6):
            recorder = await manager.get_recorder(recorder_id=f"r{number}")
            assert await history(recorder, "x") == [(step, float(number)) for step in range(40)]
    assert caplog.records == []
    keys = [info.key async for info in MemoryStore(name).list("journal")]
    assert keys == []
