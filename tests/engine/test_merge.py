"""Small segments of a journal become few, and nothing that goes wrong meanwhile loses or doubles a point."""

import uuid
from pathlib import Path
from typing import Any

import pytest

import aqrec
from aqrec.engine import _log, _merge
from aqrec.errors import StorageError
from aqrec.format import _layout as layout
from aqrec.options import SpoolOptions
from aqrec.stores import FaultyStore, LostResponse, MemoryStore
from tests.engine.support import history, options, serve

STEPS = 41


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_merge, "FANOUT", 3)


def _merged(key: str) -> bool:
    return key.startswith(layout.JOURNAL) and "_" in key


class _Trouble:
    """The first, fifth... time that a merge does something to the store, it fails, or its answer is lost."""

    def __init__(self, what: str, failure: Any) -> None:
        self._what, self._failure = what, failure
        self.asked = 0

    def __call__(self, operation: str, key: str, n: int) -> Any:
        if operation != self._what or not key.startswith(layout.JOURNAL):
            return None
        if operation == "put" and not _merged(key):
            return None
        self.asked += 1
        return self._failure if self.asked % 4 == 1 else None


FAILED, LOST = StorageError("told to fail"), LostResponse(StorageError("the answer was lost"))


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("what", "failure"), [("put", FAILED), ("put", LOST), ("delete", FAILED), ("get", FAILED), ("none", None)]
)
async def test_a_merge_that_fails_costs_no_point(
    what: str, failure: Any, *, kept: bool, spooled: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not kept:  # originals are read back
        monkeypatch.setattr(_log, "_SMALL", 0)
    name = uuid.uuid4().hex
    trouble = _Trouble(what, failure)
    url = serve(lambda: FaultyStore(MemoryStore(name, append=False), trouble))
    spool = SpoolOptions(folder=str(tmp_path)) if spooled else None
    async with aqrec.open_recorder(
        url, experiment="e", options=options(spool=spool, seal="never")
    ) as recorder:
        for step in range(STEPS):
            recorder.log_metrics(step=step, x=step)
            await recorder.flush()
    keys = [info.key async for info in MemoryStore(name).list(layout.JOURNAL)]
    assert any(map(_merged, keys))
    if what == "put" or (what == "get" and not kept):
        assert trouble.asked
    async with aqrec.ExperimentManager(
        serve(lambda: MemoryStore(name, append=False)), options=options()
    ) as manager:
        (again,) = (await manager.list_recorders(experiment_name="e")).values()
        assert await history(again, "x") == [(step, float(step)) for step in range(STEPS)]


@pytest.mark.parametrize("kept", [True, False])
async def test_merged_segments_are_sealed_and_deleted(*, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kept:
        monkeypatch.setattr(_log, "_SMALL", 0)
    name = uuid.uuid4().hex
    url = serve(lambda: MemoryStore(name, append=False))
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorders = [await experiment.create_recorder(recorder_id=f"r{number}") for number in range(4)]
        for step in range(STEPS):  # they end at different times, each in the middle of merges
            for number, recorder in enumerate(recorders):
                if step < 10 * (number + 1):
                    recorder.log_metrics(step=step, x=number)
            await recorders[step % 4].flush()
            if step % 10 == 9:
                await recorders[step // 10].end_run()
        for number in range(4):
            recorder = await manager.get_recorder(recorder_id=f"r{number}")
            assert await history(recorder, "x") == [
                (step, float(number)) for step in range(10 * (number + 1))
            ]
    assert [info.key async for info in MemoryStore(name).list(layout.JOURNAL)] == []


async def test_large_segments_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_merge, "_LARGE", 1)
    name = uuid.uuid4().hex
    url = serve(lambda: MemoryStore(name, append=False))
    async with aqrec.open_recorder(url, options=options(seal="never")) as recorder:
        for step in range(12):
            recorder.log_metrics(step=step, x=step)
            await recorder.flush()
    keys = [info.key async for info in MemoryStore(name).list(layout.JOURNAL)]
    assert len(keys) == 12
    assert not any(map(_merged, keys))


def test_a_merged_segment_is_listed_behind_all_that_it_holds() -> None:
    writer = "0" * 32
    keys = [
        layout.journal_key(writer, 0),
        layout.journal_key(writer, 15),
        layout.merged_journal_key(writer, 0, 15),
        layout.journal_key(writer, 255),
        layout.merged_journal_key(writer, 240, 255),
        layout.merged_journal_key(writer, 0, 255),
        layout.journal_key(writer, 256),
    ]
    assert keys == sorted(keys)
