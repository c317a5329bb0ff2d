"""The files of streaming calls copy nothing."""

import ctypes
import io
import threading
from typing import Any

import pytest

from aqrec.errors import ClosedError
from aqrec.stores._files import READ_BUFFER, SinkFile, SourceFile


def address(buffer: Any) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@pytest.mark.parametrize("size", [1, 100, READ_BUFFER, 10 * READ_BUFFER])
def test_written_bytes_are_handed_on_where_they_are(size: int) -> None:
    """Whole, and as a flat view of the caller's memory."""
    seen: list[tuple[int, int, str]] = []
    file = SinkFile(lambda data: seen.append((address(data), data.nbytes, data.format)), threading.Event())
    data = bytearray(size * 8)
    assert file.write(memoryview(data).cast("d")) == size * 8
    assert seen == [(address(data), size * 8, "B")]
    assert file.tell() == size * 8


def test_large_reads_go_straight_into_the_callers_memory() -> None:
    asked: list[tuple[int, int]] = []

    class Raw(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            asked.append((address(buffer), len(buffer)))
            return len(buffer)

    file = SourceFile(Raw(), threading.Event())
    target = bytearray(10 * READ_BUFFER)
    assert file.readinto(target) == len(target)
    assert asked == [(address(target), len(target))]


def test_a_failed_write_is_remembered() -> None:
    """A callback that goes on all the same must not store an object with a hole."""

    def send(data: memoryview) -> None:
        if data == b"bad":
            raise OSError("failed")

    file = SinkFile(send)
    file.write(b"good")
    file.check()
    with pytest.raises(OSError, match="failed"):
        file.write(b"bad")
    with pytest.raises(ClosedError):
        file.write(b"good")
    with pytest.raises(OSError, match="failed"):
        file.check()
    assert file.tell() == 4


def test_what_cannot_be_written_is_no_failure_of_the_file() -> None:
    file = SinkFile(lambda data: None)
    with pytest.raises(TypeError):
        file.write("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        file.write(memoryview(b"12345678")[::2])
    file.write(b"good")
    file.check()


def test_every_read_asks_whether_to_stop() -> None:
    """Though its bytes lie in the buffer already."""
    stop = threading.Event()
    file = SourceFile(io.BytesIO(b"line\n" * 100), stop)  # type: ignore[arg-type]
    assert file.read(1) == b"l"
    stop.set()
    for read in (
        file.read,
        lambda: file.read(1),
        lambda: file.read1(1),
        lambda: file.readinto(bytearray(1)),
        lambda: file.readinto1(bytearray(1)),
        file.readline,
        file.readlines,
        file.peek,
        lambda: next(file),
    ):
        with pytest.raises(ClosedError):
            read()
