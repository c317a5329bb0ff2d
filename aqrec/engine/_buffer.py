"""The bounded buffer between the job and the writer, and what happens when it is full.

A record is its schema and its row, appended apart: the row to its schema's rows, then the schema to the queue, which thus keeps
the order and the bound of all. Neither append needs a lock. Whoever takes entries out of the queue takes as many rows of each
schema, which are there: rows come first. So the engine takes thousands at a time, and nothing is made for a record that the garbage
collector would have to look at. `idle` and the order "append, then look at `idle`" against the engine's "set `idle`, then look at
the queue" make sure that no record is left behind asleep.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import repeat, starmap
from math import isinf
from typing import Any, Final, TypeVar

from aqrec.engine._leaving import leaving
from aqrec.engine._runtime import bridge
from aqrec.errors import BufferFullError, ClosedError, InvalidValueError
from aqrec.format._names import check_key_name
from aqrec.format._points import MAX_KEYS, pack_stepless, pack_stepped, values_packer
from aqrec.options import BufferOptions

__all__ = ["DONE", "Buffer", "Done", "PointLog", "Room", "Schema", "Waiting", "join", "take"]

logger = logging.getLogger("aqrec")
_time_ns = time.time_ns

T = TypeVar("T")


class Done:
    """A finished awaitable: ``await`` on it returns at once, without suspending."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # type: ignore[return-value]  # a tuple iterator ends at once and costs no frame


DONE: Final = Done()


Waiting = list[T] | deque[T]
"""A deque where producers take from its front; else a list, from which thousands are taken at once"""


def take(waiting: Waiting[T], count: int) -> list[T]:
    """Take the first `count` out, or what there is; others may append, and pop from a deque, meanwhile."""
    if isinstance(waiting, list):
        taken = waiting[:count]
        del waiting[:count]
    else:
        taken = []
        with contextlib.suppress(IndexError):
            taken.extend(starmap(waiting.popleft, repeat((), count)))
    return taken


class Schema:
    """Rows of one run with the same keys: how to pack their values, and whose they are."""

    __slots__ = ("keys", "log", "pack", "pick", "rows", "stepped", "width")

    def __init__(self, log: PointLog, keys: list[str], rows: Waiting[bytes], *, stepped: bool) -> None:
        self.log = log
        self.rows = rows
        """As they will be stored, but for the time: ns since epoch, or ~ms if the caller gave it; `drain` makes it ms"""
        self.keys = keys
        self.stepped = stepped
        self.pack = values_packer(len(keys))
        self.width = len(keys)
        self.pick = operator.itemgetter(*keys)
        """Values of a call in the order of the keys, or KeyError; for several keys only"""


Record = tuple[Schema, bytes]


class Room:
    """What a log call returns when the buffer was full: waiting for it is the backpressure.

    Records that were not accepted are kept here: they go in as there is room, and are dropped and counted if nobody waits.
    """

    __slots__ = ("_buffer", "_records")

    def __init__(self, buffer: Buffer, records: list[Record]) -> None:
        self._buffer = buffer
        self._records = records

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        try:
            while True:
                deadline = time.monotonic() + self._buffer.patience()
                while (future := self._buffer.room(deadline)) is not None:
                    await bridge(future)
                if self._settled():
                    return
        finally:
            self._give_up()

    def block(self) -> None:
        """Wait for room, blocking the thread."""
        try:
            while True:
                deadline = time.monotonic() + self._buffer.patience()
                while (future := self._buffer.room(deadline)) is not None:
                    with contextlib.suppress(FutureTimeoutError):
                        future.result(max(deadline - time.monotonic(), 0))
                if self._settled():
                    return
        finally:
            self._give_up()

    def _settled(self) -> bool:
        records, self._records = self._records, []
        self._records = self._buffer.settle(records)
        return not self._records

    def join(self, other: Room | None) -> Room:
        """Take over what another one keeps."""
        if other is not None:
            self._records += other._records
            other._records = []
        return self

    def _give_up(self) -> None:
        records, self._records = self._records, []
        for schema, _ in records:
            self._buffer.drop(schema)

    def __del__(self) -> None:
        self._give_up()


def join(first: Room | None, second: Room | None) -> Room | None:
    """Return one to wait for in place of two."""
    return second if first is None else first.join(second)


