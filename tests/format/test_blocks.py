"""Checksums of blocks: reads give the bytes that were written, or say that they are others."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import CorruptError
from aqrec.format._blocks import BlockCheck, Blocks, BlockWriter, CheckedFile

_FOOTER = b"the footer"


def written(data: bytes, block: int, piece: int) -> tuple[bytes, Blocks]:
    file = io.BytesIO()
    writer = BlockWriter(file, block)
    for at in range(0, len(data), piece):
        writer.write(data[at : at + piece])
    blocks = writer.finish()
    writer.write(_FOOTER)
    assert writer.footer.size == len(_FOOTER)
    return file.getvalue(), blocks


PLACES = st.lists(st.tuples(st.integers(0, 70), st.integers(-1, 70)), max_size=6)


@given(st.binary(max_size=60), st.integers(1, 20), st.integers(1, 9), PLACES)
def test_reads_are_those_of_the_file(
    data: bytes, block: int, piece: int, places: list[tuple[int, int]]
) -> None:
    stored, blocks = written(data, block, piece)
    plain, checked = io.BytesIO(stored), CheckedFile(io.BytesIO(stored), blocks)
    for at, size in places:
        assert checked.seek(at) == plain.seek(at)
        assert checked.read(size) == plain.read(size)
        if at <= len(stored):
            assert checked.tell() == plain.tell()
    BlockCheck(memoryview(stored), blocks).check(0, len(data))


@given(st.binary(min_size=1, max_size=60), st.integers(1, 20), st.data())
def test_a_changed_byte_is_told_by_whoever_reads_it(data: bytes, block: int, chance: st.DataObject) -> None:
    stored, blocks = written(data, block, 7)
    at = chance.draw(st.integers(0, len(data) - 1))
    changed = bytearray(stored)
    changed[at] ^= 1 << chance.draw(st.integers(0, 7))
    file = CheckedFile(io.BytesIO(bytes(changed)), blocks)
    file.seek(at)
    with pytest.raises(CorruptError, match=str(at // block * block)):
        file.read(1)
    with pytest.raises(CorruptError):
        BlockCheck(memoryview(changed), blocks).check_all()
    file.seek(len(data))
    assert file.read() == _FOOTER
    other = (at // block + 1) * block
    file.seek(other)
    assert file.read(1) == stored[other : other + 1]
