"""Keys, by their definition."""

import os
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aqrec.errors import InvalidNameError
from aqrec.stores import check_key
from aqrec.stores._names import check_prefix, is_legal_child

PARTS = st.text(st.one_of(st.characters(), st.sampled_from("./\\\0 \x7fä")), max_size=300)


def is_legal(key: str) -> bool:
    """Say it as the contract does, slowly."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return False
    parts = key.split("/")
    return (
        0 < size <= 1024
        and not any(part in {"", ".", ".."} or len(part.encode()) > 255 for part in parts)
        and not any(letter == "\\" or unicodedata.category(letter) == "Cc" for letter in key)
        and parts[0] != ".aqrec-tmp"
    )


@given(st.lists(PARTS, max_size=8).map("/".join))
@example("ä" * 127)
@example("ä" * 128)
@example("/".join(["x" * 204] * 5))
@example("/".join(["x" * 204] * 5) + "x")
@example(".aqrec-tmp/x")
@example(".aqrec-tmpx")
def test_a_key_is_legal_or_refused(key: str) -> None:
    if is_legal(key):
        assert check_key(key) == key
        assert check_prefix(key) == key
    else:
        with pytest.raises(InvalidNameError):
            check_key(key)


@given(
    st.lists(PARTS, min_size=1, max_size=5).map("/".join).filter(is_legal),
    PARTS.filter(lambda p: "/" not in p),
)
def test_listings_take_the_names_that_make_legal_keys(folder: str, name: str) -> None:
    """Of those that a folder can hold: neither empty nor too long nor special."""
    if name in {"", ".", ".."} or "\0" in name or len(name.encode("utf-8", "surrogatepass")) > 255:
        return
    assert is_legal_child(f"{folder}/", name) == is_legal(f"{folder}/{name}")
    assert is_legal_child("", name) == is_legal(name)


def test_every_control_character_is_refused() -> None:
    for number in (*range(32), *range(127, 160)):
        with pytest.raises(InvalidNameError):
            check_key(f"a{chr(number)}b")


def test_only_text_is_a_key() -> None:
    for value in (None, 1, b"bytes", os.path):
        with pytest.raises(InvalidNameError):
            check_key(value)  # type: ignore[arg-type]


def test_a_long_key_is_not_shown_whole() -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_key("x" * 100_000)
    assert len(str(caught.value)) < 400
