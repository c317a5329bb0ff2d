"""Threads: each has its own active run, and a thread without one finds the only one there is."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from aqrec.errors import RecorderInitializationError
from aqrec.sync import STATUS_FA, STATUS_FI, STATUS_R, ExperimentManager, R

pytestmark = pytest.mark.usefixtures("clean_r")

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> T:
    """Call in a fresh plain thread, which inherits no context."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(30)


@pytest.fixture
def other_runs(memory_url: str) -> "Callable[[int], None]":
    """Start a number of runs, each in a thread that has ended."""
    R.set_uri(memory_url)

    def start(number: int) -> None:
        for count in range(number):
            in_thread(lambda name=f"other{count}": R.start_exp(recorder_name=name))  # type: ignore[misc]

    return start


def test_threads_that_each_start_do_not_mix(store_url: str) -> None:
    R.set_uri(store_url)
    count, steps = 8, 200
    together = threading.Barrier(count)

    def work(number: int) -> str:
        together.wait(30)
        with R.start(experiment_name=f"e{number % 2}", recorder_name=f"r{number}"):
            together.wait(30)
            for step in range(steps):
                R.log_metrics(step=step, value=number * 1000 + step)
            R.log_params(number=number)
            together.wait(30)
            recorder = R.get_recorder()
            assert recorder.name == f"r{number}"
            return recorder.id

    with ThreadPoolExecutor(count) as pool:
        ids = list(pool.map(work, range(count)))
    assert len(set(ids)) == count
    for number, run_id in enumerate(ids):
        recorder = R.get_recorder(recorder_id=run_id)
        assert (recorder.parent, recorder.status) == (None, STATUS_FI)
        assert recorder.list_params()["number"] == number
        values = recorder.metric_history("value")["value"].tolist()
        assert values == [number * 1000 + step for step in range(steps)]
    assert len(R.list_recorders(experiment_name="e0")) == count // 2


def test_threads_logging_to_one_recorder_lose_nothing(store_url: str) -> None:
    with R.start(uri=store_url):
        recorder = R.get_recorder()

        def work(number: int) -> None:
            for step in range(500):
                recorder.log_metrics(step=step, **{f"m{number}": float(step)})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    for number in range(4):
        assert recorder.metric_history(f"m{number}")["value"].tolist() == [float(step) for step in range(500)]


def test_a_plain_worker_thread_logs_to_the_only_active_run(memory_url: str) -> None:
    def work() -> str:
        R.log_metrics(step=0, loss=1.0)
        R.log_params(lr=1)
        assert R.uri == memory_url
        assert R.get_exp().name == "alpha"
        return R.get_recorder().id

    with R.start(experiment_name="alpha", uri=memory_url):
        recorder = R.get_recorder()
        assert in_thread(work) == recorder.id
        assert recorder.list_metrics() == {"loss": 1.0}


def test_a_worker_thread_does_not_end_the_run_of_another(memory_url: str) -> None:
    with R.start(uri=memory_url):
        recorder = R.get_recorder()
        in_thread(R.end_exp)
        in_thread(lambda: R.get_exp().end())
        assert R.get_recorder() == recorder
        assert recorder.status == STATUS_R


def test_a_run_started_in_a_thread_is_no_child_of_another_thread_s(memory_url: str) -> None:
    R.set_uri(memory_url)

    def work() -> str | None:
        with R.start():
            return R.get_recorder().parent

    with R.start():
        outer = R.get_recorder()
        assert in_thread(work) is None
        assert R.get_recorder() == outer
        inherited = contextvars.copy_context()
        assert in_thread(lambda: inherited.run(work)) == outer.id


def test_a_run_started_in_a_thread_goes_to_the_default_store(memory_url: str) -> None:
    R.set_uri(memory_url)

    def work() -> str:
        with R.start():
            return R.get_recorder().uri

    with R.start(uri=f"{memory_url}-elsewhere"):
        assert in_thread(work) == memory_url


def test_a_thread_that_could_mean_several_runs_is_told(other_runs: "Callable[[int], None]") -> None:
    other_runs(2)
    for call in (
        lambda: R.log_metrics(step=0, loss=1.0),
        lambda: R.log_params(a=1),
        lambda: R.set_tags(a=1),
        R.get_recorder,
        R.flush,
    ):
        with pytest.raises(RecorderInitializationError, match="2 recorders are active"):
            call()
    assert len(R.list_recorders(experiment_name="Experiment")) == 2


def test_what_needs_no_run_works_beside_several(other_runs: "Callable[[int], None]", memory_url: str) -> None:
    other_runs(2)
    assert "active=None" in repr(R)
    assert R.uri == memory_url
    assert set(R.list_experiments()) == {"Experiment"}
    R.end_exp()
    with R.start(experiment_name="mine") as experiment:
        assert experiment.active_recorder == R.get_recorder()
        R.log_metrics(step=0, loss=1.0)
    assert len(R.search_records()) == 3


def test_runs_in_several_stores_leave_the_default_one(memory_url: str) -> None:
    R.set_uri(memory_url)
    for name in ("a", "b"):
        in_thread(lambda name=name: R.start_exp(uri=f"{memory_url}-{name}"))  # type: ignore[misc]
    assert R.uri == memory_url
    assert R.list_experiments() == {}


def test_uri_context_holds_for_its_own_thread(memory_url: str) -> None:
    R.set_uri(memory_url)
    with R.uri_context(f"{memory_url}-mine"):
        assert R.uri == f"{memory_url}-mine"
        assert in_thread(lambda: R.uri) == memory_url


def test_threads_that_log_first_each_begin_a_run_of_their_own_or_share_one(memory_url: str) -> None:
    """Without a start, a point is never lost: it is in the run its thread ended up with."""
    R.set_uri(memory_url)
    together = threading.Barrier(2)

    def work(number: int) -> None:
        together.wait(30)
        R.log_metrics(step=0, **{f"m{number}": 1.0})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    runs = R.list_recorders(experiment_name="Experiment").values()
    assert {key for recorder in runs for key in recorder.list_metrics()} == {"m0", "m1"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("bad"), STATUS_FA), (SystemExit(3), STATUS_FA), (SystemExit(0), STATUS_R)],
    ids=["exception", "exit 3", "exit 0"],
)
def test_a_thread_that_dies_fails_the_run_that_it_left_open(
    error: BaseException, status: str, memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_type))

    def work() -> None:
        R.start_exp(uri=memory_url, recorder_id="theirs")
        R.log_metrics(step=0, loss=0.5)
        raise error

    with R.start(uri=memory_url, recorder_id="ours"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)
        assert shown == [type(error)]  # whoever watched before still does
        theirs = R.get_recorder(recorder_id="theirs")
        assert (theirs.status, theirs.list_metrics()) == (status, {"loss": 0.5})
        assert R.get_recorder().id == "ours"
        assert R.get_recorder().status == STATUS_R
    R.close()
    with ExperimentManager(memory_url) as manager:
        found = manager.search_records().set_index("run_id")["status"]
    assert dict(found) == {"ours": STATUS_FI, "theirs": STATUS_FA if status == STATUS_FA else STATUS_FI}
