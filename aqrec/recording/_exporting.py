"""Runs and their histories written out as tables, a bounded part of them at a time. Coroutines run on the engine thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from aqrec._checks import check_texts
from aqrec.errors import InvalidInputError
from aqrec.format._document import RunDocument, copy_document, latest
from aqrec.format._records import MetricSummary
from aqrec.reading import read_points, schema_of, to_arrow
from aqrec.recording._export_forms import ENDINGS, Writer, open_writer
from aqrec.recording._export_place import Draft, Place, open_place, refuse_existing
from aqrec.recording._searching import Query
from aqrec.recording._threads import to_its_end
from aqrec.recording._upkeep import begin
from aqrec.stores._jobs import Jobs
from aqrec.upkeep import Cost, Progress, Work

if TYPE_CHECKING:
    import pyarrow as pa

    from aqrec.format._parquet import HistoryPart
    from aqrec.reading import Answer, Field
    from aqrec.recording._workspace import Workspace

__all__ = ["ExportTable", "Exported", "ExportedFile", "Exporting", "export"]

ExportTable = Literal["runs", "metrics"]
Piece = tuple[str, str, "HistoryPart"]
"""run id, key, points"""

TABLES: Final = ("runs", "metrics")
_CELLS: Final = 2_000_000
"""Of the table of runs, held at a time"""
_MOST_RUNS: Final = 65_536
_DOCUMENTS: Final = 1_000
"""Runs whose documents are held at a time"""
_POINTS: Final = 1_000_000
"""Of histories, held at a time; one metric of one run is never divided"""
_AT_ONCE: Final = 8


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One table as a file.

    Attributes
    ----------
    url
        Its path, or its URL without secrets.
    rows
        Runs, or points.
    bytes
        Its size.
    """

    url: str
    rows: int
    bytes: int


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export has written.

    Attributes
    ----------
    runs, metrics
        The tables; None: not asked for.
    cost
        What was asked of the store; requests to the destination are its driver's.
    """

    runs: ExportedFile | None = None
    metrics: ExportedFile | None = None
    cost: Cost = Cost()


class Exporting(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; see `ExperimentManager.export`."""

    destination: str | os.PathLike[str]
    query: Query
    output_format: str = "parquet"
    tables: Sequence[str] = TABLES
    keys: Sequence[str] | None = None
    overwrite: bool = False
    storage_options: dict[str, Any] | None = None

    def check(self) -> tuple[Field, ...]:
        """Return the columns of the table of runs; raise `InvalidInputError` for what makes no sense."""
        if self.output_format not in ENDINGS:
            raise InvalidInputError(
                f"output_format {self.output_format!r}: choose one of {', '.join(ENDINGS)}"
            )
        if isinstance(self.tables, str) or not self.tables or not set(self.tables) <= set(TABLES):
            raise InvalidInputError(f"tables={self.tables!r}: give a list of {' and '.join(TABLES)}")
        check_texts("keys", self.keys)
        return self.query.check()


async def export(workspace: Workspace, asked: Exporting, progress: Progress | None) -> Exported:
    """Do what `ExperimentManager.export` says."""
    fields = asked.check()
    selection = asked.query.selection(workspace, limit=asked.query.max_results)
    place = open_place(asked.destination, asked.storage_options)
    jobs = Jobs(place.shown)
    names = [f"{table}{ENDINGS[asked.output_format]}" for table in TABLES if table in asked.tables]
    if not asked.overwrite:
        await jobs.run(lambda: refuse_existing(place, names))
    work = await begin(workspace.session, progress, "export")
    await work.begin()
    found: Answer = await work.catalog.search(
        selection, asked.query.experiments(), asked.query.view, workspace.artifact_uri, lambda answer: answer
    )
    files = {
        table: _File(jobs, place, table, asked.output_format) for table in TABLES if table in asked.tables
    }

    def publish() -> None:
        if not asked.overwrite:
            refuse_existing(place, names)
        for file in files.values():
            file.draft.publish()

    def discard() -> None:
        for file in files.values():
            file.discard()

    try:
        if "runs" in files:
            await _write_runs(work, found, fields, files["runs"])
        if "metrics" in files:
            await _write_points(work, found, asked.keys, files["metrics"])
        # Files under their names belong together: cancelling does not part them.
        await to_its_end(jobs.run(publish))
    finally:
        await to_its_end(jobs.run(discard))
    told = {table: file.told() for table, file in files.items()}
    return Exported(runs=told.get("runs"), metrics=told.get("metrics"), cost=work.cost)


