"""Which keys are refused, and which must work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from aqrec.errors import InvalidNameError

from ._base import StoreHooks, collect, error_of, keys_below

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aqrec.stores import Store

__all__ = ["KeyTests"]

BAD_PREFIXES = (
    "/",
    "/a",
    "a/",
    "a//b",
    "//",
    ".",
    "..",
    "./a",
    "a/.",
    "a/./b",
    "../a",
    "a/..",
    "a/../b",
    "a\\b",
    "\\",
    "a\0b",
    "a\nb",
    "\ta",
    "a\x7fb",
    "a\x85b",
    "\ud800",
    "a/\udcff",
    "x" * 256,
    "ä" * 128,
    "a/" + "x" * 256,
    "/".join(["x" * 205] * 5),
    ".aqrec-tmp",
    ".aqrec-tmp/a",
)
BAD_KEYS = ("", *BAD_PREFIXES)

GOOD_KEYS = (
    "a",
    "A",
    "a b",
    " a",
    "a ",
    "...",
    "..a",
    "a..",
    ".a",
    "a.",
    "a.b",
    "%2e%2e",
    "%2F",
    "%",
    "a+b",
    "a&b=c",
    "~",
    "-rf",
    "*",
    "?",
    "[a]",
    "{a}",
    "$a",
    "#",
    "a#b?c",
    "a:b",
    "a;b,c",
    "a@b",
    "'\"`",
    "<>|!^",
    "ä",
    "a\u0308",
    "日本語",
    "🦊",
    "x" * 255,
    "ä" * 127,
    "sub/.aqrec-tmp",
    "d/e/f/g/h/i/j/k",
    "con/nul.txt",
)
LONG = "/".join(["x" * 181] * 6)
"""Longer than any key may be, and never cut behind a slash by the limits there are."""


class KeyTests(StoreHooks):
    """Keys are refused before anything is touched, or taken as they are."""

    @pytest.mark.asyncio
    async def test_illegal_keys_are_refused_before_anything_is_touched(self, store: Store) -> None:
        """No method takes an illegal key, and none does a part of its work first."""
        await self.raw_put(store, "kept", b"1")
        for key in BAD_KEYS:
            for name, call in _calls_with(key):
                assert isinstance(await error_of(call(store)), InvalidNameError), (name, key)
        assert await self.raw_list(store) == {"kept"}

    @pytest.mark.asyncio
    async def test_an_illegal_key_among_many_deletes_nothing(self, store: Store) -> None:
        """All keys of a delete are checked before the first object goes."""
        await self.raw_put(store, "kept", b"1")
        for key in BAD_KEYS:
            with pytest.raises(InvalidNameError):
                await store.delete(["kept", key])
        assert await self.raw_list(store) == {"kept"}

    @pytest.mark.asyncio
    async def test_illegal_folder_names_are_refused(self, store: Store) -> None:
        """Listings take legal folder names and the empty one only."""
        for prefix in BAD_PREFIXES:
            with pytest.raises(InvalidNameError):
                await collect(store, prefix)
            with pytest.raises(InvalidNameError):
                await store.list_dir(prefix)

    @pytest.mark.asyncio
    async def test_unusual_keys_keep_their_bytes_apart(self, store: Store) -> None:
        """Every legal key names an object of its own, and is listed as it was given."""
        keys = [*GOOD_KEYS, LONG[: self.key_room]]
        for key in keys:
            await store.put(key, f"at {key}".encode())
        for key in keys:
            assert await store.get(key) == f"at {key}".encode()
            assert (await store.head(key)).key == key
        assert await keys_below(store) == sorted(keys)
        assert await self.raw_list(store) == set(keys)
        await store.delete(keys)
        assert await self.raw_list(store) == set()

    @pytest.mark.asyncio
    async def test_keys_longer_than_there_is_room_are_refused(self, store: Store) -> None:
        """Room is what the backend's limit leaves after the URL."""
        for name, call in _calls_with(LONG[: self.key_room + 1]):
            assert isinstance(await error_of(call(store)), InvalidNameError), name
        assert await self.raw_list(store) == set()


def _calls_with(key: str) -> Iterator[tuple[str, Callable[[Store], Awaitable[object]]]]:
    yield "get", lambda store: store.get(key)
    yield "put", lambda store: store.put(key, b"x")
    yield "create", lambda store: store.create(key, b"x")
    yield "head", lambda store: store.head(key)
    yield "delete", lambda store: store.delete([key])
    yield "put_stream", lambda store: store.put_stream(key, _must_not_run)
    yield "get_stream", lambda store: store.get_stream(key, _must_not_run)

    async def open_append(store: Store) -> None:
        if not store.supports_append:
            raise InvalidNameError
        (await store.open_append(key)).close()

    async def local_path(store: Store) -> None:
        if store.local_path("legal") is None:
            raise InvalidNameError
        store.local_path(key)

    yield "open_append", open_append
    yield "local_path", local_path


def _must_not_run(file: BinaryIO) -> Any:
    pytest.fail(f"the callback was called with {file!r}")
