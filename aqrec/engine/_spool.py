"""The spool: a folder of this machine for what a store has not taken yet.

Each writer of a store that cannot append has one of its own: ``<root>/<store>/<writer>/``. What it holds lies below ``objects`` under
the keys it will have in the store, so sending it is copying. The writer holds a lock on its folder as long as it lives; whoever
gets the lock may take the folder for a dead writer's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import platform
import re
import shutil
import threading
from pathlib import Path

import msgspec

from aqrec.errors import AqrecError, CorruptError, StorageError
from aqrec.format._ids import now_ms
from aqrec.options import SpoolOptions
from aqrec.stores import Appender, ObjectInfo, redact_url
from aqrec.stores._appender import LocalAppender

__all__ = [
    "Spool",
    "SpoolFile",
    "SpoolHeader",
    "find_spools",
    "lock_folder",
    "read_header",
    "spool_root",
    "unlock_folder",
]

logger = logging.getLogger("aqrec")

HEADER = "spool.json"
LOCK = "lock"
OBJECTS = "objects"
_ATTEMPTS = 5


class SpoolHeader(msgspec.Struct, frozen=True, kw_only=True):
    """``spool.json``: whose folder it is. Credentials are never part of it.

    Attributes
    ----------
    format
        1.
    url
        The store that the objects are for, without credentials.
    writer, host, pid
        Who wrote them.
    created
        When the folder was made, ms since epoch.
    offline
        Whether they were recorded with ``mode="offline"``: then `objects` is a store of its own.
    """

    format: int = 1
    url: str
    writer: str
    host: str
    pid: int
    created: int
    offline: bool = False


def spool_root(options: SpoolOptions) -> Path:
    """Return the folder of all spools: ``SpoolOptions.folder``, ``AQREC_SPOOL``, or one in the user's state folder."""
    given = options.folder or os.environ.get("AQREC_SPOOL")
    if given:
        return Path(given).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state and Path(state).is_absolute() else Path("~/.local/state").expanduser()
    return base / "aqrec" / "spool"


def store_folder(url: str) -> str:
    """Return the name of the folder of a store's spools: readable, and unlike that of any other store."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", redact_url(url)).strip("_.")[:60]
    return f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


_held: set[int] = set()
"""Descriptors that hold the locks of this process"""
_guard = threading.Lock()


def lock_folder(folder: Path, *, create: bool = False) -> int | None:
    """Lock a spool's folder; return what `unlock_folder` takes, or None if somebody else holds the lock or it is gone.

    A forked process does not hold what its parent does.
    """
    path = folder / LOCK
    with _guard:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(fd)):
                _held.add(fd)
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None


def unlock_folder(lock: int) -> None:
    """Give back what `lock_folder` returned."""
    with _guard:
        _held.discard(lock)
        os.close(lock)


def _after_fork() -> None:
    for fd in _held:
        os.close(fd)
    _held.clear()
    _guard.release()


# A lock that is being taken while another thread forks would be held by the child as long as it lives.
os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_after_fork)


def read_header(folder: Path) -> SpoolHeader:
    """Return a spool's header; raises `CorruptError`."""
    try:
        header = msgspec.json.decode((folder / HEADER).read_bytes(), type=SpoolHeader)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptError(f"{folder / HEADER} cannot be read: {error}") from error
    if header.format > 1:
        raise CorruptError(f"{folder} has format {header.format}; this aqrec reads up to 1. Upgrade aqrec")
    return header


def find_spools(root: Path, url: str | None = None) -> list[Path]:
    """Return the folders of all writers' spools, or of one store's (its canonical URL), the oldest writer first."""
    places = [root / store_folder(url)] if url is not None else _children(root)
    return sorted((folder for place in places for folder in _children(place)), key=lambda path: path.name)


