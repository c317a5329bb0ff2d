"""Histories of many runs and metrics at once: one table, thinned out, or what is new."""

import datetime as dt
import math
import uuid
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aqrec
from aqrec.errors import InvalidInputError, RecorderNotFoundError
from aqrec.format._parquet import HistoryPart
from aqrec.options import Options
from aqrec.reading import LEAST_POINTS, long_frame, thinned, wide_frame
from aqrec.stores import CountingStore, MemoryStore
from aqrec.sync import ExperimentManager
from tests.engine.support import serve

QUICK = Options(provenance=False, upkeep="never")
Point = tuple[int | None, int, float]


def points_of(rows: list[Point]) -> HistoryPart:
    return HistoryPart(
        np.array([step or 0 for step, _, _ in rows], np.int64),
        np.array([step is None for step, _, _ in rows], bool),
        np.array([stamp for _, stamp, _ in rows], np.int64),
        np.array([value for _, _, value in rows], np.float64),
    )


@given(st.lists(st.floats(), max_size=60), st.integers(LEAST_POINTS, 30))
def test_thinned_points_keep_the_ends_and_every_peak(values: list[float], most: int) -> None:
    whole = points_of([(at, at, value) for at, value in enumerate(values)])
    few = thinned(whole, most)
    assert len(few.values) <= max(most, 0)
    assert len(few.values) == min(len(values), len(few.values))
    kept = few.steps.tolist()
    assert kept == sorted(set(kept))
    np.testing.assert_array_equal(few.values, np.array(values, np.float64)[few.steps])
    if len(values) <= most:
        assert few is whole
        return
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    finite = [value for value in values if not math.isnan(value)]
    if finite:
        assert np.nanmin(few.values) == min(finite)
        assert np.nanmax(few.values) == max(finite)
    # No stretch between two kept points hides a value beyond those of its own and the neighbouring stretches.
    width = -(-len(values) // ((most - 2) // 2))
    for start in range(0, len(values), width):
        stretch = [value for value in values[start : start + width] if not math.isnan(value)]
        here = [values[at] for at in kept if start <= at < start + width]
        assert here
        if stretch:
            assert {min(stretch), max(stretch)} <= set(here)


ROWS = st.lists(
    st.tuples(st.none() | st.integers(0, 3), st.integers(0, 5), st.floats(allow_nan=False)), max_size=8
).map(lambda rows: sorted(rows, key=lambda row: (row[0] is not None, row[0] or 0, row[1])))


@given(st.dictionaries(st.tuples(st.sampled_from(["r1", "r2"]), st.sampled_from(["a", "b", "step"])), ROWS))
def test_the_wide_table_has_a_row_for_each_run_and_step(found: dict[tuple[str, str], list[Point]]) -> None:
    pieces = [(run_id, key, points_of(rows)) for (run_id, key), rows in found.items()]
    expected: dict[tuple[object, ...], dict[str, float]] = {}
    latest: Counter[tuple[object, ...]] = Counter()
    runs = list(dict.fromkeys(run_id for run_id, _ in found))
    for (run_id, key), rows in found.items():
        for step, stamp, value in rows:
            row = (runs.index(run_id), step is not None, step or 0, 0 if step is not None else stamp)
            expected.setdefault(row, {})[f"metrics.{key}"] = value
            latest[row] = max(latest[row], stamp)
    frame = wide_frame(pieces)
    keys = list(dict.fromkeys(f"metrics.{key}" for _, key in found))
    assert frame.columns.tolist() == ["run_id", "step", "timestamp", *keys]
    assert len(frame) == len(expected)
    for (_, row), (place, cells) in zip(frame.iterrows(), sorted(expected.items()), strict=True):
        assert row["run_id"] == runs[place[0]]  # type: ignore[call-overload]
        assert (None if pd.isna(row["step"]) else row["step"]) == (place[2] if place[1] else None)
        assert row["timestamp"] == pd.Timestamp(latest[place], unit="ms", tz="UTC")
        assert {key: row[key] for key in keys if not math.isnan(row[key])} == cells


@given(st.lists(st.tuples(st.sampled_from(["r1", "r2"]), st.sampled_from(["a", "b"]), ROWS), max_size=4))
def test_the_long_table_has_a_row_for_each_point(found: list[tuple[str, str, list[Point]]]) -> None:
    frame = long_frame([(run_id, key, points_of(rows)) for run_id, key, rows in found])
    told = [
        (run_id, key, None if pd.isna(step) else step, stamp.value // 10**6, value)
        for run_id, key, step, stamp, value in frame.itertuples(index=False, name=None)
    ]
    assert told == [(run_id, key, *point) for run_id, key, rows in found for point in rows]
    assert list(map(str, frame.dtypes)) == ["category", "category", "Int64", "datetime64[ms, UTC]", "float64"]


@pytest.fixture
def manager(store_url: str) -> ExperimentManager:
    """Two sealed runs, of which one has an own key and points without steps, and a running one."""
    manager = ExperimentManager(store_url, options=QUICK)
    with manager:
        experiment = manager.create_exp("alpha")
        for name in ("a", "b", "live"):
            recorder = experiment.start(recorder_name=name)
            for step in range(10):
                recorder.log_metrics(step=step, loss=1 / (step + 1), ic=step / 10)
            if name == "b":
                recorder.log_metrics(extra=5)
            if name != "live":
                experiment.end()
        yield manager


def ids(manager: ExperimentManager) -> dict[str, str]:
    return {
        recorder.name: recorder.id for recorder in manager.list_recorders(experiment_name="alpha").values()
    }


def test_histories_of_several_runs_in_one_table(manager: ExperimentManager) -> None:
    known = ids(manager)
    frame = manager.metric_histories([known["b"], known["a"]], ["ic", "extra"])
    counts = [
        ((run, key), len(part))
        for (run, key), part in frame.groupby(["run_id", "key"], observed=True, sort=False)
    ]
    assert counts == [((known["b"], "ic"), 10), ((known["b"], "extra"), 1), ((known["a"], "ic"), 10)]
    alone = manager.get_recorder(recorder_id=known["a"]).metric_history("ic")
    pd.testing.assert_frame_equal(
        frame[frame["run_id"] == known["a"]][["step", "timestamp", "value"]].reset_index(drop=True), alone
    )
    wide = manager.metric_histories([manager.get_recorder(recorder_id=known["b"])], form="wide")
    assert wide.columns.tolist() == [
        "run_id",
        "step",
        "timestamp",
        "metrics.extra",
        "metrics.ic",
        "metrics.loss",
    ]
    assert wide["step"].tolist() == [pd.NA, *range(10)]
    assert wide["metrics.extra"].dropna().tolist() == [5.0]
    experiment = manager.get_exp(experiment_name="alpha")
    assert len(experiment.metric_histories(["loss"])) == 30
    assert len(experiment.metric_histories(recorders=[known["a"]])) == 20
    assert manager.metric_histories([]).empty
    assert experiment.metric_histories(["unknown"]).empty


def test_what_is_new_since_the_last_look(manager: ExperimentManager) -> None:
    known = ids(manager)
    for name in ("a", "live"):
        recorder = manager.get_recorder(recorder_id=known[name])
        assert recorder.metric_history("ic", after_step=6)["step"].tolist() == [7, 8, 9]
        assert recorder.metric_history("ic", after_step=9).empty
        stamp = recorder.metric_history("ic")["timestamp"].iloc[-1]
        assert recorder.metric_history("ic", after_time=stamp.to_pydatetime()).empty
        before = stamp - pd.Timedelta(days=1)
        assert len(recorder.metric_history("ic", after_time=before.to_pydatetime())) == 10
    live = manager.get_recorder(recorder_id=known["live"])
    live.log_metrics(step=10, ic=1)
    live.log_metrics(ic=2)
    assert live.metric_histories(after_step=9, form="wide")["metrics.ic"].tolist() == [1.0]
    assert len(manager.metric_histories(list(known.values()), ["loss"], after_step=4, max_points=4)) == 6


async def test_the_async_face_reads_them_likewise(memory_url: str) -> None:
    async with aqrec.open_recorder(memory_url, experiment="alpha", options=QUICK) as recorder:
        for step in range(100):
            recorder.log_metrics(step=step, loss=step % 7, ic=1)
        assert len(await recorder.metric_history("loss", max_points=10)) <= 10
        assert len(await recorder.metric_histories(max_points=10)) <= 20
        async with aqrec.ExperimentManager(memory_url, options=QUICK) as manager:
            experiment = await manager.get_exp(experiment_name="alpha")
            assert len(await experiment.metric_histories(["ic"])) == 100
            assert len(await manager.metric_histories([recorder])) == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "tall"}, "choose one of long, wide"),
        ({"max_points": 3}, "from 4 on"),
        ({"after_step": 1.5}, "whole number"),
        ({"after_time": dt.datetime(2024, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the point
        ({"after_time": "today"}, "give a datetime"),
        ({"keys": "loss"}, r"give a list: keys=\['loss'\]"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], message: str, memory_url: str) -> None:
    manager = ExperimentManager(memory_url, options=QUICK)
    with pytest.raises(InvalidInputError, match=message):
        manager.metric_histories([], **arguments)
    with pytest.raises(InvalidInputError, match="is no run"):
        manager.metric_histories([1])
    with pytest.raises(RecorderNotFoundError):
        manager.metric_histories(["unknown"])
    manager.close()


async def test_a_look_at_many_sealed_runs_takes_a_listing_and_a_request_a_run() -> None:
    name = uuid.uuid4().hex
    opened: list[CountingStore] = []

    def open_it() -> CountingStore:
        opened.append(CountingStore(MemoryStore(name, append=False)))
        return opened[-1]

    url = serve(open_it)
    async with aqrec.ExperimentManager(url, options=QUICK) as manager:
        experiment = await manager.create_exp("alpha")
        for number in range(12):
            async with await experiment.create_recorder(f"r{number}") as recorder:
                recorder.log_metrics(step=1, a=number, b=1, c=2)
        recorders = list((await experiment.list_recorders()).values())
        for store in opened:
            store.reset()
        assert len(await manager.metric_histories(recorders, ["a", "b"])) == 24
        total = sum((store.requests for store in opened), Counter[str]())
        assert total == {"list": 1, "get_stream": 12}
