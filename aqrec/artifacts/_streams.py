"""Compression of whole artifacts, streaming in bounded memory."""

from __future__ import annotations

import io
from contextlib import contextmanager
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Generator

    from typing_extensions import Buffer


class _Deflating(io.RawIOBase):
    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        with PickleBuffer(data).raw() as view:
            self._stream.write(view)
            return len(view)


@contextmanager
def compressing(file: io.RawIOBase, compression: str) -> Generator[BinaryIO]:
    """Give a file whose writes arrive compressed in ``file``; the end of the block completes them."""
    stream = pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), compression)
    yield cast("BinaryIO", _Deflating(stream))
    stream.close()


def decompressing(file: BinaryIO, compression: str) -> BinaryIO:
    """Give a file that reads as what was written through `compressing`."""
    stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), compression)
    return cast("BinaryIO", io.BufferedReader(stream, 1 << 17))
