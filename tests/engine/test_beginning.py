"""The files of a log, and when there is trouble with beginning them."""

import asyncio
import logging
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

import aqrec
from aqrec.errors import StorageError
from aqrec.options import RetryOptions
from aqrec.stores import Appender, FaultyStore, Store, WrapperStore, open_store
from tests._support import wait_until
from tests.engine.support import history, options, read, serve


async def log_and_wait(recorder: aqrec.Recorder, steps: range) -> None:
    """Log a point after the other, each when the engine has taken the last one."""
    queue = recorder._run.engine.buffer.queue
    for step in steps:
        recorder.log_metrics(step=step, loss=float(step))
        await asyncio.to_thread(wait_until, lambda: not queue)


async def test_a_disk_that_is_full_from_the_start_is_not_littered_with_files(tmp_path: Path) -> None:
    """A file can be begun there, but nothing written to it; pauses between attempts hold for that, too."""
    full, opened = True, list[str]()

    def plan(operation: str, key: str, _n: int) -> Any:
        if operation == "open_append":
            opened.append(key)
        return StorageError("No space left on device") if full and operation == "append.write" else None

    url = serve(lambda: FaultyStore(open_store(tmp_path), plan))
    patient = msgspec.structs.replace(options(), retry=RetryOptions(first=0.5, longest=0.5))
    async with aqrec.open_recorder(url, options=patient) as recorder:
        await log_and_wait(recorder, range(20))
        assert 0 < len(opened) <= 2 * ((await recorder.statistics()).retries + 1), opened
        await asyncio.to_thread(wait_until, lambda: not [*tmp_path.rglob("*.seg"), *tmp_path.rglob("*.ev")])
        full = False
    assert await read(url, recorder.id, "loss") == [(step, float(step)) for step in range(20)]


class _SlowStore(WrapperStore):
    """A store where beginning a file takes until `events` or `journal` is set."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.events, self.journal = threading.Event(), threading.Event()
        self.waiting: list[str] = []

    async def open_append(self, key: str) -> Appender:
        gate = self.journal if key.startswith("journal/") else self.events
        self.waiting.append(key.partition("/")[0])
        assert await asyncio.to_thread(gate.wait, 30)
        return await super().open_append(key)


async def test_a_store_that_is_slow_to_begin_files_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Points that come while the events' file is begun have theirs begun, and are waited for."""
    store = _SlowStore(open_store(tmp_path))
    with caplog.at_level(logging.WARNING, logger="aqrec"):
        async with aqrec.open_recorder(serve(lambda: store), options=options()) as recorder:
            await asyncio.to_thread(wait_until, lambda: "catalog" in store.waiting)
            assert "journal" not in store.waiting
            await log_and_wait(recorder, range(3))
            store.events.set()
            await log_and_wait(recorder, range(3, 6))
            store.journal.set()
            await recorder.flush()
            assert (await recorder.statistics()).retries == 0
            assert await history(recorder, "loss") == [(step, float(step)) for step in range(6)]
    assert caplog.text == ""


async def test_what_is_recorded_after_the_folder_was_deleted_is_stored_in_a_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No flush is acknowledged into files that are gone, and it is told that they are."""
    folder = tmp_path / "store"
    async with aqrec.ExperimentManager(str(folder), options=options()) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        async with await experiment.create_recorder("before") as recorder:
            recorder.log_metrics(step=0, loss=0.0)
            await recorder.flush()
        shutil.rmtree(folder)
        recorder = await experiment.create_recorder("after")
        await recorder.start_run()
        for step in range(3):
            recorder.log_metrics(step=step, loss=float(step))
            await recorder.flush()
            assert await read(str(folder), recorder.id, "loss") == [(at, float(at)) for at in range(step + 1)]
        await recorder.end_run()
        assert (folder / "aqrec.json").exists()
    told = [record.getMessage() for record in caplog.records if "deleted" in record.getMessage()]
    assert len(told) >= 1
    assert folder.as_uri() in told[0]


async def test_strict_recording_raises_for_deleted_files(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with aqrec.open_recorder(str(folder), options=options(strict=True, seal="never")) as recorder:
        recorder.log_metrics(step=0, loss=0.0)
        await recorder.flush()
        shutil.rmtree(folder)
        recorder.log_metrics(step=1, loss=1.0)
        with pytest.raises(StorageError, match="deleted"):
            await recorder.flush()
