"""Listing the folders of a local store, a chunk of entries at a time."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ._abc import ObjectInfo
from ._names import from_system, is_legal_child, to_system
from ._tree import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._tree import Tree

__all__ = ["Scan", "info_of"]

CHUNK: Final = 1024
"""Entries looked at in one call: about 5 ms."""


class Scan:
    """One listing of a folder.

    Links, special files, and names that are no legal keys are passed over, as is what vanishes meanwhile.
    Calls block and must not overlap.

    Parameters
    ----------
    tree
        The store's folders.
    prefix
        Legal folder name, or empty for the root. It need not exist.
    deep
        Whether sub-folders are entered, or their names collected in `folders`.

    Attributes
    ----------
    folders
        Full names of the sub-folders seen that have an object below them.
    """

    def __init__(self, tree: Tree, prefix: str, *, deep: bool) -> None:
        self._tree = tree
        self._prefix = prefix
        self._deep = deep
        self._begun = False
        self._levels: list[_Level] = []
        self.folders: list[str] = []

    def chunk(self) -> list[ObjectInfo] | None:
        """Return the next objects, perhaps none, or None at the end."""
        if not self._begun:
            self._begun = True
            with (
                suppress(FileNotFoundError),
                self._tree.open(to_system(self._prefix).split("/") if self._prefix else ()) as branch,
            ):
                self._levels.append(_Level(os.dup(branch.folder), f"{self._prefix}/" if self._prefix else ""))
        if not self._levels:
            return None
        found: list[ObjectInfo] = []
        for _ in range(CHUNK):
            level = self._levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                self._levels.pop().close()
                if not self._levels:
                    break
                continue
            name = from_system(entry.name)
            if name not in level.seen and is_legal_child(level.path, name):
                level.seen.add(name)
                if entry.is_dir(follow_symlinks=False):
                    self._meet_folder(level, name)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found.append(info_of(level.path + name, entry.stat(follow_symlinks=False)))
        return found

    def close(self) -> None:
        """Close the open folders; may be called twice."""
        while self._levels:
            self._levels.pop().close()

    def _meet_folder(self, level: _Level, name: str) -> None:
        try:
            fd = os.open(to_system(name), FOLDER, dir_fd=level.fd)
        except (FileNotFoundError, NotADirectoryError):
            return
        except PermissionError:
            if name == "lost+found":  # belongs to the file system, at the root of which the store lies
                return
            raise
        below = _Level(fd, f"{level.path}{name}/")
        if self._deep:
            self._levels.append(below)
            return
        inner = Scan(self._tree, "", deep=True)
        inner._begun = True
        inner._levels.append(below)
        try:
            while (chunk := inner.chunk()) is not None:
                if chunk:
                    self.folders.append(level.path + name)
                    return
        finally:
            inner.close()


class _Level:
    """One open folder of a scan; owns `fd`.

    Some file systems show an entry again that was replaced while they are read, hence `seen`.
    """

    __slots__ = ("entries", "fd", "path", "seen")

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.seen: set[str] = set()
        try:
            self.entries: Iterator[os.DirEntry[str]] = os.scandir(fd)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        self.entries.close()  # type: ignore[attr-defined]
        os.close(self.fd)


def info_of(key: str, status: os.stat_result) -> ObjectInfo:
    """Return what `status` tells about the regular file that holds `key`."""
    assert stat.S_ISREG(status.st_mode)
    return ObjectInfo(key, status.st_size, status.st_mtime_ns // 1_000_000)
