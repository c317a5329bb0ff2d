"""What a job sees of a store that is away: all that it recorded and read itself, and no exception for going on."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

import aqrec
from aqrec.engine import engines_of
from aqrec.errors import ExpAlreadyExistError, InvalidInputError, RecorderNotFoundError, StorageError
from aqrec.options import SpoolOptions
from tests._support import wait_until
from tests._support.bucket import bucket_url
from tests.engine.support import history, options, read

QUICK = options(spool=SpoolOptions(away_after=0.05))


class Lake:
    """A bucket in a folder, whose absence is switched."""

    def __init__(self, tmp_path: Path) -> None:
        self.url = bucket_url(tmp_path / "bucket")
        self._switch = tmp_path / "bucket.away"

    def leave(self, how: str = "") -> None:
        self._switch.write_text(how)

    def come_back(self) -> None:
        self._switch.unlink(missing_ok=True)

    def manager(self) -> aqrec.ExperimentManager:
        return aqrec.ExperimentManager(self.url, options=QUICK)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("AQREC_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr("aqrec.engine._outage._PATIENCE", 0.2)
    return Lake(tmp_path)


async def one_run(manager: aqrec.ExperimentManager, name: str, loss: float) -> aqrec.Recorder:
    experiment = await manager.get_exp(experiment_name="sweep")
    async with await experiment.start(recorder_name=name) as recorder:
        recorder.log_params(lr=loss)
        recorder.log_metrics(step=0, loss=loss)
        await recorder.save_objects(**{"a.json": [loss]})
    return recorder


@pytest.mark.parametrize("how", ["", "hang"])
async def test_a_sweep_goes_on_and_finds_its_runs(
    lake: Lake, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each trial is chosen by a search over those before; in the end the store has all of them."""
    async with lake.manager() as manager:
        await one_run(manager, "trial 0", 5.0)
        assert len(await manager.search_records(experiment_names=["sweep"])) == 1
        await one_run(manager, "trial 1", 4.0)  # nobody reads it before the store goes
        lake.leave(how)
        for number in range(2, 5):
            async with asyncio.timeout(20):
                recorder = await one_run(manager, f"trial {number}", 5.0 - number)
                frame = await manager.search_records(
                    experiment_names=["sweep"], order_by=["metrics.loss ASC"]
                )
            assert frame["tags.mlflow.runName"].tolist() == [f"trial {n}" for n in range(number, -1, -1)]
            assert frame["status"].tolist() == ["FINISHED"] * (number + 1)
            assert frame["metrics.loss"].tolist() == [float(n) for n in range(5 - number, 6)]
            assert await recorder.list_params() == {"lr": 5.0 - number}
            assert await recorder.list_metrics() == {"loss": 5.0 - number}
            assert await recorder.load_object("a.json") == [5.0 - number]
        assert len(await manager.list_recorders(experiment_name="sweep")) == 5
        assert list(await manager.list_experiments()) == ["sweep"]
        told = [
            record.getMessage() for record in caplog.records if "its catalog is shown" in record.getMessage()
        ]
        assert len(told) == 1
        lake.come_back()
    async with lake.manager() as manager:
        frame = await manager.search_records(experiment_names=["sweep"])
        assert (frame["status"] == "FINISHED").sum() == 5


async def test_the_next_run_begins_in_every_way(lake: Lake) -> None:
    async with lake.manager() as manager:
        first = await one_run(manager, "first", 1.0)
        await manager.list_experiments()
        lake.leave()
        assert (await manager.get_exp(experiment_name="sweep", create=False)).name == "sweep"
        assert (await manager.create_exp("new")).name == "new"
        with pytest.raises(ExpAlreadyExistError):
            await manager.create_exp("sweep")
        with pytest.raises(RecorderNotFoundError):
            await manager.get_recorder(recorder_name="no such run", experiment_name="sweep")
        own = await manager.start_exp(experiment_name="new", recorder_id="mine")
        (await own.get_recorder()).log_metrics(step=1, loss=1)
        await manager.end_exp()
        with pytest.raises(InvalidInputError, match="is taken"):
            await manager.start_exp(experiment_name="new", recorder_id="mine")
        for start in ({"recorder_id": first.id}, {"recorder_name": "first"}, {"recorder_id": "unheard"}):
            resumed = await manager.start_exp(experiment_name="sweep", resume=True, **start)  # type: ignore[arg-type]
            recorder = await resumed.get_recorder()
            assert recorder.id == start.get("recorder_id", first.id)
            recorder.log_metrics(step=2, loss=2)
            await manager.end_exp()
        lake.come_back()
    assert await read(lake.url, "mine", "loss") == [(1, 1.0)]
    assert await read(lake.url, "unheard", "loss") == [(2, 2.0)]
    assert await read(lake.url, first.id, "loss") == [(0, 1.0), (2, 2.0), (2, 2.0)]


async def test_a_process_that_knows_the_store_opens_it_again(lake: Lake) -> None:
    """A job that opens the store for each of its runs."""
    ids: list[str] = []
    for number in range(4):
        if number == 1:
            lake.leave()
        if number == 3:
            lake.come_back()
        async with (
            asyncio.timeout(20),
            aqrec.open_recorder(
                lake.url,
                experiment="e",
                options=options(spool=SpoolOptions(away_after=0.05), close_timeout=2),
            ) as recorder,
        ):
            recorder.log_metrics(step=number, loss=number)
            assert await recorder.list_metrics() == {"loss": number}
            ids.append(recorder.id)
    await aqrec.sync_spool(lake.url)
    for number, run_id in enumerate(ids):
        assert await read(lake.url, run_id, "loss") == [(number, float(number))]


