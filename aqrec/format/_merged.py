"""Sealed histories of many runs as one Parquet object: what is taken from which, and the note that says so."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Sequence
from importlib import import_module
from typing import Any, BinaryIO, Final

import msgspec

from aqrec.errors import CorruptError
from aqrec.format._parquet import HistoryWriter, check_footer, open_checked
from aqrec.format._records import FORMAT_VERSION, Footer

__all__ = [
    "MergeNote",
    "SourceFile",
    "decode_merge_note",
    "encode_merge_note",
    "open_source",
    "write_merged",
]

ROWS_PER_GROUP: Final = 65_536
"""Row groups end at the first run that makes them as large"""

_TEXTS: Final = ("run_id", "key", "writer")


class MergeNote(msgspec.Struct, frozen=True, kw_only=True):
    """Written before anything is merged; deleted when the sources are.

    Attributes
    ----------
    keys
        The merged files.
    sources
        File -> runs whose points are in one of `keys` as well, or will be.
    """

    keys: list[str]
    sources: dict[str, list[str]]
    format: int = FORMAT_VERSION


def encode_merge_note(note: MergeNote) -> bytes:
    """Return a note as JSON."""
    return msgspec.json.encode(note)


def decode_merge_note(data: bytes) -> MergeNote:
    """Return a note, or raise `CorruptError`."""
    try:
        return msgspec.json.decode(data, type=MergeNote)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptError(f"a note on merged histories cannot be read: {error}") from error


class SourceFile:
    """A sealed history in memory.

    Attributes
    ----------
    through
        Run -> number of its last frame, of all runs that the file says it covers.
    """

    def __init__(self, data: bytes, table: Any, through: dict[str, int]) -> None:
        self._data = data
        self._table = table
        self.through = through

    def check(self, footer: Footer) -> None:
        """Raise `CorruptError` if it does not end as is known."""
        check_footer(io.BytesIO(self._data), footer)

    def counts(self) -> dict[str, int]:
        """Return the number of points of each run."""
        counted = self._table["run_id"].value_counts()
        return {item["values"]: item["counts"] for item in counted.to_pylist()}

    def table(self, run_ids: Collection[str]) -> Any:
        """Return the points of some runs, in their order, with the columns of a file of many runs."""
        import pyarrow as pa  # noqa: PLC0415 - heavy

        compute: Any = import_module("pyarrow.compute")
        names = pa.array(sorted(run_ids), pa.string())
        return self._table.filter(compute.is_in(self._table["run_id"].cast(pa.string()), value_set=names))


def open_source(data: bytes) -> SourceFile:
    """Return a sealed history, all of it read, or raise `CorruptError`."""
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

    text = pa.dictionary(pa.int32(), pa.string())
    try:
        metadata = pq.read_metadata(io.BytesIO(data))
        texts = [name for name in _TEXTS if name in metadata.schema.to_arrow_schema().names]
        parquet = open_checked(io.BytesIO(data), metadata, texts)
        about = json.loads(metadata.metadata[b"aqrec"])
        through = msgspec.convert(about["through"], dict[str, int])
        table = parquet.read()
        if "run_id" not in table.column_names:
            (run_id,) = through
            table = table.add_column(0, "run_id", pa.array([run_id] * table.num_rows, pa.string()))
        columns = {name: table[name] for name in table.column_names}
        for name in _TEXTS:
            column = columns[name]
            encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            columns[name] = encoded.cast(text)
        return SourceFile(data, pa.table(columns), through)
    except Exception as error:  # whatever damaged bytes lead a reader to
        raise CorruptError(f"a sealed history cannot be read: {error}") from error


def write_merged(
    file: BinaryIO, sources: Sequence[tuple[SourceFile, Collection[str]]], metadata: dict[str, Any]
) -> tuple[dict[str, int], Footer]:
    """Write the points of some runs of each source, run by run; return how many of each run, and the file's footer.

    No run may be in two sources.
    """
    writer = HistoryWriter(file, metadata, bulk=True)
    counts: dict[str, int] = {}
    try:
        for group in _groups([source.table(run_ids) for source, run_ids in sources], counts):
            writer.add(group)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return counts, writer.footer


def _groups(tables: Sequence[Any], counts: dict[str, int]) -> Iterator[Any]:
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    whole = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    column = whole["run_id"].combine_chunks() if whole.num_rows else None
    if column is None:
        return
    names: list[str] = column.dictionary.to_pylist()
    rank = np.argsort(np.argsort(np.array(names, dtype=object)))
    ranks = rank[column.indices.to_numpy()]
    order = np.argsort(ranks, kind="stable")
    whole = whole.take(pa.array(order))
    ends = np.flatnonzero(np.diff(ranks[order], append=-1)) + 1
    ordered = sorted(names)
    began = at = 0
    for end in ends.tolist():
        counts[ordered[int(ranks[order[at]])]] = end - at
        at = end
        if end - began >= ROWS_PER_GROUP or end == whole.num_rows:
            yield whole.slice(began, end - began)
            began = end
