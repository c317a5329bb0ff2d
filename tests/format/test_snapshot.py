"""A snapshot holds everything of a run's document, and any engine reads its table."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import CorruptError
from aqrec.format._document import RunDocument, apply, document_to_json
from aqrec.format._experiment import ExperimentDocument
from aqrec.format._records import MetricSummary, RunEvent
from aqrec.format._snapshot import (
    Snapshot,
    SnapshotRows,
    SnapshotSummary,
    decode_cell,
    decode_document,
    encode_cell,
    encode_document,
    write_snapshot,
)
from tests.format.support import MAPPINGS, RUN, RUN_EVENTS, VALUES, identical


def written(*docs: RunDocument, summary: SnapshotSummary | None = None) -> bytes:
    rows = SnapshotRows()
    for doc in docs:
        rows.add(doc)
    file = io.BytesIO()
    assert write_snapshot(file, [rows.table()], summary or SnapshotSummary())[0] == len(docs)
    return file.getvalue()


def run(run_id: str, experiment: str = "e", **fields: Any) -> RunDocument:
    """Return the document of a known run."""
    clocks = {"run": 1} | {f"params.{key}": 1 for key in fields.get("params", ())}
    return RunDocument(
        run_id=run_id,
        experiment_id=experiment,
        experiment_name=f"name of {experiment}",
        status="FINISHED",
        created=5,
        clocks=clocks,
        **fields,
    )


@given(st.lists(RUN_EVENTS, max_size=12))
def test_a_document_comes_back_whole(events: list[RunEvent]) -> None:
    doc = RunDocument(run_id=RUN)
    for event in events:
        apply(doc, event)
    again = decode_document(encode_document(doc))
    assert json.loads(document_to_json(again)) == json.loads(document_to_json(doc))


@given(MAPPINGS)
def test_any_params_come_back_the_same(mapping: dict[str, Any]) -> None:
    doc = run("r", params=mapping, tags=mapping)
    again = decode_document(encode_document(doc))
    assert identical(again.params, mapping)
    assert identical(again.tags, mapping)


@given(VALUES)
def test_any_value_comes_back_from_its_cell(value: Any) -> None:
    kind, text, _ = encode_cell(value)
    assert identical(decode_cell(kind, text), value)


def test_an_integer_of_any_length_has_a_cell() -> None:
    for value in (10**400, -(2**40_000)):
        kind, text, _ = encode_cell(value)
        assert decode_cell(kind, text) == value


@pytest.mark.parametrize("on_disk", [True, False])
def test_rows_are_sorted_and_found_by_id(tmp_path: Path, on_disk: bool) -> None:
    docs = [run(f"r{number:05d}", f"e{number % 3}", params={"n": number}) for number in range(12_000)]
    data = written(*reversed(docs))
    path = tmp_path / "snapshot"
    path.write_bytes(data)
    snapshot = Snapshot(path if on_disk else data, "key")
    assert snapshot.rows == 12_000
    experiments = snapshot.columns("experiment_id")["experiment_id"].to_pylist()
    assert list(zip(experiments, snapshot.ids, strict=True)) == sorted(
        (doc.experiment_id, doc.run_id) for doc in docs
    )
    for number in (0, 10_345, 11_999):
        row = snapshot.row_of(f"r{number:05d}")
        assert row is not None
        assert snapshot.document(row) == docs[number]
    assert snapshot.row_of("unknown") is None


def test_what_goes_with_the_rows_comes_back() -> None:
    summary = SnapshotSummary(clock=7, experiments=[ExperimentDocument(experiment_id="e", name="ü", used=3)])
    summary.keep([b"\x00\xff", b"b", b"b"])
    read = Snapshot(written(summary=summary), "key").summary
    assert (read.clock, read.experiments) == (7, summary.experiments)
    assert sorted(read.events()) == [b"\x00\xff", b"b"]


def test_snapshots_join_to_one() -> None:
    parts = [Snapshot(written(run("b"), run("a")), "1"), Snapshot(written(run("c")), "2")]
    file = io.BytesIO()
    write_snapshot(file, [part.columns() for part in parts], SnapshotSummary())
    assert Snapshot(file.getvalue(), "3").ids == ["a", "b", "c"]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 100])
def test_what_is_no_snapshot_is_named_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError, match="the-key"):
        Snapshot(data, "the-key")


def test_a_damaged_page_is_named_corrupt() -> None:
    data = bytearray(written(run("a", params={"k": "v" * 500})))
    data[len(data) // 4] ^= 0xFF
    with pytest.raises(CorruptError, match="the-key"):
        Snapshot(bytes(data), "the-key").columns()


def _odd_runs() -> list[RunDocument]:
    def metrics(value: float) -> dict[str, dict[str, MetricSummary]]:
        return {"w": {"val/loss": MetricSummary(3, 2, 1000, value, 0.0, 1.0)}}

    return [
        run("a", params={"lr": 1, "größe.`'\"": "x"}, metrics=metrics(0.5)),
        run("b", params={"lr": "auto"}, metrics=metrics(0.25)),
        run("c", params={"lr": 0.5} | {f"key {number}": number for number in range(10_000)}),
    ]


def test_duckdb_reads_params_of_any_key_and_type(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "snapshot.parquet"
    path.write_bytes(written(*_odd_runs()))
    query = f"""
        select run_id, params['lr'].text, params['lr'].number, metrics['val/loss'].value
        from '{path}' order by run_id
    """
    assert duckdb.sql(query).fetchall() == [
        ("a", "1", 1.0, 0.5),
        ("b", "auto", None, 0.25),
        ("c", "0.5", 0.5, None),
    ]
    odd = """params['größe.`''"'].text"""
    assert duckdb.sql(f"select {odd} from '{path}' where {odd} is not null").fetchall() == [("x",)]
    assert duckdb.sql(f"select params['key 9999'].number from '{path}' where run_id = 'c'").fetchall() == [
        (9999.0,)
    ]


def test_polars_reads_the_table_with_sql(tmp_path: Path) -> None:
    import polars as pl

    path = tmp_path / "snapshot.parquet"
    path.write_bytes(written(*_odd_runs()))
    runs = pl.scan_parquet(path)
    sql = pl.SQLContext(runs=runs).execute("select run_id from runs where status = 'FINISHED'")
    assert sql.collect()["run_id"].to_list() == ["a", "b", "c"]
    lr = runs.select("run_id", pl.col("params").map.get("lr").struct.unnest()).collect()
    assert lr["text"].to_list() == ["1", "auto", "0.5"]
    assert lr["number"].to_list() == [1.0, None, 0.5]
