"""Orphans: objects of aqrec's own that no document refers to, left by writers that died in the middle of something.

What is deleted is *certain*: it has a key that only aqrec makes, nothing in the catalog speaks of it, it is older than a grace
period by the store's own clock, and nobody is heard of who may still want it. Several may collect at once, and beside writers:

1. A run that is RUNNING, or of which a heartbeat was heard lately, keeps everything. Whoever saves a large artifact beats, too.
2. What was put is referred to within the grace period. The catalog is read again when all objects are listed, right before
   anything is deleted, so that a reference which was written meanwhile is seen.
3. Growing files are never written again after a rest that is much shorter than the least grace (`engine._log`).
4. A journal goes only if every point in it is known to be sealed, or of a run that was purged.
5. A text that runs share goes when no run is going on, nor one there that the catalog does not know. Who refers to it anew has put it within
   half of the least grace.

What may be somebody else's, or may yet be referred to by records that wait in the spool of a machine, is only reported.
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from typing import BinaryIO, Final

import msgspec

from aqrec.errors import CorruptError, InvalidInputError, ObjectNotFoundError, StorageError
from aqrec.format import _layout as layout
from aqrec.format._archive import decode_note
from aqrec.format._document import RunDocument, archived_rivals, sealed_parts
from aqrec.format._frames import POINTS, Damage, scan
from aqrec.format._keys import Kind, OwnKey, own_key
from aqrec.format._points import decode_points
from aqrec.format._records import STATUS_R, ArtifactRef
from aqrec.stores import ObjectInfo, Store
from aqrec.stores._wrapper import closing
from aqrec.upkeep._merging import read_notes, sweep
from aqrec.upkeep._work import ALIVE, Cost, Work, check_seconds

__all__ = ["GRACE", "LEAST_GRACE", "Garbage", "Orphan", "collect"]

GRACE: Final = 7 * 86_400.0
LEAST_GRACE: Final = 3_600.0
_DOCUMENTS_PER_TURN: Final = 100
_WHOLE: Final = 1 << 20
"""Bytes of a journal segment that is read at once"""


class Orphan(msgspec.Struct, frozen=True):
    """An object that nobody needs.

    Attributes
    ----------
    key, size
        Which object, and its bytes.
    kind
        What it is: ``part``, ``sealed history``, ``journal``, ``event log``, ``run document``, ``artifact``, ``clock``,
        ``shared text``, ``archived copy`` or ``archive note``.
    store
        URL of the archive it lies in, "" if it lies in this store.
    """

    key: str
    size: int
    kind: Kind
    store: str = ""


class Garbage(msgspec.Struct, frozen=True, kw_only=True):
    """What `gc` has found.

    Attributes
    ----------
    orphans
        Objects that were deleted, or would be with ``dry_run=False``.
    kept
        How many objects that no document refers to were kept, by reason.
    dry_run
        Whether nothing was deleted.
    cost
        Requests and bytes it took.
    """

    orphans: list[Orphan] = []
    kept: dict[str, int] = {}
    dry_run: bool = True
    cost: Cost = Cost()

    @property
    def bytes(self) -> int:
        """Size of all orphans."""
        return sum(orphan.size for orphan in self.orphans)

    @property
    def kinds(self) -> dict[str, tuple[int, int]]:
        """Number and bytes of the orphans, by kind."""
        found: dict[str, tuple[int, int]] = {}
        for orphan in self.orphans:
            count, size = found.get(orphan.kind, (0, 0))
            found[orphan.kind] = (count + 1, size + orphan.size)
        return dict(sorted(found.items()))


class _References:
    """What the catalog's documents refer to, as far as one must know it of all runs at once."""

    def __init__(self) -> None:
        self.bulk: set[str] = set()
        """Sealed histories of several runs"""
        self.shared: set[str] = set()
        """Texts that runs share"""
        self.unsealed: set[str] = set()
        """Writers with points that are nowhere but in their journal"""
        self.folders: dict[str, str] = {}
        """Folder -> run, of runs whose folder is not called by their id"""
        self.living: set[str] = set()
        """Writers of runs that are going on"""

    def add(self, doc: RunDocument, *, alive: bool) -> None:
        """Take note of a document."""
        folder = layout.run_folder(doc.run_id)
        if folder != doc.run_id:
            self.folders[folder] = doc.run_id
        if doc.purged:
            return
        self.bulk.update(part.key for part in sealed_parts(doc) if part.key.startswith("sealed/"))
        self.shared.update(ref.key for ref in refs_of(doc) if ref.key.startswith(f"{layout.SHARED}/"))
        for writer, through in doc.through.items():
            if through > _sealed_through(doc, writer):
                self.unsealed.add(writer)
        if alive:
            self.living.update(doc.through, [doc.creator])


