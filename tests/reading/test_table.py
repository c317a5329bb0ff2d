"""A search on columns of snapshots gives what a search on documents gives: the same runs, order, columns and types."""

import asyncio
import io
import math
import random
import re
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.format._document import RunDocument
from aqrec.format._records import MetricSummary
from aqrec.format._snapshot import Snapshot, SnapshotRows, SnapshotSummary, encode_cell, write_snapshot
from aqrec.reading import Catalog, Selection, parse_fields, to_arrow
from aqrec.reading import to_frame as frame_of
from aqrec.stores import MemoryStore
from tests.format.support import KEYS, VALUES
from tests.reading.filters import document, expression
from tests.reading.reference import to_frame

SMALL = st.sampled_from(
    [1, 2, 3, 2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**70, 0.5, -0.0, 1e300, math.inf, math.nan]
)
WORDS = st.sampled_from(["", "a", "A", "ab", "b%", "1", "True", "None", "ü"])
CELLS = st.one_of(SMALL, SMALL, WORDS, st.booleans(), st.none(), VALUES)
ONE_KIND = st.one_of(
    st.just(st.integers(-5, 5)),
    st.just(st.integers(-(2**64), 2**64)),
    st.just(st.floats()),
    st.just(st.booleans() | st.none()),
    st.just(st.integers(-3, 3) | st.floats(-3, 3) | st.none()),
    st.just(WORDS),
    st.just(CELLS),
)
FILTERS = [
    "",
    "params.a > 1",
    "params.a <= 9007199254740993",
    "params.a = 1 AND params.b != 0.5",
    "params.a = '1'",
    "params.a LIKE '%a%'",
    "params.b ILIKE 'a_'",
    "params.a = true",
    "params.b IS NULL",
    "params.a IS NOT NULL AND tags.t IS NULL",
    "tags.t = 'a'",
    "tags.t != 'a'",
    "metrics.m > 0.25",
    "metrics.m != 1",
    "metrics.`x.y` <= 2 AND metrics.m >= -1",
    "status = 'FINISHED'",
    "run_name LIKE 'n%'",
    "run_id IN ('r1', 'r3')",
    "run_id NOT IN ('r1', 'r3')",
    "start_time >= 3",
    "end_time < 1000",
    "created > 2",
    "user_id = 'me'",
    "artifact_uri LIKE '%r1%'",
    "params.a = 1 OR params.b = 'a' OR NOT tags.t IS NULL",
    "NOT (params.a > 1 AND (metrics.m < 0 OR status = 'RUNNING'))",
    "params.a IN (1, 'a', true, 9007199254740993)",
    "params.a NOT IN (2, '1')",
    "params.a BETWEEN 1 AND 9007199254740993",
    "params.b NOT BETWEEN -1 AND 2.5",
    "tags.t BETWEEN 'a' AND 'b'",
    "params.a RLIKE '^[a1]' OR tags.t NOT RLIKE 'a'",
    "metrics.m NOT BETWEEN -1 AND 1",
    "metrics.m IN (0, 1) OR metrics.rare IS NULL",
    "min(metrics.m) < 0 OR max(metrics.m) >= 1.5",
    "count(metrics.m) = 1 AND step(metrics.m) IS NOT NULL",
    "step(metrics.`x.y`) IN (1, 3) OR last(metrics.m) > 0",
    "duration IS NULL OR duration > 0.001",
    "duration BETWEEN 0 AND '3 ms'",
    "parent = 'r1' OR parent IS NULL",
    "parent != 'r1'",
    "end_time IS NULL AND start_time IS NOT NULL",
    "start_time < '1 day ago'",
]
ORDERS: list[list[str]] = [
    [],
    ["params.a"],
    ["params.a DESC", "metrics.m"],
    ["metrics.m DESC"],
    ["tags.t", "run_id"],
    ["status", "start_time"],
    ["end_time DESC"],
    ["user_id", "created", "run_name", "artifact_uri DESC"],
    ["duration DESC", "parent"],
    ["min(metrics.m)", "max(metrics.m) DESC"],
    ["step(metrics.m)", "count(metrics.m)", "last(metrics.`x.y`)"],
]


def uri(run_id: str) -> str:
    return f"memory://lab/{run_id}"


