"""Artifacts move to other stores and back: they are found as before, whatever fails and whoever replaces them meanwhile."""

import asyncio
import json
import logging
import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

import aqrec
import aqrec.sync
from aqrec.errors import InvalidInputError, LoadObjectError, StorageError
from aqrec.format import _layout as layout
from aqrec.stores import MemoryStore, ObjectInfo, Store, WrapperStore, register_store
from aqrec.upkeep import Archived, Policy, Work, _archive
from aqrec.upkeep import archive as move
from tests.engine.support import options, read, serve
from tests.upkeep.support import AgedStore, aged, elsewhere, everything, keys, record

DAY = 86_400.0
BIG = np.arange(60_000, dtype=np.float64)
LONG = "over and over again\n" * 2_000
SAVED = {"big.npy": BIG, "small.txt": "text", "folder/é.pkl": {"a": [1, 2]}, "long.txt": LONG}


async def lab(*, append: bool = False, **settings: Any) -> tuple[str, AgedStore]:
    """Make a store with the ended runs r1 and r2, which have artifacts, one of them in parts."""
    url, store = aged(append=append)
    await record(url, 1, 2, **settings)
    async with aqrec.ExperimentManager(url, options=options(shard_bytes=100_000)) as manager:
        for run_id in ("r1", "r2"):
            await (await manager.get_recorder(recorder_id=run_id)).save_objects(**SAVED)
    return url, store


async def archive(url: str, *args: Any, **settings: Any) -> Archived:
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        return await manager.archive(*args, **settings)


async def all_is_there(url: str, tmp_path: Path | None = None) -> None:
    """Read all artifacts as a new reader does."""
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        for run_id in ("r1", "r2"):
            recorder = await manager.get_recorder(recorder_id=run_id)
            assert np.array_equal(await recorder.load_object("big.npy"), BIG)
            assert await recorder.load_object("small.txt") == "text"
            assert await recorder.load_object("long.txt") == LONG
            assert await recorder.load_object("folder/é.pkl") == {"a": [1, 2]}
            if tmp_path is not None:
                await recorder.download_artifact("", tmp_path / run_id)
                assert np.array_equal(np.load(tmp_path / run_id / "big.npy"), BIG)
                assert (tmp_path / run_id / "small.txt").read_text() == "text"
                assert (tmp_path / run_id / "long.txt").read_text() == LONG


async def bytes_of_artifacts(store: Store) -> list[str]:
    return [key for key in await keys(store, "runs") if "/artifacts/" in key or "/parts/" in key]


@pytest.mark.parametrize("append", [True, False], ids=["files", "objects"])
async def test_artifacts_move_and_come_back(append: bool, tmp_path: Path) -> None:
    url, store = await lab(append=append)
    before = await bytes_of_artifacts(store)
    to, cold = aged(append=False)
    told = await archive(url, to)
    assert [(run.run_id, run.artifacts) for run in told.runs] == [("r2", 4), ("r1", 4)]
    assert told.dry_run
    assert await bytes_of_artifacts(store) == before
    assert await keys(cold) == []
    done = await archive(url, to, dry_run=False)
    assert (done.runs, done.moved, done.kept) == (told.runs, 8, {})
    assert done.cost.sent > 2 * BIG.nbytes
    assert await bytes_of_artifacts(store) == []
    assert await keys(store, layout.ARCHIVES) == []
    assert len(await keys(cold)) == len(before)
    assert all(map(layout.is_archived, await keys(cold)))
    await all_is_there(url, tmp_path / "away")
    assert json.loads(await store.get("runs/r1/run.json"))["artifacts"]["small.txt"]["store"] == to
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert (await manager.verify(contents=True)).ok
        await manager.compact(grace=0)
        await store.age(30 * DAY)
        await cold.age(30 * DAY)
        assert not [found for found in (await manager.gc(dry_run=False)).orphans if "artifacts" in found.key]
    assert (await archive(url, to, dry_run=False)).runs == []
    done = await archive(url, back=True, dry_run=False)
    assert done.moved == 8
    assert await keys(cold) == []
    assert await keys(store, layout.ARCHIVES) == []
    await all_is_there(url, tmp_path / "home")
    assert (await archive(url, back=True, dry_run=False)).runs == []
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert (await manager.verify(contents=True)).ok
        recorder = await manager.get_recorder(recorder_id="r1")
        await recorder.save_objects(**{"small.txt": "text"})
        await manager.archive(to, dry_run=False)
        await recorder.save_objects(**SAVED)
    await all_is_there(url)
    assert await read(url, "r1", "loss") == [(step, 1.0 + step) for step in range(3)]


