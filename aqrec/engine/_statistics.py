"""What the engine has done so far."""

from __future__ import annotations

import msgspec

from aqrec.engine._spool import Spool

__all__ = ["Statistics", "unstored_text"]


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
        Of those, not yet durable in the store.
    spooled_bytes
        Of those and of artifacts, bytes that lie in this machine's spool until the store has taken them; with
        ``mode="offline"``, all bytes written.
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
    spool
        Path of the spool's folder if something of this process lies there, else "".
    storing
        False while the store refuses what is written.
    """

    buffered: int
    capacity: int
    points: int
    events: int
    bytes_written: int
    unsynced_bytes: int
    spooled_bytes: int
    commits: int
    retries: int
    dropped: int
    waits: int
    sealed_points: int
    last_error: str
    spool: str
    storing: bool


def unstored_text(statistics: Statistics, events: int, place: str, spool: Spool | None) -> str:
    """Say what is not durable in the store at `place`, and where it is kept; "" if everything is."""
    if not (statistics.buffered or events or statistics.unsynced_bytes or statistics.spool):
        return ""
    why = f"; the store's last error: {statistics.last_error.rstrip('.')}" if statistics.last_error else ""
    kept = (
        f"; {statistics.spooled_bytes} bytes are kept in {statistics.spool}, send them by: aqrec sync --store {spool.url}"
        if spool is not None and statistics.spool
        else ""
    )
    return (
        f"{statistics.buffered} buffered calls, {events} events and {statistics.unsynced_bytes} written bytes "
        f"are not stored in {place}{kept}{why}"
    )
