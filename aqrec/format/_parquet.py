"""Sealed metric history: Parquet that any engine reads.

Columns: ``key`` (text), ``step`` (int64, null when logged without one), ``timestamp`` (ms, UTC), ``value`` (float64),
``writer`` (text); bulk files have ``run_id`` in front. Rows are grouped by (run,) key, in the order of logging within a key. The file's metadata
``aqrec`` says what it covers.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from aqrec.errors import AqrecError, CorruptError
from aqrec.format._blocks import Blocks, BlockWriter, CheckedFile
from aqrec.format._records import Footer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ALL",
    "After",
    "HistoryPart",
    "HistoryWriter",
    "check_footer",
    "let_go",
    "open_checked",
    "read_histories",
]

_ROWS_PER_GROUP = 1_000_000
_SMALL_GROUP = 131_072
_BLOCK: Final = 65_536
"""Bytes that have a checksum of their own"""


def _schema(bulk: bool) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    text = pa.dictionary(pa.int32(), pa.string())
    fields = [
        pa.field("key", text, nullable=False),
        pa.field("step", pa.int64()),
        pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("writer", text, nullable=False),
    ]
    return pa.schema([pa.field("run_id", text, nullable=False), *fields] if bulk else fields)


class HistoryWriter:
    """Writes one Parquet object, a block of one key at a time, in bounded memory.

    Parameters
    ----------
    file
        Where to write.
    metadata
        What the file covers; stored as JSON under ``aqrec``.
    bulk
        Whether several runs share the file.

    Attributes
    ----------
    points
        How many were written.
    footer
        Of the closed file.
    """

    footer: Footer

    def __init__(self, file: BinaryIO, metadata: dict[str, Any], *, bulk: bool = False) -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._pa = pa
        self._bulk = bulk
        self._schema = _schema(bulk)
        self._metadata = metadata
        self._blocks = BlockWriter(file, _BLOCK)
        self._sink = pa.PythonFile(self._blocks, mode="w")
        texts = ["run_id", "key", "writer"] if bulk else ["key", "writer"]
        settings: dict[str, Any] = {"use_dictionary": texts}  # a list is allowed, the type hints say bool
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            **settings,
            compression="zstd",
            compression_level=3,
            column_encoding={
                "step": "DELTA_BINARY_PACKED",
                "timestamp": "DELTA_BINARY_PACKED",
                "value": "BYTE_STREAM_SPLIT",
            },
            store_schema=False,
            version="2.6",
            write_page_checksum=True,
        )
        self._waiting: list[tuple[str, str, str, Any, Any, Any]] = []
        self._rows = 0
        self._key: tuple[str, str] | None = None
        self.points = 0

    def write(
        self,
        run_id: str,
        key: str,
        writer: str,
        steps: NDArray[np.int64] | None,
        timestamps: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> None:
        """Add points of one key; all of a key before the next key, and all of a run before the next run."""
        # Large keys get row groups of their own, so that reading one key reads little else.
        if self._key is not None and self._key != (run_id, key) and self._rows >= _SMALL_GROUP:
            self._flush()
        self._key = (run_id, key)
        for at in range(0, len(values), _ROWS_PER_GROUP):
            part = slice(at, at + _ROWS_PER_GROUP)
            step = None if steps is None else steps[part]
            self._waiting.append((run_id, key, writer, step, timestamps[part], values[part]))
            self._rows += len(values[part])
            self.points += len(values[part])
            if self._rows >= _ROWS_PER_GROUP:
                self._flush()

    def add(self, table: Any) -> None:
        """Add points that are a table already, with the columns of this file, as one row group."""
        self._flush()
        self._writer.write_table(table.cast(self._schema), row_group_size=max(table.num_rows, 1))
        self.points += table.num_rows

    def _flush(self) -> None:
        import numpy as np  # noqa: PLC0415

        if not self._rows:
            return
        pa, waiting = self._pa, self._waiting
        lengths = [len(piece[5]) for piece in waiting]

        def text(column: int) -> Any:
            words = list(dict.fromkeys(piece[column] for piece in waiting))
            codes = {word: code for code, word in enumerate(words)}
            indices = np.repeat(np.array([codes[piece[column]] for piece in waiting], np.int32), lengths)
            return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(words, pa.string()))

        stepped = [
            piece[3] if piece[3] is not None else np.zeros(len(piece[5]), np.int64) for piece in waiting
        ]
        absent = None
        if any(piece[3] is None for piece in waiting):
            absent = np.repeat(np.array([piece[3] is None for piece in waiting]), lengths)
        arrays = [
            text(1),
            pa.array(np.concatenate(stepped), mask=absent),
            pa.array(np.concatenate([piece[4] for piece in waiting])).cast(pa.timestamp("ms", tz="UTC")),
            pa.array(np.concatenate([piece[5] for piece in waiting])),
            text(2),
        ]
        table = pa.Table.from_arrays([text(0), *arrays] if self._bulk else arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=2 * _ROWS_PER_GROUP)
        self._waiting, self._rows = [], 0

    def close(self) -> None:
        """Write what waits and the footer; the file stays open."""
        self._flush()
        about = self._metadata | {"blocks": self._blocks.finish()}
        self._writer.add_key_value_metadata({"aqrec": msgspec.json.encode(about).decode()})
        self._writer.close()
        self._sink.flush()
        self.footer = self._blocks.footer

    def abandon(self) -> None:
        """Let go of the file; what is in it does not matter any more."""
        let_go(self._writer)


def let_go(writer: Any) -> None:
    """Keep a `pyarrow.parquet.ParquetWriter` from writing a footer when it is collected: its file may be closed by then."""
    writer.is_open = False


class HistoryPart(msgspec.Struct):
    """Points of one key in the order of logging: `steps` int64 or None, `absent` where a step is missing (or None), `stamps` ms."""

    steps: Any
    absent: Any
    stamps: Any
    values: Any

    def at(self, rows: Any) -> HistoryPart:
        """Return some of the points; `rows` as NumPy takes it."""
        return HistoryPart(
            steps=None if self.steps is None else self.steps[rows],
            absent=None if self.absent is None else self.absent[rows],
            stamps=self.stamps[rows],
            values=self.values[rows],
        )


class After(msgspec.Struct, frozen=True):
    """Which points are wanted: those with a step beyond `step`, logged after `stamp` (ms since epoch); None: any."""

    step: int | None = None
    stamp: int | None = None

    @property
    def everything(self) -> bool:
        """Whether all points are wanted."""
        return self.step is None and self.stamp is None

    def of(self, part: HistoryPart) -> HistoryPart | None:
        """Return the points of a part that are wanted, or None if there is none."""
        import numpy as np  # noqa: PLC0415

        wanted = np.ones(len(part.values), np.bool_)
        if self.step is not None:
            if part.steps is None:
                return None
            wanted &= part.steps > self.step
            if part.absent is not None:
                wanted &= ~part.absent
        if self.stamp is not None:
            wanted &= part.stamps > self.stamp
        if wanted.all():
            return part
        return part.at(wanted) if wanted.any() else None


ALL: Final = After()


def read_histories(
    file: BinaryIO,
    *,
    keys: Collection[str],
    run_id: str,
    footer: Footer | None = None,
    after: After = ALL,
) -> dict[str, list[HistoryPart]]:
    """Return the points of some keys of a run; only row groups and columns that are needed are read.

    Raises `CorruptError` for what is no history; what is read is compared with its checksums, and the footer if its one is known.
    """
    try:
        if footer is not None:
            check_footer(file, footer)
        return _read(file, keys, run_id, after)
    except AqrecError:
        raise
    except OSError as error:
        if error.errno is not None:  # the file could not be read
            raise
        raise CorruptError(f"a sealed history cannot be read: {error}") from error
    except Exception as error:  # whatever damaged metadata leads a reader to
        raise CorruptError(f"a sealed history cannot be read: {error}") from error


def check_footer(file: BinaryIO, footer: Footer) -> None:
    """Raise `CorruptError` if a file does not end with a footer of that checksum; it is at its beginning afterwards."""
    file.seek(-min(footer.size, file.seek(0, io.SEEK_END)), io.SEEK_END)
    if zlib.crc32(file.read()) != footer.crc:
        raise CorruptError("the footer of a sealed history is damaged: its checksum is another one")
    file.seek(0)


def open_checked(file: BinaryIO, metadata: Any, texts: Sequence[str] = ()) -> Any:
    """Return a `pyarrow.parquet.ParquetFile` that compares what it reads with checksums; `texts` come as dictionaries.

    Raises `CorruptError` for metadata of something else.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415

    blocks = _About.of(metadata).blocks
    source = file if blocks is None else CheckedFile(file, blocks)
    # The checksums of pages say less than those of blocks, but older files have no others.
    return pq.ParquetFile(
        source, metadata=metadata, page_checksum_verification=blocks is None, read_dictionary=list(texts)
    )


