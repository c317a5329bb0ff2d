"""Runs whose writers died: what their journals hold is sealed, and they end FAILED.

A run that is RUNNING and of which no event was heard for longer than a horizon, by the store's clock, is given up. Its writers may live
all the same: the machine slept, or the way to the bucket was cut. So nothing that is done here stands against them:

- The end has the least clock that is later than the status it follows. Whatever a writer has said of the run's status since then, stored or
  not yet, wins, and a writer that finds that it was silent for long says RUNNING again (`engine._alive`).
- A sealed part says which numbers of whose frames it holds, so points that a writer seals once more are read once.
- Journals stay; `gc` removes them when they are old.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from aqrec.engine._seal import Job, Source, write_history
from aqrec.engine._summary import summarise
from aqrec.errors import CorruptError
from aqrec.format import _layout as layout
from aqrec.format import _values as values
from aqrec.format._document import document_to_json, merge_summary
from aqrec.format._frames import HEADER, POINTS, Damage, scan
from aqrec.format._ids import new_id
from aqrec.format._keys import own_key
from aqrec.format._points import PointsFrame, decode_points
from aqrec.format._records import (
    FORMAT_VERSION,
    REAPED,
    STATUS_FA,
    STATUS_R,
    Footer,
    LogHeader,
    MetricsSummarised,
    MetricSummary,
    Sealed,
    StatusSet,
    TagsSet,
)
from aqrec.upkeep._work import ALIVE, Cost, Work, check_seconds

if TYPE_CHECKING:
    from aqrec.engine import Engine
    from aqrec.format._document import RunDocument
    from aqrec.stores import ObjectInfo

__all__ = ["HORIZON", "Reaped", "ReapedRun", "reap"]

HORIZON: Final = 3_600.0
_KEPT: Final = 8 << 20
"""Bytes of journals that are in memory; more of them wait in files"""


class ReapedRun(msgspec.Struct, kw_only=True):
    """A run that was given up, or whose journal was sealed for it.

    Attributes
    ----------
    run_id, name, experiment_name
        Which run.
    heard
        When it was last heard of, ms since epoch by the store's clock, or by its writers' where nothing else is known.
    ended
        It was RUNNING and ends FAILED; else it had ended, and only its points were to be sealed.
    points
        Points that were sealed for its writers; with ``dry_run`` 0.
    """

    run_id: str
    name: str = ""
    experiment_name: str = ""
    heard: int = 0
    ended: bool = False
    points: int = 0


class Reaped(msgspec.Struct, frozen=True, kw_only=True):
    """What `reap` has found.

    Attributes
    ----------
    runs
        Runs that were given up, or would be with ``dry_run=False``, and ended ones whose points were sealed for them.
    running
        Number of runs that are going on.
    dry_run
        Whether nothing was changed.
    cost
        Requests and bytes it took.
    """

    runs: list[ReapedRun] = []
    running: int = 0
    dry_run: bool = True
    cost: Cost = Cost()


async def reap(work: Work, engine: Engine, *, horizon: float = HORIZON, dry_run: bool = True) -> Reaped:
    """Give up runs that nobody records any more; see `ExperimentManager.reap`."""
    check_seconds("horizon", horizon, ALIVE, "a living process is heard of every 300 seconds")
    await work.begin()
    before = await work.time(dry_run=dry_run) - int(horizon * 1000)
    infos = [info async for info in work.store.list(layout.JOURNAL)]
    await work.catalog.refresh()
    engine.clock.observe(work.catalog.observed)
    silent = _Silent(work, engine, before)
    dead, running = silent.runs()
    report = {
        doc.run_id: ReapedRun(
            run_id=doc.run_id, name=doc.name, experiment_name=doc.experiment_name, heard=time, ended=True
        )
        for doc, time in dead
    }
    if not dry_run:
        journals = _journals(infos, silent)
        for number, (writer, segments) in enumerate(sorted(journals.items())):
            work.tell("sealing journals", number, len(journals))
            await _seal(work, engine, writer, segments, report)
        await _end(work, engine, silent, report)
    return Reaped(
        runs=sorted(report.values(), key=lambda run: (run.heard, run.run_id)),
        running=running,
        dry_run=dry_run,
        cost=work.cost,
    )


class _Silent:
    """Says which runs and writers have given no sign of life since a time."""

    def __init__(self, work: Work, engine: Engine, before: int) -> None:
        self._work = work
        self._engine = engine
        self._before = before

    def _heard(self, doc: RunDocument, heard: dict[str, int]) -> int:
        """Return when a run was last heard of: by the store's clock, else by those of its writers."""
        if doc.run_id in heard:
            return heard[doc.run_id]
        stamps = [row.timestamp for rows in doc.metrics.values() for row in rows.values()]
        return max(
            [doc.created, doc.start_time or 0, *stamps, *(clock >> 16 for clock in doc.clocks.values())]
        )

    def runs(self) -> tuple[list[tuple[RunDocument, int]], int]:
        """Return the runs that are RUNNING and silent, with when they were heard of, and how many others go on."""
        heard = self._work.catalog.heard()
        found: list[tuple[RunDocument, int]] = []
        running = 0
        for doc in self._work.catalog.runs_of(view="all", status=STATUS_R):
            time = self._heard(doc, heard)
            if time >= self._before or doc.run_id in self._engine.alive:
                running += 1
            else:
                found.append((doc, time))
        return found, running

    def writers(self, infos: Sequence[ObjectInfo]) -> set[str]:
        """Return the writers of journals that wrote nothing since then, and none of whose runs goes on."""
        catalog = self._work.catalog
        writers = {own.writer: 0 for info in infos if (own := own_key(info.key)) is not None}
        for info in infos:
            if (own := own_key(info.key)) is not None:
                writers[own.writer] = max(info.modified, writers[own.writer])
        for key, time in catalog.written.items():
            writer = layout.writer_of_event_log(key)
            if writer in writers:
                writers[writer] = max(time, writers[writer])
        silent = {writer for writer, time in writers.items() if time < self._before}
        given_up = {doc.run_id for doc, _ in self.runs()[0]}
        for doc in catalog.runs_of(view="all", status=STATUS_R):
            if doc.run_id not in given_up:
                silent -= {*doc.through, doc.creator}
        return silent - {self._engine.writer}


