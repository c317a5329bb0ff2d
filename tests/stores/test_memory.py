"""Stores in memory, shared by name."""

import asyncio
from uuid import uuid4

import pytest

from aqrec.errors import InvalidNameError
from aqrec.stores import MemoryStore, open_store


async def test_stores_of_one_name_show_the_same_objects() -> None:
    name = uuid4().hex
    first, second, other = MemoryStore(name), open_store(f"memory://{name}/"), MemoryStore(name + "x")
    await first.put("key", b"1")
    await first.aclose()
    assert await second.get("key") == b"1"
    assert [info async for info in other.list()] == []
    MemoryStore.forget(name)
    assert await second.get("key") == b"1"
    assert [info async for info in MemoryStore(name).list()] == []


async def test_the_store_without_a_name_is_one_store() -> None:
    await MemoryStore().put("key", b"1")
    assert await open_store("memory://").get("key") == b"1"
    MemoryStore.forget()


def test_threads_with_loops_of_their_own_share_a_store() -> None:
    name = uuid4().hex

    async def create(number: int) -> int:
        store, won = MemoryStore(name), 0
        for key in range(200):
            try:
                await store.create(str(key), b"%d" % number)
                won += 1
            except FileExistsError:
                pass
        return won

    async def race() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, create(number)) for number in range(4)))

    assert sum(asyncio.run(race())) == 200
    MemoryStore.forget(name)


async def test_a_whole_object_is_got_without_a_copy() -> None:
    store = MemoryStore(uuid4().hex)
    data = b"x" * 1000
    await store.put("key", data)
    assert await store.get("key") is data


async def test_what_the_caller_changes_later_is_not_stored() -> None:
    store = MemoryStore(uuid4().hex)
    data = bytearray(b"before")
    await store.put("key", data)  # type: ignore[arg-type]
    data[:] = b"after!"
    assert await store.get("key") == b"before"


@pytest.mark.parametrize("name", ["/", "a//b", "../a", "a\n"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(InvalidNameError):
        MemoryStore(name)


async def test_calls_in_a_row_leave_room_for_other_tasks() -> None:
    """Though none of them waits for anything."""
    store = MemoryStore(uuid4().hex)
    await store.put("key", b"1")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(20):
        await store.get("key")
    counting.cancel()
    assert turns >= 19
