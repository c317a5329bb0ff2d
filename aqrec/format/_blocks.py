"""Checksums of a Parquet object: of its blocks, which stand in the footer, and of the footer, which whoever refers to the object keeps.

Pages may have checksums of their own, but their headers have none, and a header can make other values of the right bytes.
"""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO, Final

import msgspec

from aqrec.errors import CorruptError
from aqrec.format._records import Footer

__all__ = ["BlockCheck", "BlockWriter", "Blocks", "CheckedFile"]

_CRC: Final = 4


class Blocks(msgspec.Struct, frozen=True, kw_only=True):
    """CRC-32 (zlib) of each block of `size` bytes of the first `end` bytes, as little-endian u32; the last may be shorter."""

    size: int
    end: int
    crcs: bytes

    def check(self, block: int, data: memoryview) -> None:
        """Raise `CorruptError` if the bytes of a block are not as they were written."""
        if zlib.crc32(data) != int.from_bytes(self.crcs[_CRC * block : _CRC * (block + 1)], "little"):
            raise CorruptError(f"the {self.size} bytes from {self.size * block} on have another checksum")


class BlockWriter:
    """A file being written that takes checksums of what passes: of blocks until `finish`, and of all that follows."""

    closed = False

    def __init__(self, file: BinaryIO, block: int) -> None:
        self._file = file
        self._block = block
        self._crcs = bytearray()
        self._crc = 0
        self._size = 0
        """Bytes of the block, or of the footer, so far"""
        self._footer = False

    def write(self, data: Any) -> int:
        """Write bytes."""
        rest = memoryview(data).cast("B")
        while len(rest):
            part = rest if self._footer else rest[: self._block - self._size]
            self._crc = zlib.crc32(part, self._crc)
            self._size += len(part)
            rest = rest[len(part) :]
            if self._size == self._block and not self._footer:
                self._next()
        return self._file.write(data)

    def _next(self) -> None:
        self._crcs += self._crc.to_bytes(_CRC, "little")
        self._crc = self._size = 0

    def finish(self) -> Blocks:
        """Return the blocks' checksums; what follows is the footer."""
        end = len(self._crcs) // _CRC * self._block + self._size
        if self._size:
            self._next()
        self._footer = True
        return Blocks(size=self._block, end=end, crcs=bytes(self._crcs))

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
            blocks.check(block, self._data[first:last])
            right[block] = 1

    def check_all(self) -> None:
        """Raise `CorruptError` if any block is not as it was written."""
        self.check(0, self._blocks.end)


class CheckedFile(io.RawIOBase):
    """A file that is read in whole blocks, which are compared with their checksums; closing it leaves the file open."""

    def __init__(self, file: BinaryIO, blocks: Blocks) -> None:
        self._file = file
        self._blocks = blocks
        self._end = file.seek(0, io.SEEK_END)
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes; raise `CorruptError` if they, or others of their blocks, are not as they were written."""
        blocks, start = self._blocks, min(self._at, self._end)
        end = self._end if size is None or size < 0 else min(start + size, self._end)
        first = min(start // blocks.size * blocks.size, blocks.end)
        last = max(end, min(-(-end // blocks.size) * blocks.size, blocks.end))
        if start >= blocks.end:
            first = start
        self._file.seek(first)
        data = memoryview(self._file.read(last - first))
        for at in range(first, min(last, blocks.end), blocks.size):
            block = data[at - first : min(at + blocks.size, blocks.end) - first]
            blocks.check(at // blocks.size, block)
        self._at = end
        return bytes(data[start - first : end - first])
