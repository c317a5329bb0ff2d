"""What a process says of being alive: which runs its heartbeats name, and what it says when it was silent for long."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator
from typing import Final

from aqrec.engine._summary import RunState
from aqrec.format import _ids as ids
from aqrec.format._records import REAPED, STATUS_R, Event, Heartbeat, StatusSet, TagsDeleted

__all__ = ["Alive"]

LATE: Final = 600.0
"""Seconds after which somebody may have taken the process for dead; it counts as such after 900 at the earliest"""


class Alive:
    """The runs of one writer that are going on; all methods run on the engine thread, but `start` and `stop` on any."""

    def __init__(self, clock: ids.HybridClock) -> None:
        self._clock = clock
        self._running: dict[str, RunState] = {}
        self._saving: Counter[str] = Counter()
        self._heard = ids.now_ms()

    def __bool__(self) -> bool:
        return bool(self._running or self._saving)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._running or run_id in self._saving

    def start(self, state: RunState) -> None:
        """Count a run as going on."""
        self._running[state.run_id] = state

    def stop(self, run_id: str) -> None:
        """Count a run as going on no more."""
        self._running.pop(run_id, None)

    @contextlib.contextmanager
    def saving(self, run_id: str) -> Generator[None]:
        """Name a run in heartbeats, whether it is going on or not, as long as something large is saved."""
        self._saving[run_id] += 1
        try:
            yield
        finally:
            self._saving[run_id] -= 1
            if not self._saving[run_id]:
                del self._saving[run_id]

    def heartbeat(self) -> list[Event]:
        """Return the event that says so, if there is anything to say."""
        runs = list({**self._running, **self._saving})
        return [Heartbeat(clock=self._clock.now(), runs=runs)] if runs else []

    def heard(self) -> list[Event]:
        """Take note that the store has what was written; return what to say after a long silence.

        The runs are RUNNING still, whatever others made of the silence.
        """
        now, before = ids.now_ms(), self._heard
        self._heard = now
        if now - before < LATE * 1000:
            return []
        events: list[Event] = []
        for run_id in list(self._running):
            events.append(StatusSet(clock=self._clock.now(), run_id=run_id, status=STATUS_R, time=now))
            events.append(TagsDeleted(clock=self._clock.now(), run_id=run_id, keys=[REAPED]))
        return events
