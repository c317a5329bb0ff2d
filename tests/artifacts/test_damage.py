"""Damaged bytes are noticed, whatever they decode to; a failing file shows its own error."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.artifacts import Codec, Digest, _objects, copy_file, read_object, register_codec, write_object
from aqrec.errors import CorruptError, LoadObjectError
from tests.artifacts.helpers import RESTRICTED, load, same, save

OBJECTS: dict[str, tuple[str, Any]] = {
    "pickle": ("pickle", {"a": [1, 2.5, "text"], "b": np.arange(6.0)}),
    "frame": ("pickle", pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})),
    "npy": ("npy", np.arange(6).reshape(2, 3)),
    "npz": ("npz", {"a": np.arange(3)}),
    "json": ("json", {"a": [1, None, "ä"]}),
    "yaml": ("yaml", {"a": [1, None, "ä"]}),
    "text": ("text", "some text ä"),
    "html": ("html", "<p>text</p>"),
    "bytes": ("bytes", bytes(range(40))),
    "png": ("png", b"no picture at all"),
    "parquet": ("parquet", pd.DataFrame({"x": [1.0, 2.0]})),
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_no_changed_byte_goes_unnoticed(name: str, compression: str | None) -> None:
    codec, obj = OBJECTS[name]
    data, digest = save(obj, codec, compression=compression)
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 0x10
        with pytest.raises(CorruptError, match="checksum"):
            load(bytes(broken), codec, digest, compression=compression)


STREAMED = {
    "pickle": {"a": [1, 2.5, "text"], "b": b"bytes" * 9, "c": {"d": (None, True)}},
    "npy": np.arange(6).reshape(2, 3),
    "json": {"a": [1, None, "ä"]},
    "text": "some text ä",
}


@pytest.mark.parametrize("codec", STREAMED)
@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_nor_when_it_is_decoded_before_all_is_read(
    codec: str, compression: str | None, bit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large artifacts are: whatever the decoder makes of the bytes, the answer is CorruptError."""
    monkeypatch.setattr(_objects, "VERIFY_FIRST", -1)
    data, digest = save(STREAMED[codec], codec, compression=compression)
    assert same(load(data, codec, digest, compression=compression), STREAMED[codec])
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= bit
        with pytest.raises(CorruptError, match="checksum"):
            load(bytes(broken), codec, digest, compression=compression)


