"""The engine: from the buffer to durable bytes, for all runs this process records in one store.

Every few milliseconds it takes what was logged, writes it as frames and hands it to the operating system; commits make it durable,
one for everybody who asked (group commit). Points go before events, so whoever reads that a run ended finds its points. A store
that fails is tried again until it works; meanwhile the buffer fills and its overflow policy holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import threading
import time
from collections import deque
from typing import Any
from weakref import WeakValueDictionary

from aqrec.engine._alive import Alive
from aqrec.engine._buffer import Buffer
from aqrec.engine._failures import Failures
from aqrec.engine._intake import Intake
from aqrec.engine._log import AppendLog, Log, failure_of
from aqrec.engine._marker import find_marker
from aqrec.engine._opening import Opening
from aqrec.engine._outage import Flush, Outage
from aqrec.engine._pace import Pace, gather
from aqrec.engine._runtime import Runtime, current_runtime
from aqrec.engine._sealer import Sealer
from aqrec.engine._spool_log import make_log
from aqrec.engine._spool_store import open_place
from aqrec.engine._statistics import Statistics, unstored_text
from aqrec.engine._summary import RunState
from aqrec.errors import AqrecError, ClosedError, FlushTimeoutError, StorageError
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument
from aqrec.format._ids import HybridClock, new_id
from aqrec.format._records import Event, Sealed
from aqrec.options import Options

__all__ = ["Engine"]

logger = logging.getLogger("aqrec")
_CLOSE_GRACE = 1.0
_LONGEST_PAUSE = 1.0


class Engine:
    """One writer of one store. Methods without ``async`` may be called from any thread."""

    def __init__(self, url: str, options: Options, storage_options: dict[str, Any] | None = None) -> None:
        self.url = url
        self.options = options
        self.storage_options = storage_options
        self.clock = HybridClock()
        self.buffer = Buffer(options.buffer, self.wake)
        self.events: deque[Event] = deque()
        self.runs: dict[str, RunState] = {}
        self.known: WeakValueDictionary[str, RunState] = WeakValueDictionary()
        self.closed = False
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self.writer = new_id()
        self.store, self.spool = open_place(
            self.url, self.storage_options, self.options, self.writer, lambda: self.outage.away
        )
        self.outage = Outage(self.store, self.spool, self.options, self._tell_outage)
        self.pid = os.getpid()
        self._pump_task: asyncio.Task[None] | None = None
        self._commit_task: asyncio.Task[None] | None = None
        self._opening = Opening()
        self._sealer: Sealer | None = None
        self.runtime: Runtime | None = None
        self._wakeup: asyncio.Event | None = None
        self._hurry: asyncio.Event | None = None
        self._journal: Log | None = None
        self._catalog: Log | None = None
        self._marked = False
        self._flushes: list[Flush] = []
        self._committing: list[Flush] = []
        self._serving: list[Flush] = []
        self._intake: Intake | None = None
        self._commits = self._retries = 0
        self._last_error = self._stumbled = ""
        self._pace = Pace(self.options.flush, appends=self.store.supports_append)
        self.alive = Alive(self.clock)
        self._failures = Failures()

    def _tell_outage(self, text: str) -> None:
        self._failures.note(f"{text}; {self._last_error}")
        logger.warning("aqrec: %s", text)

    # -- any thread --------------------------------------------------------------------------------------------------

    def start(self) -> Runtime:
        """Start the engine thread and the pump; return the runtime."""
        with self._lock:
            if self.closed:
                raise ClosedError(
                    f"the recorder's engine for {self.store.url} is closed; open the store again"
                )
            if self.runtime is None:
                runtime = current_runtime()
                runtime.acquire()
                self.runtime = runtime
                runtime.soon(self._begin)
            return self.runtime

    def wake(self) -> None:
        """Tell an idle pump that there is work; safe in signal handlers once the engine runs."""
        runtime = self.runtime
        if runtime is None:
            if self.closed:
                return
            runtime = self.start()
        runtime.soon(self._wake)

    def post(self, event: Event) -> None:
        """Queue a catalog event; events are never dropped."""
        self.events.append(event)
        if self.buffer.idle:
            self.wake()

    def run_state(self, doc: RunDocument, *, made_id: bool = False) -> RunState:
        """Return this writer's state of a run.

        One that had ended and was forgotten is the same as before if somebody still holds it, else it is restored from
        the document.
        """
        state = self.runs.get(doc.run_id) or self.known.get(doc.run_id)
        if state is None:
            state = RunState(doc.run_id, self.buffer, made_id=made_id)
            state.restore(doc, self.writer)
        self.known[doc.run_id] = state
        return state

    def run_started(self, state: RunState) -> None:
        """Count a run as running: it is part of the heartbeat until `run_ended`."""
        state.ended = False
        self.runs[state.run_id] = state
        self.alive.start(state)

    def run_stopped(self, state: RunState) -> None:
        """Count a run as running no more, before it is sealed."""
        self.alive.stop(state.run_id)

    def after_fork(self) -> None:
        """Become a new writer: what waits belongs to the parent, and its thread and files do, too."""
        self._lock = threading.Lock()
        self.clock = HybridClock()
        self.events.clear()
        self.buffer.after_fork()
        if self.spool is not None:
            self.spool.abandon()
        old, self.runs = dict(self.known), {}
        self._reset()
        for run_id, state in old.items():
            fresh = RunState(run_id, self.buffer, made_id=False)
            # The recorders of this process hold the parent's point log: it goes on, for the new writer.
            fresh.points = state.points
            fresh.points.state, fresh.points.dropped = fresh, 0
            fresh.points.after_fork()
            self.known[run_id] = fresh

    def statistics(self) -> Statistics:
        """Return a snapshot of the counters."""
        logs = self._logs
        written, spooled = sum(log.bytes_written for log in logs), self.outage.spooled_bytes(logs)
        intake, error = self._intake, self._stumbled or self._last_error
        return Statistics(
            buffered=len(self.buffer.queue) + (intake.waiting()[0] if intake is not None else 0),
            capacity=self.options.buffer.capacity,
            points=intake.points if intake is not None else 0,
            events=intake.events if intake is not None else 0,
            bytes_written=written,
            unsynced_bytes=sum(log.pending_bytes for log in logs),
            spooled_bytes=spooled,
            commits=self._commits,
            retries=self._retries,
            dropped=self.buffer.dropped,
            waits=self.buffer.waits,
            sealed_points=self._sealer.points if self._sealer is not None else 0,
            last_error=error,
            spool=str(self.spool.folder) if self.spool and spooled else "",
            storing=not error,
        )

    @property
    def _logs(self) -> list[Log]:
        return [log for log in (self._journal, self._catalog) if log is not None]

    def unstored(self) -> str:
        """Say what is not durable, and where it is kept, or return ""."""
        events = len(self.events) + (self._intake.waiting()[1] if self._intake is not None else 0)
        return unstored_text(self.statistics(), events, self.store.url, self.spool)

    def take_failures(self) -> list[str]:
        """Return what went wrong since the last call (for strict recording)."""
        return self._failures.take(self.buffer.dropped)

    # -- engine thread -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._pump_task is not None or self.closed:
            return
        self._wakeup, self._hurry = asyncio.Event(), asyncio.Event()
        # Fixed now: a writer that a failed commit left undone must not take another name.
        writer, flush, identity = self.writer, self.options.flush, new_id()
        place = (self.store, self.spool, writer, flush.segment_bytes, self.outage.progressed)
        self._journal = make_log(*place, lambda n: layout.journal_key(writer, n), flush.journal_bytes)
        self._catalog = make_log(
            *place,
            lambda n: layout.event_log_key(identity if n == 0 else new_id(), writer),
            flush.journal_bytes // 8,
        )
        self._sealer = Sealer(self, self._journal)
        self._intake = Intake(self, self._pace, self._journal, self._catalog, self._sealer.told)
        self._pump_task = asyncio.create_task(self._pump(), name="aqrec-pump")

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()

    def _hasten(self) -> None:
        self._wake()
        if self._hurry is not None:
            self._hurry.set()

    @property
    def opened(self) -> bool:
        """Whether the store is known to be one, so that `open` has nothing to do."""
        return self._marked and not self.closed

    async def find(self, *, create: bool = False) -> bool:
        """Return whether the store is one, and with `create` make it one; offline, the spool stands in for it."""
        if (
            self.options.offline and self.spool is not None
        ):  # first: the store is not to be blamed for its folder
            await asyncio.get_running_loop().run_in_executor(None, self.spool.open_durably)
        way = (self.url, repr(sorted((self.storage_options or {}).items())))
        return await find_marker(self.store, way, self.outage, create=create)

    async def open(self, *, known: bool = False) -> None:
        """Read or create the store's marker, unless it is `known`; raises what stands against using the store."""
        if self._marked:
            return
        if not known:
            await self.find(create=True)
        await self.outage.look_back()
        self._marked = True

    async def _pump(self) -> None:
        wakeup, hurry = self._wakeup, self._hurry
        assert wakeup is not None
        assert hurry is not None
        buffer, retry = self.buffer, self.options.retry
        pause = retry.first
        while True:
            if not self._work:
                buffer.idle = True
                if not self._work:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._until_due()):
                            await wakeup.wait()
                wakeup.clear()
                buffer.idle = False
            if not hurry.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.options.flush.hand_over_interval):
                        await hurry.wait()
            hurry.clear()
            try:
                await self._cycle()
            except Exception as error:  # noqa: BLE001 - nothing is lost by it, and the pump must go on
                self._stumble(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, retry.longest, _LONGEST_PAUSE)
            else:
                self._stumbled, pause = "", retry.first

    @property
    def _work(self) -> bool:
        intake = self._intake
        return bool(
            self.buffer.queue
            or self.events
            or self._flushes
            or self._stumbled
            or (intake is not None and intake.held)
        )

    def _stumble(self, error: Exception) -> None:
        """Remember why what was logged did not get into the logs; say so once."""
        text = f"what was logged could not be written: {failure_of(error)}"
        if not self._stumbled:
            logger.warning("aqrec: %s; it is kept, trying again until it works", text, exc_info=error)
        self._stumbled = text
        self._retries += 1

    def _until_due(self) -> float | None:
        """Return seconds until there is something to do without new records, or None."""
        logs = self._logs
        return self._pace.until_due(
            time.monotonic(),
            pending=bool(self.outage.artifacts) or any(log.pending_bytes for log in logs),
            running=bool(self.alive),
            changed=self._intake is not None and self._intake.changed,
            outage=self.outage.until_due(logs),
        )

    async def _cycle(self) -> None:
        journal, catalog, intake = self._journal, self._catalog, self._intake
        assert journal is not None
        assert catalog is not None
        assert intake is not None
        asked = len(self._flushes)  # who comes meanwhile may wait for more than is taken now
        await intake.take()
        now = time.monotonic()
        flushes = self._flushes[:asked]
        # Who only wants what is handed over reads it next, and must find all of it.
        reading = any(not flush.durable for flush in flushes)
        publish = reading or (bool(flushes) and self._pace.flush_publishes(now, beside=intake.publishing))
        intake.add_routine(now, everything=publish)
        intake.write_events()
        self._opening.hand_over(journal, catalog)
        self._advance(asked, intake, journal, catalog, now)

    def _advance(self, asked: int, intake: Intake, journal: Log, catalog: Log, now: float) -> None:
        """Decide who of the first `asked` is served, and whether a commit is due."""
        # A file that is not begun yet, or that failed, takes nothing: only a commit begins one.
        stuck = any(log.failed or (log.pending_bytes and not log.ready) for log in (journal, catalog))
        pending = journal.pending_bytes + catalog.pending_bytes + self.outage.artifacts
        left, served, committing = list[Flush](), list[Flush](), list[Flush]()
        for flush in self._flushes[:asked]:
            if intake.held or (flush.target > self.buffer.popped and self.buffer.queue):
                left.append(flush)
                continue
            flush.reached = True
            if pending and not flush.encoded and (flush.durable or stuck or not self.store.supports_append):
                committing.append(flush)
            else:
                served.append(flush)
        self._flushes[:asked] = left
        self._committing.extend(committing)
        _serve(served)
        self._committing = self.outage.take(self._committing)
        self._serving = self.outage.take(self._serving)
        self.outage.step((journal, catalog), self._committing.extend)
        due = (
            self._committing
            or (pending and stuck)
            or pending >= self.options.flush.segment_bytes
            or (pending and self._pace.commit_due(now))
        )
        if due and self._commit_task is None:
            self._commit_task = asyncio.create_task(self._commit(journal, catalog), name="aqrec-commit")
        elif self._commit_task is not None and self._marked:  # which may wait for the disk
            self._opening.beside_commit(journal, catalog)

    async def _commit(self, journal: Log, catalog: Log) -> None:
        if not self.store.supports_append:
            await gather(lambda: len(self._committing))
        self._serving, self._committing = self._committing, []
        pause = self.options.retry.first
        try:
            while True:
                try:
                    if self.outage.attempt():
                        self._wake()
                    await self.open()
                    # Bytes that replace others follow the reference to them; what waits now is in the log of events.
                    replacements = self.outage.replacements()
                    told = catalog.mark()
                    # Points that are sealed, which `told` says, need no journal.
                    spare = journal.spare(self._sealer.needs) if self._sealer is not None else 0
                    if isinstance(journal, AppendLog) and isinstance(catalog, AppendLog):
                        await journal.commit_before(catalog)
                    else:
                        if not spare:
                            await journal.commit()
                        await self.outage.drain()
                        await catalog.commit(told)
                        await self.outage.drain(replacements)
                    if spare:
                        journal.drop(spare)
                    self._committed()
                    break
                except Exception as error:  # noqa: BLE001 - a driver's own exception is a failure like any other
                    self.fail("the store could not be written", error)
                    self._retries += 1
                    if isinstance(error, StorageError) and error.errno == errno.ENOENT:
                        self._failures.note(str(error))  # what was durable before is gone, whatever comes now
                    # Where its folder has been deleted, a new one needs a marker, too.
                    self._marked = self._marked and not self.store.supports_append
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, self.options.retry.longest)
        finally:
            self._commit_task = None
            self._wake_for_more()

    def _committed(self) -> None:
        """Serve who has waited, and do what follows a commit."""
        self._commits += 1
        self._last_error = ""
        _serve(self._serving)
        self._serving = []
        self._pace.last_commit = time.monotonic()
        self.outage.over()
        self.events.extend(self.alive.heard())
        if self._sealer is not None:
            self._sealer.committed()

    def _wake_for_more(self) -> None:
        self._flushes.extend((*self._serving, *self._committing))
        self._serving, self._committing = [], []
        if self._flushes:
            self._hasten()
        else:
            self._wake()

    def fail(self, what: str, error: Exception) -> None:
        """Remember a failure that is tried again; say so once."""
        text = f"{what}: {failure_of(error)}"
        if not self._last_error:
            logger.warning("aqrec: %s; trying again until it works", text)
        self._last_error = text

    async def flush(self, timeout: float | None = None, *, durable: bool = True) -> None:  # noqa: ASYNC109 - a deadline of the store's, not of the caller
        """Wait until everything logged before the call is durable in the store, or only handed over.

        Cancelling stops the wait, not the writing. Raises `FlushTimeoutError` after `timeout` seconds (default
        ``Options.flush_timeout``).
        """
        await self._wait(timeout, durable=durable, spool=not durable)

    async def acknowledge(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a deadline of the store's, not of the caller
        """Do as `flush`; while the store is away, with ``durability="local"``, or when half of the time is over, the spool will do."""
        await self._wait(timeout, durable=True, spool=True)

    async def encode(self) -> None:
        """Wait until everything logged before the call is in the logs, wherever they are."""
        await self._wait(None, durable=False, spool=False, encoded=True)

    async def _wait(self, limit: float | None, *, durable: bool, spool: bool, encoded: bool = False) -> None:
        if self._pump_task is None:
            if self.closed and (text := self.unstored()):
                raise StorageError(f"the store was closed before everything was durable: {text}")
            if self.closed or not (self.buffer.queue or self.events):
                return
            # The first record is there, the call that begins the engine is still on its way to this thread.
            self.start()
            self._begin()
        limit = self.options.flush_timeout if limit is None else limit
        target = self.buffer.popped + len(self.buffer.queue)
        request = Flush(target, durable, spool, asyncio.get_running_loop().create_future(), encoded)
        self._flushes.append(request)
        try:
            await self.outage.wait(request, limit, self._hasten)
        except TimeoutError:
            text = self.unstored()
            if request.reached and not text and not self.outage.artifacts:
                return  # it became durable at the last moment
            raise FlushTimeoutError(
                f"not durable within {limit:g} s: {text or 'some bytes are on their way'}. It is kept and tried again; "
                "check that the store can be reached and has free space"
            ) from None

    async def seal_early(self, state: RunState) -> None:
        """Seal a run that ends before its events are durable, where that saves requests and the store answers."""
        if self._sealer is not None and not (
            self.store.supports_append or self.outage.away or self.options.durability == "local"
        ):
            await self._sealer.early(state)

    async def run_ended(self, state: RunState) -> list[Sealed]:
        """Seal an ended run by ``Options.seal``; its last event must be durable. Returns where its points went."""
        self.alive.stop(state.run_id)
        assert self._sealer is not None
        return await self._sealer.run_ended(state)

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a deadline of the store's, not of the caller
        """Make everything durable, seal what waits, finish the files, close the store.

        Takes `timeout` seconds at most (default ``Options.close_timeout``); then it says in the log what is not stored.
        """
        if self.closed:
            return
        limit = self.options.close_timeout if timeout is None else timeout
        grace = min(_CLOSE_GRACE, limit / 5) if self.spool is not None else 0.0
        try:
            # A store that could not even be opened, and owes nobody anything, is not waited for.
            if self._marked or self.unstored():
                async with asyncio.timeout(limit - grace):
                    await self.flush(timeout=float("inf"))
                    self.closed = True
                    self.buffer.close()
                    await self._close_orderly()
        except TimeoutError:
            await self._keep(grace)
            logger.error(
                "aqrec: gave up after %.3g s: %s", limit, self.unstored() or "histories are not sealed"
            )
        except AqrecError as error:
            logger.error("aqrec: closing %s: %s", self.store.url, error)
        finally:
            self.closed = True
            self.buffer.close()
            for task in (self._pump_task, self._commit_task):
                if task is not None:
                    task.cancel()
            if self._sealer is not None:
                self._sealer.cancel()
            self._pump_task = None
            self._opening.cancel()
            self.outage.cancel()
            for flush in (*self._flushes, *self._committing, *self._serving, *self.outage.waiting()):
                if not flush.done.done():
                    text = f"the store was closed before everything was durable: {self.unstored()}"
                    flush.done.set_exception(StorageError(text))
            try:
                await asyncio.wait_for(self.store.aclose(), _CLOSE_GRACE)
            except TimeoutError:
                logger.error("aqrec: a call to %s hangs; it is left to end by itself", self.store.url)
            if self.spool is not None:
                self.spool.close()

    async def _keep(self, grace: float) -> None:
        """Let the spool have what the store has not taken."""
        self.outage.give_up()
        if self.spool is not None and self._pump_task is not None:
            with contextlib.suppress(StorageError):
                await self.acknowledge(grace)

    async def _close_orderly(self) -> None:
        journal, catalog, sealer = self._journal, self._catalog, self._sealer
        if journal is None or catalog is None or sealer is None:
            return
        await self.flush(timeout=float("inf"))
        await self.outage.finish()
        await sealer.finish()
        await self.flush(timeout=float("inf"))  # what says where sealed points are, before their journal goes
        while self._commit_task is not None:
            await asyncio.shield(self._commit_task)
        await journal.close(keep=sealer.needed)
        await catalog.close(keep=lambda _: True)
        await sealer.free_journal()

    def release(self) -> None:
        """Leave the runtime; call it off the engine thread, after `close`."""
        runtime, self.runtime = self.runtime, None
        if runtime is not None:
            runtime.release()


def _serve(flushes: list[Flush]) -> None:
    for flush in flushes:
        if not flush.done.done():
            flush.done.set_result(None)
