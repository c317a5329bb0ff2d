"""Small sealed histories become larger ones: every reader finds the same points, whoever merges, dies or reads meanwhile."""

import asyncio
import io
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

import aqrec
from aqrec.errors import AqrecError, StorageError
from aqrec.format import _layout as layout
from aqrec.format._document import document_from_json, sealed_parts
from aqrec.reading import Catalog, read_metric_history
from aqrec.stores import CountingStore, FaultyStore, MemoryStore, Store, open_store
from aqrec.upkeep import _schedule, compact, fold
from aqrec.upkeep._merging import merge_histories, read_notes, sweep
from tests.engine.support import options
from tests.upkeep.support import aged, elsewhere, keys, record, shared

DAY = 86_400.0


async def sweeps(url: str, *numbers: int, experiment: str = "alpha") -> None:
    """Record runs whose histories are in one file."""
    await record(url, *numbers, experiment=experiment, seal="bulk", upkeep="never")


async def histories(store: Store) -> dict[str, list[Any]]:
    """Return the points of all runs, as a new reader finds them."""
    catalog = Catalog(store)
    await catalog.refresh()
    found: dict[str, list[Any]] = {}
    for run_id in sorted(catalog.runs):
        found[run_id] = (await history(catalog, run_id)).values.tolist()
    return found


async def history(catalog: Catalog, run_id: str) -> pd.DataFrame:
    async def document() -> Any:
        await catalog.refresh()
        return catalog.runs[run_id]

    return await read_metric_history(catalog.store, document, "loss")


async def merged(store: Store, **settings: Any) -> Any:
    return await compact(Catalog(store), grace=0, **settings)


async def lab() -> tuple[str, MemoryStore, dict[str, list[Any]]]:
    """Return a store of six processes with three runs each, two of another experiment; and all histories."""
    url, store = shared(append=False)
    for number in range(0, 18, 3):
        await sweeps(url, *range(number, number + 3), experiment="beta" if number < 6 else "alpha")
    return url, store, await histories(store)


async def test_files_of_many_runs_become_one_an_experiment() -> None:
    _, store, before = await lab()
    assert len(await keys(store, layout.SEALED)) == 6
    done = await merged(store)
    assert (done.merged, done.written, done.runs) == (6, 2, 18)
    assert len(await keys(store, layout.SEALED)) == 2
    assert not await keys(store, layout.MERGES)
    assert await histories(store) == before
    assert (await merged(store)).merged == 0


async def test_originals_stay_for_those_who_read_them_and_go_after_the_grace_period() -> None:
    url, store = aged(append=False)
    await sweeps(url, 1, 2)
    await sweeps(url, 3)
    old = Catalog(store)
    await old.refresh()
    before = await histories(store)
    originals = set(await keys(store, layout.SEALED))
    await compact(Catalog(store))
    assert originals < set(await keys(store, layout.SEALED))
    # Neither who does not refresh nor gc is in the way.
    for run_id in before:

        async def document(run_id: str = run_id) -> Any:
            return old.runs[run_id]

        assert (await read_metric_history(store, document, "loss")).values.tolist() == before[run_id]
    await store.age(3_600)
    await compact(Catalog(store))
    assert not originals & set(await keys(store, layout.SEALED))
    assert await histories(store) == before
    assert (await history(old, "r1")).values.tolist() == before["r1"], "it reads the run's document again"


async def test_gc_leaves_what_is_being_merged_and_takes_what_was_merged_long_ago() -> None:
    url, store = aged(append=False)
    await sweeps(url, 1, 2)
    await sweeps(url, 3)
    before = await histories(store)
    await store.age(30 * DAY)
    await compact(Catalog(store))
    async with aqrec.ExperimentManager(elsewhere(store), options=options(upkeep="never")) as manager:
        kept = await manager.gc(dry_run=False)
        assert kept.kinds.get("sealed history") is None
        assert [count for why, count in kept.kept.items() if "merged" in why] == [2]
        await store.age(30 * DAY)
        await manager.gc(dry_run=False)
        assert len(await keys(store, layout.SEALED)) == 1
        assert (await manager.verify(contents=True)).ok
    assert await histories(store) == before


