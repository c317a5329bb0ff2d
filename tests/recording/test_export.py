"""Exports: what other programs read is what searches and histories say; whole or not at all; a bounded part at a time."""

import asyncio
import math
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aqrec
from aqrec.errors import AlreadyExistsError, InvalidInputError, NotFoundError, StorageError
from aqrec.format._parquet import HistoryPart
from aqrec.options import Options
from aqrec.reading import _arrow, read_points, to_arrow
from aqrec.recording import _exporting
from aqrec.sync import ExperimentManager, R
from tests._support import wait_until
from tests._support.services import Service

QUICK = Options(provenance=False, upkeep="never")
RUNS = 12
HALF = RUNS // 2
PARAMS: dict[str, list[Any]] = {
    "whole": [1, 2, None],
    "large": [2**60, 1, -5],
    "beyond": [1, 2**70, 3],
    "number": [1, 0.5, 2],
    "inexact": [1, 1e300, 2],
    "long_number": [2**60, 0.5, 2],
    "flag": [True, None, False],
    "flag_or_number": [True, 1, 0.5],
    "mixed": ["a", [1], {"b": None}],
    "number_or_text": [1, "1", 1e-7],
    "text": ["", 'a "quoted", one\nof two lines', "ä"],
    "nothing": [None, None, None],
}
"""By the number of the run, over and over"""


