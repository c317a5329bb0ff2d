"""Buckets through obstore: S3, Google Cloud Storage and Azure by one compiled client."""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from aqrec.errors import StorageError

from ._bucket import Bucket, Fetched, Found, Meaning, Page, Told, Upload
from ._bucket_store import BucketStore, Transfer
from ._effort import Patience
from ._obstore_config import OPTIONS, Native, take_token
from ._options import need_extra, take_options
from ._place import place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from ._place import Place

__all__ = ["ObstoreBucket", "open_obstore"]

NONCE: Final = "aqrec"
"""Name of the user metadata that tells one create from another."""

PAGE: Final = 1000
BULK: Final = {"s3": 1000, "az": 256, "gs": 64}
"""Objects that a call of `Bucket.delete` takes; on Google each is a request of its own."""

_STATUS: Final = re.compile(r"status code: (\d{3})")
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_RACING: Final = re.compile(r"ConditionalRequestConflict|ConcurrentModification|OperationAborted")
_BEYOND: Final = re.compile(r"Wanted range starting at")
_NO_BUCKET: Final = re.compile(
    r"NoSuchBucket|ContainerNotFound|bucket does not exist|container does not exist", re.IGNORECASE
)
_QUERY: Final = re.compile(r"(https?://[^\s?]*)\?[^\s)]*")


def open_obstore(url: str, options: Mapping[str, Any]) -> BucketStore:
    """Return the store of a bucket's URL, served by obstore; see `open_store` for the options.

    Raises
    ------
    InvalidInputError
        The URL or an option does not fit, or obstore is not installed.
    """
    place = place_of(url)
    token, rest = take_token(place, options)
    chosen = take_options(place.url, rest, OPTIONS[place.kind])
    need_extra("obstore", place.url, "obstore")
    transfer = Transfer(**{name: chosen.pop(name) for name in ("parallel", "part_size") if name in chosen})
    patience = Patience(**({"retries": chosen.pop("retries")} if "retries" in chosen else {}))
    native = Native(place, {**chosen, **token}, patience.retries)
    return BucketStore(place, ObstoreBucket(place, native, transfer), patience, transfer)


