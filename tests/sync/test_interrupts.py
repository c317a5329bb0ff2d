"""Ctrl-C and stores that do not answer: what a blocking call leaves behind."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from aqrec.errors import FlushTimeoutError
from aqrec.options import Options
from aqrec.stores import Appender, MemoryStore, WrapperAppender, WrapperStore, register_store
from aqrec.sync import STATUS_FA, STATUS_FI, STATUS_R, ExperimentManager, Recorder, open_recorder
from tests._support import no_thread_left, wait_until
from tests.sync.gates import GATED_URL, Gate


@contextlib.contextmanager
def interrupted_when(ready: Callable[[], object]) -> Iterator[None]:
    """Send this thread a Ctrl-C as soon as `ready`, and expect it to come out of the block."""
    main = threading.main_thread().ident
    assert main is not None

    left = threading.Event()

    def send() -> None:
        ready()
        signal.pthread_kill(main, signal.SIGINT)
        # A signal that comes just before a thread begins to wait is seen when that wait is over.
        while not left.wait(5):
            signal.pthread_kill(main, signal.SIGINT)

    helper = threading.Thread(target=send)
    helper.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        left.set()
        helper.join()


@pytest.fixture
def patient() -> Options:
    """Options that wait longer for the store than any test lasts."""
    return Options(provenance=False, flush_timeout=50.0, close_timeout=50.0)


def test_ctrl_c_ends_the_wait_of_a_flush_not_the_writing(gate: Gate, patient: Options) -> None:
    with open_recorder(GATED_URL, options=patient) as recorder:
        gate.shut()
        recorder.log_metrics(step=0, loss=1.0)
        with interrupted_when(gate.wait_for_somebody):
            recorder.flush()
        gate.open()
        recorder.flush()
        assert recorder.list_metrics() == {"loss": 1.0}
        assert recorder.status == STATUS_R


def test_ctrl_c_ends_the_wait_of_end_run_not_the_end(gate: Gate, patient: Options) -> None:
    with ExperimentManager(GATED_URL, options=patient) as manager:
        recorder: Recorder = manager.get_exp().start(recorder_id="r")
        recorder.flush()
        gate.shut()
        with interrupted_when(gate.wait_for_somebody):
            recorder.end_run()
        gate.open()
        wait_until(lambda: manager.list_recorders(experiment_name="Experiment")["r"].status == STATUS_FI)


def test_ctrl_c_in_the_block_is_recorded_and_goes_on(gate: Gate, patient: Options) -> None:
    inside = threading.Event()
    with interrupted_when(inside.wait), open_recorder(GATED_URL, options=patient) as recorder:
        inside.set()
        while True:
            time.sleep(0.01)
    assert recorder.status == STATUS_FA


def test_closing_that_is_interrupted_goes_on_and_leaves_no_thread(gate: Gate, patient: Options) -> None:
    with no_thread_left(grace=10.0):
        manager = ExperimentManager(GATED_URL, options=patient)
        manager.start_exp(recorder_id="r")
        gate.shut()
        manager.get_recorder().log_metrics(step=0, loss=1.0)
        with interrupted_when(gate.wait_for_somebody):
            manager.close()
        gate.open()
    with ExperimentManager(GATED_URL, options=patient) as manager:
        recorder = manager.get_recorder(recorder_id="r")
        assert (recorder.status, recorder.list_metrics()) == (STATUS_FI, {"loss": 1.0})


def test_a_store_that_does_not_answer_is_waited_for_as_long_as_was_chosen(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 0.3
    options = Options(provenance=False, flush_timeout=limit, close_timeout=limit)
    with no_thread_left(grace=10.0):
        manager = ExperimentManager(GATED_URL, options=options)
        recorder = manager.get_exp().start()
        gate.shut()
        recorder.log_metrics(step=0, loss=1.0)
        started = time.monotonic()
        with pytest.raises(FlushTimeoutError, match="not durable"):
            recorder.flush()
        assert limit <= time.monotonic() - started < limit + 5
        started = time.monotonic()
        manager.close()
        assert time.monotonic() - started < 4 * limit + 5
        assert "not stored" in caplog.text
        gate.open()


class _Stuck(WrapperAppender):
    """An appender one of whose calls hangs, as on a network disk whose server is gone."""

    def __init__(self, inner: Appender, operation: str, until: threading.Event) -> None:
        super().__init__(inner)
        self._operation = operation
        self._until = until

    def write(self, data: bytes) -> None:
        if self._operation == "write":
            self._until.wait()
        super().write(data)

    def sync(self) -> None:
        if self._operation == "sync":
            self._until.wait()
        super().sync()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_call_of_the_system_that_hangs_does_not_hang_the_closing(
    operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be stopped; it is left to end by itself."""
    until = threading.Event()

    class Hanging(WrapperStore):
        async def open_append(self, key: str) -> Appender:
            return _Stuck(await super().open_append(key), operation, until)

    register_store("hanging", lambda url, _: Hanging(MemoryStore(f"hanging-{operation}")), replace=True)
    options = Options(provenance=False, flush_timeout=0.3, close_timeout=0.3)
    with no_thread_left(grace=10.0):
        manager = ExperimentManager(f"hanging://{operation}", options=options)
        manager.start_exp()
        manager.get_recorder().log_metrics(step=0, loss=1.0)
        closing = threading.Thread(target=manager.close)
        closing.start()
        closing.join(20)
        try:
            assert not closing.is_alive()
            assert "not stored" in caplog.text or "may not be stored" in caplog.text
        finally:
            until.set()
