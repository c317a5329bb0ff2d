"""What a local store does to its folder: blocking calls, made in worker threads."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar, cast

from aqrec.errors import (
    AlreadyExistsError,
    AqrecError,
    ConflictError,
    ObjectNotFoundError,
    StorageError,
)

from ._appender import LocalAppender, write_all
from ._files import SinkFile, SourceFile
from ._names import to_system
from ._scan import Scan, info_of
from ._scratch import Scratch
from ._tree import NotAFolderError, Tree, Unsettled, sync_folder
from ._writeback import Writeback

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    from ._abc import ObjectInfo
    from ._tree import Branch

__all__ = ["Disk"]

T = TypeVar("T")

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not blocking on a foreign pipe
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS: Final = 100
_READ_AT_ONCE: Final = 1 << 30  # one system call gives at most 2 GiB
_WRITTEN_AT_ONCE: Final = 8 << 20
_NO_OBJECT: Final = frozenset({errno.EISDIR, errno.ELOOP, errno.ENODEV, errno.ENXIO})
_REMEDIES: Final = {
    errno.EACCES: "check who may use its folder",
    errno.EDQUOT: "free space, or ask for a larger quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EIO: "the disk may be failing",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENOSPC: "free space on its file system",
    errno.ENOTDIR: "the store's URL must name a folder",
    errno.EPERM: "check who may use its folder",
    errno.EROFS: "its file system is mounted read-only",
}


class Disk:
    """The files of one local store; keys are legal already.

    Parameters
    ----------
    root
        Absolute path of the folder.
    url
        Names the store in messages.
    """

    def __init__(self, root: str, url: str) -> None:
        self._root = root
        self._url = url
        self._tree = Tree(root)
        self._scratch = Scratch(self._tree)
        self._appenders: set[LocalAppender] = set()

    def get(self, key: str, start: int, end: int | None) -> bytes:
        """Return the bytes ``[start, end)``."""
        with self._mapped("get", key):
            fd, status = self._open(key)
            try:
                return _read_range(fd, start, status.st_size if end is None else min(end, status.st_size))
            finally:
                os.close(fd)

    def get_with(self, key: str, read: Callable[[BinaryIO], T], stop: threading.Event) -> T:
        """Call `read` with the open file."""
        with self._mapped("get", key):
            fd, _ = self._open(key)
            raw = FileIO(f"{self._root}/{to_system(key)}", opener=lambda *_: fd)
        with SourceFile(raw, stop) as file:
            return read(cast("BinaryIO", file))

    def head(self, key: str) -> ObjectInfo:
        """Return size and time."""
        *parts, name = to_system(key).split("/")
        with self._mapped("head", key), self._tree.open(parts) as branch:
            status = os.stat(name, dir_fd=branch.folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise _missing()
            return info_of(key, status)

    def scan(self, prefix: str, *, deep: bool) -> Scan:
        """Begin a listing, to be read with `next_chunk`."""
        return Scan(self._tree, prefix, deep=deep)

    def next_chunk(self, scan: Scan, prefix: str) -> list[ObjectInfo] | None:
        """Go on with a listing; None is its end."""
        with self._mapped("list", prefix):
            return scan.chunk()

    def write(self, key: str, fill: Callable[[BinaryIO], T], stop: threading.Event, *, create: bool) -> T:
        """Call `fill` with a new file, and put the file in its place when it is whole and durable."""
        operation = "create" if create else "put"
        with self._mapped(operation, key):
            unfinished = self._scratch.open()
        with unfinished:
            writeback = Writeback(unfinished.fd)

            def send(data: memoryview) -> None:
                with self._mapped(operation, key):
                    for start in range(0, len(data), _WRITTEN_AT_ONCE):
                        part = data[start : start + _WRITTEN_AT_ONCE]
                        write_all(unfinished.fd, part)
                        writeback.wrote(len(part))

            with SinkFile(send, stop) as sink:
                result = fill(cast("BinaryIO", sink))
            with self._mapped(operation, key):
                os.fdatasync(unfinished.fd)
                sink.check()  # after what takes long, so that cancelling still helps
                self._place(key, unfinished.create if create else unfinished.replace)
        return result

    def delete(self, by_folder: dict[str, list[str]]) -> None:
        """Remove files, given by folder and name; a failure does not keep the others."""
        failures: list[AqrecError] = []
        for folder, names in by_folder.items():
            path = f"{folder}/" if folder else ""
            try:
                branch = self._tree.open(to_system(folder).split("/") if folder else ())
            except FileNotFoundError:
                continue
            except OSError as error:
                failures.append(self._failure("delete", path + names[0], error))
                continue
            with branch:
                for name in names:
                    try:
                        os.unlink(to_system(name), dir_fd=branch.folder)
                    except (FileNotFoundError, IsADirectoryError):
                        pass
                    except OSError as error:
                        failures.append(self._failure("delete", path + name, error))
                try:
                    sync_folder(branch.folder)
                except OSError as error:
                    failures.append(self._failure("delete", path + names[0], error))
                else:
                    self._tree.prune(branch)
        if failures:
            raise failures[0]

    def open_append(self, key: str) -> LocalAppender:
        """Create an empty file and open it for appending; its first sync makes the name durable."""
        with self._mapped("append to", key):
            fd, branch = self._name(
                key, lambda folder, name: os.open(name, _APPEND, 0o666, dir_fd=folder), durably=False
            )
        appender = LocalAppender(
            fd,
            partial(self._failure, "append to", key),
            self._appenders.discard,
            Unsettled(self._tree, branch),
        )
        self._appenders.add(appender)
        return appender

    @property
    def needs_closing(self) -> bool:
        """Whether `close` has anything to do."""
        return bool(self._appenders) or self._scratch.needs_closing

    def close(self) -> None:
        """Close the appenders, and leave no folder of temporary files behind."""
        for appender in tuple(self._appenders):
            appender.close()
        self._scratch.close()

    def _open(self, key: str) -> tuple[int, os.stat_result]:
        *parts, name = to_system(key).split("/")
        with self._tree.open(parts) as branch:
            try:
                fd = os.open(name, _READ, dir_fd=branch.folder)
            except OSError as error:
                if error.errno in _NO_OBJECT:
                    raise _missing() from error
                raise
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise _missing()
        return fd, status

    def _place(self, key: str, place: Callable[[int, str], T]) -> T:
        """Call `place` with the open folder of `key` and the name in it, and make that name durable."""
        result, branch = self._name(key, place)
        with branch:
            self._tree.settle(branch)
        return result

    def _name(self, key: str, place: Callable[[int, str], T], *, durably: bool = True) -> tuple[T, Branch]:
        """Call `place` with the open folder of `key` and the name in it; return its result and the folder, still open.

        Other processes may remove the folder before the name is in it, for it is empty then.
        """
        *parts, name = to_system(key).split("/")
        for _ in range(_ATTEMPTS):
            try:
                branch = self._tree.make(parts, durably=durably)
            except FileNotFoundError:
                continue
            with ExitStack() as closing:
                closing.push(branch)
                try:
                    result = place(branch.folder, name)
                except FileNotFoundError:
                    continue
                except FileExistsError:
                    if self._is_object(branch, name, key):
                        raise
                    continue
                except IsADirectoryError:
                    self._is_object(branch, name, key)
                    continue
                except BaseException:
                    self._tree.prune(branch)
                    raise
                closing.pop_all()
                return result, branch
        raise OSError(errno.ESTALE, "its folder is removed again and again")

    def _is_object(self, branch: Branch, name: str, key: str) -> bool:
        """Tell whether a taken name is an object's; if it is a folder's, get the folder out of the way.

        Raises
        ------
        ConflictError
            The folder is not empty, or the name belongs to a link or special file.
        """
        try:
            mode = os.stat(name, dir_fd=branch.folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return True  # it was a moment ago
        if stat.S_ISREG(mode):
            return True
        if not stat.S_ISDIR(mode):
            raise ConflictError(
                f"{key!r} in {self._url} is a link or special file: remove it, or choose another key"
            )
        if not self._tree.clear(branch, name):
            raise ConflictError(f"{key!r} in {self._url} is a folder with files in it: choose another key")
        return False

    @contextmanager
    def _mapped(self, operation: str, key: str) -> Generator[None, None, None]:
        try:
            yield
        except AqrecError:
            raise
        except OSError as error:
            raise self._failure(operation, key, error) from error

    def _failure(self, operation: str, key: str, error: OSError) -> AqrecError:
        """Return our error for one of the operating system's, with that as its cause."""
        failure: AqrecError
        if isinstance(error, NotAFolderError):
            failure = ConflictError(
                f"cannot {operation} {key!r} in {self._url}: {error.filename!r} is an object or a link and "
                "no folder; choose another key"
            )
        elif isinstance(error, FileNotFoundError) and operation in {"get", "head"}:
            failure = ObjectNotFoundError(f"there is no object {key!r} in {self._url}")
        elif isinstance(error, FileExistsError):
            failure = AlreadyExistsError(f"{key!r} exists already in {self._url}: choose another key")
        else:
            remedy = _REMEDIES.get(error.errno or 0)
            failure = StorageError(
                error.errno,
                f"cannot {operation} {key!r} in {self._url}: {error.strerror or error}"
                + (f"; {remedy}" if remedy else ""),
            )
        failure.__cause__ = error
        return failure


def _missing() -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _read_range(fd: int, start: int, end: int) -> bytes:
    parts: list[bytes] = []
    while start < end:
        part = os.pread(fd, min(end - start, _READ_AT_ONCE), start)
        if not part:  # somebody has cut the file
            break
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