async def test_who_has_not_read_before_is_not_shown_an_empty_store(lake: Lake) -> None:
    async with lake.manager() as manager:
        await one_run(manager, "old", 1.0)
    async with lake.manager() as manager:
        await manager.start_exp(experiment_name="e")
        await manager.end_exp()
        lake.leave()
        asks: list[Any] = [
            manager.search_records(),
            manager.list_experiments(),
            manager.list_recorders(experiment_name="sweep"),
            manager.get_recorder(recorder_name="old", experiment_name="sweep"),
            manager.get_exp(experiment_name="sweep", create=False),
            manager.start_exp(experiment_name="sweep", recorder_name="old", resume=True),
        ]
        for ask in asks:
            with pytest.raises(StorageError, match="is away, and this process had not read"):
                await ask
        lake.come_back()


async def test_a_history_is_whole_or_refused(lake: Lake) -> None:
    async with lake.manager() as manager:
        before = await (await manager.get_exp(experiment_name="e")).create_recorder("before")
        await before.start_run()
        before.log_metrics(step=0, loss=0)
        await before.flush()
        lake.leave()
        since = await (await manager.get_exp(experiment_name="e")).create_recorder("since")
        await since.start_run()
        for recorder in (before, since):
            for step in range(1, 100):
                recorder.log_metrics(step=step, loss=step)
        assert await history(since, "loss") == [(step, float(step)) for step in range(1, 100)]
        assert await before.list_metrics() == {"loss": 99.0}
        with pytest.raises(StorageError, match=r"the history of 'loss' lies in .* which is away"):
            await history(before, "loss")
        lake.come_back()
        await before.flush()
        assert await history(before, "loss") == [(step, float(step)) for step in range(100)]


async def test_when_it_is_back_the_store_is_read_again(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    """What others have recorded meanwhile is there, and nothing that is remembered stays."""
    async with lake.manager() as manager:
        run = await one_run(manager, "mine", 1.0)
        await manager.list_experiments()
        lake.leave()
        run.set_tags(seen="here")
        assert (await run.list_tags())["seen"] == "here"
        lake.come_back()
        async with aqrec.ExperimentManager(lake.url, options=options(capacity=1000)) as other:
            again = await other.get_recorder(recorder_id=run.id)
            await again.set_tags(seen="there")
            await again.flush()
        (engine,) = engines_of(lake.url)
        await asyncio.to_thread(wait_until, lambda: not engine.outage.away)
        assert (await run.list_tags())["seen"] == "there"
        caplog.set_level(logging.WARNING)
        assert await manager.list_recorders(experiment_name="sweep")
    assert sum("its catalog is shown" in record.getMessage() for record in caplog.records) == 1


async def test_what_nobody_is_let_into_is_no_outage(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that refuses will not answer otherwise later: whoever reads is told."""
    async with lake.manager() as manager:
        await one_run(manager, "r", 1.0)
        await manager.list_experiments()
        lake.leave()
        monkeypatch.setattr(StorageError, "permanent", True)
        with pytest.raises(StorageError, match="away"):
            await manager.list_experiments()
        monkeypatch.undo()
        lake.come_back()


async def test_a_store_that_this_process_does_not_know_is_not_begun(lake: Lake) -> None:
    lake.leave()
    with pytest.raises(StorageError, match="away"):
        async with lake.manager():
            pytest.fail("nobody has seen it")


@pytest.mark.parametrize("how", ["end", "close"])
async def test_the_end_of_a_run_does_not_wait_long_for_a_seal_that_hangs(
    lake: Lake, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it use up the time that the close has for making everything durable."""
    chosen = options(spool=SpoolOptions(away_after=0.05), segment=60, close_timeout=4)
    manager = aqrec.ExperimentManager(lake.url, options=chosen)
    recorder = await (await manager.get_exp(experiment_name="e")).start(recorder_id="r")
    recorder.log_metrics(step=0, loss=0)
    await recorder.flush()
    recorder.log_metrics(step=1, loss=1)
    lake.leave("hang")
    began = time.monotonic()
    if how == "end":
        await recorder.end_run()
        assert time.monotonic() - began < 3
        lake.come_back()
    await manager.aclose()
    assert time.monotonic() - began < 8
    assert not [record for record in caplog.records if "not stored to their end" in record.getMessage()]
    lake.come_back()
    await aqrec.sync_spool(lake.url)
    assert await read(lake.url, "r", "loss") == [(0, 0.0), (1, 1.0)]
    async with lake.manager() as again:
        assert (await again.get_recorder(recorder_id="r")).status == "FINISHED"


async def test_saving_does_not_wait_for_an_upload_that_hangs(lake: Lake) -> None:
    async with lake.manager() as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).start()
        await recorder.flush()
        lake.leave("hang")
        began = time.monotonic()
        recorder.log_metrics(step=1, loss=1)
        await recorder.save_objects(**{"a.json": [1]})
        assert time.monotonic() - began < 10
        assert await recorder.load_object("a.json") == [1]
        lake.come_back()
        await recorder.end_run()
        assert await recorder.load_object("a.json") == [1]
