"""Send what dead and offline writers have left in the spool.

Idempotent, and safe beside anything: a living writer holds the lock of its folder, and so does whoever sends it. Objects go under
their keys: new artifacts first, then points, then the events that speak of both, then artifacts that replace others, and last the
documents of ended runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import msgspec

from aqrec.artifacts._hashing import HashingReader
from aqrec.engine import current_runtime, ensure_marker
from aqrec.engine._spool import (
    SpoolHeader,
    find_spools,
    lock_folder,
    read_header,
    remove_folder,
    spool_root,
    unlock_folder,
)
from aqrec.errors import AqrecError, CorruptError, NotFoundError, StorageError
from aqrec.format import _layout as layout
from aqrec.format._document import document_from_json, document_to_json
from aqrec.options import RetryOptions, SpoolOptions
from aqrec.reading import Catalog
from aqrec.stores import Store, open_store
from aqrec.stores._names import TEMPORARY
from aqrec.stores._place import target_of

__all__ = ["Attempt", "Progress", "SpoolReport", "send_spools", "sync_spool"]

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with the bytes sent and all bytes to send"""

Attempt = Callable[[str, int, int, str], None]
"""Called with a store's URL, the number of the attempt that is made now and of all that may be made, and why the last one failed"""

_ATTEMPTS = 8
_AT_ONCE = 4
_PUT_BYTES = 8 * 1024 * 1024
_STAGES = _ARTIFACTS, _POINTS, _EVENTS, _REPLACED, _DOCUMENTS = range(5)


class SpoolReport(msgspec.Struct, kw_only=True):
    """What became of one writer's spool.

    Attributes
    ----------
    url
        The store it is for, "" if that cannot be told.
    folder
        Where it lies, or lay.
    writer, host, pid, created
        Who made it, and when (ms since epoch).
    offline
        Whether it was recorded with ``mode="offline"``.
    objects, bytes
        What was found in it.
    sent, sent_bytes
        What the store has of that now.
    state
        ``sent``: all of it, the folder is gone. ``waiting``: nothing was tried (a dry run). ``in use``: its process lives, or
        somebody else is sending it. ``failed``: see `reason`; the rest stays where it is.
    reason
        Why something remains, "" if nothing does.
    """

    url: str = ""
    folder: str
    writer: str = ""
    host: str = ""
    pid: int = 0
    created: int = 0
    offline: bool = False
    objects: int = 0
    bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    state: Literal["sent", "waiting", "in use", "failed"] = "waiting"
    reason: str = ""


class _Object(msgspec.Struct, frozen=True):
    key: str
    path: Path
    size: int


def _refuse(error: OSError) -> None:
    """Let no folder be passed over: what is not seen would not be sent, and then be removed."""
    if not isinstance(error, FileNotFoundError):  # a spool without objects has no folder of them
        raise error