async def test_merging_takes_a_request_a_file_and_few_more() -> None:
    _, store, before = await lab()
    await fold(Catalog(store))
    counted = CountingStore(store)
    catalog = Catalog(counted)
    await merge_histories(catalog)
    assert counted.requests["put_stream"] == 2
    assert counted.requests["put"] == 2, "the note and the events"
    assert counted.requests.total() <= 6 + 20, counted.requests
    await compact(catalog, grace=0)
    counted.reset()
    await history(Catalog(counted), "r5")
    assert counted.requests["get_stream"] == 1
    counted.reset()
    await compact(catalog, grace=0)
    assert counted.requests.total() <= 25, counted.requests
    assert await histories(store) == before


async def test_a_run_is_read_from_one_row_group_of_many() -> None:
    """The rows of a merged file are sorted by run, and its row groups end between runs."""
    url, store = shared(append=False)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("aqrec.format._merged.ROWS_PER_GROUP", 7)
    for number in (3, 0, 6):
        await sweeps(url, number, number + 1, number + 2)
    await merged(store)
    monkey.undo()
    (key,) = await keys(store, layout.SEALED)
    file = pq.ParquetFile(io.BytesIO(await store.get(key)))
    assert file.num_row_groups == 3
    groups = [file.read_row_group(number)["run_id"].to_pylist() for number in range(3)]
    assert [sorted(set(group)) for group in groups] == [
        ["r0", "r1", "r2"],
        ["r3", "r4", "r5"],
        ["r6", "r7", "r8"],
    ]
    assert all(group == sorted(group) for group in groups)


async def test_own_files_are_merged_only_where_that_is_asked_for() -> None:
    url, store = shared(append=False)
    await record(url, 1, 2, 3, upkeep="never")
    await sweeps(url, 4)
    before = await histories(store)
    own = [key for key in await keys(store, layout.RUNS) if key.endswith(".parquet")]
    assert len(own) == 3
    assert (await merged(store)).merged == 0
    done = await merged(store, own_histories=True)
    assert (done.merged, done.written, done.runs) == (4, 1, 4)
    assert not [key for key in await keys(store, layout.RUNS) if key.endswith(".parquet")]
    assert await histories(store) == before
    (key,) = await keys(store, layout.SEALED)
    told = document_from_json(await store.get(layout.run_document_key("r1")))
    assert [part.key for part in sealed_parts(told)] == [key]
    assert (await merged(store, own_histories=True)).merged == 0
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert (await manager.verify(contents=True)).ok


async def test_other_engines_read_merged_files_in_place(tmp_path: Path) -> None:
    url = str(tmp_path)
    store = open_store(url)
    for number in (0, 3):
        await sweeps(url, *range(number, number + 3))
    await record(url, 6, upkeep="never")
    before = await histories(store)
    await merged(store, own_histories=True)
    assert await histories(store) == before
    rows = duckdb.sql(
        f"select run_id, count(*) from read_parquet('{tmp_path}/sealed/*.parquet') group by all order by all"
    ).fetchall()
    assert rows == [(f"r{number}", 3) for number in range(7)]
    await store.aclose()


async def test_a_run_that_goes_on_after_its_history_was_merged_loses_nothing() -> None:
    url, store = shared(append=False)
    async with aqrec.ExperimentManager(url, options=options(seal="bulk", upkeep="never")) as manager:
        alpha = await manager.get_exp(experiment_name="alpha")
        recorder = await alpha.create_recorder("x")
        run_id = recorder.id
        async with recorder:
            await recorder.log_metrics(step=0, loss=0.0)
    await sweeps(url, 1)
    await merged(store)
    for step in (1, 2):
        async with aqrec.ExperimentManager(url, options=options(seal="bulk", upkeep="never")) as manager:
            recorder = await manager.get_recorder(recorder_id=run_id)
            async with recorder:
                await recorder.log_metrics(step=step, loss=float(step))
        await merged(store)
        catalog = Catalog(store)
        await catalog.refresh()
        assert (await history(catalog, run_id))["step"].tolist() == list(range(step + 1))


async def test_points_of_purged_runs_go_when_the_file_is_written_again() -> None:
    url, store, before = await lab()
    await merged(store)
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        await manager.delete_recorder(recorder_id="r7")
        await manager.purge(older_than=0, dry_run=False)
    done = await merged(store)
    assert (done.merged, done.written, done.runs) == (1, 1, 11)
    runs: set[str] = set()
    for key in await keys(store, layout.SEALED):
        runs |= set(pq.read_table(io.BytesIO(await store.get(key)))["run_id"].to_pylist())
    assert runs == before.keys() - {"r7"}
    assert (await merged(store, own_histories=True)).merged == 0


