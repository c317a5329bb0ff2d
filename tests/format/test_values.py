"""Params and tags come back as they were given."""

import datetime as dt
import enum
import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import InvalidValueError
from aqrec.format._values import from_json, normalise, pack, to_json, unpack
from tests.format.support import MAPPINGS, VALUES, identical


@given(MAPPINGS)
def test_packed_values_are_unpacked_unchanged(mapping: dict[str, Any]) -> None:
    clean = {key: normalise(key, value) for key, value in mapping.items()}
    assert identical(clean, mapping)
    assert identical(unpack(pack(clean)), mapping)


@given(VALUES)
def test_the_json_form_is_strict_json_and_reverses_exactly(value: Any) -> None:
    text = json.dumps(to_json(value), allow_nan=False)
    assert identical(from_json(json.loads(text)), value)


@pytest.mark.parametrize("number", [10**5000, -(10**5000), 2**20_000], ids=["long", "negative", "binary"])
def test_integers_longer_than_python_prints_are_kept(number: int) -> None:
    assert unpack(pack({"n": number}))["n"] == number
    assert from_json(json.loads(json.dumps(to_json(number)))) == number


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("given_value", "stored"),
    [
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64("nan"), math.nan),
        (np.float16("-inf"), -math.inf),
        (np.bool_(1), True),
        (np.str_("é"), "é"),
        (np.array(2.5), 2.5),
        (np.array(7, np.int16), 7),
        ((1, (2, 3)), [1, [2, 3]]),
        pytest.param({"b", "a"}, ["a", "b"], id="a set of words"),
        (frozenset({2, 1}), [1, 2]),
        ({1: "x", None: "y", 0.5: "z"}, {"1": "x", "None": "y", "0.5": "z"}),
        (Path("/tmp/x"), "/tmp/x"),
        (PurePosixPath("a/b"), "a/b"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC), "2024-01-02T03:04:00+00:00"),
        (pd.Timestamp("2024-01-02"), "2024-01-02T00:00:00"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Text("own"), "own"),
        (-0.0, -0.0),
    ],
    ids=repr,
)
def test_what_is_nearly_plain_becomes_plain(given_value: Any, stored: Any) -> None:
    assert identical(unpack(pack({"v": normalise("v", given_value)}))["v"], stored)


@pytest.mark.parametrize(
    "bad",
    [
        b"bytes",
        object(),
        1j,
        np.zeros(2),
        np.array([1.0]),
        {("a", "b"): 1},
        {1, "a"},
        "\ud800",
        {"\udfff": 1},
        ["fine", {"deep": object()}],
        lambda: None,
    ],
    ids=lambda bad: type(bad).__name__,
)
def test_what_cannot_be_stored_faithfully_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(InvalidValueError, match="param 'p'"):
        normalise("param 'p'", bad)


def test_dict_keys_that_become_one_text_are_refused() -> None:
    """Keeping one of the two values would lose the other without a word."""
    with pytest.raises(InvalidValueError, match="'1'"):
        normalise("param 'p'", {1: "number", "1": "text"})


def test_nesting_is_bounded_and_what_is_allowed_comes_back() -> None:
    def nest(depth: int) -> Any:
        value: Any = "leaf"
        for level in range(depth):
            value = [value] if level % 2 else {"k": value}
        return value

    assert identical(unpack(pack({"v": normalise("v", nest(200))}))["v"], nest(200))
    assert identical(from_json(json.loads(json.dumps(to_json(nest(200))))), nest(200))
    with pytest.raises(InvalidValueError, match="nested deeper"):
        normalise("v", nest(203))
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidValueError, match="nested deeper"):
        normalise("v", loop)


@given(st.floats())
def test_floats_keep_every_bit(number: float) -> None:
    assert identical(unpack(pack({"x": number}))["x"], number)
