"""Codec of tables: Parquet that any tool reads, and that gives pandas back what it was given."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from aqrec.artifacts._codec import Codec
from aqrec.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._trust import TrustPolicy

# Kinds of Python objects in a column that Parquet gives back as equal objects; missing entries aside.
_OBJECTS = frozenset({"boolean", "bytes", "date", "empty", "integer", "string"})

# Key of our note in the file's metadata, beside pandas' own: what the two cannot express.
_NOTE = b"aqrec.table"


class ParquetCodec(Codec):
    """A table; it loads as a pandas DataFrame or Series.

    pandas objects come back with their index, column labels, dtypes and the name of a Series. What Parquet would
    change is refused when it is saved: labels of mixed types, repeated labels, columns of arbitrary objects.
    Not kept: the ``freq`` of a DatetimeIndex, and whether a missing entry of an object column was None or NaN
    (it loads as None). Tables of pyarrow, polars and others are stored as they are and load as pandas.
    """

    name = "parquet"
    suffixes = (".parquet",)
    takes = "a table: DataFrame or Series of pandas, Table of pyarrow, DataFrame of polars"
    random_access = True

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, pd.DataFrame | pd.Series | pa.Table | pa.RecordBatch) or _is_arrow_like(obj)

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        try:
            table = self._table(obj)
            _through_parquet(table.slice(0, 0))
        except InvalidValueError:
            raise
        except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
            self.refuse(obj, f"a {type(obj).__qualname__} that Parquet cannot hold: {error}")
        return lambda file: pq.write_table(table, file, compression="zstd")

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        with pq.ParquetFile(file) as parquet:
            return _to_pandas(parquet.read())

    def _table(self, obj: Any) -> Any:
        if isinstance(obj, pd.Series):
            return self._of_pandas(obj.to_frame(), series=True, unnamed=obj.name is None)
        if isinstance(obj, pd.DataFrame):
            return self._of_pandas(obj.copy(deep=False), series=False, unnamed=False)
        if isinstance(obj, pa.RecordBatch):
            return pa.Table.from_batches([obj])
        if isinstance(obj, pa.Table):
            return obj
        if not _is_arrow_like(obj):
            self.refuse(obj)
        made: Any = obj.to_arrow() if hasattr(obj, "to_arrow") else pa.table(obj)
        if isinstance(made, pa.Array | pa.ChunkedArray):
            made = pa.table({getattr(obj, "name", None) or "value": made})
        return made

    def _of_pandas(self, frame: pd.DataFrame, *, series: bool, unnamed: bool) -> Any:
        note = _Note(series=series, unnamed=unnamed, attrs=self._attrs(frame))
        frame.attrs = {}
        for position in range(frame.shape[1]):
            self._check_objects(frame, frame.iloc[:, position], f"column {frame.columns[position]!r}")
        for position, level in enumerate(_levels(frame.index)):
            self._check_objects(frame, level, f"level {position} of the index")
        table = pa.Table.from_pandas(frame)
        # What comes back when there are no rows tells all about types and labels. A type that
        # differs is cast when the file is read; what that does not mend is refused here and now.
        plain = _through_parquet(_noted(table.slice(0, 0), note))
        note.columns = {
            str(position): _spelled(before)
            for position, (before, after) in enumerate(zip(frame.dtypes, plain.dtypes, strict=True))
            if before != after or before == object
        }
        if not isinstance(frame.index, pd.RangeIndex):
            note.index = {
                str(position): _spelled(before.dtype)
                for position, (before, after) in enumerate(zip(_levels(frame.index), _levels(plain.index), strict=True))
                if before.dtype != after.dtype
            }
        table = _noted(table, note)
        self._check_alike(frame, _through_parquet(table.slice(0, 0)))
        return table

    def _attrs(self, frame: pd.DataFrame) -> dict[str, Any]:
        attrs: Any = dict(frame.attrs)
        try:
            if json.loads(json.dumps(attrs, allow_nan=False)) == attrs:
                return attrs
        except (TypeError, ValueError, RecursionError):
            pass
        self.refuse(frame, "a table whose attrs are more than JSON holds")

    def _check_objects(self, frame: pd.DataFrame, values: Any, where: str) -> None:
        if values.dtype == object:
            kind = pd.api.types.infer_dtype(values, skipna=True)
            if kind not in _OBJECTS:
                self.refuse(frame, f"a table with {kind} Python objects in {where}")

    def _check_alike(self, before: pd.DataFrame, after: pd.DataFrame) -> None:
        for label, old, new in zip(before.columns, before.dtypes, after.dtypes, strict=True):
            if old != new:
                self.refuse(before, f"a table with dtype {old} in column {label!r}")
        if before.columns.nlevels != after.columns.nlevels or not before.columns.equals(after.columns):
            self.refuse(before, f"a table with the column labels {list(before.columns)[:5]}")
        for axis, old_axis, new_axis in (
            ("columns", before.columns, after.columns),
            ("index", before.index, after.index),
        ):
            if list(old_axis.names) != list(new_axis.names):
                self.refuse(before, f"a table with the {axis} named {list(old_axis.names)}")
        if not isinstance(before.index, pd.RangeIndex):
            for old, new in zip(_levels(before.index), _levels(after.index), strict=True):
                if old.dtype != new.dtype:
                    self.refuse(before, f"a table with dtype {old.dtype} in the index")


class _Note(msgspec.Struct):
    """What the file's own metadata and pandas' part of it do not express."""

    series: bool = False
    unnamed: bool = False
    attrs: dict[str, Any] = {}
    # Positions of columns and index levels, and the dtypes to cast them to.
    columns: dict[str, str] = {}
    index: dict[str, str] = {}


def _is_arrow_like(obj: object) -> bool:
    return not isinstance(obj, type) and (hasattr(obj, "to_arrow") or hasattr(obj, "__arrow_c_stream__"))


def _levels(index: Any) -> list[Any]:
    return list(index.levels) if isinstance(index, pd.MultiIndex) else [index]


def _spelled(dtype: Any) -> str:
    # str() of a nullable string dtype leaves out which of the two it is.
    if isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA:
        return f"string[{dtype.storage}]"
    return str(dtype)


def _noted(table: Any, note: _Note) -> Any:
    return table.replace_schema_metadata({**table.schema.metadata, _NOTE: msgspec.json.encode(note)})


def _through_parquet(table: Any) -> Any:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    buffer.seek(0)
    with pq.ParquetFile(buffer) as parquet:
        return _to_pandas(parquet.read())


def _to_pandas(table: Any) -> Any:
    frame: Any = table.to_pandas()
    raw = (table.schema.metadata or {}).get(_NOTE)
    if raw is None:
        return frame
    note = msgspec.json.decode(raw, type=_Note)
    for key, dtype in note.columns.items():
        position = int(key)
        if dtype == "object":
            values: Any = np.empty(len(frame), dtype=object)
            values[:] = table.column(position).to_pylist()
            frame.isetitem(position, pd.Series(values, index=frame.index, dtype=object))
        else:
            frame.isetitem(position, frame.iloc[:, position].astype(dtype))
    for key, dtype in note.index.items():
        if isinstance(frame.index, pd.MultiIndex):
            level = int(key)
            frame.index = frame.index.set_levels(frame.index.levels[level].astype(dtype), level=level)
        else:
            frame.index = frame.index.astype(dtype)
    if note.series:
        column = frame.iloc[:, 0]
        frame = column.rename(None) if note.unnamed else column
    frame.attrs = note.attrs
    return frame


CODECS = (ParquetCodec(),)