def _metrics(draw: st.DrawFn) -> dict[str, dict[str, MetricSummary]]:
    found: dict[str, dict[str, MetricSummary]] = {}
    for writer in draw(st.sets(st.sampled_from(["w1", "w2"]))):
        keys = draw(st.sets(st.sampled_from(["m", "x.y", "rare"])))
        found[writer] = {
            key: MetricSummary(
                1,
                draw(st.none() | st.integers(0, 3)),
                5,
                draw(st.floats(-2, 2) | st.just(math.nan)),
                draw(st.sampled_from([-1.0, 0.0, math.nan])),
                draw(st.sampled_from([1.0, 2.0, math.inf])),
            )
            for key in keys
        }
    return found


@st.composite
def documents(draw: st.DrawFn) -> list[RunDocument]:
    kinds = {key: draw(ONE_KIND) for key in ("a", "b")}
    docs = []
    for number in range(draw(st.integers(0, 9))):
        params = {key: draw(kind) for key, kind in kinds.items() if draw(st.booleans())}
        tags = {"t": draw(CELLS)} if draw(st.booleans()) else {}
        if draw(st.booleans()):
            tags["mlflow.user"] = draw(st.sampled_from(["me", "you"]))
        if draw(st.integers(0, 5)) == 0:
            params[draw(KEYS)] = draw(CELLS)
        docs.append(
            RunDocument(
                run_id=f"r{number}",
                experiment_id="e",
                experiment_name="alpha",
                name=draw(st.sampled_from(["n", "n2", "other"])),
                status=draw(st.sampled_from(["RUNNING", "FINISHED"])),
                created=draw(st.integers(1, 5)),
                start_time=draw(st.none() | st.integers(1, 5)),
                end_time=draw(st.none() | st.integers(1, 5)),
                parent=draw(st.none() | st.sampled_from(["r0", "r1"])),
                params=params,
                tags=tags,
                metrics=_metrics(draw),
                clocks={"run": 1},
            )
        )
    return docs


def snapshot_of(docs: list[RunDocument]) -> Snapshot:
    rows = SnapshotRows()
    for doc in docs:
        rows.add(doc)
    file = io.BytesIO()
    write_snapshot(file, [rows.table()] if docs else [], SnapshotSummary())
    return Snapshot(file.getvalue(), uuid.uuid4().hex)


def search(
    catalog: Catalog,
    selection: Selection,
    ids: list[str] | None = None,
    view: str = "active",
    fields: list[str] | None = None,
) -> pd.DataFrame:
    found = asyncio.run(
        catalog.search(selection, ids, view, uri, lambda found: frame_of(found, parse_fields(fields)))
    )
    assert isinstance(found, pd.DataFrame)
    return found


