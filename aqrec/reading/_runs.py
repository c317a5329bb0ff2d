"""The runs of a store by id: those with news as documents, all others as rows of snapshots until they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, MutableMapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aqrec.format._document import RunDocument, copy_document
from aqrec.format._snapshot import Snapshot
from aqrec.format._unfold import merge
from aqrec.reading._columns import numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Runs", "standing"]


class Runs(MutableMapping[str, RunDocument]):
    """Run id -> document.

    Attributes
    ----------
    documents
        Runs of which there is news; what is here stands for the run, whatever the snapshots say.
    """

    def __init__(self) -> None:
        self.documents: dict[str, RunDocument] = {}
        self.snapshots: Sequence[Snapshot] = ()
        self._lent: set[str] = set()
        """Documents that belong to another `Runs`, as long as there is no news of them here"""

    def copy(self) -> Runs:
        """Return the same runs; news of them that one of the two takes in stays unknown to the other."""
        other = Runs()
        other.documents, other.snapshots = dict(self.documents), self.snapshots
        other._lent = set(self.documents)
        return other

    def __getitem__(self, run_id: str) -> RunDocument:
        doc = self.documents.get(run_id)
        return doc if doc is not None else self._stored(run_id)

    def _stored(self, run_id: str) -> RunDocument:
        for snapshot in reversed(self.snapshots):
            row = snapshot.row_of(run_id)
            if row is not None:
                return snapshot.document(row)
        raise KeyError(run_id)

    def __setitem__(self, run_id: str, doc: RunDocument) -> None:
        self.documents[run_id] = doc

    def __delitem__(self, run_id: str) -> None:
        raise TypeError("what a store knows of a run cannot be taken back")

    def __contains__(self, run_id: object) -> bool:
        return run_id in self.documents or any(
            snapshot.row_of(run_id) is not None for snapshot in self.snapshots if isinstance(run_id, str)
        )

    def __iter__(self) -> Iterator[str]:
        yield from self.documents
        for snapshot, rows in self.rows():
            ids = snapshot.ids
            yield from (ids[row] for row in rows.tolist())

    def __len__(self) -> int:
        return len(self.documents) + sum(len(rows) for _, rows in self.rows())

    def to_change(self, run_id: str) -> RunDocument:
        """Return the document that is to take in news of a run, a new one if nothing is known of it."""
        doc = self.documents.get(run_id)
        if doc is None:
            try:
                doc = self._stored(run_id)
            except KeyError:
                doc = RunDocument(run_id=run_id)
            self.documents[run_id] = doc
        elif run_id in self._lent:
            self._lent.discard(run_id)
            doc = self.documents[run_id] = copy_document(doc)
        return doc

    def rows(self) -> list[tuple[Snapshot, NDArray[np.int64]]]:
        """Return the rows of each snapshot that stand for a run: there is no news of it, nor a later row."""
        return standing(self.snapshots, set(self.documents))

    def adopt(self, snapshots: Sequence[Snapshot], changing: Iterable[str]) -> None:
        """Take the snapshots of another head.

        Of the documents only those of the runs `changing` are kept: all that is known of the others is in the snapshots.
        """
        old = self.documents
        self.documents, self.snapshots = {}, tuple(snapshots)
        for run_id in changing:
            doc = old.get(run_id)
            if doc is None:
                continue
            with contextlib.suppress(KeyError):
                merge(doc, self._stored(run_id))
            self.documents[run_id] = doc


def standing(
    snapshots: Sequence[Snapshot], superseded: Collection[str]
) -> list[tuple[Snapshot, NDArray[np.int64]]]:
    """Return which rows of each snapshot hold what is known of their runs.

    Not those of runs that are `superseded` or have a row in a later snapshot.
    """
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    compute: Any = import_module("pyarrow.compute")
    found: list[tuple[Snapshot, NDArray[np.int64]]] = []
    later: list[Any] = []
    for snapshot in reversed(snapshots):
        rows = np.arange(snapshot.rows, dtype=np.int64)
        if superseded:
            hidden = [row for row in map(snapshot.row_of, superseded) if row is not None]
            rows = np.delete(rows, hidden)
        if later:
            again = numbers(compute.is_in(snapshot.run_ids, value_set=pa.concat_arrays(later)))
            rows = rows[~again[rows]]
        found.append((snapshot, rows))
        later.append(snapshot.run_ids)
    found.reverse()
    return found
