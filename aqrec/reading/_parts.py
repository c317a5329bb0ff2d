"""Runs as columns: rows of a snapshot, or of documents that were made a table of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from aqrec.format._document import RunDocument
from aqrec.format._snapshot import Snapshot, SnapshotRows
from aqrec.reading._columns import codes, numbers, one_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ColumnMemory", "MapColumn", "Part", "part_of_documents", "part_of_snapshot"]

_LEAVES = {"metrics": ("metrics.key_value.key", "metrics.key_value.value.value")}
"""What is read of a column that is not needed whole"""
_FEW = 2**15
_MEMORY = 256 * 1024 * 1024
_TEXT = 80
"""Bytes of a short text"""


class MapColumn:
    """A map column, flat: one entry for each key of each row.

    Attributes
    ----------
    names
        The keys.
    """

    def __init__(self, column: Any) -> None:
        import numpy as np  # noqa: PLC0415 - heavy
        import pyarrow as pa  # noqa: PLC0415 - heavy

        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        keys: list[Any] = []
        counts: list[Any] = []
        self._items: list[Any] = []
        self._fields: dict[str, Any] = {}
        for chunk in chunks:
            offsets = numbers(chunk.offsets)
            first, last = int(offsets[0]), int(offsets[-1])
            counts.append(np.diff(offsets))
            keys.append(chunk.keys.slice(first, last - first))
            self._items.append(chunk.items.slice(first, last - first))
        self._offsets = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
        encoded, self.names = codes(pa.chunked_array(keys, type=None if keys else pa.string()))
        # Few keys have small codes, which are fast to compare and to sort.
        self._keys = encoded.astype(np.int16) if len(self.names) < _FEW else encoded
        self._code = {name: code for code, name in enumerate(self.names)}
        self._row: NDArray[np.int32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, or will when all has been asked for."""
        of_items: int = sum(items.nbytes for items in self._items)
        return 2 * of_items + self._offsets.nbytes + self._keys.nbytes + 4 * len(self._keys)

    @property
    def row(self) -> NDArray[np.int32]:
        """Row of each entry."""
        import numpy as np  # noqa: PLC0415 - heavy

        if self._row is None:
            rows = np.arange(len(self._offsets) - 1, dtype=np.int32)
            self._row = np.repeat(rows, np.diff(self._offsets))
        return self._row

    def entries(self, name: str) -> NDArray[np.int64]:
        """Return which entries have a key, by row."""
        import numpy as np  # noqa: PLC0415 - heavy

        code = self._code.get(name)
        return np.empty(0, np.int64) if code is None else np.flatnonzero(self._keys == code)

    def chosen(
        self, places: NDArray[np.int64], name: str | None = None
    ) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the keys that some rows have, or only one of a name, with their entries and the places of these.

        `places` holds the place of each row, -1 for one that is not meant.
        """
        import numpy as np  # noqa: PLC0415 - heavy

        if name is not None:
            entries = self.entries(name)
            where = places[self.row[entries]]
            if (where >= 0).any():
                yield name, entries[where >= 0], where[where >= 0]
            return
        rows = np.flatnonzero(places >= 0)
        starts, counts = self._offsets[rows], np.diff(self._offsets)[rows]
        # The entries of the rows, one row after another.
        entries = np.repeat(starts - (counts.cumsum() - counts), counts) + np.arange(counts.sum())
        where = np.repeat(places[rows], counts)
        order = np.argsort(self._keys[entries], kind="stable")
        entries, where = entries[order], where[order]
        bounds = np.searchsorted(self._keys[entries], np.arange(len(self.names) + 1)).tolist()
        for key, first, last in zip(self.names, bounds[:-1], bounds[1:], strict=True):
            if first < last:
                yield key, entries[first:last], where[first:last]

    def field(self, name: str) -> Any:
        """Return a field of the values as an Arrow array; texts in a dictionary."""
        import pyarrow as pa  # noqa: PLC0415 - heavy

        found = self._fields.get(name)
        if found is None:
            pieces = [items.field(name) for items in self._items]
            found = one_array(pa.chunked_array(pieces, type=None if pieces else pa.string()))
            if pa.types.is_string(found.type):
                found = found.dictionary_encode()
            self._fields[name] = found
        return found


class ColumnMemory:
    """What was read of snapshots, kept for the next search; the longest unused goes first.

    Parameters
    ----------
    limit
        Bytes that it may hold.
    """

    def __init__(self, limit: int = _MEMORY) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[Any, int]] = {}
        self._bytes = 0

    def recall(self, key: tuple[str, str], make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """Return what is kept of a snapshot under a name, made when it is not there."""
        with self._lock:
            found = self._kept.pop(key, None)
            if found is not None:
                self._kept[key] = found
                return found[0]
        value = make()
        taken = size(value)
        with self._lock:
            if key not in self._kept and taken <= self._limit:
                self._kept[key] = value, taken
                self._bytes += taken
                while self._bytes > self._limit:
                    self._drop(next(iter(self._kept)))
        return value

    def keep_only(self, snapshots: Collection[str]) -> None:
        """Forget all snapshots but these, given by their keys."""
        with self._lock:
            for key in [key for key in self._kept if key[0] not in snapshots]:
                self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        _, size = self._kept.pop(key)
        self._bytes -= size


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
        self,
        read: Callable[[str], Any],
        rows: NDArray[np.int64],
        document: Callable[[int], RunDocument],
        recall: Recall | None = None,
    ) -> None:
        self._read = read
        self._recall: Recall = recall if recall is not None else _make
        self._columns: dict[str, Any] = {}
        self.rows = rows
        self.document = document

    def _once(self, name: str, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        if name not in self._columns:
            self._columns[name] = self._recall(name, make, size)
        return self._columns[name]

    def column(self, name: str) -> Any:
        """Return a column of all rows of the table."""
        return self._once(name, lambda: self._read(name), lambda column: column.nbytes)

    def map(self, name: str) -> MapColumn:
        """Return a map column of all rows of the table; ``metrics.minimum`` has that field besides, or only it."""
        found: MapColumn = self._once(
            f"{name}, flat", lambda: MapColumn(self._read(name)), lambda column: column.nbytes
        )
        return found

    def texts(self, name: str) -> tuple[NDArray[np.int32], list[str | None]]:
        """Return a text column as codes and the texts they stand for; the last one, and code -1, are None."""

        def encode() -> tuple[NDArray[np.int32], list[str | None]]:
            column, texts = codes(self.column(name))
            return column, [*texts, None]

        found: tuple[NDArray[np.int32], list[str | None]] = self._once(
            f"{name}, encoded", encode, lambda pair: pair[0].nbytes + _TEXT * len(pair[1])
        )
        return found

    def times(self, name: str) -> NDArray[np.int64]:
        """Return a column of times as ms since epoch; the least int64 stands for none."""
        import numpy as np  # noqa: PLC0415 - heavy

        def read() -> NDArray[np.int64]:
            return np.asarray(numbers(self._read(name), -(2**63)))

        found: NDArray[np.int64] = self._once(f"{name}, times", read, lambda times: times.nbytes)
        return found


Recall = Callable[[str, Callable[[], Any], Callable[[Any], int]], Any]


def _make(_: str, make: Callable[[], Any], __: Callable[[Any], int]) -> Any:
    return make()


def part_of_snapshot(snapshot: Snapshot, rows: NDArray[np.int64], memory: ColumnMemory | None = None) -> Part:
    """Return rows of a snapshot; what is read of it goes through `memory`."""

    def read(name: str) -> Any:
        if name == "run_id":
            return snapshot.run_ids
        column, _, field = name.partition(".")
        if field:
            leaves: tuple[str, ...] = (f"{column}.key_value.key", f"{column}.key_value.value.{field}")
        else:
            leaves = _LEAVES.get(name, (name,))
        return snapshot.encoded(*leaves)[column]

    def recall(name: str, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        return make() if memory is None else memory.recall((snapshot.key, name), make, size)

    return Part(read, rows, snapshot.document, recall)


def part_of_documents(docs: list[RunDocument]) -> Part:
    """Return documents as they are now."""
    import numpy as np  # noqa: PLC0415 - heavy

    rows = SnapshotRows(stored=False)
    for doc in docs:
        rows.add(doc)
    made: list[Any] = []

    def read(name: str) -> Any:
        if not made:
            made.append(rows.table())
        return made[0][name.partition(".")[0]]

    return Part(read, np.arange(len(docs), dtype=np.int64), docs.__getitem__)