def _journals(infos: Sequence[ObjectInfo], silent: _Silent) -> dict[str, list[ObjectInfo]]:
    """Return the segments of silent writers, without those that were merged into another one."""
    writers = silent.writers(infos)
    found: dict[str, list[tuple[int, int, ObjectInfo]]] = {}
    for info in infos:
        match = re.fullmatch(r"journal/([0-9a-f]{32})/(\d{8})(?:_(\d{8}))?\.seg", info.key)
        if match is not None and match[1] in writers:
            last = int(match[2])
            found.setdefault(match[1], []).append((last - int(match[3] or 1) + 1, last, info))
    return {
        writer: [
            info
            for first, last, info in sorted(items, key=lambda item: item[:2])
            if not any(a <= first and last <= b and (a, b) != (first, last) for a, b, _ in items)
        ]
        for writer, items in found.items()
    }


class _Unsealed:
    """What a journal holds of one run that no sealed part has."""

    def __init__(self, doc: RunDocument, writer: str) -> None:
        self.doc = doc
        self.after = max((part.through for part in doc.sealed if part.writer == writer), default=-1)
        self.told = doc.through.get(writer, -1)
        self.through = self.after
        self.counts: Counter[tuple[str, str]] = Counter()
        self.summaries: dict[str, MetricSummary] = dict(doc.metrics.get(writer, {}))

    def add(self, frame: PointsFrame) -> None:
        count, fresh = summarise(frame)
        for key, summary in zip(frame.keys, fresh, strict=True):
            self.counts[self.doc.run_id, key] += count
            if frame.seq > self.told:
                self.summaries[key] = merge_summary(self.summaries.get(key), summary)
        self.through = max(self.through, frame.seq)


def _open(source: Source) -> BinaryIO:
    return io.BytesIO(source.data) if isinstance(source.data, bytes) else source.data.open("rb")


def _frames(sources: Sequence[Source]) -> Iterator[PointsFrame]:
    for source in sources:
        with _open(source) as file:
            for frame in scan(file, source.end):
                if isinstance(frame, Damage):
                    if frame.tail:
                        break
                    raise CorruptError("damaged")
                if frame.kind == POINTS:
                    points = decode_points(frame.payload)
                    if points.seq < source.before:
                        yield points


def _first_of(source: Source) -> int:
    """Return the number that a segment's header says its frames begin with."""
    with _open(source) as file:
        for frame in scan(file, source.end):
            if not isinstance(frame, Damage) and frame.kind == HEADER:
                return msgspec.msgpack.decode(frame.payload, type=LogHeader).first
            break
    return 0


