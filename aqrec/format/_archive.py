"""Notes on objects that lie in other stores, and to which perhaps nothing refers."""

from __future__ import annotations

import msgspec

from aqrec.errors import CorruptError
from aqrec.format._records import FORMAT_VERSION

__all__ = ["ArchiveNote", "decode_note", "encode_note"]


class ArchiveNote(msgspec.Struct, frozen=True, kw_only=True):
    """Written before anything is put into, or deleted from, folders of another store; deleted when that is done.

    Attributes
    ----------
    url
        Canonical, without credentials.
    folders
        Of that store; only aqrec has written in them.
    """

    url: str
    folders: list[str]
    format: int = FORMAT_VERSION


def encode_note(note: ArchiveNote) -> bytes:
    """Return a note as JSON."""
    return msgspec.json.encode(note)


def decode_note(data: bytes) -> ArchiveNote:
    """Return a note, or raise `CorruptError`."""
    try:
        return msgspec.json.decode(data, type=ArchiveNote)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptError(f"a note on an archive cannot be read: {error}") from error
