"""Snapshots of the catalog: Parquet with one row a run, for engines and for our own search alike.

Params, tags and metrics are map columns: keys may hold any character, be as many as they like, and have another type in every
run, and the schema stays the same, so that snapshots of all times can be read as one table. What a column does not tell is in
``document``, the whole run document as msgpack.
"""

from __future__ import annotations

import base64
import json
import mmap
import threading
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from aqrec.errors import CorruptError
from aqrec.format import _values as values
from aqrec.format._blocks import BlockCheck, Blocks, BlockWriter
from aqrec.format._document import ArtifactRival, RunDocument, SealedPart, latest
from aqrec.format._experiment import ExperimentDocument
from aqrec.format._parquet import let_go
from aqrec.format._records import FORMAT_VERSION, ArtifactRef, ArtifactVersion, Footer, MetricSummary

__all__ = [
    "LEVEL",
    "Snapshot",
    "SnapshotRows",
    "SnapshotSummary",
    "decode_cell",
    "decode_document",
    "encode_cell",
    "encode_document",
    "write_snapshot",
]

ROWS_PER_GROUP: Final = 10_000
_BLOCK: Final = 16_384
"""Bytes that have a checksum of their own: most columns are small"""
LEVEL: Final = sum(
    len(kind.__struct_fields__)
    for kind in (
        RunDocument,
        SealedPart,
        ArtifactRef,
        ArtifactRival,
        ArtifactVersion,
        Footer,
        MetricSummary,
        ExperimentDocument,
    )
)
"""Fields of all that a snapshot holds; they are only ever added to."""
_MAX_DECIMAL_BITS: Final = 2048
_IN_DICTIONARIES: Final = [
    "experiment_id",
    "experiment_name",
    "name",
    "parent",
    "status",
    "status_reason",
    *(f"{column}.key_value.value.{field}" for column in ("params", "tags") for field in ("type", "text")),
    *(f"{column}.key_value.key" for column in ("params", "tags", "metrics")),
]
"""Columns whose texts repeat; lists are read in dictionaries one row group at a time only"""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RunDocument, ext_hook=values.ext_hook)


def encode_document(doc: RunDocument) -> bytes:
    """Return a run document as msgpack."""
    try:
        return _encoder.encode(doc)
    except OverflowError:  # an integer beyond 64 bits
        return values.pack(msgspec.to_builtins(doc))


