"""Cancelled calls: the whole effect or none, and nothing later."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from aqrec.errors import AlreadyExistsError, ClosedError, ObjectNotFoundError

from ._base import StoreHooks, keys_below

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aqrec.stores import Store

__all__ = ["CancellingTests"]

MOMENTS = 24
"""Calls are cancelled after this many different numbers of turns of the loop."""


class CancellingTests(StoreHooks):
    """What cancelling leaves behind."""

    @pytest.mark.asyncio
    async def test_a_cancelled_put_has_its_whole_effect_or_none(self, store: Store) -> None:
        """At whatever moment; a put that was not cancelled in time has it."""
        await self.raw_put(store, "key", b"0" * 1000)
        old = b"0" * 1000
        for moment in range(MOMENTS):
            new = b"%d" % moment * 10_000
            finished = await _cancelled_after(moment, store.put("key", new))
            stored = await self.raw_get(store, "key")
            assert stored in ({new} if finished else {old, new})
            assert await _settled(store, "key") == stored
            assert await self.raw_list(store) == {"key"}
            old = stored or b""

    @pytest.mark.asyncio
    async def test_a_cancelled_create_has_its_whole_effect_or_none(self, store: Store) -> None:
        """And its key is free or taken accordingly."""
        for moment in range(MOMENTS):
            key = f"head/{moment}"
            finished = await _cancelled_after(moment, store.create(key, b"first"))
            stored = await self.raw_get(store, key)
            assert stored in ({b"first"} if finished else {None, b"first"})
            assert await _settled(store, key) == stored
            if stored is None:
                await store.create(key, b"second")
            else:
                with pytest.raises(AlreadyExistsError):
                    await store.create(key, b"second")
        assert await self.raw_list(store) == {f"head/{moment}" for moment in range(MOMENTS)}

    @pytest.mark.asyncio
    async def test_a_cancelled_delete_has_its_whole_effect_or_none(self, store: Store) -> None:
        """On each of its objects."""
        for moment in range(MOMENTS):
            await self.raw_put(store, "key", b"1")
            finished = await _cancelled_after(moment, store.delete(["key"]))
            stored = await self.raw_get(store, "key")
            assert stored in ({None} if finished else {None, b"1"})
            assert await _settled(store, "key") == stored

    @pytest.mark.asyncio
    async def test_a_cancelled_read_leaves_nothing(self, store: Store) -> None:
        """The next call works, and nothing is changed."""
        for number in range(20):
            await self.raw_put(store, f"folder/{number}", b"1" * 10_000)
        before = await self.raw_list(store)
        for moment in range(MOMENTS):
            await asyncio.gather(
                _cancelled_after(moment, store.get("folder/1")),
                _cancelled_after(moment, store.head("folder/1")),
                _cancelled_after(moment, store.list_dir("folder")),
                _cancelled_after(moment, store.get_stream("folder/1", lambda file: file.read())),
                _cancelled_after(moment, keys_below(store)),
            )
            assert await store.get("folder/1") == b"1" * 10_000
        assert await self.raw_list(store) == before

    @pytest.mark.asyncio
    async def test_a_cancelled_put_stream_stops_its_callback_and_stores_nothing(self, store: Store) -> None:
        """The next write raises, the call returns after the callback, and the old object stays."""
        await self.raw_put(store, "old", b"old")
        for key in ("old", "new/object"):
            for swallow in (False, True):
                stopped = _Stopped(swallow=swallow)
                await stopped.run(store.put_stream(key, stopped.write))
                assert isinstance(stopped.error, ClosedError)
                assert await self.raw_get(store, "old") == b"old"
                assert await self.raw_list(store) == {"old"}
                assert await keys_below(store) == ["old"]

    @pytest.mark.asyncio
    async def test_a_cancelled_get_stream_stops_its_callback(self, store: Store) -> None:
        """The next read raises, though bytes may be buffered, and the call returns after the callback."""
        await self.raw_put(store, "key", b"x\n" * 1_000_000)
        reads: tuple[Callable[[Any], object], ...] = (
            lambda file: file.read(1),
            lambda file: file.read(),
            lambda file: file.readline(),
            lambda file: file.readinto(bytearray(3)),
            lambda file: next(iter(file)),
        )
        for read in reads:
            stopped = _Stopped(swallow=False)
            await stopped.run(store.get_stream("key", partial(stopped.read, read)))
            assert isinstance(stopped.error, ClosedError)
        assert await store.get("key", end=2) == b"x\n"

    @pytest.mark.asyncio
    async def test_a_timeout_ends_a_stream(self, store: Store) -> None:
        """`asyncio.timeout` turns the cancellation into its own error."""
        begun = threading.Event()

        def write(file: BinaryIO) -> None:
            begun.set()
            while True:
                file.write(b"x" * 100)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.put_stream("key", write)
        assert await self.raw_list(store) == set()

    @pytest.mark.asyncio
    async def test_calls_go_on_after_many_were_cancelled(self, store: Store) -> None:
        """No worker and no lock is lost."""
        tasks = [asyncio.create_task(store.put(f"many/{number}", b"x")) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == [None] * 25
        stored = await self.raw_list(store)
        assert {f"many/{number}" for number in range(1, 50, 2)} <= stored
        await asyncio.gather(*(store.put(f"many/{number}", b"y") for number in range(50)))
        assert len(await keys_below(store)) == 50


class _Stopped:
    """A callback that is cancelled while it waits, and what it sees then."""

    def __init__(self, *, swallow: bool) -> None:
        self._swallow = swallow
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._go_on = threading.Event()
        self._may_end = threading.Event()
        self._ended = False
        self.error: BaseException | None = None

    def write(self, file: BinaryIO) -> None:
        file.write(b"x" * 100_000)
        self._meet(lambda: file.write(b"y"))

    def read(self, step: Callable[[Any], object], file: BinaryIO) -> None:
        assert file.read(1) == b"x"
        self._meet(partial(step, file))

    def _meet(self, step: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(self._begun.set)
        assert self._go_on.wait(60)
        try:
            step()
        except BaseException as error:
            self.error = error
            if not self._swallow:
                raise
        finally:
            self._may_end.wait(60)
            self._ended = True

    async def run(self, call: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(call)
        try:
            await self._begun.wait()
            for _ in range(3):  # cancelling again must not cut the waiting short
                task.cancel()
                await _turns(5)
            self._go_on.set()
            await _turns(5)
            assert not task.done(), "the call has returned while its callback runs"
        finally:
            self._go_on.set()
            self._may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert self._ended


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def _cancelled_after(turns: int, call: Coroutine[Any, Any, object]) -> bool:
    """Cancel a call after so many turns of the loop, and tell whether it had come to its end."""
    task = asyncio.create_task(call)
    # the later half waits for threads as well, so that every phase of the call is met
    for turn in range(turns):
        await asyncio.sleep(0 if turn < MOMENTS // 2 else 0.0002)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
        return True
    return False


async def _settled(store: Store, key: str) -> bytes | None:
    """Return an object after enough other calls for a late effect to show."""
    for _ in range(3):
        await store.list_dir()
    try:
        return await store.get(key)
    except ObjectNotFoundError:
        return None
