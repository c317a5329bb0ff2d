"""Damaged heads, snapshots and histories: what is answered was written, and what is not says which file it is and what to do."""

import io
import logging
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from aqrec.errors import AqrecError, CorruptError
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, SealedPart, document_to_json
from aqrec.format._experiment import ExperimentDocument
from aqrec.format._head import Head, SnapshotRef, decode_head, encode_head
from aqrec.format._parquet import HistoryWriter
from aqrec.format._records import MetricSummary
from aqrec.format._snapshot import LEVEL, Snapshot, SnapshotRows, SnapshotSummary, write_snapshot
from aqrec.reading import Answer, Catalog, Selection, parse_fields, read_metric_history, to_arrow
from aqrec.stores import MemoryStore

SEED = 7
COUNT = 120
Store = dict[str, bytes]


_RUNS = 4
_POINTS = 5


def _sealed(runs: list[str], key: str) -> tuple[bytes, SealedPart]:
    file = io.BytesIO()
    writer = HistoryWriter(file, {"format": 1}, bulk=True)
    for run_id in runs:
        steps = np.arange(_POINTS, dtype=np.int64)
        writer.write(run_id, "loss", "w", steps, 1_000 + steps, steps / 2 + len(run_id))
    writer.close()
    points = _POINTS * len(runs)
    return file.getvalue(), SealedPart(writer="w", key=key, through=1, points=points, footer=writer.footer)


def _run(number: int, part: SealedPart) -> RunDocument:
    loss = MetricSummary(_POINTS, _POINTS - 1, 1_004, number / 2, 0.0, 9.0)
    return RunDocument(
        run_id=f"r{number}",
        experiment_id="e",
        experiment_name="alpha",
        name=f"run {number}",
        status="FINISHED",
        created=1_000 + number,
        start_time=1_000 + number,
        end_time=2_000 + number,
        params={"number": number, "kind": "a" if number % 2 else number / 2, "flag": number > 2},
        tags={"second": "x", "odd": str(number % 2)},
        metrics={"w": {"loss": loss, f"only {number}": loss}},
        through={"w": 1},
        sealed=[part],
        clocks={"run": number << 16},
    )


def _make(*, checked: bool = True) -> Store:
    """Return a store whose bytes are always the same; without checksums as older versions wrote it."""
    sealed, snapshot = layout.bulk_metrics_key("0" * 32, "w"), layout.snapshot_key("1" * 32)
    runs = [f"r{number}" for number in range(1, _RUNS + 1)]
    points, part = _sealed(runs, sealed)
    rows = SnapshotRows()
    for number in range(1, _RUNS + 1):
        rows.add(_run(number, part))
    experiment = ExperimentDocument(experiment_id="e", name="alpha", created=1, used=1)
    file = io.BytesIO()
    summary = SnapshotSummary(level=LEVEL, clock=9 << 16, experiments=[experiment])
    count, footer = write_snapshot(file, [rows.table()], summary)
    ref = SnapshotRef(key=snapshot, rows=count, footer=footer if checked else None)
    head = encode_head(Head(number=7, nonce="n", created=5, snapshots=[ref]))
    return {sealed: points, snapshot: file.getvalue(), layout.head_key(7): head}


@pytest.fixture(scope="module")
def objects() -> Store:
    return _make()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def _open(objects: Store, key: str = "", data: bytes = b"") -> Catalog:
    store = MemoryStore(uuid.uuid4().hex, append=False)
    for name, whole in objects.items():
        await store.put(name, data if name == key else whole)
    return Catalog(store)


def _documents(answer: Answer) -> list[Any]:
    return [document_to_json(doc) for doc in answer.documents()]


def _rows(answer: Answer) -> list[Any]:
    return to_arrow(answer, parse_fields(None)).to_pylist()


_SEARCHES: dict[str, tuple[Selection, Callable[[Answer], list[Any]]]] = {
    "documents": (Selection("params.number > 0 AND metrics.loss >= 0", ["metrics.loss DESC"]), _documents),
    "rows": (Selection("tags.second = 'x'", now=9_000), _rows),
    "page": (Selection("", ["params.kind", "end_time"]), lambda answer: answer.slice(1, 2).run_ids()),
}


