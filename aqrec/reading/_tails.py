"""Tails of journals: points that a writer has stored and no event tells of yet, or ever will, if it died before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from aqrec.engine._summary import summarise
from aqrec.errors import CorruptError, ObjectNotFoundError
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, apply, merge_summary
from aqrec.format._frames import POINTS, Damage, scan
from aqrec.format._points import PointsFrame, decode_points
from aqrec.format._records import MetricsSummarised, MetricSummary
from aqrec.reading._history import first_of

if TYPE_CHECKING:
    from aqrec.stores import ObjectInfo, Store

__all__ = ["Tails", "may_have_more", "read_tail"]

_HEADER_BYTES: Final = 4096
_TRAILER: Final = 16


def may_have_more(doc: RunDocument) -> list[str]:
    """Return the writers of a run whose journals may hold points that nothing tells of: those that are not sealed to the end."""
    sealed: dict[str, int] = {}
    for part in doc.sealed:
        sealed[part.writer] = max(part.through, sealed.get(part.writer, -1))
    return [
        writer
        for writer, through in sorted(doc.through.items())
        if doc.end_time is None or through > sealed.get(writer, -1)
    ]


async def read_tail(store: Store, writer: str, docs: Iterable[RunDocument]) -> list[MetricsSummarised]:
    """Return what a writer's journal holds of runs beyond what their documents tell of it, as summaries of all points."""
    told = {doc.run_id: doc.through.get(writer, -1) for doc in docs}
    known = {doc.run_id: dict(doc.metrics.get(writer, {})) for doc in docs}
    infos = sorted(
        [info async for info in store.list(layout.journal_folder(writer)) if info.key.endswith(".seg")],
        key=lambda info: info.key,
    )
    firsts = [first_of(await store.get(info.key, end=_HEADER_BYTES)) for info in infos]
    least = min(told.values(), default=-1)
    frames: dict[int, tuple[str, dict[str, MetricSummary]]] = {}
    for number, info in enumerate(infos):
        again = min(firsts[number + 1 :], default=2**63)
        if again <= least + 1 and await _is_finished(store, info):
            continue
        await store.get_stream(info.key, partial(_scan, size=info.size, told=told, frames=frames))
    events: dict[str, MetricsSummarised] = {}
    for seq, (run_id, added) in sorted(frames.items()):
        for key, summary in added.items():
            known[run_id][key] = merge_summary(known[run_id].get(key), summary)
        events[run_id] = MetricsSummarised(
            clock=0, run_id=run_id, writer=writer, through=seq, metrics=known[run_id]
        )
    return list(events.values())


async def _is_finished(store: Store, info: ObjectInfo) -> bool:
    """Whether a segment has its index, so that no later one repeats its frames in doubt."""
    tail = await store.get(info.key, start=max(info.size - _TRAILER, 0))
    return tail[:4] == b"AQe1"


def _scan(
    file: BinaryIO,
    size: int,
    told: Mapping[str, int],
    frames: dict[int, tuple[str, dict[str, MetricSummary]]],
) -> None:
    for frame in scan(file, size):
        if isinstance(frame, Damage) or frame.kind != POINTS:
            continue  # who reads the history is told of damage
        try:
            points = decode_points(frame.payload)
        except CorruptError:
            continue
        # Of a frame that was written again either copy will do.
        if points.seq not in frames and points.seq > told.get(points.run_id, 2**63):
            frames[points.seq] = points.run_id, _summaries(points)


def _summaries(points: PointsFrame) -> dict[str, MetricSummary]:
    return dict(zip(points.keys, summarise(points)[1], strict=True))


class Tails:
    """What a catalog's runs have in journals of other writers, found when somebody asks.

    Parameters
    ----------
    own
        The writer of this process, which tells by itself; None: nothing is looked for.
    """

    def __init__(self, store: Store, own: str | None) -> None:
        self._store = store
        self._own = own
        self._seen: dict[str, tuple[list[tuple[str, int]], dict[str, int]]] = {}
        self._found: dict[tuple[str, str], MetricsSummarised] = {}

    async def catch_up(
        self,
        docs: Iterable[RunDocument],
        finished: Callable[[str], bool],
        change: Callable[[str], RunDocument],
    ) -> None:
        """Let the documents tell of all points of writers that have not `finished`: they live, or died before they could.

        `change` returns the document that is to take in news of a run.
        """
        by_writer: dict[str, list[RunDocument]] = {}
        for doc in docs if self._own is not None else ():
            for writer in may_have_more(doc):
                if writer != self._own and not finished(writer):
                    by_writer.setdefault(writer, []).append(doc)
        for writer, runs in by_writer.items():
            listing = sorted(
                [(info.key, info.size) async for info in self._store.list(layout.journal_folder(writer))]
            )
            told = {doc.run_id: doc.through[writer] for doc in runs}
            seen = self._seen.get(writer)
            if seen is not None and seen[0] == listing and told.items() <= seen[1].items():
                continue
            try:
                events = await read_tail(self._store, writer, runs)
            except ObjectNotFoundError:
                continue  # it has just been sealed
            for event in events:
                doc = change(event.run_id)
                if doc.through.get(writer, -1) == told[event.run_id]:  # else news came meanwhile
                    apply(doc, event)
                    told[event.run_id] = event.through
                    self._found[event.run_id, writer] = event
            self._seen[writer] = listing, told

    def found(self, doc: RunDocument) -> list[MetricsSummarised]:
        """Return what was found of a run and is stored nowhere but in journals, as far as is known."""
        return [
            event
            for writer, through in sorted(doc.through.items())
            if (event := self._found.get((doc.run_id, writer))) is not None and event.through == through
        ]
