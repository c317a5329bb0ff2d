"""Objects in the memory of one process, shared by name."""

from __future__ import annotations

import io
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar, cast

from aqrec.errors import (
    AlreadyExistsError,
    ClosedError,
    InvalidInputError,
    ObjectNotFoundError,
)

from ._abc import Appender, Children, ObjectInfo, Store
from ._files import SinkFile, SourceFile
from ._jobs import Jobs
from ._names import check_key, check_prefix, check_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

__all__ = ["MemoryStore"]

T = TypeVar("T")

CHUNK: Final = 1024
"""Objects listed before other tasks get their turn."""


class MemoryStore(Store):
    """A store in memory, for tests and trials.

    All stores of one name in a process show the same objects, which live until `forget` or the end of the
    process. Any number of threads and event loops may use them. Writing suspends once, before its effect.

    Parameters
    ----------
    name
        A legal key, or empty for the store that has no name: ``memory://`` and `name` make the URL.
    append
        Whether `open_append` works; without it, users of the store must do as with cloud stores.

    Raises
    ------
    InvalidNameError
        `name` is not legal.
    """

    def __init__(self, name: str = "", *, append: bool = True) -> None:
        check_prefix(name)
        self._url = f"memory://{name}"
        self._append = append
        self._jobs = Jobs(self._url)
        with _spaces_lock:
            self._space = _spaces.setdefault(name, _Space())

    def __repr__(self) -> str:
        return f"MemoryStore({self._url.removeprefix('memory://')!r}, append={self._append})"

    @staticmethod
    def forget(name: str = "") -> None:
        """Drop all objects of that name: stores opened later start empty; those still open keep theirs."""
        with _spaces_lock:
            _spaces.pop(name, None)

    @property
    def url(self) -> str:
        """``memory://`` and the name."""
        return self._url

    @property
    def supports_append(self) -> bool:
        """What `append` was set to."""
        return self._append

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Return bytes without a copy where the whole object is asked for; see `Store.get`."""
        check_key(key)
        check_range(start, end)
        await self._turn()
        with self._space.lock:
            return self._find(key).read(start, end)

    async def put(self, key: str, data: bytes) -> None:
        """Keep `data`; see `Store.put`."""
        check_key(key)
        await self._turn()
        new = _Object(bytes(data))
        with self._space.lock:
            self._space.objects[key] = new

    async def create(self, key: str, data: bytes) -> None:
        """Keep `data` if the key is free; see `Store.create`."""
        check_key(key)
        await self._turn()
        self._add(key, _Object(bytes(data)))

    async def head(self, key: str) -> ObjectInfo:
        """Return size and time; see `Store.head`."""
        check_key(key)
        await self._turn()
        with self._space.lock:
            return self._find(key).info(key)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield what was there at the beginning; see `Store.list`."""
        check_prefix(prefix)
        await self._turn()
        for number, info in enumerate(self._below(prefix), 1):
            yield info
            if number % CHUNK == 0:
                await self._turn()

    async def list_dir(self, prefix: str = "") -> Children:
        """Look at all objects; see `Store.list_dir`."""
        check_prefix(prefix)
        await self._turn()
        start = len(prefix) + 1 if prefix else 0
        objects = []
        folders: set[str] = set()
        for info in self._below(prefix):
            name, slash, _ = info.key[start:].partition("/")
            if slash:
                folders.add(info.key[:start] + name)
            else:
                objects.append(info)
        return objects, sorted(folders)

    async def delete(self, keys: Iterable[str]) -> None:
        """Drop objects, all at once; see `Store.delete`."""
        if isinstance(keys, str):
            raise InvalidInputError(f"delete takes several keys, not one string; write delete([{keys!r}])")
        checked = [check_key(key) for key in keys]
        await self._turn()
        with self._space.lock:
            for key in checked:
                self._space.objects.pop(key, None)

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Collect what is written, and keep it at the end; see `Store.put_stream`."""
        check_key(key)
        stop = threading.Event()
        return await self._jobs.run(partial(self._write_with, key, write, stop), on_cancel=stop.set)

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Show the bytes as a file; see `Store.get_stream`."""
        check_key(key)
        stop = threading.Event()
        return await self._jobs.run(partial(self._read_with, key, read, stop), on_cancel=stop.set)

    async def open_append(self, key: str) -> Appender:
        """Begin a growing object, if the store was made so; see `Store.open_append`."""
        check_key(key)
        if not self._append:
            return await super().open_append(key)
        await self._turn()
        growing = _Object(bytearray())
        self._add(key, growing)
        return _MemoryAppender(self._space, growing, self._jobs)

    async def aclose(self) -> None:
        """Wait for the streams under way; the objects stay. See `Store.aclose`."""
        await self._jobs.aclose()

    async def _turn(self) -> None:
        """Let other tasks run, and give a cancellation its place before the effect."""
        import asyncio  # noqa: PLC0415 - costs more than the rest of the package

        self._jobs.check_open()
        await asyncio.sleep(0)
        self._jobs.check_open()

    def _find(self, key: str) -> _Object:
        try:
            return self._space.objects[key]
        except KeyError:
            raise ObjectNotFoundError(f"there is no object {key!r} in {self._url}") from None

    def _add(self, key: str, new: _Object) -> None:
        with self._space.lock:
            if self._space.objects.setdefault(key, new) is not new:
                raise AlreadyExistsError(f"{key!r} exists already in {self._url}: choose another key")

    def _below(self, prefix: str) -> Sequence[ObjectInfo]:
        start = f"{prefix}/" if prefix else ""
        with self._space.lock:
            return [
                found.info(key) for key, found in sorted(self._space.objects.items()) if key.startswith(start)
            ]

    def _write_with(self, key: str, write: Callable[[BinaryIO], T], stop: threading.Event) -> T:
        collected = io.BytesIO()
        with SinkFile(lambda data: cast("None", collected.write(data)), stop) as sink:
            result = write(cast("BinaryIO", sink))
        sink.check()
        new = _Object(collected.getvalue())
        with self._space.lock:
            self._space.objects[key] = new
        return result

    def _read_with(self, key: str, read: Callable[[BinaryIO], T], stop: threading.Event) -> T:
        with self._space.lock:
            data = self._find(key).read(0, None)
        with SourceFile(cast("io.RawIOBase", io.BytesIO(data)), stop) as file:
            return read(cast("BinaryIO", file))


class _Space:
    """The objects of one name."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, _Object] = {}


_spaces: dict[str, _Space] = {}
_spaces_lock = threading.Lock()


class _Object:
    """Bytes, growing if they are a bytearray. To be used under the lock of its space."""

    __slots__ = ("data", "modified")

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.modified = time.time_ns() // 1_000_000

    def read(self, start: int, end: int | None) -> bytes:
        if isinstance(self.data, bytes):
            return self.data[start:end]
        with memoryview(self.data) as view:
            return bytes(view[start:end])

    def info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self.data), self.modified)


class _MemoryAppender(Appender):
    def __init__(self, space: _Space, growing: _Object, jobs: Jobs) -> None:
        self._space = space
        self._growing = growing
        self._jobs = jobs
        self._closed = False

    def write(self, data: bytes) -> None:
        """Add `data`."""
        self.sync()
        with self._space.lock:
            self._growing.data += data
            self._growing.modified = time.time_ns() // 1_000_000

    def sync(self) -> None:
        """Check that the appender is open: memory cannot be more durable than it is."""
        if self._closed or self._jobs.closed:
            raise ClosedError("this appender is closed; begin a new object with open_append")

    def close(self) -> None:
        """Take no more writes."""
        self._closed = True
