"""From rows of snapshots and documents with news to a search's answer; no I/O but reading columns of snapshots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aqrec.format._document import RunDocument
from aqrec.format._snapshot import Snapshot, decode_cell
from aqrec.reading._columns import codes
from aqrec.reading._filter import START
from aqrec.reading._filter_nodes import UriOf
from aqrec.reading._masks import mask, values_of
from aqrec.reading._parts import Part, part_of_documents, part_of_snapshot
from aqrec.reading._search import (
    NOT_A_TIME,
    Cells,
    floats,
    integers,
    objects,
    times,
    to_frame,
    truths,
    typed,
)
from aqrec.reading._selection import Selection

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["search_frame"]

_EXACT: Final = 2**53


def search_frame(
    selection: Selection,
    docs: list[RunDocument],
    snapshots: Sequence[tuple[Snapshot, NDArray[np.int64]]],
    artifact_uri: UriOf,
) -> pd.DataFrame:
    """Return what `to_frame` would make of the runs that `selection` chooses, without a document for each.

    Parameters
    ----------
    selection
        Filter, order and limit.
    docs
        Runs that are not told by snapshots alone; not changed meanwhile.
    snapshots
        Snapshots, and which of their rows are meant.
    artifact_uri
        Gives the URI of a run's artifacts for its id.
    """
    if not any(len(rows) for _, rows in snapshots):
        return to_frame(selection.apply(docs), artifact_uri)
    parts = [part_of_documents(selection.fitting(docs))] if docs else []
    for snapshot, rows in snapshots:
        if len(rows):
            parts.append(_fitting(part_of_snapshot(snapshot, rows), selection, artifact_uri))
    order = _order(parts, selection, artifact_uri)
    return _Frame(parts, order, artifact_uri).make()


def _fitting(part: Part, selection: Selection, uri: UriOf) -> Part:
    import numpy as np  # noqa: PLC0415 - heavy

    fits = mask(part, selection.node, uri, selection.now)
    if fits is not None:
        part.rows = part.rows[fits[part.rows]]
    else:
        kept = [row for row in part.rows.tolist() if selection.fitting([part.document(row)])]
        part.rows = np.array(kept, dtype=np.int64)
    return part


def _order(parts: list[Part], selection: Selection, uri: UriOf) -> NDArray[np.int64]:
    """Return the chosen of all rows of all parts, in order; rows are counted through the parts."""
    import numpy as np  # noqa: PLC0415 - heavy

    ids = np.concatenate(
        [part.column("run_id").take(_array(part.rows)).to_numpy(zero_copy_only=False) for part in parts]
    )
    rows = np.argsort(ids, kind="stable")
    if selection.order.terms:
        columns: list[list[Any]] = [
            [value for part in parts for value in values_of(part, part.rows, key, uri, selection.now)]
            for key, _ in (*selection.order.terms, (START, True))
        ]
        order = np.array(selection.order.arrange(rows.tolist(), columns), dtype=np.int64)
    else:
        start = np.concatenate([part.times("start_time")[part.rows] for part in parts])
        # Runs that have not started come last: the least int64 has no negative.
        order = rows[np.argsort(-np.maximum(start[rows], NOT_A_TIME + 1), kind="stable")]
    return order[: selection.limit]


def _array(rows: NDArray[np.int64]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    return pa.array(rows)


class _Piece:
    """The cells that one part has for one key: their places in the answer, and where their values are."""

    __slots__ = ("kinds", "numbers", "places", "texts")

    def __init__(self, places: Any, kinds: Any, texts: Any, numbers: Any) -> None:
        self.places, self.kinds, self.texts, self.numbers = places, kinds, texts, numbers


class _Frame:
    """A DataFrame in the making."""

    def __init__(self, parts: list[Part], order: NDArray[np.int64], uri: UriOf) -> None:
        import numpy as np  # noqa: PLC0415 - heavy

        self._parts = parts
        self._count = len(order)
        self._uri = uri
        place = np.full(sum(len(part.rows) for part in parts), -1, dtype=np.int64)
        place[order] = np.arange(self._count)
        self._places: list[NDArray[np.int64]] = []
        """For each part, the place of each row of its table in the answer; -1 for none"""
        at = 0
        for part in parts:
            of_row = np.full(len(part.column("run_id")), -1, dtype=np.int64)
            of_row[part.rows] = place[at : at + len(part.rows)]
            at += len(part.rows)
            self._places.append(of_row)

    def make(self) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 - heavy

        run_ids = self._texts("run_id")
        columns: dict[str, Any] = {
            "run_id": run_ids,
            "experiment_id": self._texts("experiment_id"),
            "status": self._texts("status"),
            "start_time": self._times("start_time"),
            "end_time": self._times("end_time"),
            "artifact_uri": objects([self._uri(run_id) for run_id in run_ids.tolist()]),
        }
        columns |= self._metrics()
        columns |= {f"params.{key}": self._typed(pieces) for key, pieces in self._cells("params")}
        columns |= {f"tags.{key}": self._objects(pieces) for key, pieces in self._cells("tags")}
        return pd.DataFrame(columns, index=pd.RangeIndex(self._count), copy=False)

    def _texts(self, name: str) -> pd.Series[Any]:
        import numpy as np  # noqa: PLC0415 - heavy
        import pandas as pd  # noqa: PLC0415 - heavy

        found = np.full(self._count, None, dtype=object)
        for part, places in zip(self._parts, self._places, strict=True):
            rows = np.flatnonzero(places >= 0)
            column, texts = part.texts(name)
            found[places[rows]] = np.fromiter(texts, dtype=object, count=len(texts))[column[rows]]
        return pd.Series(found, dtype=object)

    def _times(self, name: str) -> Any:
        import numpy as np  # noqa: PLC0415 - heavy

        found = np.full(self._count, NOT_A_TIME, dtype=np.int64)
        for part, places in zip(self._parts, self._places, strict=True):
            rows = np.flatnonzero(places >= 0)
            found[places[rows]] = part.times(name)[rows]
        return times(found)

    def _metrics(self) -> dict[str, Any]:
        import numpy as np  # noqa: PLC0415 - heavy

        found: dict[str, NDArray[np.float64]] = {}
        for part, places in zip(self._parts, self._places, strict=True):
            column = part.map("metrics")
            values = column.field("value").to_numpy(zero_copy_only=False)
            for name in column.names:
                entries, where = self._chosen(column, name, places)
                if len(entries):
                    if name not in found:
                        found[name] = np.full(self._count, np.nan)
                    found[name][where] = values[entries]
        return {f"metrics.{name}": found[name] for name in sorted(found)}

    @staticmethod
    def _chosen(column: Any, name: str, places: NDArray[np.int64]) -> tuple[Any, Any]:
        entries = column.entries(name)
        where = places[column.row[entries]]
        chosen = where >= 0
        return entries[chosen], where[chosen]

    def _cells(self, entity: str) -> list[tuple[str, list[_Piece]]]:
        pieces: defaultdict[str, list[_Piece]] = defaultdict(list)
        for part, places in zip(self._parts, self._places, strict=True):
            column = part.map(entity)
            kinds, texts, numbers = (column.field(name) for name in ("type", "text", "number"))
            for name in column.names:
                entries, where = self._chosen(column, name, places)
                if len(entries):
                    at = _array(entries)
                    pieces[name].append(_Piece(where, kinds.take(at), texts.take(at), numbers.take(at)))
        return sorted(pieces.items())

    def _typed(self, pieces: list[_Piece]) -> Any:
        """Return a column of params, of the type that `to_frame` gives it."""
        import numpy as np  # noqa: PLC0415 - heavy

        kinds = {kind for piece in pieces for kind in piece.kinds.unique().to_pylist()} - {"null"}
        if kinds == {"bool"}:
            texts = _joined([piece.texts for piece in pieces])
            there = texts.is_valid().to_numpy(zero_copy_only=False)
            column, names = codes(_chunked(texts.filter(texts.is_valid())))
            truth = np.array([name == "True" for name in names], dtype=np.bool_)[column]
            return truths(Cells(_places(pieces)[there], truth), self._count)
        if kinds and kinds <= {"int", "float"}:
            there = _joined([piece.texts for piece in pieces]).is_valid().to_numpy(zero_copy_only=False)
            numbers = _joined([piece.numbers for piece in pieces]).fill_null(_EXACT).to_numpy()[there]
            places = _places(pieces)[there]
            # Larger integers are not what the float64 beside them says.
            if kinds == {"float"} or bool(np.all(~(np.abs(numbers) >= _EXACT))):
                if kinds == {"int"}:
                    return integers(Cells(places, numbers.astype(np.int64)), self._count)
                return floats(Cells(places, numbers), self._count)
        return typed(Cells(*self._values(pieces)), self._count)

    def _objects(self, pieces: list[_Piece]) -> Any:
        places, values = self._values(pieces)
        return objects(values, places, self._count)

    @staticmethod
    def _values(pieces: list[_Piece]) -> tuple[Any, list[Any]]:
        """Return the places and the values of a key."""
        values: list[Any] = []
        for piece in pieces:
            kinds, kind_names = codes(_chunked(piece.kinds))
            texts, text_names = codes(_chunked(piece.texts))
            if kind_names == ["str"]:
                values.extend(map(text_names.__getitem__, texts.tolist()))
                continue
            for kind, text in zip(kinds.tolist(), texts.tolist(), strict=True):
                values.append(decode_cell(kind_names[kind], None if text < 0 else text_names[text]))
        return _places(pieces), values


def _places(pieces: list[_Piece]) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy

    return np.concatenate([piece.places for piece in pieces])


def _joined(arrays: list[Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    return pa.concat_arrays(arrays)


def _chunked(array: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    return pa.chunked_array([array])
