"""A search's answer: which runs, in which order, and where their values are; no I/O but reading columns of snapshots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from aqrec.errors import AqrecError, CorruptError
from aqrec.format._document import RunDocument
from aqrec.format._snapshot import Snapshot
from aqrec.reading._columns import array_of_texts, indices, numbers, one_array
from aqrec.reading._filter import START
from aqrec.reading._filter_nodes import Key, UriOf
from aqrec.reading._masks import figures_of, mask, values_of
from aqrec.reading._parts import ColumnMemory, Part, part_of_documents, part_of_snapshot
from aqrec.reading._selection import Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Answer", "Cells", "Figures", "Texts", "answer"]

_TEXTS: Final = {"run_name": "name"} | {
    name: name for name in ("run_id", "experiment_id", "experiment_name", "status", "parent")
}


def answer(
    selection: Selection,
    docs: list[RunDocument],
    snapshots: Sequence[tuple[Snapshot, NDArray[np.int64]]],
    artifact_uri: UriOf,
    memory: ColumnMemory | None = None,
) -> Answer:
    """Return the runs that `selection` chooses, without a document for each.

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
    memory
        Keeps what is read of snapshots.
    """
    parts = [part_of_documents(selection.fitting(docs))] if docs else []
    for snapshot, rows in snapshots:
        if len(rows):
            try:
                parts.append(_fitting(part_of_snapshot(snapshot, rows, memory), selection, artifact_uri))
            except AqrecError:
                raise
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                # Damaged metadata may make columns of another kind, or rows that are not there.
                raise CorruptError(
                    f"the catalog's snapshot {snapshot.key} is damaged: {error}; see aqrec verify"
                ) from error
    return Answer(parts, _order(parts, selection, artifact_uri), artifact_uri, selection.now)


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
    import pyarrow as pa  # noqa: PLC0415 - heavy

    if not parts:
        return np.empty(0, np.int64)
    compute: Any = import_module("pyarrow.compute")
    ids = pa.chunked_array([one_array(part.column("run_id")).take(indices(part.rows)) for part in parts])
    rows = numbers(compute.sort_indices(ids))
    if selection.order.terms:
        columns: list[list[Any]] = [
            [value for part in parts for value in values_of(part, part.rows, key, uri, selection.now)]
            for key, _ in (*selection.order.terms, (START, True))
        ]
        order = np.array(selection.order.arrange(rows.tolist(), columns), dtype=np.int64)
    else:
        start = np.concatenate([part.times("start_time")[part.rows] for part in parts])
        # Runs that have not started come last: the least int64 has no negative.
        order = rows[np.argsort(-np.maximum(start[rows], -(2**63) + 1), kind="stable")]
    return order[: selection.limit]


class Figures:
    """Numbers that one part has for a column, and their places in the answer."""

    __slots__ = ("places", "values")

    def __init__(self, places: NDArray[np.int64], values: NDArray[Any]) -> None:
        self.places, self.values = places, values


class Texts:
    """Texts that one part has for a column, an Arrow array, and their places in the answer."""

    __slots__ = ("places", "texts")

    def __init__(self, places: NDArray[np.int64], texts: Any) -> None:
        self.places, self.texts = places, texts


class Cells(Texts):
    """Params or tags that one part has for a column: places, and as Arrow arrays types, texts and numbers."""

    __slots__ = ("kinds", "numbers")

    def __init__(self, places: NDArray[np.int64], kinds: Any, texts: Any, numbers: Any) -> None:
        super().__init__(places, texts)
        self.kinds, self.numbers = kinds, numbers


class Answer:
    """The chosen runs in order; values are read when they are asked for.

    Attributes
    ----------
    count
        How many runs.
    """

    def __init__(self, parts: list[Part], order: NDArray[np.int64], uri: UriOf, now: int) -> None:
        import numpy as np  # noqa: PLC0415 - heavy

        self._parts, self._order, self._uri, self._now = parts, order, uri, now
        self.count = len(order)
        place = np.full(sum(len(part.rows) for part in parts), -1, dtype=np.int64)
        place[order] = np.arange(self.count)
        self._places: list[NDArray[np.int64]] = []
        """For each part, the place of each row of its table in the answer; -1 for none"""
        at = 0
        for part in parts:
            of_row = np.full(len(part.column("run_id")), -1, dtype=np.int64)
            of_row[part.rows] = place[at : at + len(part.rows)]
            at += len(part.rows)
            self._places.append(of_row)

    def slice(self, first: int, count: int | None) -> Answer:
        """Return the runs from a place on, at most so many."""
        last = None if count is None else first + count
        return Answer(self._parts, self._order[first:last], self._uri, self._now)

    def _rows(self) -> list[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
        """Return each part with the rows that are meant and their places."""
        import numpy as np  # noqa: PLC0415 - heavy

        found: list[tuple[Part, NDArray[np.int64], NDArray[np.int64]]] = []
        for part, places in zip(self._parts, self._places, strict=True):
            rows = np.flatnonzero(places >= 0)
            found.append((part, rows, places[rows]))
        return found

    def after(self, run_id: str, otherwise: int) -> int:
        """Return the place behind a run; `otherwise` if it is not among the chosen any more."""
        ids = self.run_ids()
        return ids.index(run_id) + 1 if run_id in ids else otherwise

    def documents(self) -> list[RunDocument]:
        """Return the runs' documents."""
        found: list[tuple[int, RunDocument]] = []
        for part, rows, places in self._rows():
            # By row: documents lie in groups, of which one is at hand at a time.
            found.extend(zip(places.tolist(), map(part.document, rows.tolist()), strict=True))
        return [doc for _, doc in sorted(found, key=itemgetter(0))]

    def run_ids(self) -> list[str]:
        """Return the runs' ids."""
        return self.list_texts("run_id")

    def texts(self, name: str) -> list[Texts]:
        """Return an attribute that is text, of the runs that have it."""
        if name == "artifact_uri":
            return [Texts(places, array_of_texts(uris)) for places, uris in self._uris()]
        return [
            Texts(places, one_array(part.column(_TEXTS[name])).take(indices(rows)))
            for part, rows, places in self._rows()
        ]

    def list_texts(self, name: str) -> list[Any]:
        """Return an attribute that is text, None where there is none."""
        import numpy as np  # noqa: PLC0415 - heavy

        found = np.full(self.count, None, dtype=object)
        if name == "artifact_uri":
            given: Iterable[tuple[Any, list[Any]]] = self._uris()
        else:
            given = ((piece.places, piece.texts.to_pylist()) for piece in self.texts(name))
        for places, texts in given:
            found[places] = np.fromiter(texts, dtype=object, count=len(texts))
        listed: list[Any] = found.tolist()
        return listed

    def _uris(self) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
        for piece in self.texts("run_id"):
            yield piece.places, list(map(self._uri, piece.texts.to_pylist()))

    def figures(self, key: Key) -> list[Figures]:
        """Return a figure of a metric, or an attribute that is a number or a time, of the runs that have it."""
        found: list[Figures] = []
        for part, rows, places in self._rows():
            values, there = figures_of(part, rows, key, self._now)
            found.append(Figures(places[there], values[there]))
        return found

    def metrics(self) -> list[tuple[str, list[Figures]]]:
        """Return the latest values of all metrics that the runs have, by name."""
        pieces: defaultdict[str, list[Figures]] = defaultdict(list)
        for part, places in zip(self._parts, self._places, strict=True):
            column = part.map("metrics")
            values = numbers(column.field("value"))
            for name, entries, where in column.chosen(places):
                pieces[name].append(Figures(where, values[entries]))
        return sorted(pieces.items())

    def cells(self, entity: str, name: str | None = None) -> list[tuple[str, list[Cells]]]:
        """Return all params or tags that the runs have, or the one of a name, by name."""
        pieces: defaultdict[str, list[Cells]] = defaultdict(list)
        for part, places in zip(self._parts, self._places, strict=True):
            column = part.map(entity)
            fields = [column.field(field) for field in ("type", "text", "number")]
            for key, entries, where in column.chosen(places, name):
                at = indices(entries)
                pieces[key].append(Cells(where, *(field.take(at) for field in fields)))
        if name is not None:
            return [(name, pieces[name])]
        return sorted(pieces.items())