def _sealed_through(doc: RunDocument, writer: str) -> int:
    return max((part.through for part in doc.sealed if part.writer == writer), default=-1)


def keys_of(doc: RunDocument) -> set[str]:
    """Return the keys of all objects of this store that a document refers to."""
    keys = {part.key for ref in refs_of(doc) if not ref.store for part in ref.objects}
    keys.update(part.key for part in sealed_parts(doc))
    return keys


def refs_of(doc: RunDocument) -> list[ArtifactRef]:
    """Return all references to artifacts that a document has, those of rivals too."""
    return [*doc.artifacts.values(), *(rival.ref for rivals in doc.rivals.values() for rival in rivals)]


def _needed_keys(doc: RunDocument) -> set[str]:
    """Return the keys of all objects that readers of a document may want; what was archived is not wanted here."""
    away = {path for path, ref in doc.artifacts.items() if ref.store}
    gone = {
        part.key
        for path in away
        for rival in doc.rivals.get(path, ())
        if not rival.ref.store
        for part in rival.ref.objects
    }
    return keys_of(doc) - gone


class _Judge:
    """Says why an object has to stay, or that it has not to."""

    def __init__(self, work: Work, now: int, grace: float, *, unreferenced: bool) -> None:
        self._work = work
        self._before = now - int(grace * 1000)
        self._silent = now - int(max(grace, ALIVE) * 1000)
        self._unreferenced = unreferenced
        self._references = _References()
        self._heard: dict[str, int] = {}
        self._keys: tuple[str, set[str]] = "", set()
        self._merged: set[str] = set()
        self._strangers = False
        """Whether there are folders of runs that the catalog does not know"""

    async def look(self) -> None:
        """Take the catalog as it is now."""
        catalog = self._work.catalog
        self._work.check_whole()
        self._heard = catalog.heard()
        notes = await read_notes(self._work.store)
        self._merged = {key for _, note in notes for key in note.sources}
        self._references = _References()
        self._keys = "", set()
        for number, doc in enumerate(self._work.documents()):
            self._references.add(doc, alive=self._alive(doc))
            if number % _DOCUMENTS_PER_TURN == 0:
                self._work.tell("looking at runs", number)
                await asyncio.sleep(0)

    async def again(self) -> None:
        """Take the catalog as it is after some time has passed."""
        await self._work.catalog.refresh()
        await self.look()

    def _alive(self, doc: RunDocument) -> bool:
        return doc.status == STATUS_R or self._heard.get(doc.run_id, 0) >= self._silent

    def young(self, info: ObjectInfo) -> bool:
        """Whether the grace period protects an object."""
        return info.modified >= self._before

    def why_kept(self, key: str, own: OwnKey) -> str | None:
        """Return why an old object stays: "" if it is needed, else a reason to report; None if it may go.

        Of journals and event logs this is only what can be said without reading them.
        """
        if own.kind == "clock":
            return None
        if own.kind == "shared text":
            return self._why_shared_kept(key)
        if key in self._merged:
            return "whose points are in merged files, or will be; aqrec compact deletes them"
        if own.kind == "event log":
            return self._why_log_kept(key)
        if own.kind == "journal":
            needed = own.writer in self._references.unsealed or own.writer in self._references.living
            return "" if needed else None
        if not own.folder:
            return "" if key in self._references.bulk else None
        return self._why_run_kept(key, own)

    def _why_shared_kept(self, key: str) -> str | None:
        if key in self._references.shared:
            return ""
        if self._references.living:
            return "shared by runs, of which some are going on, or were heard of lately"
        return "shared by runs, of which the catalog does not know some" if self._strangers else None

    def _why_run_kept(self, key: str, own: OwnKey) -> str | None:
        doc = self.document(own.folder)
        if doc is None or not (doc.known or doc.purged):
            self._strangers = True
            return "of runs that the catalog does not know"
        if doc.purged:
            return None
        if own.kind == "run document":
            return ""
        if self._keys[0] != doc.run_id:
            self._keys = doc.run_id, _needed_keys(doc)
        if key in self._keys[1]:
            return ""
        if self._alive(doc):
            return "of runs that are going on, or were heard of lately"
        if own.kind == "artifact" and not self._unreferenced and not self._superseded(doc, key):
            return "in folders of artifacts, perhaps put there by somebody else"
        return None

    def _superseded(self, doc: RunDocument, key: str) -> bool:
        """Whether a plain object is what an artifact was before it was saved in parts or archived."""
        path = key.removeprefix(layout.artifacts_folder(doc.run_id) + "/")
        ref = doc.artifacts.get(path)
        return ref is not None and bool(ref.parts or ref.store)

    def _why_log_kept(self, key: str) -> str | None:
        catalog = self._work.catalog
        log = catalog.logs.get(key)
        folded = catalog.head.logs.get(key)
        if folded is None or (log is not None and (log.damaged or log.offset > folded)):
            return ""
        return None

    def document(self, folder: str) -> RunDocument | None:
        """Return the document of the run whose folder is called so."""
        return self._work.catalog.runs.get(self._references.folders.get(folder, folder))

    def sealed(self, run_id: str, writer: str, seq: int) -> bool | None:
        """Whether a frame of points is sealed, or its run purged; None if the catalog does not know the run."""
        doc = self._work.catalog.runs.get(run_id)
        if doc is not None and doc.purged:
            return True
        if doc is None or not doc.known:
            return None
        return seq <= _sealed_through(doc, writer)


