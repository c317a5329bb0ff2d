"""The local store beside what else is in its folder, and on file systems that fail."""

import asyncio
import errno
import mmap
import os
import resource
import signal
import socket
import stat
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from aqrec.errors import (
    AlreadyExistsError,
    ClosedError,
    ConflictError,
    ObjectNotFoundError,
    StorageError,
)
from aqrec.stores import LocalStore
from aqrec.stores._appender import LocalAppender
from aqrec.testing._stores._base import error_of

pytestmark = pytest.mark.usefixtures("unfinished_files")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "lab")
    yield store
    await store.aclose()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    return tmp_path / "lab"


async def keys(store: LocalStore) -> list[str]:
    return sorted([info.key async for info in store.list()])


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: int,
    *,
    when: Callable[..., bool] = lambda *_, **__: True,
) -> Iterator[list[Any]]:
    """Have a function of `os` fail; yields the calls that failed."""
    real = getattr(os, name)
    calls: list[Any] = []

    def fail(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            calls.append(args)
            raise OSError(error, os.strerror(error))
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield calls


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208


# --- opening ------------------------------------------------------------------------------------------------


async def test_reading_makes_no_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "lab")
    assert await keys(store) == []
    with pytest.raises(ObjectNotFoundError):
        await store.get("key")
    await store.delete(["key"])
    await store.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_the_first_write_makes_all_folders(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "not" / "yet" / "there")
    await store.put("a/b/c", b"1")
    await store.aclose()
    assert files(tmp_path) == ["not/yet/there/a/b/c"]


@pytest.mark.blocks_loop("changes the working directory")
async def test_a_relative_store_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = LocalStore("lab")
    monkeypatch.chdir(tmp_path / "elsewhere")
    await store.put("key", b"1")
    await store.aclose()
    assert files(tmp_path) == ["lab/key"]


async def test_new_files_and_folders_have_the_usual_permissions(store: LocalStore, root: Path) -> None:
    """Those the umask leaves, so that a group can share a store."""
    old = os.umask(0o027)
    try:
        await store.put("folder/put", b"1")
        await store.put("folder/put", b"2")
        await store.create("folder/created", b"1")
        (await store.open_append("folder/appended")).close()
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (root / "folder").iterdir()}
    assert modes == {0o640}
    assert stat.S_IMODE((root / "folder").stat().st_mode) == 0o750


async def test_a_root_that_is_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = LocalStore(tmp_path / "link")
    await store.put("key", b"1")
    await store.aclose()
    assert files(tmp_path / "real") == ["key"]


async def test_a_root_that_was_deleted_comes_back(store: LocalStore, root: Path) -> None:
    """Somebody cleaned up while the process ran."""
    await store.put("a/key", b"1")
    await store.delete(["a/key"])
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir()
    root.rmdir()
    await store.put("a/key", b"2")
    assert files(root) == ["a/key"]


# --- foreign files ------------------------------------------------------------------------------------------