class _Found:
    """A spool whose lock is held."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.lock = lock
        self.objects: list[_Object] = []

    def look(self) -> None:
        """List what is there. Blocks."""
        root = self.folder / "objects"
        for place, folders, names in os.walk(root, onerror=_refuse):
            if place == str(root):  # only there is it the store's own; elsewhere it is a name like any other
                folders[:] = [name for name in folders if name != TEMPORARY]
            for name in names:
                path = Path(place, name)
                key = path.relative_to(root).as_posix()
                if key != layout.MARKER:
                    self.objects.append(_Object(key, path, path.stat().st_size))
        self.objects.sort(key=lambda item: item.key)

    def of(self, stage: int) -> list[_Object]:
        """Return the objects that are sent in one stage."""
        return [item for item in self.objects if _stage(item.key) == stage]

    def finish(self, *, remove: bool) -> None:
        """Remove the folder, or only leave it. Blocks."""
        try:
            if remove:
                remove_folder(self.folder)
        finally:
            unlock_folder(self.lock)


async def sync_spool(
    uri: str | None = None,
    *,
    storage_options: dict[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[SpoolReport]:
    """Send what ended processes and ``mode="offline"`` have left in this machine's spool to its stores.

    May run at any time, several times at once, and beside the processes that record: what a living process has in its spool is left
    to it. Nothing is stored twice.

    Parameters
    ----------
    uri
        Only what is for this store; default: everything.
    storage_options
        Passed to the store's driver (credentials, endpoints): the spool holds none.
    folder
        Where the spools lie; default as in `SpoolOptions`.
    dry_run
        Only tell what is there.
    progress
        Called with the bytes sent so far and all bytes to send, on aqrec's own thread.

    Returns
    -------
    A report on each writer's spool that was found.

    Waits for the stores, and tries again a few times what they refuse. Cancelling leaves the rest for the next call.
    """
    runtime = current_runtime()
    runtime.acquire()
    work = send_spools(uri, storage_options, folder, dry_run=dry_run, progress=progress)
    try:
        return await runtime.run(work)
    finally:
        await runtime.arelease()


async def send_spools(
    uri: str | None,
    storage_options: Mapping[str, Any] | None,
    folder: str | os.PathLike[str] | None,
    *,
    dry_run: bool,
    progress: Progress | None,
    attempt: Attempt | None = None,
    retry: RetryOptions | None = None,
) -> list[SpoolReport]:
    """Do what `sync_spool` says, on the engine thread; `attempt` is told whom it waits for."""
    url = None
    if uri is not None:
        url, _, storage_options, _ = target_of(uri, storage_options)
    root = spool_root(SpoolOptions(folder=os.fspath(folder) if folder is not None else None))
    loop = asyncio.get_running_loop()
    reports: list[SpoolReport] = []
    todo: list[tuple[SpoolReport, _Found]] = []
    try:
        for path in await loop.run_in_executor(None, find_spools, root, url):
            report, found = await _taken(path)
            if report is not None:
                reports.append(report)
                if found is not None:
                    todo.append((report, found))
        if not dry_run:
            sender = _Sender(storage_options, retry or RetryOptions(), progress, attempt, todo)
            while todo:
                report, found = todo[0]
                await sender.send(report, found)
                todo.pop(0)
                await loop.run_in_executor(None, partial(found.finish, remove=report.state == "sent"))
    finally:
        for _, found in todo:
            found.finish(remove=False)
    return reports


async def _taken(folder: Path) -> tuple[SpoolReport | None, _Found | None]:
    """Do as `_take`, in a worker thread; who is cancelled meanwhile keeps no lock."""
    # A future that does not belong to the loop, which may have ended before the worker thread has.
    taking = Future[tuple[SpoolReport | None, _Found | None]]()
    taking.set_running_or_notify_cancel()

    def work() -> None:
        try:
            taking.set_result(_take(folder))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's task
            taking.set_exception(error)

    working = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.wrap_future(taking)
    except asyncio.CancelledError:
        working.cancel()
        taking.add_done_callback(_leave)
        raise


def _leave(taking: Future[tuple[SpoolReport | None, _Found | None]]) -> None:
    if taking.exception() is None and (found := taking.result()[1]) is not None:
        found.finish(remove=False)


def _take(folder: Path) -> tuple[SpoolReport | None, _Found | None]:
    """Lock a spool and see what is in it. Blocks."""
    lock = lock_folder(folder)
    found: _Found | None = None
    try:
        report, found = _look(folder, lock)
        return report, found
    finally:
        if lock is not None and found is None:
            unlock_folder(lock)


def _look(folder: Path, lock: int | None) -> tuple[SpoolReport | None, _Found | None]:
    header: SpoolHeader | None = None
    report = SpoolReport(folder=str(folder), writer=folder.name)
    try:
        header = read_header(folder)
    except CorruptError as error:
        report.state, report.reason = "failed", str(error)
    if header is not None:
        report.url, report.host, report.pid = header.url, header.host, header.pid
        report.created, report.offline = header.created, header.offline
    if lock is None:
        if header is None:
            return None, None  # it is being made, or has just gone
        report.state = "in use"
        report.reason = f"process {report.pid} on {report.host} lives, or it is being sent by another"
        return report, None
    found = _Found(folder, lock)
    try:
        found.look()
    except OSError as error:
        report.state, report.reason = "failed", f"it cannot be read: {error}"
        return report, None
    report.objects, report.bytes = len(found.objects), sum(item.size for item in found.objects)
    if header is None:
        if not found.objects:
            remove_folder(folder)
            return None, None
        return report, None
    return report, found


class _Sender:
    def __init__(
        self,
        storage_options: Mapping[str, Any] | None,
        retry: RetryOptions,
        progress: Progress | None,
        attempt: Attempt | None,
        todo: Iterable[tuple[SpoolReport, _Found]],
    ) -> None:
        self._options = dict(storage_options) if storage_options else None
        self._retry = retry
        self._progress = progress
        self._attempt = attempt
        self._url = ""
        self._total = sum(report.bytes for report, _ in todo)
        self._done = 0
        self._unreachable: dict[str, str] = {}

    async def send(self, report: SpoolReport, found: _Found) -> None:
        """Send one spool; what goes wrong is told by the report."""
        report.state, report.reason = "failed", self._unreachable.get(report.url, "")
        if report.reason:
            return
        self._url = report.url
        try:
            store = open_store(report.url, storage_options=self._options)
        except AqrecError as error:
            report.reason = str(error)
            return
        try:
            await self._again(partial(ensure_marker, store))
            await self._send_all(store, report, found)
        except StorageError as error:
            report.reason = self._unreachable[report.url] = _told(error)
        except (AqrecError, OSError) as error:
            report.reason = str(error)
        else:
            report.state = "sent"
        finally:
            await store.aclose()

    async def _send_all(self, store: Store, report: SpoolReport, found: _Found) -> None:
        loop = asyncio.get_running_loop()
        catalog = Catalog(store, report.url)
        slots = asyncio.Semaphore(_AT_ONCE)
        # A reference may say what its key held before, so bytes that replace others follow it.
        replaced: list[_Object] = []
        # What the store has got is no orphan there as long as it would be sent again: it stays until its events are sent.
        sent: list[_Object] = []

        async def send(item: _Object, stage: int) -> None:
            async with slots:
                if stage == _ARTIFACTS:
                    if await self._again(partial(_size, store, item.key)) >= 0:
                        replaced.append(item)
                        return
                    wanted = True
                elif stage == _REPLACED:
                    wanted = await self._again(partial(_is_latest, catalog, item))
                elif stage == _DOCUMENTS:
                    wanted = False
                    await self._again(partial(_put_document, store, catalog, item))
                else:
                    # A key is its writer's own: what is there is this, or, after a power loss here, more of it.
                    wanted = item.size > await self._again(partial(_size, store, item.key))
                if wanted:
                    await self._again(partial(_put, store, item))
                if stage == _POINTS:
                    sent.append(item)
                else:
                    await loop.run_in_executor(None, partial(item.path.unlink, missing_ok=True))
            report.sent += 1
            report.sent_bytes += item.size
            self._done += item.size
            if self._progress is not None:
                self._progress(self._done, self._total)

        for stage in _STAGES:
            group = replaced if stage == _REPLACED else found.of(stage)
            outcomes = await asyncio.gather(*(send(item, stage) for item in group), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
            if stage == _EVENTS:
                for item in sent:
                    await loop.run_in_executor(None, partial(item.path.unlink, missing_ok=True))

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the store does not fail, or says that it always will, a few times."""
        pause, number, why = self._retry.first, 1, ""
        while True:
            if self._attempt is not None:
                self._attempt(self._url, number, _ATTEMPTS, why)
            try:
                return await call()
            except StorageError as error:
                if error.permanent or number == _ATTEMPTS:
                    raise
                why = str(error)
            await asyncio.sleep(pause)
            pause, number = min(2 * pause, self._retry.longest), number + 1


