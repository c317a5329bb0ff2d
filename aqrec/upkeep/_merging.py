"""Small sealed histories become larger ones: files of many runs of one experiment.

A run's points stay what they were; only the file changes that they are read from. The steps, and why each is safe:

1. Read the catalog and some small files. A file is ready if the catalog knows of every run that it covers where that run's points are;
   else what refers to it is on its way.
2. Put a note that says what is to become of which files. Others leave them alone from now on, and `gc` does not take them.
3. Put the merged files, under keys that nobody else uses and that sort behind those of their sources.
4. Put the events that say so, one batch for all runs. A merged part begins and ends at the same frames as its source and has the greater
   key, so that every reader who knows of it takes it instead (`format._document.sealed_spans`), and nothing that is recorded later
   can bring the source back without it.
5. Later (`sweep`): a grace period after the note was written, the sources of which no run says any more that it reads them are deleted,
   and then the note. Who still reads by what was known before finds them until then, and afterwards reads the run's document again.

Whoever dies in between leaves the sources as they are and valid. Where several merge the same files at once, one of the merged files is read,
the same by everybody, and the other one goes with the sources.
"""

from __future__ import annotations

import asyncio
import os
import platform
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, Final

import msgspec

from aqrec.errors import CorruptError, ObjectNotFoundError
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, SealedPart, document_to_json, sealed_spans
from aqrec.format._frames import EVENTS, FOOTER, HEADER, encode_frame
from aqrec.format._ids import HybridClock, new_id, now_ms
from aqrec.format._keys import own_key
from aqrec.format._merged import (
    MergeNote,
    SourceFile,
    decode_merge_note,
    encode_merge_note,
    open_source,
    write_merged,
)
from aqrec.format._records import FORMAT_VERSION, Event, Footer, LogHeader, Sealed, encode_events
from aqrec.format._snapshot import LEVEL
from aqrec.reading import Catalog
from aqrec.stores import ObjectInfo, Store

__all__ = ["Merged", "merge_histories", "read_notes", "sweep"]

SMALL: Final = 4 << 20
"""Bytes; larger files stay as they are"""
TARGET: Final = 16 << 20
"""Bytes that one step merges at most: it holds them in memory, unpacked"""
MOST_FILES: Final = 1_000
"""Files that one step merges at most"""
_SMALL_POINTS: Final = 500_000
_MOST_POINTS: Final = 2_000_000
"""Of files of single runs, which one step merges"""
_RATIO: Final = 3
"""A file is merged by whoever comes across it unless it is so many times larger than all smaller ones: each point is
written again O(log n) times"""
_AT_ONCE: Final = 16
_MOST_STEPS: Final = 10_000
_LONG: Final = 1_800_000
"""ms after which merged files are looked for again, and of which nothing comes any more; what `gc` deletes is older"""
_EVENTS_PER_FRAME: Final = 10_000
_DOCUMENTS_PER_TURN: Final = 100


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What merging has done.

    Attributes
    ----------
    sources, written
        How many files became how many.
    runs
        Runs whose points are in these.
    """

    sources: int = 0
    written: int = 0
    runs: int = 0


class _Source(msgspec.Struct, frozen=True):
    """A file that is ready to be merged."""

    key: str
    file: SourceFile
    moves: dict[str, tuple[RunDocument, SealedPart, int]]
    """Run -> its document, its part here, and where that begins"""
    dead: bool
    """Whether it has points of purged runs"""

    @property
    def experiments(self) -> set[str]:
        return {doc.experiment_id for doc, _, _ in self.moves.values()}


Notes = list[tuple[ObjectInfo, MergeNote]]


def trusted(catalog: Catalog) -> bool:
    """Whether the catalog is known whole, and all of it understood."""
    later = any(snapshot.summary.level > LEVEL for snapshot in catalog.runs.snapshots)
    return catalog.whole and not catalog.damage and not catalog.unknown and not later


async def read_notes(store: Store) -> Notes:
    """Return the notes on merged files."""
    notes: Notes = []
    infos = [info async for info in store.list(layout.MERGES)]
    for info in infos:
        try:
            notes.append((info, decode_merge_note(await store.get(info.key))))
        except (ObjectNotFoundError, CorruptError):
            continue  # its sources are gone, or stay
    return notes


def _reads(catalog: Catalog, run_id: str, key: str) -> bool:
    """Whether a run's points are read from a file."""
    doc = catalog.runs.get(run_id)
    return doc is None or (not doc.purged and any(part.key == key for part, _ in sealed_spans(doc)))


