"""Stores that fail: nothing acknowledged is lost, nothing comes twice, and nobody is left in the dark."""

import asyncio
import errno
import gc
import logging
import random
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aqrec
import aqrec.sync
from aqrec.engine._outage import Flush, Outage
from aqrec.errors import FlushTimeoutError, StorageError
from aqrec.stores import FaultyStore, LostResponse, MemoryStore, Store, Torn, open_store
from tests.engine.support import HeldStore, history, options, read, serve

WRITES = {"put", "create", "put_stream", "open_append", "append.write", "append.sync"}
READS = {"get", "get_stream", "head", "list", "delete"}
KINDS = ("local", "memory", "segments")


class Fixture:
    """A store whose failures are switched on and off; `clean` opens it without."""

    def __init__(self, kind: str, tmp_path: Path, plan: Callable[[str, str, int], Any]) -> None:
        self.faulty = True
        self.stores: list[FaultyStore] = []
        name = uuid.uuid4().hex

        def inner() -> Store:
            return (
                open_store(tmp_path / "store")
                if kind == "local"
                else MemoryStore(name, append=kind == "memory")
            )

        def make() -> Store:
            store = FaultyStore(inner(), lambda *call: plan(*call) if self.faulty else None)
            self.stores.append(store)
            return store

        self.url = serve(make)
        self.clean = serve(inner)

    @property
    def injected(self) -> list[tuple[str, str, int]]:
        return [call for store in self.stores for call in store.injected]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def broken(text: str = "injected") -> StorageError:
    return StorageError(text)


def chance(seed: int, p: float, operations: set[str] = WRITES) -> Callable[[str, str, int], Any]:
    rng = random.Random(seed)

    def plan(operation: str, key: str, n: int) -> Any:
        if operation not in operations or rng.random() >= p:
            return None
        return rng.choice([broken(), LostResponse(broken("lost")), Torn(rng.randrange(200), broken("torn"))])

    return plan


async def insist(call: Callable[[], Any]) -> Any:
    """Await `call` until the store lets it."""
    while True:
        try:
            return await call()
        except OSError:
            continue


async def _job(
    exp: aqrec.Experiment, number: int, seed: int
) -> tuple[str, list[tuple[int | None, float]], dict[str, Any]]:
    rng = random.Random(seed)
    recorder = await exp.create_recorder(f"r{number}")
    await insist(recorder.start_run)
    points: list[tuple[int | None, float]] = []
    params: dict[str, Any] = {}
    for step in range(60):
        points.append((step, step + number / 10))
        await recorder.log_metrics(step=step, loss=step + number / 10)
        if rng.random() < 0.2:
            params[f"p{step}"] = [step, "é" * step]
            await recorder.log_params(**{f"p{step}": params[f"p{step}"]})
        if rng.random() < 0.2:
            await recorder.flush()
        if rng.random() < 0.3:
            await asyncio.sleep(0.003)
    await recorder.end_run()
    return recorder.id, points, params


async def _chaos(store: Fixture, seed: int) -> None:
    store.faulty = False
    async with aqrec.ExperimentManager(store.url, options=options(sync=0.01, segment=0.01)) as manager:
        store.faulty = True
        experiment = await insist(lambda: manager.get_exp(experiment_name="chaos"))
        done = await asyncio.gather(*(_job(experiment, number, seed * 10 + number) for number in range(3)))
    assert store.injected
    async with aqrec.ExperimentManager(store.clean, options=options()) as manager:
        assert (await manager.list_recorders(experiment_name="chaos")).keys() == {
            run_id for run_id, _, _ in done
        }
        for run_id, points, params in done:
            recorder = await manager.get_recorder(recorder_id=run_id)
            assert await history(recorder, "loss") == points
            assert await recorder.list_params() == params
            assert recorder.status == "FINISHED"
            assert await recorder.list_metrics() == {"loss": points[-1][1]}


@pytest.mark.parametrize("p", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(2))
async def test_random_failures_lose_nothing_and_double_nothing(
    kind: str, tmp_path: Path, p: float, seed: int, no_threads_left: None
) -> None:
    await _chaos(Fixture(kind, tmp_path, chance(seed, p)), seed)


async def test_random_failures_of_reads_too_lose_nothing(
    kind: str, tmp_path: Path, no_threads_left: None
) -> None:
    await _chaos(Fixture(kind, tmp_path, chance(7, 0.2, WRITES | READS)), 7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 160))
async def test_random_failures_for_long(kind: str, tmp_path: Path, seed: int, no_threads_left: None) -> None:
    operations = WRITES | READS if seed % 2 else WRITES
    await _chaos(Fixture(kind, tmp_path, chance(seed, 0.05 + seed % 5 * 0.08, operations)), seed)


