"""Objects as plain files in a folder: atomic, durable, and safe beside other processes."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from aqrec.errors import ClosedError, InvalidInputError

from ._abc import Appender, Children, ObjectInfo, Store
from ._appender import LocalAppender
from ._disk import Disk
from ._jobs import Jobs
from ._names import check_key, check_prefix, check_range
from ._urls import file_url, local_root

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable

__all__ = ["LocalStore"]

T = TypeVar("T")


class LocalStore(Store):
    """A store in a folder of this machine.

    An object is a plain file under its key. It is written to a file without a name (where the file system has
    none of those: in the folder ``.aqrec-tmp`` at the root), synced, and then linked or renamed to its key;
    its folder is synced last, and so are those above it that were not there before.

    Symbolic links below the root are never followed: they are no objects, and no folders. A file system
    cannot hold ``a`` and ``a/b`` at once: the second of them raises `ConflictError`. Folders without an
    object are not listed, and are removed where they are in the way.

    Parameters
    ----------
    location
        Path of the folder, or its ``file:`` URL; see `open_store`. The first write makes it; nothing is
        touched before the first call.

    Raises
    ------
    InvalidInputError
        `location` is not a path, or a URL of another host.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        path = local_root(location)
        self._root = Path(path)
        self._url = file_url(path)
        self._disk = Disk(path, self._url)
        self._jobs = Jobs(self._url)

    def __repr__(self) -> str:
        return f"LocalStore({self._url!r})"

    @property
    def url(self) -> str:
        """The folder's absolute ``file://`` URL."""
        return self._url

    @property
    def supports_append(self) -> bool:
        """True."""
        return True

    def local_path(self, key: str) -> Path:
        """Return the path of the file that holds an object, whether it exists or not."""
        return self._root / check_key(key)

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Read the file; see `Store.get`."""
        check_key(key)
        check_range(start, end)
        return await self._jobs.run(partial(self._disk.get, key, start, end), wait=False)

    async def put(self, key: str, data: bytes) -> None:
        """Write and sync a file, and give it its key; see `Store.put`."""
        await self.put_stream(key, lambda file: file.write(data))

    async def create(self, key: str, data: bytes) -> None:
        """Write and sync a file, and link it to its key; see `Store.create`."""
        check_key(key)
        stop = threading.Event()
        work = partial(self._disk.write, key, lambda file: file.write(data), stop, create=True)
        await self._jobs.run(work, on_cancel=stop.set)

    async def head(self, key: str) -> ObjectInfo:
        """Ask for the file's status; see `Store.head`."""
        check_key(key)
        return await self._jobs.run(partial(self._disk.head, key), wait=False)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Read folder after folder, about a thousand entries at a time; see `Store.list`."""
        check_prefix(prefix)
        scan = self._disk.scan(prefix, deep=True)
        try:
            while (chunk := await self._jobs.run(partial(self._disk.next_chunk, scan, prefix))) is not None:
                for info in chunk:
                    yield info
        finally:
            scan.close()

    async def list_dir(self, prefix: str = "") -> Children:
        """Read one folder, and its sub-folders up to their first object; see `Store.list_dir`."""
        check_prefix(prefix)
        scan = self._disk.scan(prefix, deep=False)
        objects: list[ObjectInfo] = []
        try:
            while (chunk := await self._jobs.run(partial(self._disk.next_chunk, scan, prefix))) is not None:
                objects += chunk
        finally:
            scan.close()
        return sorted(objects, key=lambda info: info.key), sorted(scan.folders)

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove files, sync their folders, and remove the folders that are empty now; see `Store.delete`."""
        if isinstance(keys, str):
            raise InvalidInputError(f"delete takes several keys, not one string; write delete([{keys!r}])")
        by_folder: dict[str, list[str]] = {}
        for key in keys:
            folder, _, name = check_key(key).rpartition("/")
            by_folder.setdefault(folder, []).append(name)
        await self._jobs.run(partial(self._disk.delete, by_folder))

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Write and sync a file, and give it its key; see `Store.put_stream`."""
        check_key(key)
        stop = threading.Event()
        return await self._jobs.run(
            partial(self._disk.write, key, write, stop, create=False), on_cancel=stop.set
        )

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Open the file, whose ``name`` and ``fileno()`` may be used to map it; see `Store.get_stream`."""
        check_key(key)
        stop = threading.Event()
        return await self._jobs.run(partial(self._disk.get_with, key, read, stop), on_cancel=stop.set)

    async def open_append(self, key: str) -> Appender:
        """Create an empty file and open it for appending; see `Store.open_append`."""
        check_key(key)
        return await self._jobs.run(partial(self._disk.open_append, key), discard=LocalAppender.close)

    async def aclose(self) -> None:
        """Wait for what is under way, then close the appenders; see `Store.aclose`."""
        if self._jobs.closed:
            return
        await self._jobs.aclose()
        if self._disk.needs_closing:
            try:
                await Jobs(self._url).run(self._disk.close)
            except ClosedError:  # the loop takes no work any more, and nothing is left to wait for it
                self._disk.close()
