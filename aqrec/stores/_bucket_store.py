"""A store in a bucket: the contract of stores, kept with the single requests of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast
from uuid import uuid4

import msgspec

from aqrec.errors import (
    AlreadyExistsError,
    AqrecError,
    ClosedError,
    InvalidInputError,
    InvalidNameError,
    ObjectNotFoundError,
    StorageError,
)

from ._abc import Children, ObjectInfo, Store
from ._bucket import Bucket, Fetched, Found, Meaning, Page, Told, Upload
from ._calls import Calls
from ._effort import Effort, Patience
from ._files import SourceFile
from ._jobs import Jobs
from ._names import MAX_KEY_BYTES, TEMPORARY, check_key, check_prefix, check_range
from ._parts import Parts
from ._ranges import Download, RangeFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ._place import Place

__all__ = ["BucketStore", "Transfer"]

T = TypeVar("T")

MIB: Final = 1 << 20
SINGLE: Final = 4
"""Parts whose size an object in memory may have and still go up in one request."""
MOST_PARTS: Final = 10_000
SMALLEST_PART: Final = 5 * MIB


class Transfer(msgspec.Struct, frozen=True):
    """How large objects go up and down.

    Attributes
    ----------
    part_size
        Bytes of a part of an upload, and of a block of a download.
    parallel
        How many of them are under way at once. A stream takes about ``(parallel + 2) * part_size`` bytes of memory.
    """

    part_size: int = 8 * MIB
    parallel: int = 8

    def __post_init__(self) -> None:
        if self.part_size < SMALLEST_PART:
            raise InvalidInputError(f"part_size must be at least {SMALLEST_PART} bytes, not {self.part_size}")
        if self.parallel < 1:
            raise InvalidInputError(f"parallel must be at least 1, not {self.parallel}")


class BucketStore(Store):
    """A store in a bucket of an object service.

    Every object is one object of the bucket, under the URL's folder. Requests that fail in passing are repeated
    with growing pauses. `create` marks its object with a nonce, so that after a lost answer it can tell its own
    object from another's, whatever the bytes. Streams go up in parts and come down in blocks, several at once;
    a failed or cancelled upload is aborted. (Parts of one whose process was killed stay, unlisted, until a
    lifecycle rule of the bucket removes them.) All bytes of a download are of one version; where the service
    does not keep the version it began with and the object is replaced meanwhile, it raises `StorageError`.

    A cancelled write gives the request under way five seconds to end. If the service takes longer, the
    connection is cut, and it may still take place.

    A store belongs to the event loop of its first call.
    """

    def __init__(self, place: Place, bucket: Bucket, patience: Patience, transfer: Transfer) -> None:
        self._place = place
        self._bucket = bucket
        self._patience = patience
        self._transfer = transfer
        self._calls = Calls(place.url)
        self._workers = Jobs(place.url)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._honours: bool | None = None
        self._closed = False
        self._room = MAX_KEY_BYTES - len(place.prefix.encode())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._place.url!r})"

    @property
    def url(self) -> str:
        """The bucket and folder, without credentials."""
        return self._place.url

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Read with one request; see `Store.get`."""
        self._check(key)
        check_range(start, end)
        return await self._read(self._get(key, start, end))

    async def put(self, key: str, data: bytes) -> None:
        """Write with one request up to the size of four parts, in parts above; see `Store.put`."""
        self._check(key)
        await self._write(partial(self._put, key, data))

    async def create(self, key: str, data: bytes) -> None:
        """Write with one request on the condition that nothing is there; see `Store.create`."""
        self._check(key)
        await self._write(partial(self._create, key, data))

    async def head(self, key: str) -> ObjectInfo:
        """Ask with one request; see `Store.head`."""
        self._check(key)
        found = await self._read(self._request(key, lambda: self._bucket.head(self._name(key))))
        return ObjectInfo(key, found.size, found.modified)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Ask page by page, each for up to 1000 objects; see `Store.list`."""
        check_prefix(prefix)
        following: Any = None
        while True:
            page = await self._read(self._page(prefix, following, deep=True))
            for info in self._infos(page.objects):
                yield info
            following = page.following
            if following is None:
                return

    async def list_dir(self, prefix: str = "") -> Children:
        """Ask page by page for direct children alone; see `Store.list_dir`."""
        check_prefix(prefix)
        objects: list[ObjectInfo] = []
        folders: set[str] = set()
        following: Any = None
        while True:
            page = await self._read(self._page(prefix, following, deep=False))
            objects += self._infos(page.objects)
            names = (name[len(self._place.prefix) :].rstrip("/") for name in page.folders)
            folders.update(name for name in names if _is_legal(name))
            following = page.following
            if following is None:
                return sorted(objects, key=lambda info: info.key), sorted(folders)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete up to 1000 objects with a request where the service can; see `Store.delete`."""
        if isinstance(keys, str):
            raise InvalidInputError(f"delete takes several keys, not one string; write delete([{keys!r}])")
        checked = list(dict.fromkeys(self._check(key) for key in keys))
        await self._write(partial(self._delete, checked))

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Upload in parts while `write` runs; with one request if all fits in a part. See `Store.put_stream`."""
        self._check(key)
        parts = Parts(self._transfer.part_size, waiting=1)
        return await self._write(partial(self._put_stream, key, write, parts), on_cancel=parts.stop)

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Download in blocks while `read` runs, ahead of it where it goes on; see `Store.get_stream`."""
        self._check(key)
        download = Download()
        return await self._calls.write(self._get_stream(key, read, download), on_cancel=download.stop)

    async def probe_create(self) -> bool:
        """Create a hidden object twice, at the first call; see `Store.probe_create`."""
        if self._honours is None:
            await self._write(self._probe)
        return bool(self._honours)

    async def aclose(self) -> None:
        """Wait for what is under way, then close the connections; cancelling cuts it. See `Store.aclose`."""
        try:
            await self._calls.aclose()
            await self._workers.aclose()
        finally:
            self._closed = True
            await self._disconnect()

    async def _disconnect(self) -> None:
        opening, self._opening = self._opening, None
        if opening is None or self._loop is not asyncio.get_running_loop():
            return  # a loop that has ended has closed its connections
        with suppress(Exception):  # an opening that failed has told its caller
            await opening
            await self._bucket.close()

    # --- calls ----------------------------------------------------------------------------------------------

    async def _read(self, call: Coroutine[Any, Any, T]) -> T:
        return await self._calls.read(call)

    async def _write(
        self, call: Callable[[Effort], Awaitable[T]], *, on_cancel: Callable[[], None] | None = None
    ) -> T:
        effort = Effort(self._patience)

        async def run() -> T:
            effort.begin()
            return await call(effort)

        def give_up() -> None:
            if on_cancel is not None:
                on_cancel()
            effort.give_up()

        return await self._calls.write(run(), on_cancel=give_up)

    async def _get(self, key: str, start: int, end: int | None) -> bytes:
        name = self._name(key)
        if end is not None and end <= start:
            await self._request(key, lambda: self._bucket.head(name))
            return b""
        fetched = await self._fetch(key, start, end)
        return bytes(fetched.data) if fetched is not None else b""

    async def _fetch(
        self, key: str, start: int, end: int | None, version: str = "", *, told: Told | None = None
    ) -> Fetched | None:
        """Return bytes, or None for a range behind the end."""
        call = partial(self._bucket.get, self._name(key), start, end, version, told=told)
        try:
            return await self._request(key, call)
        except _BeyondError:
            return None

    async def _first_block(
        self, key: str, size: int, opened: asyncio.Future[tuple[int, str]]
    ) -> bytes | memoryview:
        """Return an object's first block, and tell its size and version as soon as they are known."""

        def told(size: int, version: str) -> None:
            if not opened.done():  # a repeated request tells again
                opened.set_result((size, version))

        try:
            found = await self._fetch(key, 0, size, told=told)
            if found is None:  # nothing has no range
                found = await self._request(key, lambda: self._bucket.get(self._name(key), 0, None))
        except asyncio.CancelledError:
            opened.cancel()
            raise
        except Exception as error:
            if not opened.done():
                opened.set_exception(error)
            raise
        told(found.size, found.version)
        if opened.result() != (found.size, found.version):
            raise self._replaced(key)
        return found.data

    async def _block(self, key: str, version: str, start: int, end: int) -> bytes | memoryview:
        try:
            found = await self._fetch(key, start, end, version)
        except ObjectNotFoundError as error:
            raise StorageError(f"{key!r} in {self.url} was deleted while it was being read") from error
        if found is None or found.version != version or len(found.data) != end - start:
            raise self._replaced(key)
        return found.data

    async def _get_stream(self, key: str, read: Callable[[BinaryIO], T], download: Download) -> T:
        loop, block = asyncio.get_running_loop(), self._transfer.part_size
        opened: asyncio.Future[tuple[int, str]] = loop.create_future()
        download.first = asyncio.run_coroutine_threadsafe(self._first_block(key, block, opened), loop)
        size, version = await opened
        fetch = partial(self._block, key, version)
        raw = RangeFile(key, size, download.first, block, self._transfer.parallel - 1, fetch)
        download.raw = raw

        def work() -> T:
            with SourceFile(raw, download.stopped) as file:
                return read(cast("BinaryIO", file))

        return await self._workers.run(work)

    async def _put(self, key: str, data: bytes, effort: Effort) -> None:
        if len(data) <= SINGLE * self._transfer.part_size:
            await self._request(key, lambda: self._bucket.put(self._name(key), data), effort)
            return
        view, size = memoryview(data), self._transfer.part_size

        async def pieces() -> AsyncIterator[bytes]:
            for begin in range(0, len(view), size):
                yield bytes(view[begin : begin + size])

        upload = await self._begin_upload(key, effort)
        await self._aborting(key, upload, self._send(key, upload, pieces(), effort))

    async def _create(self, key: str, data: bytes, effort: Effort) -> None:
        name, nonce = self._name(key), uuid4().hex
        attempt = 0
        while True:
            free = self._honours is not False
            if not free and await self._found(key, effort) is not None:
                raise AlreadyExistsError(self._taken(key))
            try:
                await self._prepared()
                await self._bucket.put(name, data, nonce=nonce, free=free)
            except AqrecError:
                raise
            except Exception as error:
                meaning = self._bucket.meaning(error)
                if meaning is Meaning.IGNORED and free:
                    self._honours = False
                    continue
                if meaning not in {Meaning.BUSY, Meaning.TAKEN}:
                    raise self._translated(key, error) from error
                if meaning is Meaning.BUSY and await effort.again(attempt):
                    attempt += 1
                    continue
                # An attempt without an answer may have had its effect, and clients make some of their own (aiohttp, when a
                # kept connection breaks): the nonce tells whose object is there.
                found = await self._found(key, effort)
                if found is not None and found.nonce == nonce:
                    return
                if found is not None:
                    raise AlreadyExistsError(self._taken(key)) from error
                raise self._translated(key, error) from error
            else:
                return

    async def _found(self, key: str, effort: Effort) -> Found | None:
        try:
            return await self._request(key, lambda: self._bucket.head(self._name(key)), effort)
        except ObjectNotFoundError:
            return None

    async def _probe(self, effort: Effort) -> None:
        key = f"{TEMPORARY}/create-{uuid4().hex}"
        name = self._name(key)
        try:
            for _ in range(2):
                await self._request(key, lambda: self._bucket.put(name, b"", free=True), effort)
        except AlreadyExistsError:
            self._honours = True
        except _IgnoredError:
            self._honours = False
        else:
            self._honours = False
        finally:
            await self._request(key, lambda: self._bucket.delete([name]), effort)

    async def _page(self, prefix: str, following: Any, *, deep: bool) -> Page:
        folder = self._name(f"{prefix}/") if prefix else self._place.prefix
        return await self._request(prefix, lambda: self._bucket.page(folder, following, deep=deep))

    async def _delete(self, keys: Sequence[str], effort: Effort) -> None:
        size = self._bucket.page_size
        for begin in range(0, len(keys), size):
            left: Sequence[str] = [self._name(key) for key in keys[begin : begin + size]]
            attempt = 0
            while left:
                key = left[0][len(self._place.prefix) :]
                left = await self._request(key, partial(self._bucket.delete, left), effort)
                if left and not await effort.again(attempt):
                    key = left[0][len(self._place.prefix) :]
                    raise StorageError(f"{key!r} in {self.url}: {len(left)} objects could not be deleted")
                attempt += 1

    # --- uploads --------------------------------------------------------------------------------------------

    async def _put_stream(self, key: str, write: Callable[[BinaryIO], T], parts: Parts, effort: Effort) -> T:
        job = asyncio.ensure_future(self._workers.run(partial(parts.write_with, write)))
        # A call that is given up while it waits for a part does not come to awaiting the job.
        job.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        if not await parts.arrived():
            result, whole = await job
            parts.check()
            await self._put(key, whole or b"", effort)
            return result

        async def feed() -> T:
            """Send the parts, and let the callback end first whatever happens to them."""
            try:
                await self._send(key, upload, parts, effort, before=job)
            except BaseException as error:
                refusal = error if isinstance(error, AqrecError) else ClosedError("the upload was broken off")
                parts.refuse(refusal)
                await job  # what the callback raised comes first: it may be why the upload failed
                raise
            return (await job)[0]

        try:
            upload = await self._begin_upload(key, effort)
        except BaseException as error:
            parts.refuse(error if isinstance(error, AqrecError) else ClosedError("the upload was broken off"))
            await job
            raise
        return await self._aborting(key, upload, feed())

    async def _begin_upload(self, key: str, effort: Effort) -> Upload:
        nonce = uuid4().hex
        return await self._request(key, lambda: self._bucket.begin_upload(self._name(key), nonce), effort)

    async def _aborting(self, key: str, upload: Upload, work: Awaitable[T]) -> T:
        """Await the rest of an upload, and drop its parts if that fails."""
        try:
            return await work
        except BaseException:
            # an effort of its own: that of the call may be given up already
            effort = Effort(self._patience)
            with suppress(
                AqrecError
            ):  # what the parts cost is a lifecycle rule's business; the error is ours
                await asyncio.shield(
                    asyncio.ensure_future(
                        self._request(key, lambda: self._bucket.abort_upload(upload), effort)
                    )
                )
            raise

    async def _send(
        self,
        key: str,
        upload: Upload,
        parts: AsyncIterator[bytes],
        effort: Effort,
        *,
        before: Awaitable[object] | None = None,
    ) -> None:
        """Send parts, a few at once, and make the object of them, once `before` has come."""
        limit = self._transfer.parallel if self._bucket.parts_in_any_order else 1
        sending: list[asyncio.Task[Any]] = []
        running: set[asyncio.Task[Any]] = set()
        try:
            async for part in parts:
                if len(running) >= limit:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                if len(sending) == MOST_PARTS:
                    raise StorageError(
                        f"{key!r} in {self.url} is too large for {MOST_PARTS} parts of "
                        f"{self._transfer.part_size} bytes; raise the storage option part_size"
                    )
                number = len(sending) + 1
                call = partial(self._bucket.put_part, upload, number, part)
                del part
                task = asyncio.create_task(self._request(key, call, effort))
                del call
                sending.append(task)
                running.add(task)
            receipts = [await task for task in sending]
        except BaseException:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            raise
        if before is not None:
            await before
        await self._finish(key, upload, receipts, effort)

    async def _finish(self, key: str, upload: Upload, receipts: Sequence[Any], effort: Effort) -> None:
        doubtful = False

        async def finish() -> None:
            nonlocal doubtful
            try:
                await self._bucket.finish_upload(upload, receipts)
            except Exception as error:
                if self._bucket.meaning(error) is Meaning.MISSING and doubtful:
                    # an attempt without an answer has ended the upload; then the object carries its nonce
                    found = await self._bucket.head(upload.name)
                    if found.nonce == upload.nonce:
                        return
                doubtful = True
                raise

        try:
            await self._request(key, finish, effort)
        except ObjectNotFoundError as error:
            raise StorageError(f"{key!r} in {self.url}: its upload was dropped by the service") from error

    # --- requests -------------------------------------------------------------------------------------------

    async def _request(self, key: str, call: Callable[[], Awaitable[T]], effort: Effort | None = None) -> T:
        """Make a request until it succeeds or will not, and translate what it raises."""
        effort = effort or Effort(self._patience)
        attempt = 0
        while True:
            try:
                await self._prepared()
                return await call()
            except AqrecError:
                raise
            except Exception as error:
                if self._bucket.meaning(error) is not Meaning.BUSY or not await effort.again(attempt):
                    raise self._translated(key, error) from error
            attempt += 1

    async def _prepared(self) -> None:
        """Make the client at the first call, and refuse another loop than that call's."""
        if self._closed:
            raise ClosedError(f"the store {self.url} is closed")
        loop = asyncio.get_running_loop()
        if self._opening is None or _has_failed(self._opening):
            self._loop = loop
            self._opening = loop.create_task(self._open())
        elif self._loop is not loop:
            raise InvalidInputError(
                f"the store {self.url} is in use on another event loop, which its connections belong to; open "
                "one for each loop"
            )
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        await self._workers.run(self._bucket.prepare)
        await self._bucket.open()

    def _translated(self, key: str, error: Exception) -> AqrecError:
        meaning = self._bucket.meaning(error)
        where = f"{key!r} in {self.url}"
        if meaning is Meaning.MISSING:
            return ObjectNotFoundError(f"there is no object {where}")
        if meaning is Meaning.TAKEN:
            return AlreadyExistsError(self._taken(key))
        if meaning is Meaning.BEYOND:
            return _BeyondError(f"{where}: the range begins behind its end")
        if meaning is Meaning.IGNORED:
            return _IgnoredError(f"{where}: the service knows no conditional writes")
        if meaning is Meaning.NO_BUCKET:
            return _permanent(f"{where}: the bucket {self._place.bucket!r} does not exist; make it first")
        text = self._bucket.text(error)
        if meaning is Meaning.DENIED:
            return _permanent(f"{where}: the credentials do not allow it: {text}")
        return StorageError(f"{where}: {text}")

    def _check(self, key: str) -> str:
        check_key(key)
        if len(key) * 4 > self._room and len(key.encode()) > self._room:
            raise InvalidNameError(
                f"{key[:200]!r}… in {self.url}: it has {len(key.encode())} bytes, and {self._room} are left by the URL"
            )
        return key

    def _replaced(self, key: str) -> StorageError:
        return StorageError(f"{key!r} in {self.url} was replaced while it was being read; read it again")

    def _taken(self, key: str) -> str:
        return f"{key!r} exists already in {self.url}: choose another key"

    def _name(self, key: str) -> str:
        return self._place.prefix + key

    def _infos(self, found: Iterable[Found]) -> Sequence[ObjectInfo]:
        root = len(self._place.prefix)
        return [ObjectInfo(key, one.size, one.modified) for one in found if _is_legal(key := one.name[root:])]


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class _BeyondError(StorageError):
    """A range begins behind the object's end."""


class _IgnoredError(StorageError):
    """The service knows no conditional writes."""


def _permanent(text: str) -> StorageError:
    error = StorageError(text)
    error.permanent = True
    return error


def _is_legal(key: str) -> bool:
    try:
        check_key(key)
    except InvalidNameError:
        return False
    return True