class _About(msgspec.Struct):
    """What a file's metadata say of its checksums."""

    blocks: Blocks | None = None

    @staticmethod
    def of(metadata: Any) -> _About:
        found = (metadata.metadata or {}).get(b"aqrec")
        return _About() if found is None else msgspec.json.decode(found, type=_About)


def _read(file: BinaryIO, keys: Collection[str], run_id: str, after: After) -> dict[str, list[HistoryPart]]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    metadata = pq.read_metadata(file)
    names = metadata.schema.to_arrow_schema().names
    texts = [name for name in ("key", "run_id") if name in names]
    parquet = open_checked(file, metadata, texts)
    wanted: dict[str, Collection[str]] = {"key": keys} | ({"run_id": [run_id]} if "run_id" in names else {})
    found: dict[str, list[HistoryPart]] = {}
    for group in range(parquet.num_row_groups):
        row_group = parquet.metadata.row_group(group)
        if not _may_be_after(row_group, names, after):
            continue
        only: dict[str, str] = {}
        mixed: list[str] = []
        possible = True
        for column, values in wanted.items():
            statistics = row_group.column(names.index(column)).statistics
            if statistics is None or not statistics.has_min_max:
                mixed.append(column)
                continue
            low, high = statistics.min, statistics.max
            # Writers may cut long texts in statistics, so a bound can be a prefix.
            possible = possible and any(
                low <= value and (value <= high or value.startswith(high)) for value in values
            )
            if low == high and low in values:
                only[column] = low
            else:
                mixed.append(column)
        if possible:
            table = parquet.read_row_group(group, columns=[*mixed, "step", "timestamp", "value"])
            for key, part in _parts(table, keys, run_id, only):
                wanted_part = after.of(part)
                if wanted_part is not None:
                    found.setdefault(key, []).append(wanted_part)
            del table
    return found


