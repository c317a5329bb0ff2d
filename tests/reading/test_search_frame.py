"""Which runs a search returns, and the table made of them."""

import datetime as dt
import math
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import InvalidInputError
from aqrec.format._document import RunDocument, latest
from aqrec.format._records import MetricSummary
from aqrec.reading import Selection
from tests.reading.reference import to_frame

FIXED = ["run_id", "experiment_id", "status", "start_time", "end_time", "artifact_uri"]
FIXED_TYPES = ["object", "object", "object", "datetime64[ms, UTC]", "datetime64[ms, UTC]", "object"]


def run(run_id: str, metrics: dict[str, float] | None = None, **fields: Any) -> RunDocument:
    summaries = {key: MetricSummary(1, 0, 0, value, value, value) for key, value in (metrics or {}).items()}
    return RunDocument(run_id=run_id, metrics={"w": summaries}, **fields)


def uri(run_id: str) -> str:
    return f"memory://s/runs/{run_id}/artifacts"


def param(*values: Any, runs: int = 0) -> pd.Series:
    """The column of a param that has `values` in the first runs and is absent in the others."""
    docs = [run(f"r{i}", params={"x": value}) for i, value in enumerate(values)]
    docs += [run(f"s{i}") for i in range(runs - len(values))]
    return to_frame(docs, uri)["params.x"]


# --- the table ----------------------------------------------------------------------------------------------


def test_a_row_holds_a_run() -> None:
    doc = run(
        "r1",
        {"ic": 0.1},
        experiment_id="e1",
        status="FINISHED",
        start_time=1_700_000_000_123,
        end_time=1_700_000_001_000,
        params={"lr": 0.01},
        tags={"stage": "test"},
    )
    frame = to_frame([doc], uri)
    assert list(frame.columns) == [*FIXED, "metrics.ic", "params.lr", "tags.stage"]
    assert frame.iloc[0].to_dict() == {
        "run_id": "r1",
        "experiment_id": "e1",
        "status": "FINISHED",
        "start_time": pd.Timestamp(dt.datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=dt.UTC)),
        "end_time": pd.Timestamp(dt.datetime(2023, 11, 14, 22, 13, 21, tzinfo=dt.UTC)),
        "artifact_uri": "memory://s/runs/r1/artifacts",
        "metrics.ic": 0.1,
        "params.lr": 0.01,
        "tags.stage": "test",
    }


@pytest.mark.parametrize("docs", [[], [run("r")]], ids=["empty", "one run"])
def test_the_six_columns_always_have_their_types(docs: list[RunDocument]) -> None:
    frame = to_frame(docs, uri)
    assert list(frame.columns) == FIXED
    assert [str(kind) for kind in frame.dtypes] == FIXED_TYPES
    assert frame.index.equals(pd.RangeIndex(len(docs)))


def test_columns_are_sorted_by_group_and_key_and_rows_stay_in_order() -> None:
    docs = [
        run("b", {"z": 1, "a": 2}, params={"b": 1}),
        run("a", {"m": 3}, params={"a": 1}, tags={"c": 1, "B": 2}),
    ]
    frame = to_frame(docs, uri)
    assert list(frame.columns[6:]) == [
        "metrics.a",
        "metrics.m",
        "metrics.z",
        "params.a",
        "params.b",
        "tags.B",
        "tags.c",
    ]
    assert list(frame["run_id"]) == ["b", "a"]


def test_a_metric_is_the_latest_value_over_all_writers() -> None:
    doc = RunDocument(
        run_id="r",
        metrics={
            "w2": {"x": MetricSummary(1, 1, 9, 5.0, 5.0, 5.0)},
            "w1": {
                "x": MetricSummary(1, 2, 3, math.nan, 1.0, 1.0),
                "y": MetricSummary(1, None, 0, math.inf, 0, 0),
            },
        },
    )
    frame = to_frame([doc, run("s", {"x": 1})], uri)
    np.testing.assert_array_equal(frame["metrics.x"], [math.nan, 1.0])
    np.testing.assert_array_equal(frame["metrics.y"], [math.inf, math.nan])
    assert frame["metrics.x"].dtype == frame["metrics.y"].dtype == np.float64


@pytest.mark.parametrize(
    ("values", "runs", "kind", "expected"),
    [
        ([True, False], 2, "boolean", [True, False]),
        ([True], 2, "boolean", [True, pd.NA]),
        ([True, None], 2, "boolean", [True, pd.NA]),
        ([1, -(2**63)], 2, "int64", [1, -(2**63)]),
        ([1, 2**63 - 1], 3, "Int64", [1, 2**63 - 1, pd.NA]),
        ([1, None], 2, "Int64", [1, pd.NA]),
        ([1, 2**63], 2, "object", [1, 2**63]),
        ([0.5, math.inf], 2, "float64", [0.5, math.inf]),
        ([0.5, 2], 3, "float64", [0.5, 2.0, math.nan]),
        ([0.5, None, math.nan], 3, "float64", [0.5, math.nan, math.nan]),
        ([0.5, 2**53], 2, "float64", [0.5, 2.0**53]),
        ([0.5, 2**53 + 1], 2, "object", [0.5, 2**53 + 1]),
        ([0.5, 10**400], 2, "object", [0.5, 10**400]),
        ([1, True], 2, "object", [1, True]),
        (["1", 1], 2, "object", ["1", 1]),
        (["a"], 2, "object", ["a", None]),
        ([None, None], 2, "object", [None, None]),
        ([[1, 2], [3, 4]], 2, "object", [[1, 2], [3, 4]]),
        ([{"a": 1}, [1]], 3, "object", [{"a": 1}, [1], None]),
        (["a", None, 1], 3, "object", ["a", None, 1]),
    ],
)
def test_a_param_column_has_the_narrowest_type_that_holds_every_value(
    values: list[Any], runs: int, kind: str, expected: list[Any]
) -> None:
    column = param(*values, runs=runs)
    assert str(column.dtype) == kind
    for got, wanted in zip(column, expected, strict=True):
        assert (pd.isna(got) and pd.isna(wanted)) if wanted is pd.NA or wanted != wanted else got == wanted  # noqa: PLR0124
        if kind == "object":
            assert type(got) is type(wanted)


