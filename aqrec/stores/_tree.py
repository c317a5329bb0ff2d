"""Folders of a local store: opened without following links, made and removed durably beside other processes.

Everything below the root is reached through descriptors of open folders, one part at a time. So a symbolic
link never leads out of the store, and a folder that another process removes in between is noticed.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Branch", "NotAFolderError", "Tree", "Unsettled", "sync_folder"]

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # the root itself may be a link
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.ELOOP})
_KNOWN_FOLDERS: Final = 1 << 16


class NotAFolderError(OSError):
    """A part of a path that must be a folder is a file or a symbolic link; its `filename` says which."""


class Branch:
    """The open folders from the root down to one of them; a context manager that closes them.

    `unsynced` are the folders whose names are not durable yet: depth of the folder they are in, path, identity.
    """

    __slots__ = ("fds", "parts", "unsynced")

    def __init__(self, root: int) -> None:
        self.fds = [root]
        self.parts: list[str] = []
        self.unsynced: list[tuple[int, str, tuple[int, int]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self.fds:
            os.close(self.fds.pop())

    @property
    def folder(self) -> int:
        """Descriptor of the lowest folder."""
        return self.fds[-1]

    def push(self, part: str, fd: int) -> None:
        """Go down to a sub-folder."""
        self.parts.append(part)
        self.fds.append(fd)


class Tree:
    """The folders below `root`, an absolute path that need not exist."""

    def __init__(self, root: str) -> None:
        self.root = root
        # Folders whose names were made durable, with device and inode. A folder that another process has just
        # made is not durable only because it is there.
        self._durable: dict[str, tuple[int, int]] = {}

    def open(self, parts: Iterable[str]) -> Branch:
        """Open a folder for reading.

        Raises
        ------
        FileNotFoundError
            There is no such folder; what only looks like one (a file, a link) counts as missing.
        OSError
            The root cannot be opened for another reason.
        """
        branch = Branch(os.open(self.root, _ROOT))
        try:
            for part in parts:
                branch.push(part, os.open(part, FOLDER, dir_fd=branch.folder))
        except OSError as error:
            branch.__exit__()
            if error.errno in _NO_FOLDER:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
            raise
        except BaseException:
            branch.__exit__()
            raise
        return branch

    def make(self, parts: Sequence[str], *, durably: bool = True) -> Branch:
        """Open a folder for writing, and make what is missing.

        All their names are durable on return, or else, but for the root's own, once `settle` is done.

        Raises
        ------
        FileNotFoundError
            Another process removed a folder on the way: try again.
        NotAFolderError
            A part is no folder.
        """
        branch = Branch(self._make_root())
        try:
            for part in parts:
                self._enter(branch, part)
                if durably:
                    self._settle_folders(branch)
        except BaseException:
            branch.__exit__()
            raise
        return branch

    def settle(self, branch: Branch) -> None:
        """Make the names of the folders of `branch` durable, and those in the lowest."""
        self._settle_folders(branch)
        sync_folder(branch.folder)

    def _settle_folders(self, branch: Branch) -> None:
        while branch.unsynced:
            depth, path, identity = branch.unsynced[0]
            sync_folder(branch.fds[depth])
            del branch.unsynced[0]
            if len(self._durable) >= _KNOWN_FOLDERS:
                self._durable.clear()
            self._durable[path] = identity

    def prune(self, branch: Branch) -> None:
        """Remove the folders of `branch` that are empty, from the lowest up to, and not with, the root.

        Not synced: an empty folder that comes back after a power loss harms nobody.
        """
        for depth in range(len(branch.parts), 0, -1):
            try:
                os.rmdir(branch.parts[depth - 1], dir_fd=branch.fds[depth - 1])
            except OSError:
                return
            self._durable.pop("/".join(branch.parts[:depth]), None)

    def clear(self, branch: Branch, name: str) -> bool:
        """Remove the sub-folder `name` if nothing but empty folders is in it, and tell whether it is gone."""
        self._durable.clear()
        return _remove_empty(name, branch.folder)

    def _enter(self, branch: Branch, part: str) -> None:
        parent = branch.folder
        made = False
        try:
            try:
                fd = os.open(part, FOLDER, dir_fd=parent)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=parent)
                made = True
                fd = os.open(part, FOLDER, dir_fd=parent)
        except OSError as error:
            if error.errno in _NO_FOLDER:
                path = "/".join((*branch.parts, part))
                raise NotAFolderError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
            raise
        branch.push(part, fd)
        status = os.fstat(fd)
        path, identity = "/".join(branch.parts), (status.st_dev, status.st_ino)
        if made or self._durable.get(path) != identity:
            branch.unsynced.append((len(branch.parts) - 1, path, identity))

    def _make_root(self) -> int:
        try:
            return os.open(self.root, _ROOT)
        except FileNotFoundError:
            _make_durably(self.root)
            return os.open(self.root, _ROOT)


class Unsettled:
    """The folders of a name that is there and not durable yet, held open until it is."""

    def __init__(self, tree: Tree, branch: Branch) -> None:
        self._tree = tree
        self._branch = branch

    def settle(self) -> None:
        """Make the name durable, and those of the folders it is in."""
        self._tree.settle(self._branch)

    def close(self) -> None:
        """Close the folders."""
        self._branch.__exit__()


def sync_folder(fd: int) -> None:
    """Make the names in an open folder durable, where the file system can."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # what file systems without the notion answer
            raise


def _make_durably(path: str) -> None:
    parent = os.path.dirname(path)  # noqa: PTH120
    try:
        os.mkdir(path)  # noqa: PTH102
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_durably(parent)
        with suppress(FileExistsError):
            os.mkdir(path)  # noqa: PTH102
    fd = os.open(parent, _ROOT)
    try:
        sync_folder(fd)
    finally:
        os.close(fd)


def _remove_empty(name: str, parent: int) -> bool:
    try:
        fd = os.open(name, FOLDER, dir_fd=parent)
    except OSError as error:
        return error.errno == errno.ENOENT
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if not stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode) or not _remove_empty(
                    entry.name, fd
                ):
                    return False
    except FileNotFoundError:
        return False
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True