@pytest.mark.parametrize("operation", sorted(WRITES))
@pytest.mark.parametrize("how", ["before", "after", "torn", "foreign"])
async def test_each_write_may_fail_once_in_any_way(
    kind: str, tmp_path: Path, operation: str, how: str
) -> None:
    """The first, second and third call of every operation, refused, lost, torn, or with a driver's own exception."""
    made: dict[str, Any] = {
        "before": broken(),
        "after": LostResponse(broken()),
        "torn": Torn(30, broken()),
        "foreign": OSError(errno.ENOSPC, "No space left on device"),
    }
    store = Fixture(
        kind, tmp_path, lambda op, _key, n: made[how] if op == operation and n in {1, 2, 4} else None
    )
    async with aqrec.ExperimentManager(store.url, options=options(sync=0.005)) as manager:
        experiment = await insist(lambda: manager.get_exp(experiment_name="e"))
        recorder = await experiment.create_recorder("r")
        await insist(recorder.start_run)
        for step in range(12):
            recorder.log_metrics(step=step, loss=step)
            if step % 3 == 0:
                await recorder.flush()
        await recorder.end_run()
        statistics = await recorder.statistics()
        assert statistics.storing
        assert statistics.points == 12
    assert await read(store.clean, recorder.id, "loss") == [(step, float(step)) for step in range(12)]


@pytest.mark.parametrize("failing", ["journal/", "catalog/"])
async def test_events_are_made_durable_behind_the_points_they_tell_of(failing: str, tmp_path: Path) -> None:
    """A sync of points that fails leaves the events for later; one of events that fails leaves no points behind."""
    syncs: list[tuple[str, bool]] = []
    down = False

    def plan(operation: str, key: str, _n: int) -> Any:
        if operation != "append.sync":
            return None
        fails = down and key.startswith(failing) and not any(failed for _, failed in syncs)
        syncs.append((key.partition("/")[0], fails))
        return broken() if fails else None

    store = Fixture("local", tmp_path, plan)
    async with aqrec.ExperimentManager(store.url, options=options(sync=60.0)) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        recorder.log_metrics(step=0, loss=0)
        await recorder.flush()
        syncs.clear()
        down = True
        recorder.log_metrics(step=1, loss=1)
        recorder.set_tags(a=1)
        await recorder.flush()
        points, events = ("journal", False), ("catalog", False)
        if failing == "journal/":
            assert syncs == [("journal", True), points, events]
        else:
            assert syncs == [points, ("catalog", True), events]
        await recorder.end_run()
    assert await read(store.clean, recorder.id, "loss") == [(0, 0.0), (1, 1.0)]


