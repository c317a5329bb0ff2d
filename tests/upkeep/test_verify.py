"""What is damaged is found and named, what a crash leaves is not, and what can be mended is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

import aqrec
import aqrec.sync
from aqrec.format import _layout as layout
from aqrec.stores import Store
from aqrec.upkeep import Verified
from tests.engine.support import options, read
from tests.upkeep.support import aged, as_it_is, everything, keys, record

BIG = np.arange(60_000, dtype=np.float64)


async def verify(url: str, **settings: Any) -> Verified:
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        return await manager.verify(**settings)


async def lab() -> tuple[str, Store]:
    """Return a store with folded and fresh runs, artifacts and an unsealed journal."""
    url, store = aged(append=False)
    await record(url, 1, 2)
    async with aqrec.ExperimentManager(url, options=options(shard_bytes=100_000, upkeep="never")) as manager:
        recorder = await manager.get_recorder(recorder_id="r1")
        await recorder.save_objects(**{"big.npy": BIG, "small.txt": "text"})
        await manager.compact(grace=0)
    await record(url, 3, seal="never", upkeep="never")
    return url, store


async def _flip(store: Store, folder: str, ending: str, at: int) -> str:
    key = next(key for key in await keys(store, folder) if key.endswith(ending))
    data = bytearray(await store.get(key))
    data[at] ^= 0xFF
    await store.put(key, bytes(data))
    return key


async def _remove(store: Store, folder: str, ending: str) -> str:
    key = next(key for key in await keys(store, folder) if key.endswith(ending))
    await store.delete([key])
    return key


DAMAGES: dict[str, Callable[[Store], Awaitable[str]]] = {
    "journal": lambda store: _flip(store, layout.JOURNAL, ".seg", 130),
    "event log": lambda store: _flip(store, layout.EVENTS, ".ev", 150),
    "snapshot": lambda store: _flip(store, layout.SNAPSHOTS, ".parquet", -20),
    "run document": lambda store: _flip(store, "runs/r1", "run.json", 0),
    "sealed history": lambda store: _flip(store, "runs/r1", ".parquet", -20),
}


async def test_a_store_without_damage_is_all_right() -> None:
    url, _ = await lab()
    for contents in (False, True):
        found = await verify(url, contents=contents)
        assert found.problems == []
        assert found.ok
        assert found.checked["run"] == 3
        assert found.checked["sealed history"] == 2
        assert found.checked["artifact"] == 2
        assert found.checked["journal"] == 1


async def test_what_a_crash_leaves_is_no_problem() -> None:
    url, living = aged(append=True)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await (await manager.create_exp("alpha")).create_recorder(recorder_id="r")
        await recorder.start_run()
        await recorder.log_metrics(step=0, loss=1.0)
        await recorder.flush()
        url, store = await as_it_is(living)
    (journal,) = await keys(store, layout.JOURNAL)
    await store.put(journal, await store.get(journal) + b"AQf1\x20 torn")
    found = await verify(url, contents=True)
    assert found.problems == []
    assert found.checked["torn"] >= 1


@pytest.mark.parametrize("kind", DAMAGES)
async def test_damage_is_found_and_named(kind: str) -> None:
    url, store = await lab()
    key = await DAMAGES[kind](store)
    found = await verify(url)
    assert (kind, key) in [(problem.kind, problem.key) for problem in found.problems]
    assert not found.ok


async def test_artifacts_that_are_lost_or_changed_are_told() -> None:
    url, store = await lab()
    await _remove(store, "runs/r1/parts", "/000002")
    changed = "runs/r1/artifacts/small.txt"
    await store.put(changed, b"TEXT")
    found = await verify(url)
    assert [problem.text.split(" ")[-2:] for problem in found.problems] == [["is", "missing"]]
    found = await verify(url, contents=True, repair=True)
    assert {problem.key for problem in found.problems} > {changed}
    assert not found.ok


@pytest.mark.parametrize("kind", ["event log", "snapshot", "run document"])
async def test_what_can_be_mended_is_mended(kind: str) -> None:
    url, store = await lab()
    before = await everything(store)
    await DAMAGES[kind](store)
    done = await verify(url, repair=True)
    assert done.ok, done.problems
    assert [problem.kind for problem in done.problems] == [kind]
    again = await verify(url, contents=True)
    assert again.problems == []
    after = await everything(store)
    assert after["runs"]["r1"]["params"] == before["runs"]["r1"]["params"]
    assert await read(url, "r1", "loss") == [(step, 1.0 + step) for step in range(3)]
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert await (await manager.get_recorder(recorder_id="r2")).list_params() == {
            "kind": 1.0,
            "number": 2,
        }
        assert (await manager.gc()).orphans == []
    if kind == "run document":
        assert after == before


async def test_a_snapshot_is_read_whole() -> None:
    url, store = await lab()
    before = await everything(store)
    key = await _flip(store, layout.SNAPSHOTS, ".parquet", -8_000)  # the documents: the last column
    found = await verify(url)
    assert [(problem.kind, problem.key) for problem in found.problems] == [("snapshot", key)]
    assert (await verify(url, repair=True)).ok
    assert (await everything(store))["runs"]["r1"]["params"] == before["runs"]["r1"]["params"]


def test_verify_on_the_blocking_face() -> None:
    url, _ = aged(append=True)
    asyncio.run(record(url, 1))
    with aqrec.sync.ExperimentManager(url, options=options()) as manager:
        found = manager.verify()
        assert found.ok
        # The marker, two listings and a log of the catalog; logs and journals listed and read; two objects of the run.
        assert found.cost.requests <= 10