def decode_document(data: bytes) -> RunDocument:
    """Return what `encode_document` was given."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise CorruptError(f"a run's document in the catalog is damaged: {error}") from error


def encode_cell(value: values.Value) -> tuple[str, str | None, float | None]:
    """Return a param or tag as (type, text, number); `number` only for int and float."""
    if isinstance(value, str):
        return "str", value, None
    if value is None:
        return "null", None, None
    if isinstance(value, bool):
        return "bool", str(value), None
    if isinstance(value, int):
        if value.bit_length() > _MAX_DECIMAL_BITS:
            return "int", hex(value), None
        try:
            return "int", str(value), float(value)
        except OverflowError:
            return "int", str(value), None
    if isinstance(value, float):
        return "float", repr(value), value
    text = json.dumps(values.to_json(value), ensure_ascii=False, allow_nan=False)
    return ("list" if isinstance(value, list) else "dict"), text, None


def decode_cell(kind: str, text: str | None) -> Any:
    """Return the value that `encode_cell` was given."""
    if kind == "str":
        return text
    if kind == "null" or text is None:
        return None
    if kind == "bool":
        return text == "True"
    if kind == "int":
        return int(text, 16) if "x" in text else int(text)
    if kind == "float":
        return float(text)
    return values.from_json(json.loads(text))


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415

    stamp = pa.timestamp("ms", tz="UTC")
    cell = pa.struct([("type", pa.string()), ("text", pa.string()), ("number", pa.float64())])
    metric = pa.struct(
        [
            ("value", pa.float64()),
            ("step", pa.int64()),
            ("timestamp", stamp),
            ("count", pa.int64()),
            ("minimum", pa.float64()),
            ("maximum", pa.float64()),
        ]
    )
    return pa.schema(
        [
            pa.field("run_id", pa.string(), nullable=False),
            ("experiment_id", pa.string()),
            ("experiment_name", pa.string()),
            ("name", pa.string()),
            ("parent", pa.string()),
            ("status", pa.string()),
            ("status_reason", pa.string()),
            ("created", stamp),
            ("start_time", stamp),
            ("end_time", stamp),
            ("deleted", pa.bool_()),
            ("clock", pa.int64()),
            ("params", pa.map_(pa.string(), cell)),
            ("tags", pa.map_(pa.string(), cell)),
            ("metrics", pa.map_(pa.string(), metric)),
            pa.field("document", pa.binary(), nullable=False),
        ]
    )


class _Map:
    """A map column that is being built."""

    def __init__(self, fields: int) -> None:
        self.offsets = [0]
        self.keys: list[str] = []
        self.fields: list[list[Any]] = [[] for _ in range(fields)]

    def add(self, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        fields = self.fields
        for key, row in rows:
            self.keys.append(key)
            for column, value in zip(fields, row, strict=True):
                column.append(value)
        self.offsets.append(len(self.keys))

    def array(self, kind: Any) -> Any:
        import pyarrow as pa  # noqa: PLC0415

        parts = [
            pa.array(column, field.type) for column, field in zip(self.fields, kind.item_type, strict=True)
        ]
        items = pa.StructArray.from_arrays(parts, fields=list(kind.item_type))
        return pa.MapArray.from_arrays(
            pa.array(self.offsets, pa.int32()), pa.array(self.keys, pa.string()), items
        )


def _metric(summary: MetricSummary) -> tuple[Any, ...]:
    return (
        summary.value,
        summary.step,
        summary.timestamp,
        summary.count,
        summary.minimum,
        summary.maximum,
    )


class SnapshotRows:
    """Run documents on their way to a snapshot, or with ``stored=False`` to its columns only.

    Then `document` stays empty.
    """

    def __init__(self, *, stored: bool = True) -> None:
        self._stored = stored
        self._plain: list[tuple[Any, ...]] = []
        self._params, self._tags, self._metrics = _Map(3), _Map(3), _Map(6)

    def __len__(self) -> int:
        return len(self._plain)

    def add(self, doc: RunDocument) -> None:
        """Take in a run as it is now."""
        known = doc.known
        self._plain.append(
            (
                doc.run_id,
                doc.experiment_id if known else None,
                doc.experiment_name if known else None,
                doc.name if known or "name" in doc.clocks else None,
                doc.parent,
                doc.status,
                doc.status_reason,
                doc.created if known else None,
                doc.start_time,
                doc.end_time,
                doc.deleted,
                doc.clocks.get("run"),
                encode_document(doc) if self._stored else b"",
            )
        )
        self._params.add((key, encode_cell(value)) for key, value in doc.params.items())
        self._tags.add((key, encode_cell(value)) for key, value in doc.tags.items())
        self._metrics.add((key, _metric(summary)) for key, summary in latest(doc).items())

    def table(self) -> Any:
        """Return the rows as an Arrow table."""
        import pyarrow as pa  # noqa: PLC0415

        schema = _schema()
        plain = [list(column) for column in zip(*self._plain, strict=True)] or [[] for _ in range(13)]
        arrays = [pa.array(column, schema.field(at).type) for at, column in enumerate(plain[:12])]
        for name, rows in (("params", self._params), ("tags", self._tags), ("metrics", self._metrics)):
            arrays.append(rows.array(schema.field(name).type))
        arrays.append(pa.array(plain[12], pa.binary()))
        return pa.Table.from_arrays(arrays, schema=schema)


class SnapshotSummary(msgspec.Struct, kw_only=True):
    """What a snapshot says beside its rows, stored as JSON in the file's metadata ``aqrec``.

    Attributes
    ----------
    level
        Grows with what the documents hold; who knows less than they hold must not write them again.
    clock
        No folded event is later.
    experiments
        Those whose events, or whose runs' events, were folded.
    unknown
        Folded events that this version does not know whole, as msgpack in base64.
    blocks
        Checksums of the bytes before the footer; older snapshots have none.
    """

    format: int = FORMAT_VERSION
    level: int = 0
    clock: int = 0
    experiments: list[ExperimentDocument] = []
    unknown: list[str] = []
    blocks: Blocks | None = None

    def events(self) -> list[bytes]:
        """Return the unknown events."""
        return [base64.b64decode(text) for text in self.unknown]

    def keep(self, events: Iterable[bytes]) -> None:
        """Set the unknown events, each once."""
        self.unknown = sorted({base64.b64encode(event).decode() for event in events})


def write_snapshot(file: BinaryIO, tables: Sequence[Any], summary: SnapshotSummary) -> tuple[int, Footer]:
    """Write tables of distinct runs as one snapshot, sorted by experiment and run; return its rows and its footer."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = _schema()
    table = pa.concat_tables([_conform(table, schema) for table in tables] or [schema.empty_table()])
    table = table.sort_by([("experiment_id", "ascending"), ("run_id", "ascending")])
    blocks = BlockWriter(file, _BLOCK)
    sink = pa.PythonFile(blocks, mode="w")
    writer = pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=3,
        store_schema=False,
        version="2.6",
        write_page_checksum=True,
    )
    try:
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        checked = msgspec.structs.replace(summary, blocks=blocks.finish())
        writer.add_key_value_metadata({"aqrec": msgspec.json.encode(checked).decode()})
        writer.close()
    finally:
        let_go(writer)
    sink.flush()
    return int(table.num_rows), blocks.footer


