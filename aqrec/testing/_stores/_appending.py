"""Growing objects."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from aqrec.errors import AlreadyExistsError, ClosedError

from ._base import StoreHooks, collect

if TYPE_CHECKING:
    from aqrec.stores import Appender, Store

__all__ = ["AppendingTests"]


class AppendingTests(StoreHooks):
    """What `open_append` gives; where a store cannot append, that it says so."""

    @pytest.mark.asyncio
    async def test_a_store_that_cannot_append_says_so(self, store: Store) -> None:
        """By its property, and by an error that creates nothing."""
        if not store.supports_append:
            with pytest.raises(NotImplementedError):
                await store.open_append("journal/1")
            assert await self.raw_list(store) == set()

    @pytest.mark.asyncio
    async def test_a_growing_object_is_there_from_the_beginning(self, store: Store) -> None:
        """Empty, under its key, in listings too."""
        if not store.supports_append:
            return
        appender = await store.open_append("journal/w/1")
        assert await self.raw_list(store) == {"journal/w/1"}
        assert await self.raw_get(store, "journal/w/1") == b""
        assert [(info.key, info.size) for info in await collect(store)] == [("journal/w/1", 0)]
        await asyncio.to_thread(appender.close)
        assert await self.raw_list(store) == {"journal/w/1"}

    @pytest.mark.asyncio
    async def test_each_write_is_visible_at_once(self, store: Store) -> None:
        """Without a sync, to other stores, in bytes, ranges, sizes and streams."""
        if not store.supports_append:
            return
        other = await self.reopen(store)
        appender = await store.open_append("journal/1")
        expected = b""
        for piece in (b"first,", b"", b"second,", b"x" * 100_000, b"last"):
            await asyncio.to_thread(appender.write, piece)
            expected += piece
            assert await other.get("journal/1") == expected
            assert await other.get("journal/1", start=3, end=9) == expected[3:9]
            assert (await other.head("journal/1")).size == len(expected)
            assert await other.get_stream("journal/1", lambda file: file.read()) == expected
        await asyncio.to_thread(appender.sync)
        await asyncio.to_thread(appender.close)
        assert await self.raw_get(store, "journal/1") == expected
        await other.aclose()

    @pytest.mark.asyncio
    async def test_large_writes_are_taken_whole(self, store: Store) -> None:
        """However many pieces the system makes of them."""
        if not store.supports_append:
            return
        data = bytes(range(256)) * (40 * 1024)
        appender = await store.open_append("journal/1")
        await asyncio.to_thread(appender.write, data)
        await asyncio.to_thread(appender.write, b"end")
        await asyncio.to_thread(appender.close)
        assert await self.raw_get(store, "journal/1") == data + b"end"

    @pytest.mark.asyncio
    async def test_a_taken_key_is_never_appended_to(self, store: Store) -> None:
        """Neither an object's nor another appender's, and create sees growing objects."""
        if not store.supports_append:
            return
        await store.put("journal/1", b"old")
        appender = await store.open_append("journal/2")
        await asyncio.to_thread(appender.write, b"mine")
        for key, expected in (("journal/1", b"old"), ("journal/2", b"mine")):
            with pytest.raises(AlreadyExistsError) as caught:
                await store.open_append(key)
            assert key in str(caught.value)
            assert store.url in str(caught.value)
            with pytest.raises(AlreadyExistsError):
                await store.create(key, b"created")
            assert await self.raw_get(store, key) == expected
        await asyncio.to_thread(appender.close)
        with pytest.raises(AlreadyExistsError):
            await store.open_append("journal/2")

    @pytest.mark.asyncio
    async def test_of_racing_openers_one_wins(self, store: Store) -> None:
        """Through one store object and several."""
        if not store.supports_append:
            return
        other = await self.reopen(store)
        for number in range(self.race_rounds):
            opened = await asyncio.gather(
                *((store, other)[racer % 2].open_append(f"race/{number}") for racer in range(6)),
                return_exceptions=True,
            )
            errors = [one for one in opened if isinstance(one, BaseException)]
            assert [type(error) for error in errors] == [AlreadyExistsError] * 5
            for one in opened:
                if not isinstance(one, BaseException):
                    await asyncio.to_thread(one.close)
        await other.aclose()

    @pytest.mark.asyncio
    async def test_a_closed_appender_takes_nothing(self, store: Store) -> None:
        """Closing twice is fine, and what was written stays."""
        if not store.supports_append:
            return
        appender = await store.open_append("journal/1")
        await asyncio.to_thread(appender.write, b"kept")
        await asyncio.to_thread(appender.close)
        await asyncio.to_thread(appender.close)
        with pytest.raises(ClosedError):
            await asyncio.to_thread(appender.write, b"lost")
        with pytest.raises(ClosedError):
            await asyncio.to_thread(appender.sync)
        assert await self.raw_get(store, "journal/1") == b"kept"

    @pytest.mark.asyncio
    async def test_closing_the_store_ends_its_appenders(self, store: Store) -> None:
        """What was written stays."""
        if not store.supports_append:
            return
        appender = await store.open_append("journal/1")
        await asyncio.to_thread(appender.write, b"kept")
        await store.aclose()
        with pytest.raises(ClosedError):
            await asyncio.to_thread(appender.write, b"lost")
        with pytest.raises(ClosedError):
            await asyncio.to_thread(appender.sync)
        await asyncio.to_thread(appender.close)
        assert await self.raw_get(store, "journal/1") == b"kept"

    @pytest.mark.asyncio
    async def test_a_thread_of_its_own_may_write(self, store: Store) -> None:
        """While the event loop reads."""
        if not store.supports_append:
            return
        appender = await store.open_append("journal/1")
        thread = threading.Thread(target=_write_lines, args=(appender, 2000))
        thread.start()
        sizes: list[int] = []
        while thread.is_alive():
            sizes.append(len(await store.get("journal/1")))
        thread.join()
        await asyncio.to_thread(appender.close)
        assert sizes == sorted(sizes)
        assert await self.raw_get(store, "journal/1") == b"".join(b"line %d\n" % n for n in range(2000))


def _write_lines(appender: Appender, number: int) -> None:
    for line in range(number):
        appender.write(b"line %d\n" % line)
