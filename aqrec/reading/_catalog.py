"""What a store holds: experiments and run documents, folded from the catalog's snapshots and events.

A `Catalog` remembers what it has read, so a refresh costs two listings and the new bytes. All coroutines run on the engine thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from time import monotonic
from typing import Any, TypeVar, cast

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
from aqrec.format._document import RunDocument, apply, copy_document, document_from_json
from aqrec.format._experiment import ExperimentDocument
from aqrec.format._frames import EVENTS, FOOTER, Damage, decode_frames
from aqrec.format._head import Head, SnapshotRef, decode_head
from aqrec.format._records import (
    STATUS_R,
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    Heartbeat,
    MetricsSummarised,
    RunCreated,
    RunEvent,
    StatusSet,
    UnknownEvent,
    decode_events,
    join_events,
    unfamiliar,
)
from aqrec.format._snapshot import Snapshot
from aqrec.reading._answer import Answer, answer
from aqrec.reading._columns import choose
from aqrec.reading._damage import report_damage
from aqrec.reading._pages import Pins
from aqrec.reading._parts import ColumnMemory
from aqrec.reading._runs import Runs, standing
from aqrec.reading._selection import Selection
from aqrec.reading._tails import Tails
from aqrec.stores import ObjectInfo, Store
from aqrec.stores._wrapper import closing

__all__ = ["Catalog", "EventLog"]

logger = logging.getLogger("aqrec")
T = TypeVar("T")

_READ_OWN_TIMEOUT = 5.0
_ATTEMPTS = 50
_NO_HEAD = Head(number=0, nonce="")


class EventLog(msgspec.Struct):
    """What was read of one event log.

    Attributes
    ----------
    offset, size
        Bytes that were read, and that there were.
    complete
        It has its footer: nothing is ever added to it.
    damaged
        It must stay: bytes in its middle could not be read.
    news
        It has events that are not in the snapshots.
    runs, experiments
        Which runs and experiments its events are of.
    writer
        Who writes it.
    told
        Clock of the latest event by which its writer shows that it records a run: run id -> clock.
    beats
        The same of heartbeats.
    clock
        Clock of its latest event.
    unfamiliar
        Events that this version does not know whole, as stored.
    """

    offset: int = 0
    size: int = 0
    complete: bool = False
    damaged: bool = False
    news: bool = False
    runs: set[str] = msgspec.field(default_factory=set)
    experiments: set[str] = msgspec.field(default_factory=set)
    writer: str = ""
    told: dict[str, int] = msgspec.field(default_factory=dict)
    beats: dict[str, int] = msgspec.field(default_factory=dict)
    clock: int = 0
    unfamiliar: list[bytes] = msgspec.field(default_factory=list)

    @property
    def pending(self) -> bool:
        """Whether folding it would make the catalog smaller."""
        return self.news or (self.complete and not self.damaged)

    def heard(self, written: int) -> Iterator[tuple[str, int]]:
        """Yield runs, and when they were last heard of here, in ms of the clock by which the log was last `written`.

        What lies between two events is measured by their writer's clock, which may be wrong but does not matter then.
        """
        for known in (self.told, self.beats):
            for run_id, clock in known.items():
                yield run_id, written - max((self.clock - clock) >> 16, 0)


class Catalog:
    """State of one store, kept up to date by `refresh`.

    `url` is what the store was opened by, where a wrapper's own URL is another one. `own` is the writer of this process; without it
    `catch_up` does nothing.
    """

    def __init__(self, store: Store, url: str | None = None, own: str | None = None) -> None:
        self.store = store
        self._tails = Tails(store, own)
        self._url = url if url is not None else store.url
        self.runs = Runs()
        self.experiments: dict[str, ExperimentDocument] = {}
        self.by_experiment: dict[str, set[str]] = {}
        """Runs of which there is news, by experiment"""
        self.unknown: list[UnknownEvent] = []
        self.damage: dict[str, list[Damage]] = {}
        self.observed = 0
        self.checked = False
        self.head = _NO_HEAD
        self.whole = True
        """False if a snapshot could not be read: nothing may be folded upon what is left"""
        self.thorough = False
        """Whether a snapshot is read whole when it is opened, so that one that is damaged anywhere is done without"""
        self.logs: dict[str, EventLog] = {}
        self.written: dict[str, int] = {}
        """When each event log was last written, ms since epoch by the store's clock"""
        self.listed: Collection[str] = ()
        """Keys of the event logs that there were"""
        self.numbers: Collection[int | None] = ()
        """Numbers of the heads that there were"""
        self.pins = Pins()
        """Answers of which pages are still to come"""
        self._memory = ColumnMemory()
        self.read_at: float | None = None
        """When it was refreshed, by `time.monotonic`"""
        self._lock = asyncio.Lock()

    async def refresh(self, within: float | None = None) -> None:
        """Read what was written since the last refresh; this process's own records first leave their buffer.

        Raises `StorageError` if the store has not given its first answer `within` so many seconds.
        """
        for engine in engines_of(self._url):
            try:
                await engine.flush(_READ_OWN_TIMEOUT, durable=False)
            except StorageError as error:
                logger.warning("aqrec: reading without the latest own records: %s", error)
        async with self._lock:
            await self._refresh(within)
            self.read_at = monotonic()

    async def _refresh(self, within: float | None) -> None:
        for attempt in range(_ATTEMPTS):
            infos, numbers = await self._list(within)
            listed = {info.key: info.size for info in infos}
            try:
                newest = max((number for number in numbers if number is not None), default=0)
                if newest > self.head.number:
                    await self._take_head(newest, listed)
                fresh = [(key, size) for key, size in listed.items() if size != self._seen(key)]
                await _all([self._read(key, size) for key, size in sorted(fresh)])
            except ObjectNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue  # folded meanwhile: list again
            self.logs = {key: log for key, log in self.logs.items() if key in listed}
            self.listed, self.numbers = listed.keys(), numbers
            self.written = {info.key: info.modified for info in infos}
            return

    async def _list(self, within: float | None) -> tuple[list[ObjectInfo], set[int | None]]:
        """Return the event logs, and the numbers of the heads."""
        infos: list[ObjectInfo] = []
        numbers: set[int | None] = set()
        # Events before heads: an event that is gone by now is in a head that is listed now. Where a listing is a request and
        # comes in the order of keys, as buckets have it, one of both does.
        together = not self.store.supports_append
        try:
            async with (
                asyncio.timeout(within) as limit,
                closing(self.store.list(layout.CATALOG if together else layout.EVENTS)) as items,
            ):
                async for info in items:
                    limit.reschedule(None)
                    if layout.writer_of_event_log(info.key):
                        infos.append(info)
                        together = together and not numbers
                    elif info.key.startswith(f"{layout.HEADS}/"):
                        numbers.add(layout.head_number(info.key))
        except TimeoutError as error:
            raise StorageError(f"{self.store.url} has not answered within {within:g} s") from error
        if not together:
            numbers = {layout.head_number(info.key) async for info in self.store.list(layout.HEADS)}
        return infos, numbers

    async def catch_up(self, run_ids: Iterable[str] | None = None, *, everywhere: bool = False) -> None:
        """Count the points of runs (None: of all that go on) that are in journals and that no event tells of.

        Only where journals grow, unless `everywhere`: in a bucket a writer that lives tells in time, and looking takes requests.
        """
        if not (everywhere or self.store.supports_append):
            return
        if run_ids is None:
            docs = [doc for doc in self.runs.documents.values() if doc.known and doc.end_time is None]
        else:
            docs = [doc for run_id in run_ids if (doc := self.runs.get(run_id)) is not None]
        growing = {key for key in self.head.logs if key in self.listed and key not in self.logs}
        growing |= {key for key, log in self.logs.items() if not log.complete}
        writers = {layout.writer_of_event_log(key) for key in growing}

        def finished(writer: str) -> bool:
            return self.store.supports_append and writer not in writers

        await self._tails.catch_up(docs, finished, self._to_change)

    async def untold(self, run_id: str) -> list[MetricsSummarised]:
        """Return what writers of a run that died have left in their journals and not told of, as events to be recorded."""
        await self.catch_up([run_id], everywhere=True)
        doc = self.runs.get(run_id)
        return [] if doc is None else self._tails.found(doc)

    def _to_change(self, run_id: str) -> RunDocument:
        doc = self.runs.to_change(run_id)
        self.by_experiment.setdefault(doc.experiment_id, set()).add(run_id)
        return doc

    def copy(self) -> Catalog:
        """Return one that begins with what is known here and takes in events by `add`; it is not to be refreshed."""
        other = Catalog(self.store, self._url)
        other.runs = self.runs.copy()
        other.experiments = {name: msgspec.structs.replace(known) for name, known in self.experiments.items()}
        other.by_experiment = {name: set(runs) for name, runs in self.by_experiment.items()}
        other.logs, other.written = dict(self.logs), self.written
        other.pins, other._memory = self.pins, self._memory
        other.checked, other.observed, other.read_at = self.checked, self.observed, self.read_at
        return other

    def add(self, payload: bytes) -> None:
        """Take in encoded events that were not read from the store."""
        self._apply_all(decode_events(payload), EventLog())

    def _seen(self, key: str) -> int:
        log = self.logs.get(key)
        return log.size if log else self.head.logs.get(key, -1)

    async def _take_head(self, number: int, listed: Iterable[str]) -> None:
        key = layout.head_key(number)
        head = decode_head(await self.store.get(key), key)
        known = {snapshot.key: snapshot for snapshot in self.runs.snapshots}
        opened = await _all([self._open(ref) for ref in head.snapshots if ref.key not in known])
        known |= {snapshot.key: snapshot for snapshot in opened if snapshot is not None}
        self.whole = all(ref.key in known for ref in head.snapshots)
        self.logs = {key: log for key, log in self.logs.items() if key in listed}
        for name, log in self.logs.items():
            log.news = log.news and log.offset > head.logs.get(name, 0)
        self.runs.adopt(
            [known[ref.key] for ref in head.snapshots if ref.key in known],
            {run_id for log in self.logs.values() for run_id in log.runs},
        )
        self._memory.keep_only({ref.key for ref in head.snapshots})
        self.by_experiment = {}
        for doc in self.runs.documents.values():
            self.by_experiment.setdefault(doc.experiment_id, set()).add(doc.run_id)
        self.head = head
        for snapshot in opened:
            if snapshot is not None:
                self._take_summary(snapshot)

    async def _open(self, ref: SnapshotRef) -> Snapshot | None:
        key = ref.key
        path = self.store.local_path(key)
        source = path if path is not None else await self.store.get(key)

        def read() -> Snapshot:
            snapshot = Snapshot(source, key, ref.footer)
            _ = snapshot.run_ids
            if self.thorough:
                snapshot.check()
            return snapshot

        try:
            return await asyncio.get_running_loop().run_in_executor(None, read)
        except FileNotFoundError:
            raise ObjectNotFoundError(f"there is no object {key!r} in {self.store.url}") from None
        except CorruptError as error:
            logger.error("aqrec: in %s: %s; everything else was read", self.store.url, error)
            self.damage[key] = [Damage(0, 0, tail=False)]
            return None

    def _take_summary(self, snapshot: Snapshot) -> None:
        summary = snapshot.summary
        self.observed = max(self.observed, summary.clock)
        for experiment in summary.experiments:
            self._known(experiment.experiment_id).merge(experiment)
        if events := summary.events():
            # A later version may know them by now.
            self._apply_all(decode_events(join_events(events)), EventLog())

    async def _read(self, key: str, size: int) -> None:
        fresh = EventLog(offset=self.head.logs.get(key, 0), writer=layout.writer_of_event_log(key) or "")
        log = self.logs.setdefault(key, fresh)
        data = await self.store.get(key, start=log.offset)
        base, log.size = log.offset, max(size, log.offset + len(data))
        damages: list[Damage] = []
        for frame in decode_frames(data):
            if isinstance(frame, Damage):
                if frame.tail:
                    break  # being written, or torn by a crash: read again when the file has grown
                damages.append(Damage(base + frame.offset, base + frame.end, tail=False))
                log.offset = base + frame.end
                continue
            log.offset = base + frame.end
            log.complete = log.complete or frame.kind == FOOTER
            if frame.kind == EVENTS:
                try:
                    events = decode_events(frame.payload)
                except (CorruptError, msgspec.DecodeError):
                    damages.append(Damage(base + frame.offset, base + frame.end, tail=False))
                else:
                    log.news = True
                    log.unfamiliar.extend(unfamiliar(frame.payload, events))
                    self._apply_all(events, log)
        if damages:
            log.damaged = True
            self.damage.setdefault(key, []).extend(damages)
            report_damage(key, self.store.url, damages)

    def _apply_all(self, events: Iterable[Event | UnknownEvent], log: EventLog) -> None:
        for event in events:
            if isinstance(event, UnknownEvent):
                if event not in self.unknown:
                    self.unknown.append(event)
                continue
            self.observed = max(self.observed, event.clock)
            log.clock = max(log.clock, event.clock)
            if isinstance(event, RunEvent):
                log.runs.add(event.run_id)
                if _of_its_writer(event, log.writer):
                    log.told[event.run_id] = max(event.clock, log.told.get(event.run_id, 0))
                self._apply_run(event, log)
            elif isinstance(event, ExperimentCreated):
                log.experiments.add(event.experiment_id)
                self._known(event.experiment_id).use(event.name, event.clock)
            elif isinstance(event, ExperimentDeleted):
                log.experiments.add(event.experiment_id)
                experiment = self._known(event.experiment_id)
                experiment.deleted = max(experiment.deleted, event.clock)
            elif isinstance(event, ExperimentRestored):
                log.experiments.add(event.experiment_id)
                experiment = self._known(event.experiment_id)
                experiment.restored = max(experiment.restored, event.clock)
            elif isinstance(event, Heartbeat):
                for run_id in event.runs:
                    log.beats[run_id] = max(event.clock, log.beats.get(run_id, 0))

    def _apply_run(self, event: RunEvent, log: EventLog) -> None:
        doc = self.runs.to_change(event.run_id)
        before = doc.experiment_id
        apply(doc, event)
        if isinstance(event, RunCreated):
            if before and before != doc.experiment_id:
                self.by_experiment.get(before, set()).discard(event.run_id)
            self._known(event.experiment_id).use(event.experiment_name, event.clock)
            log.experiments.add(event.experiment_id)
        self.by_experiment.setdefault(doc.experiment_id, set()).add(event.run_id)

    def _known(self, experiment_id: str) -> ExperimentDocument:
        experiment = self.experiments.get(experiment_id)
        if experiment is None:
            experiment = self.experiments[experiment_id] = ExperimentDocument(experiment_id=experiment_id)
        return experiment

    @property
    def pending(self) -> dict[str, EventLog]:
        """Event logs that wait to be folded, the oldest first."""
        return {key: log for key, log in sorted(self.logs.items()) if log.pending}

    def heard(self) -> dict[str, int]:
        """Return when each run was last heard of, ms since epoch by the store's clock.

        Of runs that are missing nothing is to be read but what was folded long ago.
        """
        found = dict(self.head.heard)
        for key, log in self.logs.items():
            for run_id, time in log.heard(self.written.get(key, 0)):
                found[run_id] = max(time, found.get(run_id, 0))
        return found

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
        self,
        experiment_ids: Iterable[str] | None = None,
        view: str = "active",
        status: str | None = None,
        name: str | None = None,
    ) -> list[RunDocument]:
        """Return run documents, the latest start first."""
        wanted = None if experiment_ids is None else set(experiment_ids)
        found = [
            doc
            for doc in self.news_of(wanted, view)
            if (status is None or doc.status == status) and (name is None or doc.name == name)
        ]
        for snapshot, rows in self.runs.rows():
            chosen = choose(
                snapshot,
                rows,
                self.experiments,
                experiment_ids=wanted,
                view=view,
                status=status,
                name=name,
            )
            found.extend(map(snapshot.document, chosen.tolist()))
        found.sort(key=lambda doc: (-(doc.start_time or doc.created), doc.run_id))
        return found

    def news_of(self, experiment_ids: Collection[str] | None, view: str) -> list[RunDocument]:
        """Return the documents of those runs that are not told by snapshots alone, in no order."""
        documents = self.runs.documents
        if experiment_ids is None:
            docs: Iterable[RunDocument] = documents.values()
        else:
            docs = [documents[run] for known in experiment_ids for run in self.by_experiment.get(known, ())]
        return [
            doc for doc in docs if doc.known and (view == "all" or self.hidden(doc) == (view == "deleted"))
        ]

    async def search(
        self,
        selection: Selection,
        experiment_ids: Collection[str] | None,
        view: str,
        artifact_uri: Callable[[str], str],
        show: Callable[[Answer], T],
        *,
        until: int | None = None,
    ) -> T:
        """Return what `show` makes, in a worker thread, of the runs that `selection` chooses, in its order.

        With `until`, a clock, only of runs that were made by then.
        """
        await self.catch_up()
        news = [
            copy_document(doc)
            for doc in self.news_of(experiment_ids, view)
            if until is None or doc.clocks.get("run", 0) <= until
        ]
        experiments = {name: msgspec.structs.replace(known) for name, known in self.experiments.items()}
        snapshots, superseded = self.runs.snapshots, set(self.runs.documents)

        def work() -> T:
            chosen = [
                (
                    snapshot,
                    choose(
                        snapshot, rows, experiments, experiment_ids=experiment_ids, view=view, until=until
                    ),
                )
                for snapshot, rows in standing(snapshots, superseded)
            ]
            return show(answer(selection, news, chosen, artifact_uri, self._memory))

        return await asyncio.get_running_loop().run_in_executor(None, work)

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
        named = self.runs_of(scope, name=name)
        if named:
            return named[0]
        raise RecorderNotFoundError(
            f"no recorder is named {name!r} in {self.store.url}"
            + _there_are([doc.name for doc in self.runs_of(scope)])
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


def _of_its_writer(event: RunEvent, writer: str) -> bool:
    """Whether an event shows that a process records the run; anybody may set a tag, and seal for others."""
    if isinstance(event, MetricsSummarised):
        return event.writer == writer
    return isinstance(event, RunCreated) or (isinstance(event, StatusSet) and event.status == STATUS_R)


async def _all(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at once, and wait for all of them also where one fails."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


def _there_are(names: list[str]) -> str:
    known = sorted(set(names))[:5]
    return f"; there are {', '.join(map(repr, known))}{' …' if len(set(names)) > 5 else ''}" if known else ""
