"""Listings: exact, at any size, and beside writers."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest

from ._base import StoreHooks, collect, keys_below

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aqrec.stores import ObjectInfo, Store

__all__ = ["ListingTests"]

TREE = {
    "top": 3,
    "a/1": 1,
    "a/2": 0,
    "a/b/3": 7,
    "a/b/c/d/4": 2,
    "ab/5": 1,
    "a b/6": 1,
    "a.b": 1,
    "a-/7": 1,
}


class ListingTests(StoreHooks):
    """What `list` and `list_dir` show."""

    @pytest.mark.asyncio
    async def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        """Before the first write there is nothing, and no error."""
        assert await collect(store) == []
        assert await collect(store, "missing/folder") == []
        assert await store.list_dir() == ([], [])
        assert await store.list_dir("missing/folder") == ([], [])

    @pytest.mark.asyncio
    async def test_list_shows_all_below_a_folder_and_nothing_beside_it(self, store: Store) -> None:
        """A folder's name is no prefix of text: ``a`` does not show ``ab/5``."""
        for key, size in TREE.items():
            await self.raw_put(store, key, b"x" * size)
        for prefix in ("", "a", "a/b", "a/b/c", "a/b/c/d", "ab", "a b", "a-", "a/1", "top", "to", "b"):
            expected = {k: n for k, n in TREE.items() if not prefix or k.startswith(prefix + "/")}
            listed = await collect(store, prefix)
            assert [(info.key, info.size) for info in listed] == sorted(expected.items()), prefix

    @pytest.mark.asyncio
    async def test_list_dir_shows_direct_children_sorted(self, store: Store) -> None:
        """Objects by key and folders by full name, both in order."""
        for key, size in TREE.items():
            await self.raw_put(store, key, b"x" * size)
        for prefix in ("", "a", "a/b", "a/b/c", "a/b/c/d", "ab", "to", "b"):
            start = f"{prefix}/" if prefix else ""
            below = [k.removeprefix(start) for k in TREE if k.startswith(start)]
            objects, folders = await store.list_dir(prefix)
            assert [info.key for info in objects] == sorted(start + k for k in below if "/" not in k), prefix
            assert folders == sorted({start + k.partition("/")[0] for k in below if "/" in k}), prefix
            assert [info.size for info in objects] == [TREE[info.key] for info in objects]

    @pytest.mark.asyncio
    async def test_a_folder_is_gone_with_its_last_object(self, store: Store) -> None:
        """However deep the object was."""
        await store.put("a/b/c/object", b"1")
        await store.put("a/other", b"1")
        assert (await store.list_dir("a"))[1] == ["a/b"]
        await store.delete(["a/b/c/object"])
        assert (await store.list_dir("a"))[1] == []
        assert await store.list_dir("a/b") == ([], [])
        await store.delete(["a/other"])
        assert await store.list_dir() == ([], [])

    @pytest.mark.asyncio
    async def test_large_folders_are_listed_exactly(self, store: Store) -> None:
        """More objects than a page of a listing holds."""
        keys = {f"flat/{number:05}" for number in range(self.many)} | {
            f"deep/{n % 20}/{n}" for n in range(100)
        }
        await self.raw_put_many(store, dict.fromkeys(keys, b"x"))
        assert await keys_below(store) == sorted(keys)
        assert len(await keys_below(store, "flat")) == self.many
        objects, folders = await store.list_dir("flat")
        assert [info.key for info in objects] == sorted(key for key in keys if key.startswith("flat/"))
        assert folders == []
        assert (await store.list_dir("deep"))[1] == sorted(f"deep/{number}" for number in range(20))

    @pytest.mark.asyncio
    async def test_objects_that_stay_are_listed_once_while_others_come_and_go(self, store: Store) -> None:
        """Between the steps of a listing other objects are written, replaced and deleted."""
        stable = {f"{folder}/stays-{number}" for folder in ("a", "a/b", "c") for number in range(150)}
        passing = [f"{folder}/goes-{number}" for folder in ("a", "a/b", "c") for number in range(150)]
        await self.raw_put_many(store, dict.fromkeys((*stable, *passing), b"x"))
        replaced = sorted(stable)[::15]
        written: set[str] = set()
        seen: Counter[str] = Counter()
        async for info in store.list():
            seen[info.key] += 1
            if len(seen) % 25 == 0:
                key = f"{('a', 'a/b', 'c', 'd/new')[len(written) % 4]}/comes-{len(written)}"
                await store.put(key, b"new")
                written.add(key)
                await store.put(replaced[len(written) % len(replaced)], b"y")
                await store.delete(passing[-5:])
                del passing[-5:]
        assert len(written) > 10
        assert {key: seen[key] for key in stable} == dict.fromkeys(stable, 1)
        assert set(seen.values()) == {1}
        assert all("goes-" in key for key in set(seen) - stable - written)

    @pytest.mark.asyncio
    async def test_a_listing_may_be_left_early(self, store: Store) -> None:
        """Nothing stays open, and the next listing is whole."""
        for number in range(30):
            await self.raw_put(store, f"{number % 3}/{number}", b"x")
        for _ in range(3):
            listing = cast("AsyncGenerator[ObjectInfo, None]", store.list())
            async with aclosing(listing):
                async for info in listing:
                    assert info.size == 1
                    break
        assert len(await keys_below(store)) == 30

    @pytest.mark.asyncio
    async def test_several_listings_run_at_once(self, store: Store) -> None:
        """Each has its own place."""
        for number in range(40):
            await self.raw_put(store, f"{number % 4}/{number}", b"x")
        first, second = store.list(), store.list("1")
        seen_first = [(await anext(first)).key for _ in range(5)]
        seen_second = [info.key async for info in second]
        seen_first += [info.key async for info in first]
        assert sorted(seen_first) == await keys_below(store)
        assert sorted(seen_second) == await keys_below(store, "1")
