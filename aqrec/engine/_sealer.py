"""When which runs are sealed, and when their journal may go.

An ended run is sealed by itself (``seal="run"``), together with others (``"bulk"``), or not at all. A segment is deleted when it is
closed, all its points are sealed, and the events that say so are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Protocol

from aqrec.engine._log import Log, Segment
from aqrec.engine._merge import Merger
from aqrec.engine._outage import Outage
from aqrec.engine._seal import Job, Source, write_history
from aqrec.engine._summary import RunState
from aqrec.errors import CorruptError
from aqrec.format import _layout as layout
from aqrec.format._ids import HybridClock, new_id
from aqrec.format._records import FORMAT_VERSION, Event, Footer, Sealed
from aqrec.options import Options
from aqrec.stores import Store

__all__ = ["Sealer"]

BULK_RUNS = 2_000
BULK_POINTS = 4_000_000


class _Host(Protocol):
    """What the sealer needs of its engine."""

    store: Store
    options: Options
    writer: str
    clock: HybridClock
    runs: dict[str, RunState]
    post: Callable[[Event], None]
    fail: Callable[[str, Exception], None]
    outage: Outage

    async def encode(self) -> None: ...
    async def flush(self, timeout: float | None = None) -> None: ...  # noqa: ASYNC109 - a deadline of the store's, not of the caller


class Sealer:
    """Seals the runs of one writer; all methods run on the engine thread."""

    def __init__(self, host: Any, journal: Log) -> None:
        self._host: _Host = host
        self._journal = journal
        self._lock = asyncio.Lock()
        self._merger = Merger(
            self._host.store, self._host.writer, journal, self._lock, self.needed, self.free_journal
        )
        self._waiting: dict[str, RunState] = {}
        self._waiting_points = 0
        self._task: asyncio.Task[None] | None = None
        self._early: dict[str, list[Sealed]] = {}
        self._sealing: set[asyncio.Task[None]] = set()
        self._untold: set[str] = set()
        """Runs whose latest seal is not in the log of events yet"""
        self._not_durable: set[str] = set()
        """Runs whose latest seal may be lost in a crash: their journal stays"""
        self.points = 0

    async def run_ended(self, state: RunState) -> list[Sealed]:
        """Seal an ended run, now or with others; return the events that say where its points are."""
        state.ended = True
        mode = self._host.options.seal
        if mode == "run":
            sealed = self._early.pop(state.run_id, []) + await self._seal([state], bulk=False)
            if sealed:
                await self._host.flush()
                self._not_durable.discard(state.run_id)
                await self.free_journal()
            self._forget(state)
            return sealed
        if not state.unsealed:
            self._forget(state)
        elif mode == "bulk":
            self._wait_for_bulk(state)
            if self._full and self._task is None:
                self._task = asyncio.create_task(self._seal_waiting(), name="aqrec-bulk-seal")
        return []

    async def early(self, state: RunState) -> None:
        """Seal a run that ends from what is in memory; what fails is left to `run_ended`."""
        if self._host.options.seal != "run":
            return
        with contextlib.suppress(Exception):
            await self._host.encode()
            # Loading them (pyarrow loads pandas, too) takes seconds on a busy machine, which is not the store's fault.
            for name in ("pyarrow.parquet", "pandas"):
                await asyncio.get_running_loop().run_in_executor(None, import_module, name)
            await self._in_time(asyncio.create_task(self._seal_early(state), name="aqrec-early-seal"))

    async def _seal_early(self, state: RunState) -> None:
        with contextlib.suppress(Exception):
            if state.unsealed and await self._journal.waiting():
                self._early[state.run_id] = await self._seal([state], bulk=False, early=True)

    async def _in_time(self, sealing: asyncio.Task[None]) -> None:
        """Wait for a seal as long as the end of a run may wait for it, and leave it to end by itself."""
        outage, began = self._host.outage, time.monotonic()
        self._sealing.add(sealing)
        sealing.add_done_callback(self._sealing.discard)
        try:
            await asyncio.wait([sealing], timeout=outage.spare_time)
        finally:
            if not sealing.done():
                sealing.cancel()  # not awaited: a request that hangs is given seconds to end
                outage.missed(began)

    def told(self, events: Iterable[Event]) -> None:
        """Note what is in the log of events now."""
        for event in events:
            if isinstance(event, Sealed):
                self._untold.discard(event.run_id)

    def committed(self) -> None:
        """Merge the journal's segments if they have become many; call it when the store has just taken some."""
        self._merger.step()

    async def finish(self) -> None:
        """Seal what waits, and wait for what is being sealed or merged."""
        if self._task is not None:
            await self._task
        if self._waiting:
            await self._seal_waiting()
        async with self._lock:
            pass
        await self._merger.finish()

    def cancel(self) -> None:
        """Give up what is being sealed; it stays in the journal."""
        self._merger.cancel()
        if self._task is not None:
            self._task.cancel()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= BULK_RUNS or self._waiting_points >= BULK_POINTS

    def _wait_for_bulk(self, state: RunState) -> None:
        self._waiting[state.run_id] = state
        self._waiting_points += sum(state.unsealed.values())

    async def _seal_waiting(self) -> None:
        """Seal what waits, and again what has gathered meanwhile, as long as it fills a file."""
        try:
            while True:
                states, self._waiting, self._waiting_points = list(self._waiting.values()), {}, 0
                try:
                    if sealed := await self._seal(states, bulk=True):
                        await self._host.flush()
                        self._not_durable.difference_update(part.run_id for part in sealed)
                        await self.free_journal()
                except Exception as error:  # noqa: BLE001 - they stay in the journal, whatever went wrong
                    for state in states:
                        self._wait_for_bulk(state)
                    self._host.fail("histories could not be sealed", error)
                    return
                for state in states:
                    self._forget(state)
                if not self._full:
                    return
        finally:
            self._task = None

    def _forget(self, state: RunState) -> None:
        """Give up an ended, sealed run's state; if somebody logs to it again it comes back by itself."""
        if state.ended and not state.unsealed and not state.changed:
            state.announced = False
            self._host.runs.pop(state.run_id, None)

    async def _seal(self, states: Sequence[RunState], *, bulk: bool, early: bool = False) -> list[Sealed]:
        host = self._host
        async with self._lock:
            todo = {state.run_id: state for state in states if state.unsealed}
            if not todo:
                return []
            counts = {
                (state.run_id, key): count for state in todo.values() for key, count in state.unsealed.items()
            }
            through = {run_id: state.through for run_id, state in todo.items()}
            if not early:
                await host.flush()
            if bulk:
                key = layout.bulk_metrics_key(new_id(), host.writer)
            else:
                (state,) = todo.values()
                own = state.made_id and not state.parts
                key = layout.metrics_key(state.run_id, None if own else host.writer, state.parts)
            job = Job(
                writer=host.writer,
                counts=counts,
                after={run_id: state.sealed_through for run_id, state in todo.items()},
                through=through,
                sources=await self._sources(through.keys()),
            )
            metadata = {"format": FORMAT_VERSION, "writer": host.writer, "through": through}
            points, footer = await host.store.put_stream(
                key, lambda file: write_history(file, job, metadata, bulk=bulk)
            )
            if points != sum(counts.values()):
                raise CorruptError(
                    f"sealing found {points} of {sum(counts.values())} points in the journal of writer {host.writer}; "
                    "the journal is kept"
                )
            return [
                self._sealed(state, key, through[run_id], counts, footer) for run_id, state in todo.items()
            ]

    def _sealed(
        self, state: RunState, key: str, through: int, counts: dict[tuple[str, str], int], footer: Footer
    ) -> Sealed:
        points = 0
        for name, count in list(state.unsealed.items()):
            done = counts.get((state.run_id, name), 0)
            points += done
            if count > done:
                state.unsealed[name] = count - done
            else:
                del state.unsealed[name]
        state.parts += 1
        state.sealed_through = through
        self.points += points
        event = Sealed(
            clock=self._host.clock.now(),
            run_id=state.run_id,
            writer=self._host.writer,
            key=key,
            through=through,
            points=points,
            footer=footer,
        )
        self._untold.add(state.run_id)
        self._not_durable.add(state.run_id)
        self._host.post(event)
        return event

    async def _sources(self, run_ids: Iterable[str]) -> list[Source]:
        sources: list[Source] = []
        segments = list(self._journal.segments)  # other runs' ends shorten it while this one reads
        store = self._host.store
        fresh = await self._journal.waiting() or []
        for number, segment in enumerate(segments):
            spans = [segment.runs[run_id] for run_id in run_ids if run_id in segment.runs]
            if not spans or not segment.written:
                continue
            path = store.local_path(segment.key)
            start, end = min(span[1] for span in spans), max(span[2] for span in spans)
            before = segments[number + 1].first if number + 1 < len(segments) else 2**63
            if path is not None:
                sources.append(Source(path, start, end, before))
            elif segment.data is not None:
                sources.append(Source(segment.data, start, end, before))
            else:
                data = await store.get(segment.key, start=start, end=end)
                sources.append(Source(data, 0, len(data), before))
        sources.extend(Source(data, 0, len(data), 2**63) for _, data in fresh)
        return sources

    def needs(self, run_id: str) -> bool:
        """Whether a run's points are nowhere but in the journal, as far as the log of events says."""
        state = self._host.runs.get(run_id)
        return (
            self._host.options.seal == "never"
            or run_id in self._untold
            or (state is not None and bool(state.unsealed))
        )

    def needed(self, segment: Segment) -> bool:
        """Whether a segment holds points that are nowhere else."""
        runs = self._host.runs
        return self._host.options.seal == "never" or any(
            run_id in self._not_durable or (run_id in runs and runs[run_id].unsealed)
            for run_id in segment.runs
        )

    async def free_journal(self) -> None:
        """Delete closed segments that nobody needs; call it when the `Sealed` events are durable."""
        done = [
            segment
            for segment in self._journal.segments
            if segment.closed and not segment.merging and not self.needed(segment)
        ]
        gone = [segment.key for segment in done if segment.written]
        if gone:
            await self._host.store.delete(gone)
        # In place, and all at once: another run's end may have come to the same conclusion meanwhile.
        self._journal.segments[:] = [segment for segment in self._journal.segments if segment not in done]