def _conform(table: Any, schema: Any) -> Any:
    """Return a table of this version's columns; ones that its version did not have are null."""
    import pyarrow as pa  # noqa: PLC0415

    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class Snapshot:
    """A stored snapshot; columns and documents are read when they are asked for, and what is read is compared with its checksums.

    Parameters
    ----------
    source
        The file's path, or its bytes.
    key
        Names it in errors.
    footer
        What the file has to end with; None where that is not known.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    CorruptError
        It is no snapshot.
    """

    def __init__(self, source: Path | bytes, key: str, footer: Footer | None = None) -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        self.key = key
        try:
            data = _mapped(source) if isinstance(source, Path) else source
            view = memoryview(data)
            if footer is not None:
                _check_footer(view, footer)
            self._source = pa.BufferReader(pa.py_buffer(data))
            metadata = pq.read_metadata(self._source)
            self.summary = msgspec.json.decode(metadata.metadata[b"aqrec"], type=SnapshotSummary)
            blocks = self.summary.blocks
            self._blocks = None if blocks is None else BlockCheck(view, blocks)
            self._file = self._parquet(metadata)
            self._leaves = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever damaged metadata leads a reader to
            raise self._damaged(error) from error
        self.rows: int = metadata.num_rows
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._encoded: Any = None
        self._documents: tuple[int, Any] | None = None
        self._lock = threading.Lock()  # the file has one position
        self._run_ids: Any = None
        self._ids: list[str] | None = None
        self._index: dict[str, int] | None = None

    def _parquet(self, metadata: Any, **settings: Any) -> Any:
        import pyarrow.parquet as pq  # noqa: PLC0415

        verify = self._blocks is None  # the checksums of blocks say more
        return pq.ParquetFile(self._source, metadata=metadata, page_checksum_verification=verify, **settings)

    def _damaged(self, error: Exception) -> CorruptError:
        return CorruptError(f"the catalog's snapshot {self.key} is damaged: {error}; see aqrec verify")

    def _check(self, groups: Iterable[int], names: Collection[str]) -> None:
        """Compare the bytes of columns (none: of all) with their checksums."""
        if self._blocks is None:
            return
        leaves = [
            at
            for at, path in enumerate(self._leaves)
            if not names or any(path == name or path.startswith(f"{name}.") for name in names)
        ]
        for group in groups:
            columns = self._file.metadata.row_group(group)
            for at in leaves:
                chunk = columns.column(at)
                start = chunk.data_page_offset
                if chunk.has_dictionary_page:
                    start = min(start, chunk.dictionary_page_offset)
                self._blocks.check(start, start + chunk.total_compressed_size)

    def check(self) -> None:
        """Read all of it; raise `CorruptError` if any of it is damaged."""
        if self._blocks is None:
            self.columns()
            return
        try:
            self._blocks.check_all()
        except CorruptError as error:
            raise self._damaged(error) from error

    def columns(self, *names: str) -> Any:
        """Return columns of all rows as an Arrow table; ``metrics.key_value.value.value`` names a part of one."""
        try:
            with self._lock:
                self._check(range(self._file.metadata.num_row_groups), names)
                return self._file.read(columns=list(names) or None)
        except Exception as error:  # whatever damaged bytes lead a reader to
            raise self._damaged(error) from error

    def encoded(self, *names: str) -> Any:
        """Return columns as `columns` does, but their texts as they are stored, in dictionaries: one chunk a row group.

        That takes a third of the time and half of the memory, where texts repeat.
        """
        import pyarrow as pa  # noqa: PLC0415

        try:
            with self._lock:
                metadata = self._file.metadata
                self._check(range(metadata.num_row_groups), names)
                if self._encoded is None:
                    self._encoded = self._parquet(metadata, read_dictionary=_IN_DICTIONARIES)
                groups = [
                    self._encoded.read_row_group(group, columns=list(names))
                    for group in range(metadata.num_row_groups)
                ]
        except Exception as error:  # whatever damaged bytes lead a reader to
            raise self._damaged(error) from error
        return pa.concat_tables(groups) if groups else self.columns(*names)

    @property
    def run_ids(self) -> Any:
        """The runs' ids, one a row, as an Arrow array; kept."""
        if self._run_ids is None:
            self._run_ids = self.columns("run_id")["run_id"].combine_chunks()
        return self._run_ids

    @property
    def ids(self) -> list[str]:
        """The runs' ids, one a row."""
        ids = self._ids
        if ids is None:
            ids = self._ids = self.run_ids.to_pylist()
        return ids

    def row_of(self, run_id: str) -> int | None:
        """Return the row of a run, or None."""
        if self._index is None:
            self._index = {run_id: row for row, run_id in enumerate(self.ids)}
        return self._index.get(run_id)

    def document(self, row: int) -> RunDocument:
        """Return the document of a row; a new one each time."""
        group = bisect_right(self._starts, row) - 1
        kept = self._documents
        try:
            if kept is None or kept[0] != group:
                with self._lock:
                    self._check([group], ["document"])
                    kept = group, self._file.read_row_group(group, columns=["document"])["document"]
                self._documents = kept
            return decode_document(kept[1][row - self._starts[group]].as_py())
        except Exception as error:  # whatever damaged bytes lead a reader to
            raise self._damaged(error) from error


def _mapped(path: Path) -> mmap.mmap | bytes:
    """Return a file's bytes, read when they are looked at."""
    with path.open("rb") as file:
        # Nothing cannot be mapped.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _check_footer(data: memoryview, footer: Footer) -> None:
    if len(data) < footer.size or zlib.crc32(data[len(data) - footer.size :]) != footer.crc:
        raise CorruptError("its footer has another checksum")
