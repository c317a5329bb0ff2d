"""Artifacts that are saved again: a reader gets the old or the new one, whatever fails in between."""

import asyncio
import json
import logging
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import aqrec
from aqrec.errors import ConflictError, LoadObjectError, StorageError, UntrustedObjectError
from aqrec.stores import FaultyStore, LostResponse, MemoryStore, Torn, WrapperStore
from tests.engine.support import on_engine, options, serve

NAME = "thing.json"


class Held(WrapperStore):
    """Holds a stream back: before its object appears, or before the call returns."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.before: asyncio.Event | None = None
        self.after: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def put_stream(self, key: str, write: Callable[[BinaryIO], Any]) -> Any:
        loop = asyncio.get_running_loop()

        def held(file: BinaryIO) -> Any:
            result = write(file)
            if self.before is not None:
                loop.call_soon_threadsafe(self.reached.set)
                asyncio.run_coroutine_threadsafe(self.before.wait(), loop).result()
            return result

        result = await super().put_stream(key, held)
        if self.after is not None:
            self.reached.set()
            await self.after.wait()
        return result


async def load(url: str, run_id: str, name: str = NAME) -> Any:
    """Load an artifact as a new manager does."""
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        return await (await manager.get_recorder(recorder_id=run_id)).load_object(name)


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def clean(name: str) -> str:
    return serve(lambda: MemoryStore(name))


async def test_until_a_replacement_is_done_the_old_one_is_read(
    name: str, clean: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At no moment is there nothing; that an older one is given is said."""
    stores: list[Held] = []

    def make() -> Held:
        stores.append(Held(MemoryStore(name)))
        return stores[-1]

    async with aqrec.open_recorder(serve(make), experiment="e", options=options()) as recorder:
        await recorder.save_objects(**{NAME: "old"})
        (store,) = stores
        store.before = go_on = asyncio.Event()
        saving = asyncio.create_task(recorder.save_objects(**{NAME: "new"}))
        await recorder._run.session.run(store.reached.wait())
        with caplog.at_level(logging.WARNING, "aqrec"):
            assert await load(clean, recorder.id) == "old"
        assert "earlier version" in caplog.text
        await on_engine(recorder, go_on.set)
        await saving
        store.before = None
        assert await load(clean, recorder.id) == "new"
        assert await recorder.load_object(NAME) == "new"


