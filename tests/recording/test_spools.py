"""Recording offline, and sending what lies in the spool."""

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest

import aqrec
import aqrec.sync
from aqrec.errors import InvalidInputError, InvalidValueError, StorageError
from aqrec.options import SpoolOptions
from aqrec.recording import _spools as spools
from aqrec.stores import FaultyStore, LostResponse, MemoryStore, Torn
from tests._support import run_script, wait_until
from tests._support.bucket import bucket_url, objects_in
from tests.engine.support import history, options, read, serve


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's processes spool to."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("AQREC_SPOOL", str(folder))
    return folder


async def record_offline(url: str, number: int = 0, **start: object) -> str:
    async with aqrec.open_recorder(
        url, experiment="e", mode="offline", options=options(), **start
    ) as recorder:  # type: ignore[arg-type]
        for step in range(5):
            recorder.log_metrics(step=10 * number + step, loss=step)
        await recorder.log_params(**{f"p{number}": number})
        await recorder.save_objects(**{f"a{number}.json": [number]})
        await recorder.flush()
        assert len(await recorder.metric_history("loss")) == 5
        assert await recorder.load_object(f"a{number}.json") == [number]
        manager_of = await recorder.list_params()
        assert manager_of == {f"p{number}": number}
    return recorder.id


async def test_offline_makes_no_request_and_sync_stores_all(tmp_path: Path, spool: Path) -> None:
    opened: list[MemoryStore] = []

    def bucket() -> MemoryStore:
        opened.append(MemoryStore(tmp_path.name, append=False))
        return opened[-1]

    url = serve(bucket)
    run_id = await record_offline(url)
    assert opened == []
    told: list[tuple[int, int]] = []
    (report,) = await aqrec.sync_spool(progress=lambda done, total: told.append((done, total)))
    assert (report.state, report.offline, report.url, report.pid) == ("sent", True, url, os.getpid())
    assert report.sent == report.objects >= 4
    assert told[-1] == (report.bytes, report.bytes)
    assert await read(url, run_id, "loss") == [(step, float(step)) for step in range(5)]
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        frame = await manager.search_records(experiment_names=["e"])
        assert frame["run_id"].tolist() == [run_id]
        assert frame["status"].tolist() == ["FINISHED"]
        recorder = await manager.get_recorder(recorder_id=run_id)
        assert await recorder.load_object("a0.json") == [0]
    assert list(spool.iterdir()) == []


async def test_search_offline_finds_the_runs_of_this_process(tmp_path: Path, spool: Path) -> None:
    url = bucket_url(tmp_path / "bucket")
    async with aqrec.ExperimentManager(url, mode="offline", options=options()) as manager:
        for name in ("one", "two"):
            await manager.start_exp(experiment_name="e", recorder_name=name)
            await manager.end_exp()
        frame = await manager.search_records(experiment_names=["e"])
        assert sorted(frame["tags.mlflow.runName"]) == ["one", "two"]
    assert not (tmp_path / "bucket").exists()


