"""A full buffer on the blocking face: the call waits, drops or raises, as was chosen; bounded and counted."""

import threading
import time

import pytest

from aqrec.errors import BufferFullError, StorageError
from aqrec.options import BufferOptions, FlushOptions, Options, Overflow
from aqrec.sync import STATUS_FI, Recorder, open_recorder
from tests._support import wait_until
from tests.sync.gates import GATED_URL, Gate

CAPACITY = 8
SEGMENT_BYTES = 4096


def options(overflow: Overflow, *, wait_timeout: float = 30.0, strict: bool = False) -> Options:
    """Return options of a small buffer, of which little may be on its way to the store."""
    return Options(
        buffer=BufferOptions(capacity=CAPACITY, overflow=overflow, wait_timeout=wait_timeout),
        flush=FlushOptions(segment_bytes=SEGMENT_BYTES, segment_interval=0.01, hand_over_interval=0.001),
        flush_timeout=10.0,
        close_timeout=10.0,
        provenance=False,
        strict=strict,
        spool=None,  # it would take what the gate holds up
    )


def fill(recorder: Recorder, gate: Gate) -> int:
    """Log until the buffer is full behind a shut gate; return the number of points logged."""
    recorder.flush()
    gate.shut()
    journal = recorder._run.engine._journal
    assert journal is not None
    wide = {f"metric_{number:02}": 0.0 for number in range(60)}
    step = 0

    def full() -> bool:
        """Fill the buffer; the engine takes nothing more from it while four segments wait to be written."""
        nonlocal step
        while recorder.statistics().buffered < CAPACITY:
            recorder.log_metrics(step=step, **wide)
            step += 1
        return journal.pending_bytes >= 4 * SEGMENT_BYTES and recorder.statistics().buffered == CAPACITY

    wait_until(full, what="a full buffer")
    return step * len(wide)


def test_wait_blocks_until_there_is_room(gate: Gate) -> None:
    with open_recorder(GATED_URL, options=options("wait")) as recorder:
        logged = fill(recorder, gate)
        done = threading.Event()

        def log() -> None:
            recorder.log_metrics(step=-1, last=1.0)
            done.set()

        thread = threading.Thread(target=log)
        thread.start()
        wait_until(lambda: recorder.statistics().waits, what="a call that waits")
        assert not done.is_set()
        gate.open()
        thread.join(30)
        assert done.is_set()
        recorder.flush()
        statistics = recorder.statistics()
        assert (statistics.points, statistics.dropped) == (logged + 1, 0)


def test_wait_gives_up_at_its_bound_and_counts(gate: Gate) -> None:
    limit = 0.3
    with open_recorder(GATED_URL, options=options("wait", wait_timeout=limit)) as recorder:
        fill(recorder, gate)
        started = time.monotonic()
        recorder.log_metrics(step=-1, first=1.0)
        assert limit <= time.monotonic() - started < limit + 5
        # Later calls do not wait again; what is beyond twice the capacity is dropped and counted.
        started = time.monotonic()
        for step in range(3 * CAPACITY):
            recorder.log_metrics(step=step, late=1.0)
        assert time.monotonic() - started < 3 * CAPACITY * limit / 2
        statistics = recorder.statistics()
        assert statistics.buffered == 2 * CAPACITY
        assert statistics.dropped == 3 * CAPACITY + 1 - CAPACITY
        gate.open()
        recorder.flush()
        assert recorder.list_metrics()["first"] == 1.0
    assert recorder.status == STATUS_FI


def test_drop_oldest_never_waits_and_keeps_the_newest(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    with open_recorder(GATED_URL, options=options("drop_oldest")) as recorder:
        logged = fill(recorder, gate)
        for step in range(CAPACITY):
            recorder.log_metrics(step=step, new=float(step))
        statistics = recorder.statistics()
        assert (statistics.buffered, statistics.dropped) == (CAPACITY, CAPACITY * 60)
        gate.open()
        recorder.flush()
        assert recorder.metric_history("new")["value"].tolist() == [float(step) for step in range(CAPACITY)]
        assert recorder.statistics().points == logged + CAPACITY - statistics.dropped
    assert "dropped" in caplog.text


def test_error_raises_and_the_call_can_be_made_again(gate: Gate) -> None:
    with open_recorder(GATED_URL, options=options("error")) as recorder:
        fill(recorder, gate)
        with pytest.raises(BufferFullError, match=str(CAPACITY)):
            recorder.log_metrics(step=0, new=1.0)
        with pytest.raises(BufferFullError):
            recorder.log_batch({"new": 1.0}, step=0)
        recorder.log_params(never="dropped")
        gate.open()
        recorder.flush()
        recorder.log_metrics(step=1, new=2.0)
        assert recorder.list_params()["never"] == "dropped"
        assert recorder.metric_history("new")["value"].tolist() == [2.0]
        assert recorder.statistics().dropped == 0


def test_strict_recording_raises_for_what_was_dropped(gate: Gate) -> None:
    with open_recorder(GATED_URL, options=options("drop_oldest", strict=True)) as recorder:
        fill(recorder, gate)
        recorder.log_metrics(step=0, new=1.0)
        gate.open()
        with pytest.raises(StorageError, match="dropped"):
            recorder.flush()
        recorder.end_run()
