"""One run as this process sees it, without a face: what both `aqrec.Recorder` and `aqrec.sync.Recorder` stand on.

Methods without ``async`` may be called from any thread and only touch memory; coroutines run on the engine thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import msgspec

from aqrec.engine import Room, disown, join, leaving, own
from aqrec.errors import (
    ClosedError,
    InvalidInputError,
    InvalidValueError,
    ObjectNotFoundError,
    ParamConflictError,
    StorageError,
)
from aqrec.format import _layout as layout
from aqrec.format import _values as values
from aqrec.format._document import RunDocument, apply, copy_document, document_to_json, latest, same
from aqrec.format._ids import now_ms
from aqrec.format._names import check_key_name, check_name, shown
from aqrec.format._parquet import ALL, After
from aqrec.format._records import (
    STATUS_FA,
    STATUS_FI,
    STATUS_R,
    STATUSES,
    ParamsLogged,
    RunDeleted,
    RunEvent,
    RunRenamed,
    RunRestored,
    StatusSet,
    TagsDeleted,
    TagsSet,
)
from aqrec.format._unfold import merge
from aqrec.reading import frame_of, may_have_more, read_points
from aqrec.recording._places import Places
from aqrec.recording._session import Session

if TYPE_CHECKING:
    import pandas as pd

    from aqrec.engine import RunState
    from aqrec.format._parquet import HistoryPart

__all__ = ["Point", "Run", "check_status", "end_status", "refuse_deleted"]

logger = logging.getLogger("aqrec")

_MAX_VALUES = 32 * 1024 * 1024
_BACKGROUND_TIMEOUT = 15.0
_ALONE = 60_000
"""ms after the start of a run in which nobody takes it over"""

Point = tuple[str, float, int | None, int | None]
"""(key, value, step or None, timestamp in ms since epoch or None for now)"""


def end_status(error: BaseException | None) -> tuple[str, str]:
    """Return (status, reason) of a run whose block was left by `error`."""
    if error is None:
        return STATUS_FI, ""
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return STATUS_FI, "sys.exit"
    return STATUS_FA, f"{type(error).__name__}: {error}"[:500]


def check_status(status: str) -> None:
    """Raise `InvalidValueError` if there is no such status."""
    if status not in STATUSES:
        raise InvalidValueError(f"status {status!r}: choose one of {', '.join(STATUSES)}")


def _apart(points: object) -> list[tuple[int | None, int | None, dict[str, float]]]:
    """Return points with step, timestamp and a dict of one value each; refuse what is none."""
    if isinstance(points, str | bytes) or not isinstance(points, Iterable):
        raise InvalidValueError(
            f"metrics={shown(points)}: give a dict of key to number, or a list of tuples (key, value, step, timestamp)"
        )
    given: Iterable[Any] = points
    found: list[tuple[int | None, int | None, dict[str, float]]] = []
    for point in given:
        try:
            key, value, step, timestamp = point
            found.append((step, timestamp, {key: value}))
        except (TypeError, ValueError):
            raise InvalidValueError(
                f"metrics[{len(found)}]={shown(point)}: give a tuple (key, value, step, timestamp); step and timestamp may be None"
            ) from None
    return found


def refuse_deleted(doc: RunDocument) -> None:
    """Raise `InvalidInputError` if a run was deleted: nobody would see what is recorded in it."""
    if doc.deleted:
        raise InvalidInputError(
            f"recorder {doc.run_id!r} is deleted; bring it back by restore_recorder({doc.run_id!r}) first, or start another one"
        )


_runs: WeakSet[Run] = WeakSet()


class Run:
    """See the module's text."""

    def __init__(self, session: Session, doc: RunDocument, *, made_id: bool = False) -> None:
        self.session = session
        self.engine = session.engine
        self.run_id = doc.run_id
        self.doc = doc
        self.lock_anew()
        self.points = self.engine.run_state(doc, made_id=made_id).points
        self.background: asyncio.Task[None] | None = None
        """Work that belongs to the run (collecting provenance) and that its end waits for."""
        self._ending: asyncio.Future[None] | None = None
        """The end that is under way"""
        self.log = self.points.log
        self._places: Places | None = None
        _runs.add(self)

    def lock_anew(self) -> None:
        """Make the lock; in a forked child a thread of the parent may seem to hold it for ever."""
        self._lock = threading.RLock()

    # -- any thread --------------------------------------------------------------------------------------------------

    @property
    def places(self) -> Places:
        """Which artifact paths are taken, as far as this process knows."""
        if self._places is None:
            self._places = Places(self.doc.artifacts)
        return self._places

    @property
    def state(self) -> RunState:
        """The writer's state; a fork begins a new one."""
        state: RunState = self.points.state
        return state

    @property
    def status(self) -> str:
        """The status as far as this process knows."""
        return self.doc.status

    @property
    def ended_by_exit(self) -> bool:
        """Whether the end of the process has ended the run, so that leaving its block has nothing to do."""
        return leaving.finalizing or (leaving.at_exit and self.engine.closed)

    def post(self, event: RunEvent) -> None:
        """Apply an event here and queue it for the store."""
        if self.engine.closed:
            if leaving.too_late:
                return
            raise ClosedError(f"run {self.run_id!r} cannot be written: its store was closed; open it again")
        with self._lock:
            apply(self.doc, event)
        self.engine.post(event)

    def _clock(self) -> int:
        return self.engine.clock.now()

    def log_at(self, step: int | None, timestamp: int, metrics: dict[str, float]) -> Room | None:
        """Log metrics with a timestamp of the caller's, ms since epoch."""
        return self.points.log_at(step, timestamp, metrics)

    def log_params(self, params: Mapping[str, object], *, quiet: bool = False) -> None:
        """Record params; `quiet` ones may differ from what an earlier process recorded."""
        self._post_params(self._clean("param", params), quiet=quiet)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags, replacing older values."""
        self._post_tags(self._clean("tag", tags))

    def _post_params(self, clean: dict[str, values.Value], *, quiet: bool = False) -> None:
        with self._lock:
            if not quiet:
                self._refuse_conflicts(clean)
            fresh = {key: value for key, value in clean.items() if key not in self.doc.params or quiet}
            if fresh:
                packed = self._pack("params", fresh)
                self.post(ParamsLogged(clock=self._clock(), run_id=self.run_id, params=packed, quiet=quiet))

    def _post_tags(self, clean: dict[str, values.Value]) -> None:
        if clean:
            packed = self._pack("tags", clean)
            self.post(TagsSet(clock=self._clock(), run_id=self.run_id, tags=packed))

    def _refuse_conflicts(self, clean: dict[str, values.Value]) -> None:
        known = self.doc.params
        for key in clean.keys() & known.keys():
            if not same(clean[key], known[key]):
                raise ParamConflictError(
                    f"param {key!r} is {shown(known[key])} already and stays so; {shown(clean[key])} was not recorded. "
                    "Use a metric for what changes during a run, a tag for what may be replaced, or another key"
                )

    def delete_tags(self, keys: Iterable[str]) -> None:
        """Delete tags; unknown ones are no error."""
        names = [check_key_name("tag", key) for key in keys]
        if names:
            self.post(TagsDeleted(clock=self._clock(), run_id=self.run_id, keys=names))

    def log_batch(
        self,
        metrics: Mapping[str, float] | Iterable[Point],
        params: Mapping[str, object] | None,
        tags: Mapping[str, object] | None,
        step: int | None,
        timestamp: int | None,
    ) -> Room | None:
        """Log metrics, params and tags; bad params or tags are refused before any part is recorded."""
        clean_tags = self._clean("tag", {} if tags is None else tags)
        clean_params = self._clean("param", {} if params is None else params)
        self._pack("tags", clean_tags)
        self._pack("params", clean_params)
        with self._lock:
            self._refuse_conflicts(clean_params)
            room = self._log_points(metrics, step, timestamp)
            self._post_params(clean_params)
            self._post_tags(clean_tags)
        return room

    def _log_points(
        self, metrics: Mapping[str, float] | Iterable[Point], step: int | None, timestamp: int | None
    ) -> Room | None:
        if isinstance(metrics, Mapping):
            points = [(step, timestamp, dict(cast("Mapping[str, float]", metrics)))]
            self.points.check(*points[0])
        else:
            points = _apart(metrics)
            if points and (step is not None or timestamp is not None):
                raise InvalidValueError(
                    f"step={step!r}, timestamp={timestamp!r} are for a dict of metrics; each tuple (key, value, step, timestamp) has its own"
                )
            for point in points:
                self.points.check(*point)
        room: Room | None = None
        for at, stamp, values_of in points:
            more = self.log(at, values_of) if stamp is None else self.log_at(at, stamp, values_of)
            room = join(room, more)
        return room

    @staticmethod
    def _clean(what: str, given: Mapping[str, object]) -> dict[str, values.Value]:
        if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - what a caller gave
            raise InvalidValueError(f"{what}s={shown(given)}: give a dict of key to value")
        return {
            check_key_name(what, key): values.normalise(f"{what} {key!r}", value)
            for key, value in given.items()
        }

    @staticmethod
    def _pack(what: str, clean: dict[str, values.Value]) -> msgspec.Raw:
        packed = values.pack(clean)
        if len(packed) > _MAX_VALUES:
            raise InvalidValueError(
                f"{what} of {len(packed)} bytes in one call are more than {_MAX_VALUES}; save_objects() keeps them better"
            )
        return msgspec.Raw(packed)

    def rename(self, name: str) -> None:
        """Give the run another name."""
        self.post(RunRenamed(clock=self._clock(), run_id=self.run_id, name=check_name("recorder", name)))
        self.set_tags({"mlflow.runName": name})

    def delete(self) -> None:
        """Hide the run."""
        self.post(RunDeleted(clock=self._clock(), run_id=self.run_id))

    def restore(self) -> None:
        """Show a deleted run again."""
        self.post(RunRestored(clock=self._clock(), run_id=self.run_id))

    def begin(self) -> None:
        """Set the run RUNNING and make this process responsible for its end."""
        engine = self.engine
        engine.run_started(self.state)
        self._ending = None
        self.session.begun[self.run_id] = self
        self.set_status(STATUS_R, now_ms())
        own(engine, self.run_id, self.finish)

    def set_status(self, status: str, time: int, reason: str = "") -> None:
        """Record that the run got a status at `time`, ms since epoch; nobody becomes responsible for its end."""
        self.post(StatusSet(clock=self._clock(), run_id=self.run_id, status=status, time=time, reason=reason))

    def observe(self, doc: RunDocument) -> None:
        """Take over what another process has made of the run since: its status and name, and whether it is deleted."""
        with self._lock:
            mine = self.doc
            if doc.clocks.get("status", 0) > mine.clocks.get("status", 0):
                mine.status, mine.end_time, mine.start_time = doc.status, doc.end_time, doc.start_time
                mine.clocks["status"] = doc.clocks["status"]
            if doc.clocks.get("name", 0) > mine.clocks.get("name", 0):
                mine.name, mine.clocks["name"] = doc.name, doc.clocks["name"]
            if doc.clocks.get("deleted", 0) > mine.clocks.get("deleted", 0):
                mine.deleted, mine.clocks["deleted"] = doc.deleted, doc.clocks["deleted"]

    # -- engine thread -----------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Wait until everything logged so far is durable."""
        engine = self.engine
        if engine.closed:
            if leaving.by_signal:
                await (
                    asyncio.Event().wait()
                )  # the process dies in a moment, and nothing is acknowledged until then
            raise ClosedError(f"run {self.run_id!r} cannot be flushed: its store was closed")
        if self.session.options.durability == "local":
            await engine.acknowledge()
        else:
            await engine.flush()
        self._raise_if_strict()

    def _raise_if_strict(self) -> None:
        if self.session.options.strict:
            failures = self.engine.take_failures()
            if failures:
                raise StorageError(f"recording is strict and this went wrong: {'; '.join(failures)}")

    async def end(
        self, status: str, reason: str = "", *, started: int | None = None, ended: int | None = None
    ) -> None:
        """End the run: everything recorded becomes durable, then its history is sealed.

        `started` and `ended`, ms since epoch, are for a run that took place elsewhere; default: it ends now.
        """
        check_status(status)
        ending = self._ending = asyncio.get_running_loop().create_future()
        try:
            await self._end(status, reason, started, ended)
        except BaseException as error:
            _settle(ending, error)
            raise
        else:
            _settle(ending, None)
        finally:
            if self._ending is ending:  # it was not begun again meanwhile
                self._ending = None
                disown(self.engine, self.run_id)
                self.session.begun.pop(self.run_id, None)

    async def finish(self, status: str, reason: str = "") -> None:
        """End the run, or wait for the end that is under way, with its status, though nobody else may wait for it."""
        ending = self._ending
        if ending is None:
            await self.end(status, reason)
            return
        await asyncio.wait([ending])
        if not ending.cancelled():
            ending.result()

    async def _end(self, status: str, reason: str, started: int | None, ended: int | None) -> None:
        engine = self.engine
        if self.background is not None:
            done, _ = await asyncio.wait([self.background], timeout=_BACKGROUND_TIMEOUT)
            if not done:
                self.background.cancel()
            self.background = None
        engine.run_stopped(self.state)  # after its end nothing says that it is going on
        if started is not None:
            self.set_status(STATUS_R, started)
        self.set_status(status, now_ms() if ended is None else ended, reason)
        try:
            await engine.seal_early(self.state)
            await engine.acknowledge()
            if engine.outage.away or self.session.options.durability == "local":
                engine.outage.later(self._seal)
            else:
                await self._seal()
        except Exception as error:
            if self.session.options.strict:
                raise
            logger.error("aqrec: run %s was not completely stored at its end: %s", self.run_id, error)
        self._raise_if_strict()

    async def _seal(self) -> None:
        """Give an ended run its history and document, by ``Options.seal``; its end must be recorded."""
        await self.tell_for_others()
        for sealed in await self.engine.run_ended(self.state):
            with self._lock:
                apply(self.doc, sealed)
        if self.session.options.seal == "run":
            doc = self._own_document() or await self.document(now=True)
            await self.engine.store.put(layout.run_document_key(self.run_id), document_to_json(doc))

    async def tell_for_others(self) -> None:
        """Record what earlier writers of the run have left in their journals and, since they died, not told of."""
        own = self.engine.writer
        if self.engine.outage.away or all(writer == own for writer in may_have_more(self.doc)):
            return
        try:
            events = await self.session.catalog.untold(self.run_id)
        except StorageError as error:
            logger.warning(
                "aqrec: metrics of run %s by other processes may be out of date: %s", self.run_id, error
            )
            return
        for event in events:
            self.post(msgspec.structs.replace(event, clock=self._clock()))

    def _own_document(self) -> RunDocument | None:
        """Return what this process knows of the run, if nobody else will have recorded more; else None.

        That is, of a short run whose id was made here. It matters on buckets, where reading the catalog takes requests.
        """
        state = self.state
        age = now_ms() - (self.doc.start_time or 0)
        if self.engine.store.supports_append or not state.made_id or age > _ALONE:
            return None
        return self._recorded_here()

    def _recorded_here(self) -> RunDocument:
        """Return what this process has read and recorded of the run."""
        state, writer = self.state, self.engine.writer
        with self._lock:
            doc = copy_document(self.doc)
        if state.through >= 0:
            doc.metrics[writer], doc.through[writer] = dict(state.summaries), state.through
        if state.points.dropped:
            doc.dropped[writer] = state.points.dropped
        return doc

    async def document(self, *, now: bool = False) -> RunDocument:
        """Return all that is known of the run now, by all its writers; while the store is away, all that is known here.

        With `now` an outage raises `StorageError`.
        """
        session = self.session
        catalog = await (session.refresh() if now else session.view(own=True))
        known = catalog.runs.get(self.run_id)
        if catalog is not session.catalog:
            doc = copy_document(known) if known is not None else RunDocument(run_id=self.run_id)
            merge(doc, self._recorded_here())
            return doc
        if known is None or not known.known:
            known = await catalog.find_run(self.run_id)
        self.observe(known)
        return copy_document(known)

    async def list_params(self) -> dict[str, Any]:
        """Return the params, typed."""
        return dict(sorted((await self.document()).params.items()))

    async def list_tags(self) -> dict[str, Any]:
        """Return the tags."""
        return dict(sorted((await self.document()).tags.items()))

    async def list_metrics(self) -> dict[str, float]:
        """Return the latest value of each metric."""
        doc = await self.document()
        if not self.engine.outage.away:
            await self.session.catalog.catch_up([self.run_id])
            doc = self.session.catalog.runs.get(self.run_id) or doc
        return {key: summary.value for key, summary in sorted(latest(doc).items())}

    async def metric_history(self, key: str) -> pd.DataFrame:
        """Return the history of one metric."""
        (points,) = (await self.read_points([key])).values()
        return await asyncio.get_running_loop().run_in_executor(None, frame_of, points)

    async def read_points(self, keys: Sequence[str], after: After = ALL) -> dict[str, HistoryPart]:
        """Return the points of some metrics; while the store is away, only where this machine has all of them."""
        outage = self.engine.outage
        if not outage.away:
            try:
                return await read_points(self.engine.store, self.document, keys, after)
            except StorageError as error:
                if error.permanent or outage.kept is None:
                    raise
        try:
            if outage.kept is None:
                raise ObjectNotFoundError("the spool is empty")
            return await read_points(outage.kept, self.document, keys, after, whole=True)
        except ObjectNotFoundError as error:
            raise StorageError(
                f"the history of {', '.join(map(repr, keys))} lies in {self.session.url}, which is away; list_metrics() "
                "tells the latest values"
            ) from error


def _settle(ending: asyncio.Future[None], error: BaseException | None) -> None:
    """Tell those who wait for an end; none of them has to."""
    if isinstance(error, Exception):
        ending.set_exception(error)
        ending.exception()
    elif error is not None:
        ending.cancel()
    else:
        ending.set_result(None)


def _after_fork() -> None:
    for run in _runs:
        run.lock_anew()


os.register_at_fork(after_in_child=_after_fork)