class _File:
    """One table on its way into a file."""

    def __init__(self, jobs: Jobs, place: Place, table: str, form: str) -> None:
        self._jobs, self._place, self._form, self.table = jobs, place, form, table
        self.draft = Draft(place, f"{table}{ENDINGS[form]}")
        self._writer: Writer | None = None
        self._rows = 0

    async def open(self, schema: pa.Schema) -> None:
        """Begin it."""

        def work() -> None:
            file = self.draft.open()
            with self._place.failing(f"{self.draft.name} cannot be written"):
                self._writer = open_writer(self._form, file, schema)

        await self._jobs.run(work)

    async def write(self, make: Callable[[], pa.Table]) -> None:
        """Write the rows that a function makes."""

        def work() -> None:
            table = make()
            assert self._writer is not None
            with self._place.failing(f"{self.draft.name} cannot be written"):
                self._writer.write(table)
            self._rows += table.num_rows

        await self._jobs.run(work)

    async def complete(self) -> None:
        """Write its end."""

        def work() -> None:
            assert self._writer is not None
            with self._place.failing(f"{self.draft.name} cannot be written"):
                self._writer.close()
            self.draft.complete()

        await self._jobs.run(work)

    def discard(self) -> None:
        """Leave nothing of it, unless it was published."""
        if self._writer is not None:
            self._writer.abandon()
        self.draft.discard()

    def told(self) -> ExportedFile:
        """Return what was written."""
        return ExportedFile(url=self.draft.shown, rows=self._rows, bytes=self.draft.bytes)


async def _write_runs(work: Work, found: Answer, fields: tuple[Field, ...], file: _File) -> None:
    work.tell("writing runs", 0, found.count)
    schema = await asyncio.get_running_loop().run_in_executor(None, schema_of, found, fields)
    await file.open(schema)
    many = min(max(_CELLS // max(len(schema), 1), 1), _MOST_RUNS)
    for at in range(0, found.count, many):
        part = found.slice(at, many)
        await file.write(partial(to_arrow, part, fields, schema))
        work.tell("writing runs", at + part.count, found.count)
    await file.complete()


async def _write_points(work: Work, found: Answer, keys: Sequence[str] | None, file: _File) -> None:
    work.tell("writing histories", 0, found.count)
    await file.open(_points_schema())
    async with aclosing(_batches(found, keys)) as batches:
        async for batch, done in batches:
            await file.write(partial(_points_table, await _read(work, batch)))
            work.tell("writing histories", done, found.count)
    await file.complete()


class _Unit(msgspec.Struct, frozen=True):
    """Some metrics of a run that are read together."""

    doc: RunDocument
    keys: list[str]
    points: int


async def _batches(found: Answer, keys: Sequence[str] | None) -> AsyncGenerator[tuple[list[_Unit], int]]:
    """Yield what to read at a time, and how many runs are done then."""
    loop = asyncio.get_running_loop()
    batch: list[_Unit] = []
    held = 0
    for at in range(0, found.count, _DOCUMENTS):
        part = found.slice(at, _DOCUMENTS)
        docs = await loop.run_in_executor(None, part.documents)
        for place, doc in enumerate(docs):
            for unit in _units(doc, keys):
                if batch and held + unit.points > _POINTS:
                    yield batch, at + place
                    batch, held = [], 0
                batch.append(unit)
                held += unit.points
        if len(batch) >= _DOCUMENTS:
            yield batch, at + len(docs)
            batch, held = [], 0
    if batch:
        yield batch, found.count


def _units(doc: RunDocument, keys: Sequence[str] | None) -> Iterator[_Unit]:
    known: dict[str, MetricSummary] = latest(doc)
    group: list[str] = []
    points = 0
    for key in sorted(known) if keys is None else [key for key in dict.fromkeys(keys) if key in known]:
        count = known[key].count
        if group and points + count > _POINTS:
            yield _Unit(doc, group, points)
            group, points = [], 0
        group.append(key)
        points += count
    if group:
        yield _Unit(doc, group, points)


async def _read(work: Work, batch: list[_Unit]) -> list[Piece]:
    """Return the points of a batch, in its order."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(unit: _Unit) -> dict[str, HistoryPart]:
        known = [unit.doc]

        async def document() -> RunDocument:
            if known:
                return known.pop()
            await work.catalog.refresh()
            return copy_document(await work.catalog.find_run(unit.doc.run_id))

        async with slots:
            return await read_points(work.store, document, unit.keys)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(unit)) for unit in batch]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [
        (unit.doc.run_id, key, points)
        for unit, task in zip(batch, tasks, strict=True)
        for key, points in task.result().items()
    ]


def _points_schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    return pa.schema(
        [
            ("run_id", pa.string()),
            ("key", pa.string()),
            ("step", pa.int64()),
            ("timestamp", pa.timestamp("ms", tz="UTC")),
            ("value", pa.float64()),
        ]
    )


def _points_table(pieces: list[Piece]) -> pa.Table:
    """Return one row a point."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    schema = _points_schema()
    rows = np.repeat(np.arange(len(pieces)), [len(points.values) for _, _, points in pieces])
    steps = [pa.array(points.steps, pa.int64(), mask=points.absent) for _, _, points in pieces]
    columns = [
        pa.array([run_id for run_id, _, _ in pieces], pa.string()).take(pa.array(rows)),
        pa.array([key for _, key, _ in pieces], pa.string()).take(pa.array(rows)),
        pa.chunked_array(steps, pa.int64()),
        pa.chunked_array([pa.array(points.stamps) for _, _, points in pieces], pa.int64()).cast(
            schema.field("timestamp").type
        ),
        pa.chunked_array([pa.array(points.values) for _, _, points in pieces], pa.float64()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
