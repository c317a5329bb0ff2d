"""The buffer keeps order and bound, and gives out each record once, whoever appends and takes at the same time."""

import contextlib
import struct
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aqrec.engine import PointLog, Room
from aqrec.engine._batch import Batch
from aqrec.engine._buffer import Buffer, Schema
from aqrec.errors import BufferFullError, ClosedError
from aqrec.options import BufferOptions

KEYS = [["a"], ["a", "b"], ["b", "a", "c"]]
Row = tuple[str, tuple[str, ...], int | None, float]
"""Run, keys, step, first value"""


def drain(buffer: Buffer) -> dict[Schema, bytes]:
    """Take some thousands of records out; return the rows of each schema, as they are stored."""
    batch, found = Batch(buffer), dict[Schema, bytes]()
    batch.fill()
    while (first := batch.first()) is not None:
        found[first[0]] = first[1]
        batch.done()
    return found


def unpacked(buffer: Buffer) -> list[Row]:
    """Drain once; return the rows, those of a schema in their order."""
    found: list[Row] = []
    for schema, rows in drain(buffer).items():
        shape = struct.Struct(f"<{'q' if schema.stepped else ''}q{len(schema.keys)}d")
        for numbers in shape.iter_unpack(rows):
            step, value = (int(numbers[0]), numbers[2]) if schema.stepped else (None, numbers[1])
            found.append((schema.log.run_id, tuple(schema.keys), step, value))
    return found


def sorted_out(rows: list[Row]) -> dict[Any, list[Row]]:
    """Return the rows of each run, keys and kind, in order."""
    found: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0], row[1], row[2] is None].append(row)
    return dict(found)


class BufferMachine(RuleBasedStateMachine):
    """Logs into and takes out of a buffer, and the same with a plain list."""

    @initialize(
        overflow=st.sampled_from(["wait", "drop_oldest", "error"]), capacity=st.sampled_from([1, 2, 5, 40])
    )
    def begin(self, overflow: Any, capacity: int) -> None:
        self.overflow, self.capacity = overflow, capacity
        self.woken = 0
        self.buffer = Buffer(BufferOptions(capacity=capacity, overflow=overflow, wait_timeout=0.0), self.wake)
        self.logs = {run: PointLog(run, self.buffer, None) for run in ("r", "s")}
        self.held: list[Row] = []
        self.rooms: list[tuple[Room, list[Row]]] = []
        self.dropped = 0
        self.counter = 0

    def wake(self) -> None:
        self.woken += 1

    def call(self, run: str, step: int | None, keys: list[str], timestamp: int | None) -> tuple[Row, Any]:
        self.counter += 1
        metrics = {key: float(self.counter) for key in keys}
        row = (run, tuple(keys), step, float(self.counter))
        log = self.logs[run]
        if timestamp is not None:
            return row, log.log_at(step, timestamp, metrics)
        return row, log.log(step, metrics)

    @rule(
        run=st.sampled_from(["r", "s"]),
        step=st.sampled_from([None, 0, 7]),
        keys=st.sampled_from(KEYS),
        timestamp=st.sampled_from([None, None, 0, 5]),
    )
    def log(self, run: str, step: int | None, keys: list[str], timestamp: int | None) -> None:
        full = len(self.held) >= self.capacity
        if full and self.overflow == "error":
            with pytest.raises(BufferFullError):
                self.call(run, step, keys, timestamp)
            return
        row, room = self.call(run, step, keys, timestamp)
        assert (room is not None) == (full and self.overflow == "wait")
        if full and self.overflow == "drop_oldest":
            self.dropped += len(self.held.pop(0)[1])
        if room is None or len(self.held) < 2 * self.capacity:
            self.held.append(row)
            self.rooms.append((room, [])) if room is not None else None
        else:
            self.rooms.append((room, [row]))

    @rule()
    def take(self) -> None:
        """Take all that waits; each schema's rows come in the order of their calls, and each once."""
        assert sorted_out(unpacked(self.buffer)) == sorted_out(self.held)
        self.held = []
        self.buffer.changed()

    @precondition(lambda self: self.rooms)
    @rule(waits=st.booleans())
    def settle(self, waits: bool) -> None:
        """Wait for room, which takes no time here, or give up."""
        room, rows = self.rooms.pop(0)
        if not waits:
            self.dropped += sum(len(row[1]) for row in rows)
        elif rows:
            before = len(self.held)
            room.block()
            if before < 2 * self.capacity:
                self.held += rows
            else:
                self.dropped += sum(len(row[1]) for row in rows)
        del room

    @rule()
    def fork(self) -> None:
        """Become the child: nothing of the parent's is left, and its calls that wait are of no use."""
        for room, _ in self.rooms:
            room._records.clear()
        self.rooms.clear()
        self.buffer.after_fork()
        for log in self.logs.values():
            log.after_fork()
            log.dropped = 0
        self.held, self.dropped = [], 0

    @rule()
    def close(self) -> None:
        for room, _ in self.rooms:
            room._records.clear()
        self.rooms.clear()
        self.buffer.close()
        with pytest.raises(ClosedError):
            self.call("r", 1, ["a"], None)
        assert sorted_out(unpacked(self.buffer)) == sorted_out(self.held)
        self.begin(self.overflow, self.capacity)

    @invariant()
    def counted(self) -> None:
        assert len(self.buffer.queue) == len(self.held) <= 2 * self.capacity
        assert self.buffer.dropped == self.dropped == sum(log.dropped for log in self.logs.values())


