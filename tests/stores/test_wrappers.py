"""Delays and counts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest

from aqrec.errors import AlreadyExistsError, StorageError
from aqrec.stores import (
    CountingStore,
    FaultyStore,
    LatencyStore,
    MemoryStore,
    ObjectInfo,
    Store,
    Torn,
    WrapperStore,
)


@pytest.fixture
async def memory() -> AsyncIterator[MemoryStore]:
    name = uuid4().hex
    yield MemoryStore(name)
    MemoryStore.forget(name)


async def call_everything(store: Store) -> None:
    await store.put("a/put", b"12")
    await store.create("a/created", b"345")
    await store.get("a/put")
    await store.get("a/put", start=1)
    await store.head("a/put")
    _ = [info async for info in store.list("a")]
    await store.list_dir("a")
    await store.put_stream("a/streamed", lambda file: [file.write(b"6789"), file.write(b"0")])
    await store.get_stream("a/streamed", lambda file: file.read(1))
    await store.probe_create()
    appender = await store.open_append("a/appended")
    appender.write(b"x" * 7)
    appender.write(b"y")
    appender.sync()
    appender.close()
    await store.delete(["a/put", "a/created"])


def test_a_wrapper_hands_on_every_method_of_the_contract() -> None:
    """A method that is new in the contract must not fall through to the base class."""
    public = {name for name in vars(Store) if not name.startswith("_")}
    assert public <= set(vars(WrapperStore))
    asynchronous = {name for name in public if asyncio.iscoroutinefunction(getattr(Store, name))} | {"list"}
    for wrapper in (LatencyStore, CountingStore, FaultyStore):
        assert asynchronous - {"aclose"} <= set(vars(wrapper))


async def test_closing_a_wrapper_closes_what_it_wraps(memory: MemoryStore) -> None:
    await WrapperStore(memory).aclose()
    with pytest.raises(RuntimeError):
        await memory.get("key")


async def test_each_call_waits_for_its_delay_first(memory: MemoryStore) -> None:
    waited: list[tuple[str, str]] = []

    async def delay(operation: str, key: str) -> None:
        waited.append((operation, key))

    await call_everything(LatencyStore(memory, delay))
    assert waited == [
        ("put", "a/put"),
        ("create", "a/created"),
        ("get", "a/put"),
        ("get", "a/put"),
        ("head", "a/put"),
        ("list", "a"),
        ("list_dir", "a"),
        ("put_stream", "a/streamed"),
        ("get_stream", "a/streamed"),
        ("probe_create", ""),
        ("open_append", "a/appended"),
        ("delete", "a/put"),
    ]


async def test_a_call_has_no_effect_before_its_delay_is_over(memory: MemoryStore) -> None:
    over = asyncio.Event()
    store = LatencyStore(memory, lambda operation, key: over.wait())
    task = asyncio.create_task(store.put("key", b"1"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert [info async for info in memory.list()] == []
    over.set()
    await task
    assert await memory.get("key") == b"1"


async def test_a_call_cancelled_in_its_delay_has_no_effect(memory: MemoryStore) -> None:
    store = LatencyStore(memory, lambda operation, key: asyncio.Event().wait())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.put("key", b"1")
    assert [info async for info in memory.list()] == []


async def test_calls_and_bytes_are_counted(memory: MemoryStore) -> None:
    store = CountingStore(memory)
    await call_everything(store)
    assert store.requests == {
        "put": 1,
        "create": 1,
        "get": 2,
        "head": 1,
        "list": 1,
        "list_dir": 1,
        "put_stream": 1,
        "get_stream": 1,
        "probe_create": 1,
        "open_append": 1,
        "append.write": 2,
        "append.sync": 1,
        "delete": 1,
    }
    assert store.sent == {"put": 2, "create": 3, "put_stream": 5, "append.write": 8}
    assert store.received == {"get": 3, "get_stream": 5}
    store.reset()
    assert not store.requests + store.sent + store.received


async def test_failed_calls_count_as_requests_without_bytes(memory: MemoryStore) -> None:
    await memory.create("key", b"1")
    store = CountingStore(memory)
    with pytest.raises(AlreadyExistsError):
        await store.create("key", b"12345")
    with pytest.raises(ZeroDivisionError):
        await store.put_stream("other", lambda file: [file.write(b"123"), 1 / 0])
    assert store.requests == {"create": 1, "put_stream": 1}
    assert not store.sent + store.received


async def test_a_counted_file_may_be_closed_by_the_callback(memory: MemoryStore) -> None:
    store = CountingStore(memory)
    await store.put_stream("key", lambda file: [file.write(b"123"), file.close()])
    assert store.sent == {"put_stream": 3}


async def test_a_failure_below_a_counted_stream_cannot_be_swallowed(memory: MemoryStore) -> None:
    store = CountingStore(FaultyStore(memory, {("put_stream", 1): Torn(2, StorageError("full"))}))

    def write(file: object) -> None:
        with suppress(StorageError):
            file.write(b"123")  # type: ignore[attr-defined]

    with pytest.raises(StorageError, match="full"):
        await store.put_stream("key", write)
    assert [info async for info in memory.list()] == []


async def test_a_listing_left_early_is_closed_below_the_wrappers(memory: MemoryStore) -> None:
    """What it has open does not wait for the garbage collector."""
    closed: list[str] = []

    class Watched(WrapperStore):
        async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
            try:
                async for info in self.inner.list(prefix):
                    yield info
            finally:
                closed.append(prefix)

    await memory.put("a/1", b"1")
    await memory.put("a/2", b"1")
    store = CountingStore(
        FaultyStore(LatencyStore(Watched(memory), lambda operation, key: asyncio.sleep(0)), {})
    )
    listing = store.list("a")
    assert (await anext(listing)).key == "a/1"
    assert closed == []
    await listing.aclose()  # type: ignore[attr-defined]
    assert closed == ["a"]
