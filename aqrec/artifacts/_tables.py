"""Codec of tables: Parquet that any tool reads, and that gives pandas back what it was given."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, BinaryIO, cast

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

    pandas objects come back with their index, column labels, dtypes and the name of a Series. What Parquet
    would change is refused when it is saved: labels of mixed types, repeated labels, columns of arbitrary
    objects. Not kept: whether a missing entry among Python objects was None or NaN (it loads as None in a
    column, as NaN in an index), and the ``freq`` of a DatetimeIndex if it is a custom offset. Tables of
    pyarrow, polars and others are stored as they are and load as pandas.
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
            _through_parquet(table)
        except InvalidValueError:
            raise
        except (
            pa.ArrowException,
            ValueError,
            TypeError,
            NotImplementedError,
            OSError,
            OverflowError,
        ) as error:
            self.refuse(obj, f"a {type(obj).__qualname__} that Parquet cannot hold: {error}")
        return lambda file: pq.write_table(table, file, compression="zstd")

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        return _to_pandas(_read(file))

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
        if any("mixed" in pd.api.types.infer_dtype(level) for level in _levels(frame.columns)):
            self.refuse(frame, f"a table with the column labels {list(frame.columns)[:5]}")
        self._set_names(frame, note)
        note.freq = _frequency(frame.index)
        # Without a column, the index alone says how many rows there are.
        table = pa.Table.from_pandas(frame, preserve_index=None if frame.shape[1] else True)
        # What comes back of one row tells all about types and labels. A type that differs is cast
        # when the file is read; what that does not mend is refused here and now.
        plain = _frame(_through_parquet(table), note)
        for position, (before, after) in enumerate(zip(frame.dtypes, plain.dtypes, strict=True)):
            if _is_object(before) or before != after:
                note.columns[str(position)] = self._cast(before)
        if not isinstance(frame.index, pd.RangeIndex):
            pairs = zip(_levels(frame.index), _levels(plain.index), strict=True)
            for position, (old, new) in enumerate(pairs):
                if old.dtype != new.dtype:
                    note.index[str(position)] = self._cast(old.dtype)
        table = table.replace_schema_metadata({**table.schema.metadata, _NOTE: msgspec.json.encode(note)})
        self._check_alike(frame, _frame(_through_parquet(table), note), note)
        return table

    def _set_names(self, frame: pd.DataFrame, note: _Note) -> None:
        """Name levels of the index by text only, and note what they are called."""
        names: list[Any] = list(frame.index.names)
        if all(name is None or isinstance(name, str) for name in names):
            return
        if not all(name is None or type(name) in (str, int) for name in names):
            self.refuse(frame, f"a table whose index is named {names}")
        note.names = names
        frame.index = frame.index.set_names([None if name is None else str(name) for name in names])

    def _cast(self, dtype: Any) -> _Cast:
        if isinstance(dtype, pd.CategoricalDtype):
            categories = self._of_pandas(dtype.categories.to_frame(index=False), series=True, unnamed=True)
            buffer = io.BytesIO()
            pq.write_table(categories, buffer)
            return _Cast("category", buffer.getvalue(), bool(dtype.ordered))
        # str() of a nullable string dtype leaves out which of the two it is.
        if isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA:
            return _Cast(f"string[{dtype.storage}]")
        return _Cast(str(dtype))

    def _attrs(self, frame: pd.DataFrame) -> dict[str, Any]:
        attrs: dict[str, Any] = cast("dict[str, Any]", dict(frame.attrs))
        try:
            kept = json.loads(json.dumps(attrs, allow_nan=False)) == attrs
        except (TypeError, ValueError, RecursionError):
            kept = False
        if not kept:
            self.refuse(frame, "a table whose attrs are more than JSON holds")
        return attrs

    def _check_objects(self, frame: pd.DataFrame, values: Any, where: str) -> None:
        if _is_object(values.dtype):
            kind = pd.api.types.infer_dtype(values, skipna=True)
            if kind not in _OBJECTS:
                self.refuse(frame, f"a table with {kind} Python objects in {where}")

    def _check_alike(self, before: pd.DataFrame, after: pd.DataFrame, note: _Note) -> None:
        for label, old, new in zip(before.columns, before.dtypes, after.dtypes, strict=True):
            if old != new:
                self.refuse(before, f"a table with dtype {old} in column {label!r}")
        if before.columns.nlevels != after.columns.nlevels or not before.columns.equals(after.columns):
            self.refuse(before, f"a table with the column labels {list(before.columns)[:5]}")
        if list(before.columns.names) != list(after.columns.names):
            self.refuse(before, f"a table whose columns are named {list(before.columns.names)}")
        if isinstance(before.index, pd.RangeIndex):
            return
        names: list[Any] = note.names or list(before.index.names)
        if names != list(after.index.names):
            self.refuse(before, f"a table whose index is named {list(before.index.names)}")
        for old, new in zip(_levels(before.index), _levels(after.index), strict=True):
            if old.dtype != new.dtype:
                self.refuse(before, f"a table with dtype {old.dtype} in the index")


class _Cast(msgspec.Struct, array_like=True):
    """A dtype to restore; that of a categorical with its categories as Parquet."""

    dtype: str
    categories: bytes = b""
    ordered: bool = False


class _Note(msgspec.Struct):
    """What the file's own metadata and pandas' part of it do not express."""

    series: bool = False
    unnamed: bool = False
    attrs: dict[str, Any] = {}
    # By position of the column or the level of the index.
    columns: dict[str, _Cast] = {}
    index: dict[str, _Cast] = {}
    # Names of the levels, if some are numbers.
    names: list[str | int | None] | None = None
    freq: str | None = None


def _is_arrow_like(obj: object) -> bool:
    return not isinstance(obj, type) and (hasattr(obj, "to_arrow") or hasattr(obj, "__arrow_c_stream__"))


def _frequency(index: Any) -> str | None:
    """Spell the frequency of an index of times, if its name says all about it."""
    if not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) or index.freq is None:
        return None
    try:
        named = pd.tseries.frequencies.to_offset(index.freqstr) == index.freq
    except ValueError:
        named = False
    return index.freqstr if named else None


def _is_object(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def _levels(index: Any) -> list[Any]:
    return list(index.levels) if isinstance(index, pd.MultiIndex) else [index]


def _through_parquet(table: Any) -> Any:
    """Write and read back one row."""
    buffer = io.BytesIO()
    pq.write_table(table.slice(0, 1), buffer)
    return _read(buffer)


def _read(file: Any) -> Any:
    file.seek(0)
    with pq.ParquetFile(file) as parquet:
        return parquet.read()


def _dtype(kept: _Cast) -> Any:
    if kept.dtype != "category":
        return kept.dtype
    return pd.CategoricalDtype(_to_pandas(_read(io.BytesIO(kept.categories))), ordered=kept.ordered)


def _frame(table: Any, note: _Note) -> Any:
    frame: Any = table.to_pandas()
    for key, kept in note.columns.items():
        position = int(key)
        if kept.dtype == "object":
            values: Any = np.empty(len(frame), dtype=object)
            values[:] = table.column(position).to_pylist()
            column = pd.Series(values, index=frame.index, dtype=object)
        else:
            column = frame.iloc[:, position].astype(_dtype(kept))
        frame.isetitem(position, column)
    for key, kept in note.index.items():
        if isinstance(frame.index, pd.MultiIndex):
            level = int(key)
            frame.index = frame.index.set_levels(frame.index.levels[level].astype(_dtype(kept)), level=level)
        else:
            frame.index = frame.index.astype(_dtype(kept))
    if note.names is not None:
        frame.index.names = note.names
    return frame


def _to_pandas(table: Any) -> Any:
    raw = (table.schema.metadata or {}).get(_NOTE)
    if raw is None:
        return table.to_pandas()
    note = msgspec.json.decode(raw, type=_Note)
    frame = _frame(table, note)
    if note.freq is not None:
        frame.index.freq = note.freq
    restored = frame.iloc[:, 0] if note.series else frame
    if note.unnamed:
        restored = restored.rename(None)
    restored.attrs = note.attrs
    return restored


CODECS = (ParquetCodec(),)
