"""One run as its writer knows it: summaries of its keys, and what is still to be sealed."""

from __future__ import annotations

import struct
from typing import Any

from aqrec.engine._buffer import Buffer, PointLog
from aqrec.engine._numpy import numpy_at_hand
from aqrec.format._document import RunDocument, merge_summary
from aqrec.format._points import PointsFrame, columns
from aqrec.format._records import MetricSummary

__all__ = ["RunState", "summarise"]

_FEW = 256
"""Points of a frame that are summarised one by one"""


class RunState:
    """What this process's writer has recorded of a run."""

    def __init__(self, run_id: str, buffer: Buffer, *, made_id: bool) -> None:
        self.run_id = run_id
        self.points = PointLog(run_id, buffer, self)
        self.summaries: dict[str, MetricSummary] = {}
        self.changed: set[str] = set()
        self.through = self.summarised = -1
        self.sealed_through = -1
        self.unsealed: dict[str, int] = {}
        self.made_id = made_id
        self.parts = 0
        self.ended = False
        self.announced = False
        self.dropped_told = 0

    def restore(self, doc: RunDocument, writer: str) -> None:
        """Take up what `writer` has recorded and sealed of the run before."""
        self.summaries = dict(doc.metrics.get(writer, {}))
        self.through = self.summarised = doc.through.get(writer, -1)
        parts = [part for part in doc.sealed if part.writer == writer]
        self.parts = len(parts)
        self.sealed_through = max((part.through for part in parts), default=-1)

    def expect(self, frame: PointsFrame) -> None:
        """Count a frame that is about to be written as one to be sealed; a second time changes nothing."""
        if frame.seq > self.through:
            count = frame.count
            self.unsealed.update({key: self.unsealed.get(key, 0) + count for key in frame.keys})
            self.through = frame.seq

    def add(self, frame: PointsFrame) -> None:
        """Summarise a frame that was written; a second time changes nothing."""
        if frame.seq > self.summarised:
            fresh = zip(frame.keys, summarise(frame)[1], strict=True)
            merged = {key: merge_summary(self.summaries.get(key), summary) for key, summary in fresh}
            self.summaries.update(merged)
            self.changed.update(frame.keys)
            self.summarised = frame.seq

    def changes(self) -> dict[str, MetricSummary]:
        """Return the summaries that changed since they were told."""
        return {key: self.summaries[key] for key in self.changed}


def summarise(frame: PointsFrame) -> tuple[int, list[MetricSummary]]:
    """Return the rows of a frame, and what there is to say of each of its keys."""
    count = frame.count
    if count * len(frame.keys) <= _FEW or not numpy_at_hand():
        return count, _summarise_few(frame)
    return count, _summarise(columns(frame), count)


def _summarise_few(frame: PointsFrame) -> list[MetricSummary]:
    """Do as `_summarise`, in less time than numpy takes to begin."""
    head = 2 if frame.stepped else 1
    rows = list(struct.iter_unpack(f"<{head}q{len(frame.keys)}d", frame.rows))
    count = len(rows)
    last = max(range(count), key=lambda at: (rows[at][:head], at))
    step, stamp = (rows[last][0] if frame.stepped else None), rows[last][head - 1]
    summaries: list[MetricSummary] = []
    for values in list(zip(*rows, strict=True))[head:]:
        known = [value for value in values if value == value] or values  # noqa: PLR0124 - NaN is not
        summaries.append(MetricSummary(count, step, stamp, values[last], min(known), max(known)))
    return summaries


def _summarise(data: Any, count: int) -> list[MetricSummary]:
    import numpy as np  # noqa: PLC0415

    last = count - 1
    stamps = data.timestamps
    step: int | None = None
    if data.steps is not None:
        step = int(data.steps.max())
        latest = np.flatnonzero(data.steps == step)
        last = int(latest[len(latest) - 1 - int(np.argmax(stamps[latest][::-1]))])
    elif stamps[last] != stamps.max():
        last = last - int(np.argmax(stamps[::-1]))
    # fmin and fmax pass over NaN, without warnings; on contiguous values they take a twentieth of the time.
    by_key = np.ascontiguousarray(data.values.T)
    least, most = np.fmin.reduce(by_key, axis=1).tolist(), np.fmax.reduce(by_key, axis=1).tolist()
    stamp, row = int(stamps[last]), data.values[last].tolist()
    return [
        MetricSummary(count, step, stamp, value, low, high)
        for value, low, high in zip(row, least, most, strict=True)
    ]
