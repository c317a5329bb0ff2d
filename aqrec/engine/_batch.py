"""Records out of the buffer, sorted into what becomes one frame each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from aqrec.engine._buffer import Buffer, Schema, take

__all__ = ["drain"]

_BATCH = 16_384


def drain(buffer: Buffer) -> dict[Schema, list[bytes]]:
    """Take records out of the buffer, some thousands at most; return the rows of each schema in order."""
    batch = take(buffer.queue, _BATCH)
    taken = len(batch)
    buffer.popped += taken  # no call in between: who drops the oldest counts, too
    return {schema: rows for schema, count in _counted(batch).items() if (rows := take(schema.rows, count))}


def _counted(batch: list[Schema]) -> Mapping[Schema, int]:
    # A job logs the same keys again and again.
    if batch and batch.count(batch[0]) == len(batch):
        return {batch[0]: len(batch)}
    return Counter(batch)