class ObstoreBucket(Bucket):
    """A bucket through obstore's native interface.

    Uploads in parts are repeated part by part by obstore itself; all else is tried once. obstore cannot name an
    upload, so each is a call that takes the parts as they come, and aborts itself if they fail to.
    """

    parts_in_any_order = False

    def __init__(self, place: Place, native: Native, transfer: Transfer) -> None:
        self.page_size = BULK[place.kind]
        self._url = place.url
        self._kind = place.kind
        self._make = native
        self._transfer = transfer
        self._api: Any = None
        self._once: Any = None
        self._patient: Any = None

    def prepare(self) -> None:
        """Import obstore and make its stores: one that tries once, and one that repeats."""
        import obstore  # noqa: PLC0415 - an extra

        self._once, self._patient = self._make(retry=False), self._make(retry=True)
        self._api = obstore

    async def open(self) -> None:
        """Check that the process may use obstore."""
        _check_process(self._url)

    async def close(self) -> None:
        """Forget the clients, whose connections obstore closes."""
        self._once = self._patient = None

    async def get(
        self, name: str, start: int, end: int | None, version: str = "", *, told: Told | None = None
    ) -> Fetched:
        """GET, with a range if it is not the whole."""
        options: dict[str, Any] = {}
        if start or end is not None:
            options["range"] = {"offset": start} if end is None else (start, end)
        if kept := version.partition("\n")[0]:
            options["version"] = kept
        answer = await self._call(self._api.get_async, name, options=options)
        meta = answer.meta
        size, found = meta["size"], f"{meta['version'] or ''}\n{meta['e_tag'] or ''}"
        if told is not None:
            told(size, found)
        data = memoryview(await answer.bytes_async())  # where they are: no copy
        first, behind = answer.range
        if len(data) != behind - first:
            raise EOFError(f"{len(data)} bytes came where {behind - first} were announced")
        return Fetched(data, size, found)

    async def put(self, name: str, data: bytes, *, nonce: str = "", free: bool = False) -> None:
        """PUT, on the condition that the name is free if it has to be."""
        await self._call(
            self._api.put_async,
            name,
            data,
            attributes={NONCE: nonce} if nonce else None,
            mode="create" if free else "overwrite",
            use_multipart=False,
        )

    async def head(self, name: str) -> Found:
        """HEAD."""
        answer = await self._call(self._api.get_async, name, options={"head": True})
        meta = answer.meta
        return Found(name, meta["size"], _ms(meta), answer.attributes.get(NONCE, ""))

    async def page(self, folder: str, following: Any, *, deep: bool) -> Page:
        """LIST: the next page of obstore's stream; all pages of a folder at once."""
        _check_process(self._url)
        prefix = folder.rstrip("/")
        if not deep:
            listed = await self._api.list_with_delimiter_async(self._patient, prefix)
            return Page(_found(listed["objects"]), [f"{path}/" for path in listed["common_prefixes"]], None)
        stream = following or self._patient.list(prefix, chunk_size=PAGE)
        try:
            objects = await anext(stream)
        except StopAsyncIteration:
            return Page((), (), None)
        except Exception as error:
            # the stream has tried again already, and after an error it would end as if all were listed
            raise _FinalError(error) from error
        return Page(_found(objects), (), stream)

    async def delete(self, names: Sequence[str]) -> Sequence[str]:
        """DELETE, of many at once where the service can."""
        if self._kind != "gs":
            try:
                await self._call(self._api.delete_async, list(names))
            except FileNotFoundError:  # Azure: which it was, and what became of the others, is not told
                if _NO_BUCKET.search(str(await self._failure_of(names[0]))):
                    raise
            else:
                return ()
        return await self.delete_each(names, lambda name: self._call(self._api.delete_async, name))

    async def begin_upload(self, name: str, nonce: str) -> Upload:
        """Start the call that takes the parts; it makes its first request then."""
        _check_process(self._url)
        return Upload(name, _Sending(self._send, name, nonce), nonce)

    async def put_part(self, upload: Upload, number: int, data: bytes) -> Any:
        """Hand over a part, and wait until it is taken."""
        del number
        await upload.handle.add(data)

    async def finish_upload(self, upload: Upload, receipts: Sequence[Any]) -> None:
        """Tell that all parts have come, and wait for the object."""
        del receipts
        try:
            await upload.handle.finish()
        except Exception as error:
            # the answer may have got lost, and the object be there
            with suppress(Exception):
                if (await self.head(upload.name)).nonce == upload.nonce:
                    return
            raise _FinalError(error) from error

    async def abort_upload(self, upload: Upload) -> None:
        """Break off the call, which drops the parts."""
        await upload.handle.abort()

    def meaning(self, error: Exception) -> Meaning:
        """Judge by obstore's kinds of errors, and by the status in their text."""
        known = self._api.exceptions
        text = str(error)
        status = int(found[1]) if (found := _STATUS.search(text)) else 0
        if isinstance(error, _FinalError):
            inner = self.meaning(error.cause)
            return inner if inner in {Meaning.DENIED, Meaning.NO_BUCKET} else Meaning.FAILED
        if isinstance(error, FileNotFoundError):
            return Meaning.NO_BUCKET if _NO_BUCKET.search(text) else Meaning.MISSING
        if isinstance(error, known.AlreadyExistsError | known.PreconditionError):
            return Meaning.BUSY if _RACING.search(text) else Meaning.TAKEN
        if isinstance(error, known.PermissionDeniedError | known.UnauthenticatedError) or status in {
            401,
            403,
        }:
            return Meaning.DENIED
        if status == 416 or _BEYOND.search(text):
            return Meaning.BEYOND
        if status == 501:
            return Meaning.IGNORED
        if isinstance(error, EOFError) or status in _BUSY:
            return Meaning.BUSY
        without_answer = type(error) is known.GenericError and not status and "HTTP error" in text
        return Meaning.BUSY if without_answer or _RACING.search(text) else Meaning.FAILED

    def text(self, error: Exception) -> str:
        """Return obstore's words, without queries of URLs: they may hold a signature."""
        cause = error.cause if isinstance(error, _FinalError) else error
        return _QUERY.sub(r"\1", str(cause).partition("\n\nDebug source:")[0].strip())

    async def _send(self, name: str, nonce: str, parts: _Sending) -> None:
        await self._api.put_async(
            self._patient,
            name,
            parts,
            attributes={NONCE: nonce},
            use_multipart=True,
            chunk_size=self._transfer.part_size,
            max_concurrency=self._transfer.parallel,
        )

    async def _failure_of(self, name: str) -> Exception | None:
        try:
            await self._call(self._api.delete_async, name)
        except FileNotFoundError as error:
            return error
        return None

    async def _call(self, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        _check_process(self._url)
        return await call(self._once, *args, **kwargs)


class _FinalError(Exception):
    """What obstore has repeated enough itself."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Sending:
    """The parts of one upload, as the asynchronous iterator that obstore takes them from."""

    def __init__(self, send: Callable[[str, str, _Sending], Awaitable[None]], name: str, nonce: str) -> None:
        self._ready: deque[bytes] = deque()
        self._changed = asyncio.Condition()
        self._ended = False
        self._aborted = False
        self._task = asyncio.ensure_future(send(name, nonce, self))
        self._task.add_done_callback(self._wake)

    async def add(self, data: bytes) -> None:
        """Hand over a part, and wait until it is taken; raise if the upload has failed."""
        async with self._changed:
            self._ready.append(data)
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._ready or self._task.done())
        if self._task.done():
            self._ready.clear()
            error = self._task.exception()
            raise _FinalError(error if isinstance(error, Exception) else EOFError("the upload has ended"))

    async def finish(self) -> None:
        """Tell that there are no more parts, and wait for the end of the upload."""
        await self._end()
        await asyncio.shield(self._task)

    async def abort(self) -> None:
        """Make obstore drop the parts, and wait until it has."""
        self._aborted = True
        await self._end()
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.exception()  # taken: it is our own

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready or self._ended)
            if self._aborted:
                raise EOFError("the upload was broken off")
            if not self._ready:
                raise StopAsyncIteration
            part = self._ready.popleft()
            self._changed.notify_all()
            return part

    async def _end(self) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wake(self, _: object) -> None:
        self._waking = asyncio.ensure_future(self._end())


def _found(listed: Sequence[Mapping[str, Any]]) -> Sequence[Found]:
    return [Found(meta["path"], meta["size"], _ms(meta)) for meta in listed]


def _ms(meta: Mapping[str, Any]) -> int:
    modified: datetime = meta["last_modified"]
    # whole seconds, as the header of an answer has them; some servers list smaller parts
    return int(modified.timestamp()) * 1000


_used_in: list[int] = []


def _check_process(url: str) -> None:
    """Raise in a process whose parent used obstore: its threads are not there, and every call would hang."""
    pid = os.getpid()
    if not _used_in:
        _used_in.append(pid)
    elif _used_in[0] != pid:
        raise StorageError(
            f"{url}: this process was forked from one that used obstore, whose threads a fork does not copy; "
            "start processes by 'spawn' or 'forkserver', or leave out driver='obstore'"
        )