class Buffer:
    """See the module's text."""

    def __init__(self, options: BufferOptions, wake: Callable[[], None]) -> None:
        self._options = options
        self.queue: Waiting[Schema] = self.line()
        self.capacity = options.capacity
        self.closed = False
        self.idle = True
        self.wake = wake
        self.dropped = 0
        self.popped = 0
        self.waits = 0
        self._lock = threading.RLock()  # re-entrant: garbage collection may drop a Room while it is held
        self._waiting: list[tuple[float, Future[None]]] = []
        self._shedding = False
        self._warned = 0.0

    def line(self) -> Waiting[Any]:
        """Return an empty line of things that wait."""
        return deque() if self._options.overflow == "drop_oldest" else []

    def after_fork(self) -> None:
        """Forget what belongs to the parent."""
        self._lock = threading.RLock()
        self._waiting = []
        self.queue.clear()
        self.idle, self._shedding = True, False
        self.dropped = self.popped = self.waits = 0

    def close(self) -> None:
        """Refuse further records: nobody would write them. Those who wait for room are let go."""
        with self._lock:
            self.closed = self._shedding = True
            self.capacity = 0
            waiting, self._waiting = self._waiting, []
        _wake(waiting)

    def overflow(self, schema: Schema, row: bytes) -> Room | None:
        """Take a record that found the buffer full, by the policy."""
        if self.closed:
            if leaving.too_late:
                return None
            raise ClosedError(
                f"run {schema.log.run_id!r} cannot be logged to: its store was closed; open it again"
            )
        policy = self._options.overflow
        if policy == "error":
            raise BufferFullError(
                f"the buffer holds {len(self.queue)} records (capacity {self.capacity}) and the store is slower than the job; "
                "log less often, await flush(), raise BufferOptions.capacity, or choose overflow='wait' or 'drop_oldest'"
            )
        record = (schema, row)
        if policy == "drop_oldest":
            for oldest in take(self.queue, 1):
                self.popped += 1
                if take(oldest.rows, 1):
                    self.drop(oldest)
            self.put(record)
            return None
        self.waits += 1
        if len(self.queue) < 2 * self.capacity:
            self.put(record)
            return Room(self, [])
        return Room(self, [record])

    def put(self, record: Record) -> None:
        """Append a record, and tell the engine if it sleeps."""
        schema, row = record
        schema.rows.append(row)
        self.queue.append(schema)
        if self.idle:
            self.wake()

    def settle(self, records: list[Record]) -> list[Record]:
        """Put records that waited; return those that have to wait longer. When waiting has no use they are dropped."""
        for at, record in enumerate(records):
            if len(self.queue) < (2 * self.capacity if self._shedding else self.capacity):
                self.put(record)
            elif self._shedding:
                self.drop(record[0])
            else:
                return records[at:]
        return []

    def drop(self, schema: Schema) -> None:
        """Count a lost record, and say so, but not for each."""
        with self._lock:
            self.dropped += len(schema.keys)
            schema.log.dropped += len(schema.keys)
            now = time.monotonic()
            if now - self._warned < 10 and self._warned:
                return
            self._warned = now
        logger.warning(
            "the buffer is full (%d records): %d points dropped so far; see statistics()",
            self.capacity,
            self.dropped,
        )

    def patience(self) -> float:
        """Seconds a call may wait for room now."""
        return 0.0 if self._shedding else self._options.wait_timeout

    def room(self, deadline: float) -> Future[None] | None:
        """Return a future of the next change, or None when there is room or the deadline has passed."""
        with self._lock:
            if len(self.queue) < self.capacity:
                self._shedding = False
                return None
            if self.closed or time.monotonic() >= deadline:
                self._shedding = True
                return None
            future: Future[None] = Future()
            self._waiting.append((deadline, future))
        return future

    def changed(self) -> None:
        """Tell those who wait that there may be room, or that their time is up; called by the engine every tick."""
        if not self._waiting:
            return
        now = time.monotonic()
        with self._lock:
            if len(self.queue) < self.capacity:
                self._shedding = False
                ready, self._waiting = self._waiting, []
            else:
                ready = [item for item in self._waiting if item[0] <= now]
                self._waiting = [item for item in self._waiting if item[0] > now]
        _wake(ready)


def _wake(waiting: list[tuple[float, Future[None]]]) -> None:
    for _, future in waiting:
        if future.set_running_or_notify_cancel():
            future.set_result(None)


_YEAR_10000 = 253_402_300_800_000
"""ms since epoch; Python has no dates from there on, and µs taken for ms lie behind it"""
_NO_WIDTH, _TAKES_TURNS = -1, -2


