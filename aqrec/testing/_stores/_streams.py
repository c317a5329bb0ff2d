"""Streams: what the callbacks get, what becomes of their errors, and how much memory they take."""

from __future__ import annotations

import array
import asyncio
import contextlib
import io
import pickle
import threading
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import pytest

from aqrec.errors import StorageError

from ._base import StoreHooks, keys_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.stores import Store

__all__ = ["StreamTests"]

PIECE = 1024 * 1024
TIMES = 3
"""How often the memory a stream may take goes into the object that is streamed."""


class StreamTests(StoreHooks):
    """What `put_stream` and `get_stream` do."""

    @pytest.mark.asyncio
    async def test_what_is_written_is_stored_whole(self, store: Store) -> None:
        """And the callback's result is returned."""

        def write(file: BinaryIO) -> str:
            assert [file.write(piece) for piece in (b"one", b"", b"three")] == [3, 0, 5]
            file.flush()
            return "result"

        assert await store.put_stream("folder/key", write) == "result"
        assert await self.raw_get(store, "folder/key") == b"onethree"

    @pytest.mark.asyncio
    async def test_nothing_written_is_an_empty_object(self, store: Store) -> None:
        """A callback need not write."""
        assert await store.put_stream("key", lambda file: file.tell()) == 0
        assert await self.raw_get(store, "key") == b""

    @pytest.mark.asyncio
    async def test_a_stream_replaces_an_older_object(self, store: Store) -> None:
        """Longer or shorter."""
        for data in (b"short", b"a much longer one", b""):
            await store.put_stream("key", _writer(data))
            assert await self.raw_get(store, "key") == data

    @pytest.mark.asyncio
    async def test_anything_with_contiguous_bytes_can_be_written(self, store: Store) -> None:
        """Items of several bytes, several dimensions, and views with nothing in them."""
        numbers = array.array("i", range(12))
        table = memoryview(numbers).cast("B").cast("i", (3, 4))
        empty = memoryview(array.array("d"))

        def write(file: Any) -> list[int]:
            pieces = (b"12", bytearray(b"34"), memoryview(b"56"), numbers, table, empty)
            return [file.write(piece) for piece in pieces]

        assert await store.put_stream("key", write) == [2, 2, 2, 48, 48, 0]
        assert await self.raw_get(store, "key") == b"123456" + numbers.tobytes() * 2

    @pytest.mark.asyncio
    async def test_the_written_file_only_goes_forward(self, store: Store) -> None:
        """It can be written, and asked how far it is; neither read nor moved."""

        def write(file: BinaryIO) -> None:
            assert (file.writable(), file.readable(), file.seekable()) == (True, False, False)
            assert not file.closed
            file.write(b"12345")
            assert file.tell() == 5
            for call in (file.read, lambda: file.seek(0), lambda: file.truncate(0)):
                with pytest.raises(OSError):  # noqa: PT011 - io.UnsupportedOperation has no fixed text
                    call()
            file.write(b"6")

        await store.put_stream("key", write)
        assert await self.raw_get(store, "key") == b"123456"

    @pytest.mark.asyncio
    async def test_a_callback_may_close_the_file(self, store: Store) -> None:
        """As libraries do that are given a file."""

        def write(file: BinaryIO) -> None:
            with file:
                file.write(b"1")

        def read(file: BinaryIO) -> bytes:
            with file:
                return file.read()

        await store.put_stream("key", write)
        assert await store.get_stream("key", read) == b"1"

    @pytest.mark.asyncio
    async def test_libraries_can_use_the_files(self, store: Store) -> None:
        """Pickle, zip and text, there and back."""
        value = {"list": list(range(1000)), "blob": b"x" * 300_000}

        def write_zip(file: BinaryIO) -> None:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("member", b"y" * 1000)

        def write_text(file: BinaryIO) -> None:
            with io.TextIOWrapper(file, encoding="utf-8") as text:
                text.writelines(f"line {number}\n" for number in range(5000))

        def read_zip(file: BinaryIO) -> bytes:
            with zipfile.ZipFile(file) as archive:
                return archive.read("member")

        await store.put_stream("pickle", lambda file: pickle.dump(value, file))
        await store.put_stream("zip", write_zip)
        await store.put_stream("text", write_text)
        assert await store.get_stream("pickle", pickle.load) == value
        assert await store.get_stream("zip", read_zip) == b"y" * 1000
        lines = await store.get_stream("text", list)
        assert lines == [b"line %d\n" % number for number in range(5000)]

    @pytest.mark.asyncio
    async def test_the_read_file_can_be_moved_and_not_written(self, store: Store) -> None:
        """It seeks, tells, and fills what it is asked to fill."""
        data = bytes(range(256)) * 4096
        await self.raw_put(store, "key", data)

        def read(file: Any) -> None:
            assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
            assert file.read(10) == data[:10]
            assert file.tell() == 10
            assert file.seek(1000) == 1000
            assert file.read(300_001) == data[1000:301_001]
            assert file.seek(-5, io.SEEK_CUR) == 300_996
            target = bytearray(700_000)
            assert file.readinto(target) == 700_000
            assert target == data[300_996:1_000_996]
            assert file.seek(-10, io.SEEK_END) == len(data) - 10
            assert file.read(100) == data[-10:]
            assert file.read(1) == b""
            file.seek(0)
            assert file.readline() == data[: data.index(b"\n") + 1]
            assert file.peek(1)[:1] == data[data.index(b"\n") + 1 :][:1]
            assert file.read() == data[data.index(b"\n") + 1 :]
            with pytest.raises(OSError):  # noqa: PT011 - io.UnsupportedOperation has no fixed text
                file.write(b"x")

        await store.get_stream("key", read)
        assert await self.raw_get(store, "key") == data

    @pytest.mark.asyncio
    async def test_callbacks_run_beside_the_loop(self, store: Store) -> None:
        """In another thread, while the loop goes on."""
        await self.raw_put(store, "key", b"1")
        loop = asyncio.get_running_loop()

        def meet_loop(_: BinaryIO) -> int:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(5)
            return threading.get_ident()

        assert await store.put_stream("key", meet_loop) != threading.get_ident()
        assert await store.get_stream("key", meet_loop) != threading.get_ident()

    @pytest.mark.asyncio
    async def test_an_unfinished_object_is_nowhere_to_be_seen(self, store: Store) -> None:
        """While `write` runs, readers have the old object, and listings no new name."""
        await self.raw_put(store, "old", b"old")
        half, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def write(file: BinaryIO) -> None:
            file.write(b"x" * 3_000_000)
            loop.call_soon_threadsafe(half.set)
            assert go_on.wait(60)
            file.write(b"y")

        for key in ("old", "new/object"):
            half.clear()
            go_on.clear()
            task = asyncio.create_task(store.put_stream(key, write))
            try:
                await half.wait()
                before = await self.raw_get(store, key)
                listed = await keys_below(store)
                children = await store.list_dir()
            finally:
                go_on.set()
            await task
            assert before == (b"old" if key == "old" else None)
            assert listed == ["old"]
            assert ([info.key for info in children[0]], children[1]) == (["old"], [])
            assert await self.raw_get(store, key) == b"x" * 3_000_000 + b"y"

    @pytest.mark.asyncio
    async def test_a_callback_that_raises_leaves_nothing(self, store: Store) -> None:
        """Its error comes out as it is, and the old object stays."""
        await self.raw_put(store, "old", b"old")
        for error in (ValueError("bad"), OSError(28, "not the store's"), KeyError("x"), _SevereError()):
            for size in (0, 10, 2_000_000):
                for key in ("old", "new/object"):
                    with pytest.raises(type(error)) as caught:
                        await store.put_stream(key, _writer(b"x" * size, error))
                    assert caught.value is error
                    assert await self.raw_get(store, "old") == b"old"
                    assert await self.raw_list(store) == {"old"}
        assert await keys_below(store) == ["old"]
        assert await store.list_dir() == ([await store.head("old")], [])

    @pytest.mark.asyncio
    async def test_a_reading_callback_may_raise(self, store: Store) -> None:
        """Its error comes out as it is."""
        await self.raw_put(store, "key", b"1")
        for error in (ValueError("bad"), OSError(5, "not the store's"), KeyError("x"), _SevereError()):
            with pytest.raises(type(error)) as caught:
                await store.get_stream("key", _raiser(error))
            assert caught.value is error

    @pytest.mark.asyncio
    async def test_a_reader_keeps_the_version_it_began_with(self, store: Store) -> None:
        """Though the object is replaced and deleted while it reads; or it is told."""
        old = bytes(range(256)) * (self.stream_memory // 256)
        await self.raw_put(store, "key", old)
        half, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def read(file: BinaryIO) -> bytes:
            first = file.read(1000)
            loop.call_soon_threadsafe(half.set)
            assert go_on.wait(60)
            return first + file.read()

        task = asyncio.create_task(store.get_stream("key", read))
        try:
            await half.wait()
            await store.put("key", b"new")
            await store.put_stream("key", _writer(b"newer"))
            await store.delete(["key"])
        finally:
            go_on.set()
        if self.keeps_replaced:
            assert await task == old
        else:
            with contextlib.suppress(StorageError):
                assert await task == old

    @pytest.mark.asyncio
    async def test_large_objects_pass_in_bounded_memory(self, store: Store) -> None:
        """Writing and reading take a small part of the object's size."""
        if not self.bounded_streams:
            return
        piece = bytes(PIECE)
        pieces = TIMES * self.stream_memory // PIECE

        def write(file: BinaryIO) -> None:
            file.writelines(piece for _ in range(pieces))

        def read(file: BinaryIO) -> int:
            size = 0
            while got := file.read(PIECE):
                size += len(got)
            return size

        tracemalloc.start()
        try:
            await store.put_stream("large", write)
            written = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            assert await store.get_stream("large", read) == PIECE * pieces
            was_read = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert written < self.stream_memory
        assert was_read < self.stream_memory
        await store.delete(["large"])


class _SevereError(BaseException):
    """Not an `Exception`."""


def _writer(data: bytes, error: BaseException | None = None) -> Callable[[BinaryIO], int]:
    def write(file: BinaryIO) -> int:
        written = file.write(data)
        if error is not None:
            raise error
        return written

    return write


def _raiser(error: BaseException) -> Callable[[BinaryIO], NoReturn]:
    def read(file: BinaryIO) -> NoReturn:
        file.read(1)
        raise error

    return read
