"""Unfinished files of the local store: gone with their process, or swept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aqrec.stores import LocalStore
from aqrec.stores import _scratch as scratch
from tests._support import run_script

TEMPORARY = ".aqrec-tmp"

WRITE_AND_WAIT = """
    import asyncio, sys, time
    from aqrec.stores import LocalStore, _scratch

    if sys.argv[2] == "named":
        _scratch._O_TMPFILE = 0

    def write(file):
        file.write(b"x" * 1_000_000)
        print("ready")
        time.sleep(60)

    asyncio.run(LocalStore(sys.argv[1]).put_stream("folder/key", write))
"""

REPLACE_AND_WAIT = """
    import asyncio, os, sys, time
    from aqrec.stores import LocalStore

    def rename(*args, **kwargs):
        print("ready")
        time.sleep(60)

    os.rename = rename
    asyncio.run(LocalStore(sys.argv[1]).put("folder/key", b"new"))
"""


def everything(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def make_older(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in folder.iterdir():
        os.utime(path, (then, then))


async def keys(root: Path) -> list[str]:
    store = LocalStore(root)
    try:
        return [info.key async for info in store.list()]
    finally:
        await store.aclose()


async def write_something(root: Path) -> None:
    store = LocalStore(root)
    await store.put("written", b"1")
    await store.aclose()


async def test_a_killed_stream_leaves_nothing(tmp_path: Path) -> None:
    """Not even folders, where the file system knows nameless files."""
    result = run_script(WRITE_AND_WAIT, str(tmp_path / "lab"), "nameless", signal=signal.SIGKILL)
    assert result.returncode == -signal.SIGKILL
    assert everything(tmp_path) == ["lab"]


async def test_what_a_killed_stream_leaves_is_hidden_and_swept(tmp_path: Path) -> None:
    """Where files must have names."""
    result = run_script(WRITE_AND_WAIT, str(tmp_path), "named", signal=signal.SIGKILL)
    assert result.returncode == -signal.SIGKILL
    (litter,) = (tmp_path / TEMPORARY).iterdir()
    assert litter.stat().st_size == 1_000_000
    assert await keys(tmp_path) == []
    await write_something(tmp_path)
    assert litter.exists(), "it may be of a process that still runs"
    make_older(tmp_path / TEMPORARY, scratch.GRACE_SECONDS + 10)
    assert await keys(tmp_path) == ["written"]
    assert litter.exists(), "reading changes nothing"
    await write_something(tmp_path)
    assert everything(tmp_path) == ["written"]


async def test_a_killed_replacement_leaves_the_old_object(tmp_path: Path) -> None:
    """And a second name of the new bytes, which is swept."""
    store = LocalStore(tmp_path)
    await store.put("folder/key", b"old")
    result = run_script(REPLACE_AND_WAIT, str(tmp_path), signal=signal.SIGKILL)
    assert result.returncode == -signal.SIGKILL
    assert await store.get("folder/key") == b"old"
    assert await keys(tmp_path) == ["folder/key"]
    assert len(list((tmp_path / TEMPORARY).iterdir())) == 1
    make_older(tmp_path / TEMPORARY, scratch.GRACE_SECONDS + 10)
    await store.aclose()
    await write_something(tmp_path)
    assert everything(tmp_path) == ["folder", "folder/key", "written"]


@pytest.mark.usefixtures("unfinished_files")
async def test_a_closed_store_leaves_no_folder_of_temporary_files(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await store.put("key", b"1")
    await store.put("key", b"2")
    await store.aclose()
    assert everything(tmp_path) == ["key"]


@pytest.mark.usefixtures("no_nameless_files")
async def test_closing_leaves_the_unfinished_files_of_others(tmp_path: Path) -> None:
    first, second = LocalStore(tmp_path), LocalStore(tmp_path)

    def write(file: object) -> list[str]:
        return everything(tmp_path / TEMPORARY)

    assert len(await first.put_stream("a", write)) == 1
    await second.put("b", b"1")
    await second.aclose()
    assert len(await first.put_stream("c", write)) == 1
    await first.aclose()
    assert everything(tmp_path) == ["a", "b", "c"]


async def sweep(root: Path, names: list[str], age: float) -> list[str]:
    """Return which of the temporary files a new store leaves."""
    (root / TEMPORARY).mkdir(exist_ok=True)
    for name in names:
        (root / TEMPORARY / name).write_bytes(b"litter")
    make_older(root / TEMPORARY, age)
    await write_something(root)
    return everything(root / TEMPORARY) if (root / TEMPORARY).exists() else []


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name_of(pid: int, *, start: int = 12345, machine: str | None = None) -> str:
    return f"{machine or scratch._machine()}-{pid}-{start}-{os.urandom(8).hex()}"


OLD = scratch.GRACE_SECONDS + 10
VERY_OLD = scratch.FOREIGN_GRACE_SECONDS + 10


@pytest.mark.blocks_loop("the test asks about processes")
async def test_only_old_files_of_dead_processes_are_swept(tmp_path: Path) -> None:
    living = scratch._temporary_name()
    dead = name_of(dead_process())
    again = name_of(os.getpid())  # its number belongs to another process now
    elsewhere = name_of(dead_process(), machine="0123abcd")
    foreign = "somebody's notes"
    every = sorted([living, dead, again, elsewhere, foreign])
    assert await sweep(tmp_path, every, OLD - 60) == every
    assert await sweep(tmp_path, every, OLD) == sorted([living, elsewhere, foreign])
    assert await sweep(tmp_path, every, VERY_OLD) == [foreign]


@pytest.mark.blocks_loop("the test asks about processes")
async def test_a_process_that_cannot_be_asked_after_counts_as_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may belong to somebody else, or have hidden its beginning."""

    def kill(pid: int, number: int) -> None:
        raise PermissionError

    name = name_of(dead_process())
    monkeypatch.setattr(os, "kill", kill)
    assert await sweep(tmp_path, [name], OLD) == [name]


@pytest.mark.blocks_loop("the test asks about processes")
async def test_litter_that_cannot_be_removed_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = name_of(dead_process())
    real = os.unlink

    def unlink(path: str, *, dir_fd: int | None = None) -> None:
        if path == name:
            raise PermissionError
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    assert await sweep(tmp_path, [name], OLD) == [name]
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize("missing", ["O_TMPFILE", "/proc"])
async def test_named_files_are_used_where_nameless_ones_do_not_work(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag may be unknown to the file system, or /proc not mounted."""
    if missing == "/proc":
        real = os.link

        def link(src: str, dst: str, **kwargs: object) -> None:
            if src.startswith("/proc"):
                raise FileNotFoundError(2, "No such file or directory")
            real(src, dst, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", link)
    else:
        monkeypatch.setattr(scratch, "_O_TMPFILE", 0)
    store = LocalStore(tmp_path)
    seen = await store.put_stream("key", lambda file: everything(tmp_path))
    assert len(seen) == 2
    assert seen[0] == TEMPORARY
    await store.create("created", b"1")
    await store.put("key", b"2")
    await store.aclose()
    assert everything(tmp_path) == ["created", "key"]


async def test_a_full_disk_does_not_decide_which_files_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write tries nameless files again."""
    real = os.link

    def link(src: str, dst: str, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    store = LocalStore(tmp_path)
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="No space left"):
        await store.put("key", b"1")
    monkeypatch.setattr(os, "link", real)
    assert await store.put_stream("key", lambda file: everything(tmp_path)) == []
    await store.aclose()
