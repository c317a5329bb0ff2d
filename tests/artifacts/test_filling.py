"""Large reads from plain files go by two threads: the same bytes, the same checksums, the same errors."""

import errno
import gzip
import io
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqrec.artifacts import TrustPolicy, read_object, write_object
from aqrec.artifacts import _filling as filling
from aqrec.errors import ClosedError, CorruptError
from aqrec.stores._files import SourceFile

CHUNK = 1000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "SMALLEST", 2 * CHUNK)
    monkeypatch.setattr(filling, "CHUNK", CHUNK)


def fill(file: BinaryIO, room: int) -> tuple[bytes, str]:
    target, hashing = bytearray(room), xxhash.xxh3_128()
    count = filling.fill_hashed(file, memoryview(target), hashing.update)
    return bytes(target[:count]), hashing.hexdigest()


@given(
    size=st.integers(0, 12 * CHUNK), start=st.integers(0, 3 * CHUNK), room=st.integers(2 * CHUNK, 9 * CHUNK)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("buffering", [0, 64])
def test_reads_and_hashes_what_is_there(
    size: int, start: int, room: int, buffering: int, tmp_path: Path
) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb", buffering=buffering) as file:
        file.read(start)
        wanted = data[start : start + room]
        assert fill(file, room) == (wanted, xxhash.xxh3_128(wanted).hexdigest())
        assert file.read() == data[start + room :]


def test_two_threads_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(8 * CHUNK))
    both, real = threading.Barrier(2, timeout=30), os.preadv
    waited: set[int] = set()

    def preadv(*args: Any) -> int:
        if threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            both.wait()
        return real(*args)

    monkeypatch.setattr(os, "preadv", preadv)
    with (tmp_path / "a").open("rb") as file:
        assert len(fill(file, 8 * CHUNK)[0]) == 8 * CHUNK


def test_one_thread_does_it_where_no_other_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that is exiting."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    data = os.urandom(8 * CHUNK)
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb") as file:
        assert fill(file, len(data))[0] == data


@pytest.mark.parametrize("wrap", [lambda file: file, io.BufferedReader], ids=["bare", "buffered"])
def test_what_only_stands_on_a_file_is_read_as_it_wants(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    """A file's number belongs to its compressed bytes here."""
    with (tmp_path / "a").open("wb") as file:
        packed = gzip.GzipFile(fileobj=file, mode="wb")
        digest = write_object(cast("BinaryIO", packed), bytes(20 * CHUNK), codec="pickle")
        packed.close()
    with (tmp_path / "a").open("rb") as file, gzip.GzipFile(fileobj=file) as unpacked:
        found = read_object(
            wrap(unpacked), codec="pickle", checksum=digest.checksum, trust=TrustPolicy("trusted")
        )
    assert found == bytes(20 * CHUNK)


def test_damage_and_a_lost_end_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aqrec.artifacts._objects.VERIFY_FIRST", 0)
    path = tmp_path / "a"
    with path.open("wb") as file:
        digest = write_object(file, os.urandom(20 * CHUNK), codec="pickle")
    data = bytearray(path.read_bytes())
    data[7 * CHUNK] ^= 1
    for stored in (data, data[: 9 * CHUNK]):
        path.write_bytes(stored)
        with path.open("rb") as file, pytest.raises(CorruptError):
            read_object(
                file,
                codec="pickle",
                size=digest.size,
                checksum=digest.checksum,
                trust=TrustPolicy("trusted"),
            )


def test_errors_of_either_thread_reach_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(pickle.dumps(bytes(9 * CHUNK), protocol=5))
    real = os.preadv

    def preadv(fd: int, buffers: Any, offset: int) -> int:
        if offset > 5 * CHUNK:
            raise OSError(errno.EIO, "bad sector")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr("aqrec.artifacts._objects.VERIFY_FIRST", 0)
    with path.open("rb") as file, pytest.raises(OSError, match="bad sector"):
        read_object(file, codec="pickle", trust=TrustPolicy("trusted"))


def test_a_stopped_file_of_a_store_ends_the_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(50 * CHUNK))
    stopped, real = threading.Event(), os.preadv

    def preadv(fd: int, buffers: Any, offset: int) -> int:
        if offset > 5 * CHUNK:
            stopped.set()
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    with (
        SourceFile(io.FileIO(tmp_path / "a"), stopped) as file,
        pytest.raises(ClosedError, match="cancelled"),
    ):
        fill(cast("BinaryIO", file), 50 * CHUNK)
