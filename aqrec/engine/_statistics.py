"""What the engine has done so far."""

from __future__ import annotations

import msgspec

__all__ = ["Statistics"]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the engine's counters, since it was opened in this process.

    Attributes
    ----------
    buffered
        Records waiting in the bounded buffer now.
    capacity
        Records it holds.
    points
        Points taken from the buffer and written.
    events
        Params, tags, states and artifact references written.
    bytes_written
        Bytes handed to the store, journals and events.
    unsynced_bytes
        Of those, not yet durable.
    commits
        Times that everything written was made durable.
    retries
        Failed attempts to write or sync that were tried again.
    dropped
        Points dropped by the overflow policy.
    waits
        Calls that found the buffer full and waited.
    sealed_points
        Points sealed as Parquet.
    last_error
        Text of the latest failure, "" if there was none.
    storing
        False while the store refuses what is written.
    """

    buffered: int
    capacity: int
    points: int
    events: int
    bytes_written: int
    unsynced_bytes: int
    commits: int
    retries: int
    dropped: int
    waits: int
    sealed_points: int
    last_error: str
    storing: bool
