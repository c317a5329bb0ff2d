"""URLs, failures and the end of a store."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, BinaryIO

import pytest

from aqrec.errors import AqrecError, ClosedError, StorageError
from aqrec.stores import redact_url

from ._base import StoreHooks, collect, error_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aqrec.stores import Store

__all__ = ["LifecycleTests"]


class LifecycleTests(StoreHooks):
    """What holds for a store as a whole."""

    @pytest.mark.asyncio
    async def test_the_url_shows_no_secret(self, store: Store) -> None:
        """Redacting it changes nothing, and neither does using the store."""
        url = store.url
        assert "://" in url
        assert redact_url(url) == url
        await store.put("key", b"1")
        assert store.url == url

    @pytest.mark.asyncio
    async def test_the_representation_shows_no_secret(self, store: Store) -> None:
        """What ends up in logs."""
        assert "@" not in repr(store)

    @pytest.mark.asyncio
    async def test_a_local_path_leads_to_the_bytes(self, store: Store) -> None:
        """Where there is one."""
        await store.put("folder/a b", b"here")
        path = store.local_path("folder/a b")
        if path is not None:
            assert await asyncio.to_thread(path.read_bytes) == b"here"
            assert store.local_path("not/yet") is not None

    @pytest.mark.asyncio
    async def test_what_was_stored_outlives_the_store(self, store: Store) -> None:
        """Closing and opening again shows the same objects."""
        await store.put("a/b", b"1")
        await store.create("c", b"2")
        infos = await collect(store)
        await store.aclose()
        again = await self.reopen(store)
        assert await collect(again) == infos
        assert await again.get("a/b") == b"1"
        await again.aclose()

    @pytest.mark.asyncio
    async def test_a_closed_store_refuses_every_call(self, store: Store) -> None:
        """Without touching anything; closing again is fine."""
        await store.put("kept", b"1")
        can_append = store.supports_append
        await store.aclose()
        await store.aclose()
        for name, call in _every_call(store, "kept").items():
            if name != "open_append" or can_append:
                assert isinstance(await error_of(call()), ClosedError), name
        assert await self.raw_list(store) == {"kept"}
        assert await self.raw_get(store, "kept") == b"1"

    @pytest.mark.asyncio
    async def test_closing_waits_for_what_is_under_way(self, store: Store) -> None:
        """A stream that has begun comes to its end, and no new call gets in."""
        loop = asyncio.get_running_loop()
        begun, go_on = asyncio.Event(), threading.Event()

        def write(file: BinaryIO) -> None:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(60)
            file.write(b"whole")

        stream = asyncio.create_task(store.put_stream("key", write))
        try:
            await begun.wait()
            closing = asyncio.create_task(store.aclose())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not closing.done()
            with pytest.raises(ClosedError):
                await store.get("key")
        finally:
            go_on.set()
        await closing
        await stream
        assert await self.raw_get(store, "key") == b"whole"

    @pytest.mark.asyncio
    async def test_closing_keeps_calls_that_were_made_before(self, store: Store) -> None:
        """Each has its whole effect, or raises `ClosedError` and has none."""
        calls = [asyncio.create_task(store.put(f"many/{number}", b"x")) for number in range(20)]
        await asyncio.sleep(0)
        await store.aclose()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), ClosedError}
        stored = {f"many/{number}" for number, result in enumerate(results) if result is None}
        assert await self.raw_list(store) == stored

    @pytest.mark.asyncio
    async def test_failures_say_what_failed(self, store: Store) -> None:
        """Every call of a broken store raises `StorageError`, with key, URL and cause."""
        failing = await self.failing_store(store)
        if failing is None:
            return
        for name, call in _every_call(failing, "some/key", lambda file: file.write(b"x")).items():
            if name == "open_append" and not failing.supports_append:
                continue
            error = await error_of(call())
            assert isinstance(error, StorageError), name
            assert "some/key" in str(error), name
            assert failing.url in str(error), name
            assert isinstance(error.__cause__, Exception), name
            assert not isinstance(error.__cause__, AqrecError), name
        await failing.aclose()


def _must_not_run(file: BinaryIO) -> None:
    pytest.fail(f"the callback was called with {file!r}")


def _every_call(
    store: Store, key: str, write: Callable[[BinaryIO], object] = _must_not_run
) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "get": lambda: store.get(key),
        "put": lambda: store.put(key, b"x"),
        "create": lambda: store.create(key, b"x"),
        "head": lambda: store.head(key),
        "list": lambda: collect(store, key),
        "list_dir": lambda: store.list_dir(key),
        "delete": lambda: store.delete([key]),
        "put_stream": lambda: store.put_stream(key, write),
        "get_stream": lambda: store.get_stream(key, _must_not_run),
        "open_append": lambda: store.open_append(key),
    }