class PointLog:
    """The producers' side of one run's metrics."""

    __slots__ = (
        "_buffer",
        "_queue",
        "_stepless",
        "_stepped",
        "_usual",
        "_width",
        "dropped",
        "run_id",
        "state",
    )

    def __init__(self, run_id: str, buffer: Buffer, state: Any) -> None:
        self.run_id = run_id
        self.dropped = 0
        self.state = state
        self._buffer = buffer
        self._queue = buffer.queue
        self._stepped: dict[tuple[str, ...], Schema] = {}
        self._stepless: dict[tuple[str, ...], Schema] = {}
        # A job logs the same keys again and again: picking their values is cheaper than looking for who has these keys.
        self._usual: Any = None
        self._width = _NO_WIDTH

    def log(self, step: int | None, metrics: dict[str, float]) -> Room | None:
        """Append one call's points to the buffer; never suspends, never blocks.

        Returns None, or what to wait for when the buffer is full.
        """
        try:
            if step is None:
                schema = self._stepless[tuple(metrics)]
                row = pack_stepless(_time_ns()) + schema.pack(*metrics.values())
            elif len(metrics) == self._width:
                schema = self._usual
                row = pack_stepped(step, _time_ns()) + schema.pack(*schema.pick(metrics))
            else:
                schema = self._stepped[tuple(metrics)]
                row = pack_stepped(step, _time_ns()) + schema.pack(*metrics.values())
        except Exception:  # noqa: BLE001 - new keys or unusual values: look closely
            return self._log_carefully(step, metrics, _time_ns())
        buffer = self._buffer
        if len(self._queue) >= buffer.capacity:
            return buffer.overflow(schema, row)
        schema.rows.append(row)
        self._queue.append(schema)
        if buffer.idle:
            buffer.wake()
        return None

    def after_fork(self) -> None:
        """Forget rows of the parent's; those that its threads were about to queue, too."""
        for schema in (*self._stepped.values(), *self._stepless.values()):
            schema.rows.clear()

    def log_at(self, step: int | None, timestamp: int, metrics: dict[str, float]) -> Room | None:
        """Do as `log`, with a timestamp (ms since epoch) of the caller's; what another recorder has stored may lie far away."""
        return self._log_carefully(step, metrics, ~_timestamp(timestamp, 2**53))

    @staticmethod
    def check(step: int | None, timestamp: int | None, metrics: dict[str, float]) -> None:
        """Raise what logging these would raise, and log nothing."""
        for key, value in metrics.items():
            _number(check_key_name("metric", key), value)
        if step is not None:
            _step(step)
        if timestamp is not None:
            _timestamp(timestamp, _YEAR_10000)

    def _log_carefully(self, step: int | None, metrics: dict[str, float], moment: int) -> Room | None:
        numbers = {key: _number(check_key_name("metric", key), value) for key, value in metrics.items()}
        whole = None if step is None else _step(step)
        if (
            self._usual is not None
            and len(numbers) == self._width
            and numbers.keys() != set(self._usual.keys)
        ):
            self._usual, self._width = None, _TAKES_TURNS
        room: Room | None = None
        keys = list(numbers)
        for at in range(0, len(keys), MAX_KEYS):
            part = tuple(keys[at : at + MAX_KEYS])
            schemas = self._stepless if whole is None else self._stepped
            schema = schemas.get(part)
            if schema is None:
                schema = Schema(self, list(part), self._buffer.line(), stepped=whole is not None)
                # Calls whose keys never repeat would make this grow without bound.
                if len(schemas) >= 4096:
                    schemas.clear()
                schemas[part] = schema
                if whole is not None and 1 < len(part) == len(keys) and self._width != _TAKES_TURNS:
                    self._usual, self._width = schema, len(part)
            head = pack_stepless(moment) if whole is None else pack_stepped(whole, moment)
            row = head + schema.pack(*(numbers[key] for key in part))
            buffer = self._buffer
            if len(buffer.queue) >= buffer.capacity:
                room = join(room, buffer.overflow(schema, row))
            else:
                buffer.put((schema, row))
        return room


def _number(key: str, value: object) -> float:
    if isinstance(value, (str, bytes, complex)) or value is None or _is_complex(value):
        raise InvalidValueError(f"metric {key!r} is {value!r} ({type(value).__name__}); a metric is a number")
    try:
        number: float | None = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = None
    except (TypeError, ValueError, RuntimeError) as error:  # the last one is torch's
        raise InvalidValueError(
            f"metric {key!r} is a {type(value).__name__}, which is no single number ({error}); log one number a key"
        ) from error
    if number is None or (isinf(number) and value != number):
        raise InvalidValueError(
            f"metric {key!r} is too large for a float64 ({type(value).__name__}); log it as a param"
        )
    return number


def _is_complex(value: object) -> bool:
    """Return whether a scalar of an array library is complex: float() would take its real part."""
    dtype: object = getattr(value, "dtype", None)
    return getattr(dtype, "kind", "") == "c" or getattr(dtype, "is_complex", False) is True


def _timestamp(timestamp: object, end: int) -> int:
    whole = None if isinstance(timestamp, bool) else _whole(timestamp)
    if whole is None or whole < 0:
        raise InvalidValueError(
            f"timestamp {timestamp!r} ({type(timestamp).__name__}): give whole milliseconds since epoch"
        )
    if whole >= end:
        year = 1970 + (whole + 86_400_000) // 31_556_952_000
        raise InvalidValueError(
            f"timestamp: milliseconds since epoch, got {whole}, which is the year {year}; divide microseconds by 1000, nanoseconds by 10**6"
        )
    return whole


def _step(step: object) -> int:
    whole = _whole(step)
    if whole is None:
        raise InvalidValueError(f"step {step!r} ({type(step).__name__}): a step is a whole number or None")
    if not -(2**63) <= whole < 2**63:
        raise InvalidValueError(f"step {whole} does not fit 64 bits")
    return whole


def _whole(value: object) -> int | None:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None