def _may_be_after(row_group: Any, names: list[str], after: After) -> bool:
    """Whether a row group may have points that are wanted."""
    for column, bound in (("step", after.step), ("timestamp", after.stamp)):
        statistics = row_group.column(names.index(column)).statistics
        if bound is not None and statistics is not None and statistics.has_min_max:
            highest: int = statistics.max_raw
            if highest <= bound:
                return False
    return True


def _parts(
    table: Any, keys: Collection[str], run_id: str, only: dict[str, str]
) -> Iterator[tuple[str, HistoryPart]]:
    """Yield the points of each key of a row group; `only` has columns that were not read, since they hold one text."""
    part = _part(table)
    here: NDArray[np.bool_] | None = None
    if "run_id" in table.column_names:
        texts, codes = _texts(table["run_id"])
        here = codes == (texts.index(run_id) if run_id in texts else -1)
    if "key" in only:
        if here is None or here.any():
            yield only["key"], part if here is None else part.at(here)
        return
    texts, codes = _texts(table["key"])
    for code, key in enumerate(texts):
        if key in keys:
            rows = codes == code if here is None else (codes == code) & here
            if rows.any():
                yield key, part.at(rows)


def _texts(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    array = column.unify_dictionaries().combine_chunks()
    texts: list[str] = array.dictionary.to_pylist()
    return texts, array.indices.to_numpy()


def _part(table: Any) -> HistoryPart:
    import numpy as np  # noqa: PLC0415

    step = table["step"]
    absent = None
    if step.null_count:
        absent = np.asarray(step.is_null().to_numpy())
        step = step.fill_null(0)
    return HistoryPart(
        steps=np.asarray(step.to_numpy()),
        absent=absent,
        stamps=np.asarray(table["timestamp"].cast("int64").to_numpy()),
        values=np.asarray(table["value"].to_numpy()),
    )
