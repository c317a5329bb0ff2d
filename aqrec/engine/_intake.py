"""From the buffer and the queue of events into the logs, in order.

What was taken is kept here until a log has it. So whatever raises in between, be it for want of memory, costs nothing but time: the
next call goes on where the last one failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from aqrec.engine._alive import Alive
from aqrec.engine._batch import Batch
from aqrec.engine._buffer import Buffer
from aqrec.engine._log import Log
from aqrec.engine._outage import Outage
from aqrec.engine._pace import Pace
from aqrec.engine._summary import RunState
from aqrec.format._frames import EVENTS, MAX_PAYLOAD, POINTS, encode_frame
from aqrec.format._ids import HybridClock
from aqrec.format._points import PointsFrame, encode_points
from aqrec.format._records import Event, MetricsSummarised, PointsDropped, encode_events
from aqrec.options import Options

__all__ = ["Intake"]

_EVENTS_PER_FRAME = 1_000


class _Host(Protocol):
    """What the intake needs of its engine."""

    options: Options
    writer: str
    clock: HybridClock
    buffer: Buffer
    events: deque[Event]
    runs: dict[str, RunState]
    known: WeakValueDictionary[str, RunState]
    alive: Alive
    outage: Outage


class Intake:
    """What one writer has taken and not written; all methods run on the engine thread.

    Parameters
    ----------
    told
        Called with events that are in the log now.
    """

    def __init__(
        self, host: Any, pace: Pace, journal: Log, catalog: Log, told: Callable[[list[Event]], None]
    ) -> None:
        self._host: _Host = host
        self._pace = pace
        self._journal = journal
        self._catalog = catalog
        self._told = told
        self._seq = 0
        self._batch = Batch(host.buffer)
        self._written: deque[tuple[RunState, PointsFrame]] = deque()
        """Frames that are in the journal and in no summary yet"""
        self._behind: deque[tuple[int, list[Event]]] = deque()
        """Events, and how many records have to be popped before they are written"""
        self._ready: list[Event] = []
        self._changed: dict[str, RunState] = {}
        self._dropped_told = 0
        self.points = 0
        self.events = 0

    @property
    def changed(self) -> bool:
        """Whether there are summaries to publish."""
        return bool(self._changed)

    @property
    def held(self) -> bool:
        """Whether events that were taken wait for the points before them."""
        return bool(self._behind)

    @property
    def publishing(self) -> bool:
        """Whether events go to the log next."""
        return bool(self._ready)

    def waiting(self) -> tuple[int, int]:
        """Return how many records and events were taken and are in no log yet."""
        return len(self._batch), len(self._ready) + sum(len(events) for _, events in self._behind)

    async def take(self) -> None:
        """Write the points that wait in the buffer, as far as the journal has room, and make events ready that follow them."""
        buffer = self._host.buffer
        # Taken before the points but written behind them: all points of a run whose end is here are in the queue.
        self._take_events()
        target = buffer.popped + len(buffer.queue)
        limit = 4 * self._host.options.flush.segment_bytes
        self._write_points()
        while buffer.popped < target and buffer.queue and self._journal.held_bytes < limit:
            self._batch.fill()
            self._write_points()
            buffer.changed()
            await asyncio.sleep(0)
        buffer.changed()
        while self._behind and (self._behind[0][0] <= buffer.popped or not buffer.queue):
            self._ready.extend(self._behind[0][1])
            self._behind.popleft()

    def _take_events(self) -> None:
        waiting, buffer = self._host.events, self._host.buffer
        if not waiting:
            return
        count, events = len(waiting), list[Event]()
        self._behind.append((buffer.popped + len(buffer.queue), events))
        for _ in range(count):
            events.append(waiting[0])
            waiting.popleft()

    def _write_points(self) -> None:
        """Write the batch as frames, hand it over, and count it."""
        journal = self._journal
        while (first := self._batch.first()) is not None:
            schema, rows = first
            state: RunState = schema.log.state
            frame = PointsFrame(self._seq, state.run_id, schema.keys, rows, schema.stepped)
            encoded, points = encode_frame(POINTS, encode_points(frame)), frame.points
            state.expect(frame)
            journal.write(frame.seq, state.run_id, encoded)
            self._batch.done()
            self._written.append((state, frame))
            self._seq += 1
            self.points += points
        journal.hand_over()  # a killed process loses what comes later
        while self._written:
            state, frame = self._written[0]
            state.add(frame)
            self._changed[state.run_id] = state
            if not state.announced:
                # Readers must hear of a run that is new to this journal.
                self._host.runs.setdefault(state.run_id, state)
                self._summarise(state)
                state.announced = True
            self._written.popleft()

    def _summarise(self, state: RunState) -> None:
        event = MetricsSummarised(
            clock=self._host.clock.now(),
            run_id=state.run_id,
            writer=self._host.writer,
            through=state.summarised,
            metrics=state.changes(),
        )
        self._ready.append(event)
        state.changed.clear()

    def add_routine(self, now: float, *, everything: bool) -> None:
        """Make ready what is due without anybody's asking: summaries, dropped points, a heartbeat."""
        before = len(self._ready)
        if everything or self._pace.summary_due(now):
            for run_id, state in list(self._changed.items()):
                if state.changed:
                    self._summarise(state)
                del self._changed[run_id]
            self._tell_drops()
            self._pace.last_summary = now
        if self._pace.heartbeat_due(now, beside=len(self._ready) > before):
            self._ready.extend(self._host.alive.heartbeat())
            self._pace.last_heartbeat = now

    def _tell_drops(self) -> None:
        dropped = self._host.buffer.dropped
        if dropped <= self._dropped_told:
            return
        # A copy: other threads create runs meanwhile.
        states = [state for held in self._host.known.valuerefs() if (state := held()) is not None]
        for state in states:
            count = state.points.dropped
            if count > state.dropped_told:
                event = PointsDropped(
                    clock=self._host.clock.now(),
                    run_id=state.run_id,
                    writer=self._host.writer,
                    count=count,
                )
                self._ready.append(event)
                state.dropped_told = count
        self._dropped_told = dropped

    def write_events(self) -> None:
        """Write the events that are ready as frames."""
        size = _EVENTS_PER_FRAME
        while self._ready:
            events = self._ready[:size]
            payload = encode_events(events)
            if len(payload) > MAX_PAYLOAD and len(events) > 1:
                size = len(events) // 2
                continue
            frame = encode_frame(EVENTS, payload)
            self._host.outage.note(payload)
            self._catalog.write(0, "", frame)
            del self._ready[: len(events)]
            self.events += len(events)
            self._told(events)
