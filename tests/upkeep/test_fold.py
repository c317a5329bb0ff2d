"""Folding changes how a catalog is stored, never what is read from it."""

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import aqrec
from aqrec.errors import AlreadyExistsError, ConflictError, StorageError
from aqrec.format import _layout as layout
from aqrec.format._frames import EVENTS, HEADER, encode_frame
from aqrec.format._head import SnapshotRef, encode_head
from aqrec.format._ids import new_id
from aqrec.format._records import LogHeader
from aqrec.reading import Catalog
from aqrec.stores import FaultyStore, LostResponse, MemoryStore, open_store
from aqrec.upkeep import compact, fold
from tests.data.stores.make_v1 import EXPECTED, STORE, read
from tests.engine.support import options
from tests.upkeep.support import everything, keys, record, shared

each_kind = pytest.mark.parametrize("append", [True, False], ids=["files", "objects"])


@each_kind
async def test_a_folded_catalog_tells_the_same(append: bool) -> None:
    url, store = shared(append=append)
    for number in range(5):
        await record(url, number, experiment="ab"[number % 2])
    before = await everything(store)
    done = await fold(Catalog(store), grace=0)
    assert done is not None
    assert done.folded == len(before["listed"]) if append else done.folded >= 5
    assert (done.snapshots, done.rows) == (1, 5)
    assert await keys(store, layout.EVENTS) == []
    assert await everything(store) == before


@each_kind
async def test_folds_join_small_snapshots_and_news_of_old_runs(append: bool) -> None:
    url, store = shared(append=append)
    for number in range(12):
        await record(url, number)
        await fold(Catalog(store), grace=0)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r3")
        await recorder.set_tags(late=True)
        await recorder.flush()
        await manager.delete_exp(experiment_name="alpha")
    before = await everything(store)
    assert before["runs"]["r3"]["tags"]["late"] is True
    done = await fold(Catalog(store), grace=0)
    assert done is not None
    assert done.snapshots <= 3
    assert await everything(store) == before
    done = await compact(Catalog(store), grace=0)
    assert (done.snapshots, done.rows) == (1, 12)
    assert await everything(store) == before


@each_kind
async def test_a_catalog_that_is_open_goes_on_where_it_was(append: bool) -> None:
    """News that was written and folded between two looks is not missed, nor is what comes after."""
    url, store = shared(append=append)
    await record(url, 1)
    old = Catalog(store)
    await old.refresh()
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await recorder.set_tags(late=1)
        await recorder.flush()
        await fold(Catalog(store), grace=0)
        await recorder.set_tags(later=2)
        await recorder.flush()
        await old.refresh()
        assert old.runs["r1"].tags.items() >= {"late": 1, "later": 2}.items()
        await recorder.set_tags(last=3)
        await recorder.flush()
        await old.refresh()
        assert old.runs["r1"].tags["last"] == 3


async def test_a_file_that_grows_is_folded_and_stays() -> None:
    url, store = shared(append=True)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await (await manager.create_exp("alpha")).create_recorder("one", recorder_id="r")
        await recorder.start_run()
        await recorder.flush()
        await fold(Catalog(store), grace=0)
        assert len(await keys(store, layout.EVENTS)) == 1
        reader = Catalog(store)
        await reader.refresh()
        assert not reader.pending
        assert reader.runs["r"].status == "RUNNING"
        await recorder.end_run()
        await reader.refresh()
        assert reader.runs["r"].status == "FINISHED"
    await fold(Catalog(store), grace=0)
    assert await keys(store, layout.EVENTS) == []
    assert (await everything(store))["runs"]["r"]["status"] == "FINISHED"


async def test_superseded_objects_stay_for_the_grace_period() -> None:
    url, store = shared(append=False)
    for number in range(4):
        await record(url, number)
        await fold(Catalog(store), grace=3600)
    assert len(await keys(store, layout.HEADS)) == 4
    assert len(await keys(store, layout.SNAPSHOTS)) > 1
    await record(url, 9)
    await fold(Catalog(store), grace=0)
    await record(url, 10)
    done = await fold(Catalog(store), grace=0)
    assert done is not None
    assert len(await keys(store, layout.HEADS)) == 2
    catalog = Catalog(store)
    await catalog.refresh()
    lately = [key for key, number in catalog.head.retired.items() if number == catalog.head.number]
    current = [ref.key for ref in catalog.head.snapshots]
    assert await keys(store, layout.SNAPSHOTS) == sorted(current + lately)


def _event_log(store_events: list[dict[str, Any]], *, damage: bool = False) -> tuple[str, bytes]:
    writer = new_id()
    header = encode_frame(HEADER, msgspec.msgpack.encode(LogHeader(writer=writer, created=1)))
    frames = [encode_frame(EVENTS, msgspec.msgpack.encode([event])) for event in store_events]
    if damage:
        frames.insert(1, b"AQf1 this is no frame")
    return layout.event_log_key(new_id(), writer), header + b"".join(frames)


def _complete(data: bytes) -> bytes:
    from aqrec.format._frames import FOOTER

    return data + encode_frame(FOOTER, msgspec.msgpack.encode({"runs": {}}))


CREATED = {
    "kind": "run",
    "clock": 5,
    "run_id": "r",
    "experiment_id": "e",
    "experiment_name": "alpha",
    "name": "n",
}


