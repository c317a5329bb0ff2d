"""How archives of a store are opened."""

from collections.abc import Mapping
from typing import Any

import pytest

from aqrec.errors import InvalidInputError
from aqrec.stores import MemoryStore, Store, register_store
from aqrec.stores._archives import Archives
from aqrec.stores._place import target_of


@pytest.fixture
def given() -> dict[str, dict[str, Any]]:
    """Options that stores of two schemes were opened with, by URL."""
    seen: dict[str, dict[str, Any]] = {}

    def open_one(url: str, options: Mapping[str, Any]) -> Store:
        seen[url] = dict(options)
        return MemoryStore(url.replace(":", "").replace("/", ""))

    register_store("tape", open_one, replace=True)
    register_store("disk", open_one, replace=True)
    return seen


async def test_its_own_options_come_first_then_those_of_a_store_of_its_kind(
    given: dict[str, dict[str, Any]],
) -> None:
    home = target_of("tape://home", {"key": 1, "archives": {"tape://b/": {"key": 2}}})
    assert home.storage_options == {"key": 1}
    archives = Archives(home)
    assert archives.learn("disk://d", {"key": 3}) == "disk://d"
    assert archives.learn("disk://e/", None) == "disk://e"
    for url in ("tape://a", "tape://b", "disk://d", "disk://e"):
        assert archives.open(url) is archives.open(url)
    assert given == {"tape://a": {"key": 1}, "tape://b": {"key": 2}, "disk://d": {"key": 3}, "disk://e": {}}
    await archives.aclose()
    given.clear()
    archives.open("disk://d")
    assert given == {"disk://d": {"key": 3}}


@pytest.mark.parametrize("archives", ["tape://b", {"tape://b": "secret"}, ["tape://b"]])
def test_options_that_cannot_be_meant_are_refused(archives: Any) -> None:
    with pytest.raises(InvalidInputError, match="'archives' takes a dict") as refused:
        target_of("tape://home", {"archives": archives})
    assert "secret" not in str(refused.value)


def test_a_store_is_no_archive_of_itself() -> None:
    with pytest.raises(InvalidInputError, match="the store itself"):
        Archives(target_of("memory://home")).learn("memory://home/", None)
