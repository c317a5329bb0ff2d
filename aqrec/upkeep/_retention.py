"""Which runs are kept: policies hide runs, and what was hidden for long is purged.

Hiding (deleting) is an event and can be taken back. Purging cannot: its event comes first, so that nobody finds the run any more, and
whatever is told of it later is ignored; then its objects go. What a purge that was interrupted leaves is an orphan for `gc`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from aqrec._checks import check_texts
from aqrec.errors import InvalidInputError
from aqrec.format import _layout as layout
from aqrec.format._keys import own_key
from aqrec.format._records import STATUS_FA, STATUS_FI, STATUS_R, RunDeleted, RunPurged
from aqrec.reading import Selection
from aqrec.upkeep._gc import keys_of, refs_of
from aqrec.upkeep._work import ALIVE, Cost, Work

if TYPE_CHECKING:
    from aqrec.engine import Engine
    from aqrec.format._document import RunDocument
    from aqrec.reading import Catalog
    from aqrec.stores import Store

__all__ = ["RETENTION", "Policy", "Removed", "RemovedRun", "purge", "retain"]

RETENTION: Final = 30 * 86_400.0
_ENDED: Final = (STATUS_FI, STATUS_FA)


class RemovedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was hidden or purged, or would be.

    Attributes
    ----------
    run_id, name, experiment_name, status
        Which run.
    time
        When it ended, or of a purge when it was deleted, ms since epoch.
    bytes
        Size of its artifacts.
    """

    run_id: str
    name: str
    experiment_name: str
    status: str
    time: int
    bytes: int


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What `retain` or `purge` has done.

    Attributes
    ----------
    runs
        Runs that were hidden or purged, or would be with ``dry_run=False``.
    objects
        Objects that a purge has deleted.
    kept
        Deleted runs that are not purged because they are going on.
    dry_run
        Whether nothing was changed.
    cost
        Requests and bytes it took.
    """

    runs: list[RemovedRun] = []
    objects: int = 0
    kept: list[str] = []
    dry_run: bool = True
    cost: Cost = Cost()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Which ended runs expire: those to which everything that is given applies.

    Attributes
    ----------
    older_than
        Seconds since their end.
    keep_last
        So many of each experiment stay, the latest of those to which the rest applies.
    status
        Only ``FINISHED`` or ``FAILED`` ones.
    filter_string
        As in `ExperimentManager.search_records`.
    experiment_names
        Only runs of these experiments.
    """

    older_than: float | None = None
    keep_last: int | None = None
    status: str | None = None
    filter_string: str = ""
    experiment_names: Collection[str] | None = None

    def check(self) -> None:
        """Refuse what cannot be meant."""
        if self.older_than is None and self.keep_last is None and not self.status and not self.filter_string:
            raise InvalidInputError(
                "every ended run would go: give older_than, keep_last, status or filter_string"
            )
        self.check_values()

    def check_values(self) -> Selection:
        """Refuse what cannot be meant, though not that every ended run is; return the parsed filter."""
        check_texts("experiment_names", self.experiment_names)
        if self.older_than is not None and not self.older_than >= 0:
            raise InvalidInputError(f"older_than={self.older_than!r}: give seconds from 0 on")
        if self.keep_last is not None and (type(self.keep_last) is not int or self.keep_last < 0):
            raise InvalidInputError(f"keep_last={self.keep_last!r}: give a whole number from 0 on")
        if self.status is not None and self.status not in _ENDED:
            raise InvalidInputError(
                f"status {self.status!r}: only ended runs are meant, {' or '.join(_ENDED)}"
            )
        return Selection(self.filter_string)

    def choose(self, catalog: Catalog, now: int) -> list[RunDocument]:
        """Return the ended runs to which all applies, the latest of each experiment first; `now` is in ms since epoch."""
        ids: list[str] | None = None
        if self.experiment_names is not None:
            ids = [catalog.find_experiment(name=name).experiment_id for name in self.experiment_names]
        docs = [doc for doc in catalog.runs_of(ids, status=self.status) if doc.status in _ENDED]
        seen: dict[str, int] = {}
        chosen: list[RunDocument] = []
        for doc in self.check_values().apply(docs):
            seen[doc.experiment_id] = seen.get(doc.experiment_id, 0) + 1
            if self.keep_last is not None and seen[doc.experiment_id] <= self.keep_last:
                continue
            if self.older_than is not None and (doc.end_time or now) > now - self.older_than * 1000:
                continue
            chosen.append(doc)
        return chosen


