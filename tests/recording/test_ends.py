"""Ends that are refused, cancelled again and again, or asked for by several; async."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
import trio

import aqrec
from aqrec.errors import InvalidInputError
from aqrec.options import Options
from aqrec.recording._run import Run
from aqrec.sync import STATUS_FA, STATUS_FI, STATUS_R
from aqrec.sync import ExperimentManager as BlockingManager

QUICK = Options(provenance=False)


@pytest.fixture
def sealing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Ends of runs tell by the first event that they are about to seal, and wait there for the second."""
    reached, go_on = threading.Event(), threading.Event()
    seal = Run._seal

    async def wait_and_seal(run: Run) -> None:
        reached.set()
        while not go_on.is_set():
            await asyncio.sleep(0.002)
        await seal(run)

    monkeypatch.setattr(Run, "_seal", wait_and_seal)
    yield reached, go_on
    go_on.set()


def _assert_sealed(store: Path, status: str = STATUS_FA) -> None:
    """The one run of the store has the status, its points, and the document that only an orderly end writes."""
    with BlockingManager(str(store), options=QUICK) as manager:
        (recorder,) = manager.list_recorders(experiment_name="e").values()
        assert recorder.status == status
        assert len(recorder.metric_history("x")) == 100
    assert (store / "runs" / recorder.id / "run.json").exists()


async def _record(store: Path, inside: Callable[[], None]) -> None:
    async with aqrec.open_recorder(str(store), experiment="e", options=QUICK) as recorder:
        for n in range(100):
            recorder.log_metrics(step=n, x=n)
        inside()
        await anyio.sleep_forever()


async def test_a_refused_end_changes_nothing(memory_url: str) -> None:
    async with aqrec.open_recorder(memory_url, options=Options(provenance=False)) as recorder:
        with pytest.raises(InvalidInputError, match="status 'DONE'"):
            await recorder.end_run("DONE")
        assert recorder.status == STATUS_R
        assert await aqrec.R.get_recorder() == recorder


async def test_closing_waits_for_an_end_whose_waiter_was_cancelled(
    tmp_path: Path, sealing: tuple[threading.Event, threading.Event], caplog: pytest.LogCaptureFixture
) -> None:
    reached, go_on = sealing
    inside = asyncio.Event()
    task = asyncio.create_task(_record(tmp_path, inside.set))
    await inside.wait()
    task.cancel()
    await asyncio.to_thread(reached.wait, 20)
    task.cancel()
    left, _ = await asyncio.wait([task], timeout=0.3)  # it closes the store now
    assert not left
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(_assert_sealed, tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_scope_is_left_when_the_run_is_stored(
    tmp_path: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            await _record(tmp_path, scope.cancel)
        assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    _assert_sealed(tmp_path)
    assert caplog.text == ""


def test_a_store_that_does_not_answer_keeps_no_cancelled_scope_for_ever(
    tmp_path: Path, sealing: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqrec.recording._session._GRACE", 0.1)
    options = Options(provenance=False, close_timeout=0.2)

    async def main() -> None:
        with trio.fail_after(10), trio.CancelScope() as scope:
            async with aqrec.open_recorder(str(tmp_path), options=options):
                scope.cancel()
        assert scope.cancelled_caught
        assert not sealing[1].is_set()

    trio.run(main)


async def test_who_closes_too_waits_for_the_first(
    tmp_path: Path, sealing: tuple[threading.Event, threading.Event], caplog: pytest.LogCaptureFixture
) -> None:
    reached, go_on = sealing
    manager = aqrec.ExperimentManager(str(tmp_path), options=QUICK)
    recorder = await (await manager.start_exp(experiment_name="e")).get_recorder()
    for n in range(100):
        recorder.log_metrics(step=n, x=n)
    closings = [asyncio.create_task(manager.aclose()) for _ in range(3)]
    await asyncio.to_thread(reached.wait, 20)
    closings += [asyncio.create_task(manager.aclose())]
    await asyncio.sleep(0)
    assert not any(closing.done() for closing in closings)
    go_on.set()
    await asyncio.gather(*closings)
    await manager.aclose()
    await asyncio.to_thread(_assert_sealed, tmp_path, STATUS_FI)
    assert caplog.text == ""