async def test_a_damaged_file_stays_as_it_is() -> None:
    url, store, _ = await lab()
    bad = (await keys(store, layout.SEALED))[3]
    data = bytearray(await store.get(bad))
    data[len(data) // 3] ^= 1
    await store.put(bad, bytes(data))
    done = await merged(store)
    assert done.merged == 5
    assert bad in await keys(store, layout.SEALED)
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        found = await manager.verify(contents=True)
    assert {problem.key for problem in found.problems} == {bad}


async def test_a_file_of_which_events_are_on_their_way_is_left_alone() -> None:
    _, store, _ = await lab()
    kept = {}
    for key in await keys(store, layout.EVENTS):
        kept[key] = await store.get(key)
    first = min(await keys(store, layout.SEALED))
    writer = first.removesuffix(".parquet").rpartition("-")[2]
    await store.delete([key for key in kept if writer in key])
    done = await merged(store)
    assert done.merged == 4, "the other one of that experiment is alone"
    assert first in await keys(store, layout.SEALED)
    for key, data in kept.items():
        if writer in key:
            await store.put(key, data)
    assert len(await histories(store)) == 18


@pytest.mark.parametrize("own", [False, True])
async def test_whoever_dies_at_any_request_leaves_all_histories_and_the_next_one_ends_it(own: bool) -> None:
    url, store = shared(append=False)
    await sweeps(url, 1, 2)
    await sweeps(url, 3)
    if own:
        await record(url, 4, 5, upkeep="never")
    before = await histories(store)
    start = {key: await store.get(key) for key in await keys(store)}
    survived = 0
    for fatal in range(200):
        name = f"{store.url.removeprefix('memory://')}-{fatal}"
        copy = MemoryStore(name, append=False)
        for key, data in start.items():
            await copy.put(key, data)
        calls = iter(range(10_000))

        def plan(operation: str, *_: Any, calls: Any = calls, fatal: int = fatal) -> Exception | None:
            return StorageError("it died") if next(calls) >= fatal else None

        try:
            await compact(Catalog(FaultyStore(copy, plan)), grace=0, own_histories=own)
            survived = fatal
        except AqrecError:
            pass
        assert await histories(copy) == before
        await compact(Catalog(copy), grace=0, own_histories=own)
        await compact(Catalog(copy), grace=0, own_histories=own)
        assert await histories(copy) == before
        if survived:
            break
    assert survived > 20


async def test_several_may_merge_at_once_and_fold_meanwhile() -> None:
    _, store, before = await lab()
    others = [Catalog(store) for _ in range(4)]
    await asyncio.gather(*(merge_histories(catalog) for catalog in others), compact(Catalog(store), grace=0))
    assert await histories(store) == before
    for _ in range(3):
        await merged(store)
    assert await histories(store) == before
    assert not await keys(store, layout.MERGES)
    assert len(await keys(store, layout.SEALED)) <= 4


async def test_whoever_folds_merges_too_when_there_are_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_schedule, "DUE_AT_CLOSE", 3)
    monkeypatch.setattr(_schedule, "MERGE_DUE", 4)
    url, store, before = await lab()
    await record(url, 99)
    assert len(await keys(store, layout.SEALED)) == 8, "six files and the two that they became"
    found = await histories(store)
    assert {run_id: found[run_id] for run_id in before} == before


async def test_a_note_of_which_nothing_came_goes_and_its_files_are_merged_again() -> None:
    _, store, before = await lab()
    calls = iter(range(10_000))

    def plan(operation: str, key: str, *_: Any) -> Exception | None:
        return StorageError("it died") if operation == "put_stream" and next(calls) >= 0 else None

    with pytest.raises(StorageError):
        await merge_histories(Catalog(FaultyStore(store, plan)))
    assert len(await keys(store, layout.MERGES)) == 1
    catalog = Catalog(store)
    await catalog.refresh()
    assert await sweep(catalog, await read_notes(store), 2**62) == 1
    assert (await merged(store)).merged == 6
    assert await histories(store) == before