def _speaks(catalog: Catalog, run_id: str, key: str) -> bool:
    doc = catalog.runs.get(run_id)
    return doc is not None and any(part.key == key for part in doc.sealed)


async def sweep(catalog: Catalog, notes: Notes, before: int) -> int:
    """Delete the sources of merged files that were noted `before`, ms by the store's clock; return how many objects.

    The catalog has to be fresh: what is read by what it knows stays.
    """
    if not trusted(catalog):
        return 0
    gone: list[str] = []
    waiting = {key for info, note in notes if info.modified > before for key in note.sources}
    for info, note in notes:
        if info.modified > before:
            continue
        runs = sorted({run_id for found in note.sources.values() for run_id in found})
        there = [key for key in note.keys if await _exists(catalog.store, key)]
        told = [key for key in note.keys if any(_speaks(catalog, run_id, key) for run_id in runs)]
        if not told:
            if not there and info.modified <= before - _LONG:  # nothing came of it
                gone.append(info.key)
            continue
        needed = {key for key in note.keys if any(_reads(catalog, run_id, key) for run_id in runs)}
        if not needed <= set(there):
            continue
        free = [
            key
            for key, found in note.sources.items()
            if not any(_reads(catalog, run_id, key) for run_id in found)
        ]
        gone += free
        # Somebody else has merged the same.
        gone += [key for key in told if key not in needed and key not in waiting]
        if len(free) == len(note.sources):
            gone.append(info.key)
    if gone:
        await catalog.store.delete(gone)
    return len(gone)


async def _exists(store: Store, key: str) -> bool:
    try:
        await store.head(key)
    except ObjectNotFoundError:
        return False
    return True


async def merge_histories(
    catalog: Catalog, *, least: int = 2, steps: int = _MOST_STEPS, own: bool = False, grace: float = 0
) -> Merged:
    """Merge small sealed histories of ended runs, in as many steps as are given; see the module's text.

    Parameters
    ----------
    catalog
        The store's; it is refreshed first.
    least
        Files of many runs below which it is not worth it.
    steps
        Each reads, and writes, `TARGET` bytes at most, beside one request a file.
    own
        Also take histories that have a file of their own in their run's folder, and rewrite files with points of purged runs.
    grace
        Seconds after which sources are deleted that were merged earlier, by what listings say of the store's clock.

    Waits for the store. Cancelling leaves all that was read as it was, perhaps with files that `gc` removes.
    """
    total = Merged()
    looked_at: set[str] = set()
    for number in range(steps):
        await catalog.refresh()
        if not trusted(catalog):
            break
        infos = [info async for info in catalog.store.list(layout.SEALED)]
        notes = await read_notes(catalog.store)
        if not number:
            latest = [info.modified for info, _ in notes] + [info.modified for info in infos]
            await sweep(
                catalog, notes, max([*latest, *catalog.written.values()], default=0) - int(grace * 1000)
            )
        step = _Step(catalog, notes, looked_at, own=own)
        found = await step.choose(infos, least, gently=steps == 1)
        if not found:
            if step.taken:
                looked_at.update(step.taken)
                continue
            break
        done = await step.merge(found)
        total = Merged(
            sources=total.sources + done.sources,
            written=total.written + done.written,
            runs=total.runs + done.runs,
        )
    return total


