"""A store that is away: the job goes on, memory stays bounded, and everything is there once when it is back."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aqrec
from aqrec.engine import engines_of
from aqrec.errors import FlushTimeoutError, StorageError
from aqrec.format._frames import EVENTS, POINTS, Damage, Frame, decode_frames
from aqrec.format._points import decode_points
from aqrec.format._records import ArtifactSaved, decode_events
from aqrec.options import FlushOptions, SpoolOptions
from aqrec.stores import FaultyStore, LostResponse, Store, open_store
from tests._support import ROOT, run_script, wait_until
from tests._support.bucket import bucket_url, objects_in
from tests.engine.support import history, options, read, serve

QUICK = SpoolOptions(away_after=0.05)


def valid_frames(data: bytes) -> Iterator[Frame]:
    """Yield the frames of an object of which nothing is damaged."""
    for frame in decode_frames(data):
        if isinstance(frame, Damage):
            assert frame.tail  # the trailer
        else:
            yield frame


class Lake:
    """A bucket in a folder, whose absence is switched."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "bucket"
        self.url = bucket_url(self.folder)
        self.switch = tmp_path / "bucket.away"

    def leave(self, operations: str = "") -> None:
        self.switch.write_text(operations)

    def come_back(self) -> None:
        self.switch.unlink(missing_ok=True)

    def frames(self) -> Counter[tuple[str, int]]:
        """Return how often each points frame is stored, by (writer, number)."""
        found: Counter[tuple[str, int]] = Counter()
        for key, data in objects_in(self.folder).items():
            if key.startswith("journal/"):
                for frame in valid_frames(data):
                    if frame.kind == POINTS:
                        found[key.split("/")[1], decode_points(frame.payload).seq] += 1
        return found


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's processes spool to."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("AQREC_SPOOL", str(folder))
    return folder


def spooled(folder: Path) -> list[str]:
    """Return the keys of what lies in the spool."""
    return sorted(
        path.as_posix().partition("/objects/")[2]
        for path in folder.rglob("*")
        if path.is_file() and "/objects/" in path.as_posix()
    )


async def begun(manager: aqrec.ExperimentManager) -> aqrec.Recorder:
    recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
    await recorder.start_run()
    await recorder.flush()
    return recorder


async def test_an_outage_costs_neither_data_nor_memory_nor_time(lake: Lake, spool: Path) -> None:
    quick = options(capacity=5_000, spool=QUICK, seal="never", segment=0.05, sync=0.02)
    small = FlushOptions(segment_bytes=64 * 1024, segment_interval=0.05, sync_interval=0.02)
    chosen = aqrec.Options(
        buffer=quick.buffer, flush=small, retry=quick.retry, spool=QUICK, seal="never", provenance=False
    )
    slowest, most = 0.0, 0
    async with aqrec.ExperimentManager(lake.url, options=chosen) as manager:
        recorder = await begun(manager)
        lake.leave()
        (engine,) = engines_of(lake.url)
        for step in range(60_000):
            began = time.perf_counter()
            await recorder.log_metrics(step=step, loss=step)
            slowest = max(slowest, time.perf_counter() - began)
            if step % 1_000 == 0:
                await asyncio.sleep(0.005)
                journal = engine._journal
                assert journal is not None
                most = max(most, journal.held_bytes)
        await asyncio.to_thread(wait_until, lambda: engine.statistics().spooled_bytes > 1_000_000)
        statistics = await recorder.statistics()
        assert statistics.dropped == 0
        assert not statistics.storing
        assert statistics.spool.startswith(str(spool))
        assert most < 1_000_000, "what was synced to the spool is forgotten in memory"
        assert slowest < 5.0
        lake.come_back()
        await recorder.flush()
        statistics = await recorder.statistics()
        assert (statistics.unsynced_bytes, statistics.spooled_bytes, statistics.spool) == (0, 0, "")
        await recorder.end_run()
    assert await read(lake.url, recorder.id, "loss") == [(step, float(step)) for step in range(60_000)]
    assert set(lake.frames().values()) == {1}
    assert spooled(spool) == []
    assert list(spool.iterdir()) == []


