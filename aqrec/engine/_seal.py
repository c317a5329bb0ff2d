"""Sealing: a writer's points of ended runs move from its journal into Parquet.

A writer seals its own points only, under a key of its own, so writers of one run never meet. The journal is read once for every
group of keys whose points fit the budget; a key larger than that is streamed through alone, so memory stays bounded whatever the
size of the run.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from aqrec.format._frames import POINTS, Damage, scan
from aqrec.format._parquet import HistoryWriter
from aqrec.format._points import Columns, columns, decode_points
from aqrec.format._records import Footer

__all__ = ["Job", "Source", "write_history"]

_GROUP_POINTS = 3_000_000
_PIECE_POINTS = 262_144

Unit = tuple[str, str]


class Source(msgspec.Struct):
    """A journal segment to read: a path or the bytes, and the span that holds the runs' frames.

    `before`: frames from this number on were written again to the next segment, after a failure.
    """

    data: Path | bytes
    start: int
    end: int
    before: int


class Job(msgspec.Struct):
    """What to seal: points by (run id, key), frames with ``after < seq <= through`` of each run."""

    writer: str
    counts: dict[Unit, int]
    after: dict[str, int]
    through: dict[str, int]
    sources: Sequence[Source]


def _frames(job: Job) -> Iterator[tuple[str, list[str], Columns]]:
    for source in job.sources:
        file: BinaryIO = io.BytesIO(source.data) if isinstance(source.data, bytes) else source.data.open("rb")
        with file:
            for frame in scan(file, source.end, source.start):
                if isinstance(frame, Damage) or frame.kind != POINTS:
                    continue
                points = decode_points(frame.payload)
                run = points.run_id
                if (
                    points.seq < source.before
                    and run in job.through
                    and job.after[run] < points.seq <= job.through[run]
                ):
                    yield run, points.keys, columns(points)


class _Pieces:
    """Points of one (run, key), gathered in the order of logging."""

    def __init__(self) -> None:
        self.parts: list[tuple[Any, Any, Any]] = []
        self.points = 0

    def add(self, data: Columns, column: int) -> None:
        import numpy as np  # noqa: PLC0415

        steps = None if data.steps is None else np.ascontiguousarray(data.steps)
        self.parts.append(
            (steps, np.ascontiguousarray(data.timestamps), np.ascontiguousarray(data.values[:, column]))
        )
        self.points += len(data.timestamps)

    def write(self, writer: HistoryWriter, unit: Unit, identity: str) -> None:
        import numpy as np  # noqa: PLC0415

        at = 0
        while at < len(self.parts):
            stop = at
            while stop < len(self.parts) and (self.parts[stop][0] is None) == (self.parts[at][0] is None):
                stop += 1
            run = self.parts[at:stop]
            steps = None if run[0][0] is None else np.concatenate([part[0] for part in run])
            stamps, values = (
                np.concatenate([part[1] for part in run]),
                np.concatenate([part[2] for part in run]),
            )
            writer.write(*unit, identity, steps, stamps, values)
            at = stop
        self.parts, self.points = [], 0


def _groups(counts: dict[Unit, int]) -> Iterator[list[Unit]]:
    group: list[Unit] = []
    size = 0
    for unit in sorted(counts):
        if group and size + counts[unit] > _GROUP_POINTS:
            yield group
            group, size = [], 0
        group.append(unit)
        size += counts[unit]
    if group:
        yield group


def write_history(file: BinaryIO, job: Job, metadata: dict[str, Any], *, bulk: bool) -> tuple[int, Footer]:
    """Write the job's points as one Parquet file; return how many there were, and the file's footer."""
    writer = HistoryWriter(file, metadata, bulk=bulk)
    try:
        for group in _groups(job.counts):
            gathered = {unit: _Pieces() for unit in group}
            alone = len(group) == 1
            for run, keys, data in _frames(job):
                for column, key in enumerate(keys):
                    pieces = gathered.get((run, key))
                    if pieces is None:
                        continue
                    pieces.add(data, column)
                    if alone and pieces.points >= _PIECE_POINTS:
                        pieces.write(writer, (run, key), job.writer)
            for unit in group:
                gathered[unit].write(writer, unit, job.writer)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return writer.points, writer.footer