class _Step:
    """One step of merging."""

    def __init__(self, catalog: Catalog, notes: Notes, looked_at: set[str], *, own: bool) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._own = own
        self._left = looked_at | {key for _, note in notes for key in note.sources}
        self.taken: list[str] = []
        """Files that were looked at"""

    async def choose(self, infos: Sequence[ObjectInfo], least: int, *, gently: bool) -> list[_Source]:
        """Return files to be merged, so that there are fewer afterwards or dead points go."""
        dead, own = await self._look() if self._own else (set[str](), list[tuple[str, int]]())
        # What is written from now on has a greater key than these, and is read instead.
        now = layout.bulk_metrics_key(new_id(), "0" * 32)
        small = sorted(
            (info.key not in dead, info.size, info.key)
            for info in infos
            if own_key(info.key) is not None and info.key not in self._left and info.key < now
            if info.size <= SMALL or info.key in dead
        )
        taken: list[str] = []
        total = 0
        for _, size, key in small:
            if taken and (len(taken) >= MOST_FILES or total + size > TARGET):
                break
            if gently and len(taken) > 1 and size > _RATIO * total:
                break
            taken.append(key)
            total += size
        if not own and not dead and len(taken) < least:
            return []
        points = 0
        for key, count in own[:MOST_FILES]:
            if points > _MOST_POINTS:
                break
            taken.append(key)
            points += count
        self.taken = taken
        return _worth_it([source for source in await self._open(taken) if source is not None])

    async def _look(self) -> tuple[set[str], list[tuple[str, int]]]:
        """Return the files with points of purged runs, and small files of single runs with their points, by experiment."""
        dead: set[str] = set()
        own: list[tuple[str, str, int]] = []
        for number, doc in enumerate(self._documents()):
            if number % _DOCUMENTS_PER_TURN == 0:
                await asyncio.sleep(0)
            for part, _ in sealed_spans(doc):
                if part.key.startswith(f"{layout.SEALED}/"):
                    if doc.purged:
                        dead.add(part.key)
                elif (
                    doc.known
                    and doc.end_time is not None
                    and part.points <= _SMALL_POINTS
                    and part.key not in self._left
                ):
                    own.append((doc.experiment_id, part.key, part.points))
        return dead, [(key, points) for _, key, points in sorted(own)]

    def _documents(self) -> Iterator[RunDocument]:
        yield from list(self._catalog.runs.documents.values())
        for snapshot, rows in self._catalog.runs.rows():
            yield from map(snapshot.document, rows.tolist())

    async def _open(self, keys: Iterable[str]) -> list[_Source | None]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(key: str) -> _Source | None:
            async with slots:
                try:
                    data = await self._store.get(key)
                    loop = asyncio.get_running_loop()
                    file = await loop.run_in_executor(None, open_source, data)
                    return self._judge(key, file, await loop.run_in_executor(None, file.counts))
                except (ObjectNotFoundError, CorruptError):
                    return None  # gone meanwhile, or for `verify` to tell of

        try:
            async with asyncio.TaskGroup() as tasks:
                made = [tasks.create_task(one(key)) for key in keys]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in made]

    def _judge(self, key: str, file: SourceFile, counts: dict[str, int]) -> _Source | None:
        """Return a file if all that it covers is accounted for, and there."""
        moves: dict[str, tuple[RunDocument, SealedPart, int]] = {}
        dead = False
        for run_id in file.through:
            doc = self._catalog.runs.get(run_id)
            if doc is not None and doc.purged:
                dead = True
                continue
            if doc is None or not doc.known or not any(part.key == key for part in doc.sealed):
                return None
            for part, after in sealed_spans(doc):
                if part.key == key:
                    if part.footer is not None:
                        file.check(part.footer)
                    if counts.get(run_id) != part.points:
                        return None
                    moves[run_id] = doc, part, after
        return _Source(key, file, moves, dead) if moves else None

    async def merge(self, sources: Sequence[_Source]) -> Merged:
        """Merge files, by experiment."""
        groups: dict[str, list[tuple[_Source, list[str]]]] = {}
        for source in sources:
            for experiment in source.experiments:
                runs = [
                    run_id for run_id, (doc, _, _) in source.moves.items() if doc.experiment_id == experiment
                ]
                groups.setdefault(experiment, []).append((source, runs))
        writer, begun = new_id(), now_ms()
        keys = {experiment: layout.bulk_metrics_key(new_id(), writer) for experiment in sorted(groups)}
        note = MergeNote(
            keys=sorted(keys.values()), sources={source.key: sorted(source.moves) for source in sources}
        )
        await self._store.put(layout.merge_note_key(new_id()), encode_merge_note(note))
        clock = HybridClock()
        clock.observe(self._catalog.observed)
        events: list[Event] = []
        for experiment, key in keys.items():
            events += await self._write(key, writer, groups[experiment], clock)
        await _put_events(self._store, writer, events)
        if now_ms() - begun > _LONG:  # it may have slept, and what it wrote been taken for litter
            for experiment, key in keys.items():
                if not await _exists(self._store, key):
                    await self._write(key, writer, groups[experiment], clock)
        await self._write_documents(sources)
        return Merged(
            sources=len(sources),
            written=len(keys),
            runs=len({event.run_id for event in events if isinstance(event, Sealed)}),
        )

    async def _write(
        self, key: str, writer: str, group: Sequence[tuple[_Source, list[str]]], clock: HybridClock
    ) -> list[Sealed]:
        parts = {run_id: source.moves[run_id] for source, runs in group for run_id in runs}
        metadata = {
            "format": FORMAT_VERSION,
            "writer": writer,
            "through": {run_id: part.through for run_id, (_, part, _) in sorted(parts.items())},
        }
        work = [(source.file, frozenset(runs)) for source, runs in group]
        counts, footer = await self._store.put_stream(key, partial(_write, sources=work, metadata=metadata))
        if counts != {run_id: part.points for run_id, (_, part, _) in parts.items()}:
            raise CorruptError(f"{key} got other points than its sources have; they stay as they are")
        return [
            Sealed(
                clock=clock.now(),
                run_id=run_id,
                writer=part.writer,
                key=key,
                through=part.through,
                points=part.points,
                footer=footer,
                after=after,
            )
            for run_id, (_, part, after) in parts.items()
        ]

    async def _write_documents(self, sources: Sequence[_Source]) -> None:
        """Write the documents anew of runs whose own files were merged."""
        runs = [next(iter(source.moves)) for source in sources if source.key.startswith(f"{layout.RUNS}/")]
        if not runs:
            return
        await self._catalog.refresh()
        for run_id in runs:
            doc = self._catalog.runs.get(run_id)
            if doc is not None and doc.end_time is not None and not doc.purged:
                await self._store.put(layout.run_document_key(run_id), document_to_json(doc))


