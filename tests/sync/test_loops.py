"""The blocking face beside event loops, and beside the async face."""

import asyncio
import threading
import warnings

import pytest

import aqrec
from aqrec.engine import current_runtime
from aqrec.errors import RecorderInitializationError
from aqrec.options import Options
from aqrec.sync import STATUS_FI, STATUS_R, ExperimentManager, R, open_recorder

pytestmark = pytest.mark.usefixtures("clean_r")

notebook = pytest.mark.blocks_loop("a notebook's cell runs blocking code on the kernel's loop")


@notebook
async def test_a_notebook_s_cell_uses_the_blocking_face(store_url: str, quick: Options) -> None:
    with R.start(experiment_name="alpha", uri=store_url):
        R.log_metrics(step=0, loss=1.0)
        recorder = R.get_recorder()
        recorder.save_objects(a=1)
    assert (recorder.status, recorder.list_metrics()) == (STATUS_FI, {"loss": 1.0})
    with open_recorder(store_url, options=quick) as other:
        other.log_metrics(step=0, loss=2.0)
    assert other.status == STATUS_FI


@notebook
async def test_both_faces_share_the_active_run(memory_url: str) -> None:
    R.set_uri(memory_url)
    assert aqrec.R.uri == memory_url
    with R.start(experiment_name="alpha") as experiment:
        recorder = await aqrec.R.get_recorder()
        assert recorder == R.get_recorder()
        assert await aqrec.R.get_exp() == experiment
        await aqrec.R.log_metrics(step=0, loss=1.0)
        async with aqrec.R.start(experiment_name="beta"):
            inner = R.get_recorder()
            assert inner.parent == recorder.id
            R.log_metrics(step=0, inner=1.0)
        assert R.get_recorder() == recorder
    assert inner.list_metrics() == {"inner": 1.0}
    assert await recorder.list_metrics() == {"loss": 1.0}


@notebook
async def test_each_task_has_its_own_run(memory_url: str) -> None:
    R.set_uri(memory_url)
    both = asyncio.Barrier(2)

    async def work(number: int) -> str:
        with R.start(recorder_name=f"r{number}"):
            await both.wait()
            R.log_metrics(step=0, number=number)
            await both.wait()
            return R.get_recorder().name

    assert await asyncio.gather(work(0), work(1)) == ["r0", "r1"]
    logged = {recorder.name: recorder.list_metrics() for recorder in R.list_recorders().values()}
    assert logged == {"r0": {"number": 0.0}, "r1": {"number": 1.0}}


@notebook
async def test_a_run_started_in_one_cell_goes_on_in_the_next(memory_url: str) -> None:
    """A notebook runs a cell that awaits as a task of its own, and what it set in its context is gone with it."""
    aqrec.R.set_uri(memory_url)

    async def first_cell() -> None:
        await aqrec.R.start_exp(experiment_name="alpha")

    async def second_cell() -> None:
        await aqrec.R.log_metrics(step=0, loss=1.0)
        R.log_params(lr=1)
        assert (await aqrec.R.get_exp()).name == "alpha"

    async def third_cell() -> None:
        await aqrec.R.end_exp()

    await asyncio.create_task(first_cell())
    recorder = R.get_recorder()
    assert recorder.id in repr(R)
    await asyncio.create_task(second_cell())
    await asyncio.create_task(third_cell())
    assert (recorder.status, recorder.list_metrics(), recorder.list_params()["lr"]) == (
        STATUS_FI,
        {"loss": 1.0},
        1,
    )
    assert len(R.search_records()) == 1


@notebook
async def test_a_task_leaves_the_run_of_another_alone(memory_url: str) -> None:
    R.set_uri(memory_url)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        with R.start():
            started.set()
            await go_on.wait()
            return R.get_recorder().status

    task = asyncio.create_task(work())
    await started.wait()
    R.end_exp()
    with pytest.raises(RecorderInitializationError):
        R.get_recorder()
    with R.start():
        assert R.get_recorder().parent is None
    go_on.set()
    assert await task == STATUS_R


async def test_to_thread_keeps_the_task_s_run(memory_url: str) -> None:
    aqrec.R.set_uri(memory_url)
    async with aqrec.R.start(experiment_name="alpha"):
        recorder = await aqrec.R.get_recorder()
        assert await asyncio.to_thread(lambda: R.get_recorder().id) == recorder.id
        await asyncio.to_thread(R.log_metrics, step=0, loss=1.0)
        await asyncio.to_thread(R.flush)
        assert await recorder.list_metrics() == {"loss": 1.0}
    await aqrec.R.aclose()


def test_a_blocking_call_on_the_engine_thread_is_refused(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        manager.start_exp()
        recorder = manager.get_recorder()

        async def call() -> None:
            recorder.list_metrics()

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RuntimeError, match="engine thread"):
                current_runtime().call(call())


def test_one_engine_thread_serves_all(memory_url: str, store_url: str, quick: Options) -> None:
    with (
        ExperimentManager(memory_url, options=quick) as one,
        ExperimentManager(store_url, options=quick) as two,
    ):
        one.start_exp()
        two.start_exp()
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("aqrec-engine") == 1