class TestBuffer(BufferMachine.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@contextlib.contextmanager
def switching_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest"])
def test_threads_that_share_schemas_lose_and_double_nothing(overflow: Any) -> None:
    """Each thread's records come in its order; what did not come was counted as dropped."""
    buffer = Buffer(BufferOptions(capacity=64, overflow=overflow), lambda: None)
    log, calls, threads = PointLog("r", buffer, None), 3_000, 4
    taken: list[Row] = []

    def job(number: int) -> None:
        for step in range(calls):
            room = log.log(step, dict.fromkeys(KEYS[step % 3], float(number)))
            if room is not None:
                room.block()

    producers = [threading.Thread(target=job, args=(number,)) for number in range(threads)]
    with switching_often():
        for producer in producers:
            producer.start()
        while any(producer.is_alive() for producer in producers) or buffer.queue:
            taken += unpacked(buffer)
            buffer.changed()
        for producer in producers:
            producer.join()
    points = sum(len(row[1]) for row in taken)
    assert points + buffer.dropped == calls * threads * 2
    assert buffer.popped == calls * threads
    assert (buffer.dropped > 0) == (overflow == "drop_oldest")
    for rows in sorted_out(taken).values():
        for number in range(threads):
            steps = [step for _, _, step, value in rows if value == number]
            assert steps == sorted(set(steps))  # type: ignore[type-var]  # all have one
    if overflow == "wait":
        assert len(taken) == calls * threads


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest"])
def test_the_engine_may_take_at_any_moment_of_a_call(overflow: Any) -> None:
    buffer = Buffer(BufferOptions(overflow=overflow), lambda: None)
    log = PointLog("r", buffer, None)
    log.log(0, {"a": 0.0})
    (schema,) = drain(buffer)
    taken: list[Row] = []

    class Interrupted(list[bytes]):
        """Rows to which nobody appends without the engine taking what it can before and after."""

        def append(self, row: bytes) -> None:
            taken.extend(unpacked(buffer))
            super().append(row)
            taken.extend(unpacked(buffer))

    schema.rows = Interrupted()
    for step in (1, 2, 3):
        log.log(step, {"a": 0.0})
    log.log_at(4, 5, {"a": 0.0})
    taken += unpacked(buffer)
    assert taken == [("r", ("a",), step, 0.0) for step in (1, 2, 3, 4)]
    assert not schema.rows


def test_a_child_does_not_record_what_a_thread_of_the_parent_was_about_to_queue() -> None:
    buffer = Buffer(BufferOptions(), lambda: None)
    log = PointLog("r", buffer, None)
    log.log(1, {"a": 1.0})
    (schema,) = drain(buffer)
    schema.rows.append(b"the parent's")  # and its thread, which would queue it, is not in the child
    buffer.after_fork()
    log.after_fork()
    log.log(2, {"a": 2.0})
    assert unpacked(buffer) == [("r", ("a",), 2, 2.0)]
    assert not schema.rows


@pytest.mark.parametrize("calls", [1, 10, 500])
@pytest.mark.parametrize("step", [None, 3])
def test_times_are_taken_out_in_milliseconds(calls: int, step: int | None) -> None:
    """Those of the calls, and those that the caller gave, of any size."""
    buffer = Buffer(BufferOptions(), lambda: None)
    log = PointLog("r", buffer, None)
    given = [0, 1, 1_760_000_000_000, 2**53 - 1]
    before = time.time_ns() // 1_000_000
    for number in range(calls):
        log.log_at(step, given[number % 4], {"a": 1.0})
        log.log(step, {"a": 1.0})
        log.log(step, {"b": 1.0})
    after = time.time_ns() // 1_000_000
    mixed, own = drain(buffer).values()
    shape = struct.Struct("<qd" if step is None else "<qqd")
    times = [row[-2] for row in shape.iter_unpack(mixed)]
    assert times[::2] == [given[number % 4] for number in range(calls)]
    times = times[1::2] + [row[-2] for row in shape.iter_unpack(own)]
    assert len(times) == 2 * calls
    assert before <= min(times) <= max(times) <= after