def _write(
    file: BinaryIO, sources: Sequence[tuple[SourceFile, frozenset[str]]], metadata: dict[str, Any]
) -> tuple[dict[str, int], Footer]:
    return write_merged(file, sources, metadata)


def _worth_it(sources: list[_Source]) -> list[_Source]:
    """Return the files that it makes sense to merge: each run once, and fewer files afterwards unless dead points go."""
    seen: set[str] = set()
    chosen: list[_Source] = []
    for source in sorted(sources, key=lambda source: source.key):
        if not seen & source.moves.keys():
            seen |= source.moves.keys()
            chosen.append(source)
    while True:
        files = Counter(experiment for source in chosen for experiment in source.experiments)
        kept = [
            source for source in chosen if source.dead or any(files[name] > 1 for name in source.experiments)
        ]
        if len(kept) == len(chosen):
            break
        chosen = kept
    if any(source.dead for source in chosen) or len(chosen) > len(files):
        return chosen
    return []


async def _put_events(store: Store, writer: str, events: Sequence[Event]) -> None:
    """Put a finished event log."""
    header = LogHeader(writer=writer, created=now_ms(), host=platform.node(), pid=os.getpid())
    data = encode_frame(HEADER, msgspec.msgpack.encode(header))
    for at in range(0, len(events), _EVENTS_PER_FRAME):
        data += encode_frame(EVENTS, encode_events(list(events[at : at + _EVENTS_PER_FRAME])))
    offset = struct.pack("<Q", len(data))
    index = encode_frame(FOOTER, msgspec.msgpack.encode({"runs": {}}))
    trailer = struct.pack("<4sQI", b"AQe1", len(data), zlib.crc32(offset))
    await store.put(layout.event_log_key(new_id(), writer), data + index + trailer)
