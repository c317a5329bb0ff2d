"""Single objects: reading, writing, creating, asking, deleting."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import pytest

from aqrec.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    ObjectNotFoundError,
)
from aqrec.stores import ObjectInfo

from ._base import StoreHooks, collect, error_of, keys_below

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aqrec.stores import Store

__all__ = ["ObjectTests"]

SIZES = (0, 1, 1000, 65_536, 3 * 1024 * 1024 + 1)


def pattern(size: int) -> bytes:
    """Return bytes no two parts of which are alike soon."""
    return bytes(range(251)) * (size // 251 + 1)


class ObjectTests(StoreHooks):
    """What one call does to one object."""

    @pytest.mark.asyncio
    async def test_what_was_put_is_stored(self, store: Store) -> None:
        """Objects of every size are stored byte by byte."""
        for size in SIZES:
            data = pattern(size)[:size]
            await store.put(f"size/{size}", data)
            assert await self.raw_get(store, f"size/{size}") == data

    @pytest.mark.asyncio
    async def test_what_is_stored_is_got(self, store: Store) -> None:
        """Objects written by other programs are read byte by byte."""
        for size in SIZES:
            data = pattern(size)[:size]
            await self.raw_put(store, f"size/{size}", data)
            got = await store.get(f"size/{size}")
            assert type(got) is bytes
            assert got == data

    @pytest.mark.asyncio
    async def test_put_replaces_longer_and_shorter_objects(self, store: Store) -> None:
        """Nothing of the old object remains."""
        for data in (b"short", b"a much longer one", b"", b"mid"):
            await store.put("a/key", data)
            assert await self.raw_get(store, "a/key") == data
            assert await store.get("a/key") == data

    @pytest.mark.asyncio
    async def test_ranges_are_cut_at_the_end(self, store: Store) -> None:
        """A range means what a slice means, for every pair of bounds."""
        data = b"0123456789"
        await self.raw_put(store, "digits", data)
        for start in (0, 1, 5, 9, 10, 11, 1 << 40):
            for end in (None, 0, 1, 5, 9, 10, 11, 1 << 40):
                assert await store.get("digits", start=start, end=end) == data[start:end], (start, end)

    @pytest.mark.asyncio
    async def test_negative_bounds_are_refused(self, store: Store) -> None:
        """Counting from the end is not offered, so a wrong sign cannot pass."""
        await self.raw_put(store, "digits", b"0123456789")
        for start, end in ((-1, None), (0, -1), (-2, -1)):
            with pytest.raises(InvalidInputError):
                await store.get("digits", start=start, end=end)

    @pytest.mark.asyncio
    async def test_missing_objects_are_named(self, store: Store) -> None:
        """Reading what is not there raises, with the key and the store in the message, for a range too."""
        await self.raw_put(store, "there/other", b"1")
        for key in ("missing", "there/missing", "not/there/at/all"):
            for read in _reads(key):
                with pytest.raises(ObjectNotFoundError) as caught:
                    await read(store)
                assert key in str(caught.value)
                assert store.url in str(caught.value)
                assert isinstance(caught.value, FileNotFoundError)

    @pytest.mark.asyncio
    async def test_folders_are_no_objects(self, store: Store) -> None:
        """A folder can be neither read nor deleted."""
        await self.raw_put(store, "folder/sub/object", b"1")
        for key in ("folder", "folder/sub"):
            for read in _reads(key):
                with pytest.raises(ObjectNotFoundError):
                    await read(store)
        await store.delete(["folder", "folder/sub"])
        assert await self.raw_list(store) == {"folder/sub/object"}

    @pytest.mark.asyncio
    async def test_nothing_lies_below_an_object(self, store: Store) -> None:
        """An object is an empty folder to those who look into it."""
        await self.raw_put(store, "object", b"1")
        for read in _reads("object/below"):
            with pytest.raises(ObjectNotFoundError):
                await read(store)
        assert await collect(store, "object") == []
        assert await store.list_dir("object") == ([], [])
        await store.delete(["object/below"])
        assert await self.raw_list(store) == {"object"}

    @pytest.mark.asyncio
    async def test_an_object_and_a_folder_of_one_name_live_together_or_conflict(self, store: Store) -> None:
        """Whichever comes second is stored beside the first, or refused without harm."""
        for first, second in (("a", "a/b"), ("c/d/e", "c/d"), ("f/g/h", "f")):
            await store.put(first, b"first")
            for write in (store.put, store.create, partial(_put_streamed, store)):
                error = await error_of(write(second, b"second"))
                if error is not None:
                    assert isinstance(error, ConflictError)
                    assert second in str(error)
                    taken = await self.raw_get(store, second) is not None
                    assert isinstance(error, AlreadyExistsError) == taken
            assert await self.raw_get(store, first) == b"first"
            assert await self.raw_get(store, second) in {None, b"second"}
            with_second = {first, second} if await self.raw_get(store, second) else {first}
            assert await self.raw_list(store) == with_second
            await store.delete([first, second])

    @pytest.mark.asyncio
    async def test_an_emptied_folder_is_no_obstacle(self, store: Store) -> None:
        """Once its last object is deleted, a folder's name is free for an object."""
        for write in (store.put, store.create, partial(_put_streamed, store)):
            await store.put("name/sub/object", b"1")
            await store.delete(["name/sub/object"])
            await write("name", b"2")
            assert await self.raw_get(store, "name") == b"2"
            await store.delete(["name"])

    @pytest.mark.asyncio
    async def test_create_writes_a_free_key_only(self, store: Store) -> None:
        """A second create raises, says which key, and changes nothing."""
        await store.create("heads/1", b"mine")
        for taken in ("heads/1", "by/others"):
            await self.raw_put(store, "by/others", b"theirs")
            before = await self.raw_get(store, taken)
            with pytest.raises(AlreadyExistsError) as caught:
                await store.create(taken, b"another")
            assert taken in str(caught.value)
            assert store.url in str(caught.value)
            assert isinstance(caught.value, FileExistsError)
            assert await self.raw_get(store, taken) == before
        assert await self.raw_list(store) == {"heads/1", "by/others"}

    @pytest.mark.asyncio
    async def test_asking_whether_create_is_honoured_tells_the_truth_and_leaves_nothing(
        self, store: Store
    ) -> None:
        """The answer is the same at every call; where it is yes, a taken key is refused."""
        answers = [await store.probe_create() for _ in range(2)]
        assert answers == [self.honours_create] * 2
        assert await self.raw_list(store) == set()
        assert await keys_below(store) == []

    @pytest.mark.asyncio
    async def test_create_stores_every_size_up_to_its_limit(self, store: Store) -> None:
        """From nothing to one mebibyte."""
        for size in (0, 1, 1000, 1024 * 1024):
            await store.create(f"size/{size}", pattern(size)[:size])
            assert await self.raw_get(store, f"size/{size}") == pattern(size)[:size]

    @pytest.mark.asyncio
    async def test_a_deleted_key_is_free_again(self, store: Store) -> None:
        """Delete, then create."""
        for data in (b"1", b"2"):
            await store.create("key", data)
            assert await self.raw_get(store, "key") == data
            await store.delete(["key"])

    @pytest.mark.asyncio
    async def test_head_tells_size_and_time(self, store: Store) -> None:
        """Head agrees with the object and the listing, and time does not run backwards."""
        times: list[int] = []
        for size in (0, 10, 3):
            await store.put("folder/key", b"x" * size)
            info = await store.head("folder/key")
            assert info == ObjectInfo("folder/key", size, info.modified)
            assert await collect(store) == [info]
            assert (await store.list_dir("folder"))[0] == [info]
            times.append(info.modified)
        assert times == sorted(times)
        assert 1_500_000_000_000 < times[0] < 10_000_000_000_000  # milliseconds

    @pytest.mark.asyncio
    async def test_reading_changes_no_time(self, store: Store) -> None:
        """The time is that of the last write, not of the last look."""
        await store.put("key", b"x")
        before = await store.head("key")
        await store.get("key")
        await store.get_stream("key", lambda file: file.read())
        assert await store.head("key") == before

    @pytest.mark.asyncio
    async def test_delete_removes_and_repeats(self, store: Store) -> None:
        """What is deleted is gone everywhere, its neighbours stay, and deleting again is no error."""
        for key in ("a/1", "a/2", "a/10", "b"):
            await self.raw_put(store, key, b"x")
        for _ in range(2):
            await store.delete(["a/1", "never/there", "b"])
            assert await self.raw_list(store) == {"a/2", "a/10"}
            assert await keys_below(store) == ["a/10", "a/2"]
            with pytest.raises(ObjectNotFoundError):
                await store.get("a/1")

    @pytest.mark.asyncio
    async def test_delete_takes_many_keys_of_any_iterable(self, store: Store) -> None:
        """Repeated keys and no keys are fine."""
        keys = [f"many/{number % 7}/{number}" for number in range(self.many)]
        await self.raw_put_many(store, dict.fromkeys(keys, b"x"))
        await store.delete(key for key in keys[:-1])
        assert await self.raw_list(store) == {keys[-1]}
        await store.delete([])
        await store.delete([keys[-1]] * 3)
        assert await self.raw_list(store) == set()

    @pytest.mark.asyncio
    async def test_delete_refuses_a_single_string(self, store: Store) -> None:
        """Whose letters would be taken for keys."""
        await self.raw_put(store, "a", b"x")
        with pytest.raises(InvalidInputError):
            await store.delete("a")
        assert await self.raw_list(store) == {"a"}

    @pytest.mark.asyncio
    async def test_every_effect_is_visible_to_others_at_once(self, store: Store) -> None:
        """Another store on the same objects sees each call's effect when the call returns."""
        other = await self.reopen(store)
        try:
            await store.put("folder/key", b"1")
            assert await other.get("folder/key") == b"1"
            assert await keys_below(other) == ["folder/key"]
            assert (await other.list_dir())[1] == ["folder"]
            await store.put("folder/key", b"22")
            assert (await other.head("folder/key")).size == 2
            await store.create("folder/new", b"333")
            assert [info.size for info in (await other.list_dir("folder"))[0]] == [2, 3]
            await store.put_stream("folder/streamed", lambda file: file.write(b"4444"))
            assert await other.get_stream("folder/streamed", lambda file: file.read()) == b"4444"
            await store.delete(["folder/key", "folder/new", "folder/streamed"])
            assert await keys_below(other) == []
            assert await other.list_dir() == ([], [])
            with pytest.raises(ObjectNotFoundError):
                await other.head("folder/key")
        finally:
            await other.aclose()


def _reads(key: str) -> tuple[Callable[[Store], Awaitable[object]], ...]:
    def must_not_run(file: BinaryIO) -> None:
        pytest.fail(f"the callback was called with {file!r}")

    return (
        lambda store: store.get(key),
        lambda store: store.get(key, start=3, end=3),
        lambda store: store.head(key),
        lambda store: store.get_stream(key, must_not_run),
    )


async def _put_streamed(store: Store, key: str, data: bytes) -> None:
    await store.put_stream(key, lambda file: file.write(data))
