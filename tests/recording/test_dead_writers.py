"""What runs show of writers that died: their metrics are those of their histories, however little was told of them."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import aqrec
from aqrec.format import _layout as layout
from aqrec.format._document import document_from_json, latest
from aqrec.stores import Store
from tests.engine.support import options
from tests.upkeep.support import AgedStore, aged, elsewhere, keys

POINTS = st.tuples(
    st.lists(st.sampled_from("abc"), min_size=1, unique=True),
    st.one_of(st.none(), st.integers(0, 3)),
    st.integers(-9, 9),
)
"""keys, step, value of a call"""
GROUPS = st.lists(st.lists(POINTS, min_size=1, max_size=3), min_size=1, max_size=4)
Group = list[tuple[list[str], int | None, int]]


async def _log(recorder: aqrec.Recorder, group: Group) -> None:
    for names, step, value in group:
        await recorder.log_metrics(step=step, **{name: float(value) for name in names})
    await recorder.flush()


async def _dead(groups: list[Group], journal: int, told: int, cut: int, *, append: bool) -> AgedStore:
    """Return a store whose writer died when it had stored so many groups in its journal, and told of fewer.

    `cut`: bytes that its last file lacks of the next group, if journals grow.
    """
    url, living = aged(append=append)
    states: list[dict[str, bytes]] = []
    async with aqrec.ExperimentManager(url, options=options(upkeep="never")) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r", recorder_id="r")
        await recorder.start_run()
        for group in groups:
            await _log(recorder, group)
            states.append({key: await living.get(key) for key in await keys(living)})
    _, store = aged(append=append)
    events, points = states[min(told, journal)], states[journal]
    following = states[min(journal + 1, len(states) - 1)]
    for key, data in events.items():
        if not key.startswith(layout.JOURNAL):
            await store.put(key, data)
    for key, data in points.items():
        if key.startswith(layout.JOURNAL):
            torn = following[key][len(data) :][: -cut or None] if append and cut else b""
            await store.put(key, data + torn)
    return store


async def _agrees(store: AgedStore) -> None:
    """Check that lists, searches and documents show of each metric what the history ends with."""
    async with aqrec.ExperimentManager(elsewhere(store), options=options(upkeep="never")) as manager:
        told = await manager.metric_histories(["r"])
    async with aqrec.ExperimentManager(elsewhere(store), options=options(upkeep="never")) as manager:
        found = (await manager.search_records(experiment_names=["e"])).iloc[0]
        recorder = await manager.get_recorder(recorder_id="r")
        metrics = await recorder.list_metrics()
        rows = latest(await recorder._run.document())
        assert metrics
        for key, value in metrics.items():
            values = (await recorder.metric_history(key))["value"].tolist()
            assert (value, found[f"metrics.{key}"]) == (values[-1], values[-1])
            row = rows[key]
            assert (row.count, row.minimum, row.maximum) == (len(values), min(values), max(values))
        assert {f"metrics.{key}" for key in metrics} == {name for name in found.index if "metrics." in name}
        assert set(told["key"]) == set(metrics)


async def _stored(store: Store) -> dict[str, Any]:
    """Return the rows of the run's document: key -> (count, value)."""
    doc = document_from_json(await store.get(layout.run_document_key("r")))
    return {key: (row.count, row.value) for key, row in latest(doc).items()}


@pytest.mark.parametrize("append", [True, False], ids=["files", "objects"])
@settings(deadline=None, max_examples=max(settings().max_examples // 5, 10))
@given(
    groups=GROUPS,
    journal=st.integers(0, 3),
    told=st.integers(0, 3),
    cut=st.integers(0, 40),
    more=st.lists(POINTS, min_size=1, max_size=2),
)
@example(
    groups=[[(["a"], 0, 1)], [(["a"], 1, 5), (["b"], 1, 2)]], journal=1, told=0, cut=0, more=[(["c"], 2, 3)]
)
def test_the_metrics_of_a_resumed_run_are_those_of_its_history(
    append: bool, groups: list[Group], journal: int, told: int, cut: int, more: Group
) -> None:
    """Before it is resumed (where journals grow), while it goes on, when it has ended, and once all that is folded."""

    async def work() -> None:
        store = await _dead(groups, min(journal, len(groups) - 1), told, cut, append=append)
        if append:
            await _agrees(store)
        async with aqrec.ExperimentManager(elsewhere(store), options=options(upkeep="never")) as manager:
            experiment = await manager.get_exp(experiment_name="e")
            recorder = await experiment.start(recorder_id="r", resume=True)
            async with recorder:
                await _log(recorder, more)
                await _agrees(store)
            rows = await _stored(store)
            await _agrees(store)
            assert {key: row[1] for key, row in rows.items()} == await recorder.list_metrics()
            for key, (count, _) in rows.items():
                assert count == len(await recorder.metric_history(key))
            await manager.compact(grace=0)
        await _agrees(store)

    asyncio.run(work())


@pytest.mark.parametrize("append", [True, False], ids=["files", "objects"])
async def test_the_metrics_of_a_reaped_run_are_those_of_its_history(append: bool) -> None:
    groups: list[Group] = [[(["a"], 0, 1)], [(["a"], 1, 5), (["b"], 1, 2)], [(["a"], 1, -3)]]
    for told in range(3):
        store = await _dead(groups, 2, told, 0, append=append)
        await store.age(7200)
        async with aqrec.ExperimentManager(elsewhere(store), options=options(upkeep="never")) as manager:
            (run,) = (await manager.reap(dry_run=False)).runs
            assert run.points == 4
        await _agrees(store)
        assert await _stored(store) == {"a": (3, -3.0), "b": (1, 2.0)}
