"""What nothing refers to is found and deleted; what somebody needs, may need, or has put there himself, stays."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import aqrec
import aqrec.sync
from aqrec.engine import _log
from aqrec.errors import CorruptError, InvalidInputError, NotFoundError
from aqrec.format import _layout as layout
from aqrec.format._frames import HEADER, POINTS, encode_frame
from aqrec.format._ids import new_id, now_ms
from aqrec.format._points import PointsFrame, encode_points, pack_stepped
from aqrec.format._records import LogHeader
from aqrec.recording import _artifacts
from aqrec.recording._artifacts import save_texts
from aqrec.stores import ObjectInfo, Store
from aqrec.upkeep import Garbage
from tests.engine.support import options, read, serve
from tests.upkeep.support import AgedStore, aged, everything, keys, record

DAY = 86_400.0
each_kind = pytest.mark.parametrize("append", [True, False], ids=["files", "objects"])
BIG = np.arange(200_000, dtype=np.float64)


def segment(writer: str, run_id: str) -> bytes:
    """Return a journal segment with a point of a run."""
    import msgspec

    points = PointsFrame(0, run_id, ["m"], pack_stepped(0, 1) + b"\0" * 8)
    header = msgspec.msgpack.encode(LogHeader(writer=writer, created=1))
    return encode_frame(HEADER, header) + encode_frame(POINTS, encode_points(points))


async def litter(store: Store) -> dict[str, str]:
    """Leave in a store with the runs r1 and r2 what dead writers leave; return key -> kind."""
    dead = new_id()
    found = {
        f"{layout.artifact_parts_folder('r1', 'big.npy')}/{new_id()}/000000": "part",
        f"{layout.artifact_parts_folder('r1', 'x y')}/{new_id()}/000001-{'0' * 32}": "part",
        layout.metrics_key("r1", dead, 0): "sealed history",
        layout.bulk_metrics_key(new_id(), dead): "sealed history",
        layout.clock_key(new_id()): "clock",
    }
    for key in found:
        await store.put(key, b"litter")
    return found


FOREIGN = [
    "notes.txt",
    "runs/readme.md",
    "runs/r1/metrics.csv",
    "runs/r1/parts/mine/000000",
    "journal/plan.txt",
    f"journal/{'0' * 32}/draft.seg.bak",
    "sealed/copy.parquet",
    "catalog/clock/tower.jpg",
]


async def collect(url: str, **settings: Any) -> Garbage:
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        return await manager.gc(**settings)


@each_kind
async def test_orphans_go_when_they_are_old_and_nothing_else_does(append: bool) -> None:
    url, store = aged(append=append)
    await record(url, 1, 2)
    async with aqrec.ExperimentManager(url, options=options(shard_bytes=100_000)) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await recorder.save_objects(**{"big.npy": BIG, "small.txt": "text"})
    for key in FOREIGN:
        await store.put(key, b"mine")
    before, there = await everything(store), await keys(store)
    left = await litter(store)
    assert (await collect(url, dry_run=False)).orphans == []
    await store.age(8 * DAY)
    found = await collect(url)
    assert {orphan.key: orphan.kind for orphan in found.orphans if orphan.key in left} == left
    assert {orphan.kind for orphan in found.orphans if orphan.key not in left} <= {"event log", "journal"}
    assert found.bytes == sum(orphan.size for orphan in found.orphans)
    assert left.keys() <= {*await keys(store)}, "it was only a dry run"
    done = await collect(url, dry_run=False)
    assert done.orphans == found.orphans
    assert set(there) - set(await keys(store)) <= {orphan.key for orphan in found.orphans}
    assert {*FOREIGN} <= {*await keys(store)}
    assert await everything(store) == before
    assert await read(url, "r1", "loss") == [(step, 1.0 + step) for step in range(3)]
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        assert np.array_equal(await recorder.load_object("big.npy"), BIG)
    assert (await collect(url, dry_run=False)).orphans == []


async def test_a_run_that_goes_on_keeps_everything() -> None:
    url, store = aged(append=False)
    await record(url, 2)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await (await manager.create_exp("beta")).create_recorder(recorder_id="r1")
        await recorder.start_run()
        await recorder.flush()
        left = await litter(store)
        await store.age(30 * DAY)
        found = await collect(url)
        assert not [orphan for orphan in found.orphans if orphan.key.startswith("runs/r1/")]
        assert found.kept == {"of runs that are going on, or were heard of lately": 3}
        await recorder.end_run()
    await store.age(30 * DAY)
    assert left.keys() <= {orphan.key for orphan in (await collect(url)).orphans}


async def test_what_may_belong_to_somebody_is_only_told() -> None:
    url, store = aged(append=True)
    await record(url, 1)
    writer = new_id()
    await store.put(layout.journal_key(writer, 0), segment(writer, "never heard of"))
    await store.put("runs/copied/run.json", b"{}")
    await store.put("runs/copied/artifacts/a", b"a")
    await store.put("runs/r1/artifacts/by hand.txt", b"by hand")
    await store.age(30 * DAY)
    found = await collect(url, dry_run=False)
    assert found.kept == {
        "in folders of artifacts, perhaps put there by somebody else": 1,
        "of runs that the catalog does not know": 2,
        "with points of runs that the catalog does not know": 1,
    }
    assert len(await keys(store, "runs/copied")) == 2
    found = await collect(url, dry_run=False, unreferenced=True)
    assert [orphan.key for orphan in found.orphans] == ["runs/r1/artifacts/by hand.txt"]


async def _share(recorder: aqrec.Recorder, texts: dict[str, bytes]) -> None:
    await recorder._call(save_texts(recorder._run, texts))


async def test_a_text_that_runs_share_goes_with_the_last_of_them() -> None:
    url, store = aged(append=False)
    texts = {"code.txt": b"one", "deep/plan.txt": b"two"}
    stray = layout.shared_key("0" * 32, "stray.txt")
    await store.put(stray, b"of a run that was never told of")
    async with aqrec.ExperimentManager(url, options=options(seal="bulk", upkeep="never")) as manager:
        handle = await manager.create_exp("alpha")
        for number in (1, 2):
            async with await handle.create_recorder(recorder_id=f"r{number}") as recorder:
                await _share(recorder, texts)
                if number == 2:
                    await store.age(DAY)
                    assert (await collect(url, grace=3600, dry_run=False)).orphans == []
    shared = [key for key in await keys(store, layout.SHARED) if key != stray]
    assert len(shared) == 2
    await store.age(DAY)
    assert [orphan.key for orphan in (await collect(url, grace=3600, dry_run=False)).orphans] == [stray]
    for number, left in ((1, shared), (2, [])):
        async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
            await manager.delete_recorder(recorder_id=f"r{number}")
            await manager.purge(older_than=0, dry_run=False)
        await store.age(30 * DAY)
        await collect(url, dry_run=False)
        assert await keys(store, layout.SHARED) == left


async def test_whoever_refers_to_an_old_shared_text_has_put_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    url, store = aged(append=False)
    async with aqrec.ExperimentManager(url, options=options(seal="bulk", upkeep="never")) as manager:
        handle = await manager.create_exp("alpha")
        for number, hours in ((1, 0), (2, 0.25), (3, 2)):
            clock = now_ms() + int(hours * 3_600_000)
            monkeypatch.setattr(_artifacts, "now_ms", lambda clock=clock: clock)
            await store.delete(await keys(store, layout.SHARED))
            async with await handle.create_recorder(recorder_id=f"r{number}") as recorder:
                await _share(recorder, {"code.txt": b"one"})
            assert len(await keys(store, layout.SHARED)) == (0 if number == 2 else 1)


async def test_a_journal_goes_when_all_of_it_is_sealed() -> None:
    url, store = aged(append=False)
    await record(url, 1)
    doc = (await everything(store))["runs"]["r1"]
    (part,) = doc["sealed"]
    writer = part["writer"]
    await store.put(layout.journal_key(writer, 0), segment(writer, "r1"))
    await store.age(30 * DAY)
    assert [orphan.kind for orphan in (await collect(url, dry_run=False)).orphans] == ["journal"]
    assert await keys(store, layout.JOURNAL) == []


async def test_logs_that_were_folded_and_never_finished_go() -> None:
    """Their writer died, so nobody ever will finish them."""
    url, store = aged(append=True)
    await record(url, 1)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await manager.compact(grace=0)
    (log,) = await keys(store, layout.EVENTS) or [""]
    if not log:  # the writer has finished it, so the fold has deleted it: make one that has no end
        async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
            recorder = await manager.get_recorder(recorder_id="r1")
            await recorder.set_tags(late=1)
            await recorder.flush()
            (log,) = await keys(store, layout.EVENTS)
            torn = await store.get(log)
        await store.delete([log])
        await store.put(log, torn + b"AQf1 torn")
        async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
            await manager.compact(grace=0)
    before = await everything(store)
    assert before["runs"]["r1"]["tags"]["late"] == 1
    assert await keys(store, layout.EVENTS) == [log]
    assert (await collect(url)).orphans == []
    await store.age(30 * DAY)
    assert [orphan.key for orphan in (await collect(url, dry_run=False)).orphans] == [log]
    assert await everything(store) == before


async def test_a_reference_that_is_written_meanwhile_is_seen() -> None:
    url, store = aged(append=False)
    await record(url, 1)
    await store.put("runs/r1/artifacts/late.txt", b"text")
    await store.age(30 * DAY)

    class Busy(AgedStore):
        async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
            async for info in super().list(prefix):
                yield info
            if prefix == layout.SEALED:  # all of the runs has been looked at
                async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
                    recorder = await manager.get_recorder(recorder_id="r1")
                    await recorder.save_objects(**{"late.txt": "text"})

    busy = serve(lambda: Busy(store._inner, store._past))
    found = await collect(busy, dry_run=False, unreferenced=True)
    assert found.orphans == []
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert await (await manager.get_recorder(recorder_id="r1")).load_object("late.txt") == "text"


async def test_several_may_collect_at_once() -> None:
    url, store = aged(append=False)
    await record(url, 1, 2)
    left = await litter(store)
    await store.age(30 * DAY)
    before = await everything(store)
    for found in await asyncio.gather(*(collect(url, dry_run=False) for _ in range(4))):
        assert {orphan.key for orphan in found.orphans} <= left.keys()
    assert not left.keys() & {*await keys(store)}
    assert await everything(store) == before


async def test_nothing_is_deleted_where_it_is_not_known_what_is_referred_to() -> None:
    url, store = aged(append=False)
    await record(url, 1)
    await record(url, 2)
    log = (await keys(store, layout.EVENTS))[0]
    data = bytearray(await store.get(log))
    data[150] ^= 1
    await store.put(log, bytes(data))
    await litter(store)
    await store.age(30 * DAY)
    there = await keys(store)
    with pytest.raises(CorruptError, match="verify"):
        await collect(url, dry_run=False)
    assert await keys(store) == there


async def test_what_cannot_be_meant_is_refused() -> None:
    url, _ = aged(append=False)
    with pytest.raises(NotFoundError, match="no aqrec store"):
        await collect(url)
    await record(url, 1)
    with pytest.raises(InvalidInputError, match="grace"):
        await collect(url, grace=60)


def test_gc_on_the_blocking_face() -> None:
    url, store = aged(append=True)
    asyncio.run(record(url, 1))
    asyncio.run(litter(store))
    asyncio.run(store.age(30 * DAY))
    steps: set[str] = set()
    with aqrec.sync.ExperimentManager(url, options=options(upkeep="never")) as manager:
        done = manager.gc(dry_run=False, progress=lambda what, _done, _total: steps.add(what))
    assert len(done.orphans) == 5
    assert {"deleting", "looking at objects"} <= steps
    # The marker; four listings of the catalog; the time (3); five folders; the catalog again; one deletion.
    assert done.cost.requests <= 20


async def test_a_file_that_has_rested_is_not_grown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been deleted meanwhile, since nobody knew that its writer would wake up."""
    url, store = aged(append=True)
    await record(url, 1)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await recorder.log_metrics(step=3, loss=4.0)
        await recorder.flush()
        there = {*await keys(store, layout.JOURNAL), *await keys(store, layout.EVENTS)}
        monkeypatch.setattr(_log, "time", SimpleNamespace(time=lambda: time.time() + 3600))
        await recorder.log_metrics(step=4, loss=5.0)
        await recorder.flush()
        more = {*await keys(store, layout.JOURNAL), *await keys(store, layout.EVENTS)} - there
        assert sorted(key.split("/")[0] for key in more) == ["catalog", "journal"]
    assert (await read(url, "r1", "loss"))[-2:] == [(3, 4.0), (4, 5.0)]