async def _seal(
    work: Work,
    engine: Engine,
    writer: str,
    infos: Sequence[ObjectInfo],
    report: dict[str, ReapedRun],
) -> None:
    """Seal what a silent writer has left in its journal, of runs that were given up or have ended."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        sources = await _sources(work, infos, stack)

        def gather() -> dict[str, _Unsealed]:
            found: dict[str, _Unsealed] = {}
            for points in _frames(sources):
                run = found.get(points.run_id)
                if run is None:
                    doc = work.catalog.runs.get(points.run_id)
                    if doc is None or not doc.known or (doc.status == STATUS_R and doc.run_id not in report):
                        continue
                    run = found[points.run_id] = _Unsealed(doc, writer)
                if points.seq > run.after:
                    run.add(points)
            return {run_id: run for run_id, run in found.items() if run.counts}

        try:
            runs = await loop.run_in_executor(None, gather)
        except CorruptError:
            return  # the journal stays, and whoever reads it is told what is damaged
        for run_id, run in runs.items():
            job = Job(
                writer=writer,
                counts=dict(run.counts),
                after={run_id: run.after},
                through={run_id: run.through},
                sources=sources,
            )
            metadata = {"format": FORMAT_VERSION, "writer": writer, "through": {run_id: run.through}}
            key = layout.metrics_key(run_id, new_id(), 0)

            points, footer = await work.store.put_stream(key, partial(_write, job=job, metadata=metadata))
            clock = engine.clock.now
            engine.post(
                MetricsSummarised(
                    clock=clock(), run_id=run_id, writer=writer, through=run.through, metrics=run.summaries
                )
            )
            engine.post(
                Sealed(
                    clock=clock(),
                    run_id=run_id,
                    writer=writer,
                    key=key,
                    through=run.through,
                    points=points,
                    footer=footer,
                    after=run.after,
                )
            )
            known = report.setdefault(
                run_id,
                ReapedRun(run_id=run_id, name=run.doc.name, experiment_name=run.doc.experiment_name),
            )
            known.points += points


def _write(file: BinaryIO, job: Job, metadata: dict[str, Any]) -> tuple[int, Footer]:
    return write_history(file, job, metadata, bulk=False)


async def _sources(work: Work, infos: Sequence[ObjectInfo], stack: ExitStack) -> list[Source]:
    """Return a journal's segments in memory, or in files where they are many."""
    sources: list[Source] = []
    folder: Path | None = None
    kept = 0
    for number, info in enumerate(infos):
        path = work.store.local_path(info.key)
        if path is not None:
            sources.append(Source(path, 0, info.size, 2**63))
            continue
        data = await work.store.get(info.key)
        kept += len(data)
        if kept > _KEPT:
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aqrec-reap-")))
            place = folder / str(number)
            await asyncio.get_running_loop().run_in_executor(None, place.write_bytes, data)
            sources.append(Source(place, 0, len(data), 2**63))
        else:
            sources.append(Source(data, 0, len(data), 2**63))
    before = 2**63
    for source in reversed(sources):
        source.before = before
        before = min(before, _first_of(source))
    return sources


async def _end(work: Work, engine: Engine, silent: _Silent, report: dict[str, ReapedRun]) -> None:
    """Set the runs FAILED that are silent still, and give all that were sealed their document."""
    await engine.flush()
    await work.catalog.refresh()
    still = {doc.run_id: (doc, time) for doc, time in silent.runs()[0]}
    for run_id, known in list(report.items()):
        if not known.ended:
            continue
        if run_id not in still:
            del report[run_id]  # somebody was heard of meanwhile; what was sealed for them does no harm
            continue
        doc, time = still[run_id]
        since = dt.datetime.fromtimestamp(time / 1000, dt.UTC).isoformat(timespec="seconds")
        engine.post(
            StatusSet(
                clock=doc.clocks["status"] + 1,
                run_id=run_id,
                status=STATUS_FA,
                time=max(time, doc.start_time or 0),
                reason=f"reaped: its writers were not heard of since {since}",
            )
        )
        engine.post(
            TagsSet(
                clock=engine.clock.now(),
                run_id=run_id,
                tags=msgspec.Raw(values.pack({REAPED: f"not heard of since {since}"})),
            )
        )
    await engine.flush()
    await work.catalog.refresh()
    for number, run_id in enumerate(report):
        work.tell("writing run documents", number, len(report))
        ended = work.catalog.runs.get(run_id)
        if ended is not None and ended.end_time is not None:
            await work.store.put(layout.run_document_key(run_id), document_to_json(ended))