@pytest.mark.parametrize(
    ("outcome", "left"),
    [
        (StorageError("refused"), {"old"}),
        (Torn(3, StorageError("torn")), {"old"}),
        (LostResponse(StorageError("lost")), {"new"}),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_replacement_that_fails_leaves_what_is_stored_readable(
    name: str, clean: str, outcome: Any, left: set[str]
) -> None:
    """The caller is told; the next save of the name works, also after several failures."""
    plan: dict[tuple[str, int], Any] = {("put_stream", number): outcome for number in (2, 3)}
    url = serve(lambda: FaultyStore(MemoryStore(name), plan))
    async with aqrec.open_recorder(url, experiment="e", options=options()) as recorder:
        await recorder.save_objects(**{NAME: "old"})
        for _ in range(2):
            with pytest.raises(StorageError):
                await recorder.save_objects(**{NAME: "new"})
            assert await recorder.load_object(NAME) in left
        await recorder.flush()
        assert await load(clean, recorder.id) in left
        await recorder.save_objects(**{NAME: "newest"})
        assert await load(clean, recorder.id) == "newest"


async def test_two_writers_that_save_one_name_leave_the_artifact_of_one(name: str, clean: str) -> None:
    """Whatever the order in which bytes and references arrive."""
    stores: list[Held] = []

    def make() -> Held:
        stores.append(Held(MemoryStore(name)))
        return stores[-1]

    async with (
        aqrec.open_recorder(serve(make), experiment="e", recorder_id="shared", options=options()) as first,
        aqrec.open_recorder(serve(make), experiment="e", recorder_id="shared", options=options()) as second,
    ):
        await first.flush()
        await second.flush()
        store = stores[0]
        store.after = go_on = asyncio.Event()
        saving = asyncio.create_task(first.save_objects(**{NAME: "first"}))
        await first._run.session.run(store.reached.wait())
        await second.save_objects(**{NAME: "second"})
        await on_engine(first, go_on.set)
        await saving
        assert await load(clean, "shared") == "second"
    assert await load(clean, "shared") == "second"


async def test_many_replacements_at_once_do_not_wait_for_each_other(local_url: str) -> None:
    """There are more of them than threads to write them."""
    names = [f"{number}.json" for number in range(40)]
    async with aqrec.open_recorder(local_url, experiment="e", options=options()) as recorder:
        for value in range(3):
            await recorder.save_objects(**dict.fromkeys(names, value))
        assert [await recorder.load_object(each) for each in names] == [2] * 40


async def test_bytes_of_no_known_version_are_damage(name: str, clean: str) -> None:
    """Earlier versions make the check no weaker for others."""
    async with aqrec.open_recorder(clean, experiment="e", options=options()) as recorder:
        for value in ("old", "new"):
            await recorder.save_objects(**{NAME: value})
    store = MemoryStore(name)
    await store.put(f"runs/{recorder.id}/artifacts/{NAME}", b'"xyz"')
    with pytest.raises(LoadObjectError, match="damaged"):
        await load(clean, recorder.id)


async def test_a_download_gets_the_version_that_is_there(name: str, clean: str, tmp_path: Path) -> None:
    """As loading does."""
    plan = {("put_stream", 2): StorageError("refused")}
    url = serve(lambda: FaultyStore(MemoryStore(name), plan))
    async with aqrec.open_recorder(url, experiment="e", options=options()) as recorder:
        await recorder.save_objects(**{NAME: "old"})
        with pytest.raises(StorageError):
            await recorder.save_objects(**{NAME: "new"})
        path = await recorder.download_artifact(NAME, tmp_path)
    assert json.loads(await asyncio.to_thread(Path(path).read_text)) == "old"


class Thing:
    """No plain data."""


@pytest.mark.parametrize("shard_bytes", [None, 1 << 16])
@pytest.mark.parametrize("way", ["log_artifact", "save_objects"])
async def test_a_copied_pickle_is_not_trusted_for_having_been_copied(
    local_url: str, tmp_path: Path, way: str, shard_bytes: int | None
) -> None:
    """Only what this process pickled itself is its own, and no longer than nothing else replaced it."""
    (tmp_path / "m.pkl").write_bytes(pickle.dumps([Thing(), bytes(200_000)]))
    async with aqrec.open_recorder(
        local_url, experiment="e", options=options(shard_bytes=shard_bytes)
    ) as recorder:
        for _ in range(2):
            if way == "log_artifact":
                await recorder.log_artifact(tmp_path / "m.pkl")
            else:
                await recorder.save_objects(tmp_path / "m.pkl")
            with pytest.raises(UntrustedObjectError, match=r"test_artifacts\.Thing"):
                await recorder.load_object("m.pkl")
            await recorder.save_objects(**{"m.pkl": [Thing(), bytes(200_000)]})
            assert isinstance((await recorder.load_object("m.pkl"))[0], Thing)


ran: list[str] = []


def bang() -> None:
    ran.append("bang")


class Bomb:
    def __reduce__(self) -> Any:
        return bang, ()


@pytest.mark.parametrize("size", [100, 9 << 20])
async def test_what_replaced_the_bytes_of_an_own_pickle_does_not_run(local_url: str, size: int) -> None:
    """A large one is not verified before it is decoded, unless it asks for trust."""
    async with aqrec.open_recorder(local_url, experiment="e", options=options()) as recorder:
        await recorder.save_objects(**{"m.pkl": [Thing(), bytes(size)]})
        assert isinstance((await recorder.load_object("m.pkl"))[0], Thing)
        place = Path(await recorder.get_local_dir(), "m.pkl")
        bomb = pickle.dumps([Bomb(), bytes(size)])
        place.write_bytes(bomb + bytes(max(place.stat().st_size - len(bomb), 0)))
        assert pickle.loads(bomb)
        assert ran == ["bang"]
        with pytest.raises(LoadObjectError, match="damaged"):
            await recorder.load_object("m.pkl")
        assert ran == ["bang"]
        ran.clear()


async def test_what_another_process_pickled_stays_foreign_when_replacing_it_fails(
    name: str, clean: str
) -> None:
    async with aqrec.open_recorder(clean, experiment="e", options=options()) as recorder:
        await recorder.save_objects(**{"m.pkl": [Thing()]})
    torn = serve(
        lambda: FaultyStore(MemoryStore(name), {("put_stream", 1): Torn(1 << 20, StorageError("torn"))})
    )
    async with aqrec.ExperimentManager(torn, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        with pytest.raises(StorageError):
            await again.save_objects(**{"m.pkl": [1]})
        with pytest.raises(UntrustedObjectError):
            await again.load_object("m.pkl")


@pytest.mark.parametrize(("first", "second"), [("a.json", "a.json/b.json"), ("a.json/b.json", "a.json")])
async def test_a_path_is_a_file_or_a_folder(store_url: str, first: str, second: str, tmp_path: Path) -> None:
    """On every store, since no folder could hold a copy of both; also for who resumes the run."""
    async with aqrec.open_recorder(store_url, experiment="e", options=options()) as recorder:
        await recorder.save_objects(**{first: 1})
        with pytest.raises(ConflictError, match="choose another name"):
            await recorder.save_objects(**{second: 2})
        await recorder.save_objects(**{first: 3})
    async with aqrec.ExperimentManager(store_url, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        with pytest.raises(ConflictError, match="choose another name"):
            await again.save_objects(**{second: 2})
        assert await again.load_object(first) == 3
        assert await again.download_artifact("", tmp_path)


async def test_a_recorded_file_without_an_ending_is_what_it_begins_like(
    local_url: str, tmp_path: Path
) -> None:
    (tmp_path / "LICENSE").write_bytes(b"MIT")
    (tmp_path / "task").write_bytes(pickle.dumps({"a": 1}))
    async with aqrec.open_recorder(local_url, experiment="e", options=options()) as recorder:
        for name in ("LICENSE", "task"):
            await recorder.log_artifact(tmp_path / name)
        assert await recorder.load_object("LICENSE") == b"MIT"
        assert await recorder.load_object("task") == {"a": 1}