async def collect(
    work: Work, *, grace: float = GRACE, dry_run: bool = True, unreferenced: bool = False
) -> Garbage:
    """Find orphans, and delete them; see `ExperimentManager.gc`."""
    check_seconds("grace", grace, LEAST_GRACE, "younger objects may be those of a save that is under way")
    await work.begin()
    now = await work.time(dry_run=dry_run)
    if not dry_run:
        await sweep(work.catalog, await read_notes(work.store), now - int(grace * 1000))
    judge = _Judge(work, now, grace, unreferenced=unreferenced)
    await judge.look()
    logs = [info for folder in (layout.JOURNAL, layout.EVENTS) async for info in work.store.list(folder)]
    restless = _restless(logs, judge)
    kept: Counter[str] = Counter()
    found: dict[str, tuple[ObjectInfo, OwnKey]] = {}
    number = 0
    async for info in _each(work.store, logs):
        number += 1
        work.tell("looking at objects", number)
        own = own_key(info.key)
        if own is None or (why := judge.why_kept(info.key, own)) == "":
            continue
        if why is None and (judge.young(info) or (own.kind in _LOGS and own.writer in restless)):
            why = "younger than the grace period"
        if why is None and own.kind == "journal":
            why = await _why_journal_kept(work, judge, info, own)
        if why is None:
            found[info.key] = info, own
        elif why:
            kept[why] += 1
    if not dry_run and found:
        found = await _still(judge, found)
        await work.delete(list(found))
    orphans = [Orphan(key, info.size, own.kind) for key, (info, own) in sorted(found.items())]
    orphans += await _in_archives(work, judge, kept, dry_run=dry_run)
    return Garbage(
        orphans=orphans,
        kept=dict(sorted(kept.items())),
        dry_run=dry_run,
        cost=work.cost,
    )


