"""Files out of artifacts: the bytes that were saved, whether or not they are stored compressed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, cast

from aqrec.artifacts._digest import Expectation
from aqrec.artifacts._hashing import HashingReader, copy_file
from aqrec.artifacts._objects import check_compression
from aqrec.errors import CorruptError

if TYPE_CHECKING:
    import io

__all__ = ["unpack_file"]

_SCRATCH = 1 << 20


def unpack_file(
    source: BinaryIO, target: BinaryIO, *, compression: str | None, size: int, checksum: str, name: str
) -> None:
    """Copy a file from its position to its end, in bounded memory, decompressing it on the way.

    Parameters
    ----------
    source, target
        Blocking binary files. Neither is flushed, synced or closed.
    compression
        Of the source; None: it is copied as it is.
    size, checksum
        What the bytes of the source, as stored, must be.
    name
        What error messages call the source.

    Raises
    ------
    CorruptError
        The bytes are not the expected ones, or are not compressed so. Discard the target.
    LoadObjectError
        The checksum is of an unknown kind; nothing was copied.
    InvalidInputError
        The compression is unknown; nothing was copied.
    OSError
        The files' own errors, as they come.
    """
    check_compression(compression)
    if compression is None:
        copy_file(source, target, size=size, checksum=checksum, name=name)
        return
    expected = Expectation(size, checksum, name)
    reader = HashingReader(source)
    # pyarrow is imported by the first artifact that is compressed.
    stream = import_module("aqrec.artifacts._streams").decompressing(cast("BinaryIO", reader), compression)
    scratch = memoryview(bytearray(_SCRATCH))
    while count := _read(stream, scratch, reader, expected):
        part = scratch[:count]
        while part:
            part = part[target.write(part) :]
    expected.check(reader.drain())


def _read(stream: io.RawIOBase, scratch: memoryview, reader: HashingReader, expected: Expectation) -> int:
    try:
        return stream.readinto(scratch) or 0
    except Exception as error:
        if reader.failure is not None:
            raise reader.failure from None
        expected.check(reader.drain())
        raise CorruptError(f"{expected.name} cannot be decompressed: {error}") from error