async def retain(work: Work, engine: Engine, policy: Policy, *, dry_run: bool = True) -> Removed:
    """Hide the runs that expire; see `ExperimentManager.retain`."""
    policy.check()
    await work.begin()
    catalog = work.catalog
    expired = policy.choose(catalog, await work.time(dry_run=dry_run))
    if not dry_run and expired:
        engine.clock.observe(catalog.observed)
        for doc in expired:
            engine.post(RunDeleted(clock=engine.clock.now(), run_id=doc.run_id))
        await engine.flush()
    return Removed(
        runs=[_removed(doc, doc.end_time or 0) for doc in expired], dry_run=dry_run, cost=work.cost
    )


async def purge(
    work: Work, engine: Engine, *, older_than: float = RETENTION, dry_run: bool = True
) -> Removed:
    """Delete for good what was hidden for long; see `ExperimentManager.purge`."""
    if not older_than >= 0:
        raise InvalidInputError(f"older_than={older_than!r}: give seconds from 0 on")
    await work.begin()
    work.check_whole()
    catalog = work.catalog
    now = await work.time(dry_run=dry_run)
    heard = catalog.heard()
    gone: list[tuple[RunDocument, int]] = []
    kept: list[str] = []
    for doc in catalog.runs_of(view="deleted"):
        experiment = catalog.experiments.get(doc.experiment_id)
        clock = doc.clocks["deleted"] if doc.deleted else experiment.deleted if experiment is not None else 0
        if clock >> 16 > now - older_than * 1000:
            continue
        silent = heard.get(doc.run_id, 0) < now - ALIVE * 1000 and doc.run_id not in engine.alive
        if doc.status == STATUS_R and not silent:
            kept.append(doc.run_id)
        else:
            gone.append((doc, clock >> 16))
    objects = 0
    if not dry_run and gone:
        archived = _archived([doc for doc, _ in gone])
        notes = {url: await work.note(url, sorted(folders)) for url, folders in archived.items()}
        engine.clock.observe(catalog.observed)
        for doc, _ in gone:
            engine.post(RunPurged(clock=engine.clock.now(), run_id=doc.run_id))
        await engine.flush()
        for number, (doc, _) in enumerate(gone):
            work.tell("purging", number, len(gone))
            objects += await _delete_objects(work, doc)
        for url, folders in archived.items():
            objects += await _delete_folders(work.store_of(url), folders)
            await work.store.delete([notes[url]])
    return Removed(
        runs=[_removed(doc, time) for doc, time in gone],
        objects=objects,
        kept=kept,
        dry_run=dry_run,
        cost=work.cost,
    )


async def _delete_objects(work: Work, doc: RunDocument) -> int:
    """Delete what belongs to a run alone; return how many objects."""
    known = keys_of(doc)
    gone: list[str] = []
    async for info in work.store.list(f"{layout.RUNS}/{layout.run_folder(doc.run_id)}"):
        own = own_key(info.key)
        if own is not None and (own.kind != "artifact" or info.key in known):
            gone.append(info.key)
    if gone:
        await work.store.delete(gone)
    return len(gone)


def _archived(docs: Iterable[RunDocument]) -> dict[str, set[str]]:
    """Return which folders of other stores hold nothing but objects of these runs, by URL."""
    found: dict[str, set[str]] = {}
    for doc in docs:
        for ref in refs_of(doc):
            if ref.store and layout.is_archived(ref.key):
                found.setdefault(ref.store, set()).add(layout.folder_of_archived(ref.key))
    return found


async def _delete_folders(store: Store, folders: Iterable[str]) -> int:
    gone = [
        info.key for folder in folders async for info in store.list(folder) if layout.is_archived(info.key)
    ]
    if gone:
        await store.delete(gone)
    return len(gone)


def _removed(doc: RunDocument, time: int) -> RemovedRun:
    return RemovedRun(
        run_id=doc.run_id,
        name=doc.name,
        experiment_name=doc.experiment_name,
        status=doc.status,
        time=time,
        bytes=sum(ref.size for ref in doc.artifacts.values()),
    )
