"""What a power loss leaves of the local store: a model of a disk that keeps only what was synced."""

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aqrec.errors import StorageError
from aqrec.stores import LocalStore, Store

pytestmark = pytest.mark.usefixtures("unfinished_files")

TEMPORARY = ".aqrec-tmp"


class Disk:
    """Watches system calls, and knows which files and names a power loss would take away.

    Attributes
    ----------
    unsynced_files
        Inodes with bytes that were written and not synced.
    unsynced_names
        Names that were made, removed or changed, by the inode of their folder.
    faults
        Names that were given to files before their bytes were safe.
    syncs
        Number of calls that reach the disk.
    """

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.unsynced_files: set[int] = set()
        self.unsynced_names: dict[int, set[str]] = {}
        self.faults: list[str] = []
        self.syncs = 0
        for name in ("write", "fdatasync", "fsync", "link", "rename", "mkdir", "unlink", "open"):
            self._watch(patch, name)

    @property
    def is_safe(self) -> bool:
        return not self.unsynced_files and not self.unsynced_names and not self.faults

    def _watch(self, patch: pytest.MonkeyPatch, name: str) -> None:
        real, after = getattr(os, name), getattr(self, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            after(result, *args, **kwargs)
            return result

        patch.setattr(os, name, watched)

    def write(self, result: int, fd: int, data: Any) -> None:
        self.unsynced_files.add(os.fstat(fd).st_ino)

    def fdatasync(self, result: None, fd: int) -> None:
        self.syncs += 1
        self.unsynced_files.discard(os.fstat(fd).st_ino)

    def fsync(self, result: None, fd: int) -> None:
        self.syncs += 1
        status = os.fstat(fd)
        assert stat.S_ISDIR(status.st_mode)
        self.unsynced_names.pop(status.st_ino, None)

    def link(self, result: None, src: Any, dst: str, *, dst_dir_fd: int, **_: Any) -> None:
        self._named(dst, dst_dir_fd)

    def rename(self, result: None, src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._named(dst, dst_dir_fd)

    def mkdir(self, result: None, path: Any, *args: Any, dir_fd: int | None = None) -> None:
        self._changed(path, dir_fd)

    def unlink(self, result: None, path: Any, *, dir_fd: int | None = None) -> None:
        self._changed(path, dir_fd)

    def open(self, result: int, path: Any, flags: int, *args: Any, dir_fd: int | None = None) -> None:
        if flags & os.O_CREAT and flags & os.O_EXCL:
            self._changed(path, dir_fd)

    def _named(self, name: str, folder: int) -> None:
        inode = os.stat(name, dir_fd=folder).st_ino
        if inode in self.unsynced_files and not _is_temporary(folder):
            self.faults.append(name)
        self._changed(name, folder)

    def _changed(self, path: Any, folder: int | None) -> None:
        path = Path(path)
        if folder is None:
            if self.root not in path.parents:
                return
            inode = path.parent.stat().st_ino
        elif _is_temporary(folder) or path.name == TEMPORARY:
            return
        else:
            inode = os.fstat(folder).st_ino
        self.unsynced_names.setdefault(inode, set()).add(path.name)


def _is_temporary(folder: int) -> bool:
    return Path(f"/proc/self/fd/{folder}").readlink().name == TEMPORARY


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    return Disk(monkeypatch, tmp_path)


async def _append(store: Store, key: str) -> None:
    appender = await store.open_append(key)
    appender.sync()
    appender.close()


WRITES: dict[str, Callable[[Store, str], Awaitable[object]]] = {
    "put": lambda store, key: store.put(key, b"data"),
    "create": lambda store, key: store.create(key, b"data"),
    "put_stream": lambda store, key: store.put_stream(key, lambda file: [file.write(b"x") for _ in range(3)]),
    "open_append": _append,
}


@pytest.mark.blocks_loop("appenders block")
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_a_write_that_returned_survives(
    write: Callable[[Store, str], Awaitable[object]], disk: Disk, tmp_path: Path
) -> None:
    """Its bytes, its name, and the names of all folders above it, the store's own included."""
    store = LocalStore(tmp_path / "not" / "there")
    for key in ("top", "a/b/c/new", "a/b/c/second", "a/b/other/third"):
        await write(store, key)
        assert disk.is_safe, vars(disk)
    await store.aclose()


async def test_a_replacement_that_returned_survives(disk: Disk, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for _ in range(3):
        await store.put("a/key", b"data")
        assert disk.is_safe
        await store.put_stream("a/key", lambda file: file.write(b"data"))
        assert disk.is_safe
    await store.aclose()


async def test_a_delete_that_returned_survives(disk: Disk, tmp_path: Path) -> None:
    """Also the part of it that another process did."""
    store = LocalStore(tmp_path)
    for key in ("a/b/1", "a/b/2", "a/3", "4"):
        await store.put(key, b"data")
    before = disk.syncs
    await store.delete(["a/b/1", "a/b/2", "a/3", "4", "a/b/missing"])
    assert disk.is_safe
    assert disk.syncs == before + 3  # once a folder
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").write_bytes(b"1")
    disk.unsynced_names = {(tmp_path / "a").stat().st_ino: {"deleted by somebody"}}
    await store.delete(["a/deleted by somebody"])
    assert disk.is_safe
    await store.aclose()


@pytest.mark.blocks_loop("appenders block")
async def test_appended_bytes_survive_from_the_sync_on(disk: Disk, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    appender = await store.open_append("journal")
    appender.write(b"data")
    assert not disk.is_safe
    appender.sync()
    assert disk.is_safe
    appender.close()
    await store.aclose()


@pytest.mark.blocks_loop("appenders block")
async def test_appending_begins_without_waiting_for_the_disk(disk: Disk, tmp_path: Path) -> None:
    """The names of file and folders become durable with the first bytes, and only once."""
    store = LocalStore(tmp_path)
    await store.put("first", b"1")
    before = disk.syncs
    appender = await store.open_append("a/b/journal")
    appender.write(b"data")
    assert disk.syncs == before
    assert not disk.is_safe
    appender.sync()
    assert disk.is_safe
    assert disk.syncs == before + 4  # the file, and three folders
    appender.sync()
    assert disk.syncs == before + 5
    appender.close()
    await store.aclose()


@pytest.mark.blocks_loop("appenders block")
async def test_an_appender_whose_name_could_not_be_synced_takes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sync would succeed, but nothing says that it has reached the disk."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = LocalStore(tmp_path)
    appender = await store.open_append("a/journal")
    appender.write(b"data")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="the disk may be failing"):
            appender.sync()
    for call in (appender.sync, lambda: appender.write(b"more")):
        with pytest.raises(StorageError, match="begin a new object"):
            call()
    appender.close()
    await store.aclose()


async def test_a_folder_that_somebody_else_just_made_is_made_durable(disk: Disk, tmp_path: Path) -> None:
    """That it is there does not mean that its name is safe."""
    store = LocalStore(tmp_path)
    await store.put("first", b"1")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").mkdir()
    assert not disk.is_safe
    await store.put("a/b/key", b"data")
    assert disk.is_safe
    await store.aclose()


async def test_a_folder_that_came_back_is_made_durable_again(disk: Disk, tmp_path: Path) -> None:
    """Its old name was synced, the new one was not."""
    store = LocalStore(tmp_path)
    for _ in range(3):
        await store.put("a/b/key", b"data")
        assert disk.is_safe
        await store.delete(["a/b/key"])
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").mkdir()
    await store.aclose()


async def test_a_folder_that_gave_way_to_an_object_is_made_durable_again(disk: Disk, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for _ in range(3):
        await store.put("a/b/key", b"data")
        assert disk.is_safe
        (tmp_path / "a" / "b" / "key").unlink()
        await store.put("a", b"data")
        await store.delete(["a"])
        disk.unsynced_names.clear()  # of the folders that are gone
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").mkdir()
    await store.aclose()


async def test_folders_known_to_be_durable_are_not_synced_again(disk: Disk, tmp_path: Path) -> None:
    """A write costs two waits for the disk: its bytes, and its name."""
    store = LocalStore(tmp_path)
    await store.put("a/b/c/first", b"data")
    before = disk.syncs
    for number in range(10):
        await store.put(f"a/b/c/{number}", b"data")
    assert disk.syncs == before + 20
    await store.aclose()


@pytest.mark.parametrize(
    ("left_out", "found"),
    [("fdatasync", "faults"), ("fsync", "unsynced_names")],
)
async def test_the_model_notices_what_is_left_out(
    left_out: str, found: str, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, left_out, lambda fd: None)
    store = LocalStore(tmp_path)
    await store.put("a/key", b"data")
    assert getattr(disk, found)
    await store.aclose()


@pytest.mark.blocks_loop("appenders block")
async def test_writing_does_not_wait_for_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk must not hold up the hand-over of what is logged meanwhile."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        begun.set()
        assert go_on.wait(30)

    store = LocalStore(tmp_path)
    appender = await store.open_append("log")
    appender.write(b"a")
    monkeypatch.setattr(os, "fdatasync", slow)
    syncing = asyncio.get_running_loop().run_in_executor(None, appender.sync)
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 30)
    await asyncio.get_running_loop().run_in_executor(None, appender.write, b"b")
    assert (tmp_path / "log").read_bytes() == b"ab"
    go_on.set()
    await syncing
    appender.close()
    await store.aclose()