async def test_only_what_is_meant_moves() -> None:
    url, store = await lab(seal="bulk")
    to, _ = aged(append=False)
    await record(url, 3, experiment="beta")
    assert [run.run_id for run in (await archive(url, to, keep_last=1)).runs] == ["r1"]
    assert [run.run_id for run in (await archive(url, to, filter_string="params.number = 2")).runs] == ["r2"]
    assert (await archive(url, to, older_than=DAY)).runs == []
    assert (await archive(url, to, experiment_names=["beta"])).runs == []
    assert [run.artifacts for run in (await archive(url, to, least_bytes=1000)).runs] == [2, 2]
    with pytest.raises(InvalidInputError, match="URL"):
        await archive(url)
    with pytest.raises(InvalidInputError, match="itself"):
        await archive(url, url)
    with pytest.raises(InvalidInputError, match="least_bytes"):
        await archive(url, to, least_bytes=-1)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await manager.start_exp(experiment_name="alpha", recorder_id="r1", resume=True)
        await recorder.flush()
        assert [run.run_id for run in (await archive(elsewhere(store), to)).runs] == ["r2"]
        await manager.end_exp()


class _Life:
    def __init__(self, steps: float) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise StorageError("the process has died")


class _Mortal(WrapperStore):
    """A store for a process that dies after so many requests."""

    def __init__(self, inner: Store, life: _Life) -> None:
        super().__init__(inner)
        self._life = life

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        self._life.step()
        return await super().get(key, start=start, end=end)

    async def put(self, key: str, data: bytes) -> None:
        self._life.step()
        await super().put(key, data)

    async def head(self, key: str) -> ObjectInfo:
        self._life.step()
        return await super().head(key)

    async def delete(self, keys: Iterable[str]) -> None:
        for key in keys:  # it may die between two of them
            self._life.step()
            await super().delete([key])

    async def put_stream(self, key: str, write: Callable[[BinaryIO], Any]) -> Any:
        self._life.step()
        return await super().put_stream(key, write)

    async def get_stream(self, key: str, read: Callable[[BinaryIO], Any]) -> Any:
        self._life.step()
        return await super().get_stream(key, read)