async def test_foreign_things_are_passed_over(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipes, sockets, links, and names that are no keys."""
    (root / "kept").write_bytes(b"1")
    (root / "folder").mkdir()
    (root / "folder" / "kept").write_bytes(b"1")
    (root / "empty" / "folders").mkdir(parents=True)
    for place in (root, root / "folder"):
        os.mkfifo(place / "pipe")
        (place / "back\\slash").write_bytes(b"1")
        (place / "new\nline").mkdir()
        (place / "new\nline" / "file").write_bytes(b"1")
        Path(os.fsdecode(os.fsencode(place) + b"/not-utf8-\xff")).write_bytes(b"1")
        (place / "link-to-file").symlink_to(root / "kept")
        (place / "link-to-folder").symlink_to(root / "folder")
        (place / "link-to-nothing").symlink_to("nothing")
        (place / "link-to-itself").symlink_to("link-to-itself")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(root)  # the path of a socket must be short
        server.bind("socket")
    assert await keys(store) == ["folder/kept", "kept"]
    objects, folders = await store.list_dir()
    assert ([info.key for info in objects], folders) == (["kept"], ["folder"])
    for key in ("pipe", "socket", "link-to-file", "link-to-nothing", "link-to-itself", "link-to-folder/kept"):
        for call in (store.get, store.head):
            with pytest.raises(ObjectNotFoundError):
                await call(key)
        with pytest.raises(ObjectNotFoundError):
            await store.get_stream(key, lambda file: file.read())
        if "/" not in key:
            for create in (store.create(key, b"x"), store.open_append(key)):
                error = await error_of(create)
                assert isinstance(error, ConflictError)
                assert not isinstance(error, AlreadyExistsError)


async def test_keys_too_long_to_be_legal_are_passed_over(store: LocalStore, root: Path) -> None:
    folder = root
    for _ in range(5):
        folder /= "x" * 200
    (folder / ("y" * 100)).mkdir(parents=True)
    (folder / ("y" * 19)).write_bytes(b"1")
    (folder / ("y" * 20)).write_bytes(b"1")
    (folder / ("y" * 100) / "z").write_bytes(b"1")
    assert [len(key) for key in await keys(store)] == [1024]


async def test_an_entry_that_the_file_system_shows_twice_is_listed_once(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some do when it is replaced while they are read."""
    for key in ("a/1", "a/2", "b"):
        await store.put(key, b"1")
    real = os.scandir

    class Twice:
        def __init__(self, fd: int) -> None:
            self._entries, self._inner = iter(list(real(fd)) * 2), real(fd)

        def __next__(self) -> os.DirEntry[str]:
            return next(self._entries)

        def close(self) -> None:
            self._inner.close()

    monkeypatch.setattr(os, "scandir", Twice)
    assert await keys(store) == ["a/1", "a/2", "b"]
    objects, folders = await store.list_dir()
    assert ([info.key for info in objects], folders) == (["b"], ["a"])


async def test_the_lost_and_found_of_a_file_system_is_passed_over(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to the superuser; other folders that cannot be read are errors."""
    (root / "key").write_bytes(b"1")
    (root / "lost+found").mkdir()
    with failing(
        monkeypatch, "open", errno.EACCES, when=lambda name, *_, **__: name == "lost+found"
    ) as calls:
        assert await keys(store) == ["key"]
        assert (await store.list_dir())[1] == []
    assert len(calls) == 2
    (root / "secret").mkdir()
    with failing(monkeypatch, "open", errno.EACCES, when=lambda name, *_, **__: name == "secret"):
        with pytest.raises(StorageError, match="check who may use"):
            await keys(store)
        with pytest.raises(StorageError, match="Permission denied"):
            await store.list_dir()


async def test_links_lead_no_write_out_of_the_store(store: LocalStore, root: Path, tmp_path: Path) -> None:
    """Nor a read, a listing or a delete."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_bytes(b"outside")
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    for write in (
        store.put("link/new", b"x"),
        store.put("link/file", b"x"),
        store.put("link/folder/new", b"x"),
        store.create("link/new", b"x"),
        store.put_stream("link/new", lambda file: file.write(b"x")),
        store.open_append("link/new"),
    ):
        with pytest.raises(ConflictError, match="'link'"):
            await write
    await store.delete(["link/file"])
    assert await keys(store) == []
    await store.put("file", b"inside")
    assert (root / "file").read_bytes() == b"inside"
    assert not (root / "file").is_symlink()
    assert files(outside) == ["file"]
    assert (outside / "file").read_bytes() == b"outside"


async def test_a_link_in_place_of_the_temporary_folder_is_not_followed(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqrec.stores._scratch._O_TMPFILE", 0)
    (tmp_path / "outside").mkdir()
    (root / ".aqrec-tmp").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError):
        await store.put("key", b"x")
    assert list((tmp_path / "outside").iterdir()) == []
    (root / ".aqrec-tmp").unlink()


async def test_empty_foreign_folders_give_way_and_full_ones_do_not(store: LocalStore, root: Path) -> None:
    (root / "full" / "a").mkdir(parents=True)
    (root / "full" / "new\nline").write_bytes(b"not an object")
    for write in (store.put, store.create):
        await store.delete(["empty"])
        (root / "empty" / "a" / "b").mkdir(parents=True)
        (root / "empty" / "c").mkdir()
        await write("empty", b"1")
    for write in (store.put, store.create):
        with pytest.raises(ConflictError, match="'full'"):
            await write("full", b"1")
    assert files(root) == ["empty", "full/new\nline"]


async def test_the_root_and_foreign_folders_survive_a_delete(store: LocalStore, root: Path) -> None:
    await store.put("a/b/key", b"1")
    (root / "a" / "foreign\n").write_bytes(b"1")
    await store.delete(["a/b/key"])
    assert [p.name for p in (root / "a").rglob("*")] == ["foreign\n"]
    (root / "a" / "foreign\n").unlink()
    await store.delete(["a/b/key", "a/key"])
    await store.aclose()
    assert list(root.iterdir()) == []
    assert root.is_dir()


# --- failures -----------------------------------------------------------------------------------------------


async def test_a_full_disk_is_told_and_leaves_nothing(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put("old", b"old")
    real = os.write

    def write(fd: int, data: Any) -> int:
        if len(data) > 100:
            return real(fd, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def stubborn(file: BinaryIO) -> str:
        for _ in range(3):
            with suppress(OSError, ClosedError):
                file.write(b"x" * 1000)
        return "all is well"

    monkeypatch.setattr(os, "write", write)
    for call in (
        lambda: store.put("old", b"x" * 1000),
        lambda: store.put("new/key", b"x" * 1000),
        lambda: store.create("new/key", b"x" * 1000),
        lambda: store.put_stream("new/key", lambda file: file.write(b"x" * 1000)),
        lambda: store.put_stream("old", stubborn),
    ):
        with pytest.raises(StorageError, match="No space left on device; free space") as caught:
            await call()
        assert caught.value.errno == errno.ENOSPC
        assert store.url in str(caught.value)
        assert ("'new/key'" in str(caught.value)) or ("'old'" in str(caught.value))
    monkeypatch.undo()
    assert files(root) == ["old"]
    assert await store.get("old") == b"old"


async def test_a_name_that_cannot_be_given_leaves_no_folder(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders that were made for it go again."""
    await store.put("first", b"1")

    def is_final(*args: Any, **_: Any) -> bool:
        return args[0] == "key" or args[1] == "key"

    for call in (
        lambda: store.put("new/folder/key", b"1"),
        lambda: store.create("new/folder/key", b"1"),
        lambda: store.open_append("new/folder/key"),
    ):
        with (
            failing(monkeypatch, "link", errno.ENOSPC, when=is_final),
            failing(monkeypatch, "rename", errno.ENOSPC),
            failing(monkeypatch, "open", errno.ENOSPC, when=is_final),
        ):
            assert isinstance(await error_of(call()), StorageError)
        assert [path.name for path in root.iterdir() if path.name != ".aqrec-tmp"] == ["first"]


async def test_an_appender_that_failed_takes_nothing_more(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes behind a torn write would look like damage, and a second sync like success."""
    for name, error in (("write", errno.ENOSPC), ("fdatasync", errno.EIO)):
        appender = await store.open_append(f"journal/{name}")
        await asyncio.to_thread(appender.write, b"whole")
        with failing(monkeypatch, name, error):
            with pytest.raises(StorageError, match=f"'journal/{name}'") as caught:
                await asyncio.to_thread(*((appender.write, b"torn") if name == "write" else (appender.sync,)))
            assert caught.value.errno == error
        for call in (lambda a=appender: a.write(b"more"), appender.sync):
            with pytest.raises(StorageError, match="begin a new object"):
                await asyncio.to_thread(call)
        appender.close()
        assert await store.get(f"journal/{name}") == b"whole"


async def test_a_deleted_file_is_not_synced(store: LocalStore, root: Path) -> None:
    """Whoever syncs it would believe what it wrote to be stored."""
    appender = await store.open_append("journal/key")
    await asyncio.to_thread(appender.write, b"first")
    await asyncio.to_thread(appender.sync)
    (root / "journal/key").unlink()
    await asyncio.to_thread(appender.write, b"second")
    with pytest.raises(StorageError, match=r"'journal/key'.*it was deleted"):
        await asyncio.to_thread(appender.sync)
    appender.close()


async def test_a_limit_of_the_system_is_told(store: LocalStore, root: Path) -> None:
    """The kernel itself takes a part of the write, and refuses the rest."""
    appender = await store.open_append("journal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match="File too large") as caught:
            await store.put("key", b"x" * 200_000)
        assert caught.value.errno == errno.EFBIG
        with pytest.raises(StorageError, match="File too large"):
            await asyncio.to_thread(appender.write, b"x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    appender.close()
    assert files(root) == ["journal"]
    assert (root / "journal").stat().st_size == 100_000


async def test_short_writes_are_continued(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    data = bytes(range(100))
    await store.put("put", data)
    appender = await store.open_append("appended")
    await asyncio.to_thread(appender.write, data)
    appender.close()
    assert [await store.get(key) for key in ("put", "appended")] == [data, data]


async def test_short_reads_are_continued(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, min(size, 7), at))
    data = bytes(range(100))
    await store.put("key", data)
    assert await store.get("key") == data
    assert await store.get("key", start=5, end=50) == data[5:50]


@pytest.mark.parametrize("name", ["fdatasync", "fsync"])
async def test_a_failed_sync_is_told(store: LocalStore, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whether of the file, which then does not appear, or of its folder, when the effect is open."""
    await store.put("folder/old", b"old")
    with failing(monkeypatch, name, errno.EIO) as calls:
        for call in (
            lambda: store.put("folder/old", b"new"),
            lambda: store.create("folder/new", b"new"),
            lambda: store.put_stream("folder/streamed", lambda file: file.write(b"new")),
        ):
            with pytest.raises(StorageError) as caught:
                await call()
            assert caught.value.errno == errno.EIO
    assert len(calls) == 3
    if name == "fdatasync":
        assert await keys(store) == ["folder/old"]
        assert await store.get("folder/old") == b"old"


async def test_a_failed_sync_of_a_delete_is_told(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put("folder/key", b"1")
    with failing(monkeypatch, "fsync", errno.EIO), pytest.raises(StorageError, match="folder/key"):
        await store.delete(["folder/key"])


async def test_folders_that_cannot_be_synced_are_left_alone(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have no notion of it."""
    with failing(monkeypatch, "fsync", errno.EINVAL) as calls:
        await store.put("a/b", b"1")
        await store.delete(["a/b"])
    assert calls


async def test_a_delete_goes_on_behind_a_failure(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a/1", "a/2", "a/3", "b/1"):
        await store.put(key, b"x")
    with failing(monkeypatch, "unlink", errno.EPERM, when=lambda name, **_: name == "2") as calls:
        error = await error_of(store.delete(["a/1", "a/2", "a/3", "b/1"]))
    assert isinstance(error, StorageError)
    assert "'a/2'" in str(error)
    assert len(calls) == 1
    assert files(root) == ["a/2"]


async def test_a_file_system_without_hard_links_can_put_and_says_it_cannot_create(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(monkeypatch, "link", errno.EPERM):
        await store.put("a/put", b"1")
        await store.put("a/put", b"2")
        with pytest.raises(StorageError, match="no hard links"):
            await store.create("a/created", b"1")
    assert files(root) == ["a/put"]


async def test_a_link_whose_answer_was_lost_is_recognized(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network client repeats the request, and is told that the name is taken: by itself."""
    await store.create("taken", b"1")
    real = os.link

    def link(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", link)
    await store.create("a/new", b"1")
    assert await store.get("a/new") == b"1"
    monkeypatch.undo()
    with pytest.raises(AlreadyExistsError):
        await store.create("taken", b"1")


@pytest.mark.parametrize("name", ["link", "rename", "open"])
async def test_a_folder_removed_before_the_name_is_in_it_is_made_again(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another process deletes the last object, and with it the folder."""
    await store.put("first", b"1")
    real = getattr(os, name)
    removed: list[str] = []

    def remove_first(*args: Any, **kwargs: Any) -> Any:
        if (root / "deep" / "folder").is_dir() and not removed:
            (root / "deep" / "folder").rmdir()
            (root / "deep").rmdir()
            removed.append(args[0])
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, remove_first)
    await store.put("deep/folder/put", b"1")
    assert files(root) == ["deep/folder/put", "first"]
    await store.delete(["deep/folder/put"])
    removed.clear()
    (await store.open_append("deep/folder/journal")).close()
    assert files(root) == ["deep/folder/journal", "first"]
    await store.delete(["deep/folder/journal"])
    removed.clear()
    await store.create("deep/folder/created", b"1")
    assert files(root) == ["deep/folder/created", "first"]


async def test_a_folder_removed_again_and_again_is_given_up(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put("first", b"1")
    with failing(monkeypatch, "link", errno.ENOENT), failing(monkeypatch, "rename", errno.ENOENT) as calls:
        error = await error_of(store.put("folder/key", b"1"))
    assert isinstance(error, StorageError)
    assert "again and again" in str(error)
    assert len(calls) in {0, 100}
    assert files(root) == ["first"]


# --- streams ------------------------------------------------------------------------------------------------


async def test_a_read_file_can_be_mapped(store: LocalStore, root: Path) -> None:
    await store.put("folder/key", b"mapped bytes")

    def read(file: Any) -> bytes:
        assert file.name == str(root / "folder" / "key")
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            return view[:6]

    assert await store.get_stream("folder/key", read) == b"mapped"


async def test_a_file_kept_behind_its_callback_is_dead(store: LocalStore) -> None:
    kept: list[BinaryIO] = []
    await store.put_stream("key", kept.append)
    with pytest.raises(ClosedError):
        kept[0].write(b"late")
    await store.get_stream("key", kept.append)
    with pytest.raises(ValueError, match="closed file"):
        kept[1].read()
    assert await store.get("key") == b""


async def test_a_callback_may_detach_the_file(store: LocalStore) -> None:
    await store.put("key", b"1")
    await store.get_stream("key", lambda file: file.detach().close())  # type: ignore[attr-defined]
    assert await store.get("key") == b"1"


async def test_no_call_keeps_a_file_open(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a failed nor a cancelled one."""
    await store.put("a/b/key", b"1")
    await store.aclose()
    store = LocalStore(store.url)
    await store.put("a/b/key", b"2")
    before = open_files()
    for _ in range(3):
        for call in (
            lambda: store.get("a/b/missing"),
            lambda: store.get("a/b"),
            lambda: store.get("a/b/key/below"),
            lambda: store.put("a/b/key/below", b""),
            lambda: store.put("a/b", b""),
            lambda: store.create("a/b/key", b""),
            lambda: store.open_append("a/b/key"),
            lambda: store.put_stream("a/b/key", lambda file: 1 / 0),
            lambda: store.get_stream("a/b/key", lambda file: 1 / 0),
        ):
            with pytest.raises((ConflictError, ObjectNotFoundError, ZeroDivisionError)):
                await call()
        for function in ("link", "rename", "fsync", "fdatasync", "fstat", "mkdir"):
            with failing(monkeypatch, function, errno.EIO):
                for write in (store.put, store.create):
                    await error_of(write("a/c/new" if function == "mkdir" else "a/b/key", b"x"))
        for turns in range(12):
            task = asyncio.create_task(store.open_append(f"journal/{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled():
                task.result().close()
            await store.delete([f"journal/{turns}"])
        async for _info in store.list():
            break
    await asyncio.sleep(0)
    assert open_files() == before
    await store.aclose()


async def test_an_appender_left_open_warns(store: LocalStore) -> None:
    appender = await store.open_append("journal")
    store._disk._appenders.clear()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del appender


def test_a_forked_child_drops_its_parent_s_appender_quietly(tmp_path: Path) -> None:
    """Also when another thread of the parent's was about to write."""
    fd = os.open(tmp_path / "journal", os.O_CREAT | os.O_WRONLY)
    appender = LocalAppender(fd, lambda error: StorageError(str(error)), lambda _: None)
    with appender._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                appender.__del__()
            os._exit(len(seen))
    assert os.waitpid(child, 0)[1] == 0
    appender.close()
