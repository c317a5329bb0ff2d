"""Checksums of a Parquet object: of its blocks, which stand in the footer, and of the footer, which whoever refers to the object keeps.

Pages may have checksums of their own, but their headers have none, and a header can make other values of the right bytes.
"""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO, Final

import msgspec

from aqrec.errors import CorruptError
from aqrec.format._records import Footer

__all__ = ["BlockCheck", "BlockWriter", "Blocks"]

_SIZE: Final = 16_384
_CRC: Final = 4


class Blocks(msgspec.Struct, frozen=True, kw_only=True):
    """CRC-32 (zlib) of each block of `size` bytes of the first `end` bytes, as little-endian u32; the last may be shorter."""

    size: int
    end: int
    crcs: bytes


class BlockWriter:
    """A file being written that takes checksums of what passes: of blocks until `finish`, and of all that follows."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._crcs = bytearray()
        self._crc = 0
        self._size = 0
        """Bytes of the block, or of the footer, so far"""
        self._footer = False

    def write(self, data: Any) -> int:
        """Write bytes."""
        rest = memoryview(data).cast("B")
        while len(rest):
            part = rest if self._footer else rest[: _SIZE - self._size]
            self._crc = zlib.crc32(part, self._crc)
            self._size += len(part)
            rest = rest[len(part) :]
            if self._size == _SIZE and not self._footer:
                self._next()
        return self._file.write(data)

    def _next(self) -> None:
        self._crcs += self._crc.to_bytes(_CRC, "little")
        self._crc = self._size = 0

    def finish(self) -> Blocks:
        """Return the blocks' checksums; what follows is the footer."""
        end = len(self._crcs) // _CRC * _SIZE + self._size
        if self._size:
            self._next()
        self._footer = True
        return Blocks(size=_SIZE, end=end, crcs=bytes(self._crcs))

    @property
    def footer(self) -> Footer:
        """What was written after `finish`."""
        return Footer(size=self._size, crc=self._crc)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


class BlockCheck:
    """Compares blocks with their checksums, each once."""

    def __init__(self, data: memoryview, blocks: Blocks) -> None:
        self._data = data
        self._blocks = blocks
        self._right = bytearray(len(blocks.crcs) // _CRC)

    def check(self, start: int, end: int) -> None:
        """Raise `CorruptError` if a block that has bytes from `start` to `end` (excluded) is not as it was written."""
        blocks, right = self._blocks, self._right
        for block in range(start // blocks.size, -(-end // blocks.size)):
            if right[block]:
                continue
            first = block * blocks.size
            last = min(first + blocks.size, blocks.end)
            stored = blocks.crcs[_CRC * block : _CRC * (block + 1)]
            if zlib.crc32(self._data[first:last]) != int.from_bytes(stored, "little"):
                raise CorruptError(f"bytes {first} to {last} have another checksum")
            right[block] = 1

    def check_all(self) -> None:
        """Raise `CorruptError` if any block is not as it was written."""
        self.check(0, self._blocks.end)
