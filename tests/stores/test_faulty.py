"""Failures by plan."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from aqrec.errors import ClosedError, ObjectNotFoundError, StorageError
from aqrec.stores import FaultyStore, LostResponse, MemoryStore, Torn
from aqrec.testing._stores._base import error_of, keys_below

ERROR = StorageError("by plan")


@pytest.fixture
async def memory() -> AsyncIterator[MemoryStore]:
    name = uuid4().hex
    store = MemoryStore(name)
    await store.put("old", b"old")
    yield store
    MemoryStore.forget(name)


async def test_a_planned_call_fails_and_the_others_work(memory: MemoryStore) -> None:
    """By operation and number, counted over all keys."""
    store = FaultyStore(memory, {("put", 2): ERROR, ("get", 1): ERROR})
    results = [await error_of(store.put(f"key/{number}", b"1")) for number in range(4)]
    assert results == [None, ERROR, None, None]
    assert await keys_below(memory, "key") == ["key/0", "key/2", "key/3"]
    assert await error_of(store.get("old")) is ERROR
    assert await store.get("old") == b"old"
    assert store.injected == [("put", "key/1", 2), ("get", "old", 1)]


async def test_a_plan_may_be_a_function_of_the_key(memory: MemoryStore) -> None:
    store = FaultyStore(memory, lambda operation, key, n: ERROR if key.endswith("bad") else None)
    for call in (
        store.get("bad"),
        store.put("bad", b""),
        store.create("bad", b""),
        store.head("bad"),
        keys_below(store, "bad"),
        store.list_dir("bad"),
        store.delete(["good", "bad"]),
        store.put_stream("bad", lambda file: pytest.fail("it was called")),
        store.get_stream("bad", lambda file: pytest.fail("it was called")),
        store.open_append("bad"),
    ):
        assert await error_of(call) is ERROR
    assert await keys_below(memory) == ["old"]
    assert len(store.injected) == 10


async def test_a_lost_response_comes_after_the_effect(memory: MemoryStore) -> None:
    store = FaultyStore(memory, lambda operation, key, n: LostResponse(ERROR))
    for call in (
        store.put("put", b"1"),
        store.create("created", b"2"),
        store.put_stream("streamed", lambda file: file.write(b"3")),
        store.open_append("appended"),
        store.delete(["old"]),
        store.get("put"),
        store.head("put"),
        store.list_dir(),
        store.get_stream("put", lambda file: file.read()),
    ):
        assert await error_of(call) is ERROR
    assert await keys_below(memory) == ["appended", "created", "put", "streamed"]
    assert await memory.get("streamed") == b"3"


async def test_a_failure_of_the_call_itself_comes_before_a_lost_response(memory: MemoryStore) -> None:
    store = FaultyStore(memory, {("get", 1): LostResponse(ERROR)})
    assert isinstance(await error_of(store.get("missing")), ObjectNotFoundError)


async def test_a_delete_fails_in_the_middle(memory: MemoryStore) -> None:
    """The keys before the failure are gone; one whose answer is lost is gone too."""
    keys = [f"key/{number}" for number in range(5)]
    for fault, left in ((ERROR, keys[2:]), (LostResponse(ERROR), keys[3:])):
        for key in keys:
            await memory.put(key, b"1")
        store = FaultyStore(memory, {("delete", 3): fault})
        assert await error_of(store.delete(keys)) is ERROR
        assert await keys_below(memory, "key") == left


async def test_a_listing_fails_at_its_beginning_middle_or_end(memory: MemoryStore) -> None:
    for number in range(5):
        await memory.put(f"key/{number}", b"1")
    for fault, expected in ((ERROR, 0), (Torn(0, ERROR), 0), (Torn(3, ERROR), 3), (LostResponse(ERROR), 5)):
        store = FaultyStore(memory, {("list", 1): fault})
        seen: list[str] = []
        error: Exception | None = None
        try:
            async for info in store.list("key"):
                seen.append(info.key)
        except StorageError as caught:
            error = caught
        assert error is ERROR
        assert len(seen) == expected
        assert len(await keys_below(store, "key")) == 5


@pytest.mark.parametrize(("after", "accepted"), [(0, 0), (3, 0), (5, 1), (7, 1), (10, 2), (1000, 2)])
async def test_a_torn_stream_fails_inside_its_callback_or_at_its_end(
    memory: MemoryStore, after: int, accepted: int
) -> None:
    store = FaultyStore(memory, {("put_stream", 1): Torn(after, ERROR)})
    written: list[int] = []

    def write(file: object) -> None:
        for _ in range(2):
            written.append(file.write(b"12345"))  # type: ignore[attr-defined]

    assert await error_of(store.put_stream("key", write)) is ERROR
    assert len(written) == accepted
    assert await keys_below(memory) == ["old"]


async def test_a_torn_write_leaves_its_first_bytes(memory: MemoryStore) -> None:
    """And the appender refuses to go on."""
    store = FaultyStore(memory, {("append.write", 2): Torn(3, ERROR)})
    appender = await store.open_append("journal")
    appender.write(b"whole,")
    with pytest.raises(StorageError, match="by plan"):
        appender.write(b"torn,")
    for call in (lambda: appender.write(b"more"), appender.sync):
        with pytest.raises(StorageError, match="begin a new object"):
            call()
    appender.close()
    assert await memory.get("journal") == b"whole,tor"


@pytest.mark.parametrize(
    ("operation", "fault", "left"),
    [
        ("append.write", ERROR, b""),
        ("append.write", LostResponse(ERROR), b"data"),
        ("append.sync", ERROR, b"data"),
        ("append.sync", LostResponse(ERROR), b"data"),
        ("append.close", ERROR, b"data"),
    ],
)
async def test_appenders_fail_by_plan(
    memory: MemoryStore, operation: str, fault: StorageError | LostResponse, left: bytes
) -> None:
    store = FaultyStore(memory, {(operation, 1): fault})
    appender = await store.open_append("journal")
    with pytest.raises(StorageError, match="by plan"):
        _use(appender)
    assert await memory.get("journal") == left
    assert store.injected == [(operation, "journal", 1)]
    appender.close()
    with pytest.raises((ClosedError, StorageError)):
        appender.write(b"x")


def _use(appender: object) -> None:
    appender.write(b"data")  # type: ignore[attr-defined]
    appender.sync()  # type: ignore[attr-defined]
    appender.close()  # type: ignore[attr-defined]