def test_tags_stay_as_they_were_set() -> None:
    docs = [run("a", tags={"n": 1, "t": "x"}), run("b", tags={"n": 2})]
    frame = to_frame(docs, uri)
    assert frame["tags.n"].dtype == frame["tags.t"].dtype == object
    assert [type(value) for value in frame["tags.n"]] == [int, int]
    assert list(frame["tags.t"]) == ["x", None]


def test_times_a_run_has_not_reached_are_nat() -> None:
    frame = to_frame([run("a", start_time=0), run("b")], uri)
    assert frame["start_time"].isna().tolist() == [False, True]
    assert frame["end_time"].isna().all()
    assert frame["start_time"][0] == pd.Timestamp(0, tz="UTC")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=2)
)
KEYED = st.dictionaries(st.sampled_from(["a", "b c", "é"]), SCALARS)
POINTS = st.dictionaries(st.sampled_from("abc"), st.floats())


@given(st.lists(st.tuples(POINTS, KEYED, KEYED, st.none() | st.integers(0, 2**42)), max_size=6))
def test_every_logged_value_is_found_in_the_table(rows: list[tuple[Any, Any, Any, int | None]]) -> None:
    docs = [
        run(f"r{i}", metrics, params=params, tags=tags, start_time=start)
        for i, (metrics, params, tags, start) in enumerate(rows)
    ]
    frame = to_frame(docs, uri)
    wanted = {f"metrics.{key}" for row in rows for key in row[0]}
    wanted |= {f"params.{key}" for row in rows for key in row[1]} | {
        f"tags.{key}" for row in rows for key in row[2]
    }
    assert list(frame.columns) == FIXED + sorted(wanted)
    for i, doc in enumerate(docs):
        cells = {f"metrics.{key}": summary.value for key, summary in latest(doc).items()}
        cells |= {f"params.{key}": value for key, value in doc.params.items()}
        cells |= {f"tags.{key}": value for key, value in doc.tags.items()}
        for column in wanted:
            got, logged = frame[column].iloc[i], cells.get(column)
            if logged is None or logged != logged:  # noqa: PLR0124
                assert pd.isna(got)
            else:
                assert got == logged
        start = frame["start_time"].iloc[i]
        assert (
            pd.isna(start)
            if doc.start_time is None
            else start.timestamp() * 1000 == pytest.approx(doc.start_time)
        )


def test_ten_thousand_runs_become_a_table_at_once() -> None:
    docs = [
        run(
            f"r{i}",
            {f"m{j}": i / (j + 1) for j in range(10)},
            params={f"p{j}": i * j for j in range(10)},
            tags={f"t{j}": "v" for j in range(5)},
            start_time=i,
        )
        for i in range(10_000)
    ]
    begin = time.process_time()
    frame = to_frame(docs, uri)
    assert time.process_time() - begin < 3  # takes 0.1 s; row by row it takes tens of seconds
    assert frame.shape == (10_000, 31)


# --- which runs ---------------------------------------------------------------------------------------------

DOCS = [
    run("a", {"ic": 0.1}, start_time=1, params={"m": "x"}),
    run("b", {"ic": 0.3}, start_time=3, params={"m": "y"}),
    run("c", {"ic": 0.2}, start_time=2, params={"m": "x"}),
    run("d"),
]


def ids(docs: list[RunDocument]) -> str:
    return "".join(doc.run_id for doc in docs)


def test_a_search_filters_orders_and_limits() -> None:
    assert ids(Selection().apply(DOCS)) == "bcad"
    assert ids(Selection(filter_string="params.m = 'x'").apply(DOCS)) == "ca"
    assert ids(Selection(filter_string="metrics.ic > 0.1", order_by=["metrics.ic"]).apply(DOCS)) == "cb"
    assert ids(Selection(order_by=["metrics.ic DESC"], max_results=2).apply(DOCS)) == "bc"
    assert ids(Selection(max_results=9).apply(DOCS)) == "bcad"
    assert ids(Selection(filter_string=None).apply(iter(DOCS))) == "bcad"


def test_a_search_knows_where_artifacts_are() -> None:
    assert (
        ids(
            Selection(filter_string="artifact_uri = 'memory://s/runs/b/artifacts'", artifact_uri=uri).apply(
                DOCS
            )
        )
        == "b"
    )
    assert (
        ids(
            Selection(order_by=["artifact_uri"], artifact_uri=lambda run_id: f"{ord(run_id) % 98:03}").apply(
                DOCS
            )
        )
        == "bcda"
    )


@pytest.mark.parametrize("number", [0, -1, 1.0, "1", True, math.nan])
def test_a_limit_is_a_whole_number_from_one_on(number: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_results"):
        Selection(max_results=number).apply(DOCS)


@pytest.mark.parametrize("mistake", [{"filter_string": "ic > 1"}, {"order_by": ["ic"]}, {"max_results": 0}])
def test_a_mistake_is_found_before_any_run_is_looked_at(mistake: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Selection(**mistake)
