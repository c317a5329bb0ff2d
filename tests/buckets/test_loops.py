"""From where a recorder reaches its bucket: every loop, thread and process, and the last moment of an interpreter."""

import asyncio
import json
import textwrap
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio

import aqrec
import aqrec.sync
from aqrec.options import Options
from aqrec.sync import ExperimentManager
from tests._support import ScriptResult, run_script
from tests._support.services import Location, Service

OPTIONS = Options(provenance=False)
STEPS = list(range(30))

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def place(s3_server: Service) -> Location:
    return s3_server.location()


def check(place: Location, run_id: str, status: str = "FINISHED") -> None:
    """Check what another process would find."""
    with ExperimentManager(place.url, options=OPTIONS, storage_options=place.storage_options) as manager:
        recorder = manager.get_recorder(recorder_id=run_id)
        assert recorder.status == status
        assert recorder.metric_history("x")["value"].tolist() == STEPS


def script(code: str, place: Location) -> ScriptResult:
    """Run a script that has `URL`, `STORAGE` and `OPTIONS`."""
    prelude = """
        import json, sys
        from aqrec.options import Options
        URL, STORAGE, OPTIONS = sys.argv[1], json.loads(sys.argv[2]), Options(provenance=False)
    """
    return run_script(
        textwrap.dedent(prelude) + textwrap.dedent(code),
        place.url,
        json.dumps(place.storage_options),
        timeout=300,
    )


async def record(place: Location, run_id: str) -> None:
    async with aqrec.open_recorder(
        place.url, experiment="e", recorder_id=run_id, options=OPTIONS, storage_options=place.storage_options
    ) as recorder:
        for step in STEPS:
            await recorder.log_metrics(step=step, x=step)
        await recorder.flush()
        assert (await recorder.metric_history("x"))["value"].tolist() == STEPS


RUNNERS: dict[str, Callable[[Callable[[], Coroutine[Any, Any, None]]], None]] = {
    "asyncio": lambda main: asyncio.run(main()),
    "trio": trio.run,
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_on_the_caller_s_loop(runner: str, place: Location, no_threads_left: None) -> None:
    RUNNERS[runner](lambda: record(place, "looped"))
    check(place, "looped")


@pytest.mark.blocks_loop("the blocking face is used inside a running loop, as a notebook does")
async def test_blocking_code_inside_a_coroutine(place: Location, no_threads_left: None) -> None:
    with aqrec.sync.open_recorder(
        place.url, experiment="e", recorder_id="cell", options=OPTIONS, storage_options=place.storage_options
    ) as recorder:
        for step in STEPS:
            recorder.log_metrics(step=step, x=step)
        recorder.flush()
        assert recorder.metric_history("x")["value"].tolist() == STEPS
    check(place, "cell")


FORK = """
    import os
    from aqrec.sync import ExperimentManager

    manager = ExperimentManager(URL, options=OPTIONS, storage_options=STORAGE)
    recorder = manager.get_exp(experiment_name="e").create_recorder(recorder_id="forked")
    recorder.start_run()
    for step in range(10):
        recorder.log_metrics(step=step, x=step)
    child = os.fork()
    if child == 0:
        for step in range(10, 20):
            recorder.log_metrics(step=step, x=step)
        recorder.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    for step in range(20, 30):
        recorder.log_metrics(step=step, x=step)
    recorder.end_run()
    manager.close()
"""


def test_after_a_fork(place: Location) -> None:
    """The child is a writer of its own with connections of its own; both write on in one run."""
    script(FORK, place).check()
    check(place, "forked")


POOL = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from aqrec.sync import open_recorder

    def work(number):
        with open_recorder(URL, experiment="e", recorder_id="pooled", resume=True, options=OPTIONS,
                           storage_options=STORAGE) as recorder:
            for step in range(10 * number, 10 * number + 10):
                recorder.log_metrics(step=step, x=step)

    if __name__ == "__main__":
        with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(work, range(3)))
"""


def test_in_a_pool_of_processes(place: Location) -> None:
    script(POOL, place).check()
    check(place, "pooled")


LAST = """
    import atexit
    from aqrec.sync import ExperimentManager

    def last_words():
        for step in range(20, 30):
            recorder.log_metrics(step=step, x=step)

    manager = ExperimentManager(URL, options=OPTIONS, storage_options=STORAGE)
    recorder = manager.get_exp(experiment_name="e").create_recorder(recorder_id="last")
    atexit.register(last_words)
    recorder.start_run()
    for step in range(20):
        recorder.log_metrics(step=step, x=step)
"""


def test_at_the_exit_of_the_interpreter(place: Location) -> None:
    """The first connection to the bucket is made, and everything is sent, while Python shuts down."""
    result = script(LAST, place).check()
    assert result.stderr == ""
    check(place, "last")
