"""One store as this process uses it: engine, catalog and the runs it has open; shared by all managers of the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from aqrec.artifacts import Digest
from aqrec.engine import (
    Engine,
    Runtime,
    acquire_engine,
    bridge,
    current_runtime,
    follow,
    leaving,
    release_engine,
)
from aqrec.errors import ClosedError, InvalidInputError, StorageError
from aqrec.format._names import check_name
from aqrec.format._records import STATUS_FI
from aqrec.options import Options
from aqrec.reading import Catalog
from aqrec.recording._remembered import Remembered, refuse_partial
from aqrec.stores._archives import Archives
from aqrec.stores._place import target_of
from aqrec.upkeep import Compaction, Folding, compact

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from aqrec.format._records import ArtifactVersion

__all__ = ["Session"]

logger = logging.getLogger("aqrec")

_GRACE = 5.0
"""Seconds beyond ``Options.close_timeout`` that the engine thread gets to say that it is done"""
_READ_OWN_TIMEOUT = 5.0
T = TypeVar("T")


class OpenRun(Protocol):
    """A run as far as a session knows it."""

    run_id: str

    async def finish(self, status: str, reason: str = "") -> None:
        """End it, or wait for the end that is under way."""


class Session:
    """See the module's text. Coroutines run on the engine thread.

    Opened on first use: constructing one does no I/O and starts no thread.
    """

    def __init__(
        self,
        url: str,
        options: Options,
        storage_options: dict[str, Any] | None = None,
        default_exp_name: str = "Experiment",
    ) -> None:
        self.target = target_of(url, storage_options)
        """Which store it is and how to open it; never shown, since it may hold credentials"""
        self.url = self.target.canonical
        self.archives = Archives(self.target)
        """Other stores that hold objects of this one"""
        self.options = options
        self.default_exp_name = check_name("experiment", default_exp_name)
        self.closed = False
        self.made: set[tuple[str, ArtifactVersion]] = set()
        """Key and version of artifacts that this process made out of objects: their pickles are its own"""
        self.published: dict[str, str] = {}
        """Checksum of what this process last put under an artifact's key, by key, while that is sure"""
        self.shared: dict[str, tuple[Digest, int]] = {}
        """Content of this process that runs share, by key, and when it was put, ms since epoch"""
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._runtime: Runtime | None = None
        self._catalog: Catalog | None = None
        self._folding: Folding | None = None
        self._remembered: Remembered | None = None
        self._runs: WeakValueDictionary[str, OpenRun] = WeakValueDictionary()
        self.begun: dict[str, OpenRun] = {}
        """Runs that were begun here and are not stored to their end"""
        self._closing: Future[None] | None = None
        self._released: Engine | None = None
        self._pid = os.getpid()

    @property
    def engine(self) -> Engine:
        """The engine; taken on first use."""
        self._take()
        assert self._engine is not None
        return self._engine

    @property
    def runtime(self) -> Runtime:
        """The engine thread; started on first use."""
        self._take()
        assert self._runtime is not None
        return self._runtime

    @property
    def catalog(self) -> Catalog:
        """What the store holds."""
        self._take()
        assert self._catalog is not None
        return self._catalog

    def _take(self) -> None:
        if (
            self._pid != os.getpid()
        ):  # forked: the engine has reset itself; its thread and the catalog's lock are the parent's
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self._runtime = self._closing = None
            self.begun.clear()  # the parent ends them
        with self._lock:
            if self._runtime is not None:
                return
            if self.closed:
                raise ClosedError(f"the manager of {self.url} is closed; open it again")
            if self._engine is None:
                self._engine = acquire_engine(self.target.url, self.options, self.target.storage_options)
            runtime = current_runtime()
            runtime.acquire()
            self._runtime = runtime
            self._catalog = Catalog(self._engine.store, self.url, self._engine.writer)
            self._remembered = None
            # Snapshots and heads are of one store; what is recorded offline becomes part of another.
            enabled = self.options.upkeep == "auto" and not self.options.offline
            self._folding = Folding(self._catalog, enabled=enabled)

    @property
    def prepared(self) -> bool:
        """Whether `prepare` has nothing to do, so that no other thread need be asked."""
        engine = self._engine
        return self._runtime is not None and self._pid == os.getpid() and engine is not None and engine.opened

    async def check(self) -> None:
        """Read the store's marker; raise what stands against using the store."""
        await self.check_once()

    async def prepare(self) -> None:
        """Make the store ready to be written."""
        self.engine.start()
        await self.engine.open(known=self.catalog.checked)

    async def refresh(self, within: float | None = None) -> Catalog:
        """Return the catalog, with all that is visible now; see `Catalog.refresh`."""
        catalog = self.catalog
        await self.check_once()
        await catalog.refresh(within)
        self._remembered = None
        self.engine.clock.observe(catalog.observed)
        if self._folding is not None:
            self._folding.consider()
        return catalog

    async def view(self, *, own: bool = False) -> Catalog:
        """Return the catalog as `refresh` does, or, while the store is away, as it is remembered: then it is another object.

        Where nothing was read before, `StorageError` is raised, unless all that is wanted is this process's `own`.
        """
        engine = self.engine
        outage = engine.outage
        if outage.spool is None or self.options.offline or not engine.opened:
            return await self.refresh()
        if not outage.away:
            try:
                return await self.refresh(outage.patience)
            except StorageError as error:
                if error.permanent:
                    raise
        with contextlib.suppress(StorageError):  # what was logged becomes events
            await engine.flush(_READ_OWN_TIMEOUT, durable=False)
        if self._remembered is None:
            self._remembered = Remembered(self.catalog, outage)
        catalog = self._remembered.view()
        if not own:
            refuse_partial(catalog)
        return catalog

    async def compact(self, grace: float, *, own_histories: bool) -> Compaction:
        """Fold the whole catalog; see `ExperimentManager.compact`."""
        if self.options.offline:
            raise InvalidInputError(
                "what is recorded offline is not compacted; send it by sync_spool() first"
            )
        return await compact(await self.refresh(), grace=grace, own_histories=own_histories)

    async def check_once(self) -> None:
        """Check the marker unless that has been done."""
        catalog = self.catalog
        if not catalog.checked:
            engine = self.engine
            catalog.checked = engine.opened or await engine.find()

    def known(self, run_id: str) -> Any:
        """Return the run if it is open in this process."""
        return self._runs.get(run_id)

    def remember(self, run: OpenRun) -> None:
        """Make every handle of a run in this process the same one."""
        self._runs[run.run_id] = run

    async def run(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T:
        """Run a coroutine on the engine thread and wait for it; see `Runtime.run`."""
        return await self._runtime_for(work).run(work, shield=shield)

    def call(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T:
        """Run a coroutine on the engine thread and block for it; see `Runtime.call`."""
        return self._runtime_for(work).call(work, shield=shield)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do as `run` with `shield`, for leaving a block: a cancelled scope of trio's or anyio's cancels nothing for a while.

        Such a scope cancels each wait anew, where a task of asyncio's is cancelled once. The while is that of closing a store.
        """
        runtime = self._runtime_for(work)
        if runtime.on_engine_thread or not (sys.modules.keys() & {"anyio", "trio"}):
            return await runtime.run(work, shield=True)
        import anyio  # noqa: PLC0415 - keeps the import of aqrec light

        future = runtime.submit(work)
        with anyio.move_on_after(self._patience, shield=True):
            return await bridge(follow(future))
        return await bridge(follow(future))

    def _runtime_for(self, work: Coroutine[Any, Any, T]) -> Runtime:
        try:
            return self.runtime
        except BaseException:
            work.close()
            raise

    async def close(self, status: str = STATUS_FI, reason: str = "the store was closed") -> None:
        """End the runs that were begun here and not ended, then close the engine if nobody else uses it."""
        self.closed = True
        limit = self.options.close_timeout
        deadline = time.monotonic() + limit
        engine = self._engine
        if engine is not None:
            engine.outage.end_by = deadline
        try:
            await self._end_runs(status, reason, limit)
        finally:
            if engine is not None:
                engine.outage.end_by = None
            if engine is not None and release_engine(engine):
                self._released = engine
                await self._fold(engine, deadline - time.monotonic())
                await engine.close(max(deadline - time.monotonic(), limit / 10))
            else:
                await self._fold(None, 0)
                if engine is not None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                            await engine.outage.finish()
            self._engine = None
            await self.archives.aclose()

    async def _fold(self, engine: Engine | None, seconds: float) -> None:
        """End folding; fold what the engine leaves behind."""
        if self._folding is None:
            return
        wrote = engine is not None and engine.statistics().commits > 0 and engine.statistics().storing
        await self._folding.close(wrote=wrote, seconds=max(seconds, 0) / 2)

    async def _end_runs(self, status: str, reason: str, limit: float) -> None:
        runs = list(self.begun.values())
        if not runs:
            return
        try:
            async with asyncio.timeout(limit):
                results = await asyncio.gather(
                    *(run.finish(status, reason) for run in runs), return_exceptions=True
                )
        except TimeoutError:
            logger.error(
                "aqrec: runs not stored to their end in %s: %s", self.url, [run.run_id for run in runs]
            )
            return
        for error in results:
            if error is not None:  # recording is strict
                raise error

    def _release(self) -> None:
        with self._lock:
            engine, self._released = self._released, None
            runtime, self._runtime = self._runtime, None
        if engine is not None:
            engine.release()
        if runtime is not None:
            runtime.release()

    def shut(self, status: str = STATUS_FI, reason: str = "the store was closed") -> None:
        """Close and leave the engine thread, blocking; goes on without the caller who is interrupted."""
        future = self._begin_to_close(status, reason)
        if future is None:
            return
        try:
            follow(future).result(self._patience)
        except FutureTimeoutError:
            self._give_up(future)
            return
        except BaseException:
            future.add_done_callback(lambda _: self._release())
            raise
        self._release()

    async def ashut(
        self, status: str = STATUS_FI, reason: str = "the store was closed", *, insist: bool = False
    ) -> None:
        """Close and leave the engine thread, from any event loop; goes on without the caller who is cancelled.

        With `insist` a cancel scope of trio's or anyio's cancels nothing here, as in `finish`.
        """
        future = self._begin_to_close(status, reason)
        if future is None:
            return
        import anyio  # noqa: PLC0415 - keeps the import of aqrec light

        try:
            with anyio.move_on_after(self._patience, shield=insist) as waiting:
                await bridge(follow(future))
        except BaseException:
            future.add_done_callback(lambda _: self._release())
            raise
        if waiting.cancelled_caught:
            self._give_up(future)
            return
        # Joining threads that are ending takes microseconds, but not on the caller's loop.
        if _on_asyncio():
            await asyncio.get_running_loop().run_in_executor(None, self._release)
        else:
            self._release()

    @property
    def _patience(self) -> float:
        return self.options.close_timeout + _GRACE

    def _begin_to_close(self, status: str, reason: str) -> Future[None] | None:
        """Return the closing to wait for, which may have begun elsewhere, or None if there is nothing to close."""
        if self._pid != os.getpid():
            if self._runtime is None or self.closed:
                return None
            self._take()
        with self._lock:
            runtime = self._runtime
            if runtime is None or leaving.finalizing:
                self.closed = True
                return None
            if self._closing is None:
                self._closing = runtime.submit(self.close(status, reason))
            return self._closing

    def _give_up(self, future: Future[None]) -> None:
        """Leave behind a closing that hangs in a call of the operating system's."""
        future.add_done_callback(lambda _: self._release())
        logger.error("aqrec: %s does not answer; what was recorded may not be stored", self.url)


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
