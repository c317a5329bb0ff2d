"""Frames: the checked envelope of everything that is appended.

A frame is a 16-byte head and a payload. The head holds, little-endian, the magic ``AQf1``, the payload's length
(u32), a CRC-32 (u32) of the rest of the head and the payload, the kind (u8), the codec (u8, 0: none) and flags (u16).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

__all__ = [
    "EVENTS",
    "FOOTER",
    "HEADER",
    "HEAD_SIZE",
    "MAX_PAYLOAD",
    "POINTS",
    "Damage",
    "Frame",
    "FrameReader",
    "decode_frames",
    "encode_frame",
    "scan",
]

HEADER: Final = 1
POINTS: Final = 2
EVENTS: Final = 3
FOOTER: Final = 4

MAGIC: Final = b"AQf1"
MAX_PAYLOAD: Final = 64 * 1024 * 1024
_HEAD = struct.Struct("<4sIIBBH")
_CHECKED = struct.Struct("<IBBH")
HEAD_SIZE: Final = _HEAD.size


class Frame(msgspec.Struct, frozen=True):
    """A frame whose checksum held, and where it begins."""

    offset: int
    kind: int
    codec: int
    flags: int
    payload: bytes

    @property
    def end(self) -> int:
        """Offset of the byte behind the frame."""
        return self.offset + HEAD_SIZE + len(self.payload)


class Damage(msgspec.Struct, frozen=True):
    """Bytes that are no valid frame although valid frames follow, or (`tail`) none follow: a torn end."""

    offset: int
    end: int
    tail: bool


def encode_frame(kind: int, payload: bytes, *, codec: int = 0, flags: int = 0) -> bytes:
    """Return one frame."""
    length = len(payload)
    if length > MAX_PAYLOAD:
        raise ValueError(f"a frame of {length} bytes is longer than {MAX_PAYLOAD}")
    crc = zlib.crc32(payload, zlib.crc32(_CHECKED.pack(length, kind, codec, flags)))
    return _HEAD.pack(MAGIC, length, crc, kind, codec, flags) + payload


def _check(head: bytes, payload: bytes) -> tuple[int, int, int] | None:
    _, length, crc, kind, codec, flags = _HEAD.unpack(head)
    if (
        len(payload) != length
        or zlib.crc32(payload, zlib.crc32(_CHECKED.pack(length, kind, codec, flags))) != crc
    ):
        return None
    return kind, codec, flags


class FrameReader:
    """Reads frames from a seekable file, a frame at a time, and survives any damage.

    Parameters
    ----------
    file
        Readable and seekable; only bytes below `size` are looked at.
    size
        Bytes to read.
    start
        Offset of the first frame.
    """

    def __init__(self, file: BinaryIO, size: int, start: int = 0) -> None:
        self._file = file
        self._size = size
        self._at = start

    def _read(self, offset: int) -> Frame | None:
        if offset + HEAD_SIZE > self._size:
            return None
        self._file.seek(offset)
        head = self._file.read(HEAD_SIZE)
        if len(head) < HEAD_SIZE or head[:4] != MAGIC:
            return None
        length = int.from_bytes(head[4:8], "little")
        if length > MAX_PAYLOAD or offset + HEAD_SIZE + length > self._size:
            return None
        payload = self._file.read(length)
        checked = _check(head, payload)
        return Frame(offset, *checked, payload) if checked else None

    def _resync(self, offset: int) -> Frame | None:
        """Return the next valid frame behind a bad one."""
        window = 1 << 20
        while offset < self._size:
            self._file.seek(offset)
            block = self._file.read(min(window, self._size - offset))
            if len(block) < len(MAGIC):
                return None
            found = block.find(MAGIC)
            while found >= 0:
                frame = self._read(offset + found)
                if frame is not None:
                    return frame
                found = block.find(MAGIC, found + 1)
            offset += max(len(block) - len(MAGIC) + 1, 1)
        return None

    def __iter__(self) -> Iterator[Frame | Damage]:
        while self._at < self._size:
            frame = self._read(self._at)
            if frame is None:
                bad = self._at
                frame = self._resync(bad + 1)
                if frame is None:
                    yield Damage(bad, self._size, tail=True)
                    return
                yield Damage(bad, frame.offset, tail=False)
            self._at = frame.end
            yield frame


def scan(file: BinaryIO, size: int, start: int = 0) -> Iterator[Frame | Damage]:
    """Yield the frames of `file` in ``[start, size)``, and what is damaged between them."""
    return iter(FrameReader(file, size, start))


def decode_frames(data: bytes, start: int = 0) -> Iterator[Frame | Damage]:
    """Yield the frames of a block of bytes."""
    import io  # noqa: PLC0415 - built in, costs nothing

    return scan(io.BytesIO(data), len(data), start)