async def test_a_job_goes_on_and_ends_without_the_store(
    lake: Lake, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Saving and ending wait for the spool, and what is put off is done when the store is back."""
    async with aqrec.ExperimentManager(lake.url, options=options(spool=QUICK, flush_timeout=20)) as manager:
        recorder = await begun(manager)
        lake.leave()
        recorder.log_metrics(step=1, loss=1)
        await recorder.save_objects(**{"model.pkl": [1, 2, 3]})
        await recorder.end_run()
        assert recorder.status == "FINISHED"
        assert any(key.endswith("artifacts/model.pkl") for key in spooled(spool))
        assert any("is kept in" in record.getMessage() for record in caplog.records)
        second = await (await manager.start_exp(experiment_name="e", recorder_name="second")).get_recorder()
        second.log_metrics(step=1, loss=2)
        await second.end_run()
        lake.come_back()
    assert spooled(spool) == []
    assert {
        f"runs/{run.id}/{name}" for run in (recorder, second) for name in ("run.json", "metrics.parquet")
    } <= {*objects_in(lake.folder)}, "they were sealed"
    async with aqrec.ExperimentManager(lake.url, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert (again.status, await history(again, "loss")) == ("FINISHED", [(1, 1.0)])
        assert await again.load_object("model.pkl") == [1, 2, 3]
        assert await history(await manager.get_recorder(recorder_id=second.id), "loss") == [(1, 2.0)]


async def test_saving_waits_no_longer_than_until_the_store_counts_as_away(lake: Lake, spool: Path) -> None:
    """Also where nothing else is recorded meanwhile, and the next commit is far off."""
    chosen = options(segment=60, spool=SpoolOptions(away_after=0.3))
    manager = aqrec.ExperimentManager(lake.url, options=chosen)
    recorder = await begun(manager)
    for way in ("", "put hang"):
        lake.leave(way)
        await asyncio.wait_for(recorder.save_objects(**{"a.json": [1]}), 10)
        lake.come_back()
        await recorder.flush()
    await recorder.end_run()
    await manager.aclose()


async def test_an_explicit_flush_waits_for_the_store_itself(lake: Lake, spool: Path) -> None:
    async with aqrec.ExperimentManager(lake.url, options=options(spool=QUICK, flush_timeout=0.3)) as manager:
        recorder = await begun(manager)
        lake.leave()
        recorder.log_metrics(step=1, loss=1)
        with pytest.raises(FlushTimeoutError, match=r"bytes are kept in .*aqrec sync --store bucket:"):
            await recorder.flush()
        lake.come_back()
        await recorder.flush()
        await recorder.end_run()


async def test_strict_recording_raises_although_the_spool_has_it(lake: Lake, spool: Path) -> None:
    strict = options(spool=QUICK, strict=True, close_timeout=0.5)
    manager = aqrec.ExperimentManager(lake.url, options=strict)
    recorder = await begun(manager)
    lake.leave()
    recorder.log_metrics(step=1, loss=1)
    with pytest.raises(StorageError, match=r"away.*kept in"):
        await recorder.end_run()
    lake.come_back()
    await recorder.end_run()
    await manager.aclose()
    assert await read(lake.url, recorder.id, "loss") == [(1, 1.0)]


async def test_the_later_version_of_an_artifact_wins(lake: Lake, spool: Path) -> None:
    """Saved before, during and after an outage."""
    async with aqrec.ExperimentManager(lake.url, options=options(spool=QUICK)) as manager:
        recorder = await begun(manager)
        await recorder.save_objects(**{"a.json": ["before"], "b.json": ["before"]})
        lake.leave("put_stream put")
        await recorder.save_objects(**{"a.json": ["during"], "b.json": ["during"], "c.json": ["during"]})
        await recorder.save_objects(**{"a.json": ["still"]})
        assert await recorder.load_object("c.json") == ["during"], "reads see own writes"
        lake.come_back()
        await recorder.save_objects(**{"b.json": ["after"]})
        await recorder.end_run()
    assert spooled(spool) == []
    async with aqrec.ExperimentManager(lake.url, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        loaded = [await again.load_object(f"{name}.json") for name in "abc"]
    assert loaded == [["still"], ["after"], ["during"]]


async def test_an_artifact_is_replaced_through_the_spool_before_its_save_gives_up(
    lake: Lake, spool: Path
) -> None:
    """Even where the store has not failed for so long that it would count as away."""
    chosen = options(spool=SpoolOptions(away_after=60), flush_timeout=1)
    async with aqrec.ExperimentManager(lake.url, options=chosen) as manager:
        recorder = await begun(manager)
        await recorder.save_objects(**{"a.json": ["old"]})
        lake.leave()
        await recorder.save_objects(**{"a.json": ["new"]})
        assert any(key.endswith("artifacts/a.json") for key in spooled(spool))
        lake.come_back()
        await recorder.end_run()
    async with aqrec.ExperimentManager(lake.url, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert await again.load_object("a.json") == ["new"]


async def test_what_is_written_twice_is_announced_once(lake: Lake, spool: Path) -> None:
    """A replacement whose answer was lost goes to the spool, and may have had its effect: one reference says both."""
    faulty: list[FaultyStore] = []

    def plan(operation: str, key: str, _number: int) -> Any:
        fails = operation == "put_stream" and key.endswith("a.json") and lake.switch.exists()
        return LostResponse(StorageError("the answer was lost")) if fails else None

    def make() -> Store:
        faulty.append(FaultyStore(open_store(lake.url), plan))
        return faulty[-1]

    async with aqrec.ExperimentManager(serve(make), options=options(spool=QUICK, seal="never")) as manager:
        recorder = await begun(manager)
        await recorder.save_objects(**{"a.json": ["old"]})
        lake.leave("nothing else")
        await recorder.save_objects(**{"a.json": ["new"]})
        lake.come_back()
        await recorder.end_run()
    assert any(operation == "put_stream" for operation, _, _ in faulty[0].injected)
    events = [event for payload in events_in(lake) for event in decode_events(payload)]
    refs = [event.ref for event in events if isinstance(event, ArtifactSaved)]
    assert sorted(len(ref.earlier) for ref in refs) == [0, 1]
    async with aqrec.ExperimentManager(lake.url, options=options()) as manager:
        assert await (await manager.get_recorder(recorder_id=recorder.id)).load_object("a.json") == ["new"]


@pytest.mark.parametrize("way", ["put", "put put_stream"])
async def test_bytes_that_replace_others_follow_their_reference(lake: Lake, spool: Path, way: str) -> None:
    """A reader never finds new bytes that nobody has told the store of, whichever requests fail for how long."""
    async with (
        aqrec.ExperimentManager(lake.url, options=options(spool=QUICK)) as manager,
        aqrec.ExperimentManager(lake.url, options=options()) as other,
    ):
        recorder = await begun(manager)
        await recorder.save_objects(**{"a.json": ["old"]})
        await recorder.flush()
        lake.leave(way)
        await recorder.save_objects(**{"a.json": ["new"]})
        lake.leave("put")
        retries = (await recorder.statistics()).retries
        while (await recorder.statistics()).retries < retries + 5:
            await asyncio.sleep(0.01)
        again = await other.get_recorder(recorder_id=recorder.id)
        assert await again.load_object("a.json") == ["old"]
        assert await recorder.load_object("a.json") == ["new"], "reads see own writes"
        lake.come_back()
        await recorder.flush()
        again = await other.get_recorder(recorder_id=recorder.id)
        assert await again.load_object("a.json") == ["new"]
        await recorder.end_run()
    assert spooled(spool) == []


async def test_an_artifact_too_large_for_the_spool_raises(lake: Lake, spool: Path) -> None:
    small = SpoolOptions(away_after=0.05, artifact_bytes=1_000)
    async with aqrec.ExperimentManager(lake.url, options=options(spool=small)) as manager:
        recorder = await begun(manager)
        lake.leave()
        with pytest.raises(StorageError, match=r"away.*artifact_bytes=1000"):
            await recorder.save_objects(**{"big.bin": b"x" * 2_000})
        await recorder.save_objects(**{"small.bin": b"x" * 500})
        lake.come_back()
        assert await recorder.list_artifacts() == ["small.bin"]


@pytest.mark.parametrize("how", ["full", "read-only"])
async def test_a_spool_that_fails_is_no_worse_than_none(
    lake: Lake, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("no folder")
    bad = (
        SpoolOptions(capacity=0, folder=str(tmp_path / "s"), away_after=0.05)
        if how == "full"
        else SpoolOptions(folder=str(blocker / "s"), away_after=0.05)
    )
    async with aqrec.ExperimentManager(lake.url, options=options(spool=bad, flush_timeout=0.3)) as manager:
        recorder = await begun(manager)
        lake.leave()
        for step in range(50):
            recorder.log_metrics(step=step, loss=step)
        with pytest.raises(FlushTimeoutError):
            await recorder.flush()
        with pytest.raises(StorageError, match=r"is away; nor could it be kept on this machine: the spool"):
            await recorder.save_objects(**{"a.json": [1]})
        lake.come_back()
        await recorder.flush()
        await recorder.end_run()
    assert sum("waits in memory" in record.getMessage() for record in caplog.records) == 1
    assert len(await read(lake.url, recorder.id, "loss")) == 50


async def test_flush_is_durable_here_before_the_bucket_answers(lake: Lake, spool: Path) -> None:
    """With durability="local", even while the store hangs."""
    async with aqrec.ExperimentManager(lake.url, options=options(durability="local", segment=30)) as manager:
        recorder = await begun(manager)
        lake.leave("hang")
        for step in range(10):
            recorder.log_metrics(step=step, loss=step)
            await asyncio.wait_for(recorder.flush(), 60)
        await asyncio.wait_for(recorder.end_run(), 60)
        statistics = await recorder.statistics()
        assert statistics.spooled_bytes > 0
        assert spooled(spool)
        lake.come_back()
    assert await read(lake.url, recorder.id, "loss") == [(step, float(step)) for step in range(10)]
    assert spooled(spool) == []


async def test_close_is_bounded_and_tells_where_the_rest_lies(
    lake: Lake, spool: Path, caplog: pytest.LogCaptureFixture, no_threads_left: None
) -> None:
    manager = aqrec.ExperimentManager(lake.url, options=options(spool=QUICK, close_timeout=0.5))
    recorder = await begun(manager)
    lake.leave("hang")
    for step in range(100):
        recorder.log_metrics(step=step, loss=step)
    began = time.monotonic()
    await manager.aclose()
    assert time.monotonic() - began < 60
    told = [record for record in caplog.records if record.levelno >= logging.ERROR][-1].getMessage()
    assert f"kept in {spool}" in told
    assert f"aqrec sync --store {lake.url}" in told
    lake.come_back()
    (report,) = await aqrec.sync_spool(lake.url)
    assert (report.state, report.url) == ("sent", lake.url)
    assert await read(lake.url, recorder.id, "loss") == [(step, float(step)) for step in range(100)]


RECORD = """
    import asyncio, os, sys, time
    import aqrec
    from tests._support.bucket import bucket_url
    from tests.engine.support import options
    from pathlib import Path

    async def main(folder, mode):
        chosen = options(spool=aqrec.SpoolOptions(away_after=0.05), segment=60, durability=mode)
        async with aqrec.ExperimentManager(bucket_url(Path(folder)), options=chosen) as manager:
            recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r", recorder_id="killed")
            await recorder.start_run()
            recorder.log_metrics(step=0, loss=0)
            await recorder._run.session.run(recorder._run.engine.flush())
            Path(folder + ".away").write_text("hang")
            for step in range(1, 1000):
                recorder.log_metrics(step=step, loss=step)
            if mode == "local":
                await recorder.save_objects(**{"a.json": [1]})
                await recorder.flush()
            else:
                while (await recorder.statistics()).points < 1000:
                    await asyncio.sleep(0.005)
            print("ready", flush=True)
            await asyncio.sleep(60)

    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("mode", ["store", "local"])
async def test_a_killed_process_leaves_its_records_to_sync(lake: Lake, spool: Path, mode: str) -> None:
    """In the spool within milliseconds, whether acknowledged there or not."""
    run = await asyncio.to_thread(run_script, RECORD, str(lake.folder), mode, signal=signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    lake.come_back()
    assert len(await read(lake.url, "killed", "loss")) == 1
    (waiting,) = await aqrec.sync_spool(lake.url, dry_run=True)
    assert (waiting.state, waiting.sent, waiting.url) == ("waiting", 0, lake.url)
    assert waiting.bytes > 10_000
    first, second = await asyncio.gather(aqrec.sync_spool(lake.url), aqrec.sync_spool(lake.url))
    states = [report.state for report in (*first, *second)]
    assert states.count("sent") == 1
    assert set(states) <= {"sent", "in use"}
    assert await aqrec.sync_spool(lake.url) == []
    assert await read(lake.url, "killed", "loss") == [(step, float(step)) for step in range(1000)]
    assert set(lake.frames().values()) == {1}
    if mode == "local":
        async with aqrec.ExperimentManager(lake.url, options=options()) as manager:
            killed = await manager.get_recorder(recorder_id="killed")
            assert await killed.load_object("a.json", trust="trusted") == [1]


async def test_sync_leaves_a_living_process_alone(lake: Lake, spool: Path) -> None:
    async with aqrec.ExperimentManager(lake.url, options=options(spool=QUICK)) as manager:
        recorder = await begun(manager)
        lake.leave("put")
        recorder.log_metrics(step=1, loss=1)
        await recorder.save_objects(**{"a.json": [1]})
        (report,) = await aqrec.sync_spool(lake.url)
        assert (report.state, report.pid, report.sent) == ("in use", os.getpid(), 0)
        assert spooled(spool)
        lake.come_back()
        await recorder.end_run()
    assert spooled(spool) == []
    assert await read(lake.url, recorder.id, "loss") == [(1, 1.0)]
    assert set(lake.frames().values()) <= {1}


def test_a_fork_keeps_no_hold_of_its_parents_spool(lake: Lake, spool: Path) -> None:
    """The child lives on; the parent is killed during an outage, and what it left can be sent."""
    code = """
        import os, sys, time, signal
        from pathlib import Path
        import aqrec.sync as aqrec
        from tests._support.bucket import bucket_url
        from tests.engine.support import options

        folder, pids = sys.argv[1:]
        manager = aqrec.ExperimentManager(bucket_url(Path(folder)), options=options(segment=60))
        recorder = manager.get_exp(experiment_name="e").create_recorder("r", recorder_id="parent")
        recorder.start_run()
        recorder.flush()
        Path(folder + ".away").write_text("")
        recorder.log_metrics(step=0, loss=0)
        while not recorder.statistics().spooled_bytes:
            time.sleep(0.005)
        if not os.fork():
            Path(pids).write_text(str(os.getpid()))
            time.sleep(60)
            os._exit(0)
        while not (Path(pids).exists() and Path(pids).read_text()):
            time.sleep(0.005)
        print("ready", flush=True)
        time.sleep(60)
    """
    pids = lake.folder.with_name("child")
    result = run_script(code, str(lake.folder), str(pids), signal=signal.SIGKILL)
    try:
        assert result.returncode == -signal.SIGKILL
        lake.come_back()
        (report,) = aqrec.sync.sync_spool(lake.url)
        assert report.state == "sent", report.reason
        assert asyncio.run(read(lake.url, "parent", "loss")) == [(0, 0.0)]
    finally:
        os.kill(int(pids.read_text()), signal.SIGKILL)


def events_in(lake: Lake) -> Counter[bytes]:
    """Return how often each events frame is stored."""
    found: Counter[bytes] = Counter()
    for key, data in objects_in(lake.folder).items():
        if key.endswith(".ev"):
            for frame in valid_frames(data):
                if frame.kind == EVENTS:
                    found[frame.payload] += 1
    return found


async def test_a_lost_answer_stores_nothing_twice(lake: Lake, spool: Path, tmp_path: Path) -> None:
    """The objects were put, the process did not hear of it and died: sync puts the same under the same keys."""
    manager = aqrec.ExperimentManager(lake.url, options=options(spool=QUICK, close_timeout=0.2, seal="never"))
    recorder = await begun(manager)
    lake.leave()
    recorder.log_metrics(step=1, loss=1)
    await manager.aclose()
    lake.come_back()
    kept: dict[str, Any] = {key: (next(spool.rglob(key))).read_bytes() for key in spooled(spool)}
    assert kept
    for key, data in kept.items():
        path = lake.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    before = objects_in(lake.folder)
    (report,) = await aqrec.sync_spool(lake.url)
    assert report.state == "sent"
    assert objects_in(lake.folder) == before
    assert set(events_in(lake).values()) == {1}
    assert await read(lake.url, recorder.id, "loss") == [(1, 1.0)]


async def test_who_opens_the_store_next_is_told_what_was_left(
    lake: Lake, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """But not of what living processes have there."""
    quick = options(spool=QUICK, close_timeout=0.2)
    manager = aqrec.ExperimentManager(lake.url, options=quick)
    recorder = await begun(manager)
    lake.leave()
    recorder.log_metrics(step=1, loss=1)
    await recorder.save_objects(**{"a.json": [1]})
    lake.come_back()
    other = options(spool=QUICK, capacity=1000)
    for told in (False, True):
        caplog.clear()
        if told:
            lake.leave()
            recorder.log_metrics(step=2, loss=2)
            await manager.aclose()
            lake.come_back()
            caplog.clear()
        async with aqrec.ExperimentManager(lake.url, options=other) as next_one:
            await (await next_one.get_exp(experiment_name="e")).create_recorder("next")
        assert any("aqrec sync --store" in record.getMessage() for record in caplog.records) == told
    await aqrec.sync_spool(lake.url)


ZOMBIE = """
    import asyncio, sys
    from pathlib import Path
    import aqrec
    from tests._support.bucket import bucket_url
    from tests.engine.support import options

    async def main(folder):
        chosen = options(spool=aqrec.SpoolOptions(away_after=0.05))
        async with aqrec.ExperimentManager(bucket_url(Path(folder)), options=chosen) as manager:
            recorder = await (await manager.get_exp(experiment_name="e")).start(recorder_id="shared")
            await recorder.flush()
            Path(folder + ".away").write_text("put put_stream")
            recorder.log_metrics(step=0, loss=0)
            await recorder.save_objects(**{"a.json": [1]})
            print("asleep", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            recorder.log_metrics(step=2, loss=2)
            await recorder.end_run()

    asyncio.run(main(sys.argv[1]))
"""


async def test_a_zombie_with_a_spool_only_adds(lake: Lake, spool: Path) -> None:
    """Stopped in the middle of an outage; its run is resumed and ended by another, then it wakes."""
    zombie = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ZOMBIE), str(lake.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with zombie:
        assert zombie.stdout is not None
        assert await asyncio.to_thread(zombie.stdout.readline) == "asleep\n"
        zombie.send_signal(signal.SIGSTOP)
        lake.come_back()
        (report,) = await aqrec.sync_spool(lake.url)
        assert (report.state, report.pid) == ("in use", zombie.pid)
        async with aqrec.open_recorder(
            lake.url, experiment="e", recorder_id="shared", resume=True, options=options()
        ) as resumed:
            resumed.log_metrics(step=1, loss=1)
        assert await read(lake.url, "shared", "loss") == [(1, 1.0)]
        zombie.send_signal(signal.SIGCONT)
        await asyncio.to_thread(zombie.communicate, "go\n", 30)
    assert zombie.returncode == 0
    assert await aqrec.sync_spool(lake.url) == []
    assert await read(lake.url, "shared", "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
