"""Unfinished files of a local store: nameless where possible, else in a folder of their own, and swept."""

from __future__ import annotations

import abc
import errno
import os
import re
import threading
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from ._names import TEMPORARY
from ._tree import FOLDER

if TYPE_CHECKING:
    from ._tree import Tree

__all__ = ["Scratch", "Unfinished"]

GRACE_SECONDS: Final = 5 * 60
"""Younger litter stays, whoever left it."""
FOREIGN_GRACE_SECONDS: Final = 7 * 24 * 3600
"""Litter of another machine, or of a process that cannot be asked after, goes at this age."""

_O_TMPFILE: Final = getattr(
    os, "O_TMPFILE", os.O_CREAT
)  # opening a folder to create it is refused like the real flag
_NAME = re.compile(r"([0-9a-f]{8})-([0-9]+)-([0-9]+)-[0-9a-f]{16}")
_UNSUPPORTED = frozenset(
    {errno.EINVAL, errno.EISDIR, errno.ENOENT, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EXDEV}
)
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_ATTEMPTS: Final = 100


class Unfinished(abc.ABC):
    """A file being written, that no reader sees; a context manager that leaves nothing of it behind.

    Attributes
    ----------
    fd
        Descriptor to write to.
    """

    fd: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def create(self, folder: int, name: str) -> None:
        """Give the file its name in an open folder, or raise `FileExistsError` if the name is taken."""
        try:
            self._link(folder, name)
        except FileExistsError:
            # over a network the answer to a link that worked can get lost, and its repetition fails
            if not _is_same(self.fd, folder, name):
                raise
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise OSError(
                    errno.ENOTSUP, "its file system has no hard links, which atomic creation needs"
                ) from error
            raise

    @abc.abstractmethod
    def replace(self, folder: int, name: str) -> None:
        """Give the file its name in an open folder, in place of any file that has it now."""

    @abc.abstractmethod
    def discard(self) -> None:
        """Close the file, and remove what is left of it."""

    @abc.abstractmethod
    def _link(self, folder: int, name: str) -> None: ...


class Scratch:
    """Makes unfinished files for one tree, and sweeps what dead processes left."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._nameless: bool | None = None
        self._made_folder = False

    @property
    def needs_closing(self) -> bool:
        """Whether a folder of temporary names may be left."""
        return self._made_folder

    def open(self) -> Unfinished:
        """Begin a file."""
        with self._lock:
            if self._nameless is None:
                self.sweep()
                self._nameless = self._probe()
        return _Nameless(self) if self._nameless else _Named(self)

    def open_nameless(self) -> int:
        """Open a file without a name; raises OSError where there is no such thing."""
        with self._tree.make(()) as root:
            return os.open(".", _O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=root.folder)

    def open_folder(self) -> int:
        """Open the folder of temporary names, made if missing; never synced: nothing in it need survive."""
        self._made_folder = True
        for _ in range(_ATTEMPTS):
            with self._tree.make(()) as root, suppress(FileNotFoundError):
                with suppress(FileExistsError):
                    os.mkdir(TEMPORARY, dir_fd=root.folder)
                return os.open(TEMPORARY, FOLDER, dir_fd=root.folder)
        raise FileNotFoundError(errno.ENOENT, f"the folder {TEMPORARY} is removed again and again")

    def close(self) -> None:
        """Remove the folder of temporary names if nobody has a file in it."""
        self._made_folder = False
        with suppress(OSError), self._tree.open(()) as root:
            os.rmdir(TEMPORARY, dir_fd=root.folder)

    def sweep(self) -> None:
        """Remove old files of dead processes; what cannot be removed stays."""
        with suppress(OSError), self._tree.open((TEMPORARY,)) as branch, os.scandir(branch.folder) as entries:
            now = time.time()
            for entry in entries:
                with suppress(OSError):
                    if _is_litter(entry.name, now - entry.stat(follow_symlinks=False).st_mtime):
                        os.unlink(entry.name, dir_fd=branch.folder)

    def _probe(self) -> bool:
        """Try whether nameless files work here and can be named later, which takes a mounted /proc too."""
        fd = folder = -1
        name = _temporary_name()
        try:
            fd = self.open_nameless()
            folder = self.open_folder()
            _link_nameless(fd, folder, name)
            os.unlink(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return False
        finally:
            for opened in (fd, folder):
                if opened >= 0:
                    os.close(opened)
            self.close()
        return True


class _Nameless(Unfinished):
    """A file that vanishes with its process, whatever ends it, unless it is to replace another one.

    The kernel names it only once: what was given a temporary name has to keep that until it is renamed.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._temporary: tuple[int, str] | None = None
        self.fd = scratch.open_nameless()

    def replace(self, folder: int, name: str) -> None:
        if self._temporary is None:
            try:
                return self.create(folder, name)
            except FileExistsError:
                self._temporary = self._scratch.open_folder(), _temporary_name()
                _link_nameless(self.fd, *self._temporary)
        scratch, temporary = self._temporary
        os.rename(temporary, name, src_dir_fd=scratch, dst_dir_fd=folder)
        return None

    def discard(self) -> None:
        try:
            if self._temporary is not None:
                _remove(*self._temporary)
        finally:
            os.close(self.fd)

    def _link(self, folder: int, name: str) -> None:
        _link_nameless(self.fd, folder, name)


class _Named(Unfinished):
    """A file in the folder of temporary names."""

    def __init__(self, scratch: Scratch) -> None:
        self._name = _temporary_name()
        for _ in range(_ATTEMPTS):
            self._folder = scratch.open_folder()
            try:
                self.fd = os.open(
                    self._name,
                    os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC,
                    0o666,
                    dir_fd=self._folder,
                )
            except FileNotFoundError:  # another process, closing its store, has removed the empty folder
                os.close(self._folder)
            except BaseException:
                os.close(self._folder)
                raise
            else:
                return
        raise FileNotFoundError(errno.ENOENT, f"the folder {TEMPORARY} is removed again and again")

    def replace(self, folder: int, name: str) -> None:
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=folder)

    def discard(self) -> None:
        try:
            _remove(self._folder, self._name)
        finally:
            os.close(self.fd)

    def _link(self, folder: int, name: str) -> None:
        os.link(self._name, name, src_dir_fd=self._folder, dst_dir_fd=folder, follow_symlinks=False)


def _remove(folder: int, name: str) -> None:
    try:
        with suppress(FileNotFoundError):  # it has been renamed
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _link_nameless(fd: int, folder: int, name: str) -> None:
    # os.link follows the /proc link only if it is given a folder's descriptor
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=folder, follow_symlinks=True)


def _is_same(fd: int, folder: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _temporary_name() -> str:
    pid = os.getpid()
    return f"{_machine()}-{pid}-{_start_of(pid)}-{os.urandom(8).hex()}"


def _machine() -> str:
    """Name the space in which a process id means something: a host and, in it, a container."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        space = 0
    return f"{zlib.crc32(f'{os.uname().nodename}/{space}'.encode()):08x}"


def _start_of(pid: int) -> int:
    """Return when a process began, in clock ticks since boot, or 0 if unknown: its id may be used again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _is_litter(name: str, age: float) -> bool:
    found = _NAME.fullmatch(name)
    if not found or age < GRACE_SECONDS:
        return False
    if age > FOREIGN_GRACE_SECONDS:
        return True
    return found[1] == _machine() and not _is_alive(int(found[2]), int(found[3]))


def _is_alive(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return _start_of(pid) in {0, start} or start == 0