class _Opened:
    """Archives that are these stores."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self._stores = stores

    def open(self, url: str) -> Store:
        return self._stores[url]


async def attempt(url: str, store: Store, to: str, cold: Store, life: _Life, **settings: bool) -> bool:
    """Move with a life of so many requests; return whether it was long enough."""
    archives: Any = _Opened({to: _Mortal(cold, life)})
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        session = manager._workspace.session
        work = Work(_Mortal(store, life), url, None, archives)

        async def run() -> None:
            await session.prepare()
            await move(work, session.engine, Policy(), url=to, dry_run=False, **settings)

        try:
            await manager._call(run())
        except StorageError:
            return False
        return True


async def test_a_move_that_dies_anywhere_loses_nothing_and_is_taken_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Moves there and back die after ever more requests, chosen by a seed; `gc` comes by now and then."""
    monkeypatch.setattr(_archive, "_BATCH", 2)
    monkeypatch.setattr(_archive, "_SMALL", 200_000)  # some go through memory, some as streams
    url, store = await lab()
    to, cold = aged(append=False)
    chance = random.Random(7)
    ends = [0, 0]
    for turn in range(40):
        back = bool(turn // 4 % 2)
        compress = not back and chance.random() < 0.5
        life = _Life(chance.randint(3, 110))
        ended = await attempt(url, store, to, cold, life, back=back, compress=compress)
        ends[ended] += 1
        await all_is_there(url)
        if chance.random() < 0.4:
            await store.age(30 * DAY)
            await cold.age(30 * DAY)
            async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
                await manager.gc(dry_run=False)
            await all_is_there(url)
    assert min(ends) >= 5, ends
    done = await archive(url, to, dry_run=False)
    assert done.kept == {}
    await store.age(30 * DAY)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await manager.gc(dry_run=False)
    await all_is_there(url)
    assert await keys(store, layout.ARCHIVES) == []
    wanted = {
        part["key"]
        for doc in (await everything(store))["runs"].values()
        for ref in doc["artifacts"].values()
        for part in ref["parts"] or [ref]
    }
    assert set(await keys(cold)) == wanted
    assert await bytes_of_artifacts(store) == []


async def test_compressed_artifacts_are_read_as_they_were_saved(tmp_path: Path) -> None:
    url, store = await lab()
    noise = random.Random(1).randbytes(20_000)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await recorder.save_objects(**{"noise.bin": noise, "zeros.zip": bytes(20_000)})
    told = await archive(url, compress=True)
    assert [(run.run_id, run.artifacts) for run in told.runs] == [("r2", 1), ("r1", 2)]
    done = await archive(url, compress=True, dry_run=False)
    assert (done.moved, done.kept) == (2, {"that compression does not make smaller": 1})
    (packed,) = [key for key in await keys(store, "runs/r1/parts") if "long.txt" in key]
    assert (await store.head(packed)).size < len(LONG) / 20
    assert "runs/r1/artifacts/long.txt" not in await keys(store)
    await all_is_there(url, tmp_path / "packed")
    to, cold = aged(append=False)
    assert (await archive(url, to, dry_run=False)).moved == 10
    await all_is_there(url, tmp_path / "away")
    assert (await archive(url, back=True, dry_run=False)).moved == 10
    assert await keys(cold) == []
    await all_is_there(url, tmp_path / "back")
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        assert await recorder.load_object("noise.bin") == noise
        assert (await manager.verify(contents=True)).ok
        await recorder.download_artifact("long.txt", tmp_path / "packed", resume=True)
        (packed,) = [key for key in await keys(store, "runs/r1/parts") if "long.txt" in key]
        await store.put(packed, bytes((await store.head(packed)).size))
        with pytest.raises(LoadObjectError, match="damaged"):
            await recorder.load_object("long.txt")
        with pytest.raises(LoadObjectError, match="damaged"):
            await recorder.download_artifact("long.txt", tmp_path / "damaged")
        (problem,) = (await manager.verify(contents=True)).problems
        assert problem.run_id == "r1"
    with pytest.raises(InvalidInputError, match="come back"):
        await archive(url, back=True, compress=True)


async def test_several_may_move_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as streams, each of which keeps two of the few worker threads."""
    monkeypatch.setattr(_archive, "_SMALL", 0)
    url, store = await lab()
    to, cold = aged(append=False)
    for back in (False, True, False):
        urls = [url, *(elsewhere(store) for _ in range(4))]
        moves = (archive(each, to, back=back, dry_run=False) for each in urls)
        done = await asyncio.wait_for(asyncio.gather(*moves), 30)
        assert max(one.moved for one in done) > 0
        await all_is_there(url)
        await store.age(30 * DAY)
        await cold.age(30 * DAY)
        async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
            await manager.gc(dry_run=False)
            assert (await manager.verify(contents=True)).ok
        assert len(await bytes_of_artifacts(store)) == 0 or back
    await all_is_there(url)


async def test_what_is_saved_while_it_moves_stands() -> None:
    url, store = await lab()
    other = elsewhere(store)

    class Busy(AgedStore):
        async def put(self, key: str, data: bytes) -> None:
            await super().put(key, data)
            if "/r1/" in key and key.endswith("small.txt"):
                async with aqrec.ExperimentManager(other, options=options(upkeep="never")) as manager:
                    await (await manager.get_recorder(recorder_id="r1")).save_objects(**{"small.txt": "new"})

    name = uuid.uuid4().hex
    busy = serve(lambda: Busy(MemoryStore(name), {}))
    done = await archive(url, busy, dry_run=False)
    assert (done.moved, done.kept) == (7, {"replaced, purged or resumed meanwhile": 1})
    async with aqrec.ExperimentManager(other, options=options()) as manager:
        assert await (await manager.get_recorder(recorder_id="r1")).load_object("small.txt") == "new"
        assert (await manager.verify(contents=True)).ok
    assert len(await keys(store, layout.ARCHIVES)) == 1
    await store.age(30 * DAY)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        found = await manager.gc(dry_run=False)
    assert await keys(store, layout.ARCHIVES) == []
    assert all(orphan.kind != "artifact" for orphan in found.orphans)


async def test_copies_that_were_taken_for_litter_are_missed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archive, "_LONG", -1)
    url, _ = await lab()
    name = uuid.uuid4().hex

    class Cleaned(AgedStore):
        async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
            data = await super().get(key, start=start, end=end)
            if "/r1/" in key:
                await self.delete([key])
            return data

    cleaned = serve(lambda: Cleaned(MemoryStore(name), {}))
    done = await archive(url, cleaned, dry_run=False)
    assert (done.moved, done.kept) == (4, {"whose copies were deleted meanwhile": 4})
    monkeypatch.undo()
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        assert await recorder.load_object("small.txt") == "text"
        assert np.array_equal(await recorder.load_object("big.npy"), BIG)


async def test_who_does_not_know_that_it_was_archived_may_replace_it_and_die(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, store = await lab()
    to, _ = aged(append=False)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await archive(elsewhere(store), to, dry_run=False)
        await recorder.save_objects(**{"small.txt": "new"})
        assert await recorder.load_object("small.txt") == "new"
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        assert await recorder.load_object("small.txt") == "new"
        await store.delete(["runs/r1/artifacts/small.txt"])  # as if it had died before it put the bytes
        with caplog.at_level(logging.WARNING):
            assert await recorder.load_object("small.txt") == "text"
        assert "earlier version" in caplog.text
        assert (await manager.verify(contents=True)).ok


async def test_a_purge_deletes_in_the_archive_too() -> None:
    url, store = await lab()
    to, cold = aged(append=False)
    await cold.put("mine.txt", b"mine")
    await archive(url, to, dry_run=False)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await manager.delete_recorder(recorder_id="r1")
        await manager.purge(older_than=0, dry_run=False)
    assert {key.split("/")[2] for key in await keys(cold, "archive")} == {"r2"}
    assert await cold.get("mine.txt") == b"mine"
    assert await keys(store, "runs/r1") == []
    assert await keys(store, layout.ARCHIVES) == []


async def test_what_is_lost_in_the_archive_is_told() -> None:
    url, _ = await lab()
    to, cold = aged(append=False)
    await archive(url, to, dry_run=False)
    (lost,) = [key for key in await keys(cold, "archive") if "/r1/" in key and key.endswith("small.txt")]
    await cold.delete([lost])
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        (problem,) = (await manager.verify()).problems
        assert problem.text == f"small.txt: it is missing, in the archive {to}"
        with pytest.raises(LoadObjectError, match=f"missing in {to}"):
            await (await manager.get_recorder(recorder_id="r1")).load_object("small.txt")
    done = await archive(url, back=True, dry_run=False)
    assert (done.moved, done.kept) == (7, {"damaged, or replaced meanwhile; see aqrec verify": 1})


async def test_credentials_of_an_archive_are_given_and_never_stored() -> None:
    url, store = await lab()
    name = uuid.uuid4().hex

    def open_vault(url: str, given: Mapping[str, Any]) -> Store:
        if given.get("token") != "s3cr3t":
            raise InvalidInputError("the vault needs a token")
        return MemoryStore(name)

    register_store("vault", open_vault, replace=True)
    to = "vault://cold"
    await archive(url, to, storage_options={"token": "s3cr3t"}, dry_run=False)
    for key in await keys(store):
        assert b"s3cr3t" not in await store.get(key)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        with pytest.raises(InvalidInputError, match="token"):
            await recorder.load_object("small.txt")
        problems = (await manager.verify()).problems
        assert len(problems) == 8
        assert "cannot be read: the vault needs a token" in problems[0].text
    given = {"archives": {to: {"token": "s3cr3t"}}}
    async with aqrec.ExperimentManager(url, options=options(), storage_options=given) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        assert await recorder.load_object("small.txt") == "text"
    with pytest.raises(InvalidInputError, match="archives"):
        aqrec.ExperimentManager(url, storage_options={"archives": [to]})


def test_archive_on_the_blocking_face() -> None:
    url, _ = asyncio.run(lab())
    to, cold = aged(append=False)
    steps: set[str] = set()
    with aqrec.sync.ExperimentManager(url, options=options(upkeep="never")) as manager:
        done = manager.archive(
            to, least_bytes=100, dry_run=False, progress=lambda what, _done, _total: steps.add(what)
        )
        assert done.moved == 4
        # Of each object: read, put, read; the rest is the same for one artifact or sixty.
        objects = len(asyncio.run(keys(cold)))
        assert done.cost.requests <= 3 * objects + 2 * len(done.runs) + 20
    assert "moving artifacts" in steps
    asyncio.run(all_is_there(url))
