"""What a store holds: experiments and run documents, folded from the catalog's events.

A `Catalog` remembers how far it has read each event log, so a refresh costs one listing and the new bytes. All coroutines run on the
engine thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from aqrec.engine import engines_of
from aqrec.errors import (
    AqrecError,
    CorruptError,
    ExperimentNotFoundError,
    ObjectNotFoundError,
    RecorderNotFoundError,
    StorageError,
)
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, apply, document_from_json
from aqrec.format._frames import EVENTS, Damage, decode_frames
from aqrec.format._records import (
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    RunCreated,
    RunEvent,
    UnknownEvent,
    decode_events,
)
from aqrec.reading._damage import report_damage
from aqrec.stores import Store

__all__ = ["Catalog", "ExperimentDocument"]

logger = logging.getLogger("aqrec")

_READ_OWN_TIMEOUT = 5.0


class ExperimentDocument(msgspec.Struct, kw_only=True):
    """An experiment, by the latest clocks of its use (creation or a new run), deletion and restoration."""

    experiment_id: str
    name: str = ""
    created: int = 0
    used: int = 0
    deleted: int = 0
    restored: int = 0

    @property
    def hidden_until(self) -> int:
        """Runs created up to this clock are deleted with the experiment; 0 if none are."""
        return self.deleted if self.deleted > self.restored else 0

    @property
    def alive(self) -> bool:
        """Whether it was never deleted, or was restored, or its name has been used again since."""
        return self.used > self.hidden_until or not self.hidden_until


class _Progress(msgspec.Struct):
    offset: int = 0
    size: int = 0


class Catalog:
    """State of one store, kept up to date by `refresh`.

    `url` is what the store was opened by, where a wrapper's own URL is another one.
    """

    def __init__(self, store: Store, url: str | None = None) -> None:
        self.store = store
        self._url = url if url is not None else store.url
        self.runs: dict[str, RunDocument] = {}
        self.experiments: dict[str, ExperimentDocument] = {}
        self.by_experiment: dict[str, set[str]] = {}
        self.unknown: list[UnknownEvent] = []
        self.damage: dict[str, list[Damage]] = {}
        self.observed = 0
        self.checked = False
        self._progress: dict[str, _Progress] = {}
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Read what was written since the last refresh; this process's own records first leave their buffer."""
        for engine in engines_of(self._url):
            try:
                await engine.flush(_READ_OWN_TIMEOUT, durable=False)
            except StorageError as error:
                logger.warning("aqrec: reading without the latest own records: %s", error)
        async with self._lock:
            await self._refresh()

    async def _refresh(self) -> None:
        for attempt in range(3):
            fresh = [
                (info.key, info.size)
                async for info in self.store.list(layout.EVENTS)
                if layout.writer_of_event_log(info.key) and info.size != self._seen(info.key)
            ]
            try:
                await asyncio.gather(*(self._read(key, size) for key, size in sorted(fresh)))
            except ObjectNotFoundError:
                if attempt == 2:
                    raise
                continue  # folded meanwhile: list again
            return

    def _seen(self, key: str) -> int:
        progress = self._progress.get(key)
        return progress.size if progress else -1

    async def _read(self, key: str, size: int) -> None:
        progress = self._progress.setdefault(key, _Progress())
        data = await self.store.get(key, start=progress.offset)
        base, progress.size = progress.offset, max(size, progress.offset + len(data))
        damages: list[Damage] = []
        for frame in decode_frames(data):
            if isinstance(frame, Damage):
                if frame.tail:
                    break  # being written, or torn by a crash: read again when the file has grown
                damages.append(Damage(base + frame.offset, base + frame.end, tail=False))
                progress.offset = base + frame.end
                continue
            progress.offset = base + frame.end
            if frame.kind == EVENTS:
                try:
                    self._apply_all(decode_events(frame.payload))
                except (CorruptError, msgspec.DecodeError):
                    damages.append(Damage(base + frame.offset, base + frame.end, tail=False))
        if damages:
            self.damage.setdefault(key, []).extend(damages)
            report_damage(key, self.store.url, damages)

    def _apply_all(self, events: Iterable[Event | UnknownEvent]) -> None:
        for event in events:
            if isinstance(event, UnknownEvent):
                self.unknown.append(event)
                continue
            self.observed = max(self.observed, event.clock)
            if isinstance(event, RunEvent):
                self._apply_run(event)
            elif isinstance(event, ExperimentCreated):
                self._experiment(event.experiment_id, event.name, event.clock)
            elif isinstance(event, ExperimentDeleted):
                experiment = self._known(event.experiment_id)
                experiment.deleted = max(experiment.deleted, event.clock)
            elif isinstance(event, ExperimentRestored):
                experiment = self._known(event.experiment_id)
                experiment.restored = max(experiment.restored, event.clock)

    def _apply_run(self, event: RunEvent) -> None:
        doc = self.runs.get(event.run_id)
        if doc is None:
            doc = self.runs[event.run_id] = RunDocument(run_id=event.run_id)
        before = doc.experiment_id
        apply(doc, event)
        if isinstance(event, RunCreated):
            if before and before != doc.experiment_id:
                self.by_experiment[before].discard(event.run_id)
            self.by_experiment.setdefault(doc.experiment_id, set()).add(event.run_id)
            self._experiment(event.experiment_id, event.experiment_name, event.clock)

    def _known(self, experiment_id: str) -> ExperimentDocument:
        experiment = self.experiments.get(experiment_id)
        if experiment is None:
            experiment = self.experiments[experiment_id] = ExperimentDocument(experiment_id=experiment_id)
        return experiment

    def _experiment(self, experiment_id: str, name: str, clock: int) -> None:
        experiment = self._known(experiment_id)
        experiment.name = experiment.name or name
        experiment.created = min(experiment.created or clock, clock)
        experiment.used = max(experiment.used, clock)

    # -- questions ---------------------------------------------------------------------------------------------------

    def hidden(self, doc: RunDocument) -> bool:
        """Whether the run was deleted, itself or with its experiment."""
        experiment = self.experiments.get(doc.experiment_id)
        return doc.deleted or (experiment is not None and doc.clocks.get("run", 0) <= experiment.hidden_until)

    def find_experiment(
        self, experiment_id: str | None = None, name: str | None = None
    ) -> ExperimentDocument:
        """Return a living experiment by id or name."""
        for experiment in self.experiments.values():
            if experiment.alive and (
                experiment.experiment_id == experiment_id
                if experiment_id is not None
                else experiment.name == name
            ):
                return experiment
        raise ExperimentNotFoundError(
            f"no experiment has the {'name' if name is not None else 'id'} "
            f"{name if name is not None else experiment_id!r} in {self.store.url}"
            + _there_are([e.name for e in self.experiments.values() if e.alive])
        )

    def runs_of(
        self, experiment_ids: Iterable[str] | None = None, view: str = "active", status: str | None = None
    ) -> list[RunDocument]:
        """Return run documents, the latest start first."""
        if experiment_ids is None:
            ids: Iterable[str] = list(self.runs)
        else:
            ids = [run for experiment in experiment_ids for run in self.by_experiment.get(experiment, ())]
        found = [
            doc
            for doc in (self.runs[run_id] for run_id in ids)
            if doc.known
            and (view == "all" or self.hidden(doc) == (view == "deleted"))
            and (status is None or doc.status == status)
        ]
        found.sort(key=lambda doc: (-(doc.start_time or doc.created), doc.run_id))
        return found

    async def find_run(
        self, run_id: str | None = None, name: str | None = None, experiment_id: str | None = None
    ) -> RunDocument:
        """Return a run by id (deleted ones too), or the latest living one of a name in an experiment."""
        if run_id is not None:
            doc = self.runs.get(run_id)
            if doc is not None and doc.known:
                return doc
            return await self._from_folder(run_id)
        scope = None if experiment_id is None else [experiment_id]
        living = self.runs_of(scope)
        for doc in living:
            if doc.name == name:
                return doc
        raise RecorderNotFoundError(
            f"no recorder is named {name!r} in {self.store.url}" + _there_are([doc.name for doc in living])
        )

    async def _from_folder(self, run_id: str) -> RunDocument:
        """Read a run whose folder was copied here without its catalog."""
        try:
            data = await self.store.get(layout.run_document_key(run_id))
        except AqrecError as error:
            if isinstance(error, ObjectNotFoundError):
                raise RecorderNotFoundError(
                    f"no recorder has the id {run_id!r} in {self.store.url}"
                ) from None
            raise
        return document_from_json(data)


def _there_are(names: list[str]) -> str:
    known = sorted(set(names))[:5]
    return f"; there are {', '.join(map(repr, known))}{' …' if len(set(names)) > 5 else ''}" if known else ""