def _children(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


class SpoolFile:
    """An object that grows in the spool until the store has it."""

    def __init__(self, spool: Spool, key: str) -> None:
        self._spool = spool
        self.key = key
        self._path = spool.path(key)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._appender: Appender = LocalAppender(fd, _failure, lambda _: None)
        self._size = 0

    def write(self, data: bytes) -> None:
        """Hand `data` to the operating system; raises `StorageError`, also when the spool is full."""
        self._spool.charge(len(data))
        self._size += len(data)
        self._appender.write(data)

    def sync(self) -> None:
        """Make all that was written durable, the file's name included. Blocks; for a worker thread."""
        self._appender.sync()
        try:
            self._spool.sync_names(self._path.parent)
        except OSError as error:
            raise _failure(error) from error

    def read(self, size: int) -> bytes:
        """Return the first `size` bytes. Blocks; for a worker thread."""
        try:
            with self._path.open("rb") as file:
                data = file.read(size)
        except OSError as error:
            raise _failure(error) from error
        if len(data) < size:
            raise CorruptError(f"{self._path} has {len(data)} of {size} bytes that were synced")
        return data

    def close(self) -> None:
        """Close it and leave it where it is."""
        self._appender.close()

    def remove(self) -> None:
        """Remove it: the store has the object."""
        self.close()
        with contextlib.suppress(
            OSError
        ):  # sent once more by the next sync: the same bytes under the same key
            self._path.unlink()
            self._spool.forget(self.key)
            self._spool.release(self._size)


def _failure(error: OSError) -> AqrecError:
    return StorageError(f"the spool cannot be written: {error}")


class Spool:
    """One writer's folder. Made on first use; used on the engine thread, but for what is said to block, and for counting bytes."""

    def __init__(self, options: SpoolOptions, url: str, writer: str, *, offline: bool = False) -> None:
        self.root = spool_root(options)
        self.folder = self.root / store_folder(url) / writer
        self.options = options
        self.failure = ""
        self._header = SpoolHeader(
            url=url, writer=writer, host=platform.node(), pid=os.getpid(), created=now_ms(), offline=offline
        )
        self._lock = -1
        self._bytes = 0
        self._keys: set[str] = set()
        self._files: list[SpoolFile] = []
        self._named: set[Path] = set()
        self._guard = threading.Lock()
        self._opening = threading.Lock()

    @property
    def url(self) -> str:
        """The store that it is for, without credentials."""
        return self._header.url

    @property
    def objects(self) -> Path:
        """Folder of the objects, under their keys."""
        return self.folder / OBJECTS

    @property
    def opened(self) -> bool:
        """Whether the folder was made."""
        return self._lock >= 0

    def path(self, key: str) -> Path:
        """Return where an object lies."""
        return self.objects / key

    def open(self) -> None:
        """Make the folder and lock it; raises `StorageError` where that cannot be."""
        with self._opening:
            if self._lock < 0:
                self._open()

    def _open(self) -> None:
        try:
            for _ in range(_ATTEMPTS):
                # Between these lines somebody who tidies up may take the empty folder for a dead writer's.
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock = lock_folder(self.folder, create=True)
                if lock is not None:
                    break
            else:
                raise OSError(errno.EBUSY, "it cannot be locked", str(self.folder))
            try:
                (self.folder / HEADER).write_bytes(
                    msgspec.json.format(msgspec.json.encode(self._header), indent=1)
                )
                self.objects.mkdir(exist_ok=True, mode=0o700)
            except BaseException:
                unlock_folder(lock)
                raise
        except OSError as error:
            raise self._unusable(error) from error
        self._lock = lock

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"the spool {self.root} on this machine cannot be used: {error}; choose a folder that can be written, by "
            "SpoolOptions(folder=...) or the environment variable AQREC_SPOOL"
        )

    def open_durably(self) -> None:
        """Do as `open`, and make the folder survive a power loss. Blocks; for a worker thread."""
        self.open()
        try:
            self.sync_names(self.objects)
        except OSError as error:
            raise self._unusable(error) from error

    def create(self, key: str) -> SpoolFile:
        """Begin an object; raises `StorageError`."""
        self.open()
        try:
            file = SpoolFile(self, key)
        except OSError as error:
            raise _failure(error) from error
        self._files = [other for other in self._files if other.key in self._keys]
        self._files.append(file)
        self._keys.add(key)
        return file

    def charge(self, size: int) -> None:
        """Count bytes that are about to be written; raises `StorageError` when there is no room for them."""
        with self._guard:
            if self._bytes + size > self.options.capacity:
                raise StorageError(
                    f"the spool {self.folder} is full: {self._bytes} bytes of SpoolOptions.capacity={self.options.capacity}"
                )
            self._bytes += size

    def holds(self, key: str) -> bool:
        """Whether an object lies there, whole or growing."""
        return key in self._keys

    def listing(self, prefix: str) -> dict[str, ObjectInfo]:
        """Return what lies there below a folder, by key. Blocks."""
        found: dict[str, ObjectInfo] = {}
        for key in list(self._keys):
            if not prefix or key.startswith(f"{prefix}/"):
                with contextlib.suppress(FileNotFoundError):  # sent meanwhile
                    status = self.path(key).stat()
                    found[key] = ObjectInfo(key, status.st_size, status.st_mtime_ns // 1_000_000)
        return found

    def add(self, key: str) -> None:
        """Remember an object that was put into `objects`, its bytes charged."""
        self._keys.add(key)

    def forget(self, key: str) -> None:
        """Forget an object that is gone from `objects`."""
        self._keys.discard(key)

    def release(self, size: int) -> None:
        """Give back the room of bytes that are gone."""
        with self._guard:
            self._bytes -= size

    def sync_names(self, folder: Path) -> None:
        """Make the names of files in `folder` durable, and the spool's header and place. Blocks; for a worker thread."""
        _sync_folder(folder)
        for path in folder.parents:
            if path in self._named:
                break
            if path == self.folder:
                with (self.folder / HEADER).open("rb") as file:
                    os.fdatasync(file.fileno())
            with contextlib.suppress(PermissionError):  # nothing was made there
                _sync_folder(path)
            self._named.add(path)

    def left_behind(self) -> int:
        """Return how many ended processes have left a spool for the same store. Blocks."""
        count = 0
        for folder in find_spools(self.root, self.url):
            # Without a header it is being made, and may not be locked by us.
            if folder != self.folder and (folder / HEADER).exists():
                lock = lock_folder(folder)
                if lock is not None:
                    unlock_folder(lock)
                    count += 1
        return count

    def note_failure(self, error: Exception) -> None:
        """Say once that the spool does not work: what it should hold waits in memory instead."""
        if not self.failure:
            logger.warning("aqrec: %s; what the store does not take waits in memory", error)
        self.failure = str(error)

    def close(self) -> None:
        """Unlock the folder, and remove it if nothing is left in it. Blocks for a few file operations."""
        try:
            for file in self._files:
                file.close()
            self._files.clear()
            if self.opened and not self._keys and not (self._header.offline and self._recorded()):
                remove_folder(self.folder)
        finally:
            self._unlock()

    def _recorded(self) -> bool:
        """Whether an offline process has recorded anything: `objects` is a store then, which has its marker."""
        return any(self.objects.iterdir())

    def _unlock(self) -> None:
        lock, self._lock = self._lock, -1
        if lock >= 0:
            unlock_folder(lock)

    def abandon(self) -> None:
        """Close the files that a fork has copied: the folder stays the parent's, which alone holds its lock."""
        for file in self._files:
            file.close()
        self._lock = -1


def remove_folder(folder: Path) -> None:
    """Remove a spool's folder whose lock is held, and its store's folder if it is the last one."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
        folder.parent.rmdir()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