async def test_a_full_disk_costs_time_and_no_data(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = False
    store = Fixture(
        kind,
        tmp_path,
        lambda operation, _key, _n: (
            broken("No space left on device") if full and operation in WRITES else None
        ),
    )
    async with aqrec.ExperimentManager(
        store.url, options=options(sync=0.01, segment=0.01, flush_timeout=1.0)
    ) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorder = await experiment.create_recorder("r")
        await recorder.start_run()
        recorder.log_metrics(step=0, loss=0)
        await recorder.flush()
        full = True
        for step in range(1, 200):
            recorder.log_metrics(step=step, loss=step)
        await recorder.set_tags(phase="full")
        with pytest.raises(FlushTimeoutError, match="No space left"):
            await recorder.flush()
        statistics = await recorder.statistics()
        assert not statistics.storing
        assert "No space left" in statistics.last_error
        assert statistics.retries > 0
        assert statistics.buffered or statistics.unsynced_bytes
        full = False
        await asyncio.sleep(0.05)
        await recorder.flush()
        statistics = await recorder.statistics()
        assert statistics.storing
        assert statistics.last_error == ""
        assert (statistics.dropped, statistics.unsynced_bytes, statistics.buffered) == (0, 0, 0)
        await recorder.end_run()
    assert await read(store.clean, recorder.id, "loss") == [(step, float(step)) for step in range(200)]
    assert sum("trying again" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("kind", ["local", "memory"], indirect=True)
async def test_a_reader_meanwhile_never_loses_what_it_could_see(kind: str, tmp_path: Path) -> None:
    """Files given up after a failure, and those that replace them, are read as one history at any moment."""
    failing = False
    store = Fixture(
        kind,
        tmp_path,
        lambda operation, key, _n: (
            Torn(20, broken())
            if failing and operation == "append.write" and "journal" in key and _n % 2
            else None
        ),
    )
    async with aqrec.ExperimentManager(store.url, options=options(sync=0.01)) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorder = await experiment.create_recorder("r")
        await recorder.start_run()
        recorder.log_metrics(step=0, loss=0)
        await recorder.flush()
        failing = True
        seen = 0
        for step in range(1, 40):
            recorder.log_metrics(step=step, loss=step)
            await asyncio.sleep(0.004)
            points = await read(store.clean, recorder.id, "loss")
            assert points == [(n, float(n)) for n in range(len(points))]
            assert len(points) >= seen
            seen = len(points)
        failing = False
        await recorder.end_run()
    assert store.injected
    assert await read(store.clean, recorder.id, "loss") == [(n, float(n)) for n in range(40)]


async def test_whoever_reads_that_a_run_ended_finds_its_points(kind: str, tmp_path: Path) -> None:
    """Also while the journal cannot be written and the event log can."""
    failing = False
    store = Fixture(
        kind,
        tmp_path,
        lambda operation, key, _n: (
            broken() if failing and operation in WRITES and key.startswith("journal") else None
        ),
    )
    async with aqrec.ExperimentManager(
        store.url, options=options(sync=0.01, segment=0.01, flush_timeout=1.0)
    ) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        recorder.log_metrics(step=0, loss=0)
        await recorder.flush()
        failing = True
        recorder.log_metrics(step=1, loss=1)
        await recorder.end_run()
        async with aqrec.ExperimentManager(store.clean, options=options()) as other:
            again = await other.get_recorder(recorder_id=recorder.id)
            # Where the points of a run that ends need no journal, nothing keeps its end back.
            told = ("FINISHED", 2) if kind == "segments" else ("RUNNING", 1)
            assert (again.status, len(await history(again, "loss"))) == told
        failing = False
    async with aqrec.ExperimentManager(store.clean, options=options()) as other:
        again = await other.get_recorder(recorder_id=recorder.id)
        assert (again.status, len(await history(again, "loss"))) == ("FINISHED", 2)


async def test_close_is_bounded_and_names_what_is_not_stored(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, no_threads_left: None
) -> None:
    down = False
    store = Fixture(
        kind,
        tmp_path,
        lambda operation, _key, _n: broken("bucket is gone") if down and operation in WRITES else None,
    )
    loop = asyncio.get_running_loop()
    async with aqrec.ExperimentManager(
        store.url, options=options(close_timeout=0.3, flush_timeout=0.1)
    ) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorder = await experiment.create_recorder("r")
        await recorder.start_run()
        await recorder.flush()
        down = True
        recorder.log_metrics(step=1, loss=1)
        await recorder.log_params(a=1)
        began = loop.time()
    assert loop.time() - began < 60
    told = caplog.records[-1].getMessage()
    assert "not stored" in told
    assert "bucket is gone" in told


async def test_close_is_bounded_when_the_store_hangs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sync that never returns, as on a dead mount."""
    held: list[HeldStore] = []

    def make() -> Store:
        held.append(HeldStore(open_store(tmp_path / "store")))
        return held[-1]

    loop = asyncio.get_running_loop()
    url = serve(make)
    manager = aqrec.ExperimentManager(url, options=options(close_timeout=0.3, flush_timeout=0.2))
    try:
        async with manager:
            experiment = await manager.get_exp(experiment_name="e")
            recorder = await experiment.create_recorder("r")
            await recorder.start_run()
            await recorder.flush()
            held[0].hold()
            recorder.log_metrics(step=1, loss=1)
            with pytest.raises(FlushTimeoutError):
                await recorder.flush()
            began = loop.time()
        assert loop.time() - began < 50  # the store answers after 60
        assert any("not stored" in record.getMessage() for record in caplog.records)
    finally:
        held[0].release()


async def test_those_who_wait_for_a_flush_hear_of_the_close(tmp_path: Path) -> None:
    """They get an error of ours, soon, and not a cancellation they did not ask for."""
    down = False
    store = Fixture(
        "memory",
        tmp_path,
        lambda operation, _key, _n: broken("down") if down and operation in WRITES else None,
    )
    async with aqrec.ExperimentManager(
        store.url, options=options(close_timeout=0.2, flush_timeout=30)
    ) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        await recorder.flush()
        down = True
        recorder.log_metrics(loss=1.0)
        waiting = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0.05)
    with pytest.raises(aqrec.errors.AqrecError):
        await asyncio.wait_for(waiting, 2)


async def test_what_became_durable_at_the_last_moment_of_a_flush_is_acknowledged(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a busy machine wakes who waits too late, there is nothing to complain of any more."""

    async def late(outage: Outage, flush: Flush, limit: float, hasten: Callable[[], None]) -> None:
        hasten()
        if down:
            await asyncio.sleep(0.05)
        else:
            await flush.done
        raise TimeoutError

    down = False
    store = Fixture(
        kind, tmp_path, lambda operation, _key, _n: broken() if down and operation in WRITES else None
    )
    monkeypatch.setattr(Outage, "wait", late)
    async with aqrec.ExperimentManager(store.url, options=options(close_timeout=20)) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        recorder.log_metrics(loss=1.0)
        await recorder.flush()
        down = True
        recorder.log_metrics(loss=2.0)
        with pytest.raises(FlushTimeoutError, match="written bytes are not stored"):
            await recorder.flush()
        down = False
        monkeypatch.undo()
        await recorder.end_run()
    assert len(await read(store.clean, recorder.id, "loss")) == 2


@pytest.mark.parametrize("kind", ["memory", "segments"])
async def test_strict_recording_raises_at_the_next_flush_until_the_store_is_back(
    kind: str, tmp_path: Path
) -> None:
    down = False
    store = Fixture(
        kind,
        tmp_path,
        lambda operation, _key, _n: broken("disk died") if down and operation in WRITES else None,
    )
    strict = options(strict=True, flush_timeout=0.1, close_timeout=0.2, sync=0.01, segment=0.01)
    async with aqrec.ExperimentManager(store.url, options=strict) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        recorder.log_metrics(loss=1.0)
        await recorder.flush()
        down = True
        recorder.log_metrics(loss=2.0)
        with pytest.raises(StorageError, match="disk died"):
            await recorder.flush()
        with pytest.raises(StorageError, match="disk died"):
            await recorder.end_run()
        down = False
        async with asyncio.timeout(60):
            while not await _ends(recorder):  # what failed between the last end and now is told, too
                pass
    assert len(await read(store.clean, recorder.id, "loss")) == 2


async def _ends(recorder: aqrec.Recorder) -> bool:
    try:
        await recorder.end_run()
    except StorageError:
        return False
    return True


async def test_a_failure_that_was_made_good_is_no_failure_to_strict_recording(
    kind: str, tmp_path: Path
) -> None:
    store = Fixture(
        kind, tmp_path, lambda operation, _key, n: broken() if operation in WRITES and n == 2 else None
    )
    async with aqrec.ExperimentManager(store.url, options=options(strict=True)) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        for step in range(10):
            recorder.log_metrics(step=step, loss=1.0)
            await recorder.flush()
        await recorder.end_run()
    assert store.injected


async def test_large_params_of_one_moment_are_all_stored(tmp_path: Path) -> None:
    """Together they are larger than a frame may be."""
    url = str(tmp_path / "s")
    text = "x" * 25_000_000
    async with aqrec.open_recorder(url, experiment="e", options=options()) as recorder:
        for number in range(4):
            recorder.log_params(**{f"p{number}": text})
        await recorder.flush()
        assert [len(value) for value in (await recorder.list_params()).values()] == [25_000_000] * 4


async def test_a_store_that_cannot_be_opened_leaves_nothing_running(
    kind: str, tmp_path: Path, no_threads_left: None
) -> None:
    store = Fixture(kind, tmp_path, lambda operation, _key, _n: broken("no such bucket"))
    with pytest.raises(StorageError, match="no such bucket"):
        async with aqrec.ExperimentManager(store.url, options=options()):
            pass
    with pytest.raises(StorageError, match="no such bucket"):
        async with aqrec.open_recorder(store.url, options=options()):
            pass


def test_nor_does_it_on_the_blocking_face(kind: str, tmp_path: Path, no_threads_left: None) -> None:
    store = Fixture(kind, tmp_path, lambda operation, _key, _n: broken("no such bucket"))
    for opened in (aqrec.sync.ExperimentManager, aqrec.sync.open_recorder):
        with pytest.raises(StorageError, match="no such bucket"), opened(store.url, options=options()):
            pass


async def test_losing_the_answer_to_the_marker_is_harmless(kind: str, tmp_path: Path) -> None:
    store = Fixture(
        kind, tmp_path, lambda operation, _key, n: LostResponse(broken()) if operation == "create" else None
    )
    async with aqrec.ExperimentManager(store.url, options=options()) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorder = await experiment.create_recorder("r")
        await recorder.start_run()
        await recorder.end_run()
    assert await read(store.clean, recorder.id, "loss") == []


def test_the_log_is_quiet_about_a_healthy_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with aqrec.open_recorder(str(tmp_path / "s"), options=options()) as recorder:
            recorder.log_metrics(loss=1.0)

    with caplog.at_level(logging.INFO, logger="aqrec"):
        asyncio.run(main())
    assert [record for record in caplog.records if record.name.startswith("aqrec")] == []


def test_a_folder_that_vanishes_under_a_run_is_told_once_and_in_words(
    local_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback of what was being written, from wherever the interpreter collects it."""
    collected: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", collected.append)
    with aqrec.sync.open_recorder(local_url, experiment="e", options=options(close_timeout=1)) as recorder:
        recorder.log_metrics(step=1, x=1.0)
        recorder.flush()
        shutil.rmtree(local_url.removeprefix("file://"))
    gc.collect()
    assert [str(one.exc_value) for one in collected] == []
    assert "was not completely stored" in caplog.text
