"""Event loops of every kind may come and go; the recorder's work happens on a loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

import aqrec
from aqrec import R
from tests.engine.support import history, options

Main = Callable[[], Coroutine[Any, Any, Any]]


def _uvloop(main: Main) -> Any:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


RUNNERS: dict[str, Callable[[Main], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),
    "trio": lambda main: trio.run(main),
    "anyio on trio": lambda main: anyio.run(main, backend="trio"),
    "uvloop": _uvloop,
}


@pytest.fixture(params=RUNNERS)
def run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    return RUNNERS[request.param]


async def life(url: str) -> str:
    """Record and read back a run; return its id."""
    async with aqrec.open_recorder(url, experiment="e", name="r", options=options()) as recorder:
        for step in range(50):
            await recorder.log_metrics(step=step, loss=step)
        await recorder.log_params(a=[1, None])
        await recorder.save_objects(**{"x.pkl": {"k": 1}})
        await recorder.flush()
        assert await history(recorder, "loss") == [(step, float(step)) for step in range(50)]
        assert await recorder.load_object("x.pkl") == {"k": 1}
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert again.status == "FINISHED"
        assert await again.list_params() == {"a": [1, None]}
        assert (await manager.search_records())["run_id"].tolist()[0] == recorder.id
    return recorder.id


def test_each_kind_of_loop(run: Callable[[Main], Any], store_url: str, no_threads_left: None) -> None:
    run(lambda: life(store_url))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_tasks_record_runs_of_their_own(backend: str, store_url: str, no_threads_left: None) -> None:
    """The active recorder is a task's own."""

    async def job(number: int, seen: dict[int, str]) -> None:
        async with R.start(experiment_name="tasks", recorder_name=f"r{number}", uri=store_url):
            recorder = await R.get_recorder()
            seen[number] = recorder.id
            for step in range(10):
                await R.log_metrics(step=step, loss=number)
                await anyio.sleep(0)
            await R.log_params(number=number)
            assert (await R.get_recorder()).id == recorder.id

    async def main() -> None:
        await R.configure(options=options())
        seen: dict[int, str] = {}
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(job, number, seen)
        await R.aclose()
        async with aqrec.ExperimentManager(store_url, options=options()) as manager:
            assert len(await manager.list_recorders(experiment_name="tasks")) == 20
            for number, run_id in seen.items():
                recorder = await manager.get_recorder(recorder_id=run_id)
                assert await recorder.list_params() == {"number": number}
                assert await history(recorder, "loss") == [(step, float(number)) for step in range(10)]

    try:
        anyio.run(main, backend=backend)
    finally:
        asyncio.run(_reset())


async def _reset() -> None:
    await R.aclose()
    await R.configure(options=aqrec.Options())


def test_loops_one_after_the_other_in_one_process(store_url: str, no_threads_left: None) -> None:
    ids = [RUNNERS[kind](lambda: life(store_url)) for kind in ("asyncio", "trio", "asyncio", "asyncio")]
    assert len(set(ids)) == 4


def test_a_recorder_goes_on_in_another_loop(store_url: str, no_threads_left: None) -> None:
    """It belongs to no loop: what one `asyncio.run` began, the next may go on with."""
    manager = aqrec.ExperimentManager(store_url, options=options())

    async def begin() -> aqrec.Recorder:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        recorder.log_metrics(step=0, loss=0)
        return recorder

    async def go_on(recorder: aqrec.Recorder, step: int) -> None:
        await recorder.log_metrics(step=step, loss=step)
        assert len(await history(recorder, "loss")) == step + 1

    async def finish(recorder: aqrec.Recorder) -> None:
        await recorder.end_run()
        await manager.aclose()

    recorder = asyncio.run(begin())
    trio.run(go_on, recorder, 1)
    asyncio.run(go_on(recorder, 2))
    trio.run(finish, recorder)
    assert recorder.status == "FINISHED"


def test_a_recorder_is_used_by_several_loops_at_once(store_url: str, no_threads_left: None) -> None:
    manager = aqrec.ExperimentManager(store_url, options=options())
    recorders: list[aqrec.Recorder] = []

    async def begin() -> None:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        recorders.append(await recorder.start_run())

    async def job(number: int) -> None:
        for step in range(100):
            await recorders[0].log_metrics(step=step, **{f"k{number}": step})
            if step % 20 == 0:
                await recorders[0].flush()

    async def finish() -> None:
        for number in range(6):
            assert await history(recorders[0], f"k{number}") == [(step, float(step)) for step in range(100)]
        await recorders[0].end_run()
        await manager.aclose()

    asyncio.run(begin())
    failed: list[BaseException] = []

    def in_thread(number: int) -> None:
        try:
            if number % 2:
                trio.run(job, number)
            else:
                asyncio.run(job(number))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=in_thread, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    asyncio.run(finish())


def test_a_loop_that_ends_without_goodbye_leaves_the_recorder_usable(tmp_path: Path) -> None:
    """A loop closed while somebody on it waits for the store."""
    manager = aqrec.ExperimentManager(str(tmp_path), options=options())
    recorders: list[aqrec.Recorder] = []

    async def begin() -> None:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        recorders.append(await recorder.start_run())
        recorders[0].log_metrics(loss=1.0)
        task = asyncio.create_task(recorders[0].flush())
        await asyncio.sleep(0)
        del task  # asyncio.run cancels it

    async def finish() -> None:
        await recorders[0].end_run()
        await manager.aclose()

    for _ in range(10):
        asyncio.run(begin())
        asyncio.run(recorders[-1].end_run())
    asyncio.run(finish())


@pytest.mark.no_blocking
def test_nothing_blocks_the_callers_loop(tmp_path: Path) -> None:
    asyncio.run(life(str(tmp_path)))
