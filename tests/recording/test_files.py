"""Folders into a run and out of it: bounded, shown, cancelled, resumed."""

import asyncio
import contextlib
import errno
import json
import os
import pty
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aqrec
from aqrec.errors import InvalidInputError, LoadObjectError, ObjectNotFoundError, StorageError
from aqrec.recording import _files
from aqrec.stores import FaultyStore, LatencyStore, MemoryStore
from aqrec.sync import open_recorder
from tests.engine.support import options, serve

MANY = 500


def tree(folder: Path, count: int = MANY) -> dict[str, bytes]:
    """Make files in folders of folders; return their content by path."""
    made = {f"{n % 7}/{n % 5}/{n}.bin": str(n).encode() * (n % 50) for n in range(count)}
    for path, data in made.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return made


def content(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, hidden files too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


class Calls:
    """A function to be told the progress."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))


def test_a_folder_of_many_files_goes_in_and_out(store_url: str, tmp_path: Path) -> None:
    made = tree(tmp_path / "in")
    total = sum(map(len, made.values()))
    into, out = Calls(), Calls()
    with open_recorder(store_url, experiment="e", options=options()) as recorder:
        recorder.log_artifact(tmp_path / "in", progress=into)
        recorder.save_objects(tmp_path / "in", "again", progress=into)
        place = recorder.download_artifact("in", tmp_path / "out", progress=out)
    assert content(Path(place)) == made
    assert into.seen[0] == out.seen[0] == (0, total)
    assert into.seen[-1] == out.seen[-1] == (total, total)
    assert [done for done, _ in out.seen] == sorted(done for done, _ in out.seen)


async def test_no_more_files_than_allowed_are_under_way(tmp_path: Path) -> None:
    """And no fewer, where they are there."""
    await asyncio.to_thread(tree, tmp_path / "in", 60)
    under_way = {"put_stream": 0, "get": 0}
    most = dict(under_way)

    async def watch(operation: str, key: str) -> None:
        if operation in most and "/artifacts/" in key:
            under_way[operation] += 1
            most[operation] = max(most[operation], under_way[operation])
            await asyncio.sleep(0.002)
            under_way[operation] -= 1

    url = serve(lambda: LatencyStore(MemoryStore(tmp_path.name), watch))
    async with aqrec.open_recorder(url, experiment="e", options=options(transfers=5)) as recorder:
        await recorder.log_artifact(tmp_path / "in")
        await recorder.download_artifact("in", tmp_path / "out")
    assert most == {"put_stream": 5, "get": 5}


async def test_a_folder_is_looked_up_once(tmp_path: Path) -> None:
    """Not once a file, which would cost a listing of the store each."""
    await asyncio.to_thread(tree, tmp_path / "in", 50)
    calls: list[str] = []

    def plan(operation: str, key: str, _: int) -> None:
        calls.append(operation)

    url = serve(lambda: FaultyStore(MemoryStore(tmp_path.name), plan))
    async with aqrec.open_recorder(url, experiment="e", options=options()) as recorder:
        await recorder.log_artifact(tmp_path / "in")
        calls.clear()
        await recorder.download_artifact("", tmp_path / "out")
        assert calls.count("list") + calls.count("list_dir") <= 3
        assert calls.count("get") + calls.count("get_stream") <= 50 + 3


@pytest.mark.parametrize("way", ["in", "out"])
async def test_the_first_failure_ends_the_transfer_and_names_the_file(tmp_path: Path, way: str) -> None:
    await asyncio.to_thread(tree, tmp_path / "in", 200)
    failing = False
    begun: list[str] = []

    def plan(operation: str, key: str, _: int) -> Any:
        if failing and "/artifacts/" in key:
            begun.append(key)
            return StorageError(f"cannot do {key}") if key.endswith("/17.bin") else None
        return None

    url = serve(lambda: FaultyStore(MemoryStore(tmp_path.name), plan))
    async with aqrec.open_recorder(url, experiment="e", options=options(transfers=2)) as recorder:
        calls: dict[str, Callable[[], Any]] = {
            "in": lambda: recorder.log_artifact(tmp_path / "in"),
            "out": lambda: recorder.download_artifact("", tmp_path / "out"),
        }
        if way == "out":
            await calls["in"]()
        failing = True
        with pytest.raises(StorageError, match=r"17\.bin") as raised:
            await calls[way]()
        assert any("17.bin" in note for note in raised.value.__notes__)
        count = len(begun)
        assert count < 200
        await recorder.flush()
        assert len(begun) == count
    copied = await asyncio.to_thread(lambda: content(tmp_path / "out/in") if way == "out" else {})
    whole = await asyncio.to_thread(content, tmp_path / "in")
    assert copied.items() <= whole.items()


async def set_event(event: asyncio.Event) -> None:
    """Set an event on the loop that it is waited for."""
    event.set()


@pytest.mark.parametrize("way", ["in", "out"])
async def test_cancelling_leaves_whole_files_and_nothing_under_way(tmp_path: Path, way: str) -> None:
    made = await asyncio.to_thread(tree, tmp_path / "in", 200)
    loop = asyncio.get_running_loop()
    reached, go_on = asyncio.Event(), asyncio.Event()
    counting = False
    count = 0

    async def watch(operation: str, key: str) -> None:
        nonlocal count
        if counting and "/artifacts/" in key:
            count += 1
            if count == 50:
                loop.call_soon_threadsafe(reached.set)
            if count >= 50:
                await go_on.wait()

    url = serve(lambda: LatencyStore(MemoryStore(tmp_path.name), watch))
    async with aqrec.open_recorder(url, experiment="e", options=options()) as recorder:
        if way == "out":
            await recorder.log_artifact(tmp_path / "in")
        counting = True
        work = (
            recorder.log_artifact(tmp_path / "in")
            if way == "in"
            else recorder.download_artifact("in", tmp_path / "out")
        )
        task = asyncio.create_task(work)
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        counting = False
        await recorder._run.session.run(set_event(go_on))
        if way == "in":
            await recorder.download_artifact("", tmp_path / "out")
    copied = await asyncio.to_thread(content, tmp_path / "out/in")
    assert copied.items() <= made.items()
    assert 0 < len(copied) < 200


def test_what_is_there_is_kept_only_if_asked(memory_url: str, tmp_path: Path) -> None:
    made = tree(tmp_path / "in", 20)
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        recorder.log_artifact(tmp_path / "in")
        place = Path(recorder.download_artifact("in", tmp_path / "out"))
        changed, gone, *same = sorted(path for path in made if made[path])
        (place / changed).write_bytes(made[changed][::-1] or b"?")
        (place / gone).unlink()
        before = {path: (place / path).stat().st_ino for path in same}
        calls = Calls()
        recorder.download_artifact("in", tmp_path / "out", resume=True, progress=calls)
        assert content(place) == made
        assert {path: (place / path).stat().st_ino for path in same} == before
        assert calls.seen[-1][0] == calls.seen[-1][1] == sum(map(len, made.values()))
        recorder.download_artifact("in", tmp_path / "out")
        assert all((place / path).stat().st_ino != before[path] for path in same)


@pytest.mark.parametrize("kind", ["local", "memory"])
@pytest.mark.parametrize("shard_bytes", [None, 300_000])
def test_what_is_stored_compressed_comes_out_as_it_was_saved(
    request: pytest.FixtureRequest, kind: str, shard_bytes: int | None, tmp_path: Path
) -> None:
    """Small ones and large ones, in one object and in parts; counted to the end as it comes."""
    noise = os.urandom(1_500_000)
    chosen = options(compression="zstd", shard_bytes=shard_bytes)
    with open_recorder(request.getfixturevalue(f"{kind}_url"), experiment="e", options=chosen) as recorder:
        recorder.save_objects(
            **{"a.json": [1] * 9999, "b.bin": noise, "c.txt": "", "d.bin": b"0" * 5_000_000}
        )
        for resume in (False, True):
            seen = Calls()
            recorder.download_artifact("", tmp_path / "out", progress=seen, resume=resume)
            found = content(tmp_path / "out")
            assert json.loads(found.pop("a.json")) == [1] * 9999
            assert found == {"b.bin": noise, "c.txt": b"", "d.bin": b"0" * 5_000_000}
            assert seen.seen[-1][0] == seen.seen[-1][1] > 1_500_000


@pytest.mark.parametrize("change", ["cut", "flip", "add"])
def test_compressed_bytes_that_are_damaged_are_no_download(
    local_url: str, tmp_path: Path, change: str
) -> None:
    with open_recorder(local_url, experiment="e", options=options(compression="zstd")) as recorder:
        recorder.save_objects(**{"a.txt": "aqrec " * 9999})
        stored = Path(recorder.get_local_dir(), "a.txt")
        data = stored.read_bytes()
        half = len(data) // 2
        flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
        stored.write_bytes({"cut": data[:half], "flip": flipped, "add": data + b"0"}[change])
        with pytest.raises(LoadObjectError, match="damaged"):
            recorder.download_artifact("a.txt", tmp_path / "out")
        assert content(tmp_path / "out") == {}


def test_a_bar_is_drawn_on_a_terminal_only(
    memory_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path / "in", 30)
    main, side = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = bytearray()

    def drain() -> None:
        with contextlib.suppress(OSError):  # the other side was closed
            while data := os.read(main, 4096):
                shown.extend(data)

    reader = threading.Thread(target=drain)
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        recorder.log_artifact(tmp_path / "in", progress=True)
        assert capfd.readouterr() == ("", "")
        reader.start()
        with os.fdopen(side, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            recorder.log_artifact(tmp_path / "in", progress=True)
    reader.join()
    os.close(main)
    assert "30/30 files" in shown.decode()
    assert capfd.readouterr() == ("", "")


def test_what_a_progress_function_raises_ends_the_transfer(memory_url: str, tmp_path: Path) -> None:
    tree(tmp_path / "in", 30)

    def refuse(done: int, total: int) -> None:
        if done:
            raise RuntimeError("enough")

    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        with pytest.raises(RuntimeError, match="enough"):
            recorder.log_artifact(tmp_path / "in", progress=refuse)
        with pytest.raises(InvalidInputError, match="progress is 'yes'"):
            recorder.log_artifact(tmp_path / "in", progress="yes")  # type: ignore[arg-type]


def test_an_object_may_be_named_progress(memory_url: str) -> None:
    """Objects of any name can be saved; only with a folder is it the progress."""
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        recorder.save_objects(progress=[1])
        assert recorder.load_object("progress") == [1]


def test_what_can_only_be_meant_for_files_is_no_object(memory_url: str) -> None:
    """The error says under which name an object is saved; nothing is written."""
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        for progress in (True, False, print):
            with pytest.raises(InvalidInputError, match=r"'progress\.pkl'"):
                recorder.save_objects(**{"a.json": 1}, progress=progress)
        with pytest.raises(InvalidInputError, match=r"local_path is dict.*'local_path\.pkl'"):
            recorder.save_objects(local_path={})
        assert recorder.list_artifacts() == []
        recorder.save_objects(**{"progress.pkl": True, "local_path.pkl": {}})
        assert recorder.load_object("progress.pkl") is True


@pytest.mark.parametrize("inner", ["", "empty/deep"])
def test_a_folder_without_any_file_is_refused(memory_url: str, tmp_path: Path, inner: str) -> None:
    """It would leave nothing in the run, and nobody would be told."""
    (tmp_path / "in" / inner).mkdir(parents=True)
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        with pytest.raises(InvalidInputError, match="no file in it"):
            recorder.log_artifact(tmp_path / "in")
        assert recorder.list_artifacts() == []


def test_files_that_cannot_be_read_or_written_are_named(
    memory_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the operating system does not say which."""
    tree(tmp_path / "in", 3)
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        with pytest.raises(ObjectNotFoundError, match="nowhere"):
            recorder.log_artifact(tmp_path / "nowhere")
        recorder.log_artifact(tmp_path / "in")
        (tmp_path / "taken").write_text("x")
        with pytest.raises(OSError, match=r"taken"):
            recorder.download_artifact("in", tmp_path / "taken")

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(_files, "unpack_file", full)
        with pytest.raises(OSError, match=r"No space left.*out/in/.*\.bin"):
            recorder.download_artifact("in", tmp_path / "out")
    assert content(tmp_path / "out") == {}


def test_names_as_long_as_the_file_system_allows(memory_url: str, tmp_path: Path) -> None:
    """The name of the unfinished file is no longer than theirs."""
    name = "é" * 127
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        recorder.save_objects(**{name: b"x"})
        recorder.download_artifact(name, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_damaged_file_does_not_replace_what_is_there(memory_url: str, tmp_path: Path) -> None:
    with open_recorder(memory_url, experiment="e", options=options()) as recorder:
        recorder.save_objects(**{"a.txt": "one"})
        store = MemoryStore(memory_url.removeprefix("memory://"))
        asyncio.run(store.put(f"runs/{recorder.id}/artifacts/a.txt", b"eno"))
        (tmp_path / "a.txt").write_text("mine")
        with pytest.raises(LoadObjectError, match=r"'a\.txt' is damaged"):
            recorder.download_artifact("a.txt", tmp_path)
    assert content(tmp_path) == {"a.txt": b"mine"}


def test_what_is_no_file_is_refused_before_anything_is_written(local_url: str, tmp_path: Path) -> None:
    """Reading from a pipe might never end; a link to nothing has nothing to give."""
    tree(tmp_path / "in", 3)
    odd = tmp_path / "in" / "odd"
    with open_recorder(local_url, experiment="e", options=options()) as recorder:
        for make, said in (
            (lambda: os.mkfifo(odd), "no regular file"),
            (lambda: odd.symlink_to("nowhere"), "link to nothing"),
        ):
            make()
            for path in (tmp_path / "in", odd):
                with pytest.raises((InvalidInputError, ObjectNotFoundError)) as caught:
                    recorder.log_artifact(path)
                assert path == odd or said in str(caught.value)
            odd.unlink()
        assert recorder.list_artifacts() == []


def test_linked_folders_are_followed_once(local_url: str, tmp_path: Path) -> None:
    """Also where they lead back."""
    made = tree(tmp_path / "elsewhere", 3)
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "elsewhere")
    (inside / "back").symlink_to(inside)
    with open_recorder(local_url, experiment="e", options=options()) as recorder:
        recorder.log_artifact(inside)
        place = recorder.download_artifact("in", tmp_path / "out")
    assert content(Path(place)) == {f"link/{path}": data for path, data in made.items()}