async def test_events_of_later_versions_survive_as_they_were() -> None:
    """Unknown kinds, and known kinds with unknown fields."""
    store = MemoryStore(uuid.uuid4().hex)
    unknown = {"kind": "invented_later", "clock": 6, "run_id": "r", "x": [1, {"y": None}]}
    richer = {"kind": "renamed", "clock": 7, "run_id": "r", "name": "new", "because": "of a later version"}
    key, data = _event_log([CREATED, unknown, richer])
    await store.put(key, _complete(data))
    before = await everything(store)
    assert before["unknown"] == [msgspec.msgpack.encode(unknown)]
    for _ in range(2):
        assert await compact(Catalog(store), grace=0)
    assert await keys(store, layout.EVENTS) == []
    assert await everything(store) == before
    catalog = Catalog(store)
    await catalog.refresh()
    kept = [event for snapshot in catalog.runs.snapshots for event in snapshot.summary.events()]
    assert sorted(kept) == sorted(map(msgspec.msgpack.encode, (unknown, richer)))


async def test_a_damaged_log_is_folded_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    key, data = _event_log(
        [CREATED, {"kind": "renamed", "clock": 7, "run_id": "r", "name": "new"}], damage=True
    )
    await store.put(key, _complete(data))
    await fold(Catalog(store), grace=0)
    assert await keys(store, layout.EVENTS) == [key]
    assert "damaged" in caplog.text
    caplog.clear()
    assert (await everything(store))["runs"]["r"]["name"] == "new"
    assert not caplog.text


async def test_nothing_is_folded_upon_what_a_later_version_wrote() -> None:
    url, store = shared(append=False)
    await record(url, 1)
    await fold(Catalog(store))
    (key,) = await keys(store, layout.HEADS)
    head = json.loads(await store.get(key)) | {"format": 99, "checksum": ""}
    await store.put(key, json.dumps(head).encode())
    await record(url, 2)
    before = await everything(store)
    assert sorted(before["runs"]) == ["r1", "r2"]
    assert await fold(Catalog(store)) is None
    with pytest.raises(ConflictError, match="later"):
        await compact(Catalog(store))
    assert await everything(store) == before


async def test_snapshots_of_older_versions_get_their_checksums() -> None:
    url, store = shared(append=False)
    await record(url, 1, 2)
    catalog = Catalog(store)
    await compact(catalog, grace=0)
    before = await everything(store)
    await catalog.refresh()
    (ref,) = catalog.head.snapshots
    assert ref.footer is not None
    old = msgspec.structs.replace(catalog.head, snapshots=[SnapshotRef(key=ref.key, rows=ref.rows)])
    await store.put(layout.head_key(old.number), encode_head(old))
    for _ in range(2):
        await compact(Catalog(store), grace=0)
        assert await everything(store) == before
    catalog = Catalog(store)
    await catalog.refresh()
    assert [known.footer is not None for known in catalog.head.snapshots] == [True]
    assert catalog.head.number == old.number + 1


async def test_a_lost_answer_to_the_creation_of_a_head_is_no_lost_race() -> None:
    url, store = shared(append=False)
    answers = (StorageError("lost"), AlreadyExistsError("the retry found the first attempt"))
    for number, answer in enumerate(answers):
        await record(url, number)
        before = await everything(store)
        faulty = FaultyStore(store, {("create", 1): LostResponse(answer)})
        done = await fold(Catalog(faulty), grace=0)
        assert done is not None
        assert done.deleted
        assert await everything(store) == before


async def test_of_two_folds_at_once_one_counts() -> None:
    import asyncio

    url, store = shared(append=False)
    for number in range(4):
        await record(url, number)
    before = await everything(store)
    done = await asyncio.gather(*(fold(Catalog(store), grace=0) for _ in range(4)))
    assert any(done)
    assert await everything(store) == before
    await compact(Catalog(store), grace=0)
    assert await everything(store) == before


def _failing(number: int, outcome: Callable[[Exception], Any]) -> Callable[[str, str, int], Any]:
    calls = 0

    def plan(operation: str, key: str, n: int) -> Any:
        nonlocal calls
        calls += 1
        return outcome(StorageError(f"{operation} of {key} fails")) if calls == number else None

    return plan


@pytest.mark.parametrize("lost", [False, True], ids=["not done", "answer lost"])
async def test_a_fold_that_breaks_off_anywhere_harms_nothing(lost: bool) -> None:
    for number in range(1, 40):
        url, store = shared(append=False)
        await record(url, 1)
        await fold(Catalog(store), grace=0)
        await record(url, 2)
        before = await everything(store)
        faulty = FaultyStore(store, _failing(number, LostResponse if lost else lambda error: error))
        with contextlib.suppress(StorageError):
            await fold(Catalog(faulty), grace=0)
        assert await everything(store) == before
        await compact(Catalog(store), grace=0)
        assert await everything(store) == before
        if not faulty.injected:
            break
    else:
        pytest.fail("a fold takes fewer requests")


def test_a_store_of_version_1_reads_the_same_when_it_is_folded(tmp_path: Path) -> None:
    import asyncio

    copy = tmp_path / "store"
    shutil.copytree(STORE, copy)

    async def folded() -> None:
        store = open_store(copy)
        await compact(Catalog(store), grace=0)
        assert await keys(store, layout.HEADS)
        await store.aclose()

    asyncio.run(folded())
    assert read(str(copy)) == json.loads(EXPECTED.read_text())


async def test_a_damaged_snapshot_is_told_and_nothing_is_folded_upon_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, store = shared(append=False)
    await record(url, 1)
    await fold(Catalog(store))
    (key,) = await keys(store, layout.SNAPSHOTS)
    data = await store.get(key)
    await store.put(key, data[:-10])
    await record(url, 2)
    catalog = Catalog(store)
    await catalog.refresh()
    assert list(catalog.runs) == ["r2"]
    assert key in caplog.text
    assert await fold(Catalog(store)) is None
    await store.put(key, data)
    assert sorted((await everything(store))["runs"]) == ["r1", "r2"]