def test_offline_on_the_blocking_face_and_by_the_environment(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket_url(tmp_path / "bucket")
    R = aqrec.sync.R
    with R.start(experiment_name="e", uri=url, mode="offline"):
        R.log_metrics(step=0, loss=1.0)
        first = R.get_recorder().id
    R.close()
    monkeypatch.setenv("AQREC_MODE", "offline")
    with aqrec.sync.open_recorder(url, experiment="e", options=options()) as recorder:
        recorder.log_metrics(step=0, loss=2.0)
    monkeypatch.delenv("AQREC_MODE")
    assert not (tmp_path / "bucket").exists()
    assert [report.state for report in aqrec.sync.sync_spool(url)] == ["sent", "sent"]
    assert aqrec.sync.sync_spool(url) == []
    for run_id, value in ((first, 1.0), (recorder.id, 2.0)):
        assert asyncio.run(read(url, run_id, "loss")) == [(0, value)]


async def test_one_run_recorded_offline_by_several_processes_is_one_run(tmp_path: Path, spool: Path) -> None:
    """The document of the ended run, too, has what all of them recorded."""
    url = bucket_url(tmp_path / "bucket")
    for number in range(3):
        await record_offline(url, number, recorder_id="shared", resume=True)
        if number == 1:
            await aqrec.sync_spool(url)
    (report,) = await aqrec.sync_spool(url)
    assert report.state == "sent"
    points = await read(url, "shared", "loss")
    assert [step for step, _ in points] == [10 * number + step for number in range(3) for step in range(5)]
    document = json.loads(objects_in(tmp_path / "bucket")["runs/shared/run.json"])
    assert document["params"] == {"p0": 0, "p1": 1, "p2": 2}


async def test_sync_does_not_bring_back_an_artifact_that_was_saved_again(tmp_path: Path, spool: Path) -> None:
    url = bucket_url(tmp_path / "bucket")

    async def save(text: str, **mode: object) -> None:
        async with aqrec.open_recorder(
            url,
            experiment="e",
            recorder_id="shared",
            resume=True,
            options=options(),
            **mode,  # type: ignore[arg-type]
        ) as recorder:
            await recorder.save_objects(**{"a.json": [text]})

    await save("first")
    await save("offline", mode="offline")
    await save("later")
    (report,) = await aqrec.sync_spool(url)
    assert report.state == "sent"
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert await (await manager.get_recorder(recorder_id="shared")).load_object("a.json") == ["later"]


@pytest.mark.parametrize("seed", range(3))
async def test_sync_through_a_bad_network_may_be_repeated(tmp_path: Path, spool: Path, seed: int) -> None:
    import random

    rng = random.Random(seed)
    failing = True

    def plan(operation: str, key: str, n: int) -> object:
        if not failing or rng.random() >= 0.3:
            return None
        error = StorageError("SlowDown")
        return rng.choice([error, LostResponse(error), Torn(5, error)])

    def store() -> FaultyStore:
        return FaultyStore(MemoryStore(f"{tmp_path.name}-{seed}", append=False), plan)  # type: ignore[arg-type]

    url = serve(store)
    runs = [await record_offline(url) for _ in range(3)]
    for _ in range(20):
        reports = await aqrec.sync_spool(url)
        if not reports:
            break
        assert all(report.state == "sent" or "SlowDown" in report.reason for report in reports)
    failing = False
    assert await aqrec.sync_spool(url) == []
    for run_id in runs:
        assert await read(url, run_id, "loss") == [(step, float(step)) for step in range(5)]


async def test_a_store_that_cannot_be_reached_is_told_and_nothing_goes(tmp_path: Path, spool: Path) -> None:
    good, bad = bucket_url(tmp_path / "good"), bucket_url(tmp_path / "bad")
    (tmp_path / "bad.away").write_text("")
    await record_offline(bad)
    run_id = await record_offline(good)
    states = {report.url: report for report in await aqrec.sync_spool()}
    assert states[good].state == "sent"
    assert states[bad].state == "failed"
    assert "away" in states[bad].reason
    assert states[bad].sent == 0
    assert Path(states[bad].folder).is_dir()
    (tmp_path / "bad.away").unlink()
    assert [report.state for report in await aqrec.sync_spool()] == ["sent"]
    assert len(await read(good, run_id, "loss")) == 5


async def test_a_spool_that_cannot_be_read_is_told_and_left(tmp_path: Path, spool: Path) -> None:
    url = bucket_url(tmp_path / "bucket")
    await record_offline(url)
    (header,) = spool.rglob("spool.json")
    header.write_text("{")
    (report,) = await aqrec.sync_spool()
    assert (report.state, header.exists()) == ("failed", True)
    assert "spool.json" in report.reason


async def test_no_credentials_lie_in_the_spool(tmp_path: Path, spool: Path) -> None:
    secret = "hunter2"
    url = f"bucket://user:{secret}@{str(tmp_path).lstrip('/')}/bucket"
    async with aqrec.open_recorder(
        url, mode="offline", options=options(), storage_options={"key": secret, "secret": secret}
    ) as recorder:
        recorder.log_metrics(loss=1.0)
    files = [path for path in spool.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not any(secret.encode() in path.read_bytes() or secret in str(path) for path in files)


def test_what_needs_a_spool_says_so() -> None:
    for wrong in ({"mode": "offline"}, {"durability": "local"}):
        with pytest.raises(InvalidValueError, match="spool"):
            aqrec.Options(spool=None, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="offline"):
        aqrec.Options(mode="off")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="away_after"):
        SpoolOptions(away_after=-1)


async def test_offline_and_online_runs_of_one_process_do_not_mix(tmp_path: Path, spool: Path) -> None:
    url = bucket_url(tmp_path / "bucket")
    async with aqrec.ExperimentManager(url, options=options()) as online:
        on = await (await online.get_exp(experiment_name="e")).create_recorder("on")
        async with on:
            on.log_metrics(loss=1.0)
            off = await record_offline(url)
            assert (await online.list_recorders(experiment_name="e")).keys() == {on.id}
        await aqrec.sync_spool(url)
        assert (await online.list_recorders(experiment_name="e")).keys() == {on.id, off}
        assert await history(await online.get_recorder(recorder_id=on.id), "loss") == [(None, 1.0)]


async def test_artifacts_named_like_unfinished_files_are_sent_too(tmp_path: Path, spool: Path) -> None:
    """Only at its root has the store such a folder of its own."""
    url = serve(lambda: MemoryStore(tmp_path.name, append=False))
    names = [".aqrec-tmp-cache/x.json", "deep/.aqrec-tmp/y.json"]
    async with aqrec.open_recorder(url, experiment="e", mode="offline", options=options()) as recorder:
        await recorder.save_objects(**dict.fromkeys(names, 1))
    (report,) = await aqrec.sync_spool()
    assert report.state == "sent"
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert [await again.load_object(name) for name in names] == [1, 1]


async def test_a_folder_that_cannot_be_listed_keeps_its_spool(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is removed that was not seen; the other spools are sent."""
    url = serve(lambda: MemoryStore(tmp_path.name, append=False))
    await record_offline(url)
    original = os.scandir

    def scandir(path: object) -> object:
        if str(path).endswith("/runs"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", scandir)
    (report,) = await aqrec.sync_spool()
    assert report.state == "failed"
    assert "Permission denied" in report.reason
    monkeypatch.undo()
    monkeypatch.setenv("AQREC_SPOOL", str(spool))
    (report,) = await aqrec.sync_spool()
    assert report.state == "sent"


@pytest.mark.parametrize("call", ["open", "read"])
async def test_offline_a_folder_that_cannot_be_made_is_named_with_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It is not the store that fails."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AQREC_SPOOL", str(tmp_path / "file" / "spool"))
    url = serve(lambda: MemoryStore(tmp_path.name, append=False))
    manager = aqrec.ExperimentManager(url, mode="offline", options=options())
    begin = manager.__aenter__ if call == "open" else manager.list_experiments
    with pytest.raises(StorageError, match=r"spool .*/file/spool .* AQREC_SPOOL"):
        await begin()
    await manager.aclose()


async def test_offline_nothing_recorded_leaves_nothing(tmp_path: Path, spool: Path) -> None:
    url = serve(lambda: MemoryStore(tmp_path.name, append=False))
    async with aqrec.ExperimentManager(url, mode="offline", options=options()) as manager:
        assert await manager.list_experiments() == {}
    assert await aqrec.sync_spool() == []


def locks() -> list[str]:
    """Return the lock files that this process holds open."""
    paths = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return [path for path in paths if path.endswith("/lock")]


@pytest.mark.parametrize("place", ["read_header", "remove_folder"])
async def test_no_lock_is_kept_whatever_fails(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    await record_offline(bucket_url(tmp_path / "bucket"))

    def fail(folder: Path) -> None:
        raise RuntimeError(folder)

    with monkeypatch.context() as patch:
        patch.setattr(f"aqrec.recording._spools.{place}", fail)
        with pytest.raises(RuntimeError):
            await aqrec.sync_spool()
    assert locks() == []
    assert {report.state for report in await aqrec.sync_spool()} == {"sent"}


async def test_no_lock_is_kept_by_who_is_cancelled(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the worker thread takes it only then."""
    await record_offline(bucket_url(tmp_path / "bucket"))
    looking, go_on = threading.Event(), threading.Event()
    original = spools.read_header

    def slow(folder: Path) -> object:
        looking.set()
        assert go_on.wait(30)
        return original(folder)

    monkeypatch.setattr(spools, "read_header", slow)
    task = asyncio.create_task(aqrec.sync_spool())
    await asyncio.to_thread(looking.wait)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: locks() == [])
    monkeypatch.undo()
    monkeypatch.setenv("AQREC_SPOOL", str(spool))
    assert [report.state for report in await aqrec.sync_spool()] == ["sent"]


def test_a_fork_holds_no_lock_that_another_thread_has_just_taken(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        from pathlib import Path
        import aqrec.sync
        from aqrec.engine._spool import lock_folder, unlock_folder

        folder = Path(sys.argv[1])
        lock = lock_folder(folder, create=True)
        assert lock is not None and lock_folder(folder) is None
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        try:
            unlock_folder(lock)
            deadline = time.monotonic() + 20
            while (lock := lock_folder(folder)) is None:
                assert time.monotonic() < deadline, "the child holds the lock"
                time.sleep(0.01)
            unlock_folder(lock)
        finally:
            os.kill(child, 9)
    """
    run_script(code, str(tmp_path)).check()


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_half_a_key_before_the_bucket_is_refused_and_shown_to_nobody(
    tmp_path: Path, spool: Path, mode: str
) -> None:
    for url in ("az://name:hunter2/x", "s3://key:hun/hunter2/x", "abfs://c:hunter2==/x"):
        with pytest.raises(InvalidInputError) as caught:
            aqrec.ExperimentManager(url, mode=mode)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)
    assert not spool.exists()


async def test_who_is_not_let_in_is_told_at_once(tmp_path: Path, spool: Path) -> None:
    """Trying again cannot help, and the other spools of the store have no better chance."""
    asked: list[str] = []

    def plan(operation: str, key: str, n: int) -> object:
        asked.append(key)
        error = StorageError("403 AccessDenied")
        error.permanent = True
        return error

    url = serve(lambda: FaultyStore(MemoryStore(tmp_path.name, append=False), plan))  # type: ignore[arg-type]
    for _ in range(2):
        await record_offline(url)
    asked.clear()
    reports = await aqrec.sync_spool(url)
    assert [report.state for report in reports] == ["failed", "failed"]
    assert all("AccessDenied" in report.reason and "credentials" in report.reason for report in reports)
    assert len(asked) == 1
