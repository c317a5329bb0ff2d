"""Tables written piece by piece as Parquet, CSV or JSON lines. Calls block."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from aqrec.format._parquet import let_go

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ENDINGS", "ExportFormat", "Writer", "open_writer"]

ExportFormat = Literal["parquet", "csv", "jsonl"]

ENDINGS: Final[dict[str, str]] = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}
_LINES: Final = 10_000
"""Rows that are Python objects at a time"""


class Writer(Protocol):
    """What writes one table into a file, which it does not close."""

    def write(self, table: pa.Table) -> None:
        """Write more rows; in Parquet they are a row group."""
        ...

    def close(self) -> None:
        """Write what belongs to the end."""
        ...

    def abandon(self) -> None:
        """Let go of the file; what is in it does not matter any more."""
        ...


def open_writer(form: str, file: Any, schema: pa.Schema) -> Writer:
    """Return what writes tables of a schema into a file."""
    if form == "parquet":
        return _Parquet(file, schema)
    return _Csv(file, schema) if form == "csv" else _Lines(file)


class _Parquet:
    def __init__(self, file: Any, schema: pa.Schema) -> None:
        parquet: Any = import_module("pyarrow.parquet")
        self._writer = parquet.ParquetWriter(file, schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table, max(table.num_rows, 1))

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        let_go(self._writer)


class _Csv:
    """RFC 4180: every text is in quotes, so that an empty one is not a missing value. Arrow's own writer says nan where Polars knows NaN."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._file = file
        names = (name.replace('"', '""') for name in schema.names)
        file.write((",".join(f'"{name}"' for name in names) + "\n").encode())

    def write(self, table: pa.Table) -> None:
        compute: Any = import_module("pyarrow.compute")
        for at in range(0, table.num_rows, _LINES):
            part = table.slice(at, _LINES)
            columns = list(map(_csv_texts, part.columns))
            lines = compute.binary_join_element_wise(
                *columns, ",", null_handling="replace", null_replacement=""
            )
            self._file.write(("\n".join(lines.to_pylist()) + "\n").encode())

    def close(self) -> None:
        """Nothing belongs to the end."""

    def abandon(self) -> None:
        """There is nothing to let go of."""


class _Lines:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def write(self, table: pa.Table) -> None:
        for at in range(0, table.num_rows, _LINES):
            part = table.slice(at, _LINES)
            for place, field in enumerate(part.schema):
                part = part.set_column(place, field.name, _times_as_texts(part.column(place)))
            self._file.write(self._encoder.encode_lines(part.to_pylist()))

    def close(self) -> None:
        """Nothing belongs to the end."""

    def abandon(self) -> None:
        """There is nothing to let go of."""


def _times_as_texts(column: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    if not pa.types.is_timestamp(column.type):
        return column
    compute: Any = import_module("pyarrow.compute")
    return compute.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")


def _csv_texts(column: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    compute: Any = import_module("pyarrow.compute")
    if pa.types.is_string(column.type):
        doubled = compute.replace_substring(column, '"', '""')
        quote = pa.scalar('"', pa.string())
        return compute.binary_join_element_wise(quote, doubled, quote, "")
    texts = _times_as_texts(column).cast(pa.string())
    if pa.types.is_floating(column.type):
        return compute.if_else(compute.is_nan(column), "NaN", texts)
    return texts
