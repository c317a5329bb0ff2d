"""Runs as columns: rows of a snapshot, or of documents that were made a table of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aqrec.format._document import RunDocument
from aqrec.format._snapshot import Snapshot, SnapshotRows
from aqrec.reading._columns import codes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MapColumn", "Part", "part_of_documents", "part_of_snapshot"]

_LEAVES = {"metrics": ("metrics.key_value.key", "metrics.key_value.value.value")}
"""What is read of a column that is not needed whole"""


class MapColumn:
    """A map column, flat: one entry for each key of each row.

    Attributes
    ----------
    row
        Row of each entry.
    names
        The keys.
    items
        The values, an Arrow struct array.
    """

    def __init__(self, column: Any) -> None:
        import numpy as np  # noqa: PLC0415 - heavy
        import pyarrow as pa  # noqa: PLC0415 - heavy

        array = column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
        offsets = np.asarray(array.offsets)
        first, last = int(offsets[0]), int(offsets[-1])
        self.row = np.repeat(np.arange(len(array), dtype=np.int64), np.diff(offsets))
        self.items: Any = array.items.slice(first, last - first)
        keys, self.names = codes(pa.chunked_array([array.keys.slice(first, last - first)]))
        self._order = np.argsort(keys, kind="stable")
        self._bounds = np.searchsorted(keys[self._order], np.arange(len(self.names) + 1))
        self._code = {name: code for code, name in enumerate(self.names)}

    def entries(self, name: str) -> NDArray[np.int64]:
        """Return which entries have a key, by row."""
        code = self._code.get(name)
        if code is None:
            return self._order[:0]
        return self._order[self._bounds[code] : self._bounds[code + 1]]

    def field(self, name: str) -> Any:
        """Return a field of the values as an Arrow array."""
        return self.items.field(name)


class Part:
    """Some rows of a table; columns are read once, when they are asked for.

    Attributes
    ----------
    rows
        Which rows of the table are meant.
    document
        Makes the run document of a row.
    """

    def __init__(
        self, read: Callable[[str], Any], rows: NDArray[np.int64], document: Callable[[int], RunDocument]
    ) -> None:
        self._read = read
        self._columns: dict[str, Any] = {}
        self.rows = rows
        self.document = document

    def column(self, name: str) -> Any:
        """Return a column of all rows of the table."""
        if name not in self._columns:
            self._columns[name] = self._read(name)
        return self._columns[name]

    def map(self, name: str) -> MapColumn:
        """Return a map column of all rows of the table; ``metrics.minimum`` has that field besides, or only it."""
        flat = f"{name}, flat"
        if flat not in self._columns:
            self._columns[flat] = MapColumn(self._read(name))
        found: MapColumn = self._columns[flat]
        return found

    def texts(self, name: str) -> tuple[NDArray[np.int64], list[str | None]]:
        """Return a text column as codes and the texts they stand for; the last one, and code -1, are None."""
        encoded = f"{name}, encoded"
        if encoded not in self._columns:
            column, texts = codes(self.column(name))
            self._columns[encoded] = column, [*texts, None]
        found: tuple[NDArray[np.int64], list[str | None]] = self._columns[encoded]
        return found

    def times(self, name: str) -> NDArray[np.int64]:
        """Return a column of times as ms since epoch; the least int64 stands for none."""
        import numpy as np  # noqa: PLC0415 - heavy

        column = self.column(name).cast("int64")
        return np.asarray(column.fill_null(-(2**63)).to_numpy())


def part_of_snapshot(snapshot: Snapshot, rows: NDArray[np.int64]) -> Part:
    """Return rows of a snapshot."""

    def read(name: str) -> Any:
        column, _, field = name.partition(".")
        if field:
            leaves: tuple[str, ...] = (f"{column}.key_value.key", f"{column}.key_value.value.{field}")
        else:
            leaves = _LEAVES.get(name, (name,))
        return snapshot.columns(*leaves)[column]

    return Part(read, rows, snapshot.document)


def part_of_documents(docs: list[RunDocument]) -> Part:
    """Return documents as they are now."""
    import numpy as np  # noqa: PLC0415 - heavy

    rows = SnapshotRows()
    for doc in docs:
        rows.add(doc)
    made: list[Any] = []

    def read(name: str) -> Any:
        if not made:
            made.append(rows.table())
        return made[0][name.partition(".")[0]]

    return Part(read, np.arange(len(docs), dtype=np.int64), docs.__getitem__)