@pytest.mark.parametrize("at_once", [8 << 20, -1])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_cut_or_grown_file_is_corrupt(name: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_objects, "VERIFY_FIRST", at_once)
    codec, obj = OBJECTS[name]
    data, digest = save(obj, codec)
    for broken in (b"", data[:-1], data[: len(data) // 2], data + b"x", data * 2):
        with pytest.raises(CorruptError, match="bytes"):
            load(broken, codec, digest)


def test_a_large_pickle_with_a_damaged_array_is_not_returned() -> None:
    data, digest = save(np.zeros(2_000_000), "pickle")
    assert digest.size > _objects.VERIFY_FIRST
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    with pytest.raises(CorruptError):
        load(bytes(broken), "pickle", digest)


def test_damage_that_asks_for_a_forbidden_global_is_damage() -> None:
    data, digest = save(np.zeros(2_000_000), "pickle")
    broken = data.replace(b"_frombuffer", b"_frombuffes")
    with pytest.raises(CorruptError):
        load(broken, "pickle", digest, trust=RESTRICTED)


@pytest.mark.parametrize(
    ("codec", "data"), [("pickle", b"junk"), ("json", b"{"), ("parquet", b"PAR"), ("text", b"\xff")]
)
def test_sound_bytes_that_are_no_such_object_cannot_be_loaded(codec: str, data: bytes) -> None:
    digest = copy_file(io.BytesIO(data), io.BytesIO())
    with pytest.raises(LoadObjectError, match=f"ic.{codec}.*codec '{codec}'") as caught:
        load(data, codec, digest, name=f"ic.{codec}")
    assert caught.value.__cause__ is not None


def test_an_unknown_kind_of_checksum_is_not_ignored() -> None:
    with pytest.raises(LoadObjectError, match="sha256:00"):
        load(b"", "bytes", Digest(0, "sha256:00"))


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(LoadObjectError, match="register_codec"):
        load(b"", "hdf5")


class Failing(io.BytesIO):
    """Fails when it has passed on so many bytes."""

    def __init__(self, data: bytes = b"", *, after: int) -> None:
        super().__init__(data)
        self.left = after
        self.error = ConnectionResetError("the line is dead")

    def write(self, data: Any, /) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise self.error
        return super().write(data)

    def readinto(self, buffer: Any, /) -> int:
        self.left -= len(buffer)
        if self.left < 0:
            raise self.error
        return super().readinto(buffer)


FRAME = pd.DataFrame({"x": np.arange(300_000.0), "y": "text"})


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize(
    ("codec", "obj"), [("pickle", FRAME), ("parquet", FRAME), ("npz", [np.arange(90_000)])]
)
def test_the_error_of_a_file_that_cannot_be_written_is_the_callers(
    codec: str, obj: Any, compression: str | None
) -> None:
    file = Failing(after=10_000)
    with pytest.raises(ConnectionResetError) as caught:
        write_object(file, obj, codec=codec, compression=compression)
    assert caught.value is file.error


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize(
    ("codec", "obj"), [("pickle", FRAME), ("parquet", FRAME), ("npz", [np.arange(90_000)])]
)
def test_the_error_of_a_file_that_cannot_be_read_is_the_callers(
    codec: str, obj: Any, compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_objects, "VERIFY_FIRST", -1)
    data, digest = save(obj, codec, compression=compression)
    file = Failing(data, after=300_000)
    file.left = min(file.left, len(data) // 2)
    with pytest.raises(ConnectionResetError) as caught:
        read_object(file, codec=codec, compression=compression, size=digest.size, checksum=digest.checksum)
    assert caught.value is file.error


class Hesitant(io.RawIOBase):
    """Takes and gives a few bytes at a time, and cannot seek."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(data[:999])
        self.data += part
        return len(part)

    def readinto(self, buffer: Any, /) -> int:
        part = self.data[: min(len(buffer), 777)]
        buffer[: len(part)] = part
        del self.data[: len(part)]
        return len(part)


@pytest.mark.parametrize("at_once", [8 << 20, -1])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_file_may_move_less_than_asked_and_be_unable_to_seek(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_objects, "VERIFY_FIRST", at_once)
    codec, obj = OBJECTS[name]
    file: Any = Hesitant()
    digest = write_object(file, obj, codec=codec)
    assert bytes(file.data) == save(obj, codec)[0]
    back = read_object(file, codec=codec, size=digest.size, checksum=digest.checksum)
    assert same(back, obj)


class Nonblocking(Hesitant):
    def write(self, data: Any, /) -> Any:
        return None

    def readinto(self, buffer: Any, /) -> Any:
        return None


def test_a_file_in_non_blocking_mode_is_refused() -> None:
    file: Any = Nonblocking()
    with pytest.raises(BlockingIOError):
        write_object(file, b"x", codec="bytes")
    with pytest.raises(BlockingIOError):
        read_object(file, codec="bytes")
    with pytest.raises(BlockingIOError):
        copy_file(file, io.BytesIO())


def test_objects_are_written_and_read_from_the_position_of_the_file() -> None:
    file = io.BytesIO(b"head")
    file.seek(4)
    digest = write_object(file, OBJECTS["parquet"][1], codec="parquet")
    file.seek(4)
    back = read_object(file, codec="parquet", size=digest.size, checksum=digest.checksum)
    assert same(back, OBJECTS["parquet"][1])


@given(st.binary(max_size=2_000), st.integers(0, 5))
def test_copies_are_equal_and_know_their_digest(data: bytes, skipped: int) -> None:
    source, target = io.BytesIO(data), io.BytesIO()
    source.seek(skipped)
    digest = copy_file(source, target)
    assert target.getvalue() == data[skipped:]
    assert digest == save(data[skipped:], "bytes")[1]


def test_a_copy_of_something_else_is_corrupt() -> None:
    digest = copy_file(io.BytesIO(b"right"), io.BytesIO())
    with pytest.raises(CorruptError, match=r"model\.bin"):
        copy_file(io.BytesIO(b"wrong"), io.BytesIO(), size=5, checksum=digest.checksum, name="model.bin")
    with pytest.raises(CorruptError, match="4 bytes"):
        copy_file(io.BytesIO(b"righ"), io.BytesIO(), size=5)


def test_the_checksum_is_xxh3() -> None:
    xxhash = pytest.importorskip("xxhash")
    assert (
        copy_file(io.BytesIO(b"abc"), io.BytesIO()).checksum
        == f"xxh3_128:{xxhash.xxh3_128_hexdigest(b'abc')}"
    )


def test_running_out_of_memory_is_not_called_damage() -> None:
    class Greedy(Codec):
        name = "greedy-test-codec"
        takes = "nothing"

        def accepts(self, obj: object) -> bool:
            return False

        def encode(self, obj: object) -> Any:
            self.refuse(obj)

        def decode(self, file: Any, trust: Any, /) -> object:
            raise MemoryError

    register_codec(Greedy(), replace=True)
    with pytest.raises(MemoryError):
        load(b"", "greedy-test-codec")
