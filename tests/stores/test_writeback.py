"""Large files are on their way to the disk before their sync."""

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from aqrec.stores import LocalStore
from aqrec.stores import _writeback as writeback

STEP = writeback.STEP


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Ranges that were to be written out, until the sync."""
    found: list[tuple[int, int]] = []
    real_write_out, real_sync = writeback._sync_file_range(), os.fdatasync
    assert real_write_out is not None
    synced = False

    def write_out(fd: int, start: int, size: int, flags: int) -> int:
        assert not synced
        found.append((start, start + size))
        result: int = real_write_out(fd, start, size, flags)
        assert result == 0
        return result

    def sync(fd: int) -> None:
        nonlocal synced
        real_sync(fd)
        synced = True

    monkeypatch.setattr(writeback, "_sync_file_range", lambda: write_out)
    monkeypatch.setattr(os, "fdatasync", sync)
    return found


@pytest.mark.parametrize("piece", [STEP // 3, 3 * STEP])
async def test_all_but_the_end_is_ordered_before_the_sync(
    piece: int, ordered: list[tuple[int, int]], tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    await store.put_stream("a", lambda file: [file.write(bytes(piece)) for _ in range(3 * STEP // piece + 1)])
    size = (tmp_path / "a").stat().st_size
    begins, ends = zip(*ordered, strict=True)
    assert begins == (0, *ends[:-1])
    assert size - ends[-1] < STEP
    await store.aclose()


async def test_small_objects_cost_no_call(ordered: list[tuple[int, int]], tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await store.put("a", bytes(STEP - 1))
    assert ordered == []
    await store.aclose()


async def test_a_system_without_the_call_does_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def library(_: Any) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", library)
    writeback._sync_file_range.cache_clear()
    store = LocalStore(tmp_path)
    await store.put("a", b"x" * 2 * STEP)
    assert await store.get("a") == b"x" * 2 * STEP
    await store.aclose()
    writeback._sync_file_range.cache_clear()
