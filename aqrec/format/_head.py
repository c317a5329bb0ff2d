"""Heads of the catalog: which snapshots are current."""

from __future__ import annotations

import msgspec

from aqrec.errors import CorruptError
from aqrec.format._records import FORMAT_VERSION

__all__ = ["Head", "SnapshotRef", "decode_head", "encode_head"]


class SnapshotRef(msgspec.Struct, frozen=True, kw_only=True):
    """One current snapshot."""

    key: str
    rows: int


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """One state of the folded catalog; the one of the highest number is current.

    Attributes
    ----------
    nonce
        Tells whose attempt to create the head has won.
    snapshots
        The oldest first: a run's row in the latest of them that has one says all that was folded.
    logs
        Event logs that stay, because they may still grow or are damaged: key -> bytes that are folded.
    retired
        Snapshots that are not current any more and may still be read: key -> number of the head that left them out.
    heard
        When runs that are going on were last heard of in logs that are folded: run id -> ms since epoch by the store's clock.
    """

    format: int = FORMAT_VERSION
    number: int
    nonce: str
    created: int = 0
    """ms since epoch, by the clock of whoever made it"""
    snapshots: list[SnapshotRef] = []
    logs: dict[str, int] = {}
    retired: dict[str, int] = {}
    heard: dict[str, int] = {}


def encode_head(head: Head) -> bytes:
    """Return a head as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(head), indent=1)


def decode_head(data: bytes, key: str) -> Head:
    """Return what `encode_head` was given; `CorruptError` names `key`."""
    try:
        return msgspec.json.decode(data, type=Head)
    except msgspec.DecodeError as error:
        raise CorruptError(f"the catalog's head {key} is damaged: {error}") from error