def same_frames(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(found.columns) == list(expected.columns)
    assert found.index.equals(expected.index)
    assert list(map(str, found.dtypes)) == list(map(str, expected.dtypes))
    for name in expected.columns:
        ours, theirs = found[name].tolist(), expected[name].tolist()
        assert list(map(repr, ours)) == list(map(repr, theirs)), name


def same_table(table: pa.Table, expected: pd.DataFrame) -> None:
    """An Arrow table holds what the frame does, values of no common type as text."""
    assert table.column_names == list(expected.columns)
    for name in table.column_names:
        ours, theirs = table[name].to_pylist(), expected[name].tolist()
        kind = str(expected[name].dtype)
        if name in {"start_time", "end_time"}:
            ours = table[name].cast("int64").to_pylist()
            theirs = [None if pd.isna(value) else value.value // 10**6 for value in theirs]
        elif name.startswith("metrics."):
            theirs = [
                None if math.isnan(value) and mine is None else value
                for value, mine in zip(theirs, ours, strict=True)
            ]
        elif kind != "object":
            theirs = [
                None if pd.isna(value) and (kind != "float64" or mine is None) else value
                for value, mine in zip(theirs, ours, strict=True)
            ]
        elif pa.types.is_string(table.schema.field(name).type):
            theirs = [encode_cell(value)[1] for value in theirs]
        assert list(map(repr, ours)) == list(map(repr, theirs)), name


@given(
    documents(),
    st.sampled_from(FILTERS),
    st.sampled_from(ORDERS),
    st.none() | st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_columns_and_documents_answer_alike(
    docs: list[RunDocument], text: str, order: list[str], limit: int | None, chance: random.Random
) -> None:
    selection = Selection(text, order, limit, uri)
    expected = to_frame(selection.apply(docs), uri)
    catalog = Catalog(MemoryStore(uuid.uuid4().hex))
    parts: list[list[RunDocument]] = [[], [], []]
    for doc in docs:
        chance.choice(parts).append(doc)
    # A run may have an older row in an earlier snapshot, too.
    old = [
        RunDocument(run_id=doc.run_id, experiment_id="e", params={"a": "old"}, clocks={"run": 1})
        for doc in parts[1] + parts[2]
        if chance.random() < 0.3
    ]
    catalog.runs.adopt([snapshot_of(parts[0] + old), snapshot_of(parts[1])], [])
    for doc in parts[2]:
        catalog.runs[doc.run_id] = doc
        catalog.by_experiment.setdefault("e", set()).add(doc.run_id)
    same_frames(search(catalog, selection, ["e"]), expected)
    same_frames(search(catalog, selection, ["e"]), expected)  # from what is remembered
    wanted = expected.columns[::-1].tolist()
    quoted = [re.sub(r"\.(.*)", r".`\1`", name) for name in wanted if "`" not in name]
    if len(quoted) == len(wanted):
        same_frames(search(catalog, selection, ["e"], fields=quoted), expected[wanted])
    table = asyncio.run(
        catalog.search(selection, ["e"], "active", uri, lambda found: to_arrow(found, parse_fields(None)))
    )
    same_table(table, expected)


@pytest.mark.parametrize("seed", range(2))
def test_columns_and_documents_find_the_same_by_any_filter(seed: int) -> None:
    """Filters made at random, on runs that have a few of everything."""
    chance = random.Random(seed)
    docs = []
    for number in range(30):
        doc = document(chance)
        doc.run_id, doc.experiment_id, doc.clocks = f"r{number}", "e", {"run": 1}
        docs.append(doc)
    catalog = Catalog(MemoryStore(uuid.uuid4().hex))
    catalog.runs.adopt([snapshot_of(docs)], [])
    for _ in range(50):
        text, _ = expression(chance)
        selection = Selection(text, ["run_id"], None, uri)
        found = search(catalog, selection, ["e"])
        assert found["run_id"].tolist() == [doc.run_id for doc in selection.apply(docs)], text


@pytest.mark.parametrize("view", ["active", "deleted", "all"])
def test_views_and_experiments_of_rows(view: str) -> None:
    docs = [
        RunDocument(
            run_id=f"r{number}",
            experiment_id=f"e{number % 3}",
            status="FINISHED",
            start_time=number,
            deleted=number % 2 == 0,
            clocks={"run": number},
        )
        for number in range(12)
    ]
    catalog = Catalog(MemoryStore(uuid.uuid4().hex))
    catalog.runs.adopt([snapshot_of(docs)], [])
    for name in ("e0", "e1", "e2"):
        catalog._known(name).used = 12
    catalog.experiments["e1"].deleted = 5
    for ids in (None, ["e0"], ["e1", "e2"], []):
        expected = [
            doc.run_id
            for doc in reversed(docs)
            if (ids is None or doc.experiment_id in ids)
            and (view == "all" or catalog.hidden(doc) == (view == "deleted"))
        ]
        assert [doc.run_id for doc in catalog.runs_of(ids, view)] == expected
        frame = search(catalog, Selection("", None, None, uri), ids, view)
        assert frame["run_id"].tolist() == expected


def test_a_search_makes_no_document_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = [
        RunDocument(run_id=f"r{number}", experiment_id="e", params={"a": number}, clocks={"run": 1})
        for number in range(20)
    ]
    catalog = Catalog(MemoryStore(uuid.uuid4().hex))
    catalog.runs.adopt([snapshot_of(docs)], [])
    monkeypatch.setattr(Snapshot, "document", lambda *_: pytest.fail("a document was made"))
    selection = Selection("params.a >= 10", ["params.a DESC"], 3, uri)
    frame = search(catalog, selection)
    assert frame["params.a"].tolist() == [19, 18, 17]
    assert frame["params.a"].dtype == np.int64
