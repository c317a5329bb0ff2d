"""Records out of the buffer, sorted into what becomes one frame each."""

from __future__ import annotations

import contextlib
from itertools import groupby
from operator import itemgetter

from aqrec.engine._buffer import Buffer, Schema

__all__ = ["drain"]

_BATCH = 16_384
_schema_of, _row_of = itemgetter(0), itemgetter(1)


def drain(buffer: Buffer) -> dict[Schema, list[bytes]]:
    """Take records out of the buffer, some thousands at most; return the rows of each schema in order."""
    queue = buffer.queue
    popleft = queue.popleft
    batch: list[tuple[Schema, bytes]] = []
    take = batch.append
    with contextlib.suppress(IndexError):  # a producer that drops the oldest took it
        for _ in range(min(len(queue), _BATCH)):
            take(popleft())
    buffer.popped += len(batch)
    groups: dict[Schema, list[bytes]] = {}
    for schema, records in groupby(batch, _schema_of):  # a job logs the same keys again and again
        groups.setdefault(schema, []).extend(map(_row_of, records))
    return groups
