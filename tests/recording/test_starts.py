"""Starts that are cancelled when their run has begun; async."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

import aqrec
from aqrec.options import Options
from aqrec.recording._run import Run
from aqrec.sync import STATUS_FA
from aqrec.sync import ExperimentManager as BlockingManager
from tests._support import wait_until

QUICK = Options(provenance=False)


async def _by_r(url: str) -> None:
    async with aqrec.R.start(uri=url):
        raise AssertionError("entered")


async def _by_open_recorder(url: str) -> None:
    async with aqrec.open_recorder(url, options=QUICK):
        raise AssertionError("entered")


async def _by_manager(url: str) -> None:
    await aqrec.ExperimentManager(url, options=QUICK).start_exp()
    raise AssertionError("started")


async def _by_experiment(url: str) -> None:
    experiment = await aqrec.ExperimentManager(url, options=QUICK).get_exp()
    await experiment.start()
    raise AssertionError("started")


each_way = pytest.mark.parametrize("start", [_by_r, _by_open_recorder, _by_manager, _by_experiment])


@pytest.fixture
def when_begun(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Callable[[], None]], object]], None]:
    """Have the engine thread hand over a function as soon as a run has begun, and go on when that was called."""
    begin = Run.begin

    def arm(hand_over: Callable[[Callable[[], None]], object]) -> None:
        def begin_and_tell(run: Run) -> None:
            begin(run)
            told = threading.Event()
            hand_over(told.set)
            assert told.wait(20)

        monkeypatch.setattr(Run, "begin", begin_and_tell)

    return arm


def _statuses(url: str) -> list[str]:
    with BlockingManager(url, options=QUICK) as manager:
        return manager.search_records()["status"].tolist()


@each_way
async def test_a_task_that_is_cancelled_after_the_beginning_leaves_a_failed_run(
    start: Callable[[str], Any], memory_url: str, when_begun: Any
) -> None:
    task = asyncio.create_task(start(memory_url))
    loop = asyncio.get_running_loop()

    def cancel(told: Callable[[], None]) -> None:
        loop.call_soon_threadsafe(lambda: (task.cancel(), told()))

    when_begun(cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(_statuses, memory_url) == [STATUS_FA]
    await aqrec.R.aclose()
    assert await asyncio.to_thread(_statuses, memory_url) == [STATUS_FA]


@each_way
def test_so_does_one_of_trio(start: Callable[[str], Any], memory_url: str, when_begun: Any) -> None:
    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            when_begun(lambda told: token.run_sync_soon(lambda: (scope.cancel(), told())))
            await start(memory_url)
        assert scope.cancelled_caught
        # What is cancelled once waits for nothing any more: the end goes on by itself.
        await trio.to_thread.run_sync(wait_until, lambda: _statuses(memory_url) == [STATUS_FA])
        await aqrec.R.aclose()

    trio.run(main)