@pytest.fixture(scope="module")
def manager() -> Iterator[ExperimentManager]:
    """Runs of two experiments, half of them in a snapshot; params of every mixture; one is deleted."""
    with ExperimentManager("memory://exports", options=QUICK) as manager:
        for number in range(RUNS):
            experiment = manager.get_exp(experiment_name=f"lab{number % 2}")
            with experiment.create_recorder(f"trial-{number}") as recorder:
                values = {name: given[number % 3] for name, given in PARAMS.items()}
                recorder.log_params(**values, number_of_run=number, **{f"only{number}": number})
                for step in range(number):
                    recorder.log_metrics(step=step, ic=step / 10, loss=[math.nan, math.inf, 0.1][step % 3])
                recorder.log_metrics(None, **{f"free 'of' step, {number % 3}": 1.5})
                recorder.set_tags(stage="dev", note=f"line\n{number}")
            if number == HALF:
                manager.compact(grace=0)
        manager.delete_recorder(recorder_name="trial-3", experiment_name="lab1")
        yield manager


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every run and few points be a part."""
    monkeypatch.setattr(_arrow, "_AT_ONCE", 1)
    monkeypatch.setattr(_exporting, "_CELLS", 100)
    monkeypatch.setattr(_exporting, "_DOCUMENTS", 2)
    monkeypatch.setattr(_exporting, "_POINTS", 16)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def asked(query: str) -> duckdb.DuckDBPyRelation:
    """Return what DuckDB answers."""
    found = duckdb.sql(query)
    assert found is not None
    return found


def histories(manager: ExperimentManager, **query: Any) -> pd.DataFrame:
    found = manager.metric_histories(manager.search_records(**query, output_format="recorders"))
    return found.astype({"run_id": "str", "key": "str"})


@pytest.mark.usefixtures("small_parts")
def test_parquet_is_what_searches_and_histories_say(manager: ExperimentManager, tmp_path: Path) -> None:
    done = manager.export(tmp_path)
    assert files(tmp_path) == ["metrics.parquet", "runs.parquet"]
    expected = manager.search_records(output_format="arrow")
    written = pq.ParquetFile(tmp_path / "runs.parquet")
    assert written.schema_arrow == expected.schema
    assert {name: str(written.schema_arrow.field(f"params.{name}").type) for name in PARAMS} == {
        "whole": "int64",
        "large": "int64",
        "beyond": "string",
        "number": "double",
        "inexact": "string",
        "long_number": "string",
        "flag": "bool",
        "flag_or_number": "string",
        "mixed": "string",
        "number_or_text": "string",
        "text": "string",
        "nothing": "string",
    }
    assert written.num_row_groups > 3
    pd.testing.assert_frame_equal(written.read().to_pandas(), expected.to_pandas())
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "runs.parquet"), expected.to_pandas())
    runs, points = tmp_path / "runs.parquet", tmp_path / "metrics.parquet"
    assert pl.read_parquet(runs).equals(pl.DataFrame(expected))
    assert asked(f"from '{runs}' order by \"params.number_of_run\" limit 1").fetchall()[0][0] == str(
        expected["run_id"][RUNS - 2]
    )

    long = histories(manager)
    pd.testing.assert_frame_equal(
        pd.read_parquet(points).astype({"step": "Int64", "run_id": "str", "key": "str"}), long
    )
    assert pl.read_parquet(points)["value"].to_list() == pytest.approx(long["value"].tolist(), nan_ok=True)
    joined = asked(
        f"select count(*), count(distinct run_id) from '{points}' join '{runs}' using (run_id) where key = 'ic'"
    ).fetchall()
    assert joined == [(int((long["key"] == "ic").sum()), RUNS - 2)]  # the first has no ic, and one is deleted

    assert done.runs is not None
    assert done.metrics is not None
    assert (done.runs.rows, done.metrics.rows) == (RUNS - 1, len(long))
    assert (done.runs.bytes, done.metrics.bytes) == (runs.stat().st_size, points.stat().st_size)
    assert done.runs.url == str(runs)
    assert 0 < done.cost.requests < 3 * RUNS
    assert done.cost.received > 0


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_texts_hold_the_same(manager: ExperimentManager, tmp_path: Path, form: Any) -> None:
    manager.export(tmp_path, output_format=form)
    runs, points = tmp_path / f"runs.{form}", tmp_path / f"metrics.{form}"
    expected = manager.search_records(output_format="arrow")
    long = histories(manager)
    value = long["value"].replace(math.inf, math.nan) if form == "jsonl" else long["value"]
    if form == "csv":
        read = pd.read_csv(runs), pd.read_csv(points)
        by_polars = pl.read_csv(points, infer_schema_length=None)
        by_duckdb = asked(f"from read_csv('{points}', sample_size=-1)").pl()
    else:
        read = pd.read_json(runs, lines=True, dtype=False), pd.read_json(points, lines=True)
        by_polars = pl.read_ndjson(points, infer_schema_length=None)
        by_duckdb = asked(f"from read_json('{points}', sample_size=-1)").pl()
    assert read[0].columns.tolist() == expected.column_names
    for name in ("run_id", "params.text", "params.mixed", "tags.note"):
        assert read[0][name].fillna("").tolist() == [text or "" for text in expected[name].to_pylist()], name
    assert read[0]["params.large"].tolist() == expected["params.large"].to_pylist()
    assert pd.to_datetime(read[0]["start_time"]).tolist() == expected["start_time"].to_pylist()
    for found in (by_polars.to_pandas(), by_duckdb.to_pandas(), read[1]):
        assert found["run_id"].tolist() == long["run_id"].tolist()
        assert found["key"].tolist() == long["key"].tolist()
        assert found["value"].tolist() == pytest.approx(value.tolist(), nan_ok=True)
        assert found["step"].astype("Int64").equals(long["step"])
    assert by_duckdb.schema["timestamp"].is_temporal()


def test_runs_columns_and_histories_are_chosen_as_in_searches(
    manager: ExperimentManager, tmp_path: Path
) -> None:
    chosen: dict[str, Any] = {
        "experiment_names": ["lab1"],
        "filter_string": "params.number_of_run > 2",
        "order_by": ["params.number_of_run"],
        "max_results": 3,
        "view": "all",
        "fields": ["run_id", "params.number_of_run", "max(metrics.ic)", "params.absent", "metrics.*"],
    }
    manager.export(tmp_path, **chosen, keys=["ic", "absent"])
    found = pq.read_table(tmp_path / "runs.parquet")
    expected = manager.search_records(**chosen, output_format="arrow")
    assert found.schema == expected.schema
    pd.testing.assert_frame_equal(found.to_pandas(), expected.to_pandas())
    assert found["params.number_of_run"].to_pylist() == [3, 5, 7]
    points = pq.read_table(tmp_path / "metrics.parquet")
    assert set(points["key"].to_pylist()) == {"ic"}
    assert points.num_rows == 3 + 5 + 7
    with R.uri_context("memory://exports"):
        done = R.export(tmp_path / "deeper" / "down", tables=["runs"])
    assert done.metrics is None
    assert files(tmp_path / "deeper" / "down") == ["runs.parquet"]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_nothing_found_is_written_as_tables_without_rows(
    manager: ExperimentManager, tmp_path: Path, form: Any
) -> None:
    done = manager.export(tmp_path, output_format=form, filter_string="run_name = 'nobody'")
    assert done.runs is not None
    assert done.runs.rows == 0
    if form == "parquet":
        expected = manager.search_records(filter_string="run_name = 'nobody'", output_format="arrow")
        assert pq.read_table(tmp_path / "runs.parquet").equals(expected)
        assert pl.read_parquet(tmp_path / "metrics.parquet").shape == (0, 5)
    elif form == "csv":
        assert pd.read_csv(tmp_path / "metrics.csv").columns.tolist()[:2] == ["run_id", "key"]
    else:
        assert (tmp_path / "runs.jsonl").read_bytes() == b""


def test_what_exists_stays_unless_told(manager: ExperimentManager, tmp_path: Path) -> None:
    (tmp_path / "metrics.parquet").write_text("mine")
    with pytest.raises(AlreadyExistsError, match=r"has metrics\.parquet already"):
        manager.export(tmp_path)
    assert files(tmp_path) == ["metrics.parquet"]
    manager.export(tmp_path, tables=["runs"])
    manager.export(tmp_path, overwrite=True)
    assert pq.read_table(tmp_path / "metrics.parquet").num_rows > 0


def test_a_name_taken_meanwhile_stays(manager: ExperimentManager, tmp_path: Path) -> None:
    def take(what: str, done: int, _total: int) -> None:
        if what == "writing histories" and done:
            (tmp_path / "metrics.csv").write_text("mine")

    with pytest.raises(AlreadyExistsError):
        manager.export(tmp_path, output_format="csv", progress=take)
    assert files(tmp_path) == ["metrics.csv"]
    assert (tmp_path / "metrics.csv").read_text() == "mine"


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.usefixtures("small_parts")
def test_a_failing_export_leaves_what_was_there(
    manager: ExperimentManager, tmp_path: Path, form: Any
) -> None:
    (tmp_path / f"runs.{form}").write_text("the last one")

    def fail(what: str, done: int, _total: int) -> None:
        if what == "writing histories" and done:
            raise RuntimeError("the watcher fell asleep")

    with pytest.raises(RuntimeError, match="asleep"):
        manager.export(tmp_path, output_format=form, overwrite=True, progress=fail)
    assert files(tmp_path) == [f"runs.{form}"]
    assert (tmp_path / f"runs.{form}").read_text() == "the last one"


@pytest.mark.usefixtures("small_parts")
def test_a_full_disk_is_said(
    manager: ExperimentManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = fsspec.filesystem("memory")
    where = f"memory://{tmp_path.name}"
    real = type(system).open

    def opened(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        file = real(self, path, *args, **kwargs)
        if "metrics" in path and "w" in args[0]:
            file.write = lambda _data: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        return file

    monkeypatch.setattr(type(system), "open", opened)
    for form in ("parquet", "csv", "jsonl"):
        with pytest.raises(StorageError, match=r"metrics\.\w+ cannot be written: OSError: .*No space left"):
            manager.export(where, output_format=form)
        assert system.ls(f"/{tmp_path.name}") == []


@pytest.mark.usefixtures("small_parts")
async def test_a_cancelled_export_leaves_what_was_there(manager: ExperimentManager, tmp_path: Path) -> None:
    loop, reached, cancelled = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    parts: list[list[str]] = []

    def watch(what: str, done: int, _total: int) -> None:
        if what == "writing histories" and done and not parts:
            parts.append(files(tmp_path))
            loop.call_soon_threadsafe(reached.set)
            assert cancelled.wait(30)

    async with aqrec.ExperimentManager(manager.uri, options=QUICK) as other:
        task = asyncio.create_task(other.export(tmp_path, progress=watch))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        await asyncio.to_thread(wait_until, lambda: not files(tmp_path))
    assert [name.split(".")[1] for name in parts[0]] == ["metrics", "runs"]
    assert files(tmp_path) == []


def test_mistakes_are_refused_before_anything_is_made(manager: ExperimentManager, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mistakes: list[dict[str, Any]] = [
        {"output_format": "xlsx"},
        {"tables": []},
        {"tables": "runs"},
        {"tables": ["params"]},
        {"keys": "ic"},
        {"fields": []},
        {"filter_string": "metrics.ic >"},
        {"view": "some"},
        {"storage_options": {"endpoint_url": "x"}},
    ]
    for wrong in mistakes:
        with pytest.raises(InvalidInputError):
            manager.export(out, **wrong)
    with pytest.raises(InvalidInputError, match="Protocol not known"):
        manager.export("nowhere://host/out")
    with pytest.raises(NotFoundError, match="no aqrec store"):
        ExperimentManager(str(tmp_path / "nothing"), options=QUICK).export(out)
    assert not out.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"runs\.parquet cannot be written"):
        manager.export(tmp_path / "file")


def test_a_bounded_part_is_held(
    manager: ExperimentManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exporting, "_POINTS", 16)
    held = most = total = 0

    async def reading(*args: Any) -> dict[str, HistoryPart]:
        nonlocal held, most, total
        found = await read_points(*args)
        for part in found.values():
            count = len(part.values)

            def gone(count: int = count) -> None:
                nonlocal held
                held -= count

            weakref.finalize(part.values, gone)
            held += count
            total += count
            most = max(most, held)
        return found

    sizes: list[int] = []

    def shown(*args: Any) -> pa.Table:
        table = to_arrow(*args)
        sizes.append(table.num_rows * table.num_columns)
        return table

    monkeypatch.setattr(_exporting, "read_points", reading)
    monkeypatch.setattr(_exporting, "to_arrow", shown)
    monkeypatch.setattr(_exporting, "_CELLS", 120)
    manager.export(tmp_path)
    assert total == len(histories(manager))
    assert total > 5 * 16
    assert most <= 2 * 16  # what was read, and what is being written
    assert len(sizes) > 3
    assert max(sizes) <= 120


def test_s3_gets_whole_files_and_no_others(
    manager: ExperimentManager, s3_server: Service, tmp_path: Path
) -> None:
    place = s3_server.location()
    options = {name: place.storage_options[name] for name in ("key", "secret", "endpoint_url")}
    done = manager.export(place.url, storage_options=options)
    assert done.runs is not None
    assert done.runs.url == f"{place.url}/runs.parquet"
    system = fsspec.filesystem("s3", **options)
    root = f"{place.bucket}/{place.prefix}"
    names = sorted(path.rsplit("/", 1)[1] for path in system.ls(root))
    assert names == ["metrics.parquet", "runs.parquet"]
    system.get(f"{root}/runs.parquet", str(tmp_path / "runs.parquet"))
    assert pq.read_table(tmp_path / "runs.parquet").num_rows == RUNS - 1
    with pytest.raises(AlreadyExistsError):
        manager.export(place.url, storage_options=options)
