"""A stream cut into parts, and parts read as one file."""

import io
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.artifacts import Digest
from aqrec.artifacts import _parts as parts
from aqrec.artifacts._parts import CuttingWriter, LimitedWriter, PartsReader, TooLargeError
from aqrec.errors import CorruptError

SIZE = 7
"""Of a part"""


class Part:
    """A part in memory."""

    def __init__(self, stored: list[bytes]) -> None:
        self.file = io.BytesIO()
        self.stored = stored

    def finish(self, digest: Digest) -> None:
        assert digest.size == len(self.file.getvalue())
        self.stored.append(self.file.getvalue())

    def abandon(self) -> None:
        self.file.close()


@given(st.lists(st.binary(max_size=3 * SIZE), max_size=6))
def test_every_part_but_the_last_is_full(writes: list[bytes]) -> None:
    """However the bytes arrive; no part is empty, unless there is nothing at all."""
    stored: list[bytes] = []
    writer = CuttingWriter(SIZE, lambda _: Part(stored))
    assert [writer.write(data) for data in writes] == [len(data) for data in writes]
    writer.finish()
    whole = b"".join(writes)
    assert b"".join(stored) == whole
    assert stored == ([whole[start : start + SIZE] for start in range(0, len(whole), SIZE)] or [b""])


@pytest.fixture(params=[1, 3, 64])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that are fetched at once: fewer, and more, than a part has."""
    size: int = request.param
    monkeypatch.setattr(parts, "BLOCK", size)
    return size


def opened(pieces: list[bytes], asked: list[tuple[int, int, int]] | None = None) -> io.BufferedReader:
    """Return parts as one file."""

    def fetch(part: int, start: int, end: int) -> Future[bytes]:
        if asked is not None:
            asked.append((part, start, end))
        future: Future[bytes] = Future()
        future.set_result(pieces[part][start:end])
        return future

    return io.BufferedReader(PartsReader([len(piece) for piece in pieces], fetch, "it"), 2)


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE, 3 * SIZE + 1])
def test_parts_read_as_their_whole(block: int, size: int) -> None:
    whole = bytes(range(size))
    with opened([whole[start : start + SIZE] for start in range(0, size, SIZE)] or [b""]) as file:
        assert file.read() == whole
        assert file.read() == b""


@given(
    st.lists(st.binary(max_size=9), max_size=5),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), max_size=12),
)
def test_any_place_can_be_read_at_any_time(pieces: list[bytes], reads: list[tuple[int, int]]) -> None:
    whole = b"".join(pieces)
    for size in (1, 3, 64):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parts, "BLOCK", size)
            with opened(pieces) as file:
                assert file.seek(0, io.SEEK_END) == len(whole)
                for offset, count in reads:
                    file.seek(offset)
                    assert file.read(count) == whole[offset : offset + count]


def test_reading_on_fetches_ahead_and_each_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BLOCK", 4)
    monkeypatch.setattr(parts, "AHEAD", 3)
    asked: list[tuple[int, int, int]] = []
    with opened([b"abcdef", b"ghij", b"klmnopqrst"], asked) as file:
        assert file.read(1) == b"a"
        assert asked == [(0, 0, 4), (0, 4, 6), (1, 0, 4), (2, 0, 4)]
        assert file.read() == b"bcdefghijklmnopqrst"
    assert asked == [(0, 0, 4), (0, 4, 6), (1, 0, 4), (2, 0, 4), (2, 4, 8), (2, 8, 10)]


def test_a_part_that_is_too_short_is_damage() -> None:
    def fetch(_part: int, start: int, end: int) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_result(bytes(end - start - 1))
        return future

    with PartsReader([10], fetch, "it") as file, pytest.raises(CorruptError, match="part 0 of it"):
        file.readinto(bytearray(10))


def test_one_byte_too_many_is_noticed_also_if_the_encoder_swallows_it(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        writer = LimitedWriter(file, 3)
        assert writer.write(b"abc") == 3
        writer.check()
        with pytest.raises(TooLargeError):
            writer.write(b"d")
        with pytest.raises(TooLargeError):
            writer.check()