_LOGS: Final = ("journal", "event log")


async def _each(store: Store, logs: list[ObjectInfo]) -> AsyncIterator[ObjectInfo]:
    for info in logs:
        yield info
    # Texts that runs share after the runs: some of these may be unknown.
    for folder in (layout.RUNS, layout.SEALED, layout.CLOCK, layout.SHARED):
        async with closing(store.list(folder)) as infos:
            async for info in infos:
                yield info


def _restless(logs: list[ObjectInfo], judge: _Judge) -> set[str]:
    """Return the writers that have written a journal or event log within the grace period."""
    return {own.writer for info in logs if judge.young(info) and (own := own_key(info.key)) is not None}


async def _why_journal_kept(work: Work, judge: _Judge, info: ObjectInfo, own: OwnKey) -> str | None:
    """Return why a segment stays, or None if all its points are elsewhere."""

    def read(file: BinaryIO) -> str | None:
        for frame in scan(file, info.size):
            if isinstance(frame, Damage):
                if frame.tail:
                    break
                return "damaged"
            if frame.kind != POINTS:
                continue
            try:
                points = decode_points(frame.payload)
            except CorruptError:
                return "damaged"
            sealed = judge.sealed(points.run_id, own.writer, points.seq)
            if sealed is None:
                return "with points of runs that the catalog does not know"
            if not sealed:
                return "with points that are not sealed; see aqrec reap"
        return None

    try:
        if info.size <= _WHOLE:
            return read(io.BytesIO(await work.store.get(info.key)))
        return await work.store.get_stream(info.key, read)
    except ObjectNotFoundError:
        return ""


async def _in_archives(work: Work, judge: _Judge, kept: Counter[str], *, dry_run: bool) -> list[Orphan]:
    """Find, and delete, what interrupted moves have left in other stores; old notes say where."""
    orphans: list[Orphan] = []
    async for info in work.store.list(layout.ARCHIVES):
        if own_key(info.key) is None or judge.young(info):
            continue
        try:
            note = decode_note(await work.store.get(info.key))
        except ObjectNotFoundError:
            continue  # its move has ended meanwhile
        except CorruptError:
            kept["notes on archives that cannot be read"] += 1
            continue
        try:
            store = work.store_of(note.url)
            found = [item for folder in note.folders async for item in store.list(folder)]
            if not dry_run:
                await judge.again()
            needed = {
                part.key
                for doc in work.documents()
                if not doc.purged
                for ref in _needed_elsewhere(doc)
                if ref.store == note.url
                for part in ref.objects
            }
            gone = [item for item in found if layout.is_archived(item.key) and item.key not in needed]
            if not dry_run:
                await store.delete([item.key for item in gone])
                await work.store.delete([info.key])
        except (InvalidInputError, StorageError) as error:
            kept[f"of interrupted moves, in an archive that cannot be reached: {error}"] += 1
            continue
        orphans += [Orphan(item.key, item.size, "archived copy", note.url) for item in gone]
        orphans.append(Orphan(info.key, info.size, "archive note"))
    return orphans


def _needed_elsewhere(doc: RunDocument) -> list[ArtifactRef]:
    """Return the references to objects of other stores that readers may want."""
    return [
        found
        for ref in doc.artifacts.values()
        for found in ([ref] if ref.store else archived_rivals(doc, ref))
    ]


async def _still(
    judge: _Judge, found: dict[str, tuple[ObjectInfo, OwnKey]]
) -> dict[str, tuple[ObjectInfo, OwnKey]]:
    """Return which orphans are so still, now that some time has passed."""
    await judge.again()
    return {key: (info, own) for key, (info, own) in found.items() if judge.why_kept(key, own) is None}
