"""Heads of the catalog: which snapshots are current."""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

from aqrec.errors import CorruptError
from aqrec.format._records import FORMAT_VERSION, Footer

__all__ = ["Head", "SnapshotRef", "decode_head", "encode_head"]


class SnapshotRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One current snapshot; `footer` is what it ends with, None if an older version has written it."""

    key: str
    rows: int
    footer: Footer | None = None


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
    checksum: str = ""
    """CRC-32 of the stored bytes, with zeros in its own place, as hex digits"""


_CHECKSUM: Final = re.compile(rb'"checksum": "([0-9a-f]{8})"')
_ZEROS: Final = b'"checksum": "00000000"'


def encode_head(head: Head) -> bytes:
    """Return a head as readable JSON."""
    blank = msgspec.structs.replace(head, checksum="0" * 8)
    data = msgspec.json.format(msgspec.json.encode(blank), indent=1)
    return data.replace(_ZEROS, b'"checksum": "%08x"' % zlib.crc32(data))


def decode_head(data: bytes, key: str) -> Head:
    """Return what `encode_head` was given; `CorruptError` names `key`."""
    stored = _CHECKSUM.search(data)
    try:
        if stored is not None and zlib.crc32(_CHECKSUM.sub(_ZEROS, data, count=1)) != int(stored[1], 16):
            raise CorruptError(f"the catalog's head {key} is damaged: its checksum is another one")
        head = msgspec.json.decode(data, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptError(f"the catalog's head {key} is damaged: {error}") from error
    if stored is None and head.checksum:
        raise CorruptError(f"the catalog's head {key} is damaged: its checksum is {head.checksum!r:.20}")
    return head
