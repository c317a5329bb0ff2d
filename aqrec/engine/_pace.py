"""How often an engine does what nobody asked for: commits, summaries of running runs, heartbeats.

On a bucket each is a request that costs money, and a process may run for days: there the pauses grow with the process's age, so that a
day takes about 1,500 requests and the first minutes are as lively as on a folder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aqrec.options import FlushOptions

__all__ = ["Pace", "gather"]

HEARTBEAT: Final = 300.0
_GATHER, _LONGEST_GATHER = 0.05, 1.0
_GROWTH: Final = 40
"""A pause is at most the age of the process divided by this"""
_SUMMARIES: Final = 3
"""Summaries are published with every so many commits"""


class Pace:
    """Says what is due. All times are those of `time.monotonic`.

    Attributes
    ----------
    last_commit, last_summary, last_heartbeat
        When it was done.
    """

    def __init__(self, options: FlushOptions, *, appends: bool) -> None:
        self._options = options
        self._appends = appends
        self._began = self.last_commit = self.last_summary = self.last_heartbeat = time.monotonic()

    def commits_every(self, now: float) -> float:
        """Return the seconds between two commits."""
        options = self._options
        if self._appends:
            return options.sync_interval
        shortest, longest = options.segment_interval, options.longest_segment_interval
        return max(shortest, min((now - self._began) / _GROWTH, longest))

    def summaries_every(self, now: float) -> float:
        """Return the seconds between two summaries."""
        shortest = self._options.summary_interval
        return shortest if self._appends else max(shortest, _SUMMARIES * self.commits_every(now))

    def commit_due(self, now: float) -> bool:
        """Whether what was written is to be made durable."""
        return now - self.last_commit >= self.commits_every(now)

    def summary_due(self, now: float) -> bool:
        """Whether running runs are to be summarised."""
        return now - self.last_summary >= self.summaries_every(now)

    def flush_publishes(self, now: float, *, beside: bool) -> bool:
        """Whether a flush publishes summaries, too: in a bucket they cost a request unless they go `beside` other events."""
        return self._appends or beside or now - self.last_summary >= self._options.summary_interval

    def heartbeat_due(self, now: float, *, beside: bool) -> bool:
        """Whether to tell that the process lives; earlier where that takes no request of its own, `beside` other events."""
        return now - self.last_heartbeat >= (HEARTBEAT / 2 if beside else HEARTBEAT)

    def until_due(
        self, now: float, *, pending: bool, running: bool, changed: bool, outage: float | None = None
    ) -> float | None:
        """Return the seconds until the first is due of what is needed, or of an `outage`'s own; None: nothing is."""
        due: list[float] = [] if outage is None else [outage]
        if pending:
            due.append(self.last_commit + self.commits_every(now) - now)
        if running:
            due.append(self.last_heartbeat + HEARTBEAT - now)
        if changed:
            due.append(self.last_summary + self.summaries_every(now) - now)
        return max(min(due), 0.0) if due else None


async def gather(waiting: Callable[[], int]) -> None:
    """Wait as long as several wait for a commit and they become more, one second at most.

    Runs that end together share two requests then; one that ends alone does not wait.
    """
    seen, until = 1, time.monotonic() + _LONGEST_GATHER
    while (now := waiting()) > seen and time.monotonic() < until:
        seen = now
        await asyncio.sleep(_GATHER)