async def _answers(catalog: Catalog) -> dict[str, list[Any]]:
    """Return what questions of all kinds find; instead of an answer the error that it ended with."""
    await catalog.refresh()
    found: dict[str, list[Any]] = {}
    for name, (selection, show) in _SEARCHES.items():
        try:
            found[name] = await catalog.search(selection, None, "active", lambda _: "", show)
        except AqrecError as error:
            found[name] = [error]
    try:
        found["listed"] = list(map(document_to_json, catalog.runs_of(status="FINISHED")))
        found["one"] = [document_to_json(catalog.runs["r2"])] if "r2" in catalog.runs else []
    except AqrecError as error:
        found["listed"] = [error]
    return found


def _mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for number in range(count):
        if number % 4 == 3:
            yield data[: chance.randrange(len(data))]
            continue
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield bytes(changed)


def _is_told(error: object, key: str) -> bool:
    if not isinstance(error, AqrecError):
        return False
    assert isinstance(error, CorruptError), error
    assert key in str(error), error
    assert key.startswith(layout.HEADS) or "aqrec verify" in str(error), error
    return True


async def _check(objects: Store, key: str, data: bytes, right: dict[str, list[Any]]) -> bool:
    """Return whether damage was told of; nothing else may come of it."""
    catalog = await _open(objects, key, data)
    try:
        found = await _answers(catalog)
    except AqrecError as error:
        return _is_told(error, key)
    told = key in catalog.damage
    for name, items in found.items():
        if items and _is_told(items[0], key):
            told = True
        else:
            assert items == right[name] or (told and not items), name
    try:
        assert await _points(catalog) == right["points"] or told
    except AqrecError as error:
        told = _is_told(error, key)
    return told


async def _right(objects: Store) -> dict[str, list[Any]]:
    catalog = await _open(objects)
    right = await _answers(catalog) | {"points": await _points(catalog)}
    assert [len(items) for items in right.values()] == [_RUNS, _RUNS, 2, _RUNS, 1, _RUNS]
    return right


@pytest.mark.parametrize("folder", [layout.HEADS, layout.SEALED, layout.SNAPSHOTS])
async def test_nothing_is_made_up_of_a_damaged_file(objects: Store, folder: str) -> None:
    key = max(key for key in objects if key.startswith(folder))
    right = await _right(objects)
    assert sum([await _check(objects, key, data, right) for data in _mutants(objects[key], SEED, COUNT)])


async def test_every_byte_of_a_snapshot_is_covered(objects: Store) -> None:
    key = max(key for key in objects if key.startswith(layout.SNAPSHOTS))
    whole = objects[key]
    ref = decode_head(objects[layout.head_key(7)], "").snapshots[0]
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        with pytest.raises(CorruptError, match="aqrec verify"):
            Snapshot(bytes(changed), key, ref.footer).check()
    for size in range(0, len(whole), 7):
        with pytest.raises(CorruptError, match="aqrec verify"):
            Snapshot(whole[:size], key, ref.footer)


async def _points(catalog: Catalog) -> list[list[object]]:
    await catalog.refresh()
    found = []
    for run_id in sorted(catalog.runs):

        async def document(run_id: str = run_id) -> object:
            return catalog.runs[run_id]

        found.append((await read_metric_history(catalog.store, document, "loss")).values.tolist())
    return found


def test_heads_of_older_versions_have_no_checksum() -> None:
    old = b'{"format": 1, "number": 7, "nonce": "n", "snapshots": []}'
    assert decode_head(old, "catalog/heads/000000000007").number == 7
    head = decode_head(old, "k")
    assert decode_head(encode_head(head), "k").number == 7
    with pytest.raises(CorruptError, match="checksum"):
        decode_head(encode_head(head).replace(b'"number": 7', b'"number": 8'), "k")