def _told(error: StorageError) -> str:
    """Return what failed, and what to do."""
    if error.permanent:
        return (
            f"{error}. It will not answer otherwise: check the bucket's name, the credentials in the environment and the "
            "storage options (aqrec sync --option KEY=VALUE), then sync again"
        )
    return f"{error}. {_ATTEMPTS} attempts were made; all is kept, sync again when the store can be reached"


def _stage(key: str) -> int:
    if key.startswith(f"{layout.EVENTS}/"):
        return _EVENTS
    if key.startswith("shared/") or "/artifacts/" in key:
        return _ARTIFACTS
    return _DOCUMENTS if key.endswith("/run.json") else _POINTS


async def _is_latest(catalog: Catalog, item: _Object) -> bool:
    """Whether these are the bytes that the store's events speak of; else they were replaced since, or nobody was told of them."""
    folder, _, path = item.key.partition("/artifacts/")
    if not path:
        return False  # shared content, which is there already
    await catalog.refresh()
    run_id = folder.rpartition("/")[2]
    if run_id not in catalog.runs:
        run_id = next(
            (known for known in catalog.runs if layout.artifacts_folder(known) == f"{folder}/artifacts"), ""
        )
    ref = catalog.runs[run_id].artifacts.get(path) if run_id else None
    if ref is None or ref.key != item.key:
        return False
    return ref.checksum == await asyncio.get_running_loop().run_in_executor(None, _checksum, item.path)


def _checksum(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return HashingReader(file).drain().checksum


async def _size(store: Store, key: str) -> int:
    try:
        return (await store.head(key)).size
    except NotFoundError:
        return -1


async def _put(store: Store, item: _Object) -> None:
    if item.size <= _PUT_BYTES:
        data = await asyncio.get_running_loop().run_in_executor(None, item.path.read_bytes)
        await store.put(item.key, data)
        return

    def copy(out: BinaryIO) -> None:
        with item.path.open("rb", buffering=0) as file:
            while block := file.read(1 << 20):
                out.write(block)

    await store.put_stream(item.key, copy)


async def _put_document(store: Store, catalog: Catalog, item: _Object) -> None:
    """Put an ended run's document: as it was, or with what other writers have added since."""
    data = await asyncio.get_running_loop().run_in_executor(None, item.path.read_bytes)
    if await _size(store, item.key) >= 0:
        await catalog.refresh()
        doc = catalog.runs.get(document_from_json(data).run_id)
        if doc is not None:
            data = document_to_json(doc)
    await store.put(item.key, data)
